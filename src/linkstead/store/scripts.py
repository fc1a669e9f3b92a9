"""Statements on the scripts of products. Each change raises the registry's version: others keep scripts at hand."""

from dataclasses import fields

import sqlalchemy as sa

from linkstead.models import Script
from linkstead.store.statements import raise_version
from linkstead.store.tables import thing_script

_SELECT = sa.select(*(thing_script.c[field.name] for field in fields(Script)))


def add(connection: sa.Connection, new: Script) -> None:
    """See `ScriptStore.add_thing_script`."""
    connection.execute(sa.insert(thing_script), {field.name: getattr(new, field.name) for field in fields(new)})
    raise_version(connection)


def update(connection: sa.Connection, changed: Script) -> bool:
    """See `ScriptStore.update_thing_script`."""
    values = {field.name: getattr(changed, field.name) for field in fields(changed)}
    statement = sa.update(thing_script).where(thing_script.c.product_key == changed.product_key).values(values)
    if not connection.execute(statement).rowcount:
        return False
    raise_version(connection)
    return True


def find(connection: sa.Connection, product_key: str) -> Script | None:
    """See `ScriptStore.find_thing_script`."""
    row = connection.execute(_SELECT.where(thing_script.c.product_key == product_key)).first()
    return Script(*row) if row else None

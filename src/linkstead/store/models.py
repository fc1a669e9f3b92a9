"""Statements on the thing models of products. Publishing raises the registry's version: others keep models at hand."""

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from linkstead.models import ThingModelVersion
from linkstead.registry import ProductReleased
from linkstead.store.statements import raise_version
from linkstead.store.tables import lock_product, product, thing_model_draft, thing_model_version

_SAVE_DRAFT = sa.text(
    "INSERT INTO thing_model_draft (product_key, document) VALUES (:product_key, :document)"
    " ON CONFLICT (product_key) DO UPDATE SET document = excluded.document"
)
_COLUMNS: list[sa.Column[Any]] = [thing_model_version.c[field.name] for field in fields(ThingModelVersion)]
_SELECT_VERSION = sa.select(*_COLUMNS)
_SELECT_WITHOUT_DOCUMENT = sa.select(
    *(sa.literal("") if column is thing_model_version.c.document else column for column in _COLUMNS)
)


def find_draft(connection: sa.Connection, product_key: str) -> str | None:
    """See `ThingModelStore.find_thing_model_draft`."""
    statement = sa.select(thing_model_draft.c.document).where(thing_model_draft.c.product_key == product_key)
    return connection.execute(statement).scalar()


def save_draft(connection: sa.Connection, product_key: str, document: str) -> None:
    """See `ThingModelStore.save_thing_model_draft`."""
    _check_not_released(connection, product_key)
    connection.execute(_SAVE_DRAFT, {"product_key": product_key, "document": document})


def publish(connection: sa.Connection, new: ThingModelVersion, versions_kept_max: int) -> None:
    """See `ThingModelStore.publish_thing_model`."""
    _check_not_released(connection, new.product_key)
    connection.execute(sa.insert(thing_model_version), {field.name: getattr(new, field.name) for field in fields(new)})
    table = thing_model_version.c
    of_product = table.product_key == new.product_key
    kept = sa.select(table.id).where(of_product).order_by(table.id.desc()).limit(versions_kept_max)
    connection.execute(sa.delete(thing_model_version).where(of_product, table.id.not_in(kept)))
    raise_version(connection)


def _check_not_released(connection: sa.Connection, product_key: str) -> None:
    # In the transaction that writes: what is released while a change is on its way stays as it is.
    lock_product(connection, product_key)
    if connection.execute(sa.select(product.c.released).where(product.c.product_key == product_key)).scalar():
        raise ProductReleased


def find_version(connection: sa.Connection, product_key: str, version: str | None) -> ThingModelVersion | None:
    """See `ThingModelStore.find_thing_model_version`."""
    table = thing_model_version.c
    statement = _SELECT_VERSION.where(table.product_key == product_key)
    if version is None:
        latest = sa.select(sa.func.max(table.id)).where(table.product_key == product_key).scalar_subquery()
        statement = statement.where(table.id == latest)
    else:
        statement = statement.where(table.version == version)
    row = connection.execute(statement).first()
    return ThingModelVersion(*row) if row else None


def list_versions(connection: sa.Connection, product_key: str) -> list[ThingModelVersion]:
    """See `ThingModelStore.list_thing_model_versions`."""
    table = thing_model_version.c
    statement = _SELECT_WITHOUT_DOCUMENT.where(table.product_key == product_key).order_by(table.id.desc())
    return [ThingModelVersion(*row) for row in connection.execute(statement)]

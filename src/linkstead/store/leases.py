"""Statements on what a node has in hand, and on who takes it over."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

# The clause is the same on both engines, and only this dialect's form of it can be compiled for the other too.
from sqlalchemy.dialects.postgresql import insert

from linkstead.registry import Taken
from linkstead.store.applications import take_over_applications
from linkstead.store.tables import IS_HELD, is_left, lease, letter

_CLAIM = insert(lease).on_conflict_do_nothing()


def take_over(connection: sa.Connection, by: str, gone: Sequence[str], now_ms: int) -> Taken:
    """See `NodeStore.take_over`."""
    freed = (
        sa.update(letter)
        .where(IS_HELD, is_left(letter.c.holder, gone))
        .values(due_ms=sa.case((letter.c.due_ms > now_ms, now_ms), else_=letter.c.due_ms), holder="")
        .returning(letter.c.destination)
    )
    destinations = frozenset(connection.execute(freed).scalars())
    return Taken(destinations, take_over_applications(connection, by, gone))


def take_lease(connection: sa.Connection, name: str, by: str, gone: Collection[str]) -> bool:
    """See `NodeStore.take_lease`."""
    connection.execute(_CLAIM, {"name": name, "holder": by})
    is_to_be_had = sa.or_(lease.c.holder == by, is_left(lease.c.holder, gone))
    statement = sa.update(lease).where(lease.c.name == name, is_to_be_had).values(holder=by)
    return connection.execute(statement).rowcount > 0

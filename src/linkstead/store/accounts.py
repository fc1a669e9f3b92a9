"""Statements on the policies of RAM users, on temporary keys, and on keys that go."""

import sqlalchemy as sa

from linkstead.registry.policies import POLICIES_PER_ACCOUNT_MAX
from linkstead.store.retention import DAY_MS
from linkstead.store.statements import change, raise_version
from linkstead.store.tables import access_key, account, user_policy

EXPIRED_KEY_DAYS = 1
"""How long a temporary key is kept after its end, so that who still uses it is told that it has expired."""


def save_policy(connection: sa.Connection, account_id: str, user_name: str, document: str) -> bool:
    """See `Store.save_policy`."""
    statement = sa.update(user_policy).where(_is_of(account_id, user_name)).values(document=document)
    if change(connection, statement):
        return True
    connection.execute(sa.select(account.c.account_id).where(account.c.account_id == account_id).with_for_update())
    of_account = user_policy.c.account_id == account_id
    count = connection.execute(sa.select(sa.func.count()).select_from(user_policy).where(of_account)).scalar_one()
    if count >= POLICIES_PER_ACCOUNT_MAX:
        return False
    values = {"account_id": account_id, "user_name": user_name, "document": document}
    connection.execute(sa.insert(user_policy), values)
    raise_version(connection)
    return True


def find_policy(connection: sa.Connection, account_id: str, user_name: str) -> str | None:
    """See `Store.find_policy`."""
    statement = sa.select(user_policy.c.document).where(_is_of(account_id, user_name))
    return connection.execute(statement).scalar()


def delete_policy(connection: sa.Connection, account_id: str, user_name: str) -> bool:
    """See `Store.delete_policy`."""
    return change(connection, sa.delete(user_policy).where(_is_of(account_id, user_name)))


def _is_of(account_id: str, user_name: str) -> sa.ColumnElement[bool]:
    return sa.and_(user_policy.c.account_id == account_id, user_policy.c.user_name == user_name)


def delete_access_key(connection: sa.Connection, access_key_id: str) -> bool:
    """See `Store.delete_access_key`."""
    column = access_key.c
    return change(connection, sa.delete(access_key).where(column.access_key_id == access_key_id, ~column.enabled))


def prune_temporary_keys(connection: sa.Connection, now_ms: int) -> int:
    """Delete the temporary keys that ended `EXPIRED_KEY_DAYS` ago; returns how many."""
    # Nobody has to forget them: they are refused by their end.
    ended = sa.and_(access_key.c.expires_ms > 0, access_key.c.expires_ms < now_ms - EXPIRED_KEY_DAYS * DAY_MS)
    return connection.execute(sa.delete(access_key).where(ended)).rowcount

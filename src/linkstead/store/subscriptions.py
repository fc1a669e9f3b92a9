"""Statements on consumer groups and subscriptions. A change raises the registry's version: others keep them at hand."""

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from linkstead.registry import Page
from linkstead.store.statements import raise_version
from linkstead.store.tables import consumer_group, product, subscribe_relation
from linkstead.subscription import ConsumerGroup, NoticeKind, SubscribeRelation

_SELECT_GROUP = sa.select(
    consumer_group.c.group_id,
    consumer_group.c.account_id,
    consumer_group.c.group_name,
    consumer_group.c.created_ms,
)
_SELECT_RELATION = sa.select(
    subscribe_relation.c.product_key,
    subscribe_relation.c.type,
    subscribe_relation.c.kinds,
    subscribe_relation.c.group_ids,
)


def _is_group(account_id: str, group_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(consumer_group.c.account_id == account_id, consumer_group.c.group_id == group_id)


def add_group(connection: sa.Connection, group: ConsumerGroup) -> None:
    """See `GroupStore.add_consumer_group`."""
    connection.execute(
        sa.insert(consumer_group).values(
            group_id=group.group_id,
            account_id=group.account_id,
            group_name=group.group_name,
            created_ms=group.created_ms,
        )
    )


def find_group(connection: sa.Connection, account_id: str, group_id: str) -> ConsumerGroup | None:
    """See `GroupStore.find_consumer_group`."""
    row = connection.execute(_SELECT_GROUP.where(_is_group(account_id, group_id))).first()
    return ConsumerGroup(*row) if row else None


def list_groups(
    connection: sa.Connection, account_id: str, name_part: str | None, offset: int, limit: int
) -> Page[ConsumerGroup]:
    """See `GroupStore.list_consumer_groups`."""
    conditions = [consumer_group.c.account_id == account_id]
    if name_part is not None:
        conditions.append(consumer_group.c.group_name.icontains(name_part, autoescape=True))
    statement = _SELECT_GROUP.where(*conditions).order_by(consumer_group.c.id.desc()).offset(offset).limit(limit)
    records = [ConsumerGroup(*row) for row in connection.execute(statement)]
    count = sa.select(sa.func.count()).select_from(consumer_group).where(*conditions)
    return Page(records, connection.execute(count).scalar_one())


def rename_group(connection: sa.Connection, account_id: str, group_id: str, group_name: str) -> bool:
    """See `GroupStore.rename_consumer_group`."""
    statement = sa.update(consumer_group).where(_is_group(account_id, group_id)).values(group_name=group_name)
    return connection.execute(statement).rowcount > 0


def delete_group(connection: sa.Connection, account_id: str, group_id: str) -> bool:
    """Delete a group and take it out of every subscription; its letters are for another statement."""
    if connection.execute(sa.delete(consumer_group).where(_is_group(account_id, group_id))).rowcount == 0:
        return False
    for relation in list_relations(connection, account_id):
        if group_id in relation.group_ids:
            left = tuple(name for name in relation.group_ids if name != group_id)
            _change_relation(connection, relation.product_key, group_ids=_encode(left))
    raise_version(connection)
    return True


def find_relation(connection: sa.Connection, product_key: str) -> SubscribeRelation | None:
    """See `GroupStore.find_relation`."""
    row = connection.execute(_SELECT_RELATION.where(subscribe_relation.c.product_key == product_key)).first()
    return _relation(*row) if row else None


def add_relation(connection: sa.Connection, relation: SubscribeRelation) -> None:
    """See `GroupStore.add_relation`."""
    connection.execute(sa.insert(subscribe_relation).values(product_key=relation.product_key, **_values(relation)))
    raise_version(connection)


def update_relation(connection: sa.Connection, relation: SubscribeRelation) -> bool:
    """See `GroupStore.update_relation`."""
    if not _change_relation(connection, relation.product_key, **_values(relation)):
        return False
    raise_version(connection)
    return True


def delete_relation(connection: sa.Connection, product_key: str) -> bool:
    """See `GroupStore.delete_relation`."""
    statement = sa.delete(subscribe_relation).where(subscribe_relation.c.product_key == product_key)
    if connection.execute(statement).rowcount == 0:
        return False
    raise_version(connection)
    return True


def list_relations(connection: sa.Connection, account_id: str) -> list[SubscribeRelation]:
    """See `GroupStore.list_relations`."""
    statement = (
        _SELECT_RELATION.join(product, product.c.product_key == subscribe_relation.c.product_key)
        .where(product.c.account_id == account_id)
        .order_by(product.c.id)
    )
    return [_relation(*row) for row in connection.execute(statement)]


def _change_relation(connection: sa.Connection, product_key: str, **values: str) -> bool:
    statement = sa.update(subscribe_relation).where(subscribe_relation.c.product_key == product_key)
    return connection.execute(statement.values(**values)).rowcount > 0


def _values(relation: SubscribeRelation) -> dict[str, Any]:
    return {
        "type": relation.type,
        "kinds": _encode(sorted(relation.kinds)),
        "group_ids": _encode(relation.group_ids),
    }


def _encode(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _relation(product_key: str, relation_type: str, kinds: str, group_ids: str) -> SubscribeRelation:
    return SubscribeRelation(
        product_key,
        relation_type,
        msgspec.json.decode(kinds, type=frozenset[NoticeKind]),
        msgspec.json.decode(group_ids, type=tuple[str, ...]),
    )

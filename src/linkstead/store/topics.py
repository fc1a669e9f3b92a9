"""Statements on topic classes. Each change raises the registry's version: it is part of what the caches hold."""

from typing import Any

import sqlalchemy as sa

from linkstead.registry import ProductTopic, TopicOperation
from linkstead.store.statements import change, raise_version
from linkstead.store.tables import lock_product, product_topic

_COLUMN = product_topic.c
_SELECT = sa.select(_COLUMN.id, _COLUMN.product_key, _COLUMN.topic, _COLUMN.operation, _COLUMN.description)


def list_topics(connection: sa.Connection, product_key: str) -> list[ProductTopic]:
    """See `Store.list_topics`."""
    rows = connection.execute(_SELECT.where(_COLUMN.product_key == product_key).order_by(_COLUMN.id))
    return [_read(row) for row in rows]


def find_topic(connection: sa.Connection, topic_id: int) -> ProductTopic | None:
    """See `Store.find_topic`."""
    row = connection.execute(_SELECT.where(_COLUMN.id == topic_id)).first()
    return _read(row) if row else None


def add_topic(connection: sa.Connection, topic: ProductTopic, topics_max: int) -> int | None:
    """See `Store.add_topic`."""
    lock_product(connection, topic.product_key)
    of_product = _COLUMN.product_key == topic.product_key
    count = connection.execute(sa.select(sa.func.count()).select_from(product_topic).where(of_product)).scalar_one()
    if count >= topics_max:
        return None
    statement = sa.insert(product_topic).values(product_key=topic.product_key, **_changeable(topic))
    topic_id: int = connection.execute(statement.returning(_COLUMN.id)).scalar_one()
    raise_version(connection)
    return topic_id


def update_topic(connection: sa.Connection, topic: ProductTopic) -> bool:
    """See `Store.update_topic`."""
    statement = sa.update(product_topic).where(_COLUMN.id == topic.topic_id).values(_changeable(topic))
    return change(connection, statement)


def delete_topic(connection: sa.Connection, topic_id: int) -> bool:
    """See `Store.delete_topic`."""
    return change(connection, sa.delete(product_topic).where(_COLUMN.id == topic_id))


def _changeable(topic: ProductTopic) -> dict[str, str]:
    return {"topic": topic.topic, "operation": str(topic.operation), "description": topic.description}


def _read(row: Any) -> ProductTopic:
    return ProductTopic(row.id, row.product_key, row.topic, TopicOperation(row.operation), row.description)

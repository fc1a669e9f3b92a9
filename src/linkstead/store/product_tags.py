"""Statements on the tags of products. Nobody keeps tags at hand, so they leave the registry's version alone."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from linkstead.registry import Product, ProductTagFilter
from linkstead.store.statements import read_products
from linkstead.store.tables import lock_product, product, product_tag

_COLUMN = product_tag.c


def list_tags(connection: sa.Connection, product_key: str) -> dict[str, str]:
    """See `Store.list_product_tags`."""
    statement = sa.select(_COLUMN.name, _COLUMN.value).where(_COLUMN.product_key == product_key)
    return {row.name: row.value for row in connection.execute(statement.order_by(_COLUMN.name))}


def add_tags(connection: sa.Connection, product_key: str, tags: Mapping[str, str], tags_max: int) -> list[str] | None:
    """See `Store.add_product_tags`."""
    lock_product(connection, product_key)
    known = list_tags(connection, product_key)
    taken = [name for name in tags if name in known]
    if taken:
        return taken
    if len(known) + len(tags) > tags_max:
        return None
    if tags:
        rows = [{"product_key": product_key, "name": name, "value": value} for name, value in tags.items()]
        connection.execute(sa.insert(product_tag), rows)
    return []


def update_tags(connection: sa.Connection, product_key: str, tags: Mapping[str, str]) -> list[str]:
    """See `Store.update_product_tags`."""
    lock_product(connection, product_key)
    known = list_tags(connection, product_key)
    missing = [name for name in tags if name not in known]
    if tags and not missing:
        statement = sa.update(product_tag).where(
            _COLUMN.product_key == product_key, _COLUMN.name == sa.bindparam("of_name")
        )
        rows = [{"of_name": name, "new_value": value} for name, value in tags.items()]
        connection.execute(statement.values(value=sa.bindparam("new_value")), rows)
    return missing


def delete_tags(connection: sa.Connection, product_key: str, names: Sequence[str]) -> None:
    """See `Store.delete_product_tags`."""
    of_product = _COLUMN.product_key == product_key
    connection.execute(sa.delete(product_tag).where(of_product, _COLUMN.name.in_(names)))


def list_products(
    connection: sa.Connection,
    account_id: str,
    instance_id: str | None,
    tags: Sequence[ProductTagFilter],
    offset: int,
    limit: int,
) -> list[Product]:
    """See `Store.list_products_by_tags`."""
    wanted = sa.or_(
        sa.false(),
        *(
            _COLUMN.name == tag.name
            if tag.value is None
            else sa.and_(_COLUMN.name == tag.name, _COLUMN.value == tag.value)
            for tag in tags
        ),
    )
    conditions = [
        product.c.account_id == account_id,
        sa.exists().where(_COLUMN.product_key == product.c.product_key, wanted),
    ]
    if instance_id is not None:
        conditions.append(product.c.instance_id == instance_id)
    return read_products(connection, conditions, offset, limit)

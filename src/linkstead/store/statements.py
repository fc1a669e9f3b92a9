"""Statements on accounts, keys, instances, products and devices.

Plain functions of a connection that is inside a transaction; each change raises the registry's version in the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from sys import intern
from typing import Any

import msgspec
import sqlalchemy as sa

from linkstead.registry import (
    AccessKey,
    Account,
    Device,
    DeviceKey,
    DeviceStatus,
    Instance,
    Page,
    Product,
    ProductStatistics,
    topic_classes,
)
from linkstead.store.sessions import drop_messages_of
from linkstead.store.tables import (
    access_key,
    account,
    device,
    device_id_of,
    device_tag,
    instance,
    is_device,
    product,
    product_topic,
    registry_version,
    topology,
)

_Record = Account | AccessKey | Instance | Product | Device

_PRODUCT_FIELDS_FIXED = {"product_key", "account_id", "instance_id", "created_ms", "released"}


def _columns(table: sa.Table, record_type: type[_Record]) -> list[sa.Column[Any]]:
    return [table.c[name] for name in _names(record_type)]


def _values(record: _Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _names(type(record))}


def _names(record_type: type[_Record]) -> tuple[str, ...]:
    if record_type is Device:
        return Device.__struct_fields__
    return tuple(field.name for field in fields(record_type))


_SELECT_ACCOUNT = sa.select(*_columns(account, Account))
_SELECT_ACCESS_KEY = sa.select(*_columns(access_key, AccessKey))
_SELECT_INSTANCE = sa.select(*_columns(instance, Instance))
_SELECT_PRODUCT = sa.select(*_columns(product, Product))
SELECT_DEVICE = sa.select(*_columns(device, Device))


def raise_version(connection: sa.Connection) -> None:
    """Have others forget what they keep at hand of the registry and of thing models."""
    connection.execute(sa.update(registry_version).values(version=registry_version.c.version + 1))


def _insert(connection: sa.Connection, table: sa.Table, record: _Record) -> None:
    connection.execute(sa.insert(table), _values(record))
    raise_version(connection)


def change(connection: sa.Connection, statement: sa.Update | sa.Delete) -> bool:
    """Run a change of at most one row of the registry; True when there was one."""
    if connection.execute(statement).rowcount == 0:
        return False
    raise_version(connection)
    return True


def _count(connection: sa.Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one()


def read_version(connection: sa.Connection) -> int:
    """The number of changes of the registry so far."""
    version: int = connection.execute(sa.select(registry_version.c.version)).scalar_one()
    return version


def add_account(connection: sa.Connection, new: Account) -> None:
    """See `Store.add_account`."""
    _insert(connection, account, new)


def list_accounts(connection: sa.Connection) -> list[Account]:
    """See `Store.list_accounts`."""
    statement = _SELECT_ACCOUNT.order_by(account.c.created_ms, account.c.account_id)
    return [Account(*row) for row in connection.execute(statement)]


def find_account(connection: sa.Connection, account_id: str) -> Account | None:
    """See `Store.find_account`."""
    row = connection.execute(_SELECT_ACCOUNT.where(account.c.account_id == account_id)).first()
    return Account(*row) if row else None


def add_access_key(connection: sa.Connection, new: AccessKey) -> None:
    """See `Store.add_access_key`."""
    _insert(connection, access_key, new)


def find_access_key(connection: sa.Connection, access_key_id: str) -> AccessKey | None:
    """See `Store.find_access_key`."""
    row = connection.execute(_SELECT_ACCESS_KEY.where(access_key.c.access_key_id == access_key_id)).first()
    return AccessKey(*row) if row else None


def list_access_keys(connection: sa.Connection, account_id: str) -> list[AccessKey]:
    """See `Store.list_access_keys`."""
    statement = _SELECT_ACCESS_KEY.where(access_key.c.account_id == account_id)
    rows = connection.execute(statement.order_by(access_key.c.created_ms, access_key.c.access_key_id))
    return [AccessKey(*row) for row in rows]


def set_access_key_enabled(connection: sa.Connection, access_key_id: str, enabled: bool) -> bool:
    """See `Store.set_access_key_enabled`."""
    statement = sa.update(access_key).where(access_key.c.access_key_id == access_key_id)
    return change(connection, statement.values(enabled=enabled))


def add_instance(connection: sa.Connection, new: Instance) -> None:
    """See `Store.add_instance`."""
    _insert(connection, instance, new)


def list_instances(connection: sa.Connection, account_id: str) -> list[Instance]:
    """See `Store.list_instances`."""
    statement = _SELECT_INSTANCE.where(instance.c.account_id == account_id)
    rows = connection.execute(statement.order_by(instance.c.created_ms, instance.c.instance_id))
    return [Instance(*row) for row in rows]


def add_product(connection: sa.Connection, new: Product) -> None:
    """See `Store.add_product`."""
    _insert(connection, product, new)
    defaults = [
        {"product_key": new.product_key, "topic": topic.topic, "operation": str(topic.operation), "description": ""}
        for topic in topic_classes.default_topics(new.product_key)
    ]
    connection.execute(sa.insert(product_topic), defaults)


def find_product(connection: sa.Connection, product_key: str) -> Product | None:
    """See `Store.find_product`."""
    row = connection.execute(_SELECT_PRODUCT.where(product.c.product_key == product_key)).first()
    return Product(*row) if row else None


def update_product(connection: sa.Connection, changed: Product) -> bool:
    """See `Store.update_product`."""
    values = {name: value for name, value in _values(changed).items() if name not in _PRODUCT_FIELDS_FIXED}
    return change(connection, sa.update(product).where(product.c.product_key == changed.product_key).values(values))


def set_product_released(connection: sa.Connection, product_key: str, released: bool) -> bool:
    """See `Store.set_product_released`."""
    statement = sa.update(product).where(product.c.product_key == product_key)
    return change(connection, statement.values(released=released))


def delete_product(connection: sa.Connection, product_key: str) -> bool:
    """See `Store.delete_product`. Its thing models and tags go with it."""
    # A device that is being added is waited for.
    of_product = product.c.product_key == product_key
    connection.execute(sa.select(product.c.id).where(of_product).with_for_update())
    has_devices = sa.exists().where(device.c.product_key == product_key)
    return change(connection, sa.delete(product).where(of_product, ~has_devices))


def list_products(
    connection: sa.Connection,
    account_id: str,
    instance_id: str | None,
    aliyun_commodity_code: str | None,
    offset: int,
    limit: int,
) -> Page[Product]:
    """See `Store.list_products`."""
    conditions = [product.c.account_id == account_id]
    if instance_id is not None:
        conditions.append(product.c.instance_id == instance_id)
    if aliyun_commodity_code is not None:
        conditions.append(product.c.aliyun_commodity_code == aliyun_commodity_code)
    return Page(read_products(connection, conditions, offset, limit), _count(connection, product, *conditions))


def read_products(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], offset: int, limit: int
) -> list[Product]:
    """Products that meet all conditions, newest first."""
    statement = _SELECT_PRODUCT.where(*conditions).order_by(product.c.id.desc()).offset(offset).limit(limit)
    return [Product(*row) for row in connection.execute(statement)]


def count_products(connection: sa.Connection, account_id: str) -> int:
    """See `Store.count_products`."""
    return _count(connection, product, product.c.account_id == account_id)


def add_devices(connection: sa.Connection, new: Sequence[Device]) -> None:
    """See `Store.add_devices`."""
    if new:
        connection.execute(sa.insert(device), [_values(record) for record in new])
        raise_version(connection)


def find_device(connection: sa.Connection, key: DeviceKey) -> Device | None:
    """One of `find_devices`, or None."""
    return next(iter(find_devices(connection, [key])), None)


def find_device_by_iot_id(connection: sa.Connection, iot_id: str) -> Device | None:
    """See `Store.find_device_by_iot_id`."""
    row = connection.execute(SELECT_DEVICE.where(device.c.iot_id == iot_id)).first()
    return Device(*row) if row else None


_COLUMNS_OF_DEVICE = ", ".join(column.name for column in SELECT_DEVICE.selected_columns)
_FIND_DEVICES = {
    "sqlite": f"SELECT {_COLUMNS_OF_DEVICE} FROM device"
    " WHERE product_key = ? AND device_name IN (SELECT value FROM json_each(?))",
    "postgresql": f"SELECT {_COLUMNS_OF_DEVICE} FROM device"
    " WHERE product_key = $1 AND device_name IN (SELECT json_array_elements_text($2::json))",
}
"""By dialect, for any number of names.

To SQLAlchemy each number is a statement of its own, made at three times what the database takes for it.
"""


def find_devices(connection: sa.Connection, keys: Sequence[DeviceKey]) -> list[Device]:
    """See `Store.find_devices`."""
    names_by_product: dict[str, dict[str, str]] = {}
    for product_key, device_name in keys:
        # No device has it, and no JSON of PostgreSQL's.
        if "\0" not in device_name:
            names_by_product.setdefault(product_key, {})[device_name] = device_name
    statement = _FIND_DEVICES[connection.dialect.name]
    found: list[Device] = []
    for product_key, asked in names_by_product.items():
        rows = connection.exec_driver_sql(statement, (product_key, msgspec.json.encode(list(asked)).decode()))
        found.extend(_make_device(row, asked[row[2]]) for row in rows)
    return found


def _make_device(row: Sequence[Any], device_name: str) -> Device:
    """A device as it is kept in memory for as long as it is in use: what is there already, or many have, once."""
    (
        iot_id,
        product_key,
        _,
        account_id,
        instance_id,
        secret,
        nickname,
        enabled,
        created_ms,
        modified_ms,
        activated_ms,
        online_ms,
        status_ms,
        is_online,
        *others,
    ) = row
    return Device(
        iot_id,
        intern(product_key),
        device_name,
        intern(account_id),
        intern(instance_id),
        secret,
        nickname,
        bool(enabled),
        created_ms,
        created_ms if modified_ms == created_ms else modified_ms,
        activated_ms,
        online_ms,
        status_ms,
        bool(is_online),
        *others,
    )


def list_online_devices(connection: sa.Connection) -> list[Device]:
    """Every device that is written down as online, in no order."""
    return [Device(*row) for row in connection.execute(SELECT_DEVICE.where(device.c.is_online))]


def list_names(connection: sa.Connection, product_key: str, names: Sequence[str]) -> set[str]:
    """Those of some names that devices of a product have."""
    return {found.device_name for found in find_devices(connection, [DeviceKey(product_key, name) for name in names])}


def list_devices(
    connection: sa.Connection, product_key: str, offset: int, limit: int, before_id: int | None = None
) -> Page[Device]:
    """See `Store.list_devices`."""
    of_product = device.c.product_key == product_key
    statement = SELECT_DEVICE.add_columns(device.c.id).where(of_product).order_by(device.c.id.desc())
    if before_id is not None:
        statement = statement.where(device.c.id < before_id)
    # One more tells whether there is a next page.
    rows = connection.execute(statement.offset(offset).limit(limit + 1)).all()
    records = [Device(*row[:-1]) for row in rows[:limit]]
    next_before_id = rows[limit - 1][-1] if len(rows) > limit else None
    return Page(records, _count(connection, device, of_product), next_before_id)


def list_devices_by_status(
    connection: sa.Connection,
    account_id: str,
    instance_id: str | None,
    product_key: str | None,
    status: DeviceStatus | None,
    offset: int,
    limit: int,
) -> Page[Device]:
    """See `Store.list_devices_by_status`."""
    # A product is of one account and instance: its own index finds its devices.
    of_product = [device.c.product_key == product_key]
    conditions = of_product if product_key is not None else _of_account(account_id, instance_id)
    if status is not None:
        conditions.append(_HAS_STATUS[status])
    statement = SELECT_DEVICE.where(*conditions).order_by(device.c.id.desc()).offset(offset).limit(limit)
    records = [Device(*row) for row in connection.execute(statement)]
    return Page(records, _count(connection, device, *conditions))


_IS_ACTIVE = device.c.activated_ms > 0
_HAS_STATUS = {
    DeviceStatus.DISABLE: ~device.c.enabled,
    DeviceStatus.ONLINE: sa.and_(device.c.enabled, device.c.is_online),
    DeviceStatus.OFFLINE: sa.and_(device.c.enabled, ~device.c.is_online, _IS_ACTIVE),
    DeviceStatus.UNACTIVE: sa.and_(device.c.enabled, ~device.c.is_online, ~_IS_ACTIVE),
}
"""The conditions of `SessionTable.status`, on what was last written down."""


def list_devices_by_tags(
    connection: sa.Connection,
    account_id: str,
    instance_id: str | None,
    tags: Sequence[tuple[str, str]],
    offset: int,
    limit: int,
) -> Page[Device]:
    """See `Store.list_devices_by_tags`."""
    conditions = _of_account(account_id, instance_id)
    for name, value in tags:
        has_tag = (device_tag.c.name == name, device_tag.c.value == value)
        conditions.append(device.c.id.in_(sa.select(device_tag.c.device_id).where(*has_tag)))
    statement = SELECT_DEVICE.where(*conditions).order_by(device.c.id.desc()).offset(offset).limit(limit)
    records = [Device(*row) for row in connection.execute(statement)]
    return Page(records, _count(connection, device, *conditions))


def _of_account(account_id: str, instance_id: str | None) -> list[sa.ColumnElement[bool]]:
    conditions = [device.c.account_id == account_id]
    return conditions if instance_id is None else [*conditions, device.c.instance_id == instance_id]


def set_nicknames(connection: sa.Connection, nicknames: Mapping[DeviceKey, str], at_ms: int) -> bool:
    """See `Store.set_nicknames`."""
    if len(find_devices(connection, list(nicknames))) < len(nicknames):
        return False
    for key, nickname in nicknames.items():
        connection.execute(sa.update(device).where(is_device(key)).values(nickname=nickname, modified_ms=at_ms))
    raise_version(connection)
    return True


def reset_device(connection: sa.Connection, key: DeviceKey, at_ms: int) -> list[DeviceKey] | None:
    """See `Store.reset_device`."""
    if not change(connection, sa.update(device).where(is_device(key)).values(reset_ms=at_ms, modified_ms=at_ms)):
        return None
    of_gateway = topology.c.gateway_id == device_id_of(key)
    sub_devices = sa.select(device.c.product_key, device.c.device_name).join(
        topology, topology.c.device_id == device.c.id
    )
    freed = [DeviceKey(*row) for row in connection.execute(sub_devices.where(of_gateway).order_by(device.c.id))]
    connection.execute(sa.delete(topology).where(of_gateway))
    return freed


def set_device_enabled(connection: sa.Connection, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
    """See `Store.set_device_enabled`."""
    return change(connection, sa.update(device).where(is_device(key)).values(enabled=enabled, modified_ms=at_ms))


def delete_device(connection: sa.Connection, key: DeviceKey) -> bool:
    """See `Store.delete_device`. What is the device's own goes with it, the messages that wait for it too."""
    is_deleted = change(connection, sa.delete(device).where(is_device(key)))
    if is_deleted:
        drop_messages_of(connection, key)
    return is_deleted


def count_devices(connection: sa.Connection, product_key: str) -> int:
    """See `Store.count_devices`."""
    return _count(connection, device, device.c.product_key == product_key)


def read_statistics(
    connection: sa.Connection, account_id: str, instance_id: str | None, product_key: str | None
) -> ProductStatistics:
    """See `Store.device_statistics`."""
    count = sa.func.count()
    statement = sa.select(count, count.filter(device.c.activated_ms > 0), count.filter(device.c.is_online))
    statement = statement.select_from(device).where(device.c.account_id == account_id)
    if instance_id is not None:
        statement = statement.where(device.c.instance_id == instance_id)
    if product_key is not None:
        statement = statement.where(device.c.product_key == product_key)
    return ProductStatistics(*connection.execute(statement).one())

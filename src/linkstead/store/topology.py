"""Statements on which devices are behind which gateway."""

from collections.abc import Sequence

import sqlalchemy as sa

from linkstead.registry import SUB_DEVICES_MAX, Device, DeviceGone, DeviceKey, Page, TooManySubDevices
from linkstead.store.tables import device, device_id_of, is_device, lock_device, topology

_gateway = device.alias("gateway")
_FIND_GATEWAY = (
    sa.select(topology.c.gateway_id, _gateway.c.product_key, _gateway.c.device_name)
    .select_from(topology.join(_gateway, _gateway.c.id == topology.c.gateway_id))
    .where(topology.c.device_id == sa.bindparam("sub_device_id"))
)
_SELECT_DEVICE = sa.select(*(device.c[name] for name in Device.__struct_fields__))


def bind_sub_devices(
    connection: sa.Connection, gateway: DeviceKey, sub_devices: Sequence[DeviceKey], now_ms: int
) -> dict[DeviceKey, DeviceKey]:
    """See `TopologyStore.bind_sub_devices`."""
    gateway_id = _find_id(connection, gateway)
    moved: dict[DeviceKey, DeviceKey] = {}
    for key in sub_devices:
        device_id = _find_id(connection, key)
        present = connection.execute(_FIND_GATEWAY, {"sub_device_id": device_id}).first()
        if present is not None and present.gateway_id == gateway_id:
            continue
        if present is not None:
            moved[key] = DeviceKey(present.product_key, present.device_name)
            connection.execute(sa.delete(topology).where(topology.c.device_id == device_id))
        connection.execute(
            sa.insert(topology), {"device_id": device_id, "gateway_id": gateway_id, "created_ms": now_ms}
        )
    if _count(connection, topology.c.gateway_id == gateway_id) > SUB_DEVICES_MAX:
        raise TooManySubDevices
    return moved


def _find_id(connection: sa.Connection, key: DeviceKey) -> int:
    device_id = lock_device(connection, key)
    if device_id is None:
        raise DeviceGone(key)
    return device_id


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(topology).where(condition)).scalar_one()


def unbind_sub_devices(
    connection: sa.Connection, gateway: DeviceKey, sub_devices: Sequence[DeviceKey]
) -> list[DeviceKey]:
    """See `TopologyStore.unbind_sub_devices`."""
    of_gateway = topology.c.gateway_id == device_id_of(gateway)
    return [
        key
        for key in dict.fromkeys(sub_devices)
        if connection.execute(sa.delete(topology).where(of_gateway, topology.c.device_id == device_id_of(key))).rowcount
    ]


def list_sub_devices(connection: sa.Connection, gateway: DeviceKey, offset: int, limit: int) -> Page[Device]:
    """See `TopologyStore.list_sub_devices`."""
    of_gateway = topology.c.gateway_id == device_id_of(gateway)
    statement = _SELECT_DEVICE.join(topology, topology.c.device_id == device.c.id).where(of_gateway)
    latest_first = topology.c.created_ms.desc(), topology.c.device_id.desc()
    rows = connection.execute(statement.order_by(*latest_first).offset(offset).limit(limit))
    return Page([Device(*row) for row in rows], _count(connection, of_gateway))


def find_gateway(connection: sa.Connection, sub_device: DeviceKey) -> DeviceKey | None:
    """See `TopologyStore.find_gateway`."""
    device_id = connection.execute(sa.select(device.c.id).where(is_device(sub_device))).scalar()
    row = connection.execute(_FIND_GATEWAY, {"sub_device_id": device_id}).first()
    return DeviceKey(row.product_key, row.device_name) if row is not None else None

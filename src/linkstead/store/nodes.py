"""Statements on the nodes of a cluster, and on which of them holds a device."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

# The clause is the same on both engines, and only this dialect's form of it can be compiled for the other too.
from sqlalchemy.dialects.postgresql import insert

from linkstead.registry import DeviceKey, Node, NodeState, Presence
from linkstead.store.sessions import keep_left_session
from linkstead.store.tables import device, is_device, node

_NODE_FIELDS = [field.name for field in fields(Node)]

_ADD = insert(node)
_BEAT = _ADD.on_conflict_do_update(
    index_elements=["node_id"],
    set_={name: _ADD.excluded[name] for name in _NODE_FIELDS if name != "node_id"},
    where=node.c.epoch <= _ADD.excluded.epoch,
)

_SELECT_PRESENCE = sa.select(
    *(device.c[name] for name in ("product_key", "device_name")),
    *(device.c[field.name] for field in fields(Presence)[1:]),
)


def beat(connection: sa.Connection, now: Node) -> bool:
    """See `NodeStore.beat`."""
    return connection.execute(_BEAT, {name: getattr(now, name) for name in _NODE_FIELDS}).rowcount > 0


def list_nodes(connection: sa.Connection) -> list[Node]:
    """See `NodeStore.list_nodes`."""
    rows = connection.execute(sa.select(*(node.c[name] for name in _NODE_FIELDS)).order_by(node.c.node_id))
    return [Node(**{**row, "state": NodeState(row["state"])}) for row in rows.mappings()]


def remove_node(connection: sa.Connection, node_id: str) -> bool:
    """See `NodeStore.remove_node`."""
    return connection.execute(sa.delete(node).where(node.c.node_id == node_id)).rowcount > 0


def find_latest_epoch(connection: sa.Connection) -> int:
    """See `NodeStore.find_latest_epoch`."""
    return connection.execute(sa.select(sa.func.max(device.c.holder_epoch))).scalar() or 0


def find_presence(connection: sa.Connection, key: DeviceKey) -> Presence | None:
    """See `NodeStore.find_presence`."""
    row = connection.execute(_SELECT_PRESENCE.where(is_device(key))).first()
    return _make_presence(row) if row else None


def list_held_devices(connection: sa.Connection, node_id: str, limit: int) -> list[Presence]:
    """See `NodeStore.list_held_devices`."""
    statement = _SELECT_PRESENCE.where(device.c.is_online, device.c.holder == node_id).limit(limit)
    return [_make_presence(row) for row in connection.execute(statement)]


def release_devices(connection: sa.Connection, presences: Sequence[Presence], at_ms: int) -> list[DeviceKey]:
    """See `NodeStore.release_devices`."""
    # In one order everywhere, so that no two nodes wait for each other's rows.
    return [found.key for found in sorted(presences, key=lambda found: found.key) if _release(connection, found, at_ms)]


def _release(connection: sa.Connection, found: Presence, at_ms: int) -> bool:
    statement = (
        sa.update(device)
        .where(
            is_device(found.key),
            device.c.is_online,
            device.c.holder == found.holder,
            device.c.holder_epoch == found.holder_epoch,
        )
        .values(is_online=False, status_ms=at_ms, half_until_ms=0)
    )
    if connection.execute(statement).rowcount == 0:
        return False
    keep_left_session(connection, found.key, at_ms)
    return True


def _make_presence(row: Sequence[Any]) -> Presence:
    product_key, device_name, *others = row
    return Presence(DeviceKey(product_key, device_name), *others)

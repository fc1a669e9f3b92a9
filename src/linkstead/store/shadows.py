"""Statements on the shadows of devices."""

from collections.abc import Callable

import sqlalchemy as sa

from linkstead.registry import DeviceKey
from linkstead.store.tables import device_id_of, device_shadow, lock_device
from linkstead.telemetry import Shadow, read_shadow, write_shadow

_SAVE = sa.text(
    "INSERT INTO device_shadow (device_id, document) VALUES (:device_id, :document)"
    " ON CONFLICT (device_id) DO UPDATE SET document = excluded.document"
)


def find(connection: sa.Connection, key: DeviceKey) -> Shadow | None:
    """See `TelemetryStore.find_shadow`."""
    statement = sa.select(device_shadow.c.document).where(device_shadow.c.device_id == device_id_of(key))
    document = connection.execute(statement).scalar()
    return read_shadow(document) if document is not None else None


def change(connection: sa.Connection, key: DeviceKey, edit: Callable[[Shadow], Shadow]) -> Shadow | None:
    """See `TelemetryStore.change_shadow`."""
    device_id = lock_device(connection, key)
    if device_id is None:
        return None
    changed = edit(find(connection, key) or Shadow())
    connection.execute(_SAVE, {"device_id": device_id, "document": write_shadow(changed)})
    return changed

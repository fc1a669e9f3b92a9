"""Statements on the certificates of devices.

They are read whenever a device shows one, so nobody keeps them at hand, and the registry's version is left alone.
"""

import sqlalchemy as sa

from linkstead.registry import DeviceCertificate, DeviceKey
from linkstead.store.tables import device, device_certificate, device_id_of, is_device, lock_device

_SELECT = sa.select(
    device.c.product_key,
    device.c.device_name,
    device_certificate.c.fingerprint,
    device_certificate.c.serial_number,
    device_certificate.c.certificate,
    device_certificate.c.not_after_ms,
).join_from(device_certificate, device, device.c.id == device_certificate.c.device_id)


def set_certificate(connection: sa.Connection, new: DeviceCertificate) -> bool:
    """See `Store.set_device_certificate`."""
    device_id = lock_device(connection, new.key)
    if device_id is None:
        return False
    delete_certificate(connection, new.key)
    connection.execute(
        sa.insert(device_certificate),
        {
            "device_id": device_id,
            "fingerprint": new.fingerprint,
            "serial_number": new.serial_number,
            "certificate": new.certificate,
            "not_after_ms": new.not_after_ms,
        },
    )
    return True


def delete_certificate(connection: sa.Connection, key: DeviceKey) -> bool:
    """See `Store.delete_device_certificate`."""
    statement = sa.delete(device_certificate).where(device_certificate.c.device_id == device_id_of(key))
    return connection.execute(statement).rowcount > 0


def find_of_device(connection: sa.Connection, key: DeviceKey) -> DeviceCertificate | None:
    """See `Store.find_device_certificate`."""
    return _read(connection, is_device(key))


def find(connection: sa.Connection, fingerprint: str) -> DeviceCertificate | None:
    """See `Store.find_certificate`."""
    return _read(connection, device_certificate.c.fingerprint == fingerprint)


def _read(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> DeviceCertificate | None:
    row = connection.execute(_SELECT.where(condition)).first()
    return DeviceCertificate(DeviceKey(*row[:2]), *row[2:]) if row else None

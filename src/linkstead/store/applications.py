"""Statements on applications. See `registry.Store` for what each does."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from linkstead.registry import Application, ApplicationDevice, ApplicationStatus, Device, Page
from linkstead.registry.applications import EXISTING_DEVICE_NAME
from linkstead.store.statements import SELECT_DEVICE, add_devices, list_names
from linkstead.store.tables import application, application_device, device, is_left, lock_product

_COLUMN = application.c
_OF = application_device.c
_SELECT = sa.select(_COLUMN.id, _COLUMN.product_key, _COLUMN.status, _COLUMN.device_count, _COLUMN.created_ms)
_SELECT_DEVICES = sa.select(_OF.position, _OF.device_name, _OF.nickname, _OF.iot_id, _OF.error)
_IS_OPEN = _COLUMN.status.in_([status for status in ApplicationStatus if status.is_open])

_ADD_DEVICE = sa.text(
    "INSERT INTO application_device (apply_id, position, device_name, nickname, iot_id, error)"
    " VALUES (:apply_id, :position, :device_name, :nickname, '', '')"
)
_SET_DEVICE = sa.text(
    "UPDATE application_device SET device_name = :device_name, iot_id = :iot_id, error = :error"
    " WHERE apply_id = :apply_id AND position = :position"
)
_AFTER = {
    ApplicationStatus.CHECK: (ApplicationStatus.CHECK_SUCCESS, ApplicationStatus.CHECK_FAILED),
    ApplicationStatus.CREATE: (ApplicationStatus.CREATE_SUCCESS, ApplicationStatus.CREATE_FAILED),
}


def add_application(
    connection: sa.Connection,
    new: Application,
    devices: Sequence[ApplicationDevice],
    open_max: int,
    kept_max: int,
    worker: str,
) -> int | None:
    """See `Store.add_application`."""
    lock_product(connection, new.product_key)
    of_product = _COLUMN.product_key == new.product_key
    count = sa.select(sa.func.count()).select_from(application).where(of_product)
    if connection.execute(count.where(_IS_OPEN)).scalar_one() >= open_max:
        return None
    excess = connection.execute(count).scalar_one() - kept_max + 1
    if excess > 0:
        oldest = sa.select(_COLUMN.id).where(of_product, ~_IS_OPEN).order_by(_COLUMN.id).limit(excess)
        connection.execute(sa.delete(application).where(_COLUMN.id.in_(oldest)))
    values = {
        "product_key": new.product_key,
        "status": str(new.status),
        "device_count": new.device_count,
        "created_ms": new.created_ms,
        "worker": worker,
    }
    apply_id: int = connection.execute(sa.insert(application).values(values).returning(_COLUMN.id)).scalar_one()
    rows = [
        {
            "apply_id": apply_id,
            "position": each.position,
            "device_name": each.device_name,
            "nickname": each.nickname,
        }
        for each in devices
    ]
    connection.execute(_ADD_DEVICE, rows)
    return apply_id


def find_application(connection: sa.Connection, apply_id: int) -> Application | None:
    """See `Store.find_application`."""
    row = connection.execute(_SELECT.where(_COLUMN.id == apply_id)).first()
    return _read(row) if row else None


def start_application(connection: sa.Connection, apply_id: int, worker: str) -> bool:
    """See `Store.start_application`."""
    if not _move(connection, apply_id, ApplicationStatus.CHECK_SUCCESS, ApplicationStatus.CREATE):
        return False
    connection.execute(sa.update(application).where(_COLUMN.id == apply_id).values(worker=worker))
    return True


def list_open_applications(connection: sa.Connection, worker: str) -> list[Application]:
    """See `Store.list_open_applications`."""
    statement = _SELECT.where(_IS_OPEN, _COLUMN.worker == worker).order_by(_COLUMN.id)
    return [_read(row) for row in connection.execute(statement)]


def take_over_applications(connection: sa.Connection, by: str, gone: Sequence[str]) -> int:
    """See `NodeStore.take_over`."""
    statement = sa.update(application).where(_IS_OPEN, _COLUMN.worker != by, is_left(_COLUMN.worker, gone))
    return connection.execute(statement.values(worker=by)).rowcount


def check_application(connection: sa.Connection, checked: Application, first: int, count: int) -> None:
    """See `Store.check_application`."""
    is_registered = sa.exists().where(
        device.c.product_key == checked.product_key, device.c.device_name == _OF.device_name
    )
    is_meant = sa.and_(_OF.apply_id == checked.apply_id, _OF.position.between(first, first + count - 1))
    connection.execute(sa.update(application_device).where(is_meant, is_registered).values(error=EXISTING_DEVICE_NAME))


def list_waiting_devices(connection: sa.Connection, apply_id: int, after: int, limit: int) -> list[ApplicationDevice]:
    """See `Store.list_waiting_devices`."""
    waits = (_OF.apply_id == apply_id, _OF.position > after, _OF.iot_id == "", _OF.error == "")
    rows = connection.execute(_SELECT_DEVICES.where(*waits).order_by(_OF.position).limit(limit))
    return [ApplicationDevice(*row) for row in rows]


def register_application(
    connection: sa.Connection, worked_off: Application, devices: Sequence[tuple[int, Device]]
) -> tuple[list[Device], bool]:
    """See `Store.register_application`."""
    # Whoever else works on it waits here, and finds fewer that wait.
    connection.execute(sa.select(_COLUMN.id).where(_COLUMN.id == worked_off.apply_id).with_for_update())
    current = find_application(connection, worked_off.apply_id)
    if current is None or current.status is not ApplicationStatus.CREATE:
        return [], True
    first, last = devices[0][0], devices[-1][0]
    waiting = {
        each.position: each
        for each in list_waiting_devices(connection, worked_off.apply_id, first - 1, last - first + 1)
        if each.position <= last
    }
    wanted = [(position, each) for position, each in devices if position in waiting]
    taken = list_names(connection, worked_off.product_key, [each.device_name for _, each in wanted])
    free: list[Device] = []
    rows = []
    is_all = True
    for position, each in wanted:
        row = {"apply_id": worked_off.apply_id, "position": position, "device_name": each.device_name, "error": ""}
        if each.device_name not in taken:
            # Two drawn names may be the same.
            taken.add(each.device_name)
            free.append(each)
            rows.append({**row, "iot_id": each.iot_id})
        elif waiting[position].device_name:
            rows.append({**row, "iot_id": "", "error": EXISTING_DEVICE_NAME})
        else:
            is_all = False
    add_devices(connection, free)
    if rows:
        connection.execute(_SET_DEVICE, rows)
    return free, is_all


def close_application(connection: sa.Connection, closed: Application) -> None:
    """See `Store.close_application`."""
    success, failure = _AFTER[closed.status]
    is_at_fault = _OF.error != "" if closed.status is ApplicationStatus.CHECK else _OF.iot_id == ""
    faults = sa.select(_OF.position).where(_OF.apply_id == closed.apply_id, is_at_fault).limit(1)
    is_failed = connection.execute(faults).first() is not None
    _move(connection, closed.apply_id, closed.status, failure if is_failed else success)


def list_application_devices(connection: sa.Connection, apply_id: int) -> list[ApplicationDevice]:
    """See `Store.list_application_devices`."""
    rows = connection.execute(_SELECT_DEVICES.where(_OF.apply_id == apply_id).order_by(_OF.position))
    return [ApplicationDevice(*row) for row in rows]


def list_registered_devices(connection: sa.Connection, apply_id: int, offset: int, limit: int) -> Page[Device]:
    """See `Store.list_registered_devices`."""
    is_its = sa.and_(_OF.apply_id == apply_id, _OF.iot_id == device.c.iot_id)
    statement = SELECT_DEVICE.join(application_device, is_its).order_by(_OF.position).offset(offset).limit(limit)
    count = sa.select(sa.func.count()).select_from(device).join(application_device, is_its)
    records = [Device(*row) for row in connection.execute(statement)]
    return Page(records, connection.execute(count).scalar_one())


def _move(connection: sa.Connection, apply_id: int, old: ApplicationStatus, new: ApplicationStatus) -> bool:
    statement = sa.update(application).where(_COLUMN.id == apply_id, _COLUMN.status == str(old)).values(status=str(new))
    return connection.execute(statement).rowcount > 0


def _read(row: Any) -> Application:
    return Application(row.id, row.product_key, ApplicationStatus(row.status), row.device_count, row.created_ms)

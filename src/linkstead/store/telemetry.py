"""What devices report and are desired to be: present values, histories, desired values, tags.

What comes of a device that is gone is passed over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from linkstead.registry import DeviceKey
from linkstead.store.tables import (
    INTEGER_MAX,
    desired_property,
    device_id_of,
    device_tag,
    event_history,
    lock_device,
    property_history,
    property_present,
)
from linkstead.telemetry import DesiredProperty, EventRecord, PropertyPoint, Span, VersionConflict

REPORTS_LISTED_MAX = 1_000
"""Values or events in one listing, whatever the span says."""

_OF_DEVICE = " FROM device WHERE product_key = :product_key AND device_name = :device_name"

# Text, so that a row goes to the driver as the tuple it is, its values in the order they are named here. PostgreSQL
# takes a value that is selected for a text unless it is told otherwise.
_ADD_POINT = sa.text(
    "INSERT INTO property_history (device_id, identifier, value, time_ms)"
    " SELECT id, :identifier, :value, CAST(:time_ms AS BIGINT)" + _OF_DEVICE
)
_ADD_EVENT = sa.text(
    "INSERT INTO event_history (device_id, identifier, name, event_type, output, time_ms)"
    " SELECT id, :identifier, :name, :event_type, :output, CAST(:time_ms AS BIGINT)" + _OF_DEVICE
)
_SET_PRESENT = sa.text(
    "INSERT INTO property_present (device_id, identifier, value, time_ms)"
    " SELECT id, :identifier, :value, CAST(:time_ms AS BIGINT)"
    + _OF_DEVICE
    + " ON CONFLICT (device_id, identifier) DO UPDATE SET value = excluded.value, time_ms = excluded.time_ms"
    " WHERE excluded.time_ms >= property_present.time_ms"
)
_SAVE_DESIRED = sa.text(
    "INSERT INTO desired_property (device_id, identifier, value, version, time_ms)"
    " VALUES (:device_id, :identifier, :value, :version, :time_ms)"
    " ON CONFLICT (device_id, identifier) DO UPDATE"
    " SET value = excluded.value, version = excluded.version, time_ms = excluded.time_ms"
)
_SAVE_TAG = sa.text(
    "INSERT INTO device_tag (device_id, name, value) SELECT id, :name, :value" + _OF_DEVICE + " ON CONFLICT"
    " (device_id, name) DO UPDATE SET value = excluded.value"
)


def measure_report(report: PropertyPoint | EventRecord) -> int:
    """The bytes of its texts.

    Raises:
        ValueError: a text that is not UTF-8, or a moment past 64 bits; it cannot be kept.
    """
    if abs(report.time_ms) > INTEGER_MAX:
        raise ValueError(f"time_ms must fit into 64 bits, not {report.time_ms}")
    if isinstance(report, PropertyPoint):
        return len(report.identifier.encode()) + len(report.value.encode())
    texts = (report.identifier, report.name, report.event_type, report.output)
    return sum(len(text.encode()) for text in texts)


def newest(earlier: PropertyPoint, later: PropertyPoint) -> PropertyPoint:
    """Of two values of a property the present one: the newer, of two of one moment the one that came later."""
    return later if later.time_ms >= earlier.time_ms else earlier


def write_points(connection: sa.Connection, points: Sequence[PropertyPoint]) -> None:
    """Write values into the history."""
    _run(connection, _ADD_POINT, [(point.identifier, point.value, point.time_ms, *point.key) for point in points])


def write_present(connection: sa.Connection, points: Sequence[PropertyPoint]) -> None:
    """Write values as present ones, where none newer is there."""
    _run(connection, _SET_PRESENT, [(point.identifier, point.value, point.time_ms, *point.key) for point in points])


def write_events(connection: sa.Connection, events: Sequence[EventRecord]) -> None:
    """Write events into the history."""
    rows = [(one.identifier, one.name, one.event_type, one.output, one.time_ms, *one.key) for one in events]
    _run(connection, _ADD_EVENT, rows)


def _run(connection: sa.Connection, statement: sa.TextClause, rows: Sequence[tuple[object, ...]]) -> None:
    connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)), list(rows))


def list_present_properties(connection: sa.Connection, key: DeviceKey) -> list[PropertyPoint]:
    """See `TelemetryStore.list_present_properties`; by identifier."""
    column = property_present.c
    statement = sa.select(column.identifier, column.value, column.time_ms).where(column.device_id == device_id_of(key))
    return [PropertyPoint(key, *row) for row in connection.execute(statement.order_by(column.identifier))]


def list_properties(connection: sa.Connection, key: DeviceKey, identifier: str, span: Span) -> list[PropertyPoint]:
    """See `TelemetryStore.list_properties`; at most `REPORTS_LISTED_MAX`."""
    column = property_history.c
    statement = sa.select(column.identifier, column.value, column.time_ms, column.id).where(
        column.device_id == device_id_of(key), column.identifier == identifier
    )
    return [PropertyPoint(key, *row) for row in connection.execute(_within(statement, property_history, span))]


def list_events(
    connection: sa.Connection, key: DeviceKey, identifier: str | None, event_type: str | None, span: Span
) -> list[EventRecord]:
    """See `TelemetryStore.list_events`; at most `REPORTS_LISTED_MAX`."""
    column = event_history.c
    columns = (column.identifier, column.name, column.event_type, column.output, column.time_ms, column.id)
    statement = sa.select(*columns).where(column.device_id == device_id_of(key))
    if identifier is not None:
        statement = statement.where(column.identifier == identifier)
    if event_type is not None:
        statement = statement.where(column.event_type == event_type)
    return [EventRecord(key, *row) for row in connection.execute(_within(statement, event_history, span))]


def _within(statement: sa.Select[Any], table: sa.Table, span: Span) -> sa.Select[Any]:
    order = (table.c.time_ms, table.c.id) if span.ascending else (table.c.time_ms.desc(), table.c.id.desc())
    if span.after is not None:
        place, last = sa.tuple_(table.c.time_ms, table.c.id), sa.tuple_(span.after[0], int(span.after[1]))
        statement = statement.where(place > last if span.ascending else place < last)
    return (
        statement.where(table.c.time_ms.between(span.start_ms, span.end_ms))
        .order_by(*order)
        .limit(min(max(span.limit, 0), REPORTS_LISTED_MAX))
    )


def list_desired(connection: sa.Connection, key: DeviceKey) -> list[DesiredProperty]:
    """See `TelemetryStore.list_desired`; by identifier."""
    column = desired_property.c
    statement = sa.select(column.identifier, column.value, column.version, column.time_ms)
    rows = connection.execute(statement.where(column.device_id == device_id_of(key)).order_by(column.identifier))
    return [DesiredProperty(*row) for row in rows]


def set_desired(
    connection: sa.Connection, key: DeviceKey, values: Mapping[str, str], versions: Mapping[str, int], now_ms: int
) -> dict[str, int]:
    """See `TelemetryStore.set_desired`; of a device that is gone there are no versions."""
    device_id = lock_device(connection, key)
    current = {desired.identifier: desired for desired in list_desired(connection, key)}
    _check_versions(current, {name: version or None for name, version in versions.items()})
    return _change_desired(connection, device_id, current, values, now_ms)


def clear_desired(
    connection: sa.Connection, key: DeviceKey, versions: Mapping[str, int | None], now_ms: int
) -> dict[str, int]:
    """See `TelemetryStore.clear_desired`; what is cleared already keeps its version."""
    device_id = lock_device(connection, key)
    current = {desired.identifier: desired for desired in list_desired(connection, key)}
    _check_versions(current, versions)
    named = {name: current[name] for name in versions or current if name in current}
    cleared = {name: None for name, desired in named.items() if desired.value is not None}
    kept = {name: desired.version for name, desired in named.items()}
    return kept | _change_desired(connection, device_id, current, cleared, now_ms)


def _check_versions(current: Mapping[str, DesiredProperty], versions: Mapping[str, int | None]) -> None:
    for name, version in versions.items():
        if version is not None and version != (current[name].version if name in current else 0):
            raise VersionConflict(name)


def _change_desired(
    connection: sa.Connection,
    device_id: int | None,
    current: Mapping[str, DesiredProperty],
    values: Mapping[str, str | None],
    now_ms: int,
) -> dict[str, int]:
    if device_id is None or not values:
        return {}
    changed = {name: (current[name].version if name in current else 0) + 1 for name in values}
    connection.execute(
        _SAVE_DESIRED,
        [
            {"device_id": device_id, "identifier": name, "value": value, "version": changed[name], "time_ms": now_ms}
            for name, value in values.items()
        ],
    )
    return changed


def list_tags(connection: sa.Connection, key: DeviceKey) -> dict[str, str]:
    """See `TelemetryStore.list_tags`; by name."""
    column = device_tag.c
    statement = sa.select(column.name, column.value).where(column.device_id == device_id_of(key)).order_by(column.name)
    return {row.name: row.value for row in connection.execute(statement)}


def save_tags(connection: sa.Connection, key: DeviceKey, tags: Mapping[str, str]) -> None:
    """See `TelemetryStore.save_tags`."""
    rows = [(name, value, *key) for name, value in tags.items()]
    if rows:
        _run(connection, _SAVE_TAG, rows)


def delete_tags(connection: sa.Connection, key: DeviceKey, names: Sequence[str]) -> None:
    """See `TelemetryStore.delete_tags`."""
    of_device = sa.delete(device_tag).where(device_tag.c.device_id == device_id_of(key))
    if names:
        connection.execute(
            of_device.where(device_tag.c.name == sa.bindparam("of_name")), [{"of_name": n} for n in names]
        )

"""The history of calls: a call as a row and back, and the statements on rows. Most calls are in `segments`.

A record is MessagePack: the fields of `Call` and of `Moment` by place, without their names, which would double it. So a
field may be added at the end of either; one that is moved, renamed or dropped needs a revision.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, CallFilter, Stage, Verdict
from linkstead.registry import DeviceKey
from linkstead.store.tables import INTEGER_MAX, call_history, message
from linkstead.telemetry import Span

log = logging.getLogger(__name__)

CALLS_LISTED_MAX = 1_000
"""Calls in one listing, whatever the filter says."""

CALLS_MERGED_AT_ONCE_MAX: Final = 500
"""Rows read in one go, to be written with what is in them."""

SERVICE_ACTIONS = frozenset({"InvokeThingService", "InvokeThingsService", "SetDeviceProperty", "SetDevicesProperty"})
"""The actions whose calls are a device's service data; of these `Call.target` is the identifier.

Source: QueryDeviceServiceData reference.
"""

CallRow = tuple[
    str, int | None, str, str | None, str | None, str, str | None, str | None, int, bytes, int | None, str | None
]
"""The columns of `call_history` but its `id`, in the order of the table."""

_NO_KEY: Final = (None, None)

_SURELY_FITS: Final = 1 << 61
"""Below it compiled code compares numbers at once; with larger ones, as `INTEGER_MAX` is, in 200 steps."""

RECORD: Final = 9
"""Where in a row the whole call is."""


_encode_into: Final = msgspec.msgpack.Encoder().encode_into
# A new one for each record would grow six times to its size.
_buffer: Final = bytearray()
_decode: Final = msgspec.msgpack.Decoder(Call).decode

_COLUMNS = [column.name for column in call_history.columns if column.name != "id"]

# Text, so that a row goes to the driver as the tuple it is: SQLAlchemy's own insert would take a dictionary apart.
_INSERT = sa.text(
    f"INSERT INTO call_history ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})"
)
_LATER = ("verdict", "diagnosis", "record", "service")
"""What becomes another while a call goes on; `service` where an earlier version had written it.

The rest stays as it was first written, and its indexes need not be written again.
"""

_UPSERT = sa.text(
    f"{_INSERT} ON CONFLICT (request_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _LATER)} "
    "WHERE call_history.verdict IS NULL OR call_history.verdict = excluded.verdict"
)
"""A verdict never becomes another: a node that was taken for dead may still write what it thinks of a call."""


_INSERT_UNKNOWN = sa.text(f"{_INSERT} ON CONFLICT (request_id) DO NOTHING")


@lru_cache
def compile_text(statement: sa.TextClause, dialect: sa.Dialect) -> str:
    """The text of a statement as the driver takes it."""
    return str(statement.compile(dialect=dialect))


def encode_call(call: Call) -> CallRow:
    """A call as a row.

    Raises:
        ValueError, OverflowError: a text that is not UTF-8, a number past 64 bits; it cannot be kept.
    """
    record = encode_record(call)
    product_key, device_name = call.key or _NO_KEY
    message_id, alink_id, timeline = call.message_id, call.alink_id, call.timeline
    action, verdict, diagnosis = call.action, call.verdict, call.diagnosis
    return (
        call.request_id,
        message_id or None,
        call.account_id,
        product_key,
        device_name,
        action,
        # The text that each is; `value`, which is looked up in its class, takes as long as all the rest.
        None if verdict is None else verdict._value_,
        None if diagnosis is None else diagnosis._value_,
        timeline[0].time_ms if timeline else 0,
        record,
        alink_id or None,
        service_of(call),
    )


def service_of(call: Call) -> str | None:
    """What a device's service data name a call by; None for one that is not among them."""
    return call.target if call.action in SERVICE_ACTIONS and call.verdict is not Verdict.REJECTED else None


def encode_record(call: Call) -> bytes:
    """What a row's `record` is, for a call that can be a row. Raises ValueError, OverflowError: see `encode_call`."""
    message_id, alink_id, timeline = call.message_id, call.alink_id, call.timeline
    received_ms = timeline[0].time_ms if timeline else 0
    if (message_id > _SURELY_FITS or alink_id > _SURELY_FITS or received_ms > _SURELY_FITS) and (
        max(message_id, alink_id, received_ms) > INTEGER_MAX
    ):
        raise OverflowError("a number is too large for its column")
    _encode_into(call, _buffer)
    return bytes(_buffer)


def decode_call(record: bytes) -> Call:
    """The call of a row's `record`. Raises msgspec.DecodeError."""
    return _decode(record)


def write_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write rows; one whose request id is there already is replaced, unless it has another verdict."""
    connection.exec_driver_sql(compile_text(_UPSERT, connection.dialect), list(rows))


def write_shared_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write rows of calls that several nodes may write of, each with what others have written of it meanwhile.

    Evidence comes to whichever node a device is connected to, and what that knows of a call may be older than its row.
    So the two are merged, see `Call.merge`. One that cannot be read, as of a later version, stays as it is.
    """
    column = call_history.c
    for start in range(0, len(rows), CALLS_MERGED_AT_ONCE_MAX):
        some = rows[start : start + CALLS_MERGED_AT_ONCE_MAX]
        names = sorted(row[0] for row in some)
        statement = sa.select(column.request_id, column.record).where(column.request_id.in_(names))
        found = connection.execute(statement.order_by(column.request_id).with_for_update())
        # As mappings: rows are no tuples, though their types say so, and compiled code goes by that.
        kept = {row["request_id"]: _read_kept(row["request_id"], row["record"]) for row in found.mappings()}
        merged = [_merge(row, kept[row[0]]) if row[0] in kept else row for row in some]
        if written := [row for row in merged if row is not None]:
            write_calls(connection, written)


def _read_kept(request_id: str, record: bytes) -> Call | None:
    try:
        return decode_call(record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.exception("a call in the database cannot be read, and stays as it is", extra={"call": request_id})
        return None


def _merge(row: CallRow, kept: Call | None) -> CallRow | None:
    if kept is None:
        return None
    call = decode_call(row[RECORD])
    if kept.overrules(call):
        # That end stays; but what the device said is not lost.
        kept.keep_overruled(call)
        return encode_call(kept)
    return encode_call(call) if call.merge(kept) else row


def add_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write rows whose request ids are new."""
    if rows:
        connection.exec_driver_sql(compile_text(_INSERT, connection.dialect), list(rows))


def add_unknown_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write the rows whose request ids are new; the others stay as they are."""
    connection.exec_driver_sql(compile_text(_INSERT_UNKNOWN, connection.dialect), list(rows))


def find_call_by_message_id(connection: sa.Connection, account_id: str, message_id: int) -> Call | None:
    """The account's call of this message id that has a row."""
    return _find_latest(connection, account_id, call_history.c.message_id == message_id)


def find_call_by_request_id(connection: sa.Connection, account_id: str, request_id: str) -> Call | None:
    """Likewise of this request id."""
    return _find_latest(connection, account_id, call_history.c.request_id == request_id)


def find_call_by_alink_id(connection: sa.Connection, account_id: str, alink_id: int) -> Call | None:
    """Likewise of this Alink id; of several the latest."""
    return _find_latest(connection, account_id, call_history.c.alink_id == alink_id)


def _find_latest(connection: sa.Connection, account_id: str, named: sa.ColumnElement[bool]) -> Call | None:
    # One question a name: SQLite would answer an OR by going through all calls of the account.
    column = call_history.c
    statement = sa.select(column.record).where(named, column.account_id == account_id).order_by(column.id.desc())
    record = connection.execute(statement.limit(1)).scalar()
    return decode_call(record) if record is not None else None


def list_calls(connection: sa.Connection, calls: CallFilter) -> list[Call]:
    """Calls that match and have a row, newest first; at most `CALLS_LISTED_MAX`."""
    column = call_history.c
    conditions = [column.account_id == calls.account_id]
    if calls.product_key:
        conditions.append(column.product_key == calls.product_key)
    if calls.device_name:
        conditions.append(column.device_name == calls.device_name)
    if calls.action:
        conditions.append(column.action == calls.action)
    if calls.verdict is not None:
        conditions.append(column.verdict == calls.verdict.value)
    if calls.diagnosis is not None:
        conditions.append(column.diagnosis == calls.diagnosis.value)
    if calls.before_ms is not None:
        conditions.append(column.received_ms < calls.before_ms)
    statement = (
        sa.select(column.record)
        .where(*conditions)
        .order_by(column.received_ms.desc(), column.id.desc())
        .limit(min(max(calls.limit, 0), CALLS_LISTED_MAX))
    )
    return [decode_call(record) for record in connection.execute(statement).scalars()]


def find_kept_call(connection: sa.Connection, request_id: str) -> Call | None:
    """See `CallStore.find_kept_call`."""
    statement = sa.select(call_history.c.record).where(call_history.c.request_id == request_id)
    record = connection.execute(statement).scalar()
    return decode_call(record) if record is not None else None


def list_calls_of(connection: sa.Connection, key: DeviceKey, alink_id: int) -> list[Call]:
    """Calls to a device that carry this id, newest first; ids are given anew so rarely that these are few."""
    column = call_history.c
    statement = (
        sa.select(column.record)
        .where(
            column.alink_id == alink_id,
            column.product_key == key.product_key,
            column.device_name == key.device_name,
        )
        .order_by(column.id.desc())
        .limit(CALLS_LISTED_MAX)
    )
    return [decode_call(record) for record in connection.execute(statement).scalars()]


def list_open_calls(connection: sa.Connection, key: DeviceKey, target: str | None, limit: int) -> list[Call]:
    """See `CallStore.list_open_calls`; of the latest `CALLS_LISTED_MAX` that may be meant."""
    column = call_history.c
    statement = (
        sa.select(column.record)
        .where(
            column.verdict.is_(None),
            column.product_key == key.product_key,
            column.device_name == key.device_name,
            # A device's desired values are set by a call that is no service's.
            sa.or_(column.service == target, column.service.is_(None)) if target is not None else sa.true(),
            column.alink_id.is_not(None),
        )
        .order_by(column.received_ms.desc())
        .limit(CALLS_LISTED_MAX)
    )
    calls = (decode_call(record) for record in connection.execute(statement).scalars())
    return list(islice((call for call in calls if target in (None, call.target)), limit))


def list_stranded_calls(connection: sa.Connection, after: Call | None, limit: int) -> list[Call]:
    """See `CallStore.list_stranded_calls`; at most `CALLS_LISTED_MAX`."""
    column = call_history.c
    conditions = [column.verdict.is_(None), ~sa.exists().where(message.c.call_id == column.request_id)]
    if after is not None:
        place = sa.tuple_(column.received_ms, column.request_id)
        conditions.append(place > sa.tuple_(after.received_ms, after.request_id))
    statement = (
        sa.select(column.record)
        .where(*conditions)
        .order_by(column.received_ms, column.request_id)
        .limit(min(max(limit, 0), CALLS_LISTED_MAX))
    )
    return [decode_call(record) for record in connection.execute(statement).scalars()]


def claim_stranded(connection: sa.Connection, request_ids: Sequence[str]) -> list[Call]:
    """See `CallStore.claim_stranded`."""
    column = call_history.c
    statement = sa.select(column.record).where(column.request_id.in_(request_ids), column.verdict.is_(None))
    # In this order, as others lock several: see `write_shared_calls`.
    found = connection.execute(statement.order_by(column.request_id).with_for_update()).scalars()
    calls = [decode_call(record) for record in found]
    claimed = [call for call in calls if call.moment(Stage.WRITTEN) is None]
    for call in claimed:
        call.is_stranded = True
    if claimed:
        write_calls(connection, [encode_call(call) for call in claimed])
    return calls


def list_service_calls(
    connection: sa.Connection, account_id: str, key: DeviceKey, identifier: str | None, span: Span
) -> list[Call]:
    """See `ServiceCallStore.list_service_calls`; at most `CALLS_LISTED_MAX`, and none that was rejected."""
    column = call_history.c
    conditions = [
        column.product_key == key.product_key,
        column.device_name == key.device_name,
        column.service.is_not(None),
        column.account_id == account_id,
        column.received_ms.between(span.start_ms, span.end_ms),
    ]
    if identifier is not None:
        conditions.append(column.service == identifier)
    if span.after is not None:
        place, last = sa.tuple_(column.received_ms, column.request_id), sa.tuple_(*span.after)
        conditions.append(place > last if span.ascending else place < last)
    order = (column.received_ms, column.request_id)
    in_order = order if span.ascending else tuple(each.desc() for each in order)
    statement = sa.select(column.record).where(*conditions).order_by(*in_order)
    limit = min(max(span.limit, 0), CALLS_LISTED_MAX)
    return [decode_call(record) for record in connection.execute(statement.limit(limit)).scalars()]

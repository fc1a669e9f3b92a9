"""The history of calls: a call as a row and back, and the statements on them.

A record is MessagePack: the fields of `Call` and of `Moment` by place, without their names, which would double it. So a
field may be added at the end of either; one that is moved, renamed or dropped needs a revision.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, CallFilter, Moment
from linkstead.store.tables import call_history

CALL_HISTORY_DAYS = 30
CALL_HISTORY_ROWS_MAX = 1_000_000
"""Calls kept; what is older than `CALL_HISTORY_DAYS`, or the oldest beyond this number, is deleted."""

CALLS_LISTED_MAX = 1_000
"""Calls in one listing, whatever the filter says."""

PRUNED_PER_TRANSACTION_MAX = 2_000
"""Calls deleted at a time, so that other writes do not wait long."""

DAY_MS = 24 * 3600 * 1000
MESSAGE_ID_MAX = 2**63 - 1

CallRow = tuple[str, int | None, str, str | None, str | None, str, str | None, str | None, int, bytes]
"""The columns of `call_history` but its `id`, in the order of the table."""


def _shape(record_type: type[Call] | type[Moment], **types: object) -> type[msgspec.Struct]:
    """A class to read an array into: the record's fields in order; the last may be missing and get their default."""
    hints = get_type_hints(record_type) | types
    shape: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in fields(record_type):
        if field.default is not MISSING:
            shape.append((field.name, hints[field.name], field.default))
        elif field.default_factory is not MISSING:
            shape.append((field.name, hints[field.name], msgspec.field(default_factory=field.default_factory)))
        else:
            shape.append((field.name, hints[field.name]))
    return msgspec.defstruct(f"{record_type.__name__}Shape", shape, array_like=True)


_CALL_FIELDS = [field.name for field in fields(Call)]
_TIMELINE = _CALL_FIELDS.index("timeline")
_call_values = attrgetter(*_CALL_FIELDS)
_moment_values = attrgetter(*(field.name for field in fields(Moment)))
_encoder = msgspec.msgpack.Encoder()
_MomentShape: Any = _shape(Moment)
_decoder = msgspec.msgpack.Decoder(_shape(Call, timeline=list[_MomentShape]))

_COLUMNS = [column.name for column in call_history.columns if column.name != "id"]

# Text, so that a row goes to the driver as the tuple it is: SQLAlchemy's own insert would take a dictionary apart.
_UPSERT = sa.text(
    f"INSERT INTO call_history ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})"
    f" ON CONFLICT (request_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:])}"
)


def encode_call(call: Call) -> CallRow:
    """A call as a row.

    Raises:
        ValueError, OverflowError: a text that is not UTF-8, a number past 64 bits; it cannot be kept.
    """
    key = call.key
    values = list(_call_values(call))
    values[_TIMELINE] = [_moment_values(moment) for moment in call.timeline]
    return (
        call.request_id,
        call.message_id or None,
        call.account_id,
        key.product_key if key is not None else None,
        key.device_name if key is not None else None,
        call.action,
        call.verdict and call.verdict.value,
        call.diagnosis and call.diagnosis.value,
        call.received_ms,
        _encoder.encode(values),
    )


def decode_call(record: bytes) -> Call:
    """The call of a row's `record`. Raises msgspec.DecodeError."""
    values = list(_call_values(_decoder.decode(record)))
    values[_TIMELINE] = [Moment(*_moment_values(moment)) for moment in values[_TIMELINE]]
    return Call(*values)


def write_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write rows; one whose request id is there already is replaced."""
    compiled = _UPSERT.compile(dialect=connection.dialect)
    connection.exec_driver_sql(str(compiled), list(rows))


def find_call(connection: sa.Connection, account_id: str, call_id: str) -> Call | None:
    """A call of an account by message id (decimal) or request id, or None."""
    column = call_history.c
    names = [column.request_id == call_id]
    if call_id.isascii() and call_id.isdigit() and len(call_id) <= len(str(MESSAGE_ID_MAX)):
        message_id = int(call_id)
        if message_id <= MESSAGE_ID_MAX:
            names.insert(0, column.message_id == message_id)
    # One question a name: SQLite would answer an OR by going through all calls of the account.
    for named in names:
        statement = sa.select(column.record).where(named, column.account_id == account_id)
        record = connection.execute(statement).scalars().first()
        if record is not None:
            return decode_call(record)
    return None


def list_calls(connection: sa.Connection, calls: CallFilter) -> list[Call]:
    """Calls that match, newest first, at most `calls.limit` and `CALLS_LISTED_MAX`."""
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


def prune_calls(connection: sa.Connection, now_ms: int) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` of the calls that are too old or too many; returns how many."""
    column = call_history.c
    count: int = connection.execute(sa.select(sa.func.count()).select_from(call_history)).scalar_one()
    excess = count - CALL_HISTORY_ROWS_MAX
    too_old_ms = now_ms - CALL_HISTORY_DAYS * DAY_MS
    # Ids rise with time, so what has to go is among the lowest; no index on time alone is needed.
    oldest = sa.select(column.id, column.received_ms).order_by(column.id).limit(PRUNED_PER_TRANSACTION_MAX)
    rows = enumerate(connection.execute(oldest))
    doomed = [row.id for place, row in rows if place < excess or row.received_ms < too_old_ms]
    if doomed:
        connection.execute(sa.delete(call_history).where(column.id.in_(doomed)))
    return len(doomed)

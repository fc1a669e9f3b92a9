"""The history of calls: a call as a row and back, and the statements on them.

The record is MessagePack with the names of the fields in it, so a call written before a field was added can be read
after: the field gets its default.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, CallFilter
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

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Call)

_COLUMNS = [column.name for column in call_history.columns if column.name != "id"]

# Text, not an expression: a row is then the driver's own tuple, which costs a third of a dictionary for SQLAlchemy.
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
        _encoder.encode(call),
    )


def decode_call(record: bytes) -> Call:
    """The call of a row's `record`. Raises msgspec.DecodeError."""
    return _decoder.decode(record)


def write_calls(connection: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Write rows; one whose request id is there already is replaced."""
    compiled = _UPSERT.compile(dialect=connection.dialect)
    connection.exec_driver_sql(str(compiled), list(rows))


def find_call(connection: sa.Connection, account_id: str, call_id: str) -> Call | None:
    """A call of an account by message id (decimal) or request id, or None."""
    named = call_history.c.request_id == call_id
    if call_id.isascii() and call_id.isdigit() and len(call_id) <= len(str(MESSAGE_ID_MAX)):
        message_id = int(call_id)
        if message_id <= MESSAGE_ID_MAX:
            named = sa.or_(named, call_history.c.message_id == message_id)
    statement = sa.select(call_history.c.record).where(named, call_history.c.account_id == account_id)
    record = connection.execute(statement).scalars().first()
    return decode_call(record) if record is not None else None


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
    excess = (
        connection.execute(sa.select(sa.func.count()).select_from(call_history)).scalar_one() - CALL_HISTORY_ROWS_MAX
    )
    too_old_ms = now_ms - CALL_HISTORY_DAYS * DAY_MS
    # Ids rise with time, so what has to go is among the lowest; no index on time alone is needed.
    oldest = sa.select(column.id, column.received_ms).order_by(column.id).limit(PRUNED_PER_TRANSACTION_MAX)
    rows = enumerate(connection.execute(oldest))
    doomed = [row.id for place, row in rows if place < excess or row.received_ms < too_old_ms]
    if doomed:
        connection.execute(sa.delete(call_history).where(column.id.in_(doomed)))
    return len(doomed)

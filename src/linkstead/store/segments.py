"""Calls that have ended and are hardly ever written again, kept many to a row: those that were written together.

A row of its own for each call costs several times as much, most of it for entries in indexes that are seldom asked. A
segment has terms instead: 32 bits for each id, device and outcome in it. Who looks for a call reads the terms of
segments, the latest first, and the records of those that may have it. Terms may be alike by chance; records count.

A call that is written again, as something came after its end, is a row of `call_history` from then on, and that holds.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, CallFilter, Stage
from linkstead.store import history
from linkstead.store.history import CALLS_LISTED_MAX, CallRow
from linkstead.store.tables import INTEGER_MAX, call_history, call_segment

SEGMENT_CALLS_MIN: Final = 32
"""Calls of one account written together from which on they are a segment; fewer are rows."""

SEGMENTS_READ_FIRST: Final = 8
SEGMENTS_READ_MAX: Final = 256
"""Segments whose terms are read together: so many at first, and twice as many each time up to the second figure."""

TERM_BYTES: Final = 4
_TERM_MASK: Final = 0xFFFF_FFFF

_RETURNED: Final = Stage.RETURNED

_decode: Final = msgspec.msgpack.Decoder(list[Call]).decode

_COLUMNS: Final = [column.name for column in call_segment.columns if column.name != "id"]
_INSERT: Final = sa.text(
    f"INSERT INTO call_segment ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})"
)


def is_for_segment(call: Call, row: CallRow) -> bool:
    """True for a call that has ended with its answer to the app, and is asked for by device, outcome and ids only.

    One that anything came for after its end is not: it may be in a segment already.
    """
    timeline = call.timeline
    # It has a verdict, no id that a reply could name, and is not a service's.
    return (
        row[6] is not None
        and row[10] is None
        and row[11] is None
        and not call.is_asynchronous
        and bool(timeline)
        and timeline[-1].stage is _RETURNED
        and not call.evidence
    )


def write_segments(connection: sa.Connection, rows: Sequence[CallRow]) -> list[CallRow]:
    """Write calls for which `is_for_segment`, those of an account together; returns those that are too few for that."""
    by_account: dict[str, list[CallRow]] = {}
    for row in rows:
        of_account = by_account.get(row[2])
        if of_account is None:
            by_account[row[2]] = [row]
        else:
            of_account.append(row)
    left: list[CallRow] = []
    for account_id, some in by_account.items():
        if len(some) < SEGMENT_CALLS_MIN:
            left += some
        else:
            connection.exec_driver_sql(_insert(connection.dialect), _pack(account_id, some))
    return left


@lru_cache
def _insert(dialect: sa.Dialect) -> str:
    return str(_INSERT.compile(dialect=dialect))


def _pack(account_id: str, rows: list[CallRow]) -> tuple[str, int, int, int, bytes, bytes]:
    """The columns of a segment but its `id`, in the order of the table."""
    records: list[bytes] = []
    terms: list[int] = []
    others: set[tuple[str | None, str | None, str, str | None, str | None]] = set()
    first_ms = last_ms = rows[0][8]
    for request_id, message_id, _, product_key, device_name, action, verdict, diagnosis, ms, record, _, _ in rows:
        records.append(record)
        terms.append(crc32(request_id.encode()))
        if message_id is not None:
            terms.append(message_id & _TERM_MASK)
        others.add((product_key, device_name, action, verdict, diagnosis))
        if ms < first_ms:
            first_ms = ms
        elif ms > last_ms:
            last_ms = ms
    alike: set[int] = set()
    for product_key, device_name, action, verdict, diagnosis in others:
        alike.update(_other_terms(product_key, device_name, action, verdict, diagnosis))
    terms += sorted(alike)
    count = len(records)
    packed = struct.pack(f"<{len(terms)}I", *terms)
    # MessagePack: an array of so many.
    return account_id, first_ms, last_ms, count, packed, b"\xdd" + count.to_bytes(4, "big") + b"".join(records)


def _other_terms(
    product_key: str | None, device_name: str | None, action: str, verdict: str | None, diagnosis: str | None
) -> list[int]:
    """The terms of what several calls may have in common; none for what is not said."""
    given = (("p", product_key), ("d", device_name), ("a", action), ("v", verdict), ("g", diagnosis))
    return [crc32(f"{kind}{text}".encode()) for kind, text in given if text]


def find_call(connection: sa.Connection, account_id: str, call_id: str) -> Call | None:
    """See `CallHistory.find_call`; message ids and Alink ids are decimal."""
    number = int(call_id) if call_id.isascii() and call_id.isdigit() and len(call_id) <= len(str(INTEGER_MAX)) else 0
    if 0 < number <= INTEGER_MAX:
        call = history.find_call_by_message_id(connection, account_id, number)
        call = call or _find_in_segments(connection, account_id, number & _TERM_MASK, "", number)
        if call is not None:
            return call
    call = history.find_call_by_request_id(connection, account_id, call_id)
    call = call or _find_in_segments(connection, account_id, crc32(call_id.encode()), call_id, 0)
    if call is None and 0 < number <= INTEGER_MAX:
        call = history.find_call_by_alink_id(connection, account_id, number)
    return call


def _find_in_segments(
    connection: sa.Connection, account_id: str, term: int, request_id: str, message_id: int
) -> Call | None:
    for _, calls in _read_segments(connection, account_id, [term], None):
        for call in calls:
            if call.request_id == request_id or (message_id and call.message_id == message_id):
                return call
    return None


def list_calls(connection: sa.Connection, calls: CallFilter) -> list[Call]:
    """See `CallHistory.list_calls`; at most `CALLS_LISTED_MAX`."""
    limit = min(max(calls.limit, 0), CALLS_LISTED_MAX)
    found = history.list_calls(connection, calls)
    if not limit:
        return found
    terms = _other_terms(
        calls.product_key,
        calls.device_name,
        calls.action,
        None if calls.verdict is None else calls.verdict.value,
        None if calls.diagnosis is None else calls.diagnosis.value,
    )
    for last_ms, others in _read_segments(connection, calls.account_id, terms, calls.before_ms):
        if len(found) == limit and found[-1].received_ms > last_ms:
            # Nor is anything in the segments that follow, which end still earlier.
            break
        # Of those received at once the one that was written last is the newest; what is found already came first.
        matching = [call for call in reversed(others) if calls.matches(call)]
        if matching:
            found += _leave_out_rows(connection, matching)
            found.sort(key=lambda call: call.received_ms, reverse=True)
            del found[limit:]
    return found


def _leave_out_rows(connection: sa.Connection, calls: list[Call]) -> list[Call]:
    """Those of the calls that have no row of their own."""
    column = call_history.c.request_id
    statement = sa.select(column).where(column.in_([call.request_id for call in calls]))
    rows = set(connection.execute(statement).scalars())
    return [call for call in calls if call.request_id not in rows] if rows else calls


def _read_segments(
    connection: sa.Connection, account_id: str, terms: list[int], before_ms: int | None
) -> Iterator[tuple[int, list[Call]]]:
    """The calls of each segment that has all of these terms, with when the last was received; the latest first."""
    column = call_segment.c
    wanted = [struct.pack("<I", term) for term in terms]
    conditions = [column.account_id == account_id]
    if before_ms is not None:
        conditions.append(column.first_ms < before_ms)
    place = sa.tuple_(column.last_ms, column.id)
    statement = sa.select(column.last_ms, column.id, column.terms if wanted else sa.null())
    statement = statement.order_by(column.last_ms.desc(), column.id.desc())
    limit = SEGMENTS_READ_FIRST
    after: list[sa.ColumnElement[bool]] = []
    while True:
        part = connection.execute(statement.where(*conditions, *after).limit(limit)).all()
        for last_ms, row_id, packed in part:
            if all(_has_term(packed, term) for term in wanted):
                records = sa.select(column.records).where(column.id == row_id)
                yield last_ms, _decode(connection.execute(records).scalar_one())
        if len(part) < limit:
            return
        after = [place < sa.tuple_(*part[-1][:2])]
        limit = min(2 * limit, SEGMENTS_READ_MAX)


def _has_term(packed: bytes, term: bytes) -> bool:
    place = packed.find(term)
    while place % TERM_BYTES and place >= 0:
        place = packed.find(term, place + 1)
    return place >= 0

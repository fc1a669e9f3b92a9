"""Calls that have ended and are hardly ever written again, kept many to a row: those that were written together.

A row of its own for each call costs several times as much, most of it for entries in indexes that are seldom asked. A
segment has terms instead: 32 bits for each id, device and outcome in it. Who looks for a call reads the terms of
segments, the latest first, and the records of those that may have it. Terms may be alike by chance; records count.

A call that is written again, as something came after its end, is a row of `call_history` from then on, and that holds.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, CallFilter, Stage
from linkstead.registry import DeviceKey
from linkstead.store import history
from linkstead.store.history import CALLS_LISTED_MAX, CallRow, service_of
from linkstead.store.tables import INTEGER_MAX, call_history, call_segment
from linkstead.telemetry import Span

SEGMENT_CALLS_MIN: Final = 32
"""Calls of one account written together from which on they are a segment; fewer are rows."""

SEGMENTS_READ_FIRST: Final = 8
SEGMENTS_READ_MAX: Final = 256
"""Segments whose terms are read together: so many at first, and twice as many each time up to the second figure."""

CALLS_PER_SEARCH_MAX: Final = 50
"""Calls that replies name, looked for in one go through the terms, so that nobody else waits long for the store."""

TERM_BYTES: Final = 4
_TERM_MASK: Final = 0xFFFF_FFFF

CallName = tuple[DeviceKey, int]
NO_DEVICE: Final = DeviceKey("", "")

_RETURNED: Final = Stage.RETURNED

_decode: Final = msgspec.msgpack.Decoder(list[Call]).decode

_COLUMNS: Final = [column.name for column in call_segment.columns if column.name != "id"]
_INSERT: Final = sa.text(
    f"INSERT INTO call_segment ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})"
)


def is_for_segment(call: Call, row: CallRow, *, is_new: bool = False) -> bool:
    """True for a call that has ended, and that nothing came for after that: what did may have it in a segment already.

    Args:
        is_new: nothing of an asynchronous call is in the history yet. Of others their timeline tells.
    """
    if row[6] is None:
        return False
    if call.is_asynchronous:
        return is_new
    timeline = call.timeline
    return bool(timeline) and timeline[-1].stage is _RETURNED and not call.evidence


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
    others: set[tuple[str | None, str | None, str, str | None, str | None, str | None]] = set()
    first_ms = last_ms = rows[0][8]
    for row in rows:
        request_id, message_id, _, product_key, device_name, action, verdict, diagnosis, ms, record, alink_id, name = (
            row
        )
        records.append(record)
        terms.append(crc32(request_id.encode()))
        if message_id is not None:
            terms.append(message_id & _TERM_MASK)
        if alink_id is not None:
            terms.append(alink_id & _TERM_MASK)
        others.add((product_key, device_name, action, verdict, diagnosis, name))
        if ms < first_ms:
            first_ms = ms
        elif ms > last_ms:
            last_ms = ms
    alike: set[int] = set()
    for shared in others:
        alike.update(_other_terms(*shared))
    terms += sorted(alike)
    count = len(records)
    packed = struct.pack(f"<{len(terms)}I", *terms)
    # MessagePack: an array of so many.
    return account_id, first_ms, last_ms, count, packed, b"\xdd" + count.to_bytes(4, "big") + b"".join(records)


def _other_terms(
    product_key: str | None,
    device_name: str | None,
    action: str | None,
    verdict: str | None,
    diagnosis: str | None,
    service: str | None,
) -> list[int]:
    """The terms of what several calls may have in common; none for what is not said."""
    given = (("p", product_key), ("d", device_name), ("a", action), ("v", verdict), ("g", diagnosis), ("s", service))
    return [crc32(f"{kind}{text}".encode()) for kind, text in given if text]


def find_call(connection: sa.Connection, account_id: str, call_id: str) -> Call | None:
    """See `CallHistory.find_call`; message ids and Alink ids are decimal."""
    number = int(call_id) if call_id.isascii() and call_id.isdigit() and len(call_id) <= len(str(INTEGER_MAX)) else 0
    is_number = 0 < number <= INTEGER_MAX
    call: Call | None = None
    if is_number:
        call = history.find_call_by_message_id(connection, account_id, number)
        call = call or _find_in_segments(
            connection, account_id, number & _TERM_MASK, lambda each: each.message_id == number
        )
    if call is None:
        call = history.find_call_by_request_id(connection, account_id, call_id)
        call = call or _find_in_segments(
            connection, account_id, crc32(call_id.encode()), lambda each: each.request_id == call_id
        )
    if call is None and is_number:
        call = history.find_call_by_alink_id(connection, account_id, number)
        other = _find_in_segments(connection, account_id, number & _TERM_MASK, lambda each: each.alink_id == number)
        # A row says more of a call that a segment has too.
        if call is None or (other is not None and other.received_ms > call.received_ms):
            call = other
    return call


def _find_in_segments(
    connection: sa.Connection, account_id: str, term: int, is_meant: Callable[[Call], bool]
) -> Call | None:
    """The latest call that is meant and has no row."""
    for _, calls in _read_segments(connection, account_id, [term]):
        found = _leave_out_rows(connection, [call for call in reversed(calls) if is_meant(call)])
        if found:
            return found[0]
    return None


def find_kept_call(connection: sa.Connection, request_id: str) -> Call | None:
    """See `CallStore.find_kept_call`."""
    call = history.find_kept_call(connection, request_id)
    if call is not None:
        return call
    for _, calls in _read_segments(connection, None, [crc32(request_id.encode())]):
        for call in calls:
            if call.request_id == request_id:
                return call
    return None


def find_ended_calls(connection: sa.Connection, names: Sequence[CallName]) -> list[Call]:
    """The latest asynchronous call of each name that has ended and is in a segment."""
    left = {(key, alink_id): struct.pack("<I", alink_id & _TERM_MASK) for key, alink_id in names}
    found: list[Call] = []

    def has_one(packed: bytes) -> bool:
        return any(_has_term(packed, term) for term in left.values())

    for _, calls in _read_segments(connection, None, [], has_one):
        found += [
            call for call in reversed(calls) if call.is_asynchronous and left.pop(name_call(call), None) is not None
        ]
        if not left:
            break
    return found


def name_call(call: Call) -> CallName:
    """What a reply names a call by: its device and the id inside."""
    return call.key or NO_DEVICE, call.alink_id


def list_known(connection: sa.Connection, rows: Sequence[CallRow]) -> set[str]:
    """The request ids of those of these calls that are in a segment."""
    known: set[str] = set()
    for account_id in {row[2] for row in rows}:
        asked = {row[0]: row[8] for row in rows if row[2] == account_id}
        # As a call is received before the segment ends that it is in, those are few: what is asked for came lately.
        for _, calls in _read_segments(
            connection, account_id, [], since_ms=min(asked.values()), until_ms=max(asked.values())
        ):
            known.update(call.request_id for call in calls if call.request_id in asked)
    return known


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
        None,
    )
    until_ms = None if calls.before_ms is None else calls.before_ms - 1
    for last_ms, others in _read_segments(connection, calls.account_id, terms, until_ms=until_ms):
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


def list_service_calls(
    connection: sa.Connection, account_id: str, key: DeviceKey, identifier: str | None, span: Span
) -> list[Call]:
    """See `ServiceCallStore.list_service_calls`; at most `CALLS_LISTED_MAX`, and none that was rejected."""
    limit = min(max(span.limit, 0), CALLS_LISTED_MAX)
    found = history.list_service_calls(connection, account_id, key, identifier, span)
    if not limit:
        return found
    terms = _other_terms(key.product_key, key.device_name, None, None, None, identifier)
    start_ms, end_ms, ascending, after = span.start_ms, span.end_ms, span.ascending, span.after

    def is_meant(call: Call) -> bool:
        if call.key != key or service_of(call) is None or identifier not in (None, call.target):
            return False
        place = call.received_ms, call.request_id
        return start_ms <= place[0] <= end_ms and (after is None or (place > after if ascending else place < after))

    segments = _read_segments(connection, account_id, terms, since_ms=start_ms, until_ms=end_ms, ascending=ascending)
    for edge_ms, others in segments:
        last_ms = found[-1].received_ms if len(found) == limit else None
        if last_ms is not None and (last_ms < edge_ms if ascending else last_ms > edge_ms):
            # Nor is anything in the segments that follow, which begin still later, or end still earlier.
            break
        matching = [call for call in others if is_meant(call)]
        if matching:
            found += _leave_out_rows(connection, matching)
            found.sort(key=lambda call: (call.received_ms, call.request_id), reverse=not ascending)
            del found[limit:]
    return found


def _leave_out_rows(connection: sa.Connection, calls: list[Call]) -> list[Call]:
    """Those of the calls that have no row of their own."""
    if not calls:
        return calls
    column = call_history.c.request_id
    statement = sa.select(column).where(column.in_([call.request_id for call in calls]))
    rows = set(connection.execute(statement).scalars())
    return [call for call in calls if call.request_id not in rows] if rows else calls


def _read_segments(
    connection: sa.Connection,
    account_id: str | None,
    terms: list[int],
    is_wanted: Callable[[bytes], bool] | None = None,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    ascending: bool = False,
) -> Iterator[tuple[int, list[Call]]]:
    """The calls of each segment that has all of these terms and may have some of this time, both ends inclusive.

    Args:
        account_id: whose calls; None for everybody's.
        is_wanted: judges a segment's terms, where it is not that it has all of some.

    Each comes with when the last call in it was received, the latest first; or with when the first one was and the
    earliest first.
    """
    column = call_segment.c
    wanted = [struct.pack("<I", term) for term in terms]
    if is_wanted is None and wanted:

        def is_wanted(packed: bytes) -> bool:
            return all(_has_term(packed, term) for term in wanted)

    conditions: list[sa.ColumnElement[bool]] = []
    if account_id is not None:
        conditions.append(column.account_id == account_id)
    if since_ms is not None:
        conditions.append(column.last_ms >= since_ms)
    if until_ms is not None:
        conditions.append(column.first_ms <= until_ms)
    edge = column.first_ms if ascending else column.last_ms
    order = (edge, column.id) if ascending else (edge.desc(), column.id.desc())
    # All of this is in the index.
    places = connection.execute(sa.select(column.id, edge).where(*conditions).order_by(*order)).all()
    start, count = 0, SEGMENTS_READ_FIRST
    while start < len(places):
        part = places[start : start + count]
        start, count = start + count, min(2 * count, SEGMENTS_READ_MAX)
        if is_wanted is not None:
            asked = sa.select(column.id, column.terms).where(column.id.in_([row_id for row_id, _ in part]))
            having = {row_id for row_id, packed in connection.execute(asked) if is_wanted(packed)}
            part = [place for place in part if place.id in having]
        for row_id, edge_ms in part:
            records = connection.execute(sa.select(column.records).where(column.id == row_id)).scalar()
            # It may have been deleted meanwhile.
            if records is not None:
                yield edge_ms, _decode(records)


def _has_term(packed: bytes, term: bytes) -> bool:
    place = packed.find(term)
    while place % TERM_BYTES and place >= 0:
        place = packed.find(term, place + 1)
    return place >= 0

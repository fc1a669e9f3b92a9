"""How long histories are kept, and the deletion of what is too old or too much, a little at a time."""

from typing import NamedTuple

import sqlalchemy as sa

from linkstead.registry import DeviceKey
from linkstead.store.tables import (
    IS_FOR_WEBHOOK,
    call_history,
    call_segment,
    device_id_of,
    event_history,
    letter,
    property_history,
)

CALL_HISTORY_DAYS = 30
CALL_HISTORY_ROWS_MAX = 1_000_000
"""Calls kept; what is older than `CALL_HISTORY_DAYS`, or the oldest beyond this number, is deleted.

Calls without a verdict go by their age only.
"""

TELEMETRY_DAYS = 30
TELEMETRY_ROWS_MAX = 5_000_000
"""Values of properties kept, and events likewise; older than `TELEMETRY_DAYS`, or the oldest beyond it, are deleted.

Source of the days: `cloud-api.md` 9.6.
"""

LETTER_DAYS = 1
LETTERS_OF_A_DESTINATION_MAX = 1_000_000
LETTERS_MAX = 10_000_000
"""Letters that wait for a consumer group or a webhook; older than `LETTER_DAYS`, or the oldest beyond it, are deleted.

The age counts for consumer groups only: a webhook is tried for longer. Those that wait for nobody any longer are left
alone. Source of the day: `device-protocol.md` 8.1, which names a hundred million for an account; that would fill most
disks.
"""

PRUNED_PER_TRANSACTION_MAX = 2_000
"""Rows looked at and deleted at a time, so that other writes do not wait long."""

SEGMENTS_PRUNED_MAX = 64
"""Segments of calls looked at and deleted at a time, of `PRUNED_PER_TRANSACTION_MAX` calls at most."""

DAY_MS = 24 * 3600 * 1000

REPORT_TABLES = (property_history, event_history)


class PrunedPart(NamedTuple):
    """What one transaction did to the history of calls: how many it deleted, how far it came, whether more follow."""

    deleted: int
    last_id: int
    is_full: bool


def count_excess(connection: sa.Connection, table: sa.Table, rows_max: int) -> int:
    """How many rows a table has beyond `rows_max`; 0 where it has none."""
    # Counting reads the whole table or index, so that is left alone where the ids show that there cannot be too many.
    ends = [sa.select(end(table.c.id)).scalar_subquery() for end in (sa.func.min, sa.func.max)]
    lowest, highest = connection.execute(sa.select(*ends)).one()
    if lowest is None or highest - lowest < rows_max:
        return 0
    count: int = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return max(count - rows_max, 0)


def count_excess_calls(connection: sa.Connection) -> int:
    """How many calls are kept beyond `CALL_HISTORY_ROWS_MAX`, in rows and in segments."""
    in_segments: int = connection.execute(sa.select(sa.func.sum(call_segment.c.call_count))).scalar_one() or 0
    rows_max = CALL_HISTORY_ROWS_MAX - in_segments
    return count_excess(connection, call_history, rows_max) if rows_max >= 0 else count_rows(connection) - rows_max


def count_rows(connection: sa.Connection) -> int:
    """How many calls are kept as rows."""
    count: int = connection.execute(sa.select(sa.func.count()).select_from(call_history)).scalar_one()
    return count


def prune_calls(
    connection: sa.Connection, now_ms: int, excess: int, after_id: int, until_ms: int | None = None
) -> PrunedPart:
    """Of the `PRUNED_PER_TRANSACTION_MAX` rows after `after_id` delete those too old, and up to `excess` of all.

    `until_ms`: which are older than that, where it is said.
    """
    column = call_history.c
    too_old_ms = now_ms - CALL_HISTORY_DAYS * DAY_MS
    # Ids rise with time, so what has to go is among the lowest; no index on time alone is needed.
    statement = sa.select(column.id, column.received_ms, column.verdict).where(column.id > after_id)
    rows = connection.execute(statement.order_by(column.id).limit(PRUNED_PER_TRANSACTION_MAX)).all()
    doomed: list[int] = []
    for row in rows:
        is_excess = (
            row.verdict is not None and len(doomed) < excess and (until_ms is None or row.received_ms < until_ms)
        )
        if row.received_ms < too_old_ms or is_excess:
            doomed.append(row.id)
    if doomed:
        connection.execute(sa.delete(call_history).where(column.id.in_(doomed)))
    is_full = len(rows) == PRUNED_PER_TRANSACTION_MAX and (until_ms is None or rows[-1].received_ms < until_ms)
    return PrunedPart(len(doomed), rows[-1].id if rows else after_id, is_full)


class OldestSegment(NamedTuple):
    """The segment that was written first: when the last of its calls was received, and how many they are."""

    last_ms: int
    call_count: int


def find_oldest_segment(connection: sa.Connection) -> OldestSegment | None:
    """The segment that is to go next."""
    column = call_segment.c
    row = connection.execute(sa.select(column.last_ms, column.call_count).order_by(column.id).limit(1)).one_or_none()
    return OldestSegment(*row) if row is not None else None


def prune_old_segments(connection: sa.Connection, now_ms: int) -> int:
    """Delete some of the segments in which all calls are too old; returns how many calls."""
    too_old = call_segment.c.last_ms < now_ms - CALL_HISTORY_DAYS * DAY_MS
    # In this order they are found in the index.
    doomed = sa.select(call_segment.c.id, call_segment.c.call_count).where(too_old).order_by(call_segment.c.last_ms)
    return _delete_segments(connection, doomed)


def prune_excess_segments(connection: sa.Connection, excess: int) -> int:
    """Delete some of the segments that were written first, of no more than `excess` calls; returns how many calls."""
    doomed = sa.select(call_segment.c.id, call_segment.c.call_count).order_by(call_segment.c.id)
    return _delete_segments(connection, doomed, excess)


def _delete_segments(
    connection: sa.Connection, doomed: sa.Select[tuple[int, int]], calls_max: int = PRUNED_PER_TRANSACTION_MAX
) -> int:
    deleted = 0
    ids: list[int] = []
    calls_max = min(calls_max, PRUNED_PER_TRANSACTION_MAX)
    for row in connection.execute(doomed.limit(SEGMENTS_PRUNED_MAX)):
        if ids and deleted + row.call_count > calls_max:
            break
        ids.append(row.id)
        deleted += row.call_count
    connection.execute(sa.delete(call_segment).where(call_segment.c.id.in_(ids)))
    return deleted


def prune_old_reports(connection: sa.Connection, table: sa.Table, now_ms: int) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` of the values or events that are too old; returns how many."""
    too_old = table.c.time_ms < now_ms - TELEMETRY_DAYS * DAY_MS
    return _delete(connection, table, sa.select(table.c.id).where(too_old).order_by(table.c.time_ms))


def prune_excess_reports(connection: sa.Connection, table: sa.Table, excess: int) -> int:
    """Delete up to `excess` values or events, those that came first; at most `PRUNED_PER_TRANSACTION_MAX`."""
    # In the order they came, not by time: a device whose clock is ahead would crowd out all the others.
    return _delete(connection, table, sa.select(table.c.id).order_by(table.c.id), excess)


def prune_old_letters(connection: sa.Connection, now_ms: int) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` of the letters that are too old; returns how many."""
    too_old = letter.c.generated_ms < now_ms - LETTER_DAYS * DAY_MS
    doomed = (
        sa.select(letter.c.id)
        .where(too_old, letter.c.is_dead.is_(False), ~IS_FOR_WEBHOOK)
        .order_by(letter.c.generated_ms)
    )
    return _delete(connection, letter, doomed)


def list_crowded(connection: sa.Connection) -> list[tuple[str, int]]:
    """The destinations for which more wait than `LETTERS_OF_A_DESTINATION_MAX`, each with the excess."""
    # Counting reads the whole index, so that is left alone where the ids show that there cannot be too many.
    if not count_excess(connection, letter, LETTERS_OF_A_DESTINATION_MAX):
        return []
    number = sa.func.count()
    statement = (
        sa.select(letter.c.destination, number - LETTERS_OF_A_DESTINATION_MAX)
        .where(letter.c.is_dead.is_(False))
        .group_by(letter.c.destination)
        .having(number > LETTERS_OF_A_DESTINATION_MAX)
    )
    return [(destination, excess) for destination, excess in connection.execute(statement)]


def prune_excess_letters(connection: sa.Connection, destination: str | None, excess: int) -> int:
    """Delete up to `excess` letters, the oldest first, of one destination or of all; at most a transaction's worth."""
    doomed = sa.select(letter.c.id).where(letter.c.is_dead.is_(False))
    if destination is None:
        doomed = doomed.order_by(letter.c.id)
    else:
        # That which is due longest is the oldest, or nearly; so they stand in an index.
        doomed = doomed.where(letter.c.destination == destination).order_by(letter.c.due_ms, letter.c.id)
    return _delete(connection, letter, doomed, excess)


def prune_reports_of(connection: sa.Connection, key: DeviceKey) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` values and as many events of a device; returns how many."""
    device_id = device_id_of(key)
    return sum(
        _delete(connection, table, sa.select(table.c.id).where(table.c.device_id == device_id))
        for table in REPORT_TABLES
    )


def _delete(
    connection: sa.Connection,
    table: sa.Table,
    doomed: sa.Select[tuple[int]],
    limit: int = PRUNED_PER_TRANSACTION_MAX,
) -> int:
    limited = doomed.limit(min(limit, PRUNED_PER_TRANSACTION_MAX))
    return connection.execute(sa.delete(table).where(table.c.id.in_(limited))).rowcount

"""What is deleted of the histories, when, and a little at a time; on every engine."""

import pytest
import sqlalchemy as sa

from linkstead.invocation import CallFilter, Verdict
from linkstead.store import retention
from linkstead.store.retention import (
    CALL_HISTORY_DAYS,
    DAY_MS,
    LETTER_DAYS,
    PRUNED_PER_TRANSACTION_MAX,
    TELEMETRY_DAYS,
    count_excess,
)
from linkstead.store.sql import SqlStore
from linkstead.store.tables import property_history
from linkstead.telemetry import Span
from tests.store.samples import (
    ACCOUNT_ID,
    ALWAYS,
    DESTINATION,
    LAMP,
    NOW_MS,
    OTHER_DESTINATION,
    OTHER_LAMP,
    a_call,
    a_notice,
    a_point,
    add_lamps,
    an_event,
    an_open_call,
    keep,
    numbers,
)

pytestmark = pytest.mark.asyncio

FOR_EVER = Span(-NOW_MS, 9 * NOW_MS, ascending=True, limit=1_000)
TELEMETRY_END_MS = NOW_MS + TELEMETRY_DAYS * DAY_MS


async def values(store: SqlStore) -> list[str]:
    return [point.value for point in await store.list_properties(LAMP, "Brightness", FOR_EVER)]


async def event_times(store: SqlStore) -> list[int]:
    return [event.time_ms - NOW_MS for event in await store.list_events(LAMP, None, None, FOR_EVER)]


async def test_calls_past_their_age_are_deleted(store: SqlStore) -> None:
    now_ms = NOW_MS + CALL_HISTORY_DAYS * DAY_MS
    await keep(store, a_call(1, received_ms=NOW_MS - 1), a_call(2, received_ms=NOW_MS), a_call(3, received_ms=now_ms))
    assert await store.prune(now_ms) == 1
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [3, 2]
    assert await store.prune(now_ms + 1) == 1
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [3]


async def test_calls_past_the_number_kept_are_deleted_oldest_first(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CALL_HISTORY_ROWS_MAX", 3)
    await keep(store, *(a_call(number) for number in range(1, 4)))
    assert await store.prune(NOW_MS) == 0
    await keep(store, a_call(4), a_call(5))
    assert await store.prune(NOW_MS) == 2
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [5, 4, 3]


async def test_more_are_deleted_than_one_transaction_takes(store: SqlStore) -> None:
    await keep(store, *(a_call(number) for number in range(1, PRUNED_PER_TRANSACTION_MAX + 2)))
    assert await store.prune(NOW_MS + CALL_HISTORY_DAYS * DAY_MS + 1) == PRUNED_PER_TRANSACTION_MAX + 1
    assert await store.list_calls(CallFilter(ACCOUNT_ID)) == []


async def test_calls_of_a_clock_that_was_ahead_do_not_stop_the_deletion_of_others(store: SqlStore) -> None:
    now_ms = NOW_MS + CALL_HISTORY_DAYS * DAY_MS
    await keep(store, a_call(1, received_ms=now_ms * 2), a_call(2, received_ms=NOW_MS - 1), a_call(3))
    assert await store.prune(now_ms) == 1
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [1, 3]


async def test_open_calls_go_by_their_age_only(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CALL_HISTORY_ROWS_MAX", 2)
    await store.keep_calls([an_open_call(number) for number in (1, 2, 3)], [])
    await keep(store, a_call(4), a_call(5))
    assert await store.prune(NOW_MS) == 2
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [3, 2, 1]
    await keep(store, an_open_call(1, verdict=Verdict.SUCCESS))
    assert await store.prune(NOW_MS) == 1
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [3, 2]
    assert await store.prune(NOW_MS + CALL_HISTORY_DAYS * DAY_MS) == 0
    assert await store.prune(NOW_MS + CALL_HISTORY_DAYS * DAY_MS + 1) == 2
    assert await store.find_open_call(LAMP, 2) is None


async def test_open_calls_at_the_head_do_not_stop_the_deletion_of_others(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CALL_HISTORY_ROWS_MAX", 3)
    monkeypatch.setattr(retention, "PRUNED_PER_TRANSACTION_MAX", 2)
    await store.keep_calls([an_open_call(number) for number in range(1, 6)], [])
    await keep(store, a_call(6), a_call(7), a_call(8))
    assert await store.prune(NOW_MS) == 3
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [5, 4, 3, 2, 1]


async def test_deletion_looks_no_further_than_there_is_something_to_delete(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PRUNED_PER_TRANSACTION_MAX", 2)
    too_old_ms = NOW_MS - CALL_HISTORY_DAYS * DAY_MS - 1
    await keep(store, a_call(1, received_ms=too_old_ms), *(a_call(number) for number in range(2, 6)))
    await keep(store, a_call(6, received_ms=too_old_ms))
    assert await store.prune(NOW_MS) == 1
    assert len(await store.list_calls(CallFilter(ACCOUNT_ID))) == 5


async def test_reports_past_their_age_are_deleted_whenever_they_came(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_properties([a_point("new", TELEMETRY_END_MS), a_point("edge", NOW_MS), a_point("old", NOW_MS - 1)])
    for time_ms in (TELEMETRY_END_MS, NOW_MS, NOW_MS - 1):
        store.record_event(an_event(time_ms))
    assert await store.flush()
    assert await store.prune(TELEMETRY_END_MS) == 2
    assert await values(store) == ["edge", "new"]
    assert await event_times(store) == [0, TELEMETRY_END_MS - NOW_MS]
    assert await store.prune(TELEMETRY_END_MS + 1) == 2
    assert await values(store) == ["new"]


async def test_what_is_present_does_not_grow_old(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_properties([a_point("old", NOW_MS)])
    assert await store.flush()
    assert await store.prune(TELEMETRY_END_MS + 1) == 1
    assert await store.list_present_properties(LAMP) == [a_point("old", NOW_MS)]


async def test_reports_past_the_number_kept_are_deleted_in_the_order_they_came(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TELEMETRY_ROWS_MAX", 3)
    await add_lamps(store)
    store.record_properties([a_point(str(number), NOW_MS - number) for number in range(3)])
    for number in range(3):
        store.record_event(an_event(NOW_MS + number))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 0
    store.record_properties([a_point("3", NOW_MS - 3), a_point("4", NOW_MS - 4)])
    store.record_event(an_event(NOW_MS + 3))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 3
    assert await values(store) == ["4", "3", "2"]
    assert await event_times(store) == [1, 2, 3]


async def test_reports_of_a_clock_that_is_ahead_do_not_stop_the_deletion_of_others(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PRUNED_PER_TRANSACTION_MAX", 2)
    await add_lamps(store)
    store.record_properties([a_point("ahead", 3 * NOW_MS)] * 5 + [a_point("old", NOW_MS - 1)] * 5)
    assert await store.flush()
    assert await store.prune(TELEMETRY_END_MS) == 5
    assert await values(store) == ["ahead"] * 5


async def test_more_reports_are_deleted_than_one_transaction_takes(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TELEMETRY_ROWS_MAX", 1)
    await add_lamps(store)
    store.record_properties([a_point(time_ms=NOW_MS - 1)] * (PRUNED_PER_TRANSACTION_MAX + 1))
    store.record_properties([a_point(time_ms=NOW_MS)] * (PRUNED_PER_TRANSACTION_MAX + 2))
    assert await store.flush()
    assert await store.prune(TELEMETRY_END_MS) == 2 * PRUNED_PER_TRANSACTION_MAX + 2
    assert len(await values(store)) == 1


async def test_rows_beyond_a_number_are_counted_as_they_are(store: SqlStore) -> None:
    """Where rows between were deleted, the ids show more than there are."""

    async def excess(rows_max: int) -> int:
        return await store._read(count_excess, property_history, rows_max)

    assert await excess(0) == 0
    await add_lamps(store)
    store.record_properties([a_point(str(number)) for number in range(6)])
    assert await store.flush()
    assert [await excess(rows_max) for rows_max in (7, 6, 5, 0)] == [0, 0, 1, 6]
    between = sa.delete(property_history).where(property_history.c.value.in_(["1", "2"]))
    await store._write(lambda connection: connection.execute(between))
    assert [await excess(rows_max) for rows_max in (6, 5, 4, 3)] == [0, 0, 0, 1]


async def test_a_deleted_device_takes_all_its_reports_with_it(store: SqlStore) -> None:
    await add_lamps(store)
    many = 2 * PRUNED_PER_TRANSACTION_MAX + 1
    for key in (LAMP, OTHER_LAMP):
        store.record_properties([a_point(key=key)] * many)
        store.record_event(an_event(key=key))
    assert await store.flush()
    assert await store.delete_device(LAMP)
    assert await store._read(count_excess, property_history, 0) == many
    assert len(await store.list_events(OTHER_LAMP, None, None, ALWAYS)) == 1


async def letters(store: SqlStore, destination: str = DESTINATION) -> list[int]:
    """The message ids of what waits, for ever leased then."""
    return [letter.message_id for letter in await store.lease_letters(destination, 10_000, 9 * NOW_MS, 10 * NOW_MS)]


async def test_letters_past_their_age_are_deleted_and_counted(store: SqlStore) -> None:
    for number, generated_ms in ((1, NOW_MS - 1), (2, NOW_MS)):
        store.record_notice([DESTINATION], a_notice(number, generated_ms=generated_ms))
    assert await store.flush()
    assert await store.prune(NOW_MS + LETTER_DAYS * DAY_MS) == 1
    assert store.letters_dropped == 1
    assert await letters(store) == [2]


async def test_of_too_many_letters_for_a_destination_the_oldest_are_deleted_and_counted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LETTERS_OF_A_DESTINATION_MAX", 3)
    for number in range(1, 4):
        store.record_notice([DESTINATION, OTHER_DESTINATION], a_notice(number))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 0
    for number in (4, 5):
        store.record_notice([DESTINATION], a_notice(number))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 2
    assert store.letters_dropped == 2
    assert await letters(store) == [3, 4, 5]
    assert await letters(store, OTHER_DESTINATION) == [1, 2, 3]


async def test_of_too_many_letters_in_all_the_oldest_are_deleted_and_counted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LETTERS_MAX", 4)
    for number in (1, 2):
        store.record_notice([DESTINATION, OTHER_DESTINATION], a_notice(number))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 0
    store.record_notice([DESTINATION], a_notice(3))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 1
    assert store.letters_dropped == 1
    assert (await letters(store), await letters(store, OTHER_DESTINATION)) == ([2, 3], [1, 2])


async def test_more_letters_are_deleted_than_one_transaction_takes(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PRUNED_PER_TRANSACTION_MAX", 2)
    monkeypatch.setattr(retention, "LETTERS_OF_A_DESTINATION_MAX", 5)
    for number in range(10):
        store.record_notice([DESTINATION], a_notice(number, generated_ms=NOW_MS + number))
    assert await store.flush()
    assert await store.prune(NOW_MS) == 5
    assert await store.prune(NOW_MS + 8 + LETTER_DAYS * DAY_MS) == 3
    assert await letters(store) == [8, 9]


async def test_a_letter_that_waits_for_nobody_any_longer_is_not_pruned(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        store.record_notice([DESTINATION], a_notice(number))
    assert await store.flush()
    await store._write(lambda connection: connection.exec_driver_sql("UPDATE letter SET is_dead = TRUE"))
    monkeypatch.setattr(retention, "LETTERS_OF_A_DESTINATION_MAX", 1)
    monkeypatch.setattr(retention, "LETTERS_MAX", 1)
    assert await store.prune(NOW_MS + LETTER_DAYS * DAY_MS + 1) == 0

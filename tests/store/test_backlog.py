"""What waits for consumer groups and webhooks, on every engine."""

import re
from collections.abc import Collection
from typing import Any

import pytest
import sqlalchemy as sa

from linkstead.store import backlog
from linkstead.store.retention import PRUNED_PER_TRANSACTION_MAX
from linkstead.store.sql import SqlStore
from tests.store.samples import DESTINATION, NOW_MS, OTHER_DESTINATION, a_letter, a_notice, count_of

pytestmark = pytest.mark.asyncio

UNTIL_MS = NOW_MS + 90_000


async def record(store: SqlStore, *numbers: int, destination: str = DESTINATION) -> None:
    for number in numbers:
        store.record_notice([destination], a_notice(number))
    assert await store.flush()


async def lease(
    store: SqlStore, now_ms: int = NOW_MS, limit: int = 100, destination: str = DESTINATION
) -> list[tuple[int, int]]:
    """The message ids of what is leased, and how often each was handed out."""
    letters = await store.lease_letters(destination, limit, now_ms, now_ms + UNTIL_MS - NOW_MS)
    return [(letter.message_id, letter.attempts) for letter in letters]


async def test_each_destination_gets_the_whole_letter(store: SqlStore) -> None:
    notice = a_notice(9_000_000_000_000_000_001, payload=b"\x00\xff", topic="/灯/user/a", qos=0)
    store.record_notice([DESTINATION, OTHER_DESTINATION], notice)
    assert await store.flush()
    for row_id, destination in enumerate((DESTINATION, OTHER_DESTINATION), 1):
        [letter] = await store.lease_letters(destination, 10, NOW_MS, UNTIL_MS)
        assert letter == a_letter(row_id, 9_000_000_000_000_000_001, payload=b"\x00\xff", topic="/灯/user/a", qos=0)


async def test_letters_come_in_the_order_they_were_recorded(store: SqlStore) -> None:
    await record(store, *range(5, 0, -1))
    assert await lease(store, limit=3) == [(5, 1), (4, 1), (3, 1)]
    assert await lease(store, limit=3) == [(2, 1), (1, 1)]
    assert await lease(store, limit=3) == []


async def test_nobody_else_gets_a_leased_letter_before_its_lease_ends(store: SqlStore) -> None:
    await record(store, 1)
    assert await lease(store) == [(1, 1)]
    assert await lease(store, UNTIL_MS - 1) == []
    assert await store.next_due_ms(DESTINATION) == UNTIL_MS
    assert await lease(store, UNTIL_MS) == [(1, 2)]


async def test_a_letter_is_not_due_before_it_was_recorded(store: SqlStore) -> None:
    await record(store, 1)
    assert await lease(store, NOW_MS - 1) == []
    assert await store.next_due_ms(DESTINATION) == NOW_MS


async def test_an_acknowledged_letter_is_forgotten(store: SqlStore) -> None:
    await record(store, 1, 2)
    first, _ = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    store.acknowledge_letter(first.row_id)
    store.acknowledge_letter(1_000)
    assert await store.count_letters(DESTINATION) == 1
    assert await lease(store, UNTIL_MS) == [(2, 2)]


async def test_an_acknowledgement_that_is_not_written_yet_counts_at_once(store: SqlStore) -> None:
    await record(store, 1)
    [letter] = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    store.acknowledge_letter(letter.row_id)
    assert await lease(store, UNTIL_MS) == []


async def test_a_returned_letter_can_be_had_from_its_moment_on(store: SqlStore) -> None:
    await record(store, 1)
    [letter] = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    store.return_letter(letter.row_id, letter.attempts, NOW_MS + 60_000)
    assert await store.next_due_ms(DESTINATION) == NOW_MS + 60_000
    assert await lease(store, NOW_MS + 59_999) == []
    assert await lease(store, NOW_MS + 60_000) == [(1, 2)]


async def test_what_was_delivered_is_not_given_back(store: SqlStore) -> None:
    await record(store, 1, 2)
    first, second = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    for change in (store.acknowledge_letter, lambda row_id: store.return_letter(row_id, 1, NOW_MS)):
        change(first.row_id)
    for change in (lambda row_id: store.return_letter(row_id, 1, NOW_MS), store.acknowledge_letter):
        change(second.row_id)
    assert await lease(store, UNTIL_MS) == []


async def test_one_that_was_given_back_does_not_wait_for_all_that_came_since(store: SqlStore) -> None:
    await record(store, 1)
    [letter] = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    store.return_letter(letter.row_id, letter.attempts, NOW_MS + 5)
    for number in range(2, 10):
        store.record_notice([DESTINATION], a_notice(number, generated_ms=NOW_MS + number))
    assert await lease(store, NOW_MS + 10, limit=5) == [(1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]


async def test_what_waits_is_counted_for_each_destination(store: SqlStore) -> None:
    await record(store, 1, 2, 3)
    await record(store, 4, destination=OTHER_DESTINATION)
    await lease(store, limit=2)
    assert await store.count_letters(DESTINATION) == 3
    assert await store.count_letters(OTHER_DESTINATION) == 1
    assert await store.count_letters("1001/none") == 0
    assert await store.next_due_ms("1001/none") is None


async def test_what_waits_can_be_forgotten_however_much_it_is(store: SqlStore) -> None:
    await record(store, *range(PRUNED_PER_TRANSACTION_MAX + 1))
    await record(store, 1, destination=OTHER_DESTINATION)
    await store.clear_letters(DESTINATION)
    assert await store.count_letters(DESTINATION) == 0
    assert await store.count_letters(OTHER_DESTINATION) == 1
    await store.clear_letters("1001/none")


async def test_what_a_process_that_died_had_leased_can_be_had_at_once(store: SqlStore) -> None:
    await record(store, 1, 2)
    assert await lease(store, limit=1) == [(1, 1)]
    assert (await store.take_over([], NOW_MS + 1)).destinations == {DESTINATION}
    assert await lease(store, NOW_MS + 1) == [(1, 2), (2, 1)]


async def test_who_watches_is_told_once_letters_are_on_the_disk(store: SqlStore) -> None:
    told: list[list[str]] = []

    def tell(destinations: Collection[str]) -> None:
        told.append(sorted(destinations))

    store.watch_letters(tell)
    store.record_notice([DESTINATION, OTHER_DESTINATION], a_notice(1))
    store.record_notice([DESTINATION], a_notice(2))
    assert told == []
    assert await store.flush()
    assert told == [sorted([DESTINATION, OTHER_DESTINATION])]
    [letter, _] = await store.lease_letters(DESTINATION, 10, NOW_MS, UNTIL_MS)
    store.acknowledge_letter(letter.row_id)
    assert await store.flush()
    assert len(told) == 1


async def test_a_letter_that_waits_for_nobody_any_longer_is_left_alone(store: SqlStore) -> None:
    await record(store, 1, 2)
    await store._write(lambda connection: connection.exec_driver_sql("UPDATE letter SET is_dead = TRUE WHERE id = 1"))
    assert await lease(store) == [(2, 1)]
    assert await store.count_letters(DESTINATION) == 1
    await store.clear_letters(DESTINATION)
    assert await store._read(lambda connection: count_of(connection, "letter")) == 1


async def test_what_becomes_of_a_letter_after_closing_is_left_to_the_next_start(store: SqlStore) -> None:
    await record(store, 1)
    [letter] = await store.lease_letters(DESTINATION, 1, NOW_MS, UNTIL_MS)
    await store._batches.close()
    store.acknowledge_letter(letter.row_id)
    assert await store.count_letters(DESTINATION) == 1


async def test_an_id_is_never_given_twice(store: SqlStore) -> None:
    await record(store, 1)
    [letter] = await store.lease_letters(DESTINATION, 1, NOW_MS, UNTIL_MS)
    store.acknowledge_letter(letter.row_id)
    await record(store, 2)
    [later] = await store.lease_letters(DESTINATION, 1, NOW_MS, UNTIL_MS)
    assert later.row_id > letter.row_id


async def test_the_lease_and_the_search_for_the_next_read_no_letter_that_is_not_due(store: SqlStore) -> None:
    """Both walk the index, however much waits."""

    def explain(connection: sa.Connection, statement: sa.Select[Any]) -> str:
        explain = "EXPLAIN QUERY PLAN"
        if connection.dialect.name == "postgresql":
            # So short a table it would read from end to end, index or none.
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
            explain = "EXPLAIN"
        text = statement.compile(connection, compile_kwargs={"literal_binds": True})
        return str(connection.exec_driver_sql(f"{explain} {text}").all())

    for statement in (backlog.due_letters(DESTINATION, NOW_MS, 10), backlog.first_due(DESTINATION)):
        plan = await store._write(explain, statement)
        assert "ix_letter_destination_is_dead_due_ms_id" in plan
        assert not re.search("SCAN|Filter|Sort", plan)

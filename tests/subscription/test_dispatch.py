"""Who is handed what, when, and what becomes of that which was not settled."""

import asyncio
import gc
import logging
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError

from linkstead.store import SqliteStore
from linkstead.subscription import Consumption, Dispatcher, Letter, TooManyConsumers
from linkstead.subscription.dispatch import (
    CONSUMERS_OF_A_DESTINATION_MAX,
    LEASE_LETTERS_MAX,
    LETTERS_OF_A_CONSUMER_MAX,
    METERS_KEPT_MAX,
    REDELIVERY_S,
    RETRY_S,
    SETTLE_S,
)
from linkstead.testing.clock import ManualClock
from tests.store.samples import DESTINATION, OTHER_DESTINATION, a_notice
from tests.subscription.desk import Desk, Taker, attached

pytestmark = pytest.mark.asyncio


async def test_nothing_is_handed_out_without_credit(desk: Desk) -> None:
    await desk.record(1, 2, 3)
    taker = desk.taker()
    await desk.settle()
    assert taker.numbers == []
    attached(taker).grant(2)
    await desk.settle()
    assert taker.numbers == [1, 2]
    attached(taker).grant(1)
    await desk.settle()
    assert taker.numbers == [1, 2, 3]
    assert taker.attempts == [1, 1, 1]


async def test_credit_is_replaced_not_added(desk: Desk) -> None:
    taker = desk.taker(credit=5)
    attached(taker).grant(2)
    await desk.record(1, 2, 3)
    assert taker.numbers == [1, 2]
    attached(taker).grant(0)
    await desk.record(4)
    assert taker.numbers == [1, 2]


async def test_what_comes_is_handed_out_at_once(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    assert taker.numbers == [1]
    await desk.record(2, 3)
    assert taker.numbers == [1, 2, 3]


async def test_nothing_is_handed_out_before_it_is_on_the_disk(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    desk.store.record_notice([DESTINATION], a_notice())
    desk.dispatcher.wake(DESTINATION)
    await desk.settle()
    assert taker.numbers == []
    assert await desk.store.flush()
    await desk.settle()
    assert taker.numbers == [1]


async def test_each_destination_has_letters_of_its_own(desk: Desk) -> None:
    one, other = desk.taker(10), desk.taker(10, OTHER_DESTINATION)
    await desk.record(1)
    await desk.record(2, destination=OTHER_DESTINATION)
    await desk.record(3, destination="1001/nobody-there")
    assert (one.numbers, other.numbers) == ([1], [2])


async def test_consumers_of_a_destination_share_evenly(desk: Desk) -> None:
    takers = [desk.taker(credit=100) for _ in range(3)]
    await desk.record(*range(9))
    assert [len(taker.letters) for taker in takers] == [3, 3, 3]
    for number in range(9, 12):
        await desk.record(number)
    assert [len(taker.letters) for taker in takers] == [4, 4, 4]
    assert sorted(number for taker in takers for number in taker.numbers) == list(range(12))


async def test_nobody_gets_more_than_its_credit_whatever_the_others_have(desk: Desk) -> None:
    small, large, none = desk.taker(credit=1), desk.taker(credit=100), desk.taker(credit=0)
    await desk.record(*range(10))
    assert [len(taker.letters) for taker in (small, large, none)] == [1, 9, 0]


async def test_an_accepted_letter_is_forgotten(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    attached(taker).accept(taker.letters[0])
    assert await desk.store.count_letters(DESTINATION) == 0
    await desk.turn(SETTLE_S + REDELIVERY_S)
    assert taker.numbers == [1]


async def test_a_released_letter_comes_again_to_anybody_about_a_minute_later(desk: Desk) -> None:
    first, second = desk.taker(credit=1), desk.taker(credit=0)
    await desk.record(1)
    attached(second).grant(1)
    attached(first).release(first.letters[0])
    await desk.turn(REDELIVERY_S - 1)
    assert second.numbers == []
    await desk.turn(1.1)
    assert (second.numbers, second.attempts) == ([1], [2])


async def test_a_letter_that_is_not_settled_in_time_comes_again_about_a_minute_later(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    await desk.turn(SETTLE_S + REDELIVERY_S - 1)
    assert taker.numbers == [1]
    assert desk.dispatcher.consumers(DESTINATION)[0].held_count == 0
    await desk.turn(1.1)
    assert (taker.numbers, taker.attempts) == ([1, 1], [1, 2])


async def test_each_letter_has_its_own_time_to_be_settled(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    await desk.turn(SETTLE_S / 2)
    await desk.record(2)
    held = []
    for _ in range(2):
        await desk.turn(SETTLE_S / 2)
        held.append(desk.dispatcher.consumers(DESTINATION)[0].held_count)
    assert held == [1, 0]
    assert taker.numbers == [1, 2]


async def test_a_letter_accepted_too_late_does_not_come_again(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    await desk.turn(SETTLE_S + 1)
    attached(taker).accept(taker.letters[0])
    await desk.turn(REDELIVERY_S)
    assert taker.numbers == [1]
    assert await desk.store.count_letters(DESTINATION) == 0


async def test_what_a_consumer_that_vanishes_had_goes_to_another_at_once(desk: Desk) -> None:
    first = desk.taker(credit=10)
    await desk.record(1, 2, 3)
    second = desk.taker(credit=10)
    attached(first).accept(first.letters[1])
    attached(first).detach()
    await desk.settle()
    assert (second.numbers, second.attempts) == ([1, 3], [2, 2])


async def test_what_the_last_consumer_had_waits_for_the_next(desk: Desk) -> None:
    first = desk.taker(credit=10)
    await desk.record(1)
    attached(first).detach()
    assert desk.dispatcher.consumers(DESTINATION) == []
    second = desk.taker(credit=10)
    await desk.settle()
    assert second.numbers == [1]


async def test_a_consumer_that_left_gets_nothing_more(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    attached(taker).detach()
    attached(taker).detach()
    attached(taker).grant(10)
    await desk.record(1)
    assert taker.numbers == []
    assert desk.clock.timer_count == 0


async def test_a_consumer_that_left_while_the_backlog_was_read_loses_nothing(desk: Desk) -> None:
    await desk.record(1, 2)
    first = desk.taker(credit=10)
    await asyncio.sleep(0)
    attached(first).detach()
    second = desk.taker(credit=10)
    await desk.settle()
    assert (first.numbers, second.numbers) == ([], [1, 2])


async def test_a_consumer_that_is_sent_away_while_letters_are_shared_loses_nothing(desk: Desk) -> None:
    class Rival(Taker):
        def take(self, letters: Sequence[Letter]) -> None:
            super().take(letters)
            attached(other).detach()

    rival = Rival()
    rival.attachment = desk.dispatcher.attach(DESTINATION, rival)
    other = desk.taker()
    rival.attachment.grant(2)
    attached(other).grant(2)
    await desk.record(1, 2)
    assert (rival.numbers, other.numbers) == ([1, 2], [])


async def test_a_letter_released_by_one_that_does_not_hold_it_stays_where_it_is(desk: Desk) -> None:
    first = desk.taker(credit=10)
    await desk.record(1)
    attached(first).detach()
    second = desk.taker(credit=10)
    await desk.settle()
    attached(first).release(first.letters[0])
    await desk.turn(1)
    attached(second).accept(second.letters[0])
    assert await desk.store.count_letters(DESTINATION) == 0


async def test_a_destination_has_so_many_consumers_and_no_more(desk: Desk) -> None:
    takers = [desk.taker() for _ in range(CONSUMERS_OF_A_DESTINATION_MAX)]
    with pytest.raises(TooManyConsumers):
        desk.taker()
    desk.taker(destination=OTHER_DESTINATION)
    attached(takers[0]).detach()
    desk.taker()


async def test_a_consumer_holds_so_many_letters_and_no_more(desk: Desk) -> None:
    await desk.record(*range(LETTERS_OF_A_CONSUMER_MAX + 2))
    taker = desk.taker(credit=10 * LETTERS_OF_A_CONSUMER_MAX)
    await desk.settle()
    assert len(taker.letters) == LETTERS_OF_A_CONSUMER_MAX
    attached(taker).accept(taker.letters[0])
    await desk.settle()
    assert len(taker.letters) == LETTERS_OF_A_CONSUMER_MAX + 1


async def test_letters_are_read_a_page_at_a_time(desk: Desk) -> None:
    await desk.record(*range(LEASE_LETTERS_MAX + 1))
    taker = desk.taker(credit=LETTERS_OF_A_CONSUMER_MAX)
    await desk.settle()
    assert taker.pages == [LEASE_LETTERS_MAX, 1]


async def test_time_that_is_set_back_delays_nothing(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    await desk.record(1)
    attached(taker).release(taker.letters[0])
    await desk.settle()
    desk.clock.jump(-7200)
    await desk.turn(REDELIVERY_S + 0.1)
    assert taker.attempts == [1, 2]


async def test_time_that_is_set_forward_holds_back_nothing(desk: Desk) -> None:
    taker = desk.taker(credit=10)
    desk.clock.jump(7200)
    await desk.record(1)
    desk.clock.jump(-7200)
    await desk.record(2)
    assert taker.numbers == [1, 2]


async def test_who_is_attached_is_told(desk: Desk) -> None:
    taker = desk.taker(credit=10, client_id="client-7")
    attached_ms = int(desk.clock.time_s() * 1000)
    await desk.record(1, 2)
    desk.clock.advance(5)
    attached(taker).accept(taker.letters[0])
    [status] = desk.dispatcher.consumers(DESTINATION)
    assert (status.client_id, status.peer, status.attached_ms) == ("client-7", "192.0.2.1:40000", attached_ms)
    assert (status.accepted_count, status.held_count, status.last_accepted_ms) == (1, 1, attached_ms + 5_000)


async def test_what_was_accepted_is_told_of_each_consumer_and_of_all(desk: Desk) -> None:
    first, second = desk.taker(credit=10), desk.taker(credit=10)
    await desk.record(1, 2, 3)
    desk.clock.advance(5)
    for taker in (first, second):
        for letter in taker.letters:
            attached(taker).accept(letter)
    accepted_ms = int(desk.clock.time_s() * 1000)
    counts = [status.consumption.per_minute for status in desk.dispatcher.consumers(DESTINATION)]
    assert sorted(counts) == [1, 2]
    assert desk.dispatcher.consumption(DESTINATION) == Consumption(3, 0, accepted_ms)
    assert desk.dispatcher.consumption(OTHER_DESTINATION) == Consumption(0, 0, 0)


async def test_consumption_of_a_destination_outlives_its_consumers(desk: Desk) -> None:
    first = desk.taker(credit=1)
    await desk.record(1, 2)
    attached(first).accept(first.letters[0])
    attached(first).detach()
    assert desk.dispatcher.consumption(DESTINATION).per_minute == 1
    second = desk.taker(credit=1)
    await desk.settle()
    desk.clock.advance(1)
    attached(second).accept(second.letters[0])
    assert desk.dispatcher.consumption(DESTINATION).per_minute == 2
    assert [status.consumption.per_minute for status in desk.dispatcher.consumers(DESTINATION)] == [1]


async def test_consumers_of_a_deleted_destination_are_sent_away(desk: Desk) -> None:
    first, second, other = (
        desk.taker(credit=1),
        desk.taker(credit=1),
        desk.taker(credit=1, destination=OTHER_DESTINATION),
    )
    await desk.record(1, 2)
    attached(first).accept(first.letters[0])
    desk.dispatcher.dismiss(DESTINATION)
    assert (first.is_dismissed, second.is_dismissed, other.is_dismissed) == (True, True, False)
    assert desk.dispatcher.consumers(DESTINATION) == []
    assert desk.dispatcher.consumption(DESTINATION) == Consumption(0, 0, 0)
    assert len(desk.dispatcher.consumers(OTHER_DESTINATION)) == 1
    desk.dispatcher.dismiss(DESTINATION)


async def test_consumption_of_so_many_destinations_without_consumers_is_remembered(desk: Desk) -> None:
    taker = desk.taker(credit=1)
    await desk.record(1)
    attached(taker).accept(taker.letters[0])
    attached(taker).detach()
    for number in range(METERS_KEPT_MAX - 1):
        desk.dispatcher.attach(f"1001/group-{number}", taker).detach()
    assert desk.dispatcher.consumption(DESTINATION).per_minute == 1
    desk.dispatcher.attach("1001/one-more", taker).detach()
    assert desk.dispatcher.consumption(DESTINATION) == Consumption(0, 0, 0)


async def test_a_consumer_that_breaks_is_logged_and_its_letters_come_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Taker):
        def take(self, letters: Sequence[Letter]) -> None:
            raise RuntimeError("broken")

    attachment = desk.dispatcher.attach(DESTINATION, Broken())
    attachment.grant(1)
    await desk.record(1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    attachment.detach()
    taker = desk.taker(credit=1)
    await desk.settle()
    assert taker.numbers == [1]


class BrokenStore(SqliteStore):
    """A store that cannot lease while `is_broken`."""

    is_broken = False

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        if self.is_broken:
            raise OperationalError("UPDATE", None, OSError("disk I/O error"))
        return await super().lease_letters(destination, limit, now_ms, until_ms)


async def test_a_backlog_that_cannot_be_read_is_tried_again(
    store: SqliteStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = BrokenStore(store._path, clock)
    await broken.open()
    desk = Desk(broken, clock)
    broken.is_broken = True
    taker = desk.taker(credit=10)
    await desk.record(1)
    assert "the backlog of a destination cannot be handed out" in caplog.text
    broken.is_broken = False
    await desk.turn(RETRY_S)
    assert taker.numbers == [1]
    await desk.dispatcher.stop()
    await broken.close()


async def test_stopping_gives_everything_back(desk: Desk) -> None:
    await desk.record(1, 2, 3)
    taker = desk.taker(credit=2)
    await desk.settle()
    attached(taker).accept(taker.letters[0])
    attached(taker).grant(1)
    await desk.dispatcher.stop()
    assert desk.clock.timer_count <= 1  # the batch of what was given back
    assert await desk.store.count_letters(DESTINATION) == 2
    again = Desk(desk.store, desk.clock)
    later = again.taker(credit=10)
    await again.settle()
    assert later.numbers == [2, 3]
    await again.dispatcher.stop()


FILL = """
    WITH RECURSIVE counted(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM counted WHERE number + 1 < ?)
    INSERT INTO letter
    (destination, message_id, topic, payload, generated_ms, qos, attempts, due_ms, is_dead, last_error)
    SELECT ?, number, '/a/topic', zeroblob(300), 0, 0, 0, 0, FALSE, '' FROM counted
"""


async def test_memory_grows_with_credit_not_with_the_backlog(desk: Desk) -> None:
    count = 100_000
    await desk.store._write(lambda connection: connection.exec_driver_sql(FILL, (count, DESTINATION)).close())
    seen = bytearray(count)
    gc.collect()
    letters_alive: list[int] = []
    drained = asyncio.Event()

    class Counter(Taker):
        def take(self, letters: Sequence[Letter]) -> None:
            if letters[0].message_id % 10_000 == 0:
                letters_alive.append(sum(type(found) is Letter for found in gc.get_objects()))
            for letter in letters:
                seen[letter.message_id] += 1
                attached(self).accept(letter)
            attached(self).grant(LEASE_LETTERS_MAX)
            if letters[-1].message_id == count - 1:
                drained.set()

    taker = Counter()
    taker.attachment = desk.dispatcher.attach(DESTINATION, taker)
    taker.attachment.grant(LEASE_LETTERS_MAX)
    await drained.wait()
    await desk.settle()
    assert seen == bytearray(b"\x01") * count
    assert await desk.store.count_letters(DESTINATION) == 0
    assert len(letters_alive) == 10
    assert max(letters_alive) <= 2 * LEASE_LETTERS_MAX


async def test_a_dispatcher_without_consumers_leaves_the_store_alone(desk: Desk) -> None:
    before = desk.store.statement_count
    await desk.record(1)
    desk.dispatcher.wake_all()
    Dispatcher(desk.store, desk.clock).wake(DESTINATION)
    await desk.settle()
    assert (desk.store.statement_count, desk.dispatcher._desks) == (before, {})

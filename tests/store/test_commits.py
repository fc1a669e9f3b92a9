"""Callers whose rows go to the disk together, and do not suffer from each other."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from linkstead.invocation import RouterOverloaded
from linkstead.registry import StoreAway
from linkstead.sessions import SavedMessage
from linkstead.store import commits
from linkstead.store.commits import (
    COMMIT_BYTES_MAX,
    COMMIT_CALLERS_MAX,
    COMMIT_ROWS_MAX,
    COMMIT_WAIT_S,
    Commits,
    Outcome,
    Wish,
    write_together,
)
from linkstead.store.history import RECORD, encode_call
from linkstead.store.sql import SqlStore
from linkstead.testing.clock import ManualClock
from tests.store.samples import LAMP, NOW_MS, a_message, an_open_call

pytestmark = pytest.mark.asyncio


class Shelf:
    """Where wishes go: keeps what came together, fails as told, and stays on the way while `gate` is shut."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.failure: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.last_id = 0
        self.undone: list[int] = []
        self.clock = ManualClock()

    async def write(self, wishes: Sequence[Wish]) -> list[Outcome]:
        self.sizes.append(len(wishes))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return [self.answer(wish) for wish in wishes]

    def answer(self, wish: Wish) -> Outcome:
        if any(message.topic == "bad" for message in wish.messages):
            return ValueError("bad")
        first = self.last_id + 1
        self.last_id += len(wish.messages)
        return list(range(first, self.last_id + 1))


def a_wish(*messages: SavedMessage) -> Wish:
    return Wish([], messages or (a_message(),))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_caller_alone_does_not_wait() -> None:
    shelf = Shelf()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    assert await kept.keep(a_wish()) == [1]
    assert await kept.keep(a_wish(a_message(2), a_message(3))) == [2, 3]
    assert shelf.sizes == [1, 1]


async def test_who_comes_while_one_is_written_goes_together_in_the_next() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    callers = [asyncio.ensure_future(kept.keep(a_wish()))]
    await settle()
    callers += [asyncio.ensure_future(kept.keep(a_wish())) for _ in range(5)]
    await settle()
    assert shelf.sizes == [1]
    shelf.gate.set()
    assert await asyncio.gather(*callers) == [[1], [2], [3], [4], [5], [6]]
    assert shelf.sizes == [1, 5]


async def test_a_transaction_takes_rows_up_to_the_bound() -> None:
    shelf = Shelf()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    half = a_wish(*[a_message()] * (COMMIT_ROWS_MAX // 2))
    wishes = [half, half, half, a_wish(*[a_message()] * (COMMIT_ROWS_MAX // 2 + 1)), a_wish()]
    outcomes = await asyncio.gather(*(kept.keep(wish) for wish in wishes))
    assert [len(ids) for ids in outcomes] == [wish.row_count for wish in wishes]
    assert shelf.sizes == [2, 1, 2]


async def test_one_caller_may_bring_more_than_the_bound() -> None:
    shelf = Shelf()
    wish = a_wish(*[a_message()] * (COMMIT_ROWS_MAX + 1))
    assert len(await Commits(shelf.write, shelf.undone.extend, shelf.clock).keep(wish)) == COMMIT_ROWS_MAX + 1


async def test_calls_and_messages_count_as_rows_and_bytes() -> None:
    row = encode_call(an_open_call())
    wish = Wish([row, row], [a_message(payload=bytes(100))])
    assert (wish.row_count, wish.size_bytes) == (3, 2 * len(row[RECORD]) + 100)


async def test_one_caller_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMMIT_CALLERS_MAX", 3)
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    callers = [asyncio.ensure_future(kept.keep(a_wish())) for _ in range(3)]
    await settle()
    with pytest.raises(RouterOverloaded):
        await kept.keep(a_wish())
    shelf.gate.set()
    assert await asyncio.gather(*callers) == [[1], [2], [3]]
    assert await kept.keep(a_wish()) == [4]
    assert COMMIT_CALLERS_MAX == 10_000


async def test_bytes_beyond_the_bound_are_refused() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    half = a_message(payload=bytes(COMMIT_BYTES_MAX // 2))
    callers = [asyncio.ensure_future(kept.keep(a_wish(half))) for _ in range(2)]
    await settle()
    with pytest.raises(RouterOverloaded):
        await kept.keep(a_wish(a_message(payload=b"1")))
    shelf.gate.set()
    assert await asyncio.gather(*callers) == [[1], [2]]
    assert await kept.keep(a_wish(half, half)) == [3, 4]


async def test_the_failure_of_one_is_not_the_others() -> None:
    shelf = Shelf()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    wishes = [a_wish(), a_wish(a_message(topic="bad")), a_wish()]
    first, second, third = await asyncio.gather(*(kept.keep(wish) for wish in wishes), return_exceptions=True)
    assert (first, third) == ([1], [2])
    assert isinstance(second, ValueError)
    assert shelf.sizes == [3]


async def test_where_nothing_could_be_written_all_hear_of_it_and_the_next_are_tried() -> None:
    shelf = Shelf()
    shelf.failure = OperationalError("INSERT", None, OSError("disk I/O error"))
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    outcomes = await asyncio.gather(*(kept.keep(a_wish()) for _ in range(3)), return_exceptions=True)
    assert outcomes == [shelf.failure] * 3
    shelf.failure = None
    assert await kept.keep(a_wish()) == [1]


async def test_who_has_waited_for_too_long_is_told_and_what_is_written_nevertheless_is_undone() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    early = [asyncio.ensure_future(kept.keep(a_wish()))]
    await settle()
    # It waits for the next transaction, as does one who came later.
    early.append(asyncio.ensure_future(kept.keep(a_wish())))
    await settle()
    shelf.clock.advance(1.0)
    later = [asyncio.ensure_future(kept.keep(a_wish())) for _ in range(2)]
    await settle()
    shelf.clock.advance(COMMIT_WAIT_S - 1.001)
    await settle()
    assert not any(caller.done() for caller in early + later)
    shelf.clock.advance(0.001)
    for caller in early:
        with pytest.raises(StoreAway):
            await caller
    assert not any(caller.done() for caller in later)
    shelf.clock.advance(0.5)
    shelf.gate.set()
    # The first was under way, the second never was.
    assert await asyncio.gather(*later) == [[2], [3]]
    assert (shelf.sizes, shelf.undone) == ([1, 2], [1])
    await kept.close()
    assert shelf.clock.timer_count == 0
    assert await kept.keep(a_wish()) == [4]


async def test_those_who_come_later_wait_no_longer() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    callers = []
    for _ in range(3):
        callers.append(asyncio.ensure_future(kept.keep(a_wish())))
        await settle()
        shelf.clock.advance(3.0)
        await settle()
    # The first two came 9 s and 6 s ago.
    assert [caller.done() for caller in callers] == [True, True, False]
    shelf.clock.advance(COMMIT_WAIT_S - 3.0)
    outcomes: list[Any] = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreAway] * 3
    shelf.gate.set()
    await kept.close()
    assert (shelf.sizes, shelf.undone) == ([1], [1])


async def test_a_caller_who_is_cancelled_waits_until_what_was_begun_has_ended() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    callers = [asyncio.ensure_future(kept.keep(a_wish())) for _ in range(2)]
    await settle()
    callers[0].cancel()
    await settle()
    assert not callers[0].done()
    shelf.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert await callers[1] == [2]
    assert await kept.keep(a_wish()) == [3]


async def test_nobody_waits_for_ever_when_the_loop_ends() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    callers = [asyncio.ensure_future(kept.keep(a_wish()))]
    await settle()
    callers.append(asyncio.ensure_future(kept.keep(a_wish())))
    await settle()
    [writing] = asyncio.all_tasks() - {asyncio.current_task(), *callers}
    writing.cancel()
    outcomes: list[Any] = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    shelf.gate.set()
    assert await kept.keep(a_wish()) == [1]


async def test_closing_waits_for_those_who_wait() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    kept = Commits(shelf.write, shelf.undone.extend, shelf.clock)
    await kept.close()
    caller = asyncio.ensure_future(kept.keep(a_wish()))
    await settle()
    closing = asyncio.ensure_future(kept.close())
    await settle()
    assert not closing.done()
    shelf.gate.set()
    await closing
    assert caller.done()
    assert await caller == [1]


async def test_calls_and_messages_of_many_callers_get_their_own_ids(store: SqlStore) -> None:
    callers = [
        store.keep_calls([an_open_call(number)], [a_message(number), a_message(number)]) for number in range(1, 21)
    ]
    outcomes = await asyncio.gather(*callers, store.add_messages([a_message(99)]), store.keep_calls([], []))
    by_id = {message.row_id: message.payload for message in await store.list_messages(LAMP)}
    for number, ids in enumerate(outcomes[:20], start=1):
        assert [by_id.pop(row_id) for row_id in ids] == [b"message %d" % number] * 2
        assert await store.find_open_call(LAMP, number) is not None
    [last] = outcomes[20]
    assert by_id == {last: b"message 99"}
    assert outcomes[21] == []


@pytest.mark.parametrize(
    "bad",
    [
        a_message(topic="\ud800"),
        a_message(accepted_ms=2**63),
        a_message(call_id=None),
    ],
)
async def test_a_message_that_cannot_be_kept_takes_no_other_with_it(store: SqlStore, bad: SavedMessage) -> None:
    """The call it came with is not kept either; those of other callers are, before and after it."""
    outcomes = await asyncio.gather(
        store.keep_calls([an_open_call(1)], [a_message(1)]),
        store.keep_calls([an_open_call(2), an_open_call(3)], [a_message(2), bad]),
        store.keep_calls([an_open_call(4)], [a_message(4)]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Exception)
    kept = [number for number in range(1, 5) if await store.find_open_call(LAMP, number) is not None]
    assert kept == [1, 4]
    messages = await store.list_messages(LAMP)
    assert [message.payload for message in messages] == [b"message 1", b"message 4"]
    assert [[message.row_id] for message in messages] == [outcomes[0], outcomes[2]]


async def test_a_call_that_cannot_be_kept_takes_no_other_with_it(store: SqlStore) -> None:
    outcomes = await asyncio.gather(
        store.keep_calls([an_open_call(1)], []),
        store.keep_calls([an_open_call(2), an_open_call(3, target="\ud800")], []),
        store.keep_calls([an_open_call(4), an_open_call(1)], []),
        store.keep_calls([an_open_call(5, timeout_ms=2**64)], []),
        store.keep_calls([an_open_call(6)], []),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, True, True, False]
    kept = [number for number in range(1, 7) if await store.find_open_call(LAMP, number) is not None]
    assert kept == [1, 6]


async def test_a_failure_of_the_database_itself_is_not_taken_for_one_of_a_row(store: SqlStore) -> None:
    await store._write(lambda connection: connection.exec_driver_sql("ALTER TABLE message RENAME TO away"))
    with pytest.raises(OperationalError, match=r'no such table: message|relation "message" does not exist'):
        await store.keep_calls([an_open_call(1)], [a_message(1)])
    with pytest.raises(OperationalError, match=r'no such table: message|relation "message" does not exist'):
        await store._write(write_together, [], [Wish([encode_call(an_open_call(2))], [a_message(2)])])
    await store._write(lambda connection: connection.exec_driver_sql("ALTER TABLE away RENAME TO message"))
    assert await store.find_open_call(LAMP, 1) is None
    assert await store.find_open_call(LAMP, 2) is None
    await store.keep_calls([an_open_call(1)], [a_message(1, accepted_ms=NOW_MS)])
    assert await store.find_open_call(LAMP, 1) is not None

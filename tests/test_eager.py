"""Coroutines that run at once: what they return and raise, what they wait for, and that all of them end."""

import asyncio
from collections.abc import Callable

import pytest

from linkstead.eager import EagerRunner, Patience, Waiter

pytestmark = pytest.mark.asyncio


class Ends:
    """How coroutines ended."""

    def __init__(self) -> None:
        self.runner = EagerRunner()
        self.results: list[object] = []
        self.errors: list[Exception] = []
        self.patiences: list[Patience] = []

    def start(self, function: Callable[[], object]) -> None:
        self.runner.start(
            function(),  # type: ignore[arg-type]
            self.results.append,
            self.errors.append,
            self.patiences.append,
        )


async def test_what_has_nothing_to_wait_for_ends_at_once() -> None:
    ends = Ends()

    async def add() -> int:
        return 1 + 1

    ends.start(add)
    assert ends.results == [2]
    await ends.runner.drain()


async def test_what_waits_for_a_waiter_goes_on_without_a_task() -> None:
    ends = Ends()
    waiter: Waiter[str] = Waiter()
    tasks: list[asyncio.Task[object] | None] = []

    async def wait() -> str:
        answer = await waiter
        tasks.append(asyncio.current_task())
        return answer + "!"

    ends.start(wait)
    assert not ends.results
    waiter.set_result("yes")
    # Who sets the result is not interrupted.
    assert not ends.results
    await ends.runner.drain()
    assert ends.results == ["yes!"]
    assert tasks == [None]


async def test_what_waits_for_something_else_becomes_a_task() -> None:
    ends = Ends()
    waiter: Waiter[int] = Waiter()
    tasks: list[asyncio.Task[object] | None] = []

    async def wait() -> int:
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        gate.set_result(None)
        number = await waiter
        await asyncio.sleep(0)
        return number

    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ends.start(wait)
    await gate
    assert isinstance(tasks[0], asyncio.Task)
    waiter.set_result(7)
    await ends.runner.drain()
    assert ends.results == [7]


async def test_what_was_waited_for_fails_where_it_was_waited_for() -> None:
    ends = Ends()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        try:
            await future
        except KeyError:
            return "caught"
        return "not caught"

    ends.start(wait)
    future.set_exception(KeyError("x"))
    await ends.runner.drain()
    assert ends.results == ["caught"]


@pytest.mark.parametrize("turns", [0, 2])
async def test_what_a_coroutine_raises_is_told(turns: int) -> None:
    ends = Ends()

    async def fail() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("mistake")

    ends.start(fail)
    await ends.runner.drain()
    (error,) = ends.errors
    assert str(error) == "mistake"


async def test_an_answer_that_is_there_already_is_not_waited_for() -> None:
    ends = Ends()
    waiter: Waiter[int] = Waiter()
    waiter.set_result(3)
    waiter.set_result(4)

    async def wait() -> int:
        return await waiter

    ends.start(wait)
    assert ends.results == [3]
    assert not waiter.cancel()


async def test_a_task_that_waits_for_a_waiter_goes_on_or_is_cancelled() -> None:
    first: Waiter[int] = Waiter()
    second: Waiter[int] = Waiter()

    async def wait(waiter: Waiter[int]) -> int:
        return await waiter

    going_on, cancelled = asyncio.ensure_future(wait(first)), asyncio.ensure_future(wait(second))
    await asyncio.sleep(0)
    first.set_result(5)
    cancelled.cancel()
    assert await going_on == 5
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    second.set_result(6)
    with pytest.raises(asyncio.CancelledError):
        second.result()


async def test_there_is_no_result_before_it_is_set() -> None:
    waiter: Waiter[int] = Waiter()
    assert waiter.get_loop() is asyncio.get_running_loop()
    with pytest.raises(asyncio.InvalidStateError):
        waiter.result()


class Enough(Exception):
    """It was waited for long enough."""


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_what_may_never_come_can_be_given_up_where_it_is_waited_for(turns: int) -> None:
    ends = Ends()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    shielded: list[bool] = []

    async def wait() -> str:
        try:
            await asyncio.shield(future)
        except Enough:
            shielded.append(not future.done())
            await asyncio.sleep(0)
            return "gave up"
        return "waited"

    ends.start(wait)
    (patience,) = ends.patiences
    over: list[bool] = []
    patience.call_when_over(lambda: over.append(True))
    for _ in range(turns):
        await asyncio.sleep(0)
    assert patience.give_up(Enough())
    await ends.runner.drain()
    assert (ends.results, ends.errors, shielded) == (["gave up"], [], [True])
    await asyncio.sleep(0)
    assert over == [True]


async def test_what_is_given_up_and_not_caught_is_told() -> None:
    ends = Ends()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await future

    ends.start(wait)
    await asyncio.sleep(0)
    assert ends.patiences[0].give_up(Enough())
    await ends.runner.drain()
    assert [type(error) for error in ends.errors] == [Enough]


async def test_a_waiter_is_not_given_up_nor_asked_for_patience() -> None:
    ends = Ends()
    first: Waiter[int] = Waiter()
    second: Waiter[int] = Waiter()

    async def wait() -> int:
        number = await first
        await asyncio.sleep(0)
        return number + await second

    ends.start(wait)
    assert not ends.patiences
    first.set_result(1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not ends.patiences[0].give_up(Enough())
    second.set_result(2)
    await ends.runner.drain()
    assert ends.results == [3]


async def test_all_that_were_answered_go_on_in_one_turn_in_their_order() -> None:
    ends = Ends()
    waiters: list[Waiter[int]] = [Waiter() for _ in range(5)]

    def wait_for(waiter: Waiter[int]) -> Callable[[], object]:
        async def wait() -> int:
            return await waiter

        return wait

    for waiter in waiters:
        ends.start(wait_for(waiter))
    for number in (3, 1, 4):
        waiters[number].set_result(number)
    await asyncio.sleep(0)
    assert ends.results == [3, 1, 4]
    for number in (0, 2):
        waiters[number].set_result(number)
    await ends.runner.drain()
    assert ends.results == [3, 1, 4, 0, 2]


async def test_one_that_is_cancelled_keeps_no_other_from_going_on() -> None:
    ends = Ends()
    waiters: list[Waiter[int]] = [Waiter() for _ in range(3)]
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def wait_for(waiter: Waiter[int]) -> Callable[[], object]:
        async def wait() -> int:
            return await waiter

        return wait

    for waiter in waiters:
        ends.start(wait_for(waiter))
    waiters[0].cancel()
    waiters[1].set_result(1)
    waiters[2].set_result(2)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (ends.results, len(told)) == ([1, 2], 1)

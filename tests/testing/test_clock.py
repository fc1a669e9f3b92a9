import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.clock import Clock, Timer, milliseconds
from linkstead.testing.clock import ManualClock


def test_the_clock_stands_still() -> None:
    clock: Clock = ManualClock(1_700_000_000.0)
    assert (clock.time_s(), clock.monotonic_s()) == (clock.time_s(), clock.monotonic_s())
    assert milliseconds(clock.time_s()) == 1_700_000_000_000


def test_advancing_moves_both_notions_of_now() -> None:
    clock = ManualClock()
    time_s, monotonic_s = clock.time_s(), clock.monotonic_s()
    clock.advance(2.5)
    assert (clock.time_s() - time_s, clock.monotonic_s() - monotonic_s) == (2.5, 2.5)
    clock.advance(0)
    assert clock.time_s() - time_s == 2.5


def test_monotonic_time_does_not_go_back() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="seconds must be 0 or more"):
        clock.advance(-0.001)


@pytest.mark.parametrize("seconds", [-3_600.0, 3_600.0])
def test_a_jump_moves_the_wall_clock_and_no_timer(seconds: float) -> None:
    clock = ManualClock()
    seen: list[int] = []
    clock.call_later(10, seen.append, 1)
    time_s, monotonic_s = clock.time_s(), clock.monotonic_s()
    clock.jump(seconds)
    assert (clock.time_s() - time_s, clock.monotonic_s()) == (seconds, monotonic_s)
    clock.advance(9.5)
    assert seen == []
    clock.advance(0.5)
    assert seen == [1]


def test_a_callback_runs_when_its_moment_is_reached_and_once() -> None:
    clock = ManualClock()
    seen: list[tuple[object, ...]] = []
    clock.call_later(1, lambda *args: seen.append(args), "a", 2)
    clock.advance(0.999)
    assert (seen, clock.timer_count) == ([], 1)
    clock.advance(0.001)
    clock.advance(100)
    assert (seen, clock.timer_count) == ([("a", 2)], 0)


def test_a_callback_sees_its_own_moment() -> None:
    clock = ManualClock()
    start_s, wall_s = clock.monotonic_s(), clock.time_s()
    seen: list[tuple[float, float]] = []
    for delay_s in (5, 1, 3):
        clock.call_later(delay_s, lambda: seen.append((clock.monotonic_s() - start_s, clock.time_s() - wall_s)))
    clock.advance(10)
    assert seen == [(1, 1), (3, 3), (5, 5)]
    assert clock.monotonic_s() - start_s == 10


def test_callbacks_of_one_moment_run_in_the_order_they_were_made() -> None:
    clock = ManualClock()
    seen: list[int] = []
    for number in range(5):
        clock.call_later(1, seen.append, number)
    clock.advance(1)
    assert seen == [0, 1, 2, 3, 4]


def test_a_callback_made_by_a_callback_runs_in_the_same_advance_if_it_falls_due() -> None:
    clock = ManualClock()
    seen: list[str] = []

    def first() -> None:
        clock.call_later(1, seen.append, "in")
        clock.call_later(2, seen.append, "out")

    clock.call_later(1, first)
    clock.advance(2)
    assert seen == ["in"]


@pytest.mark.parametrize("delay_s", [0.0, -5.0])
def test_what_is_due_at_once_runs_at_the_next_advance(delay_s: float) -> None:
    clock = ManualClock()
    seen: list[int] = []
    clock.call_later(delay_s, seen.append, 1)
    assert seen == []
    clock.advance(0)
    assert seen == [1]


def test_a_cancelled_callback_does_not_run() -> None:
    clock = ManualClock()
    seen: list[int] = []
    timer = clock.call_later(1, seen.append, 1)
    kept = clock.call_later(1, seen.append, 2)
    timer.cancel()
    assert clock.timer_count == 1
    clock.advance(1)
    assert seen == [2]
    timer.cancel()
    kept.cancel()
    assert clock.timer_count == 0


def test_a_callback_can_cancel_another_of_the_same_moment() -> None:
    clock = ManualClock()
    seen: list[int] = []
    timers: list[Timer] = []

    def cancel_other() -> None:
        timers[0].cancel()

    clock.call_later(1, cancel_other)
    timers.append(clock.call_later(1, seen.append, 2))
    clock.advance(1)
    assert seen == []


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=100), st.booleans()), max_size=20), st.data())
def test_callbacks_run_in_the_order_of_their_moments(timers: list[tuple[float, bool]], data: st.DataObject) -> None:
    clock = ManualClock()
    start_s = clock.monotonic_s()
    seen: list[tuple[float, int]] = []
    for index, (delay_s, is_cancelled) in enumerate(timers):
        timer = clock.call_later(delay_s, lambda *due: seen.append(due), start_s + delay_s, index)
        if is_cancelled:
            timer.cancel()
    while clock.timer_count:
        clock.advance(data.draw(st.floats(min_value=1, max_value=200)))
    wanted = [(start_s + delay_s, index) for index, (delay_s, is_cancelled) in enumerate(timers) if not is_cancelled]
    assert seen == sorted(wanted)


@pytest.mark.asyncio
async def test_a_sleep_ends_when_the_clock_is_turned_that_far() -> None:
    clock = ManualClock()
    sleeping = asyncio.get_running_loop().create_task(clock.sleep(7 * 24 * 3600.0))
    await asyncio.sleep(0)
    clock.advance(7 * 24 * 3600.0 - 1)
    await asyncio.sleep(0)
    assert not sleeping.done()
    clock.advance(1)
    await sleeping
    assert clock.timer_count == 0


@pytest.mark.asyncio
async def test_a_cancelled_sleep_leaves_no_timer() -> None:
    clock = ManualClock()
    sleeping = asyncio.get_running_loop().create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert clock.timer_count == 1
    sleeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sleeping
    assert clock.timer_count == 0
    clock.advance(1)


@pytest.mark.asyncio
async def test_a_sleep_cancelled_as_it_ends_breaks_nothing() -> None:
    clock = ManualClock()
    sleeping = asyncio.get_running_loop().create_task(clock.sleep(1))
    await asyncio.sleep(0)
    sleeping.cancel()
    clock.advance(1)
    with pytest.raises(asyncio.CancelledError):
        await sleeping

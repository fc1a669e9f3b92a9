"""A clock that goes by itself and can be turned."""

import asyncio

import pytest

from linkstead.clock import CANCELLED_KEPT_MAX
from linkstead.rehearsal.turning import ADVANCE_S_MAX, TurnableClock
from linkstead.testing.clock import ManualClock


@pytest.fixture
def steady() -> ManualClock:
    return ManualClock()


@pytest.fixture
def clock(steady: ManualClock) -> TurnableClock:
    return TurnableClock(steady)


def test_it_goes_with_the_clock_beneath(steady: ManualClock, clock: TurnableClock) -> None:
    rung: list[str] = []
    clock.call_later(5.0, rung.append, "five")
    clock.call_later(2.0, rung.append, "two")
    steady.advance(1.9)
    assert rung == []
    steady.advance(0.2)
    assert rung == ["two"]
    steady.advance(3.0)
    assert rung == ["two", "five"]
    assert clock.monotonic_s() == steady.monotonic_s()


def test_turned_it_is_ahead_and_what_is_due_has_run_in_order_each_at_its_moment(
    steady: ManualClock, clock: TurnableClock
) -> None:
    begin_s = clock.monotonic_s()
    rung: list[tuple[str, float]] = []
    for name, delay_s in (("late", 8.0), ("soon", 3.0), ("never", 11.0)):
        clock.call_later(delay_s, lambda name=name: rung.append((name, clock.monotonic_s() - begin_s)))
    clock.advance(10.0)
    assert rung == [("soon", 3.0), ("late", 8.0)]
    assert clock.ahead_s == 10.0
    assert clock.monotonic_s() - steady.monotonic_s() == clock.time_s() - steady.time_s() == 10.0
    steady.advance(1.0)
    assert rung[-1] == ("never", 11.0)


def test_what_a_callback_orders_within_the_turn_runs_within_it(clock: TurnableClock) -> None:
    rung: list[str] = []

    def order() -> None:
        clock.call_later(1.0, rung.append, "second")

    clock.call_later(1.0, order)
    clock.advance(2.0)
    assert rung == ["second"]


def test_what_was_taken_back_does_not_run_and_is_not_kept_for_ever(clock: TurnableClock) -> None:
    rung: list[int] = []
    kept = clock.call_later(1.0, rung.append, 0)
    timers = [clock.call_later(2.0, rung.append, number) for number in range(2 * CANCELLED_KEPT_MAX)]
    for timer in timers:
        timer.cancel()
        timer.cancel()
    assert clock.timer_count <= CANCELLED_KEPT_MAX + 1
    clock.advance(3.0)
    assert rung == [0]
    kept.cancel()
    assert clock.timer_count == 0


@pytest.mark.parametrize("seconds", [-0.001, ADVANCE_S_MAX + 1, float("nan")])
def test_it_is_turned_forward_only_and_not_for_ever(clock: TurnableClock, seconds: float) -> None:
    with pytest.raises(ValueError, match="turned"):
        clock.advance(seconds)
    clock.advance(0.0)
    clock.advance(ADVANCE_S_MAX)


@pytest.mark.asyncio
async def test_who_sleeps_is_woken_by_turning(clock: TurnableClock) -> None:
    sleeping = asyncio.ensure_future(clock.sleep(3_600.0))
    await asyncio.sleep(0)
    clock.advance(3_599.0)
    await asyncio.sleep(0)
    assert not sleeping.done()
    clock.advance(1.0)
    await sleeping


@pytest.mark.asyncio
async def test_a_callback_that_fails_is_told_of_and_the_others_run(clock: TurnableClock) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
    rung: list[str] = []
    clock.call_later(1.0, [].remove, "nothing")
    clock.call_later(1.0, rung.append, "other")
    clock.advance(1.0)
    assert rung == ["other"]
    assert len(told) == 1
    assert "ValueError" in told[0]

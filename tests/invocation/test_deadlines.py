"""Deadlines in order: each thing expires when it is due, unless it ended before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.invocation.deadlines import SWEPT_FROM, TIMERS_KEPT_MAX, Deadlines
from linkstead.testing.clock import ManualClock


class Bench:
    """Deadlines of numbered things, of which those in `waiting` have not ended."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.waiting: dict[int, float] = {}
        self.expired: dict[int, float] = {}
        self.deadlines = Deadlines(self.clock, self.expire, self.waiting.__contains__)

    def add(self, number: int, span_ms: int) -> None:
        due_s = self.clock.monotonic_s() + span_ms / 1000
        self.waiting[number] = due_s
        self.deadlines.add(number, span_ms, due_s)

    def expire(self, number: int) -> None:
        del self.waiting[number]
        self.expired[number] = self.clock.monotonic_s()


def test_what_was_added_expires_when_it_is_due() -> None:
    bench = Bench()
    bench.add(1, 5_000)
    due_s = bench.waiting[1]
    bench.clock.advance(4.999)
    assert not bench.expired
    bench.clock.advance(0.001)
    assert list(bench.expired) == [1]
    assert bench.expired[1] >= due_s
    assert bench.clock.timer_count == 0


def test_what_ended_does_not_expire_and_the_next_does_in_its_own_time() -> None:
    bench = Bench()
    bench.add(1, 5_000)
    bench.clock.advance(1.0)
    bench.add(2, 5_000)
    del bench.waiting[1]
    bench.clock.advance(4.5)
    assert not bench.expired
    bench.clock.advance(0.5)
    assert list(bench.expired) == [2]


def test_a_shorter_span_is_due_before_a_longer_one_that_came_first() -> None:
    bench = Bench()
    bench.add(1, 8_000)
    bench.add(2, 1_000)
    bench.clock.advance(1.0)
    assert list(bench.expired) == [2]
    bench.clock.advance(7.0)
    assert list(bench.expired) == [2, 1]


def test_many_of_one_span_share_a_timer() -> None:
    bench = Bench()
    for number in range(100):
        bench.add(number, 5_000)
    assert bench.clock.timer_count == 1


def test_cleared_nothing_expires() -> None:
    bench = Bench()
    bench.add(1, 5_000)
    bench.add(2, 6_000)
    bench.deadlines.clear()
    assert bench.deadlines.entry_count == 0
    bench.clock.advance(10.0)
    assert not bench.expired
    assert bench.clock.timer_count == 0


@pytest.mark.parametrize(("span_count", "timer_count"), [(TIMERS_KEPT_MAX, TIMERS_KEPT_MAX), (TIMERS_KEPT_MAX + 1, 0)])
def test_timers_of_a_few_spans_run_on(span_count: int, timer_count: int) -> None:
    bench = Bench()
    for number in range(span_count):
        bench.add(number, 5_000 + number)
    bench.deadlines.clear()
    assert bench.clock.timer_count == timer_count
    bench.clock.advance(6.0)
    assert bench.clock.timer_count == 0
    assert not bench.expired


def test_after_that_what_is_added_expires_in_its_own_time() -> None:
    bench = Bench()
    bench.add(1, 5_000)
    bench.deadlines.clear()
    bench.clock.advance(3.0)
    bench.add(2, 5_000)
    assert bench.clock.timer_count == 1
    bench.clock.advance(4.999)
    assert not bench.expired
    bench.clock.advance(0.001)
    assert list(bench.expired) == [2]
    assert bench.clock.timer_count == 0


def test_a_queue_is_swept_of_what_ended_behind_one_that_waits() -> None:
    bench = Bench()
    bench.add(0, 8_000)
    for number in range(1, 3 * SWEPT_FROM):
        bench.add(number, 8_000)
        del bench.waiting[number]
        assert bench.deadlines.entry_count <= SWEPT_FROM + 1
    bench.clock.advance(8.0)
    assert list(bench.expired) == [0]
    assert bench.deadlines.entry_count == 0


@given(st.lists(st.tuples(st.sampled_from([1_000, 2_500, 5_000]), st.integers(0, 4_000), st.booleans()), max_size=40))
def test_each_expires_once_in_time_or_ended_before(steps: list[tuple[int, int, bool]]) -> None:
    bench = Bench()
    due_s = {}
    ended = set()
    for number, (span_ms, pause_ms, ends_another) in enumerate(steps):
        bench.add(number, span_ms)
        due_s[number] = bench.waiting[number]
        bench.clock.advance(pause_ms / 1000)
        if ends_another and bench.waiting:
            first = next(iter(bench.waiting))
            del bench.waiting[first]
            ended.add(first)
    bench.clock.advance(6.0)
    assert not bench.waiting
    assert set(bench.expired) == set(due_s) - ended
    assert all(bench.expired[number] >= due_s[number] for number in bench.expired)
    assert bench.clock.timer_count == 0

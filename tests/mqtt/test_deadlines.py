"""Deadlines of many connections with few timers."""

from linkstead.mqtt.deadlines import SPAN_S, Deadlines, Span
from linkstead.testing.clock import ManualClock

SPAN_BEGINS_S = 300 * SPAN_S


class Connection:
    """Notes the moments at which it is looked at."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.looked_s: list[float] = []

    def look_at_deadline(self) -> None:
        self.looked_s.append(self._clock.monotonic_s())


def watch(deadlines: Deadlines, clock: ManualClock, connection: Connection, deadline_s: float) -> Span | None:
    return deadlines.watch(connection, deadline_s, clock.monotonic_s())


def test_connections_of_a_span_share_a_timer_that_runs_where_it_begins() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    connections = [Connection(clock) for _ in range(100)]
    spans = {
        id(watch(deadlines, clock, each, SPAN_BEGINS_S + SPAN_S * 0.009 * index))
        for index, each in enumerate(connections)
    }
    assert (len(spans), clock.timer_count) == (1, 1)
    clock.advance(SPAN_BEGINS_S - clock.monotonic_s() - 0.001)
    assert not any(each.looked_s for each in connections)
    clock.advance(0.001)
    assert all(each.looked_s == [SPAN_BEGINS_S] for each in connections)
    clock.advance(10 * SPAN_S)
    assert all(len(each.looked_s) == 1 for each in connections)


def test_a_deadline_in_the_next_span_has_another_timer() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    first, second = Connection(clock), Connection(clock)
    watch(deadlines, clock, first, SPAN_BEGINS_S + SPAN_S - 0.001)
    watch(deadlines, clock, second, SPAN_BEGINS_S + SPAN_S)
    assert clock.timer_count == 2
    clock.advance(SPAN_BEGINS_S + SPAN_S - clock.monotonic_s())
    assert (first.looked_s, second.looked_s) == ([SPAN_BEGINS_S], [SPAN_BEGINS_S + SPAN_S])


def test_a_span_that_has_begun_takes_nobody() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    clock.advance(SPAN_BEGINS_S - clock.monotonic_s())
    assert watch(deadlines, clock, Connection(clock), SPAN_BEGINS_S + SPAN_S - 0.001) is None
    assert watch(deadlines, clock, Connection(clock), SPAN_BEGINS_S - 1.0) is None
    assert clock.timer_count == 0


def test_what_is_forgotten_is_not_looked_at_and_an_empty_span_has_no_timer() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    first, second = Connection(clock), Connection(clock)
    span = watch(deadlines, clock, first, SPAN_BEGINS_S)
    assert span is not None
    assert watch(deadlines, clock, second, SPAN_BEGINS_S) is span
    span.forget(first)
    assert clock.timer_count == 1
    span.forget(second)
    assert clock.timer_count == 0
    again = watch(deadlines, clock, first, SPAN_BEGINS_S)
    assert again is not span
    clock.advance(SPAN_BEGINS_S - clock.monotonic_s())
    assert (first.looked_s, second.looked_s) == ([SPAN_BEGINS_S], [])


class Comrade(Connection):
    """Ends another connection when it is looked at."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.ends: tuple[Span, Connection] | None = None

    def look_at_deadline(self) -> None:
        super().look_at_deadline()
        if self.ends is not None:
            span, connection = self.ends
            span.forget(connection)


def test_a_connection_may_be_forgotten_while_its_span_is_looked_at() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    first, second, third = Comrade(clock), Connection(clock), Connection(clock)
    span = watch(deadlines, clock, first, SPAN_BEGINS_S)
    assert span is not None
    for each in (second, third):
        assert watch(deadlines, clock, each, SPAN_BEGINS_S) is span
    first.ends = (span, second)
    clock.advance(SPAN_BEGINS_S - clock.monotonic_s())
    assert (first.looked_s, second.looked_s, third.looked_s) == ([SPAN_BEGINS_S], [], [SPAN_BEGINS_S])

"""When connections have been silent for too long, found with a few timers for all of them.

A timer for each connection would be the largest part of an idle one, and hardly any is ever due: devices say something
in time, which moves their deadlines on.
"""

from typing import Final, Protocol

from linkstead.clock import Clock, Timer

SPAN_S: Final = 4.0
"""Deadlines that fall into one such span share a timer."""


class Watched(Protocol):
    """A connection that has a deadline."""

    def look_at_deadline(self) -> None:
        """Called at the beginning of the span: either the deadline has moved on, or the rest is waited for exactly."""


class Span:
    """Connections whose deadlines, when they were told, fell into one span."""

    __slots__ = ("_deadlines", "connections", "number", "timer")

    def __init__(self, deadlines: "Deadlines", number: int, timer: Timer) -> None:
        self._deadlines = deadlines
        self.number = number
        self.timer = timer
        self.connections: dict[Watched, None] = {}  # in the order they came

    def forget(self, connection: Watched) -> None:
        """Do not look at a connection of the span any more."""
        self.connections.pop(connection, None)
        if not self.connections:
            self._deadlines.drop(self)


class Deadlines:
    """Looks at connections before their deadlines.

    Args:
        clock: one timer a span in which a deadline falls.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spans: dict[int, Span] = {}

    def watch(self, connection: Watched, deadline_s: float, now_s: float) -> Span | None:
        """Look at a connection once, when the span of its deadline begins; None where that is not ahead any more."""
        number = int(deadline_s // SPAN_S)
        span = self._spans.get(number)
        if span is None:
            wait_s = number * SPAN_S - now_s
            if wait_s <= 0:
                return None
            timer = self._clock.call_later(wait_s, self._begin, number)
            span = self._spans[number] = Span(self, number, timer)
        span.connections[connection] = None
        return span

    def drop(self, span: Span) -> None:
        """Forget a span that is empty."""
        span.timer.cancel()
        if self._spans.get(span.number) is span:
            del self._spans[span.number]

    def _begin(self, number: int) -> None:
        connections = self._spans.pop(number).connections
        for connection in list(connections):
            # What is done for one may end another.
            if connection in connections:
                connection.look_at_deadline()

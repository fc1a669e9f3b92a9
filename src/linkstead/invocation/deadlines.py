"""Deadlines of many calls, kept in order: a timer of the event loop for each would cost a call as much as its HMAC."""

from collections import deque
from collections.abc import Callable

from linkstead.clock import Clock, Timer

SWEPT_FROM = 1_024
"""Entries of one span before those that are not needed any more are looked for."""


TIMERS_KEPT_MAX = 8
"""Spans whose timers run on when nothing waits any longer; where there are more they are of calls that came late."""


class Deadlines:
    """Calls back once a span of time has passed since something was added, unless it was taken off.

    Things of the same span are due in the order in which they came, so each span is a queue with one timer, for its
    first. Nothing is called back early, or later than the event loop is able to.

    Args:
        clock: the time.
        expire: called with a thing that is due.
        is_waiting: False for a thing that ended before it was due; asked when its turn comes.
    """

    def __init__(self, clock: Clock, expire: Callable[[int], None], is_waiting: Callable[[int], bool]) -> None:
        self._clock = clock
        self._expire = expire
        self._is_waiting = is_waiting
        self._queues: dict[int, _Queue] = {}

    @property
    def entry_count(self) -> int:
        """Entries kept, of things that ended as well."""
        return sum(len(queue.entries) for queue in self._queues.values())

    def add(self, number: int, span_ms: int, due_s: float) -> None:
        """Have `number` expire at `due_s`, which is `span_ms` from now."""
        queue = self._queues.get(span_ms)
        if queue is None:
            queue = self._queues[span_ms] = _Queue()
        entries = queue.entries
        entries.append((due_s, number))
        if queue.timer is None:
            self._arm(span_ms, queue, self._clock.monotonic_s())
        elif len(entries) >= queue.sweep_at:
            self._sweep(queue)

    def clear(self) -> None:
        """Expire nothing of what was added. Timers run out by themselves: what comes next needs them most often."""
        if len(self._queues) > TIMERS_KEPT_MAX:
            for queue in self._queues.values():
                if queue.timer is not None:
                    queue.timer.cancel()
            self._queues.clear()
            return
        for queue in self._queues.values():
            queue.entries.clear()
            queue.sweep_at = SWEPT_FROM

    def _arm(self, span_ms: int, queue: "_Queue", now_s: float) -> None:
        wait_s = max(queue.entries[0][0] - now_s, 0.0)
        queue.timer = self._clock.call_later(wait_s, self._check, span_ms, queue)

    def _check(self, span_ms: int, queue: "_Queue") -> None:
        queue.timer = None
        entries = queue.entries
        now_s = self._clock.monotonic_s()
        while entries:
            due_s, number = entries[0]
            if self._is_waiting(number):
                if due_s > now_s:
                    # An event loop may round its timers down, or this one was set for an earlier one that has ended.
                    break
                entries.popleft()
                self._expire(number)
            else:
                entries.popleft()
        if entries and queue.timer is None:
            self._arm(span_ms, queue, now_s)
        elif not entries:
            self._queues.pop(span_ms, None)

    def _sweep(self, queue: "_Queue") -> None:
        """Let go of what has ended, so that a queue is never much longer than what waits in it."""
        first, *rest = queue.entries
        queue.entries = deque([first, *(entry for entry in rest if self._is_waiting(entry[1]))])
        queue.sweep_at = max(SWEPT_FROM, 2 * len(queue.entries))


class _Queue:
    __slots__ = ("entries", "sweep_at", "timer")

    def __init__(self) -> None:
        self.entries: deque[tuple[float, int]] = deque()
        self.sweep_at = SWEPT_FROM
        self.timer: Timer | None = None

"""The port for time. Nothing below the composition root reads a clock of its own."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

CANCELLED_KEPT_MAX: Final = 1_000
"""Timers of a queue that were taken back and are still kept; past it, when they are the most, they are swept out."""


class Timer(Protocol):
    """A callback that is still to run."""

    def cancel(self) -> None:
        """Take the callback back; harmless once it has run."""


class Clock(Protocol):
    """Two notions of now, and a way to be called later.

    `time_s` may jump when the machine's clock is set; `monotonic_s` never goes back. Deadlines use the second only.
    """

    def time_s(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment in the past."""

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> Timer:
        """Run `callback(*args)` once `delay_s` seconds of monotonic time have passed."""

    async def sleep(self, delay_s: float) -> None:
        """Return once `delay_s` seconds of monotonic time have passed."""


class QueuedTimer:
    """Implements `Timer`: a callback that waits in a queue."""

    __slots__ = ("arguments", "callback", "cancelled", "queue")

    def __init__(self, queue: "TimerQueue", callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.queue = queue
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        """Take the callback back."""
        if not self.cancelled:
            self.cancelled = True
            self.queue.note_cancelled()


class TimerQueue:
    """What is to run later, for clocks that can be turned. Those of one moment are in the order of their making."""

    def __init__(self) -> None:
        self._timers: list[tuple[float, int, QueuedTimer]] = []
        self._order = count()
        self._cancelled_count = 0

    def __len__(self) -> int:
        """Timers kept, those among them that were taken back."""
        return len(self._timers)

    @property
    def waiting_count(self) -> int:
        """Callbacks that are still to run."""
        return len(self._timers) - self._cancelled_count

    def add(self, due_s: float, callback: Callable[..., None], arguments: tuple[object, ...]) -> QueuedTimer:
        """Have a callback wait for a moment."""
        timer = QueuedTimer(self, callback, arguments)
        heapq.heappush(self._timers, (due_s, next(self._order), timer))
        return timer

    def next_s(self) -> float:
        """When the next is due; infinity where none is."""
        timers = self._timers
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
            self._cancelled_count -= 1
        return timers[0][0] if timers else float("inf")

    def take(self) -> QueuedTimer:
        """The one that is due at `next_s`, which is to be asked right before. It can be taken back no more."""
        timer = heapq.heappop(self._timers)[2]
        timer.cancelled = True
        return timer

    def note_cancelled(self) -> None:
        """One was taken back."""
        self._cancelled_count += 1
        if self._cancelled_count > max(CANCELLED_KEPT_MAX, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapq.heapify(self._timers)
            self._cancelled_count = 0


def milliseconds(time_s: float) -> int:
    """Whole milliseconds of a moment or a span given in seconds."""
    return int(time_s * 1000)

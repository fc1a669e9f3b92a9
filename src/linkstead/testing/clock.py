"""A clock that stands still until a test turns it."""

import asyncio
from collections.abc import Callable

from linkstead.clock import QueuedTimer, TimerQueue


class ManualClock:
    """Implements the `Clock` port; moments are seconds. It starts at `time_s` and moves by `advance` only."""

    def __init__(self, time_s: float = 1_700_000_000.0) -> None:
        self._time_s = time_s
        self._monotonic_s = 1_000.0
        self._timers = TimerQueue()

    def time_s(self) -> float:
        """Wall time of the moment."""
        return self._time_s

    def monotonic_s(self) -> float:
        """Monotonic time of the moment."""
        return self._monotonic_s

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> QueuedTimer:
        """Run the callback inside the `advance` that reaches its moment."""
        return self._timers.add(self._monotonic_s + max(0.0, delay_s), callback, args)

    async def sleep(self, delay_s: float) -> None:
        """Wait for the clock to be turned by `delay_s`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Turn the clock forward; callbacks that fall due run in order, each seeing its own moment as now.

        Raises:
            ValueError: `seconds` is negative; monotonic time does not go back. `jump` sets the wall clock.
        """
        if seconds < 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds}")
        end_s = self._monotonic_s + seconds
        while (due_s := self._timers.next_s()) <= end_s:
            self._move_to(max(due_s, self._monotonic_s))
            timer = self._timers.take()
            timer.callback(*timer.arguments)
        self._move_to(end_s)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards or back; monotonic time, and so every timer, stays."""
        self._time_s += seconds

    @property
    def timer_count(self) -> int:
        """Callbacks that are still to run."""
        return self._timers.waiting_count

    def _move_to(self, monotonic_s: float) -> None:
        self._time_s += monotonic_s - self._monotonic_s
        self._monotonic_s = monotonic_s

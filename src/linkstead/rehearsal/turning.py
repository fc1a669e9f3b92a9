"""A clock that goes by itself, as the machine's does, and can be turned forward."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from linkstead.clock import Clock, Timer

CANCELLED_KEPT_MAX: Final = 1_000
"""Timers that were taken back and are still kept; past it, when they are the most, they are swept out."""

ADVANCE_S_MAX: Final = 10 * 365 * 24 * 3600.0


class TurnableTimer:
    """A callback that is still to run."""

    __slots__ = ("arguments", "callback", "cancelled", "clock")

    def __init__(self, clock: "TurnableClock", callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.clock = clock
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        """Take the callback back."""
        if not self.cancelled:
            self.cancelled = True
            self.clock.note_cancelled()


class TurnableClock:
    """Implements the `Clock` port.

    Args:
        steady: the clock that it goes by.
    """

    def __init__(self, steady: Clock) -> None:
        self.steady = steady
        self.ahead_s = 0.0
        self._timers: list[tuple[float, int, TurnableTimer]] = []
        self._order = count()
        self._cancelled_count = 0
        self._alarm: Timer | None = None
        self._alarm_s = float("inf")

    def time_s(self) -> float:
        """See `Clock.time_s`; as far ahead as the clock was turned."""
        return self.steady.time_s() + self.ahead_s

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`; likewise."""
        return self.steady.monotonic_s() + self.ahead_s

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> TurnableTimer:
        """See `Clock.call_later`; inside the `advance` that reaches its moment, or when it comes by itself."""
        timer = TurnableTimer(self, callback, args)
        due_s = self.monotonic_s() + max(0.0, delay_s)
        heapq.heappush(self._timers, (due_s, next(self._order), timer))
        if due_s < self._alarm_s:
            self._set_alarm()
        return timer

    async def sleep(self, delay_s: float) -> None:
        """See `Clock.sleep`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Turn the clock forward; callbacks that fall due run in order, each seeing its own moment as now.

        Raises:
            ValueError: `seconds` is below 0 or above `ADVANCE_S_MAX`.
        """
        if not 0 <= seconds <= ADVANCE_S_MAX:
            raise ValueError(f"a clock is turned by 0 to {ADVANCE_S_MAX:.0f} s, not by {seconds}")
        end_s = self.monotonic_s() + seconds
        while self._timers and self._timers[0][0] <= end_s:
            self._move_to(self._timers[0][0])
            self._run_first()
        self._move_to(end_s)
        self._set_alarm()

    def note_cancelled(self) -> None:
        """A timer was taken back."""
        self._cancelled_count += 1
        if self._cancelled_count > max(CANCELLED_KEPT_MAX, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapq.heapify(self._timers)
            self._cancelled_count = 0

    @property
    def timer_count(self) -> int:
        """Timers kept, those among them that were taken back."""
        return len(self._timers)

    def _move_to(self, moment_s: float) -> None:
        self.ahead_s += max(0.0, moment_s - self.monotonic_s())

    def _run_first(self) -> None:
        _, _, timer = heapq.heappop(self._timers)
        if timer.cancelled:
            self._cancelled_count = max(0, self._cancelled_count - 1)
            return
        # One that is taken back from now on is not in the heap any more.
        timer.cancelled = True
        try:
            timer.callback(*timer.arguments)
        except Exception as error:  # noqa: BLE001
            # As the event loop does: the others have their turn.
            told = {"message": f"exception in timer {timer.callback!r}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_s = self._timers[0][0] if self._timers else float("inf")
        if self._timers:
            self._alarm = self.steady.call_later(max(0.0, self._alarm_s - self.monotonic_s()), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        while self._timers and self._timers[0][0] <= self.monotonic_s():
            self._run_first()
        self._set_alarm()

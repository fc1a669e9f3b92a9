"""A clock that goes by itself, as the machine's does, and can be turned forward."""

import asyncio
from collections.abc import Callable
from typing import Final

from linkstead.clock import Clock, QueuedTimer, Timer, TimerQueue

ADVANCE_S_MAX: Final = 10 * 365 * 24 * 3600.0


class TurnableClock:
    """Implements the `Clock` port.

    Args:
        steady: the clock that it goes by.
    """

    def __init__(self, steady: Clock) -> None:
        self.steady = steady
        self.ahead_s = 0.0
        self._timers = TimerQueue()
        self._alarm: Timer | None = None
        self._alarm_s = float("inf")

    def time_s(self) -> float:
        """See `Clock.time_s`; as far ahead as the clock was turned."""
        return self.steady.time_s() + self.ahead_s

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`; likewise."""
        return self.steady.monotonic_s() + self.ahead_s

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> QueuedTimer:
        """See `Clock.call_later`; inside the `advance` that reaches its moment, or when it comes by itself."""
        due_s = self.monotonic_s() + max(0.0, delay_s)
        timer = self._timers.add(due_s, callback, args)
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
        while (due_s := self._timers.next_s()) <= end_s:
            self._move_to(due_s)
            self._run_first()
        self._move_to(end_s)
        self._set_alarm()

    @property
    def timer_count(self) -> int:
        """Timers kept, those among them that were taken back."""
        return len(self._timers)

    def _move_to(self, moment_s: float) -> None:
        self.ahead_s += max(0.0, moment_s - self.monotonic_s())

    def _run_first(self) -> None:
        timer = self._timers.take()
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
        self._alarm_s = self._timers.next_s()
        if self._timers:
            self._alarm = self.steady.call_later(max(0.0, self._alarm_s - self.monotonic_s()), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        while self._timers.next_s() <= self.monotonic_s():
            self._run_first()
        self._set_alarm()

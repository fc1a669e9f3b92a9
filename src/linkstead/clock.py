"""The port for time. Nothing below the composition root reads a clock of its own."""

from collections.abc import Callable
from typing import Protocol


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


def milliseconds(time_s: float) -> int:
    """Whole milliseconds of a moment or a span given in seconds."""
    return int(time_s * 1000)

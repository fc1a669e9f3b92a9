"""How fast letters are delivered: a count over the last minute, of those that had to wait and those that had not."""

from collections import deque
from dataclasses import dataclass

from linkstead.subscription.records import Letter

WINDOW_S = 60
"""What rates are counted over: they are told per minute. Source: QueryConsumerGroupStatus reference."""

REAL_TIME_MS = 10_000
"""A letter accepted later than this after it was generated had to wait. Ours: the reference draws no line."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """Letters accepted within the last minute, and the moment of the last one ever; 0 where there was none."""

    real_time_per_minute: int = 0
    accumulated_per_minute: int = 0
    last_accepted_ms: int = 0

    @property
    def per_minute(self) -> int:
        """Both together."""
        return self.real_time_per_minute + self.accumulated_per_minute

    def and_of(self, other: "Consumption") -> "Consumption":
        """Those of both."""
        return Consumption(
            self.real_time_per_minute + other.real_time_per_minute,
            self.accumulated_per_minute + other.accumulated_per_minute,
            max(self.last_accepted_ms, other.last_accepted_ms),
        )


class ConsumptionMeter:
    """Counts letters by the second, `WINDOW_S` of them at most. Moments are monotonic unless they end with `_ms`."""

    __slots__ = ("_last_accepted_ms", "_seconds")

    def __init__(self) -> None:
        # Each is the second, the letters told as they came, and those that had waited.
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW_S)
        self._last_accepted_ms = 0

    def count(self, letter: Letter, now_s: float, now_ms: int) -> None:
        """A letter was accepted."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        has_waited = letter.attempts > 1 or now_ms - letter.generated_ms > REAL_TIME_MS
        self._seconds[-1][2 if has_waited else 1] += 1
        self._last_accepted_ms = now_ms

    def read(self, now_s: float) -> Consumption:
        """What was counted within the last minute."""
        recent = [counted for counted in self._seconds if counted[0] > int(now_s) - WINDOW_S]
        return Consumption(
            sum(counted[1] for counted in recent), sum(counted[2] for counted in recent), self._last_accepted_ms
        )

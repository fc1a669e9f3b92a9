"""What is counted while the server works, to be read now and then: plain numbers, as a call pays for each of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 10.0)
"""Upper bounds of the classes of durations, in seconds; one class more is above the last. 8 s is the longest RRpc."""


class Durations:
    """How many of what was measured took how long.

    Attributes:
        counts: of each class of `BOUNDS_S`, and of what took longer than the last.
        sum_s: of all, in seconds.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        """How many were measured."""
        return sum(self.counts)

    def add(self, duration_s: float) -> None:
        """Count one. A duration below zero, of clocks that were set, counts as none at all."""
        duration_s = max(duration_s, 0.0)
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s

    def add_all(self, durations_s: list[float]) -> None:
        """Count many: to sort them takes a fraction of finding the class of each."""
        durations_s.sort()
        counted = 0
        for place, bound_s in enumerate(BOUNDS_S):
            reached = bisect_right(durations_s, bound_s)
            self.counts[place] += reached - counted
            counted = reached
        self.counts[-1] += len(durations_s) - counted
        self.sum_s += sum(durations_s)


Sample = tuple[str, tuple[str, ...], float | Durations]
"""The name of a metric, the values of its labels in the order of its row, and what was counted."""

Sampler = Callable[[], Iterator[Sample]]
"""Tells what a part of the server has counted, as of now; called in the thread of the event loop."""

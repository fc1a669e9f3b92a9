"""The guard's rule: is a call dearer than it was, by the figures of both trees in one run?"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

DEARER_PERCENT_MAX = 10.0


class Verdict(NamedTuple):
    """What the guard found: the cost of a call against what it was, 1.0 for no change, and whether that may be."""

    ratio: float
    is_allowed: bool

    def __str__(self) -> str:
        change = (self.ratio - 1) * 100
        word = "allowed" if self.is_allowed else f"NOT ALLOWED, more than {DEARER_PERCENT_MAX:g} %"
        return f"a call costs {change:+.1f} %: {word}"


def compare_costs(now: Sequence[float], before: Sequence[float]) -> Verdict:
    """Compare costs of a call, round by round: the rounds were measured in turns, so that both bore the same machine.

    Args:
        now: of the tree at hand, one figure a round, above 0.
        before: of the release, as many.

    Returns:
        The median of the rounds' ratios. Exactly DEARER_PERCENT_MAX is allowed.

    Raises:
        ValueError: there are no rounds, not as many of each, or a figure that is not above 0.
    """
    if not now or len(now) != len(before):
        raise ValueError("the guard needs rounds, as many of one tree as of the other")
    if min(*now, *before) <= 0:
        raise ValueError("a call costs something")
    ratio = statistics.median(new / old for new, old in zip(now, before, strict=True))
    return Verdict(ratio, ratio <= 1 + DEARER_PERCENT_MAX / 100)

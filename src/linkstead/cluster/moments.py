"""Moments of another node, on this node's clock.

Clocks of two machines differ, so a node tells how long after a question came something happened. As that lies between
asking and being answered, it is placed so that the way there took as long as the way back.
"""

from collections.abc import Sequence

from linkstead.invocation import Call, Moment, Stage


def tell_moments(call: Call, came_s: float) -> list[tuple[Stage, float]]:
    """The moments of a call with the seconds since its question came."""
    return [(moment.stage, moment.monotonic_s - came_s) for moment in call.timeline]


def add_moments(
    call: Call,
    node: str,
    told: Sequence[tuple[Stage, float]],
    *,
    asked_s: float,
    elapsed_s: float,
    now_s: float,
    time_s: float,
) -> None:
    """Add moments that another node told to the timeline, those that are there already excepted.

    Args:
        asked_s: when the question was asked.
        elapsed_s: how long after the question came the moments were told.
        now_s, time_s: now, monotonic and wall time.
    """
    way_s = (now_s - asked_s - elapsed_s) / 2
    came_s = asked_s + way_s if way_s > 0.0 else asked_s
    timeline, ahead_s = call.timeline, time_s - now_s
    there = [moment.stage for moment in timeline]
    for stage, after_s in told:
        if stage not in there:
            at_s = came_s + after_s
            timeline.append(Moment(stage, int((ahead_s + at_s) * 1000), at_s, node))

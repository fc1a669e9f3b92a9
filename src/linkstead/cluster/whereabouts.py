"""Where a device is that no node answers for: what its row and the heartbeat of its last holder say."""

from enum import Enum

from linkstead.registry import Presence

FRESH_S = 3.0
"""A node that was heard of within this time is there."""


class Whereabouts(Enum):
    """What to do with a call."""

    NEVER = "it has never connected"
    OFFLINE = "it is not connected"
    LEFT = "its holder is dead, and its connection would be by now: what is written down has to be put right"
    HALF = "its connection has broken, less than a keep-alive period ago"
    COMING = "its holder is there: it has just connected, and not every server knows yet"


def judge(presence: Presence | None, silent_s: float, now_ms: int) -> Whereabouts:
    """Judge a device that no node answers for.

    Args:
        presence: what is written down of it, None where there is no such device.
        silent_s: how long nothing was heard of its holder; infinity where that is no node.
        now_ms: wall time.

    Source: `dependencies.md`, "How a call finds its device", 2.
    """
    if presence is None:
        return Whereabouts.OFFLINE
    if not presence.is_online:
        if presence.half_until_ms > now_ms:
            return Whereabouts.HALF
        return Whereabouts.OFFLINE if presence.activated_ms else Whereabouts.NEVER
    if silent_s < FRESH_S:
        return Whereabouts.COMING
    return Whereabouts.HALF if silent_s < presence.keep_alive_s else Whereabouts.LEFT

from math import inf

import pytest

from linkstead.cluster.whereabouts import FRESH_S, Whereabouts, judge
from linkstead.registry import DeviceKey, Presence

KEY = DeviceKey("a1Lamp00001", "lamp-01")
NOW_MS = 1_700_000_000_000


def written(*, is_online: bool, activated_ms: int = 1, half_until_ms: int = 0) -> Presence:
    return Presence(KEY, is_online, 1, activated_ms, "node-a", 7, 60, half_until_ms)


@pytest.mark.parametrize(
    ("presence", "silent_s", "wanted"),
    [
        (None, 0.0, Whereabouts.OFFLINE),
        (written(is_online=False), 0.0, Whereabouts.OFFLINE),
        (written(is_online=False, activated_ms=0), 0.0, Whereabouts.NEVER),
        (written(is_online=False, half_until_ms=NOW_MS + 1), inf, Whereabouts.HALF),
        (written(is_online=False, half_until_ms=NOW_MS), 0.0, Whereabouts.OFFLINE),
        (written(is_online=True), FRESH_S - 0.001, Whereabouts.COMING),
        (written(is_online=True), FRESH_S, Whereabouts.HALF),
        (written(is_online=True), 59.999, Whereabouts.HALF),
        (written(is_online=True), 60.0, Whereabouts.LEFT),
        (written(is_online=True), inf, Whereabouts.LEFT),
    ],
)
def test_the_row_and_the_heartbeat_of_the_holder_say_where_a_device_is(
    presence: Presence | None, silent_s: float, wanted: Whereabouts
) -> None:
    assert judge(presence, silent_s, NOW_MS) is wanted

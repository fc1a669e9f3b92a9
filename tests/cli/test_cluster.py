from dataclasses import replace

import pytest

from linkstead.cli.cluster import LOST_MS, show
from linkstead.registry import Node, NodeState

NOW_MS = 1_700_000_000_000
NODE = Node(
    "east-1", 1, NOW_MS - 5_000, NOW_MS - 1_200, "0.1.0", "192.0.2.1:8686", "192.0.2.1:1883", NodeState.UP, 7, 3
)


def test_a_node_is_shown_as_it_says() -> None:
    assert show(NODE, NOW_MS) == {
        "node": "east-1",
        "state": "up",
        "version": "0.1.0",
        "devices": 7,
        "calls": 3,
        "seen_s": 1.2,
        "started_ms": NOW_MS - 5_000,
        "http": "192.0.2.1:8686",
        "mqtt": "192.0.2.1:1883",
    }


@pytest.mark.parametrize("state", [NodeState.ALONE, NodeState.DRAINING])
def test_what_a_node_says_of_itself_is_believed(state: NodeState) -> None:
    assert show(replace(NODE, state=state), NOW_MS)["state"] == state.value


@pytest.mark.parametrize(("silent_ms", "state"), [(LOST_MS - 1, "up"), (LOST_MS, "lost")])
def test_a_node_that_is_silent_is_lost_and_bears_nothing(silent_ms: int, state: str) -> None:
    shown = show(replace(NODE, seen_ms=NOW_MS - silent_ms), NOW_MS)
    assert shown["state"] == state
    assert (shown["devices"] > 0) == (state == "up")


def test_the_clock_of_a_node_may_be_ahead() -> None:
    assert show(replace(NODE, seen_ms=NOW_MS + 3_000), NOW_MS)["seen_s"] == 0.0

"""When a node counts as gone, and what is taken over then."""

from typing import cast

import pytest

from linkstead.cluster.heirs import LOOKS_MIN, TAKEN_OVER_S, Heirs
from linkstead.cluster.nodes import BEAT_S, BURIED_S, Nodes
from linkstead.cluster.whereabouts import FRESH_S
from linkstead.registry import Node, NodeState, NodeStore, Presence, Taken
from linkstead.testing.clock import ManualClock

pytestmark = pytest.mark.asyncio

HERE, THERE = "here", "there"
SOMETHING = Taken(frozenset({"1001/group"}), 1)


class FakeNodeStore:
    """Keeps heartbeats, and what is in whose hands."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.taken: list[list[str]] = []
        self.found = SOMETHING

    async def beat(self, node: Node) -> bool:
        self.nodes[node.node_id] = node
        return True

    async def list_nodes(self) -> list[Node]:
        return list(self.nodes.values())

    async def take_over(self, gone: list[str], _now_ms: int) -> Taken:
        self.taken.append(list(gone))
        return self.found

    async def list_held_devices(self, node_id: str, limit: int) -> list[Presence]:
        return []

    async def remove_node(self, node_id: str) -> bool:
        return self.nodes.pop(node_id, None) is not None


class World:
    """Two nodes, seen from one of them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = FakeNodeStore()
        store = cast("NodeStore", self.store)
        self.nodes = Nodes(store, self.clock, lambda: self.describe(HERE))
        self.told: list[Taken] = []
        self.died: list[str] = []
        self.nodes.tell_left(self.leave, self.die)
        self.heirs = Heirs(node=HERE, store=store, nodes=self.nodes, clock=self.clock, tell=self.told.append)

    async def leave(self, presence: Presence, at_ms: int) -> None:
        raise AssertionError("no node holds a device here")

    async def die(self, node_id: str) -> None:
        self.died.append(node_id)

    def describe(self, node_id: str) -> Node:
        now_ms = int(self.clock.time_s() * 1000)
        return Node(node_id, 1, now_ms, now_ms, "1", "", "", NodeState.UP)

    async def turn(self, seconds: float, *, is_there: bool) -> None:
        """Let time pass, and look; the other has beaten at that moment, or is dead."""
        self.clock.advance(seconds)
        if is_there:
            await self.store.beat(self.describe(THERE))
        await self.nodes.beat()
        await self.heirs.look()


@pytest.fixture
def world() -> World:
    return World()


async def test_a_node_is_gone_when_nothing_is_heard_of_it_at_enough_looks(world: World) -> None:
    await world.turn(0.0, is_there=True)
    await world.turn(FRESH_S - 0.01, is_there=False)
    await world.turn(0.01, is_there=False)
    for _ in range(LOOKS_MIN - 2):
        await world.turn(BEAT_S, is_there=False)
    assert world.store.taken == []
    await world.turn(BEAT_S, is_there=False)
    assert world.store.taken == [[THERE]]
    assert world.told == [SOMETHING]
    # Once is enough, until there is something new.
    await world.turn(BEAT_S, is_there=False)
    assert world.store.taken == [[THERE]]


async def test_the_bound_holds_however_the_heartbeats_fall(world: World) -> None:
    await world.turn(0.0, is_there=True)
    passed_s = 0.0
    while not world.store.taken:
        await world.turn(BEAT_S + 0.25, is_there=False)
        passed_s += BEAT_S + 0.25
    assert passed_s <= TAKEN_OVER_S


async def test_after_the_database_was_away_one_look_buries_nobody(world: World) -> None:
    await world.turn(0.0, is_there=True)
    for _ in range(LOOKS_MIN):
        # This node is back first, each time.
        await world.turn(60.0, is_there=False)
        await world.turn(BEAT_S, is_there=True)
    assert world.store.taken == []


async def test_a_node_that_comes_back_and_dies_again_is_taken_over_from_again(world: World) -> None:
    for _ in range(2):
        await world.turn(0.0, is_there=True)
        await world.turn(FRESH_S, is_there=False)
        for _ in range(LOOKS_MIN - 1):
            await world.turn(BEAT_S, is_there=False)
    assert world.store.taken == [[THERE], [THERE]]


async def test_nothing_is_told_of_where_nothing_was_in_hand(world: World) -> None:
    world.store.found = Taken(frozenset(), 0)
    await world.heirs.take_over()
    assert world.store.taken == [[]]
    assert world.told == []


async def test_what_a_dead_node_left_is_ended_at_the_next_round_and_once_more_before_it_is_forgotten(
    world: World,
) -> None:
    await world.turn(0.0, is_there=True)
    await world.heirs.release_left()
    assert world.died == []
    for _ in range(LOOKS_MIN):
        await world.turn(FRESH_S, is_there=False)
    for _ in range(2):
        await world.heirs.release_left()
        assert world.died == [THERE]
    # It was not dead, and is now.
    await world.turn(0.0, is_there=True)
    await world.heirs.release_left()
    for _ in range(LOOKS_MIN):
        await world.turn(FRESH_S, is_there=False)
    await world.heirs.release_left()
    assert world.died == [THERE] * 2
    await world.turn(BURIED_S, is_there=False)
    await world.heirs.release_left()
    assert world.died == [THERE] * 3
    assert set(world.store.nodes) == {HERE}


async def test_what_a_node_left_that_was_back_for_less_than_a_round_is_ended_again(world: World) -> None:
    await world.turn(0.0, is_there=True)
    for times in (1, 2):
        for _ in range(LOOKS_MIN):
            await world.turn(FRESH_S, is_there=False)
        for _ in range(2):
            await world.heirs.release_left()
            assert world.died == [THERE] * times
        await world.turn(0.0, is_there=True)

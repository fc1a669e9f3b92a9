"""The nodes of the cluster: this one's heartbeat, and when each other was last heard of."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import inf

from linkstead.clock import Clock, milliseconds
from linkstead.cluster.whereabouts import FRESH_S
from linkstead.registry import Node, NodeStore, Presence

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""Between two heartbeats."""

RELEASED_AT_ONCE_MAX = 500
"""Devices of a dead node that are written down as offline in one go."""


class Nodes:
    """Says that this node is there, and listens to who else is.

    When a node was heard of is told by this node's own clock: its heartbeat is another than at the last look.

    Args:
        store: where heartbeats are kept.
        clock: moments.
        describe: this node as it is now.
    """

    def __init__(self, store: NodeStore, clock: Clock, describe: Callable[[], Node]) -> None:
        self._store = store
        self._clock = clock
        self._describe = describe
        self._heard: dict[str, tuple[int, float]] = {}
        self._left: Callable[[Presence, int], None] = lambda presence, at_ms: None
        self._releasing: set[asyncio.Task[None]] = set()

    def tell_left(self, left: Callable[[Presence, int], None]) -> None:
        """Have `left` called for each device that a dead node held, once in the cluster, with when that was noted."""
        self._left = left

    async def beat(self) -> None:
        """Say that this node is there, and look who else is."""
        await self._store.beat(self._describe())
        await self.look()

    async def look(self) -> None:
        """Look who is there."""
        nodes = await self._store.list_nodes()
        now_s, now_ms = self._clock.monotonic_s(), milliseconds(self._clock.time_s())
        heard: dict[str, tuple[int, float]] = {}
        for node in nodes:
            known = self._heard.get(node.node_id)
            if known is None:
                # All there is to go by at first is the clock of the other.
                heard[node.node_id] = node.seen_ms, now_s - max(0, now_ms - node.seen_ms) / 1000
            else:
                heard[node.node_id] = known if known[0] == node.seen_ms else (node.seen_ms, now_s)
        self._heard = heard

    def silent_s(self, node_id: str) -> float:
        """How long nothing was heard of a node; infinity where there is none of this name."""
        known = self._heard.get(node_id)
        return inf if known is None else self._clock.monotonic_s() - known[1]

    def release(self, presence: Presence) -> None:
        """See `Heartbeats.release`."""
        task = asyncio.get_running_loop().create_task(self._release([presence]))
        self._releasing.add(task)
        task.add_done_callback(self._end_release)

    def _end_release(self, task: asyncio.Task[None]) -> None:
        self._releasing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a device that a dead node held could not be written down as offline", exc_info=task.exception())

    async def _release(self, presences: Sequence[Presence]) -> None:
        now_ms = milliseconds(self._clock.time_s())
        released = set(await self._store.release_devices(presences, now_ms))
        for presence in presences:
            if presence.key in released:
                self._left(presence, now_ms)

    async def release_left(self) -> None:
        """Write the devices of dead nodes down as gone offline, once their connections would be."""
        for node_id in list(self._heard):
            silent_s = self.silent_s(node_id)
            if silent_s < FRESH_S:
                continue
            while held := await self._store.list_held_devices(node_id, RELEASED_AT_ONCE_MAX):
                left = [presence for presence in held if silent_s >= presence.keep_alive_s]
                await self._release(left)
                if len(left) < RELEASED_AT_ONCE_MAX:
                    break

    async def drain(self) -> None:
        """Return when nothing is being put right."""
        while self._releasing:
            await asyncio.wait(self._releasing)

    @property
    def node_ids(self) -> list[str]:
        """All that ever were and were not removed."""
        return list(self._heard)

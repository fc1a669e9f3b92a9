"""The nodes of the cluster: this one's heartbeat, and when each other was last heard of."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf

from linkstead.clock import Clock, milliseconds
from linkstead.cluster.whereabouts import FRESH_S
from linkstead.registry import Node, NodeStore, Presence

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""Between two heartbeats."""

BURIED_S = 1_200.0
"""A node that was not heard of for the longest keep-alive period there is has no device any more."""

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
        self._left: Callable[[Presence, int], Awaitable[None]] | None = None
        self._died: Callable[[str], Awaitable[None]] | None = None
        # At which heartbeat of a node what it left was ended: one that was back meanwhile may have left more.
        self._ended: dict[str, int] = {}
        self._releasing: set[asyncio.Task[None]] = set()

    def tell_left(
        self, left: Callable[[Presence, int], Awaitable[None]], died: Callable[[str], Awaitable[None]]
    ) -> None:
        """Have these called, by one node of the cluster.

        Args:
            left: with each device that a dead node held, and when that was noted.
            died: with the name of a node that is dead; maybe again, so that nothing is left of it.
        """
        self._left, self._died = left, died

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
            if presence.key in released and self._left is not None:
                await self._left(presence, now_ms)

    async def release_left(self, gone: Sequence[str]) -> None:
        """End what dead nodes left that nothing will end, and write their devices down as offline once they would be.

        To be called by one node at a time, with the nodes that are known to be dead.
        """
        self._ended = {node_id: seen_ms for node_id, seen_ms in self._ended.items() if node_id in gone}
        for node_id in gone:
            seen_ms, _ = self._heard.get(node_id, (0, 0.0))
            if self._ended.get(node_id) != seen_ms:
                await self._end_left(node_id)
                self._ended[node_id] = seen_ms
            silent_s = self.silent_s(node_id)
            is_empty = await self._release_all(node_id, silent_s)
            if is_empty and silent_s >= BURIED_S:
                log.warning("a node was not heard of for so long that it is forgotten", extra={"node": node_id})
                # Once more, and first: one that was not dead may have written since.
                await self._end_left(node_id)
                await self._store.remove_node(node_id)

    async def _end_left(self, node_id: str) -> None:
        if self._died is not None:
            await self._died(node_id)

    async def _release_all(self, node_id: str, silent_s: float) -> bool:
        """Release what a node held, of which nothing was heard for so long. False while some are not released yet."""
        while held := await self._store.list_held_devices(node_id, RELEASED_AT_ONCE_MAX):
            left = [presence for presence in held if silent_s >= presence.keep_alive_s]
            await self._release(left)
            if len(left) < RELEASED_AT_ONCE_MAX:
                return len(left) == len(held)
        return True

    async def release_unheld(self) -> None:
        """Write devices down as gone offline that a server which was no node had left as connected."""
        await self._release_all("", inf)

    def is_there(self, node_id: str) -> bool:
        """True when a node was heard of lately."""
        return self.silent_s(node_id) < FRESH_S

    @property
    def is_alone(self) -> bool:
        """True when no other node is there."""
        own = self._describe().node_id
        return all(self.silent_s(node_id) >= FRESH_S for node_id in self._heard if node_id != own)

    async def drain(self) -> None:
        """Return when nothing is being put right."""
        while self._releasing:
            await asyncio.wait(self._releasing)

    def count_live(self) -> int:
        """Nodes that were heard of lately; this one is, before its first heartbeat too."""
        return max(1, sum(self.silent_s(node_id) < FRESH_S for node_id in self._heard))

    @property
    def node_ids(self) -> list[str]:
        """All that ever were and were not removed."""
        return list(self._heard)

"""What dead nodes had in hand goes to those that are there; and what one node does for all."""

from collections.abc import Callable

from linkstead.clock import Clock, milliseconds
from linkstead.cluster.nodes import Nodes
from linkstead.registry import NodeStore, Taken

LOOKS_MIN = 3
"""Looks in a row, one at each heartbeat, at which nothing was heard of a node before it counts as gone.

While the database was away nobody could be heard of: one look after it is back says nothing yet.
"""

TAKEN_OVER_S = 8.0
"""From a node's death until what it had in hand is taken over, at most: `FRESH_S`, and `LOOKS_MIN` looks after it, each
`BEAT_S` and its own duration after the one before."""


class Heirs:
    """Takes over what dead nodes had in hand, and says whose turn it is to do what one does for all.

    No clocks of two machines are compared: a node is gone when its heartbeat has stood still by this node's own clock.
    One that is gone in error, as it could not reach the database, finds that its leases are others'.

    Args:
        node: this node's name.
        store: what is in whose hands.
        nodes: who was heard of when.
        clock: moments.
        tell: called with what was taken over.
    """

    def __init__(
        self, *, node: str, store: NodeStore, nodes: Nodes, clock: Clock, tell: Callable[[Taken], None]
    ) -> None:
        self._node = node
        self._store = store
        self._nodes = nodes
        self._clock = clock
        self._tell = tell
        self._looks: dict[str, int] = {}
        self._gone: list[str] = []

    async def look(self) -> None:
        """Look whether nodes are gone, and take over from those that just are. To be called after each heartbeat."""
        silent = [name for name in self._nodes.node_ids if name != self._node and not self._nodes.is_there(name)]
        self._looks = {name: self._looks.get(name, 0) + 1 for name in silent}
        gone = [name for name in silent if self._looks[name] >= LOOKS_MIN]
        is_new = not set(gone) <= set(self._gone)
        self._gone = gone
        if is_new:
            await self.take_over()

    async def take_over(self) -> None:
        """Take over from every node that is gone, or is none any longer."""
        taken = await self._store.take_over(self._gone, milliseconds(self._clock.time_s()))
        if taken.destinations or taken.application_count:
            self._tell(taken)

    async def release_left(self) -> None:
        """See to what the devices of nodes that are gone leave behind. To be called by one node at a time."""
        await self._nodes.release_left(self._gone)

    async def is_for_us(self, work: str) -> bool:
        """True where this node is the one that does some work for all."""
        return await self._store.take_lease(work, self._gone)

"""The port to the other nodes, as far as who is connected where is concerned."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from linkstead.registry import DeviceKey


class Subscribed(NamedTuple):
    """What a device is subscribed to; since when by topic filter, in milliseconds, 0 where that is not known.

    `is_full`: nothing was added, it would have been too much.
    """

    is_live: bool
    is_full: bool
    since_ms: dict[str, int]


class NeighbourSilent(Exception):
    """Another node was asked and did not answer in time."""


class Neighbours(Protocol):
    """The nodes that hold the devices which are not connected here."""

    async def claim(self, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
        """Have calls for these devices come to this node, and earlier connections of theirs elsewhere end.

        What was claimed is either attached to the session table next or abandoned. Returns those that have connected to
        another node meanwhile, which are abandoned already.
        """

    def abandon(self, keys: Sequence[DeviceKey]) -> None:
        """Take a claim back: the device did not stay to be attached."""

    def send(self, key: DeviceKey, topic: str, payload: bytes) -> None:
        """Send a message to a device of another node at QoS 0, if there is one; nothing tells what becomes of it."""

    async def adjust(self, key: DeviceKey, added: Sequence[str], removed: Sequence[str]) -> Subscribed | None:
        """Change what a device of another node is subscribed to, see `SessionTable.adjust`. None where no node has it.

        Raises:
            NeighbourSilent: it is not known whether it was done.
        """

    def tell_changed(self, key: DeviceKey) -> None:
        """Have the node that holds a device look whether it still may be connected as it is."""


class OneNode:
    """There is no other node."""

    async def claim(self, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
        """See `Neighbours.claim`."""
        return ()

    def abandon(self, keys: Sequence[DeviceKey]) -> None:
        """See `Neighbours.abandon`."""

    def send(self, key: DeviceKey, topic: str, payload: bytes) -> None:
        """See `Neighbours.send`."""

    async def adjust(self, key: DeviceKey, added: Sequence[str], removed: Sequence[str]) -> Subscribed | None:
        """See `Neighbours.adjust`."""
        return None

    def tell_changed(self, key: DeviceKey) -> None:
        """See `Neighbours.tell_changed`."""

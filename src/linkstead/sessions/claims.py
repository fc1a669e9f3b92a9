"""The port by which the other nodes learn which devices are connected here."""

from collections.abc import Sequence
from typing import Protocol

from linkstead.registry import DeviceKey


class Claims(Protocol):
    """Says to the other nodes who is connected here, before the device itself is told that it is."""

    async def claim(self, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
        """Have calls for these devices come to this node, and earlier connections of theirs elsewhere end.

        What was claimed is either attached to the session table next or abandoned. Returns those that have connected to
        another node meanwhile, which are abandoned already.
        """

    def abandon(self, keys: Sequence[DeviceKey]) -> None:
        """Take a claim back: the device did not stay to be attached."""


class OneNode:
    """There is no other node."""

    async def claim(self, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
        """See `Claims.claim`."""
        return ()

    def abandon(self, keys: Sequence[DeviceKey]) -> None:
        """See `Claims.abandon`."""

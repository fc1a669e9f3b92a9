"""The nodes of a cluster, and which of them holds a device. Moments are milliseconds since 1970 UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from linkstead.registry.records import DeviceKey


class NodeState(StrEnum):
    """What a node says of itself. One that died says nothing: see `Node.seen_ms`."""

    UP = "up"
    ALONE = "alone"
    """It cannot reach the others: NATS is away."""

    DRAINING = "draining"
    """It lets its devices go and takes no new ones."""

    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was at its last heartbeat.

    Args:
        node_id: its name, unique in the cluster.
        epoch: rises each time that a node of this name starts.
        started_ms: the moment it started.
        seen_ms: the moment of its last heartbeat.
        version: of Linkstead.
        http: HOST:PORT at which apps reach it.
        mqtt: HOST:PORT at which devices reach it.
        state: what it says of itself.
        devices: connected to it.
        calls: under way that apps have made to it.
    """

    node_id: str
    epoch: int
    started_ms: int
    seen_ms: int
    version: str
    http: str
    mqtt: str
    state: NodeState
    devices: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Presence:
    """Who holds a device, as its row has it; for the fields see `PresenceChange`.

    `status_ms` is the moment of the last change, `activated_ms` that of the first connection, 0 before it.
    """

    key: DeviceKey
    is_online: bool
    status_ms: int
    activated_ms: int
    holder: str
    holder_epoch: int
    keep_alive_s: int
    half_until_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken over: letters, of these `destinations`, that are available again, and open applications."""

    destinations: frozenset[str]
    application_count: int


class NodeStore(Protocol):
    """What nodes tell one another through the database."""

    async def beat(self, node: Node) -> bool:
        """Keep a node as it is now. False, and nothing kept, where another of its name has a higher epoch."""

    async def list_nodes(self) -> list[Node]:
        """Every node that ever beat and was not removed, by name."""

    async def remove_node(self, node_id: str) -> bool:
        """Forget a node that is down for good. False where there is none of this name."""

    async def find_latest_epoch(self) -> int:
        """The highest epoch by which a device was ever held; 0 where none was."""

    async def find_presence(self, key: DeviceKey) -> Presence | None:
        """Who holds a device, with all this process has recorded of it; None where there is no such device."""

    async def list_held_devices(self, node_id: str, limit: int) -> list[Presence]:
        """At most `limit` of the devices that are written down as online at a node."""

    async def release_devices(self, presences: Sequence[Presence], at_ms: int) -> list[DeviceKey]:
        """Write devices down as gone offline at `at_ms`, where they are still as they were read; returns those."""

    async def take_over(self, gone: Sequence[str], now_ms: int) -> Taken:
        """Have what nodes had in hand that died, or are none any longer, handled by others.

        Letters are available to everybody from `now_ms` on, if not before; open applications are this node's.
        """

    async def take_lease(self, name: str, gone: Sequence[str]) -> bool:
        """Be the one that does some work for all, from now on or still. False while another does it.

        Args:
            name: of the work.
            gone: nodes that died, of which the work may be taken.
        """

    async def read_clock_ms(self) -> int | None:
        """The present moment by the database's clock; None where that is this machine's."""

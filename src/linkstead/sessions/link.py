"""The port for one live connection of a device."""

from enum import Enum
from typing import Protocol

from linkstead.registry import DeviceKey, Origin


class Ending(Enum):
    """Why a connection ended. Source: `device-protocol.md` 9.3 and 8.3."""

    DISCONNECTED = "device disconnect"
    LOST = "connection reset by peer"
    KEEP_ALIVE_EXPIRED = "keep-alive timeout"
    SUPERSEDED = "kicked by the same device"
    VIOLATED = "protocol violation"
    DISABLED = "device disabled"
    DELETED = "device deleted"
    UNBOUND = "removed from the topology"
    STOPPED = "server stopped"

    @property
    def reason_code(self) -> int | None:
        """The vendor's number for it, None where none is known."""
        return _REASON_CODES.get(self)


_REASON_CODES = {Ending.SUPERSEDED: 427, Ending.DELETED: 521, Ending.DISABLED: 522}
"""Source: `device-protocol.md` 5.7 and 8.3."""


class LinkBroken(Exception):
    """The connection is gone; nothing was sent."""


class LinkBlocked(Exception):
    """The device does not read and its send buffer is at its bound; nothing was sent."""


class LinkTooSmall(Exception):
    """The message is larger than the device said it takes (MQTT 5.0 Maximum Packet Size); nothing was sent."""


class Receipt(Protocol):
    """Told what became of one message."""

    def written(self) -> None:
        """The last byte was handed to the network."""

    def write_failed(self) -> None:
        """The connection ended before the last byte was handed to the network."""


class Link(Protocol):
    """One live connection of one device. Every method returns at once."""

    @property
    def key(self) -> DeviceKey:
        """The device."""

    @property
    def origin(self) -> Origin:
        """The device, its account and its IotId."""

    @property
    def heard_s(self) -> float:
        """When the device was last heard of, monotonic."""

    @property
    def ext(self) -> int:
        """The bit field `ext` of the CONNECT; bit 0 (value 1): the device understands `/ext/rrpc/…`."""

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        """Send at QoS 0, subscribed or not.

        Raises:
            LinkBroken: the connection is gone.
            LinkBlocked: the send buffer is full.
            LinkTooSmall: the device does not take messages of this size.
        """

    def pump(self) -> None:
        """Send what waits in the session's queue, as far as the device takes it now.

        A gateway's connection sends what waits for the sub-devices that it carries too.
        """

    def close(self, ending: Ending) -> None:
        """End the connection; the table learns it by `detach` as for any other ending."""

"""The port to the other nodes.

What comes in is handed on as it is read, in the order in which it was sent, whatever it was subscribed to: a takeover
that was told before a question was asked is known before the question is.
"""

from collections.abc import Callable
from typing import Any, Protocol

from linkstead.cluster.frames import Near


class BusAway(Exception):
    """There is no connection to the other nodes; nothing was sent."""


class BusRefused(Exception):
    """There can be none; the text says why."""


HANDED_BYTES_MAX = 524_288
"""The payload of what is handed. What is larger goes the way of all others, where its size is looked at as a whole."""

Handler = Callable[[str, str, bytes, bool], None]
"""Takes subject, reply subject, payload, and whether it is the server's word that nobody listens."""


class Bus(Protocol):
    """What the nodes speak over. Nothing that was said while it was away is said later."""

    @property
    def is_connected(self) -> bool:
        """True while what is published leaves."""

    @property
    def said_count(self) -> int:
        """What was sent so far."""

    @property
    def payload_bytes_max(self) -> int:
        """The largest message that is taken."""

    async def connect(self) -> None:
        """Connect for the first time. Raises BusRefused."""

    async def close(self) -> None:
        """Take leave."""

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        """Have what comes on a subject handed to `handler`; of a group one member gets it. Returns a number for it."""

    def unsubscribe(self, number: int) -> None:
        """Take a subscription back. What is on its way is still handed on."""

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Say something. Where nobody listens, and there is a reply subject, that is said there. Raises BusAway."""

    def is_near(self, node: str) -> bool:
        """True while there is a shorter road to a node than to others: it is a worker of this machine."""

    def rush(self, node: str, subject: str, payload: bytes, reply: str = "") -> None:
        """Say something of a call to a node, on a subject of which it alone takes it, by the shortest road there is.

        On that it may overtake what was published. Raises BusAway.
        """

    def hand(self, node: str, frame: Near, payload_bytes: int) -> bool:
        """Say something of a call to a near node, as `rush` does, and in order with it.

        False where that is not near, or too much waits for it: nothing was said.

        `payload_bytes`: what the largest of its fields has, `HANDED_BYTES_MAX` at most.
        """

    def attend(self, kind: type[Any], handler: Callable[[Any], None]) -> None:
        """Have what near nodes hand of one kind handed on."""

    def herald(self, subject: str, payload: bytes) -> None:
        """Publish something that nodes are to know before they take what is rushed to them; near ones hear it twice.

        Raises BusAway.
        """

    def count(self, subject: str, amount: int, reply: str) -> None:
        """Add to a counter. What it is at then comes to the reply subject, as JSON with `val`. Raises BusAway."""

    async def flush(self) -> bool:
        """Return when the server has taken what was said before. False when it cannot be known that it has."""

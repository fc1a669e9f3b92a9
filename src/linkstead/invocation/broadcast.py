"""One message to many devices: sent a slice at a time, its call ended when it is known what became of every copy."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from linkstead.alink import topics
from linkstead.invocation.record import Diagnosis, Verdict
from linkstead.sessions import LinkBlocked, LinkBroken, LinkTooSmall, Session

DEVICES_OF_ONE_SLICE = 100
"""Devices served before other work has its turn; a call that waits for its answer must not wait for them all."""


class Reached(NamedTuple):
    """How many devices a copy was written to, and how many of the product's were connected."""

    written: int
    connected: int


class Letter(NamedTuple):
    """What goes to every connected device of a product. Source: `device-protocol.md` 3.1 and 3.3.

    With a `topic` it goes out on that, to those that subscribed to it; else to each on a topic of its own.
    """

    product_key: str
    topic: str
    message_id: int
    payload: bytes

    def name_topic(self, session: Session) -> str:
        """The topic of one device's copy, empty when it is not to have the message."""
        if not self.topic:
            return topics.broadcast_request(session.key, self.message_id)
        return self.topic if topics.matches_any(session.subscriptions, self.topic) else ""


class Broadcast:
    """Sends the copies, and is the receipt of each.

    Args:
        end: told how it ended and how many copies were written, once.
    """

    __slots__ = ("_copies", "_end", "_failed", "_had_audience", "_is_sent", "_written")

    def __init__(self, end: Callable[[Verdict, Diagnosis, int], None]) -> None:
        self._end = end
        self._had_audience = False
        self._copies = 0
        self._written = 0
        self._failed = 0
        self._is_sent = False

    async def send(self, audience: Sequence[Session], name_topic: Callable[[Session], str], payload: bytes) -> None:
        """Send a copy to each, at QoS 0.

        Args:
            audience: whom it may go to.
            name_topic: the topic for one of them, empty when it is not to have the message.
        """
        self._had_audience = bool(audience)
        try:
            for count, session in enumerate(audience, 1):
                topic = name_topic(session)
                if topic:
                    self._send_copy(session, topic, payload)
                if count % DEVICES_OF_ONE_SLICE == 0:
                    await asyncio.sleep(0)
        finally:
            self._is_sent = True
            self._settle()

    def _send_copy(self, session: Session, topic: str, payload: bytes) -> None:
        self._copies += 1
        try:
            if session.link is None:
                raise LinkBroken
            session.link.send(topic, payload, self)
        except (LinkBroken, LinkBlocked, LinkTooSmall):
            self._failed += 1

    def written(self) -> None:
        """See `Receipt`."""
        self._written += 1
        self._settle()

    def write_failed(self) -> None:
        """See `Receipt`."""
        self._failed += 1
        self._settle()

    def _settle(self) -> None:
        if not self._is_sent or self._written + self._failed < self._copies:
            return
        if self._written:
            self._end(Verdict.SUCCESS, Diagnosis.DELIVERED, self._written)
        elif self._copies:
            self._end(Verdict.OFFLINE, Diagnosis.WRITE_FAILED, 0)
        else:
            diagnosis = Diagnosis.NOT_SUBSCRIBED if self._had_audience else Diagnosis.NOT_CONNECTED
            self._end(Verdict.OFFLINE, diagnosis, 0)

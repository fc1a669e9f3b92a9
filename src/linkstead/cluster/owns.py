"""What nodes say of the devices that they hold, so that what was not heard is noticed and said once more.

While two NATS servers do not reach each other, what a node of the one says is lost to those of the other, and no
connection of a node breaks. A node that did not hear that a device has connected elsewhere would go on answering for
it. So each `Own` of a new connection names the one that its node said before, and each node says now and then which
was its last; whoever has not heard it asks.
"""

import logging
from collections.abc import Callable

from linkstead.clock import Clock, milliseconds
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import MissedOwns, NotUnderstood, Own, SaidOwns
from linkstead.cluster.subjects import NODES_MAX, Subjects

log = logging.getLogger(__name__)

EPOCH_BITS = 12
"""An epoch is the milliseconds since 1970, and so many bits to count on within one."""


class Owns:
    """Up to which epoch the other nodes were heard, and this one was.

    Args:
        node: this node's name.
        bus, subjects: the way to the other nodes.
        clock: the epoch in which this node begins.
        say_since: says of every device that is held here with a later epoch that it is.
    """

    def __init__(
        self, *, node: str, bus: Bus, subjects: Subjects, clock: Clock, say_since: Callable[[int], None]
    ) -> None:
        self._node = node
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._say_since = say_since
        self._said = 0
        self._began = 0
        self._heard: dict[str, int] = {}
        self._decode_said = frames.Decoder(SaidOwns).decode
        self._decode_missed = frames.Decoder(MissedOwns).decode

    def listen(self) -> None:
        """Take what other nodes say of it from now on. What they said before concerns no device of this node."""
        self._began = self._said = milliseconds(self._clock.time_s()) << EPOCH_BITS
        self._bus.subscribe(self._subjects.owns, self._take_said)
        self._bus.subscribe(self._subjects.node(self._node, MissedOwns.__name__), self._take_missed)
        self.tell(0)

    def note_said(self, epoch: int) -> int:
        """A device is held here from now on. Returns the epoch that was said before."""
        before, self._said = self._said, epoch
        return before

    def note_heard(self, own: Own) -> None:
        """Another node has said that it holds a device."""
        # One that is said once more names none before it.
        heard = self._heard.get(own.node, self._began)
        if 0 < own.before <= heard < own.epoch:
            self._note(own.node, own.epoch)

    def _note(self, node: str, epoch: int) -> None:
        if node not in self._heard and len(self._heard) >= NODES_MAX:
            self._heard.clear()
        self._heard[node] = epoch

    def tell(self, since: int | None = None) -> None:
        """Say what was said last.

        Args:
            since: all that was said after this epoch has just been said once more; 0 where that is all there is.
        """
        told = SaidOwns(node=self._node, epoch=self._said, since=self._said if since is None else since)
        try:
            self._bus.publish(self._subjects.owns, frames.encode(told))
        except BusAway:
            log.debug("not told what was said last of devices: there is no connection to NATS")

    def _take_said(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            told = self._decode_said(data)
        except NotUnderstood as error:
            log.error("what another node has said of its devices was not understood: %s", error)
            return
        if told.node == self._node:
            return
        heard = self._heard.get(told.node, self._began)
        if told.since == 0 or told.since <= heard < told.epoch:
            self._note(told.node, told.epoch)
        elif told.since > heard:
            self._ask(told.node, heard)

    def _ask(self, node: str, since: int) -> None:
        log.info("it was not heard which devices another node holds; it is asked to say so again", extra={"node": node})
        missed = MissedOwns(node=self._node, since=since)
        try:
            self._bus.publish(self._subjects.node(node, MissedOwns.__name__), frames.encode(missed))
        except BusAway:
            log.debug("another node was not asked: there is no connection to NATS")

    def _take_missed(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            missed = self._decode_missed(data)
        except NotUnderstood as error:
            log.error("what another node has missed was not understood: %s", error)
            return
        self._say_since(missed.since)
        self.tell(missed.since)

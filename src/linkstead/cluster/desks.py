"""Letters that several nodes hand out: what waits is told of to those that do; how they get on is put together."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import count

from linkstead.clock import Clock
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import Asked, Dismissed, NotUnderstood, Rung, Told
from linkstead.cluster.nodes import Nodes
from linkstead.cluster.subjects import Subjects
from linkstead.subscription import DeskStatus, Dispatcher

log = logging.getLogger(__name__)

ASK_WAIT_S = 0.5
"""For the other nodes to say how a destination gets on; who says nothing is left out."""

ASKED_AT_ONCE_MAX = 32
"""Destinations asked after in one frame: the answer, with all consumers that they may have, is one frame too."""


class _Asking:
    """What was asked: of whom an answer is missing, and what was said so far."""

    def __init__(self, nodes: set[str]) -> None:
        self.missing = nodes
        self.told: list[Mapping[str, DeskStatus]] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Desks:
    """Implements `OtherDesks`.

    What is not heard, as the connection to NATS is away, is found when the dispatcher looks again by itself.

    Args:
        node: this node's name.
        bus, subjects: the way to the other nodes.
        nodes: who is there.
        dispatcher: hands out letters here.
        clock: waits.
    """

    def __init__(
        self, *, node: str, bus: Bus, subjects: Subjects, nodes: Nodes, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self._node = node
        self._bus = bus
        self._subjects = subjects
        self._nodes = nodes
        self._dispatcher = dispatcher
        self._clock = clock
        self._open: dict[str, int] = {}
        self._numbers = count(1)
        self._asking: dict[int, _Asking] = {}
        self._decode_letters = frames.Decoder(Rung | Dismissed).decode
        self._decode_asked = frames.Decoder(Asked).decode
        self._decode_told = frames.Decoder(Told).decode

    def listen(self) -> None:
        """Answer from now on."""
        self._bus.subscribe(self._subjects.desks, self._take_asked)
        self._bus.subscribe(self._subjects.node(self._node, Told.__name__), self._take_told)

    def open_desk(self, destination: str) -> None:
        """See `OtherDesks.open_desk`."""
        self._open[destination] = self._bus.subscribe(self._subjects.letters(destination), self._take_letters)

    def close_desk(self, destination: str) -> None:
        """See `OtherDesks.close_desk`."""
        self._bus.unsubscribe(self._open.pop(destination))

    def ring(self, destinations: Collection[str]) -> None:
        """See `OtherDesks.ring`."""
        for destination in destinations:
            self._say(destination, Rung(node=self._node, destination=destination))

    def dismiss(self, destination: str) -> None:
        """See `OtherDesks.dismiss`."""
        self._say(destination, Dismissed(node=self._node, destination=destination))

    async def ask(self, destinations: Sequence[str]) -> Mapping[str, DeskStatus]:
        """See `OtherDesks.ask`."""
        found: dict[str, DeskStatus] = {}
        for first in range(0, len(destinations), ASKED_AT_ONCE_MAX):
            for told in await self._ask(destinations[first : first + ASKED_AT_ONCE_MAX]):
                for destination, status in told.items():
                    found[destination] = found.get(destination, DeskStatus()).and_of(status)
        return found

    async def _ask(self, destinations: Sequence[str]) -> Sequence[Mapping[str, DeskStatus]]:
        nodes = {node for node in self._nodes.node_ids if node != self._node and self._nodes.is_there(node)}
        if not nodes:
            return []
        number = next(self._numbers)
        asking = self._asking[number] = _Asking(nodes)
        timer = self._clock.call_later(ASK_WAIT_S, asking.end)
        try:
            asked = Asked(node=self._node, number=number, destinations=list(destinations))
            self._bus.publish(self._subjects.desks, frames.encode(asked))
            await asking.ended
        except BusAway:
            log.info("the other nodes were not asked who consumes there: there is no connection to NATS")
        finally:
            timer.cancel()
            del self._asking[number]
        return asking.told

    def _say(self, destination: str, frame: Rung | Dismissed) -> None:
        try:
            self._bus.publish(self._subjects.letters(destination), frames.encode(frame))
        except BusAway:
            log.debug("the other nodes were not told of letters: there is no connection to NATS")

    def _take_letters(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            told = self._decode_letters(data)
        except NotUnderstood as error:
            log.error("what another node says of letters was not understood: %s", error)
            return
        if told.node == self._node:
            return
        if isinstance(told, Dismissed):
            self._dispatcher.dismiss_here(told.destination)
        else:
            self._dispatcher.wake(told.destination)

    def _take_asked(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            asked = self._decode_asked(data)
        except NotUnderstood as error:
            log.error("what another node asks of consumers was not understood: %s", error)
            return
        if asked.node == self._node:
            return
        found = {destination: self._dispatcher.look_at(destination) for destination in asked.destinations}
        known = {destination: status for destination, status in found.items() if status != DeskStatus()}
        told = Told(node=self._node, number=asked.number, desks=known)
        try:
            self._bus.publish(self._subjects.node(asked.node, Told.__name__), frames.encode(told))
        except BusAway:
            log.info("another node was not told who consumes here: there is no connection to NATS")

    def _take_told(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            told = self._decode_told(data)
        except NotUnderstood as error:
            log.error("what another node says of consumers was not understood: %s", error)
            return
        asking = self._asking.get(told.number)
        if asking is None or told.node not in asking.missing:
            return
        asking.missing.discard(told.node)
        asking.told.append(told.desks)
        if not asking.missing:
            asking.end()

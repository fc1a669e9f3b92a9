"""Asking the node that holds a device to change what it is subscribed to, and to tell."""

import asyncio
from collections.abc import Sequence
from itertools import count

from linkstead.clock import Clock
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import Adjust, Adjusted
from linkstead.cluster.subjects import Subjects, read_number
from linkstead.registry import DeviceKey
from linkstead.sessions import NeighbourSilent, Subscribed

ADJUST_WAIT_S = 3.0
"""For another node to answer."""

ADJUSTED = "Adjusted"


class Adjusting:
    """Asks, and takes the answers.

    Args:
        node: this node's name.
        bus, subjects: the way to the other nodes.
        clock: how long an answer is waited for.
    """

    def __init__(self, node: str, bus: Bus, subjects: Subjects, clock: Clock) -> None:
        self._node = node
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Subscribed | None]] = {}
        self._decode = frames.Decoder(Adjusted).decode

    def listen(self) -> None:
        """Take answers from now on."""
        self._bus.subscribe(self._subjects.node(self._node, f"{ADJUSTED}.*"), self._take)

    async def ask(self, key: DeviceKey, added: Sequence[str], removed: Sequence[str]) -> Subscribed | None:
        """See `Neighbours.adjust`."""
        number = next(self._numbers)
        told = Adjust(
            node=self._node,
            product_key=key.product_key,
            device_name=key.device_name,
            added=list(added),
            removed=list(removed),
        )
        asked: asyncio.Future[Subscribed | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        timer = self._clock.call_later(ADJUST_WAIT_S, self._expire, number)
        try:
            reply = self._subjects.node(self._node, f"{ADJUSTED}.{number}")
            self._bus.publish(self._subjects.device(key), frames.encode(told), reply)
            return await asked
        except BusAway as error:
            raise NeighbourSilent("there is no connection to the other nodes") from error
        finally:
            timer.cancel()
            del self._asked[number]

    def _expire(self, number: int) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_exception(NeighbourSilent("the node that holds the device has not answered"))

    def _take(self, subject: str, _reply: str, data: bytes, is_nobody: bool) -> None:
        asked = self._asked.get(read_number(subject))
        if asked is None or asked.done():
            return
        if is_nobody:
            asked.set_result(None)
            return
        try:
            told = self._decode(data)
        except frames.NotUnderstood as error:
            # A node of an earlier version says that it has not understood.
            asked.set_exception(NeighbourSilent(str(error)))
        else:
            asked.set_result(Subscribed(told.is_live, told.is_full, told.since_ms))

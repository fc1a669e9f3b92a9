"""What happens on other nodes, for those who look at it here.

Who looks says so to every node, again and again; each then tells what is new there, a few times a second. A node that
nobody looks at tells nothing, and forgets a wish that is not repeated. What is wished for and what is seen are bytes
that only those understand who look and who are looked at.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Protocol

from linkstead.clock import Clock, Timer
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import NotUnderstood, Seen, Watch, WatchEnded
from linkstead.cluster.subjects import Subjects

log = logging.getLogger(__name__)

TELLING_S = 0.25
"""Between two times that a node is told what is new here."""

REPEATED_S = 2.0
"""Between two times that it is said what is looked at."""

KEPT_S = 3 * REPEATED_S
"""How long a node that fell silent is told on."""

WATCHES_MAX = 400
"""Wishes of other nodes that are seen to at once; a further one is seen to when there is room."""


class View(Protocol):
    """What is looked at on this node, for one wish of another."""

    def take(self) -> bytes:
        """What is new since this was asked last; empty where nothing is."""

    def close(self) -> None:
        """Nobody looks any longer."""


OpenView = Callable[[bytes, bool], Awaitable[View]]
"""Opens what a wish is about; whether it was not said before. Raises ValueError for a wish that is not understood."""


class _Guest:
    """A wish of another node. Without a view it is being opened, or cannot be."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self.view: View | None = None


class Watches:
    """Tells other nodes what they wish to see, and takes in what they tell.

    Args:
        node: this node's name.
        bus, subjects: the way to the other nodes.
        clock: when it is told, and for how long.
    """

    def __init__(self, *, node: str, bus: Bus, subjects: Subjects, clock: Clock) -> None:
        self._node = node
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._numbers = count(1)
        self._own: dict[int, tuple[bytes, Callable[[bytes], None]]] = {}
        self._guests: dict[tuple[str, int], _Guest] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._repeating: Timer | None = None
        self._telling: Timer | None = None
        self._decode_watch = frames.Decoder(Watch | WatchEnded).decode
        self._decode_seen = frames.Decoder(Seen).decode

    def serve(self, open_view: OpenView) -> None:
        """Have wishes of other nodes seen to by this. To be called before anything else."""
        self._open_view = open_view

    def listen(self) -> None:
        """Hear of wishes, and of what was wished for."""
        self._bus.subscribe(self._subjects.watches, self._take_watch)
        self._bus.subscribe(self._subjects.node(self._node, Seen.__name__), self._take_seen)

    # what is looked at here

    def look(self, wish: bytes, take: Callable[[bytes], None]) -> int:
        """Have `take` called with what every other node sees, as it comes. Returns a number to `look_away` with."""
        number = next(self._numbers)
        self._own[number] = wish, take
        self._say(self._subjects.watches, Watch(node=self._node, number=number, wish=wish, is_first=True))
        if self._repeating is None:
            self._repeating = self._clock.call_later(REPEATED_S, self._repeat)
        return number

    def look_away(self, number: int) -> None:
        """End that."""
        del self._own[number]
        self._say(self._subjects.watches, WatchEnded(node=self._node, number=number))
        if not self._own and self._repeating is not None:
            self._repeating.cancel()
            self._repeating = None

    def _repeat(self) -> None:
        self._repeating = self._clock.call_later(REPEATED_S, self._repeat)
        for number, (wish, _) in self._own.items():
            self._say(self._subjects.watches, Watch(node=self._node, number=number, wish=wish))

    def _take_seen(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            seen = self._decode_seen(data)
        except NotUnderstood as error:
            log.error("what another node sees was not understood: %s", error)
            return
        own = self._own.get(seen.number)
        if own is not None:
            own[1](seen.seen)

    # what other nodes look at

    def _take_watch(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            told = self._decode_watch(data)
        except NotUnderstood as error:
            log.error("what another node wishes to see was not understood: %s", error)
            return
        if told.node == self._node:
            return
        name = told.node, told.number
        if isinstance(told, WatchEnded):
            self._end(name)
            return
        guest = self._guests.get(name)
        if guest is None:
            if len(self._guests) >= WATCHES_MAX:
                log.warning("other nodes look at too much here; a page there shows less", extra={"node": told.node})
                return
            guest = self._guests[name] = _Guest()
            task = asyncio.get_running_loop().create_task(self._open(name, guest, told))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        guest.until_s = self._clock.monotonic_s() + KEPT_S
        if self._telling is None:
            self._tell_later()

    async def _open(self, name: tuple[str, int], guest: _Guest, told: Watch) -> None:
        try:
            view = await self._open_view(told.wish, told.is_first)
        except ValueError as error:
            log.error("what another node wishes to see is not known here: %s", error, extra={"node": told.node})
            return
        if self._guests.get(name) is guest:
            guest.view = view
        else:
            view.close()

    def _end(self, name: tuple[str, int]) -> None:
        guest = self._guests.pop(name, None)
        if guest is not None and guest.view is not None:
            guest.view.close()

    def _tell_later(self) -> None:
        # All at the same moments: what is drawn for one serves the others.
        delay_s = TELLING_S - self._clock.monotonic_s() % TELLING_S
        self._telling = self._clock.call_later(delay_s, self._tell)

    def _tell(self) -> None:
        self._telling = None
        now_s = self._clock.monotonic_s()
        for name, guest in list(self._guests.items()):
            if guest.until_s <= now_s:
                self._end(name)
                continue
            seen = guest.view.take() if guest.view is not None else b""
            if seen:
                node, number = name
                self._say(self._subjects.node(node, Seen.__name__), Seen(node=self._node, number=number, seen=seen))
        if self._guests:
            self._tell_later()

    def _say(self, subject: str, frame: Watch | WatchEnded | Seen) -> None:
        data = frames.encode(frame)
        if len(data) > frames.FRAME_BYTES_MAX:
            log.error("what is seen here is too large to be told: %d bytes", len(data))
            return
        try:
            self._bus.publish(subject, data)
        except BusAway:
            log.debug("not told to the other nodes: there is no connection to NATS")

    async def stop(self) -> None:
        """Tell and ask nothing any more."""
        for timer in (self._repeating, self._telling):
            if timer is not None:
                timer.cancel()
        self._repeating = self._telling = None
        for name in list(self._guests):
            self._end(name)
        if self._opening:
            await asyncio.wait(self._opening)

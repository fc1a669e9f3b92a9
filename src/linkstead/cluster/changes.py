"""What was changed on one node is forgotten on all, and devices that may not be connected any more are sent away."""

import asyncio
import logging
from collections.abc import Coroutine, Hashable, Sequence

from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import Changed, NotUnderstood
from linkstead.cluster.subjects import Subjects
from linkstead.registry import DeviceKey, Registry
from linkstead.registry.registry import DEVICE
from linkstead.sessions import Ending, SessionTable

log = logging.getLogger(__name__)

DEVICES_OF_ONE_READ = 500
"""Devices that are read at once when all that are connected are looked at."""

REVIEWS_MAX = 10_000
"""Devices that are looked at at once; past it the rest is left to the next look."""


class Changes:
    """Tells the other nodes what was changed here, and takes notice of what was changed there.

    What is not heard, as the connection to NATS is away, is noticed a second later by the version of the registry in
    the database; devices are looked at again then, and when the connection is back.

    Args:
        node: this node's name.
        bus, subjects: the way to the other nodes.
        registry: forgets.
        sessions: who is connected here.
    """

    def __init__(self, *, node: str, bus: Bus, subjects: Subjects, registry: Registry, sessions: SessionTable) -> None:
        self._node = node
        self._bus = bus
        self._subjects = subjects
        self._registry = registry
        self._sessions = sessions
        self._reviews: set[asyncio.Task[None]] = set()
        self._is_reviewing_all = False
        self._is_due_again = False
        self._decode = frames.Decoder(Changed).decode

    def listen(self) -> None:
        """Take notice from now on."""
        self._bus.subscribe(self._subjects.every_invalid, self._take)
        self._registry.observe(self._tell)

    def _tell(self, kind: str, name: Hashable) -> None:
        names = name if isinstance(name, tuple) else (name,)
        try:
            self._bus.publish(self._subjects.invalid(kind, *map(str, names)), frames.encode(Changed(node=self._node)))
        except BusAway:
            log.info("the other nodes were not told of a change", extra={"kind": kind})

    def _take(self, subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            if self._decode(data).node == self._node:
                return
        except NotUnderstood as error:
            log.error("a change on another node was not understood: %s", error)
        kind, names = self._subjects.read_invalid(subject)
        self._registry.forget(kind, names)
        if kind == DEVICE and len(names) == 2:
            key = DeviceKey(*names)
            if self._sessions.find(key) is not None:
                self.review([key])

    def review(self, keys: Sequence[DeviceKey]) -> None:
        """Look whether devices may still be connected as they are; returns at once."""
        if len(self._reviews) >= REVIEWS_MAX:
            log.error("too many devices were changed at once; some are not looked at")
            return
        self._start(self._review_each(keys))

    def review_all(self) -> None:
        """Look at every device that is connected here; returns at once. What is asked meanwhile is done afterwards."""
        if self._is_reviewing_all:
            self._is_due_again = True
            return
        self._is_reviewing_all = True
        self._start(self._review_all())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._reviews.add(task)
        task.add_done_callback(self._end_review)

    def _end_review(self, task: asyncio.Task[None]) -> None:
        self._reviews.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a device that was changed could not be looked at", exc_info=task.exception())

    async def drain(self) -> None:
        """Return when nothing is being looked at."""
        while self._reviews:
            await asyncio.wait(self._reviews)

    async def _review_each(self, keys: Sequence[DeviceKey]) -> None:
        for key in keys:
            await self._review(key)

    async def _review_all(self) -> None:
        self._is_due_again = True
        try:
            while self._is_due_again:
                self._is_due_again = False
                connected = self._sessions.connected
                for start in range(0, len(connected), DEVICES_OF_ONE_READ):
                    keys = connected[start : start + DEVICES_OF_ONE_READ]
                    found = await self._registry.store.find_devices(keys)
                    allowed = {device.key for device in found if device.enabled}
                    for key in keys:
                        if key not in allowed:
                            self._registry.forget(DEVICE, key)
                            await self._review(key)
                        elif self._is_carried(key):
                            # It may not be bound to its gateway any more.
                            await self._review(key)
        finally:
            self._is_reviewing_all = False

    def _is_carried(self, key: DeviceKey) -> bool:
        session = self._sessions.find(key)
        return session is not None and session.carrier is not None

    async def _review(self, key: DeviceKey) -> None:
        device = await self._registry.find_device(key)
        if device is None:
            link = self._sessions.forget(key)
            if link is not None:
                link.close(Ending.DELETED)
            return
        session = self._sessions.find(key)
        link = session.link if session is not None else None
        if session is None or link is None:
            return
        if not device.enabled:
            link.close(Ending.DISABLED)
        elif session.carrier is not None:
            carrier = session.carrier.key
            if await self._registry.store.find_gateway(key) != carrier and session.link is link:
                link.close(Ending.UNBOUND)

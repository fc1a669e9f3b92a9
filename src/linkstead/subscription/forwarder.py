"""From a notice to letters: who subscribed to what is kept at hand, so that telling them waits for nothing.

What is at hand may be a moment old: while the latest is read, the earlier one goes on being used, for `STALE_S_MAX` at
most, or for as long as the store cannot tell: what comes of a call is written in one with the call. Only notices of a
product of which nothing is at hand wait for the store, those of one product in the order they came.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from linkstead.clock import Clock, milliseconds
from linkstead.ids import Ids
from linkstead.measures import Sample
from linkstead.registry import DeviceKey, Registry
from linkstead.subscription.records import Notice, NoticeKind, NotKept, destination_of
from linkstead.subscription.store import BacklogStore, GroupStore

log = logging.getLogger(__name__)

PRODUCTS_CACHED_MAX = 10_000
"""Products whose subscribers are kept at hand; the one unused for longest goes first."""

WAITING_NOTICES_MAX = 10_000
"""Notices that wait until it is known who subscribed; one more is dropped and counted."""

WAITING_BYTES_MAX = 16 * 1024 * 1024
"""Payload bytes of these; likewise."""

STALE_S_MAX = 2.0
"""How long what was at hand goes on being used after it may have changed, at most."""

READ_RETRY_S = 1.0
"""Wait after the store could not tell who subscribed."""

DROPPED_LOGGED_EVERY_S = 60.0


class DestinationSource(Protocol):
    """Knows destinations of a kind: consumer groups, or webhooks."""

    async def destinations(self, product_key: str) -> Mapping[NoticeKind, Sequence[str]]:
        """Who is to be told of what of a product, as names in the backlog. What nobody is told of is left out."""


class GroupDestinations:
    """Implements `DestinationSource` for consumer groups."""

    def __init__(self, groups: GroupStore, registry: Registry) -> None:
        self._groups = groups
        self._registry = registry

    async def destinations(self, product_key: str) -> Mapping[NoticeKind, Sequence[str]]:
        """See `DestinationSource.destinations`."""
        relation = await self._groups.find_relation(product_key)
        if relation is None or not relation.group_ids:
            return {}
        product = await self._registry.find_product(product_key)
        if product is None:
            return {}
        names = [destination_of(product.account_id, group_id) for group_id in relation.group_ids]
        return dict.fromkeys(relation.kinds, names)


@dataclass(slots=True)
class _Known:
    """Who is told of what of a product, as it was in an epoch."""

    destinations: Mapping[NoticeKind, tuple[str, ...]]
    epoch: int


class _Read:
    """A product of which it is being read who subscribed, and the notices that wait for it."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        # Done when the store has told, or could not for the first time.
        self.attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note_attempt(self) -> None:
        """Somebody who waited knows now where it stands."""
        if not self.attempt.done():
            self.attempt.set_result(None)


class Forwarder:
    """Implements `NoticeSink`: writes each notice into the backlog of everybody who subscribed to it.

    Args:
        backlog: where letters wait.
        sources: who subscribed.
        clock, ids: the moment and the message id of each notice.
    """

    def __init__(self, backlog: BacklogStore, sources: Sequence[DestinationSource], clock: Clock, ids: Ids) -> None:
        self._backlog = backlog
        self._sources = sources
        self._clock = clock
        self._ids = ids
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._epoch = 0
        # When something may have changed of late, and the epoch that ended then. That of `_outdated` is not used.
        self._changes: deque[tuple[float, int]] = deque()
        self._outdated = -1
        self._reads: dict[str, _Read] = {}
        self._failing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._dropped_count = 0
        self._logged_s = -DROPPED_LOGGED_EVERY_S
        self._is_draining = False

    @property
    def dropped_count(self) -> int:
        """Notices dropped at a bound since the start."""
        return self._dropped_count

    @property
    def waiting_count(self) -> int:
        """Notices that wait until it is known who subscribed."""
        return self._waiting_count

    def sample(self) -> Iterator[Sample]:
        """What waits until it is known who subscribed, and what was dropped there."""
        yield "linkstead_queue_depth", ("notices-unaddressed",), float(self._waiting_count)
        yield "linkstead_dropped_total", ("notices-unaddressed",), float(self._dropped_count)

    def wants(self, product_key: str, kind: NoticeKind) -> bool:
        """See `NoticeSink.wants`."""
        known = self._look_up(product_key)
        return known is None or kind in known.destinations

    def forward(
        self, account_id: str, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes, qos: int = 0
    ) -> None:
        """See `NoticeSink.forward`."""
        known = self._look_up(key.product_key)
        if known is not None and kind not in known.destinations:
            return
        now_ms = milliseconds(self._clock.time_s())
        notice = Notice(account_id, key, kind, topic, payload, self._ids.message_id(), now_ms, qos)
        if known is not None:
            self._backlog.record_notice(known.destinations[kind], notice)
        elif self._waiting_count >= WAITING_NOTICES_MAX or self._waiting_bytes + len(payload) > WAITING_BYTES_MAX:
            self._drop(1)
        else:
            self._waiting_count += 1
            self._waiting_bytes += len(payload)
            self._reads[key.product_key].notices.append(notice)

    def is_prepared(self, product_key: str) -> bool:
        """See `NoticeSink.is_prepared`."""
        return self._is_draining or self._look_up(product_key) is not None

    async def prepare(self, product_key: str) -> None:
        """See `NoticeSink.prepare`."""
        while not self.is_prepared(product_key):
            read = self._reads[product_key]
            await asyncio.shield(read.attempt)
            if self._reads.get(product_key) is read and not self.is_prepared(product_key):
                raise NotKept

    async def settle(self) -> None:
        """See `NoticeSink.settle`."""
        reads = list(self._reads.values())
        for read in reads:
            await asyncio.shield(read.attempt)
        if any(read.notices for read in reads) or not await self._backlog.flush():
            raise NotKept

    def forget(self, product_key: str) -> None:
        """Drop what is at hand of a product whose subscription changed: what comes from now on goes by the new one."""
        self._epoch += 1
        self._known.pop(product_key, None)

    def forget_all(self) -> None:
        """Have everything read anew, each when it is wanted: another process may have changed subscriptions."""
        self._changes.append((self._clock.monotonic_s(), self._epoch))
        self._epoch += 1
        self._forget_changes()

    def _forget_changes(self) -> None:
        before_s = self._clock.monotonic_s() - STALE_S_MAX
        while self._changes and self._changes[0][0] <= before_s:
            _, self._outdated = self._changes.popleft()

    async def drain(self) -> None:
        """Return when nothing waits for the store any longer; what the store cannot tell now is dropped."""
        self._is_draining = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _look_up(self, product_key: str) -> _Known | None:
        """What is at hand of a product; where that is nothing, or not the latest, it is being read then."""
        known = self._known.get(product_key)
        if known is not None:
            self._known.move_to_end(product_key)
            if known.epoch == self._epoch:
                return known
            self._forget_changes()
            if known.epoch <= self._outdated and product_key not in self._failing:
                known = None
        if product_key not in self._reads:
            read = self._reads[product_key] = _Read()
            task = asyncio.get_running_loop().create_task(self._run(product_key, read))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return known

    async def _run(self, product_key: str, read: _Read) -> None:
        known = None
        try:
            known = await self._read(product_key, read)
        finally:
            self._end_read(product_key, read, known)

    def _end_read(self, product_key: str, read: _Read, known: _Known | None) -> None:
        del self._reads[product_key]
        self._failing.discard(product_key)
        if known is None:
            self._drop(len(read.notices))
            self._forget_waiting(read.notices)
        else:
            self._known[product_key] = known
            self._known.move_to_end(product_key)
            if len(self._known) > PRODUCTS_CACHED_MAX:
                self._known.popitem(last=False)
            self._record_waiting(known, read.notices)
        read.note_attempt()

    def _record_waiting(self, known: _Known, waiting: list[Notice]) -> None:
        for notice in waiting:
            names = known.destinations.get(notice.kind)
            if names:
                self._backlog.record_notice(names, notice)
        self._forget_waiting(waiting)

    def _forget_waiting(self, waiting: list[Notice]) -> None:
        self._waiting_count -= len(waiting)
        self._waiting_bytes -= sum(len(notice.payload) for notice in waiting)
        waiting.clear()

    async def _read(self, product_key: str, read: _Read) -> _Known | None:
        """Ask every source; None when the store cannot tell and the server is stopping."""
        while True:
            epoch = self._epoch
            merged: dict[NoticeKind, tuple[str, ...]] = {}
            try:
                for source in self._sources:
                    for kind, names in (await source.destinations(product_key)).items():
                        if names:
                            merged[kind] = merged.get(kind, ()) + tuple(names)
            except Exception:
                # Nobody waits for the answer but notices: the log is told, and it is tried again.
                log.exception("who subscribed to a product cannot be read", extra={"product_key": product_key})
                earlier = self._known.get(product_key)
                if earlier is not None:
                    self._failing.add(product_key)
                    self._record_waiting(earlier, read.notices)
                if self._is_draining:
                    return None
                read.note_attempt()
                await self._clock.sleep(READ_RETRY_S)
                continue
            if epoch == self._epoch:
                return _Known(merged, epoch)
            # Something changed while we read: what was read may be the older subscription.

    def _drop(self, count: int) -> None:
        self._dropped_count += count
        now_s = self._clock.monotonic_s()
        if count and now_s - self._logged_s >= DROPPED_LOGGED_EVERY_S:
            self._logged_s = now_s
            log.warning("messages for subscribers dropped before it was known who they are: %d", self._dropped_count)

"""A server without sockets, and without anything of the machine's: built anew on the same disk after it was killed.

Alone, or one of several nodes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from linkstead.action import Behaviour
from linkstead.actions import ACTIONS
from linkstead.api import quotas
from linkstead.api.audit import Audit
from linkstead.api.nonces import NonceWindow
from linkstead.api.openapi import OpenApi
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.cluster.bus import Bus
from linkstead.cluster.cluster import Cluster
from linkstead.cluster.holder import GuestSink
from linkstead.cluster.nodes import BEAT_S
from linkstead.ids import Ids
from linkstead.invocation import (
    Call,
    CallHistory,
    CallJournal,
    CallSink,
    Delivery,
    LocalRouter,
    ServiceCallStore,
    Stage,
    Verdict,
)
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf, ScriptStore
from linkstead.mqtt.gateway import DeviceGateway
from linkstead.registry import DeviceKey, NodeState, Presence, Registry, Taken
from linkstead.registry import Node as NodeRecord
from linkstead.registry.audit import AuditLog
from linkstead.scripts.host import ScriptHost
from linkstead.server import HOUSEKEEPING, HOUSEKEEPING_S, REGISTRY_POLL_S, RELEASE_S
from linkstead.sessions import Link, SessionTable
from linkstead.subscription import Dispatcher, Forwarder, GroupDestinations, NoticeKind, Subscriptions
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import News, Uplink
from linkstead.webhook.sender import Post, WebhookSender
from tests.simulation.disk import ALONE, Disk, MemoryStore

log = logging.getLogger("linkstead.simulation")

RUNNING: ContextVar["NodeClock | None"] = ContextVar("running", default=None)
"""The process that runs at the moment; a task is of the one in which it was begun."""


def make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    """Make a task that its process knows of."""
    task = asyncio.Task(work, loop=loop, **options)
    process = RUNNING.get()
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(process.forget)
    return task


class NodeClock:
    """The clock as a process sees it: what is to run later dies with it.

    `tasks` are those of the process, in the order in which they were begun; `skew_s` is how far its machine's clock is
    ahead.
    """

    def __init__(self, clock: Clock) -> None:
        self.is_dead = False
        self.skew_s = 0.0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._clock = clock

    def forget(self, task: "asyncio.Task[Any]") -> None:
        """A task has ended."""
        self.tasks.pop(task, None)

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is begun within is of this process."""
        token = RUNNING.set(self)
        try:
            yield
        finally:
            RUNNING.reset(token)

    def time_s(self) -> float:
        return self._clock.time_s() + self.skew_s

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> Timer:
        return self._clock.call_later(delay_s, self._run, callback, args)

    def _run(self, callback: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self.is_dead:
            token = RUNNING.set(self)
            try:
                callback(*args)
            finally:
                RUNNING.reset(token)

    def sleep(self, delay_s: float) -> Coroutine[Any, Any, None]:
        return self._clock.sleep(delay_s)


class UplinkWatcher(Protocol):
    """Sees what devices publish, around the moment the server does."""

    def receive(self, node: "Node", link: Link, topic: str, payload: bytes, take: Callable[[], bool]) -> bool:
        """Have it taken, and look what came of it."""

    def note_told(self, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes) -> None:
        """Something is told to whoever subscribed."""


class WatchedUplink(Uplink):
    """The uplink, with somebody watching."""

    watcher: UplinkWatcher
    node: "Node"

    def receive(self, link: Link, topic: str, payload: bytes, qos: int) -> bool:
        return self.watcher.receive(
            self.node, link, topic, payload, lambda: super(WatchedUplink, self).receive(link, topic, payload, qos)
        )


class WatchedForwarder(Forwarder):
    """The forwarder, with somebody watching."""

    watcher: UplinkWatcher

    def forward(
        self, account_id: str, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes, qos: int = 0
    ) -> None:
        self.watcher.note_told(key, kind, topic, payload)
        super().forward(account_id, key, kind, topic, payload, qos)


class WatchedJournal(CallJournal):
    """The journal, with every call that it was ever given in `opened`.

    `watched` has those that are to be looked at again, and `seen` how each was when it was looked at last.
    """

    def __init__(self, sink: CallSink) -> None:
        super().__init__(sink)
        self.opened: dict[str, Call] = {}
        self.watched: dict[str, Call] = {}
        self.seen: dict[str, tuple[int, Verdict | None]] = {}
        self._unnamed: list[Call] = []
        self._by_alink_id: dict[int, Call] = {}

    def open(self, call: Call) -> None:
        self.opened[call.request_id] = self.watched[call.request_id] = call
        self._unnamed.append(call)
        super().open(call)

    def find_by_alink_id(self, alink_id: int) -> Call | None:
        """A call of the id that it was given after it was opened."""
        self._by_alink_id |= {call.alink_id: call for call in self._unnamed if call.alink_id}
        self._unnamed = [call for call in self._unnamed if not call.alink_id and call.moment(Stage.RETURNED) is None]
        return self._by_alink_id.get(alink_id)


@dataclass(frozen=True, slots=True)
class Place:
    """A node's place among others: its name, and its way to them."""

    name: str
    make_bus: Callable[[Clock, Callable[[], None], Callable[[str], None]], Bus]
    limits: dict[str, int]


class Node:
    """One process. Wired as `Server` wires it.

    `answering_count`: requests of apps that are under way. `is_open`: it has started, so that somebody may turn to it.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ids: Ids,
        chance: random.Random,
        watcher: UplinkWatcher,
        make_post: Callable[[], Post],
        service_timeout_ms: int,
        place: Place | None = None,
    ) -> None:
        self.name = place.name if place is not None else ALONE
        self.clock = NodeClock(clock)
        self.answering_count = 0
        self.is_open = False
        self.store = store = MemoryStore(disk, self.clock, chance, self.name)
        self._disk = disk
        self.registry = registry = Registry(store.registry_port, self.clock.monotonic_s)
        self._models = models = ModelShelf(store.models_port)
        self._registry_version = disk.registry_version
        # No product of the simulation is binary.
        scripts = ScriptRunner(ScriptShelf(cast("ScriptStore", store)), ScriptHost(self.clock))
        telemetry = cast("TelemetryStore", store)
        self.cluster = self._make_cluster(place) if place is not None else None
        holder = self.cluster.holder if self.cluster else None
        self.sessions = SessionTable(holder or registry, holder)
        guests = GuestSink(store)
        guests.holder = holder
        self.journal = WatchedJournal(guests)
        local = LocalRouter(self.sessions, self.journal, self.clock)
        self.router = self.cluster.make_router(registry, self.sessions, self.journal, local) if self.cluster else local
        self.delivery = Delivery(self.sessions, self.journal, store, self.clock)
        self.sessions.observe(self.delivery)
        if self.cluster is not None:
            self.cluster.deliver_by(self.delivery)
        self.webhooks = WebhookSender(
            backlog=store.backlog_port, webhooks=store.webhooks_port, clock=self.clock, ids=ids, make_post=make_post
        )
        store.watch_letters(self.webhooks.wake)
        groups = GroupDestinations(store.groups_port, registry)
        self.forwarder = WatchedForwarder(store.backlog_port, [groups, self.webhooks.book], self.clock, ids)
        self.forwarder.watcher = watcher
        self.dispatcher = Dispatcher(store.backlog_port, self.clock)
        if self.cluster is not None:
            self.cluster.hand_out_by(self.dispatcher)
        self.news = news = News(self.forwarder, registry, models, self.clock)
        self.sessions.observe_status(news)
        self.delivery.observe(news)
        self.uplink = uplink = WatchedUplink(
            local,
            self.sessions,
            self.clock,
            delivery=self.delivery,
            registry=registry,
            models=models,
            scripts=scripts,
            telemetry=telemetry,
            news=news,
            ids=ids,
        )
        uplink.watcher, uplink.node = watcher, self
        self.gateway = DeviceGateway(
            registry=registry, sessions=self.sessions, uplink=uplink, news=news, clock=self.clock, ids=ids
        )
        self.openapi = OpenApi(
            actions=ACTIONS,
            registry=registry,
            models=models,
            scripts=scripts,
            telemetry=telemetry,
            service_calls=cast("ServiceCallStore", store),
            subscriptions=Subscriptions(store.groups_port, store.backlog_port, self.forwarder, self.dispatcher),
            sessions=self.sessions,
            router=self.router,
            delivery=self.delivery,
            news=news,
            journal=self.journal,
            history=cast("CallHistory", store),
            clock=self.clock,
            ids=ids,
            audit=Audit(cast("AuditLog", store), self.clock),
            nonces=self.cluster.make_nonces(NonceWindow()) if self.cluster else NonceWindow(),
            quotas=self.cluster.make_quotas(place.limits)
            if self.cluster and place
            else quotas.Quotas(quotas.LIMITS, {}, False),
            behaviour=Behaviour(service_timeout_ms=service_timeout_ms),
            node=self.name,
            strict=True,
        )

    def _make_cluster(self, place: Place) -> Cluster:
        return Cluster(
            node=place.name,
            name="simulated",
            make_bus=partial(place.make_bus, self.clock),
            store=self.store.nodes_port,
            presence=self.registry,
            clock=self.clock,
            describe=self._describe,
            tell_taken=self._take_up,
        )

    def _describe(self) -> NodeRecord:
        now_ms = milliseconds(self.clock.time_s())
        return NodeRecord(self.name, 1, now_ms, now_ms, "1", "", "", NodeState.UP)

    async def start(self) -> None:
        """Take up what an earlier process left."""
        if self.cluster is None:
            await self._take_all()
        else:
            await self._join(self.cluster)
        self.is_open = True

    async def _take_all(self) -> None:
        now_ms = milliseconds(self.clock.time_s())
        await self.store.take_over([], now_ms)
        await self.webhooks.reload()
        for device in await self.store.list_online_devices():
            self.sessions.tell_left_online(
                device.origin, since_ms=device.status_ms, now_ms=now_ms, ip_address=device.ip_address
            )
        await self.news.settle()
        await self.store.mark_all_offline(now_ms)
        await self.delivery.restore()

    async def _join(self, cluster: Cluster) -> None:
        await self.webhooks.reload()
        cluster.nodes.tell_left(self._tell_left, self.delivery.end_stranded)
        await cluster.start()
        await cluster.nodes.beat()
        await cluster.heirs.take_over()
        if cluster.nodes.is_alone:
            await cluster.nodes.release_unheld()
        await self._see_to_the_dead(cluster)
        for period_s, work in (
            (BEAT_S, cluster.beat),
            (REGISTRY_POLL_S, self.look_for_changes),
            (RELEASE_S, lambda: self._see_to_the_dead(cluster)),
            (HOUSEKEEPING_S, self.keep_house),
        ):
            asyncio.get_running_loop().create_task(self._repeat(period_s, work))

    async def _see_to_the_dead(self, cluster: Cluster) -> None:
        await cluster.heirs.take_over()
        if await cluster.heirs.is_for_us(HOUSEKEEPING):
            await cluster.heirs.release_left()

    async def _tell_left(self, presence: Presence, at_ms: int) -> None:
        device = await self.registry.find_device(presence.key)
        if device is not None:
            self.sessions.tell_left_online(
                device.origin, since_ms=presence.status_ms, now_ms=at_ms, ip_address=device.ip_address
            )

    def _take_up(self, taken: Taken) -> None:
        destinations = sorted(taken.destinations)
        for destination in destinations:
            self.dispatcher.wake(destination)
        self.webhooks.wake(destinations)
        if self.cluster is not None and self.cluster.desks is not None:
            self.cluster.desks.ring(destinations)

    async def _repeat(self, period_s: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await self.clock.sleep(period_s)
            try:
                await work()
            except Exception:
                log.exception("background work failed")

    async def look_for_changes(self) -> None:
        """What a server does every second."""
        version = await self.store.registry_version()
        if version != self._registry_version:
            self.registry.forget_all()
            self._models.forget_all()
            await self.webhooks.reload()
            self.forwarder.forget_all()
            self.dispatcher.wake_all()
            if self.cluster is not None and not self.cluster.bus.is_connected:
                self.cluster.review_all()
            self._registry_version = version

    async def keep_house(self) -> None:
        """What a server does every few minutes."""
        self.sessions.expire(self.clock.monotonic_s())
        if self.cluster is not None:
            self.cluster.review_all()
        if self.cluster is None or await self.cluster.heirs.is_for_us(HOUSEKEEPING):
            await self.delivery.expire()

    async def stop(self) -> None:
        """Let go of devices and calls in good order, and leave the others."""
        assert self.cluster is not None
        self.gateway.drain()
        while self.answering_count:
            await self.clock.sleep(0.01)
        await self.cluster.holder.give_up_all()
        await self.gateway.close()
        await self.uplink.drain()
        await self.delivery.stop()
        await self.news.drain()
        await self.forwarder.drain()
        await self.dispatcher.stop()
        await self.webhooks.stop()
        await self.store.flush()
        await self.store.remove_node(self.name)
        await self.cluster.stop()

    async def kill(self) -> None:
        """End at once: nothing more is written, nothing more is sent."""
        self.clock.is_dead = True
        tasks = list(self.clock.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

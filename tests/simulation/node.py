"""A server without sockets, and without anything of the machine's: built anew on the same disk after it was killed."""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol, cast

from linkstead.action import Behaviour
from linkstead.actions import ACTIONS
from linkstead.api import quotas
from linkstead.api.audit import Audit
from linkstead.api.nonces import NonceWindow
from linkstead.api.openapi import OpenApi
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.ids import Ids
from linkstead.invocation import Call, CallHistory, CallJournal, Delivery, LocalRouter, ServiceCallStore
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf, ScriptStore
from linkstead.mqtt.gateway import DeviceGateway
from linkstead.registry import DeviceKey, Registry
from linkstead.registry.audit import AuditLog
from linkstead.scripts.host import ScriptHost
from linkstead.sessions import Link, SessionTable
from linkstead.subscription import Dispatcher, Forwarder, GroupDestinations, NoticeKind, Subscriptions
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import News, Uplink
from linkstead.webhook.sender import Post, WebhookSender
from tests.simulation.disk import Disk, MemoryStore

HOUSEKEEPING_S = 300.0


class NodeClock:
    """The clock as a process sees it: what is to run later dies with it."""

    def __init__(self, clock: Clock) -> None:
        self.is_dead = False
        self._clock = clock

    def time_s(self) -> float:
        return self._clock.time_s()

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> Timer:
        return self._clock.call_later(delay_s, self._run, callback, args)

    def _run(self, callback: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self.is_dead:
            callback(*args)

    async def sleep(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)


class UplinkWatcher(Protocol):
    """Sees what devices publish, around the moment the server does."""

    def receive(self, link: Link, topic: str, payload: bytes, take: Callable[[], bool]) -> bool:
        """Have it taken, and look what came of it."""

    def note_told(self, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes) -> None:
        """Something is told to whoever subscribed."""


class WatchedUplink(Uplink):
    """The uplink, with somebody watching."""

    watcher: UplinkWatcher

    def receive(self, link: Link, topic: str, payload: bytes, qos: int) -> bool:
        return self.watcher.receive(
            link, topic, payload, lambda: super(WatchedUplink, self).receive(link, topic, payload, qos)
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
    """The journal, with every call that it was ever given in `opened`."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.opened: dict[str, Call] = {}

    def open(self, call: Call) -> None:
        self.opened[call.request_id] = call
        super().open(call)


class Node:
    """One process. Wired as `Server` wires it."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        ids: Ids,
        chance: random.Random,
        watcher: UplinkWatcher,
        make_post: Callable[[], Post],
        service_timeout_ms: int,
    ) -> None:
        self.clock = NodeClock(clock)
        self.store = store = MemoryStore(disk, self.clock, chance)
        self._disk = disk
        self._registry = registry = Registry(store.registry_port, self.clock.monotonic_s)
        self._models = models = ModelShelf(store.models_port)
        self._registry_version = disk.registry_version
        # No product of the simulation is binary.
        scripts = ScriptRunner(ScriptShelf(cast("ScriptStore", store)), ScriptHost(self.clock))
        telemetry = cast("TelemetryStore", store)
        self.sessions = SessionTable(registry)
        self.journal = WatchedJournal(store)
        self.router = LocalRouter(self.sessions, self.journal, self.clock)
        self.delivery = Delivery(self.sessions, self.journal, store, self.clock)
        self.sessions.observe(self.delivery)
        self.webhooks = WebhookSender(
            backlog=store.backlog_port, webhooks=store.webhooks_port, clock=self.clock, ids=ids, make_post=make_post
        )
        store.watch_letters(self.webhooks.wake)
        groups = GroupDestinations(store.groups_port, registry)
        self.forwarder = WatchedForwarder(store.backlog_port, [groups, self.webhooks.book], self.clock, ids)
        self.forwarder.watcher = watcher
        self.dispatcher = Dispatcher(store.backlog_port, self.clock)
        self.news = news = News(self.forwarder, registry, models, self.clock)
        self.sessions.observe_status(news)
        self.delivery.observe(news)
        uplink = WatchedUplink(
            self.router,
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
        uplink.watcher = watcher
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
            nonces=NonceWindow(),
            quotas=quotas.Quotas(quotas.LIMITS, {}, False),
            behaviour=Behaviour(service_timeout_ms=service_timeout_ms),
            node="node",
            strict=True,
        )

    async def start(self) -> None:
        """Take up what an earlier process left."""
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

    async def look_for_changes(self) -> None:
        """What a server does every second."""
        if self._disk.registry_version != self._registry_version:
            self._registry_version = self._disk.registry_version
            self._registry.forget_all()
            self._models.forget_all()
            await self.webhooks.reload()
            self.forwarder.forget_all()
            self.dispatcher.wake_all()

    async def keep_house(self) -> None:
        """What a server does every few minutes."""
        self.sessions.expire(self.clock.monotonic_s())
        await self.delivery.expire()

    async def kill(self) -> None:
        """End at once: nothing more is written, nothing more is sent."""
        self.clock.is_dead = True
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

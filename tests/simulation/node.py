"""A server without sockets, and without anything of the machine's: built anew on the same disk after it was killed."""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol, cast

from linkstead.action import Behaviour
from linkstead.actions import ACTIONS
from linkstead.api import quotas
from linkstead.api.nonces import NonceWindow
from linkstead.api.openapi import OpenApi
from linkstead.clock import Clock, Timer
from linkstead.ids import Ids
from linkstead.invocation import Call, CallHistory, CallJournal, Delivery, LocalRouter, ServiceCallStore
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf, ScriptStore
from linkstead.mqtt.gateway import DeviceGateway
from linkstead.registry import Registry
from linkstead.scripts.host import ScriptHost
from linkstead.sessions import Link, SessionTable
from linkstead.subscription import Subscriptions
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import News, Uplink
from tests.fakes import FakeNoticeSink
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


class WatchedUplink(Uplink):
    """The uplink, with somebody watching."""

    watcher: UplinkWatcher

    def receive(self, link: Link, topic: str, payload: bytes, qos: int) -> bool:
        return self.watcher.receive(
            link, topic, payload, lambda: super(WatchedUplink, self).receive(link, topic, payload, qos)
        )


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
        self, disk: Disk, clock: Clock, ids: Ids, chance: random.Random, watcher: UplinkWatcher, service_timeout_ms: int
    ) -> None:
        self.clock = NodeClock(clock)
        self.store = store = MemoryStore(disk, self.clock, chance)
        registry = Registry(store.registry_port, self.clock.monotonic_s)
        models = ModelShelf(store.models_port)
        # No product of the simulation is binary.
        scripts = ScriptRunner(ScriptShelf(cast("ScriptStore", store)), ScriptHost(self.clock))
        telemetry = cast("TelemetryStore", store)
        self.sessions = SessionTable(registry)
        self.journal = WatchedJournal(store)
        self.router = LocalRouter(self.sessions, self.journal, self.clock)
        self.delivery = Delivery(self.sessions, self.journal, store, self.clock)
        self.sessions.observe(self.delivery)
        news = News(FakeNoticeSink(kinds=()), registry, models, self.clock)
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
            subscriptions=cast("Subscriptions", store),
            sessions=self.sessions,
            router=self.router,
            delivery=self.delivery,
            news=news,
            journal=self.journal,
            history=cast("CallHistory", store),
            clock=self.clock,
            ids=ids,
            nonces=NonceWindow(),
            quotas=quotas.Quotas(quotas.LIMITS, {}, False),
            behaviour=Behaviour(service_timeout_ms=service_timeout_ms),
            node="node",
            strict=True,
        )

    async def start(self) -> None:
        """Take up what an earlier process left."""
        await self.delivery.restore()

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

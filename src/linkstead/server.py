"""The composition root: the one module that names concrete classes, the system's clock and randomness among them."""

import asyncio
import hmac
import logging
import os
import platform
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec

from linkstead import __version__
from linkstead.action import Behaviour
from linkstead.actions import ACTIONS
from linkstead.alink import psk
from linkstead.amqp.gateway import ConsumerGateway
from linkstead.api import quotas
from linkstead.api.audit import Audit
from linkstead.api.nonces import NonceWindow
from linkstead.api.openapi import OpenApi
from linkstead.clock import Clock, Timer
from linkstead.cluster.bus import Bus, BusRefused
from linkstead.cluster.cluster import Cluster
from linkstead.cluster.near_bus import NearBus, NearPlace
from linkstead.cluster.nodes import BEAT_S
from linkstead.cluster.router import NatsRouter
from linkstead.cluster.whereabouts import FRESH_S
from linkstead.config import DEMO_ACCESS_KEY_ID, Address, Settings, reachable
from linkstead.console import Console, Desk, Place, open_view
from linkstead.errors import Language
from linkstead.faults import FaultDesk
from linkstead.http.front import HttpFront
from linkstead.http.listener import HttpListener
from linkstead.http.metrics import collect
from linkstead.ids import LOWER_AND_DIGITS, Ids
from linkstead.invocation import CallJournal, Delivery, LocalRouter
from linkstead.measures import Sample, Sampler
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf
from linkstead.mqtt.gateway import DeviceGateway
from linkstead.mqtt.ports import Ports
from linkstead.mqtt.witness import Witness
from linkstead.registry import AccessKey, Account, Node, NodeState, Presence, Registrar, Registry, StoreAway, Taken
from linkstead.scripts.host import ScriptHost
from linkstead.sessions import SessionTable
from linkstead.simulator.fleet import Fleet
from linkstead.store import SqliteStore, StoreUnusable
from linkstead.store.claim import FileClaim
from linkstead.store.sealing import SealBroken, UnknownMasterKey, Vault
from linkstead.store.sql import SqlStore
from linkstead.store.urls import DATABASE_RULE, SQLITE_HEAD, is_postgres
from linkstead.subscription import Dispatcher, Forwarder, GroupDestinations, NoticeSink, Subscriptions
from linkstead.subscription.messages import CREATE
from linkstead.system_ids import SystemIds
from linkstead.tls.contexts import FindPsk, has_psk
from linkstead.tls.pair import CertificatePair, CertificateUnusable
from linkstead.traces.exporter import TraceExporter
from linkstead.uplink import News, Uplink
from linkstead.webhook.sender import Post, WebhookSender

log = logging.getLogger(__name__)

REGISTRY_POLL_S = 1.0
"""How long a change made by another process can go unnoticed."""

LOOK_WAIT_S = 3.0
"""A database that says nothing for so long counts as away."""

KEPT_WITHOUT_STORE_S = 60.0
"""How long records in memory last while the store does not answer, from each time it was asked in vain."""

REGISTRAR_POLL_S = 0.1
"""How long an application waits until it is worked on."""

HOUSEKEEPING_S = 300.0
HOUSEKEEPING = "housekeeping"
"""The work that one node does for all: histories are cut, what waits too long is given up, the dead are seen to."""

SKEW_MS_MAX = 5_000
"""How far the clocks of nodes may be from that of the database. What is leased to a consumer or a webhook's receiver is
leased for 15 s longer than it is waited for, at least."""

RELEASE_S = 15.0
"""How often it is seen to that devices of dead nodes are written down as offline."""

CERTIFICATE_LOOK_S = 60.0
"""How long a certificate that was replaced can go unnoticed."""

NODE_CHARS = 6
"""What a node's name has after that of its machine."""

ACCOUNT_ID_DIGITS = 16
DATABASE_FILE = "linkstead.db"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class SystemClock:
    """The machine's own clock, on the running event loop."""

    # The functions themselves: a call reads the clock some ten times.
    time_s = staticmethod(time.time)
    monotonic_s = staticmethod(time.monotonic)

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> Timer:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(delay_s, callback, *args)

    async def sleep(self, delay_s: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(delay_s)


class PatientClock:
    """Shows the time of a clock that can be turned, and waits by one that cannot."""

    def __init__(self, shown: Clock, steady: Clock) -> None:
        self.time_s = shown.time_s
        self.monotonic_s = shown.monotonic_s
        self.call_later = steady.call_later
        self.sleep = steady.sleep


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the server listens, None where it does not."""

    http: Address
    mqtt: Address
    https: Address | None = None
    mqtts: Address | None = None
    amqp: Address | None = None
    amqps: Address | None = None
    metrics: Address | None = None


class Server:
    """One node, everything it consists of.

    Args:
        settings: see there.
        is_production: refuses the demo key.
        clock, ids: the system's own unless a test hands in others.
        sink: where what is told of devices goes; to subscribers unless a test hands in another.
        witness: looks on while devices come in.
        name: what its node's name begins with; that of the machine unless given.
        shares_ports: others on this machine may listen where it does.
        is_claimed: who started this process has claimed the database.
        near: where it speaks to these without NATS.
        steady: where `clock` can be turned, one that cannot: clients of HTTP and AMQP, the times of signatures, and
            simulated devices go by it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        is_production: bool,
        clock: Clock | None = None,
        ids: Ids | None = None,
        sink: NoticeSink | None = None,
        witness: Witness | None = None,
        name: str | None = None,
        shares_ports: bool = False,
        is_claimed: bool = False,
        near: NearPlace | None = None,
        steady: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._is_claimed = is_claimed
        self._near = near
        self._is_production = is_production
        self.clock: Clock = clock or SystemClock()
        # A client that waits for nothing is not to be cut off because time was turned.
        patient: Clock = PatientClock(self.clock, steady) if steady is not None else self.clock
        self.ids: Ids = ids or SystemIds(self.clock)
        self.store: SqlStore = make_store(settings, self.clock)
        self.registry = Registry(self.store, self.clock.monotonic_s)
        self.models = ModelShelf(self.store, lenient_float=settings.lenient_float)
        self.script_host = ScriptHost(self.clock)
        self.scripts = ScriptRunner(ScriptShelf(self.store), self.script_host)
        self.node = name or socket.gethostname()
        self.cluster = self._make_cluster(settings) if settings.nats is not None else None
        holder = self.cluster.holder if self.cluster else None
        self.sessions = SessionTable(holder or self.registry, holder)
        self.journal = self.cluster.make_journal(self.store) if self.cluster else CallJournal(self.store)
        self.traces = self._make_traces(settings.otlp) if settings.otlp is not None else None
        self.local_router = local = LocalRouter(self.sessions, self.journal, self.clock)
        self.router: LocalRouter | NatsRouter = (
            self.cluster.make_router(self.registry, self.sessions, self.journal, local) if self.cluster else local
        )
        self.delivery = Delivery(self.sessions, self.journal, self.store, self.clock)
        self.sessions.observe(self.delivery)
        if self.cluster is not None:
            self.cluster.deliver_by(self.delivery)
        self.webhooks = WebhookSender(
            backlog=self.store, webhooks=self.store, clock=self.clock, ids=self.ids, make_post=self._make_post
        )
        self.store.watch_letters(self.webhooks.wake)
        groups = GroupDestinations(self.store, self.registry)
        self.forwarder = Forwarder(self.store, [groups, self.webhooks.book], self.clock, self.ids)
        self.dispatcher = Dispatcher(self.store, self.clock)
        if self.cluster is not None:
            self.cluster.hand_out_by(self.dispatcher)
        self.store.node = self.node
        subscriptions = Subscriptions(self.store, self.store, self.forwarder, self.dispatcher)
        self.news = News(sink or self.forwarder, self.registry, self.models, self.clock)
        self.sessions.observe_status(self.news)
        self.registrar = Registrar(
            self.registry,
            self.ids,
            lambda: int(self.clock.time_s() * 1000),
            lambda device: self.news.tell_lifecycle(device, CREATE),
        )
        self.delivery.observe(self.news)
        self.uplink = Uplink(
            local,
            self.sessions,
            self.clock,
            delivery=self.delivery,
            registry=self.registry,
            models=self.models,
            scripts=self.scripts,
            telemetry=self.store,
            news=self.news,
            ids=self.ids,
        )
        self.gateway = DeviceGateway(
            registry=self.registry,
            sessions=self.sessions,
            uplink=self.uplink,
            news=self.news,
            clock=self.clock,
            ids=self.ids,
            witness=witness,
        )
        # Only where it is developed against: a server that serves has no way to ask for them.
        self.faults = None if is_production else FaultDesk(self.registry, self.journal, self.clock)
        self._make_device_protocol: Callable[[], asyncio.Protocol] = (
            self.faults.make_wire(self.gateway.make_protocol).make_protocol
            if self.faults
            else self.gateway.make_protocol
        )
        self.audit = Audit(self.store, self.clock)
        self.consumers = ConsumerGateway(
            registry=self.registry,
            groups=self.store,
            dispatcher=self.dispatcher,
            audit=self.audit,
            clock=patient,
        )
        nonces = NonceWindow()
        own_quotas = quotas.Quotas(quotas.LIMITS, settings.quotas, settings.quotas_enabled)
        self.openapi = OpenApi(
            actions=self.faults.wrap(ACTIONS) if self.faults else ACTIONS,
            registry=self.registry,
            models=self.models,
            scripts=self.scripts,
            telemetry=self.store,
            service_calls=self.store,
            subscriptions=subscriptions,
            sessions=self.sessions,
            router=self.router,
            delivery=self.delivery,
            news=self.news,
            journal=self.journal,
            history=self.store,
            clock=self.clock,
            ids=self.ids,
            audit=self.audit,
            nonces=self.cluster.make_nonces(nonces) if self.cluster else nonces,
            quotas=self.cluster.make_quotas(own_quotas.limits) if self.cluster else own_quotas,
            behaviour=Behaviour(
                profile=settings.profile,
                language=settings.language,
                strict_instances=settings.strict_instances,
                service_timeout_ms=settings.service_timeout_ms,
                rrpc_failure_code=settings.rrpc_failure_code,
                dynamic_registration=settings.dynamic_registration,
            ),
            node=self.node,
            strict=settings.strict,
            apps_time_s=steady.time_s if steady is not None else None,
        )
        self.fleet = Fleet(self.find_mqtt, self.models, steady or self.clock)
        self.desk = Desk(
            openapi=self.openapi,
            registry=self.registry,
            models=self.models,
            scripts=self.scripts,
            sessions=self.sessions,
            journal=self.journal,
            history=self.store,
            subscriptions=subscriptions,
            nodes=self.store,
            node=self.node,
            clock=self.clock,
            ids=self.ids,
            place=self._describe_place,
            simulation=self.fleet,
            faults=self.faults,
            vitals=self._read_vitals,
            others=self.cluster.watches if self.cluster else None,
        )
        if self.cluster is not None:
            self.cluster.watches.serve(partial(open_view, self.desk))
        self.front = HttpFront(
            openapi=self.openapi,
            registry=self.registry,
            sessions=self.sessions,
            journal=self.journal,
            history=self.store,
            subscriptions=subscriptions,
            show_console=Console(self.desk).answer,
            find_obstacles=self._find_obstacles,
            show_metrics=self._show_metrics,
            has_neighbours=self.cluster is not None,
        )
        if self.faults is not None:
            self.front.tools["faults"] = self.faults.answer
        self.http = HttpListener(self.front.answer, self.front.finish, patient, self.front.bound_s)
        self.operator_http = HttpListener(self.front.answer_operator, self.front.finish, patient, self.front.bound_s)
        self._samplers: list[Sampler] = [
            self._sample,
            self.journal.sample,
            self.openapi.sample,
            self.http.sample,
            self.gateway.sample,
            self.consumers.sample,
            self.webhooks.sample,
            self.forwarder.sample,
            self.script_host.sample,
            self.store.sample,
        ]
        if self.cluster is not None:
            self._samplers.append(self.cluster.sample)
        if self.traces is not None:
            self._samplers.append(self.traces.sample)
        self.access_key: AccessKey | None = None
        self.endpoints: Endpoints | None = None
        self._is_ready = False
        self._ports = Ports(self.clock, are_shared=shares_ports)
        self._tasks: list[asyncio.Task[None]] = []
        self._heart: asyncio.Task[None] | None = None
        self._registry_version = 0
        self._started_ms = 0
        self._is_store_away = False
        self._look: asyncio.Task[int] | None = None
        self._certificate: CertificatePair | None = None

    async def start(self) -> Endpoints:
        """Open the store, see to the first key, and listen.

        Raises:
            StartError: a port is taken, a file is missing, there is no key, …
        """
        settings = self.settings
        self._certificate = make_certificate_pair(settings, self.clock, self._find_psk)
        tls = self._certificate.apps if self._certificate else None
        tls_for_devices = self._certificate.devices if self._certificate else None
        try:
            await self.store.open()
        except StoreUnusable as error:
            raise StartError(str(error)) from None
        try:
            # Before anything is changed that another server may be using.
            await self._claim()
            nodes = await self._check_nodes() if self.cluster is None else []
            await self.store.take_in_accepted(is_alone=self.cluster is None)
            await self._seal_secrets()
            self.access_key = await self._prepare_key()
            self.front.operator_account_id = (await self.store.list_accounts())[0].account_id
            if self.cluster is None:
                await self.store.take_over([node.node_id for node in nodes], int(self.clock.time_s() * 1000))
            self._registry_version = await self.store.registry_version()
            # Before anything is told: who is told is remembered.
            await self.webhooks.reload()
            if self.cluster is None:
                await self._mark_all_offline()
                await self.delivery.restore()
            else:
                await self._join(self.cluster)
            self.endpoints = Endpoints(
                http=await self._listen(settings.http, self.http.make_protocol, None),
                mqtt=await self._listen(settings.mqtt, self._make_device_protocol, tls_for_devices, takes_plain=True),
                https=await self._listen(settings.https, self.http.make_protocol, tls) if settings.https else None,
                mqtts=await self._listen(settings.mqtts, self._make_device_protocol, tls_for_devices)
                if settings.mqtts
                else None,
                amqp=await self._listen(settings.amqp, self.consumers.make_protocol, None) if settings.amqp else None,
                amqps=await self._listen(settings.amqps, self.consumers.make_protocol, tls) if settings.amqps else None,
                metrics=await self._listen(settings.metrics, self.operator_http.make_protocol, None)
                if settings.metrics
                else None,
            )
            if settings.ready_file is not None:
                write_ready_file(Path(settings.ready_file), self.endpoints, self.access_key_id)
        except BaseException:
            await self.stop()
            raise
        self._every(REGISTRY_POLL_S, self._look_for_changes)
        self._every(REGISTRAR_POLL_S, self.registrar.work)
        self._every(HOUSEKEEPING_S, self._keep_house)
        if self.cluster is not None:
            self._heart = asyncio.create_task(self._repeat(BEAT_S, self.cluster.beat))
            self._every(RELEASE_S, partial(self._see_to_the_dead, self.cluster))
        if self._certificate is not None:
            self._every(CERTIFICATE_LOOK_S, self._look_at_certificate)
        self._is_ready = True
        return self.endpoints

    async def stop(self) -> None:
        """Stop accepting, finish calls in flight up to their deadlines, flush, close."""
        self._is_ready = False
        self._ports.close()
        for task in self._tasks:
            task.cancel()
        self.gateway.drain()
        await self.http.drain()
        await self.operator_http.drain()
        if self.cluster is not None:
            # The heart goes on beating: a node that finishes its calls is not dead.
            await self.cluster.holder.give_up_all()
        await self.gateway.close()
        # Simulated devices go when nothing can be asked of them any more.
        await self.fleet.close()
        await self.consumers.close()
        await self.uplink.drain()
        await self.script_host.close()
        await self.delivery.stop()
        await self.news.drain()
        await self.forwarder.drain()
        await self.dispatcher.stop()
        await self.webhooks.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self.cluster is not None:
            await self._leave(self.cluster)
        if self.traces is not None:
            await self.traces.close()
        await self.store.close()

    @property
    def access_key_id(self) -> str | None:
        """Of the key that was given at the start."""
        return self.access_key.access_key_id if self.access_key else None

    def reload_certificate(self) -> None:
        """Read the certificate and its key again, if there are any; what cannot be used changes nothing."""
        if self._certificate is not None:
            self._certificate.reload()

    def _find_psk(self, identity: str) -> bytes:
        """The key that a device speaks TLS with, by the identity that it names; empty where there is none."""
        try:
            parsed = psk.parse_identity(identity)
            # In the middle of a handshake nothing can be waited for; to read one row takes less than to sign.
            assert isinstance(self.store, SqliteStore), "make_certificate_pair refuses --tls-psk with PostgreSQL"
            device = self.store.find_device_at_once(parsed.key)
        except psk.BadIdentity as error:
            log.warning("pre-shared key refused: %s", error)
            return b""
        except Exception:
            # The edge of the core: OpenSSL called.
            log.exception("the device of a pre-shared key could not be read")
            return b""
        if device is None:
            log.warning("pre-shared key refused: no such device", extra={"device": str(parsed.key)})
            return b""
        return psk.derive_key(parsed, device.device_secret)

    def _make_traces(self, url: str) -> TraceExporter:
        # The libraries are in an extra of their own, and take half a second to import.
        try:
            from linkstead.traces.otlp import OtlpSender  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise StartError(f"--otlp needs the extra [otel]: pip install 'linkstead[otel]' ({error})") from None
        traces = TraceExporter(OtlpSender(url, self.node, __version__), self.clock)
        self.journal.tracer = traces.take
        return traces

    def _make_cluster(self, settings: Settings) -> Cluster:
        # The client of NATS is in an extra of its own, and takes a while to import.
        try:
            from linkstead.cluster.nats_bus import NatsBus  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise StartError(f"--nats needs the extra [cluster]: pip install 'linkstead[cluster]' ({error})") from None
        node = self.node = f"{self.node}-{self.ids.token(LOWER_AND_DIGITS, NODE_CHARS)}"

        def make_bus(reconnected: Callable[[], None], lost: Callable[[str], None]) -> Bus:
            bus = NatsBus((settings.nats or "").split(","), node, reconnected)
            if self._near is None:
                return bus
            return NearBus(bus, self._near, node=node, version=__version__, lost=lost, clock=self.clock)

        return Cluster(
            node=self.node,
            name=settings.cluster_name,
            make_bus=make_bus,
            store=self.store,
            presence=self.registry,
            clock=self.clock,
            describe=self._describe_node,
            tell_taken=self._take_up,
        )

    def _describe_node(self) -> Node:
        now_ms = int(self.clock.time_s() * 1000)
        endpoints = self.endpoints
        return Node(
            node_id=self.node,
            epoch=1,
            started_ms=self._started_ms,
            seen_ms=now_ms,
            version=__version__,
            http=str(endpoints.http) if endpoints else "",
            mqtt=str(endpoints.mqtt) if endpoints else "",
            state=self._node_state,
            devices=self.sessions.live_count,
            calls=self.journal.open_count,
        )

    @property
    def _node_state(self) -> NodeState:
        if self.gateway.is_draining:
            return NodeState.DRAINING
        return NodeState.UP if self.cluster is None or self.cluster.bus.is_connected else NodeState.ALONE

    async def _join(self, cluster: Cluster) -> None:
        cluster.nodes.tell_left(self._tell_left, self.delivery.end_stranded)
        self._started_ms = int(self.clock.time_s() * 1000)
        try:
            await cluster.start()
        except BusRefused as error:
            raise StartError(f"--nats: {error}") from None
        await cluster.nodes.beat()
        await self._compare_clocks()
        await cluster.heirs.take_over()
        if cluster.nodes.is_alone:
            await cluster.nodes.release_unheld()
        await self._see_to_the_dead(cluster)

    async def _see_to_the_dead(self, cluster: Cluster) -> None:
        """Take over once more what was written late, and what devices of dead nodes leave behind, if that is on us."""
        await cluster.heirs.take_over()
        if await cluster.heirs.is_for_us(HOUSEKEEPING):
            await cluster.heirs.release_left()

    async def _check_nodes(self) -> Sequence[Node]:
        """The nodes that used the database, for a server without others: what they had in hand is its own now.

        Raises:
            StartError: one is there still.
        """
        nodes = await self.store.list_nodes()
        now_ms = int(self.clock.time_s() * 1000)
        there = [node.node_id for node in nodes if abs(now_ms - node.seen_ms) < FRESH_S * 1000]
        if there:
            pid = self.store.rival_pid
            process = f", process {pid}" if pid is not None else ""
            raise StartError(
                f"the database is used by {', '.join(there)}{process}: a server without --nats would take from other "
                "nodes what they have in hand. Give --nats, or stop them first."
            )
        return nodes

    async def _claim_again(self) -> None:
        if not self._is_claimed and not await self.store.claim(is_alone=self.cluster is None):
            log.error("another server uses the database, and one of the two is without --nats: stop one of them")

    async def _claim(self) -> None:
        """Make sure that no server uses the database which does not know of this one. Raises StartError."""
        if self._is_claimed:
            return
        try:
            is_claimed = await self.store.claim(is_alone=self.cluster is None)
        except StoreAway as error:
            raise StartError(f"the database cannot be used: {error}") from None
        if is_claimed:
            return
        if self.cluster is None:
            # It may be known by name who is there.
            await self._check_nodes()
        if not is_postgres(self.settings.database):
            raise StartError(describe_rival(self.settings, self.store.rival_pid))
        raise StartError(
            "the database is used by another server, and one of the two is without --nats: each would take from "
            "the other what it has in hand. Give --nats to both, or stop the other first."
        )

    async def _compare_clocks(self) -> None:
        """Warn where leases end too early or too late by this machine's clock."""
        asked_ms = int(self.clock.time_s() * 1000)
        database_ms = await self.store.read_clock_ms()
        if database_ms is None:
            return
        ahead_ms = (asked_ms + int(self.clock.time_s() * 1000)) // 2 - database_ms
        if abs(ahead_ms) > SKEW_MS_MAX:
            log.warning(
                "this machine's clock and the database's differ by more than nodes may: set it right",
                extra={"ahead_ms": ahead_ms},
            )

    def _take_up(self, taken: Taken) -> None:
        """Go on with what dead nodes had in hand."""
        self.registry.has_applications |= taken.application_count > 0
        for destination in taken.destinations:
            self.dispatcher.wake(destination)
        self.webhooks.wake(taken.destinations)
        if self.cluster is not None and self.cluster.desks is not None:
            self.cluster.desks.ring(taken.destinations)

    async def _tell_left(self, presence: Presence, at_ms: int) -> None:
        """Tell that a device whose node died is not connected."""
        device = await self.registry.find_device(presence.key)
        if device is not None:
            self.sessions.tell_left_online(
                device.origin, since_ms=presence.status_ms, now_ms=at_ms, ip_address=device.ip_address
            )

    async def _leave(self, cluster: Cluster) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
        await self.store.flush()
        await self.store.remove_node(self.node)
        await cluster.stop()

    async def _mark_all_offline(self) -> None:
        """Say and write down of those whom a server that died left online that they are not."""
        now_ms = int(self.clock.time_s() * 1000)
        left_online = await self.store.list_online_devices()
        if not left_online:
            return
        for device in left_online:
            self.sessions.tell_left_online(
                device.origin, since_ms=device.status_ms, now_ms=now_ms, ip_address=device.ip_address
            )
        # First what is told: a server that dies in between tells it twice rather than never.
        await self.news.settle()
        await self.store.mark_all_offline(now_ms)

    async def _seal_secrets(self) -> None:
        def tell(table: str, count: int) -> None:
            log.info("sealing secrets", extra={"table": table, "rows": count})

        try:
            is_sealed_anew = await self.store.seal_secrets(tell)
        except SealBroken as error:
            raise StartError(str(error)) from None
        if is_sealed_anew:
            log.info("all secrets are sealed under the present master key; earlier keys are not needed any longer")

    async def _prepare_key(self) -> AccessKey | None:
        """Make the account's first key where it is given and not there yet."""
        settings = self.settings
        if self._is_production:
            stored = await self.store.find_access_key(DEMO_ACCESS_KEY_ID)
            if settings.access_key_id == DEMO_ACCESS_KEY_ID or (stored is not None and stored.enabled):
                raise StartError(
                    f"the access key {DEMO_ACCESS_KEY_ID} is known to everybody: serve does not start with it. "
                    "Give --access-key-id and --access-key-secret of your own, with a data directory that `dev` has "
                    "not used."
                )
        if settings.access_key_id is None or settings.access_key_secret is None:
            if await self.store.list_accounts():
                return None
            raise StartError(
                "there is no access key yet: give --access-key-id and --access-key-secret, "
                "or make one with `linkstead account create NAME`."
            )
        key = await self.store.find_access_key(settings.access_key_id)
        if key is not None:
            if not hmac.compare_digest(key.secret.encode(), settings.access_key_secret.encode()):
                raise StartError(
                    f"--access-key-id {key.access_key_id} exists with another secret; give that one, or another id"
                )
            return key
        now_ms = int(self.clock.time_s() * 1000)
        accounts = await self.store.list_accounts()
        if accounts:
            account = accounts[0]
        else:
            account = Account(self.ids.token("123456789", ACCOUNT_ID_DIGITS), "default", now_ms)
            await self.store.add_account(account)
        key = AccessKey(settings.access_key_id, settings.access_key_secret, account.account_id, "", True, now_ms)
        await self.store.add_access_key(key)
        return key

    async def _listen(
        self,
        address: Address,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        *,
        takes_plain: bool = False,
    ) -> Address:
        try:
            return Address(*await self._ports.open(*address, make_protocol, tls, takes_plain=takes_plain))
        except OSError as error:
            raise StartError(f"cannot listen on {address}: {_reason(error)}") from None

    def _describe_place(self) -> Place:
        found = asdict(self.endpoints) if self.endpoints is not None else {}
        return Place({name: str(address) for name, address in found.items() if address is not None}, __version__)

    def _read_vitals(self) -> dict[str, int | str]:
        return {
            "state": "ready" if self._is_ready else "stopping",
            "connected": self.sessions.live_count,
            "under-way": self.journal.open_count,
            "to-write": self.store.history_waiting,
        }

    def _find_obstacles(self) -> list[str]:
        """Why apps had better call another node."""
        obstacles = [] if self._is_ready else ["starting" if self.endpoints is None else "stopping"]
        if self._is_store_away:
            obstacles.append("database-away")
        if self.cluster is not None and not self.cluster.bus.is_connected:
            obstacles.append("nats-away")
        return obstacles

    def _sample(self) -> Iterator[Sample]:
        obstacles = self._find_obstacles()
        yield "linkstead_info", (self.node, __version__, self.settings.profile), 1.0
        yield "linkstead_ready", (), float(not obstacles)
        for obstacle in obstacles:
            yield "linkstead_obstacle", (obstacle,), 1.0
        yield "linkstead_database_away", (), float(self._is_store_away)

    def _show_metrics(self) -> bytes:
        # The library takes a tenth of a second to import, and many a server is never asked.
        from linkstead.http.exposition import encode_metrics  # noqa: PLC0415

        return encode_metrics(collect(self._samplers))

    def find_mqtt(self) -> Address:
        """Where a device on this machine connects, once the server has started."""
        assert self.endpoints is not None
        return reachable(self.endpoints.mqtt)

    def _make_post(self) -> Post:
        # The HTTP client takes a tenth of a second to import, and most servers have no webhook.
        from linkstead.webhook.post import HttpPost  # noqa: PLC0415

        return HttpPost(self.clock)

    def _every(self, period_s: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(period_s, work)))

    async def _repeat(self, period_s: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await self.clock.sleep(period_s)
            try:
                await work()
            except Exception:
                # Work in the background has no caller to tell: the log is told, and the next round tries again.
                log.exception("background work failed")

    async def _read_version(self) -> int:
        """That of the registry. Raises StoreAway where it is not there in time: it is waited for again next time."""
        if self._look is None:
            self._look = asyncio.create_task(self.store.registry_version())
            # Whether anybody still waits for it or not.
            self._look.add_done_callback(lambda look: look.cancelled() or look.exception())
        waiting = asyncio.create_task(self.clock.sleep(LOOK_WAIT_S))
        try:
            await asyncio.wait((self._look, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._look.done():
            raise StoreAway(f"the database has said nothing for {LOOK_WAIT_S} s")
        look, self._look = self._look, None
        return look.result()

    async def _look_for_changes(self) -> None:
        try:
            version = await self._read_version()
        except Exception as error:
            # What is at hand is all there is; it is told once.
            self.registry.keep_records(KEPT_WITHOUT_STORE_S)
            self.consumers.expire()
            if not self._is_store_away:
                self._is_store_away = True
                log.warning("the database does not answer", exc_info=error)
            return
        if self._is_store_away or not self.store.has_claim:
            await self._claim_again()
        if self._is_store_away:
            self._is_store_away = False
            log.warning("the database answers again")
        if version != self._registry_version:
            try:
                await self.store.check_master_keys()
            except UnknownMasterKey as error:
                log.error("%s, and start this server anew", error)
            self.registry.forget_all()
            self.models.forget_all()
            self.scripts.shelf.forget_all()
            # The forwarder asks for what is at hand then.
            await self.webhooks.reload()
            self.forwarder.forget_all()
            self.dispatcher.wake_all()
            await self.consumers.review()
            if self.cluster is not None and not self.cluster.bus.is_connected:
                self.cluster.review_all()
            self._registry_version = version
        self.consumers.expire()

    async def _look_at_certificate(self) -> None:
        if self._certificate is not None:
            self._certificate.look()

    async def _keep_house(self) -> None:
        self.sessions.expire(self.clock.monotonic_s())
        if self.cluster is not None:
            await self._compare_clocks()
            self.cluster.review_all()
        if self.cluster is None or await self.cluster.heirs.is_for_us(HOUSEKEEPING):
            await self.delivery.expire()
            await self.store.prune(int(self.clock.time_s() * 1000))


def _reason(error: OSError) -> str:
    # asyncio wraps the system's words for a taken port in its own; those for an unknown host have no number there.
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror or str(error)


def database_path(settings: Settings) -> Path:
    """The SQLite file of these settings; its folder is made where it is missing.

    Raises:
        StartError: the folder cannot be made, or `--database` names something else.
    """
    if settings.database is not None:
        if not settings.database.startswith(SQLITE_HEAD):
            raise StartError(DATABASE_RULE)
        return Path(settings.database.removeprefix(SQLITE_HEAD))
    folder = Path(settings.data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"--data {folder}: {error.strerror}") from None
    return folder / DATABASE_FILE


def make_store(settings: Settings, clock: Clock) -> SqlStore:
    """The store of these settings, to be opened.

    Raises:
        StartError: see `database_path` and `make_vault`; or what PostgreSQL needs is not installed.
    """
    if settings.database is None or not is_postgres(settings.database):
        return SqliteStore(database_path(settings), clock, make_vault(settings))
    missing = [name for name in ("asyncpg", "greenlet") if find_spec(name) is None]
    if missing:
        raise StartError(f"--database postgresql:// needs {' and '.join(missing)}: pip install 'linkstead[cluster]'")
    # What only clusters have installed.
    from linkstead.store.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore(settings.database, clock, make_vault(settings))


async def claim_file(settings: Settings, clock: Clock) -> FileClaim | None:
    """Claim the database file for servers in processes that inherit it; None for PostgreSQL: each claims that itself.

    Raises:
        StartError: another server uses it, or the file cannot be made.
    """
    if is_postgres(settings.database):
        return None
    claim = FileClaim(database_path(settings), clock)
    try:
        is_taken = await claim.take(is_alone=settings.nats is None)
    except OSError as error:
        raise StartError(f"the database cannot be used: {_reason(error)}") from None
    if not is_taken:
        raise StartError(describe_rival(settings, claim.rival_pid))
    return claim


RIVAL: dict[Language, tuple[str, str]] = {
    "en": ("the database {path} is used by another server{process}: stop that one first", ", process {pid}"),
    "zh": ("数据库 {path} 正由另一个服务器{process}使用：请先停止它", "（进程 {pid}）"),
}


def describe_rival(settings: Settings, pid: int | None) -> str:
    """What to do about a server that uses the database file."""
    text, process = RIVAL[settings.language]
    return text.format(path=database_path(settings), process="" if pid is None else process.format(pid=pid))


def make_vault(settings: Settings) -> Vault | None:
    """What secrets are sealed with; None without a master key.

    Raises:
        StartError: the file cannot be read, or has no key in it.
    """
    if settings.master_key_file is None:
        return None
    # The library takes a while to import, and most servers have no master key.
    from linkstead.store.vault import MasterKeyFileError, read_vault  # noqa: PLC0415

    try:
        return read_vault(Path(settings.master_key_file))
    except MasterKeyFileError as error:
        raise StartError(str(error)) from None


def make_certificate_pair(settings: Settings, clock: Clock, find_psk: FindPsk) -> CertificatePair | None:
    """What TLS is spoken with; None without a certificate.

    Raises:
        StartError: half of the pair is missing, a file cannot be used, a TLS port has no certificate, or this Python
            has no pre-shared keys.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        if settings.https is not None or settings.mqtts is not None or settings.amqps is not None:
            raise StartError("--https, --mqtts and --amqps need --tls-cert and --tls-key")
        if settings.device_ca is not None:
            raise StartError("--device-ca needs --tls-cert and --tls-key")
        if settings.tls_psk:
            raise StartError("--tls-psk needs --tls-cert and --tls-key")
        return None
    if cert is None or key is None:
        raise StartError("--tls-cert and --tls-key are given together")
    if settings.tls_psk and is_postgres(settings.database):
        raise StartError("--tls-psk needs the database in a file: no handshake can wait for PostgreSQL")
    if settings.tls_psk and not has_psk():
        raise StartError(f"--tls-psk needs Python 3.13 or later; this is {platform.python_version()}")
    try:
        device_ca = Path(settings.device_ca) if settings.device_ca is not None else None
        return CertificatePair(
            Path(cert),
            Path(key),
            settings.tls_min_version,
            clock,
            device_ca,
            find_psk if settings.tls_psk else None,
        )
    except CertificateUnusable as error:
        raise StartError(str(error)) from None


def write_ready_file(path: Path, endpoints: Endpoints, access_key_id: str | None) -> None:
    """Say where everything listens, atomically, as JSON. Source: `architecture.md` 6.

    Raises:
        StartError: the file cannot be written.
    """
    ready = {
        "pid": os.getpid(),
        "http": str(endpoints.http),
        "https": str(endpoints.https) if endpoints.https else None,
        "mqtt": str(endpoints.mqtt),
        "mqtts": str(endpoints.mqtts) if endpoints.mqtts else None,
        "amqp": str(endpoints.amqp) if endpoints.amqp else None,
        "amqps": str(endpoints.amqps) if endpoints.amqps else None,
        "metrics": str(endpoints.metrics) if endpoints.metrics else None,
        "access_key_id": access_key_id,
        "version": __version__,
    }
    draft = path.with_name(path.name + ".new")
    try:
        draft.write_bytes(msgspec.json.encode(ready))
        draft.replace(path)
    except OSError as error:
        raise StartError(f"--ready-file {path}: {error.strerror}") from None

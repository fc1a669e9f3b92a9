"""Apps, devices, consumers, the network and the server's death, all on one thread and all drawn from one seed."""

import asyncio
import base64
import json
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

from linkstead.alink import topics
from linkstead.api import signatures
from linkstead.api.exchange import HttpRequest
from linkstead.models.store import ThingModelVersion
from linkstead.registry import AccessKey, DeviceKey
from linkstead.sessions import Link
from linkstead.subscription import NoticeKind, SubscribeRelation, destination_of
from linkstead.subscription.webhooks import Webhook
from linkstead.tsl import ThingModel
from linkstead.tsl.writing import write_model
from linkstead.webhook.schedule import JITTER, WAIT_S_MAX
from tests.actions.world import CountedIds
from tests.rig import ACCOUNT_ID, KEY, OTHER_ACCOUNT_ID, OTHER_PRODUCT_KEY, PRODUCT_KEY, ErrorWatch, a_device, a_product
from tests.simulation.consumer import SimulatedConsumer, SimulatedReceivers
from tests.simulation.device import SimulatedDevice
from tests.simulation.disk import Disk
from tests.simulation.gateway import SimulatedGateway, SimulatedSubDevice
from tests.simulation.letters import LetterRules
from tests.simulation.loop import SimulatedLoop, SteppedClock
from tests.simulation.node import RUNNING, Node, make_task
from tests.simulation.rules import AppCall, Rules, Violation
from tests.simulation.wire import Wire
from tests.tsl.documents import document, read_module, service
from tests.webhook.receiver import SECRET

STEPS = 60
STEP_S_MEAN = 0.6
RETURN_S = 20.0
AWAY_S = 8 * 24 * 3600.0
"""Longer than a message waits."""

SERVICE_TIMEOUT_MS = 5_000
TOLD_MAX = 40
"""Last events shown with a violation."""

LAMPS = tuple(DeviceKey(PRODUCT_KEY, f"lamp-0{number}") for number in (1, 2, 3))
STRANGER = DeviceKey(OTHER_PRODUCT_KEY, "lamp-01")
"""A device of another account: it is never called, and answers all the same."""

GATEWAY_PRODUCT_KEY = "a1Gate00001"
GATEWAY = DeviceKey(GATEWAY_PRODUCT_KEY, "gate-01")
PROBES = tuple(DeviceKey(PRODUCT_KEY, f"probe-0{number}") for number in (1, 2))
"""Devices behind the gateway."""

SPARE_KEY = AccessKey("spare-key", "spare-secret", ACCOUNT_ID, "", True, 0)
"""The key of an app that is disabled at times."""

GROUP_IDS = ("group-1", "group-2")
CONSUMERS = (("consumer-1", "group-1"), ("consumer-2", "group-1"), ("consumer-3", "group-2"))
WEBHOOK_KINDS = {
    "wh_1": frozenset({NoticeKind.DEVICE_DATA, NoticeKind.STATUS_CHANGE}),
    "wh_2": frozenset({NoticeKind.DEVICE_DATA}),
}

COMMON = (
    "Version=2018-01-20",
    "Format=JSON",
    "SignatureMethod=HMAC-SHA1",
    "SignatureVersion=1.0",
)
"""What every request of an app has."""

CALL_WEIGHTS = (8, 5, 6, 5)
"""How often each kind of call is made."""

TOGETHER = (1, 1, 2, 4)
"""How many things happen at once."""

NOT_AUTHORIZED = 5
"""The return code with which a device is sent away that is disabled."""

UNAVAILABLE = 3
"""The return code with which a device is sent away that cannot be looked up."""

SETTLED_S = 100.0
"""Until what consumers had not settled is delivered once more."""

RETRIED_S = 900.0
"""Until webhooks have been tried again that failed up to five times meanwhile."""

SELDOM_RETRIED_S = WAIT_S_MAX * (1 + JITTER)
"""Until they have been tried again, however often they failed."""

DEAD_S = 48 * 3600.0
"""Until what a webhook never took is given up."""

DOWN_ONE_IN = 20
"""Of so many simulations, one has a webhook that never comes back."""


class Simulation:
    """One run.

    Args:
        seed: all that happens follows from it.
        crowd: so many times as many calls are made in the same time.
    """

    def __init__(self, seed: int, crowd: int = 1) -> None:
        self.crowd = crowd
        self.chance = random.Random(seed)
        self.clock = SteppedClock()
        self.loop = SimulatedLoop(self.clock)
        self._ids = CountedIds()
        self._disk = make_disk()
        self._nodes: list[Node] = []
        self._number = 0
        self._told: deque[str] = deque(maxlen=TOLD_MAX)
        gateway = SimulatedGateway(GATEWAY, self)
        self._devices = {key: SimulatedDevice(key, self) for key in (*LAMPS, STRANGER)}
        self._devices[GATEWAY] = gateway
        self._devices |= {key: SimulatedSubDevice(key, self, gateway) for key in PROBES}
        self._rules = Rules(self._disk, self.clock, self._devices, lambda: self._nodes)
        self._consumers = [
            SimulatedConsumer(client_id, destination_of(ACCOUNT_ID, group_id), self)
            for client_id, group_id in CONSUMERS
        ]
        self._switched: set[DeviceKey | str] = set()
        self._receivers = SimulatedReceivers(self)
        # What many calls leave for a receiver that is down is given up after weeks: it is tried once a minute.
        if self.chance.randrange(DOWN_ONE_IN) == 0 and crowd == 1:
            self._receivers.down.add(self._disk.webhooks["wh_1"].destination)
        self._errors = ErrorWatch()
        self._calls = (self._call_rrpc, self._call_service, self._post_service, self._publish)

    @property
    def story(self) -> list[str]:
        """What happened last, up to `TOLD_MAX` events."""
        return list(self._told)

    @property
    def call_count(self) -> int:
        """Calls that apps have made."""
        return len(self._rules.calls)

    def count_verdicts(self) -> Counter[str]:
        """How calls ended, as it is written down; those that their server's death cut off, and those still open."""
        verdicts: Counter[str] = Counter()
        for app_call in self._rules.calls:
            call = app_call.call
            verdict = self._disk.calls.get(call.request_id, call).verdict if call is not None else None
            verdicts["server killed" if call is None else "open" if verdict is None else verdict.value] += 1
        return verdicts

    # what devices and consumers act in

    @property
    def watcher(self) -> LetterRules:
        """See `consumer.Surroundings`."""
        return self._rules.letters

    def note_refused(self, device: SimulatedDevice, reason_code: int) -> None:
        """See `Surroundings`."""
        if reason_code == NOT_AUTHORIZED and device.key in self._switched:
            return
        assert reason_code == UNAVAILABLE
        is_stopping = any(node.gateway.is_draining for node in self._nodes)
        assert is_stopping or self._disk.troubled_s > self.clock.monotonic_s() - 1.0, device.key

    def note_login_refused(self, device: SimulatedDevice, text: str) -> None:
        """See `Surroundings`. One server has no reason."""
        raise AssertionError(f"{device.key} is not logged in: {text}")

    def note_acknowledged(self, key: DeviceKey, payload: bytes) -> None:
        """See `Surroundings`."""
        self._rules.letters.check_acknowledged(key, payload)

    def note_told(self, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes) -> None:
        """See `UplinkWatcher`."""
        self._rules.letters.note_told(key, kind, topic, payload)

    def open_wire(self, device: SimulatedDevice) -> Wire | None:
        """See `Surroundings`."""
        node = self._choose_node()
        if node is None:
            return None
        delay_s = self.chance.choice([0.0, 0.001, 0.02, 0.2])
        with node.clock.running():
            return Wire(node.gateway.make_protocol(), device, self._rules, node.clock, delay_s)

    def next_number(self) -> int:
        """See `Surroundings`."""
        self._number += 1
        return self._number

    def neighbour(self, device: SimulatedDevice) -> SimulatedDevice:
        """See `Surroundings`."""
        return self.chance.choice([other for other in self._devices.values() if other is not device])

    def tell(self, text: str) -> None:
        """See `Surroundings`."""
        self._told.append(f"{self.clock.monotonic_s():.3f} {text}")

    def receive(self, node: Node, link: Link, topic: str, payload: bytes, take: Callable[[], bool]) -> bool:
        """See `UplinkWatcher`."""
        self.tell(f"{link.key.device_name} publishes {topic}: {payload.decode()}")
        key = self._find_sender(node, link, topic)
        return self._rules.judge(node, key, topic, payload, take)

    @staticmethod
    def _find_sender(node: Node, link: Link, topic: str) -> DeviceKey:
        """Whose answer it is: that of a device behind the gateway, if it is logged in on this very connection."""
        answer = topics.parse_rrpc_answer(topic)
        key = topics.find_owner(topic)
        if answer is not None and answer.key is None:
            call = node.journal.find_by_message_id(answer.message_id)
            key = call.key if call is not None else None
        session = node.sessions.find(link.key)
        is_carried = session is not None and session.link is link and key in session.carried
        return key if key is not None and is_carried else link.key

    # the run

    async def run(self) -> None:
        """Live through it. Raises Violation, with what happened last in its notes."""
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_exception)
        asyncio.get_running_loop().set_task_factory(make_task)
        logging.getLogger("linkstead").addHandler(self._errors)
        try:
            await self._begin()
            for device in self._devices.values():
                self._connect(device)
            for _ in range(STEPS):
                await self._turn(self.chance.expovariate(1 / STEP_S_MEAN))
                await self._act()
            await self._return()
            await self._outlive()
        except Violation as violation:
            for text in self._told:
                violation.add_note(text)
            raise
        finally:
            logging.getLogger("linkstead").removeHandler(self._errors)
            for node in list(self._nodes):
                await self._kill_node(node)

    def _handle_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        process = context["context"].get(RUNNING) if "context" in context else None
        # What waits for a task that is broken off with its process is broken off too.
        if process is None or not process.is_dead or not isinstance(context["exception"], asyncio.CancelledError):
            self._errors.handle_loop_exception(loop, context)

    async def _begin(self) -> None:
        await self._start_node()

    def _choose_node(self) -> Node | None:
        """The node that somebody turns to."""
        return self._nodes[0] if self._nodes and self._nodes[0].is_open else None

    async def _turn(self, seconds: float) -> None:
        """Let time pass, each moment of it settled before the next."""
        await self.loop.pass_time(seconds)
        if self._errors.errors:
            self._rules.report(1, self._errors.errors[0])
        self._note_troubles()
        self._rules.check()

    def _note_troubles(self) -> None:
        """Have the rules know what does not work now. Here all does."""

    async def _act(self) -> None:
        for device in self._devices.values():
            if device.wire is None and self.chance.random() < 0.25:
                self._connect(device)
        for consumer in self._consumers:
            self._come_or_go(consumer)
        self._act_as_devices_and_apps()
        await self._act_on_servers()

    def _act_as_devices_and_apps(self) -> None:
        self.chance.choice([self._devices[key] for key in (*LAMPS, STRANGER)]).report()
        device = self.chance.choice([self._devices[key] for key in (*LAMPS, *PROBES)])
        weights = {
            **dict(zip(self._calls, CALL_WEIGHTS, strict=True)),
            self._connect: 1,
            self._cut: 1,
            self._vanish: 1,
            self._disconnect: 1,
            self._stall: 3,
        }
        for act in self.chance.choices(list(weights), list(weights.values()), k=self.chance.choice(TOGETHER)):
            act(device)
        for _ in range(self.crowd - 1):
            self.clock.call_later(self.chance.uniform(0.0, STEP_S_MEAN), self._call_often)

    def _call_often(self) -> None:
        """Some calls to one device at once."""
        device = self.chance.choice([self._devices[key] for key in (*LAMPS, *PROBES)])
        for make in self.chance.choices(self._calls, CALL_WEIGHTS, k=self.chance.choice(TOGETHER)):
            make(device)

    async def _act_on_servers(self) -> None:
        if not self._nodes:
            if self.chance.random() < 0.5:
                await self._start_node()
                if self.chance.random() < 0.2:
                    await self._kill_soon()
        elif self.chance.random() < 0.04:
            await self._kill_soon()
        if self._nodes:
            await self._oversee(self._nodes[0])

    async def _kill_soon(self) -> None:
        """Kill the server in the middle of what it does."""
        await self._turn(self.chance.choice([0.0, 0.005, 0.02, 0.05, 0.1]))
        for node in list(self._nodes):
            await self._kill_node(node)

    async def _return(self) -> None:
        """The server stays, and every device and every consumer is back for good."""
        if not self._nodes:
            await self._start_node()
        self._receivers.is_good = True
        for consumer in self._consumers:
            consumer.detach()
            consumer.is_good = True
            self._attach(consumer)
        for device in self._devices.values():
            device.is_good = True
            device.disconnect()
        await self._turn(1.0)
        for device in self._devices.values():
            device.connect(is_clean=False, ext=1)
        await self._turn(RETURN_S)
        for app_call in self._rules.calls:
            self._rules.check_return(app_call)
        self._rules.check_left()
        self._rules.check_all()

    async def _outlive(self) -> None:
        """Nobody is there for longer than anything is kept."""
        [node] = self._nodes
        for device in self._devices.values():
            device.disconnect()
        await self._turn(SETTLED_S)
        self._rules.letters.check_left(of_webhooks=False)
        # The last that were to be disabled are by now.
        await self._enable_webhooks(node)
        await self._turn(DEAD_S if self._receivers.down else RETRIED_S)
        if self._rules.letters.are_left(of_webhooks=True):
            await self._turn(SELDOM_RETRIED_S)
        self._rules.letters.check_left(of_webhooks=True)
        # While they are enabled, the backlog is looked at every half minute.
        for webhook_id in self._disk.webhooks:
            await self._wait_for(node.store.set_webhook_enabled(webhook_id, False))
        await self._wait_for(node.look_for_changes(), node)
        await self._turn(AWAY_S)
        await self._wait_for(node.keep_house(), node)
        await self._turn(RETURN_S)
        for app_call in self._rules.calls:
            self._rules.check_end(app_call)
        self._rules.check_all()

    # the server

    async def _start_node(self) -> None:
        self.tell("server starts")
        node = Node(self._disk, self.clock, self._ids, self.chance, self, lambda: self._receivers, SERVICE_TIMEOUT_MS)
        self._nodes.append(node)
        await self._wait_for(node.start(), node)

    async def _kill_node(self, node: Node) -> None:
        self.tell(f"{node.name} is killed")
        self._nodes.remove(node)
        await node.kill()
        self._rules.lose_calls(node)
        for device in self._devices.values():
            device.lose_all(node.clock)
        for consumer in self._consumers:
            consumer.lose(node)

    async def _wait_for(self, work: Coroutine[None, None, object], node: Node | None = None) -> None:
        """Let as much time pass as something takes that a node does, or nobody."""
        with node.clock.running() if node is not None else nullcontext():
            await self.loop.finish(work)

    # what operators and consumers do

    async def _oversee(self, node: Node) -> None:
        """See to changes; enable webhooks again that said that they are gone."""
        if self.chance.random() < 0.1:
            await self._enable_webhooks(node)
        await self._wait_for(node.look_for_changes(), node)

    async def _enable_webhooks(self, node: Node) -> None:
        for webhook in list(self._disk.webhooks.values()):
            if not webhook.enabled:
                await self._wait_for(node.store.set_webhook_enabled(webhook.webhook_id, True))
        await self._wait_for(node.look_for_changes(), node)

    def _come_or_go(self, consumer: SimulatedConsumer) -> None:
        if self._nodes and not consumer.is_attached and self.chance.random() < 0.3:
            self._attach(consumer)
        elif self.chance.random() < 0.05:
            consumer.detach()

    def _attach(self, consumer: SimulatedConsumer) -> None:
        node = self._choose_node()
        assert node is not None
        consumer.attach(node)

    # what devices and the network do

    def _connect(self, device: SimulatedDevice) -> None:
        device.connect(is_clean=self.chance.random() < 0.3, ext=self.chance.choice([0, 1]))

    def _cut(self, device: SimulatedDevice) -> None:
        self.tell(f"{device.key.device_name} is cut off")
        device.cut()

    def _vanish(self, device: SimulatedDevice) -> None:
        self.tell(f"{device.key.device_name} vanishes")
        device.vanish()

    def _disconnect(self, device: SimulatedDevice) -> None:
        self.tell(f"{device.key.device_name} leaves")
        device.disconnect()

    def _stall(self, device: SimulatedDevice) -> None:
        if device.wire is not None:
            self.tell(f"{device.key.device_name} does not read")
            device.wire.stall()
            self.clock.call_later(self.chance.choice([0.1, 1.0, 6.0]), device.wire.flow)

    # what apps do

    def _call_rrpc(self, device: SimulatedDevice) -> None:
        parameters = {
            "RequestBase64Byte": base64.b64encode(b"ping %d" % self.next_number()).decode(),
            "Timeout": str(self.chance.choice([1000, 2000, 8000])),
        }
        if self.chance.random() < 0.3:
            parameters["Topic"] = "/ask"
        self._call("RRpc", device, 0, int(parameters["Timeout"]), parameters)

    def _call_service(self, device: SimulatedDevice) -> None:
        self._call("InvokeThingService", device, 0, SERVICE_TIMEOUT_MS, {"Identifier": "Run", "Args": "{}"})

    def _post_service(self, device: SimulatedDevice) -> None:
        qos = self.chance.choice([0, 1, 1])
        parameters = {"Identifier": "Start", "Args": "{}", "Qos": str(qos)}
        self._call("InvokeThingService", device, qos, 0, parameters)

    def _publish(self, device: SimulatedDevice) -> None:
        content = base64.b64encode(b"news %d" % self.next_number()).decode()
        qos = self.chance.choice([0, 1, 1])
        parameters = {"TopicFullName": device.custom_topic, "MessageContent": content, "Qos": str(qos)}
        self._call("Pub", device, qos, 0, parameters)

    def _call(
        self, action: str, device: SimulatedDevice, qos: int, timeout_ms: int, parameters: dict[str, str]
    ) -> None:
        node = self._choose_node()
        if node is None:
            return
        app_call = AppCall(action, device.key, qos, self.clock.monotonic_s(), timeout_ms, kills=self._rules.kills)
        app_call.node = node.name
        app_call.wire = device.wire
        app_call.is_gone = self.chance.random() < 0.1
        self._rules.add(app_call)
        own = {"Action": action, "ProductKey": device.key.product_key}
        if action != "Pub":
            own["DeviceName"] = device.key.device_name
        query = sign({**own, **parameters}, f"nonce-{self.next_number()}", int(self.clock.time_s()))
        self.tell(f"{action} qos {qos} to {device.key.device_name}")
        with node.clock.running():
            asyncio.get_running_loop().create_task(self._wait_for_answer(node, app_call, query))
        self._note_query(node, query)

    def _note_query(self, node: Node, query: str) -> None:
        """A signed request was made."""

    async def _wait_for_answer(self, node: Node, app_call: AppCall, query: str) -> None:
        time_s, monotonic_s = node.clock.time_s(), self.clock.monotonic_s()
        request = HttpRequest("GET", "/", query.encode(), {}, b"", time_s, monotonic_s)
        node.answering_count += 1
        reply = await node.openapi.answer(request)
        node.answering_count -= 1
        if reply.call is None:
            # Not even the app's key could be read.
            assert self._disk.troubled_s > monotonic_s, reply.body
            app_call.is_lost = True
            return
        app_call.answer = json.loads(reply.body)
        app_call.call = reply.call
        app_call.was_kept = app_call.key in self._disk.sessions
        self._rules.check_reached(app_call, node)
        self._rules.check_enabled(app_call)
        node.openapi.finish(reply.call, delivered=not app_call.is_gone)


@lru_cache(1_024)
def _escape(text: str) -> str:
    return signatures.percent_encode(text)


@lru_cache(1_024)
def _format_time(time_s: int) -> str:
    return _escape(signatures.format_timestamp(time_s))


def sign(parameters: dict[str, str], nonce: str, time_s: int, key: AccessKey = KEY) -> str:
    """A query as `signatures.signed_query_v1` makes it; most of what is in it is there thousands of times."""
    pairs = [f"{name}={_escape(value)}" for name, value in parameters.items()]
    pairs += (
        *COMMON,
        f"AccessKeyId={key.access_key_id}",
        f"SignatureNonce={nonce}",
        f"Timestamp={_format_time(time_s)}",
    )
    pairs.sort()
    query = "&".join(pairs)
    escaped = query.replace("%", "%25").replace("=", "%3D").replace("&", "%26")
    signature = signatures.signing_key(key.secret).sign_v1(f"GET&%2F&{escaped}".encode()).decode()
    return f"{query}&Signature={signature.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}"


def make_disk() -> Disk:
    """The records that everything begins with."""
    disk = Disk()
    for key_pair in (KEY, SPARE_KEY):
        disk.access_keys[key_pair.access_key_id] = key_pair
    for product_key, account_id in ((PRODUCT_KEY, ACCOUNT_ID), (OTHER_PRODUCT_KEY, OTHER_ACCOUNT_ID)):
        disk.products[product_key] = a_product(product_key, account_id)
    disk.products[GATEWAY_PRODUCT_KEY] = replace(a_product(GATEWAY_PRODUCT_KEY), node_type=1)
    for key in (*LAMPS, GATEWAY, *PROBES):
        disk.devices[key] = a_device(key)
    disk.topology = dict.fromkeys(PROBES, GATEWAY)
    disk.devices[STRANGER] = a_device(STRANGER, OTHER_ACCOUNT_ID)
    module = read_module(document(services=[service("Run"), service("Start", callType="async")]))
    model = write_model(ThingModel(PRODUCT_KEY, (module,)))
    disk.models[PRODUCT_KEY] = ThingModelVersion(PRODUCT_KEY, "1", "", 1, model)
    data, status = NoticeKind.DEVICE_DATA, NoticeKind.STATUS_CHANGE
    for product_key, kinds in ((PRODUCT_KEY, {data, status}), (GATEWAY_PRODUCT_KEY, {data})):
        disk.relations[product_key] = SubscribeRelation(product_key, "AMQP", frozenset(kinds), GROUP_IDS)
    for webhook_id, webhook_kinds in WEBHOOK_KINDS.items():
        url = f"webhook/{webhook_id}"
        disk.webhooks[webhook_id] = Webhook(
            webhook_id, ACCOUNT_ID, PRODUCT_KEY, url, SECRET, webhook_kinds, enabled=True, created_ms=0
        )
    return disk


def run_simulation(simulation: Simulation) -> Simulation:
    """Run one from its beginning to its end. Raises Violation."""
    with asyncio.Runner(loop_factory=lambda: simulation.loop) as runner:
        runner.run(simulation.run())
    return simulation


def simulate(seed: int, crowd: int = 1) -> list[str]:
    """Run one simulation; returns what happened last. Raises Violation."""
    return run_simulation(Simulation(seed, crowd)).story

"""An uplink with a real store, registry, model shelf, router and session table behind it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from linkstead.alink.topics import ext_rrpc, rrpc_request, rrpc_response
from linkstead.clock import milliseconds
from linkstead.invocation import Call, CallJournal, Delivery, LocalRouter, Message, Outcome
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf
from linkstead.registry import Account, Device, DeviceKey, Product, Registry, TopicOperation
from linkstead.scripts.host import ScriptHost
from linkstead.sessions import SessionTable
from linkstead.store import SqliteStore
from linkstead.telemetry import EventRecord, PropertyPoint, Span, TelemetryStore
from linkstead.testing.clock import ManualClock
from linkstead.tsl import read_model
from linkstead.uplink import News, Uplink
from tests.fakes import (
    ACCOUNT_ID,
    KEY,
    NOW_MS,
    OTHER_ACCOUNT_ID,
    OTHER_KEY,
    FakeLink,
    FakeNoticeSink,
    ListedIds,
    make_device,
    make_product,
)

STRICT_KEY = DeviceKey("a1Strict001", "lamp-01")
FREE_KEY = DeviceKey("a1Free00001", "lamp-01")
BARE_KEY = DeviceKey("a1Bare00001", "lamp-01")
MODULES_KEY = DeviceKey("a1ModFbDemo", "dev-1")
FOREIGN_KEY = DeviceKey("a1Probe0001", "probe-7")
"""Devices of products: as KEY, but strict; but verification-free; without a published model; with modules; of another
account."""

GOLDEN = Path(__file__).parents[1] / "golden" / "tsl"
EXAMPLES: list[dict[str, Any]] = json.loads((GOLDEN / "example-payloads.json").read_text(encoding="utf-8"))
TIMEOUT_MS = 5_000
EVERYTHING = Span(0, 10**15, ascending=True, limit=100_000)


def read_golden(name: str) -> str:
    """One of the sample documents."""
    return (GOLDEN / name).read_text(encoding="utf-8")


async def fill(path: Path) -> None:
    """Make a database with the products and devices named above, and what was published of their models."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    for account_id in (ACCOUNT_ID, OTHER_ACCOUNT_ID):
        await store.add_account(Account(account_id, f"account {account_id}", NOW_MS))
    levels = {KEY: 1, STRICT_KEY: 0, FREE_KEY: 2, BARE_KEY: 1, MODULES_KEY: 1}
    for key, level in levels.items():
        await store.add_product(_product(key, validate_type=level))
    await store.add_product(_product(FOREIGN_KEY, account_id=OTHER_ACCOUNT_ID))
    update, *_ = await store.list_topics(KEY.product_key)
    await store.update_topic(replace(update, operation=TopicOperation.ALL))
    devices = [make_device(key) for key in (*levels, OTHER_KEY)]
    await store.add_devices([_named_apart(device) for device in devices])
    await store.add_devices([make_device(FOREIGN_KEY, account_id=OTHER_ACCOUNT_ID)])
    models = ModelShelf(store)
    lamp = read_model(f"[{read_golden('lamp.tsl.json')}]")
    for key in (KEY, STRICT_KEY, FREE_KEY):
        await models.publish(replace(lamp, product_key=key.product_key), "1", "", NOW_MS)
    documents = ",".join(read_golden(f"multi-module.{name}.tsl.json") for name in ("default", "testFb"))
    await models.publish(read_model(f"[{documents}]"), "1", "", NOW_MS)
    await store.close()


def _product(key: DeviceKey, **fields: Any) -> Product:
    return make_product(key.product_key, product_name=key.product_key, **fields)


def _named_apart(device: Device) -> Device:
    return msgspec.structs.replace(device, iot_id=f"{device.product_key}{device.iot_id}")


class Bench:
    """What a test acts on, and the short ways to act."""

    def __init__(self, store: SqliteStore, clock: ManualClock, telemetry: TelemetryStore | None = None) -> None:
        self.clock = clock
        self.store = store
        self.ids = ListedIds()
        self.registry = Registry(store, clock.monotonic_s)
        self.models = ModelShelf(store)
        self.sessions = SessionTable(self.registry)
        self.journal = CallJournal(store)
        self.router = LocalRouter(self.sessions, self.journal, clock)
        self.delivery = Delivery(self.sessions, self.journal, store, clock)
        self.sink = FakeNoticeSink()
        self.news = News(self.sink, self.registry, self.models, clock)
        self.delivery.observe(self.news)
        self.uplink = Uplink(
            self.router,
            self.sessions,
            clock,
            delivery=self.delivery,
            registry=self.registry,
            models=self.models,
            scripts=ScriptRunner(ScriptShelf(store), ScriptHost(clock)),
            telemetry=telemetry or store,
            news=self.news,
            ids=self.ids,
        )
        self.link = self.connect()
        self.tasks: list[asyncio.Task[Outcome]] = []

    @property
    def now_ms(self) -> int:
        return milliseconds(self.clock.time_s())

    def connect(self, key: DeviceKey = KEY, account_id: str = ACCOUNT_ID) -> FakeLink:
        link = FakeLink(key, account_id, ext=1)
        self.sessions.attach(
            link,
            clean_start=True,
            kept_s=0.0,
            keep_alive_s=60,
            now_s=self.clock.monotonic_s(),
            now_ms=self.now_ms,
            ip_address="",
        )
        return link

    def subscribe(self, name: str, qos: int = 0) -> None:
        session = self.sessions.find(KEY)
        assert session is not None
        session.subscribe(name, qos, 0)

    async def warm(self, *keys: DeviceKey) -> None:
        """Have the rules of these devices' products at hand."""
        for key in keys or (KEY,):
            await self.registry.find_product(key.product_key)
            await self.models.find_checker(key.product_key)

    async def call_device(self, topic: str = "") -> Call:
        """Begin a call to the device; without a topic it is answered on the system topic."""
        call = Call(self.ids.request_id(), "node-1", "RRpc", ACCOUNT_ID)
        call.key, call.timeout_ms, call.message_id = KEY, TIMEOUT_MS, self.ids.message_id()
        self.journal.open(call)
        if topic:
            message = Message(ext_rrpc(call.message_id, topic), ext_rrpc(call.message_id, topic), b"")
        else:
            message = Message(rrpc_request(KEY, call.message_id), rrpc_response(KEY, call.message_id), b"")
        work = self.router.call(call, message, activated=True, enabled=True)
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        await asyncio.sleep(0)
        self.link.sent.clear()
        return call

    def publish(self, topic: str, payload: bytes = b"", qos: int = 0, link: FakeLink | None = None) -> bool:
        return self.uplink.receive(link or self.link, topic, payload, qos)

    async def ask(self, path: str, params: Any = None, key: DeviceKey = KEY, **members: Any) -> dict[str, Any]:
        """Send a request and return the one reply, on the right topic and with every member."""
        link = self.link if key == KEY else self.connect(key)
        link.sent.clear()
        request = {"id": "1", "version": "1.0", "params": params, **members}
        topic = f"/sys/{key.product_key}/{key.device_name}/{path}"
        assert self.publish(topic, json.dumps(request).encode(), link=link)
        await self.uplink.drain()
        ((reply_topic, payload),) = link.messages
        assert reply_topic == f"{topic}_reply"
        reply = json.loads(payload)
        assert reply.keys() == {"id", "code", "data", "message", "method", "version"}
        assert (reply["id"], reply["method"], reply["version"]) == (request["id"], path.replace("/", "."), "1.0")
        assert isinstance(reply["message"], str)
        assert reply["message"]
        assert isinstance(reply, dict)
        return reply

    async def code_of(self, path: str, params: Any = None, key: DeviceKey = KEY) -> int:
        """The code a request is answered with; with any other than 200 there are no data."""
        reply = await self.ask(path, params, key)
        assert reply["code"] == 200 or reply["data"] == {}
        code = reply["code"]
        assert isinstance(code, int)
        return code

    async def values(self, key: DeviceKey = KEY) -> dict[str, list[tuple[str, int]]]:
        """What is kept of a device's properties: JSON texts and times, the oldest first."""
        present = await self.store.list_present_properties(key)
        return {
            point.identifier: [
                (kept.value, kept.time_ms)
                for kept in await self.store.list_properties(key, point.identifier, EVERYTHING)
            ]
            for point in present
        }

    async def present(self, key: DeviceKey = KEY) -> dict[str, PropertyPoint]:
        return {point.identifier: point for point in await self.store.list_present_properties(key)}

    async def events(self, key: DeviceKey = KEY) -> list[EventRecord]:
        return await self.store.list_events(key, None, None, EVERYTHING)

"""A whole server in this process on free ports, its clock turned by hand, its store filled with a few records."""

import asyncio
import contextlib
import logging
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from linkstead.clock import Clock
from linkstead.cluster.near_bus import NearPlace
from linkstead.config import Address, Settings
from linkstead.invocation import Call, CallFilter
from linkstead.registry import (
    AccessKey,
    Account,
    Device,
    DeviceKey,
    Instance,
    Product,
    ProductTopic,
    TopicOperation,
)
from linkstead.registry.topic_classes import TOPIC_CLASSES_MAX
from linkstead.server import DATABASE_FILE, Endpoints, Server, make_store
from linkstead.store.sql import SqlStore
from linkstead.subscription import NoticeSink
from linkstead.testing.clock import ManualClock
from tests.wire import App, DeviceClient, Response, until

CREATED_MS = 1_600_000_000_000
ACCOUNT_ID, OTHER_ACCOUNT_ID = "1001", "1002"
INSTANCE_ID = "iot-060a0001"

KEY = AccessKey("app-key", "app-secret", ACCOUNT_ID, "", True, CREATED_MS)
RAM_KEY = AccessKey("ram-key", "ram-secret", ACCOUNT_ID, "operator", True, CREATED_MS)
DISABLED_KEY = AccessKey("off-key", "off-secret", ACCOUNT_ID, "", False, CREATED_MS)
OTHER_KEY = AccessKey("other-key", "other-secret", OTHER_ACCOUNT_ID, "", True, CREATED_MS)

EVERYTHING = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'

PRODUCT_KEY, INSTANCE_PRODUCT_KEY, OTHER_PRODUCT_KEY = "a1Lamp00001", "a1Inst00001", "a1Other0001"
LAMP, SECOND_LAMP, DISABLED_LAMP = (DeviceKey(PRODUCT_KEY, name) for name in ("lamp-01", "lamp-02", "lamp-off"))
INSTANCE_LAMP = DeviceKey(INSTANCE_PRODUCT_KEY, "lamp-01")
OTHER_LAMP = DeviceKey(OTHER_PRODUCT_KEY, "lamp-01")


def a_product(product_key: str, account_id: str = ACCOUNT_ID, instance_id: str = "") -> Product:
    """A product's record."""
    return Product(
        product_key=product_key,
        account_id=account_id,
        instance_id=instance_id,
        product_name=f"Lamp {product_key}",
        product_secret="product-secret",
        node_type=0,
        data_format=1,
        net_type="WIFI",
        aliyun_commodity_code="iothub_senior",
        auth_type="secret",
        protocol_type="",
        validate_type=1,
        category_key="",
        description="",
        id2=False,
        dynamic_registration=False,
        created_ms=CREATED_MS,
    )


def a_device(key: DeviceKey, account_id: str = ACCOUNT_ID, instance_id: str = "", *, enabled: bool = True) -> Device:
    """A device's record, as registered and never connected."""
    return Device(
        iot_id="".join(char for char in f"{key.product_key}{key.device_name}" if char.isalnum()) + "00100",
        product_key=key.product_key,
        device_name=key.device_name,
        account_id=account_id,
        instance_id=instance_id,
        device_secret=device_secret(key),
        nickname="",
        enabled=enabled,
        created_ms=CREATED_MS,
        modified_ms=CREATED_MS,
        activated_ms=0,
        online_ms=0,
        status_ms=0,
        is_online=False,
        ip_address="",
        firmware_version="",
    )


def device_secret(key: DeviceKey) -> str:
    """The secret that every device of these tests has."""
    return f"secret-of-{key.product_key}-{key.device_name}"


async def fill(store: SqlStore) -> None:
    """Put the records named above into a database that has none."""
    await store.open()
    for account_id in (ACCOUNT_ID, OTHER_ACCOUNT_ID):
        await store.add_account(Account(account_id, f"account {account_id}", CREATED_MS))
    for key in (KEY, RAM_KEY, DISABLED_KEY, OTHER_KEY):
        await store.add_access_key(key)
    await store.save_policy(ACCOUNT_ID, RAM_KEY.user_name, EVERYTHING)
    await store.add_instance(Instance(INSTANCE_ID, ACCOUNT_ID, CREATED_MS))
    await store.add_product(a_product(PRODUCT_KEY))
    await store.add_product(a_product(INSTANCE_PRODUCT_KEY, instance_id=INSTANCE_ID))
    await store.add_product(a_product(OTHER_PRODUCT_KEY, OTHER_ACCOUNT_ID))
    # The first product's devices may say what they hear, and hear anything; the others have what every product has.
    product_topic = partial(ProductTopic, 0, PRODUCT_KEY)
    _, _, get = await store.list_topics(PRODUCT_KEY)
    await store.update_topic(replace(get, operation=TopicOperation.ALL))
    for rest, operation in (("user/big", TopicOperation.ALL), ("#", TopicOperation.SUB)):
        await store.add_topic(product_topic(f"/{PRODUCT_KEY}/${{deviceName}}/{rest}", operation), TOPIC_CLASSES_MAX)
    await store.add_devices(
        [
            a_device(LAMP),
            a_device(SECOND_LAMP),
            a_device(DISABLED_LAMP, enabled=False),
            a_device(INSTANCE_LAMP, instance_id=INSTANCE_ID),
            a_device(OTHER_LAMP, OTHER_ACCOUNT_ID),
        ]
    )
    await store.close()


class ErrorWatch(logging.Handler):
    """Collects what must not happen: records of level ERROR, and what reaches the loop's exception handler."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(f"{getattr(record, 'request_id', '')} {self.format(record)}")

    def take(self) -> list[str]:
        """What was collected so far; it is forgotten, so it was expected."""
        errors, self.errors = self.errors, []
        return errors

    def handle_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")


@dataclass
class Rig:
    """A server that runs, and its clients."""

    server: Server
    clock: ManualClock
    endpoints: Endpoints
    watch: ErrorWatch
    settings: Settings
    devices: list[DeviceClient] = field(default_factory=list)
    make_device: Callable[[Address, DeviceKey, str], DeviceClient] = DeviceClient

    @property
    def http(self) -> Address:
        return self.endpoints.http

    @property
    def mqtt(self) -> Address:
        return self.endpoints.mqtt

    def app(self, key: AccessKey = KEY) -> App:
        """An application with this key."""
        return App(self.http, self.server.clock, key.access_key_id, key.secret)

    def device(self, key: DeviceKey = LAMP) -> DeviceClient:
        """A device's side, not connected yet."""
        device = self.make_device(self.mqtt, key, device_secret(key))
        self.devices.append(device)
        return device

    async def connected(self, key: DeviceKey = LAMP, **fields: Any) -> DeviceClient:
        """A device that is connected."""
        device = self.device(key)
        await device.connect(**fields)
        return device

    def another_store(self) -> SqlStore:
        """The server's database as another process has it, to be opened."""
        return make_store(self.settings, self.clock)

    def calls(self, account_id: str = ACCOUNT_ID) -> list[Call]:
        """The records of an account's calls, under way or lately ended, newest first."""
        return self.server.journal.list(CallFilter(account_id))

    async def settle(self) -> None:
        """Have what nodes have said to each other heard; there is one here."""

    @property
    def at_devices(self) -> Server:
        """The node that devices connect to."""
        return self.server

    @property
    def is_online(self) -> bool:
        """Whether any device is connected."""
        return self.server.sessions.live_count > 0

    async def stop(self) -> None:
        """Stop the server, turning the clock over what it waits for."""
        await stop_server(self.server, self.clock)


@dataclass
class PairRig(Rig):
    """Two nodes: `server` is the one that apps call, `holder` the one that devices connect to."""

    holder: Server = field(kw_only=True)

    @property
    def at_devices(self) -> Server:
        return self.holder

    def app(self, key: AccessKey = KEY) -> App:
        return PairApp(self, key)

    async def connected(self, key: DeviceKey = LAMP, **fields: Any) -> DeviceClient:
        device = await super().connected(key, **fields)
        await self.settle()
        return device

    def calls(self, account_id: str = ACCOUNT_ID) -> list[Call]:
        accepted = self.holder.journal.list(CallFilter(account_id))
        return sorted([*super().calls(account_id), *accepted], key=lambda call: -call.received_ms)

    async def settle(self) -> None:
        """See `Rig`; what is to be written is written, too."""
        for server in (self.server, self.holder, self.server):
            assert server.cluster is not None
            await server.cluster.bus.flush()
        for server in (self.holder, self.server):
            await server.store.flush()

    @property
    def is_online(self) -> bool:
        return self.holder.sessions.live_count > 0

    async def stop(self) -> None:
        # The holder first: it may owe the other an answer.
        await stop_server(self.holder, self.clock)
        await stop_server(self.server, self.clock)


class PairApp(App):
    """An application that asks for a record when the nodes have told each other what they know."""

    def __init__(self, rig: PairRig, key: AccessKey) -> None:
        super().__init__(rig.http, rig.server.clock, key.access_key_id, key.secret)
        self._rig = rig

    async def call(self, action: str, **parameters: str) -> Response:
        await self._rig.settle()
        response = await super().call(action, **parameters)
        await self._rig.settle()
        return response

    async def call_v3(self, action: str, **parameters: str) -> Response:
        await self._rig.settle()
        return await super().call_v3(action, **parameters)

    async def rrpc(self, key: DeviceKey, payload: bytes | str = b"ping", **others: str) -> dict[str, Any]:
        await self._rig.settle()
        return await super().rrpc(key, payload, **others)

    async def call_record(self, call_id: int | str) -> dict[str, Any]:
        await self._rig.settle()
        return await super().call_record(call_id)

    async def last_record(self) -> dict[str, Any]:
        await self._rig.settle()
        return await super().last_record()


async def stop_server(server: Server, clock: ManualClock) -> None:
    """Stop a server, turning the clock over what it waits for."""
    stopping = asyncio.ensure_future(server.stop())
    while not stopping.done():
        clock.advance(1.0)
        await asyncio.wait([stopping], timeout=0.01)
    await stopping


def rig_settings(folder: Path, **others: Any) -> Settings:
    """The settings of a server on free ports."""
    usual: dict[str, Any] = {
        "http": Address("127.0.0.1", 0),
        "mqtt": Address("127.0.0.1", 0),
        "data": str(folder),
        "quotas_enabled": False,
    }
    return Settings(**{**usual, **others})


@contextlib.asynccontextmanager
async def running(
    filled: Path | None,
    folder: Path,
    *,
    clock: Clock | None = None,
    is_production: bool = True,
    sink: NoticeSink | None = None,
    **others: Any,
) -> AsyncIterator[Rig]:
    """A server on a copy of the filled database, from start to stop. Nothing may go wrong in it unnoticed.

    filled: None where `database` among the others names what it is to be.
    folder: empty, the server's own.
    """
    if filled is not None:
        shutil.copyfile(filled, folder / DATABASE_FILE)
    manual = ManualClock()
    settings = rig_settings(folder, **others)
    server = Server(settings, is_production=is_production, clock=clock or manual, sink=sink)
    with watching() as watch:
        rig = Rig(server, manual, await server.start(), watch, settings)
        async with stopped_at_the_end(rig):
            yield rig


@contextlib.contextmanager
def watching() -> Iterator[ErrorWatch]:
    """A watch, without anything to tell at the end."""
    watch = ErrorWatch()
    asyncio.get_running_loop().set_exception_handler(watch.handle_loop_exception)
    logging.getLogger().addHandler(watch)
    try:
        yield watch
    finally:
        logging.getLogger().removeHandler(watch)
    assert not watch.errors


@contextlib.asynccontextmanager
async def stopped_at_the_end(rig: Rig) -> AsyncIterator[None]:
    """Take leave of the devices, and stop the server."""
    try:
        yield
    finally:
        for device in rig.devices:
            await device.close()
        await rig.stop()


class NetworkClock(ManualClock):
    """A clock turned by hand on which the short waits of a network, up to `SHORT_S`, pass by themselves."""

    SHORT_S = 0.1

    async def sleep(self, delay_s: float) -> None:
        if delay_s > self.SHORT_S:
            await super().sleep(delay_s)
        else:
            await asyncio.sleep(delay_s)


def start_nodes(
    filled: Path | None,
    folder: Path,
    nats_url: str,
    cluster_name: str,
    clock: Clock,
    count: int,
    *,
    near: Path | None = None,
    **others: Any,
) -> list[Server]:
    """Nodes of a cluster on one database, not started yet; `filled` as in `running`.

    With `near`, a folder, they have roads of their own, as workers have.
    """
    if filled is not None:
        path = folder / DATABASE_FILE
        shutil.copyfile(filled, path)
        others["database"] = f"sqlite:///{path}"
    settings = rig_settings(folder, nats=nats_url, cluster_name=cluster_name, **others)
    places = [NearPlace(str(near), number + 1) if near is not None else None for number in range(count)]
    return [Server(settings, is_production=True, clock=clock, near=place) for place in places]


@contextlib.asynccontextmanager
async def running_pair(
    filled: Path | None, folder: Path, nats_url: str, *, near: bool = False, clock: Clock | None = None, **others: Any
) -> AsyncIterator[PairRig]:
    """Two nodes, one for apps and one for devices, from start to stop; `near` as workers of one machine."""
    manual = NetworkClock()
    # The folder's name is a new one each time.
    name = f"{folder.name}-{id(folder)}"[-32:]
    with contextlib.ExitStack() as stack:
        # Names of sockets are short.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory())) if near else None
        caller, holder = start_nodes(filled, folder, nats_url, name, clock or manual, 2, near=sockets, **others)
        watch = stack.enter_context(watching())
        at_caller, at_holder = await caller.start(), await holder.start()
        if near:
            await until(lambda: are_near(caller, holder))
        for server in (caller, holder):
            assert server.cluster is not None
            await server.cluster.nodes.look()
        rig = PairRig(
            caller,
            manual,
            replace(at_caller, mqtt=at_holder.mqtt, mqtts=at_holder.mqtts),
            watch,
            caller.settings,
            holder=holder,
        )
        async with stopped_at_the_end(rig):
            yield rig


def are_near(*servers: Server) -> bool:
    """Whether workers have found each other."""
    return all(
        server.cluster is not None and server.cluster.bus.is_near(other.node)
        for server in servers
        for other in servers
        if other is not server
    )


class Certificate(NamedTuple):
    """A server's certificate and key, and how a client trusts it."""

    certificate: Path
    key: Path
    trust: ssl.SSLContext


class RigStarter(Protocol):
    """Starts a server with settings of the test's own; it is stopped at the test's end."""

    async def __call__(
        self,
        *,
        clock: Clock | None = None,
        is_production: bool = True,
        sink: NoticeSink | None = None,
        **settings: Any,
    ) -> Rig: ...


def make_certificate(folder: Path) -> Certificate:
    """A certificate for localhost that signs itself, and its key."""
    certificate, key = folder / "server.crt", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-batch"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "3650"]
    subprocess.run(
        [*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
    )
    return Certificate(certificate, key, ssl.create_default_context(cafile=str(certificate)))

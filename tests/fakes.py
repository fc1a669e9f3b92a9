"""Fakes of our own ports, and records to fill them with."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import msgspec

from linkstead.invocation import Call
from linkstead.registry import (
    AccessKey,
    Device,
    DeviceKey,
    Instance,
    Origin,
    PresenceChange,
    Product,
    Store,
)
from linkstead.sessions import Ending, Receipt
from linkstead.subscription import NoticeKind

ACCOUNT_ID, OTHER_ACCOUNT_ID = "1001", "1002"
KEY = DeviceKey("a1Lnk5tEad0", "lamp-01")
OTHER_KEY = DeviceKey("a1Lnk5tEad0", "lamp-02")
NOW_MS = 1_700_000_000_000
IOT_ID = "4z819VQHk6VSLmmBJfrf00107e"

Value = TypeVar("Value")


def make_product(product_key: str = KEY.product_key, **fields: Any) -> Product:
    """A product of the first account."""
    product = Product(
        product_key=product_key,
        account_id=ACCOUNT_ID,
        instance_id="",
        product_name="DemoLamp",
        product_secret="Qm7vT2xYb4KdPz9L",
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
        created_ms=NOW_MS,
    )
    return replace(product, **fields)


def make_device(key: DeviceKey = KEY, **fields: Any) -> Device:
    """A device of the first account that never connected."""
    device = Device(
        iot_id=f"iotid{key.device_name.replace('-', '')}00100",
        product_key=key.product_key,
        device_name=key.device_name,
        account_id=ACCOUNT_ID,
        instance_id="",
        device_secret="5dee0c1f4b8e4f4f9a6d6b1e2c3a7f90",
        nickname="",
        enabled=True,
        created_ms=NOW_MS,
        modified_ms=NOW_MS,
        activated_ms=0,
        online_ms=0,
        status_ms=0,
        is_online=False,
        ip_address="",
        firmware_version="",
    )
    return msgspec.structs.replace(device, **fields)


def make_access_key(access_key_id: str = "testid", **fields: Any) -> AccessKey:
    """An enabled key of the first account."""
    return replace(AccessKey(access_key_id, "testsecret", ACCOUNT_ID, "", True, NOW_MS), **fields)


class ListedIds:
    """Implements `Ids`: what is listed comes first, then numbers that count up."""

    def __init__(self, message_ids: Iterable[int] = (), tokens: Iterable[str] = ()) -> None:
        self.message_ids = deque(message_ids)
        self.tokens = deque(tokens)
        self._count = 0

    def message_id(self) -> int:
        if self.message_ids:
            return self.message_ids.popleft()
        self._count += 1
        return 889_455_942_124_347_392 + self._count

    def alink_id(self) -> int:
        self._count += 1
        return self._count

    def request_id(self) -> str:
        self._count += 1
        return f"41C4265E-F05D-4E2E-AB09-{self._count:012X}"

    def token(self, alphabet: str, length: int) -> str:
        if self.tokens:
            return self.tokens.popleft()
        self._count += 1
        rest, text = self._count, ""
        while len(text) < length:
            rest, digit = divmod(rest, len(alphabet))
            text = alphabet[digit] + text
        return text


@dataclass
class Sent:
    """One message given to a `FakeLink`; `receipt` is None once it was told what became of it."""

    topic: str
    payload: bytes
    receipt: Receipt | None


class FakeLink:
    """Implements `Link`: keeps what it was told.

    Args:
        key, account_id, ext: see `Link`.
        writes_at_once: tell each receipt inside `send` that its message was written; else `write` and `fail_writes` do.
        failure: raised by `send` instead of taking the message.
    """

    def __init__(
        self,
        key: DeviceKey = KEY,
        account_id: str = ACCOUNT_ID,
        ext: int = 0,
        *,
        writes_at_once: bool = True,
        failure: type[Exception] | None = None,
    ) -> None:
        self.key = key
        self.origin = Origin(key, account_id, IOT_ID)
        self.heard_s = 0.0
        self.ext = ext
        self.writes_at_once = writes_at_once
        self.failure = failure
        self.sent: list[Sent] = []
        self.endings: list[Ending] = []
        self.pump_count = 0

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append(Sent(topic, payload, receipt))
        if self.writes_at_once:
            self.write()

    def write(self) -> None:
        """Hand every message to the network."""
        for receipt in self._take_receipts():
            receipt.written()

    def fail_writes(self) -> None:
        """End with messages that were not handed to the network."""
        for receipt in self._take_receipts():
            receipt.write_failed()

    def _take_receipts(self) -> list[Receipt]:
        receipts = [message.receipt for message in self.sent if message.receipt is not None]
        for message in self.sent:
            message.receipt = None
        return receipts

    def pump(self) -> None:
        self.pump_count += 1

    def close(self, ending: Ending) -> None:
        self.endings.append(ending)

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """Topic and payload of what was sent."""
        return [(message.topic, message.payload) for message in self.sent]


@dataclass
class RecordingSink:
    """Implements `CallSink` and `PresenceSink`: keeps what it was given, in order."""

    calls: list[Call] = field(default_factory=list)
    changes: list[PresenceChange] = field(default_factory=list)

    def record_call(self, call: Call) -> None:
        self.calls.append(call)

    def record_presence(self, change: PresenceChange) -> None:
        self.changes.append(change)


@dataclass(frozen=True)
class ToldNotice:
    """What a `FakeNoticeSink` was told."""

    account_id: str
    key: DeviceKey
    kind: NoticeKind
    topic: str
    payload: bytes
    qos: int

    @property
    def message(self) -> Any:
        return json.loads(self.payload)


class FakeNoticeSink:
    """Implements `NoticeSink`: keeps what it is told; of `kinds` it wants what is listed, of `product_keys` too.

    While `disk` is not set, nothing is on the disk; while `is_known` is not set, it is not known who subscribed.
    """

    def __init__(
        self, kinds: Iterable[NoticeKind] = tuple(NoticeKind), product_keys: Iterable[str] | None = None
    ) -> None:
        self.kinds = set(kinds)
        self.product_keys = None if product_keys is None else set(product_keys)
        self.notices: list[ToldNotice] = []
        self.disk, self.is_known = asyncio.Event(), asyncio.Event()
        self.disk.set()
        self.is_known.set()

    def wants(self, product_key: str, kind: NoticeKind) -> bool:
        return kind in self.kinds and (self.product_keys is None or product_key in self.product_keys)

    def forward(
        self, account_id: str, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes, qos: int = 0
    ) -> None:
        assert self.wants(key.product_key, kind), "built in vain"
        self.notices.append(ToldNotice(account_id, key, kind, topic, payload, qos))

    def is_prepared(self, product_key: str) -> bool:
        return self.is_known.is_set()

    async def prepare(self, product_key: str) -> None:
        await self.is_known.wait()

    async def settle(self) -> None:
        await self.disk.wait()

    def take(self, kind: NoticeKind | None = None) -> list[ToldNotice]:
        """What was told so far, of one kind or of all; it is forgotten."""
        taken = [notice for notice in self.notices if kind in (None, notice.kind)]
        self.notices = [notice for notice in self.notices if notice not in taken]
        return taken


class FakeStore(RecordingSink):
    """What `Registry` itself asks of a `Store`, in memory; reads are counted by the method's name.

    While `gate` is an event that is not set, a read has its answer but does not give it yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.access_keys: dict[str, AccessKey] = {}
        self.instances: list[Instance] = []
        self.products: dict[str, Product] = {}
        self.devices: dict[DeviceKey, Device] = {}
        self.reads: Counter[str] = Counter()
        self.gate: asyncio.Event | None = None

    @property
    def port(self) -> Store:
        """This store, to be handed to a registry."""
        return cast("Store", self)

    async def _read(self, name: str, value: Value) -> Value:
        self.reads[name] += 1
        if self.gate is not None:
            await self.gate.wait()
        return value

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        return await self._read("find_access_key", self.access_keys.get(access_key_id))

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        return _change(self.access_keys, access_key_id, enabled=enabled)

    async def list_instances(self, account_id: str) -> list[Instance]:
        found = [instance for instance in self.instances if instance.account_id == account_id]
        return await self._read("list_instances", found)

    async def find_product(self, product_key: str) -> Product | None:
        return await self._read("find_product", self.products.get(product_key))

    async def update_product(self, product: Product) -> bool:
        return _change(self.products, product.product_key, product_name=product.product_name)

    async def delete_product(self, product_key: str) -> bool:
        return self.products.pop(product_key, None) is not None

    async def add_devices(self, devices: Sequence[Device]) -> None:
        self.devices.update({device.key: device for device in devices})

    async def find_device(self, key: DeviceKey) -> Device | None:
        return await self._read("find_device", self.devices.get(key))

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        return await self._read("find_devices", [self.devices[key] for key in keys if key in self.devices])

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        found = next((device for device in self.devices.values() if device.iot_id == iot_id), None)
        return await self._read("find_device_by_iot_id", found)

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        return _change(self.devices, key, enabled=enabled, modified_ms=at_ms)

    async def delete_device(self, key: DeviceKey) -> bool:
        return self.devices.pop(key, None) is not None

    def record_presence(self, change: PresenceChange) -> None:
        super().record_presence(change)
        device = self.devices.get(change.key)
        if device is not None:
            activated_ms = device.activated_ms or (change.at_ms if change.is_online else 0)
            _change(self.devices, change.key, is_online=change.is_online, activated_ms=activated_ms)


def _change(table: dict[Any, Any], name: object, **fields: Any) -> bool:
    if name not in table:
        return False
    change = msgspec.structs.replace if isinstance(table[name], Device) else replace
    table[name] = change(table[name], **fields)
    return True

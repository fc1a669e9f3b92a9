"""Fakes of our own ports, and records to fill them with."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from linkstead.invocation import Call
from linkstead.registry import (
    AccessKey,
    Account,
    AlreadyExists,
    Device,
    DeviceKey,
    Instance,
    Origin,
    Page,
    PresenceChange,
    Product,
    ProductStatistics,
)
from linkstead.sessions import Ending, Receipt

ACCOUNT_ID, OTHER_ACCOUNT_ID = "1001", "1002"
KEY = DeviceKey("a1Lnk5tEad0", "lamp-01")
OTHER_KEY = DeviceKey("a1Lnk5tEad0", "lamp-02")
NOW_MS = 1_700_000_000_000

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
    return replace(device, **fields)


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
    """One message given to a `FakeLink`."""

    topic: str
    payload: bytes
    receipt: Receipt | None


class FakeLink:
    """Implements `Link`: keeps what it was told.

    Args:
        key, account_id, ext: see `Link`.
        writes_at_once: tell each receipt inside `send` that its message was written; else the test does.
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
        self.origin = Origin(key, account_id)
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
        if receipt is not None and self.writes_at_once:
            receipt.written()

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


class FakeStore(RecordingSink):
    """Implements `Store` in memory, and counts the reads by the method's name.

    While `gate` is an event that is not set, a read has its answer but does not give it yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, Account] = {}
        self.access_keys: dict[str, AccessKey] = {}
        self.instances: dict[str, Instance] = {}
        self.products: dict[str, Product] = {}
        self.devices: dict[DeviceKey, Device] = {}
        self.version = 0
        self.reads: Counter[str] = Counter()
        self.gate: asyncio.Event | None = None

    async def _read(self, name: str, value: Value) -> Value:
        self.reads[name] += 1
        if self.gate is not None:
            await self.gate.wait()
        return value

    def _add(self, table: dict[Any, Any], name: Any, record: object, field_name: str) -> None:
        if name in table:
            raise AlreadyExists(field_name)
        table[name] = record
        self.version += 1

    def _change(self, table: dict[Any, Any], name: Any, **fields: Any) -> bool:
        if name not in table:
            return False
        table[name] = replace(table[name], **fields)
        self.version += 1
        return True

    def _delete(self, table: dict[Any, Any], name: Any) -> bool:
        if table.pop(name, None) is None:
            return False
        self.version += 1
        return True

    async def add_account(self, account: Account) -> None:
        self._add(self.accounts, account.account_id, account, "account_id")

    async def list_accounts(self) -> list[Account]:
        return await self._read("list_accounts", list(self.accounts.values()))

    async def find_account(self, account_id: str) -> Account | None:
        return await self._read("find_account", self.accounts.get(account_id))

    async def add_access_key(self, key: AccessKey) -> None:
        self._add(self.access_keys, key.access_key_id, key, "access_key_id")

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        return await self._read("find_access_key", self.access_keys.get(access_key_id))

    async def list_access_keys(self, account_id: str) -> list[AccessKey]:
        found = [key for key in self.access_keys.values() if key.account_id == account_id]
        return await self._read("list_access_keys", found)

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        return self._change(self.access_keys, access_key_id, enabled=enabled)

    async def add_instance(self, instance: Instance) -> None:
        self._add(self.instances, instance.instance_id, instance, "instance_id")

    async def list_instances(self, account_id: str) -> list[Instance]:
        found = [instance for instance in self.instances.values() if instance.account_id == account_id]
        return await self._read("list_instances", found)

    async def add_product(self, product: Product) -> None:
        self._add(self.products, product.product_key, product, "product_key")

    async def find_product(self, product_key: str) -> Product | None:
        return await self._read("find_product", self.products.get(product_key))

    async def update_product(self, product: Product) -> bool:
        known = product.product_key in self.products
        if known:
            self.products[product.product_key] = product
            self.version += 1
        return known

    async def delete_product(self, product_key: str) -> bool:
        return not self._of_product(product_key) and self._delete(self.products, product_key)

    async def list_products(
        self, account_id: str, instance_id: str | None, aliyun_commodity_code: str | None, offset: int, limit: int
    ) -> Page[Product]:
        found = [
            product
            for product in reversed(self.products.values())
            if product.account_id == account_id
            and instance_id in (None, product.instance_id)
            and aliyun_commodity_code in (None, product.aliyun_commodity_code)
        ]
        return await self._read("list_products", Page(found[offset : offset + limit], len(found)))

    async def count_products(self, account_id: str) -> int:
        count = sum(product.account_id == account_id for product in self.products.values())
        return await self._read("count_products", count)

    async def add_devices(self, devices: Sequence[Device]) -> None:
        for device in devices:
            self._add(self.devices, device.key, device, "device_name")

    async def find_device(self, key: DeviceKey) -> Device | None:
        return await self._read("find_device", self.devices.get(key))

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        found = next((device for device in self.devices.values() if device.iot_id == iot_id), None)
        return await self._read("find_device_by_iot_id", found)

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        return await self._read("find_devices", [self.devices[key] for key in keys if key in self.devices])

    async def list_devices(self, product_key: str, offset: int, limit: int) -> Page[Device]:
        found = self._of_product(product_key)[::-1]
        return await self._read("list_devices", Page(found[offset : offset + limit], len(found)))

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        return self._change(self.devices, key, enabled=enabled, modified_ms=at_ms)

    async def delete_device(self, key: DeviceKey) -> bool:
        return self._delete(self.devices, key)

    async def count_devices(self, product_key: str) -> int:
        return await self._read("count_devices", len(self._of_product(product_key)))

    async def device_statistics(
        self, account_id: str, instance_id: str | None, product_key: str | None
    ) -> ProductStatistics:
        found = [
            device
            for device in self.devices.values()
            if device.account_id == account_id
            and instance_id in (None, device.instance_id)
            and product_key in (None, device.product_key)
        ]
        statistics = ProductStatistics(
            len(found), sum(device.activated_ms > 0 for device in found), sum(device.is_online for device in found)
        )
        return await self._read("device_statistics", statistics)

    async def registry_version(self) -> int:
        return await self._read("registry_version", self.version)

    def _of_product(self, product_key: str) -> list[Device]:
        return [device for device in self.devices.values() if device.product_key == product_key]

"""The registry as the rest of the core uses it: reads from memory where it can, writes through to the store."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from linkstead.registry.applications import (
    APPLICATIONS_KEPT_MAX,
    APPLICATIONS_OPEN_MAX,
    Application,
    ApplicationDevice,
)
from linkstead.registry.policies import Policy, PolicyMalformed, parse_policy
from linkstead.registry.records import AccessKey, Device, DeviceKey, PresenceChange, Product
from linkstead.registry.store import Store
from linkstead.registry.topic_classes import TOPIC_CLASSES_MAX, ProductTopic, TopicClasses

ACCESS_KEYS_CACHED_MAX = 10_000
PRODUCTS_CACHED_MAX = 10_000
DEVICES_CACHED_MAX = 200_000
INSTANCES_CACHED_MAX = 10_000
POLICIES_CACHED_MAX = 10_000
TOPIC_CLASSES_CACHED_MAX = 10_000
CAME_REMEMBERED_MAX = 20_000
"""Devices that have connected to other nodes of late."""

CACHED_AGE_S_MAX = 300.0
DEVICE = "device"
"""The kind of a device's record, see `Registry.observe`."""

READ_TRIES_MAX = 3
"""Reads of one record while others change the registry, before the last is taken for good."""


Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


class _Cache(Generic[Name, Value]):
    """A bounded table of records read lately.

    It is two tables: the younger takes what is read, and becomes the older after half of `CACHED_AGE_S_MAX`, or when it
    has half of the records; what was the older is gone then. So an entry is its value, without a time or a place in an
    order, and what is not asked for any more takes no memory for long.
    """

    __slots__ = ("_half_max", "_older", "_turn_s", "_younger", "kind")

    def __init__(self, kind: str, size_max: int) -> None:
        self.kind = kind
        self._younger: dict[Name, Value] = {}
        self._older: dict[Name, Value] = {}
        self._half_max = size_max // 2
        self._turn_s = -inf

    def get(self, name: Name, now_s: float) -> Value | None:
        if now_s >= self._turn_s:
            self._turn(now_s)
        value = self._younger.get(name)
        return value if value is not None else self._older.get(name)

    def add(self, name: Name, value: Value, now_s: float) -> Value:
        """Keep a value unless there is one already; returns the one that is kept."""
        known = self.get(name, now_s)
        if known is not None:
            return known
        if len(self._younger) >= self._half_max:
            self._older, self._younger = self._younger, {}
            self._turn_s = now_s + CACHED_AGE_S_MAX / 2
        self._younger[name] = value
        return value

    def change(self, name: Name, value: Value) -> None:
        """Have another value in place of one that is kept; it is not kept for longer by that."""
        (self._younger if name in self._younger else self._older)[name] = value

    def drop(self, name: Name) -> None:
        self._younger.pop(name, None)
        self._older.pop(name, None)

    def keep(self, until_s: float) -> None:
        self._turn_s = max(self._turn_s, until_s)

    def clear(self) -> None:
        self._younger.clear()
        self._older.clear()

    def _turn(self, now_s: float) -> None:
        # Nobody may have asked for so long that what is in the younger is too old as well.
        is_late = now_s >= self._turn_s + CACHED_AGE_S_MAX / 2
        self._older, self._younger = {} if is_late else self._younger, {}
        self._turn_s = (now_s if is_late else self._turn_s) + CACHED_AGE_S_MAX / 2


class Registry:
    """Cached reads of keys, products and devices, and the writes that make the cache forget.

    A record that was found is remembered for `CACHED_AGE_S_MAX` at most, and half of it at least unless there are too
    many; one that was not found never is: what another process registers can be called at once. `forget_all` is for
    changes made elsewhere. `has_applications` is True when there may be some to work off: at first, and whenever one
    was made or moved on.

    Args:
        store: where the records are.
        monotonic_s: reads the clock.
    """

    def __init__(self, store: Store, monotonic_s: Callable[[], float]) -> None:
        self.store = store
        self._monotonic_s = monotonic_s
        self._access_keys: _Cache[str, AccessKey] = _Cache("key", ACCESS_KEYS_CACHED_MAX)
        self._products: _Cache[str, Product] = _Cache("product", PRODUCTS_CACHED_MAX)
        self._devices: _Cache[DeviceKey, Device] = _Cache(DEVICE, DEVICES_CACHED_MAX)
        self._instances: _Cache[str, frozenset[str]] = _Cache("instances", INSTANCES_CACHED_MAX)
        self._policies: _Cache[tuple[str, str], Policy] = _Cache("policy", POLICIES_CACHED_MAX)
        self._topic_classes: _Cache[str, TopicClasses] = _Cache("topics", TOPIC_CLASSES_CACHED_MAX)
        self._epoch = 0
        self._came: _Cache[DeviceKey, int] = _Cache("came", CAME_REMEMBERED_MAX)
        self._tell_forgotten: Callable[[str, Hashable], None] | None = None
        self.has_applications = True

    def forget_all(self) -> None:
        """Drop every cached record; the next read of each asks the store."""
        self._epoch += 1
        self._access_keys.clear()
        self._products.clear()
        self._devices.clear()
        self._instances.clear()
        self._policies.clear()
        self._topic_classes.clear()

    def observe(self, tell_forgotten: Callable[[str, Hashable], None]) -> None:
        """Have an observer told from now on what is forgotten because it was changed here: its kind and its name."""
        self._tell_forgotten = tell_forgotten

    def forget(self, kind: str, names: Sequence[str]) -> None:
        """Drop a record that was changed elsewhere, as an observer was told there; a kind not known drops all."""
        self._epoch += 1
        match kind, names:
            case "key", [access_key_id]:
                self._access_keys.drop(access_key_id)
            case "product", [product_key]:
                self._products.drop(product_key)
            case "device", [product_key, device_name]:
                self._devices.drop(DeviceKey(product_key, device_name))
            case "policy", [account_id, user_name]:
                self._policies.drop((account_id, user_name))
            case "topics", [product_key]:
                self._topic_classes.drop(product_key)
            case _:
                self.forget_all()

    def note_online(self, key: DeviceKey, at_ms: int) -> None:
        """A device connects to another node: it is activated from now on, whether that is written down yet or not."""
        self._came.drop(key)
        self._came.add(key, at_ms, self._monotonic_s())

    async def refresh(self, device: Device) -> Device:
        """A device as it is written down now, where another node may have written: nobody tells who goes offline."""
        if self._tell_forgotten is None:
            return device
        return await self.store.find_device(device.key) or device

    def keep_records(self, for_s: float) -> None:
        """Let no record grow too old for so long: to be called again and again while the store does not answer."""
        until_s = self._monotonic_s() + for_s
        for cache in (
            self._access_keys,
            self._products,
            self._devices,
            self._instances,
            self._policies,
            self._topic_classes,
        ):
            cache.keep(until_s)

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        """The key pair, enabled or not, or None."""
        return await self._find(self._access_keys, access_key_id, self.store.find_access_key)

    def recall_access_key(self, access_key_id: str) -> AccessKey | None:
        """The key pair as far as it is at hand: None says nothing about the store."""
        return self._access_keys.get(access_key_id, self._monotonic_s())

    async def find_product(self, product_key: str) -> Product | None:
        """The product, whosever it is, or None."""
        return await self._find(self._products, product_key, self.store.find_product)

    def recall_product(self, product_key: str) -> Product | None:
        """The product as far as it is at hand: None says nothing about the store."""
        return self._products.get(product_key, self._monotonic_s())

    def recall_device(self, key: DeviceKey) -> Device | None:
        """The device as far as it is at hand: None says nothing about the store."""
        return self._devices.get(key, self._monotonic_s())

    async def find_device(self, key: DeviceKey) -> Device | None:
        """The device, whosever it is, or None."""
        device = await self._find(self._devices, key, self.store.find_device)
        return self._look_at_activation(device) if device is not None and not device.activated_ms else device

    async def find_devices(self, keys: Sequence[DeviceKey]) -> dict[DeviceKey, Device]:
        """Those of these devices that there are; what is not at hand is read in one go."""
        now_s = self._monotonic_s()
        at_hand = [device for key in keys if (device := self._devices.get(key, now_s)) is not None]
        found = {device.key: device for device in at_hand}
        missing = [key for key in keys if key not in found]
        read: Sequence[Device] = ()
        for _ in range(READ_TRIES_MAX if missing else 0):
            epoch = self._epoch
            read = await self.store.find_devices(missing)
            if epoch == self._epoch:
                now_s = self._monotonic_s()
                # What another read brought meanwhile has seen the device come and go since.
                read = [self._devices.add(device.key, device, now_s) for device in read]
                break
        found |= {device.key: device for device in read}
        if self._tell_forgotten is not None:
            for key, device in found.items():
                if not device.activated_ms:
                    found[key] = self._look_at_activation(device)
        return found

    def _look_at_activation(self, device: Device) -> Device:
        """A device that never connected, in case that it does on another node."""
        key = device.key
        if self._tell_forgotten is not None:
            # It may connect to another node at any moment, and that changes what is said of it.
            self._devices.drop(key)
            came_ms = self._came.get(key, self._monotonic_s())
            if came_ms is not None:
                return msgspec.structs.replace(
                    device, activated_ms=came_ms, online_ms=came_ms, status_ms=came_ms, is_online=True
                )
        return device

    async def find_instances(self, account_id: str) -> frozenset[str]:
        """The ids of the account's named instances."""
        return await self._find(self._instances, account_id, self._read_instances) or frozenset()

    async def _read_instances(self, account_id: str) -> frozenset[str]:
        return frozenset(instance.instance_id for instance in await self.store.list_instances(account_id))

    async def find_policy(self, account_id: str, user_name: str) -> Policy:
        """What a RAM user may do: nothing where the user has no policy."""
        return await self._find(self._policies, (account_id, user_name), self._read_policy) or Policy()

    async def _read_policy(self, name: tuple[str, str]) -> Policy:
        document = await self.store.find_policy(*name)
        try:
            return parse_policy(document, name[0]) if document is not None else Policy()
        except PolicyMalformed:
            # Whoever wrote that into the database: what cannot be read allows nothing.
            return Policy()

    async def find_topic_classes(self, product_key: str) -> TopicClasses:
        """What the devices of a product may publish on and subscribe to; nothing where there is no such product."""
        found = await self._find(self._topic_classes, product_key, self._read_topic_classes)
        return found if found is not None else TopicClasses(())

    def recall_topic_classes(self, product_key: str) -> TopicClasses | None:
        """The topic classes as far as they are at hand: None says nothing about the store."""
        return self._topic_classes.get(product_key, self._monotonic_s())

    async def _read_topic_classes(self, product_key: str) -> TopicClasses | None:
        topics = await self.store.list_topics(product_key)
        return TopicClasses(topics) if topics or await self.find_product(product_key) is not None else None

    async def add_topic(self, topic: ProductTopic) -> int | None:
        """Add a topic class and return its id; None when the product has `TOPIC_CLASSES_MAX`. Raises AlreadyExists."""
        try:
            return await self.store.add_topic(topic, TOPIC_CLASSES_MAX)
        finally:
            self._forget(self._topic_classes, topic.product_key)

    async def update_topic(self, topic: ProductTopic) -> bool:
        """Write a topic class's changed fields. False when it is gone. Raises AlreadyExists."""
        try:
            return await self.store.update_topic(topic)
        finally:
            self._forget(self._topic_classes, topic.product_key)

    async def delete_topic(self, topic: ProductTopic) -> bool:
        """Delete a topic class. False when it is gone."""
        try:
            return await self.store.delete_topic(topic.topic_id)
        finally:
            self._forget(self._topic_classes, topic.product_key)

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        """The device with this IotId, or None. Reads the store: no call path uses it when warm."""
        return await self.store.find_device_by_iot_id(iot_id)

    async def _find(
        self, cache: _Cache[Name, Value], name: Name, read: Callable[[Name], Awaitable[Value | None]]
    ) -> Value | None:
        value = cache.get(name, self._monotonic_s())
        if value is not None:
            return value
        for _ in range(READ_TRIES_MAX):
            epoch = self._epoch
            value = await read(name)
            if epoch == self._epoch:
                if value is not None:
                    # What another read brought meanwhile has seen the device come and go since.
                    value = cache.add(name, value, self._monotonic_s())
                break
            # Something changed while we read: what was read may be the older record.
        return value

    async def update_product(self, product: Product) -> bool:
        """Write a product's changed fields. False when it is gone. Raises AlreadyExists("product_name")."""
        try:
            return await self.store.update_product(product)
        finally:
            self._forget(self._products, product.product_key)

    async def set_product_released(self, product_key: str, released: bool) -> bool:
        """Release a product or take that back. False when it is gone."""
        try:
            return await self.store.set_product_released(product_key, released)
        finally:
            self._forget(self._products, product_key)

    async def delete_product(self, product_key: str) -> bool:
        """Delete a product without devices. False when it is gone or has some."""
        try:
            return await self.store.delete_product(product_key)
        finally:
            self._forget(self._products, product_key)

    async def add_devices(self, devices: Sequence[Device]) -> None:
        """Register devices, all or none. Raises AlreadyExists."""
        await self.store.add_devices(devices)

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        """Enable or disable a device. False when it is gone."""
        try:
            return await self.store.set_device_enabled(key, enabled, at_ms)
        finally:
            self._forget(self._devices, key)

    async def set_nicknames(self, nicknames: Mapping[DeviceKey, str], at_ms: int) -> bool:
        """Give devices other nicknames, all or none. False when one of them is gone."""
        try:
            return await self.store.set_nicknames(nicknames, at_ms)
        finally:
            for key in nicknames:
                self._forget(self._devices, key)

    async def reset_device(self, key: DeviceKey, at_ms: int) -> list[DeviceKey] | None:
        """Let a device register itself anew, and free a gateway of its sub-devices, which are returned; None: gone."""
        try:
            return await self.store.reset_device(key, at_ms)
        finally:
            self._forget(self._devices, key)

    async def add_application(self, application: Application, devices: Sequence[ApplicationDevice]) -> int | None:
        """Keep an application to be worked off and return its id; None when the product has too many that are.

        Raises ProductGone.
        """
        try:
            return await self.store.add_application(application, devices, APPLICATIONS_OPEN_MAX, APPLICATIONS_KEPT_MAX)
        finally:
            self.has_applications = True

    async def start_application(self, apply_id: int) -> bool:
        """Have the devices of an application registered whose names were found good. False where they were not."""
        try:
            return await self.store.start_application(apply_id)
        finally:
            self.has_applications = True

    async def delete_device(self, key: DeviceKey) -> bool:
        """Delete a device. False when it is gone."""
        try:
            return await self.store.delete_device(key)
        finally:
            self._forget(self._devices, key)

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        """Enable or disable a key pair. False when there is none of this id."""
        try:
            return await self.store.set_access_key_enabled(access_key_id, enabled)
        finally:
            self._forget(self._access_keys, access_key_id)

    async def delete_access_key(self, access_key_id: str) -> bool:
        """Delete a key pair that is disabled. False when there is none of this id, or it is enabled."""
        try:
            return await self.store.delete_access_key(access_key_id)
        finally:
            self._forget(self._access_keys, access_key_id)

    async def save_policy(self, account_id: str, user_name: str, document: str) -> bool:
        """Keep the policy of a RAM user. False when too many others of the account have one. Raises PolicyMalformed."""
        parse_policy(document, account_id)
        try:
            return await self.store.save_policy(account_id, user_name, document)
        finally:
            self._forget(self._policies, (account_id, user_name))

    async def delete_policy(self, account_id: str, user_name: str) -> bool:
        """Delete the policy of a RAM user, who may do nothing then. False when there is none."""
        try:
            return await self.store.delete_policy(account_id, user_name)
        finally:
            self._forget(self._policies, (account_id, user_name))

    def record_presence(self, change: PresenceChange) -> None:
        """Take a change between online and offline: into the cached record at once, into the store soon."""
        device = self._devices.get(change.key, self._monotonic_s())
        if device is not None:
            self._devices.change(change.key, _apply(device, change))
        self.store.record_presence(change)

    def _forget(self, cache: _Cache[Name, Value], name: Name) -> None:
        self._epoch += 1
        cache.drop(name)
        if self._tell_forgotten is not None:
            self._tell_forgotten(cache.kind, name)


def _apply(device: Device, change: PresenceChange) -> Device:
    activated_ms, online_ms, ip_address = device.activated_ms, device.online_ms, device.ip_address
    if change.is_online:
        activated_ms, online_ms, ip_address = activated_ms or change.at_ms, change.at_ms, change.ip_address
    # In place of `replace`, which takes longer.
    values: tuple[Any, ...] = (
        *_read_lasting(device),
        activated_ms,
        online_ms,
        change.at_ms,
        change.is_online,
        ip_address,
        device.firmware_version,
        device.reset_ms,
    )
    return Device(*values)


_read_lasting = attrgetter(*Device.__struct_fields__[:10])
"""What of a device comes before its connections, in the order of the record."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from linkstead.registry import Device, DeviceKey, Instance, PresenceChange, Registry, registry
from linkstead.registry.registry import CACHED_AGE_S_MAX, READ_TRIES_MAX
from linkstead.testing.clock import ManualClock
from tests.fakes import (
    ACCOUNT_ID,
    KEY,
    NOW_MS,
    OTHER_ACCOUNT_ID,
    OTHER_KEY,
    FakeStore,
    make_access_key,
    make_device,
    make_product,
)

Read = Callable[["Bench"], Awaitable[object]]


Found = TypeVar("Found")


class Bench:
    """A registry over a store that counts, with one record of each kind in it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = FakeStore()
        self.store.access_keys["testid"] = make_access_key()
        self.store.products[KEY.product_key] = make_product()
        self.store.devices[KEY] = make_device()
        self.store.devices[OTHER_KEY] = make_device(OTHER_KEY)
        self.store.instances = [Instance("iot-060a0001", ACCOUNT_ID, NOW_MS)]
        self.registry = Registry(self.store.port, self.clock.monotonic_s)

    @property
    def read_count(self) -> int:
        return self.store.reads.total()

    async def find(self, key: DeviceKey = KEY) -> Device:
        device = await self.registry.find_device(key)
        assert device is not None
        return device


@pytest.fixture
def bench() -> Bench:
    return Bench()


READS: list[Read] = [
    lambda bench: bench.registry.find_access_key("testid"),
    lambda bench: bench.registry.find_product(KEY.product_key),
    lambda bench: bench.registry.find_device(KEY),
    lambda bench: bench.registry.find_instances(ACCOUNT_ID),
]
READ_IDS = ["access-key", "product", "device", "instances"]

reads = pytest.mark.parametrize("read", READS, ids=READ_IDS)


# --- reads


@pytest.mark.asyncio
@reads
async def test_a_record_is_read_once(bench: Bench, read: Read) -> None:
    found = await read(bench)
    assert found is not None
    assert bench.read_count == 1
    for _ in range(5):
        assert await read(bench) is found
    assert bench.read_count == 1


@pytest.mark.asyncio
async def test_what_is_found_is_what_the_store_has(bench: Bench) -> None:
    assert await bench.registry.find_access_key("testid") == make_access_key()
    assert await bench.registry.find_product(KEY.product_key) == make_product()
    assert await bench.registry.find_device(KEY) == make_device()
    assert await bench.registry.find_instances(ACCOUNT_ID) == {"iot-060a0001"}
    assert await bench.registry.find_instances(OTHER_ACCOUNT_ID) == set()


@pytest.mark.asyncio
async def test_what_is_not_there_is_looked_for_every_time(bench: Bench) -> None:
    for _ in range(3):
        assert await bench.registry.find_access_key("nobody") is None
        assert await bench.registry.find_product("a1Nobody001") is None
        assert await bench.registry.find_device(DeviceKey("a1Nobody001", "lamp-01")) is None
    assert bench.store.reads == {"find_access_key": 3, "find_product": 3, "find_device": 3}


@pytest.mark.asyncio
async def test_a_device_registered_elsewhere_is_found_at_once(bench: Bench) -> None:
    key = DeviceKey(KEY.product_key, "lamp-03")
    assert await bench.registry.find_device(key) is None
    await bench.store.add_devices([make_device(key)])
    assert await bench.registry.find_device(key) == make_device(key)


@pytest.mark.asyncio
async def test_a_device_registered_here_is_found_at_once(bench: Bench) -> None:
    key = DeviceKey(KEY.product_key, "lamp-03")
    assert await bench.registry.find_device(key) is None
    await bench.registry.add_devices([make_device(key)])
    assert await bench.registry.find_device(key) == make_device(key)


@pytest.mark.asyncio
async def test_an_iot_id_is_looked_up_in_the_store_every_time(bench: Bench) -> None:
    iot_id = make_device().iot_id
    for _ in range(2):
        assert await bench.registry.find_device_by_iot_id(iot_id) == make_device()
    assert await bench.registry.find_device_by_iot_id("nobody") is None
    assert bench.store.reads == {"find_device_by_iot_id": 3}


@pytest.mark.asyncio
@reads
@pytest.mark.parametrize("asked_s", [(), (0.0,), (1.0, 149.0, 151.0, 299.0)])
async def test_a_record_is_remembered_for_five_minutes_at_most(
    bench: Bench, read: Read, asked_s: tuple[float, ...]
) -> None:
    for _ in range(2):
        bench.store.reads.clear()
        await read(bench)
        passed_s = 0.0
        for at_s in (*asked_s, CACHED_AGE_S_MAX - 0.001):
            bench.clock.advance(at_s - passed_s)
            passed_s = at_s
            await read(bench)
        assert bench.read_count == 1
        bench.clock.advance(0.001)
        await read(bench)
        assert bench.read_count == 2
        bench.clock.advance(CACHED_AGE_S_MAX)


@pytest.mark.asyncio
@reads
async def test_a_record_is_remembered_for_half_of_that_at_least(bench: Bench, read: Read) -> None:
    await bench.registry.find_access_key("nobody")
    await bench.registry.find_product("nobody")
    await bench.registry.find_device(DeviceKey("no", "body"))
    await bench.registry.find_instances("nobody")
    bench.clock.advance(CACHED_AGE_S_MAX / 2 - 0.001)
    bench.store.reads.clear()
    await read(bench)
    bench.clock.advance(CACHED_AGE_S_MAX / 2)
    await read(bench)
    assert bench.read_count == 1
    bench.clock.advance(0.001)
    await read(bench)
    assert bench.read_count == 2


@pytest.mark.asyncio
@reads
async def test_a_record_is_remembered_for_as_long_as_the_store_is_away(bench: Bench, read: Read) -> None:
    await read(bench)
    bench.store.reads.clear()
    for _ in range(100):
        bench.registry.keep_records(60.0)
        bench.clock.advance(59.0)
        await read(bench)
    assert bench.read_count == 0
    bench.clock.advance(CACHED_AGE_S_MAX)
    await read(bench)
    assert bench.read_count == 1


@pytest.mark.asyncio
async def test_a_record_that_is_gone_elsewhere_is_gone_after_five_minutes(bench: Bench) -> None:
    await bench.find()
    await bench.store.delete_device(KEY)
    assert await bench.registry.find_device(KEY) == make_device()
    bench.clock.advance(CACHED_AGE_S_MAX + 0.001)
    assert await bench.registry.find_device(KEY) is None
    assert await bench.registry.find_device(KEY) is None


@pytest.mark.asyncio
async def test_only_so_many_records_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DEVICES_CACHED_MAX", 4)
    bench = Bench()
    keys = [DeviceKey(KEY.product_key, f"lamp-1{number}") for number in range(5)]
    await bench.store.add_devices([make_device(key) for key in keys])
    for key in (*keys[:4], *keys[:4]):
        await bench.find(key)
    assert bench.read_count == 4
    # The older half makes room.
    await bench.find(keys[4])
    assert [bench.registry.recall_device(key) is not None for key in keys] == [False, False, True, True, True]


@pytest.mark.asyncio
async def test_a_record_that_changes_is_not_remembered_for_longer(bench: Bench) -> None:
    await bench.find()
    for passed_s in (CACHED_AGE_S_MAX / 2 - 0.001, CACHED_AGE_S_MAX / 2):
        bench.clock.advance(passed_s)
        bench.registry.record_presence(PresenceChange(KEY, True, NOW_MS + 5))
        assert (await bench.find()).online_ms == NOW_MS + 5
    assert bench.read_count == 1
    bench.clock.advance(0.002)
    assert bench.registry.recall_device(KEY) is None


# --- changes


@pytest.mark.asyncio
async def test_a_changed_product_is_read_again(bench: Bench) -> None:
    await bench.registry.find_product(KEY.product_key)
    changed = make_product(product_name="Renamed")
    assert await bench.registry.update_product(changed)
    assert await bench.registry.find_product(KEY.product_key) == changed


@pytest.mark.asyncio
async def test_a_deleted_product_is_gone(bench: Bench) -> None:
    await bench.registry.find_product(KEY.product_key)
    assert await bench.registry.delete_product(KEY.product_key)
    assert await bench.registry.find_product(KEY.product_key) is None
    assert not await bench.registry.delete_product(KEY.product_key)


@pytest.mark.asyncio
async def test_a_disabled_device_is_read_again(bench: Bench) -> None:
    assert (await bench.find()).enabled
    assert await bench.registry.set_device_enabled(KEY, False, NOW_MS + 1)
    assert await bench.find() == make_device(enabled=False, modified_ms=NOW_MS + 1)


@pytest.mark.asyncio
async def test_a_deleted_device_is_gone(bench: Bench) -> None:
    await bench.find()
    assert await bench.registry.delete_device(KEY)
    assert await bench.registry.find_device(KEY) is None
    assert not await bench.registry.delete_device(KEY)


@pytest.mark.asyncio
async def test_a_disabled_access_key_is_read_again(bench: Bench) -> None:
    await bench.registry.find_access_key("testid")
    assert await bench.registry.set_access_key_enabled("testid", False)
    assert await bench.registry.find_access_key("testid") == make_access_key(enabled=False)


@pytest.mark.asyncio
async def test_a_change_of_what_is_not_there_says_so(bench: Bench) -> None:
    nobody = DeviceKey("a1Nobody001", "lamp-01")
    assert not await bench.registry.update_product(make_product("a1Nobody001"))
    assert not await bench.registry.set_device_enabled(nobody, False, NOW_MS)
    assert not await bench.registry.set_access_key_enabled("nobody", False)


@pytest.mark.asyncio
async def test_a_change_makes_no_other_record_be_read_again(bench: Bench) -> None:
    for read in READS:
        await read(bench)
    await bench.find(OTHER_KEY)
    await bench.registry.set_device_enabled(OTHER_KEY, False, NOW_MS)
    bench.store.reads.clear()
    for read in READS:
        await read(bench)
    assert bench.read_count == 0


@pytest.mark.asyncio
@reads
async def test_what_changed_elsewhere_is_seen_once_all_is_forgotten(bench: Bench, read: Read) -> None:
    await read(bench)
    bench.registry.forget_all()
    await read(bench)
    assert bench.read_count == 2


class BrokenStore(FakeStore):
    """A store whose changes are made, and fail all the same before they are known to be."""

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        await super().set_device_enabled(key, enabled, at_ms)
        raise OSError("disk is away")


@pytest.mark.asyncio
async def test_a_change_that_failed_may_have_been_made() -> None:
    store = BrokenStore()
    store.devices[KEY] = make_device()
    known = Registry(store.port, ManualClock().monotonic_s)
    await known.find_device(KEY)
    with pytest.raises(OSError, match="disk is away"):
        await known.set_device_enabled(KEY, False, NOW_MS)
    device = await known.find_device(KEY)
    assert device is not None
    assert not device.enabled


# --- changes while a read is under way


async def start(read: Awaitable[Found]) -> "asyncio.Future[Found]":
    """Let a read get as far as the store's gate."""
    reading = asyncio.ensure_future(read)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return reading


@pytest.mark.asyncio
async def test_a_change_while_a_record_is_read_is_not_hidden(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    reading = await start(bench.registry.find_device(KEY))
    await bench.registry.set_device_enabled(KEY, False, NOW_MS)
    bench.store.gate.set()
    device = await reading
    assert device is not None
    assert not device.enabled
    assert not (await bench.find()).enabled
    assert bench.store.reads == {"find_device": 2}


@pytest.mark.asyncio
async def test_of_several_devices_those_that_are_not_at_hand_are_read_in_one_go(bench: Bench) -> None:
    await bench.find()
    bench.store.devices[OTHER_KEY] = make_device(OTHER_KEY)
    nobody = DeviceKey(KEY.product_key, "nobody")
    found = await bench.registry.find_devices([OTHER_KEY, KEY, nobody, OTHER_KEY])
    assert found == {KEY: make_device(KEY), OTHER_KEY: make_device(OTHER_KEY)}
    assert await bench.registry.find_devices([KEY, OTHER_KEY]) == found
    assert bench.store.reads == {"find_device": 1, "find_devices": 1}


@pytest.mark.asyncio
async def test_a_change_while_several_are_read_is_not_hidden(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    reading = await start(bench.registry.find_devices([KEY]))
    await bench.registry.set_device_enabled(KEY, False, NOW_MS)
    bench.store.gate.set()
    assert not (await reading)[KEY].enabled
    bench.store.gate = asyncio.Event()
    bench.registry.forget_all()
    reading = await start(bench.registry.find_devices([KEY]))
    await bench.registry.delete_device(KEY)
    bench.store.gate.set()
    assert await reading == {}


@pytest.mark.asyncio
async def test_a_deletion_while_a_record_is_read_is_not_hidden(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    reading = await start(bench.registry.find_device(KEY))
    await bench.registry.delete_device(KEY)
    bench.store.gate.set()
    assert await reading is None
    assert await bench.registry.find_device(KEY) is None


@pytest.mark.asyncio
async def test_forgetting_all_while_a_record_is_read_is_not_undone(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    reading = await start(bench.registry.find_device(KEY))
    await bench.store.set_device_enabled(KEY, False, NOW_MS)
    bench.registry.forget_all()
    bench.store.gate.set()
    device = await reading
    assert device is not None
    assert not device.enabled


class RestlessStore(FakeStore):
    """A store in which something changes during every read."""

    known: Registry

    async def find_device(self, key: DeviceKey) -> Device | None:
        device = await super().find_device(key)
        self.known.forget_all()
        return device


@pytest.mark.asyncio
async def test_a_read_that_changes_keep_overtaking_is_given_but_not_kept() -> None:
    store = RestlessStore()
    store.devices[KEY] = make_device()
    store.known = Registry(store.port, ManualClock().monotonic_s)
    assert await store.known.find_device(KEY) == make_device()
    assert store.reads == {"find_device": READ_TRIES_MAX}
    assert await store.known.find_device(KEY) == make_device()
    assert store.reads == {"find_device": 2 * READ_TRIES_MAX}


# --- devices that come and go


ONLINE = PresenceChange(KEY, True, NOW_MS + 5, "192.0.2.10")
OFFLINE = PresenceChange(KEY, False, NOW_MS + 9)


@pytest.mark.asyncio
async def test_presence_is_in_the_cached_record_at_once(bench: Bench) -> None:
    await bench.find()
    bench.registry.record_presence(ONLINE)
    online = make_device(
        is_online=True, activated_ms=NOW_MS + 5, online_ms=NOW_MS + 5, status_ms=NOW_MS + 5, ip_address="192.0.2.10"
    )
    assert await bench.find() == online
    bench.registry.record_presence(OFFLINE)
    device = await bench.find()
    assert (device.is_online, device.status_ms) == (False, NOW_MS + 9)
    assert (device.activated_ms, device.online_ms, device.ip_address) == (NOW_MS + 5, NOW_MS + 5, "192.0.2.10")
    assert bench.read_count == 1
    assert bench.store.changes == [ONLINE, OFFLINE]


@pytest.mark.asyncio
async def test_a_device_is_activated_only_once(bench: Bench) -> None:
    bench.store.devices[KEY] = make_device(activated_ms=NOW_MS)
    await bench.find()
    bench.registry.record_presence(ONLINE)
    assert (await bench.find()).activated_ms == NOW_MS


@pytest.mark.asyncio
async def test_presence_of_a_device_that_is_not_cached_goes_to_the_store(bench: Bench) -> None:
    bench.registry.record_presence(ONLINE)
    assert bench.store.changes == [ONLINE]
    assert bench.read_count == 0
    assert (await bench.find()).is_online


@pytest.mark.asyncio
async def test_presence_of_a_deleted_device_brings_nothing_back(bench: Bench) -> None:
    await bench.find()
    await bench.registry.delete_device(KEY)
    bench.registry.record_presence(OFFLINE)
    assert await bench.registry.find_device(KEY) is None


@pytest.mark.asyncio
async def test_a_device_that_comes_online_while_it_is_read_is_not_hidden(bench: Bench) -> None:
    bench.store.gate = asyncio.Event()
    reading = await start(bench.registry.find_device(KEY))
    # A second read overtakes the first, as that of the device's own CONNECT may.
    gate, bench.store.gate = bench.store.gate, None
    await bench.find()
    bench.registry.record_presence(ONLINE)
    gate.set()
    device = await reading
    assert device is not None
    assert device.activated_ms == NOW_MS + 5
    assert (await bench.find()).activated_ms == NOW_MS + 5


@pytest.mark.asyncio
async def test_a_product_is_recalled_while_it_is_at_hand(bench: Bench) -> None:
    assert bench.registry.recall_product(KEY.product_key) is None
    product = await bench.registry.find_product(KEY.product_key)
    assert bench.registry.recall_product(KEY.product_key) is product
    assert bench.read_count == 1
    bench.clock.advance(CACHED_AGE_S_MAX + 1)
    assert bench.registry.recall_product(KEY.product_key) is None
    await bench.registry.find_product(KEY.product_key)
    bench.registry.forget_all()
    assert bench.registry.recall_product(KEY.product_key) is None
    assert bench.read_count == 2

"""Which devices are behind which gateway, on every engine."""

import pytest

from linkstead.registry import SUB_DEVICES_MAX, DeviceGone, DeviceKey, TooManySubDevices
from linkstead.store.sql import SqlStore
from tests.store.samples import NOW_MS, PRODUCT_KEY, a_product, an_account, some_devices

pytestmark = pytest.mark.asyncio

GATEWAY, OTHER_GATEWAY, PROBE, SECOND_PROBE, THIRD_PROBE = (
    DeviceKey(PRODUCT_KEY, name) for name in ("gate-1", "gate-2", "probe-1", "probe-2", "probe-3")
)
NOBODY = DeviceKey(PRODUCT_KEY, "nobody")


async def add_devices(store: SqlStore, *names: str) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    known = (key.device_name for key in (GATEWAY, OTHER_GATEWAY, PROBE, SECOND_PROBE, THIRD_PROBE))
    await store.add_devices(some_devices((*known, *names)))


async def behind(store: SqlStore, gateway: DeviceKey = GATEWAY) -> list[DeviceKey]:
    return [device.key for device in (await store.list_sub_devices(gateway, 0, 100)).records]


async def test_what_is_bound_is_listed_the_latest_first_and_finds_its_gateway(store: SqlStore) -> None:
    await add_devices(store)
    assert await store.bind_sub_devices(GATEWAY, [PROBE, SECOND_PROBE], NOW_MS) == {}
    assert await store.bind_sub_devices(GATEWAY, [THIRD_PROBE, PROBE], NOW_MS + 1) == {}
    assert await behind(store) == [THIRD_PROBE, SECOND_PROBE, PROBE]
    page = await store.list_sub_devices(GATEWAY, 1, 1)
    assert ([device.key for device in page.records], page.total) == ([SECOND_PROBE], 3)
    assert await store.find_gateway(PROBE) == GATEWAY
    assert await store.find_gateway(GATEWAY) is None
    assert await store.find_gateway(NOBODY) is None
    assert await behind(store, OTHER_GATEWAY) == []


async def test_a_sub_device_has_one_gateway(store: SqlStore) -> None:
    await add_devices(store)
    await store.bind_sub_devices(GATEWAY, [PROBE, SECOND_PROBE], NOW_MS)
    assert await store.bind_sub_devices(OTHER_GATEWAY, [PROBE, THIRD_PROBE], NOW_MS) == {PROBE: GATEWAY}
    assert await behind(store) == [SECOND_PROBE]
    assert await store.find_gateway(PROBE) == OTHER_GATEWAY


async def test_what_is_unbound_is_gone_and_told(store: SqlStore) -> None:
    await add_devices(store)
    await store.bind_sub_devices(GATEWAY, [PROBE, SECOND_PROBE], NOW_MS)
    assert await store.unbind_sub_devices(OTHER_GATEWAY, [PROBE]) == []
    assert await store.unbind_sub_devices(GATEWAY, [PROBE, THIRD_PROBE, NOBODY, PROBE]) == [PROBE]
    assert await behind(store) == [SECOND_PROBE]
    assert await store.find_gateway(PROBE) is None


@pytest.mark.parametrize("missing", [0, 1])
async def test_of_devices_one_of_which_is_gone_none_is_bound(store: SqlStore, missing: int) -> None:
    await add_devices(store)
    gateway, keys = [(NOBODY, [PROBE]), (GATEWAY, [PROBE, NOBODY])][missing]
    with pytest.raises(DeviceGone) as caught:
        await store.bind_sub_devices(gateway, keys, NOW_MS)
    assert caught.value.args == (NOBODY,)
    assert await store.find_gateway(PROBE) is None


async def test_a_topology_goes_with_its_devices(store: SqlStore) -> None:
    await add_devices(store)
    await store.bind_sub_devices(GATEWAY, [PROBE, SECOND_PROBE], NOW_MS)
    await store.delete_device(PROBE)
    assert await behind(store) == [SECOND_PROBE]
    await store.delete_device(GATEWAY)
    assert await store.find_gateway(SECOND_PROBE) is None


async def test_a_gateway_has_its_bound_and_past_it_nothing_is_changed(store: SqlStore) -> None:
    names = [f"meter-{number:04}" for number in range(SUB_DEVICES_MAX)]
    await add_devices(store, *names)
    keys = [DeviceKey(PRODUCT_KEY, name) for name in names]
    await store.bind_sub_devices(GATEWAY, keys[:-1], NOW_MS)
    with pytest.raises(TooManySubDevices):
        await store.bind_sub_devices(GATEWAY, [PROBE, SECOND_PROBE], NOW_MS)
    assert await store.find_gateway(PROBE) is None
    await store.bind_sub_devices(GATEWAY, [keys[-1], keys[0]], NOW_MS)
    assert (await store.list_sub_devices(GATEWAY, 0, 1)).total == SUB_DEVICES_MAX
    with pytest.raises(TooManySubDevices):
        await store.bind_sub_devices(GATEWAY, [PROBE], NOW_MS)

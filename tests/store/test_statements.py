"""The registry's statements, through the store, on every engine."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from linkstead.registry import AlreadyExists, Device, DeviceKey, ProductGone, ProductStatistics
from linkstead.store.sql import SqlStore
from tests.store.samples import (
    ACCOUNT_ID,
    LAMP,
    NOW_MS,
    PRODUCT_KEY,
    a_device,
    a_product,
    an_access_key,
    an_account,
    an_instance,
    some_devices,
)

pytestmark = pytest.mark.asyncio


async def test_accounts_come_back_as_they_went_in(store: SqlStore) -> None:
    second, first = an_account("1002", "second", NOW_MS + 1), an_account("1009", "first", NOW_MS)
    await store.add_account(second)
    await store.add_account(first)
    assert await store.list_accounts() == [first, second]
    assert await store.find_account("1009") == first
    assert await store.find_account("1") is None


async def test_an_account_has_an_id_and_a_name_of_its_own(store: SqlStore) -> None:
    await store.add_account(an_account())
    with pytest.raises(AlreadyExists) as same_id:
        await store.add_account(an_account(name="another"))
    with pytest.raises(AlreadyExists) as same_name:
        await store.add_account(an_account("1002"))
    assert (same_id.value.args[0], same_name.value.args[0]) == ("account_id", "name")
    assert await store.list_accounts() == [an_account()]


async def test_access_keys_come_back_with_their_secret(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account("1002", "second"))
    later = an_access_key("key-1", user_name="ram-user", created_ms=NOW_MS + 1)
    earlier = an_access_key("key-2")
    for key in (later, earlier, an_access_key("key-3", account_id="1002")):
        await store.add_access_key(key)
    assert await store.find_access_key("key-1") == later
    assert await store.find_access_key("key-4") is None
    assert await store.list_access_keys(ACCOUNT_ID) == [earlier, later]


async def test_an_access_key_id_is_given_once(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_access_key(an_access_key())
    with pytest.raises(AlreadyExists) as caught:
        await store.add_access_key(an_access_key(secret="another"))
    assert caught.value.args == ("access_key_id",)


async def test_an_access_key_is_disabled_and_enabled(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_access_key(an_access_key())
    assert await store.set_access_key_enabled("key-1", False)
    assert await store.find_access_key("key-1") == an_access_key(enabled=False)
    assert await store.set_access_key_enabled("key-1", True)
    assert await store.find_access_key("key-1") == an_access_key()
    assert not await store.set_access_key_enabled("key-2", True)


async def test_instances_belong_to_an_account(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account("1002", "second"))
    later, earlier = an_instance("iot-1", created_ms=NOW_MS + 1), an_instance("iot-2")
    await store.add_instance(later)
    await store.add_instance(earlier)
    assert await store.list_instances(ACCOUNT_ID) == [earlier, later]
    assert await store.list_instances("1002") == []
    with pytest.raises(AlreadyExists) as caught:
        await store.add_instance(an_instance("iot-1", account_id="1002"))
    assert caught.value.args == ("instance_id",)


async def test_a_product_comes_back_as_it_went_in(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product(id2=True, node_type=1))
    assert await store.find_product(PRODUCT_KEY) == a_product(id2=True, node_type=1)
    assert await store.find_product("a1Other0001") is None


async def test_a_product_has_a_key_and_a_name_of_its_own(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account("1002", "second"))
    await store.add_product(a_product("a1", product_name="Lamp"))
    with pytest.raises(AlreadyExists) as same_key:
        await store.add_product(a_product("a1", account_id="1002", product_name="Other"))
    with pytest.raises(AlreadyExists) as same_name:
        await store.add_product(a_product("a2", product_name="Lamp"))
    assert (same_key.value.args, same_name.value.args) == (("product_key",), ("product_name",))
    await store.add_product(a_product("a3", product_name="Lamp", instance_id="iot-1"))
    await store.add_product(a_product("a4", product_name="Lamp", account_id="1002"))
    assert await store.count_products(ACCOUNT_ID) == 2


async def test_what_can_change_of_a_product_is_updated(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product("a1", product_name="Lamp"))
    await store.add_product(a_product("a2", product_name="Fan"))
    changed = a_product("a1", product_name="Light", description="", dynamic_registration=False, id2=True)
    assert await store.update_product(replace(changed, account_id="1002", instance_id="iot-1", created_ms=1))
    assert await store.find_product("a1") == changed
    with pytest.raises(AlreadyExists) as caught:
        await store.update_product(replace(changed, product_name="Fan"))
    assert caught.value.args == ("product_name",)
    assert await store.find_product("a1") == changed
    assert not await store.update_product(a_product("a3"))


async def test_a_product_is_deleted_once_it_has_no_devices(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices([a_device()])
    assert not await store.delete_product(PRODUCT_KEY)
    assert await store.find_product(PRODUCT_KEY) == a_product()
    assert await store.delete_device(LAMP)
    assert await store.delete_product(PRODUCT_KEY)
    assert await store.find_product(PRODUCT_KEY) is None
    assert not await store.delete_product(PRODUCT_KEY)


async def test_products_are_listed_newest_first(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account("1002", "second"))
    products = [
        a_product("a1"),
        a_product("a2", instance_id="iot-1"),
        a_product("a3", aliyun_commodity_code="iothub"),
        a_product("a4"),
    ]
    for product in (*products, a_product("a5", account_id="1002")):
        await store.add_product(product)
    newest_first = products[::-1]

    page = await store.list_products(ACCOUNT_ID, None, None, 0, 10)
    assert (page.records, page.total) == (newest_first, 4)
    page = await store.list_products(ACCOUNT_ID, None, None, 1, 2)
    assert (page.records, page.total) == (newest_first[1:3], 4)
    page = await store.list_products(ACCOUNT_ID, None, None, 4, 2)
    assert (page.records, page.total) == ([], 4)
    page = await store.list_products(ACCOUNT_ID, "", "iothub_senior", 0, 10)
    assert (page.records, page.total) == ([products[3], products[0]], 2)
    page = await store.list_products(ACCOUNT_ID, "iot-1", None, 0, 10)
    assert (page.records, page.total) == ([products[1]], 1)
    assert await store.count_products(ACCOUNT_ID) == 4
    assert await store.count_products("1") == 0


async def test_a_device_comes_back_as_it_went_in(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    lamp = a_device(
        nickname="Flur 走廊",
        activated_ms=1,
        online_ms=2,
        status_ms=3,
        is_online=True,
        ip_address="::1",
        iot_id="lamp-id",
    )
    await store.add_devices([lamp])
    assert await store.find_device(LAMP) == lamp
    assert await store.find_device_by_iot_id("lamp-id") == lamp
    assert await store.find_device(DeviceKey(PRODUCT_KEY, "lamp-0002")) is None
    assert await store.find_device(DeviceKey("a1Other0001", "lamp-0001")) is None
    assert await store.find_device_by_iot_id("other-id") is None


@pytest.mark.parametrize(
    ("field", "second"),
    [
        ("device_name", a_device("lamp-0001", iot_id="new-id")),
        ("iot_id", a_device("lamp-0003", iot_id="first-id")),
    ],
)
async def test_devices_are_added_all_or_none(store: SqlStore, field: str, second: Device) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices([a_device(iot_id="first-id")])
    version = await store.registry_version()
    with pytest.raises(AlreadyExists) as caught:
        await store.add_devices([a_device("lamp-0002"), second, a_device("lamp-0004")])
    assert caught.value.args == (field,)
    assert await store.count_devices(PRODUCT_KEY) == 1
    assert await store.registry_version() == version


@pytest.mark.parametrize(
    ("field", "second"),
    [
        ("device_name", a_device("lamp-0001", iot_id="new-id")),
        ("iot_id", a_device("lamp-0002", iot_id="first-id")),
    ],
)
async def test_devices_added_together_differ(store: SqlStore, field: str, second: Device) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    with pytest.raises(AlreadyExists) as caught:
        await store.add_devices([a_device(iot_id="first-id"), second])
    assert caught.value.args == (field,)
    assert await store.count_devices(PRODUCT_KEY) == 0


async def test_a_device_of_no_product_is_refused(store: SqlStore) -> None:
    await store.add_account(an_account())
    with pytest.raises(ProductGone):
        await store.add_devices([a_device()])
    assert await store.find_device(LAMP) is None


async def test_devices_of_two_products_may_share_a_name(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_product(a_product("a1Fan000001"))
    fan = a_device(product_key="a1Fan000001")
    await store.add_devices([a_device(), fan])
    assert await store.find_device(fan.key) == fan
    assert await store.find_device(LAMP) == a_device()


async def test_no_devices_are_no_change(store: SqlStore) -> None:
    await store.add_devices([])
    assert await store.registry_version() == 0
    assert await store.find_devices([]) == []


async def test_those_that_exist_are_found_of_any_number(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_product(a_product("a1Fan000001"))
    lamps = some_devices(f"lamp-{number:04}" for number in range(1_001))
    fan = a_device(product_key="a1Fan000001")
    await store.add_devices([*lamps, fan])
    missing = [DeviceKey(PRODUCT_KEY, "none"), DeviceKey("a1None00001", "lamp-0001"), DeviceKey("a1Fan000001", "none")]
    found = await store.find_devices([*missing, *(lamp.key for lamp in lamps), fan.key, fan.key])
    assert sorted(found, key=lambda device: device.key) == sorted([*lamps, fan], key=lambda device: device.key)


async def test_devices_are_listed_newest_first(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_product(a_product("a1Fan000001"))
    lamps = some_devices(f"lamp-{number:04}" for number in range(5))
    await store.add_devices(lamps[:3])
    await store.add_devices([a_device(product_key="a1Fan000001")])
    await store.add_devices(lamps[3:])
    newest_first = lamps[::-1]

    page = await store.list_devices(PRODUCT_KEY, 0, 10)
    assert (page.records, page.total) == (newest_first, 5)
    page = await store.list_devices(PRODUCT_KEY, 3, 5)
    assert (page.records, page.total) == (newest_first[3:], 5)
    page = await store.list_devices("a1None00001", 0, 5)
    assert (page.records, page.total) == ([], 0)
    assert await store.count_devices(PRODUCT_KEY) == 5


async def test_pages_go_on_where_the_one_before_ended(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_product(a_product("a1Lamp00002"))
    for number in range(1, 6):
        await store.add_devices(some_devices([f"lamp-000{number}"]))
        await store.add_devices(some_devices([f"lamp-000{number}"], product_key="a1Lamp00002"))
    page = await store.list_devices(PRODUCT_KEY, 0, 2)
    seen = [[device.device_name for device in page.records]]
    while page.next_before_id is not None:
        page = await store.list_devices(PRODUCT_KEY, 0, 2, page.next_before_id)
        assert page.total == 5
        seen.append([device.device_name for device in page.records])
    assert seen == [["lamp-0005", "lamp-0004"], ["lamp-0003", "lamp-0002"], ["lamp-0001"]]
    assert (await store.list_devices(PRODUCT_KEY, 0, 5)).next_before_id is None


async def test_a_gateway_that_is_reset_has_no_sub_devices_any_longer(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(["gate-0001", "gate-0002", "lamp-0001", "lamp-0002"]))
    gates = [DeviceKey(PRODUCT_KEY, name) for name in ("gate-0001", "gate-0002")]
    other_lamp = DeviceKey(PRODUCT_KEY, "lamp-0002")
    await store.bind_sub_devices(gates[0], [LAMP], NOW_MS)
    await store.bind_sub_devices(gates[1], [other_lamp], NOW_MS)
    assert await store.reset_device(gates[0], NOW_MS + 1) == [LAMP]
    assert [await store.find_gateway(key) for key in (LAMP, other_lamp)] == [None, gates[1]]
    reset = await store.find_device(DeviceKey(PRODUCT_KEY, "gate-0001"))
    assert reset == a_device("gate-0001", reset_ms=NOW_MS + 1, modified_ms=NOW_MS + 1)
    assert await store.reset_device(DeviceKey(PRODUCT_KEY, "gate-0003"), NOW_MS) is None
    assert await store.reset_device(LAMP, NOW_MS) == []


async def test_a_device_is_disabled_and_enabled(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(["lamp-0001", "lamp-0002"]))
    assert await store.set_device_enabled(LAMP, False, NOW_MS + 1)
    assert await store.find_device(LAMP) == a_device(enabled=False, modified_ms=NOW_MS + 1)
    assert await store.find_device(DeviceKey(PRODUCT_KEY, "lamp-0002")) == a_device("lamp-0002")
    assert await store.set_device_enabled(LAMP, True, NOW_MS + 2)
    assert await store.find_device(LAMP) == a_device(modified_ms=NOW_MS + 2)
    assert not await store.set_device_enabled(DeviceKey(PRODUCT_KEY, "none"), True, NOW_MS)


async def test_a_deleted_device_is_gone(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(["lamp-0001", "lamp-0002"]))
    assert await store.delete_device(LAMP)
    assert await store.find_device(LAMP) is None
    assert await store.count_devices(PRODUCT_KEY) == 1
    assert not await store.delete_device(LAMP)


async def test_devices_are_counted_by_account_instance_and_product(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account("1002", "second"))
    await store.add_product(a_product())
    await store.add_product(a_product("a1Fan000001"))
    await store.add_product(a_product("a1Other0001", account_id="1002"))
    await store.add_devices(
        [
            a_device("lamp-0001"),
            a_device("lamp-0002", activated_ms=1),
            a_device("lamp-0003", activated_ms=1, is_online=True),
            a_device("fan-0001", product_key="a1Fan000001", instance_id="iot-1", activated_ms=1, is_online=True),
            a_device("other-0001", product_key="a1Other0001", account_id="1002", activated_ms=1),
        ]
    )
    assert await store.device_statistics(ACCOUNT_ID, None, PRODUCT_KEY) == ProductStatistics(3, 2, 1)
    assert await store.device_statistics(ACCOUNT_ID, None, None) == ProductStatistics(4, 3, 2)
    assert await store.device_statistics(ACCOUNT_ID, "", None) == ProductStatistics(3, 2, 1)
    assert await store.device_statistics(ACCOUNT_ID, "iot-1", None) == ProductStatistics(1, 1, 1)
    assert await store.device_statistics(ACCOUNT_ID, None, "a1Other0001") == ProductStatistics(0, 0, 0)
    assert await store.device_statistics("1002", None, None) == ProductStatistics(1, 1, 0)


async def test_the_version_rises_with_every_change_of_the_registry(store: SqlStore) -> None:
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: store.add_account(an_account()),
        lambda: store.add_access_key(an_access_key()),
        lambda: store.set_access_key_enabled("key-1", False),
        lambda: store.add_instance(an_instance()),
        lambda: store.add_product(a_product()),
        lambda: store.update_product(a_product(description="")),
        lambda: store.add_devices(some_devices(["lamp-0001", "lamp-0002"])),
        lambda: store.set_device_enabled(LAMP, False, NOW_MS),
        lambda: store.set_nicknames({LAMP: "Hall"}, NOW_MS),
        lambda: store.reset_device(LAMP, NOW_MS),
        lambda: store.delete_device(LAMP),
        lambda: store.delete_device(DeviceKey(PRODUCT_KEY, "lamp-0002")),
        lambda: store.delete_product(PRODUCT_KEY),
    ]
    versions = [await store.registry_version()]
    for change in changes:
        await change()
        versions.append(await store.registry_version())
    assert versions == list(range(len(changes) + 1))


async def test_the_version_stays_where_nothing_changed(store: SqlStore) -> None:
    await store.add_account(an_account())
    version = await store.registry_version()
    with pytest.raises(AlreadyExists):
        await store.add_account(an_account())
    await store.set_access_key_enabled("none", True)
    await store.update_product(a_product())
    await store.delete_product(PRODUCT_KEY)
    await store.set_device_enabled(LAMP, True, NOW_MS)
    await store.set_nicknames({LAMP: "Hall"}, NOW_MS)
    await store.reset_device(LAMP, NOW_MS)
    await store.delete_device(LAMP)
    assert await store.registry_version() == version

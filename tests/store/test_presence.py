"""What comings and goings leave in a device's row, on every engine."""

import msgspec
import pytest

from linkstead.registry import Device, DeviceKey, PresenceChange
from linkstead.store.sql import SqlStore
from tests.store.samples import LAMP, NOW_MS, PRODUCT_KEY, a_device, a_product, an_account, some_devices

pytestmark = pytest.mark.asyncio


def online(at_ms: int, ip_address: str = "192.0.2.1") -> PresenceChange:
    return PresenceChange(LAMP, True, at_ms, ip_address)


def offline(at_ms: int) -> PresenceChange:
    return PresenceChange(LAMP, False, at_ms)


async def after(store: SqlStore, *batches: list[PresenceChange]) -> Device | None:
    """The row of a new device after batches of changes, each written before the next."""
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(["lamp-0001", "lamp-0002"]))
    for batch in batches:
        for change in batch:
            store.record_presence(change)
        assert await store.flush()
    assert await store.find_device(DeviceKey(PRODUCT_KEY, "lamp-0002")) == a_device("lamp-0002")
    return await store.find_device(LAMP)


FIRST_ONLINE = msgspec.structs.replace(
    a_device(),
    is_online=True,
    status_ms=NOW_MS + 1,
    online_ms=NOW_MS + 1,
    activated_ms=NOW_MS + 1,
    ip_address="192.0.2.1",
)


async def test_coming_online_for_the_first_time_activates(store: SqlStore) -> None:
    assert await after(store, [online(NOW_MS + 1)]) == FIRST_ONLINE


async def test_coming_online_again_does_not_activate_again(store: SqlStore) -> None:
    device = await after(store, [online(NOW_MS + 1)], [online(NOW_MS + 2, "192.0.2.2")])
    assert device == msgspec.structs.replace(
        FIRST_ONLINE, status_ms=NOW_MS + 2, online_ms=NOW_MS + 2, ip_address="192.0.2.2", activated_ms=NOW_MS + 1
    )


async def test_going_offline_keeps_when_and_from_where_it_was_online(store: SqlStore) -> None:
    device = await after(store, [online(NOW_MS + 1)], [offline(NOW_MS + 2)])
    assert device == msgspec.structs.replace(FIRST_ONLINE, is_online=False, status_ms=NOW_MS + 2)


async def test_a_visit_within_one_batch_activates(store: SqlStore) -> None:
    device = await after(store, [online(NOW_MS + 1), offline(NOW_MS + 2)])
    assert device == msgspec.structs.replace(FIRST_ONLINE, is_online=False, status_ms=NOW_MS + 2)


async def test_of_changes_in_one_batch_the_last_counts(store: SqlStore) -> None:
    device = await after(
        store,
        [
            online(NOW_MS + 1),
            offline(NOW_MS + 2),
            online(NOW_MS + 2, "192.0.2.3"),
            offline(NOW_MS + 3),
            online(NOW_MS + 4),
        ],
    )
    assert device == msgspec.structs.replace(FIRST_ONLINE, status_ms=NOW_MS + 4, online_ms=NOW_MS + 4)


async def test_a_takeover_is_still_online(store: SqlStore) -> None:
    device = await after(store, [online(NOW_MS + 1)], [offline(NOW_MS + 2), online(NOW_MS + 2, "192.0.2.2")])
    assert device == msgspec.structs.replace(
        FIRST_ONLINE, status_ms=NOW_MS + 2, online_ms=NOW_MS + 2, ip_address="192.0.2.2"
    )


async def test_a_device_that_never_came_cannot_go(store: SqlStore) -> None:
    assert await after(store, [offline(NOW_MS + 1)]) == a_device()


async def test_what_waits_for_a_deleted_device_does_not_reach_its_successor(store: SqlStore) -> None:
    await after(store)
    store.record_presence(online(NOW_MS + 1))
    await store.delete_device(LAMP)
    store.record_presence(offline(NOW_MS + 2))
    await store.add_devices([a_device(iot_id="new-id")])
    await store.flush()
    assert await store.find_device(LAMP) == a_device(iot_id="new-id")


async def test_presence_of_a_device_that_is_gone_is_passed_over(store: SqlStore) -> None:
    await after(store)
    store.record_presence(PresenceChange(DeviceKey(PRODUCT_KEY, "none"), True, NOW_MS))
    store.record_presence(online(NOW_MS + 1))
    assert await store.flush()
    assert await store.find_device(LAMP) == FIRST_ONLINE


async def test_presence_does_not_raise_the_version(store: SqlStore) -> None:
    await after(store)
    version = await store.registry_version()
    store.record_presence(online(NOW_MS + 1))
    await store.flush()
    await store.mark_all_offline(NOW_MS + 2)
    assert await store.registry_version() == version


async def test_those_left_online_by_a_crash_are_marked_offline(store: SqlStore) -> None:
    await after(store, [online(NOW_MS + 1)])
    assert await store.list_online_devices() == [FIRST_ONLINE]
    await store.mark_all_offline(NOW_MS + 9)
    assert await store.list_online_devices() == []
    assert await store.find_device(LAMP) == msgspec.structs.replace(FIRST_ONLINE, is_online=False, status_ms=NOW_MS + 9)
    assert await store.find_device(DeviceKey(PRODUCT_KEY, "lamp-0002")) == a_device("lamp-0002")


async def test_statistics_count_presence_that_was_not_written_yet(store: SqlStore) -> None:
    await after(store)
    store.record_presence(online(NOW_MS + 1))
    statistics = await store.device_statistics("1001", None, PRODUCT_KEY)
    assert (statistics.device_count, statistics.active_count, statistics.online_count) == (2, 1, 1)

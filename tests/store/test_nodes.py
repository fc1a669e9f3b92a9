"""The nodes of a cluster, and which of them holds a device, on every engine."""

from dataclasses import replace

import pytest

from linkstead.registry import DeviceKey, Node, NodeState, Presence, PresenceChange
from linkstead.store.sql import SqlStore
from tests.store.samples import LAMP, NOW_MS, a_message, a_product, a_session, an_account, some_devices

pytestmark = pytest.mark.asyncio

EPOCH = NOW_MS << 10
EAST = Node("east", EPOCH, NOW_MS, NOW_MS, "0.1.0", "192.0.2.1:8686", "192.0.2.1:1883", NodeState.UP)


def came(holder: str, epoch: int, at_ms: int = NOW_MS) -> PresenceChange:
    return PresenceChange(LAMP, True, at_ms, "192.0.2.9", holder, epoch, 60)


def went(holder: str, epoch: int, at_ms: int, half_until_ms: int = 0) -> PresenceChange:
    return PresenceChange(LAMP, False, at_ms, "", holder, epoch, 60, half_until_ms)


async def presence_after(store: SqlStore, *batches: list[PresenceChange]) -> Presence:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(["lamp-0001", "lamp-0002"]))
    for batch in batches:
        for change in batch:
            store.record_presence(change)
        assert await store.flush()
    found = await store.find_presence(LAMP)
    assert found is not None
    return found


async def test_a_node_is_as_it_last_beat(store: SqlStore) -> None:
    west = replace(EAST, node_id="west", http="192.0.2.2:8686")
    assert await store.list_nodes() == []
    assert await store.beat(west)
    assert await store.beat(EAST)
    draining = replace(EAST, seen_ms=NOW_MS + 1_000, state=NodeState.DRAINING)
    assert await store.beat(draining)
    assert await store.list_nodes() == [draining, west]
    assert await store.remove_node("west")
    assert not await store.remove_node("west")
    assert await store.list_nodes() == [draining]


async def test_of_two_nodes_of_one_name_the_later_stays(store: SqlStore) -> None:
    later = replace(EAST, epoch=EPOCH + 1, started_ms=NOW_MS + 1)
    assert await store.beat(EAST)
    assert await store.beat(later)
    assert not await store.beat(replace(EAST, seen_ms=NOW_MS + 2))
    assert await store.list_nodes() == [later]


async def test_a_device_that_no_node_held_says_so(store: SqlStore) -> None:
    assert await presence_after(store) == Presence(LAMP, False, 0, 0, "", 0, 0, 0)
    assert await store.find_presence(DeviceKey(LAMP.product_key, "nobody")) is None


async def test_what_was_just_recorded_is_found(store: SqlStore) -> None:
    await presence_after(store)
    store.record_presence(came("east", EPOCH))
    assert await store.find_presence(LAMP) == Presence(LAMP, True, NOW_MS, NOW_MS, "east", EPOCH, 60, 0)


@pytest.mark.parametrize("together", [False, True])
async def test_an_earlier_connection_never_replaces_a_later_one(store: SqlStore, together: bool) -> None:
    changes = [
        came("east", EPOCH),
        came("west", EPOCH + 1, NOW_MS + 1),
        went("east", EPOCH, NOW_MS + 2, NOW_MS + 60_000),
    ]
    found = await presence_after(store, *([changes] if together else [[change] for change in changes]))
    assert found == Presence(LAMP, True, NOW_MS + 1, NOW_MS, "west", EPOCH + 1, 60, 0)


async def test_a_connection_that_was_not_closed_says_until_when_it_counts(store: SqlStore) -> None:
    found = await presence_after(store, [came("east", EPOCH)], [went("east", EPOCH, NOW_MS + 1, NOW_MS + 60_001)])
    assert found == Presence(LAMP, False, NOW_MS + 1, NOW_MS, "east", EPOCH, 60, NOW_MS + 60_001)


async def test_a_server_that_is_no_node_replaces_what_nodes_left(store: SqlStore) -> None:
    found = await presence_after(store, [came("east", EPOCH)], [PresenceChange(LAMP, True, NOW_MS + 1, "192.0.2.9")])
    assert found == Presence(LAMP, True, NOW_MS + 1, NOW_MS, "", 0, 0, 0)


async def test_devices_of_a_dead_node_are_released_where_no_other_took_them(store: SqlStore) -> None:
    found = await presence_after(store, [came("east", EPOCH)])
    assert await store.list_held_devices("west", 10) == []
    assert await store.list_held_devices("east", 0) == []
    assert await store.list_held_devices("east", 10) == [found]
    assert await store.release_devices([replace(found, holder_epoch=EPOCH - 1)], NOW_MS + 5) == []
    assert await store.release_devices([found], NOW_MS + 5) == [LAMP]
    assert await store.release_devices([found], NOW_MS + 6) == []
    assert await store.find_presence(LAMP) == replace(found, is_online=False, status_ms=NOW_MS + 5)
    assert await store.list_held_devices("east", 10) == []


async def test_the_latest_epoch_is_found(store: SqlStore) -> None:
    assert await store.find_latest_epoch() == 0
    await presence_after(store, [came("east", EPOCH)])
    assert await store.find_latest_epoch() == EPOCH


@pytest.mark.parametrize(("later", "is_taken"), [(-1, False), (0, True), (1, True), (-EPOCH, True)])
@pytest.mark.parametrize("is_brought", [False, True])
async def test_a_session_is_written_by_the_latest_connection_however_late(
    store: SqlStore, later: int, is_taken: bool, is_brought: bool
) -> None:
    holder_epoch = EPOCH + later

    async def write() -> None:
        # A message brings its session to the disk.
        assert await store.add_messages([a_message(1)]) if is_brought else await store.flush()

    await presence_after(store, [came("east", EPOCH)])
    store.record_session(a_session(kept_s=60.0, holder_epoch=holder_epoch))
    await write()
    assert [session.kept_s for session in await store.list_sessions()] == ([60.0] if is_taken else [])
    store.record_session(a_session(kept_s=7.0, holder_epoch=EPOCH))
    assert await store.flush()
    store.drop_session(LAMP, holder_epoch)
    await write()
    assert [session.kept_s for session in await store.list_sessions()] == ([] if is_taken else [7.0])


@pytest.mark.parametrize(("kept_until_ms", "then_ms"), [(0, NOW_MS + 5 + 60_500), (NOW_MS + 7, NOW_MS + 7)])
async def test_the_session_of_a_device_that_is_released_ends_as_if_it_had_gone(
    store: SqlStore, kept_until_ms: int, then_ms: int
) -> None:
    found = await presence_after(store, [came("east", EPOCH)])
    store.record_session(a_session(kept_s=60.5, kept_until_ms=kept_until_ms))
    assert await store.flush()
    assert await store.release_devices([found], NOW_MS + 5) == [LAMP]
    assert (await store.list_sessions())[0].kept_until_ms == then_ms

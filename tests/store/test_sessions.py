"""Sessions and the messages that wait for their devices, on every engine."""

import asyncio

import pytest

from linkstead.clock import milliseconds
from linkstead.registry import DeviceKey
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.store.sessions import MESSAGES_LISTED_MAX
from linkstead.store.sql import SqlStore
from tests.store.samples import (
    LAMP,
    NOW_MS,
    OTHER_LAMP,
    PRODUCT_KEY,
    a_device,
    a_message,
    a_session,
    add_lamps,
    an_open_call,
    count_of,
)

pytestmark = pytest.mark.asyncio

NO_LAMP = DeviceKey(PRODUCT_KEY, "none")


async def payloads(store: SqlStore, key: DeviceKey = LAMP) -> list[bytes]:
    return [message.payload for message in await store.list_messages(key)]


async def test_sessions_come_back_as_they_were(store: SqlStore) -> None:
    await add_lamps(store)
    assert await store.list_sessions() == []
    sessions = [a_session(), a_session(OTHER_LAMP, kept_s=0.5, kept_until_ms=NOW_MS, subscriptions={})]
    for session in sessions:
        store.record_session(session)
    assert await store.list_sessions() == sessions


async def test_sessions_that_are_over_can_be_listed(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_session(a_session(kept_until_ms=0))
    store.record_session(a_session(OTHER_LAMP, kept_until_ms=NOW_MS))
    await store.add_messages([a_message(1, key=OTHER_LAMP)])
    assert await store.expired_sessions(NOW_MS - 1, 10) == []
    assert await store.expired_sessions(NOW_MS, 10) == [a_session(OTHER_LAMP, kept_until_ms=NOW_MS, waiting=1)]
    assert await store.expired_sessions(NOW_MS, 0) == []


async def test_the_latest_state_of_a_session_counts(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_session(a_session())
    assert await store.flush()
    store.record_session(a_session(kept_until_ms=NOW_MS, subscriptions={"/new": 1}))
    assert await store.list_sessions() == [a_session(kept_until_ms=NOW_MS, subscriptions={"/new": 1})]


async def test_a_session_knows_how_many_messages_wait(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_session(a_session())
    store.record_session(a_session(OTHER_LAMP))
    await store.add_messages([a_message(1), a_message(2), a_message(3, key=NO_LAMP)])
    assert await store.list_sessions() == [a_session(waiting=2), a_session(OTHER_LAMP)]


async def test_a_topic_that_is_not_utf_8_cannot_be_kept(store: SqlStore) -> None:
    await add_lamps(store)
    with pytest.raises(ValueError, match="surrogates"):
        store.record_session(a_session(subscriptions={"\ud800": 1}))
    assert await store.list_sessions() == []


async def test_a_dropped_session_leaves_its_messages_until_each_is_dropped(store: SqlStore) -> None:
    await add_lamps(store)
    for key in (LAMP, OTHER_LAMP):
        store.record_session(a_session(key))
        await store.add_messages([a_message(1, key=key)])
    store.drop_session(LAMP)
    assert await store.list_sessions() == [a_session(OTHER_LAMP, waiting=1)]
    [left] = await store.list_messages(LAMP)
    store.drop_message(left.row_id)
    assert await payloads(store) == []
    assert await payloads(store, OTHER_LAMP) == [b"message 1"]


async def test_a_session_that_was_never_kept_can_be_dropped(store: SqlStore) -> None:
    await add_lamps(store)
    store.drop_session(LAMP)
    store.drop_session(NO_LAMP)
    assert await store.list_sessions() == []


async def test_a_message_brings_its_session_to_the_disk(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_session(a_session())
    store.record_session(a_session(OTHER_LAMP))
    await store.keep_calls([an_open_call(1)], [a_message(1)])
    assert await store._read(lambda connection: count_of(connection, "session")) == 1
    store.drop_session(LAMP)
    store.record_session(a_session(kept_s=60.0))
    await store.add_messages([a_message(2)])
    assert await store._read(lambda connection: count_of(connection, "message")) == 2
    assert await store.list_sessions() == [a_session(kept_s=60.0, waiting=2), a_session(OTHER_LAMP)]


async def test_messages_come_back_in_the_order_they_were_accepted(store: SqlStore) -> None:
    await add_lamps(store)
    first = await store.add_messages([a_message(1), a_message(2, key=OTHER_LAMP), a_message(3)])
    second = await store.add_messages([a_message(4, payload=b"", call_id="", accepted_ms=NOW_MS - 1)])
    assert first == sorted(set(first))
    assert await store.list_messages(LAMP) == [
        a_message(1, row_id=first[0]),
        a_message(3, row_id=first[2]),
        a_message(4, payload=b"", call_id="", accepted_ms=NOW_MS - 1, row_id=second[0]),
    ]
    assert await store.add_messages([]) == []


async def test_of_many_devices_those_are_found_for_which_something_waits(store: SqlStore) -> None:
    await add_lamps(store)
    assert await store.find_awaited([LAMP, OTHER_LAMP]) == []
    await store.add_messages([a_message(1), a_message(2), a_message(3, key=OTHER_LAMP)])
    assert sorted(await store.find_awaited([LAMP, OTHER_LAMP, NO_LAMP])) == sorted([LAMP, OTHER_LAMP])
    assert await store.find_awaited([OTHER_LAMP]) == [OTHER_LAMP]
    assert await store.find_awaited([]) == []


async def test_a_forgotten_message_is_gone_and_its_id_not_given_again(store: SqlStore) -> None:
    await add_lamps(store)
    ids = await store.add_messages([a_message(1), a_message(2)])
    for row_id in ids:
        store.drop_message(row_id)
    store.drop_message(max(ids) + 1)
    assert await payloads(store) == []
    [row_id] = await store.add_messages([a_message(3)])
    assert row_id > max(ids)
    assert await payloads(store) == [b"message 3"]


async def test_messages_past_their_age_are_told_of_oldest_first(store: SqlStore) -> None:
    await add_lamps(store)
    age_ms = milliseconds(QUEUED_AGE_S_MAX)
    await store.add_messages([a_message(1, accepted_ms=NOW_MS + 2), a_message(2, accepted_ms=NOW_MS + 1)])
    await store.add_messages([a_message(3, accepted_ms=NOW_MS, key=OTHER_LAMP)])
    assert await store.expired_messages(NOW_MS + age_ms, 9) == []
    [expired] = await store.expired_messages(NOW_MS + age_ms + 1, 9)
    assert expired == a_message(3, accepted_ms=NOW_MS, key=OTHER_LAMP, row_id=expired.row_id)
    everything = await store.expired_messages(NOW_MS + age_ms + 3, 9)
    assert [message.payload for message in everything] == [b"message 3", b"message 2", b"message 1"]
    assert await store.expired_messages(NOW_MS + age_ms + 3, 2) == everything[:2]
    assert await store.expired_messages(NOW_MS + age_ms + 3, 0) == []
    assert await store.expired_messages(NOW_MS + age_ms + 3, -1) == []
    store.drop_message(expired.row_id)
    assert await store.expired_messages(NOW_MS + age_ms + 3, 9) == everything[1:]


async def test_a_listing_of_expired_messages_has_an_end(store: SqlStore) -> None:
    await store.add_messages([a_message(accepted_ms=0)] * (MESSAGES_LISTED_MAX + 1))
    for limit in (MESSAGES_LISTED_MAX, MESSAGES_LISTED_MAX + 1):
        assert len(await store.expired_messages(NOW_MS, limit)) == MESSAGES_LISTED_MAX


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_deleted_device_takes_session_and_messages_with_it(store: SqlStore, is_written: bool) -> None:
    await add_lamps(store)
    for key in (LAMP, OTHER_LAMP):
        store.record_session(a_session(key))
        await store.add_messages([a_message(1, key=key)])
    store.drop_session(OTHER_LAMP)
    store.record_session(a_session(OTHER_LAMP))
    if is_written:
        assert await store.flush()
    assert await store.delete_device(OTHER_LAMP)
    store.record_session(a_session(OTHER_LAMP))
    assert await store.flush()
    await store.add_devices([a_device("lamp-0002")])
    assert await store.list_sessions() == [a_session(waiting=1)]
    assert await payloads(store, OTHER_LAMP) == []
    assert await payloads(store) == [b"message 1"]


async def test_a_device_that_is_not_there_takes_no_message_with_it(store: SqlStore) -> None:
    """The call that such a message belongs to ends with it when it has expired, not without a word."""
    await add_lamps(store)
    await store.add_messages([a_message(1, key=NO_LAMP)])
    assert not await store.delete_device(NO_LAMP)
    assert await payloads(store, NO_LAMP) == [b"message 1"]


async def test_sessions_and_messages_do_not_raise_the_version(store: SqlStore) -> None:
    await add_lamps(store)
    version = await store.registry_version()
    store.record_session(a_session())
    [row_id] = await store.keep_calls([an_open_call(1)], [a_message(1)])
    store.drop_message(row_id)
    assert await store.flush()
    assert await store.registry_version() == version


async def test_a_session_of_an_earlier_version_is_read(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_session(a_session(subscriptions={"/a/b": 1}, subscribed_ms={}))
    store.record_session(a_session(OTHER_LAMP, subscriptions={"/a/b": 1, "/c": 0}, subscribed_ms={"/c": NOW_MS}))
    old, new = await store.list_sessions()
    assert (old.subscriptions, old.subscribed_ms) == ({"/a/b": 1}, {})
    assert (new.subscriptions, new.subscribed_ms) == ({"/a/b": 1, "/c": 0}, {"/c": NOW_MS})


async def test_sessions_that_are_asked_for_at_once_are_read_together(store: SqlStore) -> None:
    await add_lamps(store)
    keys = [LAMP, OTHER_LAMP, NO_LAMP, DeviceKey("nobody", "lamp")] * 20
    store.record_session(a_session(subscriptions={"/one": 1}))
    before = store.statement_count
    found = await asyncio.gather(*(store.find_session(key) for key in keys))
    assert found == [a_session(subscriptions={"/one": 1}), None, None, None] * 20
    assert store.statement_count - before < len(keys)

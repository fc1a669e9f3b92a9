"""The store as a whole, on every engine: when what was recorded shows, and what a warm call costs."""

import asyncio

import pytest

from linkstead.invocation import CallFilter, Diagnosis, Verdict
from linkstead.registry import PresenceChange, Registry
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.store.sql import SqlStore
from linkstead.testing.clock import ManualClock
from tests.store.samples import (
    ACCOUNT_ID,
    LAMP,
    NOW_MS,
    PRODUCT_KEY,
    a_call,
    a_device,
    a_message,
    a_point,
    a_product,
    a_session,
    an_access_key,
    an_account,
    an_event,
    an_open_call,
    count_of,
    until_written,
)

pytestmark = pytest.mark.asyncio


async def fill(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_access_key(an_access_key())
    await store.add_product(a_product())
    await store.add_devices([a_device()])


async def test_a_warm_call_runs_no_statement(store: SqlStore, clock: ManualClock) -> None:
    await fill(store)
    registry = Registry(store, clock.monotonic_s)

    async def look_up() -> None:
        assert await registry.find_access_key("key-1") == an_access_key()
        assert await registry.find_product(PRODUCT_KEY) == a_product()
        assert await registry.find_device(LAMP) == a_device()

    cold = store.statement_count
    await look_up()
    warm = store.statement_count
    assert warm > cold
    for number in range(1, 4):
        await look_up()
        store.record_call(a_call(number))
        assert store.statement_count == warm
    await store.flush()
    assert store.statement_count == warm


async def test_calls_are_written_when_the_clock_says_so(store: SqlStore, clock: ManualClock) -> None:
    store.record_call(a_call(1))
    clock.advance(BATCH_DELAY_S)
    await until_written(store)
    assert store.history_dropped == 0
    assert [call.message_id for call in await store.list_calls(CallFilter(ACCOUNT_ID))] == [1]


async def test_all_that_waits_is_written_when_the_clock_says_so(store: SqlStore, clock: ManualClock) -> None:
    await fill(store)
    [row_id] = await store.add_messages([a_message()])

    async def written() -> list[int]:
        tables = ("property_history", "property_present", "event_history", "session", "message")
        return await store._read(lambda connection: [count_of(connection, table) for table in tables])

    store.record_properties([a_point(), a_point("2")])
    store.record_event(an_event())
    store.record_session(a_session())
    store.drop_message(row_id)
    store.record_call(a_call(1))
    clock.advance(BATCH_DELAY_S * 0.98)
    await asyncio.sleep(0)
    assert await written() == [0, 0, 0, 0, 1]
    clock.advance(BATCH_DELAY_S * 0.02)
    await until_written(store)
    assert await written() == [2, 1, 1, 1, 0]


async def test_a_call_that_ends_while_it_is_looked_for_is_not_found_open(store: SqlStore, clock: ManualClock) -> None:
    await fill(store)
    for number in range(1, 41):
        call = an_open_call(number)
        await store.keep_calls([call], [])
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
        store.record_call(call)
        if number % 2:
            clock.advance(BATCH_DELAY_S)
            await asyncio.sleep(0)
        assert await store.find_open_call(LAMP, number) is None


async def test_a_call_just_recorded_is_found_and_listed(store: SqlStore) -> None:
    store.record_call(a_call(1))
    assert len(await store.list_calls(CallFilter(ACCOUNT_ID))) == 1
    store.record_call(a_call(2))
    assert await store.find_call(ACCOUNT_ID, "2") is not None


async def test_every_read_of_devices_shows_what_was_recorded_before(store: SqlStore) -> None:
    await fill(store)
    store.record_presence(PresenceChange(LAMP, True, NOW_MS + 1, "192.0.2.1"))
    device = await store.find_device(LAMP)
    assert device is not None
    assert device.is_online
    store.record_presence(PresenceChange(LAMP, False, NOW_MS + 2))
    [device] = await store.find_devices([LAMP])
    assert (device.is_online, device.status_ms) == (False, NOW_MS + 2)
    store.record_presence(PresenceChange(LAMP, True, NOW_MS + 3, "192.0.2.2"))
    [device] = (await store.list_devices(PRODUCT_KEY, 0, 1)).records
    assert device.ip_address == "192.0.2.2"
    store.record_presence(PresenceChange(LAMP, False, NOW_MS + 4))
    found = await store.find_device_by_iot_id(device.iot_id)
    assert found is not None
    assert found.status_ms == NOW_MS + 4


async def test_presence_being_written_is_waited_for(store: SqlStore, clock: ManualClock) -> None:
    await fill(store)
    for second in range(20):
        store.record_presence(PresenceChange(LAMP, True, NOW_MS + second, "192.0.2.1"))
        clock.advance(BATCH_DELAY_S)
        await asyncio.sleep(0)
        device = await store.find_device(LAMP)
        assert device is not None
        assert device.online_ms == NOW_MS + second


async def test_closing_twice_is_harmless(store: SqlStore) -> None:
    await store.close()
    await store.close()
    store.record_call(a_call(1))
    assert store.history_dropped == 1


async def test_a_write_whose_caller_is_cancelled_has_ended_when_that_is_told(store: SqlStore) -> None:
    await fill(store)
    for disabled in (True, False) * 10:
        changing = asyncio.ensure_future(store.set_access_key_enabled("key-1", not disabled))
        await asyncio.sleep(0)
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert await store.find_access_key("key-1") == an_access_key(enabled=not disabled)

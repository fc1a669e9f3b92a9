"""From a notice to the consumers of a group, through a whole server."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from linkstead.registry import DeviceKey
from linkstead.server import REGISTRY_POLL_S
from linkstead.store import SqliteStore
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation, destination_of
from linkstead.testing.clock import ManualClock
from tests.rig import ACCOUNT_ID, LAMP, OTHER_LAMP, OTHER_PRODUCT_KEY, PRODUCT_KEY, Rig, RigStarter, running
from tests.store.samples import a_notice
from tests.subscription.desk import Taker

pytestmark = pytest.mark.asyncio

DESTINATION = destination_of(ACCOUNT_ID, DEFAULT_GROUP_ID)
RELATION = SubscribeRelation(PRODUCT_KEY, "AMQP", frozenset({NoticeKind.DEVICE_DATA}), (DEFAULT_GROUP_ID,))


def attach(rig: Rig, credit: int = 10) -> Taker:
    """A consumer of the default group."""
    taker = Taker()
    taker.attachment = rig.server.dispatcher.attach(DESTINATION, taker)
    taker.attachment.grant(credit)
    return taker


def forward(rig: Rig, payload: bytes, key: DeviceKey = LAMP, kind: NoticeKind = NoticeKind.DEVICE_DATA) -> None:
    rig.server.forwarder.forward(ACCOUNT_ID, key, kind, f"/{key.product_key}/{key.device_name}/user/a", payload)


async def until(rig: Rig, condition: Callable[[], object]) -> None:
    """Let batches be written until something has come; the test's own time limit ends a wait for ever."""
    while not condition():
        rig.clock.advance(BATCH_DELAY_S)
        await asyncio.sleep(0.001)


async def test_a_notice_reaches_the_group_that_subscribed(rig: Rig) -> None:
    await rig.server.store.add_relation(RELATION)
    taker = attach(rig)
    forward(rig, b"data")
    forward(rig, b"status", kind=NoticeKind.STATUS_CHANGE)
    forward(rig, b"of another product", OTHER_LAMP)
    forward(rig, b"more data")
    await until(rig, lambda: len(taker.letters) == 2)
    assert [(letter.topic, letter.payload) for letter in taker.letters] == [
        (f"/{PRODUCT_KEY}/{LAMP.device_name}/user/a", b"data"),
        (f"/{PRODUCT_KEY}/{LAMP.device_name}/user/a", b"more data"),
    ]


async def test_a_subscription_made_by_another_process_is_noticed(rig: Rig) -> None:
    taker = attach(rig)
    forward(rig, b"to nobody")
    await until(rig, lambda: not rig.server.forwarder.wants(PRODUCT_KEY, NoticeKind.DEVICE_DATA))
    other = rig.another_store()
    await other.open()
    await other.add_relation(RELATION)
    await other.close()
    rig.clock.advance(REGISTRY_POLL_S)
    await until(rig, lambda: rig.server.forwarder.wants(PRODUCT_KEY, NoticeKind.DEVICE_DATA))
    forward(rig, b"to a group")
    await until(rig, lambda: taker.letters)
    assert [letter.payload for letter in taker.letters] == [b"to a group"]


async def test_what_a_server_that_died_had_handed_out_is_delivered_by_the_next(
    filled_database: Path, tmp_path: Path
) -> None:
    filled = tmp_path / "filled.db"
    shutil.copyfile(filled_database, filled)
    clock = ManualClock()
    store = SqliteStore(filled, clock)
    await store.open()
    store.record_notice([DESTINATION], a_notice(1))
    assert await store.flush()
    now_ms = int(clock.time_s() * 1000)
    assert len(await store.lease_letters(DESTINATION, 1, now_ms, now_ms + 90_000)) == 1
    await store.close()
    folder = tmp_path / "data"
    folder.mkdir()
    async with running(filled, folder) as rig:
        taker = attach(rig)
        await until(rig, lambda: taker.letters)
        assert (taker.numbers, taker.attempts) == ([1], [2])


async def test_what_waits_when_a_server_stops_is_on_the_disk(start_rig: RigStarter) -> None:
    rig = await start_rig()
    await rig.server.store.add_relation(RELATION)
    taker = attach(rig)
    forward(rig, b"1")
    await until(rig, lambda: taker.letters)
    forward(rig, b"2")
    forward(rig, b"3", DeviceKey(OTHER_PRODUCT_KEY, "lamp-01"))
    await rig.server.stop()
    store = rig.another_store()
    await store.open()
    now_ms = rig.server.dispatcher.now_ms()
    letters = await store.lease_letters(DESTINATION, 10, now_ms, now_ms)
    assert [(letter.payload, letter.attempts) for letter in letters] == [(b"1", 2), (b"2", 1)]
    await store.close()

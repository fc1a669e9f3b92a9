"""Who is told what, and what happens while that is not known."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from linkstead.ids import Ids
from linkstead.registry import DeviceKey, Registry
from linkstead.store import SqliteStore
from linkstead.subscription import (
    BacklogStore,
    Forwarder,
    GroupDestinations,
    Notice,
    NoticeKind,
    NoticeSink,
    NotKept,
    forwarder,
)
from linkstead.subscription.forwarder import (
    DROPPED_LOGGED_EVERY_S,
    PRODUCTS_CACHED_MAX,
    READ_RETRY_S,
    STALE_S_MAX,
    WAITING_BYTES_MAX,
    WAITING_NOTICES_MAX,
)
from linkstead.testing.clock import ManualClock
from tests.fakes import FakeStore, ListedIds
from tests.store.samples import (
    ACCOUNT_ID,
    DESTINATION,
    LAMP,
    NOW_MS,
    OTHER_DESTINATION,
    PRODUCT_KEY,
    a_relation,
    add_lamps,
)

pytestmark = pytest.mark.asyncio

DATA, STATUS, TAG = NoticeKind.DEVICE_DATA, NoticeKind.STATUS_CHANGE, NoticeKind.DEVICE_TAG
OTHER_PRODUCT = DeviceKey("a1Lamp00002", "lamp-0001")


@dataclass
class Recorder:
    """What the forwarder asks of a `BacklogStore`: keeps what is recorded."""

    notices: list[tuple[list[str], Notice]] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    is_full: bool = False

    async def flush(self) -> bool:
        self.flushed.append(len(self.notices))
        return not self.is_full

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        self.notices.append((list(destinations), notice))

    @property
    def payloads(self) -> list[bytes]:
        return [notice.payload for _, notice in self.notices]


class Source:
    """Implements `DestinationSource`; it waits for `gate`, and fails while `is_broken`."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self.told: Mapping[NoticeKind, tuple[str, ...]] = {NoticeKind(kind): value for kind, value in names.items()}
        self.reads: list[str] = []
        self.is_broken = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def destinations(self, product_key: str) -> Mapping[NoticeKind, Sequence[str]]:
        self.reads.append(product_key)
        told = self.told
        await self.gate.wait()
        if self.is_broken:
            raise OSError("no store")
        return told


class Setting:
    """A forwarder, who subscribed, and what it recorded."""

    def __init__(self, *sources: Source) -> None:
        self.clock = ManualClock()
        self.backlog = Recorder()
        self.source = sources[0] if sources else Source(device_data=("1001/one",))
        backlog, ids = cast("BacklogStore", self.backlog), cast("Ids", ListedIds())
        self.forwarder = Forwarder(backlog, sources or [self.source], self.clock, ids)

    def forward(self, *payloads: bytes, key: DeviceKey = LAMP, kind: NoticeKind = DATA) -> None:
        sink: NoticeSink = self.forwarder
        for payload in payloads:
            sink.forward(ACCOUNT_ID, key, kind, "/a/topic", payload, 1)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_a_notice_goes_to_everybody_who_subscribed_to_its_kind() -> None:
    setting = Setting(Source(device_data=("g1", "g2"), device_tag=("g1",)), Source(device_data=("w1",)))
    setting.forward(b"data")
    setting.forward(b"tag", kind=TAG)
    setting.forward(b"status", kind=STATUS)
    await setting.settle()
    [(data_for, data), (tag_for, tag)] = setting.backlog.notices
    assert (data_for, tag_for) == (["g1", "g2", "w1"], ["g1"])
    assert data == Notice(ACCOUNT_ID, LAMP, DATA, "/a/topic", b"data", data.message_id, NOW_MS, 1)
    assert tag.message_id > data.message_id


async def test_once_it_is_known_who_subscribed_a_notice_is_recorded_at_once(setting: Setting) -> None:
    setting.forward(b"1")
    assert setting.backlog.payloads == []
    await setting.settle()
    setting.forward(b"2", b"3")
    setting.forward(b"unwanted", kind=STATUS)
    assert setting.backlog.payloads == [b"1", b"2", b"3"]
    assert setting.source.reads == [PRODUCT_KEY]


async def test_what_was_prepared_is_recorded_at_once(setting: Setting) -> None:
    setting.source.gate.clear()
    preparing = asyncio.ensure_future(setting.forwarder.prepare(PRODUCT_KEY))
    await setting.settle()
    assert not preparing.done()
    setting.source.gate.set()
    await preparing
    setting.forward(b"1")
    assert setting.backlog.payloads == [b"1"]
    await setting.forwarder.prepare(PRODUCT_KEY)
    assert setting.source.reads == [PRODUCT_KEY]


async def test_nobody_is_prepared_while_the_store_cannot_tell(setting: Setting) -> None:
    setting.source.is_broken = True
    for _ in range(2):
        with pytest.raises(NotKept):
            await setting.forwarder.prepare(PRODUCT_KEY)
    setting.source.is_broken = False
    setting.clock.advance(READ_RETRY_S)
    await setting.settle()
    await setting.forwarder.prepare(PRODUCT_KEY)
    assert setting.source.reads == [PRODUCT_KEY] * 2


async def test_who_knew_the_subscribers_is_prepared_by_them_while_the_store_cannot_tell(setting: Setting) -> None:
    await setting.forwarder.prepare(PRODUCT_KEY)
    setting.forwarder.forget_all()
    setting.clock.advance(STALE_S_MAX)
    setting.source.is_broken = True
    await setting.forwarder.prepare(PRODUCT_KEY)
    setting.forward(b"1")
    assert setting.backlog.payloads == [b"1"]


async def test_nobody_waits_to_be_prepared_by_a_server_that_stops(setting: Setting) -> None:
    setting.source.gate.clear()
    preparing = asyncio.ensure_future(setting.forwarder.prepare(PRODUCT_KEY))
    await setting.settle()
    draining = asyncio.ensure_future(setting.forwarder.drain())
    await setting.settle()
    setting.source.is_broken = True
    setting.source.gate.set()
    await draining
    await preparing
    assert setting.backlog.notices == []


async def test_a_message_that_nobody_wants_need_not_be_made(setting: Setting) -> None:
    assert [setting.forwarder.wants(PRODUCT_KEY, kind) for kind in (DATA, TAG)] == [True, True]
    await setting.settle()
    assert [setting.forwarder.wants(PRODUCT_KEY, kind) for kind in (DATA, TAG)] == [True, False]
    assert setting.source.reads == [PRODUCT_KEY]


async def test_a_kind_that_has_nobody_is_not_wanted() -> None:
    setting = Setting(Source(device_data=()))
    setting.forward(b"1")
    await setting.settle()
    assert not setting.forwarder.wants(PRODUCT_KEY, DATA)
    assert setting.backlog.notices == []


async def test_notices_of_a_product_keep_their_order_while_the_store_is_asked(setting: Setting) -> None:
    setting.source.gate.clear()
    setting.forward(b"1", b"2")
    await setting.settle()
    setting.forward(b"3")
    assert setting.forwarder.waiting_count == 3
    setting.source.gate.set()
    await setting.settle()
    setting.forward(b"4")
    assert setting.backlog.payloads == [b"1", b"2", b"3", b"4"]
    assert setting.forwarder.waiting_count == 0


async def test_after_a_change_a_notice_goes_by_the_new_subscription(setting: Setting) -> None:
    setting.forward(b"1")
    await setting.settle()
    setting.source.told = {DATA: ("1001/two",)}
    setting.forwarder.forget(PRODUCT_KEY)
    setting.forward(b"2")
    await setting.settle()
    assert [names for names, _ in setting.backlog.notices] == [["1001/one"], ["1001/two"]]


async def test_a_change_while_the_store_is_asked_is_not_missed(setting: Setting) -> None:
    setting.source.gate.clear()
    setting.forward(b"1")
    await setting.settle()
    setting.source.told = {DATA: ("1001/two",)}
    setting.forwarder.forget(PRODUCT_KEY)
    setting.source.gate.set()
    await setting.settle()
    assert [names for names, _ in setting.backlog.notices] == [["1001/two"]]
    assert setting.source.reads == [PRODUCT_KEY, PRODUCT_KEY]


async def test_what_another_process_changed_is_read_while_the_earlier_is_used(setting: Setting) -> None:
    setting.forward(b"1")
    await setting.settle()
    setting.source.told = {TAG: ("1001/two",)}
    setting.forwarder.forget_all()
    assert not setting.forwarder.wants(PRODUCT_KEY, TAG)
    setting.forward(b"2")
    assert setting.backlog.payloads == [b"1", b"2"]
    await setting.settle()
    assert [setting.forwarder.wants(PRODUCT_KEY, kind) for kind in (DATA, TAG)] == [False, True]
    assert setting.source.reads == [PRODUCT_KEY, PRODUCT_KEY]


@pytest.mark.parametrize(("later_s", "payloads"), [(STALE_S_MAX - 0.1, [b"1", b"2"]), (STALE_S_MAX, [b"1"])])
async def test_what_was_at_hand_is_used_for_a_moment_after_it_may_have_changed(
    setting: Setting, later_s: float, payloads: list[bytes]
) -> None:
    setting.forward(b"1")
    await setting.settle()
    setting.forwarder.forget_all()
    setting.clock.advance(later_s)
    setting.forward(b"2")
    assert setting.backlog.payloads == payloads
    await setting.settle()
    assert setting.backlog.payloads == [b"1", b"2"]


async def test_what_was_at_hand_grows_old_from_the_first_change_on(setting: Setting) -> None:
    setting.forward(b"1")
    await setting.settle()
    setting.source.told = {DATA: ("1001/two",)}
    setting.forwarder.forget_all()
    setting.clock.advance(STALE_S_MAX - 0.1)
    setting.forwarder.forget_all()
    setting.clock.advance(0.1)
    setting.forward(b"2")
    assert setting.backlog.payloads == [b"1"]
    await setting.settle()
    assert [names for names, _ in setting.backlog.notices] == [["1001/one"], ["1001/two"]]


async def test_what_was_at_hand_of_a_product_is_used_when_another_changed_long_after_all_did(setting: Setting) -> None:
    setting.forwarder.forget_all()
    setting.forward(b"1")
    await setting.settle()
    setting.clock.advance(STALE_S_MAX)
    setting.forwarder.forget(OTHER_PRODUCT.product_key)
    setting.forward(b"2")
    assert setting.backlog.payloads == [b"1", b"2"]
    await setting.settle()
    assert setting.source.reads == [PRODUCT_KEY, PRODUCT_KEY]


async def test_what_was_at_hand_is_used_for_as_long_as_the_store_cannot_tell(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.forward(b"1")
    await setting.settle()
    setting.forwarder.forget_all()
    setting.clock.advance(STALE_S_MAX)
    setting.source.is_broken = True
    setting.forward(b"2")
    assert setting.backlog.payloads == [b"1"]
    await setting.settle()
    assert setting.backlog.payloads == [b"1", b"2"]
    assert setting.forwarder.waiting_count == 0
    setting.forward(b"3")
    assert setting.backlog.payloads == [b"1", b"2", b"3"]
    setting.source.is_broken = False
    setting.source.told = {DATA: ("1001/two",)}
    setting.clock.advance(READ_RETRY_S)
    await setting.settle()
    setting.forward(b"4")
    assert [names for names, _ in setting.backlog.notices] == [["1001/one"]] * 3 + [["1001/two"]]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_source_that_fails_is_asked_again_and_nothing_is_lost(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.source.is_broken = True
    setting.forward(b"1")
    await setting.settle()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    setting.source.is_broken = False
    setting.forward(b"2")
    setting.clock.advance(READ_RETRY_S)
    await setting.settle()
    assert setting.backlog.payloads == [b"1", b"2"]


async def test_draining_waits_for_the_store(setting: Setting) -> None:
    setting.forward(b"1")
    await setting.forwarder.drain()
    assert setting.backlog.payloads == [b"1"]


async def test_draining_gives_up_a_store_that_fails(setting: Setting) -> None:
    setting.source.is_broken = True
    setting.forward(b"1", b"2")
    await setting.forwarder.drain()
    assert (setting.forwarder.waiting_count, setting.forwarder.dropped_count) == (0, 2)
    assert setting.backlog.payloads == []


async def test_so_many_notices_wait_and_no_more(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.source.gate.clear()
    setting.forward(*([b"1"] * WAITING_NOTICES_MAX))
    assert (setting.forwarder.waiting_count, setting.forwarder.dropped_count) == (WAITING_NOTICES_MAX, 0)
    setting.forward(b"2", b"3")
    assert (setting.forwarder.waiting_count, setting.forwarder.dropped_count) == (WAITING_NOTICES_MAX, 2)
    assert len(caplog.messages) == 1
    setting.clock.advance(DROPPED_LOGGED_EVERY_S)
    setting.forward(b"4")
    assert len(caplog.messages) == 2
    setting.source.gate.set()
    await setting.settle()
    assert len(setting.backlog.notices) == WAITING_NOTICES_MAX
    setting.source.gate.clear()
    setting.forward(b"5", key=OTHER_PRODUCT)
    assert setting.forwarder.waiting_count == 1
    setting.source.gate.set()
    await setting.settle()


async def test_so_many_bytes_wait_and_no_more(setting: Setting) -> None:
    setting.forward(bytes(WAITING_BYTES_MAX))
    assert setting.forwarder.dropped_count == 0
    setting.forward(b"1")
    assert setting.forwarder.dropped_count == 1
    await setting.settle()
    setting.forward(bytes(WAITING_BYTES_MAX), key=OTHER_PRODUCT)
    assert setting.forwarder.dropped_count == 1
    setting.forward(bytes(WAITING_BYTES_MAX), b"2")
    assert setting.forwarder.dropped_count == 1
    await setting.settle()
    assert len(setting.backlog.notices) == 4


async def test_so_many_products_are_kept_at_hand_and_the_one_unused_for_longest_goes(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PRODUCTS_CACHED_MAX == 10_000
    monkeypatch.setattr(forwarder, "PRODUCTS_CACHED_MAX", 2)
    for product_key in ("a", "b", "a", "c", "a", "b"):
        setting.forwarder.wants(product_key, DATA)
        await setting.settle()
    assert setting.source.reads == ["a", "b", "c", "b"]


async def test_groups_are_told_by_the_names_of_the_products_account(store: SqliteStore, clock: ManualClock) -> None:
    await add_lamps(store)
    registry = Registry(store, clock.monotonic_s)
    source = GroupDestinations(store, registry)
    assert await source.destinations(PRODUCT_KEY) == {}
    await store.add_relation(a_relation())
    names = [DESTINATION, OTHER_DESTINATION]
    assert await source.destinations(PRODUCT_KEY) == {DATA: names, STATUS: names}
    # The product is deleted between two reads.
    registry.store = FakeStore().port
    registry.forget_all()
    assert await source.destinations(PRODUCT_KEY) == {}
    await store.update_relation(a_relation(group_ids=()))
    assert await source.destinations(PRODUCT_KEY) == {}
    assert await source.destinations("a1None00001") == {}


async def test_settling_waits_until_it_is_known_who_subscribed_and_has_that_written(setting: Setting) -> None:
    setting.source.gate.clear()
    setting.forward(b"one")
    settling = asyncio.ensure_future(setting.forwarder.settle())
    await setting.settle()
    assert not settling.done()
    setting.source.gate.set()
    await settling
    assert setting.backlog.flushed == [1]
    setting.forward(b"two")
    await setting.forwarder.settle()
    assert setting.backlog.flushed == [1, 2]


async def test_settling_fails_at_once_while_the_store_cannot_tell(setting: Setting) -> None:
    setting.source.is_broken = True
    setting.forward(b"one")
    with pytest.raises(NotKept):
        await setting.forwarder.settle()
    setting.forward(b"two")
    with pytest.raises(NotKept):
        await setting.forwarder.settle()
    assert setting.backlog.flushed == []
    setting.source.is_broken = False
    setting.clock.advance(READ_RETRY_S)
    await setting.settle()
    await setting.forwarder.settle()
    assert setting.backlog.payloads == [b"one", b"two"]


async def test_settling_goes_by_whom_it_knew_while_the_store_cannot_tell(setting: Setting) -> None:
    setting.forward(b"one")
    await setting.forwarder.settle()
    setting.forwarder.forget_all()
    setting.clock.advance(STALE_S_MAX)
    setting.source.is_broken = True
    setting.forward(b"two")
    await setting.forwarder.settle()
    assert setting.backlog.payloads == [b"one", b"two"]
    assert setting.backlog.flushed == [1, 2]


async def test_settling_fails_while_the_disk_takes_nothing(setting: Setting) -> None:
    setting.backlog.is_full = True
    setting.forward(b"one")
    with pytest.raises(NotKept):
        await setting.forwarder.settle()

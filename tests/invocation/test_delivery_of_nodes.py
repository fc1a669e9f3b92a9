"""Delivery where other nodes may hold the device, and have the answer."""

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest

from linkstead.invocation import Call, Diagnosis, Stage, Verdict, delivery
from linkstead.invocation.delivery import ANSWER_WRITTEN_S_MAX, LEFT_BEHIND_S, SEND_FAILED
from linkstead.invocation.record import Stray
from linkstead.registry import DeviceKey
from linkstead.server import DATABASE_FILE
from linkstead.sessions import QueuedMessage, SavedMessage
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.testing.clock import ManualClock
from tests.actions.world import World
from tests.fakes import KEY, NOW_MS, FakeLink
from tests.invocation.deliveries import (
    DELIVERED,
    TOPIC,
    GatedStore,
    WatchingPostman,
    a_call,
    answer,
    away,
    ending,
    messages,
    opened,
    post,
    stored,
    waiting,
)
from tests.wire import until

pytestmark = pytest.mark.asyncio


async def test_what_was_dropped_with_a_session_is_off_the_disk_before_another_node_looks(
    world: World, tmp_path: Path
) -> None:
    postman = WatchingPostman(tmp_path / DATABASE_FILE)
    world.delivery.join(postman)
    link = FakeLink()
    world.attach(link)
    await post(world, 1)
    posting = asyncio.ensure_future(post(world, 2))
    await asyncio.sleep(0)
    world.detach(link)
    await posting
    await until(lambda: postman.kept)
    assert postman.kept == [1]


async def test_what_is_in_the_store_is_sent_once_though_it_is_looked_for_twice_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    async with opened(path, ManualClock(), GatedStore) as world:
        store = world.store
        assert isinstance(store, GatedStore)
        store.gate = asyncio.Event()
        world.delivery.join(WatchingPostman(path))
        link = FakeLink()
        session = world.attach(link, kept_s=QUEUED_AGE_S_MAX)
        call = a_call(world, alink_id=0, action="Pub", is_asynchronous=True)
        await world.store.keep_calls([call], [SavedMessage(KEY, TOPIC, b"news", NOW_MS, call.request_id)])
        call.is_handed_over = True
        world.journal.close(call)
        looking = [asyncio.create_task(world.delivery.take_up(KEY), name=name) for name in ("first", "second")]
        await looking[0]
        await until(lambda: looking[1].done() or store.seconds > 1)
        (message,) = waiting(session)
        world.sessions.note_sent(message)
        world.sessions.acknowledge(session, message)
        store.gate.set()
        await looking[1]
        assert waiting(session) == []
        assert ending(await stored(world, call)) == DELIVERED


async def test_it_is_written_of_a_session_by_which_connection_it_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(world.store, "record_session", lambda session: written.append(session.holder_epoch))
    monkeypatch.setattr(world.store, "drop_session", lambda _, holder_epoch: written.append(holder_epoch))
    world.delivery.date_sessions({KEY: 7}.__getitem__)
    link = FakeLink()
    world.attach(link, kept_s=QUEUED_AGE_S_MAX)
    world.attach(FakeLink())
    assert set(written) == {7}
    assert len(written) > 1


async def test_who_looks_again_has_it_looked_for_again_though_it_failed_before(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_messages, gate, looks = world.store.list_messages, asyncio.Event(), 0

    async def fail_once(key: DeviceKey) -> list[SavedMessage]:
        nonlocal looks
        looks += 1
        if looks == 1:
            await gate.wait()
            raise sqlite3.OperationalError
        return await list_messages(key)

    monkeypatch.setattr(world.store, "list_messages", fail_once)
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    link = FakeLink()
    session = world.attach(link, kept_s=QUEUED_AGE_S_MAX)
    looking = asyncio.create_task(world.delivery.take_up(KEY))
    await until(lambda: looks == 1)
    call = a_call(world, alink_id=0, action="Pub", is_asynchronous=True)
    await world.store.keep_calls([call], [SavedMessage(KEY, TOPIC, b"news", NOW_MS, call.request_id)])
    await world.delivery.take_up(KEY)
    gate.set()
    await looking
    assert [message.payload for message in waiting(session)] == [b"news"]


async def test_looking_fails_where_the_store_does(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(key: DeviceKey) -> list[SavedMessage]:
        raise sqlite3.OperationalError

    monkeypatch.setattr(world.store, "list_messages", fail)
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    world.attach(FakeLink())
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            await world.delivery.take_up(KEY)


async def dropped_of(
    world: World, node: str, tmp_path: Path, *, is_written: bool = True, is_restored: bool = False
) -> Call:
    """A call that a node had in hand; its message is dropped here with the session of its device.

    Args:
        is_written: the store knows that its message left.
        is_restored: the message was in the store meanwhile.
    """
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    call = a_call(world, action="InvokeThingService", is_asynchronous=True)
    call.node = node
    if is_written:
        call.mark(Stage.WRITTEN, world.clock.time_s(), world.clock.monotonic_s())
    saved = SavedMessage(KEY, TOPIC, b"message", NOW_MS, call.request_id)
    [row_id] = await world.store.keep_calls([call], [saved])
    world.journal.close(call)
    await world.store.flush()
    message = QueuedMessage(TOPIC, b"message", 0.0, was_sent=is_written, row_id=row_id, call_id=call.request_id)
    message.is_restored = is_restored
    world.delivery.message_dropped(message)
    return call


@pytest.mark.parametrize(
    ("node", "is_written", "is_restored"),
    [("other-node", True, False), ("other-node", False, False), ("node", True, True)],
)
async def test_another_node_has_time_to_write_the_answer_that_it_has(
    world: World, tmp_path: Path, node: str, is_written: bool, is_restored: bool
) -> None:
    call = await dropped_of(world, node, tmp_path, is_written=is_written, is_restored=is_restored)
    await until(lambda: world.clock.timer_count > 0)
    assert (await stored(world, call)).verdict is None
    answered = msgspec.structs.replace(call)
    answered.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    world.store.record_call(answered)
    await world.store.flush()
    world.clock.advance(ANSWER_WRITTEN_S_MAX)
    await world.delivery.stop()
    assert ending(await stored(world, call)) == ending(answered)
    assert await messages(world) == []


async def test_that_a_message_left_may_be_written_later_too(world: World, tmp_path: Path) -> None:
    call = await dropped_of(world, "other-node", tmp_path, is_written=False)
    await until(lambda: world.clock.timer_count > 0)
    written = msgspec.structs.replace(call, timeline=list(call.timeline))
    written.mark(Stage.WRITTEN, world.clock.time_s(), world.clock.monotonic_s())
    world.store.record_call(written)
    await world.store.flush()
    world.clock.advance(ANSWER_WRITTEN_S_MAX)
    await world.delivery.stop()
    ended = await stored(world, call)
    assert (ended.verdict, ended.diagnosis) == (Verdict.EXPIRED, Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT)


async def test_a_call_of_another_node_ends_with_its_message_where_that_has_no_answer(
    world: World, tmp_path: Path
) -> None:
    call = await dropped_of(world, "other-node", tmp_path)
    await until(lambda: world.clock.timer_count > 0)
    world.clock.advance(ANSWER_WRITTEN_S_MAX - 0.25)
    assert (await stored(world, call)).verdict is None
    world.clock.advance(0.25)
    await world.delivery.stop()
    assert (await stored(world, call)).verdict is Verdict.EXPIRED


@pytest.mark.parametrize("node", ["node", "dead-node"])
async def test_nobody_else_is_waited_for(world: World, tmp_path: Path, node: str) -> None:
    call = await dropped_of(world, node, tmp_path)
    await world.delivery.stop()
    assert (await stored(world, call)).verdict is Verdict.EXPIRED


async def test_a_device_whose_session_is_over_does_not_wait_for_what_becomes_of_its_messages(
    world: World, tmp_path: Path
) -> None:
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    away(world, kept_s=10.0)
    calls = [await post(world, number) for number in (1, 2, 3)]
    world.sessions.put_away(KEY)
    world.clock.advance(11.0)
    await world.delivery.load(KEY)
    assert [(await stored(world, call)).verdict for call in calls] == [None] * 3
    await until(lambda: world.clock.timer_count == 3)
    world.clock.advance(ANSWER_WRITTEN_S_MAX)
    await world.delivery.settle()
    assert [(await stored(world, call)).verdict for call in calls] == [Verdict.EXPIRED] * 3
    assert await messages(world) == []


async def test_what_was_dropped_is_not_taken_up_while_an_answer_is_waited_for(world: World, tmp_path: Path) -> None:
    call = await dropped_of(world, "other-node", tmp_path)
    await until(lambda: world.clock.timer_count > 0)
    session = world.attach(FakeLink(), kept_s=QUEUED_AGE_S_MAX)
    await world.delivery.take_up(KEY)
    there, sent = await messages(world), waiting(session)
    world.clock.advance(ANSWER_WRITTEN_S_MAX)
    await world.delivery.stop()
    assert ([message.call_id for message in there], sent) == ([call.request_id], [])
    assert (await stored(world, call)).verdict is Verdict.EXPIRED
    assert await messages(world) == []


async def test_what_was_dropped_does_not_come_back_with_the_session(world: World, tmp_path: Path) -> None:
    away(world)
    call = await dropped_of(world, "other-node", tmp_path)
    await until(lambda: world.clock.timer_count > 0)
    await world.delivery.load(KEY)
    there, session = await messages(world), world.sessions.find(KEY)
    world.clock.advance(ANSWER_WRITTEN_S_MAX)
    await world.delivery.stop()
    assert session is not None
    assert ([message.call_id for message in there], waiting(session)) == ([call.request_id], [])
    assert (await stored(world, call)).verdict is Verdict.EXPIRED


async def test_a_call_that_was_written_as_handed_over_ends_with_its_node(world: World) -> None:
    call = a_call(world, is_asynchronous=True)
    call.is_handed_over = True
    await world.store.keep_calls([call], [])
    world.journal.close(call)
    await world.delivery.end_stranded("node")
    kept = await stored(world, call)
    # What is handed over is not written, where there are other nodes.
    assert (kept.verdict, kept.is_handed_over) == (Verdict.UNKNOWN, False)


async def test_a_call_that_left_just_before_it_is_ended_for_its_node_stays_open(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    world.store.node = "node-2"
    left, news, stayed = (a_call(world, number, is_asynchronous=True, alink_id=number % 3) for number in (1, 3, 2))
    await world.store.keep_calls([left, news, stayed], [])
    list_stranded_calls = world.store.list_stranded_calls

    async def list_before(after: Call | None, limit: int) -> list[Call]:
        found = await list_stranded_calls(after, limit)
        for call in (left, news):
            # Its node was taken for dead.
            call.mark(Stage.WRITTEN, world.clock.time_s(), world.clock.monotonic_s())
            world.store.record_call(call)
        assert await world.store.flush()
        return found

    monkeypatch.setattr(world.store, "list_stranded_calls", list_before)
    await world.delivery.end_stranded("node")
    kept = [await stored(world, call) for call in (left, news, stayed)]
    assert [ending(call) for call in kept] == [
        (None, None, 0),
        DELIVERED,
        (Verdict.UNKNOWN, Diagnosis.NODE_LOST, SEND_FAILED),
    ]
    assert [call.moment(Stage.WRITTEN) is None for call in kept] == [False, False, True]


async def left_behind(world: World, tmp_path: Path) -> tuple[WatchingPostman, Call]:
    """A message that waits in the store for a device that has gone to another node."""
    postman = WatchingPostman(tmp_path / DATABASE_FILE)
    world.delivery.join(postman)
    world.attach(FakeLink(), kept_s=QUEUED_AGE_S_MAX)
    call = await post(world)
    world.delivery.session_put_away(KEY, has_waiting=True)
    assert postman.kept == [1]
    return postman, call


async def look_behind(world: World) -> None:
    """A device connects, and stays."""
    world.delivery.note_connected(KEY)
    world.clock.advance(LEFT_BEHIND_S)
    await world.delivery.settle()


async def test_who_holds_a_device_next_hears_of_what_was_left_behind(world: World, tmp_path: Path) -> None:
    postman, _ = await left_behind(world, tmp_path)
    for _ in range(2):
        await look_behind(world)
    assert postman.kept == [1, 1, 1]


async def test_who_drops_a_session_has_the_time_to_end_what_waits_in_it(world: World, tmp_path: Path) -> None:
    postman, _ = await left_behind(world, tmp_path)
    world.delivery.note_connected(KEY)
    world.clock.advance(LEFT_BEHIND_S - 0.25)
    # It goes on to another node.
    world.delivery.note_connected(KEY)
    world.clock.advance(LEFT_BEHIND_S - 0.25)
    await world.delivery.settle()
    assert postman.kept == [1]
    world.clock.advance(0.25)
    await world.delivery.settle()
    assert postman.kept == [1, 1]


async def test_what_was_left_behind_is_forgotten_when_nothing_waits(world: World, tmp_path: Path) -> None:
    postman, call = await left_behind(world, tmp_path)
    (message,) = await messages(world)
    world.store.drop_message(message.row_id)
    assert await messages(world) == []
    await look_behind(world)
    await world.store.add_messages([SavedMessage(KEY, TOPIC, b"news", NOW_MS, call.request_id)])
    await look_behind(world)
    assert postman.kept == [1]


async def test_a_device_that_left_nothing_behind_is_not_looked_for(world: World, tmp_path: Path) -> None:
    postman = WatchingPostman(tmp_path / DATABASE_FILE)
    world.delivery.join(postman)
    world.delivery.session_put_away(KEY, has_waiting=False)
    world.delivery.note_connected(KEY)
    assert world.clock.timer_count == 0
    assert postman.kept == []


async def test_what_was_left_behind_is_bounded(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LEFT_BEHIND_MAX", 2)
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    keys = [DeviceKey(KEY.product_key, f"lamp-{number}") for number in range(3)]
    for key in keys:
        world.delivery.session_put_away(key, has_waiting=True)
        world.delivery.note_connected(key)
        assert world.clock.timer_count == min(2, keys.index(key) + 1)
    world.delivery.note_connected(keys[0])
    assert world.clock.timer_count == 2
    await world.delivery.stop()
    assert world.clock.timer_count == 0


async def test_a_call_whose_device_went_elsewhere_is_looked_up_when_it_is_answered(
    world: World, tmp_path: Path
) -> None:
    world.delivery.join(WatchingPostman(tmp_path / DATABASE_FILE))
    world.attach(FakeLink())
    call = await post(world)
    assert (await stored(world, call)).verdict is None
    world.delivery.session_put_away(KEY, has_waiting=False)
    expired = await stored(world, call)
    expired.end(Verdict.EXPIRED, Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT)
    world.store.record_call(expired)
    await world.store.flush()
    answer(world)
    await world.delivery.stop()
    kept = await stored(world, call)
    assert (kept.verdict, list(kept.reasons())) == (Verdict.EXPIRED, [Stray.LATE])

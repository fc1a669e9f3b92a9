"""What is accepted for devices: on the disk first, delivered, and brought to its result."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from linkstead.alink.services import parse_reply
from linkstead.invocation import Diagnosis, RouterOverloaded, Stage, Verdict, at_hand, lookups
from linkstead.invocation import delivery as delivery_module
from linkstead.invocation.delivery import (
    ACKNOWLEDGED_KEPT_S,
    ANSWER_MALFORMED,
    MALFORMED_SHOWN_WITH_MAX,
    NEVER_ACTIVATED,
    OFFLINE,
    SEND_FAILED,
)
from linkstead.invocation.record import EVIDENCE_PAYLOAD_BYTES_MAX, EVIDENCE_TOPIC_CHARS_MAX, Stray
from linkstead.registry import DeviceKey, Origin
from linkstead.server import DATABASE_FILE
from linkstead.sessions import QUEUED_MESSAGES_MAX, LinkBlocked, LinkBroken, LinkTooSmall, QueuedMessage
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.subscription import NoticeKind
from linkstead.testing.clock import ManualClock
from tests.actions.world import ACCOUNT_ID, World
from tests.fakes import IOT_ID, KEY, FakeLink
from tests.invocation.deliveries import (
    ANSWERED,
    DELIVERED,
    ORIGIN,
    REPLY_TOPIC,
    TOPIC,
    AwayStore,
    FullDisk,
    WatchingLink,
    a_call,
    answer,
    away,
    ending,
    messages,
    opened,
    post,
    stages,
    stored,
    waiting,
)

pytestmark = pytest.mark.asyncio


# --- accepting


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_call_is_on_the_disk_before_its_device_hears_of_it(world: World, qos: int) -> None:
    link = WatchingLink(world.path)
    world.attach(link)
    await post(world, 1, qos)
    await post(world, 2, qos)
    assert link.kept == [1, 2]


async def test_a_call_names_its_device(world: World) -> None:
    with pytest.raises(ValueError, match="names its device"):
        await post(world, key=None)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_device_that_is_nowhere_ends_the_call_at_once(world: World, qos: int) -> None:
    call = await post(world, qos=qos)
    assert ending(call) == (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED, OFFLINE)
    never = await post(world, 2, qos, result_code=NEVER_ACTIVATED)
    assert ending(never) == (Verdict.OFFLINE, Diagnosis.NEVER_ACTIVATED, NEVER_ACTIVATED)
    assert ending(await stored(world, call)) == ending(call)
    assert await messages(world) == []


@pytest.mark.parametrize(("seconds", "is_kept"), [(99.9, True), (100.0, False)])
async def test_a_session_takes_messages_until_it_is_over(world: World, seconds: float, is_kept: bool) -> None:
    session = away(world, kept_s=100.0)
    world.clock.advance(seconds)
    assert (await post(world)).is_ended is not is_kept
    assert len(waiting(session)) == is_kept


async def test_at_qos_0_a_session_without_a_connection_takes_nothing(world: World) -> None:
    session = away(world)
    assert ending(await post(world, qos=0)) == (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED, OFFLINE)
    assert waiting(session) == []


@pytest.mark.parametrize("failure", [LinkBroken, LinkBlocked, LinkTooSmall])
async def test_at_qos_0_a_connection_that_takes_nothing_ends_the_call(world: World, failure: type[Exception]) -> None:
    world.attach(FakeLink(failure=failure))
    call = await post(world, qos=0)
    assert ending(call) == (Verdict.OFFLINE, Diagnosis.WRITE_FAILED, OFFLINE)
    assert ending(await stored(world, call)) == ending(call)


async def test_at_qos_0_a_connection_that_breaks_before_the_last_byte_ends_the_call(world: World) -> None:
    link = FakeLink(writes_at_once=False)
    world.attach(link)
    call = await post(world, qos=0)
    assert not call.is_ended
    link.fail_writes()
    assert ending(call) == (Verdict.OFFLINE, Diagnosis.WRITE_FAILED, OFFLINE)


async def test_a_call_without_an_answer_to_come_ends_when_it_is_written(world: World) -> None:
    link = FakeLink(writes_at_once=False)
    world.attach(link)
    call = await post(world, 0, qos=0)
    assert not call.is_ended
    link.write()
    assert ending(call) == (Verdict.SUCCESS, Diagnosis.DELIVERED, 0)


async def test_a_thousand_messages_wait_for_a_device_and_no_more(world: World) -> None:
    assert QUEUED_MESSAGES_MAX == 1_000
    session = away(world)
    posted = await asyncio.gather(
        *(post(world, number) for number in range(1, QUEUED_MESSAGES_MAX + 2)), return_exceptions=True
    )
    assert [type(each) for each in posted].count(RouterOverloaded) == 1
    assert session.waiting_count == QUEUED_MESSAGES_MAX == len(await messages(world))
    with pytest.raises(RouterOverloaded):
        await post(world, 2_000)
    world.sessions.acknowledge(session, waiting(session)[0])
    assert not (await post(world, 2_001)).is_ended
    assert session.waiting_count == QUEUED_MESSAGES_MAX


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_call_that_cannot_be_kept_is_not_accepted(tmp_path: Path, qos: int) -> None:
    async with opened(tmp_path / DATABASE_FILE, ManualClock(), FullDisk) as world:
        link = FakeLink()
        session = world.attach(link, kept_s=QUEUED_AGE_S_MAX)
        with pytest.raises(OSError, match="no room"):
            await post(world, qos=qos)
        assert (session.waiting_count, link.sent, link.pump_count) == (0, [], 0)
        assert isinstance(world.store, FullDisk)
        world.store.is_full = False
        await post(world, 2, qos)
        assert len(link.sent) + session.waiting_count == 1


async def test_a_session_that_is_dropped_while_the_disk_is_written_ends_the_call(world: World) -> None:
    away(world)
    posting = asyncio.ensure_future(post(world))
    await asyncio.sleep(0)
    world.sessions.forget(KEY)
    call = await posting
    assert ending(call) == (Verdict.EXPIRED, Diagnosis.NOT_CONNECTED, OFFLINE)
    assert await messages(world) == []


# --- on the way to the device


async def test_a_message_is_marked_when_it_is_first_sent_and_when_it_is_acknowledged(world: World) -> None:
    session = away(world)
    call = await post(world)
    (message,) = waiting(session)
    for _ in range(2):
        world.sessions.note_sent(message)
    world.sessions.acknowledge(session, message)
    world.sessions.acknowledge(session, message)
    assert stages(call) == [Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN, Stage.ACKNOWLEDGED]
    assert stages(await stored(world, call)) == stages(call)
    assert not call.is_ended


async def test_a_message_that_went_out_twice_is_marked_when_it_is_first_acknowledged(world: World) -> None:
    session = away(world)
    call = await post(world)
    (first,) = waiting(session)
    again = QueuedMessage(first.topic, first.payload, first.queued_s, row_id=first.row_id, call_id=first.call_id)
    world.sessions.deliver(KEY, again)
    world.sessions.acknowledge(session, first)
    world.sessions.acknowledge(session, again)
    await world.delivery.settle()
    assert stages(call) == [Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN, Stage.ACKNOWLEDGED]


async def test_an_acknowledged_message_is_kept_a_while_for_an_answer_that_may_be_lost(world: World) -> None:
    session = away(world)
    await post(world)
    world.sessions.acknowledge(session, waiting(session)[0])
    world.clock.advance(ACKNOWLEDGED_KEPT_S - 0.1)
    assert len(await messages(world)) == 1
    world.clock.advance(0.1)
    assert await messages(world) == []


async def test_a_message_of_a_call_with_a_result_is_forgotten_when_it_is_acknowledged(world: World) -> None:
    session = away(world)
    call = await post(world)
    answer(world)
    assert ending(call) == ANSWERED
    world.sessions.acknowledge(session, waiting(session)[0])
    assert await messages(world) == []
    assert ending(call) == ANSWERED


async def test_a_call_without_an_answer_to_come_ends_when_it_is_acknowledged(world: World) -> None:
    session = away(world)
    call = await post(world, 0)
    world.sessions.acknowledge(session, waiting(session)[0])
    assert ending(call) == (Verdict.SUCCESS, Diagnosis.DELIVERED, 0)
    assert await messages(world) == []


@pytest.mark.parametrize(
    ("was_sent", "diagnosis"), [(False, Diagnosis.NOT_CONNECTED), (True, Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT)]
)
async def test_a_message_waits_seven_days(world: World, was_sent: bool, diagnosis: Diagnosis) -> None:
    session = world.attach(FakeLink(), kept_s=QUEUED_AGE_S_MAX)
    call = await post(world)
    if was_sent:
        world.sessions.note_sent(waiting(session)[0])
    world.clock.advance(QUEUED_AGE_S_MAX)
    world.sessions.expire(world.clock.monotonic_s())
    assert not call.is_ended
    world.clock.advance(0.001)
    world.sessions.expire(world.clock.monotonic_s())
    assert ending(call) == (Verdict.EXPIRED, diagnosis, OFFLINE)
    assert await messages(world) == []


# --- answers


async def test_an_answer_goes_to_the_call_of_its_device_service_and_id(world: World) -> None:
    away(world)
    calls = [await post(world, number) for number in (1, 2, 3)]
    answer(world, 2, -1)
    assert [call.result_code for call in calls if call.is_ended] == [-1]
    assert json.loads(calls[1].answer_payload) == {"id": "2", "code": -1}
    answer(world, 1, origin=Origin(DeviceKey(KEY.product_key, "lamp-02"), ACCOUNT_ID, IOT_ID))
    await world.delivery.stop()
    assert [call.is_ended for call in calls] == [False, True, False]


@pytest.mark.parametrize("given", [None, "", "x", True, 1.5, [], 0, -1, 2**31])
async def test_an_answer_without_an_id_belongs_to_no_call(
    world: World, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    away(world)
    call = await post(world, 0)
    payload = json.dumps({"id": given, "code": 200}).encode()
    world.delivery.answer(ORIGIN, "RunScene", parse_reply(payload), REPLY_TOPIC, payload)
    await world.delivery.stop()
    assert caplog.messages == ["reply without a call"]
    assert not call.is_ended


async def test_a_second_answer_and_one_of_another_service_are_evidence(world: World) -> None:
    away(world)
    call = await post(world)
    answer(world, identifier="Blink")
    assert not call.is_ended
    answer(world)
    answer(world, code=400)
    assert ending(call) == ANSWERED
    assert list(call.reasons()) == [Stray.WRONG_TOPIC, Stray.DUPLICATE]
    assert (await stored(world, call)).evidence == call.evidence


async def test_evidence_is_bounded_in_topic_and_payload(world: World) -> None:
    away(world)
    call = await post(world)
    for extra in (0, 1):
        answer(
            world,
            identifier="Blink",
            topic="t" * (EVIDENCE_TOPIC_CHARS_MAX + extra),
            payload=b"p" * (EVIDENCE_PAYLOAD_BYTES_MAX + extra),
        )
    for extra, evidence in enumerate(call.evidence):
        assert len(evidence.topic) == EVIDENCE_TOPIC_CHARS_MAX
        assert len(evidence.payload) == EVIDENCE_PAYLOAD_BYTES_MAX
        assert evidence.payload_bytes == EVIDENCE_PAYLOAD_BYTES_MAX + extra


async def test_a_call_that_is_not_at_hand_any_more_is_found_on_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_hand, "OPEN_CALLS_CACHED_MAX", 2)
    away(world)
    calls = [await post(world, number) for number in (1, 2, 3)]
    assert await world.store.flush()
    answer(world, 1)
    answer(world, 3)
    assert [call.is_ended for call in calls] == [False, False, True]
    await world.delivery.stop()
    assert ending(await stored(world, calls[0])) == ANSWERED
    assert not (await stored(world, calls[1])).is_ended


async def test_what_comes_twice_is_told_from_what_belongs_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(at_hand, "ENDED_CALLS_CACHED_MAX", 2)
    away(world)
    calls = [await post(world, number) for number in (1, 2, 3)]
    for _ in range(2):
        for number in (1, 2, 3, 4):
            answer(world, number)
    assert [list(call.reasons()) for call in calls] == [[], [Stray.DUPLICATE], [Stray.DUPLICATE]]
    await world.delivery.stop()
    assert [list(call.reasons()) for call in calls] == [[Stray.DUPLICATE]] * 3
    assert caplog.messages == ["reply without a call"] * 2


async def test_answers_to_a_call_that_ended_in_an_earlier_process_are_all_kept_with_it(tmp_path: Path) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        session = away(world)
        answered, given_up = await post(world, 1), await post(world, 2)
        answer(world, 1)
        world.sessions.forget(KEY)
        assert waiting(session) == []
    async with opened(path, clock) as world:
        await world.delivery.restore()
        for number in (1, 2, 1, 2):
            answer(world, number)
        await world.delivery.stop()
        answer(world, 1)
        found = await stored(world, answered)
        assert (ending(found), list(found.reasons())) == (ANSWERED, [Stray.DUPLICATE] * 3)
        found = await stored(world, given_up)
        assert (ending(found), list(found.reasons())) == (ending(given_up), [Stray.LATE] * 2)


# --- answers that cannot be read

UNREADABLE = (Verdict.FAILED, Diagnosis.ANSWER_MALFORMED, ANSWER_MALFORMED)


async def answer_unreadably(world: World, alink_id: int = 0, **fields: Any) -> None:
    given = {"origin": ORIGIN, "identifier": "RunScene", "topic": REPLY_TOPIC, "payload": b"done", **fields}
    world.delivery.answer_malformed(alink_id=alink_id, **given)
    await world.delivery.stop()


@pytest.mark.parametrize("alink_id", [0, 1])
async def test_an_answer_that_cannot_be_read_fails_its_call(world: World, alink_id: int) -> None:
    world.attach(FakeLink())
    call = await post(world, qos=0)
    await answer_unreadably(world, alink_id)
    assert (ending(call), call.answer_payload) == (UNREADABLE, b"done")
    assert stages(call)[-1] is Stage.ANSWERED
    assert ending(await stored(world, call)) == UNREADABLE
    answer(world)
    assert (ending(call), list(call.reasons())) == (UNREADABLE, [Stray.DUPLICATE])


async def test_an_answer_that_names_a_call_and_cannot_be_read_fails_that_call(world: World) -> None:
    away(world)
    calls = [await post(world, number) for number in (1, 2)]
    await answer_unreadably(world, 1)
    assert [ending(call) for call in calls] == [UNREADABLE, (None, None, 0)]
    await answer_unreadably(world, 1)
    await answer_unreadably(world, 2, identifier="Blink")
    await answer_unreadably(world, 3)
    assert [list(call.reasons()) for call in calls] == [[Stray.DUPLICATE], [Stray.WRONG_TOPIC]]


async def test_an_answer_of_an_earlier_process_s_call_that_cannot_be_read_fails_it(tmp_path: Path) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        world.attach(FakeLink())
        call = await post(world, qos=0)
    async with opened(path, clock) as world:
        await world.delivery.restore()
        await answer_unreadably(world)
        assert ending(await stored(world, call)) == UNREADABLE


async def test_an_answer_that_several_calls_may_wait_for_is_evidence_with_the_latest_of_them(world: World) -> None:
    away(world)
    calls = []
    for number in range(1, MALFORMED_SHOWN_WITH_MAX + 2):
        calls.append(await post(world, number))
        world.clock.advance(0.001)
    other = await post(world, 100, target="Blink")
    await answer_unreadably(world)
    assert [list(call.reasons()) for call in calls] == [[], *([[Stray.MALFORMED]] * MALFORMED_SHOWN_WITH_MAX)]
    assert not any(call.is_ended for call in calls)
    assert (await stored(world, calls[-1])).evidence[0].payload == b"done"
    assert other.evidence == []


async def test_an_answer_that_cannot_be_read_ends_no_call_that_never_left(world: World) -> None:
    away(world)
    call = await post(world)
    await answer_unreadably(world)
    assert not call.is_ended
    assert list(call.reasons()) == [Stray.MALFORMED]


async def test_an_answer_that_no_call_waits_for_and_that_cannot_be_read_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.attach(FakeLink())
    call = await post(world, qos=0)
    answer(world)
    await answer_unreadably(world)
    assert (ending(call), call.evidence) == (ANSWERED, [])
    assert caplog.messages == ["reply without a call"]


async def test_a_bounded_number_of_answers_is_looked_up_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lookups, "LOOKUPS_MAX", 100)
    for number in range(101):
        assert "too many calls" not in caplog.text
        answer(world, number)
    assert caplog.text.count("too many calls") == 1
    await world.delivery.stop()
    assert caplog.messages.count("reply without a call") == 100
    answer(world)
    await world.delivery.stop()
    assert caplog.messages.count("reply without a call") == 101


@pytest.mark.parametrize("away_s", [0.05, 3.0, 6.0, 14.0, 60.0, lookups.LOOKUP_S_MAX - 5.0])
async def test_an_answer_whose_call_could_not_be_looked_up_ends_it_within_five_seconds(
    tmp_path: Path, away_s: float
) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        world.attach(FakeLink())
        call = await post(world, qos=0)
    async with opened(path, clock, AwayStore) as world:
        assert isinstance(world.store, AwayStore)
        world.store.is_away = True
        answer(world)
        for _ in range(round(away_s / 0.05)):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            clock.advance(0.05)
        world.store.is_away = False
        await asyncio.sleep(0)
        clock.advance(5.0)
        await world.delivery.settle()
        assert ending(await stored(world, call)) == ANSWERED


async def test_an_answer_whose_call_cannot_be_looked_up_for_too_long_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock, AwayStore) as world:
        assert isinstance(world.store, AwayStore)
        world.store.is_away = True
        answer(world)
        for second in range(round(lookups.LOOKUP_S_MAX) + 5):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert second > lookups.LOOKUP_S_MAX or "a call could not be looked up" not in caplog.text
            clock.advance(1.0)
        await world.delivery.settle()
        assert caplog.text.count("a call could not be looked up") == 1
        assert caplog.text.count("it is tried again") == len(lookups.LOOKUP_WAITS_S)


async def test_a_message_whose_call_cannot_be_looked_up_now_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        away(world)
        calls = [await post(world, number) for number in (1, 2, 3)]
    clock.advance(QUEUED_AGE_S_MAX + 1)
    async with opened(path, clock) as world:
        monkeypatch.setattr(lookups, "LOOKUPS_MAX", 2)
        for left in (1, 0):
            await world.delivery.expire()
            await world.delivery.stop()
            assert len(await messages(world)) == left
        assert [(await stored(world, call)).verdict for call in calls] == [Verdict.EXPIRED] * 3


# --- from one process to the next

NODE_LOST = (Verdict.UNKNOWN, Diagnosis.NODE_LOST, SEND_FAILED)


@pytest.mark.parametrize(
    ("alink_id", "was_written", "expected"),
    [
        (1, False, NODE_LOST),
        (1, True, (None, None, 0)),
        (0, False, NODE_LOST),
        (0, True, DELIVERED),
    ],
)
async def test_a_call_that_no_message_waits_for_ends_with_its_process_unless_its_answer_may_come(
    tmp_path: Path, alink_id: int, was_written: bool, expected: object
) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        call = a_call(world, alink_id=alink_id)
        if was_written:
            call.mark(Stage.WRITTEN, clock.time_s(), clock.monotonic_s())
        await world.store.keep_calls([call], [])
    async with opened(path, clock) as world:
        await world.delivery.restore()
        assert ending(await stored(world, call)) == expected
        if alink_id:
            answer(world)
            await world.delivery.stop()
            found = await stored(world, call)
            assert ending(found) == (ANSWERED if was_written else expected)
            assert list(found.reasons()) == ([] if was_written else [Stray.LATE])


async def test_a_broadcast_ends_with_its_process(tmp_path: Path) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        call = a_call(world, action="PubBroadcast", key=None, alink_id=0)
        await world.store.keep_calls([call], [])
    async with opened(path, clock) as world:
        await world.delivery.restore()
        assert ending(await stored(world, call)) == NODE_LOST


async def test_all_calls_of_an_earlier_process_are_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "STRANDED_AT_ONCE_MAX", 2)
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        away(world)
        kept = await post(world, 9)
        calls = [a_call(world, number) for number in range(1, 6)]
        calls[1].mark(Stage.WRITTEN, clock.time_s(), clock.monotonic_s())
        await world.store.keep_calls(calls, [])
    async with opened(path, clock) as world:
        await world.delivery.restore()
        verdicts = [(await stored(world, call)).verdict for call in [kept, *calls]]
        assert verdicts == [None, Verdict.UNKNOWN, None, *([Verdict.UNKNOWN] * 3)]


async def test_what_waits_is_there_after_a_restart_in_its_order(tmp_path: Path) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        world.attach(FakeLink(), "user/get", kept_s=QUEUED_AGE_S_MAX).subscribe("user/get", 1, 0)
        session = world.sessions.find(KEY)
        assert session is not None
        world.sessions.note_change(session)
        for number in (1, 2, 3):
            await post(world, number)
            clock.advance(10.0)
    async with opened(path, clock) as world:
        await world.delivery.restore()
        session = world.sessions.find(KEY)
        assert session is not None
        assert (session.link, session.subscriptions, session.kept_s) == (None, {"user/get": 1}, QUEUED_AGE_S_MAX)
        assert [json.loads(message.payload)["id"] for message in waiting(session)] == ["1", "2", "3"]
        assert [message.topic for message in waiting(session)] == [TOPIC] * 3
        assert all(message.was_sent for message in waiting(session))
        ages_s = [clock.monotonic_s() - message.queued_s for message in waiting(session)]
        assert ages_s == pytest.approx([30.0, 20.0, 10.0])


@pytest.mark.parametrize("answers_first", [False, True])
async def test_an_earlier_process_s_calls_are_acknowledged_and_answered(tmp_path: Path, answers_first: bool) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        away(world)
        call = await post(world)
    clock.advance(86_400.0)
    async with opened(path, clock) as world:
        await world.delivery.restore()
        session = world.attach(FakeLink(), kept_s=QUEUED_AGE_S_MAX)
        (message,) = waiting(session)
        if answers_first:
            answer(world)
        world.sessions.acknowledge(session, message)
        if not answers_first:
            answer(world)
        await world.delivery.stop()
        found = await stored(world, call)
        assert ending(found) == ANSWERED
        assert stages(found).count(Stage.ANSWERED) == 1
        clock.advance(ACKNOWLEDGED_KEPT_S)
        assert await messages(world) == []


@pytest.mark.parametrize(("seconds", "is_kept"), [(99.0, True), (100.0, False)])
async def test_a_session_is_kept_as_long_as_if_there_had_been_no_restart(
    tmp_path: Path, seconds: float, is_kept: bool
) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        away(world, kept_s=100.0)
        call = await post(world)
    clock.advance(seconds)
    async with opened(path, clock) as world:
        await world.delivery.restore()
        assert (world.sessions.find(KEY) is not None) is is_kept
        assert await world.store.flush()
        assert len(await world.store.list_sessions()) == is_kept
        clock.advance(QUEUED_AGE_S_MAX + 1)
        world.sessions.expire(clock.monotonic_s())
        await world.delivery.expire()
        await world.delivery.stop()
        assert (await stored(world, call)).verdict is Verdict.EXPIRED
        assert await messages(world) == []


async def test_a_device_that_was_connected_when_the_process_died_is_away_from_the_restart_on(tmp_path: Path) -> None:
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        world.attach(FakeLink(), kept_s=100.0)
    clock.advance(1_000.0)
    async with opened(path, clock) as world:
        await world.delivery.restore()
        session = world.sessions.find(KEY)
        assert session is not None
        assert session.is_kept(clock.monotonic_s() + 99.9)
        assert not session.is_kept(clock.monotonic_s() + 100.0)


async def test_messages_that_are_too_old_are_given_up_a_bounded_number_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "EXPIRED_AT_ONCE_MAX", 2)
    path, clock = tmp_path / DATABASE_FILE, ManualClock()
    async with opened(path, clock) as world:
        away(world)
        calls = [await post(world, number) for number in (1, 2, 3)]
    clock.advance(QUEUED_AGE_S_MAX + 1)
    async with opened(path, clock) as world:
        for ended in (2, 3):
            await world.delivery.expire()
            await world.delivery.stop()
            found = [await stored(world, call) for call in calls]
            assert [each.verdict for each in found].count(Verdict.EXPIRED) == ended


# --- what is told of calls


def told(world: World) -> list[tuple[str, int]]:
    """Request id and code of each result that was told."""
    notices = world.sink.take(NoticeKind.DEVICE_DATA)
    return [(notice.message["requestId"], notice.message["code"]) for notice in notices]


async def test_a_call_is_told_when_it_ends_and_not_before(world: World) -> None:
    world.attach(FakeLink())
    await post(world)
    await world.news.drain()
    assert told(world) == []
    answer(world, code=201)
    await world.news.drain()
    assert told(world) == [("1", 201)]
    answer(world)
    await world.news.drain()
    assert told(world) == []


async def test_a_call_without_a_reply_of_its_own_is_not_told(world: World) -> None:
    world.attach(FakeLink())
    await post(world, qos=0, alink_id=0)
    world.delivery.end(a_call(world, 2, alink_id=0), Verdict.EXPIRED, Diagnosis.NOT_CONNECTED, 9201)
    await world.news.drain()
    assert told(world) == []


async def test_the_reply_of_another_service_is_told_and_the_call_goes_on(world: World) -> None:
    world.attach(FakeLink())
    call = await post(world)
    answer(world, identifier="Other")
    assert not call.is_ended
    answer(world)
    await world.news.drain()
    assert told(world) == [("1", 200), ("1", 200)]


async def test_a_reply_that_names_no_call_is_told(world: World) -> None:
    world.attach(FakeLink())
    answer(world, 7)
    await world.delivery.stop()
    assert told(world) == [("7", 200)]


async def test_a_call_whose_message_expires_is_told_once(world: World) -> None:
    session = away(world)
    await post(world)
    (waits,) = waiting(session)
    world.delivery.message_dropped(waits)
    world.delivery.message_dropped(waits)
    await world.delivery.stop()
    await world.news.drain()
    assert told(world) == [("1", 9201)]


async def test_a_result_is_told_with_its_call_already_handed_to_the_store(world: World) -> None:
    world.attach(FakeLink())
    await post(world)
    await world.registry.find_product(KEY.product_key)
    await world.models.find_checker(KEY.product_key)
    await world.store.flush()
    answer(world)
    # Both now: what takes the message writes it in one with the call.
    assert (told(world), world.store.history_waiting) == ([("1", 200)], 1)


async def test_a_call_goes_on_until_it_is_known_who_is_told_of_its_end(world: World) -> None:
    world.attach(FakeLink())
    call = await post(world)
    await world.store.flush()
    world.sink.is_known.clear()
    answer(world)
    answer(world, code=201)
    await asyncio.sleep(0)
    assert (call.verdict, told(world), world.store.history_waiting) == (None, [], 0)
    world.sink.is_known.set()
    await world.delivery.stop()
    assert (ending(call), told(world), world.store.history_waiting) == (ANSWERED, [("1", 200)], 1)
    assert [each.reason for each in call.evidence] == [Stray.DUPLICATE]


async def test_a_call_that_is_given_up_goes_on_until_it_is_known_who_is_told(world: World) -> None:
    session = away(world)
    call = await post(world)
    (waits,) = waiting(session)
    world.sink.is_known.clear()
    world.delivery.message_dropped(waits)
    world.delivery.end(a_call(world, 2), Verdict.OFFLINE, Diagnosis.WRITE_FAILED, OFFLINE)
    await asyncio.sleep(0)
    assert (call.verdict, len(await messages(world)), told(world)) == (None, 1, [])
    world.sink.is_known.set()
    await world.delivery.stop()
    assert sorted(told(world)) == [("1", 9201), ("2", 9201)]
    assert (call.verdict, await messages(world)) == (Verdict.EXPIRED, [])


async def test_a_call_ends_untold_rather_than_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "LOOKUPS_MAX", 1)
    world.attach(FakeLink())
    calls = [await post(world, number) for number in (1, 2)]
    world.sink.is_known.clear()
    answer(world, 1)
    answer(world, 2)
    assert [call.verdict for call in calls] == [None, Verdict.SUCCESS]
    world.sink.is_known.set()
    await world.delivery.stop()
    assert told(world) == [("2", 200), ("1", 200)]


async def test_a_call_that_goes_nowhere_is_told_before_it_is_kept(world: World) -> None:
    world.sink.disk.clear()
    posting = asyncio.create_task(post(world))
    await asyncio.sleep(0)
    await world.news.drain()
    assert told(world) == [("1", 9201)]
    assert await world.store.find_kept_call(a_call(world).request_id) is None
    world.sink.disk.set()
    assert ending(await stored(world, await posting)) == (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED, OFFLINE)

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.alink.topics import ext_rrpc, rrpc_request, rrpc_response
from linkstead.clock import QueuedTimer, milliseconds
from linkstead.invocation import (
    Call,
    CallJournal,
    Diagnosis,
    LocalRouter,
    Message,
    Outcome,
    RouterOverloaded,
    Stage,
    Stray,
    Verdict,
    router,
)
from linkstead.invocation.record import EVIDENCE_PAYLOAD_BYTES_MAX, EVIDENCE_TOPIC_CHARS_MAX
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import Ending, LinkBlocked, LinkBroken, LinkTooSmall, SessionTable
from linkstead.testing.clock import ManualClock
from tests.fakes import ACCOUNT_ID, IOT_ID, KEY, OTHER_ACCOUNT_ID, OTHER_KEY, FakeLink, ListedIds, RecordingSink

FOREIGN_KEY = DeviceKey("a1Probe0001", "probe-7")
ORIGIN = Origin(KEY, ACCOUNT_ID, IOT_ID)
OTHER_ORIGIN = Origin(OTHER_KEY, ACCOUNT_ID, IOT_ID)
FOREIGN_ORIGIN = Origin(FOREIGN_KEY, OTHER_ACCOUNT_ID, IOT_ID)
TIMEOUT_MS = 5_000
REQUEST, ANSWER = b"\x00request", b"\xffanswer"
MS = 0.001


class Asked:
    """A call under way: its record, and the task that waits for its outcome."""

    def __init__(self, call: Call, message: Message, task: asyncio.Task[Outcome]) -> None:
        self.call = call
        self.message = message
        self.task = task

    @property
    def reasons(self) -> list[Stray]:
        return list(self.call.reasons())

    @property
    def stages(self) -> list[Stage]:
        return [moment.stage for moment in self.call.timeline]

    async def outcome(self) -> Outcome:
        await settle()
        assert self.task.done(), "the call still waits"
        return self.task.result()

    async def waits(self) -> bool:
        await settle()
        return not self.task.done()

    def check_end(self, verdict: Verdict, diagnosis: Diagnosis) -> None:
        assert (self.call.verdict, self.call.diagnosis) == (verdict, diagnosis)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(4):
        await asyncio.sleep(0)


class Bench:
    """A router with real sessions and a real journal, and a clock turned by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sink = RecordingSink()
        self.sessions = SessionTable(self.sink)
        self.journal = CallJournal(self.sink)
        self.router = LocalRouter(self.sessions, self.journal, self.clock)
        self.ids = ListedIds()
        self.asked: list[Asked] = []

    def connect(self, link: FakeLink | None = None, *, kept_s: float = 0.0) -> FakeLink:
        link = link or FakeLink()
        self.sessions.attach(
            link,
            clean_start=False,
            kept_s=kept_s,
            keep_alive_s=60,
            now_s=self.clock.monotonic_s(),
            now_ms=milliseconds(self.clock.time_s()),
            ip_address="",
        )
        return link

    def lose(self, link: FakeLink, ending: Ending = Ending.LOST) -> bool:
        now_ms = milliseconds(self.clock.time_s())
        return self.sessions.detach(link, ending, now_s=self.clock.monotonic_s(), now_ms=now_ms)

    async def ask(
        self,
        key: DeviceKey = KEY,
        *,
        topic: str = "",
        timeout_ms: int = TIMEOUT_MS,
        account_id: str = ACCOUNT_ID,
        activated: bool = True,
        enabled: bool = True,
        service: str = "",
    ) -> Asked:
        """Begin a call as an action does, and let it reach the device."""
        call = Call(self.ids.request_id(), "node-1", "RRpc", account_id)
        call.key, call.timeout_ms, call.message_id = key, timeout_ms, self.ids.message_id()
        call.mark(Stage.RECEIVED, self.clock.time_s(), self.clock.monotonic_s())
        self.journal.open(call)
        if topic:
            message = Message(
                ext_rrpc(call.message_id, topic), ext_rrpc(call.message_id, topic), REQUEST, needs_ext=True
            )
        else:
            message = Message(rrpc_request(key, call.message_id), rrpc_response(key, call.message_id), REQUEST)
        if service:
            call.target, call.alink_id = service, len(self.asked) + 1
        work = self.router.call(call, message, activated=activated, enabled=enabled)
        asked = Asked(call, message, asyncio.get_running_loop().create_task(work))
        self.asked.append(asked)
        await settle()
        return asked

    def answer(self, asked: Asked, payload: bytes = ANSWER, origin: Origin = ORIGIN, **changes: Any) -> bool:
        fields: dict[str, Any] = {"message_id": asked.call.message_id, "topic": asked.message.answer_topic} | changes
        return self.router.answer(origin, payload=payload, **fields)

    def close_journal(self, asked: Asked) -> None:
        """What the listener does once the answer is written."""
        self.journal.close(asked.call)

    def check_nothing_is_left(self) -> None:
        assert self.router.pending_count == 0
        assert self.router._deadlines.entry_count == 0
        assert self.router._by_device == {}


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for asked in bench.asked:
        asked.task.cancel()
    await asyncio.gather(*(asked.task for asked in bench.asked), return_exceptions=True)
    bench.check_nothing_is_left()


# --- the five verdicts


@pytest.mark.asyncio
async def test_an_answered_call_is_a_success(bench: Bench) -> None:
    link = bench.connect()
    asked = await bench.ask()
    assert link.messages == [(rrpc_request(KEY, asked.call.message_id), REQUEST)]
    assert bench.router.pending_count == 1
    assert bench.answer(asked)
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN, Stage.ANSWERED]
    assert (asked.call.answer_payload, asked.call.answer_bytes) == (ANSWER, len(ANSWER))
    bench.check_nothing_is_left()


@pytest.mark.asyncio
async def test_an_empty_answer_is_an_answer(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    assert bench.answer(asked, b"")
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, b"")


@pytest.mark.asyncio
async def test_a_device_that_says_nothing_times_out(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN]
    assert asked.call.evidence == []
    bench.check_nothing_is_left()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("activated", "diagnosis"), [(True, Diagnosis.NOT_CONNECTED), (False, Diagnosis.NEVER_ACTIVATED)]
)
async def test_a_device_without_a_connection_is_offline_at_once(
    bench: Bench, activated: bool, diagnosis: Diagnosis
) -> None:
    asked = await bench.ask(activated=activated)
    assert await asked.outcome() == Outcome(Verdict.OFFLINE, diagnosis)
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED]
    bench.check_nothing_is_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("is_live", [True, False])
async def test_a_disabled_device_is_offline_and_is_sent_nothing(bench: Bench, is_live: bool) -> None:
    link = bench.connect()
    if not is_live:
        bench.lose(link)
    asked = await bench.ask(enabled=False)
    assert await asked.outcome() == Outcome(Verdict.OFFLINE, Diagnosis.DISABLED)
    assert link.sent == []


@pytest.mark.asyncio
async def test_a_device_whose_connection_just_broke_is_half_connected(bench: Bench) -> None:
    link = bench.connect()
    bench.lose(link, Ending.LOST)
    bench.clock.advance(60 - MS)
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.HALFCONN, Diagnosis.HALF_CONNECTED)
    bench.clock.advance(MS)
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)
    assert link.sent == []


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.LOST])
async def test_after_any_other_ending_the_device_is_offline(bench: Bench, ending: Ending) -> None:
    bench.lose(bench.connect(), ending)
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)


@pytest.mark.asyncio
async def test_a_connection_found_gone_while_sending_is_half_connected(bench: Bench) -> None:
    bench.connect(FakeLink(failure=LinkBroken))
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED)
    assert Stage.WRITTEN not in asked.stages
    bench.check_nothing_is_left()


@pytest.mark.asyncio
async def test_a_call_nobody_waits_for_any_longer_ends_unknown(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    asked.task.cancel()
    await settle()
    assert asked.task.cancelled()
    asked.check_end(Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR)
    bench.check_nothing_is_left()
    assert not bench.answer(asked)
    assert asked.reasons == [Stray.LATE]
    asked.check_end(Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR)


@pytest.mark.asyncio
async def test_a_caller_that_goes_as_the_answer_comes_does_not_change_the_verdict(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    assert bench.answer(asked)
    asked.task.cancel()
    await settle()
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    bench.check_nothing_is_left()


@pytest.mark.asyncio
async def test_a_call_without_a_device_is_our_own_mistake(bench: Bench) -> None:
    call = Call("request-1", "node-1", message_id=1)
    with pytest.raises(ValueError, match="names its device"):
        await bench.router.call(call, Message("/a", "/a", b""), activated=True, enabled=True)


# --- the deadline


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout_ms", [1_000, 1_001, 4_999, 8_000])
async def test_the_deadline_is_met_to_the_millisecond(bench: Bench, timeout_ms: int) -> None:
    bench.connect()
    asked = await bench.ask(timeout_ms=timeout_ms)
    bench.clock.advance((timeout_ms - 1) / 1000)
    assert await asked.waits()
    assert bench.answer(asked)
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)

    asked = await bench.ask(timeout_ms=timeout_ms)
    bench.clock.advance((timeout_ms - 1) / 1000)
    assert await asked.waits()
    bench.clock.advance(MS + 1e-9)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
@pytest.mark.parametrize("is_before_the_timer", [False, True])
async def test_an_answer_at_the_deadline_is_late(bench: Bench, is_before_the_timer: bool) -> None:
    bench.connect()
    taken: list[bool] = []

    def answer_at_the_deadline() -> None:
        bench.clock.call_later(TIMEOUT_MS / 1000, lambda: taken.append(bench.answer(asked)))

    if is_before_the_timer:
        answer_at_the_deadline()
    asked = await bench.ask()
    if not is_before_the_timer:
        answer_at_the_deadline()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert taken == [False]
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    asked.check_end(Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    assert asked.reasons == [Stray.LATE]


class HastyClock(ManualClock):
    """A clock that runs timers of a millisecond and more half a millisecond early, as an event loop may."""

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: object) -> QueuedTimer:
        return super().call_later(delay_s - 0.0005 if delay_s >= 0.001 else delay_s, callback, *args)


@pytest.mark.asyncio
async def test_a_timer_that_runs_early_takes_nothing_from_the_deadline(bench: Bench) -> None:
    bench.clock = HastyClock()
    bench.router = LocalRouter(bench.sessions, bench.journal, bench.clock)
    bench.connect()
    first, second = await bench.ask(timeout_ms=1_000), await bench.ask(timeout_ms=1_000)
    bench.clock.advance(0.9996)
    assert await first.waits()
    assert bench.answer(first)
    bench.clock.advance(0.0004)
    await settle()
    first.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    second.check_end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    bench.check_nothing_is_left()


class LazyClock(ManualClock):
    """A clock whose timers are overdue: time goes on, and no callback runs."""

    def drift(self, seconds: float) -> None:
        self._move_to(self.monotonic_s() + seconds)


@pytest.mark.asyncio
@pytest.mark.parametrize("writes_at_once", [True, False])
async def test_the_deadline_rules_where_its_timer_has_not_run_yet(bench: Bench, writes_at_once: bool) -> None:
    bench.clock = LazyClock()
    bench.router = LocalRouter(bench.sessions, bench.journal, bench.clock)
    bench.connect(FakeLink(writes_at_once=writes_at_once))
    asked = await bench.ask()
    bench.clock.drift(TIMEOUT_MS / 1000)
    assert not bench.answer(asked)
    assert (await asked.outcome()).verdict is Verdict.TIMEOUT
    asked.check_end(Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    assert asked.call.late_by_ms == 1
    assert Stage.WRITTEN in asked.stages
    bench.check_nothing_is_left()


# --- written or not


@pytest.mark.asyncio
async def test_written_is_marked_when_the_last_byte_has_left(bench: Bench) -> None:
    link = bench.connect(FakeLink(writes_at_once=False))
    asked = await bench.ask()
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED]
    bench.clock.advance(0.25)
    link.write()
    routed, written = asked.call.timeline[-2:]
    assert (routed.stage, written.stage) == (Stage.ROUTED, Stage.WRITTEN)
    assert written.monotonic_s - routed.monotonic_s == 0.25
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", [FakeLink.write, FakeLink.fail_writes])
async def test_a_message_whose_bytes_never_left_is_no_timeout(bench: Bench, end: Callable[[FakeLink], None]) -> None:
    link = bench.connect(FakeLink(writes_at_once=False))
    asked = await bench.ask()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED)
    bench.check_nothing_is_left()
    # What becomes of the bytes afterwards changes nothing.
    end(link)
    asked.check_end(Verdict.HALFCONN, Diagnosis.WRITE_FAILED)
    assert Stage.WRITTEN not in asked.stages


@pytest.mark.asyncio
async def test_a_connection_that_ends_in_the_middle_of_the_message_ends_the_call_at_once(bench: Bench) -> None:
    link = bench.connect(FakeLink(writes_at_once=False))
    asked = await bench.ask()
    link.fail_writes()
    assert await asked.outcome() == Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED)
    bench.check_nothing_is_left()
    assert Stage.WRITTEN not in asked.stages
    asked.check_end(Verdict.HALFCONN, Diagnosis.WRITE_FAILED)


@pytest.mark.asyncio
async def test_an_answer_proves_that_the_message_was_written(bench: Bench) -> None:
    link = bench.connect(FakeLink(writes_at_once=False))
    asked = await bench.ask()
    assert bench.answer(asked)
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    link.write()
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN, Stage.ANSWERED]


@pytest.mark.asyncio
async def test_an_answer_that_comes_while_the_message_is_sent_is_taken(bench: Bench) -> None:
    class HastyLink(FakeLink):
        def send(self, topic: str, payload: bytes, receipt: object = None) -> None:
            bench.router.answer(ORIGIN, int(topic.rpartition("/")[2]), topic.replace("request", "response"), ANSWER)

    bench.connect(HastyLink())
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    bench.check_nothing_is_left()


# --- bounds


@pytest.mark.asyncio
async def test_a_device_that_does_not_read_makes_the_call_be_refused(bench: Bench) -> None:
    bench.connect(FakeLink(failure=LinkBlocked))
    asked = await bench.ask()
    with pytest.raises(RouterOverloaded):
        await asked.outcome()
    assert not asked.call.is_ended
    assert asked.stages == [Stage.RECEIVED, Stage.ROUTED]
    bench.check_nothing_is_left()


@pytest.mark.asyncio
async def test_a_message_the_device_does_not_take_makes_the_call_be_refused(bench: Bench) -> None:
    bench.connect(FakeLink(failure=LinkTooSmall))
    asked = await bench.ask()
    with pytest.raises(LinkTooSmall):
        await asked.outcome()
    assert not asked.call.is_ended
    bench.check_nothing_is_left()


@pytest.mark.asyncio
async def test_as_many_calls_wait_as_the_bound_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "PENDING_CALLS_MAX", 3)
    link = bench.connect()
    waiting = [await bench.ask() for _ in range(3)]
    refused = await bench.ask()
    with pytest.raises(RouterOverloaded):
        await refused.outcome()
    assert not refused.call.is_ended
    assert (len(link.sent), bench.router.pending_count) == (3, 3)
    # Those that wait are not touched, and one that ends makes room.
    assert bench.answer(waiting[1])
    another = await bench.ask()
    assert await another.waits()
    assert bench.router.pending_count == 3


@pytest.mark.asyncio
async def test_a_full_router_still_knows_who_is_offline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "PENDING_CALLS_MAX", 0)
    asked = await bench.ask()
    assert await asked.outcome() == Outcome(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)


# --- answers that are not the answer


@pytest.mark.asyncio
async def test_a_late_answer_is_kept_and_the_verdict_stays(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    bench.close_journal(asked)
    bench.clock.advance(0.75)
    assert not bench.answer(asked)
    asked.check_end(Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    assert asked.call.late_by_ms == 750
    (evidence,) = asked.call.evidence
    assert (evidence.reason, evidence.sender, evidence.topic) == (
        Stray.LATE,
        str(KEY),
        rrpc_response(KEY, asked.call.message_id),
    )
    assert (evidence.payload, evidence.payload_bytes) == (ANSWER, len(ANSWER))
    assert evidence.time_ms == milliseconds(bench.clock.time_s())
    assert asked.call.answer_payload == b""
    assert Stage.ANSWERED not in asked.stages
    # It is written once more, now with its evidence.
    assert bench.sink.calls == [asked.call, asked.call]


@pytest.mark.asyncio
async def test_the_first_late_answer_says_how_late(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.clock.advance(TIMEOUT_MS / 1000 + 0.1)
    bench.answer(asked)
    bench.clock.advance(1)
    bench.answer(asked)
    assert asked.call.late_by_ms == 100
    assert asked.reasons == [Stray.LATE, Stray.LATE]


@pytest.mark.asyncio
async def test_a_second_answer_is_a_duplicate(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    assert bench.answer(asked)
    assert not bench.answer(asked, b"again")
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    assert asked.reasons == [Stray.DUPLICATE]
    assert asked.call.answer_payload == ANSWER
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    assert asked.call.late_by_ms == 0


@pytest.mark.asyncio
async def test_an_answer_to_a_call_that_was_not_sent_is_late_and_explains_nothing(bench: Bench) -> None:
    bench.lose(bench.connect())
    asked = await bench.ask()
    assert not bench.answer(asked)
    asked.check_end(Verdict.HALFCONN, Diagnosis.HALF_CONNECTED)
    assert (asked.reasons, asked.call.late_by_ms) == ([Stray.LATE], 0)


@pytest.mark.asyncio
async def test_a_wrong_message_id_is_kept_with_the_calls_that_wait(bench: Bench) -> None:
    bench.connect()
    bench.connect(FakeLink(OTHER_KEY))
    first, second, elsewhere = await bench.ask(), await bench.ask(), await bench.ask(OTHER_KEY)
    assert not bench.answer(first, message_id=7, topic=rrpc_response(KEY, 7))
    assert (first.reasons, second.reasons, elsewhere.reasons) == (
        [Stray.WRONG_MESSAGE_ID],
        [Stray.WRONG_MESSAGE_ID],
        [],
    )
    assert bench.answer(second)
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await first.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_MESSAGE_ID)
    assert await second.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    assert await elsewhere.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
async def test_a_wrong_message_id_when_nothing_waits_is_kept_with_the_last_call(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.answer(asked)
    await settle()
    bench.close_journal(asked)
    assert not bench.answer(asked, message_id=7)
    assert asked.reasons == [Stray.WRONG_MESSAGE_ID]
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)


@pytest.mark.asyncio
async def test_a_wrong_message_id_of_a_device_never_called_is_dropped(bench: Bench) -> None:
    assert not bench.router.answer(ORIGIN, 7, rrpc_response(KEY, 7), ANSWER)
    assert len(bench.journal) == 0


@pytest.mark.asyncio
async def test_an_answer_on_the_wrong_topic_is_not_taken(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    assert not bench.answer(asked, topic=rrpc_request(KEY, asked.call.message_id))
    assert not bench.answer(asked, topic=ext_rrpc(asked.call.message_id, "/a"))
    assert asked.reasons == [Stray.WRONG_TOPIC, Stray.WRONG_TOPIC]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_TOPIC)


@pytest.mark.asyncio
async def test_the_right_answer_is_taken_after_a_wrong_one(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.answer(asked, b"wrong", topic="/ext/rrpc/1/a")
    bench.answer(asked, b"wrong", message_id=7)
    bench.answer(asked, b"wrong", OTHER_ORIGIN)
    assert bench.answer(asked)
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)
    assert asked.reasons == [Stray.WRONG_TOPIC, Stray.WRONG_MESSAGE_ID, Stray.OTHER_DEVICE]


@pytest.mark.asyncio
async def test_another_device_cannot_answer(bench: Bench) -> None:
    bench.connect()
    bench.connect(FakeLink(OTHER_KEY))
    asked, of_sender = await bench.ask(), await bench.ask(OTHER_KEY)
    assert not bench.answer(asked, origin=OTHER_ORIGIN)
    assert await asked.waits()
    (evidence,) = asked.call.evidence
    assert (evidence.reason, evidence.sender, evidence.payload) == (Stray.OTHER_DEVICE, str(OTHER_KEY), ANSWER)
    # For the call that the sender was to answer it is an answer with the wrong message id.
    assert of_sender.reasons == [Stray.WRONG_MESSAGE_ID]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    assert await of_sender.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_MESSAGE_ID)


@pytest.mark.asyncio
@pytest.mark.parametrize("is_over", [False, True])
async def test_of_a_device_of_another_account_nothing_is_shown(bench: Bench, is_over: bool) -> None:
    bench.connect()
    asked = await bench.ask()
    if is_over:
        bench.clock.advance(TIMEOUT_MS / 1000)
    assert not bench.answer(asked, origin=FOREIGN_ORIGIN)
    (evidence,) = asked.call.evidence
    assert (evidence.reason, evidence.sender, evidence.topic) == (Stray.OTHER_DEVICE, "", "")
    assert (evidence.payload, evidence.payload_bytes) == (b"", 0)
    assert asked.call.late_by_ms == 0


@pytest.mark.asyncio
async def test_an_answer_that_is_too_large_explains_the_timeout(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    topic = asked.message.answer_topic
    bench.router.refuse_answer(ORIGIN, asked.call.message_id, topic, b"", Stray.TOO_LARGE, 262_145)
    (evidence,) = asked.call.evidence
    assert (evidence.reason, evidence.payload, evidence.payload_bytes) == (Stray.TOO_LARGE, b"", 262_145)
    assert await asked.waits()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.ANSWER_TOO_LARGE)


@pytest.mark.asyncio
@pytest.mark.parametrize("origin", [OTHER_ORIGIN, FOREIGN_ORIGIN])
async def test_what_another_device_sends_too_large_explains_nothing(bench: Bench, origin: Origin) -> None:
    bench.connect()
    asked = await bench.ask()
    topic = ext_rrpc(asked.call.message_id, "/a")
    bench.router.refuse_answer(origin, asked.call.message_id, topic, b"", Stray.TOO_LARGE)
    assert asked.reasons == [Stray.OTHER_DEVICE]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
async def test_a_refused_answer_to_no_call_is_a_wrong_message_id(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.router.refuse_answer(ORIGIN, 7, rrpc_response(KEY, 7), b"", Stray.TOO_LARGE)
    assert asked.reasons == [Stray.WRONG_MESSAGE_ID]


@pytest.mark.asyncio
async def test_sixteen_pieces_of_evidence_are_kept_and_the_rest_counted(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    for _ in range(17):
        bench.answer(asked, topic="/ext/rrpc/1/a")
    assert (len(asked.call.evidence), asked.call.evidence_dropped) == (16, 1)
    assert bench.answer(asked)
    asked.check_end(Verdict.SUCCESS, Diagnosis.ANSWERED)


@pytest.mark.asyncio
async def test_evidence_keeps_the_beginning_of_what_was_sent(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    for excess in (0, 1):
        payload = b"x" * (EVIDENCE_PAYLOAD_BYTES_MAX + excess)
        topic = "/ext/rrpc/1/" + "t" * (EVIDENCE_TOPIC_CHARS_MAX - len("/ext/rrpc/1/") + excess)
        bench.answer(asked, payload, topic=topic)
        evidence = asked.call.evidence[-1]
        assert (evidence.payload, evidence.payload_bytes) == (payload[:1_024], 1_024 + excess)
        assert evidence.topic == topic[:256]


# --- connections that come and go


@pytest.mark.asyncio
@pytest.mark.parametrize("kept_s", [0.0, 3_600.0])
@pytest.mark.parametrize("ending", [None, Ending.DISCONNECTED, Ending.LOST])
async def test_a_new_connection_in_place_of_the_one_asked_explains_the_timeout(
    bench: Bench, ending: Ending | None, kept_s: float
) -> None:
    link = bench.connect(kept_s=kept_s)
    asked = await bench.ask()
    if ending is not None:
        bench.lose(link, ending)
    bench.connect(kept_s=kept_s)
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.SUPERSEDED_CONNECTION)


@pytest.mark.asyncio
async def test_an_answer_over_a_new_connection_is_taken(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask()
    bench.connect()
    assert bench.answer(asked)
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)


@pytest.mark.asyncio
async def test_a_device_that_goes_with_the_message_times_out(bench: Bench) -> None:
    link = bench.connect()
    asked = await bench.ask()
    bench.lose(link)
    assert await asked.waits()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
async def test_what_the_device_sent_explains_more_than_its_connections(bench: Bench) -> None:
    bench.connect()
    asked = await bench.ask(topic="/a")
    bench.connect()
    bench.answer(asked, message_id=7)
    bench.answer(asked, topic="/ext/rrpc/1/b")
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_TOPIC)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ext", "diagnosis"),
    [
        (0, Diagnosis.EXT_NOT_SET),
        (2, Diagnosis.EXT_NOT_SET),
        (1, Diagnosis.WRITTEN_NO_ANSWER),
        (3, Diagnosis.WRITTEN_NO_ANSWER),
    ],
)
async def test_a_device_that_never_offered_custom_topics_explains_the_timeout(
    bench: Bench, ext: int, diagnosis: Diagnosis
) -> None:
    link = bench.connect(FakeLink(ext=ext))
    asked = await bench.ask(topic="/a1Lnk5tEad0/lamp-01/user/get")
    # It is sent all the same.
    assert link.messages == [(f"/ext/rrpc/{asked.call.message_id}/a1Lnk5tEad0/lamp-01/user/get", REQUEST)]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, diagnosis)


@pytest.mark.asyncio
async def test_a_device_may_answer_on_a_custom_topic_it_never_offered(bench: Bench) -> None:
    bench.connect(FakeLink(ext=0))
    asked = await bench.ask(topic="/a")
    assert bench.answer(asked)
    assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, ANSWER)


@pytest.mark.asyncio
async def test_a_call_on_the_system_topic_needs_no_ext(bench: Bench) -> None:
    bench.connect(FakeLink(ext=0))
    asked = await bench.ask()
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert await asked.outcome() == Outcome(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


# --- many at once


@pytest.mark.asyncio
async def test_overlapping_calls_may_be_answered_in_any_order(bench: Bench) -> None:
    bench.connect()
    calls = [await bench.ask() for _ in range(10)]
    for index, asked in reversed(list(enumerate(calls))):
        assert bench.answer(asked, b"%d" % index)
    for index, asked in enumerate(calls):
        assert await asked.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, b"%d" % index)
        assert asked.reasons == []


def name(asked: Asked) -> bytes:
    """An answer that names a call."""
    return b'{"id":"%d","code":200}' % asked.call.alink_id


@pytest.mark.asyncio
async def test_an_answer_on_the_topic_of_a_later_call_of_the_service_is_of_the_call_it_names(bench: Bench) -> None:
    bench.connect()
    first, second = [await bench.ask(service="Blink") for _ in range(2)]
    assert bench.answer(second, name(first))
    assert await first.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, name(first))
    assert await second.waits()
    assert bench.answer(second, name(second))
    assert await second.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, name(second))
    assert first.reasons == second.reasons == []


@pytest.mark.asyncio
async def test_an_answer_on_the_topic_of_a_call_that_has_ended_is_of_the_call_it_names(bench: Bench) -> None:
    bench.connect()
    first, second = [await bench.ask(service="Blink") for _ in range(2)]
    assert bench.answer(second, name(second))
    assert bench.answer(second, name(first))
    assert await first.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, name(first))
    assert not bench.answer(second, name(first))
    assert (first.reasons, second.reasons) == ([], [Stray.DUPLICATE])


@pytest.mark.asyncio
async def test_on_another_topic_of_a_call_that_has_ended_no_call_is_named(bench: Bench) -> None:
    bench.connect()
    first, second = [await bench.ask(service="Blink") for _ in range(2)]
    other = await bench.ask(service="SelfTest")
    assert bench.answer(second, name(second))
    assert not bench.answer(second, name(first), topic=rrpc_request(KEY, second.call.message_id))
    assert not bench.answer(second, name(other))
    assert not bench.answer(second, b"{}")
    assert second.reasons == [Stray.DUPLICATE] * 3
    assert await first.waits()
    assert await other.waits()


@pytest.mark.asyncio
async def test_an_answer_that_names_a_call_given_up_is_late_and_the_next_call_waits_on(bench: Bench) -> None:
    bench.connect()
    first = await bench.ask(service="Blink")
    bench.clock.advance(TIMEOUT_MS / 1000)
    await first.outcome()
    bench.close_journal(first)
    second = await bench.ask(service="Blink")
    bench.clock.advance(1.0)
    assert not bench.answer(second, name(first))
    first.check_end(Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    assert (first.reasons, first.call.late_by_ms) == ([Stray.LATE], 1_000)
    assert await second.waits()
    assert bench.answer(second, name(second))
    assert await second.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, name(second))
    assert second.reasons == []


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", [None, Verdict.TIMEOUT])
async def test_an_answer_that_names_a_call_of_another_service_is_of_its_topic(
    bench: Bench, ending: Verdict | None
) -> None:
    bench.connect()
    first = await bench.ask(service="SelfTest", timeout_ms=TIMEOUT_MS if ending else 2 * TIMEOUT_MS)
    bench.clock.advance(TIMEOUT_MS / 1000)
    if ending:
        assert (await first.outcome()).verdict is ending
        bench.close_journal(first)
    assert first.call.verdict is ending
    second = await bench.ask(service="Blink")
    assert bench.answer(second, name(first))
    assert await second.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, name(first))
    assert first.reasons == []


@pytest.mark.asyncio
@pytest.mark.parametrize("payload", [b"{}", b'{"code":200}', b'{"id":"1900000000","code":200}'])
async def test_an_answer_that_names_no_call_is_of_its_topic(bench: Bench, payload: bytes) -> None:
    bench.connect()
    first, second = [await bench.ask(service="Blink") for _ in range(2)]
    assert bench.answer(second, payload)
    assert await second.outcome() == Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, payload)
    assert await first.waits()


@pytest.mark.asyncio
async def test_two_calls_to_one_device_end_each_at_its_own_deadline(bench: Bench) -> None:
    bench.connect()
    long, short = await bench.ask(timeout_ms=8_000), await bench.ask(timeout_ms=1_000)
    bench.clock.advance(1)
    assert (await short.outcome()).verdict is Verdict.TIMEOUT
    assert await long.waits()
    assert not bench.answer(short)
    assert long.reasons == []
    assert bench.answer(long)
    assert (await long.outcome()).verdict is Verdict.SUCCESS


@pytest.mark.asyncio
async def test_message_ids_have_all_their_63_bits(bench: Bench) -> None:
    bench.connect()
    ids = [2**63 - 1, 2**63 - 2, 2**53 + 1, 2**53, 2**32 + 5, 5]
    bench.ids = ListedIds(ids)
    calls = [await bench.ask() for _ in ids]
    for asked in calls[1:]:
        assert bench.answer(asked, str(asked.call.message_id).encode())
    assert await calls[0].waits()
    assert bench.answer(calls[0])
    assert [(await asked.outcome()).payload for asked in calls[1:]] == [str(number).encode() for number in ids[1:]]


# --- whatever happens: rules 1 to 4 of the call


class Scenario(Bench):
    """Two devices, calls to them, and all that can happen; the rules are checked after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[DeviceKey, FakeLink] = {}
        self.deadlines: dict[str, float] = {}
        self.endings: dict[str, Verdict] = {}
        self.answers: dict[str, bytes] = {}
        self.evidence_counts: dict[str, int] = {}

    async def step(self, kind: str, which: int, number: int) -> None:
        key = (KEY, OTHER_KEY)[which]
        asked = self.asked[number % len(self.asked)] if self.asked else None
        link = self.links.get(key)
        match kind:
            case "ask":
                asked = await self.ask(key, timeout_ms=1_000 + number * 100)
                self.deadlines[asked.call.request_id] = self.clock.monotonic_s() + asked.call.timeout_ms / 1000
            case "connect" | "connect-slow":
                if link is not None:
                    link.fail_writes()
                self.links[key] = self.connect(FakeLink(key, writes_at_once=kind == "connect"), kept_s=number * 10.0)
            case "lose" if link is not None:
                link.fail_writes()
                self.lose(self.links.pop(key), (Ending.LOST, Ending.DISCONNECTED)[number % 2])
            case "write" if link is not None:
                link.write()
            case "answer" if asked is not None:
                await self.try_answer(asked, Origin(asked.call.key or KEY, ACCOUNT_ID, IOT_ID), b"%d" % number)
            case "foreign-answer" if asked is not None:
                origin = (OTHER_ORIGIN if asked.call.key == KEY else ORIGIN, FOREIGN_ORIGIN)[number % 2]
                await self.try_answer(asked, origin, b"foreign")
            case "wrong-topic" if asked is not None and asked.call.key is not None:
                origin = Origin(asked.call.key, ACCOUNT_ID, IOT_ID)
                assert not self.answer(asked, b"wrong", origin, topic="/ext/rrpc/1/a")
            case "wrong-id" if asked is not None:
                assert not self.answer(asked, b"wrong", Origin(key, ACCOUNT_ID, IOT_ID), message_id=number + 1)
            case "turn":
                self.clock.advance(number * 0.25)
            case "cancel" if asked is not None:
                asked.task.cancel()
            case "close" if asked is not None and asked.call.is_ended:
                if asked.call not in self.sink.calls:
                    self.close_journal(asked)
            case "expire":
                self.sessions.expire(self.clock.monotonic_s())

    async def try_answer(self, asked: Asked, origin: Origin, payload: bytes) -> None:
        was_open = not asked.call.is_ended
        before = len(asked.call.evidence) + asked.call.evidence_dropped
        taken = self.answer(asked, payload, origin)
        # Rule 2: from the device it was sent to, and from nobody else.
        assert taken is (was_open and origin.key == asked.call.key)
        if taken:
            self.answers[asked.call.request_id] = payload
        else:
            # Rule 4: it is not lost.
            assert len(asked.call.evidence) + asked.call.evidence_dropped == before + 1

    async def check(self) -> None:
        await settle()
        now_s = self.clock.monotonic_s()
        for asked in self.asked:
            call = asked.call
            name = call.request_id
            # Rule 1: it ends once, at its deadline at the latest, and whoever waits for it knows.
            assert call.is_ended or now_s < self.deadlines[name]
            assert asked.task.done() is call.is_ended
            if call.verdict is None:
                continue
            assert self.endings.setdefault(name, call.verdict) is call.verdict
            if not asked.task.cancelled():
                assert asked.task.result().verdict is call.verdict
            # Rule 2, again: the answer is the one it was given.
            assert (call.verdict is Verdict.SUCCESS) is (name in self.answers)
            assert call.answer_payload == self.answers.get(name, b"")
            # Rule 3: the verdict never contradicts the timeline.
            stages = asked.stages
            assert (Stage.ANSWERED in stages) is (call.verdict is Verdict.SUCCESS)
            if call.verdict in (Verdict.SUCCESS, Verdict.TIMEOUT):
                assert Stage.WRITTEN in stages
            if call.verdict is Verdict.OFFLINE or call.diagnosis in (Diagnosis.HALF_CONNECTED, Diagnosis.WRITE_FAILED):
                assert Stage.WRITTEN not in stages
            assert len(set(stages)) == len(stages)
            moments = [moment.monotonic_s for moment in call.timeline]
            assert moments == sorted(moments)
            assert (call.late_by_ms > 0) is (call.diagnosis is Diagnosis.ANSWERED_LATE)
            # Rule 4, again: evidence only grows.
            count = len(call.evidence) + call.evidence_dropped
            assert count >= self.evidence_counts.get(name, 0)
            self.evidence_counts[name] = count
        assert self.router.pending_count == sum(not asked.task.done() for asked in self.asked)
        # A timer for each timeout that somebody waits for, not for each call; with nobody there it runs out.
        assert self.clock.timer_count > 0 or self.router.pending_count == 0
        assert self.router._deadlines.entry_count == 0 or self.router.pending_count > 0


steps = st.tuples(
    st.sampled_from(
        [
            "ask",
            "ask",
            "ask",
            "connect",
            "connect",
            "connect-slow",
            "lose",
            "write",
            "answer",
            "answer",
            "foreign-answer",
            "wrong-topic",
            "wrong-id",
            "turn",
            "turn",
            "cancel",
            "close",
            "expire",
        ]
    ),
    st.integers(min_value=0, max_value=1),
    st.integers(min_value=0, max_value=30),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, min_size=10, max_size=60))
def test_a_call_ends_exactly_once_whatever_happens(given_steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        scenario = Scenario()
        for which in (0, 1):
            await scenario.step("connect", which, which)
        for step in given_steps:
            await scenario.step(*step)
            await scenario.check()
        scenario.clock.advance(60)
        await scenario.check()
        assert all(asked.call.is_ended for asked in scenario.asked)
        scenario.check_nothing_is_left()

    asyncio.run(run())

"""Routing a call to the device and its answer back to the call.

A call is decided on the node that holds the device's session: one question, one answer. `LocalRouter` is the whole
product on one node.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from linkstead.alink.services import read_alink_id
from linkstead.clock import Clock, milliseconds
from linkstead.eager import Waiter
from linkstead.invocation.call import Call, count_left_ms, end_call, keep_answer, mark_stage
from linkstead.invocation.deadlines import Deadlines
from linkstead.invocation.journal import CallJournal
from linkstead.invocation.record import (
    EVIDENCE_PAYLOAD_BYTES_MAX,
    EVIDENCE_TOPIC_CHARS_MAX,
    Diagnosis,
    Evidence,
    Stage,
    Stray,
    Verdict,
)
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import LinkBlocked, LinkBroken, Reach, Session, SessionTable

log = logging.getLogger(__name__)

PENDING_CALLS_MAX = 100_000
"""Calls waiting for an answer on one node; the next is refused."""

STRAY_DIAGNOSES = {
    Stray.TOO_LARGE: Diagnosis.ANSWER_TOO_LARGE,
    Stray.WRONG_TOPIC: Diagnosis.ANSWERED_WRONG_TOPIC,
    Stray.WRONG_MESSAGE_ID: Diagnosis.ANSWERED_WRONG_MESSAGE_ID,
}
"""What a timeout is put down to when the device did send something: the first that applies."""


# Members at hand: to look one up in its class takes two steps more.
_ROUTED: Final = Stage.ROUTED
_WRITTEN: Final = Stage.WRITTEN
_ANSWERED: Final = Stage.ANSWERED
_SUCCESS: Final = Verdict.SUCCESS
_WELL: Final = Diagnosis.ANSWERED

IsAcceptable = Callable[[bytes], bool]
"""Judges an answer by its form."""


class RouterOverloaded(Exception):
    """The call was refused before anything was sent: `PENDING_CALLS_MAX`, or the device's send buffer, is full."""


class Message(msgspec.Struct, frozen=True):
    """What goes to the device, and the topic its answer has to come on.

    `ext_topic` takes the place of both for a device that connected with `ext` bit 0 set. `needs_ext`: other devices do
    not understand the topic. `is_acceptable` judges an answer by its form; without it any bytes are one.
    """

    topic: str
    answer_topic: str
    payload: bytes
    needs_ext: bool = False
    ext_topic: str = ""
    is_acceptable: IsAcceptable | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The verdict of a call; `payload` is the device's answer, empty unless SUCCESS or FAILED."""

    verdict: Verdict
    diagnosis: Diagnosis
    payload: bytes = b""


class Router(Protocol):
    """Finds the node that holds a device, and has the call decided there."""

    async def call(self, call: Call, message: Message, *, activated: bool, enabled: bool) -> Outcome:
        """Send a message to the device of `call` and wait for its answer, `call.timeout_ms` after it came at most.

        Args:
            call: the record; `key`, `message_id` and `timeout_ms` are set. The router ends it.
            message: what to send, at QoS 0.
            activated: the device has connected at least once.
            enabled: the device is not disabled.

        Returns:
            SUCCESS with the device's bytes; TIMEOUT, OFFLINE, HALFCONN or UNKNOWN without.

        Raises:
            RouterOverloaded: a bound was reached; nothing was sent and the call is not ended.
            LinkTooSmall: the device does not take messages of this size; likewise.
        """


Tell = Callable[[Call, Outcome], None]
"""Takes what a call has ended with, in the moment in which it has."""


class _Pending(Waiter[Outcome]):
    """A call waiting for its answer; also the receipt of its message."""

    __slots__ = (
        "call",
        "connections",
        "deadline_s",
        "ext_not_set",
        "is_attached",
        "is_written",
        "key",
        "message",
        "message_id",
        "router",
        "session",
        "tell",
    )

    def __init__(
        self,
        router: "LocalRouter",
        call: Call,
        key: DeviceKey,
        message: Message,
        deadline_s: float,
        session: Session,
        ext_not_set: bool,
        tell: "Tell | None",
    ) -> None:
        super().__init__()
        self.router = router
        self.call = call
        self.key = key
        self.message = message
        self.deadline_s = deadline_s
        self.session = session
        self.connections = session.connections
        self.ext_not_set = ext_not_set
        self.is_written = False
        self.is_attached = False
        self.message_id = call.message_id
        self.tell = tell

    def written(self) -> None:
        self.is_written = True
        self.router.note_written(self.call)

    def write_failed(self) -> None:
        self.router.fail_write(self)


class _Publish(NamedTuple):
    """What a device sent that is no answer; `payload` may be a part of it."""

    origin: Origin
    topic: str
    payload: bytes
    payload_bytes: int


class LocalRouter:
    """Calls the devices connected to this node.

    Args:
        sessions: who is connected here.
        journal: where ended calls are looked up when something late or stray comes in.
        clock: deadlines.
    """

    def __init__(self, sessions: SessionTable, journal: CallJournal, clock: Clock) -> None:
        self._sessions = sessions
        self._journal = journal
        self._time_s, self._monotonic_s = clock.time_s, clock.monotonic_s
        self._pending: dict[int, _Pending] = {}
        self._by_topic: dict[str, _Pending] = {}
        self._by_device: dict[DeviceKey, dict[int, _Pending]] = {}
        self._deadlines = Deadlines(clock, self._expire_due, self._pending.__contains__)

    @property
    def pending_count(self) -> int:
        """Calls waiting for an answer."""
        return len(self._pending)

    def is_calling(self, key: DeviceKey) -> bool:
        """True while a call waits for an answer of this device."""
        return key in self._by_device

    async def call(
        self, call: Call, message: Message, *, activated: bool, enabled: bool, left_ms: int | None = None
    ) -> Outcome:
        """See `Router.call`; `left_ms` is what is left of the time of a call, where it is known."""
        pending = self._begin(call, message, activated, enabled, left_ms, None)
        if isinstance(pending, Outcome):
            return pending
        try:
            return await pending
        except asyncio.CancelledError:
            # Nobody waits for it any longer; its record ends all the same.
            if not call.is_ended:
                self._end(call, Outcome(Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR))
            raise
        finally:
            self._detach(pending)

    def begin(self, call: Call, message: Message, tell: Tell) -> None:
        """Call a device that is connected here: as `call` does, without a coroutine that waits."""
        pending = self._begin(call, message, True, True, None, tell)
        if isinstance(pending, Outcome):
            tell(call, pending)

    def _begin(
        self, call: Call, message: Message, activated: bool, enabled: bool, left_ms: int | None, tell: Tell | None
    ) -> _Pending | Outcome:
        """Send the message of a call. Returns what waits for the answer, or the outcome where nothing does."""
        key = call.key
        if key is None:
            raise ValueError("a call that is routed names its device")
        now_s = self._monotonic_s()
        self._journal.index_message_id(call)
        mark_stage(call, _ROUTED, self._time_s(), now_s)
        session = self._sessions.find(key)
        if session is None or session.link is None or not enabled:
            return self._end_unreachable(call, key, activated=activated, enabled=enabled)
        if len(self._pending) >= PENDING_CALLS_MAX:
            raise RouterOverloaded
        has_ext = bool(session.link.ext & 1)
        ext_not_set = message.needs_ext and not has_ext
        if message.ext_topic and has_ext:
            message = msgspec.structs.replace(message, topic=message.ext_topic, answer_topic=message.ext_topic)
        span_ms = count_left_ms(call, now_s) if left_ms is None else left_ms
        pending = _Pending(self, call, key, message, now_s + span_ms / 1000, session, ext_not_set, tell)
        self._attach(pending)
        try:
            session.link.send(message.topic, message.payload, pending)
        except LinkBlocked:
            self._detach(pending)
            raise RouterOverloaded from None
        except LinkBroken:
            self._detach(pending)
            return self._end(call, Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED))
        except BaseException:
            self._detach(pending)
            raise
        if call.verdict is None:
            self._deadlines.add(pending.message_id, span_ms, pending.deadline_s)
        return pending

    def _end_unreachable(self, call: Call, key: DeviceKey, *, activated: bool, enabled: bool) -> Outcome:
        if not enabled:
            return self._end(call, Outcome(Verdict.OFFLINE, Diagnosis.DISABLED))
        if self._sessions.reach(key, self._monotonic_s()) is Reach.HALF:
            return self._end(call, Outcome(Verdict.HALFCONN, Diagnosis.HALF_CONNECTED))
        diagnosis = Diagnosis.NOT_CONNECTED if activated else Diagnosis.NEVER_ACTIVATED
        return self._end(call, Outcome(Verdict.OFFLINE, diagnosis))

    def _attach(self, pending: _Pending) -> None:
        message_id = pending.message_id
        pending.is_attached = True
        self._pending[message_id] = pending
        self._by_topic[pending.message.answer_topic] = pending
        of_device = self._by_device.get(pending.key)
        if of_device is None:
            self._by_device[pending.key] = {message_id: pending}
        else:
            of_device[message_id] = pending

    def _detach(self, pending: _Pending) -> None:
        if not pending.is_attached:
            return
        pending.is_attached = False
        message_id = pending.message_id
        self._pending.pop(message_id, None)
        self._by_topic.pop(pending.message.answer_topic, None)
        of_device = self._by_device[pending.key]
        del of_device[message_id]
        if not of_device:
            del self._by_device[pending.key]
            if not self._pending:
                self._deadlines.clear()

    @staticmethod
    def _end(call: Call, outcome: Outcome) -> Outcome:
        end_call(call, outcome.verdict, outcome.diagnosis)
        return outcome

    def _complete(self, pending: _Pending, outcome: Outcome) -> None:
        self._end(pending.call, outcome)
        # The waiting caller runs a moment later; what comes in until then belongs to an ended call.
        self._detach(pending)
        if pending.tell is None:
            pending.set_result(outcome)
        else:
            pending.tell(pending.call, outcome)

    def note_written(self, call: Call) -> None:
        """The message of a call was handed to the network in full."""
        if call.verdict is None:
            mark_stage(call, _WRITTEN, self._time_s(), self._monotonic_s())

    def fail_write(self, pending: _Pending) -> None:
        """The connection ended with part of the message unsent: the device cannot have got it."""
        if not pending.call.is_ended:
            self._complete(pending, Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED))

    def _expire_due(self, message_id: int) -> None:
        self._expire(self._pending[message_id])

    def _expire(self, pending: _Pending) -> None:
        call = pending.call
        if call.is_ended:
            return
        if call.moment(Stage.WRITTEN) is None:
            # Its bytes never left in full, so this is no timeout of the device.
            self._complete(pending, Outcome(Verdict.HALFCONN, Diagnosis.WRITE_FAILED))
            return
        seen = set(call.reasons())
        diagnosis = next((STRAY_DIAGNOSES[reason] for reason in STRAY_DIAGNOSES if reason in seen), None)
        if diagnosis is None and self._was_superseded(pending):
            diagnosis = Diagnosis.SUPERSEDED_CONNECTION
        if diagnosis is None and pending.ext_not_set:
            diagnosis = Diagnosis.EXT_NOT_SET
        self._complete(pending, Outcome(Verdict.TIMEOUT, diagnosis or Diagnosis.WRITTEN_NO_ANSWER))

    def _was_superseded(self, pending: _Pending) -> bool:
        session = self._sessions.find(pending.key)
        return session is not None and (session is not pending.session or session.connections != pending.connections)

    def find_called(self, message_id: int) -> DeviceKey | None:
        """The device that a call went to, as long as anything is known of the call."""
        pending = self._pending.get(message_id)
        if pending is not None:
            return pending.key
        call = self._journal.find_by_message_id(message_id)
        return call.key if call is not None else None

    def answer_on(self, origin: Origin, topic: str, payload: bytes) -> bool:
        """Take what a device published if a call to this very device waits for it on this topic; else False.

        What `answer` does with nearly all answers, without taking the topic apart.
        """
        pending = self._by_topic.get(topic)
        if pending is None or pending.key != origin.key:
            return False
        self._take(pending, origin, topic, payload)
        return True

    def answer(self, origin: Origin, message_id: int, topic: str, payload: bytes) -> bool:
        """Take what a device published on an answer topic. True when it completed a call.

        It completes only the call it names, sent to this very device and answered on its own topic; anything else is
        kept as evidence with the call it belongs to. For services see `_find_named`.
        """
        pending = self._pending.get(message_id)
        if pending is None or pending.key != origin.key:
            publish = _Publish(origin, topic, payload, len(payload))
            named = self._find_named_on_ended(message_id, publish)
            if named is None:
                self._keep_stray(message_id, publish)
                return False
            return self._accept(named, origin, topic, payload)
        if topic != pending.message.answer_topic:
            self._add_evidence(pending.call, Stray.WRONG_TOPIC, _Publish(origin, topic, payload, len(payload)))
            return False
        return self._take(pending, origin, topic, payload)

    def _take(self, pending: _Pending, origin: Origin, topic: str, payload: bytes) -> bool:
        """Take what came on the topic of a waiting call, for that call or for another of the same service."""
        if pending.call.alink_id:
            named = self._find_named(pending, payload)
            if isinstance(named, Call):
                self._keep_with_ended(named, _Publish(origin, topic, payload, len(payload)))
                return False
            pending = named
        return self._accept(pending, origin, topic, payload)

    def _accept(self, pending: _Pending, origin: Origin, topic: str, payload: bytes) -> bool:
        call = pending.call
        if not pending.is_written:
            # The device has it, so its bytes have left, whatever the receipt will say.
            pending.written()
        now_s = self._monotonic_s()
        if now_s >= pending.deadline_s:
            # The timer is due but has not run yet: the deadline rules, not the order of callbacks.
            self._expire(pending)
            self._keep_stray(call.message_id, _Publish(origin, topic, payload, len(payload)))
            return False
        mark_stage(call, _ANSWERED, self._time_s(), now_s)
        keep_answer(call, payload)
        is_acceptable = pending.message.is_acceptable
        if is_acceptable is None or is_acceptable(payload):
            self._complete(pending, Outcome(_SUCCESS, _WELL, payload))
        else:
            self._complete(pending, Outcome(Verdict.FAILED, Diagnosis.ANSWER_MALFORMED, payload))
        return True

    def _find_named(self, pending: _Pending, payload: bytes) -> _Pending | Call:
        """The call that an answer on the topic of `pending` is of: that one, or another of the same service.

        The Node SDK keeps one message id a service: it answers overlapping calls, and one that was given up before the
        next, on the topic of the latest; the id inside is the right one. An id that is of neither means nothing, as
        programs set it as they like. Source: `device-protocol.md` 0.3 and 5.9.
        """
        call = pending.call
        last = self._journal.last_call_of(pending.key)
        given_up = last if last is not None and last.verdict is Verdict.TIMEOUT else None
        if given_up is None and len(self._by_device[pending.key]) == 1:
            return pending
        alink_id = read_alink_id(payload)
        if alink_id in (0, call.alink_id):
            return pending
        if given_up is not None and (given_up.alink_id, given_up.target) == (alink_id, call.target):
            return given_up
        return self._find_waiting(pending.key, call.target, alink_id) or pending

    def _find_named_on_ended(self, message_id: int, publish: _Publish) -> _Pending | None:
        """The same for the topic of a call that has ended: a waiting one of its service, or None."""
        origin, topic, payload, _ = publish
        ended = self._journal.find_by_message_id(message_id)
        if ended is None or ended.key != origin.key or not ended.alink_id or origin.key not in self._by_device:
            return None
        named = self._find_waiting(origin.key, ended.target, read_alink_id(payload))
        if named is None:
            return None
        # But for the message id, both calls are answered on the same topic.
        answer_topic = named.message.answer_topic.replace(f"/{named.call.message_id}", f"/{message_id}", 1)
        return named if topic == answer_topic else None

    def _find_waiting(self, key: DeviceKey, service: str, alink_id: int) -> _Pending | None:
        waiting = self._by_device[key].values() if alink_id else ()
        return next((each for each in waiting if (each.call.alink_id, each.call.target) == (alink_id, service)), None)

    def refuse_answer(
        self,
        origin: Origin,
        message_id: int,
        topic: str,
        payload: bytes,
        reason: Stray,
        payload_bytes: int | None = None,
    ) -> None:
        """Keep an answer that may not be taken, whatever it says: too large, or on a topic of another device.

        Args:
            reason: why, if it comes from the device that was called.
            payload_bytes: how much it was, where `payload` is not all of it.
        """
        publish = _Publish(origin, topic, payload, len(payload) if payload_bytes is None else payload_bytes)
        call = self._journal.find_by_message_id(message_id)
        if call is None or call.key != origin.key:
            self._keep_stray(message_id, publish)
        else:
            self._add_evidence(call, reason, publish)

    def _keep_stray(self, message_id: int, publish: _Publish) -> None:
        key = publish.origin.key
        call = self._journal.find_by_message_id(message_id)
        if call is not None and call.key == key:
            self._keep_with_ended(call, publish)
            return
        if call is not None:
            self._add_evidence(call, Stray.OTHER_DEVICE, publish)
        # For the sender it is an answer with a message id that is none of its own.
        log.warning("answer without a call (1904)", extra={"device": str(key), "topic": publish.topic})
        waiting = self._by_device.get(key)
        if waiting:
            for pending in waiting.values():
                self._add_evidence(pending.call, Stray.WRONG_MESSAGE_ID, publish)
            return
        last = self._journal.last_call_of(key)
        if last is not None:
            self._add_evidence(last, Stray.WRONG_MESSAGE_ID, publish)

    def _keep_with_ended(self, call: Call, publish: _Publish) -> None:
        if call.verdict is Verdict.SUCCESS:
            self._add_evidence(call, Stray.DUPLICATE, publish)
        else:
            routed = call.moment(Stage.ROUTED)
            if call.verdict is Verdict.TIMEOUT and routed is not None and not call.late_by_ms:
                late_s = self._monotonic_s() - routed.monotonic_s - call.timeout_ms / 1000
                call.late_by_ms = max(1, round(late_s * 1000))
                call.diagnosis = Diagnosis.ANSWERED_LATE
            self._add_evidence(call, Stray.LATE, publish)

    def _add_evidence(self, call: Call, reason: Stray, publish: _Publish) -> None:
        origin, topic, payload, payload_bytes = publish
        # Another account's device is nobody's business here: that it sent something is all that is kept.
        shown = call.account_id == origin.account_id
        evidence = Evidence(
            reason=reason,
            time_ms=milliseconds(self._time_s()),
            sender=str(origin.key) if shown else "",
            topic=topic[:EVIDENCE_TOPIC_CHARS_MAX] if shown else "",
            payload=payload[:EVIDENCE_PAYLOAD_BYTES_MAX] if shown else b"",
            payload_bytes=payload_bytes if shown else 0,
        )
        self._journal.add_evidence(call, evidence)

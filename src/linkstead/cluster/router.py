"""Calls to devices of other nodes.

A device that is connected here is called here, as on a single node. Any other is asked for over NATS: the node that
holds it runs the call and replies. This node keeps the deadline and the record.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from itertools import count
from math import inf
from typing import Any, Final, Protocol

from linkstead.alink import services
from linkstead.clock import Clock, milliseconds
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import (
    Afterwards,
    Copies,
    Ended,
    Kind,
    NotTaken,
    NotUnderstood,
    Post,
    Question,
    Reply,
    Sent,
    Wake,
    Written,
)
from linkstead.cluster.moments import add_moments
from linkstead.cluster.subjects import Subjects, read_number
from linkstead.cluster.whereabouts import FRESH_S, Whereabouts, judge
from linkstead.eager import Waiter
from linkstead.invocation import (
    Call,
    CallJournal,
    Diagnosis,
    Evidence,
    Letter,
    LocalRouter,
    Message,
    Moment,
    NodeFailed,
    Outcome,
    PostmanAway,
    Reached,
    RouterOverloaded,
    Stage,
    Stray,
    Verdict,
    diagnose,
)
from linkstead.invocation.call import count_left_ms, end_call, keep_answer
from linkstead.invocation.deadlines import Deadlines
from linkstead.invocation.record import EVIDENCE_PAYLOAD_BYTES_MAX
from linkstead.registry import DeviceKey, NodeStore, Presence, StoreAway
from linkstead.sessions import LinkTooSmall, SessionTable

log = logging.getLogger(__name__)

ASKED_CALLS_MAX = 100_000
"""Calls that wait for other nodes; the next is refused."""

RETRY_WAITS_S = (0.005, 0.02, 0.05)
"""Before a device that is said to be connected is asked for again: its node's listening spreads from server to server,
which takes 0.7 ms, and 7 ms in one case of a hundred."""

POST_WAIT_MS = 5_000
"""For another node to accept a call: it writes it to the disk first."""

COPIES_WAIT_S = 1.0
"""For other nodes to say how many copies of a broadcast they have written."""

WOKEN_AGAIN_S = 0.1
"""By then every server knows who listens for a device that has just connected."""

UNWOKEN_MAX = 100_000
"""Devices that are woken when the connection is back; what waits for more of them waits until they connect."""

MOVE_WAIT_S = 2.0
"""A device that its node has sent away, as that is being stopped, may take so long to connect to another."""

MOVE_LOOK_S = 0.05
"""How often it is looked for meanwhile."""

NEAR_HOLDERS_MAX = 100_000
"""Devices of which it is remembered which worker of this machine holds them; then all are forgotten."""

GRACE_MS = 20
"""Past its deadline a call waits so long for the verdict of the node that holds the device."""


_QUESTION: Final = Question.__name__
_VERDICTS: Final = {each.value: each for each in Verdict}
_DIAGNOSES: Final = {each.value: each for each in Diagnosis}

_SUCCESS: Final = Verdict.SUCCESS
_FAILED: Final = Verdict.FAILED

_NOWHERE: Final = frozenset({Kind.NOT_HELD, Kind.LEAVING, Kind.HALF})

_HELD = frozenset({Whereabouts.COMING, Whereabouts.HALF, Whereabouts.LEFT})
"""Where a node is written down as the holder, which knows better if it is there."""


class Heartbeats(Protocol):
    """Knows when nodes were last heard of."""

    def silent_s(self, node_id: str) -> float:
        """How long nothing was heard of a node; infinity where there is none of this name."""

    @property
    def node_ids(self) -> list[str]:
        """All that ever were and were not removed."""

    def release(self, presence: Presence) -> None:
        """Have it put right that a dead node is written down as the holder of a device; returns at once."""


class _Lost:
    """In place of a reply: the time is up."""


_LOST = _Lost()


class _Nobody:
    """In place of a reply: no node listens for this device."""


_NOBODY = _Nobody()


class _Away:
    """In place of a reply: nobody can be asked."""


_AWAY = _Away()


class _Looked:
    """What was found in a device's row; `fault` where it could not be read."""

    __slots__ = ("fault", "presence")

    def __init__(self, presence: Presence | None, fault: BaseException | None) -> None:
        self.presence = presence
        self.fault = fault


_Answer = Reply | Outcome | _Lost | _Nobody | _Away | _Looked
"""An outcome is of a call that has ended by it already."""


def _is_elsewhere(answer: _Answer) -> bool:
    """True when who was asked is not there, or does not hold the device."""
    return answer is _NOBODY or (isinstance(answer, Reply) and answer.kind in (Kind.NOT_HELD, Kind.LEAVING))


def _is_nowhere(answer: _Answer) -> bool:
    """True when who was asked does not hold the device as far as he knows, or only for as long as no other does."""
    return answer.kind in _NOWHERE if isinstance(answer, Reply) else answer is _NOBODY


def _is_leaving(answer: _Answer) -> bool:
    """True when who was asked has sent the device away."""
    return isinstance(answer, Reply) and answer.kind == Kind.LEAVING


class _Asked:
    """A call that another node is asked for."""

    __slots__ = ("asked_s", "call", "deadline_s", "has_moments", "is_over", "key", "near", "waiter")

    def __init__(self, call: Call, key: DeviceKey, deadline_s: float) -> None:
        self.call = call
        self.key = key
        self.deadline_s = deadline_s
        self.asked_s = 0.0
        self.is_over = False
        self.has_moments = False
        self.near = ""
        self.waiter: Waiter[_Answer] | None = None

    def wait(self) -> Waiter[_Answer]:
        """What the next answer comes to; it is there at once when the time is up."""
        self.waiter = Waiter()
        if self.is_over:
            self.waiter.set_result(_LOST)
        return self.waiter

    def answer(self, answer: _Answer) -> None:
        if self.waiter is not None:
            self.waiter.set_result(answer)


class _Count:
    """Counts the copies that other nodes have written of one broadcast."""

    __slots__ = ("_nodes", "connected", "ended", "written")

    def __init__(self, nodes: set[str]) -> None:
        self._nodes = nodes
        self.written = 0
        self.connected = 0
        self.ended: Waiter[bool] = Waiter()
        if not nodes:
            self.end()

    def add(self, sent: Sent) -> None:
        if sent.node in self._nodes:
            self._nodes.discard(sent.node)
            self.written += sent.written
            self.connected += sent.connected
            if not self._nodes:
                self.end()

    def end(self) -> None:
        self.ended.set_result(True)


class NatsRouter:
    """Calls devices wherever they are.

    Args:
        node: this node's name.
        local: calls those connected here.
        sessions: who is.
        journal: where ended calls are looked up when something comes late.
        bus, subjects: the way to the other nodes.
        presence, heartbeats: where devices were last, and whether that node is there still.
        clock: deadlines.
    """

    def __init__(
        self,
        *,
        node: str,
        local: LocalRouter,
        sessions: SessionTable,
        journal: CallJournal,
        bus: Bus,
        subjects: Subjects,
        presence: NodeStore,
        heartbeats: Heartbeats,
        clock: Clock,
    ) -> None:
        self._node = node
        self._local = local
        self._sessions = sessions
        self._journal = journal
        self._bus = bus
        self._subjects = subjects
        self._presence = presence
        self._heartbeats = heartbeats
        self._clock = clock
        self._monotonic_s = clock.monotonic_s
        self._asked: dict[int, _Asked] = {}
        self._near_holders: dict[DeviceKey, str] = {}
        self._deadlines = Deadlines(clock, self._expire, self._asked.__contains__)
        self._lookups: set[asyncio.Task[Presence | None]] = set()
        self._numbers = count(1)
        self._counts: dict[int, _Count] = {}
        self._unwoken: dict[DeviceKey, None] = {}
        self._decode_sent = frames.Decoder(Sent).decode
        self._decode_reply = frames.Decoder(Reply).decode
        self._decode_written = frames.Decoder(Written).decode
        self._decode_afterwards = frames.Decoder(Afterwards).decode

    @property
    def pending_count(self) -> int:
        """Calls that wait for another node."""
        return len(self._asked)

    def listen(self) -> None:
        """Take replies from now on."""
        self._bus.subscribe(self._subjects.replies(self._node), self._take_reply)
        self._bus.subscribe(self._subjects.node(self._node, Written.__name__), self._take_written)
        self._bus.subscribe(self._subjects.node(self._node, Afterwards.__name__), self._take_afterwards)
        self._bus.subscribe(self._subjects.node(self._node, Sent.__name__), self._take_sent)
        self._bus.attend(Ended, self._take_ended)
        self._bus.attend(NotTaken, self._take_not_taken)

    def call(self, call: Call, message: Message, *, activated: bool, enabled: bool) -> Coroutine[Any, Any, Outcome]:
        """See `Router.call`. A device that is connected here is called as if there were no other node."""
        key = call.key
        if key is None:
            raise ValueError("a call that is routed names its device")
        session = self._sessions.find(key)
        if (session is not None and session.link is not None) or not enabled:
            return self._local.call(call, message, activated=activated, enabled=enabled)
        return self._call_away(call, key, message, activated=activated)

    async def _call_away(self, call: Call, key: DeviceKey, message: Message, *, activated: bool) -> Outcome:
        if len(self._asked) >= ASKED_CALLS_MAX:
            raise RouterOverloaded
        if message.is_acceptable is not None and message.is_acceptable is not services.is_reply:
            raise ValueError("only Alink replies can be told from others on another node")
        self._journal.index_message_id(call)
        now_s = self._monotonic_s()
        left_ms = count_left_ms(call, now_s)
        message_id, deadline_s = call.message_id, now_s + left_ms / 1000
        asked = self._asked[message_id] = _Asked(call, key, deadline_s)
        self._deadlines.add(message_id, left_ms + GRACE_MS, deadline_s + GRACE_MS / 1000)
        try:
            near = self._near_holders.get(key)
            if near is not None and (waiter := self._ask_near(asked, near, message, now_s, left_ms)) is not None:
                answer = await waiter
                if type(answer) is Outcome:
                    return answer
                if not _is_nowhere(answer):
                    return self._take_end(asked, answer)
                # Whoever holds it now listens for it.
                self._near_holders.pop(key, None)
            return await self._find_and_call(asked, message, activated=activated)
        except asyncio.CancelledError:
            # Nobody waits for it any longer; its record ends all the same.
            if not call.is_ended:
                self._end(call, Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR)
            raise
        finally:
            del self._asked[message_id]
            if not self._asked:
                self._deadlines.clear()

    async def post(self, call: Call, topic: str, payload: bytes, qos: int, *, needs_subscription: bool) -> bool:
        """See `Postman.post`."""
        key = call.key
        if key is None:
            raise ValueError("a call that is delivered names its device")
        if len(self._asked) >= ASKED_CALLS_MAX:
            raise RouterOverloaded
        now_s = self._clock.monotonic_s()
        told = Post(
            node=self._node,
            call=call,
            topic=topic,
            payload=payload,
            qos=qos,
            needs_subscription=needs_subscription,
            said_s=now_s,
        )
        # Not by its message id: that is for calls which are answered at once.
        number = -next(self._numbers)
        asked = self._asked[number] = _Asked(call, key, now_s + POST_WAIT_MS / 1000)
        self._deadlines.add(number, POST_WAIT_MS, asked.deadline_s)
        try:
            answer = await self._find_and_say(asked, frames.encode(told), number)
        finally:
            del self._asked[number]
        if _is_elsewhere(answer) or (isinstance(answer, Reply) and answer.kind == Kind.HALF):
            return False
        if answer is _AWAY:
            raise PostmanAway
        if not isinstance(answer, Reply) or answer.kind not in (Kind.ACCEPTED, Kind.OVERLOADED):
            # It may have been accepted all the same: then its record is the other's, and its end will be told.
            call.is_handed_over = True
            raise NodeFailed("the node that holds the device did not say that it has accepted a call")
        if answer.kind == Kind.OVERLOADED:
            raise RouterOverloaded
        return True

    async def _find_and_say(self, asked: _Asked, data: bytes, number: int) -> _Answer:
        """Say something to the node that holds a device, again while it is said to be connected and nobody answers.

        One that its node has sent away is not waited for: what is posted can wait for it in the store.
        """
        for wait_s in (*RETRY_WAITS_S, None):
            answer = await self._say(asked, self._subjects.device(asked.key), data, number)
            session = self._sessions.find(asked.key)
            if not _is_elsewhere(answer) or _is_leaving(answer) or (session is not None and session.link is not None):
                break
            looked = await self._look(asked)
            if not isinstance(looked, _Looked):
                raise StoreAway("no answer in time")
            if looked.fault is not None:
                raise looked.fault
            presence = looked.presence
            if presence is None or self._judge(presence) is not Whereabouts.COMING:
                break
            answer = await self._say(asked, self._subjects.node(presence.holder, _QUESTION), data, number)
            if wait_s is None or not _is_elsewhere(answer) or _is_leaving(answer):
                break
            await self._clock.sleep(wait_s)
        return answer

    async def broadcast(self, letter: Letter) -> Reached:
        """See `Postman.broadcast`. Counts what the nodes say within `COPIES_WAIT_S`."""
        nodes = {node for node in self._heartbeats.node_ids if node != self._node and self.is_there(node)}
        number = next(self._numbers)
        copies = Copies(
            node=self._node,
            number=number,
            product_key=letter.product_key,
            topic=letter.topic,
            message_id=letter.message_id,
            payload=letter.payload,
        )
        counted = self._counts[number] = _Count(nodes)
        timer = self._clock.call_later(COPIES_WAIT_S, counted.end)
        try:
            self._bus.publish(self._subjects.everybody, frames.encode(copies))
            await counted.ended
        except BusAway:
            log.warning("a broadcast did not reach the other nodes: there is no connection to NATS")
        finally:
            timer.cancel()
            del self._counts[number]
        return Reached(counted.written, counted.connected)

    def is_there(self, node: str) -> bool:
        """See `Postman.is_there`."""
        return node == self._node or self._heartbeats.silent_s(node) < FRESH_S

    def is_another(self, node: str) -> bool:
        """See `Postman.is_another`."""
        return node != self._node

    def wake(self, key: DeviceKey) -> None:
        """See `Postman.wake`."""
        data = frames.encode(Wake(node=self._node, product_key=key.product_key, device_name=key.device_name))
        self._wake(key, data)
        self._clock.call_later(WOKEN_AGAIN_S, self._wake, key, data)

    def _wake(self, key: DeviceKey, data: bytes) -> None:
        try:
            self._bus.publish(self._subjects.device(key), data)
        except BusAway:
            if len(self._unwoken) < UNWOKEN_MAX:
                self._unwoken[key] = None
            else:
                log.warning(
                    "what was put into the store for a device waits until it connects", extra={"device": str(key)}
                )

    def take_up(self) -> None:
        """Wake the devices that could not be woken while there was no connection."""
        unwoken, self._unwoken = self._unwoken, {}
        for key in unwoken:
            self.wake(key)

    def lose(self, node: str) -> None:
        """End the calls that a near node was asked for: it has ended, and their devices' connections with it."""
        for asked in list(self._asked.values()):
            if asked.near == node:
                asked.is_over = True
                asked.answer(_LOST)

    def note_holder(self, key: DeviceKey, node: str) -> None:
        """Another node holds a device."""
        if self._bus.is_near(node):
            if len(self._near_holders) >= NEAR_HOLDERS_MAX:
                self._near_holders.clear()
            self._near_holders[key] = node
        else:
            self._near_holders.pop(key, None)

    async def _find_and_call(self, asked: _Asked, message: Message, *, activated: bool) -> Outcome:
        call = asked.call
        anybody = self._subjects.device(asked.key)
        for wait_s in (*RETRY_WAITS_S, None):
            answer = await self._ask(asked, anybody, message)
            if not _is_elsewhere(answer):
                return self._take_end(asked, answer)
            session = self._sessions.find(asked.key)
            if session is not None and session.link is not None:
                # It has come here meanwhile.
                return await self._call_here(asked, message, activated=activated)
            if _is_leaving(answer):
                return await self._call_moved(asked, message, activated=activated)
            looked = await self._look(asked)
            if not isinstance(looked, _Looked):
                # Nobody who was asked has it, and where it was last is not known in time.
                return self._end(call, Verdict.UNKNOWN, Diagnosis.DATABASE_AWAY)
            if looked.fault is not None:
                log.error(
                    "where a device is could not be read", exc_info=looked.fault, extra={"device": str(asked.key)}
                )
                return self._end(call, Verdict.UNKNOWN, diagnose(looked.fault))
            presence = looked.presence
            whereabouts = self._judge(presence)
            is_there = False
            has_just_left = presence is not None and self._has_just_left(presence)
            if presence is not None and (whereabouts in _HELD or has_just_left):
                # Not every server may know yet that a node listens for the device; that it listens for itself, all do.
                holder = self._subjects.node(presence.holder, _QUESTION)
                answer = await self._ask(asked, holder, message)
                if not _is_elsewhere(answer):
                    return self._take_end(asked, answer)
                if _is_leaving(answer) or (has_just_left and answer is _NOBODY):
                    return await self._call_moved(asked, message, activated=activated)
                is_there = isinstance(answer, Reply) and not has_just_left
            if not is_there and whereabouts is not Whereabouts.COMING:
                return self._end_absent(call, whereabouts, presence)
            if wait_s is None:
                return self._end_absent(call, Whereabouts.OFFLINE if is_there else Whereabouts.HALF, None)
            await self._clock.sleep(wait_s)
        raise AssertionError("the last round has ended the call")

    def _has_just_left(self, presence: Presence) -> bool:
        """Whether a device went offline in order, and so lately that it may be on its way from node to node."""
        if presence.is_online or not presence.activated_ms or presence.half_until_ms or not presence.holder:
            return False
        since_ms = milliseconds(self._clock.time_s()) - presence.status_ms
        return since_ms < MOVE_WAIT_S * 1000

    async def _call_here(self, asked: _Asked, message: Message, *, activated: bool) -> Outcome:
        """Call a device that has come here, within what is left of the call's time."""
        left_ms = max(1, milliseconds(asked.deadline_s - self._clock.monotonic_s()))
        return await self._local.call(asked.call, message, activated=activated, enabled=True, left_ms=left_ms)

    async def _call_moved(self, asked: _Asked, message: Message, *, activated: bool) -> Outcome:
        """Call a device that its node has sent away, once another holds it."""
        call, clock = asked.call, self._clock
        look_until_s = asked.deadline_s - MOVE_LOOK_S
        until_s = clock.monotonic_s() + MOVE_WAIT_S
        while (now_s := clock.monotonic_s()) < min(until_s, look_until_s):
            await clock.sleep(MOVE_LOOK_S)
            session = self._sessions.find(asked.key)
            if session is not None and session.link is not None:
                return await self._call_here(asked, message, activated=activated)
            answer = await self._ask(asked, self._subjects.device(asked.key), message)
            if not _is_elsewhere(answer):
                return self._take_end(asked, answer)
            if _is_leaving(answer):
                # It is there still: calls that came before are under way.
                until_s = now_s + MOVE_WAIT_S
        return self._end_absent(call, Whereabouts.OFFLINE, None)

    def _ask_near(
        self, asked: _Asked, near: str, message: Message, now_s: float, left_ms: int
    ) -> Waiter[_Answer] | None:
        """Ask the node that was last known to hold a device. None where that is not near any longer."""
        bus = self._bus
        if not bus.is_near(near):
            return None
        asked.asked_s = now_s
        if not bus.hand(near, self._put(asked, message, left_ms), len(message.payload)):
            return None
        asked.near = near
        return asked.wait()

    def _ask(self, asked: _Asked, subject: str, message: Message) -> Waiter[_Answer]:
        """Ask who listens on a subject."""
        if asked.is_over:
            return asked.wait()
        asked.asked_s = self._monotonic_s()
        question = self._put(asked, message, max(1, milliseconds(asked.deadline_s - asked.asked_s)))
        return self._say(asked, subject, frames.encode(question), question.message_id)

    def _put(self, asked: _Asked, message: Message, left_ms: int) -> Question:
        call, key = asked.call, asked.key
        # In the order of the fields: to name sixteen of them takes as long as all else here.
        return Question(
            self._node,
            call.message_id,
            call.request_id,
            call.account_id,
            key.product_key,
            key.device_name,
            call.action,
            call.target,
            call.alink_id,
            left_ms,
            message.topic,
            message.answer_topic,
            message.ext_topic,
            message.needs_ext,
            message.is_acceptable is not None,
            message.payload,
        )

    def _say(self, asked: _Asked, subject: str, data: bytes, number: int) -> Waiter[_Answer]:
        if len(data) > frames.FRAME_BYTES_MAX:
            raise LinkTooSmall
        waiter = asked.wait()
        try:
            self._bus.publish(subject, data, self._subjects.reply(self._node, number))
        except BusAway:
            waiter.set_result(_AWAY)
        return waiter

    async def _look(self, asked: _Asked) -> _Answer:
        """Read what is written down of the device, for as long as there is time."""
        waiter = asked.wait()
        task = asyncio.get_running_loop().create_task(self._read(asked.key))
        self._lookups.add(task)

        def end(task: "asyncio.Task[Presence | None]") -> None:
            self._lookups.discard(task)
            if not task.cancelled():
                fault = task.exception()
                waiter.set_result(_Looked(None if fault else task.result(), fault))

        task.add_done_callback(end)
        return await waiter

    async def _read(self, key: DeviceKey) -> Presence | None:
        return await self._presence.find_presence(key)

    def _judge(self, presence: Presence | None) -> Whereabouts:
        silent_s = self._heartbeats.silent_s(presence.holder) if presence is not None else inf
        return judge(presence, silent_s, milliseconds(self._clock.time_s()))

    # ends

    def _end(self, call: Call, verdict: Verdict, diagnosis: Diagnosis, payload: bytes = b"") -> Outcome:
        if call.moment(Stage.ROUTED) is None:
            call.mark(Stage.ROUTED, self._clock.time_s(), self._clock.monotonic_s())
        call.end(verdict, diagnosis)
        return Outcome(verdict, diagnosis, payload)

    def _end_absent(self, call: Call, whereabouts: Whereabouts, presence: Presence | None) -> Outcome:
        match whereabouts:
            case Whereabouts.HALF | Whereabouts.COMING:
                return self._end(call, Verdict.HALFCONN, Diagnosis.HALF_CONNECTED)
            case Whereabouts.NEVER:
                return self._end(call, Verdict.OFFLINE, Diagnosis.NEVER_ACTIVATED)
            case Whereabouts.LEFT if presence is not None:
                self._heartbeats.release(presence)
        return self._end(call, Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)

    def _lose(self, asked: _Asked) -> Outcome:
        """The time is up, and the node that was asked has said nothing, or only that the message was written."""
        call = asked.call
        if call.moment(Stage.ROUTED) is None:
            now_s, time_s = self._clock.monotonic_s(), self._clock.time_s()
            asked_ms = milliseconds(time_s - now_s + asked.asked_s)
            call.timeline.append(Moment(Stage.ROUTED, asked_ms, asked.asked_s, self._node))
        is_written = call.moment(Stage.WRITTEN) is not None
        return self._end(call, Verdict.TIMEOUT if is_written else Verdict.UNKNOWN, Diagnosis.NODE_LOST)

    def _take_end(self, asked: _Asked, reply: _Answer) -> Outcome:
        call = asked.call
        asked.near = ""
        if reply is _AWAY:
            return self._end(call, Verdict.UNKNOWN, Diagnosis.NODES_UNREACHABLE)
        if not isinstance(reply, Reply):
            return self._lose(asked)
        match reply.kind:
            case Kind.ENDED:
                pass
            case Kind.HALF:
                return self._end(call, Verdict.HALFCONN, Diagnosis.HALF_CONNECTED)
            case Kind.OVERLOADED:
                raise RouterOverloaded
            case Kind.TOO_LARGE:
                raise LinkTooSmall
            case _:
                return self._end(call, Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR)
        self.note_holder(asked.key, reply.node)
        self._add_moments(asked, reply.node, reply.moments, reply.elapsed_s)
        for evidence in reply.evidence:
            call.add_evidence(evidence)
        call.evidence_dropped += reply.evidence_dropped
        if call.moment(Stage.ANSWERED) is not None:
            call.set_answer(reply.payload)
        return self._end(call, _VERDICTS[reply.verdict], _DIAGNOSES[reply.diagnosis], reply.payload)

    def _expire(self, message_id: int) -> None:
        asked = self._asked[message_id]
        asked.is_over = True
        asked.answer(_LOST)

    # what comes in

    def _take_ended(self, ended: Ended) -> None:
        """End a call as the near node has that was asked: at once, as what comes late for it may be right behind."""
        asked = self._asked.get(ended.message_id)
        if asked is None or asked.waiter is None or asked.waiter.is_answered:
            self._keep_late(ended.message_id, ended.payload, ())
            return
        call, moments, verdict = asked.call, ended.moments, ended.verdict
        if asked.has_moments:
            there = {moment.stage for moment in call.timeline}
            moments = [moment for moment in moments if moment.stage not in there]
        call.timeline += moments
        if verdict is _SUCCESS or verdict is _FAILED:
            keep_answer(call, ended.payload)
        end_call(call, verdict, ended.diagnosis)
        asked.waiter.set_result(Outcome(verdict, ended.diagnosis, ended.payload))

    def _take_not_taken(self, told: NotTaken) -> None:
        asked = self._asked.get(told.message_id)
        if asked is not None:
            asked.answer(_NOBODY)

    def _take_reply(self, subject: str, _reply: str, data: bytes, is_nobody: bool) -> None:
        asked = self._asked.get(read_number(subject))
        if is_nobody:
            if asked is not None:
                asked.answer(_NOBODY)
            return
        try:
            reply = self._decode_reply(data)
        except NotUnderstood as error:
            log.error("a reply of another node was not understood: %s", error)
            return
        if asked is not None and not asked.call.is_ended:
            asked.answer(reply)
        elif reply.kind == Kind.ENDED:
            self._keep_late(read_number(subject), reply.payload, reply.evidence)

    def _take_written(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        """Note what another node says has left for its devices."""
        told = self._decode_written(data)
        for message_id, elapsed_s, moments in told.calls:
            asked = self._asked.get(message_id)
            if asked is not None and not asked.call.is_ended:
                self._add_moments(asked, told.node, moments, elapsed_s)

    def _take_afterwards(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        """Keep what came for a call after its end."""
        told = self._decode_afterwards(data)
        call = self._journal.find_by_message_id(told.message_id)
        if call is None or call.request_id != told.request_id:
            log.warning("what came late is of a call that is not at hand any more", extra={"call": told.request_id})
            return
        if told.late_by_ms and call.verdict is Verdict.TIMEOUT and not call.late_by_ms:
            call.late_by_ms = told.late_by_ms
            call.diagnosis = Diagnosis(told.diagnosis)
        call.evidence_dropped += told.evidence_dropped
        self._keep(call, told.evidence)

    def _take_sent(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        """Count the copies of a broadcast that another node has written."""
        sent = self._decode_sent(data)
        counted = self._counts.get(sent.number)
        if counted is not None:
            counted.add(sent)

    def _keep(self, call: Call, evidence: Iterable[Evidence]) -> None:
        for each in evidence:
            self._journal.add_evidence(call, each)

    def _keep_late(self, message_id: int, payload: bytes, evidence: Iterable[Evidence]) -> None:
        """Keep what a node replied when its call had ended here already."""
        call = self._journal.find_by_message_id(message_id)
        if call is None:
            return
        if payload:
            late = Evidence(
                reason=Stray.LATE,
                time_ms=milliseconds(self._clock.time_s()),
                sender=str(call.key),
                topic="",
                payload=payload[:EVIDENCE_PAYLOAD_BYTES_MAX],
                payload_bytes=len(payload),
            )
            self._journal.add_evidence(call, late)
        self._keep(call, evidence)

    def _add_moments(self, asked: _Asked, node: str, told: list[tuple[Stage, float]], elapsed_s: float) -> None:
        asked.has_moments = True
        add_moments(
            asked.call,
            node,
            told,
            asked_s=asked.asked_s,
            elapsed_s=elapsed_s,
            now_s=self._clock.monotonic_s(),
            time_s=self._clock.time_s(),
        )

"""The devices that this node holds: said to the other nodes, and called for them.

A device that connects is claimed before it is told that it is connected: from then on this node listens for its calls,
and whoever held it before lets go. After a connection that broke, this node goes on listening for one keep-alive period
and answers that the device is half connected, unless it comes back elsewhere.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from linkstead.alink import services
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.cluster import frames
from linkstead.cluster.adjusting import Adjusting
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import (
    Adjust,
    Adjusted,
    Afterwards,
    Changed,
    Copies,
    Ended,
    Kind,
    NotUnderstood,
    Own,
    Post,
    Question,
    Reply,
    Returned,
    Send,
    Sent,
    Wake,
    Written,
)
from linkstead.cluster.moments import tell_moments
from linkstead.cluster.owns import EPOCH_BITS, Owns
from linkstead.cluster.subjects import Subjects, read_key
from linkstead.eager import EagerRunner
from linkstead.errors import codes
from linkstead.invocation import (
    Call,
    CallJournal,
    CallSink,
    Delivery,
    Diagnosis,
    GuestCall,
    Letter,
    LocalRouter,
    Message,
    Moment,
    Outcome,
    Reached,
    RouterOverloaded,
    Stage,
    Verdict,
    diagnose,
)
from linkstead.registry import DeviceKey, PresenceChange, Registry
from linkstead.registry.registry import DEVICE
from linkstead.sessions import (
    Ending,
    LinkBlocked,
    LinkBroken,
    LinkTooSmall,
    PresenceSink,
    Session,
    SessionTable,
    Subscribed,
)

log = logging.getLogger(__name__)

GROUP = "h"
"""Of those that listen for a device one gets a question: while it moves from node to node there may be two."""

CALLS_OF_ONE_TELLING = 1_000
"""Calls in one telling that their messages have left."""

SENT_AWAY_AT_ONCE = 200
"""Devices that are told to go in one go by a node that is being stopped, so that not all come to the others at once."""

SENT_AWAY_S = 0.1
"""Between two goes."""

GOES_MAX = 100
"""Where there are more devices than fit into so many goes, the goes are larger."""

WRITTEN_TOLD_S = 0.05
"""How often callers are told whose messages have left. A call that is answered sooner needs no telling."""


_Told = Question | Send | Post | Returned | Wake | Adjust
"""What is said to the node that holds a device."""


class _Claim:
    """A device that this node listens for."""

    __slots__ = ("connecting", "epoch", "is_woken", "number", "timer")

    def __init__(self, number: int) -> None:
        self.number = number
        self.epoch = 0
        self.connecting = 0
        self.is_woken = False
        self.timer: Timer | None = None


def _end_quietly(_: None) -> None:
    """Nobody waits for it."""


def _log_fault(error: Exception) -> None:
    log.error("what another node asked for could not be done", exc_info=error)


def count_at_once(count: int) -> int:
    """How many of so many devices are sent away in one go."""
    return max(SENT_AWAY_AT_ONCE, -(-count // GOES_MAX))


class GuestSink:
    """Takes ended calls to the store, and what comes for those of other nodes back to these.

    Args:
        sink: the store.
    """

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self.holder: Holder | None = None

    def record_call(self, call: Call) -> None:
        """See `CallSink`."""
        if call.is_handed_over:
            if self.holder is not None:
                self.holder.tell_returned(call)
        elif not isinstance(call, GuestCall):
            self._sink.record_call(call)
        elif call.is_told and self.holder is not None:
            self.holder.tell_afterwards(call)


class Holder:
    """Claims devices, and calls them for other nodes. It is the session table's `PresenceSink` and `Claims`.

    Args:
        node: this node's name.
        presence: where changes go, with this node's name added.
        bus, subjects: the way to the other nodes.
        clock: epochs, tombstones.
    """

    def __init__(self, *, node: str, presence: PresenceSink, bus: Bus, subjects: Subjects, clock: Clock) -> None:
        self._node = node
        self._presence = presence
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._claims: dict[DeviceKey, _Claim] = {}
        self._sent_away: set[DeviceKey] = set()
        self._epoch = 0
        self._runner = EagerRunner()
        self._adjusting = Adjusting(node, bus, subjects, clock)
        self._owns = Owns(node=node, bus=bus, subjects=subjects, clock=clock, say_since=self._say_since)
        self._unwritten: dict[int, GuestCall] = {}
        self._timer: Timer | None = None
        self._decode_copies = frames.Decoder(Copies).decode
        self._decode_own = frames.Decoder(Own).decode
        self._decode_told: Callable[[bytes], _Told] = frames.Decoder(_Told).decode

    @property
    def held(self) -> list[DeviceKey]:
        """Devices that this node listens for."""
        return list(self._claims)

    def serve(self, registry: Registry, sessions: SessionTable, local: LocalRouter, journal: CallJournal) -> None:
        """Take what other nodes say from now on. To be called before anything else."""
        self._registry = registry
        self._sessions = sessions
        self._local = local
        self._journal = journal

    def follow(
        self,
        changes_seen: Callable[[], Coroutine[None, None, None]],
        review: Callable[[Sequence[DeviceKey]], None],
        note_holder: Callable[[DeviceKey, str], None],
    ) -> None:
        """Have changes seen to that were made elsewhere. Likewise.

        Args:
            changes_seen: returns when all have been; messages wait for it.
            review: looks again, in a moment, whether devices may be connected.
            note_holder: called with each device that another node says it holds, and its name.
        """
        self._changes_seen = changes_seen
        self._review = review
        self._note_holder = note_holder

    def deliver_by(self, delivery: Delivery) -> None:
        """Have what other nodes post, and what waits for devices that connect, delivered. Likewise."""
        self._delivery = delivery
        delivery.date_sessions(self._find_epoch)

    def count_from(self, epoch: int) -> None:
        """Hold devices by later epochs than this one, also where the machine's clock was set back since. Likewise."""
        self._epoch = max(self._epoch, epoch)

    def listen(self) -> None:
        """Hear of takeovers, and of questions for devices that this node is known to hold."""
        self._bus.subscribe(self._subjects.every_own, self._take_own)
        self._owns.listen()
        self._bus.subscribe(self._subjects.everybody, self._take_copies)
        self._adjusting.listen()
        self._bus.subscribe(self._subjects.node(self._node, Question.__name__), self._take)
        self._bus.attend(Question, self._take_question)

    async def give_up_all(self) -> None:
        """Send the devices away, to other nodes, a part at a time, and each when it has no call under way.

        Devices whose turn has not come yet are called as before. Returns when all are gone.
        """
        waiting = self.held
        at_once = count_at_once(len(waiting))
        busy: list[DeviceKey] = []
        while waiting or busy:
            turn, waiting = waiting[:at_once], waiting[at_once:]
            self._sent_away.update(turn)
            busy = [key for key in (*busy, *turn) if not self._send_away(key)]
            if waiting or busy:
                await self._clock.sleep(SENT_AWAY_S)
        await self._runner.drain()

    def _send_away(self, key: DeviceKey) -> bool:
        """Tell a device to go. False while a call to it is under way."""
        link = self._sessions.link(key)
        if link is None:
            return True
        if self._local.is_calling(key):
            return False
        link.close(Ending.STOPPED)
        return True

    # what is held

    async def claim(self, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
        """See `Claims.claim`."""
        claims: dict[DeviceKey, _Claim] = {}
        for key in keys:
            claim = self._claims.get(key)
            if claim is None:
                number = self._bus.subscribe(self._subjects.device(key), self._take, GROUP)
                claim = self._claims[key] = _Claim(number)
            claims[key] = claim
            self._stop_timer(claim)
            claim.connecting += 1
            claim.epoch = self._next_epoch()
            self._say_own(key, claim, self._owns.note_said(claim.epoch))
        # Without a connection to NATS it goes on alone: it is said when there is one.
        await self._bus.flush()
        for key, claim in claims.items():
            if self._claims.get(key) is claim:
                self._delivery.note_connected(key)
                if self._sessions.link(key) is not None:
                    # Its session goes on as it is; not all that was put into the store for it may have been heard of.
                    claim.is_woken = True
                await self._delivery.load(key)
        unsure = [key for key in keys if not self._may_connect(key)]
        if unsure:
            # They are connected by then.
            self._review(unsure)
        lost = [key for key, claim in claims.items() if self._claims.get(key) is not claim]
        for key in lost:
            # What was read for it is for the node that holds it now.
            self._put_away(key)
        return lost

    def _may_connect(self, key: DeviceKey) -> bool:
        """False when a device may have been changed since it was looked at before it was claimed."""
        device = self._registry.recall_device(key)
        return device is not None and device.enabled

    def abandon(self, keys: Sequence[DeviceKey]) -> None:
        """See `Claims.abandon`."""
        for key in keys:
            claim = self._claims.get(key)
            if claim is not None:
                claim.connecting -= 1
                self._let_go_of_idle(key, claim)
                self._put_away(key)

    def _let_go_of_idle(self, key: DeviceKey, claim: _Claim) -> None:
        session = self._sessions.find(key)
        if (session is None or session.link is None) and claim.connecting == 0 and claim.timer is None:
            self._let_go(key, claim)

    def _let_go(self, key: DeviceKey, claim: _Claim) -> None:
        self._stop_timer(claim)
        del self._claims[key]
        self._bus.unsubscribe(claim.number)

    @staticmethod
    def _stop_timer(claim: _Claim) -> None:
        timer, claim.timer = claim.timer, None
        if timer is not None:
            timer.cancel()

    def _find_epoch(self, key: DeviceKey) -> int:
        claim = self._claims.get(key)
        return claim.epoch if claim is not None else 0

    def _next_epoch(self) -> int:
        # Above all that was heard of, whatever the clocks say.
        self._epoch = max(self._epoch + 1, milliseconds(self._clock.time_s()) << EPOCH_BITS)
        return self._epoch

    def _say_own(self, key: DeviceKey, claim: _Claim, before: int = 0) -> None:
        own = Own(node=self._node, epoch=claim.epoch, before=before)
        try:
            self._bus.herald(self._subjects.own(key), frames.encode(own))
        except BusAway:
            log.info("not told to the other nodes that a device is here", extra={"device": str(key)})

    def say_all(self) -> None:
        """Say of every device that it is held here, after it could not be said for a time.

        Of those whose connection has broken too: who holds one now answers, and here it is half connected no longer.
        """
        self._say_since(0)
        self._owns.tell(0)

    def _say_since(self, epoch: int) -> None:
        for key, claim in self._claims.items():
            if claim.epoch > epoch:
                self._say_own(key, claim)

    def tell_said(self) -> None:
        """Have the other nodes notice where they did not hear which devices are held here. To be called each beat."""
        self._owns.tell()

    def record_presence(self, change: PresenceChange) -> None:
        """See `PresenceSink`: a device of this node came or went."""
        key = change.key
        claim = self._claims.get(key)
        session = self._sessions.find(key)
        keep_alive_s = session.keep_alive_s if session is not None else 0
        half_s = 0
        # Without a claim it is gone from here for long: that takes the place of nothing.
        epoch = claim.epoch if claim is not None else 1
        if change.is_online:
            if claim is not None:
                claim.connecting -= 1
                if claim.is_woken:
                    claim.is_woken = False
                    # Not now: the session table is in the middle of it.
                    asyncio.get_running_loop().call_soon(self._take_up, key)
        elif session is not None and session.broken_s is not None:
            half_s = keep_alive_s
        self._presence.record_presence(
            PresenceChange(
                key,
                change.is_online,
                change.at_ms,
                change.ip_address,
                holder=self._node,
                holder_epoch=epoch,
                keep_alive_s=keep_alive_s,
                half_until_ms=change.at_ms + half_s * 1000 if half_s else 0,
            )
        )
        if change.is_online:
            return
        # Not now: the session table is in the middle of it.
        asyncio.get_running_loop().call_soon(self._put_away, key)
        if claim is None or claim.connecting:
            return
        if half_s:
            self._stop_timer(claim)
            claim.timer = self._clock.call_later(half_s, self._end_tombstone, key, claim)
        else:
            self._let_go(key, claim)

    def _put_away(self, key: DeviceKey) -> None:
        claim = self._claims.get(key)
        if claim is None or not claim.connecting:
            self._sessions.put_away(key)

    def _end_tombstone(self, key: DeviceKey, claim: _Claim) -> None:
        claim.timer = None
        if self._claims.get(key) is claim:
            self._let_go_of_idle(key, claim)

    def _take_own(self, subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        own = self._decode_own(data)
        self._epoch = max(self._epoch, own.epoch)
        if own.node == self._node:
            return
        self._owns.note_heard(own)
        key = read_key(subject)
        self._registry.note_online(key, milliseconds(self._clock.time_s()))
        self._note_holder(key, own.node)
        self._delivery.note_connected(key)
        claim = self._claims.get(key)
        if claim is None:
            return
        if (own.epoch, own.node) < (claim.epoch, self._node):
            if claim.timer is None:
                # The other has not heard of this one.
                self._say_own(key, claim)
            return
        log.info("a device has connected to another node", extra={"device": str(key), "node": own.node})
        link = self._sessions.give_up(key)
        if link is not None:
            link.close(Ending.SUPERSEDED)
        self._sessions.put_away(key)
        if self._claims.get(key) is claim:
            self._let_go(key, claim)

    # calls of other nodes

    def _take(self, _subject: str, reply: str, data: bytes, _is_nobody: bool) -> None:
        """Take what is asked of, or said to, the node that holds a device."""
        try:
            told = self._decode_told(data)
        except NotUnderstood as error:
            log.error("another node was not understood: %s", error)
            if reply:
                self._reply("", reply, Reply(node=self._node, kind=Kind.FAILED))
            return
        match told:
            case Question():
                self._take_question(told, reply)
            case Send():
                self._runner.start(self._send_in_turn(told), _end_quietly, _log_fault)
            case Post():
                self._take_post(told, reply)
            case Returned():
                self._take_returned(told)
            case Adjust():
                self._take_adjust(told, reply)
            case Wake():
                key = DeviceKey(told.product_key, told.device_name)
                claim = self._claims.get(key)
                if claim is not None and claim.connecting:
                    # What is put into the store now may not be in what was read for it.
                    claim.is_woken = True
                self._take_up(key)

    def take_up_all(self) -> None:
        """Look what was put into the store for the devices that are connected here, as it may not have been heard."""
        self._runner.start(self._delivery.take_up_all(), _end_quietly, _log_fault)

    def _take_up(self, key: DeviceKey) -> None:
        self._runner.start(self._delivery.take_up(key), _end_quietly, _log_fault)

    def _take_post(self, told: Post, reply: str) -> None:
        call = told.call
        key = call.key
        if key is None or self._sessions.link(key) is None or told.node == self._node or key in self._sent_away:
            self._reply(told.node, reply, Reply(node=self._node, kind=Kind.NOT_HELD))
            return
        caller, call.node = told.node, self._node
        # On the clock of this node: what is said takes next to no time to come.
        later_s = self._clock.monotonic_s() - told.said_s
        call.timeline = [
            Moment(each.stage, each.time_ms, each.monotonic_s + later_s, each.node) for each in call.timeline
        ]
        self._runner.start(
            self._delivery.post(call, told.topic, told.payload, told.qos, needs_subscription=told.needs_subscription),
            partial(self._tell_accepted, caller, reply, call),
            partial(self._tell_not_accepted, caller, reply, call),
        )

    def _tell_not_accepted(self, caller: str, reply: str, call: Call, error: Exception) -> None:
        if not isinstance(error, RouterOverloaded) and not call.is_ended:
            # It may be on the disk, though that was not learned.
            call.end(Verdict.UNKNOWN, diagnose(error), codes.SYSTEM_EXCEPTION.code)
            self._journal.close(call)
        self._tell_refusal(caller, reply, call, error)

    def _tell_accepted(self, caller: str, reply: str, call: Call, _: None) -> None:
        self._journal.close(call)
        self._reply(caller, reply, Reply(node=self._node, kind=Kind.ACCEPTED))

    def _take_copies(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        """Send a broadcast of another node to the devices that are connected here."""
        told = self._decode_copies(data)
        if told.node == self._node:
            return
        letter = Letter(told.product_key, told.topic, told.message_id, told.payload)

        def end(_verdict: Verdict, _diagnosis: Diagnosis, reached: Reached) -> None:
            self._tell(told.node, Sent(node=self._node, number=told.number, **reached._asdict()))

        self._runner.start(self._delivery.send_copies(letter, end), _end_quietly, _log_fault)

    def tell_returned(self, call: Call) -> None:
        """Tell the node that a call was handed over to that the app knows of its acceptance."""
        moment = call.moment(Stage.RETURNED)
        if call.key is None or moment is None:
            return
        told = Returned(
            node=self._node,
            product_key=call.key.product_key,
            device_name=call.key.device_name,
            account_id=call.account_id,
            request_id=call.request_id,
            time_ms=moment.time_ms,
            at_s=moment.monotonic_s,
            said_s=self._clock.monotonic_s(),
        )
        try:
            self._bus.publish(self._subjects.device(call.key), frames.encode(told))
        except BusAway:
            log.info("not told that an app was answered", extra={"request_id": call.request_id})

    def _take_returned(self, told: Returned) -> None:
        call = self._journal.find(told.account_id, told.request_id)
        if call is not None and call.moment(Stage.RETURNED) is None:
            at_s = told.at_s + self._clock.monotonic_s() - told.said_s
            call.timeline.append(Moment(Stage.RETURNED, told.time_ms, at_s, told.node))
            self._journal.update(call)

    async def _send_in_turn(self, told: Send) -> None:
        # What is said of a change comes behind what the change has brought about.
        await self._changes_seen()
        self._send(told)

    def _send(self, told: Send) -> None:
        link = self._sessions.link(DeviceKey(told.product_key, told.device_name))
        try:
            if link is not None:
                link.send(told.topic, told.payload)
        except (LinkBroken, LinkBlocked, LinkTooSmall):
            log.info("a message of another node was not sent", extra={"device": str(link and link.key)})

    def send(self, key: DeviceKey, topic: str, payload: bytes) -> None:
        """See `Neighbours.send`."""
        told = Send(
            node=self._node, product_key=key.product_key, device_name=key.device_name, topic=topic, payload=payload
        )
        try:
            self._bus.publish(self._subjects.device(key), frames.encode(told))
        except BusAway:
            log.info("a device of another node was not told", extra={"device": str(key), "topic": topic})

    async def adjust(self, key: DeviceKey, added: Sequence[str], removed: Sequence[str]) -> Subscribed | None:
        """See `Neighbours.adjust`."""
        return await self._adjusting.ask(key, added, removed)

    def _take_adjust(self, told: Adjust, reply: str) -> None:
        key, now_ms = DeviceKey(told.product_key, told.device_name), milliseconds(self._clock.time_s())
        found = self._sessions.adjust(key, told.added, told.removed, now_ms)
        try:
            self._bus.publish(reply, frames.encode(Adjusted(self._node, *found)))
        except BusAway:
            log.info("another node was not told what a device is subscribed to", extra={"device": str(key)})

    def tell_changed(self, key: DeviceKey) -> None:
        """See `Neighbours.tell_changed`."""
        try:
            self._bus.publish(self._subjects.invalid(DEVICE, *key), frames.encode(Changed(node=self._node)))
        except BusAway:
            log.info("the other nodes were not told of a change", extra={"device": str(key)})

    def _take_question(self, question: Question, reply: str = "") -> None:
        """Call a device for another node, which has named where to reply unless it is near."""
        key = DeviceKey(question.product_key, question.device_name)
        session = self._sessions.find(key)
        # One that connected here while it was asked for is not held: the call goes on where its record is.
        if session is None or session.link is None or key in self._sent_away or question.node == self._node:
            self._refuse(question, reply, self._tell_apart(key, session))
            return
        node, message_id = self._node, question.message_id
        # In the order of the fields: to name them all takes as long as all else here.
        guest = GuestCall(
            f"{question.request_id}@{node}",
            node,
            question.action,
            question.account_id,
            "",
            "",
            message_id,
            key,
            question.target,
            question.timeout_ms,
            alink_id=question.alink_id,
            caller=question.node,
        )
        message = Message(
            question.topic,
            question.answer_topic,
            question.payload,
            question.needs_ext,
            question.ext_topic,
            services.is_reply if question.needs_reply else None,
        )
        self._unwritten[message_id] = guest
        if self._timer is None:
            self._timer = self._clock.call_later(WRITTEN_TOLD_S, self._tell_written)
        self._runner.count_up()
        try:
            self._local.begin(guest, message, partial(self._tell_end, reply) if reply else self._tell_end_near)
        except Exception as error:  # noqa: BLE001
            self._tell_refusal(guest.caller, reply or self._subjects.reply(guest.caller, message_id), guest, error)
            self._runner.count_down()

    def _tell_apart(self, key: DeviceKey, session: Session | None) -> int:
        """What is said of a device that is not called here."""
        if key in self._sent_away:
            return Kind.LEAVING
        is_half = session is not None and session.link is None and session.is_half_connected(self._clock.monotonic_s())
        return Kind.HALF if is_half else Kind.NOT_HELD

    def _refuse(self, question: Question, reply: str, kind: int) -> None:
        subject = reply or self._subjects.reply(question.node, question.message_id)
        self._reply(question.node, subject, Reply(node=self._node, kind=kind))

    def _tell_end_near(self, guest: Call, outcome: Outcome) -> None:
        """Tell a near node what became of its question."""
        assert isinstance(guest, GuestCall)
        message_id, caller, payload = guest.message_id, guest.caller, outcome.payload
        ended = Ended(self._node, message_id, outcome.verdict, outcome.diagnosis, payload, guest.timeline)
        if guest.evidence or not self._bus.hand(caller, ended, len(payload)):
            self._tell_end(self._subjects.reply(caller, message_id), guest, outcome)
            return
        self._note_told(guest)

    def _note_told(self, guest: GuestCall) -> None:
        self._unwritten.pop(guest.message_id, None)
        self._journal.close_guest(guest)
        self._runner.count_down()

    def _tell_end(self, reply: str, guest: Call, outcome: Outcome) -> None:
        assert isinstance(guest, GuestCall)
        came_s = guest.timeline[0].monotonic_s
        self._reply(
            guest.caller,
            reply,
            Reply(
                node=self._node,
                kind=Kind.ENDED,
                elapsed_s=self._clock.monotonic_s() - came_s,
                moments=tell_moments(guest, came_s),
                verdict=outcome.verdict.value,
                diagnosis=outcome.diagnosis.value,
                payload=outcome.payload,
                evidence=guest.evidence,
                evidence_dropped=guest.evidence_dropped,
            ),
        )
        self._note_told(guest)

    def _tell_refusal(self, caller: str, reply: str, guest: Call, error: Exception) -> None:
        self._unwritten.pop(guest.message_id, None)
        match error:
            case RouterOverloaded():
                kind = Kind.OVERLOADED
            case LinkTooSmall():
                kind = Kind.TOO_LARGE
            case _:
                log.error("a call of another node failed", exc_info=error, extra={"device": str(guest.key)})
                kind = Kind.FAILED
        self._reply(caller, reply, Reply(node=self._node, kind=kind))

    def _reply(self, caller: str, subject: str, reply: Reply) -> None:
        data = frames.encode(reply)
        if len(data) > frames.FRAME_BYTES_MAX:
            log.error("a reply to another node is too large: %d bytes", len(data))
            data = frames.encode(Reply(node=self._node, kind=Kind.FAILED))
        try:
            self._bus.rush(caller, subject, data)
        except BusAway:
            log.warning("a call of another node could not be replied to: there is no connection to NATS")

    def _tell_written(self) -> None:
        """Tell the callers whose messages have left, of calls that have been waiting for a moment."""
        self._timer = None
        now_s = self._clock.monotonic_s()
        told: dict[str, list[tuple[int, float, list[tuple[Stage, float]]]]] = {}
        for guest in list(self._unwritten.values()):
            if guest.moment(Stage.WRITTEN) is not None:
                del self._unwritten[guest.message_id]
                came_s = guest.timeline[0].monotonic_s
                told.setdefault(guest.caller, []).append(
                    (guest.message_id, now_s - came_s, tell_moments(guest, came_s))
                )
        for caller, calls in told.items():
            for start in range(0, len(calls), CALLS_OF_ONE_TELLING):
                self._tell(caller, Written(node=self._node, calls=calls[start : start + CALLS_OF_ONE_TELLING]))
        if self._unwritten:
            self._timer = self._clock.call_later(WRITTEN_TOLD_S, self._tell_written)

    def tell_afterwards(self, guest: GuestCall) -> None:
        """Tell the caller's node what came for a call after its end: the latest piece of evidence."""
        self._tell(
            guest.caller,
            Afterwards(
                node=self._node,
                message_id=guest.message_id,
                request_id=guest.request_id.rpartition("@")[0],
                diagnosis=guest.diagnosis.value if guest.diagnosis is not None else "",
                late_by_ms=guest.late_by_ms,
                evidence=guest.evidence[-1:] if not guest.evidence_dropped else [],
                evidence_dropped=1 if guest.evidence_dropped else 0,
            ),
        )

    def _tell(self, node: str, frame: Written | Afterwards | Sent) -> None:
        try:
            self._bus.rush(node, self._subjects.node(node, type(frame).__name__), frames.encode(frame))
        except BusAway:
            log.warning("another node was not told what came of its calls: there is no connection to NATS")

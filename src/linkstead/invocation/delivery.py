"""Calls that the app is told of as accepted before the device has them: asynchronous services, property sets, messages.

What is accepted is on the disk first. A message at QoS 1 waits for its device with the session, is sent again until it
is acknowledged, and is forgotten only when its call has a result; at QoS 0 it goes to a device that is there, or the
call ends at once with the code for one that is not. There is no deadline for the answer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from linkstead.alink import topics
from linkstead.alink.services import Reply
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.invocation.at_hand import CallsAtHand
from linkstead.invocation.broadcast import Broadcast, Letter, Reached
from linkstead.invocation.call import Call, end_call, keep_answer, mark_stage
from linkstead.invocation.history import CallStore
from linkstead.invocation.journal import CallJournal
from linkstead.invocation.lookups import Lookups
from linkstead.invocation.record import (
    EVIDENCE_PAYLOAD_BYTES_MAX,
    EVIDENCE_TOPIC_CHARS_MAX,
    Diagnosis,
    Evidence,
    Stage,
    Stray,
    Verdict,
)
from linkstead.invocation.router import RouterOverloaded
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import (
    QUEUED_MESSAGES_MAX,
    LinkBlocked,
    LinkBroken,
    LinkTooSmall,
    QueuedMessage,
    QueueFull,
    SavedMessage,
    SavedSession,
    Session,
    SessionStore,
    SessionTable,
)

log = logging.getLogger(__name__)

# Members at hand: to look one up in its class takes two steps more.
_ROUTED: Final = Stage.ROUTED
_WRITTEN: Final = Stage.WRITTEN
_ANSWERED: Final = Stage.ANSWERED
_SUCCESS: Final = Verdict.SUCCESS
_WELL: Final = Diagnosis.ANSWERED

EXPIRED_AT_ONCE_MAX = 1_000
"""Messages given up in one round of housekeeping, and sessions of other nodes likewise."""

COMING_BACK_S = 60.0
"""How long a session that is over is left to its device, which may be about to connect to another node."""

ACKNOWLEDGED_KEPT_S = 60.0
"""How long a message stays on the disk after its device acknowledged it, when the call has no result yet.

A server that dies in between sends it again: the answer may have been lost with it.
"""

ANSWER_WRITTEN_S_MAX = 1.5
"""In which a node has written what a device has answered, where the database takes it.

So long another waits that was to end the call, as the device has connected to it and dropped its session.
"""

TAKEN_UP_AT_ONCE_MAX = 500
"""Connected devices of which it is asked at once whether something waits for them."""

LEFT_BEHIND_MAX = 10_000
"""Devices that went elsewhere while messages waited for them here; past it the one that went first is forgotten."""

LEFT_BEHIND_S = 2 * ANSWER_WRITTEN_S_MAX
"""It is looked so long after such a device has connected: who has dropped its session has ended what waited in it."""

STRANDED_AT_ONCE_MAX = 1_000
"""Calls of an earlier process that are looked through at once."""

MALFORMED_SHOWN_WITH_MAX = 16
"""Calls that an answer is kept with as evidence when it cannot be told which of them it belongs to: the latest."""

SEND_FAILED = 6205
ANSWER_MALFORMED = 6207
NEVER_ACTIVATED = 9200
OFFLINE = 9201
"""Numbers of the vendor's result messages. Source: `device-protocol.md` 5.7."""


class DeliveryStore(CallStore, SessionStore, Protocol):
    """What delivery keeps on the disk."""

    async def flush(self) -> bool:
        """Write all that was recorded and waits. False when the database could not: it goes on waiting."""


class ResultObserver(Protocol):
    """Told what comes of calls that a reply of the device ends. What is not awaited returns at once."""

    def is_ready(self, product_key: str) -> bool:
        """True when what is told of a call that ends now is written in one with its record."""

    async def prepare(self, product_key: str) -> None:
        """Be ready: calls of devices of a product may end now. Raises where the store cannot tell who subscribed."""

    def call_ended(self, call: Call, reply: Reply | None) -> bool:
        """It has its verdict, and was handed to the journal; `reply` is None where the device did not answer it.

        False when it is known that nobody is told.
        """

    async def settle(self) -> None:
        """Return when what is told of calls that ended is on the disk. Raises where the disk does not take it."""

    def answer_not_taken(self, origin: Origin, topic: str, reply: Reply) -> None:
        """A reply came that ends no call: too late, of another service, or naming none that is known."""


class Postman(Protocol):
    """Brings calls to the nodes that hold their devices."""

    async def post(self, call: Call, topic: str, payload: bytes, qos: int, *, needs_subscription: bool) -> bool:
        """Have the node that holds a device accept a call, see `Delivery.post`. False when no other node holds it.

        Raises:
            RouterOverloaded: see `Delivery.post`.
            PostmanAway: the other nodes cannot be asked.
        """

    def wake(self, key: DeviceKey) -> None:
        """Have whichever node holds a device, now or in a moment, look what waits for it in the store."""

    async def broadcast(self, letter: Letter) -> Reached:
        """Send a letter to the devices that are connected to other nodes."""

    def is_there(self, node: str) -> bool:
        """True when a node is alive."""

    def is_another(self, node: str) -> bool:
        """True when a node is not this one."""


EpochFinder = Callable[[DeviceKey], int]
"""The epoch by which this node holds a device, see `PresenceChange`; 0 where it does not."""


def _find_no_epoch(key: DeviceKey) -> int:
    return 0


class PostmanAway(Exception):
    """The other nodes cannot be reached; the call was not accepted."""


def _is_further(call: Call, known: Call) -> bool:
    """True when a record of a call is of a later moment than another."""
    return not known.is_ended and (call.is_ended or len(call.timeline) > len(known.timeline))


class _Receipt:
    """Marks a call as written; one whose connection broke first ends."""

    __slots__ = ("call", "delivery")

    def __init__(self, delivery: "Delivery", call: Call) -> None:
        self.delivery = delivery
        self.call = call

    def written(self) -> None:
        self.delivery.note_written(self.call)

    def write_failed(self) -> None:
        self.delivery.end(self.call, Verdict.OFFLINE, Diagnosis.WRITE_FAILED, OFFLINE)


class _Answer:
    """A reply as it came; `reply` is None where it cannot be read, and `fault` then the number for that. Never changed.

    Not a dataclass: one for each answer, and a frozen one takes five times as long to make.
    """

    __slots__ = ("fault", "identifier", "origin", "payload", "reply", "topic")

    def __init__(
        self, origin: Origin, identifier: str | None, reply: Reply | None, topic: str, payload: bytes, fault: int = 0
    ) -> None:
        self.origin = origin
        self.identifier = identifier
        self.reply = reply
        self.topic = topic
        self.payload = payload
        self.fault = fault


class Delivery:
    """Delivers what is accepted, and brings results to their calls.

    Args:
        sessions: who is connected, and what waits for whom.
        journal: the calls of late.
        store: calls, messages and sessions on the disk.
        clock: moments, ages.
    """

    def __init__(self, sessions: SessionTable, journal: CallJournal, store: DeliveryStore, clock: Clock) -> None:
        self._sessions = sessions
        self._journal = journal
        self._store = store
        self._clock = clock
        self._observer: ResultObserver | None = None
        self._at_hand = CallsAtHand()
        self._calls_of_messages: dict[str, Call] = {}
        self._kept: set[DeviceKey] = set()
        self._lookups = Lookups(clock)
        # Devices for which it is being looked into the store, and whether that is to be done once more.
        self._taken_up: dict[DeviceKey, bool] = {}
        # Rows of messages that were dropped, and are in the store until it is written what became of their calls.
        self._dropping: set[int] = set()
        # Devices whose messages this node left to the store, where they may belong to no session.
        self._left_behind: dict[DeviceKey, Timer | None] = {}
        self._postman: Postman | None = None
        self._epoch_of: EpochFinder = _find_no_epoch

    def join(self, postman: Postman) -> None:
        """Be one of several nodes from now on: sessions of devices that are away are in the store alone."""
        self._postman = postman

    def date_sessions(self, epoch_of: EpochFinder) -> None:
        """Have it written of a session by which connection of its device this node knows of it."""
        self._epoch_of = epoch_of

    def observe(self, observer: ResultObserver) -> None:
        """Have an observer told from now on."""
        self._observer = observer

    async def restore(self) -> None:
        """Bring back the sessions and the messages that an earlier process kept, and end the calls it left stranded."""
        for saved in await self._store.list_sessions():
            await self._restore(saved)
        await self.end_stranded()

    async def _restore(self, saved: SavedSession) -> None:
        now_s, now_ms = self._clock.monotonic_s(), milliseconds(self._clock.time_s())
        # One that was connected when the process died is away from now on.
        left_s = (saved.kept_until_ms - now_ms) / 1000 if saved.kept_until_ms else saved.kept_s
        waiting = await self._store.list_messages(saved.key) if saved.waiting else []
        queue = [self._restored(each, now_s, now_ms) for each in waiting if each.row_id not in self._dropping]
        if self._postman is not None:
            queue = [message for message in queue if await self._is_to_be_sent(self._postman, message)]
        if left_s <= 0:
            for message in queue:
                if self._postman is None:
                    await self._expire_kept(message)
                else:
                    # A device that connects does not wait for that.
                    self.message_dropped(message)
            self._store.drop_session(saved.key, self._epoch_of(saved.key))
            return
        self._kept.add(saved.key)
        for message in queue:
            # At hand before the first acknowledgement comes: thousands of them may come at once.
            call = await self._find_kept(message.call_id) if message.call_id else None
            if call is not None:
                self._calls_of_messages[message.call_id] = call
        if self._sessions.link(saved.key) is None:
            self._sessions.restore(
                saved.key,
                saved.subscriptions,
                queue,
                kept_s=saved.kept_s,
                detached_s=now_s + left_s - saved.kept_s,
                subscribed_ms=saved.subscribed_ms,
            )

    async def load(self, key: DeviceKey) -> None:
        """Bring back the session of a device that is about to connect here; it may have been on another node before."""
        if self._sessions.link(key) is not None:
            return
        self._at_hand.remove_all(key)
        saved = await self._store.find_session(key)
        if saved is not None:
            await self._restore(saved)

    async def list_kept_subscriptions(self, key: DeviceKey) -> Mapping[str, int]:
        """What a device that is away stays subscribed to, as far as the store alone knows it; since when, or 0."""
        saved = await self._store.find_session(key) if self._postman is not None else None
        now_ms = milliseconds(self._clock.time_s())
        if saved is None or 0 < saved.kept_until_ms <= now_ms:
            return {}
        return {name: saved.subscribed_ms.get(name, 0) for name in saved.subscriptions}

    async def take_up(self, key: DeviceKey) -> None:
        """Have a connected device get what was put into the store for it meanwhile."""
        is_under_way = key in self._taken_up
        # Two at a time would both send what is there, each with a record of its own; so it is done once more behind.
        self._taken_up[key] = True
        if is_under_way:
            return
        try:
            while self._taken_up[key]:
                self._taken_up[key] = False
                try:
                    await self._take_up(key)
                except Exception:
                    if not self._taken_up[key]:
                        raise
        finally:
            del self._taken_up[key]

    async def _take_up(self, key: DeviceKey) -> None:
        session = self._sessions.find(key)
        if session is None or session.link is None or self._postman is None:
            return
        now_s, now_ms = self._clock.monotonic_s(), milliseconds(self._clock.time_s())
        for saved in await self._store.list_messages(key):
            if saved.row_id in self._dropping:
                continue
            message = self._restored(saved, now_s, now_ms)
            call = await self._find_kept(saved.call_id) if saved.call_id else None
            if call is not None:
                if not await self._is_to_be_sent(self._postman, message):
                    continue
                self._calls_of_messages[saved.call_id] = call
            # It may have connected anew meanwhile, and have got it then.
            session = self._sessions.find(key)
            if session is None or session.link is None:
                return
            if saved.row_id in {message.row_id for message in session.queue or ()}:
                continue
            try:
                self._sessions.deliver(key, message)
            except QueueFull:
                return

    async def take_up_all(self) -> None:
        """`take_up` for every connected device: it may not have been heard that something was put into the store."""
        connected = self._sessions.connected
        for start in range(0, len(connected), TAKEN_UP_AT_ONCE_MAX):
            for key in await self._store.find_awaited(connected[start : start + TAKEN_UP_AT_ONCE_MAX]):
                await self.take_up(key)

    async def _is_to_be_sent(self, postman: Postman, message: QueuedMessage) -> bool:
        """False for one that was acknowledged to a node that is there still: it has taken the answer if there was one.

        One that was never written is not a second one of its kind, whoever has put it into the store.
        """
        call = await self._find_kept(message.call_id) if message.call_id else None
        if call is None:
            return True
        message.was_sent = call.moment(Stage.WRITTEN) is not None
        acknowledged = call.moment(Stage.ACKNOWLEDGED)
        return not call.is_ended and (acknowledged is None or not postman.is_there(acknowledged.node))

    async def end_stranded(self, node: str | None = None) -> None:
        """End the calls of an earlier process that nothing will bring to an end any more.

        No message waits for them: they went at QoS 0, or to many devices at once. One that left goes on waiting for its
        answer, where there is one to come.

        Args:
            node: only those of this node, which has died.
        """
        last: Call | None = None
        while calls := await self._store.list_stranded_calls(last, STRANDED_AT_ONCE_MAX):
            last = calls[-1]
            for product_key in dict.fromkeys(call.key.product_key for call in calls if call.key is not None):
                if self._observer is not None:
                    await self._observer.prepare(product_key)
            left = [call for call in calls if node in (None, call.node)]
            if left and self._postman is not None:
                # A node that was taken for dead may be back, and about to write that some have left.
                left = await self._store.claim_stranded([call.request_id for call in left])
            for call in left:
                call.is_handed_over = False
                if call.moment(Stage.WRITTEN) is None:
                    self._end(call, Verdict.UNKNOWN, Diagnosis.NODE_LOST, SEND_FAILED)
                elif not call.alink_id:
                    self._end(call, Verdict.SUCCESS, Diagnosis.DELIVERED, 0)

    @staticmethod
    def _restored(message: SavedMessage, now_s: float, now_ms: int) -> QueuedMessage:
        age_s = max(0, now_ms - message.accepted_ms) / 1000
        return QueuedMessage(
            message.topic,
            message.payload,
            now_s - age_s,
            was_sent=True,
            row_id=message.row_id,
            call_id=message.call_id,
            is_restored=True,
        )

    async def expire(self) -> None:
        """End the calls whose messages waited too long on the disk, those of sessions that are gone among them.

        Of several nodes one at a time does so, for all; it ends their sessions too, which are in the store alone.
        """
        now_ms = milliseconds(self._clock.time_s())
        if self._postman is not None:
            ended_ms = now_ms - milliseconds(COMING_BACK_S)
            for ended in await self._store.expired_sessions(ended_ms, EXPIRED_AT_ONCE_MAX):
                if self._sessions.link(ended.key) is None:
                    await self._restore(ended)
        for saved in await self._store.expired_messages(now_ms, EXPIRED_AT_ONCE_MAX):
            self.message_dropped(self._restored(saved, self._clock.monotonic_s(), now_ms))

    async def settle(self) -> None:
        """Return when the answers that came so far have reached their calls."""
        await self._lookups.settle()

    async def stop(self) -> None:
        """Wait for the look-ups under way; what cannot be looked up now is given up."""
        for key in list(self._left_behind):
            self._forget_left_behind(key)
        await self._lookups.stop()

    # the way to the device

    async def post(self, call: Call, topic: str, payload: bytes, qos: int, *, needs_subscription: bool = False) -> None:
        """Accept a call. When this returns it is on the disk, and on its way or ended.

        Args:
            call: `key` is set. With an `alink_id` a reply of the device ends it; without one it ends when its message
                was written (QoS 0) or acknowledged (QoS 1).
            qos: 0 or 1.
            needs_subscription: the device gets it only where it has subscribed to the topic.

        Raises:
            RouterOverloaded: too much waits for the device already; the call was not accepted.
        """
        key = call.key
        if key is None:
            raise ValueError("a call that is delivered names its device")
        call.is_asynchronous = True
        if self._postman is not None and self._sessions.link(key) is None:
            if await self._post_elsewhere(self._postman, call, key, topic, payload, qos, needs_subscription):
                call.is_handed_over = True
                return
            if call.is_ended:
                return
        now_s = self._clock.monotonic_s()
        mark_stage(call, _ROUTED, self._clock.time_s(), now_s)
        session = self._sessions.find(key)
        if session is None or not session.takes(qos, now_s):
            is_new = call.result_code == NEVER_ACTIVATED
            diagnosis = Diagnosis.NEVER_ACTIVATED if is_new else Diagnosis.NOT_CONNECTED
            await self.drop(call, diagnosis, call.result_code or OFFLINE)
            return
        if needs_subscription and not topics.matches_any(session.subscriptions, topic):
            await self.drop(call, Diagnosis.NOT_SUBSCRIBED, 0)
            return
        self._at_hand.add(key, call)
        try:
            if qos == 1:
                await self._post_queued(call, session, topic, payload)
            else:
                await self._store.keep_calls([call], [])
                self._send(call, key, topic, payload)
        except BaseException:
            self._at_hand.remove(call)
            raise

    async def _post_elsewhere(
        self,
        postman: Postman,
        call: Call,
        key: DeviceKey,
        topic: str,
        payload: bytes,
        qos: int,
        needs_subscription: bool,
    ) -> bool:
        """Have another node accept a call, or the store for whichever node its device connects to. False: neither."""
        is_away = False
        try:
            if await postman.post(call, topic, payload, qos, needs_subscription=needs_subscription):
                return True
        except PostmanAway:
            is_away = True
        if self._sessions.link(key) is not None:
            return False
        saved = await self._store.find_session(key) if qos == 1 else None
        now_ms = milliseconds(self._clock.time_s())
        if saved is None or 0 < saved.kept_until_ms <= now_ms:
            if is_away:
                await self.drop(call, Diagnosis.NODES_UNREACHABLE, SEND_FAILED, Verdict.UNKNOWN)
            return False
        if needs_subscription and not topics.matches_any(saved.subscriptions, topic):
            await self.drop(call, Diagnosis.NOT_SUBSCRIBED, 0)
            return False
        if saved.waiting >= QUEUED_MESSAGES_MAX:
            raise RouterOverloaded
        call.mark(Stage.ROUTED, self._clock.time_s(), self._clock.monotonic_s())
        await self._store.keep_calls([call], [SavedMessage(key, topic, payload, now_ms, call.request_id)])
        postman.wake(key)
        return True

    async def drop(self, call: Call, diagnosis: Diagnosis, code: int, verdict: Verdict = Verdict.OFFLINE) -> None:
        """Accept a call whose message has nowhere to go: it ends so, and that is on the disk when this returns."""
        call.is_asynchronous = True
        observer = self._observer
        if observer is not None and call.alink_id:
            await self._prepare(call.key)
        call.result_code = code
        call.end(verdict, diagnosis)
        if observer is not None and call.alink_id and observer.call_ended(call, None):
            # First, so that a server that dies in between has told of too much rather than too little.
            await observer.settle()
        await self._store.keep_calls([call], [])

    async def _post_queued(self, call: Call, session: Session, topic: str, payload: bytes) -> None:
        message = QueuedMessage(topic, payload, self._clock.monotonic_s(), call_id=call.request_id)
        try:
            # Its place is taken before the disk is asked: what is refused must be refused now.
            self._sessions.reserve(session, len(payload))
        except QueueFull:
            raise RouterOverloaded from None
        saved = SavedMessage(session.key, topic, payload, milliseconds(self._clock.time_s()), call.request_id)
        try:
            [message.row_id] = await self._store.keep_calls([call], [saved])
        finally:
            self._sessions.release(session, len(payload))
        self._calls_of_messages[call.request_id] = call
        if self._sessions.deliver(session.key, message):
            return
        # Its session was dropped while the disk was written; or its device has gone to another node, which may have
        # read what waits for it before.
        if self._postman is not None:
            del self._calls_of_messages[call.request_id]
            self._at_hand.remove(call)
            call.is_handed_over = True
            self._lookups.start(partial(self._wake, self._postman, session.key))
        else:
            self.message_dropped(message)

    async def _wake(self, postman: Postman, key: DeviceKey) -> None:
        # What was dropped with the session is off the disk before the other node looks.
        await self._store.flush()
        self._leave_behind(postman, key)

    def _leave_behind(self, postman: Postman, key: DeviceKey) -> None:
        """Have who holds a device look what waits for it in the store, now and when it connects next."""
        self._left_behind.setdefault(key, None)
        if len(self._left_behind) > LEFT_BEHIND_MAX:
            self._forget_left_behind(next(iter(self._left_behind)))
        postman.wake(key)

    def note_connected(self, key: DeviceKey) -> None:
        """A device connects, here or elsewhere: who holds it hears in a while of what was left behind here."""
        if key in self._left_behind:
            self._forget_left_behind(key)
            self._left_behind[key] = self._clock.call_later(LEFT_BEHIND_S, self._look_behind, key)

    def _forget_left_behind(self, key: DeviceKey) -> None:
        timer = self._left_behind.pop(key)
        if timer is not None:
            timer.cancel()

    def _look_behind(self, key: DeviceKey) -> None:
        if self._postman is not None:
            self._lookups.start(partial(self._tell_left_behind, self._postman, key))

    async def _tell_left_behind(self, postman: Postman, key: DeviceKey) -> None:
        if await self._store.find_awaited([key]):
            postman.wake(key)
        elif key in self._left_behind:
            self._forget_left_behind(key)

    def _send(self, call: Call, key: DeviceKey, topic: str, payload: bytes) -> None:
        link = self._sessions.link(key)
        try:
            if link is None:
                raise LinkBroken
            link.send(topic, payload, _Receipt(self, call))
        except (LinkBroken, LinkBlocked, LinkTooSmall):
            self.end(call, Verdict.OFFLINE, Diagnosis.WRITE_FAILED, OFFLINE)

    async def broadcast(self, call: Call, letter: Letter, label: Callable[[Reached], str]) -> None:
        """Accept a call that goes to many devices; when this returns every copy is on its way.

        Args:
            call: names no device. It ends when it is known of each copy whether it was written.
            letter: what they get.
            label: the call's `target`, made of the number of copies that were written.
        """
        call.is_asynchronous = True
        call.mark(Stage.ROUTED, self._clock.time_s(), self._clock.monotonic_s())
        await self._store.keep_calls([call], [])
        elsewhere = await self._postman.broadcast(letter) if self._postman is not None else Reached(0, 0)

        def end(verdict: Verdict, diagnosis: Diagnosis, here: Reached) -> None:
            reached = Reached(here.written + elsewhere.written, here.connected + elsewhere.connected)
            call.target = label(reached)
            if reached.written:
                call.mark(Stage.WRITTEN, self._clock.time_s(), self._clock.monotonic_s())
                verdict, diagnosis = Verdict.SUCCESS, Diagnosis.DELIVERED
            elif reached.connected and diagnosis is Diagnosis.NOT_CONNECTED:
                diagnosis = Diagnosis.NOT_SUBSCRIBED
            self.end(call, verdict, diagnosis, 0)

        await self.send_copies(letter, end)

    async def send_copies(self, letter: Letter, end: Callable[[Verdict, Diagnosis, Reached], None]) -> None:
        """Send a letter to the devices that are connected here; `end` is told what became of it."""
        audience = self._sessions.list_live(letter.product_key)

        def count(verdict: Verdict, diagnosis: Diagnosis, written: int) -> None:
            end(verdict, diagnosis, Reached(written, len(audience)))

        await Broadcast(count).send(audience, letter.name_topic, letter.payload)

    def note_written(self, call: Call) -> None:
        """The message of a call has left in full."""
        if call.verdict is not None:
            return
        mark_stage(call, _WRITTEN, self._clock.time_s(), self._clock.monotonic_s())
        if call.alink_id:
            self._journal.update(call)
        else:
            self.end(call, Verdict.SUCCESS, Diagnosis.DELIVERED, 0)

    # what the sessions tell

    def message_sent(self, message: QueuedMessage) -> None:
        """See `SessionObserver`."""
        call = self._calls_of_messages.get(message.call_id)
        if call is not None and call.moment(Stage.WRITTEN) is None:
            call.mark(Stage.WRITTEN, self._clock.time_s(), self._clock.monotonic_s())
            self._journal.update(call)

    def message_acknowledged(self, message: QueuedMessage) -> None:
        """See `SessionObserver`."""
        call = self._calls_of_messages.pop(message.call_id, None)
        if call is not None or not message.call_id:
            self._acknowledge(call, message)
        else:
            self._lookups.start(partial(self._acknowledge_kept, message))

    async def _acknowledge_kept(self, message: QueuedMessage) -> None:
        self._acknowledge(await self._find_kept(message.call_id), message)

    def _acknowledge(self, call: Call | None, message: QueuedMessage) -> None:
        if call is not None and not call.is_ended:
            if call.moment(Stage.WRITTEN) is None:
                # An earlier process wrote it, and did not live to say so.
                call.mark(Stage.WRITTEN, self._clock.time_s(), self._clock.monotonic_s())
            if call.moment(Stage.ACKNOWLEDGED) is None:
                # It went out again on a later connection, or on that to another node.
                call.mark(Stage.ACKNOWLEDGED, self._clock.time_s(), self._clock.monotonic_s())
            if call.alink_id:
                self._journal.update(call)
                # Not forgotten at once: see ACKNOWLEDGED_KEPT_S.
                self._clock.call_later(ACKNOWLEDGED_KEPT_S, self._store.drop_message, message.row_id)
                return
            self.end(call, Verdict.SUCCESS, Diagnosis.DELIVERED, 0)
        self._store.drop_message(message.row_id)

    def message_dropped(self, message: QueuedMessage) -> None:
        """See `SessionObserver`."""
        call = self._calls_of_messages.pop(message.call_id, None)
        is_known = call is not None and not self._must_wait(call) and not self._may_be_answered(call, message)
        if is_known or not message.call_id:
            self._expire(call, message)
        else:
            # One that cannot be looked up now stays on the disk, for housekeeping to find it there.
            task = self._lookups.start(partial(self._expire_kept, message))
            if task is not None:
                self._dropping.add(message.row_id)
                task.add_done_callback(partial(self._end_drop, message.row_id))

    def _end_drop(self, row_id: int, _: asyncio.Task[None]) -> None:
        self._dropping.discard(row_id)

    async def _expire_kept(self, message: QueuedMessage) -> None:
        call = await self._find_kept(message.call_id)
        if call is not None and self._may_be_answered(call, message):
            await self._clock.sleep(ANSWER_WRITTEN_S_MAX)
            call = await self._find_kept(message.call_id)
            # That it left may have been written meanwhile, too.
            message.was_sent = message.was_sent or (call is not None and call.moment(Stage.WRITTEN) is not None)
        if call is not None:
            await self._prepare(call.key)
        self._expire(call, message)

    def _may_be_answered(self, call: Call, message: QueuedMessage) -> bool:
        """Whether another node that is there may have the answer to a call, and be about to write it."""
        postman, node = self._postman, call.node
        # Whether it left is written no sooner than the answer.
        if postman is None or self._lookups.is_stopping or call.is_ended:
            return False
        # Since it was in the store, its device may have been on any node.
        return message.is_restored or (postman.is_another(node) and postman.is_there(node))

    def _expire(self, call: Call | None, message: QueuedMessage) -> None:
        if call is not None:
            diagnosis = Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT if message.was_sent else Diagnosis.NOT_CONNECTED
            self._end(call, Verdict.EXPIRED, diagnosis, OFFLINE)
        self._store.drop_message(message.row_id)

    async def _find_kept(self, call_id: str) -> Call | None:
        """A call of an earlier process, or one that is not at hand any more; the same object for all who ask."""
        call = await self._store.find_kept_call(call_id)
        return self._adopt(call) if call is not None else None

    def _adopt(self, call: Call) -> Call:
        # Where that is on the disk, it was so for the node that wrote it.
        call.is_handed_over = False
        if call.key is None:
            return call
        # It may have ended while the disk was read.
        found = self._at_hand.list_all(call.key, call.alink_id)
        in_journal = self._journal.find(call.account_id, call.request_id)
        if in_journal is not None:
            found.append(in_journal)
        for known in found:
            # Another node may have brought it further than what is known of it here; and what is being handed over to
            # another node is not the record of that.
            is_same = known.request_id == call.request_id and known.node == call.node
            if is_same and not _is_further(call, known):
                return known
        if call.is_ended:
            self._at_hand.add_ended(call)
        else:
            self._at_hand.add(call.key, call)
        return call

    def session_changed(self, session: Session) -> None:
        """See `SessionObserver`."""
        if not session.is_persistent:
            self.session_forgotten(session.key)
            return
        self._kept.add(session.key)
        until_ms = 0 if session.link is not None else milliseconds(self._clock.time_s() + session.kept_s)
        self._store.record_session(
            SavedSession(
                session.key,
                session.kept_s,
                until_ms,
                dict(session.subscriptions),
                subscribed_ms=dict(session.subscribed_ms),
                holder_epoch=self._epoch_of(session.key),
            )
        )

    def session_put_away(self, key: DeviceKey, *, has_waiting: bool) -> None:
        """See `SessionObserver`."""
        self._kept.discard(key)
        self._at_hand.remove_all(key)
        if has_waiting and self._postman is not None:
            # Who holds the device now may have read what waits for it before all of it was there.
            self._leave_behind(self._postman, key)

    def session_forgotten(self, key: DeviceKey) -> None:
        """See `SessionObserver`."""
        # One that was never kept has nothing on the disk but messages that are on their way.
        if key in self._kept:
            self._kept.discard(key)
            self._store.drop_session(key, self._epoch_of(key))

    # the way back

    def answer(self, origin: Origin, identifier: str | None, reply: Reply, topic: str, payload: bytes) -> None:
        """Bring a device's reply to the call it names; one that names none is logged.

        Args:
            identifier: the service whose reply topic it came on; None for a topic that names none.
            topic, payload: as it came, kept as evidence when it is not taken.
        """
        self._bring(reply.alink_id, _Answer(origin, identifier, reply, topic, payload))

    def answer_malformed(
        self,
        origin: Origin,
        identifier: str | None,
        alink_id: int,
        topic: str,
        payload: bytes,
        fault: int = ANSWER_MALFORMED,
    ) -> None:
        """Bring a reply that cannot be read to the call that it names, or can only belong to; that call fails.

        Where several calls wait it is evidence with each of them, up to `MALFORMED_SHOWN_WITH_MAX`, and ends none.

        Args:
            identifier, topic, payload: see `answer`.
            alink_id: the id it names, 0 where not even that can be read.
            fault: the number of what is wrong with it.

        Source: `cloud-api.md` 8.
        """
        answer = _Answer(origin, identifier, None, topic, payload, fault)
        if alink_id:
            self._bring(alink_id, answer)
        else:
            self._lookups.start(partial(self._bring_unnamed, answer))

    def _bring(self, alink_id: int, answer: _Answer) -> None:
        call = self._at_hand.find(answer.origin.key, alink_id)
        if call is not None and not self._must_wait(call):
            self._take_answer(call, answer)
        else:
            self._lookups.start(partial(self._bring_kept, alink_id, answer))

    async def _bring_kept(self, alink_id: int, answer: _Answer) -> None:
        key = answer.origin.key
        await self._prepare(key)
        call = self._at_hand.find(key, alink_id)
        if call is None:
            kept = await self._store.find_open_call(key, alink_id) or await self._store.find_ended_call(key, alink_id)
            call = self._adopt(kept) if kept is not None else None
        if call is None:
            self._log_without_call(answer)
        else:
            self._take_answer(call, answer)

    async def _bring_unnamed(self, answer: _Answer) -> None:
        await self._prepare(answer.origin.key)
        found = await self._store.list_open_calls(answer.origin.key, answer.identifier, MALFORMED_SHOWN_WITH_MAX)
        calls = [call for call in map(self._adopt, found) if not call.is_ended]
        # What never left is not what the device means to answer.
        if len(calls) == 1 and calls[0].moment(Stage.WRITTEN) is not None:
            self._take_answer(calls[0], answer)
        elif not calls:
            self._log_without_call(answer)
        else:
            for call in calls:
                self._keep_stray(call, Stray.MALFORMED, answer)

    def _log_without_call(self, answer: _Answer) -> None:
        log.warning("reply without a call", extra={"device": str(answer.origin.key), "topic": answer.topic})
        self._tell_not_taken(answer)

    def _take_answer(self, call: Call, answer: _Answer) -> None:
        if call.verdict is not None:
            was_answered = call.moment(Stage.ANSWERED) is not None
            self._keep_stray(call, Stray.DUPLICATE if was_answered else Stray.LATE, answer)
            if not was_answered:
                self._tell_not_taken(answer)
            return
        if answer.identifier is not None and answer.identifier != call.target:
            self._keep_stray(call, Stray.WRONG_TOPIC, answer)
            self._tell_not_taken(answer)
            return
        mark_stage(call, _ANSWERED, self._clock.time_s(), self._clock.monotonic_s())
        keep_answer(call, answer.payload)
        if answer.reply is None:
            self._end(call, Verdict.FAILED, Diagnosis.ANSWER_MALFORMED, answer.fault)
        else:
            self._end(call, _SUCCESS, _WELL, answer.reply.code, answer.reply)

    def _keep_stray(self, call: Call, reason: Stray, answer: _Answer) -> None:
        evidence = Evidence(
            reason=reason,
            time_ms=milliseconds(self._clock.time_s()),
            sender=str(answer.origin.key),
            topic=answer.topic[:EVIDENCE_TOPIC_CHARS_MAX],
            payload=answer.payload[:EVIDENCE_PAYLOAD_BYTES_MAX],
            payload_bytes=len(answer.payload),
        )
        self._journal.add_evidence(call, evidence)

    def end(self, call: Call, verdict: Verdict, diagnosis: Diagnosis, code: int) -> None:
        """Give an asynchronous call its verdict, once, and have it written, with what is told of it."""
        if self._must_wait(call):
            self._lookups.start(partial(self._end_prepared, call, verdict, diagnosis, code))
        else:
            self._end(call, verdict, diagnosis, code)

    async def _end_prepared(self, call: Call, verdict: Verdict, diagnosis: Diagnosis, code: int) -> None:
        await self._prepare(call.key)
        self._end(call, verdict, diagnosis, code)

    def _must_wait(self, call: Call) -> bool:
        """True when what is told of a call would be written apart from its record, and be lost with a server between.

        Rather that than to forget what became of it, where too much waits already.
        """
        if call.verdict is not None or not call.alink_id or call.key is None or self._observer is None:
            return False
        return not self._observer.is_ready(call.key.product_key) and self._lookups.has_room

    async def _prepare(self, key: DeviceKey | None) -> None:
        """Have it at hand who is told of calls of a device. Raises where the store cannot tell."""
        if self._observer is not None and key is not None and not self._observer.is_ready(key.product_key):
            await self._observer.prepare(key.product_key)

    def _end(self, call: Call, verdict: Verdict, diagnosis: Diagnosis, code: int, reply: Reply | None = None) -> None:
        self._at_hand.remove(call)
        if call.verdict is not None:
            return
        call.result_code = code
        end_call(call, verdict, diagnosis)
        self._journal.note_end(call)
        self._tell_ended(call, reply)
        self._at_hand.add_ended(call)

    def _tell_ended(self, call: Call, reply: Reply | None) -> None:
        if self._observer is not None and call.alink_id:
            self._observer.call_ended(call, reply)

    def _tell_not_taken(self, answer: _Answer) -> None:
        if self._observer is not None and answer.reply is not None:
            self._observer.answer_not_taken(answer.origin, answer.topic, answer.reply)

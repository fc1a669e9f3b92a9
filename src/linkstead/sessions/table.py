"""The table of sessions: who is connected here, who just was, and what waits for whom.

A session is keyed by product key and device name, never by the MQTT client id. It holds at most one live connection; a
second one takes its place. What outlives a connection: a tombstone for one keep-alive period after a break without
DISCONNECT (the HALFCONN window), and for a persistent session its subscriptions and waiting QoS 1 messages.

A sub-device has no connection of its own: its link travels on that of its gateway, whose session carries it. With the
gateway's connection those of its sub-devices end.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from sys import intern
from typing import NamedTuple, Protocol

from linkstead.registry import Device, DeviceKey, DeviceStatus, Origin, PresenceChange
from linkstead.sessions.link import Ending, Link
from linkstead.sessions.neighbours import Neighbours, OneNode, Subscribed
from linkstead.sessions.tap import Tap, Taps

SUBSCRIPTIONS_MAX = 100
"""Subscriptions of one device. Source: `device-protocol.md` 2."""

ADDED_QOS = 1
"""Of a subscription made on behalf of a device: it lessens no message. The reference names none."""

QUEUED_MESSAGES_MAX = 1_000
"""QoS 1 messages waiting for one device; at the bound the new one is refused. Source: `device-protocol.md` 1.6."""

QUEUED_AGE_S_MAX = 7 * 24 * 3600.0
"""How long a QoS 1 message, and a persistent session without a connection, is kept. `device-protocol.md` 2."""


OWN_NAMES = "\0"
"""Stands for a device's own names in a filter that is kept. No topic or filter has this character. [MQTT-4.7.3-2]"""

QUEUED_BYTES_MAX = 256 * 1024 * 1024
"""Payload bytes of all waiting messages on one node; at the bound the new one is refused."""


class Reach(Enum):
    """How a device can be reached now."""

    LIVE = "live"
    HALF = "half"
    NONE = "none"


class QueueFull(Exception):
    """`QUEUED_MESSAGES_MAX` messages wait for this device already; nothing was queued."""


class PresenceSink(Protocol):
    """Where changes between online and offline go."""

    def record_presence(self, change: PresenceChange) -> None:
        """Take one change; returns at once."""


class StatusChange(NamedTuple):
    """A device came online or went offline. `active_ms` is when it was last heard of; `ending` says why it went."""

    origin: Origin
    is_online: bool
    at_ms: int
    active_ms: int
    ip_address: str
    ending: Ending | None


class StatusObserver(Protocol):
    """Told each change between online and offline; a device that changes its connection goes offline in between."""

    def status_changed(self, change: StatusChange) -> None:
        """Take one change; returns at once."""


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A QoS 1 message waiting to be acknowledged by a device. `queued_s` is monotonic.

    `packet_id` is what it travels under on the present connection, 0 while it was not sent on it; `was_sent` says that
    it was on some connection; `is_restored` that it was read from the store, where another node may have left it.
    `row_id` is its row in the store, 0 for one that is not kept there; `call_id` the request id of the call it carries,
    or empty.
    """

    topic: str
    payload: bytes
    queued_s: float
    packet_id: int = 0
    was_sent: bool = False
    row_id: int = 0
    call_id: str = ""
    is_restored: bool = False


class SessionObserver(Protocol):
    """Told what becomes of persistent sessions and of the messages that wait. Every method returns at once."""

    def session_changed(self, session: "Session") -> None:
        """Its connection, its subscriptions or how long it is kept is another than before."""

    def session_forgotten(self, key: DeviceKey) -> None:
        """It is over; what waited was told of as dropped before."""

    def session_put_away(self, key: DeviceKey, *, has_waiting: bool) -> None:
        """It is left to the store and to other nodes, and messages that wait with it."""

    def message_sent(self, message: QueuedMessage) -> None:
        """It was handed to its device's connection."""

    def message_acknowledged(self, message: QueuedMessage) -> None:
        """The device has it; it is not sent again."""

    def message_dropped(self, message: QueuedMessage) -> None:
        """It cannot be delivered any more: too old, too large for the device, or its session was dropped."""


class Session:
    """What is known of one device's connections to this node.

    `subscriptions` has the QoS by topic filter. It is made anew each time: most devices have one or two, and are idle,
    so they are kept as tuples in the same order, a third of the size of a dict. `carried` are the sessions that travel
    on its connection.
    """

    __slots__ = (
        "_carried",
        "_filters",
        "_qos",
        "_since_ms",
        "broken_s",
        "carrier",
        "connections",
        "detached_s",
        "ip_address",
        "keep_alive_s",
        "kept_s",
        "key",
        "link",
        "queue",
        "reserved",
    )

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self.link: Link | None = None
        self.ip_address = ""
        self.kept_s = 0.0
        self.keep_alive_s = 0
        self.detached_s = 0.0
        self.broken_s: float | None = None
        self.connections = 0
        self._filters: tuple[str, ...] = ()
        self._qos = b""
        self._since_ms: tuple[int, ...] = ()  # 0 where it is not known
        self.queue: deque[QueuedMessage] | None = None
        self.reserved = 0
        self.carrier: Session | None = None
        self._carried: dict[DeviceKey, Session] | None = None

    @property
    def is_persistent(self) -> bool:
        """True when subscriptions and waiting messages outlive the connection."""
        return self.kept_s > 0

    def is_kept(self, now_s: float) -> bool:
        """True while a connection made now would carry the session on."""
        return self.is_persistent and (self.link is not None or now_s - self.detached_s < self.kept_s)

    def takes(self, qos: int, now_s: float) -> bool:
        """True when a message would reach the device: now, or at QoS 1 when it comes back to its persistent session."""
        return self.link is not None or (qos == 1 and self.is_kept(now_s))

    def is_half_connected(self, now_s: float) -> bool:
        """True within one keep-alive period after a break without DISCONNECT."""
        return self.link is None and self.broken_s is not None and now_s < self.broken_s + self.keep_alive_s

    def is_forgettable(self, now_s: float) -> bool:
        """True when nothing of the session has to be remembered any longer."""
        return self.link is None and not self.is_half_connected(now_s) and not self.is_kept(now_s)

    def subscribe(self, topic_filter: str, qos: int, now_ms: int) -> None:
        """Add a subscription, or give one that is there another QoS. `now_ms` is 0 where the moment is not known."""
        kept = self._shorten(topic_filter)
        if kept in self._filters:
            place = self._filters.index(kept)
            self._qos = self._qos[:place] + bytes((qos,)) + self._qos[place + 1 :]
        else:
            self._filters += (kept,)
            self._qos += bytes((qos,))
            self._since_ms += (now_ms,)

    def unsubscribe(self, topic_filter: str) -> bool:
        """End a subscription. False when there is none."""
        kept = self._shorten(topic_filter)
        if kept not in self._filters:
            return False
        place = self._filters.index(kept)
        self._filters = self._filters[:place] + self._filters[place + 1 :]
        self._qos = self._qos[:place] + self._qos[place + 1 :]
        self._since_ms = self._since_ms[:place] + self._since_ms[place + 1 :]
        return True

    def unsubscribe_all(self) -> None:
        """End every subscription."""
        self._filters, self._qos, self._since_ms = (), b"", ()

    def restore_subscriptions(self, subscriptions: Mapping[str, int], subscribed_ms: Mapping[str, int]) -> None:
        """Take subscriptions as they were kept, and since when each is there as far as that is known."""
        self._filters = tuple(self._shorten(topic_filter) for topic_filter in subscriptions)
        self._qos = bytes(subscriptions.values())
        self._since_ms = tuple(subscribed_ms.get(topic_filter, 0) for topic_filter in subscriptions)

    @property
    def subscriptions(self) -> dict[str, int]:
        """The QoS by topic filter, in the order they came."""
        return dict(zip(self._whole_filters(), self._qos, strict=True))

    @property
    def subscribed_ms(self) -> dict[str, int]:
        """Since when each subscription is there, as far as that is known."""
        return {name: at_ms for name, at_ms in zip(self._whole_filters(), self._since_ms, strict=True) if at_ms}

    def _shorten(self, topic_filter: str) -> str:
        """A filter without the device's own names: all devices with the same function share it then."""
        return intern(topic_filter.replace(str(self.key), OWN_NAMES, 1))

    def _whole_filters(self) -> list[str]:
        names = str(self.key)
        return [topic_filter.replace(OWN_NAMES, names, 1) for topic_filter in self._filters]

    @property
    def carried(self) -> Mapping[DeviceKey, "Session"]:
        """The sessions that travel on this one's connection, by device: those of the devices behind a gateway."""
        return self._carried or _NOBODY

    def carry(self, session: "Session") -> None:
        """Have a session travel on this one's connection."""
        if self._carried is None:
            self._carried = {}
        self._carried[session.key] = session

    def put_down(self, session: "Session") -> None:
        """End that a session travels on this one's connection."""
        if self._carried is not None:
            del self._carried[session.key]

    @property
    def waiting_count(self) -> int:
        """Messages that wait, and places taken for those on their way to the disk."""
        return (len(self.queue) if self.queue else 0) + self.reserved


_NOBODY: Mapping[DeviceKey, Session] = {}


class Attachment(NamedTuple):
    """What an attach did: whether an earlier session is carried on, and the connection that has to go."""

    session: Session
    session_present: bool
    superseded: Link | None


class SessionTable:
    """All sessions of this node.

    Args:
        presence: told every change between online and offline.
        neighbours: the other nodes.
    """

    def __init__(self, presence: PresenceSink, neighbours: Neighbours | None = None) -> None:
        self.neighbours = neighbours or OneNode()
        self.has_neighbours = neighbours is not None
        self._sessions: dict[DeviceKey, Session] = {}
        self._presence = presence
        self._observer: SessionObserver | None = None
        self._status_observer: StatusObserver | None = None
        self.taps: Taps | None = None
        self._live = 0
        self._queued_bytes = 0
        # The last moments told, as long as one of them is not over.
        self._status_ms: dict[DeviceKey, int] = {}
        self._latest_status_ms = 0

    def observe(self, observer: SessionObserver) -> None:
        """Have an observer told from now on."""
        self._observer = observer

    def observe_status(self, observer: StatusObserver) -> None:
        """Have an observer told of who comes and goes from now on."""
        self._status_observer = observer

    def adjust(self, key: DeviceKey, added: Sequence[str], removed: Sequence[str], now_ms: int) -> Subscribed:
        """Subscribe a device to topics at `ADDED_QOS`, or end subscriptions, as if it had done so; all or nothing.

        Only of a device that is connected here; of one that is not, what its session here keeps is told.
        """
        session = self._sessions.get(key)
        if session is None:
            return Subscribed(False, False, {})
        is_live, is_full = session.link is not None, False
        if is_live and (added or removed):
            known = session.subscriptions
            new = [name for name in dict.fromkeys(added) if name not in known]
            is_full = bool(new) and len(known) + len(new) > SUBSCRIPTIONS_MAX
            if not is_full:
                for name in new:
                    session.subscribe(name, ADDED_QOS, now_ms)
                for name in removed:
                    session.unsubscribe(name)
                self.note_change(session)
        since_ms = session.subscribed_ms
        return Subscribed(is_live, is_full, {name: since_ms.get(name, 0) for name in session.subscriptions})

    def tap(self, key: DeviceKey) -> Tap:
        """Look at the messages of a device from now on, until `untap`. `taps` is None while nobody does."""
        tap = Tap(key)
        self.taps = self.taps or Taps()
        self.taps.add(tap)
        return tap

    def untap(self, tap: Tap) -> None:
        """Look no longer."""
        if self.taps is not None:
            self.taps.remove(tap)
            self.taps = self.taps or None

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def live_count(self) -> int:
        """How many devices are connected."""
        return self._live

    @property
    def connected(self) -> list[DeviceKey]:
        """The devices that are connected, as of now."""
        return [key for key, session in self._sessions.items() if session.link is not None]

    def find(self, key: DeviceKey) -> Session | None:
        """The session of a device, connected or not."""
        return self._sessions.get(key)

    def link(self, key: DeviceKey) -> Link | None:
        """The live connection of a device."""
        session = self._sessions.get(key)
        return session.link if session is not None else None

    def list_live(self, product_key: str) -> list[Session]:
        """The sessions of a product's devices that are connected, as of now."""
        return [
            session for key, session in self._sessions.items() if key[0] == product_key and session.link is not None
        ]

    def reach(self, key: DeviceKey, now_s: float) -> Reach:
        """How the device can be reached now. Source: `device-protocol.md` 9.3."""
        session = self._sessions.get(key)
        if session is None:
            return Reach.NONE
        if session.link is not None:
            return Reach.LIVE
        return Reach.HALF if session.is_half_connected(now_s) else Reach.NONE

    def status(self, device: Device) -> DeviceStatus:
        """The device's status in the vendor's words, of one on another node as it is written down.

        Source: `device-protocol.md` 9.1.
        """
        if not device.enabled:
            return DeviceStatus.DISABLE
        if self.link(device.key) is not None or (self.has_neighbours and device.is_online):
            return DeviceStatus.ONLINE
        return DeviceStatus.OFFLINE if device.activated_ms else DeviceStatus.UNACTIVE

    def attach(
        self,
        link: Link,
        *,
        clean_start: bool,
        kept_s: float,
        keep_alive_s: int,
        now_s: float,
        now_ms: int,
        ip_address: str,
        carrier: Session | None = None,
    ) -> Attachment:
        """Make `link` the device's connection.

        Args:
            clean_start: drop what is kept of an earlier session.
            kept_s: how long this one is kept after its connection ends; at most `QUEUED_AGE_S_MAX` counts.
            keep_alive_s: the HALFCONN window after a break.
            carrier: for a sub-device, the session of its gateway, which is connected.

        The connection it supersedes, if any, is returned for the caller to close; its `detach` changes nothing then.
        """
        session = self._sessions.get(link.key)
        if session is None:
            session = self._sessions[link.key] = Session(link.key)
        session_present = session.is_kept(now_s) and not clean_start
        if not session_present:
            self._clear(session)
        superseded = session.link
        if superseded is None:
            self._live += 1
        else:
            # The devices behind it have to log in again.
            self._detach_carried(session, Ending.SUPERSEDED, now_s, now_ms)
            self._note_status(session, superseded, now_s, now_ms, Ending.SUPERSEDED)
        session.link = link
        session.ip_address = ip_address
        self._carry(session, carrier)
        session.kept_s = min(kept_s, QUEUED_AGE_S_MAX)
        session.keep_alive_s = keep_alive_s
        session.broken_s = None
        session.connections += 1
        self._note_status(session, link, now_s, now_ms)
        self.note_change(session)
        return Attachment(session, session_present, superseded)

    def detach(self, link: Link, ending: Ending, *, now_s: float, now_ms: int) -> bool:
        """Take a connection that ended out of the table. False when a newer one holds its place already."""
        session = self._sessions.get(link.key)
        if session is None or session.link is not link:
            return False
        self._detach_carried(session, ending, now_s, now_ms)
        session.link = None
        self._carry(session, None)
        session.detached_s = now_s
        session.broken_s = now_s if ending is Ending.LOST else None
        self._live -= 1
        if not session.is_persistent:
            self._clear(session)
        if session.is_forgettable(now_s) or ending is Ending.DELETED:
            self._drop(session)
        else:
            self.note_change(session)
        self._note_status(session, link, now_s, now_ms, ending)
        return True

    def tell_left_online(self, origin: Origin, *, since_ms: int, now_ms: int, ip_address: str) -> None:
        """Tell of a device that an earlier process left written down as connected since `since_ms` that it is not."""
        at_ms = self._next_status_ms(origin.key, max(now_ms, since_ms + 1))
        if self._status_observer is not None:
            self._status_observer.status_changed(StatusChange(origin, False, at_ms, since_ms, ip_address, None))

    def _next_status_ms(self, key: DeviceKey, now_ms: int) -> int:
        """The moment of a device's coming or going.

        Consumers order by it, so no two of a device are the same, and it stands still while the machine's clock, which
        was set back, catches up.
        """
        if now_ms > self._latest_status_ms:
            self._status_ms.clear()
        at_ms = max(now_ms, self._latest_status_ms, self._status_ms.get(key, 0) + 1)
        self._status_ms[key] = at_ms
        self._latest_status_ms = max(self._latest_status_ms, at_ms)
        return at_ms

    def _note_status(
        self, session: Session, link: Link, now_s: float, now_ms: int, ending: Ending | None = None
    ) -> None:
        at_ms = self._next_status_ms(session.key, now_ms)
        ip_address = session.ip_address if ending is None else ""
        self._presence.record_presence(PresenceChange(session.key, ending is None, at_ms, ip_address))
        if self._status_observer is not None:
            active_ms = now_ms - round(max(now_s - link.heard_s, 0.0) * 1000)
            self._status_observer.status_changed(
                StatusChange(link.origin, ending is None, at_ms, active_ms, session.ip_address, ending)
            )

    @staticmethod
    def _carry(session: Session, carrier: Session | None) -> None:
        if session.carrier is not None:
            session.carrier.put_down(session)
        session.carrier = carrier
        if carrier is not None:
            carrier.carry(session)

    def _detach_carried(self, carrier: Session, ending: Ending, now_s: float, now_ms: int) -> None:
        """End the connections that travelled on one that ends: lost with it, or else as if each had said goodbye."""
        own = Ending.LOST if ending is Ending.LOST else Ending.DISCONNECTED
        for session in list(carrier.carried.values()):
            if session.link is not None:
                self.detach(session.link, own, now_s=now_s, now_ms=now_ms)

    def restore(
        self,
        key: DeviceKey,
        subscriptions: Mapping[str, int],
        queue: Sequence[QueuedMessage],
        *,
        kept_s: float,
        detached_s: float,
        subscribed_ms: Mapping[str, int],
    ) -> None:
        """Bring back a persistent session that an earlier process kept; its device is away."""
        session = self._sessions[key] = Session(key)
        session.kept_s = kept_s
        session.detached_s = detached_s
        session.restore_subscriptions(subscriptions, subscribed_ms)
        session.queue = deque(queue)
        self._queued_bytes += sum(len(message.payload) for message in queue)

    def reserve(self, session: Session, payload_bytes: int) -> None:
        """Take a place in the queue for a message that goes to the disk first. Raises QueueFull."""
        self._check_room(session, payload_bytes)
        session.reserved += 1
        self._queued_bytes += payload_bytes

    def release(self, session: Session, payload_bytes: int) -> None:
        """Give a place back that was taken by `reserve`."""
        session.reserved -= 1
        self._queued_bytes -= payload_bytes

    def _check_room(self, session: Session, payload_bytes: int) -> None:
        if session.waiting_count >= QUEUED_MESSAGES_MAX or self._queued_bytes + payload_bytes > QUEUED_BYTES_MAX:
            raise QueueFull

    def deliver(self, key: DeviceKey, message: QueuedMessage) -> bool:
        """Let a QoS 1 message reach the device: now, or when it comes back to its persistent session.

        False when the device has neither a connection nor a session that is kept: the message was not taken. Raises
        QueueFull.
        """
        session = self._sessions.get(key)
        if session is None or (session.link is None and not session.is_kept(message.queued_s)):
            return False
        self._check_room(session, len(message.payload))
        if session.queue is None:
            session.queue = deque()
        session.queue.append(message)
        self._queued_bytes += len(message.payload)
        if session.link is not None:
            session.link.pump()
        return True

    def note_sent(self, message: QueuedMessage) -> None:
        """A waiting message was handed to its device's connection."""
        message.was_sent = True
        if self._observer is not None:
            self._observer.message_sent(message)

    def acknowledge(self, session: Session, message: QueuedMessage) -> None:
        """A device acknowledged a message. One that was dropped meanwhile is passed over."""
        if self._take_out(session, message) and self._observer is not None:
            self._observer.message_acknowledged(message)

    def drop_message(self, session: Session, message: QueuedMessage) -> None:
        """Give a waiting message up."""
        if self._take_out(session, message) and self._observer is not None:
            self._observer.message_dropped(message)

    def drop_expired(self, session: Session, now_s: float) -> None:
        """Give up waiting messages older than `QUEUED_AGE_S_MAX`."""
        while session.queue and now_s - session.queue[0].queued_s > QUEUED_AGE_S_MAX:
            self.drop_message(session, session.queue[0])

    def note_change(self, session: Session) -> None:
        """A session is another than before; said by whoever changes its subscriptions or how long it is kept."""
        if self._observer is not None:
            self._observer.session_changed(session)

    def _take_out(self, session: Session, message: QueuedMessage) -> bool:
        if session.queue is None or message not in session.queue:
            return False
        session.queue.remove(message)
        self._queued_bytes -= len(message.payload)
        return True

    def _clear(self, session: Session) -> None:
        session.unsubscribe_all()
        for message in list(session.queue or ()):
            self.drop_message(session, message)
        session.queue = None

    def _drop(self, session: Session) -> None:
        self._clear(session)
        del self._sessions[session.key]
        if self._observer is not None:
            self._observer.session_forgotten(session.key)

    def forget(self, key: DeviceKey) -> Link | None:
        """Drop what is remembered of a device that was deleted; returns a live connection for the caller to close."""
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.link is None:
            self._drop(session)
        return session.link

    def put_away(self, key: DeviceKey) -> None:
        """Leave a session to the store, for another node to go on with it: nobody is told, and nothing is dropped.

        What stays is the HALFCONN window after a break.
        """
        session = self._sessions.get(key)
        if session is None or session.link is not None:
            return
        self._leave(session)
        if session.broken_s is None:
            del self._sessions[key]

    def give_up(self, key: DeviceKey) -> Link | None:
        """Leave the session of a device that another node holds now to that node, and return its connection here.

        When that ends, nothing of the session is written or dropped.
        """
        session = self._sessions.get(key)
        if session is None or session.link is None:
            return None
        self._leave(session)
        return session.link

    def _leave(self, session: Session) -> None:
        has_waiting = session.waiting_count > 0
        self._queued_bytes -= sum(len(message.payload) for message in session.queue or ())
        session.queue = None
        session.unsubscribe_all()
        session.kept_s = 0.0
        if self._observer is not None:
            self._observer.session_put_away(session.key, has_waiting=has_waiting)

    def expire(self, now_s: float) -> None:
        """Forget tombstones, old persistent sessions and old queued messages. Called every few minutes."""
        for session in list(self._sessions.values()):
            self.drop_expired(session, now_s)
            if session.is_forgettable(now_s):
                self._drop(session)

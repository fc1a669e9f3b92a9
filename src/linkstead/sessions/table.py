"""The table of sessions: who is connected here, who just was, and what waits for whom.

A session is keyed by product key and device name, never by the MQTT client id. It holds at most one live connection; a
second one takes its place. What outlives a connection: a tombstone for one keep-alive period after a break without
DISCONNECT (the HALFCONN window), and for a persistent session its subscriptions and waiting QoS 1 messages.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from linkstead.registry import Device, DeviceKey, DeviceStatus, PresenceChange
from linkstead.sessions.link import Ending, Link

SUBSCRIPTIONS_MAX = 100
"""Subscriptions of one device. Source: `device-protocol.md` 2."""

QUEUED_MESSAGES_MAX = 1_000
"""QoS 1 messages waiting for one device; at the bound the new one is refused. Source: `device-protocol.md` 1.6."""

QUEUED_AGE_S_MAX = 7 * 24 * 3600.0
"""How long a QoS 1 message, and a persistent session without a connection, is kept. `device-protocol.md` 2."""


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


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A QoS 1 message waiting to be acknowledged by a device. `queued_s` is monotonic.

    `packet_id` is what it travels under on the present connection, 0 while it was not sent on it; `was_sent` says that
    it was on some connection.
    """

    topic: str
    payload: bytes
    queued_s: float
    packet_id: int = 0
    was_sent: bool = False


class Session:
    """What is known of one device's connections to this node."""

    __slots__ = (
        "broken_s",
        "connections",
        "detached_s",
        "keep_alive_s",
        "kept_s",
        "key",
        "link",
        "queue",
        "subscriptions",
    )

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self.link: Link | None = None
        self.kept_s = 0.0
        self.keep_alive_s = 0
        self.detached_s = 0.0
        self.broken_s: float | None = None
        self.connections = 0
        self.subscriptions: dict[str, int] = {}
        self.queue: deque[QueuedMessage] | None = None

    @property
    def is_persistent(self) -> bool:
        """True when subscriptions and waiting messages outlive the connection."""
        return self.kept_s > 0

    def is_kept(self, now_s: float) -> bool:
        """True while a connection made now would carry the session on."""
        return self.is_persistent and (self.link is not None or now_s - self.detached_s < self.kept_s)

    def is_half_connected(self, now_s: float) -> bool:
        """True within one keep-alive period after a break without DISCONNECT."""
        return self.link is None and self.broken_s is not None and now_s < self.broken_s + self.keep_alive_s

    def is_forgettable(self, now_s: float) -> bool:
        """True when nothing of the session has to be remembered any longer."""
        return self.link is None and not self.is_half_connected(now_s) and not self.is_kept(now_s)

    def enqueue(self, message: QueuedMessage) -> None:
        """Let a QoS 1 message wait for the device. Raises QueueFull."""
        if self.queue is None:
            self.queue = deque()
        if len(self.queue) >= QUEUED_MESSAGES_MAX:
            raise QueueFull
        self.queue.append(message)

    def drop_expired(self, now_s: float) -> int:
        """Forget waiting messages older than `QUEUED_AGE_S_MAX`; returns how many."""
        dropped = 0
        while self.queue and now_s - self.queue[0].queued_s > QUEUED_AGE_S_MAX:
            self.queue.popleft()
            dropped += 1
        return dropped


@dataclass(frozen=True, slots=True)
class Attachment:
    """What an attach did: whether an earlier session is carried on, and the connection that has to go."""

    session: Session
    session_present: bool
    superseded: Link | None


class SessionTable:
    """All sessions of this node.

    Args:
        presence: told every change between online and offline.
    """

    def __init__(self, presence: PresenceSink) -> None:
        self._sessions: dict[DeviceKey, Session] = {}
        self._presence = presence
        self._live = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def live_count(self) -> int:
        """How many devices are connected."""
        return self._live

    def find(self, key: DeviceKey) -> Session | None:
        """The session of a device, connected or not."""
        return self._sessions.get(key)

    def link(self, key: DeviceKey) -> Link | None:
        """The live connection of a device."""
        session = self._sessions.get(key)
        return session.link if session is not None else None

    def reach(self, key: DeviceKey, now_s: float) -> Reach:
        """How the device can be reached now. Source: `device-protocol.md` 9.3."""
        session = self._sessions.get(key)
        if session is None:
            return Reach.NONE
        if session.link is not None:
            return Reach.LIVE
        return Reach.HALF if session.is_half_connected(now_s) else Reach.NONE

    def status(self, device: Device) -> DeviceStatus:
        """The device's status in the vendor's words. Source: `device-protocol.md` 9.1."""
        if not device.enabled:
            return DeviceStatus.DISABLE
        if self.link(device.key) is not None:
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
    ) -> Attachment:
        """Make `link` the device's connection.

        Args:
            clean_start: drop what is kept of an earlier session.
            kept_s: how long this one is kept after its connection ends; at most `QUEUED_AGE_S_MAX` counts.
            keep_alive_s: the HALFCONN window after a break.

        The connection it supersedes, if any, is returned for the caller to close; its `detach` changes nothing then.
        """
        session = self._sessions.get(link.key)
        if session is None:
            session = self._sessions[link.key] = Session(link.key)
        session_present = session.is_kept(now_s) and not clean_start
        if not session_present:
            session.subscriptions.clear()
            session.queue = None
        superseded = session.link
        if superseded is None:
            self._live += 1
        else:
            self._presence.record_presence(PresenceChange(link.key, False, now_ms))
        session.link = link
        session.kept_s = min(kept_s, QUEUED_AGE_S_MAX)
        session.keep_alive_s = keep_alive_s
        session.broken_s = None
        session.connections += 1
        self._presence.record_presence(PresenceChange(link.key, True, now_ms, ip_address))
        return Attachment(session, session_present, superseded)

    def detach(self, link: Link, ending: Ending, *, now_s: float, now_ms: int) -> bool:
        """Take a connection that ended out of the table. False when a newer one holds its place already."""
        session = self._sessions.get(link.key)
        if session is None or session.link is not link:
            return False
        session.link = None
        session.detached_s = now_s
        session.broken_s = now_s if ending is Ending.LOST else None
        self._live -= 1
        if not session.is_persistent:
            session.subscriptions.clear()
            session.queue = None
        if session.is_forgettable(now_s) or ending is Ending.DELETED:
            del self._sessions[link.key]
        self._presence.record_presence(PresenceChange(link.key, False, now_ms))
        return True

    def deliver(self, key: DeviceKey, message: QueuedMessage) -> bool:
        """Let a QoS 1 message reach the device: now, or when it comes back to its persistent session.

        False when the device has neither a connection nor a session that is kept: the message was not taken. Raises
        QueueFull.
        """
        session = self._sessions.get(key)
        if session is None or (session.link is None and not session.is_kept(message.queued_s)):
            return False
        session.enqueue(message)
        if session.link is not None:
            session.link.pump()
        return True

    def forget(self, key: DeviceKey) -> Link | None:
        """Drop what is remembered of a device that was deleted; returns a live connection for the caller to close."""
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.link is None:
            del self._sessions[key]
        return session.link

    def expire(self, now_s: float) -> None:
        """Forget tombstones, old persistent sessions and old queued messages. Called every few minutes."""
        for session in list(self._sessions.values()):
            session.drop_expired(now_s)
            if session.is_forgettable(now_s):
                del self._sessions[session.key]

"""The port for what of a session outlives the process: who is away and kept, and which messages wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from linkstead.registry import DeviceKey


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A persistent session. `kept_until_ms` is 0 while its device is connected, else when it may be forgotten.

    `holder_epoch` is that of the connection by which a node knows of it, as in `PresenceChange`; 0 where there is one
    node, and in what was read.
    """

    key: DeviceKey
    kept_s: float
    kept_until_ms: int
    subscriptions: Mapping[str, int]
    waiting: int = 0
    subscribed_ms: Mapping[str, int] = field(default_factory=dict)
    holder_epoch: int = 0


@dataclass(frozen=True, slots=True)
class SavedMessage:
    """A QoS 1 message accepted for a device. `row_id` orders the messages of a device; 0 before it is kept.

    `call_id` is the request id of the call it belongs to, empty when there is none.
    """

    key: DeviceKey
    topic: str
    payload: bytes
    accepted_ms: int
    call_id: str = ""
    row_id: int = 0


class SessionStore(Protocol):
    """Durable storage of sessions."""

    async def list_sessions(self) -> list[SavedSession]:
        """Every session that is kept, with the number of messages that wait for it."""

    async def find_session(self, key: DeviceKey) -> SavedSession | None:
        """The session of a device, likewise; None where none is kept."""

    async def expired_sessions(self, now_ms: int, limit: int) -> list[SavedSession]:
        """Sessions that were kept until `now_ms` at most, at most `limit`; likewise."""

    def record_session(self, session: SavedSession) -> None:
        """Take the present state of a session; written in a batch a moment later.

        Passed over where a later connection of its device is written by then: its node knows better.
        """

    def drop_session(self, key: DeviceKey, holder_epoch: int = 0) -> None:
        """Forget a session, in a batch a moment later, or pass over it likewise.

        Its messages stay until each is dropped.
        """

    async def list_messages(self, key: DeviceKey) -> list[SavedMessage]:
        """What waits for a device, in the order it was accepted."""

    async def find_awaited(self, keys: Sequence[DeviceKey]) -> list[DeviceKey]:
        """Those of these devices for which something waits. `keys`: no more than go into one statement, say 500."""

    async def expired_messages(self, now_ms: int, limit: int) -> list[SavedMessage]:
        """Messages accepted more than seven days ago, the oldest first, at most `limit`."""

    async def add_messages(self, messages: Sequence[SavedMessage]) -> list[int]:
        """Keep messages; on the disk when this returns. Returns their row ids."""

    def drop_message(self, row_id: int) -> None:
        """Forget a message that was acknowledged or has expired; written in a batch a moment later."""

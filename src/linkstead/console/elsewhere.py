"""What the other nodes see of what an open page shows: asked of them, and answered to them."""

from collections import deque
from types import TracebackType
from typing import Generic, TypeVar

import msgspec

from linkstead.console.desk import Desk
from linkstead.console.listing import (
    OVERLAP_S,
    TICKS_PER_S,
    Feed,
    Sight,
    count_before,
    draw_rows,
    find_sight,
    read_wish,
)
from linkstead.console.pulse import Second, count_seconds, look_back
from linkstead.console.texts import Language, Words
from linkstead.invocation import CallJournal
from linkstead.registry import DeviceKey
from linkstead.sessions import SessionTable, TappedMessage

WAITING_BYTES_MAX = 1 << 20
"""What other nodes told and one page was not sent yet; beyond it the oldest is forgotten."""

SeenSeconds = list[Second]


class SeenRows(msgspec.Struct, array_like=True, frozen=True):
    """Of each row when its call came in, whether the page has none of it yet, and the row; how many calls there were
    besides."""

    rows: list[tuple[int, bool, str]]
    dropped: int


class SeenMessages(msgspec.Struct, array_like=True, frozen=True):
    """The messages that passed, and how many there were besides."""

    messages: list[TappedMessage]
    dropped: int


class CallsAsked(msgspec.Struct, tag="calls", array_like=True, frozen=True):
    """The list of calls with a filter: its fields as a form has them."""

    language: Language
    account_id: str
    user_name: str
    fields: dict[str, str]


class MessagesAsked(msgspec.Struct, tag="messages", array_like=True, frozen=True):
    """The messages of a device."""

    product_key: str
    device_name: str


class PulseAsked(msgspec.Struct, tag="pulse", array_like=True, frozen=True):
    """The charts. `has_past`: they begin with what was before."""

    account_id: str
    user_name: str
    has_past: bool


Asked = CallsAsked | MessagesAsked | PulseAsked
Told = TypeVar("Told")

_read_asked = msgspec.msgpack.Decoder(Asked).decode
_encode = msgspec.msgpack.Encoder().encode


class Elsewhere(Generic[Told]):
    """What other nodes tell, while this is entered. Without other nodes there is nothing.

    Args:
        asked: what they are asked for.
        kind: what they answer.
    """

    def __init__(self, desk: Desk, asked: Asked, kind: type[Told]) -> None:
        self._others = desk.others
        self._asked = asked
        self._read = msgspec.msgpack.Decoder(kind).decode
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._number = 0

    def __enter__(self) -> "Elsewhere[Told]":
        if self._others is not None:
            self._number = self._others.look(_encode(self._asked), self._add)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._others is not None:
            self._others.look_away(self._number)

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        while self._waiting_bytes > WAITING_BYTES_MAX:
            self._waiting_bytes -= len(self._waiting.popleft())

    def take(self) -> list[Told]:
        """What was told since this was asked last."""
        told = [self._read(data) for data in self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        return told


# --- the other way round ---


class CallsView:
    """The list of calls, for a page of another node."""

    def __init__(self, desk: Desk, asked: CallsAsked, sight: Sight) -> None:
        since = count_before(desk.journal, desk.clock.time_s() - OVERLAP_S)
        self._desk = desk
        self._words = Words(asked.language)
        self._feed = Feed(desk.journal, read_wish(asked.account_id, asked.fields), sight, since)

    def take(self) -> bytes:
        """What is new."""
        changed, fresh, dropped = self._feed.take()
        if not changed and not fresh:
            return b""
        rows = draw_rows(self._desk, self._words, changed + fresh)
        seen = [
            (call.received_ms, place >= len(changed), row)
            for place, (call, row) in enumerate(zip(changed + fresh, rows, strict=True))
        ]
        return _encode(SeenRows(seen, dropped))

    def close(self) -> None:
        """Nothing is held."""


class MessagesView:
    """The messages of a device, likewise."""

    def __init__(self, sessions: SessionTable, key: DeviceKey) -> None:
        self._sessions = sessions
        self._tap = sessions.tap(key)

    def take(self) -> bytes:
        """What is new."""
        messages, dropped = self._tap.take()
        return _encode(SeenMessages(messages, dropped)) if messages else b""

    def close(self) -> None:
        """Look no longer."""
        self._sessions.untap(self._tap)


class PulseView:
    """The charts, likewise."""

    def __init__(self, journal: CallJournal, account_id: str, sight: Sight, since: int, past: SeenSeconds) -> None:
        self._journal = journal
        self._account_id = account_id
        self._sight = sight
        self._since = since
        self._past = past
        self._ticks = 0

    def take(self) -> bytes:
        """What is new."""
        self._ticks += 1
        if self._ticks % TICKS_PER_S:
            return b""
        journal, past = self._journal, self._past
        seconds = count_seconds(journal.latest(journal.closed_count - self._since), self._account_id, self._sight)
        self._since, self._past = journal.closed_count, []
        return _encode(past + seconds) if past or seconds else b""

    def close(self) -> None:
        """Nothing is held."""


async def open_view(desk: Desk, data: bytes, is_first: bool) -> CallsView | MessagesView | PulseView:
    """What another node asks for, to be taken from again and again.

    Args:
        is_first: it was not asked before.

    Raises:
        ValueError: it is of another version.
    """
    asked = _read_asked(data)
    if isinstance(asked, MessagesAsked):
        return MessagesView(desk.sessions, DeviceKey(asked.product_key, asked.device_name))
    sight = await find_sight(desk, asked.account_id, asked.user_name)
    if isinstance(asked, CallsAsked):
        return CallsView(desk, asked, sight)
    since = desk.journal.closed_count
    is_asked = asked.has_past and is_first
    past = await look_back(desk.journal, asked.account_id, sight, desk.clock.time_s()) if is_asked else []
    return PulseView(desk.journal, asked.account_id, sight, since, past)

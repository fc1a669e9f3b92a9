"""Reads what a NATS server says: messages for their handlers, and lines for nats-py.

It takes the place of the parser of nats-py, whose way of a message is several times as long.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

from nats.errors import ProtocolError

from linkstead.cluster.bus import Handler

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 65_536
"""What a server may say without the end of a line; it says a few hundred bytes of itself."""

NO_RESPONDERS = b"NATS/1.0 503"
"""How the headers begin when nobody listens. Source: NATS ADR-4."""


class Listening:
    """Takes the place of a subscription of nats-py, which has a queue and much more.

    The names are those that nats-py asks for when it subscribes anew or closes. Nothing waits, and no number of
    messages ends it.
    """

    __slots__ = ("_queue", "_subject", "handler")

    _max_msgs = 0
    _wait_for_msgs_task = None
    _message_iterator = None
    _pending_next_msgs_calls = None

    def __init__(self, subject: str, group: str, handler: Handler) -> None:
        self._subject = subject
        self._queue = group
        self.handler = handler


class LineParser(Protocol):
    """Takes every line that is no message; the parser of nats-py does."""

    def reset(self) -> None:
        """Begin anew."""

    async def parse(self, data: bytes) -> None:
        """Take a line with its end."""


class MessageParser:
    """Hands messages on as they are read.

    Args:
        subscriptions: by number.
        lines: takes all else.
    """

    def __init__(self, subscriptions: Mapping[int, Listening], lines: LineParser) -> None:
        self._subscriptions = subscriptions
        self._lines = lines
        self._rest = b""
        self._needed = 0

    def reset(self) -> None:
        """Begin anew, for there is another connection."""
        self._rest, self._needed = b"", 0
        self._lines.reset()

    async def parse(self, data: bytes) -> None:
        """Take what was read. Raises nats.errors.ProtocolError."""
        self._rest = self._rest + data if self._rest else data
        while len(self._rest) >= self._needed and (line := self._take_messages()):
            await self._lines.parse(line)

    def _take_messages(self) -> bytes:
        """Hand on the messages before the next line that is none; gives that line, nothing where there is none yet."""
        data, start, self._needed = self._rest, 0, 0
        try:
            while (end := data.find(b"\r\n", start)) >= 0:
                ends, has_headers = end + 2, data.startswith(b"HMSG ", start)
                if not has_headers and not data.startswith(b"MSG ", start):
                    line, start = data[start:ends], ends
                    return line
                # MSG subject number [reply] size, HMSG subject number [reply] headers-size size
                words = data[start:end].decode().split(" ")
                stops = ends + int(words[-1])
                if len(data) < stops + 2:
                    self._needed = stops + 2 - start
                    return b""
                start = stops + 2
                payload, is_nobody = ends, False
                if has_headers:
                    payload += int(words.pop(-2))
                    is_nobody = payload == stops and data.startswith(NO_RESPONDERS, ends)
                reply = words[3] if len(words) == 5 else ""
                self._hand_on(int(words[2]), words[1], reply, data[payload:stops], is_nobody)
        except (ValueError, IndexError):
            raise ProtocolError from None
        finally:
            self._rest = data[start:]
        if len(self._rest) > LINE_BYTES_MAX:
            raise ProtocolError
        return b""

    def _hand_on(self, number: int, subject: str, reply: str, payload: bytes, is_nobody: bool) -> None:
        listening = self._subscriptions.get(number)
        if listening is None:
            return
        try:
            listening.handler(subject, reply, payload, is_nobody)
        except Exception:
            # The edge of the core: what one message does wrong must not cost all that come after it.
            log.exception("a message of another node could not be handled", extra={"subject": subject})

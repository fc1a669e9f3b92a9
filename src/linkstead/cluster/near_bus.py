"""The bus of a worker: what is said of calls goes straight to the other workers of the machine, all else over NATS.

Each worker listens on a Unix socket in a folder of theirs, and connects to those of lower numbers. What is said within
one turn of the event loop leaves as one frame: four bytes of length, and letters in MessagePack.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from linkstead.clock import Clock
from linkstead.cluster.bus import HANDED_BYTES_MAX, Bus, Handler
from linkstead.cluster.frames import Near, NotTaken, Question, Said

log = logging.getLogger(__name__)

WAITING_BYTES_MAX = 16 * 1024 * 1024
"""Bytes that wait for a worker which does not read; past it what is said to it goes over NATS."""

FRAME_BYTES_MAX = 2 * WAITING_BYTES_MAX
"""What one frame may say of its length: letters that wait, with what each has around it."""

LETTER_BYTES = 1_024
"""What a letter counts beside its payload: subjects, names, topics, moments."""

LENGTH_BYTES = 4

LOOK_S = 0.2
"""How often it is looked whether a worker that there is no road to is there (again)."""

PATH_BYTES_MAX = 107
"""Of a socket's name. Source: unix(7), sun_path."""


class NearPlace(NamedTuple):
    """Where a worker's socket is: a folder that none but this user may look into, and the worker's number, from 1."""

    folder: str
    number: int

    def path(self, number: int) -> str:
        """The socket of a worker."""
        return f"{self.folder}/{number}"

    @property
    def fits(self) -> bool:
        """Whether the sockets' names are short enough."""
        return len(self.path(self.number).encode()) <= PATH_BYTES_MAX


_Letter = Said | Near


class _Hello(msgspec.Struct, array_like=True):
    """The first frame each way."""

    node: str
    version: str


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Letter]).decode
_decode_hello: Final = msgspec.msgpack.Decoder(_Hello).decode


class Road(asyncio.Protocol):
    """A connection between two workers.

    Args:
        hello: the first frame that is said.
        opened: called with the first frame that is heard.
        take: called with the letters of each frame that comes afterwards.
        closed: called at the end.
    """

    def __init__(
        self,
        hello: _Hello,
        opened: Callable[["Road", _Hello], None],
        take: Callable[["Road", list[_Letter]], None],
        closed: Callable[["Road"], None],
    ) -> None:
        self._hello = hello
        self._opened = opened
        self._take = take
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._letters: list[_Letter] = []
        self._waiting_bytes = 0
        self._chunks: list[bytes] = []
        self._had_bytes = 0
        self._needed_bytes = LENGTH_BYTES
        self.node = ""
        """Of the worker at the other end, once it has said so."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._write(_encode(self._hello))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._closed(self)

    def close(self) -> None:
        """Let what was said leave, and end."""
        if self._letters:
            self._write_letters()
        if self._transport is not None:
            self._transport.close()

    def say(self, letter: _Letter, payload_bytes: int) -> bool:
        """Say something. False when too much waits to be read, or the road has ended: it was not said."""
        transport = self._transport
        if transport is None:
            return False
        letters = self._letters
        waiting_bytes = self._waiting_bytes if letters else transport.get_write_buffer_size()
        waiting_bytes += LETTER_BYTES + payload_bytes
        if waiting_bytes > WAITING_BYTES_MAX:
            return False
        self._waiting_bytes = waiting_bytes
        if not letters:
            self._loop.call_soon(self._write_letters)
        letters.append(letter)
        return True

    def _write_letters(self) -> None:
        letters, self._letters = self._letters, []
        if letters and self._transport is not None:
            self._write(_encode(letters))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(len(data).to_bytes(LENGTH_BYTES, "little") + data)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._had_bytes:
            self._chunks.append(data)
            self._had_bytes += len(data)
            if self._had_bytes < self._needed_bytes:
                return
            data, self._chunks = b"".join(self._chunks), []
        start, had_bytes = 0, len(data)
        while had_bytes - start >= LENGTH_BYTES:
            begins = start + LENGTH_BYTES
            ends = begins + int.from_bytes(data[start:begins], "little")
            if ends - begins > FRAME_BYTES_MAX:
                self._give_up(f"a frame of {ends - begins} bytes")
                return
            if ends > had_bytes:
                self._needed_bytes = ends - start
                break
            try:
                self._take_frame(data[begins:ends])
            except msgspec.MsgspecError as error:
                self._give_up(str(error))
                return
            start = ends
        else:
            self._needed_bytes = LENGTH_BYTES
        self._had_bytes = had_bytes - start
        if self._had_bytes:
            self._chunks = [data[start:]]

    def _give_up(self, why: str) -> None:
        log.error("another worker was not understood, and is spoken to over NATS: %s", why)
        if self._transport is not None:
            self._transport.abort()

    def _take_frame(self, frame: bytes) -> None:
        if not self.node:
            hello = _decode_hello(frame)
            self.node = hello.node
            self._opened(self, hello)
            return
        self._take(self, _decode(frame))


class NearBus:
    """Implements `Bus` for a worker.

    Args:
        bus: the way to all other nodes.
        place: where this worker's socket is to be.
        node: its name.
        version: only workers of the same one speak without NATS, whose frames those of others understand.
        lost: called with the name of a node that has ended, or that cannot be told what became of its calls.
        clock: tells when to look for other workers again.
    """

    def __init__(
        self, bus: Bus, place: NearPlace, *, node: str, version: str, lost: Callable[[str], None], clock: Clock
    ) -> None:
        self._bus = bus
        self._place = place
        self._clock = clock
        self._hello = _Hello(node, version)
        self._lost = lost
        self._handlers: dict[str, Handler] = {}
        self._takers: dict[type, Callable[[Any], None]] = {Said: self._take_said}
        self._subjects: dict[int, str] = {}
        self._roads: dict[str, Road] = {}
        self._all: set[Road] = set()
        self._lower: dict[int, Road] = {}
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._said_count = 0

    @property
    def is_connected(self) -> bool:
        """See `Bus.is_connected`."""
        return self._bus.is_connected

    @property
    def said_count(self) -> int:
        """See `Bus.said_count`."""
        return self._bus.said_count + self._said_count

    @property
    def payload_bytes_max(self) -> int:
        """See `Bus.payload_bytes_max`."""
        return self._bus.payload_bytes_max

    async def connect(self) -> None:
        """Connect to NATS, and begin to listen. Raises BusRefused."""
        await self._bus.connect()
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(
                self._make_road, sock=_bind(self._place.path(self._place.number))
            )
        except OSError as error:
            log.warning("calls from other workers come over NATS: there is no socket for them: %s", error)
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """See `Bus.close`."""
        if self._looking is not None:
            self._looking.cancel()
        if self._server is not None:
            self._server.close()
            _unlink(self._place.path(self._place.number))
        self._roads.clear()
        for road in list(self._all):
            road.close()
        await self._bus.close()

    async def flush(self) -> bool:
        """See `Bus.flush`."""
        return await self._bus.flush()

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        """See `Bus.subscribe`."""
        number = self._bus.subscribe(subject, handler, group)
        if not group:
            # What one of a group is to take is not for any one node.
            self._handlers[subject] = handler
            self._subjects[number] = subject
        return number

    def unsubscribe(self, number: int) -> None:
        """See `Bus.unsubscribe`."""
        self._bus.unsubscribe(number)
        subject = self._subjects.pop(number, None)
        if subject is not None:
            del self._handlers[subject]

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.publish`."""
        self._bus.publish(subject, payload, reply)

    def count(self, subject: str, amount: int, reply: str) -> None:
        """See `Bus.count`."""
        self._bus.count(subject, amount, reply)

    def is_near(self, node: str) -> bool:
        """See `Bus.is_near`. While NATS is away nobody is: who holds a device may not have been heard."""
        return node in self._roads and self._bus.is_connected

    def rush(self, node: str, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.rush`."""
        road = self._roads.get(node)
        said = Said(self._hello.node, subject, reply, payload)
        if road is not None and road.say(said, len(payload)):
            self._said_count += 1
        else:
            self._bus.publish(subject, payload, reply)

    def hand(self, node: str, frame: Near, payload_bytes: int) -> bool:
        """See `Bus.hand`."""
        road = self._roads.get(node)
        if road is None or payload_bytes > HANDED_BYTES_MAX or not road.say(frame, payload_bytes):
            return False
        self._said_count += 1
        return True

    def attend(self, kind: type[Any], handler: Callable[[Any], None]) -> None:
        """See `Bus.attend`."""
        self._takers[kind] = handler

    def herald(self, subject: str, payload: bytes) -> None:
        """See `Bus.herald`."""
        said = Said(self._hello.node, subject, "", payload)
        for road in self._roads.values():
            road.say(said, len(payload))
        self._bus.publish(subject, payload)

    # roads

    def _make_road(self) -> Road:
        road = Road(self._hello, self._open, self._take, self._close)
        self._all.add(road)
        return road

    async def _look(self) -> None:
        """Connect to the workers of lower numbers, again whenever one was started anew."""
        loop = asyncio.get_running_loop()
        while True:
            for number in range(1, self._place.number):
                if self._lower.get(number) not in self._all:
                    with contextlib.suppress(OSError):
                        _, self._lower[number] = await loop.create_unix_connection(
                            self._make_road, self._place.path(number)
                        )
            await self._clock.sleep(LOOK_S)

    def _open(self, road: Road, hello: _Hello) -> None:
        if hello.version != self._hello.version:
            # It was started anew after the program was replaced.
            log.warning(
                "a worker is of another version and is spoken to over NATS",
                extra={"node": hello.node, "version": hello.version},
            )
            return
        self._roads[hello.node] = road

    def _close(self, road: Road) -> None:
        self._all.discard(road)
        if self._roads.get(road.node) is road:
            del self._roads[road.node]
            self._lost(road.node)

    def _take(self, road: Road, letters: list[_Letter]) -> None:
        # A node that NATS does not reach may hold what another has taken over.
        is_connected, takers = self._bus.is_connected, self._takers
        for letter in letters:
            if not is_connected and self._refuse(road, letter):
                continue
            try:
                takers[type(letter)](letter)
            except Exception:
                # The edge of the core: what one letter does wrong must not cost all that come after it.
                log.exception("a message of another worker could not be handled", extra={"kind": type(letter).__name__})

    def _refuse(self, road: Road, letter: _Letter) -> bool:
        """Say that a question is not looked at. False where a letter is none."""
        if isinstance(letter, Question):
            road.say(NotTaken(self._hello.node, letter.message_id), 0)
            return True
        return isinstance(letter, Said) and self._say_nobody(letter)

    def _say_nobody(self, said: Said) -> bool:
        """Say that nobody listens where that is asked for."""
        if not said.reply:
            return False
        road = self._roads.get(said.node)
        if road is not None:
            road.say(Said(self._hello.node, said.reply, "", None), 0)
        return True

    def _take_said(self, said: Said) -> None:
        handler = self._find(said.subject)
        if handler is None:
            self._say_nobody(said)
        else:
            handler(said.subject, said.reply, said.payload or b"", said.payload is None)

    def _find(self, subject: str) -> Handler | None:
        """Who takes what is said on a subject: it is named as it is, or by what its last words may be."""
        handlers = self._handlers
        if (handler := handlers.get(subject)) is not None:
            return handler
        start = subject.rpartition(".")[0]
        if (handler := handlers.get(f"{start}.*")) is not None:
            return handler
        while start:
            if (handler := handlers.get(f"{start}.>")) is not None:
                return handler
            start = start.rpartition(".")[0]
        return None


def _bind(path: str) -> socket.socket:
    """A socket at a path, for this user alone. Raises OSError."""
    _unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        Path(path).chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


def _unlink(path: str) -> None:
    """Remove a socket's name, of a worker that was killed maybe."""
    Path(path).unlink(missing_ok=True)

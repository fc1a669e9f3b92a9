"""A consumer made of the codec, that says what the test has it say."""

import asyncio
from typing import Any

from linkstead.amqp.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    Attach,
    Begin,
    Disposition,
    Flow,
    Open,
    RawFrame,
    SaslInit,
    Source,
    Splitter,
    Target,
    Transfer,
    decode_frame,
    encode_frame,
)

WINDOW = 2_048
OPEN = Open(container_id="peer", idle_time_out=60_000)
BEGIN = Begin(next_outgoing_id=0, incoming_window=WINDOW, outgoing_window=WINDOW)


def plain(user_name: str, password: str, acting_as: str = "") -> SaslInit:
    """A login."""
    return SaslInit(mechanism="PLAIN", initial_response=f"{acting_as}\0{user_name}\0{password}".encode())


def attach(handle: int = 0, **fields: Any) -> Attach:
    """A receiver link."""
    return Attach(**{"name": "link", "handle": handle, "role": True, "source": Source(), "target": Target(), **fields})


def flow(credit: int, *, seen: int = 0, handle: int | None = 0, transfers: int = 0, **fields: Any) -> Flow:
    """Credit, by a consumer that saw so many messages in so many transfers."""
    common = {"next_incoming_id": transfers or seen, "incoming_window": WINDOW, "next_outgoing_id": 0}
    link = {"handle": handle, "delivery_count": seen, "link_credit": credit}
    return Flow(**{**common, "outgoing_window": WINDOW, **link, **fields})


def settle(first: int, last: int | None = None, state: Any = None, **fields: Any) -> Disposition:
    """What became of deliveries."""
    return Disposition(**{"role": True, "first": first, "last": last, "settled": True, "state": state, **fields})


class Reader:
    """Cuts what the server writes into headers and frames."""

    def __init__(self) -> None:
        self.splitter = Splitter(1_048_576)
        self.raw: list[RawFrame] = []

    def read(self, data: bytes = b"") -> list[Any]:
        """Headers as bytes, performatives, None for heartbeats, and for each Transfer a pair with its payload."""
        self.splitter.feed(data)
        found: list[Any] = []
        while self.splitter.pending_bytes >= 8:
            head = bytes(self.splitter._buffer[self.splitter._pos :][:8])
            if head in (SASL_HEADER, AMQP_HEADER):
                found.append(self.splitter.take_header())
                continue
            frame = self.splitter.take_frame()
            if frame is None:
                break
            self.raw.append(frame)
            performative, payload = decode_frame(frame)
            found.append((performative, payload) if isinstance(performative, Transfer) else performative)
        return found


class Peer:
    """A consumer on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames = Reader()
        self._found: list[Any] = []

    @classmethod
    async def connect(cls, port: int) -> "Peer":
        """Connect to an endpoint of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, *said: Any, channel: int = 0) -> None:
        """Write headers, bytes or performatives."""
        for each in said:
            self.writer.write(each if isinstance(each, bytes) else encode_frame(each, channel))

    async def next(self) -> Any:
        """The next thing that came, see `Reader.read`.

        Raises:
            EOFError: the server closed the connection.
        """
        async with asyncio.timeout(20):
            while not self._found:
                data = await self.reader.read(65_536)
                if not data:
                    raise EOFError
                self._found += self._frames.read(data)
        return self._found.pop(0)

    async def expect(self, kind: type) -> Any:
        """The next thing of this kind; others are passed over."""
        while not isinstance(found := await self.next(), kind):
            pass
        return found

    async def log_in(self, user_name: str, password: str) -> None:
        """Log in and open."""
        self.send(SASL_HEADER, plain(user_name, password))
        self.send(AMQP_HEADER, OPEN)
        await self.expect(Open)

    async def receive(self) -> tuple[Transfer, bytes]:
        """The next message, whole."""
        while not isinstance(found := await self.next(), tuple):
            pass
        transfer, message = found
        more = transfer.more
        while more:
            part, payload = await self.next()
            message, more = message + payload, part.more
        return transfer, message

    async def expect_end(self) -> None:
        """Wait until the server has closed the connection."""
        while True:
            try:
                await self.next()
            except EOFError:
                return

    async def close(self) -> None:
        """Leave without a word."""
        self.writer.close()
        await self.writer.wait_closed()

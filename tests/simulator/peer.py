"""The server's side of a simulated device's connection, for a test to play."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from linkstead.config import Address
from linkstead.mqtt.packets import MQTT_3_1_1, ConnAck, Connect, Packet, PubAck, Publish, Splitter, decode, encode
from tests.wire import READ_BYTES_MAX, WAIT_S, PacketKind


class Peer:
    """One connection that a device has made."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._splitter = Splitter()
        self._received: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        self.writer.write(b"".join(encode(packet, MQTT_3_1_1) for packet in packets))

    async def expect(self, kind: type[PacketKind]) -> PacketKind:
        """The next packet, which has to be of this kind."""
        async with asyncio.timeout(WAIT_S):
            while not self._received:
                data = await self.reader.read(READ_BYTES_MAX)
                assert data, "the device closed the connection"
                self._received += [decode(frame, MQTT_3_1_1) for frame in self._splitter.feed(data)]
        packet = self._received.pop(0)
        assert isinstance(packet, kind), packet
        return packet

    async def expect_post(self) -> Publish:
        """The next packet, which has to be a publish; it is acknowledged."""
        publish = await self.expect(Publish)
        if publish.qos:
            self.send(PubAck(publish.packet_id))
        return publish

    async def expect_closed(self) -> None:
        """Nothing more comes but the end."""
        assert not self._received, self._received
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() == b""


class PeerServer:
    """Takes connections; they wait to be played."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._taken: list[Peer] = []
        self.address = Address("", 0)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> "AsyncIterator[PeerServer]":
        made = cls()
        server = await asyncio.start_server(made._take, "127.0.0.1", 0)
        made.address = Address(*server.sockets[0].getsockname()[:2])
        try:
            yield made
        finally:
            server.close()
            for peer in made._taken:
                peer.writer.transport.abort()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._taken.append(peer)
        self._peers.put_nowait(peer)

    @property
    def waiting_count(self) -> int:
        """Connections that no test has taken yet."""
        return self._peers.qsize()

    async def next(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(WAIT_S):
            return await self._peers.get()

    async def accepted(self) -> tuple[Peer, Connect]:
        """The next connection, its CONNECT accepted."""
        peer = await self.next()
        connect = await peer.expect(Connect)
        peer.send(ConnAck())
        return peer, connect

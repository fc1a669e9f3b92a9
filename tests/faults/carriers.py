"""Devices over each of the ways that MQTT comes in."""

import asyncio
import contextlib
import ssl
from typing import Any

from linkstead.mqtt.packets import decode
from tests.mqtt.test_websocket import frame, handshake
from tests.wire import WAIT_S, DeviceClient

BINARY_MESSAGE = 0x82
"""The first byte of each frame that the server sends: one frame a message."""

CLOSE_FRAME = b"\x88\x02\x03\xe8"
"""With it a server ends a WebSocket in good order. Source: RFC 6455 sections 5.5.1 and 7.4.1."""


class WebSocketDevice(DeviceClient):
    """A device whose MQTT is inside a WebSocket, each time that it sends in a frame of its own."""

    trust: ssl.SSLContext | None = None

    async def open(self, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        """Open the connection, and shake hands."""
        await super().open(tls or self.trust, **options)
        self.writer.write(handshake())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send_bytes(self, data: bytes) -> None:
        """Send bytes of MQTT."""
        self.writer.write(frame(data))

    async def receive(self) -> Any:
        """The next packet."""
        async with asyncio.timeout(WAIT_S):
            while not self._received:
                payload = await self.receive_frame()
                self._received += [decode(each, self.level) for each in self._splitter.feed(payload)]
        return self._received.pop(0)

    async def expect_closed(self) -> None:
        """The server closes the connection, and sends nothing more but that."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() in (b"", CLOSE_FRAME)
        await self.close()

    async def receive_frame(self) -> bytes:
        """What the next frame brings, which has to be a message of bytes."""
        head, size = await self.reader.readexactly(2)
        assert head == BINARY_MESSAGE
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return await self.reader.readexactly(size)

"""A connection in memory: what the server writes reaches the device a moment later, and the other way round."""

import asyncio
from typing import Any, Protocol

from linkstead.clock import Clock
from linkstead.mqtt.gateway import DeviceConnection
from linkstead.mqtt.packets import Publish, Splitter, decode

LEVEL = 4


class Watcher(Protocol):
    """Told what left the server in full."""

    def note_handed(self, publish: Publish) -> None:
        """A PUBLISH was handed to the network to its last byte."""


class Receiver(Protocol):
    """The device's end."""

    def receive(self, wire: "Wire", data: bytes) -> None:
        """Take bytes."""

    def lose(self, wire: "Wire") -> None:
        """The server has closed."""


class Wire(asyncio.Transport):
    """The server's end of one connection, and the network up to the device.

    Args:
        clock: delays; of the server's process, so that nothing comes out of one that was killed.
        delay_s: one way.

    `accepted_s`: when the device was told that it is connected.
    """

    def __init__(
        self, connection: DeviceConnection, receiver: Receiver, watcher: Watcher, clock: Clock, delay_s: float
    ) -> None:
        super().__init__()
        self._connection = connection
        self._receiver = receiver
        self._watcher = watcher
        self.clock = clock
        self._delay_s = delay_s
        self.accepted_s: float | None = None
        self._splitter = Splitter()
        self._buffer = b""
        self._arrived: list[bytes] = []
        self._is_paused = False
        self._is_reading = True
        self._is_closing = False
        self._is_lost = False
        self._is_stalled = False
        self._is_half_open = False
        connection.connection_made(self)

    # what the server does with it

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 40_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert not high, "the server counts on a buffer that is empty when it is told to write on"

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        arrived, self._arrived = self._arrived, []
        for data in arrived:
            self._arrive(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_lost:
            return
        self._buffer += bytes(data)
        self._push()
        if self._buffer and not self._is_paused:
            self._is_paused = True
            self._connection.pause_writing()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._buffer:
                asyncio.get_running_loop().call_soon(self._lose)

    def abort(self) -> None:
        self._is_closing = True
        self._buffer = b""
        asyncio.get_running_loop().call_soon(self._lose)

    # what the network does to it

    def _push(self) -> None:
        if self._is_stalled or not self._buffer:
            return
        data, self._buffer = self._buffer, b""
        for frame in self._splitter.feed(data):
            packet = decode(frame, LEVEL)
            if isinstance(packet, Publish):
                self._watcher.note_handed(packet)
        if not self._is_half_open:
            self.clock.call_later(self._delay_s, self._receiver.receive, self, data)

    def stall(self) -> None:
        """The device does not read."""
        self._is_stalled = True

    def flow(self) -> None:
        """The device reads again."""
        self._is_stalled = False
        if self._is_lost:
            return
        self._push()
        if self._is_paused:
            self._is_paused = False
            self._connection.resume_writing()
        if self._is_closing:
            self._lose()

    def feed(self, data: bytes) -> None:
        """The device sends."""
        if not self._is_half_open:
            self.clock.call_later(self._delay_s, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self._is_closing or self._is_lost:
            return
        if self._is_reading:
            self._connection.data_received(data)
        else:
            self._arrived.append(data)

    def cut(self) -> None:
        """The connection breaks; the server is told."""
        self._is_half_open = True
        self.clock.call_later(self._delay_s, self.abort)

    def vanish(self) -> None:
        """The connection breaks; the server is not told."""
        self._is_half_open = True

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = True
            self._buffer = b""
            self._connection.connection_lost(None)
            self.clock.call_later(self._delay_s, self._receiver.lose, self)

"""Connections without TLS, on sockets of our own: the event loop sees one epoll for all of them, and not each.

A transport of uvloop's takes 1,240 bytes of a device that says nothing: an object, libuv's handle, callbacks, a weak
reference in a table. Here it is one object of a tenth of that. Only where the system has epoll; elsewhere, and under
TLS, connections are the event loop's.
"""

import asyncio
import os
import select
import socket
from collections.abc import Callable
from typing import Any, Final

from linkstead.clock import Clock
from linkstead.mqtt.listening import Listening

HAS_EPOLL: Final = hasattr(select, "epoll")

READ_BYTES_USUAL: Final = 4_096
READ_BYTES_MAX: Final = 65_536
"""Read of one connection before others have their turn: first what most need at most, then, where it was more, this."""

EVENTS_MAX: Final = 256
"""Connections that have their turn before the event loop does something else."""

# Looked up once, not for each packet.
_read: Final = os.read
_write: Final = os.write

_READ: Final = 1  # EPOLLIN
_WRITE: Final = 4  # EPOLLOUT


class SocketTransport:
    """One connection: as much of an `asyncio.Transport` as a protocol of ours asks for.

    The high-water mark is always 0: `pause_writing` when something could not be written at once, `resume_writing` when
    all of it has left. Its place among the others is its file descriptor.
    """

    __slots__ = (
        "_fd",
        "_is_closing",
        "_is_over",
        "_is_paused",
        "_peer",
        "_protocol",
        "_sockets",
        "_unsent",
        "_watched",
    )

    def __init__(self, sockets: "Sockets", fd: int, peer: object, protocol: asyncio.Protocol) -> None:
        self._sockets = sockets
        self._fd = fd
        self._peer = peer
        self._protocol = protocol
        self._unsent: bytearray | None = None
        self._watched = 0
        self._is_closing = False
        self._is_over = False
        self._is_paused = False

    # what the protocol asks for

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, while the protocol is told that the connection is made; nothing else is known."""
        return self._peer if name == "peername" and self._peer is not None else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing: see the class."""

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left."""
        return len(self._unsent) if self._unsent is not None else 0

    def is_closing(self) -> bool:
        """True once the end was asked for, or came."""
        return self._is_closing

    def is_reading(self) -> bool:
        """True while what comes is read."""
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        """Read nothing from now on."""
        self._is_paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Read again."""
        self._is_paused = False
        self._watch()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, at once as far as the other side takes it, and the rest when it does."""
        if self._is_closing or not data:
            return
        if self._unsent is not None:
            self._unsent += data
            return
        try:
            sent = _write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._break_off(error)
            return
        if sent < len(data):
            self._unsent = bytearray(data[sent:])
            self._watch()
            self._protocol.pause_writing()

    def close(self) -> None:
        """End the connection when all that waits has left."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._unsent is None:
            self._break_off(None)
        else:
            self._watch()

    def abort(self) -> None:
        """End the connection now."""
        self._break_off(None)

    def fileno(self) -> int:
        """The file descriptor; it stays that of this connection until `connection_lost`."""
        return self._fd

    # what the epoll brings

    def begin(self) -> None:
        """Tell the protocol of the connection, and begin to read."""
        try:
            self._protocol.connection_made(self)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001
            self._tell_fault(error)
        # It is a tuple of two, which nobody needs for as long as the connection lasts.
        self._peer = None
        self._watch()

    def take(self, events: int) -> None:
        """Something can be read or written, or the connection has ended."""
        if self._is_over:
            return
        try:
            if events & _WRITE and self._unsent is not None:
                self._send_rest(self._unsent)
            if events & ~_WRITE and not self._is_paused and not self._is_closing:
                self._receive()
        except Exception as error:  # noqa: BLE001
            self._tell_fault(error)

    def _receive(self) -> None:
        size = READ_BYTES_USUAL
        while True:
            try:
                data = _read(self._fd, size)
            except BlockingIOError:
                return
            except OSError as error:
                self._break_off(error)
                return
            if not data:
                if self._protocol.eof_received():
                    # It stays, and the end could be read again and again.
                    self.pause_reading()
                else:
                    self.close()
                return
            self._protocol.data_received(data)
            if len(data) < size or size == READ_BYTES_MAX or self._is_paused or self._is_closing:
                return
            size = READ_BYTES_MAX

    def _send_rest(self, unsent: bytearray) -> None:
        try:
            sent = _write(self._fd, unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._break_off(error)
            return
        del unsent[:sent]
        if unsent:
            return
        self._unsent = None
        if self._is_closing:
            self._break_off(None)
            return
        self._watch()
        self._protocol.resume_writing()

    def _tell_fault(self, error: Exception) -> None:
        self._sockets.tell_fault(error, self)
        self._break_off(error)

    # its end

    def _watch(self) -> None:
        """Have the epoll tell what is waited for now. Where that is nothing, it does not tell of the end either."""
        if self._is_over:
            return
        events = 0 if self._is_paused or self._is_closing else _READ
        if self._unsent is not None:
            events |= _WRITE
        if events != self._watched:
            self._sockets.watch(self._fd, self._watched, events)
            self._watched = events

    def _break_off(self, error: Exception | None) -> None:
        if self._is_over:
            return
        self._unsent = None
        self._is_closing = True
        self._watch()
        self._is_over = True
        self._sockets.end_soon(self, error)

    def end(self, error: Exception | None) -> None:
        """Tell the protocol that the connection is over, and give its file descriptor back."""
        try:
            self._protocol.connection_lost(error)
        finally:
            os.close(self._fd)


class Sockets:
    """Connections without TLS, and the epoll that they share."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        # By file descriptor. A table by number would be three times as large.
        self._transports: list[SocketTransport | None] = []
        self._count = 0
        self._is_closed = False
        self._loop.add_reader(self._epoll.fileno(), self._poll)

    def take(self, fd: int, peer: object, protocol: asyncio.Protocol) -> None:
        """Have a connection, which does not block, belong to a protocol from now on."""
        transport = SocketTransport(self, fd, peer, protocol)
        if fd >= len(self._transports):
            self._transports.extend([None] * (fd + 1 - len(self._transports)))
        self._transports[fd] = transport
        self._count += 1
        transport.begin()

    def close(self) -> None:
        """Take no more; those that are there stay until they end."""
        self._is_closed = True
        self._close_if_over()

    def watch(self, fd: int, watched: int, events: int) -> None:
        """Have these events of a connection told, where others were."""
        if not watched:
            self._epoll.register(fd, events)
        elif not events:
            self._epoll.unregister(fd)
        else:
            self._epoll.modify(fd, events)

    def end_soon(self, transport: SocketTransport, error: Exception | None) -> None:
        """End a connection in the loop's next turn: who asks for it is in the middle of something."""
        self._loop.call_soon(self._end, transport, error)

    def tell_fault(self, error: Exception, transport: SocketTransport) -> None:
        """A protocol has raised something."""
        self._loop.call_exception_handler(
            {"message": "a connection is cut by a fault of the server", "exception": error, "transport": transport}
        )

    def _end(self, transport: SocketTransport, error: Exception | None) -> None:
        self._transports[transport.fileno()] = None
        self._count -= 1
        try:
            transport.end(error)
        finally:
            self._close_if_over()

    def _close_if_over(self) -> None:
        if self._is_closed and not self._count and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _poll(self) -> None:
        # No file descriptor is given back in between: ends wait for the loop's next turn.
        for fd, events in self._epoll.poll(0, EVENTS_MAX):
            transport = self._transports[fd]
            if transport is not None:
                transport.take(events)


class SocketListener:
    """Accepts connections without TLS.

    Args:
        bound: a bound socket.
        make_protocol: makes the protocol of a connection.
        clock: see `Listening`.
    """

    def __init__(self, bound: socket.socket, make_protocol: Callable[[], asyncio.Protocol], clock: Clock) -> None:
        self._make_protocol = make_protocol
        self._sockets = Sockets()
        self._listening = Listening(bound, self._take, clock)

    def start(self) -> None:
        """Listen."""
        self._listening.start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()
        self._sockets.close()

    def _take(self, fd: int, peer: object) -> None:
        self._sockets.take(fd, peer, self._make_protocol())

"""One port for plain MQTT and MQTT over TLS, told apart by the first byte. WebSocket is the gateway's to see, in both.

Devices speak TLS on 1883 as well as on 443 and 8883. Source: `device-protocol.md` 0.8. It is the way in to every port
with TLS, as it bounds who has not said anything yet and who is in the handshake.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from linkstead.clock import Clock, Timer
from linkstead.mqtt.listening import Listening
from linkstead.mqtt.sockets import HAS_EPOLL, Sockets

log = logging.getLogger(__name__)

TLS_HANDSHAKE_FIRST_BYTE = 0x16
FIRST_BYTE_WAIT_S = 10.0
WAITING_CONNECTIONS_MAX = 1_000
"""Connections that have not said anything yet."""

HANDSHAKES_MAX = 1_000
HANDSHAKE_WAIT_S = 10.0
OF_ADDRESS_MAX = 500
"""Of either, of one address."""


class SniffingAcceptor:
    """Accepts connections of one listening socket and looks at the first byte before it decides.

    Args:
        bound: a bound socket.
        make_protocol: makes the protocol of a connection.
        tls: what TLS is spoken with.
        tls_shutdown_wait_s: for the other side to say goodbye in TLS.
        clock: a silent connection is closed after `FIRST_BYTE_WAIT_S`.
        takes_plain: also what is not TLS.
    """

    def __init__(
        self,
        bound: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext,
        tls_shutdown_wait_s: float,
        clock: Clock,
        *,
        takes_plain: bool = True,
    ) -> None:
        self._takes_plain = takes_plain
        self._family = bound.family
        self._listening = Listening(bound, self._take, clock)
        self._make_protocol = make_protocol
        self._tls = tls
        self._tls_shutdown_wait_s = tls_shutdown_wait_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, Timer] = {}
        self._addresses: dict[socket.socket, str] = {}
        self._of_address: Counter[str] = Counter()
        self._sockets = Sockets() if takes_plain and HAS_EPOLL else None
        self._tasks: dict[asyncio.Task[None], socket.socket] = {}

    def start(self) -> None:
        """Listen."""
        self._listening.start()

    def close(self) -> None:
        """Take no more connections, and drop those that have not said anything yet or are in their TLS handshake."""
        self._listening.close()
        for connection in list(self._waiting):
            self._drop(connection)
        for task in self._tasks:
            task.cancel()
        if self._sockets is not None:
            self._sockets.close()

    def _take(self, fd: int, peer: object) -> None:
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if len(self._waiting) >= WAITING_CONNECTIONS_MAX or self._of_address[address] >= OF_ADDRESS_MAX:
            os.close(fd)
            return
        connection = socket.socket(self._family, socket.SOCK_STREAM, fileno=fd)
        connection.setblocking(False)
        self._addresses[connection] = address
        self._of_address[address] += 1
        self._waiting[connection] = self._clock.call_later(FIRST_BYTE_WAIT_S, self._drop, connection)
        self._loop.add_reader(connection, self._look, connection)

    def _look(self, connection: socket.socket) -> None:
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        if not first or not (self._takes_plain or first[0] == TLS_HANDSHAKE_FIRST_BYTE):
            self._drop(connection)
            return
        self._loop.remove_reader(connection)
        self._waiting.pop(connection).cancel()
        tls = self._tls if first[0] == TLS_HANDSHAKE_FIRST_BYTE else None
        if tls is None:
            address = self._let_go(connection)
            if self._sockets is not None:
                self._sockets.take(connection.detach(), (address,), self._make_protocol())
                return
        elif len(self._tasks) >= HANDSHAKES_MAX:
            self._let_go(connection)
            connection.close()
            return
        task = self._loop.create_task(self._connect(connection, tls))
        self._tasks[task] = connection
        task.add_done_callback(self._end)

    async def _connect(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        shutdown_wait_s = self._tls_shutdown_wait_s if tls else None
        handshake_wait_s = HANDSHAKE_WAIT_S if tls else None
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=tls,
                ssl_shutdown_timeout=shutdown_wait_s,
                ssl_handshake_timeout=handshake_wait_s,
            )
        except (OSError, ssl.SSLError) as error:
            log.info("a connection ended in its TLS handshake: %s", error)
            with contextlib.suppress(OSError):
                connection.close()

    def _end(self, task: asyncio.Task[None]) -> None:
        connection = self._tasks.pop(task)
        self._let_go(connection)
        # A task that is cancelled before its first step has closed nothing.
        if task.cancelled():
            connection.close()

    def _drop(self, connection: socket.socket) -> None:
        timer = self._waiting.pop(connection, None)
        if timer is None:
            return
        timer.cancel()
        self._let_go(connection)
        self._loop.remove_reader(connection)
        connection.close()

    def _let_go(self, connection: socket.socket) -> str:
        """Count a connection no more; once is enough. Returns its address, empty where it was not counted."""
        address = self._addresses.pop(connection, "")
        if address in self._of_address:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]
        return address

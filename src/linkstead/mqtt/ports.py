"""The ports that a server listens on: which of our own listeners, or the event loop's, takes what comes by each."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from linkstead.clock import Clock
from linkstead.mqtt.acceptor import SniffingAcceptor
from linkstead.mqtt.listening import BACKLOG
from linkstead.mqtt.sockets import HAS_EPOLL, SocketListener

TLS_SHUTDOWN_WAIT_S: Final = 1.0
"""For the other side to say goodbye in TLS; one that keeps its connection for later does not read it."""


class Ports:
    """The ports of one server.

    Args:
        clock: see `Listening`.
        are_shared: others on this machine may listen where it does.
    """

    def __init__(self, clock: Clock, *, are_shared: bool) -> None:
        self._clock = clock
        self._are_shared = are_shared
        self._listeners: list[asyncio.Server | SniffingAcceptor | SocketListener] = []

    async def open(
        self,
        host: str,
        port: int,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        *,
        takes_plain: bool = False,
    ) -> tuple[str, int]:
        """Listen, with TLS or without; returns where, for port 0 asks for a free one.

        `takes_plain` says that devices without TLS come by it, many that say little, beside those with TLS if any.

        Raises:
            OSError: the port is taken, or there is no such host.
        """
        if tls is not None:
            return self._open_for_tls(host, port, make_protocol, tls, takes_plain=takes_plain)
        listener = await asyncio.get_running_loop().create_server(
            make_protocol,
            host,
            port,
            backlog=BACKLOG,
            reuse_address=True,
            reuse_port=self._are_shared,
            start_serving=not (takes_plain and HAS_EPOLL),
        )
        place: tuple[str, int] = listener.sockets[0].getsockname()[:2]
        if listener.is_serving():
            self._listeners.append(listener)
            return place
        # The event loop has found and bound its addresses; what comes by them is not its own.
        for bound in listener.sockets:
            own = SocketListener(socket.socket(fileno=os.dup(bound.fileno())), make_protocol, self._clock)
            own.start()
            self._listeners.append(own)
        listener.close()
        return place

    def close(self) -> None:
        """Listen no more; connections that there are stay."""
        while self._listeners:
            self._listeners.pop().close()

    def _open_for_tls(
        self,
        host: str,
        port: int,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext,
        *,
        takes_plain: bool,
    ) -> tuple[str, int]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Where a name has several addresses: that of IPv4, which all devices speak.
        family, kind, protocol, _name, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._are_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        acceptor = SniffingAcceptor(
            bound, make_protocol, tls, TLS_SHUTDOWN_WAIT_S, self._clock, takes_plain=takes_plain
        )
        acceptor.start()
        self._listeners.append(acceptor)
        place: tuple[str, int] = bound.getsockname()[:2]
        return place

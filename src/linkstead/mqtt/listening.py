"""A socket that listens, and what is done when the system cannot give another connection."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from linkstead.clock import Clock, Timer

log = logging.getLogger(__name__)

BACKLOG: Final = 1_024

ACCEPTED_AT_ONCE_MAX: Final = 128
"""Connections that are accepted before the event loop does something else."""

ACCEPT_RETRY_WAIT_S: Final = 1.0
"""After the system could not give another connection: too many open files, or no memory."""


class Listening:
    """Accepts the connections of one socket.

    Args:
        bound: the socket.
        take: is given the file descriptor of each connection, which does not block, and its peer's address.
        clock: tells when the system may have another connection again, after it had none.
    """

    def __init__(self, bound: socket.socket, take: Callable[[int, object], None], clock: Clock) -> None:
        self._bound = bound
        self._take = take
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._retry: Timer | None = None

    def start(self) -> None:
        """Listen."""
        self._bound.setblocking(False)
        # Connections have it from the socket that they come by.
        self._bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bound.listen(BACKLOG)
        self._resume()

    def close(self) -> None:
        """Take no more connections."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._bound)
        self._bound.close()

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._bound, self._accept)

    def _accept(self) -> None:
        # One wake-up may stand for many connections.
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                # Without the object that `accept` makes of it, and its question to the system.
                fd, peer = self._bound._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # It stays in the kernel's queue: to ask again at once would keep the loop busy with nothing else.
                log.error("no connection can be accepted for %d s: %s", ACCEPT_RETRY_WAIT_S, error)
                self._loop.remove_reader(self._bound)
                self._retry = self._clock.call_later(ACCEPT_RETRY_WAIT_S, self._resume)
                return
            os.set_blocking(fd, False)
            self._take(fd, peer)

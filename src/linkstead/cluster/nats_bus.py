"""This node's connection to the NATS servers: the `Bus` of a cluster."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from linkstead.cluster.bus import BusAway, BusRefused, Handler
from linkstead.cluster.frames import Near
from linkstead.cluster.nats_parser import Listening, MessageParser

log = logging.getLogger(__name__)

CONNECT_WAIT_S = 5.0
FLUSH_WAIT_S = 2.0
RECONNECT_WAIT_S = 0.1
PING_S = 5
PINGS_OUTSTANDING_MAX = 2
"""A server that is silent for three times `PING_S` is left for another."""

WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Bytes that wait for a server which does not read; past it nothing more is said."""

WRITTEN_AHEAD_BYTES_MAX = 262_144
"""Bytes that the system has not taken yet; past it what is said waits its turn."""

ROUNDS_MAX = 4
"""Rounds of the loop that what is said waits for more to be said: to wake a server for each message costs more."""

LINGER_S = 1.0
"""How long after a subscription was taken back what comes for it is still handed on."""

INCREMENT = b"NATS/1.0\r\nNats-Incr: %d\r\n\r\n"
"""The header of a message that is added to a counter. Source: NATS ADR-49."""


class NatsBus:
    """A connection to one of several NATS servers, made anew by itself.

    Args:
        servers: URLs of NATS.
        name: what the servers show it as.
        reconnected: called when the connection is there again; all subscriptions are.
    """

    def __init__(self, servers: Sequence[str], name: str, reconnected: Callable[[], None]) -> None:
        self._servers = list(servers)
        self._name = name
        self._reconnected = reconnected
        self._client = Client()
        subscriptions = cast("dict[int, Listening]", self._client._subs)
        self._client._ps = cast("Parser", MessageParser(subscriptions, self._client._ps))
        self._is_closing = False
        self._connections = 0
        self._said_count = 0
        self._is_due = False
        self._rounds = 0
        self._said_before = 0

    @property
    def is_connected(self) -> bool:
        """See `Bus.is_connected`."""
        return self._client.is_connected

    async def connect(self) -> None:
        """Connect for the first time. Raises BusRefused."""
        try:
            async with asyncio.timeout(CONNECT_WAIT_S):
                await self._client.connect(
                    self._servers,
                    name=self._name,
                    error_cb=self._note_error,
                    disconnected_cb=self._note_disconnected,
                    reconnected_cb=self._note_reconnected,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    max_reconnect_attempts=-1,
                    ping_interval=PING_S,
                    max_outstanding_pings=PINGS_OUTSTANDING_MAX,
                    pending_size=0,  # nothing is kept for later while there is no connection
                )
        except TimeoutError:
            await self.close()
            raise BusRefused("no NATS server answers") from None
        except (OSError, nats.errors.Error) as error:
            await self.close()
            raise BusRefused(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Take leave."""
        self._is_closing = True
        await self._client.close()

    @property
    def said_count(self) -> int:
        """See `Bus.said_count`."""
        return self._said_count

    @property
    def payload_bytes_max(self) -> int:
        """The largest message that the server takes."""
        return self._client.max_payload

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        """See `Bus.subscribe`."""
        client = self._client
        client._sid += 1
        client._subs[client._sid] = cast("Subscription", Listening(subject, group, handler))
        # While there is no connection, this is made up for when there is.
        self._send(f"SUB {subject} {group} {client._sid}\r\n".encode())
        return client._sid

    def unsubscribe(self, number: int) -> None:
        """See `Bus.unsubscribe`."""
        self._send(f"UNSUB {number}\r\n".encode())
        # What the server has sent before it knew is still answered: whoever asked would wait in vain.
        asyncio.get_running_loop().call_later(LINGER_S, self._forget, number, self._connections)

    def _forget(self, number: int, connections: int) -> None:
        self._client._remove_sub(number)
        if connections != self._connections:
            # The server of the new connection was told of it as of all others.
            self._send(f"UNSUB {number}\r\n".encode())

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.publish`."""
        if not self._send(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)):
            raise BusAway

    def is_near(self, _node: str) -> bool:
        """See `Bus.is_near`. All are as far as the server is."""
        return False

    def hand(self, _node: str, _frame: Near, _payload_bytes: int) -> bool:
        """See `Bus.hand`. Nobody is near."""
        return False

    def attend(self, kind: type[Any], handler: Callable[[Any], None]) -> None:
        """See `Bus.attend`. Nobody is near."""

    def rush(self, _node: str, subject: str, payload: bytes, reply: str = "") -> None:
        """See `Bus.rush`."""
        self.publish(subject, payload, reply)

    def herald(self, subject: str, payload: bytes) -> None:
        """See `Bus.herald`."""
        self.publish(subject, payload)

    def count(self, subject: str, amount: int, reply: str) -> None:
        """See `Bus.count`."""
        headers = INCREMENT % amount
        head = b"HPUB %b %b %d %d\r\n" % (subject.encode(), reply.encode(), len(headers), len(headers))
        if not self._send(b"%b%b\r\n" % (head, headers)):
            raise BusAway

    def _send(self, command: bytes) -> bool:
        # As the client's own `publish` does, which is a coroutine that never waits.
        client = self._client
        if not client.is_connected or client._pending_data_size > WAITING_BYTES_MAX:
            return False
        self._said_count += 1
        client._pending.append(command)
        client._pending_data_size += len(command)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._write_soon)
        return True

    def _write_soon(self) -> None:
        """Write what was said once the loop comes round without more; the client's task does it where that waits."""
        client = self._client
        if self._said_count != self._said_before and self._rounds < ROUNDS_MAX:
            self._said_before = self._said_count
            self._rounds += 1
            asyncio.get_running_loop().call_soon(self._write_soon)
            return
        self._is_due = False
        self._rounds = 0
        if not client.is_connected:
            return
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None and writer.transport.get_write_buffer_size() <= WRITTEN_AHEAD_BYTES_MAX:
            self._write_waiting()
        elif client._flush_queue is not None and client._flush_queue.empty():
            client._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def flush(self) -> bool:
        """See `Bus.flush`."""
        if not self._client.is_connected:
            return False
        try:
            self._write_waiting()
            await self._client.flush(FLUSH_WAIT_S)  # type: ignore[arg-type]
        except (TimeoutError, OSError, nats.errors.Error):
            return False
        return True

    def _write_waiting(self) -> None:
        # The client's PING does not queue: it would leave before what waits to be written.
        client = self._client
        if client._transport is not None and client._pending:
            client._transport.writelines(client._pending)
            client._pending = []
            client._pending_data_size = 0

    async def _note_error(self, error: Exception) -> None:
        log.info("NATS: %s", str(error) or type(error).__name__)

    async def _note_disconnected(self) -> None:
        # What has not left is old when there is a connection again: a call would reach its device after its end.
        self._client._pending = []
        self._client._pending_data_size = 0
        self._connections += 1
        if not self._is_closing:
            log.warning("the connection to NATS is lost: devices of other nodes cannot be called until it is back")

    async def _note_reconnected(self) -> None:
        log.info("the connection to NATS is back")
        self._reconnected()

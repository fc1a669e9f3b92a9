"""HTTP/1.1 over one connection, as an asyncio protocol on httptools.

Why not a ready-made server: `docs/adr/0003-own-http-listener.md`. One request of a connection is answered at a time;
pipelined ones wait, bounded. Nothing here knows what a request means.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

import httptools

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.clock import Clock, Timer

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 512 * 1024
"""Request line and headers. Some SDKs carry a whole Base64 payload of 256 KB in the query. `cloud-api.md` 5.1"""

HEADERS_MAX = 100
BODY_BYTES_MAX = 1024 * 1024
"""Source: `architecture.md` 6."""

REQUEST_BYTES_MAX = HEAD_BYTES_MAX + 8 * BODY_BYTES_MAX
"""A whole request as sent; a body in tiny chunks is several times its own size."""

PIPELINED_REQUESTS_MAX = 64
CONNECTIONS_MAX = 10_000
REQUEST_WAIT_S = 30.0
"""From the first byte of a request to its last."""

IDLE_WAIT_S = 120.0
"""Between requests of one connection."""

DRAIN_WAIT_S = 10.0
"""For a client to read an answer; one that reads nothing at all must not hold memory."""

Answerer = Callable[[HttpRequest], Awaitable[HttpReply]]
Finisher = Callable[[HttpReply, bool], None]


class _Refused(Exception):
    """The request is over a bound; the status says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class HttpListener:
    """What the connections of one server share.

    Args:
        answer: turns a request into a reply; raises nothing.
        finish: told of each reply whether it was written to the client.
        clock: time limits.
    """

    def __init__(self, answer: Answerer, finish: Finisher, clock: Clock) -> None:
        self.answer = answer
        self.finish = finish
        self.clock = clock
        self.connections: set[HttpConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_draining = False

    def make_protocol(self) -> "HttpConnection":
        """A protocol for one accepted connection."""
        return HttpConnection(self)

    async def drain(self) -> None:
        """Finish the requests under way, then close every connection."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.close_when_idle()
        while self.tasks:
            await asyncio.wait(self.tasks)
        for connection in list(self.connections):
            connection.close()


class HttpConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_body",
        "_busy",
        "_deadline_s",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_is_private",
        "_keep_alive",
        "_listener",
        "_parser",
        "_peer",
        "_queue",
        "_received_bytes",
        "_refused",
        "_timer",
        "_transport",
        "_url",
    )

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[HttpRequest, bool]] = deque()
        self._busy = False
        self._refused = False
        self._url = b""
        self._headers: dict[str, list[str]] = {}
        self._head_bytes = 0
        self._received_bytes = 0
        self._in_head = True
        self._body = bytearray()
        self._keep_alive = True
        self._peer = ""
        self._is_private = False
        self._timer: Timer | None = None
        self._deadline_s = 0.0

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the client has some time to send its first request."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        secured = transport.get_extra_info("sslcontext") is not None
        self._is_private = secured or self._peer in ("127.0.0.1", "::1", "")
        if len(self._listener.connections) >= CONNECTIONS_MAX or self._listener.is_draining:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._listener.connections.add(self)
        self._deadline_s = self._listener.clock.monotonic_s() + IDLE_WAIT_S
        self._timer = self._listener.clock.call_later(IDLE_WAIT_S, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what is under way goes on without its client."""
        self._transport = None
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._refused:
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            refused = error.__context__
            self._refuse(refused.status if isinstance(refused, _Refused) else HTTPStatus.BAD_REQUEST)
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        # The parser keeps an unfinished header without a bound of its own.
        if self._received_bytes > (HEAD_BYTES_MAX if self._in_head else REQUEST_BYTES_MAX):
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def eof_received(self) -> bool:
        """The client sends no more; answers under way still reach it."""
        if not self._busy:
            return False
        self._keep_alive = False
        return True

    # what httptools calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = {}
        self._head_bytes = 0
        self._in_head = True
        self._body = bytearray()
        self._deadline_s = self._listener.clock.monotonic_s() + REQUEST_WAIT_S

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._url += url
        if len(self._url) > HEAD_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        values = self._headers.setdefault(name.decode("latin-1").lower(), [])
        values.append(value.decode("latin-1"))
        self._head_bytes += len(name) + len(value)
        if len(self._headers) > HEADERS_MAX or self._head_bytes > HEAD_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._in_head = False
        lengths = self._headers.get("content-length", ["0"])
        if lengths[0].isdigit() and int(lengths[0]) > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self._headers.get("expect", [""])[0].lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """The request is whole."""
        clock = self._listener.clock
        raw_path, _, query = self._url.partition(b"?")
        request = HttpRequest(
            method=self._parser.get_method().decode("latin-1"),
            path=raw_path.decode("latin-1"),
            query=query,
            headers=self._headers,
            body=bytes(self._body),
            received_s=clock.time_s(),
            received_monotonic_s=clock.monotonic_s(),
            peer=self._peer,
            is_private=self._is_private,
        )
        self._body = bytearray()
        self._received_bytes = 0
        self._in_head = True
        if len(self._queue) >= PIPELINED_REQUESTS_MAX:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE)
        self._queue.append((request, bool(self._parser.should_keep_alive())))
        self._next()

    # answering

    def _next(self) -> None:
        if self._busy or not self._queue or self._transport is None:
            return
        request, keep_alive = self._queue.popleft()
        self._busy = True
        self._keep_alive = keep_alive and not self._listener.is_draining
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._listener.tasks.add(task)
        task.add_done_callback(self._listener.tasks.discard)

    async def _answer(self, request: HttpRequest) -> None:
        reply = await self._listener.answer(request)
        transport = self._transport
        delivered = transport is not None and not transport.is_closing()
        if transport is not None and delivered:
            transport.write(encode_reply(reply, self._keep_alive, with_body=request.method != "HEAD"))
        self._listener.finish(reply, delivered)
        self._busy = False
        if not self._keep_alive or self._refused:
            self.close()
            return
        self._deadline_s = self._listener.clock.monotonic_s() + IDLE_WAIT_S
        self._next()

    def close_when_idle(self) -> None:
        """Take no more requests: close now, or after the answer under way."""
        self._keep_alive = False
        if not self._busy:
            self.close()

    def close(self) -> None:
        """Close after what is written has been sent."""
        if self._transport is not None:
            self._transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._listener.clock.call_later(DRAIN_WAIT_S, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say why in one line, and close: what follows on this connection cannot be trusted."""
        self._refused = True
        log.info("request refused", extra={"status": int(status), "peer": self._peer})
        if self._transport is None or self._busy:
            # An answer is under way: it goes out first and then the connection closes.
            self._queue.clear()
            return
        body = f"{int(status)} {status.phrase}\n".encode()
        self._transport.write(encode_reply(HttpReply(status, "text/plain;charset=utf-8", body), keep_alive=False))
        self.close()

    def _check_time(self) -> None:
        now_s = self._listener.clock.monotonic_s()
        if self._transport is None or self._transport.is_closing():
            return
        if not self._busy and now_s >= self._deadline_s:
            self.close()
            return
        wait_s = max(self._deadline_s - now_s, 1.0)
        self._timer = self._listener.clock.call_later(wait_s, self._check_time)


_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}


def encode_reply(reply: HttpReply, keep_alive: bool, *, with_body: bool = True) -> bytes:
    """A reply as bytes. Header names are spelled exactly so: an old device SDK looks for `Content-Length`.

    Source: `real-clients.md` 2.6.
    """
    head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (
        reply.status,
        _REASONS[reply.status],
        reply.content_type.encode("latin-1"),
        len(reply.body),
    )
    if reply.request_id:
        head += b"x-acs-request-id: %b\r\n" % reply.request_id.encode("latin-1")
    for name, value in reply.headers.items():
        head += b"%b: %b\r\n" % (name.encode("latin-1"), value.encode("latin-1"))
    if not keep_alive:
        head += b"Connection: close\r\n"
    return b"%b\r\n%b" % (head, reply.body if with_body else b"")

"""HTTP/1.1 over one connection, as an asyncio protocol on httptools.

Why not a ready-made server: `docs/adr/0003-own-http-listener.md`. One request of a connection is answered at a time;
pipelined ones wait, bounded. Nothing here knows what a request means.
"""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any, Final, cast

import httptools

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.clock import Clock, Timer
from linkstead.eager import EagerRunner, Patience
from linkstead.measures import Sample
from linkstead.newcomers import Newcomers
from linkstead.registry import StoreAway

log = logging.getLogger(__name__)

HEAD_BYTES_MAX: Final = 512 * 1024
"""Target, header names and values. Some SDKs carry a whole Base64 payload of 256 KB in the query. `cloud-api.md` 5.1"""

HEADERS_MAX = 100
HEADER_NAMES_CACHED_MAX, HEADER_NAME_CACHED_BYTES_MAX = 256, 64
HEAD_STARTS_CACHED_MAX = 256
BODY_BYTES_MAX: Final = 1024 * 1024
"""Source: `architecture.md` 6."""

UNFINISHED_HEAD_BYTES_MAX = HEAD_BYTES_MAX + 64 + 4 * HEADERS_MAX
"""A head as sent: the parser keeps an unfinished header without a bound of its own."""

REQUEST_BYTES_MAX = HEAD_BYTES_MAX + 8 * BODY_BYTES_MAX
"""A whole request as sent; a body in tiny chunks is several times its own size."""

PIPELINED_REQUESTS_MAX: Final = 64
PIPELINED_BYTES_MAX: Final = 1024 * 1024
"""Of requests that wait for their turn; past it the connection is not read until one is taken."""

CONNECTIONS_MAX, CONNECTIONS_OF_ADDRESS_MAX = 10_000, 8_000
"""In all, and of one address, which may be that of a proxy: it can take most places, and not all."""

KEPT_BYTES_MAX = 512 * 1024 * 1024
"""Of requests that are not whole yet, on all connections together."""

REQUEST_WAIT_S: Final = 30.0
"""From the first byte of a request to its last."""

IDLE_WAIT_S: Final = 120.0
"""Between requests of one connection."""

ANSWER_WAIT_S: Final = 9.0
"""From the last byte of a request to its answer, where nothing else bounds it. The vendor's clients wait for 10 s.

Source: `cloud-api.md` 0.5.
"""

DRAIN_WAIT_S: Final = 10.0
"""For a client to read what is written to it; one that reads nothing at all must not hold memory."""

REPEATED_TAIL_BYTES_MAX = 2_048
"""Of what follows a request's target, to be recognised when it comes again.

See `HttpConnection._take_repeated` and `HttpConnection._take_resigned`.
"""

_REPEATED_STARTS: Final = (b"GET /?", b"POST /?")
_VERSION: Final = b" HTTP/1.1\r\n"
_UNREPEATED_HEADERS = frozenset({"expect", "transfer-encoding", "upgrade"})
_LINE_END: Final = b"\r\n"
_BLANK: Final = 0x20
_TARGET_BYTES: Final = bytes(byte if 0x21 <= byte <= 0x7E else byte ^ 0x80 for byte in range(256))
"""Leaves a target as it is when there is nothing in it but what the parser takes."""

_VALUE_BYTES: Final = bytes(byte if 0x20 <= byte <= 0x7E else byte ^ 0x80 for byte in range(256))
"""The same of a header's value, which may have blanks in it."""

Answerer = Callable[[HttpRequest], Coroutine[None, None, HttpReply]]
Bounder = Callable[[HttpRequest], float]
Finisher = Callable[[HttpReply, bool], None]


@functools.lru_cache(maxsize=HEADER_NAMES_CACHED_MAX)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _is_of_signature(name: str) -> bool:
    """Whether a header may differ from one request to the next: nothing but a V3 signature makes use of it."""
    return name == "authorization" or name.startswith("x-acs-")


class _Refused(Exception):
    """The request is over a bound; the status says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class HttpListener:
    """What the connections of one server share.

    Args:
        answer: turns a request into a reply; raises nothing.
        finish: told of each reply whether it was written to a client that was still there.
        clock: time limits.
        bound: says how many seconds after it came a request has to be answered; only asked of one that has to wait for
            what may never come.
    """

    def __init__(self, answer: Answerer, finish: Finisher, clock: Clock, bound: Bounder) -> None:
        self.answer = answer
        self.finish = finish
        self.clock = clock
        # At hand: each request reads both.
        self.time_s, self.monotonic_s = clock.time_s, clock.monotonic_s
        self.bound = bound
        self.connections: set[HttpConnection] = set()
        self.places = Newcomers(CONNECTIONS_MAX, CONNECTIONS_OF_ADDRESS_MAX, KEPT_BYTES_MAX)
        self.answering = EagerRunner()
        self.is_draining = False
        self.request_count = 0
        self.refused: dict[int, int] = {}
        self._all_closed = asyncio.Event()

    def make_protocol(self) -> "HttpConnection":
        """A protocol for one accepted connection."""
        return HttpConnection(self)

    def remove(self, connection: "HttpConnection") -> None:
        """Forget a connection that ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    def sample(self) -> Iterator[Sample]:
        """Connections and requests, and what was refused before it was one."""
        yield "linkstead_http_connections", (), float(len(self.connections))
        yield "linkstead_newcomers_refused_total", ("http",), float(self.places.refused_count)
        yield "linkstead_http_requests_total", (), float(self.request_count)
        for status, count in self.refused.items():
            yield "linkstead_http_refused_total", (str(status),), float(count)

    async def drain(self) -> None:
        """Finish the requests under way, close every connection, and return when all are gone."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.close_when_idle()
        await self.answering.drain()
        for connection in list(self.connections):
            connection.close()
        if self.connections:
            self._all_closed.clear()
            await self._all_closed.wait()


class HttpConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_begun_count",
        "_body",
        "_busy",
        "_client_is_done",
        "_deadline_s",
        "_has_place",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_in_head",
        "_in_request",
        "_is_blocked",
        "_is_held",
        "_is_private",
        "_is_refused",
        "_is_secured",
        "_is_slow",
        "_keep_alive",
        "_kept_bytes",
        "_listener",
        "_parser",
        "_peer",
        "_queue",
        "_queued_bytes",
        "_received_bytes",
        "_repeated_end",
        "_repeated_gaps",
        "_repeated_headers",
        "_repeated_start",
        "_repeated_tail",
        "_request",
        "_room",
        "_signed_tail",
        "_streaming",
        "_timer",
        "_timer_due_s",
        "_transport",
        "_url",
        "_varying",
    )

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[HttpRequest, bool]] = deque()
        self._queued_bytes = 0
        self._busy = False
        self._is_blocked = False
        self._is_held = False
        self._is_refused = False
        self._client_is_done = False
        self._url = b""
        self._headers: dict[str, list[str]] = {}
        self._header_count = 0
        self._head_bytes = 0
        self._received_bytes = 0
        # Of the last request: its method with what stands before the query, all behind the target, and its headers.
        self._repeated_start = b""
        self._repeated_tail = b""
        self._repeated_headers: dict[str, list[str]] = {}
        # Where it has an Authorization: all behind the target as the parser last read it, which of its lines were seen
        # to vary, what stands before the value of each of those, with its name, and what stands behind the last value.
        self._signed_tail = b""
        self._varying: frozenset[int] = frozenset()
        self._repeated_gaps: tuple[tuple[bytes, str], ...] = ()
        self._repeated_end = b""
        self._begun_count = 0
        self._kept_bytes = 0
        self._has_place = False
        self._in_request = False
        self._in_head = True
        self._is_slow = False
        self._body = bytearray()
        self._keep_alive = True
        self._request: HttpRequest | None = None
        self._streaming: asyncio.Task[None] | None = None
        # Set while a part of a stream may be written.
        self._room: asyncio.Event | None = None
        self._peer = ""
        self._is_secured = False
        self._is_private = False
        self._timer: Timer | None = None
        self._timer_due_s = float("inf")
        self._deadline_s = float("inf")

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the client has some time to send its first request."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._is_secured = transport.get_extra_info("sslcontext") is not None
        self._is_private = self._is_secured or self._peer in ("127.0.0.1", "::1", "")
        self._has_place = self._listener.places.enter(self._peer)
        self._listener.connections.add(self)
        self._wait(IDLE_WAIT_S)
        if not self._has_place or self._listener.is_draining:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what is under way goes on without its client."""
        self._transport = None
        if self._has_place:
            self._listener.places.leave(self._peer, self._kept_bytes)
            self._has_place = False
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._streaming is not None:
            self._streaming.cancel()
        self._listener.remove(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._repeated_tail:
            if data.endswith(self._repeated_tail) and self._take_repeated(data):
                return
        elif self._repeated_gaps and self._take_resigned(data):
            return
        sent = data if not self._in_request else b""
        self._begun_count = 0
        while data and not self._is_refused:
            self._received_bytes += len(data)
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # Nothing else is spoken here: the wish is ignored, and what follows is HTTP. [RFC 9110, 7.8]
                data = data[upgrade.args[0] :]
            except httptools.HttpParserCallbackError as error:
                refused = error.__context__
                self._refuse(refused.status if isinstance(refused, _Refused) else HTTPStatus.BAD_REQUEST)
            except httptools.HttpParserError:
                self._refuse(HTTPStatus.BAD_REQUEST)
        if self._is_refused:
            return
        if not self._in_request:
            if sent and self._begun_count == 1:
                self._remember(sent)
            return
        if self._in_head and self._received_bytes > UNFINISHED_HEAD_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._received_bytes > REQUEST_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._keep_part()

    def _keep_part(self) -> None:
        """Have an eye on a request that comes in pieces; only such a one costs a timer."""
        if not self._is_slow:
            self._is_slow = True
            self._wait(REQUEST_WAIT_S)
        size_bytes, self._kept_bytes = self._received_bytes - self._kept_bytes, self._received_bytes
        if not self._listener.places.keep(size_bytes):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def _take_repeated(self, data: bytes) -> bool:
        """Take `data` if it is one whole request that differs from the one before in its query alone; else False.

        A client's headers are nearly always those of its last request, to the byte. Those the parser has taken, so it
        can be spared: what is new is only the query, in which nothing else can hide where all of it is printable.
        """
        start, tail = self._repeated_start, self._repeated_tail
        if self._in_request or self._is_refused or len(data) > HEAD_BYTES_MAX or not data.startswith(start):
            return False
        query = data[len(start) : len(data) - len(tail)]
        if query.translate(_TARGET_BYTES) != query or len(self._queue) >= PIPELINED_REQUESTS_MAX:
            return False
        method = "GET" if start == _REPEATED_STARTS[0] else "POST"
        self._take(method, "/", query, self._repeated_headers, b"", keep_alive=True)
        return True

    def _take_resigned(self, data: bytes) -> bool:
        """The same if it differs in its query and in the values of headers that a V3 signature changes.

        All around these values is what the parser has taken, to the byte, and in a value that is printable nothing else
        can hide. One that begins with more blanks than it did is for the parser to read.
        """
        start = self._repeated_start
        if self._in_request or self._is_refused or len(data) > HEAD_BYTES_MAX or not data.startswith(start):
            return False
        place = data.find(b" ", len(start))
        if place < 0:
            return False
        query = data[len(start) : place]
        if query.translate(_TARGET_BYTES) != query or len(self._queue) >= PIPELINED_REQUESTS_MAX:
            return False
        headers = self._repeated_headers.copy()
        for before, name in self._repeated_gaps:
            if not data.startswith(before, place):
                return False
            at = place + len(before)
            place = data.find(_LINE_END, at)
            if place < 0:
                return False
            value = data[at:place]
            if not value or value[0] == _BLANK or value.translate(_VALUE_BYTES) != value:
                return False
            headers[name] = [value.decode("latin-1")]
        if data[place:] != self._repeated_end:
            return False
        method = "GET" if start == _REPEATED_STARTS[0] else "POST"
        self._take(method, "/", query, headers, b"", keep_alive=True)
        return True

    def _remember(self, data: bytes) -> None:
        """Keep what `_take_repeated` or `_take_resigned` compares with, of a request that came alone and whole.

        Of none that asks for more than an answer.
        """
        self._repeated_tail = b""
        self._repeated_gaps = ()
        place = data.find(_VERSION)
        if data.find(b"\r\n\r\n") != len(data) - 4 or not 0 < len(data) - place <= REPEATED_TAIL_BYTES_MAX:
            return
        headers = self._headers
        is_kept = [value.lower() for value in headers.get("connection", ())] in ([], ["keep-alive"])
        for start in _REPEATED_STARTS:
            if data.startswith(start) and is_kept and not headers.keys() & _UNREPEATED_HEADERS:
                self._repeated_start, self._repeated_headers = start, headers
                if "authorization" in headers:
                    self._learn_gaps(data[place:])
                else:
                    self._repeated_tail = data[place:]

    def _learn_gaps(self, tail: bytes) -> None:
        """See in what the lines behind a target differ from those of the last request that the parser read."""
        last_lines, lines = self._signed_tail.split(_LINE_END), tail.split(_LINE_END)
        self._signed_tail = tail
        varying, self._varying = set(self._varying), frozenset()
        if len(last_lines) != len(lines):
            return
        gaps: list[tuple[bytes, str]] = []
        before = b""
        for index, line in enumerate(lines):
            if line != last_lines[index]:
                varying.add(index)
            if index in varying:
                name, _, sent = line.partition(b":")
                known, value = name.decode("latin-1").lower(), sent.lstrip(b" ")
                # A value in several lines, or a name in several places, is not what it looks like.
                is_plain = self._headers.get(known) == [value.decode("latin-1")]
                if not is_plain or not _is_of_signature(known):
                    return
                gaps.append((before + line[: len(line) - len(value)], known))
                before = _LINE_END
            else:
                before += line + _LINE_END
        self._varying = frozenset(varying)
        self._repeated_gaps, self._repeated_end = tuple(gaps), before[: -len(_LINE_END)]

    def eof_received(self) -> bool:
        """The client sends no more. An answer under way still goes out to one that has only closed its own side."""
        if self._busy and not self._is_secured and self._streaming is None:
            self._client_is_done = True
            self._keep_alive = False
            return True
        self.close()
        return False

    def pause_writing(self) -> None:
        """The client does not read: its further requests wait."""
        self._is_blocked = True
        if self._room is not None:
            self._room.clear()
        self._hold_reading()
        self._wait(DRAIN_WAIT_S)

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_blocked = False
        if self._room is not None:
            self._room.set()
        if self._is_refused:
            self._resume_reading()
        elif self._transport is not None and not self._transport.is_closing():
            self._wait(REQUEST_WAIT_S if self._is_slow else IDLE_WAIT_S)
            self._next()

    # what httptools calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun_count += 1
        self._url = b""
        self._headers = {}
        self._header_count = 0
        self._head_bytes = 0
        self._in_request = True
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._url += url
        self._head_bytes += len(url)
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Those behind a chunked body are counted and dropped. [RFC 9110, 6.5.1]"""
        if self._in_head:
            known = _header_name(name) if len(name) <= HEADER_NAME_CACHED_BYTES_MAX else name.decode("latin-1").lower()
            self._headers.setdefault(known, []).append(value.decode("latin-1"))
        self._header_count += 1
        self._head_bytes += len(name) + len(value)
        if self._header_count > HEADERS_MAX or self._head_bytes > HEAD_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._in_head = False
        length = self._headers.get("content-length", ["0"])[0]
        if int(length) > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if "upgrade" in self._headers and (length != "0" or "transfer-encoding" in self._headers):
            # The parser takes the body for the other protocol.
            raise _Refused(HTTPStatus.NOT_IMPLEMENTED)
        if "expect" in self._headers and self._headers["expect"][0].lower() == "100-continue":
            self._continue()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """The request is whole."""
        url = self._url
        if not url.startswith(b"/") and b"://" in url:
            # As to a proxy; every server has to take it. [RFC 9112, 3.2.2]
            # What its types do not say: a part that is not there is None.
            parsed = cast(Any, httptools.parse_url(url))
            raw_path, query = parsed.path or b"/", parsed.query or b""
        else:
            raw_path, _, query = url.partition(b"?")
        # HTTP/1.0 would have to be told that its connection stays open, and no client needs it.
        keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        body = b""
        if self._body:
            body = bytes(self._body)
            self._body = bytearray()
        if self._kept_bytes:
            self._listener.places.keep(-self._kept_bytes)
            self._kept_bytes = 0
        self._received_bytes = 0
        self._in_request = False
        self._is_slow = False
        method = self._parser.get_method().decode("latin-1")
        self._take(method, raw_path.decode("latin-1"), query, self._headers, body, keep_alive=keep_alive)

    def _take(
        self, method: str, path: str, query: bytes, headers: dict[str, list[str]], body: bytes, *, keep_alive: bool
    ) -> None:
        listener = self._listener
        listener.request_count += 1
        request = HttpRequest(
            method,
            path,
            query,
            headers,
            body,
            listener.time_s(),
            listener.monotonic_s(),
            self._peer,
            self._is_private,
        )
        if not self._queue and not self._busy and not self._is_blocked and self._transport is not None:
            self._begin(request, keep_alive)
            return
        if len(self._queue) >= PIPELINED_REQUESTS_MAX:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE)
        self._queue.append((request, keep_alive))
        self._queued_bytes += len(query) + len(body)
        if self._queued_bytes > PIPELINED_BYTES_MAX:
            self._hold_reading()

    # answering

    def _next(self) -> None:
        if self._busy or self._is_blocked or self._transport is None:
            return
        if not self._queue:
            self._resume_reading()
            return
        request, keep_alive = self._queue.popleft()
        self._queued_bytes -= len(request.query) + len(request.body)
        self._begin(request, keep_alive)

    def _begin(self, request: HttpRequest, keep_alive: bool) -> None:
        self._busy = True
        self._keep_alive = keep_alive and not self._listener.is_draining
        self._request = request
        self._listener.answering.start(self._listener.answer(request), self._reply, self._fail, self._bound)

    def _bound(self, patience: Patience) -> None:
        """Have a request answered in time for which something has to be waited for that may never come."""
        request, listener = self._request, self._listener
        if request is not None:
            _Bound(patience, listener.clock).start(request.received_monotonic_s + listener.bound(request))

    def _fail(self, error: Exception) -> None:
        # A mistake of ours must not leave a client waiting for ever.
        path = self._request.path if self._request is not None else ""
        log.error("a request was not answered, or its answer not recorded", exc_info=error, extra={"path": path})
        self._abort()

    def _reply(self, reply: HttpReply) -> None:
        try:
            self._write_reply(reply)
        except Exception as error:  # noqa: BLE001
            self._fail(error)
            return
        if self._streaming is not None:
            return
        if self._is_refused:
            self._close_after_reading()
        elif not self._keep_alive:
            self.close()
        else:
            if not self._is_slow and not self._is_blocked:
                self._deadline_s = self._listener.monotonic_s() + IDLE_WAIT_S
            self._arm()
            self._next()

    def _write_reply(self, reply: HttpReply) -> None:
        transport = self._transport
        is_open = transport is not None and not transport.is_closing()
        if reply.stream is not None and self._request is not None:
            self._begin_stream(reply, reply.stream, is_open=is_open)
            return
        if transport is not None and is_open:
            has_body = self._request is None or self._request.method != "HEAD"
            transport.write(encode_reply(reply, self._keep_alive, with_body=has_body))
        # Who said that no more will come may have gone: that nobody can tell, so it does not count as returned.
        self._listener.finish(reply, is_open and not self._client_is_done)
        self._request = None
        self._busy = False

    def _begin_stream(self, reply: HttpReply, stream: AsyncIterator[bytes], *, is_open: bool) -> None:
        self._keep_alive = False
        self._room = asyncio.Event()
        if not self._is_blocked:
            self._room.set()
        has_body = is_open and not self._is_refused and not self._listener.is_draining
        has_body = has_body and self._request is not None and self._request.method != "HEAD"
        if self._transport is not None and is_open:
            self._transport.write(encode_reply(reply, keep_alive=False))
        self._listener.finish(reply, is_open)
        self._streaming = asyncio.get_running_loop().create_task(self._stream(stream, self._room, has_body=has_body))

    async def _stream(self, stream: AsyncIterator[bytes], room: asyncio.Event, *, has_body: bool) -> None:
        """Write parts for as long as there are some and the client reads them. [RFC 9112, 6.3: the end is the close]"""
        given_up = None
        try:
            if has_body:
                async for part in stream:
                    if self._transport is None or self._transport.is_closing():
                        break
                    self._transport.write(part)
                    await room.wait()
        except asyncio.CancelledError as cancelled:
            given_up = cancelled
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        # Behind the handlers, as compiled code may not wait in one.
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
        self._request = None
        self._busy = False
        self.close()
        if given_up is not None:
            raise given_up

    def _continue(self) -> None:
        if self._transport is not None and not self._busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _hold_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._is_held = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_held and self._transport is not None and not self._transport.is_closing():
            self._is_held = False
            self._transport.resume_reading()

    # ending

    def close_when_idle(self) -> None:
        """Take no more requests: close now, or after the answer under way."""
        self._keep_alive = False
        if self._streaming is not None:
            self._streaming.cancel()
        elif not self._busy:
            self.close()

    def close(self) -> None:
        """Close after what is written has been sent."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._wait(DRAIN_WAIT_S)

    def _close_after_reading(self) -> None:
        """Close once the client has: to close on what it still sends would take the answer from it. [RFC 9112, 9.6]"""
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._wait(DRAIN_WAIT_S)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say why in one line, and close: what follows on this connection cannot be trusted."""
        self._is_refused = True
        self._queue.clear()
        refused = self._listener.refused
        refused[int(status)] = refused.get(int(status), 0) + 1
        log.info("request refused", extra={"status": int(status), "peer": self._peer})
        if self._transport is None or self._busy:
            # An answer is under way: it goes out first and then the connection closes.
            return
        body = f"{int(status)} {status.phrase}\n".encode()
        self._transport.write(encode_reply(HttpReply(status, "text/plain;charset=utf-8", body), keep_alive=False))
        self._close_after_reading()

    # time

    def _wait(self, wait_s: float) -> None:
        """Something has to happen within so long."""
        self._deadline_s = self._listener.monotonic_s() + wait_s
        self._arm()

    def _arm(self) -> None:
        if self._deadline_s < self._timer_due_s:
            self._set_timer(self._deadline_s)

    def _set_timer(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        clock = self._listener.clock
        self._timer = clock.call_later(max(due_s - clock.monotonic_s(), 0.0), self._check_time)

    def _check_time(self) -> None:
        self._timer_due_s = float("inf")
        transport = self._transport
        if transport is None:
            return
        now_s = self._listener.monotonic_s()
        if now_s < self._deadline_s:
            self._set_timer(self._deadline_s)
        elif transport.is_closing() or self._is_refused or self._is_blocked:
            transport.abort()
        elif self._busy:
            self._set_timer(now_s + IDLE_WAIT_S)
        else:
            self.close()


class _Bound:
    """Gives up what a request waits for when its time is up."""

    __slots__ = ("_clock", "_patience", "_timer")

    def __init__(self, patience: Patience, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._timer: Timer | None = None

    def start(self, due_s: float) -> None:
        self._patience.call_when_over(self._end)
        self._set_timer(due_s - self._clock.monotonic_s())

    def _set_timer(self, wait_s: float) -> None:
        self._timer = self._clock.call_later(max(wait_s, 0.0), self._give_up)

    def _give_up(self) -> None:
        if not self._patience.give_up(StoreAway("no answer in time")):
            # It waits for a device by now, which is bounded itself.
            self._set_timer(ANSWER_WAIT_S)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def encode_reply(reply: HttpReply, keep_alive: bool, *, with_body: bool = True) -> bytes:
    """A reply as bytes. Header names are spelled exactly so: an old device SDK looks for `Content-Length`.

    Source: `real-clients.md` 2.6.
    """
    if reply.request_id and keep_alive and with_body and not reply.headers and reply.stream is None:
        # What the OpenAPI answers, in one go.
        head = (
            f"{_head_start(reply.status, reply.content_type)}Content-Length: {len(reply.body)}\r\n"
            f"x-acs-request-id: {reply.request_id}\r\n\r\n"
        )
        return head.encode("latin-1") + reply.body
    lines = [_head_start(reply.status, reply.content_type)]
    if reply.stream is None:
        lines.append(f"Content-Length: {len(reply.body)}\r\n")
    if reply.request_id:
        lines.append(f"x-acs-request-id: {reply.request_id}\r\n")
    lines += [f"{name}: {value}\r\n" for name, value in reply.headers.items()]
    if not keep_alive:
        lines.append("Connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1") + (reply.body if with_body else b"")


@functools.lru_cache(maxsize=HEAD_STARTS_CACHED_MAX)
def _head_start(status: int, content_type: str) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"

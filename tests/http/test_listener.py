import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.config import Address
from linkstead.eager import Waiter
from linkstead.http.listener import (
    ANSWER_WAIT_S,
    BODY_BYTES_MAX,
    DRAIN_WAIT_S,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    IDLE_WAIT_S,
    PIPELINED_BYTES_MAX,
    PIPELINED_REQUESTS_MAX,
    REQUEST_BYTES_MAX,
    REQUEST_WAIT_S,
    HttpListener,
    encode_reply,
)
from linkstead.newcomers import Newcomers
from linkstead.registry import StoreAway
from linkstead.testing.clock import ManualClock
from tests.wire import HttpClient, encode_request, reset, until

pytestmark = pytest.mark.asyncio


class Front:
    """What stands behind the listener here: it keeps the requests, answers with their body, or waits to be told."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.finished: list[bool] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer_bytes = 0
        self.waiter: Waiter[bool] | None = None
        self.bound_s = ANSWER_WAIT_S
        self.arrived = asyncio.Event()

    async def answer(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        self.arrived.set()
        try:
            if self.waiter is not None:
                await asyncio.sleep(0)
                await self.waiter
            await self.gate.wait()
        except StoreAway as error:
            return HttpReply(503, "text/plain", str(error).encode())
        if request.path == "/broken":
            raise ValueError("a mistake behind the listener")
        body = bytes(self.answer_bytes) or request.body or request.path.encode()
        return HttpReply(200, "text/plain", body)

    def finish(self, reply: HttpReply, delivered: bool) -> None:
        if reply.body == b"/unrecorded":
            raise ValueError("a mistake behind the listener")
        self.finished.append(delivered)


class Bench:
    """A listener on a free port."""

    def __init__(self) -> None:
        self.front = Front()
        self.clock = ManualClock()
        self.listener = HttpListener(self.front.answer, self.front.finish, self.clock, lambda _: self.front.bound_s)
        self.address = Address("", 0)

    def open(self) -> "contextlib.AbstractAsyncContextManager[HttpClient]":
        return HttpClient.open(self.address)


@pytest_asyncio.fixture
async def bench(start_loop_watch: Callable[[], None]) -> AsyncIterator[Bench]:
    start_loop_watch()
    bench = Bench()
    server = await asyncio.get_running_loop().create_server(bench.listener.make_protocol, "127.0.0.1", 0)
    bench.address = Address(*server.sockets[0].getsockname()[:2])
    yield bench
    bench.front.gate.set()
    server.close()
    draining = asyncio.ensure_future(bench.listener.drain())
    while not draining.done():
        bench.clock.advance(1.0)
        await asyncio.wait([draining], timeout=0.01)
    assert not bench.listener.connections
    assert bench.clock.timer_count == 0


async def test_a_request_is_taken_apart_and_answered(bench: Bench) -> None:
    async with bench.open() as client:
        headers = {"X-One": "1", "x-one": "2"}
        response = await client.request("POST", "/path/a?b=c&d", headers, b"body")
    assert (response.status, response.body) == (200, b"body")
    (request,) = bench.front.requests
    assert (request.method, request.path, request.query, request.body) == ("POST", "/path/a", b"b=c&d", b"body")
    assert request.headers["x-one"] == ["1", "2"]
    assert request.header("x-one") == "1"
    assert request.header("absent") is None
    assert (request.peer, request.is_private) == ("127.0.0.1", True)
    assert (request.received_s, request.received_monotonic_s) == (bench.clock.time_s(), bench.clock.monotonic_s())
    assert bench.front.finished == [True]


async def test_header_names_are_spelled_as_an_old_device_sdk_looks_for_them(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n"


async def test_a_reply_carries_its_request_id_and_headers_of_its_own() -> None:
    reply = HttpReply(401, "a/b", b"body", "REQUEST-ID", headers={"WWW-Authenticate": "Basic"})
    assert encode_reply(reply, keep_alive=False) == (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: a/b\r\nContent-Length: 4\r\nx-acs-request-id: REQUEST-ID\r\n"
        b"WWW-Authenticate: Basic\r\nConnection: close\r\n\r\nbody"
    )


async def test_what_may_never_come_is_waited_for_until_the_bound_of_its_request(bench: Bench) -> None:
    bench.front.bound_s = wait_s = 2.0
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        await bench.front.arrived.wait()
        bench.clock.advance(wait_s - 0.001)
        await asyncio.sleep(0.01)
        assert not bench.front.finished
        bench.clock.advance(0.001)
        response = await client.receive()
        assert (response.status, response.body) == (503, b"no answer in time")
        bench.front.gate.set()
        assert (await client.request("GET", "/next")).body == b"/next"


async def test_what_waits_for_its_device_is_left_to_that_and_looked_at_again(bench: Bench) -> None:
    bench.front.waiter = Waiter()
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        await bench.front.arrived.wait()
        await asyncio.sleep(0.01)
        bench.clock.advance(ANSWER_WAIT_S)
        bench.front.waiter.set_result(True)
        await asyncio.sleep(0.01)
        bench.clock.advance(ANSWER_WAIT_S - 0.001)
        await asyncio.sleep(0.01)
        assert not bench.front.finished
        bench.clock.advance(0.001)
        assert (await client.receive()).status == 503


async def test_a_connection_is_kept_for_further_requests(bench: Bench) -> None:
    async with bench.open() as client:
        for index in range(3):
            response = await client.request("GET", f"/{index}")
            assert response.body == f"/{index}".encode()
            assert "Connection" not in response.headers
    assert len(bench.listener.connections) <= 1


async def test_connection_close_is_kept_to(bench: Bench) -> None:
    async with bench.open() as client:
        response = await client.request("GET", "/", {"Connection": "close"})
        assert response.headers["Connection"] == "close"
        await client.expect_closed()


@pytest.mark.parametrize("headers", [{}, {"Connection": "keep-alive"}])
async def test_an_http_1_0_client_is_answered_and_closed(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.open() as client:
        client.send(encode_request("GET", "/old", headers, version="HTTP/1.0"))
        response = await client.receive()
        assert (response.body, response.headers["Connection"]) == (b"/old", "close")
        await client.expect_closed()


async def test_head_is_answered_without_the_body(bench: Bench) -> None:
    async with bench.open() as client:
        response = await client.request("HEAD", "/four")
        assert (response.headers["Content-Length"], response.body) == ("5", b"")
        assert (await client.request("GET", "/next")).body == b"/next"


async def test_a_target_as_sent_to_a_proxy_is_taken(bench: Bench) -> None:
    async with bench.open() as client:
        await client.request("GET", "http://localhost:1/a?b=c")
        await client.request("GET", "http://localhost")
        await client.request("GET", "/?url=http://localhost/x")
    targets = [(request.path, request.query) for request in bench.front.requests]
    assert targets == [("/a", b"b=c"), ("/", b""), ("/", b"url=http://localhost/x")]


async def test_a_wish_to_speak_another_protocol_is_ignored(bench: Bench) -> None:
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    async with bench.open() as client:
        client.send(encode_request("GET", "/one", upgrade) + encode_request("GET", "/two"))
        assert (await client.receive()).body == b"/one"
        assert (await client.receive()).body == b"/two"


async def test_a_body_behind_a_wish_to_speak_another_protocol_is_refused(bench: Bench) -> None:
    async with bench.open() as client:
        response = await client.request("POST", "/", {"Connection": "Upgrade", "Upgrade": "h2c"}, b"body")
        assert (response.status, response.headers["Connection"]) == (501, "close")
    assert bench.front.requests == []


async def test_expect_continue_is_answered_before_the_body(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n")
        assert (await client.receive()).status == 100
        client.send(b"body")
        assert (await client.receive()).body == b"body"


async def test_expect_continue_behind_a_request_under_way_waits_for_nothing(bench: Bench) -> None:
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/first"))
        await bench.front.arrived.wait()
        client.send(encode_request("POST", "/", {"Expect": "100-continue"}, b"body"))
        (connection,) = bench.listener.connections
        await until(lambda: connection._queue)
        bench.front.gate.set()
        assert (await client.receive()).body == b"/first"
        assert (await client.receive()).body == b"body"


async def test_a_chunked_body_is_put_together_and_its_trailers_are_dropped(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"2\r\nab\r\n3;ext=1\r\ncde\r\n0\r\nHost: smuggled\r\nX-New: 1\r\n\r\n")
        assert (await client.receive()).body == b"abcde"
    assert bench.front.requests[0].headers == {"host": ["a"], "transfer-encoding": ["chunked"]}


# --- bounds ---


async def _send_and_receive(client: HttpClient, data: bytes) -> int:
    """Send all, as a client that does not look for an answer meanwhile, then read the status."""
    client.send(data)
    await client.writer.drain()
    response = await client.receive()
    if response.status != 200:
        assert response.headers["Connection"] == "close"
        assert response.body.startswith(f"{response.status} ".encode())
        client.writer.write_eof()
        await client.expect_closed()
    return response.status


def _chunked(body: bytes, chunk_bytes: int) -> bytes:
    chunks = (body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes))
    parts = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


@pytest.mark.parametrize(("excess_bytes", "status"), [(0, 200), (1, 413)])
async def test_a_body_may_be_so_long_and_no_longer(bench: Bench, excess_bytes: int, status: int) -> None:
    body = bytes(BODY_BYTES_MAX + excess_bytes)
    async with bench.open() as client:
        assert await _send_and_receive(client, encode_request("POST", "/", body=body)) == status
    async with bench.open() as client:
        assert await _send_and_receive(client, _chunked(body, 65_536)) == status
    assert [len(request.body) for request in bench.front.requests] == ([BODY_BYTES_MAX] * 2 if status == 200 else [])


async def test_a_body_that_is_announced_too_long_is_refused_before_it_is_sent(bench: Bench) -> None:
    async with bench.open() as client:
        head = f"POST / HTTP/1.1\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\nExpect: 100-continue\r\n\r\n"
        assert await _send_and_receive(client, head.encode()) == 413


async def test_a_body_in_wasteful_chunks_is_cut_off(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"1;" + b"x" * 65_536 + b"\r\na\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(REQUEST_BYTES_MAX // len(chunk) + 2):
                client.send(chunk)
                await client.writer.drain()
        assert (await client.receive()).status == 413
    assert bench.front.requests == []


def _request_with_head(target_bytes: int, header_bytes: int) -> bytes:
    """A request whose target has so many bytes, and the names and values of its headers so many together."""
    target = "/" + "t" * (target_bytes - 1)
    return f"GET {target} HTTP/1.1\r\nHost: {'h' * (header_bytes - 4)}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("target_bytes", "header_bytes", "status"),
    [
        (HEAD_BYTES_MAX - 10, 10, 200),
        (HEAD_BYTES_MAX - 9, 10, 431),
        (1, HEAD_BYTES_MAX - 1, 200),
        (1, HEAD_BYTES_MAX, 431),
        (HEAD_BYTES_MAX + 1, 10, 414),
    ],
)
async def test_a_head_may_be_so_long_and_no_longer(
    bench: Bench, target_bytes: int, header_bytes: int, status: int
) -> None:
    async with bench.open() as client:
        assert await _send_and_receive(client, _request_with_head(target_bytes, header_bytes)) == status


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"t" * HEAD_BYTES_MAX, b"GET / HTTP/1.1\r\nX: " + b"v" * HEAD_BYTES_MAX]
)
async def test_an_endless_head_is_refused_before_it_ends(bench: Bench, endless: bytes) -> None:
    async with bench.open() as client:
        client.send(endless + b"x" * 1024)
        assert (await client.receive()).status in (414, 431)


@pytest.mark.parametrize(("count", "status"), [(HEADERS_MAX, 200), (HEADERS_MAX + 1, 431)])
@pytest.mark.parametrize("name", ["X-{}", "X-Same"])
async def test_so_many_headers_are_taken_and_no_more(bench: Bench, count: int, status: int, name: str) -> None:
    lines = "".join(f"{name.format(index)}: {index}\r\n" for index in range(count))
    async with bench.open() as client:
        assert await _send_and_receive(client, f"GET / HTTP/1.1\r\n{lines}\r\n".encode()) == status


async def test_so_many_requests_wait_on_a_connection(bench: Bench) -> None:
    bench.front.gate.clear()
    count = PIPELINED_REQUESTS_MAX + 1
    async with bench.open() as client:
        client.send(b"".join(encode_request("GET", f"/{index}") for index in range(count)))
        await bench.front.arrived.wait()
        bench.front.gate.set()
        assert [(await client.receive()).body for _ in range(count)] == [f"/{index}".encode() for index in range(count)]


async def test_one_request_too_many_waiting_closes_after_the_answer_under_way(bench: Bench) -> None:
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(b"".join(encode_request("GET", f"/{index}") for index in range(PIPELINED_REQUESTS_MAX + 2)))
        await bench.front.arrived.wait()
        bench.front.gate.set()
        assert (await client.receive()).body == b"/0"
        client.writer.write_eof()
        await client.expect_closed()
    assert len(bench.front.requests) == 1


async def test_long_requests_that_wait_stop_the_reading(bench: Bench) -> None:
    bench.front.gate.clear()
    body = bytes(BODY_BYTES_MAX)
    async with bench.open() as client:
        client.send(encode_request("POST", "/", body=body) * 16)
        await bench.front.arrived.wait()
        (connection,) = bench.listener.connections
        await until(lambda: not _transport(connection).is_reading())
        assert PIPELINED_BYTES_MAX < connection._queued_bytes <= PIPELINED_BYTES_MAX + BODY_BYTES_MAX
        bench.front.gate.set()
        for _ in range(16):
            assert (await client.receive()).body == body
        assert connection._queued_bytes == 0


def _transport(connection: Any) -> asyncio.Transport:
    transport: asyncio.Transport = connection._transport
    return transport


@pytest.mark.parametrize(("in_all", "of_address"), [(2, 9), (9, 2)])
async def test_so_many_connections_are_served_and_the_next_is_told(bench: Bench, in_all: int, of_address: int) -> None:
    bench.listener.places = Newcomers(in_all, of_address, 999)
    async with bench.open() as first, bench.open() as second:
        assert (await first.request("GET", "/")).status == (await second.request("GET", "/")).status == 200
        async with bench.open() as third:
            assert (await third.receive()).status == 503
            await third.expect_closed()
        assert (await first.request("GET", "/")).status == 200
    await until(lambda: not bench.listener.connections)
    async with bench.open() as fourth:
        assert (await fourth.request("GET", "/")).status == 200


async def test_requests_in_pieces_are_kept_up_to_a_bound_on_all_connections_together(bench: Bench) -> None:
    bench.listener.places = Newcomers(9, 9, 99)
    head = b"POST / HTTP/1.1\r\nContent-Length: 200\r\n\r\n"
    async with bench.open() as first, bench.open() as second:
        first.send(head + bytes(60 - len(head)))
        await until(lambda: bench.listener.places.kept_bytes == 60)
        second.send(head)
        assert (await second.receive()).status == 503
        await second.expect_closed()
        first.send(bytes(200 + len(head) - 60))
        # What was let in is served, and nothing of it is counted any more.
        assert (await first.receive()).status in (200, 503)
    await until(lambda: not bench.listener.connections)
    assert (bench.listener.places.kept_bytes, bench.listener.places.count) == (0, 0)


# --- time ---


async def test_a_slow_request_is_closed_at_its_time(bench: Bench) -> None:
    async with bench.open() as client:
        bench.clock.advance(IDLE_WAIT_S - 1)
        client.send(b"GET / HTTP/1.1\r\n")
        (connection,) = bench.listener.connections
        await until(lambda: connection._in_request)
        bench.clock.advance(REQUEST_WAIT_S - 0.5)
        client.send(b"Host: a\r\n")
        await until(lambda: connection._received_bytes > 20)
        assert not _transport(connection).is_closing()
        bench.clock.advance(0.5)
        await client.expect_closed()


async def test_a_request_that_ends_in_time_is_answered(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        (connection,) = bench.listener.connections
        await until(lambda: connection._in_request)
        bench.clock.advance(REQUEST_WAIT_S - 0.5)
        client.send(b"Host: a\r\n\r\n")
        assert (await client.receive()).status == 200
        bench.clock.advance(IDLE_WAIT_S - 0.5)
        assert (await client.request("GET", "/")).status == 200


async def test_an_idle_connection_is_closed_at_its_time(bench: Bench) -> None:
    async with bench.open() as client:
        bench.clock.advance(IDLE_WAIT_S - 0.5)
        assert (await client.request("GET", "/")).status == 200
        bench.clock.advance(IDLE_WAIT_S - 0.5)
        (connection,) = bench.listener.connections
        assert not _transport(connection).is_closing()
        bench.clock.advance(0.5)
        await client.expect_closed()


async def test_a_request_under_way_is_not_cut_however_long_it_takes(bench: Bench) -> None:
    bench.front.bound_s = 20 * IDLE_WAIT_S
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/long"))
        await bench.front.arrived.wait()
        bench.clock.advance(10 * IDLE_WAIT_S)
        bench.front.gate.set()
        assert (await client.receive()).body == b"/long"


async def test_a_slow_request_behind_one_under_way_is_closed_once_that_is_answered(bench: Bench) -> None:
    bench.front.bound_s = 20 * IDLE_WAIT_S
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/first") + b"GET /second")
        await bench.front.arrived.wait()
        bench.clock.advance(REQUEST_WAIT_S)
        bench.front.gate.set()
        assert (await client.receive()).body == b"/first"
        bench.clock.advance(0.001)
        await client.expect_closed()


async def test_a_client_that_reads_no_answers_is_not_answered_further_and_cut(bench: Bench) -> None:
    bench.front.answer_bytes = 4 * 1024 * 1024
    async with bench.open() as client:
        client.send(encode_request("GET", "/") * 8)
        (connection,) = bench.listener.connections
        await until(lambda: connection._is_blocked)
        assert len(bench.front.requests) < 8
        assert _transport(connection).get_write_buffer_size() < 2 * bench.front.answer_bytes
        bench.clock.advance(DRAIN_WAIT_S)
        await until(lambda: not bench.listener.connections)


async def test_a_client_that_reads_late_gets_every_answer(bench: Bench) -> None:
    bench.front.answer_bytes = 4 * 1024 * 1024
    async with bench.open() as client:
        client.send(encode_request("GET", "/") * 3)
        (connection,) = bench.listener.connections
        await until(lambda: connection._is_blocked)
        bench.clock.advance(DRAIN_WAIT_S - 1)
        for _ in range(3):
            assert len((await client.receive()).body) == bench.front.answer_bytes
        assert (await client.request("GET", "/")).status == 200


async def test_a_closed_connection_whose_answer_is_not_read_is_cut(bench: Bench) -> None:
    bench.front.answer_bytes = 8 * 1024 * 1024
    async with bench.open() as client:
        client.send(encode_request("GET", "/", {"Connection": "close"}))
        await until(lambda: bench.front.finished)
        (connection,) = bench.listener.connections
        assert _transport(connection).is_closing()
        bench.clock.advance(DRAIN_WAIT_S)
        await until(lambda: not bench.listener.connections)


async def test_a_refused_client_that_neither_reads_nor_closes_is_cut(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(b"nonsense\r\n\r\n")
        assert (await client.receive()).status == 400
        client.send(b"more of it" * 100)
        bench.clock.advance(DRAIN_WAIT_S)
        await until(lambda: not bench.listener.connections)


# --- clients that go, and the server that stops ---


async def test_an_answer_to_a_client_that_left_counts_as_not_delivered(bench: Bench) -> None:
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        await bench.front.arrived.wait()
        reset(client.writer)
        await until(lambda: not bench.listener.connections)
        bench.front.gate.set()
        await until(lambda: bench.front.finished)
    assert bench.front.finished == [False]


async def test_a_client_that_sends_no_more_is_answered_but_may_have_left(bench: Bench) -> None:
    bench.front.gate.clear()
    async with bench.open() as client:
        client.send(encode_request("GET", "/half"))
        await bench.front.arrived.wait()
        client.writer.write_eof()
        (connection,) = bench.listener.connections
        await until(lambda: connection._client_is_done)
        bench.front.gate.set()
        assert (await client.receive()).body == b"/half"
        await client.expect_closed()
    assert bench.front.finished == [False]


async def test_a_client_that_leaves_between_requests_leaves_nothing_behind(bench: Bench) -> None:
    async with bench.open() as client:
        await client.request("GET", "/")
    await until(lambda: not bench.listener.connections)
    assert bench.clock.timer_count == 0


async def test_a_mistake_behind_the_listener_closes_the_connection_and_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.open() as client:
        client.send(encode_request("GET", "/broken"))
        await client.expect_closed()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "a request was not answered, or its answer not recorded"
    assert vars(record)["path"] == "/broken"
    async with bench.open() as client:
        assert (await client.request("GET", "/")).status == 200


async def test_a_mistake_behind_a_written_answer_closes_the_connection_and_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.open() as client:
        client.send(encode_request("GET", "/unrecorded"))
        with contextlib.suppress(ConnectionError):
            assert b"200 OK" in await client.receive_end()
    await until(lambda: not bench.listener.connections)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "a request was not answered, or its answer not recorded"


async def test_draining_finishes_the_request_under_way_and_closes_the_rest(bench: Bench) -> None:
    bench.front.gate.clear()
    bench.front.answer_bytes = 8 * 1024 * 1024
    async with bench.open() as idle, bench.open() as busy:
        busy.send(encode_request("GET", "/under-way") + encode_request("GET", "/too-late"))
        await bench.front.arrived.wait()
        draining = asyncio.ensure_future(bench.listener.drain())
        await idle.expect_closed()
        bench.front.gate.set()
        await until(lambda: bench.front.finished)
        assert not draining.done()
        response = await busy.receive()
        assert (len(response.body), response.headers["Connection"]) == (bench.front.answer_bytes, "close")
        await busy.expect_closed()
        await draining
    assert [request.path for request in bench.front.requests] == ["/under-way"]


async def test_a_connection_that_comes_while_draining_is_told(bench: Bench) -> None:
    await bench.listener.drain()
    async with bench.open() as client:
        assert (await client.receive()).status == 503
        await client.expect_closed()


# --- streams ---


class Source:
    """A stream that gives what a test puts in, and knows when it was closed."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.taken = 0
        self.is_closed = False

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self.parts.get()) is not None:
                self.taken += 1
                yield part
        finally:
            self.is_closed = True


@contextlib.asynccontextmanager
async def streaming(bench: Bench) -> AsyncIterator[tuple[HttpClient, Source]]:
    """A client that has read the head of a stream."""
    source = Source()

    async def answer(request: HttpRequest) -> HttpReply:
        return HttpReply(200, "text/event-stream", b"", stream=source.stream())

    bench.listener.answer = answer
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        response = await client.receive()
        assert "Content-Length" not in response.headers
        assert response.headers["Connection"] == "close"
        yield client, source
    await until(lambda: source.is_closed)


async def test_a_stream_goes_out_part_by_part_and_ends_with_the_connection(bench: Bench) -> None:
    async with streaming(bench) as (client, source):
        for part in (b"one", b"two"):
            source.parts.put_nowait(part)
            assert await client.reader.readexactly(3) == part
        source.parts.put_nowait(None)
        await client.expect_closed()
    assert bench.front.finished == [True]


async def test_a_stream_is_closed_when_its_client_has_gone(bench: Bench) -> None:
    async with streaming(bench) as (client, source):
        client.writer.close()
        await until(lambda: source.is_closed)


async def test_a_stream_is_closed_when_the_server_drains(bench: Bench) -> None:
    async with streaming(bench) as (client, source):
        await bench.listener.drain()
        await client.expect_closed()
        assert source.is_closed


async def test_a_client_that_does_not_read_is_not_asked_for_more_and_then_cut(bench: Bench) -> None:
    async with streaming(bench) as (client, source):
        part = bytes(1024 * 1024)
        for _ in range(64):
            source.parts.put_nowait(part)
        (connection,) = bench.listener.connections
        await until(lambda: connection._is_blocked)
        taken = source.taken
        assert taken < 64
        bench.clock.advance(DRAIN_WAIT_S - 0.1)
        assert not source.is_closed
        assert source.taken == taken
        bench.clock.advance(0.2)
        await until(lambda: source.is_closed)
        client.writer.transport.abort()


async def test_a_fault_in_a_stream_cuts_the_connection_and_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"part"
        raise ValueError("a mistake in a stream")

    async def answer(request: HttpRequest) -> HttpReply:
        return HttpReply(200, "text/event-stream", b"", stream=broken())

    bench.listener.answer = answer
    async with bench.open() as client:
        client.send(encode_request("GET", "/"))
        await client.receive()
        with contextlib.suppress(ConnectionError):
            assert await client.receive_end() in (b"part", b"")
    await until(lambda: "a mistake in a stream" in caplog.text)


async def test_a_stream_has_no_part_for_who_asks_for_its_head(bench: Bench) -> None:
    source = Source()

    async def answer(request: HttpRequest) -> HttpReply:
        return HttpReply(200, "text/event-stream", b"", stream=source.stream())

    bench.listener.answer = answer
    source.parts.put_nowait(b"part")
    async with bench.open() as client:
        client.send(encode_request("HEAD", "/"))
        assert (await client.receive()).status == 200
        await client.expect_closed()
    assert not source.taken


_TAIL = b" HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nX-One: 1\r\n\r\n"
_STARTS = (b"GET /?", b"POST /?")
_AFTER_A_REQUEST = [
    b"a=1&b=%20",
    b"",
    b"?",
    b"#",
    *(b"a=" + bytes([byte]) + b"b" for byte in (0, 1, 9, 10, 13, 0x1F, 0x20, 0x21, 0x7E, 0x7F, 0x80, 0xFF)),
    b"a" + _TAIL + b"GET /?b",
    b"a" + _TAIL + b"POST /?b",
    b"a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /?b",
    b"a HTTP/1.1\r\nHost: b\r\nX:",
    b"a HTTP/1.0\r\nHost: b\r\nX:",
    b"a HTTP/1.1\n\nGET /?b",
    b"a" * HEAD_BYTES_MAX,
]


@pytest.mark.parametrize("start", _STARTS)
@pytest.mark.parametrize("query", _AFTER_A_REQUEST, ids=range(len(_AFTER_A_REQUEST)))
async def test_what_follows_a_request_with_the_same_headers_is_taken_as_if_it_came_first(
    bench: Bench, start: bytes, query: bytes
) -> None:
    told: list[tuple[bytes, list[Any]]] = []
    for before in ([], *([first + b"a=1" + _TAIL] for first in _STARTS)):
        async with bench.open() as client:
            for data in before:
                client.send(data)
                await client.receive()
            bench.front.requests.clear()
            client.send(start + query + _TAIL)
            client.writer.write_eof()
            told.append((await client.receive_end(), bench.front.requests.copy()))
    (received, requests), *others = told
    for other_received, other_requests in others:
        assert other_received == received
        assert [_seen(request) for request in other_requests] == [_seen(request) for request in requests]


def _seen(request: HttpRequest) -> tuple[object, ...]:
    return request.method, request.path, request.query, request.headers, request.body


@pytest.mark.parametrize(
    "first",
    [
        b"GET /?a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"GET /?a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        b"POST /?a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        b"POST /?a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /?a HTTP/1.1\r\nHost: a\r\nAuthorization: ACS3-HMAC-SHA256 x\r\n\r\n",
        b"GET /?a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2_048 + b"\r\n\r\n",
        b"GET /a?a HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=range(7),
)
async def test_a_request_that_is_more_than_its_target_is_not_recognised_again(bench: Bench, first: bytes) -> None:
    async with bench.open() as client:
        client.send(_STARTS[0] + b"a=1" + _TAIL)
        await client.receive()
        (connection,) = bench.listener.connections
        assert connection._repeated_tail == _TAIL
        client.send(first)
        await until(lambda: len(bench.front.requests) == 2)
        assert connection._repeated_tail == b""


async def test_repeated_requests_wait_for_their_turn_like_others(bench: Bench) -> None:
    async with bench.open() as client:
        client.send(_STARTS[0] + b"a=1" + _TAIL)
        await client.receive()
        (connection,) = bench.listener.connections
        bench.front.gate.clear()
        were_refused = []
        for index in range(PIPELINED_REQUESTS_MAX + 2):
            connection.data_received(_STARTS[0] + b"n=%d" % index + _TAIL)
            were_refused.append(connection._is_refused)
        assert were_refused == [False] * (PIPELINED_REQUESTS_MAX + 1) + [True]
        bench.front.gate.set()
        assert (await client.receive_end()).count(b"HTTP/1.1 200 OK") == 1

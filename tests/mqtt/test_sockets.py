import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from linkstead.mqtt.sockets import READ_BYTES_MAX, READ_BYTES_USUAL, SocketListener
from linkstead.testing.clock import ManualClock
from tests.wire import until

pytestmark = pytest.mark.asyncio

MUCH_BYTES = 4 * 1024 * 1024


class Recorder(asyncio.Protocol):
    """What stands behind the listener here: it keeps what it is told."""

    def __init__(self, stand: "Stand") -> None:
        self._stand = stand
        self.told: list[str] = []
        self.received: list[bytes] = []
        self.fault: Exception | None = None
        self.stays_at_eof = False
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.peer = transport.get_extra_info("peername")
        self._stand.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        if self.fault is not None:
            raise self.fault

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays_at_eof

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Stand:
    """A listener on a free port."""

    def __init__(self) -> None:
        self.connections: list[Recorder] = []
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        self.address = bound.getsockname()
        self.clients: list[socket.socket] = []
        self.listener = SocketListener(bound, lambda: Recorder(self), ManualClock())

    def client(self) -> socket.socket:
        client = socket.create_connection(self.address)
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def connect(self) -> tuple[socket.socket, Recorder]:
        count = len(self.connections)
        client = self.client()
        await until(lambda: len(self.connections) > count)
        return client, self.connections[-1]


@pytest_asyncio.fixture
async def stand(start_loop_watch: Callable[[], None]) -> AsyncIterator[Stand]:
    start_loop_watch()
    stand = Stand()
    stand.listener.start()
    yield stand
    stand.listener.close()
    for connection in stand.connections:
        connection.transport.abort()
    await until(lambda: all(connection.lost for connection in stand.connections))
    assert all(len(connection.lost) == 1 for connection in stand.connections)
    assert stand.listener._sockets._epoll.closed
    for client in stand.clients:
        client.close()


def _fill(connection: Recorder) -> None:
    connection.transport.write(bytes(MUCH_BYTES))


async def _read(client: socket.socket, size: int) -> int:
    """Read up to so many bytes, and say how many came; fewer where the other side has ended."""
    count = 0
    while count < size:
        data = await asyncio.get_running_loop().sock_recv(client, 65_536)
        if not data:
            break
        count += len(data)
    return count


async def test_what_comes_is_told_and_what_is_written_goes(stand: Stand) -> None:
    client, connection = await stand.connect()
    assert connection.peer[0] == "127.0.0.1"
    assert connection.transport.get_extra_info("peername", "gone") == "gone"
    client.send(b"ping")
    await until(lambda: connection.received == [b"ping"])
    connection.transport.write(b"pong")
    assert await asyncio.get_running_loop().sock_recv(client, 100) == b"pong"
    assert connection.transport.get_write_buffer_size() == 0
    assert connection.told == []


@pytest.mark.parametrize("size", [READ_BYTES_USUAL - 1, READ_BYTES_USUAL, READ_BYTES_USUAL + 1, 3 * READ_BYTES_MAX])
async def test_everything_comes_in_order_in_bounded_parts(stand: Stand, size: int) -> None:
    client, connection = await stand.connect()
    sent = os.urandom(size)
    await asyncio.get_running_loop().sock_sendall(client, sent)
    await until(lambda: sum(map(len, connection.received)) == size)
    assert b"".join(connection.received) == sent
    assert max(map(len, connection.received)) <= READ_BYTES_MAX


async def test_many_connections_each_have_their_own(stand: Stand) -> None:
    pairs = [await stand.connect() for _ in range(50)]
    for number, (client, _) in enumerate(pairs):
        client.send(b"%d" % number)
    await until(lambda: all(connection.received for _, connection in pairs))
    assert [connection.received for _, connection in pairs] == [[b"%d" % number] for number in range(50)]


async def test_what_does_not_leave_at_once_pauses_and_all_of_it_resumes(stand: Stand) -> None:
    client, connection = await stand.connect()
    _fill(connection)
    assert connection.told == ["pause"]
    waiting = connection.transport.get_write_buffer_size()
    assert 0 < waiting < MUCH_BYTES
    connection.transport.write(b"more")
    assert connection.transport.get_write_buffer_size() == waiting + 4
    assert await _read(client, MUCH_BYTES + 4) == MUCH_BYTES + 4
    await until(lambda: connection.told == ["pause", "resume"])
    assert connection.transport.get_write_buffer_size() == 0


async def test_closing_waits_for_what_has_not_left(stand: Stand) -> None:
    client, connection = await stand.connect()
    _fill(connection)
    connection.transport.close()
    connection.transport.write(b"too late")
    assert connection.transport.is_closing()
    assert not connection.transport.is_reading()
    assert await _read(client, MUCH_BYTES + 1) == MUCH_BYTES
    await until(lambda: connection.lost == [None])
    assert connection.told == ["pause"]


async def test_aborting_does_not_wait(stand: Stand) -> None:
    _, connection = await stand.connect()
    _fill(connection)
    connection.transport.abort()
    connection.transport.abort()
    connection.transport.close()
    assert connection.lost == []
    await until(lambda: connection.lost == [None])


async def test_a_paused_connection_is_not_read_until_it_is_resumed(stand: Stand) -> None:
    client, connection = await stand.connect()
    assert connection.transport.is_reading()
    connection.transport.pause_reading()
    assert not connection.transport.is_reading()
    client.send(b"later")
    client.shutdown(socket.SHUT_WR)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (connection.received, connection.told) == ([], [])
    connection.transport.resume_reading()
    await until(lambda: connection.lost)
    assert (connection.received, connection.told) == ([b"later"], ["eof"])


async def test_the_end_of_the_other_side_is_told_and_closes(stand: Stand) -> None:
    client, connection = await stand.connect()
    client.close()
    await until(lambda: connection.lost == [None])
    assert connection.told == ["eof"]


async def test_the_end_of_one_that_stays_is_told_once(stand: Stand) -> None:
    client, connection = await stand.connect()
    connection.stays_at_eof = True
    client.shutdown(socket.SHUT_WR)
    await until(lambda: connection.told)
    for _ in range(20):
        await asyncio.sleep(0)
    assert connection.told == ["eof"]
    connection.transport.write(b"still here")
    assert await asyncio.get_running_loop().sock_recv(client, 100) == b"still here"
    assert connection.lost == []


async def test_a_reset_is_told_as_an_error(stand: Stand) -> None:
    client, connection = await stand.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await until(lambda: connection.lost)
    assert isinstance(connection.lost[0], ConnectionResetError)


async def test_writing_to_who_is_gone_is_told_as_an_error(stand: Stand) -> None:
    client, connection = await stand.connect()
    connection.transport.pause_reading()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await until(lambda: connection.transport.write(b"x") or connection.transport.is_closing())
    await until(lambda: connection.lost)
    assert isinstance(connection.lost[0], ConnectionError)


async def test_a_fault_of_a_protocol_cuts_its_connection_and_no_other(stand: Stand) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    client, connection = await stand.connect()
    other, untouched = await stand.connect()
    connection.fault = RuntimeError("broken")
    client.send(b"x")
    other.send(b"y")
    await until(lambda: connection.lost == [connection.fault])
    await until(lambda: untouched.received == [b"y"])
    assert [context["exception"] for context in told] == [connection.fault]


async def test_closing_the_listener_leaves_connections_until_they_end(start_loop_watch: Callable[[], None]) -> None:
    start_loop_watch()
    stand = Stand()
    stand.listener.start()
    client, connection = await stand.connect()
    stand.listener.close()
    with pytest.raises(ConnectionRefusedError):
        stand.client()
    client.send(b"still")
    await until(lambda: connection.received == [b"still"])
    assert not stand.listener._sockets._epoll.closed
    client.close()
    await until(lambda: stand.listener._sockets._epoll.closed)


async def test_a_file_descriptor_is_given_back(stand: Stand) -> None:
    client, connection = await stand.connect()
    fd = connection.transport.fileno()
    client.close()
    await until(lambda: connection.lost)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    _, second = await stand.connect()
    assert second.transport.is_reading()


async def test_this_machine_has_what_is_tested_here() -> None:
    assert hasattr(select, "epoll")

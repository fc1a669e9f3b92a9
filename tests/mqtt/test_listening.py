import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from linkstead.mqtt.listening import ACCEPT_RETRY_WAIT_S, ACCEPTED_AT_ONCE_MAX, Listening
from linkstead.testing.clock import ManualClock
from tests.wire import until

pytestmark = pytest.mark.asyncio


class MeagreSocket(socket.socket):
    """A listening socket of a process that may open no more files, as long as `is_exhausted`."""

    is_exhausted = False
    refusals = 0

    def _accept(self) -> Any:
        if self.is_exhausted:
            self.refusals += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super()._accept()  # type: ignore[misc]


class Stand:
    """A free port that is listened on, and what came by it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bound = MeagreSocket()
        self.bound.bind(("127.0.0.1", 0))
        self.address = self.bound.getsockname()
        self.taken: list[socket.socket] = []
        self.peers: list[object] = []
        self.clients: list[socket.socket] = []
        self.listening = Listening(self.bound, self._take, self.clock)

    def _take(self, fd: int, peer: object) -> None:
        self.taken.append(socket.socket(fileno=fd))
        self.peers.append(peer)

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.address)
        self.clients.append(client)
        return client


@pytest_asyncio.fixture
async def stand(start_loop_watch: Callable[[], None]) -> AsyncIterator[Stand]:
    start_loop_watch()
    stand = Stand()
    stand.listening.start()
    yield stand
    if stand.bound.fileno() >= 0:
        stand.listening.close()
    assert stand.clock.timer_count == 0
    for end in stand.taken + stand.clients:
        end.close()


async def test_a_connection_is_taken_with_its_peer_does_not_block_and_holds_back_no_small_packet(stand: Stand) -> None:
    client = stand.connect()
    await until(lambda: stand.taken)
    assert stand.peers == [client.getsockname()]
    assert not os.get_blocking(stand.taken[0].fileno())
    assert stand.taken[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_so_many_are_taken_before_others_have_their_turn(stand: Stand) -> None:
    assert ACCEPTED_AT_ONCE_MAX == 128
    for _ in range(ACCEPTED_AT_ONCE_MAX + 1):
        stand.connect()
    counts = []
    while len(stand.taken) <= ACCEPTED_AT_ONCE_MAX:
        await asyncio.sleep(0)
        counts.append(len(stand.taken))
    assert sorted({*counts} - {0}) == [ACCEPTED_AT_ONCE_MAX, ACCEPTED_AT_ONCE_MAX + 1]


async def test_while_no_file_can_be_opened_the_loop_rests_and_then_goes_on(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.bound.is_exhausted = True
    stand.connect()
    await until(lambda: stand.bound.refusals)
    for _ in range(50):
        await asyncio.sleep(0)
    assert stand.bound.refusals == 1
    stand.clock.advance(ACCEPT_RETRY_WAIT_S)
    await until(lambda: stand.bound.refusals == 2)
    stand.bound.is_exhausted = False
    stand.clock.advance(ACCEPT_RETRY_WAIT_S)
    await until(lambda: stand.taken)
    assert [record.levelno for record in caplog.records if record.name == "linkstead.mqtt.listening"] == [
        logging.ERROR
    ] * 2


async def test_closing_refuses_whoever_comes_and_leaves_who_is_there(stand: Stand) -> None:
    client = stand.connect()
    await until(lambda: stand.taken)
    stand.listening.close()
    with pytest.raises(ConnectionRefusedError):
        stand.connect()
    client.send(b"still")
    assert await asyncio.get_running_loop().sock_recv(stand.taken[0], 100) == b"still"


async def test_while_it_waits_for_files_it_can_be_closed(stand: Stand) -> None:
    stand.bound.is_exhausted = True
    stand.connect()
    await until(lambda: stand.bound.refusals)
    stand.listening.close()
    assert stand.clock.timer_count == 0

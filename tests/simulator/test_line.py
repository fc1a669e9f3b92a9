"""What goes out of a connection has bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from linkstead.mqtt.packets import Disconnect, PingReq, Publish
from linkstead.simulator import Outgoing
from linkstead.simulator.line import CLOSE_WAIT_S, PACKET_ID_MAX, UNACKNOWLEDGED_MAX, UNSENT_BYTES_MAX, Line
from linkstead.testing.clock import ManualClock
from tests.simulator.peer import Peer, PeerServer
from tests.wire import WAIT_S, until

pytestmark = pytest.mark.asyncio

LARGE = Outgoing("/large", bytes(262_144))


class Ends:
    """Both ends of one connection."""

    def __init__(self, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self.clock = ManualClock()
        self.writer = writer
        self.peer = peer
        self.line = Line(writer, self.clock)


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Ends]:
    async with PeerServer.open() as server:
        _, writer = await asyncio.open_connection(*server.address)
        yield Ends(writer, await server.next())
        writer.transport.abort()


async def test_posts_at_qos_1_are_numbered_and_wait_for_their_acknowledgement(ends: Ends) -> None:
    ends.line.send(Outgoing("/reply", b"0"))
    ends.line.send(Outgoing("/post", b"1", 1))
    ends.line.send(Outgoing("/post", b"2", 1))
    assert await ends.peer.expect(Publish) == Publish("/reply", b"0")
    assert await ends.peer.expect(Publish) == Publish("/post", b"1", 1, 1)
    assert await ends.peer.expect(Publish) == Publish("/post", b"2", 1, 2)
    assert ends.line.unacknowledged == {1, 2}


async def test_no_more_posts_are_made_than_may_wait(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(UNACKNOWLEDGED_MAX):
        ends.line.send(Outgoing("/post", b"", 1))
    assert caplog.records == []
    ends.line.send(Outgoing("/post", b"", 1))
    assert [record.getMessage() for record in caplog.records] == ["message left out: the server is behind"]
    ends.line.send(Outgoing("/reply", b""))
    for packet_id in range(1, UNACKNOWLEDGED_MAX + 1):
        assert (await ends.peer.expect(Publish)).packet_id == packet_id
    assert (await ends.peer.expect(Publish)).topic == "/reply"
    ends.line.unacknowledged.discard(1)
    ends.line.send(Outgoing("/post", b"", 1))
    assert (await ends.peer.expect(Publish)).packet_id == UNACKNOWLEDGED_MAX + 1


async def test_packet_ids_go_round_past_those_that_are_taken(ends: Ends) -> None:
    ends.line.send(Outgoing("/p", b"", 1))
    for packet_id in range(2, PACKET_ID_MAX + 1):
        ends.line.send(Outgoing("/p", b"", 1))
        ends.line.unacknowledged.remove(packet_id)
    ends.line.send(Outgoing("/p", b"", 1))
    assert ends.line.unacknowledged == {1, 2}


async def test_nothing_is_sent_while_the_server_takes_nothing(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    def unsent_bytes() -> int:
        return ends.writer.transport.get_write_buffer_size()

    while unsent_bytes() <= UNSENT_BYTES_MAX:
        assert caplog.records == []
        ends.line.send(LARGE)
    before = unsent_bytes()
    for _ in range(3):
        ends.line.send(LARGE)
        ends.line.send(Outgoing("/small", b""))
    assert unsent_bytes() == before <= UNSENT_BYTES_MAX + len(LARGE.payload) + 100
    assert len(caplog.records) == 6


async def test_a_line_that_is_closing_takes_nothing(ends: Ends) -> None:
    closing = asyncio.ensure_future(ends.line.close())
    await ends.peer.expect(Disconnect)
    ends.line.send(LARGE)
    ends.line.write(PingReq())
    await ends.peer.expect_closed()
    await closing
    assert ends.clock.timer_count == 0


async def test_what_is_done_again_and_again_ends_with_the_line(ends: Ends) -> None:
    moments: list[float] = []
    ends.line.every("one", 2.0, lambda: moments.append(ends.clock.monotonic_s()))
    ends.line.every("other", 5.0, lambda: None)
    start_s = ends.clock.monotonic_s()
    ends.clock.advance(6.5)
    assert moments == [start_s + 2, start_s + 4, start_s + 6]
    await ends.line.close()
    assert ends.clock.timer_count == 0


async def test_a_server_that_gives_no_sign_of_life_is_left(ends: Ends) -> None:
    ends.line.is_heard = True
    ends.line.ping()
    await ends.peer.expect(PingReq)
    assert not ends.writer.is_closing()
    ends.line.ping()
    assert ends.writer.is_closing()
    await ends.peer.expect_closed()


async def test_closing_does_not_wait_for_ever(ends: Ends) -> None:
    while ends.writer.transport.get_write_buffer_size() <= UNSENT_BYTES_MAX:
        ends.line.send(LARGE)
    closing = asyncio.ensure_future(ends.line.close())
    await until(lambda: ends.clock.timer_count)
    ends.clock.advance(CLOSE_WAIT_S - 0.1)
    done, _ = await asyncio.wait([closing], timeout=0)
    assert not done
    ends.clock.advance(0.1)
    await asyncio.wait_for(closing, WAIT_S)

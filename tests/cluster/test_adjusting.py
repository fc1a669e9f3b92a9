"""Asking another node to change what its device is subscribed to: each way in which there is no answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from linkstead.cluster import frames
from linkstead.cluster.adjusting import ADJUST_WAIT_S, Adjusting
from linkstead.cluster.frames import Adjusted
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.subjects import Subjects
from linkstead.sessions import NeighbourSilent, Subscribed
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer
from tests.rig import LAMP

pytestmark = pytest.mark.asyncio

HERE = "here"
FILTER = "/a/b/user/get"


class Pair:
    """A node that asks, and the way to one that holds the device."""

    def __init__(self, url: str, name: str) -> None:
        self.clock = ManualClock()
        self.subjects = Subjects(name)
        self.here, self.there = (NatsBus([url], node, lambda: None) for node in (HERE, "there"))
        self.adjusting = Adjusting(HERE, self.here, self.subjects, self.clock)
        self.asked = asyncio.Event()
        self.answer: bytes | None = None

    async def start(self, *, is_held: bool) -> None:
        await self.here.connect()
        await self.there.connect()
        self.adjusting.listen()
        if is_held:
            self.there.subscribe(self.subjects.device(LAMP), self._take)
        assert await self.here.flush()
        assert await self.there.flush()

    def _take(self, _subject: str, reply: str, _data: bytes, _is_nobody: bool) -> None:
        self.asked.set()
        if self.answer is not None:
            self.there.publish(reply, self.answer)

    def ask(self) -> "asyncio.Future[Subscribed | None]":
        return asyncio.ensure_future(self.adjusting.ask(LAMP, [FILTER], []))


@pytest_asyncio.fixture
async def pair(nats_server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    pair = Pair(nats_server.url, f"adjusting-{abs(hash(request.node.name))}")
    yield pair
    await pair.here.close()
    await pair.there.close()
    assert pair.clock.timer_count == 0


async def test_the_holder_answers(pair: Pair) -> None:
    pair.answer = frames.encode(Adjusted("there", True, False, {FILTER: 7}))
    await pair.start(is_held=True)
    assert await pair.ask() == Subscribed(True, False, {FILTER: 7})


async def test_no_node_holds_the_device(pair: Pair) -> None:
    await pair.start(is_held=False)
    assert await pair.ask() is None


async def test_a_holder_that_says_nothing_is_waited_for_until_the_bound(pair: Pair) -> None:
    await pair.start(is_held=True)
    asking = pair.ask()
    await pair.asked.wait()
    pair.clock.advance(ADJUST_WAIT_S - 0.001)
    await asyncio.sleep(0.01)
    assert not asking.done()
    pair.clock.advance(0.001)
    with pytest.raises(NeighbourSilent, match="has not answered"):
        await asking


async def test_what_a_holder_says_that_is_not_understood_is_no_answer(pair: Pair) -> None:
    pair.answer = b"?"
    await pair.start(is_held=True)
    with pytest.raises(NeighbourSilent):
        await pair.ask()


async def test_without_a_connection_nobody_is_asked(pair: Pair) -> None:
    await pair.start(is_held=True)
    await pair.here.close()
    with pytest.raises(NeighbourSilent, match="no connection"):
        await pair.ask()

"""What one node sees, looked at on another, over a real NATS server."""

import contextlib
import logging
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from linkstead.cluster import frames, watches
from linkstead.cluster.frames import FRAME_BYTES_MAX, Watch
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.subjects import Subjects
from linkstead.cluster.watches import KEPT_S, REPEATED_S, TELLING_S, Watches
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer
from tests.wire import until

pytestmark = pytest.mark.asyncio

_clusters = count(1)


class NotedView:
    """A view that shows what a test puts into it."""

    def __init__(self, wish: bytes, is_first: bool) -> None:
        self.wish, self.is_first = wish, is_first
        self.news = b""
        self.is_closed = False

    def take(self) -> bytes:
        news, self.news = self.news, b""
        return news

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class WatchNode:
    """A node that looks and is looked at."""

    def __init__(self, name: str, nats_url: str, subjects: Subjects, clock: ManualClock) -> None:
        self.bus = NatsBus([nats_url], name, lambda: None)
        self.watches = Watches(node=name, bus=self.bus, subjects=subjects, clock=clock)
        self.watches.serve(self.open_view)
        self.views: list[NotedView] = []

    async def open_view(self, wish: bytes, is_first: bool) -> NotedView:
        if wish == b"of a later version":
            raise ValueError(wish)
        view = NotedView(wish, is_first)
        self.views.append(view)
        return view


class Street:
    """Two nodes that look at each other, and the clock of both."""

    def __init__(self, nats_url: str) -> None:
        self.subjects = Subjects(f"watches {next(_clusters)}")
        self.clock = ManualClock()
        self.here, self.there = (WatchNode(name, nats_url, self.subjects, self.clock) for name in ("here", "there"))

    async def settle(self) -> None:
        """Have both hear what was said."""
        for node in (self.here, self.there, self.here):
            await node.bus.flush()

    async def pass_time(self, seconds: float) -> None:
        """A part at a time, with what is said in it heard."""
        for _ in range(round(seconds / TELLING_S)):
            self.clock.advance(TELLING_S)
            await self.settle()


@pytest_asyncio.fixture
async def street(nats_server: NatsServer) -> AsyncIterator[Street]:
    street = Street(nats_server.url)
    async with contextlib.AsyncExitStack() as stack:
        for node in (street.here, street.there):
            await node.bus.connect()
            stack.push_async_callback(node.bus.close)
            stack.push_async_callback(node.watches.stop)
            node.watches.listen()
        await street.settle()
        yield street


async def test_a_node_tells_what_is_new_while_somebody_looks(street: Street) -> None:
    seen: list[bytes] = []
    number = street.here.watches.look(b"calls", seen.append)
    await until(lambda: street.there.views)
    (view,) = street.there.views
    assert (view.wish, view.is_first) == (b"calls", True)
    assert street.here.views == []
    view.news = b"one"
    await street.pass_time(TELLING_S)
    assert seen == [b"one"]
    await street.pass_time(3 * KEPT_S)
    assert street.there.views == [view]
    view.news = b"two"
    await street.pass_time(TELLING_S)
    assert seen == [b"one", b"two"]
    street.here.watches.look_away(number)
    await until(lambda: view.is_closed)
    await street.pass_time(KEPT_S)
    assert street.clock.timer_count == 0


async def test_who_looks_twice_is_told_twice(street: Street) -> None:
    seen: list[bytes] = []
    numbers = [street.here.watches.look(wish, seen.append) for wish in (b"calls", b"messages")]
    await until(lambda: len(street.there.views) == 2)
    for view in street.there.views:
        view.news = view.wish
    await street.pass_time(TELLING_S)
    assert seen == [b"calls", b"messages"]
    street.here.watches.look_away(numbers[0])
    await until(lambda: street.there.views[0].is_closed)
    street.there.views[1].news = b"more"
    await street.pass_time(TELLING_S)
    assert seen[2:] == [b"more"]
    street.here.watches.look_away(numbers[1])


@pytest.mark.parametrize("over_s", [-TELLING_S, TELLING_S])
async def test_a_wish_that_is_not_repeated_is_forgotten(street: Street, over_s: float) -> None:
    street.here.bus.publish(street.subjects.watches, frames.encode(Watch(node="gone", number=1, wish=b"calls")))
    await until(lambda: street.there.views)
    await street.pass_time(KEPT_S + over_s)
    assert street.there.views[0].is_closed == (over_s > 0)
    street.here.bus.publish(street.subjects.watches, frames.encode(Watch(node="gone", number=1, wish=b"calls")))
    await street.settle()
    # One that is there again is told again.
    assert len(street.there.views) == (2 if over_s > 0 else 1)


async def test_a_node_that_comes_later_is_asked_too(street: Street) -> None:
    seen: list[bytes] = []
    street.here.watches.look(b"calls", seen.append)
    late = WatchNode("late", street.here.bus._servers[0], street.subjects, street.clock)
    await late.bus.connect()
    late.watches.listen()
    await late.bus.flush()
    await street.pass_time(REPEATED_S)
    await until(lambda: late.views)
    assert not late.views[0].is_first
    await late.watches.stop()
    assert late.views[0].is_closed
    await late.bus.close()


async def test_wishes_are_bounded(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "WATCHES_MAX", 2)
    numbers = [street.here.watches.look(b"%d" % number, lambda _: None) for number in range(3)]
    await street.settle()
    assert [view.wish for view in street.there.views] == [b"0", b"1"]
    street.here.watches.look_away(numbers[0])
    await street.pass_time(REPEATED_S)
    assert [view.wish for view in street.there.views] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("over", [0, 1])
async def test_what_is_told_at_once_is_bounded(street: Street, caplog: pytest.LogCaptureFixture, over: int) -> None:
    seen: list[bytes] = []
    street.here.watches.look(b"calls", seen.append)
    await until(lambda: street.there.views)
    empty = len(frames.encode(frames.Seen(node="there", number=1, seen=bytes(70_000)))) - 70_000
    street.there.views[0].news = bytes(FRAME_BYTES_MAX - empty + over)
    await street.pass_time(TELLING_S)
    assert len(seen) == 1 - over
    assert [record.levelno for record in caplog.records if "too large" in record.message] == [logging.ERROR] * over


async def test_what_is_not_understood_is_logged_once_and_does_no_harm(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []
    street.here.watches.look(b"of a later version", seen.append)
    street.here.watches.look(b"calls", seen.append)
    for subject in (street.subjects.watches, street.subjects.node("here", "Seen")):
        street.there.bus.publish(subject, b"\xff")
    await street.pass_time(KEPT_S)
    street.there.views[0].news = b"one"
    await street.pass_time(TELLING_S)
    assert seen == [b"one"]
    # By both nodes what is no wish, by one what is nothing seen, by the other whose version is earlier.
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 4


async def test_without_a_connection_nobody_is_asked(nats_server: NatsServer) -> None:
    street = Street(nats_server.url)
    number = street.here.watches.look(b"calls", lambda _: None)
    street.clock.advance(REPEATED_S)
    street.here.watches.look_away(number)
    assert street.clock.timer_count == 0

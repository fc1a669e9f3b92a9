"""What was not heard of devices on other nodes is noticed, and said once more."""

from collections.abc import Callable

import pytest

from linkstead.clock import milliseconds
from linkstead.cluster import frames
from linkstead.cluster.bus import BusAway, Handler
from linkstead.cluster.frames import Decoder, MissedOwns, Own, SaidOwns
from linkstead.cluster.owns import EPOCH_BITS, Owns
from linkstead.cluster.subjects import NODES_MAX, Subjects
from linkstead.testing.clock import ManualClock

SUBJECTS = Subjects("main")


class Air:
    """Between the nodes: what is said is heard at once by all who listen, unless it is cut."""

    def __init__(self) -> None:
        self.handlers: list[tuple[str, Handler]] = []
        self.is_cut = False
        self.said: list[str] = []


class AirBus:
    """Implements `Bus` as far as `Owns` needs it."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self.is_away = False

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        self._air.handlers.append((subject, handler))
        return len(self._air.handlers)

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if self.is_away:
            raise BusAway
        self._air.said.append(subject)
        for listened, handler in list(self._air.handlers):
            if listened == subject and not self._air.is_cut:
                handler(subject, reply, payload, False)


class Node:
    """Holds devices, by the epochs of their connections; `heard` is what it heard of those of others."""

    def __init__(self, name: str, air: Air, clock: ManualClock) -> None:
        self.name = name
        self.bus = AirBus(air)
        self.held: list[int] = []
        self.heard: list[int] = []
        self.owns = Owns(node=name, bus=self.bus, subjects=SUBJECTS, clock=clock, say_since=self._say_since)  # type: ignore[arg-type]
        self.owns.listen()
        air.handlers.append(("own", self._take))
        self._clock = clock

    def hold(self) -> int:
        """A device connects here. Returns its epoch."""
        self._clock.advance(1.0)
        epoch = milliseconds(self._clock.time_s()) << EPOCH_BITS
        self.held.append(epoch)
        self._say(epoch, self.owns.note_said(epoch))
        return epoch

    def _say(self, epoch: int, before: int) -> None:
        self.bus.publish("own", frames.encode(Own(node=self.name, epoch=epoch, before=before)))

    def _say_since(self, epoch: int) -> None:
        for each in self.held:
            if each > epoch:
                self._say(each, 0)

    def _take(self, _subject: str, _reply: str, data: bytes, _is_nobody: bool) -> None:
        own = Decoder(Own).decode(data)
        if own.node != self.name:
            self.owns.note_heard(own)
            self.heard.append(own.epoch)


@pytest.fixture
def air() -> Air:
    return Air()


@pytest.fixture
def make_node(air: Air) -> Callable[[str], Node]:
    clock = ManualClock()
    return lambda name: Node(name, air, clock)


def test_what_was_lost_is_said_once_more(air: Air, make_node: Callable[[str], Node]) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    heard = holder.hold()
    air.is_cut = True
    lost = [holder.hold(), holder.hold()]
    air.is_cut = False
    holder.owns.tell()
    assert other.heard == [heard, *lost]


def test_what_was_lost_before_something_that_was_heard_is_said_once_more(
    air: Air, make_node: Callable[[str], Node]
) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    air.is_cut = True
    lost = holder.hold()
    air.is_cut = False
    heard = holder.hold()
    assert other.heard == [heard]
    holder.owns.tell()
    assert other.heard == [heard, lost, heard]


def test_who_has_heard_all_does_not_ask(air: Air, make_node: Callable[[str], Node]) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    held = [holder.hold(), holder.hold()]
    holder.owns.tell()
    air.is_cut = True
    held.append(holder.hold())
    air.is_cut = False
    holder.owns.tell()
    said_count = len(air.said)
    holder.owns.tell()
    holder.hold()
    holder.owns.tell()
    assert len(air.said) == said_count + 3
    assert other.heard == [*held, holder.held[-1]]


def test_who_begins_later_asks_for_nothing_that_was_said_before(air: Air, make_node: Callable[[str], Node]) -> None:
    holder = make_node("node-a")
    holder.hold()
    holder.held.clear()
    other = make_node("node-b")
    said_count = len(air.said)
    holder.owns.tell()
    assert len(air.said) == said_count + 1
    holder.hold()
    holder.owns.tell()
    assert other.heard == holder.held


def test_after_all_was_said_nothing_is_missed(air: Air, make_node: Callable[[str], Node]) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    air.is_cut = True
    holder.hold()
    air.is_cut = False
    holder._say_since(0)
    holder.owns.tell(0)
    said_count = len(air.said)
    holder.owns.tell()
    assert len(air.said) == said_count + 1
    assert other.heard == holder.held


def test_a_node_that_begins_anew_behind_its_clock_is_heard(air: Air, make_node: Callable[[str], Node]) -> None:
    make_node("node-b")
    air.handlers[0][1](SUBJECTS.owns, "", frames.encode(SaidOwns(node="node-a", epoch=1 << 62, since=0)), False)
    said: list[int] = []
    air.handlers.append((SUBJECTS.node("node-a", MissedOwns.__name__), lambda *_: said.append(1)))
    again = make_node("node-a")
    again.hold()
    again.owns.tell()
    assert not said


def test_what_cannot_be_said_is_left_to_the_next_time(air: Air, make_node: Callable[[str], Node]) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    air.is_cut = True
    lost = holder.hold()
    air.is_cut = False
    other.bus.is_away = True
    holder.owns.tell()
    assert other.heard == []
    other.bus.is_away = False
    holder.owns.tell()
    assert other.heard == [lost]
    holder.bus.is_away = True
    holder.owns.tell()


@pytest.mark.parametrize("count", [NODES_MAX, NODES_MAX + 1])
def test_of_so_many_nodes_it_is_remembered_what_was_heard(
    air: Air, make_node: Callable[[str], Node], count: int
) -> None:
    holder, other = make_node("node-a"), make_node("node-b")
    holder.hold()
    for number in range(count - 1):
        told = SaidOwns(node=f"node-{number}", epoch=1, since=0)
        other.bus.publish(SUBJECTS.owns, frames.encode(told))
    holder.owns.tell()
    assert len(other.heard) == (1 if count == NODES_MAX else 2)


def test_what_is_not_understood_is_logged(
    air: Air, make_node: Callable[[str], Node], caplog: pytest.LogCaptureFixture
) -> None:
    make_node("node-a").bus.publish(SUBJECTS.owns, b"\xff")
    make_node("node-b").bus.publish(SUBJECTS.node("node-b", MissedOwns.__name__), b"\xff")
    assert len(caplog.records) == 2

"""Roads between the workers of one machine, on real sockets, beside a real NATS server."""

import asyncio
import contextlib
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import pytest_asyncio

from linkstead.cluster.bus import HANDED_BYTES_MAX
from linkstead.cluster.frames import Ended, NotTaken, Question, Said
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.near_bus import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    LETTER_BYTES,
    LOOK_S,
    PATH_BYTES_MAX,
    WAITING_BYTES_MAX,
    NearBus,
    NearPlace,
)
from linkstead.invocation import Diagnosis, Moment, Stage, Verdict
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer, running_nats
from tests.wire import until

pytestmark = pytest.mark.asyncio

MEBIBYTE = 1024 * 1024


class Heard(NamedTuple):
    subject: str
    reply: str
    payload: bytes
    is_nobody: bool


class Worker:
    """A bus, what it heard, and which nodes it lost."""

    def __init__(self, nats_url: str, folder: Path, clock: ManualClock, number: int, version: str) -> None:
        self.node = f"worker-{number}"
        self.heard: list[Heard] = []
        self.lost: list[str] = []
        self._is_closed = False
        self.nats = NatsBus([nats_url], self.node, lambda: None)
        self.place = NearPlace(str(folder), number)
        self.bus = NearBus(self.nats, self.place, node=self.node, version=version, lost=self.lost.append, clock=clock)

    def listen(self, subject: str) -> int:
        return self.bus.subscribe(subject, lambda *message: self.heard.append(Heard(*message)))

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self.bus.close()

    @property
    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.heard]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose name is short."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def clock() -> ManualClock:
    """Of all workers."""
    return ManualClock()


MakeWorker = Callable[..., Worker]


@pytest_asyncio.fixture
async def make_worker(nats_server: NatsServer, folder: Path, clock: ManualClock) -> AsyncIterator[MakeWorker]:
    async with contextlib.AsyncExitStack() as stack:

        def make(number: int, version: str = "1", nats_url: str = "") -> Worker:
            worker = Worker(nats_url or nats_server.url, folder, clock, number, version)
            stack.push_async_callback(worker.close)
            return worker

        yield make


async def connect(*workers: Worker) -> None:
    for worker in workers:
        await worker.bus.connect()
    await find_each_other(*workers)


async def find_each_other(*workers: Worker) -> None:
    await until(lambda: all(a.bus.is_near(b.node) for a in workers for b in workers if a is not b))


async def test_what_is_rushed_comes_without_nats_and_in_order(make_worker: MakeWorker) -> None:
    first, second, third = workers = [make_worker(number) for number in (1, 2, 3)]
    await connect(*workers)
    second.listen("n.worker-2.Question")
    said = first.nats.said_count
    for number in range(1_000):
        first.bus.rush("worker-2", "n.worker-2.Question", b"%d" % number, f"r.worker-1.{number}")
    await until(lambda: len(second.heard) == 1_000)
    assert second.heard == [
        Heard("n.worker-2.Question", f"r.worker-1.{number}", b"%d" % number, False) for number in range(1_000)
    ]
    assert first.nats.said_count == said
    assert first.bus.said_count == said + 1_000
    assert not third.heard


async def test_a_reply_goes_back_to_whoever_asked(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    first.listen("r.worker-1.*")
    second.bus.rush("worker-1", "r.worker-1.17", b"pong")
    await until(lambda: bool(first.heard))
    assert first.heard == [Heard("r.worker-1.17", "", b"pong", False)]


QUESTION = Question(
    node="worker-1",
    message_id=17,
    request_id="request",
    account_id="account",
    product_key="product",
    device_name="device",
    action="RRpc",
    target="",
    alink_id=0,
    timeout_ms=5_000,
    topic="/topic",
    answer_topic="/answers",
    ext_topic="",
    needs_ext=False,
    needs_reply=False,
    payload=b"\xff",
)
ENDED = Ended(
    node="worker-2",
    message_id=17,
    verdict=Verdict.SUCCESS,
    diagnosis=Diagnosis.ANSWERED,
    payload=b"\xfe",
    moments=[Moment(Stage.ANSWERED, 1_000, 0.1, "worker-2")],
)


async def test_what_is_handed_comes_as_it_is_and_in_order_with_what_is_rushed(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    heard: list[object] = second.heard  # type: ignore[assignment]
    second.listen("told")
    second.bus.attend(Question, heard.append)
    second.bus.attend(Ended, heard.append)
    said = first.bus.said_count
    first.bus.rush("worker-2", "told", b"1")
    assert first.bus.hand("worker-2", QUESTION, 1)
    first.bus.rush("worker-2", "told", b"2")
    assert first.bus.hand("worker-2", ENDED, 1)
    await until(lambda: len(heard) == 4)
    assert heard == [Heard("told", "", b"1", False), QUESTION, Heard("told", "", b"2", False), ENDED]
    assert first.bus.said_count == said + 4


async def test_nothing_is_handed_to_who_is_not_near_nor_more_than_there_may_be(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    taken: list[Ended] = []
    second.bus.attend(Ended, taken.append)
    assert not first.bus.hand("worker-3", QUESTION, 1)
    assert not first.nats.hand("worker-2", QUESTION, 1)
    large = msgspec.structs.replace(ENDED, payload=b"x" * HANDED_BYTES_MAX)
    assert first.bus.hand("worker-2", large, HANDED_BYTES_MAX)
    assert not first.bus.hand("worker-2", ENDED, HANDED_BYTES_MAX + 1)
    await until(lambda: taken == [large])


async def test_a_large_message_comes_whole(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    second.listen("large")
    payloads = [bytes([number]) * MEBIBYTE for number in range(5)]
    for payload in payloads:
        first.bus.rush("worker-2", "large", payload)
    await until(lambda: len(second.heard) == len(payloads))
    assert second.payloads == payloads


async def test_whoever_asks_where_nobody_listens_is_told(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    first.listen("r.worker-1.*")
    second.bus.unsubscribe(second.listen("n.worker-2.Question"))
    first.bus.rush("worker-2", "n.worker-2.Question", b"", "r.worker-1.1")
    first.bus.rush("worker-2", "n.worker-2.Written", b"")
    await until(lambda: bool(first.heard))
    assert first.heard == [Heard("r.worker-1.1", "", b"", True)]
    assert not second.heard


async def test_what_is_heralded_comes_before_what_is_rushed_and_by_nats_too(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    second.listen("own.>")
    second.listen("n.worker-2.Question")
    assert await second.bus.flush()
    first.bus.herald("own.product.device", b"own")
    first.bus.rush("worker-2", "n.worker-2.Question", b"question")
    await until(lambda: len(second.heard) == 3)
    assert second.payloads[:2] == [b"own", b"question"] or second.payloads == [b"own", b"own", b"question"]
    assert second.payloads.count(b"own") == 2


async def test_what_is_published_takes_the_road_of_all_others(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    second.listen("told")
    assert await second.bus.flush()
    said = first.nats.said_count
    first.bus.publish("told", b"to all")
    await until(lambda: bool(second.heard))
    assert first.nats.said_count == said + 1


async def test_what_one_letter_does_wrong_costs_no_other(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)

    def fail(*_: object) -> None:
        raise ValueError("of the test's own")

    second.bus.subscribe("bad", fail)
    second.listen("good")
    second.bus.attend(Question, fail)
    first.bus.rush("worker-2", "bad", b"")
    assert first.bus.hand("worker-2", QUESTION, 1)
    first.bus.rush("worker-2", "good", b"")
    await until(lambda: bool(second.heard))
    assert caplog.text.count("a message of another worker could not be handled") == 2


async def test_a_worker_that_ends_is_lost_at_once_and_found_again(make_worker: MakeWorker, clock: ManualClock) -> None:
    first, second, third = workers = [make_worker(number) for number in (1, 2, 3)]
    await connect(*workers)
    await second.close()
    await until(lambda: bool(first.lost and third.lost))
    assert (first.lost, second.lost, third.lost) == (["worker-2"], [], ["worker-2"])
    assert not first.bus.is_near("worker-2")
    anew = make_worker(2)
    await anew.bus.connect()
    await until(lambda: anew.bus.is_near("worker-1"))
    assert not anew.bus.is_near("worker-3")
    clock.advance(LOOK_S)
    await find_each_other(first, anew, third)
    anew.listen("again")
    first.bus.rush("worker-2", "again", b"")
    third.bus.rush("worker-2", "again", b"")
    await until(lambda: len(anew.heard) == 2)


async def test_what_was_said_before_a_worker_ends_is_heard(make_worker: MakeWorker) -> None:
    first, second = make_worker(1), make_worker(2)
    await connect(first, second)
    second.listen("last")
    first.bus.rush("worker-2", "last", b"x" * MEBIBYTE)
    await first.close()
    await until(lambda: bool(second.lost))
    assert second.payloads == [b"x" * MEBIBYTE]


async def test_workers_of_different_versions_speak_over_nats(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_worker(1), make_worker(2, version="2")
    await first.bus.connect()
    await second.bus.connect()
    second.listen("told")
    assert await second.bus.flush()
    await until(lambda: caplog.text.count("a worker is of another version and is spoken to over NATS") == 2)
    assert not first.bus.is_near("worker-2")
    said = first.nats.said_count
    first.bus.rush("worker-2", "told", b"")
    await until(lambda: bool(second.heard))
    assert first.nats.said_count == said + 1
    assert not first.lost


async def test_while_nats_is_away_nobody_is_near_and_no_question_is_taken(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    with running_nats(tmp_path) as server:
        first, second = make_worker(1), make_worker(2, nats_url=server.url)
        await connect(first, second)
        first.listen("r.worker-1.*")
        second.listen("n.worker-2.Question")
    await until(lambda: not second.bus.is_connected)
    assert not second.bus.is_near("worker-1")
    assert first.bus.is_near("worker-2")
    first.bus.rush("worker-2", "n.worker-2.Question", b"", "r.worker-1.1")
    await until(lambda: bool(first.heard))
    assert first.heard == [Heard("r.worker-1.1", "", b"", True)]
    handed: list[object] = []
    first.bus.attend(NotTaken, handed.append)
    first.bus.attend(Ended, handed.append)
    assert first.bus.hand("worker-2", QUESTION, 1)
    await until(lambda: handed == [NotTaken("worker-2", 17)])
    # What was asked before is still replied to.
    second.bus.rush("worker-1", "r.worker-1.2", b"pong")
    assert second.bus.hand("worker-1", ENDED, 1)
    await until(lambda: len(first.heard) == 2 and handed[1:] == [ENDED])


async def test_past_what_may_wait_for_a_worker_all_goes_over_nats(make_worker: MakeWorker) -> None:
    first = make_worker(1)
    await first.bus.connect()
    # A worker that has said who it is, and does not read.
    hello = b"\x92\xa8worker-2\xa11"
    other = socket.socket(socket.AF_UNIX)
    other.connect(first.place.path(1))
    other.sendall(len(hello).to_bytes(LENGTH_BYTES, "little") + hello)
    await until(lambda: first.bus.is_near("worker-2"))
    road = first.bus._roads["worker-2"]
    said = first.nats.said_count
    transport = road._transport
    assert transport is not None
    while transport.get_write_buffer_size() == 0:
        # What the system takes does not wait.
        first.bus.rush("worker-2", "told", b"x" * 100_000)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    waiting = transport.get_write_buffer_size()
    step = MEBIBYTE // 2
    while waiting + step + 2 * LETTER_BYTES <= WAITING_BYTES_MAX:
        first.bus.rush("worker-2", "told", b"x" * step)
        waiting += step + LETTER_BYTES
    assert first.nats.said_count == said
    left = WAITING_BYTES_MAX - waiting - LETTER_BYTES
    assert road.say(Said("worker-1", "told", "", b"x" * left), left)
    assert not road.say(Said("worker-1", "told", "", b""), 0)
    first.bus.rush("worker-2", "told", b"")
    assert first.nats.said_count == said + 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Nor when it is at the transport: a frame has less around a letter than is counted.
    assert transport.get_write_buffer_size() <= WAITING_BYTES_MAX
    other.close()
    await until(lambda: first.lost == ["worker-2"])


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1",
        b"\x91\x95\xa6Said/1\xa1s\xa0",
        (FRAME_BYTES_MAX + 1).to_bytes(LENGTH_BYTES, "little"),
    ],
    ids=["no MessagePack", "cut off", "too long"],
)
async def test_who_is_not_understood_is_left(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture, frame: bytes
) -> None:
    first = make_worker(1)
    await first.bus.connect()
    hello = b"\x92\xa8worker-2\xa11"
    reader, writer = await asyncio.open_unix_connection(first.place.path(1))
    writer.write(len(hello).to_bytes(LENGTH_BYTES, "little") + hello)
    await until(lambda: first.bus.is_near("worker-2"))
    writer.write(frame if len(frame) == LENGTH_BYTES else len(frame).to_bytes(LENGTH_BYTES, "little") + frame)
    await until(lambda: first.lost == ["worker-2"])
    assert "another worker was not understood" in caplog.text
    await reader.read()
    assert reader.at_eof()
    writer.close()


async def test_a_frame_may_come_byte_by_byte(make_worker: MakeWorker) -> None:
    first = make_worker(1)
    await first.bus.connect()
    first.listen("told")
    hello = b"\x92\xa8worker-2\xa11"
    letters = msgspec.msgpack.encode([Said("worker-2", "told", "", each) for each in (b"a", b"b")])
    _, writer = await asyncio.open_unix_connection(first.place.path(1))
    for frame in (hello, letters, letters):
        for byte in len(frame).to_bytes(LENGTH_BYTES, "little") + frame:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
    await until(lambda: len(first.heard) == 4)
    assert first.payloads == [b"a", b"b"] * 2
    writer.close()


async def test_sockets_are_for_this_user_alone_and_go_with_their_worker(make_worker: MakeWorker, folder: Path) -> None:
    worker = make_worker(1)
    # One that was killed has left its socket's name behind.
    (folder / "1").touch()
    await worker.bus.connect()
    mode = (folder / "1").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    await worker.close()
    assert not (folder / "1").exists()


async def test_a_worker_without_a_socket_speaks_over_nats(
    make_worker: MakeWorker, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_worker(1), make_worker(2)
    # Nothing can be made where a folder is.
    (folder / "1").mkdir()
    await first.bus.connect()
    await second.bus.connect()
    assert "there is no socket for them" in caplog.text
    second.listen("told")
    assert await second.bus.flush()
    first.bus.rush("worker-2", "told", b"")
    await until(lambda: bool(second.heard))
    assert not first.bus.is_near("worker-2")


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (1, False)])
async def test_a_folder_of_too_long_a_name_holds_no_sockets(spare: int, fits: bool) -> None:
    folder = "/" + "f" * (PATH_BYTES_MAX - len("//12") + spare)
    assert NearPlace(folder, 12).fits is fits

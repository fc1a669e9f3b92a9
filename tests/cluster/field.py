"""Nodes in processes of their own on one PostgreSQL and three NATS servers; devices and apps in this process."""

import asyncio
import base64
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from linkstead.config import Address
from linkstead.invocation import Diagnosis, Verdict
from linkstead.models import ModelShelf
from linkstead.mqtt.packets import ConnAck, Connect, Packet, PubAck, Publish, Splitter, decode, encode
from linkstead.registry import DeviceKey
from linkstead.server import SystemClock
from linkstead.store.postgres import PostgresStore
from linkstead.tsl import ThingModel
from tests.cli.processes import ServerProcess, serving
from tests.nats_server import NatsServer
from tests.rig import KEY, PRODUCT_KEY, a_device, device_secret
from tests.tsl.documents import read_sample
from tests.wire import READ_BYTES_MAX, App, DeviceClient, answer_topic, break_off, fetch, stages

NODE_COUNT = 3
KEEP_ALIVE_S = 1_200
CALL_TIMEOUT_MS = 2_000
LATE_MS_MAX = 50
"""Past its deadline, on an unloaded machine. Source: `architecture.md` 2, rule 1."""

SLACK_MS = 450
"""What a machine that runs all of this at once may add."""

RECONNECT_S = 0.1
ASKED_AGAIN_S = 0.1

RATE = float(os.environ.get("TEST_CALLS_PER_SECOND", "100"))
"""Calls a second, unless a test has a rate of its own."""

_numbers = count(1)


@contextlib.contextmanager
def serving_nodes(
    folder: Path, database: str, nats: Sequence[NatsServer], node_count: int = NODE_COUNT
) -> Iterator[list[ServerProcess]]:
    """Nodes that know all the NATS servers."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving("serve", *name_options(database, nats), folder=folder, name=f"node-{number}"))
            for number in range(node_count)
        ]


@contextlib.asynccontextmanager
async def relaying(host: str, port: int) -> AsyncIterator[int]:
    """Make a port of this machine reachable at another of its addresses; the number of the port there."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # It is cancelled with the test.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(READ_BYTES_MAX):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(pass_on(reader, there_writer), pass_on(there_reader, writer))

    async with await asyncio.start_server(serve, host) as server:
        yield server.sockets[0].getsockname()[1]
    # Whoever was connected has ended; the last bytes of that are read.
    await asyncio.sleep(RECONNECT_S)


def name_options(database: str, nats: Sequence[NatsServer]) -> list[str]:
    """The options of one node."""
    # The client shuffles what it is given.
    urls = ",".join(server.url for server in nats)
    return ["--no-quotas", "--database", database, "--nats", urls]


async def add_lamps(database: str, keys: Sequence[DeviceKey]) -> None:
    """Register devices of a product with a thing model."""
    store = PostgresStore(database, SystemClock())
    await store.open()
    await store.add_devices([a_device(key) for key in keys])
    await ModelShelf(store).publish(ThingModel(PRODUCT_KEY, read_sample("lamp").modules), "1", "", 1)
    await store.close()


def name_lamps(lamp_count: int) -> list[DeviceKey]:
    return [DeviceKey(PRODUCT_KEY, f"field-{number}") for number in range(lamp_count)]


class _AppLine(asyncio.Protocol):
    """An app's connection, one request at a time. Without streams: hundreds of calls a second are made here."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = bytes(self._received).partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received.clear()
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or EOFError())

    async def request(self, request: bytes) -> bytes:
        """The body of the answer. Raises OSError or EOFError where there is none."""
        if self._transport is None:
            raise EOFError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Caller(App):
    """An application at one node that keeps its connections."""

    def __init__(self, node: ServerProcess) -> None:
        super().__init__(node.http, SystemClock(), KEY.access_key_id, KEY.secret)
        self._lines: list[_AppLine] = []
        self._idle: list[_AppLine] = []

    async def post(self, action: str, **parameters: str) -> dict[str, Any]:
        """Call an action; the answer. Raises OSError or EOFError where there is none."""
        form = self.sign_v1({"Action": action, **parameters}, "POST").encode()
        line = self._idle.pop() if self._idle else await self._connect()
        body = await line.request(
            b"POST / HTTP/1.1\r\nHost: linkstead\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        self._idle.append(line)
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def _connect(self) -> _AppLine:
        _, line = await asyncio.get_running_loop().create_connection(_AppLine, *self.address)
        self._lines.append(line)
        return line

    async def call_record(self, call_id: int | str) -> dict[str, Any]:
        # Signed: another machine's password is not taken.
        target, headers = self.sign_v3("", {}, method="GET", path=f"/_linkstead/calls/{call_id}")
        response = await fetch(self.address, "GET", target, headers)
        assert response.status == 200, response
        record: dict[str, Any] = response.json()
        return record

    def close(self) -> None:
        for line in self._lines:
            line.close()


@contextlib.asynccontextmanager
async def calling_from(nodes: Sequence[ServerProcess]) -> AsyncIterator[list[Caller]]:
    """An application at each node."""
    callers = [Caller(node) for node in nodes]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.close()


class LampLine(asyncio.Protocol):
    """A connection of a device that answers whatever it is called with; over when `ended` is done."""

    def __init__(self, lamp: "Lamp", connect: Connect) -> None:
        self._lamp = lamp
        self._connect = connect
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(encode(self._connect, self._connect.level))

    def data_received(self, data: bytes) -> None:
        answers = []
        for frame in self._splitter.feed(data):
            packet = decode(frame, self._connect.level)
            if isinstance(packet, Publish):
                answers += self._lamp.answer(packet)
            elif isinstance(packet, ConnAck) and not self.accepted.done():
                if packet.reason_code:
                    self.accepted.set_exception(ConnectionRefusedError(f"CONNACK {packet.reason_code}"))
                else:
                    self.accepted.set_result(None)
        if answers and self._transport is not None:
            self._transport.write(b"".join(encode(answer, self._connect.level) for answer in answers))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.accepted.done():
            self.accepted.set_exception(exc or EOFError())
        if not self.ended.done():
            self.ended.set_result(None)

    def reset(self) -> None:
        """Break it off: the other side gets RST."""
        if self._transport is not None:
            break_off(self._transport)

    async def close(self) -> None:
        """Close without DISCONNECT."""
        if self._transport is not None:
            self._transport.close()
            await self.ended


class Lamp:
    """A device that answers whatever it is called with, and remembers it: over several connections, one after the other
    or at a time."""

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self.names = {"ProductKey": key.product_key, "DeviceName": key.device_name}
        self.seen: Counter[str] = Counter()
        self.connected_s = 0.0
        self.place: Address | None = None
        self._open: set[LampLine] = set()

    @property
    def open_count(self) -> int:
        """Connections that have not ended."""
        return len(self._open)

    async def connect(self, place: Address, *, clean_start: bool = True) -> LampLine:
        """Connect, whether it is connected or not. Raises OSError or EOFError where that fails."""
        packet = DeviceClient(place, self.key, device_secret(self.key)).connect_packet(
            keep_alive_s=KEEP_ALIVE_S, clean_start=clean_start
        )
        _, line = await asyncio.get_running_loop().create_connection(lambda: LampLine(self, packet), *place)
        self._open.add(line)
        line.ended.add_done_callback(lambda _: self._open.discard(line))
        try:
            await line.accepted
        except BaseException:
            await line.close()
            raise
        self.connected_s, self.place = time.monotonic(), place
        return line

    def answer(self, request: Publish) -> list[Packet]:
        """What it says to a call."""
        if "/rrpc/" in request.topic:
            self.seen[request.payload.decode()] += 1
            return [Publish(answer_topic(request.topic), request.payload)]
        number = json.loads(request.payload)["id"]
        self.seen[number] += 1
        reply = Publish(f"{request.topic}_reply", json.dumps({"id": number, "code": 200, "data": {}}).encode())
        return [PubAck(request.packet_id), reply] if request.qos else [reply]

    async def live(self, places: Sequence[Address]) -> None:
        """Stay connected: to the first of these places, and to the next one when the connection ends."""
        while True:
            for place in places:
                with contextlib.suppress(OSError, EOFError):
                    line = await self.connect(place, clean_start=False)
                    await asyncio.shield(line.ended)
            await asyncio.sleep(RECONNECT_S)

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(line.close() for line in list(self._open)))


@dataclass
class Made:
    """A call that was made: when, and what came of it; no answer where the connection of the app broke."""

    caller: Caller
    lamp: Lamp
    text: str
    started_s: float
    ended_s: float = 0.0
    answer: dict[str, Any] | None = None

    @property
    def verdict(self) -> str:
        return str(self.answer["RrpcCode"]) if self.answer is not None else ""

    @property
    def took_ms(self) -> float:
        return (self.ended_s - self.started_s) * 1000


@dataclass
class Load:
    """Calls that are made at a rate, whether earlier ones are answered or not."""

    made: list[Made] = field(default_factory=list)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def call(self, caller: Caller, lamp: Lamp) -> None:
        """Call a device; returns at once."""
        made = Made(caller, lamp, f"call {next(_numbers)}", time.monotonic())
        self.made.append(made)
        task = asyncio.ensure_future(self._call(made))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, made: Made) -> None:
        body = base64.b64encode(made.text.encode()).decode()
        with contextlib.suppress(OSError, EOFError):
            made.answer = await made.caller.post(
                "RRpc", RequestBase64Byte=body, Timeout=str(CALL_TIMEOUT_MS), **made.lamp.names
            )
        made.ended_s = time.monotonic()

    async def run(self, rate: float, choose: Callable[[], tuple[Caller, Lamp]]) -> None:
        """Make so many calls a second until it is cancelled."""
        next_s = time.monotonic()
        while True:
            self.call(*choose())
            next_s += 1 / rate
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def end(self) -> None:
        """Return when every call has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)


@contextlib.asynccontextmanager
async def running_tasks(*works: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Work that goes on beside the block; what goes wrong in it is raised at the end."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


NOT_SENT = {
    Diagnosis.NOT_CONNECTED,
    Diagnosis.HALF_CONNECTED,
    Diagnosis.NEVER_ACTIVATED,
    Diagnosis.NODES_UNREACHABLE,
    Diagnosis.DATABASE_AWAY,
}
"""With these the device has not got the message."""


def find_lie(made: Made, record: dict[str, Any]) -> str:
    """What verdict, timeline, the answer to the app and what the device saw do not agree on; empty: nothing."""
    verdict, diagnosis, told = record["verdict"], record["diagnosis"], stages(record)
    at_ms = {moment["stage"]: moment["offset_ms"] for moment in record["timeline"]}
    seen_count = made.lamp.seen[made.text]
    assert made.answer is not None
    lies = {
        "the app was told another verdict": made.verdict != verdict,
        "its device got it more than once": seen_count > 1,
        "a stage is there twice": len(set(told)) != len(told),
        "it is late": at_ms["returned"] - at_ms["received"] > CALL_TIMEOUT_MS + LATE_MS_MAX + SLACK_MS,
        "not answered, but SUCCESS": verdict == Verdict.SUCCESS
        and ("answered" not in told or "written" not in told or not seen_count or not is_echo(made)),
        "not written, but TIMEOUT": verdict == Verdict.TIMEOUT and "written" not in told,
        "written, and it never left": diagnosis in NOT_SENT and ("written" in told or "answered" in told),
        "it was got, and it never left": diagnosis in NOT_SENT and seen_count > 0,
        "answered, but no SUCCESS": "answered" in told and verdict != Verdict.SUCCESS,
        "a verdict that a call does not have": verdict not in set(Verdict) - {Verdict.REJECTED, Verdict.EXPIRED},
        "a fault of ours": diagnosis == Diagnosis.INTERNAL_ERROR,
    }
    return "; ".join(lie for lie, is_told in lies.items() if is_told)


def is_echo(made: Made) -> bool:
    assert made.answer is not None
    return base64.b64decode(made.answer["PayloadBase64Byte"]).decode() == made.text


async def check_truth(calls: Sequence[Made]) -> None:
    """Every call's verdict agrees with its timeline and with what its device saw. The node that was called is there."""
    lies = []
    for made in calls:
        assert made.answer is not None
        # One that went no further than to the database has no message id.
        record = await made.caller.call_record(made.answer.get("MessageId") or made.answer["RequestId"])
        lie = find_lie(made, record)
        if lie:
            lies.append(f"{lie}: took {made.took_ms:.0f} ms, device saw {made.lamp.seen[made.text]}: {record}")
    assert not lies, f"{len(lies)} of {len(calls)} calls, the first: {lies[0]}"


async def until_holds(condition: Callable[[], object], wait_s: float) -> float:
    """Wait for something that no byte tells of; how long that took."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < wait_s, "it never came"
        await asyncio.sleep(0.01)
    return time.monotonic() - started_s

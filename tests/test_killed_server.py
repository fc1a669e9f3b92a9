"""What a server accepted outlives its death: a process that is killed while it is called, and started again."""

import asyncio
import base64
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from linkstead.amqp.frames import Accepted, Transfer
from linkstead.config import parse_address
from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.models import ModelShelf
from linkstead.mqtt.packets import PubAck, Publish, SubAck, Subscribe, Subscription
from linkstead.registry import DeviceKey
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store import SqliteStore
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation
from linkstead.tsl import ThingModel
from tests.amqp.endpoint import password, user_name
from tests.amqp.peer import BEGIN, Peer, attach, flow, settle
from tests.cli.processes import ServerProcess, serving
from tests.rig import KEY as ACCESS_KEY
from tests.rig import PRODUCT_KEY, a_device, device_secret
from tests.tsl.documents import read_sample
from tests.wire import WAIT_S, App, DeviceClient

pytestmark = pytest.mark.asyncio

CREDIT = 200


class Worker:
    """A device with a persistent session: it acknowledges and answers whatever comes, and remembers the ids."""

    def __init__(self, name: str) -> None:
        self.key = DeviceKey(PRODUCT_KEY, name)
        self.names = {"ProductKey": PRODUCT_KEY, "DeviceName": name}
        self.seen: set[str] = set()
        self.accepted: dict[str, str] = {}

    async def prepare(self, device: DeviceClient) -> None:
        """What it does when it is connected for the first time."""

    def take(self, device: DeviceClient, publish: Publish) -> None:
        """Deal with what came."""
        number = json.loads(publish.payload)["id"]
        self.seen.add(number)
        reply = json.dumps({"id": number, "code": 200, "data": {}}).encode()
        device.send(PubAck(publish.packet_id), Publish(f"{publish.topic}_reply", reply))

    async def call(self, app: App) -> tuple[dict[str, Any], str]:
        """Have it called; returns the answer, and what the device has to have seen where it was accepted."""
        args = '{"SceneId":"evening","Steps":[]}'
        response = await app.call("InvokeThingService", Identifier="RunScene", Args=args, Qos="1", **self.names)
        answer = response.json()
        return answer, answer["Data"]["MessageId"] if answer["Success"] else ""

    def has_ended_well(self, call: Call) -> bool:
        """True for a call that ended as it should."""
        ending = call.verdict, call.diagnosis, call.result_code, str(call.alink_id) in self.seen
        stages = [moment.stage for moment in call.timeline]
        return ending == (Verdict.SUCCESS, Diagnosis.ANSWERED, 200, True) and stages.count(Stage.ANSWERED) == 1


class Reader(Worker):
    """A device with a persistent session that subscribed to messages; it acknowledges them and remembers their text."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._numbers = count(1)
        self._topic = f"/{PRODUCT_KEY}/{name}/user/get"

    async def prepare(self, device: DeviceClient) -> None:
        device.send(Subscribe(1, [Subscription(self._topic, 1)]))
        assert (await device.expect(SubAck)).reason_codes == [1]

    def take(self, device: DeviceClient, publish: Publish) -> None:
        self.seen.add(publish.payload.decode())
        device.send(PubAck(publish.packet_id))

    async def call(self, app: App) -> tuple[dict[str, Any], str]:
        text = f"{self.key.device_name} {next(self._numbers)}"
        content = base64.b64encode(text.encode()).decode()
        response = await app.call(
            "Pub", ProductKey=PRODUCT_KEY, TopicFullName=self._topic, MessageContent=content, Qos="1"
        )
        return response.json(), text

    def has_ended_well(self, call: Call) -> bool:
        return (call.verdict, call.diagnosis, call.result_code) == (Verdict.SUCCESS, Diagnosis.DELIVERED, 0)


async def receive_at_last(peer: Peer) -> tuple[Transfer, bytes]:
    """The next message, however long nothing comes: while the results are looked at there is no other."""
    while True:
        with contextlib.suppress(TimeoutError):
            return await peer.receive()


class Collector:
    """A consumer of the default group: it accepts whatever comes, and remembers which results it was told."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self._has_news = asyncio.Event()

    async def collect(self, server: ServerProcess) -> None:
        """Take all that comes, for as long as the server lives."""
        peer = await Peer.connect(parse_address(server.ready["amqp"]).port)
        try:
            name = user_name(ACCESS_KEY)
            await peer.log_in(name, password(name, ACCESS_KEY.secret))
            peer.send(BEGIN, attach(), flow(CREDIT))
            for seen in count(1):
                transfer, message = await receive_at_last(peer)
                # What stands before the body is binary.
                told = json.loads(message[message.index(b'{"gmtCreate"') :])
                if told.get("topic", "").endswith("/thing/service/RunScene_reply"):
                    assert told["code"] == 200
                    self.told.add(told["requestId"])
                    self._has_news.set()
                assert transfer.delivery_id is not None
                peer.send(settle(transfer.delivery_id, state=Accepted()))
                if seen % (CREDIT // 2) == 0:
                    peer.send(flow(CREDIT, seen=seen))
        except (EOFError, ConnectionError):
            pass
        finally:
            with contextlib.suppress(OSError):
                await peer.close()

    async def until_told(self, numbers: Collection[str]) -> None:
        """Every one of these results was told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S + len(numbers) * 0.02):
                while not self.told.issuperset(numbers):
                    self._has_news.clear()
                    await self._has_news.wait()
        assert set(numbers) - self.told == set()


async def make_installation(filled: Path, path: Path, workers: Sequence[Worker]) -> None:
    """A database with devices of a product with a thing model."""
    shutil.copyfile(filled, path)
    store = SqliteStore(path, SystemClock())
    await store.open()
    await store.add_devices([a_device(worker.key) for worker in workers])
    await ModelShelf(store).publish(ThingModel(PRODUCT_KEY, read_sample("lamp").modules), "1", "", 1)
    kinds = frozenset({NoticeKind.DEVICE_DATA})
    await store.add_relation(SubscribeRelation(PRODUCT_KEY, "AMQP", kinds, (DEFAULT_GROUP_ID,)))
    await store.close()


async def work(worker: Worker, device: DeviceClient) -> None:
    while True:
        worker.take(device, await device.expect(Publish))


@contextlib.asynccontextmanager
async def connected(server: ServerProcess, workers: Sequence[Worker]) -> AsyncIterator[list[DeviceClient]]:
    devices = [DeviceClient(server.mqtt, worker.key, device_secret(worker.key)) for worker in workers]
    try:
        for device in devices:
            await device.connect(clean_start=False)
        yield devices
    finally:
        for device in devices:
            await device.close()


@contextlib.asynccontextmanager
async def collecting(server: ServerProcess, collector: Collector | None) -> AsyncIterator[None]:
    task = asyncio.ensure_future(collector.collect(server)) if collector is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def working(server: ServerProcess, workers: Sequence[Worker]) -> AsyncIterator[None]:
    async with connected(server, workers) as devices:
        tasks = [asyncio.ensure_future(work(*pair)) for pair in zip(workers, devices, strict=True)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def app_of(server: ServerProcess) -> App:
    return App(server.http, SystemClock(), ACCESS_KEY.access_key_id, ACCESS_KEY.secret)


def accepted_count(workers: Sequence[Worker]) -> int:
    return sum(len(worker.accepted) for worker in workers)


async def call_until_killed(app: App, worker: Worker) -> None:
    """Call a device again and again; each call that was accepted is noted."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            answer, mark = await worker.call(app)
            if not answer["Success"]:
                assert answer["Code"] == "iot.messagebroker.RateLimit", answer
                return
            worker.accepted[answer["RequestId"]] = mark


async def call_and_kill(server: ServerProcess, workers: Sequence[Worker], call_count: int) -> None:
    """Have all called at once, and kill the server when so many calls were accepted, of all its lives together."""
    calling = [asyncio.ensure_future(call_until_killed(app_of(server), worker)) for worker in workers]
    async with asyncio.timeout(600.0):
        while accepted_count(workers) < call_count and not all(task.done() for task in calling):
            await asyncio.wait(calling, timeout=0.02, return_when=asyncio.FIRST_EXCEPTION)
    server.child.kill()
    server.end()
    await asyncio.gather(*calling)
    assert accepted_count(workers) >= call_count


async def until_recorded(app: App, request_ids: Sequence[str]) -> None:
    """Every call has a verdict."""
    async with asyncio.timeout(WAIT_S + len(request_ids) * 0.02):
        for request_id in request_ids:
            while (await app.call_record(request_id))["verdict"] is None:
                pass


async def outlive(
    filled: Path, folder: Path, workers: Sequence[Worker], kills: Sequence[int], collector: Collector | None = None
) -> None:
    """Call the devices of a server that is killed at these numbers of accepted calls; look what became of each.

    A collector is there in every second life only, and in the last.
    """
    path = folder / DATABASE_FILE
    await make_installation(filled, path, workers)
    options = ("--no-quotas", "--database", f"sqlite:///{path}", "--amqp", "127.0.0.1:0")
    with serving("serve", *options, folder=folder, name="first") as server:
        async with connected(server, workers) as devices:
            for worker, device in zip(workers, devices, strict=True):
                await worker.prepare(device)
        assert server.stop() == 0
    for life, call_count in enumerate(kills):
        with serving("serve", *options, folder=folder, name=f"life-{life}") as server:
            # Half of them are away while they are called, and have their turn in the next life.
            async with (
                working(server, workers[life % 2 :: 2]),
                collecting(server, collector if life % 2 else None),
            ):
                await call_and_kill(server, workers, call_count)
    with serving("serve", *options, folder=folder, name="last") as server:
        async with working(server, workers), collecting(server, collector):
            await until_recorded(app_of(server), [name for worker in workers for name in worker.accepted])
            if collector is not None:
                await collector.until_told({mark for worker in workers for mark in worker.accepted.values()})
        assert server.stop() == 0
    store = SqliteStore(path, SystemClock())
    await store.open()
    for worker in workers:
        assert worker.seen >= set(worker.accepted.values())
        for request_id in worker.accepted:
            call = await store.find_call(ACCESS_KEY.account_id, request_id)
            assert call is not None
            assert worker.has_ended_well(call), call
    await store.close()


LONG = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("device_count", "call_count"), [(4, 300), pytest.param(24, 10_000, marks=LONG)])
async def test_a_service_call_that_was_accepted_reaches_its_device_and_is_answered(
    filled_database: Path, tmp_path: Path, device_count: int, call_count: int
) -> None:
    workers = [Worker(f"worker-{number}") for number in range(device_count)]
    await outlive(filled_database, tmp_path, workers, [call_count])


@pytest.mark.parametrize(
    ("device_count", "call_count", "kill_count"), [(4, 300, 2), pytest.param(24, 10_000, 8, marks=LONG)]
)
async def test_a_message_that_was_accepted_reaches_its_device(
    filled_database: Path, tmp_path: Path, device_count: int, call_count: int, kill_count: int
) -> None:
    readers = [Reader(f"reader-{number}") for number in range(device_count)]
    kills = sorted(random.Random(call_count).sample(range(1, call_count), kill_count - 1))
    await outlive(filled_database, tmp_path, readers, [*kills, call_count])


@pytest.mark.parametrize(
    ("device_count", "call_count", "kill_count"), [(4, 300, 2), pytest.param(24, 10_000, 8, marks=LONG)]
)
async def test_the_result_of_a_call_that_was_accepted_reaches_the_consumer(
    filled_database: Path, tmp_path: Path, device_count: int, call_count: int, kill_count: int
) -> None:
    workers = [Worker(f"worker-{number}") for number in range(device_count)]
    kills = sorted(random.Random(call_count).sample(range(1, call_count), kill_count - 1))
    await outlive(filled_database, tmp_path, workers, [*kills, call_count], Collector())

"""A simulated device on its connection, with a server that the test plays."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from linkstead.alink import credentials
from linkstead.config import Address
from linkstead.mqtt.packets import ConnAck, Connect, PingReq, PingResp, PubAck, Publish
from linkstead.simulator import Behaviour, SimulatedDevice, read_behaviour
from linkstead.simulator.device import (
    KEEP_ALIVE_S,
    POST_EVERY_S,
    RECONNECT_WAIT_S_MAX,
    RECONNECT_WAIT_S_MIN,
    Carrier,
    RefusedError,
)
from linkstead.simulator.line import UNACKNOWLEDGED_MAX
from linkstead.testing.clock import ManualClock
from tests.simulator.peer import Peer, PeerServer
from tests.simulator.things import BLINK, KEY, MESSAGE_ID, OWN, request
from tests.tsl.documents import read_sample
from tests.wire import WAIT_S

pytestmark = pytest.mark.asyncio

SECRET = "5dee0c1f4b8e4f4f9a6d6b1e2c3a7f90"
POST_TOPIC = OWN + "thing/event/property/post"


class SleepWatch(ManualClock):
    """Tells when somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self._sleeps: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, delay_s: float) -> None:
        self._sleeps.put_nowait(delay_s)
        await super().sleep(delay_s)

    async def next_sleep(self) -> float:
        async with asyncio.timeout(WAIT_S):
            return await self._sleeps.get()


@contextlib.asynccontextmanager
async def running(device: SimulatedDevice) -> AsyncIterator[asyncio.Task[None]]:
    """A device while it runs; it is to run to the end."""
    task = asyncio.ensure_future(device.run())
    try:
        yield task
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def make_device(address: Address, clock: ManualClock, **fields: Any) -> SimulatedDevice:
    usual: dict[str, Any] = {"model": read_sample("lamp")}
    return SimulatedDevice(*address, KEY, SECRET, clock, **(usual | fields))


@contextlib.asynccontextmanager
async def playing(**fields: Any) -> AsyncIterator[tuple[Peer, Connect, ManualClock]]:
    """A device that is connected to a server which the test plays."""
    clock = ManualClock()
    async with PeerServer.open() as server, running(make_device(server.address, clock, **fields)):
        peer, connect = await server.accepted()
        yield peer, connect, clock


# --- connecting ---


@pytest.mark.parametrize(("carrier", "ext"), [("ext", 1), ("sys", 0)])
async def test_it_connects_as_a_link_sdk_does(carrier: Carrier, ext: int) -> None:
    async with playing(carrier=carrier) as (_, connect, _clock):
        client_id = credentials.parse_client_id(connect.client_id)
        assert client_id.options["ext"] == str(ext)
        assert client_id.options["_ss"] == "1"
        assert connect.user_name == "lamp-01&a1Lnk5tEad0"
        assert connect.password == credentials.sign_connect(KEY, client_id, SECRET).encode()
        assert (connect.clean_start, connect.keep_alive_s) == (True, KEEP_ALIVE_S)


async def test_a_refusal_ends_it() -> None:
    async with PeerServer.open() as server:
        task = asyncio.ensure_future(make_device(server.address, ManualClock()).run())
        peer = await server.next()
        await peer.expect(Connect)
        peer.send(ConnAck(reason_code=5))
        with pytest.raises(RefusedError) as raised:
            await asyncio.wait_for(task, WAIT_S)
        assert raised.value.args == (5,)


async def test_it_waits_ever_longer_before_it_connects_again_and_shorter_once_it_was_accepted() -> None:
    clock = SleepWatch()
    async with PeerServer.open() as server:
        device = make_device(server.address, clock)
        async with running(device):
            waits_s = [1, 2, 4, 8, 16, RECONNECT_WAIT_S_MAX, RECONNECT_WAIT_S_MAX]
            for wait_s in waits_s:
                (await server.next()).writer.close()
                assert await clock.next_sleep() == wait_s
                clock.advance(wait_s)
            peer, _ = await server.accepted()
            await peer.expect_post()
            assert device.connected.is_set()
            peer.writer.close()
            assert await clock.next_sleep() == RECONNECT_WAIT_S_MIN
            assert not device.connected.is_set()
            clock.advance(RECONNECT_WAIT_S_MIN)
            peer, _ = await server.accepted()
            assert (await peer.expect_post()).topic == POST_TOPIC


async def test_one_that_does_not_come_back_has_ended_with_its_connection() -> None:
    async with PeerServer.open() as server:
        device = make_device(server.address, ManualClock(), comes_back=False)
        task = asyncio.ensure_future(device.run())
        peer, _ = await server.accepted()
        await peer.expect_post()
        peer.writer.close()
        await asyncio.wait_for(task, WAIT_S)
        assert not device.connected.is_set()


async def test_what_is_taken_first_is_not_taken_again() -> None:
    taken: list[object] = []

    def take(packet: object, line: object) -> bool:
        taken.append(packet)
        return isinstance(packet, Publish) and packet.payload == b"mine"

    async with playing(model=None, take_first=take) as (peer, _, _clock):
        peer.send(Publish(OWN + "rrpc/request/1", b"mine"), Publish(OWN + "rrpc/request/2", b"yours"))
        assert (await peer.expect(Publish)).payload == b"yours"
        assert [packet.payload for packet in taken if isinstance(packet, Publish)] == [b"mine", b"yours"]


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    clock = SleepWatch()
    async with PeerServer.open() as server:
        address = server.address
    async with running(make_device(address, clock)):
        assert await clock.next_sleep() == RECONNECT_WAIT_S_MIN


async def test_bytes_that_are_no_mqtt_end_the_connection_and_not_the_device() -> None:
    clock = SleepWatch()
    async with PeerServer.open() as server, running(make_device(server.address, clock)):
        peer, _ = await server.accepted()
        await peer.expect_post()
        peer.writer.write(bytes([0x00, 0x00]))
        assert await clock.next_sleep() == RECONNECT_WAIT_S_MIN


async def test_a_silent_server_is_left() -> None:
    async with playing(post_every_s=0.0) as (peer, _, clock):
        await peer.expect_post()
        for _ in range(2):
            peer.send(PingResp(), Publish(OWN + "rrpc/request/1", b"heard"))
            await peer.expect(Publish)
            clock.advance(KEEP_ALIVE_S)
            await peer.expect(PingReq)
        clock.advance(KEEP_ALIVE_S)
        await peer.expect_closed()


async def test_a_server_that_never_accepts_is_left() -> None:
    clock = ManualClock()
    async with PeerServer.open() as server, running(make_device(server.address, clock)):
        peer = await server.next()
        await peer.expect(Connect)
        clock.advance(KEEP_ALIVE_S)
        await peer.expect_closed()


# --- posts ---


async def test_all_properties_are_posted_on_connecting_and_every_minute() -> None:
    async with playing() as (peer, _, clock):
        first = await peer.expect_post()
        assert (first.topic, first.qos) == (POST_TOPIC, 1)
        assert json.loads(first.payload)["params"].keys() == {
            found.identifier for found in read_sample("lamp").modules[0].properties
        }
        peer.send(PingResp(), Publish(OWN + "rrpc/request/1", b""))
        await peer.expect(Publish)
        clock.advance(POST_EVERY_S)
        await peer.expect(PingReq)
        assert (await peer.expect_post()).packet_id == 2


@pytest.mark.parametrize(
    ("post_every_s", "behaviour", "count"),
    [
        (None, Behaviour(post_every_s=10.0), 5),
        (5.0, Behaviour(post_every_s=10.0), 11),
        (0.0, Behaviour(post_every_s=10.0), 0),
        (None, Behaviour(post_every_s=0.0), 0),
        (None, None, 0),
    ],
)
async def test_how_often_is_said_by_the_command_or_by_the_behaviour(
    post_every_s: float | None, behaviour: Behaviour | None, count: int
) -> None:
    async with playing(post_every_s=post_every_s, behaviour=behaviour) as (peer, _, clock):
        await peer.expect_post()
        clock.advance(KEEP_ALIVE_S - 1)
        for _ in range(count):
            assert (await peer.expect_post()).topic == POST_TOPIC
        peer.send(Publish(OWN + "rrpc/request/1", b"last"))
        assert (await peer.expect(Publish)).payload == b"last"


async def test_events_are_posted_as_often_as_the_behaviour_says() -> None:
    model = read_sample("multi-module")
    behaviour = read_behaviour("events = {'testFb:LevelAlarm': 20}\npost_every_s = 0\n", "own.py", model)
    async with playing(model=model, behaviour=behaviour) as (peer, _, clock):
        await peer.expect_post()
        clock.advance(50)
        for _ in range(2):
            event = await peer.expect(Publish)
            assert (event.topic, event.qos) == (OWN + "thing/event/testFb:LevelAlarm/post", 0)


async def test_posts_that_nobody_acknowledges_stop_and_go_on() -> None:
    async with playing(post_every_s=1.0) as (peer, _, clock):
        packet_ids = [(await peer.expect(Publish)).packet_id]
        clock.advance(UNACKNOWLEDGED_MAX + 5)
        packet_ids += [(await peer.expect(Publish)).packet_id for _ in range(UNACKNOWLEDGED_MAX - 1)]
        peer.send(PubAck(packet_ids[0]), Publish(OWN + "rrpc/request/1", b"last"))
        assert (await peer.expect(Publish)).payload == b"last"
        clock.advance(2)
        assert (await peer.expect(Publish)).packet_id == packet_ids[-1] + 1
        peer.send(Publish(OWN + "rrpc/request/1", b"last"))
        assert (await peer.expect(Publish)).payload == b"last"


async def test_a_device_without_a_model_posts_nothing() -> None:
    async with playing(model=None) as (peer, _, clock):
        clock.advance(KEEP_ALIVE_S - 1)
        peer.send(Publish(OWN + "rrpc/request/1", b"only"))
        assert (await peer.expect(Publish)).payload == b"only"


# --- calls ---


async def test_a_message_at_qos_1_is_acknowledged_and_answered() -> None:
    async with playing() as (peer, _, _clock):
        await peer.expect_post()
        peer.send(Publish(OWN + "thing/service/RunScene", request("RunScene", {}), 1, 77))
        assert (await peer.expect(PubAck)).packet_id == 77
        reply = await peer.expect(Publish)
        assert (reply.topic, reply.qos) == (OWN + "thing/service/RunScene_reply", 0)
        assert json.loads(reply.payload)["code"] == 460


async def test_a_second_acceptance_changes_nothing() -> None:
    async with playing() as (peer, _, _clock):
        await peer.expect_post()
        peer.send(ConnAck(), Publish(OWN + "rrpc/request/1", b"only"))
        assert (await peer.expect(Publish)).payload == b"only"


async def test_a_fault_in_the_behaviour_leaves_the_connection_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    model = read_sample("lamp")
    behaviour = read_behaviour("def Blink(inputs, state):\n    1 / 0\n", "own.py", model)
    async with playing(model=model, behaviour=behaviour) as (peer, _, _clock):
        await peer.expect_post()
        topic = f"/ext/rrpc/{MESSAGE_ID}{OWN}thing/service/Blink"
        for _ in range(2):
            peer.send(Publish(topic, request("Blink", BLINK)))
            reply = await peer.expect(Publish)
            assert (reply.topic, json.loads(reply.payload)["code"]) == (topic, 500)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2

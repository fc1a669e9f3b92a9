"""Nodes that are restarted one after the other, under load: no call fails."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from linkstead.cluster import holder
from linkstead.cluster.holder import Holder
from linkstead.cluster.router import MOVE_LOOK_S, MOVE_WAIT_S
from linkstead.config import Address
from linkstead.registry import DeviceKey
from linkstead.server import Server, SystemClock
from tests.nats_server import NatsServer
from tests.rig import INSTANCE_LAMP, KEY, LAMP, SECOND_LAMP, PairRig, device_secret, start_nodes, watching
from tests.wire import App, DeviceClient, until

DEVICES = (LAMP, SECOND_LAMP, INSTANCE_LAMP)
CALLS_AT_A_TIME = 8


class Entrance:
    """What stands before the nodes: whoever connects is led to one that is ready, in turns."""

    def __init__(self) -> None:
        self.nodes: list[Server] = []
        self._turn = 0

    def choose(self) -> Server:
        self._turn += 1
        return self.nodes[self._turn % len(self.nodes)]

    @property
    def http(self) -> Address:
        endpoints = self.choose().endpoints
        assert endpoints is not None
        return endpoints.http

    @property
    def mqtt(self) -> Address:
        endpoints = self.choose().endpoints
        assert endpoints is not None
        return endpoints.mqtt


async def live(key: DeviceKey, entrance: Entrance, connections: list[DeviceKey], requests: list[str]) -> None:
    """Answer calls, of which the topics are noted, and connect again whenever the connection ends."""
    while True:
        device = DeviceClient(entrance.mqtt, key, device_secret(key))
        try:
            await device.connect()
            connections.append(key)
            while True:
                request = await device.expect_call()
                requests.append(request.topic)
                await asyncio.sleep(0.01)
                await device.answer(request, b"pong")
        except (AssertionError, ConnectionError):
            await asyncio.sleep(0.02)
        finally:
            await device.close()


async def call_on(key: DeviceKey, entrance: Entrance, ends: list[dict[str, Any]], stop: asyncio.Event) -> None:
    """Call one after the other; a connection that was refused or cut is tried again, as a balancer does."""
    extra = {"IotInstanceId": "iot-060a0001"} if key == INSTANCE_LAMP else {}
    while not stop.is_set():
        app = App(entrance.http, SystemClock(), KEY.access_key_id, KEY.secret)
        with contextlib.suppress(ConnectionError):
            ends.append(await app.rrpc(key, **extra))


@pytest.mark.asyncio
async def test_no_call_fails_while_nodes_are_restarted_one_after_the_other(
    filled_database: Path, tmp_path: Path, nats_server: NatsServer
) -> None:
    entrance = Entrance()
    connections: list[DeviceKey] = []
    requests: list[str] = []
    ends: list[dict[str, Any]] = []
    stop = asyncio.Event()
    with watching():
        nodes = start_nodes(filled_database, tmp_path, nats_server.url, tmp_path.name[-32:], SystemClock(), 2)
        for node in nodes:
            await node.start()
        entrance.nodes = list(nodes)
        devices = [asyncio.create_task(live(key, entrance, connections, requests)) for key in DEVICES]
        await until(lambda: set(connections) == set(DEVICES))
        load = [
            asyncio.create_task(call_on(DEVICES[number % len(DEVICES)], entrance, ends, stop))
            for number in range(CALLS_AT_A_TIME)
        ]
        for old in nodes:
            before = len(ends)
            await until(lambda before=before: len(ends) > before + 50)  # type: ignore[misc]
            entrance.nodes.remove(old)
            await old.stop()
            new = Server(old.settings, is_production=True)
            await new.start()
            entrance.nodes.append(new)
        before = len(ends)
        await until(lambda: len(ends) > before + 50)
        stop.set()
        await asyncio.gather(*load)
        for device in devices:
            device.cancel()
        await asyncio.gather(*devices, return_exceptions=True)
        for node in entrance.nodes:
            await node.stop()
    assert {end["RrpcCode"] for end in ends} == {"SUCCESS"}
    # Whoever was cut was so before the call was made: no call that came to a device is without its answer.
    assert len(requests) == len(set(requests)) == len(ends)
    # Each was sent away at least once.
    assert len(connections) >= 2 * len(DEVICES)


def claims_of(server: Server) -> Holder:
    assert server.cluster is not None
    return server.cluster.holder


def at(server: Server, key: DeviceKey) -> DeviceClient:
    assert server.endpoints is not None
    return DeviceClient(server.endpoints.mqtt, key, device_secret(key))


two_nodes = pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)


@pytest.mark.asyncio
@two_nodes
async def test_a_call_waits_for_a_device_that_was_sent_away(rig: PairRig) -> None:
    device = await rig.connected()
    await claims_of(rig.holder).give_up_all()
    await device.expect_closed()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await until(lambda: rig.server.router.pending_count == 1)
    again = at(rig.server, LAMP)
    rig.devices.append(again)
    await again.connect()
    rig.clock.advance(0.5)
    await again.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
    record = await rig.app().last_record()
    # What it waited counts.
    assert record["timeline"][-1]["offset_ms"] >= 500


@pytest.mark.asyncio
@two_nodes
@pytest.mark.parametrize(("timeout_ms", "ends_ms"), [(8_000, MOVE_WAIT_S * 1000), (1_000, 1_000)])
async def test_a_device_that_was_sent_away_and_does_not_come_is_offline_in_time(
    rig: PairRig, timeout_ms: int, ends_ms: float
) -> None:
    device = await rig.connected()
    await claims_of(rig.holder).give_up_all()
    await device.expect_closed()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Timeout=str(timeout_ms)))
    while not call.done():
        rig.clock.advance(MOVE_LOOK_S / 2)
        await asyncio.wait([call], timeout=MOVE_LOOK_S)
    assert (await call)["RrpcCode"] == "OFFLINE"
    record = await rig.app().last_record()
    assert ends_ms - 3 * MOVE_LOOK_S * 1000 <= record["timeline"][-1]["offset_ms"] <= ends_ms + 3 * MOVE_LOOK_S * 1000


@pytest.mark.asyncio
@two_nodes
async def test_devices_are_sent_away_a_part_at_a_time_and_called_until_then(
    rig: PairRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "SENT_AWAY_AT_ONCE", 1)
    monkeypatch.setattr(holder, "SENT_AWAY_S", 5.0)
    first, second = await rig.connected(), await rig.connected(SECOND_LAMP)
    leaving = asyncio.ensure_future(claims_of(rig.holder).give_up_all())
    await first.expect_closed()
    call = asyncio.ensure_future(rig.app().rrpc(SECOND_LAMP, Timeout="8000"))
    request = await second.expect_call()
    # It is called: its turn comes when it has answered.
    rig.clock.advance(5.0)
    await second.expect_silence()
    await second.answer(request, b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
    assert not leaving.done()
    rig.clock.advance(5.0)
    await second.expect_closed()
    await leaving


def test_many_devices_are_sent_away_in_larger_parts() -> None:
    most = holder.SENT_AWAY_AT_ONCE * holder.GOES_MAX
    assert holder.count_at_once(most) == holder.SENT_AWAY_AT_ONCE
    assert holder.count_at_once(most + 1) == holder.SENT_AWAY_AT_ONCE + 1

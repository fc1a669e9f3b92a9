"""Nodes that are restarted one after the other, under load: no call fails."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from linkstead.config import Address
from linkstead.registry import DeviceKey
from linkstead.server import Server, SystemClock
from tests.nats_server import NatsServer
from tests.rig import INSTANCE_LAMP, KEY, LAMP, SECOND_LAMP, device_secret, start_nodes, watching
from tests.wire import App, DeviceClient, until

pytestmark = pytest.mark.asyncio

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


async def live(key: DeviceKey, entrance: Entrance, connections: list[DeviceKey]) -> None:
    """Answer calls, and connect again whenever the connection ends."""
    while True:
        device = DeviceClient(entrance.mqtt, key, device_secret(key))
        try:
            await device.connect()
            connections.append(key)
            while True:
                request = await device.expect_call()
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


async def test_no_call_fails_while_nodes_are_restarted_one_after_the_other(
    filled_database: Path, tmp_path: Path, nats_server: NatsServer
) -> None:
    entrance = Entrance()
    connections: list[DeviceKey] = []
    ends: list[dict[str, Any]] = []
    stop = asyncio.Event()
    with watching():
        nodes = start_nodes(filled_database, tmp_path, nats_server.url, tmp_path.name[-32:], SystemClock(), 2)
        for node in nodes:
            await node.start()
        entrance.nodes = list(nodes)
        devices = [asyncio.create_task(live(key, entrance, connections)) for key in DEVICES]
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
    # Each was sent away at least once.
    assert len(connections) >= 2 * len(DEVICES)

"""What is disabled or deleted on one node is refused on all: by NATS at once, without it within `REGISTRY_POLL_S`.

The clock is turned by hand: while it stands still, no node looks into the database for what others have changed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from linkstead.registry import DeviceKey
from linkstead.server import HOUSEKEEPING_S, REGISTRY_POLL_S, Server
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer, running_nats
from tests.rig import LAMP, RAM_KEY, NetworkClock, device_secret, start_nodes, stop_server, watching
from tests.wire import WAIT_S, App, DeviceClient, until

pytestmark = pytest.mark.asyncio

NODE_COUNT = 3
KEEP_ALIVE_S = 1_200
ACCEPTED = "SUCCESS"


class Nodes:
    """Three nodes, and a NATS server of their own. Devices connect to the last, changes are made on the first."""

    def __init__(self, servers: list[Server], nats: NatsServer, clock: ManualClock) -> None:
        self.servers = servers
        self.nats = nats
        self.clock = clock

    def apps(self) -> list[App]:
        """An app at each node, with the key that may be disabled."""
        places = [server.endpoints for server in self.servers]
        return [App(place.http, self.clock, RAM_KEY.access_key_id, RAM_KEY.secret) for place in places if place]

    def devices(self, key: DeviceKey = LAMP) -> list[DeviceClient]:
        """The device at each node, not connected."""
        places = [server.endpoints for server in self.servers]
        return [DeviceClient(place.mqtt, key, device_secret(key)) for place in places if place]

    async def settle(self) -> None:
        """Have what nodes have said to each other heard, and done."""
        for server in self.servers * 2:
            assert server.cluster is not None
            await server.cluster.bus.flush()

    async def cut(self) -> None:
        """End the NATS server."""
        self.nats.kill()
        await until(lambda: not any(server.cluster and server.cluster.bus.is_connected for server in self.servers))


@pytest_asyncio.fixture
async def nodes(filled_database: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    clock = NetworkClock()
    with running_nats(tmp_path_factory.mktemp("nats")) as nats, watching():
        folder = tmp_path_factory.mktemp("data")
        servers = start_nodes(filled_database, folder, nats.url, "changes", clock, NODE_COUNT)
        for server in servers:
            await server.start()
        yield Nodes(servers, nats, clock)
        for server in servers:
            await stop_server(server, clock)


@contextlib.asynccontextmanager
async def answering(device: DeviceClient) -> AsyncIterator["asyncio.Task[None]"]:
    """A device that answers each call; the task ends when its connection does."""

    async def answer_all() -> None:
        with contextlib.suppress(AssertionError, ConnectionError):
            while True:
                await device.answer_call(b"pong")

    await device.connect(keep_alive_s=KEEP_ALIVE_S)
    task = asyncio.ensure_future(answer_all())
    try:
        yield task
    finally:
        task.cancel()
        await device.close()


async def what_becomes(app: App) -> str:
    """What comes of a call: its code, or its verdict."""
    answer = (await app.call("RRpc", **app.rrpc_parameters(LAMP))).json()
    return str(answer.get("Code") or answer["RrpcCode"])


async def disable_device(app: App) -> Any:
    return await app.call("DisableThing", ProductKey=LAMP.product_key, DeviceName=LAMP.device_name)


async def delete_device(app: App) -> Any:
    return await app.call("DeleteDevice", ProductKey=LAMP.product_key, DeviceName=LAMP.device_name)


DEVICE_CHANGES = [(disable_device, "OFFLINE"), (delete_device, "iot.device.NotExistedDevice")]


async def is_refused(device: DeviceClient) -> bool:
    refused = (await device.request_connect()).reason_code != 0
    await device.close()
    return refused


@pytest.mark.parametrize(("change", "refusal"), DEVICE_CHANGES)
async def test_a_device_that_is_disabled_or_deleted_is_refused_everywhere_as_soon_as_nats_has_told(
    nodes: Nodes, change: Callable[[App], Awaitable[Any]], refusal: str
) -> None:
    apps = nodes.apps()
    async with answering(nodes.devices()[-1]) as served:
        assert [await what_becomes(app) for app in apps] == [ACCEPTED] * NODE_COUNT
        assert (await change(apps[0])).json()["Success"]
        await nodes.settle()
        assert [await what_becomes(app) for app in apps] == [refusal] * NODE_COUNT
        await asyncio.wait_for(served, WAIT_S)
    assert [await is_refused(device) for device in nodes.devices()] == [True] * NODE_COUNT


async def test_a_key_that_is_disabled_is_refused_everywhere_as_soon_as_nats_has_told(nodes: Nodes) -> None:
    apps = nodes.apps()
    async with answering(nodes.devices()[-1]):
        assert [await what_becomes(app) for app in apps] == [ACCEPTED] * NODE_COUNT
        await nodes.servers[0].registry.set_access_key_enabled(RAM_KEY.access_key_id, enabled=False)
        await nodes.settle()
        assert [await what_becomes(app) for app in apps] == ["InvalidAccessKeyId.Inactive"] * NODE_COUNT


async def until_becomes(app: App, refusal: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while await what_becomes(app) != refusal:
            pass


@pytest.mark.parametrize(("change", "refusal"), DEVICE_CHANGES)
async def test_without_nats_a_device_is_refused_everywhere_within_the_poll_of_the_registry(
    nodes: Nodes, change: Callable[[App], Awaitable[Any]], refusal: str
) -> None:
    first, *_, last = nodes.apps()
    async with answering(nodes.devices()[-1]) as served:
        assert await what_becomes(last) == ACCEPTED
        await nodes.cut()
        assert (await change(first)).json()["Success"]
        # Nobody has told, and nobody has looked.
        assert await what_becomes(last) == ACCEPTED
        nodes.clock.advance(REGISTRY_POLL_S)
        await until_becomes(last, refusal)
        await asyncio.wait_for(served, WAIT_S)


async def test_without_nats_a_key_is_refused_everywhere_within_the_poll_of_the_registry(nodes: Nodes) -> None:
    last = nodes.apps()[-1]
    async with answering(nodes.devices()[-1]):
        assert await what_becomes(last) == ACCEPTED
        await nodes.cut()
        await nodes.servers[0].registry.set_access_key_enabled(RAM_KEY.access_key_id, enabled=False)
        assert await what_becomes(last) == ACCEPTED
        nodes.clock.advance(REGISTRY_POLL_S)
        await until_becomes(last, "InvalidAccessKeyId.Inactive")


async def test_a_device_is_sent_away_when_nobody_told_that_it_was_disabled(nodes: Nodes) -> None:
    async with answering(nodes.devices()[-1]) as served:
        # As by a process that is no node, or by one whose word was lost.
        await nodes.servers[0].store.set_device_enabled(LAMP, False, 1)
        nodes.clock.advance(HOUSEKEEPING_S)
        await asyncio.wait_for(served, WAIT_S)


class Held:
    """Takes the place of a node's `Bus.flush`: a change is made elsewhere while a device is being claimed."""

    def __init__(self, nodes: Nodes, change: Callable[[], Awaitable[Any]]) -> None:
        cluster = nodes.servers[-1].cluster
        assert cluster is not None
        self._flush = cluster.bus.flush
        self._nodes = nodes
        self._change: Callable[[], Awaitable[Any]] | None = change
        cluster.bus.flush = self.flush  # type: ignore[method-assign]

    async def flush(self) -> bool:
        change, self._change = self._change, None
        if change is not None:
            await change()
            await self._nodes.settle()
        return await self._flush()


@pytest.mark.parametrize(("change", "refusal"), DEVICE_CHANGES)
async def test_a_device_that_is_disabled_while_it_connects_elsewhere_does_not_stay(
    nodes: Nodes, change: Callable[[App], Awaitable[Any]], refusal: str
) -> None:
    first, *_, last = nodes.apps()
    Held(nodes, lambda: change(first))
    async with answering(nodes.devices()[-1]) as served:
        await asyncio.wait_for(served, WAIT_S)
    assert await what_becomes(last) == refusal

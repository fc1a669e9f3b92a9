"""A server whose PostgreSQL database is killed and comes back: what goes on, what is refused, what is not lost."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from linkstead.invocation import CallFilter, Verdict
from linkstead.server import KEPT_WITHOUT_STORE_S, REGISTRY_POLL_S, SystemClock
from linkstead.store.batches import RETRY_S_MAX
from linkstead.store.postgres import PostgresStore
from tests.postgres import PostgresServer
from tests.rig import ACCOUNT_ID, LAMP, SECOND_LAMP, Rig, fill, running
from tests.wire import DeviceClient

UNAVAILABLE = 3
"""CONNACK's return code. Source: MQTT 3.1.1, table 3.1."""


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, str]]:
    """A server that may be killed, and the URL of a database that is filled."""

    async def make(server: PostgresServer) -> str:
        url = server.url(await server.make_database())
        await fill(PostgresStore(url, SystemClock()))
        return url

    with closing(PostgresServer()) as server:
        server.start()
        yield server, asyncio.run(make(server))


async def call(rig: Rig, device: DeviceClient) -> dict[str, Any]:
    calling = asyncio.ensure_future(rig.app().rrpc(device.key))
    await device.answer_call(b"pong")
    return await calling


@pytest.mark.asyncio
async def test_connected_devices_and_warm_calls_go_on_without_the_database(
    database: tuple[PostgresServer, str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = database
    async with running(None, tmp_path_factory.mktemp("data"), database=url) as rig:
        asked: list[float] = []
        read_version = rig.server.store.registry_version

        async def look() -> int:
            try:
                return await read_version()
            finally:
                asked.append(rig.clock.monotonic_s())

        monkeypatch.setattr(rig.server.store, "registry_version", look)
        device = await rig.connected(keep_alive_s=1200)
        assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
        server.kill()
        rig.clock.advance(REGISTRY_POLL_S)
        for _ in range(3):
            assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
        # For longer than a record is remembered otherwise.
        for _ in range(10):
            looks = len(asked)
            rig.clock.advance(KEPT_WITHOUT_STORE_S * 0.8)
            while len(asked) == looks:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
        # It was never read: nobody knows whether it may come in.
        refused = rig.device(SECOND_LAMP)
        assert (await refused.request_connect()).reason_code == UNAVAILABLE
        # What would have to be on the disk before it is answered is refused.
        answer = await rig.app().call("RegisterDevice", ProductKey=LAMP.product_key, DeviceName="lamp-03")
        assert answer.json()["Success"] is False
        # A device that is known comes in again.
        await device.close()
        device = await rig.connected()
        assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
        assert rig.server.store.history_waiting > 0
        assert rig.watch.take()

        await asyncio.to_thread(server.start)
        while rig.server.store.history_waiting:
            rig.clock.advance(RETRY_S_MAX)
            await asyncio.sleep(0.01)
        second = await rig.connected(SECOND_LAMP)
        assert (await call(rig, second))["RrpcCode"] == "SUCCESS"
        answer = await rig.app().call("RegisterDevice", ProductKey=LAMP.product_key, DeviceName="lamp-03")
        assert answer.json()["Success"] is True
        calls = await rig.server.store.list_calls(CallFilter(ACCOUNT_ID))
        assert [kept.verdict for kept in calls if kept.action == "RRpc"] == [Verdict.SUCCESS] * 7
        assert rig.server.store.history_dropped == 0
        rig.watch.take()

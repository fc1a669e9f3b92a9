"""A server whose PostgreSQL database is killed and comes back: what goes on, what is refused, what is not lost."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest

from linkstead.invocation import CallFilter, Diagnosis, Verdict
from linkstead.server import KEPT_WITHOUT_STORE_S, REGISTRY_POLL_S, Server, StartError, SystemClock
from linkstead.store.batches import RETRY_S_MAX
from linkstead.store.postgres import CLAIM_SETTINGS, PostgresStore
from tests.postgres import PostgresServer, Way
from tests.rig import ACCOUNT_ID, LAMP, SECOND_LAMP, Rig, fill, running, stop_server
from tests.wire import DeviceClient, fetch

STEP_S = 0.1
"""By which the clock is turned while something is waited for."""

LATE_MS_MAX = 50
"""Source: `architecture.md` 2, rule 1."""

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
        read_version = rig.server._read_version

        async def look() -> int:
            try:
                return await read_version()
            finally:
                asked.append(rig.clock.monotonic_s())

        monkeypatch.setattr(rig.server, "_read_version", look)
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
        assert [each.verdict for each in calls if each.action == "RRpc"] == [Verdict.SUCCESS] * 7
        assert rig.server.store.history_dropped == 0
        rig.watch.take()


@pytest.mark.asyncio
async def test_whatever_needs_a_silent_database_ends_on_time_and_says_why(
    database: tuple[PostgresServer, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, url = database
    way = Way(server.port)
    async with way.opened():
        there = url.replace(f":{server.port}/", f":{way.port}/")
        async with running(None, tmp_path_factory.mktemp("data"), database=there) as rig:
            device = await rig.connected(keep_alive_s=1200)
            assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
            way.fall_silent()
            app = rig.app()
            silenced_s = rig.clock.monotonic_s()
            # What is known of this device was never read.
            names = {"ProductKey": SECOND_LAMP.product_key, "DeviceName": SECOND_LAMP.device_name}
            topic = f"/{SECOND_LAMP.product_key}/{SECOND_LAMP.device_name}/user/get"
            message = {"TopicFullName": topic, "MessageContent": "aGk="}
            asked: dict[str, tuple[Coroutine[Any, Any, Any], int]] = {
                "RRpc": (app.rrpc(SECOND_LAMP, Timeout="2000"), 2_000),
                "InvokeThingService": (app.call("InvokeThingService", Identifier="Reset", Args="{}", **names), 8_000),
                "Pub": (app.call("Pub", ProductKey=SECOND_LAMP.product_key, **message), 9_000),
                "RegisterDevice": (
                    app.call("RegisterDevice", ProductKey=LAMP.product_key, DeviceName="lamp-03"),
                    9_000,
                ),
                "a device": (rig.device(SECOND_LAMP).request_connect(), 5_000),
                "inspection": (fetch(rig.http, "GET", "/_linkstead/calls?limit=500", app.basic), 9_000),
            }
            tasks = {name: asyncio.ensure_future(work) for name, (work, _) in asked.items()}
            late_ms: dict[str, float] = {}
            while len(late_ms) < len(tasks):
                await asyncio.wait(tasks.values(), timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
                now_ms = (rig.clock.monotonic_s() - silenced_s) * 1_000
                late_ms |= {
                    name: now_ms - asked[name][1] for name, task in tasks.items() if task.done() and name not in late_ms
                }
                await asyncio.sleep(0.01)
                rig.clock.advance(STEP_S)
                assert now_ms < 10_000, late_ms
            # It shows at the next step, or the one after.
            assert all(0 <= ms <= LATE_MS_MAX + 2 * STEP_S * 1_000 for ms in late_ms.values()), late_ms
            # Warm calls go on.
            assert (await call(rig, device))["RrpcCode"] == "SUCCESS"
            assert tasks["RRpc"].result()["RrpcCode"] == "UNKNOWN"
            assert tasks["a device"].result().reason_code == UNAVAILABLE
            for name in ("InvokeThingService", "Pub", "RegisterDevice"):
                answer = tasks[name].result().json()
                assert (answer["Success"], answer["Code"]) == (False, "iot.system.SystemException")
            ended = {kept.action: kept for kept in rig.server.journal.list(CallFilter(ACCOUNT_ID))}
            for name in ("InvokeThingService", "Pub"):
                assert (ended[name].verdict, ended[name].diagnosis) == (Verdict.UNKNOWN, Diagnosis.DATABASE_AWAY)
            assert tasks["inspection"].result().status == 500
            assert (await fetch(rig.http, "GET", "/readyz")).json()["reasons"] == ["database-away"]
            assert rig.watch.take()
            way.heal()
            while rig.server.store.history_waiting:
                rig.clock.advance(RETRY_S_MAX)
                await asyncio.sleep(0.01)
            second = await rig.connected(SECOND_LAMP)
            assert (await call(rig, second))["RrpcCode"] == "SUCCESS"
            calls = await rig.server.store.list_calls(CallFilter(ACCOUNT_ID))
            assert all(kept.is_ended for kept in calls)
            rig.watch.take()


@pytest.mark.asyncio
async def test_a_second_server_without_nats_does_not_start_on_the_same_database(
    database: tuple[PostgresServer, str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLAIM_SETTINGS, "lock_timeout", "100ms")
    server, url = database
    async with running(None, tmp_path_factory.mktemp("data"), database=url) as rig:
        second = Server(rig.settings, is_production=True, clock=rig.clock)
        with pytest.raises(StartError, match=r"used by another server.*Give --nats to both, or stop the other first"):
            await second.start()
        # A restarted database has forgotten who serves, and is told again.
        server.kill()
        await asyncio.to_thread(server.start)

        def is_claimed() -> bool:
            return rig.server.store.has_claim

        assert not is_claimed()
        while not is_claimed():
            rig.clock.advance(REGISTRY_POLL_S)
            await asyncio.sleep(0.01)
        second = Server(rig.settings, is_production=True, clock=rig.clock)
        with pytest.raises(StartError, match="used by another server"):
            await second.start()
        rig.watch.take()
    second = Server(rig.settings, is_production=True, clock=rig.clock)
    await second.start()
    await stop_server(second, rig.clock)

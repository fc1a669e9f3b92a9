import asyncio
import json
import logging
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from linkstead import __version__
from linkstead.config import DEMO_ACCESS_KEY_ID, Address
from linkstead.mqtt.packets import MQTT_5, Disconnect
from linkstead.registry import AccessKey
from linkstead.server import DATABASE_FILE, HOUSEKEEPING_S, REGISTRY_POLL_S, Server, StartError, SystemClock
from linkstead.store import SqliteStore
from linkstead.store.acceptance import add_accepted
from linkstead.store.history import RECORD, encode_call
from linkstead.store.postgres import PostgresStore
from linkstead.store.sql import SqlStore
from linkstead.store.urls import DATABASE_RULE
from linkstead.testing.clock import ManualClock
from tests.rig import (
    ACCOUNT_ID,
    CREATED_MS,
    KEY,
    LAMP,
    OTHER_ACCOUNT_ID,
    PRODUCT_KEY,
    SECOND_LAMP,
    Certificate,
    Rig,
    RigStarter,
    a_device,
    device_secret,
    make_certificate,
    rig_settings,
)
from tests.store.samples import an_open_call
from tests.webhook.receiver import a_webhook
from tests.wire import HttpClient, encode_request, until

pytestmark = pytest.mark.asyncio


NEW_KEY: dict[str, Any] = {"access_key_id": "new-key", "access_key_secret": "new-secret"}
DEMO_KEY: dict[str, Any] = {"access_key_id": DEMO_ACCESS_KEY_ID, "access_key_secret": "any"}


async def _start(folder: Path, *, is_production: bool = True, **settings: Any) -> Server:
    """A server that has started, with settings of the test's own."""
    server = Server(rig_settings(folder, **settings), is_production=is_production, clock=ManualClock())
    await server.start()
    return server


async def _refusal(folder: Path, **settings: Any) -> str:
    """Why a server does not start."""
    with pytest.raises(StartError) as caught:
        await _start(folder, **settings)
    return str(caught.value)


async def test_pre_shared_keys_need_a_python_that_has_them(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkstead.server.has_psk", lambda: False)
    files = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    assert "--tls-psk needs Python 3.13 or later; this is 3." in await _refusal(tmp_path, tls_psk=True, **files)


async def test_what_devices_prove_themselves_with_over_tls_needs_a_certificate_of_the_server(tmp_path: Path) -> None:
    for settings, option in (({"tls_psk": True}, "--tls-psk"), ({"device_ca": "ca.pem"}, "--device-ca")):
        assert await _refusal(tmp_path, **settings) == f"{option} needs --tls-cert and --tls-key"


# --- where it listens ---


async def test_port_0_is_a_free_port(rig: Rig) -> None:
    assert rig.http.port not in (0, rig.mqtt.port)
    assert (rig.endpoints.https, rig.endpoints.mqtts) == (None, None)
    assert (rig.endpoints.amqp, rig.endpoints.amqps) == (None, None)
    await rig.connected()


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_a_call_that_a_dead_server_had_accepted_is_in_the_history_whoever_claimed_the_database(
    tmp_path: Path, is_claimed: bool
) -> None:
    """A process that a supervisor started does not claim it itself."""
    before = await _start(tmp_path, **NEW_KEY)
    await before.stop()
    call = an_open_call(1)
    store = SqliteStore(tmp_path / DATABASE_FILE, ManualClock())
    await store.open()
    await store._write(add_accepted, [encode_call(call)[RECORD]])
    await store.close()
    server = Server(rig_settings(tmp_path), is_production=True, clock=ManualClock(), is_claimed=is_claimed)
    await server.start()
    try:
        assert await server.store.find_kept_call(call.request_id) is not None
    finally:
        await server.stop()


async def test_the_ready_file_says_where_everything_is(start_rig: RigStarter, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    rig = await start_rig(ready_file=str(ready_file), access_key_id=KEY.access_key_id, access_key_secret=KEY.secret)
    assert json.loads(ready_file.read_bytes()) == {
        "pid": os.getpid(),
        "http": f"127.0.0.1:{rig.http.port}",
        "https": None,
        "mqtt": f"127.0.0.1:{rig.mqtt.port}",
        "mqtts": None,
        "amqp": None,
        "amqps": None,
        "metrics": None,
        "access_key_id": KEY.access_key_id,
        "version": __version__,
    }
    assert os.listdir(tmp_path) == ["ready.json"]


async def test_the_ready_file_names_ports_over_tls(
    start_rig: RigStarter, tmp_path: Path, certificate: Certificate
) -> None:
    ready_file, free = tmp_path / "ready.json", Address("127.0.0.1", 0)
    rig = await start_rig(
        ready_file=str(ready_file),
        tls_cert=str(certificate.certificate),
        tls_key=str(certificate.key),
        https=free,
        mqtts=free,
        amqp=free,
        amqps=free,
    )
    ready = json.loads(ready_file.read_bytes())
    assert (ready["https"], ready["mqtts"]) == (str(rig.endpoints.https), str(rig.endpoints.mqtts))
    assert (ready["amqp"], ready["amqps"]) == (str(rig.endpoints.amqp), str(rig.endpoints.amqps))
    assert ready["access_key_id"] is None


async def test_a_ready_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "ready.json"
    refusal = await _refusal(tmp_path, ready_file=str(missing), **NEW_KEY)
    assert refusal == f"--ready-file {missing}: No such file or directory"


@pytest.mark.parametrize("port", ["http", "mqtt", "https", "mqtts", "amqp", "amqps"])
@pytest.mark.parametrize("with_certificate", [False, True])
async def test_a_port_that_is_taken_is_told(
    tmp_path: Path, certificate: Certificate, port: str, with_certificate: bool
) -> None:
    settings: dict[str, Any] = dict(NEW_KEY)
    if with_certificate or port in ("https", "mqtts", "amqps"):
        settings |= {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address(*taken.getsockname())
        refusal = await _refusal(tmp_path, **settings, **{port: address})
        assert refusal == f"cannot listen on {address}: address already in use"
    # what was opened before is closed again
    server = await _start(tmp_path, **settings)
    await server.stop()


async def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    refusal = await _refusal(tmp_path, http=Address("192.0.2.1", 0), **NEW_KEY)
    assert refusal == "cannot listen on 192.0.2.1:0: cannot assign requested address"


# --- certificates ---


async def test_half_a_certificate_is_told(tmp_path: Path, certificate: Certificate) -> None:
    said = "--tls-cert and --tls-key are given together"
    assert await _refusal(tmp_path, tls_cert=str(certificate.certificate)) == said
    assert await _refusal(tmp_path, tls_key=str(certificate.key)) == said


@pytest.mark.parametrize("port", ["https", "mqtts", "amqps"])
async def test_a_tls_port_without_a_certificate_is_told(tmp_path: Path, port: str) -> None:
    settings: dict[str, Any] = {port: Address("127.0.0.1", 0)}
    refusal = await _refusal(tmp_path, **settings)
    assert refusal == "--https, --mqtts and --amqps need --tls-cert and --tls-key"


async def test_a_certificate_that_is_none_is_told(tmp_path: Path, certificate: Certificate) -> None:
    garbage, missing = tmp_path / "garbage", tmp_path / "missing"
    garbage.write_bytes(b"not a certificate")
    good, key = certificate.certificate, certificate.key
    for cert, other, text in (
        (missing, key, f"--tls-cert {missing}: no such file or directory"),
        (tmp_path, key, f"--tls-cert {tmp_path}: is a directory"),
        (good, missing, f"--tls-key {missing}: no such file or directory"),
        (garbage, key, f"--tls-cert {garbage}: it holds no certificate in PEM"),
        (key, good, f"--tls-cert {key}: it holds no certificate in PEM"),
        (good, garbage, f"--tls-key {garbage}: it holds no key in PEM"),
    ):
        assert await _refusal(tmp_path, tls_cert=str(cert), tls_key=str(other)) == text


async def test_a_key_of_another_certificate_is_told(tmp_path: Path, certificate: Certificate) -> None:
    other = make_certificate(tmp_path)
    refusal = await _refusal(tmp_path, tls_cert=str(certificate.certificate), tls_key=str(other.key))
    assert refusal == f"--tls-key {other.key} is not the key of the certificate in --tls-cert {certificate.certificate}"


async def test_an_encrypted_key_is_told_and_not_asked_for(tmp_path: Path, certificate: Certificate) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
    refusal = await _refusal(tmp_path, tls_cert=str(certificate.certificate), tls_key=str(encrypted))
    assert refusal == f"--tls-key {encrypted}: it has a passphrase; give a key without one"


# --- the store ---


async def test_a_database_of_another_engine_is_told(tmp_path: Path) -> None:
    refusal = await _refusal(tmp_path, database="mysql://me:the-password@localhost/linkstead")
    assert refusal == DATABASE_RULE
    assert os.listdir(tmp_path) == []


async def test_a_database_server_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    refusal = await _refusal(tmp_path, database="postgresql://me:the-password@127.0.0.1:1/linkstead")
    assert refusal.startswith("the database postgresql://me@127.0.0.1:1/linkstead cannot be used: ")
    assert "the-password" not in refusal


async def test_what_postgresql_needs_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkstead.server.find_spec", lambda name: None)
    refusal = await _refusal(tmp_path, database="postgresql://me:the-password@127.0.0.1:1/linkstead")
    assert refusal == "--database postgresql:// needs asyncpg and greenlet: pip install 'linkstead[cluster]'"


async def test_pre_shared_keys_need_a_database_in_a_file(tmp_path: Path, certificate: Certificate) -> None:
    url = "postgresql://me:the-password@127.0.0.1:1/linkstead"
    pair = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    refusal = await _refusal(tmp_path, database=url, tls_psk=True, **pair)
    assert refusal == "--tls-psk needs the database in a file: no handshake can wait for PostgreSQL"


async def test_a_database_elsewhere_is_used(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.db"
    server = await _start(tmp_path / "data", database=f"sqlite:///{path}", **NEW_KEY)
    await server.stop()
    assert path.exists()
    assert not (tmp_path / "data").exists()


async def test_a_data_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (await _refusal(tmp_path / "file" / "data", **NEW_KEY)).startswith(f"--data {tmp_path}/file/data: ")
    (tmp_path / DATABASE_FILE).write_bytes(b"this is no database" * 100)
    assert str(tmp_path / DATABASE_FILE) in await _refusal(tmp_path, **NEW_KEY)


async def test_a_data_directory_is_made(tmp_path: Path) -> None:
    server = await _start(tmp_path / "a" / "b", **NEW_KEY)
    await server.stop()
    assert (tmp_path / "a" / "b" / DATABASE_FILE).exists()


async def test_devices_that_a_crash_left_online_are_offline(start_rig: RigStarter, filled_database: Path) -> None:
    rig = await start_rig()
    await rig.connected()
    webhook = a_webhook("http://127.0.0.1:1/", account_id=ACCOUNT_ID, product_key=PRODUCT_KEY)
    await rig.server.store.add_webhook(webhook)
    assert await rig.server.store.flush()
    # A second server on the same file, as after kill -9: the claim of the first is gone with it.
    store = rig.server.store
    if isinstance(store, SqliteStore):
        store._claim.give_up()
    else:
        assert isinstance(store, PostgresStore)
        store._claim.terminate()
    after = Server(
        rig_settings(
            filled_database.parent, database=rig.settings.database or f"sqlite:///{rig.settings.data}/{DATABASE_FILE}"
        ),
        is_production=True,
        clock=ManualClock(1_700_000_100.0),
    )
    await after.start()
    device = await after.store.find_device(LAMP)
    assert device is not None
    assert (device.is_online, device.status_ms, device.online_ms) == (False, 1_700_000_100_000, 1_700_000_000_000)
    # Who subscribed is told so.
    assert await after.store.count_letters(webhook.destination) == 1
    await after.stop()


# --- keys ---


async def test_without_any_key_it_does_not_start(tmp_path: Path) -> None:
    refusal = await _refusal(tmp_path)
    assert refusal.startswith("there is no access key yet: give --access-key-id and --access-key-secret, or make one")
    assert await _refusal(tmp_path, access_key_id="id only") == refusal


async def test_the_first_key_makes_an_account_and_is_found_again(tmp_path: Path) -> None:
    for _ in range(2):
        server = await _start(tmp_path, **NEW_KEY)
        assert server.access_key is not None
        assert (server.access_key.access_key_id, server.access_key.enabled) == ("new-key", True)
        (account,) = await server.store.list_accounts()
        assert (account.name, account.account_id) == ("default", server.access_key.account_id)
        assert re.fullmatch("[1-9]{16}", account.account_id)
        assert len(await server.store.list_access_keys(account.account_id)) == 1
        await server.stop()


async def test_a_new_key_belongs_to_the_oldest_account(start_rig: RigStarter) -> None:
    rig = await start_rig(**NEW_KEY)
    assert rig.server.access_key is not None
    assert rig.server.access_key.account_id == KEY.account_id
    app = rig.app(rig.server.access_key)
    assert (await app.rrpc(LAMP))["RrpcCode"] == "OFFLINE"


async def test_a_known_key_with_another_secret_is_told(start_rig: RigStarter) -> None:
    with pytest.raises(StartError, match="--access-key-id app-key exists with another secret"):
        await start_rig(access_key_id="app-key", access_key_secret="another")


async def test_the_demo_key_is_refused_in_production(tmp_path: Path) -> None:
    said = "the access key linkstead-dev is known to everybody: serve does not start with it."
    assert (await _refusal(tmp_path, **DEMO_KEY)).startswith(said)
    server = await _start(tmp_path, **DEMO_KEY, is_production=False)
    await server.stop()
    assert (await _refusal(tmp_path, **NEW_KEY)).startswith(said)


async def test_a_demo_key_that_is_disabled_is_no_obstacle(tmp_path: Path) -> None:
    server = await _start(tmp_path, **DEMO_KEY, is_production=False)
    assert await server.store.set_access_key_enabled(DEMO_ACCESS_KEY_ID, False)
    await server.stop()
    server = await _start(tmp_path, **NEW_KEY)
    await server.stop()


# --- other processes ---


async def _another_process(rig: Rig) -> SqlStore:
    store = rig.another_store()
    await store.open()
    return store


async def test_a_key_disabled_by_another_process_is_noticed_within_one_poll(rig: Rig) -> None:
    app = rig.app()
    assert (await app.rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    other = await _another_process(rig)
    await other.set_access_key_enabled(KEY.access_key_id, False)
    await other.close()
    assert (await app.rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    before = rig.server._registry_version
    rig.clock.advance(REGISTRY_POLL_S)
    await until(lambda: rig.server._registry_version != before)
    response = await app.call("RRpc", **app.rrpc_parameters(LAMP))
    assert response.json()["Code"] == "InvalidAccessKeyId.Inactive"


async def test_what_another_process_registers_is_there_at_once(rig: Rig) -> None:
    other = await _another_process(rig)
    key = LAMP._replace(device_name="lamp-new")
    assert (await rig.app().rrpc(key))["Code"] == "iot.device.NotExistedDevice"
    await other.add_devices([a_device(key)])
    await other.add_access_key(AccessKey("late-key", "late-secret", OTHER_ACCOUNT_ID, "", True, CREATED_MS))
    await other.close()
    assert (await rig.app().rrpc(key))["RrpcCode"] == "OFFLINE"
    await rig.connected(key)


async def test_background_work_that_fails_is_logged_and_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = []

    async def fail(now_ms: int) -> None:
        raise OSError("disk on fire")

    async def note(now_ms: int) -> None:
        pruned.append(now_ms)

    monkeypatch.setattr(rig.server.store, "prune", fail)
    rig.clock.advance(HOUSEKEEPING_S)
    await until(lambda: rig.watch.errors)
    (error,) = rig.watch.take()
    assert "background work failed" in error
    monkeypatch.setattr(rig.server.store, "prune", note)
    rig.clock.advance(HOUSEKEEPING_S)
    await until(lambda: pruned)


async def test_a_clock_turned_by_a_week_looks_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    registry_version = rig.server.store.registry_version

    async def count() -> int:
        nonlocal looks
        looks += 1
        return await registry_version()

    monkeypatch.setattr(rig.server.store, "registry_version", count)
    timers = rig.clock.timer_count
    for expected in (1, 2):
        rig.clock.advance(7 * 24 * 3600.0)
        await until(lambda: rig.clock.timer_count == timers)
        assert looks == expected


async def test_housekeeping_forgets_what_is_over(rig: Rig) -> None:
    device = await rig.connected()
    await device.disconnect()
    device = await rig.connected(SECOND_LAMP, keep_alive_s=30)
    device.reset()
    await until(lambda: not rig.is_online)
    rig.clock.advance(HOUSEKEEPING_S)
    await until(lambda: len(rig.server.sessions) == 0)


# --- speed and stopping ---


async def test_a_warm_call_asks_the_store_nothing(rig: Rig) -> None:
    device, app = await rig.connected(), rig.app()

    async def call() -> None:
        made = asyncio.ensure_future(app.rrpc(LAMP))
        await device.answer_call(b"pong")
        assert (await made)["RrpcCode"] == "SUCCESS"

    await call()
    await rig.server.store.flush()
    before = rig.server.store.statement_count
    for _ in range(10):
        await call()
    assert (await app.rrpc(LAMP, Topic="+"))["Code"] == "iot.messagebroker.InvalidFormattedTopicName"
    assert rig.server.store.statement_count == before


async def test_stopping_finishes_a_call_under_way(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5)
    query = rig.app().sign_v1({"Action": "RRpc", **rig.app().rrpc_parameters(LAMP)})
    async with HttpClient.open(rig.http) as client:
        client.send(encode_request("GET", f"/?{query}"))
        request = await device.expect_call()
        stopping = asyncio.ensure_future(rig.server.stop())
        await until(lambda: rig.server.http.is_draining)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*rig.http)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*rig.mqtt)
        await device.answer(request, b"in time")
        response = await client.receive()
        assert (response.json()["RrpcCode"], response.headers["Connection"]) == ("SUCCESS", "close")
        assert (await device.expect(Disconnect)).reason_code == 0x8B
        await device.expect_closed()
        await client.expect_closed()
        await stopping
    assert not rig.server.http.connections
    assert not rig.server.gateway.connections


async def test_stopping_waits_for_a_call_no_longer_than_its_deadline(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Timeout="8000"))
    await device.expect_call()
    stopping = asyncio.ensure_future(rig.server.stop())
    await until(lambda: rig.server.http.is_draining)
    rig.clock.advance(8.0)
    answer = await call
    assert answer["RrpcCode"] == "TIMEOUT"
    await device.expect_closed()
    await stopping


async def test_what_ended_while_stopping_is_in_the_store(start_rig: RigStarter) -> None:
    rig = await start_rig()
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    stopping = asyncio.ensure_future(rig.server.stop())
    await until(lambda: rig.server.http.is_draining)
    await device.answer(request, b"pong")
    answer = await call
    await stopping
    store = await _another_process(rig)
    kept = await store.find_call(KEY.account_id, str(answer["MessageId"]))
    assert kept is not None
    assert (kept.verdict, kept.timeline[-1].stage) == ("SUCCESS", "returned")
    lamp = await store.find_device(LAMP)
    assert lamp is not None
    assert lamp.is_online is False
    await store.close()


async def test_a_server_can_be_stopped_twice(rig: Rig) -> None:
    await rig.stop()
    await rig.server.http.drain()


async def test_nothing_secret_is_logged(start_rig: RigStarter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "linkstead")
    rig = await start_rig(**NEW_KEY)
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    await call
    app = rig.app()
    app.secret = "another-secret"
    await app.call("RRpc", **app.rrpc_parameters(LAMP))
    await app.call_v3("RRpc", **app.rrpc_parameters(LAMP))
    shown = str([record.__dict__ for record in caplog.records])
    for secret in (KEY.secret, "new-secret", "another-secret", device_secret(LAMP), "ACS3-HMAC", "Signature="):
        assert secret not in shown
    assert PRODUCT_KEY in shown


# --- the system's own clock ---


async def test_the_systems_clock_calls_back() -> None:
    clock = SystemClock()
    called = asyncio.Event()
    before_s = clock.monotonic_s()
    clock.call_later(0.001, called.set)
    taken_back = clock.call_later(0.001, lambda: pytest.fail("taken back"))
    taken_back.cancel()
    await called.wait()
    await clock.sleep(0.001)
    assert clock.monotonic_s() - before_s >= 0.001
    assert abs(clock.time_s() - CREATED_MS / 1000) > 1_000

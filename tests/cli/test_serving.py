import asyncio
import contextlib
import json
import re
import resource
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkstead import __version__
from linkstead.cli import demo_data
from linkstead.cli.endpoint import Endpoint
from linkstead.config import Address
from linkstead.registry import DeviceKey
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.processes import FREE_PORTS, WAIT_S, ServerProcess, done, invoke, is_listening, run, serving, wait_for
from tests.sdk.certificate import make_certificate
from tests.wire import App, DeviceClient, fetch

KEY_ID, SECRET = "my-key", "my-own-access-key-secret"
PRODUCT_SECRET, DEVICE_SECRET = "my-product-secrt", "my-own-device-secret"
LAMP = DeviceKey("a1Lamp00001", "lamp-01")
KEY = {"LINKSTEAD_ACCESS_KEY_ID": KEY_ID, "LINKSTEAD_ACCESS_KEY_SECRET": SECRET}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `serving` has its data: an account, a product and a device."""
    data = ("--data", tmp_path / "data")
    done("account", "create", "shop", "--access-key-id", KEY_ID, "--access-key-secret", SECRET, *data)
    done("product", "create", "Lamp", "--product-key", LAMP.product_key, "--product-secret", PRODUCT_SECRET, *data)
    done("device", "create", *LAMP, "--device-secret", DEVICE_SECRET, *data)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    with serving("serve", folder=folder) as server:
        yield server


def endpoint(server: ServerProcess) -> Endpoint:
    clock = SystemClock()
    return Endpoint(server.endpoint, "linkstead-dev", "linkstead-dev-secret", None, clock, SystemIds(clock))


def app(server: ServerProcess, secret: str = SECRET) -> App:
    return App(server.http, SystemClock(), KEY_ID, secret)


async def until_refused(address: Address) -> None:
    """Wait until nobody listens there any more."""
    await asyncio.to_thread(wait_for, lambda: not is_listening(address))


def test_serve_says_where_it_is_and_takes_it_back(server: ServerProcess) -> None:
    assert server.ready == {
        "pid": server.child.pid,
        "http": str(server.http),
        "https": None,
        "mqtt": str(server.mqtt),
        "mqtts": None,
        "amqp": None,
        "amqps": None,
        "metrics": None,
        "access_key_id": None,
        "version": __version__,
    }
    assert is_listening(server.http)
    assert is_listening(server.mqtt)
    assert server.stop() == 0
    assert not server.ready_file.exists()
    assert server.stdout == ""


def test_ctrl_c_ends_it_as_well(server: ServerProcess) -> None:
    server.send(signal.SIGINT)
    assert server.end() == 0
    assert not server.ready_file.exists()


def test_sighup_has_it_read_its_certificate_again(folder: Path) -> None:
    made, other = (make_certificate(_made_folder(folder / name)) for name in ("made", "other"))
    files = ("--tls-cert", made.certificate_file, "--tls-key", made.key_file)
    with serving("serve", *files, folder=folder) as server:
        shutil.copyfile(other.certificate_file, made.certificate_file)
        server.send(signal.SIGHUP)
        wait_for(lambda: "the certificate in use stays: --tls-key" in server.stderr)
        shutil.copyfile(other.key_file, made.key_file)
        server.send(signal.SIGHUP)
        wait_for(lambda: "certificate read anew" in server.stderr)
        context = ssl.create_default_context(cafile=other.ca_file)
        with socket.create_connection(server.mqtt) as plain, context.wrap_socket(plain, server_hostname="localhost"):
            pass
        assert server.stop() == 0


def test_sighup_without_a_certificate_changes_nothing(server: ServerProcess) -> None:
    server.send(signal.SIGHUP)
    assert server.stop() == 0


def _made_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_serve_makes_the_key_it_is_given(tmp_path: Path) -> None:
    with serving("serve", folder=tmp_path, env=KEY) as server:
        assert server.ready["access_key_id"] == KEY_ID
        options = ("--endpoint", server.endpoint, "--access-key-id", KEY_ID, "--access-key-secret", SECRET)
        assert done("calls", *options) == "no calls\n"
    ran = run(
        "serve", *FREE_PORTS, "--data", tmp_path / "data", cwd=tmp_path, env={**KEY, "LINKSTEAD_ACCESS_KEY_SECRET": "x"}
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert f"--access-key-id {KEY_ID} exists with another secret" in ran.stderr


@pytest.mark.asyncio
async def test_sigterm_lets_a_call_under_way_be_answered(server: ServerProcess) -> None:
    device = DeviceClient(server.mqtt, LAMP, DEVICE_SECRET)
    await device.connect()
    call = asyncio.ensure_future(app(server).rrpc(LAMP, b"ping"))
    request = await device.expect_call()
    server.send(signal.SIGTERM)
    await until_refused(server.http)
    assert not server.ready_file.exists()
    assert server.child.poll() is None
    await device.answer(request, b"pong")
    answer = await call
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "cG9uZw==")
    await device.close()
    assert await asyncio.to_thread(server.end) == 0


@pytest.mark.asyncio
async def test_a_drained_call_is_in_the_history_of_the_next_start(server: ServerProcess, folder: Path) -> None:
    device = DeviceClient(server.mqtt, LAMP, DEVICE_SECRET)
    await device.connect()
    call = asyncio.ensure_future(app(server).rrpc(LAMP, b"ping"))
    request = await device.expect_call()
    server.send(signal.SIGTERM)
    await until_refused(server.http)
    await device.answer(request, b"pong")
    message_id = (await call)["MessageId"]
    await device.close()
    assert await asyncio.to_thread(server.end) == 0
    with serving("serve", folder=folder, name="again") as again:
        record = await app(again).call_record(message_id)
    assert (record["verdict"], record["answer"]["base64"]) == ("SUCCESS", "cG9uZw==")


@pytest.mark.asyncio
async def test_a_second_signal_ends_it_there_and_then(server: ServerProcess) -> None:
    device = DeviceClient(server.mqtt, LAMP, DEVICE_SECRET)
    await device.connect()
    call = asyncio.ensure_future(app(server).rrpc(LAMP, b"ping"))
    await device.expect_call()
    server.send(signal.SIGTERM)
    await until_refused(server.http)
    server.send(signal.SIGTERM)
    assert await asyncio.to_thread(server.end) == -signal.SIGTERM
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await call
    await device.close()


def test_serve_refuses_the_demo_key(tmp_path: Path) -> None:
    demo = {"LINKSTEAD_ACCESS_KEY_ID": "linkstead-dev", "LINKSTEAD_ACCESS_KEY_SECRET": "linkstead-dev-secret"}
    ran = run("serve", *FREE_PORTS, "--data", tmp_path / "data", cwd=tmp_path, env=demo)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert ran.stderr.startswith("linkstead: the access key linkstead-dev is known to everybody")


def test_serve_refuses_data_that_dev_has_used(tmp_path: Path) -> None:
    with serving("dev", folder=tmp_path) as server:
        assert server.stop() == 0
    ran = run("serve", *FREE_PORTS, "--data", tmp_path / "data", cwd=tmp_path, env=KEY)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "known to everybody" in ran.stderr


def test_a_database_is_served_by_one_server_and_commands_go_on(folder: Path, server: ServerProcess) -> None:
    data = ("--data", folder / "data")
    path = folder / "data" / "linkstead.db"
    ran = run("serve", *FREE_PORTS, *data, cwd=folder)
    text = f"the database {path} is used by another server, process {server.child.pid}: stop that one first"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"linkstead: {text}\n")
    # By whatever name, and however it is to be served.
    (folder / "other.db").symlink_to(path)
    for command in (("dev",), ("serve",), ("serve", "--workers", "2")):
        options = ("--database", f"sqlite:///{folder / 'other.db'}", "--language", "zh")
        ran = run(*command, *FREE_PORTS, *options, cwd=folder)
        assert ran.returncode == 1
        said = f"linkstead: 数据库 {folder / 'other.db'} 正由另一个服务器（进程 {server.child.pid}）使用：请先停止它"
        assert ran.stderr.splitlines()[-1] == said
    assert "linkstead-dev" not in done("account", "list", *data)
    assert "later" in done("product", "create", "later", *data)
    assert asyncio.run(app(server).call("QueryProductList", CurrentPage="1", PageSize="10")).json()["Success"] is True
    # Nothing is left of it when it is killed.
    server.child.kill()
    server.end()
    with serving("serve", folder=folder, name="next") as following:
        assert following.stop() == 0


def test_serve_without_any_key_says_how_to_make_one(tmp_path: Path) -> None:
    ran = run("serve", *FREE_PORTS, "--data", tmp_path / "data", cwd=tmp_path)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "`linkstead account create NAME`" in ran.stderr


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_port_that_is_taken_is_one_line(tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run(command, "--http", f"127.0.0.1:{port}", "--mqtt", "127.0.0.1:0", cwd=tmp_path, env=KEY)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"linkstead: cannot listen on 127.0.0.1:{port}: ")
    assert ran.stderr.endswith("address already in use\n")


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_ready_file_that_cannot_be_written_is_one_line(tmp_path: Path, command: str) -> None:
    ran = run(command, *FREE_PORTS, "--ready-file", "gone/ready.json", cwd=tmp_path, env=KEY)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last == "linkstead: --ready-file gone/ready.json: No such file or directory"
    assert "Traceback" not in ran.stderr


def test_the_file_of_settings_is_read_by_a_process_too(tmp_path: Path) -> None:
    (tmp_path / "linkstead.toml").write_text('http = "127.0.0.1:0"\nlog-format = "json"\nstrict = true\n')
    with serving("serve", folder=tmp_path, env=KEY) as server:
        key = ("--endpoint", server.endpoint, "--access-key-id", KEY_ID, "--access-key-secret", SECRET)
        assert done("calls", *key) == "no calls\n"
        assert json.loads(server.stderr.splitlines()[0])["message"] == "ready"


def test_dev_has_devices_that_answer_and_one_that_is_the_users(dev: ServerProcess) -> None:
    assert dev.ready["access_key_id"] == "linkstead-dev"
    for known in demo_data.DEVICES:
        device_key = DeviceKey(demo_data.PRODUCT_KEY, known.device_name)
        status = invoke("call", "rrpc", *device_key, "--endpoint", dev.endpoint).stdout.split()[1]
        assert status == ("SUCCESS" if known.is_simulated else "OFFLINE")


def test_dev_prints_where_it_is_and_who_may_call(dev: ServerProcess) -> None:
    text = dev.stdout
    for said in (str(dev.http), str(dev.mqtt), "linkstead-dev-secret", demo_data.OWN.device_secret, "lamp-01, lamp-02"):
        assert said in text


def test_dev_starts_again_on_its_own_data(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with serving("dev", folder=tmp_path, name=name) as server:
            options = ("--endpoint", server.endpoint)
            assert done("call", "rrpc", demo_data.PRODUCT_KEY, "lamp-01", *options).startswith("RrpcCode SUCCESS")
            assert server.stop() == 0
    assert len(done("device", "list", demo_data.PRODUCT_KEY, "--data", tmp_path / "data").splitlines()) == 4


def test_dev_goes_on_without_a_device_that_was_disabled(tmp_path: Path) -> None:
    names = {"ProductKey": demo_data.PRODUCT_KEY, "DeviceName": "lamp-01"}
    with serving("dev", folder=tmp_path) as server:
        assert endpoint(server).invoke("DisableThing", names)["Success"]
        assert server.stop() == 0
    with serving("dev", folder=tmp_path, name="again") as server:
        assert "simulated device refused device=a1LinkDemo0/lamp-01" in server.stderr
        options = ("--endpoint", server.endpoint)
        assert "The device is disabled" in invoke("call", "rrpc", demo_data.PRODUCT_KEY, "lamp-01", *options).stdout
        assert done("call", "rrpc", demo_data.PRODUCT_KEY, "lamp-02", *options).startswith("RrpcCode SUCCESS")


def test_serve_takes_as_many_connections_as_the_machine_lets_it(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 128
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(serving("serve", folder=folder))
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            clients = [stack.enter_context(socket.create_connection(server.http)) for _ in range(2 * few)]
            for client in clients:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                client.settimeout(WAIT_S)
                assert client.recv(12) == b"HTTP/1.1 200"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_dev_keeps_a_secret_of_the_users_to_itself(tmp_path: Path) -> None:
    with serving("dev", folder=tmp_path, env=KEY) as server:
        assert SECRET not in server.stdout
        assert KEY_ID in server.stdout
        assert server.stop() == 0


def test_dev_on_data_of_another_account_says_so(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    done("account", "create", "first", "--access-key-id", KEY_ID, "--access-key-secret", SECRET, *data)
    done("account", "create", "other", *data)
    done("product", "create", "Lamp", "--product-key", demo_data.PRODUCT_KEY, "--account", "other", *data)
    ran = run("dev", *FREE_PORTS, *data, cwd=tmp_path, env=KEY)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"linkstead: the demo product {demo_data.PRODUCT_KEY} belongs to another account: "
        "give --data another directory\n"
    )


async def make_every_noise(server: ServerProcess) -> list[str]:
    """Do what is logged, rightly and wrongly; what must not be in the log: secrets, signatures, passwords."""
    hidden = [SECRET, PRODUCT_SECRET, DEVICE_SECRET, "a-wrong-secret", "a-wrong-device-secret"]
    good, bad = app(server), app(server, "a-wrong-secret")
    device = DeviceClient(server.mqtt, LAMP, DEVICE_SECRET)
    await device.connect()
    for client in (good, bad):
        query = client.sign_v1({"Action": "QueryProduct", "ProductKey": LAMP.product_key})
        hidden += re.findall(r"Signature=([^&]+)", query)
        await fetch(server.http, "GET", f"/?{query}")
        target, headers = client.sign_v3("QueryProduct", {"ProductKey": LAMP.product_key})
        hidden += re.findall(r"Signature=(.+)", headers["authorization"])
        await fetch(server.http, "POST", target, headers)
        hidden.append(client.basic["Authorization"].removeprefix("Basic "))
        await fetch(server.http, "GET", "/_linkstead/calls", client.basic)
    call = asyncio.ensure_future(good.rrpc(LAMP, b"ping"))
    await device.answer(await device.expect_call(), b"pong")
    await call
    password = device.connect_packet().password
    assert password is not None
    hidden.append(password.decode())
    await device.disconnect()
    stranger = DeviceClient(server.mqtt, LAMP, "a-wrong-device-secret")
    assert (await stranger.request_connect()).reason_code
    password = stranger.connect_packet().password
    assert password is not None
    hidden.append(password.decode())
    await stranger.close()
    await fetch(server.mqtt, "GET", "/", good.basic)
    return hidden


@pytest.mark.asyncio
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_secret_is_in_the_log_of_a_whole_run(folder: Path, log_format: str) -> None:
    options = ("--log-format", log_format, "--access-key-id", KEY_ID, "--access-key-secret", SECRET)
    with serving("serve", *options, folder=folder) as server:
        hidden = await make_every_noise(server)
        assert await asyncio.to_thread(server.stop) == 0
    log = server.stderr
    assert "device connected" in log
    assert "CONNECT refused" in log
    assert "HTTP on the MQTT port" in log
    assert len(hidden) == 13
    for secret in hidden:
        assert secret not in log
    if log_format == "json":
        for line in log.splitlines():
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
    else:
        assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (INFO|WARNING) linkstead\.", line) for line in log.splitlines())

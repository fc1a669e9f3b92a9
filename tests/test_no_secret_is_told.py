"""Secrets that are known are planted everywhere, whole journeys are made, and everything that comes out is searched."""

import asyncio
import base64
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import sqlalchemy as sa

from linkstead.api.passwords import CONSOLE_USER, hash_password
from linkstead.api.tokens import TOKEN_CHARS
from linkstead.cli.logs import JsonFormatter, TextFormatter
from linkstead.config import Address
from linkstead.registry import AccessKey, DeviceKey
from linkstead.server import StartError
from linkstead.subscription import NoticeKind
from tests.cli.processes import ENVIRONMENT, run
from tests.console.web import Visitor
from tests.rig import (
    ACCOUNT_ID,
    CREATED_MS,
    LAMP,
    PRODUCT_KEY,
    Rig,
    RigStarter,
    a_device,
    a_product,
)
from tests.webhook.receiver import Receiver, a_webhook, status
from tests.wire import App, DeviceClient, fetch, until

FREE = Address("127.0.0.1", 0)
PLANTED_KEY = DeviceKey("a1Planted01", "planted-01")

KEY_SECRET = "planted-ak-secret-7Qm2"
OTHER_KEY_SECRET = "planted-other-secret-1x"
DEVICE_SECRET = "planted-device-secret-9Zx"
PRODUCT_SECRET = "planted-product-secret-3Lk"
PASSWORD = "planted console password 5"
TOKEN = ("PlantedToken8" * TOKEN_CHARS)[:TOKEN_CHARS]
TOKEN_SECRET = "planted-sts-secret-4Tt"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"planted-webhook-secret-00000000!").decode()
DSN_PASSWORD = "planted-dsn-password-6Gh"
NATS_PASSWORD = "planted-nats-password-2Vb"

SECRETS = {
    "the access key's": KEY_SECRET,
    "the temporary key's": TOKEN_SECRET,
    "the token": TOKEN,
    "the device's": DEVICE_SECRET,
    "the product's": PRODUCT_SECRET,
    "the password": PASSWORD,
    "the webhook's": WEBHOOK_SECRET.removeprefix("whsec_"),
    "the database's": DSN_PASSWORD,
    "NATS's": NATS_PASSWORD,
}


def find_secrets(text: str) -> list[str]:
    """Which secrets stand in a text: as they are, in Base64, percent-encoded, as bytes are shown, in hexadecimal."""
    found = []
    for name, secret in SECRETS.items():
        raw = secret.encode()
        forms = {secret, quote(secret, safe=""), raw.hex(), raw.hex().upper(), repr(secret)[1:-1]}
        # In Base64 what stands before moves it by up to two bytes.
        forms |= {base64.b64encode(b"x" * pad + raw).decode().rstrip("=")[4:-4] for pad in range(3)}
        if any(form in text for form in forms):
            found.append(name)
    return found


class Outputs(logging.Handler):
    """All that was said: in the log, from the lowest level on and as both formats write it, and in answers."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self._formats = (TextFormatter(), JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [each.format(record) for each in self._formats]

    def take(self, *answers: bytes) -> None:
        self.texts += [answer.decode("utf-8", "replace") for answer in answers]

    def search(self) -> list[str]:
        return [f"{name} secret in: {text[:300]}" for text in self.texts for name in find_secrets(text)]


@pytest.fixture
def outputs() -> Iterator[Outputs]:
    outputs, root, own = Outputs(), logging.getLogger(), logging.getLogger("linkstead")
    levels = root.level, own.level
    root.addHandler(outputs)
    root.setLevel(logging.DEBUG)
    own.setLevel(logging.DEBUG)
    yield outputs
    root.removeHandler(outputs)
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def test_a_secret_is_found_in_whatever_form() -> None:
    for name, secret in SECRETS.items():
        for text in (
            secret,
            f"x={quote(secret, safe='')}&",
            base64.b64encode(f"id:{secret}".encode()).decode(),
            f"{secret.encode().hex()}",
            f"b'{secret}'",
        ):
            assert name in find_secrets(text), text
    assert find_secrets("nothing of the kind") == []


async def _plant(rig: Rig, receiver: Receiver) -> tuple[AccessKey, AccessKey]:
    store = rig.server.store
    key = AccessKey("planted-key", KEY_SECRET, ACCOUNT_ID, "", True, CREATED_MS)
    temporary = AccessKey(
        "STS.planted", TOKEN_SECRET, ACCOUNT_ID, "operator", True, CREATED_MS, TOKEN, 4_000_000_000_000
    )
    person = AccessKey(f"{CONSOLE_USER}ann", hash_password(PASSWORD, "salt"), ACCOUNT_ID, "", True, CREATED_MS)
    for each in (key, temporary, person):
        await store.add_access_key(each)
    await store.add_product(
        replace(a_product(PLANTED_KEY.product_key), product_secret=PRODUCT_SECRET, dynamic_registration=True)
    )
    await store.add_devices([msgspec.structs.replace(a_device(PLANTED_KEY), device_secret=DEVICE_SECRET)])
    await store.add_webhook(
        replace(
            a_webhook(receiver.url(), product_key=PRODUCT_KEY, account_id=ACCOUNT_ID),
            secret=WEBHOOK_SECRET,
        )
    )
    rig.server.registry.forget_all()
    await rig.server.webhooks.reload()
    return key, temporary


async def _call(rig: Rig, key: AccessKey, temporary: AccessKey, outputs: Outputs) -> None:
    app, device = (
        App(rig.http, rig.clock, key.access_key_id, key.secret),
        DeviceClient(rig.mqtt, PLANTED_KEY, DEVICE_SECRET),
    )
    rig.devices.append(device)
    await device.connect()
    for secret, password in ((DEVICE_SECRET, b"wrong"), ("wrong", DEVICE_SECRET.encode())):
        stranger = DeviceClient(rig.mqtt, PLANTED_KEY, secret)
        await stranger.request_connect(password=password)
        await stranger.close()
    call = asyncio.ensure_future(app.rrpc(PLANTED_KEY))
    await device.answer_call(b"pong")
    answer = await call
    outputs.take(json.dumps(answer).encode())
    as_sts = App(rig.http, rig.clock, temporary.access_key_id, temporary.secret)
    wrong = [App(rig.http, rig.clock, each.access_key_id, OTHER_KEY_SECRET) for each in (key, temporary)]
    parameters = app.rrpc_parameters(PLANTED_KEY)
    for response in (
        await app.call("RRpc", **{**parameters, "Timeout": "x"}),
        await app.call("QueryProductList", CurrentPage="1", PageSize="10"),
        await app.call("GetDeviceStatus", ProductKey=PLANTED_KEY.product_key, DeviceName="nobody"),
        await app.call_v3("Nonsense"),
        await as_sts.call("RRpc", **parameters),
        await wrong[0].call("RRpc", **parameters),
        await wrong[0].call_v3("RRpc", **parameters),
        await wrong[1].call("RRpc", **parameters),
        await fetch(rig.http, "GET", "/metrics", app.basic),
        await fetch(rig.http, "GET", "/metrics", wrong[0].basic),
        await fetch(rig.http, "GET", "/readyz"),
        await fetch(rig.http, "GET", "/_linkstead/calls", app.basic),
        await fetch(rig.http, "GET", "/_linkstead/calls", wrong[0].basic),
        await fetch(rig.http, "GET", "/_linkstead/calls?secret=x", app.basic),
        await fetch(rig.http, "GET", f"/_linkstead/calls/{answer['MessageId']}", app.basic),
        await fetch(rig.http, "GET", "/_linkstead/consumer-groups", app.basic),
        await fetch(rig.http, "GET", f"/_linkstead/devices/{PLANTED_KEY}".replace("&", "/"), app.basic),
        await fetch(
            rig.http,
            "POST",
            "/auth/register/device",
            {"Content-Type": "application/x-www-form-urlencoded"},
            f"productKey={PLANTED_KEY.product_key}&deviceName=planted-01&random=1&sign=00&signMethod=hmacmd5".encode(),
        ),
    ):
        outputs.take(response.body, json.dumps(response.headers).encode())


async def _look_at_pages(rig: Rig, key: AccessKey, outputs: Outputs) -> None:
    visitor = Visitor(rig.http)
    for name, secret in (("ann", "wrong password 1"), ("planted-key", OTHER_KEY_SECRET), ("ann", PASSWORD)):
        response = await visitor.post("/login", name=name, secret=secret)
        outputs.take(response.body, json.dumps(response.headers).encode())
    assert response.status == 303
    (call, *_) = rig.calls()
    for path in (
        "/",
        "/calls",
        f"/calls/{call.request_id}",
        f"/calls/{call.request_id}/report",
        "/products",
        f"/products/{PLANTED_KEY.product_key}",
        "/devices",
        f"/devices/{PLANTED_KEY.product_key}/{PLANTED_KEY.device_name}",
        "/explorer",
        "/explorer/RRpc",
        "/nowhere",
    ):
        response = await visitor.get(path)
        outputs.take(response.body, json.dumps(response.headers).encode())


@pytest.mark.asyncio
async def test_no_secret_is_in_logs_errors_answers_and_pages(start_rig: RigStarter, outputs: Outputs) -> None:
    rig = await start_rig()
    async with Receiver.open() as receiver:
        receiver.usual = status("500 No")
        key, temporary = await _plant(rig, receiver)
        await _call(rig, key, temporary, outputs)
        await _look_at_pages(rig, key, outputs)
        rig.server.forwarder.forward(ACCOUNT_ID, LAMP, NoticeKind.DEVICE_DATA, f"/{PRODUCT_KEY}/lamp-01/user/a", b"1")
        await rig.server.forwarder.settle()
        await rig.server.store.flush()
        await until(lambda: receiver.received)
    await rig.server.store.flush()
    assert len(outputs.texts) > 60
    assert outputs.search() == []


@pytest.mark.asyncio
async def test_no_secret_is_in_the_log_when_the_database_fails(start_rig: RigStarter, outputs: Outputs) -> None:
    rig = await start_rig()
    async with Receiver.open() as receiver:
        key, _ = await _plant(rig, receiver)
    tables = {"access_key": "access_key_gone", "device": "device_gone"}
    for name, gone in tables.items():
        # As a disk does that breaks: what is asked for cannot be read.
        await rig.server.store._write(partial(_run, f"ALTER TABLE {name} RENAME TO {gone}"))
    rig.server.registry.forget_all()
    app = App(rig.http, rig.clock, key.access_key_id, key.secret)
    outputs.take((await app.call("RRpc", **app.rrpc_parameters(PLANTED_KEY))).body)
    device = DeviceClient(rig.mqtt, PLANTED_KEY, DEVICE_SECRET)
    await device.request_connect()
    await device.close()
    assert any("request failed" in text for text in outputs.texts)
    assert any("CONNECT could not be checked" in text for text in outputs.texts)
    assert outputs.search() == []
    rig.watch.take()
    for name, gone in tables.items():
        await rig.server.store._write(partial(_run, f"ALTER TABLE {gone} RENAME TO {name}"))


def _run(statement: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--database", f"postgresql://me:{DSN_PASSWORD}@127.0.0.1:1/x"], ""),
        (["--database", f"postgresql://me:{DSN_PASSWORD}@127.0.0.1:1/x", "--nats", "nats://127.0.0.1:1"], ""),
        (["--database", f"mysql://me:{DSN_PASSWORD}@127.0.0.1:1/x"], "--database takes"),
        (["--nats", f"nats://me:{NATS_PASSWORD}@127.0.0.1:1"], ""),
        (["--access-key-id", "a", "--access-key-secret", f"{KEY_SECRET} "], "--access-key-secret"),
        (["--access-key-secret", KEY_SECRET], "are given together"),
    ],
)
def test_no_secret_is_in_what_a_server_says_that_cannot_start(tmp_path: Path, arguments: list[str], says: str) -> None:
    usual: list[str | Path] = ["--data", tmp_path / "data", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    done = run("serve", *usual, *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert says in done.stderr
    assert find_secrets(done.stdout + done.stderr) == []


@pytest.mark.asyncio
async def test_no_secret_is_in_a_support_bundle(start_rig: RigStarter, tmp_path: Path) -> None:
    rig = await start_rig(access_key_id="planted-first", access_key_secret=KEY_SECRET + "-first")
    async with Receiver.open() as receiver:
        key, temporary = await _plant(rig, receiver)
        await _call(rig, key, temporary, Outputs())
    await rig.server.store.flush()
    log = tmp_path / "server.log"
    log.write_text(f"a line with a secret that nobody should have written: {KEY_SECRET}\n")
    options: list[str | Path] = ["--data", rig.settings.data, "--http", str(rig.http), "--log", log]
    if rig.settings.database is not None:
        options += ["--database", rig.settings.database]
    options += ["--access-key-id", "planted-first", "--access-key-secret", KEY_SECRET + "-first"]
    secrets = {"LINKSTEAD_NATS": f"nats://me:{NATS_PASSWORD}@127.0.0.1:1"}
    bundle = tmp_path / "bundle.zip"
    done = await asyncio.to_thread(partial(run, "support-bundle", bundle, *options, cwd=tmp_path, env=secrets))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(bundle) as parts:
        found = {name: parts.read(name).decode() for name in parts.namelist()}
    assert set(found) == {
        *("README.txt", "version.json", "configuration.json", "health.json", "metrics.txt"),
        *("store.json", "nodes.json", "calls.json", "log.txt"),
    }
    assert json.loads(found["configuration.json"])["nats"] == "nats://me@127.0.0.1:1"
    assert json.loads(found["health.json"])["/readyz"]["status"] == 200
    assert "linkstead_calls_total{" in found["metrics.txt"]
    calls = json.loads(found["calls.json"])
    assert {call["verdict"] for call in calls} >= {"SUCCESS", "REJECTED"}
    assert "[removed]" in found["log.txt"]
    assert find_secrets("".join(found.values()) + done.stdout) == []
    assert json.loads(found["store.json"])["accounts"][0]["products"] == 3


def test_a_bundle_is_made_where_nothing_runs_and_nothing_is_there(tmp_path: Path) -> None:
    done = run("support-bundle", "b.zip", "--http", "127.0.0.1:1", cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "b.zip") as parts:
        assert "there is no database" in json.loads(parts.read("store.json"))["error"]
        assert "error" in json.loads(parts.read("health.json"))["/healthz"]
        assert "calls.json" not in parts.namelist()


@pytest.mark.asyncio
async def test_a_first_key_with_another_secret_is_refused_without_telling_either(start_rig: RigStarter) -> None:
    with pytest.raises(StartError) as refused:
        await start_rig(access_key_id="app-key", access_key_secret=KEY_SECRET)
    assert "app-secret" not in str(refused.value)
    assert find_secrets(str(refused.value)) == []

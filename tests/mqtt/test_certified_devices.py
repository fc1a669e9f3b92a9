"""Devices that show a certificate in place of a password, over real sockets."""

import asyncio
import json
import logging
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from linkstead.alink.registration import sign_request
from linkstead.cli.device_certificate import read_certificate
from linkstead.mqtt.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5, ConnAck, Publish
from linkstead.registry import DeviceKey
from linkstead.server import CERTIFICATE_LOOK_S
from linkstead.testing.clock import ManualClock
from linkstead.tls.authority import CA_FILE, Issued, create_certificate, create_device_certificate
from tests.rig import LAMP, Rig, RigStarter, a_device, a_product
from tests.wire import DeviceClient, fetch, properties, until

pytestmark = pytest.mark.asyncio

LEVELS = [MQTT_3_1, MQTT_3_1_1, MQTT_5]
METERS = "a1Meter0001"
METER, SECOND, DISABLED, BARE = (DeviceKey(METERS, f"meter-{name}") for name in ("01", "02", "off", "bare"))
BY_CERTIFICATE: dict[str, Any] = {"client_id": ".|securemode=2|", "user_name": None, "password": None}
DAYS = 3_650
RANDOM = "8Ygb7ULYh53B6OA"


@dataclass
class Authorities:
    """Files: the server's certificate, devices' certificates by who has them, and a stranger's authority."""

    server: Path
    issued: dict[str, Issued]
    stranger: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    now_s = time.time()
    server, stranger = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("stranger")
    for folder in (server, stranger):
        create_certificate(["localhost"], ["127.0.0.1"], folder=folder, ca_folder=folder, days=DAYS, now_s=now_s)

    def issue(name: str, ca: Path = server, days: int = DAYS, then_s: float = now_s) -> Issued:
        return create_device_certificate(METERS, name, folder=server, ca_folder=ca, days=days, now_s=then_s)

    issued = {name: issue(name) for name in ("first", "second", "disabled", "lamp", "unknown")}
    issued["strange"] = issue("strange", stranger)
    return Authorities(server, issued, stranger)


@dataclass
class Site:
    """A server that takes certificates of devices, and its meters."""

    rig: Rig
    made: Authorities

    def tls(self, name: str | None) -> ssl.SSLContext:
        """How a device connects that has this certificate, or none."""
        context = ssl.create_default_context(cafile=self.made.server / CA_FILE)
        if name is not None:
            context.load_cert_chain(self.made.issued[name].certificate, self.made.issued[name].key)
        return context

    async def register(self, key: DeviceKey, name: str) -> None:
        new = read_certificate(key, self.made.issued[name].certificate, time.time())
        assert await self.rig.server.store.set_device_certificate(new)

    def device(self, key: DeviceKey = METER) -> DeviceClient:
        return self.rig.device(key)

    async def ask(self, name: str | None, key: DeviceKey = METER, **fields: Any) -> ConnAck:
        """What a device is answered that shows a certificate; it says nothing of itself unless `fields` do."""
        device = self.device(key)
        answer = await device.request_connect(tls=self.tls(name), **{**BY_CERTIFICATE, **fields})
        if answer.reason_code:
            await device.expect_closed()
        return answer

    def named(self, key: DeviceKey, **fields: Any) -> dict[str, Any]:
        """The fields of a CONNECT that names its device, as one sends it that was told its names."""
        return {"user_name": f"{key.device_name}&{key.product_key}", "password": b"", **fields}


@pytest_asyncio.fixture
async def site(start_rig: RigStarter, made: Authorities) -> AsyncIterator[Site]:
    server = made.server
    rig = await start_rig(
        tls_cert=str(server / "server.pem"), tls_key=str(server / "server.key"), device_ca=str(server / CA_FILE)
    )
    site = Site(rig, made)
    store = rig.server.store
    await store.add_product(replace(a_product(METERS), auth_type="x509", dynamic_registration=True))
    await store.add_devices([a_device(key, enabled=key != DISABLED) for key in (METER, SECOND, DISABLED, BARE)])
    for key, name in ((METER, "first"), (SECOND, "second"), (DISABLED, "disabled")):
        await site.register(key, name)
    yield site


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "fields", [{}, {"user_name": "", "password": b""}, {"user_name": ""}, {"user_name": "&"}], ids=str
)
async def test_a_device_that_says_nothing_of_itself_is_told_its_names(
    site: Site, level: int, fields: dict[str, Any]
) -> None:
    device = site.device()
    await device.connect(tls=site.tls("first"), level=level, **{**BY_CERTIFICATE, **fields})
    told = await device.expect(Publish)
    assert (told.topic, told.qos, told.retain) == ("/ext/auth/identity/response", 0, False)
    assert json.loads(told.payload) == {"productKey": METERS, "deviceName": METER.device_name}
    await device.expect_silence()
    found = await site.rig.server.registry.find_device(METER)
    assert found is not None
    assert site.rig.server.sessions.status(found) == "ONLINE"


async def test_a_device_that_knows_its_names_gives_any_password_or_none(site: Site) -> None:
    for password in (b"", None, b"anything"):
        fields = site.named(METER, password=password)
        assert (await site.ask("first", **fields)).reason_code == 0


@pytest.mark.parametrize("suite", ["AES256-SHA256", "AES128-SHA"])
async def test_a_device_with_an_old_sdk_may_show_one(site: Site, suite: str) -> None:
    context = site.tls("first")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    device = site.device()
    await device.connect(tls=context, **BY_CERTIFICATE)
    assert device.writer.get_extra_info("cipher")[0] == suite
    await device.expect(Publish)


async def test_a_call_reaches_it(site: Site) -> None:
    device = site.device()
    await device.connect(tls=site.tls("first"), **{**BY_CERTIFICATE, "client_id": ".|securemode=2,ext=1|"})
    await device.expect(Publish)
    app = site.rig.app()
    form = app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(METER)}, "POST")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    call = asyncio.ensure_future(fetch(site.rig.http, "POST", "/", headers, form.encode()))
    await device.answer_call(b"pong")
    assert (await call).json()["RrpcCode"] == "SUCCESS"


async def test_what_it_is_told_is_left_out_where_it_takes_too_little(site: Site) -> None:
    device = site.device()
    small = properties(maximum_packet_size=60)
    await device.connect(tls=site.tls("first"), level=MQTT_5, **BY_CERTIFICATE, properties=small)
    await device.expect_silence()


REFUSALS: list[tuple[str, str | None, dict[str, Any], int, int, str]] = [
    ("no certificate and no name", None, {}, 4, 0x86, "user name or password is absent"),
    ("no certificate", None, {"key": METER, "password": b""}, 5, 0x87, "show a certificate"),
    ("its secret in place of a certificate", None, {"key": METER, "signed": True}, 5, 0x87, "show a certificate"),
    ("another device's", "second", {"key": METER}, 5, 0x87, "was not the device's"),
    ("one of a device, and another with none", "first", {"key": BARE}, 5, 0x87, "was not the device's"),
    ("one that is not registered", "unknown", {}, 5, 0x87, "that of no device"),
    ("one that is not registered, and a name", "unknown", {"key": METER}, 5, 0x87, "was not the device's"),
    ("a disabled device", "disabled", {}, 5, 0x87, "disabled"),
    ("no such device", "first", {"key": DeviceKey(METERS, "meter-99")}, 5, 0x87, "no such device"),
    ("a device with a secret", "first", {"key": LAMP, "password": b""}, 5, 0x87, "does not match the device's secret"),
    ("a device with a secret, no password", "first", {"key": LAMP}, 5, 0x87, "does not match the device's secret"),
    ("a name that is none", "first", {"user_name": "meter-01"}, 4, 0x86, "not DeviceName&ProductKey"),
    ("a client id without options", "first", {"client_id": "."}, 2, 0x85, "no |…| part"),
    ("a keep-alive out of range", "first", {"keep_alive_s": 29}, 3, 0x83, "keep-alive"),
]


@pytest.mark.parametrize(
    ("name", "fields", "code", "reason_code", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
async def test_a_connect_is_refused_with_its_code_and_closed(
    site: Site,
    caplog: pytest.LogCaptureFixture,
    name: str | None,
    fields: dict[str, Any],
    code: int,
    reason_code: int,
    text: str,
) -> None:
    key = fields.get("key")
    given = {field: value for field, value in fields.items() if field not in ("key", "signed")}
    if key is not None:
        given["user_name"] = f"{key.device_name}&{key.product_key}"
    if fields.get("signed"):
        signed = site.device(METER).connect_packet()
        given |= {"client_id": signed.client_id, "password": signed.password}
    for level in LEVELS:
        caplog.clear()
        answer = await site.ask(name, level=level, **given)
        assert (answer.reason_code, answer.session_present) == (reason_code if level == MQTT_5 else code, False)
        assert text in caplog.text
    assert site.rig.server.sessions.live_count == 0


async def test_without_tls_there_is_no_certificate(site: Site) -> None:
    answer = await site.device(METER).request_connect()
    assert answer.reason_code == 5
    assert (await site.device(LAMP).connect()).reason_code == 0


async def test_a_device_with_a_secret_needs_no_certificate_and_may_show_one(site: Site) -> None:
    for name in (None, "unknown", "first"):
        await site.device(LAMP).connect(tls=site.tls(name))


async def test_a_certificate_does_not_let_a_device_of_another_auth_type_in(site: Site) -> None:
    await site.register(LAMP, "lamp")
    assert (await site.ask("lamp")).reason_code == 5


async def test_a_token_does_not_let_a_device_in_that_shows_certificates(site: Site) -> None:
    device = site.device(BARE)
    client_id = f"x|random={RANDOM},authType=regnwl,securemode=2,signmethod=hmacsha256|"
    password = sign_request(BARE, RANDOM, "hmacsha256", "product-secret").encode()
    await device.connect(tls=site.tls(None), client_id=client_id, password=password)
    told = json.loads((await device.expect(Publish)).payload)
    await device.disconnect()
    options = "authType=connwl,securemode=-2"
    fields = site.named(BARE, client_id=f"{told['clientId']}|{options}|", password=told["deviceToken"].encode())
    assert (await site.ask(None, BARE, **fields)).reason_code == 5


async def test_a_certificate_that_was_replaced_or_taken_away_is_refused(site: Site) -> None:
    assert (await site.ask("first")).reason_code == 0
    await site.register(METER, "unknown")
    assert (await site.ask("first")).reason_code == 5
    assert (await site.ask("unknown")).reason_code == 0
    assert await site.rig.server.store.delete_device_certificate(METER)
    assert (await site.ask("unknown")).reason_code == 5


async def test_that_of_a_deleted_device_is_of_no_device(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.rig.server.registry.delete_device(METER)
    assert (await site.ask("first")).reason_code == 5
    assert "that of no device" in caplog.text
    assert (await site.ask("first", **site.named(METER, password=None))).reason_code == 5
    assert "no such device" in caplog.text


async def test_one_that_has_expired_meanwhile_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    found = await site.rig.server.store.find_device_certificate(METER)
    assert found is not None
    now_ms = int(site.rig.clock.time_s() * 1000)
    for not_after_ms, code in ((now_ms, 0), (now_ms - 1, 5)):
        await site.rig.server.store.set_device_certificate(replace(found, not_after_ms=not_after_ms))
        assert (await site.ask("first")).reason_code == code
    assert "its certificate has expired" in caplog.text


async def test_one_that_no_authority_of_ours_has_signed_ends_the_handshake(site: Site) -> None:
    await site.register(METER, "strange")
    device = site.device()
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await device.request_connect(tls=site.tls("strange"), **BY_CERTIFICATE)
    assert site.rig.server.sessions.live_count == 0


async def test_a_new_connection_takes_the_place_of_the_old(site: Site) -> None:
    first = site.device()
    await first.connect(tls=site.tls("first"), **BY_CERTIFICATE)
    await first.expect(Publish)
    await site.device().connect(tls=site.tls("first"), **BY_CERTIFICATE)
    await first.expect_closed()
    assert site.rig.server.sessions.live_count == 1


async def test_only_devices_are_asked_for_a_certificate(site: Site) -> None:
    pair = site.rig.server._certificate
    assert pair is not None
    assert (pair.devices.verify_mode, pair.apps.verify_mode) == (ssl.CERT_OPTIONAL, ssl.CERT_NONE)


async def test_authorities_of_devices_are_read_anew(
    start_rig: RigStarter, made: Authorities, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    device_ca = tmp_path / "devices.pem"
    shutil.copyfile(made.stranger / CA_FILE, device_ca)
    server, clock = made.server, ManualClock(time.time() + 60)
    rig = await start_rig(
        clock=clock,
        tls_cert=str(server / "server.pem"),
        tls_key=str(server / "server.key"),
        device_ca=str(device_ca),
    )
    site = Site(rig, made)
    await rig.server.store.add_product(replace(a_product(METERS), auth_type="x509"))
    await rig.server.store.add_devices([a_device(METER)])
    await site.register(METER, "first")

    async def is_let_in() -> bool:
        device = site.device()
        try:
            return (await device.request_connect(tls=site.tls("first"), **BY_CERTIFICATE)).reason_code == 0
        except (ssl.SSLError, ConnectionError, AssertionError):
            return False

    def replace_by(data: bytes) -> None:
        draft = device_ca.with_suffix(".new")
        draft.write_bytes(data)
        draft.replace(device_ca)
        clock.advance(CERTIFICATE_LOOK_S)

    assert not await is_let_in()
    replace_by((server / CA_FILE).read_bytes())
    await until(lambda: "certificate read anew" in caplog.text)
    assert await is_let_in()
    replace_by(b"broken")
    await until(lambda: f"--device-ca {device_ca}: it holds no certificate in PEM" in caplog.text)
    assert await is_let_in()
    assert len(rig.watch.take()) == 1

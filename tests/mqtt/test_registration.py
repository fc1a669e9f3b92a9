"""Devices that register over MQTT, and connect with what they were given, over real sockets."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from linkstead.alink.registration import FIELD_CHARS_MAX, sign_request
from linkstead.mqtt.codes import ReasonCode
from linkstead.mqtt.gateway import ASSIGNED_CLIENT_ID_CHARS, REGISTRATION_WAIT_S
from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    ConnAck,
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from linkstead.registry import Device, DeviceKey, DeviceStatus
from linkstead.subscription import NoticeKind
from tests.fakes import FakeNoticeSink
from tests.rig import (
    DISABLED_LAMP,
    LAMP,
    OTHER_ACCOUNT_ID,
    PRODUCT_KEY,
    SECOND_LAMP,
    Certificate,
    Rig,
    RigStarter,
    a_device,
    a_product,
    device_secret,
)
from tests.wire import DeviceClient, properties, until

pytestmark = pytest.mark.asyncio

LEVELS = [MQTT_3_1, MQTT_3_1_1, MQTT_5]
RANDOM = "8Ygb7ULYh53B6OA"
SECRET, OTHER_SECRET = "product-secret", "other-product-secret"
NEW_LAMP = DeviceKey(PRODUCT_KEY, "lamp:new@1")
OFF_LAMP = DeviceKey("a1Off000001", "lamp-01")
OTHER_LAMP = DeviceKey("a1Other0002", "lamp-01")


@dataclass
class Factory:
    """A server with TLS, and a product whose devices may register."""

    rig: Rig
    trust: ssl.SSLContext

    def fields(
        self,
        key: DeviceKey = LAMP,
        auth_type: str = "register",
        *,
        secret: str = SECRET,
        random: str = RANDOM,
        method: str = "hmacsha256",
        **others: Any,
    ) -> dict[str, Any]:
        """The fields of a CONNECT as the Link SDK for Python sends it; `secret` is that of the product."""
        options = f"random={random},authType={auth_type},securemode=2,signmethod={method}"
        usual: dict[str, Any] = {
            "client_id": f"{key.device_name}.{key.product_key}|{options}|",
            "user_name": f"{key.device_name}&{key.product_key}",
            "password": sign_request(key, random, method.lower(), secret).encode(),
            "tls": self.trust,
        }
        return {**usual, **others}

    async def ask(self, device: DeviceClient, *args: Any, **fields: Any) -> ConnAck:
        """Ask to be registered; the answer may be a refusal."""
        return await device.request_connect(**self.fields(*args, **fields))

    async def register(self, *args: Any, **fields: Any) -> tuple[DeviceClient, Publish]:
        """Register, which has to succeed; the connection stays open."""
        device = self.rig.device()
        answer = await self.ask(device, *args, **fields)
        assert (answer.reason_code, answer.session_present) == (0, False)
        return device, await device.expect(Publish)

    async def token(self, key: DeviceKey) -> dict[str, str]:
        """What a device is told that asks for a token, and leaves."""
        device, message = await self.register(key, "regnwl")
        await device.disconnect()
        told: dict[str, str] = json.loads(message.payload)
        return told

    def token_fields(self, told: dict[str, str], **others: Any) -> dict[str, Any]:
        """The fields of a CONNECT with a token, as the Link SDK for Python sends it."""
        options = "authType=connwl,securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13"
        usual: dict[str, Any] = {
            "client_id": f"{told['clientId']}|{options}|",
            "user_name": f"{told['deviceName']}&{told['productKey']}",
            "password": told["deviceToken"].encode(),
            "tls": self.trust,
        }
        return {**usual, **others}

    async def stored(self, key: DeviceKey) -> Device:
        found = await self.rig.server.store.find_device(key)
        assert found is not None
        return found

    def status(self, device: Device) -> DeviceStatus:
        return self.rig.server.sessions.status(device)


@pytest_asyncio.fixture
async def factory(start_rig: RigStarter, certificate: Certificate) -> AsyncIterator[Factory]:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    store = rig.server.store
    await rig.server.registry.update_product(replace(a_product(PRODUCT_KEY), dynamic_registration=True))
    await store.add_product(a_product(OFF_LAMP.product_key))
    foreign = replace(
        a_product(OTHER_LAMP.product_key, OTHER_ACCOUNT_ID), product_secret=OTHER_SECRET, dynamic_registration=True
    )
    await store.add_product(foreign)
    await store.add_devices([a_device(OFF_LAMP), a_device(OTHER_LAMP, OTHER_ACCOUNT_ID)])
    yield Factory(rig, certificate.trust)


# --- what a device is given ---


@pytest.mark.parametrize("level", LEVELS)
async def test_a_registered_device_is_told_its_secret_without_a_subscription(factory: Factory, level: int) -> None:
    device, message = await factory.register(level=level)
    assert (message.topic, message.qos, message.retain) == ("/ext/register", 0, False)
    assert message.payload == (
        f'{{"productKey":"{PRODUCT_KEY}","deviceName":"lamp-01","deviceSecret":"{device_secret(LAMP)}"}}'.encode()
    )
    await device.expect_silence()
    await device.disconnect()
    await factory.rig.device().connect(level=level)


@pytest.mark.parametrize("method", ["hmacmd5", "hmacsha1", "hmacsha256", "HmacSHA256"])
@pytest.mark.parametrize("upper", [False, True])
async def test_every_sign_method_is_taken_in_any_letter_case(factory: Factory, method: str, upper: bool) -> None:
    password = sign_request(LAMP, RANDOM, method.lower(), SECRET)
    await factory.register(method=method, password=(password.upper() if upper else password).encode())


async def test_the_options_may_be_those_of_every_sdk(factory: Factory) -> None:
    for options in (
        f"authType=register,random={RANDOM},signmethod=hmacsha256,securemode=2",
        f"timestamp=2524608000000,authType=register,random={RANDOM},signmethod=hmacsha256,securemode=-2,_ss=1,",
        f"random={RANDOM},authType=register,securemode=2,signmethod=hmacsha256,instanceId=iot-060a0001",
    ):
        await factory.register(client_id=f"any name|{options}|")
    await factory.register(random="r" * FIELD_CHARS_MAX)


@pytest.mark.parametrize("keep_alive_s", [0, 1, 65_535])
@pytest.mark.parametrize("auth_type", ["register", "regnwl"])
async def test_keep_alive_is_not_checked(factory: Factory, auth_type: str, keep_alive_s: int) -> None:
    await factory.register(LAMP, auth_type, keep_alive_s=keep_alive_s)


async def test_registering_neither_activates_a_device_nor_brings_it_online(factory: Factory) -> None:
    rig = factory.rig
    before = await factory.stored(LAMP)
    for auth_type in ("register", "regnwl"):
        device, _ = await factory.register(LAMP, auth_type)
        assert len(rig.server.sessions) == 0
        assert factory.status(await factory.stored(LAMP)) is DeviceStatus.UNACTIVE
        await device.disconnect()
    assert await rig.server.store.flush()
    assert await factory.stored(LAMP) == before


async def test_a_secret_is_given_again_until_the_device_is_active(factory: Factory) -> None:
    payloads = set()
    for _ in range(2):
        device, message = await factory.register()
        payloads.add(message.payload)
        await device.disconnect()
    assert len(payloads) == 1
    device = await factory.rig.connected()
    assert (await factory.ask(factory.rig.device())).reason_code == 5
    await device.disconnect()
    assert (await factory.ask(factory.rig.device())).reason_code == 5


async def test_a_client_id_that_is_left_out_is_given(factory: Factory) -> None:
    client_id = f"|authType=register,random={RANDOM},signmethod=hmacsha256|"
    answer = await factory.ask(factory.rig.device(), client_id=client_id, level=MQTT_5)
    assert len(answer.properties["assigned_client_identifier"]) == ASSIGNED_CLIENT_ID_CHARS


# --- tokens ---


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_that_nobody_registered_connects_with_its_token(factory: Factory, level: int) -> None:
    rig = factory.rig
    device, message = await factory.register(NEW_LAMP, "regnwl", level=level)
    assert (message.topic, message.qos) == ("/ext/regnwl", 0)
    told = json.loads(message.payload)
    assert list(told) == ["productKey", "deviceName", "clientId", "deviceToken"]
    assert DeviceKey(told["productKey"], told["deviceName"]) == NEW_LAMP
    await device.disconnect()
    made = await factory.stored(NEW_LAMP)
    assert (made.account_id, made.activated_ms, len(made.device_secret)) == ("1001", 0, 32)
    await device.connect(**factory.token_fields(told, level=level))
    assert factory.status(await factory.stored(NEW_LAMP)) is DeviceStatus.ONLINE
    session = rig.server.sessions.find(NEW_LAMP)
    assert session is not None
    assert session.link is not None
    assert session.link.ext == 3


async def test_only_a_device_that_is_made_is_told_of(start_rig: RigStarter, certificate: Certificate) -> None:
    sink = FakeNoticeSink()
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key), sink=sink)
    await rig.server.registry.update_product(replace(a_product(PRODUCT_KEY), dynamic_registration=True))
    factory = Factory(rig, certificate.trust)
    await factory.register()
    await factory.token(LAMP)
    assert sink.take() == []
    await factory.token(NEW_LAMP)
    await factory.token(NEW_LAMP)
    (notice,) = sink.take()
    made = await factory.stored(NEW_LAMP)
    assert (notice.kind, notice.key) == (NoticeKind.LIFE_CYCLE, NEW_LAMP)
    assert (notice.message["action"], notice.message["deviceSecret"]) == ("create", made.device_secret)


async def test_every_token_of_a_device_is_good_and_they_take_each_others_place(factory: Factory) -> None:
    first, second = await factory.token(NEW_LAMP), await factory.token(NEW_LAMP)
    assert first["clientId"] != second["clientId"]
    one, two = factory.rig.device(), factory.rig.device()
    await one.connect(**factory.token_fields(first))
    await two.connect(**factory.token_fields(second))
    await one.expect_closed()
    await two.expect_silence()


async def test_a_token_stays_good_when_the_switch_is_turned_off(factory: Factory) -> None:
    told = await factory.token(NEW_LAMP)
    await factory.rig.server.registry.update_product(a_product(PRODUCT_KEY))
    assert (await factory.ask(factory.rig.device(), NEW_LAMP, "regnwl")).reason_code == 5
    await factory.rig.device().connect(**factory.token_fields(told))


async def test_registering_leaves_a_connected_device_where_it_is(factory: Factory) -> None:
    rig = factory.rig
    connected = await rig.connected()
    told = await factory.token(LAMP)
    await connected.expect_silence()
    await rig.device().connect(**factory.token_fields(told))
    await connected.expect_closed()


async def test_two_that_register_one_name_at_once_are_one_device(factory: Factory) -> None:
    answers = await asyncio.gather(*(factory.token(NEW_LAMP) for _ in range(5)))
    for told in answers:
        await factory.rig.device().connect(**factory.token_fields(told))
    assert factory.rig.server.sessions.live_count == 1


@pytest.mark.parametrize("level", LEVELS)
async def test_a_token_that_is_not_the_devices_own_is_refused(factory: Factory, level: int) -> None:
    told, other = await factory.token(LAMP), await factory.token(SECOND_LAMP)
    device = factory.rig.device()
    for fields in (
        factory.token_fields({**told, "clientId": other["clientId"]}),
        factory.token_fields({**told, "deviceName": SECOND_LAMP.device_name}),
        factory.token_fields({**told, "deviceToken": told["deviceToken"].upper()}),
        factory.token_fields({**told, "deviceToken": device_secret(LAMP)}),
        factory.token_fields(told, password=b""),
        factory.token_fields({**told, "deviceName": "lamp-99"}),
        # a password proves the secret only where it is said to be one, and so does a token
        factory.token_fields(told, password=device.connect_packet().password),
        factory.token_fields(told, client_id=f"{told['clientId']}|securemode=2|"),
    ):
        answer = await device.request_connect(level=level, **fields)
        assert answer.reason_code == (0x87 if level == MQTT_5 else 5)
        await device.expect_closed()


async def test_a_device_with_a_token_is_refused_once_it_is_disabled_or_deleted(factory: Factory) -> None:
    rig = factory.rig
    told = await factory.token(NEW_LAMP)
    await rig.server.registry.set_device_enabled(NEW_LAMP, False, 1)
    assert (await rig.device().request_connect(**factory.token_fields(told))).reason_code == 5
    await rig.server.registry.delete_device(NEW_LAMP)
    assert (await rig.device().request_connect(**factory.token_fields(told))).reason_code == 5
    assert (await factory.token(NEW_LAMP))["deviceToken"] != told["deviceToken"]
    assert (await rig.device().request_connect(**factory.token_fields(told))).reason_code == 5


async def test_keep_alive_is_checked_for_a_device_with_a_token(factory: Factory) -> None:
    told = await factory.token(NEW_LAMP)
    answer = await factory.rig.device().request_connect(**factory.token_fields(told, keep_alive_s=29))
    assert answer.reason_code == 3


# --- refusals ---

BOTH = ("register", "regnwl")
REFUSALS: list[tuple[str, tuple[str, ...], dict[str, Any], int, int, str]] = [
    ("no random", BOTH, {"client_id": "x|authType=%s,signmethod=hmacsha256|"}, 2, 0x85, "random must have"),
    ("a long random", BOTH, {"random": "r" * (FIELD_CHARS_MAX + 1)}, 2, 0x85, "random must have"),
    ("no options", BOTH, {"client_id": "x"}, 2, 0x85, "no |…| part"),
    ("an unknown signmethod", BOTH, {"client_id": f"x|authType=%s,random={RANDOM},signmethod=crc32|"}, 2, 0x85, "hmac"),
    ("a name that none may have", ("regnwl",), {"key": DeviceKey(PRODUCT_KEY, "abc")}, 2, 0x85, "4-32 of"),
    ("an unknown authType", ("regother",), {}, 2, 0x85, "authType must be"),
    ("no password", BOTH, {"password": None}, 4, 0x86, "password is absent"),
    ("a user name without &", BOTH, {"user_name": "lamp-01"}, 4, 0x86, "DeviceName&ProductKey"),
    ("a wrong product secret", BOTH, {"secret": "wrong"}, 4, 0x86, "signature"),
    ("another account's product", BOTH, {"key": OTHER_LAMP}, 4, 0x86, "signature"),
    ("the device's own secret", BOTH, {"secret": device_secret(LAMP)}, 4, 0x86, "signature"),
    ("an empty password", BOTH, {"password": b""}, 4, 0x86, "signature"),
    ("a password that is not text", BOTH, {"password": b"\xff" * 64}, 4, 0x86, "signature"),
    ("an unknown product", BOTH, {"key": DeviceKey("a1Nowhere01", "lamp-01")}, 5, 0x87, "no such product"),
    ("the switch is off", BOTH, {"key": OFF_LAMP}, 5, 0x87, "switched off"),
    ("an unknown device", ("register",), {"key": DeviceKey(PRODUCT_KEY, "lamp-99")}, 5, 0x87, "no such device"),
    ("an active device", ("register",), {"key": SECOND_LAMP}, 5, 0x87, "active already"),
    ("a disabled device", BOTH, {"key": DISABLED_LAMP}, 5, 0x87, "disabled"),
]
ROWS = [pytest.param(auth_type, *row[2:], id=f"{row[0]}-{auth_type}") for row in REFUSALS for auth_type in row[1]]


def _filled(fields: dict[str, Any], auth_type: str) -> dict[str, Any]:
    filled = {"key": LAMP, "auth_type": auth_type, **fields}
    if "%s" in filled.get("client_id", ""):
        filled["client_id"] %= auth_type
    return filled


@pytest.mark.parametrize(("auth_type", "fields", "code", "reason_code", "text"), ROWS)
async def test_a_registration_is_refused_with_its_code_and_closed(
    factory: Factory,
    caplog: pytest.LogCaptureFixture,
    auth_type: str,
    fields: dict[str, Any],
    code: int,
    reason_code: int,
    text: str,
) -> None:
    await (await factory.rig.connected(SECOND_LAMP)).disconnect()
    for level in LEVELS:
        caplog.clear()
        device = factory.rig.device()
        answer = await factory.ask(device, level=level, **_filled(fields, auth_type))
        assert (answer.reason_code, answer.session_present) == (reason_code if level == MQTT_5 else code, False)
        await device.expect_closed()
        assert text in caplog.text


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("auth_type", ["register", "regnwl", "connwl"])
async def test_without_tls_a_registration_and_a_token_are_refused(
    factory: Factory, caplog: pytest.LogCaptureFixture, auth_type: str, level: int
) -> None:
    device = factory.rig.device()
    fields = factory.fields(LAMP, auth_type)
    if auth_type == "connwl":
        fields = factory.token_fields(await factory.token(LAMP))
    answer = await device.request_connect(level=level, **{**fields, "tls": None})
    assert answer.reason_code == (0x85 if level == MQTT_5 else 2)
    await device.expect_closed()
    assert "needs TLS" in caplog.text


@pytest.mark.parametrize("level", LEVELS)
async def test_a_registration_is_refused_while_the_store_fails(
    factory: Factory, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(factory.rig.server.store, "add_devices", fail)
        device = factory.rig.device()
        answer = await factory.ask(device, NEW_LAMP, "regnwl", level=level)
        assert answer.reason_code == (0x88 if level == MQTT_5 else 3)
        await device.expect_closed()
    assert len(factory.rig.watch.take()) == 1
    await factory.register(NEW_LAMP, "regnwl")


async def test_nothing_of_a_secret_is_logged(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = [SECRET, device_secret(LAMP), sign_request(LAMP, RANDOM, "hmacsha256", SECRET), "wrong-password"]
    await factory.register()
    await factory.ask(factory.rig.device(), password=b"wrong-password")
    told = await factory.token(NEW_LAMP)
    await factory.rig.device().connect(**factory.token_fields(told))
    await factory.rig.device().request_connect(**factory.token_fields(told, password=b"wrong-password"))
    hidden += [told["deviceToken"], (await factory.stored(NEW_LAMP)).device_secret]
    shown = str([record.__dict__ for record in caplog.records])
    assert "device registered" in shown
    assert [secret for secret in hidden if secret in shown] == []


# --- the connection of a registration ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("auth_type", ["register", "regnwl"])
async def test_nothing_else_is_carried(factory: Factory, auth_type: str, level: int) -> None:
    device, _ = await factory.register(LAMP, auth_type, level=level)
    topic, post = device.custom_topic("user/get"), device.topic("thing/event/property/post")
    device.send(
        Publish(post, b'{"id":"1","params":{}}'),
        Publish(post, b'{"id":"2","params":{}}', 1, 7),
        Publish(topic, bytes(PAYLOAD_BYTES_MAX + 1), 1, 8),
        Subscribe(9, [Subscription(topic), Subscription("/ext/register")]),
        Unsubscribe(10, [topic]),
    )
    is_5 = level == MQTT_5
    refused = ReasonCode.NOT_AUTHORIZED if is_5 else 0
    assert [await device.expect(PubAck) for _ in range(2)] == [PubAck(7, refused), PubAck(8, refused)]
    assert (await device.expect(SubAck)).reason_codes == [0x87 if is_5 else 0x80] * 2
    assert (await device.expect(UnsubAck)).packet_id == 10
    await device.expect_silence()
    assert factory.rig.server.sessions.find(LAMP) is None


@pytest.mark.parametrize("level", LEVELS)
async def test_what_comes_behind_the_connect_is_refused_too(factory: Factory, level: int) -> None:
    device = factory.rig.device()
    behind = Subscribe(1, [Subscription("/ext/register")])
    await device.connect(behind, **factory.fields(level=level))
    assert (await device.expect(Publish)).topic == "/ext/register"
    await device.expect(SubAck)
    await device.expect_silence()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_that_leaves_at_once_is_let_go(factory: Factory, level: int) -> None:
    device = factory.rig.device()
    await device.connect(Disconnect(), **factory.fields(level=level))
    await device.expect_closed()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_that_stays_is_cut_in_time(factory: Factory, level: int) -> None:
    device, _ = await factory.register(level=level, keep_alive_s=1)
    assert REGISTRATION_WAIT_S == 15.0
    factory.rig.clock.advance(REGISTRATION_WAIT_S - 0.001)
    await device.expect_silence()
    factory.rig.clock.advance(0.001)
    if level == MQTT_5:
        assert (await device.expect(Disconnect)).reason_code == ReasonCode.MAXIMUM_CONNECT_TIME
    await device.expect_closed()


async def test_a_device_that_left_is_not_cut_again(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gone, lost = [(await factory.register())[0] for _ in range(2)]
    await gone.disconnect()
    lost.reset()
    await until(lambda: not factory.rig.server.gateway.connections)
    factory.rig.clock.advance(REGISTRATION_WAIT_S)
    assert "did not leave" not in caplog.text


async def test_a_device_that_takes_smaller_packets_only_is_told_so(factory: Factory) -> None:
    device = factory.rig.device()
    fields = factory.fields(level=MQTT_5, properties=properties(maximum_packet_size=60))
    assert (await device.request_connect(**fields)).reason_code == 0
    assert (await device.expect(Disconnect)).reason_code == ReasonCode.PACKET_TOO_LARGE
    await device.expect_closed()


async def test_a_server_that_stops_ends_a_registration(factory: Factory) -> None:
    device, _ = await factory.register(level=MQTT_5)
    stopping = asyncio.ensure_future(factory.rig.stop())
    assert (await device.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    await device.close()
    await stopping

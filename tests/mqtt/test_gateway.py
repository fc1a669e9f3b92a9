"""Devices at the gateway over real sockets: coming in, staying, going, and taking each other's place."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from linkstead.alink.credentials import parse_client_id, sign_connect
from linkstead.invocation import Diagnosis, Stage
from linkstead.mqtt.gateway import ASSIGNED_CLIENT_ID_CHARS, CLOSE_WAIT_S
from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    ConnAck,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Will,
    encode,
)
from linkstead.mqtt.protocol import CONNECT_WAIT_S, PENDING_BYTES_MAX
from linkstead.registry import DeviceKey
from linkstead.sessions import StatusChange
from tests.rig import DISABLED_LAMP, LAMP, PRODUCT_KEY, Rig, device_secret
from tests.wire import DeviceClient, message_id, until

pytestmark = pytest.mark.asyncio

LEVELS = [MQTT_3_1, MQTT_3_1_1, MQTT_5]


# --- CONNACK ---


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_with_the_right_password_comes_in(rig: Rig, level: int) -> None:
    device = rig.device()
    answer = await device.connect(level=level)
    assert (answer.reason_code, answer.session_present) == (0, False)
    assert rig.server.sessions.live_count == 1
    await device.expect_silence()


async def test_mqtt_5_is_told_what_there_is(rig: Rig) -> None:
    answer = await rig.device().connect(level=MQTT_5)
    assert answer.properties == {
        "receive_maximum": 100,
        "maximum_qos": 1,
        "retain_available": 0,
        "maximum_packet_size": 1_048_576,
        "topic_alias_maximum": 16,
        "subscription_identifier_available": 0,
        "shared_subscription_available": 0,
    }


SIGNED_ID = f"{PRODUCT_KEY}.lamp-01|securemode=3,signmethod=hmacsha256,ext=1|"
SIGNED = sign_connect(LAMP, parse_client_id(SIGNED_ID), device_secret(LAMP)).encode()

REFUSALS: list[tuple[str, dict[str, Any], int, int]] = [
    ("no options in the client id", {"client_id": "a1Lamp00001.lamp-01"}, 2, 0x85),
    ("options without their end", {"client_id": "a|securemode=3"}, 2, 0x85),
    ("an unknown signmethod", {"client_id": "a|signmethod=crc32|"}, 2, 0x85),
    ("a long client id", {"client_id": "a" * 65 + "|securemode=3|"}, 2, 0x85),
    ("keep-alive 0", {"keep_alive_s": 0}, 3, 0x83),
    ("keep-alive 29", {"keep_alive_s": 29}, 3, 0x83),
    ("keep-alive 1201", {"keep_alive_s": 1_201}, 3, 0x83),
    ("keep-alive 65535", {"keep_alive_s": 65_535}, 3, 0x83),
    ("no password", {"password": None}, 4, 0x86),
    ("no user name", {"user_name": None, "password": None}, 4, 0x86),
    ("a user name without &", {"user_name": "lamp-01"}, 4, 0x86),
    ("a user name without a product", {"user_name": "lamp-01&"}, 4, 0x86),
    ("an unknown device", {"user_name": f"lamp-99&{PRODUCT_KEY}"}, 5, 0x87),
    ("an unknown product", {"user_name": "lamp-01&a1Nowhere01"}, 5, 0x87),
    ("another device's password", {"user_name": f"lamp-02&{PRODUCT_KEY}"}, 5, 0x87),
    ("a wrong password", {"password": b"0" * 64}, 5, 0x87),
    ("an empty password", {"password": b""}, 5, 0x87),
    ("a password that is not text", {"password": b"\xff" * 64}, 5, 0x87),
    ("a cut password", {"password": SIGNED[:-1]}, 5, 0x87),
    ("an altered password", {"password": SIGNED.replace(SIGNED[:1], b"g")}, 5, 0x87),
    ("a longer password", {"password": SIGNED + b"0"}, 5, 0x87),
    ("a password behind a blank", {"password": b" " + SIGNED}, 5, 0x87),
    ("a password in full-width digits", {"password": "０".encode() * 64}, 5, 0x87),
    ("another signmethod", {"client_id": SIGNED_ID.replace("sha256", "sha1")}, 5, 0x87),
    ("another client id", {"client_id": "x" + SIGNED_ID}, 5, 0x87),
    ("another timestamp", {"client_id": SIGNED_ID.replace("ext=1", "ext=1,timestamp=1")}, 5, 0x87),
    ("a ProductKey in lower case", {"user_name": f"lamp-01&{PRODUCT_KEY.lower()}"}, 5, 0x87),
    ("a DeviceName in upper case", {"user_name": f"LAMP-01&{PRODUCT_KEY}"}, 5, 0x87),
    ("a DeviceName behind a blank", {"user_name": f" lamp-01&{PRODUCT_KEY}"}, 5, 0x87),
    ("a DeviceName in unicode", {"user_name": f"台灯-01&{PRODUCT_KEY}"}, 5, 0x87),
    ("a DeviceName in full-width letters", {"user_name": f"ｌａｍｐ-01&{PRODUCT_KEY}"}, 5, 0x87),
    ("a user name the other way round", {"user_name": f"{PRODUCT_KEY}&lamp-01"}, 5, 0x87),
    ("registration without TLS", {"options": "authType=register,random=1"}, 2, 0x85),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("fields", "code", "reason_code"), [row[1:] for row in REFUSALS], ids=[r[0] for r in REFUSALS])
async def test_a_connect_is_refused_with_its_code_and_closed(
    rig: Rig, level: int, fields: dict[str, Any], code: int, reason_code: int
) -> None:
    device = rig.device()
    answer = await device.request_connect(level=level, **fields)
    assert (answer.reason_code, answer.session_present) == (reason_code if level == MQTT_5 else code, False)
    await device.expect_closed()
    assert len(rig.server.sessions) == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("key", [DeviceKey(PRODUCT_KEY, "LAMP-01"), DeviceKey(PRODUCT_KEY.lower(), "lamp-01")])
async def test_a_name_in_another_case_is_none_even_when_it_is_signed(rig: Rig, level: int, key: DeviceKey) -> None:
    device = DeviceClient(rig.mqtt, key, device_secret(LAMP))
    rig.devices.append(device)
    assert (await device.request_connect(level=level)).reason_code == (0x87 if level == MQTT_5 else 5)
    await device.expect_closed()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("password", [SIGNED.upper(), SIGNED[:32] + SIGNED[32:].upper()])
async def test_the_case_of_a_password_does_not_matter(rig: Rig, level: int, password: bytes) -> None:
    answer = await rig.device().connect(level=level, client_id=SIGNED_ID, password=password)
    assert answer.reason_code == 0


@pytest.mark.parametrize("level", LEVELS)
async def test_a_disabled_device_is_refused(rig: Rig, level: int) -> None:
    device = rig.device(DISABLED_LAMP)
    answer = await device.request_connect(level=level)
    assert answer.reason_code == (0x87 if level == MQTT_5 else 5)
    await device.expect_closed()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_is_refused_while_the_server_stops(rig: Rig, level: int) -> None:
    rig.server.gateway.drain()
    device = rig.device()
    assert (await device.request_connect(level=level)).reason_code == (0x88 if level == MQTT_5 else 3)
    await device.expect_closed()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_device_is_refused_while_the_store_fails(rig: Rig, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(rig.server.store, "find_devices", fail)
        device = rig.device()
        assert (await device.request_connect(level=level)).reason_code == (0x88 if level == MQTT_5 else 3)
        await device.expect_closed()
    assert len(rig.watch.take()) == 1
    await rig.connected()


@pytest.mark.parametrize(
    ("name", "level", "received"),
    [
        (b"\x00\x04MQTT", 6, b"\x20\x03\x00\x84\x00"),
        (b"\x00\x04MQTT", 3, b"\x20\x02\x00\x01"),
        (b"\x00\x04MQTT", 0, b"\x20\x02\x00\x01"),
        (b"\x00\x06MQIsdp", 2, b"\x20\x02\x00\x01"),
        (b"\x00\x04HTTP", 4, b""),
    ],
)
async def test_an_unknown_protocol_level_is_refused(rig: Rig, name: bytes, level: int, received: bytes) -> None:
    device = rig.device()
    await device.open()
    body = name + bytes([level, 2, 0, 60, 0, 1]) + b"a"
    device.send_bytes(b"\x10" + bytes([len(body)]) + body)
    assert await device.reader.read() == received


async def test_nothing_of_a_secret_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    device = rig.device()
    for fields in ({}, {"password": b"wrong-password"}, {"user_name": "x"}):
        await device.request_connect(**fields)
        await device.close()
    shown = str([record.__dict__ for record in caplog.records])
    assert device.device_secret not in shown
    assert "wrong-password" not in shown
    assert device.connect_packet().password.decode() not in shown  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["hmacmd5", "hmacsha1", "hmacsha256", "HmacSHA256", ""])
@pytest.mark.parametrize("upper", [False, True])
async def test_every_sign_method_is_taken_in_any_letter_case(rig: Rig, method: str, upper: bool) -> None:
    content = f"clientIdAC-DE-48deviceName{LAMP.device_name}productKey{LAMP.product_key}timestamp2524608000000"
    digest = {"": "md5", "hmacmd5": "md5", "hmacsha1": "sha1"}.get(method, "sha256")
    password = hmac.new(device_secret(LAMP).encode(), content.encode(), getattr(hashlib, digest)).hexdigest()
    options = f"timestamp=2524608000000,securemode=2{f',signmethod={method}' if method else ''},,odd,_ss=1,"
    await rig.device().connect(
        client_id=f"AC-DE-48|{options}|", password=(password.upper() if upper else password).encode()
    )


async def test_a_device_without_a_client_id_of_its_own_is_given_one(rig: Rig) -> None:
    key = LAMP
    content = f"clientIddeviceName{key.device_name}productKey{key.product_key}"
    password = hmac.new(device_secret(key).encode(), content.encode(), hashlib.sha256).hexdigest().encode()
    fields: dict[str, Any] = {"client_id": "|securemode=2,signmethod=hmacsha256|", "password": password}
    device = rig.device()
    answer = await device.connect(level=MQTT_5, **fields)
    assert len(answer.properties["assigned_client_identifier"]) == ASSIGNED_CLIENT_ID_CHARS
    await device.disconnect()
    assert (await device.connect(level=MQTT_3_1_1, **fields)).properties == {}


async def test_a_will_and_retain_are_ignored(rig: Rig) -> None:
    device = await rig.connected(will=Will(f"/{PRODUCT_KEY}/lamp-01/user/will", b"gone", 1, True))
    topic = device.custom_topic("user/get")
    device.send(Subscribe(1, [Subscription(topic)]), Publish(topic, b"x", retain=True))
    await device.expect(SubAck)
    assert (await device.expect(Publish)).retain is False


async def test_connecting_activates_the_device_and_notes_where_it_is(rig: Rig) -> None:
    device = await rig.connected()
    assert await rig.server.store.flush()
    stored = await rig.server.store.find_device(LAMP)
    assert stored is not None
    assert (stored.activated_ms, stored.online_ms) == (1_700_000_000_000, 1_700_000_000_000)
    assert (stored.is_online, stored.ip_address) == (True, "127.0.0.1")
    rig.clock.advance(1.0)
    await device.disconnect()
    assert await rig.server.store.flush()
    stored = await rig.server.store.find_device(LAMP)
    assert stored is not None
    assert (stored.is_online, stored.status_ms, stored.activated_ms) == (False, 1_700_000_001_000, 1_700_000_000_000)


# --- one segment, and none ---


@pytest.mark.parametrize("level", LEVELS)
async def test_what_is_sent_behind_connect_in_one_segment_is_taken_after_connack(rig: Rig, level: int) -> None:
    device = rig.device()
    topic = device.custom_topic("user/get")
    await device.connect(Subscribe(7, [Subscription(topic, 1)]), Publish(topic, b"early", 1, 8), level=level)
    assert await device.expect(SubAck) == SubAck(7, [1])
    echo = await device.expect(Publish)
    assert (echo.topic, echo.payload, echo.qos) == (topic, b"early", 1)
    assert (await device.expect(PubAck)).packet_id == 8
    await device.expect_silence()


async def test_goodbye_behind_connect_in_one_segment_is_taken(rig: Rig) -> None:
    device = rig.device()
    await device.connect(Disconnect())
    await device.expect_closed()
    assert not rig.is_online


@pytest.mark.parametrize("last", [Disconnect(), PingReq()])
async def test_a_reply_to_a_device_that_says_goodbye_in_the_same_segment_is_no_mistake(
    rig: Rig, last: Disconnect | PingReq
) -> None:
    device = await rig.connected()
    ntp = f"/ext/ntp/{LAMP.product_key}/{LAMP.device_name}"
    custom = device.custom_topic("user/get")
    device.send(Subscribe(1, [Subscription(custom, 1)]))
    await device.expect(SubAck)
    device.send(Publish(f"{ntp}/request", b'{"deviceSendTime":1}'), Publish(custom, b"x", 1, 9), Publish(custom, b"y"))
    device.send(Publish(device.topic("thing/x"), b'{"id":"1"}'), last)
    if isinstance(last, PingReq):
        device.send(Disconnect())
    while await device.reader.read(65_536):
        pass
    assert not rig.is_online
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"


async def test_a_connection_that_sends_nothing_is_closed_at_its_time(rig: Rig) -> None:
    device = rig.device()
    await device.open()
    await until(lambda: rig.server.gateway.connections)
    rig.clock.advance(CONNECT_WAIT_S - 0.1)
    assert rig.server.gateway.connections
    rig.clock.advance(0.1)
    await device.expect_closed()


async def test_a_connect_that_does_not_end_is_closed_at_its_time(rig: Rig) -> None:
    device = rig.device()
    await device.open()
    device.send_bytes(b"\x10\x40\x00\x04MQTT")
    await until(lambda: rig.server.gateway.connections)
    rig.clock.advance(CONNECT_WAIT_S)
    await device.expect_closed()


async def test_a_device_that_leaves_while_its_password_is_checked_leaves_nothing(rig: Rig) -> None:
    device = rig.device()
    await device.open()
    device.send(device.connect_packet())
    device.reset()
    await until(lambda: not rig.server.gateway.connections)
    assert not rig.is_online


class Wire(asyncio.Transport):
    """A transport that keeps what is written; one that `breaks_next` is found broken as it is written to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.breaks_next = self.is_broken = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_broken

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.breaks_next:
            self.is_broken = True
        if not self.is_broken:
            self.written += data


async def test_a_device_whose_records_are_at_hand_comes_in_at_once(rig: Rig) -> None:
    device = rig.device()
    await device.connect()
    await device.close()
    wire, tasks = Wire(), asyncio.all_tasks()
    connection = rig.server.gateway.make_protocol()
    connection.connection_made(wire)
    connection.data_received(encode(device.connect_packet(), MQTT_3_1_1))
    assert wire.written == encode(ConnAck(False, 0), MQTT_3_1_1)
    assert asyncio.all_tasks() <= tasks
    connection.connection_lost(None)


@pytest.mark.parametrize("is_known", [False, True])
async def test_what_a_broken_connection_did_not_take_is_not_said_to_be_written(rig: Rig, is_known: bool) -> None:
    device = rig.device()
    await device.connect()
    await device.close()
    wire = Wire()
    connection = rig.server.gateway.make_protocol()
    connection.connection_made(wire)
    connection.data_received(encode(device.connect_packet(), MQTT_3_1_1))
    # The event loop has not come round to tell of the end yet.
    wire.breaks_next, wire.is_broken = True, is_known
    sent_count = len(wire.written)
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "HALFCONN"
    assert len(wire.written) == sent_count
    (call,) = rig.server.journal.latest(1)
    assert call.diagnosis is Diagnosis.WRITE_FAILED
    assert call.moment(Stage.WRITTEN) is None
    connection.connection_lost(None)


async def test_a_fault_of_the_server_cuts_the_connection_and_is_logged(rig: Rig) -> None:
    class Broken:
        def status_changed(self, change: StatusChange) -> None:
            raise RuntimeError("broken")

    rig.server.sessions.observe_status(Broken())
    device = rig.device()
    await device.open()
    device.send(device.connect_packet())
    await until(lambda: rig.watch.errors and not rig.server.gateway.connections)
    (error,) = rig.watch.take()
    assert "RuntimeError: broken" in error


# --- keep-alive ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("keep_alive_s", [30, 1_200])
async def test_a_silent_device_is_cut_after_one_and_a_half_keep_alives(rig: Rig, level: int, keep_alive_s: int) -> None:
    device = await rig.connected(level=level, keep_alive_s=keep_alive_s)
    rig.clock.advance(1.5 * keep_alive_s - 0.1)
    await device.expect_silence()
    rig.clock.advance(1.5 * keep_alive_s - 0.1)
    assert rig.is_online
    rig.clock.advance(0.1)
    if level == MQTT_5:
        assert (await device.expect(Disconnect)).reason_code == 0x8D
    await device.expect_closed()
    assert not rig.is_online


async def test_any_packet_of_a_device_is_a_sign_of_life(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=30)
    topic = device.custom_topic("user/get")
    for packet in (Publish(topic, b"x", 1, 1), Subscribe(2, [Subscription(topic)]), PingReq()):
        rig.clock.advance(44.0)
        device.send(packet)
        await device.receive()
    assert rig.is_online


async def test_what_the_server_sends_is_no_sign_of_life(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=30)
    rig.clock.advance(44.0)
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.expect_call()
    rig.clock.advance(1.0)
    await device.expect_closed()
    rig.clock.advance(4.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"


# --- takeover ---


@pytest.mark.parametrize("level", LEVELS)
async def test_a_second_connection_takes_the_place_of_the_first(rig: Rig, level: int) -> None:
    first = await rig.connected(level=level)
    second = await rig.connected()
    if level == MQTT_5:
        assert (await first.expect(Disconnect)).reason_code == 0x8E
    await first.expect_closed()
    assert rig.server.sessions.live_count == 1
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await second.answer_call(b"second")
    assert (await call)["RrpcCode"] == "SUCCESS"


async def test_the_end_of_a_connection_that_was_taken_over_changes_nothing(rig: Rig) -> None:
    first = await rig.connected()
    (old,) = rig.server.gateway.connections
    await rig.connected()
    await first.expect_closed()
    await until(lambda: old not in rig.server.gateway.connections)
    assert rig.is_online
    assert await rig.server.store.flush()
    stored = await rig.server.store.find_device(LAMP)
    assert stored is not None
    assert stored.is_online


async def test_a_device_is_one_whatever_its_client_id(rig: Rig) -> None:
    first = await rig.connected()
    content = f"clientIdotherdeviceName{LAMP.device_name}productKey{LAMP.product_key}"
    password = hmac.new(device_secret(LAMP).encode(), content.encode(), hashlib.sha1).hexdigest().encode()
    await rig.device().connect(client_id="other|signmethod=hmacsha1|", password=password)
    await first.expect_closed()
    assert rig.server.sessions.live_count == 1


async def test_what_a_connection_sent_before_it_was_taken_over_still_counts(rig: Rig) -> None:
    first = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await first.expect_call()
    second = await rig.connected()
    await second.answer(request, b"by the new one")
    answer = await call
    assert (answer["RrpcCode"], answer["MessageId"]) == ("SUCCESS", message_id(request.topic))


async def test_many_takeovers_leave_one_connection(rig: Rig) -> None:
    for _ in range(20):
        last = await rig.connected()
    await until(lambda: len(rig.server.gateway.connections) == 1)
    await last.expect_silence()
    assert rig.server.sessions.live_count == 1


# --- what is not MQTT ---


async def test_http_on_the_port_is_told_and_closed(rig: Rig) -> None:
    for request in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /auth HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"):
        device = rig.device()
        await device.open()
        device.send_bytes(request)
        head, _, body = (await device.reader.read()).partition(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 400 Bad Request",
            b"Content-Type: text/plain;charset=utf-8",
            b"Content-Length: %d" % len(body),
            b"Connection: close",
        ]
        assert body == b"This port speaks MQTT. HTTP has its own port"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x20\x02\x00\x00",
        b"\xff" * 100,
        b"\x10\xff\xff\xff\xff\x01",
        b"\x30\x03\x00\x01a",
        b"\xc0\x00",
    ],
    ids=["zero", "TLS", "CONNACK", "noise", "endless length", "PUBLISH", "PINGREQ"],
)
async def test_what_does_not_begin_with_connect_is_closed_at_once(rig: Rig, data: bytes) -> None:
    device = rig.device()
    await device.open()
    device.send_bytes(data)
    await device.expect_closed()


async def test_a_second_connect_is_a_violation(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5)
    device.send(device.connect_packet(level=MQTT_5))
    assert (await device.expect(Disconnect)).reason_code == 0x82
    await device.expect_closed()


@pytest.mark.parametrize(("excess_bytes", "is_closed"), [(0, False), (1, True)])
async def test_a_packet_over_1_mib_closes_the_connection(rig: Rig, excess_bytes: int, is_closed: bool) -> None:
    device = await rig.connected()
    topic = device.custom_topic("user/big")
    empty = encode(Publish(topic, b""), MQTT_3_1_1)
    payload = bytes(1_048_576 - len(empty) - 2 + excess_bytes)
    packet = encode(Publish(topic, payload), MQTT_3_1_1)
    assert len(packet) == 1_048_576 + excess_bytes
    device.send_bytes(packet)
    if is_closed:
        await device.expect_closed()
    else:
        await device.expect_silence()


@pytest.mark.parametrize(("held_bytes", "is_closed"), [(PENDING_BYTES_MAX, False), (PENDING_BYTES_MAX + 1, True)])
async def test_so_much_may_be_sent_before_connack_and_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, held_bytes: int, is_closed: bool
) -> None:
    checked = asyncio.Event()
    find_devices = rig.server.store.find_devices

    async def find_slowly(keys: Sequence[DeviceKey]) -> Any:
        await checked.wait()
        return await find_devices(keys)

    monkeypatch.setattr(rig.server.store, "find_devices", find_slowly)
    device = rig.device()
    await device.open()
    behind = encode(PingReq(), MQTT_3_1_1) * (held_bytes // 2 + 1)
    device.send_bytes(encode(device.connect_packet(), MQTT_3_1_1) + behind[:held_bytes])
    await until(lambda: rig.server.gateway.connections)
    (connection,) = rig.server.gateway.connections
    if is_closed:
        await device.expect_closed()
        checked.set()
    else:
        await until(lambda: len(connection._machine._held or b"") == held_bytes)
        checked.set()
        await device.expect(ConnAck)
        await device.expect(PingResp)


async def test_a_device_that_does_not_close_its_side_is_cut(rig: Rig) -> None:
    device = await rig.connected()
    rig.clock.advance(90.0)
    await device.expect_closed()
    rig.clock.advance(CLOSE_WAIT_S)
    await until(lambda: not rig.server.gateway.connections)


async def test_no_timer_is_left_of_a_connection_that_ended(rig: Rig) -> None:
    await rig.server.store.flush()
    before = rig.clock.timer_count
    for index in range(3):
        device = await rig.connected(DeviceKey(PRODUCT_KEY, f"lamp-0{index % 2 + 1}"))
        await device.disconnect()
    await until(lambda: not rig.server.gateway.connections)
    await rig.server.store.flush()
    assert rig.clock.timer_count == before

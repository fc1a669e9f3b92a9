"""What a connected device may subscribe to and publish, and what comes of it."""

import asyncio
import json

import pytest

from linkstead.mqtt.gateway import FILTERS_OF_ONE_SUBSCRIBE_MAX
from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from linkstead.sessions import SUBSCRIPTIONS_MAX
from tests.rig import LAMP, SECOND_LAMP, Rig
from tests.wire import DeviceClient, properties

pytestmark = pytest.mark.asyncio

LEVELS = [MQTT_3_1, MQTT_3_1_1, MQTT_5]
OTHER = "a1Lamp00001/lamp-02"


async def _subscribe(device: DeviceClient, *filters: str, qos: int = 0) -> list[int]:
    device.send(Subscribe(1, [Subscription(name, qos) for name in filters]))
    answer = await device.expect(SubAck)
    assert answer.packet_id == 1
    return answer.reason_codes


async def _puback(device: DeviceClient, packet: Publish) -> int:
    """Publish at QoS 1; the reason code of the answer."""
    device.send(packet)
    answer = await device.expect(PubAck)
    assert answer.packet_id == packet.packet_id
    return answer.reason_code


# --- calls ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("subscribed", [False, True])
async def test_a_call_is_delivered_exactly_once_subscribed_or_not(rig: Rig, level: int, subscribed: bool) -> None:
    device = await rig.connected(level=level)
    if subscribed:
        filters = [device.topic("rrpc/request/+"), device.topic("#"), "/ext/rrpc/+/#", "/ext/rrpc/+/user/get"]
        assert await _subscribe(device, *filters, qos=1) == [1, 1, 1, 1]
    for topic in ("", "/user/get"):
        call = asyncio.ensure_future(rig.app().rrpc(LAMP, Topic=topic))
        request = await device.expect_call()
        await device.expect_silence()
        await device.answer(request, b"pong")
        assert (await call)["RrpcCode"] == "SUCCESS"
        await device.expect_silence()


async def test_a_call_reaches_no_other_device_whatever_that_subscribed(rig: Rig) -> None:
    device, other = await rig.connected(), await rig.connected(SECOND_LAMP)
    assert await _subscribe(other, "/ext/rrpc/+/user/get", "/ext/rrpc/#") == [0, 0]
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Topic="/user/get"))
    request = await device.expect_call()
    await other.expect_silence()
    await device.answer(request, b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


# --- subscriptions ---


async def test_so_many_subscriptions_are_granted_and_the_next_is_refused(rig: Rig) -> None:
    device = await rig.connected()
    for index in range(SUBSCRIPTIONS_MAX):
        assert await _subscribe(device, device.custom_topic(f"user/{index}")) == [0]
    assert await _subscribe(device, device.custom_topic("user/one-more")) == [0x80]
    assert await _subscribe(device, device.custom_topic("user/0"), qos=1) == [1]
    device.send(Unsubscribe(2, [device.custom_topic("user/1")]))
    await device.expect(UnsubAck)
    assert await _subscribe(device, device.custom_topic("user/one-more")) == [0]


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1, 0x80), (MQTT_3_1_1, 0x80), (MQTT_5, 0x97)])
async def test_so_many_filters_of_one_packet_are_granted_and_the_next_is_refused(
    rig: Rig, level: int, refused: int
) -> None:
    device = await rig.connected(level=level)
    filters = [device.custom_topic(f"user/{index}") for index in range(FILTERS_OF_ONE_SUBSCRIBE_MAX + 1)]
    assert await _subscribe(device, *filters) == [0] * FILTERS_OF_ONE_SUBSCRIBE_MAX + [refused]
    assert await _subscribe(device, filters[-1]) == [0]


async def test_qos_2_is_granted_as_1(rig: Rig) -> None:
    device = await rig.connected()
    assert await _subscribe(device, device.custom_topic("user/get"), qos=2) == [1]


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1, 0x80), (MQTT_3_1_1, 0x80), (MQTT_5, 0x87)])
async def test_a_forbidden_filter_is_refused_and_the_device_stays(rig: Rig, level: int, refused: int) -> None:
    device = await rig.connected(level=level)
    forbidden = [f"/sys/{OTHER}/#", f"/{OTHER}/user/get", "#", "+/#", "/sys/#", "/+/+/user/get", "$SYS/#", "a"]
    assert await _subscribe(device, *forbidden) == [refused] * len(forbidden)
    assert await _subscribe(device, device.topic("#"), "/sys/+/+/x") == [0, refused]
    session = rig.server.sessions.find(LAMP)
    assert session is not None
    assert set(session.subscriptions) == {device.topic("#")}
    await device.expect_silence()


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1_1, 0x80), (MQTT_5, 0x8F)])
async def test_a_malformed_filter_is_refused_and_the_device_stays(rig: Rig, level: int, refused: int) -> None:
    device = await rig.connected(level=level)
    malformed = [device.custom_topic(rest) for rest in ("a#", "#/a", "a+", "+a/b", "a/#/b")]
    assert await _subscribe(device, *malformed) == [refused] * len(malformed)
    await device.expect_silence()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_filter_that_is_given_up_delivers_no_more(rig: Rig, level: int) -> None:
    device = await rig.connected(level=level)
    topic = device.custom_topic("user/get")
    await _subscribe(device, topic)
    device.send(Unsubscribe(2, [topic, device.custom_topic("user/never")]))
    assert await device.expect(UnsubAck) == UnsubAck(2, [0x00, 0x11] if level == MQTT_5 else [])
    device.send(Publish(topic, b"x"))
    await device.expect_silence()


# --- publishing ---


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("name", ["user/get", "user/+", "#"])
async def test_a_device_gets_its_own_custom_message_back_once(rig: Rig, qos: int, name: str) -> None:
    device = await rig.connected()
    await _subscribe(device, device.custom_topic(name), device.custom_topic("user/#"))
    device.send(Publish(device.custom_topic("user/get"), b"hello", qos, 5 if qos else 0))
    echo = await device.expect(Publish)
    assert (echo.topic, echo.payload, echo.qos, echo.dup) == (device.custom_topic("user/get"), b"hello", qos, False)
    if qos:
        assert (await device.expect(PubAck)).packet_id == 5
        device.send(PubAck(echo.packet_id))
    await device.expect_silence()


async def test_nothing_comes_back_on_system_topics(rig: Rig) -> None:
    device = await rig.connected()
    await _subscribe(device, device.topic("#"))
    assert await _puback(device, Publish(device.topic("thing/service/x_reply"), b"{}", 1, 1)) == 0
    await device.expect_silence()


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1_1, 0), (MQTT_5, 0x87)])
@pytest.mark.parametrize("topic", [f"/sys/{OTHER}/thing/event/property/post", f"/{OTHER}/user/update", "a/b", "$SYS/x"])
async def test_a_forbidden_message_is_dropped_and_the_device_stays(
    rig: Rig, level: int, refused: int, topic: str
) -> None:
    device, other = await rig.connected(level=level), await rig.connected(SECOND_LAMP)
    await _subscribe(other, f"/{OTHER}/user/#", f"/sys/{OTHER}/#")
    assert await _puback(device, Publish(topic, b"x", 1, 3)) == refused
    device.send(Publish(topic, b"x"))
    await device.expect_silence()
    await other.expect_silence()


@pytest.mark.parametrize("level", LEVELS)
async def test_an_allowed_message_is_acknowledged(rig: Rig, level: int) -> None:
    device = await rig.connected(level=level)
    for topic in (device.custom_topic("user/update"), f"/ota/device/inform/{LAMP.product_key}/{LAMP.device_name}"):
        assert await _puback(device, Publish(topic, b"x", 1, 65_535)) == 0


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1_1, 0), (MQTT_5, 0x97)])
async def test_a_payload_may_be_256_kib_and_no_longer(rig: Rig, level: int, refused: int) -> None:
    device = await rig.connected(level=level)
    topic = device.custom_topic("user/big")
    await _subscribe(device, topic)
    device.send(Publish(topic, bytes(PAYLOAD_BYTES_MAX)))
    assert len((await device.expect(Publish)).payload) == PAYLOAD_BYTES_MAX
    assert await _puback(device, Publish(topic, bytes(PAYLOAD_BYTES_MAX + 1), 1, 4)) == refused
    device.send(Publish(topic, bytes(PAYLOAD_BYTES_MAX + 1)))
    await device.expect_silence()


async def test_qos_2_of_an_older_client_is_taken_once(rig: Rig) -> None:
    device = await rig.connected()
    topic = device.custom_topic("user/get")
    await _subscribe(device, topic)
    device.send(Publish(topic, b"x", 2, 6), Publish(topic, b"x", 2, 6, dup=True))
    received = [await device.receive() for _ in range(3)]
    assert sorted(received, key=repr) == [PubRec(6), PubRec(6), Publish(topic, b"x", 1, 1)]
    device.send(PubRel(6))
    assert (await device.expect(PubComp)).packet_id == 6
    await device.expect_silence()


async def test_qos_2_of_mqtt_5_is_a_violation(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5)
    device.send(Publish(device.custom_topic("user/get"), b"x", 2, 6))
    assert (await device.expect(Disconnect)).reason_code == 0x9B
    await device.expect_closed()


async def test_a_topic_alias_of_mqtt_5_is_understood(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5)
    topic = device.custom_topic("user/get")
    await _subscribe(device, topic)
    device.send(Publish(topic, b"1", properties=properties(topic_alias=3)))
    device.send(Publish("", b"2", properties=properties(topic_alias=3)))
    assert [((await device.expect(Publish)).topic) for _ in range(2)] == [topic, topic]


# --- services of the gateway ---


@pytest.mark.parametrize(
    ("sent", "received"), [('"1700000000000"', '"1700000000000"'), ("1700000000000", "1700000000000")]
)
async def test_the_time_is_told_in_the_type_it_was_asked_in(rig: Rig, sent: str, received: str) -> None:
    device = await rig.connected()
    prefix = f"/ext/ntp/{LAMP.product_key}/{LAMP.device_name}"
    device.send(Publish(f"{prefix}/request", f'{{"deviceSendTime":{sent}}}'.encode()))
    answer = await device.expect(Publish)
    assert (answer.topic, answer.qos) == (f"{prefix}/response", 0)
    assert json.loads(answer.payload) == {
        "deviceSendTime": json.loads(sent),
        "serverRecvTime": json.loads(received),
        "serverSendTime": json.loads(received),
    }


async def test_a_time_request_that_is_none_is_not_answered(rig: Rig) -> None:
    device = await rig.connected()
    prefix = f"/ext/ntp/{LAMP.product_key}/{LAMP.device_name}"
    for payload in (b"", b"null", b"[]", b"{", b'{"deviceSendTime":true}', b"[" * 5_000, bytes(2_000)):
        assert await _puback(device, Publish(f"{prefix}/request", payload, 1, 1)) == 0
    assert await _puback(device, Publish(f"/ext/ntp/{OTHER}/request", b'{"deviceSendTime":1}', 1, 1)) == 0
    await device.expect_silence()


async def test_a_request_that_nobody_serves_is_answered_with_its_id(rig: Rig) -> None:
    device = await rig.connected()
    topic = device.topic("thing/nowhere/get")
    device.send(Publish(topic, b'{"id":"42","params":{}}'))
    answer = await device.expect(Publish)
    assert answer.topic == f"{topic}_reply"
    reply = json.loads(answer.payload)
    assert (reply["id"], reply["code"], reply["data"]) == ("42", 6831, {})

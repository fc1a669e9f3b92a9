"""Devices that are not registered and are let in to be listened to, over real sockets."""

import pytest
import pytest_asyncio

from linkstead.cli.capture import MESSAGES_OF_TOPIC_MAX, Capture
from linkstead.mqtt import gateway
from linkstead.mqtt.codes import ReasonCode
from linkstead.mqtt.gateway import STRANGER_STAY_S
from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from linkstead.mqtt.witness import PAYLOAD_HEAD_BYTES_MAX
from linkstead.registry import DeviceKey
from tests.fakes import FakeNoticeSink
from tests.rig import DISABLED_LAMP, LAMP, PRODUCT_KEY, Rig, RigStarter, a_device, a_product
from tests.wire import DeviceClient, until

pytestmark = pytest.mark.asyncio

LEVELS = [MQTT_3_1, MQTT_3_1_1, MQTT_5]
BOUGHT = DeviceKey("a1Bought000", "meter-01")
UNKNOWN_LAMP = DeviceKey(PRODUCT_KEY, "lamp-99")
KEEP_ALIVE_S = 1_200


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def sink() -> FakeNoticeSink:
    return FakeNoticeSink()


@pytest_asyncio.fixture
async def open_rig(start_rig: RigStarter, told: list[str], sink: FakeNoticeSink) -> Rig:
    """A server that lets strangers in."""
    rig = await start_rig(sink=sink)
    rig.server.gateway.witness = Capture(told.append, admits_strangers=True)
    return rig


async def admitted(rig: Rig, key: DeviceKey = BOUGHT, level: int = MQTT_3_1_1) -> DeviceClient:
    return await rig.connected(key, level=level, keep_alive_s=KEEP_ALIVE_S)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("key", [BOUGHT, UNKNOWN_LAMP], ids=str)
async def test_what_a_stranger_sends_is_told_and_acknowledged(
    open_rig: Rig, told: list[str], sink: FakeNoticeSink, key: DeviceKey, level: int
) -> None:
    device = await admitted(open_rig, key, level)
    assert "  listened to, for it is not registered" in told[0].splitlines()
    assert f"    linkstead device create {key.product_key} {key.device_name} --device-secret SECRET" in told[0]
    post = device.topic("thing/event/property/post")
    # Somebody else's too: a stranger has no topics of its own.
    device.send(Subscribe(1, [Subscription(device.custom_topic("user/get"), 1), Subscription("/sys/+/b/#", 2)]))
    assert (await device.expect(SubAck)).reason_codes == [1, 1]
    device.send(Publish(post, b'{"id":"1"}\xff', 1, 7), Publish("/x/9", b"", 0))
    answer = await device.expect(PubAck)
    assert (answer.packet_id, answer.reason_code) == (7, 0)
    device.send(Unsubscribe(2, [device.custom_topic("user/get")]))
    await device.expect(UnsubAck)
    await device.expect_silence()
    assert told[1:] == [
        f"{key} subscribes to /{key.product_key}/{key.device_name}/user/get at QoS 1",
        f"{key} subscribes to /sys/+/b/# at QoS 2",
        (
            f'{key} publishes on {post} at QoS 1, 11 bytes\n  text  {{"id":"1"}}\\xff\n'
            "  hex   7b 22 69 64 22 3a 22 31 22 7d ff"
        ),
        f"{key} publishes on /x/<number> at QoS 0, 0 bytes",
    ]
    await device.disconnect()
    assert sink.notices == []


async def test_a_stranger_is_in_no_list_and_gets_no_call(open_rig: Rig) -> None:
    device = await admitted(open_rig, UNKNOWN_LAMP)
    device.send(Subscribe(1, [Subscription(device.custom_topic("user/get"))]))
    await device.expect(SubAck)
    app = open_rig.app()
    assert (await app.rrpc(UNKNOWN_LAMP))["Code"] == "iot.device.NotExistedDevice"
    answer = (await app.call("QueryDevice", ProductKey=PRODUCT_KEY)).json()
    assert UNKNOWN_LAMP.device_name not in str(answer)
    assert not open_rig.is_online
    # What it sends reaches no device of that name either, and nothing answers it.
    device.send(Publish(device.topic("thing/event/property/post"), b'{"id":"1","params":{}}'))
    device.send(Publish(f"/ext/ntp/{PRODUCT_KEY}/{UNKNOWN_LAMP.device_name}/request", b'{"deviceSendTime":"1"}'))
    await device.expect_silence()


async def test_the_head_of_a_payload_is_told_and_the_first_messages_of_a_topic(open_rig: Rig, told: list[str]) -> None:
    device = await admitted(open_rig)
    for size in (PAYLOAD_HEAD_BYTES_MAX, PAYLOAD_HEAD_BYTES_MAX + 1):
        device.send(Publish("/t", b"a" * size))
    await device.expect_silence()
    head = "a" * PAYLOAD_HEAD_BYTES_MAX
    assert [text.splitlines()[1] for text in told[1:]] == [f"  text  {head}", f"  text  {head}…"]
    device.send(*(Publish("/t", b"%d" % number) for number in range(MESSAGES_OF_TOPIC_MAX)))
    device.send(Publish("/other", b"x"))
    await device.expect_silence()
    assert len(told) == 1 + MESSAGES_OF_TOPIC_MAX + 1


@pytest.mark.parametrize("level", LEVELS)
async def test_a_message_that_is_too_large_is_told_by_its_size(open_rig: Rig, told: list[str], level: int) -> None:
    device = await admitted(open_rig, level=level)
    device.send(Publish("/t", b"a" * (PAYLOAD_BYTES_MAX + 1), 1, 3))
    answer = await device.expect(PubAck)
    assert answer.reason_code == (ReasonCode.QUOTA_EXCEEDED if level == MQTT_5 else 0)
    assert told[1:] == [f"{BOUGHT} publishes on /t at QoS 1, {PAYLOAD_BYTES_MAX + 1} bytes"]


@pytest.mark.parametrize("level", LEVELS)
async def test_it_is_sent_away_after_a_while_and_may_be_registered_by_then(open_rig: Rig, level: int) -> None:
    device = await admitted(open_rig, level=level)
    open_rig.clock.advance(STRANGER_STAY_S - 1)
    await device.expect_silence()
    await open_rig.server.store.add_product(a_product(BOUGHT.product_key))
    await open_rig.server.store.add_devices([a_device(BOUGHT)])
    open_rig.clock.advance(1)
    device.send(PingReq())
    await device.receive()
    if level == MQTT_5:
        assert (await device.expect(Disconnect)).reason_code == ReasonCode.MAXIMUM_CONNECT_TIME
    await device.expect_closed()
    await device.connect(level=level)
    assert open_rig.is_online


async def test_one_that_says_nothing_for_too_long_is_cut(open_rig: Rig) -> None:
    device = await open_rig.connected(BOUGHT, keep_alive_s=60)
    open_rig.clock.advance(90)
    await device.expect_closed()
    await until(lambda: not open_rig.server.gateway.strangers)


async def test_those_that_are_registered_are_refused_as_ever(open_rig: Rig, told: list[str]) -> None:
    assert (await open_rig.device(DISABLED_LAMP).request_connect()).reason_code == 5
    assert (await open_rig.device(LAMP).request_connect(password=b"wrong")).reason_code == 5
    assert (await open_rig.device(BOUGHT).request_connect(client_id="x")).reason_code == 2
    assert "listened to" not in str(told)


async def test_there_are_not_more_than_the_limit_at_a_time(open_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "STRANGERS_MAX", 2)
    first, _ = await admitted(open_rig), await admitted(open_rig)
    assert (await open_rig.device(BOUGHT).request_connect()).reason_code == 5
    await first.disconnect()
    await until(lambda: len(open_rig.server.gateway.strangers) == 1)
    await admitted(open_rig)


async def test_without_the_switch_nobody_is_let_in(start_rig: RigStarter, told: list[str]) -> None:
    rig = await start_rig()
    for witness in (None, Capture(told.append)):
        rig.server.gateway.witness = witness
        assert (await rig.device(BOUGHT).request_connect()).reason_code == 5


async def test_a_server_that_stops_sends_them_away(open_rig: Rig) -> None:
    device = await admitted(open_rig, level=MQTT_5)
    await open_rig.stop()
    assert (await device.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    await device.expect_closed()

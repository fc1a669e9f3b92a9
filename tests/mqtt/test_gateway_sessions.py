"""What outlives a connection: subscriptions, and messages of QoS 1 until they are acknowledged or too old."""

import pytest

from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
)
from linkstead.mqtt.protocol import IN_FLIGHT_MAX
from linkstead.sessions import QUEUED_MESSAGES_MAX, QueuedMessage, QueueFull
from tests.rig import LAMP, Rig
from tests.wire import DeviceClient, properties, until

pytestmark = pytest.mark.asyncio

DAY_S = 24 * 3600.0


def deliver(rig: Rig, payload: bytes) -> bool:
    """Send the device a message of QoS 1, as an action would."""
    topic = f"/{LAMP.product_key}/{LAMP.device_name}/user/get"
    return rig.server.sessions.deliver(LAMP, QueuedMessage(topic, payload, rig.clock.monotonic_s()))


async def _leave(rig: Rig, device: DeviceClient) -> None:
    await device.disconnect()
    await until(lambda: not rig.is_online)


@pytest.mark.parametrize("level", [MQTT_3_1, MQTT_3_1_1])
async def test_a_persistent_session_is_told_of(rig: Rig, level: int) -> None:
    device = rig.device()
    assert (await device.connect(level=level, clean_start=False)).session_present is False
    await _leave(rig, device)
    assert (await device.connect(level=level, clean_start=False)).session_present is (level == MQTT_3_1_1)
    await _leave(rig, device)
    assert (await device.connect(level=level, clean_start=True)).session_present is False
    await _leave(rig, device)
    assert (await device.connect(level=level, clean_start=False)).session_present is False


async def test_subscriptions_of_a_persistent_session_are_kept(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    topic = device.custom_topic("user/get")
    device.send(Subscribe(1, [Subscription(topic)]))
    await device.expect(SubAck)
    await _leave(rig, device)
    await device.connect(clean_start=False)
    device.send(Publish(topic, b"x"))
    assert (await device.expect(Publish)).payload == b"x"


async def test_subscriptions_of_a_clean_session_are_dropped(rig: Rig) -> None:
    device = await rig.connected()
    topic = device.custom_topic("user/get")
    device.send(Subscribe(1, [Subscription(topic)]))
    await device.expect(SubAck)
    await _leave(rig, device)
    await device.connect(clean_start=False)
    device.send(Publish(topic, b"x"))
    await device.expect_silence()


async def test_a_message_waits_for_a_device_that_is_away(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    await _leave(rig, device)
    assert deliver(rig, b"1")
    assert deliver(rig, b"2")
    await device.connect(clean_start=False)
    received = [await device.expect(Publish) for _ in range(2)]
    assert [(each.payload, each.qos, each.dup) for each in received] == [(b"1", 1, False), (b"2", 1, False)]
    device.send(*(PubAck(each.packet_id) for each in received))
    await device.expect_silence()
    await _leave(rig, device)
    await device.connect(clean_start=False)
    await device.expect_silence()


async def test_a_message_is_repeated_until_it_is_acknowledged(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    assert deliver(rig, b"x")
    first = await device.expect(Publish)
    assert (first.dup, first.qos) == (False, 1)
    for _ in range(2):
        device.reset()
        await until(lambda: not rig.is_online)
        await device.connect(clean_start=False)
        again = await device.expect(Publish)
        assert (again.payload, again.dup) == (b"x", True)
    await device.expect_silence()
    device.send(PubAck(again.packet_id))
    await device.expect_silence()
    await _leave(rig, device)
    await device.connect(clean_start=False)
    await device.expect_silence()


async def test_a_message_under_way_at_a_takeover_is_repeated_on_the_new_connection(rig: Rig) -> None:
    first = await rig.connected(clean_start=False)
    assert deliver(rig, b"x")
    await first.expect(Publish)
    second = await rig.connected(clean_start=False)
    again = await second.expect(Publish)
    assert (again.payload, again.dup) == (b"x", True)


async def test_an_acknowledgement_of_what_was_never_sent_is_no_mistake(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    device.send(PubAck(1), PubAck(65_535))
    assert deliver(rig, b"x")
    message = await device.expect(Publish)
    device.send(PubAck(message.packet_id), PubAck(message.packet_id))
    await device.expect_silence()


async def test_nothing_waits_for_a_device_with_a_clean_session(rig: Rig) -> None:
    device = await rig.connected()
    assert deliver(rig, b"now")
    await device.expect(Publish)
    await _leave(rig, device)
    assert not deliver(rig, b"later")
    await device.connect(clean_start=False)
    await device.expect_silence()


async def test_a_clean_start_drops_what_waits(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    await _leave(rig, device)
    assert deliver(rig, b"x")
    await device.connect(clean_start=True)
    await device.expect_silence()


@pytest.mark.parametrize(("waited_s", "is_delivered"), [(7 * DAY_S, True), (7 * DAY_S + 1, False)])
async def test_a_message_waits_for_seven_days(rig: Rig, waited_s: float, is_delivered: bool) -> None:
    device = await rig.connected(clean_start=False)
    await _leave(rig, device)
    assert deliver(rig, b"x")
    # so that the session itself is kept for longer
    rig.clock.advance(1)
    await device.connect(clean_start=False)
    await device.expect(Publish)
    await _leave(rig, device)
    rig.clock.advance(waited_s - 1)
    await device.connect(clean_start=False)
    if is_delivered:
        message = await device.expect(Publish)
        assert (message.payload, message.dup) == (b"x", True)
    else:
        await device.expect_silence()


async def test_an_acknowledgement_that_comes_after_seven_days_is_no_mistake(rig: Rig) -> None:
    device = await rig.connected(clean_start=False, keep_alive_s=1_200)
    assert deliver(rig, b"x")
    message = await device.expect(Publish)
    for _ in range(int(8 * DAY_S / 1_700)):
        rig.clock.advance(1_700)
        device.send(PingReq())
        await device.expect(PingResp)
    rig.server.sessions.expire(rig.clock.monotonic_s())
    session = rig.server.sessions.find(LAMP)
    assert session is not None
    assert not session.queue
    device.send(PubAck(message.packet_id))
    await device.expect_silence()
    assert deliver(rig, b"y")
    assert (await device.expect(Publish)).payload == b"y"


async def test_so_many_messages_wait_and_the_next_is_refused(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    await _leave(rig, device)
    for index in range(QUEUED_MESSAGES_MAX):
        assert deliver(rig, b"%d" % index)
    with pytest.raises(QueueFull):
        deliver(rig, b"one more")
    await device.connect(clean_start=False)
    for index in range(QUEUED_MESSAGES_MAX):
        message = await device.expect(Publish)
        assert message.payload == b"%d" % index
        device.send(PubAck(message.packet_id))
    await device.expect_silence()
    assert deliver(rig, b"one more")


async def test_so_many_messages_are_under_way_at_once(rig: Rig) -> None:
    device = await rig.connected()
    for index in range(IN_FLIGHT_MAX + 5):
        assert deliver(rig, b"%d" % index)
    received = [await device.expect(Publish) for _ in range(IN_FLIGHT_MAX)]
    assert len({message.packet_id for message in received}) == IN_FLIGHT_MAX
    await device.expect_silence()
    device.send(PubAck(received[7].packet_id))
    assert (await device.expect(Publish)).payload == b"%d" % IN_FLIGHT_MAX
    await device.expect_silence()


# --- MQTT 5 ---


async def test_mqtt_5_says_how_long_its_session_is_kept(rig: Rig) -> None:
    device = rig.device()
    kept = properties(session_expiry_interval=100)
    await device.connect(level=MQTT_5, properties=kept)
    await _leave(rig, device)
    assert deliver(rig, b"x")
    rig.clock.advance(99)
    assert (await device.connect(level=MQTT_5, clean_start=False, properties=kept)).session_present is True
    assert (await device.expect(Publish)).payload == b"x"
    await _leave(rig, device)
    rig.clock.advance(100)
    assert (await device.connect(level=MQTT_5, clean_start=False, properties=kept)).session_present is False
    await device.expect_silence()


async def test_mqtt_5_without_a_session_expiry_is_not_kept(rig: Rig) -> None:
    device = rig.device()
    await device.connect(level=MQTT_5, clean_start=False)
    await _leave(rig, device)
    assert (await device.connect(level=MQTT_5, clean_start=False)).session_present is False


@pytest.mark.parametrize(("at_the_end", "is_present"), [(0, False), (50, False), (500, True)])
async def test_mqtt_5_may_change_its_session_expiry_as_it_leaves(rig: Rig, at_the_end: int, is_present: bool) -> None:
    device = rig.device()
    kept = properties(session_expiry_interval=100)
    await device.connect(level=MQTT_5, properties=kept)
    device.send(Disconnect(0, properties(session_expiry_interval=at_the_end)))
    await device.expect_closed()
    await until(lambda: not rig.is_online)
    rig.clock.advance(200)
    answer = await device.connect(level=MQTT_5, clean_start=False, properties=kept)
    assert answer.session_present is is_present


async def test_a_session_for_ever_is_kept_for_seven_days(rig: Rig) -> None:
    device = rig.device()
    kept = properties(session_expiry_interval=2**32 - 1)
    await device.connect(level=MQTT_5, properties=kept)
    await _leave(rig, device)
    rig.clock.advance(7 * DAY_S - 1)
    assert (await device.connect(level=MQTT_5, clean_start=False, properties=kept)).session_present is True
    await _leave(rig, device)
    rig.clock.advance(7 * DAY_S)
    assert (await device.connect(level=MQTT_5, clean_start=False, properties=kept)).session_present is False


async def test_the_receive_maximum_of_mqtt_5_is_kept_to(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5, properties=properties(receive_maximum=2))
    for index in range(4):
        assert deliver(rig, b"%d" % index)
    first = await device.expect(Publish)
    await device.expect(Publish)
    await device.expect_silence()
    device.send(PubAck(first.packet_id))
    assert (await device.expect(Publish)).payload == b"2"
    await device.expect_silence()


async def test_the_maximum_packet_size_of_mqtt_5_is_kept_to(rig: Rig) -> None:
    kept = properties(maximum_packet_size=200, session_expiry_interval=100)
    device = await rig.connected(level=MQTT_5, properties=kept)
    assert deliver(rig, bytes(200))
    assert deliver(rig, b"small")
    assert (await device.expect(Publish)).payload == b"small"
    answer = await rig.app().rrpc(LAMP, bytes(200))
    assert answer["Code"] == "iot.messagebroker.RrpcFailed"
    await device.expect_silence()


async def test_a_device_that_takes_not_even_connack_is_closed_and_keeps_its_messages(rig: Rig) -> None:
    kept = properties(session_expiry_interval=100)
    device = await rig.connected(level=MQTT_5, properties=kept)
    await _leave(rig, device)
    assert deliver(rig, b"x")
    tiny = rig.device()
    await tiny.open()
    tiny.level = MQTT_5
    fields = properties(session_expiry_interval=100, maximum_packet_size=10)
    tiny.send(tiny.connect_packet(level=MQTT_5, clean_start=False, properties=fields))
    while await tiny.reader.read(65_536):
        pass
    await until(lambda: not rig.is_online)
    assert (await device.connect(level=MQTT_5, clean_start=False, properties=kept)).session_present is True
    assert (await device.expect(Publish)).payload == b"x"

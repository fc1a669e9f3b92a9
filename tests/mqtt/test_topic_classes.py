"""What the topic classes of a product let its devices do, over real connections."""

from typing import Any

import pytest

from linkstead.mqtt.packets import MQTT_3_1_1, MQTT_5, PubAck, Publish, SubAck, Subscribe, Subscription
from linkstead.registry import ProductTopic, TopicOperation
from tests.rig import INSTANCE_LAMP, Rig
from tests.wire import DeviceClient

pytestmark = pytest.mark.asyncio

# Its product has the classes that every product has.
DEVICE = INSTANCE_LAMP
ADDRESS: dict[str, Any] = {"ProductKey": DEVICE.product_key, "DeviceName": DEVICE.device_name}


async def _subscribe(device: DeviceClient, *paths: str) -> list[int]:
    device.send(Subscribe(1, [Subscription(device.custom_topic(path), 0) for path in paths]))
    return (await device.expect(SubAck)).reason_codes


async def _publish(device: DeviceClient, path: str) -> int:
    device.send(Publish(device.custom_topic(path), b"hello", 1, 7))
    return (await device.expect(PubAck)).reason_code


async def _add_topic(rig: Rig, rest: str, operation: TopicOperation) -> int:
    topic = f"/{DEVICE.product_key}/${{deviceName}}/{rest}"
    topic_id = await rig.server.registry.add_topic(ProductTopic(0, DEVICE.product_key, topic, operation))
    assert topic_id is not None
    return topic_id


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1_1, 0x80), (MQTT_5, 0x87)])
async def test_a_subscription_needs_a_class_to_subscribe(rig: Rig, level: int, refused: int) -> None:
    device = await rig.connected(DEVICE, level=level)
    assert await _subscribe(device, "user/get", "user/update", "user/other", "get") == [0, refused, refused, refused]
    assert await _subscribe(device, "user/+", "#", "user/other/#") == [0, 0, refused]


@pytest.mark.parametrize(("level", "refused"), [(MQTT_3_1_1, 0), (MQTT_5, 0x87)])
async def test_a_message_needs_a_class_to_publish(rig: Rig, level: int, refused: int) -> None:
    device = await rig.connected(DEVICE, level=level)
    assert await _publish(device, "user/update") == 0
    assert await _publish(device, "user/update/error") == 0
    assert await _publish(device, "user/get") == refused
    assert await _publish(device, "update") == refused
    await device.expect_silence()


async def test_a_message_comes_back_only_on_a_class_for_both(rig: Rig) -> None:
    await _add_topic(rig, "user/both", TopicOperation.ALL)
    device = await rig.connected(DEVICE)
    assert await _subscribe(device, "#") == [0]
    assert await _publish(device, "user/update") == 0
    device.send(Publish(device.custom_topic("user/both"), b"echo"))
    assert (await device.expect(Publish)).payload == b"echo"
    await device.expect_silence()


async def test_a_change_holds_for_a_device_that_is_connected(rig: Rig) -> None:
    device = await rig.connected(DEVICE, level=MQTT_5)
    assert await _subscribe(device, "user/new") == [0x87]
    topic_id = await _add_topic(rig, "user/new", TopicOperation.ALL)
    assert await _subscribe(device, "user/new") == [0]
    # The classes were read for that; this message finds them at hand.
    device.send(Publish(device.custom_topic("user/new"), b"echo"))
    assert (await device.expect(Publish)).payload == b"echo"
    topic = await rig.server.store.find_topic(topic_id)
    assert topic is not None
    await rig.server.registry.delete_topic(topic)
    # The next message waits for the classes to be read again, and what follows waits behind it.
    device.send(Publish(device.custom_topic("user/new"), b"gone"))
    await device.expect_silence()
    await rig.server.uplink.drain()
    await device.expect_silence()
    assert await _publish(device, "user/new") == 0x87


async def test_an_app_publishes_only_where_the_device_may_subscribe(rig: Rig) -> None:
    device = await rig.connected(DEVICE)
    assert await _subscribe(device, "#") == [0]
    content: dict[str, Any] = {"ProductKey": DEVICE.product_key, "MessageContent": "aGVsbG8="}
    answer = await rig.app().call("Pub", TopicFullName=device.custom_topic("user/get"), **content)
    assert answer.json()["Success"]
    assert (await device.expect(Publish)).payload == b"hello"
    for path in ("user/update", "user/other"):
        answer = await rig.app().call("Pub", TopicFullName=device.custom_topic(path), **content)
        assert answer.json()["Code"] == "iot.messagebroker.TopicTemplateIsNotFound"
        assert path in answer.json()["ErrorMessage"]
    await device.expect_silence()


async def test_a_batch_publishes_only_where_devices_may_subscribe(rig: Rig) -> None:
    batch: dict[str, Any] = {
        "ProductKey": DEVICE.product_key,
        "DeviceName.1": DEVICE.device_name,
        "MessageContent": "aGVsbG8=",
    }
    assert (await rig.app().call("BatchPub", TopicShortName="get", **batch)).json()["Success"]
    answer = await rig.app().call("BatchPub", TopicShortName="update", **batch)
    assert answer.json()["Code"] == "iot.messagebroker.TopicTemplateIsNotFound"

"""Messages that nobody waits for, whole: from an application over HTTP to devices over MQTT."""

from typing import Any
from xml.etree import ElementTree

import pytest

from linkstead.mqtt.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5, PubAck, Publish, SubAck, Subscribe, Subscription
from tests.rig import LAMP, OTHER_KEY, PRODUCT_KEY, SECOND_LAMP, Rig, RigStarter
from tests.wire import DeviceClient, stages

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

HELLO = "aGVsbG8="


async def _subscribe(device: DeviceClient, *names: str) -> None:
    device.send(Subscribe(1, [Subscription(name) for name in names]))
    assert (await device.expect(SubAck)).reason_codes == [0] * len(names)


async def _subscriber(rig: Rig, **fields: Any) -> DeviceClient:
    """A lamp that is connected and listens on `user/get`."""
    device = await rig.connected(LAMP, **fields)
    await _subscribe(device, device.custom_topic("user/get"))
    return device


def _pub_parameters(device: DeviceClient, **others: str) -> dict[str, str]:
    topic = device.custom_topic("user/get")
    return {"ProductKey": PRODUCT_KEY, "TopicFullName": topic, "MessageContent": HELLO, **others}


async def _publish(rig: Rig, device: DeviceClient, **others: str) -> dict[str, Any]:
    """Publish to a device; the application's answer."""
    response = await rig.app().call_v3("Pub", **_pub_parameters(device, **others))
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    return answer


async def _record(rig: Rig, answer: dict[str, Any]) -> dict[str, Any]:
    return await rig.app().call_record(answer["MessageId"])


@pytest.mark.parametrize("level", [MQTT_3_1, MQTT_3_1_1, MQTT_5])
async def test_a_message_reaches_its_subscriber(rig: Rig, level: int) -> None:
    device = await _subscriber(rig, level=level)
    answer = await _publish(rig, device)
    assert answer == {"RequestId": answer["RequestId"], "Success": True, "MessageId": answer["MessageId"]}
    assert await device.expect(Publish) == Publish(device.custom_topic("user/get"), b"hello")
    record = await _record(rig, answer)
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "delivered")
    assert stages(record) == ["received", "authenticated", "accepted", "routed", "written", "returned"]


async def test_the_message_id_is_a_number_of_64_bits_in_json_and_in_xml(rig: Rig) -> None:
    device = await _subscriber(rig)
    response = await rig.app().call("Pub", **_pub_parameters(device, Format="JSON"))
    assert 2**53 < response.json()["MessageId"] < 2**63
    root = ElementTree.fromstring((await rig.app().call("Pub", **_pub_parameters(device, Format="XML"))).body)
    assert (root.tag, root.findtext("Success")) == ("PubResponse", "true")
    assert str(root.findtext("MessageId")).isdigit()


async def test_a_message_at_qos_1_is_delivered_when_it_is_acknowledged(rig: Rig) -> None:
    device = await _subscriber(rig)
    answer = await _publish(rig, device, Qos="1")
    message = await device.expect(Publish)
    assert (message.payload, message.qos, message.dup) == (b"hello", 1, False)
    assert (await _record(rig, answer))["verdict"] is None
    device.send(PubAck(message.packet_id))
    await device.expect_silence()
    record = await _record(rig, answer)
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "delivered")
    assert {"written", "acknowledged"} < set(stages(record))


async def test_a_message_at_qos_1_waits_and_is_sent_until_it_is_acknowledged(rig: Rig) -> None:
    device = await _subscriber(rig, clean_start=False)
    await device.disconnect()
    answer = await _publish(rig, device, Qos="1")
    assert (await _record(rig, answer))["verdict"] is None
    await device.connect(clean_start=False)
    assert not (await device.expect(Publish)).dup
    await device.close()
    await device.connect(clean_start=False)
    message = await device.expect(Publish)
    assert (message.payload, message.dup) == (b"hello", True)
    device.send(PubAck(message.packet_id))
    await device.expect_silence()
    assert (await _record(rig, answer))["diagnosis"] == "delivered"


async def test_a_message_nobody_subscribed_to_is_accepted_and_its_record_says_so(rig: Rig) -> None:
    device = await rig.connected()
    answer = await _publish(rig, device)
    await device.expect_silence()
    record = await _record(rig, answer)
    assert (answer["Success"], record["verdict"], record["diagnosis"]) == (True, "OFFLINE", "not-subscribed")


async def test_a_message_is_told_again_to_its_own_account(rig: Rig) -> None:
    device = await _subscriber(rig)
    message_id = str((await _publish(rig, device))["MessageId"])
    response = await rig.app().call_v3("QueryMessageInfo", UniMsgId=message_id)
    (record,) = (call for call in rig.calls() if call.action == "Pub")
    assert response.json()["Message"] == {
        "UniMsgId": message_id,
        "TopicFullName": device.custom_topic("user/get"),
        "MessageContent": HELLO,
        "GenerateTime": record.received_ms,
    }
    response = await rig.app(OTHER_KEY).call_v3("QueryMessageInfo", UniMsgId=message_id)
    assert (response.status, response.json()["Code"]) == (200, "iot.system.IllegalRequest")


async def test_a_batch_reaches_each_of_its_devices(rig: Rig) -> None:
    devices = [await rig.connected(key) for key in (LAMP, SECOND_LAMP)]
    for device in devices:
        await _subscribe(device, device.custom_topic("user/#"))
    names = {f"DeviceName.{number}": device.key.device_name for number, device in enumerate(devices, 1)}
    response = await rig.app().call(
        "BatchPub", ProductKey=PRODUCT_KEY, TopicShortName="get", MessageContent=HELLO, Format="JSON", **names
    )
    assert response.json() == {"RequestId": response.json()["RequestId"], "Success": True}
    for device in devices:
        assert await device.expect(Publish) == Publish(device.custom_topic("user/get"), b"hello")


async def test_a_broadcast_reaches_every_connected_device(rig: Rig) -> None:
    devices = [await rig.connected(key) for key in (LAMP, SECOND_LAMP)]
    response = await rig.app().call_v3("PubBroadcast", ProductKey=PRODUCT_KEY, MessageContent=HELLO)
    answer = response.json()
    for device in devices:
        topic = device.topic(f"broadcast/request/{answer['MessageId']}")
        assert await device.expect(Publish) == Publish(topic, b"hello")
    record = await _record(rig, answer)
    assert (record["verdict"], record["product_key"]) == ("SUCCESS", None)
    assert record["target"].endswith(" (2 of 2 devices)")


async def test_a_broadcast_on_a_topic_reaches_its_subscribers(rig: Rig) -> None:
    device, deaf = [await rig.connected(key) for key in (LAMP, SECOND_LAMP)]
    topic = f"/broadcast/{PRODUCT_KEY}/group1"
    await _subscribe(device, topic)
    await rig.app().call_v3("PubBroadcast", ProductKey=PRODUCT_KEY, MessageContent=HELLO, TopicFullName=topic)
    assert await device.expect(Publish) == Publish(topic, b"hello")
    await deaf.expect_silence()


async def test_what_cannot_be_kept_to_is_refused_by_the_gateway(rig: Rig) -> None:
    device = await _subscriber(rig)
    for name, text in (("Qos", "2"), ("MessageExpiryInterval", "60"), ("Retained", "true"), ("TopicAlias", "x")):
        response = await rig.app().call("Pub", **_pub_parameters(device, Format="JSON", **{name: text}))
        assert (response.status, response.json()["Code"]) == (400, f"Invalid{name}")
    await device.expect_silence()
    rig.clock.advance(0.001)
    response = await rig.app().call(
        "Pub", **_pub_parameters(device, **{"UserProp.1.Key": "a", "UserProp.1.Value": "b"})
    )
    assert response.status == 200
    assert (await rig.app().last_record())["unknown_parameters"] == ["UserProp"]


async def test_a_batch_counts_as_one_call_against_its_own_quota(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True, quotas={"Pub": 1, "BatchPub": 1})
    device = rig.device()
    names = {"DeviceName.1": LAMP.device_name, "DeviceName.2": SECOND_LAMP.device_name}
    parameters = {"ProductKey": PRODUCT_KEY, "TopicShortName": "get", "MessageContent": HELLO, **names}
    assert (await rig.app().call_v3("BatchPub", **parameters)).status == 200
    assert (await rig.app().call_v3("BatchPub", **parameters)).json()["Code"] == "Throttling.User"
    assert (await rig.app().call_v3("Pub", **_pub_parameters(device))).status == 200

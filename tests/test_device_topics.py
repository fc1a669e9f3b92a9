"""Subscriptions on behalf of a device, whole: from an application over HTTP to the device's session, wherever it is."""

import pytest

from linkstead.mqtt.packets import Publish
from tests.rig import LAMP, Rig
from tests.wire import DeviceClient, Response

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

NAMED = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name, "Format": "JSON"}


async def _ask(rig: Rig, action: str, *names: str) -> Response:
    topics = {f"Topic.{number}": name for number, name in enumerate(names, 1)}
    return await rig.app().call(action, **NAMED, **topics)


async def _show(rig: Rig) -> dict[str, int | None]:
    answer = (await _ask(rig, "QueryDeviceSubTopic")).json()
    assert answer["Success"], answer
    return {found["TopicName"]: found.get("Timestamp") for found in answer["TopicList"]}


async def _hears(rig: Rig, device: DeviceClient) -> bool:
    await rig.app().call(
        "Pub",
        ProductKey=LAMP.product_key,
        TopicFullName=device.custom_topic("user/get"),
        MessageContent="aGk=",
        Qos="0",
    )
    try:
        return (await device.expect(Publish)).payload == b"hi"
    except TimeoutError:
        return False


async def test_a_device_is_subscribed_and_unsubscribed_wherever_it_is(rig: Rig) -> None:
    device = await rig.connected()
    topic = device.custom_topic("user/get")
    assert await _show(rig) == {}
    assert (await _ask(rig, "SubscribeTopic", topic)).json()["Success"]
    assert await _show(rig) == {topic: int(rig.server.clock.time_s() * 1000)}
    assert await _hears(rig, device)
    assert (await _ask(rig, "UnsubscribeTopic", topic)).json()["Success"]
    assert await _show(rig) == {}


async def test_a_device_that_is_nowhere_is_not_subscribed(rig: Rig) -> None:
    device = rig.device()
    topic = device.custom_topic("user/get")
    assert (await _ask(rig, "SubscribeTopic", topic)).json()["Code"] == "iot.messagebroker.OFFLINE"
    assert (await _ask(rig, "UnsubscribeTopic", topic)).json()["Success"] is False
    assert await _show(rig) == {}


async def test_what_a_session_keeps_is_shown_while_its_device_is_away(rig: Rig) -> None:
    device = await rig.connected(clean_start=False)
    topic = device.custom_topic("user/get")
    assert (await _ask(rig, "SubscribeTopic", topic)).json()["Success"]
    await device.disconnect()
    await rig.settle()
    assert list(await _show(rig)) == [topic]


async def test_a_device_is_subscribed_to_so_many_topics_wherever_it_is(rig: Rig) -> None:
    device = await rig.connected()
    for hundred in range(10):
        names = [device.custom_topic(f"user/{hundred}/{number}") for number in range(10)]
        assert (await _ask(rig, "SubscribeTopic", *names)).json()["Success"]
    one_more = device.custom_topic("user/get")
    assert (await _ask(rig, "SubscribeTopic", one_more)).json()["Code"] == "iot.system.IllegalRequest"
    assert len(await _show(rig)) == 100

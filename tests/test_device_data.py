"""What devices report, whole: from a device over MQTT to an application over HTTP; and desired values the other way."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from linkstead.mqtt.packets import PubAck, Publish
from linkstead.server import DATABASE_FILE
from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.rig import LAMP, PRODUCT_KEY, Rig, running
from tests.wire import DeviceClient

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

LAMP_TSL = Path(__file__).parent / "golden" / "tsl" / "lamp.tsl.json"
NAMED = {"ProductKey": PRODUCT_KEY, "DeviceName": LAMP.device_name}
NOW_MS = 1_700_000_000_000
HISTORY = {"StartTime": str(NOW_MS - 60_000), "EndTime": str(NOW_MS + 60_000), "Asc": "1", "PageSize": "10"}


async def _ask(rig: Rig, action: str, **parameters: str) -> dict[str, Any]:
    response = await rig.app().call_v3(action, **parameters)
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    assert answer["Success"] is True, answer
    return answer


async def _publish_model(rig: Rig) -> None:
    tsl = json.loads(LAMP_TSL.read_text(encoding="utf-8"))
    tsl["profile"]["productKey"] = PRODUCT_KEY
    await _ask(rig, "ImportThingModelTsl", ProductKey=PRODUCT_KEY, TslStr=json.dumps(tsl))
    await _ask(rig, "PublishThingModel", ProductKey=PRODUCT_KEY)


async def _report(device: DeviceClient, path: str, params: Any, qos: int = 0, **members: Any) -> dict[str, Any]:
    """Send a request and return the reply, which comes without a subscription."""
    payload = json.dumps({"id": "1", "version": "1.0", "params": params, **members}).encode()
    device.send(Publish(device.topic(path), payload, qos=qos, packet_id=7 if qos else 0))
    packets = [await device.receive() for _ in range(1 + qos)]
    if qos:
        assert PubAck(7) in packets
    (reply,) = (packet for packet in packets if isinstance(packet, Publish))
    assert (reply.topic, reply.qos) == (device.topic(f"{path}_reply"), 0)
    answer: dict[str, Any] = json.loads(reply.payload)
    return answer


@pytest.mark.parametrize("qos", [0, 1])
async def test_what_a_device_reports_an_application_reads(rig: Rig, qos: int) -> None:
    await _publish_model(rig)
    device = await rig.connected()
    # The first waits for the store, the second does not: both are answered alike.
    for brightness in (41, 42):
        rig.clock.advance(1)
        reply = await _report(device, "thing/event/property/post", {"Brightness": brightness}, qos)
        assert (reply["code"], reply["id"], reply["data"]) == (200, "1", {})
    status = await _ask(rig, "QueryDevicePropertyStatus", **NAMED)
    told = {info["Identifier"]: info for info in status["Data"]["List"]["PropertyStatusInfo"]}
    assert told["Brightness"] == {
        "Identifier": "Brightness",
        "Name": "Brightness",
        "DataType": "int",
        "Unit": "%",
        "Value": "42",
        "Time": str(NOW_MS + 2_000),
    }
    assert "Value" not in told["PowerSwitch"]
    history = await _ask(rig, "QueryDevicePropertyData", **NAMED, **HISTORY, Identifier="Brightness")
    assert history["Data"]["List"]["PropertyInfo"] == [
        {"Time": NOW_MS + 1_000, "Value": "41"},
        {"Time": NOW_MS + 2_000, "Value": "42"},
    ]
    assert history["Data"]["NextValid"] is False


async def test_an_event_is_read_in_xml(rig: Rig) -> None:
    await _publish_model(rig)
    device = await rig.connected()
    reply = await _report(device, "thing/event/LampFault/post", {"value": {"FaultCode": 1, "Temperature": 92.5}})
    assert reply["code"] == 200
    response = await rig.app().call("QueryDeviceEventData", **NAMED, **HISTORY, Format="XML")
    root = ElementTree.fromstring(response.body)
    assert root.tag == "QueryDeviceEventDataResponse"
    (event,) = root.findall("Data/List/EventInfo")
    assert {field.tag: field.text for field in event} == {
        "Identifier": "LampFault",
        "Name": "Lamp fault",
        "EventType": "error",
        "OutputData": '{"FaultCode":1,"Temperature":92.5}',
        "Time": str(NOW_MS),
    }


async def test_a_wish_reaches_the_device_at_once_or_when_it_asks(rig: Rig) -> None:
    await _publish_model(rig)
    first = await _ask(rig, "SetDeviceDesiredProperty", **NAMED, Items='{"PowerSwitch":1}', Versions="{}")
    assert json.loads(first["Data"]["Versions"]) == {"PowerSwitch": 1}
    device = await rig.connected()
    reply = await _report(device, "thing/property/desired/get", ["PowerSwitch"])
    assert reply["data"] == {"PowerSwitch": {"value": 1, "version": 1}}
    second = await _ask(rig, "SetDeviceDesiredProperty", **NAMED, Items='{"Brightness":7}', Versions='{"Brightness":0}')
    message = await device.expect(Publish)
    assert message.topic == device.topic("thing/service/property/set")
    assert json.loads(message.payload)["id"] == second["Data"]["MessageId"]
    answer = {"id": second["Data"]["MessageId"], "code": 200, "data": {}}
    device.send(Publish(device.topic("thing/service/property/set_reply"), json.dumps(answer).encode()))
    reply = await _report(device, "thing/property/desired/delete", {"Brightness": {"version": 1}})
    assert (reply["code"], reply["data"]) == (200, {})
    told = await _ask(rig, "QueryDeviceDesiredProperty", **NAMED)
    values = {info["Identifier"]: info.get("Value") for info in told["Data"]["List"]["DesiredPropertyInfo"]}
    assert values == {"PowerSwitch": "1", "Brightness": None, "ColorTemperature": None, "WorkMode": None}
    assert (await rig.app().last_record())["verdict"] == "SUCCESS"


async def test_what_was_reported_last_is_kept_when_the_server_stops(filled_database: Path, tmp_path: Path) -> None:
    async with running(filled_database, tmp_path) as rig:
        await _publish_model(rig)
        device = await rig.connected()
        payload = b'{"id":"1","params":{"Brightness":42},"sys":{"ack":0}}'
        device.send(Publish(device.topic("thing/event/property/post"), payload, qos=1, packet_id=7))
        await device.expect(PubAck)
    store = SqliteStore(tmp_path / DATABASE_FILE, ManualClock())
    await store.open()
    assert [point.value for point in await store.list_present_properties(LAMP)] == ["42"]
    await store.close()


async def test_a_shadow_is_wanted_by_the_app_and_reported_by_the_device(rig: Rig) -> None:
    wanted = '{"method":"update","state":{"desired":{"color":"green"}},"version":1}'
    await _ask(rig, "UpdateDeviceShadow", **NAMED, ShadowMessage=wanted)
    device = await rig.connected()
    topics = [f"/shadow/{way}/{LAMP.product_key}/{LAMP.device_name}" for way in ("update", "get")]

    async def tell(message: str) -> dict[str, Any]:
        device.send(Publish(topics[0], message.encode()))
        return await hear()

    async def hear() -> dict[str, Any]:
        heard = await device.expect(Publish)
        assert heard.topic == topics[1]
        told: dict[str, Any] = json.loads(heard.payload)
        return told

    assert (await tell('{"method":"get"}'))["payload"]["state"] == {"desired": {"color": "green"}}
    reply = await tell('{"method":"update","state":{"reported":{"color":"green"},"desired":"null"},"version":2}')
    assert reply["payload"] == {"status": "success", "version": 2}
    await _ask(rig, "UpdateDeviceShadow", **NAMED, ShadowMessage=wanted.replace("green", "red").replace("1}", "3}"))
    control = await hear()
    assert (control["method"], control["version"]) == ("control", 3)
    assert control["payload"]["state"] == {"desired": {"color": "red"}, "reported": {"color": "green"}}
    assert (await rig.app().last_record())["verdict"] == "SUCCESS"
    shown = await _ask(rig, "GetDeviceShadow", **NAMED)
    assert json.loads(shown["ShadowMessage"])["state"] == control["payload"]["state"]

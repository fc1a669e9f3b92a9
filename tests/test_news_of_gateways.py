"""What is told of gateways and of the devices behind them, over a whole server."""

from typing import Any

import pytest

from linkstead.mqtt.packets import PubAck, Publish
from linkstead.registry import DeviceKey
from linkstead.subscription import NoticeKind
from tests.fakes import FakeNoticeSink
from tests.gateways import (
    GATEWAY,
    PROBE,
    SECOND_GATEWAY,
    SECOND_PROBE,
    GatewayClient,
    add_gateways,
    connected_gateway,
    gateway_with,
    signed,
)
from tests.rig import Rig, RigStarter
from tests.test_services import call, names

pytestmark = pytest.mark.asyncio


async def start(start_rig: RigStarter, sink: FakeNoticeSink) -> Rig:
    rig = await start_rig(sink=sink)
    await add_gateways(rig)
    return rig


def told(sink: FakeNoticeSink, kind: NoticeKind) -> list[tuple[str, Any]]:
    return [(notice.topic, notice.message) for notice in sink.take(kind)]


def statuses(sink: FakeNoticeSink) -> list[tuple[str, str, int | None]]:
    """Device, status and reason of each change that was told."""
    return [
        (message["deviceName"], message["status"], message.get("offlineReasonCode"))
        for _, message in told(sink, NoticeKind.STATUS_CHANGE)
    ]


def changes(sink: FakeNoticeSink) -> list[tuple[str, str, list[str]]]:
    """Action, gateway and devices of each change of a topology that was told."""
    return [
        (message["action"], message["gwDeviceName"], [device["deviceName"] for device in message["devices"]])
        for topic, message in told(sink, NoticeKind.TOPO_LIFE_CYCLE)
        if topic == f"/{message['gwProductKey']}/{message['gwDeviceName']}/thing/topo/lifecycle"
    ]


async def test_a_topology_is_told_of_as_it_changes(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    gateway = await connected_gateway(rig)
    await gateway.add(PROBE, SECOND_PROBE)
    assert changes(sink) == [("create", GATEWAY.device_name, [PROBE.device_name, SECOND_PROBE.device_name])]
    other = await connected_gateway(rig, SECOND_GATEWAY)
    await other.add(PROBE)
    assert changes(sink) == [
        ("delete", GATEWAY.device_name, [PROBE.device_name]),
        ("create", SECOND_GATEWAY.device_name, [PROBE.device_name]),
    ]
    assert await other.code_of(other.topic("thing/topo/delete"), [names_of(PROBE)]) == 200
    assert changes(sink) == [("delete", SECOND_GATEWAY.device_name, [PROBE.device_name])]


async def test_a_topology_that_an_app_changes_is_told_of(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    entry = {name[0].upper() + name[1:]: value for name, value in signed(PROBE).items()}
    item = {f"TopoAddItem.1.{name}": str(value) for name, value in entry.items()}
    address = {"GwProductKey": GATEWAY.product_key, "GwDeviceName": GATEWAY.device_name}
    assert (await call(rig, "BatchAddThingTopo", **address, **item))["Success"]
    assert changes(sink) == [("create", GATEWAY.device_name, [PROBE.device_name])]
    assert (await call(rig, "RemoveThingTopo", **names(PROBE)))["Success"]
    assert changes(sink) == [("delete", GATEWAY.device_name, [PROBE.device_name])]


async def test_sub_devices_come_and_go_with_their_logins_and_their_gateway(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    gateway = await gateway_with(rig, [PROBE, SECOND_PROBE])
    name, probe, second = GATEWAY.device_name, PROBE.device_name, SECOND_PROBE.device_name
    assert statuses(sink) == [(name, "online", None), (probe, "online", None), (second, "online", None)]
    assert await gateway.code_of(gateway.session_topic("logout"), names_of(PROBE)) == 200
    assert statuses(sink) == [(probe, "offline", None)]
    await gateway.disconnect()
    assert sorted(statuses(sink)) == sorted([(second, "offline", None), (name, "offline", None)])


async def test_what_a_gateway_says_in_the_name_of_a_sub_device_is_told_of_that(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    gateway = await gateway_with(rig)
    custom = f"/{PROBE.product_key}/{PROBE.device_name}/user/update"
    gateway.send(Publish(custom, b"hello", 1, 9))
    assert (await gateway.expect(PubAck)).packet_id == 9
    (notice,) = sink.take()
    assert (notice.key, notice.topic, notice.payload, notice.qos) == (PROBE, custom, b"hello", 1)


async def test_the_parts_of_a_pack_are_told_of_the_devices_they_speak_of(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    gateway = await gateway_with(rig)
    time_ms = round(rig.clock.time_s() * 1000)
    pack = {
        "properties": {"Brightness": {"value": 10, "time": time_ms}},
        "subDevices": [{"identity": names_of(PROBE), "properties": {"Temp": {"value": 21.5, "time": time_ms}}}],
    }
    # Nothing is checked of products without a model; what does not fit is told apart.
    assert await post_pack(gateway, pack) == 200
    messages = {message["deviceName"]: message for _, message in told(sink, NoticeKind.DEVICE_DATA)}
    assert messages.keys() == {GATEWAY.device_name, PROBE.device_name}
    reported = {**messages[PROBE.device_name]["items"], **messages[PROBE.device_name]["checkFailedData"]}
    assert reported["Temp"]["value"] == 21.5
    assert messages[PROBE.device_name]["iotId"] != messages[GATEWAY.device_name]["iotId"]


async def post_pack(gateway: GatewayClient, pack: Any) -> int:
    return await gateway.code_of(gateway.topic("thing/event/property/pack/post"), pack)


def names_of(key: DeviceKey) -> dict[str, str]:
    return {"productKey": key.product_key, "deviceName": key.device_name}

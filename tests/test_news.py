"""What is told of devices, whole: from a device over MQTT or an app over HTTP to the sink."""

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from linkstead.mqtt.packets import PubAck, Publish
from linkstead.mqtt.protocol import RECEIVE_MAXIMUM
from linkstead.registry import DeviceKey
from linkstead.server import DATABASE_FILE
from linkstead.store.tables import INTEGER_MAX
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation
from linkstead.telemetry import Span
from tests.fakes import FakeNoticeSink
from tests.rig import ACCOUNT_ID, INSTANCE_LAMP, LAMP, PRODUCT_KEY, SECOND_LAMP, Rig, RigStarter, a_device, running
from tests.test_services import BLINK, SCENE, answer_posted, answer_with, begin_invoke, call, invoke, names, publish
from tests.tsl.documents import read_sample
from tests.wire import DeviceClient, until

pytestmark = pytest.mark.asyncio

IOT_ID = a_device(LAMP).iot_id
START_MS = 1_700_000_000_000
IDENTITY = {"iotId": IOT_ID, "productKey": LAMP.product_key, "deviceName": LAMP.device_name}


async def start(start_rig: RigStarter, sink: FakeNoticeSink, **settings: Any) -> Rig:
    """A server whose lamps have a thing model."""
    rig = await start_rig(sink=sink, **settings)
    await publish(rig, PRODUCT_KEY, read_sample("lamp").modules[0])
    return rig


def told(sink: FakeNoticeSink, kind: NoticeKind) -> list[Any]:
    return [notice.message for notice in sink.take(kind)]


def now_ms(rig: Rig) -> int:
    return round(rig.clock.time_s() * 1000)


async def report(device: DeviceClient, path: str, params: Any, qos: int = 0) -> None:
    """Post something and wait for the reply."""
    request = {"id": "101", "version": "1.0", "params": params}
    device.send(Publish(device.topic(path), json.dumps(request).encode(), qos, 7 if qos else 0))
    reply = await device.expect(Publish)
    if qos:
        await device.expect(PubAck)
    assert json.loads(reply.payload)["code"] == 200


# --- who is there


async def test_a_device_comes_and_goes(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    assert now_ms(rig) == START_MS
    device = await rig.connected()
    (notice,) = sink.take()
    assert (notice.account_id, notice.key, notice.kind) == (ACCOUNT_ID, LAMP, NoticeKind.STATUS_CHANGE)
    assert notice.topic == f"/as/mqtt/status/{LAMP}"
    assert notice.message == {
        "status": "online",
        **IDENTITY,
        "time": "2023-11-15 06:13:20.000",
        "utcTime": "2023-11-14T22:13:20.000Z",
        "lastTime": "2023-11-15 06:13:20.000",
        "utcLastTime": "2023-11-14T22:13:20.000Z",
        "clientIp": "127.0.0.1",
    }
    rig.clock.advance(2.5)
    await device.disconnect()
    (notice,) = sink.take()
    assert notice.message == {
        "status": "offline",
        **IDENTITY,
        "time": "2023-11-15 06:13:22.500",
        "utcTime": "2023-11-14T22:13:22.500Z",
        "lastTime": "2023-11-15 06:13:22.500",
        "utcLastTime": "2023-11-14T22:13:22.500Z",
        "clientIp": "127.0.0.1",
    }


async def test_a_silent_device_was_heard_of_last_before_its_silence(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    device = await rig.connected(keep_alive_s=60)
    rig.clock.advance(10.0)
    await device.expect_silence()
    sink.take()
    rig.clock.advance(89.0)
    assert sink.take() == []
    rig.clock.advance(1.0)
    (message,) = told(sink, NoticeKind.STATUS_CHANGE)
    assert (message["status"], message["utcTime"]) == ("offline", "2023-11-14T22:15:00.000Z")
    assert message["utcLastTime"] == "2023-11-14T22:13:30.000Z"
    assert "offlineReasonCode" not in message


async def test_a_device_that_changes_its_connection_goes_before_it_comes(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    first = await rig.connected()
    sink.take()
    rig.clock.advance(5.0)
    await rig.connected()
    went, came = told(sink, NoticeKind.STATUS_CHANGE)
    assert (went["status"], went["offlineReasonCode"], came["status"]) == ("offline", 427, "online")
    assert went["time"] < came["time"]
    assert went["utcLastTime"] == "2023-11-14T22:13:20.000Z"
    await first.expect_closed()
    assert sink.take() == []


async def test_a_device_that_a_dead_server_left_online_is_said_to_be_offline(
    filled_database: Path, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "first", tmp_path / "copy"
    folder.mkdir()
    copy.mkdir()
    async with running(filled_database, folder) as rig:
        await rig.connected()
        await rig.server.store.flush()
        # What a server that is killed now leaves.
        left = copy / "left.db"
        for name in (path.name for path in folder.iterdir() if path.name.startswith(DATABASE_FILE)):
            (copy / name.replace(DATABASE_FILE, "left.db")).write_bytes((folder / name).read_bytes())
    sink = FakeNoticeSink()
    checkpoint(left)
    second = tmp_path / "second"
    second.mkdir()
    async with running(left, second, sink=sink):
        (message,) = told(sink, NoticeKind.STATUS_CHANGE)
        assert (message["status"], message["iotId"], message["clientIp"]) == ("offline", IOT_ID, "127.0.0.1")
    third = tmp_path / "third"
    third.mkdir()
    sink = FakeNoticeSink()
    async with running(second / DATABASE_FILE, third, sink=sink):
        assert sink.take() == []


def checkpoint(path: Path) -> None:
    """Bring what is in the log beside a database into it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- lifecycle


async def test_the_life_of_a_device_is_told(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    answer = await call(rig, "RegisterDevice", ProductKey=PRODUCT_KEY, DeviceName="lamp-99")
    device = answer["Data"]
    key = DeviceKey(PRODUCT_KEY, "lamp-99")
    client = DeviceClient(rig.mqtt, key, device["DeviceSecret"])
    rig.devices.append(client)
    await client.connect()
    for action in ("DisableThing", "DisableThing", "EnableThing", "EnableThing"):
        await call(rig, action, **names(key))
    await client.expect_closed()
    await client.connect()
    await call(rig, "DeleteDevice", **names(key))
    notices = sink.take()
    assert [
        (notice.kind, notice.message.get("action") or notice.message["status"], notice.message.get("offlineReasonCode"))
        for notice in notices
    ] == [
        (NoticeKind.LIFE_CYCLE, "create", None),
        (NoticeKind.STATUS_CHANGE, "online", None),
        (NoticeKind.LIFE_CYCLE, "disable", None),
        (NoticeKind.STATUS_CHANGE, "offline", 522),
        (NoticeKind.LIFE_CYCLE, "enable", None),
        (NoticeKind.STATUS_CHANGE, "online", None),
        (NoticeKind.LIFE_CYCLE, "delete", None),
        (NoticeKind.STATUS_CHANGE, "offline", 521),
    ]
    identity = {"iotId": device["IotId"], "productKey": PRODUCT_KEY, "deviceName": "lamp-99"}
    created, deleted = notices[0], notices[6]
    assert created.topic == deleted.topic == f"/{key}/thing/lifecycle"
    assert created.message == {
        "action": "create",
        **identity,
        "deviceSecret": device["DeviceSecret"],
        "messageCreateTime": START_MS,
    }
    assert deleted.message == {"action": "delete", **identity, "messageCreateTime": START_MS}


# --- what devices report


async def test_reports_are_told_in_their_order(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.take()
    await report(device, "thing/event/property/post", {"PowerSwitch": 1})
    device.send(Publish(device.custom_topic("user/update"), b"\x00raw", 1, 9))
    await device.expect(PubAck)
    await report(device, "thing/event/LampFault/post", {"value": {"FaultCode": 1}}, qos=1)
    await report(device, "thing/deviceinfo/update", [{"attrKey": "room", "attrValue": "kitchen"}])
    await report(device, "thing/list/found", [{"productKey": "a1New000001", "deviceName": "n-1"}])
    properties, custom, event, tags, found = sink.take()
    told_head = {**IDENTITY, "deviceType": "CustomCategory", "requestId": "101", "gmtCreate": START_MS}
    assert (properties.topic, properties.message) == (
        f"/{LAMP}/thing/event/property/post",
        {**told_head, "items": {"PowerSwitch": {"value": 1, "time": START_MS}}, "checkFailedData": {}},
    )
    assert (custom.topic, custom.payload, custom.qos) == (f"/{LAMP}/user/update", b"\x00raw", 1)
    assert (event.topic, event.message) == (
        f"/{LAMP}/thing/event/LampFault/post",
        {
            **told_head,
            "identifier": "LampFault",
            "name": "Lamp fault",
            "type": "error",
            "value": {"FaultCode": 1},
            "checkFailedData": {},
            "time": START_MS,
        },
    )
    assert (tags.kind, tags.message["value"]) == (
        NoticeKind.DEVICE_TAG,
        [{"attrKey": "room", "attrValue": "kitchen"}],
    )
    assert (found.kind, found.message["devices"]) == (
        NoticeKind.FOUND_DEVICE_LIST,
        [{"productKey": "a1New000001", "deviceName": "n-1"}],
    )


async def test_of_a_product_that_nobody_subscribed_to_nothing_is_told(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(product_keys=[INSTANCE_LAMP.product_key])
    rig = await start(start_rig, sink)
    device = await rig.connected()
    await report(device, "thing/event/property/post", {"PowerSwitch": 1})
    await device.disconnect()
    assert sink.take() == []
    await rig.connected(INSTANCE_LAMP)
    (notice,) = sink.take()
    assert notice.key == INSTANCE_LAMP


# --- what comes of calls


def result(rig: Rig, message_id: str, path: str = "RunScene", **others: Any) -> dict[str, Any]:
    return {
        "gmtCreate": now_ms(rig),
        **IDENTITY,
        "requestId": message_id,
        "code": 200,
        "message": "success",
        "topic": f"/sys/{LAMP}/thing/service/{path}_reply",
        "data": {},
        "checkFailedData": {},
        **others,
    }


async def test_the_results_of_a_service_and_of_a_property_set_are_told(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.take()
    called = await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    assert sink.take() == []
    await answer_posted(device, request, data={"Accepted": 1, "Duration": 12.5})
    (notice,) = sink.take()
    assert (notice.kind, notice.topic) == (NoticeKind.DEVICE_DATA, f"/{LAMP}/thing/downlink/reply/message")
    data = {"Accepted": 1, "Duration": 12.5}
    assert notice.message == result(rig, called["Data"]["MessageId"], data=data)
    was_set = await call(rig, "SetDeviceProperty", Items='{"PowerSwitch": 1}', **names(LAMP))
    rig.clock.advance(3.0)
    await answer_posted(device, await device.expect(Publish), code=100_001, message="stuck")
    (message,) = told(sink, NoticeKind.DEVICE_DATA)
    expected = result(rig, was_set["Data"]["MessageId"], "property/set", code=100_001, message="stuck")
    assert message == expected


async def test_a_synchronous_service_and_a_call_are_not_told(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.take()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await answer_with(device, data={"Executed": 3, "FinishedAt": "1700000003000"})
    assert (await invoking)["Success"]
    calling = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await calling)["RrpcCode"] == "SUCCESS"
    assert sink.take() == []


async def test_a_call_to_a_device_that_is_away_is_told_with_the_code_for_it(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    never = await invoke(rig, "RunScene", SCENE)
    device = await rig.connected()
    await device.disconnect()
    away = await invoke(rig, "RunScene", SCENE)
    first, second = told(sink, NoticeKind.DEVICE_DATA)
    assert first == result(rig, never["Data"]["MessageId"], code=9200, message="device not actived")
    assert second == result(rig, away["Data"]["MessageId"], code=9201, message="device offline")


async def test_a_call_that_expires_is_told_and_so_is_its_late_answer(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    device = await rig.connected(clean_start=False)
    called = await invoke(rig, "RunScene", SCENE, Qos="1")
    request = await device.expect(Publish)
    message_id = called["Data"]["MessageId"]
    # It never acknowledges, and its session is dropped.
    await device.disconnect()
    device = await rig.connected(clean_start=True)
    (message,) = told(sink, NoticeKind.DEVICE_DATA)
    assert message == result(rig, message_id, code=9201, message="device offline")
    await answer_posted(device, request, data={"Accepted": 1})
    (message,) = told(sink, NoticeKind.DEVICE_DATA)
    assert message == result(rig, message_id, data={"Accepted": 1})


async def test_an_answer_that_comes_twice_is_told_once(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    device = await rig.connected()
    await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    for _ in range(2):
        await answer_posted(device, request)
    assert len(sink.take()) == 1


async def test_a_call_of_an_earlier_process_is_told_when_it_is_answered(filled_database: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with running(filled_database, first) as rig:
        await publish(rig, PRODUCT_KEY, read_sample("lamp").modules[0])
        device = await rig.connected()
        called = await invoke(rig, "RunScene", SCENE)
        request = await device.expect(Publish)
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    async with running(first / DATABASE_FILE, second, sink=sink) as rig:
        device = await rig.connected()
        await answer_posted(device, request)
        await rig.server.delivery.stop()
        await rig.server.news.drain()
        (message,) = told(sink, NoticeKind.DEVICE_DATA)
        assert message == result(rig, called["Data"]["MessageId"])


async def test_the_result_of_a_call_to_a_device_that_is_deleted_is_told(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    device = await rig.connected(clean_start=False)
    await device.disconnect()
    called = await invoke(rig, "RunScene", SCENE, Qos="1")
    await call(rig, "DeleteDevice", **names(LAMP))
    (message,) = told(sink, NoticeKind.DEVICE_DATA)
    assert message == result(rig, called["Data"]["MessageId"], code=9201, message="device offline")


# --- when a publish is acknowledged


def publish_custom(device: DeviceClient, packet_id: int, payload: bytes = b"") -> None:
    device.send(Publish(device.custom_topic("user/update"), payload, 1, packet_id))


async def test_what_is_told_is_acknowledged_when_it_is_on_the_disk_and_in_order(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.disk.clear()
    publish_custom(device, 1)
    await device.expect_silence()
    device.send(Publish(device.topic("rrpc/response/7"), b"stray", 1, 2))
    publish_custom(device, 3)
    device.send(Publish(device.topic("thing/event/property/post"), b'{"params":{"PowerSwitch":1},"id":"1"}', 1, 4))
    reply = await device.expect(Publish)
    assert json.loads(reply.payload)["code"] == 200
    await device.expect_silence()
    assert len(sink.take()) == 3
    sink.disk.set()
    assert [(await device.expect(PubAck)).packet_id for _ in range(4)] == [1, 2, 3, 4]
    sink.disk.clear()
    publish_custom(device, 5)
    await device.expect_silence()
    sink.disk.set()
    assert (await device.expect(PubAck)).packet_id == 5


async def test_a_message_that_the_database_will_never_take_does_not_cost_its_device_the_connection(
    start_rig: RigStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    store = rig.server.store

    async def look_for_too_much(product_key: str) -> None:
        await store.list_properties(LAMP, product_key, Span(0, INTEGER_MAX + 1, ascending=True, limit=1))

    device = await rig.connected()
    monkeypatch.setattr(store, "list_topics", look_for_too_much)
    rig.server.registry.forget_all()
    publish_custom(device, 1)
    assert (await device.expect(PubAck)).packet_id == 1
    assert ["a message of a device failed (500)" in error for error in rig.watch.take()] == [True]
    assert sink.take() == []
    monkeypatch.undo()
    publish_custom(device, 2)
    assert (await device.expect(PubAck)).packet_id == 2
    assert len(sink.take()) == 1


async def test_what_nobody_is_told_is_acknowledged_at_once(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.STATUS_CHANGE])
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.disk.clear()
    publish_custom(device, 1)
    assert (await device.expect(PubAck)).packet_id == 1


async def test_a_device_that_leaves_is_acknowledged_nothing_more(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink()
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.disk.clear()
    publish_custom(device, 1)
    await device.expect_silence()
    await device.disconnect()
    sink.disk.set()
    device = await rig.connected()
    await device.expect_silence()
    publish_custom(device, 1)
    assert (await device.expect(PubAck)).packet_id == 1


async def test_a_device_that_is_not_acknowledged_is_read_no_further_than_the_bound(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, sink)
    device = await rig.connected()
    sink.disk.clear()
    for number in range(RECEIVE_MAXIMUM - 1):
        publish_custom(device, number + 1)
    await device.expect_silence()
    publish_custom(device, RECEIVE_MAXIMUM)
    await until(lambda: len(sink.notices) == RECEIVE_MAXIMUM)
    publish_custom(device, RECEIVE_MAXIMUM + 1)
    await device.writer.drain()
    # The other device is served meanwhile: what it sent came later, and is there.
    other = await rig.connected(SECOND_LAMP)
    await other.expect_silence()
    assert len(sink.notices) == RECEIVE_MAXIMUM
    sink.disk.set()
    acknowledged = [(await device.expect(PubAck)).packet_id for _ in range(RECEIVE_MAXIMUM + 1)]
    assert acknowledged == list(range(1, RECEIVE_MAXIMUM + 2))
    assert len(sink.notices) == RECEIVE_MAXIMUM + 1


async def test_a_device_whose_publish_cannot_be_kept_is_cut_to_send_it_again(start_rig: RigStarter) -> None:
    sink = BrokenSink()
    rig = await start(start_rig, sink)
    device = await rig.connected()
    publish_custom(device, 1)
    await device.expect_closed()
    (error,) = rig.watch.take()
    assert "what a device published could not be kept" in error


class BrokenSink(FakeNoticeSink):
    """Its disk does not work."""

    async def settle(self) -> None:
        raise OSError("disk on fire")


async def test_an_acknowledged_publish_is_on_the_disk_for_its_consumers(filled_database: Path, tmp_path: Path) -> None:
    relation = SubscribeRelation(PRODUCT_KEY, "AMQP", frozenset({NoticeKind.DEVICE_DATA}), (DEFAULT_GROUP_ID,))
    async with running(filled_database, tmp_path) as rig:
        await rig.server.store.add_relation(relation)
        device = await rig.connected()
        for packet_id in (1, 2):
            publish_custom(device, packet_id, b"%d" % packet_id)
            assert (await device.expect(PubAck)).packet_id == packet_id
            # As another process sees it, with the clock standing still: no batch was due.
            assert letters(tmp_path / DATABASE_FILE) == [b"%d" % number for number in range(1, packet_id + 1)]


def letters(path: Path) -> list[bytes]:
    """What waits in a database for consumers."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [payload for (payload,) in connection.execute("SELECT payload FROM letter ORDER BY id")]

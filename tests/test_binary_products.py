"""Binary products, whole: an application calls in Alink, the device sends and gets bytes, the script stands between.

The frames are the table of `device-protocol.md` 7.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from linkstead.invocation import Call
from linkstead.models import Script
from linkstead.mqtt.packets import PubAck, Publish, SubAck, Subscribe, Subscription
from linkstead.registry import DeviceKey
from linkstead.subscription import NoticeKind
from tests.fakes import FakeNoticeSink
from tests.rig import Rig, RigStarter, a_device, a_product
from tests.tsl.documents import GOLDEN, read_sample
from tests.wire import DeviceClient, until

pytestmark = pytest.mark.asyncio

PARSER = (GOLDEN / "raw-probe.parser.js").read_text(encoding="utf-8")
PROBE = DeviceKey("a1RawProbe0", "probe-01")
NAMES = {"ProductKey": PROBE.product_key, "DeviceName": PROBE.device_name}
POST = bytes.fromhex("00002233440fa001419c0000")
POST_REPLY = bytes.fromhex("020022334401")
PROFILES = ("documented", "observed")


async def start(start_rig: RigStarter, script: str | None = PARSER, **settings: Any) -> Rig:
    """A server with a binary product, its thing model, its script and one device."""
    rig = await start_rig(**settings)
    server = rig.server
    await server.store.add_product(replace(a_product(PROBE.product_key), data_format=0))
    await server.store.add_devices([a_device(PROBE)])
    await server.models.publish(read_sample("raw-probe"), "1", "", 1)
    if script is not None:
        await server.scripts.shelf.add(Script(PROBE.product_key, "JavaScript", script, 1))
    return rig


async def change_script(rig: Rig, script: str) -> None:
    assert await rig.server.scripts.shelf.update(Script(PROBE.product_key, "JavaScript", script, 2))


async def call(rig: Rig, action: str, **parameters: str) -> dict[str, Any]:
    response = await rig.app().call(action, **{**NAMES, **parameters})
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    return answer


def begin_calibrate(rig: Rig) -> asyncio.Future[dict[str, Any]]:
    return asyncio.ensure_future(call(rig, "InvokeThingService", Identifier="Calibrate", Args='{"offset":-10}'))


def find(rig: Rig, answer: Mapping[str, Any]) -> Call:
    (found,) = [each for each in rig.calls() if each.request_id == answer["RequestId"]]
    return found


async def post(device: DeviceClient, payload: bytes, path: str = "thing/model/up_raw") -> None:
    device.send(Publish(device.topic(path), payload, 1, 7))
    assert (await device.expect(PubAck)).packet_id == 7


async def values(rig: Rig) -> dict[str, str]:
    return {point.identifier: point.value for point in await rig.server.store.list_present_properties(PROBE)}


def framed(command: int, alink_id: str, rest: str = "") -> bytes:
    """A frame of the sample script."""
    return bytes([command]) + int(alink_id).to_bytes(4, "big") + bytes.fromhex(rest)


# --- what devices send


async def test_a_binary_post_is_taken_as_the_properties_it_holds_and_answered_in_binary(
    start_rig: RigStarter,
) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    device.send(Publish(device.topic("thing/model/up_raw"), POST, 0, 0))
    reply = await device.expect(Publish)
    assert (reply.topic, reply.payload) == (device.topic("thing/model/up_raw_reply"), POST_REPLY)
    assert await values(rig) == {"prop_int16": "4000", "prop_bool": "1", "prop_float": "19.5"}


async def test_binary_messages_of_a_device_are_served_in_order(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    for number in range(20):
        device.send(Publish(device.topic("thing/model/up_raw"), POST[:4] + bytes([number]) + POST[5:], 0, 0))
    replies = [await device.expect(Publish) for _ in range(20)]
    assert [reply.payload[4] for reply in replies] == list(range(20))


@pytest.mark.parametrize("sent", [bytes.fromhex("0700000007"), b""])
async def test_what_the_script_makes_nothing_of_is_dropped(
    start_rig: RigStarter, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    await post(device, sent)
    await post(device, POST)
    assert (await device.expect(Publish)).payload == POST_REPLY
    assert [record.getMessage() for record in caplog.records if "binary" in record.getMessage()] == [
        "binary message not understood (6201): rawDataToProtocol returned nothing"
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "(6200): the product has no script"),
        (" \n", "(26001): the script is empty"),
        ("function rawDataToProtocol(bytes) {\n  return bytes.x.y;\n}", "(26002): TypeError: cannot read property"),
        ("function rawDataToProtocol(bytes) { for (;;) {} }", "(26002): the script ran longer than 500 ms"),
        ("function protocolToRawData(json) { return []; }", "(26006): the script has no function rawDataToProtocol"),
        ("function rawDataToProtocol(bytes) { return bytes; }", "(26007): what the script returned is not an object"),
        (
            "function rawDataToProtocol(bytes) { return {params: 'x'.repeat(300000)}; }",
            "(26007): what the script returned has 300013 B as JSON, over 262144 B",
        ),
        ("function rawDataToProtocol(bytes) { return {params: {}}; }", "binary message is no request (6450)"),
        ("function rawDataToProtocol(bytes) { return {method: 7}; }", "binary message is no request (6450)"),
    ],
)
async def test_a_script_at_fault_is_logged_and_its_message_dropped(
    start_rig: RigStarter, caplog: pytest.LogCaptureFixture, script: str | None, said: str
) -> None:
    rig = await start(start_rig, script)
    device = await rig.connected(PROBE)
    await post(device, POST)
    await rig.server.uplink.drain()
    assert any(said in record.getMessage() for record in caplog.records)
    assert await values(rig) == {}
    await device.expect_silence()


async def test_a_reply_that_the_script_makes_nothing_of_is_not_sent(
    start_rig: RigStarter, caplog: pytest.LogCaptureFixture
) -> None:
    rig = await start(
        start_rig, PARSER.replace("'thing.event.property.post') { return u8(2)", "'none') { return u8(2)")
    )
    device = await rig.connected(PROBE)
    await post(device, POST)
    await rig.server.uplink.drain()
    assert (await values(rig))["prop_int16"] == "4000"
    assert any("no reply to a binary message (6201)" in record.getMessage() for record in caplog.records)
    await device.expect_silence()


async def test_a_method_that_is_not_served_is_refused_through_the_script(start_rig: RigStarter) -> None:
    script = """
        function rawDataToProtocol(bytes) { return {id: 5, method: 'thing.magic.do', params: {}}; }
        function protocolToRawData(json) { return [json.id, json.code >> 8, json.code & 255]; }
    """
    rig = await start(start_rig, script)
    device = await rig.connected(PROBE)
    device.send(Publish(device.topic("thing/model/up_raw"), POST, 0, 0))
    assert (await device.expect(Publish)).payload == bytes([5]) + (6831).to_bytes(2, "big")


async def test_a_device_that_wants_no_reply_gets_none(start_rig: RigStarter) -> None:
    rig = await start(start_rig, PARSER.replace("version: '1.0', id: id,", "sys: {ack: 0}, id: id,"))
    device = await rig.connected(PROBE)
    await post(device, POST)
    await rig.server.uplink.drain()
    assert (await values(rig))["prop_int16"] == "4000"
    await device.expect_silence()


# --- property sets, and replies to what is asynchronous


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_property_set_goes_out_in_binary_and_its_reply_comes_back(start_rig: RigStarter, qos: int) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceProperty", Items='{"prop_int16":1000,"prop_bool":1}', Qos=str(qos))
    message_id = answer["Data"]["MessageId"]
    request = await device.expect(Publish)
    assert request.topic == device.topic("thing/model/down_raw")
    assert (request.payload, request.qos) == (framed(1, message_id, "03e801"), qos)
    await post(device, framed(3, message_id, "01"), "thing/model/down_raw_reply")
    found = find(rig, answer)
    await until(lambda: found.is_ended)
    assert (found.verdict, found.diagnosis, found.result_code) == ("SUCCESS", "answered", 200)
    data = await call(rig, "QueryDeviceServiceData", StartTime="0", EndTime="2000000000000", Identifier="set")
    (info,) = data["Data"]["List"]["ServiceInfo"]
    assert json.loads(info["InputData"]) == {"prop_int16": 1000, "prop_bool": 1}
    assert json.loads(info["OutputData"])["code"] == 200


async def test_a_message_at_qos_1_waits_in_binary_for_its_device(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE, clean_start=False)
    await device.disconnect()
    answer = await call(rig, "SetDeviceProperty", Items='{"prop_bool":1}', Qos="1")
    assert answer["Success"] is True
    device = await rig.connected(PROBE, clean_start=False)
    assert (await device.expect(Publish)).payload == framed(1, answer["Data"]["MessageId"], "000001")


async def test_a_reply_may_come_as_a_report_too(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceProperty", Items='{"prop_bool":1}')
    await device.expect(Publish)
    await post(device, framed(3, answer["Data"]["MessageId"], "00"))
    found = find(rig, answer)
    await until(lambda: found.is_ended)
    assert (found.verdict, found.result_code) == ("SUCCESS", 400)


@pytest.mark.parametrize(
    ("command", "rest", "result"),
    [(9, "", 6201), (0, "0fa001419c0000", 6207)],
)
async def test_a_reply_that_cannot_be_read_ends_the_call_that_it_can_only_belong_to(
    start_rig: RigStarter, command: int, rest: str, result: int
) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceProperty", Items='{"prop_bool":1}')
    await device.expect(Publish)
    reply = framed(command, answer["Data"]["MessageId"], rest)
    await post(device, reply, "thing/model/down_raw_reply")
    found = find(rig, answer)
    await until(lambda: found.is_ended or found.evidence)
    assert (found.verdict, found.diagnosis, found.result_code) == ("FAILED", "answer-malformed", result)


async def test_a_desired_value_is_told_in_binary(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceDesiredProperty", Items='{"prop_bool":1}', Versions="{}")
    request = await device.expect(Publish)
    assert request.topic == device.topic("thing/model/down_raw")
    assert request.payload == framed(1, answer["Data"]["MessageId"], "000001")


async def test_a_desired_value_is_kept_though_the_script_fails(start_rig: RigStarter) -> None:
    rig = await start(start_rig, "function protocolToRawData(json) { return null; }")
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceDesiredProperty", Items='{"prop_bool":1}', Versions="{}")
    assert answer["Success"] is True
    (kept,) = await rig.server.store.list_desired(PROBE)
    assert (kept.identifier, kept.value) == ("prop_bool", "1")
    (found,) = [each for each in rig.calls() if each.key == PROBE]
    assert (found.verdict, found.diagnosis, found.result_code) == ("REJECTED", "rejected", 6201)
    await device.expect_silence()


async def test_a_property_set_whose_script_fails_is_refused(start_rig: RigStarter) -> None:
    rig = await start(start_rig, "function protocolToRawData(json) {\n throw new Error('not today'); }")
    device = await rig.connected(PROBE)
    answer = await call(rig, "SetDeviceProperty", Items='{"prop_bool":1}')
    assert (answer["Success"], answer["Code"]) == (False, "iot.device.SetDevicePropertyFailed")
    assert answer["ErrorMessage"] == "parser script: Error: not today (line 2) (26002)"
    found = find(rig, answer)
    assert (found.verdict, found.diagnosis, found.result_code) == ("REJECTED", "rejected", 26002)
    await device.expect_silence()


async def test_each_device_of_a_batch_has_its_refusal(start_rig: RigStarter) -> None:
    rig = await start(start_rig, "function protocolToRawData(json) { return null; }")
    names = {"ProductKey": PROBE.product_key, "DeviceName.1": PROBE.device_name}
    response = await rig.app().call("SetDevicesProperty", Items='{"prop_bool":1}', **names)
    assert response.json()["Success"] is True
    (found,) = [each for each in rig.calls() if each.key == PROBE]
    assert (found.verdict, found.diagnosis, found.result_code) == ("REJECTED", "rejected", 6201)


# --- synchronous services


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ext", [0, 1])
async def test_a_synchronous_service_travels_in_binary_on_the_carrier_its_device_asked_for(
    start_rig: RigStarter, profile: str, ext: int
) -> None:
    rig = await start(start_rig, profile=profile)
    device = await rig.connected(PROBE, options=f"ext={ext}")
    invoking = begin_calibrate(rig)
    request = await device.expect_call()
    (found,) = [each for each in rig.calls() if each.key == PROBE]
    carrier = f"/ext/rrpc/{found.message_id}{device.topic('thing/model/down_raw')}"
    assert request.topic == (carrier if ext else device.topic(f"rrpc/request/{found.message_id}"))
    assert request.payload == framed(4, str(found.alink_id), "fff6")
    # The script restores another id than the call's: the carrier says whose answer it is.
    await device.answer(request, framed(5, "7", "fff6"))
    answer = await invoking
    assert answer["Success"] is True
    result = json.loads(answer["Data"]["Result"])
    data = {"applied": -10}
    assert result == (
        {"code": 200, "data": data, "id": "7", "message": "success", "version": "1.0"}
        if profile == "documented"
        else data
    )
    assert (found.verdict, found.diagnosis, found.result_code) == ("SUCCESS", "answered", 200)
    assert json.loads(found.answer_payload)["data"] == data


@pytest.mark.parametrize(
    ("script", "number", "said"),
    [
        (None, 6200, "parser script: the product has no script (6200)"),
        (" ", 26001, "parser script: the script is empty (26001)"),
        (
            "function protocolToRawData(json) { return null; }",
            6201,
            "parser script: protocolToRawData returned nothing (6201)",
        ),
        (
            "function protocolToRawData(json) { return []; }",
            6201,
            "parser script: protocolToRawData returned nothing (6201)",
        ),
        ("var x;\nx.y", 26002, "parser script: TypeError: cannot read property 'y' of undefined (line 2) (26002)"),
        (
            "function protocolToRawData(json) { for (;;) {} }",
            26002,
            "parser script: the script ran longer than 500 ms (line 1) (26002)",
        ),
        (
            "function rawDataToProtocol(bytes) {}",
            26006,
            "parser script: the script has no function protocolToRawData (26006)",
        ),
        (
            "function protocolToRawData(json) { return 'x'; }",
            26007,
            "parser script: what the script returned is not a list of whole numbers (26007)",
        ),
        (
            "function protocolToRawData(json) { return [256]; }",
            26007,
            "parser script: what the script returned has a number that is not from -128 to 255 (26007)",
        ),
        (
            "function protocolToRawData(json) { var a = new Uint8Array(262145); return a; }",
            26007,
            "parser script: what the script returned has 262145 bytes, over 262144 (26007)",
        ),
    ],
)
async def test_a_synchronous_service_whose_script_fails_says_so(
    start_rig: RigStarter, script: str | None, number: int, said: str
) -> None:
    rig = await start(start_rig, script)
    device = await rig.connected(PROBE)
    answer = await begin_calibrate(rig)
    assert (answer["Success"], answer["Code"]) == (False, "iot.device.InvokeThingServiceFailed")
    assert answer["ErrorMessage"] == said
    found = find(rig, answer)
    assert (found.verdict, found.diagnosis, found.result_code) == ("REJECTED", "rejected", number)
    await device.expect_silence()


@pytest.mark.parametrize(
    ("sent", "number", "said"),
    [
        ("0900000007", 6201, "parser script: rawDataToProtocol returned nothing (6201)"),
        ("00002233440fa001419c0000", 6207, "parser script: the reply has no code"),
    ],
)
async def test_an_answer_that_the_script_cannot_read_fails_the_call_and_its_record_says_why(
    start_rig: RigStarter, sent: str, number: int, said: str
) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    invoking = begin_calibrate(rig)
    await device.answer_call(bytes.fromhex(sent))
    answer = await invoking
    assert (answer["Success"], answer["Code"]) == (False, "iot.device.InvokeThingServiceFailed")
    assert answer["ErrorMessage"].startswith(said)
    found = find(rig, answer)
    assert (found.verdict, found.diagnosis, found.code) == ("SUCCESS", "answered", answer["Code"])
    assert (found.result_code, found.output_faults) == (number, [answer["ErrorMessage"]])
    assert found.answer_payload == bytes.fromhex(sent)


async def test_a_killed_child_fails_its_call_and_the_next_one_works(start_rig: RigStarter) -> None:
    stubborn = (
        "function protocolToRawData() { var a = []; for (var i = 0; i < 1e5; i++) a.push(i); for (;;) a.sort(); }"
    )
    rig = await start(start_rig, stubborn)
    device = await rig.connected(PROBE)
    answer = await begin_calibrate(rig)
    assert answer["Code"] == "iot.device.InvokeThingServiceFailed"
    assert "process ended" in answer["ErrorMessage"]
    await change_script(rig, PARSER)
    invoking = begin_calibrate(rig)
    request = await device.expect_call()
    await device.answer(request, framed(5, "7", "fff6"))
    assert (await invoking)["Success"] is True


async def test_a_timeout_of_a_binary_device_is_a_timeout(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    invoking = begin_calibrate(rig)
    await device.expect_call()
    rig.clock.advance(8.0)
    assert (await invoking)["Code"] == "iot.messagebroker.TIMEOUT"


# --- what no script touches


async def test_rrpc_and_pub_carry_bytes_untouched(start_rig: RigStarter) -> None:
    rig = await start(start_rig, "throw new Error('never run')")
    device = await rig.connected(PROBE)
    rrpc = asyncio.ensure_future(call(rig, "RRpc", RequestBase64Byte="AP8=", Timeout="8000"))
    request = await device.answer_call(b"\xff\x00")
    answer = await rrpc
    assert (request.payload, answer["PayloadBase64Byte"], answer["RrpcCode"]) == (b"\x00\xff", "/wA=", "SUCCESS")
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/get"
    device.send(Subscribe(1, [Subscription(topic)]))
    await device.expect(SubAck)
    await call(rig, "Pub", TopicFullName=topic, MessageContent="AP8=", Qos="0")
    assert (await device.expect(Publish)).payload == b"\x00\xff"
    assert rig.server.script_host.process_ids == []


# --- a changed script


async def test_messages_go_by_a_changed_script_at_once(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(PROBE)
    changed = PARSER.replace("readI16(b, 5), prop_bool", "7, prop_bool")
    assert (await call(rig, "UpdateThingScript", ScriptContent=changed, ScriptType="JavaScript"))["Success"] is True
    await post(device, POST)
    await device.expect(Publish)
    assert (await values(rig))["prop_int16"] == "7"


# --- custom topics

TRANSFORM = """
    function rawDataToProtocol(bytes) { return {}; }
    function protocolToRawData(json) { return []; }
    function transformPayload(topic, bytes) {
        if (bytes.length === 0) { throw new Error('empty'); }
        return {topic: topic, count: bytes.length, first: bytes[0]};
    }
"""


async def told_of(rig: Rig, sink: FakeNoticeSink, query: str, payload: bytes) -> list[bytes]:
    """What apps are told when a device publishes this on a custom topic, and another message behind it."""
    device = await rig.connected(PROBE)
    sink.take()
    for sent, suffix in ((payload, query), (b"behind", "")):
        device.send(Publish(f"{device.custom_topic('user/update')}{suffix}", sent, 1, 7))
        assert (await device.expect(PubAck)).packet_id == 7
    notices = sink.take()
    assert {(notice.topic, notice.qos) for notice in notices} == {(device.custom_topic("user/update"), 1)}
    *told, behind = [notice.payload for notice in notices]
    assert behind == b"behind"
    return told


async def test_a_custom_message_is_parsed_where_its_topic_asks_for_it(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, TRANSFORM, sink=sink)
    (told,) = await told_of(rig, sink, "?_sn=default", b"\x07\x08")
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/update"
    assert json.loads(told) == {"topic": topic, "count": 2, "first": 7}
    (told,) = await told_of(rig, sink, "?_rid=1&_sn=default", b"\x09")
    assert json.loads(told)["first"] == 9


@pytest.mark.parametrize("query", ["", "?_rid=1", "?_sn=other"])
async def test_a_custom_message_stays_as_it_is_where_nobody_asks(start_rig: RigStarter, query: str) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, TRANSFORM, sink=sink)
    assert await told_of(rig, sink, query, b"\x07\x08") == [b"\x07\x08"]


async def test_a_custom_message_of_a_product_without_a_script_stays_as_it_is(start_rig: RigStarter) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, None, sink=sink)
    assert await told_of(rig, sink, "?_sn=default", b"\x07") == [b"\x07"]


async def test_a_custom_message_that_cannot_be_parsed_is_told_to_nobody_and_the_next_is(
    start_rig: RigStarter, caplog: pytest.LogCaptureFixture
) -> None:
    sink = FakeNoticeSink(kinds=[NoticeKind.DEVICE_DATA])
    rig = await start(start_rig, TRANSFORM, sink=sink)
    assert await told_of(rig, sink, "?_sn=default", b"") == []
    assert "message not parsed" in caplog.text
    assert "26002" in caplog.text

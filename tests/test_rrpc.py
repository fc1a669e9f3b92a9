"""RRpc whole: from an application over HTTP to a device over MQTT and back."""

import asyncio
import base64
from typing import Any
from xml.etree import ElementTree

import pytest

from linkstead.mqtt.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from tests.rig import LAMP, SECOND_LAMP, Rig
from tests.wire import App, DeviceClient, HttpClient, encode_request, message_id

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]


async def _exchange(
    rig: Rig, device: DeviceClient, payload: bytes | str, answer: bytes, **others: str
) -> dict[str, Any]:
    """Call the device, let it answer, and give the application's answer; what arrived is in `Arrived`."""
    call = asyncio.ensure_future(rig.app().rrpc(device.key, payload, **others))
    request = await device.expect_call()
    await device.answer(request, answer)
    return {**await call, "Arrived": request}


@pytest.mark.parametrize("level", [MQTT_3_1, MQTT_3_1_1, MQTT_5])
async def test_a_call_reaches_the_device_and_its_answer_comes_back(rig: Rig, level: int) -> None:
    device = await rig.connected(level=level)
    answer = await _exchange(rig, device, b"ping \xff\x00", b"pong \xfe\x00")
    request = answer.pop("Arrived")
    assert request.payload == b"ping \xff\x00"
    assert (request.qos, request.retain, request.dup) == (0, False, False)
    assert request.topic == device.topic(f"rrpc/request/{answer['MessageId']}")
    assert answer == {
        "RequestId": answer["RequestId"],
        "Success": True,
        "RrpcCode": "SUCCESS",
        "PayloadBase64Byte": base64.b64encode(b"pong \xfe\x00").decode(),
        "MessageId": answer["MessageId"],
    }


async def test_an_empty_answer_is_a_success(rig: Rig) -> None:
    answer = await _exchange(rig, await rig.connected(), b"ping", b"")
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "")


async def test_an_answer_at_qos_1_is_acknowledged_and_taken(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong", qos=1)
    assert (await call)["PayloadBase64Byte"] == "cG9uZw=="


async def test_every_byte_value_passes_both_ways(rig: Rig) -> None:
    every = bytes(range(256))
    answer = await _exchange(rig, await rig.connected(), every, every[::-1])
    assert answer["Arrived"].payload == every
    assert base64.b64decode(answer["PayloadBase64Byte"]) == every[::-1]


async def test_the_message_id_has_64_bits_in_json_and_in_xml(rig: Rig) -> None:
    device = await rig.connected()
    app = rig.app()
    call = asyncio.ensure_future(app.call("RRpc", **app.rrpc_parameters(LAMP)))
    request = await device.answer_call(b"")
    for_json = await call
    assert 2**53 < message_id(request.topic) < 2**63
    assert f'"MessageId":{message_id(request.topic)}'.encode() in for_json.body
    call = asyncio.ensure_future(app.call("RRpc", Format="XML", **app.rrpc_parameters(LAMP)))
    request = await device.answer_call(b"")
    root = ElementTree.fromstring((await call).body)
    assert root.tag == "RRpcResponse"
    assert root.findtext("MessageId") == str(message_id(request.topic))
    assert (root.findtext("RrpcCode"), root.findtext("PayloadBase64Byte")) == ("SUCCESS", "")


async def test_message_ids_rise(rig: Rig) -> None:
    ids = [(await rig.app().rrpc(LAMP))["MessageId"] for _ in range(20)]
    assert ids == sorted(set(ids))


# --- the request ---


@pytest.mark.parametrize("text", ["1000", "8000", "+1000", "01000"])
async def test_a_timeout_at_the_edge_of_its_range_is_taken(rig: Rig, text: str) -> None:
    assert (await rig.app().rrpc(LAMP, Timeout=text))["RrpcCode"] == "OFFLINE"


@pytest.mark.parametrize("text", ["999", "8001", "0", "-1000", str(2**63 - 1)])
async def test_a_timeout_past_the_edge_of_its_range_is_refused(rig: Rig, text: str) -> None:
    answer = await rig.app().rrpc(LAMP, Timeout=text)
    assert answer["Code"] == "iot.messagebroker.InvalidTimeoutValue"
    assert answer["ErrorMessage"].endswith(f"(Timeout={text}; 1000..8000 ms)")
    assert "RrpcCode" not in answer


async def test_the_samples_spelling_of_timeout_is_taken_where_the_tables_is_absent(rig: Rig) -> None:
    app = rig.app()
    parameters = app.rrpc_parameters(LAMP)
    del parameters["Timeout"]
    assert (await app.call("RRpc", TimeOut="1000", **parameters)).json()["RrpcCode"] == "OFFLINE"
    answer = (await app.call("RRpc", TimeOut="1", Timeout="1000", **parameters)).json()
    assert answer["RrpcCode"] == "OFFLINE"
    assert (await app.last_record())["timeout_ms"] == 1000


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("cGluZw==", b"ping"),
        ("cGluZw=", b"ping"),
        ("cGluZw", b"ping"),
        ("cGlu\r\nZw==\n", b"ping"),
        ("cGlu Zw=", base64.b64decode("cGlu+Zw=")),
        ("Pj4+Pj8/", b">>>>??"),
        ("Pj4 Pj8/", b">>>>??"),
        ("AA==", b"\0"),
    ],
)
async def test_base64_is_read_leniently(rig: Rig, text: str, payload: bytes) -> None:
    answer = await _exchange(rig, await rig.connected(), text, b"")
    assert answer["Arrived"].payload == payload


@pytest.mark.parametrize(
    "text", ["Pj4-Pj8_", "cGluZ", "a", "c?luZw==", "=", "====", "\n", " ", "cGlu=Zw=", "прив", "\0\0\0\0"]
)
async def test_what_is_not_base64_is_refused(rig: Rig, text: str) -> None:
    answer = await rig.app().rrpc(LAMP, text)
    assert answer["Code"] == "iot.messagebroker.MessageContentIsNotBase64Encode"
    assert "RrpcCode" not in answer


async def test_an_empty_payload_is_refused(rig: Rig) -> None:
    assert (await rig.app().rrpc(LAMP, ""))["Code"] == "iot.messagebroker.NullMessageContent"


@pytest.mark.parametrize("in_query", [False, True])
async def test_a_payload_may_be_256_kib_both_ways(rig: Rig, in_query: bool) -> None:
    payload = bytes(range(256)) * 1_024
    assert len(payload) == PAYLOAD_BYTES_MAX
    device, app = await rig.connected(), rig.app()
    if in_query:
        call: asyncio.Future[Any] = asyncio.ensure_future(app.call("RRpc", **app.rrpc_parameters(LAMP, payload)))
    else:
        call = asyncio.ensure_future(app.rrpc(LAMP, payload))
    request = await device.expect_call()
    assert request.payload == payload
    await device.answer(request, payload[::-1])
    answer = (await call).json() if in_query else await call
    assert base64.b64decode(answer["PayloadBase64Byte"]) == payload[::-1]


async def test_a_payload_over_256_kib_is_refused(rig: Rig) -> None:
    device = await rig.connected()
    answer = await rig.app().rrpc(LAMP, bytes(PAYLOAD_BYTES_MAX + 1))
    assert answer["Code"] == "iot.messagebroker.RrpcFailed"
    assert answer["ErrorMessage"].endswith("(RequestBase64Byte=262145 B; <= 262144 B)")
    assert "RrpcCode" not in answer
    await device.expect_silence()


async def test_a_body_over_1_mib_is_413(rig: Rig) -> None:
    async with HttpClient.open(rig.http) as client:
        client.send(encode_request("POST", "/", body=bytes(1024 * 1024 + 1)))
        assert (await client.receive()).status == 413


# --- custom topics ---


@pytest.mark.parametrize("topic", ["/a1Lamp00001/lamp-01/user/get", "/anything/at/all", "/", "/中文"])
async def test_a_custom_topic_is_carried_both_ways(rig: Rig, topic: str) -> None:
    answer = await _exchange(rig, await rig.connected(options="ext=1"), b"ping", b"pong", Topic=topic)
    assert answer["Arrived"].topic == f"/ext/rrpc/{answer['MessageId']}{topic}"
    assert answer["RrpcCode"] == "SUCCESS"
    assert (await rig.app().call_record(answer["MessageId"]))["target"] == topic


async def test_a_missing_slash_before_a_custom_topic_is_added(rig: Rig) -> None:
    answer = await _exchange(rig, await rig.connected(), b"ping", b"pong", Topic="user/get")
    assert answer["Arrived"].topic == f"/ext/rrpc/{answer['MessageId']}/user/get"


async def test_an_empty_custom_topic_counts_as_none(rig: Rig) -> None:
    device = await rig.connected()
    answer = await _exchange(rig, device, b"ping", b"pong", Topic="")
    assert answer["Arrived"].topic == device.topic(f"rrpc/request/{answer['MessageId']}")


async def test_a_custom_topic_may_have_128_bytes(rig: Rig) -> None:
    topic = "/" + "t" * 127
    answer = await _exchange(rig, await rig.connected(), b"ping", b"pong", Topic=topic)
    assert answer["Arrived"].topic.endswith(topic)
    answer = await _exchange(rig, rig.devices[0], b"ping", b"pong", Topic="/" + "中" * 42)
    assert answer["RrpcCode"] == "SUCCESS"


@pytest.mark.parametrize("topic", ["/" + "t" * 128, "t" * 128, "/" + "中" * 43, "/a/+/b", "/a/#", "+", "#", "/a\0b"])
async def test_a_custom_topic_that_is_malformed_is_refused(rig: Rig, topic: str) -> None:
    device = await rig.connected()
    answer = await rig.app().rrpc(LAMP, Topic=topic)
    assert answer["Code"] == "iot.messagebroker.InvalidFormattedTopicName"
    assert "RrpcCode" not in answer
    await device.expect_silence()


@pytest.mark.parametrize("options", ["ext=0", "ext=2", "lan=Node"])
async def test_a_device_that_did_not_offer_custom_topics_is_called_all_the_same(rig: Rig, options: str) -> None:
    device = await rig.connected(options=options)
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Topic="/user/get"))
    await device.expect_call()
    rig.clock.advance(5.0)
    answer = await call
    assert answer["RrpcCode"] == "TIMEOUT"
    assert (await rig.app().call_record(answer["MessageId"]))["diagnosis"] == "ext-not-set"
    assert (await _exchange(rig, device, b"ping", b"pong", Topic="/user/get"))["RrpcCode"] == "SUCCESS"


# --- several at once ---


async def test_calls_to_one_device_are_answered_in_any_order(rig: Rig) -> None:
    device = await rig.connected()
    calls = [asyncio.ensure_future(rig.app().rrpc(LAMP, b"%d" % index)) for index in range(8)]
    requests = [await device.expect_call() for _ in calls]
    for request in reversed(requests):
        await device.answer(request, b"answer to " + request.payload)
    for index, call in enumerate(calls):
        assert base64.b64decode((await call)["PayloadBase64Byte"]) == b"answer to %d" % index


async def test_two_devices_are_called_at_once(rig: Rig) -> None:
    first, second = await rig.connected(LAMP), await rig.connected(SECOND_LAMP)
    calls = [asyncio.ensure_future(rig.app().rrpc(key)) for key in (LAMP, SECOND_LAMP)]
    await second.answer_call(b"second")
    assert (await calls[1])["PayloadBase64Byte"] == base64.b64encode(b"second").decode()
    assert not calls[0].done()
    await first.answer_call(b"first")
    assert (await calls[0])["PayloadBase64Byte"] == base64.b64encode(b"first").decode()


async def test_the_check_order_of_a_call_is_that_of_the_reference(rig: Rig) -> None:
    app: App = rig.app()
    wrong = {
        "ProductKey": "a-b",
        "DeviceName": "x",
        "RequestBase64Byte": "?",
        "Timeout": "1",
        "Topic": "+",
    }
    right = {**app.rrpc_parameters(LAMP), "Topic": ""}
    codes = []
    for name in wrong:
        codes.append((await app.call("RRpc", **wrong)).json()["Code"].rpartition(".")[2])
        wrong[name] = right[name]
    assert codes == [
        "InvalidFormattedProductkey",
        "InvalidFormattedDeviceName",
        "MessageContentIsNotBase64Encode",
        "InvalidTimeoutValue",
        "InvalidFormattedTopicName",
    ]

"""Services and property sets, whole: from an application over HTTP to a device over MQTT, and back."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from linkstead.invocation import Call, Verdict
from linkstead.invocation.delivery import ANSWER_WRITTEN_S_MAX
from linkstead.mqtt.packets import PubAck, Publish
from linkstead.registry import DeviceKey
from linkstead.tsl import Module, put_module
from tests.rig import DISABLED_LAMP, LAMP, PRODUCT_KEY, SECOND_LAMP, Rig, RigStarter, a_device, a_product
from tests.tsl.documents import document, parameter, read_module, read_sample, service
from tests.wire import DeviceClient, stages, until

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

SEEDS = Path(__file__).parent / "golden" / "seeds"
BLINK = {"Times": 3, "IntervalSec": 0.5}
SCENE = {"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]}
PROFILES = ("documented", "observed")
FREE_LAMP, THIRD_LAMP = DeviceKey("a1Free00001", "lamp-01"), DeviceKey(PRODUCT_KEY, "lamp-03")
DAY_S = 24 * 3600.0


async def publish(rig: Rig, product_key: str, *modules: Module) -> None:
    for module in modules:
        await rig.server.models.edit_draft(product_key, partial(put_module, module=module))
    await rig.server.models.publish_draft(product_key, "", "", 1)


async def start(start_rig: RigStarter, **settings: Any) -> Rig:
    """A server whose lamps have a thing model, with a module of its own beside the default one."""
    rig = await start_rig(**settings)
    await publish(rig, PRODUCT_KEY, read_sample("lamp").modules[0], read_sample("multi-module").modules[1])
    return rig


async def call(rig: Rig, action: str, **parameters: str) -> dict[str, Any]:
    response = await rig.app().call(action, **parameters)
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    return answer


def names(key: DeviceKey) -> dict[str, str]:
    return {"ProductKey": key.product_key, "DeviceName": key.device_name}


async def invoke(
    rig: Rig, identifier: str, arguments: Mapping[str, Any], key: DeviceKey = LAMP, **others: str
) -> dict[str, Any]:
    arguments_text = json.dumps(arguments)
    return await call(rig, "InvokeThingService", Identifier=identifier, Args=arguments_text, **{**names(key), **others})


def begin_invoke(rig: Rig, identifier: str, arguments: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
    return asyncio.ensure_future(invoke(rig, identifier, arguments))


def refusal(answer: Mapping[str, Any]) -> str:
    """The code of a call that failed; there is nothing of a success with it."""
    assert answer.keys() == {"RequestId", "Success", "Code", "ErrorMessage"}
    assert answer["Success"] is False
    return str(answer["Code"])


def reply(request: Publish, code: int = 200, **members: Any) -> bytes:
    """A device's reply to a service call."""
    return json.dumps({"id": json.loads(request.payload)["id"], "code": code, **members}).encode()


async def answer_with(device: DeviceClient, code: int = 200, **members: Any) -> Publish:
    """Wait for a synchronous call and reply to it."""
    request = await device.expect_call()
    await device.answer(request, reply(request, code, **members))
    return request


async def answer_posted(device: DeviceClient, request: Publish, code: int = 200, **members: Any) -> None:
    """Reply to an asynchronous call; it has arrived when this returns."""
    await device.answer(request, reply(request, code, **members), topic=f"{request.topic}_reply", qos=1)


def find(rig: Rig, answer: Mapping[str, Any]) -> Call:
    (found,) = [each for each in rig.calls() if each.request_id == answer["RequestId"]]
    return found


def ending(found: Call) -> tuple[str | None, str | None, int]:
    return found.verdict, found.diagnosis, found.result_code


# --- synchronous services


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ext", [0, 1])
async def test_a_synchronous_service_goes_on_the_carrier_its_device_asked_for(
    start_rig: RigStarter, profile: str, ext: int
) -> None:
    rig = await start(start_rig, profile=profile)
    device = await rig.connected(options=f"ext={ext}")
    invoking = begin_invoke(rig, "Blink", BLINK)
    request = await answer_with(device, data={"Executed": 3, "FinishedAt": "1700000003000"})
    answer = await invoking
    found = find(rig, answer)
    carrier = f"/ext/rrpc/{found.message_id}{device.topic('thing/service/Blink')}"
    assert request.topic == (carrier if ext else device.topic(f"rrpc/request/{found.message_id}"))
    message_id = answer["Data"]["MessageId"]
    assert json.loads(request.payload) == {
        "id": message_id,
        "version": "1.0",
        "method": "thing.service.Blink",
        "params": BLINK,
    }
    assert message_id.isdigit()
    assert 1 <= int(message_id) < 2**31
    assert answer.keys() == {"RequestId", "Success", "Data"}
    assert answer["Success"] is True
    data = '{"Executed":3,"FinishedAt":"1700000003000"}'
    envelope = f'{{"code":200,"data":{data},"id":"{message_id}","message":"success","version":"1.0"}}'
    assert answer["Data"] == {"Result": envelope if profile == "documented" else data, "MessageId": message_id}
    assert ending(found) == ("SUCCESS", "answered", 200)
    record = await rig.app().call_record(answer["RequestId"])
    assert stages(record) == ["received", "authenticated", "accepted", "routed", "written", "answered", "returned"]


async def test_numbers_reach_the_device_as_they_were_written(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    text = '{"IntervalSec": 1.50, "Times": 3}'
    invoking = asyncio.ensure_future(call(rig, "InvokeThingService", Identifier="Blink", Args=text, **names(LAMP)))
    request = await answer_with(device)
    assert request.payload.endswith(b'"params":{"IntervalSec":1.50,"Times":3}}')
    assert (await invoking)["Success"] is True


async def test_what_else_the_device_says_is_in_the_envelope(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    invoking = begin_invoke(rig, "SelfTest", {})
    request = await device.expect_call()
    await device.answer(request, b'{"localizedMsg":"gut","code":"200","id":7,"message":"fine"}')
    assert json.loads((await invoking)["Data"]["Result"]) == {
        "code": 200,
        "data": {},
        "id": "7",
        "message": "fine",
        "version": "1.0",
        "localizedMsg": "gut",
    }


@pytest.mark.parametrize("code", [-1, 400, 100001])
async def test_a_device_code_is_inside_the_documented_result(start_rig: RigStarter, code: int) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await answer_with(device, code, message="too hot")
    answer = await invoking
    result = json.loads(answer["Data"]["Result"])
    assert (answer["Success"], result["code"], result["message"]) == (True, code, "too hot")
    assert ending(find(rig, answer)) == ("SUCCESS", "answered", code)


@pytest.mark.parametrize("code", [-1, 400, 100001])
async def test_a_device_code_fails_the_observed_call(start_rig: RigStarter, code: int) -> None:
    rig = await start(start_rig, profile="observed")
    device = await rig.connected()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await answer_with(device, code, message="too hot")
    answer = await invoking
    assert refusal(answer) == "iot.device.InvokeThingServiceFailed"
    assert f"device code {code}: too hot" in answer["ErrorMessage"]
    assert ending(find(rig, answer)) == ("SUCCESS", "answered", code)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("payload", [b"pong", b"[]", b'{"data":{}}', b'{"code":"ok"}', b'{"code":true}', b"\xff", b""])
async def test_a_reply_that_is_none_fails_the_call(start_rig: RigStarter, profile: str, payload: bytes) -> None:
    rig = await start(start_rig, profile=profile)
    device = await rig.connected()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await device.answer(await device.expect_call(), payload)
    answer = await invoking
    assert refusal(answer) == "iot.device.InvokeThingServiceFailed"
    found = find(rig, answer)
    assert ending(found) == ("FAILED", "answer-malformed", 6207)
    assert found.answer_payload == payload


@pytest.mark.parametrize("settings", [{}, {"service_timeout_ms": 5_000}])
async def test_a_device_that_does_not_reply_ends_in_timeout_at_the_deadline(
    start_rig: RigStarter, settings: dict[str, int]
) -> None:
    rig = await start(start_rig, **settings)
    device = await rig.connected()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await device.expect_call()
    timeout_s = settings.get("service_timeout_ms", 8_000) / 1000
    rig.clock.advance(timeout_s - 0.001)
    assert rig.server.router.pending_count == 1
    rig.clock.advance(0.001)
    answer = await invoking
    assert refusal(answer) == "iot.messagebroker.TIMEOUT"
    assert ending(find(rig, answer)) == ("TIMEOUT", "written-no-answer", 1905)
    record = await rig.app().call_record(answer["RequestId"])
    assert record["timeline"][-1]["offset_ms"] == timeout_s * 1000


async def test_a_reply_at_the_last_millisecond_is_a_success_and_a_later_one_is_evidence(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    for seconds, success in ((7.999, True), (8.0, False)):
        invoking = begin_invoke(rig, "SelfTest", {})
        request = await device.expect_call()
        rig.clock.advance(seconds)
        await device.answer(request, reply(request), qos=1)
        answer = await invoking
        assert answer["Success"] is success
    assert [evidence.reason for evidence in find(rig, answer).evidence] == ["late"]


async def test_a_device_that_said_goodbye_is_offline(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    await (await rig.connected()).disconnect()
    answer = await invoke(rig, "Blink", BLINK)
    assert refusal(answer) == "iot.messagebroker.OFFLINE"
    assert ending(find(rig, answer)) == ("OFFLINE", "not-connected", 9201)


async def test_a_device_whose_connection_just_broke_is_half_connected(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    (await rig.connected()).reset()
    await until(lambda: not rig.is_online)
    answer = await invoke(rig, "Blink", BLINK)
    assert refusal(answer) == "iot.messagebroker.HALFCONN"
    assert ending(find(rig, answer)) == ("HALFCONN", "half-connected", 9201)


async def test_a_device_that_never_connected_is_inactive(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    answer = await invoke(rig, "Blink", BLINK)
    assert refusal(answer) == "iot.device.InactiveDevice"
    assert find(rig, answer).result_code == 9200


@pytest.mark.parametrize("identifier", ["Blink", "RunScene"])
async def test_a_disabled_device_is_refused(start_rig: RigStarter, identifier: str) -> None:
    rig = await start(start_rig)
    answer = await invoke(rig, identifier, BLINK if identifier == "Blink" else SCENE, DISABLED_LAMP)
    assert refusal(answer) == "iot.device.InvokeThingServiceFailed"
    assert find(rig, answer).result_code == 6208


async def test_overlapping_calls_get_their_own_replies_in_any_order(start_rig: RigStarter) -> None:
    rig = await start(start_rig, profile="observed")
    device = await rig.connected()
    invoking, requests = [], []
    for times in range(1, 9):
        invoking.append(begin_invoke(rig, "Blink", {"Times": times, "IntervalSec": 0.5}))
        requests.append(await device.expect_call())
    for request in reversed(requests):
        times = json.loads(request.payload)["params"]["Times"]
        await device.answer(request, reply(request, data={"Executed": times}))
    answers = await asyncio.gather(*invoking)
    assert [json.loads(answer["Data"]["Result"])["Executed"] for answer in answers] == list(range(1, 9))
    assert len({answer["Data"]["MessageId"] for answer in answers}) == 8


@pytest.mark.parametrize("ext", [0, 1])
async def test_a_service_of_a_module_keeps_its_module_in_topic_and_method(start_rig: RigStarter, ext: int) -> None:
    rig = await start(start_rig)
    device = await rig.connected(options=f"ext={ext}")
    invoking = begin_invoke(rig, "testFb:testService", {"param1": 3, "ratio": 0.5})
    request = await answer_with(device, data={"sum": 3.5})
    assert request.topic.endswith("/thing/service/testFb:testService") == bool(ext)
    assert json.loads(request.payload)["method"] == "thing.service.testFb:testService"
    assert json.loads((await invoking)["Data"]["Result"])["data"] == {"sum": 3.5}


async def test_an_unknown_service_is_not_found(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    for identifier in ("Nothing", "blink", "set", "get", "testFb:Blink"):
        answer = await invoke(rig, identifier, {})
        assert refusal(answer) == "iot.device.InvokeThingServiceFailed"
        assert "service not found" in answer["ErrorMessage"]
        assert find(rig, answer).result_code == 6206
    await device.expect_silence()


async def test_the_iot_id_wins_over_the_pair(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    wrong = {"IotId": a_device(LAMP).iot_id, "ProductKey": "a1Nothing01", "DeviceName": "nobody"}
    invoking = asyncio.ensure_future(invoke(rig, "SelfTest", {}, LAMP, **wrong))
    await answer_with(device)
    assert (await invoking)["Success"] is True


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"ProductKey": PRODUCT_KEY}, "iot.device.NullDeviceName"),
        ({"DeviceName": "lamp-01"}, "iot.prod.NullProductKey"),
        ({}, "iot.prod.NullProductKey"),
    ],
)
async def test_half_a_name_is_refused(start_rig: RigStarter, given: dict[str, str], code: str) -> None:
    rig = await start(start_rig)
    assert refusal(await call(rig, "InvokeThingService", Identifier="SelfTest", Args="{}", **given)) == code


# --- asynchronous services


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("profile", PROFILES)
async def test_an_asynchronous_service_is_accepted_delivered_and_its_reply_recorded(
    start_rig: RigStarter, profile: str, qos: int
) -> None:
    rig = await start(start_rig, profile=profile)
    device = await rig.connected()
    answer = await invoke(rig, "RunScene", SCENE, Qos=str(qos))
    message_id = answer["Data"]["MessageId"]
    assert answer == {"RequestId": answer["RequestId"], "Success": True, "Data": {"MessageId": message_id}}
    found = find(rig, answer)
    assert not found.is_ended
    request = await device.expect(Publish)
    assert (request.topic, request.qos, request.dup) == (device.topic("thing/service/RunScene"), qos, False)
    assert json.loads(request.payload) == {
        "id": message_id,
        "version": "1.0",
        "method": "thing.service.RunScene",
        "params": SCENE,
    }
    if qos:
        device.send(PubAck(request.packet_id))
    await answer_posted(device, request, data={"Accepted": 1, "Duration": 12.5})
    assert ending(found) == ("SUCCESS", "answered", 200)
    assert await rig.at_devices.store.flush()
    stored = await rig.server.store.find_call("1001", answer["RequestId"])
    assert stored is not None
    assert ending(stored) == ending(found)
    assert json.loads(stored.answer_payload)["data"] == {"Accepted": 1, "Duration": 12.5}
    written = ["written", "acknowledged"] if qos else ["written"]
    seen = set(stages(await rig.app().call_record(answer["RequestId"])))
    assert seen == {"received", "authenticated", "accepted", "routed", "returned", "answered", *written}


async def test_the_code_of_an_asynchronous_reply_is_the_result(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await invoke(rig, "RunScene", SCENE)
    await answer_posted(device, await device.expect(Publish), 100001)
    assert ending(find(rig, answer)) == ("SUCCESS", "answered", 100001)


async def test_at_qos_0_a_device_that_is_away_gets_nothing(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(clean_start=False)
    await device.disconnect()
    answer = await invoke(rig, "RunScene", SCENE)
    assert answer["Success"] is True
    assert ending(find(rig, answer)) == ("OFFLINE", "not-connected", 9201)
    await device.connect(clean_start=False)
    await device.expect_silence()


@pytest.mark.parametrize("qos", ["0", "1"])
async def test_an_asynchronous_call_to_a_device_that_never_connected_ends_at_once(
    start_rig: RigStarter, qos: str
) -> None:
    rig = await start(start_rig)
    answer = await invoke(rig, "RunScene", SCENE, Qos=qos)
    assert answer["Success"] is True
    assert ending(find(rig, answer)) == ("OFFLINE", "never-activated", 9200)


async def test_at_qos_1_a_session_that_is_not_kept_gets_nothing(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    await (await rig.connected()).disconnect()
    answer = await invoke(rig, "RunScene", SCENE, Qos="1")
    assert ending(find(rig, answer)) == ("OFFLINE", "not-connected", 9201)


async def test_at_qos_1_a_call_is_sent_again_until_it_is_acknowledged(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(clean_start=False)
    await device.disconnect()
    answer = await invoke(rig, "RunScene", SCENE, Qos="1")
    for is_again in (False, True, True):
        await device.connect(clean_start=False)
        request = await device.expect(Publish)
        assert (request.qos, request.dup) == (1, is_again)
        assert json.loads(request.payload)["id"] == answer["Data"]["MessageId"]
        await device.close()
    await device.connect(clean_start=False)
    request = await device.expect(Publish)
    device.send(PubAck(request.packet_id))
    await device.expect_silence()
    await device.disconnect()
    await device.connect(clean_start=False)
    await device.expect_silence()
    assert (await rig.app().call_record(answer["RequestId"]))["verdict"] is None
    await answer_posted(device, request)
    await rig.at_devices.delivery.settle()
    record = await rig.app().call_record(answer["RequestId"])
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "answered")


@pytest.mark.parametrize("qos", ["0", "1"])
async def test_a_reply_after_days_ends_its_call(start_rig: RigStarter, qos: str) -> None:
    rig = await start(start_rig)
    device = await rig.connected(clean_start=False)
    answer = await invoke(rig, "RunScene", SCENE, Qos=qos)
    request = await device.expect(Publish)
    if request.qos:
        device.send(PubAck(request.packet_id))
    await device.disconnect()
    rig.clock.advance(6 * DAY_S)
    await device.connect(clean_start=False)
    await answer_posted(device, request)
    await rig.at_devices.delivery.settle()
    found = find(rig, answer)
    assert ending(found) == ("SUCCESS", "answered", 200)
    assert found.timeline[-1].monotonic_s - found.timeline[0].monotonic_s == pytest.approx(6 * DAY_S)


async def test_a_second_reply_changes_nothing_and_is_evidence(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    await answer_posted(device, request, data={"Accepted": 1})
    await answer_posted(device, request, 400)
    found = find(rig, answer)
    assert ending(found) == ("SUCCESS", "answered", 200)
    assert [evidence.reason for evidence in found.evidence] == ["duplicate"]


async def test_a_reply_after_the_call_was_given_up_is_evidence(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected(clean_start=False)
    answer = await invoke(rig, "RunScene", SCENE, Qos="1")
    request = await device.expect(Publish)
    # A clean start drops what waited, this one among it.
    await device.disconnect()
    await device.connect()
    found = find(rig, answer)
    while not found.is_ended:
        # Another node has the time to write an answer that it may have.
        rig.clock.advance(ANSWER_WRITTEN_S_MAX)
        await rig.settle()
    assert ending(found) == ("EXPIRED", "written-no-acknowledgement", 9201)
    await answer_posted(device, request)
    assert ending(found) == ("EXPIRED", "written-no-acknowledgement", 9201)
    assert [evidence.reason for evidence in found.evidence] == ["late"]


async def test_a_reply_on_the_topic_of_another_service_ends_nothing(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    topic = device.topic("thing/service/Blink_reply")
    await device.answer(request, reply(request), topic=topic, qos=1)
    found = find(rig, answer)
    assert not found.is_ended
    (evidence,) = found.evidence
    assert (evidence.reason, evidence.topic) == ("wrong-topic", topic)
    await answer_posted(device, request)
    assert ending(found) == ("SUCCESS", "answered", 200)


async def test_a_reply_of_another_device_ends_nothing(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device, other = await rig.connected(), await rig.connected(SECOND_LAMP)
    answer = await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    await other.answer(request, reply(request), topic=other.topic("thing/service/RunScene_reply"), qos=1)
    await other.expect_silence()
    assert not find(rig, answer).is_ended


MALFORMED = ("FAILED", "answer-malformed", 6207)


@pytest.mark.parametrize("payload", [b"done", b'{"id":"%s"}', b'{"id":"x","code":"fine"}'])
async def test_a_malformed_reply_fails_its_call(start_rig: RigStarter, payload: bytes) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await invoke(rig, "RunScene", SCENE)
    request = await device.expect(Publish)
    payload = payload.replace(b"%s", answer["Data"]["MessageId"].encode())
    await device.answer(request, payload, topic=f"{request.topic}_reply", qos=1)
    await rig.at_devices.delivery.stop()
    found = find(rig, answer)
    assert (ending(found), found.answer_payload) == (MALFORMED, payload)
    await answer_posted(device, request)
    assert (ending(found), list(found.reasons())) == (MALFORMED, ["duplicate"])


async def test_a_malformed_reply_that_two_calls_may_wait_for_is_evidence_with_both(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answers = [await invoke(rig, "RunScene", SCENE) for _ in range(2)]
    requests = [await device.expect(Publish) for _ in range(2)]
    await device.answer(requests[0], b"done", topic=f"{requests[0].topic}_reply", qos=1)
    await rig.at_devices.delivery.stop()
    for answer, request in zip(answers, requests, strict=True):
        record = await rig.app().call_record(answer["Data"]["MessageId"])
        assert (record["request_id"], record["verdict"]) == (answer["RequestId"], None)
        assert record["evidence"][0]["reason"] == "malformed"
        await answer_posted(device, request)
        assert find(rig, answer).verdict is Verdict.SUCCESS


async def test_a_malformed_reply_fails_its_property_set(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await call(rig, "SetDeviceProperty", Items='{"PowerSwitch":1}', **names(LAMP))
    request = await device.expect(Publish)
    await device.answer(request, b"done", topic=f"{request.topic}_reply", qos=1)
    await rig.at_devices.delivery.stop()
    assert ending(find(rig, answer)) == MALFORMED


async def test_a_call_is_shown_by_the_message_id_its_app_has(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    invoking = begin_invoke(rig, "Blink", BLINK)
    await answer_with(device, data={"Executed": 3, "FinishedAt": "1700000003000"})
    posted = await invoke(rig, "RunScene", SCENE)
    await answer_posted(device, await device.expect(Publish))
    for answer in (await invoking, posted):
        record = await rig.app().call_record(answer["Data"]["MessageId"])
        assert (record["request_id"], record["verdict"]) == (answer["RequestId"], "SUCCESS")
        stored = await rig.server.store.find_call("1001", answer["Data"]["MessageId"])
        assert stored is not None
        assert stored.request_id == answer["RequestId"]


async def test_a_product_that_checks_nothing_is_called_asynchronously(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    await rig.server.store.add_product(replace(a_product(FREE_LAMP.product_key), validate_type=2))
    await rig.server.store.add_devices([a_device(FREE_LAMP)])
    await publish(rig, FREE_LAMP.product_key, read_sample("lamp").modules[0])
    device = await rig.connected(FREE_LAMP)
    for identifier, arguments in (("Blink", {"Times": "many"}), ("Whatever", {"a": [1]})):
        answer = await invoke(rig, identifier, arguments, FREE_LAMP)
        assert answer["Data"].keys() == {"MessageId"}
        request = await device.expect(Publish)
        assert request.topic == device.topic(f"thing/service/{identifier}")
        assert json.loads(request.payload)["params"] == arguments
        await answer_posted(device, request)
        assert ending(find(rig, answer)) == ("SUCCESS", "answered", 200)


# --- property sets, and several devices


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_property_set_is_delivered_and_its_reply_recorded(start_rig: RigStarter, qos: int) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    items = {"PowerSwitch": 0, "testFb:Level": 2.5}
    answer = await call(rig, "SetDeviceProperty", Items=json.dumps(items), Qos=str(qos), **names(LAMP))
    message_id = answer["Data"]["MessageId"]
    assert answer == {"RequestId": answer["RequestId"], "Success": True, "Data": {"MessageId": message_id}}
    request = await device.expect(Publish)
    assert (request.topic, request.qos) == (device.topic("thing/service/property/set"), qos)
    assert json.loads(request.payload) == {
        "id": message_id,
        "version": "1.0",
        "method": "thing.service.property.set",
        "params": items,
    }
    if qos:
        device.send(PubAck(request.packet_id))
    await answer_posted(device, request)
    assert ending(find(rig, answer)) == ("SUCCESS", "answered", 200)
    assert await rig.server.store.list_present_properties(LAMP) == []


@pytest.mark.parametrize(
    ("items", "code", "said"),
    [
        ('{"Nothing":1}', "iot.device.SetDevicePropertyFailed", "property not found"),
        ('{"MainsVoltage":1.0}', "iot.device.SetDevicePropertyFailed", "MainsVoltage"),
        ('{"Brightness":101}', "iot.device.SetDevicePropertyFailed", "Brightness"),
        ("[]", "iot.check.InvalidFormattedParameter", "The args parameter format is invalid."),
    ],
)
async def test_a_property_set_that_does_not_fit_is_refused(
    start_rig: RigStarter, items: str, code: str, said: str
) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    answer = await call(rig, "SetDeviceProperty", Items=items, **names(LAMP))
    assert refusal(answer) == code
    assert said in answer["ErrorMessage"]
    await device.expect_silence()


@pytest.mark.parametrize("identifier", ["RunScene", "Blink"])
async def test_a_service_of_three_devices_is_asynchronous_and_each_has_a_record(
    start_rig: RigStarter, identifier: str
) -> None:
    rig = await start(start_rig)
    await rig.server.store.add_devices([a_device(THIRD_LAMP)])
    keys = (LAMP, SECOND_LAMP, THIRD_LAMP)
    devices = [await rig.connected(key) for key in keys]
    await devices[2].disconnect()
    arguments = BLINK if identifier == "Blink" else SCENE
    answer = await call(
        rig,
        "InvokeThingsService",
        ProductKey=PRODUCT_KEY,
        Identifier=identifier,
        Args=json.dumps(arguments),
        **{f"DeviceName.{number}": key.device_name for number, key in enumerate(keys, 1)},
    )
    assert answer == {"RequestId": answer["RequestId"], "Success": True}
    for device in devices[:2]:
        request = await device.expect(Publish)
        assert request.topic == device.topic(f"thing/service/{identifier}")
        await answer_posted(device, request)
    records = {each.key: ending(each) for each in rig.calls()}
    assert records == {
        LAMP: ("SUCCESS", "answered", 200),
        SECOND_LAMP: ("SUCCESS", "answered", 200),
        THIRD_LAMP: ("OFFLINE", "not-connected", 9201),
    }
    assert len({each.alink_id for each in rig.calls()}) == 3


async def test_one_unknown_device_among_several_stops_them_all(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    device = await rig.connected()
    given = {"DeviceName.1": "lamp-01", "DeviceName.2": "nobody"}
    answer = await call(rig, "InvokeThingsService", ProductKey=PRODUCT_KEY, Identifier="SelfTest", Args="{}", **given)
    assert refusal(answer) == "iot.device.NotExistedDevice"
    await device.expect_silence()


# --- the samples of the reference


def read_tree(element: ElementTree.Element) -> Any:
    return {child.tag: read_tree(child) for child in element} or element.text


def read_answer(kind: str, body: bytes) -> Any:
    """An answer as a structure, with the name of its root in XML."""
    if kind == "json":
        return json.loads(body)
    root = ElementTree.fromstring(body)
    return {root.tag: read_tree(root)}


def without_ids(structure: Any) -> Any:
    """A structure with the type alone of what is another for every call."""
    if not isinstance(structure, dict):
        return structure
    return {
        name: type(value) if name in ("RequestId", "MessageId") else without_ids(value)
        for name, value in structure.items()
    }


@pytest.mark.parametrize("kind", ["json", "xml"])
@pytest.mark.parametrize("name", ["rrpc", "invoke-thing-service"])
async def test_the_samples_of_the_reference_come_true(start_rig: RigStarter, name: str, kind: str) -> None:
    parameters = json.loads((SEEDS / f"{name}.request.json").read_text())
    sample = read_answer(kind, (SEEDS / f"{name}.{kind}").read_bytes())
    key = DeviceKey(parameters["ProductKey"], parameters["DeviceName"])
    rig = await start_rig(profile="documented")
    await rig.server.store.add_product(a_product(key.product_key))
    await rig.server.store.add_devices([a_device(key)])
    called = service("service1", parameter("param1", {"type": "int"}))
    await publish(rig, key.product_key, read_module(document(services=[called])))
    device = await rig.connected(key)
    calling = asyncio.ensure_future(rig.app().call(**{"Format": kind.upper(), **named(parameters)}))
    expected = json.loads((SEEDS / f"{name}.json").read_text())
    if name == "rrpc":
        request = await device.answer_call(base64.b64decode(expected["PayloadBase64Byte"]))
        assert request.payload == b"this is an example"
    else:
        request = await device.answer_call(expected["Data"]["Result"].encode())
        assert json.loads(request.payload)["params"] == {"param1": 1}
    response = await calling
    assert response.status == 200
    answer = read_answer(kind, response.body)
    assert without_ids(answer) == without_ids(sample)


def named(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a sample with the action under the name that the application's side has for it."""
    others = {name: value for name, value in parameters.items() if name != "Action"}
    return {"action": parameters["Action"], **others}

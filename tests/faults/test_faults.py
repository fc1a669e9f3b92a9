"""Each fault, whole: planted over HTTP, met by a call on real sockets, and said in the call's timeline."""

import asyncio
import base64
import json
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from linkstead.faults.rules import AFTER_BYTES_MAX
from linkstead.mqtt.codes import PacketType
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    MQTT_5,
    ConnAck,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    encode,
)
from linkstead.mqtt.websocket import HANDSHAKE_BYTES_MAX
from linkstead.tsl import put_module
from tests.faults.carriers import BINARY_MESSAGE, WebSocketDevice
from tests.gateways import PROBE, add_gateways, gateway_with
from tests.mqtt.test_websocket import frame, handshake
from tests.rig import LAMP, OTHER_KEY, PRODUCT_KEY, RAM_KEY, SECOND_LAMP, Certificate, Rig, RigStarter, device_secret
from tests.tsl.documents import read_sample
from tests.wire import DeviceClient, Response, answer_topic, fetch, message_id, stages, until

pytestmark = pytest.mark.asyncio

PING, PONG = 0x9, 0xA
"""Of WebSocket. Source: RFC 6455 section 5.5."""

SILENCE_S = 0.05
"""So long nothing is read where nothing may come."""

on_every_carrier = pytest.mark.parametrize(
    "carrier", ["mqtt", "websocket", pytest.param("websocket-tls", marks=pytest.mark.long)]
)
"""What happens on the wire is the same whatever carries MQTT."""


@pytest.fixture
def carrier() -> str:
    """How devices come in, where a test does not say."""
    return "mqtt"


@pytest_asyncio.fixture
async def dev(start_rig: RigStarter, carrier: str, certificate: Certificate) -> Rig:
    """A development server whose lamps have a thing model."""
    is_secure = carrier == "websocket-tls"
    own = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    tls: dict[str, Any] = own if is_secure else {}
    rig = await start_rig(is_production=False, **tls)

    def make_websocket(*arguments: Any) -> WebSocketDevice:
        device = WebSocketDevice(*arguments)
        device.trust = certificate.trust if is_secure else None
        return device

    if carrier != "mqtt":
        rig.make_device = make_websocket
    await rig.server.models.edit_draft(PRODUCT_KEY, partial(put_module, module=read_sample("lamp").modules[0]))
    await rig.server.models.publish_draft(PRODUCT_KEY, "", "", 1)
    return rig


async def ask(rig: Rig, method: str, rest: str = "", body: object = None, key: Any = None) -> Response:
    app = rig.app(key) if key is not None else rig.app()
    data = json.dumps(body).encode() if body is not None else b""
    return await fetch(rig.http, method, f"/_linkstead/faults{rest}", app.basic, data)


async def plant(rig: Rig, kind: str, **fields: Any) -> int:
    response = await ask(rig, "POST", body={"kind": kind, **fields})
    assert response.status == 201, response
    number: int = response.json()["number"]
    return number


def begin(rig: Rig, **others: str) -> "asyncio.Task[dict[str, Any]]":
    return asyncio.ensure_future(rig.app().rrpc(LAMP, **others))


async def end(rig: Rig, call: "asyncio.Task[dict[str, Any]]", verdict: str, *planted: str) -> dict[str, Any]:
    """The call's record, after its end."""
    answer = await call
    assert answer["RrpcCode"] == verdict
    record = await rig.app().call_record(answer["MessageId"])
    assert [stage for stage in stages(record) if stage.startswith("planted-")] == [
        f"planted-{kind}" for kind in planted
    ]
    return record


async def test_a_server_that_serves_has_no_faults(rig: Rig) -> None:
    assert rig.server.faults is None
    for method in ("GET", "POST", "DELETE"):
        response = await ask(rig, method, body={"kind": "cut"})
        assert (response.status, response.json()["error"]) == (404, "faults: only `linkstead dev` has them")


async def test_faults_are_planted_listed_and_removed(dev: Rig) -> None:
    first = await plant(dev, "drop-answer", device_name="lamp-01", nth=2)
    second = await plant(dev, "delay-request", delay_ms=5)
    listed = (await ask(dev, "GET")).json()["faults"]
    assert listed == [
        {"number": first, "kind": "drop-answer", "device_name": "lamp-01", "nth": 2, "seen": 0, "acted": 0},
        {"number": second, "kind": "delay-request", "delay_ms": 5, "seen": 0, "acted": 0},
    ]
    assert (await ask(dev, "DELETE", f"/{first}")).json() == {"removed": 1}
    assert (await ask(dev, "DELETE", f"/{first}")).status == 404
    assert (await ask(dev, "DELETE")).json() == {"removed": 1}
    assert (await ask(dev, "GET")).json() == {"faults": []}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "nonsense"}, "kind must be one of delay-request, "),
        ({"kind": ["cut"]}, "kind must be one of delay-request, "),
        ({}, "kind must be one of delay-request, "),
        ({"kind": "cut", "colour": "red"}, "colour"),
        ({"kind": "cut", "nth": "two"}, "nth"),
        ({"kind": "cut", "nth": 0}, "nth"),
        ([], "object"),
    ],
)
async def test_a_fault_that_is_none_is_refused_by_name(dev: Rig, body: object, said: str) -> None:
    response = await ask(dev, "POST", body=body)
    assert response.status == 400
    assert said in response.json()["error"]


async def test_a_fault_that_is_no_json_is_refused(dev: Rig) -> None:
    for data in (b"", b"{", b"[" * 100_000):
        response = await fetch(dev.http, "POST", "/_linkstead/faults", dev.app().basic, data)
        assert response.status == 400, data[:10]
        assert response.json()["error"]


async def test_faults_need_a_key_and_are_its_account_s_own(dev: Rig) -> None:
    assert (await fetch(dev.http, "GET", "/_linkstead/faults")).status == 401
    number = await plant(dev, "drop-answer")
    assert (await ask(dev, "GET", key=OTHER_KEY)).json() == {"faults": []}
    assert (await ask(dev, "DELETE", f"/{number}", key=OTHER_KEY)).status == 404
    assert (await ask(dev, "GET", key=RAM_KEY)).status == 200
    assert (await ask(dev, "GET", "/one")).status == 404
    assert (await ask(dev, "PUT")).status == 405


@on_every_carrier
async def test_a_request_that_is_dropped_was_written_and_not_answered(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "drop-request", nth=2)
    first = begin(dev)
    await device.answer_call(b"pong")
    await end(dev, first, "SUCCESS")
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    await device.expect_silence()
    dev.clock.advance(5.0)
    record = await end(dev, call, "TIMEOUT", "drop-request")
    assert record["diagnosis"] == "written-no-answer"
    assert "written" in stages(record)


@on_every_carrier
async def test_a_request_comes_late(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "delay-request", delay_ms=3_000)
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(2.999)
    await device.expect_silence()
    dev.clock.advance(0.001)
    await device.answer_call(b"pong")
    record = await end(dev, call, "SUCCESS", "delay-request")
    assert record["timeline"][-1]["offset_ms"] == 3_000


@on_every_carrier
async def test_a_request_comes_twice(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "duplicate-request", times=1)
    call = begin(dev)
    request = await device.answer_call(b"pong")
    assert await device.expect_call() == request
    await device.answer(request, b"pong again")
    record = await end(dev, call, "SUCCESS", "duplicate-request")
    await device.expect_silence()
    record = await dev.app().call_record(record["message_id"])
    assert [evidence["reason"] for evidence in record["evidence"]] == ["duplicate"]


@on_every_carrier
async def test_requests_overtake_each_other(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "reorder-requests", times=1)
    first = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    second = begin(dev)
    requests = [await device.expect_call(), await device.expect_call()]
    assert message_id(requests[0].topic) > message_id(requests[1].topic)
    for request in requests:
        await device.answer(request, b"pong")
    await end(dev, first, "SUCCESS", "reorder-requests")
    await end(dev, second, "SUCCESS")


@on_every_carrier
async def test_a_request_that_nothing_overtakes_is_held_no_longer_than_asked_for(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "reorder-requests", delay_ms=100)
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    await device.expect_silence()
    dev.clock.advance(0.1)
    await device.answer_call(b"pong")
    await end(dev, call, "SUCCESS", "reorder-requests")


@on_every_carrier
async def test_an_answer_is_dropped(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "drop-answer", device_name=LAMP.device_name, times=1)
    call = begin(dev)
    await device.answer_call(b"pong")
    await device.expect_silence()
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "drop-answer")
    again = begin(dev)
    await device.answer_call(b"pong")
    await end(dev, again, "SUCCESS")


@on_every_carrier
async def test_an_answer_that_is_delayed_past_the_deadline_is_late(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "delay-answer", delay_ms=6_000)
    call = begin(dev)
    await device.answer_call(b"pong")
    await device.expect_silence()
    dev.clock.advance(5.0)
    record = await end(dev, call, "TIMEOUT", "delay-answer")
    dev.clock.advance(1.0)
    record = await dev.app().call_record(record["message_id"])
    assert (record["diagnosis"], record["late_by_ms"]) == ("answered-late", 1_000)


@on_every_carrier
async def test_an_answer_comes_twice(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "duplicate-answer")
    call = begin(dev)
    await device.answer_call(b"pong")
    record = await end(dev, call, "SUCCESS", "duplicate-answer")
    assert [evidence["reason"] for evidence in record["evidence"]] == ["duplicate"]


@on_every_carrier
async def test_answers_overtake_each_other(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "reorder-answers", times=1)
    first, second = begin(dev), begin(dev)
    await device.answer_call(b"one")
    await device.answer_call(b"two")
    planted = [stages(await dev.app().call_record((await call)["MessageId"])) for call in (first, second)]
    assert sum("planted-reorder-answers" in each for each in planted) == 1
    assert all("answered" in each for each in planted)


@on_every_carrier
async def test_an_answer_names_a_call_that_there_is_not(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "wrong-message-id")
    call = begin(dev)
    await device.answer_call(b"pong")
    await device.expect_silence()
    dev.clock.advance(5.0)
    record = await end(dev, call, "TIMEOUT", "wrong-message-id")
    assert record["diagnosis"] == "answered-wrong-message-id"


def names(**others: str) -> dict[str, str]:
    return {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name, **others}


@on_every_carrier
async def test_a_malformed_answer_fails_a_service(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "malformed-answer", target="Blink")
    arguments = json.dumps({"Times": 3, "IntervalSec": 0.5})
    call = asyncio.ensure_future(dev.app().call("InvokeThingService", **names(Identifier="Blink", Args=arguments)))
    request = await device.expect_call()
    await device.answer(request, b'{"id":"1","code":200,"data":{}}')
    assert not (await call).json()["Success"]
    record = await dev.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("FAILED", "answer-malformed")
    assert "planted-malformed-answer" in stages(record)


@on_every_carrier
@pytest.mark.parametrize("kind", ["drop-answer", "malformed-answer", "wrong-message-id"])
async def test_the_reply_to_an_asynchronous_service_is_faulty(dev: Rig, kind: str) -> None:
    device = await dev.connected()
    await plant(dev, kind, action="InvokeThingService")
    scene = json.dumps({"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]})
    answer = (await dev.app().call("InvokeThingService", **names(Identifier="RunScene", Args=scene))).json()
    assert answer["Success"], answer
    request = await device.expect(Publish)
    if request.qos:
        device.send(PubAck(request.packet_id))
    alink_id = json.loads(request.payload)["id"]
    reply = json.dumps({"id": alink_id, "code": 200, "data": {}}).encode()
    device.send(Publish(request.topic + "_reply", reply))
    await device.expect_silence()
    await dev.server.delivery.settle()
    record = await dev.app().call_record(answer["RequestId"])
    assert f"planted-{kind}" in stages(record)
    assert record["verdict"] == ("FAILED" if kind == "malformed-answer" else None)


@on_every_carrier
async def test_a_message_to_nobody_meets_no_fault(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "drop-request", action="Pub")
    topic = f"/{LAMP.product_key}/{LAMP.device_name}/user/get"
    content = base64.b64encode(b"hello").decode()
    answer = (
        await dev.app().call("Pub", ProductKey=PRODUCT_KEY, TopicFullName=topic, MessageContent=content, Qos="0")
    ).json()
    assert answer["Success"], answer
    await device.expect_silence()
    record = await dev.app().last_record()
    assert (record["verdict"], "planted-drop-request" in stages(record)) == ("OFFLINE", False)


@on_every_carrier
async def test_a_slow_reader_takes_the_message_in_parts(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "slow-reader", bytes_per_s=100, times=1)
    call = begin(dev, payload="x" * 100)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(1.0)
    record_before = dev.calls()[0]
    assert "written" not in [moment.stage for moment in record_before.timeline]
    dev.clock.advance(2.0)
    await device.answer_call(b"pong")
    await end(dev, call, "SUCCESS", "slow-reader")


@on_every_carrier
async def test_who_reads_nothing_was_written_nothing(dev: Rig) -> None:
    await dev.connected()
    number = await plant(dev, "slow-reader", at_once=True)
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    record = await end(dev, call, "HALFCONN")
    assert record["diagnosis"] == "write-failed"
    assert (await ask(dev, "GET")).json()["faults"][0]["acted"] == 1
    await ask(dev, "DELETE", f"/{number}")


@on_every_carrier
async def test_a_slow_reader_is_quick_again_when_the_fault_is_taken_away(dev: Rig) -> None:
    device = await dev.connected()
    number = await plant(dev, "slow-reader", at_once=True)
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    await ask(dev, "DELETE", f"/{number}")
    await device.answer_call(b"pong")
    await end(dev, call, "SUCCESS")


@on_every_carrier
@pytest.mark.parametrize(("clean", "verdict"), [(True, "OFFLINE"), (False, "HALFCONN")])
async def test_a_connection_is_cut_at_once(dev: Rig, clean: bool, verdict: str) -> None:
    device = await dev.connected()
    other = await dev.connected(SECOND_LAMP)
    await plant(dev, "cut", at_once=True, device_name=LAMP.device_name, clean=clean)
    await device.expect_closed()
    await until(lambda: dev.server.sessions.live_count == 1)
    assert (await dev.app().rrpc(LAMP))["RrpcCode"] == verdict
    await other.expect_silence()


@on_every_carrier
async def test_a_connection_is_cut_by_a_call(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "cut", nth=1)
    call = begin(dev)
    await device.expect_closed()
    await until(lambda: not dev.is_online)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "cut")


@on_every_carrier
async def test_a_connection_is_open_on_one_side_only(dev: Rig) -> None:
    await dev.connected()
    await plant(dev, "half-open", at_once=True)
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT")
    assert dev.is_online
    dev.clock.advance(90.0)
    await until(lambda: not dev.is_online)


@on_every_carrier
async def test_a_call_opens_a_connection_by_half(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "half-open")
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "half-open")
    # It comes back as devices do, over a new connection.
    await device.close()
    await device.connect()


@on_every_carrier
@pytest.mark.parametrize("level", [4, MQTT_5])
async def test_a_connect_is_refused_as_by_a_server_that_is_not_available(dev: Rig, level: int) -> None:
    device = dev.device()
    await plant(dev, "refuse-connect", device_name=LAMP.device_name, times=1)
    answer = await device.request_connect(level=level)
    assert answer == ConnAck(reason_code=0x88 if level == MQTT_5 else 3)
    await device.expect_closed()
    await device.connect(level=level)
    await dev.connected(SECOND_LAMP)


@on_every_carrier
async def test_a_call_is_throttled(dev: Rig) -> None:
    await dev.connected()
    await plant(dev, "throttle", device_name=LAMP.device_name, times=1)
    response = await dev.app().call("RRpc", **dev.app().rrpc_parameters(LAMP))
    assert response.json()["Code"] == "Throttling.User"
    record = await dev.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("REJECTED", "throttled")
    assert "planted-throttle" in stages(record)


@on_every_carrier
async def test_a_call_is_lost_by_the_server(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "unknown", nth=1)
    record = await end(dev, begin(dev), "UNKNOWN", "unknown")
    assert record["diagnosis"] == "node-lost"
    await device.expect_silence()


@on_every_carrier
async def test_a_connect_that_comes_byte_by_byte_is_understood(dev: Rig) -> None:
    device: DeviceClient = dev.device()
    await device.open()
    data = encode(device.connect_packet(), MQTT_3_1_1)
    for at in range(len(data)):
        device.send_bytes(data[at : at + 1])
        await asyncio.sleep(0)
    assert (await device.expect(ConnAck)).reason_code == 0
    await plant(dev, "drop-request")
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "drop-request")


@on_every_carrier
@pytest.mark.parametrize(("kind", "copies"), [("drop-request", 0), ("duplicate-request", 2)])
async def test_a_message_of_pub_meets_faults_of_requests(dev: Rig, kind: str, copies: int) -> None:
    device = await dev.connected()
    topic = f"/{LAMP.product_key}/{LAMP.device_name}/user/get"
    device.send(Subscribe(1, [Subscription(topic, 0)]))
    await device.expect(SubAck)
    await plant(dev, kind, action="Pub")
    content = base64.b64encode(b"hello").decode()
    await dev.app().call("Pub", ProductKey=PRODUCT_KEY, TopicFullName=topic, MessageContent=content, Qos="0")
    for _ in range(copies):
        assert (await device.expect(Publish)).payload == b"hello"
    await device.expect_silence()
    record = await dev.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "delivered")
    assert f"planted-{kind}" in stages(record)


async def test_only_calls_that_wait_are_lost_by_the_server(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "unknown")
    scene = json.dumps({"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]})
    answer = (await dev.app().call("InvokeThingService", **names(Identifier="RunScene", Args=scene))).json()
    assert answer["Success"], answer
    await device.expect(Publish)
    record = await dev.app().call_record(answer["RequestId"])
    assert "planted-unknown" not in stages(record)


async def test_a_device_behind_a_gateway_has_faults_of_its_own(dev: Rig) -> None:
    await add_gateways(dev)
    gateway = await gateway_with(dev)
    await plant(dev, "drop-answer", device_name=PROBE.device_name)
    call = asyncio.ensure_future(dev.app().rrpc(PROBE))
    request = await gateway.expect_call()
    await gateway.answer(request, b"pong")
    await gateway.expect_silence()
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "drop-answer")


async def test_over_tls_messages_are_looked_at(start_rig: RigStarter, certificate: Certificate) -> None:
    dev = await start_rig(is_production=False, tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    device = dev.device()
    await device.connect(tls=certificate.trust)
    await plant(dev, "duplicate-answer")
    call = begin(dev)
    await device.answer_call(b"pong")
    await end(dev, call, "SUCCESS", "duplicate-answer")


@on_every_carrier
async def test_only_as_much_of_a_message_comes_as_the_fault_says_before_the_cut(dev: Rig, carrier: str) -> None:
    device = await dev.connected()
    await plant(dev, "cut", after_bytes=12, times=1)
    call = begin(dev, payload="x" * 100)
    part = await device.reader.read()
    assert (part[0], len(part)) == (PacketType.PUBLISH << 4 if carrier == "mqtt" else BINARY_MESSAGE, 12)
    await device.close()
    await until(lambda: not dev.is_online)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "cut")
    await device.connect()
    again = begin(dev)
    await device.answer_call(b"pong")
    await end(dev, again, "SUCCESS")


@on_every_carrier
async def test_a_connection_that_is_cut_behind_a_message_has_brought_it(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "cut", after_bytes=AFTER_BYTES_MAX, times=1)
    call = begin(dev)
    await device.expect_call()
    await device.expect_closed()
    await until(lambda: not dev.is_online)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "cut")


@on_every_carrier
async def test_what_a_device_sends_over_a_connection_that_is_half_open_is_not_heard(dev: Rig) -> None:
    device = await dev.connected()
    await plant(dev, "half-open", at_once=True)
    device.send(PingReq())
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT")
    # Nothing was sent, and nobody has closed: there is neither a byte nor an end to read.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(device.reader.read(1), SILENCE_S)
    assert dev.is_online
    dev.clock.advance(90.0)
    await device.expect_closed()


async def websocket_to(dev: Rig) -> WebSocketDevice:
    device = WebSocketDevice(dev.mqtt, LAMP, device_secret(LAMP))
    dev.devices.append(device)
    await device.connect()
    return device


async def test_an_answer_in_pieces_is_one_whatever_comes_between_them(dev: Rig) -> None:
    device = await websocket_to(dev)
    await plant(dev, "duplicate-answer")
    call = begin(dev)
    request = await device.expect_call()
    answer = encode(Publish(answer_topic(request.topic), b"pong"), MQTT_3_1_1)
    device.writer.write(frame(answer[:7], is_last=False) + frame(b"are you there?", opcode=PING))
    device.writer.write(frame(b"", opcode=0, is_last=False) + frame(answer[7:], opcode=0))
    assert await device.reader.readexactly(16) == bytes([0x80 | PONG, 14]) + b"are you there?"
    record = await end(dev, call, "SUCCESS", "duplicate-answer")
    assert [evidence["reason"] for evidence in record["evidence"]] == ["duplicate"]
    await device.expect_silence()


async def test_what_was_held_comes_in_between_the_pieces_of_a_message(dev: Rig) -> None:
    device = await websocket_to(dev)
    await plant(dev, "delay-answer", delay_ms=1_000)
    call = begin(dev)
    await device.answer_call(b"pong")
    ping = encode(PingReq(), MQTT_3_1_1)
    device.writer.write(frame(ping, is_last=False))
    assert await device.receive() == PingResp()
    dev.clock.advance(1.0)
    await end(dev, call, "SUCCESS", "delay-answer")
    device.writer.write(frame(ping, opcode=0))
    assert await device.receive() == PingResp()


async def test_frames_that_come_byte_by_byte_are_understood(dev: Rig) -> None:
    await plant(dev, "drop-request")
    await plant(dev, "refuse-connect", device_name=SECOND_LAMP.device_name)
    device = WebSocketDevice(dev.mqtt, LAMP, device_secret(LAMP))
    await DeviceClient.open(device)
    data = handshake() + frame(encode(device.connect_packet(), MQTT_3_1_1)) + frame(encode(PingReq(), MQTT_3_1_1))
    for at in range(len(data)):
        device.writer.write(data[at : at + 1])
        await asyncio.sleep(0)
    await device.reader.readuntil(b"\r\n\r\n")
    assert (await device.expect(ConnAck)).reason_code == 0
    assert await device.receive() == PingResp()
    call = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    dev.clock.advance(5.0)
    await end(dev, call, "TIMEOUT", "drop-request")
    await device.close()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(b"text", opcode=1), id="text"),
        pytest.param(frame(b"\xc0\x00", is_masked=False), id="not masked"),
        pytest.param(frame(b"\xc0\x00", opcode=3), id="no such frame"),
        pytest.param(b"\x82\xff" + b"\xff" * 12, id="longer than any"),
        pytest.param(frame(b"\x30\xff\xff\xff\xff\xff"), id="no packet"),
        pytest.param(frame(b"\x10"), id="a second beginning of CONNECT"),
    ],
)
async def test_what_no_device_may_send_is_refused_as_without_faults(
    start_rig: RigStarter, dev: Rig, data: bytes
) -> None:
    await plant(dev, "drop-answer")
    ends = []
    for rig in (await start_rig(), dev):
        device = WebSocketDevice(rig.mqtt, LAMP, device_secret(LAMP))
        await device.connect()
        # What is behind it: where it was not refused, the end of a packet that has begun, and a packet that is none.
        device.writer.write(data + frame(b"\x00\xf0\xff\xff\xff\xff"))
        ends.append(await device.reader.read())
        await device.close()
    assert ends[0] == ends[1]


async def test_a_handshake_that_is_none_is_refused_as_without_faults(start_rig: RigStarter, dev: Rig) -> None:
    await plant(dev, "drop-answer")
    for request in (handshake(Sec_WebSocket_Protocol="soap"), b"GET " + b"x" * HANDSHAKE_BYTES_MAX):
        ends = []
        for rig in (await start_rig(), dev):
            device = DeviceClient(rig.mqtt, LAMP, device_secret(LAMP))
            await device.open()
            device.writer.write(request)
            ends.append(await device.reader.read())
            await device.close()
        assert ends[0] == ends[1] != b""


async def test_so_many_messages_are_held_and_more_pass_at_once(dev: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkstead.faults.wire.HELD_MAX", 1)
    device = await dev.connected()
    await plant(dev, "delay-request", delay_ms=1_000)
    held = begin(dev)
    await until(lambda: dev.server.router.pending_count)
    passed = begin(dev)
    await device.answer_call(b"pong")
    await end(dev, passed, "SUCCESS", "delay-request")
    dev.clock.advance(1.0)
    await device.answer_call(b"pong")
    await end(dev, held, "SUCCESS", "delay-request")

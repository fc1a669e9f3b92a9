"""Devices behind gateways, whole: from an application over HTTP to a sub-device on its gateway's connection."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from linkstead.alink.sub_devices import describe
from linkstead.alink.topics import alink
from linkstead.mqtt.packets import PubAck, Publish, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from linkstead.registry import DeviceKey
from linkstead.sessions import SUBSCRIPTIONS_MAX
from linkstead.uplink.gateways import LOGINS_MAX
from tests.gateways import (
    GATEWAY,
    PROBE,
    PROBE_PRODUCT_KEY,
    PROBES,
    SECOND_GATEWAY,
    SECOND_PROBE,
    GatewayClient,
    add_gateways,
    connected_gateway,
    gateway_with,
    signed,
)
from tests.rig import LAMP, Rig
from tests.test_services import answer_posted, answer_with, call, invoke, names, publish
from tests.tsl.documents import read_sample
from tests.wire import message_id, stages, until

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]


@pytest_asyncio.fixture
async def house(rig: Rig) -> Rig:
    """A server that knows gateways and probes."""
    await add_gateways(rig)
    return rig


async def _code(rig: Rig, key: DeviceKey = PROBE) -> str:
    code: str = (await rig.app().rrpc(key))["RrpcCode"]
    return code


async def _status(rig: Rig, key: DeviceKey = PROBE) -> str:
    status: str = (await call(rig, "GetDeviceStatus", **names(key)))["Data"]["Status"]
    return status


async def _answered(rig: Rig, gateway: GatewayClient, key: DeviceKey = PROBE, **others: str) -> Publish:
    """Have a sub-device called and answer it; the request as the gateway got it."""
    calling = asyncio.create_task(rig.app().rrpc(key, **others))
    request = await gateway.answer_call(b"pong")
    assert (await calling)["RrpcCode"] == "SUCCESS"
    return request


async def _subscribe(gateway: GatewayClient, *filters: str) -> list[int]:
    gateway.send(Subscribe(1, [Subscription(name) for name in filters]))
    return list((await gateway.expect(SubAck)).reason_codes)


# --- calls


async def test_a_call_reaches_a_sub_device_on_its_gateways_connection(house: Rig) -> None:
    gateway = await gateway_with(house)
    request = await _answered(house, gateway)
    assert request.topic == alink(PROBE, f"rrpc/request/{message_id(request.topic)}")
    record = await house.app().last_record()
    assert (record["device_name"], record["diagnosis"]) == (PROBE.device_name, "answered")
    assert {"routed", "written", "answered", "returned"} < set(stages(record))


@pytest.mark.parametrize("topic", ["/ask", f"/{PROBE.product_key}/{PROBE.device_name}/user/get", "/sys/a/b/c"])
async def test_a_call_on_a_custom_topic_is_answered_on_it(house: Rig, topic: str) -> None:
    gateway = await gateway_with(house, [PROBE, SECOND_PROBE])
    request = await _answered(house, gateway, SECOND_PROBE, Topic=topic)
    assert request.topic == f"/ext/rrpc/{message_id(request.topic)}{topic}"


@pytest.mark.parametrize(
    ("gateways_ext", "options", "is_ext"),
    [("1", "", True), ("0", "", False), ("0", "|ext=1|", True), ("1", "|ext=2|", False), ("1", "|lan=C|", True)],
)
async def test_a_synchronous_service_goes_on_the_carrier_of_the_login_or_else_of_the_gateway(
    house: Rig, gateways_ext: str, options: str, is_ext: bool
) -> None:
    await publish(house, PROBE_PRODUCT_KEY, read_sample("lamp").modules[0])
    gateway = await connected_gateway(house, options=f"ext={gateways_ext}")
    await gateway.add(PROBE)
    await gateway.log_in(PROBE, client_options=options)
    calling = asyncio.create_task(invoke(house, "Blink", {"Times": 3, "IntervalSec": 0.5}, PROBE))
    request = await answer_with(gateway, data={"Executed": 3, "FinishedAt": "1700000003000"})
    assert (await calling)["Success"] is True
    number = message_id(request.topic)
    wanted = f"/ext/rrpc/{number}{alink(PROBE, 'thing/service/Blink')}" if is_ext else ""
    assert request.topic == (wanted or alink(PROBE, f"rrpc/request/{number}"))


async def test_an_asynchronous_service_and_a_property_set_are_replied_to_in_the_sub_devices_name(house: Rig) -> None:
    await publish(house, PROBE_PRODUCT_KEY, read_sample("lamp").modules[0])
    gateway = await gateway_with(house)
    await invoke(house, "RunScene", {"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]}, PROBE)
    request = await gateway.expect(Publish)
    assert request.topic == alink(PROBE, "thing/service/RunScene")
    await answer_posted(gateway, request, data={"Accepted": 1})
    assert (await house.app().last_record())["diagnosis"] == "answered"
    await call(house, "SetDeviceProperty", Items='{"PowerSwitch":1}', **names(PROBE))
    request = await gateway.expect(Publish)
    assert request.topic == alink(PROBE, "thing/service/property/set")
    await answer_posted(gateway, request, data={})
    assert (await house.app().last_record())["diagnosis"] == "answered"


async def test_an_answer_in_the_name_of_another_sub_device_completes_no_call(house: Rig) -> None:
    gateway = await gateway_with(house, [PROBE, SECOND_PROBE], options="ext=3")
    calling = asyncio.create_task(house.app().rrpc(PROBE, Timeout="1000"))
    request = await gateway.expect_call()
    for other in (SECOND_PROBE.device_name, PROBES[2].device_name):
        gateway.send(Publish(request.topic.replace(PROBE.device_name, other).replace("request", "response"), b"no"))
    await gateway.expect_error(520, PROBES[2])
    await gateway.expect_silence()
    await gateway.answer(request, b"yes")
    answer = await calling
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "eWVz")
    record = await house.app().last_record()
    assert [each["reason"] for each in record["evidence"]] == ["other-device", "other-device"]


# --- being there


async def test_a_sub_device_is_online_as_long_as_it_is_logged_in(house: Rig) -> None:
    gateway = await connected_gateway(house)
    await gateway.add(PROBE)
    assert (await _code(house), await _status(house)) == ("OFFLINE", "UNACTIVE")
    await gateway.log_in(PROBE)
    await _answered(house, gateway)
    assert await _status(house) == "ONLINE"
    assert await gateway.code_of(gateway.session_topic("logout"), describe(PROBE)) == 200
    assert (await _code(house), await _status(house)) == ("OFFLINE", "OFFLINE")
    await gateway.expect_silence()


async def test_a_gateway_that_is_lost_leaves_its_sub_devices_half_connected_for_a_keep_alive(house: Rig) -> None:
    gateway = await gateway_with(house, [PROBE, SECOND_PROBE], keep_alive_s=60)
    gateway.reset()
    await until(lambda: not house.is_online)
    assert (await _code(house), await _code(house, SECOND_PROBE), await _status(house)) == (
        "HALFCONN",
        "HALFCONN",
        "OFFLINE",
    )
    house.clock.advance(59.9)
    assert await _code(house) == "HALFCONN"
    house.clock.advance(0.1)
    assert await _code(house) == "OFFLINE"


async def test_a_gateway_that_says_goodbye_takes_its_sub_devices_with_it(house: Rig) -> None:
    gateway = await gateway_with(house)
    await gateway.disconnect()
    assert await _code(house) == "OFFLINE"


async def test_a_gateway_that_falls_silent_takes_its_sub_devices_with_it(house: Rig) -> None:
    gateway = await gateway_with(house, keep_alive_s=60)
    house.clock.advance(90.0)
    await gateway.expect_closed()
    assert await _code(house) == "OFFLINE"


@pytest.mark.parametrize("is_gentle", [True, False])
async def test_after_a_gateway_is_back_its_sub_devices_have_to_log_in_again(house: Rig, is_gentle: bool) -> None:
    gateway = await gateway_with(house)
    if is_gentle:
        await gateway.disconnect()
    # Otherwise the new connection takes the place of the old one.
    newer = await connected_gateway(house)
    assert await _code(house) == "OFFLINE"
    await newer.log_in(PROBE)
    await _answered(house, newer)


async def test_who_logs_in_twice_stays_logged_in(house: Rig) -> None:
    gateway = await gateway_with(house)
    before = (await call(house, "GetDeviceStatus", **names(PROBE)))["Data"]
    house.clock.advance(5.0)
    await gateway.log_in(PROBE)
    assert (await call(house, "GetDeviceStatus", **names(PROBE)))["Data"] == before
    await _answered(house, gateway)


async def test_a_device_that_connects_itself_leaves_its_gateway_which_is_told(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=3")
    device = await house.connected(PROBE)
    await gateway.expect_error(427, PROBE)
    calling = asyncio.create_task(house.app().rrpc(PROBE))
    await device.answer_call(b"pong")
    assert (await calling)["RrpcCode"] == "SUCCESS"
    await gateway.log_in(PROBE)
    await device.expect_closed()
    await _answered(house, gateway)


async def test_a_sub_device_moves_to_the_gateway_that_shows_its_signature(house: Rig) -> None:
    first = await gateway_with(house, options="ext=3")
    second = await connected_gateway(house, SECOND_GATEWAY)
    assert await second.code_of(second.session_topic("login"), signed(PROBE)) == 6401
    await second.add(PROBE)
    await first.expect_error(6401, PROBE)
    assert await first.expect_request(first.topic("thing/topo/change")) == {"status": 1, "subList": [describe(PROBE)]}
    assert await _code(house) == "OFFLINE"
    assert await first.code_of(first.session_topic("login"), signed(PROBE)) == 6401
    await second.log_in(PROBE)
    await _answered(house, second)
    await first.expect_silence()


async def test_a_gateway_that_does_not_listen_is_told_of_no_errors(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=1")
    await house.connected(PROBE)
    gateway.send(Publish(alink(PROBE, "thing/event/property/post"), b"{}"))
    await gateway.expect_silence()


async def test_only_a_gateway_is_told_of_publishes_in_the_name_of_others(house: Rig) -> None:
    gateway = await connected_gateway(house, options="ext=3")
    gateway.send(Publish(alink(PROBE, "thing/event/property/post"), b"{}"))
    await gateway.expect_error(520, PROBE)
    device = await connected_gateway(house, LAMP, options="ext=3")
    device.send(Publish(alink(PROBE, "thing/event/property/post"), b"{}"))
    # What is told comes in its turn, so before the reply to what is asked next.
    assert await device.code_of(device.topic("thing/deviceinfo/get"), {}) == 200


async def test_a_gateway_listens_by_subscribing_too(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=0")
    assert await _subscribe(gateway, f"/ext/error/{GATEWAY.product_key}/{GATEWAY.device_name}") == [0]
    await house.connected(PROBE)
    await gateway.expect_error(427, PROBE)


# --- what operators do


async def test_a_disabled_sub_device_is_logged_out_and_its_gateway_told(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=3")
    await call(house, "DisableThing", **names(PROBE))
    await gateway.expect_error(522, PROBE)
    assert await gateway.expect_request(alink(PROBE, "thing/disable")) == {}
    assert await gateway.expect_request(gateway.topic("thing/topo/change")) == {
        "status": 8,
        "subList": [describe(PROBE)],
    }
    assert (await _code(house), await _status(house)) == ("OFFLINE", "DISABLE")
    assert await gateway.code_of(gateway.session_topic("login"), signed(PROBE)) == 522
    await call(house, "EnableThing", **names(PROBE))
    assert await gateway.expect_request(alink(PROBE, "thing/enable")) == {}
    assert (await gateway.expect_request(gateway.topic("thing/topo/change")))["status"] == 2
    await gateway.log_in(PROBE)
    await _answered(house, gateway)


async def test_a_deleted_sub_device_is_logged_out_and_its_gateway_told(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=3")
    await call(house, "DeleteDevice", **names(PROBE))
    await gateway.expect_error(521, PROBE)
    assert await gateway.expect_request(alink(PROBE, "thing/delete")) == {}
    assert (await gateway.expect_request(gateway.topic("thing/topo/change")))["status"] == 1
    assert await gateway.code_of(gateway.session_topic("login"), signed(PROBE)) == 6100
    assert (await gateway.ask(gateway.topic("thing/topo/get"), {}))["data"] == []


@pytest.mark.parametrize("action", ["DisableThing", "DeleteDevice"])
async def test_with_a_gateway_its_sub_devices_go(house: Rig, action: str) -> None:
    gateway = await gateway_with(house)
    await call(house, action, **names(GATEWAY))
    await gateway.expect_closed()
    assert await _code(house) == "OFFLINE"
    is_bound = (await call(house, "GetGatewayBySubDevice", **names(PROBE)))["Success"]
    assert is_bound is (action == "DisableThing")


async def test_a_relation_that_is_removed_ends_the_session(house: Rig) -> None:
    gateway = await gateway_with(house, options="ext=3")
    assert (await call(house, "RemoveThingTopo", **names(PROBE)))["Data"] is True
    await gateway.expect_error(6401, PROBE)
    assert (await gateway.expect_request(gateway.topic("thing/topo/change")))["status"] == 1
    assert await _code(house) == "OFFLINE"
    assert await gateway.code_of(gateway.session_topic("login"), signed(PROBE)) == 6401


async def test_a_gateway_that_is_asked_to_add_devices_answers_for_itself(house: Rig) -> None:
    gateway = await connected_gateway(house)
    listed = json.dumps([describe(PROBE), describe(SECOND_PROBE)])
    named = {"GwProductKey": GATEWAY.product_key, "GwDeviceName": GATEWAY.device_name}
    answer = await call(house, "NotifyAddThingTopo", DeviceListStr=listed, **named)
    request = await gateway.expect(Publish)
    assert request.topic == gateway.topic("thing/topo/add/notify")
    told = json.loads(request.payload)
    assert (told["id"], told["params"]) == (answer["Data"]["MessageId"], json.loads(listed))
    await answer_posted(gateway, request, data={})
    record = await house.app().last_record()
    assert (record["action"], record["verdict"], record["diagnosis"]) == ("NotifyAddThingTopo", "SUCCESS", "answered")
    await gateway.disconnect()
    assert (await call(house, "NotifyAddThingTopo", DeviceListStr=listed, **named))["Success"] is True
    record = await house.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("OFFLINE", "not-connected")


# --- several at once


async def test_a_batch_of_logins_is_all_or_nothing(house: Rig) -> None:
    gateway = await connected_gateway(house)
    await gateway.add(*PROBES[:4])
    batch = gateway.session_topic("batch_login")
    assert await gateway.code_of(batch, {"deviceList": [signed(key) for key in PROBES[:5]]}) == 6401
    wrong = [*(signed(key) for key in PROBES[:3]), signed(PROBES[3], sign="0" * 64)]
    assert await gateway.code_of(batch, {"deviceList": wrong}) == 6287
    assert await _code(house, PROBES[0]) == "OFFLINE"
    reply = await gateway.ask(batch, {"deviceList": [signed(key) for key in PROBES[:4]]})
    assert (reply["code"], reply["data"]) == (200, [describe(key) for key in PROBES[:4]])
    for key in PROBES[:4]:
        await _answered(house, gateway, key)
    batch_logout = gateway.session_topic("batch_logout")
    assert await gateway.code_of(batch_logout, [describe(key) for key in PROBES[:5]]) == 520
    await _answered(house, gateway, PROBES[0])
    assert await gateway.code_of(batch_logout, [describe(key) for key in PROBES[:4]]) == 200
    assert await _code(house, PROBES[0]) == "OFFLINE"


async def test_a_batch_has_its_bound(house: Rig) -> None:
    gateway = await connected_gateway(house)
    await gateway.add(PROBE)
    entries = [signed(PROBE)] * LOGINS_MAX
    batch = gateway.session_topic("batch_login")
    assert await gateway.code_of(batch, {"deviceList": entries}) == 200
    assert await gateway.code_of(batch, {"deviceList": [*entries, signed(PROBE)]}) == 460
    assert await gateway.code_of(batch, {"deviceList": []}) == 460


async def test_a_gateway_may_log_in_many_without_waiting(house: Rig) -> None:
    gateway = await connected_gateway(house)
    await gateway.add(PROBE)
    login = json.dumps({"id": "1", "params": signed(PROBE)}).encode()
    gateway.send(*[Publish(gateway.session_topic("login"), login)] * 300)
    for _ in range(300):
        assert json.loads((await gateway.expect(Publish)).payload)["code"] == 200


# --- messages that wait, and subscriptions


async def _publish_to(rig: Rig, key: DeviceKey, content: str, qos: int) -> dict[str, Any]:
    topic = f"/{key.product_key}/{key.device_name}/user/get"
    return await call(rig, "Pub", ProductKey=key.product_key, TopicFullName=topic, MessageContent=content, Qos=str(qos))


async def test_a_message_on_a_custom_topic_reaches_the_sub_device_that_subscribed(house: Rig) -> None:
    gateway = await gateway_with(house, [PROBE, SECOND_PROBE])
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/get"
    others = f"/{PROBES[2].product_key}/{PROBES[2].device_name}/user/get"
    assert await _subscribe(gateway, topic, others) == [0, 0x80]
    await _publish_to(house, PROBE, "aGVsbG8=", 0)
    assert await gateway.expect(Publish) == Publish(topic, b"hello")
    await _publish_to(house, SECOND_PROBE, "aGVsbG8=", 0)
    await gateway.expect_silence()
    gateway.send(Unsubscribe(2, [topic]))
    await gateway.expect(UnsubAck)
    await _publish_to(house, PROBE, "aGVsbG8=", 0)
    await gateway.expect_silence()


async def test_the_topic_classes_of_a_sub_devices_own_product_count(house: Rig) -> None:
    gateway = await gateway_with(house)
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/extra"
    assert await _subscribe(gateway, topic, gateway.custom_topic("user/extra")) == [0x80, 0x80]
    named = {"ProductKey": PROBE.product_key, "TopicShortName": "extra", "Operation": "ALL"}
    assert (await call(house, "CreateProductTopic", **named))["Success"] is True
    assert await _subscribe(gateway, topic, gateway.custom_topic("user/extra")) == [0, 0x80]
    # Who may do both hears what it says.
    gateway.send(Publish(topic, b"hello"))
    assert await gateway.expect(Publish) == Publish(topic, b"hello")


async def test_each_sub_device_has_its_own_number_of_subscriptions(house: Rig) -> None:
    gateway = await gateway_with(house, [PROBE, SECOND_PROBE])
    for number in range(SUBSCRIPTIONS_MAX):
        assert await _subscribe(gateway, alink(PROBE, f"x/{number}")) == [0]
    assert await _subscribe(gateway, alink(PROBE, "x/more")) == [0x80]
    assert await _subscribe(gateway, alink(SECOND_PROBE, "x/more")) == [0]
    assert await _subscribe(gateway, gateway.topic("x/more")) == [0]


async def test_a_message_waits_for_a_sub_device_whose_session_is_kept(house: Rig) -> None:
    gateway = await connected_gateway(house)
    await gateway.add(PROBE)
    await gateway.log_in(PROBE, cleanSession="false")
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/get"
    await _subscribe(gateway, topic)
    assert await gateway.code_of(gateway.session_topic("logout"), describe(PROBE)) == 200
    answer = await _publish_to(house, PROBE, "aGVsbG8=", 1)
    assert (await house.app().call_record(answer["MessageId"]))["verdict"] is None
    await gateway.expect_silence()
    await gateway.log_in(PROBE, cleanSession="false")
    message = await gateway.expect(Publish)
    assert (message.topic, message.payload, message.qos, message.dup) == (topic, b"hello", 1, False)
    # It is not acknowledged, so it comes again, on whatever connection.
    await gateway.disconnect()
    await gateway.connect()
    await gateway.log_in(PROBE, cleanSession=False)
    message = await gateway.expect(Publish)
    assert (message.topic, message.dup) == (topic, True)
    gateway.send(PubAck(message.packet_id))
    await gateway.expect_silence()
    assert (await house.app().call_record(answer["MessageId"]))["diagnosis"] == "delivered"


async def test_a_session_that_is_not_kept_is_forgotten(house: Rig) -> None:
    gateway = await gateway_with(house)
    topic = f"/{PROBE.product_key}/{PROBE.device_name}/user/get"
    await _subscribe(gateway, topic)
    assert await gateway.code_of(gateway.session_topic("logout"), describe(PROBE)) == 200
    await gateway.log_in(PROBE)
    answer = await _publish_to(house, PROBE, "aGVsbG8=", 1)
    assert (await house.app().call_record(answer["MessageId"]))["diagnosis"] == "not-subscribed"


async def test_messages_of_several_sub_devices_share_the_window_of_their_gateway(house: Rig) -> None:
    gateway = await gateway_with(house, PROBES[:3])
    for key in PROBES[:3]:
        await _subscribe(gateway, f"/{key.product_key}/{key.device_name}/user/get")
    for key in PROBES[:3]:
        for _ in range(50):
            await _publish_to(house, key, "aGVsbG8=", 1)
    got = [await gateway.expect(Publish) for _ in range(100)]
    await gateway.expect_silence()
    assert len({message.packet_id for message in got}) == 100
    for message in got:
        gateway.send(PubAck(message.packet_id))
    rest = [await gateway.expect(Publish) for _ in range(50)]
    assert {message.topic.split("/")[2] for message in rest} == {PROBES[2].device_name}
    await gateway.expect_silence()


# --- what sub-devices report


async def test_what_a_sub_device_posts_is_its_own(house: Rig) -> None:
    await publish(house, PROBE_PRODUCT_KEY, read_sample("lamp").modules[0])
    gateway = await gateway_with(house)
    assert await gateway.code_of(alink(PROBE, "thing/event/property/post"), {"Brightness": 42}) == 200
    pack = {"subDevices": [{"identity": describe(PROBE), "properties": {"PowerSwitch": 1}}]}
    assert await gateway.code_of(gateway.topic("thing/event/property/pack/post"), pack) == 200
    points = {point.identifier: point.value for point in await house.at_devices.store.list_present_properties(PROBE)}
    assert points == {"Brightness": "42", "PowerSwitch": "1"}
    history = [{"identity": describe(SECOND_PROBE), "properties": [{"Brightness": {"value": 1, "time": 1}}]}]
    assert await gateway.code_of(gateway.topic("thing/event/property/history/post"), history) == 6401
    assert await house.at_devices.store.list_present_properties(SECOND_PROBE) == []


async def test_who_is_no_gateway_has_no_sub_devices(house: Rig) -> None:
    device = await connected_gateway(house, LAMP)
    assert await device.code_of(device.topic("thing/topo/add"), [signed(PROBE)]) == 403
    assert await device.code_of(device.session_topic("login"), signed(PROBE)) == 403

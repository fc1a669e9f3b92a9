"""Messages as the documentation shows them. Source: `device-protocol.md` 8.3 and 8.4."""

import json
from typing import Any

import msgspec

from linkstead.registry import DeviceKey, Origin
from linkstead.subscription import messages
from linkstead.subscription.messages import FailedValue, Message, TimedValue, Told, ToldEvent

ORIGIN = Origin(DeviceKey("a1Lnk5tEad0", "lamp-01"), "1001", "4z819VQHk6VSLmmBJfrf00107e")
GATEWAY = Origin(DeviceKey("a1Gateway00", "gw-01"), "1001", "dfaejVQHk6VSLmmBJfrf00107e")
NOW_MS = 1_700_000_000_000
TOLD = Told(ORIGIN, "CustomCategory", "101", NOW_MS + 123)

STATUS_MS = 1_700_000_000_205
WENT_MS = 1_700_000_400_000


def check(message: Message, topic: str, documented: str) -> None:
    assert message.topic == topic
    assert json.loads(message.payload) == json.loads(documented)


def test_a_device_came_online() -> None:
    check(
        messages.make_status(ORIGIN, is_online=True, at_ms=STATUS_MS, active_ms=STATUS_MS - 10, client_ip="192.0.2.1"),
        "/as/mqtt/status/a1Lnk5tEad0/lamp-01",
        '{"status":"online","iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0","deviceName":"lamp-01",'
        '"time":"2023-11-15 06:13:20.205","utcTime":"2023-11-14T22:13:20.205Z","lastTime":"2023-11-15 06:13:20.195",'
        '"utcLastTime":"2023-11-14T22:13:20.195Z","clientIp":"192.0.2.1"}',
    )


def test_a_device_went_offline() -> None:
    check(
        messages.make_status(
            ORIGIN,
            is_online=False,
            at_ms=WENT_MS,
            active_ms=WENT_MS - 2_000,
            client_ip="192.0.2.1",
            offline_reason_code=427,
        ),
        "/as/mqtt/status/a1Lnk5tEad0/lamp-01",
        '{"status":"offline","iotId":"4z819VQHk6VSLmmBJfrf00107e","offlineReasonCode":427,"productKey":"a1Lnk5tEad0",'
        '"deviceName":"lamp-01","time":"2023-11-15 06:20:00.000","utcTime":"2023-11-14T22:20:00.000Z",'
        '"lastTime":"2023-11-15 06:19:58.000","utcLastTime":"2023-11-14T22:19:58.000Z","clientIp":"192.0.2.1"}',
    )


PROPERTIES = (
    '{"iotId":"4z819VQHk6VSLmmBJfrf00107e","requestId":"101","productKey":"a1Lnk5tEad0","deviceName":"lamp-01",'
    '"deviceType":"CustomCategory","gmtCreate":1700000000123,"items":{"PowerSwitch":{"value":1,"time":1700000000000},'
    '"Brightness":{"value":42,"time":1700000000123}},"checkFailedData":{"MainsVoltage":{"value":"high",'
    '"time":1700000000123,"code":6322,"message":"type error"}}}'
)
ITEMS = {"PowerSwitch": TimedValue(1, NOW_MS), "Brightness": TimedValue(42, NOW_MS + 123)}
FAILED = {"MainsVoltage": FailedValue("high", NOW_MS + 123, 6322, "type error")}


def test_values_of_properties() -> None:
    topic = "/a1Lnk5tEad0/lamp-01/thing/event/property/post"
    check(messages.make_properties(TOLD, ITEMS, FAILED), topic, PROPERTIES)


def test_values_of_properties_of_earlier() -> None:
    topic = "/a1Lnk5tEad0/lamp-01/thing/event/property/history/post"
    check(messages.make_properties(TOLD, ITEMS, FAILED, is_history=True), topic, PROPERTIES)


EVENT = (
    '{"identifier":"LampFault","name":"Lamp fault","type":"error","iotId":"4z819VQHk6VSLmmBJfrf00107e",'
    '"requestId":"101","productKey":"a1Lnk5tEad0","deviceName":"lamp-01","deviceType":"CustomCategory",'
    '"gmtCreate":1700000000123,"value":{"FaultCode":1,"Temperature":92.5},"checkFailedData":{},"time":1700000000000}'
)
FAULT = ToldEvent("LampFault", "Lamp fault", "error", {"FaultCode": 1, "Temperature": msgspec.Raw(b"92.5")}, {}, NOW_MS)


def test_an_event() -> None:
    check(messages.make_event(TOLD, FAULT), "/a1Lnk5tEad0/lamp-01/thing/event/LampFault/post", EVENT)


def test_an_event_of_earlier() -> None:
    topic = "/a1Lnk5tEad0/lamp-01/thing/event/LampFault/history/post"
    check(messages.make_event(TOLD, FAULT, is_history=True), topic, EVENT)


def test_numbers_stand_as_the_device_wrote_them() -> None:
    message = messages.make_properties(TOLD, {"MainsVoltage": TimedValue(msgspec.Raw(b"2.300e2"), NOW_MS)}, {})
    assert b'"value":2.300e2,' in message.payload


def test_batches() -> None:
    head = (
        '{"productKey":"a1Lnk5tEad0","deviceName":"lamp-01","iotId":"4z819VQHk6VSLmmBJfrf00107e","requestId":"101",'
        '"gmtCreate":1700000000123,"payload":'
    )
    values = {"Brightness": [TimedValue(10, NOW_MS), TimedValue(20, NOW_MS + 60_000)]}
    check(
        messages.make_property_batch(TOLD, values),
        "/a1Lnk5tEad0/lamp-01/thing/property/batch/post",
        head + '{"Brightness":[{"value":10,"time":1700000000000},{"value":20,"time":1700000060000}]}}',
    )
    check(
        messages.make_event_batch(TOLD, {"LampFault": [TimedValue({"FaultCode": 1}, NOW_MS)]}),
        "/a1Lnk5tEad0/lamp-01/thing/event/batch/post",
        head + '{"LampFault":[{"value":{"FaultCode":1},"time":1700000000000}]}}',
    )


def make_result(**others: Any) -> Message:
    usual: dict[str, Any] = {
        "created_ms": 1_700_000_001_000,
        "request_id": "1735689603",
        "code": 200,
        "message": "success",
        "reply_topic": "/sys/a1Lnk5tEad0/lamp-01/thing/service/RunScene_reply",
        "data": {"Accepted": 1, "Duration": msgspec.Raw(b"12.5")},
        "failed": {},
    }
    return messages.make_result(ORIGIN, **{**usual, **others})


def test_the_result_of_a_call() -> None:
    check(
        make_result(),
        "/a1Lnk5tEad0/lamp-01/thing/downlink/reply/message",
        '{"gmtCreate":1700000001000,"iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0",'
        '"deviceName":"lamp-01","requestId":"1735689603","code":200,"message":"success",'
        '"topic":"/sys/a1Lnk5tEad0/lamp-01/thing/service/RunScene_reply","data":{"Accepted":1,"Duration":12.5},'
        '"checkFailedData":{}}',
    )


def test_an_output_that_does_not_fit_has_no_time() -> None:
    message = make_result(failed={"Accepted": FailedValue("yes", None, 6306, "type error")})
    failed = json.loads(message.payload)["checkFailedData"]
    assert failed == {"Accepted": {"value": "yes", "code": 6306, "message": "type error"}}


def test_the_secret_of_a_device_is_told_only_when_it_was_created() -> None:
    topic = "/a1Lnk5tEad0/lamp-01/thing/lifecycle"
    rest = (
        '"iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0","deviceName":"lamp-01",'
        '"messageCreateTime":1700000000000}'
    )
    for action in (messages.DELETE, messages.ENABLE, messages.DISABLE):
        message = messages.make_lifecycle(ORIGIN, action, created_ms=NOW_MS, device_secret="secret")
        check(message, topic, f'{{"action":"{action}",{rest}')
    created = messages.make_lifecycle(ORIGIN, messages.CREATE, created_ms=NOW_MS, device_secret="secret")
    check(created, topic, f'{{"action":"create","deviceSecret":"secret",{rest}')


def test_a_topology() -> None:
    check(
        messages.make_topology(GATEWAY, messages.CREATE, [ORIGIN], created_ms=NOW_MS),
        "/a1Gateway00/gw-01/thing/topo/lifecycle",
        '{"action":"create","gwIotId":"dfaejVQHk6VSLmmBJfrf00107e","gwProductKey":"a1Gateway00","gwDeviceName":"gw-01",'
        '"devices":[{"iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0","deviceName":"lamp-01"}],'
        '"messageCreateTime":1700000000000}',
    )


def test_found_devices_are_told_with_their_ids_where_they_have_one() -> None:
    found = [(ORIGIN.key, ORIGIN.iot_id), (DeviceKey("a1Lnk5tEad0", "lamp-02"), "")]
    check(
        messages.make_found_list(GATEWAY, found),
        "/a1Gateway00/gw-01/thing/list/found",
        '{"gwIotId":"dfaejVQHk6VSLmmBJfrf00107e","gwProductKey":"a1Gateway00","gwDeviceName":"gw-01","devices":['
        '{"iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0","deviceName":"lamp-01"},'
        '{"productKey":"a1Lnk5tEad0","deviceName":"lamp-02"}]}',
    )


def test_tags() -> None:
    check(
        messages.make_tags(ORIGIN, "CustomCategory", {"room": "kitchen"}, created_ms=NOW_MS),
        "/a1Lnk5tEad0/lamp-01/thing/deviceinfo/update",
        '{"action":"update","iotId":"4z819VQHk6VSLmmBJfrf00107e","productKey":"a1Lnk5tEad0","deviceName":"lamp-01",'
        '"deviceType":"CustomCategory","value":[{"attrKey":"room","attrValue":"kitchen"}],'
        '"messageCreateTime":1700000000000}',
    )

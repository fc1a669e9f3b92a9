"""What is told of what devices report, and to whom."""

from typing import Any

import pytest

from linkstead.alink.services import Reply, parse_reply
from linkstead.invocation import Call, Diagnosis, Verdict
from linkstead.registry import DeviceKey
from linkstead.subscription import NoticeKind
from linkstead.uplink import news as news_module
from linkstead.uplink.found import FOUND_MAX
from tests.fakes import ACCOUNT_ID, IOT_ID, KEY, NOW_MS, ToldNotice, make_device, make_product
from tests.uplink.bench import BARE_KEY, FOREIGN_KEY, FREE_KEY, STRICT_KEY, Bench

POST = "thing/event/property/post"
FAULT = "thing/event/LampFault/post"
BATCH = "thing/event/property/batch/post"
PACK = "thing/event/property/pack/post"
HISTORY = "thing/event/property/history/post"
TAGS = "thing/deviceinfo/update"
FOUND = "thing/list/found"
EARLIER_MS = NOW_MS - 60_000
REPLY = parse_reply(b'{"id":"7","code":200}')


def told(bench: Bench) -> list[tuple[NoticeKind, str, Any]]:
    return [(notice.kind, notice.topic, notice.message) for notice in bench.sink.take()]


def head(key: DeviceKey = KEY, request_id: str = "1") -> dict[str, Any]:
    return {
        "iotId": IOT_ID,
        "productKey": key.product_key,
        "deviceName": key.device_name,
        "deviceType": "CustomCategory",
        "requestId": request_id,
        "gmtCreate": NOW_MS,
    }


@pytest.mark.asyncio
async def test_values_are_told_with_those_that_do_not_fit_apart(bench: Bench) -> None:
    params = {"PowerSwitch": 1, "Brightness": {"value": 42, "time": EARLIER_MS}, "MainsVoltage": "high", "Mystery": 7}
    assert await bench.code_of(POST, params) == 200
    ((kind, topic, message),) = told(bench)
    assert (kind, topic) == (NoticeKind.DEVICE_DATA, f"/{KEY}/{POST}")
    failed = message.pop("checkFailedData")
    assert message == {
        **head(),
        "items": {"PowerSwitch": {"value": 1, "time": NOW_MS}, "Brightness": {"value": 42, "time": EARLIER_MS}},
    }
    assert {name: (entry["value"], entry["time"], entry["code"]) for name, entry in failed.items()} == {
        "MainsVoltage": ("high", NOW_MS, 6322),
        "Mystery": (7, NOW_MS, 6304),
    }
    assert all(isinstance(entry["message"], str) and entry["message"] for entry in failed.values())


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [STRICT_KEY, KEY])
async def test_what_does_not_fit_is_told_whether_it_was_kept_or_not(bench: Bench, key: DeviceKey) -> None:
    await bench.ask(POST, {"PowerSwitch": 1, "Mystery": 7}, key)
    ((_, _, message),) = told(bench)
    assert (message["items"].keys(), message["checkFailedData"].keys()) == ({"PowerSwitch"}, {"Mystery"})


@pytest.mark.asyncio
async def test_where_nothing_is_checked_everything_is_told(bench: Bench) -> None:
    await bench.ask(POST, {"PowerSwitch": 9, "Mystery": 7}, FREE_KEY)
    ((_, _, message),) = told(bench)
    assert (message["items"].keys(), message["checkFailedData"]) == ({"PowerSwitch", "Mystery"}, {})


@pytest.mark.asyncio
async def test_malformed_names_and_times_are_among_what_does_not_fit(bench: Bench) -> None:
    await bench.ask(POST, {"no name!": 1, "Brightness": {"value": 42, "time": "soon"}})
    ((_, _, message),) = told(bench)
    failed = message["checkFailedData"]
    assert message["items"] == {}
    assert {name: (entry["value"], entry["code"]) for name, entry in failed.items()} == {
        "no name!": (1, 6321),
        "Brightness": (42, 6326),
    }


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "text"), [("7", "7"), (7, "7"), ("1|exp-topic|/sys", "1|exp-topic|/sys"), (None, "")]
)
async def test_the_id_of_the_report_is_told_as_text(bench: Bench, given: object, text: str) -> None:
    await bench.ask(POST, {"PowerSwitch": 1}, id=given)
    ((_, _, message),) = told(bench)
    assert message["requestId"] == text


@pytest.mark.asyncio
async def test_numbers_are_told_as_they_were_written(bench: Bench) -> None:
    bench.publish(f"/sys/{KEY}/{POST}", b'{"id":"1","params":{"MainsVoltage":230.50}}')
    await bench.uplink.drain()
    (notice,) = bench.sink.take()
    assert b'"MainsVoltage":{"value":230.50,' in notice.payload


@pytest.mark.asyncio
async def test_the_category_of_the_product_is_the_type_of_the_device(bench: Bench) -> None:
    product = make_product("a1Lights001", product_name="lights", category_key="Lighting")
    key = DeviceKey("a1Lights001", "lamp-01")
    await bench.store.add_product(product)
    await bench.store.add_devices([make_device(key, iot_id="lights")])
    await bench.ask(POST, {"PowerSwitch": 1}, key)
    await bench.ask(TAGS, [{"attrKey": "room", "attrValue": "kitchen"}], key)
    assert [message["deviceType"] for _, _, message in told(bench)] == ["Lighting", "Lighting"]


@pytest.mark.asyncio
async def test_an_event_is_told_with_the_outputs_that_do_not_fit_apart(bench: Bench) -> None:
    params = {"value": {"FaultCode": 1, "Temperature": "hot"}, "time": EARLIER_MS}
    assert await bench.code_of(FAULT, params) == 200
    ((kind, topic, message),) = told(bench)
    assert (kind, topic) == (NoticeKind.DEVICE_DATA, f"/{KEY}/{FAULT}")
    failed = message.pop("checkFailedData")
    assert message == {
        **head(),
        "identifier": "LampFault",
        "name": "Lamp fault",
        "type": "error",
        "value": {"FaultCode": 1},
        "time": EARLIER_MS,
    }
    assert (failed["Temperature"]["value"], failed["Temperature"]["code"]) == ("hot", 6307)


BATCHED = {
    "properties": {"Brightness": [{"value": 10, "time": EARLIER_MS}, {"value": 20}], "Mystery": [7]},
    "events": {"LampFault": [{"value": {"FaultCode": 1}, "time": EARLIER_MS}], "NoSuch": [{"value": {}}]},
}


@pytest.mark.asyncio
async def test_a_batch_is_two_messages(bench: Bench) -> None:
    assert await bench.code_of(BATCH, BATCHED) == 200
    batch = {name: value for name, value in head().items() if name != "deviceType"}
    values = [{"value": 10, "time": EARLIER_MS}, {"value": 20, "time": NOW_MS}]
    happened = [{"value": {"FaultCode": 1}, "time": EARLIER_MS}]
    assert told(bench) == [
        (
            NoticeKind.DEVICE_DATA,
            f"/{KEY}/thing/property/batch/post",
            {**batch, "payload": {"Brightness": values, "Mystery": [{"value": 7, "time": NOW_MS}]}},
        ),
        (NoticeKind.DEVICE_DATA, f"/{KEY}/thing/event/batch/post", {**batch, "payload": {"LampFault": happened}}),
    ]


@pytest.mark.asyncio
async def test_of_a_batch_without_events_none_are_told(bench: Bench) -> None:
    await bench.ask(BATCH, {"properties": {"Brightness": [10]}})
    await bench.ask(BATCH, {"events": {"LampFault": [{"value": {"FaultCode": 1}}]}})
    topics = [topic for _, topic, _ in told(bench)]
    assert topics == [f"/{KEY}/thing/property/batch/post", f"/{KEY}/thing/event/batch/post"]


@pytest.mark.asyncio
async def test_a_pack_is_told_as_its_parts(bench: Bench) -> None:
    events = {"LampFault": {"value": {"FaultCode": 1}}}
    await bench.ask(PACK, {"properties": {"Brightness": 10}, "events": events})
    await bench.ask(PACK, {"events": events})
    assert [topic for _, topic, _ in told(bench)] == [f"/{KEY}/{POST}", f"/{KEY}/{FAULT}", f"/{KEY}/{FAULT}"]


@pytest.mark.asyncio
async def test_each_part_of_a_history_is_told_on_its_own(bench: Bench) -> None:
    identity = {"productKey": KEY.product_key, "deviceName": KEY.device_name}
    values = [{"Brightness": {"value": 10, "time": EARLIER_MS}}, {"Brightness": {"value": 20, "time": NOW_MS}}]
    happened = [{"LampFault": {"value": {"FaultCode": 1}, "time": EARLIER_MS}}]
    await bench.ask(HISTORY, [{"identity": identity, "properties": values, "events": happened}])
    notices = told(bench)
    assert [(kind, topic) for kind, topic, _ in notices] == [
        (NoticeKind.THING_HISTORY, f"/{KEY}/{HISTORY}"),
        (NoticeKind.THING_HISTORY, f"/{KEY}/{HISTORY}"),
        (NoticeKind.THING_HISTORY, f"/{KEY}/thing/event/LampFault/history/post"),
    ]
    assert [message["items"] for _, _, message in notices[:2]] == values
    assert (notices[2][2]["value"], notices[2][2]["time"]) == ({"FaultCode": 1}, EARLIER_MS)


@pytest.mark.asyncio
async def test_a_report_that_is_refused_is_not_told(bench: Bench) -> None:
    assert await bench.code_of(POST, {}) == 460
    assert await bench.code_of("thing/event/NoSuch/post", {"value": {}}) == 6300
    assert await bench.code_of(TAGS, [{"attrKey": ""}]) == 460
    assert await bench.code_of(FOUND, []) == 460
    assert told(bench) == []


@pytest.mark.asyncio
async def test_tags_are_told_when_they_change(bench: Bench) -> None:
    tags = [{"attrKey": "room", "attrValue": "kitchen"}, {"attrKey": "floor", "attrValue": "2"}]
    await bench.ask(TAGS, tags)
    await bench.ask(TAGS, tags)
    await bench.ask(TAGS, [{"attrKey": "floor", "attrValue": "3"}, tags[0]])
    assert [(kind, topic, message["value"]) for kind, topic, message in told(bench)] == [
        (NoticeKind.DEVICE_TAG, f"/{KEY}/{TAGS}", tags),
        (NoticeKind.DEVICE_TAG, f"/{KEY}/{TAGS}", [{"attrKey": "floor", "attrValue": "3"}]),
    ]


@pytest.mark.asyncio
async def test_found_devices_are_told_with_ids_of_the_same_account_only(bench: Bench) -> None:
    devices = [{"productKey": key.product_key, "deviceName": key.device_name} for key in (FREE_KEY, FOREIGN_KEY)]
    devices.append({"productKey": "a1Unknown00", "deviceName": "new-01"})
    assert await bench.code_of(FOUND, devices) == 200
    free = await bench.registry.find_device(FREE_KEY)
    assert free is not None
    ((kind, topic, message),) = told(bench)
    assert (kind, topic) == (NoticeKind.FOUND_DEVICE_LIST, f"/{KEY}/{FOUND}")
    assert message == {
        "gwIotId": IOT_ID,
        "gwProductKey": KEY.product_key,
        "gwDeviceName": KEY.device_name,
        "devices": [{"iotId": free.iot_id, **devices[0]}, *devices[1:]],
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("entry", [7, {}, {"productKey": "a1Unknown00"}, {"productKey": "", "deviceName": "new-01"}])
async def test_a_malformed_list_of_found_devices_is_refused(bench: Bench, entry: object) -> None:
    assert await bench.code_of(FOUND, [entry]) == 460
    assert told(bench) == []


@pytest.mark.asyncio
async def test_the_list_of_found_devices_is_bounded(bench: Bench) -> None:
    devices = [{"productKey": "a1Unknown00", "deviceName": f"new-{number}"} for number in range(FOUND_MAX + 1)]
    assert await bench.code_of(FOUND, devices) == 460
    assert await bench.code_of(FOUND, devices[:-1]) == 200
    ((_, _, message),) = told(bench)
    assert message["devices"] == devices[:-1]


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_custom_topic_is_passed_on_as_it_came(bench: Bench, qos: int) -> None:
    bench.publish(f"/{KEY}/user/update?_rid=7", b"\x00\xff", qos)
    await bench.uplink.drain()
    assert bench.sink.take() == [
        ToldNotice(ACCOUNT_ID, KEY, NoticeKind.DEVICE_DATA, f"/{KEY}/user/update", b"\x00\xff", qos)
    ]


@pytest.mark.asyncio
async def test_a_topic_that_the_device_may_not_publish_on_is_not_passed_on(bench: Bench) -> None:
    bench.publish(f"/{KEY}/user/get", b"hello")
    await bench.uplink.drain()
    assert told(bench) == []


@pytest.mark.asyncio
async def test_answers_to_calls_that_wait_are_not_told(bench: Bench) -> None:
    call = await bench.call_device()
    bench.publish(f"/sys/{KEY}/rrpc/response/{call.message_id}", b"pong")
    assert call.verdict is Verdict.SUCCESS
    assert told(bench) == []


@pytest.mark.asyncio
async def test_nothing_is_made_where_nobody_subscribed(bench: Bench) -> None:
    # The sink fails what it did not want.
    bench.sink.kinds.clear()
    identity = {"productKey": KEY.product_key, "deviceName": KEY.device_name}
    await bench.ask(POST, {"PowerSwitch": 1})
    await bench.ask(FAULT, {"value": {"FaultCode": 1}})
    await bench.ask(BATCH, BATCHED)
    await bench.ask(HISTORY, [{"identity": identity, "properties": [{"Brightness": 1}], "events": []}])
    await bench.ask(TAGS, [{"attrKey": "room", "attrValue": "kitchen"}])
    await bench.ask(FOUND, [identity])
    bench.publish(f"/{KEY}/user/update", b"hello")
    bench.news.tell_lifecycle(make_device(), "create")
    bench.news.tell_topology(bench.link.origin, "create", [])
    bench.news.answer_not_taken(bench.link.origin, "topic", REPLY)
    end_call(bench, "RunScene")
    await bench.news.drain()
    assert bench.sink.notices == []


# --- results of calls


def end_call(bench: Bench, target: str, reply: Reply | None = None, key: DeviceKey = KEY, code: int = 0) -> Call:
    call = Call("id", "node", "InvokeThingService", ACCOUNT_ID, key=key, target=target, alink_id=7, iot_id=IOT_ID)
    call.result_code = code
    call.end(*((Verdict.SUCCESS, Diagnosis.ANSWERED) if reply else (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)))
    bench.news.call_ended(call, reply)
    return call


@pytest.mark.asyncio
async def test_what_was_made_ready_is_told_at_once_though_it_is_a_moment_old(bench: Bench) -> None:
    await bench.news.prepare(KEY.product_key)
    bench.registry.forget_all()
    end_call(bench, "RunScene", parse_reply(b'{"id":"7","code":200,"data":{"Accepted":"yes","Duration":12.50}}'))
    ((_, _, message),) = told(bench)
    assert message["checkFailedData"].keys() == {"Accepted"}


@pytest.mark.asyncio
async def test_a_product_that_is_gone_needs_nothing_to_be_ready(bench: Bench) -> None:
    await bench.news.prepare("a1Gone00001")
    assert bench.sink.notices == []


@pytest.mark.asyncio
async def test_so_many_products_are_ready_and_the_oldest_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "RULES_KEPT_MAX", 1)
    for key in (KEY, FREE_KEY):
        await bench.news.prepare(key.product_key)
    bench.registry.forget_all()
    for key in (KEY, FREE_KEY):
        end_call(bench, "RunScene", key=key)
    assert [notice.key for notice in bench.sink.take()] == [FREE_KEY]
    await bench.news.drain()
    assert [notice.key for notice in bench.sink.take()] == [KEY]


@pytest.mark.asyncio
async def test_an_output_that_does_not_fit_is_told_beside_the_data(bench: Bench) -> None:
    end_call(bench, "RunScene", parse_reply(b'{"id":"7","code":200,"data":{"Accepted":"yes","Duration":12.50}}'))
    await bench.news.drain()
    ((_, topic, message),) = told(bench)
    assert topic == f"/{KEY}/thing/downlink/reply/message"
    assert message["data"] == {"Accepted": "yes", "Duration": 12.5}
    (failed,) = message["checkFailedData"].values()
    assert failed.keys() == {"value", "code", "message"}
    assert (failed["value"], failed["code"]) == ("yes", 6308)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "told_code", "text"),
    [
        (9201, 9201, "device offline"),
        (9200, 9200, "device not actived"),
        (6208, 6208, "request error"),
        (0, 400, "request error"),
    ],
)
async def test_a_call_that_was_not_answered_is_told_with_the_code_for_it(
    bench: Bench, code: int, told_code: int, text: str
) -> None:
    end_call(bench, "RunScene", code=code)
    await bench.news.drain()
    ((_, _, message),) = told(bench)
    assert (message["code"], message["message"], message["data"]) == (told_code, text, {})
    assert message["topic"] == f"/sys/{KEY}/thing/service/RunScene_reply"


@pytest.mark.asyncio
async def test_a_result_is_told_at_once_when_the_rules_are_at_hand(bench: Bench) -> None:
    await bench.warm()
    end_call(bench, "RunScene", REPLY)
    assert len(bench.sink.take()) == 1


@pytest.mark.asyncio
async def test_results_that_wait_for_rules_keep_their_order_and_time(bench: Bench) -> None:
    end_call(bench, "First", REPLY)
    await bench.warm()
    end_call(bench, "Second", REPLY)
    end_call(bench, "Other", REPLY, FREE_KEY)
    bench.clock.advance(60)
    await bench.news.drain()
    (first, second) = [message for _, _, message in told(bench) if message["productKey"] == KEY.product_key]
    assert (first["topic"][-11:], second["topic"][-12:]) == ("First_reply", "Second_reply")
    assert first["gmtCreate"] == NOW_MS


@pytest.mark.asyncio
async def test_results_of_a_product_that_is_gone_are_not_told(bench: Bench) -> None:
    end_call(bench, "RunScene", REPLY, DeviceKey("a1Gone00001", "lamp-01"))
    await bench.news.drain()
    assert told(bench) == []


@pytest.mark.asyncio
async def test_results_that_wait_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "RESULTS_WAITING_MAX", 2)
    for _ in range(3):
        end_call(bench, "RunScene", REPLY)
    await bench.news.drain()
    assert len(bench.sink.take()) == 2
    end_call(bench, "RunScene", REPLY, BARE_KEY)
    await bench.news.drain()
    assert len(bench.sink.take()) == 1


@pytest.mark.asyncio
async def test_a_reply_that_names_no_call_is_told_with_the_id_it_named(bench: Bench) -> None:
    topic = f"/sys/{KEY}/thing/service/RunScene_reply"
    bench.publish(topic, b'{"id":"some id","code":500,"message":"busy","data":{"Accepted":0}}')
    await bench.delivery.stop()
    ((kind, _, message),) = told(bench)
    assert kind is NoticeKind.DEVICE_DATA
    assert message == {
        "gmtCreate": NOW_MS,
        "iotId": IOT_ID,
        "productKey": KEY.product_key,
        "deviceName": KEY.device_name,
        "requestId": "some id",
        "code": 500,
        "message": "busy",
        "topic": topic,
        "data": {"Accepted": 0},
        "checkFailedData": {},
    }

import json
import logging
from typing import Any

import pytest

from linkstead.alink.topics import ext_rrpc, rrpc_request, rrpc_response
from linkstead.invocation import Call, Diagnosis, Stray, Verdict
from linkstead.sessions import QUEUED_MESSAGES_MAX, LinkBlocked, LinkBroken, LinkTooSmall
from linkstead.uplink.lanes import MESSAGES_OF_A_DEVICE_MAX
from tests.fakes import ACCOUNT_ID, KEY, OTHER_ACCOUNT_ID, OTHER_KEY
from tests.uplink.bench import FOREIGN_KEY, TIMEOUT_MS, Bench

PK, DN = KEY
SYS = f"/sys/{PK}/{DN}"
CUSTOM = f"/{PK}/{DN}/user/update"
NTP = f"/ext/ntp/{PK}/{DN}/request"
UNSERVED = f"{SYS}/thing/ota/firmware/get"


def reasons(call: Call) -> list[Stray]:
    return list(call.reasons())


# --- answers


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("query", ["", "?", "?_rid=7", "?a=b?c"])
@pytest.mark.parametrize("topic", ["", "/a1Lnk5tEad0/lamp-01/user/get", "/rrpc/test", f"{SYS}/thing/service/Blink"])
async def test_an_answer_reaches_its_call(bench: Bench, topic: str, query: str, qos: int) -> None:
    call = await bench.call_device(topic)
    answered = ext_rrpc(call.message_id, topic) if topic else rrpc_response(KEY, call.message_id)
    assert bench.publish(answered + query, b"\xffanswer", qos)
    assert (call.verdict, call.answer_payload) == (Verdict.SUCCESS, b"\xffanswer")
    assert call.evidence == []
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_an_answer_is_not_read_but_passed_on(bench: Bench) -> None:
    call = await bench.call_device()
    payload = b'{"id":"1","version":"1.0","method":"thing.event.property.post","params":{}}'
    assert bench.publish(rrpc_response(KEY, call.message_id), payload)
    assert call.answer_payload == payload
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_an_answer_on_the_requests_topic_is_kept_with_its_call(bench: Bench) -> None:
    call = await bench.call_device()
    assert bench.publish(rrpc_request(KEY, call.message_id), b'{"id":"1"}')
    assert reasons(call) == [Stray.WRONG_TOPIC]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert (call.verdict, call.diagnosis) == (Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_TOPIC)
    assert bench.link.sent == []


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["7", "-2147483648", "x", "", "9" * 20])
@pytest.mark.parametrize("topic", [SYS + "/rrpc/response/{}", "/ext/rrpc/{}/a"])
async def test_an_answer_to_no_call_is_kept_with_the_one_that_waits(bench: Bench, topic: str, text: str) -> None:
    call = await bench.call_device()
    assert bench.publish(topic.format(text), b'{"id":"1"}')
    assert reasons(call) == [Stray.WRONG_MESSAGE_ID]
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_a_device_cannot_answer_for_another_on_its_own_topic(bench: Bench) -> None:
    call = await bench.call_device()
    other = bench.connect(OTHER_KEY)
    assert bench.publish(rrpc_response(OTHER_KEY, call.message_id), b"forged", link=other)
    assert bench.publish(ext_rrpc(call.message_id, "/a"), b"forged", link=other)
    assert not call.is_ended
    assert reasons(call) == [Stray.OTHER_DEVICE, Stray.OTHER_DEVICE]


@pytest.mark.asyncio
async def test_a_device_has_no_right_to_the_answers_topic_of_another(bench: Bench) -> None:
    call = await bench.call_device()
    other = bench.connect(OTHER_KEY)
    assert not bench.publish(rrpc_response(KEY, call.message_id), b"forged", link=other)
    assert not call.is_ended
    (evidence,) = call.evidence
    assert (evidence.reason, evidence.sender, evidence.payload) == (Stray.OTHER_DEVICE, str(OTHER_KEY), b"forged")


@pytest.mark.asyncio
async def test_a_device_of_another_account_leaves_a_trace_without_a_name(bench: Bench) -> None:
    call = await bench.call_device()
    foreign = bench.connect(FOREIGN_KEY, OTHER_ACCOUNT_ID)
    assert not bench.publish(rrpc_response(KEY, call.message_id), b"forged", link=foreign)
    assert bench.publish(ext_rrpc(call.message_id, "/a"), b"forged", link=foreign)
    assert not call.is_ended
    for evidence in call.evidence:
        assert (evidence.sender, evidence.topic, evidence.payload, evidence.payload_bytes) == ("", "", b"", 0)
    assert reasons(call) == [Stray.OTHER_DEVICE, Stray.OTHER_DEVICE]


@pytest.mark.asyncio
async def test_an_answer_on_the_topic_of_another_device_is_on_the_wrong_topic(bench: Bench) -> None:
    call = await bench.call_device()
    assert not bench.publish(rrpc_response(OTHER_KEY, call.message_id), b"answer")
    assert reasons(call) == [Stray.WRONG_TOPIC]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert (call.verdict, call.diagnosis) == (Verdict.TIMEOUT, Diagnosis.ANSWERED_WRONG_TOPIC)


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?_rid=7"])
async def test_an_answer_that_is_too_large_is_kept_with_its_call(bench: Bench, query: str) -> None:
    call = await bench.call_device()
    bench.uplink.refuse_too_large(bench.link, rrpc_response(KEY, call.message_id) + query, 300_000)
    (evidence,) = call.evidence
    assert (evidence.reason, evidence.payload, evidence.payload_bytes) == (Stray.TOO_LARGE, b"", 300_000)
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert (call.verdict, call.diagnosis) == (Verdict.TIMEOUT, Diagnosis.ANSWER_TOO_LARGE)


@pytest.mark.asyncio
@pytest.mark.parametrize("topic", ["/ext/rrpc/{}/a", SYS + "/rrpc/response/{}"])
async def test_what_another_device_sends_too_large_is_no_answer(bench: Bench, topic: str) -> None:
    call = await bench.call_device()
    other = bench.connect(OTHER_KEY)
    bench.uplink.refuse_too_large(other, topic.format(call.message_id), 300_000)
    assert reasons(call) == [Stray.OTHER_DEVICE]
    bench.clock.advance(TIMEOUT_MS / 1000)
    assert (call.verdict, call.diagnosis) == (Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)


@pytest.mark.asyncio
async def test_any_other_publish_that_is_too_large_is_only_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    call = await bench.call_device()
    bench.uplink.refuse_too_large(bench.link, CUSTOM, 300_000)
    assert call.evidence == []
    assert bench.link.sent == []
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "publish over the size limit dropped")
    ]


# --- replies to what was delivered asynchronously

SERVICES = [
    ("RunScene", "thing/service/RunScene"),
    ("testFb:asyncService", "thing/service/testFb:asyncService"),
    ("set", "thing/service/property/set"),
]


async def post_call(bench: Bench, target: str, path: str) -> Call:
    """Deliver an asynchronous call to the device."""
    call = Call(bench.ids.request_id(), "node-1", "InvokeThingService", ACCOUNT_ID, key=KEY, target=target)
    call.alink_id, call.message_id = 7, bench.ids.message_id()
    bench.journal.open(call)
    await bench.news.prepare(KEY.product_key)
    await bench.delivery.post(call, f"{SYS}/{path}", b'{"id":"7"}', 0)
    bench.journal.close(call)
    bench.link.sent.clear()
    return call


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?_rid=7"])
@pytest.mark.parametrize(("target", "path"), SERVICES)
async def test_a_reply_reaches_its_asynchronous_call(bench: Bench, target: str, path: str, query: str) -> None:
    call = await post_call(bench, target, path)
    payload = b'{"id":"7","code":200,"data":{}}'
    assert bench.publish(f"{SYS}/{path}_reply{query}", payload)
    assert (call.verdict, call.answer_payload) == (Verdict.SUCCESS, payload)
    assert bench.link.sent == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("target", "path"), SERVICES)
@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[]", b'{"id":"7"}', b'{"id":"7","code":"fine"}', b"\xff"])
async def test_a_reply_that_is_none_fails_its_call(
    bench: Bench, target: str, path: str, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    call = await post_call(bench, target, path)
    assert bench.publish(f"{SYS}/{path}_reply", payload)
    await bench.delivery.stop()
    assert (call.verdict, call.diagnosis) == (Verdict.FAILED, Diagnosis.ANSWER_MALFORMED)
    assert (call.result_code, call.answer_payload) == (6207, payload)
    assert "reply not understood (6207)" in caplog.text
    assert bench.link.sent == []


# --- topics of somebody else


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "topic",
    [
        f"/{PK}/lamp-02/user/update",
        f"/sys/{PK}/lamp-02/thing/event/property/post",
        f"/ext/ntp/{PK}/lamp-02/request",
        f"/sys/{PK}/lamp-02/rrpc/response/7",
        "/as/mqtt/status/a/b",
        "",
        "?",
        f"?{CUSTOM}",
    ],
)
async def test_a_publish_on_a_topic_of_somebody_else_is_dropped(bench: Bench, topic: str) -> None:
    bench.subscribe("#")
    other = bench.connect(OTHER_KEY)
    assert not bench.publish(topic, b'{"id":"1","deviceSendTime":"1"}')
    assert (bench.link.sent, other.sent) == ([], [])


@pytest.mark.asyncio
async def test_a_query_suffix_gives_no_right(bench: Bench) -> None:
    assert not bench.publish(f"/{PK}/lamp-02/user/update?{CUSTOM}")
    assert bench.publish(f"{CUSTOM}?/{PK}/lamp-02/user/update")


# --- the time service


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?_rid=1"])
@pytest.mark.parametrize(("sent", "now"), [('"1700000000000"', '"1700000003250"'), ("1700000000000", "1700000003250")])
async def test_the_time_is_told_in_the_type_it_was_asked_in(bench: Bench, sent: str, now: str, query: str) -> None:
    bench.clock.advance(3.25)
    assert bench.publish(NTP + query, b'{"deviceSendTime":%b}' % sent.encode())
    text = f'{{"deviceSendTime":{sent},"serverRecvTime":{now},"serverSendTime":{now}}}'
    assert bench.link.messages == [(f"/ext/ntp/{PK}/{DN}/response", text.encode())]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (NTP, b""),
        (NTP, b"what time is it"),
        (NTP, b'{"deviceSendTime":null}'),
        (f"/ext/ntp/{PK}/{DN}/response", b'{"deviceSendTime":1}'),
        (f"/ext/ntp/{PK}/{DN}", b'{"deviceSendTime":1}'),
    ],
)
async def test_what_is_no_time_request_is_not_answered(bench: Bench, topic: str, payload: bytes) -> None:
    assert bench.publish(topic, payload)
    assert bench.link.sent == []


# --- custom topics


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_custom_topic_nobody_subscribed_goes_nowhere(bench: Bench, qos: int) -> None:
    bench.subscribe(f"/{PK}/{DN}/user/get")
    bench.subscribe("/ext/rrpc/+/user/update")
    assert bench.publish(CUSTOM, b"hello", qos)
    assert bench.link.sent == []
    assert bench.link.pump_count == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("path", ["user/get", "user/other", "update", "user/update/x"])
async def test_a_custom_topic_without_a_class_to_publish_is_dropped_and_logged(
    bench: Bench, path: str, qos: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench.subscribe(f"/{PK}/{DN}/#")
    assert not bench.publish(f"/{PK}/{DN}/{path}", b"hello", qos)
    assert bench.link.sent == []
    assert "9236" in caplog.text


@pytest.mark.asyncio
async def test_a_custom_message_waits_for_the_classes_to_be_read(bench: Bench) -> None:
    bench.subscribe(CUSTOM)
    bench.registry.forget_all()
    for number in range(3):
        assert bench.publish(CUSTOM, b"%d" % number)
    assert bench.link.sent == []
    await bench.uplink.drain()
    assert [payload for _, payload in bench.link.messages] == [b"0", b"1", b"2"]


@pytest.mark.asyncio
async def test_so_many_custom_messages_wait_and_the_next_is_dropped(bench: Bench) -> None:
    bench.subscribe(CUSTOM)
    bench.registry.forget_all()
    for _ in range(MESSAGES_OF_A_DEVICE_MAX + 1):
        assert bench.publish(CUSTOM)
    await bench.uplink.drain()
    assert len(bench.link.messages) == MESSAGES_OF_A_DEVICE_MAX
    assert bench.uplink.dropped_count == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [CUSTOM, f"/{PK}/{DN}/user/+", f"/{PK}/{DN}/#"])
@pytest.mark.parametrize("query", ["", "?_sn=default"])
async def test_a_subscriber_gets_its_own_message_back_at_qos_0(bench: Bench, name: str, query: str) -> None:
    # The QoS of the subscription does not count.
    bench.subscribe(name, qos=1)
    assert bench.publish(CUSTOM + query, b"hello", 0)
    assert bench.link.messages == [(CUSTOM, b"hello")]
    assert bench.link.pump_count == 0


@pytest.mark.asyncio
async def test_a_subscriber_gets_its_own_message_back_at_qos_1(bench: Bench) -> None:
    bench.subscribe(CUSTOM, qos=0)
    bench.clock.advance(3)
    assert bench.publish(CUSTOM, b"hello", 1)
    session = bench.sessions.find(KEY)
    assert session is not None
    assert session.queue is not None
    (waiting,) = session.queue
    assert (waiting.topic, waiting.payload, waiting.queued_s) == (CUSTOM, b"hello", bench.clock.monotonic_s())
    assert bench.link.pump_count == 1
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_overlapping_filters_bring_the_message_back_once(bench: Bench) -> None:
    bench.subscribe(CUSTOM)
    bench.subscribe(f"/{PK}/{DN}/#")
    assert bench.publish(CUSTOM, b"hello")
    assert bench.link.messages == [(CUSTOM, b"hello")]


@pytest.mark.asyncio
async def test_a_full_queue_stops_the_echo_and_nothing_else(bench: Bench) -> None:
    bench.subscribe(CUSTOM)
    for _ in range(QUEUED_MESSAGES_MAX + 1):
        assert bench.publish(CUSTOM, b"", 1)
    session = bench.sessions.find(KEY)
    assert session is not None
    assert session.queue is not None
    assert len(session.queue) == QUEUED_MESSAGES_MAX


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [LinkBroken, LinkBlocked, LinkTooSmall])
@pytest.mark.parametrize(
    ("topic", "payload"),
    [(CUSTOM, b""), (NTP, b'{"deviceSendTime":1}'), (UNSERVED, b'{"id":"1"}')],
)
async def test_a_reply_that_cannot_be_sent_is_dropped(
    bench: Bench, failure: type[Exception], topic: str, payload: bytes
) -> None:
    bench.subscribe(CUSTOM)
    bench.link.failure = failure
    assert bench.publish(topic, payload)


# --- Alink that nobody serves


def sent_reply(bench: Bench) -> tuple[str, dict[str, Any]]:
    ((topic, payload),) = bench.link.messages
    return topic, json.loads(payload)


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?", "?_rid=7"])
@pytest.mark.parametrize("request_id", ["123", f"1|exp-topic|{UNSERVED}_reply", 7, 4_294_967_296, None])
async def test_a_request_nobody_serves_gets_its_id_back(bench: Bench, request_id: object, query: str) -> None:
    payload = json.dumps({"id": request_id, "version": "1.0", "params": {}}).encode()
    assert bench.publish(UNSERVED + query, payload, 1)
    topic, reply = sent_reply(bench)
    assert topic == f"{UNSERVED}_reply"
    assert (reply["id"], type(reply["id"])) == (request_id, type(request_id))
    assert (reply["code"], reply["data"], reply["method"], reply["version"]) == (
        6831,
        {},
        "thing.ota.firmware.get",
        "1.0",
    )
    assert reply["message"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "thing",
        "thing/event/post",
        "thing/event/a/b/post",
        "thing/event/LampFault/post/",
        "thing/event/property/pack",
        "thing/config/log/get",
        "thing/config/get/",
        "thing/job/get",
        "thing/reset",
    ],
)
async def test_a_topic_that_is_only_like_one_is_not_served(bench: Bench, path: str) -> None:
    assert bench.publish(f"{SYS}/{path}", b'{"id":"1"}')
    assert sent_reply(bench)[1]["code"] == 6831


@pytest.mark.asyncio
async def test_the_method_of_a_refused_request_comes_back(bench: Bench) -> None:
    assert bench.publish(f"{SYS}/thing/job/get", b'{"id":"1","method":"thing.job.get","params":"{}"}')
    assert sent_reply(bench)[1]["method"] == "thing.job.get"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("thing/job/get", b'{"id":"1","sys":{"ack":0}}'),
        ("thing/job/get", b""),
        ("thing/job/get", b"\x00\x01"),
        ("thing/job/get", b"[]"),
        ("thing/job/get", b"{"),
        ("thing/job/get", b"[" * 200_000),
        ("thing/service/Blink_reply", b'{"id":"1","code":200,"data":{}}'),
        ("thing/model/up_raw", b"\x01\x02"),
    ],
)
async def test_what_wants_no_reply_gets_none(bench: Bench, topic: str, payload: bytes) -> None:
    assert bench.publish(f"{SYS}/{topic}", payload)
    assert bench.link.sent == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "topic", [f"/ota/device/inform/{PK}/{DN}", f"/shadow/update/{PK}/{DN}", f"/ext/session/{PK}/{DN}/combine/login"]
)
async def test_a_function_that_is_not_served_is_accepted_in_silence(bench: Bench, topic: str) -> None:
    assert bench.publish(topic, b'{"id":"1","params":{"version":"1.0"}}', 1)
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_no_payload_of_a_device_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = b'{"id":"1","params":{"deviceSecret":"5dee0c1f"}}'
    for topic in (
        CUSTOM,
        NTP,
        f"{SYS}/thing/x",
        f"{SYS}/rrpc/response/7",
        f"/sys/{PK}/lamp-02/x",
        f"/shadow/x/{PK}/{DN}",
    ):
        bench.publish(topic, secret)
    assert caplog.records
    assert "5dee0c1f" not in "".join(str(vars(record)) for record in caplog.records)

"""What a device of a test expects and answers."""

import base64
import json
from typing import Any

import pytest

from linkstead.registry import DeviceKey
from linkstead.rehearsal.script import (
    AFTER_MS_MAX,
    EXPECTATIONS_MAX,
    RRPC,
    TIMES_MAX,
    Answer,
    Expectation,
    ExpectationError,
    Message,
    Request,
    Script,
    read_request,
)

KEY = DeviceKey("a1Lamp00001", "lamp-01")
OWN = f"/sys/{KEY.product_key}/{KEY.device_name}"


def alink(service: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"id": "7", "version": "1.0", "method": f"thing.service.{service}", "params": params}).encode()


def a_request(name: str = "Blink", params: dict[str, Any] | None = None) -> Request:
    message = {"id": "7", "method": f"thing.service.{name}", "params": params or {}}
    return Request(name, "reply", json.dumps(message).encode(), message)


@pytest.mark.parametrize(
    ("topic", "payload", "name", "reply_topic"),
    [
        (f"{OWN}/rrpc/request/1", b"\x00\xff", RRPC, f"{OWN}/rrpc/response/1"),
        (f"{OWN}/rrpc/request/1", alink("Blink", {}), "Blink", f"{OWN}/rrpc/response/1"),
        (f"{OWN}/rrpc/request/1", b'{"method":"other"}', RRPC, f"{OWN}/rrpc/response/1"),
        ("/ext/rrpc/1/my/topic", b"hi", "/my/topic", "/ext/rrpc/1/my/topic"),
        (f"/ext/rrpc/1{OWN}/thing/service/Blink", alink("Blink", {}), "Blink", None),
        (f"{OWN}/thing/service/RunScene", alink("RunScene", {}), "RunScene", f"{OWN}/thing/service/RunScene_reply"),
        (
            f"{OWN}/thing/service/property/set",
            alink("property.set", {}),
            "property/set",
            f"{OWN}/thing/service/property/set_reply",
        ),
    ],
)
def test_a_call_is_read_from_its_topic(topic: str, payload: bytes, name: str, reply_topic: str | None) -> None:
    request = read_request(KEY, topic, payload)
    assert request is not None
    assert (request.name, request.reply_topic) == (name, reply_topic or topic)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{OWN}/thing/event/property/post_reply", b"{}"),
        (f"{OWN}/thing/service/RunScene", b"no json"),
        (f"{OWN}/thing/service/RunScene_reply", alink("RunScene", {})),
        ("/a1Lamp00001/lamp-01/user/get", b"hello"),
    ],
)
def test_what_wants_no_answer_is_no_call(topic: str, payload: bytes) -> None:
    assert read_request(KEY, topic, payload) is None


def test_an_answer_names_the_request() -> None:
    answer = Answer(data={"Executed": 3}, code=100001, message="tired")
    assert json.loads(answer.write(a_request())) == {
        "id": "7",
        "code": 100001,
        "data": {"Executed": 3},
        "message": "tired",
    }
    assert Answer(payload_base64=base64.b64encode(b"\x00\xff").decode()).write(a_request()) == b"\x00\xff"


def expect(script: Script, **fields: Any) -> None:
    script.add(KEY, Expectation(device_name="lamp-01", **fields))


def test_each_call_meets_the_first_expectation_that_is_open() -> None:
    script = Script()
    expect(script, call="Blink", reply=Answer(data={"n": 1}))
    expect(script, call="Blink", reply=Answer(data={"n": 2}))
    met = [script.meet(KEY, a_request()) for _ in range(3)]
    assert [each.number for each in met if each is not None] == [1, 2, 2]
    assert script.find_faults() == ["lamp-01: Blink was expected once and came 2 times"]


def test_what_nobody_expects_is_nobody_s_business() -> None:
    script = Script()
    expect(script, call="Blink", given={"Times": 3})
    assert script.meet(KEY, a_request("SelfTest")) is None
    assert script.meet(KEY, a_request(params={"Times": 4})) is None
    assert script.meet(DeviceKey("a1Lamp00001", "lamp-02"), a_request(params={"Times": 3})) is None
    assert script.find_faults() == ['lamp-01: Blink with {"Times":3} was expected once and came never']
    assert script.meet(KEY, a_request(params={"Times": 3})) is not None
    assert script.find_faults() == []


@pytest.mark.parametrize(
    ("times", "came", "fault"),
    [
        (0, 0, ""),
        (0, 1, "lamp-01: any call was expected never and came once"),
        (2, 1, "lamp-01: any call was expected 2 times and came once"),
        (2, 2, ""),
        (None, 0, ""),
        (None, 5, ""),
    ],
)
def test_how_often_is_held_to(times: int | None, came: int, fault: str) -> None:
    script = Script()
    expect(script, times=times)
    for _ in range(came):
        script.meet(KEY, a_request())
    assert script.find_faults() == ([fault] if fault else [])


def test_bytes_are_compared_as_they_are() -> None:
    script = Script()
    expect(script, given_base64=base64.b64encode(b"ping").decode())
    assert script.meet(KEY, Request(RRPC, "", b"pong", None)) is None
    assert script.meet(KEY, Request(RRPC, "", b"ping", None)) is not None


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"times": -1}, "times"),
        ({"times": TIMES_MAX + 1}, "times"),
        ({"after_ms": AFTER_MS_MAX + 1}, "after_ms"),
        ({"reply": Answer(), "no_reply": True}, "no_reply"),
        ({"reply": Answer(code=2**31)}, "code"),
        ({"reply": Answer(payload_base64="?")}, "payload_base64"),
        ({"given_base64": "?"}, "given_base64"),
        ({"call": "x" * 257}, "names"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ExpectationError, match=name):
        expect(Script(), **fields)


def test_the_limits_themselves_are_taken_and_so_many_expectations() -> None:
    script = Script()
    expect(script, times=TIMES_MAX, after_ms=AFTER_MS_MAX, call="x" * 256, reply=Answer(code=2**31 - 1))
    for _ in range(EXPECTATIONS_MAX - 1):
        expect(script)
    with pytest.raises(ExpectationError, match="1000"):
        expect(script)
    script.clear()
    expect(script)


def test_a_message_is_met_by_its_topic_and_its_payload() -> None:
    script = Script()
    full = f"/{KEY.product_key}/{KEY.device_name}/user/get"
    as_json = script.add(KEY, Expectation(device_name=KEY.device_name, topic="user/get", given={"a": 1}))
    as_bytes = script.add(KEY, Expectation(device_name=KEY.device_name, topic=full, given_base64="AP8="))
    of_any = script.add(KEY, Expectation(device_name=KEY.device_name, topic="/broadcast/#"))
    call = script.add(KEY, Expectation(device_name=KEY.device_name))
    assert script.list_topics(KEY) == [full, "/broadcast/#"]
    assert script.list_topics(DeviceKey(KEY.product_key, "other")) == []
    assert script.meet(KEY, Message(full, b'{"a": 1}')) is as_json
    assert script.meet(KEY, Message(full, b"\x00\xff")) is as_bytes
    assert script.meet(KEY, Message("/broadcast/x/y", b"")) is of_any
    assert script.meet(KEY, Message(full, b"else")) is None
    assert script.meet(KEY, a_request()) is call
    script.remove(call)
    assert script.meet(KEY, a_request()) is None


@pytest.mark.parametrize("fields", [{"call": "Blink"}, {"reply": Answer()}, {"no_reply": True}, {"after_ms": 1}])
def test_a_message_is_not_answered(fields: dict[str, Any]) -> None:
    with pytest.raises(ExpectationError, match="topic is of a message"):
        Expectation(device_name="lamp", topic="user/get", **fields).check()


def test_a_topic_has_so_many_characters() -> None:
    Expectation(device_name="lamp", topic="x" * 256).check()
    with pytest.raises(ExpectationError, match="at most 256 characters"):
        Expectation(device_name="lamp", topic="x" * 257).check()

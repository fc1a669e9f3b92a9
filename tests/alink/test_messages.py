import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.messages import METHOD_NOT_SERVED, make_reply, parse_request, read_identifier, wants_reply
from linkstead.tsl.limits import DEPTH_MAX

NODE_ID = "1|exp-topic|/sys/a1Lnk5tEad0/lamp-01/thing/event/property/post_reply"


def reply_to(request: dict[str, Any], code: int = 200, data: object = None) -> Any:
    return json.loads(make_reply(request, code, "success", "thing.event.property.post", data))


def test_a_request_is_a_json_object() -> None:
    assert parse_request(b'{"id":"1","params":{}}') == {"id": "1", "params": {}}
    assert parse_request(b"{}") == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"null",
        b"1",
        b'"{}"',
        b"[{}]",
        b"{",
        b"{}{}",
        b'{"id":NaN}',
        b'{"id":"\xff"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_anything_else_is_no_request(payload: bytes) -> None:
    assert parse_request(payload) is None


def test_an_object_nested_without_end_is_no_request() -> None:
    assert parse_request(b'{"params":' * 50_000 + b"{}" + b"}" * 50_000) is None


@pytest.mark.parametrize("text", ["1.50", "2e3", "1E400", "-0.0", "123456789012345678901234567890", "0.1"])
def test_a_number_is_kept_as_it_was_written(text: str) -> None:
    request = parse_request(b'{"params":{"A":%b}}' % text.encode())
    assert msgspec.json.encode(request) == b'{"params":{"A":%b}}' % text.encode()


@pytest.mark.parametrize("is_too_deep", [False, True])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_request_is_at_most_32_levels_deep(opening: bytes, closing: bytes, is_too_deep: bool) -> None:
    assert DEPTH_MAX == 32
    levels = DEPTH_MAX - 1 + is_too_deep
    request = parse_request(b'{"params":' + opening * levels + b"1" * (closing == b"}") + closing * levels + b"}")
    assert (request is None) is is_too_deep


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    assert parse_request(b'{"params":[' + b"[]," * 1_000 + b"[]]}") is not None


@pytest.mark.parametrize(
    "request_id", ["123", "", NODE_ID, "灯", 7, 0, -1, 4_294_967_296, 10**30, 1.5, None, True, [1], {}]
)
def test_the_id_comes_back_as_it_came(request_id: object) -> None:
    request = parse_request(json.dumps({"id": request_id}).encode())
    assert request is not None
    reply = reply_to(request)
    assert (reply["id"], type(reply["id"])) == (request_id, type(request_id))


def test_a_reply_has_every_member_that_some_sdk_insists_on() -> None:
    assert reply_to({"id": "123", "method": "thing.event.property.post", "version": "1.0"}) == {
        "id": "123",
        "code": 200,
        "data": {},
        "message": "success",
        "method": "thing.event.property.post",
        "version": "1.0",
    }


def test_a_request_without_an_id_gets_an_empty_one() -> None:
    assert reply_to({})["id"] == ""


def test_the_method_is_the_requests_own_or_that_of_its_topic() -> None:
    assert reply_to({"method": "thing.topo.get"})["method"] == "thing.topo.get"
    assert reply_to({})["method"] == "thing.event.property.post"


@pytest.mark.parametrize("method", [7, None, [], {}])
def test_a_method_that_is_no_text_does_not_come_back(method: object) -> None:
    assert reply_to({"method": method})["method"] == "thing.event.property.post"


@pytest.mark.parametrize("data", [{"Power": 1}, [], [1], "", 0, False])
def test_the_data_of_a_reply_is_what_is_given(data: object) -> None:
    assert reply_to({}, data=data)["data"] == data


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({}, True),
        ({"sys": {}}, True),
        ({"sys": {"ack": 1}}, True),
        ({"sys": {"ack": "1"}}, True),
        ({"sys": {"ack": None}}, True),
        ({"sys": None}, True),
        ({"sys": []}, True),
        ({"sys": "ack"}, True),
        ({"ack": 0}, True),
        ({"sys": {"ack": []}}, True),
        ({"sys": {"ack": {}}}, True),
        ({"sys": {"ack": 0}}, False),
        ({"sys": {"ack": "0"}}, False),
    ],
)
def test_a_device_can_do_without_a_reply(request_: dict[str, Any], wanted: bool) -> None:
    assert wants_reply(request_) is wanted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["id", "method", "version", "params", "sys"]), json_values))
def test_every_request_can_be_answered(members: dict[str, Any]) -> None:
    request = parse_request(json.dumps(members).encode())
    assert request is not None
    assert json.loads(msgspec.json.encode(request)) == members
    assert isinstance(wants_reply(request), bool)
    assert reply_to(request, code=METHOD_NOT_SERVED)["id"] == members.get("id", "")


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("Power", "Power"),
        ("testFb:Level", "testFb:Level"),
        ("default:Power", "Power"),
        ("x" * 50, "x" * 50),
        ("y" * 30 + ":x", "y" * 30 + ":x"),
        ("x" * 51, None),
        ("y" * 31 + ":x", None),
        ("", None),
        (":x", None),
        ("x:", None),
        ("a:b:c", None),
        ("a b", None),
        ("a.b", None),
        ("a\n", None),
        ("灯", None),
    ],
)
def test_an_identifier_may_bear_the_name_of_its_module(text: str, identifier: str | None) -> None:
    assert read_identifier(text) == identifier

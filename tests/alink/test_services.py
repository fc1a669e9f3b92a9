import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink import services
from linkstead.alink.services import (
    CODE_MAX,
    METHOD_KEPT_CHARS_MAX,
    METHODS_KEPT_MAX,
    REPLIES_KEPT_MAX,
    REPLY_KEPT_BYTES_MAX,
    Reply,
    ReplyError,
    is_reply,
    make_data,
    make_envelope,
    make_request,
    parse_reply,
    read_alink_id,
)
from linkstead.tsl.limits import DEPTH_MAX
from linkstead.tsl.literal import LITERAL_BYTES_MAX, read_literal_object

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def reply(**members: Any) -> Reply:
    return parse_reply(json.dumps({"code": 200, **members}).encode())


# --- requests


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("sign", ["a", '"', "灯"])
def test_a_method_of_any_length_and_in_any_letters_is_written(sign: str, extra: int) -> None:
    method = sign * (METHOD_KEPT_CHARS_MAX + extra)
    for alink_id in (1, 2):
        made = json.loads(make_request(alink_id, method, {"Times": 3}))
        assert made == {"id": str(alink_id), "version": "1.0", "method": method, "params": {"Times": 3}}


@pytest.mark.parametrize("extra", [0, 1])
def test_so_many_methods_are_kept_and_then_the_oldest_goes(extra: int) -> None:
    for number in range(METHODS_KEPT_MAX + extra):
        make_request(1, f"thing.service.kept{number}", {})
    hits = services._write_lately.cache_info().hits
    make_request(1, "thing.service.kept0", {})
    assert (services._write_lately.cache_info().hits - hits == 1) is not bool(extra)


def test_a_request_has_the_members_that_every_device_sdk_needs_and_its_id_is_text() -> None:
    assert make_request(2_147_483_647, "thing.service.Blink", {"Times": 3}) == (
        b'{"id":"2147483647","version":"1.0","method":"thing.service.Blink","params":{"Times":3}}'
    )


@pytest.mark.parametrize("number", ["10.0", "1.50", "2e3", "-0.0", "0.1", "1E400", "123456789012345678901"])
def test_a_number_goes_on_as_it_was_written(number: str) -> None:
    params = read_literal_object(f'{{"z":{number},"a":[{number}]}}')
    made = make_request(1, "thing.service.Blink", params)
    assert made.endswith(f'"params":{{"z":{number},"a":[{number}]}}}}'.encode())


@given(st.integers(1, CODE_MAX), st.text(min_size=1), st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_a_request_says_what_was_given(alink_id: int, method: str, params: dict[str, Any]) -> None:
    made = json.loads(make_request(alink_id, method, params))
    assert made == {"id": str(alink_id), "version": "1.0", "method": method, "params": params}
    assert list(made["params"]) == list(params)


# --- replies


@pytest.mark.parametrize(
    ("payload", "alink_id"),
    [
        (b'{"code":200,"id":"7"}', 7),
        (b'{"code":"200","id":7}', 7),
        (b'{"code":200,"id":"x"}', 0),
        (b'{"code":200}', 0),
        (b'{"id":"7"}', 0),
        (b"\xff", 0),
    ],
)
def test_the_id_of_a_reply_is_read_where_there_is_one(payload: bytes, alink_id: int) -> None:
    assert read_alink_id(payload) == alink_id


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("200", 200),
        ("-1", -1),
        ('"200"', 200),
        ('"-1"', -1),
        ("0", 0),
        (str(CODE_MAX), CODE_MAX),
        (str(-CODE_MAX), -CODE_MAX),
        (f'"{CODE_MAX}"', CODE_MAX),
    ],
)
def test_a_code_is_a_whole_number_or_its_digits(code: str, read: int) -> None:
    assert parse_reply(b'{"code":%b}' % code.encode()).code == read


@pytest.mark.parametrize(
    "code",
    [
        "null",
        "true",
        "200.0",
        "2e2",
        '""',
        '"ok"',
        '"200.0"',
        '" 200"',
        '"+1"',
        "[200]",
        "{}",
        str(CODE_MAX + 1),
        str(-CODE_MAX - 1),
        f'"{CODE_MAX + 1}"',
        '"00000000200"',
        '"２００"',
    ],
)
def test_another_code_makes_no_reply(code: str) -> None:
    payload = b'{"id":"1","code":%b,"data":{}}' % code.encode()
    with pytest.raises(ReplyError, match="code"):
        parse_reply(payload)
    assert not is_reply(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"pong",
        b"null",
        b"200",
        b"[]",
        b'[{"code":200}]',
        b'{"code":200',
        b'{"code":200}{}',
        b'{"code":"\xff"}',
        b'{"data":{}}',
        b"{}",
        b"[" * 100000,
    ],
)
def test_what_is_no_object_with_a_code_is_no_reply(payload: bytes) -> None:
    with pytest.raises(ReplyError):
        parse_reply(payload)
    assert not is_reply(payload)


@pytest.mark.parametrize(
    ("payload", "alink_id"),
    [
        (b'{"id":"7"}', 7),
        (b'{"id":7,"code":"fine"}', 7),
        (b'{"id":"x","code":"fine"}', 0),
        (b'{"code":"fine"}', 0),
        (b'{"id":"7"', 0),
        (b'[{"id":"7"}]', 0),
    ],
)
def test_what_is_no_reply_may_still_name_its_call(payload: bytes, alink_id: int) -> None:
    with pytest.raises(ReplyError) as caught:
        parse_reply(payload)
    assert caught.value.alink_id == alink_id


@pytest.mark.parametrize("extra", [0, 1])
def test_a_reply_is_as_large_as_a_literal_and_no_larger(extra: int) -> None:
    head = b'{"code":200,"data":"'
    payload = head + b"a" * (LITERAL_BYTES_MAX - len(head) - 2 + extra) + b'"}'
    assert len(payload) == LITERAL_BYTES_MAX + extra
    assert is_reply(payload) is not bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_reply_is_as_deep_as_a_literal_and_no_deeper(extra: int) -> None:
    levels = DEPTH_MAX - 1 + extra
    assert is_reply(b'{"code":200,"data":' + b"[" * levels + b"]" * levels + b"}") is not bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_reply_of_usual_size_is_read_once(extra: int) -> None:
    head = b'{"code":200,"data":"'
    payload = head + b"a" * (REPLY_KEPT_BYTES_MAX - len(head) - 2 + extra) + b'"}'
    first, again = parse_reply(payload), parse_reply(bytes(bytearray(payload)))
    assert (first.code, first.data, first.members) == (again.code, again.data, again.members)
    assert (first is again) is not bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_so_many_replies_are_kept_and_then_the_oldest_goes(extra: int) -> None:
    payloads = [b'{"code":200,"data":"kept %d"}' % number for number in range(REPLIES_KEPT_MAX + extra)]
    first, *_ = [parse_reply(payload) for payload in payloads]
    assert (parse_reply(payloads[0]) is first) is not bool(extra)


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(payload: bytes) -> None:
    assert is_reply(payload) in (True, False)


@pytest.mark.parametrize("members", [{}, {"data": None}])
def test_data_that_is_not_there_is_empty(members: dict[str, Any]) -> None:
    assert reply(**members).data == {}
    assert make_data(reply(**members)) == "{}"


@pytest.mark.parametrize(
    ("given_id", "alink_id"),
    [
        ("7", 7),
        (7, 7),
        ("007", 7),
        (CODE_MAX, CODE_MAX),
        (CODE_MAX + 1, 0),
        ("", 0),
        ("x", 0),
        ("7 ", 0),
        (None, 0),
        (True, 0),
        (-1, 0),
        (0, 0),
        (7.5, 0),
        ([7], 0),
        ("12345678901", 0),
    ],
)
def test_an_id_is_digits_or_a_number(given_id: Any, alink_id: int) -> None:
    assert reply(id=given_id).alink_id == alink_id


def test_a_reply_without_an_id_names_no_call() -> None:
    assert reply().alink_id == 0


@pytest.mark.parametrize(("message", "text"), [("too hot", "too hot"), (None, ""), (7, ""), ({}, "")])
def test_a_message_is_text_or_nothing(message: Any, text: str) -> None:
    assert reply(message=message).message == text
    assert reply().message == ""


# --- results


def test_the_envelope_of_a_bare_reply_is_the_published_sample() -> None:
    assert make_envelope(reply(), 100686) == (
        '{"code":200,"data":{},"id":"100686","message":"success","version":"1.0"}'
    )


@pytest.mark.parametrize(("given_id", "shown"), [("58", "58"), (58, "58"), (None, "1"), (True, "1"), ({}, "1")])
def test_the_id_in_the_envelope_is_text(given_id: Any, shown: str) -> None:
    assert json.loads(make_envelope(reply(id=given_id), 1))["id"] == shown


def test_the_envelope_keeps_whatever_else_the_device_said() -> None:
    made = parse_reply(
        b'{"x":1.50,"version":"2","message":"fine","localizedMsg":"gut","id":9,"data":{"b":10.0,"a":1},"code":"400"}'
    )
    assert make_envelope(made, 1) == (
        '{"code":400,"data":{"b":10.0,"a":1},"id":"9","message":"fine","version":"2","x":1.50,"localizedMsg":"gut"}'
    )
    assert make_data(made) == '{"b":10.0,"a":1}'


@given(
    st.dictionaries(st.text().filter(lambda name: name not in ("code", "data", "id")), JSON_VALUES, max_size=4),
    JSON_VALUES,
    st.integers(-CODE_MAX, CODE_MAX),
)
def test_nothing_of_a_reply_is_lost_or_made_up(others: dict[str, Any], data: Any, code: int) -> None:
    made = parse_reply(json.dumps({**others, "data": data, "code": code, "id": "5"}).encode())
    data = {} if data is None else data
    filled = {"message": "success", "version": "1.0", **others}
    assert json.loads(make_envelope(made, 1)) == {"code": code, "data": data, "id": "5", **filled}
    assert json.loads(make_data(made)) == data

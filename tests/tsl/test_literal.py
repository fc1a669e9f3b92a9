"""The lenient reader: what it takes beside JSON, what it keeps, and that nothing else escapes it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.tsl import LiteralError, read_literal, read_literal_object, write_literal
from linkstead.tsl.limits import DEPTH_MAX
from linkstead.tsl.literal import LITERAL_BYTES_MAX
from tests.tsl.strategies import json_values


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("{'minWarningTemp':10,'maxWarningTemp':20}", '{"minWarningTemp":10,"maxWarningTemp":20}'),
        ('{Times: 3, "IntervalSec": 10.0}', '{"Times":3,"IntervalSec":10.0}'),
        ("{a_1:1,$b:2,3:4}", '{"a_1":1,"$b":2,"3":4}'),
        ("[1, 2, ]", "[1,2]"),
        ("{'a': [ ], }", '{"a":[]}'),
        ("['it\\'s', 'say \"hi\"', \"it's\"]", '["it\'s","say \\"hi\\"","it\'s"]'),
        (r"['\u4e2d\ud83d\ude00\n\t\/\\\b\f\r\"']", '["中😀\\n\\t/\\\\\\b\\f\\r\\""]'),
        ("[true,false,null,'true',]", '[true,false,null,"true"]'),
        ("\t\r\n [ 1 ,\n] ", "[1]"),
        ("'x'", '"x"'),
    ],
)
def test_more_than_json_is_read(text: str, strict: str) -> None:
    assert write_literal(read_literal(text)) == strict


@pytest.mark.parametrize("number", ["10.0", "0.10", "-0.0", "1e5", "1E-2", "1.50e+3", "3.141592653589793238462643383"])
@pytest.mark.parametrize("wrap", ['{{"x":{}}}', "{{x:{},}}"])
def test_number_keeps_its_text(number: str, wrap: str) -> None:
    assert write_literal(read_literal(wrap.format(number))) == f'{{"x":{number}}}'


@pytest.mark.parametrize("wrap", ["[{}]", "[{},]"])
def test_whole_number_is_an_int_of_any_size(wrap: str) -> None:
    assert read_literal(wrap.format(10**400)) == [10**400]
    assert read_literal(wrap.format("-12")) == [-12]


def test_members_keep_their_order() -> None:
    assert write_literal(read_literal("{'b':1,'a':2,'c':3}")) == '{"b":1,"a":2,"c":3}'


@pytest.mark.parametrize("wrap", ["{}", "[{},]"])
def test_last_of_two_equal_keys_counts(wrap: str) -> None:
    assert json.loads(write_literal(read_literal(wrap.format('{"a":1,"a":2}'))).strip("[]")) == {"a": 2}


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        ("  ", 2),
        ("{", 1),
        ("{'a'", 4),
        ("{'a':", 5),
        ("{'a' 1}", 5),
        ("{'a':1 'b':2}", 7),
        ("{,}", 1),
        ("[,]", 1),
        ("[1,,2]", 3),
        ("[1 2]", 3),
        ("{} x", 3),
        ("{1.5:2}", 2),
        ("{-a:2}", 1),
        ("'abc", 4),
        ("'a\nb'", 2),
        (r"'\x41'", 1),
        (r"'\u00'", 1),
        ("'\\", 1),
        (r"'\ud800'", 7),
        (r"'\udc00'", 7),
        (r"'\ud800\u0041'", 13),
        ("[01]", 2),
        ("[+1]", 1),
        ("[.5]", 1),
        ("[1.]", 2),
        ("[1e]", 2),
        ("[0x10]", 2),
        ("[NaN]", 1),
        ("[Infinity]", 1),
        ("[-]", 1),
        ("[True]", 1),
        ("[None]", 1),
        ("[word]", 1),
        ("// note\n{}", 0),
        ("{testFb:Level:1}", 8),
        ("\ufeff{}", 0),
    ],
)
def test_anything_else_is_an_error_with_its_place(text: str, offset: int) -> None:
    with pytest.raises(LiteralError) as caught:
        read_literal(text)
    assert caught.value.offset == offset
    assert str(caught.value) == f"at character {offset}: {caught.value.rule}"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(LiteralError, match="surrogate"):
        read_literal('["\ud800"]')


def test_number_of_too_many_digits_is_refused() -> None:
    with pytest.raises(LiteralError, match="fewer digits"):
        read_literal("1" * 5_000)


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null", "'{}'"])
def test_arguments_have_to_be_an_object(text: str) -> None:
    with pytest.raises(LiteralError, match="must be an object"):
        read_literal_object(text)


def test_object_is_read() -> None:
    assert read_literal_object("{}") == {}
    assert read_literal_object("{'a':1}") == {"a": 1}


@pytest.mark.parametrize("end", ["", ","])
@pytest.mark.parametrize(("start", "stop"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(start: str, stop: str, end: str) -> None:
    at_the_bound = start * DEPTH_MAX + "1" + end + stop * DEPTH_MAX
    assert read_literal(at_the_bound)
    with pytest.raises(LiteralError, match=f"at most {DEPTH_MAX} objects and lists deep"):
        read_literal(start * (DEPTH_MAX + 1) + "1" + end + stop * (DEPTH_MAX + 1))


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 50_000])
def test_bottomless_text_is_refused(text: str) -> None:
    with pytest.raises(LiteralError):
        read_literal(text)


def test_many_shallow_objects_are_read() -> None:
    assert read_literal("[" + "{}," * 99 + "{}]") == [{}] * 100


@pytest.mark.parametrize(("char", "char_bytes"), [("x", 1), ("中", 3)])
def test_size_is_bounded(char: str, char_bytes: int) -> None:
    count, rest = divmod(LITERAL_BYTES_MAX - 2, char_bytes)
    text = f'"{char * count + "x" * rest}"'
    assert read_literal(text) == text[1:-1]
    with pytest.raises(LiteralError, match=f"at most {LITERAL_BYTES_MAX} bytes"):
        read_literal(text + " ")


def _keep(text: str) -> Any:
    return json.loads(text, parse_float=msgspec.Raw)


@given(json_values, st.booleans(), st.sampled_from([None, 0, 2]))
def test_json_is_read_as_json_reads_it(value: Any, ensure_ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
    assert read_literal(text) == _keep(text)
    # A comma at the end sends the text past the fast path.
    assert read_literal(f"[{text},]") == [_keep(text)]


@given(json_values)
def test_what_is_written_is_read_again(value: Any) -> None:
    once = read_literal(json.dumps(value))
    assert read_literal(write_literal(once)) == once


_tokens = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", "'", '"', "\\", "a", "1", "-", ".", "e", "\\u", "d800", "true", " ", "中"]
    )
)


def _read_or_refuse(text: str) -> str | LiteralError:
    try:
        return write_literal(read_literal(text))
    except LiteralError as error:
        return error


@given(st.text() | _tokens.map("".join))
def test_garbage_is_read_or_refused(text: str) -> None:
    outcome = _read_or_refuse(text)
    if isinstance(outcome, LiteralError):
        assert 0 <= outcome.offset <= len(text)
    else:
        assert json.loads(outcome) == json.loads(write_literal(read_literal(outcome)))

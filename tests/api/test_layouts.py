from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.action import Request
from linkstead.api.layouts import (
    LAYOUT_PAIRS_MAX,
    LAYOUTS_OF_LENGTH_MAX,
    NAME_KEPT_CHARS_MAX,
    PAIR_KEPT_CHARS_MAX,
    Layout,
    Layouts,
)
from linkstead.api.parameters import (
    BadEncoding,
    UnreadableParameters,
    bind,
    read_split_pairs,
    split_pairs,
    unknown_parameters,
)
from linkstead.errors import ApiError


class Call(Request):
    timeout: int
    topic: str = ""
    is_enabled: bool = False
    size: int | None = None


class Names(Request):
    device_name: list[str]


ALIASES = {"TimeOut": "Timeout"}
NAMES = ["Timeout", "TimeOut", "Topic", "IsEnabled", "Size", "Signature", "Zone", "A%2E1", "%53ignature", "N%3D", "B"]
VALUES = ["", "5000", "true", "a", "%E4%B8%AD", "%2F", "a=b", "%", "%zz", "\u4e2d", "x" * 300, "1%3D2", "%FF"]
queries = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), min_size=1, max_size=6)


def write_query(pairs: list[tuple[str, str]]) -> bytes:
    return "&".join([f"{name}={value}" for name, value in pairs]).encode()


def encode_in_order(query: bytes) -> str:
    """As sent, by the names as sent: NUL for "=" has them in order whatever the values are."""
    return "&".join(sorted(query.decode().replace("=", "\0").split("&"))).replace("\0", "=")


def learn(layouts: Layouts, query: bytes) -> None:
    sent = split_pairs(query, b"")
    parameters, _ = read_split_pairs(sent)
    layouts.remember(sent, parameters)


def is_known(layouts: Layouts, query: bytes) -> bool:
    return layouts.read(split_pairs(query, b"")) is not None


def read_generally(query: bytes) -> tuple[dict[str, str], list[str]] | str:
    try:
        parameters, pairs = read_split_pairs(split_pairs(query, b""))
    except UnreadableParameters as error:
        return error.rule
    return parameters, sorted(pairs)


def read_in_layout(layouts: Layouts, query: bytes) -> tuple[Layout, dict[str, str], list[str]] | str | None:
    try:
        return layouts.read(split_pairs(query, b""))
    except UnreadableParameters as error:
        return error.rule


def bind_or_refuse(parameters: dict[str, str], aliases: Mapping[str, str]) -> Call | tuple[str, str]:
    try:
        return bind(Call, parameters, aliases)
    except ApiError as error:
        return error.code, error.message("en")


def check_same(layouts: Layouts, query: bytes) -> None:
    """What a layout makes of a request is what the general way makes of it."""
    expected = read_generally(query)
    read = read_in_layout(layouts, query)
    if read is None or isinstance(read, str):
        assert read in (None, expected)
        return
    layout, parameters, pairs = read
    assert (parameters, pairs) == expected
    assert list(parameters) == list(read_split_pairs(split_pairs(query, b""))[0])
    for _ in range(2):
        assert layout.list_unknown(Call, parameters, ALIASES) == unknown_parameters(Call, parameters, ALIASES)
        try:
            bound: object = layout.bind(Call, parameters, ALIASES)
        except ApiError as error:
            bound = error.code, error.message("en")
        assert bound == bind_or_refuse(parameters, ALIASES)


@given(st.lists(queries, min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_a_layout_gives_what_the_general_way_gives(requests: list[list[tuple[str, str]]], data: st.DataObject) -> None:
    layouts = Layouts()
    for request in requests:
        query = write_query(request)
        if isinstance(read_generally(query), str):
            continue
        learn(layouts, query)
        check_same(layouts, query)
        for _ in range(3):
            values = [data.draw(st.sampled_from([value, *VALUES])) for _, value in request]
            check_same(layouts, write_query([(name, value) for (name, _), value in zip(request, values, strict=True)]))
            check_same(layouts, query)


@given(st.lists(queries, min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_a_layout_of_v3_gives_pairs_as_sent_in_order(
    requests: list[list[tuple[str, str]]], data: st.DataObject
) -> None:
    layouts = Layouts(is_v3=True)
    for request in requests:
        if isinstance(read_generally(write_query(request)), str):
            continue
        learn(layouts, write_query(request))
        for _ in range(3):
            values = [data.draw(st.sampled_from([value, *VALUES])) for _, value in request]
            query = write_query([(name, value) for (name, _), value in zip(request, values, strict=True)])
            read = read_in_layout(layouts, query)
            if isinstance(read, tuple):
                assert read[1] == read_split_pairs(split_pairs(query, b""))[0]
                assert "&".join(read[2]) == encode_in_order(query)
            else:
                assert read in (None, read_generally(query))


@given(st.binary(max_size=60), st.binary(max_size=8), st.integers(0, 60))
@settings(deadline=None)
def test_bytes_of_any_kind_are_read_as_the_general_way_reads_them(query: bytes, other: bytes, at: int) -> None:
    layouts = Layouts()
    for sent in (query, query[:at] + other + query[at:]):
        if not isinstance(read_generally(b"B=1&" + sent), str):
            learn(layouts, b"B=1&" + sent)
            check_same(layouts, b"B=1&" + query)


def test_a_request_that_differs_in_values_alone_has_the_layout_of_the_last() -> None:
    layouts = Layouts()
    learn(layouts, b"Timeout=5000&Topic=a&Signature=x%3D")
    for query in (
        b"Timeout=5000&Topic=a&Signature=y%3D",
        b"Timeout=1&Topic=&Signature=x%3D",
        b"Timeout=&Topic=%&Signature=",
    ):
        assert is_known(layouts, query)
        check_same(layouts, query)


@pytest.mark.parametrize(
    "query",
    [
        b"Topic=a&Timeout=5000&Signature=x",
        b"Timeout=5000&Topic=a",
        b"Timeout=5000&topic=a&Signature=x",
        b"Timeout=5000&Topic&Signature=x",
        b"Timeout=5000&Topi%63=a&Signature=x",
        b"Timeout=5000&Topic=a&Signature=x&",
        b"Timeout=5000&Topic=a&Signature=x&Signature=x",
    ],
)
def test_a_request_with_other_names_or_in_another_order_has_another_layout(query: bytes) -> None:
    layouts = Layouts()
    learn(layouts, b"Timeout=5000&Topic=a&Signature=x")
    assert not is_known(layouts, query)


@pytest.mark.parametrize("query", [b"", b"A", b"A=1&", b"A=1&A=1", b"A=1&%41=2"])
def test_a_request_where_a_name_is_empty_or_comes_twice_leaves_no_layout(query: bytes) -> None:
    layouts = Layouts()
    learn(layouts, query)
    assert not is_known(layouts, query)


@pytest.mark.parametrize("value", ["a", "a" * PAIR_KEPT_CHARS_MAX])
def test_nothing_is_not_a_pair_whose_value_varies(value: str) -> None:
    layouts = Layouts()
    for each in (value, "b", value):
        query = f"A=1&Topic={each}&B=1".encode()
        learn(layouts, query)
        assert is_known(layouts, query)
    assert not is_known(layouts, b"A=1&&B=1")


def test_a_value_that_is_not_utf8_is_refused_by_name() -> None:
    layouts = Layouts()
    learn(layouts, b"A=1&B%2E=2")
    with pytest.raises(BadEncoding) as error:
        is_known(layouts, b"A=1&B%2E=%FF")
    assert error.value.rule == "B.: UTF-8"


def test_lists_are_bound_in_a_layout_too() -> None:
    layouts = Layouts()
    learn(layouts, b"DeviceName.1=a&DeviceName.2=b")
    for query, names in (
        (b"DeviceName.1=a&DeviceName.2=b", ["a", "b"]),
        (b"DeviceName.1=a&DeviceName.2=c", ["a", "c"]),
    ):
        read = layouts.read(split_pairs(query, b""))
        assert read is not None
        layout, parameters, _ = read
        assert layout.bind(Names, parameters, {}).device_name == names


def test_layouts_of_one_length_are_bounded() -> None:
    layouts = Layouts()
    for index in range(LAYOUTS_OF_LENGTH_MAX):
        learn(layouts, b"A%d=1" % index)
    assert [is_known(layouts, b"A%d=2" % index) for index in range(LAYOUTS_OF_LENGTH_MAX)] == [
        True
    ] * LAYOUTS_OF_LENGTH_MAX
    learn(layouts, b"B=1")
    assert (is_known(layouts, b"B=2"), is_known(layouts, b"A0=2"), is_known(layouts, b"A1=2")) == (True, False, True)


@pytest.mark.parametrize(("count", "is_kept"), [(LAYOUT_PAIRS_MAX, True), (LAYOUT_PAIRS_MAX + 1, False)])
def test_a_layout_has_so_many_parameters(count: int, is_kept: bool) -> None:
    layouts, query = Layouts(), b"&".join([b"A%d=1" % index for index in range(count)])
    learn(layouts, query)
    assert is_known(layouts, query) is is_kept


@pytest.mark.parametrize(("chars", "is_kept"), [(NAME_KEPT_CHARS_MAX, True), (NAME_KEPT_CHARS_MAX + 1, False)])
def test_a_layout_has_names_of_so_many_characters(chars: int, is_kept: bool) -> None:
    layouts, query = Layouts(), b"A" * chars + b"=1"
    learn(layouts, query)
    assert is_known(layouts, query) is is_kept


@pytest.mark.parametrize("chars", [PAIR_KEPT_CHARS_MAX, PAIR_KEPT_CHARS_MAX + 1])
def test_a_value_is_read_whether_it_is_kept_or_not(chars: int) -> None:
    layouts, query = Layouts(), b"Topic=" + b"a" * (chars - 6) + b"&Timeout=1&Signature=x"
    learn(layouts, query)
    assert is_known(layouts, query)
    check_same(layouts, query)
    check_same(layouts, b"Topic=b&Timeout=1&Signature=x")

import time
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.action import Request
from linkstead.actions.device.applications import BatchCheckDeviceNamesRequest
from linkstead.api import signatures
from linkstead.api.parameters import (
    COMMON_PARAMETERS,
    PARAMETERS_MAX,
    BadEncoding,
    TooManyParameters,
    UnreadableParameters,
    bind,
    is_form,
    parse_parameters,
    read_pairs,
    unescape,
    unknown_parameters,
)
from linkstead.api.signatures import encode_parameters
from linkstead.errors import ApiError
from linkstead.registry.applications import APPLICATION_DEVICES_MAX

texts = st.text(st.characters(exclude_categories=["Cs"]))


class Tag(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    tag_key: str
    tag_value: str = ""
    weight: int | None = None


class Everything(Request):
    product_key: str
    timeout: int
    is_enabled: bool
    nickname: str = ""
    page_size: int = 10
    qos: int | None = None
    force: bool | None = None
    device_name: list[str] = msgspec.field(default_factory=list)
    tag: list[Tag] | None = None


class Plain(Request):
    timeout: int


class Lists(Request):
    device_name: list[str]
    tag: list[Tag]


REQUIRED = {"ProductKey": "a1", "Timeout": "5000", "IsEnabled": "true"}


def code_of(error: pytest.ExceptionInfo[ApiError]) -> tuple[str, int]:
    return error.value.code, error.value.row.http_status


# --- reading


@pytest.mark.parametrize(
    ("query", "body", "parameters"),
    [
        (b"", b"", {}),
        (b"A=1", b"", {"A": "1"}),
        (b"", b"A=1", {"A": "1"}),
        (b"A=1&B=2", b"C=3", {"A": "1", "B": "2", "C": "3"}),
        (b"A=query", b"A=body", {"A": "body"}),
        (b"A=first&A=last", b"", {"A": "last"}),
        (b"SignatureType=&Qos=1", b"", {"SignatureType": "", "Qos": "1"}),
        (b"A", b"", {"A": ""}),
        (b"&A=1&&B=2&", b"", {"A": "1", "B": "2"}),
        (b"A=a+b%20c%2Bd", b"", {"A": "a b c+d"}),
        (b"A=%2f%2F%e4%B8%ad", b"", {"A": "//中"}),
        ("A=中".encode(), b"", {"A": "中"}),
        (b"A=b==", b"", {"A": "b=="}),
        (b"Tag%2E1%3D=x", b"", {"Tag.1=": "x"}),
        (b"A=1%26B%3D2", b"", {"A": "1&B=2"}),
        (b"A=50%&B=%zz%4", b"", {"A": "50%", "B": "%zz%4"}),
        (b"A=%00", b"", {"A": "\0"}),
    ],
)
def test_query_and_form_are_read_as_one(query: bytes, body: bytes, parameters: dict[str, str]) -> None:
    assert parse_parameters(query, body) == parameters


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"A=1&B=%ff&C=2", "B"),
        (b"A=1&B=\xff&C=2", "B"),
        (b"A=%E4%B8", "A"),
        (b"A=%ed%a0%80", "A"),
        (b"%C3=1", "\ufffd"),
        (b"A=1&\xc3=1", "\ufffd"),
        (b"N" * 100 + b"=%ff", "N" * 64),
    ],
)
def test_bytes_that_are_not_utf8_are_refused_by_name(sent: bytes, name: str) -> None:
    for query, body in ((sent, b""), (b"", sent), (b"X=1", sent)):
        with pytest.raises(BadEncoding) as error:
            parse_parameters(query, body)
        assert error.value.rule == f"{name}: UTF-8"


def test_parameters_are_counted_over_query_and_form() -> None:
    half = PARAMETERS_MAX // 2
    query = b"&".join(b"A%d=1" % number for number in range(half))
    form = b"&".join(b"B%d=1" % number for number in range(PARAMETERS_MAX - half))
    assert len(parse_parameters(query, form)) == PARAMETERS_MAX
    with pytest.raises(TooManyParameters) as error:
        parse_parameters(query, form + b"&C=1")
    assert error.value.rule == "parameters <= 20100"


def name_devices(count: int) -> dict[str, str]:
    head = "DeviceNameList"
    names = {f"{head}.{number}.DeviceName": f"lamp-in-hall-{number:08}" for number in range(1, count + 1)}
    nicknames = {f"{head}.{number}.DeviceNickname": f"hall_{number}" for number in range(1, count + 1)}
    return {"ProductKey": "a1Lnk5tEad0", **names, **nicknames}


def test_as_many_devices_as_one_call_names_are_read() -> None:
    body = encode_parameters(name_devices(APPLICATION_DEVICES_MAX)).encode()
    assert len(body) < 1024 * 1024
    parameters = parse_parameters(b"Action=BatchCheckDeviceNames&Format=JSON", body)
    request = bind(BatchCheckDeviceNamesRequest, parameters, {})
    assert len(request.device_name_list) == APPLICATION_DEVICES_MAX
    last = request.device_name_list[-1]
    assert (last.device_name, last.device_nickname) == ("lamp-in-hall-00010000", "hall_10000")
    assert unknown_parameters(BatchCheckDeviceNamesRequest, parameters, {}) == []


def measure_reading_s(device_count: int) -> float:
    """Processor time of what a request costs before its action runs: reading it, its signature, binding it."""
    body = encode_parameters(name_devices(device_count)).encode()
    signing = signatures.signing_key("secret")
    measured = []
    for _ in range(5):
        started_s = time.process_time()
        parameters, pairs = read_pairs(b"", body)
        assert signatures.check_v1("POST", pairs, {**parameters, "Signature": "x"}, signing) is not None
        bind(BatchCheckDeviceNamesRequest, parameters, {})
        measured.append(time.process_time() - started_s)
    return min(measured)


def test_what_reading_costs_grows_no_faster_than_what_is_sent() -> None:
    few_s, many_s = measure_reading_s(APPLICATION_DEVICES_MAX // 10), measure_reading_s(APPLICATION_DEVICES_MAX)
    print(f"1,000 devices: {few_s * 1000:.1f} ms; 10,000 devices: {many_s * 1000:.1f} ms")  # noqa: T201
    # Ten times as much would be a hundred times as dear where each parameter is compared with each.
    assert many_s < 40 * few_s


@given(st.dictionaries(texts, texts))
@settings(deadline=None)
def test_what_is_encoded_is_read_back(parameters: dict[str, str]) -> None:
    assert parse_parameters(encode_parameters(parameters).encode(), b"") == parameters


def parse_or_none(query: bytes, body: bytes) -> dict[str, str] | None:
    try:
        return parse_parameters(query, body)
    except UnreadableParameters:
        return None


@given(st.binary(), st.binary())
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(query: bytes, body: bytes) -> None:
    from_query, from_body = parse_or_none(query, b""), parse_or_none(b"", body)
    union = None if from_query is None or from_body is None else {**from_query, **from_body}
    assert parse_or_none(query, body) == union


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", True),
        ("application/x-www-form-urlencoded", True),
        ("Application/X-WWW-Form-URLencoded; charset=UTF-8", True),
        ("application/json", False),
        ("multipart/form-data; boundary=x", False),
        ("application/x-www-form-urlencoded2", False),
    ],
)
def test_only_a_form_holds_parameters(content_type: str, expected: bool) -> None:
    assert is_form(content_type) is expected


# --- binding


def test_absent_optional_parameters_have_their_defaults() -> None:
    assert bind(Everything, REQUIRED, {}) == Everything(product_key="a1", timeout=5000, is_enabled=True)


def test_every_kind_of_parameter_is_bound() -> None:
    sent = {
        **REQUIRED,
        "Nickname": "灯",
        "PageSize": "50",
        "Qos": "1",
        "Force": "False",
        "DeviceName.1": "d1",
        "Tag.1.TagKey": "k",
        "Tag.1.TagValue": "v",
        "Tag.1.Weight": "-3",
    }
    assert bind(Everything, sent, {}) == Everything(
        product_key="a1",
        timeout=5000,
        is_enabled=True,
        nickname="灯",
        page_size=50,
        qos=1,
        force=False,
        device_name=["d1"],
        tag=[Tag(tag_key="k", tag_value="v", weight=-3)],
    )


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_absent_required_parameter_is_missing(name: str) -> None:
    with pytest.raises(ApiError) as error:
        bind(Everything, {other: value for other, value in REQUIRED.items() if other != name}, {})
    assert code_of(error) == (f"Missing{name}", 400)


def test_names_are_case_sensitive() -> None:
    with pytest.raises(ApiError) as error:
        bind(Everything, {"ProductKey": "a1", "IsEnabled": "true", "timeout": "1"}, {})
    assert code_of(error) == ("MissingTimeout", 400)


def test_empty_value_is_absent_when_optional_and_empty_text_when_required() -> None:
    empty = dict.fromkeys(("Nickname", "PageSize", "Qos", "Force"), "")
    assert bind(Everything, {**REQUIRED, **empty, "ProductKey": ""}, {}) == Everything(
        product_key="", timeout=5000, is_enabled=True
    )


@pytest.mark.parametrize("name", ["Timeout", "IsEnabled"])
def test_empty_value_of_a_required_number_or_boolean_is_invalid(name: str) -> None:
    with pytest.raises(ApiError) as error:
        bind(Everything, {**REQUIRED, name: ""}, {})
    assert code_of(error) == (f"Invalid{name}", 400)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-1", -1),
        ("+8", 8),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_decimal_text_within_64_bits_is_a_number(text: str, number: int) -> None:
    assert bind(Everything, {**REQUIRED, "Timeout": text}, {}).timeout == number


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "-9223372036854775809",
        "1" * 20,
        "1" * 5_000,
        "1.0",
        "1e3",
        "0x10",
        "1_000",
        " 1",
        "1\n",
        "٣",
        "-",
        "five",
        "true",
    ],
)
def test_other_text_is_no_number(text: str) -> None:
    for name in ("Timeout", "Qos"):
        with pytest.raises(ApiError) as error:
            bind(Everything, {**REQUIRED, name: text}, {})
        assert code_of(error) == (f"Invalid{name}", 400)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("FALSE", False), ("false", False)])
def test_boolean_is_read_in_any_letter_case(text: str, value: bool) -> None:
    assert bind(Everything, {**REQUIRED, "Force": text}, {}).force is value


@pytest.mark.parametrize("text", ["1", "0", "yes", "true ", "ｔrue"])
def test_other_text_is_no_boolean(text: str) -> None:
    with pytest.raises(ApiError) as error:
        bind(Everything, {**REQUIRED, "IsEnabled": text}, {})
    assert code_of(error) == ("InvalidIsEnabled", 400)


def test_alias_is_taken_where_the_proper_name_is_absent() -> None:
    aliases = {"TimeOut": "Timeout"}
    assert bind(Plain, {"TimeOut": "1000"}, aliases).timeout == 1000
    assert bind(Plain, {"TimeOut": "1000", "Timeout": "2000"}, aliases).timeout == 2000
    with pytest.raises(ApiError) as error:
        bind(Plain, {"TimeOut": "soon"}, aliases)
    assert code_of(error) == ("InvalidTimeout", 400)
    with pytest.raises(ApiError) as error:
        bind(Plain, {"TimeOut": "1000"}, {})
    assert code_of(error) == ("MissingTimeout", 400)


def test_list_follows_its_numbers_and_closes_gaps() -> None:
    sent = {**REQUIRED, "DeviceName.10": "ten", "DeviceName.2": "two", "DeviceName.1": "one", "DeviceName.3": ""}
    assert bind(Everything, sent, {}).device_name == ["one", "two", "", "ten"]


@pytest.mark.parametrize(
    "name",
    [
        "DeviceName",
        "DeviceName.",
        "DeviceName.0",
        "DeviceName.01",
        "DeviceName.-1",
        "DeviceName.x",
        "DeviceName.٣",
        "DeviceName.1000000000",
        "DeviceName.1.Field",
        "DeviceName.1.",
        "devicename.1",
        "Tag.1",
        "Tag.1.Colour",
        "Tag.1.TagKey.1",
    ],
)
def test_other_forms_are_no_element_of_a_list(name: str) -> None:
    sent = {**REQUIRED, name: "x"}
    assert bind(Everything, sent, {}) == bind(Everything, REQUIRED, {})
    assert unknown_parameters(Everything, sent, {}) == [name]


def test_list_of_objects_is_gathered_by_number() -> None:
    sent = {"Tag.11.TagKey": "last", "Tag.2.TagValue": "v", "DeviceName.1": "d", "Tag.2.TagKey": "first"}
    assert bind(Lists, sent, {}).tag == [Tag(tag_key="first", tag_value="v"), Tag(tag_key="last")]


def test_errors_inside_a_list_name_the_element() -> None:
    sent = {"DeviceName.1": "d", "Tag.1.TagKey": "k"}
    with pytest.raises(ApiError) as error:
        bind(Lists, {**sent, "Tag.3.TagValue": "v"}, {})
    assert code_of(error) == ("MissingTag.3.TagKey", 400)
    with pytest.raises(ApiError) as error:
        bind(Lists, {**sent, "Tag.1.Weight": "heavy"}, {})
    assert code_of(error) == ("InvalidTag.1.Weight", 400)


@pytest.mark.parametrize(("sent", "missing"), [("Tag.1.TagKey", "DeviceName"), ("DeviceName.1", "Tag")])
def test_absent_required_list_is_missing(sent: str, missing: str) -> None:
    with pytest.raises(ApiError) as error:
        bind(Lists, {sent: "x"}, {})
    assert code_of(error) == (f"Missing{missing}", 400)


def test_list_inside_a_list_is_refused_as_a_mistake_of_the_shape() -> None:
    class Outer(Request):
        lists: list[Lists]

    with pytest.raises(TypeError, match="Lists"):
        bind(Outer, {}, {})


# --- unknown names


def test_common_and_own_parameters_are_known() -> None:
    sent = dict.fromkeys([*COMMON_PARAMETERS, *REQUIRED, "DeviceName.1", "Tag.7.TagKey", "TimeOut"], "")
    assert unknown_parameters(Everything, sent, {"TimeOut": "Timeout"}) == []


def test_unknown_parameters_are_listed_in_the_order_sent() -> None:
    sent = {"Zone": "1", "ServiceCode": "iot", **REQUIRED, "TimeOut": "1"}
    assert unknown_parameters(Everything, sent, {}) == ["Zone", "ServiceCode", "TimeOut"]


ESCAPES = st.lists(
    st.sampled_from(
        [
            "%7B",
            "%22",
            "%3a",
            "%3D",
            "%",
            "%%",
            "%7",
            "%G0",
            "=",
            "==",
            "%E7%81%AF",
            "%ff",
            "\n",
            "\r",
            "%\n",
            "a",
            " ",
            "灯",
        ]
    ),
    max_size=12,
).map("".join)


@given(ESCAPES)
def test_values_with_many_escapes_mean_what_they_mean_in_general(text: str) -> None:
    try:
        expected = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            unescape(text)
    else:
        assert unescape(text) == expected

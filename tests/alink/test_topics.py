from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkstead.alink.topics import (
    CUSTOM_TOPIC_BYTES_MAX,
    CUSTOM_TOPIC_SLASHES_MAX,
    RrpcAnswer,
    broadcast_request,
    ext_rrpc,
    find_owner,
    is_custom,
    is_custom_rrpc_topic,
    is_publishable,
    matches,
    matches_any,
    may_publish,
    may_subscribe,
    parse_rrpc_answer,
    rrpc_request,
    rrpc_response,
    service,
    service_trio,
    split_query,
)
from linkstead.registry import DeviceKey

PK, DN = "a1Lnk5tEad0", "lamp-01"
KEY = DeviceKey(PK, DN)
SYS = f"/sys/{PK}/{DN}"
MESSAGE_ID = 889_455_942_124_347_392

FILTERS_OF_NODE = [
    f"{SYS}/thing/event/property/post_reply",
    f"{SYS}/thing/service/property/set",
    f"{SYS}/thing/event/+/post_reply",
    f"{SYS}/thing/deviceinfo/update_reply",
    f"{SYS}/thing/deviceinfo/delete_reply",
    f"{SYS}/thing/config/get_reply",
    f"/shadow/get/{PK}/{DN}",
    f"{SYS}/thing/config/push",
    f"{SYS}/thing/config/push_reply",
    f"{SYS}/thing/topo/add_reply",
    f"{SYS}/thing/topo/delete_reply",
    f"{SYS}/thing/topo/get_reply",
    f"/ext/session/{PK}/{DN}/combine/login_reply",
    f"/ext/session/{PK}/{DN}/combine/logout_reply",
    f"{SYS}/thing/sub/register_reply",
    f"{SYS}/rrpc/request/+",
    f"{SYS}/thing/service/SetPower",
]
FILTERS_OF_C = [
    f"{SYS}/thing/event/+/post_reply",
    f"{SYS}/thing/service/+",
    f"{SYS}/thing/service/property/set",
    f"{SYS}/rrpc/request/+",
    f"/ext/ntp/{PK}/{DN}/response",
    f"/ota/device/upgrade/{PK}/{DN}",
]
FILTERS_OF_PYTHON = [f"/ext/rrpc/+/{PK}/{DN}/user/get", "/ext/rrpc/+/rrpc/test", f"/{PK}/{DN}/user/get"]
FILTERS_OF_OTHERS = [
    f"{SYS}/#",
    f"{SYS}/thing/#",
    f"/{PK}/{DN}/#",
    f"/{PK}/{DN}/user/+",
    f"/{PK}/{DN}/get",
    f"/ext/rrpc/+{SYS}/thing/service/+",
    "/ext/rrpc/#",
    f"/ext/error/{PK}/{DN}",
    "/ext/register",
    "/ext/regnwl",
    f"/shadow/+/{PK}/{DN}",
    f"/ota/device/+/{PK}/{DN}",
    f"/broadcast/{PK}/+",
    f"/broadcast/{PK}/weather",
]

FILTERS_OF_NOBODY = [
    "",
    "#",
    "+",
    "/#",
    "/+/#",
    "/+/+/user/get",
    f"/+/{DN}/user/get",
    f"/{PK}/+/user/get",
    f"/{PK}/#",
    f"/{PK}/lamp-02/user/get",
    f"/{PK}/lamp-0/user/get",
    f"/{PK}/lamp-010/user/get",
    f"/{PK}/{DN}",
    f"{PK}/{DN}/user/get",
    f"/a1Lnk5tEad1/{DN}/user/get",
    "/sys",
    "/sys/#",
    f"/sys/{PK}/#",
    "/sys/+/+/thing/service/+",
    f"/sys/{PK}/+/rrpc/request/+",
    f"/sys/+/{DN}/rrpc/request/+",
    f"/sys/{PK}/lamp-02/rrpc/request/+",
    SYS,
    "/ext/#",
    "/ext/+",
    f"/ext/+/{PK}/{DN}",
    f"/ext/+/{PK}/{DN}/combine/login_reply",
    f"/ext/error/{PK}/+",
    f"/ext/error/+/{DN}",
    f"/ext/session/{PK}/lamp-02/combine/login_reply",
    "/ext/ntp/#",
    "/ext/auth/identity/response",
    "/ext/register/#",
    "/ext/regnwl/x",
    "/ext/rrpc",
    "/ext/rrpcx/+/a",
    "/shadow/get/+/+",
    "/shadow/#",
    f"/shadow/get/{PK}/lamp-02",
    "/ota/device/upgrade/+/+",
    "/ota/#",
    f"/ota/device/upgrade/{PK}/lamp-02",
    "/broadcast/+/weather",
    "/broadcast/#",
    "/broadcast/a1Lnk5tEad1/weather",
    f"/broadcast/{PK}",
    "$SYS/#",
    "$share/group/#",
    f"$share/group/{SYS}/#",
    "/as/mqtt/status/+/+",
]


# --- who may do what


@pytest.mark.parametrize("name", [*FILTERS_OF_NODE, *FILTERS_OF_C, *FILTERS_OF_PYTHON, *FILTERS_OF_OTHERS])
def test_a_device_is_granted_the_filters_its_sdk_sends(name: str) -> None:
    assert may_subscribe(KEY, name)


@pytest.mark.parametrize("name", FILTERS_OF_NOBODY)
def test_a_filter_that_reaches_beyond_the_device_is_refused(name: str) -> None:
    assert not may_subscribe(KEY, name)


@pytest.mark.parametrize("name", sorted({*FILTERS_OF_NODE, *FILTERS_OF_C, *FILTERS_OF_PYTHON, *FILTERS_OF_OTHERS}))
def test_what_one_device_is_granted_another_is_not(name: str) -> None:
    shared = ("/ext/rrpc/", "/broadcast/", "/ext/register", "/ext/regnwl")
    assert may_subscribe(DeviceKey(PK, "lamp-02"), name) is name.startswith(shared)


@pytest.mark.parametrize(
    "topic",
    [
        rrpc_response(KEY, MESSAGE_ID),
        ext_rrpc(MESSAGE_ID, f"/{PK}/{DN}/user/get"),
        ext_rrpc(MESSAGE_ID, "/any/form"),
        f"{SYS}/thing/event/property/post",
        f"{SYS}/thing/service/SetPower_reply",
        f"{SYS}/_thing/diag/post",
        f"/ext/ntp/{PK}/{DN}/request",
        f"/ext/session/{PK}/{DN}/combine/login",
        f"/ota/device/inform/{PK}/{DN}",
        f"/shadow/update/{PK}/{DN}",
        f"/{PK}/{DN}/user/update",
        f"/{PK}/{DN}/update",
    ],
)
def test_a_device_may_publish_on_its_own_topics(topic: str) -> None:
    assert may_publish(KEY, topic)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "user/update",
        rrpc_response(DeviceKey(PK, "lamp-02"), MESSAGE_ID),
        f"/sys/{PK}/lamp-02/thing/event/property/post",
        f"/sys/a1Lnk5tEad1/{DN}/thing/event/property/post",
        f"/sys/{PK}",
        f"/ext/ntp/{PK}/lamp-02/request",
        f"/ext/session/{PK}/lamp-02/combine/login",
        f"/ota/device/inform/{PK}/lamp-02",
        f"/ota/device/inform/{PK}",
        f"/shadow/update/{PK}/lamp-02",
        f"/shadow/update/{PK}/{DN}/more",
        f"/{PK}/lamp-02/user/update",
        f"/{PK}/user/update",
        f"/broadcast/{PK}/weather",
        "/as/mqtt/status/a/b",
        "$SYS/broker/uptime",
    ],
)
def test_a_device_may_publish_on_no_topic_of_somebody_else(topic: str) -> None:
    assert not may_publish(KEY, topic)


@pytest.mark.parametrize("may", [may_publish, may_subscribe])
def test_a_custom_topic_has_at_most_128_bytes(may: Callable[[DeviceKey, str], bool]) -> None:
    start = f"/{PK}/{DN}/user/"
    ascii_at = start + "x" * (CUSTOM_TOPIC_BYTES_MAX - len(start))
    wide_at = start + "灯" * ((CUSTOM_TOPIC_BYTES_MAX - len(start)) // 3)
    assert may(KEY, ascii_at)
    assert not may(KEY, ascii_at + "x")
    assert may(KEY, wide_at)
    assert not may(KEY, wide_at + "灯")


@pytest.mark.parametrize("may", [may_publish, may_subscribe])
def test_a_custom_topic_has_at_most_7_slashes(may: Callable[[DeviceKey, str], bool]) -> None:
    at = f"/{PK}/{DN}/user" + "/x" * (CUSTOM_TOPIC_SLASHES_MAX - 3)
    assert at.count("/") == 7
    assert may(KEY, at)
    assert not may(KEY, at + "/")


def test_the_limits_of_custom_topics_do_not_touch_system_topics() -> None:
    long_name = DeviceKey("A" * 20, "d" * 32)
    topic = ext_rrpc(MESSAGE_ID, f"/sys/{long_name.product_key}/{long_name.device_name}/thing/service/" + "s" * 50)
    assert len(topic) > CUSTOM_TOPIC_BYTES_MAX
    assert topic.count("/") > CUSTOM_TOPIC_SLASHES_MAX
    assert may_publish(long_name, topic)
    assert may_subscribe(long_name, f"/sys/{long_name.product_key}/{long_name.device_name}" + "/x" * 100)


def test_only_topics_below_its_own_names_are_a_devices_custom_topics() -> None:
    assert is_custom(KEY, f"/{PK}/{DN}/user/update")
    assert is_custom(KEY, f"/{PK}/{DN}/")
    assert not is_custom(KEY, f"/{PK}/{DN}")
    assert not is_custom(KEY, f"/{PK}/{DN}0/user/update")
    assert not is_custom(KEY, f"{SYS}/thing/event/property/post")


# --- topics of calls


def test_a_call_without_a_topic_travels_on_the_system_topics() -> None:
    assert rrpc_request(KEY, MESSAGE_ID) == f"/sys/{PK}/{DN}/rrpc/request/889455942124347392"
    assert rrpc_response(KEY, MESSAGE_ID) == f"/sys/{PK}/{DN}/rrpc/response/889455942124347392"


def test_a_call_with_a_topic_puts_it_behind_the_message_id() -> None:
    assert ext_rrpc(MESSAGE_ID, f"/{PK}/{DN}/user/get") == f"/ext/rrpc/889455942124347392/{PK}/{DN}/user/get"


@given(st.integers(min_value=1, max_value=2**63 - 1), st.sampled_from(["/a", f"/{PK}/{DN}/user/get", "/x/1/2"]))
@example(2**63 - 1, "/a")
def test_the_message_id_is_read_back_from_the_answers_topic(message_id: int, topic: str) -> None:
    assert parse_rrpc_answer(rrpc_response(KEY, message_id)) == RrpcAnswer(message_id, KEY)
    assert parse_rrpc_answer(ext_rrpc(message_id, topic)) == RrpcAnswer(message_id, None)


def test_an_answer_on_the_requests_topic_still_names_its_call() -> None:
    assert parse_rrpc_answer(rrpc_request(KEY, MESSAGE_ID)) == RrpcAnswer(MESSAGE_ID, KEY)
    assert parse_rrpc_answer("/ext/rrpc/5") == RrpcAnswer(5, None)


@pytest.mark.parametrize("text", ["", "x", "-1", "+", "1.0", "0x1", " 5", "5 ", "٥", "9" * 20, "5/more"])
def test_a_message_id_that_is_no_number_names_no_call(text: str) -> None:
    assert parse_rrpc_answer(f"{SYS}/rrpc/response/{text}") == RrpcAnswer(0, KEY)
    answer = parse_rrpc_answer(f"/ext/rrpc/{text}/a")
    assert answer == RrpcAnswer(5 if text == "5/more" else 0, None)


@pytest.mark.parametrize("topic", [f"{SYS}/rrpc", f"{SYS}/rrpc/", f"{SYS}/rrpc/response", f"{SYS}/rrpc/a/b/c"])
def test_an_answers_topic_may_be_cut_short(topic: str) -> None:
    assert parse_rrpc_answer(topic) == RrpcAnswer(0, KEY)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "/sys",
        "/sys/",
        "/ext/rrpc",
        f"{SYS}/thing/service/rrpc",
        f"{SYS}/rrpcs/response/5",
        f"/sys/{PK}/rrpc/response/5",
        f"/{PK}/{DN}/rrpc/response/5",
        f"x{SYS}/rrpc/response/5",
        f"/ext/ntp/{PK}/{DN}/request",
    ],
)
def test_any_other_topic_carries_no_answer(topic: str) -> None:
    assert parse_rrpc_answer(topic) is None


@given(st.text(alphabet="/sysextrpcono5+#", max_size=40))
def test_no_topic_breaks_the_reading_of_answers(topic: str) -> None:
    assert parse_rrpc_answer(topic) is None or topic.startswith(("/ext/rrpc/", "/sys/"))


def test_a_calls_topic_has_at_most_128_bytes_and_no_sign_with_a_meaning() -> None:
    assert is_custom_rrpc_topic("/" + "x" * (CUSTOM_TOPIC_BYTES_MAX - 1))
    assert not is_custom_rrpc_topic("/" + "x" * CUSTOM_TOPIC_BYTES_MAX)
    assert is_custom_rrpc_topic("/" + "灯" * 42 + "x")
    assert not is_custom_rrpc_topic("/" + "灯" * 43)
    for sign in "+#?\0":
        assert not is_custom_rrpc_topic(f"/a{sign}b")


@pytest.mark.parametrize(
    ("topic", "bare", "query"),
    [
        (f"{SYS}/thing/event/property/post?_rid=7", f"{SYS}/thing/event/property/post", "_rid=7"),
        (f"/{PK}/{DN}/user/update?_sn=default", f"/{PK}/{DN}/user/update", "_sn=default"),
        ("/a?b?c", "/a", "b?c"),
        ("/a?", "/a", ""),
        ("/a", "/a", ""),
        ("?", "", ""),
    ],
)
def test_an_uplink_topic_ends_at_its_question_mark(topic: str, bare: str, query: str) -> None:
    assert split_query(topic) == (bare, query)


# --- topics of messages


def test_a_broadcast_comes_on_a_system_topic_of_the_device() -> None:
    topic = broadcast_request(KEY, 889455942124347392)
    assert topic == f"/sys/{PK}/{DN}/broadcast/request/889455942124347392"


@pytest.mark.parametrize(
    "topic", [f"/{PK}/{DN}/user/get", f"/{PK}/{DN}/get", f"/broadcast/{PK}/group 1", f"/{PK}/{DN}/user/灯"]
)
def test_a_message_may_go_to_the_name_of_a_topic(topic: str) -> None:
    assert is_publishable(topic)


@pytest.mark.parametrize("topic", ["/a//b", "/a/b/", "/", "", "/a/+", "/a/#", "/a/b+", "/a?b", "/a\0"])
def test_a_message_may_not_go_to_an_empty_level_or_a_wildcard(topic: str) -> None:
    assert not is_publishable(topic)


def test_a_message_may_go_to_a_topic_of_128_bytes_and_7_slashes() -> None:
    assert is_publishable("/" + "x" * (CUSTOM_TOPIC_BYTES_MAX - 1))
    assert not is_publishable("/" + "x" * CUSTOM_TOPIC_BYTES_MAX)
    assert is_publishable("/x" * CUSTOM_TOPIC_SLASHES_MAX)
    assert not is_publishable("/x" * (CUSTOM_TOPIC_SLASHES_MAX + 1))


# --- matching


def oracle(topic_filter: str, topic: str) -> bool:
    """By the letter of [MQTT-4.7.1-2] and [MQTT-4.7.1-3], level by level."""

    def match(wanted: list[str], levels: list[str]) -> bool:
        if not wanted:
            return not levels
        if wanted == ["#"]:
            return True
        return bool(levels) and wanted[0] in ("+", levels[0]) and match(wanted[1:], levels[1:])

    return match(topic_filter.split("/"), topic.split("/"))


levels = st.sampled_from(["", "a", "b", "ab"])
names = st.lists(levels, min_size=1, max_size=5).map("/".join)
filters = st.builds(
    lambda parts, tail: "/".join([*parts, *tail]),
    st.lists(st.one_of(levels, st.just("+")), min_size=1, max_size=5),
    st.sampled_from([[], ["#"]]),
)


@given(filters, names)
@example("#", "")
@example("a/#", "a")
@example("+", "a/b")
@example("a/+", "a")
@example("a/+/#", "a/b")
@example("/+", "/")
@example("+/+", "/a")
def test_a_filter_matches_what_the_standard_says(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) is oracle(topic_filter, topic)


@given(names)
def test_a_topic_matches_itself_and_the_filter_for_all(topic: str) -> None:
    assert matches(topic, topic)
    assert matches("#", topic)
    assert matches("/".join("+" for _ in topic.split("/")), topic)
    assert not matches(topic + "/x", topic)


def test_one_filter_that_matches_is_enough() -> None:
    assert matches_any({"/a/x": 0, "/a/+": 1}, "/a/b")
    assert not matches_any({"/a/x": 0, "/b/+": 1}, "/a/b")
    assert not matches_any({}, "/a/b")


# --- whose topic


@pytest.mark.parametrize(
    "topic",
    [
        f"{SYS}/thing/event/property/post",
        f"{SYS}/#",
        f"/{PK}/{DN}/user/get",
        f"/{PK}/{DN}/update",
        f"/ext/ntp/{PK}/{DN}/request",
        f"/ext/session/{PK}/{DN}/combine/login",
        f"/ext/error/{PK}/{DN}",
        f"/shadow/update/{PK}/{DN}",
        f"/ota/device/inform/{PK}/{DN}",
    ],
)
def test_the_owner_of_a_topic_is_the_device_that_it_names(topic: str) -> None:
    assert find_owner(topic) == KEY
    assert may_subscribe(KEY, topic)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "a/b/c/d",
        f"/sys/{PK}/{DN}",
        f"/{PK}/{DN}",
        f"/ext/rrpc/1/{PK}/{DN}",
        "/ext/register",
        f"/broadcast/{PK}/group",
        f"/shadow/update/{PK}/{DN}/more",
        "/sys///x",
    ],
)
def test_a_topic_that_names_no_single_device_has_no_owner(topic: str) -> None:
    assert find_owner(topic) is None


def test_the_topics_of_a_synchronous_service_are_those_of_its_carriers() -> None:
    expected = (
        rrpc_request(KEY, 889455942124347392),
        rrpc_response(KEY, 889455942124347392),
        ext_rrpc(889455942124347392, service(KEY, "module:setMode")),
    )
    assert service_trio(KEY, 889455942124347392, "module:setMode") == expected

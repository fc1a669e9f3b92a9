import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.telemetry import Shadow, ShadowError, ShadowFault, read_shadow, read_shadow_message, write_shadow
from linkstead.telemetry.shadow import ATTRIBUTES_MAX, RESET_VERSION, SHADOW_BYTES_MAX, VERSION_MAX
from linkstead.tsl.limits import DEPTH_MAX

T = 1_700_000_000
values = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
attributes = st.dictionaries(st.text(min_size=1, max_size=5), values, max_size=5)


def message(**members: Any) -> bytes:
    return json.dumps(members).encode()


def fault_of(work: Any, *arguments: Any, **named: Any) -> ShadowFault:
    with pytest.raises(ShadowError) as caught:
        work(*arguments, **named)
    return caught.value.fault


@given(attributes, attributes, st.integers(1, VERSION_MAX))
def test_what_is_written_is_read_again(desired: dict[str, Any], reported: dict[str, Any], version: int) -> None:
    shadow = Shadow().take_version(version, T).desire(desired, is_delta=False).report(reported)
    assert read_shadow(write_shadow(shadow)) == shadow
    document = json.loads(write_shadow(shadow))
    assert document["state"] == {name: part for name, part in (("desired", desired), ("reported", reported)) if part}
    assert (document["version"], document["timestamp"]) == (version, T)


def test_each_attribute_has_the_time_it_was_written() -> None:
    first = Shadow().take_version(1, T).report({"color": "red", "level": 1})
    second = first.take_version(2, T + 5).report({"level": 2})
    assert second.describe() == {
        "state": {"reported": {"color": "red", "level": 2}},
        "metadata": {"reported": {"color": {"timestamp": T}, "level": {"timestamp": T + 5}}},
    }


def test_what_is_desired_takes_the_place_of_what_was_or_adds_to_it() -> None:
    first = Shadow().take_version(1, T).desire({"color": "red"}, is_delta=False)
    assert first.desire({"level": 1}, is_delta=True).desired.values == {"color": "red", "level": 1}
    assert first.desire({"level": 1}, is_delta=False).desired.values == {"level": 1}
    assert first.forget_desired().describe() == {"state": {}, "metadata": {}}


def test_attributes_are_forgotten() -> None:
    shadow = Shadow().take_version(1, T).report({"color": "red", "level": 1})
    assert shadow.forget_reported({"color": "null", "unknown": "null"}).reported.times_s == {"level": T}
    assert shadow.forget_reported(None).reported.values == {}


def test_a_version_has_to_rise_or_to_begin_again() -> None:
    shadow = Shadow().take_version(0, T).take_version(7, T)
    for version in (0, 6, 7):
        assert fault_of(shadow.take_version, version, T) is ShadowFault.CONFLICT
    assert shadow.take_version(8, T + 1) == Shadow(8, T + 1)
    assert shadow.take_version(RESET_VERSION, T).version == 0


def test_a_part_has_so_many_attributes_and_no_more() -> None:
    many = {f"a{number}": 1 for number in range(ATTRIBUTES_MAX)}
    shadow = Shadow().take_version(1, T).report(many).desire(many, is_delta=False)
    assert fault_of(shadow.report, {"more": 1}) is ShadowFault.TOO_MANY_ATTRIBUTES
    assert fault_of(shadow.desire, {"more": 1}, is_delta=True) is ShadowFault.TOO_MANY_ATTRIBUTES
    assert shadow.desire({"more": 1}, is_delta=False).desired.values == {"more": 1}
    read = read_shadow_message(message(state={"reported": many}))
    assert read.read_attributes("reported") == many
    read = read_shadow_message(message(state={"reported": {**many, "more": 1}}))
    assert fault_of(read.read_attributes, "reported") is ShadowFault.TOO_MANY_ATTRIBUTES


def test_a_shadow_has_so_many_bytes_and_no_more() -> None:
    frame = len('[{},{"a":""}]')
    shadow = Shadow().take_version(1, T).report({"a": "x" * (SHADOW_BYTES_MAX - frame)})
    assert fault_of(shadow.report, {"a": "x" * (SHADOW_BYTES_MAX - frame + 1)}) is ShadowFault.TOO_LARGE
    assert fault_of(shadow.desire, {"b": 1}, is_delta=True) is ShadowFault.TOO_LARGE


def test_a_message_has_so_many_bytes_and_is_so_deep() -> None:
    frame = len('{"a":""}')
    largest = b'{"a":"' + b"x" * (SHADOW_BYTES_MAX - frame) + b'"}'
    assert read_shadow_message(largest).members
    assert fault_of(read_shadow_message, largest + b" ") is ShadowFault.TOO_LARGE
    assert read_shadow_message(b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX).members
    deep = b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1)
    assert fault_of(read_shadow_message, deep) is ShadowFault.NOT_JSON


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", ShadowFault.EMPTY),
        (b" \n", ShadowFault.EMPTY),
        (b"{}", ShadowFault.EMPTY),
        (b"{", ShadowFault.NOT_JSON),
        (b"[1]", ShadowFault.NOT_JSON),
        (b"null", ShadowFault.NOT_JSON),
        (b"{'method':'get'}", ShadowFault.NOT_JSON),
        (b"\xff", ShadowFault.NOT_JSON),
        (b"[" * 5_000, ShadowFault.NOT_JSON),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes, fault: ShadowFault) -> None:
    assert fault_of(read_shadow_message, payload) is fault


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (None, ShadowFault.NULL_PART),
        ("red", ShadowFault.MALFORMED_PART),
        ([], ShadowFault.MALFORMED_PART),
        ({}, ShadowFault.NO_ATTRIBUTE),
        ({"": 1}, ShadowFault.NULL_ATTRIBUTE),
        ({"color": None}, ShadowFault.NULL_ATTRIBUTE),
    ],
)
def test_a_part_that_breaks_a_rule_is_refused(part: Any, fault: ShadowFault) -> None:
    read = read_shadow_message(message(state={"desired": part}))
    assert fault_of(read.read_attributes, "desired") is fault
    assert fault_of(read.read_attributes, "reported") is ShadowFault.NO_PART


@pytest.mark.parametrize("version", ["1", True, 1.0, -2, VERSION_MAX + 1, [1]])
def test_a_version_that_is_no_whole_number_is_refused(version: Any) -> None:
    read = read_shadow_message(message(version=version))
    assert fault_of(lambda: read.version) is ShadowFault.MALFORMED_VERSION


def test_what_is_missing_is_told() -> None:
    read = read_shadow_message(message(version=None, state="x"))
    assert fault_of(lambda: read.version) is ShadowFault.NO_VERSION
    assert fault_of(lambda: read.method) is ShadowFault.NO_METHOD
    assert fault_of(lambda: read.state) is ShadowFault.NO_STATE
    assert read_shadow_message(message(version=VERSION_MAX)).version == VERSION_MAX

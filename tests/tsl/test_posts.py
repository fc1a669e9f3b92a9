"""What a device's post carries around its values."""

import pytest

from linkstead.tsl import check_post_size, check_time, unwrap_value
from linkstead.tsl.limits import POST_PROPERTIES_MAX, TIME_AHEAD_MS_MAX

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("posted", "value", "time"),
    [
        (42, 42, None),
        ({"value": 1, "time": NOW_MS}, 1, NOW_MS),
        ({"value": {"a": 1}}, {"a": 1}, None),
        ({"value": 1, "time": None}, 1, None),
        ({"value": 1, "unit": "V"}, {"value": 1, "unit": "V"}, None),
        ({"time": 1}, {"time": 1}, None),
        ({"value": 1, "time": 1, "x": 1}, {"value": 1, "time": 1, "x": 1}, None),
        ({"FaultCode": 1}, {"FaultCode": 1}, None),
        ({}, {}, None),
        (["value"], ["value"], None),
        ("value", "value", None),
    ],
)
def test_only_a_wrapper_is_unwrapped(posted: object, value: object, time: object) -> None:
    assert unwrap_value(posted) == (value, time)


@pytest.mark.parametrize("time", [0, NOW_MS, str(NOW_MS), NOW_MS + TIME_AHEAD_MS_MAX, str(NOW_MS + TIME_AHEAD_MS_MAX)])
def test_time_up_to_a_day_ahead_is_good(time: object) -> None:
    assert check_time(time, NOW_MS) is None


@pytest.mark.parametrize("time", [NOW_MS + TIME_AHEAD_MS_MAX + 1, str(NOW_MS + TIME_AHEAD_MS_MAX + 1)])
def test_time_further_ahead_is_refused(time: object) -> None:
    fault = check_time(time, NOW_MS)
    assert fault is not None
    assert fault.code == 6326
    assert fault.message.startswith("time is in the future -> time (value: ")


@pytest.mark.parametrize("time", [-1, 1.5, True, "", "1e3", "１", "1" * 16, 10**400, "soon", [], {}])
def test_time_of_another_form_is_refused(time: object) -> None:
    fault = check_time(time, NOW_MS)
    assert fault is not None
    assert (fault.code, fault.problem) == (6326, "time is malformed")


def test_properties_of_a_post_are_bounded() -> None:
    assert check_post_size(range(POST_PROPERTIES_MAX)) is None
    fault = check_post_size(range(POST_PROPERTIES_MAX + 1))
    assert fault is not None
    assert (fault.code, fault.message) == (6106, "too many properties -> params (value: 201; rule: at most 200)")

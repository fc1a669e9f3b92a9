"""What a device's post carries around its values: the wrapper, the time, how many there are.

Source: `device-protocol.md` 5.2 and 5.3.
"""

from collections.abc import Collection

from linkstead.tsl.checking import Fault
from linkstead.tsl.limits import POST_PROPERTIES_MAX, TIME_AHEAD_MS_MAX

TOO_MANY_PROPERTIES = 6106
MALFORMED_TIME = 6326
TIME_DIGITS_MAX = 15


def unwrap_value(value: object) -> tuple[object, object | None]:
    """The value and its time, None when it has none.

    An object is a wrapper only if it has `value` and no keys other than `value` and `time`; anything else is the value
    itself. So are properties in a post, and the `params` of an event's post.
    """
    if isinstance(value, dict) and "value" in value and len(value) == 1 + ("time" in value):
        return value["value"], value.get("time")
    return value, None


def check_time(time: object, now_ms: int) -> Fault | None:
    """Check the time of a value: UTC milliseconds as a number or as digits, at most 24 hours after `now_ms`."""
    text = str(time) if type(time) is int else time
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= TIME_DIGITS_MAX:
        if int(text) <= now_ms + TIME_AHEAD_MS_MAX:
            return None
        return Fault(MALFORMED_TIME, "time is in the future", f"at most {now_ms + TIME_AHEAD_MS_MAX}", time, "time")
    return Fault(MALFORMED_TIME, "time is malformed", "UTC milliseconds", time, "time")


def check_post_size(items: Collection[object]) -> Fault | None:
    """Check how many properties one post has; over POST_PROPERTIES_MAX the whole post is refused (6106)."""
    if len(items) <= POST_PROPERTIES_MAX:
        return None
    return Fault(TOO_MANY_PROPERTIES, "too many properties", f"at most {POST_PROPERTIES_MAX}", len(items), "params")

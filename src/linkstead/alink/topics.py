"""Topics: what they look like, who may use which, and whether a filter matches.

Source: `device-protocol.md` 2 (access control), 3 and 4; topic tables of the device documentation.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from linkstead.registry import DeviceKey

CUSTOM_TOPIC_BYTES_MAX = 128
CUSTOM_TOPIC_SLASHES_MAX = 7
MESSAGE_ID_DIGITS_MAX = 19
PUBLISHABLE_RULE = f"<= {CUSTOM_TOPIC_BYTES_MAX} B, <= {CUSTOM_TOPIC_SLASHES_MAX} /, no empty level, no + # ?"

_MESSAGE_ID = re.compile(rf"[0-9]{{1,{MESSAGE_ID_DIGITS_MAX}}}")


def rrpc_pair(key: DeviceKey, message_id: int) -> tuple[str, str]:
    """The topics of an RRPC without a custom topic, of its request and of its answer."""
    head, number = f"/sys/{key[0]}/{key[1]}/rrpc/", str(message_id)
    return f"{head}request/{number}", f"{head}response/{number}"


def service_trio(key: DeviceKey, message_id: int, identifier: str) -> tuple[str, str, str]:
    """The topics of a synchronous service: see `rrpc_pair`, and `ext_rrpc` of `service`."""
    device, number = f"/sys/{key[0]}/{key[1]}/", str(message_id)
    head = f"{device}rrpc/"
    return (
        f"{head}request/{number}",
        f"{head}response/{number}",
        f"/ext/rrpc/{number}{device}thing/service/{identifier}",
    )


def rrpc_request(key: DeviceKey, message_id: int) -> str:
    """The topic of an RRPC request without a custom topic. Source: `device-protocol.md` 4.1."""
    return f"/sys/{key.product_key}/{key.device_name}/rrpc/request/{message_id}"


def rrpc_response(key: DeviceKey, message_id: int) -> str:
    """The topic its answer comes on."""
    return f"/sys/{key.product_key}/{key.device_name}/rrpc/response/{message_id}"


def service(key: DeviceKey, identifier: str) -> str:
    """The topic of an asynchronous service; `identifier` with its module's prefix. Source: `device-protocol.md` 5.5."""
    return f"/sys/{key.product_key}/{key.device_name}/thing/service/{identifier}"


def property_set(key: DeviceKey) -> str:
    """The topic of a property set. Source: `device-protocol.md` 5.4."""
    return f"/sys/{key.product_key}/{key.device_name}/thing/service/property/set"


def down_raw(key: DeviceKey) -> str:
    """The topic of what a device of a binary product is told. Source: `device-protocol.md` 7."""
    return f"/sys/{key.product_key}/{key.device_name}/thing/model/down_raw"


def shadow_get(key: DeviceKey) -> str:
    """The topic of what a device is told of its shadow. Source: `device-protocol.md` 3.5."""
    return f"/shadow/get/{key.product_key}/{key.device_name}"


def ext_rrpc(message_id: int, topic: str) -> str:
    """The topic, both ways, of an RRPC with a custom topic, which begins with `/`. Source: `device-protocol.md` 4.2."""
    return f"/ext/rrpc/{message_id}{topic}"


def broadcast_request(key: DeviceKey, message_id: int) -> str:
    """The topic of a broadcast to all connected devices of a product. Source: `device-protocol.md` 3.1."""
    return f"/sys/{key.product_key}/{key.device_name}/broadcast/request/{message_id}"


def alink(key: DeviceKey, path: str) -> str:
    """A topic below the device's own `/sys/{pk}/{dn}/`."""
    return f"/sys/{key.product_key}/{key.device_name}/{path}"


def error_notice(key: DeviceKey) -> str:
    """The topic on which a device is told of what goes wrong beside its requests. Source: `device-protocol.md` 3.3."""
    return f"/ext/error/{key.product_key}/{key.device_name}"


class RrpcAnswer(NamedTuple):
    """What a publish on an RRPC topic names.

    `message_id` is 0, which no call has, where it is not a number of up to 19 digits. `key` is None for `/ext/rrpc/…`,
    which names no device.
    """

    message_id: int
    key: DeviceKey | None


def parse_rrpc_answer(topic: str) -> RrpcAnswer | None:
    """Read a topic meant for an RRPC answer, well-formed or not; None for any other topic.

    A device that mistakes the topic, the request's for the response's for example, means to answer all the same: the
    call it names says whether it is the right one.
    """
    if topic.startswith("/ext/rrpc/"):
        return RrpcAnswer(_read_message_id(topic.split("/", 4)[3]), None)
    if topic.startswith("/sys/"):
        levels = topic.split("/", 6)
        if len(levels) > 4 and levels[4] == "rrpc":
            return RrpcAnswer(_read_message_id(levels[6] if len(levels) == 7 else ""), DeviceKey(levels[2], levels[3]))
    return None


def _read_message_id(text: str) -> int:
    return int(text) if _MESSAGE_ID.fullmatch(text) else 0


def is_custom_rrpc_topic(topic: str) -> bool:
    """True for a topic an RRpc call may name: at most 128 bytes of UTF-8, no wildcard, no `?`, no NUL.

    An answer's topic is cut at `?`, so none could come on a topic that has one.
    """
    return len(topic.encode()) <= CUSTOM_TOPIC_BYTES_MAX and not any(char in topic for char in "+#?\0")


def is_publishable(topic: str) -> bool:
    """True for the name of a custom or a broadcast topic that a message may go to, as far as its form tells.

    At most 128 bytes and 7 slashes, no level empty, and none of the characters that `is_custom_rrpc_topic` refuses.
    Source: `device-protocol.md` 2.
    """
    root, *levels = topic.split("/")
    return not root and 0 < len(levels) <= CUSTOM_TOPIC_SLASHES_MAX and all(levels) and is_custom_rrpc_topic(topic)


def split_query(topic: str) -> tuple[str, str]:
    """Cut an uplink topic at `?`: the topic itself, and the suffix some SDKs append. Source: `device-protocol.md` 2."""
    bare, _, query = topic.partition("?")
    return bare, query


def is_custom(key: DeviceKey, topic: str) -> bool:
    """True for a topic (or filter) below the device's own `/{pk}/{dn}/`."""
    return topic.startswith(f"/{key.product_key}/{key.device_name}/")


def custom_path(topic: str) -> str:
    """What of a custom topic, or a filter, comes below the device's own `/{pk}/{dn}/`."""
    return topic.split("/", 3)[3]


def find_owner(topic: str) -> DeviceKey | None:
    """The device whose own the topic (or filter) is, as far as its form tells; None where it names no single device."""
    match topic.split("/"):
        case ["", "sys", product_key, device_name, _, *_]:
            pass
        case ["", "ext", family, product_key, device_name, *_] if family != "rrpc":
            pass
        case ["", "ota", "device", _, product_key, device_name, *_]:
            pass
        case ["", "shadow", _, product_key, device_name]:
            pass
        case ["", product_key, device_name, _, *_] if product_key not in ("sys", "ext", "ota", "shadow", "broadcast"):
            pass
        case _:
            return None
    return DeviceKey(product_key, device_name) if product_key and device_name else None


def may_publish(key: DeviceKey, topic: str) -> bool:
    """True when the device may publish on the topic (already without its query suffix): it must be its own.

    `/ext/rrpc/…` is free of form: the call it names decides. For a custom topic the product's topic classes do.
    """
    if topic.startswith("/ext/rrpc/"):
        return True
    if is_custom(key, topic):
        return _has_custom_form(topic)
    return _is_own_system_topic(key, topic)


def may_subscribe(key: DeviceKey, topic_filter: str) -> bool:
    """True when the filter is granted: below one of the device's own prefixes, of `/ext/rrpc/`, or `/broadcast/{pk}/`.

    SDKs subscribe to topics of functions they never use; all have to be granted. Source: `device-protocol.md` 2.
    """
    if topic_filter.startswith(("/ext/rrpc/", f"/broadcast/{key.product_key}/")):
        return True
    if is_custom(key, topic_filter):
        return _has_custom_form(topic_filter)
    return _is_own_system_topic(key, topic_filter)


def _has_custom_form(topic: str) -> bool:
    return len(topic.encode()) <= CUSTOM_TOPIC_BYTES_MAX and topic.count("/") <= CUSTOM_TOPIC_SLASHES_MAX


def _is_own_system_topic(key: DeviceKey, topic: str) -> bool:
    pk, dn = key
    if topic.startswith(f"/sys/{pk}/{dn}/"):
        return True
    levels = topic.split("/")
    match levels:
        case ["", "ext", family, level_pk, level_dn, *_]:
            return family not in ("+", "#") and (level_pk, level_dn) == (pk, dn)
        case ["", "ext", family]:
            return family in ("register", "regnwl")
        case ["", "shadow", _, level_pk, level_dn]:
            return (level_pk, level_dn) == (pk, dn)
        case ["", "ota", "device", _, level_pk, level_dn, *_]:
            return (level_pk, level_dn) == (pk, dn)
    return False


def matches(topic_filter: str, topic: str) -> bool:
    """True when a topic name matches a topic filter; `+` is one level, a last `#` any number. [MQTT-4.7.1-2, -3]"""
    if topic_filter == topic:
        return True
    if "+" not in topic_filter and "#" not in topic_filter:
        return False
    filter_levels = topic_filter.split("/")
    levels = topic.split("/")
    for index, level in enumerate(filter_levels):
        if level == "#":
            return True
        if index >= len(levels) or (level != "+" and level != levels[index]):
            return False
    return len(levels) == len(filter_levels)


def matches_any(topic_filters: Iterable[str], topic: str) -> bool:
    """True when a topic name matches one of the filters at least."""
    return any(matches(topic_filter, topic) for topic_filter in topic_filters)

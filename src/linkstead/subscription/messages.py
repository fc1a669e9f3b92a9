"""What consumers are told: the topics and the JSON of each message.

Values stand as the device wrote them, numbers included. Moments are milliseconds since 1970 UTC.
Source: `device-protocol.md` 8.2 to 8.4; data formats page of the vendor's documentation.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from linkstead.registry import DeviceKey, Origin
from linkstead.registry.times import local_text, utc_text
from linkstead.tsl.literal import JsonValue

DEFAULT_DEVICE_TYPE = "CustomCategory"
"""The `deviceType` of a product without a category."""

REQUEST_FAILED = 400
RESULT_MESSAGES = {
    200: "success",
    REQUEST_FAILED: "request error",
    403: "request forbidden",
    429: "too many requests",
    460: "request parameter error",
    9200: "device not actived",
    9201: "device offline",
}
"""The `message` of a result that the platform itself gives. Source: data formats page, responses to requests."""

OFFLINE_STATUS, ONLINE_STATUS = "offline", "online"
CREATE, DELETE, ENABLE, DISABLE, UPDATE = "create", "delete", "enable", "disable", "update"
"""The `action` of lifecycle, topology and tag messages."""


class Message(NamedTuple):
    """A topic and what is told on it."""

    topic: str
    payload: bytes


class TimedValue(NamedTuple):
    """A value, or an event's outputs, and when it was."""

    value: object
    time_ms: int


class FailedValue(NamedTuple):
    """A value that does not fit the thing model. `time_ms` is None where the message does not tell it."""

    value: object
    time_ms: int | None
    code: int
    message: str


class ToldEvent(NamedTuple):
    """One event. `type` is info, alert or error."""

    identifier: str
    name: str
    type: str
    outputs: Mapping[str, JsonValue]
    failed: Mapping[str, FailedValue]
    time_ms: int


class Told(NamedTuple):
    """What the messages of a device's report have in common.

    `request_id` is the report's own id; `created_ms` is when it came.
    """

    origin: Origin
    device_type: str
    request_id: str
    created_ms: int


def make_status(
    origin: Origin,
    *,
    is_online: bool,
    at_ms: int,
    active_ms: int,
    client_ip: str,
    offline_reason_code: int | None = None,
) -> Message:
    """A device came online or went offline.

    Args:
        active_ms: when the device was last heard of before that.
        offline_reason_code: left out where there is none.
    """
    members: dict[str, object] = {
        "status": ONLINE_STATUS if is_online else OFFLINE_STATUS,
        "iotId": origin.iot_id,
        "productKey": origin.key.product_key,
        "deviceName": origin.key.device_name,
        "time": _local_ms_text(at_ms),
        "utcTime": utc_text(at_ms),
        "lastTime": _local_ms_text(active_ms),
        "utcLastTime": utc_text(active_ms),
        "clientIp": client_ip,
    }
    if offline_reason_code is not None:
        members["offlineReasonCode"] = offline_reason_code
    return _message(f"/as/mqtt/status/{origin.key}", members)


def make_properties(
    told: Told, items: Mapping[str, TimedValue], failed: Mapping[str, FailedValue], *, is_history: bool = False
) -> Message:
    """Values of properties, each at most once."""
    path = "thing/event/property/history/post" if is_history else "thing/event/property/post"
    return _message(
        _topic(told.origin.key, path),
        {**_report_members(told), "items": _timed(items), "checkFailedData": _failed(failed)},
    )


def make_event(told: Told, event: ToldEvent, *, is_history: bool = False) -> Message:
    """One event."""
    path = f"thing/event/{event.identifier}/{'history/post' if is_history else 'post'}"
    return _message(
        _topic(told.origin.key, path),
        {
            "identifier": event.identifier,
            "name": event.name,
            "type": event.type,
            **_report_members(told),
            "value": event.outputs,
            "checkFailedData": _failed(event.failed),
            "time": event.time_ms,
        },
    )


def make_property_batch(told: Told, values: Mapping[str, Sequence[TimedValue]]) -> Message:
    """Several values a property."""
    return _make_batch(told, "thing/property/batch/post", values)


def make_event_batch(told: Told, events: Mapping[str, Sequence[TimedValue]]) -> Message:
    """Several events an identifier."""
    return _make_batch(told, "thing/event/batch/post", events)


def _make_batch(told: Told, path: str, lists: Mapping[str, Sequence[TimedValue]]) -> Message:
    members = {
        "productKey": told.origin.key.product_key,
        "deviceName": told.origin.key.device_name,
        "iotId": told.origin.iot_id,
        "requestId": told.request_id,
        "gmtCreate": told.created_ms,
        "payload": {
            name: [{"value": entry.value, "time": entry.time_ms} for entry in entries]
            for name, entries in lists.items()
        },
    }
    return _message(_topic(told.origin.key, path), members)


def make_result(
    origin: Origin,
    *,
    created_ms: int,
    request_id: str,
    code: int,
    message: str,
    reply_topic: str,
    data: JsonValue,
    failed: Mapping[str, FailedValue],
) -> Message:
    """The result of an asynchronous service, or of a property set.

    Args:
        request_id: the id that the app was given, as digits.
        reply_topic: the topic that the device answers on.
    """
    return _message(
        _topic(origin.key, "thing/downlink/reply/message"),
        {
            "gmtCreate": created_ms,
            **_identity(origin),
            "requestId": request_id,
            "code": code,
            "message": message,
            "topic": reply_topic,
            "data": data,
            "checkFailedData": _failed(failed),
        },
    )


def make_lifecycle(origin: Origin, action: str, *, created_ms: int, device_secret: str = "") -> Message:
    """A device was created, deleted, enabled or disabled; its secret is told where it was created."""
    members: dict[str, object] = {"action": action, **_identity(origin)}
    if action == CREATE:
        members["deviceSecret"] = device_secret
    return _message(_topic(origin.key, "thing/lifecycle"), {**members, "messageCreateTime": created_ms})


def make_topology(gateway: Origin, action: str, devices: Sequence[Origin], *, created_ms: int) -> Message:
    """Devices were put behind a gateway, or taken away from it; or such relations were enabled or disabled."""
    members: dict[str, object] = {"action": action, **_gateway_members(gateway)}
    listed = [_identity(device) for device in devices]
    return _message(
        _topic(gateway.key, "thing/topo/lifecycle"), {**members, "devices": listed, "messageCreateTime": created_ms}
    )


def make_found_list(gateway: Origin, found: Sequence[tuple[DeviceKey, str]]) -> Message:
    """A gateway found devices: the key of each, and its IotId, which is left out where it has none."""
    listed = [
        {
            **({"iotId": iot_id} if iot_id else {}),
            "productKey": key.product_key,
            "deviceName": key.device_name,
        }
        for key, iot_id in found
    ]
    return _message(_topic(gateway.key, "thing/list/found"), {**_gateway_members(gateway), "devices": listed})


def make_tags(origin: Origin, device_type: str, tags: Mapping[str, str], *, created_ms: int) -> Message:
    """Tags of a device were added, or have another value than before."""
    return _message(
        _topic(origin.key, "thing/deviceinfo/update"),
        {
            "action": UPDATE,
            **_identity(origin),
            "deviceType": device_type,
            "value": [{"attrKey": name, "attrValue": value} for name, value in tags.items()],
            "messageCreateTime": created_ms,
        },
    )


def _topic(key: DeviceKey, path: str) -> str:
    return f"/{key}/{path}"


def _message(topic: str, members: Mapping[str, object]) -> Message:
    return Message(topic, msgspec.json.encode(members))


def _identity(origin: Origin) -> dict[str, object]:
    return {"iotId": origin.iot_id, "productKey": origin.key.product_key, "deviceName": origin.key.device_name}


def _gateway_members(origin: Origin) -> dict[str, object]:
    return {"gwIotId": origin.iot_id, "gwProductKey": origin.key.product_key, "gwDeviceName": origin.key.device_name}


def _report_members(told: Told) -> dict[str, object]:
    return {
        **_identity(told.origin),
        "requestId": told.request_id,
        "deviceType": told.device_type,
        "gmtCreate": told.created_ms,
    }


def _timed(values: Mapping[str, TimedValue]) -> dict[str, object]:
    return {name: {"value": timed.value, "time": timed.time_ms} for name, timed in values.items()}


def _failed(values: Mapping[str, FailedValue]) -> dict[str, object]:
    return {
        name: {
            "value": failed.value,
            **({} if failed.time_ms is None else {"time": failed.time_ms}),
            "code": failed.code,
            "message": failed.message,
        }
        for name, failed in values.items()
    }


def _local_ms_text(at_ms: int) -> str:
    return f"{local_text(at_ms)}.{at_ms % 1000:03}"

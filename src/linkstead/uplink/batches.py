"""Posts of many values and events at once: batch, pack and history. Source: `device-protocol.md` 5.6.

What cannot be taken is passed over and noted, as in a property post.
"""

from collections.abc import Iterator

from linkstead.alink.messages import (
    MALFORMED_PARAMS,
    NOT_A_LIST,
    NOT_IN_TOPOLOGY,
    TOO_MANY_EVENTS,
    TOO_MANY_SUB_DEVICES,
)
from linkstead.registry import DeviceKey
from linkstead.telemetry import TelemetryStore
from linkstead.tsl.checking import Fault
from linkstead.tsl.document import shorten
from linkstead.tsl.literal import JsonValue
from linkstead.tsl.posts import TOO_MANY_PROPERTIES
from linkstead.uplink.events import record_event
from linkstead.uplink.news import News
from linkstead.uplink.properties import Item, check_count, record_properties
from linkstead.uplink.reports import ReportedEvent
from linkstead.uplink.request import Refused, Request, read_list, read_object
from linkstead.uplink.rules import Rules

PACK_EVENTS_MAX = 20
PACK_SUB_DEVICES_MAX = 20
VALUES_MAX = 1_000
"""Values and events together of one batch or history; ours."""


def post_batch(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> None:
    """Take several values a property, several events a kind: each a list of `{"value":…,"time":…}`.

    Raises:
        Refused(460): the params are no object, or have neither properties nor events.
        Refused(6106): there are over POST_PROPERTIES_MAX properties, or over VALUES_MAX values and events.
    """
    properties, events = _read_parts(request.read_object())
    check_count(properties)
    values, happened = list(_spread(request, properties)), list(_spread(request, events))
    _check_value_count(len(values) + len(happened))
    reported = record_properties(request, rules, telemetry, values)
    news.tell_batch(request, rules, reported, _record_events(request, rules, telemetry, happened))


def post_pack(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> None:
    """Take what a gateway says of itself, and of its sub-devices.

    Its own part is taken, and told as if it had been posted one by one. There are no sub-devices yet: a pack that has
    some is answered with 6401 all the same.

    Raises:
        Refused(460): as for a batch, or `subDevices` is malformed.
        Refused(6106, 6356, 6357): too many properties, events, sub-devices; nothing was taken.
        Refused(6401): the pack speaks of a sub-device.
    """
    params = request.read_object()
    sub_devices = read_list(params.get("subDevices") or [], "subDevices")
    properties, events = _read_parts(params, may_be_empty=bool(sub_devices))
    check_count(properties)
    if len(events) > PACK_EVENTS_MAX:
        raise Refused(TOO_MANY_EVENTS, f"too many events -> {len(events)} (rule: at most {PACK_EVENTS_MAX})")
    if len(sub_devices) > PACK_SUB_DEVICES_MAX:
        rule = f"at most {PACK_SUB_DEVICES_MAX}"
        raise Refused(TOO_MANY_SUB_DEVICES, f"too many sub-devices -> {len(sub_devices)} (rule: {rule})")
    strangers = [_read_identity(sub_device) for sub_device in sub_devices]
    news.tell_properties(request, rules, record_properties(request, rules, telemetry, properties.items()))
    for event in _record_events(request, rules, telemetry, list(events.items())):
        news.tell_event(request, rules, event)
    if strangers:
        raise _not_in_topology(strangers[0])


def post_history(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> None:
    """Take what a device kept while it was away: a list, each entry with the device it speaks of.

    What the device says of itself is taken, also when other entries speak of sub-devices, of which there are none yet.
    Each object of `properties` and each event is told on its own.

    Raises:
        Refused(460): the params are malformed; nothing was taken.
        Refused(6106): there are over VALUES_MAX values and events; nothing was taken.
        Refused(6401): an entry speaks of another device.
    """
    properties: list[dict[str, JsonValue]] = []
    events: list[Item] = []
    strangers: list[DeviceKey] = []
    for entry in request.read_list():
        key = _read_identity(entry)
        if key != request.key:
            strangers.append(key)
            continue
        members = read_object(entry, "params[]")
        properties += _read_objects(members.get("properties"), "properties")
        events += (item for event in _read_objects(members.get("events"), "events") for item in event.items())
    value_count = sum(map(len, properties)) + len(events)
    if not (value_count or strangers):
        raise Refused(MALFORMED_PARAMS, "params must have at least one property or event")
    _check_value_count(value_count)
    for values in properties:
        reported = record_properties(request, rules, telemetry, values.items())
        news.tell_properties(request, rules, reported, is_history=True)
    for event in _record_events(request, rules, telemetry, events):
        news.tell_event(request, rules, event, is_history=True)
    if strangers:
        raise _not_in_topology(strangers[0])


def _check_value_count(count: int) -> None:
    if count > VALUES_MAX:
        raise Refused(TOO_MANY_PROPERTIES, f"too many values -> {count} (rule: at most {VALUES_MAX})")


def _record_events(
    request: Request, rules: Rules, telemetry: TelemetryStore, events: list[Item]
) -> list[ReportedEvent]:
    """Have events taken; returns those that were."""
    reported: list[ReportedEvent] = []
    faults: list[Fault] = []
    for identifier, entry in events:
        try:
            reported.append(record_event(request, rules, telemetry, identifier, entry))
        except Refused as refused:
            faults.append(Fault(refused.code, refused.message, "", path=shorten(identifier)))
    request.note(faults)
    return reported


def _read_parts(
    params: dict[str, JsonValue], *, may_be_empty: bool = False
) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    properties = read_object(params.get("properties") or {}, "properties")
    events = read_object(params.get("events") or {}, "events")
    if not (properties or events or may_be_empty):
        raise Refused(MALFORMED_PARAMS, "params must have properties or events")
    return properties, events


def _spread(request: Request, lists: dict[str, JsonValue]) -> Iterator[Item]:
    """Each entry of each list."""
    faults: list[Fault] = []
    for identifier, entries in lists.items():
        if isinstance(entries, list):
            for entry in entries:
                yield identifier, entry
        else:
            faults.append(Fault(NOT_A_LIST, "not a list", "a list of value and time", path=shorten(identifier)))
    request.note(faults)


def _read_objects(value: JsonValue, name: str) -> list[dict[str, JsonValue]]:
    """The objects in a list."""
    return [read_object(entry, f"{name}[]") for entry in read_list(value or [], name)]


def _read_identity(entry: JsonValue) -> DeviceKey:
    identity = read_object(read_object(entry, "params[]").get("identity"), "identity")
    product_key, device_name = identity.get("productKey"), identity.get("deviceName")
    if not isinstance(product_key, str) or not isinstance(device_name, str):
        raise Refused(MALFORMED_PARAMS, "identity must have productKey and deviceName")
    return DeviceKey(product_key, device_name)


def _not_in_topology(key: DeviceKey) -> Refused:
    return Refused(NOT_IN_TOPOLOGY, f"topology relation does not exist -> {shorten(str(key))}")

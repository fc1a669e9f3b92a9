"""Posts of many values and events at once: batch, pack and history. Source: `device-protocol.md` 5.6.

What cannot be taken is passed over and noted, as in a property post.
"""

from collections.abc import Iterator
from typing import NamedTuple

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


class SubReport(NamedTuple):
    """What a gateway says of a device: each object of values as it came, and events."""

    key: DeviceKey
    properties: list[dict[str, JsonValue]]
    events: list[Item]
    is_history: bool = False

    @property
    def value_count(self) -> int:
        """Values and events together."""
        return sum(map(len, self.properties)) + len(self.events)


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


def post_pack(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> list[SubReport]:
    """Take what a gateway says of itself, and return what it says of its sub-devices.

    What is taken is told as if it had been posted one by one.

    Raises:
        Refused(460): as for a batch, or `subDevices` is malformed.
        Refused(6106, 6356, 6357): too many properties or events of one device, or sub-devices; nothing was taken.
    """
    params = request.read_object()
    sub_devices = read_list(params.get("subDevices") or [], "subDevices")
    own = _read_pack(request.key, params, may_be_empty=bool(sub_devices))
    if len(sub_devices) > PACK_SUB_DEVICES_MAX:
        rule = f"at most {PACK_SUB_DEVICES_MAX}"
        raise Refused(TOO_MANY_SUB_DEVICES, f"too many sub-devices -> {len(sub_devices)} (rule: {rule})")
    others = [
        _read_pack(_read_identity(entry), read_object(entry, "subDevices[]"), may_be_empty=True)
        for entry in sub_devices
    ]
    record_report(request, rules, telemetry, news, own)
    return others


def _read_pack(key: DeviceKey, members: dict[str, JsonValue], *, may_be_empty: bool) -> SubReport:
    properties, events = _read_parts(members, may_be_empty=may_be_empty)
    check_count(properties)
    if len(events) > PACK_EVENTS_MAX:
        raise Refused(TOO_MANY_EVENTS, f"too many events -> {len(events)} (rule: at most {PACK_EVENTS_MAX})")
    return SubReport(key, [properties], list(events.items()))


def post_history(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> list[SubReport]:
    """Take what a device kept while it was away: a list, each entry with the device it speaks of.

    What the device says of itself is taken, each object of `properties` and each event told on its own; what it says of
    others is returned.

    Raises:
        Refused(460): the params are malformed; nothing was taken.
        Refused(6106): there are over VALUES_MAX values and events; nothing was taken.
    """
    reports: list[SubReport] = []
    for entry in request.read_list():
        key = _read_identity(entry)
        members = read_object(entry, "params[]")
        properties = _read_objects(members.get("properties"), "properties")
        events = [item for event in _read_objects(members.get("events"), "events") for item in event.items()]
        reports.append(SubReport(key, properties, events, is_history=True))
    value_count = sum(report.value_count for report in reports)
    others = [report for report in reports if report.key != request.key]
    if not (value_count or others):
        raise Refused(MALFORMED_PARAMS, "params must have at least one property or event")
    _check_value_count(value_count)
    for report in reports:
        if report.key == request.key:
            record_report(request, rules, telemetry, news, report)
    return others


def record_report(request: Request, rules: Rules, telemetry: TelemetryStore, news: News, report: SubReport) -> None:
    """Take and tell what was said of the device that `request` comes from; `rules` are those of its product."""
    for values in report.properties:
        reported = record_properties(request, rules, telemetry, values.items())
        news.tell_properties(request, rules, reported, is_history=report.is_history)
    for event in _record_events(request, rules, telemetry, report.events):
        news.tell_event(request, rules, event, is_history=report.is_history)


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


def not_in_topology(key: DeviceKey) -> Refused:
    """The refusal of what is said of a device that is not behind the gateway."""
    return Refused(NOT_IN_TOPOLOGY, f"topology relation does not exist -> {shorten(str(key))}")

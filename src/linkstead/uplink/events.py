"""Event posts. Source: `device-protocol.md` 5.3."""

from linkstead.alink.messages import MALFORMED_IDENTIFIER, NOT_IN_MODEL, read_identifier
from linkstead.telemetry import EventRecord, TelemetryStore
from linkstead.tsl.checking import ValidateType
from linkstead.tsl.literal import JsonValue, write_literal
from linkstead.tsl.posts import check_time, unwrap_value
from linkstead.uplink.news import News
from linkstead.uplink.reports import ReportedEvent
from linkstead.uplink.request import Refused, Request, read_object
from linkstead.uplink.rules import Rules


def is_event_post(path: str) -> bool:
    """True for `thing/event/{event}/post`; `{event}` may be `{module}:{event}`."""
    return path.startswith("thing/event/") and path.endswith("/post") and path.count("/") == 3


def post_event(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> None:
    """Take one event: its outputs as they are, or `{"value":{…},"time":1700000000000}`.

    Raises:
        Refused: see `record_event`.
    """
    reported = record_event(request, rules, telemetry, request.path.split("/")[2], request.params)
    news.tell_event(request, rules, reported)


def record_event(
    request: Request, rules: Rules, telemetry: TelemetryStore, written: str, entry: JsonValue
) -> ReportedEvent:
    """Check an event and have it taken.

    Strict: an output that does not fit is left out. Weak: it is taken and noted. None: any event is taken, one that is
    not in the model by its identifier and as `info`.

    Raises:
        Refused(6321): the identifier is malformed.
        Refused(6300): there is no such event in the published model.
        Refused(460): there are no outputs, or they are no object.
        Refused(6326): the time is malformed or more than 24 hours ahead.
    """
    identifier = read_identifier(written)
    if identifier is None:
        raise Refused(MALFORMED_IDENTIFIER, "the identifier of the event is malformed")
    found = rules.checker.find_event(identifier)
    if found is None and rules.level is not ValidateType.NONE:
        raise Refused(NOT_IN_MODEL, f"event not found in the published thing model -> {identifier}")
    value, time = unwrap_value(entry)
    outputs = read_object(value, "params")
    fault = check_time(time, request.received_ms) if time is not None else None
    if fault is not None:
        raise Refused(fault.code, fault.message)
    faults = found.check_output(outputs, rules.level) if found is not None else {}
    request.note(list(faults.values()))
    kept = outputs
    if rules.level is ValidateType.STRICT:
        kept = {name: output for name, output in outputs.items() if name not in faults}
    record = EventRecord(
        key=request.key,
        identifier=identifier,
        name=found.event.name if found is not None else identifier,
        event_type=found.event.type if found is not None else "info",
        output=write_literal(kept),
        time_ms=request.received_ms if time is None else int(str(time)),
    )
    telemetry.record_event(record)
    return ReportedEvent(record, outputs, faults)

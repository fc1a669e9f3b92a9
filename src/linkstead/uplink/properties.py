"""Property posts. Source: `device-protocol.md` 5.2."""

from collections.abc import Iterable

from linkstead.alink.messages import MALFORMED_IDENTIFIER, MALFORMED_PARAMS, read_identifier
from linkstead.telemetry import PropertyPoint, TelemetryStore
from linkstead.tsl.checking import Fault, ValidateType
from linkstead.tsl.document import shorten
from linkstead.tsl.limits import IDENTIFIER_RULE
from linkstead.tsl.literal import JsonValue, write_literal
from linkstead.tsl.posts import check_post_size, check_time, unwrap_value
from linkstead.uplink.news import News
from linkstead.uplink.reports import Misfit, ReportedProperties
from linkstead.uplink.request import Refused, Request
from linkstead.uplink.rules import Rules

Item = tuple[str, JsonValue]
"""An identifier as the device wrote it, and a value, plain or wrapped."""


def post_properties(request: Request, rules: Rules, telemetry: TelemetryStore, news: News) -> None:
    """Take the values of properties: `{"Power":1,"testFb:Level":{"value":3.5,"time":1700000000000}}`.

    A value that cannot be taken is passed over, the rest is taken and the reply is 200.

    Raises:
        Refused(460): the params are no object, or empty.
        Refused(6106): there are over POST_PROPERTIES_MAX.
    """
    items = request.read_object()
    if not items:
        raise Refused(MALFORMED_PARAMS, "params must have at least one property")
    check_count(items)
    news.tell_properties(request, rules, record_properties(request, rules, telemetry, items.items()))


def check_count(items: dict[str, JsonValue]) -> None:
    """Raises Refused(6106): there are over POST_PROPERTIES_MAX properties."""
    fault = check_post_size(items)
    if fault is not None:
        raise Refused(fault.code, fault.message)


def record_properties(
    request: Request, rules: Rules, telemetry: TelemetryStore, items: Iterable[Item]
) -> ReportedProperties:
    """Check values and have those taken that the product's level lets through.

    Strict: a value that does not fit is not taken. Weak: it is taken and noted. None: nothing is checked. A malformed
    identifier or time, or a time more than 24 hours ahead, is passed over at every level.
    """
    fitting: list[PropertyPoint] = []
    kept: list[PropertyPoint] = []
    misfits: list[Misfit] = []
    for written, entry in items:
        identifier = read_identifier(written)
        value, time = unwrap_value(entry)
        if identifier is None:
            shown = shorten(written)
            fault = Fault(MALFORMED_IDENTIFIER, "identifier is malformed", IDENTIFIER_RULE, path=shown)
            misfits.append(Misfit(shown, value, request.received_ms, fault))
            continue
        time_fault = check_time(time, request.received_ms) if time is not None else None
        if time_fault is not None:
            misfits.append(Misfit(identifier, value, request.received_ms, time_fault.under(identifier)))
            continue
        time_ms = request.received_ms if time is None else int(str(time))
        point = PropertyPoint(request.key, identifier, write_literal(value), time_ms)
        unfit = rules.checker.check_property_post({identifier: value}, rules.level).get(identifier)
        if unfit is None:
            fitting.append(point)
        else:
            misfits.append(Misfit(identifier, value, time_ms, unfit))
            if rules.level is ValidateType.STRICT:
                continue
        kept.append(point)
    request.note([misfit.fault for misfit in misfits])
    if kept:
        telemetry.record_properties(kept)
    return ReportedProperties(fitting, kept, misfits)

"""Desired values as the device sees them. Source: `device-protocol.md` 3.5."""

import re

import msgspec

from linkstead.alink.messages import MALFORMED_PARAMS, read_identifier
from linkstead.telemetry import TelemetryStore, VersionConflict
from linkstead.tsl.document import shorten
from linkstead.tsl.limits import IDENTIFIER_RULE
from linkstead.tsl.literal import JsonValue
from linkstead.uplink.news import News
from linkstead.uplink.request import Refused, Request, read_object

_VERSION = re.compile(r"[0-9]{1,18}")


async def get_desired(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Tell what properties are desired to be: `{"Power":{"value":1,"version":2}}`.

    The params name the properties; an empty list, or none, means all. One of which nothing is desired is left out.

    Raises:
        Refused(460): the params are no list of identifiers.
    """
    wanted = None if request.is_bare else {_read_name(value) for value in request.read_list()}
    return {
        desired.identifier: {"value": msgspec.Raw(desired.value.encode()), "version": desired.version}
        for desired in await telemetry.list_desired(request.key)
        if desired.value is not None and (wanted is None or desired.identifier in wanted)
    }


async def delete_desired(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Desire nothing of these properties any longer: `{"Power":{"version":2}}`, or `{"Power":{}}` for any version.

    Raises:
        Refused(460): the params are malformed or empty, or a version is not the one that is kept; nothing was changed.
    """
    items = request.read_object()
    if not items:
        raise Refused(MALFORMED_PARAMS, "params must name at least one property")
    versions = {_read_name(name): _read_version(name, value) for name, value in items.items()}
    try:
        await telemetry.clear_desired(request.key, versions, request.received_ms)
    except VersionConflict as conflict:
        raise Refused(MALFORMED_PARAMS, f"the version is another one -> {conflict}") from None
    return None


def _read_name(value: JsonValue) -> str:
    identifier = read_identifier(value) if isinstance(value, str) else None
    if identifier is None:
        shown = shorten(value) if isinstance(value, str) else "params[]"
        raise Refused(MALFORMED_PARAMS, f"identifier is malformed -> {shown} (rule: {IDENTIFIER_RULE})")
    return identifier


def _read_version(name: str, value: JsonValue) -> int | None:
    version = read_object(value, shorten(name)).get("version")
    if version is None:
        return None
    text = str(version) if type(version) is int else version
    if isinstance(text, str) and _VERSION.fullmatch(text):
        return int(text)
    raise Refused(MALFORMED_PARAMS, f"version is malformed -> {shorten(name)} (rule: a whole number)")

"""Tags of the device. Source: `device-protocol.md` 3.5."""

from collections.abc import Mapping

from linkstead.alink.messages import MALFORMED_PARAMS
from linkstead.telemetry import TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX, TelemetryStore
from linkstead.tsl.document import shorten
from linkstead.tsl.literal import JsonValue
from linkstead.uplink.news import News
from linkstead.uplink.request import Refused, Request, read_list, read_object

TAGS_MAX = 200
"""Tags in one request, and, our choice, tags of one device."""


async def update_tags(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Add or replace tags: `[{"attrKey":"room","attrValue":"kitchen"}]`.

    Raises:
        Refused(460): the params are malformed, or there would be too many; nothing was changed.
    """
    tags: dict[str, str] = {}
    for entry in _read_entries(request):
        value = entry.get("attrValue")
        if not isinstance(value, str) or len(value.encode()) > TAG_VALUE_BYTES_MAX:
            raise Refused(MALFORMED_PARAMS, f"attrValue must be a text of at most {TAG_VALUE_BYTES_MAX} bytes")
        tags[_read_key(entry.get("attrKey"))] = value
    known = await telemetry.list_tags(request.key)
    changed = {name: value for name, value in tags.items() if known.get(name) != value}
    if len(known.keys() | changed.keys()) > TAGS_MAX:
        raise Refused(MALFORMED_PARAMS, f"a device has at most {TAGS_MAX} tags")
    # SDKs tell the same at each start.
    if changed:
        await telemetry.save_tags(request.key, changed)
        await news.tell_tags(request, changed)
    return None


async def delete_tags(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Delete tags: `[{"attrKey":"room"}]`; those that are not there are passed over.

    Raises:
        Refused(460): the params are malformed.
    """
    await telemetry.delete_tags(request.key, [_read_key(entry.get("attrKey")) for entry in _read_entries(request)])
    return None


async def get_tags(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Tell tags: of `{"attrKeys":["room"]}`, or all without params. A tag that is not there is left out.

    Raises:
        Refused(460): the params are malformed.
    """
    wanted = None
    if not request.is_bare:
        keys = read_list(request.read_object().get("attrKeys"), "attrKeys")
        wanted = {_read_key(key) for key in keys}
    return [
        {"attrKey": name, "attrValue": value}
        for name, value in (await telemetry.list_tags(request.key)).items()
        if wanted is None or name in wanted
    ]


def _read_entries(request: Request) -> list[Mapping[str, JsonValue]]:
    entries = request.read_list()
    if not 1 <= len(entries) <= TAGS_MAX:
        raise Refused(MALFORMED_PARAMS, f"params must have 1 to {TAGS_MAX} tags, not {len(entries)}")
    return [read_object(entry, "params[]") for entry in entries]


def _read_key(value: JsonValue) -> str:
    if isinstance(value, str) and 1 <= len(value.encode()) <= TAG_KEY_BYTES_MAX:
        return value
    shown = shorten(value) if isinstance(value, str) else "attrKey"
    raise Refused(MALFORMED_PARAMS, f"attrKey must be a text of 1 to {TAG_KEY_BYTES_MAX} bytes -> {shown}")

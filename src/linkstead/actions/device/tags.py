"""The tags of a device: what an app says about it, beside what it says of itself. Source: `cloud-api.md` 9.3."""

import re

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer
from linkstead.actions.device.addressing import DeviceRequest, find
from linkstead.errors import ApiError, codes
from linkstead.telemetry import TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX

PROPS_BYTES_MAX = 5 * 1024
"""Source: SaveDeviceProp reference, row Props."""

TAGS_MAX = 100
"""Tags in one call, and tags that a device may come to by one. Source: SaveDeviceProp reference."""

RESERVED_KEY = "abc"
"""Source: SaveDeviceProp reference, row Props."""

KEY_RULE = f"1-{TAG_KEY_BYTES_MAX} bytes, no blanks, not {RESERVED_KEY}"
VALUE_RULE = f"text | number | true | false, <= {TAG_VALUE_BYTES_MAX} bytes"

_KEY = re.compile(r"\S+")


class SaveDevicePropRequest(DeviceRequest, kw_only=True):
    """Source: SaveDeviceProp reference."""

    props: str


async def save_device_prop(context: ActionContext, request: SaveDevicePropRequest) -> Answer:
    """Add or replace tags of a device.

    Raises:
        ApiError: see `find_device` and `_read_props`.
        ApiError(TOO_MANY_DEVICE_PROPERTIES_PER_TIME): the device would have more than `TAGS_MAX`.
    """
    device = await find(context, request)
    tags = _read_props(request.props)
    known = await context.telemetry.list_tags(device.key)
    if not tags.keys() <= known.keys() and len(known.keys() | tags.keys()) > TAGS_MAX:
        raise _too_many(len(known.keys() | tags.keys()))
    await context.telemetry.save_tags(device.key, tags)
    return Answer()


def _read_props(text: str) -> dict[str, str]:
    """Tags of a JSON object.

    Raises:
        ApiError(NULL_DEVICE_PROPERTIES_STRING, LONG_DEVICE_PROPERTIES_STRING): it is empty, or too long.
        ApiError(INVALID_FORMATTED_DEVICE_PROPERTIES_STRING): it is no JSON object, or a value breaks its rule.
        ApiError(NONE_DEVICE_PROPERTIES, TOO_MANY_DEVICE_PROPERTIES_PER_TIME): it has no tags, or over `TAGS_MAX`.
        ApiError(INVALID_FORMATTED_DEVICE_PROPERTY_KEY): a key breaks its rule.
    """
    if not text:
        raise ApiError(codes.NULL_DEVICE_PROPERTIES_STRING)
    if len(text.encode()) > PROPS_BYTES_MAX:
        raise ApiError(codes.LONG_DEVICE_PROPERTIES_STRING, rule=f"<= {PROPS_BYTES_MAX} bytes")
    try:
        read = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        raise ApiError(codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING, Props=text, rule="JSON {…}") from None
    if not read:
        raise ApiError(codes.NONE_DEVICE_PROPERTIES)
    if len(read) > TAGS_MAX:
        raise _too_many(len(read))
    for key in read:
        if len(key.encode()) > TAG_KEY_BYTES_MAX or not _KEY.fullmatch(key) or key == RESERVED_KEY:
            raise ApiError(codes.INVALID_FORMATTED_DEVICE_PROPERTY_KEY, PropKey=key, rule=KEY_RULE)
    return {key: _read_value(key, bytes(value)) for key, value in read.items()}


def _read_value(key: str, value: bytes) -> str:
    text = msgspec.json.decode(value) if value[:1] == b'"' else value.decode()
    if value[:1] in (b"{", b"[", b"n") or len(text.encode()) > TAG_VALUE_BYTES_MAX:
        raise ApiError(codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING, PropKey=key, rule=VALUE_RULE)
    return str(text)


def _too_many(count: int) -> ApiError:
    return ApiError(codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME, N=count, rule=f"<= {TAGS_MAX}")


class QueryDevicePropAnswer(Answer):
    """`props`: a JSON object as text."""

    props: str | UnsetType = UNSET


async def query_device_prop(context: ActionContext, request: DeviceRequest) -> QueryDevicePropAnswer:
    """Show the tags of a device, those that it told of itself among them.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find(context, request)
    tags = await context.telemetry.list_tags(device.key)
    return QueryDevicePropAnswer(props=msgspec.json.encode(tags).decode())


class DeleteDevicePropRequest(DeviceRequest, kw_only=True):
    """Source: DeleteDeviceProp reference."""

    prop_key: str


async def delete_device_prop(context: ActionContext, request: DeleteDevicePropRequest) -> Answer:
    """Delete a tag of a device.

    Raises:
        ApiError: see `find_device`.
        ApiError(NULL_DEVICE_PROPERTY_KEY, DELETE_DEVICE_PROPERTY_FAILED): the key is empty, or of no tag.
    """
    device = await find(context, request)
    if not request.prop_key:
        raise ApiError(codes.NULL_DEVICE_PROPERTY_KEY)
    if request.prop_key not in await context.telemetry.list_tags(device.key):
        raise ApiError(codes.DELETE_DEVICE_PROPERTY_FAILED, PropKey=request.prop_key)
    await context.telemetry.delete_tags(device.key, [request.prop_key])
    return Answer()


ACTIONS = (
    Action(name="SaveDeviceProp", request=SaveDevicePropRequest, answer=Answer, function=save_device_prop),
    Action(name="QueryDeviceProp", request=DeviceRequest, answer=QueryDevicePropAnswer, function=query_device_prop),
    Action(name="DeleteDeviceProp", request=DeleteDevicePropRequest, answer=Answer, function=delete_device_prop),
)

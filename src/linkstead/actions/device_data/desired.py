"""What the properties of devices are desired to be."""

from collections.abc import Container, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.device_data.addressing import (
    DeviceRequest,
    check_identifiers,
    find,
    find_modules,
)
from linkstead.actions.device_data.values import unit_of, value_text
from linkstead.alink import services, topics
from linkstead.alink.messages import read_identifier
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.invocation import Diagnosis, Stage, Verdict
from linkstead.models import ScriptError
from linkstead.registry import Device, Product, creation
from linkstead.telemetry import DesiredProperty, VersionConflict
from linkstead.tsl import (
    JsonValue,
    LiteralError,
    Property,
    ThingModel,
    ValidateType,
    find_property,
    join_identifier,
    read_literal_object,
    split_identifier,
    write_literal,
)

PROPERTIES_MAX = 10
"""Properties of one request. Source: SetDeviceDesiredProperty reference, row Items, and its siblings."""

VERSION_MAX = 2**63 - 1
SET = "set"
"""The identifier of property sets among the service calls. Source: `cloud-api.md` 9.6."""


class QueryDeviceDesiredPropertyRequest(DeviceRequest):
    """Source: QueryDeviceDesiredProperty reference.

    Without Identifier.N: every property that an app may set, of one module with FunctionBlockId, else of all.
    """

    identifier: list[str] = field(default_factory=list)
    function_block_id: str = ""


class DesiredPropertyInfo(Shape):
    """One property. `value` and `time`, in milliseconds, are absent where nothing is desired.

    `version` counts the changes; it is 0 where there was none.
    """

    identifier: str
    version: int
    name: str | UnsetType = UNSET
    data_type: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    time: str | UnsetType = UNSET


class DesiredPropertyList(Shape):
    """The list itself."""

    desired_property_info: list[DesiredPropertyInfo]


class DesiredPropertyData(Shape):
    """The list, wrapped as the vendor wraps it."""

    list: DesiredPropertyList


class QueryDeviceDesiredPropertyAnswer(Answer):
    """Source: QueryDeviceDesiredProperty reference, returned data."""

    data: DesiredPropertyData | UnsetType = UNSET


async def query_device_desired_property(
    context: ActionContext, request: QueryDeviceDesiredPropertyRequest
) -> QueryDeviceDesiredPropertyAnswer:
    """Tell what properties are desired to be.

    Raises:
        ApiError: see `find`, `check_identifiers` and `find_modules`.
        ApiError(INVALID_FORMATTED_PARAMETER): a property is unknown.
    """
    device, product = await find(context, request)
    model = await context.models.find_published(product.product_key)
    identifiers = check_identifiers("Identifier", request.identifier, PROPERTIES_MAX)
    modules = find_modules(model, request.function_block_id)
    desired = {found.identifier: found for found in await context.telemetry.list_desired(device.key)}
    if not identifiers:
        settable = [
            join_identifier(module.module_id, found.identifier)
            for module in modules
            for found in module.properties
            if found.is_writable
        ]
        # What is desired of a property that has left the model is still told to the device.
        others = [name for name in desired if _is_of_module(name, request.function_block_id)]
        identifiers = list(dict.fromkeys([*settable, *others]))
    infos = [
        _info(identifier, _find_known("Identifier", identifier, model, desired), desired.get(identifier))
        for identifier in identifiers
    ]
    return QueryDeviceDesiredPropertyAnswer(
        data=DesiredPropertyData(list=DesiredPropertyList(desired_property_info=infos))
    )


def _find_known(parameter: str, identifier: str, model: ThingModel | None, desired: Container[str]) -> Property | None:
    """The published property, None where it is known by what is desired of it alone.

    Raises:
        ApiError(INVALID_FORMATTED_PARAMETER): it is not known at all.
    """
    known = find_property(model, identifier) if model is not None else None
    if known is None and identifier not in desired:
        values: dict[str, Any] = {parameter: identifier}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule="a published property", **values)
    return known


def _is_of_module(identifier: str, function_block_id: str) -> bool:
    parts = split_identifier(identifier)
    return not function_block_id or (parts is not None and parts[0] == function_block_id)


def _info(identifier: str, known: Property | None, desired: DesiredProperty | None) -> DesiredPropertyInfo:
    value = desired.value if desired is not None else None
    return DesiredPropertyInfo(
        identifier=identifier,
        version=desired.version if desired is not None else 0,
        name=known.name if known is not None else UNSET,
        data_type=known.data_type.type if known is not None else UNSET,
        unit=(known is not None and unit_of(known.data_type)) or UNSET,
        value=value_text(value) if value is not None else UNSET,
        time=str(desired.time_ms) if desired is not None and value is not None else UNSET,
    )


class SetDeviceDesiredPropertyRequest(DeviceRequest, kw_only=True):
    """Source: SetDeviceDesiredProperty reference. Both are JSON texts; `versions` may be `{}`."""

    items: str
    versions: str


class SetDeviceDesiredPropertyData(Shape):
    """`message_id` is the Alink id of the message to the device; `versions` JSON text, the new ones by property."""

    message_id: str | UnsetType = UNSET
    versions: str | UnsetType = UNSET


class SetDeviceDesiredPropertyAnswer(Answer):
    """Source: SetDeviceDesiredProperty reference, returned data."""

    data: SetDeviceDesiredPropertyData | UnsetType = UNSET


async def set_device_desired_property(
    context: ActionContext, request: SetDeviceDesiredPropertyRequest
) -> SetDeviceDesiredPropertyAnswer:
    """Desire values of properties; null means to desire nothing any longer, of all that are named or of none.

    The values are kept until they are changed or cleared. A device that is connected is sent a property set at QoS 0
    with them at once, and has a call on record for it; one that is not asks when it is back. Source: device
    documentation, desired device property values: "if the device is online, its properties are updated in real time".

    Raises:
        ApiError: see `find`.
        ApiError(CHECK_INVALID_FORMATTED_PARAMETER): Items or Versions is not what it should be.
        ApiError(NONE_DEVICE_PROPERTIES, TOO_MANY_DEVICE_PROPERTIES_PER_TIME): none, or more than `PROPERTIES_MAX`.
        ApiError(SET_DEVICE_PROPERTY_FAILED): an unknown or read-only property, a value that does not fit, or a version
            that is another one by now; nothing was changed.
    """
    device, product = await find(context, request)
    items = _read_items(request.items)
    versions = _read_versions(request.versions, items)
    now_ms = milliseconds(context.clock.time_s())
    try:
        if None in items.values():
            if any(value is not None for value in items.values()):
                raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, rule="Items: all values null, or none")
            expected = {name: versions.get(name) or None for name in items}
            new_versions = await context.telemetry.clear_desired(device.key, expected, now_ms)
            message_id = context.ids.alink_id()
        else:
            await _check_items(context, product, items)
            texts = {name: write_literal(value) for name, value in items.items()}
            new_versions = await context.telemetry.set_desired(device.key, texts, versions, now_ms)
            message_id = await _send(context, product, device, items)
    except VersionConflict as conflict:
        raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, Versions=conflict, rule="the present version, or 0") from None
    return SetDeviceDesiredPropertyAnswer(
        data=SetDeviceDesiredPropertyData(message_id=str(message_id), versions=_write_versions(new_versions))
    )


def _read_object(parameter: str, text: str) -> dict[str, JsonValue]:
    try:
        members = read_literal_object(text)
    except LiteralError as error:
        raise ApiError(codes.CHECK_INVALID_FORMATTED_PARAMETER, rule=f"{parameter}: {error}") from None
    named: dict[str, JsonValue] = {}
    for written, value in members.items():
        identifier = read_identifier(written)
        if identifier is None:
            raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, text=f"property not found -> {parameter}.{written}")
        named[identifier] = value
    return named


def _read_items(text: str) -> dict[str, JsonValue]:
    items = _read_object("Items", text)
    if not items:
        raise ApiError(codes.NONE_DEVICE_PROPERTIES, Items=text)
    if len(items) > PROPERTIES_MAX:
        raise ApiError(codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME, Items=len(items), rule=f"<= {PROPERTIES_MAX}")
    return items


def _read_versions(text: str, items: Mapping[str, JsonValue]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for name, version in _read_object("Versions", text).items():
        if name not in items:
            raise ApiError(codes.CHECK_INVALID_FORMATTED_PARAMETER, Versions=name, rule="a property of Items")
        if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= VERSION_MAX:
            raise ApiError(
                codes.CHECK_INVALID_FORMATTED_PARAMETER, rule=f"Versions.{name}: a whole number, 0 when it is the first"
            )
        versions[name] = version
    return versions


async def _check_items(context: ActionContext, product: Product, items: Mapping[str, JsonValue]) -> None:
    if product.validate_type == ValidateType.NONE:
        return
    checker = await context.models.find_checker(product.product_key)
    if checker is None:
        text = "property not found (the product has no published thing model)"
        raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, text=text)
    fault = checker.check_property_set(items)
    if fault is not None:
        raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, text=fault.message)


async def _send(context: ActionContext, product: Product, device: Device, items: Mapping[str, JsonValue]) -> int:
    """Tell a device that is connected. Returns the message's Alink id, which it would have had for one that is not.

    Where the script of a binary product fails, the record says so: the desired values are kept all the same.
    """
    alink_id = context.ids.alink_id()
    if not await context.is_connected(device):
        return alink_id
    key = device.key
    call = context.open_call("SetDeviceDesiredProperty", key, SET)
    try:
        call.alink_id = alink_id
        call.message_id = context.ids.message_id()
        payload = services.make_request(alink_id, "thing.service.property.set", items)
        call.set_request(payload, is_whole=True)
        call.mark(Stage.ACCEPTED, context.clock.time_s(), context.clock.monotonic_s())
        topic = topics.property_set(key)
        if product.data_format == creation.RAW_FORMAT:
            topic = topics.down_raw(key)
            payload = await context.scripts.protocol_to_raw(product.product_key, payload)
        await context.delivery.post(call, topic, payload, 0)
    except ScriptError as error:
        call.result_code = error.code
        call.end(Verdict.REJECTED, Diagnosis.REJECTED, codes.SET_DEVICE_PROPERTY_FAILED.code)
    finally:
        context.close_call(call)
    return alink_id


class ClearDeviceDesiredPropertyRequest(DeviceRequest, kw_only=True):
    """Source: ClearDeviceDesiredProperty reference."""

    identifies: list[str]


class ClearDeviceDesiredPropertyData(Shape):
    """JSON text: the new versions by property."""

    versions: str | UnsetType = UNSET


class ClearDeviceDesiredPropertyAnswer(Answer):
    """Source: ClearDeviceDesiredProperty reference, returned data."""

    data: ClearDeviceDesiredPropertyData | UnsetType = UNSET


async def clear_device_desired_property(
    context: ActionContext, request: ClearDeviceDesiredPropertyRequest
) -> ClearDeviceDesiredPropertyAnswer:
    """Desire nothing any longer of these properties. The device is not told: it keeps the values it has.

    Raises:
        ApiError: see `find` and `check_identifiers`.
        ApiError(INVALID_FORMATTED_PARAMETER): a property is unknown.
    """
    device, product = await find(context, request)
    identifiers = check_identifiers("Identifies", request.identifies, PROPERTIES_MAX)
    model = await context.models.find_published(product.product_key)
    desired = {found.identifier for found in await context.telemetry.list_desired(device.key)}
    for identifier in identifiers:
        _find_known("Identifies", identifier, model, desired)
    versions = await context.telemetry.clear_desired(
        device.key, dict.fromkeys(identifiers), milliseconds(context.clock.time_s())
    )
    return ClearDeviceDesiredPropertyAnswer(data=ClearDeviceDesiredPropertyData(versions=_write_versions(versions)))


def _write_versions(versions: Mapping[str, int]) -> str:
    return msgspec.json.encode(versions).decode()


ACTIONS = (
    Action(
        name="QueryDeviceDesiredProperty",
        request=QueryDeviceDesiredPropertyRequest,
        answer=QueryDeviceDesiredPropertyAnswer,
        function=query_device_desired_property,
    ),
    Action(
        name="SetDeviceDesiredProperty",
        request=SetDeviceDesiredPropertyRequest,
        answer=SetDeviceDesiredPropertyAnswer,
        function=set_device_desired_property,
    ),
    Action(
        name="ClearDeviceDesiredProperty",
        request=ClearDeviceDesiredPropertyRequest,
        answer=ClearDeviceDesiredPropertyAnswer,
        function=clear_device_desired_property,
    ),
)

"""Setting properties: SetDeviceProperty and SetDevicesProperty."""

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.thing_service.target import (
    Target,
    call_of,
    check_qos,
    find_target,
    find_targets,
    post,
    post_to_each,
    read_object,
)
from linkstead.alink import services, topics
from linkstead.errors import ApiError, codes
from linkstead.invocation import Call

SET = "set"
"""The identifier under which property sets appear in the service history. Source: `cloud-api.md` 9.6."""


class SetDevicePropertyRequest(Request):
    """Source: SetDeviceProperty reference, request parameters."""

    items: str
    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    qos: int = 0
    iot_instance_id: str = ""


class SetDevicePropertyData(Shape):
    """`message_id` is the Alink id, as text."""

    message_id: str | UnsetType = UNSET


class SetDevicePropertyAnswer(Answer):
    """Source: SetDeviceProperty reference, returned data."""

    data: SetDevicePropertyData | UnsetType = UNSET


async def set_device_property(context: ActionContext, request: SetDevicePropertyRequest) -> SetDevicePropertyAnswer:
    """Ask a device to set properties; always asynchronous. What is stored changes only when the device reports it.

    Raises:
        ApiError: see `find_target`.
        ApiError(CHECK_INVALID_FORMATTED_PARAMETER): `Items` is not an object.
        ApiError(SET_DEVICE_PROPERTY_FAILED): it names an unknown or read-only property, or a value that does not fit.

    Source: SetDeviceProperty reference; `device-protocol.md` 5.4.
    """
    call = call_of(context)
    call.target = SET
    check_qos(request.qos)
    target = await find_target(
        context,
        call,
        codes.SET_DEVICE_PROPERTY_FAILED,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )
    items = _check_items(call, target, request.items)
    await _send(context, call, target, items, request.qos)
    return SetDevicePropertyAnswer(data=SetDevicePropertyData(message_id=str(call.alink_id)))


def _check_items(call: Call | None, target: Target, text: str) -> Mapping[str, object]:
    items = read_object(call, text)
    if not target.is_checked:
        return items
    if target.model is None:
        raise ApiError(
            codes.SET_DEVICE_PROPERTY_FAILED, text="property not found (the product has no published thing model)"
        )
    fault = target.model.check_property_set(items)
    if fault is not None:
        if call is not None:
            call.result_code = fault.code
        raise ApiError(codes.SET_DEVICE_PROPERTY_FAILED, text=fault.message)
    return items


async def _send(context: ActionContext, call: Call, target: Target, items: Mapping[str, object], qos: int) -> None:
    call.alink_id = context.ids.alink_id()
    call.message_id = context.ids.message_id()
    payload = services.make_request(call.alink_id, "thing.service.property.set", items)
    await post(context, call, target, topics.property_set(target.key), payload, qos, codes.SET_DEVICE_PROPERTY_FAILED)


class SetDevicesPropertyRequest(Request):
    """Source: SetDevicesProperty reference, request parameters."""

    items: str
    product_key: str
    device_name: list[str]
    qos: int = 0
    iot_instance_id: str = ""


async def set_devices_property(context: ActionContext, request: SetDevicesPropertyRequest) -> Answer:
    """Ask up to 100 devices of one product to set properties.

    A name that is not a device's fails the request before anything is sent. Each device has a record of its own.

    Raises:
        ApiError: see `find_targets` and `set_device_property`.
    """
    check_qos(request.qos)
    targets = await find_targets(context, request.product_key, request.device_name)
    items = _check_items(None, targets[0], request.items)

    async def send(call: Call, target: Target) -> None:
        await _send(context, call, target, items, request.qos)

    await post_to_each(context, "SetDevicesProperty", SET, targets, send)
    return Answer()


ACTIONS = (
    Action(
        name="SetDeviceProperty",
        request=SetDevicePropertyRequest,
        answer=SetDevicePropertyAnswer,
        function=set_device_property,
        is_call=True,
    ),
    Action(name="SetDevicesProperty", request=SetDevicesPropertyRequest, answer=Answer, function=set_devices_property),
)

"""The chapter of the reference about shadows of devices: GetDeviceShadow, UpdateDeviceShadow."""

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request
from linkstead.alink import topics
from linkstead.errors import ApiError, codes
from linkstead.invocation import Stage
from linkstead.registry import Device, find_device
from linkstead.telemetry import Shadow, ShadowError, ShadowFault, read_shadow_message, write_shadow
from linkstead.telemetry.shadow import ANY_VERSION

CODES = {
    ShadowFault.EMPTY: codes.NULL_SHADOW_MESSAGE,
    ShadowFault.TOO_LARGE: codes.SHADOW_MESSAGE_TOO_LARGE,
    ShadowFault.NOT_JSON: codes.SHADOW_MESSAGE_NOT_JSON,
    ShadowFault.NO_METHOD: codes.NO_METHOD_IN_SHADOW_MESSAGE,
    ShadowFault.UNKNOWN_METHOD: codes.METHOD_IS_NOT_UPDATE,
    ShadowFault.NO_STATE: codes.NO_STATE_IN_SHADOW_MESSAGE,
    ShadowFault.NO_VERSION: codes.NO_VERSION_IN_SHADOW_MESSAGE,
    ShadowFault.MALFORMED_VERSION: codes.INVALID_VERSION_IN_SHADOW_MESSAGE,
    ShadowFault.CONFLICT: codes.INVALID_VERSION_IN_SHADOW_MESSAGE,
    ShadowFault.NO_PART: codes.NO_DESIRE_IN_SHADOW_MESSAGE,
    ShadowFault.NULL_PART: codes.DESIRE_IS_NULL,
    ShadowFault.MALFORMED_PART: codes.DESIRE_IS_NOT_JSON,
    ShadowFault.NO_ATTRIBUTE: codes.NO_ELEMENT_IN_DESIRE,
    ShadowFault.NULL_ATTRIBUTE: codes.ELEMENT_IS_NULL_IN_DESIRE,
    ShadowFault.TOO_MANY_ATTRIBUTES: codes.TOO_MANY_ELEMENTS_IN_DESIRE,
}
"""Source: error-code table of the cloud API, module shadow."""


class DeviceShadowRequest(Request):
    """One device. Source: GetDeviceShadow reference, request parameters."""

    product_key: str
    device_name: str
    iot_instance_id: str = ""


class GetDeviceShadowAnswer(Answer):
    """`shadow_message` is JSON text; absent where nothing was ever written into the shadow."""

    shadow_message: str | UnsetType = UNSET


async def get_device_shadow(context: ActionContext, request: DeviceShadowRequest) -> GetDeviceShadowAnswer:
    """Show the shadow of a device: `state`, `metadata`, `timestamp` in seconds, `version`.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find(context, request)
    shadow = await context.telemetry.find_shadow(device.key)
    return GetDeviceShadowAnswer(shadow_message=write_shadow(shadow) if shadow is not None else UNSET)


class UpdateDeviceShadowRequest(DeviceShadowRequest, kw_only=True):
    """Source: UpdateDeviceShadow reference, request parameters.

    `ShadowMessage` is `{"method":"update","state":{"desired":{…}},"version":2}`; version 0 asks for none, -1 has the
    shadow count from 0 again. With `DeltaUpdate` what was desired before stays where it is not named.
    """

    shadow_message: str
    delta_update: bool = False


async def update_device_shadow(context: ActionContext, request: UpdateDeviceShadowRequest) -> Answer:
    """Say what a device is desired to be. One that is connected is told at once; another asks when it is back.

    The message to the device goes at QoS 0 and has a record among the calls. Source: device documentation, data flow
    of shadows.

    Raises:
        ApiError: see `find_device` and `CODES`; nothing was changed.
        ApiError(UPDATE_DEVICE_SHADOW_FAILED): the state has more than `desired`: the rest is for the device to say.
    """
    device = await _find(context, request)
    time_s = int(context.clock.time_s())
    try:
        message = read_shadow_message(request.shadow_message.encode())
        if message.method != "update":
            raise ShadowError(ShadowFault.UNKNOWN_METHOD)
        attributes = message.read_attributes("desired")
        version = message.version
        if len(message.state) > 1:
            raise ApiError(codes.UPDATE_DEVICE_SHADOW_FAILED, rule="ShadowMessage.state: desired, nothing else")

        def edit(shadow: Shadow) -> Shadow:
            taken = shadow.take_version(shadow.version + 1 if version == ANY_VERSION else version, time_s)
            return taken.desire(attributes, is_delta=request.delta_update)

        shadow = await context.telemetry.change_shadow(device.key, edit)
    except ShadowError as error:
        raise ApiError(CODES[error.fault], rule=f"ShadowMessage: {error}") from None
    if shadow is None:
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=request.device_name)
    await _tell(context, device, shadow)
    return Answer()


async def _find(context: ActionContext, request: DeviceShadowRequest) -> Device:
    return await find_device(
        context.registry, context.scope, product_key=request.product_key, device_name=request.device_name
    )


async def _tell(context: ActionContext, device: Device, shadow: Shadow) -> None:
    if not await context.is_connected(device):
        return
    topic = topics.shadow_get(device.key)
    control = {
        "method": "control",
        "payload": {"status": "success", **shadow.describe()},
        "version": shadow.version,
        "timestamp": shadow.time_s,
    }
    call = context.open_call("UpdateDeviceShadow", device.key, topic)
    try:
        call.message_id = context.ids.message_id()
        payload = msgspec.json.encode(control)
        call.set_request(payload, is_whole=True)
        call.mark(Stage.ACCEPTED, context.clock.time_s(), context.clock.monotonic_s())
        await context.delivery.post(call, topic, payload, 0)
    finally:
        context.close_call(call)


ACTIONS = (
    Action(
        name="GetDeviceShadow", request=DeviceShadowRequest, answer=GetDeviceShadowAnswer, function=get_device_shadow
    ),
    Action(name="UpdateDeviceShadow", request=UpdateDeviceShadowRequest, answer=Answer, function=update_device_shadow),
)

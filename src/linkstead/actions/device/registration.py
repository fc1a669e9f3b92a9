"""Registering devices, letting them in or not, and deleting them."""

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.device.addressing import DeviceRequest, check_count, find
from linkstead.alink.sub_devices import Change
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, DeviceKey, creation, find_device, find_product, names
from linkstead.sessions import Ending
from linkstead.subscription.messages import CREATE, DELETE, DISABLE, ENABLE
from linkstead.uplink.gateways import close_carried, tell_unbound
from linkstead.uplink.notices import tell_change, tell_order

RENAMED_MAX = 100
"""Devices in one BatchUpdateDeviceNickname. Ours: the reference names no bound."""


class RegisterDeviceRequest(Request):
    """Source: RegisterDevice reference.

    Without effect, as there is no LoRaWAN: `DevEui`, `JoinEui`, `AppKey`, `PinCode`, `LoraNodeType`.
    """

    product_key: str
    device_name: str = ""
    nickname: str = ""
    dev_eui: str = ""
    join_eui: str = ""
    app_key: str = ""
    pin_code: str = ""
    lora_node_type: str = ""
    iot_instance_id: str = ""


class RegisterDeviceData(Shape):
    """Source: RegisterDevice reference, returned data. DevEui and JoinEui are never sent."""

    iot_id: str
    product_key: str
    device_name: str
    device_secret: str
    nickname: str | UnsetType = UNSET
    dev_eui: str | UnsetType = UNSET
    join_eui: str | UnsetType = UNSET


class RegisterDeviceAnswer(Answer):
    """What has to be put into the device."""

    data: RegisterDeviceData | UnsetType = UNSET


async def register_device(context: ActionContext, request: RegisterDeviceRequest) -> RegisterDeviceAnswer:
    """Make a device; without a DeviceName it gets 20 random letters and digits.

    Raises:
        ApiError: see `find_product`; a value breaks its rule, or the name is taken.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    device = creation.new_device(
        context.ids,
        product,
        created_ms=milliseconds(context.clock.time_s()),
        device_name=request.device_name,
        nickname=request.nickname,
    )
    device = await creation.add_device(context.registry, context.ids, device, name_given=bool(request.device_name))
    context.news.tell_lifecycle(device, CREATE)
    return RegisterDeviceAnswer(
        data=RegisterDeviceData(
            iot_id=device.iot_id,
            product_key=device.product_key,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
        )
    )


async def disable_thing(context: ActionContext, request: DeviceRequest) -> Answer:
    """Refuse a device from now on: its connection is closed, and it may not connect until it is enabled again.

    A gateway is told of a device behind it, as when it is enabled or deleted.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find(context, request)
    await _set_enabled(context, device, enabled=False)
    link = context.sessions.link(device.key)
    if link is not None:
        link.close(Ending.DISABLED)
    _tell_gateway(context, await context.registry.store.find_gateway(device.key), Change.DISABLED, device.key)
    return Answer()


async def enable_thing(context: ActionContext, request: DeviceRequest) -> Answer:
    """Let a disabled device connect again.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find(context, request)
    await _set_enabled(context, device, enabled=True)
    _tell_gateway(context, await context.registry.store.find_gateway(device.key), Change.ENABLED, device.key)
    return Answer()


def _tell_gateway(context: ActionContext, gateway: DeviceKey | None, change: Change, key: DeviceKey) -> None:
    if gateway is not None:
        tell_order(context.sessions, context.ids, gateway, change, key)


async def _set_enabled(context: ActionContext, device: Device, *, enabled: bool) -> None:
    now_ms = milliseconds(context.clock.time_s())
    if not await context.registry.set_device_enabled(device.key, enabled, now_ms):
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)
    if device.enabled is not enabled:
        context.news.tell_lifecycle(device, ENABLE if enabled else DISABLE)


async def delete_device(context: ActionContext, request: DeviceRequest) -> Answer:
    """Delete a device: its connection is closed; its IotId, its secret and what waits for it are void.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find(context, request)
    gateway = await context.registry.store.find_gateway(device.key)
    if not await context.registry.delete_device(device.key):
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)
    context.news.tell_lifecycle(device, DELETE)
    link = context.sessions.forget(device.key)
    if link is not None:
        link.close(Ending.DELETED)
    _tell_gateway(context, gateway, Change.DELETED, device.key)
    return Answer()


class ResetThingAnswer(Answer):
    """JobId is never sent: it is for gateways of more than 2,000 sub-devices, and none has as many."""

    job_id: str | UnsetType = UNSET


async def reset_thing(context: ActionContext, request: DeviceRequest) -> ResetThingAnswer:
    """Let a device that was active register itself anew, until it next comes online, and free a gateway of its
    sub-devices, which are logged out and told of as when each is removed. Its secret, its status and its connection
    stay as they are. Source: ResetThing reference.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find(context, request)
    freed = await context.registry.reset_device(device.key, milliseconds(context.clock.time_s()))
    if freed is None:
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)
    if freed:
        for key in freed:
            close_carried(context.sessions, key, Ending.UNBOUND)
        tell_change(context.sessions, context.ids, device.key, Change.DELETED, freed)
        await tell_unbound(context.registry, context.news, device.key, freed)
    return ResetThingAnswer()


class DeviceNickname(msgspec.Struct, rename="pascal", kw_only=True):
    """A device, named as in DeviceRequest, and the nickname it is to have; without one it loses its own."""

    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    nickname: str = ""


class BatchUpdateDeviceNicknameRequest(Request):
    """Source: BatchUpdateDeviceNickname reference."""

    device_nickname_info: list[DeviceNickname]
    iot_instance_id: str = ""


async def batch_update_device_nickname(context: ActionContext, request: BatchUpdateDeviceNicknameRequest) -> Answer:
    """Give devices other nicknames: all of them, or none. Where one is named twice, what comes last counts.

    Raises:
        ApiError: see `find_device`.
        ApiError(INVALID_FORMATTED_PARAMETER): there are over `RENAMED_MAX`.
        ApiError(INVALID_DEVICE_NICKNAME): a nickname breaks its rule.
    """
    infos = request.device_nickname_info
    check_count("DeviceNicknameInfo", infos, RENAMED_MAX)
    nicknames: dict[DeviceKey, str] = {}
    for info in infos:
        if info.nickname and not names.is_nickname(info.nickname, names.RENAMED_NICKNAME_WIDTH_MAX):
            raise ApiError(codes.INVALID_DEVICE_NICKNAME, Nickname=info.nickname, rule=names.RENAMED_NICKNAME_RULE)
        device = await find_device(
            context.registry,
            context.scope,
            iot_id=info.iot_id,
            product_key=info.product_key,
            device_name=info.device_name,
        )
        nicknames[device.key] = info.nickname
    if not await context.registry.set_nicknames(nicknames, milliseconds(context.clock.time_s())):
        raise ApiError(codes.NOT_EXISTED_DEVICE)
    return Answer()


ACTIONS = (
    Action(name="RegisterDevice", request=RegisterDeviceRequest, answer=RegisterDeviceAnswer, function=register_device),
    Action(name="DisableThing", request=DeviceRequest, answer=Answer, function=disable_thing),
    Action(name="EnableThing", request=DeviceRequest, answer=Answer, function=enable_thing),
    Action(name="DeleteDevice", request=DeviceRequest, answer=Answer, function=delete_device),
    Action(name="ResetThing", request=DeviceRequest, answer=ResetThingAnswer, function=reset_thing),
    Action(
        name="BatchUpdateDeviceNickname",
        request=BatchUpdateDeviceNicknameRequest,
        answer=Answer,
        function=batch_update_device_nickname,
    ),
)

"""The chapter of the reference about gateways and the devices behind them."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.alink import sub_devices, topics
from linkstead.alink.sub_devices import BadEntry, Change
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.invocation import RouterOverloaded, Stage
from linkstead.registry import (
    SUB_DEVICES_MAX,
    Device,
    DeviceGone,
    DeviceKey,
    TooManySubDevices,
    find_device,
    find_product,
    paging,
    times,
)
from linkstead.registry.topology import GATEWAY
from linkstead.sessions import Ending
from linkstead.subscription.messages import CREATE
from linkstead.uplink.gateways import ENTRIES_MAX, close_carried, tell_unbound
from linkstead.uplink.notices import tell_change

PAGE_SIZE_MAX = 50
"""Sub-devices in one page. Source: the words of iot.device.QueryTopoRelationFailed."""


async def _find_gateway(
    context: ActionContext, failed: ErrorRow, *, iot_id: str = "", product_key: str = "", device_name: str = ""
) -> Device:
    """The gateway that a request names. Raises ApiError: see `find_device`; `failed`: it is none."""
    device = await find_device(
        context.registry, context.scope, iot_id=iot_id, product_key=product_key, device_name=device_name
    )
    product = await find_product(context.registry, context.scope, device.product_key)
    if product.node_type != GATEWAY:
        raise ApiError(
            failed, ProductKey=product.product_key, NodeType=product.node_type, rule=f"NodeType == {GATEWAY}"
        )
    return device


class TopoAddItem(msgspec.Struct, rename="pascal", kw_only=True):
    """A sub-device, signed with its secret. Source: `operations.json`, BatchAddThingTopo."""

    product_key: str = ""
    device_name: str = ""
    client_id: str = ""
    timestamp: str = ""
    sign_method: str = ""
    sign: str = ""


class BatchAddThingTopoRequest(Request):
    """Source: BatchAddThingTopo reference. At most `ENTRIES_MAX` items, which is ours."""

    gw_product_key: str
    gw_device_name: str
    topo_add_item: list[TopoAddItem]
    iot_instance_id: str = ""


async def batch_add_thing_topo(context: ActionContext, request: BatchAddThingTopoRequest) -> Answer:
    """Put devices behind a gateway, all or none; it is told of them. One behind another gateway is moved.

    Raises:
        ApiError: see `find_device`, for the gateway and for each sub-device.
        ApiError(ADD_TOPO_RELATION_FAILED): the gateway, or one of the devices, may not be one; a signature is wrong.
        ApiError(TOPO_RELATION_COUNT_EXCEEDED): the gateway would have more than `SUB_DEVICES_MAX`.
    """
    failed = codes.ADD_TOPO_RELATION_FAILED
    gateway = await _find_gateway(
        context, failed, product_key=request.gw_product_key, device_name=request.gw_device_name
    )
    _check_count("TopoAddItem", request.topo_add_item)
    devices = [await _check_item(context, item) for item in request.topo_add_item]
    keys = [device.key for device in devices]
    now_ms = milliseconds(context.clock.time_s())
    try:
        moved = await context.registry.store.bind_sub_devices(gateway.key, keys, now_ms)
    except TooManySubDevices:
        raise ApiError(codes.TOPO_RELATION_COUNT_EXCEEDED, rule=f"<= {SUB_DEVICES_MAX}") from None
    except DeviceGone as gone:
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=gone.args[0].device_name) from None
    for key, former in moved.items():
        await _end_relation(context, former, key)
    context.news.tell_topology(gateway.origin, CREATE, [device.origin for device in devices])
    tell_change(context.sessions, context.ids, gateway.key, Change.CREATED, keys)
    return Answer()


def _check_count(parameter: str, values: Sequence[object]) -> None:
    if not 1 <= len(values) <= ENTRIES_MAX:
        rule = f"{parameter}.1..{parameter}.{ENTRIES_MAX}"
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, N=len(values), rule=rule)


async def _check_item(context: ActionContext, item: TopoAddItem) -> Device:
    failed = codes.ADD_TOPO_RELATION_FAILED
    device = await find_device(
        context.registry, context.scope, product_key=item.product_key, device_name=item.device_name
    )
    product = await find_product(context.registry, context.scope, device.product_key)
    if product.node_type == GATEWAY:
        raise ApiError(failed, DeviceName=device.device_name, NodeType=product.node_type, rule=f"NodeType != {GATEWAY}")
    if not device.enabled:
        raise ApiError(failed, DeviceName=device.device_name, rule="enabled")
    members = {
        "productKey": item.product_key,
        "deviceName": item.device_name,
        "clientId": item.client_id,
        "timestamp": item.timestamp,
        "signMethod": item.sign_method,
        "sign": item.sign,
    }
    try:
        entry = sub_devices.read_entry({name: value for name, value in members.items() if value})
    except BadEntry as error:
        raise ApiError(failed, text=str(error)) from None
    if not sub_devices.check_sign(entry, device.device_secret):
        raise ApiError(failed, text="the signature does not match the device's secret", DeviceName=device.device_name)
    return device


async def _end_relation(context: ActionContext, gateway: DeviceKey, key: DeviceKey) -> None:
    close_carried(context.sessions, key, Ending.UNBOUND)
    tell_change(context.sessions, context.ids, gateway, Change.DELETED, [key])
    await tell_unbound(context.registry, context.news, gateway, [key])


class SubDeviceRequest(Request):
    """One sub-device, by IotId or by ProductKey and DeviceName; the IotId wins."""

    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    iot_instance_id: str = ""


class RemoveThingTopoAnswer(Answer):
    """Source: RemoveThingTopo reference, returned data."""

    data: bool | UnsetType = UNSET


async def remove_thing_topo(context: ActionContext, request: SubDeviceRequest) -> RemoveThingTopoAnswer:
    """Take a device from behind its gateway, which is told; it is logged out.

    Raises:
        ApiError: see `find_device`.
        ApiError(REMOVE_TOPO_RELATION_FAILED): it is behind no gateway.
    """
    device = await _find_sub_device(context, request)
    store = context.registry.store
    gateway = await store.find_gateway(device.key)
    if gateway is None or not await store.unbind_sub_devices(gateway, [device.key]):
        raise ApiError(codes.REMOVE_TOPO_RELATION_FAILED, DeviceName=device.device_name)
    await _end_relation(context, gateway, device.key)
    return RemoveThingTopoAnswer(data=True)


async def _find_sub_device(context: ActionContext, request: SubDeviceRequest) -> Device:
    return await find_device(
        context.registry,
        context.scope,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )


class GetThingTopoRequest(Request):
    """One gateway, by IotId or by ProductKey and DeviceName; the IotId wins."""

    page_no: int
    page_size: int
    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    iot_instance_id: str = ""


class TopoDeviceInfo(Shape):
    """One sub-device."""

    iot_id: str
    product_key: str
    device_name: str


class TopoDeviceInfoList(Shape, rename=None):
    """The list itself; its name is in lower camel case."""

    device_info: list[TopoDeviceInfo] = field(name="deviceInfo")


class GetThingTopoData(Shape):
    """Source: GetThingTopo reference, returned data."""

    total: int
    page_size: int
    page_count: int
    current_page: int
    devices: TopoDeviceInfoList = field(name="List")


class GetThingTopoAnswer(Answer):
    """One page of sub-devices, the latest first."""

    data: GetThingTopoData | UnsetType = UNSET


async def get_thing_topo(context: ActionContext, request: GetThingTopoRequest) -> GetThingTopoAnswer:
    """List the devices behind a gateway.

    Raises:
        ApiError: see `find_device`.
        ApiError(QUERY_TOPO_RELATION_FAILED): it is no gateway, or the page is not 1 and up, of 1 to `PAGE_SIZE_MAX`.
    """
    failed = codes.QUERY_TOPO_RELATION_FAILED
    gateway = await _find_gateway(
        context,
        failed,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )
    try:
        offset = paging.page_offset(request.page_no, request.page_size, PAGE_SIZE_MAX)
    except ApiError as error:
        raise ApiError(failed, PageNo=request.page_no, PageSize=request.page_size, rule=error.rule) from None
    page = await context.registry.store.list_sub_devices(gateway.key, offset, request.page_size)
    devices = [
        TopoDeviceInfo(iot_id=device.iot_id, product_key=device.product_key, device_name=device.device_name)
        for device in page.records
    ]
    return GetThingTopoAnswer(
        data=GetThingTopoData(
            total=page.total,
            page_size=request.page_size,
            page_count=paging.page_count(page.total, request.page_size),
            current_page=request.page_no,
            devices=TopoDeviceInfoList(device_info=devices),
        )
    )


class GetGatewayBySubDeviceData(Shape):
    """Source: GetGatewayBySubDevice reference, returned data. What never happened has no time."""

    iot_id: str = field(name="iotId")
    product_key: str
    product_name: str
    device_name: str
    device_secret: str
    node_type: int
    status: str
    region: str = field(name="region")
    gmt_create: str
    utc_create: str
    firmware_version: str | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET
    gmt_active: str | UnsetType = UNSET
    utc_active: str | UnsetType = UNSET
    gmt_online: str | UnsetType = UNSET
    utc_online: str | UnsetType = UNSET


class GetGatewayBySubDeviceAnswer(Answer):
    """Everything about the gateway of a device."""

    data: GetGatewayBySubDeviceData | UnsetType = UNSET


async def get_gateway_by_sub_device(context: ActionContext, request: SubDeviceRequest) -> GetGatewayBySubDeviceAnswer:
    """Show the gateway that a device is behind.

    Raises:
        ApiError: see `find_device`.
        ApiError(QUERY_TOPO_RELATION_FAILED): it is behind none.
    """
    device = await _find_sub_device(context, request)
    key = await context.registry.store.find_gateway(device.key)
    gateway = await context.registry.find_device(key) if key is not None else None
    if gateway is None:
        raise ApiError(codes.QUERY_TOPO_RELATION_FAILED, text="The device is behind no gateway")
    product = await find_product(context.registry, context.scope, gateway.product_key)
    active, online = gateway.activated_ms, gateway.online_ms
    return GetGatewayBySubDeviceAnswer(
        data=GetGatewayBySubDeviceData(
            iot_id=gateway.iot_id,
            product_key=gateway.product_key,
            product_name=product.product_name,
            device_name=gateway.device_name,
            device_secret=gateway.device_secret,
            node_type=product.node_type,
            status=context.sessions.status(gateway),
            region=times.REGION,
            firmware_version=gateway.firmware_version or UNSET,
            ip_address=gateway.ip_address or UNSET,
            gmt_create=times.local_text(gateway.created_ms),
            utc_create=times.utc_text(gateway.created_ms),
            gmt_active=times.local_text(active) if active else UNSET,
            utc_active=times.utc_text(active) if active else UNSET,
            gmt_online=times.local_text(online) if online else UNSET,
            utc_online=times.utc_text(online) if online else UNSET,
        )
    )


class NotifyAddThingTopoRequest(Request):
    """One gateway, by IotId or by ProductKey and DeviceName; `DeviceListStr` is
    `[{"productKey":"…","deviceName":"…"}]`, at most `ENTRIES_MAX`, which is ours.
    """

    device_list_str: str = ""
    gw_iot_id: str = ""
    gw_product_key: str = ""
    gw_device_name: str = ""
    iot_instance_id: str = ""


class NotifyAddThingTopoData(Shape):
    """`message_id` is the Alink id, as text."""

    message_id: str | UnsetType = UNSET


class NotifyAddThingTopoAnswer(Answer):
    """Source: NotifyAddThingTopo reference, returned data."""

    data: NotifyAddThingTopoData | UnsetType = UNSET


async def notify_add_thing_topo(context: ActionContext, request: NotifyAddThingTopoRequest) -> NotifyAddThingTopoAnswer:
    """Ask a gateway to add these devices to its topology; whether it does is its own affair.

    Raises:
        ApiError: see `find_device`, for the gateway and for each sub-device.
        ApiError(ADD_TOPO_RELATION_FAILED): the gateway is none, or it is disabled.
        ApiError(CHECK_INVALID_FORMATTED_PARAMETER): `DeviceListStr` is malformed.
    """
    call = context.call
    if call is None:
        raise TypeError("a call needs a call record")
    call.target = sub_devices.NOTIFY_ADD
    gateway = await _find_gateway(
        context,
        codes.ADD_TOPO_RELATION_FAILED,
        iot_id=request.gw_iot_id,
        product_key=request.gw_product_key,
        device_name=request.gw_device_name,
    )
    call.key = gateway.key
    if not gateway.enabled:
        raise ApiError(codes.ADD_TOPO_RELATION_FAILED, text="The gateway is disabled")
    keys = _read_keys(request.device_list_str)
    for key in keys:
        await find_device(context.registry, context.scope, product_key=key.product_key, device_name=key.device_name)
    call.alink_id, call.message_id = context.ids.alink_id(), context.ids.message_id()
    params = [sub_devices.describe(key) for key in keys]
    payload = sub_devices.encode_request(call.alink_id, sub_devices.NOTIFY_ADD, params)
    call.set_request(payload, is_whole=True)
    call.mark(Stage.ACCEPTED, context.clock.time_s(), context.clock.monotonic_s())
    try:
        await context.delivery.post(call, topics.alink(gateway.key, sub_devices.NOTIFY_ADD), payload, 0)
    except RouterOverloaded:
        raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
    return NotifyAddThingTopoAnswer(data=NotifyAddThingTopoData(message_id=str(call.alink_id)))


def _read_keys(text: str) -> list[DeviceKey]:
    try:
        entries = msgspec.json.decode(text)
        if not isinstance(entries, list) or not 1 <= len(entries) <= ENTRIES_MAX:
            raise BadEntry(f"must be a list of 1 to {ENTRIES_MAX} devices")
        return list(dict.fromkeys(sub_devices.read_key(entry) for entry in entries))
    except (ValueError, RecursionError) as error:
        raise ApiError(codes.CHECK_INVALID_FORMATTED_PARAMETER, DeviceListStr=text, rule=str(error)) from None


ACTIONS = (
    Action(name="BatchAddThingTopo", request=BatchAddThingTopoRequest, answer=Answer, function=batch_add_thing_topo),
    Action(name="RemoveThingTopo", request=SubDeviceRequest, answer=RemoveThingTopoAnswer, function=remove_thing_topo),
    Action(name="GetThingTopo", request=GetThingTopoRequest, answer=GetThingTopoAnswer, function=get_thing_topo),
    Action(
        name="GetGatewayBySubDevice",
        request=SubDeviceRequest,
        answer=GetGatewayBySubDeviceAnswer,
        function=get_gateway_by_sub_device,
    ),
    Action(
        name="NotifyAddThingTopo",
        request=NotifyAddThingTopoRequest,
        answer=NotifyAddThingTopoAnswer,
        function=notify_add_thing_topo,
        is_call=True,
    ),
)

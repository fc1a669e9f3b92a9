"""Who is connected: the status of one device, of several, and counts."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.device.addressing import DeviceRequest, check_count, check_names, find, moment
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, DeviceKey, find_product, names, times

STATES_MAX = 50
"""Devices in one call. Source: BatchGetDeviceState reference, row DeviceName.N."""


class GetDeviceStatusData(Shape):
    """`timestamp`: when the device last came online or went offline, milliseconds; absent before the first time."""

    status: str
    timestamp: int | UnsetType = UNSET


class GetDeviceStatusAnswer(Answer):
    """Source: GetDeviceStatus reference, returned data."""

    data: GetDeviceStatusData | UnsetType = UNSET


async def get_device_status(context: ActionContext, request: DeviceRequest) -> GetDeviceStatusAnswer:
    """Tell whether a device is connected.

    Raises:
        ApiError: see `find_device`.
    """
    device = await context.registry.refresh(await find(context, request))
    return GetDeviceStatusAnswer(
        data=GetDeviceStatusData(status=context.sessions.status(device), timestamp=device.status_ms or UNSET)
    )


class BatchGetDeviceStateRequest(Request):
    """Devices of one product by name, or of any by IotId; the IotIds win."""

    product_key: str = ""
    device_name: list[str] = field(default_factory=list)
    iot_id: list[str] = field(default_factory=list)
    iot_instance_id: str = ""


class DeviceState(Shape):
    """Source: BatchGetDeviceState reference, returned data. `as_address` is the device's IP address; `last_online_time`
    is the region's own time; DeviceId is obsolete and never sent.
    """

    iot_id: str
    device_name: str
    status: str
    last_online_time: str | UnsetType = UNSET
    as_address: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    timestamp: int | UnsetType = UNSET


class DeviceStateList(Shape):
    """The list itself."""

    device_status: list[DeviceState]


class BatchGetDeviceStateAnswer(Answer):
    """The states of the devices that exist, in the order they were asked for."""

    device_status_list: DeviceStateList | UnsetType = UNSET


async def batch_get_device_state(
    context: ActionContext, request: BatchGetDeviceStateRequest
) -> BatchGetDeviceStateAnswer:
    """Tell which of up to `STATES_MAX` devices are connected. What does not exist is left out (our choice).

    Raises:
        ApiError: see `find_product`; a name is empty or malformed, there are none or too many.
    """
    if request.iot_id:
        devices = await _find_by_iot_ids(context, request.iot_id)
    else:
        devices = await _find_by_names(context, request.product_key, request.device_name)
    devices = [await context.registry.refresh(device) for device in devices]
    states = [
        DeviceState(
            iot_id=device.iot_id,
            device_name=device.device_name,
            status=context.sessions.status(device),
            last_online_time=moment(times.local_text, device.online_ms),
            as_address=device.ip_address or UNSET,
            timestamp=device.status_ms or UNSET,
        )
        for device in devices
    ]
    return BatchGetDeviceStateAnswer(device_status_list=DeviceStateList(device_status=states))


async def _find_by_iot_ids(context: ActionContext, iot_ids: Sequence[str]) -> list[Device]:
    check_count("IotId", iot_ids, STATES_MAX)
    for iot_id in iot_ids:
        if not names.is_iot_id(iot_id):
            raise ApiError(codes.INVALID_IOT_ID, IotId=iot_id, rule=names.IOT_ID_RULE)
    found = [await context.registry.find_device_by_iot_id(iot_id) for iot_id in dict.fromkeys(iot_ids)]
    return [device for device in found if device is not None and context.scope.covers(device)]


async def _find_by_names(context: ActionContext, product_key: str, device_names: Sequence[str]) -> list[Device]:
    await find_product(context.registry, context.scope, product_key)
    check_names(device_names, STATES_MAX)
    keys = [DeviceKey(product_key, device_name) for device_name in dict.fromkeys(device_names)]
    found = {device.key: device for device in await context.registry.store.find_devices(keys)}
    return [found[key] for key in keys if key in found]


class QueryDeviceStatisticsRequest(Request):
    """Source: QueryDeviceStatistics reference. Without ProductKey: all of the caller's devices."""

    product_key: str = ""
    group_id: str = ""
    iot_instance_id: str = ""


class QueryDeviceStatisticsData(Shape, rename="camel"):
    """In lower camel case, unlike every other answer."""

    device_count: int
    active_count: int
    online_count: int


class QueryDeviceStatisticsAnswer(Answer):
    """Source: QueryDeviceStatistics reference, returned data."""

    data: QueryDeviceStatisticsData | UnsetType = UNSET


async def query_device_statistics(
    context: ActionContext, request: QueryDeviceStatisticsRequest
) -> QueryDeviceStatisticsAnswer:
    """Count devices: registered, activated, online.

    Raises:
        ApiError: see `find_product`.
        ApiError(NOT_EXISTED_GROUP): a GroupId was sent; there are no groups.
    """
    if request.group_id:
        raise ApiError(codes.NOT_EXISTED_GROUP, GroupId=request.group_id)
    if request.product_key:
        await find_product(context.registry, context.scope, request.product_key)
    counted = await context.registry.store.device_statistics(
        context.scope.account_id, context.scope.instance_id, request.product_key or None
    )
    return QueryDeviceStatisticsAnswer(
        data=QueryDeviceStatisticsData(
            device_count=counted.device_count,
            active_count=counted.active_count,
            online_count=counted.online_count,
        )
    )


ACTIONS = (
    Action(name="GetDeviceStatus", request=DeviceRequest, answer=GetDeviceStatusAnswer, function=get_device_status),
    Action(
        name="BatchGetDeviceState",
        request=BatchGetDeviceStateRequest,
        answer=BatchGetDeviceStateAnswer,
        function=batch_get_device_state,
    ),
    Action(
        name="QueryDeviceStatistics",
        request=QueryDeviceStatisticsRequest,
        answer=QueryDeviceStatisticsAnswer,
        function=query_device_statistics,
    ),
)

"""The chapter of the reference about devices."""

from collections.abc import Callable, Sequence

from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.registry import (
    Device,
    DeviceKey,
    ProductStatistics,
    creation,
    find_device,
    find_product,
    names,
    paging,
    times,
)
from linkstead.sessions import Ending

PAGE_SIZE_MAX = 50
"""Devices in one page. Source: QueryDevice reference, row PageSize."""

PAGED_DEVICES_MAX = 10_000
"""How far page numbers reach. Source: `cloud-api.md` 9.3: from there on the vendor demands a NextToken."""

STATES_MAX = 50
"""Devices in one call. Source: BatchGetDeviceState reference, row DeviceName.N."""


class DeviceRequest(Request):
    """One device, by IotId or by ProductKey and DeviceName; the IotId wins."""

    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    iot_instance_id: str = ""


async def _find(context: ActionContext, request: DeviceRequest) -> Device:
    return await find_device(
        context.registry,
        context.scope,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )


async def _find_current(context: ActionContext, request: DeviceRequest) -> Device:
    """The record as it is in the store: a cached one does not follow the device's coming and going."""
    device = await _find(context, request)
    current = await context.registry.store.find_device(device.key)
    if current is None:
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)
    return current


def _moment(notation: Callable[[int], str], at_ms: int) -> str | UnsetType:
    return notation(at_ms) if at_ms else UNSET


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
    return RegisterDeviceAnswer(
        data=RegisterDeviceData(
            iot_id=device.iot_id,
            product_key=device.product_key,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
        )
    )


class QueryDeviceRequest(Request):
    """Source: QueryDevice reference. Without effect: `NextToken`, as none is ever given out."""

    product_key: str
    current_page: int = 1
    page_size: int = 10
    next_token: str = ""
    iot_instance_id: str = ""


class DeviceInfo(Shape):
    """One device of a list. DeviceId and DeviceType are obsolete and never sent."""

    iot_id: str
    product_key: str
    device_name: str
    device_secret: str
    device_status: str
    gmt_create: str
    utc_create: str
    gmt_modified: str
    utc_modified: str
    nickname: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    device_type: str | UnsetType = UNSET


class DeviceInfoList(Shape):
    """The list itself."""

    device_info: list[DeviceInfo]


class QueryDeviceAnswer(Answer):
    """One page of devices, newest first. NextToken is never sent."""

    total: int | UnsetType = UNSET
    page: int | UnsetType = UNSET
    page_size: int | UnsetType = UNSET
    page_count: int | UnsetType = UNSET
    next_token: str | UnsetType = UNSET
    data: DeviceInfoList | UnsetType = UNSET


async def query_device(context: ActionContext, request: QueryDeviceRequest) -> QueryDeviceAnswer:
    """List a product's devices, newest first.

    Raises:
        ApiError: see `find_product`.
        ApiError(INVALID_PAGE_PARAMS): see `page_offset`; or the page ends past `PAGED_DEVICES_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    if offset + request.page_size > PAGED_DEVICES_MAX:
        rule = f"CurrentPage * PageSize <= {PAGED_DEVICES_MAX}"
        raise ApiError(
            codes.INVALID_PAGE_PARAMS, CurrentPage=request.current_page, PageSize=request.page_size, rule=rule
        )
    page = await context.registry.store.list_devices(product.product_key, offset, request.page_size)
    return QueryDeviceAnswer(
        total=page.total,
        page=request.current_page,
        page_size=request.page_size,
        page_count=paging.page_count(page.total, request.page_size),
        data=DeviceInfoList(device_info=[_device_info(context, device) for device in page.records]),
    )


def _device_info(context: ActionContext, device: Device) -> DeviceInfo:
    return DeviceInfo(
        iot_id=device.iot_id,
        product_key=device.product_key,
        device_name=device.device_name,
        device_secret=device.device_secret,
        device_status=context.sessions.status(device),
        nickname=device.nickname or UNSET,
        gmt_create=times.gmt_header_text(device.created_ms),
        utc_create=times.utc_text(device.created_ms),
        gmt_modified=times.gmt_header_text(device.modified_ms),
        utc_modified=times.utc_text(device.modified_ms),
    )


class QueryDeviceDetailData(Shape):
    """Source: QueryDeviceDetail reference, returned data. What never happened has no time."""

    iot_id: str
    product_key: str
    product_name: str
    device_name: str
    device_secret: str
    node_type: int
    status: str
    region: str
    owner: bool
    gmt_create: str
    utc_create: str
    nickname: str | UnsetType = UNSET
    firmware_version: str | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET
    gmt_active: str | UnsetType = UNSET
    utc_active: str | UnsetType = UNSET
    gmt_online: str | UnsetType = UNSET
    utc_online: str | UnsetType = UNSET


class QueryDeviceDetailAnswer(Answer):
    """Everything about one device."""

    data: QueryDeviceDetailData | UnsetType = UNSET


async def query_device_detail(context: ActionContext, request: DeviceRequest) -> QueryDeviceDetailAnswer:
    """Show a device.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find_current(context, request)
    product = await find_product(context.registry, context.scope, device.product_key)
    return QueryDeviceDetailAnswer(
        data=QueryDeviceDetailData(
            iot_id=device.iot_id,
            product_key=device.product_key,
            product_name=product.product_name,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
            node_type=product.node_type,
            status=context.sessions.status(device),
            firmware_version=device.firmware_version or UNSET,
            ip_address=device.ip_address or UNSET,
            region=times.REGION,
            owner=True,
            gmt_create=times.local_text(device.created_ms),
            utc_create=times.utc_text(device.created_ms),
            gmt_active=_moment(times.local_text, device.activated_ms),
            utc_active=_moment(times.utc_text, device.activated_ms),
            gmt_online=_moment(times.local_text, device.online_ms),
            utc_online=_moment(times.utc_text, device.online_ms),
        )
    )


class QueryDeviceInfoData(Shape):
    """Source: `operations.json`, QueryDeviceInfo."""

    iot_id: str
    product_key: str
    device_name: str
    device_secret: str
    nickname: str | UnsetType = UNSET


class QueryDeviceInfoAnswer(Answer):
    """What names a device and what it signs with."""

    data: QueryDeviceInfoData | UnsetType = UNSET


async def query_device_info(context: ActionContext, request: DeviceRequest) -> QueryDeviceInfoAnswer:
    """Show what names a device and what it signs with.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find(context, request)
    return QueryDeviceInfoAnswer(
        data=QueryDeviceInfoData(
            iot_id=device.iot_id,
            product_key=device.product_key,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
        )
    )


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
    device = await _find_current(context, request)
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
    states = [
        DeviceState(
            iot_id=device.iot_id,
            device_name=device.device_name,
            status=context.sessions.status(device),
            last_online_time=_moment(times.local_text, device.online_ms),
            as_address=device.ip_address or UNSET,
            timestamp=device.status_ms or UNSET,
        )
        for device in devices
    ]
    return BatchGetDeviceStateAnswer(device_status_list=DeviceStateList(device_status=states))


async def _find_by_iot_ids(context: ActionContext, iot_ids: Sequence[str]) -> list[Device]:
    _check_count("IotId", iot_ids)
    for iot_id in iot_ids:
        if not names.is_iot_id(iot_id):
            raise ApiError(codes.INVALID_IOT_ID, IotId=iot_id, rule=names.IOT_ID_RULE)
    found = [await context.registry.find_device_by_iot_id(iot_id) for iot_id in dict.fromkeys(iot_ids)]
    return [device for device in found if device is not None and context.scope.covers(device)]


async def _find_by_names(context: ActionContext, product_key: str, device_names: Sequence[str]) -> list[Device]:
    await find_product(context.registry, context.scope, product_key)
    if not device_names:
        raise ApiError(codes.NONE_DEVICE_NAME_ELEMENT)
    _check_count("DeviceName", device_names)
    for device_name in device_names:
        if not device_name:
            raise ApiError(codes.NULL_DEVICE_NAME)
        if not names.is_device_name(device_name):
            raise ApiError(codes.INVALID_FORMATTED_DEVICE_NAME, DeviceName=device_name, rule=names.DEVICE_NAME_RULE)
    keys = [DeviceKey(product_key, device_name) for device_name in dict.fromkeys(device_names)]
    found = {device.key: device for device in await context.registry.store.find_devices(keys)}
    return [found[key] for key in keys if key in found]


def _check_count(parameter: str, values: Sequence[str]) -> None:
    if len(values) > STATES_MAX:
        # DeviceCountExceeded speaks of registration only.
        rule = f"{parameter}.1..{parameter}.{STATES_MAX}"
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, N=len(values), rule=rule)


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
    counted = await _count(context, request.product_key)
    return QueryDeviceStatisticsAnswer(
        data=QueryDeviceStatisticsData(
            device_count=counted.device_count,
            active_count=counted.active_count,
            online_count=counted.online_count,
        )
    )


async def _count(context: ActionContext, product_key: str) -> ProductStatistics:
    store, scope = context.registry.store, context.scope
    if product_key or scope.instance_id is None:
        return await store.device_statistics(scope.account_id, product_key or None)
    page = await store.list_products(scope.account_id, scope.instance_id, None, 0, creation.PRODUCTS_PER_ACCOUNT_MAX)
    counted = [await store.device_statistics(scope.account_id, product.product_key) for product in page.records]
    return ProductStatistics(
        device_count=sum(one.device_count for one in counted),
        active_count=sum(one.active_count for one in counted),
        online_count=sum(one.online_count for one in counted),
    )


async def disable_thing(context: ActionContext, request: DeviceRequest) -> Answer:
    """Refuse a device from now on: its connection is closed, and it may not connect until it is enabled again.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find(context, request)
    await _set_enabled(context, device, enabled=False)
    link = context.sessions.link(device.key)
    if link is not None:
        link.close(Ending.DISABLED)
    return Answer()


async def enable_thing(context: ActionContext, request: DeviceRequest) -> Answer:
    """Let a disabled device connect again.

    Raises:
        ApiError: see `find_device`.
    """
    await _set_enabled(context, await _find(context, request), enabled=True)
    return Answer()


async def _set_enabled(context: ActionContext, device: Device, *, enabled: bool) -> None:
    now_ms = milliseconds(context.clock.time_s())
    if not await context.registry.set_device_enabled(device.key, enabled, now_ms):
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)


async def delete_device(context: ActionContext, request: DeviceRequest) -> Answer:
    """Delete a device: its connection is closed; its IotId, its secret and what waits for it are void.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find(context, request)
    if not await context.registry.delete_device(device.key):
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device.device_name)
    link = context.sessions.forget(device.key)
    if link is not None:
        link.close(Ending.DELETED)
    return Answer()


ACTIONS = (
    Action(name="RegisterDevice", request=RegisterDeviceRequest, answer=RegisterDeviceAnswer, function=register_device),
    Action(name="QueryDevice", request=QueryDeviceRequest, answer=QueryDeviceAnswer, function=query_device),
    Action(
        name="QueryDeviceDetail",
        request=DeviceRequest,
        answer=QueryDeviceDetailAnswer,
        function=query_device_detail,
    ),
    Action(name="QueryDeviceInfo", request=DeviceRequest, answer=QueryDeviceInfoAnswer, function=query_device_info),
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
    Action(name="DisableThing", request=DeviceRequest, answer=Answer, function=disable_thing),
    Action(name="EnableThing", request=DeviceRequest, answer=Answer, function=enable_thing),
    Action(name="DeleteDevice", request=DeviceRequest, answer=Answer, function=delete_device),
)

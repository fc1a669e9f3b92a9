"""Devices found by what they are: some by name with all there is to know, others by status or by tags."""

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.device.addressing import check_names, moment
from linkstead.errors import ApiError, codes
from linkstead.registry import DeviceKey, DeviceStatus, find_product, paging, times

DETAILS_MAX = 100
"""Devices in one BatchQueryDeviceDetail. Source: its reference, row DeviceName.N."""

PAGE_SIZE_MAX = 50
"""Devices in one page. Source: QueryDeviceByStatus and QueryDeviceByTags references, row PageSize."""

TAGS_MAX = 10
"""Tags in one QueryDeviceByTags. Source: its reference."""

STATUS_NUMBERS = {
    0: DeviceStatus.UNACTIVE,
    1: DeviceStatus.ONLINE,
    3: DeviceStatus.OFFLINE,
    8: DeviceStatus.DISABLE,
}
"""Source: QueryDeviceByStatus reference, row Status."""


class BatchQueryDeviceDetailRequest(Request):
    """Source: BatchQueryDeviceDetail reference."""

    product_key: str
    device_name: list[str]
    iot_instance_id: str = ""


class DeviceDetail(Shape):
    """As in QueryDeviceDetail, without IpAddress, Owner and the times of coming online."""

    iot_id: str
    product_key: str
    product_name: str
    device_name: str
    device_secret: str
    node_type: int
    status: str
    region: str
    gmt_create: str
    utc_create: str
    nickname: str | UnsetType = UNSET
    firmware_version: str | UnsetType = UNSET
    gmt_active: str | UnsetType = UNSET
    utc_active: str | UnsetType = UNSET


class DeviceDetailList(Shape):
    """The list itself."""

    data: list[DeviceDetail]


class BatchQueryDeviceDetailAnswer(Answer):
    """The devices that exist, in the order they were asked for."""

    data: DeviceDetailList | UnsetType = UNSET


async def batch_query_device_detail(
    context: ActionContext, request: BatchQueryDeviceDetailRequest
) -> BatchQueryDeviceDetailAnswer:
    """Show up to `DETAILS_MAX` devices of a product. What does not exist is left out.

    Raises:
        ApiError: see `find_product` and `check_names`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    check_names(request.device_name, DETAILS_MAX)
    keys = [DeviceKey(product.product_key, device_name) for device_name in dict.fromkeys(request.device_name)]
    found = {device.key: device for device in await context.registry.store.find_devices(keys)}
    details = [
        DeviceDetail(
            iot_id=device.iot_id,
            product_key=device.product_key,
            product_name=product.product_name,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
            node_type=product.node_type,
            status=context.sessions.status(device),
            firmware_version=device.firmware_version or UNSET,
            region=times.REGION,
            gmt_create=times.local_text(device.created_ms),
            utc_create=times.utc_text(device.created_ms),
            gmt_active=moment(times.local_text, device.activated_ms),
            utc_active=moment(times.utc_text, device.activated_ms),
        )
        for device in (found[key] for key in keys if key in found)
    ]
    return BatchQueryDeviceDetailAnswer(data=DeviceDetailList(data=details))


class QueryDeviceByStatusRequest(Request):
    """Source: QueryDeviceByStatus reference. Without ProductKey or Status: every product, every status.

    Without effect: `ResourceGroupId`, as there are no resource groups.
    """

    product_key: str = ""
    status: int | None = None
    current_page: int = 1
    page_size: int = 10
    resource_group_id: str = ""
    iot_instance_id: str = ""


class DeviceOfStatus(Shape):
    """A device and its status as it was last written down, so that it is the status that was asked for."""

    iot_id: str
    product_key: str
    device_name: str
    device_secret: str
    status: str
    gmt_create: str
    utc_create: str
    gmt_modified: str
    utc_modified: str
    nickname: str | UnsetType = UNSET


class DeviceOfStatusList(Shape):
    """The list itself."""

    simple_device_info: list[DeviceOfStatus]


class QueryDeviceByStatusAnswer(Answer):
    """One page of devices, newest first."""

    page: int | UnsetType = UNSET
    page_size: int | UnsetType = UNSET
    page_count: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    data: DeviceOfStatusList | UnsetType = UNSET


async def query_device_by_status(
    context: ActionContext, request: QueryDeviceByStatusRequest
) -> QueryDeviceByStatusAnswer:
    """List the caller's devices of one status, newest first.

    Raises:
        ApiError: see `find_product`.
        ApiError(INVALID_PAGE_PARAMS): see `page_offset` and `check_depth`.
        ApiError(INVALID_FORMATTED_PARAMETER): Status is none of `STATUS_NUMBERS`.
    """
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    paging.check_depth(request.current_page, request.page_size)
    if request.status is not None and request.status not in STATUS_NUMBERS:
        rule = " | ".join(map(str, STATUS_NUMBERS))
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, Status=request.status, rule=rule)
    if request.product_key:
        await find_product(context.registry, context.scope, request.product_key)
    page = await context.registry.store.list_devices_by_status(
        context.scope.account_id,
        context.scope.instance_id,
        request.product_key or None,
        None if request.status is None else STATUS_NUMBERS[request.status],
        offset,
        request.page_size,
    )
    devices = [
        DeviceOfStatus(
            iot_id=device.iot_id,
            product_key=device.product_key,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
            status=device.written_status,
            gmt_create=times.gmt_header_text(device.created_ms),
            utc_create=times.utc_text(device.created_ms),
            gmt_modified=times.gmt_header_text(device.modified_ms),
            utc_modified=times.utc_text(device.modified_ms),
        )
        for device in page.records
    ]
    return QueryDeviceByStatusAnswer(
        page=request.current_page,
        page_size=request.page_size,
        page_count=paging.page_count(page.total, request.page_size),
        total=page.total,
        data=DeviceOfStatusList(simple_device_info=devices),
    )


class WantedTag(msgspec.Struct, rename="pascal", kw_only=True):
    """A tag that a device is to have."""

    tag_key: str
    tag_value: str


class QueryDeviceByTagsRequest(Request):
    """Source: QueryDeviceByTags reference."""

    tag: list[WantedTag]
    current_page: int = 1
    page_size: int = 10
    iot_instance_id: str = ""


class TaggedDevice(Shape):
    """What names a device that has the tags."""

    iot_id: str
    product_key: str
    product_name: str
    device_name: str


class TaggedDeviceList(Shape):
    """The list itself."""

    simple_device_info: list[TaggedDevice]


class QueryDeviceByTagsAnswer(Answer):
    """One page of devices, newest first."""

    page: int | UnsetType = UNSET
    page_size: int | UnsetType = UNSET
    page_count: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    data: TaggedDeviceList | UnsetType = UNSET


async def query_device_by_tags(context: ActionContext, request: QueryDeviceByTagsRequest) -> QueryDeviceByTagsAnswer:
    """List the caller's devices that have all of some tags (our choice: the reference leaves it open), newest first.

    Raises:
        ApiError(INVALID_PAGE_PARAMS): see `page_offset` and `check_depth`.
        ApiError(TOO_MANY_DEVICE_PROPERTIES_PER_TIME, NULL_DEVICE_PROPERTY_KEY): over `TAGS_MAX`; a key is empty.
    """
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    paging.check_depth(request.current_page, request.page_size)
    if len(request.tag) > TAGS_MAX:
        raise ApiError(codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME, N=len(request.tag), rule=f"<= {TAGS_MAX}")
    if not all(tag.tag_key for tag in request.tag):
        raise ApiError(codes.NULL_DEVICE_PROPERTY_KEY)
    page = await context.registry.store.list_devices_by_tags(
        context.scope.account_id,
        context.scope.instance_id,
        [(tag.tag_key, tag.tag_value) for tag in request.tag],
        offset,
        request.page_size,
    )
    devices = []
    for device in page.records:
        product = await context.registry.find_product(device.product_key)
        if product is not None:
            devices.append(
                TaggedDevice(
                    iot_id=device.iot_id,
                    product_key=device.product_key,
                    product_name=product.product_name,
                    device_name=device.device_name,
                )
            )
    return QueryDeviceByTagsAnswer(
        page=request.current_page,
        page_size=request.page_size,
        page_count=paging.page_count(page.total, request.page_size),
        total=page.total,
        data=TaggedDeviceList(simple_device_info=devices),
    )


ACTIONS = (
    Action(
        name="BatchQueryDeviceDetail",
        request=BatchQueryDeviceDetailRequest,
        answer=BatchQueryDeviceDetailAnswer,
        function=batch_query_device_detail,
    ),
    Action(
        name="QueryDeviceByStatus",
        request=QueryDeviceByStatusRequest,
        answer=QueryDeviceByStatusAnswer,
        function=query_device_by_status,
    ),
    Action(
        name="QueryDeviceByTags",
        request=QueryDeviceByTagsRequest,
        answer=QueryDeviceByTagsAnswer,
        function=query_device_by_tags,
    ),
)

"""What is registered: one device, or a product's devices page by page."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.device.addressing import DeviceRequest, find, moment
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, find_product, paging, times

PAGE_SIZE_MAX = 50
"""Devices in one page. Source: QueryDevice reference, row PageSize."""

TOKENED_DEVICES_MAX = 1_000_000
"""How far pages with a NextToken reach. Source: QueryDevice reference, row NextToken."""


class QueryDeviceRequest(Request):
    """Source: QueryDevice reference. With a NextToken the page is that after the one it came with; CurrentPage is only
    shown again then.
    """

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
    """One page of devices, newest first. NextToken is there where more follow."""

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
        ApiError(INVALID_PAGE_PARAMS): see `page_offset`, `decode_next_token`; without a NextToken see `check_depth`,
            with one the page ends past `TOKENED_DEVICES_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    product_key, page_size = product.product_key, request.page_size
    offset = paging.page_offset(request.current_page, page_size, PAGE_SIZE_MAX)
    before_id = None
    if request.next_token:
        before_id = paging.decode_next_token(product_key, request.next_token)
        if offset + page_size > TOKENED_DEVICES_MAX:
            rule = f"CurrentPage * PageSize <= {TOKENED_DEVICES_MAX}"
            raise ApiError(codes.INVALID_PAGE_PARAMS, CurrentPage=request.current_page, PageSize=page_size, rule=rule)
        offset = 0
    else:
        paging.check_depth(request.current_page, page_size)
    page = await context.registry.store.list_devices(product_key, offset, page_size, before_id)
    next_id = page.next_before_id
    return QueryDeviceAnswer(
        next_token=UNSET if next_id is None else paging.encode_next_token(product_key, next_id),
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
    device = await context.registry.refresh(await find(context, request))
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
            gmt_active=moment(times.local_text, device.activated_ms),
            utc_active=moment(times.utc_text, device.activated_ms),
            gmt_online=moment(times.local_text, device.online_ms),
            utc_online=moment(times.utc_text, device.online_ms),
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
    device = await find(context, request)
    return QueryDeviceInfoAnswer(
        data=QueryDeviceInfoData(
            iot_id=device.iot_id,
            product_key=device.product_key,
            device_name=device.device_name,
            device_secret=device.device_secret,
            nickname=device.nickname or UNSET,
        )
    )


ACTIONS = (
    Action(name="QueryDevice", request=QueryDeviceRequest, answer=QueryDeviceAnswer, function=query_device),
    Action(
        name="QueryDeviceDetail", request=DeviceRequest, answer=QueryDeviceDetailAnswer, function=query_device_detail
    ),
    Action(name="QueryDeviceInfo", request=DeviceRequest, answer=QueryDeviceInfoAnswer, function=query_device_info),
)

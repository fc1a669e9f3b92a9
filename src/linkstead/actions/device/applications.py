"""Registering many devices at once: an application is made, checked and worked off, and asked after meanwhile."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.registry import (
    Application,
    ApplicationDevice,
    ApplicationStatus,
    Product,
    ProductGone,
    applications,
    find_product,
    paging,
)
from linkstead.registry.applications import APPLICATION_DEVICES_MAX

PAGE_SIZE_MAX = 50
"""Devices in one page. Source: QueryPageByApplyId reference, row PageSize."""

FAILED_REGISTRATION = "The device could not be registered."


class BatchRegisterDeviceRequest(Request):
    """Source: BatchRegisterDevice reference. The names are drawn."""

    product_key: str
    count: int
    iot_instance_id: str = ""


class ApplyData(Shape):
    """The application, to be asked after."""

    apply_id: int


class ApplyAnswer(Answer):
    """Source: BatchRegisterDevice and BatchRegisterDeviceWithApplyId references, returned data."""

    data: ApplyData | UnsetType = UNSET


async def batch_register_device(context: ActionContext, request: BatchRegisterDeviceRequest) -> ApplyAnswer:
    """Have devices with drawn names registered in the background.

    Raises:
        ApiError: see `find_product` and `_add`.
        ApiError(INVALID_FORMATTED_PARAMETER, DEVICE_COUNT_EXCEEDED): Count is not 1 to `APPLICATION_DEVICES_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    if request.count < 1:
        rule = f"1..{APPLICATION_DEVICES_MAX}"
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, Count=request.count, rule=rule)
    if request.count > APPLICATION_DEVICES_MAX:
        raise ApiError(codes.DEVICE_COUNT_EXCEEDED, Count=request.count, rule=f"<= {APPLICATION_DEVICES_MAX}")
    devices = applications.blank_devices(request.count)
    return ApplyAnswer(data=ApplyData(apply_id=await _add(context, product, ApplicationStatus.CREATE, devices)))


class NamedDevice(msgspec.Struct, rename="pascal", kw_only=True):
    """A device to be: its name, and a nickname or none."""

    device_name: str
    device_nickname: str = ""


class BatchCheckDeviceNamesRequest(Request):
    """Source: BatchCheckDeviceNames reference. Where there is a DeviceNameList, DeviceName is ignored."""

    product_key: str
    device_name: list[str] = msgspec.field(default_factory=list)
    device_name_list: list[NamedDevice] = msgspec.field(default_factory=list)
    iot_instance_id: str = ""


class FaultyDevice(Shape):
    """A device that cannot be registered, and why."""

    device_name: str
    error_msg: str
    nick_name: str | UnsetType = UNSET


class InvalidDetailList(Shape):
    """The list itself."""

    invalid_detail_list: list[FaultyDevice]


class InvalidDeviceNameList(Shape):
    """The list itself."""

    invalid_device_name: list[str]


class InvalidDeviceNicknameList(Shape):
    """The list itself."""

    invalid_device_nickname: list[str]


class RepeatedDeviceNameList(Shape):
    """The list itself; its name is misspelled so above."""

    repeat_devie_name_list: list[str]


class BatchCheckDeviceNamesData(Shape):
    """Source: BatchCheckDeviceNames reference, returned data: an ApplyId, or else what is wrong with the names."""

    apply_id: int | UnsetType = UNSET
    invalid_detail_list: InvalidDetailList | UnsetType = UNSET
    invalid_device_name_list: InvalidDeviceNameList | UnsetType = UNSET
    invalid_device_nickname_list: InvalidDeviceNicknameList | UnsetType = UNSET
    repeated_device_name_list: RepeatedDeviceNameList | UnsetType = UNSET


class BatchCheckDeviceNamesAnswer(Answer):
    """When names are at fault it says so, with each of them."""

    data: BatchCheckDeviceNamesData | UnsetType = UNSET


async def batch_check_device_names(
    context: ActionContext, request: BatchCheckDeviceNamesRequest
) -> BatchCheckDeviceNamesAnswer:
    """Take names for devices; whether they are free is checked in the background.

    Names that break their rule, or occur twice, are told at once: nothing is kept then.

    Raises:
        ApiError: see `find_product` and `_add`.
        ApiError(NONE_DEVICE_NAME_ELEMENT, DEVICE_COUNT_EXCEEDED): there are none, or over `APPLICATION_DEVICES_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    if request.device_name_list:
        named = [(each.device_name, each.device_nickname) for each in request.device_name_list]
    else:
        named = [(device_name, "") for device_name in request.device_name]
    if not named:
        raise ApiError(codes.NONE_DEVICE_NAME_ELEMENT)
    if len(named) > APPLICATION_DEVICES_MAX:
        # The reference lets go of those past the bound: who sent them would think them registered.
        raise ApiError(codes.DEVICE_COUNT_EXCEEDED, N=len(named), rule=f"<= {APPLICATION_DEVICES_MAX}")
    devices = applications.check_devices(named)
    faulty = [each for each in devices if each.error]
    if faulty:
        return _refuse(context, faulty)
    apply_id = await _add(context, product, ApplicationStatus.CHECK, devices)
    return BatchCheckDeviceNamesAnswer(data=BatchCheckDeviceNamesData(apply_id=apply_id))


def _refuse(context: ActionContext, faulty: Sequence[ApplicationDevice]) -> BatchCheckDeviceNamesAnswer:
    def having(error: str, *, of_nickname: bool = False) -> list[str]:
        return [each.nickname if of_nickname else each.device_name for each in faulty if error in each.error]

    illegal_names = having(applications.ILLEGAL_DEVICE_NAME)
    illegal_nicknames = having(applications.ILLEGAL_NICKNAME, of_nickname=True)
    repeated_names = having(applications.REPEATED_DEVICE_NAME)
    row: ErrorRow = codes.INCORRENT_DEVICE_APPLY_INFO
    if illegal_names:
        row = codes.INVALID_FORMATTED_DEVICE_NAME
    elif illegal_nicknames:
        row = codes.INVALID_DEVICE_NICKNAME
    error = ApiError(row, N=len(faulty))
    return BatchCheckDeviceNamesAnswer(
        success=False,
        code=error.code,
        error_message=error.message(context.behaviour.language),
        data=BatchCheckDeviceNamesData(
            invalid_detail_list=InvalidDetailList(invalid_detail_list=_describe(faulty)),
            invalid_device_name_list=InvalidDeviceNameList(invalid_device_name=illegal_names),
            invalid_device_nickname_list=InvalidDeviceNicknameList(invalid_device_nickname=illegal_nicknames),
            repeated_device_name_list=RepeatedDeviceNameList(repeat_devie_name_list=repeated_names),
        ),
    )


class BatchRegisterDeviceWithApplyIdRequest(Request):
    """Source: BatchRegisterDeviceWithApplyId reference."""

    product_key: str
    apply_id: int
    iot_instance_id: str = ""


async def batch_register_device_with_apply_id(
    context: ActionContext, request: BatchRegisterDeviceWithApplyIdRequest
) -> ApplyAnswer:
    """Have the devices of an application registered whose names were all found good.

    Raises:
        ApiError: see `_find`.
        ApiError(CREATE_DEVICE_TASK_IS_RUNNING): it is worked on.
        ApiError(INCORRENT_DEVICE_APPLY_INFO): names are at fault, or its devices were registered before.
    """
    application = await _find(context, request.apply_id, request.product_key)
    if not await context.registry.start_application(application.apply_id):
        row = codes.CREATE_DEVICE_TASK_IS_RUNNING if application.status.is_open else codes.INCORRENT_DEVICE_APPLY_INFO
        raise ApiError(row, Status=application.status, rule=f"Status == {ApplicationStatus.CHECK_SUCCESS}")
    return ApplyAnswer(data=ApplyData(apply_id=application.apply_id))


class QueryBatchRegisterDeviceStatusRequest(Request):
    """Source: QueryBatchRegisterDeviceStatus reference."""

    product_key: str
    apply_id: int
    iot_instance_id: str = ""


class NameList(Shape):
    """The list itself."""

    name: list[str]


class FaultyDeviceList(Shape):
    """The list itself, in lower camel case unlike that of BatchCheckDeviceNames."""

    invalid_detail_list: list[FaultyDevice] = msgspec.field(name="invalidDetailList")


class QueryBatchRegisterDeviceStatusData(Shape):
    """Source: QueryBatchRegisterDeviceStatus reference, returned data. The lists are empty but where it failed."""

    status: str
    valid_list: NameList
    invalid_list: NameList
    invalid_detail_list: FaultyDeviceList | UnsetType = UNSET


class QueryBatchRegisterDeviceStatusAnswer(Answer):
    """How far an application got."""

    data: QueryBatchRegisterDeviceStatusData | UnsetType = UNSET


async def query_batch_register_device_status(
    context: ActionContext, request: QueryBatchRegisterDeviceStatusRequest
) -> QueryBatchRegisterDeviceStatusAnswer:
    """Tell how far an application got, and where it failed, with which devices.

    Raises:
        ApiError: see `_find`.
    """
    application = await _find(context, request.apply_id, request.product_key)
    valid: list[str] = []
    faulty: list[ApplicationDevice] = []
    if application.status.is_failed:
        is_created = application.status is ApplicationStatus.CREATE_FAILED
        for each in await context.registry.store.list_application_devices(application.apply_id):
            if each.error or (is_created and not each.iot_id):
                faulty.append(each)
            else:
                valid.append(each.device_name)
    return QueryBatchRegisterDeviceStatusAnswer(
        data=QueryBatchRegisterDeviceStatusData(
            status=application.status,
            valid_list=NameList(name=valid),
            invalid_list=NameList(name=[each.device_name for each in faulty]),
            invalid_detail_list=FaultyDeviceList(invalid_detail_list=_describe(faulty)) if faulty else UNSET,
        )
    )


class QueryPageByApplyIdRequest(Request):
    """Source: QueryPageByApplyId reference."""

    apply_id: int
    current_page: int = 1
    page_size: int = 10
    iot_instance_id: str = ""


class ApplyDeviceInfo(Shape):
    """A device that was registered. DeviceId is obsolete and never sent."""

    iot_id: str
    device_name: str
    device_secret: str
    device_id: str | UnsetType = UNSET


class ApplyDeviceList(Shape):
    """The list itself."""

    apply_device_info: list[ApplyDeviceInfo]


class QueryPageByApplyIdAnswer(Answer):
    """One page of an application's devices, in its order."""

    page: int | UnsetType = UNSET
    page_size: int | UnsetType = UNSET
    page_count: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    apply_device_list: ApplyDeviceList | UnsetType = UNSET


async def query_page_by_apply_id(
    context: ActionContext, request: QueryPageByApplyIdRequest
) -> QueryPageByApplyIdAnswer:
    """List the devices of an application: those that were registered and not deleted since.

    Raises:
        ApiError: see `_find`.
        ApiError(INVALID_PAGE_PARAMS): see `page_offset`.
    """
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    application = await _find(context, request.apply_id, None)
    page = await context.registry.store.list_registered_devices(application.apply_id, offset, request.page_size)
    return QueryPageByApplyIdAnswer(
        page=request.current_page,
        page_size=request.page_size,
        page_count=paging.page_count(page.total, request.page_size),
        total=page.total,
        apply_device_list=ApplyDeviceList(
            apply_device_info=[
                ApplyDeviceInfo(
                    iot_id=device.iot_id, device_name=device.device_name, device_secret=device.device_secret
                )
                for device in page.records
            ]
        ),
    )


async def _add(
    context: ActionContext, product: Product, status: ApplicationStatus, devices: Sequence[ApplicationDevice]
) -> int:
    """Keep an application and return its id.

    Raises:
        ApiError(APPLY_MANY_DEVICES_FAILED): the product has `APPLICATIONS_OPEN_MAX` that are worked on.
        ApiError(NOT_EXISTED_PRODUCT): the product was deleted meanwhile.
    """
    now_ms = milliseconds(context.clock.time_s())
    application = Application(0, product.product_key, status, len(devices), now_ms)
    try:
        apply_id = await context.registry.add_application(application, devices)
    except ProductGone:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product.product_key) from None
    if apply_id is None:
        rule = f"at work <= {applications.APPLICATIONS_OPEN_MAX}"
        raise ApiError(codes.APPLY_MANY_DEVICES_FAILED, ProductKey=product.product_key, rule=rule)
    return apply_id


async def _find(context: ActionContext, apply_id: int, product_key: str | None) -> Application:
    """The caller's application of this id; of one product where that is named.

    Raises:
        ApiError: see `find_product`.
        ApiError(INVALID_FORMATTED_APPLY_ID): it is not positive.
        ApiError(DEVICE_APPLY_IS_NOT_FOUND): there is none, or it belongs to somebody else.
    """
    if product_key is not None:
        await find_product(context.registry, context.scope, product_key)
    if apply_id < 1:
        raise ApiError(codes.INVALID_FORMATTED_APPLY_ID, ApplyId=apply_id, rule=">= 1")
    application = await context.registry.store.find_application(apply_id)
    if application is not None and product_key in (None, application.product_key):
        product = await context.registry.find_product(application.product_key)
        if product is not None and context.scope.covers(product):
            return application
    raise ApiError(codes.DEVICE_APPLY_IS_NOT_FOUND, ApplyId=apply_id)


def _describe(faulty: Sequence[ApplicationDevice]) -> list[FaultyDevice]:
    return [
        FaultyDevice(
            device_name=each.device_name, nick_name=each.nickname or UNSET, error_msg=each.error or FAILED_REGISTRATION
        )
        for each in faulty
    ]


ACTIONS = (
    Action(
        name="BatchRegisterDevice",
        request=BatchRegisterDeviceRequest,
        answer=ApplyAnswer,
        function=batch_register_device,
    ),
    Action(
        name="BatchCheckDeviceNames",
        request=BatchCheckDeviceNamesRequest,
        answer=BatchCheckDeviceNamesAnswer,
        function=batch_check_device_names,
    ),
    Action(
        name="BatchRegisterDeviceWithApplyId",
        request=BatchRegisterDeviceWithApplyIdRequest,
        answer=ApplyAnswer,
        function=batch_register_device_with_apply_id,
    ),
    Action(
        name="QueryBatchRegisterDeviceStatus",
        request=QueryBatchRegisterDeviceStatusRequest,
        answer=QueryBatchRegisterDeviceStatusAnswer,
        function=query_batch_register_device_status,
    ),
    Action(
        name="QueryPageByApplyId",
        request=QueryPageByApplyIdRequest,
        answer=QueryPageByApplyIdAnswer,
        function=query_page_by_apply_id,
    ),
)

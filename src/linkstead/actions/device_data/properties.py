"""What devices reported of their properties: the present values, and their history."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.device_data.addressing import (
    DeviceRequest,
    check_identifier,
    check_identifiers,
    find,
    find_modules,
)
from linkstead.actions.device_data.histories import check_stretch, cut_pages
from linkstead.actions.device_data.values import unit_of, value_text
from linkstead.telemetry import PropertyPoint
from linkstead.tsl import Property, ValidateType, join_identifier

IDENTIFIERS_MAX = 10
"""Source: QueryDevicePropertiesData reference, row Identifier.N."""

PROPERTIES_PAGE_SIZE_MAX = 100
"""Source: QueryDevicePropertiesData reference, row PageSize."""


class QueryDevicePropertyStatusRequest(DeviceRequest):
    """Source: QueryDevicePropertyStatus reference. Without FunctionBlockId: the properties of every module."""

    function_block_id: str = ""


class PropertyStatusInfo(Shape):
    """One property. What was never reported has neither `value` nor `time`, in milliseconds."""

    identifier: str
    name: str
    data_type: str
    unit: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    time: str | UnsetType = UNSET


class PropertyStatusList(Shape):
    """The list itself."""

    property_status_info: list[PropertyStatusInfo]


class PropertyStatusData(Shape):
    """The list, wrapped as the vendor wraps it."""

    list: PropertyStatusList


class QueryDevicePropertyStatusAnswer(Answer):
    """The properties of the published model, in its order."""

    data: PropertyStatusData | UnsetType = UNSET


async def query_device_property_status(
    context: ActionContext, request: QueryDevicePropertyStatusRequest
) -> QueryDevicePropertyStatusAnswer:
    """Tell the newest value of each property of the published model.

    A product that checks nothing has no present values. Source: `thing-model.md` 6.1.

    Raises:
        ApiError: see `find` and `find_modules`.
    """
    device, product = await find(context, request)
    modules = find_modules(await context.models.find_published(product.product_key), request.function_block_id)
    present: dict[str, PropertyPoint] = {}
    if product.validate_type != ValidateType.NONE:
        points = await context.telemetry.list_present_properties(device.key)
        present = {point.identifier: point for point in points}
    statuses = [
        _status(found, identifier, present.get(identifier))
        for module in modules
        for found in module.properties
        for identifier in (join_identifier(module.module_id, found.identifier),)
    ]
    return QueryDevicePropertyStatusAnswer(
        data=PropertyStatusData(list=PropertyStatusList(property_status_info=statuses))
    )


def _status(found: Property, identifier: str, point: PropertyPoint | None) -> PropertyStatusInfo:
    return PropertyStatusInfo(
        identifier=identifier,
        name=found.name,
        data_type=found.data_type.type,
        unit=unit_of(found.data_type) or UNSET,
        value=value_text(point.value) if point is not None else UNSET,
        time=str(point.time_ms) if point is not None else UNSET,
    )


class QueryDevicePropertyDataRequest(DeviceRequest, kw_only=True):
    """Source: QueryDevicePropertyData reference."""

    identifier: str
    start_time: int
    end_time: int
    asc: int
    page_size: int


class PropertyInfo(Shape):
    """One value. `time` is a number of milliseconds, as in the samples; the SDKs declare a text."""

    time: int
    value: str


class PropertyInfoList(Shape):
    """The list itself."""

    property_info: list[PropertyInfo]


class PropertyHistoryData(Shape):
    """One page."""

    list: PropertyInfoList
    next_valid: bool
    next_time: int


class QueryDevicePropertyDataAnswer(Answer):
    """One page of the values of a property."""

    data: PropertyHistoryData | UnsetType = UNSET


async def query_device_property_data(
    context: ActionContext, request: QueryDevicePropertyDataRequest
) -> QueryDevicePropertyDataAnswer:
    """Tell the values of one property. A property that reported nothing has an empty list.

    Raises:
        ApiError: see `find`, `check_identifier` and `check_stretch`.
    """
    device, _ = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier)
    stretch = check_stretch(request.start_time, request.end_time, request.asc, request.page_size)
    points = await context.telemetry.list_properties(device.key, identifier, stretch.span)
    cut = cut_pages([points], stretch, _time_of)
    return QueryDevicePropertyDataAnswer(
        data=PropertyHistoryData(list=_make_list(cut.pages[0]), next_valid=cut.next_valid, next_time=cut.next_time)
    )


class QueryDevicePropertiesDataRequest(DeviceRequest, kw_only=True):
    """Source: QueryDevicePropertiesData reference. `page_size` is that of each property."""

    identifier: list[str]
    start_time: int
    end_time: int
    asc: int
    page_size: int


class PropertyDataInfo(Shape):
    """One page of one property."""

    identifier: str
    list: PropertyInfoList


class PropertyDataInfos(Shape):
    """The list itself."""

    property_data_info: list[PropertyDataInfo]


class QueryDevicePropertiesDataAnswer(Answer):
    """One page of each property; the next one begins at the same moment for all of them."""

    property_data_infos: PropertyDataInfos | UnsetType = UNSET
    next_valid: bool | UnsetType = UNSET
    next_time: int | UnsetType = UNSET


async def query_device_properties_data(
    context: ActionContext, request: QueryDevicePropertiesDataRequest
) -> QueryDevicePropertiesDataAnswer:
    """Tell the values of up to `IDENTIFIERS_MAX` properties.

    Raises:
        ApiError: see `find`, `check_identifiers` and `check_stretch`.
    """
    device, _ = await find(context, request)
    identifiers = check_identifiers("Identifier", request.identifier, IDENTIFIERS_MAX)
    stretch = check_stretch(
        request.start_time, request.end_time, request.asc, request.page_size, PROPERTIES_PAGE_SIZE_MAX
    )
    histories = [await context.telemetry.list_properties(device.key, name, stretch.span) for name in identifiers]
    cut = cut_pages(histories, stretch, _time_of)
    infos = [
        PropertyDataInfo(identifier=name, list=_make_list(page))
        for name, page in zip(identifiers, cut.pages, strict=True)
    ]
    return QueryDevicePropertiesDataAnswer(
        property_data_infos=PropertyDataInfos(property_data_info=infos),
        next_valid=cut.next_valid,
        next_time=cut.next_time,
    )


def _time_of(point: PropertyPoint) -> int:
    return point.time_ms


def _make_list(points: list[PropertyPoint]) -> PropertyInfoList:
    return PropertyInfoList(
        property_info=[PropertyInfo(time=point.time_ms, value=value_text(point.value)) for point in points]
    )


ACTIONS = (
    Action(
        name="QueryDevicePropertyStatus",
        request=QueryDevicePropertyStatusRequest,
        answer=QueryDevicePropertyStatusAnswer,
        function=query_device_property_status,
    ),
    Action(
        name="QueryDevicePropertyData",
        request=QueryDevicePropertyDataRequest,
        answer=QueryDevicePropertyDataAnswer,
        function=query_device_property_data,
    ),
    Action(
        name="QueryDevicePropertiesData",
        request=QueryDevicePropertiesDataRequest,
        answer=QueryDevicePropertiesDataAnswer,
        function=query_device_properties_data,
    ),
)

"""What devices reported and were told, whether it fits the thing model or not, page by page with a token.

Of a product whose validation is strict only what fits is kept, so only that is told.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.device_data.addressing import DeviceRequest, check_identifier, find
from linkstead.actions.device_data.histories import PAGE_SIZE_MAX, check_stretch
from linkstead.actions.device_data.services import read_input, read_output
from linkstead.actions.device_data.values import value_text
from linkstead.errors import ApiError, codes
from linkstead.invocation import Call
from linkstead.telemetry import EventRecord, PropertyPoint, Span
from linkstead.tsl import find_service

PROPERTY_PAGE_SIZE_MAX = 100
"""Source: QueryDeviceOriginalPropertyData reference, row PageSize."""

TOKEN_CHARS_MAX = 200

_TOKEN = re.compile(r"([0-9]{1,15})\.([0-9A-Za-z_:\-]{1,128})")
_ROW_ID = re.compile(r"[0-9]{1,18}")

Record = TypeVar("Record")


class HistoryRequest(DeviceRequest, kw_only=True):
    """One stretch of a history. Source: references of the QueryDeviceOriginal… actions, request parameters."""

    identifier: str
    start_time: int
    end_time: int
    asc: int
    page_size: int
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """One page of records; `token` is where the next one begins, UNSET after the last."""

    records: Sequence[Record]
    token: str | UnsetType

    @property
    def next_valid(self) -> bool:
        """True when another page follows."""
        return self.token is not UNSET


def _cut(records: Sequence[Record], page_size: int, name: Callable[[Record], tuple[int, str]]) -> Page[Record]:
    """The page of records of which one more was read than it holds; `name` tells of a record what a token holds."""
    page = records[:page_size]
    return Page(page, _write_token(*name(page[-1])) if len(records) > page_size else UNSET)


def _write_token(time_ms: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{time_ms}.{name}".encode()).decode()


def _read_token(text: str) -> tuple[int, str] | None:
    """The record that a page ended with, None without a token. Raises ApiError(INVALID_FORMATTED_PARAMETER)."""
    if not text:
        return None
    try:
        written = base64.b64decode(text[: TOKEN_CHARS_MAX + 1], altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        written = ""
    match = _TOKEN.fullmatch(written)
    if match is None:
        raise _no_token(text)
    return int(match[1]), match[2]


def _no_token(text: str) -> ApiError:
    return ApiError(codes.INVALID_FORMATTED_PARAMETER, NextPageToken=text, rule="as the page before told it")


def _make_span(request: HistoryRequest, page_size_max: int, *, of_rows: bool) -> Span:
    """What to read. Raises ApiError: see `check_stretch` and `_read_token`."""
    stretch = check_stretch(request.start_time, request.end_time, request.asc, request.page_size, page_size_max)
    after = _read_token(request.next_page_token)
    if after is not None and of_rows and not _ROW_ID.fullmatch(after[1]):
        raise _no_token(request.next_page_token)
    return replace(stretch.span, after=after)


def _name_row(record: PropertyPoint | EventRecord) -> tuple[int, str]:
    return record.time_ms, str(record.row_id)


def _name_call(call: Call) -> tuple[int, str]:
    return call.received_ms, call.request_id


def _name_present(point: PropertyPoint) -> tuple[int, str]:
    return point.time_ms, point.identifier


class OriginalPropertyInfo(Shape):
    """One value. `time` is milliseconds."""

    time: str
    value: str


class OriginalPropertyList(Shape):
    """The list itself."""

    property_info: list[OriginalPropertyInfo]


class OriginalPropertyData(Shape):
    """One page. The token's name begins with a small letter here and nowhere else."""

    list: OriginalPropertyList
    next_valid: bool
    next_page_token: str | UnsetType = field(default=UNSET, name="nextPageToken")


class QueryDeviceOriginalPropertyDataAnswer(Answer):
    """One page of the values of a property."""

    data: OriginalPropertyData | UnsetType = UNSET


async def query_device_original_property_data(
    context: ActionContext, request: HistoryRequest
) -> QueryDeviceOriginalPropertyDataAnswer:
    """Tell the values of one property.

    Raises:
        ApiError: see `find`, `check_identifier` and `_make_span`.
    """
    device, _ = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier)
    span = _make_span(request, PROPERTY_PAGE_SIZE_MAX, of_rows=True)
    points = await context.telemetry.list_properties(device.key, identifier, span)
    page = _cut(points, request.page_size, _name_row)
    infos = [OriginalPropertyInfo(time=str(point.time_ms), value=value_text(point.value)) for point in page.records]
    return QueryDeviceOriginalPropertyDataAnswer(
        data=OriginalPropertyData(
            list=OriginalPropertyList(property_info=infos), next_valid=page.next_valid, next_page_token=page.token
        )
    )


class QueryDeviceOriginalPropertyStatusRequest(DeviceRequest, kw_only=True):
    """Source: QueryDeviceOriginalPropertyStatus reference, request parameters."""

    asc: int
    page_size: int
    next_page_token: str = ""


class PropertyStatusDataInfo(Shape):
    """The newest value of a property. `time` is a number of milliseconds."""

    identifier: str
    time: int
    value: str


class PropertyStatusDataList(Shape):
    """The list itself."""

    property_status_data_info: list[PropertyStatusDataInfo]


class PropertyStatusData(Shape):
    """One page."""

    list: PropertyStatusDataList
    next_valid: bool
    next_page_token: str | UnsetType = UNSET


class QueryDeviceOriginalPropertyStatusAnswer(Answer):
    """One page of present values, in the order of their times."""

    data: PropertyStatusData | UnsetType = UNSET


async def query_device_original_property_status(
    context: ActionContext, request: QueryDeviceOriginalPropertyStatusRequest
) -> QueryDeviceOriginalPropertyStatusAnswer:
    """Tell the newest value of each property that was ever reported, of the thing model or not.

    Raises:
        ApiError: see `find`, `check_stretch` and `_read_token`.
    """
    device, _ = await find(context, request)
    ascending = check_stretch(0, 0, request.asc, request.page_size).ascending
    after = _read_token(request.next_page_token)
    points = await context.telemetry.list_present_properties(device.key)
    points.sort(key=_name_present, reverse=not ascending)
    if after is not None:
        points = [
            point for point in points if _name_present(point) != after and (_name_present(point) > after) == ascending
        ]
    page = _cut(points[: request.page_size + 1], request.page_size, _name_present)
    infos = [
        PropertyStatusDataInfo(identifier=point.identifier, time=point.time_ms, value=value_text(point.value))
        for point in page.records
    ]
    return QueryDeviceOriginalPropertyStatusAnswer(
        data=PropertyStatusData(
            list=PropertyStatusDataList(property_status_data_info=infos),
            next_valid=page.next_valid,
            next_page_token=page.token,
        )
    )


class OriginalEventInfo(Shape):
    """One event. `output_data` is JSON text, `time` milliseconds."""

    identifier: str
    name: str
    event_type: str
    output_data: str
    time: str


class OriginalEventList(Shape):
    """The list itself."""

    event_info: list[OriginalEventInfo]


class OriginalEventData(Shape):
    """One page."""

    list: OriginalEventList
    next_valid: bool
    next_page_token: str | UnsetType = UNSET


class QueryDeviceOriginalEventDataAnswer(Answer):
    """One page of events."""

    data: OriginalEventData | UnsetType = UNSET


async def query_device_original_event_data(
    context: ActionContext, request: HistoryRequest
) -> QueryDeviceOriginalEventDataAnswer:
    """Tell the events of one kind.

    Raises:
        ApiError: see `find`, `check_identifier` and `_make_span`.
    """
    device, _ = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier)
    span = _make_span(request, PAGE_SIZE_MAX, of_rows=True)
    page = _cut(await context.telemetry.list_events(device.key, identifier, None, span), request.page_size, _name_row)
    infos = [
        OriginalEventInfo(
            identifier=event.identifier,
            name=event.name,
            event_type=event.event_type,
            output_data=event.output,
            time=str(event.time_ms),
        )
        for event in page.records
    ]
    return QueryDeviceOriginalEventDataAnswer(
        data=OriginalEventData(
            list=OriginalEventList(event_info=infos), next_valid=page.next_valid, next_page_token=page.token
        )
    )


class OriginalServiceInfo(Shape):
    """One call. `input_data` and `output_data`, the whole reply, are JSON texts; absent where nothing was said."""

    identifier: str
    name: str
    time: str
    input_data: str | UnsetType = UNSET
    output_data: str | UnsetType = UNSET


class OriginalServiceList(Shape):
    """The list itself."""

    service_info: list[OriginalServiceInfo]


class OriginalServiceData(Shape):
    """One page."""

    list: OriginalServiceList
    next_valid: bool
    next_page_token: str | UnsetType = UNSET


class QueryDeviceOriginalServiceDataAnswer(Answer):
    """One page of calls."""

    data: OriginalServiceData | UnsetType = UNSET


async def query_device_original_service_data(
    context: ActionContext, request: HistoryRequest
) -> QueryDeviceOriginalServiceDataAnswer:
    """Tell the calls of one service and what the device answered; property sets are those of `set`.

    Raises:
        ApiError: see `find`, `check_identifier` and `_make_span`.
    """
    device, product = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier)
    span = _make_span(request, PAGE_SIZE_MAX, of_rows=False)
    calls = await context.service_calls.list_service_calls(device.account_id, device.key, identifier, span)
    page = _cut(calls, request.page_size, _name_call)
    model = await context.models.find_published(product.product_key)
    service = find_service(model, identifier) if model is not None else None
    infos = [
        OriginalServiceInfo(
            identifier=call.target,
            name=service.name if service is not None else call.target,
            time=str(call.received_ms),
            input_data=read_input(call),
            output_data=read_output(call),
        )
        for call in page.records
    ]
    return QueryDeviceOriginalServiceDataAnswer(
        data=OriginalServiceData(
            list=OriginalServiceList(service_info=infos), next_valid=page.next_valid, next_page_token=page.token
        )
    )


ACTIONS = (
    Action(
        name="QueryDeviceOriginalPropertyData",
        request=HistoryRequest,
        answer=QueryDeviceOriginalPropertyDataAnswer,
        function=query_device_original_property_data,
    ),
    Action(
        name="QueryDeviceOriginalPropertyStatus",
        request=QueryDeviceOriginalPropertyStatusRequest,
        answer=QueryDeviceOriginalPropertyStatusAnswer,
        function=query_device_original_property_status,
    ),
    Action(
        name="QueryDeviceOriginalEventData",
        request=HistoryRequest,
        answer=QueryDeviceOriginalEventDataAnswer,
        function=query_device_original_event_data,
    ),
    Action(
        name="QueryDeviceOriginalServiceData",
        request=HistoryRequest,
        answer=QueryDeviceOriginalServiceDataAnswer,
        function=query_device_original_service_data,
    ),
)

"""What devices reported as events."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.device_data.addressing import DeviceRequest, check_identifier, find
from linkstead.actions.device_data.histories import check_stretch, cut_pages
from linkstead.errors import ApiError, codes

EVENT_TYPES = ("info", "alert", "error")


class QueryDeviceEventDataRequest(DeviceRequest, kw_only=True):
    """Source: QueryDeviceEventData reference. Without Identifier, EventType: any."""

    start_time: int
    end_time: int
    identifier: str = ""
    event_type: str = ""
    asc: int = 0
    page_size: int = 10


class EventInfo(Shape):
    """One event. `output_data` is JSON text, `time` milliseconds."""

    identifier: str
    name: str
    event_type: str
    output_data: str
    time: str


class EventInfoList(Shape):
    """The list itself."""

    event_info: list[EventInfo]


class EventData(Shape):
    """One page."""

    list: EventInfoList
    next_valid: bool
    next_time: int


class QueryDeviceEventDataAnswer(Answer):
    """One page of events."""

    data: EventData | UnsetType = UNSET


async def query_device_event_data(
    context: ActionContext, request: QueryDeviceEventDataRequest
) -> QueryDeviceEventDataAnswer:
    """Tell the events of a device.

    Raises:
        ApiError: see `find`, `check_identifier` and `check_stretch`.
        ApiError(INVALID_FORMATTED_PARAMETER): EventType is none of `EVENT_TYPES`.
    """
    device, _ = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier) if request.identifier else None
    if request.event_type and request.event_type not in EVENT_TYPES:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, EventType=request.event_type, rule=" | ".join(EVENT_TYPES))
    stretch = check_stretch(request.start_time, request.end_time, request.asc, request.page_size)
    events = await context.telemetry.list_events(device.key, identifier, request.event_type or None, stretch.span)
    cut = cut_pages([events], stretch, lambda event: event.time_ms)
    infos = [
        EventInfo(
            identifier=event.identifier,
            name=event.name,
            event_type=event.event_type,
            output_data=event.output,
            time=str(event.time_ms),
        )
        for event in cut.pages[0]
    ]
    return QueryDeviceEventDataAnswer(
        data=EventData(list=EventInfoList(event_info=infos), next_valid=cut.next_valid, next_time=cut.next_time)
    )


ACTIONS = (
    Action(
        name="QueryDeviceEventData",
        request=QueryDeviceEventDataRequest,
        answer=QueryDeviceEventDataAnswer,
        function=query_device_event_data,
    ),
)

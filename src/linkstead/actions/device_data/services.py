"""What devices were told to do, and what they answered."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.device_data.addressing import DeviceRequest, check_identifier, find
from linkstead.actions.device_data.histories import check_stretch, cut_pages
from linkstead.alink import services
from linkstead.alink.messages import parse_request
from linkstead.invocation import Call
from linkstead.tsl import ThingModel, find_service, write_literal


class QueryDeviceServiceDataRequest(DeviceRequest, kw_only=True):
    """Source: QueryDeviceServiceData reference. Without Identifier: any; property sets are those of `set`."""

    start_time: int
    end_time: int
    identifier: str = ""
    asc: int = 0
    page_size: int = 10


class ServiceInfo(Shape):
    """One call. `input_data` and `output_data`, the whole reply, are JSON texts; absent where nothing was said.

    `time` is when the call came in, a number of milliseconds as in the samples; the SDKs declare a text.
    """

    identifier: str
    name: str
    time: int
    input_data: str | UnsetType = UNSET
    output_data: str | UnsetType = UNSET


class ServiceInfoList(Shape):
    """The list itself."""

    service_info: list[ServiceInfo]


class ServiceData(Shape):
    """One page."""

    list: ServiceInfoList
    next_valid: bool
    next_time: int


class QueryDeviceServiceDataAnswer(Answer):
    """One page of calls."""

    data: ServiceData | UnsetType = UNSET


async def query_device_service_data(
    context: ActionContext, request: QueryDeviceServiceDataRequest
) -> QueryDeviceServiceDataAnswer:
    """Tell which services of a device were called and what it answered; property sets too.

    A call that was refused is not among them.

    Raises:
        ApiError: see `find`, `check_identifier` and `check_stretch`.
    """
    device, product = await find(context, request)
    identifier = check_identifier("Identifier", request.identifier) if request.identifier else None
    stretch = check_stretch(request.start_time, request.end_time, request.asc, request.page_size)
    calls = await context.service_calls.list_service_calls(device.account_id, device.key, identifier, stretch.span)
    cut = cut_pages([calls], stretch, lambda call: call.received_ms)
    model = await context.models.find_published(product.product_key)
    infos = [_info(call, model) for call in cut.pages[0]]
    return QueryDeviceServiceDataAnswer(
        data=ServiceData(list=ServiceInfoList(service_info=infos), next_valid=cut.next_valid, next_time=cut.next_time)
    )


def _info(call: Call, model: ThingModel | None) -> ServiceInfo:
    service = find_service(model, call.target) if model is not None else None
    return ServiceInfo(
        identifier=call.target,
        name=service.name if service is not None else call.target,
        time=call.received_ms,
        input_data=read_input(call),
        output_data=read_output(call),
    )


def read_input(call: Call) -> str | UnsetType:
    """What a service was called with, as JSON text."""
    request = parse_request(call.request_payload)
    return write_literal(request["params"]) if request is not None and "params" in request else UNSET


def read_output(call: Call) -> str | UnsetType:
    """The whole reply, as JSON text."""
    try:
        return services.make_envelope(services.parse_reply(call.answer_payload), call.alink_id)
    except services.ReplyError:
        return UNSET


ACTIONS = (
    Action(
        name="QueryDeviceServiceData",
        request=QueryDeviceServiceDataRequest,
        answer=QueryDeviceServiceDataAnswer,
        function=query_device_service_data,
    ),
)

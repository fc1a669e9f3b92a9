"""Messages on custom topics that nobody waits for an answer to: Pub and BatchPub.

A message goes to a device that subscribed to its topic. The request succeeds once the message is accepted, whether the
device is there or not; what became of it is in the call's record.
"""

import asyncio

from msgspec import UNSET, UnsetType, field, structs

from linkstead.action import Action, ActionContext, Answer, Request
from linkstead.actions.messaging.payload import PAYLOAD_BYTES_MAX, decode_content
from linkstead.alink import topics
from linkstead.errors import ApiError, codes, invalid_parameter
from linkstead.invocation import Call, Diagnosis, RouterOverloaded, Stage, Verdict, diagnose
from linkstead.registry import Device, find_device, find_product
from linkstead.registry.topic_classes import DEVICE_NAME_PLACE

DEVICES_MAX = 100
"""Devices of one BatchPub. Source: BatchPub reference, row DeviceName.N."""

DEVICE_DISABLED = 6208
DEVICE_NEVER_ACTIVATED = 9200
"""Numbers that stay with the record. Source: `cloud-api.md` 8."""

NOT_CARRIED = {
    "content_type",
    "correlation_data",
    "payload_format_indicator",
    "response_topic",
    "response_topic_template_name",
    "topic_alias",
    "user_prop",
}
"""MQTT 5.0 properties: the message reaches its device all the same, without them."""


class UserProp(Request):
    """A user property of MQTT 5.0."""

    key: str = ""
    value: str = ""


class Mqtt5Request(Request, kw_only=True):
    """The parameters that an MQTT 5.0 connection would carry.

    None is carried yet. What would change whether a message is delivered is refused; the others, `NOT_CARRIED`, are
    noted in the call's record beside the parameters nobody knows.
    """

    content_type: str = ""
    correlation_data: str = ""
    message_expiry_interval: int | None = None
    payload_format_indicator: int | None = None
    retained: bool = False
    user_prop: list[UserProp] = field(default_factory=list)


class PubRequest(Mqtt5Request):
    """Source: Pub reference, request parameters."""

    product_key: str
    topic_full_name: str
    message_content: str
    qos: int = 0
    device_name: str = ""
    response_topic: str = ""
    topic_alias: int | None = None
    iot_instance_id: str = ""


class PubAnswer(Answer):
    """`message_id` is a number, as in the reference's samples; the SDKs read it as text all the same."""

    message_id: int | UnsetType = UNSET


async def pub(context: ActionContext, request: PubRequest) -> PubAnswer:
    """Publish a message on a custom topic of one device.

    At QoS 0 it goes to a device that is connected, at QoS 1 it waits for up to 7 days for one with a persistent
    session; in both cases only when the device subscribed to the topic. Its record says what became of it.

    Returns:
        The message id, once the message is accepted.

    Raises:
        ApiError(InvalidQos, InvalidMessageExpiryInterval, InvalidRetained, InvalidDeviceName): Qos is neither 0 nor 1;
            what cannot be kept to was asked for; the device is not the one of the topic.
        ApiError: see `find_product`, `find_device`, `decode_content`.
        ApiError(NULL_TOPIC_NAME, INVALID_FORMATTED_TOPIC_NAME): not a custom topic of the product.
        ApiError(TOPIC_TEMPLATE_IS_NOT_FOUND): no topic class lets the device subscribe to it.
        ApiError(MESSAGE_RATE_LIMIT): too much waits for the device already.

    Source: Pub reference; codes: `cloud-api.md` 9.5.
    """
    call = context.call
    if call is None:
        raise TypeError("Pub needs a call record")
    topic = call.target = request.topic_full_name
    _check_delivery(request, request.qos)
    _note_not_carried(call, request)
    await find_product(context.registry, context.scope, request.product_key)
    device_name = _read_device_name(request.product_key, topic)
    if request.device_name not in ("", device_name):
        raise invalid_parameter("DeviceName")
    device = await find_device(
        context.registry, context.scope, product_key=request.product_key, device_name=device_name
    )
    call.key = device.key
    await _check_class(context, request.product_key, topic)
    payload = decode_content(request.message_content, PAYLOAD_BYTES_MAX)
    call.message_id = context.ids.message_id()
    call.set_request(payload, is_whole=True)
    try:
        await _post(context, call, device, topic, payload, request.qos)
    except RouterOverloaded:
        raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
    return PubAnswer(message_id=call.message_id)


class BatchPubRequest(Mqtt5Request):
    """Source: BatchPub reference, request parameters: one of the two ways to name the topic is needed."""

    product_key: str
    device_name: list[str]
    message_content: str
    qos: int = 0
    topic_short_name: str = ""
    topic_template_name: str = ""
    response_topic_template_name: str = ""
    iot_instance_id: str = ""


async def batch_pub(context: ActionContext, request: BatchPubRequest) -> Answer:
    """Publish a message to up to 100 devices of one product, on the same custom topic of each.

    A name that is not a device's fails the request before anything is sent. Each device has a record of its own, and
    what happens to one does not stop the others.

    Raises:
        ApiError: as `pub`; NONE_DEVICE_NAME_ELEMENT, INVALID_FORMATTED_PARAMETER: no device, or over `DEVICES_MAX`.

    Source: BatchPub reference; codes: `cloud-api.md` 9.5. Where both TopicTemplateName and TopicShortName are sent the
    first counts. A short name begins below `user/`; one that repeats it is taken too.
    """
    _check_delivery(request, request.qos)
    await find_product(context.registry, context.scope, request.product_key)
    if not request.device_name:
        raise ApiError(codes.NONE_DEVICE_NAME_ELEMENT)
    if len(request.device_name) > DEVICES_MAX:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, DeviceName=len(request.device_name), rule=f"<= {DEVICES_MAX}")
    template = _read_template(request)
    devices = [
        await find_device(context.registry, context.scope, product_key=request.product_key, device_name=name)
        for name in dict.fromkeys(request.device_name)
    ]
    addressed = [(device, _fill_template(device, template)) for device in devices]
    for _, topic in addressed[:1]:
        # The same for all: only the device's name differs.
        await _check_class(context, request.product_key, topic)
    payload = decode_content(request.message_content, PAYLOAD_BYTES_MAX)

    async def post_one(device: Device, topic: str) -> None:
        call = context.open_call("BatchPub", device.key, topic)
        try:
            _note_not_carried(call, request)
            call.message_id = context.ids.message_id()
            call.set_request(payload)
            await _post(context, call, device, topic, payload, request.qos)
        except RouterOverloaded:
            call.end(Verdict.REJECTED, Diagnosis.THROTTLED, codes.MESSAGE_RATE_LIMIT.code)
        except BaseException as error:
            if not call.is_ended:
                call.end(Verdict.UNKNOWN, diagnose(error), codes.SYSTEM_EXCEPTION.code)
            raise
        finally:
            context.close_call(call)

    # At once: what is to be on the disk first goes there together.
    posting = asyncio.gather(*(post_one(*one) for one in addressed), return_exceptions=True)
    # Whoever stops waiting does not stop them: each ends in its own record.
    failures = await asyncio.shield(posting)
    for failure in failures:
        if failure is not None:
            raise failure
    return Answer()


async def _post(context: ActionContext, call: Call, device: Device, topic: str, payload: bytes, qos: int) -> None:
    """Accept a message. Raises RouterOverloaded."""
    call.mark(Stage.ACCEPTED, context.clock.time_s(), context.clock.monotonic_s())
    if not device.enabled:
        await context.delivery.drop(call, Diagnosis.DISABLED, DEVICE_DISABLED)
        return
    if not device.activated_ms:
        call.result_code = DEVICE_NEVER_ACTIVATED
    await context.delivery.post(call, topic, payload, qos, needs_subscription=True)


async def _check_class(context: ActionContext, product_key: str, topic: str) -> None:
    classes = await context.registry.find_topic_classes(product_key)
    if not classes.may_subscribe(topics.custom_path(topic)):
        raise ApiError(codes.TOPIC_TEMPLATE_IS_NOT_FOUND, Topic=topic, rule="Operation SUB | ALL")


def _check_delivery(request: Mqtt5Request, qos: int) -> None:
    if qos not in (0, 1):
        raise invalid_parameter("Qos")
    if request.message_expiry_interval is not None:
        raise invalid_parameter("MessageExpiryInterval")
    if request.retained:
        raise invalid_parameter("Retained")


def _note_not_carried(call: Call, request: Mqtt5Request) -> None:
    """Note in a call's record what was sent and the device does not get."""
    call.unknown_parameters += [
        info.encode_name
        for info in structs.fields(request)
        if info.name in NOT_CARRIED and getattr(request, info.name) not in ("", None, [])
    ]


def _read_device_name(product_key: str, topic: str) -> str:
    """The name of the device that a custom topic belongs to; whether it exists is not looked at."""
    if not topic:
        raise ApiError(codes.NULL_TOPIC_NAME)
    levels = topic.split("/")
    if len(levels) < 4 or levels[:2] != ["", product_key] or not topics.is_publishable(topic):
        rule = f"/{product_key}/DeviceName/…; {topics.PUBLISHABLE_RULE}"
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, TopicFullName=topic, rule=rule)
    return levels[2]


def _read_template(request: BatchPubRequest) -> str:
    """The topic with `DEVICE_NAME_PLACE` where the device's name goes."""
    start = f"/{request.product_key}/{DEVICE_NAME_PLACE}/"
    if request.topic_template_name:
        template = request.topic_template_name
        if not template.startswith(start):
            raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, TopicTemplateName=template, rule=f"{start}…")
        return template
    if not request.topic_short_name:
        raise ApiError(codes.NULL_TOPIC_NAME)
    return f"{start}user/{request.topic_short_name.removeprefix('/').removeprefix('user/')}"


def _fill_template(device: Device, template: str) -> str:
    topic = template.replace(DEVICE_NAME_PLACE, device.device_name, 1)
    if not topics.is_publishable(topic):
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, Topic=topic, rule=topics.PUBLISHABLE_RULE)
    return topic


ACTIONS = (
    Action(name="Pub", request=PubRequest, answer=PubAnswer, function=pub, is_call=True),
    Action(name="BatchPub", request=BatchPubRequest, answer=Answer, function=batch_pub),
)

"""The chapter of the reference about what devices are subscribed to.

SubscribeTopic, UnsubscribeTopic, QueryDeviceSubTopic.
Source: `cloud-api.md` 9.7, and the references of the actions.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.alink import topics
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, TopicOperation, find_device
from linkstead.registry.topic_classes import is_path
from linkstead.sessions import SUBSCRIPTIONS_MAX, Subscribed

TOPICS_MAX = 10
"""Topics of one request. Source: SubscribeTopic reference, row Topic.N."""


class DeviceTopicRequest(Request):
    """One device. Source: QueryDeviceSubTopic reference, request parameters."""

    product_key: str
    device_name: str
    iot_instance_id: str = ""


class SubscribeTopicRequest(DeviceTopicRequest, kw_only=True):
    """Source: SubscribeTopic and UnsubscribeTopic references. At most `TOPICS_MAX` topics."""

    topic: list[str]


async def subscribe_topic(context: ActionContext, request: SubscribeTopicRequest) -> Answer:
    """Subscribe to custom topics on behalf of a device that is connected, to all of them or to none.

    It is as if the device had done so, for as long as its session lives. Other topics need no subscription, or cannot
    have one.

    Raises:
        ApiError: see `find_device` and `_check_count`.
        ApiError(INVALID_FORMATTED_TOPIC_NAME): it is no topic filter below the device's own `/{pk}/{dn}/`.
        ApiError(TOPIC_TEMPLATE_IS_NOT_FOUND): no topic class lets the device subscribe to it.
        ApiError(MESSAGE_OFFLINE): the device is not connected.
        ApiError(ILLEGAL_REQUEST): it would have more than `SUBSCRIPTIONS_MAX` subscriptions.
    """
    device = await _find(context, request)
    _check_count(request.topic)
    classes = await context.registry.find_topic_classes(device.product_key)
    for name in request.topic:
        if not (
            topics.is_custom(device.key, name)
            and topics.may_subscribe(device.key, name)
            and is_path(topics.custom_path(name), TopicOperation.SUB)
        ):
            raise _malformed(device, name)
        if not classes.may_subscribe(topics.custom_path(name)):
            raise ApiError(codes.TOPIC_TEMPLATE_IS_NOT_FOUND, Topic=name, rule="Operation SUB | ALL")
    if (await _adjust(context, device, added=request.topic)).is_full:
        raise ApiError(codes.ILLEGAL_REQUEST, Topic=len(request.topic), rule=f"<= {SUBSCRIPTIONS_MAX} subscriptions")
    return Answer()


class FailureTopics(Shape):
    """What is in it no source says."""

    topic: list[dict[str, str]] = msgspec.field(name="topic")


class UnsubscribeTopicAnswer(Answer):
    """`failure_topics` is never sent: the call does all it is asked, or nothing."""

    failure_topics: FailureTopics | UnsetType = UNSET


async def unsubscribe_topic(context: ActionContext, request: SubscribeTopicRequest) -> UnsubscribeTopicAnswer:
    """End subscriptions of a device that is connected, whoever made them; one that is not there is passed over.

    Raises:
        ApiError: see `find_device` and `_check_count`.
        ApiError(INVALID_FORMATTED_TOPIC_NAME): it is no topic that the device could be subscribed to.
        ApiError(MESSAGE_OFFLINE): the device is not connected.
    """
    device = await _find(context, request)
    _check_count(request.topic)
    for name in request.topic:
        if not topics.may_subscribe(device.key, name):
            raise _malformed(device, name)
    await _adjust(context, device, removed=request.topic)
    return UnsubscribeTopicAnswer()


class SubscribedTopic(Shape):
    """One subscription. `timestamp` is when it was made, in milliseconds; absent where that is not known."""

    topic_name: str
    timestamp: int | UnsetType = UNSET


class QueryDeviceSubTopicAnswer(Answer):
    """Source: QueryDeviceSubTopic reference, returned data; a list without a shape around it."""

    topic_list: list[SubscribedTopic] | UnsetType = UNSET


async def query_device_sub_topic(context: ActionContext, request: DeviceTopicRequest) -> QueryDeviceSubTopicAnswer:
    """List what a device is subscribed to, whoever did it; at most `SUBSCRIPTIONS_MAX`.

    Of a device that is away those that its session keeps. What reaches a device without a subscription is not listed.

    Raises:
        ApiError: see `find_device`.
    """
    device = await _find(context, request)
    found = await _look(context, device)
    since_ms: Mapping[str, int] = found.since_ms
    if not found.is_live and not since_ms:
        since_ms = await context.delivery.list_kept_subscriptions(device.key)
    return QueryDeviceSubTopicAnswer(
        topic_list=[SubscribedTopic(topic_name=name, timestamp=at_ms or UNSET) for name, at_ms in since_ms.items()]
    )


async def _find(context: ActionContext, request: DeviceTopicRequest) -> Device:
    return await find_device(
        context.registry, context.scope, product_key=request.product_key, device_name=request.device_name
    )


def _check_count(names: list[str]) -> None:
    """Raises ApiError(INVALID_FORMATTED_PARAMETER): there are over `TOPICS_MAX`."""
    if len(names) > TOPICS_MAX:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=f"Topic.N: <= {TOPICS_MAX}, not {len(names)}")


def _malformed(device: Device, name: str) -> ApiError:
    rule = f"/{device.product_key}/{device.device_name}/…, a topic or a filter"
    return ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, Topic=name, rule=rule)


async def _look(
    context: ActionContext, device: Device, added: Sequence[str] = (), removed: Sequence[str] = ()
) -> Subscribed:
    """What a device is subscribed to, on whichever node it is; changed before, where it is connected."""
    sessions, now_ms = context.sessions, milliseconds(context.clock.time_s())
    found = sessions.adjust(device.key, added, removed, now_ms)
    return found if found.is_live else await sessions.neighbours.adjust(device.key, added, removed) or found


async def _adjust(
    context: ActionContext, device: Device, added: Sequence[str] = (), removed: Sequence[str] = ()
) -> Subscribed:
    """Raises ApiError(MESSAGE_OFFLINE). The reference demands a device that is online and names no code."""
    found = await _look(context, device, added, removed)
    if not found.is_live:
        raise ApiError(codes.MESSAGE_OFFLINE, DeviceName=device.device_name)
    return found


ACTIONS = (
    Action(name="SubscribeTopic", request=SubscribeTopicRequest, answer=Answer, function=subscribe_topic),
    Action(
        name="UnsubscribeTopic",
        request=SubscribeTopicRequest,
        answer=UnsubscribeTopicAnswer,
        function=unsubscribe_topic,
    ),
    Action(
        name="QueryDeviceSubTopic",
        request=DeviceTopicRequest,
        answer=QueryDeviceSubTopicAnswer,
        function=query_device_sub_topic,
    ),
)

"""Messages to all devices of a product that are connected: PubBroadcast."""

from functools import partial

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request
from linkstead.actions.messaging.payload import decode_content
from linkstead.alink import topics
from linkstead.errors import ApiError, codes
from linkstead.invocation import Letter, Reached, Stage
from linkstead.registry import find_product

BROADCAST_BYTES_MAX = 65_536
"""Source: PubBroadcast reference, row MessageContent."""


class PubBroadcastRequest(Request):
    """Source: PubBroadcast reference, request parameters."""

    product_key: str
    message_content: str
    topic_full_name: str = ""
    iot_instance_id: str = ""


class PubBroadcastAnswer(Answer):
    """Source: PubBroadcast reference, returned data."""

    message_id: int | UnsetType = UNSET


async def pub_broadcast(context: ActionContext, request: PubBroadcastRequest) -> PubBroadcastAnswer:
    """Publish a message to the connected devices of a product: those that subscribed to its topic, or all.

    With TopicFullName it goes out on that topic, else to each on its own `/sys/…/broadcast/request/{MessageId}`, which
    needs no subscription. Nothing is kept for a device that is away. One record tells how many of those connected it
    was written to.

    Raises:
        ApiError: see `find_product`, `decode_content`.
        ApiError(INVALID_FORMATTED_TOPIC_NAME): not a broadcast topic of the product.

    Source: PubBroadcast reference; `device-protocol.md` 3.1 and 3.3.
    """
    call = context.call
    if call is None:
        raise TypeError("PubBroadcast needs a call record")
    name = call.target = request.topic_full_name
    product = await find_product(context.registry, context.scope, request.product_key)
    start = f"/broadcast/{product.product_key}/"
    if name and not (name.startswith(start) and topics.is_publishable(name)):
        rule = f"{start}…; {topics.PUBLISHABLE_RULE}"
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, TopicFullName=name, rule=rule)
    payload = decode_content(request.message_content, BROADCAST_BYTES_MAX)
    message_id = call.message_id = context.ids.message_id()
    call.set_request(payload, is_whole=True)
    call.mark(Stage.ACCEPTED, context.clock.time_s(), context.clock.monotonic_s())
    shown = name or f"/sys/{product.product_key}/+/broadcast/request/{message_id}"
    call.target = make_target(shown, Reached(0, len(context.sessions.list_live(product.product_key))))
    letter = Letter(product.product_key, name, message_id, payload)
    await context.delivery.broadcast(call, letter, partial(make_target, shown))
    return PubBroadcastAnswer(message_id=message_id)


def make_target(topic: str, reached: Reached) -> str:
    """What the record of a broadcast names as its target: the topic, and how many devices it was written to."""
    return f"{topic} ({reached.written} of {reached.connected} devices)"


def read_target(target: str) -> str:
    """The topic in a target made by `make_target`."""
    return target.rpartition(" (")[0]


ACTIONS = (
    Action(
        name="PubBroadcast",
        request=PubBroadcastRequest,
        answer=PubBroadcastAnswer,
        function=pub_broadcast,
        is_call=True,
    ),
)

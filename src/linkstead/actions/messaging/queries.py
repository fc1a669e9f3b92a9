"""What was said in a message: QueryMessageInfo."""

import base64
from collections.abc import Callable

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.messaging.broadcasting import read_target
from linkstead.errors import ApiError, codes
from linkstead.invocation import Call

TOPIC_READERS: dict[str, Callable[[str], str]] = {"Pub": str, "PubBroadcast": read_target}
"""The actions whose message ids the caller knows, and how a record's target tells the topic."""


class QueryMessageInfoRequest(Request):
    """Source: QueryMessageInfo reference, request parameters."""

    uni_msg_id: str
    iot_instance_id: str = ""


class MessageProperty(Shape):
    """A property of MQTT 5.0."""

    key: str | UnsetType = UNSET
    value: str | UnsetType = UNSET


class Message(Shape):
    """`message_content` is Base64, `generate_time` in milliseconds since 1970.

    `transformed_…` and the properties are never there: nothing is parsed on the way down, and no property is carried.
    """

    uni_msg_id: str | UnsetType = UNSET
    topic_full_name: str | UnsetType = UNSET
    message_content: str | UnsetType = UNSET
    generate_time: int | UnsetType = UNSET
    transformed_topic_full_name: str | UnsetType = UNSET
    transformed_message_content: str | UnsetType = UNSET
    mqtt_properties: list[MessageProperty] | UnsetType = UNSET
    user_properties: list[MessageProperty] | UnsetType = UNSET


class QueryMessageInfoAnswer(Answer):
    """Source: QueryMessageInfo reference, returned data."""

    message: Message | UnsetType = UNSET


async def query_message_info(context: ActionContext, request: QueryMessageInfoRequest) -> QueryMessageInfoAnswer:
    """Look a message up by the id that Pub or PubBroadcast gave it; as long as its record is kept.

    Raises:
        ApiError(ILLEGAL_REQUEST): there is no such message. The catalogue has no code for that (our choice): the
            parameter is not malformed, and whatever the reason the answer is the same.

    Source: QueryMessageInfo reference.
    """
    call = await context.history.find_call(context.scope.account_id, request.uni_msg_id)
    if call is None or not _is_message(context, call, request.uni_msg_id):
        rule = f"MessageId of {', '.join(TOPIC_READERS)}"
        raise ApiError(codes.ILLEGAL_REQUEST, UniMsgId=request.uni_msg_id, rule=rule)
    return QueryMessageInfoAnswer(
        message=Message(
            uni_msg_id=request.uni_msg_id,
            topic_full_name=TOPIC_READERS[call.action](call.target),
            message_content=base64.b64encode(call.request_payload).decode(),
            generate_time=call.received_ms,
        )
    )


def _is_message(context: ActionContext, call: Call, uni_msg_id: str) -> bool:
    """False for a call found by its request id, of another action, or of an instance that the caller does not see."""
    return (
        call.action in TOPIC_READERS
        and str(call.message_id) == uni_msg_id
        and context.scope.instance_id in (None, call.instance_id)
    )


ACTIONS = (
    Action(
        name="QueryMessageInfo",
        request=QueryMessageInfoRequest,
        answer=QueryMessageInfoAnswer,
        function=query_message_info,
    ),
)

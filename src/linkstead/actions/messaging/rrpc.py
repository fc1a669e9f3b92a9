"""A message to one device that waits for its answer: RRpc."""

from binascii import b2a_base64
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Behaviour, Request
from linkstead.actions.messaging.payload import PAYLOAD_BYTES_MAX, decode_payload
from linkstead.alink import topics
from linkstead.errors import ApiError, codes
from linkstead.invocation import Call, Message, RouterOverloaded, Stage, Verdict
from linkstead.invocation.call import keep_request, mark_stage
from linkstead.registry import find_device, make_key, recall_device
from linkstead.sessions import LinkTooSmall

TIMEOUT_MS_MIN: Final = 1_000
TIMEOUT_MS_MAX: Final = 8_000
"""Source: RRpc reference, row Timeout (1,000 to 8,000)."""


# Looked up once: to ask an enumeration for a member costs as much as to make a record.
_ACCEPTED: Final = Stage.ACCEPTED
_SUCCESS: Final = Verdict.SUCCESS


class RRpcRequest(Request):
    """Source: RRpc reference, request parameters."""

    product_key: str
    device_name: str
    request_base64_byte: str
    timeout: int
    topic: str = ""
    content_type: str = ""
    iot_instance_id: str = ""


class RRpcAnswer(Answer):
    """Source: RRpc reference, returned data."""

    rrpc_code: str | UnsetType = UNSET
    payload_base64_byte: str | UnsetType = UNSET
    message_id: int | UnsetType = UNSET

    def write_json(self) -> bytes | None:
        """See `Answer.write_json`: of a call that was answered, where no text needs to be escaped."""
        if self.rrpc_code is not _SUCCESS:
            return None
        text = (
            f'{{"RrpcCode":"SUCCESS","PayloadBase64Byte":"{self.payload_base64_byte}","MessageId":{self.message_id},'
            f'"RequestId":"{self.request_id}","Success":true}}'
        )
        return text.encode()


ERROR_MESSAGES = {
    Verdict.TIMEOUT: ("The device did not answer within {timeout_ms} ms.", "设备未在 {timeout_ms} 毫秒内应答。"),
    Verdict.OFFLINE: ("The device is not connected.", "设备不在线。"),
    Verdict.HALFCONN: (
        "The device's connection broke less than one keep-alive period ago.",
        "设备连接已断开，断开时间未超过一个心跳周期。",
    ),
    Verdict.UNKNOWN: ("The call failed inside the server.", "服务内部出错。"),
}
"""ErrorMessage of a call that was made and did not succeed, in English and Chinese. The words are ours."""

FAILURE_CODES = {
    Verdict.TIMEOUT: "iot.messagebroker.TIMEOUT",
    Verdict.OFFLINE: "iot.messagebroker.OFFLINE",
    Verdict.HALFCONN: "iot.messagebroker.HALFCONN",
    Verdict.UNKNOWN: "iot.messagebroker.RrpcException",
}
"""`Code` beside a RrpcCode, sent with `--rrpc-failure-code` only. Source: `cloud-api.md` 5.4."""


async def rrpc(context: ActionContext, request: RRpcRequest) -> RRpcAnswer:
    """Send a message to one device and wait for its answer.

    Returns:
        SUCCESS with the device's bytes; TIMEOUT, OFFLINE, HALFCONN or UNKNOWN without, and then `Success` is false and
        there is no `Code`.

    Raises:
        ApiError: the request was not valid, or a bound was reached; nothing was sent.

    Source: RRpc reference; order of checks and codes: `cloud-api.md` 5.1. The table spells "Timeout", the sample URL
    "TimeOut": the second is taken where the first is absent.
    """
    call = context.call
    if call is None:
        raise TypeError("RRpc needs a call record")
    timeout_ms = call.timeout_ms = request.timeout
    registry, scope, key = context.registry, context.scope, make_key((request.product_key, request.device_name))
    device = recall_device(registry, scope, key)
    if device is None:
        device = await find_device(registry, scope, product_key=key.product_key, device_name=key.device_name)
    call.key = key
    payload = decode_payload(request.request_base64_byte)
    if not TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX:
        rule = f"{TIMEOUT_MS_MIN}..{TIMEOUT_MS_MAX} ms"
        raise ApiError(codes.INVALID_TIMEOUT_VALUE, Timeout=timeout_ms, rule=rule)
    custom_topic = check_topic(request.topic)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ApiError(codes.RRPC_FAILED, RequestBase64Byte=f"{len(payload)} B", rule=f"<= {PAYLOAD_BYTES_MAX} B")
    message_id = call.message_id = context.ids.message_id()
    call.target = custom_topic
    keep_request(call, payload)
    clock = context.clock
    mark_stage(call, _ACCEPTED, clock.time_s(), clock.monotonic_s())
    if custom_topic:
        topic = topics.ext_rrpc(message_id, custom_topic)
        message = Message(topic, topic, payload, True)
    else:
        topic, answer_topic = topics.rrpc_pair(key, message_id)
        message = Message(topic, answer_topic, payload)
    try:
        outcome = await context.router.call(call, message, activated=bool(device.activated_ms), enabled=device.enabled)
    except RouterOverloaded:
        raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
    except LinkTooSmall:
        rule = "<= the Maximum Packet Size of the device"
        raise ApiError(codes.RRPC_FAILED, RequestBase64Byte=f"{len(payload)} B", rule=rule) from None
    if outcome.verdict is _SUCCESS:
        return RRpcAnswer(
            rrpc_code=_SUCCESS,
            payload_base64_byte=b2a_base64(outcome.payload, newline=False).decode(),
            message_id=message_id,
        )
    return _failed(context, call, outcome.verdict)


def _failed(context: ActionContext, call: Call, verdict: Verdict) -> RRpcAnswer:
    english, chinese = ERROR_MESSAGES[verdict]
    text = chinese if context.behaviour.language == "zh" else english
    return RRpcAnswer(
        success=False,
        rrpc_code=verdict,
        message_id=call.message_id or UNSET,
        code=FAILURE_CODES[verdict] if context.behaviour.rrpc_failure_code else UNSET,
        error_message=text.format(timeout_ms=call.timeout_ms),
    )


def fail_rrpc(context: ActionContext) -> RRpcAnswer:
    """The answer when the server itself broke: RrpcCode UNKNOWN."""
    call = context.call
    if call is None:
        raise TypeError("RRpc needs a call record")
    return _failed(context, call, Verdict.UNKNOWN)


def read_wait_ms(parameters: Mapping[str, str], _behaviour: Behaviour) -> int:
    """How long a request may wait for its device: its Timeout, where that can be read, else the longest there is."""
    text = parameters.get("Timeout") or parameters.get("TimeOut") or ""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(TIMEOUT_MS_MAX))
    return min(max(int(text), TIMEOUT_MS_MIN), TIMEOUT_MS_MAX) if is_number else TIMEOUT_MS_MAX


def check_topic(topic: str) -> str:
    """The custom topic of a call, with its leading `/`; empty when there is none.

    Raises:
        ApiError(INVALID_FORMATTED_TOPIC_NAME): it holds `+` or `#`, or is longer than 128 bytes.
    """
    if not topic:
        return ""
    topic = topic if topic.startswith("/") else "/" + topic
    if not topics.is_custom_rrpc_topic(topic):
        rule = f"<= {topics.CUSTOM_TOPIC_BYTES_MAX} B, no + # ?"
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, Topic=topic, rule=rule)
    return topic


ACTIONS = (
    Action(
        name="RRpc",
        request=RRpcRequest,
        answer=RRpcAnswer,
        function=rrpc,
        is_call=True,
        aliases={"TimeOut": "Timeout"},
        failure=fail_rrpc,
        wait_ms=read_wait_ms,
    ),
)

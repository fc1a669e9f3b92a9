"""Calling services: InvokeThingService and InvokeThingsService."""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from linkstead import profiles
from linkstead.action import Action, ActionContext, Answer
from linkstead.actions.thing_service.shapes import (
    InvokeThingServiceAnswer,
    InvokeThingServiceData,
    InvokeThingServiceRequest,
    InvokeThingsServiceRequest,
)
from linkstead.actions.thing_service.target import (
    DATA_MALFORMED,
    DEVICE_NEVER_ACTIVATED,
    SERVICE_NOT_FOUND,
    Target,
    accept,
    call_of,
    check_qos,
    find_target,
    find_targets,
    make_raw,
    post,
    post_to_each,
    read_object,
    refuse,
    take_target,
)
from linkstead.alink import services, topics
from linkstead.errors import ApiError, codes
from linkstead.invocation import Call, Message, Outcome, RouterOverloaded, Stage, Verdict
from linkstead.invocation.call import keep_request, mark_stage
from linkstead.models import ScriptError
from linkstead.sessions import LinkTooSmall
from linkstead.tsl.checking import VALIDATE_TYPES, ServiceChecker

# Looked up once: to ask an enumeration for a member costs as much as to make a record.
_ACCEPTED: Final = Stage.ACCEPTED
_SUCCESS: Final = Verdict.SUCCESS

NO_REPLY_IN_TIME = 1905
DEVICE_OFFLINE = 9201

VERDICT_ERRORS = {
    Verdict.OFFLINE: codes.MESSAGE_OFFLINE,
    Verdict.HALFCONN: codes.MESSAGE_HALFCONN,
    Verdict.TIMEOUT: codes.MESSAGE_TIMEOUT,
    Verdict.FAILED: codes.INVOKE_THING_SERVICE_FAILED,
    Verdict.UNKNOWN: codes.SYSTEM_EXCEPTION,
}
"""What a synchronous call that did not succeed answers. Source: `cloud-api.md` 8."""

VERDICT_NUMBERS = {
    Verdict.OFFLINE: DEVICE_OFFLINE,
    Verdict.HALFCONN: DEVICE_OFFLINE,
    Verdict.TIMEOUT: NO_REPLY_IN_TIME,
    Verdict.FAILED: DATA_MALFORMED,
}
"""The number that stays with its record. Source: `cloud-api.md` 8."""


async def invoke_thing_service(context: ActionContext, request: InvokeThingServiceRequest) -> InvokeThingServiceAnswer:
    """Call a service of the device's published thing model, which says whether it is synchronous.

    Returns:
        Of a synchronous call `Data.Result` and `Data.MessageId`, of an asynchronous one `Data.MessageId` alone: it was
        accepted then, which does not mean that the device did anything.

    Raises:
        ApiError: see `cloud-api.md` 8.

    Source: InvokeThingService reference; order of checks and codes: `cloud-api.md` 6.3 and 8.
    """
    call = call_of(context)
    call.target = request.identifier
    check_qos(request.qos)
    failed = codes.INVOKE_THING_SERVICE_FAILED
    iot_id, product_key, device_name = request.iot_id, request.product_key, request.device_name
    target = None if iot_id else take_target(context, call, failed, product_key, device_name)
    if target is None:
        target = await find_target(
            context, call, failed, iot_id=iot_id, product_key=product_key, device_name=device_name
        )
    checker = _find_service(call, target, request.identifier)
    is_synchronous = checker is not None and checker.is_synchronous
    if is_synchronous and not target.device.activated_ms:
        call.result_code = DEVICE_NEVER_ACTIVATED
        raise ApiError(codes.INACTIVE_DEVICE)
    arguments = _check_arguments(call, checker, request.args)
    if checker is not None:
        call.target = checker.identifier
    identifier = call.target
    alink_id = call.alink_id = context.ids.alink_id()
    message_id = call.message_id = context.ids.message_id()
    payload = services.make_request(alink_id, f"thing.service.{identifier}", arguments)
    result: str | UnsetType = UNSET
    if not is_synchronous:
        topic = topics.service(target.key, identifier)
        if target.is_raw:
            await post(context, call, target, topic, payload, request.qos, failed)
        else:
            # What `post` does, without a coroutine for it.
            accept(context, call, target, payload)
            try:
                await context.delivery.post(call, topic, payload, request.qos)
            except RouterOverloaded:
                raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
    elif target.is_raw:
        result = await _call_raw(context, call, target, checker, payload)
    else:
        # On the carrier that the device's connection asked for. Source: `device-protocol.md` 4.4.
        topic, answer_topic, ext_topic = topics.service_trio(target.key, message_id, identifier)
        message = Message(topic, answer_topic, payload, False, ext_topic, services.is_reply)
        _begin(context, call, payload)
        try:
            outcome = await context.router.call(call, message, activated=True, enabled=target.device.enabled)
        except RouterOverloaded:
            raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
        except LinkTooSmall:
            raise _refuse_size(call, len(payload)) from None
        result = _read_result(context, call, target, checker, outcome)
    return InvokeThingServiceAnswer(data=InvokeThingServiceData(result=result, message_id=str(alink_id)))


def _find_service(call: Call | None, target: Target, identifier: str) -> ServiceChecker | None:
    """The checks of a service; None for a product that checks nothing."""
    if not target.is_checked:
        return None
    checker = target.model.find_service(identifier) if target.model is not None else None
    if checker is None:
        published = "" if target.model is not None else "; the product has no published thing model"
        text = f"service not found (Identifier={identifier}{published})"
        if call is not None:
            call.result_code = SERVICE_NOT_FOUND
        raise ApiError(codes.INVOKE_THING_SERVICE_FAILED, text=text)
    return checker


def _check_arguments(call: Call | None, checker: ServiceChecker | None, text: str) -> Mapping[str, object]:
    arguments = read_object(call, text)
    fault = checker.check_input(arguments) if checker is not None else None
    if fault is not None:
        if call is not None:
            call.result_code = fault.code
        raise ApiError(codes.INVOKE_THING_SERVICE_FAILED, text=fault.message)
    return arguments


def _begin(context: ActionContext, call: Call, payload: bytes) -> None:
    """Note that the message of a synchronous call is about to leave."""
    call.timeout_ms = context.behaviour.service_timeout_ms
    keep_request(call, payload, True)
    clock = context.clock
    mark_stage(call, _ACCEPTED, clock.time_s(), clock.monotonic_s())


def _refuse_size(call: Call, payload_bytes: int) -> ApiError:
    text = f"the message of {payload_bytes} B is larger than the device takes"
    return refuse(call, codes.INVOKE_THING_SERVICE_FAILED, 0, text)


async def _call_raw(
    context: ActionContext, call: Call, target: Target, checker: ServiceChecker | None, payload: bytes
) -> str:
    """Call a device of a binary product: have its script make the message, and Alink of the answer.

    What the script takes beforehand is of the call's time.
    """
    device, key = target.device, target.key
    call.timeout_ms = context.behaviour.service_timeout_ms
    message_payload = await make_raw(context, call, target, payload, codes.INVOKE_THING_SERVICE_FAILED)
    _begin(context, call, payload)
    topic, answer_topic = topics.rrpc_pair(key, call.message_id)
    ext_topic = topics.ext_rrpc(call.message_id, topics.down_raw(key))
    message = Message(topic, answer_topic, message_payload, ext_topic=ext_topic)
    try:
        outcome = await context.router.call(call, message, activated=bool(device.activated_ms), enabled=device.enabled)
    except RouterOverloaded:
        raise ApiError(codes.MESSAGE_RATE_LIMIT) from None
    except LinkTooSmall:
        raise _refuse_size(call, len(message_payload)) from None
    if outcome.verdict is _SUCCESS:
        reply = await _make_protocol(context, call, target, outcome.payload)
        outcome = Outcome(outcome.verdict, outcome.diagnosis, reply)
    return _read_result(context, call, target, checker, outcome)


async def _make_protocol(context: ActionContext, call: Call, target: Target, payload: bytes) -> bytes:
    """Have the script make Alink of a device's answer, which becomes the answer of the record.

    Raises:
        ApiError(INVOKE_THING_SERVICE_FAILED): it does not, or what it makes is no reply. The device did answer: the
            verdict stays, and the record says what is wrong with the answer.
    """
    try:
        reply = await context.scripts.raw_to_protocol(target.product.product_key, payload)
        services.parse_reply(reply)
    except ScriptError as error:
        number, text = error.code, f"parser script: {error}"
    except services.ReplyError as error:
        number, text = DATA_MALFORMED, f"parser script: {error}"
    else:
        call.set_answer(reply)
        return reply
    call.code = codes.INVOKE_THING_SERVICE_FAILED.code
    call.output_faults = [text]
    raise refuse(call, codes.INVOKE_THING_SERVICE_FAILED, number, text)


def _read_result(
    context: ActionContext, call: Call, target: Target, checker: ServiceChecker | None, outcome: Outcome
) -> str:
    if outcome.verdict is not _SUCCESS:
        call.result_code = VERDICT_NUMBERS.get(outcome.verdict, 0)
        row = VERDICT_ERRORS[outcome.verdict]
        call.code = row.code
        if outcome.verdict is Verdict.FAILED:
            raise ApiError(row, text="the device's reply is not an Alink reply: a JSON object with a code")
        raise ApiError(row)
    reply = services.parse_reply(outcome.payload)
    call.result_code = reply.code
    if checker is not None and isinstance(reply.data, dict):
        faults = checker.check_output(reply.data, VALIDATE_TYPES[target.product.validate_type])
        if faults:
            call.output_faults = [fault.message for fault in faults.values()]
    behaviour = context.behaviour
    if reply.code != services.CODE_SUCCESS and not behaviour.is_as_documented(profiles.DEVICE_CODE_TOLD):
        call.code = codes.INVOKE_THING_SERVICE_FAILED.code
        text = f"device code {reply.code}: {reply.message}".rstrip(": ")
        raise ApiError(codes.INVOKE_THING_SERVICE_FAILED, text=text)
    if behaviour.is_as_documented(profiles.WHOLE_REPLY):
        return services.make_envelope(reply, call.alink_id)
    return services.make_data(reply)


async def invoke_things_service(context: ActionContext, request: InvokeThingsServiceRequest) -> Answer:
    """Call a service on up to 100 devices of one product, asynchronously whatever the thing model says.

    A name that is not a device's fails the request before anything is sent. Each device has a record of its own.

    Raises:
        ApiError: see `find_targets` and `cloud-api.md` 8.
    """
    check_qos(request.qos)
    targets = await find_targets(context, request.product_key, request.device_name)
    checker = _find_service(None, targets[0], request.identifier)
    arguments = _check_arguments(None, checker, request.args)
    identifier = checker.identifier if checker is not None else request.identifier

    async def send(call: Call, target: Target) -> None:
        call.alink_id = context.ids.alink_id()
        call.message_id = context.ids.message_id()
        topic = topics.service(target.key, identifier)
        payload = services.make_request(call.alink_id, f"thing.service.{identifier}", arguments)
        await post(context, call, target, topic, payload, request.qos, codes.INVOKE_THING_SERVICE_FAILED)

    await post_to_each(context, "InvokeThingsService", identifier, targets, send)
    return Answer()


ACTIONS = (
    Action(
        name="InvokeThingService",
        request=InvokeThingServiceRequest,
        answer=InvokeThingServiceAnswer,
        function=invoke_thing_service,
        is_call=True,
        wait_ms=lambda _, behaviour: behaviour.service_timeout_ms,
    ),
    Action(
        name="InvokeThingsService", request=InvokeThingsServiceRequest, answer=Answer, function=invoke_things_service
    ),
)

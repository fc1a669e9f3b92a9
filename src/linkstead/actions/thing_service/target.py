"""What the actions of this chapter share: the device of a call, its product, its thing model, and what goes wrong.

Source of codes, numbers and order: `cloud-api.md` 6.3 and 8.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from linkstead.action import ActionContext
from linkstead.alink import topics
from linkstead.errors import ApiError, ErrorRow, codes, invalid_parameter
from linkstead.invocation import Call, Diagnosis, RouterOverloaded, Stage, Verdict, diagnose
from linkstead.invocation.call import keep_request, mark_stage
from linkstead.models import ScriptError
from linkstead.registry import Device, DeviceKey, Product, creation, find_device, find_senior_product, recall_device
from linkstead.tsl.checking import ModelChecker, ValidateType
from linkstead.tsl.literal import JsonValue, LiteralError, read_literal_object

DEVICES_MAX = 100
"""Devices of one request. Source: InvokeThingsService and SetDevicesProperty references, row DeviceName.N."""

SERVICE_NOT_FOUND = 6206
DATA_MALFORMED = 6207
DEVICE_DISABLED = 6208
DEVICE_NEVER_ACTIVATED = 9200


# Looked up once.
_UNCHECKED: Final = int(ValidateType.NONE)
_RAW_FORMAT: Final = creation.RAW_FORMAT
_WITH_THING_MODEL: Final = creation.WITH_THING_MODEL
_ACCEPTED: Final = Stage.ACCEPTED


class Target:
    """The device of a call, found and enabled, and what its calls are checked against. Never changed.

    `model` is None when nothing was published, and for products that check nothing.
    """

    __slots__ = ("device", "key", "model", "product")

    def __init__(self, device: Device, key: DeviceKey, product: Product, model: ModelChecker | None) -> None:
        self.device = device
        self.key = key
        self.product = product
        self.model = model

    @property
    def is_checked(self) -> bool:
        """False for a verification-free product: whatever is said to its devices goes, and always asynchronously."""
        return self.product.validate_type != _UNCHECKED

    @property
    def is_raw(self) -> bool:
        """True when the product's script translates between Alink and what its devices understand."""
        return self.product.data_format == _RAW_FORMAT


def call_of(context: ActionContext) -> Call:
    """The call's record. Raises TypeError where the action was listed without one."""
    if context.call is None:
        raise TypeError("a call needs a call record")
    return context.call


def refuse(call: Call, row: ErrorRow, number: int, text: str) -> ApiError:
    """The error of a call that is refused; its number stays with the record."""
    call.result_code = number
    return ApiError(row, text=text)


def take_target(
    context: ActionContext, call: Call, failed: ErrorRow, product_key: str, device_name: str
) -> Target | None:
    """What `find_target` finds, at once, where all that it looks at is at hand; None says nothing about it.

    Raises:
        ApiError(failed): the device is disabled.
    """
    registry, scope, key = context.registry, context.scope, DeviceKey(product_key, device_name)
    device = recall_device(registry, scope, key)
    product = registry.recall_product(product_key)
    if device is None or product is None or not scope.covers(product):
        return None
    if product.aliyun_commodity_code != _WITH_THING_MODEL:
        return None
    try:
        model = context.models.recall_checker(product_key)
    except KeyError:
        return None
    call.key, call.iot_id = key, device.iot_id
    if not device.enabled:
        raise refuse(call, failed, DEVICE_DISABLED, "the device is disabled")
    return Target(device, key, product, model)


async def find_target(
    context: ActionContext, call: Call, failed: ErrorRow, *, iot_id: str, product_key: str, device_name: str
) -> Target:
    """Find the device of a call.

    Args:
        failed: the row for a device that is disabled.

    Raises:
        ApiError: see `find_device` and `find_senior_product`; `failed`.
    """
    device = await find_device(
        context.registry, context.scope, iot_id=iot_id, product_key=product_key, device_name=device_name
    )
    key = device.key
    call.key, call.iot_id = key, device.iot_id
    product = await find_senior_product(context.registry, context.scope, device.product_key)
    if not device.enabled:
        raise refuse(call, failed, DEVICE_DISABLED, "the device is disabled")
    return Target(device, key, product, await context.models.find_checker(product.product_key))


async def find_targets(context: ActionContext, product_key: str, device_names: Sequence[str]) -> list[Target]:
    """Find the devices of a request that names several of one product; all or none.

    Raises:
        ApiError: see `find_senior_product` and `find_device`.
        ApiError(NONE_DEVICE_NAME_ELEMENT, INVALID_FORMATTED_PARAMETER): none, or more than `DEVICES_MAX`.
    """
    product = await find_senior_product(context.registry, context.scope, product_key)
    if not device_names:
        raise ApiError(codes.NONE_DEVICE_NAME_ELEMENT)
    if len(device_names) > DEVICES_MAX:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, DeviceName=len(device_names), rule=f"<= {DEVICES_MAX}")
    model = await context.models.find_checker(product_key)
    targets: list[Target] = []
    for name in dict.fromkeys(device_names):
        device = await find_device(context.registry, context.scope, product_key=product_key, device_name=name)
        targets.append(Target(device, device.key, product, model))
    return targets


def read_object(call: Call | None, text: str) -> dict[str, JsonValue]:
    """Read `Args` or `Items`, lenient in form. Raises ApiError(CHECK_INVALID_FORMATTED_PARAMETER)."""
    try:
        return read_literal_object(text)
    except LiteralError:
        if call is not None:
            call.result_code = DATA_MALFORMED
        raise ApiError(codes.CHECK_INVALID_FORMATTED_PARAMETER) from None


def check_qos(qos: int) -> None:
    """Raises the gateway's error for a QoS other than 0 and 1."""
    if qos not in (0, 1):
        raise invalid_parameter("Qos")


async def make_raw(context: ActionContext, call: Call, target: Target, payload: bytes, failed: ErrorRow) -> bytes:
    """Have the script make of an Alink message what the device understands. Raises ApiError(failed).

    Source of the code: `cloud-api.md` 8, parser script failure.
    """
    try:
        return await context.scripts.protocol_to_raw(target.product.product_key, payload)
    except ScriptError as error:
        raise refuse(call, failed, error.code, f"parser script: {error}") from None


async def post(
    context: ActionContext, call: Call, target: Target, topic: str, payload: bytes, qos: int, failed: ErrorRow
) -> None:
    """Accept an asynchronous call.

    Args:
        topic, payload: in Alink; a device of a binary product gets what the script makes of it.
        failed: the row for a script that fails.

    Raises:
        ApiError(MESSAGE_RATE_LIMIT): too much waits for the device.
        ApiError(failed).
    """
    message = payload
    if target.is_raw:
        topic = topics.down_raw(target.key)
        message = await make_raw(context, call, target, payload, failed)
    accept(context, call, target, payload)
    try:
        await context.delivery.post(call, topic, message, qos)
    except RouterOverloaded:
        raise ApiError(codes.MESSAGE_RATE_LIMIT) from None


def accept(context: ActionContext, call: Call, target: Target, payload: bytes) -> None:
    """Note that the message of an asynchronous call is about to be kept."""
    if not target.device.activated_ms:
        call.result_code = DEVICE_NEVER_ACTIVATED
    keep_request(call, payload, True)
    clock = context.clock
    mark_stage(call, _ACCEPTED, clock.time_s(), clock.monotonic_s())


async def post_to_each(
    context: ActionContext,
    action: str,
    name: str,
    targets: Sequence[Target],
    send: Callable[[Call, Target], Awaitable[None]],
) -> None:
    """Accept a call for each device, each with a record of its own; what happens to one does not stop the others."""
    for target in targets:
        call = context.open_call(action, target.key, name)
        call.iot_id = target.device.iot_id
        try:
            if target.device.enabled:
                await send(call, target)
            else:
                call.result_code = DEVICE_DISABLED
                call.end(Verdict.OFFLINE, Diagnosis.DISABLED)
        except ApiError as error:
            is_throttled = error.row is codes.MESSAGE_RATE_LIMIT
            call.end(Verdict.REJECTED, Diagnosis.THROTTLED if is_throttled else Diagnosis.REJECTED, error.code)
        except Exception as error:
            if not call.is_ended:
                call.end(Verdict.UNKNOWN, diagnose(error))
            raise
        finally:
            context.close_call(call)

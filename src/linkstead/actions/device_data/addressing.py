"""What the actions of this chapter share: how a request names its device and the properties of it."""

from typing import Any

from linkstead.action import ActionContext, Request
from linkstead.alink.messages import read_identifier
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, Product, find_device, find_senior_product
from linkstead.tsl import Module, ThingModel, find_module
from linkstead.tsl.limits import IDENTIFIER_RULE


class DeviceRequest(Request):
    """One device, by IotId or by ProductKey and DeviceName; the IotId wins."""

    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    iot_instance_id: str = ""


async def find(context: ActionContext, request: DeviceRequest) -> tuple[Device, Product]:
    """The device that the request names, and its product.

    Raises:
        ApiError: see `find_device`.
        ApiError(NOT_SENIOR_PRODUCT): its product has no thing model.
    """
    device = await find_device(
        context.registry,
        context.scope,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )
    return device, await find_senior_product(context.registry, context.scope, device.product_key)


def check_identifier(parameter: str, text: str) -> str:
    """A name on the wire, `module:identifier` or `identifier`. Raises ApiError(INVALID_FORMATTED_PARAMETER)."""
    identifier = read_identifier(text)
    if identifier is None:
        values: dict[str, Any] = {parameter: text}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=IDENTIFIER_RULE, **values)
    return identifier


def check_identifiers(parameter: str, texts: list[str], count_max: int) -> list[str]:
    """Names on the wire, each once, at most `count_max` of them. Raises ApiError(INVALID_FORMATTED_PARAMETER)."""
    if len(texts) > count_max:
        count: dict[str, Any] = {parameter: len(texts)}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=f"<= {count_max}", **count)
    return list(dict.fromkeys(check_identifier(parameter, text) for text in texts))


def find_modules(model: ThingModel | None, function_block_id: str) -> tuple[Module, ...]:
    """The module of this id, or all of the model. The reference does not say what is meant without an id.

    Raises:
        ApiError(INVALID_FORMATTED_PARAMETER): there is no such module in the published model.
    """
    if not function_block_id:
        return model.modules if model is not None else ()
    module = find_module(model, function_block_id) if model is not None else None
    if module is None:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, FunctionBlockId=function_block_id, rule="a published module")
    return (module,)

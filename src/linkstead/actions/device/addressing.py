"""What the actions of this chapter share: how a request names its device, and how a moment is told."""

from collections.abc import Callable, Sequence, Sized

from msgspec import UNSET, UnsetType

from linkstead.action import ActionContext, Request
from linkstead.errors import ApiError, codes
from linkstead.registry import Device, find_device, names


class DeviceRequest(Request):
    """One device, by IotId or by ProductKey and DeviceName; the IotId wins."""

    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    iot_instance_id: str = ""


async def find(context: ActionContext, request: DeviceRequest) -> Device:
    """The device that the request names. Raises ApiError, see `find_device`."""
    return await find_device(
        context.registry,
        context.scope,
        iot_id=request.iot_id,
        product_key=request.product_key,
        device_name=request.device_name,
    )


def check_count(parameter: str, values: Sized, count_max: int) -> None:
    """Raises ApiError(INVALID_FORMATTED_PARAMETER) for more values than one call may have."""
    if len(values) > count_max:
        # DeviceCountExceeded speaks of registration only.
        rule = f"{parameter}.1..{parameter}.{count_max}"
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, N=len(values), rule=rule)


def check_names(device_names: Sequence[str], count_max: int) -> None:
    """Check the names of a call for several devices.

    Raises:
        ApiError(NONE_DEVICE_NAME_ELEMENT, INVALID_FORMATTED_PARAMETER): there are none, or more than `count_max`.
        ApiError(NULL_DEVICE_NAME, INVALID_FORMATTED_DEVICE_NAME): one is empty, or breaks its rule.
    """
    if not device_names:
        raise ApiError(codes.NONE_DEVICE_NAME_ELEMENT)
    check_count("DeviceName", device_names, count_max)
    for device_name in device_names:
        if not device_name:
            raise ApiError(codes.NULL_DEVICE_NAME)
        if not names.is_device_name(device_name):
            raise ApiError(codes.INVALID_FORMATTED_DEVICE_NAME, DeviceName=device_name, rule=names.DEVICE_NAME_RULE)


def moment(notation: Callable[[int], str], at_ms: int) -> str | UnsetType:
    """A moment in one of the vendor's notations; what never happened (0) has none."""
    return notation(at_ms) if at_ms else UNSET

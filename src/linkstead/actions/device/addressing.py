"""What the actions of this chapter share: how a request names its device, and how a moment is told."""

from collections.abc import Callable

from msgspec import UNSET, UnsetType

from linkstead.action import ActionContext, Request
from linkstead.registry import Device, find_device


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


def moment(notation: Callable[[int], str], at_ms: int) -> str | UnsetType:
    """A moment in one of the vendor's notations; what never happened (0) has none."""
    return notation(at_ms) if at_ms else UNSET

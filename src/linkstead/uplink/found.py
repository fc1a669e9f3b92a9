"""Gateways that say which devices they found. Source: `device-protocol.md` 3.2 and 8.2."""

from linkstead.alink.messages import MALFORMED_PARAMS
from linkstead.registry import DeviceKey
from linkstead.telemetry import TelemetryStore
from linkstead.uplink.news import News
from linkstead.uplink.request import Refused, Request, read_object

FOUND_MAX = 100
"""Devices in one list; ours."""


async def take_found(request: Request, telemetry: TelemetryStore, news: News) -> object:
    """Tell of found devices: `[{"productKey":"a1SubDevKey","deviceName":"probe-7"}]`. Nothing is made of them here.

    Raises:
        Refused(460): the params are malformed, or there are none, or over FOUND_MAX.
    """
    entries = [read_object(entry, "params[]") for entry in request.read_list()]
    if not 1 <= len(entries) <= FOUND_MAX:
        raise Refused(MALFORMED_PARAMS, f"params must have 1 to {FOUND_MAX} devices, not {len(entries)}")
    found: list[DeviceKey] = []
    for entry in entries:
        product_key, device_name = entry.get("productKey"), entry.get("deviceName")
        if not (isinstance(product_key, str) and product_key and isinstance(device_name, str) and device_name):
            raise Refused(MALFORMED_PARAMS, "productKey and deviceName must be texts")
        found.append(DeviceKey(product_key, device_name))
    await news.tell_found(request.origin, found)
    return None

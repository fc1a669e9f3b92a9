"""Calls that the tests of devices make."""

import base64
import time
from collections.abc import Callable
from typing import Any

from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity

MakeDevice = Callable[..., Identity]
"""`register_device` of the product that all share."""

STATUS_WAIT_S = 20.0
TIMEOUT_MS = 5_000


def call_device(cloud: Cloud, device: Identity, payload: bytes, **others: object) -> dict[str, Any]:
    """RRpc: `Timeout` is 5000 unless given."""
    request = {"RequestBase64Byte": base64.b64encode(payload).decode(), "Timeout": TIMEOUT_MS, **others}
    return cloud.call("RRpc", {**device.target, **request})


def answered(cloud: Cloud, device: Identity, payload: bytes, **others: object) -> bytes:
    """What the device answered; anything but an answer fails."""
    answer = call_device(cloud, device, payload, **others)
    assert answer["RrpcCode"] == "SUCCESS"
    return base64.b64decode(answer["PayloadBase64Byte"], validate=True)


def register_device(cloud: Cloud, product_key: str, device_name: str = "") -> Identity:
    """RegisterDevice; without a name the server draws one."""
    data = cloud.call("RegisterDevice", {"ProductKey": product_key, "DeviceName": device_name})["Data"]
    return Identity(data["ProductKey"], data["DeviceName"], data["DeviceSecret"], data["IotId"])


def status(cloud: Cloud, device: Identity) -> str:
    """ONLINE, OFFLINE, UNACTIVE or DISABLE."""
    text: str = cloud.call("GetDeviceStatus", device.target)["Data"]["Status"]
    return text


def wait_status(cloud: Cloud, device: Identity, wanted: str) -> None:
    """Ask until the server says so: what the device did may reach it a moment after what the test does."""
    deadline_s = time.monotonic() + STATUS_WAIT_S
    while (found := status(cloud, device)) != wanted:
        assert time.monotonic() < deadline_s, f"{device.device_name} is {found}, not {wanted}"

"""What `dev` has ready: a product and a few devices, their names and secrets known to everybody."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from linkstead.clock import milliseconds
from linkstead.registry import PUBLIC_INSTANCE, Device, DeviceKey, creation
from linkstead.server import Server, StartError
from linkstead.tsl import ThingModel, read_tsl

PRODUCT_KEY = "a1LinkDemo0"
PRODUCT_NAME = "Demo-lamp"
PRODUCT_SECRET = "LinksteadDemo000"


MODEL_PATH = Path(str(importlib.resources.files(__package__).joinpath("lamp.tsl.json")))
"""The thing model of the demo product: services Blink and SelfTest (synchronous), RunScene (asynchronous)."""


def read_model() -> ThingModel:
    """The thing model of the demo product."""
    return ThingModel(PRODUCT_KEY, (replace(read_tsl(MODEL_PATH.read_bytes()).module, module_id=""),))


class DemoDevice(NamedTuple):
    """A device of the demo product; the one that is not simulated is left for a device of the user's."""

    device_name: str
    device_secret: str
    is_simulated: bool


DEVICES = (
    DemoDevice("lamp-01", "0123456789abcdef0123456789abcd01", True),
    DemoDevice("lamp-02", "0123456789abcdef0123456789abcd02", True),
    DemoDevice("lamp-03", "0123456789abcdef0123456789abcd03", True),
    DemoDevice("my-device", "0123456789abcdef0123456789abcd04", False),
)
FIRST, OWN = DEVICES[0], DEVICES[-1]
"""The one that the snippets call, and the one left for the user."""


async def add_demo_data(server: Server, *, dynamic_registration: bool) -> list[Device]:
    """Make the demo product and those of its devices that are not there, in the account of the server's first key.

    Returns:
        The devices, as they are kept.

    Raises:
        StartError: the product belongs to another account.
        ApiError: they could not be made.
    """
    registry, ids, key = server.registry, server.ids, server.access_key
    now_ms = milliseconds(server.clock.time_s())
    product = await registry.find_product(PRODUCT_KEY)
    if key is None or (product is not None and product.account_id != key.account_id):
        raise StartError(f"the demo product {PRODUCT_KEY} belongs to another account: give --data another directory")
    if product is None:
        product = creation.new_product(
            ids,
            account_id=key.account_id,
            instance_id=PUBLIC_INSTANCE,
            product_name=PRODUCT_NAME,
            node_type=0,
            aliyun_commodity_code="iothub_senior",
            created_ms=now_ms,
            dynamic_registration=dynamic_registration,
            product_key=PRODUCT_KEY,
            product_secret=PRODUCT_SECRET,
        )
        await creation.add_product(registry, ids, product, key_given=True)
        await server.models.publish(read_model(), "1.0", "", now_ms)
    devices = []
    for name, secret, _ in DEVICES:
        device = await registry.find_device(DeviceKey(PRODUCT_KEY, name))
        if device is None:
            device = creation.new_device(ids, product, created_ms=now_ms, device_name=name, device_secret=secret)
            await creation.add_device(registry, ids, device, name_given=True)
        devices.append(device)
    return devices

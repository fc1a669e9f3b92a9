"""Products with a thing model, their devices, and what those report."""

import json
from pathlib import Path
from typing import Any

from linkstead.actions.device_data.histories import TIME_MS_MAX
from linkstead.actions.product import CreateProductData, CreateProductRequest, create_product
from linkstead.registry import DeviceKey
from linkstead.telemetry import PropertyPoint
from linkstead.tsl import read_model
from tests.actions.world import World

GOLDEN = Path(__file__).parents[1] / "golden" / "tsl"
NOW_MS = 1_700_000_000_000
FOREVER: dict[str, Any] = {"start_time": 0, "end_time": TIME_MS_MAX}


async def create_senior(world: World, product_name: str, **fields: Any) -> str:
    """A product with a thing model; returns its key."""
    answer = await create_product(
        world.context(),
        CreateProductRequest(
            product_name=product_name, node_type=0, aliyun_commodity_code="iothub_senior", publish_auto=False, **fields
        ),
    )
    assert isinstance(answer.data, CreateProductData)
    return answer.data.product_key


async def publish(world: World, product_key: str, *files: str, version: str = "1") -> None:
    """Make the sample documents the model of a product."""
    documents = [json.loads((GOLDEN / file).read_text(encoding="utf-8")) for file in files]
    for document in documents:
        document["profile"]["productKey"] = product_key
        for block in document.get("functionBlocks", ()):
            block["productKey"] = product_key
    await world.models.publish(read_model(json.dumps(documents)), version, "", NOW_MS)


async def add_lamp(world: World) -> DeviceKey:
    """A lamp of a product with a published model."""
    product_key = await create_senior(world, "Lamp")
    await publish(world, product_key, "lamp.tsl.json")
    await world.register_device(product_key)
    return DeviceKey(product_key, "lamp-01")


def named(key: DeviceKey) -> dict[str, Any]:
    """The parameters that name a device."""
    return {"product_key": key.product_key, "device_name": key.device_name}


def report(world: World, key: DeviceKey, identifier: str, *values: tuple[str, int]) -> None:
    """Values of a property and their times, as an uplink takes them."""
    world.store.record_properties([PropertyPoint(key, identifier, value, time_ms) for value, time_ms in values])

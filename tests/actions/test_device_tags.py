import json

import pytest
from msgspec import UNSET

from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.tags import (
    PROPS_BYTES_MAX,
    TAGS_MAX,
    DeleteDevicePropRequest,
    SaveDevicePropRequest,
    delete_device_prop,
    query_device_prop,
    save_device_prop,
)
from linkstead.errors import ErrorRow, codes
from linkstead.registry import DeviceKey
from linkstead.telemetry import TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio


async def add_lamp(world: World) -> DeviceKey:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    return DeviceKey(key, "lamp-01")


async def save(world: World, key: DeviceKey, props: str) -> None:
    request = SaveDevicePropRequest(product_key=key.product_key, device_name=key.device_name, props=props)
    assert (await save_device_prop(world.context(), request)).success


async def show(world: World, key: DeviceKey) -> dict[str, str]:
    request = DeviceRequest(product_key=key.product_key, device_name=key.device_name)
    answer = await query_device_prop(world.context(), request)
    assert answer.props is not UNSET
    tags: dict[str, str] = json.loads(answer.props)
    return tags


async def delete(world: World, key: DeviceKey, prop_key: str) -> None:
    request = DeleteDevicePropRequest(product_key=key.product_key, device_name=key.device_name, prop_key=prop_key)
    assert (await delete_device_prop(world.context(), request)).success


async def test_tags_are_saved_replaced_shown_and_deleted(world: World) -> None:
    key = await add_lamp(world)
    assert await show(world, key) == {}
    await save(world, key, '{"room":"101","floor":1,"is.lit":true,"厅":"\\u706f"}')
    assert await show(world, key) == {"room": "101", "floor": "1", "is.lit": "true", "厅": "灯"}
    await save(world, key, '{"room":"102"}')
    await delete(world, key, "floor")
    assert await show(world, key) == {"room": "102", "is.lit": "true", "厅": "灯"}
    await check_refusal(delete(world, key, "floor"), codes.DELETE_DEVICE_PROPERTY_FAILED, "PropKey=floor")
    await check_refusal(delete(world, key, ""), codes.NULL_DEVICE_PROPERTY_KEY)


async def test_tags_that_the_device_told_are_among_them(world: World) -> None:
    key = await add_lamp(world)
    await world.store.save_tags(key, {"maker": "x"})
    await save(world, key, '{"room":"101"}')
    assert await show(world, key) == {"maker": "x", "room": "101"}


@pytest.mark.parametrize(
    ("props", "row"),
    [
        ("", codes.NULL_DEVICE_PROPERTIES_STRING),
        ("{}", codes.NONE_DEVICE_PROPERTIES),
        ("[]", codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ("room", codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"room":"\\ud800"}', codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"room":{}}', codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"room":[]}', codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"room":' + "[" * 1_500 + "]" * 1_500 + "}", codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"room":null}', codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING),
        ('{"":"x"}', codes.INVALID_FORMATTED_DEVICE_PROPERTY_KEY),
        ('{"a b":"x"}', codes.INVALID_FORMATTED_DEVICE_PROPERTY_KEY),
        ('{"abc":"x"}', codes.INVALID_FORMATTED_DEVICE_PROPERTY_KEY),
    ],
)
async def test_bad_tags_are_refused_and_none_is_kept(world: World, props: str, row: ErrorRow) -> None:
    key = await add_lamp(world)
    await check_refusal(save(world, key, props), row)
    assert await show(world, key) == {}


async def test_tags_at_their_bounds_are_kept_and_past_them_refused(world: World) -> None:
    key = await add_lamp(world)
    longest = {"k" * TAG_KEY_BYTES_MAX: "v" * TAG_VALUE_BYTES_MAX}
    await save(world, key, json.dumps(longest))
    assert await show(world, key) == longest
    long_key = json.dumps({"k" * (TAG_KEY_BYTES_MAX + 1): "v"})
    await check_refusal(save(world, key, long_key), codes.INVALID_FORMATTED_DEVICE_PROPERTY_KEY)
    long_value = json.dumps({"key": "v" * (TAG_VALUE_BYTES_MAX + 1)})
    await check_refusal(save(world, key, long_value), codes.INVALID_FORMATTED_DEVICE_PROPERTIES_STRING)
    text = '{"room":"101"}'
    await save(world, key, text.ljust(PROPS_BYTES_MAX))
    await check_refusal(save(world, key, text.ljust(PROPS_BYTES_MAX + 1)), codes.LONG_DEVICE_PROPERTIES_STRING)


async def test_a_device_has_so_many_tags_and_goes_on_changing_them(world: World) -> None:
    key = await add_lamp(world)
    full = {f"key{number}": "x" for number in range(TAGS_MAX)}
    too_many = codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME
    await check_refusal(save(world, key, json.dumps({**full, "more": "x"})), too_many, "N=101", "<= 100")
    await save(world, key, json.dumps(full))
    await check_refusal(save(world, key, '{"more":"x"}'), too_many, "N=101")
    await save(world, key, '{"key0":"y"}')
    assert (await show(world, key))["key0"] == "y"


async def test_foreign_devices_have_no_tags(world: World) -> None:
    key = await add_lamp(world)
    other = world.context(OTHER_ACCOUNT_ID)
    named = {"product_key": key.product_key, "device_name": key.device_name}
    row = codes.NOT_EXISTED_PRODUCT
    await check_refusal(save_device_prop(other, SaveDevicePropRequest(**named, props='{"room":"1"}')), row)
    await check_refusal(query_device_prop(other, DeviceRequest(**named)), row)
    await check_refusal(delete_device_prop(other, DeleteDevicePropRequest(**named, prop_key="room")), row)
    assert await show(world, key) == {}

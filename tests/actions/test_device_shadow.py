import json
from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.device_shadow import (
    CODES,
    DeviceShadowRequest,
    UpdateDeviceShadowRequest,
    get_device_shadow,
    update_device_shadow,
)
from linkstead.errors import ErrorRow, codes
from linkstead.invocation import CallFilter, Verdict
from linkstead.registry import DeviceKey
from linkstead.telemetry import ShadowFault
from linkstead.telemetry.shadow import ATTRIBUTES_MAX, SHADOW_BYTES_MAX
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio

GREEN = {"color": "green"}


async def add_lamp(world: World) -> DeviceKey:
    product_key = (await world.create_product()).product_key
    await world.register_device(product_key)
    return DeviceKey(product_key, "lamp-01")


async def send(world: World, key: DeviceKey, message: str, **fields: Any) -> None:
    request = UpdateDeviceShadowRequest(
        product_key=key.product_key, device_name=key.device_name, shadow_message=message, **fields
    )
    assert (await update_device_shadow(world.context(), request)).success


async def want(world: World, key: DeviceKey, desired: Any, version: int = 0, **fields: Any) -> None:
    await send(
        world, key, json.dumps({"method": "update", "state": {"desired": desired}, "version": version}), **fields
    )


async def show(world: World, key: DeviceKey) -> Any:
    request = DeviceShadowRequest(product_key=key.product_key, device_name=key.device_name)
    answer = await get_device_shadow(world.context(), request)
    return None if answer.shadow_message is UNSET else json.loads(answer.shadow_message)


async def test_a_shadow_is_written_and_shown(world: World) -> None:
    key = await add_lamp(world)
    assert await show(world, key) is None
    await want(world, key, GREEN, 2)
    now_s = int(world.clock.time_s())
    assert await show(world, key) == {
        "state": {"desired": GREEN},
        "metadata": {"desired": {"color": {"timestamp": now_s}}},
        "timestamp": now_s,
        "version": 2,
    }


async def test_what_is_desired_is_replaced_or_added_to(world: World) -> None:
    key = await add_lamp(world)
    await want(world, key, GREEN, 1)
    await want(world, key, {"level": 1}, 2, delta_update=True)
    assert (await show(world, key))["state"] == {"desired": {"color": "green", "level": 1}}
    await want(world, key, {"level": 2}, 3)
    assert (await show(world, key))["state"] == {"desired": {"level": 2}}


async def test_a_version_has_to_rise_unless_none_is_asked_for(world: World) -> None:
    key = await add_lamp(world)
    await want(world, key, GREEN, 7)
    await check_refusal(want(world, key, {"a": 1}, 7), codes.INVALID_VERSION_IN_SHADOW_MESSAGE)
    await want(world, key, {"a": 1})
    assert (await show(world, key))["version"] == 8
    await want(world, key, {"a": 2}, -1)
    assert (await show(world, key))["version"] == 0
    await want(world, key, {"a": 3})
    assert (await show(world, key))["version"] == 1


async def test_a_connected_device_is_told_and_that_is_on_record(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link)
    await want(world, key, GREEN, 3)
    ((topic, payload),) = link.messages
    assert topic == f"/shadow/get/{key.product_key}/{key.device_name}"
    now_s = int(world.clock.time_s())
    assert json.loads(payload) == {
        "method": "control",
        "payload": {
            "status": "success",
            "state": {"desired": GREEN},
            "metadata": {"desired": {"color": {"timestamp": now_s}}},
        },
        "version": 3,
        "timestamp": now_s,
    }
    (call,) = await world.store.list_calls(CallFilter(ACCOUNT_ID, limit=10))
    assert (call.action, call.target, call.verdict) == ("UpdateDeviceShadow", topic, Verdict.SUCCESS)


async def test_a_device_that_is_away_asks_when_it_is_back(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, kept_s=3600.0)
    world.detach(link)
    await want(world, key, GREEN)
    session = world.sessions.find(key)
    assert session is not None
    assert not session.queue
    assert link.messages == []


@pytest.mark.parametrize(
    ("message", "row"),
    [
        ("", codes.NULL_SHADOW_MESSAGE),
        ("x" * (SHADOW_BYTES_MAX + 1), codes.SHADOW_MESSAGE_TOO_LARGE),
        ("green", codes.SHADOW_MESSAGE_NOT_JSON),
        ('{"version":1}', codes.NO_METHOD_IN_SHADOW_MESSAGE),
        ('{"method":"get"}', codes.METHOD_IS_NOT_UPDATE),
        ('{"method":"update","version":1}', codes.NO_STATE_IN_SHADOW_MESSAGE),
        ('{"method":"update","state":{"desired":{"a":1}}}', codes.NO_VERSION_IN_SHADOW_MESSAGE),
        ('{"method":"update","state":{"desired":{"a":1}},"version":"1"}', codes.INVALID_VERSION_IN_SHADOW_MESSAGE),
        ('{"method":"update","state":{"reported":{"a":1}},"version":1}', codes.NO_DESIRE_IN_SHADOW_MESSAGE),
        ('{"method":"update","state":{"desired":null},"version":1}', codes.DESIRE_IS_NULL),
        ('{"method":"update","state":{"desired":"null"},"version":1}', codes.DESIRE_IS_NOT_JSON),
        ('{"method":"update","state":{"desired":{}},"version":1}', codes.NO_ELEMENT_IN_DESIRE),
        ('{"method":"update","state":{"desired":{"a":null}},"version":1}', codes.ELEMENT_IS_NULL_IN_DESIRE),
        (
            '{"method":"update","state":{"desired":{"a":1},"reported":{"a":1}},"version":1}',
            codes.UPDATE_DEVICE_SHADOW_FAILED,
        ),
        (
            json.dumps(
                {"method": "update", "state": {"desired": dict.fromkeys(map(str, range(ATTRIBUTES_MAX + 1)), 1)}}
            ),
            codes.TOO_MANY_ELEMENTS_IN_DESIRE,
        ),
    ],
)
async def test_a_message_that_breaks_a_rule_changes_nothing(world: World, message: str, row: ErrorRow) -> None:
    key = await add_lamp(world)
    await check_refusal(send(world, key, message), row)
    assert await show(world, key) is None


async def test_every_fault_has_a_code() -> None:
    assert set(CODES) == set(ShadowFault)


async def test_a_foreign_device_is_as_if_it_were_not_there(world: World) -> None:
    key = await add_lamp(world)
    named: dict[str, Any] = {"product_key": key.product_key, "device_name": key.device_name}
    stranger = world.context(OTHER_ACCOUNT_ID)
    await check_refusal(get_device_shadow(stranger, DeviceShadowRequest(**named)), codes.NOT_EXISTED_PRODUCT)
    request = UpdateDeviceShadowRequest(**named, shadow_message='{"method":"update"}')
    await check_refusal(update_device_shadow(stranger, request), codes.NOT_EXISTED_PRODUCT)
    await check_refusal(show(world, DeviceKey(key.product_key, "lamp-02")), codes.NOT_EXISTED_DEVICE)

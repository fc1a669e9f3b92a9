"""What the properties of devices are desired to be: set, shown and cleared by an app."""

import json
from typing import Any

import pytest
import pytest_asyncio
from msgspec import UNSET

from linkstead.actions.device_data.desired import (
    PROPERTIES_MAX,
    VERSION_MAX,
    ClearDeviceDesiredPropertyRequest,
    DesiredPropertyInfo,
    QueryDeviceDesiredPropertyRequest,
    SetDeviceDesiredPropertyRequest,
    clear_device_desired_property,
    query_device_desired_property,
    set_device_desired_property,
)
from linkstead.errors import codes
from linkstead.invocation import CallFilter, Diagnosis, Verdict
from linkstead.registry import DeviceKey
from linkstead.sessions import LinkBlocked
from tests.actions.lamps import NOW_MS, add_lamp, create_senior, named, publish
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink


@pytest_asyncio.fixture
async def lamp(world: World) -> DeviceKey:
    return await add_lamp(world)


async def desire(world: World, key: DeviceKey, items: Any, versions: Any = None) -> tuple[str, dict[str, int]]:
    """Desire values; returns the message id and the new versions. Texts go as they are."""
    request = SetDeviceDesiredPropertyRequest(
        items=items if isinstance(items, str) else json.dumps(items),
        versions=versions if isinstance(versions, str) else json.dumps(versions or {}),
        **named(key),
    )
    answer = await set_device_desired_property(world.context(), request)
    assert answer.data is not UNSET
    assert isinstance(answer.data.message_id, str)
    assert isinstance(answer.data.versions, str)
    return answer.data.message_id, json.loads(answer.data.versions)


async def clear(world: World, key: DeviceKey, *identifiers: str) -> dict[str, int]:
    request = ClearDeviceDesiredPropertyRequest(identifies=list(identifiers), **named(key))
    answer = await clear_device_desired_property(world.context(), request)
    assert answer.data is not UNSET
    assert isinstance(answer.data.versions, str)
    versions = json.loads(answer.data.versions)
    assert isinstance(versions, dict)
    return versions


async def show(world: World, key: DeviceKey, **fields: Any) -> dict[str, DesiredPropertyInfo]:
    answer = await query_device_desired_property(
        world.context(), QueryDeviceDesiredPropertyRequest(**named(key), **fields)
    )
    assert answer.data is not UNSET
    return {info.identifier: info for info in answer.data.list.desired_property_info}


# --- set and show


@pytest.mark.asyncio
async def test_what_is_desired_is_kept_with_its_version(world: World, lamp: DeviceKey) -> None:
    assert (await desire(world, lamp, {"Brightness": 42, "PowerSwitch": 1}))[1] == {"Brightness": 1, "PowerSwitch": 1}
    world.clock.advance(1)
    assert (await desire(world, lamp, {"Brightness": 43}))[1] == {"Brightness": 2}
    told = await show(world, lamp, identifier=["Brightness"])
    assert told == {
        "Brightness": DesiredPropertyInfo(
            identifier="Brightness",
            version=2,
            name="Brightness",
            data_type="int",
            unit="%",
            value="43",
            time=str(NOW_MS + 1_000),
        )
    }


@pytest.mark.asyncio
async def test_every_property_that_may_be_set_is_shown(world: World, lamp: DeviceKey) -> None:
    await desire(world, lamp, {"WorkMode": 2})
    told = await show(world, lamp)
    assert list(told) == ["PowerSwitch", "Brightness", "ColorTemperature", "WorkMode"]
    assert {info.version for info in told.values()} == {0, 1}
    assert told["PowerSwitch"] == DesiredPropertyInfo(
        identifier="PowerSwitch", version=0, name="Power switch", data_type="bool"
    )


@pytest.mark.asyncio
async def test_the_form_of_items_is_as_free_as_programs_write_it(world: World, lamp: DeviceKey) -> None:
    await desire(world, lamp, "{'Brightness':42,}", "{Brightness:0}")
    assert (await show(world, lamp))["Brightness"].value == "42"


@pytest.mark.asyncio
async def test_the_properties_of_a_module_bear_its_name(world: World) -> None:
    key = DeviceKey(await create_senior(world, "Modules"), "lamp-01")
    await publish(world, key.product_key, "multi-module.default.tsl.json", "multi-module.testFb.tsl.json")
    await world.register_device(key.product_key)
    await desire(world, key, '{"testFb:Level":3.50,"default:DeviceLabel":"desk"}')
    told = {name: info.value for name, info in (await show(world, key)).items()}
    assert told == {"DeviceLabel": "desk", "testFb:Level": "3.50"}
    assert list(await show(world, key, function_block_id="testFb")) == ["testFb:Level"]
    request = QueryDeviceDesiredPropertyRequest(**named(key), function_block_id="other")
    await check_refusal(
        query_device_desired_property(world.context(), request), codes.INVALID_FORMATTED_PARAMETER, "other"
    )


@pytest.mark.asyncio
async def test_what_is_desired_of_a_property_that_left_the_model_is_still_shown(world: World, lamp: DeviceKey) -> None:
    await desire(world, lamp, {"Brightness": 42})
    await publish(world, lamp.product_key, "all-types.tsl.json", version="2")
    told = await show(world, lamp)
    assert told["Brightness"] == DesiredPropertyInfo(identifier="Brightness", version=1, value="42", time=str(NOW_MS))
    assert (await clear(world, lamp, "Brightness")) == {"Brightness": 2}


@pytest.mark.asyncio
async def test_a_verification_free_product_takes_anything(world: World) -> None:
    key = DeviceKey(await create_senior(world, "FreeLamp", validate_type=2), "lamp-01")
    await world.register_device(key.product_key)
    await desire(world, key, {"Mystery": {"a": [1, None]}})
    assert {name: info.value for name, info in (await show(world, key)).items()} == {"Mystery": '{"a":[1,null]}'}


@pytest.mark.asyncio
@pytest.mark.parametrize("identifiers", [["Mystery"], ["Brightness", "Mystery"]])
async def test_an_unknown_property_is_neither_shown_nor_cleared(
    world: World, lamp: DeviceKey, identifiers: list[str]
) -> None:
    await desire(world, lamp, {"Brightness": 42})
    for action in (show(world, lamp, identifier=identifiers), clear(world, lamp, *identifiers)):
        await check_refusal(action, codes.INVALID_FORMATTED_PARAMETER, "Mystery")
    assert (await show(world, lamp))["Brightness"].value == "42"


@pytest.mark.asyncio
async def test_a_request_shows_or_clears_at_most_10_properties(world: World) -> None:
    key = DeviceKey(await create_senior(world, "FreeLamp", validate_type=2), "lamp-01")
    await world.register_device(key.product_key)
    names = [f"P{number}" for number in range(PROPERTIES_MAX)]
    await desire(world, key, dict.fromkeys(names, 1))
    assert list(await show(world, key, identifier=names)) == names
    for action in (show(world, key, identifier=[*names, "P10"]), clear(world, key, *names, "P10")):
        await check_refusal(action, codes.INVALID_FORMATTED_PARAMETER, "=11; <= 10")
    assert list(await clear(world, key, *names)) == names


# --- versions


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [0, 1])
async def test_the_present_version_or_0_lets_a_change_through(world: World, lamp: DeviceKey, version: int) -> None:
    await desire(world, lamp, {"Brightness": 42})
    assert (await desire(world, lamp, {"Brightness": 43}, {"Brightness": version}))[1] == {"Brightness": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [2, VERSION_MAX])
async def test_another_version_stops_the_whole_change(world: World, lamp: DeviceKey, version: int) -> None:
    await desire(world, lamp, {"Brightness": 42})
    link = FakeLink(lamp, ACCOUNT_ID)
    world.attach(link)
    for items in ({"PowerSwitch": 1, "Brightness": 43}, {"PowerSwitch": None, "Brightness": None}):
        await check_refusal(
            desire(world, lamp, items, {"Brightness": version}), codes.SET_DEVICE_PROPERTY_FAILED, "Versions=Brightness"
        )
    told = await show(world, lamp)
    assert (told["Brightness"].value, told["PowerSwitch"].value) == ("42", UNSET)
    assert link.sent == []


# --- what is refused


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("items", "versions", "row", "said"),
    [
        ("", "{}", codes.CHECK_INVALID_FORMATTED_PARAMETER, "Items"),
        ("[]", "{}", codes.CHECK_INVALID_FORMATTED_PARAMETER, "Items"),
        ("{", "{}", codes.CHECK_INVALID_FORMATTED_PARAMETER, "Items"),
        ('{"Brightness":1}', "", codes.CHECK_INVALID_FORMATTED_PARAMETER, "Versions"),
        ('{"Brightness":1}', "1", codes.CHECK_INVALID_FORMATTED_PARAMETER, "Versions"),
        ('{"Brightness":1}', '{"Brightness":-1}', codes.CHECK_INVALID_FORMATTED_PARAMETER, "Versions.Brightness"),
        ('{"Brightness":1}', '{"Brightness":1.0}', codes.CHECK_INVALID_FORMATTED_PARAMETER, "Versions.Brightness"),
        ('{"Brightness":1}', '{"Brightness":true}', codes.CHECK_INVALID_FORMATTED_PARAMETER, "Versions.Brightness"),
        (
            '{"Brightness":1}',
            '{"Brightness":9223372036854775808}',
            codes.CHECK_INVALID_FORMATTED_PARAMETER,
            "Versions.Brightness",
        ),
        ('{"Brightness":1}', '{"PowerSwitch":0}', codes.CHECK_INVALID_FORMATTED_PARAMETER, "PowerSwitch"),
        ("{}", "{}", codes.NONE_DEVICE_PROPERTIES, "Items"),
        ('{"Mystery":1}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "Mystery"),
        ('{"a b":1}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "Items.a b"),
        ('{"MainsVoltage":230.5}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "read only"),
        ('{"Brightness":101}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "int 0..100"),
        ('{"Brightness":"1"}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "data type is not int"),
        ('{"Brightness":1,"PowerSwitch":null}', "{}", codes.SET_DEVICE_PROPERTY_FAILED, "null"),
    ],
)
async def test_a_bad_wish_is_refused_and_nothing_is_changed(
    world: World, lamp: DeviceKey, items: str, versions: str, row: Any, said: str
) -> None:
    await check_refusal(desire(world, lamp, items, versions), row, said)
    assert {info.version for info in (await show(world, lamp)).values()} == {0}


@pytest.mark.asyncio
async def test_a_request_sets_at_most_10_properties(world: World) -> None:
    key = DeviceKey(await create_senior(world, "FreeLamp", validate_type=2), "lamp-01")
    await world.register_device(key.product_key)
    items = {f"P{number}": number for number in range(PROPERTIES_MAX)}
    assert len((await desire(world, key, items))[1]) == PROPERTIES_MAX
    await check_refusal(
        desire(world, key, {**items, "P10": 10}), codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME, "Items=11; <= 10"
    )


@pytest.mark.asyncio
async def test_without_a_published_model_nothing_can_be_desired(world: World) -> None:
    key = DeviceKey(await create_senior(world, "NewLamp"), "lamp-01")
    await world.register_device(key.product_key)
    await check_refusal(desire(world, key, {"Brightness": 1}), codes.SET_DEVICE_PROPERTY_FAILED, "published")


@pytest.mark.asyncio
async def test_the_device_of_another_account_is_not_there(world: World, lamp: DeviceKey) -> None:
    stranger = world.context(OTHER_ACCOUNT_ID)
    for action in (
        query_device_desired_property(stranger, QueryDeviceDesiredPropertyRequest(**named(lamp))),
        set_device_desired_property(
            stranger, SetDeviceDesiredPropertyRequest(items='{"Brightness":1}', versions="{}", **named(lamp))
        ),
        clear_device_desired_property(
            stranger, ClearDeviceDesiredPropertyRequest(identifies=["Brightness"], **named(lamp))
        ),
    ):
        await check_refusal(action, codes.NOT_EXISTED_PRODUCT)
    assert {info.version for info in (await show(world, lamp)).values()} == {0}


# --- cleared


@pytest.mark.asyncio
async def test_what_is_cleared_has_no_value_and_a_new_version(world: World, lamp: DeviceKey) -> None:
    await desire(world, lamp, {"Brightness": 42, "PowerSwitch": 1})
    assert await clear(world, lamp, "Brightness", "WorkMode") == {"Brightness": 2}
    told = await show(world, lamp)
    assert (told["Brightness"].value, told["Brightness"].time, told["Brightness"].version) == (UNSET, UNSET, 2)
    assert told["PowerSwitch"].value == "1"


@pytest.mark.asyncio
async def test_null_clears_too(world: World, lamp: DeviceKey) -> None:
    await desire(world, lamp, {"Brightness": 42, "PowerSwitch": 1})
    link = FakeLink(lamp, ACCOUNT_ID)
    world.attach(link)
    assert (await desire(world, lamp, {"Brightness": None}, {"Brightness": 1}))[1] == {"Brightness": 2}
    assert (await show(world, lamp))["Brightness"].value is UNSET
    assert link.sent == []


# --- the device is told


@pytest.mark.asyncio
async def test_a_connected_device_is_sent_a_property_set(world: World, lamp: DeviceKey) -> None:
    link = FakeLink(lamp, ACCOUNT_ID)
    world.attach(link)
    message_id, _ = await desire(world, lamp, '{"PowerSwitch":1,"Brightness":42}')
    ((topic, payload),) = link.messages
    assert topic == f"/sys/{lamp.product_key}/{lamp.device_name}/thing/service/property/set"
    assert json.loads(payload) == {
        "id": message_id,
        "version": "1.0",
        "method": "thing.service.property.set",
        "params": {"PowerSwitch": 1, "Brightness": 42},
    }
    (call,) = world.journal.list(CallFilter(ACCOUNT_ID))
    assert (call.action, call.key, call.target, str(call.alink_id)) == (
        "SetDeviceDesiredProperty",
        lamp,
        "set",
        message_id,
    )


@pytest.mark.asyncio
async def test_a_device_that_is_away_is_sent_nothing_and_asks_later(world: World, lamp: DeviceKey) -> None:
    message_id, versions = await desire(world, lamp, {"Brightness": 42})
    assert message_id.isdigit()
    assert versions == {"Brightness": 1}
    assert world.journal.list(CallFilter(ACCOUNT_ID)) == []
    assert [found.identifier for found in await world.store.list_desired(lamp)] == ["Brightness"]


@pytest.mark.asyncio
async def test_a_device_that_cannot_take_the_message_has_its_wish_kept(world: World, lamp: DeviceKey) -> None:
    link = FakeLink(lamp, ACCOUNT_ID, failure=LinkBlocked)
    world.attach(link)
    assert (await desire(world, lamp, {"Brightness": 42}))[1] == {"Brightness": 1}
    (call,) = world.journal.list(CallFilter(ACCOUNT_ID))
    assert (call.verdict, call.diagnosis) == (Verdict.OFFLINE, Diagnosis.WRITE_FAILED)
    assert (await show(world, lamp))["Brightness"].value == "42"

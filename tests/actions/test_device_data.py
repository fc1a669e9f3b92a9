"""What devices reported, read back: present values, histories of properties, events and service calls."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from linkstead.action import ActionContext, Answer
from linkstead.actions.device_data.events import QueryDeviceEventDataRequest, query_device_event_data
from linkstead.actions.device_data.histories import (
    PAGE_SIZE_MAX,
    TIME_MS_MAX,
    Stretch,
    check_stretch,
    cut_pages,
)
from linkstead.actions.device_data.properties import (
    IDENTIFIERS_MAX,
    PROPERTIES_PAGE_SIZE_MAX,
    PropertyHistoryData,
    PropertyStatusInfo,
    QueryDevicePropertiesDataAnswer,
    QueryDevicePropertiesDataRequest,
    QueryDevicePropertyDataRequest,
    QueryDevicePropertyStatusRequest,
    query_device_properties_data,
    query_device_property_data,
    query_device_property_status,
)
from linkstead.actions.device_data.services import (
    QueryDeviceServiceDataRequest,
    query_device_service_data,
)
from linkstead.errors import codes
from linkstead.registry import DeviceKey
from tests.actions.lamps import FOREVER, NOW_MS, add_lamp, create_senior, named, publish, report
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

DataAction = Callable[[ActionContext, Any], Awaitable[Answer]]
ACTIONS: dict[DataAction, Callable[..., Any]] = {
    query_device_property_status: QueryDevicePropertyStatusRequest,
    query_device_property_data: lambda **device: QueryDevicePropertyDataRequest(
        identifier="Brightness", asc=1, page_size=10, **FOREVER, **device
    ),
    query_device_properties_data: lambda **device: QueryDevicePropertiesDataRequest(
        identifier=["Brightness"], asc=1, page_size=10, **FOREVER, **device
    ),
    query_device_event_data: lambda **device: QueryDeviceEventDataRequest(**FOREVER, **device),
    query_device_service_data: lambda **device: QueryDeviceServiceDataRequest(**FOREVER, **device),
}


@pytest_asyncio.fixture
async def lamp(world: World) -> DeviceKey:
    return await add_lamp(world)


# --- the device


@pytest.mark.asyncio
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_the_device_is_named_either_way(world: World, lamp: DeviceKey, action: DataAction) -> None:
    device = await world.registry.find_device(lamp)
    assert device is not None
    by_name = await action(world.context(), ACTIONS[action](**named(lamp)))
    by_iot_id = await action(world.context(), ACTIONS[action](iot_id=device.iot_id))
    assert by_name == by_iot_id
    assert by_name.success


@pytest.mark.asyncio
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_a_device_that_is_not_the_callers_is_not_there(world: World, lamp: DeviceKey, action: DataAction) -> None:
    stranger = world.context(OTHER_ACCOUNT_ID)
    await check_refusal(action(stranger, ACTIONS[action](**named(lamp))), codes.NOT_EXISTED_PRODUCT)
    unknown = named(lamp._replace(device_name="lamp-99"))
    await check_refusal(action(world.context(), ACTIONS[action](**unknown)), codes.NOT_EXISTED_DEVICE, "lamp-99")
    await check_refusal(action(world.context(), ACTIONS[action]()), codes.NULL_PRODUCT_KEY)


@pytest.mark.asyncio
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_a_product_without_a_thing_model_has_no_such_data(world: World, action: DataAction) -> None:
    product = await world.create_product()
    await world.register_device(product.product_key)
    request = ACTIONS[action](product_key=product.product_key, device_name="lamp-01")
    await check_refusal(action(world.context(), request), codes.NOT_SENIOR_PRODUCT, product.product_key)


# --- present values


async def statuses(world: World, key: DeviceKey, **fields: str) -> dict[str, PropertyStatusInfo]:
    answer = await query_device_property_status(
        world.context(), QueryDevicePropertyStatusRequest(**named(key), **fields)
    )
    assert answer.data is not UNSET
    infos = answer.data.list.property_status_info
    return {info.identifier: info for info in infos}


@pytest.mark.asyncio
async def test_the_newest_value_of_each_property_is_told(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Brightness", ("10", NOW_MS), ("42", NOW_MS + 5), ("20", NOW_MS + 1))
    report(world, lamp, "MainsVoltage", ("230.50", NOW_MS))
    told = await statuses(world, lamp)
    assert list(told) == ["PowerSwitch", "Brightness", "ColorTemperature", "WorkMode", "MainsVoltage"]
    assert told["Brightness"] == PropertyStatusInfo(
        identifier="Brightness",
        name="Brightness",
        data_type="int",
        unit="%",
        value="42",
        time=str(NOW_MS + 5),
    )
    assert told["MainsVoltage"].value == "230.50"


@pytest.mark.asyncio
async def test_a_property_that_was_never_reported_has_no_value(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Mystery", ("1", NOW_MS))
    told = await statuses(world, lamp)
    assert "Mystery" not in told
    assert told["PowerSwitch"] == PropertyStatusInfo(identifier="PowerSwitch", name="Power switch", data_type="bool")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"on \\"灯\\" \\u706f"', 'on "灯" 灯'),
        ('""', ""),
        ("1", "1"),
        ("true", "true"),
        ("1e3", "1e3"),
        ('{"a":1.50}', '{"a":1.50}'),
        ('["a"]', '["a"]'),
        ("null", "null"),
    ],
)
async def test_a_value_is_told_as_text(world: World, lamp: DeviceKey, value: str, text: str) -> None:
    report(world, lamp, "Brightness", (value, NOW_MS))
    assert (await statuses(world, lamp))["Brightness"].value == text
    (point,) = (await property_data(world, lamp)).list.property_info
    assert point.value == text


@pytest.mark.asyncio
async def test_a_product_that_checks_nothing_has_no_present_values(world: World) -> None:
    key = DeviceKey(await create_senior(world, "FreeLamp", validate_type=2), "lamp-01")
    await publish(world, key.product_key, "lamp.tsl.json")
    await world.register_device(key.product_key)
    report(world, key, "Brightness", ("42", NOW_MS))
    told = await statuses(world, key)
    assert {info.value for info in told.values()} == {UNSET}
    assert [point.value for point in (await property_data(world, key)).list.property_info] == ["42"]


@pytest.mark.asyncio
async def test_without_a_published_model_there_are_no_properties(world: World) -> None:
    key = DeviceKey(await create_senior(world, "NewLamp"), "lamp-01")
    await world.register_device(key.product_key)
    report(world, key, "Brightness", ("42", NOW_MS))
    assert await statuses(world, key) == {}


@pytest.mark.asyncio
async def test_the_properties_of_every_module_are_told_or_those_of_one(world: World) -> None:
    key = DeviceKey(await create_senior(world, "Modules"), "lamp-01")
    await publish(world, key.product_key, "multi-module.default.tsl.json", "multi-module.testFb.tsl.json")
    await world.register_device(key.product_key)
    report(world, key, "testFb:Level", ("3.5", NOW_MS))
    assert list(await statuses(world, key)) == ["DeviceLabel", "testFb:Level", "testFb:Healthy"]
    told = await statuses(world, key, function_block_id="testFb")
    assert {name: info.value for name, info in told.items()} == {"testFb:Level": "3.5", "testFb:Healthy": UNSET}
    for unknown in ("other", "default"):
        request = QueryDevicePropertyStatusRequest(**named(key), function_block_id=unknown)
        await check_refusal(
            query_device_property_status(world.context(), request),
            codes.INVALID_FORMATTED_PARAMETER,
            f"FunctionBlockId={unknown}",
        )


# --- the history of one property


async def property_data(world: World, key: DeviceKey, **fields: Any) -> PropertyHistoryData:
    usual = {"identifier": "Brightness", "asc": 1, "page_size": 50, **FOREVER}
    request = QueryDevicePropertyDataRequest(**named(key), **{**usual, **fields})
    answer = await query_device_property_data(world.context(), request)
    assert answer.data is not UNSET
    return answer.data


def times(data: PropertyHistoryData) -> list[int]:
    return [point.time for point in data.list.property_info]


@pytest.mark.asyncio
@pytest.mark.parametrize("bounds", [("start_time", "end_time"), ("end_time", "start_time")])
async def test_a_stretch_of_the_history_is_told_whatever_the_order_of_its_ends(
    world: World, lamp: DeviceKey, bounds: tuple[str, str]
) -> None:
    report(world, lamp, "Brightness", *((str(n), NOW_MS + n) for n in range(6)))
    report(world, lamp, "PowerSwitch", ("1", NOW_MS + 2))
    stretch = dict(zip(bounds, (NOW_MS + 1, NOW_MS + 4), strict=True))
    upwards = await property_data(world, lamp, **stretch, asc=1)
    assert times(upwards) == [NOW_MS + 1, NOW_MS + 2, NOW_MS + 3, NOW_MS + 4]
    assert (upwards.next_valid, upwards.next_time) == (False, NOW_MS + 4)
    downwards = await property_data(world, lamp, **stretch, asc=0)
    assert times(downwards) == [NOW_MS + 4, NOW_MS + 3, NOW_MS + 2, NOW_MS + 1]
    assert (downwards.next_valid, downwards.next_time) == (False, NOW_MS + 1)


@pytest.mark.asyncio
async def test_the_next_page_begins_at_next_time(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Brightness", *((str(n), NOW_MS + n) for n in range(7)))
    first = await property_data(world, lamp, page_size=3, asc=1)
    assert (times(first), first.next_valid) == ([NOW_MS, NOW_MS + 1, NOW_MS + 2], True)
    second = await property_data(world, lamp, page_size=3, asc=1, start_time=first.next_time)
    assert (times(second), second.next_valid) == ([NOW_MS + 3, NOW_MS + 4, NOW_MS + 5], True)
    third = await property_data(world, lamp, page_size=3, asc=1, start_time=second.next_time)
    assert (times(third), third.next_valid) == ([NOW_MS + 6], False)


@pytest.mark.asyncio
@pytest.mark.parametrize(("handed_on", "fixed"), [("start_time", "end_time"), ("end_time", "start_time")])
async def test_backwards_next_time_goes_where_the_later_time_stood(
    world: World, lamp: DeviceKey, handed_on: str, fixed: str
) -> None:
    report(world, lamp, "Brightness", *((str(n), NOW_MS + n) for n in range(5)))
    first = await property_data(world, lamp, page_size=3, asc=0, **{handed_on: NOW_MS + 10, fixed: NOW_MS})
    assert (times(first), first.next_valid) == ([NOW_MS + 4, NOW_MS + 3, NOW_MS + 2], True)
    second = await property_data(world, lamp, page_size=3, asc=0, **{handed_on: first.next_time, fixed: NOW_MS})
    assert (times(second), second.next_valid) == ([NOW_MS + 1, NOW_MS], False)


@pytest.mark.asyncio
async def test_a_property_that_reported_nothing_has_an_empty_history(world: World, lamp: DeviceKey) -> None:
    data = await property_data(world, lamp, start_time=NOW_MS, end_time=NOW_MS + 1)
    assert (times(data), data.next_valid, data.next_time) == ([], False, NOW_MS + 1)


@pytest.mark.asyncio
async def test_the_history_of_another_device_is_not_told(world: World, lamp: DeviceKey) -> None:
    await world.register_device(lamp.product_key, "lamp-02")
    report(world, lamp._replace(device_name="lamp-02"), "Brightness", ("1", NOW_MS))
    assert times(await property_data(world, lamp)) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("identifier", ["", "a b", "a:b:c", "x" * 51])
async def test_a_malformed_identifier_is_refused(world: World, lamp: DeviceKey, identifier: str) -> None:
    await check_refusal(
        property_data(world, lamp, identifier=identifier), codes.INVALID_FORMATTED_PARAMETER, "Identifier="
    )


@pytest.mark.asyncio
async def test_the_name_of_the_default_module_may_be_said(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Brightness", ("1", NOW_MS))
    assert times(await property_data(world, lamp, identifier="default:Brightness")) == [NOW_MS]


# --- stretches and pages


@pytest.mark.parametrize(
    ("page_size", "page_size_max"), [(1, 50), (PAGE_SIZE_MAX, 50), (100, PROPERTIES_PAGE_SIZE_MAX)]
)
def test_a_page_size_at_its_limit_is_taken(page_size: int, page_size_max: int) -> None:
    assert check_stretch(5, 1, 0, page_size, page_size_max) == Stretch(1, 5, False, page_size)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("stretch", "row", "said"),
    [
        ((0, 1, 0, 0, 50), codes.INVALID_PAGE_PARAMS, "PageSize=0; 1..50"),
        ((0, 1, 0, 51, 50), codes.INVALID_PAGE_PARAMS, "PageSize=51; 1..50"),
        ((0, 1, 0, 101, 100), codes.INVALID_PAGE_PARAMS, "PageSize=101; 1..100"),
        ((0, 1, 2, 1, 50), codes.INVALID_FORMATTED_PARAMETER, "Asc=2; 0 | 1"),
        ((0, 1, -1, 1, 50), codes.INVALID_FORMATTED_PARAMETER, "Asc=-1; 0 | 1"),
        ((-1, 1, 0, 1, 50), codes.INVALID_TIME_BUCKET, "StartTime=-1"),
        ((0, TIME_MS_MAX + 1, 0, 1, 50), codes.INVALID_TIME_BUCKET, f"EndTime={TIME_MS_MAX + 1}"),
    ],
)
async def test_a_malformed_stretch_is_refused(stretch: Any, row: Any, said: str) -> None:
    async def check() -> Stretch:
        return check_stretch(*stretch)

    await check_refusal(check(), row, said)


def read(history: Sequence[int], stretch: Stretch) -> list[int]:
    """What a store gives for a stretch of moments."""
    span = stretch.span
    within = sorted(
        (moment for moment in history if span.start_ms <= moment <= span.end_ms), reverse=not span.ascending
    )
    return within[: span.limit]


def read_all(histories: Sequence[Sequence[int]], stretch: Stretch) -> list[list[int]]:
    """Page after page until there is no other, the bound that was given moved on as a program does it."""
    found: list[list[int]] = [[] for _ in histories]
    while True:
        cut = cut_pages([read(history, stretch) for history in histories], stretch, lambda moment: moment)
        for all_of_one, page in zip(found, cut.pages, strict=True):
            assert len(page) <= stretch.page_size
            all_of_one.extend(page)
        if not cut.next_valid:
            return found
        start_ms, end_ms = (cut.next_time, stretch.end_ms) if stretch.ascending else (stretch.start_ms, cut.next_time)
        assert (start_ms, end_ms) != (stretch.start_ms, stretch.end_ms) or any(cut.pages)
        stretch = Stretch(start_ms, end_ms, stretch.ascending, stretch.page_size)


histories_of_moments = st.lists(st.lists(st.integers(0, 30), max_size=40, unique=True), min_size=1, max_size=4)


@given(histories_of_moments, st.booleans(), st.integers(1, 7), st.integers(0, 12), st.integers(12, 30))
def test_page_by_page_everything_is_told_once(
    histories: list[list[int]], ascending: bool, page_size: int, start_ms: int, end_ms: int
) -> None:
    stretch = Stretch(start_ms, end_ms, ascending, page_size)
    expected = [
        sorted((moment for moment in history if start_ms <= moment <= end_ms), reverse=not ascending)
        for history in histories
    ]
    assert read_all(histories, stretch) == expected


@given(st.lists(st.integers(0, 5), max_size=60), st.booleans(), st.integers(1, 70))
def test_moments_shared_by_several_are_told_once_as_long_as_a_page_holds_them(
    history: list[int], ascending: bool, page_size: int
) -> None:
    (told,) = read_all([history], Stretch(0, 5, ascending, page_size))
    assert told == sorted(told, reverse=not ascending)
    for moment in set(history):
        count = history.count(moment)
        assert min(count, page_size) <= told.count(moment) <= count


# --- several properties


async def properties_data(world: World, key: DeviceKey, **fields: Any) -> QueryDevicePropertiesDataAnswer:
    usual = {"identifier": ["Brightness", "WorkMode"], "asc": 1, "page_size": 2, **FOREVER}
    request = QueryDevicePropertiesDataRequest(**named(key), **{**usual, **fields})
    return await query_device_properties_data(world.context(), request)


def told_times(answer: QueryDevicePropertiesDataAnswer) -> dict[str, list[int]]:
    assert answer.property_data_infos is not UNSET
    return {
        info.identifier: [point.time - NOW_MS for point in info.list.property_info]
        for info in answer.property_data_infos.property_data_info
    }


@pytest.mark.asyncio
async def test_the_pages_of_several_properties_go_on_at_one_moment(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Brightness", *(("1", NOW_MS + n) for n in (0, 1, 2, 3)))
    report(world, lamp, "WorkMode", *(("1", NOW_MS + n) for n in (0, 5)))
    first = await properties_data(world, lamp, page_size=2)
    assert told_times(first) == {"Brightness": [0, 1], "WorkMode": [0]}
    assert (first.next_valid, first.next_time) == (True, NOW_MS + 2)
    second = await properties_data(world, lamp, page_size=2, start_time=first.next_time)
    assert told_times(second) == {"Brightness": [2, 3], "WorkMode": [5]}
    assert second.next_valid is False


@pytest.mark.asyncio
async def test_a_property_named_twice_is_told_once(world: World, lamp: DeviceKey) -> None:
    answer = await properties_data(world, lamp, identifier=["WorkMode", "Brightness", "default:WorkMode"])
    assert told_times(answer) == {"WorkMode": [], "Brightness": []}


@pytest.mark.asyncio
async def test_several_properties_are_at_most_10_of_at_most_100_values(world: World, lamp: DeviceKey) -> None:
    most = [f"P{number}" for number in range(IDENTIFIERS_MAX)]
    answer = await properties_data(world, lamp, identifier=most, page_size=PROPERTIES_PAGE_SIZE_MAX)
    assert list(told_times(answer)) == most
    await check_refusal(
        properties_data(world, lamp, identifier=[*most, "P10"]),
        codes.INVALID_FORMATTED_PARAMETER,
        "Identifier=11; <= 10",
    )
    await check_refusal(
        properties_data(world, lamp, page_size=PROPERTIES_PAGE_SIZE_MAX + 1), codes.INVALID_PAGE_PARAMS, "PageSize=101"
    )

"""What devices reported and were told, whether it fits the thing model or not."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from msgspec import UNSET

from linkstead.action import ActionContext, Answer
from linkstead.actions.device_data.histories import PAGE_SIZE_MAX
from linkstead.actions.device_data.originals import (
    PROPERTY_PAGE_SIZE_MAX,
    TOKEN_CHARS_MAX,
    HistoryRequest,
    OriginalEventInfo,
    PropertyStatusDataInfo,
    QueryDeviceOriginalPropertyStatusRequest,
    query_device_original_event_data,
    query_device_original_property_data,
    query_device_original_property_status,
    query_device_original_service_data,
)
from linkstead.actions.thing_service.setting import SetDevicePropertyRequest, set_device_property
from linkstead.errors import codes
from linkstead.registry import DeviceKey
from linkstead.telemetry import EventRecord
from tests.actions.lamps import FOREVER, NOW_MS, add_lamp, named, report
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio

Query = Callable[[ActionContext, Any], Awaitable[Answer]]
HISTORIES: list[Query] = [
    query_device_original_property_data,
    query_device_original_event_data,
    query_device_original_service_data,
]
histories = pytest.mark.parametrize("query", HISTORIES, ids=lambda query: query.__name__)
every = pytest.mark.parametrize(
    "query", [*HISTORIES, query_device_original_property_status], ids=lambda query: query.__name__
)


@pytest_asyncio.fixture
async def lamp(world: World) -> DeviceKey:
    return await add_lamp(world)


def request_for(query: Query, **fields: Any) -> Any:
    given = {"asc": 1, "page_size": 10, **fields}
    if query is query_device_original_property_status:
        return QueryDeviceOriginalPropertyStatusRequest(**given)
    return HistoryRequest(**{"identifier": "Mystery", **FOREVER, **given})


async def ask(world: World, query: Query, **fields: Any) -> Any:
    answer: Any = await query(world.context(), request_for(query, **fields))
    assert answer.success
    return answer.data


async def read_pages(world: World, query: Query, read: Callable[[Any], list[str]], **fields: Any) -> list[list[str]]:
    """Every page, read to the end."""
    pages: list[list[str]] = []
    token = ""
    while True:
        data = await ask(world, query, next_page_token=token, **fields)
        pages.append(read(data.list))
        assert data.next_valid == (data.next_page_token is not UNSET)
        if not data.next_valid:
            return pages
        token = data.next_page_token


@pytest.mark.parametrize(("asc", "order"), [(1, "abcdefg"), (0, "gfedcba")])
async def test_the_values_of_a_property_come_once_each_though_they_are_of_one_moment(
    world: World, lamp: DeviceKey, asc: int, order: str
) -> None:
    times = [NOW_MS, NOW_MS + 1, NOW_MS + 1, NOW_MS + 1, NOW_MS + 1, NOW_MS + 1, NOW_MS + 2]
    report(world, lamp, "Mystery", *((f'"{text}"', time_ms) for text, time_ms in zip("abcdefg", times, strict=True)))

    def read(values: Any) -> list[str]:
        return [info.value for info in values.property_info]

    pages = await read_pages(world, query_device_original_property_data, read, page_size=2, asc=asc, **named(lamp))
    assert ["".join(page) for page in pages] == [order[:2], order[2:4], order[4:6], order[6:]]


async def test_present_values_are_told_of_the_model_or_not(world: World, lamp: DeviceKey) -> None:
    report(world, lamp, "Mystery", ('"x"', NOW_MS + 5))
    report(world, lamp, "testFb:Level", ("1.50", NOW_MS))
    report(world, lamp, "Brightness", ("9999", NOW_MS), ("10000", NOW_MS + 5))
    data = await ask(world, query_device_original_property_status, asc=0, **named(lamp))
    assert data.list.property_status_data_info == [
        PropertyStatusDataInfo(identifier="Mystery", time=NOW_MS + 5, value="x"),
        PropertyStatusDataInfo(identifier="Brightness", time=NOW_MS + 5, value="10000"),
        PropertyStatusDataInfo(identifier="testFb:Level", time=NOW_MS, value="1.50"),
    ]

    def read(values: Any) -> list[str]:
        return [info.identifier for info in values.property_status_data_info]

    for asc, order in ((1, ["testFb:Level", "Brightness", "Mystery"]), (0, ["Mystery", "Brightness", "testFb:Level"])):
        pages = await read_pages(
            world, query_device_original_property_status, read, page_size=1, asc=asc, **named(lamp)
        )
        assert pages == [[name] for name in order]


async def test_events_are_told_page_by_page(world: World, lamp: DeviceKey) -> None:
    for number in range(3):
        world.store.record_event(EventRecord(lamp, "Mystery", "Mystery", "info", f'{{"n":{number}}}', NOW_MS))
    world.store.record_event(EventRecord(lamp, "Other", "Other", "info", "{}", NOW_MS))

    def read(values: Any) -> list[str]:
        return [info.output_data for info in values.event_info]

    pages = await read_pages(world, query_device_original_event_data, read, page_size=2, **named(lamp))
    assert pages == [['{"n":0}', '{"n":1}'], ['{"n":2}']]
    data = await ask(world, query_device_original_event_data, page_size=1, **named(lamp))
    assert data.list.event_info == [
        OriginalEventInfo(
            identifier="Mystery", name="Mystery", event_type="info", output_data='{"n":0}', time=str(NOW_MS)
        )
    ]


async def test_calls_of_a_service_are_told_page_by_page(world: World, lamp: DeviceKey) -> None:
    for number in range(3):
        context, call = world.call_context("SetDeviceProperty")
        request = SetDevicePropertyRequest(**named(lamp), items=f'{{"Brightness":{number}}}')
        await set_device_property(context, request)
        context.close_call(call)

    def read(values: Any) -> list[str]:
        return [info.input_data for info in values.service_info]

    for asc, numbers in ((1, (0, 1, 2)), (0, (2, 1, 0))):
        pages = await read_pages(
            world,
            query_device_original_service_data,
            read,
            identifier="set",
            page_size=2,
            asc=asc,
            **named(lamp),
        )
        told = [f'{{"Brightness":{number}}}' for number in numbers]
        assert pages == [told[:2], told[2:]]


@every
async def test_a_token_that_no_page_told_is_refused(world: World, lamp: DeviceKey, query: Query) -> None:
    for text in ("x", "%", "AAAA", base64.b64encode(b"1.").decode(), "A" * (TOKEN_CHARS_MAX + 4)):
        request = request_for(query, next_page_token=text, **named(lamp))
        await check_refusal(query(world.context(), request), codes.INVALID_FORMATTED_PARAMETER, "NextPageToken")


@pytest.mark.parametrize("query", HISTORIES[:2], ids=lambda query: query.__name__)
async def test_a_token_of_another_query_is_refused(world: World, lamp: DeviceKey, query: Query) -> None:
    token = base64.urlsafe_b64encode(b"1700000000000.Power").decode()
    request = request_for(query, next_page_token=token, **named(lamp))
    await check_refusal(query(world.context(), request), codes.INVALID_FORMATTED_PARAMETER, "NextPageToken")


@every
async def test_a_page_has_its_bounds(world: World, lamp: DeviceKey, query: Query) -> None:
    largest = PROPERTY_PAGE_SIZE_MAX if query is query_device_original_property_data else PAGE_SIZE_MAX
    assert not (await ask(world, query, page_size=largest, **named(lamp))).next_valid
    for page_size in (0, largest + 1):
        request = request_for(query, page_size=page_size, **named(lamp))
        await check_refusal(query(world.context(), request), codes.INVALID_PAGE_PARAMS)
    request = request_for(query, asc=2, **named(lamp))
    await check_refusal(query(world.context(), request), codes.INVALID_FORMATTED_PARAMETER, "Asc")


@histories
async def test_a_history_is_of_a_well_formed_identifier_and_stretch(
    world: World, lamp: DeviceKey, query: Query
) -> None:
    request = request_for(query, identifier="a b", **named(lamp))
    await check_refusal(query(world.context(), request), codes.INVALID_FORMATTED_PARAMETER, "Identifier")
    request = request_for(query, start_time=-1, **named(lamp))
    await check_refusal(query(world.context(), request), codes.INVALID_TIME_BUCKET)


@every
async def test_a_foreign_device_is_as_if_it_were_not_there(world: World, lamp: DeviceKey, query: Query) -> None:
    work = query(world.context(OTHER_ACCOUNT_ID), request_for(query, **named(lamp)))
    await check_refusal(work, codes.NOT_EXISTED_PRODUCT)
    product = await world.create_product("Bare")
    await world.register_device(product.product_key)
    bare = request_for(query, product_key=product.product_key, device_name="lamp-01")
    await check_refusal(query(world.context(), bare), codes.NOT_SENIOR_PRODUCT)

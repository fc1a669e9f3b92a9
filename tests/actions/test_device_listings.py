from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.listings import (
    DETAILS_MAX,
    PAGE_SIZE_MAX,
    TAGS_MAX,
    BatchQueryDeviceDetailRequest,
    DeviceDetail,
    QueryDeviceByStatusRequest,
    QueryDeviceByTagsRequest,
    TaggedDevice,
    WantedTag,
    batch_query_device_detail,
    query_device_by_status,
    query_device_by_tags,
)
from linkstead.actions.device.queries import TOKENED_DEVICES_MAX, QueryDeviceRequest, query_device
from linkstead.actions.device.registration import (
    RENAMED_MAX,
    BatchUpdateDeviceNicknameRequest,
    DeviceNickname,
    batch_update_device_nickname,
    delete_device,
    disable_thing,
    reset_thing,
)
from linkstead.actions.device.tags import SaveDevicePropRequest, save_device_prop
from linkstead.errors import ErrorRow, codes
from linkstead.registry import DeviceKey
from linkstead.registry.paging import PAGED_RECORDS_MAX
from linkstead.sessions import Ending
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio


async def details(world: World, product_key: str, *names: str) -> list[DeviceDetail]:
    request = BatchQueryDeviceDetailRequest(product_key=product_key, device_name=list(names))
    answer = await batch_query_device_detail(world.context(), request)
    assert answer.data is not UNSET
    return answer.data.data


async def test_details_come_in_the_order_asked_for_and_unknown_names_are_left_out(world: World) -> None:
    key = (await world.create_product()).product_key
    for name in ("lamp-01", "lamp-02"):
        await world.register_device(key, name)
    await world.connect(key, "lamp-01")
    listed = await details(world, key, "lamp-02", "lamp-03", "lamp-01", "lamp-02")
    assert [(each.device_name, each.status) for each in listed] == [("lamp-02", "UNACTIVE"), ("lamp-01", "ONLINE")]
    assert listed[0].gmt_active is UNSET
    assert listed[1].utc_active == "2023-11-14T22:13:20.000Z"
    assert (listed[1].product_name, listed[1].gmt_create) == ("DemoLamp", "2023-11-15 06:13:20")


async def test_details_have_their_bounds(world: World) -> None:
    key = (await world.create_product()).product_key
    names = [f"lamp-{number:03}" for number in range(DETAILS_MAX + 1)]
    assert await details(world, key, *names[:-1]) == []
    await check_refusal(details(world, key, *names), codes.INVALID_FORMATTED_PARAMETER, "DeviceName.100")
    await check_refusal(details(world, key), codes.NONE_DEVICE_NAME_ELEMENT)
    await check_refusal(details(world, key, "a b"), codes.INVALID_FORMATTED_DEVICE_NAME)
    other = world.context(OTHER_ACCOUNT_ID)
    request = BatchQueryDeviceDetailRequest(product_key=key, device_name=["lamp-01"])
    await check_refusal(batch_query_device_detail(other, request), codes.NOT_EXISTED_PRODUCT)


async def by_status(world: World, account_id: str = ACCOUNT_ID, **fields: Any) -> tuple[list[tuple[str, str]], int]:
    context = world.context(account_id)
    answer = await query_device_by_status(context, QueryDeviceByStatusRequest(**fields))
    assert answer.data is not UNSET
    assert answer.total is not UNSET
    return [(each.device_name, each.status) for each in answer.data.simple_device_info], answer.total


async def test_devices_are_listed_by_status(world: World) -> None:
    key = (await world.create_product()).product_key
    for number in range(1, 6):
        await world.register_device(key, f"lamp-{number:02}")
    await world.connect(key, "lamp-02")
    (await world.connect(key, "lamp-03")).close(Ending.DISCONNECTED)
    await world.connect(key, "lamp-04")
    await disable_thing(world.context(), DeviceRequest(product_key=key, device_name="lamp-04"))
    assert await by_status(world, status=0) == ([("lamp-05", "UNACTIVE"), ("lamp-01", "UNACTIVE")], 2)
    assert await by_status(world, status=1) == ([("lamp-02", "ONLINE")], 1)
    assert await by_status(world, status=3) == ([("lamp-03", "OFFLINE")], 1)
    assert await by_status(world, status=8) == ([("lamp-04", "DISABLE")], 1)
    assert (await by_status(world))[1] == 5
    assert await by_status(world, page_size=2, current_page=3) == ([("lamp-01", "UNACTIVE")], 5)
    other = (await world.create_product("OtherLamp")).product_key
    assert await by_status(world, product_key=other) == ([], 0)
    assert await by_status(world, OTHER_ACCOUNT_ID) == ([], 0)
    await check_refusal(by_status(world, OTHER_ACCOUNT_ID, product_key=key), codes.NOT_EXISTED_PRODUCT)


async def test_a_status_that_there_is_not_is_refused(world: World) -> None:
    await check_refusal(by_status(world, status=2), codes.INVALID_FORMATTED_PARAMETER, "Status=2", "0 | 1 | 3 | 8")


async def tag(world: World, product_key: str, device_name: str, props: str) -> None:
    request = SaveDevicePropRequest(product_key=product_key, device_name=device_name, props=props)
    await save_device_prop(world.context(), request)


async def by_tags(world: World, *tags: tuple[str, str], **fields: Any) -> tuple[list[TaggedDevice], int]:
    wanted = [WantedTag(tag_key=name, tag_value=value) for name, value in tags]
    answer = await query_device_by_tags(world.context(), QueryDeviceByTagsRequest(tag=wanted, **fields))
    assert answer.data is not UNSET
    assert answer.total is not UNSET
    return answer.data.simple_device_info, answer.total


async def test_devices_are_found_that_have_all_of_some_tags(world: World) -> None:
    key = (await world.create_product()).product_key
    made = {}
    for number, props in enumerate(('{"room":"101","city":"x"}', '{"room":"101"}', '{"room":"102","city":"x"}')):
        name = f"lamp-{number:02}"
        made[name] = await world.register_device(key, name)
        await tag(world, key, name, props)
    other = world.context(OTHER_ACCOUNT_ID)
    foreign = await world.create_product("TheirLamp", other)
    await world.register_device(foreign.product_key, "lamp-09", other)
    await world.store.save_tags(DeviceKey(foreign.product_key, "lamp-09"), {"room": "101", "city": "x"})
    listed, total = await by_tags(world, ("room", "101"))
    assert ([each.device_name for each in listed], total) == (["lamp-01", "lamp-00"], 2)
    assert await by_tags(world, ("room", "101"), ("city", "x")) == (
        [TaggedDevice(iot_id=made["lamp-00"].iot_id, product_key=key, product_name="DemoLamp", device_name="lamp-00")],
        1,
    )
    assert await by_tags(world, ("room", "103")) == ([], 0)
    listed, total = await by_tags(world, ("room", "101"), page_size=1, current_page=2)
    assert ([each.device_name for each in listed], total) == (["lamp-00"], 2)


async def test_tags_to_be_found_have_their_bounds(world: World) -> None:
    assert await by_tags(world, *[(f"key{number}", "x") for number in range(TAGS_MAX)]) == ([], 0)
    too_many = [(f"key{number}", "x") for number in range(TAGS_MAX + 1)]
    await check_refusal(by_tags(world, *too_many), codes.TOO_MANY_DEVICE_PROPERTIES_PER_TIME, "N=11", "<= 10")
    await check_refusal(by_tags(world, ("", "x")), codes.NULL_DEVICE_PROPERTY_KEY)


@pytest.mark.parametrize(
    ("fields", "is_good"),
    [
        ({"page_size": PAGE_SIZE_MAX, "current_page": PAGED_RECORDS_MAX // PAGE_SIZE_MAX}, True),
        ({"page_size": PAGE_SIZE_MAX, "current_page": PAGED_RECORDS_MAX // PAGE_SIZE_MAX + 1}, False),
        ({"page_size": PAGE_SIZE_MAX + 1}, False),
        ({"current_page": 0}, False),
    ],
)
async def test_pages_have_their_bounds(world: World, fields: dict[str, Any], is_good: bool) -> None:
    if is_good:
        assert await by_status(world, **fields) == ([], 0)
        assert await by_tags(world, ("room", "1"), **fields) == ([], 0)
    else:
        await check_refusal(by_status(world, **fields), codes.INVALID_PAGE_PARAMS)
        await check_refusal(by_tags(world, ("room", "1"), **fields), codes.INVALID_PAGE_PARAMS)


async def walk(world: World, product_key: str, page_size: int) -> list[list[str]]:
    pages: list[list[str]] = []
    token = ""
    while True:
        request = QueryDeviceRequest(
            product_key=product_key, page_size=page_size, current_page=len(pages) + 1, next_token=token
        )
        answer = await query_device(world.context(), request)
        assert answer.data is not UNSET
        pages.append([each.device_name for each in answer.data.device_info])
        if answer.next_token is UNSET:
            return pages
        token = answer.next_token


async def test_next_tokens_lead_through_all_devices(world: World) -> None:
    key = (await world.create_product()).product_key
    assert await walk(world, key, 2) == [[]]
    for number in range(1, 5):
        await world.register_device(key, f"lamp-{number:02}")
    assert await walk(world, key, 2) == [["lamp-04", "lamp-03"], ["lamp-02", "lamp-01"]]
    assert await walk(world, key, 3) == [["lamp-04", "lamp-03", "lamp-02"], ["lamp-01"]]


async def test_what_is_registered_or_deleted_meanwhile_shifts_no_page(world: World) -> None:
    key = (await world.create_product()).product_key
    for number in range(1, 6):
        await world.register_device(key, f"lamp-{number:02}")
    first = await query_device(world.context(), QueryDeviceRequest(product_key=key, page_size=2))
    await world.register_device(key, "lamp-06")
    # The one that the token stands for.
    await delete_device(world.context(), DeviceRequest(product_key=key, device_name="lamp-04"))
    assert first.next_token is not UNSET
    request = QueryDeviceRequest(product_key=key, page_size=2, current_page=2, next_token=first.next_token)
    second = await query_device(world.context(), request)
    assert second.data is not UNSET
    assert [each.device_name for each in second.data.device_info] == ["lamp-03", "lamp-02"]


async def test_a_next_token_reaches_past_the_page_numbers(world: World) -> None:
    key = (await world.create_product()).product_key
    for number in range(1, 4):
        await world.register_device(key, f"lamp-{number:02}")
    first = await query_device(world.context(), QueryDeviceRequest(product_key=key, page_size=1))
    assert first.next_token is not UNSET
    for page, is_good in ((PAGED_RECORDS_MAX + 1, True), (TOKENED_DEVICES_MAX, True), (TOKENED_DEVICES_MAX + 1, False)):
        request = QueryDeviceRequest(product_key=key, page_size=1, current_page=page, next_token=first.next_token)
        if is_good:
            answer = await query_device(world.context(), request)
            assert answer.data is not UNSET
            assert (answer.page, [each.device_name for each in answer.data.device_info]) == (page, ["lamp-02"])
        else:
            await check_refusal(query_device(world.context(), request), codes.INVALID_PAGE_PARAMS, "<= 1000000")


async def test_a_token_of_another_product_is_refused(world: World) -> None:
    key = (await world.create_product()).product_key
    other = (await world.create_product("OtherLamp")).product_key
    for number in range(1, 3):
        await world.register_device(key, f"lamp-{number:02}")
    first = await query_device(world.context(), QueryDeviceRequest(product_key=key, page_size=1))
    assert first.next_token is not UNSET
    for token in (first.next_token, "x"):
        request = QueryDeviceRequest(product_key=other, next_token=token)
        await check_refusal(query_device(world.context(), request), codes.INVALID_PAGE_PARAMS, "NextToken")


async def rename(world: World, *infos: dict[str, str]) -> None:
    request = BatchUpdateDeviceNicknameRequest(device_nickname_info=[DeviceNickname(**info) for info in infos])
    assert (await batch_update_device_nickname(world.context(), request)).success


async def nicknames(world: World, product_key: str) -> dict[str, str]:
    page = await world.store.list_devices(product_key, 0, 10)
    cached = [await world.registry.find_device(device.key) for device in page.records]
    assert cached == page.records
    return {device.device_name: device.nickname for device in page.records}


async def test_nicknames_are_changed_and_taken_away(world: World) -> None:
    key = (await world.create_product()).product_key
    first = await world.register_device(key, "lamp-01")
    await world.register_device(key, "lamp-02")
    by_name = {"product_key": key, "device_name": "lamp-02"}
    await nicknames(world, key)
    world.clock.advance(60)
    await rename(world, {"iot_id": first.iot_id, "nickname": "灯" * 16}, {**by_name, "nickname": "Hall"})
    assert await nicknames(world, key) == {"lamp-01": "灯" * 16, "lamp-02": "Hall"}
    device = await world.store.find_device(DeviceKey(key, "lamp-02"))
    assert device is not None
    assert device.modified_ms == world.now_ms
    await rename(world, by_name)
    assert await nicknames(world, key) == {"lamp-01": "灯" * 16, "lamp-02": ""}


@pytest.mark.parametrize(
    ("info", "row"),
    [
        ({"device_name": "lamp-02", "nickname": "灯" * 16 + "x"}, codes.INVALID_DEVICE_NICKNAME),
        ({"device_name": "lamp-09", "nickname": "Hall"}, codes.NOT_EXISTED_DEVICE),
        ({"device_name": "", "nickname": "Hall"}, codes.NULL_DEVICE_NAME),
    ],
)
async def test_where_one_nickname_cannot_be_none_is_changed(world: World, info: dict[str, str], row: ErrorRow) -> None:
    key = (await world.create_product()).product_key
    for name in ("lamp-01", "lamp-02"):
        await world.register_device(key, name)
    good = {"product_key": key, "device_name": "lamp-01", "nickname": "Hall"}
    await check_refusal(rename(world, good, {"product_key": key, **info}), row)
    assert await nicknames(world, key) == {"lamp-01": "", "lamp-02": ""}


async def test_a_device_that_goes_meanwhile_has_no_nickname_written(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key, "lamp-01")
    wanted = {DeviceKey(key, "lamp-01"): "Hall", DeviceKey(key, "lamp-02"): "Hall"}
    assert not await world.registry.set_nicknames(wanted, world.now_ms)
    assert await nicknames(world, key) == {"lamp-01": ""}


async def test_so_many_nicknames_are_changed_at_once(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key, "lamp-01")
    info = {"product_key": key, "device_name": "lamp-01", "nickname": "Hall"}
    await rename(world, *[info] * RENAMED_MAX)
    row = codes.INVALID_FORMATTED_PARAMETER
    await check_refusal(rename(world, *[info] * (RENAMED_MAX + 1)), row, "DeviceNicknameInfo.100")


async def test_a_reset_device_keeps_its_status_and_its_connection(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    link = await world.connect(key)
    world.clock.advance(60)
    request = DeviceRequest(product_key=key, device_name="lamp-01")
    answer = await reset_thing(world.context(), request)
    assert (answer.success, answer.job_id, link.endings) == (True, UNSET, [])
    device = await world.registry.find_device(DeviceKey(key, "lamp-01"))
    assert device is not None
    assert (device.reset_ms, device.written_status) == (world.now_ms, "ONLINE")
    await check_refusal(reset_thing(world.context(OTHER_ACCOUNT_ID), request), codes.NOT_EXISTED_PRODUCT)
    gone = DeviceRequest(product_key=key, device_name="lamp-02")
    await check_refusal(reset_thing(world.context(), gone), codes.NOT_EXISTED_DEVICE)

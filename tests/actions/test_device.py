import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import UNSET

from linkstead.action import ActionContext, Answer
from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.queries import (
    PAGE_SIZE_MAX,
    DeviceInfo,
    QueryDeviceDetailData,
    QueryDeviceRequest,
    query_device,
    query_device_detail,
    query_device_info,
)
from linkstead.actions.device.registration import (
    RegisterDeviceAnswer,
    RegisterDeviceRequest,
    delete_device,
    disable_thing,
    enable_thing,
    register_device,
)
from linkstead.actions.device.status import (
    STATES_MAX,
    BatchGetDeviceStateRequest,
    DeviceState,
    GetDeviceStatusAnswer,
    GetDeviceStatusData,
    QueryDeviceStatisticsData,
    QueryDeviceStatisticsRequest,
    batch_get_device_state,
    get_device_status,
    query_device_statistics,
)
from linkstead.actions.product import CreateProductRequest, create_product
from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.registry import DeviceKey, creation, names
from linkstead.registry.paging import PAGED_RECORDS_MAX
from linkstead.sessions import Ending
from tests.actions.world import ACCOUNT_ID, IP_ADDRESS, OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio

DeviceAction = Callable[[ActionContext, DeviceRequest], Awaitable[Answer]]

STARTED_MS = 1_700_000_000_000
"""When the clock of a test starts: 2023-11-14 22:13:20 UTC."""


def register(world: World, product_key: str, **fields: Any) -> Awaitable[RegisterDeviceAnswer]:
    return register_device(world.context(), RegisterDeviceRequest(product_key=product_key, **fields))


def lamp(product_key: str, device_name: str = "lamp-01") -> DeviceRequest:
    return DeviceRequest(product_key=product_key, device_name=device_name)


async def status_of(world: World, product_key: str, device_name: str = "lamp-01") -> GetDeviceStatusData:
    answer = await get_device_status(world.context(), lamp(product_key, device_name))
    assert isinstance(answer, GetDeviceStatusAnswer)
    assert isinstance(answer.data, GetDeviceStatusData)
    return answer.data


async def show(world: World, product_key: str, device_name: str = "lamp-01") -> QueryDeviceDetailData:
    answer = await query_device_detail(world.context(), lamp(product_key, device_name))
    assert isinstance(answer.data, QueryDeviceDetailData)
    return answer.data


async def list_devices(
    world: World, product_key: str, current_page: int = 1, page_size: int = PAGE_SIZE_MAX
) -> list[DeviceInfo]:
    request = QueryDeviceRequest(product_key=product_key, current_page=current_page, page_size=page_size)
    answer = await query_device(world.context(), request)
    assert answer.data is not UNSET
    return answer.data.device_info


async def states(world: World, context: ActionContext | None = None, **fields: Any) -> list[DeviceState]:
    answer = await batch_get_device_state(context or world.context(), BatchGetDeviceStateRequest(**fields))
    assert answer.device_status_list is not UNSET
    return answer.device_status_list.device_status


# ---- RegisterDevice


async def test_a_registered_device_gets_an_id_and_a_secret(world: World) -> None:
    key = (await world.create_product()).product_key
    answer = await register(
        world,
        key,
        device_name="lamp-01",
        nickname="Hall_lamp",
        dev_eui="1",
        join_eui="2",
        app_key="3",
        pin_code="4",
        lora_node_type="5",
        iot_instance_id="iot-060a02m5",
    )
    data = answer.data
    assert data is not UNSET
    assert (data.product_key, data.device_name, data.nickname) == (key, "lamp-01", "Hall_lamp")
    assert re.fullmatch(r"[A-Za-z0-9]{20}00100", data.iot_id)
    assert re.fullmatch(r"[0-9a-f]{32}", data.device_secret)
    assert (data.dev_eui, data.join_eui) == (UNSET, UNSET)
    device = await world.registry.find_device(DeviceKey(key, "lamp-01"))
    assert device is not None
    assert (device.iot_id, device.device_secret, device.nickname) == (data.iot_id, data.device_secret, "Hall_lamp")
    assert (device.enabled, device.created_ms, device.modified_ms) == (True, STARTED_MS, STARTED_MS)


async def test_a_device_without_a_name_gets_one(world: World) -> None:
    key = (await world.create_product()).product_key
    answer = await register(world, key)
    assert answer.data is not UNSET
    assert re.fullmatch(r"[A-Za-z0-9]{20}", answer.data.device_name)
    assert answer.data.nickname is UNSET


async def test_a_device_belongs_to_its_products_account_and_instance(world: World) -> None:
    there = world.context(OTHER_ACCOUNT_ID, "iot-cd40w1")
    key = (await world.create_product(context=there)).product_key
    # without --strict-instances a caller reaches every instance of the account
    await world.register_device(key, context=world.context(OTHER_ACCOUNT_ID))
    device = await world.registry.find_device(DeviceKey(key, "lamp-01"))
    assert device is not None
    assert (device.account_id, device.instance_id) == (OTHER_ACCOUNT_ID, "iot-cd40w1")


@pytest.mark.parametrize(
    "fields",
    [
        {"device_name": "abcd"},
        {"device_name": "x" * 32},
        {"device_name": "A-_@.:9z"},
        {"nickname": "Lamp"},
        {"nickname": "走廊"},
        {"nickname": "x" * 64},
        {"nickname": "灯" * 32},
    ],
)
async def test_names_at_their_bounds_are_accepted(world: World, fields: dict[str, str]) -> None:
    key = (await world.create_product()).product_key
    assert (await register(world, key, **fields)).success


@pytest.mark.parametrize(
    ("fields", "row", "said"),
    [
        ({"device_name": "abc"}, codes.INVALID_FORMATTED_DEVICE_NAME, "DeviceName=abc; 4-32 of"),
        ({"device_name": "x" * 33}, codes.INVALID_FORMATTED_DEVICE_NAME, "4-32 of"),
        ({"device_name": "lamp/01"}, codes.INVALID_FORMATTED_DEVICE_NAME, "DeviceName=lamp/01"),
        ({"device_name": "lamp+"}, codes.INVALID_FORMATTED_DEVICE_NAME, "DeviceName=lamp+"),
        ({"nickname": "abc"}, codes.INVALID_DEVICE_NICKNAME, "Nickname=abc; 4-64 of"),
        ({"nickname": "x" * 65}, codes.INVALID_DEVICE_NICKNAME, "4-64 of"),
        ({"nickname": "灯" * 33}, codes.INVALID_DEVICE_NICKNAME, "4-64 of"),
        ({"nickname": "two words"}, codes.INVALID_DEVICE_NICKNAME, "Nickname=two words"),
    ],
)
async def test_a_name_that_breaks_its_rule_is_refused(
    world: World, fields: dict[str, str], row: ErrorRow, said: str
) -> None:
    key = (await world.create_product()).product_key
    await check_refusal(register(world, key, **fields), row, said)
    assert await list_devices(world, key) == []


async def test_a_device_is_registered_in_a_product_of_the_caller_only(world: World) -> None:
    key = (await world.create_product()).product_key
    request = RegisterDeviceRequest(product_key=key)
    await check_refusal(register(world, ""), codes.NULL_PRODUCT_KEY)
    await check_refusal(register(world, "a1missing00"), codes.NOT_EXISTED_PRODUCT, "a1missing00")
    await check_refusal(register_device(world.context(OTHER_ACCOUNT_ID), request), codes.NOT_EXISTED_PRODUCT, key)
    elsewhere = world.context(instance_id="iot-cd40w1")
    await check_refusal(register_device(elsewhere, request), codes.NOT_EXISTED_PRODUCT, key)
    assert await list_devices(world, key) == []


async def test_a_device_name_is_given_once_in_a_product(world: World) -> None:
    first, second = [(await world.create_product(name)).product_key for name in ("Lamp1", "Lamp2")]
    before = await world.register_device(first)
    refused = register(world, first, device_name="lamp-01")
    await check_refusal(refused, codes.ALREADY_EXISTED_DEVICE_NAME, "DeviceName=lamp-01")
    await world.register_device(second)
    await world.register_device(first, "Lamp-01")
    device = await world.registry.find_device(DeviceKey(first, "lamp-01"))
    assert device is not None
    assert device.device_secret == before.device_secret


async def test_an_iot_id_or_name_that_is_taken_is_drawn_anew(world: World) -> None:
    key = (await world.create_product()).product_key
    taken = await world.register_device(key, "T" * 20)
    taken_id = taken.iot_id.removesuffix(names.IOT_ID_SUFFIX)
    world.ids.tokens.extend([taken_id, "T" * 20, "0" * 32, "N" * 20, "I" * 20])
    answer = await register(world, key)
    assert answer.data is not UNSET
    assert answer.data.device_name == "N" * 20
    assert answer.data.iot_id == "I" * 20 + names.IOT_ID_SUFFIX


async def test_names_that_are_all_taken_fail_the_registration(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key, "T" * 20)
    world.ids.tokens.extend(["I" * 20, "T" * 20, "0" * 32] + ["T" * 20] * creation.TRIES_MAX)
    await check_refusal(register(world, key), codes.CREATE_DEVICE_FAILED)


# ---- what all actions of one device share


ONE_DEVICE_ACTIONS = [
    query_device_detail,
    query_device_info,
    get_device_status,
    disable_thing,
    enable_thing,
    delete_device,
]


@pytest.mark.parametrize("act", ONE_DEVICE_ACTIONS)
async def test_what_is_not_a_device_of_the_caller_does_not_exist(world: World, act: DeviceAction) -> None:
    key = (await world.create_product()).product_key
    iot_id = (await world.register_device(key)).iot_id
    mine, other = world.context(), world.context(OTHER_ACCOUNT_ID)
    elsewhere = world.context(instance_id="iot-cd40w1")
    await check_refusal(act(mine, DeviceRequest()), codes.NULL_PRODUCT_KEY)
    await check_refusal(act(mine, DeviceRequest(product_key=key)), codes.NULL_DEVICE_NAME)
    await check_refusal(act(mine, DeviceRequest(device_name="lamp-01")), codes.NULL_PRODUCT_KEY)
    await check_refusal(act(mine, lamp(key, "no")), codes.INVALID_FORMATTED_DEVICE_NAME, "DeviceName=no")
    await check_refusal(act(mine, lamp(key, "lamp-02")), codes.NOT_EXISTED_DEVICE, "DeviceName=lamp-02")
    await check_refusal(act(mine, DeviceRequest(iot_id="missing00100")), codes.NOT_EXISTED_DEVICE, "IotId=missing")
    await check_refusal(act(mine, DeviceRequest(iot_id="miss-ing")), codes.INVALID_IOT_ID, "IotId=miss-ing")
    await check_refusal(act(other, lamp(key)), codes.NOT_EXISTED_PRODUCT, key)
    await check_refusal(act(other, DeviceRequest(iot_id=iot_id)), codes.NOT_EXISTED_DEVICE, iot_id)
    await check_refusal(act(elsewhere, lamp(key)), codes.NOT_EXISTED_PRODUCT, key)
    await check_refusal(act(elsewhere, DeviceRequest(iot_id=iot_id)), codes.NOT_EXISTED_DEVICE, iot_id)
    device = await world.registry.find_device(DeviceKey(key, "lamp-01"))
    assert device is not None
    assert device.enabled


@pytest.mark.parametrize("act", ONE_DEVICE_ACTIONS)
async def test_the_iot_id_wins_over_a_name_beside_it(world: World, act: DeviceAction) -> None:
    key = (await world.create_product()).product_key
    iot_id = (await world.register_device(key)).iot_id
    answer = await act(world.context(), DeviceRequest(iot_id=iot_id, product_key="a1!", device_name="?"))
    assert answer.success


@pytest.mark.parametrize("act", [query_device_detail, get_device_status, disable_thing, enable_thing, delete_device])
async def test_a_device_that_another_process_deleted_is_not_there(world: World, act: DeviceAction) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    await query_device_info(world.context(), lamp(key))
    await world.store.delete_device(DeviceKey(key, "lamp-01"))
    world.registry.forget_all()
    await check_refusal(act(world.context(), lamp(key)), codes.NOT_EXISTED_DEVICE, "DeviceName=lamp-01")


# ---- QueryDevice


async def test_devices_are_listed_newest_first_in_pages(world: World) -> None:
    key = (await world.create_product()).product_key
    for number in range(1, 12):
        await world.register_device(key, f"lamp-{number:02}")
    answer = await query_device(world.context(), QueryDeviceRequest(product_key=key))
    assert (answer.total, answer.page, answer.page_size, answer.page_count) == (11, 1, 10, 2)
    assert answer.next_token is not UNSET
    listed = [[device.device_name for device in await list_devices(world, key, page, 4)] for page in (1, 2, 3, 4)]
    assert [len(page) for page in listed] == [4, 4, 3, 0]
    assert [name for page in listed for name in page] == [f"lamp-{number:02}" for number in range(11, 0, -1)]


async def test_a_listed_device_shows_its_fields(world: World) -> None:
    key = (await world.create_product()).product_key
    registered = (await register(world, key, device_name="lamp-01", nickname="Hall_lamp")).data
    assert registered is not UNSET
    await world.connect(key)
    world.clock.advance(60)
    await world.register_device(key, "lamp-02")
    second, first = await list_devices(world, key)
    assert (first.iot_id, first.product_key, first.device_name) == (registered.iot_id, key, "lamp-01")
    assert (first.device_secret, first.nickname) == (registered.device_secret, "Hall_lamp")
    assert (first.device_status, second.device_status) == ("ONLINE", "UNACTIVE")
    assert (first.gmt_create, first.utc_create) == ("Tue, 14-Nov-2023 22:13:20 GMT", "2023-11-14T22:13:20.000Z")
    assert (second.gmt_create, second.nickname) == ("Tue, 14-Nov-2023 22:14:20 GMT", UNSET)
    world.clock.advance(60)
    await disable_thing(world.context(), lamp(key))
    _, first = await list_devices(world, key)
    assert first.device_status == "DISABLE"
    assert (first.gmt_modified, first.utc_modified) == ("Tue, 14-Nov-2023 22:15:20 GMT", "2023-11-14T22:15:20.000Z")


@pytest.mark.parametrize("page", [(1, 1), (1, PAGE_SIZE_MAX), (PAGED_RECORDS_MAX // 50, 50), (PAGED_RECORDS_MAX, 1)])
async def test_a_page_at_its_bounds_is_listed(world: World, page: tuple[int, int]) -> None:
    key = (await world.create_product()).product_key
    assert await list_devices(world, key, *page) == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ((0, 10), "CurrentPage=0"),
        ((1, 0), "PageSize=0; 1..50"),
        ((1, PAGE_SIZE_MAX + 1), "PageSize=51; 1..50"),
        ((PAGED_RECORDS_MAX // 50 + 1, 50), "CurrentPage=201; PageSize=50; CurrentPage * PageSize <= 10000"),
        ((PAGED_RECORDS_MAX + 1, 1), "CurrentPage=10001; PageSize=1; CurrentPage * PageSize <= 10000"),
    ],
)
async def test_a_page_past_its_bounds_is_refused(world: World, page: tuple[int, int], said: str) -> None:
    key = (await world.create_product()).product_key
    await check_refusal(list_devices(world, key, *page), codes.INVALID_PAGE_PARAMS, said)


async def test_devices_of_a_product_that_is_not_the_callers_are_not_listed(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    request = QueryDeviceRequest(product_key=key)
    await check_refusal(query_device(world.context(OTHER_ACCOUNT_ID), request), codes.NOT_EXISTED_PRODUCT, key)
    elsewhere = world.context(instance_id="iot-cd40w1")
    await check_refusal(query_device(elsewhere, request), codes.NOT_EXISTED_PRODUCT, key)
    await check_refusal(list_devices(world, ""), codes.NULL_PRODUCT_KEY)


# ---- QueryDeviceDetail, QueryDeviceInfo, GetDeviceStatus


async def test_a_device_that_never_connected_shows_no_times_of_it(world: World) -> None:
    product = await world.create_product()
    registered = await world.register_device(product.product_key)
    shown = await show(world, product.product_key)
    assert shown == QueryDeviceDetailData(
        iot_id=registered.iot_id,
        product_key=product.product_key,
        product_name="DemoLamp",
        device_name="lamp-01",
        device_secret=registered.device_secret,
        node_type=0,
        status="UNACTIVE",
        region="cn-shanghai",
        owner=True,
        gmt_create="2023-11-15 06:13:20",
        utc_create="2023-11-14T22:13:20.000Z",
    )


async def test_a_device_shows_when_it_was_activated_and_last_came_online(world: World) -> None:
    answer = await create_product(world.context(), CreateProductRequest(product_name="Gateway", node_type=1))
    assert isinstance(answer.product_key, str)
    key = answer.product_key
    await register(world, key, device_name="lamp-01", nickname="Hall_lamp")
    world.clock.advance(5 * 60)
    (await world.connect(key)).close(Ending.DISCONNECTED)
    world.clock.advance(5 * 60 + 0.25)
    await world.connect(key)
    shown = await show(world, key)
    assert (shown.product_name, shown.node_type, shown.nickname) == ("Gateway", 1, "Hall_lamp")
    assert (shown.status, shown.ip_address) == ("ONLINE", IP_ADDRESS)
    assert (shown.gmt_create, shown.utc_create) == ("2023-11-15 06:13:20", "2023-11-14T22:13:20.000Z")
    assert (shown.gmt_active, shown.utc_active) == ("2023-11-15 06:18:20", "2023-11-14T22:18:20.000Z")
    assert (shown.gmt_online, shown.utc_online) == ("2023-11-15 06:23:20", "2023-11-14T22:23:20.250Z")


async def test_device_info_names_the_device_and_its_secret(world: World) -> None:
    key = (await world.create_product()).product_key
    registered = (await register(world, key, device_name="lamp-01", nickname="Hall_lamp")).data
    assert registered is not UNSET
    data = (await query_device_info(world.context(), lamp(key))).data
    assert data is not UNSET
    assert (data.iot_id, data.product_key, data.device_name) == (registered.iot_id, key, "lamp-01")
    assert (data.device_secret, data.nickname) == (registered.device_secret, "Hall_lamp")
    await world.register_device(key, "lamp-02")
    plain = (await query_device_info(world.context(), lamp(key, "lamp-02"))).data
    assert plain is not UNSET
    assert plain.nickname is UNSET


async def test_the_status_follows_the_connection_with_the_moment_of_the_change(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    assert await status_of(world, key) == GetDeviceStatusData(status="UNACTIVE")
    world.clock.advance(1)
    link = await world.connect(key)
    assert await status_of(world, key) == GetDeviceStatusData(status="ONLINE", timestamp=STARTED_MS + 1_000)
    world.clock.advance(1)
    link.close(Ending.LOST)
    await world.store.flush()
    assert await status_of(world, key) == GetDeviceStatusData(status="OFFLINE", timestamp=STARTED_MS + 2_000)


# ---- BatchGetDeviceState


async def test_states_come_in_the_order_asked_for_without_what_does_not_exist(world: World) -> None:
    key = (await world.create_product()).product_key
    registered = [await world.register_device(key, f"lamp-{number}") for number in (1, 2, 3)]
    world.clock.advance(10)
    await world.connect(key, "lamp-2")
    (await world.connect(key, "lamp-3")).close(Ending.DISCONNECTED)
    world.clock.advance(1)
    await world.store.flush()
    told = await states(world, product_key=key, device_name=["lamp-3", "missing", "lamp-2", "lamp-1", "lamp-2"])
    assert [state.device_name for state in told] == ["lamp-3", "lamp-2", "lamp-1"]
    assert [state.iot_id for state in told] == [device.iot_id for device in reversed(registered)]
    assert [state.status for state in told] == ["OFFLINE", "ONLINE", "UNACTIVE"]
    assert [state.last_online_time for state in told] == ["2023-11-15 06:13:30", "2023-11-15 06:13:30", UNSET]
    assert [state.as_address for state in told] == [IP_ADDRESS, IP_ADDRESS, UNSET]
    assert [state.timestamp for state in told] == [STARTED_MS + 10_001, STARTED_MS + 10_000, UNSET]
    assert {state.device_id for state in told} == {UNSET}


async def test_states_of_several_products_are_told_by_iot_id(world: World) -> None:
    first, second = [(await world.create_product(name)).product_key for name in ("Lamp1", "Lamp2")]
    one, two = (await world.register_device(first)).iot_id, (await world.register_device(second)).iot_id
    foreign = world.context(OTHER_ACCOUNT_ID)
    hidden = await world.register_device((await world.create_product(context=foreign)).product_key, context=foreign)
    told = await states(
        world, iot_id=[two, hidden.iot_id, "missing00100", one, two], product_key="a1!", device_name=["?"]
    )
    assert [state.iot_id for state in told] == [two, one]
    assert await states(world, world.context(instance_id="iot-cd40w1"), iot_id=[one]) == []


@pytest.mark.parametrize(
    ("fields", "row", "said"),
    [
        ({}, codes.NULL_PRODUCT_KEY, ""),
        ({"device_name": ["lamp-01"]}, codes.NULL_PRODUCT_KEY, ""),
        ({"product_key": "a1missing00", "device_name": ["lamp-01"]}, codes.NOT_EXISTED_PRODUCT, "a1missing00"),
        ({"iot_id": ["miss-ing"]}, codes.INVALID_IOT_ID, "IotId=miss-ing"),
        ({"iot_id": [""]}, codes.INVALID_IOT_ID, "IotId="),
        ({"iot_id": ["missing00100"] * (STATES_MAX + 1)}, codes.INVALID_FORMATTED_PARAMETER, "N=51; IotId.1..IotId.50"),
    ],
)
async def test_states_asked_for_wrongly_are_refused(
    world: World, fields: dict[str, Any], row: ErrorRow, said: str
) -> None:
    await check_refusal(states(world, **fields), row, said)


@pytest.mark.parametrize(
    ("device_name", "row", "said"),
    [
        ([], codes.NONE_DEVICE_NAME_ELEMENT, ""),
        (["lamp-01", ""], codes.NULL_DEVICE_NAME, ""),
        (["lamp-01", "no"], codes.INVALID_FORMATTED_DEVICE_NAME, "DeviceName=no; 4-32"),
        (["lamp-01"] * (STATES_MAX + 1), codes.INVALID_FORMATTED_PARAMETER, "N=51; DeviceName.1..DeviceName.50"),
    ],
)
async def test_states_of_names_that_are_no_names_are_refused(
    world: World, device_name: list[str], row: ErrorRow, said: str
) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    await check_refusal(states(world, product_key=key, device_name=device_name), row, said)
    foreign = states(world, world.context(OTHER_ACCOUNT_ID), product_key=key, device_name=device_name)
    await check_refusal(foreign, codes.NOT_EXISTED_PRODUCT, key)


async def test_states_of_as_many_devices_as_are_allowed_are_told(world: World) -> None:
    key = (await world.create_product()).product_key
    device_names = [f"lamp-{number:02}" for number in range(STATES_MAX)]
    iot_ids = [(await world.register_device(key, device_name)).iot_id for device_name in device_names]
    by_name = await states(world, product_key=key, device_name=device_names)
    assert [state.device_name for state in by_name] == device_names
    by_iot_id = await states(world, iot_id=iot_ids)
    assert [state.iot_id for state in by_iot_id] == iot_ids


# ---- QueryDeviceStatistics


async def test_devices_are_counted_over_a_product_an_instance_and_the_account(world: World) -> None:
    there = world.context(instance_id="iot-cd40w1")
    first, second = [(await world.create_product(name)).product_key for name in ("Lamp1", "Lamp2")]
    third = (await world.create_product("Lamp3", there)).product_key
    for key, count in ((first, 3), (second, 2), (third, 1)):
        for number in range(count):
            await world.register_device(key, f"lamp-{number}")
    await world.connect(first, "lamp-0")
    (await world.connect(first, "lamp-1")).close(Ending.DISCONNECTED)
    await world.connect(third, "lamp-0")
    await world.create_product(context=world.context(OTHER_ACCOUNT_ID))

    async def counted(context: ActionContext, product_key: str = "") -> tuple[int, int, int]:
        request = QueryDeviceStatisticsRequest(product_key=product_key)
        data = (await query_device_statistics(context, request)).data
        assert isinstance(data, QueryDeviceStatisticsData)
        return data.device_count, data.active_count, data.online_count

    assert await counted(world.context(), first) == (3, 2, 1)
    assert await counted(world.context(), second) == (2, 0, 0)
    assert await counted(world.context()) == (6, 3, 2)
    assert await counted(world.context(instance_id="")) == (5, 2, 1)
    assert await counted(there) == (1, 1, 1)
    assert await counted(there, third) == (1, 1, 1)
    assert await counted(world.context(OTHER_ACCOUNT_ID)) == (0, 0, 0)
    await check_refusal(counted(there, first), codes.NOT_EXISTED_PRODUCT, first)
    await check_refusal(counted(world.context(OTHER_ACCOUNT_ID), first), codes.NOT_EXISTED_PRODUCT, first)


async def test_statistics_of_a_group_are_refused_as_there_are_none(world: World) -> None:
    refused = query_device_statistics(world.context(), QueryDeviceStatisticsRequest(group_id="W16X8Tvdosec"))
    await check_refusal(refused, codes.NOT_EXISTED_GROUP, "GroupId=W16X8Tvdosec")


# ---- DisableThing, EnableThing, DeleteDevice


async def test_disabling_is_written_before_the_connection_is_closed(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    link = await world.connect(key)
    bystander = await world.connect(key, "lamp-02")
    assert await disable_thing(world.context(), lamp(key)) == Answer()
    assert (link.endings, link.was_enabled) == ([Ending.DISABLED], [False])
    assert bystander.endings == []
    assert (await status_of(world, key)).status == "DISABLE"


async def test_a_device_may_be_disabled_and_enabled_again_and_again(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    for act, status in [
        (disable_thing, "DISABLE"),
        (disable_thing, "DISABLE"),
        (enable_thing, "UNACTIVE"),
        (enable_thing, "UNACTIVE"),
    ]:
        assert await act(world.context(), lamp(key)) == Answer()
        assert (await status_of(world, key)).status == status


async def test_an_enabled_device_that_was_active_is_offline(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    await world.connect(key)
    await disable_thing(world.context(), lamp(key))
    await enable_thing(world.context(), lamp(key))
    assert (await status_of(world, key)).status == "OFFLINE"


async def test_enabling_leaves_a_connection_alone(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    link = await world.connect(key)
    await enable_thing(world.context(), lamp(key))
    assert link.endings == []
    assert (await status_of(world, key)).status == "ONLINE"


async def test_deleting_is_written_before_the_connection_is_closed_and_leaves_no_session(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    link = await world.connect(key)
    assert await delete_device(world.context(), lamp(key)) == Answer()
    assert (link.endings, link.was_enabled) == ([Ending.DELETED], [None])
    assert world.sessions.find(DeviceKey(key, "lamp-01")) is None


async def test_a_deleted_device_leaves_nothing_to_a_new_one_of_its_name(world: World) -> None:
    key = (await world.create_product()).product_key
    before = await world.register_device(key)
    (await world.connect(key)).close(Ending.LOST)
    await world.store.flush()
    assert world.sessions.find(DeviceKey(key, "lamp-01")) is not None
    await delete_device(world.context(), lamp(key))
    assert world.sessions.find(DeviceKey(key, "lamp-01")) is None
    void = query_device_info(world.context(), DeviceRequest(iot_id=before.iot_id))
    await check_refusal(void, codes.NOT_EXISTED_DEVICE, before.iot_id)
    await check_refusal(delete_device(world.context(), lamp(key)), codes.NOT_EXISTED_DEVICE, "DeviceName=lamp-01")
    after = await world.register_device(key)
    assert after.iot_id != before.iot_id
    assert after.device_secret != before.device_secret
    assert await status_of(world, key) == GetDeviceStatusData(status="UNACTIVE")


async def test_an_account_cannot_disturb_another_accounts_device(world: World) -> None:
    key = (await world.create_product()).product_key
    iot_id = (await world.register_device(key)).iot_id
    link = await world.connect(key)
    for act in (disable_thing, delete_device):
        for request in (lamp(key), DeviceRequest(iot_id=iot_id)):
            with pytest.raises(ApiError, match="NotExisted"):
                await act(world.context(OTHER_ACCOUNT_ID), request)
    assert link.endings == []
    assert link.origin.account_id == ACCOUNT_ID
    assert (await status_of(world, key)).status == "ONLINE"

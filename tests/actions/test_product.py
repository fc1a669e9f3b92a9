import re
from collections.abc import Awaitable
from typing import Any

import pytest
from msgspec import UNSET

from linkstead.action import Answer
from linkstead.actions.product import (
    PAGE_SIZE_MAX,
    CreateProductAnswer,
    CreateProductRequest,
    ProductRequest,
    QueryProductAnswer,
    QueryProductData,
    QueryProductListData,
    QueryProductListRequest,
    UpdateProductRequest,
    cancel_release_product,
    create_product,
    delete_product,
    query_product,
    query_product_list,
    release_product,
    update_product,
)
from linkstead.errors import ErrorRow, codes
from linkstead.registry import DeviceKey, Product, creation
from linkstead.registry.paging import CURRENT_PAGE_MAX
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio


def create(
    world: World, product_name: str = "DemoLamp", node_type: int = 0, **fields: Any
) -> Awaitable[CreateProductAnswer]:
    request = CreateProductRequest(product_name=product_name, node_type=node_type, **fields)
    return create_product(world.context(), request)


async def show(world: World, product_key: str) -> QueryProductData:
    answer = await query_product(world.context(), ProductRequest(product_key=product_key))
    assert isinstance(answer, QueryProductAnswer)
    assert isinstance(answer.data, QueryProductData)
    return answer.data


async def list_page(
    world: World, current_page: int = 1, page_size: int = 10, *, instance_id: str | None = None, **fields: Any
) -> QueryProductListData:
    request = QueryProductListRequest(current_page=current_page, page_size=page_size, **fields)
    answer = await query_product_list(world.context(instance_id=instance_id), request)
    assert isinstance(answer.data, QueryProductListData)
    return answer.data


def names_of(page: QueryProductListData) -> list[str]:
    return [product.product_name for product in page.products.product_info]


# ---- CreateProduct


async def test_a_product_of_name_and_node_type_alone_gets_the_defaults(world: World) -> None:
    answer = await create(world)
    data = answer.data
    assert data is not UNSET
    assert re.fullmatch(r"a1[A-Za-z0-9]{9}", data.product_key)
    assert answer.product_key == data.product_key
    assert re.fullmatch(r"[A-Za-z0-9]{16}", data.product_secret)
    assert (data.product_name, data.node_type, data.aliyun_commodity_code) == ("DemoLamp", 0, "iothub")
    assert (data.data_format, data.auth_type, data.id2) == (0, "secret", False)
    assert (data.protocol_type, data.description) == (UNSET, UNSET)
    shown = await show(world, data.product_key)
    assert (shown.net_type, shown.validate_type, shown.device_count) == (3, 1, 0)
    assert (shown.category_key, shown.category_name) == (UNSET, UNSET)


async def test_a_product_keeps_all_it_was_given(world: World) -> None:
    answer = await create(
        world,
        node_type=1,
        aliyun_commodity_code="iothub_senior",
        data_format=0,
        net_type="CELLULAR",
        protocol_type="modbus",
        auth_type="x509",
        validate_type=2,
        publish_auto=False,
        category_key="Lighting",
        description="Leuchte im Flur 走廊灯",
        id2=True,
        join_permission_id="7",
        resource_group_id="rg-1",
        category_id=10,
        iot_instance_id="iot-060a02m5",
    )
    data = answer.data
    assert data is not UNSET
    assert (data.node_type, data.aliyun_commodity_code, data.data_format) == (1, "iothub_senior", 0)
    assert (data.auth_type, data.protocol_type, data.id2) == ("x509", "modbus", True)
    assert data.description == "Leuchte im Flur 走廊灯"
    shown = await show(world, data.product_key)
    assert (shown.node_type, shown.aliyun_commodity_code, shown.data_format) == (1, "iothub_senior", 0)
    assert (shown.net_type, shown.auth_type, shown.protocol_type, shown.id2) == (6, "x509", "modbus", True)
    assert (shown.validate_type, shown.category_key) == (2, "Lighting")
    assert (shown.description, shown.product_secret) == (data.description, data.product_secret)
    assert (shown.product_status, shown.owner, shown.gmt_create) == ("DEVELOPMENT_STATUS", True, world.now_ms)


async def test_a_product_with_a_thing_model_speaks_alink_unless_told_otherwise(world: World) -> None:
    answer = await create(world, aliyun_commodity_code="iothub_senior")
    assert answer.data is not UNSET
    assert answer.data.data_format == 1


@pytest.mark.parametrize(
    ("net_type", "number"), [("WIFI", 3), ("CELLULAR", 6), ("ETHERNET", 7), ("LORA", 8), ("OTHER", 8)]
)
async def test_a_net_type_is_kept_as_a_word_and_shown_as_a_number(world: World, net_type: str, number: int) -> None:
    answer = await create(world, net_type=net_type)
    assert isinstance(answer.product_key, str)
    product = await world.registry.find_product(answer.product_key)
    assert product is not None
    assert product.net_type == net_type
    assert (await show(world, answer.product_key)).net_type == number


@pytest.mark.parametrize("switch", [False, True])
async def test_dynamic_registration_of_a_new_product_is_as_the_server_was_told(world: World, switch: bool) -> None:
    created = await world.create_product(context=world.context(dynamic_registration=switch))
    product = await world.registry.find_product(created.product_key)
    assert product is not None
    assert product.dynamic_registration is switch


@pytest.mark.parametrize("instance_id", [None, "iot-cd40w1"])
async def test_a_new_product_is_of_the_callers_account_and_instance(world: World, instance_id: str | None) -> None:
    created = await world.create_product(context=world.context(OTHER_ACCOUNT_ID, instance_id))
    product = await world.registry.find_product(created.product_key)
    assert product is not None
    assert (product.account_id, product.instance_id) == (OTHER_ACCOUNT_ID, instance_id or "")


LONG_NAME, LONG_NAME_CJK = "x" * 30, "灯" * 15


@pytest.mark.parametrize(
    "fields",
    [
        {"product_name": "Lamp"},
        {"product_name": LONG_NAME},
        {"product_name": "走廊"},
        {"product_name": LONG_NAME_CJK},
        {"product_name": "A-b_c@(9)"},
        {"description": "x" * 100},
        {"description": "灯" * 100},
        {"category_key": "x" * creation.CATEGORY_KEY_CHARS_MAX},
        {"validate_type": 0},
    ],
)
async def test_values_at_their_bounds_are_accepted(world: World, fields: dict[str, Any]) -> None:
    answer = await create(world, **fields)
    assert answer.success


@pytest.mark.parametrize(
    ("fields", "row", "said"),
    [
        ({"product_name": ""}, codes.NULL_PRODUCT_NAME, ""),
        ({"product_name": "Lam"}, codes.INVALID_FORMATTED_PRODUCT_NAME, "ProductName=Lam; 4-30 of"),
        ({"product_name": LONG_NAME + "x"}, codes.INVALID_FORMATTED_PRODUCT_NAME, "4-30 of"),
        ({"product_name": LONG_NAME_CJK + "x"}, codes.INVALID_FORMATTED_PRODUCT_NAME, "4-30 of"),
        ({"product_name": "two words"}, codes.INVALID_FORMATTED_PRODUCT_NAME, "ProductName=two words"),
        ({"node_type": 2}, codes.INVALID_NODE_TYPE, "NodeType=2; 0 | 1"),
        ({"node_type": -1}, codes.INVALID_NODE_TYPE, "NodeType=-1; 0 | 1"),
        (
            {"aliyun_commodity_code": "iothub_junior"},
            codes.INVALID_ALIYUN_COMMODITY_CODE,
            "AliyunCommodityCode=iothub_junior; iothub_senior | iothub",
        ),
        ({"data_format": 2}, codes.INVALID_FORMATTED_PARAMETER, "DataFormat=2; 0 | 1"),
        (
            {"net_type": "wifi"},
            codes.INVALID_FORMATTED_PARAMETER,
            "NetType=wifi; WIFI | CELLULAR | ETHERNET | LORA | OTHER",
        ),
        ({"auth_type": "none"}, codes.INVALID_FORMATTED_PARAMETER, "AuthType=none; secret | id2 | x509"),
        (
            {"protocol_type": "mqtt"},
            codes.INVALID_FORMATTED_PARAMETER,
            "ProtocolType=mqtt; modbus | opc-ua | customize | ble | zigbee",
        ),
        ({"validate_type": 3}, codes.INVALID_FORMATTED_PARAMETER, "ValidateType=3; 0 | 1 | 2"),
        ({"category_key": "x" * 65}, codes.INVALID_FORMATTED_CAT_ID, "<= 64"),
        ({"description": "x" * 101}, codes.LONG_PRODUCT_DESC, "Description=101; <= 100"),
    ],
)
async def test_a_value_that_breaks_its_rule_is_refused_by_name(
    world: World, fields: dict[str, Any], row: ErrorRow, said: str
) -> None:
    await check_refusal(create(world, **fields), row, said)
    assert (await list_page(world)).total == 0


async def test_a_name_is_given_once_in_an_account_and_instance(world: World) -> None:
    await world.create_product()
    await check_refusal(create(world), codes.ALREADY_EXISTED_PRODUCT_NAME, "ProductName=DemoLamp")
    await world.create_product(context=world.context(instance_id="iot-cd40w1"))
    await world.create_product(context=world.context(OTHER_ACCOUNT_ID))


async def test_a_product_key_that_is_taken_is_drawn_anew(world: World) -> None:
    taken = (await world.create_product()).product_key
    world.ids.tokens.extend([taken[2:], "s" * 16, taken[2:], taken[2:], taken[2:], "n" * 9])
    assert (await world.create_product("Second")).product_key == "a1nnnnnnnnn"


async def test_product_keys_that_are_all_taken_fail_the_call(world: World) -> None:
    taken = (await world.create_product()).product_key
    world.ids.tokens.extend([taken[2:], "s" * 16] + [taken[2:]] * creation.TRIES_MAX)
    await check_refusal(create(world, product_name="Second"), codes.CREATE_PRODUCT_FAILED)


async def test_an_account_holds_so_many_products_and_no_more(world: World) -> None:
    for number in range(creation.PRODUCTS_PER_ACCOUNT_MAX - 1):
        product = creation.new_product(
            world.ids,
            account_id=ACCOUNT_ID,
            instance_id="",
            product_name=f"Lamp{number}",
            node_type=0,
            created_ms=world.now_ms,
        )
        await world.store.add_product(product)
    await create(world, product_name="Last")
    await check_refusal(create(world, product_name="OneMore"), codes.PRODUCT_COUNT_EXCEED_MAX)
    await world.create_product(context=world.context(OTHER_ACCOUNT_ID))
    assert (await list_page(world)).total == creation.PRODUCTS_PER_ACCOUNT_MAX


# ---- QueryProduct


@pytest.mark.parametrize("act", [query_product, delete_product])
async def test_what_is_not_a_product_of_the_caller_does_not_exist(world: World, act: Any) -> None:
    key = (await world.create_product()).product_key
    there = world.context(instance_id="iot-cd40w1")
    key_there = (await world.create_product(context=there)).product_key
    here = world.context(instance_id="")
    mine, other = world.context(), world.context(OTHER_ACCOUNT_ID)
    await check_refusal(act(mine, ProductRequest(product_key="")), codes.NULL_PRODUCT_KEY)
    await check_refusal(act(mine, ProductRequest(product_key="a1!")), codes.INVALID_FORMATTED_PRODUCT_KEY, "a1!")
    await check_refusal(act(mine, ProductRequest(product_key="a1missing00")), codes.NOT_EXISTED_PRODUCT, "a1missing00")
    await check_refusal(act(other, ProductRequest(product_key=key)), codes.NOT_EXISTED_PRODUCT, key)
    await check_refusal(act(here, ProductRequest(product_key=key_there)), codes.NOT_EXISTED_PRODUCT, key_there)
    await check_refusal(act(there, ProductRequest(product_key=key)), codes.NOT_EXISTED_PRODUCT, key)
    assert (await act(there, ProductRequest(product_key=key_there))).success
    assert (await act(mine, ProductRequest(product_key=key))).success


async def test_a_product_shows_how_many_devices_it_has(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key, "lamp-01")
    await world.register_device(key, "lamp-02")
    assert (await show(world, key)).device_count == 2


# ---- QueryProductList


async def test_products_are_listed_newest_first_in_pages(world: World) -> None:
    for name in ("Lamp1", "Lamp2", "Lamp3"):
        await world.create_product(name)
    first, second, third = [await list_page(world, page, 2) for page in (1, 2, 3)]
    assert [names_of(page) for page in (first, second, third)] == [["Lamp3", "Lamp2"], ["Lamp1"], []]
    assert {(page.total, page.page_count, page.page_size) for page in (first, second, third)} == {(3, 2, 2)}
    assert [page.current_page for page in (first, second, third)] == [1, 2, 3]


async def test_a_listed_product_shows_its_fields(world: World) -> None:
    answer = await create(world, description="demo", node_type=1, data_format=1)
    assert isinstance(answer.product_key, str)
    await world.register_device(answer.product_key)
    await create(world, product_name="Plain")
    plain, demo = (await list_page(world)).products.product_info
    assert plain.description is UNSET
    assert (demo.product_key, demo.product_name, demo.description) == (answer.product_key, "DemoLamp", "demo")
    assert (demo.node_type, demo.data_format, demo.auth_type) == (1, 1, "secret")
    assert (demo.device_count, demo.gmt_create) == (1, world.now_ms)


@pytest.mark.parametrize("page", [(1, 1), (1, PAGE_SIZE_MAX), (CURRENT_PAGE_MAX, PAGE_SIZE_MAX)])
async def test_a_page_at_its_bounds_is_listed(world: World, page: tuple[int, int]) -> None:
    assert (await list_page(world, *page)).total == 0


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ((0, 10), "CurrentPage=0"),
        ((CURRENT_PAGE_MAX + 1, 10), "CurrentPage=2147483648"),
        ((1, 0), "PageSize=0; 1..200"),
        ((1, PAGE_SIZE_MAX + 1), "PageSize=201; 1..200"),
    ],
)
async def test_a_page_past_its_bounds_is_refused(world: World, page: tuple[int, int], said: str) -> None:
    await check_refusal(list_page(world, *page), codes.INVALID_PAGE_PARAMS, said)


async def test_products_are_listed_by_whether_they_have_a_thing_model(world: World) -> None:
    await create(world, product_name="Plain")
    await create(world, product_name="Senior", aliyun_commodity_code="iothub_senior")
    assert names_of(await list_page(world, resource_group_id="rg-1")) == ["Senior", "Plain"]
    assert names_of(await list_page(world, aliyun_commodity_code="iothub")) == ["Plain"]
    assert names_of(await list_page(world, aliyun_commodity_code="iothub_senior")) == ["Senior"]
    refused = list_page(world, aliyun_commodity_code="senior")
    await check_refusal(refused, codes.INVALID_ALIYUN_COMMODITY_CODE, "AliyunCommodityCode=senior")


async def test_only_the_callers_products_are_listed(world: World) -> None:
    await world.create_product("Here")
    await world.create_product("There", world.context(instance_id="iot-cd40w1"))
    await world.create_product("Foreign", world.context(OTHER_ACCOUNT_ID))
    assert names_of(await list_page(world)) == ["There", "Here"]
    assert names_of(await list_page(world, instance_id="")) == ["Here"]
    assert names_of(await list_page(world, instance_id="iot-cd40w1")) == ["There"]


# ---- UpdateProduct


async def test_an_updated_product_has_its_new_name_and_description(world: World) -> None:
    before = await world.create_product()
    key = before.product_key
    request = UpdateProductRequest(product_key=key, product_name="Hall_lamp", description="in the hall")
    assert await update_product(world.context(), request) == Answer()
    shown = await show(world, key)
    assert (shown.product_name, shown.description) == ("Hall_lamp", "in the hall")
    assert shown.product_secret == before.product_secret


async def test_an_update_without_description_leaves_the_old_one(world: World) -> None:
    answer = await create(world, description="demo")
    assert isinstance(answer.product_key, str)
    await update_product(
        world.context(), UpdateProductRequest(product_key=answer.product_key, product_name="Hall_lamp")
    )
    assert (await show(world, answer.product_key)).description == "demo"


async def test_an_update_that_breaks_a_rule_changes_nothing(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.create_product("Taken")

    def update(name: str, description: str = "", account_id: str = ACCOUNT_ID) -> Awaitable[Answer]:
        request = UpdateProductRequest(product_key=key, product_name=name, description=description)
        return update_product(world.context(account_id), request)

    await check_refusal(update(""), codes.NULL_PRODUCT_NAME)
    await check_refusal(update("x" * 31), codes.INVALID_FORMATTED_PRODUCT_NAME, "ProductName=", "4-30")
    await check_refusal(update("Fine", "x" * 101), codes.LONG_PRODUCT_DESC, "<= 100")
    await check_refusal(update("Taken"), codes.ALREADY_EXISTED_PRODUCT_NAME, "ProductName=Taken")
    await check_refusal(update("Mine", account_id=OTHER_ACCOUNT_ID), codes.NOT_EXISTED_PRODUCT, key)
    shown = await show(world, key)
    assert (shown.product_name, shown.description) == ("DemoLamp", UNSET)


async def test_a_product_that_another_process_deleted_cannot_be_updated_or_deleted(world: World) -> None:
    key = (await world.create_product()).product_key
    await show(world, key)
    await world.store.delete_product(key)
    request = UpdateProductRequest(product_key=key, product_name="Hall_lamp")
    await check_refusal(update_product(world.context(), request), codes.NOT_EXISTED_PRODUCT, key)
    again = await world.create_product()
    await show(world, again.product_key)
    await world.store.delete_product(again.product_key)
    gone = delete_product(world.context(), ProductRequest(product_key=again.product_key))
    await check_refusal(gone, codes.NOT_EXISTED_PRODUCT, again.product_key)


# ---- DeleteProduct


async def test_a_deleted_product_is_gone_and_its_name_is_free(world: World) -> None:
    key = (await world.create_product()).product_key
    assert await delete_product(world.context(), ProductRequest(product_key=key)) == Answer()
    await check_refusal(show(world, key), codes.NOT_EXISTED_PRODUCT)
    await world.create_product()


async def test_a_product_with_devices_is_not_deleted(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key)
    refused = delete_product(world.context(), ProductRequest(product_key=key))
    await check_refusal(refused, codes.ILLEGAL_REQUEST, f"ProductKey={key}; DeviceCount=1; DeviceCount == 0")
    assert isinstance(await world.registry.find_product(key), Product)
    assert await world.registry.find_device(DeviceKey(key, "lamp-01")) is not None


# ---- ReleaseProduct and CancelReleaseProduct


async def test_a_product_is_released_and_taken_back(world: World) -> None:
    key = (await world.create_product()).product_key
    assert (await show(world, key)).product_status == "DEVELOPMENT_STATUS"
    for _ in range(2):
        assert (await release_product(world.context(), ProductRequest(product_key=key))).success
        assert (await show(world, key)).product_status == "RELEASE_STATUS"
    await update_product(world.context(), UpdateProductRequest(product_key=key, product_name="NewName"))
    assert (await show(world, key)).product_status == "RELEASE_STATUS"
    for _ in range(2):
        assert (await cancel_release_product(world.context(), ProductRequest(product_key=key))).success
        assert (await show(world, key)).product_status == "DEVELOPMENT_STATUS"


async def test_a_foreign_product_is_not_released(world: World) -> None:
    key = (await world.create_product()).product_key
    for action in (release_product, cancel_release_product):
        work = action(world.context(OTHER_ACCOUNT_ID), ProductRequest(product_key=key))
        await check_refusal(work, codes.NOT_EXISTED_PRODUCT)
    assert (await show(world, key)).product_status == "DEVELOPMENT_STATUS"

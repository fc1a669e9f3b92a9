from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.product_tag import (
    PAGE_SIZE_MAX,
    RESERVED_KEY,
    TAGS_MAX,
    TAGS_OF_A_REQUEST_MAX,
    DeleteProductTagsRequest,
    ListProductByTagsRequest,
    ListProductTagsRequest,
    ProductTag,
    ProductTagsAnswer,
    ProductTagsRequest,
    create_product_tags,
    delete_product_tags,
    list_product_by_tags,
    list_product_tags,
    update_product_tags,
)
from linkstead.errors import ErrorRow, codes
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio

INVALID = codes.INVALID_FORMATTED_PARAMETER


async def add_product(world: World, name: str = "DemoLamp") -> str:
    return (await world.create_product(name)).product_key


def tags_of(*tags: tuple[str, str]) -> list[ProductTag]:
    return [ProductTag(tag_key=name, tag_value=value) for name, value in tags]


async def create(world: World, product_key: str, *tags: tuple[str, str]) -> ProductTagsAnswer:
    request = ProductTagsRequest(product_key=product_key, product_tag=tags_of(*tags))
    return await create_product_tags(world.context(), request)


async def update(world: World, product_key: str, *tags: tuple[str, str]) -> ProductTagsAnswer:
    request = ProductTagsRequest(product_key=product_key, product_tag=tags_of(*tags))
    return await update_product_tags(world.context(), request)


async def show(world: World, product_key: str) -> dict[str, str]:
    answer = await list_product_tags(world.context(), ListProductTagsRequest(product_key=product_key))
    assert answer.data is not UNSET
    return {tag.tag_key: tag.tag_value for tag in answer.data.product_tag}


async def find(world: World, *tags: tuple[str, str], instance_id: str | None = None, **page: Any) -> list[str]:
    request = ListProductByTagsRequest(product_tag=tags_of(*tags), **page)
    answer = await list_product_by_tags(world.context(instance_id=instance_id), request)
    assert answer.product_infos is not UNSET
    return [info.product_name for info in answer.product_infos.product_info]


def invalid_keys(answer: ProductTagsAnswer) -> list[str]:
    assert (answer.success, answer.code) == (False, INVALID.code)
    assert answer.error_message
    assert answer.invalid_product_tags is not UNSET
    return [tag.tag_key for tag in answer.invalid_product_tags.product_tag]


async def test_tags_are_made_changed_and_deleted(world: World) -> None:
    key = await add_product(world)
    assert await show(world, key) == {}
    assert (await create(world, key, ("room", "kitchen"), ("maker.name", "灯_1-2"))) == ProductTagsAnswer()
    assert await show(world, key) == {"maker.name": "灯_1-2", "room": "kitchen"}
    assert (await update(world, key, ("room", "hall"))) == ProductTagsAnswer()
    request = DeleteProductTagsRequest(product_key=key, product_tag_key=["maker.name", "unknown"])
    assert (await delete_product_tags(world.context(), request)).success
    assert await show(world, key) == {"room": "hall"}


@pytest.mark.parametrize(
    ("tag", "is_valid"),
    [
        (("a" * 30, "v"), True),
        (("a" * 31, "v"), False),
        (("", "v"), False),
        (("a-b", "v"), False),
        (("灯", "v"), False),
        ((RESERVED_KEY, "v"), False),
        (("a", ""), False),
        (("a", "v" * 128), True),
        (("a", "v" * 129), False),
        (("a", "灯" * 64), True),
        (("a", "灯" * 64 + "v"), False),
        (("a", "x y"), False),
    ],
)
async def test_a_tag_that_breaks_a_rule_is_told_and_nothing_is_written(
    world: World, tag: tuple[str, str], is_valid: bool
) -> None:
    key = await add_product(world)
    answer = await create(world, key, ("room", "kitchen"), tag)
    if is_valid:
        assert answer.success
    else:
        assert invalid_keys(answer) == [tag[0]]
        assert await show(world, key) == {}
        assert invalid_keys(await update(world, key, tag)) == [tag[0]]


async def test_a_key_that_is_there_or_stands_twice_is_told(world: World) -> None:
    key = await add_product(world)
    await create(world, key, ("room", "kitchen"))
    assert invalid_keys(await create(world, key, ("room", "hall"), ("floor", "1"))) == ["room"]
    assert invalid_keys(await create(world, key, ("a", "1"), ("a", "2"), ("b", "1"))) == ["a", "a"]
    assert await show(world, key) == {"room": "kitchen"}


async def test_a_key_that_is_not_there_is_not_updated(world: World) -> None:
    key = await add_product(world)
    await create(world, key, ("room", "kitchen"))
    assert invalid_keys(await update(world, key, ("room", "hall"), ("floor", "1"))) == ["floor"]
    assert await show(world, key) == {"room": "kitchen"}


async def test_a_request_has_so_many_tags_and_a_product_so_many(world: World) -> None:
    key = await add_product(world)
    names = [f"t{number}" for number in range(TAGS_MAX)]
    for start in range(0, TAGS_MAX, TAGS_OF_A_REQUEST_MAX):
        part = names[start : start + TAGS_OF_A_REQUEST_MAX]
        assert (await create(world, key, *((name, "v") for name in part))).success
    await check_refusal(create(world, key, ("more", "v")), INVALID, str(TAGS_MAX))
    assert len(await show(world, key)) == TAGS_MAX
    too_many = [(name, "v") for name in names[: TAGS_OF_A_REQUEST_MAX + 1]]
    await check_refusal(create(world, key, *too_many), INVALID, "ProductTag", "11")
    await check_refusal(update(world, key, *too_many), INVALID, "ProductTag")
    request = DeleteProductTagsRequest(product_key=key, product_tag_key=[name for name, _ in too_many])
    await check_refusal(delete_product_tags(world.context(), request), INVALID, "ProductTagKey")
    await check_refusal(find(world, *too_many), INVALID, "ProductTag")


async def test_a_malformed_key_deletes_nothing(world: World) -> None:
    key = await add_product(world)
    await create(world, key, ("room", "kitchen"))
    request = DeleteProductTagsRequest(product_key=key, product_tag_key=["room", "a b"])
    await check_refusal(delete_product_tags(world.context(), request), INVALID, "a b")
    assert await show(world, key) == {"room": "kitchen"}


async def test_products_are_found_by_one_of_the_tags_newest_first(world: World) -> None:
    for name, room in (("Lamp1", "kitchen"), ("Lamp2", "hall"), ("Lamp3", "cellar")):
        await create(world, await add_product(world, name), ("room", room), ("floor", "1"))
    await add_product(world, "Bare")
    assert await find(world, ("room", "kitchen")) == ["Lamp1"]
    assert await find(world, ("room", "kitchen"), ("room", "cellar")) == ["Lamp3", "Lamp1"]
    assert await find(world, ("floor", "")) == ["Lamp3", "Lamp2", "Lamp1"]
    assert await find(world, ("floor", "2")) == []
    assert await find(world, ("floor", ""), page_size=2) == ["Lamp3", "Lamp2"]
    assert await find(world, ("floor", ""), page_size=2, current_page=2) == ["Lamp1"]
    assert await find(world, ("floor", ""), instance_id="iot-060a0001") == []


@pytest.mark.parametrize("page", [{"page_size": 0}, {"page_size": PAGE_SIZE_MAX + 1}, {"current_page": 0}])
async def test_a_page_out_of_range_is_refused(world: World, page: dict[str, Any]) -> None:
    assert await find(world, ("room", ""), page_size=PAGE_SIZE_MAX) == []
    await check_refusal(find(world, ("room", ""), **page), codes.INVALID_PAGE_PARAMS)


@pytest.mark.parametrize("tag", [("", "v"), ("a b", ""), ("room", "a b")])
async def test_a_malformed_tag_finds_nothing(world: World, tag: tuple[str, str]) -> None:
    await check_refusal(find(world, tag), INVALID)


@pytest.mark.parametrize(("product_key", "row"), [("", codes.NULL_PRODUCT_KEY), ("a1x", codes.NOT_EXISTED_PRODUCT)])
async def test_a_product_that_is_not_there_has_no_tags(world: World, product_key: str, row: ErrorRow) -> None:
    await check_refusal(create(world, product_key, ("room", "kitchen")), row)
    await check_refusal(update(world, product_key, ("room", "kitchen")), row)
    await check_refusal(show(world, product_key), row)


async def test_a_foreign_product_is_as_if_it_were_not_there(world: World) -> None:
    key = await add_product(world)
    await create(world, key, ("room", "kitchen"))
    stranger = world.context(OTHER_ACCOUNT_ID)
    tags = ProductTagsRequest(product_key=key, product_tag=tags_of(("room", "hall")))
    for work in (
        create_product_tags(stranger, tags),
        update_product_tags(stranger, tags),
        delete_product_tags(stranger, DeleteProductTagsRequest(product_key=key, product_tag_key=["room"])),
        list_product_tags(stranger, ListProductTagsRequest(product_key=key)),
    ):
        await check_refusal(work, codes.NOT_EXISTED_PRODUCT)
    found = await list_product_by_tags(stranger, ListProductByTagsRequest(product_tag=tags_of(("room", ""))))
    assert found.product_infos is not UNSET
    assert found.product_infos.product_info == []
    assert await show(world, key) == {"room": "kitchen"}

from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.product_topic import (
    TOPIC_ID_MAX,
    CreateProductTopicRequest,
    DeleteProductTopicRequest,
    ProductTopicInfo,
    QueryProductTopicRequest,
    UpdateProductTopicRequest,
    create_product_topic,
    delete_product_topic,
    query_product_topic,
    update_product_topic,
)
from linkstead.errors import ErrorRow, codes
from linkstead.registry.topic_classes import DESCRIPTION_CHARS_MAX, TOPIC_CLASSES_MAX
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal, refusal

pytestmark = pytest.mark.asyncio


async def add_product(world: World) -> str:
    return (await world.create_product()).product_key


async def create(world: World, product_key: str, short_name: str = "submit", **fields: Any) -> str:
    given = {"operation": "ALL", **fields}
    request = CreateProductTopicRequest(product_key=product_key, topic_short_name=short_name, **given)
    answer = await create_product_topic(world.context(), request)
    assert isinstance(answer.topic_id, int)
    return str(answer.topic_id)


async def show(world: World, product_key: str) -> list[ProductTopicInfo]:
    answer = await query_product_topic(world.context(), QueryProductTopicRequest(product_key=product_key))
    assert answer.data is not UNSET
    return answer.data.product_topic_info


async def test_a_new_product_has_three_classes(world: World) -> None:
    product_key = await add_product(world)
    assert [(topic.topic_short_name, topic.operation) for topic in await show(world, product_key)] == [
        (f"/{product_key}/${{deviceName}}/user/update", "0"),
        (f"/{product_key}/${{deviceName}}/user/update/error", "0"),
        (f"/{product_key}/${{deviceName}}/user/get", "1"),
    ]


async def test_a_class_is_made_and_shown(world: World) -> None:
    product_key = await add_product(world)
    topic_id = await create(world, product_key, "submit/now", operation="ALL", desc="提交")
    assert (await show(world, product_key))[-1] == ProductTopicInfo(
        id=topic_id,
        product_key=product_key,
        topic_short_name=f"/{product_key}/${{deviceName}}/user/submit/now",
        operation="2",
        desc="提交",
    )


async def test_a_class_is_changed_and_keeps_its_description(world: World) -> None:
    product_key = await add_product(world)
    topic_id = await create(world, product_key, desc="one")
    request = UpdateProductTopicRequest(topic_id=topic_id, topic_short_name="send/+", operation="SUB")
    assert (await update_product_topic(world.context(), request)).success
    last = (await show(world, product_key))[-1]
    assert (last.id, last.operation, last.desc) == (topic_id, "1", "one")
    assert last.topic_short_name.endswith("/user/send/+")
    await update_product_topic(
        world.context(), UpdateProductTopicRequest(topic_id=topic_id, topic_short_name="x", operation="PUB", desc="")
    )
    assert (await show(world, product_key))[-1].desc is UNSET


async def test_a_class_is_deleted(world: World) -> None:
    product_key = await add_product(world)
    topic_id = await create(world, product_key)
    await delete_product_topic(world.context(), DeleteProductTopicRequest(topic_id=topic_id))
    assert topic_id not in [topic.id for topic in await show(world, product_key)]
    await check_refusal(
        delete_product_topic(world.context(), DeleteProductTopicRequest(topic_id=topic_id)),
        codes.TOPIC_TEMPLATE_IS_NOT_FOUND,
        topic_id,
    )


@pytest.mark.parametrize(
    ("fields", "row", "said"),
    [
        ({"operation": ""}, codes.NULL_TOPIC_TEMPLATE_OPERATION, ""),
        ({"operation": "sub"}, codes.INVALID_TOPIC_TEMPLATE_OPERATION, "sub"),
        ({"short_name": ""}, codes.NULL_TOPIC_NAME, ""),
        ({"short_name": "a-b"}, codes.INVALID_FORMATTED_TOPIC_NAME, "a-b"),
        ({"short_name": "+"}, codes.INVALID_FORMATTED_TOPIC_NAME, "+"),
        ({"short_name": "a" * 128}, codes.INVALID_FORMATTED_TOPIC_NAME, "128"),
        ({"short_name": "update", "operation": "SUB"}, codes.TOPIC_ALREADY_FOUND, "update"),
    ],
)
async def test_a_class_that_breaks_a_rule_is_refused(
    world: World, fields: dict[str, str], row: ErrorRow, said: str
) -> None:
    product_key = await add_product(world)
    await check_refusal(create(world, product_key, **fields), row, said)
    assert len(await show(world, product_key)) == 3


async def test_a_description_may_be_so_long_and_no_longer(world: World) -> None:
    product_key = await add_product(world)
    await create(world, product_key, desc="灯" * DESCRIPTION_CHARS_MAX)
    error = await refusal(create(world, product_key, "other", desc="灯" * (DESCRIPTION_CHARS_MAX + 1)))
    assert "Desc" in error.message("en")


async def test_a_product_has_so_many_classes_and_no_more(world: World) -> None:
    product_key = await add_product(world)
    for number in range(TOPIC_CLASSES_MAX - 3):
        await create(world, product_key, f"t{number}")
    await check_refusal(create(world, product_key, "one_more"), codes.TOPIC_TEMPLATE_COUNT_EXCEED_MAX)


@pytest.mark.parametrize(
    ("topic_id", "row"),
    [
        ("", codes.NULL_TOPIC_TEMPLATE_ID),
        ("x", codes.INVALID_FORMATTED_TOPIC_TEMPLATE_ID),
        ("-1", codes.INVALID_FORMATTED_TOPIC_TEMPLATE_ID),
        ("１", codes.INVALID_FORMATTED_TOPIC_TEMPLATE_ID),
        (str(TOPIC_ID_MAX), codes.TOPIC_TEMPLATE_IS_NOT_FOUND),
        (str(TOPIC_ID_MAX + 1), codes.INVALID_FORMATTED_TOPIC_TEMPLATE_ID),
    ],
)
async def test_an_id_that_names_no_class_is_refused(world: World, topic_id: str, row: ErrorRow) -> None:
    update = UpdateProductTopicRequest(topic_id=topic_id, topic_short_name="x", operation="PUB")
    await check_refusal(update_product_topic(world.context(), update), row)
    await check_refusal(delete_product_topic(world.context(), DeleteProductTopicRequest(topic_id=topic_id)), row)


async def test_a_class_of_somebody_else_is_not_there(world: World) -> None:
    product_key = await add_product(world)
    topic_id = await create(world, product_key)
    context = world.context(OTHER_ACCOUNT_ID)
    update = UpdateProductTopicRequest(topic_id=topic_id, topic_short_name="x", operation="PUB")
    await check_refusal(update_product_topic(context, update), codes.TOPIC_TEMPLATE_IS_NOT_FOUND)
    await check_refusal(
        delete_product_topic(context, DeleteProductTopicRequest(topic_id=topic_id)), codes.TOPIC_TEMPLATE_IS_NOT_FOUND
    )
    await check_refusal(
        query_product_topic(context, QueryProductTopicRequest(product_key=product_key)), codes.NOT_EXISTED_PRODUCT
    )
    assert len(await show(world, product_key)) == 4

import base64

import pytest

from linkstead.actions.product import CreateProductData, CreateProductRequest, create_product
from linkstead.actions.thing_script import (
    GetThingScriptRequest,
    ThingScriptRequest,
    create_thing_script,
    get_thing_script,
    update_thing_script,
)
from linkstead.errors import codes
from linkstead.models import SCRIPT_BYTES_MAX
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio

SCRIPT = "function rawDataToProtocol(bytes) { return {n: '数'}; }"


async def add_product(world: World, data_format: int = 0, name: str = "Probe") -> str:
    request = CreateProductRequest(
        product_name=name, node_type=0, aliyun_commodity_code="iothub_senior", data_format=data_format
    )
    data = (await create_product(world.context(), request)).data
    assert isinstance(data, CreateProductData)
    return data.product_key


def script(product_key: str, content: str = SCRIPT, script_type: str = "JavaScript") -> ThingScriptRequest:
    return ThingScriptRequest(product_key=product_key, script_content=content, script_type=script_type)


async def shown(world: World, product_key: str) -> tuple[str, str]:
    """The script and its language."""
    answer = await get_thing_script(world.context(), GetThingScriptRequest(product_key=product_key))
    assert answer.data
    head, _, content = answer.data.script_url.partition(",")
    assert head == "data:text/javascript;charset=utf-8;base64"
    return base64.b64decode(content).decode(), answer.data.script_type


async def test_a_script_is_created_shown_and_updated(world: World) -> None:
    product_key = await add_product(world)
    await create_thing_script(world.context(), script(product_key))
    assert await shown(world, product_key) == (SCRIPT, "JavaScript")
    await update_thing_script(world.context(), script(product_key, "// other", "javascript"))
    assert await shown(world, product_key) == ("// other", "JavaScript")


async def test_a_product_has_one_script(world: World) -> None:
    product_key = await add_product(world)
    await create_thing_script(world.context(), script(product_key))
    await check_refusal(
        create_thing_script(world.context(), script(product_key, "// other")), codes.THING_SCRIPT_EXISTED, product_key
    )
    assert await shown(world, product_key) == (SCRIPT, "JavaScript")


async def test_without_a_script_nothing_is_shown_or_updated(world: World) -> None:
    product_key = await add_product(world)
    request = GetThingScriptRequest(product_key=product_key)
    await check_refusal(get_thing_script(world.context(), request), codes.ILLEGAL_REQUEST, product_key)
    await check_refusal(update_thing_script(world.context(), script(product_key)), codes.ILLEGAL_REQUEST, product_key)


@pytest.mark.parametrize("script_type", ["python_27", "Python_27", "php_72", "PHP_72", "", "TypeScript"])
async def test_another_language_is_refused(world: World, script_type: str) -> None:
    product_key = await add_product(world)
    request = script(product_key, script_type=script_type)
    for action in (create_thing_script, update_thing_script):
        await check_refusal(action(world.context(), request), codes.INVALID_SCRIPT_TYPE, "JavaScript")


async def test_a_script_has_128_kb_at_most(world: World) -> None:
    product_key = await add_product(world)
    largest = "ä" * (SCRIPT_BYTES_MAX // 2)
    await create_thing_script(world.context(), script(product_key, largest))
    assert await shown(world, product_key) == (largest, "JavaScript")
    await check_refusal(
        update_thing_script(world.context(), script(product_key, largest + " ")),
        codes.INVALID_FORMATTED_PARAMETER,
        f"ScriptContent={SCRIPT_BYTES_MAX + 1}",
        f"<= {SCRIPT_BYTES_MAX} B",
    )


async def test_a_script_for_devices_that_speak_alink_has_to_transform_payloads(world: World) -> None:
    product_key = await add_product(world, data_format=1)
    refused = create_thing_script(world.context(), script(product_key))
    await check_refusal(refused, codes.THING_SCRIPT_DATA_FORMAT_ERROR, "transformPayload")
    await create_thing_script(world.context(), script(product_key, "function transformPayload(topic, bytes) {}"))


async def test_a_product_of_another_account_is_not_there(world: World) -> None:
    product_key = await add_product(world)
    other = world.context(OTHER_ACCOUNT_ID)
    await check_refusal(create_thing_script(other, script(product_key)), codes.NOT_EXISTED_PRODUCT)
    await check_refusal(update_thing_script(other, script(product_key)), codes.NOT_EXISTED_PRODUCT)
    request = GetThingScriptRequest(product_key=product_key)
    await check_refusal(get_thing_script(other, request), codes.NOT_EXISTED_PRODUCT)

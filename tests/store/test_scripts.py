"""Scripts of products, on every engine."""

from dataclasses import replace

import pytest

from linkstead.models import Script
from linkstead.registry import AlreadyExists, ProductGone
from linkstead.store.sql import SqlStore
from tests.store.samples import NOW_MS, PRODUCT_KEY, a_product, an_account

pytestmark = pytest.mark.asyncio

SCRIPT = Script(PRODUCT_KEY, "JavaScript", "// 数", NOW_MS)


async def add_product(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product(PRODUCT_KEY))


async def test_a_script_is_kept_and_replaced(store: SqlStore) -> None:
    await add_product(store)
    assert await store.find_thing_script(PRODUCT_KEY) is None
    await store.add_thing_script(SCRIPT)
    assert await store.find_thing_script(PRODUCT_KEY) == SCRIPT
    changed = replace(SCRIPT, script="", modified_ms=NOW_MS + 1)
    assert await store.update_thing_script(changed)
    assert await store.find_thing_script(PRODUCT_KEY) == changed


async def test_a_product_has_one_script(store: SqlStore) -> None:
    await add_product(store)
    await store.add_thing_script(SCRIPT)
    with pytest.raises(AlreadyExists) as caught:
        await store.add_thing_script(replace(SCRIPT, script="other"))
    assert caught.value.args == ("product_key",)
    assert await store.find_thing_script(PRODUCT_KEY) == SCRIPT


async def test_a_script_needs_its_product(store: SqlStore) -> None:
    with pytest.raises(ProductGone):
        await store.add_thing_script(SCRIPT)
    assert not await store.update_thing_script(SCRIPT)


async def test_each_change_raises_the_version(store: SqlStore) -> None:
    await add_product(store)
    version = await store.registry_version()
    assert not await store.update_thing_script(SCRIPT)
    assert await store.registry_version() == version
    await store.add_thing_script(SCRIPT)
    assert await store.registry_version() == version + 1
    assert await store.update_thing_script(SCRIPT)
    assert await store.registry_version() == version + 2


async def test_a_deleted_product_takes_its_script_with_it(store: SqlStore) -> None:
    await add_product(store)
    await store.add_thing_script(SCRIPT)
    assert await store.delete_product(PRODUCT_KEY)
    await store.add_product(a_product(PRODUCT_KEY))
    assert await store.find_thing_script(PRODUCT_KEY) is None

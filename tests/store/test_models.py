"""Thing models: drafts and published versions, on every engine."""

from dataclasses import replace

import pytest

from linkstead.models import VERSIONS_KEPT_MAX
from linkstead.registry import AlreadyExists, ProductGone
from linkstead.store.sql import SqlStore
from tests.store.samples import NOW_MS, PRODUCT_KEY, a_model_version, a_product, add_lamps, an_account

pytestmark = pytest.mark.asyncio

OTHER_PRODUCT_KEY = "a1Fan000001"


async def add_products(store: SqlStore) -> None:
    await store.add_account(an_account())
    for product_key in (PRODUCT_KEY, OTHER_PRODUCT_KEY):
        await store.add_product(a_product(product_key))


async def test_a_draft_takes_the_place_of_the_one_before(store: SqlStore) -> None:
    await add_products(store)
    assert await store.find_thing_model_draft(PRODUCT_KEY) is None
    for document in ("{}", '{"name":"灯"}'):
        await store.save_thing_model_draft(PRODUCT_KEY, document)
        assert await store.find_thing_model_draft(PRODUCT_KEY) == document
    assert await store.find_thing_model_draft(OTHER_PRODUCT_KEY) is None


async def test_what_was_published_last_is_the_latest(store: SqlStore) -> None:
    await add_products(store)
    assert await store.find_thing_model_version(PRODUCT_KEY, None) is None
    first, second = a_model_version("2.0"), a_model_version("1.0", document="{}", created_ms=NOW_MS - 1)
    await store.publish_thing_model(first, VERSIONS_KEPT_MAX)
    await store.publish_thing_model(second, VERSIONS_KEPT_MAX)
    await store.publish_thing_model(a_model_version("3.0", product_key=OTHER_PRODUCT_KEY), VERSIONS_KEPT_MAX)
    assert await store.find_thing_model_version(PRODUCT_KEY, None) == second
    assert await store.find_thing_model_version(PRODUCT_KEY, "2.0") == first
    assert await store.find_thing_model_version(PRODUCT_KEY, "3.0") is None


async def test_versions_are_listed_newest_first_without_documents(store: SqlStore) -> None:
    await add_products(store)
    versions = [a_model_version(label) for label in ("1.0", "0.9", "2.0")]
    for version in versions:
        await store.publish_thing_model(version, VERSIONS_KEPT_MAX)
    expected = [replace(version, document="") for version in reversed(versions)]
    assert await store.list_thing_model_versions(PRODUCT_KEY) == expected
    assert await store.list_thing_model_versions(OTHER_PRODUCT_KEY) == []


async def test_a_label_is_given_once_a_product(store: SqlStore) -> None:
    await add_products(store)
    await store.publish_thing_model(a_model_version(), VERSIONS_KEPT_MAX)
    version = await store.registry_version()
    with pytest.raises(AlreadyExists) as caught:
        await store.publish_thing_model(a_model_version(document="other"), VERSIONS_KEPT_MAX)
    assert caught.value.args == ("version",)
    assert await store.find_thing_model_version(PRODUCT_KEY, None) == a_model_version()
    assert await store.registry_version() == version
    await store.publish_thing_model(a_model_version(product_key=OTHER_PRODUCT_KEY), VERSIONS_KEPT_MAX)


async def test_the_oldest_versions_beyond_the_number_kept_are_deleted(store: SqlStore) -> None:
    await add_products(store)
    await store.publish_thing_model(a_model_version(product_key=OTHER_PRODUCT_KEY), 3)
    for number in range(1, 4):
        await store.publish_thing_model(a_model_version(str(number)), 3)
    assert [version.version for version in await store.list_thing_model_versions(PRODUCT_KEY)] == ["3", "2", "1"]
    await store.publish_thing_model(a_model_version("4"), 3)
    assert [version.version for version in await store.list_thing_model_versions(PRODUCT_KEY)] == ["4", "3", "2"]
    await store.publish_thing_model(a_model_version("1"), 3)
    assert await store.find_thing_model_version(PRODUCT_KEY, None) == a_model_version("1")
    assert len(await store.list_thing_model_versions(OTHER_PRODUCT_KEY)) == 1


async def test_a_model_needs_its_product(store: SqlStore) -> None:
    version = await store.registry_version()
    with pytest.raises(ProductGone):
        await store.save_thing_model_draft(PRODUCT_KEY, "{}")
    with pytest.raises(ProductGone):
        await store.publish_thing_model(a_model_version(), VERSIONS_KEPT_MAX)
    assert await store.find_thing_model_draft(PRODUCT_KEY) is None
    assert await store.list_thing_model_versions(PRODUCT_KEY) == []
    assert await store.registry_version() == version


async def test_publishing_raises_the_version_and_drafting_does_not(store: SqlStore) -> None:
    await add_products(store)
    version = await store.registry_version()
    await store.save_thing_model_draft(PRODUCT_KEY, "{}")
    assert await store.registry_version() == version
    await store.publish_thing_model(a_model_version(), VERSIONS_KEPT_MAX)
    assert await store.registry_version() == version + 1


async def test_a_deleted_product_takes_its_models_with_it(store: SqlStore) -> None:
    await add_products(store)
    for product_key in (PRODUCT_KEY, OTHER_PRODUCT_KEY):
        await store.save_thing_model_draft(product_key, "{}")
        await store.publish_thing_model(a_model_version(product_key=product_key), VERSIONS_KEPT_MAX)
    assert await store.delete_product(PRODUCT_KEY)
    await store.add_product(a_product())
    assert await store.find_thing_model_draft(PRODUCT_KEY) is None
    assert await store.list_thing_model_versions(PRODUCT_KEY) == []
    assert await store.find_thing_model_draft(OTHER_PRODUCT_KEY) == "{}"
    assert len(await store.list_thing_model_versions(OTHER_PRODUCT_KEY)) == 1


async def test_a_product_that_stays_keeps_its_models(store: SqlStore) -> None:
    await add_lamps(store)
    await store.save_thing_model_draft(PRODUCT_KEY, "{}")
    assert not await store.delete_product(PRODUCT_KEY)
    assert await store.find_thing_model_draft(PRODUCT_KEY) == "{}"

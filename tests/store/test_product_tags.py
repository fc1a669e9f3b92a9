import pytest

from linkstead.registry import ProductGone, ProductReleased, ProductTagFilter
from linkstead.store.sql import SqlStore
from tests.store.samples import ACCOUNT_ID, NOW_MS, a_model_version, a_product, an_account

pytestmark = pytest.mark.asyncio

PK, OTHER_PK = "a1Lnk5tEad0", "a1Lnk5tEad1"


async def fill(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product(PK))
    await store.add_product(a_product(OTHER_PK, product_name="Other", instance_id="iot-1"))


async def test_tags_are_of_one_product_and_go_with_it(store: SqlStore) -> None:
    await fill(store)
    assert await store.add_product_tags(PK, {"room": "kitchen", "floor": "1"}, 2) == []
    assert await store.add_product_tags(OTHER_PK, {"room": "hall"}, 2) == []
    assert await store.list_product_tags(PK) == {"floor": "1", "room": "kitchen"}
    assert await store.update_product_tags(PK, {"room": "cellar"}) == []
    await store.delete_product_tags(PK, ["floor", "unknown"])
    assert await store.list_product_tags(PK) == {"room": "cellar"}
    assert await store.delete_product(PK)
    assert await store.list_product_tags(PK) == {}
    assert await store.list_product_tags(OTHER_PK) == {"room": "hall"}


async def test_tags_are_written_all_or_none(store: SqlStore) -> None:
    await fill(store)
    await store.add_product_tags(PK, {"room": "kitchen"}, 2)
    assert await store.add_product_tags(PK, {"floor": "1", "room": "hall"}, 9) == ["room"]
    assert await store.add_product_tags(PK, {"floor": "1", "house": "2"}, 2) is None
    assert await store.update_product_tags(PK, {"room": "hall", "floor": "1"}) == ["floor"]
    assert await store.list_product_tags(PK) == {"room": "kitchen"}
    assert await store.add_product_tags(PK, {"floor": "1"}, 2) == []


async def test_tags_need_their_product(store: SqlStore) -> None:
    await fill(store)
    with pytest.raises(ProductGone):
        await store.add_product_tags("a1Gone00000", {"room": "hall"}, 2)


async def test_products_are_listed_by_tags(store: SqlStore) -> None:
    await fill(store)
    for product_key in (PK, OTHER_PK):
        await store.add_product_tags(product_key, {"room": product_key}, 2)

    async def find(*tags: ProductTagFilter, instance_id: str | None = None, offset: int = 0) -> list[str]:
        products = await store.list_products_by_tags(ACCOUNT_ID, instance_id, tags, offset, 10)
        return [product.product_key for product in products]

    anything = ProductTagFilter("room", None)
    assert await find(anything) == [OTHER_PK, PK]
    assert await find(anything, offset=1) == [PK]
    assert await find(anything, instance_id="") == [PK]
    assert await find(ProductTagFilter("room", PK), ProductTagFilter("room", "x")) == [PK]
    assert await find() == []


async def test_the_model_of_a_released_product_is_not_written(store: SqlStore) -> None:
    await fill(store)
    await store.save_thing_model_draft(PK, "{}")
    version = await store.registry_version()
    assert await store.set_product_released(PK, True)
    assert await store.registry_version() > version
    with pytest.raises(ProductReleased):
        await store.save_thing_model_draft(PK, "[]")
    with pytest.raises(ProductReleased):
        await store.publish_thing_model(a_model_version(product_key=PK), 10)
    assert (await store.find_thing_model_draft(PK), await store.list_thing_model_versions(PK)) == ("{}", [])
    await store.save_thing_model_draft(OTHER_PK, "[]")
    assert await store.set_product_released(PK, False)
    await store.save_thing_model_draft(PK, "[]")
    assert not await store.set_product_released("a1Gone00000", True)


async def test_a_change_of_a_product_leaves_its_release_alone(store: SqlStore) -> None:
    await fill(store)
    await store.set_product_released(PK, True)
    assert await store.update_product(a_product(PK, product_name="Another", created_ms=NOW_MS))
    found = await store.find_product(PK)
    assert found is not None
    assert (found.product_name, found.released) == ("Another", True)

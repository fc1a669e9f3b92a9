"""Consumer groups and subscriptions, on every engine."""

from dataclasses import replace

import pytest

from linkstead.registry import AlreadyExists, ProductGone
from linkstead.store.sql import SqlStore
from linkstead.subscription import NoticeKind
from tests.store.samples import (
    ACCOUNT_ID,
    DESTINATION,
    GROUP_ID,
    OTHER_DESTINATION,
    PRODUCT_KEY,
    a_group,
    a_notice,
    a_product,
    a_relation,
    add_lamps,
    an_account,
)

pytestmark = pytest.mark.asyncio

OTHER_ACCOUNT_ID = "1002"


async def add_accounts(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_account(an_account(OTHER_ACCOUNT_ID, "second"))


async def test_a_group_comes_back_as_it_was_and_to_its_account_only(store: SqlStore) -> None:
    await add_accounts(store)
    group = a_group(group_name="Gruppe 灯")
    await store.add_consumer_group(group)
    assert await store.find_consumer_group(ACCOUNT_ID, GROUP_ID) == group
    assert await store.find_consumer_group(OTHER_ACCOUNT_ID, GROUP_ID) is None
    assert await store.find_consumer_group(ACCOUNT_ID, "none") is None


async def test_the_name_of_a_group_is_its_own_within_the_account(store: SqlStore) -> None:
    await add_accounts(store)
    await store.add_consumer_group(a_group("g1", group_name="lamps"))
    await store.add_consumer_group(a_group("g2", group_name="lamps", account_id=OTHER_ACCOUNT_ID))
    with pytest.raises(AlreadyExists, match="group_name"):
        await store.add_consumer_group(a_group("g3", group_name="lamps"))
    with pytest.raises(AlreadyExists, match="group_id"):
        await store.add_consumer_group(a_group("g1", group_name="others"))
    await store.add_consumer_group(a_group("g4", group_name="others"))
    with pytest.raises(AlreadyExists, match="group_name"):
        await store.rename_consumer_group(ACCOUNT_ID, "g4", "lamps")


async def test_groups_are_listed_newest_first_and_by_part_of_the_name(store: SqlStore) -> None:
    await add_accounts(store)
    groups = [a_group(f"g{number}", group_name=name) for number, name in enumerate(("lamps", "a%b", "lamp_2", "fans"))]
    for group in groups:
        await store.add_consumer_group(group)
    await store.add_consumer_group(a_group("other", account_id=OTHER_ACCOUNT_ID))
    page = await store.list_consumer_groups(ACCOUNT_ID, None, 1, 2)
    assert (page.records, page.total) == ([groups[2], groups[1]], 4)
    page = await store.list_consumer_groups(ACCOUNT_ID, "lamp", 0, 10)
    assert (page.records, page.total) == ([groups[2], groups[0]], 2)
    for part, found in (("%", groups[1]), ("_", groups[2])):
        assert (await store.list_consumer_groups(ACCOUNT_ID, part, 0, 10)).records == [found]


async def test_a_group_can_be_renamed_by_its_account(store: SqlStore) -> None:
    await add_accounts(store)
    await store.add_consumer_group(a_group())
    assert await store.rename_consumer_group(ACCOUNT_ID, GROUP_ID, "new")
    assert not await store.rename_consumer_group(OTHER_ACCOUNT_ID, GROUP_ID, "newer")
    assert await store.find_consumer_group(ACCOUNT_ID, GROUP_ID) == a_group(group_name="new")


async def test_a_subscription_comes_back_as_it_was(store: SqlStore) -> None:
    await add_lamps(store)
    assert await store.find_relation(PRODUCT_KEY) is None
    await store.add_relation(a_relation())
    assert await store.find_relation(PRODUCT_KEY) == a_relation()
    changed = a_relation(kinds=frozenset(NoticeKind), group_ids=("DEFAULT_GROUP",))
    assert await store.update_relation(changed)
    assert await store.find_relation(PRODUCT_KEY) == changed
    assert await store.list_relations(ACCOUNT_ID) == [changed]
    assert await store.list_relations(OTHER_ACCOUNT_ID) == []
    assert await store.delete_relation(PRODUCT_KEY)
    assert not await store.delete_relation(PRODUCT_KEY)
    assert not await store.update_relation(changed)
    assert await store.find_relation(PRODUCT_KEY) is None


async def test_a_product_has_one_subscription_and_takes_it_along(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_relation(a_relation())
    with pytest.raises(AlreadyExists, match="product_key"):
        await store.add_relation(a_relation())
    with pytest.raises(ProductGone):
        await store.add_relation(a_relation("a1None00001"))
    assert await store.delete_product(PRODUCT_KEY)
    assert await store.find_relation(PRODUCT_KEY) is None


async def test_a_group_that_is_deleted_leaves_every_subscription_and_takes_its_letters_along(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_product(a_product("a1Lamp00002"))
    await store.add_consumer_group(a_group())
    await store.add_relation(a_relation())
    await store.add_relation(a_relation("a1Lamp00002", group_ids=("DEFAULT_GROUP",)))
    store.record_notice([DESTINATION, OTHER_DESTINATION], a_notice())
    assert not await store.delete_consumer_group(OTHER_ACCOUNT_ID, GROUP_ID)
    assert await store.delete_consumer_group(ACCOUNT_ID, GROUP_ID)
    assert not await store.delete_consumer_group(ACCOUNT_ID, GROUP_ID)
    assert await store.find_relation(PRODUCT_KEY) == a_relation(group_ids=("DEFAULT_GROUP",))
    assert await store.find_relation("a1Lamp00002") == a_relation("a1Lamp00002", group_ids=("DEFAULT_GROUP",))
    assert await store.count_letters(DESTINATION) == 0
    assert await store.count_letters(OTHER_DESTINATION) == 1


async def test_others_learn_of_every_change_of_a_subscription(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_consumer_group(a_group())
    versions = [await store.registry_version()]
    relation = a_relation()
    await store.add_relation(relation)
    versions.append(await store.registry_version())
    await store.update_relation(replace(relation, kinds=frozenset()))
    versions.append(await store.registry_version())
    await store.delete_consumer_group(ACCOUNT_ID, GROUP_ID)
    versions.append(await store.registry_version())
    await store.delete_relation(PRODUCT_KEY)
    versions.append(await store.registry_version())
    assert versions == sorted(set(versions))
    assert len(versions) == 5
    await store.delete_relation(PRODUCT_KEY)
    assert await store.registry_version() == versions[-1]

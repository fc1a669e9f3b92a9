from dataclasses import replace

import pytest

from linkstead.registry import AlreadyExists, ProductGone, ProductTopic, TopicOperation
from linkstead.registry.topic_classes import default_topics, make_topic
from linkstead.store.sql import SqlStore
from tests.store.samples import a_product, an_account

pytestmark = pytest.mark.asyncio

PK, OTHER_PK = "a1Lnk5tEad0", "a1Lnk5tEad1"


async def fill(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product(PK))
    await store.add_product(a_product(OTHER_PK, product_name="Other"))


def a_topic(short_name: str, operation: TopicOperation = TopicOperation.ALL, product_key: str = PK) -> ProductTopic:
    return ProductTopic(0, product_key, make_topic(product_key, short_name), operation, "说明")


async def test_a_new_product_has_its_topics(store: SqlStore) -> None:
    await fill(store)
    for product_key in (PK, OTHER_PK):
        assert [replace(topic, topic_id=0) for topic in await store.list_topics(product_key)] == default_topics(
            product_key
        )


async def test_a_topic_is_added_changed_and_deleted(store: SqlStore) -> None:
    await fill(store)
    topic_id = await store.add_topic(a_topic("submit"), 50)
    assert topic_id is not None
    kept = replace(a_topic("submit"), topic_id=topic_id)
    assert await store.find_topic(topic_id) == kept
    assert (await store.list_topics(PK))[-1] == kept
    changed = replace(kept, topic=make_topic(PK, "send"), operation=TopicOperation.PUB, description="")
    assert await store.update_topic(changed)
    assert await store.find_topic(topic_id) == changed
    assert await store.delete_topic(topic_id)
    assert await store.find_topic(topic_id) is None
    assert not await store.delete_topic(topic_id)
    assert not await store.update_topic(changed)


async def test_every_change_is_told_to_other_processes(store: SqlStore) -> None:
    await fill(store)
    versions = [await store.registry_version()]
    topic_id = await store.add_topic(a_topic("submit"), 50)
    assert topic_id is not None
    versions.append(await store.registry_version())
    await store.update_topic(replace(a_topic("send"), topic_id=topic_id))
    versions.append(await store.registry_version())
    await store.delete_topic(topic_id)
    versions.append(await store.registry_version())
    assert versions == sorted(set(versions))


async def test_a_topic_is_there_once_in_a_product(store: SqlStore) -> None:
    await fill(store)
    topic_id = await store.add_topic(a_topic("submit"), 50)
    assert topic_id is not None
    with pytest.raises(AlreadyExists, match="topic"):
        await store.add_topic(a_topic("submit", TopicOperation.PUB), 50)
    with pytest.raises(AlreadyExists, match="topic"):
        await store.update_topic(replace(a_topic("get"), topic_id=topic_id))
    assert await store.add_topic(a_topic("submit", product_key=OTHER_PK), 50) is not None


async def test_a_product_has_so_many_topics_and_no_more(store: SqlStore) -> None:
    await fill(store)
    assert await store.add_topic(a_topic("fourth"), 4) is not None
    assert await store.add_topic(a_topic("fifth"), 4) is None
    assert len(await store.list_topics(PK)) == 4


async def test_a_topic_needs_its_product(store: SqlStore) -> None:
    await fill(store)
    with pytest.raises(ProductGone):
        await store.add_topic(a_topic("submit", product_key="a1Gone00000"), 50)


async def test_topics_go_with_their_product(store: SqlStore) -> None:
    await fill(store)
    assert await store.delete_product(PK)
    assert await store.list_topics(PK) == []


async def test_an_id_is_not_given_twice(store: SqlStore) -> None:
    await fill(store)
    first = await store.add_topic(a_topic("first"), 50)
    assert first is not None
    await store.delete_topic(first)
    second = await store.add_topic(a_topic("second"), 50)
    assert second is not None
    assert second > first

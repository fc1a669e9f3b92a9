import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from linkstead.models import VERSIONS_KEPT_MAX, ModelShelf, ThingModelVersion
from linkstead.models.shelf import MODELS_CACHED_MAX
from linkstead.registry import AlreadyExists, ProductGone
from linkstead.tsl import ModelError, Module, Service, ThingModel

pytestmark = pytest.mark.asyncio

KEY, OTHER_KEY = "a1Lnk5tEad0", "a1Other0001"
NOW_MS = 1_700_000_000_000


class FakeThingModelStore:
    """Implements `ThingModelStore` in memory; every method gives way to other tasks before and after what it does.

    `reads` counts reads of published versions. What is read of a product with a gate is given once that is open.
    """

    def __init__(self, *product_keys: str) -> None:
        self.product_keys = {KEY, OTHER_KEY, *product_keys}
        self.drafts: dict[str, str] = {}
        self.versions: list[ThingModelVersion] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.reads = 0

    async def find_thing_model_draft(self, product_key: str) -> str | None:
        await asyncio.sleep(0)
        found = self.drafts.get(product_key)
        await self._pass_gate(product_key)
        return found

    async def save_thing_model_draft(self, product_key: str, document: str) -> None:
        await asyncio.sleep(0)
        if product_key not in self.product_keys:
            raise ProductGone
        self.drafts[product_key] = document
        await asyncio.sleep(0)

    async def publish_thing_model(self, version: ThingModelVersion, versions_kept_max: int) -> None:
        await asyncio.sleep(0)
        if version.product_key not in self.product_keys:
            raise ProductGone
        known = self._known(version.product_key)
        if version.version in [each.version for each in known]:
            raise AlreadyExists("version")
        self.versions.append(version)
        for old in known[versions_kept_max - 1 :]:
            self.versions.remove(old)
        await asyncio.sleep(0)

    async def find_thing_model_version(self, product_key: str, version: str | None) -> ThingModelVersion | None:
        self.reads += 1
        await asyncio.sleep(0)
        found = next((each for each in self._known(product_key) if version in (None, each.version)), None)
        await self._pass_gate(product_key)
        return found

    async def list_thing_model_versions(self, product_key: str) -> list[ThingModelVersion]:
        await asyncio.sleep(0)
        return [replace(each, document="") for each in self._known(product_key)]

    async def _pass_gate(self, product_key: str) -> None:
        await asyncio.sleep(0)
        if product_key in self.gates:
            await self.gates[product_key].wait()

    def _known(self, product_key: str) -> list[ThingModelVersion]:
        return [each for each in reversed(self.versions) if each.product_key == product_key]


@pytest.fixture
def store() -> FakeThingModelStore:
    return FakeThingModelStore()


@pytest.fixture
def shelf(store: FakeThingModelStore) -> ModelShelf:
    return ModelShelf(store)


def model(*identifiers: str, product_key: str = KEY) -> ThingModel:
    """A model with these services."""
    return ThingModel(product_key, (Module(services=tuple(Service(each, each, "sync") for each in identifiers)),))


def adding(identifier: str) -> Callable[[ThingModel], ThingModel]:
    """A change that adds a service."""
    return lambda draft: model(*services_of(draft), identifier)


def services_of(found: ThingModel | None) -> list[str]:
    assert found is not None
    return [service.identifier for service in found.modules[0].services]


# --- drafts


async def test_a_draft_that_was_never_written_is_empty(shelf: ModelShelf) -> None:
    assert await shelf.find_draft(KEY) == ThingModel(KEY)


async def test_a_draft_is_found_as_it_was_saved(shelf: ModelShelf) -> None:
    await shelf.save_draft(model("Blink"))
    assert await shelf.find_draft(KEY) == model("Blink")
    assert await shelf.find_draft(OTHER_KEY) == ThingModel(OTHER_KEY)


async def test_of_many_changes_at_once_none_is_lost(shelf: ModelShelf) -> None:
    names = [f"Service{number}" for number in range(20)]
    await asyncio.gather(*(shelf.edit_draft(KEY, adding(name)) for name in names))
    assert services_of(await shelf.find_draft(KEY)) == names


async def test_a_change_waits_for_those_of_its_own_product_only(shelf: ModelShelf, store: FakeThingModelStore) -> None:
    store.gates[KEY] = asyncio.Event()
    first, second = (asyncio.ensure_future(shelf.edit_draft(KEY, adding(name))) for name in ("Blink", "Run"))
    await shelf.edit_draft(OTHER_KEY, lambda _: model("Other", product_key=OTHER_KEY))
    assert not first.done()
    assert not second.done()
    store.gates[KEY].set()
    await asyncio.gather(first, second)
    assert services_of(await shelf.find_draft(KEY)) == ["Blink", "Run"]


async def test_the_table_of_locks_is_empty_when_nothing_is_changed(shelf: ModelShelf) -> None:
    await asyncio.gather(*(shelf.edit_draft(KEY, adding(name)) for name in ("Blink", "Run")))
    await shelf.publish_draft(KEY, "", "", NOW_MS)
    assert not shelf._locks


async def test_a_change_that_is_refused_leaves_the_draft_and_the_way_free(shelf: ModelShelf) -> None:
    def refuse(_: ThingModel) -> ThingModel:
        raise ModelError("", "must not be")

    await shelf.save_draft(model("Blink"))
    with pytest.raises(ModelError):
        await shelf.edit_draft(KEY, refuse)
    await shelf.edit_draft(KEY, adding("Run"))
    assert services_of(await shelf.find_draft(KEY)) == ["Blink", "Run"]


async def test_the_draft_of_a_product_that_is_gone_cannot_be_changed(shelf: ModelShelf) -> None:
    with pytest.raises(ProductGone):
        await shelf.edit_draft("a1Gone00001", lambda draft: draft)
    with pytest.raises(ProductGone):
        await shelf.publish_draft("a1Gone00001", "", "", NOW_MS)


# --- versions


async def test_a_published_draft_is_effective_and_stays_a_draft(shelf: ModelShelf) -> None:
    await shelf.save_draft(model("Blink"))
    assert await shelf.publish_draft(KEY, "1.0", "first", NOW_MS) == "1.0"
    assert await shelf.find_published(KEY) == model("Blink")
    assert await shelf.find_draft(KEY) == model("Blink")
    record = await shelf.find_version_record(KEY, None)
    assert record is not None
    assert (record.version, record.description, record.created_ms) == ("1.0", "first", NOW_MS)


async def test_what_is_published_is_read_once_and_again_after_the_next(
    shelf: ModelShelf, store: FakeThingModelStore
) -> None:
    assert await shelf.find_published(KEY) is None
    await shelf.publish(model("Blink"), "1", "", NOW_MS)
    for _ in range(3):
        assert services_of(await shelf.find_published(KEY)) == ["Blink"]
    assert store.reads == 2
    await shelf.publish(model("Run"), "2", "", NOW_MS)
    assert services_of(await shelf.find_published(KEY)) == ["Run"]
    shelf.forget_all()
    assert services_of(await shelf.find_published(KEY)) == ["Run"]
    assert store.reads == 4


async def test_a_read_that_a_publication_overtook_is_not_kept(shelf: ModelShelf, store: FakeThingModelStore) -> None:
    await shelf.publish(model("Blink"), "1", "", NOW_MS)
    gate = store.gates[KEY] = asyncio.Event()
    reading = asyncio.ensure_future(shelf.find_published(KEY))
    for _ in range(3):
        await asyncio.sleep(0)
    await shelf.publish(model("Run"), "2", "", NOW_MS)
    gate.set()
    assert services_of(await reading) == ["Blink"]
    assert services_of(await shelf.find_published(KEY)) == ["Run"]


async def test_what_is_at_hand_is_recalled_without_the_store(shelf: ModelShelf, store: FakeThingModelStore) -> None:
    with pytest.raises(KeyError):
        shelf.recall_checker(KEY)
    assert await shelf.find_checker(KEY) is None
    assert shelf.recall_checker(KEY) is None
    await shelf.publish(model("Blink"), "1", "", NOW_MS)
    with pytest.raises(KeyError):
        shelf.recall_checker(KEY)
    checker = await shelf.find_checker(KEY)
    assert checker is not None
    assert shelf.recall_checker(KEY) is checker
    assert store.reads == 2
    shelf.forget_all()
    with pytest.raises(KeyError):
        shelf.recall_checker(KEY)


async def test_the_model_unused_for_longest_makes_room(shelf: ModelShelf, store: FakeThingModelStore) -> None:
    keys = [f"a1{number:09}" for number in range(MODELS_CACHED_MAX - 1)]
    for key in (KEY, *keys):
        await shelf.find_published(key)
    await shelf.find_published(KEY)
    assert store.reads == MODELS_CACHED_MAX
    await shelf.find_published(OTHER_KEY)
    await shelf.find_published(KEY)
    assert store.reads == MODELS_CACHED_MAX + 1
    await shelf.find_published(keys[0])
    assert store.reads == MODELS_CACHED_MAX + 2


async def test_a_version_without_a_name_gets_the_milliseconds(shelf: ModelShelf) -> None:
    assert await shelf.publish_draft(KEY, "", "", NOW_MS) == "1700000000000"


async def test_versions_of_the_same_millisecond_get_the_numbers_that_follow(shelf: ModelShelf) -> None:
    await shelf.publish_draft(KEY, "1700000000001", "", NOW_MS)
    drawn = await asyncio.gather(*(shelf.publish_draft(KEY, "", "", NOW_MS) for _ in range(3)))
    assert drawn == ["1700000000000", "1700000000002", "1700000000003"]


async def test_a_version_of_a_name_that_is_kept_is_refused(shelf: ModelShelf) -> None:
    await shelf.publish_draft(KEY, "1.0", "", NOW_MS)
    with pytest.raises(AlreadyExists):
        await shelf.publish_draft(KEY, "1.0", "", NOW_MS)
    await shelf.publish_draft(OTHER_KEY, "1.0", "", NOW_MS)


async def test_the_newest_versions_are_kept(shelf: ModelShelf) -> None:
    for number in range(VERSIONS_KEPT_MAX + 1):
        await shelf.publish(model(f"Service{number}"), str(number), "", NOW_MS)
        assert len(await shelf.list_versions(KEY)) == min(number + 1, VERSIONS_KEPT_MAX)
    assert await shelf.find_version(KEY, "0") is None
    assert services_of(await shelf.find_version(KEY, "1")) == ["Service1"]
    assert [each.version for each in await shelf.list_versions(KEY)] == [
        str(number) for number in range(VERSIONS_KEPT_MAX, 0, -1)
    ]

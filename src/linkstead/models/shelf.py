"""Reading and writing a product's thing model, and the published ones kept at hand.

A call needs the model it is checked against without a look into the store, and read only once.
"""

from asyncio import Lock
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

from linkstead.models.store import ThingModelStore, ThingModelVersion
from linkstead.tsl.checking import ModelChecker
from linkstead.tsl.model import ThingModel
from linkstead.tsl.reading import read_model
from linkstead.tsl.writing import write_model

VERSIONS_KEPT_MAX = 10
"""Published versions of one product. Source: `thing-model.md` 3."""

MODELS_CACHED_MAX = 1_000
"""Published models kept read; the one unused for longest goes first."""


class ModelShelf:
    """The thing models of all products.

    Args:
        store: where the documents are.
        lenient_float: a float or double of an app may be written without a decimal point.
    """

    def __init__(self, store: ThingModelStore, *, lenient_float: bool = False) -> None:
        self._store = store
        self._lenient_float = lenient_float
        self._published: OrderedDict[str, ModelChecker | None] = OrderedDict()
        self._epoch = 0
        # A lock is there for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def forget_all(self) -> None:
        """Drop what is kept at hand: something may have been published by another process."""
        self._epoch += 1
        self._published.clear()

    async def find_checker(self, product_key: str) -> ModelChecker | None:
        """The checker of the model that is effective now, or None when nothing was ever published."""
        if product_key in self._published:
            self._published.move_to_end(product_key)
            return self._published[product_key]
        epoch = self._epoch
        model = await self.find_version(product_key, None)
        checker = ModelChecker(model, lenient_float=self._lenient_float) if model is not None else None
        if epoch == self._epoch:
            self._published[product_key] = checker
            if len(self._published) > MODELS_CACHED_MAX:
                self._published.popitem(last=False)
        return checker

    def recall_checker(self, product_key: str) -> ModelChecker | None:
        """What `find_checker` found, while it is at hand. Raises KeyError: the store has to be asked."""
        self._published.move_to_end(product_key)
        return self._published[product_key]

    async def find_published(self, product_key: str) -> ThingModel | None:
        """The model that is effective now, or None when nothing was ever published."""
        checker = await self.find_checker(product_key)
        return checker.model if checker is not None else None

    async def find_version(self, product_key: str, version: str | None) -> ThingModel | None:
        """A published version, the latest when `version` is None, or None."""
        found = await self.find_version_record(product_key, version)
        return read_model(found.document) if found is not None else None

    async def find_version_record(self, product_key: str, version: str | None) -> ThingModelVersion | None:
        """A published version with its document, the latest when `version` is None, or None."""
        return await self._store.find_thing_model_version(product_key, version)

    async def find_draft(self, product_key: str) -> ThingModel:
        """The draft; an empty model when nothing was written yet."""
        document = await self._store.find_thing_model_draft(product_key)
        return read_model(document) if document is not None else ThingModel(product_key)

    async def save_draft(self, model: ThingModel) -> None:
        """Keep the draft. Raises ProductGone, ProductReleased."""
        await self._store.save_thing_model_draft(model.product_key, write_model(model))

    async def edit_draft(self, product_key: str, edit: Callable[[ThingModel], ThingModel]) -> None:
        """Change the draft. Of two changes at once in this process, the second is made to what the first left.

        Raises:
            ProductGone: the product is not there any longer.
            ProductReleased: it is released; nothing was changed.
            ModelError: from `edit`, as whatever else it raises; the draft is then as it was.
        """
        async with self._lock(product_key):
            await self.save_draft(edit(await self.find_draft(product_key)))

    async def publish_draft(self, product_key: str, version: str, description: str, now_ms: int) -> str:
        """Make the draft effective and return the version's name.

        Args:
            product_key: of a product that is there.
            version: empty: drawn, `now_ms` or, where that is taken, the next number that is free.
            description: may be empty.
            now_ms: now.

        Raises:
            AlreadyExists("version"), ProductGone, ProductReleased.

        Source of the number: PublishThingModel reference, row ModelVersion.
        """
        async with self._lock(product_key):
            name = version or await self._draw_version(product_key, now_ms)
            await self.publish(await self.find_draft(product_key), name, description, now_ms)
        return name

    async def list_versions(self, product_key: str) -> list[ThingModelVersion]:
        """The published versions, newest first, without their documents."""
        return await self._store.list_thing_model_versions(product_key)

    async def publish(self, model: ThingModel, version: str, description: str, now_ms: int) -> None:
        """Make the model effective as a version of this name.

        Raises AlreadyExists("version"), ProductGone, ProductReleased.
        """
        published = ThingModelVersion(model.product_key, version, description, now_ms, write_model(model))
        try:
            await self._store.publish_thing_model(published, VERSIONS_KEPT_MAX)
        finally:
            self._epoch += 1
            self._published.pop(model.product_key, None)

    async def _draw_version(self, product_key: str, now_ms: int) -> str:
        taken = {known.version for known in await self.list_versions(product_key)}
        while str(now_ms) in taken:
            now_ms += 1
        return str(now_ms)

    def _lock(self, product_key: str) -> Lock:
        return self._locks.setdefault(product_key, Lock())

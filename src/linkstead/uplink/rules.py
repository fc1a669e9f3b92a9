"""What a product holds its devices to: the level of checking, and the published thing model."""

from asyncio import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

from linkstead.alink.messages import PRODUCT_NOT_FOUND
from linkstead.models import ModelShelf
from linkstead.registry import Product, Registry
from linkstead.subscription.messages import DEFAULT_DEVICE_TYPE
from linkstead.tsl.checking import VALIDATE_TYPES, ModelChecker, ValidateType
from linkstead.tsl.model import ThingModel
from linkstead.uplink.request import Refused


class Rules(NamedTuple):
    """`checker` is that of an empty model where nothing was ever published, and `is_published` False.

    `device_type` is what messages call the product's category.
    """

    level: ValidateType
    checker: ModelChecker
    is_published: bool
    device_type: str


_UNPUBLISHED = ModelChecker(ThingModel(""))


class RuleBook:
    """Looks the rules of products up.

    Args:
        registry: products.
        models: their thing models.
    """

    def __init__(self, registry: Registry, models: ModelShelf) -> None:
        self._registry = registry
        self._models = models
        # A lock is there for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def recall(self, product_key: str) -> Rules | None:
        """The rules if they are at hand."""
        product = self._registry.recall_product(product_key)
        if product is None:
            return None
        try:
            return _make_rules(product, self._models.recall_checker(product_key))
        except KeyError:
            return None

    async def read(self, product_key: str) -> Rules:
        """The rules. Of those who want the same at once, one asks the store.

        Raises:
            Refused(6250): there is no such product.
        """
        known = self.recall(product_key)
        if known is not None:
            return known
        async with self._locks.setdefault(product_key, Lock()):
            product = await self._registry.find_product(product_key)
            if product is None:
                raise Refused(PRODUCT_NOT_FOUND, "product not found")
            return _make_rules(product, await self._models.find_checker(product_key))


def _make_rules(product: Product, checker: ModelChecker | None) -> Rules:
    return Rules(
        VALIDATE_TYPES[product.validate_type],
        checker or _UNPUBLISHED,
        checker is not None,
        product.category_key or DEFAULT_DEVICE_TYPE,
    )

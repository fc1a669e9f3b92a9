"""Who may call and what may be called: accounts, keys, instances, products and devices."""

from linkstead.registry.addressing import Scope, find_device, find_product, find_senior_product
from linkstead.registry.records import (
    PUBLIC_INSTANCE,
    AccessKey,
    Account,
    Device,
    DeviceKey,
    DeviceStatus,
    Instance,
    Origin,
    Page,
    PresenceChange,
    Product,
    ProductStatistics,
)
from linkstead.registry.registry import Registry
from linkstead.registry.store import AlreadyExists, ProductGone, Store
from linkstead.registry.topic_classes import ProductTopic, TopicClasses, TopicOperation

__all__ = [
    "PUBLIC_INSTANCE",
    "AccessKey",
    "Account",
    "AlreadyExists",
    "Device",
    "DeviceKey",
    "DeviceStatus",
    "Instance",
    "Origin",
    "Page",
    "PresenceChange",
    "Product",
    "ProductGone",
    "ProductStatistics",
    "ProductTopic",
    "Registry",
    "Scope",
    "Store",
    "TopicClasses",
    "TopicOperation",
    "find_device",
    "find_product",
    "find_senior_product",
]

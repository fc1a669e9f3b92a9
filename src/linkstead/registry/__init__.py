"""Who may call and what may be called: accounts, keys, instances, products and devices."""

from linkstead.registry.addressing import Scope, find_device, find_product, find_senior_product, recall_device
from linkstead.registry.applications import Application, ApplicationDevice, ApplicationStatus
from linkstead.registry.nodes import Node, NodeState, NodeStore, Presence, Taken
from linkstead.registry.records import (
    PUBLIC_INSTANCE,
    AccessKey,
    Account,
    Device,
    DeviceCertificate,
    DeviceKey,
    DeviceStatus,
    Instance,
    Origin,
    Page,
    PresenceChange,
    Product,
    ProductStatistics,
    ProductTagFilter,
    make_key,
)
from linkstead.registry.registrar import Registrar
from linkstead.registry.registry import Registry
from linkstead.registry.store import AlreadyExists, ProductGone, ProductReleased, Store, StoreAway
from linkstead.registry.topic_classes import ProductTopic, TopicClasses, TopicOperation
from linkstead.registry.topology import SUB_DEVICES_MAX, DeviceGone, TooManySubDevices, TopologyStore

__all__ = [
    "PUBLIC_INSTANCE",
    "SUB_DEVICES_MAX",
    "AccessKey",
    "Account",
    "AlreadyExists",
    "Application",
    "ApplicationDevice",
    "ApplicationStatus",
    "Device",
    "DeviceCertificate",
    "DeviceGone",
    "DeviceKey",
    "DeviceStatus",
    "Instance",
    "Node",
    "NodeState",
    "NodeStore",
    "Origin",
    "Page",
    "Presence",
    "PresenceChange",
    "Product",
    "ProductGone",
    "ProductReleased",
    "ProductStatistics",
    "ProductTagFilter",
    "ProductTopic",
    "Registrar",
    "Registry",
    "Scope",
    "Store",
    "StoreAway",
    "Taken",
    "TooManySubDevices",
    "TopicClasses",
    "TopicOperation",
    "TopologyStore",
    "find_device",
    "find_product",
    "find_senior_product",
    "make_key",
    "recall_device",
]

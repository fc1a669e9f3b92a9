"""The port for what is kept on disk, as far as the registry goes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from linkstead.registry.applications import Application, ApplicationDevice
from linkstead.registry.records import (
    AccessKey,
    Account,
    Device,
    DeviceCertificate,
    DeviceKey,
    DeviceStatus,
    Instance,
    Page,
    PresenceChange,
    Product,
    ProductStatistics,
    ProductTagFilter,
)
from linkstead.registry.topic_classes import ProductTopic
from linkstead.registry.topology import TopologyStore


class AlreadyExists(Exception):
    """A record of this name is there already. The first argument names the field: `product_key`, `device_name`, …"""


class ProductGone(Exception):
    """The product of a device that was to be kept is not there, or not any longer."""


class StoreAway(Exception):
    """What is kept cannot be reached, or does not answer in time."""


class ProductReleased(Exception):
    """The thing model of a released product does not change."""


class Store(TopologyStore, Protocol):
    """Durable storage of the registry. A method that returns has written; a crash afterwards loses nothing."""

    async def add_account(self, account: Account) -> None:
        """Keep a new account. Raises AlreadyExists("account_id" or "name")."""

    async def list_accounts(self) -> list[Account]:
        """Every account, oldest first."""

    async def find_account(self, account_id: str) -> Account | None:
        """The account, or None."""

    async def add_access_key(self, key: AccessKey) -> None:
        """Keep a new key pair. Raises AlreadyExists("access_key_id")."""

    async def find_access_key(self, access_key_id: str) -> AccessKey | None:
        """The key pair, enabled or not, or None."""

    async def list_access_keys(self, account_id: str) -> list[AccessKey]:
        """Every key pair of an account, oldest first."""

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> bool:
        """Enable or disable a key pair. False when there is none of this id."""

    async def delete_access_key(self, access_key_id: str) -> bool:
        """Delete a key pair that is disabled. False when there is none of this id, or it is enabled."""

    async def save_policy(self, account_id: str, user_name: str, document: str) -> bool:
        """Keep the policy of a RAM user, in place of an earlier one.

        False when `POLICIES_PER_ACCOUNT_MAX` other users of the account have one.
        """

    async def find_policy(self, account_id: str, user_name: str) -> str | None:
        """The policy of a RAM user, as it was saved, or None."""

    async def delete_policy(self, account_id: str, user_name: str) -> bool:
        """Delete the policy of a RAM user. False when there is none."""

    async def add_instance(self, instance: Instance) -> None:
        """Keep a new named instance. Raises AlreadyExists("instance_id"); ids are unique in the installation."""

    async def list_instances(self, account_id: str) -> list[Instance]:
        """The named instances of an account, oldest first."""

    async def add_product(self, product: Product) -> None:
        """Keep a new product, with the topic classes that each begins with.

        Raises AlreadyExists("product_key" or "product_name": one account and instance).
        """

    async def find_product(self, product_key: str) -> Product | None:
        """The product, whosever it is, or None."""

    async def update_product(self, product: Product) -> bool:
        """Write all fields that can change but `released`. False when it is gone.

        Raises AlreadyExists("product_name").
        """

    async def set_product_released(self, product_key: str, released: bool) -> bool:
        """Release a product or take that back. False when it is gone."""

    async def delete_product(self, product_key: str) -> bool:
        """Delete a product that has no devices. False when it is gone or still has some."""

    async def list_products(
        self, account_id: str, instance_id: str | None, aliyun_commodity_code: str | None, offset: int, limit: int
    ) -> Page[Product]:
        """A page of an account's products, newest first; `instance_id` None means all instances."""

    async def count_products(self, account_id: str) -> int:
        """How many products the account has."""

    async def list_product_tags(self, product_key: str) -> dict[str, str]:
        """The tags of a product, by name."""

    async def add_product_tags(self, product_key: str, tags: Mapping[str, str], tags_max: int) -> list[str] | None:
        """Give a product new tags, all or none; returns the names that it has already, empty when all were written.

        None when it would have more than `tags_max`. Raises ProductGone.
        """

    async def update_product_tags(self, product_key: str, tags: Mapping[str, str]) -> list[str]:
        """Change tags, all or none; returns the names that the product does not have, empty when all were written."""

    async def delete_product_tags(self, product_key: str, names: Sequence[str]) -> None:
        """Delete tags; those that are not there are passed over."""

    async def list_products_by_tags(
        self, account_id: str, instance_id: str | None, tags: Sequence[ProductTagFilter], offset: int, limit: int
    ) -> list[Product]:
        """A page of an account's products that have one of the tags at least, newest first."""

    async def list_topics(self, product_key: str) -> list[ProductTopic]:
        """The topic classes of a product, oldest first."""

    async def find_topic(self, topic_id: int) -> ProductTopic | None:
        """The topic class, whosever it is, or None."""

    async def add_topic(self, topic: ProductTopic, topics_max: int) -> int | None:
        """Keep a new topic class and return its id; None when the product has `topics_max` already.

        Raises AlreadyExists("topic"), ProductGone.
        """

    async def update_topic(self, topic: ProductTopic) -> bool:
        """Write all fields that can change. False when it is gone. Raises AlreadyExists("topic")."""

    async def delete_topic(self, topic_id: int) -> bool:
        """Delete a topic class. False when it is gone."""

    async def add_devices(self, devices: Sequence[Device]) -> None:
        """Keep new devices, all or none. Raises AlreadyExists("device_name" or "iot_id"), ProductGone."""

    async def find_device(self, key: DeviceKey) -> Device | None:
        """The device, whosever it is, or None."""

    async def find_device_by_iot_id(self, iot_id: str) -> Device | None:
        """The device, whosever it is, or None."""

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        """Those of the devices that exist."""

    async def list_devices(
        self, product_key: str, offset: int, limit: int, before_id: int | None = None
    ) -> Page[Device]:
        """A page of a product's devices, newest first; with `before_id`, which an earlier page gave, the one after."""

    async def list_devices_by_status(
        self,
        account_id: str,
        instance_id: str | None,
        product_key: str | None,
        status: DeviceStatus | None,
        offset: int,
        limit: int,
    ) -> Page[Device]:
        """A page of the account's devices of one status as last written down, newest first; None means every one."""

    async def list_devices_by_tags(
        self, account_id: str, instance_id: str | None, tags: Sequence[tuple[str, str]], offset: int, limit: int
    ) -> Page[Device]:
        """A page of the account's devices that have all of these tags, at least one of them, newest first."""

    async def set_nicknames(self, nicknames: Mapping[DeviceKey, str], at_ms: int) -> bool:
        """Give devices other nicknames, "" for none: all or, when one of the devices is gone, none and False."""

    async def reset_device(self, key: DeviceKey, at_ms: int) -> list[DeviceKey] | None:
        """Let a device register itself anew, and free a gateway of its sub-devices, which are returned.

        None when it is gone.
        """

    async def set_device_enabled(self, key: DeviceKey, enabled: bool, at_ms: int) -> bool:
        """Enable or disable a device. False when it is gone."""

    async def delete_device(self, key: DeviceKey) -> bool:
        """Delete a device. False when it is gone."""

    async def set_device_certificate(self, certificate: DeviceCertificate) -> bool:
        """Give a device a certificate, in place of the one that it had. False when the device is gone.

        Raises AlreadyExists("fingerprint") for one that another device has.
        """

    async def delete_device_certificate(self, key: DeviceKey) -> bool:
        """Take a device's certificate away. False when it has none."""

    async def find_device_certificate(self, key: DeviceKey) -> DeviceCertificate | None:
        """The certificate of a device, or None."""

    async def find_certificate(self, fingerprint: str) -> DeviceCertificate | None:
        """The certificate with this fingerprint, whichever device has it, or None."""

    async def count_devices(self, product_key: str) -> int:
        """How many devices the product has."""

    async def device_statistics(
        self, account_id: str, instance_id: str | None, product_key: str | None
    ) -> ProductStatistics:
        """Counts over the account's devices; None means every instance, every product."""

    async def add_application(
        self, application: Application, devices: Sequence[ApplicationDevice], open_max: int, kept_max: int
    ) -> int | None:
        """Keep a new application and return its id; None when `open_max` of the product are worked on already.

        Of `kept_max` others the oldest is forgotten. Raises ProductGone.
        """

    async def find_application(self, apply_id: int) -> Application | None:
        """The application, whosever it is, or None."""

    async def start_application(self, apply_id: int) -> bool:
        """Move an application on from CHECK_SUCCESS to CREATE. False when it is elsewhere."""

    async def list_open_applications(self) -> list[Application]:
        """Those that this process works on, oldest first."""

    async def check_application(self, application: Application, first: int, count: int) -> None:
        """Mark of some of its devices, by position, those whose names are registered already."""

    async def list_waiting_devices(self, apply_id: int, after: int, limit: int) -> list[ApplicationDevice]:
        """Devices past a position that are neither registered nor at fault."""

    async def register_application(
        self, application: Application, devices: Sequence[tuple[int, Device]]
    ) -> tuple[list[Device], bool]:
        """Register devices of an application, each with its position, as long as they wait to be.

        A device whose given name is registered already is marked; one whose drawn name is goes on waiting. Returns
        those that were registered, and whether none goes on waiting.

        Raises:
            AlreadyExists("iot_id"): nothing was written.
        """

    async def close_application(self, application: Application) -> None:
        """Move an application on to the success or the failure of what it is at."""

    async def list_application_devices(self, apply_id: int) -> list[ApplicationDevice]:
        """All its devices, in order."""

    async def list_registered_devices(self, apply_id: int, offset: int, limit: int) -> Page[Device]:
        """A page of what it registered and is there still, in the order of the application."""

    def record_presence(self, change: PresenceChange) -> None:
        """Take a change between online and offline; returns at once. Every read of devices from then on shows it."""

    async def registry_version(self) -> int:
        """A number that rises whenever accounts, keys, products or devices change, by whatever process."""

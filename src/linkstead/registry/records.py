"""The records of the registry. Moments are milliseconds since 1970 UTC."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar, cast

import msgspec

PUBLIC_INSTANCE = ""
"""The instance a request means when it sends no IotInstanceId."""

Record = TypeVar("Record")


class DeviceKey(NamedTuple):
    """What names a device on both sides of the protocol. Unique in the whole installation."""

    product_key: str
    device_name: str

    def __str__(self) -> str:
        return f"{self.product_key}/{self.device_name}"


make_key: Final = cast(Callable[[tuple[str, str]], DeviceKey], partial(tuple.__new__, DeviceKey))
"""A key of both names, in less than half of the time: what a named tuple is made by is a function in Python."""


class Origin(NamedTuple):
    """Who a message comes from: a device, the account that owns it, and what the device is called by IotId."""

    key: DeviceKey
    account_id: str
    iot_id: str


class DeviceStatus(StrEnum):
    """The vendor's words. Source: QueryDeviceDetail reference, field Status."""

    UNACTIVE = "UNACTIVE"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DISABLE = "DISABLE"


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. Every other record belongs to exactly one."""

    account_id: str
    name: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair of an account, or of one of its RAM users when `user_name` is not empty.

    A temporary one has a `security_token`, to be sent with every request, and ends at `expires_ms`; a lasting one has
    neither.
    """

    access_key_id: str
    secret: str
    account_id: str
    user_name: str
    enabled: bool
    created_ms: int
    security_token: str = ""
    expires_ms: int = 0

    @property
    def is_temporary(self) -> bool:
        """True for a key pair that was issued together with a security token."""
        return bool(self.security_token)

    def __repr__(self) -> str:
        return f"AccessKey({self.access_key_id!r}, account {self.account_id!r})"


@dataclass(frozen=True, slots=True)
class Instance:
    """A named instance of an account. The public instance is not stored: every account has it."""

    instance_id: str
    account_id: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Product:
    """A product. Field names and number codes are those of CreateProduct and QueryProduct.

    While it is `released` its thing model does not change. Source: ReleaseProduct reference.
    """

    product_key: str
    account_id: str
    instance_id: str
    product_name: str
    product_secret: str
    node_type: int
    data_format: int
    net_type: str
    aliyun_commodity_code: str
    auth_type: str
    protocol_type: str
    validate_type: int
    category_key: str
    description: str
    id2: bool
    dynamic_registration: bool
    created_ms: int
    released: bool = False

    def __repr__(self) -> str:
        return f"Product({self.product_key!r}, {self.product_name!r})"


class Device(msgspec.Struct, frozen=True, gc=False):
    """A device as registered, and what is remembered of its connections.

    `activated_ms`, `online_ms` (last time it came online), `status_ms` (last change between online and offline) and
    `reset_ms` (when it was last allowed to register itself anew) are 0 where it never happened. `is_online` is what was
    last written down; the truth of the moment is in `sessions.SessionTable`.

    It is made twice at each CONNECT, and there is one for each device in use: it is no dataclass, which takes a fifth
    more memory and five times as long to make.
    """

    iot_id: str
    product_key: str
    device_name: str
    account_id: str
    instance_id: str
    device_secret: str
    nickname: str
    enabled: bool
    created_ms: int
    modified_ms: int
    activated_ms: int
    online_ms: int
    status_ms: int
    is_online: bool
    ip_address: str
    firmware_version: str
    reset_ms: int = 0

    @property
    def key(self) -> DeviceKey:
        """Product key and device name."""
        return DeviceKey(self.product_key, self.device_name)

    @property
    def origin(self) -> Origin:
        """The device as the origin of a message."""
        return Origin(self.key, self.account_id, self.iot_id)

    @property
    def written_status(self) -> DeviceStatus:
        """The status as last written down; that of the moment is told by `sessions.SessionTable`."""
        if not self.enabled:
            return DeviceStatus.DISABLE
        if self.is_online:
            return DeviceStatus.ONLINE
        return DeviceStatus.OFFLINE if self.activated_ms else DeviceStatus.UNACTIVE

    def __repr__(self) -> str:
        return f"Device({self.product_key}/{self.device_name})"


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """The certificate that a device of a product with AuthType x509 connects with. It has one at most.

    `fingerprint` is SHA-256 of the certificate as it is sent, in lower-case hex; `serial_number` is hex too, and
    `certificate` PEM.
    """

    key: DeviceKey
    fingerprint: str
    serial_number: str
    certificate: str
    not_after_ms: int


class PresenceChange(NamedTuple):
    """A device came online or went offline at `at_ms`; `ip_address` is the peer's when it came online.

    The rest is for a node of a cluster to say. `holder` names it, and `holder_epoch` (above 0) rises from one
    connection of a device to the next, wherever that is: what is told of an earlier connection never replaces what is
    told of a later one. keep_alive_s: of the connection. half_until_ms: the moment until which the device counts as
    half connected after a connection that was not closed in order, 0 where it was.
    """

    key: DeviceKey
    is_online: bool
    at_ms: int
    ip_address: str = ""
    holder: str = ""
    holder_epoch: int = 0
    keep_alive_s: int = 0
    half_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """One page of a listing, newest first, and how many records there are in all.

    `next_before_id`: the place in the listing where the next page begins; None where there is none, or none was asked
    for.
    """

    records: list[Record]
    total: int
    next_before_id: int | None = None


class ProductTagFilter(NamedTuple):
    """What a tag has to be: its name and its value, any value where that is None."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class ProductStatistics:
    """Source: QueryDeviceStatistics reference."""

    device_count: int
    active_count: int
    online_count: int

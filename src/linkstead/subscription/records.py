"""The records of server-side subscription. Moments are milliseconds since 1970 UTC."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from linkstead.registry import DeviceKey

DEFAULT_GROUP_ID = "DEFAULT_GROUP"
"""The consumer group that every account has; it is not stored. Source: `device-protocol.md` 8.1."""


def destination_of(account_id: str, group_id: str) -> str:
    """A consumer group's name in the backlog; the default group has the same id in every account."""
    return f"{account_id}/{group_id}"


class NoticeKind(StrEnum):
    """What a message tells of; each is the name of a flag of a subscription, in snake_case and without `_flag`.

    Source: `cloud-api.md` 9.8, CreateSubscribeRelation.
    """

    DEVICE_DATA = "device_data"
    STATUS_CHANGE = "device_status_change"
    LIFE_CYCLE = "device_life_cycle"
    TOPO_LIFE_CYCLE = "device_topo_life_cycle"
    FOUND_DEVICE_LIST = "found_device_list"
    THING_HISTORY = "thing_history"
    OTA_EVENT = "ota_event"
    OTA_VERSION = "ota_version"
    OTA_JOB = "ota_job"
    DEVICE_TAG = "device_tag"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for whoever subscribed to the device's product. `qos` is that of what it forwards."""

    account_id: str
    key: DeviceKey
    kind: NoticeKind
    topic: str
    payload: bytes
    message_id: int
    generated_ms: int
    qos: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice on its way to one destination: a consumer group or a webhook.

    `row_id` names it in the backlog. `attempts` counts how often it was handed out, this time included.
    """

    row_id: int
    message_id: int
    topic: str
    payload: bytes
    generated_ms: int
    qos: int
    attempts: int


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """Consumers that share messages. Field names are those of QueryConsumerGroupByGroupId."""

    group_id: str
    account_id: str
    group_name: str
    created_ms: int

    @property
    def destination(self) -> str:
        """Its name in the backlog."""
        return destination_of(self.account_id, self.group_id)


@dataclass(frozen=True, slots=True)
class SubscribeRelation:
    """What of a product goes to which groups. `type` is AMQP."""

    product_key: str
    type: str
    kinds: frozenset[NoticeKind]
    group_ids: tuple[str, ...]


class NotKept(Exception):
    """What was forwarded is not on the disk: the disk does not take it now, or the store cannot tell who subscribed."""


class NoticeSink(Protocol):
    """Takes what is to be told."""

    def wants(self, product_key: str, kind: NoticeKind) -> bool:
        """False when it is known that nobody subscribed: the message need not be made. Returns at once."""

    def forward(
        self, account_id: str, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes, qos: int = 0
    ) -> None:
        """Have everybody told who subscribed to this kind of message of the device's product. Returns at once."""

    def is_prepared(self, product_key: str) -> bool:
        """True when `prepare` has nothing to wait for."""

    async def prepare(self, product_key: str) -> None:
        """Have at hand who subscribed to a product: what is forwarded then goes with what else is written at once.

        Raises NotKept where the store cannot tell.
        """

    async def settle(self) -> None:
        """Return when what was forwarded before is on the disk. Raises NotKept."""

"""Who is told what: consumer groups, the products they subscribe to, and the backlog of what they were not told yet."""

from linkstead.subscription.consumption import Consumption
from linkstead.subscription.dispatch import (
    Attachment,
    Consumer,
    ConsumerStatus,
    DeskStatus,
    Dispatcher,
    OtherDesks,
    TooManyConsumers,
)
from linkstead.subscription.forwarder import DestinationSource, Forwarder, GroupDestinations
from linkstead.subscription.records import (
    DEFAULT_GROUP_ID,
    ConsumerGroup,
    Letter,
    Notice,
    NoticeKind,
    NoticeSink,
    NotKept,
    SubscribeRelation,
    destination_of,
)
from linkstead.subscription.store import BacklogStore, GroupStore
from linkstead.subscription.subscriptions import Subscriptions

__all__ = [
    "DEFAULT_GROUP_ID",
    "Attachment",
    "BacklogStore",
    "Consumer",
    "ConsumerGroup",
    "ConsumerStatus",
    "Consumption",
    "DeskStatus",
    "DestinationSource",
    "Dispatcher",
    "Forwarder",
    "GroupDestinations",
    "GroupStore",
    "Letter",
    "NotKept",
    "Notice",
    "NoticeKind",
    "NoticeSink",
    "OtherDesks",
    "SubscribeRelation",
    "Subscriptions",
    "TooManyConsumers",
    "destination_of",
]

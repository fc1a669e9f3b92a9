"""Who is told what: consumer groups, the products they subscribe to, and the backlog of what they were not told yet."""

from linkstead.subscription.dispatch import (
    Attachment,
    Consumer,
    Dispatcher,
    TooManyConsumers,
)
from linkstead.subscription.records import (
    DEFAULT_GROUP_ID,
    ConsumerGroup,
    Letter,
    Notice,
    NoticeKind,
    NoticeSink,
    SubscribeRelation,
)
from linkstead.subscription.store import BacklogStore, GroupStore

__all__ = [
    "DEFAULT_GROUP_ID",
    "Attachment",
    "BacklogStore",
    "Consumer",
    "ConsumerGroup",
    "Dispatcher",
    "GroupStore",
    "Letter",
    "Notice",
    "NoticeKind",
    "NoticeSink",
    "SubscribeRelation",
    "TooManyConsumers",
]

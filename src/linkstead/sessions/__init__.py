"""Devices connected to this node: the live connection of each, and what stays of it afterwards."""

from linkstead.sessions.link import Ending, Link, LinkBlocked, LinkBroken, LinkTooSmall, Receipt
from linkstead.sessions.neighbours import Neighbours, NeighbourSilent, OneNode, Subscribed
from linkstead.sessions.store import SavedMessage, SavedSession, SessionStore
from linkstead.sessions.table import (
    QUEUED_MESSAGES_MAX,
    SUBSCRIPTIONS_MAX,
    Attachment,
    PresenceSink,
    QueuedMessage,
    QueueFull,
    Reach,
    Session,
    SessionObserver,
    SessionTable,
    StatusChange,
    StatusObserver,
)
from linkstead.sessions.tap import MESSAGES_WAITING_MAX, Tap, TappedMessage, Way

__all__ = [
    "MESSAGES_WAITING_MAX",
    "QUEUED_MESSAGES_MAX",
    "SUBSCRIPTIONS_MAX",
    "Attachment",
    "Ending",
    "Link",
    "LinkBlocked",
    "LinkBroken",
    "LinkTooSmall",
    "NeighbourSilent",
    "Neighbours",
    "OneNode",
    "PresenceSink",
    "QueueFull",
    "QueuedMessage",
    "Reach",
    "Receipt",
    "SavedMessage",
    "SavedSession",
    "Session",
    "SessionObserver",
    "SessionStore",
    "SessionTable",
    "StatusChange",
    "StatusObserver",
    "Subscribed",
    "Tap",
    "TappedMessage",
    "Way",
]

"""What actions reach of server-side subscription."""

import asyncio
from dataclasses import dataclass, field

from linkstead.subscription.dispatch import Dispatcher
from linkstead.subscription.forwarder import Forwarder
from linkstead.subscription.store import BacklogStore, GroupStore


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Groups and subscriptions, what waits for whom, and those who tell and hand out.

    After a change of a product's subscription, `forwarder.forget` is to be called: what comes then goes by the new one.
    Who changes groups or subscriptions holds `changing` from the first look to the last write: a bound that was looked
    at still holds, and nobody subscribes to a group while it is deleted.
    """

    groups: GroupStore
    backlog: BacklogStore
    forwarder: Forwarder
    dispatcher: Dispatcher
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

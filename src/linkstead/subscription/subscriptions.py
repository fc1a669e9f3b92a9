"""What actions reach of server-side subscription."""

from dataclasses import dataclass

from linkstead.subscription.dispatch import Dispatcher
from linkstead.subscription.forwarder import Forwarder
from linkstead.subscription.store import BacklogStore, GroupStore


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Groups and subscriptions, what waits for whom, and those who tell and hand out.

    After a change of a product's subscription, `forwarder.forget` is to be called: what comes then goes by the new one.
    """

    groups: GroupStore
    backlog: BacklogStore
    forwarder: Forwarder
    dispatcher: Dispatcher

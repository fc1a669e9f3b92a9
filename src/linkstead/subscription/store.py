"""The ports for what of server-side subscription is kept on the disk."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from linkstead.registry import Page
from linkstead.subscription.records import ConsumerGroup, Letter, Notice, SubscribeRelation


class GroupStore(Protocol):
    """Durable storage of consumer groups and subscriptions. A method that returns has written."""

    async def add_consumer_group(self, group: ConsumerGroup) -> None:
        """Keep a new group. Raises AlreadyExists("group_id" or "group_name": one account)."""

    async def find_consumer_group(self, account_id: str, group_id: str) -> ConsumerGroup | None:
        """The account's group, or None. The default group is not stored."""

    async def list_consumer_groups(
        self, account_id: str, name_part: str | None, offset: int, limit: int
    ) -> Page[ConsumerGroup]:
        """A page of an account's groups, newest first; `name_part` None means all."""

    async def rename_consumer_group(self, account_id: str, group_id: str, group_name: str) -> bool:
        """Rename a group. False when it is gone. Raises AlreadyExists("group_name")."""

    async def delete_consumer_group(self, account_id: str, group_id: str) -> bool:
        """Delete a group, take it out of every subscription, and forget what waits for it. False when it is gone."""

    async def find_relation(self, product_key: str) -> SubscribeRelation | None:
        """The subscription of a product, or None."""

    async def add_relation(self, relation: SubscribeRelation) -> None:
        """Keep a new subscription. Raises AlreadyExists("product_key"), ProductGone."""

    async def update_relation(self, relation: SubscribeRelation) -> bool:
        """Replace a subscription. False when it is gone."""

    async def delete_relation(self, product_key: str) -> bool:
        """Delete a subscription. False when it is gone."""

    async def list_relations(self, account_id: str) -> list[SubscribeRelation]:
        """Every subscription of an account's products."""


class BacklogStore(Protocol):
    """Durable storage of what destinations were not told yet. A destination is a group's or a webhook's name there.

    At least once: what was leased and neither acknowledged nor given back by `lease`'s end can be leased again.
    """

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        """Take a notice for each destination; returns at once. In the same batch as calls recorded with it."""

    def watch_letters(self, tell: Callable[[Collection[str]], None]) -> None:
        """Have `tell` called with their destinations each time that new letters are on the disk."""

    async def flush(self) -> bool:
        """Write all that was recorded and waits. False when the disk does not take it: it goes on waiting."""

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        """Hand out what is due at `now_ms`, the longest due first; nobody else gets it before `until_ms`."""

    def acknowledge_letter(self, row_id: int) -> None:
        """Forget a letter that was delivered; in a batch a moment later."""

    def return_letter(self, row_id: int, attempts: int, due_ms: int) -> None:
        """Make a letter available again from `due_ms` on; in a batch a moment later.

        `attempts` as it was handed out: nothing becomes of one that was handed out anew since.
        """

    async def next_due_ms(self, destination: str) -> int | None:
        """When the next letter of a destination is due, or None when nothing waits."""

    async def count_letters(self, destination: str) -> int:
        """How many letters wait for a destination, those leased included."""

    async def clear_letters(self, destination: str) -> None:
        """Forget all that waits for a destination."""

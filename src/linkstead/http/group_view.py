"""Consumer groups as JSON: what the inspection API gives and the command line prints."""

from typing import Any

from linkstead.subscription import DEFAULT_GROUP_ID, ConsumerStatus, Subscriptions, destination_of

GROUPS_LISTED_MAX = 100
"""The newest, beside the default group."""


async def view_groups(subscriptions: Subscriptions, account_id: str) -> dict[str, Any]:
    """An account's groups, the default group first: what waits for each, of which products, and who takes it.

    Moments are milliseconds since 1970 UTC. `total` counts the groups that are not listed as well.
    """
    page = await subscriptions.groups.list_consumer_groups(account_id, None, 0, GROUPS_LISTED_MAX)
    product_keys: dict[str, list[str]] = {}
    for relation in await subscriptions.groups.list_relations(account_id):
        for group_id in relation.group_ids:
            product_keys.setdefault(group_id, []).append(relation.product_key)
    groups = [(DEFAULT_GROUP_ID, DEFAULT_GROUP_ID), *[(group.group_id, group.group_name) for group in page.records]]
    desks = await subscriptions.dispatcher.ask([destination_of(account_id, group_id) for group_id, _ in groups])
    views = []
    for group_id, group_name in groups:
        destination = destination_of(account_id, group_id)
        consumption = desks[destination].consumption
        views.append(
            {
                "group_id": group_id,
                "group_name": group_name,
                "product_keys": product_keys.get(group_id, []),
                "waiting_count": await subscriptions.backlog.count_letters(destination),
                "accepted_per_minute": consumption.per_minute,
                "last_accepted_ms": consumption.last_accepted_ms or None,
                "consumers": [_view_consumer(consumer) for consumer in desks[destination].consumers],
            }
        )
    return {"consumer_groups": views, "total": page.total + 1}


def _view_consumer(consumer: ConsumerStatus) -> dict[str, Any]:
    return {
        "client_id": consumer.client_id,
        "peer": consumer.peer,
        "attached_ms": consumer.attached_ms,
        "held_count": consumer.held_count,
        "accepted_count": consumer.accepted_count,
        "accepted_per_minute": consumer.consumption.per_minute,
        "last_accepted_ms": consumer.last_accepted_ms or None,
    }

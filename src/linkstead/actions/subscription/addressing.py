"""Finding the consumer group that a request names, in the caller's own account."""

import re
from typing import Any

from linkstead.action import ActionContext, Request
from linkstead.errors import ApiError, codes
from linkstead.subscription import DEFAULT_GROUP_ID, ConsumerGroup

_GROUP_ID = re.compile(r"[A-Za-z0-9_]{1,64}")

GROUP_ID_RULE = "1-64 of A-Z a-z 0-9 _"
"""Ours: ids are opaque to clients, those of the samples have 26 letters and digits."""


class GroupRequest(Request):
    """One consumer group of the caller's. A group belongs to the account, not to an instance."""

    group_id: str
    iot_instance_id: str = ""


async def find_group(context: ActionContext, group_id: str, parameter: str = "GroupId") -> ConsumerGroup:
    """The group of this id; the default group is as old as its account.

    Raises:
        ApiError(INVALID_CONSUMER_GROUP_ID): it cannot be an id.
        ApiError(CONSUMER_GROUP_NOT_EXIST): the account has no such group.
    """
    named: dict[str, Any] = {parameter: group_id}
    if not _GROUP_ID.fullmatch(group_id):
        raise ApiError(codes.INVALID_CONSUMER_GROUP_ID, rule=GROUP_ID_RULE, **named)
    if group_id == DEFAULT_GROUP_ID:
        return await default_group(context)
    group = await context.subscriptions.groups.find_consumer_group(context.scope.account_id, group_id)
    if group is None:
        raise ApiError(codes.CONSUMER_GROUP_NOT_EXIST, **named)
    return group


async def find_own_group(context: ActionContext, group_id: str) -> ConsumerGroup:
    """The group of this id, for who wants to change it.

    Raises:
        ApiError(CHANGE_DEFAULT_CONSUMER_GROUP_NOT_ALLOWED): it is the default group; else see `find_group`.
    """
    if group_id == DEFAULT_GROUP_ID:
        raise ApiError(codes.CHANGE_DEFAULT_CONSUMER_GROUP_NOT_ALLOWED, GroupId=group_id)
    return await find_group(context, group_id)


async def default_group(context: ActionContext) -> ConsumerGroup:
    """The group that every account has."""
    account_id = context.scope.account_id
    account = await context.registry.store.find_account(account_id)
    return ConsumerGroup(DEFAULT_GROUP_ID, account_id, DEFAULT_GROUP_ID, account.created_ms if account else 0)

"""Consumer groups: making, naming, listing and deleting them."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.subscription.addressing import GroupRequest, default_group, find_group, find_own_group
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.ids import LETTERS_AND_DIGITS
from linkstead.registry import AlreadyExists, names, paging
from linkstead.registry.times import utc_text
from linkstead.subscription import DEFAULT_GROUP_ID, ConsumerGroup

GROUPS_PER_ACCOUNT_MAX = 1_000
"""Beside the default group. Source: `cloud-api.md` 11, row consumer groups."""

PAGE_SIZE_MAX = 1_000
"""Groups in one page. Source: QueryConsumerGroupList reference, row PageSize."""

TRIES_MAX = 5
"""How often an id that is taken already is drawn in all."""

GROUP_ID_RANDOM_CHARS = 20
GROUP_ID_SUFFIX = "000100"
"""Ids of the samples are 20 random letters and digits with such a tail."""


class CreateConsumerGroupRequest(Request):
    """Source: CreateConsumerGroup reference."""

    group_name: str
    iot_instance_id: str = ""


class CreateConsumerGroupAnswer(Answer):
    """The id that was drawn."""

    group_id: str | UnsetType = UNSET


async def create_consumer_group(
    context: ActionContext, request: CreateConsumerGroupRequest
) -> CreateConsumerGroupAnswer:
    """Make a group in the caller's account; its id is drawn.

    Raises:
        ApiError(INVALID_CONSUMER_GROUP_NAME, CONSUMER_GROUP_NAME_EXISTED): see `_check_name`, or the name is taken.
        ApiError(CONSUMER_GROUP_EXCEED_LIMIT): there are `GROUPS_PER_ACCOUNT_MAX` already.
        ApiError(CREATE_CONSUMER_GROUP_FAILED): every drawn id was taken.
    """
    _check_name("GroupName", request.group_name)
    account_id, store = context.scope.account_id, context.subscriptions.groups
    now_ms = milliseconds(context.clock.time_s())
    async with context.subscriptions.changing:
        if (await store.list_consumer_groups(account_id, None, 0, 1)).total >= GROUPS_PER_ACCOUNT_MAX:
            raise ApiError(codes.CONSUMER_GROUP_EXCEED_LIMIT, rule=f"<= {GROUPS_PER_ACCOUNT_MAX}")
        for _ in range(TRIES_MAX):
            group_id = context.ids.token(LETTERS_AND_DIGITS, GROUP_ID_RANDOM_CHARS) + GROUP_ID_SUFFIX
            try:
                await store.add_consumer_group(ConsumerGroup(group_id, account_id, request.group_name, now_ms))
            except AlreadyExists as taken:
                if taken.args[0] == "group_name":
                    raise ApiError(codes.CONSUMER_GROUP_NAME_EXISTED, GroupName=request.group_name) from None
            else:
                return CreateConsumerGroupAnswer(group_id=group_id)
    raise ApiError(codes.CREATE_CONSUMER_GROUP_FAILED)


class QueryConsumerGroupListRequest(Request):
    """Source: QueryConsumerGroupList reference: without Fuzzy all groups are listed, whatever GroupName says.

    Without effect: `Type` and `SubBizCode`, which the reference does not explain.
    """

    current_page: int
    page_size: int
    fuzzy: bool = False
    group_name: str = ""
    type: str = ""
    sub_biz_code: str = ""
    iot_instance_id: str = ""


class ConsumerGroupDto(Shape):
    """One group. `create_time` as `2018-08-06T02:48:41.000Z`."""

    group_id: str
    group_name: str
    create_time: str


class QueryConsumerGroupListData(Shape):
    """The list itself."""

    groups: list[ConsumerGroupDto] = msgspec.field(name="ConsumerGroupDTO")


class QueryConsumerGroupListAnswer(Answer):
    """One page of groups, newest first; the page's numbers stand at the top."""

    current_page: int | UnsetType = UNSET
    page_size: int | UnsetType = UNSET
    page_count: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    data: QueryConsumerGroupListData | UnsetType = UNSET


async def query_consumer_group_list(
    context: ActionContext, request: QueryConsumerGroupListRequest
) -> QueryConsumerGroupListAnswer:
    """List the account's groups, newest first and the default group last; with Fuzzy those whose name holds GroupName.

    Raises:
        ApiError(INVALID_PAGE_PARAMS): see `page_offset`.
        ApiError(INVALID_CONSUMER_GROUP_NAME): Fuzzy without GroupName.
    """
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    if request.fuzzy and not request.group_name:
        raise ApiError(codes.INVALID_CONSUMER_GROUP_NAME, GroupName="", Fuzzy="true")
    name_part = request.group_name if request.fuzzy else None
    page = await context.subscriptions.groups.list_consumer_groups(
        context.scope.account_id, name_part, offset, request.page_size
    )
    groups, total = page.records, page.total
    if name_part is None or name_part.upper() in DEFAULT_GROUP_ID:
        total += 1
        if offset <= page.total < offset + request.page_size:
            groups = [*groups, await default_group(context)]
    return QueryConsumerGroupListAnswer(
        current_page=request.current_page,
        page_size=request.page_size,
        page_count=paging.page_count(total, request.page_size),
        total=total,
        data=QueryConsumerGroupListData(groups=[_show(group) for group in groups]),
    )


class QueryConsumerGroupByGroupIdAnswer(Answer):
    """One group."""

    data: ConsumerGroupDto | UnsetType = UNSET


async def query_consumer_group_by_group_id(
    context: ActionContext, request: GroupRequest
) -> QueryConsumerGroupByGroupIdAnswer:
    """Show a group.

    Raises:
        ApiError: see `find_group`.
    """
    return QueryConsumerGroupByGroupIdAnswer(data=_show(await find_group(context, request.group_id)))


class UpdateConsumerGroupRequest(Request):
    """Source: UpdateConsumerGroup reference."""

    group_id: str
    new_group_name: str
    iot_instance_id: str = ""


async def update_consumer_group(context: ActionContext, request: UpdateConsumerGroupRequest) -> Answer:
    """Give a group another name.

    Raises:
        ApiError: see `find_own_group`; the name breaks its rule or is another group's.
    """
    group = await find_own_group(context, request.group_id)
    _check_name("NewGroupName", request.new_group_name)
    store = context.subscriptions.groups
    try:
        found = await store.rename_consumer_group(group.account_id, group.group_id, request.new_group_name)
    except AlreadyExists:
        raise ApiError(codes.CONSUMER_GROUP_NAME_EXISTED, NewGroupName=request.new_group_name) from None
    if not found:
        raise ApiError(codes.CONSUMER_GROUP_NOT_EXIST, GroupId=request.group_id)
    return Answer()


async def delete_consumer_group(context: ActionContext, request: GroupRequest) -> Answer:
    """Delete a group that no product is subscribed to, with what waits for it; its consumers are sent away.

    Raises:
        ApiError: see `find_own_group`.
        ApiError(DELETE_CONSUMER_GROUP_FAILED): it belongs to a subscription still; the text names the product.

    Source: DeleteConsumerGroup reference: a group has to be taken out of every subscription first.
    """
    async with context.subscriptions.changing:
        group = await find_own_group(context, request.group_id)
        for relation in await context.subscriptions.groups.list_relations(group.account_id):
            if group.group_id in relation.group_ids:
                raise ApiError(
                    codes.DELETE_CONSUMER_GROUP_FAILED,
                    GroupId=group.group_id,
                    ProductKey=relation.product_key,
                    rule="DeleteConsumerGroupSubscribeRelation | UpdateSubscribeRelation | DeleteSubscribeRelation",
                )
        if not await context.subscriptions.groups.delete_consumer_group(group.account_id, group.group_id):
            raise ApiError(codes.CONSUMER_GROUP_NOT_EXIST, GroupId=request.group_id)
    context.subscriptions.dispatcher.dismiss(group.destination)
    return Answer()


def _check_name(parameter: str, group_name: str) -> None:
    """Raises ApiError for a name that a group may not have; the default group's is taken."""
    named: dict[str, Any] = {parameter: group_name}
    if not names.is_consumer_group_name(group_name):
        raise ApiError(codes.INVALID_CONSUMER_GROUP_NAME, rule=names.CONSUMER_GROUP_NAME_RULE, **named)
    if group_name == DEFAULT_GROUP_ID:
        raise ApiError(codes.CONSUMER_GROUP_NAME_EXISTED, **named)


def _show(group: ConsumerGroup) -> ConsumerGroupDto:
    return ConsumerGroupDto(
        group_id=group.group_id, group_name=group.group_name, create_time=utc_text(group.created_ms)
    )


ACTIONS = (
    Action(
        name="CreateConsumerGroup",
        request=CreateConsumerGroupRequest,
        answer=CreateConsumerGroupAnswer,
        function=create_consumer_group,
    ),
    Action(
        name="QueryConsumerGroupList",
        request=QueryConsumerGroupListRequest,
        answer=QueryConsumerGroupListAnswer,
        function=query_consumer_group_list,
    ),
    Action(
        name="QueryConsumerGroupByGroupId",
        request=GroupRequest,
        answer=QueryConsumerGroupByGroupIdAnswer,
        function=query_consumer_group_by_group_id,
    ),
    Action(
        name="UpdateConsumerGroup",
        request=UpdateConsumerGroupRequest,
        answer=Answer,
        function=update_consumer_group,
    ),
    Action(name="DeleteConsumerGroup", request=GroupRequest, answer=Answer, function=delete_consumer_group),
)

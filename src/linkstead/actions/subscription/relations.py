"""Subscriptions: what of a product goes to which consumer groups. A product has one at most."""

from dataclasses import replace

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request
from linkstead.actions.subscription.addressing import find_group
from linkstead.errors import ApiError, codes
from linkstead.registry import AlreadyExists, ProductGone, find_product
from linkstead.subscription import NoticeKind, SubscribeRelation

AMQP, MNS = "AMQP", "MNS"

GROUPS_PER_PRODUCT_MAX = 10
"""Source: `cloud-api.md` 11, row consumer groups."""

SUBSCRIBED_RULE = "CreateSubscribeRelation"
"""What a product without subscription wants first; the catalogue has no code for it."""


class SubscriptionRequest(Request):
    """What CreateSubscribeRelation and UpdateSubscribeRelation say alike.

    Without effect: `SubscribeFlags`, which the reference does not explain.
    """

    product_key: str
    consumer_group_ids: list[str] = msgspec.field(default_factory=list)
    device_data_flag: bool = False
    device_status_change_flag: bool = False
    device_life_cycle_flag: bool = False
    device_topo_life_cycle_flag: bool = False
    found_device_list_flag: bool = False
    thing_history_flag: bool = False
    ota_event_flag: bool = False
    ota_version_flag: bool = False
    ota_job_flag: bool = False
    device_tag_flag: bool = False
    mns_configuration: str = ""
    subscribe_flags: str = ""
    iot_instance_id: str = ""


class CreateSubscribeRelationRequest(SubscriptionRequest):
    """Source: CreateSubscribeRelation reference."""

    type: str = AMQP


class UpdateSubscribeRelationRequest(SubscriptionRequest, kw_only=True):
    """Source: UpdateSubscribeRelation reference."""

    type: str


async def create_subscribe_relation(context: ActionContext, request: CreateSubscribeRelationRequest) -> Answer:
    """Subscribe consumer groups to a product.

    Raises:
        ApiError: see `_read_relation`.
        ApiError(ILLEGAL_REQUEST): the product has a subscription already. The catalogue has no code for it.
    """
    async with context.subscriptions.changing:
        relation = await _read_relation(context, request, request.type)
        try:
            await context.subscriptions.groups.add_relation(relation)
        except AlreadyExists:
            raise ApiError(
                codes.ILLEGAL_REQUEST, ProductKey=request.product_key, Type=AMQP, rule="UpdateSubscribeRelation"
            ) from None
        except ProductGone:
            raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=request.product_key) from None
        context.subscriptions.forwarder.forget(relation.product_key)
    return Answer()


async def update_subscribe_relation(context: ActionContext, request: UpdateSubscribeRelationRequest) -> Answer:
    """Replace a product's subscription; a flag that is left out is false.

    Raises:
        ApiError: see `_read_relation`.
        ApiError(ILLEGAL_REQUEST): the product has none.
    """
    async with context.subscriptions.changing:
        await _write_relation(context, await _read_relation(context, request, request.type))
    return Answer()


class RelationRequest(Request):
    """The subscription of one product of the caller's."""

    product_key: str
    type: str
    iot_instance_id: str = ""


class QuerySubscribeRelationAnswer(Answer):
    """Source: QuerySubscribeRelation reference. Everything stands at the top."""

    product_key: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    consumer_group_ids: list[str] | UnsetType = UNSET
    device_data_flag: bool | UnsetType = UNSET
    device_status_change_flag: bool | UnsetType = UNSET
    device_life_cycle_flag: bool | UnsetType = UNSET
    device_topo_life_cycle_flag: bool | UnsetType = UNSET
    found_device_list_flag: bool | UnsetType = UNSET
    thing_history_flag: bool | UnsetType = UNSET
    ota_event_flag: bool | UnsetType = UNSET
    ota_version_flag: bool | UnsetType = UNSET
    ota_job_flag: bool | UnsetType = UNSET
    device_tag_flag: bool | UnsetType = UNSET
    mns_configuration: str | UnsetType = UNSET
    subscribe_flags: str | UnsetType = UNSET


async def query_subscribe_relation(context: ActionContext, request: RelationRequest) -> QuerySubscribeRelationAnswer:
    """Show a product's subscription.

    Raises:
        ApiError: see `find_product` and `_check_type`.
        ApiError(ILLEGAL_REQUEST): the product has none.
    """
    await find_product(context.registry, context.scope, request.product_key)
    _check_type(request.type)
    relation = await _find_relation(context, request.product_key)
    answer = QuerySubscribeRelationAnswer(
        product_key=relation.product_key, type=relation.type, consumer_group_ids=list(relation.group_ids)
    )
    flags = {_flag(kind): kind in relation.kinds for kind in NoticeKind}
    return msgspec.structs.replace(answer, **flags)


async def delete_subscribe_relation(context: ActionContext, request: RelationRequest) -> Answer:
    """End a product's subscription; what waits for its groups already is still delivered.

    Raises:
        ApiError: as `query_subscribe_relation`.
    """
    await find_product(context.registry, context.scope, request.product_key)
    _check_type(request.type)
    async with context.subscriptions.changing:
        if not await context.subscriptions.groups.delete_relation(request.product_key):
            raise _not_subscribed(request.product_key)
        context.subscriptions.forwarder.forget(request.product_key)
    return Answer()


class GroupRelationRequest(Request):
    """One consumer group and the subscription of one product."""

    consumer_group_id: str
    product_key: str
    iot_instance_id: str = ""


async def create_consumer_group_subscribe_relation(context: ActionContext, request: GroupRelationRequest) -> Answer:
    """Add a group to a product's subscription; nothing changes where it belongs to it already.

    Raises:
        ApiError: see `find_product` and `find_group`.
        ApiError(ILLEGAL_REQUEST): the product has no subscription.
        ApiError(CONSUMER_GROUP_EXCEEDS_LIMIT): it has `GROUPS_PER_PRODUCT_MAX` groups already.
    """
    await find_product(context.registry, context.scope, request.product_key)
    async with context.subscriptions.changing:
        group = await find_group(context, request.consumer_group_id, "ConsumerGroupId")
        relation = await _find_relation(context, request.product_key)
        if group.group_id not in relation.group_ids:
            group_ids = (*relation.group_ids, group.group_id)
            _check_group_count(group_ids)
            await _write_relation(context, replace(relation, group_ids=group_ids))
    return Answer()


async def delete_consumer_group_subscribe_relation(context: ActionContext, request: GroupRelationRequest) -> Answer:
    """Take a group out of a product's subscription; what waits for it already is still delivered.

    Raises:
        ApiError: see `find_product` and `find_group`.
        ApiError(ILLEGAL_REQUEST): the product has no subscription, or the group is its last.
        ApiError(INVALID_CONSUMER_GROUP): the group does not belong to the subscription.

    Source: DeleteConsumerGroupSubscribeRelation reference, limits.
    """
    await find_product(context.registry, context.scope, request.product_key)
    async with context.subscriptions.changing:
        group = await find_group(context, request.consumer_group_id, "ConsumerGroupId")
        relation = await _find_relation(context, request.product_key)
        if group.group_id not in relation.group_ids:
            raise ApiError(codes.INVALID_CONSUMER_GROUP, ConsumerGroupId=group.group_id, ProductKey=request.product_key)
        group_ids = tuple(group_id for group_id in relation.group_ids if group_id != group.group_id)
        if not group_ids:
            raise ApiError(
                codes.ILLEGAL_REQUEST,
                ConsumerGroupId=group.group_id,
                ProductKey=request.product_key,
                rule="UpdateSubscribeRelation | DeleteSubscribeRelation",
            )
        await _write_relation(context, replace(relation, group_ids=group_ids))
    return Answer()


async def _read_relation(context: ActionContext, request: SubscriptionRequest, relation_type: str) -> SubscribeRelation:
    """The subscription that a request describes; a group named twice counts once.

    Raises:
        ApiError: see `find_product`, `_check_type` and `find_group`.
        ApiError(INVALID_SUBSCRIBE_TYPE): MnsConfiguration is there, which is for another type.
        ApiError(CALLBACK_TYPE_EMPTY): no flag is true.
        ApiError(INVALID_CONSUMER_GROUP): there is no group.
        ApiError(CONSUMER_GROUP_EXCEEDS_LIMIT): there are more than `GROUPS_PER_PRODUCT_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    _check_type(relation_type)
    if request.mns_configuration:
        raise ApiError(
            codes.INVALID_SUBSCRIBE_TYPE,
            Type=relation_type,
            MnsConfiguration=request.mns_configuration,
            rule="Type=MNS",
        )
    kinds = frozenset(kind for kind in NoticeKind if getattr(request, _flag(kind)))
    if not kinds:
        raise ApiError(codes.CALLBACK_TYPE_EMPTY, ProductKey=request.product_key)
    group_ids = tuple(dict.fromkeys(request.consumer_group_ids))
    if not group_ids:
        raise ApiError(codes.INVALID_CONSUMER_GROUP, ConsumerGroupIds=0, rule=f"1..{GROUPS_PER_PRODUCT_MAX}")
    _check_group_count(group_ids)
    for group_id in group_ids:
        await find_group(context, group_id, "ConsumerGroupIds")
    return SubscribeRelation(product.product_key, AMQP, kinds, group_ids)


async def _find_relation(context: ActionContext, product_key: str) -> SubscribeRelation:
    relation = await context.subscriptions.groups.find_relation(product_key)
    if relation is None:
        raise _not_subscribed(product_key)
    return relation


async def _write_relation(context: ActionContext, relation: SubscribeRelation) -> None:
    if not await context.subscriptions.groups.update_relation(relation):
        raise _not_subscribed(relation.product_key)
    context.subscriptions.forwarder.forget(relation.product_key)


def _not_subscribed(product_key: str) -> ApiError:
    return ApiError(codes.ILLEGAL_REQUEST, ProductKey=product_key, Type=AMQP, rule=SUBSCRIBED_RULE)


def _check_type(relation_type: str) -> None:
    """Raises ApiError(MNS_NOT_SUPPORT, INVALID_SUBSCRIBE_TYPE) for what is not AMQP. Source: `cloud-api.md` 9.8."""
    if relation_type == MNS:
        raise ApiError(codes.MNS_NOT_SUPPORT, Type=relation_type, rule=AMQP)
    if relation_type != AMQP:
        raise ApiError(codes.INVALID_SUBSCRIBE_TYPE, Type=relation_type, rule=AMQP)


def _check_group_count(group_ids: tuple[str, ...]) -> None:
    if len(group_ids) > GROUPS_PER_PRODUCT_MAX:
        raise ApiError(
            codes.CONSUMER_GROUP_EXCEEDS_LIMIT, ConsumerGroupIds=len(group_ids), rule=f"<= {GROUPS_PER_PRODUCT_MAX}"
        )


def _flag(kind: NoticeKind) -> str:
    """The field of requests and answers that stands for a kind."""
    return f"{kind}_flag"


ACTIONS = (
    Action(
        name="CreateSubscribeRelation",
        request=CreateSubscribeRelationRequest,
        answer=Answer,
        function=create_subscribe_relation,
    ),
    Action(
        name="QuerySubscribeRelation",
        request=RelationRequest,
        answer=QuerySubscribeRelationAnswer,
        function=query_subscribe_relation,
    ),
    Action(
        name="UpdateSubscribeRelation",
        request=UpdateSubscribeRelationRequest,
        answer=Answer,
        function=update_subscribe_relation,
    ),
    Action(name="DeleteSubscribeRelation", request=RelationRequest, answer=Answer, function=delete_subscribe_relation),
    Action(
        name="CreateConsumerGroupSubscribeRelation",
        request=GroupRelationRequest,
        answer=Answer,
        function=create_consumer_group_subscribe_relation,
    ),
    Action(
        name="DeleteConsumerGroupSubscribeRelation",
        request=GroupRelationRequest,
        answer=Answer,
        function=delete_consumer_group_subscribe_relation,
    ),
)

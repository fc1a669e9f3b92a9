import asyncio
import re
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from linkstead.action import ActionContext, Answer
from linkstead.actions.subscription.addressing import GroupRequest
from linkstead.actions.subscription.groups import (
    GROUPS_PER_ACCOUNT_MAX,
    PAGE_SIZE_MAX,
    TRIES_MAX,
    ConsumerGroupDto,
    CreateConsumerGroupAnswer,
    CreateConsumerGroupRequest,
    QueryConsumerGroupListAnswer,
    QueryConsumerGroupListData,
    QueryConsumerGroupListRequest,
    UpdateConsumerGroupRequest,
    create_consumer_group,
    delete_consumer_group,
    query_consumer_group_by_group_id,
    query_consumer_group_list,
    update_consumer_group,
)
from linkstead.actions.subscription.relations import (
    GROUPS_PER_PRODUCT_MAX,
    CreateSubscribeRelationRequest,
    GroupRelationRequest,
    QuerySubscribeRelationAnswer,
    RelationRequest,
    UpdateSubscribeRelationRequest,
    create_consumer_group_subscribe_relation,
    create_subscribe_relation,
    delete_consumer_group_subscribe_relation,
    delete_subscribe_relation,
    query_subscribe_relation,
    update_subscribe_relation,
)
from linkstead.actions.subscription.status import query_consumer_group_status, reset_consumer_group_position
from linkstead.errors import ApiError, codes
from linkstead.registry.paging import CURRENT_PAGE_MAX
from linkstead.registry.times import utc_text
from linkstead.subscription import DEFAULT_GROUP_ID, ConsumerGroup, NoticeKind, SubscribeRelation, destination_of
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal
from tests.store.samples import a_notice
from tests.subscription.desk import Taker

pytestmark = pytest.mark.asyncio

FLAGS = {
    "device_data_flag": NoticeKind.DEVICE_DATA,
    "device_status_change_flag": NoticeKind.STATUS_CHANGE,
    "device_life_cycle_flag": NoticeKind.LIFE_CYCLE,
    "device_topo_life_cycle_flag": NoticeKind.TOPO_LIFE_CYCLE,
    "found_device_list_flag": NoticeKind.FOUND_DEVICE_LIST,
    "thing_history_flag": NoticeKind.THING_HISTORY,
    "ota_event_flag": NoticeKind.OTA_EVENT,
    "ota_version_flag": NoticeKind.OTA_VERSION,
    "ota_job_flag": NoticeKind.OTA_JOB,
    "device_tag_flag": NoticeKind.DEVICE_TAG,
}


def create(
    world: World, group_name: str = "lamps", context: ActionContext | None = None
) -> Awaitable[CreateConsumerGroupAnswer]:
    return create_consumer_group(context or world.context(), CreateConsumerGroupRequest(group_name=group_name))


async def made(world: World, group_name: str = "lamps", context: ActionContext | None = None) -> str:
    group_id = (await create(world, group_name, context)).group_id
    assert isinstance(group_id, str)
    return group_id


async def show(world: World, group_id: str) -> ConsumerGroupDto:
    answer = await query_consumer_group_by_group_id(world.context(), GroupRequest(group_id=group_id))
    assert isinstance(answer.data, ConsumerGroupDto)
    return answer.data


def list_page(
    world: World, current_page: int = 1, page_size: int = 10, **fields: Any
) -> Awaitable[QueryConsumerGroupListAnswer]:
    request = QueryConsumerGroupListRequest(current_page=current_page, page_size=page_size, **fields)
    return query_consumer_group_list(world.context(), request)


def names_of(answer: QueryConsumerGroupListAnswer) -> list[str]:
    assert isinstance(answer.data, QueryConsumerGroupListData)
    return [group.group_name for group in answer.data.groups]


def update(world: World, group_id: str, name: str) -> Awaitable[Answer]:
    return update_consumer_group(world.context(), UpdateConsumerGroupRequest(group_id=group_id, new_group_name=name))


def delete(world: World, group_id: str) -> Awaitable[Answer]:
    return delete_consumer_group(world.context(), GroupRequest(group_id=group_id))


def subscribe(world: World, product_key: str, *group_ids: str, **fields: Any) -> Awaitable[Answer]:
    request = CreateSubscribeRelationRequest(
        product_key=product_key, consumer_group_ids=list(group_ids), **{"device_data_flag": True, **fields}
    )
    return create_subscribe_relation(world.context(), request)


def resubscribe(world: World, product_key: str, *group_ids: str, **fields: Any) -> Awaitable[Answer]:
    request = UpdateSubscribeRelationRequest(
        product_key=product_key, consumer_group_ids=list(group_ids), **{"type": "AMQP", **fields}
    )
    return update_subscribe_relation(world.context(), request)


def subscription(world: World, product_key: str, relation_type: str = "AMQP") -> Awaitable[Any]:
    return query_subscribe_relation(world.context(), RelationRequest(product_key=product_key, type=relation_type))


def unsubscribe(world: World, product_key: str, relation_type: str = "AMQP") -> Awaitable[Answer]:
    return delete_subscribe_relation(world.context(), RelationRequest(product_key=product_key, type=relation_type))


def add(world: World, product_key: str, group_id: str) -> Awaitable[Answer]:
    request = GroupRelationRequest(product_key=product_key, consumer_group_id=group_id)
    return create_consumer_group_subscribe_relation(world.context(), request)


def remove(world: World, product_key: str, group_id: str) -> Awaitable[Answer]:
    request = GroupRelationRequest(product_key=product_key, consumer_group_id=group_id)
    return delete_consumer_group_subscribe_relation(world.context(), request)


# ---- CreateConsumerGroup


async def test_a_group_gets_an_id_of_26_letters_and_digits(world: World) -> None:
    group_id = await made(world, "消费组1")
    assert re.fullmatch(r"[A-Za-z0-9]{20}000100", group_id)
    shown = await show(world, group_id)
    assert (shown.group_id, shown.group_name, shown.create_time) == (group_id, "消费组1", "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize("name", ["", "abc", "x" * 31, "with blank"])
async def test_a_name_that_breaks_its_rule_makes_no_group(world: World, name: str) -> None:
    await check_refusal(create(world, name), codes.INVALID_CONSUMER_GROUP_NAME, f"GroupName={name}", "4-30")
    assert (await list_page(world)).total == 1


async def test_a_name_is_taken_once_in_an_account(world: World) -> None:
    await made(world)
    await made(world, context=world.context(OTHER_ACCOUNT_ID))
    await check_refusal(create(world), codes.CONSUMER_GROUP_NAME_EXISTED, "GroupName=lamps")
    await check_refusal(create(world, DEFAULT_GROUP_ID), codes.CONSUMER_GROUP_NAME_EXISTED)


async def test_an_id_that_is_taken_is_drawn_anew(world: World) -> None:
    taken = (await made(world)).removesuffix("000100")
    world.ids.tokens.extend([taken] * (TRIES_MAX - 1) + ["n" * 20])
    assert await made(world, "second") == "n" * 20 + "000100"
    world.ids.tokens.extend([taken] * TRIES_MAX)
    await check_refusal(create(world, "third"), codes.CREATE_CONSUMER_GROUP_FAILED)


async def test_an_account_has_so_many_groups_and_no_more(world: World) -> None:
    for number in range(GROUPS_PER_ACCOUNT_MAX - 1):
        await world.store.add_consumer_group(ConsumerGroup(f"g{number}", ACCOUNT_ID, f"group{number}", world.now_ms))
    await made(world, "last")
    await check_refusal(create(world, "one_more"), codes.CONSUMER_GROUP_EXCEED_LIMIT, f"<= {GROUPS_PER_ACCOUNT_MAX}")
    await made(world, context=world.context(OTHER_ACCOUNT_ID))


# ---- QueryConsumerGroupList


async def test_groups_are_listed_newest_first_and_the_default_group_last(world: World) -> None:
    for name in ("lamps", "doors"):
        await made(world, name)
    await made(world, "others", world.context(OTHER_ACCOUNT_ID))
    pages = [await list_page(world, number, 2) for number in (1, 2, 3)]
    assert [names_of(page) for page in pages] == [["doors", "lamps"], [DEFAULT_GROUP_ID], []]
    assert [(page.current_page, page.page_size, page.page_count, page.total) for page in pages] == [
        (1, 2, 2, 3),
        (2, 2, 2, 3),
        (3, 2, 2, 3),
    ]
    assert names_of(await list_page(world, 1, 3)) == ["doors", "lamps", DEFAULT_GROUP_ID]


async def test_groups_are_found_by_a_part_of_their_name(world: World) -> None:
    for name in ("lamps", "doors", "group_of_lamps"):
        await made(world, name)
    found = await list_page(world, fuzzy=True, group_name="lamp")
    assert (names_of(found), found.total) == (["group_of_lamps", "lamps"], 2)
    assert names_of(await list_page(world, fuzzy=True, group_name="group")) == ["group_of_lamps", DEFAULT_GROUP_ID]
    assert (await list_page(world, group_name="lamp", type="AMQP", sub_biz_code="x")).total == 4
    await check_refusal(list_page(world, fuzzy=True), codes.INVALID_CONSUMER_GROUP_NAME, "Fuzzy=true")


@pytest.mark.parametrize("page", [(1, 1), (1, PAGE_SIZE_MAX), (CURRENT_PAGE_MAX, PAGE_SIZE_MAX)])
async def test_a_page_at_its_bounds_is_listed(world: World, page: tuple[int, int]) -> None:
    assert (await list_page(world, *page)).total == 1


@pytest.mark.parametrize("page", [(0, 1), (CURRENT_PAGE_MAX + 1, 1), (1, 0), (1, PAGE_SIZE_MAX + 1)])
async def test_a_page_past_its_bounds_is_refused(world: World, page: tuple[int, int]) -> None:
    await check_refusal(list_page(world, *page), codes.INVALID_PAGE_PARAMS)


# ---- one group


@pytest.mark.parametrize(
    "act",
    [
        query_consumer_group_by_group_id,
        query_consumer_group_status,
        reset_consumer_group_position,
        delete_consumer_group,
    ],
)
async def test_what_is_not_a_group_of_the_caller_does_not_exist(world: World, act: Any) -> None:
    group_id = await made(world, context=world.context(OTHER_ACCOUNT_ID))
    await check_refusal(act(world.context(), GroupRequest(group_id="")), codes.INVALID_CONSUMER_GROUP_ID, "GroupId=")
    for bad in ("a-b", "x" * 65, "ä"):
        await check_refusal(act(world.context(), GroupRequest(group_id=bad)), codes.INVALID_CONSUMER_GROUP_ID, "1-64")
    for none in (group_id, "x" * 64):
        request = GroupRequest(group_id=none)
        await check_refusal(act(world.context(), request), codes.CONSUMER_GROUP_NOT_EXIST, f"GroupId={none}")
    answer = await act(world.context(OTHER_ACCOUNT_ID), GroupRequest(group_id=group_id))
    assert answer.success


async def test_the_default_group_is_there_and_as_old_as_its_account(world: World) -> None:
    created = utc_text(world.now_ms)
    world.clock.advance(3600)
    shown = await show(world, DEFAULT_GROUP_ID)
    assert (shown.group_id, shown.group_name, shown.create_time) == (DEFAULT_GROUP_ID, DEFAULT_GROUP_ID, created)


async def test_the_default_group_cannot_be_changed_or_deleted(world: World) -> None:
    refusals = (update(world, DEFAULT_GROUP_ID, "lamps"), delete(world, DEFAULT_GROUP_ID))
    for refused in refusals:
        await check_refusal(refused, codes.CHANGE_DEFAULT_CONSUMER_GROUP_NOT_ALLOWED, DEFAULT_GROUP_ID)


async def test_a_group_gets_another_name(world: World) -> None:
    group_id = await made(world)
    await made(world, "doors")
    assert await update(world, group_id, "灯_1") == Answer()
    assert (await show(world, group_id)).group_name == "灯_1"
    await update(world, group_id, "灯_1")
    await check_refusal(update(world, group_id, "doors"), codes.CONSUMER_GROUP_NAME_EXISTED, "NewGroupName=doors")
    await check_refusal(update(world, group_id, DEFAULT_GROUP_ID), codes.CONSUMER_GROUP_NAME_EXISTED)
    await check_refusal(update(world, group_id, "abc"), codes.INVALID_CONSUMER_GROUP_NAME, "NewGroupName=abc", "4-30")
    await check_refusal(update(world, "none", "lamps"), codes.CONSUMER_GROUP_NOT_EXIST, "GroupId=none")
    assert (await show(world, group_id)).group_name == "灯_1"


async def test_a_deleted_group_is_gone_with_what_waits_for_it_and_its_consumers(world: World) -> None:
    group_id = await made(world)
    destination = destination_of(ACCOUNT_ID, group_id)
    taker = Taker()
    world.subscriptions.dispatcher.attach(destination, taker)
    world.store.record_notice([destination], a_notice())
    assert await delete(world, group_id) == Answer()
    assert taker.is_dismissed
    assert await world.store.count_letters(destination) == 0
    await check_refusal(delete(world, group_id), codes.CONSUMER_GROUP_NOT_EXIST)
    await made(world)


async def test_a_group_of_a_subscription_is_not_deleted(world: World) -> None:
    key = (await world.create_product()).product_key
    group_id = await made(world)
    await subscribe(world, key, group_id, DEFAULT_GROUP_ID)
    await check_refusal(delete(world, group_id), codes.DELETE_CONSUMER_GROUP_FAILED, f"ProductKey={key}")
    await remove(world, key, group_id)
    await delete(world, group_id)
    assert (await subscription(world, key)).consumer_group_ids == [DEFAULT_GROUP_ID]


# ---- QueryConsumerGroupStatus, ResetConsumerGroupPosition


async def test_a_group_that_nothing_was_sent_to_has_a_status_of_zeroes(world: World) -> None:
    for group_id in (await made(world), DEFAULT_GROUP_ID):
        status = await query_consumer_group_status(world.context(), GroupRequest(group_id=group_id))
        assert (status.accumulation_count, status.consumer_speed, status.last_consumer_time) == (0, 0, UNSET)
        assert status.client_connection_status_list is not UNSET
        assert status.client_connection_status_list.consumer_group_client_connection_info == []


async def test_a_status_tells_what_waits_how_fast_it_is_taken_and_by_whom(world: World) -> None:
    destination = destination_of(ACCOUNT_ID, DEFAULT_GROUP_ID)
    first, second = Taker("client-1", "192.0.2.1:40000"), Taker("client-2", "192.0.2.2:40000")
    attached_ms = world.now_ms
    attachments = [world.subscriptions.dispatcher.attach(destination, taker) for taker in (first, second)]
    for number, age_ms in ((1, 0), (2, 60_000), (3, 0), (4, 0)):
        world.store.record_notice([destination], a_notice(number, generated_ms=attached_ms - age_ms))
    assert await world.store.flush()
    letters = await world.store.lease_letters(destination, 3, attached_ms, attached_ms + 1_000)
    world.clock.advance(5)
    for place, letter in zip((0, 0, 1), letters, strict=True):
        attachments[place].accept(letter)
    status = await query_consumer_group_status(world.context(), GroupRequest(group_id=DEFAULT_GROUP_ID))
    assert status.accumulation_count == 1
    assert status.last_consumer_time == utc_text(attached_ms + 5_000)
    assert (status.consumer_speed, status.real_time_consume_count_per_minute) == (3, 2)
    assert status.accumulated_consume_count_per_minute == 1
    assert status.client_connection_status_list is not UNSET
    clients = status.client_connection_status_list.consumer_group_client_connection_info
    assert [
        (
            client.client_id,
            client.client_ip_port,
            client.online_time,
            client.real_time_consume_count_per_minute,
            client.accumulated_consume_count_per_minute,
        )
        for client in clients
    ] == [("client-1", "192.0.2.1:40000", attached_ms, 1, 1), ("client-2", "192.0.2.2:40000", attached_ms, 1, 0)]
    for attachment in attachments:
        attachment.detach()
    world.clock.advance(60)
    status = await query_consumer_group_status(world.context(), GroupRequest(group_id=DEFAULT_GROUP_ID))
    assert (status.consumer_speed, status.last_consumer_time) == (0, utc_text(attached_ms + 5_000))


async def test_a_reset_forgets_what_waits_for_that_group_alone(world: World) -> None:
    group_id = await made(world)
    waiting, others = (destination_of(ACCOUNT_ID, name) for name in (group_id, DEFAULT_GROUP_ID))
    world.store.record_notice([waiting, others], a_notice())
    request = GroupRequest(group_id=group_id)
    assert await reset_consumer_group_position(world.context(), request) == Answer()
    assert [await world.store.count_letters(destination) for destination in (waiting, others)] == [0, 1]
    await reset_consumer_group_position(world.context(), GroupRequest(group_id=DEFAULT_GROUP_ID))
    assert await world.store.count_letters(others) == 0


# ---- CreateSubscribeRelation, UpdateSubscribeRelation


@pytest.mark.parametrize(("flag", "kind"), FLAGS.items())
async def test_each_flag_subscribes_to_its_kind(world: World, flag: str, kind: NoticeKind) -> None:
    key = (await world.create_product()).product_key
    await subscribe(world, key, DEFAULT_GROUP_ID, **{"device_data_flag": False, flag: True})
    relation = await world.store.find_relation(key)
    assert relation == SubscribeRelation(key, "AMQP", frozenset({kind}), (DEFAULT_GROUP_ID,))
    answer = await subscription(world, key)
    assert {name for name in FLAGS if getattr(answer, name)} == {flag}
    assert all(isinstance(getattr(answer, name), bool) for name in FLAGS)


async def test_every_kind_has_a_flag() -> None:
    assert set(FLAGS.values()) == set(NoticeKind)


async def test_a_subscription_is_shown_as_it_was_made(world: World) -> None:
    key = (await world.create_product()).product_key
    group_id = await made(world)
    await subscribe(world, key, group_id, DEFAULT_GROUP_ID, group_id, subscribe_flags="x")
    answer = await subscription(world, key)
    assert isinstance(answer, QuerySubscribeRelationAnswer)
    assert (answer.product_key, answer.type) == (key, "AMQP")
    assert answer.consumer_group_ids == [group_id, DEFAULT_GROUP_ID]
    assert (answer.mns_configuration, answer.subscribe_flags) == (UNSET, UNSET)


async def test_an_update_replaces_the_whole_subscription(world: World) -> None:
    key = (await world.create_product()).product_key
    group_id = await made(world)
    await subscribe(world, key, DEFAULT_GROUP_ID, ota_event_flag=True)
    assert await resubscribe(world, key, group_id, device_tag_flag=True) == Answer()
    relation = await world.store.find_relation(key)
    assert relation == SubscribeRelation(key, "AMQP", frozenset({NoticeKind.DEVICE_TAG}), (group_id,))


async def test_a_product_is_subscribed_to_once(world: World) -> None:
    key = (await world.create_product()).product_key
    await subscribe(world, key, DEFAULT_GROUP_ID)
    await check_refusal(subscribe(world, key, DEFAULT_GROUP_ID), codes.ILLEGAL_REQUEST, "UpdateSubscribeRelation")


async def test_a_product_without_subscription_has_none_to_show_change_or_delete(world: World) -> None:
    key = (await world.create_product()).product_key
    for refused in (
        subscription(world, key),
        resubscribe(world, key, DEFAULT_GROUP_ID, device_data_flag=True),
        unsubscribe(world, key),
        add(world, key, DEFAULT_GROUP_ID),
        remove(world, key, DEFAULT_GROUP_ID),
    ):
        await check_refusal(refused, codes.ILLEGAL_REQUEST, f"ProductKey={key}", "CreateSubscribeRelation")


@pytest.mark.parametrize("act", [subscribe, resubscribe])
async def test_a_subscription_that_breaks_a_rule_is_refused(world: World, act: Any) -> None:
    key = (await world.create_product()).product_key
    if act is resubscribe:
        await subscribe(world, key, DEFAULT_GROUP_ID)
    before = await world.store.find_relation(key)
    foreign = await made(world, context=world.context(OTHER_ACCOUNT_ID))

    def attempt(*group_ids: str, **fields: Any) -> Awaitable[Answer]:
        return act(world, key, *group_ids, **{"device_data_flag": True, **fields})  # type: ignore[no-any-return]

    await check_refusal(attempt(DEFAULT_GROUP_ID, device_data_flag=False), codes.CALLBACK_TYPE_EMPTY, key)
    await check_refusal(attempt(DEFAULT_GROUP_ID, type="MNS"), codes.MNS_NOT_SUPPORT, "Type=MNS")
    await check_refusal(attempt(DEFAULT_GROUP_ID, type="amqp"), codes.INVALID_SUBSCRIBE_TYPE, "Type=amqp", "AMQP")
    await check_refusal(
        attempt(DEFAULT_GROUP_ID, mns_configuration="{}"), codes.INVALID_SUBSCRIBE_TYPE, "MnsConfiguration={}"
    )
    await check_refusal(attempt(), codes.INVALID_CONSUMER_GROUP, "1..10")
    await check_refusal(attempt(foreign), codes.CONSUMER_GROUP_NOT_EXIST, f"ConsumerGroupIds={foreign}")
    await check_refusal(attempt(DEFAULT_GROUP_ID, ""), codes.INVALID_CONSUMER_GROUP_ID, "ConsumerGroupIds=")
    assert await world.store.find_relation(key) == before


@pytest.mark.parametrize("act", [subscribe, resubscribe])
async def test_a_product_goes_to_so_many_groups_and_no_more(world: World, act: Any) -> None:
    key = (await world.create_product()).product_key
    if act is resubscribe:
        await subscribe(world, key, DEFAULT_GROUP_ID)
    group_ids = [await made(world, f"group{number}") for number in range(GROUPS_PER_PRODUCT_MAX + 1)]
    refused = act(world, key, *group_ids, device_data_flag=True)
    await check_refusal(refused, codes.CONSUMER_GROUP_EXCEEDS_LIMIT, "ConsumerGroupIds=11", "<= 10")
    await act(world, key, *group_ids[:-1], group_ids[0], device_data_flag=True)
    assert (await subscription(world, key)).consumer_group_ids == group_ids[:-1]
    await check_refusal(add(world, key, group_ids[-1]), codes.CONSUMER_GROUP_EXCEEDS_LIMIT, "<= 10")


@pytest.mark.parametrize("act", [subscribe, resubscribe, add, remove])
async def test_subscriptions_are_of_the_callers_own_products(world: World, act: Any) -> None:
    foreign = (await world.create_product(context=world.context(OTHER_ACCOUNT_ID))).product_key
    await check_refusal(act(world, foreign, DEFAULT_GROUP_ID), codes.NOT_EXISTED_PRODUCT, foreign)
    await check_refusal(act(world, "", DEFAULT_GROUP_ID), codes.NULL_PRODUCT_KEY)


@pytest.mark.parametrize("act", [query_subscribe_relation, delete_subscribe_relation])
async def test_a_subscription_belongs_to_its_products_account_and_instance(world: World, act: Any) -> None:
    there = world.context(instance_id="iot-cd40w1")
    key = (await world.create_product(context=there)).product_key
    await subscribe(world, key, DEFAULT_GROUP_ID)
    request = RelationRequest(product_key=key, type="AMQP")
    for context in (world.context(OTHER_ACCOUNT_ID), world.context(instance_id="")):
        await check_refusal(act(context, request), codes.NOT_EXISTED_PRODUCT, key)
    for bad, row in (("MNS", codes.MNS_NOT_SUPPORT), ("", codes.INVALID_SUBSCRIBE_TYPE)):
        await check_refusal(act(there, RelationRequest(product_key=key, type=bad)), row, f"Type={bad}")
    assert (await act(there, request)).success


async def test_a_product_that_another_process_deleted_cannot_be_subscribed_to(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.registry.find_product(key)
    await world.store.delete_product(key)
    await check_refusal(subscribe(world, key, DEFAULT_GROUP_ID), codes.NOT_EXISTED_PRODUCT, key)


async def test_a_deleted_subscription_is_gone_and_what_waits_is_not(world: World) -> None:
    key = (await world.create_product()).product_key
    destination = destination_of(ACCOUNT_ID, DEFAULT_GROUP_ID)
    await subscribe(world, key, DEFAULT_GROUP_ID)
    world.store.record_notice([destination], a_notice())
    assert await unsubscribe(world, key) == Answer()
    assert await world.store.find_relation(key) is None
    assert await world.store.count_letters(destination) == 1
    await subscribe(world, key, DEFAULT_GROUP_ID)


# ---- CreateConsumerGroupSubscribeRelation, DeleteConsumerGroupSubscribeRelation


async def test_a_group_is_added_to_a_subscription_and_taken_out(world: World) -> None:
    key = (await world.create_product()).product_key
    group_id = await made(world)
    await subscribe(world, key, DEFAULT_GROUP_ID)
    before = await world.store.find_relation(key)
    assert before is not None
    for _ in range(2):
        assert await add(world, key, group_id) == Answer()
        assert await world.store.find_relation(key) == replace(before, group_ids=(DEFAULT_GROUP_ID, group_id))
    assert await remove(world, key, DEFAULT_GROUP_ID) == Answer()
    assert await world.store.find_relation(key) == replace(before, group_ids=(group_id,))
    await check_refusal(remove(world, key, DEFAULT_GROUP_ID), codes.INVALID_CONSUMER_GROUP, DEFAULT_GROUP_ID)
    for act in (add, remove):
        await check_refusal(act(world, key, "none"), codes.CONSUMER_GROUP_NOT_EXIST, "ConsumerGroupId=none")


async def test_the_last_group_stays_in_its_subscription(world: World) -> None:
    key = (await world.create_product()).product_key
    await subscribe(world, key, DEFAULT_GROUP_ID)
    refused = remove(world, key, DEFAULT_GROUP_ID)
    await check_refusal(refused, codes.ILLEGAL_REQUEST, "DeleteSubscribeRelation", f"ProductKey={key}")
    assert (await subscription(world, key)).consumer_group_ids == [DEFAULT_GROUP_ID]


async def test_changes_made_at_the_same_time_are_all_kept(world: World) -> None:
    key = (await world.create_product()).product_key
    group_ids = [await made(world, f"group{number}") for number in range(GROUPS_PER_PRODUCT_MAX)]
    await subscribe(world, key, DEFAULT_GROUP_ID)
    answers = await asyncio.gather(*(add(world, key, group_id) for group_id in group_ids), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ApiError)]
    assert [error.row for error in refused] == [codes.CONSUMER_GROUP_EXCEEDS_LIMIT]
    assert len((await subscription(world, key)).consumer_group_ids) == GROUPS_PER_PRODUCT_MAX


async def test_a_group_is_not_subscribed_while_it_is_deleted(world: World) -> None:
    key = (await world.create_product()).product_key
    group_id = await made(world)
    answers = await asyncio.gather(delete(world, group_id), subscribe(world, key, group_id), return_exceptions=True)
    assert answers[0] == Answer()
    assert isinstance(answers[1], ApiError)
    assert answers[1].row is codes.CONSUMER_GROUP_NOT_EXIST
    assert await world.store.find_relation(key) is None


# ---- who is told after a change


async def test_what_is_wanted_follows_every_change_at_once(world: World) -> None:
    key = (await world.create_product()).product_key
    forwarder = world.subscriptions.forwarder

    async def wanted() -> set[NoticeKind]:
        forwarder.wants(key, NoticeKind.DEVICE_DATA)
        await forwarder.drain()
        return {kind for kind in NoticeKind if forwarder.wants(key, kind)}

    assert await wanted() == set()
    await subscribe(world, key, DEFAULT_GROUP_ID)
    assert await wanted() == {NoticeKind.DEVICE_DATA}
    await resubscribe(world, key, DEFAULT_GROUP_ID, ota_job_flag=True)
    assert await wanted() == {NoticeKind.OTA_JOB}
    await unsubscribe(world, key)
    assert await wanted() == set()

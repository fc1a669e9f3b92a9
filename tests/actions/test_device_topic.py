import pytest
from msgspec import UNSET

from linkstead.actions.device_topic import (
    TOPICS_MAX,
    DeviceTopicRequest,
    SubscribedTopic,
    SubscribeTopicRequest,
    query_device_sub_topic,
    subscribe_topic,
    unsubscribe_topic,
)
from linkstead.errors import ErrorRow, codes
from linkstead.registry import DeviceKey
from linkstead.sessions import SUBSCRIPTIONS_MAX, Session
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio


async def add_lamp(world: World) -> DeviceKey:
    product_key = (await world.create_product()).product_key
    await world.register_device(product_key)
    return DeviceKey(product_key, "lamp-01")


def online(world: World, key: DeviceKey) -> Session:
    return world.attach(FakeLink(key))


def own(key: DeviceKey, path: str) -> str:
    return f"/{key.product_key}/{key.device_name}/{path}"


def request_of(key: DeviceKey, *names: str) -> SubscribeTopicRequest:
    return SubscribeTopicRequest(product_key=key.product_key, device_name=key.device_name, topic=list(names))


async def subscribe(world: World, key: DeviceKey, *names: str) -> None:
    assert (await subscribe_topic(world.context(), request_of(key, *names))).success


async def unsubscribe(world: World, key: DeviceKey, *names: str) -> None:
    answer = await unsubscribe_topic(world.context(), request_of(key, *names))
    assert (answer.success, answer.failure_topics) == (True, UNSET)


async def show(world: World, key: DeviceKey) -> list[SubscribedTopic]:
    request = DeviceTopicRequest(product_key=key.product_key, device_name=key.device_name)
    answer = await query_device_sub_topic(world.context(), request)
    assert answer.topic_list is not UNSET
    return answer.topic_list


async def test_a_device_is_subscribed_and_unsubscribed(world: World) -> None:
    key = await add_lamp(world)
    session = online(world, key)
    await subscribe(world, key, own(key, "user/get"))
    assert session.subscriptions == {own(key, "user/get"): 1}
    assert await show(world, key) == [SubscribedTopic(topic_name=own(key, "user/get"), timestamp=world.now_ms)]
    await unsubscribe(world, key, own(key, "user/get"), own(key, "user/other"))
    assert session.subscriptions == {}
    assert await show(world, key) == []


async def test_what_the_device_subscribed_itself_stays_as_it_is(world: World) -> None:
    key = await add_lamp(world)
    session = online(world, key)
    session.subscribe(own(key, "user/get"), 0, world.now_ms)
    begun_ms = world.now_ms
    world.clock.advance(5)
    await subscribe(world, key, own(key, "user/get"), own(key, "#"))
    assert session.subscriptions == {own(key, "user/get"): 0, own(key, "#"): 1}
    assert [topic.timestamp for topic in await show(world, key)] == [begun_ms, world.now_ms]
    await unsubscribe(world, key, own(key, "user/get"))
    assert list(session.subscriptions) == [own(key, "#")]


async def test_a_persistent_session_keeps_it_across_a_restart(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, kept_s=3600.0)
    await subscribe(world, key, own(key, "user/get"))
    before = await show(world, key)
    world.detach(link)
    assert await show(world, key) == before
    await world.store.flush()
    later = World(world.path, world.store, world.clock)
    await later.delivery.restore()
    assert await show(later, key) == before


async def test_a_subscription_whose_beginning_is_not_known_is_listed_without_it(world: World) -> None:
    key = await add_lamp(world)
    online(world, key).subscribe(own(key, "user/get"), 1, 0)
    assert await show(world, key) == [SubscribedTopic(topic_name=own(key, "user/get"))]


@pytest.mark.parametrize(
    ("topic", "row"),
    [
        ("", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("user/get", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/{pk}/lamp-02/user/get", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/sys/{pk}/lamp-01/thing/service/property/set", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/{pk}/lamp-01/user//get", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/{pk}/lamp-01/user/#/get", codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/{pk}/lamp-01/user/" + "x" * 120, codes.INVALID_FORMATTED_TOPIC_NAME),
        ("/{pk}/lamp-01/user/update", codes.TOPIC_TEMPLATE_IS_NOT_FOUND),
        ("/{pk}/lamp-01/user/unknown", codes.TOPIC_TEMPLATE_IS_NOT_FOUND),
    ],
)
async def test_a_topic_the_device_may_not_subscribe_to_is_refused(world: World, topic: str, row: ErrorRow) -> None:
    key = await add_lamp(world)
    session = online(world, key)
    name = topic.replace("{pk}", key.product_key)
    await check_refusal(subscribe(world, key, own(key, "user/get"), name), row)
    assert session.subscriptions == {}


async def test_a_topic_of_somebody_else_is_not_unsubscribed(world: World) -> None:
    key = await add_lamp(world)
    session = online(world, key)
    await subscribe(world, key, own(key, "user/get"))
    foreign = f"/{key.product_key}/lamp-02/user/get"
    await check_refusal(unsubscribe(world, key, own(key, "user/get"), foreign), codes.INVALID_FORMATTED_TOPIC_NAME)
    assert list(session.subscriptions) == [own(key, "user/get")]


async def test_a_device_that_is_away_is_left_alone(world: World) -> None:
    key = await add_lamp(world)
    assert await show(world, key) == []
    await check_refusal(subscribe(world, key, own(key, "user/get")), codes.MESSAGE_OFFLINE)
    link = FakeLink(key)
    session = world.attach(link, own(key, "user/get"), kept_s=3600.0)
    world.detach(link)
    await check_refusal(unsubscribe(world, key, own(key, "user/get")), codes.MESSAGE_OFFLINE)
    assert list(session.subscriptions) == [own(key, "user/get")]


async def test_a_request_has_so_many_topics_and_no_more(world: World) -> None:
    key = await add_lamp(world)
    online(world, key)
    await subscribe(world, key, *[own(key, "user/get")] * TOPICS_MAX)
    for action in (subscribe, unsubscribe):
        too_many = [own(key, "user/get")] * (TOPICS_MAX + 1)
        await check_refusal(action(world, key, *too_many), codes.INVALID_FORMATTED_PARAMETER, "Topic.N")


async def test_a_device_has_so_many_subscriptions_and_no_more(world: World) -> None:
    key = await add_lamp(world)
    session = online(world, key)
    for number in range(SUBSCRIPTIONS_MAX - 1):
        session.subscribe(own(key, f"t{number}"), 0, world.now_ms)
    await check_refusal(subscribe(world, key, own(key, "user/get"), own(key, "#")), codes.ILLEGAL_REQUEST)
    await subscribe(world, key, own(key, "user/get"))
    await subscribe(world, key, own(key, "user/get"))
    assert len(session.subscriptions) == SUBSCRIPTIONS_MAX


async def test_a_foreign_device_is_as_if_it_were_not_there(world: World) -> None:
    key = await add_lamp(world)
    online(world, key)
    stranger = world.context(OTHER_ACCOUNT_ID)
    named = DeviceTopicRequest(product_key=key.product_key, device_name=key.device_name)
    for work in (
        subscribe_topic(stranger, request_of(key, own(key, "user/get"))),
        unsubscribe_topic(stranger, request_of(key, own(key, "user/get"))),
        query_device_sub_topic(stranger, named),
    ):
        await check_refusal(work, codes.NOT_EXISTED_PRODUCT)

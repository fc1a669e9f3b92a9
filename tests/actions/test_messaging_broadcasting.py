import base64
from typing import Any

import pytest

from linkstead.actions.messaging.broadcasting import (
    BROADCAST_BYTES_MAX,
    PubBroadcastAnswer,
    PubBroadcastRequest,
    make_target,
    pub_broadcast,
    read_target,
)
from linkstead.errors import ErrorRow, codes
from linkstead.invocation import Call, Diagnosis, Reached, Stage, Verdict
from linkstead.registry import DeviceKey
from linkstead.sessions import Ending
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio

HELLO = "aGVsbG8="


async def connect_lamps(world: World, *names: str) -> list[FakeLink]:
    """Devices of a new product, connected and subscribed to nothing."""
    product = await world.create_product()
    links = [FakeLink(DeviceKey(product.product_key, name)) for name in names]
    for link in links:
        world.attach(link)
    return links


async def broadcast(world: World, product_key: str, **parameters: Any) -> Call:
    """Broadcast to a product; the record once the request is answered."""
    context, call = world.call_context("PubBroadcast")
    request = PubBroadcastRequest(**{"product_key": product_key, "message_content": HELLO} | parameters)
    answer = await pub_broadcast(context, request)
    world.journal.close(call)
    assert answer == PubBroadcastAnswer(message_id=call.message_id)
    return call


async def stored(world: World, call: Call) -> Call:
    found = await world.store.find_call(ACCOUNT_ID, str(call.message_id))
    assert found is not None
    return found


def ending(call: Call) -> tuple[Verdict | None, Diagnosis | None]:
    return call.verdict, call.diagnosis


async def test_without_a_topic_every_connected_device_gets_it_on_a_topic_of_its_own(world: World) -> None:
    links = await connect_lamps(world, "lamp-01", "lamp-02")
    product_key = links[0].key.product_key
    call = await broadcast(world, product_key)
    assert [link.messages for link in links] == [
        [(f"/sys/{product_key}/{name}/broadcast/request/{call.message_id}", b"hello")]
        for name in ("lamp-01", "lamp-02")
    ]
    kept = await stored(world, call)
    assert ending(kept) == (Verdict.SUCCESS, Diagnosis.DELIVERED)
    assert kept.target == f"/sys/{product_key}/+/broadcast/request/{call.message_id} (2 of 2 devices)"
    assert (kept.action, kept.key, kept.request_payload) == ("PubBroadcast", None, b"hello")
    assert [moment.stage for moment in kept.timeline] == [
        Stage.RECEIVED,
        Stage.ACCEPTED,
        Stage.ROUTED,
        Stage.WRITTEN,
    ]


async def test_with_a_topic_the_subscribers_get_it(world: World) -> None:
    exact, wild, deaf = await connect_lamps(world, "lamp-01", "lamp-02", "lamp-03")
    product_key = exact.key.product_key
    topic = f"/broadcast/{product_key}/group1"
    world.attach(exact, topic)
    world.attach(wild, f"/broadcast/{product_key}/+")
    world.attach(deaf, f"/broadcast/{product_key}/group2")
    call = await broadcast(world, product_key, topic_full_name=topic)
    assert [link.messages for link in (exact, wild, deaf)] == [[(topic, b"hello")]] * 2 + [[]]
    kept = await stored(world, call)
    assert (ending(kept), kept.target) == ((Verdict.SUCCESS, Diagnosis.DELIVERED), f"{topic} (2 of 3 devices)")


async def test_devices_that_are_away_or_of_another_product_get_nothing(world: World) -> None:
    here, away = await connect_lamps(world, "lamp-01", "lamp-02")
    other = FakeLink(DeviceKey((await world.create_product("OtherLamp")).product_key, "lamp-01"))
    world.attach(other)
    world.detach(away, Ending.LOST)
    call = await broadcast(world, here.key.product_key)
    assert (len(here.messages), away.messages, other.messages) == (1, [], [])
    assert call.target.endswith(" (1 of 1 devices)")


async def test_without_a_connected_device_it_is_accepted_and_its_record_says_so(world: World) -> None:
    product_key = (await world.create_product()).product_key
    kept = await stored(world, await broadcast(world, product_key))
    assert (ending(kept), kept.target.endswith(" (0 of 0 devices)")) == (
        (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED),
        True,
    )


async def test_without_a_subscriber_it_is_accepted_and_its_record_says_so(world: World) -> None:
    (link,) = await connect_lamps(world, "lamp-01")
    topic = f"/broadcast/{link.key.product_key}/all"
    kept = await stored(world, await broadcast(world, link.key.product_key, topic_full_name=topic))
    assert (ending(kept), kept.target) == ((Verdict.OFFLINE, Diagnosis.NOT_SUBSCRIBED), f"{topic} (0 of 1 devices)")


async def test_its_record_ends_when_the_last_device_was_written_to(world: World) -> None:
    product_key = (await world.create_product()).product_key
    slow = FakeLink(DeviceKey(product_key, "lamp-01"), writes_at_once=False)
    world.attach(slow)
    call = await broadcast(world, product_key)
    kept = await stored(world, call)
    assert (ending(kept), kept.target.endswith(" (0 of 1 devices)")) == ((None, None), True)
    slow.write()
    kept = await stored(world, call)
    assert ending(kept) == (Verdict.SUCCESS, Diagnosis.DELIVERED)
    assert kept.target.endswith(" (1 of 1 devices)")


def check_broadcast(
    world: World, product_key: str, row: ErrorRow, *said: str, account_id: str = ACCOUNT_ID, **parameters: Any
) -> Any:
    context, _ = world.call_context("PubBroadcast", account_id)
    request = PubBroadcastRequest(**{"product_key": product_key, "message_content": HELLO} | parameters)
    return check_refusal(pub_broadcast(context, request), row, *said)


async def test_a_topic_has_to_be_a_broadcast_topic_of_the_product(world: World) -> None:
    (link,) = await connect_lamps(world, "lamp-01")
    product_key = link.key.product_key
    for topic in (
        "/broadcast/a1Other0001/all",
        f"/broadcast/{product_key}",
        f"/broadcast/{product_key}/",
        f"/broadcast/{product_key}/+",
        f"/broadcast/{product_key}/#",
        f"/broadcast/{product_key}/a/b/c/d/e/f",
        f"/broadcast/{product_key}/" + "x" * 128,
        f"/{product_key}/lamp-01/user/get",
    ):
        rule = f"/broadcast/{product_key}/…; <= 128 B, <= 7 /, no empty level, no + # ?"
        await check_broadcast(
            world, product_key, codes.INVALID_FORMATTED_TOPIC_NAME, "TopicFullName=/", rule, topic_full_name=topic
        )
    assert link.messages == []


async def test_content_is_checked_and_may_have_64_kb(world: World) -> None:
    (link,) = await connect_lamps(world, "lamp-01")
    product_key = link.key.product_key
    longest = bytes(BROADCAST_BYTES_MAX)
    too_long = base64.b64encode(longest + b"\x00").decode()
    assert BROADCAST_BYTES_MAX == 64 * 1024
    await check_broadcast(world, product_key, codes.NULL_MESSAGE_CONTENT, message_content="")
    await check_broadcast(world, product_key, codes.MESSAGE_CONTENT_NOT_BASE64, message_content="-")
    await check_broadcast(
        world, product_key, codes.PUBLISH_MESSAGE_FAILED, "65537 B", "<= 65536 B", message_content=too_long
    )
    call = await broadcast(world, product_key, message_content=base64.b64encode(longest).decode())
    assert link.messages[0][1] == call.request_payload == longest


async def test_the_product_has_to_be_the_callers_own(world: World) -> None:
    (link,) = await connect_lamps(world, "lamp-01")
    product_key = link.key.product_key
    await check_broadcast(world, "", codes.NULL_PRODUCT_KEY)
    await check_broadcast(world, "a1Other0001", codes.NOT_EXISTED_PRODUCT)
    await check_broadcast(world, product_key, codes.NOT_EXISTED_PRODUCT, account_id=OTHER_ACCOUNT_ID)
    assert link.messages == []


async def test_a_broadcast_without_a_record_is_our_own_mistake(world: World) -> None:
    with pytest.raises(TypeError):
        await pub_broadcast(world.context(), PubBroadcastRequest(product_key="a", message_content=HELLO))


@pytest.mark.parametrize("topic", ["/broadcast/a/b", "/broadcast/a/b (1 of 2 devices)", "/broadcast/a/b ("])
async def test_the_topic_is_read_back_from_the_target(topic: str) -> None:
    assert read_target(make_target(topic, Reached(3, 12))) == topic

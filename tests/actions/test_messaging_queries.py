from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.messaging.broadcasting import PubBroadcastRequest, pub_broadcast
from linkstead.actions.messaging.publishing import PubRequest, pub
from linkstead.actions.messaging.queries import Message, QueryMessageInfoRequest, query_message_info
from linkstead.errors import codes
from linkstead.invocation import Call
from linkstead.registry import DeviceKey
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio

HELLO = "aGVsbG8="


async def publish(world: World, **switches: Any) -> Call:
    """Publish a message to a new device, which does not listen."""
    product = await world.create_product()
    await world.register_device(product.product_key)
    topic = f"/{product.product_key}/lamp-01/user/get"
    context, call = world.call_context("Pub", **switches)
    await pub(context, PubRequest(product_key=product.product_key, topic_full_name=topic, message_content=HELLO))
    world.journal.close(call)
    return call


async def ask(world: World, uni_msg_id: object, **switches: Any) -> Message:
    answer = await query_message_info(world.context(**switches), QueryMessageInfoRequest(uni_msg_id=str(uni_msg_id)))
    assert isinstance(answer.message, Message)
    return answer.message


def check_unknown(world: World, uni_msg_id: object, **switches: Any) -> Any:
    request = QueryMessageInfoRequest(uni_msg_id=str(uni_msg_id))
    action = query_message_info(world.context(**switches), request)
    return check_refusal(action, codes.ILLEGAL_REQUEST, f"UniMsgId={uni_msg_id}", "MessageId of Pub, PubBroadcast")


async def test_a_message_is_found_by_the_id_it_was_given(world: World) -> None:
    call = await publish(world)
    assert await ask(world, call.message_id) == Message(
        uni_msg_id=str(call.message_id),
        topic_full_name=call.target,
        message_content=HELLO,
        generate_time=call.received_ms,
    )


async def test_a_message_is_found_before_its_request_is_answered(world: World) -> None:
    product = await world.create_product()
    link = FakeLink(DeviceKey(product.product_key, "lamp-01"), writes_at_once=False)
    world.attach(link)
    context, call = world.call_context("PubBroadcast")
    await pub_broadcast(context, PubBroadcastRequest(product_key=product.product_key, message_content=HELLO))
    assert (await ask(world, call.message_id)).message_content == HELLO


async def test_a_broadcast_is_found_with_its_topic(world: World) -> None:
    product = await world.create_product()
    topic = f"/broadcast/{product.product_key}/all (of you)"
    context, call = world.call_context("PubBroadcast")
    request = PubBroadcastRequest(product_key=product.product_key, message_content=HELLO, topic_full_name=topic)
    await pub_broadcast(context, request)
    world.journal.close(call)
    message = await ask(world, call.message_id)
    assert (message.topic_full_name, message.message_content) == (topic, HELLO)
    assert (message.mqtt_properties, message.user_properties, message.transformed_topic_full_name) == (UNSET,) * 3


@pytest.mark.parametrize(
    "uni_msg_id", ["", "1", "889455942124347392999", "-1", "x", "灯", "18446744073709551616", "9223372036854775808"]
)
async def test_an_id_that_no_message_has_is_refused(world: World, uni_msg_id: str) -> None:
    await publish(world)
    await check_unknown(world, uni_msg_id)


async def test_a_message_goes_by_its_message_id_alone(world: World) -> None:
    call = await publish(world)
    await check_unknown(world, call.request_id)
    await check_unknown(world, f"0{call.message_id}")


async def test_a_message_of_another_account_is_not_there(world: World) -> None:
    call = await publish(world)
    await check_unknown(world, call.message_id, account_id=OTHER_ACCOUNT_ID)


async def test_a_message_of_another_instance_is_not_there_where_instances_are_told_apart(world: World) -> None:
    call = await publish(world)
    await check_unknown(world, call.message_id, instance_id="iot-060a0001")
    assert (await ask(world, call.message_id, instance_id=call.instance_id)).message_content == HELLO


async def test_a_call_of_another_action_is_no_message(world: World) -> None:
    _, call = world.call_context("RRpc")
    call.message_id = world.ids.message_id()
    call.set_request(b"hello")
    world.journal.close(call)
    assert await world.store.find_call(ACCOUNT_ID, str(call.message_id)) is not None
    await check_unknown(world, call.message_id)

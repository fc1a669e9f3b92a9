import base64
from typing import Any

import msgspec
import pytest

from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.registration import disable_thing
from linkstead.actions.messaging.payload import PAYLOAD_BYTES_MAX
from linkstead.actions.messaging.publishing import (
    DEVICES_MAX,
    BatchPubRequest,
    PubAnswer,
    PubRequest,
    UserProp,
    batch_pub,
    pub,
)
from linkstead.alink.topics import CUSTOM_TOPIC_BYTES_MAX
from linkstead.errors import ErrorRow, codes
from linkstead.invocation import Call, CallFilter, Delivery, Diagnosis, Stage, Verdict
from linkstead.invocation.call import CALL_PAYLOAD_KEPT_BYTES_MAX
from linkstead.registry import DeviceKey, ProductTopic, TopicOperation
from linkstead.sessions import QUEUED_MESSAGES_MAX, LinkBlocked, LinkBroken, LinkTooSmall, QueuedMessage, Session
from tests.actions.world import ACCOUNT_ID, OTHER_ACCOUNT_ID, World, check_refusal, refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio

HELLO = "aGVsbG8="
SEVEN_DAYS_S = 7 * 24 * 3600.0


class BrokenDelivery(Delivery):
    """The disk is full."""

    async def post(self, call: Call, topic: str, payload: bytes, qos: int, *, needs_subscription: bool = False) -> None:
        raise OSError("no room on the disk")


async def add_lamps(world: World, *names: str) -> list[DeviceKey]:
    """Devices of a new product."""
    product = await world.create_product()
    # Beside the classes that every product has: one that takes any topic.
    topic = f"/{product.product_key}/${{deviceName}}/#"
    await world.registry.add_topic(ProductTopic(0, product.product_key, topic, TopicOperation.SUB))
    for name in names:
        await world.register_device(product.product_key, name)
    return [DeviceKey(product.product_key, name) for name in names]


async def add_lamp(world: World) -> DeviceKey:
    (key,) = await add_lamps(world, "lamp-01")
    return key


def topic_of(key: DeviceKey, rest: str = "user/get") -> str:
    return f"/{key.product_key}/{key.device_name}/{rest}"


def pub_request(key: DeviceKey, **parameters: Any) -> PubRequest:
    defaults = {"product_key": key.product_key, "topic_full_name": topic_of(key), "message_content": HELLO}
    return PubRequest(**defaults | parameters)


async def publish(world: World, key: DeviceKey, **parameters: Any) -> Call:
    """Publish to a device; its record once the request is answered."""
    context, call = world.call_context("Pub")
    answer = await pub(context, pub_request(key, **parameters))
    world.journal.close(call)
    assert answer == PubAnswer(message_id=call.message_id)
    return call


async def stored(world: World, call: Call) -> Call:
    """The call's record as the store has it."""
    found = await world.store.find_call(ACCOUNT_ID, call.request_id)
    assert found is not None
    return found


def ending(call: Call) -> tuple[Verdict | None, Diagnosis | None]:
    return call.verdict, call.diagnosis


def stages(call: Call) -> list[Stage]:
    return [moment.stage for moment in call.timeline]


def waiting(session: Session) -> list[QueuedMessage]:
    return list(session.queue or ())


# --- Pub at QoS 0


async def test_a_message_goes_to_a_device_that_subscribed(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key))
    call = await publish(world, key)
    assert link.messages == [(topic_of(key), b"hello")]
    assert ending(call) == (Verdict.SUCCESS, Diagnosis.DELIVERED)
    assert stages(call) == [Stage.RECEIVED, Stage.ACCEPTED, Stage.ROUTED, Stage.WRITTEN]


async def test_its_record_says_who_what_and_where(world: World) -> None:
    key = await add_lamp(world)
    world.attach(FakeLink(key), topic_of(key))
    call = await stored(world, await publish(world, key))
    assert (call.action, call.key, call.target) == ("Pub", key, topic_of(key))
    assert (call.request_payload, call.request_bytes, call.is_asynchronous) == (b"hello", 5, True)
    assert call.verdict is Verdict.SUCCESS
    assert 2**53 < call.message_id < 2**63


@pytest.mark.parametrize("topic_filter", ["user/+", "#", "+/get"])
async def test_a_filter_that_matches_is_a_subscription(world: World, topic_filter: str) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key, "other"), topic_of(key, topic_filter))
    await publish(world, key)
    assert link.messages == [(topic_of(key), b"hello")]


@pytest.mark.parametrize("rest", ["get", "update/error", "user/灯"])
async def test_every_topic_below_the_device_is_a_custom_one(world: World, rest: str) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key, "#"))
    await publish(world, key, topic_full_name=topic_of(key, rest))
    assert link.messages == [(topic_of(key, rest), b"hello")]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("kept_s", [0.0, SEVEN_DAYS_S])
async def test_a_device_that_did_not_subscribe_gets_nothing_and_the_record_says_so(
    world: World, qos: int, kept_s: float
) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key, "user/other"), kept_s=kept_s)
    call = await publish(world, key, qos=qos)
    assert (link.messages, waiting(session)) == ([], [])
    assert ending(await stored(world, call)) == (Verdict.OFFLINE, Diagnosis.NOT_SUBSCRIBED)


async def test_a_message_for_a_device_that_is_away_is_lost_at_qos_0(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key), kept_s=SEVEN_DAYS_S)
    world.detach(link)
    await world.store.flush()
    call = await publish(world, key)
    assert waiting(session) == []
    assert ending(await stored(world, call)) == (Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_for_a_device_that_never_connected_is_accepted(world: World, qos: int) -> None:
    key = await add_lamp(world)
    call = await publish(world, key, qos=qos)
    assert ending(await stored(world, call)) == (Verdict.OFFLINE, Diagnosis.NEVER_ACTIVATED)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_for_a_disabled_device_is_accepted_and_goes_nowhere(world: World, qos: int) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key), kept_s=SEVEN_DAYS_S)
    await disable_thing(world.context(), DeviceRequest(product_key=key.product_key, device_name=key.device_name))
    call = await publish(world, key, qos=qos)
    assert (link.messages, waiting(session)) == ([], [])
    assert ending(await stored(world, call)) == (Verdict.OFFLINE, Diagnosis.DISABLED)


@pytest.mark.parametrize("failure", [LinkBroken, LinkBlocked, LinkTooSmall])
async def test_a_message_that_cannot_be_written_was_accepted_all_the_same(
    world: World, failure: type[Exception]
) -> None:
    key = await add_lamp(world)
    world.attach(FakeLink(key, failure=failure), topic_of(key))
    call = await publish(world, key)
    assert ending(await stored(world, call)) == (Verdict.OFFLINE, Diagnosis.WRITE_FAILED)


async def test_a_message_still_on_its_way_has_no_verdict_yet(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key, writes_at_once=False)
    world.attach(link, topic_of(key))
    call = await publish(world, key)
    assert ending(await stored(world, call)) == (None, None)
    link.write()
    assert ending(await stored(world, call)) == (Verdict.SUCCESS, Diagnosis.DELIVERED)


# --- Pub at QoS 1


async def test_a_message_at_qos_1_is_delivered_once_the_device_acknowledges_it(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key))
    call = await publish(world, key, qos=1)
    (message,) = waiting(session)
    assert (message.topic, message.payload, link.pump_count) == (topic_of(key), b"hello", 1)
    world.sessions.note_sent(message)
    assert ending(await stored(world, call)) == (None, None)
    world.sessions.acknowledge(session, message)
    kept = await stored(world, call)
    assert ending(kept) == (Verdict.SUCCESS, Diagnosis.DELIVERED)
    assert stages(kept)[-2:] == [Stage.WRITTEN, Stage.ACKNOWLEDGED]


async def test_a_message_at_qos_1_waits_for_a_subscriber_that_is_away(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key), kept_s=SEVEN_DAYS_S)
    world.detach(link)
    call = await publish(world, key, qos=1)
    (message,) = waiting(session)
    assert ending(await stored(world, call)) == (None, None)
    world.attach(FakeLink(key), kept_s=SEVEN_DAYS_S)
    world.sessions.note_sent(message)
    world.sessions.acknowledge(session, message)
    assert ending(await stored(world, call)) == (Verdict.SUCCESS, Diagnosis.DELIVERED)


async def test_a_message_that_waited_for_seven_days_expires(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key), kept_s=SEVEN_DAYS_S)
    call = await publish(world, key, qos=1)
    world.clock.advance(SEVEN_DAYS_S)
    world.sessions.expire(world.clock.monotonic_s())
    assert ending(await stored(world, call)) == (None, None)
    world.clock.advance(1)
    world.sessions.expire(world.clock.monotonic_s())
    assert waiting(session) == []
    assert ending(await stored(world, call)) == (Verdict.EXPIRED, Diagnosis.NOT_CONNECTED)


async def test_a_message_that_its_session_does_not_outlive_expires_with_it(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    session = world.attach(link, topic_of(key))
    call = await publish(world, key, qos=1)
    (message,) = waiting(session)
    world.sessions.note_sent(message)
    world.detach(link)
    assert ending(await stored(world, call)) == (Verdict.EXPIRED, Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT)


async def test_the_message_past_the_queue_is_refused(world: World) -> None:
    key = await add_lamp(world)
    session = world.attach(FakeLink(key), topic_of(key))
    for _ in range(QUEUED_MESSAGES_MAX - 1):
        world.sessions.deliver(key, QueuedMessage(topic_of(key), b"", world.clock.monotonic_s()))
    await publish(world, key, qos=1)
    assert len(waiting(session)) == QUEUED_MESSAGES_MAX
    context, _ = world.call_context("Pub")
    await check_refusal(pub(context, pub_request(key, qos=1)), codes.MESSAGE_RATE_LIMIT)
    assert len(waiting(session)) == QUEUED_MESSAGES_MAX


# --- what Pub refuses


def check_pub(
    world: World, key: DeviceKey, row: ErrorRow, *said: str, account_id: str = ACCOUNT_ID, **parameters: Any
) -> Any:
    context, _ = world.call_context("Pub", account_id)
    return check_refusal(pub(context, pub_request(key, **parameters)), row, *said)


async def test_a_topic_is_checked_before_anything_is_sent(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, "#")
    await check_pub(world, key, codes.NULL_TOPIC_NAME, topic_full_name="")
    for topic in (
        f"/sys/{key.product_key}/{key.device_name}/thing/service/property/set",
        f"/ext/rrpc/1/{key.product_key}/{key.device_name}/user/get",
        f"/broadcast/{key.product_key}/all",
        topic_of(key)[1:],
        topic_of(DeviceKey("a1Other0001", key.device_name)),
        topic_of(key, ""),
        f"/{key.product_key}/{key.device_name}",
        topic_of(key, "user/+"),
        topic_of(key, "#"),
        topic_of(key, "user//get"),
        topic_of(key, "user/get?_sn=default"),
        topic_of(key, "a/b/c/d/e/f"),
    ):
        rule = f"/{key.product_key}/DeviceName/…; <= 128 B, <= 7 /, no empty level, no + # ?"
        await check_pub(world, key, codes.INVALID_FORMATTED_TOPIC_NAME, "TopicFullName=", rule, topic_full_name=topic)
    assert link.messages == []


async def test_a_topic_may_have_128_bytes_and_7_slashes(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key, "#"))
    start = topic_of(key, "")
    longest = start + "x" * (CUSTOM_TOPIC_BYTES_MAX - len(start))
    await publish(world, key, topic_full_name=longest)
    await publish(world, key, topic_full_name=topic_of(key, "a/b/c/d/e"))
    assert len(link.messages) == 2
    await check_pub(world, key, codes.INVALID_FORMATTED_TOPIC_NAME, topic_full_name=longest + "x")


async def test_product_and_device_have_to_exist(world: World) -> None:
    key = await add_lamp(world)
    stranger = key._replace(device_name="lamp-99")
    await check_pub(world, key, codes.NULL_PRODUCT_KEY, product_key="")
    await check_pub(world, key, codes.INVALID_FORMATTED_PRODUCT_KEY, product_key="a-b")
    await check_pub(world, key, codes.NOT_EXISTED_PRODUCT, product_key="a1Other0001")
    await check_pub(world, key, codes.NOT_EXISTED_DEVICE, "lamp-99", topic_full_name=topic_of(stranger))
    malformed = topic_of(key._replace(device_name="l"))
    await check_pub(world, key, codes.INVALID_FORMATTED_DEVICE_NAME, topic_full_name=malformed)


async def test_a_device_of_another_account_is_not_there(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key))
    await check_pub(world, key, codes.NOT_EXISTED_PRODUCT, account_id=OTHER_ACCOUNT_ID)
    assert link.messages == []


async def test_content_is_checked(world: World) -> None:
    key = await add_lamp(world)
    await check_pub(world, key, codes.NULL_MESSAGE_CONTENT, message_content="")
    await check_pub(world, key, codes.MESSAGE_CONTENT_NOT_BASE64, message_content="-_-_")
    longest = bytes(PAYLOAD_BYTES_MAX)
    too_long = base64.b64encode(longest + b"\x00").decode()
    await check_pub(world, key, codes.PUBLISH_MESSAGE_FAILED, "<= 262144 B", message_content=too_long)
    call = await publish(world, key, message_content=base64.b64encode(longest).decode())
    assert call.request_payload == longest


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"qos": 2}, "InvalidQos"),
        ({"qos": -1}, "InvalidQos"),
        ({"message_expiry_interval": 0}, "InvalidMessageExpiryInterval"),
        ({"message_expiry_interval": 60}, "InvalidMessageExpiryInterval"),
        ({"retained": True}, "InvalidRetained"),
        ({"device_name": "lamp-02"}, "InvalidDeviceName"),
    ],
)
async def test_what_would_change_the_delivery_and_cannot_be_kept_to_is_refused(
    world: World, parameters: dict[str, Any], code: str
) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key))
    context, _ = world.call_context("Pub")
    error = await refusal(pub(context, pub_request(key, **parameters)))
    assert (error.code, error.row.http_status) == (code, 400)
    assert link.messages == []


async def test_properties_that_no_connection_carries_are_noted_and_the_message_goes(world: World) -> None:
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, topic_of(key))
    context, call = world.call_context("Pub")
    call.unknown_parameters = ["Colour"]
    request = pub_request(
        key,
        content_type="text/plain",
        correlation_data="aWQ=",
        response_topic="/a",
        payload_format_indicator=0,
        topic_alias=1,
        user_prop=[UserProp(key="a", value="b")],
        retained=False,
        device_name=key.device_name,
    )
    await pub(context, request)
    assert link.messages == [(topic_of(key), b"hello")]
    noted = {"ContentType", "CorrelationData", "ResponseTopic", "PayloadFormatIndicator", "TopicAlias", "UserProp"}
    assert (call.unknown_parameters[0], set(call.unknown_parameters[1:])) == ("Colour", noted)


async def test_nothing_is_noted_where_nothing_was_sent(world: World) -> None:
    key = await add_lamp(world)
    assert (await publish(world, key)).unknown_parameters == []


async def test_pub_without_a_record_is_our_own_mistake(world: World) -> None:
    key = await add_lamp(world)
    with pytest.raises(TypeError):
        await pub(world.context(), pub_request(key))


# --- BatchPub


def batch_request(keys: list[DeviceKey], **parameters: Any) -> BatchPubRequest:
    defaults = {
        "product_key": keys[0].product_key,
        "device_name": [key.device_name for key in keys],
        "message_content": HELLO,
        "topic_short_name": "get",
    }
    return BatchPubRequest(**defaults | parameters)


async def records(world: World) -> list[Call]:
    """The records of all messages, in the order of the devices' names."""
    calls = await world.store.list_calls(CallFilter(ACCOUNT_ID, action="BatchPub", limit=2 * DEVICES_MAX))
    return sorted(calls, key=lambda call: str(call.key))


async def test_every_device_of_a_batch_gets_the_message_and_has_a_record(world: World) -> None:
    keys = await add_lamps(world, "lamp-01", "lamp-02")
    links = [FakeLink(key) for key in keys]
    for link in links:
        world.attach(link, topic_of(link.key))
    answer = await batch_pub(world.context(), batch_request(keys))
    assert answer.success
    assert [link.messages for link in links] == [[(topic_of(key), b"hello")] for key in keys]
    calls = await records(world)
    assert [(call.key, call.target, call.request_payload) for call in calls] == [
        (key, topic_of(key), b"hello") for key in keys
    ]
    assert [ending(call) for call in calls] == [(Verdict.SUCCESS, Diagnosis.DELIVERED)] * 2
    assert len({call.message_id for call in calls}) == len({call.request_id for call in calls}) == 2


@pytest.mark.parametrize(
    ("parameters", "rest"),
    [
        ({"topic_short_name": "get"}, "user/get"),
        ({"topic_short_name": "user/get"}, "user/get"),
        ({"topic_short_name": "/user/get"}, "user/get"),
        ({"topic_short_name": "a/b"}, "user/a/b"),
        ({"topic_short_name": "", "topic_template_name": "{class}/user/test"}, "user/test"),
        ({"topic_short_name": "get", "topic_template_name": "{class}/update"}, "update"),
    ],
)
async def test_a_batch_names_its_topic_in_two_ways_of_which_the_class_wins(
    world: World, parameters: dict[str, str], rest: str
) -> None:
    keys = await add_lamps(world, "lamp-01")
    link = FakeLink(keys[0])
    world.attach(link, topic_of(keys[0], "#"))
    topic_class = f"/{keys[0].product_key}/${{deviceName}}"
    filled = {name: text.replace("{class}", topic_class) for name, text in parameters.items()}
    await batch_pub(world.context(), batch_request(keys, **filled))
    assert link.messages == [(topic_of(keys[0], rest), b"hello")]


async def test_what_happens_to_one_device_of_a_batch_does_not_stop_the_others(world: World) -> None:
    keys = await add_lamps(world, *(f"lamp-{number:02}" for number in range(6)))
    blocked, deaf, away, disabled, full, listening = keys
    world.attach(FakeLink(blocked, failure=LinkBlocked), topic_of(blocked))
    world.attach(FakeLink(deaf))
    kept, link, crowded = FakeLink(away), FakeLink(listening), FakeLink(full)
    world.attach(kept, topic_of(away), kept_s=SEVEN_DAYS_S)
    world.detach(kept)
    world.attach(crowded, topic_of(full))
    for _ in range(QUEUED_MESSAGES_MAX):
        world.sessions.deliver(full, QueuedMessage(topic_of(full), b"", world.clock.monotonic_s()))
    session = world.attach(link, topic_of(listening))
    await disable_thing(world.context(), DeviceRequest(product_key=disabled.product_key, device_name="lamp-03"))
    await batch_pub(world.context(), batch_request(keys, qos=1))
    assert [ending(call) for call in await records(world)] == [
        (None, None),
        (Verdict.OFFLINE, Diagnosis.NOT_SUBSCRIBED),
        (None, None),
        (Verdict.OFFLINE, Diagnosis.DISABLED),
        (Verdict.REJECTED, Diagnosis.THROTTLED),
        (None, None),
    ]
    assert [message.payload for message in waiting(session)] == [b"hello"]
    await batch_pub(world.context(), batch_request([blocked, listening], qos=0))
    assert link.messages == [(topic_of(listening), b"hello")]


async def test_a_batch_with_a_name_that_is_no_devices_is_refused_whole(world: World) -> None:
    keys = await add_lamps(world, "lamp-01")
    link = FakeLink(keys[0])
    world.attach(link, topic_of(keys[0]))
    missing = [*keys, keys[0]._replace(device_name="lamp-99")]
    await check_refusal(
        batch_pub(world.context(), batch_request(missing)), codes.NOT_EXISTED_DEVICE, "DeviceName=lamp-99"
    )
    assert (link.messages, await records(world)) == ([], [])


async def test_a_batch_may_name_a_hundred_devices_and_no_more(world: World) -> None:
    keys = await add_lamps(world, *(f"lamp-{number:03}" for number in range(DEVICES_MAX)))
    assert DEVICES_MAX == 100
    await batch_pub(world.context(), batch_request(keys))
    assert len(await records(world)) == DEVICES_MAX
    names = [key.device_name for key in keys] + ["lamp-000"]
    too_many = batch_request(keys, device_name=names)
    await check_refusal(
        batch_pub(world.context(), too_many), codes.INVALID_FORMATTED_PARAMETER, "DeviceName=101", "<= 100"
    )
    none = batch_request(keys, device_name=[])
    await check_refusal(batch_pub(world.context(), none), codes.NONE_DEVICE_NAME_ELEMENT)


async def test_a_device_named_twice_in_a_batch_gets_one_message(world: World) -> None:
    keys = await add_lamps(world, "lamp-01")
    link = FakeLink(keys[0])
    world.attach(link, topic_of(keys[0]))
    await batch_pub(world.context(), batch_request(keys * 2))
    assert len(link.messages) == len(await records(world)) == 1


async def test_a_batch_checks_its_topic_and_content_before_anything_is_sent(world: World) -> None:
    keys = await add_lamps(world, "lamp-01", "lamp-" + "x" * 27)
    links = [FakeLink(key) for key in keys]
    for link in links:
        world.attach(link, "#")
    room = CUSTOM_TOPIC_BYTES_MAX - len(topic_of(keys[0], "user/"))
    for parameters, row in (
        ({"topic_short_name": ""}, codes.NULL_TOPIC_NAME),
        ({"topic_short_name": "user/"}, codes.INVALID_FORMATTED_TOPIC_NAME),
        ({"topic_short_name": "+"}, codes.INVALID_FORMATTED_TOPIC_NAME),
        # It fits the first device's name only.
        ({"topic_short_name": "x" * room}, codes.INVALID_FORMATTED_TOPIC_NAME),
        ({"topic_template_name": "/a1Other0001/${deviceName}/user/get"}, codes.INVALID_FORMATTED_TOPIC_NAME),
        ({"topic_template_name": topic_of(keys[0])}, codes.INVALID_FORMATTED_TOPIC_NAME),
        ({"message_content": ""}, codes.NULL_MESSAGE_CONTENT),
        ({"message_content": "-"}, codes.MESSAGE_CONTENT_NOT_BASE64),
        (
            {"message_content": base64.b64encode(bytes(PAYLOAD_BYTES_MAX + 1)).decode()},
            codes.PUBLISH_MESSAGE_FAILED,
        ),
        ({"product_key": ""}, codes.NULL_PRODUCT_KEY),
    ):
        await check_refusal(batch_pub(world.context(), batch_request(keys, **parameters)), row)
    assert ([link.messages for link in links], await records(world)) == ([[], []], [])


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"qos": 2}, "InvalidQos"),
        ({"message_expiry_interval": 60}, "InvalidMessageExpiryInterval"),
        ({"retained": True}, "InvalidRetained"),
    ],
)
async def test_a_batch_refuses_what_pub_refuses(world: World, parameters: dict[str, Any], code: str) -> None:
    keys = await add_lamps(world, "lamp-01")
    error = await refusal(batch_pub(world.context(), batch_request(keys, **parameters)))
    assert (error.code, await records(world)) == (code, [])


async def test_a_batch_for_a_product_of_another_account_is_refused(world: World) -> None:
    keys = await add_lamps(world, "lamp-01")
    context = world.context(OTHER_ACCOUNT_ID)
    await check_refusal(batch_pub(context, batch_request(keys)), codes.NOT_EXISTED_PRODUCT)


async def test_a_batch_notes_what_is_not_carried_in_each_record(world: World) -> None:
    keys = await add_lamps(world, "lamp-01", "lamp-02")
    await batch_pub(world.context(), batch_request(keys, content_type="a", response_topic_template_name="b"))
    assert [set(call.unknown_parameters) for call in await records(world)] == [
        {"ContentType", "ResponseTopicTemplateName"}
    ] * 2


async def test_a_record_of_a_batch_keeps_the_beginning_of_a_long_message(world: World) -> None:
    keys = await add_lamps(world, "lamp-01")
    long = bytes(CALL_PAYLOAD_KEPT_BYTES_MAX + 1)
    await batch_pub(world.context(), batch_request(keys, message_content=base64.b64encode(long).decode()))
    (call,) = await records(world)
    assert (len(call.request_payload), call.request_bytes) == (CALL_PAYLOAD_KEPT_BYTES_MAX, len(long))


async def test_a_batch_that_breaks_leaves_no_record_without_a_verdict(world: World) -> None:
    keys = await add_lamps(world, "lamp-01", "lamp-02")
    broken = BrokenDelivery(world.sessions, world.journal, world.store, world.clock)
    context = msgspec.structs.replace(world.context(), delivery=broken)
    with pytest.raises(OSError, match="disk"):
        await batch_pub(context, batch_request(keys))
    assert [ending(call) for call in await records(world)] == [(Verdict.UNKNOWN, Diagnosis.INTERNAL_ERROR)] * 2

"""Consumers made of qpid-proton and of rhea at the endpoint: rhea forgives what proton refuses, and the other way."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from linkstead.config import Address
from linkstead.server import SystemClock
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation
from tests.amqp.dispatch import FakeAttachment, a_letter
from tests.amqp.endpoint import DEFAULT, GROUP, Place, listen, password, user_name
from tests.rig import ACCOUNT_ID, KEY, LAMP, PRODUCT_KEY, RigStarter
from tests.sdk.certificate import Certificate
from tests.sdk.child import NODE_PROGRAMS, REPOSITORY, Child
from tests.wire import until

pytestmark = pytest.mark.asyncio

SYSTEM_PYTHON = "/usr/bin/python3"
COMMANDS = {
    "proton": ([SYSTEM_PYTHON, str(REPOSITORY / "tests/sdk/proton_consumer.py")], "make system (python3-qpid-proton)"),
    "rhea": (["node", str(NODE_PROGRAMS / "consumer.mjs")], "make test (it brings Node.js and the npm packages)"),
}
LARGE_BYTES = 256 * 1024


class Consumer:
    """A consumer in a process of its own."""

    def __init__(self, child: Child) -> None:
        self.child = child

    async def expect(self, event: str) -> dict[str, Any]:
        """See `Child.expect`."""
        return await asyncio.to_thread(self.child.expect, event)

    def say(self, do: str, **fields: object) -> None:
        """Have it do something."""
        self.child.say({"do": do, **fields})


Start = Callable[..., Awaitable[Consumer]]


@pytest.fixture(params=COMMANDS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.stop()


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    place = await listen(SystemClock())
    yield place
    await place.close()


@pytest.fixture
def start(client: str, place: Place, children: list[Child]) -> Start:
    """Starts a consumer of the default group: `await start(credit=1, name=…, secret=…, **settings)`."""

    async def start_one(
        *, credit: int = 0, name: str = "", secret: str = "", is_let_in: bool = True, **settings: object
    ) -> Consumer:
        name = name or user_name()
        key = {"user": name, "password": secret or password(name)}
        command, missing = COMMANDS[client]
        arguments = [*command, json.dumps({"port": place.port, **key, **settings})]
        child = await asyncio.to_thread(lambda: Child(arguments, missing=missing))
        children.append(child)
        consumer = Consumer(child)
        if is_let_in:
            await consumer.expect("attached")
        if credit:
            consumer.say("credit", count=credit)
        return consumer

    return start_one


async def test_a_message_has_what_consumers_read(client: str, start: Start, place: Place) -> None:
    letter = a_letter(1, '{"温度":21}'.encode(), qos=1, attempts=3)
    place.dispatcher.post(DEFAULT, letter)
    message = await (await start(credit=1)).expect("message")
    assert message["topic"] == letter.topic
    assert message["messageId"] == message["id"] == str(letter.message_id)
    assert message["generateTime"] == message["created"] == letter.generated_ms
    assert (message["qos"], message["body"]) == (1, '{"温度":21}')
    assert (message["durable"], message["deliveryCount"]) == (True, 2)
    if client == "proton":
        types = {"topic": "str", "messageId": "str", "generateTime": "int", "qos": "int32"}
        assert message["types"] == types
    else:
        assert message["section"] == 0x75


async def test_a_body_can_be_base64(start: Start, place: Place) -> None:
    place.dispatcher.post(DEFAULT, a_letter(1, b"\x00\xff"))
    consumer = await start(credit=1, name=user_name(more=",encode=base64"))
    assert (await consumer.expect("message"))["body"] == "AP8="


async def test_each_outcome_ends_a_delivery(start: Start, place: Place) -> None:
    letters = [a_letter(number) for number in range(1, 5)]
    place.dispatcher.post(DEFAULT, *letters)
    consumer = await start(credit=4)
    (attachment,) = place.dispatcher.attachments
    for left, do in zip((3, 2, 1, 0), ("accept", "release", "reject", "modify"), strict=True):
        message = await consumer.expect("message")
        consumer.say(do, messageId=message["messageId"])
        # One after the other: rhea makes one of two different outcomes given in one turn.
        await place.until(partial(_holds, attachment, left))
    assert attachment.accepted == letters[:1]
    assert attachment.released == letters[1:]
    consumer.say("close")
    await consumer.expect("closed")
    await place.until(lambda: not place.dispatcher.attachments)


def _holds(attachment: FakeAttachment, count: int) -> bool:
    return len(attachment.held) == count


async def test_no_more_is_sent_than_credit_was_given(start: Start, place: Place) -> None:
    place.dispatcher.post(DEFAULT, *(a_letter(number) for number in range(1, 301)))
    consumer = await start(credit=3)
    for number in range(1, 4):
        assert (await consumer.expect("message"))["messageId"] == str(a_letter(number).message_id)
    assert len(place.dispatcher.waiting(DEFAULT)) == 297
    consumer.say("credit", count=200)
    for number in range(4, 204):
        assert (await consumer.expect("message"))["messageId"] == str(a_letter(number).message_id)
    (attachment,) = place.dispatcher.attachments
    assert (attachment.credit, len(attachment.held)) == (0, 203)


async def test_credit_that_is_drained_comes_back(start: Start, place: Place) -> None:
    place.dispatcher.post(DEFAULT, a_letter())
    consumer = await start(credit=5)
    await consumer.expect("message")
    consumer.say("drain")
    await consumer.expect("drained")
    place.dispatcher.post(DEFAULT, a_letter(2))
    assert len(place.dispatcher.waiting(DEFAULT)) == 1
    consumer.say("credit", count=1)
    await consumer.expect("message")


@pytest.mark.parametrize("frame_bytes", [512, 4_096, 1_048_576])
async def test_a_large_message_comes_whole(client: str, start: Start, place: Place, frame_bytes: int) -> None:
    payload = hashlib.shake_128(b"large").digest(LARGE_BYTES)
    place.dispatcher.post(DEFAULT, a_letter(1, payload), a_letter(2))
    consumer = await start(credit=2, options={"max_frame_size": frame_bytes})
    assert (await consumer.expect("message"))["bytes"] == LARGE_BYTES
    message = await consumer.expect("message")
    consumer.say("accept", messageId=message["messageId"])
    await place.until(lambda: place.dispatcher.attachments[0].accepted)


async def test_what_a_dead_consumer_had_goes_to_another(start: Start, place: Place) -> None:
    letters = [a_letter(1), a_letter(2)]
    place.dispatcher.post(DEFAULT, *letters)
    first = await start(credit=2)
    await first.expect("message")
    await first.expect("message")
    second = await start(credit=10)
    first.say("die")
    for letter in letters:
        message = await second.expect("message")
        assert message["messageId"] == str(letter.message_id)
        second.say("accept", messageId=message["messageId"])
    await place.until(lambda: len(place.dispatcher.all[1].accepted) == 2)


async def test_a_consumer_of_a_group_gets_what_is_for_the_group(start: Start, place: Place) -> None:
    place.dispatcher.post(DEFAULT, a_letter(1))
    place.dispatcher.post(GROUP.destination, a_letter(2))
    consumer = await start(credit=2, name=user_name(group_id=GROUP.group_id))
    assert (await consumer.expect("message"))["messageId"] == str(a_letter(2).message_id)
    assert len(place.dispatcher.waiting(DEFAULT)) == 1


async def test_a_wrong_password_is_refused(client: str, start: Start, place: Place) -> None:
    consumer = await start(secret="bm90IHRoZSBwYXNzd29yZA==", is_let_in=False)
    if client == "proton":
        assert (await consumer.expect("transport_error"))["condition"] == "amqp:unauthorized-access"
    else:
        assert "auth" in (await consumer.expect("connection_error"))["description"].lower()
    assert place.dispatcher.all == []


async def test_who_is_refused_for_something_else_is_told_what(start: Start) -> None:
    name = user_name().replace("authMode=aksign", "authMode=ststoken")
    consumer = await start(name=name, secret="x", is_let_in=False)
    told = await consumer.expect("connection_error")
    assert told["condition"] == "amqp:unauthorized-access"
    assert told["description"] == "securityToken is absent"
    consumer = await start(name=user_name(group_id="nobodys-group"), is_let_in=False)
    assert (await consumer.expect("connection_error"))["condition"] == "amqp:not-found"


async def test_a_heartbeat_out_of_range_is_refused(client: str, start: Start) -> None:
    options = {"heartbeat": 20} if client == "proton" else {"idle_time_out": 10_000}
    consumer = await start(options=options, is_let_in=False)
    told = await consumer.expect("connection_error")
    assert told["condition"] == "amqp:invalid-field"
    assert told["description"].startswith("9601: idle-time-out 10000 ms")


async def test_a_second_link_and_a_sender_are_refused_and_the_first_goes_on(start: Start, place: Place) -> None:
    consumer = await start(credit=1)
    for do, event in (("second", "link_error"), ("sender", "sender_error")):
        consumer.say(do)
        told = await consumer.expect(event)
        assert told["condition"] == "amqp:not-allowed"
    place.dispatcher.post(DEFAULT, a_letter())
    await consumer.expect("message")


async def test_a_link_can_be_attached_again(start: Start, place: Place) -> None:
    consumer = await start(credit=1)
    consumer.say("detach")
    await consumer.expect("link_closed")
    await place.until(lambda: not place.dispatcher.attachments)
    consumer.say("second")
    await place.until(lambda: place.dispatcher.attachments)


async def test_a_consumer_is_told_when_the_server_stops(client: str, start: Start, place: Place) -> None:
    consumer = await start()
    await place.close()
    if client == "proton":
        # It keeps amqp:connection:forced to itself, to connect again.
        await consumer.expect("disconnected")
    else:
        assert (await consumer.expect("connection_error"))["condition"] == "amqp:connection:forced"


async def test_a_delivery_is_settled_by_us_where_the_consumer_leaves_it(
    client: str, start: Start, place: Place
) -> None:
    if client == "rhea":
        consumer = await start(credit=1, link={"rcv_settle_mode": 1})
    else:
        consumer = await start(credit=1)
    place.dispatcher.post(DEFAULT, a_letter())
    message = await consumer.expect("message")
    consumer.say("accept" if client == "rhea" else "update", messageId=message["messageId"])
    await consumer.expect("settled")
    assert place.dispatcher.attachments[0].accepted == [a_letter()]


async def test_a_consumer_comes_over_tls(client: str, start: Start, certificate: Certificate) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate_file, certificate.key_file)
    place = await listen(SystemClock(), tls)
    place.dispatcher.post(DEFAULT, a_letter(), a_letter(2, bytes(LARGE_BYTES)))
    consumer = await start(credit=2, ca=str(certificate.ca_file), port=place.port)
    await consumer.expect("message")
    message = await consumer.expect("message")
    assert message["bytes"] == LARGE_BYTES
    consumer.say("accept", messageId=message["messageId"])
    await place.until(lambda: place.dispatcher.attachments[0].accepted)
    consumer.say("close")
    await consumer.expect("closed")
    await place.close()


async def test_what_a_dead_consumer_of_a_server_had_goes_to_another(start: Start, start_rig: RigStarter) -> None:
    rig = await start_rig(clock=SystemClock(), amqp=Address("127.0.0.1", 0))
    assert rig.endpoints.amqp is not None
    relation = SubscribeRelation(PRODUCT_KEY, "AMQP", frozenset({NoticeKind.DEVICE_DATA}), (DEFAULT_GROUP_ID,))
    await rig.server.store.add_relation(relation)
    name = user_name(KEY)
    login = {"name": name, "secret": password(name, KEY.secret), "port": rig.endpoints.amqp.port}
    first = await start(credit=10, **login)
    for number in range(3):
        topic, payload = f"/{PRODUCT_KEY}/lamp-01/user/{number}", b"\x00" * number
        rig.server.forwarder.forward(ACCOUNT_ID, LAMP, NoticeKind.DEVICE_DATA, topic, payload, 1)
    messages = [await first.expect("message") for _ in range(3)]
    assert [message["bytes"] for message in messages] == [0, 1, 2]
    first.say("accept", messageId=messages[1]["messageId"])
    destination = f"{ACCOUNT_ID}/{DEFAULT_GROUP_ID}"
    await until(lambda: rig.server.dispatcher.consumers(destination)[0].accepted_count)
    first.say("die")
    second = await start(credit=10, **login)
    again = [await second.expect("message") for _ in range(2)]
    assert {message["messageId"] for message in again} == {messages[0]["messageId"], messages[2]["messageId"]}
    assert [message["deliveryCount"] for message in again] == [1, 1]
    for message in again:
        second.say("accept", messageId=message["messageId"])
    await until(lambda: rig.server.dispatcher.consumers(destination)[0].accepted_count == 2)
    assert await rig.server.store.count_letters(destination) == 0
    second.say("close")
    await second.expect("closed")

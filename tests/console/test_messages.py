"""The messages of a device as a page shows them."""

import asyncio
import json

import pytest

from linkstead.console.messages import PREVIEW_CHARS, show_openly
from linkstead.mqtt.packets import Publish, SubAck, Subscribe, Subscription
from linkstead.sessions.tap import PAYLOAD_KEPT_BYTES_MAX
from tests.console.web import Listener, tick, visitor
from tests.gateways import GATEWAY, PROBE, add_gateways, gateway_with
from tests.rig import ACCOUNT_ID, LAMP, PRODUCT_KEY, RAM_KEY, SECOND_LAMP, Rig
from tests.wire import HttpClient, until

PATH = f"/devices/{PRODUCT_KEY}/{LAMP.device_name}/messages"
MAY_SEE_DEVICES = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})


@pytest.mark.parametrize(
    ("kept", "without"),
    [
        (b'{"deviceSecret":"hush","n":1.50}', b'{"deviceSecret":"[removed]","n":1.5}'),
        (b'{"params":[{"sign":"hush","signMethod":"hmacSha256"}]}', b'"signMethod":"hmacSha256"'),
        (b"name=a&password=hush&n=2", b"name=a&password=[removed]&n=2"),
        (b'\xff\x00{"token":"hush"}', b'{"token":[removed]}'),
        (b'{"a":"' + b"x" * 4_000 + b'","secret":"hush', b"[removed]"),
        (b'{"n":1.50}', b'{"n":1.50}'),
    ],
)
def test_what_its_name_says_is_secret_is_shown_in_no_way(kept: bytes, without: bytes) -> None:
    shown, line = show_openly(kept, len(kept))
    assert "hush" not in f"{shown.text} {shown.json} {line}"
    assert "68 75 73 68" not in shown.hex.replace("\n", " ")
    dumped = b"".join(bytes.fromhex(row[8:55]) for row in shown.hex.splitlines() if row != "…")
    assert without in dumped
    assert not shown.is_cut


def test_a_message_is_known_by_the_beginning_of_it() -> None:
    assert show_openly(b"a\n b", 4)[1] == "a b"
    assert show_openly(b"a" * PREVIEW_CHARS, PREVIEW_CHARS)[1] == "a" * PREVIEW_CHARS
    assert show_openly(b"a" * (PREVIEW_CHARS + 1), PREVIEW_CHARS + 1)[1] == "a" * PREVIEW_CHARS
    assert show_openly(b"\x00\xff", 2)[1] == "00 ff"
    assert show_openly(b"a", PAYLOAD_KEPT_BYTES_MAX + 1)[0].is_cut


@pytest.mark.asyncio
async def test_messages_both_ways_come_to_an_open_page(rig: Rig) -> None:
    device, other = await rig.connected(), await rig.connected(SECOND_LAMP)
    guest = await visitor(rig)
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        assert await browser.open(PATH) == 200
        assert await browser.read() == b"retry: 2000\n\n"
        await until(lambda: rig.server.sessions.taps is not None)
        calling = asyncio.ensure_future(rig.app().rrpc(LAMP, b"ping <b>"))
        await device.answer(await device.expect_call(), b"pong")
        await calling
        await rig.server.delivery.settle()
        device.send(Publish(device.topic("thing/event/property/post"), b'{"id":"1","deviceSecret":"hush"}'))
        other.send(Publish(other.custom_topic("user/update"), b"not to be seen"))
        assert (await device.expect(Publish)).topic.endswith("post_reply")
        await other.expect_silence()
        await tick(rig, 2)
        event = (await browser.read()).decode()
        assert event.startswith("event: rows\ndata: 0\n")
        places = [event.index(f"/{rest}") for rest in ("post_reply<", "post<", "rrpc/response/", "rrpc/request/")]
        assert places == sorted(places)
        assert event.count("from the device") == event.count("to the device") == 2
        assert "ping &lt;b&gt;" in event
        assert "hush" not in event
        assert "not to be seen" not in event
        device.send(Publish(device.custom_topic("user/update"), b""))
        await device.expect_silence()
        await tick(rig, 2)
        assert ">nothing<" in (await browser.read()).decode()
    await until(lambda: rig.server.sessions.taps is None)


@pytest.mark.asyncio
async def test_a_queued_message_is_shown_when_it_is_sent(rig: Rig) -> None:
    device = await rig.connected()
    device.send(Subscribe(1, [Subscription(device.custom_topic("user/get"), 1)]))
    await device.expect(SubAck)
    tap = rig.server.sessions.tap(LAMP)
    await rig.app().call(
        "Pub", ProductKey=PRODUCT_KEY, TopicFullName=device.custom_topic("user/get"), MessageContent="aGk=", Qos="1"
    )
    messages, _ = tap.take()
    rig.server.sessions.untap(tap)
    assert [(message.way, message.payload) for message in messages] == [("to-device", b"hi")]


@pytest.mark.asyncio
async def test_messages_of_a_device_behind_a_gateway_are_its_own(rig: Rig) -> None:
    await add_gateways(rig)
    gateway = await gateway_with(rig)
    at_gateway, at_probe = rig.server.sessions.tap(GATEWAY), rig.server.sessions.tap(PROBE)
    for others in ({}, {"Topic": "/free/of/form"}):
        calling = asyncio.ensure_future(rig.app().rrpc(PROBE, b"ping", **others))
        await gateway.answer_call(b"pong")
        await calling
    assert [(message.way, message.payload) for message in at_probe.take()[0]] == [
        ("to-device", b"ping"),
        ("from-device", b"pong"),
    ] * 2
    assert at_gateway.take() == ([], 0)
    rig.server.sessions.untap(at_gateway)
    rig.server.sessions.untap(at_probe)


@pytest.mark.asyncio
async def test_messages_are_for_those_who_may_see_the_calls(rig: Rig) -> None:
    page = PATH.removesuffix("/messages")
    guest = await visitor(rig)
    assert PATH in (await guest.get(page)).body.decode()
    assert (await guest.get(PATH.replace(LAMP.device_name, "nobody"))).status == 404
    await rig.server.registry.save_policy(ACCOUNT_ID, RAM_KEY.user_name, MAY_SEE_DEVICES)
    guest = await visitor(rig, RAM_KEY)
    assert (await guest.get(page)).status == 200
    assert PATH not in (await guest.get(page)).body.decode()
    assert (await guest.get(PATH)).status == 403
    assert rig.server.sessions.taps is None

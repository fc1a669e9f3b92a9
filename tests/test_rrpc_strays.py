"""What a device sends that is not the answer: it changes no verdict, and is kept with the call it belongs to."""

import asyncio
import base64
from typing import Any

import pytest

from linkstead.mqtt.packets import Publish
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from tests.rig import OTHER_LAMP, SECOND_LAMP, Rig
from tests.wire import DeviceClient, answer_topic, message_id

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]


async def _call(rig: Rig, device: DeviceClient, **others: str) -> tuple[asyncio.Future[dict[str, Any]], Publish]:
    """A call under way, and what the device got of it."""
    call = asyncio.ensure_future(rig.app().rrpc(device.key, **others))
    return call, await device.expect_call()


async def _record(rig: Rig, request: Publish) -> dict[str, Any]:
    return await rig.app().call_record(message_id(request.topic))


def _payload(evidence: dict[str, Any]) -> bytes:
    return base64.b64decode(evidence["payload"]["base64"])


async def test_a_late_answer_changes_no_verdict_and_is_visible(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    rig.clock.advance(5.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    rig.clock.advance(1.25)
    await device.answer(request, b"late", qos=1)
    record = await _record(rig, request)
    assert (record["verdict"], record["diagnosis"], record["late_by_ms"]) == ("TIMEOUT", "answered-late", 1250)
    (evidence,) = record["evidence"]
    assert (evidence["reason"], evidence["sender"], _payload(evidence)) == ("late", "a1Lamp00001/lamp-01", b"late")
    assert evidence["topic"] == answer_topic(request.topic)


async def test_a_late_answer_is_in_the_store_as_well(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    rig.clock.advance(5.0)
    await call
    assert await rig.server.store.flush()
    await device.answer(request, b"late", qos=1)
    await rig.settle()
    stored = await rig.server.store.find_call("1001", str(message_id(request.topic)))
    assert stored is not None
    assert (stored.diagnosis, stored.evidence[0].payload) == ("answered-late", b"late")


async def test_a_second_answer_changes_nothing_and_is_visible(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    await device.answer(request, b"first")
    await device.answer(request, b"second", qos=1)
    assert (await call)["PayloadBase64Byte"] == base64.b64encode(b"first").decode()
    record = await _record(rig, request)
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "answered")
    assert [(each["reason"], _payload(each)) for each in record["evidence"]] == [("duplicate", b"second")]


async def test_an_answer_to_a_call_that_never_was_is_shown_with_the_one_that_waits(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    await device.answer(request, b"lost", topic=device.topic("rrpc/response/123"), qos=1)
    rig.clock.advance(5.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    record = await _record(rig, request)
    assert record["diagnosis"] == "answered-wrong-message-id"
    assert [(each["reason"], _payload(each)) for each in record["evidence"]] == [("wrong-message-id", b"lost")]


@pytest.mark.parametrize("custom", [False, True])
async def test_an_answer_on_the_other_carrier_is_not_the_answer(rig: Rig, custom: bool) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device, Topic="/user/get" if custom else "")
    mid = message_id(request.topic)
    wrong = device.topic(f"rrpc/response/{mid}") if custom else f"/ext/rrpc/{mid}/user/get"
    await device.answer(request, b"wrong way", topic=wrong, qos=1)
    assert not call.done()
    rig.clock.advance(5.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    record = await _record(rig, request)
    assert (record["diagnosis"], record["evidence"][0]["reason"]) == ("answered-wrong-topic", "wrong-topic")


async def test_an_answer_that_repeats_the_request_topic_is_not_the_answer(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    await device.answer(request, b"echo", topic=request.topic, qos=1)
    await device.answer(request, b"pong")
    assert (await call)["PayloadBase64Byte"] == base64.b64encode(b"pong").decode()


async def test_an_answer_with_a_query_behind_its_topic_is_the_answer(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    await device.answer(request, b"pong", topic=answer_topic(request.topic) + "?_rid=1")
    assert (await call)["RrpcCode"] == "SUCCESS"


async def test_an_answer_over_256_kib_is_not_the_answer_and_is_told(rig: Rig) -> None:
    device = await rig.connected()
    call, request = await _call(rig, device)
    await device.answer(request, bytes(PAYLOAD_BYTES_MAX + 1), qos=1)
    await device.expect_silence()
    rig.clock.advance(5.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    record = await _record(rig, request)
    assert record["diagnosis"] == "answer-too-large"
    assert record["evidence"][0]["reason"] == "too-large"


@pytest.mark.parametrize("by_ext", [False, True])
@pytest.mark.parametrize("custom", [False, True])
async def test_the_answer_of_another_device_of_the_account_changes_nothing(
    rig: Rig, by_ext: bool, custom: bool
) -> None:
    device, stranger = await rig.connected(), await rig.connected(SECOND_LAMP)
    call, request = await _call(rig, device, Topic="/user/get" if custom else "")
    mid = message_id(request.topic)
    topic = f"/ext/rrpc/{mid}/user/get" if by_ext else device.topic(f"rrpc/response/{mid}")
    await stranger.answer(request, b"not mine", topic=topic, qos=1)
    await stranger.expect_silence()
    assert not call.done()
    await device.answer(request, b"mine")
    assert (await call)["PayloadBase64Byte"] == base64.b64encode(b"mine").decode()
    (evidence,) = (await _record(rig, request))["evidence"]
    assert (evidence["reason"], evidence["sender"]) == ("other-device", "a1Lamp00001/lamp-02")
    assert (evidence["topic"], _payload(evidence)) == (topic, b"not mine")


@pytest.mark.parametrize("by_ext", [False, True])
async def test_the_answer_of_another_accounts_device_changes_nothing_and_shows_nothing(rig: Rig, by_ext: bool) -> None:
    device, stranger = await rig.connected(), await rig.connected(OTHER_LAMP)
    call, request = await _call(rig, device)
    mid = message_id(request.topic)
    topic = f"/ext/rrpc/{mid}/x" if by_ext else device.topic(f"rrpc/response/{mid}")
    await stranger.answer(request, b"a secret of theirs", topic=topic, qos=1)
    assert not call.done()
    rig.clock.advance(5.0)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    record = await _record(rig, request)
    (evidence,) = record["evidence"]
    assert (evidence["reason"], evidence["sender"]) == ("other-device", "a device of another account")
    assert (evidence["topic"], evidence["payload"]["base64"]) == ("", "")
    assert "secret of theirs" not in str(record)


async def test_a_stray_answer_to_no_call_at_all_is_dropped(rig: Rig) -> None:
    device = await rig.connected()
    device.send(Publish(device.topic("rrpc/response/123"), b"x", 1, 1), Publish("/ext/rrpc/123/x", b"x", 1, 2))
    device.send(Publish("/ext/rrpc/not-a-number/x", b"x"), Publish("/ext/rrpc/99999999999999999999/x", b"x"))
    for packet_id in (1, 2):
        packet = await device.receive()
        assert getattr(packet, "packet_id", None) == packet_id
    await device.expect_silence()

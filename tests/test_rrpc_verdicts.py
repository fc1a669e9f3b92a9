"""How a call ends, by what becomes of the device's connection. Source: `device-protocol.md` 4.3 and 9.3."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from linkstead.mqtt.packets import MQTT_3_1_1, MQTT_5, Disconnect, PingReq, PingResp
from tests.rig import DISABLED_LAMP, LAMP, SECOND_LAMP, Rig, RigStarter
from tests.wire import DeviceClient, HttpClient, encode_request, stages, until

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

ERROR_MESSAGES = {
    "TIMEOUT": "The device did not answer within 5000 ms.",
    "OFFLINE": "The device is not connected.",
    "HALFCONN": "The device's connection broke less than one keep-alive period ago.",
}


async def check_verdict(rig: Rig, answer: dict[str, Any], verdict: str, diagnosis: str) -> dict[str, Any]:
    """The answer is a failure of this kind, without a `Code`, and its record says why; gives the record."""
    assert answer == {
        "RequestId": answer["RequestId"],
        "Success": False,
        "RrpcCode": verdict,
        "MessageId": answer["MessageId"],
        "ErrorMessage": ERROR_MESSAGES[verdict],
    }
    record = await rig.app().call_record(answer["MessageId"])
    assert (record["verdict"], record["diagnosis"], record["code"]) == (verdict, diagnosis, None)
    assert ("written" in stages(record)) == (verdict == "TIMEOUT")
    assert stages(record)[-1] == "returned"
    return record


# --- TIMEOUT ---


@pytest.mark.parametrize("timeout_ms", [1_000, 8_000])
async def test_a_device_that_does_not_answer_ends_in_timeout_at_the_deadline(rig: Rig, timeout_ms: int) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Timeout=str(timeout_ms)))
    await device.expect_call()
    rig.clock.advance(timeout_ms / 1000 - 0.001)
    assert rig.server.router.pending_count == 1
    rig.clock.advance(0.001)
    answer = await call
    assert rig.server.router.pending_count == 0
    assert answer["ErrorMessage"] == f"The device did not answer within {timeout_ms} ms."
    record = await rig.app().call_record(answer["MessageId"])
    assert (record["verdict"], record["diagnosis"]) == ("TIMEOUT", "written-no-answer")
    assert stages(record) == ["received", "authenticated", "accepted", "routed", "written", "returned"]
    assert record["timeline"][-1]["offset_ms"] == timeout_ms


async def test_an_answer_at_the_last_millisecond_is_a_success(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    rig.clock.advance(4.999)
    await device.answer(request, b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


async def test_a_connection_that_breaks_during_a_call_ends_it_at_the_deadline(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.expect_call()
    device.reset()
    await until(lambda: not rig.is_online)
    assert rig.server.router.pending_count == 1
    rig.clock.advance(5.0)
    await check_verdict(rig, await call, "TIMEOUT", "written-no-answer")


async def test_a_device_that_comes_back_may_still_answer(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    device.reset()
    await until(lambda: not rig.is_online)
    await device.connect()
    await device.answer(request, b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


async def test_a_takeover_during_a_call_is_told_in_its_diagnosis(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.expect_call()
    second = await rig.connected()
    rig.clock.advance(5.0)
    await check_verdict(rig, await call, "TIMEOUT", "superseded-connection")
    await second.expect_silence()


async def test_a_silent_device_is_written_to_until_its_keep_alive_is_over(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=60)
    rig.clock.advance(89.0)
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, Timeout="1000"))
    await device.expect_call()
    rig.clock.advance(0.999)
    assert rig.server.router.pending_count == 1
    rig.clock.advance(0.001)
    assert (await call)["RrpcCode"] == "TIMEOUT"
    await device.expect_closed()


# --- OFFLINE ---


async def test_a_device_that_never_connected_is_offline_at_once(rig: Rig) -> None:
    record = await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "never-activated")
    assert stages(record) == ["received", "authenticated", "accepted", "routed", "returned"]
    assert record["timeline"][-1]["offset_ms"] == 0.0


async def test_a_disabled_device_is_offline(rig: Rig) -> None:
    await check_verdict(rig, await rig.app().rrpc(DISABLED_LAMP), "OFFLINE", "disabled")


@pytest.mark.parametrize("level", [MQTT_3_1_1, MQTT_5])
async def test_a_device_disabled_while_connected_is_cut_and_offline(rig: Rig, level: int) -> None:
    device = await rig.connected(level=level)
    names = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name}
    assert (await rig.app().call("DisableThing", **names)).json()["Success"] is True
    if level == MQTT_5:
        assert (await device.expect(Disconnect)).reason_code == 0x87
    await device.expect_closed()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "disabled")
    assert (await rig.app().call("EnableThing", **names)).json()["Success"] is True
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")
    await device.connect()


async def test_a_deleted_device_is_cut_and_does_not_exist(rig: Rig) -> None:
    device = await rig.connected()
    names = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name}
    assert (await rig.app().call("DeleteDevice", **names)).json()["Success"] is True
    await device.expect_closed()
    assert (await rig.app().rrpc(LAMP))["Code"] == "iot.device.NotExistedDevice"
    assert (await device.request_connect()).reason_code == 5


async def test_a_device_that_said_goodbye_is_offline_at_once(rig: Rig) -> None:
    device = await rig.connected()
    await device.disconnect()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


async def test_a_device_of_mqtt_5_that_said_goodbye_is_offline_at_once(rig: Rig) -> None:
    device = await rig.connected(level=MQTT_5)
    device.send(Disconnect(0x04))
    await device.expect_closed()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


async def test_a_device_whose_keep_alive_is_over_is_offline(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=60)
    rig.clock.advance(90.0)
    await device.expect_closed()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


async def test_a_device_that_broke_the_protocol_is_offline(rig: Rig) -> None:
    device = await rig.connected()
    device.send_bytes(b"\x00\x00")
    await device.expect_closed()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


# --- HALFCONN ---


async def _close(device: DeviceClient) -> None:
    await device.close()


async def _reset(device: DeviceClient) -> None:
    device.reset()


@pytest.mark.parametrize("leave", [_close, _reset])
@pytest.mark.parametrize("keep_alive_s", [30, 1200])
async def test_a_broken_connection_is_half_connected_for_one_keep_alive(
    rig: Rig, leave: Callable[[DeviceClient], Awaitable[None]], keep_alive_s: int
) -> None:
    device = await rig.connected(keep_alive_s=keep_alive_s)
    await leave(device)
    await until(lambda: not rig.is_online)
    record = await check_verdict(rig, await rig.app().rrpc(LAMP), "HALFCONN", "half-connected")
    assert record["timeline"][-1]["offset_ms"] == 0.0
    rig.clock.advance(keep_alive_s - 0.5)
    await check_verdict(rig, await rig.app().rrpc(LAMP), "HALFCONN", "half-connected")
    rig.clock.advance(0.5)
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


async def test_a_device_that_comes_back_is_not_half_connected_any_more(rig: Rig) -> None:
    device = await rig.connected()
    device.reset()
    await until(lambda: not rig.is_online)
    await device.connect()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
    await device.disconnect()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


async def test_the_window_is_remembered_over_housekeeping(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=1200)
    device.reset()
    await until(lambda: not rig.is_online)
    for _ in range(3):
        rig.clock.advance(301.0)
        await device.open()
    await check_verdict(rig, await rig.app().rrpc(LAMP), "HALFCONN", "half-connected")
    rig.clock.advance(300.0)
    await check_verdict(rig, await rig.app().rrpc(LAMP), "OFFLINE", "not-connected")


# --- UNKNOWN, and the switch ---


async def test_failures_carry_a_code_where_that_is_asked_for(start_rig: RigStarter) -> None:
    rig = await start_rig(rrpc_failure_code=True)
    assert (await rig.app().rrpc(LAMP))["Code"] == "iot.messagebroker.OFFLINE"
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.expect_call()
    rig.clock.advance(5.0)
    assert (await call)["Code"] == "iot.messagebroker.TIMEOUT"
    device.reset()
    await until(lambda: not rig.is_online)
    assert (await rig.app().rrpc(LAMP))["Code"] == "iot.messagebroker.HALFCONN"
    await device.connect()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"")
    assert "Code" not in await call


async def test_unknown_carries_its_code_where_that_is_asked_for(
    start_rig: RigStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("disk on fire")

    rig = await start_rig(rrpc_failure_code=True)
    monkeypatch.setattr(rig.server.store, "find_device", fail)
    answer = await rig.app().rrpc(LAMP)
    assert (answer["RrpcCode"], answer["Code"]) == ("UNKNOWN", "iot.messagebroker.RrpcException")
    assert len(rig.watch.take()) == 1


async def test_a_device_that_pings_stays_connected(rig: Rig) -> None:
    device = await rig.connected(keep_alive_s=30)
    for _ in range(10):
        rig.clock.advance(44.0)
        device.send(PingReq())
        await device.expect(PingResp)
    assert rig.is_online


async def test_the_answer_of_a_waiting_call_does_not_hold_up_others_on_the_server(rig: Rig) -> None:
    device, other = await rig.connected(), await rig.connected(SECOND_LAMP)
    query = rig.app().sign_v1({"Action": "RRpc", **rig.app().rrpc_parameters(LAMP)})
    async with HttpClient.open(rig.http) as waiting:
        waiting.send(encode_request("GET", f"/?{query}"))
        await device.expect_call()
        assert (await rig.app().rrpc(DISABLED_LAMP))["RrpcCode"] == "OFFLINE"
        call = asyncio.ensure_future(rig.app().rrpc(SECOND_LAMP))
        await other.answer_call(b"pong")
        assert (await call)["RrpcCode"] == "SUCCESS"
        rig.clock.advance(5.0)
        assert (await waiting.receive()).json()["RrpcCode"] == "TIMEOUT"

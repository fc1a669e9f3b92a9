"""The kit as a test uses it: a server, its devices and its clock, called with the vendor's SDK that blocks."""

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from alibabacloud_iot20180120 import models

from linkstead.faults import FaultError
from linkstead.rehearsal import RehearsalError
from linkstead.rehearsal.script import ExpectationError
from linkstead.testing.kit import Device, LinksteadServer

LAMP = Path(__file__).parents[2] / "src" / "linkstead" / "cli" / "lamp.tsl.json"
DAY_S = 24 * 3600.0


def rrpc(server: LinksteadServer, device: Device, payload: bytes = b"ping", timeout_ms: int = 8_000) -> Any:
    request = models.RRpcRequest(
        product_key=device.product_key,
        device_name=device.name,
        request_base_64byte=base64.b64encode(payload).decode(),
        timeout=timeout_ms,
    )
    return server.client().r_rpc(request).body


def invoke(server: LinksteadServer, device: Device, identifier: str, **arguments: object) -> Any:
    request = models.InvokeThingServiceRequest(
        product_key=device.product_key, device_name=device.name, identifier=identifier, args=json.dumps(arguments)
    )
    return server.client().invoke_thing_service(request).body


def planted(server: LinksteadServer) -> list[str]:
    """The faults that acted on the latest call."""
    stages = [moment["stage"] for moment in server.calls()[-1]["timeline"]]
    return [stage.removeprefix("planted-") for stage in stages if stage.startswith("planted-")]


def test_a_device_without_a_model_sends_an_rrpc_back(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    assert base64.b64decode(rrpc(linkstead_server, lamp, b"\x00\xff").payload_base_64byte) == b"\x00\xff"


def test_a_device_answers_what_was_said(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    expected = lamp.expect_call("rrpc").given(b"ping").reply(b"pong").times(2)
    for _ in range(2):
        assert base64.b64decode(rrpc(linkstead_server, lamp).payload_base_64byte) == b"pong"
    assert expected.seen == 2


def test_a_device_with_a_model_answers_by_it_or_by_the_test(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp", model=LAMP)
    answer = invoke(linkstead_server, lamp, "Blink", Times=3, IntervalSec=0.5)
    assert set(json.loads(answer.data.result)["data"]) == {"Executed", "FinishedAt"}
    lamp.expect_call("Blink").given({"Times": 2, "IntervalSec": 0.5}).reply({"Executed": 2, "FinishedAt": "5"})
    answer = invoke(linkstead_server, lamp, "Blink", Times=2, IntervalSec=0.5)
    assert json.loads(answer.data.result)["data"] == {"Executed": 2, "FinishedAt": "5"}
    lamp.expect_call("Blink").reply(code=100001, message="tired")
    answer = invoke(linkstead_server, lamp, "Blink", Times=1, IntervalSec=0.5)
    assert json.loads(answer.data.result)["code"] == 100001


def test_an_asynchronous_service_is_waited_for_at_the_end(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp", model=json.loads(LAMP.read_text()), product_key="a1TestKit00")
    lamp.expect_call("RunScene").reply({})
    answer = invoke(linkstead_server, lamp, "RunScene", SceneId="evening", Steps=[{"Level": 20, "HoldMs": 500}])
    assert answer.success
    assert lamp.product_key == "a1TestKit00"


def publish(server: LinksteadServer, device: Device, topic: str, payload: bytes, qos: int = 1) -> Any:
    request = models.PubRequest(
        product_key=device.product_key,
        topic_full_name=f"/{device.product_key}/{device.name}/{topic}",
        message_content=base64.b64encode(payload).decode(),
        qos=qos,
    )
    return server.client().pub(request).body


def test_a_message_comes_to_a_device_that_expects_it(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    told = lamp.expect_message("user/get").given({"light": "on"})
    raw = lamp.expect_message(f"/{lamp.product_key}/{lamp.name}/user/get").given(b"\x00\xff").times(2)
    other = lamp.expect_message(f"/broadcast/{lamp.product_key}/+").never()
    call = lamp.expect_call().never()
    assert publish(linkstead_server, lamp, "user/get", b'{"light": "on"}').success
    for qos in (0, 1):
        assert publish(linkstead_server, lamp, "user/get", b"\x00\xff", qos).success
    linkstead_server.verify()
    assert [each.seen for each in (told, raw, other, call)] == [1, 2, 0, 0]


def test_a_message_that_did_not_come_or_must_not_is_told(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.expect_message("user/get").never()
    lamp.expect_message(f"/broadcast/{lamp.product_key}/news")
    assert publish(linkstead_server, lamp, "user/get", b"hi").success
    surplus = f"lamp: /{lamp.product_key}/lamp/user/get was expected never and came once"
    missing = f"lamp: /broadcast/{lamp.product_key}/news was expected once and came never"
    with pytest.raises(AssertionError) as caught:
        linkstead_server.verify()
    assert str(caught.value) == f"{surplus}\n{missing}"
    linkstead_server.reset()


def test_a_device_subscribes_again_when_it_comes_back(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp", connect=False)
    expected = lamp.expect_message("user/get")
    lamp.connect()
    lamp.disconnect()
    lamp.connect()
    assert publish(linkstead_server, lamp, "user/get", b"hi", qos=0).success
    linkstead_server.verify()
    assert expected.seen == 1


def test_a_device_may_not_expect_what_is_another_s(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    with pytest.raises(RehearsalError, match="lamp may not subscribe to /other/lamp/user/get"):
        lamp.expect_message("/other/lamp/user/get")
    linkstead_server.verify()


def test_a_timeout_takes_no_time(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.expect_call().no_reply()
    linkstead_server.clock.advance_on_call(8)
    assert rrpc(linkstead_server, lamp).rrpc_code == "TIMEOUT"
    [call] = linkstead_server.calls()
    assert (call["verdict"], call["diagnosis"]) == ("TIMEOUT", "written-no-answer")
    assert call["timeline"][-1]["offset_ms"] >= 8_000


def test_time_is_turned_while_the_sdk_blocks_in_another_thread(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.expect_call().reply(b"pong").after(7_000)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(rrpc, linkstead_server, lamp)
        linkstead_server.wait_for_calls()
        linkstead_server.clock.advance(7)
        assert answer.result().rrpc_code == "SUCCESS"


def test_days_pass_and_nobody_is_lost_or_refused(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    client = linkstead_server.client()
    request = models.RRpcRequest(
        product_key=lamp.product_key, device_name=lamp.name, request_base_64byte="cGluZw==", timeout=5000
    )
    assert client.r_rpc(request).body.rrpc_code == "SUCCESS"
    linkstead_server.clock.advance(30 * DAY_S)
    assert client.r_rpc(request).body.rrpc_code == "SUCCESS"
    assert linkstead_server.clock.ahead_s == pytest.approx(30 * DAY_S, abs=60)


def test_a_device_grows_silent_where_that_is_asked_for(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    linkstead_server.clock.advance(91, keep_alive=True)
    status = models.GetDeviceStatusRequest(product_key=lamp.product_key, device_name=lamp.name)
    assert linkstead_server.client().get_device_status(status).body.data.status == "OFFLINE"


def test_a_device_leaves_and_comes_back(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.disconnect()
    assert rrpc(linkstead_server, lamp).rrpc_code == "OFFLINE"
    lamp.connect()
    assert rrpc(linkstead_server, lamp).rrpc_code == "SUCCESS"


def test_a_device_whose_connection_broke_comes_back_when_it_is_told_to(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.fault("cut", at_once=True)
    assert rrpc(linkstead_server, lamp).rrpc_code == "HALFCONN"
    lamp.connect()
    assert rrpc(linkstead_server, lamp).rrpc_code == "SUCCESS"


def test_a_device_that_is_only_registered_is_for_the_test_to_connect(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp", connect=False)
    assert len(lamp.secret) == 32
    assert rrpc(linkstead_server, lamp).rrpc_code == "OFFLINE"
    assert linkstead_server.calls()[-1]["diagnosis"] == "never-activated"


def test_faults_are_the_device_s_or_anybody_s(linkstead_server: LinksteadServer) -> None:
    lamp, other = linkstead_server.device("lamp"), linkstead_server.device("other")
    lamp.fault("drop-answer", nth=2)
    for device, verdict in ((lamp, "SUCCESS"), (other, "SUCCESS"), (lamp, "TIMEOUT"), (lamp, "SUCCESS")):
        if verdict == "TIMEOUT":
            linkstead_server.clock.advance_on_call(8)
        assert rrpc(linkstead_server, device).rrpc_code == verdict
        assert planted(linkstead_server) == (["drop-answer"] if verdict == "TIMEOUT" else [])
    number = linkstead_server.faults.add("unknown")
    assert rrpc(linkstead_server, other).rrpc_code == "UNKNOWN"
    assert [fault["acted"] for fault in linkstead_server.faults.list()] == [1, 1]
    linkstead_server.faults.remove(number)
    assert rrpc(linkstead_server, other).rrpc_code == "SUCCESS"
    linkstead_server.faults.clear()
    assert linkstead_server.faults.list() == []


def test_there_are_so_many_devices(linkstead_server: LinksteadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkstead.rehearsal.rehearsal.DEVICES_MAX", 2)
    for name in ("lamp", "other"):
        linkstead_server.device(name, connect=False)
    with pytest.raises(RehearsalError, match="2 devices"):
        linkstead_server.device("third")


def test_what_makes_no_sense_is_refused(linkstead_server: LinksteadServer) -> None:
    with pytest.raises(RehearsalError, match="DeviceName"):
        linkstead_server.device("x")
    with pytest.raises(RehearsalError, match="thing model"):
        linkstead_server.device("lamp", model={"services": "none"})
    with pytest.raises(RehearsalError, match="turned"):
        linkstead_server.clock.advance(-1)
    with pytest.raises(FaultError, match="nth"):
        linkstead_server.faults.add("cut", nth=0)
    with pytest.raises(FaultError, match="kind must be one of delay-request, "):
        linkstead_server.faults.add("drop-anser")
    with pytest.raises(FaultError, match="delay`"):
        linkstead_server.faults.add("delay-answer", delay=3)
    with pytest.raises(FaultError, match="delay_ms`"):
        linkstead_server.faults.add("delay-answer", delay_ms="3")
    with pytest.raises(FaultError, match="no fault 7"):
        linkstead_server.faults.remove(7)
    with pytest.raises(AssertionError, match="1 calls were to wait"):
        linkstead_server.wait_for_calls(1, wait_s=0.0)
    lamp = linkstead_server.device("lamp")
    with pytest.raises(ExpectationError, match="times"):
        lamp.expect_call().any_times().times(-1)


class TestTwoTests:
    """Each test has a server of its own."""

    addresses: ClassVar[list[str]] = []

    @pytest.mark.parametrize("number", [1, 2])
    def test_each_has_its_own(self, linkstead_server: LinksteadServer, number: int) -> None:
        assert linkstead_server.calls() == []
        linkstead_server.device("lamp", product_key="a1TestKit00")
        linkstead_server.faults.add("drop-answer")
        self.addresses.append(linkstead_server.mqtt)
        for address in self.addresses[:-1]:
            host, _, port = address.rpartition(":")
            with socket.socket() as peer:
                assert peer.connect_ex((host, int(port))) != 0 or address == linkstead_server.mqtt


class TestSettings:
    """A test chooses the server's settings."""

    @pytest.fixture
    def linkstead_settings(self) -> dict[str, Any]:
        return {"language": "zh", "rrpc_failure_code": True}

    def test_settings_are_the_test_s_own(self, linkstead_server: LinksteadServer) -> None:
        lamp = linkstead_server.device("lamp", connect=False)
        answer = rrpc(linkstead_server, lamp)
        assert answer.code == "iot.messagebroker.OFFLINE"
        assert answer.error_message == "设备不在线。"


def test_a_call_that_nobody_waits_for_does_not_hold_the_end_up(linkstead_server: LinksteadServer) -> None:
    lamp = linkstead_server.device("lamp")
    lamp.expect_call().no_reply().any_times()
    pool = ThreadPoolExecutor()
    pool.submit(rrpc, linkstead_server, lamp)
    linkstead_server.wait_for_calls()
    pool.shutdown(wait=False)


def test_what_was_recorded_is_replayed(linkstead_server: LinksteadServer, tmp_path: Path) -> None:
    lamp = linkstead_server.device("lamp", model=LAMP)
    lamp.expect_call("rrpc").reply(b"pong").after(50)
    assert base64.b64decode(rrpc(linkstead_server, lamp).payload_base_64byte) == b"pong"
    answer = json.loads(invoke(linkstead_server, lamp, "Blink", Times=3, IntervalSec=0.5).data.result)
    linkstead_server.record(tmp_path / "calls.json")
    other = linkstead_server.device("other", model=LAMP)
    other.replay(tmp_path / "calls.json", recorded_as="lamp")
    again = json.loads(invoke(linkstead_server, other, "Blink", Times=3, IntervalSec=0.5).data.result)
    assert again["data"] == answer["data"]
    assert base64.b64decode(rrpc(linkstead_server, other).payload_base_64byte) == b"pong"
    offsets = {moment["stage"]: moment["offset_ms"] for moment in linkstead_server.calls()[-1]["timeline"]}
    assert offsets["answered"] - offsets["written"] >= 50
    linkstead_server.clock.advance_on_call(8)
    assert rrpc(linkstead_server, other, b"never recorded").rrpc_code == "TIMEOUT"
    with pytest.raises(AssertionError, match="other: any call was expected never and came once"):
        linkstead_server.verify()
    lamp.disconnect()
    with pytest.raises(RehearsalError, match="nothing of third"):
        linkstead_server.device("third").replay(tmp_path / "calls.json")
    linkstead_server.reset()

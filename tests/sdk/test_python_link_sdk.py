"""A device built with the vendor's Python Link SDK, in the environment that has its older MQTT library."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.sdk.calls import MakeDevice, answered, call_device, register_device, status, wait_status
from tests.sdk.child import REPOSITORY, Child
from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import Installation

DEVICE_PROGRAM = REPOSITORY / "tests" / "sdk" / "link_device.py"
RECONNECT_WAIT_S = 30.0
"""The SDK waits from 1 s upwards between its tries."""

Connect = Callable[..., tuple[Child, Identity]]


def start_link_device(
    identity: Identity,
    port: int,
    topics: list[str],
    ca: str | None = None,
    *,
    tsl: Path | None = None,
    services: Mapping[str, object] | None = None,
) -> Child:
    """Start a device; it connects by itself. `tsl`, `services`: see the program."""
    python = os.environ.get("LINKSTEAD_DEMO_PYTHON") or str(REPOSITORY / ".venv-demo" / "bin" / "python")
    settings = {
        "identity": dataclasses.asdict(identity),
        "port": port,
        "topics": topics,
        "ca": ca,
        "tsl": None if tsl is None else str(tsl),
        "services": services or {},
    }
    return Child([python, str(DEVICE_PROGRAM), json.dumps(settings)], missing="make test (it makes .venv-demo)")


@pytest.fixture
def connect(server: Installation, make_device: MakeDevice) -> Iterator[Connect]:
    started: list[Child] = []

    def start(topics: list[str] | None = None) -> tuple[Child, Identity]:
        identity = make_device()
        child = start_link_device(identity, server.mqtt_port, topics or [])
        started.append(child)
        assert child.expect("connect")["code"] == 0
        assert child.expect("granted")["qos"] == [0]
        return child, identity

    yield start
    for child in started:
        child.stop()


def test_device_answers_on_the_system_topic_without_subscribing(connect: Connect, tea: Cloud) -> None:
    child, identity = connect()
    assert answered(tea, identity, b"lights on") == b"echo:lights on"
    assert child.expect("request")["topic"].startswith(identity.topic("rrpc/request/"))


def test_device_answers_on_a_custom_topic(connect: Connect, tea: Cloud) -> None:
    topic = "/lamps/kitchen/get"
    child, identity = connect([topic])
    assert child.expect("rrpc topic", topic=topic)["code"] == 0
    assert answered(tea, identity, b"lights on", Topic=topic) == b"echo:lights on"
    request = child.expect("request")
    assert (request["topic"][:10], request["topic"][-len(topic) :]) == ("/ext/rrpc/", topic)


def test_custom_topic_the_device_did_not_ask_for_times_out(connect: Connect, tea: Cloud, server: Installation) -> None:
    _, identity = connect(["/lamps/kitchen/get"])
    answer = call_device(tea, identity, b"lights on", Topic="/lamps/hall/get", Timeout=1000)
    assert answer["RrpcCode"] == "TIMEOUT"
    assert server.find_call(answer["MessageId"])["diagnosis"] == "written-no-answer"


def test_gateway_takes_calls_for_the_devices_behind_it(
    server: Installation, tea: Cloud, make_device: MakeDevice
) -> None:
    created = tea.call("CreateProduct", {"ProductName": "PythonGateway", "NodeType": 1})
    gateway = register_device(tea, created["ProductKey"])
    probes = [make_device() for _ in range(2)]
    named = [[probe.product_key, probe.device_name] for probe in probes]
    signed = [[*names, probe.device_secret] for names, probe in zip(named, probes, strict=True)]
    told = [{"productKey": product_key, "deviceName": device_name} for product_key, device_name in named]
    child = start_link_device(gateway, server.mqtt_port, [])
    try:
        assert child.expect("connect")["code"] == 0
        child.say({"gateway": "add_subdev_topo", "devices": signed})
        reply = child.expect("add_subdev_topo")
        assert (reply["code"], reply["data"], reply["message"]) == (200, told, "success")
        assert tea.call("GetThingTopo", {**gateway.target, "PageNo": 1, "PageSize": 10})["Data"]["Total"] == 2
        child.say({"gateway": "login_subdev", "devices": signed})
        reply = child.expect("login_subdev")
        assert (reply["code"], reply["data"]) == (200, told)
        for probe in probes:
            assert status(tea, probe) == "ONLINE"
            assert answered(tea, probe, b"lights on") == b"echo:lights on"
            assert child.expect("request")["topic"].startswith(probe.topic("rrpc/request/"))
        child.say({"gateway": "logout_subdev", "devices": named[:1]})
        assert child.expect("logout_subdev")["code"] == 200
        assert call_device(tea, probes[0], b"lights on")["RrpcCode"] == "OFFLINE"
        tea.call("RemoveThingTopo", probes[1].target)
        assert child.expect("topo change")["params"] == {"status": 1, "subList": told[1:]}
        assert call_device(tea, probes[1], b"lights on")["RrpcCode"] == "OFFLINE"
        child.say({"gateway": "delete_subdev_topo", "devices": named[:1]})
        assert child.expect("delete_subdev_topo")["code"] == 200
    finally:
        child.stop()


def test_device_is_told_the_time(connect: Connect) -> None:
    child, identity = connect()
    topic = f"/ext/ntp/{identity.product_key}/{identity.device_name}"
    sent = "1700000000000"
    child.say({"publish": f"{topic}/request", "payload": json.dumps({"deviceSendTime": sent}), "qos": 0})
    message = child.expect("message", topic=f"{topic}/response")
    told = json.loads(message["payload"])
    assert told["deviceSendTime"] == sent
    assert int(sent) < int(told["serverRecvTime"]) <= int(told["serverSendTime"])


def test_device_that_was_cut_comes_back_and_answers(connect: Connect, tea: Cloud) -> None:
    topic = "/lamps/kitchen/get"
    child, identity = connect([topic])
    child.expect("rrpc topic")
    assert tea.call("DisableThing", identity.target)["Success"]
    child.expect("disconnect")
    answer = call_device(tea, identity, b"lights on")
    assert (answer["RrpcCode"], answer["Success"]) == ("OFFLINE", False)
    assert tea.call("EnableThing", identity.target)["Success"]
    assert child.expect("connect", RECONNECT_WAIT_S, code=0)["session_present"] == 0
    child.expect("rrpc topic")
    assert answered(tea, identity, b"again") == b"echo:again"
    assert answered(tea, identity, b"once more", Topic=topic) == b"echo:once more"


def test_device_that_leaves_is_offline_at_once(connect: Connect, tea: Cloud) -> None:
    child, identity = connect()
    assert status(tea, identity) == "ONLINE"
    child.finish()
    child.expect("left")
    wait_status(tea, identity, "OFFLINE")
    answer = call_device(tea, identity, b"lights on")
    assert (answer["RrpcCode"], answer["Success"]) == ("OFFLINE", False)

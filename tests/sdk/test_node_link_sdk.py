"""A device built with the vendor's Link SDK for Node.js."""

import json
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.sdk.calls import MakeDevice, answered, call_device, register_device, status, wait_status
from tests.sdk.child import NODE_PROGRAMS, Child
from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import Installation

SERVICE = "blink"
SUBSCRIPTIONS = 17
"""The SDK's own 16, and that of the service. Source: `real-clients.md` 2.3."""

NOT_AUTHORIZED = 5
RECONNECT_WAIT_S = 30.0

SERVICES = {SERVICE: {"type": "sync", "data": {"done": 3}}}

Connect = Callable[[], tuple[Child, Identity]]


def start_node_device(
    identity: Identity,
    broker_url: str,
    *,
    secret: str = "",
    environment: dict[str, str] | None = None,
    services: Mapping[str, object] = SERVICES,
) -> Child:
    """Start a device; it connects by itself. `services`: see the program."""
    settings = {
        "productKey": identity.product_key,
        "deviceName": identity.device_name,
        "deviceSecret": secret or identity.device_secret,
        "brokerUrl": broker_url,
        "services": services,
    }
    command = ["node", str(NODE_PROGRAMS / "device.mjs"), json.dumps(settings)]
    missing = "make test (it brings Node.js and the npm packages)"
    return Child(command, missing=missing, environment=environment)


@pytest.fixture
def connect(server: Installation, make_device: MakeDevice) -> Iterator[Connect]:
    started: list[Child] = []

    def start() -> tuple[Child, Identity]:
        identity = make_device()
        child = start_node_device(identity, f"mqtt://127.0.0.1:{server.mqtt_port}")
        started.append(child)
        assert child.expect("connect")["sessionPresent"] is False
        return child, identity

    yield start
    for child in started:
        child.stop()


def _take_grants(child: Child) -> list[int]:
    while True:
        granted: list[int] = child.expect("granted")["qos"]
        if len(granted) == SUBSCRIPTIONS:
            return granted


def test_everything_the_sdk_subscribes_to_is_granted(connect: Connect) -> None:
    child, _ = connect()
    assert sorted(_take_grants(child)) == [0] + [1] * (SUBSCRIPTIONS - 1)


def test_device_answers_a_raw_request_once(connect: Connect, tea: Cloud, server: Installation) -> None:
    child, identity = connect()
    _take_grants(child)
    answer = call_device(tea, identity, b"lights on")
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "ZWNobzpsaWdodHMgb24=")
    topic = identity.topic(f"rrpc/request/{answer['MessageId']}")
    assert child.expect("request")["topic"] == topic
    # A second request answered means that a second copy of the first would have been answered before.
    assert answered(tea, identity, b"lights off") == b"echo:lights off"
    assert server.find_call(answer["MessageId"])["evidence_count"] == 0


def test_device_answers_through_its_service_handler(connect: Connect, tea: Cloud) -> None:
    child, identity = connect()
    request = {"id": "1735689601", "version": "1.0", "method": f"thing.service.{SERVICE}", "params": {"times": 3}}
    answer = answered(tea, identity, json.dumps(request).encode())
    assert json.loads(answer) == {"id": "1735689601", "code": 200, "data": {"done": 3}}
    called = child.expect("service", identifier=SERVICE)
    assert (called["id"], called["params"]) == ("1735689601", {"times": 3})


def test_device_that_was_cut_comes_back_to_its_session(connect: Connect, tea: Cloud) -> None:
    child, identity = connect()
    _take_grants(child)
    assert tea.call("DisableThing", identity.target)["Success"]
    child.expect("close")
    assert call_device(tea, identity, b"lights on")["RrpcCode"] == "OFFLINE"
    assert tea.call("EnableThing", identity.target)["Success"]
    assert child.expect("connect", RECONNECT_WAIT_S)["sessionPresent"] is True
    assert answered(tea, identity, b"again") == b"echo:again"


def test_wrong_secret_is_the_sdks_error(server: Installation, make_device: MakeDevice, tea: Cloud) -> None:
    identity = make_device()
    broker_url = f"mqtt://127.0.0.1:{server.mqtt_port}"
    with start_node_device(identity, broker_url, secret="not-the-secret") as child:
        error = child.expect("error")
        assert (error["code"], error["message"]) == (NOT_AUTHORIZED, "Connection refused: Not authorized")
        assert status(tea, identity) == "UNACTIVE"


def test_device_that_leaves_is_offline_at_once(connect: Connect, tea: Cloud) -> None:
    child, identity = connect()
    child.finish()
    child.expect("left")
    wait_status(tea, identity, "OFFLINE")
    assert call_device(tea, identity, b"lights on")["RrpcCode"] == "OFFLINE"


def test_gateway_takes_calls_for_the_device_behind_it(
    server: Installation, tea: Cloud, make_device: MakeDevice
) -> None:
    created = tea.call("CreateProduct", {"ProductName": "NodeGateway", "NodeType": 1})
    gateway, probe = register_device(tea, created["ProductKey"]), make_device()
    names = {"productKey": probe.product_key, "deviceName": probe.device_name}
    settings = {
        "gateway": {
            "productKey": gateway.product_key,
            "deviceName": gateway.device_name,
            "deviceSecret": gateway.device_secret,
            "brokerUrl": f"mqtt://127.0.0.1:{server.mqtt_port}",
        },
        "device": {**names, "deviceSecret": probe.device_secret},
        "service": SERVICE,
    }
    missing = "make test (it brings Node.js and the npm packages)"
    child = Child(["node", str(NODE_PROGRAMS / "gateway.mjs"), json.dumps(settings)], missing=missing)
    try:
        assert child.expect("added", code=200)["data"] == [names]
        assert child.expect("login", code=200)["data"] == names
        # Its own subscriptions and those for the device behind it are all granted.
        assert max(child.expect("posted", code=200)["granted"]) == 1
        assert status(tea, probe) == "ONLINE"
        request = json.dumps(
            {"id": "1", "version": "1.0", "params": {"Times": 3}, "method": f"thing.service.{SERVICE}"}
        )
        reply = json.loads(answered(tea, probe, request.encode()))
        assert (reply["code"], reply["data"]) == (200, {"done": {"Times": 3}})
        child.say({"logout": True})
        assert child.expect("logout")["code"] == 200
        assert call_device(tea, probe, b"{}")["RrpcCode"] == "OFFLINE"
    finally:
        child.stop()

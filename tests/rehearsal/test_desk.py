"""Rehearsals over HTTP, with a server of `linkstead dev`."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from linkstead.cli.endpoint import Endpoint, RefusedError
from linkstead.config import parse_address
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.processes import serving
from tests.rig import Rig
from tests.wire import fetch


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving("dev", folder=tmp_path_factory.mktemp("desk")) as server:
        clock = SystemClock()
        yield Endpoint(server.endpoint, "linkstead-dev", "linkstead-dev-secret", None, clock, SystemIds(clock))


@pytest.fixture
def dev(running: Endpoint) -> Iterator[Endpoint]:
    yield running
    running.change("DELETE", "testing")


def ask(dev: Endpoint, method: str, path: str, body: object = None) -> dict[str, Any]:
    return dev.change(method, f"testing/{path}", body)


def rrpc(dev: Endpoint, device: dict[str, Any], payload: bytes = b"ping") -> dict[str, Any]:
    names = {"ProductKey": device["product_key"], "DeviceName": device["device_name"]}
    sent = {"RequestBase64Byte": base64.b64encode(payload).decode(), "Timeout": "8000"}
    return dev.invoke("RRpc", {**names, **sent}, 8.0)


def test_a_device_answers_as_it_was_told(dev: Endpoint) -> None:
    lamp = ask(dev, "POST", "devices", {"device_name": "lamp"})
    reply = {"payload_base64": base64.b64encode(b"pong").decode()}
    number = ask(dev, "POST", "expectations", {"device_name": "lamp", "reply": reply})["number"]
    assert base64.b64decode(rrpc(dev, lamp)["PayloadBase64Byte"]) == b"pong"
    told = ask(dev, "GET", "expectations")
    assert told["faults"] == []
    assert [(each["number"], each["seen"], each["surplus"]) for each in told["expectations"]] == [(number, 1, 0)]
    assert [call["verdict"] for call in ask(dev, "GET", "calls")["calls"]] == ["SUCCESS"]
    rrpc(dev, lamp)
    assert ask(dev, "GET", "expectations")["faults"] == ["lamp: any call was expected once and came 2 times"]


def test_a_message_is_expected_over_http_too(dev: Endpoint) -> None:
    lamp = ask(dev, "POST", "devices", {"device_name": "lamp"})
    wanted = {"device_name": "lamp", "topic": "user/get", "given": {"light": "on"}}
    assert ask(dev, "POST", "expectations", wanted)["topic"] == "user/get"
    topic = f"/{lamp['product_key']}/lamp/user/get"
    content = base64.b64encode(b'{"light":"on"}').decode()
    sent = {"ProductKey": lamp["product_key"], "TopicFullName": topic, "MessageContent": content, "Qos": "1"}
    assert dev.invoke("Pub", sent, 8.0)["Success"] is True
    told = ask(dev, "GET", "expectations")
    assert (told["faults"], [each["seen"] for each in told["expectations"]]) == ([], [1])


def test_time_is_turned(dev: Endpoint) -> None:
    lamp = ask(dev, "POST", "devices", {"device_name": "lamp"})
    ask(dev, "POST", "expectations", {"device_name": "lamp", "no_reply": True})
    before_s = ask(dev, "GET", "clock")["ahead_s"]
    ask(dev, "POST", "clock", {"advance_s": 8, "on_call": True})
    assert rrpc(dev, lamp)["RrpcCode"] == "TIMEOUT"
    assert ask(dev, "POST", "clock", {"advance_s": 60})["ahead_s"] >= before_s + 68
    assert ask(dev, "POST", "wait", {"calls": 1, "wait_s": 0}) == {"calls": 0}


def test_a_reset_begins_anew(dev: Endpoint) -> None:
    lamp = ask(dev, "POST", "devices", {"device_name": "lamp", "product_key": "a1TestKit01"})
    ask(dev, "POST", "expectations", {"device_name": "lamp", "call": "reboot"})
    dev.change("POST", "faults", {"kind": "unknown"})
    dev.change("DELETE", "testing")
    assert ask(dev, "GET", "expectations") == {"faults": [], "expectations": []}
    assert dev.inspect("faults") == {"faults": []}
    assert rrpc(dev, lamp)["RrpcCode"] == "OFFLINE"
    again = ask(dev, "POST", "devices", {"device_name": "lamp", "product_key": "a1TestKit01"})
    assert again == lamp
    assert rrpc(dev, lamp)["RrpcCode"] == "SUCCESS"
    ask(dev, "DELETE", "devices/a1TestKit01/lamp")
    assert rrpc(dev, lamp)["RrpcCode"] == "OFFLINE"


def test_a_cassette_goes_there_and_back(dev: Endpoint) -> None:
    lamp = ask(dev, "POST", "devices", {"device_name": "lamp"})
    rrpc(dev, lamp, b"echo")
    cassette = ask(dev, "GET", "cassette")
    assert [call["call"] for call in cassette["calls"]] == ["rrpc"]
    other = ask(dev, "POST", "devices", {"device_name": "other"})
    names = {"device_name": "other", "product_key": other["product_key"], "recorded_as": "lamp"}
    ask(dev, "POST", "cassette", {**names, "cassette": cassette})
    assert base64.b64decode(rrpc(dev, other, b"echo")["PayloadBase64Byte"]) == b"echo"


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "devices", {"device_name": "x"}, "DeviceName"),
        ("POST", "devices", {"name": "lamp"}, "name"),
        ("POST", "devices", {"device_name": "lamp", "model": {"services": 1}}, "thing model"),
        ("POST", "expectations", {"device_name": "nobody"}, "no device nobody"),
        ("POST", "expectations", {"device_name": "lamp", "times": "often"}, "times"),
        ("POST", "clock", {"advance_s": -1}, "turned"),
        ("POST", "clock", {"advance_s": -1, "on_call": True}, "forward"),
        ("DELETE", "devices/a/b", None, "no device b"),
        ("GET", "nothing", None, "there are"),
    ],
)
def test_what_cannot_be_is_said(dev: Endpoint, method: str, path: str, body: object, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        ask(dev, method, path, body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("devices", b'{"device_name":"lamp","model":%s}'),
        ("expectations", b'{"device_name":"lamp","given":{"a":%s}}'),
        ("cassette", b'{"device_name":"lamp","cassette":{"calls":[{"device_name":"lamp","given":{"a":%s}}]}}'),
    ],
)
@pytest.mark.asyncio
async def test_what_is_too_deep_is_said(dev: Endpoint, path: str, body: bytes) -> None:
    basic = base64.b64encode(b"linkstead-dev:linkstead-dev-secret").decode()
    address = parse_address(dev.url.removeprefix("http://"))
    for depth in (700, 20_000):
        data = body % (b"[" * depth + b"]" * depth)
        headers = {"Authorization": f"Basic {basic}"}
        response = await fetch(address, "POST", f"/_linkstead/testing/{path}", headers, data)
        assert (response.status, bool(response.json()["error"])) == (400, True), depth


@pytest.mark.asyncio
async def test_a_server_that_serves_has_none_of_it(rig: Rig) -> None:
    response = await fetch(rig.http, "POST", "/_linkstead/testing/clock", rig.app().basic, json.dumps({}).encode())
    assert response.status == 404
    assert "only `linkstead dev`" in response.json()["error"]

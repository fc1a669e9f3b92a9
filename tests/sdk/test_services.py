"""Services and property sets served by devices built with the vendor's Link SDKs, called through a cloud SDK.

Each SDK takes synchronous services on one carrier alone; which one was used is what the device saw.
"""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from linkstead.cli.main import main
from tests.sdk.calls import STATUS_WAIT_S, register_device
from tests.sdk.child import Child
from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.test_node_link_sdk import SUBSCRIPTIONS, start_node_device
from tests.sdk.test_python_link_sdk import start_link_device
from tests.tsl.documents import load

KINDS = ("python", "node")
MODULE = "testFb"
BLINK = {"Times": 3, "IntervalSec": 0.5}
SCENE = {"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]}
SUM = {"param1": 3, "ratio": 0.5}
NOTE = {"note": "灯"}
SERVICES: dict[str, dict[str, object]] = {
    "Blink": {"type": "sync", "data": {"Executed": 3, "FinishedAt": "1700000003000"}},
    "SelfTest": {"type": "sync", "data": {"Passed": 1, "Report": "fine"}, "held": True},
    "RunScene": {"type": "async", "data": {"Accepted": 1, "Duration": 12.5}},
    f"{MODULE}:testService": {"type": "sync", "data": {"sum": 3.5}},
    f"{MODULE}:asyncService": {"type": "async", "data": {"accepted": 1}},
}
"""What the devices serve. One SDK's program has to say which of its services are synchronous."""

FOREVER = {"StartTime": 1, "EndTime": 4_000_000_000_000}


@dataclass(frozen=True, slots=True)
class Lamp:
    """A connected device that serves `SERVICES`."""

    kind: str
    child: Child
    identity: Identity

    def carrier(self, message_id: object, identifier: str) -> str:
        """The topic on which its SDK takes a synchronous call. Source: `device-protocol.md` 4.4."""
        if self.kind == "python":
            return f"/ext/rrpc/{message_id}{self.identity.topic(f'thing/service/{identifier}')}"
        return self.identity.topic(f"rrpc/request/{message_id}")


@pytest.fixture(scope="module")
def lamp_product(tea: Cloud) -> str:
    """A product with a published thing model of two modules."""
    created = tea.call(
        "CreateProduct",
        {"ProductName": "Served_lamp", "NodeType": 0, "AliyunCommodityCode": "iothub_senior", "PublishAuto": "false"},
    )
    key = cast(str, created["ProductKey"])
    for name in ("lamp", f"multi-module.{MODULE}"):
        document = load(f"{name}.tsl.json")
        document["profile"]["productKey"] = key
        imported = tea.call("ImportThingModelTsl", {"ProductKey": key, "TslStr": json.dumps(document)})
        assert imported["Success"] is True
    assert tea.call("PublishThingModel", {"ProductKey": key})["Success"] is True
    return key


@pytest.fixture(scope="module")
def device_tsl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The thing model as the Python SDK reads it: one document, what is of a module under its name on the wire."""
    document = load("lamp.tsl.json")
    for service in load(f"multi-module.{MODULE}.tsl.json")["services"]:
        if service["identifier"] not in ("set", "get"):
            document["services"].append({**service, "identifier": f"{MODULE}:{service['identifier']}"})
    file = tmp_path_factory.mktemp("tsl") / "device.tsl.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=KINDS)
def lamp(
    request: pytest.FixtureRequest, server: Installation, tea: Cloud, lamp_product: str, device_tsl: Path
) -> Iterator[Lamp]:
    identity = register_device(tea, lamp_product)
    if request.param == "python":
        child = start_link_device(identity, server.mqtt_port, [], tsl=device_tsl, services=SERVICES)
        with child:
            assert child.expect("thing")["code"] == 0
            assert child.expect("connect")["code"] == 0
            yield Lamp("python", child, identity)
    else:
        with start_node_device(identity, f"mqtt://127.0.0.1:{server.mqtt_port}", services=SERVICES) as child:
            # The SDK subscribes to the first service alone; the others have to reach it all the same.
            while len(child.expect("granted")["qos"]) < SUBSCRIPTIONS:
                pass
            yield Lamp("node", child, identity)


def invoke(tea: Cloud, lamp: Lamp, identifier: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    parameters = {**lamp.identity.target, "Identifier": identifier, "Args": json.dumps(arguments)}
    answer = tea.call("InvokeThingService", parameters)
    assert answer["Success"] is True, answer
    return answer


def wait_end(server: Installation, request_id: str) -> dict[str, Any]:
    """The record of a call once it has ended."""
    deadline_s = time.monotonic() + STATUS_WAIT_S
    while (record := server.find_call(request_id))["verdict"] is None:
        assert time.monotonic() < deadline_s, record
    return record


def service_data(tea: Cloud, lamp: Lamp, identifier: str) -> list[dict[str, Any]]:
    """What QueryDeviceServiceData tells of one service, latest first."""
    parameters = {**lamp.identity.target, **FOREVER, "Identifier": identifier, "Asc": 0, "PageSize": 50}
    answer = tea.call("QueryDeviceServiceData", parameters)
    assert answer["Success"] is True, answer
    infos: list[dict[str, Any]] = answer["Data"]["List"]["ServiceInfo"]
    return infos


def show_call(server: Installation, call_id: str) -> str:
    """What `linkstead calls ID` prints."""
    environment = {
        "LINKSTEAD_ENDPOINT": f"http://{server.http}",
        "LINKSTEAD_ACCESS_KEY_ID": KEY.access_key_id,
        "LINKSTEAD_ACCESS_KEY_SECRET": KEY.access_key_secret,
    }
    ran = CliRunner().invoke(main, ["calls", call_id], env=environment, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def post_properties(tea: Cloud, lamp: Lamp, properties: Mapping[str, object]) -> dict[str, str]:
    """Have the device post, and tell the values that the cloud knows afterwards."""
    lamp.child.say({"post": properties})
    assert lamp.child.expect("posted")["code"] == 200
    infos = tea.call("QueryDevicePropertyStatus", lamp.identity.target)["Data"]["List"]["PropertyStatusInfo"]
    return {info["Identifier"]: info["Value"] for info in infos if "Value" in info}


@pytest.mark.parametrize(("identifier", "arguments"), [("Blink", BLINK), (f"{MODULE}:testService", SUM)])
def test_a_synchronous_service_is_served_on_the_carrier_of_the_sdk(
    lamp: Lamp, tea: Cloud, server: Installation, identifier: str, arguments: dict[str, object]
) -> None:
    answer = invoke(tea, lamp, identifier, arguments)
    message_id = answer["Data"]["MessageId"]
    data = SERVICES[identifier]["data"]
    expected = {"code": 200, "data": data, "id": message_id, "message": "success", "version": "1.0"}
    assert json.loads(answer["Data"]["Result"]) == expected
    assert lamp.child.expect("service", identifier=identifier, id=message_id)["params"] == arguments
    record = server.find_call(answer["RequestId"])
    lamp.child.expect("topic", topic=lamp.carrier(record["message_id"], identifier))
    assert (record["verdict"], record["diagnosis"], record["evidence_count"]) == ("SUCCESS", "answered", 0)
    assert json.loads(service_data(tea, lamp, identifier)[0]["OutputData"]) == expected


@pytest.mark.parametrize(("identifier", "arguments"), [("RunScene", SCENE), (f"{MODULE}:asyncService", NOTE)])
def test_an_asynchronous_service_is_served_and_its_result_found(
    lamp: Lamp, tea: Cloud, server: Installation, identifier: str, arguments: dict[str, object]
) -> None:
    answer = invoke(tea, lamp, identifier, arguments)
    assert answer["Data"].keys() == {"MessageId"}
    message_id = answer["Data"]["MessageId"]
    assert lamp.child.expect("service", identifier=identifier, id=message_id)["params"] == arguments
    lamp.child.expect("topic", topic=lamp.identity.topic(f"thing/service/{identifier}"))
    record = wait_end(server, answer["RequestId"])
    assert (record["verdict"], record["diagnosis"], record["evidence_count"]) == ("SUCCESS", "answered", 0)
    latest = service_data(tea, lamp, identifier)[0]
    assert json.loads(latest["InputData"]) == arguments
    output = json.loads(latest["OutputData"])
    assert (output["id"], output["code"], output["data"]) == (message_id, 200, SERVICES[identifier]["data"])
    assert f"{lamp.identity.device_name}  SUCCESS · answered" in show_call(server, answer["RequestId"])


def test_overlapping_calls_of_one_service_get_their_own_replies(lamp: Lamp, tea: Cloud) -> None:
    with ThreadPoolExecutor(2) as pool:
        for released in ([0, 1], [3, 2]):
            calling: list[Future[dict[str, Any]]] = []
            for _ in released:
                calling.append(pool.submit(invoke, tea, lamp, "SelfTest", {}))
                lamp.child.expect("service", identifier="SelfTest")
            lamp.child.say({"release": released})
            for answer in [each.result() for each in calling]:
                assert json.loads(answer["Data"]["Result"])["id"] == answer["Data"]["MessageId"]


def test_a_property_set_reaches_the_device_and_its_report_comes_back(
    lamp: Lamp, tea: Cloud, server: Installation
) -> None:
    items = {"PowerSwitch": 1, f"{MODULE}:Level": 2.5}
    answer = tea.call("SetDeviceProperty", {**lamp.identity.target, "Items": json.dumps(items)})
    assert answer["Success"] is True, answer
    assert lamp.child.expect("set")["params"] == items
    topic = lamp.identity.topic("thing/service/property/set")
    lamp.child.expect("topic", topic=topic)
    if lamp.kind == "node":
        # This SDK has no reply to a set: the call stays open until the program publishes one itself.
        assert server.find_call(answer["RequestId"])["verdict"] is None
        reply = {"id": answer["Data"]["MessageId"], "code": 200, "data": {}}
        lamp.child.say({"publish": f"{topic}_reply", "payload": json.dumps(reply), "qos": 1})
    record = wait_end(server, answer["RequestId"])
    assert (record["verdict"], record["diagnosis"], record["evidence_count"]) == ("SUCCESS", "answered", 0)
    assert json.loads(service_data(tea, lamp, "set")[0]["InputData"]) == items
    values = post_properties(tea, lamp, items)
    assert (values["PowerSwitch"], values[f"{MODULE}:Level"]) == ("1", "2.5")

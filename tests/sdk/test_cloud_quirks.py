"""What only one of the cloud SDKs does, and what a server set up otherwise answers it."""

import json
import subprocess
import threading
import warnings
from collections.abc import Iterator

import pytest
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from aliyunsdkiot.request.v20180120.QueryProductRequest import QueryProductRequest

from tests.sdk.calls import MakeDevice, answered, call_device, register_device
from tests.sdk.clouds import CLOUDS, REGION, Cloud, NodeCloud, PythonTea, Refused, read_xml_answer
from tests.sdk.identity import Identity, Key
from tests.sdk.installation import COMMAND, KEY, Installation
from tests.sdk.paho_device import EVENT_WAIT_S, SILENCE, PahoDevice

COMMAND_WAIT_S = 30.0
QUOTA_TRIES = 50
"""Far more calls than the quota in far less time than it takes to be renewed so often."""


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that sends Code beside a RrpcCode, and takes one QueryProduct a second."""
    options = ("--rrpc-failure-code", "--quota", "QueryProduct=1")
    installation = Installation(tmp_path_factory.mktemp("other"), *options)
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def other_device(other_server: Installation) -> Iterator[Identity]:
    """A device of that server, connected and silent."""
    cloud = PythonTea(other_server.http, KEY)
    created = cloud.call("CreateProduct", {"ProductName": "Lamp", "NodeType": 0})
    identity = register_device(cloud, created["ProductKey"])
    device = PahoDevice(other_server.mqtt_port, identity.credentials())
    device.connect()
    yield identity
    device.disconnect()


@pytest.fixture
def pop(server: Installation) -> Iterator[NodeCloud]:
    """pop-core, with a read limit far below a call's timeout."""
    cloud = NodeCloud(server.http, KEY, sdk="pop", method="POST", timeout=300)
    yield cloud
    cloud.close()


def test_failure_code_makes_pop_core_throw_what_it_gives_back_otherwise(
    other_server: Installation, other_device: Identity
) -> None:
    cloud = NodeCloud(other_server.http, KEY, sdk="pop", method="GET")
    with pytest.raises(Refused) as refused:
        call_device(cloud, other_device, SILENCE, Timeout=1000)
    cloud.close()
    assert refused.value.code == "iot.messagebroker.TIMEOUT"
    # The SDK puts Message into its text, which only answers of the gateway have.
    assert refused.value.message.startswith("undefined, URL: ")
    record = other_server.find_call(refused.value.request_id)
    assert (record["verdict"], record["diagnosis"]) == ("TIMEOUT", "written-no-answer")


def test_failure_code_stands_beside_the_rrpc_code_elsewhere(other_server: Installation, other_device: Identity) -> None:
    cloud = PythonTea(other_server.http, KEY)
    unplugged = register_device(cloud, other_device.product_key)
    answer = call_device(cloud, unplugged, b"lights on")
    assert (answer["Success"], answer["RrpcCode"]) == (False, "OFFLINE")
    assert answer["Code"] == "iot.messagebroker.OFFLINE"


@pytest.mark.parametrize("name", ["python-core", "python-tea", "node-tea", "curl-xml"])
def test_call_over_the_quota_is_the_sdks_own_exception(
    name: str, other_server: Installation, other_device: Identity
) -> None:
    cloud = CLOUDS[name](other_server.http, KEY)
    refusal: Refused | None = None
    for _ in range(QUOTA_TRIES):
        try:
            assert cloud.call("QueryProduct", {"ProductKey": other_device.product_key})["Success"]
        except Refused as refused:
            refusal = refused
            break
    cloud.close()
    assert refusal is not None
    assert refusal.code == "Throttling.User"
    assert "Request was denied due to user flow control." in refusal.message


def test_caller_that_gives_up_leaves_a_whole_record(
    server: Installation, make_device: MakeDevice, tea: Cloud, pop: NodeCloud
) -> None:
    released = threading.Event()

    def answer_when_released(payload: bytes) -> bytes:
        assert released.wait(EVENT_WAIT_S)
        return payload

    identity = make_device()
    device = PahoDevice(server.mqtt_port, identity.credentials(), answer=answer_when_released)
    device.connect()
    with pytest.raises(Refused) as refused:
        call_device(pop, identity, b"slow")
    assert refused.value.code == "RequestTimeoutError"
    message_id = device.take_message().topic.rpartition("/")[2]
    released.set()
    # The device answers one after the other: behind this answer the first one has come.
    assert answered(tea, identity, b"quick") == b"quick"
    device.disconnect()
    record = server.find_call(message_id)
    assert (record["verdict"], record["diagnosis"], record["caller_gone"]) == ("SUCCESS", "answered", True)
    assert "returned" not in [moment["stage"] for moment in record["timeline"]]


def run(*command: str, given: str = "") -> str:
    """What a command prints that ends well."""
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_key_of_a_ram_user_calls_for_its_account(server: Installation, product_key: str, echo: Identity) -> None:
    account = (*COMMAND, "account")
    place = ("--data", str(server.data))
    made = json.loads(run(*account, "add-key", "default", "--user", "alice", *place, "--json"))
    policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
    run(*account, "policy", "set", "alice", "-", *place, given=policy)
    cloud = PythonTea(server.http, Key(made["access_key_id"], made["access_key_secret"]))
    assert cloud.call("QueryProduct", {"ProductKey": product_key})["Data"]["ProductKey"] == product_key
    answer = call_device(cloud, echo, b"lights on")
    assert answer["RrpcCode"] == "SUCCESS"
    assert server.find_call(answer["MessageId"])["access_key_id"] == made["access_key_id"]


def test_common_request_of_the_python_core_reaches_the_device(server: Installation, echo: Identity) -> None:
    request = CommonRequest(domain=server.http, version="2018-01-20", action_name="RRpc")
    request.set_method("POST")
    request.set_protocol_type("http")
    parameters = {**echo.target, "RequestBase64Byte": "bGlnaHRzIG9uKz8/", "TimeOut": "5000", "ServiceCode": "iot"}
    for name, value in parameters.items():
        request.add_query_param(name, value)
    answer = json.loads(AcsClient(*KEY, REGION).do_action_with_exception(request))
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "bGlnaHRzIG9uKz8/")
    assert server.find_call(answer["RequestId"])["unknown_parameters"] == ["ServiceCode"]


def test_python_core_that_names_no_format_gets_xml(server: Installation, product_key: str) -> None:
    request = QueryProductRequest()
    request.set_endpoint(server.http)
    request.set_ProductKey(product_key)
    client = AcsClient(*KEY, REGION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        status, _headers, body = client.get_response(request)
    answer = read_xml_answer(status, body.decode())
    assert (answer["Success"], answer["Data"]["ProductKey"]) == (True, product_key)

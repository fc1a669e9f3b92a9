"""Every SDK and client of these tests, plain and over TLS, at one server: only host, port and trust differ.

The certificate is that of `linkstead certificate create`; how each client is told of it: `real-clients.md` 1.4 and 2.1.
"""

import base64
import hashlib
import hmac
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.sdk.calls import answered, register_device, status
from tests.sdk.certificate import Certificate
from tests.sdk.child import Child
from tests.sdk.clouds import CLOUDS, REGION, Cloud, PythonTea, Refused
from tests.sdk.identity import Identity, Key
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import PahoDevice
from tests.sdk.test_amqp_clients import COMMANDS
from tests.sdk.test_mosquitto import VERSIONS, call_and_answer, options_of
from tests.sdk.test_node_link_sdk import start_node_device
from tests.sdk.test_python_link_sdk import start_link_device

LONG = bytes(range(256)) * 500
"""125 KiB: many TLS records, and a frame of WebSocket whose length takes eight bytes."""

StartDevice = Callable[[Identity, int, Path | None], AbstractContextManager[object]]


@pytest.fixture(params=["plain", "tls"])
def trust(request: pytest.FixtureRequest, certificate: Certificate) -> Path | None:
    """What the client is told to trust; None for one that speaks no TLS."""
    return certificate.ca_file if request.param == "tls" else None


@pytest.fixture
def tea(tls_server: Installation) -> Cloud:
    """Calls devices whose transport is the subject."""
    return PythonTea(tls_server.http, KEY)


# --- apps ---


@pytest.fixture(scope="module")
def echo(tls_server: Installation, tls_device: Identity) -> Iterator[Identity]:
    """A device of its own: one pushed off by a test's device would come back, as paho does, and answer in its place."""
    identity = register_device(PythonTea(tls_server.http, KEY), tls_device.product_key)
    device = PahoDevice(tls_server.mqtt_port, identity.credentials())
    device.connect()
    yield identity
    device.disconnect()


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_sdk_calls(name: str, trust: Path | None, tls_server: Installation, echo: Identity) -> None:
    endpoint = tls_server.http if trust is None else tls_server.https
    cloud = CLOUDS[name](endpoint, KEY, ca_file=trust)
    try:
        assert status(cloud, echo) == "ONLINE"
        assert answered(cloud, echo, b"lights\x00on") == b"lights\x00on"
        with pytest.raises(Refused) as refused:
            cloud.call("GetDeviceStatus", echo.target, Key(KEY.access_key_id, "not-the-secret"))
        assert refused.value.code == cloud.secret_code
    finally:
        cloud.close()


def test_a_common_request_of_the_python_core_calls(
    trust: Path | None, tls_server: Installation, echo: Identity
) -> None:
    endpoint, scheme = (tls_server.http, "http") if trust is None else (tls_server.https, "https")
    request = CommonRequest(domain=endpoint, version="2018-01-20", action_name="RRpc")
    request.set_method("POST")
    request.set_protocol_type(scheme)
    for name, value in {**echo.target, "RequestBase64Byte": "bGlnaHRz", "Timeout": "5000"}.items():
        request.add_query_param(name, value)
    with warnings.catch_warnings():
        # What the HTTP library inside the SDK begins TLS with is.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = AcsClient(*KEY, REGION, verify=None if trust is None else str(trust))
        answer = json.loads(client.do_action_with_exception(request))
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "bGlnaHRz")


# --- devices ---


@contextmanager
def _python_link_sdk(identity: Identity, port: int, trust: Path | None) -> Iterator[None]:
    with start_link_device(identity, port, [], None if trust is None else trust.read_text()) as child:
        assert child.expect("connect")["code"] == 0
        yield


@contextmanager
def _node_link_sdk(scheme: str, identity: Identity, port: int, trust: Path | None) -> Iterator[None]:
    environment = None if trust is None else {**os.environ, "NODE_EXTRA_CA_CERTS": str(trust)}
    url = f"{scheme if trust is None else scheme + 's'}://127.0.0.1:{port}"
    with start_node_device(identity, url, environment=environment) as child:
        child.expect("connect")
        yield


@contextmanager
def _paho(
    version: MQTTProtocolVersion, websocket: bool, identity: Identity, port: int, trust: Path | None
) -> Iterator[None]:
    device = PahoDevice(
        port,
        identity.credentials(),
        version=version,
        websocket=websocket,
        ca_file=None if trust is None else str(trust),
        answer=lambda payload: b"echo:" + payload,
    )
    device.connect()
    yield
    device.disconnect()


DEVICES: dict[str, StartDevice] = {
    "python-link-sdk": _python_link_sdk,
    "node-link-sdk": partial(_node_link_sdk, "mqtt"),
    "node-link-sdk-websocket": partial(_node_link_sdk, "ws"),
    **{f"paho-{version.name}": partial(_paho, version, False) for version in MQTTProtocolVersion},
    **{f"paho-{version.name}-websocket": partial(_paho, version, True) for version in MQTTProtocolVersion},
}


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_answers(
    name: str, trust: Path | None, tls_server: Installation, tls_device: Identity, tea: Cloud
) -> None:
    with DEVICES[name](tls_device, tls_server.mqtt_port, trust):
        assert answered(tea, tls_device, b"lights on") == b"echo:lights on"
        if name.startswith("paho"):
            assert answered(tea, tls_device, LONG) == b"echo:" + LONG


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_answers(
    version: str, trust: Path | None, tls_server: Installation, tls_device: Identity, tea: Cloud
) -> None:
    options = [*options_of(tls_server, tls_device, trust), "-V", version]
    assert call_and_answer(tea, tls_device, options) == b"they are on"


# --- consumers ---


def _login(client_id: str) -> tuple[str, str]:
    """User name and password of a consumer, made by hand. Source: `cloud-api.md`, the AMQP login."""
    signed = {"authId": KEY.access_key_id, "timestamp": "1700000000000"}
    content = "&".join(f"{name}={value}" for name, value in signed.items())
    password = hmac.digest(KEY.access_key_secret.encode(), content.encode(), hashlib.sha1)
    options = f"authMode=aksign,signMethod=hmacsha1,timestamp={signed['timestamp']},authId={signed['authId']}"
    return f"{client_id}|{options}|", base64.b64encode(password).decode()


@pytest.fixture(scope="module")
def subscribed(tls_server: Installation, tls_device: Identity) -> Identity:
    """A device whose product's data the default group is told."""
    relation = {"ProductKey": tls_device.product_key, "Type": "AMQP", "DeviceDataFlag": "true"}
    cloud = PythonTea(tls_server.http, KEY)
    made = cloud.call("CreateSubscribeRelation", {**relation, "ConsumerGroupIds": ["DEFAULT_GROUP"]})
    assert made["Success"] is True, made
    return tls_device


@pytest.mark.parametrize("name", COMMANDS)
def test_a_consumer_is_told(name: str, trust: Path | None, tls_server: Installation, subscribed: Identity) -> None:
    user, password = _login(f"{name}-{trust is None}")
    settings: dict[str, Any] = {"user": user, "password": password}
    settings["port"] = tls_server.amqp_port if trust is None else tls_server.amqps_port
    settings["ca"] = None if trust is None else str(trust)
    command, missing = COMMANDS[name]
    with Child([*command, json.dumps(settings)], missing=missing) as consumer:
        consumer.expect("attached")
        consumer.say({"do": "credit", "count": 1})
        device = PahoDevice(tls_server.mqtt_port, subscribed.credentials())
        device.connect()
        topic = f"/{subscribed.product_key}/{subscribed.device_name}/user/update"
        assert device.publish(topic, name.encode(), 1) == "Success"
        device.disconnect()
        message = consumer.expect("message")
        assert (message["topic"], message["body"]) == (topic, name)
        consumer.say({"do": "accept", "messageId": message["messageId"]})
        consumer.say({"do": "close"})
        consumer.expect("closed")

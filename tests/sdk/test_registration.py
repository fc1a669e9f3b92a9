"""Devices of the vendor's Link SDKs that have their product's secret only."""

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sdk.calls import answered, register_device, status
from tests.sdk.certificate import Certificate
from tests.sdk.child import NODE_PROGRAMS, REPOSITORY, Child
from tests.sdk.clouds import Cloud, PythonTea
from tests.sdk.identity import Identity
from tests.sdk.installation import COMMAND, KEY, Installation
from tests.sdk.test_node_link_sdk import start_node_device
from tests.sdk.test_python_link_sdk import start_link_device

REGISTERING_PROGRAM = REPOSITORY / "tests" / "sdk" / "link_registration.py"
COMMAND_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Factory:
    """A product whose devices may register, on the server with a certificate."""

    server: Installation
    cloud: Cloud
    ca: str
    product_key: str
    product_secret: str

    def start(
        self, device_name: str, auth_type: str, *, secret: str = "", token: dict[str, str] | None = None
    ) -> Child:
        """Start a device of the Python SDK; it registers, or with a token connects, by itself."""
        python = os.environ.get("LINKSTEAD_DEMO_PYTHON") or str(REPOSITORY / ".venv-demo" / "bin" / "python")
        settings = {
            "product_key": self.product_key,
            "device_name": device_name,
            "product_secret": secret or self.product_secret,
            "auth_type": auth_type,
            "port": self.server.mqtt_port,
            "ca": self.ca,
            "token": token,
        }
        command = [python, str(REGISTERING_PROGRAM), json.dumps(settings)]
        return Child(command, missing="make test (it makes .venv-demo)")

    def register_by_node(self, device_name: str, url: str, ca_file: str = "", **others: str) -> dict[str, Any]:
        """What the Node SDK is told."""
        settings = {
            "productKey": self.product_key,
            "deviceName": device_name,
            "productSecret": self.product_secret,
            "registerURL": f"{url}/auth/register/device",
            **others,
        }
        command = ["node", str(NODE_PROGRAMS / "register.mjs"), json.dumps(settings)]
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": ca_file} if ca_file else None
        missing = "make test (it brings Node.js and the npm packages)"
        with Child(command, missing=missing, environment=environment) as child:
            return child.expect("registered")


@pytest.fixture(scope="session")
def factory(tls_server: Installation, certificate: Certificate) -> Factory:
    options = ("--dynamic-registration", "--json", "--data", str(tls_server.data))
    command = [*COMMAND, "product", "create", "Factory_lamp", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_WAIT_S)
    assert ran.returncode == 0, ran.stderr
    made = json.loads(ran.stdout)
    cloud = PythonTea(tls_server.http, KEY)
    return Factory(tls_server, cloud, certificate.ca_file.read_text(), made["product_key"], made["product_secret"])


def test_the_python_sdk_gets_the_secret_of_a_registered_device(factory: Factory) -> None:
    identity = register_device(factory.cloud, factory.product_key, "python:1")
    for _ in range(2):
        with factory.start(identity.device_name, "register") as child:
            assert child.expect("secret") == {"event": "secret", "code": 0, "secret": identity.device_secret}
            child.expect("disconnect")
    assert status(factory.cloud, identity) == "UNACTIVE"
    with start_link_device(identity, factory.server.mqtt_port, [], factory.ca) as child:
        assert child.expect("connect")["code"] == 0
        assert answered(factory.cloud, identity, b"lights on") == b"echo:lights on"
    with factory.start(identity.device_name, "register") as child:
        assert child.expect("secret")["code"] != 0


def test_the_python_sdk_gets_a_token_and_connects_with_it(factory: Factory) -> None:
    target = {"ProductKey": factory.product_key, "DeviceName": "nobody-registered-this"}
    with factory.start(target["DeviceName"], "regnwl") as child:
        given = child.expect("token")
        child.expect("disconnect")
    assert given["code"] == 0
    made = factory.cloud.call("QueryDeviceInfo", target)["Data"]
    identity = Identity(factory.product_key, target["DeviceName"], made["DeviceSecret"], made["IotId"])
    assert status(factory.cloud, identity) == "UNACTIVE"
    with factory.start(identity.device_name, "connwl", token=given["token"]) as child:
        assert child.expect("connect")["code"] == 0
        assert status(factory.cloud, identity) == "ONLINE"
        assert answered(factory.cloud, identity, b"lights on") == b"echo:lights on"


@pytest.mark.parametrize(("auth_type", "event"), [("register", "secret"), ("regnwl", "token")])
def test_the_python_sdk_is_refused_with_a_wrong_secret(factory: Factory, auth_type: str, event: str) -> None:
    with factory.start("python:2", auth_type, secret="wrong") as child:
        assert child.expect(event)["code"] != 0


def test_the_node_sdk_gets_the_secret_over_http(factory: Factory) -> None:
    identity = register_device(factory.cloud, factory.product_key, "node:1")
    url = f"http://{factory.server.http}"
    data = {
        "productKey": identity.product_key,
        "deviceName": identity.device_name,
        "deviceSecret": identity.device_secret,
    }
    success = {"event": "registered", "code": 200, "data": data, "message": "success"}
    assert factory.register_by_node(identity.device_name, url) == success
    with start_node_device(identity, f"mqtt://127.0.0.1:{factory.server.mqtt_port}") as child:
        child.expect("connect")
        assert answered(factory.cloud, identity, b"lights on") == b"echo:lights on"
    assert factory.register_by_node(identity.device_name, url)["code"] == 6289


def test_the_node_sdk_gets_the_secret_over_https(factory: Factory, certificate: Certificate) -> None:
    identity = register_device(factory.cloud, factory.product_key, "node:2")
    told = factory.register_by_node(identity.device_name, f"https://{factory.server.https}", str(certificate.ca_file))
    assert told["data"]["deviceSecret"] == identity.device_secret


def test_the_node_sdk_is_told_why_it_gets_none(factory: Factory) -> None:
    register_device(factory.cloud, factory.product_key, "node:3")
    url = f"http://{factory.server.http}"
    assert factory.register_by_node("node:3", url, productSecret="wrong")["code"] == 6600
    # This SDK signs with SHA-1 whatever it says.
    assert factory.register_by_node("node:3", url, signMethod="hmacsha256")["code"] == 6600
    assert factory.register_by_node("nobody", url)["code"] == 6100

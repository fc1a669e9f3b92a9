"""TLS with a private CA: cloud SDKs over https, and devices on the port that takes plain MQTT as well."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from aliyunsdkcore.acs_exception.exceptions import ClientException

from linkstead.tls.authority import create_certificate
from tests.sdk.calls import answered, register_device, status
from tests.sdk.certificate import Certificate
from tests.sdk.clouds import Cloud, NodeCloud, PythonCore, PythonTea, Refused
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import PahoDevice
from tests.sdk.test_node_link_sdk import start_node_device
from tests.sdk.test_python_link_sdk import start_link_device

CLOUDS: dict[str, Callable[[str, Certificate], Cloud]] = {
    "python-core": lambda endpoint, made: PythonCore(endpoint, KEY, verify=str(made.ca_file)),
    "python-tea": lambda endpoint, made: PythonTea(endpoint, KEY, ca_file=str(made.ca_file)),
    "node-pop": lambda endpoint, made: NodeCloud(endpoint, KEY, "pop", **_told(made), method="POST"),
    "node-tea": lambda endpoint, made: NodeCloud(endpoint, KEY, "tea", **_told(made)),
}
"""How each is told of a private CA. Source: `real-clients.md` 1.4."""


def _told(made: Certificate) -> dict[str, Any]:
    return {"protocol": "https", "ca": made.ca_file.read_text()}


@pytest.fixture
def tls_echo(tls_server: Installation, tls_device: Identity, certificate: Certificate) -> Iterator[Identity]:
    device = PahoDevice(tls_server.mqtt_port, tls_device.credentials(), ca_file=str(certificate.ca_file))
    device.connect()
    yield tls_device
    device.disconnect()


@pytest.mark.parametrize("name", CLOUDS)
def test_call_over_https_reaches_a_device_over_mqtts(
    name: str, tls_server: Installation, certificate: Certificate, tls_echo: Identity
) -> None:
    assert tls_server.https is not None
    cloud = CLOUDS[name](tls_server.https, certificate)
    try:
        assert status(cloud, tls_echo) == "ONLINE"
        assert answered(cloud, tls_echo, b"lights on") == b"lights on"
    finally:
        cloud.close()


def test_plain_device_is_let_in_on_the_same_port(tls_server: Installation, tls_device: Identity) -> None:
    device = PahoDevice(tls_server.mqtt_port, tls_device.credentials())
    device.connect()
    assert answered(PythonTea(tls_server.http, KEY), tls_device, b"lights on") == b"lights on"
    device.disconnect()


def test_sdk_that_does_not_know_the_ca_refuses(tls_server: Installation, tls_device: Identity) -> None:
    assert tls_server.https is not None
    with pytest.raises(ClientException) as refused:
        PythonCore(tls_server.https, KEY, verify=certifi.where()).call("GetDeviceStatus", tls_device.target)
    assert "certificate verify failed" in str(refused.value)
    pop = NodeCloud(tls_server.https, KEY, "pop", protocol="https", method="GET")
    with pytest.raises(Refused) as refused_by_node:
        pop.call("GetDeviceStatus", tls_device.target)
    pop.close()
    assert "certificate" in refused_by_node.value.message


def test_device_of_the_python_link_sdk_answers(
    tls_server: Installation, tls_device: Identity, certificate: Certificate
) -> None:
    ca = certificate.ca_file.read_text()
    with start_link_device(tls_device, tls_server.mqtt_port, [], ca) as child:
        assert child.expect("connect")["code"] == 0
        assert answered(PythonTea(tls_server.http, KEY), tls_device, b"lights on") == b"echo:lights on"


def test_link_sdks_trust_what_certificate_create_makes(tmp_path: Path) -> None:
    made = create_certificate(
        ["localhost"], ["127.0.0.1"], folder=tmp_path, ca_folder=tmp_path, days=1, now_s=time.time()
    )
    files = ("--tls-cert", str(made.certificate), "--tls-key", str(made.key))
    server = Installation(tmp_path, "--no-quotas", *files)
    try:
        cloud = PythonTea(server.http, KEY)
        product_key = cloud.call("CreateProduct", {"ProductName": "Lamp", "NodeType": 0})["ProductKey"]
        python, node = (register_device(cloud, product_key) for _ in range(2))
        with start_link_device(python, server.mqtt_port, [], made.ca.read_text()) as child:
            assert child.expect("connect")["code"] == 0
            assert answered(cloud, python, b"lights on") == b"echo:lights on"
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(made.ca)}
        with start_node_device(node, f"mqtts://127.0.0.1:{server.mqtt_port}", environment=environment) as child:
            child.expect("connect")
            assert answered(cloud, node, b"lights on") == b"echo:lights on"
    finally:
        server.stop()


def test_device_of_the_node_link_sdk_answers(
    tls_server: Installation, tls_device: Identity, certificate: Certificate
) -> None:
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate.ca_file)}
    broker_url = f"mqtts://127.0.0.1:{tls_server.mqtt_port}"
    with start_node_device(tls_device, broker_url, environment=environment) as child:
        child.expect("connect")
        assert answered(PythonTea(tls_server.http, KEY), tls_device, b"lights on") == b"echo:lights on"

"""MQTT over WebSocket, from clients that others wrote, on the port of plain MQTT."""

import os

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.sdk.calls import MakeDevice, answered, wait_status
from tests.sdk.certificate import Certificate
from tests.sdk.clouds import Cloud, PythonTea
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import PahoDevice
from tests.sdk.test_node_link_sdk import start_node_device

LONG = bytes(range(256)) * 512
"""128 KiB: a frame whose length takes eight bytes."""


@pytest.mark.parametrize(
    "version", [MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]
)
def test_paho_answers_over_ws(
    version: MQTTProtocolVersion, server: Installation, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = PahoDevice(server.mqtt_port, identity.credentials(), version=version, websocket=True)
    device.connect()
    assert answered(tea, identity, b"lights on") == b"lights on"
    assert answered(tea, identity, LONG) == LONG
    device.disconnect()
    wait_status(tea, identity, "OFFLINE")


def test_paho_answers_over_wss(tls_server: Installation, tls_device: Identity, certificate: Certificate) -> None:
    ca_file = str(certificate.ca_file)
    device = PahoDevice(tls_server.mqtt_port, tls_device.credentials(), ca_file=ca_file, websocket=True)
    device.connect()
    assert answered(PythonTea(tls_server.http, KEY), tls_device, b"lights on") == b"lights on"
    assert answered(PythonTea(tls_server.http, KEY), tls_device, LONG) == LONG
    device.disconnect()


def test_node_link_sdk_answers_over_ws(server: Installation, make_device: MakeDevice, tea: Cloud) -> None:
    identity = make_device()
    with start_node_device(identity, f"ws://127.0.0.1:{server.mqtt_port}") as child:
        child.expect("connect")
        assert answered(tea, identity, b"lights on") == b"echo:lights on"


def test_node_link_sdk_answers_over_wss(
    tls_server: Installation, tls_device: Identity, certificate: Certificate
) -> None:
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate.ca_file)}
    with start_node_device(tls_device, f"wss://127.0.0.1:{tls_server.mqtt_port}", environment=environment) as child:
        child.expect("connect")
        assert answered(PythonTea(tls_server.http, KEY), tls_device, b"lights on") == b"echo:lights on"

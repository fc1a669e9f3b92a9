"""A client that was not told of the private CA does not speak to the server: what TLS is for."""

from pathlib import Path

import certifi
import pytest
from aliyunsdkcore.acs_exception.exceptions import ClientException

from tests.sdk.clouds import NodeCloud, PythonCore, Refused
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.test_node_link_sdk import start_node_device


def test_sdk_that_does_not_know_the_ca_refuses(tls_server: Installation, tls_device: Identity) -> None:
    assert tls_server.https is not None
    with pytest.raises(ClientException) as refused:
        PythonCore(tls_server.https, KEY, ca_file=Path(certifi.where())).call("GetDeviceStatus", tls_device.target)
    assert "certificate verify failed" in str(refused.value)
    pop = NodeCloud(tls_server.https, KEY, sdk="pop", protocol="https", method="GET")
    with pytest.raises(Refused) as refused_by_node:
        pop.call("GetDeviceStatus", tls_device.target)
    pop.close()
    assert "certificate" in refused_by_node.value.message


def test_device_that_does_not_know_the_ca_refuses(tls_server: Installation, tls_device: Identity) -> None:
    with start_node_device(tls_device, f"mqtts://127.0.0.1:{tls_server.mqtt_port}") as child:
        assert "certificate" in child.expect("error")["message"]

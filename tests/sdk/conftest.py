import functools
from collections.abc import Iterator
from typing import cast

import pytest

from tests.cli.processes import done
from tests.sdk.calls import MakeDevice, register_device
from tests.sdk.certificate import Certificate
from tests.sdk.clouds import CLOUDS, Cloud, PythonTea
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import PahoDevice


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The server that all these tests call; quotas are off."""
    installation = Installation(tmp_path_factory.mktemp("server"), "--no-quotas")
    yield installation
    installation.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """An authority made for these tests, and a certificate of this machine: `linkstead certificate create`."""
    folder = tmp_path_factory.mktemp("certificate")
    done("certificate", "create", "--name", "localhost", "--ip", "127.0.0.1", "--out", folder)
    return Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Installation]:
    """A server with a certificate: HTTPS and AMQPS on ports of their own, and TLS on the port of plain MQTT."""
    files = ("--tls-cert", str(certificate.certificate_file), "--tls-key", str(certificate.key_file))
    ports = [word for name in ("https", "amqp", "amqps") for word in (f"--{name}", "127.0.0.1:0")]
    installation = Installation(tmp_path_factory.mktemp("tls"), "--no-quotas", *ports, *files)
    yield installation
    installation.stop()


@pytest.fixture(scope="session")
def tea(server: Installation) -> Cloud:
    """The SDK of today, for tests whose subject is another."""
    return PythonTea(server.http, KEY)


@pytest.fixture(scope="session")
def product_key(tea: Cloud) -> str:
    """The product of every device that is not a test's own subject."""
    created = tea.call("CreateProduct", {"ProductName": "Lamp", "NodeType": 0})
    product_key = cast(str, created["ProductKey"])
    # A topic on which a device hears itself.
    notes = {"ProductKey": product_key, "TopicShortName": "notes", "Operation": "ALL"}
    tea.call("CreateProductTopic", notes)
    return product_key


@pytest.fixture(scope="session")
def make_device(tea: Cloud, product_key: str) -> MakeDevice:
    """Registers a device: `make_device(device_name="")`."""
    return functools.partial(register_device, tea, product_key)


@pytest.fixture(scope="session")
def tls_device(tls_server: Installation) -> Identity:
    """A device of the server with a certificate; each test connects it anew."""
    cloud = PythonTea(tls_server.http, KEY)
    created = cloud.call("CreateProduct", {"ProductName": "Lamp", "NodeType": 0})
    return register_device(cloud, created["ProductKey"])


@pytest.fixture(scope="session", params=CLOUDS)
def cloud(request: pytest.FixtureRequest, server: Installation) -> Iterator[Cloud]:
    """Every SDK in every way, one after the other."""
    cloud = CLOUDS[request.param](server.http, KEY)
    yield cloud
    cloud.close()


@pytest.fixture(scope="session")
def echo(server: Installation, make_device: MakeDevice) -> Iterator[Identity]:
    """A connected device that answers each request with its bytes, and those that begin with SILENCE not at all."""
    identity = make_device("echo:1@lamp.x_y-z")
    device = PahoDevice(server.mqtt_port, identity.credentials(ext=1))
    device.connect()
    yield identity
    device.disconnect()


@pytest.fixture(scope="session")
def unplugged(make_device: MakeDevice) -> Identity:
    """A device that never connects."""
    return make_device("unplugged")

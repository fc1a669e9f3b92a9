"""A device made of mosquitto_sub, which takes a request, and mosquitto_pub, which answers it; computed credentials."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sdk.calls import MakeDevice, answered, status, wait_status
from tests.sdk.child import Child
from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import Installation

MISSING = "make system (it brings mosquitto-clients)"
PUBLISH_WAIT_S = 20.0
VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
REFUSALS = {"mqttv31": 5, "mqttv311": 5, "mqttv5": 135}
"""Exit status of mosquitto_pub: the code or reason of the CONNACK."""


def options_of(server: Installation, device: Identity, ca_file: Path | None, secret: str = "") -> list[str]:
    """What either program is told of the server and of the device; TLS with the authority to trust."""
    credentials = device.credentials(secret=secret)
    options = ["-h", "127.0.0.1", "-p", str(server.mqtt_port), "-i", credentials.client_id]
    options += ["-u", credentials.user_name, "-P", credentials.password]
    return options if ca_file is None else [*options, "--cafile", str(ca_file)]


def _publish(options: list[str], topic: str, payload: str) -> int:
    command = ["mosquitto_pub", *options, "-q", "1", "-t", topic, "-m", payload]
    try:
        return subprocess.run(command, capture_output=True, timeout=PUBLISH_WAIT_S, check=False).returncode
    except FileNotFoundError:
        raise AssertionError(f"there is no mosquitto_pub; run: {MISSING}") from None


def call_and_answer(cloud: Cloud, device: Identity, options: list[str]) -> bytes:
    """One RRpc: mosquitto_sub prints the request and leaves, mosquitto_pub connects and answers."""
    wildcard = device.topic("rrpc/request/+")
    command = ["mosquitto_sub", *options, "-t", wildcard, "-C", "1", "-F", "%t %p"]
    with Child(command, missing=MISSING) as sub, ThreadPoolExecutor(1) as pool:
        wait_status(cloud, device, "ONLINE")
        call = pool.submit(answered, cloud, device, b"lights on")
        topic, _, payload = sub.line().partition(" ")
        assert payload == "lights on"
        assert sub.finish() == 0
        assert _publish(options, topic.replace("/request/", "/response/"), "they are on") == 0
        return call.result()


@pytest.mark.parametrize("version", VERSIONS)
def test_wrong_secret_is_the_exit_status(
    version: str, server: Installation, make_device: MakeDevice, tea: Cloud
) -> None:
    device = make_device()
    options = [*options_of(server, device, None, secret="not-the-secret"), "-V", version]
    assert _publish(options, device.topic("rrpc/response/1"), "x") == REFUSALS[version]
    assert status(tea, device) == "UNACTIVE"

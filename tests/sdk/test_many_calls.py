"""What takes its time: many calls at once, and the waits as long as they really are, on the system's clock."""

import functools
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.sdk.calls import MakeDevice, answered, call_device, status, wait_status
from tests.sdk.clouds import CLOUDS, Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import SILENCE, PahoDevice

pytestmark = pytest.mark.long

DEVICES = 10
CALLERS = 8
CALLS_OF_ONE = 125
KEEP_ALIVE_S = 30
EXPIRY_S = KEEP_ALIVE_S * 1.5
TOLERANCE_S = 1.5
"""For a machine that is busy."""


@pytest.fixture
def silent(server: Installation, make_device: MakeDevice) -> Iterator[Identity]:
    """A connected device that takes requests and answers none."""
    identity = make_device()
    device = PahoDevice(server.mqtt_port, identity.credentials(), keep_alive_s=KEEP_ALIVE_S)
    device.connect()
    yield identity
    device.disconnect()


@pytest.mark.parametrize("name", ["python-core", "python-tea", "node-pop-post", "node-tea"])
def test_each_of_many_calls_gets_its_own_answer(name: str, server: Installation, make_device: MakeDevice) -> None:
    identities = [make_device() for _ in range(DEVICES)]
    devices = [
        PahoDevice(server.mqtt_port, identity.credentials(), answer=functools.partial(_sign, identity))
        for identity in identities
    ]
    for device in devices:
        device.connect()

    def call_on(caller: int) -> int:
        cloud = CLOUDS[name](server.http, KEY)
        for index in range(CALLS_OF_ONE):
            identity = identities[(caller + index) % DEVICES]
            payload = f"{caller}:{index}".encode()
            assert answered(cloud, identity, payload) == _sign(identity, payload)
        cloud.close()
        return CALLS_OF_ONE

    with ThreadPoolExecutor(CALLERS) as pool:
        assert sum(pool.map(call_on, range(CALLERS))) == CALLERS * CALLS_OF_ONE
    for device in devices:
        device.disconnect()


def _sign(identity: Identity, payload: bytes) -> bytes:
    return f"{identity.device_name}:".encode() + payload


@pytest.mark.parametrize("name", ["python-core", "python-tea", "curl"])
def test_longest_wait_ends_in_the_answer_of_the_server(name: str, server: Installation, silent: Identity) -> None:
    cloud = CLOUDS[name](server.http, KEY)
    answer = call_device(cloud, silent, SILENCE, Timeout=8000)
    cloud.close()
    assert answer["RrpcCode"] == "TIMEOUT"
    moments = {moment["stage"]: moment["offset_ms"] for moment in server.find_call(answer["RequestId"])["timeline"]}
    waited_ms = moments["returned"] - moments["routed"]
    assert 8000 <= waited_ms <= 8000 + TOLERANCE_S * 1000


def test_half_connection_lasts_one_keep_alive_period(
    server: Installation, make_device: MakeDevice, tea: Cloud, silent: Identity
) -> None:
    identity = make_device()
    device = PahoDevice(server.mqtt_port, identity.credentials(), keep_alive_s=KEEP_ALIVE_S)
    device.connect()
    began_s = time.monotonic()
    device.break_off()
    wait_status(tea, identity, "OFFLINE")
    broken_s = time.monotonic()
    codes: list[str] = []
    while not codes or codes[-1] == "HALFCONN":
        codes.append(call_device(tea, identity, b"lights on")["RrpcCode"])
        asked_s = time.monotonic()
        # A call that nobody answers is the pause before the next one.
        assert call_device(tea, silent, SILENCE, Timeout=1000)["RrpcCode"] == "TIMEOUT"
    assert codes[-1] == "OFFLINE"
    assert asked_s - broken_s >= KEEP_ALIVE_S - TOLERANCE_S
    assert asked_s - began_s <= KEEP_ALIVE_S + 1 + 2 * TOLERANCE_S


def test_device_that_says_nothing_is_cut_after_one_and_a_half_keep_alives(
    server: Installation, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    credentials = identity.credentials()
    let_in = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, credentials.client_id)
    client.username_pw_set(credentials.user_name, credentials.password)
    client.on_connect = lambda *_: let_in.set()
    client.connect("127.0.0.1", server.mqtt_port, KEEP_ALIVE_S)
    while not let_in.is_set():
        assert client.loop(timeout=1.0) == paho.MQTT_ERR_SUCCESS
    began_s = time.monotonic()
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    # From here on nobody reads or pings for it, as in a device that hangs.
    assert status(tea, identity) == "ONLINE"
    ended, _, _ = select.select([connection], [], [], EXPIRY_S + 10)
    waited_s = time.monotonic() - began_s
    assert ended
    assert connection.recv(1) == b""
    assert EXPIRY_S - TOLERANCE_S <= waited_s <= EXPIRY_S + TOLERANCE_S
    wait_status(tea, identity, "OFFLINE")
    assert call_device(tea, identity, b"lights on")["RrpcCode"] == "OFFLINE"
    client.loop(timeout=1.0)

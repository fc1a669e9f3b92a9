"""Devices made with paho-mqtt 2 and computed credentials: every version of MQTT, both QoS, persistent sessions."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.sdk.calls import MakeDevice, answered, call_device, status, wait_status
from tests.sdk.clouds import Cloud
from tests.sdk.identity import Identity
from tests.sdk.installation import Installation
from tests.sdk.paho_device import PahoDevice

VERSIONS = [MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]

MakePaho = Callable[..., PahoDevice]


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> MQTTProtocolVersion:
    chosen: MQTTProtocolVersion = request.param
    return chosen


@pytest.fixture
def make_paho(server: Installation) -> Iterator[MakePaho]:
    made: list[PahoDevice] = []

    def make(identity: Identity, *, ext: int = 0, secret: str = "", **others: Any) -> PahoDevice:
        device = PahoDevice(server.mqtt_port, identity.credentials(ext=ext, secret=secret), **others)
        made.append(device)
        return device

    yield make
    for device in made:
        device.disconnect()


@pytest.mark.parametrize("qos", [0, 1])
def test_device_answers(
    version: MQTTProtocolVersion, qos: int, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = make_paho(identity, version=version, qos=qos, answer=lambda payload: b"got " + payload)
    assert device.connect() is False
    assert answered(tea, identity, b"lights\x00on") == b"got lights\x00on"
    request = device.take_message()
    assert request.topic.startswith(identity.topic("rrpc/request/"))
    assert (request.payload, request.qos) == (b"lights\x00on", 0)


def test_request_comes_once_to_a_device_that_subscribed_to_it(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = make_paho(identity, version=version)
    device.connect()
    for topic_filter in ("rrpc/request/+", "rrpc/#"):
        assert device.subscribe(identity.topic(topic_filter), 1) == "Granted QoS 1"
    assert answered(tea, identity, b"one") == b"one"
    assert answered(tea, identity, b"two") == b"two"
    assert [device.take_message().payload, device.take_message().payload] == [b"one", b"two"]
    assert not device.has_messages()


def test_custom_topic_reaches_a_device_that_takes_it(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = make_paho(identity, version=version, ext=1)
    device.connect()
    assert answered(tea, identity, b"lights on", Topic="/lamps/kitchen/get") == b"lights on"
    assert device.take_message().topic.endswith("/lamps/kitchen/get")


@pytest.mark.parametrize("sign_method", ["md5", "sha1", "sha256"])
def test_every_sign_method_lets_the_device_in(
    sign_method: str, server: Installation, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = PahoDevice(server.mqtt_port, identity.credentials(sign_method=sign_method))
    device.connect()
    assert status(tea, identity) == "ONLINE"
    device.disconnect()
    wait_status(tea, identity, "OFFLINE")


def test_wrong_secret_is_refused_with_the_reason(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    device = make_paho(identity, version=version, secret="not-the-secret")
    assert device.try_connect() == ("Not authorized", False)
    assert status(tea, identity) == "UNACTIVE"


def test_persistent_session_keeps_its_subscriptions_and_messages(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    topic = f"/{identity.product_key}/{identity.device_name}/user/notes"
    first = make_paho(identity, version=version, persistent=True)
    assert first.connect() is False
    assert first.subscribe(topic, 1) == "Granted QoS 1"
    assert first.publish(topic, b"to myself", 1) == "Success"
    assert first.take_message() == (topic, b"to myself", 1)
    first.disconnect()
    wait_status(tea, identity, "OFFLINE")

    second = make_paho(identity, version=version, persistent=True)
    # CONNACK of MQTT 3.1 has no word for it.
    assert second.connect() is (version is not MQTTProtocolVersion.MQTTv31)
    assert second.publish(topic, b"again", 1) == "Success"
    assert second.take_message() == (topic, b"again", 1)
    second.disconnect()
    wait_status(tea, identity, "OFFLINE")

    clean = make_paho(identity, version=version)
    assert clean.connect() is False
    assert clean.publish(topic, b"to nobody", 1) == "Success"
    assert answered(tea, identity, b"lights on") == b"lights on"
    assert clean.take_message().payload == b"lights on"
    assert not clean.has_messages()


def test_topic_of_another_device_is_refused_and_the_device_stays(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity, other = make_device(), make_device()
    device = make_paho(identity, version=version)
    device.connect()
    is_5 = version is MQTTProtocolVersion.MQTTv5
    refusal = "Not authorized" if is_5 else "Unspecified error"
    assert device.subscribe(other.topic("rrpc/request/+"), 1) == refusal
    assert device.publish(other.topic("rrpc/response/1"), b"x", 1) == ("Not authorized" if is_5 else "Success")
    assert answered(tea, identity, b"lights on") == b"lights on"


def test_second_connection_takes_the_place_of_the_first(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud
) -> None:
    identity = make_device()
    first = make_paho(identity, version=version, answer=lambda _: b"first")
    first.connect()
    # It would come back by itself and take the place in its turn.
    first.client.reconnect_delay_set(60, 60)
    second = make_paho(identity, version=version, answer=lambda _: b"second")
    second.connect()
    reason = first.wait_disconnect()
    assert (reason == "Session taken over") == (version is MQTTProtocolVersion.MQTTv5)
    assert status(tea, identity) == "ONLINE"
    assert answered(tea, identity, b"who is there") == b"second"


def test_connection_that_breaks_is_half_connected(
    version: MQTTProtocolVersion, make_paho: MakePaho, make_device: MakeDevice, tea: Cloud, server: Installation
) -> None:
    identity = make_device()
    device = make_paho(identity, version=version)
    device.connect()
    device.break_off()
    wait_status(tea, identity, "OFFLINE")
    answer = call_device(tea, identity, b"lights on")
    assert (answer["RrpcCode"], answer["Success"]) == ("HALFCONN", False)
    assert server.find_call(answer["MessageId"])["diagnosis"] == "half-connected"

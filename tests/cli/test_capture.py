import asyncio
import json
from pathlib import Path

import pytest

from linkstead.cli import demo_data
from linkstead.cli.capture import SEEN_MAX, TEXT_CHARS_MAX, UNKNOWN_DEVICE, Capture
from linkstead.mqtt.packets import Publish, Subscribe, Subscription
from linkstead.mqtt.witness import Introduction, Use
from linkstead.registry import DeviceKey
from tests.cli.processes import done, serving, wait_for
from tests.wire import DeviceClient

BOUGHT = DeviceKey("a1Bought000", "meter-01")


def introduction(client_id: str = "m|securemode=3,signmethod=hmacsha1|", user_name: str | None = "d&p") -> Introduction:
    return Introduction("192.0.2.7", False, 4, client_id, user_name, 40, 60, True)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def capture(told: list[str]) -> Capture:
    return Capture(told.append)


def test_a_device_that_is_not_known_is_told_with_the_way_to_register_it(capture: Capture, told: list[str]) -> None:
    capture.see_refusal(introduction(), UNKNOWN_DEVICE, BOUGHT)
    (text,) = told
    for line in (
        "A device at 192.0.2.7, plain, MQTT 3.1.1",
        "  client id   m|securemode=3,signmethod=hmacsha1|",
        "  user name   d&p",
        "  options     securemode=3  signmethod=hmacsha1",
        "  password    40 bytes, not shown",
        "  keep-alive  60 s, clean session",
        "  refused     no such device",
        "    linkstead product create NAME --product-key a1Bought000",
        "    linkstead device create a1Bought000 meter-01 --device-secret SECRET",
    ):
        assert line in text.splitlines()


def test_a_device_that_tries_again_is_told_once(capture: Capture, told: list[str]) -> None:
    for number in range(3):
        capture.see_refusal(introduction(f"{number}|timestamp={number}|"), UNKNOWN_DEVICE, BOUGHT)
        capture.see_topic(BOUGHT, Use.PUBLISH, f"/sys/a1Bought000/meter-01/rrpc/response/{number}")
    assert len(told) == 2
    assert told[1] == "a1Bought000/meter-01 publishes /sys/a1Bought000/meter-01/rrpc/response/<number>"
    capture.see_refusal(introduction(), "the device is disabled", BOUGHT)
    assert len(told) == 3
    assert "device create" not in told[2]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (DeviceKey("a1; rm -rf", "meter-01"), "its ProductKey cannot be registered"),
        (DeviceKey("a1Bought000", "$(reboot)"), "its DeviceName cannot be registered"),
    ],
)
def test_a_name_that_cannot_be_is_in_no_command(capture: Capture, told: list[str], key: DeviceKey, said: str) -> None:
    capture.see_refusal(introduction(), UNKNOWN_DEVICE, key)
    assert said in told[0]
    assert "linkstead" not in told[0]


def test_what_a_device_says_steers_no_terminal_and_has_its_bound(capture: Capture, told: list[str]) -> None:
    capture.see_refusal(introduction("\x1b[2J\n" + "x" * 5_000, None), "the client id has no |…| part", None)
    assert "\x1b" not in told[0]
    assert "\\x1b[2J\\n" in told[0]
    assert max(map(len, told[0].splitlines())) == len("  client id   ") + TEXT_CHARS_MAX
    assert "  user name   none" in told[0]


def test_what_is_remembered_has_its_bound(capture: Capture, told: list[str]) -> None:
    for number in range(SEEN_MAX + 1):
        capture.see_topic(BOUGHT, Use.SUBSCRIBE, f"/t{number}")
    capture.see_topic(BOUGHT, Use.SUBSCRIBE, "/t1")
    assert len(told) == SEEN_MAX + 1
    capture.see_topic(BOUGHT, Use.SUBSCRIBE, "/t0")
    assert len(told) == SEEN_MAX + 2


@pytest.mark.asyncio
async def test_a_bought_device_is_seen_refused_registered_and_let_in(tmp_path: Path) -> None:
    with serving("dev", "--capture", folder=tmp_path) as server:
        device = DeviceClient(server.mqtt, BOUGHT, "its-own-secret")
        topic = device.custom_topic("user/get")
        behind = Subscribe(1, [Subscription(topic)])
        password = device.connect_packet().password
        assert password is not None
        assert (await device.request_connect(behind)).reason_code == 5
        wait_for(lambda: f"linkstead device create {BOUGHT.product_key}" in server.stderr)
        told = server.stderr
        assert password.decode() not in told
        assert f"{BOUGHT} subscribes" not in told
        # nothing of it was made or let in
        listed = await asyncio.to_thread(done, "product", "list", "--json", "--data", tmp_path / "data")
        assert len(json.loads(listed)) == 1

        data = ("--data", tmp_path / "data")
        await asyncio.to_thread(done, "product", "create", "Bought", "--product-key", BOUGHT.product_key, *data)
        await asyncio.to_thread(done, "device", "create", *BOUGHT, "--device-secret", "its-own-secret", *data)
        await device.open()
        await device.connect(behind, Publish(device.custom_topic("user/update"), b"x"))
        wait_for(lambda: f"{BOUGHT} publishes" in server.stderr)
        assert f"{BOUGHT} subscribes {topic}" in server.stderr
        assert f"  let in      as {BOUGHT}" in server.stderr
        assert password.decode() not in server.stderr
        assert "its-own-secret" not in server.stderr
        await device.close()


@pytest.mark.asyncio
async def test_a_bought_device_is_listened_to(tmp_path: Path) -> None:
    with serving("dev", "--capture", "--admit-strangers", folder=tmp_path) as server:
        device = DeviceClient(server.mqtt, BOUGHT, "its-own-secret")
        post = device.topic("thing/event/property/post")
        await device.connect(Subscribe(1, [Subscription(device.custom_topic("user/get"))]), Publish(post, b"\x01on"))
        wait_for(lambda: "hex   01 6f 6e" in server.stderr)
        assert f"{BOUGHT} publishes on {post} at QoS 0, 3 bytes\n  text  \\x01on\n" in server.stderr
        assert f"{BOUGHT} subscribes to {device.custom_topic('user/get')} at QoS 0" in server.stderr
        assert f"linkstead device create {BOUGHT.product_key}" in server.stderr
        await device.close()


def test_without_it_nothing_is_told(tmp_path: Path) -> None:
    with serving("dev", folder=tmp_path) as server:
        assert f"let in      as {demo_data.PRODUCT_KEY}" not in server.stderr

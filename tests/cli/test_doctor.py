"""`doctor` against servers that run as processes."""

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from linkstead.api.signatures import format_timestamp, signed_query_v1, string_to_sign_v1
from linkstead.cli import demo_data
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET
from linkstead.doctor.signing import read_parameters
from linkstead.store.urls import DATABASE_RULE
from tests.cli.processes import ENVIRONMENT, WAIT_S, ServerProcess, done, invoke, run, told

DEVICE_SECRET = "doctors-device-secret"
SECRETS = (DEVICE_SECRET, "wrong-app-secret", "wrong-device-secret", DEMO_ACCESS_KEY_SECRET)


def ports(dev: ServerProcess) -> tuple[str, ...]:
    """Where a server is."""
    return ("--http", str(dev.http), "--mqtt", str(dev.mqtt))


@pytest.fixture(scope="module")
def device(dev: ServerProcess) -> tuple[str, ...]:
    """A device of its own."""
    created = run(
        *("device", "create", demo_data.PRODUCT_KEY, "doctors", "--device-secret", DEVICE_SECRET),
        *("--data", dev.folder / "data"),
        cwd=dev.folder,
    )
    assert created.returncode == 0, created.stderr
    return ("--product-key", demo_data.PRODUCT_KEY, "--device-name", "doctors")


def test_a_server_that_is_well_is_told_so(dev: ServerProcess) -> None:
    lines = done("doctor", *ports(dev), "--data", dev.folder / "data").splitlines()
    assert lines[0] == "ok        HTTP name: 127.0.0.1"
    assert f"ok        access key, signature version 1: {DEMO_ACCESS_KEY_ID}" in lines
    assert "not tried product: needs --product-key, --device-name" in lines
    assert "not used  NATS" in lines
    assert lines[-1] == "Nothing wrong was found."


def test_a_device_of_ones_own_is_connected_and_called(dev: ServerProcess, device: tuple[str, ...]) -> None:
    options = ("--device-secret", DEVICE_SECRET, "--service", "Blink", "--json")
    found = json.loads(done("doctor", *ports(dev), *device, *options))
    assert found["first_fault"] is None
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["thing-model"]["state"] == "ok"
    assert steps["call"]["call"]["verdict"] == "SUCCESS"
    shown = done("doctor", *ports(dev), *device, "--device-secret", DEVICE_SECRET, "--language", "zh")
    assert "一次调用及其应答: SUCCESS · answered" in shown
    assert "设备按时应答。" in shown
    assert "没有发现问题。" in shown


@pytest.mark.parametrize(
    ("options", "first", "said"),
    [
        (["--access-key-id", "nobody", "--access-key-secret", "wrong-app-secret"], "access key", "does not know"),
        (["--access-key-secret", "wrong-app-secret"], "access key", "The secret is not that of the access key"),
        (["--device-secret", "wrong-device-secret"], "device logs in", "CONNACK 5"),
        (["--device-secret", DEVICE_SECRET, "--keep-alive-s", "1201"], "what the device sends", "30 to 1200 s"),
        (["--device-name", "lamp-01", "--service", "Blonk"], "thing model", "it has: Blink, SelfTest, RunScene"),
        (["--device-name", "lamp-99"], "device", "has no device lamp-99"),
        (["--device-name", "my-device"], "device is connected", "has never connected"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_fault_is_told_with_what_to_do_and_without_secrets(
    dev: ServerProcess,
    device: tuple[str, ...],
    options: list[str],
    first: str,
    said: str,
    language: str,
    form: list[str],
) -> None:
    result = invoke("doctor", *ports(dev), *device, *options, "--language", language, *form)
    assert result.exit_code == 1
    assert not any(secret in result.output for secret in SECRETS)
    if form:
        found = json.loads(result.stdout)
        step = next(step for step in found["steps"] if step["state"] == "fault")
        assert found["first_fault"] == {"step": step["step"], "fault": step["fault"]}
        assert step["meaning"]
        assert step["advice"]
    elif language == "en":
        assert said in result.stdout
        assert "\n          Do: " in result.stdout
        assert f"\nThe first fault: {first}" in result.stdout
    else:
        assert "\n          处理：" in result.stdout
        assert "首要问题：" in result.stdout


def test_where_nobody_listens_the_first_fault_is_the_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = invoke("doctor", "--http", address, "--mqtt", address)
    assert result.exit_code == 1
    assert f"WRONG     HTTP port\n          Nothing listens on {address}." in result.stdout
    assert "not tried HTTP protocol: after: HTTP port" in result.stdout
    assert result.stdout.endswith("\nThe first fault: HTTP port\n")


def test_what_a_server_says_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in invoke("doctor", "--http", "\x1b[2J:80", "--mqtt", "\x1b:80", "--wait-s", "0.1").output


def test_a_person_who_waits_sees_the_step_under_way() -> None:
    ours, theirs = pty.openpty()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            [sys.executable, "-m", "linkstead", "doctor", "--http", address, "--mqtt", address],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=ENVIRONMENT,
            timeout=WAIT_S,
            check=False,
        )
    seen = os.read(ours, 65_536).decode()
    os.close(ours)
    os.close(theirs)
    assert ran.returncode == 1
    assert "HTTP port …" in seen
    assert b"\x1b" not in ran.stdout


def test_options_come_from_the_servers_file(dev: ServerProcess) -> None:
    Path("linkstead.toml").write_text(f'http = "{dev.http}"\nmqtt = "{dev.mqtt}"\ndata = "{dev.folder / "data"}"\n')
    assert "linkstead.db" in done("doctor")


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    assert "--access-key-id and --access-key-secret are given together" in told(2, "doctor", "--access-key-id", "x")
    assert DATABASE_RULE in told(2, "doctor", "--database", "mysql://x")
    for wrong in ("0.09", "60.1"):
        assert f"{wrong} is not in the range" in told(2, "doctor", "--wait-s", wrong)
    assert "--device-name: not UTF-8" in told(2, "doctor", "--device-name", "\udcff")
    assert "REQUEST: give a URL" in told(2, "doctor", "string-to-sign", "hello")
    assert "gone: No such file or directory" in told(2, "doctor", "string-to-sign", "@gone")
    assert "gone: No such file or directory" in told(2, "doctor", "string-to-sign", "http://h/?a=b", "--said", "gone")
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "bytes: not UTF-8" in told(2, "doctor", "string-to-sign", "@bytes")


# --- strings to sign ---

QUERY = signed_query_v1(
    "GET", {"Action": "Pub", "Version": "2018-01-20"}, "app-key", "app-secret", "nonce", format_timestamp(1_700_000_000)
)
OURS = string_to_sign_v1("GET", read_parameters(QUERY))
URL = f"http://127.0.0.1:8686/?{QUERY}"


def test_our_string_to_sign_is_shown_and_the_signature_checked() -> None:
    assert done("doctor", "string-to-sign", URL) == f"our string to sign:\n  {OURS}\n"
    right = done("doctor", "string-to-sign", URL, "--access-key-secret", "app-secret")
    assert right.endswith("\nThe signature sent is the one that this secret makes.\n")
    result = invoke("doctor", "string-to-sign", "-", "--access-key-secret", "wrong-app-secret", stdin=URL.encode())
    assert result.exit_code == 1
    assert "is not the one that this secret makes" in result.stdout
    assert "wrong-app-secret" not in result.output


def test_where_the_two_part_is_marked() -> None:
    Path("said").write_text("Specified signature … server string to sign is:" + OURS.replace("nonce", "nonsense"))
    result = invoke("doctor", "string-to-sign", URL, "--said", "said")
    assert result.exit_code == 1
    *_, head, ours, theirs, mark = result.stdout.splitlines()
    place = OURS.index("nonce") + 3
    assert head == f"They part at character {place + 1}:"
    column = mark.index("^")
    assert (ours[column], theirs[column]) == ("c", "s")
    Path("said").write_text(OURS)
    same = done("doctor", "string-to-sign", URL, "--said", "said", "--language", "zh")
    assert "与对方一致。\n双方待签名字符串相同" in same
    assert DEMO_ACCESS_KEY_SECRET not in same

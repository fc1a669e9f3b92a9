import subprocess
from pathlib import Path

import pytest

from tests.cli.processes import ServerProcess, done, invoke, told


def exported(*arguments: str | Path) -> dict[str, str]:
    """The variables that a shell has after evaluating what the command prints."""
    text = done("env", *arguments)
    ran = subprocess.run(["bash", "-c", f"{text} env"], env={}, capture_output=True, text=True, check=True)
    variables = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    return {name: value for name, value in variables.items() if name.startswith(("LINKSTEAD_", "ALIBABA_CLOUD_"))}


def test_the_defaults_are_those_of_dev() -> None:
    assert exported() == {
        "LINKSTEAD_ENDPOINT": "http://127.0.0.1:8686",
        "LINKSTEAD_ACCESS_KEY_ID": "linkstead-dev",
        "LINKSTEAD_ACCESS_KEY_SECRET": "linkstead-dev-secret",
        "LINKSTEAD_MQTT_HOST": "127.0.0.1",
        "LINKSTEAD_MQTT_PORT": "1883",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "linkstead-dev",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "linkstead-dev-secret",
    }


def test_the_exports_lead_to_a_running_server(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = exported("--ready-file", dev.ready_file)
    assert variables["LINKSTEAD_ENDPOINT"] == dev.endpoint
    assert f"{variables['LINKSTEAD_MQTT_HOST']}:{variables['LINKSTEAD_MQTT_PORT']}" == str(dev.mqtt)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert invoke("call", "rrpc", "a1LinkDemo0", "lamp-01").exit_code == 0


def test_values_are_quoted_for_the_shell() -> None:
    secret = "a'b$(c)`d`\"e"
    variables = exported("--access-key-id", "me", "--access-key-secret", secret, "--mqtt", "[::1]:1")
    assert variables["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] == secret
    assert (variables["LINKSTEAD_MQTT_HOST"], variables["LINKSTEAD_MQTT_PORT"]) == ("::1", "1")


def test_a_server_that_listens_everywhere_is_reached_on_this_machine() -> None:
    Path("ready.json").write_text('{"http":"0.0.0.0:1","mqtt":"[::]:2","access_key_id":null,"pid":1}')
    variables = exported("--ready-file", "ready.json")
    assert variables["LINKSTEAD_ENDPOINT"] == "http://127.0.0.1:1"
    assert variables["LINKSTEAD_MQTT_HOST"] == "::1"


def test_a_key_without_its_secret_is_asked_for() -> None:
    Path("ready.json").write_text('{"http":"127.0.0.1:1","mqtt":"127.0.0.1:2","access_key_id":"mine"}')
    assert "--access-key-id and --access-key-secret are given together" in told(2, "env", "--ready-file", "ready.json")
    assert exported("--ready-file", "ready.json", "--access-key-secret", "s")["LINKSTEAD_ACCESS_KEY_ID"] == "mine"


def test_what_is_no_ready_file_is_one_line() -> None:
    assert "--ready-file gone.json: No such file" in told(2, "env", "--ready-file", "gone.json")
    for text in ("", "[]", '{"http":1}', '{"http":"h:1"}', '{"http":"h:1","mqtt":"h","access_key_id":null}'):
        Path("bad.json").write_text(text)
        assert "--ready-file bad.json: it is not a ready file" in told(2, "env", "--ready-file", "bad.json")
    assert "--endpoint takes http://HOST:PORT" in told(2, "env", "--endpoint", "h:1")

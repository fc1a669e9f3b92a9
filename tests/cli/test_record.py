import json
from pathlib import Path

import pytest

from tests.cli.processes import ServerProcess, done, told

LAMP = "a1LinkDemo0/lamp-03"


@pytest.fixture(autouse=True)
def endpoint(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSTEAD_ENDPOINT", dev.endpoint)


def test_calls_become_a_cassette_without_secrets(tmp_path: Path) -> None:
    done("call", "rrpc", "a1LinkDemo0", "lamp-03", '{"password":"s3cret"}')
    done("call", "rrpc", "a1LinkDemo0", "lamp-03", "say magic")
    output = tmp_path / "calls.json"
    said = done("record", output, "--device", LAMP, "--limit", "2", "--remove", "magic", "--action", "RRpc")
    assert said == "2 calls\n"
    text = output.read_text()
    assert "s3cret" not in text
    assert "bWFnaWM" not in text
    assert [call["device_name"] for call in json.loads(text)["calls"]] == ["lamp-03", "lamp-03"]


def test_what_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    assert "--device takes" in told(2, "record", tmp_path / "calls.json", "--device", "lamp-03")
    assert "No such file" in told(1, "record", tmp_path / "none" / "calls.json")

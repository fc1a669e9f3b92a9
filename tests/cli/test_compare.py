import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from linkstead.cli.compare import REQUESTS_MAX, find_differences, read_requests
from tests.cli.processes import ServerProcess, done, invoke, serving, told

DEVICE = {"ProductKey": "a1LinkDemo0", "DeviceName": "lamp-01"}


@pytest.fixture(autouse=True)
def endpoint(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSTEAD_ENDPOINT", dev.endpoint)


def write(path: Path, *requests: tuple[str, Mapping[str, object]]) -> Path:
    lines = [json.dumps({"action": action, "parameters": parameters}) for action, parameters in requests]
    path.write_text("\n".join(["", *lines, ""]))
    return path


def test_the_same_answers_are_the_same_whatever_their_ids_and_times(dev: ServerProcess, tmp_path: Path) -> None:
    requests = write(
        tmp_path / "requests.jsonl",
        ("RRpc", {**DEVICE, "RequestBase64Byte": "cGluZw==", "Timeout": 5000}),
        ("QueryDeviceDetail", {"ProductKey": "a1LinkDemo0", "DeviceName": "lamp-01"}),
        ("NoSuchAction", {}),
    )
    said = done("compare", requests, "--against", dev.endpoint)
    assert said == "1 RRpc: same\n2 QueryDeviceDetail: same\n3 NoSuchAction: same\n"


def test_what_differs_is_shown_with_its_place(tmp_path: Path) -> None:
    requests = write(
        tmp_path / "requests.jsonl",
        ("GetDeviceStatus", DEVICE),
        ("QueryProduct", {"ProductKey": "a1LinkDemo0"}),
    )
    key = ("--access-key-id", "other-key", "--access-key-secret", "other-secret")
    with serving("serve", *key, folder=tmp_path) as other:
        options = ("--against-key-id", "other-key", "--against-key-secret", "other-secret")
        result = invoke("compare", requests, "--against", other.endpoint, *options, "--ignore", "ErrorMessage")
    assert result.exit_code == 1
    first, *lines = result.stdout.splitlines()
    assert first == "1 GetDeviceStatus: differs"
    assert "  Success: true | false" in lines
    assert '  Code: (absent) | "iot.prod.NotExistedProduct"' in lines
    assert "ErrorMessage" not in result.stdout


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"action": 1, "parameters": []}'])
def test_a_line_that_is_no_request_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"action": "QueryProduct"}\n' + line)
    assert "line 2" in told(2, "compare", path, "--against", "http://127.0.0.1:1")


def test_so_many_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"action": "A"}\n' * REQUESTS_MAX)
    assert len(read_requests(path)) == REQUESTS_MAX
    path.write_text('{"action": "A"}\n' * (REQUESTS_MAX + 1))
    assert str(REQUESTS_MAX) in told(2, "compare", path, "--against", "http://127.0.0.1:1")
    path.write_bytes(b"\xff")
    assert "UTF-8" in told(2, "compare", path, "--against", "http://127.0.0.1:1")


def test_differences_have_places() -> None:
    one = {"RequestId": "1", "At": "2026-01-01T00:00:00Z", "Ms": 1700000000000, "List": [1, {"a": 2}], "Only": None}
    two = {"RequestId": "2", "At": "2026-01-02T00:00:00Z", "Ms": 1700000000001, "List": [1, {"a": 3}, 4], "New": ""}
    assert list(find_differences(one, two)) == [
        ("List[1].a", 2, 3),
        ("List[2]", "(absent)", 4),
        ("Only", None, "(absent)"),
        ("New", "(absent)", ""),
    ]

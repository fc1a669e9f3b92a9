import json
from pathlib import Path

import pytest

from tests.cli.processes import ServerProcess, done, invoke, serving, told


@pytest.fixture(autouse=True)
def endpoint(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSTEAD_ENDPOINT", dev.endpoint)
    done("fault", "clear")


def test_a_fault_is_planted_met_and_taken_away() -> None:
    number = done("fault", "add", "unknown", "--device", "a1LinkDemo0/lamp-01", "--times", "1").strip()
    called = invoke("call", "rrpc", "a1LinkDemo0", "lamp-01", "hello")
    assert called.exit_code == 1
    assert "RrpcCode UNKNOWN" in called.stdout
    assert "planted-unknown" in called.stdout
    assert "RrpcCode SUCCESS" in done("call", "rrpc", "a1LinkDemo0", "lamp-01", "hello")
    heading, line = done("fault", "list").splitlines()
    assert heading.split() == ["number", "kind", "scope", "rule", "seen", "acted"]
    assert line.split() == [number, "unknown", "a1LinkDemo0", "lamp-01", "times=1", "2", "1"]
    assert done("fault", "remove", number) == ""
    assert told(1, "fault", "remove", number) == f"linkstead: no fault {number}\n"


def test_what_is_asked_for_is_what_is_planted() -> None:
    done("fault", "add", "cut", "--device", "dev7", "--action", "RRpc", "--nth", "2", "--every", "3", "--clean")
    done("fault", "add", "delay-answer", "--delay-ms", "5", "--probability", "0.5", "--seed", "7")
    first, second = json.loads(done("fault", "list", "--json"))
    assert (first["scope"], first["rule"]) == ("dev7 RRpc", "nth=2 every=3 clean=True")
    assert (second["scope"], second["rule"]) == ("any", "probability=0.5 seed=7 delay_ms=5")
    assert done("fault", "clear") == "2\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nonsense",), 2, "KIND"),
        (("cut", "--nth", "0"), 2, "--nth"),
        (("cut", "--device", "p1/"), 2, "--device"),
        (("cut", "--device", "p1/d1", "--product", "p2"), 2, "--device"),
        (("throttle", "--at-once"), 1, "at_once"),
    ],
)
def test_what_is_no_fault_is_refused_in_one_line(arguments: tuple[str, ...], status: int, said: str) -> None:
    assert said in told(status, "fault", "add", *arguments)


def test_a_server_that_serves_refuses_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ("--access-key-id", "some-key", "--access-key-secret", "some-secret")
    with serving("serve", *key, folder=tmp_path) as server:
        monkeypatch.setenv("LINKSTEAD_ENDPOINT", server.endpoint)
        assert "only `linkstead dev`" in told(1, "fault", "add", "cut", *key)

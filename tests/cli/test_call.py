import base64
import json
from pathlib import Path

import click
import pytest

from linkstead.actions.messaging import PAYLOAD_BYTES_MAX
from linkstead.cli.call import describe_answer, read_payload
from tests.cli.processes import ServerProcess, done, invoke, told

PRODUCT_KEY = "a1LinkDemo0"


@pytest.fixture(autouse=True)
def endpoint(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSTEAD_ENDPOINT", dev.endpoint)


def rrpc(*arguments: str, stdin: bytes | None = None) -> dict[str, dict[str, object]]:
    """A call that is answered: the answer, and the record."""
    made: dict[str, dict[str, object]] = json.loads(
        done("call", "rrpc", PRODUCT_KEY, "lamp-01", *arguments, "--json", stdin=stdin)
    )
    return made


def echoed(*arguments: str, stdin: bytes | None = None) -> bytes:
    """What the simulated device heard, and gave back."""
    return base64.b64decode(str(rrpc(*arguments, stdin=stdin)["answer"]["PayloadBase64Byte"]))


def test_a_call_prints_verdict_answer_and_timeline() -> None:
    lines = done("call", "rrpc", PRODUCT_KEY, "lamp-01", "turn on").split("\n")
    assert lines[:4] == ["RrpcCode SUCCESS", "turn on", "", f"RRpc {PRODUCT_KEY}/lamp-01  SUCCESS · answered"]
    stages = [line.split()[0] for line in lines if line.endswith("●")]
    assert stages == ["received", "authenticated", "accepted", "routed", "written", "answered", "returned"]


def test_a_call_that_is_not_answered_says_why_and_exits_with_1() -> None:
    result = invoke("call", "rrpc", PRODUCT_KEY, "my-device")
    assert result.exit_code == 1
    assert result.stdout.startswith("RrpcCode OFFLINE\nThe device is not connected.\n")
    assert "The device is registered, but has never connected.\nNext: Connect it" in result.stdout


def test_a_call_that_is_refused_says_why_and_exits_with_1() -> None:
    result = invoke("call", "rrpc", PRODUCT_KEY, "nobody", "--language", "zh")
    assert result.exit_code == 1
    assert result.stdout.startswith("Code iot.device.NotExistedDevice\n")
    assert "请求被拒绝（iot.device.NotExistedDevice）" in result.stdout


def test_a_call_may_name_a_topic_and_a_timeout() -> None:
    record = rrpc("x", "--topic", "/a/b", "--timeout-ms", "1000")["call"]
    assert (record["target"], record["timeout_ms"]) == ("/a/b", 1000)


def test_a_timeout_is_within_its_bounds() -> None:
    assert rrpc("--timeout-ms", "8000")["call"]["timeout_ms"] == 8000
    for wrong in ("999", "8001"):
        assert f"{wrong} is not in the range 1000<=x<=8000" in told(
            2, "call", "rrpc", PRODUCT_KEY, "lamp-01", "--timeout-ms", wrong
        )


def test_a_payload_is_text_hex_base64_or_standard_input() -> None:
    assert echoed("灯") == "灯".encode()
    assert echoed() == b"hello"
    assert echoed("00ff", "--hex") == b"\x00\xff"
    assert echoed("AP8=", "--base64") == b"\x00\xff"
    assert echoed("-", stdin=b"\x00\xff\n") == b"\x00\xff\n"
    assert echoed("-", "--hex", stdin=b"00 ff\n") == b"\x00\xff"
    assert echoed("-", "--base64", stdin=b"AP\n8=\n") == b"\x00\xff"


@pytest.mark.parametrize(
    ("payload", "option", "said"),
    [
        ("0g", ["--hex"], "PAYLOAD is not hex"),
        ("灯", ["--hex"], "PAYLOAD is not hex"),
        ("A", ["--base64"], "PAYLOAD is not base64"),
        ("A_8=", ["--base64"], "PAYLOAD is not base64"),
        ("", [], f"PAYLOAD has 0 bytes; 1 to {PAYLOAD_BYTES_MAX} can be sent"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_wrong_usage(payload: str, option: list[str], said: str) -> None:
    assert said in told(2, "call", "rrpc", PRODUCT_KEY, "lamp-01", payload, *option)


def test_a_payload_reaches_to_its_bound_and_no_further() -> None:
    assert echoed("-", stdin=b"x" * PAYLOAD_BYTES_MAX) == b"x" * PAYLOAD_BYTES_MAX
    assert len(echoed("-", "--hex", stdin=b"00" * PAYLOAD_BYTES_MAX + b"\n")) == PAYLOAD_BYTES_MAX
    with pytest.raises(click.UsageError, match=f"PAYLOAD has {PAYLOAD_BYTES_MAX + 1} bytes"):
        read_payload("x" * (PAYLOAD_BYTES_MAX + 1), None)


def test_an_answer_that_no_terminal_shows_is_in_hex() -> None:
    answer = {"RrpcCode": "SUCCESS", "PayloadBase64Byte": base64.b64encode(b"\x1b[2J").decode()}
    assert describe_answer(answer) == "RrpcCode SUCCESS\nhex:1b5b324a"
    assert describe_answer({"RrpcCode": "TIMEOUT", "Code": "c", "ErrorMessage": "m"}) == "RrpcCode TIMEOUT\nCode c\nm"


def test_calls_are_listed_and_filtered() -> None:
    done("call", "rrpc", PRODUCT_KEY, "lamp-02")
    invoke("call", "rrpc", PRODUCT_KEY, "my-device")
    invoke("call", "rrpc", PRODUCT_KEY, "nobody")

    def devices(*filters: str) -> set[str]:
        return {line.split()[-1] for line in done("calls", *filters).splitlines()[1:]}

    assert devices() >= {f"{PRODUCT_KEY}/lamp-02", f"{PRODUCT_KEY}/my-device", "-"}
    assert devices("--device", f"{PRODUCT_KEY}/lamp-02", "--action", "RRpc") == {f"{PRODUCT_KEY}/lamp-02"}
    assert devices("--verdict", "OFFLINE") == {f"{PRODUCT_KEY}/my-device"}
    assert devices("--diagnosis", "rejected") == {"-"}
    assert len(done("calls", "--limit", "2").splitlines()) == 3
    assert done("calls", "--verdict", "HALFCONN") == "no calls\n"
    assert json.loads(done("calls", "--verdict", "HALFCONN", "--json")) == {"calls": []}


def test_one_call_is_shown_by_message_id_and_by_request_id() -> None:
    record = rrpc("shown")["call"]
    by_message_id = done("calls", str(record["message_id"]))
    assert "answer: 5 bytes  shown" in by_message_id
    assert done("calls", str(record["request_id"])) == by_message_id
    assert "设备按时应答。" in done("calls", str(record["message_id"]), "--language", "zh")
    assert json.loads(done("calls", str(record["message_id"]), "--json")) == record


def test_calls_refuses_what_does_not_fit() -> None:
    assert "no call 12" in told(1, "calls", "12")
    assert "ID shows one call; the filters are for the list" in told(2, "calls", "12", "--verdict", "TIMEOUT")
    assert "--device takes PRODUCT_KEY/DEVICE_NAME" in told(2, "calls", "--device", "lamp-01")
    assert "'LOST' is not one of" in told(2, "calls", "--verdict", "LOST")
    for wrong in ("0", "501"):
        assert f"{wrong} is not in the range 1<=x<=500" in told(2, "calls", "--limit", wrong)


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSTEAD_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("LINKSTEAD_ACCESS_KEY_SECRET", "s")
    assert "InvalidAccessKeyId.NotFound" in told(1, "call", "rrpc", PRODUCT_KEY, "lamp-01")
    monkeypatch.delenv("LINKSTEAD_ACCESS_KEY_SECRET")
    assert "--access-key-id and --access-key-secret are given together" in told(2, "calls")


def test_calling_makes_no_files(tmp_path: Path) -> None:
    done("call", "rrpc", PRODUCT_KEY, "lamp-01")
    assert list(tmp_path.iterdir()) == []

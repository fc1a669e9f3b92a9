import pytest

from linkstead.console.report import REMOVED, remove_secrets, remove_secrets_from_text, shorten_key, write_report
from linkstead.invocation import Evidence, Stray
from tests.console.records import make_call


@pytest.mark.parametrize(
    "text",
    [
        "password=hush",
        "deviceSecret: hush",
        "token='hush x'",
        '"api_key":"hu\\"sh"',
        "Signature=hush&",
        "private-key = hush",
    ],
)
def test_what_a_name_calls_secret_is_removed_from_text(text: str) -> None:
    told = remove_secrets_from_text(f"before {text} after")
    assert "hush" not in told
    assert "hu" not in told.replace("Signature", "")
    assert REMOVED in told
    assert told.startswith("before ")


def test_what_is_no_secret_stays() -> None:
    assert remove_secrets_from_text("power=5, mode: eco") == "power=5, mode: eco"


def test_secrets_are_removed_from_json_at_any_depth() -> None:
    value = {"a": [{"deviceSecret": "hush", "n": 1}], "token": {"secretKey": "hush", "n": None}, "t": "password=hush"}
    assert remove_secrets(value) == {
        "a": [{"deviceSecret": REMOVED, "n": 1}],
        "token": {"secretKey": REMOVED, "n": None},
        "t": f"password={REMOVED}",
    }


def test_a_report_tells_the_call() -> None:
    call = make_call(0, access_key_id="abcdefgh", timeout_ms=1_000, target="/user/get")
    call.set_request(b"```\nfence")
    call.set_answer(b"\x00\x01")
    call.add_evidence(Evidence(Stray.LATE, 0, "p/d", "/late", b"secret=hush", 11))
    text = write_report(call, "1.2.3")
    for part in (
        "1.2.3",
        str(call.message_id),
        "answered. The device answered in time.",
        "| written | 1.000 |",
        "00 01",
    ):
        assert part in text
    assert "````\n```\nfence\n````" in text
    assert "hush" not in text
    assert "abcdefgh" not in text
    assert shorten_key("abcdefgh") in text

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.api.call_view import view_call
from linkstead.cli.timeline import SHOWN_CHARS_MAX, WIDTH, draw_call, draw_list, format_time
from linkstead.invocation import Call, Diagnosis, Evidence, Stage, Stray, Verdict
from linkstead.invocation.explanation import EXPLANATIONS
from linkstead.registry import DeviceKey

START_S = 1_700_000_000.0
LAMP = DeviceKey("a1Lamp00001", "lamp-01")
REQUEST_ID = "41C4265E-F05D-4E2E-AB09-E031F501AF7F"


def a_call(*moments: tuple[Stage, float], key: DeviceKey | None = LAMP) -> Call:
    """A call with these moments, in milliseconds after the first."""
    call = Call(REQUEST_ID, "node", action="RRpc", access_key_id="me", message_id=7, key=key, timeout_ms=2_000)
    for stage, offset_ms in moments:
        call.mark(stage, START_S + offset_ms / 1000, offset_ms / 1000)
    return call


def view(call: Call) -> dict[str, Any]:
    return view_call(call, whole=True)


def late_call() -> Call:
    call = a_call((Stage.RECEIVED, 0), (Stage.ROUTED, 0), (Stage.WRITTEN, 1_000), (Stage.RETURNED, 2_000))
    call.end(Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    call.late_by_ms = 1_900
    call.set_request(b"on")
    evidence = Evidence(Stray.LATE, 1_700_000_004_000, "a1Lamp00001/lamp-01", "/sys/x\x1b[2J", b"\x00", 1)
    call.add_evidence(evidence)
    return call


def test_an_answered_call_is_drawn_to_scale() -> None:
    call = a_call((Stage.RECEIVED, 0), (Stage.WRITTEN, 10), (Stage.ANSWERED, 30), (Stage.RETURNED, 39))
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    call.set_request(b"on")
    call.set_answer("灯\n".encode())
    assert draw_call(view(call), "en").split("\n") == [
        "RRpc a1Lamp00001/lamp-01  SUCCESS · answered",
        f"message 7  request {REQUEST_ID}",
        "key me  at 2023-11-14T22:13:20.000Z  Timeout 2000 ms",
        "",
        "  received                0.000 ms  ●",
        "  written                10.000 ms  ──────────●",
        "  answered               30.000 ms            ────────────────────●",
        "  returned               39.000 ms                                ─────────●",
        "",
        "The device answered in time.",
        "",
        "sent: 2 bytes  on",
        "answer: 4 bytes  灯\\n",
    ]


def test_a_late_answer_stands_in_the_timeline_and_is_explained() -> None:
    lines = draw_call(view(late_call()), "en").split("\n")
    assert lines[7] == "  returned             2000.000 ms            ──────────●"
    assert lines[8] == "  late                 4000.000 ms                      ───────────────────○"
    assert lines[10] == "The device answered 1900 ms after the deadline of 2000 ms."
    assert lines[11].startswith("Next: Give the call more time")
    assert lines[-3:] == [
        "Not taken as the answer:",
        "  late: a1Lamp00001/lamp-01 /sys/x\\x1b[2J",
        "    1 bytes  hex:00",
    ]


def test_a_call_is_told_in_chinese() -> None:
    text = draw_call(view(late_call()), "zh")
    assert "设备应答比 2000 毫秒的时限晚了 1900 毫秒。" in text
    assert "建议：请增大 Timeout" in text
    assert "未被采纳为应答的消息：" in text
    assert "应答: 无" in text


def test_a_call_under_way_has_no_explanation() -> None:
    lines = draw_call(view(a_call((Stage.RECEIVED, 0))), "en").split("\n")
    assert lines[0] == "RRpc a1Lamp00001/lamp-01  under way"
    assert lines[4] == "  received                0.000 ms  ●"


def test_a_rejected_call_names_its_code_and_no_device() -> None:
    call = a_call((Stage.RECEIVED, 0), key=None)
    call.end(Verdict.REJECTED, Diagnosis.REJECTED, "iot.prod.NotExistedProduct")
    call.message_id = 0
    call.unknown_parameters = ["Colour\x07"]
    call.caller_gone = True
    text = draw_call(view(call), "en")
    assert "RRpc -  REJECTED · rejected\nmessage -  " in text
    assert "The request was refused (iot.prod.NotExistedProduct); nothing was sent." in text
    assert "Parameters that the action does not know: Colour\\x07\n" in text
    assert "The caller had hung up" in text


def test_a_custom_topic_is_shown() -> None:
    call = a_call((Stage.RECEIVED, 0))
    call.target = "/a/b"
    assert "\nTopic /a/b\n" in draw_call(view(call), "en")


def test_a_long_payload_is_shown_up_to_its_bound() -> None:
    call = a_call((Stage.RECEIVED, 0))
    call.set_request(b"x" * SHOWN_CHARS_MAX)
    assert f"sent: {SHOWN_CHARS_MAX} bytes  {'x' * SHOWN_CHARS_MAX}\n" in draw_call(view(call), "en")
    call.set_request(b"x" * (SHOWN_CHARS_MAX + 1))
    assert f"sent: {SHOWN_CHARS_MAX + 1} bytes  {'x' * SHOWN_CHARS_MAX}…\n" in draw_call(view(call), "en")


def test_evidence_that_was_dropped_is_counted() -> None:
    call = late_call()
    call.evidence_dropped = 3
    assert draw_call(view(call), "en").endswith("\n  and 3 more")


@pytest.mark.parametrize("diagnosis", list(Diagnosis))
def test_every_diagnosis_is_explained_in_both_languages(diagnosis: Diagnosis) -> None:
    explanation = EXPLANATIONS[diagnosis]
    assert explanation.meaning_en.endswith(".")
    assert explanation.meaning_zh.endswith("。")
    assert explanation.meaning_ja.endswith("。")
    assert bool(explanation.advice_ja) == bool(explanation.advice_en)
    assert (
        bool(explanation.advice_en)
        == bool(explanation.advice_zh)
        == (diagnosis not in (Diagnosis.ANSWERED, Diagnosis.DELIVERED))
    )
    call = a_call((Stage.RECEIVED, 0))
    call.end(Verdict.UNKNOWN, diagnosis, "code")
    for text in (draw_call(view(call), "en"), draw_call(view(call), "zh")):
        assert "{" not in text
    assert explanation.meaning_zh[:3] in draw_call(view(call), "zh")


def test_calls_are_listed_a_line_each() -> None:
    rejected = a_call((Stage.RECEIVED, 0), key=None)
    rejected.message_id = 0
    lines = list(draw_list([view(late_call()), view(rejected)]))
    assert lines[0].split() == ["time", "message", "action", "verdict", "diagnosis", "ms", "device"]
    assert lines[1].split() == [
        "2023-11-14T22:13:20.000Z", "7", "RRpc", "TIMEOUT", "answered-late", "2000.0", "a1Lamp00001/lamp-01"
    ]  # fmt: skip
    assert lines[2].split() == ["2023-11-14T22:13:20.000Z", "-", "RRpc", "-", "-", "0.0", "-"]


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=8))
def test_every_mark_is_inside_the_drawing_and_none_before_the_last(offsets: list[float]) -> None:
    call = a_call(*zip(Stage, sorted(offsets), strict=False))
    drawn = [line for line in draw_call(view(call), "en").split("\n") if line.endswith("●")]
    columns = [line.index("●") - line.index("ms") - 4 for line in drawn]
    assert len(columns) == len(offsets)
    assert columns == sorted(columns)
    assert columns[0] == 0
    assert columns[-1] in (0, WIDTH - 1)


def test_times_are_utc_with_milliseconds() -> None:
    assert format_time(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"

"""One call, drawn: its timeline to scale, what happened in plain words, and what the device sent besides."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from linkstead.cli.text import escape_text, show_bytes
from linkstead.errors import Language
from linkstead.invocation import Diagnosis
from linkstead.invocation.explanation import EXPLANATIONS

WIDTH = 40
"""Columns of the drawing, from the first moment to the last."""

NAME_CHARS = 17
"""Columns for the name of a moment, unless one is longer."""

SHOWN_CHARS_MAX = 200
"""Characters shown of one payload; --json gives all that is kept."""

View = dict[str, Any]
"""A call, or a part of it, as the inspection API gives it."""

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "message": "message",
        "request": "request",
        "account key": "key",
        "at": "at",
        "sent": "sent",
        "answer": "answer",
        "nothing": "nothing",
        "bytes": "{} bytes",
        "advice": "Next: {}",
        "evidence": "Not taken as the answer:",
        "more": "and {} more",
        "gone": "The caller had hung up before the answer could be given.",
        "unknown": "Parameters that the action does not know: {}",
        "running": "under way",
    },
    "zh": {
        "message": "消息 ID",
        "request": "请求 ID",
        "account key": "AccessKey",
        "at": "时间",
        "sent": "下发",
        "answer": "应答",
        "nothing": "无",
        "bytes": "{} 字节",
        "advice": "建议：{}",
        "evidence": "未被采纳为应答的消息：",
        "more": "另有 {} 条",
        "gone": "返回应答之前，调用方已断开。",
        "unknown": "该接口不认识的参数：{}",
        "running": "进行中",
    },
}


def draw_call(view: View, language: Language) -> str:
    """A call as text, several lines, none of them ended by a blank.

    Args:
        view: the call with its payloads and evidence, see `api.call_view`.
    """
    words = _WORDS[language]
    lines = [*_head(view, words), "", *_timeline(view)]
    lines += ["", *_explain(view, language)]
    if view["unknown_parameters"]:
        lines.append(words["unknown"].format(escape_text(", ".join(view["unknown_parameters"]))))
    if view["caller_gone"]:
        lines.append(words["gone"])
    lines += ["", f"{words['sent']}: {_payload(view['request'], words)}"]
    lines.append(f"{words['answer']}: {_payload(view['answer'], words)}")
    lines += _evidence(view, words)
    return "\n".join(line.rstrip() for line in lines)


def draw_list(views: list[View]) -> Iterator[str]:
    """Calls as lines of a table, the heading first."""
    yield f"{'time':<24}  {'message':<19}  {'action':<18}  {'verdict':<8}  {'diagnosis':<26}  {'ms':>9}  device"
    for view in views:
        yield (
            f"{format_time(view['received_ms'])}  {view['message_id'] or '-':<19}  {view['action']:<18}  "
            f"{view['verdict'] or '-':<8}  {view['diagnosis'] or '-':<26}  {_span(view):>9.1f}  {_device(view)}"
        )


def format_time(time_ms: int) -> str:
    """`2026-01-31T12:00:00.000Z`, 24 characters."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _head(view: View, words: dict[str, str]) -> Iterator[str]:
    verdict = view["verdict"] or words["running"]
    yield f"{view['action']} {_device(view)}  {verdict}" + (f" · {view['diagnosis']}" if view["diagnosis"] else "")
    yield f"{words['message']} {view['message_id'] or '-'}  {words['request']} {view['request_id']}"
    at = format_time(view["received_ms"])
    # An asynchronous call has no deadline, and what a service call names is no topic.
    timeout = f"  Timeout {view['timeout_ms']} ms" if view["timeout_ms"] else ""
    yield f"{words['account key']} {view['access_key_id']}  {words['at']} {at}{timeout}"
    if view["target"]:
        kind = "Topic" if view["target"].startswith("/") else "Identifier"
        yield f"{kind} {escape_text(view['target'])}"


def _timeline(view: View) -> Iterator[str]:
    """A line a moment: its name, its distance from the first, and its place between the first and the last."""
    marks = [(moment["stage"], float(moment["offset_ms"]), "●") for moment in view["timeline"]]
    marks += [
        (evidence["reason"], float(max(0, evidence["time_ms"] - view["received_ms"])), "○")
        for evidence in view["evidence"]
    ]
    marks.sort(key=lambda mark: mark[1])
    whole_ms = marks[-1][1] if marks else 0.0
    width = max([NAME_CHARS, *(len(name) + 1 for name, _, _ in marks)])
    before = 0
    for name, offset_ms, sign in marks:
        column = round(offset_ms / whole_ms * (WIDTH - 1)) if whole_ms else 0
        gap = column - before
        yield f"  {name:<{width}}{offset_ms:>12.3f} ms  {' ' * before}{'─' * gap}{sign}"
        before = column


def _explain(view: View, language: Language) -> Iterator[str]:
    if not view["diagnosis"]:
        return
    explanation = EXPLANATIONS[Diagnosis(view["diagnosis"])]
    fills = {name: view[name] for name in ("timeout_ms", "late_by_ms", "code", "request_id")}
    meaning, advice = explanation[:2] if language == "en" else explanation[2:4]
    yield meaning.format(**fills)
    if advice:
        yield _WORDS[language]["advice"].format(advice.format(**fills))


def _evidence(view: View, words: dict[str, str]) -> Iterator[str]:
    if not view["evidence"]:
        return
    yield ""
    yield words["evidence"]
    for evidence in view["evidence"]:
        yield f"  {evidence['reason']}: {evidence['sender']} {escape_text(evidence['topic'])}"
        yield f"    {_payload(evidence['payload'], words)}"
    if view["evidence_dropped"]:
        yield "  " + words["more"].format(view["evidence_dropped"])


def _payload(payload: View, words: dict[str, str]) -> str:
    if not payload["bytes"]:
        return words["nothing"]
    text = escape_text(show_bytes(base64.b64decode(payload["base64"])))
    shown = text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
    return f"{words['bytes'].format(payload['bytes'])}  {shown}"


def _device(view: View) -> str:
    return f"{view['product_key']}/{view['device_name']}" if view["product_key"] else "-"


def _span(view: View) -> float:
    return float(view["timeline"][-1]["offset_ms"]) if view["timeline"] else 0.0

"""A call as a text to attach to a bug report: all that happened, no secret."""

import contextlib
import re
from typing import Any

import msgspec

from linkstead.api.call_view import view_call
from linkstead.console.drawing import draw_timeline, show_payload
from linkstead.invocation import Call
from linkstead.invocation.explanation import explain

REMOVED = "[removed]"
_SECRET = re.compile(r"secret|passw|token|credential|signature|\bsign\b|private.?key|api.?key", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(
    r"""(?P<name>["']?[\w.-]*(?:secret|passw\w*|token|credential|signature|\bsign\b|private.?key|api.?key)[\w.-]*["']?\s*[:=]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&}\]]+)""",
    re.IGNORECASE,
)


def write_report(call: Call, version: str) -> str:
    """A call in Markdown. Of an access key only the first characters; what looks like a secret is removed."""
    meaning, advice = explain(call, "en")
    view = view_call(call, whole=False)
    view["access_key_id"] = shorten_key(call.access_key_id)
    lines = [
        f"# {call.action} {call.key or ''}: {call.verdict or 'under way'}".rstrip(),
        "",
        f"- Linkstead {version}",
        f"- message {call.message_id or '-'}, request {call.request_id}",
        f"- diagnosis: {call.diagnosis or '-'}. {meaning} {advice}".rstrip(),
        *([f"- target: `{call.target}`"] if call.target else []),
        *([f"- code: {call.code}"] if call.code else []),
        "",
        "| moment | after ms |",
        "|---|---:|",
        *(f"| {mark.name} | {mark.offset_ms:.3f} |" for mark in draw_timeline(call)),
        "",
        *_payload("Sent", call.request_payload, call.request_bytes),
        *_payload("Answer", call.answer_payload, call.answer_bytes),
    ]
    for found in call.evidence:
        lines += _payload(f"Not taken ({found.reason}) {found.topic}", found.payload, found.payload_bytes)
    lines += ["## Record", "", "```json", msgspec.json.format(msgspec.json.encode(view)).decode(), "```", ""]
    return "\n".join(lines)


def shorten_key(access_key_id: str) -> str:
    """An access key's id, so that it can be told from others and not used."""
    return access_key_id[:4] + "…"


def _payload(title: str, kept: bytes, size_bytes: int) -> list[str]:
    shown = show_payload(kept, size_bytes)
    if not size_bytes:
        return [f"## {title}: nothing", ""]
    cut = ", the beginning of it" if shown.is_cut else ""
    body = shown.hex if shown.text is None else remove_secrets_from_text(shown.text)
    if shown.json is not None:
        with contextlib.suppress(RecursionError):
            body = msgspec.json.format(msgspec.json.encode(remove_secrets(msgspec.json.decode(kept)))).decode()
    fence = "`" * (3 + max((len(run) for run in re.findall("`+", body)), default=0))
    return [f"## {title}: {size_bytes} bytes{cut}", "", fence, body, fence, ""]


def remove_secrets(value: Any) -> Any:
    """JSON without the values of members whose names say that they are secret."""
    if isinstance(value, dict):
        return {
            name: REMOVED if _SECRET.search(name) and not isinstance(found, dict | list) else remove_secrets(found)
            for name, found in value.items()
        }
    if isinstance(value, list):
        return [remove_secrets(found) for found in value]
    return remove_secrets_from_text(value) if isinstance(value, str) else value


def remove_secrets_from_text(text: str) -> str:
    """Text without what stands behind a name that says it is secret."""
    return _SECRET_IN_TEXT.sub(lambda match: match["name"] + REMOVED, text)

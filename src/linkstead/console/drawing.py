"""What a page draws of a call: its timeline to scale, and its payloads in three ways."""

from dataclasses import dataclass
from typing import Any

import msgspec

from linkstead.invocation import Call

HEX_COLUMNS = 16
HEX_SHOWN_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the timeline. `place` and `before` are per cent of the whole span: here, and at the moment before."""

    name: str
    kind: str
    offset_ms: float
    time_ms: int
    place: float
    before: float


def draw_timeline(call: Call) -> list[Mark]:
    """The moments of a call and what it was sent besides, in order, each with its place to scale."""
    if not call.timeline:
        return []
    first = call.timeline[0]
    found = [
        (moment.stage.value, "stage", (moment.monotonic_s - first.monotonic_s) * 1000, moment.time_ms)
        for moment in call.timeline
    ]
    found += [
        (evidence.reason.value, "stray", float(max(0, evidence.time_ms - first.time_ms)), evidence.time_ms)
        for evidence in call.evidence
    ]
    if call.timeout_ms:
        found.append(("deadline", "deadline", float(call.timeout_ms), first.time_ms + call.timeout_ms))
    found.sort(key=lambda mark: mark[2])
    reached = [mark for mark in found if mark[1] != "deadline"]
    last_ms = reached[-1][2]
    # A deadline far behind what happened would press all that into one point.
    shown = [mark for mark in found if mark[1] != "deadline" or mark[2] <= last_ms * 1.5]
    whole_ms = max(mark[2] for mark in shown)
    marks, before = [], 0.0
    for name, kind, offset_ms, time_ms in shown:
        place = round(offset_ms / whole_ms * 100, 3) if whole_ms else 0.0
        marks.append(Mark(name, kind, offset_ms, time_ms, place, before))
        before = place
    return marks


@dataclass(frozen=True, slots=True)
class Shown:
    """A payload: `text` and `json` are None where it is none. `is_cut`: more was sent than is kept."""

    size_bytes: int
    is_cut: bool
    text: str | None
    json: str | None
    hex: str


def show_payload(kept: bytes, size_bytes: int) -> Shown:
    """A payload as text, as JSON and in hex."""
    return Shown(size_bytes, size_bytes > len(kept), _read_text(kept), _read_json(kept), dump_hex(kept))


def _read_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\r\t" for char in text) else None


def _read_json(data: bytes) -> str | None:
    try:
        value: Any = msgspec.json.decode(data)
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (ValueError, RecursionError):
        return None


def dump_hex(data: bytes) -> str:
    """Lines of an offset, sixteen bytes in hex, and those of them that are letters."""
    lines = []
    for start in range(0, min(len(data), HEX_SHOWN_BYTES_MAX), HEX_COLUMNS):
        part = data[start : start + HEX_COLUMNS]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:06x}  {part.hex(' '):<{HEX_COLUMNS * 3 - 1}}  {letters}")
    if len(data) > HEX_SHOWN_BYTES_MAX:
        lines.append("…")
    return "\n".join(lines)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.console.drawing import HEX_SHOWN_BYTES_MAX, draw_timeline, dump_hex, show_payload
from linkstead.invocation import Call, Evidence, Stage, Stray
from tests.console.records import START_S, make_call


def test_moments_stand_where_they_happened() -> None:
    marks = draw_timeline(make_call(0))
    assert [(mark.name, round(mark.offset_ms), round(mark.place), round(mark.before)) for mark in marks] == [
        ("received", 0, 0, 0),
        ("written", 1, 10, 0),
        ("answered", 10, 100, 10),
    ]


def test_strays_and_a_near_deadline_are_drawn() -> None:
    call = make_call(0, timeout_ms=12)
    call.add_evidence(Evidence(Stray.DUPLICATE, int(START_S * 1000) + 20, "p/d", "/t", b"", 0))
    assert [(mark.name, mark.kind) for mark in draw_timeline(call)][2:] == [
        ("answered", "stage"),
        ("deadline", "deadline"),
        ("duplicate", "stray"),
    ]


def test_a_far_deadline_is_not_drawn() -> None:
    assert "deadline" not in [mark.name for mark in draw_timeline(make_call(0, timeout_ms=5_000))]


def test_a_call_of_one_moment_and_one_of_none_can_be_drawn() -> None:
    call = Call("id", "node")
    assert draw_timeline(call) == []
    call.mark(Stage.RECEIVED, START_S, START_S)
    assert [(mark.place, mark.before) for mark in draw_timeline(call)] == [(0.0, 0.0)]


@pytest.mark.parametrize(
    ("data", "text", "json"),
    [
        (b'{"a":[1]}', '{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}'),
        (b"plain", "plain", None),
        (b"\x00\xff", None, None),
        (b"a\x1b[31m", None, None),
        (b"[" * 5_000, "[" * 5_000, None),
    ],
)
def test_a_payload_is_shown_as_what_it_is(data: bytes, text: str | None, json: str | None) -> None:
    shown = show_payload(data, len(data))
    assert (shown.text, shown.json, shown.is_cut) == (text, json, False)
    assert show_payload(data, len(data) + 1).is_cut


@given(st.binary(max_size=200))
def test_hex_tells_every_byte(data: bytes) -> None:
    lines = dump_hex(data).split("\n") if data else []
    assert bytes.fromhex("".join(line[8 : 8 + 47] for line in lines)) == data


def test_hex_is_bounded() -> None:
    assert not dump_hex(bytes(HEX_SHOWN_BYTES_MAX)).endswith("…")
    assert dump_hex(bytes(HEX_SHOWN_BYTES_MAX + 1)).endswith("…")

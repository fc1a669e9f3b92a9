from hypothesis import given
from hypothesis import strategies as st

from linkstead.cli.text import escape_text, show_bytes


def test_printable_text_stays_as_it_is() -> None:
    assert escape_text("lamp 灯 ✓") == "lamp 灯 ✓"


def test_what_steers_a_terminal_is_escaped() -> None:
    assert escape_text("a\x1b[2Jb\r\nc\x9b\u202e") == "a\\x1b[2Jb\\r\\nc\\x9b\\u202e"


@given(st.text())
def test_escaped_text_is_always_printable(text: str) -> None:
    assert escape_text(text).isprintable()


def test_bytes_are_shown_as_text_when_a_terminal_can() -> None:
    assert show_bytes("灯\tan\n".encode()) == "灯\tan\n"
    assert show_bytes(b"\x1b[2J") == "hex:1b5b324a"
    assert show_bytes(b"\xff\x00") == "hex:ff00"
    assert show_bytes(b"") == ""

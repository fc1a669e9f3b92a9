import json
import logging
import sys

from linkstead.cli.logs import JsonFormatter, TextFormatter


def record(message: str = "device connected", *, failed: bool = False, **extra: object) -> logging.LogRecord:
    exc_info = None
    if failed:
        try:
            raise ValueError("broken")
        except ValueError:
            exc_info = sys.exc_info()
    made = logging.getLogger("linkstead.test").makeRecord(
        "linkstead.test", logging.INFO, "file", 1, message, (), exc_info, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def test_text_is_one_line_with_the_fields_given() -> None:
    line = TextFormatter().format(record(device="pk/dn", peer="", topic="/a b"))
    assert line == '2023-11-14T22:13:20.250Z INFO linkstead.test: device connected device=pk/dn peer="" topic="/a b"'


def test_text_cannot_be_made_two_lines_by_a_peer() -> None:
    line = TextFormatter().format(record("bad topic \n2023 INFO", topic="x\nERROR forged"))
    assert "\n" not in line
    assert 'topic="x\\nERROR forged"' in line


def test_a_traceback_follows_the_line() -> None:
    head, *rest = TextFormatter().format(record(failed=True)).split("\n")
    assert head.endswith("device connected")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: broken"


def test_json_is_one_object_a_line() -> None:
    text = JsonFormatter().format(record("said\n你好", device="pk/dn", count=3, other=object, time="not this"))
    assert "\n" not in text
    fields = json.loads(text)
    assert fields.pop("other") == "<class 'object'>"
    assert fields == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "logger": "linkstead.test",
        "message": "said\n你好",
        "device": "pk/dn",
        "count": 3,
    }


def test_json_has_the_traceback_in_a_field() -> None:
    fields = json.loads(JsonFormatter().format(record(failed=True)))
    assert fields["exception"].endswith("ValueError: broken")

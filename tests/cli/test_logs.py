import asyncio
import io
import json
import logging
import sys

import pytest

from linkstead.cli.logs import JsonFormatter, LineHandler, LineRecord, TextFormatter


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


class Stream(io.StringIO):
    """Counts how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def a_logger(stream: io.StringIO) -> logging.Logger:
    handler = LineHandler(stream)
    handler.setFormatter(TextFormatter())
    logger = logging.Logger("linkstead.test", logging.INFO)  # noqa: LOG001
    logger.addHandler(handler)
    return logger


def test_without_an_event_loop_each_line_is_written_at_once() -> None:
    stream = Stream()
    logger = a_logger(stream)
    logger.info("first")
    logger.info("second")
    assert stream.writes == 2
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == ["first", "second"]


@pytest.mark.asyncio
async def test_lines_of_one_turn_are_written_in_one_go_and_warnings_at_once() -> None:
    stream = Stream()
    logger = a_logger(stream)
    for number in range(3):
        logger.info("device %d connected", number)
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert (stream.writes, len(stream.getvalue().splitlines())) == (1, 3)
    logger.info("before")
    logger.warning("now")
    assert stream.writes == 2
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()[3:]] == ["before", "now"]
    await asyncio.sleep(0)
    assert stream.writes == 2


def test_nothing_fails_when_nobody_reads_the_log_any_more() -> None:
    a_logger(BrokenStream()).info("nobody hears it")


def test_a_lean_record_makes_the_same_line() -> None:
    lean, usual = (
        made("linkstead.test", logging.WARNING, "file", 1, "%s of %s", ("one", "two"), None)
        for made in (LineRecord, logging.LogRecord)
    )
    lean.created = usual.created
    assert TextFormatter().format(lean) == TextFormatter().format(usual)
    assert json.loads(JsonFormatter().format(lean)) == json.loads(JsonFormatter().format(usual))
    named = LineRecord("linkstead.test", logging.INFO, "file", 1, "%(name)s", ({"name": "lamp"},), None)
    assert named.getMessage() == "lamp"

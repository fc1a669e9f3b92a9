"""The log: lines on stderr, for people or as JSON. What is logged holds no secret; nothing here could tell one."""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TextIO

from linkstead.cli.text import escape_text

LogFormat = Literal["text", "json"]

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came by `extra`."""


def set_up_logs(log_format: LogFormat) -> None:
    """Log from INFO upwards, what libraries say from WARNING upwards, to stderr."""
    # No line says where in the source it comes from, nor in which thread: a record costs half without looking for it.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.setLogRecordFactory(LineRecord)
    handler = LineHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("linkstead").setLevel(logging.INFO)


class LineRecord(logging.LogRecord):
    """A record with what a line says of it, made in a third of the time: nobody asks for the file it comes from."""

    def __init__(
        self,
        name: str,
        level: int,
        pathname: str,
        lineno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        sinfo: str | None = None,
    ) -> None:
        if args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]
        self.name, self.msg, self.args = name, msg, args
        self.levelname, self.levelno = logging.getLevelName(level), level
        self.exc_info, self.exc_text, self.stack_info = exc_info, None, sinfo
        self.created = time.time()
        self.msecs = 0.0
        self.pathname = self.filename = self.module = pathname
        self.lineno = lineno


class LineHandler(logging.Handler):
    """Writes lines: what is said in one turn of the event loop in one go, and what is more than news at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        try:
            self._lines.append(f"{self.format(record)}\n")
            loop = asyncio._get_running_loop() if record.levelno < logging.WARNING else None
            if loop is None:
                self.flush()
            elif len(self._lines) == 1:
                loop.call_soon(self.flush)
        except Exception:  # noqa: BLE001
            # Whatever it is, no call fails because nothing can be said about it.
            self.handleError(record)

    def flush(self) -> None:
        """See logging."""
        with self.lock or contextlib.nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                try:
                    self._stream.write("".join(lines))
                    self._stream.flush()
                except (OSError, ValueError):
                    # Who reads it is gone.
                    pass


class TextFormatter(logging.Formatter):
    """`TIME LEVEL logger: message name=value …`, one line; a traceback follows on lines of its own.

    What peers send can be in it, so whatever is not printable is escaped: nobody writes lines of his own into the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        words = [_time(record), record.levelname, f"{record.name}:", escape_text(record.getMessage())]
        words += [f"{name}={_quote(value)}" for name, value in _extra(record).items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields given with it, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        fields = {
            **_extra(record),
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    second_s = int(record.created)
    return f"{_second(second_s)}.{int((record.created - second_s) * 1000):03}Z"


@lru_cache(maxsize=1)
def _second(second_s: int) -> str:
    """The date and time of a second, which most records have from the one before."""
    return datetime.fromtimestamp(second_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


def _quote(value: object) -> str:
    text = escape_text(str(value))
    return f'"{text}"' if " " in text or not text else text

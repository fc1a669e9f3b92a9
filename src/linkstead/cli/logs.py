"""The log: lines on stderr, for people or as JSON. What is logged holds no secret; nothing here could tell one."""

import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from linkstead.cli.text import escape_text

LogFormat = Literal["text", "json"]

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came by `extra`."""


def set_up_logs(log_format: LogFormat) -> None:
    """Log from INFO upwards, what libraries say from WARNING upwards, to stderr."""
    # No line says where in the source it comes from, nor in which thread: a record costs half without looking for it.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("linkstead").setLevel(logging.INFO)


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

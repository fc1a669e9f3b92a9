"""What a simulated server may complain of, and what it may not."""

import logging
import sys

import pytest
from sqlalchemy.exc import OperationalError

from tests.simulation.watch import TroubleWatch


def a_record(error: BaseException | None, **fields: str) -> logging.LogRecord:
    details = (type(error), error, None) if error is not None else None
    record = logging.LogRecord("linkstead", logging.ERROR, __file__, 1, "it failed", (), details)
    vars(record).update(fields)
    return record


def a_cause() -> BaseException:
    """An error that came of the disk."""
    try:
        raise RuntimeError from OperationalError("", None, OSError("disk is full"))
    except RuntimeError:
        error = sys.exc_info()[1]
        assert error is not None
        return error


@pytest.mark.parametrize(
    ("record", "is_told"),
    [
        (a_record(None, fault="no answer in time"), False),
        (a_record(a_cause()), False),
        (a_record(None), True),
        (a_record(None, fault="a field that nobody thought of"), True),
        (a_record(KeyError("session")), True),
        (a_record(KeyError("session"), fault="session"), True),
    ],
)
def test_what_is_not_of_the_disk_or_the_network_is_told(record: logging.LogRecord, is_told: bool) -> None:
    watch = TroubleWatch()
    watch.emit(record)
    assert bool(watch.errors) is is_told

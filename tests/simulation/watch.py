"""What a server complains of, and may."""

import asyncio
import logging
from typing import Any

from sqlalchemy.exc import OperationalError

from linkstead.invocation import NodeFailed
from linkstead.subscription.records import NotKept
from linkstead.uplink.lanes import NotTaken
from tests.rig import ErrorWatch

EXPECTED = (OperationalError, NotKept, NotTaken, NodeFailed)
"""While it cannot reach the disk, or the disk takes nothing, or nodes do not reach each other."""

FAULTS_EXPECTED = ("no answer in time",)
"""What a server says of the disk in the field `fault`, where that bounds how long it is waited for."""


class TroubleWatch(ErrorWatch):
    """Passes over what is to be expected."""

    def emit(self, record: logging.LogRecord) -> None:
        is_named = getattr(record, "fault", None) in FAULTS_EXPECTED
        if not is_named and not _is_expected(record.exc_info[1] if record.exc_info else None):
            super().emit(record)

    def handle_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _is_expected(context.get("exception")):
            super().handle_loop_exception(loop, context)


def _is_expected(fault: BaseException | None) -> bool:
    while fault is not None:
        if isinstance(fault, EXPECTED):
            return True
        fault = fault.__cause__ or fault.__context__
    return False

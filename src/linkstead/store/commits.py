"""Writing that callers wait for, many of them in one transaction: a wait for the disk is paid once for all.

Who comes while a transaction is under way goes with the next, so one caller alone waits for no other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError

from linkstead.invocation import RouterOverloaded
from linkstead.sessions import SavedMessage
from linkstead.store.history import RECORD, CallRow, add_calls
from linkstead.store.sessions import SessionNote, add_messages, write_sessions

COMMIT_ROWS_MAX = 1_000
"""Calls and messages in one transaction; a single caller may bring more."""

COMMIT_CALLERS_MAX = 10_000
"""Callers that wait; one more is refused."""

COMMIT_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of what callers wait for; one who would go past it is refused."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one caller wants kept, all or none of it."""

    calls: Sequence[CallRow]
    messages: Sequence[SavedMessage]

    @property
    def row_count(self) -> int:
        """Calls and messages."""
        return len(self.calls) + len(self.messages)

    @property
    def size_bytes(self) -> int:
        """Bytes of records and payloads."""
        return sum(len(row[RECORD]) for row in self.calls) + sum(len(message.payload) for message in self.messages)


_ROW_FAULTS = (IntegrityError, DataError, InterfaceError, ProgrammingError, ValueError, OverflowError)
"""What a row that cannot be kept is answered with. All else is the database's own trouble, and everybody's."""

Outcome = list[int] | Exception
"""What came of a wish: the ids of its messages, or why it could not be kept."""

WriteTogether = Callable[[Sequence[Wish]], Awaitable[Sequence[Outcome]]]


class Commits:
    """Callers who wait until what they bring is on the disk.

    Args:
        write: writes wishes in one transaction; says of each what came of it, or raises where nothing was written.
    """

    def __init__(self, write: WriteTogether) -> None:
        self._write = write
        self._waiting: deque[tuple[Wish, asyncio.Future[list[int]]]] = deque()
        self._caller_count = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def keep(self, wish: Wish) -> list[int]:
        """Write what a caller brings; it is on the disk when this returns. Returns the ids of its messages.

        Where the caller is cancelled, what was begun still ends before this does.

        Raises:
            RouterOverloaded: `COMMIT_CALLERS_MAX` or `COMMIT_BYTES_MAX` is reached; nothing was written.
        """
        if self._caller_count >= COMMIT_CALLERS_MAX or self._bytes + wish.size_bytes > COMMIT_BYTES_MAX:
            raise RouterOverloaded
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, future))
        self._caller_count += 1
        self._bytes += wish.size_bytes
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def close(self) -> None:
        """Wait until all who wait have been told."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        together: list[tuple[Wish, asyncio.Future[list[int]]]] = []
        try:
            while self._waiting:
                together = self._take()
                outcomes = await self._try([wish for wish, _ in together])
                for (wish, future), outcome in zip(together, outcomes, strict=True):
                    self._caller_count -= 1
                    self._bytes -= wish.size_bytes
                    if isinstance(outcome, Exception):
                        future.set_exception(outcome)
                    else:
                        future.set_result(outcome)
        except BaseException:
            # Ended from outside: nobody who waits may wait for ever.
            for _, future in (*together, *self._waiting):
                future.cancel()
            self._waiting.clear()
            self._caller_count = self._bytes = 0
            raise
        finally:
            self._task = None

    def _take(self) -> list[tuple[Wish, asyncio.Future[list[int]]]]:
        together = [self._waiting.popleft()]
        row_count = together[0][0].row_count
        while self._waiting and row_count + self._waiting[0][0].row_count <= COMMIT_ROWS_MAX:
            together.append(self._waiting.popleft())
            row_count += together[-1][0].row_count
        return together

    async def _try(self, wishes: Sequence[Wish]) -> Sequence[Outcome]:
        try:
            return await self._write(wishes)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            # Whatever it was: it is for those who wait to hear of it.
            return [error] * len(wishes)


def write_together(connection: sa.Connection, notes: Sequence[SessionNote], wishes: Sequence[Wish]) -> list[Outcome]:
    """Write wishes, each wholly or not at all, and before them sessions that their messages may belong to.

    Raises:
        OperationalError: the database cannot write; nothing is written then.
    """
    if notes:
        write_sessions(connection, notes)
    try:
        with connection.begin_nested():
            return _write(connection, wishes)
    except _ROW_FAULTS:
        # It is one of them that cannot be written: which one shows when each is written alone.
        return [_write_alone(connection, wish) for wish in wishes]


def _write(connection: sa.Connection, wishes: Sequence[Wish]) -> list[Outcome]:
    add_calls(connection, [row for wish in wishes for row in wish.calls])
    ids = iter(add_messages(connection, [message for wish in wishes for message in wish.messages]))
    return [[next(ids) for _ in wish.messages] for wish in wishes]


def _write_alone(connection: sa.Connection, wish: Wish) -> Outcome:
    try:
        with connection.begin_nested():
            return _write(connection, [wish])[0]
    except _ROW_FAULTS as error:
        return error

"""Writing that callers wait for, many of them in one transaction: a wait for the disk is paid once for all.

Who comes while a transaction is under way goes with the next, so one caller alone waits for no other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError

from linkstead.clock import Clock, Timer
from linkstead.eager import Waiter
from linkstead.invocation import Call, RouterOverloaded
from linkstead.registry import AlreadyExists, StoreAway
from linkstead.sessions import SavedMessage
from linkstead.store.acceptance import add_accepted
from linkstead.store.history import RECORD, CallRow, add_calls, decode_call, encode_call
from linkstead.store.sessions import SessionNote, add_messages, write_sessions

COMMIT_ROWS_MAX = 1_000
"""Calls and messages in one transaction; a single caller may bring more."""

COMMIT_CALLERS_MAX = 10_000
"""Callers that wait; one more is refused."""

COMMIT_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of what callers wait for; one who would go past it is refused."""


TURNS_WAITED: Final = 2
"""Turns of the event loop before a transaction, in which others may come: each brings all that the network has."""

COMMIT_WAIT_S = 5.0
"""How long a caller waits; a database that says nothing must keep nobody from an answer."""


class Wish:
    """What one caller wants kept, all or none of it.

    Args:
        accepted: calls that go among those accepted a moment ago and not into the history.
        records: those, each as `encode_record` makes it.

    Attributes:
        row_count: calls and messages.
        size_bytes: bytes of records and payloads.
    """

    __slots__ = ("accepted", "calls", "messages", "records", "row_count", "size_bytes")

    def __init__(
        self,
        calls: Sequence[CallRow],
        messages: Sequence[SavedMessage],
        accepted: Sequence[Call] = (),
        records: Sequence[bytes] = (),
    ) -> None:
        self.calls = calls
        self.messages = messages
        self.accepted = accepted
        self.records = records
        self.row_count = len(calls) + len(records) + len(messages)
        self.size_bytes = 0
        for record in records:
            self.size_bytes += len(record)
        for row in calls:
            self.size_bytes += len(row[RECORD])
        for message in messages:
            self.size_bytes += len(message.payload)


def without_acceptance(wish: Wish) -> Wish:
    """The same with all its calls in the history at once. Not to be called in two threads at a time."""
    rows = [encode_call(decode_call(record)) for record in wish.records]
    return Wish([*wish.calls, *rows], wish.messages)


ROW_FAULTS = (AlreadyExists, IntegrityError, DataError, InterfaceError, ProgrammingError, ValueError, OverflowError)
"""What a row that cannot be kept is answered with. All else is the database's own trouble, and everybody's."""

Outcome = list[int] | Exception
"""What came of a wish: the ids of its messages, or why it could not be kept."""

WriteTogether = Callable[[Sequence[Wish]], Awaitable[Sequence[Outcome]]]


class _Caller:
    """One who waits, until it `is_over`."""

    __slots__ = ("is_over", "since_s", "waiter", "wish")

    def __init__(self, wish: Wish, since_s: float) -> None:
        self.wish = wish
        self.since_s = since_s
        self.waiter: Waiter[Outcome] = Waiter()
        self.is_over = False


class Commits:
    """Callers who wait until what they bring is on the disk.

    Each waits as `EagerRunner` lets it: without a task, as there is one for all of them.

    Args:
        write: writes wishes in one transaction; says of each what came of it, or raises where nothing was written.
        undo: called with the ids of messages that were written when their caller had stopped waiting.
        clock: the bound of a wait.
    """

    def __init__(self, write: WriteTogether, undo: Callable[[Sequence[int]], None], clock: Clock) -> None:
        self._write = write
        self._undo = undo
        self._clock = clock
        self._under_way: list[_Caller] = []
        self._timer: Timer | None = None
        self._waiting: deque[_Caller] = deque()
        self._caller_count = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def caller_count(self) -> int:
        """Callers that wait."""
        return self._caller_count

    async def keep(self, wish: Wish) -> list[int]:
        """Write what a caller brings; it is on the disk when this returns. Returns the ids of its messages.

        Where the caller is cancelled, what was begun still ends before this does.

        Raises:
            RouterOverloaded: `COMMIT_CALLERS_MAX` or `COMMIT_BYTES_MAX` is reached; nothing was written.
            StoreAway: it took longer than `COMMIT_WAIT_S`; what is written nevertheless is undone.
        """
        if self._caller_count >= COMMIT_CALLERS_MAX or self._bytes + wish.size_bytes > COMMIT_BYTES_MAX:
            raise RouterOverloaded
        caller = _Caller(wish, self._clock.monotonic_s())
        self._waiting.append(caller)
        self._caller_count += 1
        self._bytes += wish.size_bytes
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            outcome = await caller.waiter
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        # Behind the handler, as compiled code may not wait in one.
        if not caller.is_over:
            caller.waiter = Waiter()
            await caller.waiter
        raise cancelled

    async def close(self) -> None:
        """Wait until all who wait have been told."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        together: list[_Caller] = []
        self._timer = self._clock.call_later(COMMIT_WAIT_S, self._look)
        try:
            while self._waiting:
                for _ in range(TURNS_WAITED):
                    await asyncio.sleep(0)
                if not self._waiting:
                    # They have waited for too long, see `_look`.
                    break
                together = self._under_way = self._take()
                outcomes = await self._try([caller.wish for caller in together])
                for caller, outcome in zip(together, outcomes, strict=True):
                    self._caller_count -= 1
                    self._bytes -= caller.wish.size_bytes
                    if caller.is_over and isinstance(outcome, list):
                        self._undo(outcome)
                    caller.is_over = True
                    caller.waiter.set_result(outcome)
        except BaseException:
            # Ended from outside: nobody who waits may wait for ever.
            for caller in (*together, *self._waiting):
                caller.is_over = True
                caller.waiter.cancel()
            self._waiting.clear()
            self._caller_count = self._bytes = 0
            raise
        finally:
            self._task = None
            self._under_way = []
            self._timer.cancel()

    def _look(self) -> None:
        """Have nobody wait any longer who has waited for too long."""
        since_s = self._clock.monotonic_s() - COMMIT_WAIT_S
        for caller in self._under_way:
            if caller.since_s <= since_s:
                self._give_up(caller)
        while self._waiting and self._waiting[0].since_s <= since_s:
            caller = self._waiting.popleft()
            self._caller_count -= 1
            self._bytes -= caller.wish.size_bytes
            self._give_up(caller)
        left = [caller for caller in (*self._under_way, *self._waiting) if not caller.is_over]
        # Who comes later is looked at then: those before are not over sooner.
        wait_s = left[0].since_s - since_s if left else COMMIT_WAIT_S
        self._timer = self._clock.call_later(wait_s, self._look)

    @staticmethod
    def _give_up(caller: _Caller) -> None:
        caller.is_over = True
        caller.waiter.set_result(StoreAway("what was to be kept was not written in time"))

    def _take(self) -> list[_Caller]:
        together = [self._waiting.popleft()]
        row_count = together[0].wish.row_count
        while self._waiting and row_count + self._waiting[0].wish.row_count <= COMMIT_ROWS_MAX:
            together.append(self._waiting.popleft())
            row_count += together[-1].wish.row_count
        return together

    async def _try(self, wishes: Sequence[Wish]) -> Sequence[Outcome]:
        try:
            return await self._write(wishes)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            # Whatever it was: it is for those who wait to hear of it.
            return [error] * len(wishes)


def write_accepted(
    connection: sa.Connection, notes: Sequence[SessionNote], wishes: Sequence[Wish]
) -> tuple[int, list[Outcome]]:
    """`write_together`, with what of it goes among the accepted calls. Returns their id too, 0 where there are none."""
    records = [record for wish in wishes for record in wish.records]
    return (add_accepted(connection, records) if records else 0), write_together(connection, notes, wishes)


def write_together(connection: sa.Connection, notes: Sequence[SessionNote], wishes: Sequence[Wish]) -> list[Outcome]:
    """Write wishes, and before them sessions that their messages may belong to.

    Raises:
        ROW_FAULTS: one of them cannot be written; then none is to be, and `write_each` says which.
        OperationalError: the database cannot write; nothing is written then.
    """
    if notes:
        write_sessions(connection, notes)
    add_calls(connection, [row for wish in wishes for row in wish.calls])
    ids = iter(add_messages(connection, [message for wish in wishes for message in wish.messages]))
    return [[next(ids) for _ in wish.messages] for wish in wishes]


def write_each(connection: sa.Connection, notes: Sequence[SessionNote], wishes: Sequence[Wish]) -> list[Outcome]:
    """The same where one of them cannot be written: each is, wholly or not at all, with its fault in place of its ids.

    Raises:
        OperationalError: see `write_together`.
    """
    if notes:
        write_sessions(connection, notes)
    return [_write_alone(connection, wish) for wish in wishes]


def _write_alone(connection: sa.Connection, wish: Wish) -> Outcome:
    try:
        with connection.begin_nested():
            return write_together(connection, (), [wish])[0]
    except ROW_FAULTS as error:
        return error

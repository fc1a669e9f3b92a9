"""What may be written a moment later: calls that ended, devices that came and went, and what they reported.

Nothing here makes a call or a connection wait. What is recorded is written in batches; while the database cannot, it
waits, within bounds, and the writing is tried again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

import sqlalchemy as sa

from linkstead.clock import Clock, Timer
from linkstead.invocation import Call
from linkstead.invocation.call import count_kept_bytes
from linkstead.measures import Durations, Sample
from linkstead.registry import DeviceKey, PresenceChange
from linkstead.registry.audit import AuditEntry
from linkstead.store.acceptance import forget_accepted
from linkstead.store.audit import write_audit
from linkstead.store.backlog import LetterNote, NoticeNote, add_letters, write_letter_notes
from linkstead.store.history import CallRow, encode_call, write_calls, write_shared_calls
from linkstead.store.presence import PresenceNote, write_presence
from linkstead.store.segments import is_for_segment, write_segments
from linkstead.store.sessions import SessionNote, drop_messages, write_sessions
from linkstead.store.telemetry import measure_report, newest, write_events, write_points, write_present
from linkstead.store.waiting import Notes, Queue, Waiting
from linkstead.subscription import Notice
from linkstead.telemetry import EventRecord, PropertyPoint

log = logging.getLogger(__name__)

BATCH_ROWS = 500
"""Rows of a kind in one transaction; where as many wait they are written at once."""

BATCH_DELAY_S = 0.05
"""How long what is recorded waits for company."""

HISTORY_QUEUE_MAX = 50_000
"""Calls not written yet, of each kind; beyond it the one that waits longest is dropped and counted.

Asynchronous calls are a kind of their own: the app was told that they are accepted, so no flood of other calls may
push out how they ended.
"""

HISTORY_QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Payload bytes of calls not written yet, of each kind; beyond it likewise."""

REPORT_QUEUE_MAX = 50_000
"""Values of properties and events not written into the history yet; beyond it the oldest is dropped and counted."""

REPORT_QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of these; beyond it likewise."""

NOTICE_QUEUE_MAX = 50_000
"""Notices for subscribers not written yet; beyond it the one that waits longest is dropped and counted."""

NOTICE_QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of these; beyond it likewise."""

AUDIT_QUEUE_MAX = 20_000
"""Entries of the audit log not written yet; beyond it the one that waits longest is dropped and counted."""

AUDIT_ENTRY_BYTES = 1024
AUDIT_QUEUE_BYTES_MAX = AUDIT_QUEUE_MAX * AUDIT_ENTRY_BYTES
"""Bytes of these, each counted as `AUDIT_ENTRY_BYTES`: the texts in them are short."""

RETRY_S_MIN, RETRY_S_MAX = 0.1, 10.0
"""Wait after the first failure; it doubles with each that follows, up to the second figure."""

DROPPED_LOGGED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written in one transaction.

    Of calls `ended` are those that may be together in a segment, `shared` those that other nodes may write of too.
    """

    calls: Sequence[CallRow]
    shared: Sequence[CallRow]
    ended: Sequence[CallRow]
    reports: Sequence[PropertyPoint | EventRecord]
    presence: Sequence[PresenceNote]
    present: Sequence[PropertyPoint]
    sessions: Sequence[SessionNote]
    dropped_messages: Sequence[int]
    notices: Sequence[NoticeNote]
    letters: Sequence[LetterNote]
    audit: Sequence[AuditEntry]
    settled: Sequence[int]


Write = Callable[[Batch], Awaitable[None]]


class _Dropped:
    """Counts what is dropped, and says so once in `DROPPED_LOGGED_EVERY_S`."""

    def __init__(self, what: str, clock: Clock) -> None:
        self.count = 0
        self._what = what
        self._clock = clock
        self._logged_s = -DROPPED_LOGGED_EVERY_S

    def add_one(self) -> None:
        self.count += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s >= DROPPED_LOGGED_EVERY_S:
            self._logged_s = now_s
            log.warning("%s since the start: %d", self._what, self.count)


class Batches:
    """Collects what is recorded, and has it written.

    Args:
        clock: the delay, and the waits between tries.
        write: writes a batch in one transaction, wholly or not at all.
        tell_node: the name of this node, empty where there are no others.
    """

    def __init__(self, clock: Clock, write: Write, tell_node: Callable[[], str]) -> None:
        self._clock = clock
        self._write = write
        self._tell_node = tell_node
        self._dropped_calls = _Dropped("calls dropped from the history", clock)
        self._dropped_reports = _Dropped("reports of devices dropped from the history", clock)
        # Evidence may be added to a call while it waits, so with each goes what it counts for.
        self._calls, self._accepted = (
            Queue[str, Call](HISTORY_QUEUE_MAX, HISTORY_QUEUE_BYTES_MAX, count_dropped)
            for count_dropped in (self._dropped_calls.add_one, self._drop_accepted)
        )
        # Of those accepted the ones of which nothing is in the history, nor was tried to be.
        # Each with the row that has it. Those that had not ended when others were written wait for one more batch.
        self._new: dict[str, int] = {}
        self._late: dict[str, int] = {}
        self._settled: Notes[int, int] = Notes(max)
        self._reports: Queue[int, PropertyPoint | EventRecord] = Queue(
            REPORT_QUEUE_MAX, REPORT_QUEUE_BYTES_MAX, self._dropped_reports.add_one
        )
        self._dropped_notices = _Dropped("messages for subscribers dropped", clock)
        self._notices: Queue[int, NoticeNote] = Queue(
            NOTICE_QUEUE_MAX, NOTICE_QUEUE_BYTES_MAX, self._dropped_notices.add_one
        )
        self._dropped_audit = _Dropped("entries dropped from the audit log", clock)
        self._audit: Queue[int, AuditEntry] = Queue(AUDIT_QUEUE_MAX, AUDIT_QUEUE_BYTES_MAX, self._dropped_audit.add_one)
        self._letters: Notes[int, LetterNote] = Notes(LetterNote.then)
        self._presence: Notes[DeviceKey, PresenceNote] = Notes(PresenceNote.then)
        self._present: Notes[tuple[DeviceKey, str], PropertyPoint] = Notes(newest)
        self._sessions: Notes[DeviceKey, SessionNote] = Notes(lambda _, later: later)
        self._dropped_messages: Notes[int, int] = Notes(max)
        self._all: dict[str, Waiting[Any, Any]] = {
            "calls": self._calls,
            "asynchronous calls": self._accepted,
            "reports": self._reports,
            "devices": self._presence,
            "present values": self._present,
            "sessions": self._sessions,
            "messages to forget": self._dropped_messages,
            "notices": self._notices,
            "letters": self._letters,
            "entries of the audit log": self._audit,
            "accepted calls to forget": self._settled,
        }
        self._report_number = count()
        self._notice_number = count()
        self._audit_number = count()
        self._written_count = 0
        self._failed_count = 0
        self._written_within = Durations()
        self._turn = asyncio.Lock()
        self._flushes: set[asyncio.Task[bool]] = set()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._retry_s = 0.0
        self._is_closed = False

    @property
    def calls_waiting(self) -> int:
        """Calls not written yet; one recorded again while it is being written counts twice."""
        return len(self._calls) + len(self._accepted)

    @property
    def calls_dropped(self) -> int:
        """Calls that were never written."""
        return self._dropped_calls.count

    @property
    def reports_dropped(self) -> int:
        """Values and events that were never written into the history."""
        return self._dropped_reports.count

    @property
    def notices_dropped(self) -> int:
        """Notices that no subscriber will be told of."""
        return self._dropped_notices.count

    @property
    def written_count(self) -> int:
        """Batches written so far."""
        return self._written_count

    def sample(self) -> Iterator[Sample]:
        """What waits to be written, what never will be, and how the writing goes."""
        for kind, waiting in self._all.items():
            yield "linkstead_queue_depth", (f"write-{kind.replace(' ', '-')}",), float(len(waiting))
        for kind, dropped in (
            ("calls", self._dropped_calls),
            ("reports", self._dropped_reports),
            ("notices", self._dropped_notices),
            ("audit", self._dropped_audit),
        ):
            yield "linkstead_dropped_total", (kind,), float(dropped.count)
        yield "linkstead_store_failures_total", (), float(self._failed_count)
        yield "linkstead_store_write_seconds", ("batch",), self._written_within

    def record_call(self, call: Call) -> None:
        """Keep a call to be written as it will be then; once, however often it is recorded meanwhile."""
        if self._is_closed:
            self._dropped_calls.add_one()
            return
        calls = self._accepted if call.is_asynchronous else self._calls
        calls.add(call.request_id, call, count_kept_bytes(call))
        self._arm_for(calls)

    def record_accepted(self, row_id: int, calls: Iterable[Call]) -> None:
        """Keep calls to be written that are on the disk already, in a row of their own that is forgotten then."""
        for call in calls:
            self._new[call.request_id] = row_id
            self.record_call(call)
        if not self._is_closed:
            self._settled.add(row_id, row_id)

    def _drop_accepted(self) -> None:
        # What keeps it in another place stays there; which of them it is nobody knows.
        self._settled.forget(lambda _row_id, _note: True)
        self._dropped_calls.add_one()

    def list_accepted(self, key: DeviceKey, alink_id: int) -> list[Call]:
        """Asynchronous calls to a device that carry this id and are not written yet, or not as they are now."""
        # Only who looks for what is not at hand asks for it: that is not worth an index.
        return [call for call, _ in self._accepted.list() if call.alink_id == alink_id and call.key == key]

    def find_call(self, request_id: str) -> Call | None:
        """A call that is not written yet, or not as it is now; None when there is none of this id."""
        return self._accepted.find(request_id) or self._calls.find(request_id)

    def record_presence(self, change: PresenceChange) -> None:
        """Keep a change to be written, in one with what else becomes of the device meanwhile."""
        if not self._is_closed:
            self._presence.add(change.key, PresenceNote.of(change))
            self._arm_for(self._presence)

    def has_presence(self, key: DeviceKey) -> bool:
        """True while a change of the device is not written yet."""
        return self._presence.find(key) is not None

    def record_reports(self, reports: Sequence[PropertyPoint | EventRecord]) -> None:
        """Keep values and events for the history, and of values which is the present one."""
        for report in reports:
            try:
                size_bytes = measure_report(report)
            except ValueError:
                # No later try would fare better, and it would take the whole batch with it.
                size_bytes = None
            if size_bytes is None or self._is_closed:
                self._dropped_reports.add_one()
                continue
            self._reports.add(next(self._report_number), report, size_bytes)
            if isinstance(report, PropertyPoint):
                self._present.add((report.key, report.identifier), report)
        self._arm_for(self._reports)

    def record_session(self, note: SessionNote) -> None:
        """Keep what becomes of a session to be written, in one with what else becomes of it meanwhile."""
        if not self._is_closed:
            self._sessions.add(note.key, note)
            self._arm_for(self._sessions)

    def concerns_messages(self, key: DeviceKey) -> bool:
        """True while something is not written yet that may be about messages of this device."""
        return len(self._dropped_messages) > 0 or self._sessions.find(key) is not None

    def find_session(self, key: DeviceKey) -> SessionNote | None:
        """What is not written yet of a session, or None."""
        return self._sessions.find(key)

    def drop_message(self, row_id: int) -> None:
        """Keep in mind that a message is to be forgotten."""
        if not self._is_closed:
            self._dropped_messages.add(row_id, row_id)
            self._arm_for(self._dropped_messages)

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        """Keep a notice to be written for each destination, together with the calls recorded before it."""
        note = NoticeNote(tuple(destinations), notice)
        try:
            size_bytes = note.size_bytes
        except ValueError:
            # No later try would fare better, and it would take the whole batch with it.
            size_bytes = None
        if size_bytes is None or self._is_closed:
            self._dropped_notices.add_one()
            return
        self._notices.add(next(self._notice_number), note, size_bytes)
        self._arm_for(self._notices)

    def record_audit(self, entry: AuditEntry) -> None:
        """Keep an entry of the audit log to be written."""
        if self._is_closed:
            self._dropped_audit.add_one()
            return
        self._audit.add(next(self._audit_number), entry, AUDIT_ENTRY_BYTES)
        self._arm_for(self._audit)

    def record_letter(self, note: LetterNote) -> None:
        """Keep in mind what became of a letter."""
        if not self._is_closed:
            self._letters.add(note.row_id, note)
            self._arm_for(self._letters)

    @property
    def has_letters(self) -> bool:
        """True while what became of some letter is not written yet."""
        return len(self._letters) > 0

    def forget_device(self, key: DeviceKey) -> None:
        """Let go of what waits for a device that was deleted."""
        self._presence.forget(lambda name, _: name == key)
        self._sessions.forget(lambda name, _: name == key)
        self._present.forget(lambda name, _: name[0] == key)
        self._reports.forget(lambda _, entry: entry[0].key == key)

    async def flush(self) -> bool:
        """Write all that waits now. False when the database could not: it goes on waiting.

        Who stops waiting for it stops nothing.
        """
        task = asyncio.get_running_loop().create_task(self._flush(is_asked=True))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as error:
            task.cancel()
            given_up = error
        # Behind the handler, as compiled code may not wait in one.
        await asyncio.wait([task])
        raise given_up

    async def _flush(self, *, is_asked: bool = False) -> bool:
        written = True
        async with self._turn:
            batches = -(-self._ready_count() // BATCH_ROWS)
            while written and batches:
                written = await self._write_batch(is_asked)
                batches -= 1
        self._disarm()
        self._arm()
        return written

    async def close(self) -> None:
        """Write what waits, if the database can, and take nothing more."""
        self._is_closed = True
        await self.flush()
        if self._task is not None:
            await self._task
        if self._ready_count():
            left = (f"{len(waiting)} {kind}" for kind, waiting in self._all.items() if len(waiting))
            log.error("closing with %s not written", ", ".join(left))

    def _ready_count(self) -> int:
        """How many wait of the kind that takes longest."""
        # Messages to forget wait for the calls before them: see `_write_batch`.
        behind = self._accepted.ready_count if self._dropped_messages.ready_count else 0
        return max(
            *(waiting.ready_count for waiting in self._all.values()), self._dropped_messages.ready_count + behind
        )

    def _arm_for(self, waiting: Waiting[Any, Any]) -> None:
        # Called for all that is recorded: where a timer runs, and the batch is not full, there is nothing to do.
        if self._timer is None or waiting.ready_count >= BATCH_ROWS:
            self._arm()

    def _arm(self) -> None:
        """Have what waits written: now where it fills a batch and the database works, else after a delay."""
        if self._task is not None or self._is_closed:
            return
        ready_count = self._ready_count()
        if not ready_count:
            return
        if not self._retry_s and ready_count >= BATCH_ROWS:
            self._disarm()
            self._start()
        elif self._timer is None:
            self._timer = self._clock.call_later(self._retry_s or BATCH_DELAY_S, self._start)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._flush()
        finally:
            self._task = None
            self._arm()

    async def _write_batch(self, is_asked: bool) -> bool:
        # A notice may tell how an asynchronous call ended: both are written, or neither. So of these two kinds all that
        # waits is taken, which is more than a batch's rows only after the database could not write for a while. Nor is
        # a message ever forgotten before what became of its call is written.
        calls, shared, ended = self._take_calls(is_asked)
        batch = Batch(
            calls=calls,
            shared=shared,
            ended=ended,
            notices=[note for _, note in self._notices.take(self._notices.ready_count)],
            letters=self._letters.take(BATCH_ROWS),
            audit=[entry for _, entry in self._audit.take(BATCH_ROWS)],
            reports=[report for _, report in self._reports.take(BATCH_ROWS)],
            presence=self._presence.take(BATCH_ROWS),
            present=self._present.take(BATCH_ROWS),
            sessions=self._sessions.take(BATCH_ROWS),
            dropped_messages=self._dropped_messages.take(BATCH_ROWS),
            # After the calls, all of them: what may be forgotten is what they say.
            settled=self._take_settled(),
        )
        began_s = self._clock.monotonic_s()
        try:
            if any(getattr(batch, field.name) for field in fields(batch)):
                await self._write(batch)
        except BaseException as error:
            for waiting in self._all.values():
                waiting.put_back()
            if not isinstance(error, Exception):
                raise
            # Whatever it was: calls and connections go on, and this is tried again.
            self._failed_count += 1
            self._retry_s = min(max(self._retry_s * 2, RETRY_S_MIN), RETRY_S_MAX)
            log.warning("what was recorded cannot be written: %s", getattr(error, "orig", error))
            return False
        for waiting in self._all.values():
            waiting.settle()
        self._retry_s = 0.0
        self._written_count += 1
        self._written_within.add(self._clock.monotonic_s() - began_s)
        return True

    def _take_settled(self) -> list[int]:
        left = set(self._late.values())
        if not left:
            return self._settled.take(self._settled.ready_count)
        taken = self._settled.take(self._settled.ready_count)
        for row_id in taken:
            if row_id in left:
                self._settled.leave(row_id)
        return [row_id for row_id in taken if row_id not in left]

    def _take_calls(self, is_asked: bool) -> tuple[list[CallRow], list[CallRow], list[CallRow]]:
        """Calls to write as rows, those of them that nodes share, and those that may be together in a segment."""
        node = self._tell_node()
        calls: list[CallRow] = []
        shared: list[CallRow] = []
        ended: list[CallRow] = []
        # Tried once more, none of these is new.
        new, late = self._new, self._late
        self._new, self._late = {}, {}
        for queue, limit in ((self._accepted, self._accepted.ready_count), (self._calls, BATCH_ROWS)):
            for name, call in queue.take(limit):
                if call.verdict is None and name in new and not is_asked:
                    # Its device has most likely not had the time to answer; what keeps it stays.
                    self._late[name] = new[name]
                    continue
                try:
                    row = encode_call(call)
                except (ValueError, OverflowError):
                    # No later try would fare better, and it would take the whole batch with it.
                    queue.discard(name)
                else:
                    if is_for_segment(call, row, is_new=name in new or name in late):
                        ended.append(row)
                    elif node and (call.is_asynchronous or call.node != node):
                        shared.append(row)
                    else:
                        calls.append(row)
        for name in reversed(self._late):
            self._accepted.leave(name)
        return calls, shared, ended


def write_batch(connection: sa.Connection, batch: Batch) -> None:
    """Write a batch within a transaction."""
    points = [report for report in batch.reports if isinstance(report, PropertyPoint)]
    events = [report for report in batch.reports if isinstance(report, EventRecord)]
    calls = [*batch.calls, *write_segments(connection, batch.ended)]
    if calls:
        write_calls(connection, calls)
    if batch.shared:
        write_shared_calls(connection, batch.shared)
    if batch.settled:
        forget_accepted(connection, batch.settled)
    if batch.presence:
        write_presence(connection, batch.presence)
    if points:
        write_points(connection, points)
    if events:
        write_events(connection, events)
    if batch.present:
        write_present(connection, batch.present)
    if batch.sessions:
        write_sessions(connection, batch.sessions)
    if batch.dropped_messages:
        drop_messages(connection, batch.dropped_messages)
    if batch.notices:
        add_letters(connection, batch.notices)
    if batch.letters:
        write_letter_notes(connection, batch.letters)
    if batch.audit:
        write_audit(connection, batch.audit)

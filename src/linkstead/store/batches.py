"""What may be written a moment later: calls that ended, and devices that came and went.

Nothing here makes a call or a connection wait. What is recorded is written in batches; while the database cannot, it
waits, within bounds, and the writing is tried again.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from linkstead.clock import Clock, Timer
from linkstead.invocation import Call
from linkstead.registry import DeviceKey, PresenceChange
from linkstead.store.history import CallRow, encode_call
from linkstead.store.presence import PresenceNote

log = logging.getLogger(__name__)

BATCH_ROWS = 500
"""Calls, and devices, in one transaction; where as many wait they are written at once."""

BATCH_DELAY_S = 0.05
"""How long what is recorded waits for company."""

HISTORY_QUEUE_MAX = 50_000
"""Calls not written yet; beyond it the one that waits longest is dropped and counted."""

HISTORY_QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Payload bytes of calls not written yet; beyond it likewise."""

RETRY_S_MIN, RETRY_S_MAX = 0.1, 10.0
"""Wait after the first failure; it doubles with each that follows, up to the second figure."""

DROPPED_LOGGED_EVERY_S = 60.0

Write = Callable[[Sequence[CallRow], Sequence[PresenceNote]], Awaitable[None]]


class Batches:
    """Collects calls and presence, and has them written.

    Args:
        clock: the delay, and the waits between tries.
        write: writes a batch in one transaction, wholly or not at all.
    """

    def __init__(self, clock: Clock, write: Write) -> None:
        self.calls_dropped = 0
        self.calls_waiting = 0
        self._clock = clock
        self._write = write
        # With each call the bytes it was counted for: evidence may be added to it while it waits. The oldest first, and
        # unlike a dict this finds it at once.
        self._calls: OrderedDict[str, tuple[Call, int]] = OrderedDict()
        self._bytes_waiting = 0
        self._presence: dict[DeviceKey, PresenceNote] = {}
        self._presence_under_way: dict[DeviceKey, PresenceNote] = {}
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._retry_s = 0.0
        self._dropped_logged_s = -DROPPED_LOGGED_EVERY_S
        self._is_closed = False

    def record_call(self, call: Call) -> None:
        """Keep a call to be written as it will be then; once, however often it is recorded meanwhile."""
        if self._is_closed:
            self._count_dropped()
            return
        payload_bytes = call.kept_bytes
        known = self._calls.get(call.request_id)
        if known is not None:
            self._let_go(known)
        self._calls[call.request_id] = call, payload_bytes
        self.calls_waiting += 1
        self._bytes_waiting += payload_bytes
        while self._calls and (self.calls_waiting > HISTORY_QUEUE_MAX or self._bytes_waiting > HISTORY_QUEUE_BYTES_MAX):
            self._drop_oldest()
        if self._timer is None or len(self._calls) >= BATCH_ROWS:
            self._arm()

    def record_presence(self, change: PresenceChange) -> None:
        """Keep a change to be written, in one with what else becomes of the device meanwhile."""
        if self._is_closed:
            return
        note = PresenceNote.of(change)
        earlier = self._presence.get(change.key)
        self._presence[change.key] = note if earlier is None else earlier.then(note)
        if self._timer is None or len(self._presence) >= BATCH_ROWS:
            self._arm()

    def has_presence(self, key: DeviceKey) -> bool:
        """True while a change of the device is not written yet."""
        return key in self._presence or key in self._presence_under_way

    def forget_presence(self, key: DeviceKey) -> None:
        """Drop what waits for a device that is deleted."""
        self._presence.pop(key, None)

    async def flush(self) -> bool:
        """Write all that waits now. False when the database could not: it goes on waiting."""
        written = True
        async with self._turn:
            batches = -(-max(len(self._calls), len(self._presence)) // BATCH_ROWS)
            while written and batches:
                written = await self._write_batch()
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
        if self._calls or self._presence:
            log.error("closing with %d calls and %d devices not written", len(self._calls), len(self._presence))

    def _arm(self) -> None:
        """Have what waits written: now where it fills a batch and the database works, else after a delay."""
        if self._task is not None or self._is_closed or not (self._calls or self._presence):
            return
        if not self._retry_s and max(len(self._calls), len(self._presence)) >= BATCH_ROWS:
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
            await self.flush()
        finally:
            self._task = None
            self._arm()

    async def _write_batch(self) -> bool:
        calls = {name: self._calls.pop(name) for name in list(islice(self._calls, BATCH_ROWS))}
        presence = {key: self._presence.pop(key) for key in list(islice(self._presence, BATCH_ROWS))}
        self._presence_under_way = presence
        rows = self._encode(calls)
        try:
            if rows or presence:
                await self._write(rows, list(presence.values()))
        except BaseException as error:
            self._put_back(calls, presence)
            if not isinstance(error, Exception):
                raise
            # Whatever it was: calls and connections go on, and this is tried again.
            self._retry_s = min(max(self._retry_s * 2, RETRY_S_MIN), RETRY_S_MAX)
            log.warning("history and presence cannot be written: %s", getattr(error, "orig", error))
            return False
        finally:
            self._presence_under_way = {}
        for entry in calls.values():
            self._let_go(entry)
        self._retry_s = 0.0
        return True

    def _encode(self, calls: dict[str, tuple[Call, int]]) -> list[CallRow]:
        rows = []
        for name, (call, _) in list(calls.items()):
            try:
                rows.append(encode_call(call))
            except (ValueError, OverflowError):
                # No later try would fare better, and it would take the whole batch with it.
                self._let_go(calls.pop(name))
                self._count_dropped()
        return rows

    def _put_back(self, calls: dict[str, tuple[Call, int]], presence: dict[DeviceKey, PresenceNote]) -> None:
        for name, entry in reversed(calls.items()):
            if name in self._calls:
                self._let_go(entry)
            else:
                self._calls[name] = entry
            self._calls.move_to_end(name, last=False)
        for key, note in presence.items():
            later = self._presence.get(key)
            self._presence[key] = note if later is None else note.then(later)

    def _drop_oldest(self) -> None:
        self._let_go(self._calls.popitem(last=False)[1])
        self._count_dropped()

    def _let_go(self, entry: tuple[Call, int]) -> None:
        self.calls_waiting -= 1
        self._bytes_waiting -= entry[1]

    def _count_dropped(self) -> None:
        self.calls_dropped += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._dropped_logged_s >= DROPPED_LOGGED_EVERY_S:
            self._dropped_logged_s = now_s
            log.warning("calls dropped from the history since the start: %d", self.calls_dropped)

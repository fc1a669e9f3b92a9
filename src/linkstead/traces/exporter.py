"""What waits to be sent to a collector: a bounded queue, emptied by a task that hands batches to a thread."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from linkstead.clock import Clock, Timer
from linkstead.invocation import Call
from linkstead.measures import Sample

log = logging.getLogger(__name__)

QUEUE_MAX = 10_000
"""Calls that wait; one more is dropped and counted."""

BATCH_MAX = 500
DELAY_S = 1.0
"""From the first call that waits to its sending, unless a batch is full before."""

CLOSE_WAIT_S = 5.0
"""For a collector to take what is left at the end."""

DROPPED_LOGGED_EVERY_S = 60.0


class Sender(Protocol):
    """What knows the collector's language."""

    def send(self, calls: Sequence[Call]) -> bool:
        """Send the traces of these calls; called in a thread, and may take seconds. False when they were not taken."""

    def close(self) -> None:
        """Let go of what it holds."""


class TraceExporter:
    """Collects calls that ended, and has their traces sent.

    Args:
        sender: sends them.
        clock: the delay.
    """

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._waiting: deque[Call] = deque()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._logged_s = -DROPPED_LOGGED_EVERY_S
        self._is_closed = False
        self.sent_count = 0
        self.dropped_count = 0

    def take(self, call: Call) -> None:
        """Have the trace of a call sent some time; returns at once."""
        if self._is_closed or len(self._waiting) >= QUEUE_MAX:
            self._drop(1)
            return
        self._waiting.append(call)
        if self._timer is None:
            self._timer = self._clock.call_later(DELAY_S, self._start)
        elif len(self._waiting) == BATCH_MAX:
            self._start()

    def sample(self) -> Iterator[Sample]:
        """What waits, what was dropped."""
        yield "linkstead_queue_depth", ("traces",), float(len(self._waiting))
        yield "linkstead_dropped_total", ("traces",), float(self.dropped_count)

    async def close(self) -> None:
        """Send what waits, if the collector takes it within `CLOSE_WAIT_S`, and take no more."""
        self._is_closed = True
        self._start()
        task = self._task
        if task is not None:
            # A thread cannot be stopped: it is left behind where the collector does not answer.
            await asyncio.wait([task], timeout=CLOSE_WAIT_S)
            task.cancel()
        self._sender.close()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._waiting:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
                if await asyncio.to_thread(self._send, batch):
                    self.sent_count += len(batch)
                else:
                    self._drop(len(batch))
        finally:
            self._task = None

    def _send(self, batch: Sequence[Call]) -> bool:
        try:
            return self._sender.send(batch)
        except Exception:
            # The edge: whatever a library or a collector does, calls go on.
            log.exception("traces could not be sent")
            return False

    def _drop(self, count: int) -> None:
        self.dropped_count += count
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s >= DROPPED_LOGGED_EVERY_S:
            self._logged_s = now_s
            log.warning("traces dropped since the start: %d", self.dropped_count)

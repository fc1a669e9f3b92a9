"""What has to be looked up in the store behind a device's back: tried again while that does not answer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from linkstead.clock import Clock

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[None, None, None]]

LOOKUPS_MAX = 10_000
"""Answers whose call is being looked up in the store; past it an answer is dropped and logged."""

LOOKUP_WAITS_S = (0.1, 0.3, 1.0, 3.0, 5.0)
"""Before a call that could not be looked up is looked up again; the last is repeated up to `LOOKUP_S_MAX`.

None is longer than 5 s: a server that ends soon after the database is back has written by then what it learned.
"""

LOOKUP_S_MAX = 900.0
"""How long it is tried while the store does not answer; then it is given up, and logged."""


class Lookups:
    """Calls that are being looked up, each in a task of its own.

    Args:
        clock: waits before the next try.

    Attributes:
        is_stopping: they are waited for, and what cannot be looked up now is given up.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    @property
    def has_room(self) -> bool:
        """False where there are `LOOKUPS_MAX`."""
        return len(self._tasks) < LOOKUPS_MAX

    def start(self, work: Work) -> asyncio.Task[None] | None:
        """Have something looked up; None where too much is, which is logged."""
        if not self.has_room:
            log.error("too many calls are looked up at once; what came of one more was dropped")
            return None
        task = asyncio.get_running_loop().create_task(self._try(work))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    async def settle(self) -> None:
        """Return when what is being looked up now is."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        """Wait for those under way; what cannot be looked up now is given up."""
        self.is_stopping = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _try(self, work: Work) -> None:
        """Do something again while the store does not answer: what came of a call is told once."""
        tried, until_s = 0, self._clock.monotonic_s() + LOOKUP_S_MAX
        while True:
            try:
                await work()
            except Exception as error:
                if self.is_stopping or self._clock.monotonic_s() >= until_s:
                    raise
                if tried < len(LOOKUP_WAITS_S):
                    log.warning("a call cannot be looked up; it is tried again: %s", error)
            else:
                return
            # Behind the handler, as compiled code may not wait in one.
            await self._clock.sleep(LOOKUP_WAITS_S[min(tried, len(LOOKUP_WAITS_S) - 1)])
            tried += 1

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a call could not be looked up", exc_info=task.exception())

"""An event loop without sockets: when nothing is left to do, it has time pass.

The loop of the machine asks the kernel for news in every turn, and whoever turns a clock under it has to wait for it to
come to rest after each moment. Here the loop knows that it has: it turns the clock itself to the next moment at which
something is due, and wakes whoever let the time pass when that is over.
"""

import asyncio
from asyncio.base_events import BaseEventLoop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple

from linkstead.testing.clock import ManualClock

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
FOR_EVER_S = float("inf")

FINISH_S_MAX = 7_200.0
"""Nothing that is waited for takes so long; without a bound, what goes on beside it would run for ever."""


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class SteppedClock(ManualClock):
    """A clock that can be turned from one moment at which something is due to the next."""

    async def sleep(self, delay_s: float) -> None:
        """See `ManualClock.sleep`."""
        future = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, _wake, future)
        try:
            await future
        finally:
            timer.cancel()

    def step(self, end_s: float) -> bool:
        """Turn it to the next moment at which something is due, if that is not after `end_s`. False when it is."""
        timers = self._timers
        due_s = timers.next_s()
        if due_s > end_s or due_s == FOR_EVER_S:
            return False
        if due_s > self._monotonic_s:
            self._move_to(due_s)
        while timers.next_s() <= due_s:
            timer = timers.take()
            timer.callback(*timer.arguments)
        return True


def _where(task: "asyncio.Task[Any]") -> str:
    """Who waits for whom in a task, the innermost last."""
    waiting: Any = task.get_coro()
    names = []
    while hasattr(waiting, "cr_frame") and waiting.cr_frame is not None:
        names.append(f"{waiting.__qualname__}:{waiting.cr_frame.f_lineno}")
        waiting = waiting.cr_await
    return " > ".join(names)


class _Ready(asyncio.Handle):
    """Something that is to run."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        # That of the base class looks for debuggers first.
        self._callback, self._args, self._context, self._cancelled = callback, args, context, False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


class SimulatedLoop(BaseEventLoop):
    """Runs what is ready, in order; time passes in `pass_time` and `finish` alone.

    Args:
        clock: the time of everybody.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, clock: SteppedClock) -> None:
        super().__init__()
        self._clock = clock
        self._end_s = 0.0
        self._waiter: asyncio.Future[Any] | None = None
        self._is_given_up = False

    async def pass_time(self, seconds: float) -> None:
        """Return once all that is due until then has been done, each moment of it before the next."""
        self._end_s = self._clock.monotonic_s() + seconds
        self._waiter = self.create_future()
        await self._waiter

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Let as much time pass as something takes.

        Raises:
            RuntimeError: nothing is left that could bring it, or it took FINISH_S_MAX.
        """
        self._end_s = self._clock.monotonic_s() + FINISH_S_MAX
        task = self.create_task(work)
        self._waiter = task
        try:
            return await task
        except asyncio.CancelledError as error:
            if not self._is_given_up:
                raise
            raise RuntimeError(*error.args) from None
        finally:
            self._waiter = None

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Ready(callback, args, context or copy_context())
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready = self._ready
        while ready:
            handle: Any = ready.popleft()
            if not handle._cancelled:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                    callback = handle._callback
                    told = {"message": f"exception in {callback!r}", "exception": error, "context": handle._context}
                    self.call_exception_handler(told)
        if not self._stopping:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        waiter = self._waiter
        if waiter is None:
            raise RuntimeError("nothing is left to do, and nobody lets time pass")
        try:
            if self._clock.step(self._end_s):
                return
            if isinstance(waiter, asyncio.Task):
                raise RuntimeError(f"what is waited for does not come: {_where(waiter)}")
            self._clock.advance(max(0.0, self._end_s - self._clock.monotonic_s()))
        except Exception as error:  # noqa: BLE001
            self._end(waiter, error)
        else:
            if not self._ready:
                self._end(waiter, None)

    def _end(self, waiter: "asyncio.Future[Any]", error: Exception | None) -> None:
        self._waiter = None
        if isinstance(waiter, asyncio.Task):
            self._is_given_up = True
            waiter.cancel(str(error))
        elif error is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(None)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

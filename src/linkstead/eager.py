"""Running a coroutine at once, without a task of the event loop's for as long as it needs none.

A task, a future and two turns of the loop cost a call about as much as its signature does. Here a coroutine runs right
away up to where it waits; one that waits for a `Waiter` goes on from there when that is answered, in one turn of the
loop with all others that were answered meanwhile. Only what waits for something else, the store for example, becomes a
task, and is one from then on.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

Result = TypeVar("Result")


class Waiter(Generic[Result]):
    """A result that one coroutine waits for, in a task or started by `EagerRunner`.

    It is as much of a future as a task asks for. Source: the asyncio manual, "Extending", Future lifetime.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_is_cancelled", "_result", "_run")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        self._callback: Callable[[Waiter[Result]], object] | None = None
        self._context: Context | None = None
        self._run: _Run[Any] | None = None
        self._is_cancelled = False
        self._result: Result | None = None

    def __await__(self) -> Generator["Waiter[Result]", None, Result]:
        if self._result is None and not self._is_cancelled:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def set_result(self, result: Result) -> None:
        """Have the coroutine go on with this, in the loop's next turn; a second result is passed over."""
        if self._result is None and not self._is_cancelled:
            self._result = result
            self._wake()

    @property
    def is_answered(self) -> bool:
        """True when there is a result, or it was cancelled."""
        return self._result is not None or self._is_cancelled

    def result(self) -> Result:
        """The result. Raises CancelledError, or InvalidStateError while there is none."""
        if self._is_cancelled:
            raise asyncio.CancelledError
        if self._result is None:
            raise asyncio.InvalidStateError("there is no result yet")
        return self._result

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError where this is waited for. False when there is a result already."""
        if self._result is not None or self._is_cancelled:
            return False
        self._is_cancelled = True
        self._wake()
        return True

    def add_done_callback(self, callback: Callable[["Waiter[Result]"], object], *, context: Context) -> None:
        """Take what a task wants to be called with; there is one at most."""
        self._callback, self._context = callback, context

    def hold(self, run: "_Run[Any]") -> None:
        """The same for a coroutine that `EagerRunner` runs."""
        self._run = run

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that runs."""
        return asyncio.get_running_loop()

    def _wake(self) -> None:
        # Nothing goes on from here: who sets a result is in the middle of something.
        if self._run is not None:
            self._run.runner.wake(self._run)
        elif self._callback is not None:
            asyncio.get_running_loop().call_soon(self._callback, self, context=self._context)


class Patience(Protocol):
    """May give up what a coroutine waits for where nothing else bounds it."""

    def give_up(self, error: Exception) -> bool:
        """Raise this where it waits. False where that is for a `Waiter`: whoever answers it keeps the time."""

    def call_when_over(self, callback: Callable[[], object]) -> None:
        """Have this called once the coroutine has ended."""


class EagerRunner:
    """Runs coroutines, and knows when all have ended."""

    def __init__(self) -> None:
        self.under_way_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken: list[_Run[Any]] = []
        self._all_ended = asyncio.Event()

    def start(
        self,
        coroutine: Coroutine[Any, Any, Result],
        end: Callable[[Result], None],
        fail: Callable[[Exception], None],
        bound: Callable[[Patience], None] | None = None,
    ) -> None:
        """Run a coroutine up to where it waits, and the rest when it can go on.

        Args:
            end: called with the result, at once when there is nothing to wait for.
            fail: called with what the coroutine raised.
            bound: called when it has to wait for something that may never come.
        """
        self.under_way_count += 1
        _Run(self, coroutine, end, fail, bound).step()

    def wake(self, run: "_Run[Any]") -> None:
        """Have a coroutine go on in the loop's next turn, in the order in which they are woken."""
        self._woken.append(run)
        if len(self._woken) == 1:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        woken = self._woken
        self._woken = []
        woken.reverse()
        try:
            while woken:
                woken.pop().step()
        finally:
            # Only what no coroutine should raise gets here, and it is not the fault of those that still wait.
            while woken:
                self.wake(woken.pop())

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it ends, as the loop itself does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count_up(self) -> None:
        """One is under way that nothing here runs; whoever does says when it has ended."""
        self.under_way_count += 1

    def count_down(self) -> None:
        """One has ended."""
        self.under_way_count -= 1
        if not self.under_way_count:
            self._all_ended.set()

    async def drain(self) -> None:
        """Return when nothing is under way."""
        while self.under_way_count:
            self._all_ended.clear()
            await self._all_ended.wait()


class _Run(Generic[Result]):
    """One coroutine."""

    __slots__ = ("_bound", "_coroutine", "_end", "_fail", "runner")

    def __init__(
        self,
        runner: EagerRunner,
        coroutine: Coroutine[Any, Any, Result],
        end: Callable[[Result], None],
        fail: Callable[[Exception], None],
        bound: Callable[[Patience], None] | None,
    ) -> None:
        self.runner = runner
        self._coroutine = coroutine
        self._end = end
        self._fail = fail
        self._bound = bound

    def step(self) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as stop:
            self.runner.count_down()
            self._end(stop.value)
        except Exception as error:  # noqa: BLE001
            self.runner.count_down()
            self._fail(error)
        else:
            if isinstance(awaited, Waiter):
                awaited.hold(self)
            else:
                rest = _Rest(self._coroutine, awaited)
                task = asyncio.get_running_loop().create_task(self._finish(rest))
                rest.task = task
                self.runner.keep(task)
                if self._bound is not None:
                    self._bound(rest)

    async def _finish(self, rest: "_Rest[Result]") -> None:
        try:
            result = await rest
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            self._end(result)
        finally:
            self.runner.count_down()


class _Rest(Generic[Result]):
    """What is left of a coroutine that waits for something, as an awaitable of the task that takes it over."""

    __slots__ = ("_awaited", "_coroutine", "_error", "_has_begun", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Result], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._error: Exception | None = None
        self._has_begun = False
        self.task: asyncio.Task[None] | None = None

    def give_up(self, error: Exception) -> bool:
        if self.task is None or isinstance(self._awaited, Waiter):
            return False
        self._error = error
        if self._has_begun:
            # A task has no other way to be woken; what is cancelled is only its waiting.
            self.task.cancel()
        return True

    def call_when_over(self, callback: Callable[[], object]) -> None:
        if self.task is not None:
            self.task.add_done_callback(lambda _: callback())

    def __await__(self) -> Generator[object, None, Result]:
        coroutine = self._coroutine
        self._has_begun = True
        try:
            while True:
                try:
                    if self._error is not None:
                        raise self._error
                    sent: Any = yield self._awaited
                except BaseException as error:  # noqa: BLE001
                    given_up, self._error = self._error, None
                    self._awaited = coroutine.throw(given_up or error)
                else:
                    self._awaited = coroutine.send(sent)
        except StopIteration as stop:
            result: Result = stop.value
            return result

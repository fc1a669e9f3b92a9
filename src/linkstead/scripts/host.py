"""The children that run scripts, and who runs when.

Of one product one message runs at a time, and products take turns: a script that takes all the time it may takes it
from its own product's messages. With several such scripts a message of another product waits at most
RUN_WALL_TIME_S_MAX for every CHILDREN_MAX of them.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from linkstead.clock import Clock
from linkstead.measures import Sample
from linkstead.models.scripts import SCRIPT_FAILED, SCRIPT_THROTTLED, ScriptError
from linkstead.scripts.frames import LENGTH, OK, READY, FrameError, decode_length, encode_frames

log = logging.getLogger(__name__)

CHILDREN_MAX = 2
RUN_WALL_TIME_S_MAX = 2.0
"""From the moment a child has a message to its answer; then it is killed. Its own limits are tighter, in the time of
the processor.
"""

START_WALL_TIME_S_MAX = 20.0
"""Until a new child takes its first message."""

RUNS_WAITING_MAX = 2_000
RUNS_OF_A_PRODUCT_WAITING_MAX = 500
RUN_BYTES_WAITING_MAX = 64 * 1024 * 1024
"""Messages that wait for a child, of all products and of one, and their bytes as JSON; past it they are throttled."""

# Nothing of the server's own environment: it may hold secrets.
_ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path)}
_COMMAND = (sys.executable, "-P", "-s", "-m", "linkstead.scripts.engine")


class _ChildGone(Exception):
    """The process ended before it answered."""


@dataclass(frozen=True, slots=True)
class _Run:
    product_key: str
    script: str
    function: str
    arguments: bytes
    result: "asyncio.Future[bytes]"


class ScriptHost:
    """Runs scripts in child processes, started when they are needed and kept. Implements `ScriptEngine`.

    Args:
        clock: says when a child has had its time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._waiting: OrderedDict[str, deque[_Run]] = OrderedDict()
        self._running: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting_count = 0
        self.waiting_bytes = 0

    def sample(self) -> Iterator[Sample]:
        """Messages that wait for a script."""
        yield "linkstead_queue_depth", ("scripts",), float(self.waiting_count)

    @property
    def process_ids(self) -> list[int]:
        """Of the children that are there."""
        return [child.process_id for child in (*self._idle, *self._busy) if child.is_alive]

    async def run(self, product_key: str, script: str, function: str, arguments: bytes) -> bytes:
        """See `ScriptEngine.run`."""
        own = self._waiting.get(product_key)
        if (
            self.waiting_count >= RUNS_WAITING_MAX
            or self.waiting_bytes + len(arguments) > RUN_BYTES_WAITING_MAX
            or (own is not None and len(own) >= RUNS_OF_A_PRODUCT_WAITING_MAX)
        ):
            raise ScriptError(SCRIPT_THROTTLED, "too many messages wait for scripts")
        loop = asyncio.get_running_loop()
        new = _Run(product_key, script, function, arguments, loop.create_future())
        self._waiting.setdefault(product_key, deque()).append(new)
        self.waiting_count += 1
        self.waiting_bytes += len(arguments)
        self._start_runs()
        return await new.result

    async def close(self) -> None:
        """End the children. What runs or waits fails."""
        waiting = [run for own in self._waiting.values() for run in own]
        self._waiting.clear()
        self.waiting_count = self.waiting_bytes = 0
        for run in waiting:
            if not run.result.done():
                run.result.set_exception(ScriptError(SCRIPT_FAILED, "the server stops"))
        for child in (*self._idle, *self._busy):
            child.kill()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for child in self._idle:
            await child.end()
        self._idle.clear()

    def _start_runs(self) -> None:
        while len(self._busy) < CHILDREN_MAX and (run := self._take_next()) is not None:
            child = self._idle.pop() if self._idle else _Child(self._clock)
            self._busy.add(child)
            self._running.add(run.product_key)
            task = asyncio.get_running_loop().create_task(self._serve(child, run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take_next(self) -> _Run | None:
        """The first message of the product whose turn it is; that product goes to the end."""
        product_key = next((key for key in self._waiting if key not in self._running), None)
        if product_key is None:
            return None
        own = self._waiting.pop(product_key)
        run = own.popleft()
        if own:
            self._waiting[product_key] = own
        self.waiting_count -= 1
        self.waiting_bytes -= len(run.arguments)
        return run

    async def _serve(self, child: "_Child", run: _Run) -> None:
        try:
            # Whoever asked may have stopped waiting.
            if not run.result.done():
                result = await child.run(run)
                if not run.result.done():
                    run.result.set_result(result)
        except Exception as error:
            if not isinstance(error, ScriptError):
                log.exception("a script could not be run", extra={"product_key": run.product_key})
                error = ScriptError(SCRIPT_FAILED, "the script could not be run")
            if not run.result.done():
                run.result.set_exception(error)
        finally:
            self._busy.discard(child)
            self._running.discard(run.product_key)
            self._idle.append(child)
            self._start_runs()


class _Child:
    """One process, started anew where it has ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._is_overdue = False
        self._is_killed = False

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def process_id(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def run(self, run: _Run) -> bytes:
        """Have a script run. Raises ScriptError; OSError, _ChildGone: no process can be started."""
        process = self._process if self.is_alive else None
        if process is None:
            await self.end()
            process = await self._start()
        try:
            code, text = await self._ask(process, run)
        except _ChildGone:
            await self.end()
            reason = (
                f"ran longer than {RUN_WALL_TIME_S_MAX:g} s" if self._is_overdue else "took too much, or was killed"
            )
            raise ScriptError(SCRIPT_FAILED, f"the script's process ended: it {reason}") from None
        if code == OK:
            return text
        raise ScriptError(int(code), text.decode())

    async def _start(self) -> asyncio.subprocess.Process:
        self._is_killed = False
        self._process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=os.sep,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        if await self._within(START_WALL_TIME_S_MAX, self._process) != (READY, b""):
            raise _ChildGone
        return self._process

    async def _ask(self, process: asyncio.subprocess.Process, run: _Run) -> tuple[bytes, bytes]:
        assert process.stdin is not None
        request = encode_frames(run.script.encode(errors="replace"), run.function.encode(), run.arguments)
        try:
            process.stdin.write(request)
            return await self._within(RUN_WALL_TIME_S_MAX, process)
        except ConnectionError:
            raise _ChildGone from None

    async def _within(self, time_s: float, process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
        """The next answer of the process, which is killed when it does not come in time. Raises _ChildGone."""
        assert process.stdout is not None
        self._is_overdue = False
        timer = self._clock.call_later(time_s, self._kill_overdue)
        try:
            return await _read_frame(process.stdout), await _read_frame(process.stdout)
        except (asyncio.IncompleteReadError, ConnectionError, FrameError):
            raise _ChildGone from None
        finally:
            timer.cancel()

    def _kill_overdue(self) -> None:
        self._is_overdue = True
        self.kill()

    def kill(self) -> None:
        """End the process at once, if it is there. Once: asyncio loses track of one that is dead and killed again."""
        if self._process is not None and self.is_alive and not self._is_killed:
            self._is_killed = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Wait for the process to end; one that is there still reads the end of its input."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()


async def _read_frame(pipe: asyncio.StreamReader) -> bytes:
    return await pipe.readexactly(decode_length(await pipe.readexactly(LENGTH.size)))

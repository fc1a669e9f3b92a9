"""A child process that speaks in lines: what it says on stdout is how a test knows that something happened."""

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

REPOSITORY = Path(__file__).parents[2]
NODE_PROGRAMS = REPOSITORY / "tests" / "node"

LINE_WAIT_S = 20.0
"""For the next line; starting an interpreter on a busy machine is the slowest of it."""

STOP_WAIT_S = 10.0


class ChildFailed(AssertionError):
    """The child ended, or said nothing in time; the text holds what it did say."""


class Child:
    """A child process; as a context manager it is stopped at the end.

    Args:
        command: what to run, its arguments behind it.
        missing: the command that installs what is run and what that needs, for the error when it fails.
        environment: the whole of it; None passes on ours.
        reads_errors: lines of its stderr count as lines of its stdout.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        missing: str,
        environment: Mapping[str, str] | None = None,
        reads_errors: bool = False,
    ) -> None:
        self._command = command
        self._missing = missing
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if reads_errors else subprocess.PIPE,
                env=environment,
                cwd=REPOSITORY,
                text=True,
            )
        except FileNotFoundError:
            raise ChildFailed(f"there is no {command[0]}; run: {missing}") from None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._said: list[str] = []
        self._events: list[dict[str, Any]] = []
        assert self._process.stdout is not None
        self._readers = [threading.Thread(target=self._read_lines, args=(self._process.stdout,), daemon=True)]
        if self._process.stderr is not None:
            reader = threading.Thread(target=self._read_errors, args=(self._process.stderr,), daemon=True)
            self._readers.append(reader)
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_lines(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self, stream: IO[str]) -> None:
        for line in stream:
            self._errors.append(line.rstrip("\n"))

    def line(self, wait_s: float = LINE_WAIT_S) -> str:
        """The next line on stdout.

        Raises:
            ChildFailed: see there.
        """
        try:
            line = self._lines.get(timeout=wait_s)
        except queue.Empty:
            raise ChildFailed(self._report(f"said nothing for {wait_s:.0f} s")) from None
        if line is None:
            self._lines.put(None)
            self._process.wait(STOP_WAIT_S)
            self._readers[-1].join(STOP_WAIT_S)
            raise ChildFailed(self._report(f"ended with {self._process.returncode}"))
        self._said.append(line)
        return line

    def expect(self, event: str, wait_s: float = LINE_WAIT_S, **fields: object) -> dict[str, Any]:
        """The first event of this name and these fields not taken yet: a line that is a JSON object with `event`.

        Events of other names are left for later calls; lines that are no event are passed over.

        Raises:
            ChildFailed: see there.
        """
        deadline_s = time.monotonic() + wait_s
        seen = 0
        while True:
            while seen < len(self._events):
                found = self._events[seen]
                if found["event"] == event and all(found.get(name) == value for name, value in fields.items()):
                    return self._events.pop(seen)
                seen += 1
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise ChildFailed(self._report(f"did not say {event} within {wait_s:.0f} s"))
            message = read_object(self.line(left_s))
            if "event" in message:
                self._events.append(message)

    def say(self, message: Mapping[str, object]) -> None:
        """Write one line of JSON to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def ask(self, message: Mapping[str, object]) -> dict[str, Any]:
        """Write one line of JSON, and read the line that answers it."""
        self.say(message)
        answer = read_object(self.line())
        if not answer:
            raise ChildFailed(self._report("answered with no JSON object"))
        return answer

    def finish(self) -> int:
        """Close its stdin and wait for its end; the exit status."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait(STOP_WAIT_S)

    def stop(self) -> int:
        """Ask it to end (SIGTERM), and make it where it does not; the exit status."""
        self._process.terminate()
        try:
            self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(STOP_WAIT_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return self._process.returncode

    def rest(self) -> list[str]:
        """The lines that nobody took, once it has ended."""
        lines = []
        while (line := self._lines.get(timeout=STOP_WAIT_S)) is not None:
            lines.append(line)
        return lines

    def _report(self, what: str) -> str:
        first = f"{self._command[0]} … {what} (is something not installed? run: {self._missing})"
        lines = [first, *self._said[-20:], "stderr:", *self._errors[-40:]]
        return "\n".join(lines)


def read_object(line: str) -> dict[str, Any]:
    """A line as the JSON object it is; empty when it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

"""The command line as its users have it: as a process, and in this process where nothing else depends on it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from linkstead.cli.main import main
from linkstead.config import Address, parse_address

WAIT_S = 100.0
"""No test waits on purpose: what has not come by then never will, on however busy a machine."""

POLL_S = 0.02
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LINKSTEAD_")}
FREE_PORTS = ("--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")


def invoke(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)


def done(*arguments: str | Path, stdin: bytes | None = None) -> str:
    """What a command says that has to succeed."""
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(status: int, *arguments: str | Path) -> str:
    """The one line that a command says which has to fail so."""
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    line = result.stderr
    assert line.startswith("linkstead: ")
    assert line.count("\n") == 1
    return line


def run(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a process, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "linkstead", *map(str, arguments)],
        cwd=cwd,
        env={**ENVIRONMENT, **(env or {})},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def wait_for(condition: Callable[[], object]) -> None:
    """Watch for something that another process does and does not tell."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(POLL_S)


def is_listening(address: Address) -> bool:
    """True while somebody accepts connections there."""
    with socket.socket() as client:
        return client.connect_ex(address) == 0


@dataclass
class Process:
    """A command that runs."""

    child: subprocess.Popen[bytes]
    folder: Path
    name: str

    @property
    def stdout(self) -> str:
        return (self.folder / f"{self.name}.out").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / f"{self.name}.err").read_text()

    def send(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def end(self) -> int:
        """Its exit status, once it ends."""
        return self.child.wait(WAIT_S)

    def stop(self) -> int:
        """End it as an operator does; its exit status."""
        self.send(signal.SIGTERM)
        return self.end()


@contextlib.contextmanager
def started(
    *arguments: str | Path,
    folder: Path,
    name: str = "process",
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Process]:
    """A command as a process; what it says is in files of the folder. It is killed if the test leaves it running.

    prefix: the program that runs it, which has to become the command itself.
    """
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        child = subprocess.Popen(
            [*prefix, sys.executable, "-m", "linkstead", *map(str, arguments)],
            cwd=folder,
            env={**ENVIRONMENT, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:
        yield Process(child, folder, name)
    finally:
        child.kill()
        child.wait()


@dataclass
class ServerProcess(Process):
    """A server that is ready."""

    ready_file: Path

    def __post_init__(self) -> None:
        self.ready: dict[str, Any] = json.loads(self.ready_file.read_text())

    @property
    def http(self) -> Address:
        return parse_address(self.ready["http"])

    @property
    def mqtt(self) -> Address:
        return parse_address(self.ready["mqtt"])

    @property
    def endpoint(self) -> str:
        return f"http://{self.http}"


@contextlib.contextmanager
def serving(
    command: str,
    *options: str | Path,
    folder: Path,
    name: str = "server",
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[ServerProcess]:
    """`dev` or `serve` on free ports, its data in the folder."""
    ready_file = folder / f"{name}.json"
    files = ("--data", folder / "data", "--ready-file", ready_file)
    with started(command, *FREE_PORTS, *files, *options, folder=folder, name=name, env=env, prefix=prefix) as process:
        wait_for(lambda: ready_file.exists() or process.child.poll() is not None)
        assert ready_file.exists(), process.stderr
        yield ServerProcess(process.child, folder, name, ready_file)

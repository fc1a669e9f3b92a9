"""A NATS server of this machine's own, for workers to speak over: on the loopback, with nothing on the disk."""

import asyncio
import ctypes
import shutil
import signal
import socket
import sys
from pathlib import Path

PROGRAM = "nats-server"
START_WAIT_S = 10.0
STOP_WAIT_S = 5.0
LOOK_S = 0.01
"""Between two looks whether it listens."""

STARTS_MAX = 3
"""Tries to start: a port that is free now may be taken a moment later."""

LOG_BYTES_MAX = 4_096
"""Of what it says, read back when it does not start."""

PR_SET_PDEATHSIG = 1
"""Source: prctl(2)."""

CONFIGURATION = """\
listen: "127.0.0.1:{port}"
ping_interval: "5s"
ping_max: 2
max_payload: 1MB
authorization {{ user: linkstead, password: "{password}" }}
jetstream {{ store_dir: "{folder}", max_memory_store: 64MB, max_file_store: 0 }}
"""


class NatsUnusable(Exception):
    """There is no NATS server, or it does not start; the text says why."""


def find_nats_server() -> str:
    """The program: of the wheel beside this Python, or on PATH.

    Raises:
        NatsUnusable: there is none.
    """
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise NatsUnusable(f"there is no {PROGRAM}, neither of the extra [workers] nor on PATH")
    return found


class OwnNatsServer:
    """A server in a child process. It ends when this process ends, whatever ends it.

    Args:
        folder: of this server alone, which others must not be able to read.
        password: what clients show, of letters and digits.
    """

    def __init__(self, folder: Path, password: str) -> None:
        self._folder = folder
        self._password = password
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """How clients reach it, from the first start on."""
        return f"nats://linkstead:{self._password}@127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it, and return when it listens; later starts take the port of the first.

        Raises:
            NatsUnusable: it does not start.
        """
        program = find_nats_server()
        tries = STARTS_MAX if self._port == 0 else 1
        for left in reversed(range(tries)):
            port = self._port or _find_free_port()
            try:
                await self._start(program, port)
            except NatsUnusable:
                if not left:
                    raise
            else:
                self._port = port
                return

    async def _start(self, program: str, port: int) -> None:
        path, log = self._folder / "nats.conf", self._folder / "nats.log"
        path.touch(0o600)
        path.write_text(CONFIGURATION.format(port=port, password=self._password, folder=self._folder))
        with log.open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                program,
                "-c",
                str(path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # what a terminal sends to all is for the parent alone
                preexec_fn=_end_with_parent,
            )
        self._process = process
        ends_s = asyncio.get_running_loop().time() + START_WAIT_S
        while process.returncode is None and not _is_listening(port):
            if asyncio.get_running_loop().time() > ends_s:
                await self.stop()
            await asyncio.sleep(LOOK_S)
        if process.returncode is not None:
            lines = log.read_bytes()[-LOG_BYTES_MAX:].decode(errors="replace").splitlines()
            raise NatsUnusable(f"{program} does not start: {lines[-1] if lines else process.returncode}")

    async def wait(self) -> int:
        """Return when it has ended, with its exit status."""
        assert self._process is not None, "it was started"
        return await self._process.wait()

    async def stop(self) -> None:
        """End it, if it runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0

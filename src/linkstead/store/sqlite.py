"""The store in an SQLite file: a thread that writes, a thread that reads, and what only SQLite needs to be told.

Several processes may have the file open. A transaction that writes takes the write lock as it begins, so it never has
to be given up half-way because another process wrote meanwhile.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from linkstead.clock import Clock
from linkstead.registry import AlreadyExists, Device, DeviceKey, StoreAway
from linkstead.store import statements
from linkstead.store.claim import FileClaim
from linkstead.store.migration import UnknownRevision, migrate, needs_migration
from linkstead.store.sealing import Vault
from linkstead.store.sql import SqlStore, Statement, StoreUnusable, reason_of

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process's transaction to end before it fails."""

WAL_TRIES_MAX = 5

READ_CACHE_KIB = 512
"""What the reading connection keeps of the file, a quarter of what SQLite would: the system has the rest at hand."""

FILE_MODE = 0o600
"""The file holds secrets. SQLite gives its companions `-wal` and `-shm` the same mode."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


class _Synchronous(StrEnum):
    """When a commit waits for the disk. Source: SQLite manual, PRAGMA synchronous, in WAL mode."""

    FULL = "FULL"
    """Every commit does: it outlives a power cut."""

    NORMAL = "NORMAL"
    """Only checkpoints do: a power cut may undo the latest commits; a crash of the process undoes none."""


class _Job(Generic[Result]):
    """A function that runs in the thread of a lane, and the loop that waits for it."""

    __slots__ = ("_loop", "_work", "future", "is_over")

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Result] = self._loop.create_future()
        self.is_over = False

    def run(self) -> None:
        """Do it. To be called in the thread."""
        try:
            tell = partial(self._end, self._work())
        except BaseException as error:  # noqa: BLE001
            tell = partial(self._fail, error)
        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            log.warning("what the database said came after the event loop had been closed")
        # It would be kept by its own traceback.
        del tell

    def _end(self, result: Result) -> None:
        self.is_over = True
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        self.is_over = True
        if not self.future.done():
            self.future.set_exception(error)


class _Thread:
    """Runs functions one after the other in a thread of its own, at a third of what an executor costs."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._name = name
        self._thread: Thread | None = None
        self._is_ended = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a function. Where the caller is cancelled, what was begun still ends before this does."""
        if self._is_ended:
            raise RuntimeError("the store is not open")
        if self._thread is None:
            self._thread = Thread(target=self._work_off, name=self._name, daemon=True)
            self._thread.start()
        job = _Job(work)
        self._jobs.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            if not job.is_over:
                job.future = asyncio.get_running_loop().create_future()
                await asyncio.wait([job.future])
            if job.future.done() and not job.future.cancelled():
                job.future.exception()
            raise

    def end(self) -> None:
        """End the thread when it has done what was asked of it."""
        self._is_ended = True
        self._jobs.put(None)

    def _work_off(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job


class _Lane:
    """A thread and the connection that only it uses; transactions run there whole, one after the other.

    Args:
        name: for the thread.
        path: the database file.
        begin: the statement that begins a transaction.
    """

    def __init__(self, name: str, path: Path, begin: str) -> None:
        self.statement_count = 0
        self._thread = _Thread(f"linkstead-store-{name}")
        # Parameters hold secrets: no error and no log may show them. The driver leaves it to us to begin transactions.
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            poolclass=sa.NullPool,
            hide_parameters=True,
            connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
        )
        sa.event.listen(self._engine, "begin", self._begin)
        sa.event.listen(self._engine, "before_cursor_execute", self._count)
        self._begin_statement = begin
        self._connection: sa.Connection | None = None
        self._synchronous: _Synchronous | None = None
        self._is_counting = True
        self._is_closed = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a function in the thread. Where the caller is cancelled, what was begun still ends before this does."""
        return await self._thread.run(work)

    async def transact(
        self, synchronous: _Synchronous, is_counted: bool, work: Callable[[sa.Connection], Result]
    ) -> Result:
        """Run a function in a transaction in the thread: committed when it returns, undone when it raises."""
        return await self._thread.run(partial(self._transact, synchronous, is_counted, work))

    def transact_here(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a function in a transaction that changes nothing, in the thread of the caller, who connected too."""
        connection = self._connected()
        with connection.begin():
            return work(connection)

    def disconnect_here(self) -> None:
        """Undo `connect`, in the thread of the caller."""
        self._disconnect()
        self._thread.end()

    async def close(self) -> None:
        """Close the connection and end the thread; harmless when that is done."""
        if not self._is_closed:
            self._is_closed = True
            await self.run(self._disconnect)
            self._thread.end()

    def connect(self, *pragmas: str) -> sa.Connection:
        """Open the file. To be run in the thread, as `set_pragma`."""
        self._connection = self._engine.connect()
        for pragma in pragmas:
            self.set_pragma(pragma)
        return self._connection

    def set_pragma(self, pragma: str) -> None:
        """Set a pragma between two transactions."""
        self.run_alone(f"PRAGMA {pragma}")

    def run_alone(self, statement: str) -> None:
        """Run a statement between two transactions."""
        self._driver().execute(statement).close()

    def set_wal(self) -> None:
        """Have the file kept in WAL mode."""
        for _ in range(WAL_TRIES_MAX - 1):
            try:
                self.set_pragma("journal_mode=WAL")
            except sqlite3.OperationalError:
                # Another process makes the same new file, and here SQLite does not wait for it. For this it does:
                self._driver().execute("BEGIN IMMEDIATE").close()
                self._driver().execute("ROLLBACK").close()
            else:
                return
        self.set_pragma("journal_mode=WAL")

    def _transact(self, synchronous: _Synchronous, is_counted: bool, work: Callable[[sa.Connection], Result]) -> Result:
        connection = self._connected()
        if self._synchronous is not synchronous:
            self.set_pragma(f"synchronous={synchronous}")
            self._synchronous = synchronous
        self._is_counting = is_counted
        with connection.begin():
            return work(connection)

    def _begin(self, connection: sa.Connection) -> None:
        # Past SQLAlchemy, whose way for a statement is thirty functions long.
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute(self._begin_statement).close()
        except sqlite3.Error as error:
            raise DBAPIError.instance(self._begin_statement, None, error, sqlite3.Error) from None

    def _driver(self) -> Any:
        return self._connected().connection.driver_connection

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            raise RuntimeError("the store is not open")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count(self, *_: object) -> None:
        self.statement_count += self._is_counting


class SqliteStore(SqlStore):
    """The store in one SQLite file.

    Args:
        path: the file; made where there is none, in a directory that is there.
        clock: says when batches are written.
        vault: see `SqlStore`.
    """

    def __init__(self, path: Path, clock: Clock, vault: Vault | None = None) -> None:
        super().__init__(clock, vault)
        self._path = path
        self._writer = _Lane("write", path, "BEGIN IMMEDIATE")
        self._reader = _Lane("read", path, "BEGIN")
        self._at_once: _Lane | None = None
        self._claim = FileClaim(path, clock)

    @property
    def statement_count(self) -> int:
        return self._writer.statement_count + self._reader.statement_count

    async def _connect(self) -> None:
        try:
            await self._writer.run(self._open_for_writing)
            await self._reader.run(lambda: self._reader.connect("query_only=ON", f"cache_size=-{READ_CACHE_KIB}"))
        except (OSError, sqlite3.Error, SQLAlchemyError, UnknownRevision) as error:
            await self._disconnect()
            raise StoreUnusable(f"the database {self._path} cannot be used: {reason_of(error)}") from None

    def _open_for_writing(self) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, FILE_MODE))
        connection = self._writer.connect("foreign_keys=ON")
        self._writer.set_wal()
        with connection.begin():
            is_old = needs_migration(connection)
        if is_old:
            # A table made anew takes the place of one that others refer to.
            self._writer.set_pragma("foreign_keys=OFF")
            with connection.begin():
                migrate(connection)
            self._writer.set_pragma("foreign_keys=ON")

    async def claim(self, *, is_alone: bool) -> bool:
        """See `SqlStore.claim`. It lasts until the store is closed. Raises StoreAway."""
        try:
            return await self._claim.take(is_alone=is_alone)
        except OSError as error:
            raise StoreAway(reason_of(error)) from None

    @property
    def rival_pid(self) -> int | None:
        return self._claim.rival_pid

    def find_device_at_once(self, key: DeviceKey) -> Device | None:
        """`find_device` for who cannot wait: it reads here and now, past what is read and written in the threads.

        Always to be called in the same thread.
        """
        if self._at_once is None:
            self._at_once = _Lane("at once", self._path, "BEGIN")
            self._at_once.connect("query_only=ON")
        return self._at_once.transact_here(self._bind(statements.find_device, key))

    async def _scrub(self) -> None:
        try:
            # A page keeps what stood in it before; the file written anew does not, nor does an empty log.
            await self._writer.run(lambda: self._writer.run_alone("VACUUM"))
            await self._writer.run(lambda: self._writer.set_pragma("wal_checkpoint(TRUNCATE)"))
        except sqlite3.Error as error:
            log.warning("the database could not be written anew, and may hold old copies of secrets: %s", error)

    async def _disconnect(self) -> None:
        if self._at_once is not None:
            self._at_once.disconnect_here()
            self._at_once = None
        await self._reader.close()
        await self._writer.close()
        self._claim.give_up()

    async def _read(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return await self._reader.transact(_Synchronous.FULL, True, self._bind(statement, *args, **kwargs))

    async def _write(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return await self._writer.transact(_Synchronous.FULL, True, self._bind(statement, *args, **kwargs))
        except IntegrityError as error:
            field = _violated_field(error)
            if field is None:
                raise
            raise AlreadyExists(field) from None

    async def _write_soon(
        self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        return await self._writer.transact(_Synchronous.NORMAL, False, self._bind(statement, *args, **kwargs))


def _violated_field(error: IntegrityError) -> str | None:
    """The field that must be unique and is not: the last of `device.product_key, device.device_name` in the message."""
    _, found, columns = str(error.orig).partition("UNIQUE constraint failed: ")
    return columns.rpartition(".")[2] if found else None

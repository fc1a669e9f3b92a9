"""The store in a PostgreSQL database: any number of nodes share it, each with a few connections of its own.

A statement runs whole in a transaction, as it does in SQLite, but beside others: what it reads and then writes by, it
locks. Reads are single statements that see what was committed before.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as TurnTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from linkstead.clock import Clock
from linkstead.registry import AlreadyExists, StoreAway
from linkstead.store.migration import UnknownRevision, migrate, needs_migration
from linkstead.store.sealing import SEALED, Vault
from linkstead.store.sql import SqlStore, Statement, StoreUnusable, reason_of
from linkstead.store.tables import metadata
from linkstead.store.urls import hide_password

READ_CONNECTIONS_MAX = 4
WRITE_CONNECTIONS_MAX = 4
BACKGROUND_CONNECTIONS_MAX = 2
"""Connections of a node: those that answers wait for, and those for what is written in the background."""

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 15.0
"""How long a statement may take before it fails: a host that is gone says nothing."""

TURN_TIMEOUT_S = 5.0
"""How long a statement waits for one of the connections before it fails."""

CLAIM = int.from_bytes(b"linkserv")
"""The advisory lock of whoever serves: exclusive for a server that is alone, shared by nodes."""

CLAIM_WAIT_S = 3
"""For the connection of a server that was killed to be noticed as gone by PostgreSQL."""

CLAIM_SETTINGS = {
    "application_name": "linkstead",
    "lock_timeout": f"{CLAIM_WAIT_S}s",
    # A machine that is gone gives its claim back after some 15 s.
    "tcp_keepalives_idle": "6",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}

TRIES_MAX = 5
"""How often a transaction is begun that PostgreSQL gives up for the sake of another."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


class DatabaseAway(OperationalError, StoreAway):
    """PostgreSQL cannot be reached, or says nothing."""


class UnfitValue(DataError, ValueError):
    """A value does not fit its column. That lies in what was to be kept or looked for, and is so the next time too."""


_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Errors of a server that is going, gone or starting, of one that is a standby now, and of a connection that broke."""


class _Places:
    """The hosts that a database may be on: `target_session_attrs` in the URL says which of them will do.

    The driver tries several hosts itself, but a silent one takes all the time there is for the others too.
    """

    def __init__(self, url: str) -> None:
        self._urls = name_places(url)
        self._latest = 0

    async def connect(self, **options: Any) -> Any:
        """Connect to one that will do, first to where that was so last time. Raises what the driver raises."""
        fault: Exception | None = None
        for number in range(self._latest, self._latest + len(self._urls)):
            place = number % len(self._urls)
            try:
                connection = await asyncpg.connect(self._urls[place], timeout=CONNECT_TIMEOUT_S, **options)
            except (OSError, *_AWAY) as error:
                fault = error
            else:
                self._latest = place
                return connection
        assert fault is not None
        raise fault


def name_places(url: str) -> list[str]:
    """A URL for each of the hosts that stand in one."""
    found = re.fullmatch(r"(.*?://(?:[^/?]*@)?)([^/?@]*)(.*)", url)
    return [found[1] + host + found[3] for host in found[2].split(",")] if found else [url]


class _Lane:
    """Connections for statements of a kind.

    Args:
        places: where the database is.
        connections_max: statements beyond these wait for their turn.
        is_transaction: a statement is a transaction; else each of its questions is.
        statement_timeout_s: None: it may take as long as it takes.
    """

    def __init__(
        self,
        places: _Places,
        connections_max: int,
        *,
        is_transaction: bool = True,
        statement_timeout_s: float | None,
    ) -> None:
        self.statement_count = 0
        self._is_transaction = is_transaction
        self._under_way: set[asyncio.Task[Any]] = set()

        async def connect(*_: object, **__: object) -> Any:
            return await places.connect(
                command_timeout=statement_timeout_s, server_settings={"application_name": "linkstead"}
            )

        # Parameters hold secrets: no error and no log may show them.
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=TURN_TIMEOUT_S,
            hide_parameters=True,
            **({} if is_transaction else {"isolation_level": "AUTOCOMMIT"}),
        )
        sa.event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        sa.event.listen(self._engine.sync_engine, "before_cursor_execute", self._prepare, retval=True)
        sa.event.listen(self._engine.sync_engine, "handle_error", _name_error, retval=True)

    async def run(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a function on a connection. Where the caller is cancelled, what was begun still ends before this does.

        Raises:
            DatabaseAway: see there.
        """
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def close(self) -> None:
        """Close all connections once what was begun has ended; harmless when that is done."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._engine.dispose()

    async def _run(self, work: Callable[[sa.Connection], Result]) -> Result:
        for _ in range(TRIES_MAX - 1):
            try:
                return await self._run_once(work)
            except DBAPIError as error:
                if not isinstance(error.orig, asyncpg.TransactionRollbackError):
                    raise
        return await self._run_once(work)

    async def _run_once(self, work: Callable[[sa.Connection], Result]) -> Result:
        try:
            async with self._engine.begin() if self._is_transaction else self._engine.connect() as connection:
                try:
                    return await connection.run_sync(work)
                except TimeoutError:
                    # Not one word more to a server that says nothing, not even that this is undone.
                    await connection.invalidate()
                    raise
        except (OSError, TurnTimeoutError, *_AWAY) as error:
            raise DatabaseAway(None, None, error) from None

    def _prepare(
        self, _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, _is_many: bool
    ) -> tuple[str, Any]:
        self.statement_count += 1
        # PostgreSQL keeps no text with a NUL in it, and whatever an app may name can be written into a history.
        if isinstance(parameters, list):
            return statement, [_without_nul(row) for row in parameters]
        return statement, _without_nul(parameters)


def _without_nul(row: tuple[Any, ...]) -> tuple[Any, ...]:
    if any(type(value) is str and "\x00" in value for value in row):
        return tuple(value.replace("\x00", "\ufffd") if type(value) is str else value for value in row)
    return row


def _name_error(context: sa.ExceptionContext) -> Exception | None:
    """The error as the same is named with SQLite; of what it says the values are taken out, for they may be secrets."""
    cause = context.original_exception.__cause__
    if not isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return None
    cause.detail = None
    if isinstance(cause, asyncpg.DataError):
        cause.args = ("a value does not fit its column",)
    context.original_exception.args = cause.args
    if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(None, None, cause)
    if isinstance(cause, asyncpg.DataError):
        return UnfitValue(None, None, cause)
    if isinstance(cause, _AWAY):
        context.is_disconnect = True
        return DatabaseAway(None, None, cause)
    return OperationalError(None, None, cause)


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    # The database was restarted: rather a new connection than a statement that fails.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class PostgresStore(SqlStore):
    """The store in a PostgreSQL database.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, several hosts and parameters as libpq takes them.
        clock: says when batches are written.
        vault: see `SqlStore`.
    """

    def __init__(self, url: str, clock: Clock, vault: Vault | None = None) -> None:
        super().__init__(clock, vault)
        self._url = url
        # The driver reads the URL: TLS and the rest are told there as everywhere with PostgreSQL.
        places = self._places = _Places(url)
        timeout_s = STATEMENT_TIMEOUT_S
        self._writer = _Lane(places, WRITE_CONNECTIONS_MAX, statement_timeout_s=timeout_s)
        self._reader = _Lane(places, READ_CONNECTIONS_MAX, is_transaction=False, statement_timeout_s=timeout_s)
        self._background = _Lane(places, BACKGROUND_CONNECTIONS_MAX, statement_timeout_s=timeout_s)
        self._lanes = (self._writer, self._reader, self._background)
        self._claim: Any = None

    @property
    def statement_count(self) -> int:
        return self._writer.statement_count + self._reader.statement_count

    async def _connect(self) -> None:
        try:
            if await self._reader.run(needs_migration):
                await self._migrate()
        except (ValueError, SQLAlchemyError, UnknownRevision, asyncpg.InterfaceError) as error:
            await self._disconnect()
            raise StoreUnusable(f"the database {hide_password(self._url)} cannot be used: {reason_of(error)}") from None

    async def claim(self, *, is_alone: bool) -> bool:
        """See `SqlStore.claim`. It lasts as long as a connection of its own. Raises StoreAway."""
        if self._claim is not None:
            # The connection may be lost without anybody's having heard of it.
            claim, self._claim = self._claim, None
            claim.terminate()
        function = "pg_advisory_lock" if is_alone else "pg_advisory_lock_shared"
        connection = None
        try:
            connection = await self._places.connect(command_timeout=STATEMENT_TIMEOUT_S, server_settings=CLAIM_SETTINGS)
            await connection.execute(f"SELECT {function}({CLAIM})")
        except asyncpg.LockNotAvailableError:
            return False
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise StoreAway(reason_of(error)) from None
        else:
            self._claim, connection = connection, None
            return True
        finally:
            if connection is not None:
                connection.terminate()

    @property
    def has_claim(self) -> bool:
        return self._claim is not None and not self._claim.is_closed()

    async def _migrate(self) -> None:
        alone = _Lane(self._places, 1, statement_timeout_s=None)
        try:
            await alone.run(migrate)
        finally:
            await alone.close()

    async def read_clock_ms(self) -> int | None:
        return await self._read(_read_clock_ms)

    async def _scrub(self) -> None:
        # Rows that were changed stand where they stood until their table is written anew.
        tables = ", ".join(where.table.name for where in SEALED.values())
        alone = _Lane(self._places, 1, is_transaction=False, statement_timeout_s=None)
        try:
            await alone.run(lambda connection: connection.exec_driver_sql(f"VACUUM FULL {tables}"))
        finally:
            await alone.close()

    async def _disconnect(self) -> None:
        for lane in self._lanes:
            await lane.close()
        if self._claim is not None:
            # It has said nothing that would have to be ended in order.
            self._claim.terminate()
            self._claim = None

    async def _read(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return await self._reader.run(self._bind(statement, *args, **kwargs))

    async def _write(self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return await self._writer.run(self._bind(statement, *args, **kwargs))
        except IntegrityError as error:
            if not isinstance(error.orig, asyncpg.UniqueViolationError):
                raise
            raise AlreadyExists(_LAST_FIELDS[error.orig.constraint_name]) from None

    async def _write_soon(
        self, statement: Statement[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        return await self._background.run(self._bind(statement, *args, **kwargs))


def _read_clock_ms(connection: sa.Connection) -> int:
    statement = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
    now_ms: int = connection.exec_driver_sql(statement).scalar_one()
    return now_ms


_LAST_FIELDS = {
    str(constraint.name): list(constraint.columns)[-1].name
    for table in metadata.tables.values()
    for constraint in table.constraints
    if isinstance(constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint) and constraint.columns
}
"""By the name of a constraint the last of its columns: as SQLite names the field that must be unique and is not."""

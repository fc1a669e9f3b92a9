"""The server's database, read as it lies there, whatever version wrote it."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Protocol

CONNECT_TIMEOUT_S = 5.0


class DatabaseUnreadable(Exception):
    """It cannot be read; the message says why."""


class Database(Protocol):
    """A database that is read and never changed."""

    name: str
    """As it may be printed."""

    path: Path | None
    """Its file; None where it is not on this machine's disk."""

    def select(self, statement: str, *values: str) -> list[str]:
        """The first column of each row. `?` in the statement stands for a value. Raises DatabaseUnreadable."""


class SqliteDatabase:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path: Path | None = path
        self._uri = f"{path.absolute().as_uri()}?mode=ro"

    def select(self, statement: str, *values: str) -> list[str]:
        """See `Database.select`."""
        try:
            connection = sqlite3.connect(self._uri, uri=True)
            try:
                return [str(row[0]) for row in connection.execute(statement, values)]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise DatabaseUnreadable(str(error)) from None


class PostgresDatabase:
    """A database of a PostgreSQL server.

    Args:
        url: as libpq takes it.
        name: the same without its password.
    """

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.path: Path | None = None
        self._url = url

    def select(self, statement: str, *values: str) -> list[str]:
        """See `Database.select`. Not to be called in an event loop."""
        return asyncio.run(self._select(statement, values))

    async def _select(self, statement: str, values: tuple[str, ...]) -> list[str]:
        # What only clusters have installed.
        try:
            import asyncpg  # noqa: PLC0415
        except ImportError:
            raise DatabaseUnreadable("asyncpg is missing: pip install 'linkstead[cluster]'") from None
        first, *others = statement.split("?")
        numbered = first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))
        try:
            connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=CONNECT_TIMEOUT_S)
            try:
                return [str(row[0]) for row in await connection.fetch(numbered, *values)]
            finally:
                await connection.close()
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnreadable(str(error) or "it does not answer") from None

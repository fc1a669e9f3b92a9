from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.clock import Clock
from linkstead.store import SqliteStore
from linkstead.store.postgres import PostgresStore
from linkstead.store.sql import SqlStore
from linkstead.testing.clock import ManualClock
from tests.postgres import PostgresServer

ENGINES = ("sqlite", "postgres")
"""Every engine; the suite runs on each."""

StoreMaker = Callable[[Clock], AbstractAsyncContextManager[SqlStore]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=ENGINES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreMaker:
    """Makes a store without any records, to be opened."""

    @asynccontextmanager
    async def make_sqlite(clock: Clock) -> AsyncIterator[SqlStore]:
        yield SqliteStore(tmp_path / "linkstead.db", clock)

    if request.param == "sqlite":
        return make_sqlite
    server: PostgresServer = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("postgres_template")

    @asynccontextmanager
    async def make_postgres(clock: Clock) -> AsyncIterator[SqlStore]:
        async with server.copied(template) as url:
            yield PostgresStore(url, clock)

    return make_postgres


@pytest_asyncio.fixture
async def store(make_store: StoreMaker, clock: ManualClock) -> AsyncIterator[SqlStore]:
    """An open store without any records."""
    async with make_store(clock) as store:
        await store.open()
        yield store
        await store.close()

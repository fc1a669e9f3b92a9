from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.clock import Clock
from linkstead.store import SqliteStore
from linkstead.store.sql import SqlStore
from linkstead.testing.clock import ManualClock

ENGINES: dict[str, Callable[[Path, Clock], SqlStore]] = {
    "sqlite": lambda directory, clock: SqliteStore(directory / "linkstead.db", clock),
}
"""Every engine; the suite runs on each."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqlStore]:
    """An open store without any records."""
    store = ENGINES[request.param](tmp_path, clock)
    await store.open()
    yield store
    await store.close()

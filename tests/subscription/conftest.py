from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.subscription.desk import Desk


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    """An open store without any records."""
    store = SqliteStore(tmp_path / "linkstead.db", clock)
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def desk(store: SqliteStore, clock: ManualClock) -> AsyncIterator[Desk]:
    desk = Desk(store, clock)
    yield desk
    await desk.dispatcher.stop()

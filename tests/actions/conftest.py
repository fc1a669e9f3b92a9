from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.actions.world import World


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    store = SqliteStore(tmp_path / "linkstead.db", clock)
    await store.open()
    world = World(store, clock)
    await world.add_accounts()
    yield world
    await store.close()

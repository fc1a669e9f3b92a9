from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.actions.world import World


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    path = tmp_path / "linkstead.db"
    store = SqliteStore(path, clock)
    await store.open()
    world = World(path, store, clock)
    await world.add_accounts()
    yield world
    await store.close()

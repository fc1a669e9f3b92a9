import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.fakes import KEY
from tests.uplink.bench import Bench, fill


@pytest.fixture(scope="session")
def lamps_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lamps") / "linkstead.db"
    asyncio.run(fill(path))
    return path


@pytest_asyncio.fixture
async def store(lamps_database: Path, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "linkstead.db"
    shutil.copyfile(lamps_database, path)
    store = SqliteStore(path, ManualClock())
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def bench(store: SqliteStore) -> AsyncIterator[Bench]:
    bench = Bench(store, ManualClock())
    # As it is when a device has connected.
    await bench.registry.find_topic_classes(KEY.product_key)
    yield bench
    for task in bench.tasks:
        task.cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)
    await bench.uplink.drain()

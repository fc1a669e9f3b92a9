from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from linkstead.server import DATABASE_FILE
from linkstead.testing.clock import ManualClock
from tests.actions.world import World
from tests.invocation.deliveries import opened


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path / DATABASE_FILE, ManualClock()) as world:
        yield world

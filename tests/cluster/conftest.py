"""Real nodes on a real PostgreSQL and three real NATS servers."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cli.processes import ServerProcess
from tests.cluster.field import Lamp, add_lamps, name_lamps, serving_nodes
from tests.nats_server import NatsServer, running_nats_cluster
from tests.postgres import PostgresServer

LAMP_COUNT = 24


@pytest.fixture
def nats_cluster(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Three NATS servers of a cluster, of which a test may kill some."""
    with running_nats_cluster(tmp_path) as servers:
        yield servers


@pytest_asyncio.fixture
async def field_database(postgres: PostgresServer, filled_postgres: str) -> AsyncIterator[str]:
    """A PostgreSQL database with `LAMP_COUNT` lamps."""
    async with postgres.copied(filled_postgres) as url:
        await add_lamps(url, name_lamps(LAMP_COUNT))
        yield url


@pytest.fixture
def nodes(tmp_path: Path, field_database: str, nats_cluster: list[NatsServer]) -> Iterator[list[ServerProcess]]:
    """Three nodes."""
    with serving_nodes(tmp_path, field_database, nats_cluster) as servers:
        yield servers


@pytest_asyncio.fixture
async def lamps() -> AsyncIterator[list[Lamp]]:
    """The lamps, none of them connected."""
    async with contextlib.AsyncExitStack() as stack:
        made = [Lamp(key) for key in name_lamps(LAMP_COUNT)]
        for lamp in made:
            stack.push_async_callback(lamp.close)
        yield made

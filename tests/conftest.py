import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from hypothesis import settings

from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store import SqliteStore
from linkstead.store.postgres import PostgresStore
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer, running_nats
from tests.postgres import PostgresServer
from tests.rig import Certificate, ErrorWatch, Rig, RigStarter, fill, make_certificate, running, running_pair

# A busy machine is no fault of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ONE_NODE, TWO_NODES, TWO_WORKERS = "one node", "two nodes", "two workers"
ON_BOTH_ENGINES = {"test_services", "test_leases"}
"""Tests of the whole server that run on PostgreSQL every time."""

ON_WORKERS = {"test_rrpc_verdicts", "test_rrpc_strays"}
"""Those that run with app and device on different workers of a machine every time."""

PLUGIN = "linkstead.testing.plugin"

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_configure(config: pytest.Config) -> None:
    """Have the plugin of ours as its users have it, installed or not."""
    config.pluginmanager.import_plugin(PLUGIN)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """What opens a server's sockets runs on both loops: `serve` takes uvloop where there is one."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if {"start_rig", "start_loop_watch"} & set(getattr(item, "fixturenames", ())):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
def start_loop_watch(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], None]]:
    """To be called in the loop: what reaches its exception handler fails the test."""
    watch = ErrorWatch()
    yield lambda: asyncio.get_running_loop().set_exception_handler(watch.handle_loop_exception)
    assert not watch.errors


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def filled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / DATABASE_FILE
    asyncio.run(fill(SqliteStore(path, SystemClock())))
    return path


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server for all tests that do not stop it; clusters are told apart by their names."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs."""
    with contextlib.closing(PostgresServer()) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a database with tables and no records, to be copied."""

    async def make() -> str:
        name = await postgres.make_database()
        store = PostgresStore(postgres.url(name), ManualClock())
        await store.open()
        await store.close()
        await postgres.keep_as_template(name)
        return name

    return asyncio.run(make())


@pytest.fixture(scope="session")
def filled_postgres(postgres: PostgresServer) -> str:
    """The name of a database like `filled_database`, to be copied."""

    async def make() -> str:
        name = await postgres.make_database()
        await fill(PostgresStore(postgres.url(name), SystemClock()))
        await postgres.keep_as_template(name)
        return name

    return asyncio.run(make())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What starts a server runs on both engines, on PostgreSQL mostly among the long tests.

    What is marked `on_two_nodes` runs on one node, and with app and device on different ones, and workers.
    """
    module = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames:
        marks = () if module in ON_BOTH_ENGINES else pytest.mark.long
        metafunc.parametrize("engine", ["sqlite", pytest.param("postgres", marks=marks)])
    if metafunc.definition.get_closest_marker("on_two_nodes") and "start_rig" in metafunc.fixturenames:
        workers = pytest.param(TWO_WORKERS, marks=() if module in ON_WORKERS else pytest.mark.long)
        metafunc.parametrize("start_rig", [ONE_NODE, TWO_NODES, workers], indirect=True)


DatabaseMaker = Callable[[], contextlib.AbstractAsyncContextManager[dict[str, Any]]]


@pytest.fixture
def copy_database(engine: str, request: pytest.FixtureRequest) -> DatabaseMaker:
    """Makes a copy of the filled database for a server, and says how `running` is told of it."""
    if engine == "sqlite":
        filled: Path = request.getfixturevalue("filled_database")

        @contextlib.asynccontextmanager
        async def name_file() -> AsyncIterator[dict[str, Any]]:
            yield {"filled": filled}

        return name_file
    template: str = request.getfixturevalue("filled_postgres")
    server: PostgresServer = request.getfixturevalue("postgres")

    @contextlib.asynccontextmanager
    async def copy() -> AsyncIterator[dict[str, Any]]:
        async with server.copied(template) as url:
            yield {"filled": None, "database": url}

    return copy


@pytest_asyncio.fixture
async def start_rig(
    request: pytest.FixtureRequest, copy_database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RigStarter]:
    """Starts servers with settings of the test's own; each is two nodes where the test is `on_two_nodes`, once more."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Rig:
            folder = tmp_path_factory.mktemp("data")
            database = await stack.enter_async_context(copy_database())
            if getattr(request, "param", ONE_NODE) == ONE_NODE:
                return await stack.enter_async_context(running(folder=folder, **database, **settings))
            nats: NatsServer = request.getfixturevalue("nats_server")
            near = request.param == TWO_WORKERS
            return await stack.enter_async_context(
                running_pair(folder=folder, nats_url=nats.url, near=near, **database, **settings)
            )

        yield start


@pytest_asyncio.fixture
async def rig(start_rig: RigStarter) -> Rig:
    """A server with the usual settings."""
    return await start_rig()

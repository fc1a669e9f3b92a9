import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from hypothesis import settings

from linkstead.server import DATABASE_FILE
from tests.nats_server import NatsServer, running_nats
from tests.rig import Certificate, ErrorWatch, Rig, RigStarter, fill, make_certificate, running, running_pair

# A busy machine is no fault of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ONE_NODE, TWO_NODES = "one node", "two nodes"
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


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
    asyncio.run(fill(path))
    return path


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server for all tests that do not stop it; clusters are told apart by their names."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture
async def start_rig(
    request: pytest.FixtureRequest, filled_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RigStarter]:
    """Starts servers with settings of the test's own; each is two nodes where the test is `on_two_nodes`, once more."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Rig:
            folder = tmp_path_factory.mktemp("data")
            if getattr(request, "param", ONE_NODE) == ONE_NODE:
                return await stack.enter_async_context(running(filled_database, folder, **settings))
            nats: NatsServer = request.getfixturevalue("nats_server")
            return await stack.enter_async_context(running_pair(filled_database, folder, nats.url, **settings))

        yield start


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked `on_two_nodes` and has a server is run on one node, and with app and device on different ones."""
    if metafunc.definition.get_closest_marker("on_two_nodes") and "start_rig" in metafunc.fixturenames:
        metafunc.parametrize("start_rig", [ONE_NODE, TWO_NODES], indirect=True)


@pytest_asyncio.fixture
async def rig(start_rig: RigStarter) -> Rig:
    """A server with the usual settings."""
    return await start_rig()

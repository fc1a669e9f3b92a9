import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from linkstead.server import SystemClock
from tests.cli.processes import ServerProcess, serving
from tests.console.browser import Tab, launch, open_tab
from tests.rig import Rig, running


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A development server for all tests that look at its pages."""
    with serving("dev", folder=tmp_path_factory.mktemp("console")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, dev: ServerProcess) -> AsyncIterator[BrowserContext]:
    """A browser that has not been here before."""
    context = await browser.new_context(base_url=dev.endpoint, locale="en-US", timezone_id="Asia/Tokyo")
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(context: BrowserContext) -> AsyncIterator[Tab]:
    """A tab in which nothing may go wrong unnoticed."""
    async with open_tab(context) as tab:
        yield tab


@pytest_asyncio.fixture(loop_scope="session")
async def start_server(
    filled_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[], Awaitable[Rig]]]:
    """Starts a server in this process, on the machine's own clock."""
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> Rig:
            folder = tmp_path_factory.mktemp("data")
            return await stack.enter_async_context(running(filled_database, folder, clock=SystemClock()))

        yield start

"""A real browser on a real server, and what every page of the console is held to."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Playwright, expect

from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET
from tests.cli.processes import ServerProcess, invoke

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE_WIDTH = 360
WAIT_MS = 30_000
"""No test waits on purpose: what has not come by then never will."""

expect.set_options(timeout=WAIT_MS)


async def launch(playwright: Playwright) -> Browser:
    """The system's Chromium."""
    return await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))


@dataclass
class Tab:
    """A page, and what the browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    async def log_in(
        self, access_key_id: str = DEMO_ACCESS_KEY_ID, secret: str = DEMO_ACCESS_KEY_SECRET, path: str = "/console/"
    ) -> None:
        """Ask for a page, and log in on the way."""
        await self.page.goto(path)
        await self.page.locator("#name").fill(access_key_id)
        await self.page.locator("#secret").fill(secret)
        await self.page.locator("form[action='/console/login'] button").click()
        await expect(self.page.locator("header nav")).to_be_visible()

    async def check_page(self) -> None:
        """No serious fault for those who cannot see or use a mouse, and nothing wider than a phone."""
        await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults = [
            (fault["id"], [(node["target"], node["failureSummary"]) for node in fault["nodes"]])
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert not faults, (self.page.url, faults)
        size = self.page.viewport_size
        assert size is not None
        await self.page.set_viewport_size({"width": PHONE_WIDTH, "height": 740})
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        await self.page.set_viewport_size(size)
        assert width <= PHONE_WIDTH, (self.page.url, width)


def call(dev: ServerProcess, text: str, device: str = "lamp-01") -> None:
    """A call as an application makes it."""
    result = invoke("call", "rrpc", "a1LinkDemo0", device, text, "--endpoint", dev.endpoint, "--timeout-ms", "1000")
    assert result.exit_code in (0, 1), result.output


@contextlib.asynccontextmanager
async def open_tab(context: BrowserContext) -> AsyncIterator[Tab]:
    """A tab; at its end the browser must not have complained of anything that was not taken out of the list."""
    tab = Tab(await context.new_page())
    tab.page.set_default_timeout(WAIT_MS)
    tab.page.on("console", lambda said: tab.complaints.append(said.text) if said.type in ("error", "warning") else None)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    yield tab
    assert not tab.complaints
    await tab.page.close()

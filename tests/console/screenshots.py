"""Takes the pictures of the console that the documentation shows.

Usage: python -m tests.console.screenshots [DIRECTORY]
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.cli.processes import ServerProcess, done, serving
from tests.console.browser import Tab, call, launch

DIRECTORY = Path(__file__).parents[2] / "docs" / "images" / "console"
PRODUCT = "/console/products/a1LinkDemo0"
PAGES = {
    "overview": "/console/",
    "calls": "/console/calls",
    "products": "/console/products",
    "product": PRODUCT,
    "model": PRODUCT + "/model",
    "script": PRODUCT + "/script",
    "devices": "/console/devices",
    "device": "/console/devices/a1LinkDemo0/lamp-01",
    "explorer": "/console/explorer/RRpc?ProductKey=a1LinkDemo0&DeviceName=lamp-01",
    "errors": "/console/errors?text=OFFLINE",
    "faults": "/console/faults",
}
SIZE = (1280, 860)
LOW = {"calls": 520, "device": 760}
"""Heights of pages that are full of text: no picture has more than 120 KB."""

CALLED_S = float(os.environ.get("CALLED_S", "150"))
"""How long devices are called, for the charts."""


def call_for_a_while(server: ServerProcess) -> None:
    """Calls of the simulated devices, now more and now fewer, and some of a device that is not there."""
    draw = random.Random(1)
    ends_s = time.monotonic() + CALLED_S
    while time.monotonic() < ends_s:
        number = draw.randrange(10)
        call(server, f'{{"brightness":{number * 10}}}', device="my-device" if not number else f"lamp-0{number % 3 + 1}")
        time.sleep(draw.random() / 4)


async def take(directory: Path) -> None:
    """Every page, light and dark."""
    with serving("dev", folder=Path(tempfile.mkdtemp())) as server:
        call_for_a_while(server)
        for words in ("drop-answer --device lamp-01 --nth 2", "delay-answer --delay-ms 9000"):
            done("fault", "add", *words.split(), "--endpoint", server.endpoint)
        async with async_playwright() as playwright:
            browser = await launch(playwright)
            for scheme in ("light", "dark"):
                context = await browser.new_context(
                    base_url=server.endpoint,
                    color_scheme="dark" if scheme == "dark" else "light",
                    viewport={"width": SIZE[0], "height": SIZE[1]},
                    timezone_id="UTC",
                )
                tab = Tab(await context.new_page())
                await tab.page.goto("/console/login")
                await tab.page.screenshot(path=directory / f"login-{scheme}.png")
                await tab.log_in()
                for name, path in PAGES.items():
                    await tab.page.goto(path)
                    if name == "overview":
                        await expect(tab.page.locator("#rate-now")).to_contain_text("·")
                    await tab.page.set_viewport_size({"width": SIZE[0], "height": LOW.get(name, SIZE[1])})
                    await tab.page.screenshot(path=directory / f"{name}-{scheme}.png")
                await tab.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
                await tab.page.goto("/console/calls?device=lamp-01")
                await tab.page.locator("#calls td a").first.click()
                await tab.page.screenshot(path=directory / f"call-{scheme}.png")
                await context.close()
            await browser.close()


if __name__ == "__main__":
    wanted = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    wanted.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(wanted))

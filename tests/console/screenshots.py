"""Takes the pictures of the console that the documentation shows.

Usage: python -m tests.console.screenshots [DIRECTORY]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.cli.processes import serving
from tests.console.browser import Tab, call, launch

DIRECTORY = Path(__file__).parents[2] / "docs" / "images" / "console"
PRODUCT = "/console/products/a1LinkDemo0"
PAGES = {
    "overview": "/console/",
    "calls": "/console/calls",
    "product": PRODUCT,
    "model": PRODUCT + "/model",
    "devices": "/console/devices",
    "device": "/console/devices/a1LinkDemo0/lamp-01",
}
SIZE = (1280, 860)


async def take(directory: Path) -> None:
    """Every page, light and dark."""
    with serving("dev", folder=Path(tempfile.mkdtemp())) as server:
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
                for number in range(12):
                    call(server, f'{{"brightness":{number * 8}}}', device=f"lamp-0{number % 3 + 1}")
                call(server, '{"brightness":50}', device="my-device")
                for name, path in PAGES.items():
                    await tab.page.goto(path)
                    if name == "overview":
                        await expect(tab.page.locator("#rate-now")).to_contain_text("·")
                    await tab.page.screenshot(path=directory / f"{name}-{scheme}.png")
                await tab.page.goto("/console/calls?device=lamp-01")
                await tab.page.locator("#calls td a").first.click()
                await tab.page.screenshot(path=directory / f"call-{scheme}.png")
                await context.close()
            await browser.close()


if __name__ == "__main__":
    wanted = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    wanted.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(wanted))

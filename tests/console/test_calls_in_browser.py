import re

import pytest
from playwright.async_api import expect

from tests.cli.processes import ServerProcess
from tests.console.browser import Tab, call

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_call_arrives_live_and_its_page_tells_of_it(tab: Tab, dev: ServerProcess) -> None:
    page = tab.page
    await tab.log_in(path="/console/calls")
    await expect(page.get_by_role("status")).to_have_text("Live")
    call(dev, "hello console")
    row = page.locator("#fresh tr").first
    await expect(row).to_contain_text("SUCCESS")
    await tab.check_page()
    await row.get_by_role("link", name="RRpc").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("RRpc")
    await expect(page.locator(".diagnosis")).to_contain_text("The device answered in time.")
    stages = await page.locator(".timeline tbody th").all_inner_texts()
    assert stages[0] == "received"
    assert stages[-1] == "returned to the caller"
    await expect(page.locator("pre").first).to_have_text("hello console")
    await tab.check_page()
    await page.get_by_role("button", name="Call again").click()
    await expect(page).not_to_have_url(re.compile("again"))
    await expect(page.locator("pre").first).to_have_text("hello console")


async def test_a_call_that_fails_says_what_to_do_next(tab: Tab, dev: ServerProcess) -> None:
    page = tab.page
    call(dev, "anybody there", device="my-device")
    await tab.log_in(path="/console/calls?device=my-device")
    await page.locator("#calls").get_by_role("link", name="RRpc").first.click()
    await expect(page.locator(".diagnosis")).to_contain_text("never-activated")
    await expect(page.locator(".diagnosis")).to_contain_text("Next: Connect it")

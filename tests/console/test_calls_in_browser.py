import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, Page, expect

from linkstead.invocation.journal import CALLS_KEPT_MAX
from tests.cli.processes import ServerProcess
from tests.console.browser import Tab, call, open_tab
from tests.console.records import make_call
from tests.rig import KEY, Rig

LOAD_S = 600
FEW_PAGES = 10
ROUNDS = 5
TIMES_MAX = 3.0
"""How much longer the browser may work on a step with 10,000 calls than with 1,000, in the same run."""

SCROLL = """
() => new Promise((done) => {
  scrollTo(0, 0);
  let count = 0;
  const step = () => {
    scrollBy(0, 60);
    ++count < 30 ? requestAnimationFrame(step) : done(document.getElementsByTagName("*").length);
  };
  requestAnimationFrame(step);
})
"""
"""Thirty steps through what the page begins with; how many elements it has then."""

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


async def test_ten_thousand_calls_are_scrolled_through_in_a_window(
    browser: Browser, start_server: Callable[[], Awaitable[Rig]]
) -> None:
    rig = await start_server()
    for number in range(CALLS_KEPT_MAX):
        rig.server.journal.close(make_call(number))
    context = await browser.new_context(base_url=f"http://{rig.http}")
    async with open_tab(context) as tab:
        page = tab.page
        await tab.log_in(KEY.access_key_id, KEY.secret, "/console/calls")
        most = 0
        few: list[tuple[float, int]] = []
        for _ in range(400):
            await page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
            most = max(most, await page.locator("#calls tr").count())
            if not few and await page.locator("#calls tbody").count() > FEW_PAGES:
                few = [await measure_scrolling(page) for _ in range(ROUNDS)]
            if await page.locator("#call-REQUEST-000000").count():
                break
            await page.wait_for_timeout(20)
        await expect(page.locator("#call-REQUEST-000000")).to_be_visible()
        assert most < 1_000
        many = [await measure_scrolling(page) for _ in range(ROUNDS)]
        await expect(page.locator(f"#call-REQUEST-{CALLS_KEPT_MAX - 1:06d}")).to_be_attached()
        assert min(many)[0] < TIMES_MAX * min(few)[0]
        assert many[0][1] < 1.5 * few[0][1]
    await context.close()


async def measure_scrolling(page: Page) -> tuple[float, int]:
    """How long the browser's main thread worked on it, and how many elements there are."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable")

    async def read_task_s() -> float:
        found = await devtools.send("Performance.getMetrics")
        return float(next(metric["value"] for metric in found["metrics"] if metric["name"] == "TaskDuration"))

    before_s = await read_task_s()
    elements: int = await page.evaluate(SCROLL)
    spent_s = await read_task_s() - before_s
    await devtools.detach()
    return spent_s, elements


async def test_a_page_left_open_does_not_grow(browser: Browser, start_server: Callable[[], Awaitable[Rig]]) -> None:
    rig = await start_server()
    context = await browser.new_context(base_url=f"http://{rig.http}")
    async with open_tab(context) as tab:
        page = tab.page
        await tab.log_in(KEY.access_key_id, KEY.secret, "/console/calls")
        await expect(page.get_by_role("status")).to_have_text("Live")
        for number in range(2_000):
            rig.server.journal.close(make_call(number))
            if not number % 50:
                await asyncio.sleep(0.05)
        await expect(page.locator("#call-REQUEST-001999")).to_be_visible()
        assert await page.locator("#calls tr").count() <= 202
        await expect(page.locator("#fresh [data-count]").first).to_contain_text("came too fast")
    await context.close()


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_page_left_open_under_load_takes_no_more_memory(
    browser: Browser, start_server: Callable[[], Awaitable[Rig]]
) -> None:
    """200 calls a second for ten minutes; what the page has after one of them is what it has after all."""
    rig = await start_server()
    context = await browser.new_context(base_url=f"http://{rig.http}")
    async with open_tab(context) as tab:
        await tab.log_in(KEY.access_key_id, KEY.secret, "/console/calls")
        devtools = await context.new_cdp_session(tab.page)
        await devtools.send("Performance.enable")

        async def measure() -> dict[str, float]:
            await devtools.send("HeapProfiler.collectGarbage")
            found = await devtools.send("Performance.getMetrics")
            return {metric["name"]: metric["value"] for metric in found["metrics"]}

        number = 0
        early: dict[str, float] = {}
        for second in range(LOAD_S):
            for _ in range(4):
                for _ in range(50):
                    number += 1
                    rig.server.journal.close(make_call(number))
                await asyncio.sleep(0.25)
            if second == LOAD_S // 10:
                early = await measure()
        late = await measure()
        assert late["Nodes"] < early["Nodes"] * 1.1
        assert late["JSHeapUsedSize"] < early["JSHeapUsedSize"] + 2_000_000
    await context.close()

"""Every page of the console in every language, and the way somebody new goes through it."""

import re
from datetime import datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from linkstead.cli.demo_data import MODEL_PATH
from linkstead.console.texts import LANGUAGES, TEXTS, Language, Words
from tests.cli.processes import ServerProcess
from tests.console.browser import Tab, call, open_tab

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRODUCT = "/console/products/a1LinkDemo0"
PAGES = (
    "/console/",
    "/console/calls",
    "/console/products",
    PRODUCT,
    PRODUCT + "/model",
    PRODUCT + "/script",
    "/console/devices",
    "/console/devices/a1LinkDemo0/lamp-02",
    "/console/explorer/BatchAddThingTopo",
    "/console/errors?text=shadow",
    "/console/faults",
    "/console/nowhere",
)
FOCUSED_MAX = 60
"""Presses of a key until something is reached."""


@pytest.mark.parametrize(("language", "scheme"), [*((language, "light") for language in LANGUAGES), ("en", "dark")])
async def test_every_page_is_good(
    browser: Browser, dev: ServerProcess, language: Language, scheme: Literal["light", "dark"]
) -> None:
    texts = TEXTS[language]
    call(dev, '{"lamp":2}', device="lamp-02")
    context = await browser.new_context(base_url=dev.endpoint, locale=language, color_scheme=scheme)
    async with open_tab(context) as tab:
        page = tab.page
        await page.goto("/console/login")
        await expect(page.get_by_role("heading", level=1)).to_have_text(texts["login.title"])
        await tab.check_page()
        await tab.log_in()
        for path in PAGES:
            await page.goto(path)
            assert await page.locator("html").get_attribute("lang") == language
            await expect(page.get_by_role("link", name=texts["nav.calls"], exact=True).first).to_be_visible()
            await tab.check_page()
        await page.goto("/console/calls")
        await page.locator("#calls td a").first.click()
        await expect(page.get_by_role("heading", name=texts["call.timeline"])).to_be_visible()
        await tab.check_page()
        # The page that is not there was one of them.
        tab.complaints[:] = [said for said in tab.complaints if "404" not in said]
    await context.close()


async def test_language_and_theme_are_remembered(tab: Tab) -> None:
    page = tab.page
    await page.goto("/console/login")
    await page.get_by_role("link", name="日本語").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("ログイン")
    await page.locator("#theme").click()
    await expect(page.locator("html")).to_have_class(re.compile("dark"))
    await page.reload()
    await expect(page.locator("html")).to_have_class(re.compile("dark"))
    assert await page.locator("html").get_attribute("lang") == "ja"
    await page.get_by_role("link", name="English").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


async def _reveal(page: Page, name: str) -> None:
    await page.locator("summary", has_text=name).click()


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("zh", "dark"), ("ja", "light")])
async def test_somebody_new_finds_the_way(
    browser: Browser, dev: ServerProcess, tmp_path: Path, language: Language, scheme: Literal["light", "dark"]
) -> None:
    """First login, product, model, device, simulation, service, live call, broken device, diagnosis, report."""
    context = await browser.new_context(base_url=dev.endpoint, locale=language, color_scheme=scheme)
    async with open_tab(context) as tab:
        await walk(tab, Words(language), tmp_path)
    await context.close()


async def walk(tab: Tab, words: Words, folder: Path) -> None:
    page = tab.page

    async def press(key: str, within: Locator | None = None) -> None:
        await (within or page.locator("main")).get_by_role("button", name=words(key), exact=True).first.click()

    await tab.log_in()
    await expect(page.locator("#rate canvas")).to_be_visible()
    await page.get_by_role("navigation").get_by_role("link", name=words("nav.products"), exact=True).click()
    await page.get_by_label(words("product.name"), exact=True).fill(f"Journey-{words.language}")
    await press("product.create")
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Journey-{words.language}")
    product_key = page.url.rpartition("/")[2]
    await tab.check_page()

    await page.get_by_role("link", name=words("product.edit-model")).click()
    await page.locator("#tsl").fill('{"properties": [{"identifier": 7}]}')
    await expect(page.locator("#check")).to_contain_text(words("model.fault", line=1))
    await page.locator("#file").set_input_files(MODEL_PATH)
    await expect(page.locator("#check")).to_contain_text(words("model.right"))
    await press("model.save")
    await expect(page.locator(".difference")).to_contain_text("Brightness")
    await tab.check_page()
    await page.get_by_label(words("product.version"), exact=True).fill("1.0")
    await press("model.publish")
    await expect(page.locator(".features")).to_contain_text("Blink")
    await tab.check_page()

    await page.goto(f"/console/devices?product={product_key}")
    await page.get_by_label(words("device.name-optional"), exact=True).fill("journey-1")
    await press("device.register")
    secret = await page.locator("#secret-once").inner_text()
    assert len(secret) == 32
    await tab.check_page()
    await page.locator(".made").get_by_role("link", name="journey-1").click()
    assert secret not in await page.content()
    await press("device.start")
    await expect(page.locator("#state")).to_contain_text(words("status.ONLINE"))
    await expect(page.locator("#state")).to_contain_text("Brightness")

    await expect(page.locator("#pulse")).to_have_text(words("calls.live"))
    await _reveal(page, "Blink")
    await page.get_by_label("Times").fill("3")
    await page.get_by_label("IntervalSec").fill("1")
    await press("device.invoke")
    await expect(page.locator(".result")).to_contain_text("SUCCESS")
    await expect(page.locator("#fresh")).to_contain_text("InvokeThingService")
    await page.get_by_label(f"{words('device.chart')} Brightness").click()
    await expect(page.locator("#chart canvas")).to_be_visible()
    await tab.check_page()

    await press("device.stop")
    await expect(page.locator("#state")).to_contain_text(words("status.OFFLINE"))
    await press("device.send")
    await page.locator("#result-rrpc").get_by_role("link", name=words("device.see-call")).click()
    await expect(page.locator(".diagnosis")).to_contain_text("not-connected")
    await expect(page.locator(".diagnosis")).to_contain_text(words("call.next"))
    await tab.check_page()
    async with page.expect_download() as saving:
        await page.get_by_role("link", name=words("call.share")).click()
    report = folder / "report.md"
    await (await saving.value).save_as(report)
    text = report.read_text()
    assert text.startswith(f"# RRpc {product_key}/journey-1: ")
    assert "linkstead-dev" not in text
    assert secret not in text


async def test_a_call_is_made_and_looked_at_without_a_mouse(tab: Tab) -> None:
    page = tab.page

    async def go_to(target: Locator, key: str = "Tab") -> None:
        for _ in range(FOCUSED_MAX):
            if await target.evaluate("element => element === document.activeElement"):
                break
            await page.keyboard.press(key)
        await expect(target).to_be_focused()
        outline = await target.evaluate(
            "element => [getComputedStyle(element).outlineStyle, getComputedStyle(element).boxShadow]"
        )
        assert outline != ["none", "none"]

    await page.goto("/console/devices/a1LinkDemo0/lamp-03")
    await expect(page.locator("#name")).to_be_focused()
    await page.keyboard.type("linkstead-dev")
    await go_to(page.locator("#secret"))
    await page.keyboard.type("linkstead-dev-secret")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("lamp-03")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await go_to(page.locator("summary", has_text="Blink"))
    await page.keyboard.press("Enter")
    await go_to(page.get_by_label("Times"))
    await page.keyboard.type("3")
    await go_to(page.get_by_label("IntervalSec"))
    await page.keyboard.type("1")
    await page.keyboard.press("Enter")
    await expect(page.locator(".result")).to_contain_text("SUCCESS")
    await go_to(page.locator(".result").get_by_role("link", name="See the call"))
    await page.keyboard.press("Enter")
    await expect(page.locator(".diagnosis")).to_contain_text("The device answered in time.")
    await go_to(page.get_by_role("link", name="Save as a report"))


async def test_times_are_those_of_the_viewers_zone(tab: Tab, dev: ServerProcess) -> None:
    page = tab.page
    call(dev, "what time is it")
    await tab.log_in(path="/console/calls")
    moment = page.locator("#calls time").first
    told = datetime.fromisoformat(await moment.get_attribute("datetime") or "")
    there = told.astimezone(ZoneInfo("Asia/Tokyo"))
    await expect(moment).to_contain_text(there.strftime("%H:%M:%S"))
    await expect(moment).to_have_attribute("title", re.compile("UTC"))


async def test_a_rrpc_is_written_in_hex(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/devices/a1LinkDemo0/lamp-03")
    await page.get_by_label("Message", exact=True).fill("00 ff")
    await page.get_by_label("Written as").select_option("hex")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#result-rrpc pre").first).to_contain_text("00 ff")
    await page.get_by_label("Message", exact=True).fill("zz")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#result-rrpc")).to_contain_text("hex: 00 01 fe")


async def test_messages_are_seen_while_one_looks(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/devices/a1LinkDemo0/lamp-03")
    await _reveal(page, "Live messages")
    messages = page.locator("#messages")
    await expect(messages.get_by_role("status")).to_contain_text("Live.")
    await page.get_by_label("Message", exact=True).fill('{"brightness":7}')
    await page.get_by_role("button", name="Send").click()
    row = messages.locator("tbody tr", has_text="/rrpc/request/")
    await expect(row).to_contain_text("to the device")
    await expect(messages.locator("tbody tr", has_text="/rrpc/response/")).to_contain_text("from the device")
    await row.locator("summary").click()
    await expect(row.locator("pre").nth(1)).to_have_text('{\n  "brightness": 7\n}')
    await tab.check_page()
    count = await messages.locator("tbody tr").count()
    await messages.locator("summary").first.click()
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#fresh tr")).to_have_count(2)
    assert await messages.locator("tbody tr").count() == count


async def test_a_key_is_made_shown_once_and_disabled(tab: Tab, browser: Browser, dev: ServerProcess) -> None:
    page = tab.page
    await tab.log_in()
    await page.get_by_role("button", name="New key").click()
    secret = await page.locator("#secret-once").inner_text()
    key_id = await page.locator(".made code").first.inner_text()
    await page.goto("/console/")
    assert secret not in await page.content()
    context = await browser.new_context(base_url=dev.endpoint)
    async with open_tab(context) as other:
        await other.log_in(key_id, secret)
        # a page without a stream: the browser would complain of one that is refused
        await other.page.goto("/console/errors")
        await page.get_by_role("button", name=f"Disable {key_id}").click()
        await expect(page.locator("tr", has_text=key_id)).to_contain_text("disabled")
        await other.page.goto("/console/calls")
        await expect(other.page.locator("#name")).to_be_visible()
    await context.close()

import base64

import pytest
from playwright.async_api import expect

from tests.console.browser import Tab

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_call_is_made_from_a_form_and_leads_to_its_timeline(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/explorer")
    await expect(page.get_by_role("heading", level=1)).to_have_text("RRpc")
    await page.get_by_label("ProductKey").fill("a1LinkDemo0")
    await page.get_by_label("DeviceName").fill("lamp-01")
    await page.get_by_label("or as text").fill("hello 灯")
    await expect(page.locator("[name='p.RequestBase64Byte']")).to_have_value(
        base64.b64encode("hello 灯".encode()).decode()
    )
    await page.get_by_label("Timeout").fill("5000")
    await expect(page.locator("#program-python")).to_contain_text("timeout=5000")
    await page.get_by_role("button", name="Send").click()
    outcome = page.locator("#outcome")
    await expect(outcome).to_contain_text("HTTP 200 OK")
    await expect(outcome).to_contain_text('"RrpcCode": "SUCCESS"')
    await outcome.get_by_text("XML", exact=True).click()
    await expect(outcome).to_contain_text("<RrpcCode>SUCCESS</RrpcCode>")
    await tab.check_page()
    await outcome.get_by_role("link", name="Its timeline").click()
    await expect(page.locator(".diagnosis")).to_contain_text("The device answered in time.")


async def test_programs_follow_the_form_and_stay_open(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/explorer/CreateProductTags?example")
    await page.locator("summary", has_text="curl").click()
    await page.get_by_role("button", name="One more").click()
    await page.locator("[name='p.ProductTag.3.TagKey']").fill("third")
    await page.locator("[name='p.ProductTag.3.TagValue']").fill("it's here")
    # The second entry is empty, so that the third takes its place.
    await expect(page.locator("#program-curl")).to_contain_text("ProductTag.2.TagKey=third")
    await expect(page.locator("#program-curl")).to_be_visible()
    await page.locator("summary", has_text="Signature version 1").click()
    await expect(page.get_by_text("POST&%2F&AccessKeyId%3Dlinkstead-dev%26Action%3DCreateProductTags")).to_be_visible()
    await tab.check_page()


async def test_an_action_is_found_by_what_it_does(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/explorer")
    actions = page.get_by_role("navigation", name="Actions")
    await page.get_by_placeholder("Find an action").fill("shadow")
    await expect(actions.get_by_role("link")).to_have_text(["GetDeviceShadow", "UpdateDeviceShadow"])
    await actions.get_by_role("link", name="GetDeviceShadow").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("GetDeviceShadow")


async def test_a_refusal_leads_to_the_error_centre(tab: Tab) -> None:
    page = tab.page
    await tab.log_in(path="/console/explorer/QueryProduct")
    await page.get_by_label("ProductKey").fill("a1Nowhere00")
    await page.get_by_role("button", name="Send").click()
    await page.locator("#outcome").get_by_role("link", name="iot.prod.NotExistedProduct").click()
    await expect(page.get_by_role("row", name="iot.prod.NotExistedProduct")).to_contain_text("No product")
    await page.get_by_role("searchbox").fill("signature matched")
    await expect(page.locator("#errors tbody tr")).to_have_count(1)
    await expect(page.get_by_role("row", name="SignatureDoesNotMatch")).to_contain_text("any action")
    await tab.check_page()

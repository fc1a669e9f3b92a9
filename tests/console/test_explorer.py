"""The explorer's pages without a browser: what is asked, what is done, what is written."""

import asyncio
import html
import json
import re
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from linkstead.actions import ACTIONS
from linkstead.console.explorer import PREFIX, make_control, set_out_xml
from linkstead.explorer.arguments import Arguments, make_example, read_arguments
from linkstead.explorer.reference import LANGUAGES as LANGUAGES_SPOKEN
from linkstead.explorer.reference import Language, describe_action
from linkstead.explorer.snippets import LANGUAGES
from tests.rig import KEY, LAMP, PRODUCT_KEY, RAM_KEY, Rig
from tests.wire import Response, fetch

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Browser:
    """As far as the server can tell: it keeps the cookie, and sends the token of the form."""

    def __init__(self, rig: Rig, cookie: str) -> None:
        self.rig = rig
        self.headers = {"Cookie": cookie, "Host": str(rig.http)}

    async def get(self, path: str, language: str = "en") -> Response:
        return await fetch(self.rig.http, "GET", f"/console{path}", {**self.headers, "Accept-Language": language})

    async def post(self, path: str, *, in_part: bool = True, token: str | None = None, **fields: str) -> Response:
        page = (await self.get("/explorer/RRpc")).body.decode()
        found = re.search(r'name="csrf" value="(\w+)"', page)
        assert found is not None
        form = {"csrf": found[1] if token is None else token} | {PREFIX + name: text for name, text in fields.items()}
        headers = {**self.headers, **FORM, **({"HX-Request": "true"} if in_part else {})}
        return await fetch(self.rig.http, "POST", f"/console{path}", headers, urlencode(form).encode())


@pytest_asyncio.fixture
async def browser(rig: Rig) -> Browser:
    """Logged in with `KEY`."""
    return await log_in(rig, KEY.access_key_id, KEY.secret)


async def log_in(rig: Rig, name: str, secret: str) -> Browser:
    body = urlencode({"name": name, "secret": secret}).encode()
    answer = await fetch(rig.http, "POST", "/console/login", FORM, body)
    assert answer.status == 303
    return Browser(rig, answer.headers["Set-Cookie"].partition(";")[0])


def read_answer(response: Response) -> tuple[dict[str, object], str]:
    """The answer as JSON, and as XML."""
    as_json, as_xml = re.findall(r"<pre[^>]*>(.*?)</pre>", response.body.decode(), re.DOTALL)
    return json.loads(html.unescape(as_json)), html.unescape(as_xml)


@pytest.mark.asyncio
@pytest.mark.parametrize("language", LANGUAGES_SPOKEN)
async def test_every_action_has_a_page(browser: Browser, language: Language) -> None:
    for name in ACTIONS:
        response = await browser.get(f"/explorer/{name}?example", language)
        page = response.body.decode()
        assert response.status == 200
        assert f"<h1>{name}</h1>" in page
        assert describe_action(name).text[language] in html.unescape(page)
        for parameter in describe_action(name).parameters:
            assert f'"{PREFIX}{parameter.name}' in page


@pytest.mark.asyncio
async def test_nobody_sees_it_without_logging_in(rig: Rig) -> None:
    for path in ("/explorer", "/explorer/RRpc", "/errors"):
        assert (await fetch(rig.http, "GET", f"/console{path}", {})).status == 401


@pytest.mark.asyncio
async def test_docs_lead_to_the_explorer(rig: Rig, browser: Browser) -> None:
    assert (await fetch(rig.http, "GET", "/docs", {})).headers["Location"] == "/console/explorer"
    assert (await browser.get("/explorer")).headers["Location"] == "/console/explorer/RRpc"
    assert (await browser.get("/explorer/ListOTAFirmware")).status == 404


@pytest.mark.asyncio
async def test_an_action_is_run_once_and_shown_as_json_and_xml(rig: Rig, browser: Browser) -> None:
    response = await browser.post("/explorer/CreateProduct", ProductName="Made_here", NodeType="0")
    assert response.status == 200
    answer, xml = read_answer(response)
    assert answer["Success"] is True
    assert f"<ProductKey>{answer['ProductKey']}</ProductKey>" in xml
    assert xml.startswith("<?xml version='1.0' encoding='UTF-8'?>\n<CreateProductResponse>\n  <ProductKey>")
    answer, _ = read_answer(await browser.post("/explorer/CreateProduct", ProductName="Made_here", NodeType="0"))
    assert answer["Code"] == "iot.prod.AlreadyExistedProductName"


@pytest.mark.asyncio
async def test_a_call_leads_to_its_timeline(rig: Rig, browser: Browser) -> None:
    device = await rig.connected()
    answering = device.expect_call()
    sending = asyncio.ensure_future(
        browser.post(
            "/explorer/RRpc",
            ProductKey=PRODUCT_KEY,
            DeviceName=LAMP.device_name,
            RequestBase64Byte="aGk=",
            Timeout="5000",
        )
    )
    request = await answering
    assert request.payload == b"hi"
    await device.answer(request, b"there")
    response = await sending
    answer, _ = read_answer(response)
    assert answer["RrpcCode"] == "SUCCESS"
    (call,) = rig.calls()
    assert call.access_key_id == KEY.access_key_id
    assert f"/console/calls/{call.request_id}" in response.body.decode()


@pytest.mark.asyncio
async def test_what_the_gateway_refuses_is_shown_with_its_status(browser: Browser) -> None:
    response = await browser.post("/explorer/RRpc", ProductKey=PRODUCT_KEY)
    assert "HTTP 400 Bad Request" in response.body.decode()
    answer, xml = read_answer(response)
    assert answer["Code"] == "MissingDeviceName"
    assert "<Code>MissingDeviceName</Code>" in xml
    answer, _ = read_answer(await browser.post("/explorer/QueryProductList", CurrentPage="one", PageSize="10"))
    assert answer["Code"] == "InvalidCurrentPage"


@pytest.mark.asyncio
async def test_rights_are_those_of_who_is_logged_in(rig: Rig) -> None:
    policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"iot:QueryProduct","Resource":"*"}]}'
    await rig.server.store.save_policy(RAM_KEY.account_id, RAM_KEY.user_name, policy)
    browser = await log_in(rig, RAM_KEY.access_key_id, RAM_KEY.secret)
    answer, _ = read_answer(await browser.post("/explorer/QueryProduct", ProductKey=PRODUCT_KEY))
    assert answer["Success"] is True
    answer, _ = read_answer(await browser.post("/explorer/DeleteProduct", ProductKey=PRODUCT_KEY))
    assert answer["Code"] == "Forbidden.RAM"


@pytest.mark.asyncio
async def test_a_form_without_its_token_is_not_run(rig: Rig, browser: Browser) -> None:
    response = await browser.post("/explorer/DeleteProduct", token="0", ProductKey=PRODUCT_KEY)
    assert response.status == 403
    response = await rig.app().call("QueryProduct", ProductKey=PRODUCT_KEY)
    assert response.json()["Success"] is True


@pytest.mark.asyncio
async def test_it_works_without_a_script(browser: Browser) -> None:
    response = await browser.post("/explorer/QueryProduct", in_part=False, ProductKey=PRODUCT_KEY)
    page = response.body.decode()
    assert "<h1>QueryProduct</h1>" in page
    assert f'value="{PRODUCT_KEY}"' in page
    assert "HTTP 200 OK" in page


@pytest.mark.asyncio
async def test_programs_are_written_for_this_server_and_hold_no_secret(rig: Rig, browser: Browser) -> None:
    response = await browser.post("/explorer/QueryProduct/request", ProductKey="<b>'\"&")
    page = response.body.decode()
    assert "<b>" not in page
    texts = [html.unescape(text) for text in re.findall(r'<pre[^>]*id="program-[^>]*>(.*?)</pre>', page, re.DOTALL)]
    assert len(texts) == len(LANGUAGES)
    for text in texts:
        assert str(rig.http) in text
        assert "QueryProduct" in text or "query_product" in text
    assert KEY.secret not in page
    assert "ACS3-HMAC-SHA256\n" in page
    assert "POST&amp;%2F&amp;AccessKeyId%3Dapp-key" in page


@pytest.mark.asyncio
async def test_the_error_centre_finds_a_code(browser: Browser) -> None:
    page = (await browser.get("/errors?" + urlencode({"text": "iot.messagebroker.InvalidTimeoutValue"}))).body.decode()
    assert 'href="/console/explorer/RRpc"' in page
    assert "Timeout is outside the allowed range" in page
    page = (await browser.get("/errors?" + urlencode({"text": "署名"}), "ja")).body.decode()
    assert "SignatureDoesNotMatch" in page
    page = (await browser.get("/errors?" + urlencode({"text": '"><script>'}))).body.decode()
    assert "<script>" not in page
    assert "Codes found: 0" in page


@pytest.mark.asyncio
async def test_programs_lead_to_where_the_browser_came_in(browser: Browser) -> None:
    browser.headers |= {"Host": "iot.example.com", "X-Forwarded-Proto": "https"}
    page = html.unescape((await browser.get("/explorer/QueryProduct")).body.decode())
    assert "endpoint='iot.example.com'" in page
    assert "protocol='https'" in page
    assert "curl -sS https://iot.example.com/ " in page


def test_xml_is_set_out_without_touching_texts() -> None:
    xml = "<?xml version='1.0' encoding='UTF-8'?><A><B>one\ntwo &lt;</B><C></C><D><E>1</E></D></A>"
    assert set_out_xml(xml).split("\n") == [
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<A>",
        "  <B>one",
        "two &lt;</B>",
        "  <C>",
        "  </C>",
        "  <D>",
        "    <E>1</E>",
        "  </D>",
        "</A>",
    ]


@pytest.mark.parametrize("name", ACTIONS)
def test_a_form_gives_back_what_it_shows(name: str) -> None:
    reference = describe_action(name)
    arguments = make_example(reference, whole=True)
    fields: dict[str, str] = {}
    for parameter in reference.parameters:
        control = make_control(parameter, arguments)
        fields |= {each.name: each.value for entry in control.entries for each in entry} or {
            control.name: control.value
        }
    assert read_arguments(reference, {name.removeprefix(PREFIX): text for name, text in fields.items()}) == arguments


def test_entries_close_up_and_what_is_no_number_stays_a_text() -> None:
    reference = describe_action("CreateProductTags")
    fields = {
        "ProductKey": "a1",
        "ProductTag.10.TagKey": "c",
        "ProductTag.2.TagKey": "b",
        "ProductTag.2.TagValue": "v",
        "ProductTag.1.TagKey": "",
        "ProductTag.x.TagKey": "never",
    }
    expected: Arguments = {"ProductKey": "a1", "ProductTag": [{"TagKey": "b", "TagValue": "v"}, {"TagKey": "c"}]}
    assert read_arguments(reference, fields) == expected
    devices = read_arguments(describe_action("BatchQueryDeviceDetail"), {"DeviceName": "a\r\n\r\nb\n"})
    assert devices == {"DeviceName": ["a", "b"]}
    listed = read_arguments(describe_action("QueryProductList"), {"CurrentPage": "1", "PageSize": "ten"})
    assert listed == {"CurrentPage": 1, "PageSize": "ten"}

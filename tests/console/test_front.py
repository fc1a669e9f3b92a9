"""Who is let in, what is refused, and what every answer carries."""

import json
from dataclasses import replace

import pytest

from linkstead.api.passwords import CONSOLE_USER, hash_password
from linkstead.console.front import FIELDS_MAX
from linkstead.console.login import COOKIE, FAILURES_PER_MINUTE_MAX, SESSION_S_MAX
from linkstead.console.visit import CONTENT_POLICY
from tests.console.web import Visitor, visitor
from tests.rig import ACCOUNT_ID, DISABLED_KEY, KEY, LAMP, OTHER_KEY, PRODUCT_KEY, RAM_KEY, Rig
from tests.wire import fetch

pytestmark = pytest.mark.asyncio


async def test_who_is_not_logged_in_is_led_to_the_login_and_back(rig: Rig) -> None:
    guest = Visitor(rig.http)
    response = await guest.get("/calls?device=lamp-01")
    assert response.status == 303
    assert response.headers["Location"] == "/console/login?next=%2Fconsole%2Fcalls%3Fdevice%3Dlamp-01"
    page = (await guest.get("/login?next=%2Fconsole%2Fcalls%3Fdevice%3Dlamp-01")).body.decode()
    assert 'value="/console/calls?device=lamp-01"' in page
    response = await guest.post(
        "/login", name=KEY.access_key_id, secret=KEY.secret, next="/console/calls?device=lamp-01"
    )
    assert response.headers["Location"] == "/console/calls?device=lamp-01"
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.endswith(f"; Path=/console; Max-Age={SESSION_S_MAX}; SameSite=Strict; HttpOnly")
    assert (await guest.get("/calls")).status == 200
    assert (await guest.get("/login")).headers["Location"] == "/console/"


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example/", "/console/../x\\y", "/other", "/console/login"]
)
async def test_nobody_is_led_elsewhere(rig: Rig, path: str) -> None:
    response = await Visitor(rig.http).post("/login", name=KEY.access_key_id, secret=KEY.secret, next=path)
    assert response.headers["Location"] == "/console/"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        (KEY.access_key_id, "wrong"),
        (KEY.access_key_id, ""),
        ("nobody", KEY.secret),
        (DISABLED_KEY.access_key_id, DISABLED_KEY.secret),
        ("ключ", "秘密"),
    ],
)
async def test_a_wrong_key_is_refused_kept_in_the_audit_log_and_not_repeated(rig: Rig, name: str, secret: str) -> None:
    response = await Visitor(rig.http).post("/login", name=name, secret=secret)
    assert response.status == 401
    assert "Set-Cookie" not in response.headers
    assert KEY.secret not in response.body.decode()
    entries = await rig.server.store.list_audit(None, 0, 10)
    assert entries[0].action == "/console/login"
    assert not entries[0].is_verified


async def test_too_many_failures_close_the_door_for_a_minute(rig: Rig) -> None:
    guest = Visitor(rig.http)
    for _ in range(FAILURES_PER_MINUTE_MAX):
        assert (await guest.post("/login", name=KEY.access_key_id, secret="wrong")).status == 401
    assert (await guest.post("/login", name=KEY.access_key_id, secret=KEY.secret)).status == 403
    rig.clock.advance(60.0)
    assert (await guest.post("/login", name=KEY.access_key_id, secret=KEY.secret)).status == 303


async def test_a_session_ends_with_its_time_its_key_and_its_signature(rig: Rig) -> None:
    guest = await visitor(rig)
    good = guest.cookies[COOKIE]
    claim, _, signature = good.partition(".")
    for bad in (f"{claim}.{'0' * 64}", claim, good + "0", "x" * 2_000, f"%%%.{signature}", f"W10.{signature}"):
        guest.cookies[COOKIE] = bad
        assert (await guest.get("/calls")).status == 303
    guest.cookies[COOKIE] = good
    rig.clock.advance(SESSION_S_MAX - 1.0)
    assert (await guest.get("/calls")).status == 200
    rig.clock.advance(1.0)
    assert (await guest.get("/calls")).status == 303
    guest = await visitor(rig)
    await rig.server.registry.set_access_key_enabled(KEY.access_key_id, False)
    assert (await guest.get("/calls")).status == 303


async def test_logging_out_has_the_browser_forget(rig: Rig) -> None:
    guest = await visitor(rig)
    response = await guest.post("/logout")
    assert response.headers["Set-Cookie"].startswith(f"{COOKIE}=; Path=/console; Max-Age=0")
    assert (await guest.get("/calls")).status == 303


async def test_what_changes_something_needs_the_token_of_its_session(rig: Rig) -> None:
    guest = await visitor(rig)
    token, guest.csrf = guest.csrf, "0" * 64
    response = await guest.post("/products", name="Made-elsewhere")
    assert response.status == 403
    assert (await guest.post("/products", {"X-CSRF-Token": token}, csrf="", name="Good-name")).status == 303


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_a_form_of_another_site_is_refused(rig: Rig, headers: dict[str, str]) -> None:
    guest = await visitor(rig)
    assert (await guest.post("/products", headers, name="Made-elsewhere")).status == 403
    assert (await Visitor(rig.http).post("/login", headers, name=KEY.access_key_id, secret=KEY.secret)).status == 403


async def test_every_page_carries_its_guards(rig: Rig) -> None:
    guest = await visitor(rig)
    for path in ("/login", "/calls", "/nowhere", "/static/console.css", "/static/nothing", "/calls/unknown/report"):
        headers = (await guest.get(path)).headers
        assert headers["Content-Security-Policy"] == CONTENT_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert (await guest.get("/calls")).headers["Cache-Control"] == "no-store"


async def test_no_page_has_a_script_or_a_style_of_its_own(rig: Rig) -> None:
    guest = await visitor(rig)
    for path in ("/", "/calls", "/products", f"/products/{PRODUCT_KEY}", f"/devices/{PRODUCT_KEY}/{LAMP.device_name}"):
        page = (await guest.get(path)).body.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert "<script>" not in page
        assert " onclick=" not in page
        assert "https://" not in page


async def test_an_unknown_path_and_a_wrong_method_say_so(rig: Rig) -> None:
    guest = await visitor(rig)
    assert (await guest.get("/nowhere")).status == 404
    assert (await guest.post("/calls")).status == 405
    assert (await guest.get("/products/%3Cscript%3E")).status == 404
    assert b"<script>alert" not in (await guest.get("/calls/%3Cscript%3Ealert(1)")).body


async def test_a_script_whose_session_is_over_is_told_so(rig: Rig) -> None:
    response = await Visitor(rig.http).get("/calls", {"HX-Request": "true"})
    assert (response.status, response.headers["HX-Redirect"]) == (401, "/console/login")
    assert (await Visitor(rig.http).get("/calls/live", {"Accept": "text/event-stream"})).status == 401


@pytest.mark.parametrize("count", [FIELDS_MAX, FIELDS_MAX + 1])
async def test_fields_are_bounded(rig: Rig, count: int) -> None:
    guest = await visitor(rig)
    response = await guest.get("/calls?" + "&".join(f"f{number}=1" for number in range(count)))
    assert response.status == (200 if count == FIELDS_MAX else 400)


async def test_files_are_kept_by_the_browser_until_they_change(rig: Rig) -> None:
    guest = Visitor(rig.http)
    response = await guest.get("/static/console.css")
    assert (response.status, response.headers["Cache-Control"]) == (200, "no-cache")
    tag = response.headers["ETag"]
    assert (await guest.get("/static/console.css", {"If-None-Match": tag})).status == 304
    named = await guest.get(f"/static/console.css?v={tag.strip(chr(34))}")
    assert named.headers["Cache-Control"].endswith("immutable")
    for path in ("/static/../front.py", "/static/%2e%2e/front.py", "/static/vendor/.version", "/static/"):
        assert (await guest.get(path)).status == 404


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"Accept-Language": "zh-TW,zh;q=0.9"}, "zh"),
        ({"Accept-Language": "fr, ja;q=0.5"}, "ja"),
        ({"Accept-Language": "fr"}, "en"),
        ({"Accept-Language": "ja", "Cookie": "linkstead-language=zh"}, "zh"),
        ({"Cookie": "linkstead-language=<script>"}, "en"),
    ],
)
async def test_the_language_is_the_viewers(rig: Rig, headers: dict[str, str], language: str) -> None:
    page = (await Visitor(rig.http).get("/login", headers)).body.decode()
    assert f'<html lang="{language}">' in page


async def test_a_user_sees_what_the_policy_allows(rig: Rig) -> None:
    await rig.server.registry.save_policy(
        ACCOUNT_ID,
        RAM_KEY.user_name,
        json.dumps(
            {
                "Version": "1",
                "Statement": [
                    {"Effect": "Allow", "Action": ["iot:Query*", "linkstead:QueryCalls"], "Resource": PRODUCT_KEY}
                ],
            }
        ),
    )
    guest = await visitor(rig, RAM_KEY)
    assert (await guest.get(f"/products/{PRODUCT_KEY}")).status == 200
    assert (await guest.get("/products")).status == 403
    assert (await guest.get("/")).status == 200
    assert (await guest.post("/keys")).status == 403
    assert (await guest.post(f"/products/{PRODUCT_KEY}/delete")).status == 403
    assert (await guest.post(f"/devices/{PRODUCT_KEY}/{LAMP.device_name}", do="start")).status == 403


async def test_another_accounts_things_are_as_if_they_were_not(rig: Rig) -> None:
    app = rig.app()
    await app.call("RRpc", **app.rrpc_parameters(LAMP))
    (call,) = rig.calls()
    guest = await visitor(rig, OTHER_KEY)
    assert (await guest.get(f"/calls/{call.request_id}")).status == 404
    assert (await guest.get(f"/products/{PRODUCT_KEY}")).status == 404
    assert (await guest.get(f"/devices/{PRODUCT_KEY}/{LAMP.device_name}")).status == 404
    assert call.request_id not in (await guest.get("/calls")).body.decode()


async def test_a_console_user_logs_in_with_a_password_and_signs_nothing(rig: Rig) -> None:
    kept = hash_password("correct horse", "salt")
    alice = replace(KEY, access_key_id=CONSOLE_USER + "alice", secret=kept)
    await rig.server.store.add_access_key(alice)
    guest = Visitor(rig.http)
    for name, password in (("alice", "wrong"), ("alice", kept), (alice.access_key_id, kept), ("bob", "correct horse")):
        assert (await guest.post("/login", name=name, secret=password)).status == 401
    assert (await guest.post("/login", name="alice", secret="correct horse")).status == 303
    page = (await guest.get("/calls")).body.decode()
    assert "alice" in page
    assert kept not in (await guest.get("/")).body.decode()
    response = await rig.app(alice).call_v3("QueryProduct", ProductKey=PRODUCT_KEY)
    assert response.json()["Code"] == "InvalidAccessKeyId.NotFound"
    assert (await fetch(rig.http, "GET", "/_linkstead/calls", rig.app(alice).basic)).status == 401
    await rig.server.registry.set_access_key_enabled(alice.access_key_id, False)
    assert (await guest.get("/calls")).status == 303
    assert (await guest.post("/login", name="alice", secret="correct horse")).status == 401


async def test_a_path_puts_nothing_into_a_header(rig: Rig) -> None:
    guest = await visitor(rig)
    made = (await guest.post("/products", name="Header-probe")).headers["Location"].removeprefix("/console")
    await guest.post(made + "/topics", name="hello", operation="PUB")
    page = (await guest.get(made)).body.decode()
    topic = page.partition("/user/hello")[2].partition("/topics/")[2].partition("/")[0]
    response = await guest.post(f"/products/x%0d%0aSet-Cookie:%20a=b/topics/{topic}/delete")
    assert response.headers["Location"] == "/console/products/x%0D%0ASet-Cookie:%20a=b"
    assert "Set-Cookie" not in response.headers

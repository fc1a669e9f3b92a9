import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from linkstead.api.exchange import HttpRequest
from linkstead.http.front import CALLS_LISTED_DEFAULT, CALLS_LISTED_MAX
from linkstead.server import Server
from tests.rig import (
    DISABLED_KEY,
    INSTANCE_LAMP,
    KEY,
    LAMP,
    OTHER_KEY,
    OTHER_LAMP,
    RAM_KEY,
    SECOND_LAMP,
    Rig,
    rig_settings,
)
from tests.wire import App, Response, fetch, until

pytestmark = pytest.mark.asyncio

JSON_TYPE = "application/json;charset=utf-8"


async def _get(rig: Rig, path: str, headers: dict[str, str] | None = None) -> Response:
    return await fetch(rig.http, "GET", path, rig.app().basic if headers is None else headers)


async def _get_signed(app: App, path: str, **parameters: str) -> Response:
    target, headers = app.sign_v3("Inspect", parameters, method="GET", path=path)
    return await fetch(app.address, "GET", target, headers)


async def test_health_is_told_without_a_key(rig: Rig) -> None:
    response = await _get(rig, "/healthz", {})
    assert (response.status, response.body) == (200, b"ok\n")
    assert response.headers["Content-Type"] == "text/plain;charset=utf-8"
    assert response.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


async def test_a_server_that_takes_calls_is_ready(rig: Rig) -> None:
    response = await _get(rig, "/readyz", {})
    assert (response.status, response.json()) == (200, {"ready": True, "reasons": []})


def _request(path: str, **headers: str) -> HttpRequest:
    return HttpRequest("GET", path, b"", {name: [value] for name, value in headers.items()}, b"", 0.0, 0.0, "", True)


async def test_a_server_that_has_not_started_or_is_stopping_is_not_ready(rig: Rig, tmp_path: Path) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    stopping = asyncio.ensure_future(rig.server.stop())
    await until(lambda: rig.server.http.is_draining)
    new = Server(rig_settings(tmp_path), is_production=True)
    for server, reason in ((rig.server, "stopping"), (new, "starting")):
        reply = await server.front.answer(_request("/readyz"))
        assert (reply.status, json.loads(reply.body)) == (503, {"ready": False, "reasons": [reason]})
        assert (await server.front.answer(_request("/healthz"))).status == 200
    await device.answer(request, b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
    await stopping


async def test_a_browser_is_led_to_the_console(rig: Rig) -> None:
    response = await _get(rig, "/", {"Accept": "text/html,application/xhtml+xml"})
    assert (response.status, response.headers["Location"]) == (302, "/console/")
    response = await _get(rig, "/console/login", {})
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html;charset=utf-8")


@pytest.mark.parametrize(
    ("method", "target", "accept"),
    [("GET", "/", "application/json"), ("GET", "/?Action=RRpc", "text/html"), ("POST", "/", "text/html")],
)
async def test_what_is_no_browser_reaches_the_openapi(rig: Rig, method: str, target: str, accept: str) -> None:
    response = await fetch(rig.http, method, target, {"Accept": accept})
    assert response.status == 400
    assert b"<Code>MissingAccessKeyId</Code>" in response.body


async def test_an_unknown_path_is_told_as_the_gateway_tells_it(rig: Rig) -> None:
    response = await _get(rig, "/nowhere", {})
    assert response.status == 404
    assert b"<Code>InvalidAction.NotFound</Code>" in response.body


# --- who may look ---


async def test_without_a_key_nothing_is_shown(rig: Rig) -> None:
    response = await _get(rig, "/_linkstead/calls", {})
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="linkstead"'
    assert "access key" in response.json()["error"]


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    "headers",
    [
        _basic("app-key:wrong"),
        _basic("app-key:"),
        _basic("app-key"),
        _basic("nobody:app-secret"),
        _basic(f"{DISABLED_KEY.access_key_id}:{DISABLED_KEY.secret}"),
        _basic("ключ:секрет"),
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer app-secret"},
        {"Authorization": ""},
    ],
)
async def test_a_wrong_key_shows_nothing_and_is_not_repeated(rig: Rig, headers: dict[str, str]) -> None:
    response = await _get(rig, "/_linkstead/calls", headers)
    assert response.status == 401
    assert "WWW-Authenticate" in response.headers
    assert b"secret-" not in response.body
    assert b"app-secret" not in response.body


@pytest.mark.parametrize("key", [KEY, RAM_KEY])
async def test_a_key_looks_by_basic_or_by_signature(rig: Rig, key: Any) -> None:
    app = rig.app(key)
    assert (await _get(rig, "/_linkstead/calls", app.basic)).json() == {"calls": []}
    assert (await _get_signed(app, "/_linkstead/calls", limit="5")).json() == {"calls": []}


async def test_basic_is_not_taken_where_it_can_be_overheard(rig: Rig) -> None:
    request = _request("/_linkstead/calls", authorization=rig.app().basic["Authorization"])
    assert (await rig.server.front.answer(request)).status == 200
    request.is_private = False
    reply = await rig.server.front.answer(request)
    assert reply.status == 401
    assert "TLS" in json.loads(reply.body)["error"]


async def test_a_wrong_signature_is_told_with_its_code(rig: Rig) -> None:
    app = rig.app()
    app.secret = "wrong"
    response = await _get_signed(app, "/_linkstead/calls")
    assert (response.status, response.json()["code"]) == (400, "SignatureDoesNotMatch")


async def test_a_signature_for_one_path_is_not_good_for_another(rig: Rig) -> None:
    target, headers = rig.app().sign_v3("Inspect", {}, method="GET", path="/_linkstead/calls")
    response = await fetch(rig.http, "GET", target + "/1", headers)
    assert (response.status, response.json()["code"]) == (400, "SignatureDoesNotMatch")


async def test_only_get_is_served(rig: Rig) -> None:
    response = await fetch(rig.http, "POST", "/_linkstead/calls", rig.app().basic)
    assert (response.status, response.json()) == (405, {"error": "only GET is served here"})


@pytest.mark.parametrize("path", ["/_linkstead/", "/_linkstead/secrets", "/_linkstead/secrets/1"])
async def test_what_is_not_there_is_told_with_what_there_is(rig: Rig, path: str) -> None:
    response = await _get(rig, path)
    assert response.status == 404
    assert response.json()["error"] == f"nothing at {path}; there are: calls, devices, consumer-groups"


# --- calls ---


async def test_a_call_is_found_by_its_message_id_and_by_its_request_id(rig: Rig) -> None:
    answer = await rig.app().rrpc(LAMP)
    for call_id in (answer["MessageId"], answer["RequestId"]):
        record = await rig.app().call_record(call_id)
        assert (record["message_id"], record["request_id"]) == (str(answer["MessageId"]), answer["RequestId"])


async def test_a_call_is_found_in_the_store_once_it_has_left_the_memory(rig: Rig) -> None:
    answer = await rig.app().rrpc(LAMP)
    before = await rig.app().call_record(answer["MessageId"])
    rig.server.journal.calls_max = 1
    await rig.app().rrpc(SECOND_LAMP)
    assert rig.server.journal.find(KEY.account_id, answer["RequestId"]) is None
    assert await rig.app().call_record(answer["MessageId"]) == before
    assert await rig.app().call_record(answer["RequestId"]) == before
    assert (await _get(rig, f"/_linkstead/calls/{answer['MessageId']}", rig.app(OTHER_KEY).basic)).status == 404


@pytest.mark.parametrize("call_id", ["1", "9" * 5_000, "nonsense", "%00", "%FF", "../x", "41C4265E-F05D-4E2E"])
async def test_a_call_that_is_not_there_is_not_found(rig: Rig, call_id: str) -> None:
    response = await _get(rig, f"/_linkstead/calls/{call_id}")
    assert response.status == 404
    assert response.headers["Content-Type"] == JSON_TYPE


async def test_the_call_of_another_account_is_not_found(rig: Rig) -> None:
    answer = await rig.app().rrpc(LAMP)
    others = rig.app(OTHER_KEY).basic
    for call_id in (answer["MessageId"], answer["RequestId"]):
        assert (await _get(rig, f"/_linkstead/calls/{call_id}", others)).status == 404
    assert (await _get(rig, "/_linkstead/calls", others)).json() == {"calls": []}


async def test_calls_are_listed_newest_first(rig: Rig) -> None:
    request_ids = []
    for _ in range(3):
        request_ids.append((await rig.app().rrpc(LAMP))["RequestId"])
        rig.clock.advance(1.0)
    listed = (await _get(rig, "/_linkstead/calls")).json()["calls"]
    assert [call["request_id"] for call in listed] == request_ids[::-1]
    assert "evidence" not in listed[0]


async def test_calls_are_listed_once_whether_in_memory_or_in_the_store(rig: Rig) -> None:
    rig.server.journal.calls_max = 2
    for _ in range(4):
        await rig.app().rrpc(LAMP)
        rig.clock.advance(1.0)
    listed = (await _get(rig, "/_linkstead/calls")).json()["calls"]
    assert len({call["request_id"] for call in listed}) == len(listed) == 4
    moments = [call["received_ms"] for call in listed]
    assert moments == sorted(moments, reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("product_key=a1Lamp00001", 2),
        ("product_key=a1Inst00001", 1),
        ("device_name=lamp-02", 1),
        ("action=RRpc", 3),
        ("action=Pub", 0),
        ("verdict=OFFLINE", 3),
        ("verdict=SUCCESS", 0),
        ("diagnosis=never-activated", 3),
        ("diagnosis=answered", 0),
        ("limit=2", 2),
        ("limit=1&device_name=lamp-01", 1),
        ("before_ms=1700000000000", 0),
        ("before_ms=1700000000001", 3),
        ("product_key=", 3),
    ],
)
async def test_calls_are_filtered(rig: Rig, query: str, count: int) -> None:
    for key in (LAMP, SECOND_LAMP, INSTANCE_LAMP):
        await rig.app().rrpc(key)
    assert len((await _get(rig, f"/_linkstead/calls?{query}")).json()["calls"]) == count


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit must be a whole number from 1 to 500"),
        (f"limit={CALLS_LISTED_MAX + 1}", "limit must be a whole number from 1 to 500"),
        ("limit=-1", "limit must be"),
        ("limit=1.5", "limit must be"),
        ("limit=%C2%B2", "limit must be"),
        (f"limit={'9' * 5_000}", "limit must be"),
        ("before_ms=x", "before_ms must be a whole number from 0 to 9007199254740992"),
        ("verdict=GOOD", "'GOOD' is not a valid Verdict"),
        ("diagnosis=bad", "'bad' is not a valid Diagnosis"),
        ("colour=red", "unknown field colour; there are: action, before_ms, device_name, diagnosis, limit, "),
    ],
)
async def test_a_bad_filter_is_told(rig: Rig, query: str, said: str) -> None:
    response = await _get(rig, f"/_linkstead/calls?{query}")
    assert response.status == 400
    assert said in response.json()["error"]


async def test_so_many_calls_are_listed_and_no_more(rig: Rig) -> None:
    for _ in range(CALLS_LISTED_DEFAULT + 1):
        await rig.app().rrpc(LAMP)
    assert len((await _get(rig, "/_linkstead/calls")).json()["calls"]) == CALLS_LISTED_DEFAULT
    assert len((await _get(rig, f"/_linkstead/calls?limit={CALLS_LISTED_MAX}")).json()["calls"]) > CALLS_LISTED_DEFAULT


# --- devices ---


async def test_a_device_is_shown_with_its_connection(rig: Rig) -> None:
    path = "/_linkstead/devices/a1Lamp00001/lamp-01"
    view = (await _get(rig, path)).json()
    assert (view["status"], view["ext"], view["connections"], view["subscriptions"]) == ("UNACTIVE", None, 0, [])
    device = await rig.connected(options="ext=3")
    view = (await _get(rig, path)).json()
    assert (view["status"], view["ext"], view["connections"]) == ("ONLINE", 3, 1)
    assert (view["product_key"], view["device_name"]) == LAMP
    assert "secret" not in json.dumps(view)
    await device.disconnect()
    assert (await _get(rig, path)).json()["status"] == "OFFLINE"


async def test_a_device_is_found_however_its_name_is_escaped(rig: Rig) -> None:
    assert (await _get(rig, "/_linkstead/devices/a1Lamp00001/lamp%2D01")).json()["device_name"] == "lamp-01"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("a1Lamp00001/lamp-99", "iot.device.NotExistedDevice"),
        ("a1Lamp00001/", "iot.device.NullDeviceName"),
        ("a1Lamp00001", "iot.device.NullDeviceName"),
        ("", "iot.prod.NullProductKey"),
        ("a1Lamp00001/%FF%00%2F", "iot.device.InvalidFormattedDeviceName"),
        (f"{OTHER_LAMP.product_key}/{OTHER_LAMP.device_name}", "iot.prod.NotExistedProduct"),
    ],
)
async def test_a_device_that_is_not_the_accounts_is_not_found(rig: Rig, path: str, code: str) -> None:
    response = await _get(rig, f"/_linkstead/devices/{path}")
    assert (response.status, response.json()["code"]) == (404, code)


async def test_a_store_that_fails_is_logged_and_shows_no_traceback(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(rig.server.store, "find_call", fail)
    response = await _get(rig, "/_linkstead/calls/1")
    assert (response.status, response.json()) == (500, {"error": "the request failed inside the server; see its log"})
    (error,) = rig.watch.take()
    assert "disk on fire" in error

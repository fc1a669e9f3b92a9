"""The overview over the wire."""

import json
import re

import pytest

from linkstead.console import overview
from linkstead.console.listing import TICKS_PER_S
from tests.console.records import make_call
from tests.console.web import Listener, Visitor, tick, visitor
from tests.rig import KEY, OTHER_KEY, RAM_KEY, Rig
from tests.wire import HttpClient

pytestmark = pytest.mark.asyncio


async def test_a_key_is_made_shown_once_used_and_disabled(rig: Rig) -> None:
    guest = await visitor(rig)
    page = (await guest.post("/keys", user="operator")).body.decode()
    found = re.search(r'<code>(LS\w{16})</code>.*id="secret-once">(\w{30})<', page, re.DOTALL)
    assert found is not None
    key_id, secret = found.groups()
    assert secret not in (await guest.get("/")).body.decode()
    made = await rig.server.registry.find_access_key(key_id)
    assert made is not None
    assert (made.secret, made.user_name, made.account_id) == (secret, "operator", KEY.account_id)
    assert (await guest.post(f"/keys/{key_id}/disable")).status == 303
    assert (await Visitor(rig.http).post("/login", name=key_id, secret=secret)).status == 401
    entries = await rig.server.store.list_audit(KEY.account_id, 0, 10)
    assert {entry.action for entry in entries} >= {"/console/keys", f"/console/keys/{key_id}/disable"}


async def test_keys_of_others_and_the_own_are_not_disabled(rig: Rig) -> None:
    guest = await visitor(rig)
    for name in (KEY.access_key_id, OTHER_KEY.access_key_id, "nobody"):
        assert (await guest.post(f"/keys/{name}/disable")).status == 404
    assert (await (await visitor(rig, RAM_KEY)).post("/keys")).status == 403
    assert (await guest.post("/keys", user="x" * 65)).status == 400


async def test_keys_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(await rig.server.store.list_access_keys(KEY.account_id))
    monkeypatch.setattr(overview, "ACCESS_KEYS_MAX", count + 1)
    guest = await visitor(rig)
    assert (await guest.post("/keys")).status == 200
    assert (await guest.post("/keys")).status == 409


async def test_the_charts_begin_with_what_was_and_go_on_by_the_second(rig: Rig) -> None:
    guest = await visitor(rig)
    now_s = rig.clock.time_s()
    rig.server.journal.close(make_call(0, at_s=now_s))

    async def read(browser: Listener) -> tuple[str, list[int]]:
        event_id, name, data = (await browser.read()).decode().strip().split("\n")
        assert name == "event: seconds"
        return event_id, [second["good"] for second in json.loads(data.removeprefix("data: "))["seconds"]]

    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        assert await browser.open("/overview/pulse") == 200
        assert await browser.read() == b"retry: 2000\n\n"
        assert await read(browser) == (f"id: 1@{rig.server.node}", [1])
        for number in range(3):
            rig.server.journal.close(make_call(number, at_s=now_s))
        await tick(rig, 2 * TICKS_PER_S)
        assert await read(browser) == (f"id: 4@{rig.server.node}", [3])
    # One that comes again is told what it missed, and not the past.
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        await browser.open("/overview/pulse", **{"Last-Event-ID": f"2@{rig.server.node}"})
        await browser.read()
        assert (await read(browser))[1] == []
        await tick(rig, 2 * TICKS_PER_S)
        assert (await read(browser))[1] == [2]


async def test_quota_use_is_the_most_of_one_second(rig: Rig) -> None:
    for number in range(5):
        rig.server.journal.close(make_call(number, at_s=rig.clock.time_s()))
    page = (await (await visitor(rig)).get("/overview/vitals")).body.decode()
    assert re.search(r"<td>RRpc</td><td class=\"number\">5</td>", page)

"""The page of faults, over the wire."""

import re

import pytest

from tests.console.web import visitor
from tests.rig import RAM_KEY, Rig, RigStarter

pytestmark = pytest.mark.asyncio


async def test_faults_are_planted_shown_and_taken_away(start_rig: RigStarter) -> None:
    rig = await start_rig(is_production=False)
    guest = await visitor(rig)
    page = (await guest.get("/faults")).body.decode()
    assert "Nothing is planted." in page
    assert '<option value="drop-answer">' in page
    fields = {"kind": "drop-answer", "device_name": " lamp-01 ", "nth": "2", "times": "", "delay_ms": ""}
    response = await guest.post("/faults", **fields)
    assert (response.status, response.headers["Location"]) == (303, "/console/faults")
    await guest.post("/faults", kind="cut", at_once="1", clean="1")
    page = (await guest.get("/faults")).body.decode()
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr><td.*?</tr>", page)]
    assert rows == [
        ["1", "drop-answer", "lamp-01", "nth=2", "0", "0", "Remove"],
        ["2", "cut", "–", "clean", "at_once", "0", "0", "Remove"],
    ]
    assert (await guest.post("/faults/1/remove")).status == 303
    assert (await guest.post("/faults/1/remove")).status == 303
    assert (await guest.post("/faults/one/remove")).status == 303
    assert "drop-answer</code>" not in (await guest.get("/faults")).body.decode()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "nonsense"}, "kind must be one of"),
        ({"kind": "drop-answer", "nth": "0"}, "nth must be"),
        ({"kind": "drop-answer", "nth": "two"}, "nth"),
        ({"kind": "throttle", "at_once": "1"}, "at_once is for"),
    ],
)
async def test_what_is_no_fault_comes_back_with_the_reason(
    start_rig: RigStarter, fields: dict[str, str], said: str
) -> None:
    guest = await visitor(await start_rig(is_production=False))
    response = await guest.post("/faults", device_name="lamp<1>", **fields)
    page = response.body.decode()
    assert response.status == 400
    assert said in page[page.index('role="alert"') :]
    assert 'value="lamp&lt;1&gt;"' in page


async def test_a_server_that_serves_has_no_such_page(rig: Rig) -> None:
    guest = await visitor(rig)
    assert (await guest.get("/faults")).status == 404
    assert "/console/faults" not in (await guest.get("/calls")).body.decode()


async def test_it_takes_the_right_to(start_rig: RigStarter) -> None:
    rig = await start_rig(is_production=False)
    await rig.server.store.save_policy(RAM_KEY.account_id, RAM_KEY.user_name, '{"Version":"1","Statement":[]}')
    guest = await visitor(rig, RAM_KEY)
    assert (await guest.get("/faults")).status == 403

"""Devices by the thousand, whole: applications over HTTP, in a server that is killed, and as many as there may be."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store import SqliteStore
from tests.cli.processes import ServerProcess, serving
from tests.rig import KEY, PRODUCT_KEY, Rig, RigStarter, fill
from tests.wire import App, fetch

pytestmark = pytest.mark.asyncio

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DEVICES_BEFORE = 3
"""Of the filled database."""


async def ask(app: App, action: str, **parameters: Any) -> dict[str, Any]:
    texts = {name: str(value) for name, value in parameters.items()}
    form = app.sign_v1({"Action": action, "ProductKey": PRODUCT_KEY, **texts}, "POST")
    response = await fetch(app.address, "POST", "/", FORM, form.encode())
    assert response.status == 200, response
    answer: dict[str, Any] = response.json()
    assert answer["Success"] is True, answer
    return answer


def named(count: int, head: str) -> dict[str, str]:
    return {f"DeviceName.{number}": f"{head}-{number:05}" for number in range(1, count + 1)}


async def apply_for(app: App, action: str, **parameters: Any) -> int:
    apply_id: int = (await ask(app, action, **parameters))["Data"]["ApplyId"]
    return apply_id


async def until(app: App, apply_id: int, status: str, rig: Rig | None = None) -> None:
    async with asyncio.timeout(60.0):
        while (data := (await ask(app, "QueryBatchRegisterDeviceStatus", ApplyId=apply_id))["Data"])[
            "Status"
        ] != status:
            assert data["Status"] in ("CHECK", "CREATE"), data
            if rig is not None:
                rig.clock.advance(0.1)
            await asyncio.sleep(0)


async def register_named(app: App, count: int, head: str, rig: Rig | None = None) -> int:
    apply_id = await apply_for(app, "BatchCheckDeviceNames", **named(count, head))
    await until(app, apply_id, "CHECK_SUCCESS", rig)
    assert await apply_for(app, "BatchRegisterDeviceWithApplyId", ApplyId=apply_id) == apply_id
    await until(app, apply_id, "CREATE_SUCCESS", rig)
    return apply_id


async def test_an_application_is_worked_off_by_the_server(rig: Rig) -> None:
    app = rig.app()
    apply_id = await register_named(app, 250, "named", rig)
    page = await ask(app, "QueryPageByApplyId", ApplyId=apply_id, CurrentPage=5, PageSize=50)
    assert (page["Total"], page["PageCount"]) == (250, 5)
    listed = page["ApplyDeviceList"]["ApplyDeviceInfo"]
    assert [each["DeviceName"] for each in listed] == [f"named-{number:05}" for number in range(201, 251)]
    drawn_id = await apply_for(app, "BatchRegisterDevice", Count=3)
    await until(app, drawn_id, "CREATE_SUCCESS", rig)
    status = (await ask(app, "QueryBatchRegisterDeviceStatus", ApplyId=drawn_id))["Data"]
    assert status == {"Status": "CREATE_SUCCESS", "ValidList": {"Name": []}, "InvalidList": {"Name": []}}
    found = await ask(app, "QueryDeviceDetail", DeviceName="named-00250")
    assert found["Data"]["DeviceSecret"] == listed[-1]["DeviceSecret"]


async def test_a_server_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    await fill(SqliteStore(path, SystemClock()))
    options = ("--no-quotas", "--database", f"sqlite:///{path}")
    with serving("serve", *options, folder=tmp_path, name="first") as server:
        app = app_of(server)
        apply_id = await apply_for(app, "BatchRegisterDevice", Count=3_000)
        async with asyncio.timeout(60.0):
            while (await ask(app, "QueryPageByApplyId", ApplyId=apply_id))["Total"] < 200:
                pass
        server.child.kill()
        server.end()
    with serving("serve", *options, folder=tmp_path, name="second") as server:
        app = app_of(server)
        await until(app, apply_id, "CREATE_SUCCESS")
        assert (await ask(app, "QueryPageByApplyId", ApplyId=apply_id))["Total"] == 3_000
        assert (await ask(app, "QueryDevice"))["Total"] == DEVICES_BEFORE + 3_000
        assert server.stop() == 0


def app_of(server: ServerProcess) -> App:
    return App(server.http, SystemClock(), KEY.access_key_id, KEY.secret)


async def pages(app: App, page_size: int) -> AsyncIterator[tuple[float, list[Mapping[str, Any]]]]:
    """Every page of the devices, with how long it took."""
    token: dict[str, str] = {}
    page = 1
    while True:
        started_s = time.perf_counter()
        answer = await ask(app, "QueryDevice", CurrentPage=page, PageSize=page_size, **token)
        yield time.perf_counter() - started_s, answer["Data"]["DeviceInfo"]
        if "NextToken" not in answer:
            return
        token = {"NextToken": answer["NextToken"]}
        page += 1


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_devices_are_registered_and_listed(start_rig: RigStarter) -> None:
    rig = await start_rig(clock=SystemClock())
    app = rig.app()
    started_s = time.perf_counter()
    for number in range(5):
        apply_id = await register_named(app, 10_000, f"named{number}")
        assert (await ask(app, "QueryPageByApplyId", ApplyId=apply_id))["Total"] == 10_000
    for _ in range(5):
        await until(app, await apply_for(app, "BatchRegisterDevice", Count=10_000), "CREATE_SUCCESS")
    registered_s = time.perf_counter() - started_s
    names: set[str] = set()
    times_s = []
    async for taken_s, page in pages(app, 50):
        names.update(each["DeviceName"] for each in page)
        times_s.append(taken_s)
    total = (await ask(app, "QueryDevice"))["Total"]
    assert len(names) == total
    assert total >= 100_000 + 1
    first_ms, last_ms = (sorted(part)[len(part) // 2] * 1e3 for part in (times_s[1:22], times_s[-21:]))
    print(  # noqa: T201
        f"registered in {registered_s:.0f} s; first pages {first_ms:.2f} ms, last pages {last_ms:.2f} ms:"
        f" {last_ms / first_ms:.2f}"
    )

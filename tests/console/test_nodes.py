"""Pages of a node whose devices are on another one."""

import asyncio

import pytest

from tests.console.web import visitor
from tests.rig import LAMP, PRODUCT_KEY, PairRig
from tests.wire import App, until

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)]
PATH = f"/devices/{PRODUCT_KEY}/{LAMP.device_name}"


async def test_the_page_of_a_device_says_which_node_it_is_connected_to(rig: PairRig) -> None:
    guest = await visitor(rig)
    assert "another node" not in (await guest.get(PATH)).body.decode()
    device = await rig.connected()
    page = (await guest.get(PATH)).body.decode()
    assert 'data-tone="good">online<' in page
    assert f"<code>{rig.holder.node}</code>" in page
    assert "another node" in page
    await device.disconnect()
    await until(lambda: not rig.is_online)
    await rig.settle()
    page = (await guest.get(PATH + "/state")).body.decode()
    assert 'data-tone="away">offline<' in page
    assert "another node" not in page


async def test_calls_of_other_nodes_are_listed_when_the_page_is_loaded(rig: PairRig) -> None:
    device = await rig.connected()
    assert rig.holder.endpoints is not None
    app = App(rig.holder.endpoints.http, rig.holder.clock, "app-key", "app-secret")
    calling = asyncio.ensure_future(app.rrpc(LAMP, b"from the other node"))
    await device.answer_call(b"pong")
    assert (await calling)["RrpcCode"] == "SUCCESS"
    await rig.settle()
    (call,) = rig.calls()
    assert rig.server.journal.find(call.account_id, call.request_id) is None
    guest = await visitor(rig)
    for path in ("/calls", PATH):
        assert f'id="call-{call.request_id}"' in (await guest.get(path)).body.decode()
    assert "from the other node" in (await guest.get(f"/calls/{call.request_id}")).body.decode()

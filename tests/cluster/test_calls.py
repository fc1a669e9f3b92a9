"""Calls from one node to a device of another, over a real NATS server."""

import asyncio

import pytest

from tests.rig import KEY, LAMP, PairRig, Rig
from tests.wire import App

pytestmark = pytest.mark.asyncio
two_nodes = pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)


@two_nodes
async def test_a_call_reaches_a_device_of_another_node(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, b"ping"))
    await device.answer_call(b"pong")
    answer = await call
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "cG9uZw==")


@two_nodes
async def test_a_call_to_a_device_of_the_same_node_asks_neither_nats_nor_the_database(rig: PairRig) -> None:
    device = await rig.connected()
    assert rig.holder.endpoints is not None
    assert rig.holder.cluster is not None
    app = App(rig.holder.endpoints.http, rig.clock, KEY.access_key_id, KEY.secret)
    for _ in range(2):
        said, asked = rig.holder.cluster.bus.said_count, rig.holder.store.statement_count
        call = asyncio.ensure_future(app.rrpc(LAMP, b"ping"))
        await device.answer_call(b"pong")
        assert (await call)["RrpcCode"] == "SUCCESS"
    # The first has brought the caller's key into memory.
    assert (rig.holder.cluster.bus.said_count, rig.holder.store.statement_count) == (said, asked)

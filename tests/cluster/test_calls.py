"""Calls from one node to a device of another, over a real NATS server."""

import asyncio

import pytest

from tests.rig import LAMP, Rig

pytestmark = pytest.mark.asyncio
two_nodes = pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)


@two_nodes
async def test_a_call_reaches_a_device_of_another_node(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, b"ping"))
    await device.answer_call(b"pong")
    answer = await call
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "cG9uZw==")

"""Calls from one node to a device of another, over a real NATS server."""

import asyncio

import pytest
import pytest_asyncio

from tests.rig import LAMP, Rig, RigStarter

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def pair(start_pair: RigStarter) -> Rig:
    return await start_pair()


async def test_a_call_reaches_a_device_of_another_node(pair: Rig) -> None:
    device = await pair.connected()
    call = asyncio.ensure_future(pair.app().rrpc(LAMP, b"ping"))
    await device.answer_call(b"pong")
    answer = await call
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "cG9uZw==")

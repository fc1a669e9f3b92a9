"""One of three NATS servers is killed while all nodes are called: as often as `test_death_of_a_node` says."""

import asyncio
import contextlib
import random
import time

import pytest

from linkstead.invocation import Verdict
from tests.cli.processes import ServerProcess
from tests.cluster.field import (
    NODE_COUNT,
    RATE,
    Lamp,
    Load,
    calling_from,
    check_truth,
    running_tasks,
    until_holds,
)
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

BEFORE_S, BETWEEN_S = 2.0, 4.0
RESUMED_S = 1.0
"""After a NATS server is gone calls reach every device again within this time."""


async def test_calls_resume_within_a_second_after_each_death_of_a_nats_server(
    nodes: list[ServerProcess], lamps: list[Lamp], nats_cluster: list[NatsServer]
) -> None:
    chance = random.Random(1)
    async with contextlib.AsyncExitStack() as stack:
        callers = await stack.enter_async_context(calling_from(nodes))
        places = [[nodes[number % NODE_COUNT].mqtt] for number in range(len(lamps))]
        await stack.enter_async_context(
            running_tasks(*(lamp.live(place) for lamp, place in zip(lamps, places, strict=True)))
        )
        await until_holds(lambda: all(lamp.connected_s for lamp in lamps), 20.0)
        load = Load()
        loads = await stack.enter_async_context(
            running_tasks(load.run(RATE, lambda: (chance.choice(callers), chance.choice(lamps))))
        )
        await asyncio.wait(loads, timeout=BEFORE_S)
        killed_s = []
        # Each node speaks to one of them: whichever it is, it is killed once.
        for server in nats_cluster:
            server.kill()
            killed_s.append(time.monotonic())
            await asyncio.wait(loads, timeout=BETWEEN_S)
            server.start()
            await asyncio.wait(loads, timeout=RESUMED_S)
        for task in loads:
            task.cancel()
        await load.end()
        await check_truth(load.made)
        connected_s = max(lamp.connected_s for lamp in lamps)
        assert connected_s < killed_s[0], "a device was cut off"
        failed = [made for made in load.made if made.verdict != Verdict.SUCCESS]
        for made in failed:
            assert made.verdict in {Verdict.UNKNOWN, Verdict.TIMEOUT}
            assert any(made.ended_s >= at_s and made.started_s - at_s < RESUMED_S for at_s in killed_s)

"""Devices that change from node to node at random while they are called from everywhere.

As long, as often and with as many calls a second as the environment says: TEST_FLAPPING_S, TEST_SEED,
TEST_CALLS_PER_SECOND.
"""

import asyncio
import os
import random
from collections.abc import Sequence

import pytest

from linkstead.invocation import Verdict
from tests.cli.processes import ServerProcess
from tests.cluster.field import (
    ASKED_AGAIN_S,
    RATE,
    Lamp,
    Load,
    calling_from,
    check_truth,
    running_tasks,
    until_holds,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

FLAPPING_COUNT = 20
LENGTH_S = float(os.environ.get("TEST_FLAPPING_S", "60"))
SEED = os.environ.get("TEST_SEED", "1")
SETTLED_S = 2.0


async def flap(lamp: Lamp, nodes: Sequence[ServerProcess], chance: random.Random) -> None:
    """Connect to one node after the other: after a goodbye, after a break, or while it is connected still."""
    while True:
        client = await lamp.connect(chance.choice(nodes).mqtt, clean_start=chance.random() < 0.5)
        await asyncio.sleep(chance.uniform(0.0, 1.0) ** 2)
        how = chance.random()
        if how < 0.3:
            client.reset()
        elif how < 0.6:
            await client.close()


async def test_of_devices_that_flap_between_nodes_each_has_one_holder_and_each_call_a_true_verdict(
    nodes: list[ServerProcess], lamps: list[Lamp]
) -> None:
    chance = random.Random(SEED)
    flapping = lamps[:FLAPPING_COUNT]
    load = Load()
    async with calling_from(nodes) as callers:
        async with running_tasks(load.run(RATE, lambda: (chance.choice(callers), chance.choice(flapping)))) as loads:
            works = [flap(lamp, nodes, random.Random(f"{SEED} {lamp.key}")) for lamp in flapping]
            async with running_tasks(*works) as flaps:
                await asyncio.wait([*loads, *flaps], timeout=LENGTH_S, return_when=asyncio.FIRST_COMPLETED)
        await load.end()
        verdicts = {made.verdict for made in load.made}
        assert {Verdict.SUCCESS, Verdict.OFFLINE, Verdict.HALFCONN} <= verdicts <= {*Verdict} - {Verdict.UNKNOWN}
        await check_truth(load.made)
        # One connects last, and every other connection of its device ends.
        for lamp in flapping:
            await lamp.connect(chance.choice(nodes).mqtt)
        await until_holds(lambda: all(lamp.open_count == 1 for lamp in flapping), SETTLED_S)
        await asyncio.sleep(ASKED_AGAIN_S)
        assert [lamp.open_count for lamp in flapping] == [1] * FLAPPING_COUNT
        last = Load()
        for lamp in flapping:
            for caller in callers:
                last.call(caller, lamp)
        await last.end()
        assert {made.verdict for made in last.made} == {Verdict.SUCCESS}
        await check_truth(last.made)

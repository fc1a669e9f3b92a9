"""One of three nodes is killed while all are called, and calls are accepted everywhere.

So many calls a second as TEST_CALLS_PER_SECOND in the environment says, 500 where it says nothing.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Sequence
from itertools import cycle

import pytest

from linkstead.config import Address
from linkstead.invocation import Verdict
from tests.cli.processes import ServerProcess
from tests.cluster.accepted import Accepted, check_accepted
from tests.cluster.field import (
    CALL_TIMEOUT_MS,
    LATE_MS_MAX,
    NODE_COUNT,
    SLACK_MS,
    Lamp,
    Load,
    Made,
    calling_from,
    check_truth,
    running_tasks,
    until_holds,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

RATE = float(os.environ.get("TEST_CALLS_PER_SECOND", "500"))
BEFORE_S, AFTER_S = 3.0, 6.0
CALLABLE_S = 2.0
"""A device that has connected can be called from every node within this time."""

ASYNCHRONOUS_SHARE = 0.1
UNTOUCHED_MS_MAX = 1_000
TRUE_OF_THE_DEAD = {Verdict.SUCCESS, Verdict.TIMEOUT, Verdict.UNKNOWN, Verdict.HALFCONN, Verdict.OFFLINE}


def places_from(nodes: Sequence[ServerProcess], number: int) -> list[Address]:
    """Where a device goes: to the node of this number, then to the others."""
    around = cycle(nodes)
    order = [next(around) for _ in range(number + len(nodes))][number:]
    return [node.mqtt for node in order]


async def test_what_a_killed_node_had_in_its_hands_ends_truly_and_nothing_else_is_touched(
    nodes: list[ServerProcess], lamps: list[Lamp]
) -> None:
    chance = random.Random(1)
    dead = nodes[-1]
    async with contextlib.AsyncExitStack() as stack:
        callers = await stack.enter_async_context(calling_from(nodes))
        places = [places_from(nodes, number % NODE_COUNT) for number in range(len(lamps))]
        await stack.enter_async_context(
            running_tasks(*(lamp.live(place) for lamp, place in zip(lamps, places, strict=True)))
        )
        await until_holds(lambda: all(lamp.connected_s for lamp in lamps), 20.0)
        elsewhere, there = (
            [lamp for lamp in lamps if (lamp.place == dead.mqtt) is is_there] for is_there in (False, True)
        )
        assert there
        load, accepted = Load(), Accepted()
        targets = {"callers": callers}
        loads = await stack.enter_async_context(
            running_tasks(
                load.run(RATE, lambda: (chance.choice(targets["callers"]), chance.choice(lamps))),
                accepted.run(RATE * ASYNCHRONOUS_SHARE, callers, lamps, random.Random(2)),
            )
        )
        await asyncio.wait(loads, timeout=BEFORE_S)
        assert accepted.calls
        # Its apps call another node, as they would by what spreads their connections.
        alive = targets["callers"] = callers[:-1]
        dead.child.kill()
        killed_s = time.monotonic()
        await asyncio.wait(loads, timeout=AFTER_S)
        for task in loads:
            task.cancel()
        await load.end()
        assert len(load.made) > 0.9 * RATE * (BEFORE_S + AFTER_S)
        judged = [made for made in load.made if made.caller in alive]
        await check_truth(judged)
        check_untouched([made for made in judged if made.lamp in elsewhere])
        check_touched([made for made in judged if made.lamp in there], killed_s)
        await check_accepted(accepted, callers[0])


def check_untouched(calls: Sequence[Made]) -> None:
    """Nothing has happened to them."""
    assert {made.verdict for made in calls} == {Verdict.SUCCESS}
    assert max(made.took_ms for made in calls) < UNTOUCHED_MS_MAX


def check_touched(calls: Sequence[Made], killed_s: float) -> None:
    """Those in the dead node's hands ended in time, and those after the device came back succeeded."""
    assert max(made.took_ms for made in calls) < CALL_TIMEOUT_MS + LATE_MS_MAX + SLACK_MS
    assert {made.verdict for made in calls} <= TRUE_OF_THE_DEAD
    back = [made for made in calls if made.started_s > made.lamp.connected_s + CALLABLE_S]
    assert all(made.lamp.connected_s > killed_s for made in calls)
    assert len(back) > len(calls) / 10
    assert {made.verdict for made in back} == {Verdict.SUCCESS}

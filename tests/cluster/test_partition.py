"""A node is cut off from the others, and comes back: hosts in network namespaces. Needs root."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.invocation import Verdict
from tests.cli.processes import ServerProcess, serving
from tests.cluster.field import (
    CALL_TIMEOUT_MS,
    LATE_MS_MAX,
    NODE_COUNT,
    SLACK_MS,
    Lamp,
    Load,
    add_lamps,
    calling_from,
    check_truth,
    name_lamps,
    name_options,
    relaying,
    running_tasks,
    until_holds,
)
from tests.cluster.hosts import BACK_NET, THIS_HOST, Host, made_hosts
from tests.nats_server import running_nats_cluster
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

RATE = 20.0
BEFORE_S = 2.0
CUT_S = 20.0
"""A server that is silent is given up after 15 s."""

HEALED_S = 40.0
MOVED_COUNT = 3


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    with made_hosts(NODE_COUNT) as hosts:
        yield hosts


@pytest_asyncio.fixture
async def scattered(
    hosts: list[Host], postgres: PostgresServer, filled_postgres: str, tmp_path: Path
) -> AsyncIterator[list[ServerProcess]]:
    """A node on each host."""
    here = f"{BACK_NET}.{THIS_HOST}"
    async with postgres.copied(filled_postgres) as url, relaying(here, postgres.port) as port:
        await add_lamps(url, name_lamps(24))
        there = url.replace(f"127.0.0.1:{postgres.port}", f"{here}:{port}")
        with running_nats_cluster(tmp_path, here) as nats, contextlib.ExitStack() as stack:
            nodes = []
            for host in hosts:
                places = ("--http", f"{host.front}:0", "--mqtt", f"{host.front}:0")
                options = (*name_options(there, nats), *places)
                starting = asyncio.to_thread(
                    stack.enter_context,
                    serving("serve", *options, folder=tmp_path, name=host.namespace, prefix=host.prefix),
                )
                nodes.append(await starting)
            yield nodes


async def test_a_node_that_is_cut_off_tells_the_truth_and_afterwards_each_device_is_held_once(
    hosts: list[Host], scattered: list[ServerProcess], lamps: list[Lamp]
) -> None:
    chance = random.Random(1)
    cut_off, *others = scattered
    async with calling_from(scattered) as callers:
        for number, lamp in enumerate(lamps):
            await lamp.connect(scattered[number % NODE_COUNT].mqtt)
        moved = [lamp for lamp in lamps if lamp.place == cut_off.mqtt][:MOVED_COUNT]
        load = Load()
        async with running_tasks(load.run(RATE, lambda: (chance.choice(callers), chance.choice(lamps)))) as loads:
            await asyncio.wait(loads, timeout=BEFORE_S)
            hosts[0].cut()
            await asyncio.wait(loads, timeout=BEFORE_S)
            # The cut-off node still has their first connections.
            for lamp in moved:
                await lamp.connect(others[0].mqtt)
            await asyncio.wait(loads, timeout=CUT_S)
            assert {lamp.open_count for lamp in moved} == {2}
            hosts[0].heal()
            await until_holds(lambda: all(lamp.open_count == 1 for lamp in lamps), HEALED_S)
        await load.end()
        # Whatever the node could not ask of the database or of other nodes, each call ended in time and with the truth.
        await check_truth(load.made)
        assert max(made.took_ms for made in load.made) < CALL_TIMEOUT_MS + LATE_MS_MAX + SLACK_MS
        assert Verdict.UNKNOWN in {made.verdict for made in load.made if made.caller is callers[0]}
        # All is as it was.
        last = Load()
        for lamp in lamps:
            for caller in callers:
                last.call(caller, lamp)
        await last.end()
        assert {made.verdict for made in last.made} == {Verdict.SUCCESS}
        assert all(lamp.open_count == 1 for lamp in lamps)

"""The primary of a PostgreSQL with a standby is killed under load, and the standby takes its place."""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.invocation import Verdict
from linkstead.server import SystemClock
from linkstead.store.postgres import PostgresStore
from tests.cli.processes import ServerProcess
from tests.cluster.accepted import Accepted, check_accepted
from tests.cluster.field import (
    Lamp,
    Load,
    add_lamps,
    calling_from,
    check_truth,
    name_lamps,
    running_tasks,
    serving_nodes,
)
from tests.nats_server import NatsServer
from tests.postgres import PASSWORD, USER, PostgresServer
from tests.rig import PRODUCT_KEY, fill
from tests.wire import WAIT_S

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

RATE, ACCEPTED_RATE = 50.0, 20.0
BEFORE_S, AWAY_S, AFTER_S = 3.0, 4.0, 6.0
BACK_S = 10.0
"""After a standby was promoted what has to be written is written again within this time."""

ASKED_AGAIN_S = 0.1
KEYS = name_lamps(12)


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary whose commits wait for its standby."""
    with closing(PostgresServer()) as primary:
        primary.start()
        with closing(PostgresServer(primary=primary)) as standby:
            standby.start()
            asyncio.run(primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"))
            yield primary, standby


@pytest_asyncio.fixture
async def database(pair: tuple[PostgresServer, PostgresServer]) -> str:
    """A database with lamps, on whichever of the two takes writes."""
    primary, standby = pair
    name = await primary.make_database()
    await fill(PostgresStore(primary.url(name), SystemClock()))
    await add_lamps(primary.url(name), KEYS)
    places = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"postgresql://{USER}:{PASSWORD}@{places}/{name}?target_session_attrs=read-write"


@pytest.fixture
def replicated(database: str, nats_server: NatsServer, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two nodes on it."""
    with serving_nodes(tmp_path, database, [nats_server], 2) as nodes:
        yield nodes


async def until_activated(database: str) -> None:
    """Wait until it is written that all lamps were connected."""
    store = PostgresStore(database, SystemClock())
    await store.open()
    async with asyncio.timeout(WAIT_S):
        while not all(device.activated_ms for device in await store.find_devices(KEYS)):  # noqa: ASYNC110
            await asyncio.sleep(ASKED_AGAIN_S)
    await store.close()


async def test_nodes_go_on_over_the_death_of_the_primary_and_nothing_accepted_is_lost(
    pair: tuple[PostgresServer, PostgresServer], database: str, replicated: list[ServerProcess]
) -> None:
    primary, standby = pair
    chance = random.Random(1)
    async with contextlib.AsyncExitStack() as stack:
        callers = await stack.enter_async_context(calling_from(replicated))
        lamps = [Lamp(key) for key in KEYS]
        for number, lamp in enumerate(lamps):
            stack.push_async_callback(lamp.close)
            await lamp.connect(replicated[number % 2].mqtt)
        # What is known of a device is remembered once it is written that it was connected.
        await until_activated(database)
        warm = Load()
        for lamp in lamps:
            for caller in callers:
                warm.call(caller, lamp)
        await warm.end()
        load, accepted = Load(), Accepted()
        loads = await stack.enter_async_context(
            running_tasks(
                load.run(RATE, lambda: (chance.choice(callers), chance.choice(lamps))),
                accepted.run(ACCEPTED_RATE, callers, lamps, random.Random(2)),
            )
        )
        await asyncio.wait(loads, timeout=BEFORE_S)
        count_before = len(accepted.calls)
        assert count_before
        primary.kill()
        await asyncio.wait(loads, timeout=AWAY_S)
        count_away = len(accepted.calls)
        await asyncio.to_thread(standby.promote)
        promoted_s = time.monotonic()
        new = 0
        while True:
            answer = await callers[new % 2].post("RegisterDevice", ProductKey=PRODUCT_KEY, DeviceName=f"new-{new:04}")
            new += 1
            if answer["Success"]:
                break
            assert time.monotonic() - promoted_s < BACK_S, answer
            await asyncio.sleep(ASKED_AGAIN_S)
        await asyncio.wait(loads, timeout=AFTER_S)
        assert len(accepted.calls) > count_away + ACCEPTED_RATE
        for task in loads:
            task.cancel()
        await load.end()
        # Devices stayed, and calls to them went on as if nothing had been.
        assert all(lamp.open_count == 1 for lamp in lamps)
        assert {made.verdict for made in load.made} == {Verdict.SUCCESS}
        await check_truth(load.made)
        await check_accepted(accepted, callers[0])

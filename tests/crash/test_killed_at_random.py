"""Whichever process is killed, at whatever moment, under load: apps were told the truth, and what was accepted is kept.

What apps and devices have seen is noted here, outside of all that is killed; at the end the server is asked for every
call, and its records must agree with that.
"""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from linkstead.invocation import Verdict
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store.postgres import PostgresStore
from tests.cluster.accepted import Accepted
from tests.cluster.field import Caller, Lamp, Load, Made, find_lie, name_lamps, running_tasks, until_holds
from tests.crash.installation import (
    Installation,
    OneServer,
    Supervised,
    WithDatabase,
    Workers,
    add_lamps,
    until_activated,
)
from tests.postgres import PostgresServer
from tests.rig import fill
from tests.wire import fetch

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(600)]

KILLS = 6
LAMPS = 6
CALLS_PER_SECOND = 60.0
ACCEPTED_PER_SECOND = 20.0
BETWEEN_S = (0.3, 2.5)
"""From the moment when all runs again to the next kill."""

BACK_S_MAX = 20.0
RECORDED_S = 20.0
KEPT_S = 1.0
"""The history of calls is written a moment after they end; what ended so long before the kill is kept."""

STORES = ("sqlite", "postgres")
VICTIMS = [
    *((store, "server") for store in STORES),
    *((store, name) for store in STORES for name in ("worker-1", "worker-2", "nats-server", "supervisor")),
    ("postgres", "database"),
]
WITHOUT_RECORDS = ("nats-server", "database")
"""With these no record is lost: it waits in the memory of others."""

"""Each process of each way to run it. A child that runs scripts: `tests/scripts/test_host.py`."""


class Kill(NamedTuple):
    """When it began, and when it was over: what is answered in between may have come from the one that died."""

    began_s: float
    over_s: float

    def may_have_lost(self, made: Made) -> bool:
        """True for a call that ended too shortly before to be in the history."""
        return made.started_s < self.over_s and made.ended_s > self.began_s - KEPT_S


class Stored(NamedTuple):
    """A database with a few records, and the server that it is on, which may be killed."""

    url: str
    server: PostgresServer | None


@pytest.fixture
def stored(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if store == "sqlite":
        shutil.copyfile(request.getfixturevalue("filled_database"), tmp_path / DATABASE_FILE)
        yield Stored(f"sqlite:///{tmp_path / DATABASE_FILE}", None)
        return

    async def make(server: PostgresServer) -> str:
        url = server.url(await server.make_database())
        await fill(PostgresStore(url, SystemClock()))
        return url

    with contextlib.closing(PostgresServer()) as server:
        server.start()
        yield Stored(asyncio.run(make(server)), server)


@contextlib.asynccontextmanager
async def installed(stored: Stored, victim: str, folder: Path, lamps: Sequence[Lamp]) -> AsyncIterator[Installation]:
    """An installation with these devices."""
    await add_lamps(stored.url, [lamp.key for lamp in lamps])
    installation: OneServer
    if victim == "server":
        installation = OneServer(folder, stored.url)
    elif victim == "database":
        assert stored.server is not None
        installation = WithDatabase(folder, stored.url, stored.server)
    elif victim == "supervisor":
        installation = Supervised(folder, stored.url, victim)
    else:
        installation = Workers(folder, stored.url, victim)
    try:
        yield installation
    finally:
        installation.close()


@pytest.mark.parametrize(("store", "victim"), VICTIMS)
async def test_what_was_promised_holds(stored: Stored, tmp_path: Path, store: str, victim: str) -> None:
    chance = random.Random(f"{store} {victim}")
    lamps = [Lamp(key) for key in name_lamps(LAMPS)]
    kills: list[Kill] = []
    async with contextlib.AsyncExitStack() as stack:
        installation = await stack.enter_async_context(installed(stored, victim, tmp_path, lamps))
        place = installation.server.mqtt
        await stack.enter_async_context(running_tasks(*(lamp.live([place]) for lamp in lamps)))
        for lamp in lamps:
            stack.push_async_callback(lamp.close)
        await until_holds(lambda: all(lamp.connected_s for lamp in lamps), BACK_S_MAX)
        # It is so a moment later; one that connects for the first time right before the kill has never connected.
        await until_activated(stored.url, [lamp.key for lamp in lamps])
        caller = Caller(installation.server)
        stack.callback(caller.close)
        load, accepted = Load(), Accepted()
        async with running_tasks(
            load.run(CALLS_PER_SECOND, lambda: (caller, chance.choice(lamps))),
            accepted.run(ACCEPTED_PER_SECOND, [caller], lamps, random.Random(2)),
        ):
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(*BETWEEN_S))
                began_s = time.monotonic()
                await asyncio.to_thread(installation.kill)
                kills.append(Kill(began_s, time.monotonic()))
                await asyncio.to_thread(installation.restore)
                await until_answered(load, time.monotonic())
        await load.end()
        assert len(accepted.calls) > KILLS
        await check_answered(load.made, [] if victim in WITHOUT_RECORDS else kills)
        await check_accepted(caller, accepted)


async def until_answered(load: Load, since_s: float) -> None:
    """Calls that began after this moment succeed again."""
    await until_holds(
        lambda: any(made.started_s > since_s and made.verdict == Verdict.SUCCESS for made in load.made[-200:]),
        BACK_S_MAX,
    )


async def find_record(caller: Caller, call_id: str) -> dict[str, Any] | None:
    """What the server has of a call; None where it has nothing."""
    target, headers = caller.sign_v3("", {}, method="GET", path=f"/_linkstead/calls/{call_id}")
    response = await fetch(caller.address, "GET", target, headers)
    assert response.status in {200, 404}, response
    return dict(response.json()) if response.status == 200 else None


async def check_answered(calls: Sequence[Made], kills: Sequence[Kill]) -> None:
    """Every answer that an app got is what its record and its device say; no record is lost but the very last."""
    wrong = []
    for made in calls:
        if made.answer is None:
            continue
        assert "RrpcCode" in made.answer, made.answer
        record = await find_record(caller := made.caller, made.answer["MessageId"])
        if record is None and not any(kill.may_have_lost(made) for kill in kills):
            # It may still be on its way into the database.
            ended_s = ", ".join(f"{made.ended_s - kill.began_s:.2f}" for kill in kills)
            await until_recorded(caller, made.answer["MessageId"], f"; seconds from each kill to its end: {ended_s}")
            record = await find_record(caller, made.answer["MessageId"])
        if record is not None and (lie := find_lie(made, record)):
            wrong.append((lie, record))
    assert not wrong, f"{len(wrong)} of {len(calls)}, the first: {wrong[0]}"
    assert sum(made.verdict == Verdict.SUCCESS for made in calls) > KILLS


async def until_recorded(caller: Caller, call_id: str, about: str = "") -> None:
    deadline_s = time.monotonic() + RECORDED_S
    while await find_record(caller, call_id) is None:
        assert time.monotonic() < deadline_s, f"the record of {call_id} is lost{about}"
        await asyncio.sleep(0.05)


async def check_accepted(caller: Caller, accepted: Accepted) -> None:
    """Every call that was accepted has reached its device and ended well."""
    deadline_s = time.monotonic() + RECORDED_S
    lost = []
    for request_id, (lamp, number) in accepted.calls.items():
        record = await find_record(caller, request_id)
        while (record is None or record["verdict"] is None) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)
            record = await find_record(caller, request_id)
        if record is None or record["verdict"] != Verdict.SUCCESS or not lamp.seen[number]:
            lost.append((request_id, lamp.seen[number], record))
    assert not lost, f"{len(lost)} of {len(accepted.calls)}, the first: {lost[0]}"

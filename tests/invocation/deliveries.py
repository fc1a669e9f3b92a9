"""What tests of delivery have in common: a world with a delivery, calls in it, stores and links that look on."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from linkstead.alink.services import make_request, parse_reply
from linkstead.invocation import Call, Diagnosis, Letter, Reached, Stage, Verdict
from linkstead.registry import Account, DeviceKey, Origin
from linkstead.sessions import QueuedMessage, Receipt, SavedMessage, Session
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.actions.world import ACCOUNT_ID, World
from tests.fakes import IOT_ID, KEY, NOW_MS, FakeLink, make_device, make_product

TOPIC = "/sys/a1Lnk5tEad0/lamp-01/thing/service/RunScene"
REPLY_TOPIC = f"{TOPIC}_reply"
ORIGIN = Origin(KEY, ACCOUNT_ID, IOT_ID)


class FullDisk(SqliteStore):
    """Nothing can be kept for as long as it is full."""

    is_full = True

    async def keep_calls(self, calls: Sequence[Call], messages: Sequence[SavedMessage]) -> list[int]:
        if self.is_full:
            raise OSError("no room on the disk")
        return await super().keep_calls(calls, messages)


class AwayStore(SqliteStore):
    """No call can be looked up for as long as it is away."""

    is_away = False

    async def find_open_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        if self.is_away:
            raise OSError("no connection")
        return await super().find_open_call(key, alink_id)


class GatedStore(SqliteStore):
    """What the task `second` looks up it learns when the gate is open, but for the first time."""

    gate: asyncio.Event
    seconds = 0

    async def find_kept_call(self, request_id: str) -> Call | None:
        call = await super().find_kept_call(request_id)
        task = asyncio.current_task()
        if task is not None and task.get_name() == "second":
            self.seconds += 1
            if self.seconds > 1:
                await self.gate.wait()
        return call


class WatchingLink(FakeLink):
    """Sees, each time something is sent, how many calls are on the disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.kept: list[int] = []

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        self.kept.append(self._count())
        super().send(topic, payload, receipt)

    def pump(self) -> None:
        self.kept.append(self._count())

    def _count(self) -> int:
        return count_rows(self.path, "call_history")


class WatchingPostman:
    """Sees, each time other nodes are to look what is in the store, how many messages are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[int] = []

    async def post(self, call: Call, topic: str, payload: bytes, qos: int, *, needs_subscription: bool) -> bool:
        return False

    def wake(self, key: DeviceKey) -> None:
        self.kept.append(count_rows(self.path, "message"))

    async def broadcast(self, letter: Letter) -> Reached:
        raise NotImplementedError

    def is_there(self, node: str) -> bool:
        return node != "dead-node"

    def is_another(self, node: str) -> bool:
        return node != "node"


def count_rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


@contextlib.asynccontextmanager
async def opened(path: Path, clock: ManualClock, kind: type[SqliteStore] = SqliteStore) -> AsyncIterator[World]:
    """A process's life on a database, to its orderly end."""
    store = kind(path, clock)
    await store.open()
    if await store.find_product(KEY.product_key) is None:
        await store.add_account(Account(ACCOUNT_ID, "account", NOW_MS))
        await store.add_product(make_product())
        await store.add_devices([make_device()])
    world = World(path, store, clock)
    # As it is before a device can connect.
    await world.news.prepare(KEY.product_key)
    yield world
    await world.delivery.stop()
    await store.close()


def a_call(world: World, number: int = 1, **fields: Any) -> Call:
    """A call that came in, for a service of a lamp."""
    usual = {"action": "InvokeThingService", "account_id": ACCOUNT_ID, "key": KEY, "target": "RunScene"}
    call = Call(f"request-{number}", "node", **{**usual, "alink_id": number, "message_id": 10**18 + number, **fields})
    call.mark(Stage.RECEIVED, world.clock.time_s(), world.clock.monotonic_s())
    world.journal.open(call)
    return call


async def post(world: World, number: int = 1, qos: int = 1, **fields: Any) -> Call:
    call = a_call(world, number, **fields)
    await world.delivery.post(call, TOPIC, make_request(number, "thing.service.RunScene", {}), qos)
    world.journal.close(call)
    return call


def answer(world: World, number: int = 1, code: int = 200, identifier: str = "RunScene", **fields: Any) -> None:
    payload = json.dumps({"id": str(number), "code": code}).encode()
    given = {"origin": ORIGIN, "topic": REPLY_TOPIC, "payload": payload, **fields}
    world.delivery.answer(identifier=identifier, reply=parse_reply(payload), **given)


def away(world: World, kept_s: float = QUEUED_AGE_S_MAX) -> Session:
    """A device whose session is kept, and who is not here."""
    link = FakeLink()
    session = world.attach(link, kept_s=kept_s)
    world.detach(link)
    return session


def waiting(session: Session) -> list[QueuedMessage]:
    return list(session.queue or ())


def ending(call: Call) -> tuple[Verdict | None, Diagnosis | None, int]:
    return call.verdict, call.diagnosis, call.result_code


def stages(call: Call) -> list[Stage]:
    return [moment.stage for moment in call.timeline]


async def stored(world: World, call: Call) -> Call:
    assert await world.store.flush()
    found = await world.store.find_call(ACCOUNT_ID, call.request_id)
    assert found is not None
    return found


async def messages(world: World) -> list[SavedMessage]:
    assert await world.store.flush()
    return await world.store.list_messages(KEY)


ANSWERED = (Verdict.SUCCESS, Diagnosis.ANSWERED, 200)
DELIVERED = (Verdict.SUCCESS, Diagnosis.DELIVERED, 0)

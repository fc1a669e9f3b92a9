"""From a notice to a receiver, through a whole server."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.clock import milliseconds
from linkstead.server import DATABASE_FILE, REGISTRY_POLL_S
from linkstead.store import SqliteStore
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.store.retention import DAY_MS
from linkstead.subscription import NoticeKind
from linkstead.testing.clock import ManualClock
from linkstead.webhook.schedule import FIRST_WAIT_S, JITTER
from linkstead.webhook.sender import LOOK_AGAIN_S_MAX
from tests.rig import ACCOUNT_ID, LAMP, PRODUCT_KEY, Rig, running
from tests.webhook.receiver import Receiver, a_webhook, status

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as receiver:
        yield receiver


async def until(rig: Rig, condition: Callable[[], object]) -> None:
    """Let batches be written until something has come; the test's own time limit ends a wait for ever."""
    while not condition():
        rig.clock.advance(BATCH_DELAY_S)
        await asyncio.sleep(0.001)


def forward(rig: Rig, payload: bytes, kind: NoticeKind = NoticeKind.DEVICE_DATA) -> None:
    rig.server.forwarder.forward(ACCOUNT_ID, LAMP, kind, f"/{PRODUCT_KEY}/{LAMP.device_name}/user/a", payload)


async def add_by_another_process(rig: Rig, receiver: Receiver, **fields: object) -> str:
    """Make a webhook as the command line does; the server has noticed when this returns."""
    webhook = a_webhook(receiver.url(), product_key=PRODUCT_KEY, account_id=ACCOUNT_ID, **fields)
    other = rig.another_store()
    await other.open()
    await other.add_webhook(webhook)
    await other.close()
    rig.clock.advance(REGISTRY_POLL_S)
    while not await rig.server.webhooks.book.destinations(PRODUCT_KEY):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return webhook.destination


async def due_after_failure(rig: Rig, destination: str) -> int:
    """When the only letter is due again, once it is written down that it was not taken: not when its lease ends."""
    while True:
        due_ms = await rig.server.store.next_due_ms(destination)
        if due_ms is not None and due_ms <= rig.server.dispatcher.now_ms() + milliseconds(FIRST_WAIT_S * (1 + JITTER)):
            return due_ms
        await asyncio.sleep(0.001)


async def test_a_message_reaches_a_webhook_made_while_the_server_runs(rig: Rig, receiver: Receiver) -> None:
    forward(rig, b"to nobody")
    await until(rig, lambda: not rig.server.forwarder.wants(PRODUCT_KEY, NoticeKind.DEVICE_DATA))
    destination = await add_by_another_process(rig, receiver, kinds=frozenset({NoticeKind.DEVICE_DATA}))
    await until(rig, lambda: rig.server.forwarder.wants(PRODUCT_KEY, NoticeKind.DEVICE_DATA))
    forward(rig, b"data")
    forward(rig, b"status", NoticeKind.STATUS_CHANGE)
    forward(rig, b"more")
    await until(rig, lambda: len(receiver.received) == 2)
    assert sorted(request.body for request in receiver.received) == [b"data", b"more"]
    assert {request.headers["linkstead-topic"] for request in receiver.received} == {f"/{PRODUCT_KEY}/lamp-01/user/a"}
    while await rig.server.store.count_letters(destination):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_a_message_outlives_the_server_with_its_wait(
    filled_database: Path, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers.append(status("500 Internal Server Error"))
    folder = tmp_path / "first"
    folder.mkdir()
    async with running(filled_database, folder) as rig:
        destination = await add_by_another_process(rig, receiver)
        forward(rig, b"data")
        await until(rig, lambda: receiver.received)
        due_ms = await due_after_failure(rig, destination)
        # As a process that was killed leaves it.
        left = tmp_path / "left.db"
        for end in ("", "-wal"):
            shutil.copyfile(folder / f"{DATABASE_FILE}{end}", f"{left}{end}")
    store = SqliteStore(left, ManualClock())
    await store.open()
    assert await store.next_due_ms(destination) == due_ms
    await store.close()
    folder = tmp_path / "second"
    folder.mkdir()
    async with running(left, folder) as rig:
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert len(receiver.received) == 1
        rig.clock.advance(FIRST_WAIT_S * (1 + JITTER))
        await until(rig, lambda: len(receiver.received) == 2)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body == b"data"


async def test_what_waits_for_a_disabled_webhook_is_kept_longer_than_a_day_and_sent_later(
    rig: Rig, receiver: Receiver
) -> None:
    destination = await add_by_another_process(rig, receiver)
    webhook_id = destination.partition("/")[2]
    receiver.answers.append(status("410 Gone"))
    forward(rig, b"data")
    await until(rig, lambda: receiver.received)
    while await rig.server.webhooks.book.destinations(PRODUCT_KEY):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await rig.server.store.prune(rig.server.dispatcher.now_ms() + 2 * DAY_MS)
    assert await rig.server.store.count_letters(destination) == 1
    await rig.server.store.set_webhook_enabled(webhook_id, enabled=True)
    rig.clock.advance(REGISTRY_POLL_S)
    await until(rig, lambda: len(receiver.received) == 2)


async def test_a_dead_letter_is_sent_again_when_it_is_asked_for(rig: Rig, receiver: Receiver) -> None:
    destination = await add_by_another_process(rig, receiver)
    receiver.answers.append(status("500 Internal Server Error"))
    forward(rig, b"data")
    await until(rig, lambda: receiver.received)
    store = rig.server.store
    await due_after_failure(rig, destination)
    await store.bury_letter(1, 1, rig.server.dispatcher.now_ms(), "HTTP 500")
    assert await store.count_letters(destination) == 0
    assert await store.revive_letters(destination, None, rig.server.dispatcher.now_ms()) == 1
    rig.clock.advance(LOOK_AGAIN_S_MAX)
    await until(rig, lambda: len(receiver.received) == 2)

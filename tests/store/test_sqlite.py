"""What only the SQLite store promises: its file, its locks, its disk."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from linkstead.store import SqliteStore, StoreUnusable, sqlite, statements
from linkstead.store.batches import RETRY_S_MIN
from linkstead.testing.clock import ManualClock
from tests.store.child import CALLERS, CALLS_TOGETHER, DEVICES_TOGETHER, KEEPS_OF_A_CALLER
from tests.store.samples import (
    ACCOUNT_ID,
    DESTINATION,
    LAMP,
    NOW_MS,
    PRODUCT_KEY,
    SECRET,
    a_call,
    a_model_version,
    a_product,
    add_lamps,
    an_access_key,
    an_account,
    an_open_call,
    some_devices,
    until_written,
)
from tests.subscription.desk import Desk

CHECKOUT = Path(__file__).parents[2]
CHANCE = random.Random(8686)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "linkstead.db"


@contextmanager
def running(program: str, path: Path, argument: str = "") -> Iterator[subprocess.Popen[str]]:
    """A program of `tests.store.child` in a process of its own, gone when the block ends."""
    command = [sys.executable, "-m", "tests.store.child", program, str(path), argument]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def line_to(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")


@pytest_asyncio.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock)
    await store.open()
    yield store
    await store.close()


@pytest.mark.asyncio
async def test_only_its_owner_may_read_the_file(store: SqliteStore, path: Path) -> None:
    await store.add_account(an_account())
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"linkstead.db": 0o600, "linkstead.db-wal": 0o600, "linkstead.db-shm": 0o600}


@pytest.mark.asyncio
async def test_a_closed_store_is_one_file(path: Path) -> None:
    store = SqliteStore(path, ManualClock())
    await store.open()
    await store.add_account(an_account())
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == ["linkstead.db"]


@pytest.mark.asyncio
async def test_the_registry_is_written_through_and_history_soon(store: SqliteStore) -> None:
    def pragma(connection: sa.Connection, name: str) -> object:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    for _ in range(2):
        assert await store._write(pragma, "synchronous") == 2
        assert await store._write_soon(pragma, "synchronous") == 1
    assert await store._write(pragma, "journal_mode") == "wal"
    assert await store._write(pragma, "foreign_keys") == 1
    assert await store._write(pragma, "busy_timeout") == 5_000


@pytest.mark.asyncio
async def test_what_reads_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        await store._read(statements.add_account, an_account())


@pytest.mark.asyncio
async def test_an_error_shows_no_secret(store: SqliteStore) -> None:
    with pytest.raises(IntegrityError) as caught:
        await store.add_access_key(an_access_key(account_id="none"))
    assert "FOREIGN KEY" in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.asyncio
async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = SqliteStore(path, ManualClock())
    with pytest.raises(RuntimeError, match="the store is not open"):
        await store.list_accounts()
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "file is not a database"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.parent.rmdir(), "No such file or directory"),
    ],
)
async def test_what_is_no_database_is_refused(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "data" / "linkstead.db"
    path.parent.mkdir()
    make(path)
    store = SqliteStore(path, ManualClock())
    with pytest.raises(StoreUnusable) as caught:
        await store.open()
    assert str(caught.value) == f"the database {path} cannot be used: {reason}"
    await store.close()


@pytest.mark.asyncio
async def test_while_history_cannot_be_written_the_rest_goes_on(
    store: SqliteStore, path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE call_history RENAME TO away")
        store.record_call(a_call(1))
        assert not await store.flush()
        assert caplog.messages == ["what was recorded cannot be written: no such table: call_history"]
        await store.add_account(an_account())
        store.record_call(a_call(2))
        assert store.history_waiting == 2
        other.execute("ALTER TABLE away RENAME TO call_history")
    clock.advance(RETRY_S_MIN)
    await until_written(store)
    assert await store.find_call(ACCOUNT_ID, "1") is not None
    assert store.history_dropped == 0


@pytest.mark.asyncio
async def test_a_write_waits_for_another_process(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.ensure_future(store.add_account(an_account()))
        assert await store.list_accounts() == []
        assert not adding.done()
        other.execute("COMMIT")
        await adding
    assert await store.list_accounts() == [an_account()]


@pytest.mark.asyncio
async def test_a_write_that_waited_in_vain_fails_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.01)
    store = SqliteStore(path, ManualClock())
    await store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="database is locked"):
            await store.add_account(an_account())
        store.record_call(a_call(1))
        assert not await store.flush()
        other.execute("COMMIT")
    assert await store.list_accounts() == []
    await store.add_account(an_account())
    assert await store.flush()
    await store.close()


@pytest.mark.asyncio
async def test_a_new_file_that_another_process_holds_is_waited_for_in_vain_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnusable, match="database is locked"):
            await SqliteStore(path, ManualClock()).open()
        other.execute("ROLLBACK")
        # A reader does not keep others from reserving the file, only from changing its mode.
        other.execute("CREATE TABLE something (number INTEGER)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM something").fetchall()
        with pytest.raises(StoreUnusable, match="database is locked"):
            await SqliteStore(path, ManualClock()).open()
    store = SqliteStore(path, ManualClock())
    await store.open()
    assert await store.registry_version() == 0
    await store.close()


def read_all(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def said_until_killed(program: str, path: Path, argument: str, lines_max: int) -> list[list[str]]:
    """The words of each line that a program said before it was killed, at a random moment."""
    with running(program, path, argument) as process:
        lines = [line_from(process) for _ in range(CHANCE.randrange(1, lines_max))]
        process.kill()
        assert process.stdout is not None
        # Not `communicate`: that would pass over what was read ahead.
        rest = process.stdout.read()
    # What comes after the last line end was cut off, so it was not told.
    return [line.split() for line in [*lines, *rest.split("\n")[:-1]]]


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    """Six rounds on one file."""
    acknowledged: dict[str, set[str]] = {"product": set(), "devices": set()}
    for number in range(6):
        for kind, product_key in said_until_killed("register_until_killed", path, f"r{number}", 120):
            acknowledged[kind].add(product_key)
    products = {product_key for (product_key,) in read_all(path, "SELECT product_key FROM product")}
    devices = dict(read_all(path, "SELECT product_key, count(*) FROM device GROUP BY product_key"))
    assert len(acknowledged["devices"]) > 6
    assert acknowledged["product"] <= products
    assert acknowledged["devices"] <= devices.keys()
    assert set(devices.values()) == {DEVICES_TOGETHER}
    changes = 1 + len(products) + len(devices)
    assert read_all(path, "SELECT version FROM registry_version") == [(changes,)]
    assert read_all(path, "PRAGMA integrity_check") == [("ok",)]


async def add_lamp(path: Path) -> None:
    store = SqliteStore(path, ManualClock())
    await store.open()
    await add_lamps(store)
    await store.close()


async def take_in(path: Path) -> None:
    store = SqliteStore(path, ManualClock())
    await store.open()
    await store.take_in_accepted(is_alone=True)
    await store.close()


@pytest.mark.parametrize("program", ["keep_until_killed", "accept_until_killed"])
def test_kept_calls_and_their_messages_survive_kill_9(path: Path, program: str) -> None:
    """What one caller brought is there wholly or not at all, and a session where a message waits for it."""
    asyncio.run(add_lamp(path))
    acknowledged: dict[int, int] = {}
    for round_number in range(4):
        first = round_number * 1_000_000 + CALLS_TOGETHER
        said = said_until_killed(program, path, str(first), 400)
        acknowledged |= {int(number): int(row_id) for _, number, row_id in said}
    asyncio.run(take_in(path))
    assert read_all(path, "SELECT count(*) FROM accepted_calls") == [(0,)]
    calls = {number for (number,) in read_all(path, "SELECT alink_id FROM call_history WHERE verdict IS NULL")}
    messages = dict(read_all(path, "SELECT id, call_id FROM message"))
    assert len(acknowledged) > 6
    assert acknowledged.keys() <= calls
    for number, row_id in acknowledged.items():
        assert messages[row_id] == an_open_call(number).request_id
    assert sorted(messages.values()) == sorted(an_open_call(number).request_id for number in calls)
    together = Counter(number // CALLS_TOGETHER for number in calls)
    assert set(together.values()) == {CALLS_TOGETHER}
    assert read_all(path, "SELECT count(*) FROM session") == [(1,)]
    assert read_all(path, "PRAGMA integrity_check") == [("ok",)]


def test_letters_that_were_not_accepted_survive_kill_9(path: Path) -> None:
    """What is on the disk is handed out by the next process, each letter once, whoever held it when it died."""
    recorded: list[int] = []
    for round_number in range(3):
        said = said_until_killed("hand_out_until_killed", path, str(round_number * 1_000_000), 300)
        recorded += [int(number) for _, number in said]
    asyncio.run(deliver_all(path, recorded))


async def deliver_all(path: Path, recorded: list[int]) -> None:
    clock = ManualClock()
    store = SqliteStore(path, clock)
    await store.open()
    await store.take_over([], int(clock.time_s() * 1000))
    desk = Desk(store, clock)
    taker = desk.taker(credit=100, accepts=True)
    await desk.settle()
    delivered = Counter(taker.numbers)
    assert len(recorded) > 6
    assert {number for number in recorded if number % 2 == 0} <= delivered.keys()
    assert set(delivered.values()) == {1}
    assert await store.count_letters(DESTINATION) == 0
    await desk.dispatcher.stop()
    await store.close()


def test_published_models_survive_kill_9(path: Path) -> None:
    asyncio.run(add_lamp(path))
    [(version_before,)] = read_all(path, "SELECT version FROM registry_version")
    acknowledged = [
        label for number in range(3) for _, label in said_until_killed("publish_until_killed", path, f"r{number}", 120)
    ]
    kept = [label for (label,) in read_all(path, "SELECT version FROM thing_model_version ORDER BY id")]
    assert len(acknowledged) > 6
    assert [label for label in kept if label in acknowledged] == acknowledged
    assert read_all(path, "SELECT version FROM registry_version") == [(version_before + len(kept),)]


@pytest.mark.asyncio
async def test_processes_that_keep_calls_at_once_lose_nothing(store: SqliteStore, path: Path) -> None:
    await add_lamps(store)
    with running("keep_some", path, "1000") as one, running("keep_some", path, "2000") as two:
        both = (one, two)
        assert [line_from(process) for process in both] == ["ready", "ready"]
        for process in both:
            line_to(process)
        printed = [process.communicate()[0].splitlines() for process in both]
    kept = {int(number): int(row_id) for lines in printed for _, number, row_id in map(str.split, lines)}
    count = CALLERS * CALLS_TOGETHER * KEEPS_OF_A_CALLER
    assert sorted(kept) == [*range(1000, 1000 + count), *range(2000, 2000 + count)]
    messages = {message.row_id: message.call_id for message in await store.list_messages(LAMP)}
    assert messages == {row_id: an_open_call(number).request_id for number, row_id in kept.items()}


@pytest.mark.asyncio
async def test_another_process_sees_that_a_model_was_published(store: SqliteStore, path: Path) -> None:
    await add_lamps(store)
    other = SqliteStore(path, ManualClock())
    await other.open()
    version = await store.registry_version()
    await other.publish_thing_model(a_model_version(), 10)
    assert await store.registry_version() == version + 1
    assert await store.find_thing_model_version(PRODUCT_KEY, None) == a_model_version()
    await other.close()


@pytest.mark.asyncio
async def test_processes_that_write_at_once_lose_nothing(store: SqliteStore, path: Path) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    with running("add_names", path, "one") as one, running("add_names", path, "two") as two:
        both = (one, two)
        assert [line_from(process) for process in both] == ["ready", "ready"]
        for process in both:
            line_to(process)
        printed = [process.communicate()[0].splitlines() for process in both]
    added = [line for lines in printed for line in lines if line != "taken device_name"]
    assert sorted(added) == sorted(f"added lamp-{number}" for number in range(100))
    assert await store.count_devices(PRODUCT_KEY) == 300
    assert await store.registry_version() == 2 + 300


def test_processes_may_make_the_file_together(path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(running("open_new_files", path, "20")) for _ in range(3)]
        for _ in range(20):
            for process in processes:
                line_to(process)
            assert [line_from(process) for process in processes] == ["0", "0", "0"]


def test_a_full_disk_stops_history_only_for_a_while(path: Path) -> None:
    with running("fill_the_disk", path) as process:
        printed, _ = process.communicate()
    reason = printed.splitlines()[2].removeprefix("refused ")
    assert reason in {"disk I/O error", "database or disk is full"}
    assert printed.splitlines() == [
        "before True 0",
        "full False True",
        f"refused {reason}",
        "read True",
        "listed True",
        "after 1000 0",
        "present ['999'] 0",
    ]


@pytest.mark.asyncio
async def test_a_device_is_read_at_once_past_what_is_under_way(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "linkstead.db", ManualClock())
    await store.open()
    await store.add_account(an_account())
    await store.add_product(a_product())
    assert store.find_device_at_once(LAMP) is None
    (lamp,) = some_devices([LAMP.device_name])
    await store.add_devices([lamp])
    assert store.find_device_at_once(LAMP) == lamp
    await store.set_device_enabled(LAMP, False, NOW_MS)
    found = store.find_device_at_once(LAMP)
    assert found is not None
    assert not found.enabled
    await store.close()

"""Who serves from a database file is known to other processes for as long as he lives."""

import asyncio
import os
import select
from pathlib import Path

import pytest

from linkstead.registry import StoreAway
from linkstead.store import SqliteStore
from linkstead.store.claim import TRY_EVERY_S, WAIT_S, FileClaim
from linkstead.testing.clock import ManualClock
from tests.store.test_sqlite import line_from, running

pytestmark = pytest.mark.asyncio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "linkstead.db"


@pytest.fixture
def claim(path: Path, clock: ManualClock) -> FileClaim:
    return FileClaim(path, clock)


async def until_it_waits() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_file_that_another_process_has_claimed_is_refused_with_its_pid(path: Path, claim: FileClaim) -> None:
    with running("claim_until_killed", path, "alone") as process:
        assert line_from(process) == str(process.pid)
        for is_alone in (True, False):
            assert not await claim.take(is_alone=is_alone)
            assert claim.rival_pid == process.pid
        process.kill()
        process.wait()
        assert await claim.take(is_alone=True)
    claim.give_up()


async def test_nodes_share_a_file_that_a_server_alone_is_refused(path: Path, claim: FileClaim) -> None:
    with running("claim_until_killed", path, "shared") as process:
        assert line_from(process) == str(process.pid)
        assert not await claim.take(is_alone=True)
        assert claim.rival_pid == process.pid
        assert await claim.take(is_alone=False)
    claim.give_up()


async def test_a_claim_is_taken_once_and_given_up_once(path: Path, clock: ManualClock, claim: FileClaim) -> None:
    other = FileClaim(path, clock)
    assert await claim.take(is_alone=True)
    assert await claim.take(is_alone=True)
    assert not await other.take(is_alone=True)
    claim.give_up()
    claim.give_up()
    assert await other.take(is_alone=True)
    other.give_up()


async def test_children_that_are_ending_are_waited_for(path: Path, clock: ManualClock, claim: FileClaim) -> None:
    with running("claim_until_killed", path, "inherited") as process:
        child = os.pidfd_open(int(line_from(process)))
        assert not await claim.take(is_alone=True)
        assert claim.rival_pid == process.pid
        process.kill()
        process.wait()
        taking = asyncio.ensure_future(claim.take(is_alone=True))
        await until_it_waits()
        assert not taking.done()
        # The child ends with what it reads from.
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(select.select, [child], [], [])
        os.close(child)
        clock.advance(TRY_EVERY_S)
        assert await taking
    claim.give_up()


async def test_children_that_do_not_end_are_waited_for_up_to_a_bound(
    path: Path, clock: ManualClock, claim: FileClaim
) -> None:
    with running("claim_until_killed", path, "inherited") as process:
        line_from(process)
        process.kill()
        process.wait()
        taking = asyncio.ensure_future(claim.take(is_alone=True))
        await until_it_waits()
        for _ in range(round(WAIT_S / TRY_EVERY_S) - 2):
            clock.advance(TRY_EVERY_S)
            await until_it_waits()
        assert not taking.done()
        clock.advance(TRY_EVERY_S)
        assert not await taking
        assert claim.rival_pid is None


@pytest.mark.parametrize("content", [b"", b"no number", b"-1", b"0", b"9" * 19])
async def test_a_pid_that_cannot_be_is_not_told(
    path: Path, clock: ManualClock, claim: FileClaim, content: bytes
) -> None:
    assert await claim.take(is_alone=True)
    assert claim.descriptor is not None
    os.ftruncate(claim.descriptor, 0)
    os.pwrite(claim.descriptor, content, 0)
    other = FileClaim(path, clock)
    taking = asyncio.ensure_future(other.take(is_alone=True))
    await until_it_waits()
    assert other.rival_pid is None
    claim.give_up()
    clock.advance(TRY_EVERY_S)
    assert await taking
    other.give_up()


async def test_a_file_is_the_same_by_whatever_name(path: Path, clock: ManualClock, claim: FileClaim) -> None:
    folder = path.parent / "elsewhere"
    folder.symlink_to(path.parent)
    assert await claim.take(is_alone=True)
    assert not await FileClaim(folder / path.name, clock).take(is_alone=True)
    claim.give_up()


async def test_a_store_has_the_claim_until_it_is_closed(path: Path, clock: ManualClock, claim: FileClaim) -> None:
    store = SqliteStore(path, clock)
    await store.open()
    # Commands open it and do not ask.
    assert await claim.take(is_alone=True)
    assert not await store.claim(is_alone=True)
    assert store.rival_pid is not None
    claim.give_up()
    assert await store.claim(is_alone=True)
    assert not await claim.take(is_alone=True)
    await store.close()
    assert await claim.take(is_alone=True)
    claim.give_up()


async def test_a_file_that_cannot_be_made_is_told(path: Path, clock: ManualClock) -> None:
    with pytest.raises(StoreAway, match="No such file"):
        await SqliteStore(path.parent / "gone" / path.name, clock).claim(is_alone=True)

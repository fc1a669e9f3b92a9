"""Calls that are on the disk before they are in the history: found meanwhile, brought there, and never lost between."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from msgspec import structs

from linkstead.invocation import Call, CallFilter, Diagnosis, Verdict
from linkstead.store.acceptance import TAKEN_IN_AT_ONCE_MAX, add_accepted
from linkstead.store.history import RECORD, encode_call
from linkstead.store.sql import SqlStore
from linkstead.store.tables import accepted_calls, call_history
from linkstead.telemetry import Span
from linkstead.testing.clock import ManualClock
from tests.store.conftest import StoreMaker
from tests.store.samples import ACCOUNT_ID, LAMP, NOW_MS, OTHER_LAMP, a_message, an_open_call

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(make_store: StoreMaker, clock: ManualClock) -> AsyncIterator[SqlStore]:
    """The store of a server that is alone."""
    async with make_store(clock) as store:
        await store.open()
        await store.take_in_accepted(is_alone=True)
        yield store
        await store.close()


async def count(store: SqlStore, table: sa.Table) -> int:
    return await store._read(lambda connection: connection.execute(sa.select(sa.func.count(table.c.id))).scalar_one())


def numbers(calls: list[Call]) -> list[int]:
    return [call.alink_id for call in calls]


async def test_all_calls_of_a_commit_are_one_row_until_the_history_has_them(store: SqlStore) -> None:
    await asyncio.gather(*(store.keep_calls([an_open_call(number)], []) for number in range(1, 4)))
    assert (await count(store, accepted_calls), await count(store, call_history)) == (1, 0)
    assert await store.flush()
    assert (await count(store, accepted_calls), await count(store, call_history)) == (0, 3)


async def test_an_accepted_call_is_found_before_the_history_has_it(store: SqlStore) -> None:
    first, other = an_open_call(1), an_open_call(2, key=OTHER_LAMP)
    await store.keep_calls([first, other], [])
    assert await store.find_kept_call(first.request_id) is first
    assert await store.find_open_call(LAMP, 1) is first
    assert await store.find_open_call(OTHER_LAMP, 1) is None
    assert await store.find_ended_call(LAMP, 1) is None
    first.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    store.record_call(first)
    assert await store.find_ended_call(LAMP, 1) is first
    assert await store.find_open_call(LAMP, 1) is None
    assert await count(store, call_history) == 0


@pytest.mark.parametrize("kind", ["open", "stranded", "all", "service", "one"])
async def test_whoever_lists_calls_sees_what_was_accepted(store: SqlStore, kind: str) -> None:
    call = an_open_call(1)
    await store.keep_calls([call], [])
    if kind == "open":
        found = await store.list_open_calls(LAMP, "setMode", 10)
    elif kind == "stranded":
        found = await store.list_stranded_calls(None, 10)
    elif kind == "all":
        found = await store.list_calls(CallFilter(ACCOUNT_ID))
    elif kind == "service":
        found = await store.list_service_calls(ACCOUNT_ID, LAMP, None, Span(NOW_MS, NOW_MS, ascending=True, limit=10))
    else:
        one = await store.find_call(ACCOUNT_ID, call.request_id)
        found = [one] if one is not None else []
    assert numbers(found) == [1]


async def test_the_next_server_finds_what_a_dead_one_accepted(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1), an_open_call(2)], [a_message(1)])
    # Nothing of this reaches the batches of a server that has just died.
    store._batches._is_closed = True
    await store.keep_calls([an_open_call(3)], [])
    await store.take_in_accepted(is_alone=True)
    assert (await count(store, accepted_calls), await count(store, call_history)) == (0, 3)
    assert [message.call_id for message in await store.list_messages(LAMP)] == [an_open_call(1).request_id]
    assert numbers(await store.list_stranded_calls(None, 10)) == [2, 3]


async def test_what_the_history_says_of_a_call_is_not_made_older(store: SqlStore) -> None:
    call = an_open_call(1)
    ended = structs.replace(call, verdict=Verdict.SUCCESS, diagnosis=Diagnosis.ANSWERED)
    store.record_call(ended)
    assert await store.flush()
    await store._write(add_accepted, [encode_call(call)[RECORD]])
    await store.take_in_accepted(is_alone=False)
    found = await store.find_kept_call(call.request_id)
    assert found is not None
    assert found.verdict is Verdict.SUCCESS
    assert await count(store, accepted_calls) == 0


async def test_much_that_a_dead_server_accepted_is_taken_in_by_and_by(store: SqlStore) -> None:
    rows = TAKEN_IN_AT_ONCE_MAX + 1
    for number in range(1, rows + 1):
        await store._write(add_accepted, [encode_call(an_open_call(number))[RECORD]])
    await store.take_in_accepted(is_alone=True)
    assert (await count(store, accepted_calls), await count(store, call_history)) == (0, rows)


async def test_one_of_several_nodes_has_what_it_accepts_in_the_history_at_once(store: SqlStore) -> None:
    """A device may turn to another node, which looks there for the call that it answers."""
    await store.take_in_accepted(is_alone=False)
    await store.keep_calls([an_open_call(1)], [])
    assert (await count(store, accepted_calls), await count(store, call_history)) == (0, 1)


async def test_a_message_that_cannot_be_kept_takes_no_call_of_others_with_it(store: SqlStore) -> None:
    outcomes = await asyncio.gather(
        store.keep_calls([an_open_call(1)], []),
        store.keep_calls([an_open_call(2)], [a_message(2, accepted_ms=2**63)]),
        store.keep_calls([an_open_call(3, target="\ud800")], []),
        store.keep_calls([an_open_call(4)], [a_message(4)]),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, True, False]
    kept = [number for number in range(1, 5) if await store.find_open_call(LAMP, number) is not None]
    assert kept == [1, 4]
    await store.take_in_accepted(is_alone=True)
    assert await count(store, call_history) == 2

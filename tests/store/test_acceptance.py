"""Calls that are on the disk before they are in the history: found meanwhile, brought there, and never lost between."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from msgspec import structs

from linkstead.invocation import Call, CallFilter, Diagnosis, Verdict
from linkstead.store.acceptance import TAKEN_IN_AT_ONCE_MAX, add_accepted
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.store.history import RECORD, encode_call
from linkstead.store.segments import CALLS_PER_SEARCH_MAX, SEGMENT_CALLS_MIN
from linkstead.store.sql import SqlStore
from linkstead.store.tables import accepted_calls, call_history, call_segment
from linkstead.telemetry import Span
from linkstead.testing.clock import ManualClock
from tests.store.conftest import StoreMaker
from tests.store.samples import ACCOUNT_ID, LAMP, NOW_MS, OTHER_LAMP, a_message, an_open_call

pytestmark = pytest.mark.asyncio

MANY = 2 * SEGMENT_CALLS_MIN


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


async def accept_and_end(store: SqlStore, *calls: Call) -> None:
    await store.keep_calls(calls, [])
    for call in calls:
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
        store.record_call(call)
    assert await store.flush()


async def test_accepted_calls_that_ended_before_the_history_has_them_are_a_segment(store: SqlStore) -> None:
    calls = [an_open_call(number, received_ms=NOW_MS + number) for number in range(1, MANY + 1)]
    await accept_and_end(store, *calls)
    assert [await count(store, table) for table in (accepted_calls, call_history, call_segment)] == [0, 0, 1]
    for call in (calls[0], calls[-1]):
        for found in (
            await store.find_call(ACCOUNT_ID, call.request_id),
            await store.find_call(ACCOUNT_ID, str(call.alink_id)),
            await store.find_kept_call(call.request_id),
            await store.find_ended_call(LAMP, call.alink_id),
        ):
            assert found is not None
            assert structs.asdict(found) == structs.asdict(call)
        assert await store.find_open_call(LAMP, call.alink_id) is None
        assert await store.find_ended_call(OTHER_LAMP, call.alink_id) is None
    assert await store.find_ended_call(LAMP, MANY + 1) is None
    assert await store.find_kept_call("none") is None
    assert await store.list_open_calls(LAMP, None, 100) == []
    assert await store.list_stranded_calls(None, 100) == []
    span = Span(NOW_MS, NOW_MS + MANY, ascending=True, limit=1_000)
    assert numbers(await store.list_service_calls(ACCOUNT_ID, LAMP, None, span)) == list(range(1, MANY + 1))


async def test_of_accepted_calls_those_that_go_on_are_rows(store: SqlStore) -> None:
    calls = [an_open_call(number, received_ms=NOW_MS + number) for number in range(1, MANY + 1)]
    going_on = an_open_call(MANY + 1)
    await store.keep_calls([going_on], [])
    await accept_and_end(store, *calls)
    assert [await count(store, table) for table in (accepted_calls, call_history, call_segment)] == [0, 1, 1]
    going_on.end(Verdict.EXPIRED, Diagnosis.NOT_CONNECTED)
    store.record_call(going_on)
    # One that is written again has a row, which is what counts.
    calls[3].result_code = 200
    store.record_call(calls[3])
    assert await store.flush()
    assert [await count(store, table) for table in (accepted_calls, call_history, call_segment)] == [0, 2, 1]
    for call, verdict in ((going_on, Verdict.EXPIRED), (calls[3], Verdict.SUCCESS)):
        for found in (await store.find_ended_call(LAMP, call.alink_id), await store.find_kept_call(call.request_id)):
            assert found is not None
            assert (found.verdict, found.result_code) == (verdict, call.result_code)
    listed = await store.list_calls(CallFilter(ACCOUNT_ID, limit=1_000))
    assert len(listed) == MANY + 1
    assert {call.result_code for call in listed if call.alink_id == calls[3].alink_id} == {200}


async def test_replies_that_come_together_are_looked_up_together(store: SqlStore) -> None:
    calls = [an_open_call(number, received_ms=NOW_MS + number) for number in range(1, MANY + 1)]
    await accept_and_end(store, *calls)
    asked = range(1, CALLS_PER_SEARCH_MAX + 2 * MANY)
    found = await asyncio.gather(*(store.find_ended_call(LAMP, number) for number in asked))
    assert [None if call is None else call.alink_id for call in found] == [
        number if number <= MANY else None for number in asked
    ]


async def test_of_two_ended_calls_of_one_alink_id_the_later_is_found(store: SqlStore) -> None:
    for turn in range(2):
        of_turn = range(turn * MANY + 1, turn * MANY + MANY + 1)
        await accept_and_end(store, *(an_open_call(n, alink_id=n % MANY + 1, received_ms=NOW_MS + n) for n in of_turn))
    found = await store.find_ended_call(LAMP, 3)
    assert found is not None
    assert found.received_ms == NOW_MS + MANY + 2


async def test_what_could_not_be_written_at_once_is_written_as_rows(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that failed may have been written all the same."""
    write_soon = store._write_soon

    async def fail(*_args: object) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(store, "_write_soon", fail)
    calls = [an_open_call(number) for number in range(1, MANY + 1)]
    await store.keep_calls(calls, [])
    assert not await store.flush()
    monkeypatch.setattr(store, "_write_soon", write_soon)
    for call in calls:
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
        store.record_call(call)
    assert await store.flush()
    assert [await count(store, table) for table in (accepted_calls, call_history, call_segment)] == [0, MANY, 0]


async def test_what_a_segment_says_of_a_call_is_not_made_older(store: SqlStore) -> None:
    calls = [an_open_call(number, received_ms=NOW_MS + number) for number in range(1, MANY + 1)]
    records = [encode_call(call)[RECORD] for call in calls]
    await accept_and_end(store, *calls)
    left = [an_open_call(number, received_ms=NOW_MS + 3) for number in (MANY + 1, MANY + 2)]
    await store._write(add_accepted, [*records, *(encode_call(call)[RECORD] for call in left)])
    await store.take_in_accepted(is_alone=True)
    assert [await count(store, table) for table in (accepted_calls, call_history, call_segment)] == [0, 2, 1]
    found = await store.find_kept_call(calls[5].request_id)
    assert found is not None
    assert found.verdict is Verdict.SUCCESS
    assert numbers(await store.list_stranded_calls(None, 10)) == [MANY + 1, MANY + 2]


async def test_accepted_calls_that_go_on_wait_for_one_batch_more(store: SqlStore, clock: ManualClock) -> None:
    """Most are answered a moment later: then they are written once."""

    async def counts() -> list[int]:
        return [await count(store, table) for table in (accepted_calls, call_history, call_segment)]

    calls = [an_open_call(number) for number in range(1, MANY + 1)]
    await store.keep_calls(calls, [])
    others = [an_open_call(MANY + number) for number in range(1, MANY + 1)]
    await store.keep_calls(others, [])
    for call in others:
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    await pass_batch(store, clock)
    # The row that the first are in stays.
    assert await counts() == [1, 0, 1]
    for call in calls[1:]:
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    assert await store.find_open_call(LAMP, 1) is calls[0]
    await pass_batch(store, clock)
    assert await counts() == [0, 1, 2]
    calls[0].end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    store.record_call(calls[0])
    await pass_batch(store, clock)
    assert await counts() == [0, 1, 2]
    for call in (calls[0], calls[1], others[0]):
        found = await store.find_kept_call(call.request_id)
        assert found is not None
        assert found.verdict is Verdict.SUCCESS


async def pass_batch(store: SqlStore, clock: ManualClock) -> None:
    clock.advance(BATCH_DELAY_S)
    assert store._batches._task is not None
    await store._batches._task

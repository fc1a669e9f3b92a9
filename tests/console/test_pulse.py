import asyncio

import pytest

from linkstead.console.listing import Sight
from linkstead.console.pulse import CALLS_AT_ONCE, SECONDS_MAX, SPANS_MAX, count_seconds, look_back
from linkstead.invocation import CallJournal, Diagnosis, Stage, Verdict
from tests.console.records import START_S, make_call
from tests.fakes import RecordingSink
from tests.rig import ACCOUNT_ID, OTHER_ACCOUNT_ID

EVERYTHING = Sight(None)


def test_calls_are_counted_in_the_second_they_ended_in() -> None:
    calls = [make_call(number) for number in range(100)]
    late = make_call(995, ended=False)
    late.end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    calls += [late, make_call(995), make_call(5, ended=False), make_call(6, account_id=OTHER_ACCOUNT_ID)]
    first, second = count_seconds(calls, ACCOUNT_ID, EVERYTHING)
    assert (first["at_s"], first["good"], first["late"]) == (int(START_S), 100, 1)
    assert (second["at_s"], second["good"]) == (int(START_S) + 1, 1)
    assert first["spans"] == [10.0] * 100


@pytest.mark.parametrize(
    ("count", "spans"), [(SPANS_MAX, range(1, 101)), (SPANS_MAX + 1, None), (1_000, range(6, 1_000, 10))]
)
def test_of_many_latencies_some_stand_for_all(count: int, spans: range | None) -> None:
    calls = []
    for number in range(count):
        call = make_call(0, ended=False)
        call.mark(Stage.ANSWERED, START_S, START_S + (number + 1) / 1000)
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
        calls.append(call)
    (second,) = count_seconds(calls, ACCOUNT_ID, EVERYTHING)
    assert second["good"] == count
    assert len(second["spans"]) == SPANS_MAX
    assert spans is None or [round(span) for span in second["spans"]] == list(spans)


def test_a_second_without_answers_has_no_latency() -> None:
    call = make_call(1, ended=False)
    call.end(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)
    (second,) = count_seconds([call], ACCOUNT_ID, EVERYTHING)
    assert (second["away"], second["spans"]) == (1, [])


@pytest.mark.asyncio
async def test_what_is_too_long_ago_is_not_looked_at() -> None:
    journal = CallJournal(RecordingSink())
    for at_s in (START_S, START_S + 1):
        journal.close(make_call(0, at_s=at_s))
    assert len(await look_back(journal, ACCOUNT_ID, EVERYTHING, START_S + SECONDS_MAX - 1)) == 2
    assert len(await look_back(journal, ACCOUNT_ID, EVERYTHING, START_S + SECONDS_MAX)) == 1


@pytest.mark.asyncio
async def test_calls_go_on_while_the_past_is_counted() -> None:
    journal = CallJournal(RecordingSink())
    for number in range(3 * CALLS_AT_ONCE):
        journal.close(make_call(number // 1_000))
    counting = asyncio.ensure_future(look_back(journal, ACCOUNT_ID, EVERYTHING, START_S))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0)
        journal.close(make_call(0))
        turns += 1
    assert turns >= 3
    assert sum(second["good"] for second in counting.result()) == 3 * CALLS_AT_ONCE

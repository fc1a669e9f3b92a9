from linkstead.console.listing import Sight
from linkstead.console.pulse import SECONDS_MAX, count_seconds, look_back
from linkstead.invocation import CallJournal, Diagnosis, Verdict
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
    assert first["p50"] == first["p99"] == 10.0


def test_a_second_without_answers_has_no_latency() -> None:
    call = make_call(1, ended=False)
    call.end(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED)
    (second,) = count_seconds([call], ACCOUNT_ID, EVERYTHING)
    assert (second["away"], second["p50"]) == (1, None)


def test_what_is_too_long_ago_is_not_looked_at() -> None:
    journal = CallJournal(RecordingSink())
    for at_s in (START_S, START_S + 1):
        journal.close(make_call(0, at_s=at_s))
    assert len(look_back(journal, ACCOUNT_ID, EVERYTHING, START_S + SECONDS_MAX - 1)) == 2
    assert len(look_back(journal, ACCOUNT_ID, EVERYTHING, START_S + SECONDS_MAX)) == 1

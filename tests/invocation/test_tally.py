from linkstead.invocation import Call, Diagnosis, GuestCall, Stage, Verdict
from linkstead.invocation.journal import CallJournal
from linkstead.invocation.tally import CallTally
from linkstead.measures import Durations


class _Sink:
    def record_call(self, call: Call) -> None:
        """Nothing stays."""


def _call(request_id: str = "R", *stages: tuple[Stage, float], action: str = "RRpc") -> Call:
    call = Call(request_id=request_id, node="n", action=action)
    call.timeline = []
    for stage, at_s in stages:
        call.mark(stage, 1_000.0 + at_s, at_s)
    return call


ANSWERED = ((Stage.RECEIVED, 1.0), (Stage.WRITTEN, 1.5), (Stage.ANSWERED, 3.5), (Stage.RETURNED, 4.0))


def _counts(tally: CallTally) -> dict[tuple[str, ...], float]:
    return {labels: value for name, labels, value in tally.sample() if isinstance(value, float)}


def _sums(tally: CallTally, metric: str) -> dict[tuple[str, ...], tuple[int, float]]:
    samples = tally.sample()
    return {labels: (v.count, v.sum_s) for name, labels, v in samples if isinstance(v, Durations) and name == metric}


def test_calls_are_counted_by_action_verdict_and_diagnosis() -> None:
    tally = CallTally()
    for verdict, diagnosis in [(Verdict.SUCCESS, Diagnosis.ANSWERED)] * 2 + [(Verdict.OFFLINE, Diagnosis.DISABLED)]:
        call = _call()
        call.end(verdict, diagnosis)
        tally.add(call)
    assert _counts(tally) == {("RRpc", "SUCCESS", "answered"): 2, ("RRpc", "OFFLINE", "disabled"): 1}


def test_of_an_answered_call_the_whole_and_the_share_of_the_device_are_measured() -> None:
    tally = CallTally()
    call = _call("R", *ANSWERED)
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    tally.add(call)
    assert _sums(tally, "linkstead_call_seconds") == {("RRpc", "SUCCESS"): (1, 3.0)}
    assert _sums(tally, "linkstead_device_answer_seconds") == {("RRpc",): (1, 2.0)}


def test_diagnoses_of_one_verdict_are_measured_together() -> None:
    tally = CallTally()
    for diagnosis in (Diagnosis.WRITTEN_NO_ANSWER, Diagnosis.ANSWERED_LATE):
        call = _call("R", *ANSWERED[:2], (Stage.RETURNED, 9.0))
        call.end(Verdict.TIMEOUT, diagnosis)
        tally.add(call)
    assert _sums(tally, "linkstead_call_seconds") == {("RRpc", "TIMEOUT"): (2, 16.0)}
    assert _sums(tally, "linkstead_device_answer_seconds") == {}


def test_a_call_without_verdict_is_not_counted() -> None:
    tally = CallTally()
    tally.add(_call("R", *ANSWERED))
    assert list(tally.sample()) == []


def test_what_nobody_waits_for_is_counted_and_not_measured() -> None:
    tally = CallTally()
    call = _call("R", *ANSWERED)
    call.is_asynchronous = True
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    tally.add(call)
    assert _counts(tally) == {("RRpc", "SUCCESS", "answered"): 1}
    assert _sums(tally, "linkstead_call_seconds") == {}


def test_the_journal_counts_a_call_once_however_it_ends() -> None:
    journal = CallJournal(_Sink())
    ended, later, both = _call("A"), _call("B"), _call("C")
    for call in (ended, later, both):
        journal.open(call)
    ended.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    journal.close(ended)
    journal.update(ended)
    journal.close(later)
    later.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    journal.note_end(later)
    both.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    journal.note_end(both)
    journal.close(both)
    assert _counts(journal.tally) == {("RRpc", "SUCCESS", "answered"): 3}


def test_what_another_node_counts_is_not_counted_here() -> None:
    journal = CallJournal(_Sink())
    guest, handed_over = GuestCall(request_id="G", node="n", action="RRpc"), _call("H")
    handed_over.is_handed_over = True
    for call in (guest, handed_over):
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    journal.close_guest(guest)
    journal.open(handed_over)
    journal.close(handed_over)
    assert _counts(journal.tally) == {}

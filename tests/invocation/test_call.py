import pytest

from linkstead.invocation import Call, Diagnosis, Evidence, Stage, Stray, Verdict, diagnose
from linkstead.invocation.call import CALL_PAYLOAD_KEPT_BYTES_MAX, EVIDENCE_MAX, PROMPT_MS
from linkstead.registry import StoreAway


def make_call() -> Call:
    return Call("41C4265E-F05D-4E2E-AB09-000000000001", "node-1")


def make_evidence(payload: bytes = b"", reason: Stray = Stray.LATE) -> Evidence:
    return Evidence(reason, 1_700_000_000_000, "pk/dn", "/topic", payload, len(payload))


def test_a_stage_is_marked_with_both_times_and_the_node() -> None:
    call = make_call()
    call.mark(Stage.RECEIVED, 1_700_000_000.25, 12.5)
    call.mark(Stage.ROUTED, 1_700_000_000.5, 12.75)
    received = call.moment(Stage.RECEIVED)
    assert received is not None
    assert (received.time_ms, received.monotonic_s, received.node) == (1_700_000_000_250, 12.5, "node-1")
    assert [moment.stage for moment in call.timeline] == [Stage.RECEIVED, Stage.ROUTED]
    assert call.moment(Stage.WRITTEN) is None
    assert call.received_ms == 1_700_000_000_250


def test_a_call_without_a_timeline_was_received_at_no_time() -> None:
    assert make_call().received_ms == 0


@pytest.mark.parametrize(
    ("waited_ms", "left_ms"),
    [(0, 2_000), (PROMPT_MS - 1, 2_000), (PROMPT_MS, 1_990), (500, 1_500), (1_999, 1), (2_000, 1), (9_000, 1)],
)
def test_the_time_of_a_call_runs_from_when_it_was_received(waited_ms: int, left_ms: int) -> None:
    call = make_call()
    call.timeout_ms = 2_000
    assert call.left_ms(64.0) == 2_000
    call.mark(Stage.RECEIVED, 1_700_000_000.25, 64.0)
    call.mark(Stage.ACCEPTED, 1_700_000_000.25, 64.0 + waited_ms / 1000)
    assert call.left_ms(64.0 + waited_ms / 1000 + 1e-6) == left_ms


def test_a_store_that_is_away_is_told_from_a_mistake_of_ours() -> None:
    assert diagnose(StoreAway()) is Diagnosis.DATABASE_AWAY
    assert diagnose(ValueError()) is Diagnosis.INTERNAL_ERROR


def test_a_call_ends_once() -> None:
    assert not make_call().is_ended
    call = make_call()
    call.end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    assert call.is_ended
    with pytest.raises(RuntimeError, match="ended twice: TIMEOUT, then SUCCESS"):
        call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    assert (call.verdict, call.diagnosis, call.code) == (Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER, "")


def test_a_rejected_call_keeps_its_code() -> None:
    call = make_call()
    call.end(Verdict.REJECTED, Diagnosis.REJECTED, "iot.prod.NullProductKey")
    assert call.code == "iot.prod.NullProductKey"


def test_sixteen_pieces_of_evidence_are_kept_and_the_next_are_counted() -> None:
    call = make_call()
    kept = [make_evidence(bytes([index])) for index in range(EVIDENCE_MAX)]
    for evidence in kept:
        call.add_evidence(evidence)
    assert (len(call.evidence), call.evidence_dropped) == (16, 0)
    call.add_evidence(make_evidence(b"late", Stray.TOO_LARGE))
    assert (call.evidence, call.evidence_dropped) == (kept, 1)
    assert set(call.reasons()) == {Stray.LATE}


@pytest.mark.parametrize("excess", [-1, 0, 1, 1000])
def test_payloads_are_kept_up_to_a_bound_with_their_true_length(excess: int) -> None:
    call = make_call()
    payload = bytes(range(256)) * 64 + b"x" * 1000
    payload = payload[: CALL_PAYLOAD_KEPT_BYTES_MAX + excess]
    call.set_request(payload)
    call.set_answer(payload)
    assert call.request_payload == call.answer_payload == payload[:CALL_PAYLOAD_KEPT_BYTES_MAX]
    assert call.request_bytes == call.answer_bytes == 16_384 + excess


def test_the_bytes_a_record_holds_are_those_of_its_payloads_and_evidence() -> None:
    call = make_call()
    assert call.kept_bytes == 0
    call.set_request(b"four")
    call.set_answer(b"sixsix")
    call.add_evidence(make_evidence(b"three"))
    assert call.kept_bytes == 15


def test_two_records_of_the_same_call_are_not_the_same() -> None:
    assert make_call() != make_call()

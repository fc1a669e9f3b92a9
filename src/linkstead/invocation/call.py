"""One call as its record, and what may be done with it. Apart from its fields, so that it can be compiled."""

from collections.abc import Iterator
from typing import Final

from linkstead.invocation.record import (
    EVIDENCE_PAYLOAD_BYTES_MAX,
    CallRecord,
    Diagnosis,
    Evidence,
    Moment,
    Stage,
    Stray,
    Verdict,
)

EVIDENCE_MAX: Final = 16
"""Entries of evidence kept with one call; more are counted, not kept."""

PROMPT_MS: Final = 10
"""Between a call's arrival and its routing this is not counted: it is what checking a request may take."""

CALL_PAYLOAD_KEPT_BYTES_MAX: Final = 16_384
"""Bytes of the request and of the answer kept with the record; the true length is kept beside them."""

# Compiled modules reach a method of a struct by way of the interpreter, and a function of a compiled module at once. So
# what every call goes through is here as functions; the methods are the same for all others.

_MOMENT: Final = Moment


def mark_stage(call: CallRecord, stage: Stage, time_s: float, monotonic_s: float) -> None:
    """See `Call.mark`."""
    call.timeline.append(_MOMENT(stage, int(time_s * 1000), monotonic_s, call.node))


def end_call(call: CallRecord, verdict: Verdict, diagnosis: Diagnosis, code: str = "") -> None:
    """See `Call.end`."""
    if call.verdict is not None:
        raise RuntimeError(f"call {call.message_id} ended twice: {call.verdict}, then {verdict}")
    call.verdict = verdict
    call.diagnosis = diagnosis
    if code:
        call.code = code


def keep_request(call: CallRecord, payload: bytes, is_whole: bool = False) -> None:
    """See `Call.set_request`."""
    call.request_bytes = size_bytes = len(payload)
    is_kept = is_whole or size_bytes <= CALL_PAYLOAD_KEPT_BYTES_MAX
    call.request_payload = payload if is_kept else payload[:CALL_PAYLOAD_KEPT_BYTES_MAX]


def keep_answer(call: CallRecord, payload: bytes) -> None:
    """See `Call.set_answer`."""
    call.answer_bytes = size_bytes = len(payload)
    is_kept = size_bytes <= CALL_PAYLOAD_KEPT_BYTES_MAX or call.alink_id
    call.answer_payload = payload if is_kept else payload[:CALL_PAYLOAD_KEPT_BYTES_MAX]


def count_kept_bytes(call: CallRecord) -> int:
    """See `Call.kept_bytes`."""
    kept_bytes = len(call.request_payload) + len(call.answer_payload)
    for evidence in call.evidence:
        kept_bytes += len(evidence.payload)
    return kept_bytes


def count_left_ms(call: CallRecord, now_s: float) -> int:
    """See `Call.left_ms`."""
    timeout_ms, timeline = call.timeout_ms, call.timeline
    if not timeline:
        return timeout_ms
    waited_ms = int((now_s - timeline[0].monotonic_s) * 1000)
    return timeout_ms if waited_ms < PROMPT_MS else max(1, timeout_ms - waited_ms)


def _read_time_ms(moment: Moment) -> int:
    return moment.time_ms


class Call(CallRecord, eq=False, array_like=True, gc=False):
    """One call from the moment it is received."""

    def mark(self, stage: Stage, time_s: float, monotonic_s: float) -> None:
        """Add a moment to the timeline."""
        mark_stage(self, stage, time_s, monotonic_s)

    def moment(self, stage: Stage) -> Moment | None:
        """The moment a stage was reached, or None."""
        for moment in self.timeline:
            if moment.stage is stage:
                return moment
        return None

    @property
    def is_ended(self) -> bool:
        """True once there is a verdict; it never changes afterwards."""
        return self.verdict is not None

    def left_ms(self, now_s: float) -> int:
        """What is left of its time, which runs from when it was received: all of it to one that came promptly.

        Calls with all of their time share a timer.
        """
        return count_left_ms(self, now_s)

    @property
    def received_ms(self) -> int:
        """Wall time at which the call came in."""
        return self.timeline[0].time_ms if self.timeline else 0

    def end(self, verdict: Verdict, diagnosis: Diagnosis, code: str = "") -> None:
        """Give the call its verdict. A second one is our own mistake.

        Raises:
            RuntimeError: the call has ended already.
        """
        end_call(self, verdict, diagnosis, code)

    def set_request(self, payload: bytes, *, is_whole: bool = False) -> None:
        """Keep what was sent to the device, up to `CALL_PAYLOAD_KEPT_BYTES_MAX`, or the whole of it."""
        keep_request(self, payload, is_whole)

    def set_answer(self, payload: bytes) -> None:
        """Keep what the device answered, up to `CALL_PAYLOAD_KEPT_BYTES_MAX`; to a service call the whole of it."""
        keep_answer(self, payload)

    def add_evidence(self, evidence: Evidence) -> None:
        """Keep something that was not the answer; past `EVIDENCE_MAX` it is only counted."""
        if len(self.evidence) >= EVIDENCE_MAX:
            self.evidence_dropped += 1
        else:
            self.evidence.append(evidence)

    def merge(self, kept: "Call") -> bool:
        """Add the stages and the evidence that another record of this call has and this one has not.

        False where there are none.
        """
        known = {moment.stage for moment in self.timeline}
        moments = [moment for moment in kept.timeline if moment.stage not in known]
        evidence = [each for each in kept.evidence if each not in self.evidence]
        if moments:
            self.timeline = sorted([*self.timeline, *moments], key=_read_time_ms)
        for each in evidence:
            self.add_evidence(each)
        return bool(moments or evidence)

    def overrules(self, other: "Call") -> bool:
        """Whether another record of this call, which came later, has another verdict or another answer.

        Or has none, and is of a node that was taken for dead: the call ends by what was known when it was.
        """
        if self.verdict is None:
            return self.is_stranded and not other.is_stranded and other.verdict is None
        return other.verdict is not self.verdict or other.answer_payload != self.answer_payload

    def keep_overruled(self, other: "Call") -> None:
        """Keep what a record that this one overrules has to show: as evidence."""
        shown = [each for each in other.evidence if each not in self.evidence]
        answered, was_answered = other.moment(Stage.ANSWERED), self.moment(Stage.ANSWERED) is not None
        if answered is not None and not (was_answered and other.answer_payload == self.answer_payload):
            payload = other.answer_payload[:EVIDENCE_PAYLOAD_BYTES_MAX]
            reason = Stray.DUPLICATE if was_answered else Stray.LATE
            answer = Evidence(reason, answered.time_ms, str(other.key), "", payload, other.answer_bytes)
            if answer not in self.evidence:
                shown.append(answer)
        for each in shown:
            self.add_evidence(each)

    def reasons(self) -> Iterator[Stray]:
        """Why each piece of evidence was not taken."""
        return (evidence.reason for evidence in self.evidence)

    @property
    def kept_bytes(self) -> int:
        """Payload bytes this record holds in memory."""
        return count_kept_bytes(self)


class GuestCall(Call, eq=False, array_like=True, gc=False):
    """What the node that holds the device notes of a call that another node was asked for, and keeps the record of."""

    caller: str = ""
    is_told: bool = False

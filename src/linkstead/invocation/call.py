"""One call as its record, and what may be done with it. Apart from its fields, so that it can be compiled."""

from collections.abc import Iterator
from typing import Final

from linkstead.invocation.record import CallRecord, Diagnosis, Evidence, Moment, Stage, Stray, Verdict

EVIDENCE_MAX: Final = 16
"""Entries of evidence kept with one call; more are counted, not kept."""

PROMPT_MS: Final = 10
"""Between a call's arrival and its routing this is not counted: it is what checking a request may take."""

CALL_PAYLOAD_KEPT_BYTES_MAX: Final = 16_384
"""Bytes of the request and of the answer kept with the record; the true length is kept beside them."""


class Call(CallRecord, eq=False, array_like=True, gc=False):
    """One call from the moment it is received."""

    def mark(self, stage: Stage, time_s: float, monotonic_s: float) -> None:
        """Add a moment to the timeline."""
        self.timeline.append(Moment(stage, int(time_s * 1000), monotonic_s, self.node))

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
        waited_ms = int((now_s - self.timeline[0].monotonic_s) * 1000) if self.timeline else 0
        return self.timeout_ms if waited_ms < PROMPT_MS else max(1, self.timeout_ms - waited_ms)

    @property
    def received_ms(self) -> int:
        """Wall time at which the call came in."""
        return self.timeline[0].time_ms if self.timeline else 0

    def end(self, verdict: Verdict, diagnosis: Diagnosis, code: str = "") -> None:
        """Give the call its verdict. A second one is our own mistake.

        Raises:
            RuntimeError: the call has ended already.
        """
        if self.verdict is not None:
            raise RuntimeError(f"call {self.message_id} ended twice: {self.verdict}, then {verdict}")
        self.verdict = verdict
        self.diagnosis = diagnosis
        self.code = code

    def set_request(self, payload: bytes, *, is_whole: bool = False) -> None:
        """Keep what was sent to the device, up to `CALL_PAYLOAD_KEPT_BYTES_MAX`, or the whole of it."""
        self.request_bytes = len(payload)
        self.request_payload = payload if is_whole else payload[:CALL_PAYLOAD_KEPT_BYTES_MAX]

    def set_answer(self, payload: bytes) -> None:
        """Keep what the device answered, up to `CALL_PAYLOAD_KEPT_BYTES_MAX`; to a service call the whole of it."""
        self.answer_bytes = len(payload)
        self.answer_payload = payload if self.alink_id else payload[:CALL_PAYLOAD_KEPT_BYTES_MAX]

    def add_evidence(self, evidence: Evidence) -> None:
        """Keep something that was not the answer; past `EVIDENCE_MAX` it is only counted."""
        if len(self.evidence) >= EVIDENCE_MAX:
            self.evidence_dropped += 1
        else:
            self.evidence.append(evidence)

    def reasons(self) -> Iterator[Stray]:
        """Why each piece of evidence was not taken."""
        return (evidence.reason for evidence in self.evidence)

    @property
    def kept_bytes(self) -> int:
        """Payload bytes this record holds in memory."""
        kept_bytes = len(self.request_payload) + len(self.answer_payload)
        for evidence in self.evidence:
            kept_bytes += len(evidence.payload)
        return kept_bytes


class GuestCall(Call, eq=False, array_like=True, gc=False):
    """What the node that holds the device notes of a call that another node was asked for, and keeps the record of."""

    caller: str = ""
    is_told: bool = False

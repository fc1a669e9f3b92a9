"""The record of one call: who asked what of which device, what happened when, and how it ended.

`Call` and `Moment` are on the path of every call: structs, which are made and written in a fraction of the time of
dataclasses, and out of the garbage collector's sight, as nothing in them leads back to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from linkstead.registry import DeviceKey, StoreAway

EVIDENCE_MAX = 16
"""Entries of evidence kept with one call; more are counted, not kept."""

EVIDENCE_PAYLOAD_BYTES_MAX = 1_024
EVIDENCE_TOPIC_CHARS_MAX = 256
"""Characters of a topic kept with evidence; every topic an answer can come on is shorter."""

PROMPT_MS = 10
"""Between a call's arrival and its routing this is not counted: it is what checking a request may take."""

CALL_PAYLOAD_KEPT_BYTES_MAX = 16_384
"""Bytes of the request and of the answer kept with the record; the true length is kept beside them."""


class Stage(StrEnum):
    """The moments of a call's timeline, in order. Those with `planted-` are faults that were asked for; `dev` only."""

    RECEIVED = "received"
    AUTHENTICATED = "authenticated"
    ACCEPTED = "accepted"
    ROUTED = "routed"
    WRITTEN = "written"
    ACKNOWLEDGED = "acknowledged"
    ANSWERED = "answered"
    RETURNED = "returned"
    PLANTED_DELAY_REQUEST = "planted-delay-request"
    PLANTED_DROP_REQUEST = "planted-drop-request"
    PLANTED_DUPLICATE_REQUEST = "planted-duplicate-request"
    PLANTED_REORDER_REQUESTS = "planted-reorder-requests"
    PLANTED_DELAY_ANSWER = "planted-delay-answer"
    PLANTED_DROP_ANSWER = "planted-drop-answer"
    PLANTED_DUPLICATE_ANSWER = "planted-duplicate-answer"
    PLANTED_REORDER_ANSWERS = "planted-reorder-answers"
    PLANTED_WRONG_MESSAGE_ID = "planted-wrong-message-id"
    PLANTED_MALFORMED_ANSWER = "planted-malformed-answer"
    PLANTED_SLOW_READER = "planted-slow-reader"
    PLANTED_CUT = "planted-cut"
    PLANTED_HALF_OPEN = "planted-half-open"
    PLANTED_THROTTLE = "planted-throttle"
    PLANTED_UNKNOWN = "planted-unknown"


class Verdict(StrEnum):
    """How a call ended, in the vendor's words. Source: RRpc reference, field RrpcCode.

    Three are ours. REJECTED: the request never became a call, its error code says why. FAILED: the device answered, and
    its answer could not be taken. EXPIRED: an asynchronous call whose message cannot be delivered any more.
    """

    SUCCESS = "SUCCESS"
    TIMEOUT = "TIMEOUT"
    OFFLINE = "OFFLINE"
    HALFCONN = "HALFCONN"
    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


class Diagnosis(StrEnum):
    """What really happened: the closed list."""

    ANSWERED = "answered"
    DELIVERED = "delivered"
    NEVER_ACTIVATED = "never-activated"
    DISABLED = "disabled"
    NOT_CONNECTED = "not-connected"
    NOT_SUBSCRIBED = "not-subscribed"
    HALF_CONNECTED = "half-connected"
    SUPERSEDED_CONNECTION = "superseded-connection"
    WRITTEN_NO_ANSWER = "written-no-answer"
    WRITTEN_NO_ACKNOWLEDGEMENT = "written-no-acknowledgement"
    WRITE_FAILED = "write-failed"
    ANSWERED_LATE = "answered-late"
    ANSWERED_WRONG_MESSAGE_ID = "answered-wrong-message-id"
    ANSWERED_WRONG_TOPIC = "answered-wrong-topic"
    ANSWER_MALFORMED = "answer-malformed"
    ANSWER_TOO_LARGE = "answer-too-large"
    EXT_NOT_SET = "ext-not-set"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    NODE_LOST = "node-lost"
    NODES_UNREACHABLE = "nodes-unreachable"
    DATABASE_AWAY = "database-away"
    INTERNAL_ERROR = "internal-error"


def diagnose(fault: BaseException) -> Diagnosis:
    """What it is put down to that a call failed inside the server."""
    return Diagnosis.DATABASE_AWAY if isinstance(fault, StoreAway) else Diagnosis.INTERNAL_ERROR


class Stray(StrEnum):
    """Why something a device sent was not taken as the answer of a call."""

    LATE = "late"
    DUPLICATE = "duplicate"
    WRONG_MESSAGE_ID = "wrong-message-id"
    WRONG_TOPIC = "wrong-topic"
    OTHER_DEVICE = "other-device"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"


class Moment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stage reached. `monotonic_s` orders moments of one node; `time_ms` is wall time."""

    stage: Stage
    time_ms: int
    monotonic_s: float
    node: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something a device sent that was not taken as the answer, and why.

    `sender` is empty when it belongs to another account; topic, payload and `payload_bytes` are not told then either.
    """

    reason: Stray
    time_ms: int
    sender: str
    topic: str
    payload: bytes
    payload_bytes: int


class Call(msgspec.Struct, eq=False, array_like=True, gc=False):
    """One call from the moment it is received. Written once per field by the node that does the step.

    `is_handed_over`: another node has taken it over, or it waits in the store for the one that its device connects to.
    """

    request_id: str
    node: str
    action: str = ""
    account_id: str = ""
    access_key_id: str = ""
    instance_id: str = ""
    message_id: int = 0
    key: DeviceKey | None = None
    target: str = ""
    timeout_ms: int = 0
    request_payload: bytes = b""
    request_bytes: int = 0
    answer_payload: bytes = b""
    answer_bytes: int = 0
    verdict: Verdict | None = None
    code: str = ""
    diagnosis: Diagnosis | None = None
    late_by_ms: int = 0
    timeline: list[Moment] = []
    evidence: list[Evidence] = []
    evidence_dropped: int = 0
    unknown_parameters: list[str] = []
    caller_gone: bool = False
    is_asynchronous: bool = False
    alink_id: int = 0
    result_code: int = 0
    output_faults: list[str] = []
    iot_id: str = ""
    is_handed_over: bool = False

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

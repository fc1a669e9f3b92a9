"""What is in the record of one call: who asked what of which device, what happened when, and how it ended.

`CallRecord` and `Moment`, which every call has, are structs: they are made and written in a fraction of the time of
dataclasses, and are out of the garbage collector's sight, as nothing in them leads back to them.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from linkstead.registry import DeviceKey, StoreAway

EVIDENCE_PAYLOAD_BYTES_MAX = 1_024
EVIDENCE_TOPIC_CHARS_MAX = 256
"""Characters of a topic kept with evidence; every topic an answer can come on is shorter."""


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


class NodeFailed(Exception):
    """Another node did not do what it was asked for."""


def diagnose(fault: BaseException) -> Diagnosis:
    """What it is put down to that a call failed inside the server."""
    if isinstance(fault, StoreAway):
        return Diagnosis.DATABASE_AWAY
    return Diagnosis.NODE_LOST if isinstance(fault, NodeFailed) else Diagnosis.INTERNAL_ERROR


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


class CallRecord(msgspec.Struct, eq=False, array_like=True, gc=False):
    """The fields of a call. Each is written once, by the node that does the step; what they say is in `Call`.

    `is_handed_over`: another node has taken it over, or it waits in the store for the one that its device connects to.
    `is_stranded`: its node is dead, and had not written that it left; it is about to be ended for that.
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
    is_stranded: bool = False

"""A call's record as JSON: what the inspection API gives and the command line prints."""

import base64
from typing import Any

from linkstead.invocation import Call, Evidence


def view_call(call: Call, *, whole: bool) -> dict[str, Any]:
    """The record of a call; with `whole` its payloads and evidence too. Never a secret.

    `timeline[].offset_ms` counts from the first moment; `time_ms` is wall time since 1970 UTC.
    """
    first = call.timeline[0] if call.timeline else None
    view: dict[str, Any] = {
        "message_id": str(call.message_id) if call.message_id else None,
        "request_id": call.request_id,
        "action": call.action,
        "access_key_id": call.access_key_id,
        "instance_id": call.instance_id,
        "product_key": call.key.product_key if call.key else None,
        "device_name": call.key.device_name if call.key else None,
        "target": call.target,
        "timeout_ms": call.timeout_ms,
        "verdict": call.verdict,
        "code": call.code or None,
        "diagnosis": call.diagnosis,
        "late_by_ms": call.late_by_ms or None,
        "caller_gone": call.caller_gone,
        "received_ms": call.received_ms,
        "timeline": [
            {
                "stage": moment.stage,
                "time_ms": moment.time_ms,
                "offset_ms": round((moment.monotonic_s - first.monotonic_s) * 1000, 3) if first else 0.0,
                "node": moment.node,
            }
            for moment in call.timeline
        ],
        "evidence_count": len(call.evidence) + call.evidence_dropped,
    }
    if whole:
        view["unknown_parameters"] = call.unknown_parameters
        view["request"] = _view_payload(call.request_payload, call.request_bytes)
        view["answer"] = _view_payload(call.answer_payload, call.answer_bytes)
        view["evidence"] = [_view_evidence(evidence) for evidence in call.evidence]
        view["evidence_dropped"] = call.evidence_dropped
    return view


def _view_payload(kept: bytes, size_bytes: int) -> dict[str, Any]:
    return {"bytes": size_bytes, "base64": base64.b64encode(kept).decode(), "truncated": size_bytes > len(kept)}


def _view_evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "reason": evidence.reason,
        "time_ms": evidence.time_ms,
        "sender": evidence.sender or "a device of another account",
        "topic": evidence.topic,
        "payload": _view_payload(evidence.payload, evidence.payload_bytes),
    }

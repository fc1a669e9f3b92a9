"""Alink envelopes. Source: `device-protocol.md` 5.1."""

from typing import Any

import msgspec

METHOD_NOT_SERVED = 6831
"""The code for a topic that is not part of what is served. Source: `device-protocol.md` 5.7."""


def parse_request(payload: bytes) -> dict[str, Any] | None:
    """An uplink request as an object, or None when it is not a JSON object."""
    try:
        request = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else None


def wants_reply(request: dict[str, Any]) -> bool:
    """True unless the device said `"sys":{"ack":0}`."""
    sys = request.get("sys")
    return not (isinstance(sys, dict) and sys.get("ack") in (0, "0"))


def make_reply(request: dict[str, Any], code: int, message: str, method: str, data: object = None) -> bytes:
    """The answer to an uplink request: its id as it came, and every member that some SDK insists on."""
    return msgspec.json.encode(
        {
            "code": code,
            "data": {} if data is None else data,
            "id": request.get("id", ""),
            "message": message,
            "method": request.get("method", method),
            "version": "1.0",
        }
    )

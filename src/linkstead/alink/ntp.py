"""The time service: `/ext/ntp/{pk}/{dn}/request` answered on `…/response`. Source: `device-protocol.md` 3.5."""

import msgspec

REQUEST_BYTES_MAX = 1_024


def answer_ntp(payload: bytes, received_ms: int, sent_ms: int) -> bytes | None:
    """The answer to a time request, or None when the request is not one.

    The answer's times take the JSON type of `deviceSendTime`: text for text, number for number.
    """
    if len(payload) > REQUEST_BYTES_MAX:
        return None
    try:
        request = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    sent = request.get("deviceSendTime") if isinstance(request, dict) else None
    if isinstance(sent, bool) or not isinstance(sent, str | int | float):
        return None
    as_text = isinstance(sent, str)
    answer = {
        "deviceSendTime": sent,
        "serverRecvTime": str(received_ms) if as_text else received_ms,
        "serverSendTime": str(sent_ms) if as_text else sent_ms,
    }
    return msgspec.json.encode(answer)

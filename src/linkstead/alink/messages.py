"""Alink envelopes of what devices ask. Source: `device-protocol.md` 5.1."""

from collections.abc import Mapping

import msgspec

from linkstead.tsl.limits import DEPTH_MAX, is_identifier, is_module_id
from linkstead.tsl.literal import JsonValue, is_deeper
from linkstead.tsl.model import join_identifier, split_identifier

# Codes of replies and of the log. Source: `device-protocol.md` 5.7.
SUCCESS = 200
WRONG_TOPOLOGY_SIGN = 401
FORBIDDEN = 403
SAME_DEVICE_ELSEWHERE = 427
MALFORMED_PARAMS = 460
INTERNAL_ERROR = 500
NO_SUB_SESSION = 520
SUB_DEVICE_DELETED = 521
SUB_DEVICE_DISABLED = 522
PRODUCT_LOOKUP_FAILED = 5005
DEVICE_NOT_FOUND = 6100
DEVICE_DISABLED = 6204
NOT_ALINK = 6207
PRODUCT_NOT_FOUND = 6250
WRONG_SUB_SIGN = 6287
REGISTRATION_OFF = 6288
NOT_IN_MODEL = 6300
NOT_A_LIST = 6301
NO_MODEL = 6317
MALFORMED_IDENTIFIER = 6321
TOO_MANY_EVENTS = 6356
TOO_MANY_SUB_DEVICES = 6357
TOO_MANY_IN_TOPOLOGY = 6400
NOT_IN_TOPOLOGY = 6401
GATEWAY_IN_ITSELF = 6402
MALFORMED_METHOD = 6450
THROTTLED = 6452
BOUND_ELSEWHERE = 6619
NO_REMOTE_CONFIGURATION = 6710
METHOD_NOT_SERVED = 6831

_decoder = msgspec.json.Decoder(float_hook=msgspec.Raw)


def parse_request(payload: bytes) -> dict[str, JsonValue] | None:
    """An uplink request, or None when it is not a JSON object or nested deeper than DEPTH_MAX.

    Numbers with a fraction or an exponent are kept as they were written.
    """
    try:
        request = _decoder.decode(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict):
        return None
    # Only a text with that many brackets can be that deep.
    is_suspect = payload.count(b"[") + payload.count(b"{") > DEPTH_MAX
    return None if is_suspect and is_deeper(request, DEPTH_MAX) else request


def wants_reply(request: Mapping[str, JsonValue]) -> bool:
    """True unless the device said `"sys":{"ack":0}`."""
    sys = request.get("sys")
    return not (isinstance(sys, dict) and sys.get("ack") in (0, "0"))


def make_reply(request: Mapping[str, JsonValue], code: int, message: str, method: str, data: object = None) -> bytes:
    """The answer to an uplink request: its id as it came, and every member that some SDK insists on.

    Args:
        method: what the topic says, for a request that does not say it.
        data: an empty object where there is none.
    """
    own_method = request.get("method")
    return msgspec.json.encode(
        {
            "code": code,
            "data": {} if data is None else data,
            "id": request.get("id", ""),
            "message": message,
            "method": own_method if isinstance(own_method, str) else method,
            "version": "1.0",
        }
    )


def read_identifier(text: str) -> str | None:
    """The name on the wire of a property, event or service, without `default:`; None when it is malformed.

    Source: `thing-model.md` 3 and 4.
    """
    parts = split_identifier(text)
    if parts is None or not is_identifier(parts[1]) or not (parts[0] == "" or is_module_id(parts[0])):
        return None
    return join_identifier(*parts)

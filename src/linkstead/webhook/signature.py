"""What goes with a message: its headers, and the signature by which the receiver knows who sent it.

Source: Standard Webhooks (standardwebhooks.com), symmetric signatures.
"""

import base64
import hashlib
import hmac
from urllib.parse import quote

import msgspec

from linkstead import __version__
from linkstead.subscription import Letter

SIGNATURE_VERSION = "v1"

_TOPIC_SAFE = "/$+#!*'(),;:@&=-._~"


def make_headers(letter: Letter, key: bytes, timestamp_s: int) -> dict[str, str]:
    """The headers of one attempt.

    Args:
        letter: its message id is the `webhook-id`, the same in every attempt.
        key: see `decode_secret`.
        timestamp_s: seconds since 1970 UTC, of this attempt.
    """
    message_id = str(letter.message_id)
    return {
        "content-type": content_type_of(letter.payload),
        "user-agent": f"linkstead/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(key, message_id, timestamp_s, letter.payload),
        # What a header cannot hold is written as %XX.
        "linkstead-topic": quote(letter.topic, safe=_TOPIC_SAFE),
        "linkstead-generate-time": str(letter.generated_ms),
        "linkstead-qos": str(letter.qos),
    }


def sign(key: bytes, message_id: str, timestamp_s: int, payload: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + payload
    return f"{SIGNATURE_VERSION},{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def content_type_of(payload: bytes) -> str:
    """`application/json` for a JSON object or list, else bytes: custom topics and binary devices say what they like."""
    if payload.lstrip()[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(payload)
        except (ValueError, RecursionError):
            pass
        else:
            return "application/json"
    return "application/octet-stream"

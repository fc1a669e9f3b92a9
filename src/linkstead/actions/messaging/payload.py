"""What every message carries: bytes, sent as Base64."""

import binascii
from typing import Final

from linkstead.errors import ApiError, codes

PAYLOAD_BYTES_MAX: Final = 262_144
"""Decoded bytes of a message to a device. Source: `cloud-api.md` 5.1: the MQTT limit of 256 KB for one message."""


def decode_payload(text: str) -> bytes:
    """Decode Base64 of the standard alphabet; missing padding, line breaks, and a blank for `+` are let through.

    Raises:
        ApiError(NULL_MESSAGE_CONTENT): it is empty.
        ApiError(MESSAGE_CONTENT_NOT_BASE64): it is something else, the URL-safe alphabet included.
    """
    if not text:
        raise ApiError(codes.NULL_MESSAGE_CONTENT)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        pass
    tidy = text.replace("\r", "").replace("\n", "").replace(" ", "+").rstrip("=")
    if not tidy:
        raise ApiError(codes.MESSAGE_CONTENT_NOT_BASE64)
    try:
        return binascii.a2b_base64(tidy + "=" * (-len(tidy) % 4), strict_mode=True)
    except (binascii.Error, ValueError):
        raise ApiError(codes.MESSAGE_CONTENT_NOT_BASE64) from None


def decode_content(text: str, payload_bytes_max: int) -> bytes:
    """Decode MessageContent.

    Raises:
        ApiError: see `decode_payload`.
        ApiError(PUBLISH_MESSAGE_FAILED): it is over its bound.
    """
    payload = decode_payload(text)
    if len(payload) > payload_bytes_max:
        rule = f"<= {payload_bytes_max} B"
        raise ApiError(codes.PUBLISH_MESSAGE_FAILED, MessageContent=f"{len(payload)} B", rule=rule)
    return payload

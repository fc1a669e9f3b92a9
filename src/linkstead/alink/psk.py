"""TLS with a pre-shared key: the identity that a device names, and the key that follows from it and its secret.

Source: `device-protocol.md` 1.9; vector in `device-auth-vectors.json`.
"""

import hashlib
import hmac
from dataclasses import dataclass

from linkstead.registry import DeviceKey

IDENTITY_CHARS_MAX = 256
HEAD = ("devicename", "hmacsha256")
"""What an identity begins with; no other sign method is known."""


class BadIdentity(ValueError):
    """The identity is not `devicename|hmacsha256|{ProductKey}&{DeviceName}|{timestamp}`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity taken apart; the timestamp is signed and never judged by its age."""

    key: DeviceKey
    timestamp: str


def parse_identity(identity: str) -> Identity:
    """Take an identity apart.

    Raises:
        BadIdentity: see there; or it is longer than `IDENTITY_CHARS_MAX`.
    """
    parts = identity.split("|")
    if len(identity) > IDENTITY_CHARS_MAX or len(parts) != 4 or tuple(parts[:2]) != HEAD:
        raise BadIdentity("the identity is not devicename|hmacsha256|ProductKey&DeviceName|timestamp")
    product_key, ampersand, device_name = parts[2].partition("&")
    if not ampersand or not product_key or not device_name:
        raise BadIdentity("the identity has no ProductKey&DeviceName")
    return Identity(DeviceKey(product_key, device_name), parts[3])


def derive_key(identity: Identity, device_secret: str) -> bytes:
    """The key of the connection: upper-case hex, as ASCII."""
    content = f"id{identity.key.product_key}&{identity.key.device_name}timestamp{identity.timestamp}"
    return hmac.new(device_secret.encode(), content.encode(), hashlib.sha256).hexdigest().upper().encode()

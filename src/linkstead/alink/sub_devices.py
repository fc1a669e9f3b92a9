"""What is said about devices behind a gateway: their signatures, and messages to their gateway.

Source: `device-protocol.md` 6; vectors in `device-auth-vectors.json`.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from linkstead.alink.credentials import DEFAULT_SIGN_METHOD, SIGN_METHODS, BadClientId, parse_client_id
from linkstead.registry import DeviceKey
from linkstead.tsl.literal import JsonValue

NOTIFY_ADD, CHANGE = "thing/topo/add/notify", "thing/topo/change"
DISABLE, ENABLE, DELETE = "thing/disable", "thing/enable", "thing/delete"
"""Topics below `/sys/{pk}/{dn}/`: the first two with the gateway's names, the others with the sub-device's."""

TEXT_CHARS_MAX = 1_280
"""Characters of one member of an entry. No limit is documented; a client id with all its options is the longest."""

_SIGN_METHODS = {**SIGN_METHODS, "sha256": hashlib.sha256}
_UNSIGNED = {"sign", "signmethod", "cleansession"}


class Change(IntEnum):
    """What became of sub-devices. Source: `device-protocol.md` 6.2, `topo/change`."""

    CREATED = 0
    DELETED = 1
    ENABLED = 2
    DISABLED = 8


class BadEntry(ValueError):
    """An entry misses a member, or one is malformed; the text names it and the rule."""


@dataclass(frozen=True, slots=True)
class SubEntry:
    """A sub-device as its gateway names it, with the signature that shows that the gateway knows its secret.

    `ext` is None where the client id has no such option of its own. `content` is what was signed.
    """

    key: DeviceKey
    sign_method: str
    sign: str = field(repr=False)
    content: str = field(repr=False)
    ext: int | None
    is_clean: bool


def read_key(entry: JsonValue) -> DeviceKey:
    """The device that an entry names. Raises BadEntry."""
    members = _read_members(entry)
    return DeviceKey(_read_text(members, "productKey"), _read_text(members, "deviceName"))


def read_entry(entry: JsonValue, sign_method: JsonValue = None) -> SubEntry:
    """A signed entry.

    Every member is signed but `sign`, `signMethod` and `cleanSession`, `clientId` with all its options. Numbers are
    signed as they are written.

    Args:
        entry: an object.
        sign_method: what is true of an entry that does not say it.

    Raises:
        BadEntry: it is no object; `productKey`, `deviceName` or `sign` is missing; `signMethod` names none.
    """
    key, members = read_key(entry), _read_members(entry)
    method = members.get("signMethod", members.get("signmethod", sign_method))
    method = DEFAULT_SIGN_METHOD if method is None else method
    if not isinstance(method, str) or method.lower() not in _SIGN_METHODS:
        raise BadEntry("signMethod must be hmacMd5, hmacSha1 or hmacSha256")
    signed = sorted(name for name in members if name.lower() not in _UNSIGNED)
    content = "".join(name + _read_text(members, name) for name in signed)
    is_clean = members.get("cleanSession") not in (False, "false", "False")
    return SubEntry(key, method.lower(), _read_text(members, "sign"), content, _read_ext(members), is_clean)


def _read_members(entry: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(entry, dict):
        raise BadEntry("an entry must be an object")
    return entry


def _read_ext(entry: Mapping[str, JsonValue]) -> int | None:
    client_id = entry.get("clientId")
    if not isinstance(client_id, str):
        return None
    try:
        parsed = parse_client_id(client_id)
    except BadClientId:
        # Most have no options at all.
        return None
    return parsed.ext if "ext" in parsed.options else None


def _read_text(entry: Mapping[str, JsonValue], name: str) -> str:
    value = entry.get(name)
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, msgspec.Raw):
        text = bytes(value).decode()
    else:
        text = value if isinstance(value, str) else ""
    if not 1 <= len(text) <= TEXT_CHARS_MAX:
        raise BadEntry(f"{name} must have 1 to {TEXT_CHARS_MAX} characters")
    return text


def sign_content(content: str, sign_method: str, device_secret: str) -> str:
    """The signature of a gateway that knows this secret, in lower-case hex."""
    return hmac.new(device_secret.encode(), content.encode(), _SIGN_METHODS[sign_method]).hexdigest()


def check_sign(entry: SubEntry, device_secret: str) -> bool:
    """True when the entry is signed with this secret. Letter case does not matter: C SDKs send upper-case hex."""
    wanted = sign_content(entry.content, entry.sign_method, device_secret)
    return hmac.compare_digest(wanted.encode(), entry.sign.lower().encode())


def describe(key: DeviceKey) -> dict[str, str]:
    """A device in replies and notices."""
    return {"productKey": key.product_key, "deviceName": key.device_name}


def encode_request(alink_id: int, path: str, params: object) -> bytes:
    """A message to a gateway; `path` is its topic below `/sys/{pk}/{dn}/`."""
    method = path.replace("/", ".")
    return msgspec.json.encode({"id": str(alink_id), "version": "1.0", "params": params, "method": method})


def encode_change(alink_id: int, change: Change, keys: Iterable[DeviceKey]) -> bytes:
    """What is told on `CHANGE`."""
    params = {"status": int(change), "subList": [describe(key) for key in keys]}
    return encode_request(alink_id, CHANGE, params)


def encode_error(alink_id: int, code: int, message: str, key: DeviceKey) -> bytes:
    """What a gateway is told that goes wrong with a sub-device. Source: `device-protocol.md` 6.4."""
    return msgspec.json.encode({"id": str(alink_id), "code": code, "message": message, "data": describe(key)})

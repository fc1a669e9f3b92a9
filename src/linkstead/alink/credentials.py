"""Device credentials: the option list in the MQTT client id, and the password signed with the device's secret.

Source: `device-protocol.md` 1.3 and 1.7; vectors in `device-auth-vectors.json`.
"""

import hashlib
import hmac
from dataclasses import dataclass
from sys import intern

from linkstead.registry import DeviceKey

CLIENT_ID_CHARS_MAX = 64
"""Characters of the client id proper, before the first `|`."""

OPTIONS_CHARS_MAX = 1_024
"""Characters of the option list. No limit is documented; SDKs send below 200."""

SIGN_METHODS = {"hmacmd5": hashlib.md5, "hmacsha1": hashlib.sha1, "hmacsha256": hashlib.sha256}
DEFAULT_SIGN_METHOD = "hmacmd5"


class BadClientId(ValueError):
    """The client id has no `|…|` part, is too long, or names an unknown signmethod. The text says which."""


class BadUserName(ValueError):
    """The user name is not `{DeviceName}&{ProductKey}`."""


@dataclass(frozen=True, slots=True)
class ClientId:
    """A client id taken apart: `cid|key=value,…|`. Unknown options are kept in `options`, in no order that matters."""

    cid: str
    options: dict[str, str]
    sign_method: str

    @property
    def timestamp(self) -> str | None:
        """As sent; it is signed and never judged by its age."""
        return self.options.get("timestamp")

    @property
    def auth_type(self) -> str:
        """Empty for a device with a secret of its own; `register`, `regnwl`, `connwl` for dynamic registration."""
        return self.options.get("authType", "")

    @property
    def ext(self) -> int:
        """The bit field `ext`; 0 when absent or not a number."""
        text = self.options.get("ext", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def parse_client_id(client_id: str) -> ClientId:
    """Take a client id apart: `cid` ends at the first `|`, the options at the last one.

    Empty segments, segments without `=` and unknown keys are skipped or kept, never refused.

    Raises:
        BadClientId: see there.
    """
    cid, bar, rest = client_id.partition("|")
    if not bar or not rest.endswith("|"):
        raise BadClientId("the client id has no |…| part")
    if len(cid) > CLIENT_ID_CHARS_MAX:
        raise BadClientId(f"the client id before | is longer than {CLIENT_ID_CHARS_MAX} characters")
    if len(rest) > OPTIONS_CHARS_MAX:
        raise BadClientId(f"the options of the client id are longer than {OPTIONS_CHARS_MAX} characters")
    options: dict[str, str] = {}
    for segment in rest[:-1].split(","):
        name, equals, value = segment.partition("=")
        if equals:
            options[name] = value
    sign_method = options.get("signmethod", DEFAULT_SIGN_METHOD).lower()
    if sign_method not in SIGN_METHODS:
        raise BadClientId("signmethod must be hmacmd5, hmacsha1 or hmacsha256")
    return ClientId(cid, options, sign_method)


def parse_user_name(user_name: str) -> DeviceKey:
    """Read `{DeviceName}&{ProductKey}`; the device name may hold `&`-free signs only, so the last `&` separates.

    Raises:
        BadUserName: one of the two is missing.
    """
    device_name, ampersand, product_key = user_name.rpartition("&")
    if not ampersand or not device_name or not product_key:
        raise BadUserName("the user name is not DeviceName&ProductKey")
    # Kept for as long as the device is connected: one product key for all its devices.
    return DeviceKey(intern(product_key), device_name)


def sign_connect(key: DeviceKey, client_id: ClientId, device_secret: str) -> str:
    """The password a device with this secret sends, in lower-case hex."""
    content = f"clientId{client_id.cid}deviceName{key.device_name}productKey{key.product_key}"
    if client_id.timestamp is not None:
        content += f"timestamp{client_id.timestamp}"
    return hmac.new(device_secret.encode(), content.encode(), SIGN_METHODS[client_id.sign_method]).hexdigest()


def check_password(key: DeviceKey, client_id: ClientId, device_secret: str, password: bytes) -> bool:
    """True when the password is right. Letter case does not matter: the C SDKs send upper-case hex."""
    wanted = sign_connect(key, client_id, device_secret).encode()
    return hmac.compare_digest(wanted, password.lower())

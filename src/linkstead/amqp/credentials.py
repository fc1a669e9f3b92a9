"""How a consumer logs in: the option list in the user name of SASL PLAIN, and the password signed with an access key.

Source: `device-protocol.md` 8.1; vectors in `device-auth-vectors.json`, entry amqp.
"""

import base64
import hmac
import re
from dataclasses import dataclass

CLIENT_ID_CHARS_MAX = 64
"""Source: `device-protocol.md` 8.1."""

USER_NAME_CHARS_MAX = 2_048
"""The whole user name. No limit is documented; clients send below 300."""

SIGN_METHODS = {"hmacmd5": "md5", "hmacsha1": "sha1", "hmacsha256": "sha256"}

_TIMESTAMP = re.compile(r"[0-9]{1,19}")


class BadUserName(ValueError):
    """The user name is not `{clientId}|{options}|`, or an option breaks its rule. The text names it."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user name taken apart. `consumer_group_id` is empty where none is named; `is_base64` is `encode=base64`.

    `timestamp` is signed and never judged by its age: the vendor's own examples compute the password once, and come
    back with it for as long as they run. `security_token` is empty but with `authMode=ststoken`.
    """

    client_id: str
    sign_method: str
    timestamp: str
    access_key_id: str
    instance_id: str
    consumer_group_id: str
    is_base64: bool
    security_token: str = ""


def parse_user_name(user_name: str) -> Login:
    """Take a user name apart: the client id ends at the first `|`, the options at the last one, in any order.

    Empty segments, segments without `=` and unknown options are skipped.

    Raises:
        BadUserName: see there.
    """
    if len(user_name) > USER_NAME_CHARS_MAX:
        raise BadUserName(f"the user name is longer than {USER_NAME_CHARS_MAX} characters")
    client_id, bar, rest = user_name.partition("|")
    if not bar or not rest.endswith("|"):
        raise BadUserName("the user name is not {clientId}|{options}|")
    if not 1 <= len(client_id) <= CLIENT_ID_CHARS_MAX:
        raise BadUserName(f"clientId has {len(client_id)} characters, not 1 to {CLIENT_ID_CHARS_MAX}")
    options: dict[str, str] = {}
    for segment in rest[:-1].split(","):
        name, equals, value = segment.partition("=")
        if equals:
            options[name.strip()] = value.strip()
    mode = options.get("authMode", "")
    if mode not in ("aksign", "ststoken"):
        raise BadUserName("authMode is not aksign or ststoken")
    sign_method = options.get("signMethod", "").lower()
    if sign_method not in SIGN_METHODS:
        raise BadUserName("signMethod is not hmacmd5, hmacsha1 or hmacsha256")
    timestamp = options.get("timestamp", "")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise BadUserName("timestamp is not a number of milliseconds")
    if not options.get("authId"):
        raise BadUserName("authId is absent")
    token = options.get("securityToken", "") if mode == "ststoken" else ""
    if mode == "ststoken" and not token:
        raise BadUserName("securityToken is absent")
    encode = options.get("encode", "")
    if encode not in ("", "base64"):
        raise BadUserName("encode is not base64")
    return Login(
        client_id,
        sign_method,
        timestamp,
        options["authId"],
        options.get("iotInstanceId", ""),
        options.get("consumerGroupId", ""),
        encode == "base64",
        token,
    )


def sign_login(login: Login, secret: str) -> str:
    """The password that a consumer with this secret sends, in Base64."""
    token = f"&securityToken={login.security_token}" if login.security_token else ""
    content = f"authId={login.access_key_id}{token}&timestamp={login.timestamp}"
    return base64.b64encode(hmac.digest(secret.encode(), content.encode(), SIGN_METHODS[login.sign_method])).decode()


def check_password(login: Login, secret: str, password: str) -> bool:
    """True when the password is right."""
    return hmac.compare_digest(sign_login(login, secret).encode(), password.encode())

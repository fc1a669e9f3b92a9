"""Who is logged in: a cookie that proves it, signed with what only the server and the user know.

Nothing is kept for a session: its cookie names an access key and is signed with a key derived from that key's secret.
So it holds on every node, and ends when the access key is disabled, deleted, or gets another secret.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

import msgspec

from linkstead.api.passwords import CONSOLE_USER
from linkstead.registry import AccessKey, Registry

COOKIE = "linkstead-session"
SESSION_S_MAX = 12 * 3600
COOKIE_CHARS_MAX = 1_024
FAILURES_PER_MINUTE_MAX = 10
"""Failed logins of one client's address; the next ones of that minute are refused unseen."""

ADDRESSES_WATCHED_MAX = 10_000


class _Claim(msgspec.Struct, array_like=True):
    access_key_id: str
    issued_s: int


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who is logged in. `csrf` has to come with everything that changes something."""

    key: AccessKey
    csrf: str

    @property
    def name(self) -> str:
        """What the viewer is called on a page."""
        return self.key.access_key_id.removeprefix(CONSOLE_USER)


def make_cookie(key: AccessKey, now_s: float) -> str:
    """The value of the cookie of a session that begins."""
    claim = base64.urlsafe_b64encode(msgspec.json.encode(_Claim(key.access_key_id, int(now_s)))).decode().rstrip("=")
    return f"{claim}.{_sign(key, 'session', claim)}"


async def find_viewer(registry: Registry, cookie: str, now_s: float) -> Viewer | None:
    """Who a cookie belongs to; None when it is too old or too long, nobody's, or not signed with the key it names."""
    text, dot, signature = cookie.partition(".")
    if not dot or len(cookie) > COOKIE_CHARS_MAX:
        return None
    try:
        claim = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Claim)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None
    key = await registry.find_access_key(claim.access_key_id)
    if key is None or not key.enabled or key.is_temporary:
        return None
    if not hmac.compare_digest(_sign(key, "session", text).encode(), signature.encode()):
        return None
    if not -60 <= now_s - claim.issued_s < SESSION_S_MAX:
        return None
    return Viewer(key, _sign(key, "csrf", cookie))


def _sign(key: AccessKey, purpose: str, text: str) -> str:
    signing_key = hmac.digest(key.secret.encode(), f"linkstead console {purpose}".encode(), hashlib.sha256)
    return hmac.new(signing_key, text.encode(), hashlib.sha256).hexdigest()


class FailureCount:
    """Failed logins of the present minute, by address."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[str, int] = {}

    def is_full(self, address: str, now_s: float) -> bool:
        """True when no further try is to be looked at."""
        self._turn(now_s)
        return self._counts.get(address, 0) >= FAILURES_PER_MINUTE_MAX or len(self._counts) >= ADDRESSES_WATCHED_MAX

    def add(self, address: str, now_s: float) -> None:
        """Count one."""
        self._turn(now_s)
        self._counts[address] = self._counts.get(address, 0) + 1

    def forgive(self, address: str) -> None:
        """Take one back: that try was right."""
        if self._counts.get(address):
            self._counts[address] -= 1

    def _turn(self, now_s: float) -> None:
        if int(now_s // 60) != self._minute:
            self._minute = int(now_s // 60)
            self._counts.clear()

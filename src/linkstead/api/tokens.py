"""Temporary credentials: an AccessKey id, its secret and a security token, issued together for some time.

Source: `cloud-api.md` 2.4; the codes are the gateway's own.
"""

import hmac
import re

from linkstead.clock import Clock, milliseconds
from linkstead.errors import ApiError, codes
from linkstead.ids import LETTERS_AND_DIGITS, Ids
from linkstead.registry import AccessKey

TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX, TOKEN_SECONDS_DEFAULT = 900, 43_200, 3_600
"""How long a temporary key may be good. Source: AssumeRole reference, DurationSeconds and its largest maximum."""

TEMPORARY_KEYS_MAX = 1_000
"""Of an account, those that are kept."""

TEMPORARY_KEY_ID_HEAD = "STS."
"""How the ids of the vendor's temporary keys begin."""

ACCESS_KEY_ID_RANDOM_CHARS, SECRET_CHARS, TOKEN_CHARS = 22, 44, 128

_TOKEN = re.compile(rf"[A-Za-z0-9]{{{TOKEN_CHARS}}}")


def make_temporary_key(account_id: str, user_name: str, seconds: int, clock: Clock, ids: Ids) -> AccessKey:
    """Draw credentials of a RAM user that end after `seconds`; they are yet to be kept.

    Raises:
        ValueError: not `TOKEN_SECONDS_MIN` to `TOKEN_SECONDS_MAX`.
    """
    if not TOKEN_SECONDS_MIN <= seconds <= TOKEN_SECONDS_MAX:
        raise ValueError(f"{TOKEN_SECONDS_MIN} to {TOKEN_SECONDS_MAX} seconds")
    now_ms = milliseconds(clock.time_s())
    return AccessKey(
        access_key_id=TEMPORARY_KEY_ID_HEAD + ids.token(LETTERS_AND_DIGITS, ACCESS_KEY_ID_RANDOM_CHARS),
        secret=ids.token(LETTERS_AND_DIGITS, SECRET_CHARS),
        account_id=account_id,
        user_name=user_name,
        enabled=True,
        created_ms=now_ms,
        security_token=ids.token(LETTERS_AND_DIGITS, TOKEN_CHARS),
        expires_ms=now_ms + seconds * 1000,
    )


def check_token(key: AccessKey, token: str | None, now_s: float) -> None:
    """Check what came with the signature of a temporary key, which is good already.

    Raises:
        ApiError(MISSING_SECURITY_TOKEN, INVALID_SECURITY_TOKEN_MALFORMED, INVALID_SECURITY_TOKEN_MISMATCH,
            INVALID_SECURITY_TOKEN_EXPIRED): no token, none of ours, that of another key, one whose time is over.
    """
    if not token:
        raise ApiError(codes.MISSING_SECURITY_TOKEN)
    if not _TOKEN.fullmatch(token):
        raise ApiError(codes.INVALID_SECURITY_TOKEN_MALFORMED)
    if not hmac.compare_digest(token.encode(), key.security_token.encode()):
        raise ApiError(codes.INVALID_SECURITY_TOKEN_MISMATCH)
    if milliseconds(now_s) >= key.expires_ms:
        raise ApiError(codes.INVALID_SECURITY_TOKEN_EXPIRED)

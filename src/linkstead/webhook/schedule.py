"""When a message that was not taken is sent again."""

from email.utils import parsedate_to_datetime

ATTEMPTS_MAX = 14
"""Attempts at a message; after them it is given up. With the waits below that is about a day after the first."""

FIRST_WAIT_S = 5.0
WAIT_FACTOR = 3.0
WAIT_S_MAX = 4 * 3600.0
"""The waits between attempts: 5 s, and three times as long each time, up to four hours: 24.5 h in all."""

JITTER = 0.2
"""A wait is up to this part shorter or longer, so that what failed together does not come back together."""

RETRY_AFTER_S_MAX = 3600.0
"""A receiver that asks for a longer wait is asked again after this one."""


def wait_before_retry(attempts: int, chance: float) -> float:
    """Seconds until the next attempt.

    Args:
        attempts: how many were made, 1 or more.
        chance: 0 to 1, where in the range of `JITTER`.
    """
    # The exponent is bounded, for a float is.
    wait_s = min(FIRST_WAIT_S * WAIT_FACTOR ** min(attempts - 1, ATTEMPTS_MAX), WAIT_S_MAX)
    return wait_s * (1 + JITTER * (2 * chance - 1))


def read_retry_after(text: str, now_s: float) -> float:
    """Seconds that a receiver asks to be left alone: 0 to `RETRY_AFTER_S_MAX`; 0 where the text cannot be read.

    Source: RFC 9110, 10.2.3: seconds, or a date.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        until_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return min(max(until_s - now_s, 0.0), RETRY_AFTER_S_MAX)

"""When a message is sent again, and how long in all."""

import pytest

from linkstead.webhook.schedule import (
    ATTEMPTS_MAX,
    JITTER,
    RETRY_AFTER_S_MAX,
    WAIT_S_MAX,
    read_retry_after,
    wait_before_retry,
)

NOW_S = 1_700_000_000.0


def test_waits_grow_up_to_the_bound_and_last_about_a_day() -> None:
    waits_s = [wait_before_retry(attempts, 0.5) for attempts in range(1, ATTEMPTS_MAX)]
    assert waits_s[:8] == [5.0, 15.0, 45.0, 135.0, 405.0, 1_215.0, 3_645.0, 10_935.0]
    assert set(waits_s[8:]) == {WAIT_S_MAX}
    assert sum(waits_s) == 88_400.0


def test_chance_moves_a_wait_by_its_share() -> None:
    assert wait_before_retry(1, 0.0) == 5.0 * (1 - JITTER)
    assert wait_before_retry(1, 1.0) == 5.0 * (1 + JITTER)
    assert wait_before_retry(10**9, 1.0) == WAIT_S_MAX * (1 + JITTER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("3600", RETRY_AFTER_S_MAX),
        ("3601", RETRY_AFTER_S_MAX),
        ("9" * 400, RETRY_AFTER_S_MAX),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("Wed, 14 Nov 2029 22:13:10 GMT", RETRY_AFTER_S_MAX),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("²", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_what_a_receiver_asks_is_read_within_its_bound(text: str, seconds: float) -> None:
    assert read_retry_after(text, NOW_S) == seconds

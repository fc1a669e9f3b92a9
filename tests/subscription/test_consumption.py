"""How many letters count within the last minute, and as what."""

import pytest

from linkstead.subscription import Consumption, Letter
from linkstead.subscription.consumption import REAL_TIME_MS, WINDOW_S, ConsumptionMeter
from tests.store.samples import NOW_MS

LETTER = Letter(1, 1, "/a/b/user/get", b"", generated_ms=NOW_MS, qos=0, attempts=1)
AGAIN = Letter(1, 1, "/a/b/user/get", b"", generated_ms=NOW_MS, qos=0, attempts=2)


def test_nothing_counts_before_the_first_letter() -> None:
    assert ConsumptionMeter().read(1_000.0) == Consumption(0, 0, 0)


@pytest.mark.parametrize(
    ("letter", "delay_ms", "expected"),
    [
        (LETTER, 0, (1, 0)),
        (LETTER, REAL_TIME_MS, (1, 0)),
        (LETTER, REAL_TIME_MS + 1, (0, 1)),
        (AGAIN, 0, (0, 1)),
    ],
)
def test_a_letter_counts_as_accumulated_when_it_waited_or_comes_again(
    letter: Letter, delay_ms: int, expected: tuple[int, int]
) -> None:
    meter = ConsumptionMeter()
    meter.count(letter, 1_000.0, NOW_MS + delay_ms)
    assert meter.read(1_000.0) == Consumption(*expected, NOW_MS + delay_ms)
    assert meter.read(1_000.0).per_minute == 1


def test_a_letter_counts_for_a_minute() -> None:
    meter = ConsumptionMeter()
    meter.count(LETTER, 1_000.9, NOW_MS)
    meter.count(LETTER, 1_001.0, NOW_MS + 100)
    assert [meter.read(now_s).real_time_per_minute for now_s in (1_001.0, 1_000.0 + WINDOW_S - 0.1)] == [2, 2]
    assert meter.read(1_000.0 + WINDOW_S).real_time_per_minute == 1
    assert meter.read(1_001.0 + WINDOW_S) == Consumption(0, 0, NOW_MS + 100)


def test_a_meter_keeps_no_more_than_a_minute() -> None:
    meter = ConsumptionMeter()
    for second in range(3 * WINDOW_S):
        for _ in range(2):
            meter.count(LETTER, 1_000.0 + second, NOW_MS)
    assert len(meter._seconds) == WINDOW_S
    assert meter.read(1_000.0 + 3 * WINDOW_S - 1).per_minute == 2 * WINDOW_S

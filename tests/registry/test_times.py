import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.registry import times


@pytest.mark.parametrize(
    ("at_ms", "gmt", "local", "utc"),
    [
        (0, "Thu, 01-Jan-1970 00:00:00 GMT", "1970-01-01 08:00:00", "1970-01-01T00:00:00.000Z"),
        # the samples of the reference
        (1_550_628_969_000, "Wed, 20-Feb-2019 02:16:09 GMT", "2019-02-20 10:16:09", "2019-02-20T02:16:09.000Z"),
        (1_533_523_721_000, "Mon, 06-Aug-2018 02:48:41 GMT", "2018-08-06 10:48:41", "2018-08-06T02:48:41.000Z"),
        (1_709_221_445_007, "Thu, 29-Feb-2024 15:44:05 GMT", "2024-02-29 23:44:05", "2024-02-29T15:44:05.007Z"),
        # a day later in the region than in Greenwich
        (1_704_067_199_999, "Sun, 31-Dec-2023 23:59:59 GMT", "2024-01-01 07:59:59", "2023-12-31T23:59:59.999Z"),
    ],
)
def test_a_moment_is_told_in_three_notations(at_ms: int, gmt: str, local: str, utc: str) -> None:
    assert times.gmt_header_text(at_ms) == gmt
    assert times.local_text(at_ms) == local
    assert times.utc_text(at_ms) == utc


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_milliseconds_are_never_rounded(at_ms: int) -> None:
    assert times.utc_text(at_ms)[-4:-1] == f"{at_ms % 1000:03}"
    assert times.gmt_header_text(at_ms) == times.gmt_header_text(at_ms - at_ms % 1000)
    assert times.local_text(at_ms) == times.local_text(at_ms - at_ms % 1000)

import pytest

from linkstead.measures import BOUNDS_S, Durations


@pytest.mark.parametrize(
    ("duration_s", "place"),
    [(0.0, 0), (-1.0, 0), (BOUNDS_S[0], 0), (0.0011, 1), (BOUNDS_S[-1], len(BOUNDS_S) - 1), (10.1, len(BOUNDS_S))],
)
def test_a_duration_is_counted_in_the_class_whose_bound_it_does_not_pass(duration_s: float, place: int) -> None:
    durations = Durations()
    durations.add(duration_s)
    assert durations.counts.index(1) == place
    assert (durations.count, durations.sum_s) == (1, max(duration_s, 0.0))


def test_the_bounds_are_in_order() -> None:
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))

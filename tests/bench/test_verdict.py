"""The guard's rule, and the rule of targets: ratios of one round, their median, and the bound they have to keep."""

import pytest

from bench.results import Result, compare, judge, spread
from bench.scenarios import Target
from bench.verdict import compare_costs


@pytest.mark.parametrize(("now", "is_allowed"), [(100.0, True), (110.0, True), (110.1, False), (50.0, True)])
def test_a_call_may_become_a_tenth_dearer_and_no_more(now: float, is_allowed: bool) -> None:
    verdict = compare_costs([now], [100.0])
    assert verdict.is_allowed is is_allowed
    assert verdict.ratio == pytest.approx(now / 100)


def test_the_median_of_the_rounds_counts_so_that_one_bad_round_does_not() -> None:
    assert compare_costs([105.0, 300.0, 95.0], [100.0, 100.0, 100.0]).ratio == pytest.approx(1.05)


def test_rounds_are_compared_each_with_its_own() -> None:
    # the machine was twice as slow in the second round, for both
    assert compare_costs([100.0, 200.0], [100.0, 200.0]).ratio == 1.0


def test_a_verdict_says_the_change_and_the_bound() -> None:
    assert str(compare_costs([112.0], [100.0])) == "a call costs +12.0 %: NOT ALLOWED, more than 10 %"
    assert str(compare_costs([95.0], [100.0])) == "a call costs -5.0 %: allowed"


@pytest.mark.parametrize(("now", "before"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_what_cannot_be_compared_is_refused(now: list[float], before: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rounds|costs"):
        compare_costs(now, before)


AT_MOST = Target("CPU", ("calls", "linkstead"), ("calls", "floor"), "cpu_us_op", 3.5, 2.6, at_most=True)
AT_LEAST = Target("rate", ("calls", "linkstead"), ("calls", "floor"), "rps", 1.5, 2.2, at_most=False)


@pytest.mark.parametrize(
    ("median", "at_most", "at_least"),
    [
        (1.49, "met (stretch)", "NOT MET"),
        (1.5, "met (stretch)", "met"),
        (2.2, "met (stretch)", "met (stretch)"),
        (2.6, "met (stretch)", "met (stretch)"),
        (2.61, "met", "met (stretch)"),
        (3.5, "met", "met (stretch)"),
        (3.51, "NOT MET", "met (stretch)"),
    ],
)
def test_a_target_is_met_at_its_bound_and_not_past_it(median: float, at_most: str, at_least: str) -> None:
    assert (judge(AT_MOST, median), judge(AT_LEAST, median)) == (at_most, at_least)


def result(turn: int, contender: str, cpu_us_op: float, run: str = "a") -> Result:
    return {"run": run, "round": turn, "load": "calls", "contender": contender, "cpu_us_op": cpu_us_op}


def test_only_figures_of_one_round_of_one_run_are_compared() -> None:
    results = [
        result(1, "floor", 10.0),
        result(1, "linkstead", 30.0),
        result(2, "floor", 20.0),
        result(2, "linkstead", 50.0),
        result(3, "linkstead", 90.0),
        result(1, "linkstead", 11.0, run="b"),
        {"run": "b", "round": 1, "load": "other", "contender": "floor", "cpu_us_op": 1.0},
    ]
    ratios = compare(results, AT_MOST)
    assert ratios == [3.0, 2.5]
    assert spread(ratios).show() == "2.75 (2.50-3.00)"

"""The rules hold for a server whose disk is full or slow at times, and whose clock is set; and long runs are told of.

See CONTRIBUTING.md.
"""

import os

import pytest

from linkstead.sessions import SessionTable
from tests.simulation import __main__ as long_runs
from tests.simulation.faults import simulate_faults
from tests.simulation.rules import Violation

SEED_NAME = "LINKSTEAD_SIMULATION_FAULTS_SEED"
SEEDS = 20
LONG_SEEDS = 1_000
BATCH = 10
"""Seeds of one test."""


def check(seed: int) -> None:
    """One seed; where a rule is broken the failure says how to see it again."""
    try:
        simulate_faults(seed)
    except Exception as error:
        error.add_note(f"again: {SEED_NAME}={seed} .venv/bin/pytest tests/simulation -k repeat_faults")
        raise


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_rules_hold_with_faults(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + LONG_SEEDS, BATCH))
def test_the_rules_hold_with_faults_for_many_seeds(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


def test_repeat_faults() -> None:
    """The seed that the environment names, or the first one."""
    check(int(os.environ.get(SEED_NAME, "0")))


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate_faults(seed)


def test_a_clock_that_goes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionTable, "_next_status_ms", lambda table, key, now_ms: now_ms)
    with pytest.raises(Violation) as caught:
        simulate_all(range(SEEDS))
    assert caught.value.rule == 10


def test_a_long_run_tells_how_far_it_got(capsys: pytest.CaptureFixture[str]) -> None:
    run = long_runs.Run(first=30, seeds=20, calls=150)
    run.take((100, []))
    assert not run.is_over()
    run.take((100, ["ClusterSimulation 31: rule 1"]))
    assert run.is_over()
    assert run.state.startswith("20 seeds, 200 calls, ")
    assert ", 1 violations, " in run.state
    assert capsys.readouterr().out == "ClusterSimulation 31: rule 1\n"


def test_a_long_run_ends_when_too_much_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    run = long_runs.Run(first=0, seeds=1_000, calls=0)
    run.take((0, ["rule 1"] * (long_runs.VIOLATIONS_MAX - 1)))
    assert not run.is_over()
    run.take((0, ["rule 1"]))
    assert run.is_over()
    assert capsys.readouterr().out == "rule 1\n" * long_runs.VIOLATIONS_MAX


def test_a_long_run_is_of_every_kind_of_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_runs, "SEEDS_AT_ONCE", len(long_runs.KINDS))
    call_count, found = long_runs.run_seeds(0)
    assert found == []
    assert call_count > len(long_runs.KINDS)

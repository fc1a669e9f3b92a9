"""The rules hold for a server whose disk is full or slow at times, and whose clock is set; and long runs are told of.

See CONTRIBUTING.md.
"""

import os
from itertools import islice
from pathlib import Path

import pytest

from linkstead.sessions import SessionTable
from tests.simulation import __main__ as long_runs
from tests.simulation.__main__ import Outcome
from tests.simulation.faults import simulate_faults
from tests.simulation.rules import Violation

CROWD_NAME = "LINKSTEAD_SIMULATION_CROWD"
SEED_NAME = "LINKSTEAD_SIMULATION_FAULTS_SEED"
SEEDS = 20
LONG_SEEDS = 1_000
CROWDED_SEEDS = 2
CROWD = 16
"""How many times as many calls are made there."""

BATCH = 10
"""Seeds of one test."""


def check(seed: int, crowd: int = 1) -> None:
    """One seed; where a rule is broken the failure says how to see it again."""
    try:
        simulate_faults(seed, crowd)
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


@pytest.mark.parametrize("seed", range(CROWDED_SEEDS))
def test_the_rules_hold_with_faults_in_a_crowd(seed: int) -> None:
    check(seed, CROWD)


def test_repeat_faults() -> None:
    """The seed that the environment names, or the first one."""
    check(int(os.environ.get(SEED_NAME, "0")), int(os.environ.get(CROWD_NAME, "1")))


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate_faults(seed)


def test_a_clock_that_goes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionTable, "_next_status_ms", lambda table, key, now_ms: now_ms)
    with pytest.raises(Violation) as caught:
        simulate_all(range(SEEDS))
    assert caught.value.rule == 10


def an_outcome(first: int, call_count: int, found: list[str]) -> Outcome:
    seeds, calls = {"Simulation": 5, "ClusterSimulation": 5}, {"Simulation": call_count, "ClusterSimulation": 0}
    return Outcome(first, 16, seeds, calls, {"SUCCESS": call_count}, 0.5, found)


def test_a_long_run_tells_how_far_it_got(capsys: pytest.CaptureFixture[str]) -> None:
    run = long_runs.Run(first=30, seeds=20, calls=150)
    run.take(an_outcome(30, 100, []))
    assert not run.is_over()
    run.take(an_outcome(40, 100, ["ClusterSimulation 31: rule 1"]))
    assert run.is_over()
    assert run.state.startswith("20 seeds, 200 calls, ")
    assert ", 1 violations, " in run.state
    assert capsys.readouterr().out == "ClusterSimulation 31: rule 1\n"


def test_a_long_run_ends_when_too_much_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    run = long_runs.Run(first=0, seeds=1_000, calls=0)
    run.take(an_outcome(0, 0, ["rule 1"] * (long_runs.VIOLATIONS_MAX - 1)))
    assert not run.is_over()
    run.take(an_outcome(10, 0, ["rule 1"]))
    assert run.is_over()
    assert capsys.readouterr().out == "rule 1\n" * long_runs.VIOLATIONS_MAX


def test_a_long_run_is_of_every_kind_of_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_runs, "SEEDS_AT_ONCE", len(long_runs.KINDS))
    outcome = long_runs.run_seeds(3, crowd=4)
    assert outcome.found == []
    assert outcome.seeds == {kind.__name__: 1 for kind in long_runs.KINDS}
    assert min(outcome.calls.values()) > 100
    assert sum(outcome.verdicts.values()) == sum(outcome.calls.values())


def test_a_long_run_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(long_runs, "SEEDS_AT_ONCE", 10)
    results = tmp_path / "results.jsonl"
    run = long_runs.Run(first=0, seeds=1_000, calls=0, results=results)
    run.take(an_outcome(0, 100, []))
    run.take(an_outcome(20, 50, ["ClusterSimulation 22: rule 1"]))
    with results.open("a") as file:
        file.write('{"at": "2026-')
    later = long_runs.Run(first=0, seeds=1_000, calls=0, results=results)
    assert (later.seed_count, later.call_count, later.violation_count) == (20, 150, 0)
    assert [*islice(later.firsts(), 3)] == [10, 30, 40]
    capsys.readouterr()
    assert long_runs.main(["--summary", str(results)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "| one server | 10 | 150 | 0 |" in told
    assert "| two to four nodes | 10 | 0 | 1 |" in told
    assert "| all | 20 | 150 | 1 |" in told
    assert any(line.endswith("; 150 calls for a second of one processor.") for line in told)
    assert told[-1] == "ClusterSimulation 22: rule 1"

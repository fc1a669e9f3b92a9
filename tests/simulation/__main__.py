"""A long run: `python -m tests.simulation --seeds 1000 --calls 10000000`, in as many processes as there are cores.

Seeds are run from `--first` on until there were as many of them, and as many calls, as are wanted. One seed in three is
of several nodes, one of a server with faults of disk and clock. What is found is told with the command that repeats it.

With `--results FILE` a line is added for every few seeds. A run that was stopped goes on where it was when it is
started anew with the same file, whatever was changed meanwhile; `--summary FILE` says what was run, of which commit.
"""

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from linkstead.invocation import call as call_module
from tests.simulation.cluster import ClusterSimulation
from tests.simulation.faults import FaultySimulation
from tests.simulation.simulation import Simulation, run_simulation

KINDS = {
    Simulation: "one server",
    ClusterSimulation: "two to four nodes",
    FaultySimulation: "one server, disk and clock at fault",
}
COMMANDS = {
    Simulation: "LINKSTEAD_SIMULATION_SEED={} .venv/bin/pytest tests/simulation -k 'repeat and not repeat_'",
    ClusterSimulation: "LINKSTEAD_SIMULATION_CLUSTER_SEED={} .venv/bin/pytest tests/simulation -k repeat_cluster",
    FaultySimulation: "LINKSTEAD_SIMULATION_FAULTS_SEED={} .venv/bin/pytest tests/simulation -k repeat_faults",
}
"""What repeats a seed."""

SEEDS_AT_ONCE = 6
TOLD_EVERY_S = 10.0
VIOLATIONS_MAX = 20
"""A run ends when so many seeds have broken a rule."""

CROWD = 16
"""How many times as many calls are made as in a seed of the tests: what a server costs is shared by more of them."""

QUIET_ONE_IN = 4
"""Of so many seeds, one of each kind is as those of the tests: some things happen only where little does."""

HASH_SEED = "0"
"""Of the interpreter, as what follows from a seed follows from the order of sets too."""


@dataclass
class Outcome:
    """What came of some seeds: by kind how many there were, and calls; how calls ended; and what was found."""

    first: int
    crowd: int
    seeds: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    found: list[str] = field(default_factory=list)


def run_seeds(first: int, crowd: int = 1) -> Outcome:
    """Run `SEEDS_AT_ONCE` seeds."""
    outcome = Outcome(first, crowd)
    seeds, calls, verdicts = Counter[str](), Counter[str](), Counter[str]()
    began_s = time.process_time()
    for seed in range(first, first + SEEDS_AT_ONCE):
        kind = [*KINDS][seed % len(KINDS)]
        crowd_now = crowd if seed // len(KINDS) % QUIET_ONE_IN else 1
        simulation = kind(seed, crowd_now)
        try:
            run_simulation(simulation)
        except Exception as error:  # noqa: BLE001
            again = f"PYTHONHASHSEED={HASH_SEED} LINKSTEAD_SIMULATION_CROWD={crowd_now} {COMMANDS[kind].format(seed)}"
            outcome.found.append(f"{kind.__name__} {seed}: {type(error).__name__}: {str(error)[:300]}; again: {again}")
        seeds[kind.__name__] += 1
        calls[kind.__name__] += simulation.call_count
        verdicts.update(simulation.count_verdicts())
        del simulation
        # Nothing is collected while it runs: a simulation is one knot until it ends.
        gc.collect()
    outcome.seeds, outcome.calls, outcome.verdicts = dict(seeds), dict(calls), dict(verdicts)
    outcome.cpu_s = round(time.process_time() - began_s, 3)
    return outcome


def begin_process() -> None:
    """What each process does first."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.disable()


def tell(text: str) -> None:
    """Say something at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def find_commit() -> str:
    """Of what is simulated; with a "+" behind it where something was changed since."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "?"


def read_results(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; what was cut off is passed over."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def end_last_line(path: Path) -> None:
    """Have what is added begin on a line of its own, though a run was stopped in the middle of one."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as file:
            file.write("\n")


class Run:
    """A long run: how far it is, and what it has found.

    Args:
        first, seeds, calls: where it begins, and how much is wanted.
        results: where a line is added for each outcome, None where none is.
    """

    def __init__(self, first: int, seeds: int, calls: int, results: Path | None = None) -> None:
        self.first = first
        self.seeds = seeds
        self.calls = calls
        self.seed_count = 0
        self.call_count = 0
        self.violation_count = 0
        self._results = results
        self._commit = find_commit() if results is not None else ""
        self._began_s = time.monotonic()
        self._done: set[int] = set()
        if results is not None:
            end_last_line(results)
        for line in read_results(results) if results is not None else ():
            self._done.update(range(line["first"], line["first"] + sum(line["seeds"].values())))
            self._count(line["seeds"], line["calls"])
        self._began_count = self.call_count

    def firsts(self) -> Iterator[int]:
        """Where to go on: the seeds, `SEEDS_AT_ONCE` from each, that have not been run."""
        return (
            first
            for first in count(self.first, SEEDS_AT_ONCE)
            if self._done.isdisjoint(range(first, first + SEEDS_AT_ONCE))
        )

    def is_over(self) -> bool:
        """True when all that was wanted is done, or too much was found."""
        is_done = self.seed_count >= self.seeds and self.call_count >= self.calls
        return is_done or self.violation_count >= VIOLATIONS_MAX

    def _count(self, seeds: dict[str, int], calls: dict[str, int]) -> None:
        self.seed_count += sum(seeds.values())
        self.call_count += sum(calls.values())

    def take(self, outcome: Outcome) -> None:
        """Count what came of some seeds."""
        self._count(outcome.seeds, outcome.calls)
        self.violation_count += len(outcome.found)
        for text in outcome.found:
            tell(text)
        if self._results is not None:
            form = "compiled" if call_module.__file__.endswith(".so") else "source"
            line = {"at": time.strftime("%F %T", time.gmtime()), "commit": self._commit, "form": form, **vars(outcome)}
            with self._results.open("a") as file:
                file.write(json.dumps(line) + "\n")

    @property
    def state(self) -> str:
        """How far it is."""
        passed_s = time.monotonic() - self._began_s
        part = min(self.seed_count / self.seeds, self.call_count / self.calls if self.calls else 1.0)
        rate = (self.call_count - self._began_count) / passed_s
        left_s = (
            max(0.0, max(self.calls, self.call_count / part if part else 0) - self.call_count) / rate if rate else 0
        )
        return (
            f"{self.seed_count} seeds, {self.call_count} calls, {rate:.0f} calls/s, "
            f"{self.violation_count} violations, {passed_s:.0f} s, {left_s:.0f} s left"
        )


def run_all(run: Run, processes: int, crowd: int) -> None:
    """Have seeds run side by side until enough were, telling of it now and then."""
    ended: SimpleQueue[Outcome | BaseException] = SimpleQueue()
    firsts, under_way, told_s = run.firsts(), 0, time.monotonic()
    with get_context("fork").Pool(processes, begin_process) as pool:
        while not run.is_over():
            while under_way <= processes:
                pool.apply_async(run_seeds, (next(firsts), crowd), callback=ended.put, error_callback=ended.put)
                under_way += 1
            try:
                outcome = ended.get(timeout=TOLD_EVERY_S)
            except Empty:
                pass
            else:
                if isinstance(outcome, BaseException):
                    raise outcome
                under_way -= 1
                run.take(outcome)
            if time.monotonic() - told_s >= TOLD_EVERY_S:
                told_s = time.monotonic()
                tell(run.state)


def _add_up(lines: Iterable[dict[str, Any]], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in lines:
        total.update(line[name])
    return total


def summarize(path: Path) -> str:
    """A table of what a file of results has, by kind of seed, and what was found."""
    lines = read_results(path)
    seeds, calls, verdicts = (_add_up(lines, name) for name in ("seeds", "calls", "verdicts"))
    found = [text for line in lines for text in line["found"]]
    broken = Counter(text.partition(" ")[0] for text in found)
    rows = [("seeds of", "seeds", "calls", "violations")]
    rows += [
        (said, f"{seeds[kind.__name__]:,}", f"{calls[kind.__name__]:,}", f"{broken[kind.__name__]:,}")
        for kind, said in KINDS.items()
    ]
    rows.append(("all", f"{seeds.total():,}", f"{calls.total():,}", f"{len(found):,}"))
    table = ["| " + " | ".join(row) + " |" for row in rows]
    table.insert(1, "|---|---|---|---|")
    cpu_s = sum(line["cpu_s"] for line in lines)
    of_commits = Counter[str]()
    for line in lines:
        of_commits[f"{line['commit']} ({line['form']})"] += sum(line["calls"].values())
    days = sorted({line["at"].partition(" ")[0] for line in lines})
    told = [
        "",
        f"Run on {', '.join(days)}; {calls.total() / cpu_s if cpu_s else 0:,.0f} calls for a second of one processor.",
        "Calls of each commit: " + ", ".join(f"{name} {number:,}" for name, number in of_commits.items()) + ".",
        "How they ended: " + ", ".join(f"{name} {number:,}" for name, number in verdicts.most_common()) + ".",
    ]
    return "\n".join([*table, *told, *found])


def main(arguments: list[str] | None = None) -> int:
    """Run as the arguments say. Returns 1 where a rule was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1000, help="at least so many")
    parser.add_argument("--calls", type=int, default=0, help="at least so many")
    parser.add_argument(
        "--crowd", type=int, default=CROWD, help="so many times as many calls in a seed as in the tests"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, help="add lines to this file, and go on where it ends")
    parser.add_argument("--summary", type=Path, help="only say what is in a file of results")
    options = parser.parse_args(arguments)
    if options.summary is not None:
        tell(summarize(options.summary))
        return 0
    if arguments is None and os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    run = Run(options.first, max(1, options.seeds), options.calls, options.results)
    run_all(run, options.processes, options.crowd)
    tell(run.state)
    return 1 if run.violation_count else 0


if __name__ == "__main__":
    sys.exit(main())

"""A long run: `python -m tests.simulation --seeds 1000 --calls 10000000`, in as many processes as there are cores.

Seeds are run from `--first` on until there were as many of them, and as many calls, as are wanted. One seed in three is
of several nodes, one of a server with faults of disk and clock. What is found is told with the command that repeats it.
The last line says how far it got, and where a later run goes on.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count

from tests.simulation.cluster import ClusterSimulation
from tests.simulation.faults import FaultySimulation
from tests.simulation.simulation import Simulation, run_simulation

KINDS = (Simulation, ClusterSimulation, FaultySimulation)
SEEDS_AT_ONCE = 10
TOLD_EVERY_S = 10.0
VIOLATIONS_MAX = 20
"""A run ends when so many seeds have broken a rule."""

Outcome = tuple[int, list[str]]
"""Calls that were made, and what was found."""


def run_seeds(first: int) -> Outcome:
    """Run `SEEDS_AT_ONCE` seeds."""
    call_count, found = 0, []
    for seed in range(first, first + SEEDS_AT_ONCE):
        kind = KINDS[seed % len(KINDS)]
        try:
            call_count += run_simulation(kind(seed)).call_count
        except Exception as error:  # noqa: BLE001
            found.append(f"{kind.__name__} {seed}: {type(error).__name__}: {str(error)[:300]}")
    return call_count, found


def tell(text: str) -> None:
    """Say something at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Run:
    """A long run: how far it is, and what it has found."""

    def __init__(self, first: int, seeds: int, calls: int) -> None:
        self.first = first
        self.seeds = seeds
        self.calls = calls
        self.seed_count = 0
        self.call_count = 0
        self.violation_count = 0
        self._began_s = time.monotonic()

    def is_over(self) -> bool:
        """True when all that was wanted is done, or too much was found."""
        is_done = self.seed_count >= self.seeds and self.call_count >= self.calls
        return is_done or self.violation_count >= VIOLATIONS_MAX

    def take(self, outcome: Outcome) -> None:
        """Count what came of some seeds."""
        call_count, found = outcome
        self.seed_count += SEEDS_AT_ONCE
        self.call_count += call_count
        self.violation_count += len(found)
        for text in found:
            tell(text)

    @property
    def state(self) -> str:
        """How far it is."""
        passed_s = time.monotonic() - self._began_s
        part = min(self.seed_count / self.seeds, self.call_count / self.calls if self.calls else 1.0)
        left_s = passed_s / part - passed_s if part else 0.0
        return (
            f"{self.seed_count} seeds, {self.call_count} calls, {self.call_count / passed_s:.0f} calls/s, "
            f"{self.violation_count} violations, {passed_s:.0f} s, {max(0.0, left_s):.0f} s left"
        )


def run_all(run: Run, processes: int) -> None:
    """Have seeds run side by side until enough were, telling of it now and then."""
    firsts: Iterator[int] = count(run.first, SEEDS_AT_ONCE)
    with ProcessPoolExecutor(processes) as pool:
        under_way: set[Future[Outcome]] = set()
        told_s = time.monotonic()
        while not run.is_over():
            under_way |= {pool.submit(run_seeds, next(firsts)) for _ in range(2 * processes - len(under_way))}
            ended, under_way = wait(under_way, TOLD_EVERY_S, FIRST_COMPLETED)
            for each in ended:
                run.take(each.result())
            if time.monotonic() - told_s >= TOLD_EVERY_S:
                told_s = time.monotonic()
                tell(run.state)
        for each in under_way:
            # What has begun is counted; what has not is for the next run.
            if not each.cancel():
                run.take(each.result())


def main(arguments: list[str] | None = None) -> int:
    """Run as the arguments say. Returns 1 where a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1000, help="at least so many")
    parser.add_argument("--calls", type=int, default=0, help="at least so many")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    run = Run(options.first, max(1, options.seeds), options.calls)
    run_all(run, options.processes)
    tell(f"{run.state}; go on with --first {run.first + run.seed_count}")
    return 1 if run.violation_count else 0


if __name__ == "__main__":
    sys.exit(main())

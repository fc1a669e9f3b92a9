"""Compares what an RRpc costs in this tree with what it cost in the last release, on this machine, in one run.

It counts instructions where the machine can: with perf, else with valgrind's callgrind, else it takes CPU time, round
by round in turns. It ends with 1 when a call became more than 10 % dearer, with 2 when nothing could be compared.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.machine import BUILD, ROOT, CannotMeasure, ask_version, build_programs, check_machine
from bench.results import Result
from bench.run import run_rig
from bench.scenarios import load
from bench.seed import seed
from bench.servers import Stack
from bench.verdict import compare_costs

DEVICES = 64
LOAD = load("guard", f"--devices {DEVICES} --conns 16", "linkstead")
SHORT_S, LONG_S = 1.0, 8.0
"""Of the two loads whose difference is counted: what connecting costs is in both."""

CPU_TIME_S = 4.0
DUMP_S_MAX = 60.0
CALLGRIND = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
FIXED_HASHES = ["env", "PYTHONHASHSEED=0"]


class Tree(NamedTuple):
    """One of the two that are compared."""

    name: str
    source: Path
    data: Path


Counter = Callable[[Tree, Path], float]


def count_with_perf(tree: Tree, folder: Path) -> float:
    """User instructions of a call, by the processor's own counter."""
    counts: list[tuple[float, int]] = []
    with _serve(tree, wrapper=FIXED_HASHES) as stack:
        (_, pid), *_ = stack.list_processes()
        _load(stack, SHORT_S)
        for secs in (SHORT_S, LONG_S):
            file = folder / "perf.csv"
            command = ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", str(file), "-p", str(pid)]
            perf = subprocess.Popen(command)
            result = _load(stack, secs)
            perf.send_signal(2)
            perf.wait()
            counts.append((_read_perf(file.read_text()), result["ok_all"]))
    return _slope(counts)


def count_with_callgrind(tree: Tree, folder: Path) -> float:
    """User instructions of a call in the thread of the event loop, counted by a simulator, some fifty times slower.

    The threads that write to the database are left out: they work by the clock, which the simulator does not slow down,
    so what they do for one call depends on how fast the machine is.
    """
    output = folder / f"callgrind.{tree.name}"
    counts: list[tuple[float, int]] = []
    with _serve(tree, wrapper=[*FIXED_HASHES, *CALLGRIND, f"--callgrind-out-file={output}"]) as stack:
        (_, pid), *_ = stack.list_processes()
        _load(stack, SHORT_S)
        _control("--instr=on", pid)
        _load(stack, SHORT_S)
        _dump(output, pid, 1)
        for place, secs in enumerate((SHORT_S, LONG_S), start=2):
            result = _load(stack, secs)
            counts.append((_dump(output, pid, place), result["ok_all"]))
    return _slope(counts)


def take_cpu_time(tree: Tree, _folder: Path) -> float:
    """Microseconds of CPU of a call."""
    with _serve(tree) as stack:
        result = _load(stack, CPU_TIME_S, warm_up_s=1.0, spin=True)
    return float(result["cpu_us_op"])


def can_perf_count() -> bool:
    """Whether the processor's counter is to be had; in many virtual machines it is not."""
    command = ["perf", "stat", "-x", ",", "-e", "instructions:u", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stderr[:1].isdigit()


METHODS: dict[str, tuple[Counter, int, Callable[[], bool]]] = {
    "perf": (count_with_perf, 3, can_perf_count),
    "callgrind": (count_with_callgrind, 2, lambda: shutil.which("callgrind_control") is not None),
    "cpu": (take_cpu_time, 7, lambda: True),
}
"""How to count, in how many rounds, and whether the machine can; the first that it can is taken."""


def _read_perf(text: str) -> float:
    for line in text.splitlines():
        if "instructions" in line and line[:1].isdigit():
            return float(line.partition(",")[0])
    raise CannotMeasure(f"perf stat counted nothing: {text}")


def _serve(tree: Tree, wrapper: list[str] | None = None) -> Stack:
    return Stack("linkstead", source=tree.source, data=tree.data, wrapper=wrapper or [])


def _load(stack: Stack, secs: float, *, warm_up_s: float = 0.0, spin: bool = False) -> Result:
    result = run_rig(LOAD._replace(spin=spin), "linkstead", stack, secs, warm_up_s)
    if result["errors"]:
        raise CannotMeasure(f"{result['errors']} replies were wrong, lost or late\n{result['said']}")
    return result


def _slope(counts: list[tuple[float, int]]) -> float:
    (few, few_calls), (many, many_calls) = counts
    if many_calls <= few_calls:
        raise CannotMeasure("the longer load did not bring more calls")
    return (many - few) / (many_calls - few_calls)


def _control(argument: str, pid: int) -> None:
    subprocess.run(["callgrind_control", argument, str(pid)], check=True, capture_output=True)


def _dump(output: Path, pid: int, place: int) -> float:
    """Have the simulator write down what it counted since the last time, and read the total."""
    _control("--dump", pid)
    file = output.with_name(f"{output.name}.{place}-01")
    end = time.monotonic() + DUMP_S_MAX
    while time.monotonic() < end:
        found = re.search(r"^totals: ([0-9]+)", file.read_text(), re.MULTILINE) if file.exists() else None
        if found is not None:
            return float(found[1])
        time.sleep(0.1)
    raise CannotMeasure(f"callgrind wrote no totals to {file}")


def find_last_release() -> str:
    """The newest tag. Raises CannotMeasure: there is none."""
    command = ["git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasure("there is no release yet; name a commit: bench/guard --against COMMIT")
    return done.stdout.strip()


def check_out(commit: str) -> Path:
    """The sources of a commit, in a directory of their own below the build directory.

    Raises:
        CannotMeasure: there is no such commit.
    """
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasure(f"there is no commit {commit}")
    folder = BUILD / "against" / done.stdout.strip()
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", done.stdout.strip(), "src"], check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(partial)], input=archive.stdout, check=True)
        partial.rename(folder)
    return folder


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/guard", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="compare with it, not with the last release")
    parser.add_argument("--method", choices=METHODS, help="the first of these that the machine can")
    parser.add_argument("--rounds", type=int, help="3 with perf, 2 with callgrind, 7 with CPU time")
    return parser.parse_args()


def main() -> int:
    """Compare, print, and say by the exit code."""
    arguments = parse_arguments()
    try:
        check_machine()
        build_programs()
        name = arguments.method or next(each for each, (_, _, can) in METHODS.items() if can())
        count, rounds, _ = METHODS[name]
        commit = arguments.against or find_last_release()
        before = check_out(commit)
        with tempfile.TemporaryDirectory(prefix="linkstead-bench-") as place:
            folder = Path(place)
            trees = []
            for title, source in (("before", before), ("now", ROOT)):
                (folder / title).mkdir()
                trees.append(Tree(title, source, seed(sys.executable, source, folder / title, DEVICES)))
            costs: dict[str, list[float]] = {tree.name: [] for tree in trees}
            print(f"{name}, this tree against {commit}, {ask_version([sys.executable, '--version'])}")
            for turn in range(1, (arguments.rounds or rounds) + 1):
                # who goes first changes, so that a machine that tires or recovers favours neither
                for tree in trees if turn % 2 else reversed(trees):
                    costs[tree.name].append(count(tree, folder))
                    print(f"round {turn}  {tree.name:6}  {costs[tree.name][-1]:12,.1f} a call", flush=True)
    except CannotMeasure as error:
        print(f"bench/guard: {error}", file=sys.stderr)
        return 2
    verdict = compare_costs(costs["now"], costs["before"])
    print(verdict)
    return 0 if verdict.is_allowed else 1


if __name__ == "__main__":
    sys.exit(main())

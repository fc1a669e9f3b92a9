"""Measures servers in turn, round by round, and prints the ratios that the targets speak of.

All processes of a server are pinned to core 0, the polling rig to core 1. Only ratios of one round mean anything: the
machine's own speed moves by tens of per cent. A wrong, lost or late reply fails the run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.machine import (
    BUILD,
    RIG_CORE,
    ROOT,
    SOURCES,
    CannotMeasure,
    ask_version,
    build_programs,
    check_machine,
    describe_machine,
    pin,
)
from bench.results import Result, aim, append, compare, judge, list_forms, spread
from bench.scenarios import SUITES, TARGETS, Load, Suite, choose
from bench.seed import linkstead_environment, make_certificate, seed
from bench.servers import CONTENDERS, INGREDIENTS, Ground, Stack, find_missing, find_mosquitto, install

DEVICES_SPARE = 64
RIG_S_MAX = 170.0
FOREIGN_PERCENT_MAX = 15.0
TRIES_MAX = 3
WARM_UP_S = 1.0
HEAD = (
    f"{'round':>5}  {'load':18}  {'server':26}  {'ops/s':>9}  {'CPU us/op':>9}  {'p50 ms':>7}  {'p99 ms':>7}"
    f"  {'RSS MiB':>7}  {'foreign %':>9}  {'errors':>6}"
)


class Form(NamedTuple):
    """A way to run Linkstead: which interpreter, on which tree's `src/linkstead`."""

    label: str
    python: str
    source: Path


class Bench:
    """One run: what it measures with, and where it writes."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments = arguments
        self._folder = folder
        self._run = time.strftime("%Y%m%dT%H%M%S")
        self._forms = choose_forms(arguments)
        self._data: Path | None = None
        self._certificate: tuple[Path, Path] | None = None
        self.results: list[Result] = []

    def prepare(self, suites: Sequence[Suite]) -> None:
        """Seed the data, and see that Linkstead says no when it should.

        Raises:
            CannotMeasure: it does not.
        """
        devices = max(each.devices for suite in suites for each in suite.loads)
        plain = self._forms[0]
        self._data = seed(plain.python, plain.source, self._folder, devices + DEVICES_SPARE)
        if any(each.tls for suite in suites for each in suite.loads):
            self._certificate = make_certificate(plain.python, plain.source, self._folder)
        if not any("linkstead" in each.contenders for suite in suites for each in suite.loads):
            return
        for form in self._forms:
            with self._stack("linkstead", form) as stack:
                command = [sys.executable, str(SOURCES / "check_semantics.py"), str(stack.ground.http)]
                done = subprocess.run([*command, str(stack.ground.mqtt)], capture_output=True, text=True, check=False)
            print(f"check_semantics.py on {form.label}: {done.stdout.splitlines()[-1]}")
            if done.returncode:
                raise CannotMeasure(done.stdout + done.stderr)

    def measure(self, suites: Sequence[Suite]) -> Iterator[Result]:
        """Every suite in every round, server by server."""
        for turn in range(1, self._arguments.rounds + 1):
            for suite in suites:
                for contender, form in self._line_up(suite):
                    loads = [each for each in suite.loads if contender in each.contenders]
                    with self._stack(contender, form, with_tls=any(each.tls for each in loads)) as stack:
                        for each in loads:
                            result = self._try(each, contender, stack)
                            result |= {"suite": suite.name, "load": each.name, "round": turn, "run": self._run}
                            label = form.label if contender == "linkstead" else contender
                            result |= {"contender": label, "at": round(time.time())}
                            append(self._arguments.results, result)
                            self.results.append(result)
                            yield result

    def describe(self) -> Result:
        """The machine and the versions, as a line of the results."""
        described: Result = {"run": self._run, "load": "", "contender": "", "round": 0, "machine": describe_machine()}
        commit = ask_version(["git", "-C", str(self._arguments.source), "describe", "--always", "--dirty"])
        versions = {"commit": commit, "Node.js": ask_version(["node", "--version"])}
        versions["broker"] = ask_version([find_mosquitto() or "mosquitto", "-h"])
        versions["C compiler"] = ask_version([os.environ.get("CC", "cc"), "--version"])
        for form in self._forms:
            versions[form.label] = ask_version([form.python, "--version"])
        return {**described, "versions": versions, "secs": self._arguments.secs}

    def _line_up(self, suite: Suite) -> list[tuple[str, Form]]:
        names = dict.fromkeys(name for each in suite.loads for name in each.contenders)
        return [(name, form) for name in names for form in (self._forms if name == "linkstead" else self._forms[:1])]

    def _stack(self, contender: str, form: Form, *, with_tls: bool = False) -> Stack:
        tls = self._certificate if with_tls else None
        return Stack(contender, tls=tls, python=form.python, source=form.source, data=self._data)

    def _try(self, each: Load, contender: str, stack: Stack) -> Result:
        """The quietest of a few tries: other programs on these two cores spoil a measurement."""
        best: Result | None = None
        for _ in range(TRIES_MAX):
            result = run_rig(each, contender, stack, self._arguments.secs)
            if best is None or result["errors"] or foreign(result) < foreign(best):
                best = result
            if result["errors"] or foreign(best) <= FOREIGN_PERCENT_MAX or not each.spin:
                break
        assert best is not None, "there is at least one try"
        return best


def choose_forms(arguments: argparse.Namespace) -> list[Form]:
    """What is measured as Linkstead: `linkstead` is the first interpreter on the sources as they are.

    The other interpreters bear their version and place in the line; the first with compiled modules is called so.
    """
    pythons = arguments.python or [sys.executable]
    forms = [Form("linkstead", pythons[0], arguments.source)]
    for place, python in enumerate(pythons[1:], start=2):
        forms.append(Form(f"linkstead@{ask_version([python, '--version'])} ({place})", python, arguments.source))
    if arguments.compiled is not None:
        forms.append(Form("linkstead@compiled", pythons[0], arguments.compiled))
    return forms


def run_rig(each: Load, contender: str, stack: Stack, secs: float, warm_up_s: float = WARM_UP_S) -> Result:
    """One measurement.

    Raises:
        CannotMeasure: the rig gave no result.
    """
    ground = stack.ground
    http, mqtt = (ground.https, ground.mqtts) if each.tls else (ground.http, ground.mqtt)
    command = [*pin(RIG_CORE), str(BUILD / "rig"), "--spin", str(int(each.spin)), "--label", each.name]
    command += ["--http", f"127.0.0.1:{http}", "--mqtt", f"127.0.0.1:{mqtt}"]
    command += ["--secs", str(secs), "--warmup", str(warm_up_s), *each.rig]
    for name, pid in stack.list_processes():
        command += ["--pid", f"{name}={pid}"]
    consumer = start_beside(ground, "bench.consumer", ground.http, ground.amqp) if each.consumer else None
    viewer = start_beside(ground, "bench.viewer", ground.http) if each.viewer else None
    scraper = start_beside(ground, "bench.scraper", ground.http) if each.scraper else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RIG_S_MAX)
    lines = done.stdout.splitlines()
    if not lines:
        raise CannotMeasure(f"{contender}, {each.name}: the rig ended with {done.returncode}\n{done.stderr[-800:]}")
    result: Result = json.loads(lines[-1])
    result["said"] = done.stderr[-300:]
    processes = result["procs"].values()
    result["rss_kib"] = sum(process["rss_kib"] for process in processes)
    if "lat_us" in result:
        result["cpu_us_op"] = round(sum(process["cpu_us_op"] for process in processes), 2)
        result["p50_us"], result["p99_us"] = result["lat_us"]["p50"], result["lat_us"]["p99"]
    else:
        result["cpu_us_op"] = round(sum(process["cpu_us_per_connect"] for process in processes), 2)
        result["bytes_per_device"] = sum(process["bytes_per_conn"] for process in processes)
        result["rps"], result["errors"] = result["connects_per_s"], each.devices - result["devices_up"]
    if consumer is not None:
        said, _ = consumer.communicate(f"{result['posts_ok']}\n")
        result["delivery"] = json.loads(said.splitlines()[-1])
        result["errors"] += result["delivery"]["missing"]
    if viewer is not None:
        said, _ = viewer.communicate("\n")
        result["viewed"] = json.loads(said.splitlines()[-1])
        result["errors"] += not result["viewed"]["shown"]
    if scraper is not None:
        said, _ = scraper.communicate("\n")
        result["scraped"] = json.loads(said.splitlines()[-1])
    return result


def start_beside(ground: Ground, module: str, *ports: int) -> subprocess.Popen[str]:
    """A program that runs beside the rig, once it says that it is ready."""
    command = [*pin(RIG_CORE), sys.executable, "-m", module, *map(str, ports)]
    environment = linkstead_environment(ground.source)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if process.stdout is None or process.stdout.readline() != "ready\n":
        process.kill()
        raise CannotMeasure(f"{module} did not come up")
    return process


def foreign(result: Result) -> float:
    """How much of a core others had; 0 where the rig does not say."""
    return float(result.get("foreign_pct_of_core", 0.0))


def show(result: Result) -> str:
    """One line of progress."""
    more = f"  {result['bytes_per_device']:.0f} B a device" if "bytes_per_device" in result else ""
    if "delivery" in result:
        more = f"  delivered: {result['delivery']}"
    if "viewed" in result:
        more = f"  viewed: {result['viewed']}"
    return (
        f"{result['round']:5d}  {result['load']:18}  {result['contender']:26}  {result['rps']:9.0f}"
        f"  {result['cpu_us_op']:9.1f}  {result.get('p50_us', 0) / 1000:7.2f}  {result.get('p99_us', 0) / 1000:7.2f}"
        f"  {result['rss_kib'] / 1024:7.1f}  {result.get('foreign_pct_of_core', 0):9.1f}  {result['errors']:6d}"
        f"{more}"
    )


def judge_all(results: Sequence[Result]) -> Iterator[str]:
    """A line for each target that these results speak of, for each form of Linkstead."""
    for form in list_forms(results):
        for target in TARGETS:
            ratios = compare(results, aim(target, form))
            if not ratios:
                continue
            found = spread(ratios)
            sign = "at most" if target.at_most else "at least"
            name = target.title if form == "linkstead" else f"{target.title} [{form.partition('@')[2]}]"
            yield (
                f"{name:44}  {found.show():22}  n={len(ratios)}"
                f"  must {sign} {target.must:g}, stretch {target.stretch:g}: {judge(target, found.median)}"
            )


def find_contenders(suites: Sequence[Suite], wanted: Sequence[str], *, may_install: bool) -> list[str]:
    """The contenders of these suites that can be run; says what the others lack and the command that brings it."""
    names = dict.fromkeys(name for suite in suites for each in suite.loads for name in each.contenders)
    kept = []
    for name in names:
        missing = find_missing(name)
        if may_install:
            missing = [each for each in missing if not install(each)]
        if missing:
            commands = [" ".join(command) for each in missing if (command := INGREDIENTS[each].command)]
            how = f"Run: {'; '.join(commands)}" if commands else "It cannot be measured here."
            print(f"left out: {CONTENDERS[name].title} (no {', '.join(missing)}). {how}")
        else:
            kept.append(name)
    for name in wanted:
        if name not in kept:
            raise CannotMeasure(f"{name} cannot be measured")
    return kept


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    add = parser.add_argument
    names = [suite.name for suite in SUITES]
    add("--only", default="", help=f"suites or loads, commas in between; suites: {', '.join(names)}")
    add("--contenders", default="", help=f"of these only: {', '.join(CONTENDERS)}")
    add("--rounds", type=int, default=3)
    add("--secs", type=float, default=3.0, help="of each measurement, after one second of warming up")
    add("--full", action="store_true", help="every load, not only those of the short run")
    add("--install", action="store_true", help="install what peers need and is missing")
    add("--python", action="append", help="an interpreter that has Linkstead's packages; may be given several times")
    add("--compiled", type=Path, help="a tree made by tools/compile, to be measured as well: the one above its src")
    add("--source", type=Path, default=ROOT, help="the tree whose src/linkstead is measured")
    add("--results", type=Path, default=BUILD / "results.jsonl", help="the file to append to")
    return parser.parse_args()


def main() -> int:
    """Run what the command line names; the exit code is 1 where a reply was wrong, 2 where nothing can be measured."""
    arguments = parse_arguments()
    try:
        check_machine()
        build_programs()
        only = [each for each in arguments.only.split(",") if each]
        wanted = [each for each in arguments.contenders.split(",") if each]
        known = [*(suite.name for suite in SUITES), *(each.name for suite in SUITES for each in suite.loads)]
        unknown = [each for each in only if each not in known] + [each for each in wanted if each not in CONTENDERS]
        if unknown:
            raise CannotMeasure(f"there is no {', '.join(unknown)}; there are {', '.join([*known, *CONTENDERS])}")
        suites = choose(only, wanted, short=not arguments.full)
        if not suites:
            raise CannotMeasure("nothing of that is in the short run: add --full")
        there = find_contenders(suites, wanted, may_install=arguments.install)
        suites = choose(only, there, short=not arguments.full)
        with tempfile.TemporaryDirectory(prefix="linkstead-bench-") as folder:
            bench = Bench(arguments, Path(folder))
            bench.prepare(suites)
            append(arguments.results, bench.describe())
            print(HEAD)
            for result in bench.measure(suites):
                print(show(result), flush=True)
                if result["errors"]:
                    print(f"       {result['said'].strip()}")
    except CannotMeasure as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print()
    for line in judge_all(bench.results):
        print(line)
    errors = sum(result["errors"] for result in bench.results)
    if errors:
        print(f"FAILED: {errors} replies were wrong, lost or late")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

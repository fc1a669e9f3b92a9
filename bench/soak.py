"""Does a server's memory stay flat? Devices stay connected for an hour, send PINGREQs and are called now and then.

Memory is what the server's processes have resident, read every few seconds. It is judged after a warm-up, in which what
is kept by age fills up: the median of the last tenth against that of the first. Every call must be answered rightly.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.machine import (
    BUILD,
    RIG_CORE,
    ROOT,
    CannotMeasure,
    build_programs,
    check_machine,
    pin,
    read_resident_kib,
)
from bench.run import DEVICES_SPARE
from bench.seed import seed
from bench.servers import Stack

GROWTH_MAX = 0.02
WARM_UP_MINUTES = 30.0
"""Nonces are kept for so long; the calls kept in memory, and all that grows with its first use, are full sooner."""

SAMPLE_S = 5.0
CONNECTIONS = 16
STORM_S_MAX = 300.0
RIG_SPARE_S = 30.0
"""How much longer the load goes on than is judged: it begins before memory stands still."""


class Sample(NamedTuple):
    """The memory of a server at a moment of the time that is judged; negative while it warms up."""

    at_s: float
    resident_kib: int


def judge_growth(samples: Sequence[Sample], duration_s: float) -> float:
    """By which share memory grew from the first tenth of the time to the last; below 0 where it shrank.

    Raises:
        ValueError: no sample is of the first, or of the last tenth.
    """
    first = [each.resident_kib for each in samples if 0 <= each.at_s <= duration_s / 10]
    last = [each.resident_kib for each in samples if duration_s * 0.9 <= each.at_s <= duration_s]
    if not first or not last:
        raise ValueError("there are no samples of the first or of the last tenth")
    return statistics.median(last) / statistics.median(first) - 1


def show(sample: Sample, duration_s: float) -> str:
    """A line of progress."""
    state = "warming up" if sample.at_s < 0 else f"{sample.at_s / duration_s:4.0%}"
    return f"{sample.at_s / 60:7.1f} min  {state:>10}  {sample.resident_kib / 1024:8.2f} MiB"


def soak(arguments: argparse.Namespace) -> int:
    """Run it all; 0 where memory stayed flat and every answer was right."""
    duration_s = arguments.minutes * 60.0
    warm_up_s = arguments.warm_up_minutes * 60.0
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="linkstead-soak-") as folder:
        data = seed(sys.executable, ROOT, Path(folder), arguments.devices + DEVICES_SPARE)
        with Stack("linkstead", data=data) as stack:
            rig = start_rig(arguments, stack, warm_up_s + duration_s + RIG_SPARE_S)
            try:
                connected_kib = wait_for_devices(rig, stack)
                print(f"{arguments.devices} devices are connected: {connected_kib / 1024:.1f} MiB", flush=True)
                start_s = time.monotonic() + warm_up_s
                shown_s = -warm_up_s - 60.0
                while rig.poll() is None and (at_s := time.monotonic() - start_s) < duration_s:
                    samples.append(Sample(at_s, resident_kib(stack)))
                    if at_s - shown_s >= min(60.0, duration_s / 20):
                        shown_s = at_s
                        print(show(samples[-1], duration_s), flush=True)
                    time.sleep(min(SAMPLE_S, duration_s / 100))
                said, errors = rig.communicate(timeout=RIG_SPARE_S + 60.0)
            finally:
                rig.kill()
    return report(said, errors, samples, duration_s, arguments.results)


def report(said: str, errors: str, samples: Sequence[Sample], duration_s: float, results: Path) -> int:
    """Print what came out, and add it to a file."""
    if not said.strip():
        raise CannotMeasure(f"the rig gave no result\n{errors[-800:]}")
    result = json.loads(said.splitlines()[-1])
    growth = judge_growth(samples, duration_s)
    is_flat = growth <= GROWTH_MAX
    print(f"{result['ok']} calls answered, {result['errors']} errors; p99 {result['lat_us']['p99'] / 1000:.2f} ms")
    print(f"memory grew by {growth:.2%}, at most {GROWTH_MAX:.0%} is flat: {'met' if is_flat else 'NOT MET'}")
    line = {"at": round(time.time()), "minutes": duration_s / 60, "devices": result["devices"], "growth": growth}
    line |= {"calls": result["ok"], "errors": result["errors"], "resident_kib": [each.resident_kib for each in samples]}
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    if result["errors"]:
        print(errors[-800:], file=sys.stderr)
    return 0 if is_flat and not result["errors"] else 1


def start_rig(arguments: argparse.Namespace, stack: Stack, secs: float) -> subprocess.Popen[str]:
    """The apps and the devices."""
    ground = stack.ground
    command = [*pin(RIG_CORE), str(BUILD / "rig"), "--label", "soak", "--devices", str(arguments.devices)]
    command += ["--http", f"127.0.0.1:{ground.http}", "--mqtt", f"127.0.0.1:{ground.mqtt}", "--src-ips", "8"]
    command += ["--conns", str(CONNECTIONS), "--rate", str(arguments.rate), "--mix", "33", "--sub", "1"]
    command += ["--keep-alive", str(arguments.keep_alive_s), "--warmup", "0", "--secs", str(secs)]
    for name, pid in stack.list_processes():
        command += ["--pid", f"{name}={pid}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_devices(rig: subprocess.Popen[str], stack: Stack) -> int:
    """Wait until memory stands still, as all are connected then; how much it is. Raises CannotMeasure."""
    end = time.monotonic() + STORM_S_MAX
    before, now = 0, resident_kib(stack)
    while now > before + 256:
        if rig.poll() is not None or time.monotonic() > end:
            rig.kill()
            raise CannotMeasure(f"the devices did not connect\n{rig.communicate()[1][-800:]}")
        time.sleep(2.0)
        before, now = now, resident_kib(stack)
    return now


def resident_kib(stack: Stack) -> int:
    """What all processes of the server have resident."""
    return sum(read_resident_kib(pid) for _, pid in stack.list_processes())


def main() -> int:
    """The exit code is 1 where memory grew or an answer was wrong, 2 where nothing can be measured."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    add = parser.add_argument
    add("--devices", type=int, default=15_000)
    add("--minutes", type=float, default=60.0, help="that are judged")
    add("--warm-up-minutes", type=float, default=WARM_UP_MINUTES, help="ahead of them")
    add("--rate", type=float, default=10.0, help="calls a second, a third of them services")
    add("--keep-alive-s", type=int, default=120, help="of the devices; half of it passes between two PINGREQs")
    add("--results", type=Path, default=BUILD / "soak.jsonl", help="the file to append to")
    try:
        check_machine()
        build_programs()
        return soak(parser.parse_args())
    except CannotMeasure as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

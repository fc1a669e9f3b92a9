"""Where the time of an RRpc goes, line by line: samples of a loaded server, as a page.

py-spy looks at the stack of each thread some hundred times a second, without a word to the server. A line has the
samples in which it ran, what C code it called included; a room, those whose innermost function of Linkstead is its own.
"""

import argparse
import collections
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.machine import ROOT, CannotMeasure, build_programs, check_machine, describe_machine
from bench.run import foreign, run_rig
from bench.scenarios import load
from bench.seed import seed
from bench.servers import Stack

PAGE = ROOT / "docs" / "profile.md"
DEVICES = 256
LOAD = load("profile", f"--devices {DEVICES} --conns 64", "linkstead")
SAMPLES_A_SECOND = 500
WRITERS = "linkstead-store"
WAITING = {"_worker", "_Thread._work_off", "_work_off"}
"""Functions in which a thread that has nothing to do stands; some releases of py-spy name the class as well."""

ELSEWHERE = "event loop, sockets, codecs in C, the standard library"
STARTERS = {"__main__.py", "cli/main.py", "cli/options.py", "cli/serving.py"}
LINES_SHOWN, FUNCTIONS_SHOWN = 60, 40


class Frame(NamedTuple):
    """A place in a stack."""

    function: str
    path: str
    line: str


class Sample(NamedTuple):
    """A stack of a thread, outermost first, and how often it was seen."""

    frames: list[Frame]
    times: int


def read_samples(text: str) -> Iterator[Sample]:
    """What py-spy writes in its format `raw`: `thread;function (file:line);… count`."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = []
        for part in stack.split(";"):
            function, _, place = part.rpartition(" (")
            path, has_line, number = place.removesuffix(")").rpartition(":")
            # a thread has a name in place of a file
            frames.append(Frame(function, path, number) if has_line else Frame(part, "", ""))
        # a thread that waits for work is no work; what these functions do themselves is next to nothing
        if frames[-1].function not in WAITING:
            yield Sample(frames, int(count))


def place_of(frame: Frame) -> str:
    """A file of Linkstead below its package, or nothing for one of somebody else."""
    _, found, rest = frame.path.rpartition("linkstead/")
    return rest if found else ""


def room_of(sample: Sample) -> str:
    """The folder, or module, of the innermost function of Linkstead."""
    inner = next((place for frame in reversed(sample.frames) if (place := place_of(frame))), "")
    return inner.partition("/")[0] or ELSEWHERE


def write_table(head: str, counts: Iterable[tuple[str, int]], total: int) -> Iterator[str]:
    """A table of shares, greatest first."""
    yield f"| {head} | % |"
    yield "|---|---|"
    for name, count in counts:
        yield f"| {name} | {100 * count / total:.1f} |"
    yield ""


def write_page(samples: list[Sample], source: Path, described: str) -> Iterator[str]:
    """The whole page."""
    total = sum(sample.times for sample in samples)
    rooms, lines, functions = (collections.Counter[str]() for _ in range(3))
    for whole in samples:
        # what only starts the event loop is around everything
        sample = whole._replace(frames=[frame for frame in whole.frames if place_of(frame) not in STARTERS])
        thread = " (writing to the database)" if any(WRITERS in frame.function for frame in sample.frames) else ""
        rooms[room_of(sample) + thread] += sample.times
        seen = {(place, frame) for frame in sample.frames if (place := place_of(frame))}
        for name in {f"`{frame.function}`, {place}" for place, frame in seen}:
            functions[name] += sample.times
        last = next((frame for frame in reversed(sample.frames) if place_of(frame)), None)
        if last is not None:
            code = read_line(source, place_of(last), last.line)
            lines[f"{place_of(last)}:{last.line} `{code}`"] += sample.times
    yield "# Where the time of a call goes"
    yield ""
    yield f"Written by `make bench-profile`: {total:,} samples of `linkstead serve` under RRpc with 64 connections,"
    yield f"every call recorded; {described}. The interpreter's own modules, not compiled: those would have no lines."
    yield ""
    yield "## By room"
    yield ""
    yield from write_table("the innermost function of Linkstead is in", rooms.most_common(), total)
    yield "## By function, with all that it calls"
    yield ""
    yield from write_table("function", functions.most_common(FUNCTIONS_SHOWN), total)
    yield "## By line, with the C code that it calls"
    yield ""
    yield from write_table("line", lines.most_common(LINES_SHOWN), total)


def read_line(source: Path, place: str, number: str) -> str:
    """The text of a line, fit for a table."""
    text = (source / "src" / "linkstead" / place).read_text().splitlines()
    return text[int(number) - 1].strip().replace("|", "\\|").replace("`", "'") if number.isdigit() else ""


def take_samples(arguments: argparse.Namespace, folder: Path) -> list[Sample]:
    """Load a server and look at it.

    Raises:
        CannotMeasure: py-spy is missing or may not look, or a reply was wrong.
    """
    raw = folder / "raw"
    data = seed(arguments.python, ROOT, folder, DEVICES)
    with Stack("linkstead", python=arguments.python, data=data) as stack:
        (_, pid), *_ = stack.list_processes()
        run_rig(LOAD, "linkstead", stack, 1.0)
        command = [arguments.py_spy, "record", "-p", str(pid), "-d", str(arguments.secs), "-r", str(SAMPLES_A_SECOND)]
        try:
            spy = subprocess.Popen([*command, "-f", "raw", "-t", "-o", str(raw)], stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise CannotMeasure("the profile needs py-spy: make bench installs it") from None
        result = run_rig(LOAD, "linkstead", stack, arguments.secs + 1.0)
        if spy.wait() or not raw.exists():
            raise CannotMeasure("py-spy could not look into the server: it has to be run by root")
    if result["errors"]:
        raise CannotMeasure(f"{result['errors']} replies were wrong, lost or late\n{result['said']}")
    print(f"{result['rps']:.0f} calls a second, {foreign(result):.0f} % of a core had others")
    return list(read_samples(raw.read_text()))


def main() -> int:
    """Profile, and write the page."""
    parser = argparse.ArgumentParser(prog="bench/profile", description=__doc__)
    parser.add_argument("--secs", type=int, default=20)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has Linkstead's packages")
    parser.add_argument("--py-spy", default=str(ROOT / ".venv-bench" / "bin" / "py-spy"))
    arguments = parser.parse_args()
    try:
        check_machine()
        build_programs()
        with tempfile.TemporaryDirectory(prefix="linkstead-bench-") as folder:
            samples = take_samples(arguments, Path(folder))
    except CannotMeasure as error:
        print(f"bench/profile: {error}", file=sys.stderr)
        return 2
    machine = describe_machine()
    described = f"{machine['processor']}, CPython {sys.version.split()[0]}"
    PAGE.write_text("\n".join(write_page(samples, ROOT, described)).rstrip("\n") + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

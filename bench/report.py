"""Writes docs/performance.md and its plots from a file of results.

  python -m bench.report [RESULTS]

Every figure is the median of its rounds, with the least and the greatest; a ratio is taken in one round of one run.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from bench.machine import BUILD, ROOT
from bench.results import Result, Spread, aim, compare, judge, list_forms, pick, read, spread, write_table
from bench.scenarios import IDLE_DEVICES, STORM_DEVICES, SUITES, TARGETS
from bench.servers import CONTENDERS

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9)
SIZE_IN = (7.0, 4.0)
COMPILED = "compiled"

HEAD = """# Performance

How fast Linkstead is beside a bound and beside what one would use in its place. `make bench` measures it on your
machine in a few minutes, `make bench-full` all of this; `make bench-report` writes this page from the results.

One call is a signed HTTP request, signature, time and nonce checked, a message to the device's connection, its answer,
and the HTTP response. All processes of a server run on one core; the load, which polls, on another. Only where two
workers are to have a core each the load, which does not poll then, is on one of these. Every answer is compared with
what the addressed device must have said. **Only ratios taken in one round mean anything: the machine's own speed moves
by tens of per cent.** Figures are the median of the rounds, with the least and the greatest.

The floor is the same call in C: a bound, not a server, as it keeps no record, expires nothing and does not look who
answered. The peers check the signature; mosquitto takes any device. Linkstead runs as `linkstead serve` starts it, with
everything on and every call recorded; only the limits on requests a second are lifted. It is measured as it is, and
with the modules of a call compiled, as `LINKSTEAD_COMPILE=1 pip install .` installs it where there is a C compiler:
nothing but speed is another then ([decision record](adr/0030-compiled-modules.md)).

Where the time of a call goes: [the profile](profile.md). What was done for speed, what did not pay, and what it would
take to come closer: [0023](adr/0023-short-ways.md), [0030](adr/0030-compiled-modules.md).
"""


def name(contender: str) -> str:
    """What a server is called on the page."""
    server, _, form = contender.partition("@")
    title = CONTENDERS[server].title
    return f"{title}, modules compiled" if form == COMPILED else f"{title} on {form}" if form else title


def find(results: Sequence[Result], load: str, contender: str, metric: str) -> Spread | None:
    """The spread of a figure over the rounds; None where it was not measured."""
    figures = list(pick(results, load, contender, metric).values())
    return spread(figures) if figures else None


def list_contenders(results: Sequence[Result]) -> list[str]:
    """Those that were measured, in the order of CONTENDERS."""
    found = {each["contender"] for each in results if each["load"]}
    order = list(CONTENDERS)
    return sorted(found, key=lambda each: (order.index(each.partition("@")[0]), each))


def write_targets(results: Sequence[Result]) -> Iterator[str]:
    """The ratios that count."""
    rows = []
    forms = list_forms(results)
    for target in TARGETS:
        measured = [compare(results, aim(target, form)) for form in forms]
        if not any(measured):
            continue
        word = "at most" if target.at_most else "at least"
        row = [target.title, f"{word} {target.must:g}", f"{target.stretch:g}"]
        for ratios in measured:
            found = spread(ratios) if ratios else None
            row += [found.show(), judge(target, found.median)] if found else ["", ""]
        rows.append([*row, str(max(map(len, measured)))])
    heads = [part for form in forms for part in (name(form), "")]
    yield from write_table(["ratio", "must", "stretch", *heads, "rounds"], rows)


def write_suite(results: Sequence[Result], loads: Sequence[str]) -> Iterator[str]:
    """The figures of one suite."""
    rows = []
    for load in loads:
        for contender in list_contenders(results):
            rate = find(results, load, contender, "rps")
            cpu = find(results, load, contender, "cpu_us_op")
            if rate is None or cpu is None:
                continue
            row = [load, name(contender), rate.show(0), cpu.show(1)]
            for metric, scale, digits in (("p50_us", 1000, 2), ("p99_us", 1000, 2), ("bytes_per_device", 1, 0)):
                figures = [figure / scale for figure in pick(results, load, contender, metric).values()]
                row.append(spread(figures).show(digits) if figures else "")
            errors = sum(int(each) for each in pick(results, load, contender, "errors").values())
            rows.append([*row, str(errors)])
    head = ["load", "server", "a second", "CPU µs each", "p50 ms", "p99 ms", "B a device", "errors"]
    kept = [place for place in range(len(head)) if place < 4 or any(row[place] for row in rows)]
    yield from write_table([head[place] for place in kept], [[row[place] for place in kept] for row in rows])


def plot(file: str, title: str, x: str, y: str, lines: dict[str, tuple[list[float], list[float]]], scale: str) -> bool:
    """One plot; none where there is no line to draw."""
    lines = {label: points for label, points in lines.items() if len(points[0]) > 1}
    if not lines:
        return False
    figure, axes = pyplot.subplots(figsize=SIZE_IN, layout="constrained")
    for label, (xs, ys) in lines.items():
        axes.plot(xs, ys, marker="o", markersize=3, label=label)
    axes.set(title=title, xlabel=x, ylabel=y)
    if "x" in scale:
        axes.set_xscale("symlog" if "0" in scale else "log")
    if "y" in scale:
        axes.set_yscale("log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / file, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return True


def draw_lines(
    results: Sequence[Result], points: Sequence[tuple[float, str]], metric: str
) -> dict[str, tuple[list[float], list[float]]]:
    """For each server the medians of some loads."""
    lines = {}
    for contender in list_contenders(results):
        found = [(x, found.median) for x, load in points if (found := find(results, load, contender, metric))]
        lines[name(contender)] = ([x for x, _ in found], [y for _, y in found])
    return lines


def draw_latency(results: Sequence[Result], load: str) -> dict[str, tuple[list[float], list[float]]]:
    """For each server the medians of the quantiles, as milliseconds over the share of calls that took longer."""
    lines = {}
    for contender in list_contenders(results):
        rounds = [each["quantiles_us"] for each in results if (each["load"], each["contender"]) == (load, contender)]
        if rounds:
            medians = [spread(column).median / 1000 for column in zip(*rounds, strict=True)]
            lines[name(contender)] = ([100 - quantile for quantile in QUANTILES], medians)
    return lines


def draw(results: Sequence[Result]) -> Iterator[str]:
    """Every plot that there are figures for, as lines of the page."""
    rates = draw_lines(results, [(count, f"rrpc-{count}") for count in (1, 64, 256)], "rps")
    idle = draw_lines(results, [(count, f"idle-{count}") for count in IDLE_DEVICES], "rps")
    storms = [(count, f"memory-{count}") for count in (1_000, 5_000, STORM_DEVICES)]
    memory = {
        label: (xs, [kib / 1024 for kib in ys]) for label, (xs, ys) in draw_lines(results, storms, "rss_kib").items()
    }
    latency = draw_latency(results, "rrpc-64")
    for file, title, x, y, lines, scale in (
        ("rate-by-connections.svg", "Calls a second by connections", "connections", "calls a second", rates, "xy"),
        ("latency.svg", "Latency at 64 connections", "% of calls that took longer", "ms", latency, "xy"),
        ("memory-by-connections.svg", "Memory by connected devices", "connected devices", "MiB", memory, ""),
        ("rate-by-idle-devices.svg", "Calls a second beside idle devices", "idle devices", "calls a second", idle, "y"),
    ):
        if plot(file, title, x, y, lines, scale):
            yield f"![{title}](images/{file})"
            yield ""


def write_page(results: Sequence[Result]) -> Iterator[str]:
    """The whole page."""
    yield from HEAD.splitlines()
    yield ""
    yield "## Targets"
    yield ""
    yield from write_targets(results)
    yield "## Plots"
    yield ""
    yield from draw(results)
    for suite in SUITES:
        loads = [each.name for each in suite.loads]
        if any(each["load"] in loads for each in results):
            yield f"## {suite.title}"
            yield ""
            yield from write_suite(results, loads)
    yield from write_delivery(results)
    yield "## Where"
    yield ""
    yield from write_places(results)


def write_places(results: Sequence[Result]) -> Iterator[str]:
    """Machine, commit and versions, and what was measured there."""
    measured: dict[str, dict[str, None]] = {}
    for each in results:
        if "machine" in each:
            described = {**each["machine"], **each["versions"]}
            text = ", ".join(f"{key} {value}" for key, value in described.items() if value)
            suites = (other["suite"] for other in results if other["load"] and other["run"] == each["run"])
            measured.setdefault(text, {}).update(dict.fromkeys(suites))
    for text, names in measured.items():
        yield f"* {', '.join(names)}: {text}"


def write_delivery(results: Sequence[Result]) -> Iterator[str]:
    """How late a consumer over AMQP was told."""
    told = [each["delivery"] for each in results if "delivery" in each]
    delays = [[each[part] for each in told if part in each] for part in ("p50_ms", "p99_ms")]
    if all(delays):
        p50, p99 = (spread(each).show(0) for each in delays)
        yield f"Of these posts the consumer missed {sum(each['missing'] for each in told)} and had the others after"
        yield f"{p50} ms (p50) and {p99} ms (p99); it runs in Python on the core of the load."
        yield ""


def main() -> None:
    """Write the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "results.jsonl"
    if not path.exists():
        raise SystemExit(f"there are no results at {path}: make bench-full")
    mpl.rcParams["svg.hashsalt"] = "linkstead"
    PAGE.write_text("\n".join(write_page(read(path))) + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

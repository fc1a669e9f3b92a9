"""Results: one JSON object a line for each measurement, appended, so that a run that is cut keeps what it has."""

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.scenarios import Target

Result = dict[str, Any]


class Spread(NamedTuple):
    """The median of some figures, the least and the greatest."""

    median: float
    least: float
    greatest: float

    def show(self, digits: int = 2) -> str:
        """As it stands in a table: 2.31 (2.20-2.44)."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}-{self.greatest:,.{digits}f})"


def append(path: Path, result: Result) -> None:
    """Add one measurement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")


def read(path: Path) -> list[Result]:
    """All measurements of a file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def spread(figures: Sequence[float]) -> Spread:
    """Raises statistics.StatisticsError where there are none."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def pick(results: Iterable[Result], load: str, contender: str, metric: str) -> dict[tuple[str, int], float]:
    """A figure by run and round."""
    return {
        (each["run"], each["round"]): float(each[metric])
        for each in results
        if each["load"] == load and each["contender"] == contender and metric in each
    }


def compare(results: Sequence[Result], target: Target) -> list[float]:
    """The ratio of each round that has both figures; a ratio of two rounds would compare the machine with itself."""
    above = pick(results, *target.above, target.metric)
    below = pick(results, *target.below, target.metric)
    return [above[turn] / below[turn] for turn in sorted(above) if below.get(turn)]


def list_forms(results: Iterable[Result]) -> list[str]:
    """The forms of Linkstead that were measured: `linkstead`, `linkstead@compiled`, …"""
    return list(dict.fromkeys(each["contender"] for each in results if each["contender"].startswith("linkstead")))


def aim(target: Target, form: str) -> Target:
    """A target for one form of Linkstead; both its figures are of that, where they are of Linkstead.

    What is measured in the first form alone, as several nodes are, is compared with that alone.
    """
    if target.above[1] != "linkstead" and form != "linkstead":
        return target._replace(above=("", ""))

    def place(load: str, contender: str) -> tuple[str, str]:
        return load, form if contender == "linkstead" else contender

    return target._replace(above=place(*target.above), below=place(*target.below))


def judge(target: Target, median: float) -> str:
    """`stretch`, `met` or `NOT MET`."""
    if median <= target.stretch if target.at_most else median >= target.stretch:
        return "met (stretch)"
    if median <= target.must if target.at_most else median >= target.must:
        return "met"
    return "NOT MET"


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""

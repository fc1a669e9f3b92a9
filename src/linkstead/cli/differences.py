"""The page on where Linkstead and the vendor's service are not, or may not be, the same."""

import csv
import importlib.resources
from typing import NamedTuple

from linkstead.profiles import SWITCHES

HEAD = """\
# Differences

<!-- Made by `python -m linkstead.cli.reference docs`; do not edit. -->

Where the vendor's reference contradicts itself or its service, where it is silent, and where Linkstead does something
of its own. Each line is held by a test; its name is in the last column, below `tests/`. What is not served at all:
[actions](actions.md).

## Profiles

`--profile documented`, the default, does what the reference says; `--profile observed` what programs in the field see.
"""

OPTIONS_HEAD = """
## Options

Each has a switch of its own; they are all in [configuration](configuration.md).
"""

CHOICES_HEAD = """
## Choices

The same in both profiles.
"""


class Difference(NamedTuple):
    """A line of `differences.csv`. `kind` is `option` or `choice`; `test` is `FILE::NAME` below `tests/`."""

    kind: str
    subject: str
    vendor: str
    here: str
    option: str
    test: str


def read_differences() -> list[Difference]:
    """What differs in all profiles."""
    text = importlib.resources.files(__package__).joinpath("differences.csv").read_text(encoding="utf-8")
    return [Difference(**row) for row in csv.DictReader(text.splitlines())]


def list_tests() -> list[str]:
    """The tests that the page names."""
    return [test for switch in SWITCHES for test in switch.tests] + [each.test for each in read_differences()]


def make_page() -> str:
    """The page, as Markdown."""
    differences = read_differences()
    profiles = [
        [each.subject, each.documented, each.observed, each.evidence, "<br>".join(map(_code, each.tests))]
        for each in SWITCHES
    ]
    options = [
        [each.subject, each.vendor, each.here, _code(each.option), _code(each.test)]
        for each in differences
        if each.kind == "option"
    ]
    choices = [
        [each.subject, each.vendor, each.here, _code(each.test)] for each in differences if each.kind == "choice"
    ]
    return "".join(
        [
            HEAD,
            _table(["", "documented", "observed", "evidence", "test"], profiles),
            OPTIONS_HEAD,
            _table(["", "the vendor", "here", "otherwise with", "test"], options),
            CHOICES_HEAD,
            _table(["", "the vendor", "here", "test"], choices),
        ]
    )


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *rows])

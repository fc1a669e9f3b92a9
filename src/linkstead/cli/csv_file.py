"""CSV files of products and devices: checked whole before anything of them is used."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

ROWS_MAX = 500_000
"""Rows of one file, the heading not counted."""

FAULTS_SHOWN_MAX = 20
FAULTS_KEPT_MAX = 1_000
"""Faults of one file; with one more it is not read any further."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it stands, and its cells by column, blanks around them taken off; absent columns are empty."""

    line: int
    cells: dict[str, str]


class Faults:
    """What is wrong with a file, line by line."""

    def __init__(self) -> None:
        self._faults: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """Note a fault. Raises click.ClickException when there are too many to go on."""
        self._faults.append((line, text))
        if len(self._faults) > FAULTS_KEPT_MAX:
            self.check()

    def check(self) -> None:
        """Raises click.ClickException with a line for each fault, when there are any."""
        check_faults(self._faults)


def read_csv(path: Path, columns: Sequence[str], required: Sequence[str], rows_max: int = ROWS_MAX) -> list[Row]:
    """Read a file of comma-separated values in UTF-8, whose first line names its columns.

    Args:
        columns: those it may have, in any order.
        required: those that it must have, and that must not be empty in any row.
        rows_max: how many rows it may have.

    Raises:
        click.ClickException: it cannot be read, or some rows are at fault: one line for each, with its number.
    """
    faults = Faults()
    rows = list(stream_csv(path, columns, required, faults, rows_max))
    faults.check()
    return rows


def stream_csv(
    path: Path, columns: Sequence[str], required: Sequence[str], faults: Faults, rows_max: int = ROWS_MAX
) -> Iterator[Row]:
    """Read a file as `read_csv` does, row by row; rows at fault are left out and noted in `faults`.

    Raises:
        click.ClickException: it cannot be read, or has too many faults.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _read(file, columns, required, faults, rows_max)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{path}: it is not UTF-8") from None
    except csv.Error as error:
        raise click.ClickException(f"{path}: {error}") from None


def check_faults(faults: Sequence[tuple[int, str]]) -> None:
    """Raises click.ClickException with a line for each fault (line of the file, what is wrong), when there are any."""
    if not faults:
        return
    lines = [f"line {line}: {text}" for line, text in sorted(faults)[:FAULTS_SHOWN_MAX]]
    if len(faults) > FAULTS_SHOWN_MAX:
        lines.append(f"and {len(faults) - FAULTS_SHOWN_MAX} more")
    raise click.ClickException("nothing was written; the file has faults\n" + "\n".join(lines))


def _read(
    file: TextIO, columns: Sequence[str], required: Sequence[str], faults: Faults, rows_max: int
) -> Iterator[Row]:
    reader = csv.reader(file, strict=True)
    heading = [name.strip() for name in next(reader, [])]
    unknown = [name for name in heading if name not in columns]
    missing = [name for name in required if name not in heading]
    if unknown or missing or len(set(heading)) < len(heading):
        raise click.ClickException(
            f"line 1: the first line names the columns: {', '.join(required)} at least, of {', '.join(columns)}"
        )
    count = 0
    empty = dict.fromkeys(columns, "")
    for cells in reader:
        if not any(cells):
            continue
        count += 1
        if count > rows_max:
            raise click.ClickException(f"line {reader.line_num}: more than {rows_max} rows; cut the file in parts")
        if len(cells) != len(heading):
            faults.add(reader.line_num, f"{len(cells)} cells, the first line has {len(heading)}")
            continue
        row = Row(reader.line_num, {**empty, **{name: cell.strip() for name, cell in zip(heading, cells, strict=True)}})
        missing = [name for name in required if not row.cells[name]]
        for name in missing:
            faults.add(row.line, f"{name} is empty")
        if not missing:
            yield row

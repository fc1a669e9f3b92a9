"""CSV files of products and devices: read whole and checked before anything of them is used."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

ROWS_MAX = 500_000
"""Rows of one file, the heading not counted."""

FAULTS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it stands, and its cells by column, blanks around them taken off; absent columns are empty."""

    line: int
    cells: dict[str, str]


def read_csv(path: Path, columns: Sequence[str], required: Sequence[str], rows_max: int = ROWS_MAX) -> list[Row]:
    """Read a file of comma-separated values in UTF-8, whose first line names its columns.

    Args:
        columns: those it may have, in any order.
        required: those that it must have, and that must not be empty in any row.
        rows_max: how many rows it may have.

    Raises:
        click.ClickException: it cannot be read, or some rows are at fault: one line for each, with its number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, columns, required, rows_max)
    except OSError as error:
        raise click.ClickException(f"--csv {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"--csv {path}: it is not UTF-8") from None
    except csv.Error as error:
        raise click.ClickException(f"--csv {path}: {error}") from None


def check_faults(faults: Sequence[tuple[int, str]]) -> None:
    """Raises click.ClickException with a line for each fault (line of the file, what is wrong), when there are any."""
    if not faults:
        return
    lines = [f"line {line}: {text}" for line, text in sorted(faults)[:FAULTS_SHOWN_MAX]]
    if len(faults) > FAULTS_SHOWN_MAX:
        lines.append(f"and {len(faults) - FAULTS_SHOWN_MAX} more")
    raise click.ClickException("nothing was written; the file has faults\n" + "\n".join(lines))


def _read(file: TextIO, columns: Sequence[str], required: Sequence[str], rows_max: int) -> list[Row]:
    reader = csv.reader(file, strict=True)
    heading = [name.strip() for name in next(reader, [])]
    unknown = [name for name in heading if name not in columns]
    missing = [name for name in required if name not in heading]
    if unknown or missing or len(set(heading)) < len(heading):
        raise click.ClickException(
            f"line 1: the first line names the columns: {', '.join(required)} at least, of {', '.join(columns)}"
        )
    rows: list[Row] = []
    faults: list[tuple[int, str]] = []
    empty = dict.fromkeys(columns, "")
    for cells in reader:
        if not any(cells):
            continue
        if len(rows) >= rows_max:
            raise click.ClickException(f"line {reader.line_num}: more than {rows_max} rows; cut the file in parts")
        if len(cells) != len(heading):
            faults.append((reader.line_num, f"{len(cells)} cells, the first line has {len(heading)}"))
            continue
        row = Row(reader.line_num, {**empty, **{name: cell.strip() for name, cell in zip(heading, cells, strict=True)}})
        faults += [(row.line, f"{name} is empty") for name in required if not row.cells[name]]
        rows.append(row)
    check_faults(faults)
    return rows

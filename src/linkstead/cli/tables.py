"""Records as text or JSON on standard output."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

Fields = Mapping[str, Any]


def print_record(fields: Fields, as_json: bool) -> None:
    """Print one record, a field a line."""
    if as_json:
        click.echo(json.dumps(fields, ensure_ascii=False, indent=2))
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {_plain(value)}".rstrip())


def print_records(columns: Sequence[str], records: Sequence[Fields], as_json: bool) -> None:
    """Print records as a table with these columns, or as a JSON list."""
    if as_json:
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
        return
    rows = [list(columns), *[[_plain(record[name]) for name in columns] for record in records]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

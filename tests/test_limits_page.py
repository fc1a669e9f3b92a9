"""Holds the table of limits in docs/threat-model.md against the constants and tests that it names."""

import ast
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "threat-model.md"
ROW = re.compile(
    r"^\| [^|]+ \| [^|]+ \| `([a-z_.]+)\.([A-Z_]+)` \| ([0-9]+) \| `(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)` \|$"
)


def _read() -> list[tuple[str, ...]]:
    rows = (ROW.match(line) for line in PAGE.read_text(encoding="utf-8").splitlines())
    return [row.groups() for row in rows if row is not None]


def test_every_limit_is_the_constant_that_it_says() -> None:
    rows = _read()
    assert len(rows) >= 30
    for module, constant, value, *_ in rows:
        assert getattr(importlib.import_module(f"linkstead.{module}"), constant) == int(value), constant


def test_every_limit_has_the_test_that_it_names() -> None:
    for *_, path, name in _read():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert name in tests, name


def test_no_row_is_written_in_another_form() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("::test_") == len(_read())


def test_every_file_that_is_named_is_there() -> None:
    for path in re.findall(r"`(tests/[a-z_/]+(?:\.py)?)`", PAGE.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path

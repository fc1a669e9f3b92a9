"""Holds docs/promises.md against the tests that it names."""

import ast
import re
from pathlib import Path

from linkstead.invocation import Verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")
NEVER_RUN = {"skip", "skipif", "xfail"}


def _read_tests(path: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests of a file, as they are collected: functions of the module that are named so."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _list_promises() -> list[str]:
    """The rows of all tables, without their heads."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    heads = {number for number, line in enumerate(lines) if line.startswith("|---")}
    rows = (number for number, line in enumerate(lines) if line.startswith("|") and number not in heads)
    return [lines[number] for number in rows if number + 1 not in heads]


def test_every_promise_names_a_test_that_is_there_and_runs() -> None:
    promises = _list_promises()
    assert len(promises) >= 35
    for promise in promises:
        named = NAMED.findall(promise)
        assert named, f"no test: {promise}"
        for path, name in named:
            assert Path(path).name.startswith("test_"), path
            test = _read_tests(path).get(name)
            assert test is not None, f"{path}::{name}"
            marks = {
                node.attr for each in test.decorator_list for node in ast.walk(each) if isinstance(node, ast.Attribute)
            }
            assert not marks & NEVER_RUN, f"{path}::{name}"


def test_no_test_is_named_in_another_form() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("::test_") == len(NAMED.findall(text))


def test_every_verdict_is_told_of() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [verdict.value for verdict in Verdict if verdict.value not in text] == []

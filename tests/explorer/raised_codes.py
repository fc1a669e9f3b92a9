"""Which codes an action can send, read out of the code: what it and everything that it calls names of `errors.codes`.

Calls are followed by their names, and those of methods by the types that annotations state. A method of an object whose
type is not stated is followed where one class alone has it. `python -m tests.explorer.raised_codes` writes the table.
"""

import ast
import builtins
import csv
import functools
import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import linkstead
from linkstead.action import AnyAction
from linkstead.actions import ACTIONS
from linkstead.errors import CATALOGUE, ErrorRow, codes

TABLE = Path(linkstead.__file__).parent / "explorer" / "codes.csv"
ROOMS = (
    "actions",
    "alink",
    "invocation",
    "models",
    "registry",
    "sessions",
    "subscription",
    "telemetry",
    "tsl",
    "uplink",
)
DEPTH_MAX = 4
"""Of tables within tables."""


@functools.cache
def methods_by_name() -> dict[str, list[types.FunctionType]]:
    """The methods of the core's classes."""
    found: dict[str, list[types.FunctionType]] = {}
    for room in ROOMS:
        package = importlib.import_module(f"linkstead.{room}")
        path = getattr(package, "__path__", [])
        names = [package.__name__, *(each.name for each in pkgutil.walk_packages(path, f"{package.__name__}."))]
        for name in names:
            module = importlib.import_module(name)
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == name and not getattr(cls, "_is_protocol", False):
                    for member, function in vars(cls).items():
                        if isinstance(function, types.FunctionType):
                            found.setdefault(member, []).append(function)
    return found


def find_rows(value: object, depth: int = 0) -> Iterator[ErrorRow]:
    """The rows inside a table of a module."""
    if isinstance(value, ErrorRow):
        yield value
    elif depth < DEPTH_MAX and isinstance(value, Mapping):
        for entry in (*value.keys(), *value.values()):
            yield from find_rows(entry, depth + 1)
    elif depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from find_rows(entry, depth + 1)


def find_classes(hint: object) -> list[type]:
    """The classes that a type hint names, whatever wraps them."""
    if inspect.isclass(hint) and not typing.get_args(hint):
        return [hint] if hint.__module__.startswith("linkstead") else []
    return [cls for part in typing.get_args(hint) for cls in find_classes(part)]


@functools.cache
def read_hints(value: Any) -> dict[str, object]:
    try:
        return typing.get_type_hints(value)
    except (NameError, TypeError):
        return {}


@functools.cache
def find_attributes(cls: type) -> dict[str, list[type]]:
    """The types of an object's attributes: as annotated, or as the parameters of `__init__` they were set to."""
    found = {name: find_classes(hint) for name, hint in read_hints(cls).items()}
    init = vars(cls).get("__init__")
    if isinstance(init, types.FunctionType) and (tree := parse(init)):
        hints = read_hints(init)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and node.value.id in hints:
                        found[target.attr] = find_classes(hints[node.value.id])
    for name, member in inspect.getmembers(cls, lambda each: isinstance(each, property)):
        found[name] = find_classes(read_hints(member.fget).get("return"))
    return found


@functools.cache
def parse(function: types.FunctionType) -> ast.AST | None:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return None
    return ast.parse(inspect.cleandoc("\n" + source) if source[:1].isspace() else source)


class Reader:
    """Follows one function: `rows` are those it names, `called` what it calls."""

    def __init__(self, function: types.FunctionType, owner: type | None) -> None:
        self.globals = function.__globals__
        self.rows: set[ErrorRow] = set()
        self.called: set[types.FunctionType] = set()
        self.types = {name: find_classes(hint) for name, hint in read_hints(function).items()}
        if owner is not None:
            self.types["self"] = [owner]
        tree = parse(function)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self.types.setdefault(node.targets[0].id, self.find_types(node.value))
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Name):
                self.take(self.globals.get(node.id, getattr(builtins, node.id, None)))
            elif isinstance(node, ast.Attribute):
                self.read_attribute(node)

    def take(self, value: object) -> None:
        value = getattr(value, "__wrapped__", value)
        if isinstance(value, types.FunctionType) and value.__module__.startswith("linkstead"):
            self.called.add(value)
        elif inspect.isclass(value) and value.__module__.startswith("linkstead"):
            for name in ("__init__", "__post_init__", "__enter__", "__exit__"):
                if isinstance(member := vars(value).get(name), types.FunctionType):
                    self.called.add(member)
        elif value is not CATALOGUE:
            self.rows.update(find_rows(value))

    def read_attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and isinstance(module := self.globals.get(node.value.id), types.ModuleType):
            self.take(getattr(module, node.attr, None))
            return
        owners = self.find_types(node.value)
        members = [inspect.getattr_static(cls, node.attr, None) for cls in owners]
        if not owners:
            members = list(found) if len(found := methods_by_name().get(node.attr, [])) == 1 else []
        for member in members:
            self.take(member.fget if isinstance(member, property) else member)

    def find_types(self, node: ast.AST) -> list[type]:
        if isinstance(node, ast.Name):
            return self.types.get(node.id, [])
        if isinstance(node, ast.Await):
            return self.find_types(node.value)
        if isinstance(node, ast.Attribute):
            return [found for cls in self.find_types(node.value) for found in find_attributes(cls).get(node.attr, [])]
        if isinstance(node, ast.Call):
            return self.find_returned(node.func)
        return []

    def find_returned(self, node: ast.AST) -> list[type]:
        value: object = None
        if isinstance(node, ast.Name):
            value = self.globals.get(node.id)
            if inspect.isclass(value):
                return [value]
        elif isinstance(node, ast.Attribute):
            owners = self.find_types(node.value)
            value = inspect.getattr_static(owners[0], node.attr, None) if owners else None
        value = getattr(value, "__wrapped__", value)
        return find_classes(read_hints(value).get("return")) if isinstance(value, types.FunctionType) else []


def find_owner(function: types.FunctionType) -> type | None:
    path = function.__qualname__.split(".")
    owner = vars(sys.modules[function.__module__]).get(path[0])
    return owner if len(path) == 2 and inspect.isclass(owner) else None


@functools.cache
def read_function(function: types.FunctionType) -> Reader:
    return Reader(function, find_owner(function))


def find_codes(action: AnyAction) -> list[str]:
    """The codes of business errors that an action can send, in the order of the catalogue's constants."""
    seen: set[types.FunctionType] = set()
    waiting = [action.function]
    rows: set[ErrorRow] = set()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        seen.add(function)
        reader = read_function(function)
        rows |= reader.rows
        waiting += reader.called
    named = [row for row in vars(codes).values() if isinstance(row, ErrorRow)]
    return [row.code for row in named if row in rows and row.is_business]


def make_table() -> list[tuple[str, str]]:
    """The rows of the table: action, code."""
    return [(name, code) for name, action in ACTIONS.items() for code in find_codes(action)]


if __name__ == "__main__":
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("action", "code"))
        writer.writerows(make_table())

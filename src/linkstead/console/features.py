"""A thing model as a page shows it: its features in a table, and where in a document a rule is broken."""

import json
from dataclasses import dataclass

from linkstead.tsl import (
    Array,
    Choice,
    DataType,
    Date,
    Event,
    Module,
    Numeric,
    Parameter,
    Property,
    Service,
    Struct,
    Text,
    ThingModel,
    join_identifier,
)

_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Feature:
    """A row. `mode` is what an app has to know: `rw`, `r`, `w`; `sync`, `async`; `info`, `alert`, `error`."""

    kind: str
    identifier: str
    name: str
    mode: str
    inputs: str
    outputs: str


def list_features(model: ThingModel) -> list[Feature]:
    """Every feature by its name on the wire."""
    return [_describe(module, found) for module in model.modules for found in module.features]


def _describe(module: Module, found: Property | Event | Service) -> Feature:
    name = join_identifier(module.module_id, found.identifier)
    match found:
        case Property():
            return Feature("property", name, found.name, found.access_mode, "", describe_type(found.data_type))
        case Event():
            return Feature("event", name, found.name, found.type, "", _describe_all(found.output_data))
        case Service():
            inputs, outputs = _describe_all(found.input_data), _describe_all(found.output_data)
            return Feature("service", name, found.name, found.call_type, inputs, outputs)


def _describe_all(parameters: tuple[Parameter, ...]) -> str:
    return "; ".join(f"{found.identifier}: {describe_type(found.data_type)}" for found in parameters)


def describe_type(found: DataType) -> str:
    """A type in one line: `int 0..100 %`, `enum 0=off 1=on`, `array[10] of struct {…}`."""
    match found:
        case Numeric():
            span = f" {found.min}..{found.max}" if found.min or found.max else ""
            return found.type + span + (f" {found.unit}" if found.unit else "")
        case Choice():
            return f"{found.type} " + " ".join(f"{value}={label}" for value, label in found.items)
        case Text():
            return f"text ≤ {found.length_bytes} B" if found.length_bytes is not None else "text"
        case Date():
            return "date (UTC ms)"
        case Struct():
            return f"struct {{{_describe_all(found.members)}}}"
        case Array():
            return f"array[{found.size}] of {describe_type(found.item)}"


def find_line(text: str, path: str) -> int:
    """The line, from 1, of a place in a JSON document, as a path like `services[2].identifier` names it.

    Of a place that is not there, that of what would hold it.
    """
    position = _skip(text, 0)
    for token in path.replace("[", ".[").split("."):
        if not token:
            continue
        found = _element(text, position, int(token[1:-1])) if token.startswith("[") else _member(text, position, token)
        if found is None:
            break
        position = found
    return text.count("\n", 0, position) + 1


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _member(text: str, position: int, name: str) -> int | None:
    if text[position : position + 1] != "{":
        return None
    position = _skip(text, position + 1)
    while text[position] == '"':
        found, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        if found == name:
            return position
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        if text[position] != ",":
            return None
        position = _skip(text, position + 1)
    return None


def _element(text: str, position: int, index: int) -> int | None:
    if text[position : position + 1] != "[":
        return None
    position = _skip(text, position + 1)
    while text[position] != "]":
        if index == 0:
            return position
        index -= 1
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        if text[position] != ",":
            return None
        position = _skip(text, position + 1)
    return None

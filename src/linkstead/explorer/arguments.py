"""The parameters of one request of an action, as a person gives them and as the wire has them."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from linkstead.explorer.reference import ActionReference, Kind, Parameter

Scalar: TypeAlias = str | int | bool
Entry: TypeAlias = Scalar | Mapping[str, Scalar]
Argument: TypeAlias = Scalar | Sequence[Entry]
Arguments: TypeAlias = Mapping[str, Argument]
"""By their names on the wire; a repeated parameter is a list, of texts or of objects of texts and numbers."""


def flatten_arguments(arguments: Arguments) -> dict[str, str]:
    """Write parameters as the wire has them: lists become `Name.1`, `Name.2`, …, those of objects `Name.1.Field`.

    Source: `cloud-api.md` 1.2.
    """
    flat: dict[str, str] = {}
    for name, value in arguments.items():
        if isinstance(value, str | int):
            flat[name] = write_scalar(value)
            continue
        for number, entry in enumerate(value, 1):
            if isinstance(entry, Mapping):
                flat.update({f"{name}.{number}.{field}": write_scalar(each) for field, each in entry.items()})
            else:
                flat[f"{name}.{number}"] = write_scalar(entry)
    return flat


def write_scalar(value: Scalar) -> str:
    """A value as text: `true` and `false` as the wire has them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def read_arguments(reference: ActionReference, fields: Mapping[str, str]) -> Arguments:
    """Read parameters out of the fields of a form; what is empty is left out.

    Args:
        fields: by their names on the wire. A repeated text is one field with an entry in each line, and of a repeated
            object `Name.1.Field` is a field; entries without any value are left out, so that the rest closes up.

    A number or a truth value that is none stays a text: the action says what is wrong with it.
    """
    arguments: dict[str, Argument] = {}
    for parameter in reference.parameters:
        value = _read_argument(parameter, fields)
        if value not in ("", []):
            arguments[parameter.name] = value
    return arguments


def _read_argument(parameter: Parameter, fields: Mapping[str, str]) -> Argument:
    if parameter.fields:
        numbers = {name.split(".")[1] for name in fields if name.startswith(f"{parameter.name}.")}
        entries = [
            {
                field.name: read_scalar(field.kind, text)
                for field in parameter.fields
                if (text := fields.get(f"{parameter.name}.{number}.{field.name}", ""))
            }
            for number in sorted(filter(str.isdecimal, numbers), key=int)
        ]
        return [entry for entry in entries if entry]
    text = fields.get(parameter.name, "")
    if parameter.is_repeated:
        return [line for line in text.splitlines() if line]
    return read_scalar(parameter.kind, text)


def read_scalar(kind: Kind, text: str) -> Scalar:
    """A text as a value of its kind, if it is one."""
    if kind == "integer" and re.fullmatch(r"-?[0-9]{1,19}", text):
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def make_example(reference: ActionReference, *, whole: bool = False) -> Arguments:
    """Parameters that an action may be sent with: the required ones, or all that an example is known of.

    A repeated one has a single entry.
    """
    return {
        parameter.name: _make_value(parameter)
        for parameter in reference.parameters
        if parameter.is_required or (whole and (parameter.example or parameter.fields))
    }


def _make_value(parameter: Parameter) -> Argument:
    if parameter.fields:
        return [{field.name: _read_example(field) for field in parameter.fields if field.example}]
    return [parameter.example] if parameter.is_repeated else _read_example(parameter)


def _read_example(parameter: Parameter) -> Scalar:
    match parameter.kind:
        case "integer":
            return int(parameter.example)
        case "boolean":
            return parameter.example == "true"
    return parameter.example

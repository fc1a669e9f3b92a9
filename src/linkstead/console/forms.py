"""Forms made from a thing model: a field for each value, and what somebody typed as the JSON that a device gets."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from linkstead.console.features import describe_type
from linkstead.tsl import Array, Choice, DataType, Date, Numeric, Parameter, Property, Struct, Text

_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Args:
        name: in the form; `arg.Steps`, `arg.Place.Longitude`.
        control: `number`, `text`, `choice`, `json` or `group`.
        rule: what fits, in one line.
        min, max, step: of a number, as the model writes them.
        choices: value and label.
        fields: of a group.
    """

    name: str
    label: str
    control: str
    rule: str
    min: str = ""
    max: str = ""
    step: str = "any"
    choices: list[tuple[str, str]] = field(default_factory=list)
    fields: "list[Field]" = field(default_factory=list)


def make_fields(found: Iterable[Parameter | Property], prefix: str = "arg.") -> list[Field]:
    """The fields of inputs, of members of a struct, or of properties."""
    return [_make_field(one.identifier, one.name, one.data_type, prefix + one.identifier) for one in found]


def make_property_field(name: str, found: Property) -> Field:
    """The field of one property, whose name on the wire may have a module in front."""
    return _make_field(name, found.name, found.data_type, f"arg.{name}")


def _make_field(identifier: str, title: str, data_type: DataType, name: str) -> Field:
    label = f"{title} ({identifier})" if title != identifier else identifier
    rule = describe_type(data_type)
    match data_type:
        case Numeric():
            step = "1" if data_type.type == "int" else "any"
            return Field(name, label, "number", rule, data_type.min, data_type.max, step)
        case Choice():
            return Field(name, label, "choice", rule, choices=[(str(value), text) for value, text in data_type.items])
        case Text() | Date():
            return Field(name, label, "text", rule)
        case Struct():
            return Field(name, label, "group", rule, fields=make_fields(data_type.members, name + "."))
        case Array():
            return Field(name, label, "json", rule)


def write_arguments(inputs: Iterable[Parameter], form: Mapping[str, str], prefix: str = "arg.") -> str:
    """The arguments of a service as a JSON object. What does not fit is sent as typed."""
    members = (f"{json.dumps(one.identifier)}:{_write(one.data_type, prefix + one.identifier, form)}" for one in inputs)
    return "{" + ",".join(members) + "}"


def write_items(properties: Mapping[str, Property], form: Mapping[str, str]) -> str:
    """The properties that were filled in, as a JSON object."""
    members = (
        f"{json.dumps(name)}:{_write(one.data_type, f'arg.{name}', form)}"
        for name, one in properties.items()
        if _is_filled(one.data_type, f"arg.{name}", form)
    )
    return "{" + ",".join(members) + "}"


def _is_filled(data_type: DataType, name: str, form: Mapping[str, str]) -> bool:
    if isinstance(data_type, Struct):
        return any(_is_filled(one.data_type, f"{name}.{one.identifier}", form) for one in data_type.members)
    return bool(form.get(name, "").strip())


def _write(data_type: DataType, name: str, form: Mapping[str, str]) -> str:
    if isinstance(data_type, Struct):
        return write_arguments(data_type.members, form, name + ".")
    typed = form.get(name, "")
    text = typed.strip()
    match data_type:
        case Choice() if _INTEGER.fullmatch(text):
            return str(int(text))
        case Numeric(type="int") if _INTEGER.fullmatch(text):
            return str(int(text))
        case Numeric(type="float" | "double") if _DECIMAL.fullmatch(text):
            # A whole number is none of these to the platform. Source: `thing-model.md` 5.
            return text + ".0" if _INTEGER.fullmatch(text) else text
        case Array():
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return json.dumps(typed)
            return text
        case _:
            return json.dumps(typed)

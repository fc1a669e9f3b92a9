"""What a thing model says, as records; and how a feature is found by the name it has on the wire.

Records hold the model alone: the entries that the platform generates (`post`, `set`, `get`) are made on writing.
Numbers of the specs stay texts, as written. `others` keeps the keys of the document that mean nothing to us.

Source: `thing-model.md` 1, 2 and 4.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from linkstead.tsl.limits import DEFAULT_MODULE

AccessMode = Literal["r", "rw", "w"]
EventType = Literal["info", "alert", "error"]
CallType = Literal["sync", "async"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Type:
    others: dict[str, Any] = field(default_factory=dict)
    """Unknown keys beside `type` and `specs`."""


@dataclass(frozen=True, slots=True)
class Numeric(_Type):
    """A number: 32-bit signed, single or double precision. `min`, `max` and `step` are "" where not given.

    `step` and the unit are told to people and never enforced.
    """

    type: Literal["int", "float", "double"]
    min: str = ""
    max: str = ""
    step: str = ""
    unit: str = ""
    unit_name: str = ""
    specs_others: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice(_Type):
    """An integer out of a list, each with its label; a bool is the list of 0 and 1."""

    type: Literal["enum", "bool"]
    items: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Text(_Type):
    """A string of at most so many bytes in UTF-8; None where the model says nothing: the platform's bound."""

    length_bytes: int | None = None
    specs_others: dict[str, Any] = field(default_factory=dict)
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Date(_Type):
    """A moment: a string of UTC milliseconds."""

    specs_others: dict[str, Any] = field(default_factory=dict)
    type: Literal["date"] = "date"


@dataclass(frozen=True, slots=True)
class Struct(_Type):
    """An object with exactly these members; none of them a struct or an array."""

    members: "tuple[Parameter, ...]"
    type: Literal["struct"] = "struct"


@dataclass(frozen=True, slots=True)
class Array(_Type):
    """A list of at most `size` elements: numbers, texts or structs."""

    size: int
    item: "Numeric | Text | Struct"
    specs_others: dict[str, Any] = field(default_factory=dict)
    type: Literal["array"] = "array"


DataType = Numeric | Choice | Text | Date | Struct | Array


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or output of a service, an output of an event, or a member of a struct."""

    identifier: str
    name: str
    data_type: DataType
    others: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Property:
    """A value a device has. `required` speaks of the vendor's standard categories; it demands nothing of a device."""

    identifier: str
    name: str
    data_type: DataType
    access_mode: AccessMode = "rw"
    required: bool = False
    desc: str = ""
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def is_writable(self) -> bool:
        """True when an app may set it."""
        return "w" in self.access_mode


@dataclass(frozen=True, slots=True)
class Event:
    """Something a device tells by itself."""

    identifier: str
    name: str
    type: EventType = "info"
    output_data: tuple[Parameter, ...] = ()
    required: bool = False
    desc: str = ""
    others: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """Something a device can be told to do. Every input is mandatory."""

    identifier: str
    name: str
    call_type: CallType
    input_data: tuple[Parameter, ...] = ()
    output_data: tuple[Parameter, ...] = ()
    required: bool = False
    desc: str = ""
    others: dict[str, Any] = field(default_factory=dict)


Feature = Property | Event | Service


@dataclass(frozen=True, slots=True)
class Module:
    """Features under one name; the default module has neither id nor name.

    `profile` is that of the document without its product key.
    """

    module_id: str = ""
    name: str = ""
    properties: tuple[Property, ...] = ()
    events: tuple[Event, ...] = ()
    services: tuple[Service, ...] = ()
    profile: dict[str, Any] = field(default_factory=lambda: {"version": "1.0"})
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> tuple[Feature, ...]:
        """All of them: properties, events, services."""
        return (*self.properties, *self.events, *self.services)


@dataclass(frozen=True, slots=True)
class ThingModel:
    """What the devices of one product have and can do. The default module comes first and is always there."""

    product_key: str
    modules: tuple[Module, ...] = (Module(),)


def split_identifier(text: str) -> tuple[str, str] | None:
    """Module id ("" for the default module) and identifier of a name on the wire; None when it is malformed.

    `testFb:testService` is split at its colon, `testService` and `default:testService` are of the default module; a
    second colon, or nothing on one side, is malformed. Source: `thing-model.md` 4.
    """
    module_id, colon, identifier = text.partition(":")
    if not colon:
        return "", text
    if not module_id or not identifier or ":" in identifier:
        return None
    return "" if module_id == DEFAULT_MODULE else module_id, identifier


def join_identifier(module_id: str, identifier: str) -> str:
    """The name on the wire: in `Identifier`, `method`, topics, and the keys of posts and sets."""
    return f"{module_id}:{identifier}" if module_id else identifier


def find_module(model: ThingModel, module_id: str) -> Module | None:
    """The module with this id; "" is the default module."""
    return next((module for module in model.modules if module.module_id == module_id), None)


def find_property(model: ThingModel, identifier: str) -> Property | None:
    """The property with this name on the wire."""
    module, plain = _locate(model, identifier)
    return next((found for found in module.properties if found.identifier == plain), None) if module else None


def find_event(model: ThingModel, identifier: str) -> Event | None:
    """The event with this name on the wire; the generated `post` is not one."""
    module, plain = _locate(model, identifier)
    return next((found for found in module.events if found.identifier == plain), None) if module else None


def find_service(model: ThingModel, identifier: str) -> Service | None:
    """The service with this name on the wire; the generated `set` and `get` are not found (6206)."""
    module, plain = _locate(model, identifier)
    return next((found for found in module.services if found.identifier == plain), None) if module else None


def _locate(model: ThingModel, identifier: str) -> tuple[Module | None, str]:
    parts = split_identifier(identifier)
    return (find_module(model, parts[0]), parts[1]) if parts else (None, "")

"""Check values against a thing model: what apps send in, and what devices send out.

A `ModelChecker` belongs to one published model and makes each check the first time it is wanted. A check returns None
when all is well and the first `Fault` otherwise; nothing is raised. Values are as `read_literal` or msgspec
gives them.

What an app sends is held to everything: presence, types, ranges, the decimal point of float and double. What a device
sends is held to what its product's `ValidateType` says.

Source: `thing-model.md` 2 and 6; where the sources are silent, the docstrings say what we chose.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

import msgspec

from linkstead.tsl.document import shorten, show
from linkstead.tsl.limits import DATE_MS_MAX, DOUBLE_MAX, FLOAT_MAX, INT_MAX, INT_MIN, TEXT_LENGTH_BYTES_MAX
from linkstead.tsl.model import (
    Array,
    Choice,
    DataType,
    Date,
    Event,
    Numeric,
    Parameter,
    Service,
    Struct,
    Text,
    ThingModel,
    find_event,
    find_property,
    find_service,
    join_identifier,
    split_identifier,
)

# Source: `thing-model.md` 2.3, 6.2 and 6.4.
MISSING_INPUT = 6302
UNKNOWN_PARAMETER = 6304
TYPE_CODES = {
    "int": 6306,
    "float": 6307,
    "bool": 6308,
    "enum": 6309,
    "text": 6310,
    "date": 6311,
    "struct": 6312,
    "double": 6322,
    "array": 6324,
}
UNKNOWN_PROPERTY = 6320
WRONG_ELEMENT = 6325
NOT_AN_ARRAY = 6328
NOT_CONFORMING = 6332


class ValidateType(enum.IntEnum):
    """How a product holds its devices to the thing model. Source: CreateProduct reference, row ValidateType.

    STRICT: identifiers, types, ranges, lengths, members of structs; what fails is not passed on.
    WEAK: identifiers and types; all is passed on.
    NONE: nothing.
    """

    STRICT = 0
    WEAK = 1
    NONE = 2


VALIDATE_TYPES = {int(level): level for level in ValidateType}
"""By their numbers: an enum takes ten times as long to find its member."""


class _Absent:
    """Stands where there is no value to show."""


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that does not fit.

    Attributes:
        code: number for the device log and for `checkFailedData`.
        problem: in the platform's style, `data type is not int`.
        rule: what fits, `int 1..20`.
        path: the argument, `Steps[0].HoldMs`.
        value: what was there.
    """

    code: int
    problem: str
    rule: str
    value: Any = _ABSENT
    path: str = ""

    def under(self, prefix: str) -> "Fault":
        """The same fault seen from outside: `HoldMs` under `Steps[0]`."""
        return replace(self, path=prefix + self.path if self.path[:1] in ("", "[") else f"{prefix}.{self.path}")

    @property
    def message(self) -> str:
        """One line that names argument, value and rule: `tsl parse: data type is not int -> Times (value: "x"; …)`."""
        value = "" if self.value is _ABSENT else f"value: {show(self.value)}; "
        return f"{self.problem} -> {self.path} ({value}rule: {self.rule})"

    @property
    def check_failed(self) -> dict[str, Any]:
        """The entry of `checkFailedData`, without the time. Source: `device-protocol.md` 8.4."""
        entry = {"code": self.code, "message": self.message}
        return entry if self.value is _ABSENT else {"value": self.value, **entry}


Check = Callable[[object], Fault | None]


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a check looks at beyond identifiers and types."""

    ranges: bool
    """Ranges, lengths, items of an enum, and that no member of a struct is missing."""
    decimal_point: bool = False
    """A float or double has to be written with one."""
    truths: bool = True
    """true and false stand for 1 and 0."""


_FROM_DEVICE = {ValidateType.STRICT: _Rules(ranges=True), ValidateType.WEAK: _Rules(ranges=False)}


class ServiceChecker:
    """Checks the inputs and outputs of one service."""

    def __init__(self, service: Service, identifier: str, *, lenient_float: bool = False) -> None:
        self.service = service
        self.is_synchronous = service.call_type == "sync"
        self.identifier = identifier
        """The name on the wire, `testFb:testService`."""
        self._inputs = _make_checks(service.input_data, _for_app(lenient_float))
        self._outputs = _ByLevel(service.output_data)

    def check_input(self, arguments: Mapping[str, object]) -> Fault | None:
        """Check `Args`: first that none is missing (6302), then that none is unknown (6304), then each value."""
        checks = self._inputs
        if arguments.keys() != checks.keys():
            return _find_stranger(arguments, self.service.input_data)
        for identifier, value in arguments.items():
            fault = checks[identifier](value)
            if fault is not None:
                return fault.under(identifier)
        return None

    def check_output(self, data: Mapping[str, object], validate_type: ValidateType) -> dict[str, Fault]:
        """Check the `data` of a device's reply: what fails, by identifier. Missing outputs are no fault."""
        return self._outputs.check(data, validate_type)


class EventChecker:
    """Checks the outputs of one event."""

    def __init__(self, event: Event, identifier: str) -> None:
        self.event = event
        self.identifier = identifier
        """The name on the wire, `testFb:LevelAlarm`."""
        self._outputs = _ByLevel(event.output_data)

    def check_output(self, data: Mapping[str, object], validate_type: ValidateType) -> dict[str, Fault]:
        """Check what a device posted: what fails, by identifier. Missing outputs are no fault."""
        return self._outputs.check(data, validate_type)


class ModelChecker:
    """Finds features by their names on the wire, and checks values against them.

    Args:
        model: never changes; a new version of the model gets a new checker.
        lenient_float: a float or double of an app may be written without a decimal point; it is passed on as written.
    """

    def __init__(self, model: ThingModel, *, lenient_float: bool = False) -> None:
        self.model = model
        self._lenient_float = lenient_float
        self._services: dict[str, ServiceChecker] = {}
        self._events: dict[str, EventChecker] = {}
        # By name on the wire; filled with names of the model alone, so as bounded as the model.
        self._set_checks: dict[str, Check] = {}
        self._post_checks: dict[ValidateType, dict[str, Check]] = {level: {} for level in _FROM_DEVICE}

    def find_service(self, identifier: str) -> ServiceChecker | None:
        """The service of this name on the wire; None is 6206, "service not found". `set` and `get` are never found."""
        found = self._services.get(identifier)
        if found is None:
            service = find_service(self.model, identifier)
            if service is None:
                return None
            name = _name_on_wire(identifier)
            found = ServiceChecker(service, name, lenient_float=self._lenient_float)
            self._services[identifier] = found
        return found

    def find_event(self, identifier: str) -> EventChecker | None:
        """The event of this name on the wire; None is 6300."""
        found = self._events.get(identifier)
        if found is None:
            event = find_event(self.model, identifier)
            if event is None:
                return None
            found = self._events[identifier] = EventChecker(event, _name_on_wire(identifier))
        return found

    def check_property_set(self, items: Mapping[str, object]) -> Fault | None:
        """Check `Items` of a property set: each property is known (6320), writable (6332), and its value fits.

        Not all properties need to be there. 6332 for one that is only readable is our choice.
        """
        for identifier, value in items.items():
            check = self._set_checks.get(identifier)
            if check is None:
                found = find_property(self.model, identifier)
                if found is None:
                    rule = "a property of the thing model"
                    return Fault(UNKNOWN_PROPERTY, "property not found", rule, value, shorten(identifier))
                if not found.is_writable:
                    problem = f"tsl parse: property is read only, accessMode {found.access_mode}"
                    return Fault(NOT_CONFORMING, problem, "accessMode rw or w", value, identifier)
                check = self._set_checks[identifier] = make_app_check(
                    found.data_type, lenient_float=self._lenient_float
                )
            fault = check(value)
            if fault is not None:
                return fault.under(identifier)
        return None

    def check_property_post(self, items: Mapping[str, object], validate_type: ValidateType) -> dict[str, Fault]:
        """Check the values of a device's properties: what fails, by identifier as the device wrote it."""
        failed: dict[str, Fault] = {}
        if validate_type is ValidateType.NONE:
            return failed
        checks = self._post_checks[validate_type]
        for identifier, value in items.items():
            check = checks.get(identifier)
            if check is None:
                found = find_property(self.model, identifier)
                if found is None:
                    failed[identifier] = _unknown(identifier, value, "a property of the thing model")
                    continue
                check = checks[identifier] = make_device_check(found.data_type, validate_type)
            fault = check(value)
            if fault is not None:
                failed[identifier] = fault.under(identifier)
        return failed


class _ByLevel:
    """Checks of what a device sends, made for each level when it is first wanted."""

    def __init__(self, parameters: Collection[Parameter]) -> None:
        self._parameters = parameters
        self._checks: dict[ValidateType, dict[str, Check]] = {}

    def check(self, data: Mapping[str, object], validate_type: ValidateType) -> dict[str, Fault]:
        failed: dict[str, Fault] = {}
        if validate_type is ValidateType.NONE:
            return failed
        checks = self._checks.get(validate_type)
        if checks is None:
            checks = self._checks[validate_type] = _make_checks(self._parameters, _FROM_DEVICE[validate_type])
        for identifier, value in data.items():
            check = checks.get(identifier)
            if check is None:
                failed[identifier] = _unknown(identifier, value, _list_names(self._parameters))
                continue
            fault = check(value)
            if fault is not None:
                failed[identifier] = fault.under(identifier)
        return failed


def make_app_check(data_type: DataType, *, lenient_float: bool = False) -> Check:
    """A check of one value that an app sends."""
    return _make_check(data_type, _for_app(lenient_float))


def make_device_check(data_type: DataType, validate_type: ValidateType) -> Check:
    """A check of one value that a device sends; `validate_type` is STRICT or WEAK."""
    return _make_check(data_type, _FROM_DEVICE[validate_type])


def _for_app(lenient_float: bool) -> _Rules:
    return _Rules(ranges=True, decimal_point=not lenient_float, truths=False)


def _name_on_wire(identifier: str) -> str:
    parts = split_identifier(identifier)
    assert parts is not None  # a feature was found by it
    return join_identifier(*parts)


def _find_stranger(arguments: Mapping[str, object], inputs: Collection[Parameter]) -> Fault:
    for parameter in inputs:
        if parameter.identifier not in arguments:
            rule = f"every input is mandatory, {_describe(parameter.data_type)}"
            return Fault(MISSING_INPUT, "tsl parse: params missing", rule, path=parameter.identifier)
    known = {parameter.identifier for parameter in inputs}
    unknown = next(identifier for identifier in arguments if identifier not in known)
    return _unknown(unknown, arguments[unknown], _list_names(inputs))


def _unknown(identifier: str, value: object, rule: str) -> Fault:
    return Fault(UNKNOWN_PARAMETER, "tsl parse: params not exist", rule, value, shorten(identifier))


def _list_names(parameters: Iterable[Parameter]) -> str:
    names = ", ".join(parameter.identifier for parameter in parameters)
    return shorten(f"one of {names}") if names else "no parameters"


def _describe(data_type: DataType) -> str:
    """What fits a type, in few words."""
    match data_type:
        case Numeric():
            return _describe_range(data_type)
        case Choice():
            return shorten(f"{data_type.type}, one of {', '.join(str(value) for value, _ in data_type.items)}")
        case Text():
            return f"text of at most {data_type.length_bytes or TEXT_LENGTH_BYTES_MAX} bytes"
        case Date():
            return "date, a string of UTC milliseconds"
        case Struct():
            return shorten(f"struct with {', '.join(member.identifier for member in data_type.members)}")
        case Array():
            return f"array of at most {data_type.size} {data_type.item.type}"
        case _:
            assert_never(data_type)


def _describe_range(numeric: Numeric) -> str:
    return f"{numeric.type} {numeric.min}..{numeric.max}" if numeric.min or numeric.max else numeric.type


@dataclass(frozen=True, slots=True)
class _Codes:
    """The numbers for a value of the wrong type, and for one that is out of range."""

    type: int
    range: int


_ELEMENT_CODES = _Codes(WRONG_ELEMENT, TYPE_CODES["array"])


def _make_checks(parameters: Iterable[Parameter], rules: _Rules) -> dict[str, Check]:
    return {parameter.identifier: _make_check(parameter.data_type, rules) for parameter in parameters}


def _make_check(data_type: DataType, rules: _Rules, codes: _Codes | None = None) -> Check:
    if codes is None:
        codes = _Codes(TYPE_CODES[data_type.type], TYPE_CODES[data_type.type])
    match data_type:
        case Numeric():
            return (
                _make_int_check(data_type, rules, codes)
                if data_type.type == "int"
                else _make_float_check(data_type, rules, codes)
            )
        case Choice():
            return _make_choice_check(data_type, rules, codes)
        case Text():
            return _make_text_check(data_type, rules, codes)
        case Date():
            return _make_date_check(data_type, rules, codes)
        case Struct():
            return _make_struct_check(data_type, rules, codes)
        case Array():
            return _make_array_check(data_type, rules, codes)
        case _:
            assert_never(data_type)


_OUT_OF_RANGE = "tsl parse: value is out of range"


def _make_int_check(numeric: Numeric, rules: _Rules, codes: _Codes) -> Check:
    """A number with an integral value, `5.0` too. Its 32 bits belong to the type, `min` and `max` to the range."""
    low, high = int(numeric.min or INT_MIN), int(numeric.max or INT_MAX)
    if not rules.ranges:
        low, high = INT_MIN, INT_MAX
    rule = f"int {low}..{high}"

    def check(value: object) -> Fault | None:
        if type(value) is int:
            if low <= value <= high:
                return None
            return Fault(codes.range, _OUT_OF_RANGE, rule, value)
        if type(value) is float or type(value) is msgspec.Raw:
            number = float(value)
            if number.is_integer():
                return None if low <= number <= high else Fault(codes.range, _OUT_OF_RANGE, rule, value)
        return Fault(codes.type, "tsl parse: data type is not int", rule, value)

    return check


def _make_float_check(numeric: Numeric, rules: _Rules, codes: _Codes) -> Check:
    largest = FLOAT_MAX if numeric.type == "float" else DOUBLE_MAX
    low, high = -largest, largest
    if rules.ranges:
        low, high = float(numeric.min or low), float(numeric.max or high)
    needs_point = rules.decimal_point
    rule = _describe_range(numeric) + (", written with a decimal point" if needs_point else "")
    problem = f"tsl parse: data type is not {numeric.type}"

    def check(value: object) -> Fault | None:
        if type(value) is msgspec.Raw:
            text = bytes(value)
            if needs_point and b"." not in text:
                return Fault(codes.type, problem, rule, value)
            number = float(text)
        elif type(value) is float or (type(value) is int and not needs_point):
            number = value
        else:
            return Fault(codes.type, problem, rule, value)
        return None if low <= number <= high else Fault(codes.range, _OUT_OF_RANGE, rule, value)

    return check


def _make_choice_check(choice: Choice, rules: _Rules, codes: _Codes) -> Check:
    values = frozenset(value for value, _ in choice.items)
    takes_truths = rules.truths and choice.type == "bool"
    rule = _describe(choice)
    problem = f"tsl parse: value of {choice.type} type must be int"

    def check(value: object) -> Fault | None:
        if type(value) is int:
            if value in values or not rules.ranges:
                return None
            return Fault(codes.range, f"tsl parse: value is not in {choice.type}", rule, value)
        if takes_truths and type(value) is bool:
            return None
        return Fault(codes.type, problem, rule, value)

    return check


def _make_text_check(text: Text, rules: _Rules, codes: _Codes) -> Check:
    length_bytes_max = text.length_bytes or TEXT_LENGTH_BYTES_MAX
    rule = _describe(text)

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return Fault(codes.type, "tsl parse: data type is not string", rule, value)
        if not rules.ranges:
            return None
        length_bytes = len(value) if value.isascii() else len(value.encode())
        if length_bytes <= length_bytes_max:
            return None
        return Fault(codes.range, f"tsl parse: text is too long, {length_bytes} bytes", rule, value)

    return check


def _make_date_check(date: Date, rules: _Rules, codes: _Codes) -> Check:
    rule = _describe(date)
    digits_max = len(str(DATE_MS_MAX))

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return Fault(codes.type, "tsl parse: data type is not date", rule, value)
        if not rules.ranges:
            return None
        if value.isascii() and value.isdigit() and len(value) <= digits_max and int(value) <= DATE_MS_MAX:
            return None
        return Fault(codes.range, "tsl parse: data type is not date", rule, value)

    return check


def _make_struct_check(struct: Struct, rules: _Rules, codes: _Codes) -> Check:
    checks = _make_checks(struct.members, rules)
    rule = _describe(struct)

    def check(value: object) -> Fault | None:
        if type(value) is not dict:
            return Fault(codes.type, "tsl parse: data type is not struct", rule, value)
        for identifier, member in value.items():
            member_check = checks.get(identifier)
            if member_check is None:
                return _unknown(identifier, member, rule)
            fault = member_check(member)
            if fault is not None:
                return fault.under(identifier)
        if rules.ranges and len(value) < len(checks):
            missing = next(identifier for identifier in checks if identifier not in value)
            return Fault(TYPE_CODES["struct"], "tsl parse: struct member missing", rule, path=missing)
        return None

    return check


def _make_array_check(array: Array, rules: _Rules, codes: _Codes) -> Check:
    check_element = _make_check(array.item, rules, _ELEMENT_CODES)
    size = array.size
    rule = _describe(array)

    def check(value: object) -> Fault | None:
        if type(value) is not list:
            return Fault(NOT_AN_ARRAY, "tsl parse: data type is not array", rule, value)
        if rules.ranges and len(value) > size:
            return Fault(codes.range, f"tsl parse: array is too long, {len(value)} elements", rule, value)
        for position, element in enumerate(value):
            fault = check_element(element)
            if fault is not None:
                return fault.under(f"[{position}]")
        return None

    return check

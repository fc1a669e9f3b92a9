"""Values against a model: each type at its bounds and just past them, on the way to a device and back."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.errors import CATALOGUE
from linkstead.tsl import (
    Array,
    Choice,
    DataType,
    Date,
    Fault,
    ModelChecker,
    Module,
    Numeric,
    Parameter,
    Service,
    Struct,
    Text,
    ThingModel,
    ValidateType,
    checking,
    read_literal,
    read_literal_object,
    unwrap_value,
)
from linkstead.tsl.checking import make_app_check, make_device_check
from linkstead.tsl.limits import ARRAY_SIZE_MAX, DATE_MS_MAX, STRUCT_MEMBERS_MAX, TEXT_LENGTH_BYTES_MAX
from tests.tsl.documents import load, read_sample
from tests.tsl.strategies import data_types, json_values

STRICT, WEAK, NONE = ValidateType.STRICT, ValidateType.WEAK, ValidateType.NONE

INT = Numeric("int", "1", "20")
FLOAT = Numeric("float", "0.1", "5")
DOUBLE = Numeric("double", "-2.5", "2.5")
ENUM = Choice("enum", ((0, "idle"), (1, "running"), (5, "fault")))
BOOL = Choice("bool", ((0, "off"), (1, "on")))
TEXT = Text(6)
DATE = Date()
STRUCT = Struct((Parameter("a", "A", INT), Parameter("b", "B", TEXT)))
INTS = Array(2, INT)
FLOATS = Array(2, Numeric("float"))
TEXTS = Array(2, TEXT)
STRUCTS = Array(2, STRUCT)
LARGEST_FLOAT, LARGEST_DOUBLE = "340282346638528859811704183484516925440.0", "1.7976931348623157e308"


def check_argument(data_type: DataType, text: str, *, lenient_float: bool = False) -> Fault | None:
    """Check an argument from its text in `Args`, as the only input of a service."""
    service = Service("Run", "Run", "sync", (Parameter("X", "X", data_type),))
    model = ThingModel("a1", (Module(services=(service,)),))
    checker = ModelChecker(model, lenient_float=lenient_float).find_service("Run")
    assert checker is not None
    return checker.check_input(read_literal_object(f'{{"X":{text}}}'))


@pytest.mark.parametrize(
    ("data_type", "text"),
    [
        (INT, "1"),
        (INT, "20"),
        (INT, "5.0"),
        (INT, "2e1"),
        (Numeric("int"), "-2147483648"),
        (Numeric("int"), "2147483647"),
        (FLOAT, "0.1"),
        (FLOAT, "5.0"),
        (FLOAT, "0.5e1"),
        (Numeric("float"), LARGEST_FLOAT),
        (DOUBLE, "-2.5"),
        (DOUBLE, "2.50"),
        (DOUBLE, "0.0"),
        (Numeric("double"), LARGEST_DOUBLE),
        (ENUM, "0"),
        (ENUM, "5"),
        (BOOL, "0"),
        (BOOL, "1"),
        (TEXT, '""'),
        (TEXT, '"sixsix"'),
        (TEXT, '"中文"'),
        (Text(), json.dumps("x" * TEXT_LENGTH_BYTES_MAX)),
        (DATE, '"0"'),
        (DATE, '"1700000000000"'),
        (DATE, f'"{DATE_MS_MAX}"'),
        (STRUCT, '{"a":1,"b":"x"}'),
        (STRUCT, '{"b":"x","a":20}'),
        (INTS, "[]"),
        (INTS, "[1,20]"),
        (FLOATS, "[1.0,-2.5]"),
        (TEXTS, '["sixsix"]'),
        (STRUCTS, '[{"a":1,"b":""},{"a":2,"b":""}]'),
    ],
)
def test_argument_that_fits_is_accepted(data_type: DataType, text: str) -> None:
    assert check_argument(data_type, text) is None


NOT_INT, RANGE = "tsl parse: data type is not int", "tsl parse: value is out of range"
FLOAT_RULE = "float 0.1..5, written with a decimal point"
DOUBLE_RULE = "double -2.5..2.5, written with a decimal point"
TEXT_RULE, DATE_RULE = "text of at most 6 bytes", "date, a string of UTC milliseconds"


@pytest.mark.parametrize(
    ("data_type", "text", "code", "problem", "path", "rule"),
    [
        (INT, "0", 6306, RANGE, "X", "int 1..20"),
        (INT, "21", 6306, RANGE, "X", "int 1..20"),
        (INT, "21.0", 6306, RANGE, "X", "int 1..20"),
        (INT, "5.5", 6306, NOT_INT, "X", "int 1..20"),
        (INT, "1e400", 6306, NOT_INT, "X", "int 1..20"),
        (INT, '"5"', 6306, NOT_INT, "X", "int 1..20"),
        (INT, "true", 6306, NOT_INT, "X", "int 1..20"),
        (INT, "null", 6306, NOT_INT, "X", "int 1..20"),
        (INT, "[]", 6306, NOT_INT, "X", "int 1..20"),
        (Numeric("int"), "2147483648", 6306, RANGE, "X", "int -2147483648..2147483647"),
        (Numeric("int"), "-2147483649", 6306, RANGE, "X", "int -2147483648..2147483647"),
        (Numeric("int"), str(10**400), 6306, RANGE, "X", "int -2147483648..2147483647"),
        (FLOAT, "5", 6307, "tsl parse: data type is not float", "X", FLOAT_RULE),
        (FLOAT, "5e0", 6307, "tsl parse: data type is not float", "X", FLOAT_RULE),
        (FLOAT, '"0.5"', 6307, "tsl parse: data type is not float", "X", FLOAT_RULE),
        (FLOAT, "true", 6307, "tsl parse: data type is not float", "X", FLOAT_RULE),
        (FLOAT, "0.09", 6307, RANGE, "X", FLOAT_RULE),
        (FLOAT, "5.01", 6307, RANGE, "X", FLOAT_RULE),
        (Numeric("float"), "3.5e38", 6307, RANGE, "X", "float, written with a decimal point"),
        (DOUBLE, "2", 6322, "tsl parse: data type is not double", "X", DOUBLE_RULE),
        (DOUBLE, "{}", 6322, "tsl parse: data type is not double", "X", DOUBLE_RULE),
        (DOUBLE, "-2.51", 6322, RANGE, "X", DOUBLE_RULE),
        (DOUBLE, "2.51", 6322, RANGE, "X", DOUBLE_RULE),
        (Numeric("double"), "1.8e308", 6322, RANGE, "X", "double, written with a decimal point"),
        (Numeric("double", "1"), "0.5", 6322, RANGE, "X", "double 1.., written with a decimal point"),
        (ENUM, "2", 6309, "tsl parse: value is not in enum", "X", "enum, one of 0, 1, 5"),
        (ENUM, "1.0", 6309, "tsl parse: value of enum type must be int", "X", "enum, one of 0, 1, 5"),
        (ENUM, '"1"', 6309, "tsl parse: value of enum type must be int", "X", "enum, one of 0, 1, 5"),
        (ENUM, "true", 6309, "tsl parse: value of enum type must be int", "X", "enum, one of 0, 1, 5"),
        (BOOL, "2", 6308, "tsl parse: value is not in bool", "X", "bool, one of 0, 1"),
        (BOOL, "-1", 6308, "tsl parse: value is not in bool", "X", "bool, one of 0, 1"),
        (BOOL, "true", 6308, "tsl parse: value of bool type must be int", "X", "bool, one of 0, 1"),
        (BOOL, "1.0", 6308, "tsl parse: value of bool type must be int", "X", "bool, one of 0, 1"),
        (TEXT, '"sevenxx"', 6310, "tsl parse: text is too long, 7 bytes", "X", TEXT_RULE),
        (TEXT, '"中文x"', 6310, "tsl parse: text is too long, 7 bytes", "X", TEXT_RULE),
        (TEXT, "6", 6310, "tsl parse: data type is not string", "X", TEXT_RULE),
        (TEXT, "null", 6310, "tsl parse: data type is not string", "X", TEXT_RULE),
        (
            Text(),
            json.dumps("x" * (TEXT_LENGTH_BYTES_MAX + 1)),
            6310,
            "tsl parse: text is too long, 10241 bytes",
            "X",
            "text of at most 10240 bytes",
        ),
        (DATE, "1700000000000", 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, '""', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, '"-1"', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, '"2023-11-14"', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, '"１"', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, f'"{DATE_MS_MAX + 1}"', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (DATE, f'"0{DATE_MS_MAX}"', 6311, "tsl parse: data type is not date", "X", DATE_RULE),
        (STRUCT, "[]", 6312, "tsl parse: data type is not struct", "X", "struct with a, b"),
        (STRUCT, '{"a":1}', 6312, "tsl parse: struct member missing", "X.b", "struct with a, b"),
        (STRUCT, "{}", 6312, "tsl parse: struct member missing", "X.a", "struct with a, b"),
        (STRUCT, '{"a":1,"b":"","c":3}', 6304, "tsl parse: params not exist", "X.c", "struct with a, b"),
        (STRUCT, '{"a":1,"B":""}', 6304, "tsl parse: params not exist", "X.B", "struct with a, b"),
        (STRUCT, '{"a":21,"b":""}', 6306, RANGE, "X.a", "int 1..20"),
        (INTS, "{}", 6328, "tsl parse: data type is not array", "X", "array of at most 2 int"),
        (INTS, '"[1]"', 6328, "tsl parse: data type is not array", "X", "array of at most 2 int"),
        (INTS, "[1,2,3]", 6324, "tsl parse: array is too long, 3 elements", "X", "array of at most 2 int"),
        (INTS, '[1,"2"]', 6325, NOT_INT, "X[1]", "int 1..20"),
        (INTS, "[1,21]", 6324, RANGE, "X[1]", "int 1..20"),
        (FLOATS, "[1]", 6325, "tsl parse: data type is not float", "X[0]", "float, written with a decimal point"),
        (TEXTS, "[1]", 6325, "tsl parse: data type is not string", "X[0]", TEXT_RULE),
        (TEXTS, '["","sevenxx"]', 6324, "tsl parse: text is too long, 7 bytes", "X[1]", TEXT_RULE),
        (STRUCTS, "[1]", 6325, "tsl parse: data type is not struct", "X[0]", "struct with a, b"),
        (STRUCTS, '[{"a":1,"b":""},{"a":"x","b":""}]', 6306, NOT_INT, "X[1].a", "int 1..20"),
        (STRUCTS, '[{"a":1}]', 6312, "tsl parse: struct member missing", "X[0].b", "struct with a, b"),
        (STRUCTS, '[{"c":1,"a":1}]', 6304, "tsl parse: params not exist", "X[0].c", "struct with a, b"),
    ],
)
def test_argument_that_does_not_fit_is_named(
    data_type: DataType, text: str, code: int, problem: str, path: str, rule: str
) -> None:
    fault = check_argument(data_type, text)
    assert fault is not None
    assert (fault.code, fault.problem, fault.path, fault.rule) == (code, problem, path, rule)
    assert fault.message.startswith(f"{problem} -> {path} (")
    assert fault.message.endswith(f"rule: {rule})")


def test_message_names_argument_value_and_rule() -> None:
    fault = check_argument(STRUCTS, '[{"a":21.50e0,"b":""}]')
    assert fault is not None
    assert fault.message == "tsl parse: data type is not int -> X[0].a (value: 21.50e0; rule: int 1..20)"


def test_message_of_a_missing_member_shows_no_value() -> None:
    fault = check_argument(STRUCT, '{"a":1}')
    assert fault is not None
    assert fault.message == "tsl parse: struct member missing -> X.b (rule: struct with a, b)"


def test_message_is_short_whatever_was_sent() -> None:
    members = tuple(Parameter(f"member_{position}", "M", INT) for position in range(STRUCT_MEMBERS_MAX))
    fault = check_argument(Struct(members), json.dumps({"x" * 5_000: "y" * 5_000}))
    assert fault is not None
    assert len(fault.message) < 300


@pytest.mark.parametrize("numeric", [FLOAT, DOUBLE])
def test_whole_number_passes_for_float_when_lenient(numeric: Numeric) -> None:
    assert check_argument(numeric, "2", lenient_float=True) is None
    assert check_argument(numeric, "2e0", lenient_float=True) is None
    fault = check_argument(numeric, "6", lenient_float=True)
    assert fault is not None
    assert fault.problem == RANGE
    assert "decimal point" not in fault.rule


def test_array_takes_as_many_elements_as_the_platform_allows() -> None:
    array = Array(ARRAY_SIZE_MAX, Numeric("int"))
    assert check_argument(array, json.dumps([1] * ARRAY_SIZE_MAX)) is None
    fault = check_argument(array, json.dumps([1] * (ARRAY_SIZE_MAX + 1)))
    assert fault is not None
    assert fault.code == 6324


LAMP = ModelChecker(read_sample("lamp"))
TWO_MODULES = ModelChecker(read_sample("multi-module"))


def check_call(identifier: str, text: str) -> Fault | None:
    """Check the arguments of a service of the lamp."""
    service = LAMP.find_service(identifier)
    assert service is not None
    return service.check_input(read_literal_object(text))


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("Blink", '{"Times":3,"IntervalSec":0.5}'),
        ("Blink", "{'IntervalSec':0.5,'Times':3,}"),
        ("SelfTest", "{}"),
        ("RunScene", '{"SceneId":"evening","Steps":[{"Level":20,"HoldMs":500}]}'),
    ],
)
def test_arguments_of_a_service_are_accepted(identifier: str, text: str) -> None:
    assert check_call(identifier, text) is None


@pytest.mark.parametrize(
    ("identifier", "text", "code", "message"),
    [
        ("Blink", "{}", 6302, "tsl parse: params missing -> Times (rule: every input is mandatory, int 1..20)"),
        (
            "Blink",
            '{"Times":"x"}',
            6302,
            "tsl parse: params missing -> IntervalSec (rule: every input is mandatory, float 0.1..5)",
        ),
        (
            "Blink",
            '{"Times":3,"Interval":0.5}',
            6302,
            "tsl parse: params missing -> IntervalSec (rule: every input is mandatory, float 0.1..5)",
        ),
        (
            "Blink",
            '{"Times":"x","IntervalSec":0.5,"X":1}',
            6304,
            "tsl parse: params not exist -> X (value: 1; rule: one of Times, IntervalSec)",
        ),
        ("SelfTest", '{"X":[1.0]}', 6304, "tsl parse: params not exist -> X (value: [1.0]; rule: no parameters)"),
        (
            "RunScene",
            '{"SceneId":"a","Steps":[{"Level":20,"HoldMs":"x"}]}',
            6306,
            'tsl parse: data type is not int -> Steps[0].HoldMs (value: "x"; rule: int 0..600000)',
        ),
    ],
)
def test_missing_comes_before_unknown_and_unknown_before_wrong(
    identifier: str, text: str, code: int, message: str
) -> None:
    fault = check_call(identifier, text)
    assert fault is not None
    assert (fault.code, fault.message) == (code, message)


@pytest.mark.parametrize("identifier", ["set", "get", "Set", "Nope", "a:b:c", ":Blink"])
def test_service_that_is_not_there_is_not_found(identifier: str) -> None:
    assert LAMP.find_service(identifier) is None


def test_service_of_a_module_is_found_and_known_by_its_name_on_the_wire() -> None:
    for asked, identifier in [
        ("testFb:testService", "testFb:testService"),
        ("Reboot", "Reboot"),
        ("default:Reboot", "Reboot"),
    ]:
        service = TWO_MODULES.find_service(asked)
        assert service is not None
        assert service.identifier == identifier
        assert TWO_MODULES.find_service(asked) is service
    assert TWO_MODULES.find_service("testService") is None


def test_inputs_of_a_module_are_not_prefixed() -> None:
    service = TWO_MODULES.find_service("testFb:testService")
    assert service is not None
    assert service.check_input(read_literal_object('{"param1":3,"ratio":0.5}')) is None
    fault = service.check_input(read_literal_object('{"testFb:param1":3,"ratio":0.5}'))
    assert fault is not None
    assert (fault.code, fault.path) == (6302, "param1")


def test_property_set_needs_not_all_properties() -> None:
    for text in ("{}", '{"Brightness":100}', '{"PowerSwitch":0,"WorkMode":2}'):
        assert LAMP.check_property_set(read_literal_object(text)) is None
    for text in ('{"testFb:Level":2.5,"DeviceLabel":"a"}', '{"default:DeviceLabel":"a"}'):
        assert TWO_MODULES.check_property_set(read_literal_object(text)) is None


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"Nope":1}', 6320, "property not found -> Nope (value: 1; rule: a property of the thing model)"),
        (
            '{"Brightness":1,"MainsVoltage":1.0}',
            6332,
            "tsl parse: property is read only, accessMode r -> MainsVoltage (value: 1.0; rule: accessMode rw or w)",
        ),
        ('{"Brightness":101}', 6306, "tsl parse: value is out of range -> Brightness (value: 101; rule: int 0..100)"),
        (
            '{"PowerSwitch":true}',
            6308,
            "tsl parse: value of bool type must be int -> PowerSwitch (value: true; rule: bool, one of 0, 1)",
        ),
    ],
)
def test_property_set_that_does_not_fit_is_refused(text: str, code: int, message: str) -> None:
    for _ in range(2):  # the second time with the check that the first made
        fault = LAMP.check_property_set(read_literal_object(text))
        assert fault is not None
        assert (fault.code, fault.message) == (code, message)


def test_property_set_holds_apps_to_the_decimal_point() -> None:
    checker = read_sample("multi-module")
    items = read_literal_object('{"testFb:Level":2}')
    fault = ModelChecker(checker).check_property_set(items)
    assert fault is not None
    assert (fault.code, fault.path) == (6307, "testFb:Level")
    assert ModelChecker(checker, lenient_float=True).check_property_set(items) is None


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (INT, 20),
        (INT, 5.0),
        (FLOAT, 5),
        (FLOAT, 0.5),
        (DOUBLE, 2),
        (ENUM, 5),
        (BOOL, 1),
        (BOOL, True),
        (BOOL, False),
        (TEXT, "sixsix"),
        (DATE, "1700000000000"),
        (STRUCT, {"a": 1, "b": ""}),
        (FLOATS, [1, 2]),
        (STRUCTS, [{"a": 1, "b": ""}]),
    ],
)
def test_device_is_not_held_to_how_apps_write(data_type: DataType, value: object) -> None:
    assert make_device_check(data_type, STRICT)(value) is None
    assert make_device_check(data_type, WEAK)(value) is None


@pytest.mark.parametrize(
    ("data_type", "value", "code"),
    [
        (INT, 21, 6306),
        (INT, 0.0, 6306),
        (FLOAT, 5.5, 6307),
        (DOUBLE, 3, 6322),
        (ENUM, 7, 6309),
        (BOOL, 2, 6308),
        (TEXT, "sevenxx", 6310),
        (DATE, "soon", 6311),
        (STRUCT, {"a": 1}, 6312),
        (STRUCT, {"a": 21, "b": ""}, 6306),
        (INTS, [1, 2, 3], 6324),
        (INTS, [21], 6324),
        (STRUCTS, [{"a": 1}], 6312),
    ],
)
def test_only_strict_looks_at_ranges_lengths_and_members(data_type: DataType, value: object, code: int) -> None:
    fault = make_device_check(data_type, STRICT)(value)
    assert fault is not None
    assert fault.code == code
    assert make_device_check(data_type, WEAK)(value) is None


@pytest.mark.parametrize(
    ("data_type", "value", "code"),
    [
        (INT, "5", 6306),
        (INT, 5.5, 6306),
        (INT, True, 6306),
        (INT, 2**31, 6306),
        (FLOAT, "0.5", 6307),
        (FLOAT, 3.5e38, 6307),
        (DOUBLE, None, 6322),
        (ENUM, True, 6309),
        (ENUM, "1", 6309),
        (BOOL, "1", 6308),
        (TEXT, 1, 6310),
        (DATE, 1_700_000_000_000, 6311),
        (STRUCT, [], 6312),
        (STRUCT, {"c": 1}, 6304),
        (STRUCT, {"a": "x"}, 6306),
        (INTS, {}, 6328),
        (INTS, ["x"], 6325),
        (STRUCTS, ["x"], 6325),
    ],
)
def test_weak_looks_at_identifiers_and_types(data_type: DataType, value: object, code: int) -> None:
    for validate_type in (STRICT, WEAK):
        fault = make_device_check(data_type, validate_type)(value)
        assert fault is not None
        assert fault.code == code


def test_failed_properties_are_listed_with_value_code_and_message() -> None:
    items = {"PowerSwitch": 1, "Brightness": 101, "MainsVoltage": "high", "Nope": [1]}
    strict = LAMP.check_property_post(items, STRICT)
    assert {identifier: fault.check_failed for identifier, fault in strict.items()} == {
        "Brightness": {
            "value": 101,
            "code": 6306,
            "message": "tsl parse: value is out of range -> Brightness (value: 101; rule: int 0..100)",
        },
        "MainsVoltage": {
            "value": "high",
            "code": 6322,
            "message": 'tsl parse: data type is not double -> MainsVoltage (value: "high"; rule: double 0..500)',
        },
        "Nope": {
            "value": [1],
            "code": 6304,
            "message": "tsl parse: params not exist -> Nope (value: [1]; rule: a property of the thing model)",
        },
    }
    assert list(LAMP.check_property_post(items, WEAK)) == ["MainsVoltage", "Nope"]
    assert LAMP.check_property_post(items, NONE) == {}


def test_failed_property_is_listed_as_the_device_wrote_it() -> None:
    failed = TWO_MODULES.check_property_post(
        {"testFb:Level": "x", "default:DeviceLabel": 1, "Level": 1, "a:b:c": 1}, WEAK
    )
    assert {identifier: (fault.code, fault.path) for identifier, fault in failed.items()} == {
        "testFb:Level": (6307, "testFb:Level"),
        "default:DeviceLabel": (6310, "default:DeviceLabel"),
        "Level": (6304, "Level"),
        "a:b:c": (6304, "a:b:c"),
    }


def test_missing_member_is_listed_without_a_value() -> None:
    (fault,) = ModelChecker(read_sample("all-types")).check_property_post({"StructVal": {}}, STRICT).values()
    assert fault.check_failed == {
        "code": 6312,
        "message": "tsl parse: struct member missing -> StructVal.a_int "
        "(rule: struct with a_int, b_float, c_double, d_enum, e_bool, f_text, g_date)",
    }


def test_outputs_of_an_event_are_checked() -> None:
    event = LAMP.find_event("LampFault")
    assert event is not None
    assert event.event.type == "error"
    assert event.check_output({"FaultCode": 1, "Temperature": 92.5}, STRICT) == {}
    assert event.check_output({"FaultCode": 1}, STRICT) == {}
    failed = event.check_output({"FaultCode": 9, "Temperature": "hot", "X": 1}, STRICT)
    assert {identifier: fault.code for identifier, fault in failed.items()} == {
        "FaultCode": 6309,
        "Temperature": 6307,
        "X": 6304,
    }
    assert failed["X"].message == "tsl parse: params not exist -> X (value: 1; rule: one of FaultCode, Temperature)"
    assert list(event.check_output({"FaultCode": 9, "Temperature": "hot", "X": 1}, WEAK)) == ["Temperature", "X"]
    assert event.check_output({"X": 1}, NONE) == {}


def test_message_of_a_long_identifier_is_short() -> None:
    service = LAMP.find_service("Blink")
    assert service is not None
    name = "x" * 5_000
    for failed in (LAMP.check_property_post({name: 1}, WEAK), service.check_output({name: 1}, WEAK)):
        assert len(failed[name].message) < 300
    fault = LAMP.check_property_set({name: 1})
    assert fault is not None
    assert len(fault.message) < 300


def test_event_is_found_by_its_name_on_the_wire() -> None:
    event = TWO_MODULES.find_event("testFb:LevelAlarm")
    assert event is not None
    assert event.identifier == "testFb:LevelAlarm"
    assert TWO_MODULES.find_event("testFb:LevelAlarm") is event
    for identifier in ("LevelAlarm", "post", "testFb:post", ""):
        assert TWO_MODULES.find_event(identifier) is None


def test_outputs_of_a_service_are_checked() -> None:
    service = LAMP.find_service("Blink")
    assert service is not None
    assert service.check_output({"Executed": 3, "FinishedAt": "1700000003000"}, STRICT) == {}
    assert service.check_output({}, STRICT) == {}
    failed = service.check_output({"Executed": 21, "FinishedAt": 1_700_000_003_000, "X": None}, STRICT)
    assert {identifier: fault.code for identifier, fault in failed.items()} == {
        "Executed": 6306,
        "FinishedAt": 6311,
        "X": 6304,
    }
    assert service.check_output({"Executed": 21}, WEAK) == {}
    assert service.check_output({"Executed": "x"}, NONE) == {}


VALUES = {
    "IntVal": -7,
    "FloatVal": 21.5,
    "DoubleVal": 3.1415926,
    "EnumVal": 5,
    "BoolVal": 1,
    "TextVal": "hello",
    "DateVal": "1700000000000",
    "StructVal": {
        "a_int": 1,
        "b_float": 2.5,
        "c_double": 0.5,
        "d_enum": 2,
        "e_bool": 0,
        "f_text": "x",
        "g_date": "1700000000000",
    },
    "IntArray": [1, 2, 3],
    "FloatArray": [1.5],
    "DoubleArray": [],
    "TextArray": ["a", "b"],
    "StructArray": [{"x": 1.5, "y": 2.5, "tag": "p1"}],
}


def test_value_of_every_type_is_accepted_everywhere() -> None:
    checker = ModelChecker(read_sample("all-types"))
    service, event = checker.find_service("Echo"), checker.find_event("Everything")
    assert service is not None
    assert event is not None
    text = json.dumps(VALUES)
    assert service.check_input(read_literal_object(text)) is None
    assert checker.check_property_set(read_literal_object(text)) is None
    for validate_type in ValidateType:
        assert checker.check_property_post(VALUES, validate_type) == {}
        assert service.check_output(VALUES, validate_type) == {}
        assert event.check_output(VALUES, validate_type) == {}


MODELS = {checker.model.product_key: checker for checker in (LAMP, TWO_MODULES)}


def check_payload(topic: str, payload: Any) -> dict[str, Fault]:
    """Check one message of a device, or one to it, as strictly as can be."""
    checker = next(found for key, found in MODELS.items() if key in topic)
    params = payload.get("params", payload.get("data"))
    name = topic.partition("/thing/")[2].partition("?")[0] or "service/Blink"
    match name.removesuffix("_reply").split("/"):
        case ["event", "property", "post"] | ["event", "property", "pack", "post"]:
            items = params.get("properties", params)
            return checker.check_property_post({key: unwrap_value(item)[0] for key, item in items.items()}, STRICT)
        case ["event", "property", "batch", "post"]:
            return {
                identifier: fault
                for identifier, entries in params["properties"].items()
                for entry in entries
                for fault in checker.check_property_post({identifier: unwrap_value(entry)[0]}, STRICT).values()
            }
        case ["event", identifier, "post"]:
            event, outputs = checker.find_event(identifier), unwrap_value(params)[0]
            assert event is not None
            assert isinstance(outputs, dict)
            return event.check_output(outputs, STRICT)
        case ["service", "property", "set"]:
            fault = checker.check_property_set(read_literal_object(json.dumps(params)))
            return {"": fault} if fault else {}
        case ["service", identifier]:
            service = checker.find_service(identifier)
            assert service is not None
            if "code" in payload:
                return service.check_output(params, STRICT)
            fault = service.check_input(read_literal_object(json.dumps(params)))
            return {"": fault} if fault else {}
        case parts:
            raise AssertionError(parts)


def _names_a_feature(message: dict[str, Any]) -> bool:
    payload, topic = message["payload"], message["topic"]
    return (
        message["direction"] != "amqp"
        and ("/thing/event/" in topic or "/thing/service/" in topic or "/rrpc/" in topic)
        and not topic.endswith("/post_reply")
        and ("params" in payload or "data" in payload)
    )


MESSAGES = [message for message in load("example-payloads.json") if _names_a_feature(message)]


@pytest.mark.parametrize("message", MESSAGES, ids=[message["name"] for message in MESSAGES])
def test_example_payload_is_accepted(message: dict[str, Any]) -> None:
    assert check_payload(message["topic"], message["payload"]) == {}


def test_no_example_payload_was_overlooked() -> None:
    assert len(MESSAGES) == 21


@given(data_types(), json_values, st.sampled_from([STRICT, WEAK]))
def test_any_value_is_accepted_or_named(data_type: DataType, value: Any, validate_type: ValidateType) -> None:
    text = json.dumps(value)
    for check, read in [
        (make_app_check(data_type), read_literal(text)),
        (make_device_check(data_type, validate_type), msgspec.json.decode(text)),
    ]:
        fault = check(read)
        assert fault is None or (str(fault.code) in CATALOGUE and fault.under("X").message.count(" -> X") == 1)


@given(data_types(), json_values)
def test_what_an_app_may_send_a_device_may_send_too(data_type: DataType, value: Any) -> None:
    text = json.dumps(value)
    if make_app_check(data_type)(read_literal(text)) is None:
        assert make_device_check(data_type, STRICT)(msgspec.json.decode(text)) is None
    if make_device_check(data_type, STRICT)(value) is None:
        assert make_device_check(data_type, WEAK)(value) is None


@pytest.mark.parametrize(
    "code",
    [
        checking.MISSING_INPUT,
        checking.UNKNOWN_PARAMETER,
        checking.UNKNOWN_PROPERTY,
        checking.WRONG_ELEMENT,
        checking.NOT_AN_ARRAY,
        checking.NOT_CONFORMING,
        *checking.TYPE_CODES.values(),
    ],
)
def test_code_is_in_the_catalogue(code: int) -> None:
    assert str(code) in CATALOGUE

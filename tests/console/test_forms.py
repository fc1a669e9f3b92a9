import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.console.forms import make_fields, write_arguments, write_items
from linkstead.tsl import Array, Choice, Date, Numeric, Parameter, Property, Struct, Text

INT, FLOAT = Numeric("int", "1", "20", "1"), Numeric("double", unit="s")
CHOICE = Choice("enum", ((0, "off"), (1, "on")))
STRUCT = Struct((Parameter("X", "x", INT), Parameter("Name", "name", Text(10))))
INPUTS = (
    Parameter("Times", "times", INT),
    Parameter("Wait", "wait", FLOAT),
    Parameter("Mode", "mode", CHOICE),
    Parameter("Note", "note", Text()),
    Parameter("At", "at", Date()),
    Parameter("Place", "place", STRUCT),
    Parameter("Steps", "steps", Array(3, INT)),
)
FORM = {
    "arg.Times": "3",
    "arg.Wait": "2",
    "arg.Mode": "1",
    "arg.Note": ' "so" ',
    "arg.At": "1700000000000",
    "arg.Place.X": "4",
    "arg.Place.Name": "here",
    "arg.Steps": "[1, 2]",
}


def test_there_is_a_field_for_every_value() -> None:
    fields = make_fields(INPUTS)
    assert [(field.name, field.control) for field in fields] == [
        ("arg.Times", "number"),
        ("arg.Wait", "number"),
        ("arg.Mode", "choice"),
        ("arg.Note", "text"),
        ("arg.At", "text"),
        ("arg.Place", "group"),
        ("arg.Steps", "json"),
    ]
    assert (fields[0].min, fields[0].max, fields[0].step, fields[1].step) == ("1", "20", "1", "any")
    assert fields[2].choices == [("0", "off"), ("1", "on")]
    assert [field.name for field in fields[5].fields] == ["arg.Place.X", "arg.Place.Name"]


def test_a_form_becomes_the_arguments_of_a_service() -> None:
    text = write_arguments(INPUTS, FORM)
    assert json.loads(text) == {
        "Times": 3,
        "Wait": 2.0,
        "Mode": 1,
        "Note": ' "so" ',
        "At": "1700000000000",
        "Place": {"X": 4, "Name": "here"},
        "Steps": [1, 2],
    }
    assert '"Wait":2.0' in text


@pytest.mark.parametrize("typed", ["", "x", "1.5", "０", "0x1", "1_000", "--1", "1e5"])
def test_what_is_no_integer_goes_as_typed(typed: str) -> None:
    assert json.loads(write_arguments(INPUTS[:1], {"arg.Times": typed})) == {"Times": typed}


def test_a_list_that_is_none_goes_as_typed() -> None:
    assert json.loads(write_arguments(INPUTS[6:], {"arg.Steps": "[1,"})) == {"Steps": "[1,"}


@given(st.dictionaries(st.sampled_from(sorted(FORM)), st.text(max_size=20)))
def test_whatever_is_typed_it_is_json(form: dict[str, str]) -> None:
    assert set(json.loads(write_arguments(INPUTS, form))) == {one.identifier for one in INPUTS}


def test_only_properties_that_were_filled_in_are_set() -> None:
    properties = {
        "Times": Property("Times", "times", INT),
        "m:Mode": Property("Mode", "mode", CHOICE),
        "Place": Property("Place", "place", STRUCT),
    }
    assert write_items(properties, {}) == "{}"
    assert json.loads(write_items(properties, {"arg.m:Mode": "1", "arg.Times": " "})) == {"m:Mode": 1}
    assert json.loads(write_items(properties, {"arg.Place.Name": "x"})) == {"Place": {"X": "", "Name": "x"}}

"""Every action's shapes against the vendor's own: `tests/golden/operations.json` and `response-examples.json`."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from linkstead.action import AnyAction
from linkstead.actions import ACTIONS

GOLDEN = Path(__file__).parents[1] / "golden"
OPERATIONS = {
    operation["action"]: operation
    for operation in json.loads((GOLDEN / "operations.json").read_text(encoding="utf-8"))["operations"]
}
SAMPLES = {
    sample["action"]: sample["json"]
    for sample in json.loads((GOLDEN / "response-examples.json").read_text(encoding="utf-8"))["operations"]
}

REQUIRED = {"yes"}
OPTIONAL = {
    "no",
    "only LoRaWAN",
    "one of IotId | ProductKey+DeviceName",
    "one of IotId.N | ProductKey+DeviceName.N",
}

actions = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def _described(shape: inspect.Type) -> Any:
    """A type in the words of `operations.json`; a field that may be left out is described as if it were there."""
    match shape:
        case inspect.StrType():
            return "string"
        case inspect.IntType():
            return "integer"
        case inspect.BoolType():
            return "boolean"
        case inspect.ListType(item_type=item):
            return [_described(item)]
        case inspect.StructType(fields=fields):
            return {field.encode_name: _described(field.type) for field in fields}
        case inspect.UnionType(types=types):
            (one,) = (kind for kind in types if not isinstance(kind, inspect.NoneType))
            return _described(one)
    raise AssertionError(shape)


def _parameter_type(parameter: dict[str, Any]) -> Any:
    if parameter["type"] == "list":
        return [parameter["items"]]
    return "integer" if parameter["type"] == "long" else parameter["type"]


def test_each_action_is_listed_under_its_own_name() -> None:
    assert all(action.name == name for name, action in ACTIONS.items())
    assert set(ACTIONS) <= set(OPERATIONS)


@actions
def test_an_answer_has_the_vendors_fields_and_types(action: AnyAction) -> None:
    assert _described(inspect.type_info(action.answer)) == OPERATIONS[action.name]["response"]


@actions
def test_a_request_has_the_vendors_parameters_and_types(action: AnyAction) -> None:
    expected = {parameter["name"]: _parameter_type(parameter) for parameter in OPERATIONS[action.name]["request"]}
    assert _described(inspect.type_info(action.request)) == expected


@actions
def test_a_request_requires_what_the_vendor_requires(action: AnyAction) -> None:
    shape = inspect.type_info(action.request)
    assert isinstance(shape, inspect.StructType)
    parameters = OPERATIONS[action.name]["request"]
    assert {parameter["required"] for parameter in parameters} <= REQUIRED | OPTIONAL
    assert {field.encode_name for field in shape.fields if field.required} == {
        parameter["name"] for parameter in parameters if parameter["required"] in REQUIRED
    }


@actions
def test_the_sample_answer_is_read_and_written_again(action: AnyAction) -> None:
    sample = SAMPLES[action.name]
    answer = msgspec.convert(sample, action.answer, strict=True)
    assert json.loads(msgspec.json.encode(answer)) == sample
    assert json.loads(msgspec.json.encode(action.answer(request_id="R"))) == {"RequestId": "R", "Success": True}

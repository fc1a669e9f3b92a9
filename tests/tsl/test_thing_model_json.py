"""Models as the management actions speak them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.tsl import (
    Array,
    DuplicateError,
    ModelError,
    Module,
    Numeric,
    Service,
    Struct,
    Text,
    ThingModel,
    make_thing_model_json,
    read_thing_model_json,
    write_literal,
)
from linkstead.tsl.limits import FEATURES_MAX, SERVICE_INPUTS_MAX
from tests.tsl.documents import SINGLE_MODULE_SAMPLES, load, read_sample
from tests.tsl.strategies import modules, nothing

FEATURE = {"identifier": "a", "productKey": "a1Lnk5tEad0", "custom": True, "required": False}
PROPERTY = {**FEATURE, "name": "A", "rwFlag": "READ_WRITE", "dataType": "INT", "dataSpecs": {"dataType": "INT"}}
EVENT = {**FEATURE, "eventName": "A", "eventType": "INFO_EVENT_TYPE"}
SERVICE = {**FEATURE, "serviceName": "A", "callType": "SYNC"}
INPUT = {"identifier": "p", "name": "P", "dataType": "INT", "dataSpecs": {"dataType": "INT"}}


def read(**keys: Any) -> Module:
    """Read what was built here."""
    return read_thing_model_json(json.dumps(keys))


def without_descriptions(module: Module) -> Module:
    """The form has no place for them."""
    return replace(
        module,
        properties=tuple(replace(found, desc="") for found in module.properties),
        events=tuple(replace(found, desc="") for found in module.events),
        services=tuple(replace(found, desc="") for found in module.services),
    )


def test_lamp_is_written_as_its_sample() -> None:
    model = read_sample("lamp")
    assert make_thing_model_json(model, model.modules[0]) == load("lamp.thing-model.json")


def test_sample_is_read_as_the_lamp() -> None:
    lamp = read_sample("lamp").modules[0]
    assert read(**load("lamp.thing-model.json")) == without_descriptions(lamp)


@pytest.mark.parametrize("name", [*SINGLE_MODULE_SAMPLES, "multi-module"])
def test_sample_is_read_back(name: str) -> None:
    model = read_sample(name)
    for module in model.modules:
        assert read(**make_thing_model_json(model, module)) == replace(without_descriptions(module), others={})


def test_modules_are_named() -> None:
    model = read_sample("multi-module")
    default, custom = (make_thing_model_json(model, module) for module in model.modules)
    assert default["functionBlocks"] == load("multi-module.default.tsl.json")["functionBlocks"]
    assert (custom["identifier"], custom["name"]) == ("testFb", "Test function block")


@given(
    st.sampled_from(["", "fb"]).flatmap(
        lambda module_id: modules(
            module_id,
            type_others=nothing,
            descriptions=st.just(""),
            module_others=nothing,
            profiles=st.just({"version": "1.0"}),
        )
    )
)
def test_any_module_survives(module: Module) -> None:
    written = make_thing_model_json(ThingModel("a1Lnk5tEad0"), module)
    assert read_thing_model_json(write_literal(written)) == module


def test_parameters_come_in_their_order() -> None:
    inputs = [{**INPUT, "identifier": name, "paraOrder": order} for name, order in (("b", 1), ("c", 2), ("a", 0))]
    (service,) = read(services=[{**SERVICE, "inputParams": inputs}]).services
    assert [found.identifier for found in service.input_data] == ["a", "b", "c"]


def test_parameters_without_order_stay_as_they_are() -> None:
    inputs = [{**INPUT, "identifier": name} for name in "bac"]
    (service,) = read(services=[{**SERVICE, "inputParams": inputs}]).services
    assert [found.identifier for found in service.input_data] == ["b", "a", "c"]


def test_what_may_be_missing_may_be_missing() -> None:
    bare = {"identifier": "Run", "serviceName": "Run", "callType": "ASYNC"}
    assert read(services=[bare]).services == (Service("Run", "Run", "async"),)
    assert read() == Module()


@pytest.mark.parametrize("key", ["outputdata", "outputData"])
def test_outputs_of_an_event_have_two_spellings(key: str) -> None:
    (event,) = read(events=[{**EVENT, key: [INPUT]}]).events
    assert [found.identifier for found in event.output_data] == ["p"]


@pytest.mark.parametrize("key", ["description", "desc"])
def test_description_is_taken_where_it_is_given(key: str) -> None:
    assert read(events=[{**EVENT, key: "why"}]).events[0].desc == "why"


def test_name_of_a_member_has_two_spellings() -> None:
    member = {"dataType": "STRUCT", "identifier": "m", "childName": "M", "childDataType": "DATE"}
    (found,) = read(properties=[{**PROPERTY, "dataType": "STRUCT", "dataSpecsList": [member]}]).properties
    assert isinstance(found.data_type, Struct)
    assert found.data_type.members[0].name == "M"


def test_elements_may_have_specs() -> None:
    specs = {"dataType": "ARRAY", "size": 3, "childDataType": "TEXT", "dataSpecs": {"dataType": "TEXT", "length": 8}}
    (found,) = read(properties=[{**PROPERTY, "dataType": "ARRAY", "dataSpecs": specs}]).properties
    assert found.data_type == Array(3, Text(8))


def test_free_texts_of_a_feature_are_kept() -> None:
    (found,) = read(properties=[{**PROPERTY, "extendConfig": '{"a":1}'}]).properties
    assert found.others == {"extendConfig": '{"a":1}'}
    assert found.data_type == Numeric("int")
    (written,) = make_thing_model_json(ThingModel("a1"), Module(properties=(found,)))["properties"]
    assert written["extendConfig"] == '{"a":1}'


@pytest.mark.parametrize(
    ("keys", "path", "rule"),
    [
        ({"properties": [{**PROPERTY, "rwFlag": "rw"}]}, "properties[0].rwFlag", "READ_ONLY, READ_WRITE, WRITE_ONLY"),
        ({"properties": [{**PROPERTY, "dataType": "int"}]}, "properties[0].dataType", "must be one of INT, FLOAT"),
        (
            {"properties": [{**PROPERTY, "dataSpecs": {"min": "2", "max": "1"}}]},
            "properties[0].dataSpecs.max",
            "must be at least min, 2",
        ),
        ({"properties": [{**PROPERTY, "dataType": "ENUM"}]}, "properties[0].dataSpecsList", "is missing"),
        (
            {"properties": [{**PROPERTY, "dataType": "ENUM", "dataSpecsList": [{"name": "x"}]}]},
            "properties[0].dataSpecsList[0].value",
            "is missing",
        ),
        (
            {"properties": [{**PROPERTY, "dataType": "ENUM", "dataSpecsList": [{"name": "x", "value": ""}]}]},
            "properties[0].dataSpecsList[0].value",
            "must be a whole number",
        ),
        (
            {"properties": [{**PROPERTY, "dataType": "ARRAY", "dataSpecs": {"size": 1, "childDataType": "BOOL"}}]},
            "properties[0].dataSpecs.childDataType",
            "must be one of INT, FLOAT, DOUBLE, TEXT, STRUCT",
        ),
        ({"events": [{**EVENT, "eventType": "info"}]}, "events[0].eventType", "INFO_EVENT_TYPE"),
        ({"services": [{**SERVICE, "callType": "sync"}]}, "services[0].callType", "SYNC, ASYNC"),
        (
            {"services": [{**SERVICE, "inputParams": [{**INPUT, "direction": "PARAM_OUTPUT"}]}]},
            "services[0].inputParams[0].direction",
            "must be one of PARAM_INPUT",
        ),
        (
            {"services": [{**SERVICE, "inputParams": [{**INPUT, "paraOrder": "0"}]}]},
            "services[0].inputParams[0].paraOrder",
            "must be a whole number",
        ),
        ({"services": [{**SERVICE, "identifier": "value"}]}, "services[0].identifier", "must be none of"),
        ({"identifier": "a b"}, "identifier", "must be 1-30 of"),
        ({"identifier": "fb", "name": "abc"}, "name", "must be 4-30 characters"),
    ],
)
def test_fault_names_its_place_and_the_rule(keys: dict[str, Any], path: str, rule: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(**keys)
    assert caught.value.path == path
    assert rule in caught.value.rule


def test_limits_hold_here_too() -> None:
    inputs = [{**INPUT, "identifier": f"p{position}"} for position in range(SERVICE_INPUTS_MAX + 1)]
    (service,) = read(services=[{**SERVICE, "inputParams": inputs[:-1]}]).services
    assert len(service.input_data) == SERVICE_INPUTS_MAX
    with pytest.raises(ModelError, match=r"services\[0\]\.inputParams: must have 0 to 100 elements, not 101"):
        read(services=[{**SERVICE, "inputParams": inputs}])
    services = [{**SERVICE, "identifier": f"s{position}"} for position in range(FEATURES_MAX + 1)]
    assert len(read(services=services[:-1]).services) == FEATURES_MAX
    with pytest.raises(ModelError, match="at most 300 functions, not 301"):
        read(services=services)
    with pytest.raises(DuplicateError):
        read(services=[SERVICE, SERVICE])


def test_samples_of_every_type_are_written_in_upper_case() -> None:
    model = read_sample("all-types")
    words = {found["dataType"] for found in make_thing_model_json(model, model.modules[0])["properties"]}
    assert words == {"INT", "FLOAT", "DOUBLE", "ENUM", "BOOL", "TEXT", "DATE", "STRUCT", "ARRAY"}

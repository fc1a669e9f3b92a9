"""Models written as TSL."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from linkstead.tsl import (
    ModelError,
    Module,
    Property,
    Text,
    ThingModel,
    make_reduced_tsl,
    make_thing_model_json,
    make_tsl,
    read_model,
    read_thing_model_json,
    read_tsl,
    write_literal,
    write_model,
)
from tests.tsl.documents import (
    SINGLE_MODULE_SAMPLES,
    document,
    event,
    load,
    parameter,
    property_,
    read_module,
    read_sample,
    service,
)
from tests.tsl.strategies import models


@pytest.mark.parametrize("name", SINGLE_MODULE_SAMPLES)
def test_sample_is_written_as_it_was(name: str) -> None:
    model = read_sample(name)
    assert make_tsl(model, model.modules[0]) == load(f"{name}.tsl.json")


def test_both_modules_are_written_as_they_were() -> None:
    model = read_sample("multi-module")
    assert make_tsl(model, model.modules[0]) == load("multi-module.default.tsl.json")
    assert make_tsl(model, model.modules[1]) == load("multi-module.testFb.tsl.json")


def test_lamp_is_reduced_as_its_sample() -> None:
    assert make_reduced_tsl(read_sample("lamp").modules[0]) == load("lamp.simple.json")


def test_module_without_properties_has_no_generated_entries() -> None:
    written = make_tsl(ThingModel("a1"), Module())
    assert (written["events"], written["services"]) == ([], [])
    assert make_reduced_tsl(Module()) == {"properties": [], "events": [], "services": []}


def test_set_takes_what_can_be_written_and_get_gives_all() -> None:
    properties = tuple(Property(mode, mode, Text(), mode) for mode in ("r", "rw", "w"))
    module = Module(properties=properties)
    setter, getter = make_tsl(ThingModel("a1", (module,)), module)["services"]
    assert [found["identifier"] for found in setter["inputData"]] == ["rw", "w"]
    assert getter["inputData"] == ["r", "rw", "w"]


def test_unknown_keys_are_written_back() -> None:
    extra = {"x-note": {"deep": [1, 2.5, None]}}
    item = {"type": "struct", "specs": [parameter("m", {"type": "date", "specs": extra}, **extra)], **extra}
    array = {"type": "array", "specs": {"size": "2", "item": item, **extra}, **extra}
    built = document(
        link="/sys/a1Lnk5tEad0/airCondition/thing/",
        schema="https://example.com/other.json",
        properties=[property_("p", array, required=True, **extra)],
        events=[event("e", parameter("o", **extra), required=False, desc="", method="thing.event.e.post", **extra)],
        services=[
            service(
                "s", parameter("i", **extra), required=False, desc="", method="thing.service.s", outputData=[], **extra
            )
        ],
    )
    built["profile"]["x-note"] = 1
    found = read_tsl(json.dumps(built))
    written = make_tsl(ThingModel(found.product_key, (found.module,)), found.module)
    for kind in ("events", "services"):
        written[kind] = [entry for entry in written[kind] if entry["identifier"] in ("e", "s")]
    assert written == built


def test_methods_are_made_from_identifiers() -> None:
    module = read_module(document(services=[service("Run", method="thing.service.testFb:Run")]))
    assert make_tsl(ThingModel("a1"), module)["services"][0]["method"] == "thing.service.Run"


def test_module_without_a_name_is_written_and_read() -> None:
    model = ThingModel("a1", (Module(), Module("testFb")))
    assert "functionBlockName" not in make_tsl(model, model.modules[1])
    assert read_model(write_model(model)) == model


KEYS = [
    *(
        "schema",
        "profile",
        "properties",
        "events",
        "services",
        "functionBlockId",
        "functionBlockName",
        "functionBlocks",
    ),
    *("identifier", "name", "accessMode", "required", "desc", "dataType", "type", "specs", "method", "callType"),
    *("inputData", "outputData", "outputdata", "min", "max", "step", "unit", "unitName", "length", "size", "item"),
    *("productKey", "custom", "rwFlag", "dataSpecs", "dataSpecsList", "childDataType", "childName", "description"),
    *("eventName", "eventType", "serviceName", "inputParams", "outputParams", "direction", "paraOrder", "0", "x"),
]
VALUES = ["", "x", "1", 1, -1, 0.5, True, None, [], {}, ["x"], {"x": 1}, {"type": "int"}, "INT", "int", [{}], "rw"]


def containers(value: Any) -> list[Any]:
    """All objects and lists of a document."""
    if not isinstance(value, (dict, list)):
        return []
    return [
        value,
        *(found for inner in (value.values() if isinstance(value, dict) else value) for found in containers(inner)),
    ]


def spoil(built: Any, chance: random.Random) -> Any:
    """The same document with up to four keys and values that do not belong."""
    spoilt = json.loads(json.dumps(built))
    for _ in range(chance.randint(1, 4)):
        place, value = chance.choice(containers(spoilt)), json.loads(json.dumps(chance.choice(VALUES)))
        if isinstance(place, dict):
            place[chance.choice(KEYS)] = value
        else:
            place.insert(chance.randint(0, len(place)), value)
    return spoilt


def read_or_refuse(read: Callable[[str], Module], text: str) -> Module | None:
    """The module, None when it is refused as it should be."""
    try:
        return read(text)
    except ModelError:
        return None


@pytest.mark.parametrize("name", [*SINGLE_MODULE_SAMPLES, "multi-module"])
def test_whatever_is_let_in_can_be_stored_and_shown(name: str) -> None:
    let_in = refused = 0
    sample = read_sample(name)
    module = sample.modules[-1]
    forms: list[tuple[Any, Callable[[str], Module]]] = [
        (make_tsl(sample, module), lambda text: read_tsl(text).module),
        (make_thing_model_json(sample, module), read_thing_model_json),
    ]
    for seed in range(300):
        built, read = forms[seed % 2]
        found = read_or_refuse(read, json.dumps(spoil(built, random.Random(seed))))
        if found is None:
            refused += 1
            continue
        let_in += 1
        model = ThingModel("a1", (found,) if not found.module_id else (Module(), found))
        assert read_model(write_model(model)) == model
        assert json.loads(write_literal(make_thing_model_json(model, found))) == make_thing_model_json(model, found)
    assert let_in > 10
    assert refused > 10


@given(models())
def test_any_model_survives(model: ThingModel) -> None:
    assert read_model(write_model(model)) == model
    for module in model.modules:
        found = read_tsl(write_literal(make_tsl(model, module)))
        assert (found.product_key, found.module) == (model.product_key, module)

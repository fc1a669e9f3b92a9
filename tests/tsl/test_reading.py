"""What a TSL document may say, each rule at its bound and just past it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from linkstead.errors import CATALOGUE
from linkstead.tsl import (
    Array,
    Choice,
    DuplicateError,
    ModelError,
    Module,
    Numeric,
    Struct,
    Text,
    ThingModel,
    read_model,
    read_tsl,
    write_model,
)
from linkstead.tsl.document import (
    FAULTY_MODEL,
    MALFORMED_ARRAY,
    MALFORMED_SPECS,
    UNSUPPORTED_ELEMENT,
    UNSUPPORTED_TYPE,
)
from linkstead.tsl.limits import (
    ARRAY_SIZE_MAX,
    DEPTH_MAX,
    DESCRIPTION_CHARS_MAX,
    ENUM_ITEMS_MAX,
    EVENT_OUTPUTS_MAX,
    FEATURES_MAX,
    INT_MAX,
    INT_MIN,
    LABEL_CHARS_MAX,
    MODULE_TSL_BYTES_MAX,
    MODULES_MAX,
    RESERVED_IDENTIFIERS,
    SERVICE_INPUTS_MAX,
    SERVICE_OUTPUTS_MAX,
    STRUCT_MEMBERS_MAX,
    TEXT_LENGTH_BYTES_MAX,
    TSL_BYTES_MAX,
)
from tests.tsl.documents import document, event, load, parameter, property_, read_module, service

Document = dict[str, Any]


def of_type(data_type: Document) -> Document:
    """A document with a property of this type."""
    return document(properties=[property_(data_type=data_type)])


def of_specs(kind: str, **specs: Any) -> Document:
    """A document with a property of this type."""
    return of_type({"type": kind, "specs": specs})


def of_item(item: Document) -> Document:
    """A document with an array of these."""
    return of_specs("array", size="5", item=item)


def labels(count: int) -> dict[str, str]:
    """Items of an enum."""
    return {str(value): "x" for value in range(count)}


def members(count: int) -> list[Document]:
    """Members of a struct or parameters, each with another identifier."""
    return [parameter(f"p{position}") for position in range(count)]


def fault_of(built: Document) -> ModelError:
    """What reading this document raises."""
    with pytest.raises(ModelError) as caught:
        read_module(built)
    return caught.value


SPECS = "properties[0].dataType.specs"


@pytest.mark.parametrize(
    ("build", "bound", "path", "code"),
    [
        (lambda n: document(properties=[property_(f"p{i}") for i in range(n)]), FEATURES_MAX, "", FAULTY_MODEL),
        (lambda n: document(services=[service("a", *members(n))]), SERVICE_INPUTS_MAX, "services[0].inputData", 6317),
        (
            lambda n: document(services=[service("a", outputData=members(n))]),
            SERVICE_OUTPUTS_MAX,
            "services[0].outputData",
            FAULTY_MODEL,
        ),
        (lambda n: document(events=[event("a", *members(n))]), EVENT_OUTPUTS_MAX, "events[0].outputData", 6317),
        (lambda n: of_specs("enum", **labels(n)), ENUM_ITEMS_MAX, SPECS, MALFORMED_SPECS),
        (lambda n: of_specs("enum", **{"0": "x" * n}), LABEL_CHARS_MAX, f"{SPECS}.0", MALFORMED_SPECS),
        (lambda n: of_type({"type": "struct", "specs": members(n)}), STRUCT_MEMBERS_MAX, SPECS, MALFORMED_SPECS),
        (lambda n: of_specs("text", length=n), TEXT_LENGTH_BYTES_MAX, f"{SPECS}.length", MALFORMED_SPECS),
        (lambda n: of_specs("array", size=n, item={"type": "int"}), ARRAY_SIZE_MAX, f"{SPECS}.size", MALFORMED_ARRAY),
        (lambda n: of_specs("int", max=n), INT_MAX, f"{SPECS}.max", MALFORMED_SPECS),
        (lambda n: of_specs("int", min=-n), -INT_MIN, f"{SPECS}.min", MALFORMED_SPECS),
        (lambda n: of_specs("enum", **{str(n): "x"}), INT_MAX, f"{SPECS}.{INT_MAX + 1}", MALFORMED_SPECS),
        (lambda n: document(properties=[property_(desc="x" * n)]), DESCRIPTION_CHARS_MAX, "properties[0].desc", 6317),
        (lambda n: document(services=[service(desc="x" * n)]), DESCRIPTION_CHARS_MAX, "services[0].desc", 6317),
        (lambda n: document(events=[event(desc="x" * n)]), DESCRIPTION_CHARS_MAX, "events[0].desc", 6317),
    ],
)
def test_limit_holds_at_its_bound_and_no_further(
    build: Callable[[int], Document], bound: int, path: str, code: int
) -> None:
    assert isinstance(read_module(build(bound)), Module)
    fault = fault_of(build(bound + 1))
    assert (fault.path, fault.code) == (path, code)
    assert str(fault).startswith(path)


@pytest.mark.parametrize(
    ("built", "path", "rule"),
    [
        (of_specs("text", length="0"), f"{SPECS}.length", f"must be 1 to {TEXT_LENGTH_BYTES_MAX}"),
        (of_specs("text", length=1.5), f"{SPECS}.length", "must be 1 to"),
        (of_specs("text", length=True), f"{SPECS}.length", "must be 1 to"),
        (of_specs("array", size=0, item={"type": "int"}), f"{SPECS}.size", f"must be 1 to {ARRAY_SIZE_MAX}"),
        (of_specs("array", item={"type": "int"}), f"{SPECS}.size", "is missing"),
        (of_specs("array", size="1"), f"{SPECS}.item", "is missing"),
        (of_type({"type": "array"}), SPECS, "is missing"),
        (of_type({"type": "struct"}), SPECS, "is missing"),
        (of_type({"type": "struct", "specs": {}}), SPECS, "must be a list"),
        (of_type({"type": "struct", "specs": []}), SPECS, "must have 1 to 50 elements, not 0"),
        (of_type({"type": "enum"}), SPECS, "is missing"),
        (of_type({"type": "enum", "specs": {}}), SPECS, "must have 1 to 100 elements, not 0"),
        (of_specs("enum", idle="0"), f"{SPECS}.idle", "must be a whole number"),
        (of_specs("enum", **{"": "x"}), f"{SPECS}.", "must be a whole number"),
        (of_specs("enum", **{"0": 1}), f"{SPECS}.0", "must be a string"),
        (of_specs("enum", **{"0": "a", "00": "b"}), f"{SPECS}.00", "must not be there twice"),
        (of_specs("bool", **{"0": "a"}), SPECS, "must have 0 and 1"),
        (of_specs("bool", **{"0": "a", "1": "b", "2": "c"}), SPECS, "must have 0 and 1"),
        (of_specs("int", min="5", max="4"), f"{SPECS}.max", "must be at least min, 5"),
        (of_specs("int", min="0.5"), f"{SPECS}.min", "must be a whole number"),
        (of_specs("int", min=True), f"{SPECS}.min", "must be a whole number"),
        (of_specs("int", step="0"), f"{SPECS}.step", "must be over 0"),
        (of_specs("int", unit=1), f"{SPECS}.unit", "must be a string"),
        (of_specs("float", max="1e39"), f"{SPECS}.max", "must be a number of -3.40"),
        (of_specs("float", max="x"), f"{SPECS}.max", "must be a number"),
        (of_specs("float", max=[]), f"{SPECS}.max", "must be a number"),
        (of_specs("double", max="1e309"), f"{SPECS}.max", "must be a number of -1.79"),
        (of_specs("double", min="2", max="1.5"), f"{SPECS}.max", "must be at least min, 2"),
        (of_type({"type": "int32"}), "properties[0].dataType.type", "must be one of int, float, double, enum"),
        (of_type({}), "properties[0].dataType.type", "is missing"),
        (of_type({"type": "int", "specs": []}), SPECS, "must be an object"),
        (document(properties=[property_(dataType="INT")]), "properties[0].dataType", "must be an object"),
        (document(properties=[property_(accessMode="wr")]), "properties[0].accessMode", "must be one of r, rw, w"),
        (document(properties=[property_(accessMode=None)]), "properties[0].accessMode", "is missing"),
        (document(properties=[property_(required="true")]), "properties[0].required", "must be true or false"),
        (document(properties=[property_(name="-x")]), "properties[0].name", "must be 1-30 of letters"),
        (document(properties=[property_(name=None)]), "properties[0].name", "is missing"),
        (document(properties=[property_("a-b")]), "properties[0].identifier", "must be 1-50 of A-Z"),
        (document(properties=[{}]), "properties[0].identifier", "is missing"),
        (document(properties={}), "properties", "must be a list"),
        (document(events=[event(type="warn")]), "events[0].type", "must be one of info, alert, error"),
        (document(services=[service(callType="SYNC")]), "services[0].callType", "must be one of sync, async"),
        (document(services=[service("a", parameter(name=1))]), "services[0].inputData[0].name", "must be a string"),
        (document(functionBlockId="a.b"), "functionBlockId", "must be 1-30 of A-Z"),
        (document(functionBlockId="default"), "functionBlockId", "not default"),
        (document(functionBlockId="fb", functionBlockName="abc"), "functionBlockName", "must be 4-30 characters"),
        (document(profile=[]), "profile", "must be an object"),
        (document(profile={"productKey": 1}), "profile.productKey", "must be a string"),
    ],
)
def test_fault_names_its_place_and_the_rule(built: Document, path: str, rule: str) -> None:
    fault = fault_of(built)
    assert fault.path == path
    assert rule in fault.rule


def test_fault_names_a_place_deep_inside() -> None:
    steps = {"type": "array", "specs": {"size": "3", "item": {"type": "struct", "specs": [parameter("a"), {}]}}}
    built = document(services=[service("a"), service("b", parameter(), parameter("Steps", steps))])
    assert fault_of(built).path == "services[1].inputData[1].dataType.specs.item.specs[1].identifier"


@pytest.mark.parametrize("identifier", sorted(RESERVED_IDENTIFIERS))
def test_reserved_identifiers_are_refused(identifier: str) -> None:
    for built, path in [
        (document(properties=[property_(identifier)]), "properties[0].identifier"),
        (document(services=[service("a", parameter(identifier))]), "services[0].inputData[0].identifier"),
        (document(events=[event("a", parameter(identifier))]), "events[0].outputData[0].identifier"),
    ]:
        assert fault_of(built).path == path


def test_reserved_word_may_name_a_member_of_a_struct() -> None:
    module = read_module(of_type({"type": "struct", "specs": [parameter("time")]}))
    assert isinstance(module.properties[0].data_type, Struct)


@pytest.mark.parametrize(("kind", "identifier"), [("services", "post"), ("events", "set"), ("events", "get")])
def test_generated_names_are_only_their_own_kind(kind: str, identifier: str) -> None:
    make = service if kind == "services" else event
    assert fault_of(document(**{kind: [make(identifier)]})).path == f"{kind}[0].identifier"


def test_generated_entries_are_left_out_whatever_they_say() -> None:
    built = document(events=[{"identifier": "post"}], services=[{"identifier": "set"}, {"identifier": "get"}])
    assert read_module(built) == read_module(document())


@pytest.mark.parametrize(
    ("built", "path"),
    [
        (document(properties=[property_("a"), property_("a")]), "properties[1].identifier"),
        (document(events=[event("a"), event("a")]), "events[1].identifier"),
        (document(services=[service("a"), service("b"), service("a")]), "services[2].identifier"),
        (document(services=[service("a", parameter("p"), parameter("p"))]), "services[0].inputData[1].identifier"),
        (of_type({"type": "struct", "specs": [parameter("p"), parameter("p")]}), f"{SPECS}[1].identifier"),
    ],
)
def test_identifier_is_unique_among_its_kind(built: Document, path: str) -> None:
    fault = fault_of(built)
    assert isinstance(fault, DuplicateError)
    assert fault.path == path


def test_identifiers_of_different_kinds_or_case_do_not_meet() -> None:
    module = read_module(
        document(
            properties=[property_("a"), property_("A")], events=[event("a")], services=[service("a"), service("Set")]
        )
    )
    assert [found.identifier for found in module.features] == ["a", "A", "a", "a", "Set"]


@pytest.mark.parametrize("kind", ["int", "float", "double", "text"])
def test_element_types_are_accepted_without_specs(kind: str) -> None:
    data_type = read_module(of_item({"type": kind})).properties[0].data_type
    assert isinstance(data_type, Array)
    assert data_type.item.type == kind


@pytest.mark.parametrize("kind", ["bool", "enum", "date", "array"])
def test_other_element_types_are_refused(kind: str) -> None:
    fault = fault_of(of_item({"type": kind, "specs": {"0": "a", "1": "b"}}))
    assert (fault.path, fault.code) == (f"{SPECS}.item.type", UNSUPPORTED_ELEMENT)


@pytest.mark.parametrize("kind", ["struct", "array"])
def test_structs_do_not_nest(kind: str) -> None:
    inner = {"type": kind, "specs": [parameter()]}
    fault = fault_of(of_type({"type": "struct", "specs": [parameter("a", inner)]}))
    assert (fault.path, fault.code) == (f"{SPECS}[0].dataType.type", UNSUPPORTED_TYPE)


@pytest.mark.parametrize(
    "code", [FAULTY_MODEL, MALFORMED_ARRAY, MALFORMED_SPECS, UNSUPPORTED_ELEMENT, UNSUPPORTED_TYPE]
)
def test_code_is_in_the_catalogue(code: int) -> None:
    assert str(code) in CATALOGUE


def test_numbers_in_specs_may_be_numbers_or_texts() -> None:
    as_text = read_module(of_specs("float", min="-0.5", max="100", step="0.1"))
    assert read_module(of_specs("float", min=-0.5, max=100, step=0.1)) == as_text
    assert as_text.properties[0].data_type == Numeric("float", "-0.5", "100", "0.1")
    assert read_module(of_specs("text", length=16)) == read_module(of_specs("text", length="16"))


def test_empty_specs_count_as_absent() -> None:
    module = read_module(of_specs("int", min="", max="", step="", unit="", unitName=""))
    assert module.properties[0].data_type == Numeric("int")
    assert read_module(of_specs("text")).properties[0].data_type == Text()


def test_items_of_an_enum_keep_their_order() -> None:
    data_type = read_module(of_specs("enum", **{"5": "fault", "-1": "off"})).properties[0].data_type
    assert data_type == Choice("enum", ((5, "fault"), (-1, "off")))


def test_bare_document_is_an_empty_module() -> None:
    found = read_tsl("{}")
    assert found.product_key == ""
    assert found.module.features == ()


def test_document_names_its_product_and_module() -> None:
    found = read_tsl(json.dumps(load("multi-module.testFb.tsl.json")))
    assert found.product_key == "a1ModFbDemo"
    assert (found.module.module_id, found.module.name) == ("testFb", "Test function block")


def deep(depth: int) -> Any:
    """Lists inside each other."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_what_is_let_in_can_be_stored_however_deep_it_is() -> None:
    # The type of a property is what the generated entries hold once more.
    built = of_type({"type": "date", "x": deep(DEPTH_MAX - 4)})
    with pytest.raises(ModelError, match="at most 32 objects and lists deep"):
        read_module(of_type({"type": "date", "x": deep(DEPTH_MAX - 3)}))
    model = ThingModel("a1", (read_module(built),))
    assert read_model(write_model(model)) == model


@pytest.mark.parametrize("text", ["[]", '"x"', "null"])
def test_document_has_to_be_an_object(text: str) -> None:
    with pytest.raises(ModelError, match="the document: must be an object"):
        read_tsl(text)


def padded(built: Document, size_bytes: int) -> bytes:
    """A document of exactly this size."""
    text = json.dumps(built).encode()
    return text + b" " * (size_bytes - len(text))


@pytest.mark.parametrize(
    ("built", "size_bytes_max"),
    [(document(), TSL_BYTES_MAX), (document(functionBlockId="testFb"), MODULE_TSL_BYTES_MAX)],
)
def test_size_of_a_document_is_bounded(built: Document, size_bytes_max: int) -> None:
    assert read_tsl(padded(built, size_bytes_max)).module.features == ()
    for text in (padded(built, size_bytes_max + 1), padded(built, size_bytes_max + 1).decode()):
        with pytest.raises(ModelError, match=f"at most {size_bytes_max} bytes"):
            read_tsl(text)


def modules(count: int) -> ThingModel:
    """A model with so many modules."""
    return ThingModel("a1", (Module(), *(Module(f"m{position}", "some name") for position in range(count - 1))))


def test_count_of_modules_is_bounded() -> None:
    assert read_model(write_model(modules(MODULES_MAX))) == modules(MODULES_MAX)
    with pytest.raises(ModelError, match=f"at most {MODULES_MAX} modules"):
        read_model(write_model(modules(MODULES_MAX + 1)))


@pytest.mark.parametrize(
    ("documents", "rule"),
    [
        ([], "must begin with the default module"),
        ([document(functionBlockId="a")], "must begin with the default module"),
        ([document(), document()], "the default module is there twice"),
        ([document(), document(functionBlockId="a"), document(functionBlockId="a")], "a is there twice"),
        ([document(), {}], "must be a1Lnk5tEad0"),
        ({}, "must be a list"),
    ],
)
def test_modules_have_to_fit_together(documents: Any, rule: str) -> None:
    with pytest.raises(ModelError, match=rule):
        read_model(json.dumps(documents))

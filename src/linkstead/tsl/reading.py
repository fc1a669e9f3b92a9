"""Read a thing model from the TSL form, the JSON document that the console exports.

The entries that the platform generates may be there or not: they are left out, and made anew on writing. Numbers in the
specs may be JSON numbers or strings. Unknown keys are kept.

Source: `thing-model.md` 1 to 3; where a rule is ours, it says so.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from linkstead.tsl.document import (
    FAULTY_MODEL,
    MALFORMED_ARRAY,
    MALFORMED_SPECS,
    UNSUPPORTED_ELEMENT,
    UNSUPPORTED_TYPE,
    DuplicateError,
    ModelError,
    Node,
    read_document,
)
from linkstead.tsl.limits import (
    ARRAY_SIZE_MAX,
    DESCRIPTION_CHARS_MAX,
    DESCRIPTION_RULE,
    DOUBLE_MAX,
    ENUM_ITEMS_MAX,
    EVENT_OUTPUTS_MAX,
    FEATURES_MAX,
    FLOAT_MAX,
    IDENTIFIER_RULE,
    INT_MAX,
    INT_MIN,
    LABEL_CHARS_MAX,
    MODULE_ID_RULE,
    MODULE_NAME_RULE,
    MODULE_TSL_BYTES_MAX,
    MODULES_MAX,
    NAME_RULE,
    RESERVED_IDENTIFIERS,
    RESERVED_RULE,
    SERVICE_INPUTS_MAX,
    SERVICE_OUTPUTS_MAX,
    STORED_DEPTH_MAX,
    STRUCT_MEMBERS_MAX,
    TEXT_LENGTH_BYTES_MAX,
    TSL_BYTES_MAX,
    is_identifier,
    is_module_id,
    is_module_name,
    is_name,
)
from linkstead.tsl.model import (
    AccessMode,
    Array,
    CallType,
    Choice,
    DataType,
    Date,
    Event,
    EventType,
    Feature,
    Module,
    Numeric,
    Parameter,
    Property,
    Service,
    Struct,
    Text,
    ThingModel,
)

SCHEMA = "https://iotx-tsl.oss-ap-southeast-1.aliyuncs.com/schema.json"
"""The constant of exported documents; informative."""
GENERATED_EVENTS = ("post",)
GENERATED_SERVICES = ("set", "get")

NUMERIC_TYPES = ("int", "float", "double")
CHOICE_TYPES = ("enum", "bool")
MEMBER_TYPES = (*NUMERIC_TYPES, *CHOICE_TYPES, "text", "date")
ELEMENT_TYPES = (*NUMERIC_TYPES, "text", "struct")
TYPES = (*MEMBER_TYPES, "struct", "array")

# Every other key is kept as it is.
PARAMETER_KEYS = ("identifier", "name", "dataType")
PROPERTY_KEYS = (*PARAMETER_KEYS, "accessMode", "required", "desc")
EVENT_KEYS = ("identifier", "name", "type", "method", "outputData", "required", "desc")
SERVICE_KEYS = ("identifier", "name", "callType", "method", "inputData", "outputData", "required", "desc")
_MODULE_KEYS = (
    "schema",
    "profile",
    "properties",
    "events",
    "services",
    "functionBlockId",
    "functionBlockName",
    "functionBlocks",
)

Named = TypeVar("Named", bound=Feature | Parameter)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class TslDocument:
    """One document: a module, and the product it says it belongs to ("" when it does not say)."""

    product_key: str
    module: Module


def read_tsl(text: str | bytes) -> TslDocument:
    """Read the document of one module.

    A document with `functionBlockId` holds a custom module; its `functionBlockName` may be missing, the name is then
    "". `functionBlocks` of a default module is not read: it says what other documents hold.

    Raises:
        ModelError: over TSL_BYTES_MAX bytes (MODULE_TSL_BYTES_MAX for a custom module), not JSON, or against a rule;
            the error names the place in the document.
    """
    document = _read_document(read_document(text, MODULE_TSL_BYTES_MAX))
    size_bytes = len(text.encode()) if isinstance(text, str) else len(text)
    if not document.module.module_id and size_bytes > TSL_BYTES_MAX:
        raise ModelError("", f"must have at most {TSL_BYTES_MAX} bytes, not {size_bytes}")
    return document


def read_model(text: str | bytes) -> ThingModel:
    """Read a whole model as `write_model` wrote it: a list of documents, that of the default module first.

    Raises:
        ModelError: as `read_tsl`, or the documents are not of one product.
    """
    root = read_document(text, None, STORED_DEPTH_MAX)
    places = root.read_list()
    documents = [_read_document(place) for place in places]
    for place, document in zip(places, documents, strict=True):
        if document.product_key != documents[0].product_key:
            raise (
                place.child("profile", None)
                .child("productKey", document.product_key)
                .fault(f"must be {documents[0].product_key}")
            )
    model = ThingModel(documents[0].product_key if documents else "", tuple(document.module for document in documents))
    check_modules(model)
    return model


def check_modules(model: ThingModel) -> None:
    """Check what a model's modules have to be to each other.

    Raises:
        ModelError: the default module is not the first, there are over MODULES_MAX, or two have the same id.
    """
    ids = [module.module_id for module in model.modules]
    if not ids or ids[0]:
        raise ModelError("", "must begin with the default module")
    if len(ids) > MODULES_MAX:
        raise ModelError("", f"must have at most {MODULES_MAX} modules, not {len(ids)}")
    for module_id in ids:
        if ids.count(module_id) > 1:
            raise DuplicateError("functionBlockId", f"{module_id or 'the default module'} is there twice")


def check_features(module: Module, path: str = "") -> None:
    """Check how many features a module has. Raises `ModelError` when there are over FEATURES_MAX."""
    if len(module.features) > FEATURES_MAX:
        raise ModelError(path, f"must have at most {FEATURES_MAX} functions, not {len(module.features)}")


def _read_document(root: Node) -> TslDocument:
    profile = root.find("profile")
    product_key = profile.find("productKey") if profile else None
    schema = root.find("schema")
    others = root.others(_MODULE_KEYS)
    if schema and schema.value != SCHEMA:
        others["schema"] = schema.value
    module_id = read_module_id(root.find("functionBlockId"))
    module = Module(
        module_id=module_id,
        name=read_module_name(root.find("functionBlockName")) if module_id else "",
        properties=read_named(read_elements(root.find("properties")), _read_property),
        events=read_named(read_elements(root.find("events")), _read_event, GENERATED_EVENTS),
        services=read_named(read_elements(root.find("services")), _read_service, GENERATED_SERVICES),
        profile=profile.others(("productKey",)) if profile else {},
        others=others,
    )
    check_features(module, root.path)
    return TslDocument(product_key.read_text() if product_key else "", module)


def read_module_id(node: Node | None) -> str:
    """The id of a custom module, "" when there is none or it is empty."""
    return _read_checked(node if node and node.value else None, is_module_id, MODULE_ID_RULE)


def read_module_name(node: Node | None) -> str:
    """The name of a custom module, "" when there is none or it is empty."""
    return _read_checked(node if node and node.value else None, is_module_name, MODULE_NAME_RULE)


def _read_property(node: Node) -> Property:
    return Property(
        identifier=read_identifier(node),
        name=read_name(node.need("name")),
        data_type=_read_type(node.need("dataType"), TYPES),
        access_mode=cast(AccessMode, node.need("accessMode").read_word(("r", "rw", "w"))),
        required=read_flag(node.find("required")),
        desc=read_desc(node.find("desc")),
        others=node.others(PROPERTY_KEYS),
    )


def _read_event(node: Node) -> Event:
    return Event(
        identifier=read_identifier(node),
        name=read_name(node.need("name")),
        type=cast(EventType, node.need("type").read_word(("info", "alert", "error"))),
        output_data=read_named(read_elements(node.find("outputData"), EVENT_OUTPUTS_MAX), _read_parameter),
        required=read_flag(node.find("required")),
        desc=read_desc(node.find("desc")),
        others=node.others(EVENT_KEYS),
    )


def _read_service(node: Node) -> Service:
    return Service(
        identifier=read_identifier(node),
        name=read_name(node.need("name")),
        call_type=cast(CallType, node.need("callType").read_word(("sync", "async"))),
        input_data=read_named(read_elements(node.find("inputData"), SERVICE_INPUTS_MAX), _read_parameter),
        output_data=read_named(read_elements(node.find("outputData"), SERVICE_OUTPUTS_MAX), _read_parameter),
        required=read_flag(node.find("required")),
        desc=read_desc(node.find("desc")),
        others=node.others(SERVICE_KEYS),
    )


def _read_parameter(node: Node) -> Parameter:
    return Parameter(
        identifier=read_identifier(node),
        name=read_name(node.need("name")),
        data_type=_read_type(node.need("dataType"), TYPES),
        others=node.others(PARAMETER_KEYS),
    )


def _read_member(node: Node) -> Parameter:
    return Parameter(
        identifier=read_member_identifier(node),
        name=read_name(node.need("name")),
        data_type=_read_type(node.need("dataType"), MEMBER_TYPES),
        others=node.others(PARAMETER_KEYS),
    )


def _read_type(node: Node, types: Collection[str], code: int = UNSUPPORTED_TYPE) -> DataType:
    kind = node.need("type", code).read_word(types, code)
    specs = node.find("specs")
    others = node.others(("type", "specs"))
    if kind in NUMERIC_TYPES:
        return make_numeric(kind, specs, (), others)
    if kind in CHOICE_TYPES:
        specs = node.need("specs", MALFORMED_SPECS)
        items = [(specs.child(key, key), specs.child(key, label)) for key, label in specs.read_object().items()]
        return make_choice(kind, specs, items, others)
    if kind == "text":
        return make_text(specs, (), others)
    if kind == "date":
        return make_date(specs, (), others)
    if kind == "struct":
        return make_struct(node.need("specs", MALFORMED_SPECS), _read_member, others)
    return make_array(
        node.need("specs", MALFORMED_ARRAY),
        lambda array: _read_type(array.need("item", MALFORMED_ARRAY), ELEMENT_TYPES, UNSUPPORTED_ELEMENT),
        ("item",),
        others,
    )


# What the two forms of a model have in common.


def read_named(
    nodes: Iterable[Node], read: Callable[[Node], Named], generated: Collection[str] = ()
) -> tuple[Named, ...]:
    """Things with identifiers, each another; those that the platform generates are left out."""
    found: dict[str, Named] = {}
    for element in nodes:
        identifier = element.need("identifier")
        if identifier.value in generated:
            continue
        thing = read(element)
        if thing.identifier in found:
            raise DuplicateError(identifier.path, f"{thing.identifier} is there twice")
        found[thing.identifier] = thing
    return tuple(found.values())


def read_elements(node: Node | None, count_max: int | None = None) -> list[Node]:
    """The elements of a list, none when it is not there."""
    if node is None:
        return []
    elements = node.read_list()
    if count_max is not None:
        check_count(node, len(elements), count_max, code=FAULTY_MODEL)
    return elements


def read_identifier(node: Node) -> str:
    """The identifier of a feature or of a parameter."""
    text = read_member_identifier(node)
    if text in RESERVED_IDENTIFIERS:
        raise node.need("identifier").fault(f"must be {RESERVED_RULE}")
    return text


def read_member_identifier(node: Node) -> str:
    """The identifier of a struct's member: the platform reserves words for what it addresses, not inside a value."""
    return _read_checked(node.need("identifier"), is_identifier, IDENTIFIER_RULE)


def read_name(node: Node) -> str:
    """A name for people."""
    return _read_checked(node, is_name, NAME_RULE)


def read_desc(node: Node | None) -> str:
    """A description, "" when there is none."""
    return _read_checked(node, lambda text: len(text) <= DESCRIPTION_CHARS_MAX, DESCRIPTION_RULE)


def read_flag(node: Node | None) -> bool:
    """A truth, false when it is not there."""
    return node.read_bool() if node else False


def check_count(node: Node, count: int, count_max: int, count_min: int = 0, code: int = MALFORMED_SPECS) -> None:
    """Check how many elements or members this value has."""
    if not count_min <= count <= count_max:
        raise ModelError(node.path, f"must have {count_min} to {count_max} elements, not {count}", code)


def make_numeric(kind: str, specs: Node | None, ignored: Iterable[str], others: dict[str, Any]) -> Numeric:
    """A number from its specs; `ignored` are keys that only repeat what stands elsewhere."""
    low = _read_number(specs.find("min") if specs else None, kind)
    high = _read_number(specs.find("max") if specs else None, kind)
    step = _read_number(specs.find("step") if specs else None, "double")
    if specs and low and high and float(low) > float(high):
        raise specs.need("max").fault(f"must be at least min, {low}", MALFORMED_SPECS)
    if specs and step and float(step) <= 0:
        raise specs.need("step").fault("must be over 0", MALFORMED_SPECS)
    return Numeric(
        type=cast(Any, kind),
        min=low,
        max=high,
        step=step,
        unit=_read_specs_text(specs, "unit"),
        unit_name=_read_specs_text(specs, "unitName"),
        specs_others=specs.others(("min", "max", "step", "unit", "unitName", *ignored)) if specs else {},
        others=others,
    )


def make_choice(kind: str, specs: Node, items: list[tuple[Node, Node]], others: dict[str, Any]) -> Choice:
    """An enum or a bool from the places of each value and its label."""
    check_count(specs, len(items), ENUM_ITEMS_MAX, 1)
    labels: dict[int, str] = {}
    for value, label in items:
        number = int(_read_number(value, "int", is_empty_absent=False))
        text = label.read_text(MALFORMED_SPECS)
        if len(text) > LABEL_CHARS_MAX:
            raise label.fault(f"must have at most {LABEL_CHARS_MAX} characters", MALFORMED_SPECS)
        if number in labels:
            raise value.fault("must not be there twice", MALFORMED_SPECS)
        labels[number] = text
    if kind == "bool" and labels.keys() != {0, 1}:
        raise specs.fault("must have 0 and 1", MALFORMED_SPECS)
    return Choice(type=cast(Any, kind), items=tuple(labels.items()), others=others)


def make_text(specs: Node | None, ignored: Iterable[str], others: dict[str, Any]) -> Text:
    """A text from its specs."""
    length = specs.find("length") if specs else None
    return Text(
        length_bytes=_read_size(length, TEXT_LENGTH_BYTES_MAX, MALFORMED_SPECS) if length else None,
        specs_others=specs.others(("length", *ignored)) if specs else {},
        others=others,
    )


def make_date(specs: Node | None, ignored: Iterable[str], others: dict[str, Any]) -> Date:
    """A date from its specs."""
    return Date(specs_others=specs.others(ignored) if specs else {}, others=others)


def make_struct(specs: Node, read_member: Callable[[Node], Parameter], others: dict[str, Any]) -> Struct:
    """A struct from the list of its members."""
    members = specs.read_list(MALFORMED_SPECS)
    check_count(specs, len(members), STRUCT_MEMBERS_MAX, 1)
    return Struct(members=read_named(members, read_member), others=others)


def make_array(
    specs: Node, read_item: Callable[[Node], DataType], ignored: Iterable[str], others: dict[str, Any]
) -> Array:
    """An array from its specs, in which `read_item` finds the type of the elements."""
    return Array(
        size=_read_size(specs.need("size", MALFORMED_ARRAY), ARRAY_SIZE_MAX, MALFORMED_ARRAY),
        item=cast(Any, read_item(specs)),
        specs_others=specs.others(("size", *ignored)),
        others=others,
    )


_WHOLE = re.compile(r"-?[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_BOUNDS = {"int": (INT_MIN, INT_MAX), "float": (-FLOAT_MAX, FLOAT_MAX), "double": (-DOUBLE_MAX, DOUBLE_MAX)}


def _read_number(node: Node | None, kind: str, *, is_empty_absent: bool = True) -> str:
    """A number of the specs as its text, "" when it is not there."""
    if node is None or (is_empty_absent and node.value == ""):
        return ""
    value = node.value
    text = repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    pattern, (low, high) = _WHOLE if kind == "int" else _NUMBER, _BOUNDS[kind]
    if not isinstance(text, str) or pattern.fullmatch(text) is None or not low <= float(text) <= high:
        noun = "whole number" if kind == "int" else "number"
        raise node.fault(f"must be a {noun} of {low:.17g} to {high:.17g}", MALFORMED_SPECS)
    return text


def _read_size(node: Node, size_max: int, code: int) -> int:
    text = str(node.value) if isinstance(node.value, int) and not isinstance(node.value, bool) else node.value
    if not isinstance(text, str) or _WHOLE.fullmatch(text) is None or not 1 <= int(text) <= size_max:
        raise node.fault(f"must be 1 to {size_max}", code)
    return int(text)


def _read_specs_text(specs: Node | None, key: str) -> str:
    node = specs.find(key) if specs else None
    return node.read_text(MALFORMED_SPECS) if node else ""


def _read_checked(node: Node | None, is_good: Callable[[str], bool], rule: str) -> str:
    if node is None:
        return ""
    text = node.read_text()
    if not is_good(text):
        raise node.fault(f"must be {rule}")
    return text

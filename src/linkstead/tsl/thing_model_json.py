"""Read and write `ThingModelJson`, the form that the management actions speak.

It says the same as TSL in other words, except that it has no descriptions: reading takes one where it is given.

Source: `thing-model.md` 5; shape of a custom module: the vendor's page on the structure of ThingModelJson.
"""

from collections.abc import Collection
from typing import Any, assert_never, cast

from linkstead.tsl.document import (
    MALFORMED_ARRAY,
    MALFORMED_SPECS,
    UNSUPPORTED_ELEMENT,
    UNSUPPORTED_TYPE,
    Node,
    read_document,
)
from linkstead.tsl.limits import (
    EVENT_OUTPUTS_MAX,
    MODULE_TSL_BYTES_MAX,
    SERVICE_INPUTS_MAX,
    SERVICE_OUTPUTS_MAX,
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
    Module,
    Numeric,
    Parameter,
    Property,
    Service,
    Struct,
    Text,
    ThingModel,
)
from linkstead.tsl.reading import (
    CHOICE_TYPES,
    ELEMENT_TYPES,
    EVENT_KEYS,
    GENERATED_EVENTS,
    GENERATED_SERVICES,
    MEMBER_TYPES,
    NUMERIC_TYPES,
    PARAMETER_KEYS,
    PROPERTY_KEYS,
    SERVICE_KEYS,
    TYPES,
    check_features,
    make_array,
    make_choice,
    make_date,
    make_numeric,
    make_struct,
    make_text,
    read_desc,
    read_elements,
    read_flag,
    read_identifier,
    read_member_identifier,
    read_module_id,
    read_module_name,
    read_name,
    read_named,
)
from linkstead.tsl.writing import list_modules

RW_FLAGS = {"r": "READ_ONLY", "rw": "READ_WRITE", "w": "WRITE_ONLY"}
CALL_TYPES = {"sync": "SYNC", "async": "ASYNC"}
EVENT_TYPES = {"info": "INFO_EVENT_TYPE", "alert": "ALERT_EVENT_TYPE", "error": "ERROR_EVENT_TYPE"}
PARAM_INPUT, PARAM_OUTPUT = "PARAM_INPUT", "PARAM_OUTPUT"

_ACCESS_MODES = {word: mode for mode, word in RW_FLAGS.items()}
_CALL_TYPES = {word: call_type for call_type, word in CALL_TYPES.items()}
_EVENT_TYPES = {word: event_type for event_type, word in EVENT_TYPES.items()}


def make_thing_model_json(model: ThingModel, module: Module) -> dict[str, Any]:
    """One module as ThingModelJson, ready for JSON. What the platform generates is not in it.

    The platform sorts the keys, and adds `_ppk` with version and description to a published model.
    """
    key = model.product_key
    document: dict[str, Any] = {
        "productKey": key,
        "properties": [_write_property(found, key) for found in module.properties],
        "events": [_write_event(found, key) for found in module.events],
        "services": [_write_service(found, key) for found in module.services],
    }
    if module.module_id:
        document |= {"identifier": module.module_id, "name": module.name}
    elif len(model.modules) > 1:
        document["functionBlocks"] = list_modules(model)
    return document


def _write_property(found: Property, product_key: str) -> dict[str, Any]:
    return found.others | {
        "productKey": product_key,
        "identifier": found.identifier,
        "name": found.name,
        "rwFlag": RW_FLAGS[found.access_mode],
        "required": found.required,
        "custom": True,
        **_write_type(found.data_type, "dataType"),
    }


def _write_event(event: Event, product_key: str) -> dict[str, Any]:
    return event.others | {
        "productKey": product_key,
        "identifier": event.identifier,
        "eventName": event.name,
        "eventType": EVENT_TYPES[event.type],
        "required": event.required,
        "custom": True,
        "outputdata": _write_parameters(event.output_data, PARAM_OUTPUT),
    }


def _write_service(service: Service, product_key: str) -> dict[str, Any]:
    return service.others | {
        "productKey": product_key,
        "identifier": service.identifier,
        "serviceName": service.name,
        "callType": CALL_TYPES[service.call_type],
        "required": service.required,
        "custom": True,
        "inputParams": _write_parameters(service.input_data, PARAM_INPUT),
        "outputParams": _write_parameters(service.output_data, PARAM_OUTPUT),
    }


def _write_parameters(parameters: Collection[Parameter], direction: str) -> list[dict[str, Any]]:
    return [
        found.others
        | {
            "identifier": found.identifier,
            "name": found.name,
            **_write_type(found.data_type, "dataType"),
            "direction": direction,
            "paraOrder": order,
            "custom": True,
        }
        for order, found in enumerate(parameters)
    ]


def _write_member(member: Parameter) -> dict[str, Any]:
    return member.others | {
        "dataType": "STRUCT",
        "identifier": member.identifier,
        "name": member.name,
        "childName": member.name,
        **_write_type(member.data_type, "childDataType"),
        "custom": True,
    }


def _write_type(data_type: DataType, type_key: str) -> dict[str, Any]:
    """The type under its key, and its specs under `dataSpecs` or `dataSpecsList`."""
    word = data_type.type.upper()
    specs: dict[str, Any] = {"dataType": word, "custom": True}
    match data_type:
        case Numeric():
            numbers = {"min": data_type.min, "max": data_type.max, "step": data_type.step}
            specs |= {key: text for key, text in numbers.items() if text}
            specs |= {"unit": data_type.unit, "unitName": data_type.unit_name}
        case Choice():
            items = [specs | {"value": value, "name": label} for value, label in data_type.items]
            return {type_key: word, "dataSpecsList": items}
        case Text():
            if data_type.length_bytes is not None:
                specs["length"] = data_type.length_bytes
        case Date():
            pass
        case Struct():
            return {type_key: word, "dataSpecsList": [_write_member(member) for member in data_type.members]}
        case Array():
            specs |= {"size": data_type.size, **_write_type(data_type.item, "childDataType")}
        case _:
            assert_never(data_type)
    return {type_key: word, "dataSpecs": data_type.specs_others | specs}


def read_thing_model_json(text: str | bytes) -> Module:
    """Read ThingModelJson: a whole module, or only the features to add or to change.

    `required`, `custom` and `productKey` may be missing. Parameters are put in the order of their `paraOrder`.

    Raises:
        ModelError: over MODULE_TSL_BYTES_MAX bytes, not JSON, or against a rule; the error names the place in the text.
    """
    root = read_document(text, MODULE_TSL_BYTES_MAX)
    module_id = read_module_id(root.find("identifier"))
    module = Module(
        module_id=module_id,
        name=read_module_name(root.find("name")) if module_id else "",
        properties=read_named(read_elements(root.find("properties")), _read_property),
        events=read_named(read_elements(root.find("events")), _read_event, GENERATED_EVENTS),
        services=read_named(read_elements(root.find("services")), _read_service, GENERATED_SERVICES),
    )
    check_features(module)
    return module


# What is kept of a feature goes into the TSL form too, so it must not be what a key of that form says.
_FEATURE_KEYS = ("productKey", "custom", "description")
_TYPE_KEYS = ("dataSpecs", "dataSpecsList")


def _read_property(node: Node) -> Property:
    return Property(
        identifier=read_identifier(node),
        name=read_name(node.need("name")),
        data_type=_read_type(node, "dataType", TYPES),
        access_mode=cast(AccessMode, _ACCESS_MODES[node.need("rwFlag").read_word(_ACCESS_MODES)]),
        required=read_flag(node.find("required")),
        desc=_read_desc(node),
        others=node.others((*PROPERTY_KEYS, *_FEATURE_KEYS, *_TYPE_KEYS, "rwFlag")),
    )


def _read_event(node: Node) -> Event:
    outputs = node.find("outputdata") or node.find("outputData")
    return Event(
        identifier=read_identifier(node),
        name=read_name(node.need("eventName")),
        type=cast(EventType, _EVENT_TYPES[node.need("eventType").read_word(_EVENT_TYPES)]),
        output_data=_read_parameters(outputs, EVENT_OUTPUTS_MAX, PARAM_OUTPUT),
        required=read_flag(node.find("required")),
        desc=_read_desc(node),
        others=node.others((*EVENT_KEYS, *_FEATURE_KEYS, "eventName", "eventType", "outputdata")),
    )


def _read_service(node: Node) -> Service:
    return Service(
        identifier=read_identifier(node),
        name=read_name(node.need("serviceName")),
        call_type=cast(CallType, _CALL_TYPES[node.need("callType").read_word(_CALL_TYPES)]),
        input_data=_read_parameters(node.find("inputParams"), SERVICE_INPUTS_MAX, PARAM_INPUT),
        output_data=_read_parameters(node.find("outputParams"), SERVICE_OUTPUTS_MAX, PARAM_OUTPUT),
        required=read_flag(node.find("required")),
        desc=_read_desc(node),
        others=node.others((*SERVICE_KEYS, *_FEATURE_KEYS, "serviceName", "inputParams", "outputParams")),
    )


def _read_desc(node: Node) -> str:
    return read_desc(node.find("description") or node.find("desc"))


def _read_parameters(node: Node | None, count_max: int, direction: str) -> tuple[Parameter, ...]:
    places = [(_read_order(place, position), place) for position, place in enumerate(read_elements(node, count_max))]
    places.sort(key=lambda pair: pair[0])

    def read(place: Node) -> Parameter:
        if said := place.find("direction"):
            said.read_word((direction,))
        return Parameter(
            identifier=read_identifier(place),
            name=read_name(place.need("name")),
            data_type=_read_type(place, "dataType", TYPES),
            others=place.others((*PARAMETER_KEYS, *_TYPE_KEYS, "direction", "paraOrder", "custom")),
        )

    return read_named((place for _, place in places), read)


def _read_order(place: Node, position: int) -> int:
    order = place.find("paraOrder")
    if order is None:
        return position
    if not isinstance(order.value, int):
        raise order.fault("must be a whole number")
    return order.value


def _read_member(node: Node) -> Parameter:
    return Parameter(
        identifier=read_member_identifier(node),
        name=read_name(node.find("name") or node.need("childName")),
        data_type=_read_type(node, "childDataType", MEMBER_TYPES),
        others=node.others((*PARAMETER_KEYS, *_TYPE_KEYS, "childName", "childDataType", "custom")),
    )


def _read_type(node: Node, type_key: str, types: Collection[str], code: int = UNSUPPORTED_TYPE) -> DataType:
    kind = node.need(type_key, code).read_word([word.upper() for word in types], code).lower()
    specs = node.find("dataSpecs")
    ignored = ("dataType", "custom")
    if kind in NUMERIC_TYPES:
        return make_numeric(kind, specs, ignored, {})
    if kind in CHOICE_TYPES:
        items = node.need("dataSpecsList", MALFORMED_SPECS)
        places = items.read_list(MALFORMED_SPECS)
        pairs = [(item.need("value", MALFORMED_SPECS), item.need("name", MALFORMED_SPECS)) for item in places]
        return make_choice(kind, items, pairs, {})
    if kind == "text":
        return make_text(specs, ignored, {})
    if kind == "date":
        return make_date(specs, ignored, {})
    if kind == "struct":
        return make_struct(node.need("dataSpecsList", MALFORMED_SPECS), _read_member, {})
    return make_array(
        node.need("dataSpecs", MALFORMED_ARRAY),
        _read_item,
        (*ignored, *_TYPE_KEYS, "childDataType", "item"),
        {},
    )


def _read_item(specs: Node) -> DataType:
    return _read_type(specs, "childDataType", ELEMENT_TYPES, UNSUPPORTED_ELEMENT)

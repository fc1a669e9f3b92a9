"""Write a thing model in the TSL form: in full, or reduced to what a device needs.

Numbers in the specs are written as strings, as exported documents have them. What the platform generates for a module
with properties comes first: the event `post`, the services `set` and `get`.

Source: `thing-model.md` 1 and 5.
"""

from collections.abc import Iterable
from typing import Any, assert_never

from linkstead.tsl.literal import write_literal
from linkstead.tsl.model import (
    Array,
    Choice,
    DataType,
    Date,
    Event,
    Module,
    Numeric,
    Parameter,
    Property,
    Service,
    Struct,
    Text,
    ThingModel,
)
from linkstead.tsl.reading import SCHEMA


def write_model(model: ThingModel) -> str:
    """A whole model as one text, for storage: the documents of its modules in a list."""
    return write_literal([make_tsl(model, module) for module in model.modules])


def make_tsl(model: ThingModel, module: Module) -> dict[str, Any]:
    """The document of one module in full, ready for JSON."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "profile": {**module.profile, "productKey": model.product_key},
        "properties": [_write_property(found) for found in module.properties],
        "events": [*_generated_events(module), *map(_write_event, module.events)],
        "services": [*_generated_services(module), *map(_write_service, module.services)],
    }
    if module.module_id:
        document["functionBlockId"] = module.module_id
        if module.name:
            document["functionBlockName"] = module.name
    elif len(model.modules) > 1:
        document["functionBlocks"] = list_modules(model)
    return document | module.others


def make_reduced_tsl(module: Module) -> dict[str, Any]:
    """The document of one module reduced to identifiers, types and members: what a device's developer is handed."""
    properties = [_reduce_parameter(found) for found in module.properties]
    has_properties = bool(properties)
    writable = [_reduce_parameter(found) for found in module.properties if found.is_writable]
    names = [found.identifier for found in module.properties]
    post = {"identifier": "post", "outputData": properties}
    set_ = {"identifier": "set", "inputData": writable, "outputData": []}
    get = {"identifier": "get", "inputData": names, "outputData": properties}
    return {
        "properties": properties,
        "events": [
            *([post] if has_properties else ()),
            *(
                {"identifier": found.identifier, "outputData": [_reduce_parameter(item) for item in found.output_data]}
                for found in module.events
            ),
        ],
        "services": [
            *([set_, get] if has_properties else ()),
            *(
                {
                    "identifier": found.identifier,
                    "inputData": [_reduce_parameter(item) for item in found.input_data],
                    "outputData": [_reduce_parameter(item) for item in found.output_data],
                }
                for found in module.services
            ),
        ],
    }


def list_modules(model: ThingModel) -> list[dict[str, Any]]:
    """The custom modules of a model as the document of its default module lists them."""
    return [
        {"functionBlockId": module.module_id, "functionBlockName": module.name, "productKey": model.product_key}
        for module in model.modules[1:]
    ]


def _generated_events(module: Module) -> list[dict[str, Any]]:
    if not module.properties:
        return []
    return [
        {
            "identifier": "post",
            "name": "post",
            "type": "info",
            "required": True,
            "desc": "property report",
            "method": "thing.event.property.post",
            "outputData": _write_values(module.properties),
        }
    ]


def _generated_services(module: Module) -> list[dict[str, Any]]:
    if not module.properties:
        return []
    return [
        {
            "identifier": "set",
            "name": "set",
            "required": True,
            "callType": "async",
            "desc": "property set",
            "method": "thing.service.property.set",
            "inputData": _write_values(found for found in module.properties if found.is_writable),
            "outputData": [],
        },
        {
            "identifier": "get",
            "name": "get",
            "required": True,
            "callType": "async",
            "desc": "property get",
            "method": "thing.service.property.get",
            "inputData": [found.identifier for found in module.properties],
            "outputData": _write_values(module.properties),
        },
    ]


def _write_values(properties: Iterable[Property]) -> list[dict[str, Any]]:
    """Properties as the data of a generated entry."""
    return [
        {"identifier": found.identifier, "name": found.name, "dataType": _write_type(found.data_type)}
        for found in properties
    ]


def _write_property(found: Property) -> dict[str, Any]:
    document: dict[str, Any] = {
        "identifier": found.identifier,
        "name": found.name,
        "accessMode": found.access_mode,
        "required": found.required,
        "dataType": _write_type(found.data_type),
    }
    if found.desc:
        document["desc"] = found.desc
    return document | found.others


def _write_event(event: Event) -> dict[str, Any]:
    return {
        "identifier": event.identifier,
        "name": event.name,
        "type": event.type,
        "required": event.required,
        "desc": event.desc,
        "method": f"thing.event.{event.identifier}.post",
        "outputData": [_write_parameter(found) for found in event.output_data],
    } | event.others


def _write_service(service: Service) -> dict[str, Any]:
    return {
        "identifier": service.identifier,
        "name": service.name,
        "required": service.required,
        "callType": service.call_type,
        "desc": service.desc,
        "method": f"thing.service.{service.identifier}",
        "inputData": [_write_parameter(found) for found in service.input_data],
        "outputData": [_write_parameter(found) for found in service.output_data],
    } | service.others


def _write_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "identifier": parameter.identifier,
        "name": parameter.name,
        "dataType": _write_type(parameter.data_type),
    } | parameter.others


def _write_type(data_type: DataType) -> dict[str, Any]:
    specs = _write_specs(data_type)
    document: dict[str, Any] = {"type": data_type.type}
    if specs or isinstance(data_type, Date):
        document["specs"] = specs
    return document | data_type.others


def _write_specs(data_type: DataType) -> dict[str, Any] | list[dict[str, Any]]:
    match data_type:
        case Numeric():
            specs = {
                "min": data_type.min,
                "max": data_type.max,
                "unit": data_type.unit,
                "unitName": data_type.unit_name,
                "step": data_type.step,
            }
            return {key: text for key, text in specs.items() if text} | data_type.specs_others
        case Choice():
            return {str(value): label for value, label in data_type.items}
        case Text():
            length = {} if data_type.length_bytes is None else {"length": str(data_type.length_bytes)}
            return length | data_type.specs_others
        case Date():
            return dict(data_type.specs_others)
        case Struct():
            return [_write_parameter(member) for member in data_type.members]
        case Array():
            return {"size": str(data_type.size), "item": _write_type(data_type.item)} | data_type.specs_others
        case _:
            assert_never(data_type)


def _reduce_parameter(found: Property | Parameter) -> dict[str, Any]:
    return {"identifier": found.identifier, "dataType": _reduce_type(found.data_type)}


def _reduce_type(data_type: DataType) -> dict[str, Any]:
    match data_type:
        case Struct():
            return {"type": "struct", "specs": [_reduce_parameter(member) for member in data_type.members]}
        case Array():
            return {"type": "array", "specs": {"item": _reduce_type(data_type.item)}}
        case _:
            return {"type": data_type.type}

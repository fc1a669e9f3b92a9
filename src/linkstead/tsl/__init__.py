"""The thing model: read it, write it, change it, find things in it, check values against it.

A thing model (TSL) is the document that says which properties, events and services the devices of a product have.
"""

from linkstead.tsl.checking import EventChecker, Fault, ModelChecker, ServiceChecker, ValidateType
from linkstead.tsl.document import DuplicateError, ModelError
from linkstead.tsl.editing import (
    add_features,
    change_feature,
    delete_features,
    delete_module,
    put_module,
    rename_module,
)
from linkstead.tsl.limits import VERSION_RULE, is_version
from linkstead.tsl.literal import JsonValue, LiteralError, read_literal, read_literal_object, write_literal
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
    find_event,
    find_module,
    find_property,
    find_service,
    join_identifier,
    split_identifier,
)
from linkstead.tsl.posts import check_post_size, check_time, unwrap_value
from linkstead.tsl.reading import TslDocument, read_model, read_tsl
from linkstead.tsl.samples import make_example_arguments, make_sample_value, make_sample_values
from linkstead.tsl.thing_model_json import make_thing_model_json, read_thing_model_json
from linkstead.tsl.writing import make_reduced_tsl, make_tsl, write_model

__all__ = [
    "VERSION_RULE",
    "Array",
    "Choice",
    "DataType",
    "Date",
    "DuplicateError",
    "Event",
    "EventChecker",
    "Fault",
    "JsonValue",
    "LiteralError",
    "ModelChecker",
    "ModelError",
    "Module",
    "Numeric",
    "Parameter",
    "Property",
    "Service",
    "ServiceChecker",
    "Struct",
    "Text",
    "ThingModel",
    "TslDocument",
    "ValidateType",
    "add_features",
    "change_feature",
    "check_post_size",
    "check_time",
    "delete_features",
    "delete_module",
    "find_event",
    "find_module",
    "find_property",
    "find_service",
    "is_version",
    "join_identifier",
    "make_example_arguments",
    "make_reduced_tsl",
    "make_sample_value",
    "make_sample_values",
    "make_thing_model_json",
    "make_tsl",
    "put_module",
    "read_literal",
    "read_literal_object",
    "read_model",
    "read_thing_model_json",
    "read_tsl",
    "rename_module",
    "split_identifier",
    "unwrap_value",
    "write_literal",
    "write_model",
]

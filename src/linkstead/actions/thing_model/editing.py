"""Changing the draft of a thing model, which calls and devices notice only once it is published.

All of it is refused while the product is released. Source: ReleaseProduct reference.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import field

from linkstead.action import Action, ActionContext, Answer, Request
from linkstead.actions.thing_model.faults import read_text, refusing
from linkstead.actions.thing_model.versions import find_version
from linkstead.errors import ApiError, codes, missing_parameter
from linkstead.registry import find_senior_product
from linkstead.tsl import (
    ModelError,
    Module,
    ThingModel,
    add_features,
    change_feature,
    delete_features,
    delete_module,
    put_module,
    read_model,
    read_thing_model_json,
    read_tsl,
    rename_module,
)

IDENTIFIERS_MAX = 10
"""Identifiers in each list of one DeleteThingModel. Source: its reference."""


class CreateThingModelRequest(Request):
    """Source: CreateThingModel reference. `ThingModelJson` may hold 10 functions."""

    product_key: str
    thing_model_json: str
    function_block_id: str = ""
    function_block_name: str = ""
    iot_instance_id: str = ""


async def create_thing_model(context: ActionContext, request: CreateThingModelRequest) -> Answer:
    """Add functions to the draft: to the module of this id, or that the text names, or to the default module.

    A module that is not there is made and needs a name; the name of one that is there changes with it.

    Raises:
        ApiError: see `find_senior_product`, `read_text` and `refusing`.
    """
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    features = read_text("ThingModelJson", request.thing_model_json, read_thing_model_json)
    module_id = request.function_block_id or features.module_id
    name = request.function_block_name or features.name
    return await _edit(
        context,
        product.product_key,
        "ThingModelJson",
        lambda draft: add_features(draft, features, module_id, name),
    )


class UpdateThingModelRequest(Request):
    """Source: UpdateThingModel reference.

    Without `Identifier` the function that is changed is the one that `ThingModelJson` holds; without both,
    FunctionBlockName is the new name of the module FunctionBlockId.
    """

    product_key: str
    identifier: str = ""
    thing_model_json: str = ""
    function_block_id: str = ""
    function_block_name: str = ""
    iot_instance_id: str = ""


async def update_thing_model(context: ActionContext, request: UpdateThingModelRequest) -> Answer:
    """Put one function in the place of another of its kind, or give a module another name.

    Raises:
        ApiError(MissingThingModelJson): there is neither a function nor a module to rename.
        ApiError: see `find_senior_product`, `read_text` and `refusing`.
    """
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    if not request.thing_model_json:
        if request.identifier or not (request.function_block_id and request.function_block_name):
            raise missing_parameter("ThingModelJson")
        return await _edit(
            context,
            product.product_key,
            "FunctionBlockName",
            lambda draft: rename_module(draft, request.function_block_id, request.function_block_name),
        )
    features = read_text("ThingModelJson", request.thing_model_json, read_thing_model_json)
    identifier = request.identifier or next((found.identifier for found in features.features), "")
    module_id = request.function_block_id or features.module_id
    name = request.function_block_name or features.name
    return await _edit(
        context,
        product.product_key,
        "ThingModelJson",
        lambda draft: change_feature(draft, identifier, features, module_id, name),
    )


class DeleteThingModelRequest(Request):
    """Source: DeleteThingModel reference. Each list has at most `IDENTIFIERS_MAX`."""

    product_key: str
    property_identifier: list[str] = field(default_factory=list)
    service_identifier: list[str] = field(default_factory=list)
    event_identifier: list[str] = field(default_factory=list)
    function_block_id: str = ""
    resource_group_id: str = ""
    iot_instance_id: str = ""


async def delete_thing_model(context: ActionContext, request: DeleteThingModelRequest) -> Answer:
    """Take functions out of a module; without any the module, and without a module too all there is.

    A function that is not there is refused. The newer reference says that then, as if none had been named, the whole
    module goes: a misspelt identifier should not do that.

    Raises:
        ApiError(INVALID_FORMATTED_PARAMETER): a list is over `IDENTIFIERS_MAX`.
        ApiError: see `find_senior_product` and `refusing`.
    """
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    properties, events, services = request.property_identifier, request.event_identifier, request.service_identifier
    _check_count("PropertyIdentifier", properties)
    _check_count("EventIdentifier", events)
    _check_count("ServiceIdentifier", services)

    def edit(draft: ThingModel) -> ThingModel:
        if properties or events or services:
            return delete_features(draft, properties, events, services, request.function_block_id)
        return delete_module(draft, request.function_block_id)

    return await _edit(context, product.product_key, "FunctionBlockId", edit)


def _check_count(parameter: str, identifiers: list[str]) -> None:
    if len(identifiers) > IDENTIFIERS_MAX:
        values: dict[str, Any] = {parameter: len(identifiers)}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=f"<= {IDENTIFIERS_MAX}", **values)


class ImportThingModelTslRequest(Request):
    """Source: ImportThingModelTsl reference. Without effect: `TslUrl`, at the vendor's too."""

    product_key: str
    tsl_str: str = ""
    tsl_url: str = ""
    function_block_id: str = ""
    function_block_name: str = ""
    resource_group_id: str = ""
    iot_instance_id: str = ""


async def import_thing_model_tsl(context: ActionContext, request: ImportThingModelTslRequest) -> Answer:
    """Put a document in the place of a module: of this id, or that the document names, or of the default module.

    Other modules stay. A document that names a product has to name this one.

    Raises:
        ApiError(MissingTslStr): there is no document.
        ApiError: see `find_senior_product`, `read_text` and `refusing`.
    """
    product_key = (await find_senior_product(context.registry, context.scope, request.product_key)).product_key
    if not request.tsl_str:
        raise missing_parameter("TslStr")
    imported = read_text("TslStr", request.tsl_str, lambda text: _read_module(text, product_key))
    module = replace(
        imported,
        module_id=request.function_block_id or imported.module_id,
        name=request.function_block_name or imported.name,
    )
    return await _edit(context, product_key, "TslStr", lambda draft: put_module(draft, module))


def _read_module(text: str, product_key: str) -> Module:
    document = read_tsl(text)
    if document.product_key not in ("", product_key):
        raise ModelError("profile.productKey", f"must be {product_key}")
    return document.module


class CopyThingModelRequest(Request):
    """Source: CopyThingModel reference."""

    source_product_key: str
    source_model_version: str
    target_product_key: str
    resource_group_id: str = ""
    iot_instance_id: str = ""


async def copy_thing_model(context: ActionContext, request: CopyThingModelRequest) -> Answer:
    """Make a published version the draft of another product, or of the same, in place of all that was in it.

    Raises:
        ApiError(BATCH_CREATE_THING_MODEL_FAILED): the products differ in their CategoryKey.
        ApiError: see `find_senior_product`, `find_version` and `refusing`.
    """
    source = await find_senior_product(context.registry, context.scope, request.source_product_key)
    target = await find_senior_product(context.registry, context.scope, request.target_product_key)
    if source.category_key != target.category_key:
        raise ApiError(
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            TargetProductKey=target.product_key,
            rule=f'CategoryKey == "{source.category_key}"',
        )
    version = await find_version(context, source.product_key, "SourceModelVersion", request.source_model_version)
    copy = replace(read_model(version.document), product_key=target.product_key)
    return await _edit(context, target.product_key, "SourceModelVersion", lambda _: copy)


async def _edit(
    context: ActionContext, product_key: str, parameter: str, edit: Callable[[ThingModel], ThingModel]
) -> Answer:
    with refusing(product_key, parameter):
        await context.models.edit_draft(product_key, edit)
    return Answer()


ACTIONS = (
    Action(name="CreateThingModel", request=CreateThingModelRequest, answer=Answer, function=create_thing_model),
    Action(name="UpdateThingModel", request=UpdateThingModelRequest, answer=Answer, function=update_thing_model),
    Action(name="DeleteThingModel", request=DeleteThingModelRequest, answer=Answer, function=delete_thing_model),
    Action(
        name="ImportThingModelTsl", request=ImportThingModelTslRequest, answer=Answer, function=import_thing_model_tsl
    ),
    Action(name="CopyThingModel", request=CopyThingModelRequest, answer=Answer, function=copy_thing_model),
)

"""Reading a thing model, in TSL or as ThingModelJson: the draft or a published version.

Without FunctionBlockId it is the default module, whose document lists the other modules under `functionBlocks`. The
newer reference promises every module in one ThingModelJson then, yet shows no shape for that.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.thing_model.versions import find_version
from linkstead.errors import ApiError, codes
from linkstead.models import ThingModelVersion
from linkstead.registry import find_senior_product
from linkstead.tsl import (
    Module,
    ThingModel,
    find_module,
    make_reduced_tsl,
    make_thing_model_json,
    make_tsl,
    read_model,
    write_literal,
)


class QueryThingModelRequest(Request):
    """Source: QueryThingModel and QueryThingModelPublished references."""

    product_key: str
    model_version: str = ""
    function_block_id: str = ""
    resource_group_id: str = ""
    iot_instance_id: str = ""


class GetThingModelTslRequest(QueryThingModelRequest):
    """Source: GetThingModelTsl and GetThingModelTslPublished references."""

    simple: bool = False


class TslData(Shape):
    """`tsl_str` is JSON text. `tsl_uri` is never sent: it is a link to a download, and the text is all there is."""

    tsl_str: str
    tsl_uri: str | UnsetType = UNSET


class TslAnswer(Answer):
    """Source: GetThingModelTsl reference, returned data."""

    data: TslData | UnsetType = UNSET


class ThingModelData(Shape):
    """JSON text, its keys sorted."""

    thing_model_json: str


class ThingModelAnswer(Answer):
    """Source: QueryThingModel reference, returned data. ProductKey stands beside Data."""

    product_key: str | UnsetType = UNSET
    data: ThingModelData | UnsetType = UNSET


async def get_thing_model_tsl(context: ActionContext, request: GetThingModelTslRequest) -> TslAnswer:
    """Show the draft, or the published version that is asked for, in TSL.

    Raises:
        ApiError: see `find_senior_product`.
        ApiError(QUERY_PRODUCT_ABILITIES_FAILED): there is no such version, or no such module in it.
    """
    return await _answer_tsl(context, request, is_draft=not request.model_version)


async def get_thing_model_tsl_published(context: ActionContext, request: GetThingModelTslRequest) -> TslAnswer:
    """Show the latest published version, or the one that is asked for, in TSL. Raises: see `get_thing_model_tsl`."""
    return await _answer_tsl(context, request, is_draft=False)


async def query_thing_model(context: ActionContext, request: QueryThingModelRequest) -> ThingModelAnswer:
    """Show the draft, or the published version that is asked for, as ThingModelJson.

    Raises: see `get_thing_model_tsl`.
    """
    return await _answer_thing_model_json(context, request, is_draft=not request.model_version)


async def query_thing_model_published(context: ActionContext, request: QueryThingModelRequest) -> ThingModelAnswer:
    """Show the latest published version, or the one that is asked for, as ThingModelJson.

    Raises: see `get_thing_model_tsl`.
    """
    return await _answer_thing_model_json(context, request, is_draft=False)


async def _answer_tsl(context: ActionContext, request: GetThingModelTslRequest, *, is_draft: bool) -> TslAnswer:
    model, _ = await _find_model(context, request, is_draft=is_draft)
    module = _find_module(model, request.function_block_id)
    document = make_reduced_tsl(module) if request.simple else make_tsl(model, module)
    return TslAnswer(data=TslData(tsl_str=write_literal(document)))


async def _answer_thing_model_json(
    context: ActionContext, request: QueryThingModelRequest, *, is_draft: bool
) -> ThingModelAnswer:
    model, version = await _find_model(context, request, is_draft=is_draft)
    document: dict[str, Any] = make_thing_model_json(model, _find_module(model, request.function_block_id))
    if version is not None:
        document["_ppk"] = {"version": version.version, "description": version.description}
    text = msgspec.json.encode(document, order="sorted").decode()
    return ThingModelAnswer(product_key=model.product_key, data=ThingModelData(thing_model_json=text))


async def _find_model(
    context: ActionContext, request: QueryThingModelRequest, *, is_draft: bool
) -> tuple[ThingModel, ThingModelVersion | None]:
    """The draft and None, or a published model and its version."""
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    if is_draft:
        return await context.models.find_draft(product.product_key), None
    version = await find_version(context, product.product_key, "ModelVersion", request.model_version)
    return read_model(version.document), version


def _find_module(model: ThingModel, module_id: str) -> Module:
    module = find_module(model, module_id)
    if module is None:
        known = [found.module_id for found in model.modules if found.module_id]
        raise ApiError(
            codes.QUERY_PRODUCT_ABILITIES_FAILED,
            FunctionBlockId=module_id,
            rule=" | ".join(known) or "there is the default module only",
        )
    return module


ACTIONS = (
    Action(name="GetThingModelTsl", request=GetThingModelTslRequest, answer=TslAnswer, function=get_thing_model_tsl),
    Action(
        name="GetThingModelTslPublished",
        request=GetThingModelTslRequest,
        answer=TslAnswer,
        function=get_thing_model_tsl_published,
    ),
    Action(name="QueryThingModel", request=QueryThingModelRequest, answer=ThingModelAnswer, function=query_thing_model),
    Action(
        name="QueryThingModelPublished",
        request=QueryThingModelRequest,
        answer=ThingModelAnswer,
        function=query_thing_model_published,
    ),
)

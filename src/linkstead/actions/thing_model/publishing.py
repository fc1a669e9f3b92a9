"""Making the draft effective, and the list of what was."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.actions.thing_model.faults import refusing
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.registry import AlreadyExists, find_senior_product
from linkstead.tsl import VERSION_RULE, is_version
from linkstead.tsl.limits import DESCRIPTION_CHARS_MAX


class PublishThingModelRequest(Request):
    """Source: PublishThingModel reference. Without ModelVersion the version is named by the milliseconds."""

    product_key: str
    model_version: str = ""
    description: str = ""
    resource_group_id: str = ""
    iot_instance_id: str = ""


async def publish_thing_model(context: ActionContext, request: PublishThingModelRequest) -> Answer:
    """Make the draft effective, for calls from now on. The draft stays.

    Raises:
        ApiError(INVALID_FORMATTED_PARAMETER): ModelVersion is malformed, or the description too long.
        ApiError(BATCH_CREATE_THING_MODEL_FAILED): a version of this name is kept already.
        ApiError: see `find_senior_product` and `refusing`.
    """
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    version = request.model_version
    if version and not is_version(version):
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, ModelVersion=version, rule=VERSION_RULE)
    if len(request.description) > DESCRIPTION_CHARS_MAX:
        raise ApiError(
            codes.INVALID_FORMATTED_PARAMETER,
            Description=len(request.description),
            rule=f"<= {DESCRIPTION_CHARS_MAX}",
        )
    now_ms = milliseconds(context.clock.time_s())
    try:
        with refusing(product.product_key, "ProductKey"):
            await context.models.publish_draft(product.product_key, version, request.description, now_ms)
    except AlreadyExists:
        raise ApiError(codes.BATCH_CREATE_THING_MODEL_FAILED, ModelVersion=version, rule="unique") from None
    return Answer()


class ListThingModelVersionRequest(Request):
    """Source: ListThingModelVersion reference."""

    product_key: str
    resource_group_id: str = ""
    iot_instance_id: str = ""


class ModelVersion(Shape):
    """One version. `gmt_create` is milliseconds."""

    model_version: str
    gmt_create: int
    description: str | UnsetType = UNSET


class ListThingModelVersionData(Shape):
    """Unlike other lists of the vendor's, without a shape between."""

    model_versions: list[ModelVersion]


class ListThingModelVersionAnswer(Answer):
    """Source: ListThingModelVersion reference, returned data."""

    data: ListThingModelVersionData | UnsetType = UNSET


async def list_thing_model_version(
    context: ActionContext, request: ListThingModelVersionRequest
) -> ListThingModelVersionAnswer:
    """List the published versions, newest first: as many as are kept.

    Raises:
        ApiError: see `find_senior_product`.
    """
    product = await find_senior_product(context.registry, context.scope, request.product_key)
    versions = [
        ModelVersion(model_version=found.version, gmt_create=found.created_ms, description=found.description or UNSET)
        for found in await context.models.list_versions(product.product_key)
    ]
    return ListThingModelVersionAnswer(data=ListThingModelVersionData(model_versions=versions))


ACTIONS = (
    Action(name="PublishThingModel", request=PublishThingModelRequest, answer=Answer, function=publish_thing_model),
    Action(
        name="ListThingModelVersion",
        request=ListThingModelVersionRequest,
        answer=ListThingModelVersionAnswer,
        function=list_thing_model_version,
    ),
)

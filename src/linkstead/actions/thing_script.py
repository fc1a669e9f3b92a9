"""The chapter of the reference about data-parsing scripts: CreateThingScript, GetThingScript, UpdateThingScript."""

import base64

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.models import SCRIPT_BYTES_MAX, Script
from linkstead.models.scripts import TRANSFORM_PAYLOAD
from linkstead.registry import AlreadyExists, Product, ProductGone, creation, find_product

JAVASCRIPT = "JavaScript"
"""The one language that scripts are run in. Source: CreateThingScript reference, row ScriptType."""


class ThingScriptRequest(Request):
    """Source: CreateThingScript and UpdateThingScript references, request parameters."""

    product_key: str
    script_content: str
    script_type: str
    iot_instance_id: str = ""


async def create_thing_script(context: ActionContext, request: ThingScriptRequest) -> Answer:
    """Give a product its script.

    Raises:
        ApiError: see `find_product` and `check_script`.
        ApiError(THING_SCRIPT_EXISTED): it has one.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    script = check_script(product, request, milliseconds(context.clock.time_s()))
    try:
        await context.scripts.shelf.add(script)
    except AlreadyExists:
        raise ApiError(codes.THING_SCRIPT_EXISTED, ProductKey=product.product_key) from None
    except ProductGone:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product.product_key) from None
    return Answer()


async def update_thing_script(context: ActionContext, request: ThingScriptRequest) -> Answer:
    """Give a product another script in place of the one it has; messages from now on go by it.

    Raises:
        ApiError: see `find_product` and `check_script`.
        ApiError(ILLEGAL_REQUEST): it has none.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    script = check_script(product, request, milliseconds(context.clock.time_s()))
    if not await context.scripts.shelf.update(script):
        raise _no_script(product.product_key)
    return Answer()


def check_script(product: Product, request: ThingScriptRequest, now_ms: int) -> Script:
    """The script of a request.

    Raises:
        ApiError(INVALID_SCRIPT_TYPE): it is in another language than JavaScript, however that is spelled.
        ApiError(INVALID_FORMATTED_PARAMETER): it is over SCRIPT_BYTES_MAX bytes of UTF-8.
        ApiError(THING_SCRIPT_DATA_FORMAT_ERROR): devices of the product speak Alink, so all that a script can do for
            it is to transform payloads of custom topics, and this one does not.
    """
    if request.script_type.lower() != JAVASCRIPT.lower():
        raise ApiError(codes.INVALID_SCRIPT_TYPE, ScriptType=request.script_type, rule=JAVASCRIPT)
    size_bytes = len(request.script_content.encode())
    if size_bytes > SCRIPT_BYTES_MAX:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, ScriptContent=size_bytes, rule=f"<= {SCRIPT_BYTES_MAX} B")
    if product.data_format != creation.RAW_FORMAT and TRANSFORM_PAYLOAD not in request.script_content:
        raise ApiError(
            codes.THING_SCRIPT_DATA_FORMAT_ERROR,
            DataFormat=product.data_format,
            rule=f"DataFormat == {creation.RAW_FORMAT} | {TRANSFORM_PAYLOAD}()",
        )
    return Script(product.product_key, JAVASCRIPT, request.script_content, now_ms)


class GetThingScriptRequest(Request):
    """Source: GetThingScript reference, request parameters."""

    product_key: str
    iot_instance_id: str = ""


class GetThingScriptData(Shape):
    """Source: GetThingScript reference, returned data.

    The vendor's `script_url` is where its storage service has the script for a while. Here the address holds the
    script itself (RFC 2397), so nothing has to be fetched and nobody else can.
    """

    script_url: str
    script_type: str


class GetThingScriptAnswer(Answer):
    """Where the script is, and its language."""

    data: GetThingScriptData | UnsetType = UNSET


async def get_thing_script(context: ActionContext, request: GetThingScriptRequest) -> GetThingScriptAnswer:
    """Show a product's script.

    Raises:
        ApiError: see `find_product`.
        ApiError(ILLEGAL_REQUEST): it has none.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    found = await context.scripts.shelf.find(product.product_key)
    if found is None:
        raise _no_script(product.product_key)
    return GetThingScriptAnswer(
        data=GetThingScriptData(script_url=make_url(found.script), script_type=found.script_type)
    )


def make_url(script: str) -> str:
    """A `data:` address with the script in it."""
    return "data:text/javascript;charset=utf-8;base64," + base64.b64encode(script.encode()).decode()


def _no_script(product_key: str) -> ApiError:
    return ApiError(codes.ILLEGAL_REQUEST, ProductKey=product_key, rule="the product has a script")


ACTIONS = (
    Action(name="CreateThingScript", request=ThingScriptRequest, answer=Answer, function=create_thing_script),
    Action(
        name="GetThingScript", request=GetThingScriptRequest, answer=GetThingScriptAnswer, function=get_thing_script
    ),
    Action(name="UpdateThingScript", request=ThingScriptRequest, answer=Answer, function=update_thing_script),
)

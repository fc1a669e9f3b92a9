"""The chapter of the reference about topic classes. Source: `cloud-api.md` 9.7."""

from dataclasses import replace

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.errors import ApiError, codes, invalid_parameter
from linkstead.registry import AlreadyExists, ProductGone, ProductTopic, TopicOperation, find_product
from linkstead.registry.topic_classes import (
    DESCRIPTION_CHARS_MAX,
    TOPIC_SHORT_NAME_RULE,
    fits_bounds,
    is_short_name,
    make_topic,
)

OPERATION_NUMBERS = {TopicOperation.PUB: "0", TopicOperation.SUB: "1", TopicOperation.ALL: "2"}
"""What QueryProductTopic shows. Source: QueryProductTopic reference, field Operation."""

TOPIC_ID_MAX = 2**63 - 1


class TopicRequest(Request):
    """What a topic class is made of.

    Without effect: `Codec` and `EnableProxySubscribe`, which are not offered.
    """

    topic_short_name: str
    operation: str
    desc: str | None = None
    codec: str = ""
    enable_proxy_subscribe: bool = False
    iot_instance_id: str = ""


class CreateProductTopicRequest(TopicRequest, kw_only=True):
    """Source: CreateProductTopic reference, request parameters."""

    product_key: str


class CreateProductTopicAnswer(Answer):
    """The class's id, a number here and text everywhere else."""

    topic_id: int | UnsetType = UNSET


async def create_product_topic(context: ActionContext, request: CreateProductTopicRequest) -> CreateProductTopicAnswer:
    """Add a topic class `/{ProductKey}/${deviceName}/user/{TopicShortName}` to a product.

    Raises:
        ApiError: see `find_product` and `_read_topic`.
        ApiError(TOPIC_ALREADY_FOUND, TOPIC_TEMPLATE_COUNT_EXCEED_MAX): it is there; there are `TOPIC_CLASSES_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    topic = _read_topic(ProductTopic(0, product.product_key, "", TopicOperation.ALL), request)
    try:
        topic_id = await context.registry.add_topic(topic)
    except AlreadyExists:
        raise ApiError(codes.TOPIC_ALREADY_FOUND, TopicShortName=request.topic_short_name) from None
    except ProductGone:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=request.product_key) from None
    if topic_id is None:
        raise ApiError(codes.TOPIC_TEMPLATE_COUNT_EXCEED_MAX)
    return CreateProductTopicAnswer(topic_id=topic_id)


class QueryProductTopicRequest(Request):
    """Source: QueryProductTopic reference, request parameters."""

    product_key: str
    iot_instance_id: str = ""


class ProductTopicInfo(Shape):
    """A topic class: `topic_short_name` is the whole of it here; `codec` is never sent."""

    id: str
    product_key: str
    topic_short_name: str
    operation: str
    desc: str | UnsetType = UNSET
    codec: str | UnsetType = UNSET
    enable_proxy_subscribe: bool | UnsetType = UNSET


class ProductTopicList(Shape):
    """The list itself."""

    product_topic_info: list[ProductTopicInfo]


class QueryProductTopicAnswer(Answer):
    """All classes of a product, oldest first."""

    data: ProductTopicList | UnsetType = UNSET


async def query_product_topic(context: ActionContext, request: QueryProductTopicRequest) -> QueryProductTopicAnswer:
    """List the topic classes of a product.

    Raises:
        ApiError: see `find_product`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    topics = await context.registry.store.list_topics(product.product_key)
    return QueryProductTopicAnswer(
        data=ProductTopicList(
            product_topic_info=[
                ProductTopicInfo(
                    id=str(topic.topic_id),
                    product_key=topic.product_key,
                    topic_short_name=topic.topic,
                    operation=OPERATION_NUMBERS[topic.operation],
                    desc=topic.description or UNSET,
                )
                for topic in topics
            ]
        )
    )


class UpdateProductTopicRequest(TopicRequest, kw_only=True):
    """Source: UpdateProductTopic reference, request parameters. Without Desc the old one stays."""

    topic_id: str


async def update_product_topic(context: ActionContext, request: UpdateProductTopicRequest) -> Answer:
    """Change a topic class. Devices that are connected feel it from their next message on.

    Raises:
        ApiError: see `_find_topic` and `_read_topic`.
        ApiError(TOPIC_ALREADY_FOUND): another class of the product is the same.
    """
    topic = _read_topic(await _find_topic(context, request.topic_id), request)
    try:
        found = await context.registry.update_topic(topic)
    except AlreadyExists:
        raise ApiError(codes.TOPIC_ALREADY_FOUND, TopicShortName=request.topic_short_name) from None
    if not found:
        raise ApiError(codes.TOPIC_TEMPLATE_IS_NOT_FOUND, TopicId=request.topic_id)
    return Answer()


class DeleteProductTopicRequest(Request):
    """Source: DeleteProductTopic reference, request parameters."""

    topic_id: str
    iot_instance_id: str = ""


async def delete_product_topic(context: ActionContext, request: DeleteProductTopicRequest) -> Answer:
    """Delete a topic class.

    Raises:
        ApiError: see `_find_topic`.
    """
    topic = await _find_topic(context, request.topic_id)
    if not await context.registry.delete_topic(topic):
        raise ApiError(codes.TOPIC_TEMPLATE_IS_NOT_FOUND, TopicId=request.topic_id)
    return Answer()


def _read_topic(topic: ProductTopic, request: TopicRequest) -> ProductTopic:
    """A class with what a request makes of it.

    Raises:
        ApiError(NULL_TOPIC_TEMPLATE_OPERATION, INVALID_TOPIC_TEMPLATE_OPERATION): Operation is empty, or unknown.
        ApiError(NULL_TOPIC_NAME, INVALID_FORMATTED_TOPIC_NAME): TopicShortName is empty, or breaks its rule.
        ApiError(InvalidDesc): Desc is too long.
    """
    if not request.operation:
        raise ApiError(codes.NULL_TOPIC_TEMPLATE_OPERATION)
    if request.operation not in TopicOperation.__members__:
        raise ApiError(codes.INVALID_TOPIC_TEMPLATE_OPERATION, Operation=request.operation)
    operation = TopicOperation(request.operation)
    short_name = request.topic_short_name
    if not short_name:
        raise ApiError(codes.NULL_TOPIC_NAME)
    whole = make_topic(topic.product_key, short_name)
    if not is_short_name(short_name, operation) or not fits_bounds(whole):
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_NAME, TopicShortName=short_name, rule=TOPIC_SHORT_NAME_RULE)
    description = topic.description if request.desc is None else request.desc
    if len(description) > DESCRIPTION_CHARS_MAX:
        raise invalid_parameter("Desc")
    return replace(topic, topic=whole, operation=operation, description=description)


async def _find_topic(context: ActionContext, topic_id: str) -> ProductTopic:
    """The caller's topic class of this id.

    Raises:
        ApiError(NULL_TOPIC_TEMPLATE_ID, INVALID_FORMATTED_TOPIC_TEMPLATE_ID): it is empty, or no number.
        ApiError(TOPIC_TEMPLATE_IS_NOT_FOUND): there is none, or it belongs to somebody else.
    """
    if not topic_id:
        raise ApiError(codes.NULL_TOPIC_TEMPLATE_ID)
    if not (topic_id.isascii() and topic_id.isdigit() and len(topic_id) < 20 and int(topic_id) <= TOPIC_ID_MAX):
        raise ApiError(codes.INVALID_FORMATTED_TOPIC_TEMPLATE_ID, TopicId=topic_id, rule="1..9223372036854775807")
    topic = await context.registry.store.find_topic(int(topic_id))
    if topic is not None:
        product = await context.registry.find_product(topic.product_key)
        if product is not None and context.scope.covers(product):
            return topic
    raise ApiError(codes.TOPIC_TEMPLATE_IS_NOT_FOUND, TopicId=topic_id)


ACTIONS = (
    Action(
        name="CreateProductTopic",
        request=CreateProductTopicRequest,
        answer=CreateProductTopicAnswer,
        function=create_product_topic,
    ),
    Action(
        name="QueryProductTopic",
        request=QueryProductTopicRequest,
        answer=QueryProductTopicAnswer,
        function=query_product_topic,
    ),
    Action(name="UpdateProductTopic", request=UpdateProductTopicRequest, answer=Answer, function=update_product_topic),
    Action(name="DeleteProductTopic", request=DeleteProductTopicRequest, answer=Answer, function=delete_product_topic),
)

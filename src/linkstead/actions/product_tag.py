"""The chapter of the reference about tags of products.

Source: `cloud-api.md` 9.2, and the references of the actions.
"""

import re
from collections import Counter

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.errors import ApiError, codes
from linkstead.registry import ProductGone, ProductTagFilter, find_product, paging
from linkstead.registry.names import TAG_VALUE_RULE, is_tag_value

TAGS_MAX = 100
"""Tags of one product. Source: CreateProductTags reference."""

TAGS_OF_A_REQUEST_MAX = 10
"""Source: CreateProductTags reference."""

PAGE_SIZE_MAX = 50
"""Source: ListProductByTags reference, row PageSize."""

TAG_KEY_RULE = "TagKey: 1-30 of A-Z a-z 0-9 ., not abc"
RULE = f"{TAG_KEY_RULE}; TagValue: {TAG_VALUE_RULE}; each TagKey once"

_TAG_KEY = re.compile(r"[A-Za-z0-9.]{1,30}")

RESERVED_KEY = "abc"
"""The platform keeps it for itself. Source: CreateProductTags reference, row TagKey."""


class ProductTag(Shape):
    """A tag, in requests and in answers."""

    tag_key: str = ""
    tag_value: str = ""


class ProductTags(Shape):
    """The list itself."""

    product_tag: list[ProductTag]


class ProductTagsRequest(Request):
    """Source: CreateProductTags and UpdateProductTags references, request parameters."""

    product_key: str
    product_tag: list[ProductTag]
    iot_instance_id: str = ""


class ProductTagsAnswer(Answer):
    """`invalid_product_tags` is sent with a failure: the tags that caused it."""

    invalid_product_tags: ProductTags | UnsetType = UNSET


async def create_product_tags(context: ActionContext, request: ProductTagsRequest) -> ProductTagsAnswer:
    """Give a product new tags, all or none.

    Tags that break a rule, stand twice in the request, or are there already, fail the call and are told.

    Raises:
        ApiError: see `find_product` and `_check_count`.
        ApiError(INVALID_FORMATTED_PARAMETER): it would have more than `TAGS_MAX`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    _check_count("ProductTag", len(request.product_tag))
    invalid = _find_invalid(request.product_tag)
    if invalid:
        return _refuse(context, invalid, RULE)
    tags = {tag.tag_key: tag.tag_value for tag in request.product_tag}
    try:
        taken = await context.registry.store.add_product_tags(product.product_key, tags, TAGS_MAX)
    except ProductGone:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product.product_key) from None
    if taken is None:
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=f"ProductTag: <= {TAGS_MAX} in all")
    if taken:
        return _refuse(context, [tag for tag in request.product_tag if tag.tag_key in taken], "a TagKey that is new")
    return ProductTagsAnswer()


async def update_product_tags(context: ActionContext, request: ProductTagsRequest) -> ProductTagsAnswer:
    """Give tags of a product other values, all or none. Those that are not there fail the call and are told.

    Raises:
        ApiError: see `find_product` and `_check_count`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    _check_count("ProductTag", len(request.product_tag))
    invalid = _find_invalid(request.product_tag)
    if invalid:
        return _refuse(context, invalid, RULE)
    tags = {tag.tag_key: tag.tag_value for tag in request.product_tag}
    missing = await context.registry.store.update_product_tags(product.product_key, tags)
    if missing:
        return _refuse(
            context, [tag for tag in request.product_tag if tag.tag_key in missing], "a TagKey that is there"
        )
    return ProductTagsAnswer()


def _check_count(parameter: str, count: int) -> None:
    """Raises ApiError(INVALID_FORMATTED_PARAMETER): there are over `TAGS_OF_A_REQUEST_MAX`."""
    if count > TAGS_OF_A_REQUEST_MAX:
        raise ApiError(
            codes.INVALID_FORMATTED_PARAMETER, rule=f"{parameter}.N: <= {TAGS_OF_A_REQUEST_MAX}, not {count}"
        )


def _find_invalid(tags: list[ProductTag]) -> list[ProductTag]:
    counts = Counter(tag.tag_key for tag in tags)
    return [
        tag
        for tag in tags
        if not _is_tag_key(tag.tag_key) or not is_tag_value(tag.tag_value) or counts[tag.tag_key] > 1
    ]


def _is_tag_key(text: str) -> bool:
    return _TAG_KEY.fullmatch(text) is not None and text != RESERVED_KEY


def _refuse(context: ActionContext, tags: list[ProductTag], rule: str) -> ProductTagsAnswer:
    # Source of the code: ours, the references name none; it has to be told together with the tags.
    error = ApiError(codes.INVALID_FORMATTED_PARAMETER, ProductTag=", ".join(tag.tag_key for tag in tags), rule=rule)
    return ProductTagsAnswer(
        success=False,
        code=error.code,
        error_message=error.message(context.behaviour.language),
        invalid_product_tags=ProductTags(product_tag=tags),
    )


class DeleteProductTagsRequest(Request):
    """Source: DeleteProductTags reference, request parameters."""

    product_key: str
    product_tag_key: list[str]
    iot_instance_id: str = ""


async def delete_product_tags(context: ActionContext, request: DeleteProductTagsRequest) -> Answer:
    """Delete tags of a product; those that are not there are passed over.

    Raises:
        ApiError: see `find_product` and `_check_count`.
        ApiError(INVALID_FORMATTED_PARAMETER): a key breaks its rule; nothing was deleted.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    _check_count("ProductTagKey", len(request.product_tag_key))
    for key in request.product_tag_key:
        if not _is_tag_key(key):
            raise ApiError(codes.INVALID_FORMATTED_PARAMETER, ProductTagKey=key, rule=TAG_KEY_RULE)
    await context.registry.store.delete_product_tags(product.product_key, request.product_tag_key)
    return Answer()


class ListProductTagsRequest(Request):
    """Source: ListProductTags reference, request parameters."""

    product_key: str
    iot_instance_id: str = ""


class ListProductTagsAnswer(Answer):
    """All tags of a product, by key."""

    data: ProductTags | UnsetType = UNSET


async def list_product_tags(context: ActionContext, request: ListProductTagsRequest) -> ListProductTagsAnswer:
    """List the tags of a product.

    Raises:
        ApiError: see `find_product`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    tags = await context.registry.store.list_product_tags(product.product_key)
    return ListProductTagsAnswer(
        data=ProductTags(product_tag=[ProductTag(tag_key=name, tag_value=value) for name, value in tags.items()])
    )


class ListProductByTagsRequest(Request):
    """Source: ListProductByTags reference. A tag without TagValue means any value."""

    product_tag: list[ProductTag]
    current_page: int = 1
    page_size: int = 10
    iot_instance_id: str = ""


class TaggedProductInfo(Shape):
    """One product. `create_time` is milliseconds."""

    product_key: str
    product_name: str
    node_type: int
    create_time: int
    description: str | UnsetType = UNSET


class TaggedProductInfos(Shape):
    """The list itself."""

    product_info: list[TaggedProductInfo]


class ListProductByTagsAnswer(Answer):
    """One page, newest first; how many there are in all is not told."""

    product_infos: TaggedProductInfos | UnsetType = UNSET


async def list_product_by_tags(context: ActionContext, request: ListProductByTagsRequest) -> ListProductByTagsAnswer:
    """List the caller's products that have one at least of the tags.

    Raises:
        ApiError: see `_check_count` and `page_offset`.
        ApiError(INVALID_FORMATTED_PARAMETER): a TagKey or a TagValue breaks its rule.
    """
    _check_count("ProductTag", len(request.product_tag))
    for tag in request.product_tag:
        if not _is_tag_key(tag.tag_key) or (tag.tag_value and not is_tag_value(tag.tag_value)):
            raise ApiError(codes.INVALID_FORMATTED_PARAMETER, ProductTag=tag.tag_key, rule=RULE)
    # A page number costs no more than there are products in an account.
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    products = await context.registry.store.list_products_by_tags(
        context.scope.account_id,
        context.scope.instance_id,
        [ProductTagFilter(tag.tag_key, tag.tag_value or None) for tag in request.product_tag],
        offset,
        request.page_size,
    )
    infos = [
        TaggedProductInfo(
            product_key=product.product_key,
            product_name=product.product_name,
            node_type=product.node_type,
            create_time=product.created_ms,
            description=product.description or UNSET,
        )
        for product in products
    ]
    return ListProductByTagsAnswer(product_infos=TaggedProductInfos(product_info=infos))


ACTIONS = (
    Action(
        name="CreateProductTags", request=ProductTagsRequest, answer=ProductTagsAnswer, function=create_product_tags
    ),
    Action(
        name="UpdateProductTags", request=ProductTagsRequest, answer=ProductTagsAnswer, function=update_product_tags
    ),
    Action(name="DeleteProductTags", request=DeleteProductTagsRequest, answer=Answer, function=delete_product_tags),
    Action(
        name="ListProductTags",
        request=ListProductTagsRequest,
        answer=ListProductTagsAnswer,
        function=list_product_tags,
    ),
    Action(
        name="ListProductByTags",
        request=ListProductByTagsRequest,
        answer=ListProductByTagsAnswer,
        function=list_product_by_tags,
    ),
)

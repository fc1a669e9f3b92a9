"""The chapter of the reference about products."""

from dataclasses import replace

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, codes
from linkstead.registry import AlreadyExists, creation, find_product, paging

PAGE_SIZE_MAX = 200
"""Products in one page. Source: QueryProductList reference, row PageSize."""

NET_TYPE_NUMBERS = {"WIFI": 3, "CELLULAR": 6, "ETHERNET": 7, "LORA": 8, "OTHER": 8}
"""Source: QueryProduct reference, field NetType; it has no number for LoRaWAN, so that counts as other."""

DEVELOPMENT_STATUS, RELEASE_STATUS = "DEVELOPMENT_STATUS", "RELEASE_STATUS"
"""Source: QueryProduct reference, field ProductStatus."""


class CreateProductRequest(Request):
    """Source: CreateProduct reference, request parameters.

    `PublishAuto` publishes the thing model that a product with one begins with, which is empty: there is no list of
    categories to take another from. What is put into the model later has to be published by PublishThingModel
    whatever it says.

    Without effect: `JoinPermissionId` and `CategoryId`; `ResourceGroupId`, as there are no resource groups. `Id2`, and
    the `AuthType` id2, are kept and shown, yet such devices authenticate with their secret.
    """

    product_name: str
    node_type: int
    aliyun_commodity_code: str = creation.WITHOUT_THING_MODEL
    data_format: int | None = None
    net_type: str = "WIFI"
    protocol_type: str = ""
    auth_type: str = "secret"
    validate_type: int = 1
    publish_auto: bool = True
    category_key: str = ""
    description: str = ""
    id2: bool = False
    join_permission_id: str = ""
    resource_group_id: str = ""
    category_id: int | None = None
    iot_instance_id: str = ""


class CreateProductData(Shape):
    """Source: CreateProduct reference, returned data."""

    product_key: str
    product_name: str
    product_secret: str
    node_type: int
    data_format: int
    aliyun_commodity_code: str
    auth_type: str
    id2: bool
    protocol_type: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class CreateProductAnswer(Answer):
    """ProductKey stands at the top and in Data."""

    product_key: str | UnsetType = UNSET
    data: CreateProductData | UnsetType = UNSET


async def create_product(context: ActionContext, request: CreateProductRequest) -> CreateProductAnswer:
    """Make a product in the caller's account and instance; its key and secret are drawn.

    With a thing model, its empty first version is published unless PublishAuto is false. Source: `cloud-api.md` 9.2.

    Raises:
        ApiError: a value breaks its rule, the name is taken, or there are `PRODUCTS_PER_ACCOUNT_MAX` already.
    """
    now_ms = milliseconds(context.clock.time_s())
    product = creation.new_product(
        context.ids,
        account_id=context.scope.account_id,
        instance_id=context.instance_id,
        product_name=request.product_name,
        node_type=request.node_type,
        created_ms=now_ms,
        aliyun_commodity_code=request.aliyun_commodity_code,
        data_format=request.data_format,
        net_type=request.net_type,
        auth_type=request.auth_type,
        protocol_type=request.protocol_type,
        validate_type=request.validate_type,
        category_key=request.category_key,
        description=request.description,
        id2=request.id2,
        dynamic_registration=context.behaviour.dynamic_registration,
    )
    product = await creation.add_product(context.registry, context.ids, product, key_given=False)
    if request.publish_auto and product.aliyun_commodity_code == creation.WITH_THING_MODEL:
        await context.models.publish_draft(product.product_key, "", "", now_ms)
    return CreateProductAnswer(
        product_key=product.product_key,
        data=CreateProductData(
            product_key=product.product_key,
            product_name=product.product_name,
            product_secret=product.product_secret,
            node_type=product.node_type,
            data_format=product.data_format,
            aliyun_commodity_code=product.aliyun_commodity_code,
            auth_type=product.auth_type,
            protocol_type=product.protocol_type or UNSET,
            description=product.description or UNSET,
            id2=product.id2,
        ),
    )


class ProductRequest(Request):
    """One product of the caller's."""

    product_key: str
    iot_instance_id: str = ""


class QueryProductData(Shape):
    """Source: QueryProduct reference, returned data. `gmt_create` is milliseconds; `net_type` a number, unlike in
    CreateProduct. `category_name` is never sent: there is no list of categories.
    """

    product_key: str
    product_name: str
    product_secret: str
    product_status: str
    node_type: int
    data_format: int
    net_type: int
    aliyun_commodity_code: str
    auth_type: str
    validate_type: int
    id2: bool
    device_count: int
    gmt_create: int
    owner: bool
    protocol_type: str | UnsetType = UNSET
    category_key: str | UnsetType = UNSET
    category_name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class QueryProductAnswer(Answer):
    """Everything about one product."""

    data: QueryProductData | UnsetType = UNSET


async def query_product(context: ActionContext, request: ProductRequest) -> QueryProductAnswer:
    """Show a product.

    Raises:
        ApiError: see `find_product`.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    return QueryProductAnswer(
        data=QueryProductData(
            product_key=product.product_key,
            product_name=product.product_name,
            product_secret=product.product_secret,
            product_status=RELEASE_STATUS if product.released else DEVELOPMENT_STATUS,
            node_type=product.node_type,
            data_format=product.data_format,
            net_type=NET_TYPE_NUMBERS[product.net_type],
            aliyun_commodity_code=product.aliyun_commodity_code,
            auth_type=product.auth_type,
            protocol_type=product.protocol_type or UNSET,
            category_key=product.category_key or UNSET,
            description=product.description or UNSET,
            device_count=await context.registry.store.count_devices(product.product_key),
            gmt_create=product.created_ms,
            id2=product.id2,
            owner=True,
            validate_type=product.validate_type,
        )
    )


class QueryProductListRequest(Request):
    """Source: QueryProductList reference. Without effect: `ResourceGroupId`, as there are no resource groups."""

    current_page: int
    page_size: int
    aliyun_commodity_code: str = ""
    resource_group_id: str = ""
    iot_instance_id: str = ""


class ProductInfo(Shape):
    """One product of a list. `gmt_create` is milliseconds."""

    product_key: str
    product_name: str
    node_type: int
    data_format: int
    auth_type: str
    device_count: int
    gmt_create: int
    description: str | UnsetType = UNSET


class ProductInfoList(Shape):
    """The list itself."""

    product_info: list[ProductInfo]


class QueryProductListData(Shape):
    """Source: QueryProductList reference, returned data."""

    current_page: int
    page_size: int
    page_count: int
    total: int
    products: ProductInfoList = msgspec.field(name="List")


class QueryProductListAnswer(Answer):
    """One page of products, newest first."""

    data: QueryProductListData | UnsetType = UNSET


async def query_product_list(context: ActionContext, request: QueryProductListRequest) -> QueryProductListAnswer:
    """List the caller's products, newest first; without AliyunCommodityCode those with and without a thing model.

    Raises:
        ApiError(INVALID_PAGE_PARAMS): see `page_offset`.
        ApiError(INVALID_ALIYUN_COMMODITY_CODE): it is none of the two.
    """
    offset = paging.page_offset(request.current_page, request.page_size, PAGE_SIZE_MAX)
    if request.aliyun_commodity_code:
        creation.check_aliyun_commodity_code(request.aliyun_commodity_code)
    store = context.registry.store
    page = await store.list_products(
        context.scope.account_id,
        context.scope.instance_id,
        request.aliyun_commodity_code or None,
        offset,
        request.page_size,
    )
    products = [
        ProductInfo(
            product_key=product.product_key,
            product_name=product.product_name,
            node_type=product.node_type,
            data_format=product.data_format,
            auth_type=product.auth_type,
            description=product.description or UNSET,
            device_count=await store.count_devices(product.product_key),
            gmt_create=product.created_ms,
        )
        for product in page.records
    ]
    return QueryProductListAnswer(
        data=QueryProductListData(
            current_page=request.current_page,
            page_size=request.page_size,
            page_count=paging.page_count(page.total, request.page_size),
            total=page.total,
            products=ProductInfoList(product_info=products),
        )
    )


class UpdateProductRequest(Request):
    """Source: UpdateProduct reference. Without Description the old one stays."""

    product_key: str
    product_name: str
    description: str = ""
    iot_instance_id: str = ""


async def update_product(context: ActionContext, request: UpdateProductRequest) -> Answer:
    """Give a product another name and description.

    Raises:
        ApiError: see `find_product`; the new values are not valid, or the name is taken.
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    creation.check_product_name(request.product_name)
    creation.check_description(request.description)
    changed = replace(
        product, product_name=request.product_name, description=request.description or product.description
    )
    try:
        found = await context.registry.update_product(changed)
    except AlreadyExists:
        raise ApiError(codes.ALREADY_EXISTED_PRODUCT_NAME, ProductName=request.product_name) from None
    if not found:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=request.product_key)
    return Answer()


async def delete_product(context: ActionContext, request: ProductRequest) -> Answer:
    """Delete a product that has no devices.

    Raises:
        ApiError: see `find_product`.
        ApiError(ILLEGAL_REQUEST): it has devices still. Source: `cloud-api.md` 9.2 (our choice).
    """
    product = await find_product(context.registry, context.scope, request.product_key)
    if await context.registry.delete_product(product.product_key):
        return Answer()
    device_count = await context.registry.store.count_devices(product.product_key)
    if device_count:
        raise ApiError(
            codes.ILLEGAL_REQUEST, ProductKey=product.product_key, DeviceCount=device_count, rule="DeviceCount == 0"
        )
    raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product.product_key)


async def release_product(context: ActionContext, request: ProductRequest) -> Answer:
    """Release a product: its thing model does not change until that is taken back. One that is released stays so.

    Source: ReleaseProduct reference.

    Raises:
        ApiError: see `find_product`.
    """
    return await _set_released(context, request, True)


async def cancel_release_product(context: ActionContext, request: ProductRequest) -> Answer:
    """Take the release of a product back: its thing model may change again. One that is not released stays so.

    Raises:
        ApiError: see `find_product`.
    """
    return await _set_released(context, request, False)


async def _set_released(context: ActionContext, request: ProductRequest, released: bool) -> Answer:
    product = await find_product(context.registry, context.scope, request.product_key)
    if not await context.registry.set_product_released(product.product_key, released):
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product.product_key)
    return Answer()


ACTIONS = (
    Action(name="CreateProduct", request=CreateProductRequest, answer=CreateProductAnswer, function=create_product),
    Action(name="QueryProduct", request=ProductRequest, answer=QueryProductAnswer, function=query_product),
    Action(
        name="QueryProductList",
        request=QueryProductListRequest,
        answer=QueryProductListAnswer,
        function=query_product_list,
    ),
    Action(name="UpdateProduct", request=UpdateProductRequest, answer=Answer, function=update_product),
    Action(name="DeleteProduct", request=ProductRequest, answer=Answer, function=delete_product),
    Action(name="ReleaseProduct", request=ProductRequest, answer=Answer, function=release_product),
    Action(name="CancelReleaseProduct", request=ProductRequest, answer=Answer, function=cancel_release_product),
)

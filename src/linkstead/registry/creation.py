"""Making new products and devices: what a value may be, what is drawn where none was given, and how both are kept.

Source of the values and defaults: CreateProduct and RegisterDevice references; `cloud-api.md` 9.1 to 9.3.
"""

from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.ids import HEX_DIGITS, LETTERS_AND_DIGITS, Ids
from linkstead.registry import names
from linkstead.registry.records import Device, Product
from linkstead.registry.registry import Registry
from linkstead.registry.store import AlreadyExists, ProductGone

PRODUCTS_PER_ACCOUNT_MAX = 1_000
"""Source: `cloud-api.md` 11."""

CATEGORY_KEY_CHARS_MAX = 64
"""Ours: the reference names no bound."""

TRIES_MAX = 5
"""How often a drawn key, id or name that is taken already is drawn in all."""

PRODUCT_KEY_HEAD = "a1"

WITH_THING_MODEL, WITHOUT_THING_MODEL = "iothub_senior", "iothub"
ALIYUN_COMMODITY_CODES = (WITH_THING_MODEL, WITHOUT_THING_MODEL)
NODE_TYPES = (0, 1)
"""Device, gateway."""

RAW_FORMAT, ALINK_FORMAT = 0, 1
DATA_FORMATS = (RAW_FORMAT, ALINK_FORMAT)
"""Raw bytes, Alink JSON."""

NET_TYPES = ("WIFI", "CELLULAR", "ETHERNET", "LORA", "OTHER")
X509 = "x509"
"""The AuthType of products whose devices show a certificate."""

AUTH_TYPES = ("secret", "id2", X509)
PROTOCOL_TYPES = ("modbus", "opc-ua", "customize", "ble", "zigbee")
VALIDATE_TYPES = (0, 1, 2)
"""Strict, weak, none. Source: `cloud-api.md` 12: the newer reference knows the last two only."""

Choice = TypeVar("Choice", int, str)


def new_product(
    ids: Ids,
    *,
    account_id: str,
    instance_id: str,
    product_name: str,
    node_type: int,
    created_ms: int,
    aliyun_commodity_code: str = WITHOUT_THING_MODEL,
    data_format: int | None = None,
    net_type: str = "WIFI",
    auth_type: str = "secret",
    protocol_type: str = "",
    validate_type: int = 1,
    category_key: str = "",
    description: str = "",
    id2: bool = False,
    dynamic_registration: bool = False,
    product_key: str = "",
    product_secret: str = "",
) -> Product:
    """Build a product's record; nothing is kept yet.

    Args:
        ids: draws the key and the secret that are not given.
        account_id: who owns it.
        instance_id: where it is to be.
        product_name: 4 to 30 wide, see `names.is_product_name`.
        node_type: one of NODE_TYPES.
        created_ms: now.
        aliyun_commodity_code: one of ALIYUN_COMMODITY_CODES.
        data_format: one of DATA_FORMATS; None: Alink JSON with a thing model, raw bytes without.
        net_type: one of NET_TYPES.
        auth_type: one of AUTH_TYPES.
        protocol_type: one of PROTOCOL_TYPES, or empty.
        validate_type: one of VALIDATE_TYPES.
        category_key: at most CATEGORY_KEY_CHARS_MAX characters.
        description: at most 100 characters.
        id2: the product is for ID² devices.
        dynamic_registration: devices may ask for their secret.
        product_key: carried over from elsewhere; empty: drawn, 11 characters.
        product_secret: carried over from elsewhere; empty: drawn, 16 characters.

    Raises:
        ApiError: a value breaks its rule; it names the parameter and the rule.
    """
    check_product_name(product_name)
    _check_choice(codes.INVALID_NODE_TYPE, "NodeType", node_type, NODE_TYPES)
    _check_choice(
        codes.INVALID_ALIYUN_COMMODITY_CODE, "AliyunCommodityCode", aliyun_commodity_code, ALIYUN_COMMODITY_CODES
    )
    if data_format is None:
        data_format = ALINK_FORMAT if aliyun_commodity_code == WITH_THING_MODEL else RAW_FORMAT
    _check_choice(codes.INVALID_FORMATTED_PARAMETER, "DataFormat", data_format, DATA_FORMATS)
    _check_choice(codes.INVALID_FORMATTED_PARAMETER, "NetType", net_type, NET_TYPES)
    _check_choice(codes.INVALID_FORMATTED_PARAMETER, "AuthType", auth_type, AUTH_TYPES)
    if protocol_type:
        _check_choice(codes.INVALID_FORMATTED_PARAMETER, "ProtocolType", protocol_type, PROTOCOL_TYPES)
    _check_choice(codes.INVALID_FORMATTED_PARAMETER, "ValidateType", validate_type, VALIDATE_TYPES)
    if len(category_key) > CATEGORY_KEY_CHARS_MAX:
        rule = f"<= {CATEGORY_KEY_CHARS_MAX}"
        raise ApiError(codes.INVALID_FORMATTED_CAT_ID, CategoryKey=category_key, rule=rule)
    check_description(description)
    if product_key and not names.is_product_key(product_key):
        raise ApiError(codes.INVALID_FORMATTED_PRODUCT_KEY, ProductKey=product_key, rule=names.PRODUCT_KEY_RULE)
    _check_secret("ProductSecret", product_secret)
    return Product(
        product_key=product_key or _draw_product_key(ids),
        account_id=account_id,
        instance_id=instance_id,
        product_name=product_name,
        product_secret=product_secret or ids.token(LETTERS_AND_DIGITS, names.PRODUCT_SECRET_CHARS),
        node_type=node_type,
        data_format=data_format,
        net_type=net_type,
        aliyun_commodity_code=aliyun_commodity_code,
        auth_type=auth_type,
        protocol_type=protocol_type,
        validate_type=validate_type,
        category_key=category_key,
        description=description,
        id2=id2,
        dynamic_registration=dynamic_registration,
        created_ms=created_ms,
    )


async def add_product(registry: Registry, ids: Ids, product: Product, *, key_given: bool) -> Product:
    """Keep a new product and return it as kept: a drawn key that is taken is drawn anew.

    Raises:
        ApiError(PRODUCT_COUNT_EXCEED_MAX): the account has `PRODUCTS_PER_ACCOUNT_MAX` already.
        ApiError(ALREADY_EXISTED_PRODUCT_NAME): the account has one of this name in the instance.
        ApiError(ILLEGAL_REQUEST): the given key is taken, by whomever.
        ApiError(CREATE_PRODUCT_FAILED): every drawn key was taken.
    """
    if await registry.store.count_products(product.account_id) >= PRODUCTS_PER_ACCOUNT_MAX:
        raise ApiError(codes.PRODUCT_COUNT_EXCEED_MAX)
    for _ in range(TRIES_MAX):
        try:
            await registry.store.add_product(product)
        except AlreadyExists as taken:
            if taken.args[0] != "product_key":
                raise ApiError(codes.ALREADY_EXISTED_PRODUCT_NAME, ProductName=product.product_name) from None
            if key_given:
                # The catalogue has no code for it: the platform draws every key itself.
                raise ApiError(codes.ILLEGAL_REQUEST, ProductKey=product.product_key, rule="unique") from None
            product = replace(product, product_key=_draw_product_key(ids))
        else:
            return product
    raise ApiError(codes.CREATE_PRODUCT_FAILED)


def new_device(
    ids: Ids,
    product: Product,
    *,
    created_ms: int,
    device_name: str = "",
    nickname: str = "",
    device_secret: str = "",
) -> Device:
    """Build a device's record; nothing is kept yet.

    Args:
        ids: draws the IotId, and the name and the secret that are not given.
        product: what it is one of; the device belongs to its account and instance.
        created_ms: now.
        device_name: 4 to 32 characters, see `names.is_device_name`; empty: drawn, 20 letters and digits.
        nickname: 4 to 64 wide, see `names.is_nickname`, or empty.
        device_secret: carried over from elsewhere; empty: drawn, 32 hexadecimal digits.

    Raises:
        ApiError: a value breaks its rule; it names the parameter and the rule.
    """
    check_device(device_name, nickname, device_secret)
    return Device(
        iot_id=_draw_iot_id(ids),
        product_key=product.product_key,
        device_name=device_name or _draw_device_name(ids),
        account_id=product.account_id,
        instance_id=product.instance_id,
        device_secret=device_secret or ids.token(HEX_DIGITS, names.DEVICE_SECRET_CHARS),
        nickname=nickname,
        enabled=True,
        created_ms=created_ms,
        modified_ms=created_ms,
        activated_ms=0,
        online_ms=0,
        status_ms=0,
        is_online=False,
        ip_address="",
        firmware_version="",
    )


async def add_device(registry: Registry, ids: Ids, device: Device, *, name_given: bool) -> Device:
    """Keep a new device and return it as kept: a drawn id or name that is taken is drawn anew.

    Raises:
        ApiError(ALREADY_EXISTED_DEVICE_NAME): the given name is taken in the product.
        ApiError(CREATE_DEVICE_FAILED): every drawn id or name was taken.
        ApiError(NOT_EXISTED_PRODUCT): the product was deleted meanwhile.
    """
    for _ in range(TRIES_MAX):
        try:
            await registry.add_devices([device])
        except ProductGone:
            raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=device.product_key) from None
        except AlreadyExists as taken:
            if taken.args[0] == "iot_id":
                device = msgspec.structs.replace(device, iot_id=_draw_iot_id(ids))
            elif name_given:
                raise ApiError(codes.ALREADY_EXISTED_DEVICE_NAME, DeviceName=device.device_name) from None
            else:
                device = msgspec.structs.replace(device, device_name=_draw_device_name(ids))
        else:
            return device
    raise ApiError(codes.CREATE_DEVICE_FAILED)


def check_device(device_name: str, nickname: str, device_secret: str) -> None:
    """Raises ApiError for a value that a new device may not have; an empty one it may."""
    if device_name and not names.is_device_name(device_name):
        raise ApiError(codes.INVALID_FORMATTED_DEVICE_NAME, DeviceName=device_name, rule=names.DEVICE_NAME_RULE)
    if nickname and not names.is_nickname(nickname):
        # The only code that speaks of nicknames; its words are those of the registration of a list.
        raise ApiError(codes.INVALID_DEVICE_NICKNAME, Nickname=nickname, rule=names.NICKNAME_RULE)
    _check_secret("DeviceSecret", device_secret)


def check_product_name(product_name: str) -> None:
    """Raises ApiError(NULL_PRODUCT_NAME, INVALID_FORMATTED_PRODUCT_NAME) for a name that a product may not have."""
    if not product_name:
        raise ApiError(codes.NULL_PRODUCT_NAME)
    if not names.is_product_name(product_name):
        raise ApiError(codes.INVALID_FORMATTED_PRODUCT_NAME, ProductName=product_name, rule=names.PRODUCT_NAME_RULE)


def check_description(description: str) -> None:
    """Raises ApiError(LONG_PRODUCT_DESC) for a description that is longer than 100 characters."""
    if len(description) > names.DESCRIPTION_CHARS_MAX:
        rule = f"<= {names.DESCRIPTION_CHARS_MAX}"
        raise ApiError(codes.LONG_PRODUCT_DESC, Description=f"{len(description)}", rule=rule)


def check_aliyun_commodity_code(code: str) -> None:
    """Raises ApiError(INVALID_ALIYUN_COMMODITY_CODE) for what is none of ALIYUN_COMMODITY_CODES."""
    _check_choice(codes.INVALID_ALIYUN_COMMODITY_CODE, "AliyunCommodityCode", code, ALIYUN_COMMODITY_CODES)


def _check_choice(row: ErrorRow, parameter: str, value: Choice, choices: tuple[Choice, ...]) -> None:
    if value not in choices:
        values: dict[str, Any] = {parameter: value}
        raise ApiError(row, rule=" | ".join(str(choice) for choice in choices), **values)


def _check_secret(parameter: str, secret: str) -> None:
    if secret and not names.is_secret(secret):
        values: dict[str, Any] = {parameter: "***"}
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, rule=names.SECRET_RULE, **values)


def _draw_product_key(ids: Ids) -> str:
    return PRODUCT_KEY_HEAD + ids.token(LETTERS_AND_DIGITS, names.PRODUCT_KEY_CHARS - len(PRODUCT_KEY_HEAD))


def _draw_iot_id(ids: Ids) -> str:
    return ids.token(LETTERS_AND_DIGITS, names.IOT_ID_RANDOM_CHARS) + names.IOT_ID_SUFFIX


def _draw_device_name(ids: Ids) -> str:
    return ids.token(LETTERS_AND_DIGITS, names.GENERATED_DEVICE_NAME_CHARS)

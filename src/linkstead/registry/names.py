"""Rules for names. Source of all: CreateProduct, RegisterDevice, UpdateProduct and CreateConsumerGroup references,
parameter tables.
"""

import re

PRODUCT_KEY_CHARS = 11
DEVICE_NAME_CHARS_MIN, DEVICE_NAME_CHARS_MAX = 4, 32
DEVICE_SECRET_CHARS = 32
PRODUCT_SECRET_CHARS = 16
NICKNAME_WIDTH_MIN, NICKNAME_WIDTH_MAX = 4, 64
RENAMED_NICKNAME_WIDTH_MAX = 32
"""Source: BatchUpdateDeviceNickname reference, row Nickname."""

PRODUCT_NAME_WIDTH_MIN, PRODUCT_NAME_WIDTH_MAX = 4, 30
CONSUMER_GROUP_NAME_WIDTH_MIN, CONSUMER_GROUP_NAME_WIDTH_MAX = 4, 30
DESCRIPTION_CHARS_MAX = 100
SECRET_CHARS_MAX = 64
TAG_VALUE_WIDTH_MAX = 128
GENERATED_DEVICE_NAME_CHARS = 20
IOT_ID_RANDOM_CHARS = 20
IOT_ID_SUFFIX = "00100"
"""IotIds of the samples are 20 random letters and digits with such a tail. Source: `cloud-api.md` 9.1."""

# What a fielded device has in flash decides: the platform's own keys have 11 characters, other lengths are let in.
_GIVEN_PRODUCT_KEY = re.compile(r"[A-Za-z0-9]{1,20}")
_DEVICE_NAME = re.compile(rf"[A-Za-z0-9\-_@.:]{{{DEVICE_NAME_CHARS_MIN},{DEVICE_NAME_CHARS_MAX}}}")
_IOT_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_GIVEN_SECRET = re.compile(rf"[\x21-\x7e]{{1,{SECRET_CHARS_MAX}}}")

PRODUCT_KEY_RULE = "1-20 of A-Z a-z 0-9"
DEVICE_NAME_RULE = f"{DEVICE_NAME_CHARS_MIN}-{DEVICE_NAME_CHARS_MAX} of A-Z a-z 0-9 - _ @ . :"
SECRET_RULE = f"1-{SECRET_CHARS_MAX} printable ASCII characters without blanks"
IOT_ID_RULE = "1-64 of A-Z a-z 0-9"
PRODUCT_NAME_RULE = f"{PRODUCT_NAME_WIDTH_MIN}-{PRODUCT_NAME_WIDTH_MAX} of letters, digits, _ - @ ( ); CJK counts 2"
CONSUMER_GROUP_NAME_RULE = (
    f"{CONSUMER_GROUP_NAME_WIDTH_MIN}-{CONSUMER_GROUP_NAME_WIDTH_MAX} of letters, digits, _; CJK counts 2"
)
TAG_VALUE_RULE = f"1-{TAG_VALUE_WIDTH_MAX} of letters, digits, _ - .; CJK counts 2"
NICKNAME_RULE = f"{NICKNAME_WIDTH_MIN}-{NICKNAME_WIDTH_MAX} of letters, digits, _; CJK counts 2"
RENAMED_NICKNAME_RULE = f"{NICKNAME_WIDTH_MIN}-{RENAMED_NICKNAME_WIDTH_MAX} of letters, digits, _; CJK counts 2"


def is_product_key(text: str) -> bool:
    """True for a well-formed ProductKey: letters and digits, 11 in the platform's own, 1 to 20 accepted."""
    return _GIVEN_PRODUCT_KEY.fullmatch(text) is not None


def is_device_name(text: str) -> bool:
    """True for a well-formed DeviceName: 4 to 32 of letters, digits and `- _ @ . :`."""
    return _DEVICE_NAME.fullmatch(text) is not None


def is_iot_id(text: str) -> bool:
    """True for a text that can be an IotId."""
    return _IOT_ID.fullmatch(text) is not None


def is_secret(text: str) -> bool:
    """True for a DeviceSecret or ProductSecret that may be carried over from elsewhere."""
    return _GIVEN_SECRET.fullmatch(text) is not None


def is_product_name(text: str) -> bool:
    """True for a well-formed ProductName: 4 to 30 wide, a CJK character counting 2."""
    return PRODUCT_NAME_WIDTH_MIN <= _width(text) <= PRODUCT_NAME_WIDTH_MAX and _is_wordlike(text, "_-@()")


def is_nickname(text: str, width_max: int = NICKNAME_WIDTH_MAX) -> bool:
    """True for a well-formed Nickname: 4 to 64 (or `width_max`) wide, a CJK character counting 2."""
    return NICKNAME_WIDTH_MIN <= _width(text) <= width_max and _is_wordlike(text, "_")


def is_consumer_group_name(text: str) -> bool:
    """True for a well-formed name of a consumer group: 4 to 30 wide, a CJK character counting 2."""
    is_wide_enough = CONSUMER_GROUP_NAME_WIDTH_MIN <= _width(text) <= CONSUMER_GROUP_NAME_WIDTH_MAX
    return is_wide_enough and _is_wordlike(text, "_")


def is_tag_value(text: str) -> bool:
    """True for a well-formed value of a product's tag: 1 to 128 wide, a CJK character counting 2.

    Source: CreateProductTags reference, row TagValue, in both of its versions.
    """
    return 1 <= _width(text) <= TAG_VALUE_WIDTH_MAX and _is_wordlike(text, "_-.")


def _width(text: str) -> int:
    return sum(2 if ord(char) >= 0x2E80 else 1 for char in text)


def _is_wordlike(text: str, others: str) -> bool:
    return all(char.isalnum() or char in others for char in text)

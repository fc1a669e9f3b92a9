"""How long names may be and how many of each thing a model may hold.

Source of all: the vendor's pages on thing-model limits as gathered in `thing-model.md` 3; where an older and a newer
number exist, the newer and larger one stands here.
"""

import re

# names
IDENTIFIER_CHARS_MAX = 50
NAME_CHARS_MAX = 30
DESCRIPTION_CHARS_MAX = 100
MODULE_ID_CHARS_MAX = 30
MODULE_NAME_CHARS_MIN, MODULE_NAME_CHARS_MAX = 4, 30
LABEL_CHARS_MAX = 20
VERSION_CHARS_MAX = 16

RESERVED_IDENTIFIERS = frozenset({"set", "get", "post", "property", "event", "time", "value"})
DEFAULT_MODULE = "default"
"""Says "the default module" in front of a colon; no custom module may have this id."""

# counts
MODULES_MAX = 20
"""Of one product, the default module among them. A newer page also states 200."""
FEATURES_MAX = 300
"""Properties, events and services of one module together, generated entries not counted."""
FEATURES_PER_CALL_MAX = 10
"""Source: CreateThingModel reference."""
SERVICE_INPUTS_MAX = SERVICE_OUTPUTS_MAX = EVENT_OUTPUTS_MAX = 100
ENUM_ITEMS_MAX = 100
STRUCT_MEMBERS_MAX = 50
ARRAY_SIZE_MAX = 512
POST_PROPERTIES_MAX = 200

# sizes
TEXT_LENGTH_BYTES_MAX = 10_240
TSL_BYTES_MAX = 256 * 1024
MODULE_TSL_BYTES_MAX = 512 * 1024
DEPTH_MAX = 32
"""Objects and lists inside each other, ours: a model needs 11 for what we know, the arguments of a service 3."""
STORED_DEPTH_MAX = 2 * DEPTH_MAX
"""A model that was let in is written deeper than it came: what is generated holds it once more."""

# numbers
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
FLOAT_MAX = 3.4028234663852886e38
DOUBLE_MAX = 1.7976931348623157e308
DATE_MS_MAX = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z"""
TIME_AHEAD_MS_MAX = 24 * 3_600_000
"""How far ahead of the server's clock the `time` of posted data may be. Source: device data reference."""

IDENTIFIER_RULE = f"1-{IDENTIFIER_CHARS_MAX} of A-Z a-z 0-9 _"
RESERVED_RULE = f"none of {', '.join(sorted(RESERVED_IDENTIFIERS))}"
NAME_RULE = f"1-{NAME_CHARS_MAX} of letters, digits, - _ / . and blank, the first a letter or digit"
DESCRIPTION_RULE = f"at most {DESCRIPTION_CHARS_MAX} characters"
MODULE_ID_RULE = f"1-{MODULE_ID_CHARS_MAX} of A-Z a-z 0-9 _, not {DEFAULT_MODULE}"
MODULE_NAME_RULE = f"{MODULE_NAME_CHARS_MIN}-{MODULE_NAME_CHARS_MAX} characters; {NAME_RULE}"
VERSION_RULE = f"1-{VERSION_CHARS_MAX} of A-Z a-z 0-9 ."

_IDENTIFIER = re.compile(rf"[A-Za-z0-9_]{{1,{IDENTIFIER_CHARS_MAX}}}")
_MODULE_ID = re.compile(rf"[A-Za-z0-9_]{{1,{MODULE_ID_CHARS_MAX}}}")
_VERSION = re.compile(rf"[A-Za-z0-9.]{{1,{VERSION_CHARS_MAX}}}")
# The page lists no blank, yet the platform's own sample models are full of names such as "Power switch".
_NAME_SIGNS = "-_/. "


def is_identifier(text: str) -> bool:
    """True for a well-formed identifier of a feature, parameter or struct member. Case matters."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """True for a well-formed name: letters of any script, Chinese characters and kana among them."""
    return (
        0 < len(text) <= NAME_CHARS_MAX
        and text[0].isalnum()
        and all(char.isalnum() or char in _NAME_SIGNS for char in text)
    )


def is_module_id(text: str) -> bool:
    """True for an id that a custom module may have."""
    return _MODULE_ID.fullmatch(text) is not None and text != DEFAULT_MODULE


def is_module_name(text: str) -> bool:
    """True for a name that a custom module may have."""
    return len(text) >= MODULE_NAME_CHARS_MIN and is_name(text)


def is_version(text: str) -> bool:
    """True for a `ModelVersion`. Source: PublishThingModel reference."""
    return _VERSION.fullmatch(text) is not None

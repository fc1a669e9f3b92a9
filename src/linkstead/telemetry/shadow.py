"""Shadows: what a device last said of itself and what an app wants of it, in one document with one version.

Source: `device-protocol.md` 3.5; UpdateDeviceShadow reference; device documentation, JSON format of shadows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import msgspec

from linkstead.tsl.limits import DEPTH_MAX
from linkstead.tsl.literal import JsonValue, is_deeper, write_literal

SHADOW_BYTES_MAX = 16 * 1024
"""Of a message, and of the state in a shadow. Source: error-code table, ShadowMessageLengthIsLarge."""

ATTRIBUTES_MAX = 128
"""Attributes in each part of a shadow. Source: error-code table, TooManyElementInReport."""

VERSION_MAX = 2**63 - 1

RESET_VERSION = -1
"""In a message: the shadow counts from 0 again. Source: `device-protocol.md` 3.5."""

ANY_VERSION = 0
"""In an app's message: no version is asked for. Source: UpdateDeviceShadow reference, row ShadowMessage."""

NULL = "null"
"""The text that devices write for nothing."""


class ShadowFault(Enum):
    """What is wrong with a message; devices and apps are told in codes of their own."""

    EMPTY = "the message is empty"
    TOO_LARGE = f"message and shadow have at most {SHADOW_BYTES_MAX} bytes"
    NOT_JSON = "the message must be a JSON object"
    NO_METHOD = "method is missing"
    UNKNOWN_METHOD = "method is unknown"
    NO_STATE = "state must be an object"
    NO_VERSION = "version is missing"
    MALFORMED_VERSION = f"version must be a whole number, {RESET_VERSION} or more"
    CONFLICT = "version must be greater than that of the shadow"
    NO_PART = "state lacks the part that the method is about"
    NULL_PART = "the part must not be null"
    MALFORMED_PART = "the part must be an object"
    NO_ATTRIBUTE = "the part must have at least one attribute"
    NULL_ATTRIBUTE = "an attribute must have a name and a value"
    TOO_MANY_ATTRIBUTES = f"a part has at most {ATTRIBUTES_MAX} attributes"


class ShadowError(Exception):
    """A message cannot be taken; nothing was changed."""

    def __init__(self, fault: ShadowFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Part:
    """One side of a shadow. `times_s` has for each attribute when it was written, in seconds."""

    values: Mapping[str, JsonValue]
    times_s: Mapping[str, int]


NOTHING = Part({}, {})


@dataclass(frozen=True, slots=True)
class Shadow:
    """The shadow of a device as it is now; `time_s` is when it was written last."""

    version: int = 0
    time_s: int = 0
    desired: Part = NOTHING
    reported: Part = NOTHING

    def describe(self) -> dict[str, object]:
        """`state` and `metadata` as devices and apps get them; a part without attributes is left out."""
        parts = {name: part for name, part in (("desired", self.desired), ("reported", self.reported)) if part.values}
        return {
            "state": {name: part.values for name, part in parts.items()},
            "metadata": {
                name: {attribute: {"timestamp": time_s} for attribute, time_s in part.times_s.items()}
                for name, part in parts.items()
            },
        }

    def take_version(self, version: int, time_s: int) -> "Shadow":
        """The shadow with the version of a message. Raises ShadowError(CONFLICT)."""
        if version == RESET_VERSION:
            return replace(self, version=0, time_s=time_s)
        if version <= self.version and self.time_s:
            raise ShadowError(ShadowFault.CONFLICT)
        return replace(self, version=version, time_s=time_s)

    def report(self, attributes: Mapping[str, JsonValue]) -> "Shadow":
        """The shadow with what the device says of itself; attributes it does not speak of stay. Raises ShadowError."""
        return _check_size(replace(self, reported=_merge(self.reported, attributes, self.time_s)))

    def forget_reported(self, names: Mapping[str, JsonValue] | None) -> "Shadow":
        """The shadow without these attributes of what the device said of itself, or without all of them."""
        if names is None:
            return replace(self, reported=NOTHING)
        values = {name: value for name, value in self.reported.values.items() if name not in names}
        return replace(self, reported=Part(values, {name: self.reported.times_s[name] for name in values}))

    def desire(self, attributes: Mapping[str, JsonValue], *, is_delta: bool) -> "Shadow":
        """The shadow with what an app wants, in addition to what was wanted before or in its place.

        Raises ShadowError.
        """
        before = self.desired if is_delta else NOTHING
        return _check_size(replace(self, desired=_merge(before, attributes, self.time_s)))

    def forget_desired(self) -> "Shadow":
        """The shadow with nothing wanted."""
        return replace(self, desired=NOTHING)


def _merge(part: Part, attributes: Mapping[str, JsonValue], time_s: int) -> Part:
    values = {**part.values, **attributes}
    if len(values) > ATTRIBUTES_MAX:
        raise ShadowError(ShadowFault.TOO_MANY_ATTRIBUTES)
    return Part(values, {**part.times_s, **dict.fromkeys(attributes, time_s)})


def _check_size(shadow: Shadow) -> Shadow:
    if len(msgspec.json.encode([shadow.desired.values, shadow.reported.values])) > SHADOW_BYTES_MAX:
        raise ShadowError(ShadowFault.TOO_LARGE)
    return shadow


def write_shadow(shadow: Shadow) -> str:
    """The document of a shadow, as apps get it."""
    return write_literal({**shadow.describe(), "timestamp": shadow.time_s, "version": shadow.version})


_decoder = msgspec.json.Decoder(float_hook=msgspec.Raw)


def read_shadow(text: str) -> Shadow:
    """The shadow of a document that `write_shadow` wrote."""
    document = _decoder.decode(text)

    def read_part(name: str) -> Part:
        times = document["metadata"].get(name, {})
        return Part(document["state"].get(name, {}), {attribute: times[attribute]["timestamp"] for attribute in times})

    return Shadow(document["version"], document["timestamp"], read_part("desired"), read_part("reported"))


@dataclass(frozen=True, slots=True)
class ShadowMessage:
    """A message about a shadow, with its members as they came."""

    members: Mapping[str, JsonValue]

    @property
    def method(self) -> JsonValue:
        """What is asked. Raises ShadowError(NO_METHOD)."""
        if self.members.get("method") is None:
            raise ShadowError(ShadowFault.NO_METHOD)
        return self.members["method"]

    @property
    def version(self) -> int:
        """The version it brings, or `RESET_VERSION`. Raises ShadowError(NO_VERSION, MALFORMED_VERSION)."""
        version = self.members.get("version")
        if version is None:
            raise ShadowError(ShadowFault.NO_VERSION)
        if not isinstance(version, int) or isinstance(version, bool) or not RESET_VERSION <= version <= VERSION_MAX:
            raise ShadowError(ShadowFault.MALFORMED_VERSION)
        return version

    @property
    def state(self) -> Mapping[str, JsonValue]:
        """Its parts. Raises ShadowError(NO_STATE)."""
        state = self.members.get("state")
        if not isinstance(state, dict):
            raise ShadowError(ShadowFault.NO_STATE)
        return state

    def read_attributes(self, part: str) -> Mapping[str, JsonValue]:
        """The attributes of a part, at least one and at most `ATTRIBUTES_MAX`. Raises ShadowError."""
        if part not in self.state:
            raise ShadowError(ShadowFault.NO_PART)
        attributes = self.state[part]
        if attributes is None:
            raise ShadowError(ShadowFault.NULL_PART)
        if not isinstance(attributes, dict):
            raise ShadowError(ShadowFault.MALFORMED_PART)
        if not attributes:
            raise ShadowError(ShadowFault.NO_ATTRIBUTE)
        if len(attributes) > ATTRIBUTES_MAX:
            raise ShadowError(ShadowFault.TOO_MANY_ATTRIBUTES)
        if any(not name or value is None for name, value in attributes.items()):
            raise ShadowError(ShadowFault.NULL_ATTRIBUTE)
        return attributes


def read_message(payload: bytes) -> ShadowMessage:
    """Read a message. Numbers with a fraction or an exponent are kept as they were written.

    Raises:
        ShadowError(EMPTY, TOO_LARGE, NOT_JSON): there is nothing, too much, or no JSON object of DEPTH_MAX at most.
    """
    if not payload.strip():
        raise ShadowError(ShadowFault.EMPTY)
    if len(payload) > SHADOW_BYTES_MAX:
        raise ShadowError(ShadowFault.TOO_LARGE)
    try:
        members = _decoder.decode(payload)
    except (ValueError, RecursionError):
        raise ShadowError(ShadowFault.NOT_JSON) from None
    if not isinstance(members, dict) or is_deeper(members, DEPTH_MAX):
        raise ShadowError(ShadowFault.NOT_JSON)
    if not members:
        raise ShadowError(ShadowFault.EMPTY)
    return ShadowMessage(members)

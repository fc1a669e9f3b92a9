"""JSON as callers write it in `Args` and `Items`, read leniently and written strictly.

Programs made for the platform send `{'minWarningTemp':10}`, so beside JSON these are read: strings and keys in single
quotes, keys without quotes, a comma after the last member or element. Anything else is an error.

A number with a fraction or an exponent becomes a `msgspec.Raw` that holds its text, so that `10.0` goes on as `10.0`
and rounds nowhere; a whole number becomes an int.

Source: `cloud-api.md` 0.9 and 6.3, `thing-model.md` 2.2.
"""

import re
from typing import NoReturn, TypeAlias

import msgspec

from linkstead.tsl.limits import DEPTH_MAX

LITERAL_BYTES_MAX = 256 * 1024
"""Nothing larger could be sent to a device. Source: `cloud-api.md` 11, message size."""
JsonValue: TypeAlias = "bool | int | str | msgspec.Raw | list[JsonValue] | dict[str, JsonValue] | None"


class LiteralError(ValueError):
    """A text cannot be read.

    Attributes:
        offset: the character where it went wrong, counted from 0.
        rule: what was expected there.
    """

    def __init__(self, offset: int, rule: str) -> None:
        super().__init__(f"at character {offset}: {rule}")
        self.offset = offset
        self.rule = rule


_strict = msgspec.json.Decoder(float_hook=msgspec.Raw)
_encode = msgspec.json.Encoder().encode


def read_literal(text: str) -> JsonValue:
    """Read any value.

    Raises:
        LiteralError: the text is over LITERAL_BYTES_MAX bytes in UTF-8, nested deeper than DEPTH_MAX, or neither
            JSON nor what is let pass beside it.
    """
    _check_size(text)
    try:
        value: JsonValue = _strict.decode(text)
    except (ValueError, RecursionError):
        return _Reader(text).read()
    # Only a text with that many brackets can be that deep.
    if text.count("[") + text.count("{") > DEPTH_MAX and is_deeper(value, DEPTH_MAX):
        raise LiteralError(0, _DEPTH_RULE)
    return value


def read_literal_object(text: str) -> dict[str, JsonValue]:
    """Read an object, as `Args` and `Items` have to be.

    Raises:
        LiteralError: as `read_literal`, or the value is not an object.
    """
    if len(text) <= LITERAL_BYTES_MAX and text.isascii():
        # The usual case, in one go.
        try:
            value = _strict.decode(text)
        except (ValueError, RecursionError):
            pass
        else:
            if type(value) is dict and text.count("[") + text.count("{") <= DEPTH_MAX:
                return value
    value = read_literal(text)
    if not isinstance(value, dict):
        raise LiteralError(0, "must be an object")
    return value


def read_payload_object(payload: bytes) -> dict[str, JsonValue]:
    """Read an object from what a device sent, in UTF-8.

    Raises:
        LiteralError: as `read_literal_object`, or the bytes are not UTF-8.
    """
    if len(payload) <= LITERAL_BYTES_MAX:
        try:
            value = _strict.decode(payload)
        except (ValueError, RecursionError):
            pass
        else:
            if type(value) is dict and payload.count(b"[") + payload.count(b"{") <= DEPTH_MAX:
                return value
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise LiteralError(error.start, "must be UTF-8") from None
    return read_literal_object(text)


def write_literal(value: object) -> str:
    """Write a value as strict JSON: members in their order, each number as it was written."""
    return _encode(value).decode()


def is_deeper(value: object, depth_max: int) -> bool:
    """True when more than `depth_max` objects and lists stand inside each other."""
    level = [value]
    for _ in range(depth_max):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return any(isinstance(child, (dict, list)) for child in level)


def _check_size(text: str) -> None:
    try:
        size_bytes = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise LiteralError(error.start, _SURROGATE_RULE) from None
    if size_bytes > LITERAL_BYTES_MAX:
        raise LiteralError(0, f"must have at most {LITERAL_BYTES_MAX} bytes, not {size_bytes}")


_DEPTH_RULE = f"must be at most {DEPTH_MAX} objects and lists deep"
_SURROGATE_RULE = "must not hold half of a surrogate pair"

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_$]+")
_CHUNK = {'"': re.compile(r'[^"\\\x00-\x1f]*'), "'": re.compile(r"[^'\\\x00-\x1f]*")}
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, JsonValue] = {"true": True, "false": False, "null": None}


class _Reader:
    """Reads one text from its front; `offset` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offset = 0

    def read(self) -> JsonValue:
        value = self._read_value(1)
        if self._peek():
            self._fail("must end here")
        return value

    def _fail(self, rule: str) -> NoReturn:
        raise LiteralError(self._offset, rule)

    def _peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        match = _SPACE.match(self._text, self._offset)
        assert match is not None
        self._offset = match.end()
        return self._text[self._offset : self._offset + 1]

    def _read_value(self, depth: int) -> JsonValue:
        sign = self._peek()
        if sign in ("{", "["):
            if depth > DEPTH_MAX:
                self._fail(_DEPTH_RULE)
            self._offset += 1
            return self._read_object(depth) if sign == "{" else self._read_list(depth)
        if sign in _CHUNK:
            return self._read_string(sign)
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._offset):
                self._offset += len(word)
                return value
        return self._read_number()

    def _read_object(self, depth: int) -> JsonValue:
        members: dict[str, JsonValue] = {}
        while (sign := self._peek()) != "}":
            key = self._read_key(sign)
            if self._peek() != ":":
                self._fail("must be a colon")
            self._offset += 1
            members[key] = self._read_value(depth + 1)
            self._read_comma("}")
        self._offset += 1
        return members

    def _read_list(self, depth: int) -> JsonValue:
        elements: list[JsonValue] = []
        while self._peek() != "]":
            elements.append(self._read_value(depth + 1))
            self._read_comma("]")
        self._offset += 1
        return elements

    def _read_comma(self, end: str) -> None:
        sign = self._peek()
        if sign == ",":
            self._offset += 1
        elif sign != end:
            self._fail(f"must be a comma or {end}")

    def _read_key(self, sign: str) -> str:
        if sign in _CHUNK:
            return self._read_string(sign)
        match = _BARE_KEY.match(self._text, self._offset)
        if match is None:
            self._fail("must be a key or }")
        self._offset = match.end()
        return match.group()

    def _read_string(self, quote: str) -> str:
        self._offset += 1
        chunks: list[str] = []
        while True:
            match = _CHUNK[quote].match(self._text, self._offset)
            assert match is not None
            chunks.append(match.group())
            self._offset = match.end()
            sign = self._text[self._offset : self._offset + 1]
            if sign == quote:
                self._offset += 1
                return "".join(chunks)
            if sign != "\\":
                self._fail(f"must be {quote}; control characters are written as escapes")
            chunks.append(self._read_escape())

    def _read_escape(self) -> str:
        letter = self._text[self._offset + 1 : self._offset + 2]
        if letter in _ESCAPES:
            self._offset += 2
            return _ESCAPES[letter]
        unit = self._read_unit()
        if 0xD800 <= unit < 0xDC00 and self._text.startswith("\\u", self._offset):
            low = self._read_unit()
            if not 0xDC00 <= low < 0xE000:
                self._fail(_SURROGATE_RULE)
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit < 0xE000:
            self._fail(_SURROGATE_RULE)
        return chr(unit)

    def _read_unit(self) -> int:
        """Sixteen bits written as `\\uXXXX`."""
        match = _HEX.match(self._text, self._offset + 2)
        if match is None or self._text[self._offset + 1] != "u":
            self._fail("must be an escape of JSON")
        self._offset = match.end()
        return int(match.group(), 16)

    def _read_number(self) -> JsonValue:
        match = _NUMBER.match(self._text, self._offset)
        if match is None:
            self._fail("must be a value")
        if match.group(1):
            number: JsonValue = msgspec.Raw(match.group())
        else:
            try:
                number = int(match.group())
            except ValueError:
                self._fail("must have fewer digits")
        self._offset = match.end()
        return number

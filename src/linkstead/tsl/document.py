"""A value inside a JSON document that knows its path, so that each fault can name its place."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from linkstead.tsl.limits import DEPTH_MAX
from linkstead.tsl.literal import is_deeper, write_literal

# Codes of a model that cannot be used. Source: `device-protocol.md` 5.7.
UNSUPPORTED_TYPE = 6314
FAULTY_MODEL = 6317
MALFORMED_SPECS = 6323
UNSUPPORTED_ELEMENT = 6325
MALFORMED_ARRAY = 6329

SHOWN_CHARS_MAX = 80


class ModelError(ValueError):
    """A thing model breaks a rule.

    Attributes:
        path: where in the document, `services[2].inputData[0].dataType.specs.max`; "" is the document itself.
        rule: what stands there in a good model.
        code: the number for logs.
    """

    def __init__(self, path: str, rule: str, code: int = FAULTY_MODEL) -> None:
        super().__init__(f"{path or 'the document'}: {rule}")
        self.path = path
        self.rule = rule
        self.code = code


class DuplicateError(ModelError):
    """Two features of a kind, two parameters or two modules have the same identifier."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. Each reader raises `ModelError` when the value is not what it reads."""

    value: Any
    path: str = ""

    def fault(self, rule: str, code: int = FAULTY_MODEL) -> ModelError:
        """The error to raise for this value."""
        return ModelError(self.path, f"{rule}, not {show(self.value)}", code)

    def read_object(self, code: int = FAULTY_MODEL) -> dict[str, Any]:
        """The value as an object."""
        if not isinstance(self.value, dict):
            raise self.fault("must be an object", code)
        return self.value

    def read_list(self, code: int = FAULTY_MODEL) -> "list[Node]":
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self.fault("must be a list", code)
        return [Node(value, f"{self.path}[{position}]") for position, value in enumerate(self.value)]

    def read_text(self, code: int = FAULTY_MODEL) -> str:
        """The value as a string."""
        if not isinstance(self.value, str):
            raise self.fault("must be a string", code)
        return self.value

    def read_bool(self) -> bool:
        """The value as true or false."""
        if not isinstance(self.value, bool):
            raise self.fault("must be true or false")
        return self.value

    def read_word(self, words: Collection[str], code: int = FAULTY_MODEL) -> str:
        """The value as one of some words."""
        if not isinstance(self.value, str) or self.value not in words:
            raise self.fault(f"must be one of {', '.join(words)}", code)
        return self.value

    def find(self, key: str) -> "Node | None":
        """A member of this object; None when it is absent or null."""
        value = self.read_object().get(key)
        return None if value is None else self.child(key, value)

    def need(self, key: str, code: int = FAULTY_MODEL) -> "Node":
        """A member of this object that has to be there."""
        value = self.read_object(code).get(key)
        if value is None:
            raise ModelError(self.child(key, None).path, "is missing", code)
        return self.child(key, value)

    def child(self, key: str, value: object) -> "Node":
        """A value that stands under a key of this one."""
        return Node(value, f"{self.path}.{key}" if self.path else key)

    def others(self, known: Iterable[str]) -> dict[str, Any]:
        """The members of this object that nothing here reads, to be written back as they are."""
        rest = dict(self.read_object())
        for key in known:
            rest.pop(key, None)
        return rest


def read_document(text: str | bytes, size_bytes_max: int | None, depth_max: int = DEPTH_MAX) -> Node:
    """Parse a JSON document.

    Raises:
        ModelError: the text is over `size_bytes_max` bytes, not JSON, or nested deeper than `depth_max`.
    """
    depth_rule = f"must be at most {depth_max} objects and lists deep"
    try:
        data = text.encode() if isinstance(text, str) else text
        if size_bytes_max is not None and len(data) > size_bytes_max:
            raise ModelError("", f"must have at most {size_bytes_max} bytes, not {len(data)}")
        value = msgspec.json.decode(data)
    except RecursionError:
        raise ModelError("", depth_rule) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ModelError("", f"must be JSON: {error}") from None
    if is_deeper(value, depth_max):
        raise ModelError("", depth_rule)
    return Node(value)


def show(value: object) -> str:
    """A value as JSON, shortened, for a message."""
    return shorten(write_literal(value))


def shorten(text: str) -> str:
    """A text of at most SHOWN_CHARS_MAX characters."""
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"

"""Service calls and their replies as Alink messages.

Source: `device-protocol.md` 4.4, 5.4, 5.5 and 5.8.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from linkstead.tsl.literal import JsonValue, LiteralError, read_payload_object, write_literal

CODE_SUCCESS = 200
CODE_MAX = 2**31 - 1
ID_DIGITS_MAX = 10
_CODE = re.compile(r"-?[0-9]{1,10}")

REPLIES_KEPT_MAX = 256
REPLY_KEPT_BYTES_MAX = 4_096
"""Replies of late that need not be read again: each is judged when it comes, and read when its call goes on."""


class ReplyError(ValueError):
    """A device's reply is not an Alink reply; the text says why. `alink_id` is the one it names all the same, or 0."""

    def __init__(self, text: str, alink_id: int = 0) -> None:
        super().__init__(text)
        self.alink_id = alink_id


class Reply:
    """A device's reply to a service call: `members` as sent, numbers as they were written. Never changed."""

    __slots__ = ("code", "data", "members")

    def __init__(self, code: int, data: JsonValue, members: dict[str, JsonValue]) -> None:
        self.code = code
        self.data = data
        self.members = members

    @property
    def alink_id(self) -> int:
        """The id it names, given as digits or as a number; 0, which no call has, where it is neither."""
        return _read_id(self.members)

    @property
    def message(self) -> str:
        """What the device says about it, empty when it says nothing."""
        message = self.members.get("message")
        return message if isinstance(message, str) else ""


def _read_id(members: Mapping[str, JsonValue]) -> int:
    given = members.get("id")
    if type(given) is str:
        return int(given) if len(given) <= ID_DIGITS_MAX and given.isdigit() and given.isascii() else 0
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= CODE_MAX else 0


_encode = msgspec.json.Encoder().encode


METHOD_KEPT_CHARS_MAX = 128
METHODS_KEPT_MAX = 256
"""Methods that are kept as they are written, and how long they may be."""


def make_request(alink_id: int, method: str, params: Mapping[str, object]) -> bytes:
    """The message to the device; `params` keep the caller's order and numbers."""
    middle = _write_lately(method) if len(method) <= METHOD_KEPT_CHARS_MAX else _write_middle(method)
    return b'{"id":"' + str(alink_id).encode() + middle + _encode(params) + b"}"


def _write_middle(method: str) -> bytes:
    """What stands between the id and the parameters."""
    return b'","version":"1.0","method":' + _encode(method) + b',"params":'


_write_lately = lru_cache(maxsize=METHODS_KEPT_MAX)(_write_middle)


def parse_reply(payload: bytes) -> Reply:
    """Read a reply: a JSON object with `code`, a whole number or its digits as text. Nothing else is insisted on.

    Raises:
        ReplyError: it is something else.
    """
    return _parse_lately(payload) if len(payload) <= REPLY_KEPT_BYTES_MAX else parse_reply_once(payload)


def parse_reply_once(payload: bytes) -> Reply:
    """`parse_reply` of one that nobody else will read."""
    try:
        members = read_payload_object(payload)
    except LiteralError as error:
        raise ReplyError(f"the reply is not a JSON object: {error}") from None
    code = members.get("code")
    if type(code) is str and _CODE.fullmatch(code):
        code = int(code)
    if type(code) is not int or not -CODE_MAX <= code <= CODE_MAX:
        text = f"the reply has no code that is a whole number from {-CODE_MAX} to {CODE_MAX}"
        raise ReplyError(text, _read_id(members))
    data = members.get("data")
    return Reply(code, {} if data is None else data, members)


_parse_lately = lru_cache(maxsize=REPLIES_KEPT_MAX)(parse_reply_once)


def is_reply(payload: bytes) -> bool:
    """True when `parse_reply` can read it."""
    try:
        parse_reply(payload)
    except ReplyError:
        return False
    return True


def read_alink_id(payload: bytes) -> int:
    """The id that a reply names, see `Reply.alink_id`; 0 for what is no reply."""
    try:
        return parse_reply(payload).alink_id
    except ReplyError:
        return 0


def make_envelope(reply: Reply, alink_id: int) -> str:
    """The whole reply as JSON text, with what the device left out filled in and `id` as text."""
    members = reply.members
    reply_id = members.get("id")
    if type(reply_id) is not str:
        reply_id = str(reply_id if type(reply_id) is int else alink_id)
    whole: dict[str, JsonValue] = {
        "code": reply.code,
        "data": reply.data,
        "id": reply_id,
        "message": members.get("message", "success"),
        "version": members.get("version", "1.0"),
    }
    for name, value in members.items():
        if name not in whole:
            whole[name] = value
    return write_literal(whole)


def make_data(reply: Reply) -> str:
    """The reply's `data` alone, as JSON text."""
    return write_literal(reply.data)

"""Service calls and their replies as Alink messages.

Source: `device-protocol.md` 4.4, 5.4, 5.5 and 5.8.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from linkstead.tsl.literal import JsonValue, LiteralError, read_payload_object, write_literal

CODE_SUCCESS = 200
CODE_MAX = 2**31 - 1
_ID = re.compile(r"[0-9]{1,10}")
_CODE = re.compile(r"-?[0-9]{1,10}")

REPLIES_KEPT_MAX = 256
REPLY_KEPT_BYTES_MAX = 4_096
"""Replies of late that need not be read again: each is judged when it comes, and read when its call goes on."""


class ReplyError(ValueError):
    """A device's reply is not an Alink reply; the text says why. `alink_id` is the one it names all the same, or 0."""

    def __init__(self, text: str, alink_id: int = 0) -> None:
        super().__init__(text)
        self.alink_id = alink_id


class Reply(NamedTuple):
    """A device's reply to a service call: `members` as sent, numbers as they were written. Never changed."""

    code: int
    data: JsonValue
    members: Mapping[str, JsonValue]

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
    if isinstance(given, str) and _ID.fullmatch(given):
        return int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= CODE_MAX else 0


_encode = msgspec.json.Encoder().encode


def make_request(alink_id: int, method: str, params: Mapping[str, object]) -> bytes:
    """The message to the device; `params` keep the caller's order and numbers."""
    return _encode({"id": str(alink_id), "version": "1.0", "method": method, "params": params})


def parse_reply(payload: bytes) -> Reply:
    """Read a reply: a JSON object with `code`, a whole number or its digits as text. Nothing else is insisted on.

    Raises:
        ReplyError: it is something else.
    """
    return _parse_lately(payload) if len(payload) <= REPLY_KEPT_BYTES_MAX else _parse(payload)


def _parse(payload: bytes) -> Reply:
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


_parse_lately = lru_cache(maxsize=REPLIES_KEPT_MAX)(_parse)


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
    given_id = reply.members.get("id")
    reply_id = str(given_id) if isinstance(given_id, str | int) and not isinstance(given_id, bool) else str(alink_id)
    own = {"code": reply.code, "data": reply.data, "id": reply_id}
    message = reply.members.get("message", "success")
    version = reply.members.get("version", "1.0")
    others = {name: value for name, value in reply.members.items() if name not in own}
    return write_literal({**own, "message": message, "version": version, **others})


def make_data(reply: Reply) -> str:
    """The reply's `data` alone, as JSON text."""
    return write_literal(reply.data)

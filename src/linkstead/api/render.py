"""Answers and errors as the bytes of an HTTP body, JSON or XML."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from linkstead.action import Answer

JSON_TYPE: Final = "application/json;charset=utf-8"
XML_TYPE: Final = "text/xml;charset=utf-8"
"""Exactly this text: the current SDK reads an XML error with this type only. Source: `cloud-api.md` 3.1."""

_DECLARATION: Final = "<?xml version='1.0' encoding='UTF-8'?>"
# what XML 1.0 [2] does not allow, escaped or not
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_encoder: Final = msgspec.json.Encoder()


def render_json(answer: Answer) -> bytes:
    """One JSON object; fields that are UNSET or None are left out. Source: `cloud-api.md` 4.2."""
    written = answer.write_json()
    if written is not None:
        return written
    encoded = _encoder.encode(answer)
    # `in` would first try whether the text is a number.
    if encoded.find(b"null") < 0:
        return encoded
    return _encoder.encode(_without_none(msgspec.to_builtins(answer)))


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def render_xml(action_name: str, answer: Answer) -> bytes:
    """`<ActionResponse>` with one element a field; fields that are UNSET or None are left out.

    A list is its element repeated. Texts and numbers that are not alone in their object stand as `<e>` inside one
    element instead.

    Source: `cloud-api.md` 4.3; `<e>`: the one sample, QuerySubscribeRelation.
    """
    return _document(f"{action_name}Response", msgspec.to_builtins(answer))


def render_error_json(request_id: str, host_id: str, code: str, message: str) -> bytes:
    """The gateway's refusal. Source: `cloud-api.md` 3.1."""
    return _encoder.encode(_failure(request_id, host_id, code, message))


def render_error_xml(request_id: str, host_id: str, code: str, message: str) -> bytes:
    """The gateway's refusal. Source: `cloud-api.md` 3.1."""
    return _document("Error", _failure(request_id, host_id, code, message))


def _failure(request_id: str, host_id: str, code: str, message: str) -> dict[str, str]:
    return {"RequestId": request_id, "HostId": host_id, "Code": code, "Message": message}


def _document(root: str, content: Mapping[str, object]) -> bytes:
    parts = [_DECLARATION]
    _add_element(parts, root, content)
    return "".join(parts).encode()


def _add_element(parts: list[str], name: str, value: object) -> None:
    parts.append(f"<{name}>")
    if isinstance(value, dict):
        children = [(child, item) for child, item in value.items() if item is not None]
        for child, item in children:
            if isinstance(item, list):
                _add_list(parts, child, item, is_alone=len(children) == 1)
            else:
                _add_element(parts, child, item)
    else:
        parts.append(_text(value))
    parts.append(f"</{name}>")


def _add_list(parts: list[str], name: str, items: list[object], is_alone: bool) -> None:
    if items and not is_alone and not isinstance(items[0], dict):
        _add_element(parts, name, {"e": items})
        return
    for item in items:
        _add_element(parts, name, item)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = _ILLEGAL.sub("\ufffd", value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        # a reader of XML would take a bare one for a line's end [XML 1.0, 2.11]
        return text.replace("\r", "&#13;")
    return str(value)

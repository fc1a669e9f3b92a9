"""Parameters of a request: read from query and form, then bound to the shape of an action."""

import functools
import re
import types
from binascii import a2b_qp
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from linkstead.action import Request, RequestShape
from linkstead.errors import invalid_parameter, missing_parameter

PARAMETERS_MAX: Final = 20_100
"""Parameters of one request, query and form together: 10,000 devices of a BatchCheckDeviceNames, each with a name and a
nickname, and room for the others. Reading so many takes some milliseconds, whoever sent them.
"""

NAME_SHOWN_CHARS_MAX: Final = 64
FORM_TYPE: Final = "application/x-www-form-urlencoded"

COMMON_PARAMETERS = frozenset(
    {
        "AccessKeyId",
        "Action",
        "BearerToken",
        "Format",
        "IotInstanceId",
        "RegionId",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureType",
        "SignatureVersion",
        "Timestamp",
        "Version",
    }
)
"""Names that any action may be sent with. Source: `cloud-api.md` 1.3; IotInstanceId: 9.1."""


class UnreadableParameters(ValueError):
    """The request cannot be read at all; the gateway answers InvalidParameter.Format.

    `rule` says what a good request looks like, in signs rather than words.
    """

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class BadEncoding(UnreadableParameters):
    """A name or a value is not UTF-8."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:NAME_SHOWN_CHARS_MAX]}: UTF-8")


class TooManyParameters(UnreadableParameters):
    """There are more than `PARAMETERS_MAX`."""

    def __init__(self) -> None:
        super().__init__(f"parameters <= {PARAMETERS_MAX}")


def is_form(content_type: str) -> bool:
    """True when a body of this Content-Type holds parameters; the header may be absent (empty).

    Source: `cloud-api.md` 1.1, row body.
    """
    return content_type.partition(";")[0].strip().lower() in ("", FORM_TYPE)


def parse_parameters(query: bytes, body: bytes) -> dict[str, str]:
    """Read the union of query and form body, percent-decoded. A name that occurs twice keeps its last value.

    Args:
        query: what follows the `?`, as sent.
        body: the form body, empty when the body is not a form.

    Raises:
        BadEncoding: bytes that are not UTF-8.
        TooManyParameters: more than `PARAMETERS_MAX`.

    Source: `cloud-api.md` 1.2: body wins; an empty value is present; `+` is a space.
    """
    return read_pairs(query, body)[0]


def read_pairs(query: bytes, body: bytes) -> tuple[dict[str, str], list[str]]:
    """The same, and each pair but `Signature` as it stands in what a V1 signature signs: as sent, escaped once more.

    Both are made in one go, as a request with such a signature needs both.
    """
    return read_split_pairs(split_pairs(query, body))


def split_pairs(query: bytes, body: bytes) -> list[str]:
    """The pairs of query and form body as sent, but that `+` is a space. Raises as `parse_parameters` does."""
    sent = query + b"&" + body if query and body else query or body
    try:
        text = sent.decode()
    except UnicodeDecodeError as error:
        start = sent.rfind(b"&", 0, error.start) + 1
        raise BadEncoding(shown_name(sent[start:].partition(b"&")[0])) from None
    if "+" in text:
        text = text.replace("+", " ")
    pairs = text.split("&", PARAMETERS_MAX)
    if len(pairs) > PARAMETERS_MAX:
        raise TooManyParameters
    return pairs


def read_split_pairs(pairs: list[str]) -> tuple[dict[str, str], list[str]]:
    """See `read_pairs`."""
    parameters: dict[str, str] = {}
    escaped: list[str] = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        if "%" not in pair:
            if not pair:
                continue
            if name != "Signature":
                escaped.append(f"{name}%3D{value}")
        else:
            if name != "Signature":
                escaped.append(f"{name.replace('%', '%25')}%3D{value.replace('%', '%25')}")
            try:
                name, value = unescape(name), unescape(value)
            except UnicodeDecodeError:
                raise BadEncoding(shown_name(pair)) from None
        parameters[name] = value
    return parameters, escaped


def shown_name(pair: bytes | str) -> str:
    """The name of a pair, as far as it can be shown."""
    text = pair if isinstance(pair, str) else pair.decode(errors="replace")
    return unquote_to_bytes(text.partition("=")[0]).decode(errors="replace")


_HEX_DIGITS = "0123456789abcdefABCDEF"
_ASCII_ESCAPES: Final = {high + low: chr(int(high + low, 16)) for high in "01234567" for low in _HEX_DIGITS}


BASE64_ESCAPES_MAX: Final = 4
"""Past so many it is something else than a time or a short message that is escaped."""


def unescape(text: str) -> str:
    """A name or a value, percent-decoded. Raises UnicodeDecodeError."""
    if "%" not in text:
        return text
    count = text.count("%")
    if count > BASE64_ESCAPES_MAX and text.isascii() and text.isprintable() and "=" not in text:
        # JSON in parameters. Quoted-printable is the same but for the sign, and read in C; what it does not understand
        # makes a text longer than this, as long as no line ends in it.
        read = a2b_qp(text.replace("%", "="))
        if len(read) == len(text) - 2 * count:
            return read.decode()
    # First what times and Base64 have escaped, which is nearly all there is.
    text = text.replace("%3A", ":")
    if "%" in text:
        text = text.replace("%3D", "=")
    if "%" in text:
        text = text.replace("%2B", "+").replace("%2F", "/")
    if "%" not in text:
        return text
    first, *rest = text.split("%")
    try:
        return first + "".join([_ASCII_ESCAPES[part[:2]] + part[2:] for part in rest])
    except KeyError:
        return unquote_to_bytes(text).decode()


USUAL_DIGITS_MAX: Final = 18
"""Of a number that is in range whatever the digits are."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def _read_integer(name: str, text: str) -> int:
    if len(text) <= USUAL_DIGITS_MAX and text.isascii() and text.isdecimal():
        return int(text)
    if not _INTEGER.fullmatch(text) or not -(2**63) <= (number := int(text)) < 2**63:
        raise invalid_parameter(name)
    return number


def _read_boolean(name: str, text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
    raise invalid_parameter(name)


Reader = Callable[[str, str], object]
"""Reads a value; takes its name, for the error, and its text."""

_READERS: dict[object, Reader | None] = {str: None, int: _read_integer, bool: _read_boolean}


class _Scalar(NamedTuple):
    """`read` is None for a text, which stays as it is."""

    attribute: str
    name: str
    read: Reader | None
    is_required: bool


@dataclass(frozen=True, slots=True)
class _List:
    """`element` is None for a list of texts, else the struct of `Name.N.Field`, whose fields are in `scalars`."""

    attribute: str
    name: str
    element: type[msgspec.Struct] | None
    scalars: dict[str, _Scalar]
    is_required: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    scalars: tuple[_Scalar, ...]
    lists: dict[str, _List]
    known_names: frozenset[str]


# as many entries as there are request types in the program
@functools.cache
def plan_request(request_type: type[msgspec.Struct]) -> _Plan:
    """How the fields of a request are read."""
    scalars = []
    lists = {}
    for info in msgspec.structs.fields(request_type):
        field_type = _without_none(info.type)
        if get_origin(field_type) is list:
            lists[info.encode_name] = _plan_list(info, get_args(field_type)[0])
        else:
            scalars.append(_Scalar(info.name, info.encode_name, _READERS[field_type], info.required))
    return _Plan(tuple(scalars), lists, COMMON_PARAMETERS | {scalar.name for scalar in scalars})


def _plan_list(info: msgspec.structs.FieldInfo, element: Any) -> _List:
    if element is str:
        return _List(info.name, info.encode_name, None, {}, info.required)
    plan = plan_request(element)
    if plan.lists:
        raise TypeError(f"{element.__name__}: a list inside a list has no form on the wire")
    return _List(info.name, info.encode_name, element, {field.name: field for field in plan.scalars}, info.required)


def _without_none(field_type: Any) -> Any:
    if get_origin(field_type) in (Union, types.UnionType):
        (field_type,) = (each for each in get_args(field_type) if each is not types.NoneType)
    return field_type


def bind(request_type: type[RequestShape], parameters: dict[str, str], aliases: Mapping[str, str]) -> RequestShape:
    """Make an action's request of the parameters.

    An empty value is absent where the parameter is optional, and the empty text where a text is required. A list takes
    `Name.1`, `Name.2`, … (or `Name.1.Field`) in the order of the numbers, which may have gaps.

    Args:
        request_type: fields of str, int (decimal, 64 bit), bool (any letter case), `list[str]`, list of such structs.
        parameters: as `parse_parameters` gives them.
        aliases: name accepted → the proper name it stands for when that is absent.

    Raises:
        ApiError(Missing<Param>): a required parameter is absent.
        ApiError(Invalid<Param>): a value is not of its type.

    Source: `cloud-api.md` 1.2 and 3.4.
    """
    plan = plan_request(request_type)
    for alias, name in aliases.items():
        if alias in parameters and name not in parameters:
            parameters = {**parameters, name: parameters[alias]}
    values = _read_scalars(plan.scalars, parameters, "")
    if plan.lists:
        values |= _read_lists(plan.lists, parameters)
    return request_type(**values)


def _read_scalars(scalars: tuple[_Scalar, ...], parameters: dict[str, str], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for attribute, name, read, is_required in scalars:
        text = parameters.get(name)
        if text or (text is not None and is_required):
            values[attribute] = text if read is None else read(prefix + name, text)
        elif is_required:
            raise missing_parameter(prefix + name)
    return values


_ELEMENT = re.compile(r"([^.]+)\.([1-9][0-9]{0,8})(?:\.(.+))?", re.DOTALL)


def _split_element(lists: Mapping[str, _List], name: str) -> tuple[_List, int, str] | None:
    """The list that `Name.1` or `Name.1.Field` belongs to, the number and the field ("" for a text), or None."""
    match = _ELEMENT.fullmatch(name)
    if match is None or (field := lists.get(match[1])) is None:
        return None
    is_element = match[3] is None if field.element is None else match[3] in field.scalars
    return (field, int(match[2]), match[3] or "") if is_element else None


def _read_lists(lists: Mapping[str, _List], parameters: Mapping[str, str]) -> dict[str, Any]:
    sent: dict[str, dict[int, dict[str, str]]] = {name: {} for name in lists}
    for name, text in parameters.items():
        if "." in name and (element := _split_element(lists, name)):
            field, number, part = element
            sent[field.name].setdefault(number, {})[part] = text
    values: dict[str, Any] = {}
    for name, field in lists.items():
        numbered = sorted(sent[name].items())
        if not numbered:
            if field.is_required:
                raise missing_parameter(name)
        elif field.element is None:
            values[field.attribute] = [parts[""] for _, parts in numbered]
        else:
            scalars = tuple(field.scalars.values())
            values[field.attribute] = [
                field.element(**_read_scalars(scalars, parts, f"{name}.{number}.")) for number, parts in numbered
            ]
    return values


def unknown_parameters(
    request_type: type[Request], parameters: dict[str, str], aliases: Mapping[str, str]
) -> list[str]:
    """Names that are neither common parameters nor the action's own, in the order sent.

    Source: `cloud-api.md` 0, item 10: they are recorded with the call and refused only when asked for.
    """
    plan = plan_request(request_type)
    known_names = plan.known_names
    for name in parameters:
        if name not in known_names:
            break
    else:
        return []
    return [
        name
        for name in parameters
        if name not in known_names and name not in aliases and not _split_element(plan.lists, name)
    ]

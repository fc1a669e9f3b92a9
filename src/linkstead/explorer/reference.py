"""Every action served, described as data: what it does, what it takes, what it answers, and how it can fail.

The shapes are those of the actions themselves; the words, ranges and examples stand in `actions.csv` and
`parameters.csv`, and what an action can fail with in `codes.csv`.
"""

import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from linkstead.action import AnyAction
from linkstead.actions import ACTIONS
from linkstead.api.quotas import LIMITS
from linkstead.errors import CATALOGUE, ErrorRow
from linkstead.explorer.operations import OPERATIONS, read_table

Language = Literal["en", "zh", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "zh", "ja")
Kind = Literal["string", "integer", "number", "boolean", "object"]
Text = Mapping[Language, str]
"""The same in every language of `LANGUAGES`."""

DOCS = {
    "Calls and messages": "calls.md",
    "Certificates": "registration.md",
    "Consumer groups and subscriptions": "consumer-groups.md",
    "Device data": "messages.md",
    "Devices": "many-devices.md",
    "Gateways and sub-devices": "gateways.md",
    "Products": "accounts.md",
    "Scripts": "binary-products.md",
    "Shadows": "shadows.md",
    "Thing models": "thing-model.md",
    "Topics": "topics.md",
}
"""The page of `docs/` that a chapter is explained on."""

GATEWAY_CODES = tuple(
    CATALOGUE[code]
    for code in (
        "MissingAccessKeyId",
        "InvalidAccessKeyId.NotFound",
        "InvalidAccessKeyId.Inactive",
        "InvalidSignatureMethod",
        "InvalidSignatureVersion",
        "InvalidTimeStamp.Format",
        "InvalidTimeStamp.Expired",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "SignatureNonceUsed",
        "MissingSecurityToken",
        "InvalidSecurityToken.Expired",
        "InvalidSecurityToken.Malformed",
        "InvalidSecurityToken.MismatchWithAccessKey",
        "InvalidVersion",
        "InvalidAction.NotFound",
        "InvalidParameter.Format",
        "UnsupportedHTTPMethod",
        "Forbidden.RAM",
        "Throttling.User",
        "Missing<Param>",
        "Invalid<Param>",
        "iot.auth.IotInstanceNotFound",
        "iot.system.SystemException",
        "ServiceUnavailable",
        "InternalError",
    )
)
"""What any action can be refused with before it begins. Source: `cloud-api.md` 2.6 and 3."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request, or a field of a repeated one.

    Attributes:
        name: on the wire, without the numbers of a repeated one.
        kind: "object" for a repeated one with `fields`.
        is_repeated: sent as `Name.1`, `Name.2`, …, or as `Name.1.Field` where it has fields.
        is_required: a request without it is refused.
        default: what is meant where it is absent; None where that is nothing.
        range: what a value may be, in signs rather than words; "" where nothing more is known than its kind.
        example: a value that may be sent, as text; "" where none makes sense in general.
        text: what it says.
        fields: of each entry.
    """

    name: str
    kind: Kind
    is_repeated: bool
    is_required: bool
    default: str | int | bool | None
    range: str
    example: str
    text: Text
    fields: tuple["Parameter", ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerField:
    """A field of an answer. `fields` are those of an object, or of each entry of a repeated one."""

    name: str
    kind: Kind
    is_repeated: bool
    is_optional: bool
    fields: tuple["AnswerField", ...] = ()


@dataclass(frozen=True, slots=True)
class ActionReference:
    """One action served.

    Attributes:
        name: on the wire.
        chapter: of the reference.
        text: what it does.
        parameters: in the order of the shape, the required ones first.
        aliases: names that are taken where the proper one is absent.
        answer: the fields of its answer.
        codes: the business errors that it can send, besides `GATEWAY_CODES`.
        quota: requests a second and account, unless the server's settings say otherwise; None for no limit.
        is_call: it invokes a device, so that a record with a timeline is kept.
        docs: the page of `docs/`.
    """

    name: str
    chapter: str
    text: Text
    parameters: tuple[Parameter, ...]
    aliases: Mapping[str, str]
    answer: tuple[AnswerField, ...]
    codes: tuple[ErrorRow, ...]
    quota: int | None
    is_call: bool
    docs: str


def describe_action(name: str) -> ActionReference:
    """The description of an action.

    Raises:
        KeyError: it is not served.
    """
    return describe_actions()[name]


@functools.cache
def describe_actions() -> Mapping[str, ActionReference]:
    """Every action served, by its name."""
    codes: dict[str, list[ErrorRow]] = {name: [] for name in ACTIONS}
    for row in read_table("codes.csv"):
        codes[row["action"]].append(CATALOGUE[row["code"]])
    texts = {row["action"]: _read_text(row) for row in read_table("actions.csv")}
    return {name: _describe(action, texts[name], tuple(codes[name])) for name, action in ACTIONS.items()}


def _describe(action: AnyAction, text: Text, codes: tuple[ErrorRow, ...]) -> ActionReference:
    chapter = OPERATIONS[action.name]
    parameters = _describe_parameters(action.name, action.request, "")
    return ActionReference(
        name=action.name,
        chapter=chapter,
        text=text,
        parameters=tuple(sorted(parameters, key=lambda parameter: not parameter.is_required)),
        aliases=action.aliases,
        answer=_describe_answer(action.answer),
        codes=codes,
        quota=LIMITS.get(action.name),
        is_call=action.is_call,
        docs=f"docs/{DOCS[chapter]}",
    )


def _read_text(row: Mapping[str, str]) -> Text:
    return {language: row[language] for language in LANGUAGES}


@functools.cache
def _read_parameters() -> Mapping[tuple[str, str], Mapping[str, str]]:
    """The rows by parameter and action; the action is "" for what is said of all others."""
    return {
        (row["parameter"], action): row for row in read_table("parameters.csv") for action in row["actions"].split(";")
    }


def _find_row(action: str, parameter: str) -> Mapping[str, str]:
    rows = _read_parameters()
    return rows.get((parameter, action)) or rows[parameter, ""]


_KINDS: dict[object, Kind] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _describe_parameters(action: str, shape: type[msgspec.Struct], prefix: str) -> tuple[Parameter, ...]:
    described = []
    for info in msgspec.structs.fields(shape):
        (field_type,) = _split_union(info.type)
        is_repeated = get_origin(field_type) is list
        element = get_args(field_type)[0] if is_repeated else field_type
        row = _find_row(action, f"{prefix}{info.encode_name}{'.N' if is_repeated else ''}")
        default = info.default if isinstance(info.default, str | int) and info.default != "" else None
        described.append(
            Parameter(
                name=info.encode_name,
                kind=_KINDS.get(element, "object"),
                is_repeated=is_repeated,
                is_required=info.required,
                default=default,
                range=row["range"],
                example=row["example"],
                text=_read_text(row),
                fields=_describe_parameters(action, element, f"{info.encode_name}.") if element not in _KINDS else (),
            )
        )
    return tuple(described)


def _split_union(field_type: Any) -> tuple[Any, ...]:
    """The types that a field may have, but for being absent."""
    if get_origin(field_type) in (Union, types.UnionType):
        return tuple(each for each in get_args(field_type) if each not in (types.NoneType, msgspec.UnsetType))
    return (field_type,)


def _describe_answer(shape: type[msgspec.Struct]) -> tuple[AnswerField, ...]:
    described = []
    for info in msgspec.structs.fields(shape):
        field_type = _split_union(info.type)[0]
        is_repeated = get_origin(field_type) is list
        element = get_args(field_type)[0] if is_repeated else field_type
        is_shape = isinstance(element, type) and issubclass(element, msgspec.Struct)
        described.append(
            AnswerField(
                name=info.encode_name,
                kind=_KINDS.get(element, "object"),
                is_repeated=is_repeated,
                is_optional=not info.required and info.name not in ("request_id", "success"),
                fields=_describe_answer(element) if is_shape else (),
            )
        )
    return tuple(described)

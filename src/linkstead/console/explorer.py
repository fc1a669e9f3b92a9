"""The explorer: any action, from a form, with what goes over the wire and programs that do the same; and all codes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from linkstead.actions import ACTIONS
from linkstead.api import render, signatures
from linkstead.api.exchange import HttpReply
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit
from linkstead.explorer.arguments import Arguments, flatten_arguments, make_example, read_arguments, write_scalar
from linkstead.explorer.error_centre import explain_codes, search_errors
from linkstead.explorer.reference import ActionReference, Parameter, describe_action, describe_actions
from linkstead.explorer.signing import SignedRequest, Signer
from linkstead.explorer.snippets import LANGUAGES, ActionCall, action_snippet
from linkstead.ids import HEX_DIGITS

FIRST_ACTION = "RRpc"
PREFIX = "p."
"""Stands before the name of a parameter in the form, so that none is taken for a field of the page's own."""

ENTRIES_MIN = 2
"""Of repeated objects, that can be filled in without a script."""

NONCE_CHARS = 32
CODES_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action answered: as JSON, set out to be read, and as XML."""

    status: int
    reason: str
    json: str
    xml: str
    code: str
    call_id: str


async def show_first(visit: Visit) -> HttpReply:
    """Where the explorer begins."""
    return visit.to(f"/explorer/{FIRST_ACTION}")


async def show_action(visit: Visit) -> HttpReply:
    """An action with its form; parameters may stand in the address, and `example` fills in those of an example."""
    reference = _find(visit)
    if "example" in visit.fields:
        arguments = make_example(reference)
    else:
        arguments = read_arguments(reference, visit.fields)
    return _show(visit, reference, arguments, None)


async def send(visit: Visit) -> HttpReply:
    """Run the action as whoever is logged in."""
    reference = _find(visit)
    arguments = _read_form(visit, reference)
    reply = await visit.desk.openapi.answer_for(visit.key, visit.request, reference.name, flatten_arguments(arguments))
    if reply.call is not None:
        visit.desk.openapi.finish(reply.call, delivered=True)
    body = msgspec.json.decode(reply.body, type=dict[str, Any])
    outcome = Outcome(
        status=reply.status,
        reason=HTTPStatus(reply.status).phrase,
        json=msgspec.json.format(reply.body).decode(),
        xml=set_out_xml(_render_xml(reference, reply.status, reply.body, body)),
        code=str(body.get("Code", "")),
        call_id=reply.call.request_id if reply.call is not None else "",
    )
    if visit.request.header("hx-request"):
        return visit.page("explorer_outcome.html", outcome=outcome)
    return _show(visit, reference, arguments, outcome)


async def preview(visit: Visit) -> HttpReply:
    """The request and the programs for what stands in the form."""
    reference = _find(visit)
    return visit.page("explorer_request.html", **_make_request(visit, reference, _read_form(visit, reference)))


async def show_errors(visit: Visit) -> HttpReply:
    """The error centre."""
    text = visit.fields.get("text", "")
    found = search_errors(text, visit.language)
    return visit.page("errors.html", text=text, count=len(found), errors=found[:CODES_SHOWN_MAX])


def _find(visit: Visit) -> ActionReference:
    try:
        return describe_action(visit.names["action"])
    except KeyError:
        raise Refused(404, "explorer.unknown", visit.names["action"]) from None


def _read_form(visit: Visit, reference: ActionReference) -> Arguments:
    sent = {name.removeprefix(PREFIX): text for name, text in visit.form.items() if name.startswith(PREFIX)}
    return read_arguments(reference, sent)


def _show(visit: Visit, reference: ActionReference, arguments: Arguments, outcome: Outcome | None) -> HttpReply:
    chapters: dict[str, list[ActionReference]] = {}
    for each in describe_actions().values():
        chapters.setdefault(each.chapter, []).append(each)
    return visit.page(
        "explorer.html",
        reference=reference,
        chapters=chapters,
        controls=[make_control(parameter, arguments) for parameter in reference.parameters],
        outcome=outcome,
        meanings={row.code: explain_codes()[row.code][visit.language] for row in reference.codes},
        **_make_request(visit, reference, arguments),
    )


def _make_request(visit: Visit, reference: ActionReference, arguments: Arguments) -> dict[str, Any]:
    scheme, endpoint = _find_endpoint(visit)
    call = ActionCall(scheme, endpoint, reference.name, arguments)
    programs = {name: (title, action_snippet(name, call)) for name, title in LANGUAGES.items()}
    signed = {
        "v3": _make_signer(visit, endpoint).sign_v3(reference.name, arguments),
        "v1": _make_signer(visit, endpoint).sign_v1(reference.name, arguments),
    }
    return {"programs": programs, "signed": signed, "write_request": write_request}


def _find_endpoint(visit: Visit) -> tuple[str, str]:
    """How the browser reached this server: so may a program."""
    endpoint = visit.request.header("host") or visit.desk.place().ports.get("http", "")
    https = visit.desk.place().ports.get("https", "")
    forwarded = visit.request.header("x-forwarded-proto")
    is_https = forwarded == "https" or (https != "" and endpoint.rpartition(":")[2] == https.rpartition(":")[2])
    return ("https" if is_https else "http"), endpoint


def _make_signer(visit: Visit, host: str) -> Signer:
    return Signer(
        access_key_id=visit.key.access_key_id,
        secret=visit.key.secret,
        host=host,
        nonce=visit.desk.ids.token(HEX_DIGITS, NONCE_CHARS),
        timestamp=signatures.format_timestamp(visit.desk.clock.time_s()),
    )


def write_request(signed: SignedRequest) -> str:
    """A request as it goes over the wire."""
    target = f"/?{signed.query}" if signed.query else "/"
    headers = "".join(f"{name}: {value}\n" for name, value in signed.headers.items())
    return f"{signed.method} {target} HTTP/1.1\n{headers}\n{signed.body}"


def _render_xml(reference: ActionReference, status: int, body: bytes, fields: Mapping[str, Any]) -> str:
    if status == HTTPStatus.OK:
        answer = msgspec.json.decode(body, type=ACTIONS[reference.name].answer)
        return render.render_xml(reference.name, answer).decode()
    failure = (fields[name] for name in ("RequestId", "HostId", "Code", "Message"))
    return render.render_error_xml(*failure).decode()


def set_out_xml(xml: str) -> str:
    """An element a line, indented; a text stays with its element. In texts `<` and `>` are escaped."""
    lines: list[str] = []
    depth = 0
    for part in re.split(r"(?<=>)(?=<)", xml):
        is_end = part.startswith("</")
        is_whole = "</" in part or part.startswith("<?")
        depth -= is_end
        lines.append("  " * depth + part)
        depth += part.startswith("<") and not is_end and not is_whole
    return "\n".join(lines)


# --- the form ---


@dataclass(frozen=True, slots=True)
class Control:
    """A parameter in the form.

    Attributes:
        kind: `text`, `number`, `choice`, `lines` for a long text or an entry in each line, or `entries`.
        choices: of a choice.
        value: as text.
        entries: of a repeated object, each a control a field.
        is_base64: it may be given as plain text too.
    """

    name: str
    parameter: Parameter
    kind: str
    choices: tuple[str, ...] = ()
    value: str = ""
    entries: tuple[tuple["Control", ...], ...] = ()
    is_base64: bool = False


def make_control(parameter: Parameter, arguments: Arguments) -> Control:
    """The control of a parameter with the value that it has."""
    value = arguments.get(parameter.name, "")
    name = PREFIX + parameter.name
    if parameter.fields:
        given: list[Any] = list(value) if isinstance(value, list) else []
        given += [{}] * max(1, ENTRIES_MIN - len(given))
        entries = tuple(
            tuple(
                _make_scalar(f"{name}.{number}.{field.name}", field, entry.get(field.name))
                for field in parameter.fields
            )
            for number, entry in enumerate(given, 1)
        )
        return Control(name, parameter, "entries", entries=entries)
    if parameter.is_repeated:
        lines = "\n".join(map(str, value)) if isinstance(value, list) else ""
        return Control(name, parameter, "lines", value=lines)
    return _make_scalar(name, parameter, value)


def _make_scalar(name: str, parameter: Parameter, value: object) -> Control:
    text = write_scalar(value) if isinstance(value, str | int) else ""
    if parameter.kind == "boolean":
        return Control(name, parameter, "choice", ("true", "false"), text)
    if " | " in parameter.range:
        return Control(name, parameter, "choice", tuple(parameter.range.split(" | ")), text)
    if parameter.kind == "integer":
        return Control(name, parameter, "number", value=text)
    is_long = parameter.range.startswith("JSON") or parameter.name == "ScriptContent"
    return Control(
        name, parameter, "lines" if is_long else "text", value=text, is_base64=parameter.range.startswith("Base64")
    )


ROUTES = (
    Route("GET", "/explorer", show_first),
    Route("GET", "/explorer/{action}", show_action),
    Route("POST", "/explorer/{action}", send),
    Route("POST", "/explorer/{action}/request", preview),
    Route("GET", "/errors", show_errors),
)

"""Strings to sign, side by side: ours of a request as somebody wrote it down, and theirs."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlsplit

from linkstead.api.parameters import FORM_TYPE, UnreadableParameters, is_form, parse_parameters, read_pairs
from linkstead.api.signatures import (
    V1_METHOD,
    V3_ALGORITHM,
    Malformed,
    SigningKey,
    canonical_request_v3,
    check_v1,
    check_v3,
    parse_authorization,
    string_to_sign_v1,
    string_to_sign_v3,
)

REQUEST_CHARS_MAX = 1_048_576
"""Of a request as written down; more than the longest that the server takes with its escapes."""

SAID_HEAD = "server string to sign is:"
"""Source: the vendor's text of SignatureDoesNotMatch."""

_BODY_OPTIONS = {"-d", "--data", "--data-raw", "--data-binary", "--data-ascii"}
_SECRET_OPTIONS = {"-u", "--user"}
_FIRST_LINE = re.compile(r"([A-Z]+) (\S+)(?: HTTP/\d(?:\.\d)?)?")


class UnreadableRequest(ValueError):
    """What was written down is no request; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class WrittenRequest:
    """A request. headers: values by lower-case name. query, body: as sent."""

    method: str
    path: str
    query: str
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours and theirs.

    version: 1 or 3. canonical: what version 3 hashes, empty for version 1. said: what the client or the server says it
    signs, empty where it was not given. parting: where the two part, counted from 0, None where they do not. is_right:
    whether the signature that was sent is that of the secret, None where either is missing.
    """

    version: int
    ours: str
    canonical: str
    said: str
    parting: int | None
    is_right: bool | None


def read_parameters(query: str) -> dict[str, str]:
    """The parameters of a query, decoded. Raises UnreadableParameters."""
    return parse_parameters(query.encode(), b"")


def read_request(text: str, method: str = "") -> WrittenRequest:
    """Read a URL, a line of curl, or a request with its headers as on the wire.

    Args:
        method: in place of what the text says.

    Raises:
        UnreadableRequest: it is none of these.
    """
    if len(text) > REQUEST_CHARS_MAX:
        raise UnreadableRequest(f"the request has more than {REQUEST_CHARS_MAX} characters")
    text = text.strip()
    if text.startswith("curl "):
        return _read_curl(text, method)
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    match = _FIRST_LINE.fullmatch(first.strip())
    if match is not None:
        head, _, body = rest.partition("\n\n")
        return _make(method or match[1], match[2], _read_headers(head.split("\n")), body)
    if rest.strip() or not re.match(r"https?://|/?\?", text):
        raise UnreadableRequest("give a URL, a line that begins with curl, or a request as sent: POST /?… and headers")
    return _make(method or "GET", text, {}, "")


def _read_curl(text: str, method: str) -> WrittenRequest:
    try:
        words = shlex.split(text.replace("\\\n", " "))[1:]
    except ValueError as error:
        raise UnreadableRequest(f"the line of curl cannot be read: {error}") from None
    url, verb, lines, bodies = "", "", list[str](), list[str]()
    place = 0
    while place < len(words):
        word = words[place]
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        takes_value = name in {"-X", "--request", "-H", "--header", "--url", *_BODY_OPTIONS, *_SECRET_OPTIONS}
        if takes_value and not equals:
            place += 1
            value = words[place] if place < len(words) else ""
        if name in ("-X", "--request"):
            verb = value
        elif name in ("-H", "--header"):
            lines.append(value)
        elif name in _BODY_OPTIONS:
            bodies.append(value)
        elif name == "--url" or not word.startswith("-"):
            url = value or word
        place += 1
    if not url:
        raise UnreadableRequest("the line of curl has no URL")
    headers = _read_headers(lines)
    if bodies:
        headers.setdefault("content-type", [FORM_TYPE])
    return _make(method or verb or ("POST" if bodies else "GET"), url, headers, "&".join(bodies))


def _read_headers(lines: Sequence[str]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), []).append(value.strip())
    return headers


def _make(method: str, target: str, headers: dict[str, list[str]], body: str) -> WrittenRequest:
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise UnreadableRequest(f"the URL cannot be read: {error}") from None
    if parts.netloc:
        headers.setdefault("host", [parts.netloc.rpartition("@")[2]])
    return WrittenRequest(method.upper(), parts.path or "/", parts.query, headers, body)


def read_said(text: str) -> str:
    """The string to sign in what somebody said: alone, or behind the words of the server's message."""
    _, found, said = text.partition(SAID_HEAD)
    return said if found else text


def find_parting(ours: str, theirs: str) -> int | None:
    """Where two texts part, counted from 0; None when they are the same."""
    if ours == theirs:
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((place for place, (mine, other) in enumerate(pairs) if mine != other), min(len(ours), len(theirs)))


def compare(request: WrittenRequest, said: str = "", secret: str = "") -> Comparison:
    """Make our string to sign of a request, and hold against it what the client or the server says.

    Args:
        said: a string to sign, or a message that holds one; for version 3 the canonical request as well. "" for none.
        secret: of the access key, to check the signature that the request bears; "" for none.

    Raises:
        UnreadableRequest: the request is not signed by either version, or its parameters cannot be read.
    """
    said = read_said(said).strip().replace("\r\n", "\n")
    key = SigningKey(secret) if secret else None
    try:
        authorization = (request.headers.get("authorization") or [""])[0]
        if authorization.startswith(V3_ALGORITHM):
            return _compare_v3(request, authorization, said, key)
        return _compare_v1(request, said, key)
    except UnreadableParameters as error:
        raise UnreadableRequest(f"the parameters cannot be read: {error}") from None


def _compare_v1(request: WrittenRequest, said: str, key: SigningKey | None) -> Comparison:
    content_type = (request.headers.get("content-type") or [""])[0]
    form = request.body.strip().encode() if is_form(content_type) else b""
    parameters, pairs = read_pairs(request.query.encode(), form)
    if "SignatureNonce" not in parameters:
        raise UnreadableRequest(
            f"it is not signed: neither {V3_ALGORITHM} in Authorization, nor {V1_METHOD} parameters"
        )
    ours = string_to_sign_v1(request.method, parameters)
    is_right = None
    if key is not None and "Signature" in parameters:
        is_right = check_v1(request.method, pairs, parameters, key) is None
    return Comparison(1, ours, "", said, find_parting(ours, said) if said else None, is_right)


def _compare_v3(request: WrittenRequest, value: str, said: str, key: SigningKey | None) -> Comparison:
    try:
        authorization = parse_authorization(value)
    except Malformed as error:
        raise UnreadableRequest(str(error)) from None
    body, query = request.body.encode(), request.query.encode()
    content_sha256 = sha256(body).hexdigest()
    canonical = canonical_request_v3(
        request.method, request.path, query, request.headers, authorization.signed_headers, content_sha256
    )
    ours = string_to_sign_v3(canonical)
    is_right = None
    if key is not None:
        is_right = check_v3(request.method, request.path, query, request.headers, body, authorization, key) is None
    mine = ours if said.startswith(V3_ALGORITHM) else canonical
    return Comparison(3, ours, canonical, said, find_parting(mine, said) if said else None, is_right)

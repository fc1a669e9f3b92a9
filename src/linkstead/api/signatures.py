"""Signatures of requests, both of the vendor's schemes: V1 (RPC 1.0, HMAC-SHA1) and V3 (ACS3-HMAC-SHA256).

What is checked is what the parameters mean, not how they were escaped. But the known SDKs escape canonically, so each
check first takes the bytes as sent, which is ten times cheaper, and decodes and escapes again only when that fails.
"""

import functools
import re
from binascii import b2a_base64, hexlify
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1, sha256
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import quote

from linkstead.api.parameters import FORM_TYPE, parse_parameters

SIGNING_KEYS_CACHED_MAX = 1_024
TIMESTAMPS_CACHED_MAX = 4_096
AUTHORIZATIONS_CACHED_MAX = 1_024
AUTHORIZATION_CACHED_CHARS_MAX: Final = 512
"""Of what stands before a V3 signature; of a longer one nothing is remembered."""

V1_METHOD: Final = "HMAC-SHA1"
V1_VERSION: Final = "1.0"
V3_ALGORITHM: Final = "ACS3-HMAC-SHA256"
V3_HEADERS_REQUIRED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce")
"""Headers a V3 signature has to cover: what says where to, what, when, and that it is once only."""

_HMAC_BLOCK_BYTES: Final = 64
_UNRESERVED = re.compile(r"[A-Za-z0-9\-_.~]*")


def percent_encode(text: str) -> str:
    """Escape all but `A-Z a-z 0-9 - _ . ~`, as UTF-8, in upper-case hex. Source: RFC 3986, 2.1 and 2.3."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def encode_parameters(parameters: Mapping[str, str]) -> str:
    """Write parameters as `name=value&…`, escaped and sorted by name in byte order: a query, or a form body."""
    return "&".join([f"{percent_encode(name)}={percent_encode(parameters[name])}" for name in sorted(parameters)])


class SigningKey:
    """An AccessKeySecret made ready to sign with. Never shows the secret."""

    __slots__ = ("_inner_v1", "_inner_v3", "_outer_v1", "_outer_v3")

    def __init__(self, secret: str) -> None:
        self._inner_v1, self._outer_v1 = _begin_hmac(sha1, f"{secret}&".encode())
        self._inner_v3, self._outer_v3 = _begin_hmac(sha256, secret.encode())

    def sign_v1(self, string_to_sign: bytes) -> bytes:
        """Base64 of the HMAC-SHA1 under secret and "&", 28 bytes."""
        inner = self._inner_v1.copy()
        inner.update(string_to_sign)
        outer = self._outer_v1.copy()
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)

    def sign_v3(self, string_to_sign: bytes) -> bytes:
        """Lower-case hex of the HMAC-SHA256 under the bare secret, 64 bytes."""
        inner = self._inner_v3.copy()
        inner.update(string_to_sign)
        outer = self._outer_v3.copy()
        outer.update(inner.digest())
        return hexlify(outer.digest())


def _begin_hmac(make_hash: Callable[[bytes], Any], key: bytes) -> tuple[Any, Any]:
    """The two hashes of an HMAC [RFC 2104] that the key alone decides: kept, they halve the cost of a short text."""
    block = (key if len(key) <= _HMAC_BLOCK_BYTES else make_hash(key).digest()).ljust(_HMAC_BLOCK_BYTES, b"\0")
    return make_hash(bytes(byte ^ 0x36 for byte in block)), make_hash(bytes(byte ^ 0x5C for byte in block))


@functools.lru_cache(maxsize=SIGNING_KEYS_CACHED_MAX)
def signing_key(secret: str) -> SigningKey:
    """The secret made ready, remembered for the `SIGNING_KEYS_CACHED_MAX` used last."""
    return SigningKey(secret)


def string_to_sign_v1(method: str, parameters: Mapping[str, str]) -> str:
    """What a V1 signature signs: all decoded parameters of query and form but `Signature`.

    Args:
        method: the HTTP method as used, `GET` or `POST`.

    Source: `cloud-api.md` 2.1.
    """
    canonical = encode_parameters({name: value for name, value in parameters.items() if name != "Signature"})
    return f"{method}&%2F&{percent_encode(canonical)}"


def sign_v1(string_to_sign: str, secret: str) -> str:
    """The value of `Signature`: Base64 of the HMAC-SHA1 under secret and "&", 28 characters."""
    return SigningKey(secret).sign_v1(string_to_sign.encode()).decode()


def check_v1(
    method: str, pairs: list[str], parameters: Mapping[str, str], key: SigningKey, *, is_in_order: bool = False
) -> str | None:
    """None when the parameter `Signature` is right, else the string to sign as the server sees it.

    Args:
        method: the HTTP method as used.
        pairs, parameters: what `read_pairs` made of the query, and of the body when it is a form. The pairs are
            sorted in place.
        key: of the secret that belongs to `AccessKeyId`.
        is_in_order: the pairs are sorted already.
    """
    given = parameters.get("Signature", "").encode()
    # Every pair has to be one of the parameters: none given twice.
    if len(pairs) + 1 == len(parameters):
        # "%3D" behind them has names in order, `Name.1` before `Name.10`.
        if not is_in_order:
            pairs.sort()
        if compare_digest(key.sign_v1(f"{method}&%2F&{'%26'.join(pairs)}".encode()), given):
            return None
    string_to_sign = string_to_sign_v1(method, parameters)
    return None if compare_digest(key.sign_v1(string_to_sign.encode()), given) else string_to_sign


class Malformed(Exception):
    """An Authorization header that cannot be read; the gateway answers IncompleteSignature. Its text says the rule."""


@dataclass(slots=True)
class Authorization:
    """The Authorization header of V3. `signed_headers` are lower-case names in the order given."""

    access_key_id: str
    signed_headers: tuple[str, ...]
    signature: str


_AUTHORIZATION_FIELDS = {"Credential", "SignedHeaders", "Signature"}
_V3_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_V3_SIGNATURE_CHARS: Final = 64
_HEX_DIGITS: Final = b"0123456789abcdef"
_ANY_SIGNATURE: Final = "0" * _V3_SIGNATURE_CHARS


def parse_authorization(value: str) -> Authorization:
    """Read `ACS3-HMAC-SHA256 Credential=…,SignedHeaders=a;b;c,Signature=…`; blanks after the commas are tolerated.

    Raises:
        Malformed: another algorithm, a field missing, empty, unknown or twice, a signature that is not 64 hex digits,
            or a list of headers without one of `V3_HEADERS_REQUIRED`.

    Source: `cloud-api.md` 1.4 and 2.2.
    """
    # What stands before the digits is the same in all requests of a program.
    start, signature = value[:-_V3_SIGNATURE_CHARS], value[-_V3_SIGNATURE_CHARS:]
    if (
        len(start) <= AUTHORIZATION_CACHED_CHARS_MAX
        and start.endswith((",Signature=", ", Signature="))
        and signature.isascii()
        # A third of what a regular expression costs.
        and not signature.encode().translate(None, _HEX_DIGITS)
    ):
        access_key_id, names = _read_start(start)
        return Authorization(access_key_id, names, signature)
    return _parse_authorization(value)


@functools.lru_cache(maxsize=AUTHORIZATIONS_CACHED_MAX)
def _read_start(start: str) -> tuple[str, tuple[str, ...]]:
    """What stands before a signature that is 64 hex digits. Raises Malformed, which is not remembered."""
    authorization = _parse_authorization(start + _ANY_SIGNATURE)
    return authorization.access_key_id, authorization.signed_headers


def _parse_authorization(value: str) -> Authorization:
    algorithm, _, rest = value.strip().partition(" ")
    if algorithm != V3_ALGORITHM:
        raise Malformed(f"Authorization: {V3_ALGORITHM}")
    parts = rest.split(",")
    fields = {name: text for name, _, text in (part.strip().partition("=") for part in parts)}
    if len(parts) != len(_AUTHORIZATION_FIELDS) or fields.keys() != _AUTHORIZATION_FIELDS or "" in fields.values():
        raise Malformed(f"Authorization: {V3_ALGORITHM} Credential=…,SignedHeaders=…,Signature=…")
    names = fields["SignedHeaders"].split(";")
    if any(name != name.lower() or not name for name in names):
        raise Malformed("SignedHeaders: a-z;a-z;…")
    for name in V3_HEADERS_REQUIRED:
        if name not in names:
            raise Malformed(f"SignedHeaders: {name}")
    if not _V3_SIGNATURE.fullmatch(fields["Signature"]):
        raise Malformed("Signature: 64 of 0-9 a-f")
    return Authorization(fields["Credential"], tuple(names), fields["Signature"])


def canonical_request_v3(
    method: str,
    path: str,
    query: bytes,
    headers: Mapping[str, list[str]],
    signed_headers: Iterable[str],
    content_sha256: str,
) -> str:
    """What a V3 signature covers. The form body takes part by its hash only.

    Args:
        query: as sent, in any escaping.
        headers: values by lower-case name; a signed one that was not sent counts as empty.
        content_sha256: hex, of the body.

    Raises:
        UnreadableParameters: the query cannot be read.

    Source: `cloud-api.md` 2.2.
    """
    canonical_query = encode_parameters(parse_parameters(query, b""))
    return _canonical_request(method, path, canonical_query, headers, tuple(signed_headers), content_sha256)


def _canonical_request(
    method: str,
    path: str,
    canonical_query: str,
    headers: Mapping[str, list[str]],
    signed_headers: tuple[str, ...],
    content_sha256: str,
) -> str:
    lines = [method, path or "/", canonical_query]
    for name in signed_headers:
        values = headers.get(name, _NO_VALUES)
        text = values[0].strip() if len(values) == 1 else ",".join(sorted([text.strip() for text in values]))
        lines.append(f"{name}:{text}")
    lines += ("", ";".join(signed_headers), content_sha256)
    return "\n".join(lines)


_NO_VALUES: Final[list[str]] = []
_NOTHING_SHA256: Final = sha256(b"").hexdigest()


def string_to_sign_v3(canonical_request: str) -> str:
    """The algorithm's name and the hash of the canonical request."""
    return f"{V3_ALGORITHM}\n{sha256(canonical_request.encode()).hexdigest()}"


def sign_v3(string_to_sign: str, secret: str) -> str:
    """The value of `Signature` in the Authorization header: hex of the HMAC-SHA256 under the secret, 64 digits."""
    return SigningKey(secret).sign_v3(string_to_sign.encode()).decode()


def check_v3(
    method: str,
    path: str,
    query: bytes,
    headers: Mapping[str, list[str]],
    body: bytes,
    authorization: Authorization,
    key: SigningKey,
    pairs: list[str] | None = None,
) -> str | None:
    """None when the signature is right and the body is the one it was made for, else the server's string to sign.

    Args:
        headers: values by lower-case name.
        body: raw, form or not.
        key: of the secret that belongs to `authorization.access_key_id`.
        pairs: those of the query as `split_pairs` gives them, sorted by name; None where they are not known.

    Raises:
        UnreadableParameters: the query cannot be read.
    """
    given = authorization.signature.encode()
    content_sha256 = sha256(body).hexdigest() if body else _NOTHING_SHA256
    is_right_body = headers.get("x-acs-content-sha256") == [content_sha256]
    signed_headers = authorization.signed_headers
    as_sent = None
    if pairs is not None:
        as_sent = "&".join(pairs)
    elif query.find(b"\0") < 0 and query.isascii():
        # NUL for "=" has names in order: `Name.1` before `Name.10`.
        as_sent = "&".join(sorted(query.decode().replace("=", "\0").split("&"))).replace("\0", "=")
    if as_sent is not None and is_right_body:
        canonical = _canonical_request(method, path, as_sent, headers, signed_headers, content_sha256)
        if compare_digest(key.sign_v3(string_to_sign_v3(canonical).encode()), given):
            return None
    canonical = canonical_request_v3(method, path, query, headers, signed_headers, content_sha256)
    string_to_sign = string_to_sign_v3(canonical)
    is_right = compare_digest(key.sign_v3(string_to_sign.encode()), given)
    return None if is_right and is_right_body else string_to_sign


_TIMESTAMP = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_TIMESTAMP_CHARS: Final = 20


def parse_timestamp(text: str) -> int | None:
    """Seconds since 1970 of `YYYY-MM-DDThh:mm:ssZ`, or None when it is not exactly that. Source: `cloud-api.md` 2.3."""
    # so that no long text is remembered
    return _parse_timestamp(text) if len(text) == _TIMESTAMP_CHARS else None


@functools.lru_cache(maxsize=TIMESTAMPS_CACHED_MAX)
def _parse_timestamp(text: str) -> int | None:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def format_timestamp(time_s: float) -> str:
    """`YYYY-MM-DDThh:mm:ssZ` of a moment in seconds since 1970."""
    return datetime.fromtimestamp(int(time_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signed_query_v1(
    method: str, parameters: Mapping[str, str], access_key_id: str, secret: str, nonce: str, timestamp: str
) -> str:
    """Sign a request by V1: the query of a GET or POST, or the form body of a POST.

    Args:
        parameters: `Action`, `Version`, `Format` and the action's own; what else a signature needs is added.
        timestamp: as `format_timestamp` gives it.
    """
    signed = {
        **parameters,
        "AccessKeyId": access_key_id,
        "SignatureMethod": V1_METHOD,
        "SignatureVersion": V1_VERSION,
        "SignatureNonce": nonce,
        "Timestamp": timestamp,
    }
    signed["Signature"] = sign_v1(string_to_sign_v1(method, signed), secret)
    return encode_parameters(signed)


def signed_headers_v3(
    method: str,
    host: str,
    path: str,
    query: bytes,
    action: str,
    version: str,
    body: bytes,
    access_key_id: str,
    secret: str,
    nonce: str,
    timestamp: str,
) -> dict[str, str]:
    """Sign a request by V3: every header it has to be sent with, `authorization` among them, by lower-case name.

    Args:
        host: as sent, with the port when it is not the scheme's own.
        query: as sent, without `?`.
        body: a form, or empty.
        timestamp: as `format_timestamp` gives it.
    """
    content_sha256 = sha256(body).hexdigest()
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": content_sha256,
        "x-acs-date": timestamp,
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
    }
    if body:
        headers["content-type"] = FORM_TYPE
    names = sorted(headers)
    canonical = canonical_request_v3(
        method, path, query, {name: [text] for name, text in headers.items()}, names, content_sha256
    )
    signature = sign_v3(string_to_sign_v3(canonical), secret)
    headers["authorization"] = (
        f"{V3_ALGORITHM} Credential={access_key_id},SignedHeaders={';'.join(names)},Signature={signature}"
    )
    return headers

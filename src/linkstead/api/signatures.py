"""Signatures of requests, both of the vendor's schemes: V1 (RPC 1.0, HMAC-SHA1) and V3 (ACS3-HMAC-SHA256).

What is checked is what the parameters mean, not how they were escaped. But the known SDKs escape canonically, so each
check first takes the bytes as sent, which is ten times cheaper, and decodes and escapes again only when that fails.
"""

import functools
import re
from binascii import b2a_base64, hexlify
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1, sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final
from urllib.parse import quote

from linkstead.api.parameters import FORM_TYPE, parse_parameters

SIGNING_KEYS_CACHED_MAX = 1_024
TIMESTAMPS_CACHED_MAX = 4_096

V1_METHOD: Final = "HMAC-SHA1"
V1_VERSION: Final = "1.0"
V3_ALGORITHM: Final = "ACS3-HMAC-SHA256"
V3_HEADERS_REQUIRED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce")
"""Headers a V3 signature has to cover: what says where to, what, when, and that it is once only."""

_SHA1_BLOCK_BYTES: Final = 64
_UNRESERVED = re.compile(r"[A-Za-z0-9\-_.~]*")


def percent_encode(text: str) -> str:
    """Escape all but `A-Z a-z 0-9 - _ . ~`, as UTF-8, in upper-case hex. Source: RFC 3986, 2.1 and 2.3."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def encode_parameters(parameters: Mapping[str, str]) -> str:
    """Write parameters as `name=value&…`, escaped and sorted by name in byte order: a query, or a form body."""
    return "&".join([f"{percent_encode(name)}={percent_encode(parameters[name])}" for name in sorted(parameters)])


class SigningKey:
    """An AccessKeySecret made ready to sign with. Never shows the secret."""

    __slots__ = ("_inner", "_outer", "_secret")

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        # HMAC [RFC 2104] keeps the two hashes that the key alone decides: half the cost of signing a short text
        key = self._secret + b"&"
        block = (key if len(key) <= _SHA1_BLOCK_BYTES else sha1(key).digest()).ljust(_SHA1_BLOCK_BYTES, b"\0")
        self._inner = sha1(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha1(bytes(byte ^ 0x5C for byte in block))

    def sign_v1(self, string_to_sign: bytes) -> bytes:
        """Base64 of the HMAC-SHA1 under secret and "&", 28 bytes."""
        inner = self._inner.copy()
        inner.update(string_to_sign)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)

    def sign_v3(self, string_to_sign: bytes) -> bytes:
        """Lower-case hex of the HMAC-SHA256 under the bare secret, 64 bytes."""
        return hexlify(hmac_digest(self._secret, string_to_sign, "sha256"))


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


@dataclass(frozen=True, slots=True)
class Authorization:
    """The Authorization header of V3. `signed_headers` are lower-case names in the order given."""

    access_key_id: str
    signed_headers: tuple[str, ...]
    signature: str


_AUTHORIZATION_FIELDS = {"Credential", "SignedHeaders", "Signature"}
_V3_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def parse_authorization(value: str) -> Authorization:
    """Read `ACS3-HMAC-SHA256 Credential=…,SignedHeaders=a;b;c,Signature=…`; blanks after the commas are tolerated.

    Raises:
        Malformed: another algorithm, a field missing, empty, unknown or twice, a signature that is not 64 hex digits,
            or a list of headers without one of `V3_HEADERS_REQUIRED`.

    Source: `cloud-api.md` 1.4 and 2.2.
    """
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
    lines += [f"{name}:{','.join(sorted([text.strip() for text in headers.get(name, ())]))}" for name in signed_headers]
    lines += ["", ";".join(signed_headers), content_sha256]
    return "\n".join(lines)


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
) -> str | None:
    """None when the signature is right and the body is the one it was made for, else the server's string to sign.

    Args:
        headers: values by lower-case name.
        body: raw, form or not.
        key: of the secret that belongs to `authorization.access_key_id`.

    Raises:
        UnreadableParameters: the query cannot be read.
    """
    given = authorization.signature.encode()
    content_sha256 = sha256(body).hexdigest()
    is_right_body = headers.get("x-acs-content-sha256") == [content_sha256]
    signed_headers = authorization.signed_headers
    if is_right_body and b"\0" not in query and query.isascii():
        # NUL for "=" has names in order: `Name.1` before `Name.10`.
        as_sent = "&".join(sorted(query.decode().replace("=", "\0").split("&"))).replace("\0", "=")
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

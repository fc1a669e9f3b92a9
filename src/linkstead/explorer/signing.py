"""How a request is signed, step by step, for a person to compare with: what `api.signatures` does, shown."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from linkstead.api import signatures
from linkstead.api.openapi import VERSION
from linkstead.api.parameters import FORM_TYPE, parse_parameters
from linkstead.explorer.arguments import Arguments, flatten_arguments

Method = Literal["GET", "POST"]
Format = Literal["JSON", "XML"]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it is sent, and what its signature was made of.

    Attributes:
        query: without `?`.
        headers: by lower-case name.
        canonical: what the string to sign was made of: of version 1 all parameters, sorted and escaped; of version 3
            the whole canonical request.
        string_to_sign: what was signed.
        signature: as sent.
    """

    method: Method
    query: str
    headers: dict[str, str]
    body: str
    canonical: str
    string_to_sign: str
    signature: str


def sign_request_v1(
    action: str,
    arguments: Arguments,
    *,
    method: Method,
    host: str,
    answer_format: Format,
    access_key_id: str,
    secret: str,
    nonce: str,
    timestamp: str,
) -> SignedRequest:
    """Sign a request by version 1: everything in the query of a GET, or in the form of a POST.

    Args:
        host: as sent, with the port when it is not the scheme's own.
        nonce: any text, used once.
        timestamp: as `signatures.format_timestamp` gives it.

    Source: `cloud-api.md` 2.1.
    """
    parameters = {
        **flatten_arguments(arguments),
        "Action": action,
        "Version": VERSION,
        "Format": answer_format,
    }
    sent = signatures.signed_query_v1(method, parameters, access_key_id, secret, nonce, timestamp)
    signed = parse_parameters(sent.encode(), b"")
    signature = signed.pop("Signature")
    headers = {"host": host}
    if method == "POST":
        headers["content-type"] = FORM_TYPE
    return SignedRequest(
        method=method,
        query=sent if method == "GET" else "",
        headers=headers,
        body=sent if method == "POST" else "",
        canonical=signatures.encode_parameters(signed),
        string_to_sign=signatures.string_to_sign_v1(method, signed),
        signature=signature,
    )


def sign_request_v3(
    action: str,
    arguments: Arguments,
    *,
    method: Method,
    host: str,
    answer_format: Format,
    access_key_id: str,
    secret: str,
    nonce: str,
    timestamp: str,
) -> SignedRequest:
    """Sign a request by version 3, ACS3-HMAC-SHA256: parameters in the query of a GET, or in the form of a POST.

    Args: as of `sign_request_v1`.

    Source: `cloud-api.md` 2.2.
    """
    parameters = flatten_arguments(arguments)
    if answer_format == "XML":
        # without it the answer is JSON
        parameters["Format"] = "XML"
    encoded = signatures.encode_parameters(parameters)
    query, body = (encoded, "") if method == "GET" else ("", encoded)
    headers = signatures.signed_headers_v3(
        method, host, "/", query.encode(), action, VERSION, body.encode(), access_key_id, secret, nonce, timestamp
    )
    authorization = signatures.parse_authorization(headers["authorization"])
    values = {name: [value] for name, value in headers.items()}
    canonical = signatures.canonical_request_v3(
        method, "/", query.encode(), values, authorization.signed_headers, sha256(body.encode()).hexdigest()
    )
    return SignedRequest(
        method=method,
        query=query,
        headers=headers,
        body=body,
        canonical=canonical,
        string_to_sign=signatures.string_to_sign_v3(canonical),
        signature=authorization.signature,
    )

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


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a request, when, and how it is to be sent.

    Attributes:
        host: as sent, with the port when it is not the scheme's own.
        nonce: any text, used once.
        timestamp: as `signatures.format_timestamp` gives it.
    """

    access_key_id: str
    secret: str
    host: str
    nonce: str
    timestamp: str
    method: Method = "POST"
    answer_format: Format = "JSON"

    def sign_v1(self, action: str, arguments: Arguments) -> SignedRequest:
        """Sign a request by version 1: everything in the query of a GET, or in the form of a POST.

        Source: `cloud-api.md` 2.1.
        """
        parameters = {
            **flatten_arguments(arguments),
            "Action": action,
            "Version": VERSION,
            "Format": self.answer_format,
        }
        sent = signatures.signed_query_v1(
            self.method, parameters, self.access_key_id, self.secret, self.nonce, self.timestamp
        )
        signed = parse_parameters(sent.encode(), b"")
        signature = signed.pop("Signature")
        form = {"content-type": FORM_TYPE} if self.method == "POST" else {}
        return self._show(
            sent,
            {"host": self.host, **form},
            signatures.encode_parameters(signed),
            signatures.string_to_sign_v1(self.method, signed),
            signature,
        )

    def sign_v3(self, action: str, arguments: Arguments) -> SignedRequest:
        """Sign a request by version 3, ACS3-HMAC-SHA256: parameters in the query of a GET, or in the form of a POST.

        Source: `cloud-api.md` 2.2.
        """
        # Without Format the answer is JSON.
        others = {"Format": self.answer_format} if self.answer_format != "JSON" else {}
        sent = signatures.encode_parameters({**flatten_arguments(arguments), **others})
        query, body = (sent.encode(), b"") if self.method == "GET" else (b"", sent.encode())
        headers = signatures.signed_headers_v3(
            self.method,
            self.host,
            "/",
            query,
            action,
            VERSION,
            body,
            self.access_key_id,
            self.secret,
            self.nonce,
            self.timestamp,
        )
        authorization = signatures.parse_authorization(headers["authorization"])
        values = {name: [value] for name, value in headers.items()}
        canonical = signatures.canonical_request_v3(
            self.method, "/", query, values, authorization.signed_headers, sha256(body).hexdigest()
        )
        return self._show(sent, headers, canonical, signatures.string_to_sign_v3(canonical), authorization.signature)

    def _show(
        self, sent: str, headers: dict[str, str], canonical: str, string_to_sign: str, signature: str
    ) -> SignedRequest:
        is_get = self.method == "GET"
        return SignedRequest(
            method=self.method,
            query=sent if is_get else "",
            headers=headers,
            body="" if is_get else sent,
            canonical=canonical,
            string_to_sign=string_to_sign,
            signature=signature,
        )

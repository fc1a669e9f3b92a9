"""Talking to a running server over its HTTP port, every request signed with ACS3-HMAC-SHA256."""

import http.client
import json
import ssl
from collections.abc import Mapping
from functools import wraps
from typing import Any
from urllib.parse import quote, urlsplit

import click

from linkstead.api.openapi import VERSION
from linkstead.api.signatures import encode_parameters, format_timestamp, signed_headers_v3
from linkstead.cli.options import ACCESS_KEY_ID, ACCESS_KEY_SECRET, FILE, Command, add_options, option, pair_secret
from linkstead.clock import Clock
from linkstead.config import DEMO_ACCESS_KEY_ID
from linkstead.errors import codes
from linkstead.http.front import INSPECTION_PREFIX
from linkstead.ids import HEX_DIGITS, Ids
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds

DEFAULT_ENDPOINT = "http://127.0.0.1:8686"
ANSWER_BYTES_MAX = 64 * 1024 * 1024
WAIT_S = 10.0
"""For an answer, beyond the time that the call itself may take."""

NONCE_CHARS = 32
DEFAULT_PORTS = {"http": 80, "https": 443}


class RefusedError(click.ClickException):
    """A gateway refused a request; `code` is what it said, empty when it said nothing."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class UnreachableError(click.ClickException):
    """A server did not answer; `reason` says why in a few words."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url}: {reason}; is the server running there? (--endpoint)")
        self.reason = reason


class Endpoint:
    """A server and the key to call it with.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT`.
        access_key_id, secret: the key.
        ca: file with the certificates to trust, PEM; None: the machine's own.
        clock, ids: time and nonce of signatures.

    Raises:
        click.UsageError: the URL is not of that form, or the file is not there.
    """

    def __init__(self, url: str, access_key_id: str, secret: str, ca: str | None, clock: Clock, ids: Ids) -> None:
        self.url = url
        self.access_key_id = access_key_id
        self.secret = secret
        self._clock = clock
        self._ids = ids
        self._scheme, self._host, self._port = parse_endpoint(url)
        self._tls: ssl.SSLContext | None = None
        if self._scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError) as error:
                raise click.UsageError(f"--ca {ca}: {error.strerror or error}") from None

    def invoke(self, action: str, parameters: Mapping[str, str], wait_s: float = 0.0) -> dict[str, Any]:
        """Call an action; what it answers, failed or not.

        Args:
            parameters: sent as a form.
            wait_s: how long the action itself may take.

        Raises:
            UnreachableError: the server cannot be reached.
            RefusedError: its gateway refused the request.
            click.ClickException: it answers, but not as a server of this API.
        """
        body = encode_parameters(parameters).encode()
        status, answer = self._exchange("POST", "/", "", action, body, wait_s)
        if status != http.client.OK:
            raise self._refusal(answer.get("Code"), answer.get("Message"), status)
        return answer

    def inspect(self, path: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read from the inspection API, as `calls`, with these fields in the query.

        Raises:
            click.ClickException: the server cannot be reached, refused the request, or has nothing there.
        """
        target = INSPECTION_PREFIX + quote(path, safe="/")
        status, answer = self._exchange("GET", target, encode_parameters(fields or {}), "Inspect", b"", 0.0)
        if status != http.client.OK:
            raise self._refusal(answer.get("code"), answer.get("error"), status)
        return answer

    def change(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Have a tool of the inspection API do something, as `POST` to `faults`; `body` is sent as JSON.

        Raises:
            click.ClickException: the server cannot be reached, refused the request, or has nothing there.
        """
        target = INSPECTION_PREFIX + quote(path, safe="/")
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = self._exchange(method, target, "", "Inspect", data, 0.0)
        if status >= http.client.BAD_REQUEST:
            raise self._refusal(answer.get("code"), answer.get("error"), status)
        return answer

    def _refusal(self, code: object, message: object, status: int) -> RefusedError:
        text = str(message or f"the request was refused with HTTP {status}")
        if code == codes.SIGNATURE_DOES_NOT_MATCH.code:
            text = f"the secret is not that of the access key {self.access_key_id}"
        return RefusedError(str(code or ""), f"{code}: {text}" if code else text)

    def _exchange(
        self, method: str, path: str, query: str, action: str, body: bytes, wait_s: float
    ) -> tuple[int, dict[str, Any]]:
        headers = signed_headers_v3(
            method,
            self._host_header(),
            path,
            query.encode(),
            action,
            VERSION,
            body,
            self.access_key_id,
            self.secret,
            self._ids.token(HEX_DIGITS, NONCE_CHARS),
            format_timestamp(self._clock.time_s()),
        )
        connection = self._connect(wait_s + WAIT_S)
        try:
            connection.request(method, f"{path}?{query}" if query else path, body or None, headers)
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(self.url, reason) from None
        finally:
            connection.close()
        return response.status, self._read_answer(response.status, data)

    def _read_answer(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data[:ANSWER_BYTES_MAX])
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise click.ClickException(f"{self.url} answers, but not as Linkstead does (HTTP {status})")
        return answer

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _host_header(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port == DEFAULT_PORTS[self._scheme] else f"{host}:{self._port}"


def parse_endpoint(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of `http://HOST:PORT` or `https://HOST:PORT`.

    Raises:
        click.UsageError: it is not of that form.
    """
    wrong = click.UsageError("--endpoint takes http://HOST:PORT or https://HOST:PORT")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if (
        not host
        or parts.scheme not in DEFAULT_PORTS
        or parts.path not in ("", "/")
        or parts.query
        or "@" in parts.netloc
    ):
        raise wrong
    return parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]


def with_endpoint(function: Command) -> Command:
    """Give a command the options that lead to a running server, and hand it the `endpoint` that they make."""

    @wraps(function)
    def wrapper(
        *, endpoint: str, access_key_id: str, access_key_secret: str | None, ca: str | None, **others: Any
    ) -> Any:
        secret = pair_secret(access_key_id, access_key_secret) or ""
        clock = SystemClock()
        return function(endpoint=Endpoint(endpoint, access_key_id, secret, ca, clock, SystemIds(clock)), **others)

    return add_options(
        wrapper,
        [
            option("--endpoint", default=DEFAULT_ENDPOINT, metavar="URL", help="The running server."),
            option("--access-key-id", type=ACCESS_KEY_ID, default=DEMO_ACCESS_KEY_ID, help="The key to call with."),
            option("--access-key-secret", type=ACCESS_KEY_SECRET, show_default="the demo key's", help="Its secret."),
            option("--ca", type=FILE, help="Certificates to trust for https, PEM."),
        ],
    )

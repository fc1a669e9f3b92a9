"""What an app sees: signatures, and the actions and records behind them."""

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from linkstead.api.openapi import VERSION
from linkstead.api.signatures import (
    canonical_request_v3,
    encode_parameters,
    format_timestamp,
    parse_authorization,
    signed_headers_v3,
    signed_query_v1,
    string_to_sign_v1,
    string_to_sign_v3,
)
from linkstead.clock import Clock
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import FaultFound, Patient
from linkstead.doctor.ports import Port
from linkstead.doctor.signing import find_parting, read_parameters, read_said
from linkstead.errors import codes
from linkstead.http.front import INSPECTION_PREFIX
from linkstead.ids import HEX_DIGITS, Ids

ANSWER_BYTES_MAX = 8 * 1024 * 1024
NONCE_CHARS = 32
INSPECT = "Inspect"
"""What stands for an action in the signature of a request to the inspection API."""

DEFAULT_PORTS = {False: 80, True: 443}
TIMESTAMP_TOLERANCE_TEXT = "15 min"
"""Source: `cloud-api.md` 2.3."""


class AppClient:
    """An app that signs with the patient's key.

    Args:
        port: where the server listens, HTTP with or without TLS.
        skew_s: what the server's clock is ahead of ours, None where it does not tell.
    """

    def __init__(self, port: Port, patient: Patient, clock: Clock, ids: Ids) -> None:
        self._port = port
        self._patient = patient
        self._clock = clock
        self._ids = ids
        self.skew_s: float | None = None

    async def call_v1(
        self, action: str, parameters: Mapping[str, str], wait_s: float = 0.0, *, is_scoped: bool = True
    ) -> dict[str, Any]:
        """Call an action by GET, signed by version 1.

        Args:
            wait_s: how long the action itself may take.
            is_scoped: with the patient's IotInstanceId, where there is one.

        Raises:
            FaultFound: the gateway of the server refused it, or it was not answered.
        """
        common = {"Action": action, "Version": VERSION, "Format": "JSON", **parameters}
        if is_scoped and self._patient.instance_id:
            common["IotInstanceId"] = self._patient.instance_id
        query = signed_query_v1("GET", common, self._key_id, self._secret, self._nonce(), self._now())
        ours = string_to_sign_v1("GET", read_parameters(query))
        return await self._exchange("GET", "/?" + query, {"host": self._host}, b"", action, ours, wait_s)

    async def call_v3(self, action: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Call an action by POST, its parameters in a form, signed by version 3. Raises: see `call_v1`."""
        return await self._send_v3("POST", "/", action, encode_parameters(parameters).encode())

    async def inspect(self, path: str) -> dict[str, Any]:
        """Read from the inspection API. Raises: see `call_v1`."""
        return await self._send_v3("GET", INSPECTION_PREFIX + quote(path, safe="/"), INSPECT, b"")

    async def _send_v3(self, method: str, path: str, action: str, body: bytes) -> dict[str, Any]:
        headers = signed_headers_v3(
            method,
            self._host,
            path,
            b"",
            action,
            VERSION,
            body,
            self._key_id,
            self._secret,
            self._nonce(),
            self._now(),
        )
        names = parse_authorization(headers["authorization"]).signed_headers
        values = {name: [text] for name, text in headers.items()}
        canonical = canonical_request_v3(method, path, b"", values, names, headers["x-acs-content-sha256"])
        return await self._exchange(method, path, headers, body, action, string_to_sign_v3(canonical), 0.0)

    async def _exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        action: str,
        string_to_sign: str,
        wait_s: float,
    ) -> dict[str, Any]:
        try:
            status, data = await asyncio.to_thread(self._send, method, target, headers, body, wait_s)
            answer = json.loads(data)
            if not isinstance(answer, dict) or (action != INSPECT and not {"RequestId", "Code"} & answer.keys()):
                raise ValueError(f"HTTP {status}")
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise FaultFound(Fault.NO_ANSWER, reason=_first_line(error)) from None
        if status != http.client.OK:
            code = answer.get("Code") or answer.get("code") or f"HTTP {status}"
            message = answer.get("Message") or answer.get("error") or ""
            raise self._refusal(action, str(code), str(message), string_to_sign)
        return answer

    def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, wait_s: float
    ) -> tuple[int, bytes]:
        host, port, tls = self._port.host, self._port.port, self._port.tls
        timeout_s = self._patient.wait_s + wait_s
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
            if tls
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )
        try:
            connection.request(method, target, body or None, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()

    def _refusal(self, action: str, code: str, message: str, ours: str) -> FaultFound:
        if code == codes.INVALID_ACCESS_KEY_ID_NOT_FOUND.code:
            return FaultFound(Fault.ACCESS_KEY_UNKNOWN, access_key_id=self._key_id)
        if code == codes.INVALID_ACCESS_KEY_ID_INACTIVE.code:
            return FaultFound(Fault.ACCESS_KEY_DISABLED, access_key_id=self._key_id)
        if code == codes.INVALID_TIME_STAMP_EXPIRED.code:
            return skew_fault(self.skew_s)
        if code == codes.THROTTLING_USER.code:
            return FaultFound(Fault.QUOTA, code=code)
        if code == codes.FORBIDDEN_RAM.code:
            return FaultFound(Fault.FORBIDDEN, action=action, access_key_id=self._key_id, message=message)
        if code == codes.IOT_INSTANCE_NOT_FOUND.code:
            return FaultFound(Fault.INSTANCE_UNKNOWN, instance_id=self._patient.instance_id)
        if code == codes.SIGNATURE_DOES_NOT_MATCH.code:
            theirs = read_said(message)
            place = find_parting(ours, theirs)
            texts = {"ours": _one_line(ours), "theirs": _one_line(theirs)}
            if place is None:
                return FaultFound(Fault.ACCESS_KEY_SECRET_WRONG, access_key_id=self._key_id, **texts)
            return FaultFound(Fault.SIGNATURE_DIFFERS, place=place + 1, **texts)
        return FaultFound(Fault.REQUEST_REFUSED, action=action, code=code, message=message)

    def check_success(self, action: str, answer: Mapping[str, Any]) -> None:
        """Raises FaultFound for an answer of the business layer that says no."""
        code = str(answer.get("Code") or "")
        if not answer.get("Success", True) or code:
            raise self._refusal(action, code, str(answer.get("ErrorMessage") or ""), "")

    @property
    def _key_id(self) -> str:
        return self._patient.access_key_id

    @property
    def _secret(self) -> str:
        return self._patient.access_key_secret

    @property
    def _host(self) -> str:
        host = f"[{self._port.host}]" if ":" in self._port.host else self._port.host
        is_default = self._port.port == DEFAULT_PORTS[self._port.tls is not None]
        return host if is_default else f"{host}:{self._port.port}"

    def _nonce(self) -> str:
        return self._ids.token(HEX_DIGITS, NONCE_CHARS)

    def _now(self) -> str:
        return format_timestamp(self._clock.time_s())


def skew_fault(skew_s: float | None) -> FaultFound:
    """The fault of clocks that differ; `skew_s` is what the server's is ahead, None where that is not known."""
    text = f"{skew_s:+.0f} s" if skew_s is not None else f"> {TIMESTAMP_TOLERANCE_TEXT}"
    return FaultFound(Fault.CLOCK_SKEW, skew=text, limit=TIMESTAMP_TOLERANCE_TEXT)


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _first_line(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "time out"
    if isinstance(error, ssl.SSLError):
        return str(error.reason)
    return (str(error) or type(error).__name__).splitlines()[0]

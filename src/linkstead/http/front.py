"""What is served at which path: the OpenAPI at `/` and its description, registration of devices, health, and the
inspection API.
"""

import base64
import binascii
import email.utils
import logging
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from linkstead.api.authorization import (
    INSPECT_CALLS,
    INSPECT_DEVICE,
    INSPECT_GROUPS,
    INSPECT_METRICS,
    authorize_products,
)
from linkstead.api.call_view import view_call
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.api.openapi import V3_PREFIX, OpenApi
from linkstead.errors import ApiError, codes
from linkstead.explorer.openapi import encode_openapi
from linkstead.http.group_view import view_groups
from linkstead.http.listener import ANSWER_WAIT_S
from linkstead.http.metrics import METRICS_PATH, METRICS_TYPE
from linkstead.http.registration import REGISTRATION_PATH, answer_registration
from linkstead.invocation import CallFilter, CallHistory, CallJournal, Diagnosis, Verdict
from linkstead.registry import AccessKey, DeviceKey, Registry, Scope, find_device
from linkstead.sessions import SessionTable
from linkstead.subscription import Subscriptions

log = logging.getLogger(__name__)

INSPECTION_PREFIX = "/_linkstead/"
DESCRIPTION_PATH = "/openapi.json"
DOCS_PATH = "/docs"
DEV_TOOLS = ("faults", "testing")
"""What only a development server has."""

CALLS_LISTED_MAX = 500
CALLS_LISTED_DEFAULT = 50

CONSOLE_PREFIX = "/console"

GUARDS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
"""With every answer that a browser may be made to show; pages have their own."""


Tool = Callable[[AccessKey, HttpRequest, str], Awaitable[HttpReply]]
"""Answers what is below a name of its own in the inspection API; the last argument is the rest of the path."""


class _Unauthorized(Exception):
    """No key, or a wrong one; the first argument says what to do, the second is the id of the key, if one was named."""


class HttpFront:
    """Answers a request by its path.

    Args:
        openapi: what `/` is.
        registry, sessions, journal, history, subscriptions: what the inspection API shows; devices register at the
            first.
        show_console: answers what is below `/console`.
        find_obstacles: says why apps had better call another node, in words for programs; nothing while it is ready.
        show_metrics: the metrics of this node, in Prometheus's text format.
        has_neighbours: other nodes may have later calls in the history than this one has at hand.

    Attributes:
        tools: what else there is below `/_linkstead/`, by its first name.
    """

    def __init__(
        self,
        *,
        openapi: OpenApi,
        registry: Registry,
        sessions: SessionTable,
        journal: CallJournal,
        history: CallHistory,
        subscriptions: Subscriptions,
        show_console: Callable[[HttpRequest], Awaitable[HttpReply]],
        find_obstacles: Callable[[], list[str]],
        show_metrics: Callable[[], bytes],
        has_neighbours: bool = False,
    ) -> None:
        self._has_neighbours = has_neighbours
        self._openapi = openapi
        self._registry = registry
        self._sessions = sessions
        self._journal = journal
        self._history = history
        self._subscriptions = subscriptions
        self._show_console = show_console
        self._find_obstacles = find_obstacles
        self.tools: dict[str, Tool] = {}
        self._show_metrics = show_metrics
        self.operator_account_id = ""
        """Whose keys may read the metrics, which are those of all accounts together."""

    def answer(self, request: HttpRequest) -> Coroutine[None, None, HttpReply]:
        """Answer one request; nothing is raised."""
        if request.path == "/" and not _is_browser(request):
            return self._openapi.answer(request)
        return self._answer(request)

    def bound_s(self, request: HttpRequest) -> float:
        """How many seconds after it came a request has to be answered."""
        return min(self._openapi.bound_s(request), ANSWER_WAIT_S) if request.path == "/" else ANSWER_WAIT_S

    async def _answer(self, request: HttpRequest) -> HttpReply:
        path = request.path
        if path == "/":
            return _lead_to(CONSOLE_PREFIX + "/")
        if path == DOCS_PATH:
            return _lead_to(CONSOLE_PREFIX + "/explorer")
        if path == CONSOLE_PREFIX or path.startswith(CONSOLE_PREFIX + "/"):
            return await self._show_console(request)
        if path in ("/healthz", "/readyz"):
            return self._tell_health(request)
        if path == DESCRIPTION_PATH:
            return HttpReply(HTTPStatus.OK, "application/json;charset=utf-8", encode_openapi(), headers=dict(GUARDS))
        if path == REGISTRATION_PATH:
            return await answer_registration(self._registry, request)
        if path.startswith(INSPECTION_PREFIX) or path == METRICS_PATH:
            return await self._inspect(request)
        return await self._openapi.answer(request)

    async def answer_operator(self, request: HttpRequest) -> HttpReply:
        """Answer a request to the port for metrics, where nobody is asked who he is; nothing is raised."""
        if request.path == METRICS_PATH and request.method in ("GET", "HEAD"):
            return HttpReply(HTTPStatus.OK, METRICS_TYPE, self._show_metrics(), headers=dict(GUARDS))
        if request.path in ("/healthz", "/readyz"):
            return self._tell_health(request)
        return _text(HTTPStatus.NOT_FOUND, "here are /metrics, /healthz and /readyz")

    def _tell_health(self, request: HttpRequest) -> HttpReply:
        if request.path == "/healthz":
            reply = _text(HTTPStatus.OK, "ok")
            # so that a client whose signatures are refused can tell by how much its clock differs
            reply.headers["Date"] = email.utils.formatdate(request.received_s, usegmt=True)
            return reply
        obstacles = self._find_obstacles()
        status = HTTPStatus.SERVICE_UNAVAILABLE if obstacles else HTTPStatus.OK
        return _json(status, {"ready": not obstacles, "reasons": obstacles})

    def finish(self, reply: HttpReply, delivered: bool) -> None:
        """Close the record of the call that a reply answered."""
        if reply.call is not None:
            self._openapi.finish(reply.call, delivered=delivered)

    async def _inspect(self, request: HttpRequest) -> HttpReply:
        key = None
        try:
            key = await self._check_key(request)
            return await self._show(request, key)
        except _Unauthorized as error:
            text, *names = error.args
            self._openapi.record(request, codes.INVALID_ACCESS_KEY_ID_NOT_FOUND.code, None, "".join(names))
            reply = _json(HTTPStatus.UNAUTHORIZED, {"error": text})
            reply.headers["WWW-Authenticate"] = 'Basic realm="linkstead"'
            return reply
        except ApiError as refused:
            if key is not None:
                self._openapi.record(request, refused.code, key, "")
            status = refused.row.http_status if not refused.row.is_business else HTTPStatus.NOT_FOUND
            return _json(status, {"error": refused.message("en"), "code": refused.code})
        except Exception:
            log.exception("inspection failed", extra={"path": request.path})
            error_text = "the request failed inside the server; see its log"
            return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": error_text})

    async def _check_key(self, request: HttpRequest) -> AccessKey:
        value = request.header("authorization") or ""
        if value.startswith(V3_PREFIX):
            return await self._openapi.authenticate(request)
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() != "basic":
            raise _Unauthorized("send an access key: HTTP Basic (id and secret), or an ACS3-HMAC-SHA256 signature")
        if not request.is_private:
            raise _Unauthorized("HTTP Basic is taken over TLS or from this machine only; sign with ACS3-HMAC-SHA256")
        try:
            access_key_id, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise _Unauthorized("the Basic credentials are not Base64 of id:secret") from None
        key = await self._openapi.check_secret(access_key_id, secret)
        if key is None:
            raise _Unauthorized("unknown or disabled access key, or wrong secret", access_key_id)
        return key

    async def _show(self, request: HttpRequest, key: AccessKey) -> HttpReply:
        kind, _, name = request.path.removeprefix(INSPECTION_PREFIX).partition("/")
        if kind in self.tools:
            return await self.tools[kind](key, request, unquote(name))
        if kind in DEV_TOOLS:
            return _json(HTTPStatus.NOT_FOUND, {"error": f"{kind}: only `linkstead dev` has them"})
        if request.method != "GET":
            return _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET is served here"})
        if request.path == METRICS_PATH:
            await authorize_products(self._registry, key, INSPECT_METRICS)
            if key.account_id != self.operator_account_id:
                raise ApiError(codes.FORBIDDEN_RAM)
            return HttpReply(HTTPStatus.OK, METRICS_TYPE, self._show_metrics(), headers=dict(GUARDS))
        shows: dict[str, Callable[[AccessKey, str, dict[str, str]], Awaitable[HttpReply]]] = {
            "calls": self._show_calls,
            "devices": self._show_device,
            "consumer-groups": self._show_groups,
        }
        show = shows.get(kind)
        if show is None:
            names = ", ".join([*shows, *self.tools])
            return _json(HTTPStatus.NOT_FOUND, {"error": f"nothing at {request.path}; there are: {names}"})
        fields = {name: values[0] for name, values in parse_qs(request.query.decode("latin-1")).items()}
        return await show(key, unquote(name), fields)

    async def _show_calls(self, key: AccessKey, call_id: str, fields: dict[str, str]) -> HttpReply:
        if call_id:
            call = self._journal.find(key.account_id, call_id)
            call = call or await self._history.find_call(key.account_id, call_id)
            products = [call.key.product_key] if call is not None and call.key is not None else []
            await authorize_products(self._registry, key, INSPECT_CALLS, *products)
            if call is None:
                return _json(HTTPStatus.NOT_FOUND, {"error": f"no call {call_id}"})
            return _json(HTTPStatus.OK, view_call(call, whole=True))
        try:
            calls = _read_filter(key.account_id, fields)
        except ValueError as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        products = [calls.product_key] if calls.product_key else []
        await authorize_products(self._registry, key, INSPECT_CALLS, *products)
        found = self._journal.list(calls)
        if self._has_neighbours or len(found) < calls.limit:
            seen = {call.request_id for call in found}
            older = await self._history.list_calls(calls)
            found += [call for call in older if call.request_id not in seen]
        found.sort(key=lambda call: call.received_ms, reverse=True)
        return _json(HTTPStatus.OK, {"calls": [view_call(call, whole=False) for call in found[: calls.limit]]})

    async def _show_device(self, key: AccessKey, name: str, _fields: dict[str, str]) -> HttpReply:
        product_key, _, device_name = name.partition("/")
        await authorize_products(self._registry, key, INSPECT_DEVICE, product_key)
        device = await find_device(
            self._registry, Scope(key.account_id, None), product_key=product_key, device_name=device_name
        )
        session = self._sessions.find(DeviceKey(product_key, device_name))
        view: dict[str, Any] = {
            "product_key": product_key,
            "device_name": device_name,
            "iot_id": device.iot_id,
            "status": self._sessions.status(device),
            "subscriptions": sorted(session.subscriptions) if session else [],
            "ext": session.link.ext if session and session.link else None,
            "connections": session.connections if session else 0,
        }
        return _json(HTTPStatus.OK, view)

    async def _show_groups(self, key: AccessKey, name: str, _fields: dict[str, str]) -> HttpReply:
        await authorize_products(self._registry, key, INSPECT_GROUPS)
        if name:
            return _json(HTTPStatus.NOT_FOUND, {"error": "groups are shown all together: consumer-groups"})
        return _json(HTTPStatus.OK, await view_groups(self._subscriptions, key.account_id))


def _read_filter(account_id: str, fields: dict[str, str]) -> CallFilter:
    known = {"product_key", "device_name", "action", "verdict", "diagnosis", "before_ms", "limit"}
    unknown = set(fields) - known
    if unknown:
        raise ValueError(f"unknown field {min(unknown)}; there are: {', '.join(sorted(known))}")
    limit = _read_int(fields, "limit", 1, CALLS_LISTED_MAX)
    return CallFilter(
        account_id=account_id,
        product_key=fields.get("product_key", ""),
        device_name=fields.get("device_name", ""),
        action=fields.get("action", ""),
        verdict=Verdict(fields["verdict"]) if "verdict" in fields else None,
        diagnosis=Diagnosis(fields["diagnosis"]) if "diagnosis" in fields else None,
        before_ms=_read_int(fields, "before_ms", 0, 2**53),
        limit=limit or CALLS_LISTED_DEFAULT,
    )


def _read_int(fields: dict[str, str], name: str, low: int, high: int) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
        raise ValueError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _is_browser(request: HttpRequest) -> bool:
    return not request.query and "text/html" in (request.header("accept") or "") and request.method == "GET"


def _lead_to(path: str) -> HttpReply:
    return HttpReply(HTTPStatus.FOUND, "text/html;charset=utf-8", b"", headers={**GUARDS, "Location": path})


def _text(status: HTTPStatus, text: str) -> HttpReply:
    return HttpReply(status, "text/plain;charset=utf-8", text.encode() + b"\n", headers=dict(GUARDS))


def _json(status: int, value: object) -> HttpReply:
    return HttpReply(status, "application/json;charset=utf-8", msgspec.json.encode(value), headers=dict(GUARDS))

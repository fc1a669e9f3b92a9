"""The OpenAPI as one function: a request of HTTP in, a reply out.

Order of checks: common parameters, access key, signature method, time, signature, nonce, version, action,
authorisation, throttling, parameters, the action itself. Source: `cloud-api.md` 2.6.
"""

import hmac
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import lru_cache
from math import inf
from typing import Any, Final

from msgspec.structs import replace

from linkstead.action import ActionContext, Answer, AnyAction, Behaviour
from linkstead.api import parameters as api_parameters
from linkstead.api import render, signatures
from linkstead.api.admission import CallQuotas, Nonces
from linkstead.api.audit import Audit, is_managing
from linkstead.api.authorization import authorize
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.api.layouts import Layout, Layouts
from linkstead.api.passwords import CONSOLE_USER
from linkstead.api.tokens import check_token
from linkstead.clock import Clock
from linkstead.errors import ApiError, codes, invalid_parameter, missing_parameter
from linkstead.ids import Ids
from linkstead.invocation import (
    Call,
    CallHistory,
    CallJournal,
    Delivery,
    Diagnosis,
    Router,
    ServiceCallStore,
    Stage,
    Verdict,
    diagnose,
)
from linkstead.invocation.call import mark_stage
from linkstead.measures import Sample
from linkstead.models import ModelShelf, ScriptRunner
from linkstead.registry import PUBLIC_INSTANCE, AccessKey, Registry, Scope, StoreAway
from linkstead.sessions import SessionTable
from linkstead.subscription import Subscriptions
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import News

log = logging.getLogger(__name__)

V3_PREFIX: Final = "ACS3-"
"""How an Authorization header of signature version 3 begins, whatever its algorithm."""

VERSION: Final = "2018-01-20"
NOBODY: Final = AccessKey("", "", "", "", False, 0)
TIMESTAMP_TOLERANCE_S: Final = 900
"""Source: `cloud-api.md` 2.3."""

VERDICT_WAIT_MS: Final = 30
"""After the end of a call's time, for whoever routed it to say how it ended."""

ACCOUNT_SCOPES_CACHED_MAX = 1_024
UNKNOWN_PARAMETERS_KEPT_MAX: Final = 16
"""Names kept with a call; what else was sent is forgotten."""

COMMON_PARAMETERS_V1 = (
    "AccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "SignatureNonce",
    "Timestamp",
    "Version",
    "Action",
)
"""Required with signature version 1, in the order in which a missing one is named. Source: `cloud-api.md` 1.3."""

COMMON_HEADERS_V3 = {
    "x-acs-action": "Action",
    "x-acs-version": "Version",
    "x-acs-date": "Timestamp",
    "x-acs-signature-nonce": "SignatureNonce",
}
"""Required with ACS3, and the name a missing one goes by in the error. Source: `cloud-api.md` 1.4."""


# Looked up once: to ask an enumeration for a member costs as much as to make a record.
_RECEIVED: Final = Stage.RECEIVED
_AUTHENTICATED: Final = Stage.AUTHENTICATED
_RETURNED: Final = Stage.RETURNED


class OpenApi:
    """Answers requests of the OpenAPI.

    Args:
        actions: every action served, by name.
        registry, models, scripts, telemetry, service_calls, subscriptions, sessions, router, delivery, news, journal,
            history, clock, ids: what actions reach.
        audit: keeps what is changed and what is refused.
        nonces: replay protection.
        quotas: requests per second.
        behaviour: the switches that change answers.
        node: this node's name in timelines.
        strict: refuse unknown parameters instead of recording them.
        apps_time_s: what the time of a signature is held against; that of `clock` unless that can be turned.

    Attributes:
        layouts, v3_layouts: of the requests that were signed rightly, by V1 and by V3.
    """

    def __init__(
        self,
        *,
        actions: Mapping[str, AnyAction],
        registry: Registry,
        models: ModelShelf,
        scripts: ScriptRunner,
        telemetry: TelemetryStore,
        service_calls: ServiceCallStore,
        subscriptions: Subscriptions,
        sessions: SessionTable,
        router: Router,
        delivery: Delivery,
        news: News,
        journal: CallJournal,
        history: CallHistory,
        clock: Clock,
        ids: Ids,
        audit: Audit,
        nonces: Nonces,
        quotas: CallQuotas,
        behaviour: Behaviour,
        node: str,
        strict: bool,
        apps_time_s: Callable[[], float] | None = None,
    ) -> None:
        self._actions = actions
        self._managing = {name for name in actions if is_managing(name)}
        self._audit = audit
        self._registry = registry
        self._journal = journal
        self._time_s, self._monotonic_s = clock.time_s, clock.monotonic_s
        self._apps_time_s = apps_time_s or clock.time_s
        self._ids = ids
        self._nonces = nonces
        self._quotas = quotas
        self.layouts, self.v3_layouts = Layouts(), Layouts(is_v3=True)
        self._behaviour = behaviour
        self._node = node
        self._strict = strict
        self._strict_instances = behaviour.strict_instances
        self._answered: dict[str, int] = {}
        self._refused: dict[tuple[str, str], int] = {}
        # What is the same for all requests, which get a copy each.
        self._context = ActionContext(
            caller=NOBODY,
            scope=Scope("", None),
            request_id="",
            registry=registry,
            models=models,
            scripts=scripts,
            telemetry=telemetry,
            service_calls=service_calls,
            subscriptions=subscriptions,
            sessions=sessions,
            router=router,
            delivery=delivery,
            news=news,
            journal=journal,
            history=history,
            clock=clock,
            ids=ids,
            behaviour=behaviour,
            node=node,
        )

    def answer(self, request: HttpRequest) -> Coroutine[None, None, HttpReply]:
        """Answer one request. Whatever goes wrong becomes an answer; nothing is raised.

        A reply with a `call` has to be given back to `finish` once it is written, or could not be.
        """
        return self._answer(_Exchange(request, self._ids.request_id()))

    def answer_for(
        self,
        caller: AccessKey,
        request: HttpRequest,
        action: str,
        parameters: Mapping[str, str],
        *,
        as_xml: bool = False,
    ) -> Coroutine[None, None, HttpReply]:
        """Answer a request of somebody who has logged in: all but the signature is as with a signed one.

        Rights, quotas, the audit log and the record of a call are the same, and so is what is said of `finish`.

        Args:
            caller: who has logged in.
            request: what came in, for its time and the client's address.
            action: as on the wire.
            parameters: of the action, as on the wire; none of the common ones.
        """
        exchange = _Exchange(request, self._ids.request_id())
        exchange.is_v3, exchange.as_xml = True, as_xml
        exchange.parameters = dict(parameters)
        exchange.caller = caller
        exchange.claimed_action, exchange.claimed_version = action, VERSION
        exchange.action_name = action if action in self._actions else ""
        return self._answer(exchange)

    async def _answer(self, exchange: "_Exchange") -> HttpReply:
        try:
            # What needs no waiting is done without a coroutine.
            caller = self._authenticate_at_hand(exchange) or await self._authenticate(exchange)
            action = self._open(exchange, caller)
            if caller.user_name:
                await authorize(self._registry, caller, action.name, exchange.parameters)
            account_id, quotas, now_s = caller.account_id, self._quotas, exchange.opened_s
            if not quotas.take(account_id, action.name, now_s) and not await quotas.ask(account_id, action.name, now_s):
                raise ApiError(codes.THROTTLING_USER)
            bound = self._bind(exchange, action)
            context = self._make_context(exchange, caller)
            if context.instance_id or self._strict_instances:
                context.scope, context.instance_id = await self._find_scope(caller, context.instance_id)
            exchange.enter(context)
            answer: Answer = await action.function(context, bound)
            return self._tell(exchange, answer)
        except ApiError as error:
            self._record(exchange, error.code)
            return self._refuse(exchange, error)
        except StoreAway as away:
            extra = {"request_id": exchange.request_id, "action": exchange.action_name, "fault": str(away)}
            log.error("request failed: the database could not be read or written in time", extra=extra)
            self._record(exchange, codes.SYSTEM_EXCEPTION.code)
            return self._fail(exchange, away)
        except Exception as fault:
            # The edge of the core: a bug or a broken disk must not reach the caller as a traceback.
            log.exception("request failed", extra={"request_id": exchange.request_id, "action": exchange.action_name})
            self._record(exchange, codes.SYSTEM_EXCEPTION.code)
            return self._fail(exchange, fault)

    def bound_s(self, request: HttpRequest) -> float:
        """How many seconds after it came a request has to be answered, whoever sent it; infinity where none says."""
        exchange = _Exchange(request, "")
        try:
            exchange.read_parameters(self.v3_layouts if exchange.is_v3 else self.layouts)
        except ApiError:
            return inf
        action = self._actions.get(self._read_action(exchange) or "")
        if action is None or action.wait_ms is None:
            return inf
        return (action.wait_ms(exchange.parameters, self._behaviour) + VERDICT_WAIT_MS) / 1000

    @staticmethod
    def _read_action(exchange: "_Exchange") -> str | None:
        return exchange.request.header("x-acs-action") if exchange.is_v3 else exchange.parameters.get("Action")

    def _record(self, exchange: "_Exchange", code: str, product_key: object = None) -> None:
        self._audit.record(
            action=exchange.action_name or exchange.request.path,
            code=code,
            request_id=exchange.request_id,
            address=exchange.request.peer,
            caller=exchange.caller,
            claimed=exchange.claimed.key,
            claimed_id=exchange.claimed.access_key_id,
            parameters=exchange.parameters,
            product_key=product_key if isinstance(product_key, str) else "",
        )

    def finish(self, call: Call, *, delivered: bool) -> None:
        """Close a call's record: its answer was written to the caller, or the caller had gone."""
        if delivered:
            mark_stage(call, _RETURNED, self._time_s(), self._monotonic_s())
        else:
            call.caller_gone = True
        self._journal.close(call)

    def sample(self) -> Iterator[Sample]:
        """Requests that an action answered, and those that were refused with a code of the catalogue."""
        for action, count in self._answered.items():
            yield "linkstead_api_answers_total", (action,), float(count)
        for labels, count in self._refused.items():
            yield "linkstead_api_errors_total", labels, float(count)

    async def authenticate(self, request: HttpRequest) -> AccessKey:
        """The key that signed a request with ACS3 for a path other than `/`: the inspection API.

        Raises:
            ApiError: as for an action.
        """
        claimed = _Claimed()
        try:
            signed = _read_v3(request, claimed)
            access_key_id = claimed.access_key_id
            known = self._registry.recall_access_key(access_key_id)
            key = self._admit(known or await self._registry.find_access_key(access_key_id), claimed)
            self._check_v3(request, signed, key)
        except ApiError as error:
            self._record_inspection(request, error.code, None, claimed)
            raise
        return key

    def record(self, request: HttpRequest, code: str, caller: AccessKey | None, access_key_id: str = "") -> None:
        """Keep in the audit log that a request for a path other than `/` changed something, or was refused.

        Args:
            code: why it was refused; empty where it was not.
        """
        self._record_inspection(request, code, caller, _Claimed(access_key_id))

    def _record_inspection(
        self, request: HttpRequest, code: str, caller: AccessKey | None, claimed: "_Claimed"
    ) -> None:
        self._audit.record(
            action=request.path,
            code=code,
            request_id=self._ids.request_id(),
            address=request.peer,
            caller=caller,
            claimed=claimed.key,
            claimed_id=claimed.access_key_id,
        )

    def quota(self, action: str) -> int:
        """Requests a second that an account has of an action; 0 where there is no limit."""
        return self._quotas.limit(action)

    async def check_secret(self, access_key_id: str, secret: str) -> AccessKey | None:
        """The key when the secret is the right one and the key enabled; compared in constant time."""
        key = await self._registry.find_access_key(access_key_id)
        # A temporary key is nothing without its token, for which Basic has no place.
        if key is None or not key.enabled or key.is_temporary or access_key_id.startswith(CONSOLE_USER):
            return None
        return key if hmac.compare_digest(key.secret.encode(), secret.encode()) else None

    def _authenticate_at_hand(self, exchange: "_Exchange") -> AccessKey | None:
        """Who signed a request; None where his key has to be read from the store first: see `_authenticate`."""
        if exchange.caller is not None:
            return exchange.caller
        request, claimed = exchange.request, exchange.claimed
        exchange.read_parameters(self.v3_layouts if exchange.is_v3 else self.layouts)
        action = self._read_action(exchange)
        if action is not None and action in self._actions:
            exchange.action_name = action
        if request.method not in ("GET", "POST"):
            raise ApiError(codes.UNSUPPORTED_HTTP_METHOD)
        if request.path not in ("/", ""):
            raise ApiError(codes.INVALID_ACTION_NOT_FOUND)
        if exchange.is_v3:
            exchange.signed_v3 = _read_v3(request, claimed)
        else:
            if exchange.layout is None:
                _check_common_parameters(exchange.parameters)
            claimed.access_key_id = exchange.parameters["AccessKeyId"]
        key = self._registry.recall_access_key(claimed.access_key_id)
        return None if key is None else self._accept(exchange, key)

    async def _authenticate(self, exchange: "_Exchange") -> AccessKey:
        return self._accept(exchange, await self._registry.find_access_key(exchange.claimed.access_key_id))

    def _accept(self, exchange: "_Exchange", known: AccessKey | None) -> AccessKey:
        """Take a request that is signed by the key it names."""
        key = self._admit(known, exchange.claimed)
        signed_v3, parameters = exchange.signed_v3, exchange.parameters
        if signed_v3 is not None:
            request = exchange.request
            # Of a form there are pairs that the query has not.
            is_in_order = exchange.layout is not None and not request.body
            self._check_v3(request, signed_v3, key, exchange.pairs if is_in_order else None)
            exchange.claimed_action, exchange.claimed_version = signed_v3.action, signed_v3.version
        else:
            self._check_v1(exchange, key)
            exchange.claimed_action, exchange.claimed_version = parameters["Action"], parameters["Version"]
        exchange.caller = key
        if exchange.layout is None:
            (self.layouts if signed_v3 is None else self.v3_layouts).remember(exchange.sent, parameters)
        return key

    def _open(self, exchange: "_Exchange", caller: AccessKey) -> AnyAction:
        """The action that a request is for; a record of the call is open from now on where it is one."""
        if exchange.claimed_version != VERSION:
            raise ApiError(codes.INVALID_VERSION)
        action = self._actions.get(exchange.claimed_action)
        if action is None:
            raise ApiError(codes.INVALID_ACTION_NOT_FOUND)
        exchange.action = action
        now_s = exchange.opened_s = self._time_s()
        if action.is_call:
            request = exchange.request
            call = exchange.call = Call(
                exchange.request_id, self._node, action.name, caller.account_id, caller.access_key_id
            )
            mark_stage(call, _RECEIVED, request.received_s, request.received_monotonic_s)
            mark_stage(call, _AUTHENTICATED, now_s, self._monotonic_s())
            self._journal.open(call)
        return action

    def _bind(self, exchange: "_Exchange", action: AnyAction) -> Any:
        layout, parameters, aliases = exchange.layout, exchange.parameters, action.aliases
        if layout is not None:
            unknown = layout.list_unknown(action.request, parameters, aliases)
        else:
            unknown = api_parameters.unknown_parameters(action.request, parameters, aliases)
        if unknown:
            shown = [each[: api_parameters.NAME_SHOWN_CHARS_MAX] for each in unknown[:UNKNOWN_PARAMETERS_KEPT_MAX]]
            if self._strict:
                raise invalid_parameter(shown[0])
            if exchange.call is not None:
                exchange.call.unknown_parameters = shown
        if layout is not None:
            return layout.bind(action.request, parameters, aliases)
        return api_parameters.bind(action.request, parameters, aliases)

    def _make_context(self, exchange: "_Exchange", caller: AccessKey) -> ActionContext:
        return replace(
            self._context,
            caller=caller,
            scope=_account_scope(caller.account_id),
            request_id=exchange.request_id,
            instance_id=exchange.parameters.get("IotInstanceId", PUBLIC_INSTANCE),
            call=exchange.call,
        )

    def _tell(self, exchange: "_Exchange", answer: Answer) -> HttpReply:
        name = exchange.action_name
        if name in self._managing:
            self._record(exchange, answer.code or "", getattr(answer, "product_key", None))
        self._answered[name] = self._answered.get(name, 0) + 1
        return exchange.reply(answer)

    async def _find_scope(self, caller: AccessKey, instance_id: str) -> tuple[Scope, str]:
        known = not instance_id or instance_id in await self._registry.find_instances(caller.account_id)
        if not self._strict_instances:
            # A migrated application goes on sending the id of its old instance.
            return _account_scope(caller.account_id), instance_id if known else PUBLIC_INSTANCE
        if not known:
            raise ApiError(codes.IOT_INSTANCE_NOT_FOUND, IotInstanceId=instance_id)
        return Scope(caller.account_id, instance_id), instance_id

    def _check_v1(self, exchange: "_Exchange", key: AccessKey) -> None:
        parameters = exchange.parameters
        method = parameters["SignatureMethod"]
        if method != signatures.V1_METHOD and method.upper() != signatures.V1_METHOD:
            raise ApiError(codes.INVALID_SIGNATURE_METHOD)
        if parameters["SignatureVersion"] != signatures.V1_VERSION:
            raise ApiError(codes.INVALID_SIGNATURE_VERSION)
        self._check_time(parameters["Timestamp"])
        wanted = signatures.check_v1(
            exchange.request.method,
            exchange.pairs,
            parameters,
            signatures.signing_key(key.secret),
            is_in_order=exchange.layout is not None,
        )
        if wanted is not None:
            raise ApiError(codes.SIGNATURE_DOES_NOT_MATCH, fills={"StringToSign": wanted})
        self._check_token(key, parameters.get("SecurityToken"))
        self._use_nonce(key, parameters["SignatureNonce"])

    def _check_v3(
        self, request: HttpRequest, signed: "_SignedV3", key: AccessKey, pairs: list[str] | None = None
    ) -> None:
        self._check_time(signed.timestamp)
        wanted = signatures.check_v3(
            request.method,
            request.path,
            request.query,
            request.headers,
            request.body,
            signed.authorization,
            signatures.signing_key(key.secret),
            pairs,
        )
        if wanted is not None:
            raise ApiError(codes.SIGNATURE_DOES_NOT_MATCH, fills={"StringToSign": wanted})
        self._check_token(key, request.header("x-acs-security-token"))
        self._use_nonce(key, signed.nonce)

    def _admit(self, key: AccessKey | None, claimed: "_Claimed") -> AccessKey:
        if key is None or claimed.access_key_id.startswith(CONSOLE_USER):
            raise ApiError(codes.INVALID_ACCESS_KEY_ID_NOT_FOUND)
        claimed.key = key
        if not key.enabled:
            raise ApiError(codes.INVALID_ACCESS_KEY_ID_INACTIVE)
        return key

    def _check_token(self, key: AccessKey, token: str | None) -> None:
        """Raises ApiError unless a temporary key comes with its own token, in time; of a lasting key none is asked."""
        if key.security_token:
            check_token(key, token, self._time_s())

    def _check_time(self, timestamp: str) -> None:
        moment_s = signatures.parse_timestamp(timestamp)
        if moment_s is None:
            raise ApiError(codes.INVALID_TIME_STAMP_FORMAT)
        if abs(self._apps_time_s() - moment_s) > TIMESTAMP_TOLERANCE_S:
            raise ApiError(codes.INVALID_TIME_STAMP_EXPIRED)

    def _use_nonce(self, key: AccessKey, nonce: str) -> None:
        # Only now, with the signature found right: a stranger must not be able to burn nonces.
        if not self._nonces.use(key.access_key_id, nonce, self._monotonic_s()):
            raise ApiError(codes.SIGNATURE_NONCE_USED)

    def _refuse(self, exchange: "_Exchange", error: ApiError) -> HttpReply:
        call = exchange.call
        if call is not None and not call.is_ended:
            throttled = error.row in (codes.THROTTLING_USER, codes.MESSAGE_RATE_LIMIT)
            call.end(Verdict.REJECTED, Diagnosis.THROTTLED if throttled else Diagnosis.REJECTED, error.code)
        refused = (exchange.action_name, error.code)
        self._refused[refused] = self._refused.get(refused, 0) + 1
        message = error.message(self._behaviour.language)
        if error.row.is_business:
            return exchange.reply(Answer(success=False, code=error.code, error_message=message))
        return exchange.reply_error(error, message)

    def _fail(self, exchange: "_Exchange", fault: Exception) -> HttpReply:
        action, context, call = exchange.action, exchange.context, exchange.call
        if action is not None and action.failure is not None and context is not None:
            if call is not None and not call.is_ended:
                call.end(Verdict.UNKNOWN, diagnose(fault))
            answer: Answer = action.failure(context)
            return exchange.reply(answer)
        error = ApiError(codes.SYSTEM_EXCEPTION)
        if call is not None and not call.is_ended:
            call.end(Verdict.UNKNOWN, diagnose(fault), error.code)
        return self._refuse(exchange, error)


def _find_form(request: HttpRequest) -> bytes:
    """The body where it holds parameters, else nothing."""
    body = request.body
    return body if body and api_parameters.is_form(request.header("content-type") or "") else b""


def _check_common_parameters(parameters: dict[str, str]) -> None:
    """Raises ApiError unless a request has all that a V1 signature needs."""
    for name in COMMON_PARAMETERS_V1:
        if name not in parameters:
            raise missing_parameter(name)


def _read_v3(request: HttpRequest, claimed: "_Claimed") -> "_SignedV3":
    """Who says to have signed a request, and what its headers say in place of common parameters."""
    value = request.header("authorization") or ""
    if not value.startswith(signatures.V3_ALGORITHM + " "):
        raise ApiError(codes.INVALID_SIGNATURE_METHOD)
    try:
        authorization = signatures.parse_authorization(value)
    except signatures.Malformed as error:
        raise ApiError(codes.INCOMPLETE_SIGNATURE, fills={"StringToSign": str(error)}) from None
    headers = request.headers
    try:
        action, version, timestamp, nonce = [headers[header][0] for header in COMMON_HEADERS_V3]
    except KeyError:
        missing = next(name for header, name in COMMON_HEADERS_V3.items() if header not in headers)
        raise missing_parameter(missing) from None
    claimed.access_key_id = authorization.access_key_id
    return _SignedV3(authorization, action, version, timestamp, nonce)


@lru_cache(maxsize=ACCOUNT_SCOPES_CACHED_MAX)
def _account_scope(account_id: str) -> Scope:
    """What a request sees that is of no instance: all of its account."""
    return Scope(account_id, None)


class _Claimed:
    """The key that a request names, before it is known whether its signature is right."""

    __slots__ = ("access_key_id", "key")

    def __init__(self, access_key_id: str = "") -> None:
        self.access_key_id = access_key_id
        self.key: AccessKey | None = None


class _SignedV3:
    """What a request with a V3 signature says of it, by its headers."""

    __slots__ = ("action", "authorization", "nonce", "timestamp", "version")

    def __init__(
        self, authorization: signatures.Authorization, action: str, version: str, timestamp: str, nonce: str
    ) -> None:
        self.authorization = authorization
        self.action = action
        self.version = version
        self.timestamp = timestamp
        self.nonce = nonce


class _Exchange:
    """One request on its way to its answer: what is known of it so far decides how an error is told."""

    __slots__ = (
        "action",
        "action_name",
        "as_xml",
        "call",
        "caller",
        "claimed",
        "claimed_action",
        "claimed_version",
        "context",
        "is_v3",
        "layout",
        "opened_s",
        "pairs",
        "parameters",
        "request",
        "request_id",
        "sent",
        "signed_v3",
    )

    def __init__(self, request: HttpRequest, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        authorization = request.headers.get("authorization")
        self.is_v3 = authorization is not None and authorization[0].startswith(V3_PREFIX)
        # Where nothing else tells: the format that clients of the scheme read. `cloud-api.md` 3.1
        self.as_xml = not self.is_v3
        self.parameters: dict[str, str] = {}
        # Pairs as sent, and as they are signed.
        self.sent: list[str] = []
        self.pairs: list[str] = []
        self.layout: Layout | None = None
        self.signed_v3: _SignedV3 | None = None
        self.claimed_action = ""
        self.claimed_version = ""
        self.opened_s = 0.0
        self.action_name = ""
        self.action: AnyAction | None = None
        self.call: Call | None = None
        self.claimed = _Claimed()
        self.caller: AccessKey | None = None
        self.context: ActionContext | None = None

    def read_parameters(self, layouts: Layouts) -> None:
        try:
            sent = self.sent = api_parameters.split_pairs(self.request.query, _find_form(self.request))
            read = layouts.read(sent)
            if read is not None:
                self.layout, self.parameters, self.pairs = read
            else:
                self.parameters, self.pairs = api_parameters.read_split_pairs(sent)
        except api_parameters.UnreadableParameters as error:
            raise ApiError(codes.INVALID_PARAMETER_FORMAT, rule=str(error)) from None
        text = self.parameters.get("Format")
        if text == "JSON":
            self.as_xml = False
        # A program of the old Python SDK that sets no format sends this word, signed.
        elif text and text != "None":
            if text.upper() not in ("JSON", "XML"):
                raise ApiError(codes.INVALID_PARAMETER_FORMAT, Format=text, rule="JSON | XML")
            self.as_xml = text.upper() == "XML"

    def enter(self, context: ActionContext) -> None:
        """Begin with the action."""
        self.context = context
        if self.call is not None:
            self.call.instance_id = context.instance_id

    def reply(self, answer: Answer) -> HttpReply:
        answer.request_id = self.request_id
        if self.as_xml:
            body = render.render_xml(self.action_name or "Unknown", answer)
            return HttpReply(200, render.XML_TYPE, body, self.request_id, self.call)
        return HttpReply(200, render.JSON_TYPE, render.render_json(answer), self.request_id, self.call)

    def reply_error(self, error: ApiError, message: str) -> HttpReply:
        status = error.row.http_status
        if error.row is codes.THROTTLING_USER and self.is_v3:
            # Old clients were written against 400, current ones expect 429. `cloud-api.md` 3.2
            status = 429
        host = self.request.header("host") or ""
        if self.as_xml:
            body = render.render_error_xml(self.request_id, host, error.code, message)
            return HttpReply(status, render.XML_TYPE, body, self.request_id, self.call)
        body = render.render_error_json(self.request_id, host, error.code, message)
        return HttpReply(status, render.JSON_TYPE, body, self.request_id, self.call)

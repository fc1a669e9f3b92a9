"""What an action of the OpenAPI is: a request shape, an answer shape and one asynchronous function."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.clock import Clock
from linkstead.errors import Language
from linkstead.ids import Ids
from linkstead.invocation import Call, CallHistory, CallJournal, Delivery, Router, ServiceCallStore, Stage
from linkstead.models import ModelShelf, ScriptRunner
from linkstead.profiles import PROFILES, Profile, Switch
from linkstead.registry import PUBLIC_INSTANCE, AccessKey, Device, DeviceKey, DeviceStatus, Registry, Scope
from linkstead.sessions import SessionTable
from linkstead.subscription import Subscriptions
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import News


class Request(msgspec.Struct, rename="pascal", kw_only=True):
    """The parameters of an action, bound by `api.parameters`.

    A field without a default is required by the gateway (`Missing<Param>`). Types: str, int, bool, `list[str]` for
    `Name.1`, `Name.2`, …, and lists of such structs for `Name.1.Field`.
    """


class Answer(msgspec.Struct, rename="pascal", kw_only=True):
    """What every answer carries; an action's own answer derives from it. A field left UNSET is not sent.

    Source: `cloud-api.md` 4.1; on success `Code` and `ErrorMessage` are left out.
    """

    request_id: str = ""
    success: bool = True
    code: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET

    def write_json(self) -> bytes | None:
        """The answer as JSON where its action writes it itself, the same as in general and sooner; else None."""
        return None


class Shape(msgspec.Struct, rename="pascal", kw_only=True):
    """An object inside an answer. A field left UNSET is not sent; a list is an element repeated in XML."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The switches that change what an answer says; see `docs/configuration.md`."""

    profile: Profile = "documented"
    language: Language = "en"
    strict_instances: bool = False
    rrpc_failure_code: bool = False
    service_timeout_ms: int = 8_000
    dynamic_registration: bool = False

    def is_as_documented(self, switch: Switch) -> bool:
        """True when the profile takes the documented side of a switch."""
        return switch in PROFILES[self.profile]


class ActionContext(msgspec.Struct, kw_only=True, eq=False):
    """What an action may reach.

    `scope` is what the caller may see. `instance_id` is where new products go. `call` is the call's record for actions
    that invoke one device, else None; a request that names several opens one for each with `open_call`.
    """

    caller: AccessKey
    scope: Scope
    request_id: str
    registry: Registry
    models: ModelShelf
    scripts: ScriptRunner
    telemetry: TelemetryStore
    service_calls: ServiceCallStore
    subscriptions: Subscriptions
    sessions: SessionTable
    router: Router
    delivery: Delivery
    news: News
    journal: CallJournal
    history: CallHistory
    clock: Clock
    ids: Ids
    behaviour: Behaviour
    node: str = ""
    instance_id: str = PUBLIC_INSTANCE
    call: Call | None = None

    async def is_connected(self, device: Device) -> bool:
        """True when a device is connected, to this node or to another one."""
        if self.sessions.link(device.key) is not None:
            return True
        return self.sessions.status(await self.registry.refresh(device)) is DeviceStatus.ONLINE

    def open_call(self, action: str, key: DeviceKey, target: str) -> Call:
        """A record of its own for one device; to be given to `close_call` when its message is on its way or refused."""
        call = Call(
            request_id=self.ids.request_id(),
            node=self.node,
            action=action,
            account_id=self.caller.account_id,
            access_key_id=self.caller.access_key_id,
            instance_id=self.instance_id,
            key=key,
            target=target,
        )
        call.mark(Stage.RECEIVED, self.clock.time_s(), self.clock.monotonic_s())
        self.journal.open(call)
        return call

    def close_call(self, call: Call) -> None:
        """Hand a record to the journal; an asynchronous call may still be without its verdict."""
        self.journal.close(call)


RequestShape = TypeVar("RequestShape", bound=Request)
AnswerShape = TypeVar("AnswerShape", bound=Answer)


@dataclass(frozen=True, slots=True)
class Action(Generic[RequestShape, AnswerShape]):
    """One operation of the vendor's reference.

    Args:
        name: as on the wire, case-sensitive.
        request: its parameters.
        answer: its answer.
        function: does it; raises ApiError for an answer other than success.
        is_call: it invokes a device, so a call record is kept.
        aliases: parameter names accepted where the proper one is absent.
        failure: the answer when `function` breaks; without it iot.system.SystemException is sent.
        wait_ms: how long it waits for a device at most, by its parameters as they were sent; None: it waits for none.
    """

    name: str
    request: type[RequestShape]
    answer: type[AnswerShape]
    function: Callable[[ActionContext, RequestShape], Awaitable[AnswerShape]]
    is_call: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    failure: Callable[[ActionContext], AnswerShape] | None = None
    wait_ms: Callable[[Mapping[str, str], Behaviour], int] | None = None


AnyAction = Action[Any, Any]

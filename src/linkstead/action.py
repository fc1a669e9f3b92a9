"""What an action of the OpenAPI is: a request shape, an answer shape and one asynchronous function."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.clock import Clock
from linkstead.errors import Language
from linkstead.ids import Ids
from linkstead.invocation import Call, Router
from linkstead.registry import PUBLIC_INSTANCE, AccessKey, Registry, Scope
from linkstead.sessions import SessionTable

Profile = Literal["documented", "observed"]


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


class Shape(msgspec.Struct, rename="pascal", kw_only=True):
    """An object inside an answer. A field left UNSET is not sent; a list is an element repeated in XML."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The switches that change what an answer says; see `docs/configuration.md`."""

    profile: Profile = "documented"
    language: Language = "en"
    strict_instances: bool = False
    rrpc_failure_code: bool = False
    dynamic_registration: bool = False


@dataclass(slots=True)
class ActionContext:
    """What an action may reach.

    `scope` is what the caller may see. `instance_id` is where new products go. `call` is the call's record for actions
    that invoke a device, else None.
    """

    caller: AccessKey
    scope: Scope
    request_id: str
    registry: Registry
    sessions: SessionTable
    router: Router
    clock: Clock
    ids: Ids
    behaviour: Behaviour
    instance_id: str = PUBLIC_INSTANCE
    call: Call | None = None


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
    """

    name: str
    request: type[RequestShape]
    answer: type[AnswerShape]
    function: Callable[[ActionContext, RequestShape], Awaitable[AnswerShape]]
    is_call: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    failure: Callable[[ActionContext], AnswerShape] | None = None


AnyAction = Action[Any, Any]

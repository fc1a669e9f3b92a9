"""Faults on command: planted and taken away over HTTP, and their hooks in a server that is put together with them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from linkstead.action import ActionContext, AnyAction, Request
from linkstead.api.authorization import PLANT_FAULTS, authorize_products
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.clock import Clock
from linkstead.errors import ApiError, codes
from linkstead.faults.planting import Planting, Watcher
from linkstead.faults.rules import Fault, FaultError, Kind, Occasion, Rule, RuleBook, read_fault
from linkstead.faults.wire import Wire
from linkstead.invocation import Call, CallJournal, Diagnosis, Message, Outcome, Stage, Verdict
from linkstead.mqtt.gateway import DeviceConnection
from linkstead.registry import AccessKey, DeviceKey, Registry

NUMBER_DIGITS_MAX = 9


class FaultDesk:
    """The faults of one server.

    Args:
        registry, journal, clock: what they need to know.
    """

    def __init__(self, registry: Registry, journal: CallJournal, clock: Clock) -> None:
        self._registry = registry
        self._book = RuleBook()
        self._planting = Planting(self._book, journal, clock)
        self._wire: Wire | None = None

    # the hooks

    def make_wire(self, make_protocol: Callable[[], DeviceConnection]) -> Wire:
        """What stands between the sockets of devices and the gateway's connections."""
        self._wire = Wire(self._planting, self._registry, make_protocol)
        return self._wire

    def wrap(self, actions: Mapping[str, AnyAction]) -> dict[str, AnyAction]:
        """The actions, those that call a device with the faults of calls before them."""
        return {name: self._wrap(action) if action.is_call else action for name, action in actions.items()}

    def _wrap(self, action: AnyAction) -> AnyAction:
        async def meet_and_do(context: ActionContext, request: Request) -> Any:
            call = context.call
            if call is not None and self._book.has(Occasion.CALL):
                await self._meet(context, call, request)
            return await action.function(context, request)

        return replace(action, function=meet_and_do)

    async def _meet(self, context: ActionContext, call: Call, request: Request) -> None:
        key = await self._find_called(request)
        target = str(getattr(request, "identifier", "") or getattr(request, "topic", ""))
        for rule in self._book.find(Occasion.CALL, call.account_id, key, call.action, target):
            if rule.fault.kind is Kind.THROTTLE:
                self._planting.note(rule, call)
                raise ApiError(codes.THROTTLING_USER)
            context.router = _LosingRouter(context.clock, partial(self._planting.note, rule))

    async def _find_called(self, request: Request) -> DeviceKey:
        iot_id = getattr(request, "iot_id", "")
        if iot_id:
            device = await self._registry.find_device_by_iot_id(iot_id)
            if device is not None:
                return device.key
        return DeviceKey(str(getattr(request, "product_key", "")), str(getattr(request, "device_name", "")))

    # planting

    def add(self, account_id: str, fault: Fault) -> Rule:
        """Plant a fault. Raises FaultError."""
        rule = self._book.add(account_id, fault)
        if fault.at_once and self._wire is not None:
            self._wire.act(rule)
        return rule

    def list_of(self, account_id: str) -> list[Rule]:
        """An account's faults, oldest first."""
        return self._book.list_of(account_id)

    def remove(self, account_id: str, number: int) -> bool:
        """Take a fault away. False where the account has none of that number."""
        rule = self._book.remove(account_id, number)
        if rule is None:
            return False
        self._planting.forget(rule)
        if self._wire is not None:
            self._wire.stop_acting(rule)
        return True

    @property
    def kinds(self) -> list[str]:
        """What can go wrong."""
        return [kind.value for kind in Kind]

    def view_all(self, account_id: str) -> list[dict[str, Any]]:
        """An account's faults as JSON, oldest first."""
        return [view_rule(rule) for rule in self.list_of(account_id)]

    def plant(self, account_id: str, fields: Mapping[str, object]) -> str:
        """Plant a fault from its fields as JSON; returns what is wrong with them, or nothing."""
        try:
            self.add(account_id, read_fault(fields))
        except FaultError as error:
            return str(error)
        return ""

    def clear(self, account_id: str) -> int:
        """Take all of an account's faults away; returns how many."""
        return sum(self.remove(account_id, rule.number) for rule in self.list_of(account_id))

    def watch(self, watcher: Watcher | None) -> None:
        """Have somebody told of the messages of calls as they leave, until it has seen what it looks for."""
        self._planting.watcher = watcher

    # over HTTP

    async def answer(self, key: AccessKey, request: HttpRequest, name: str) -> HttpReply:
        """`GET` lists, `POST` plants one, `DELETE` takes one away, or all."""
        await authorize_products(self._registry, key, PLANT_FAULTS)
        if name and not (name.isascii() and name.isdigit() and len(name) <= NUMBER_DIGITS_MAX):
            return _json(HTTPStatus.NOT_FOUND, {"error": "a fault is named by its number"})
        match request.method:
            case "GET" if not name:
                return _json(HTTPStatus.OK, {"faults": self.view_all(key.account_id)})
            case "POST" if not name:
                try:
                    rule = self.add(key.account_id, read_fault(msgspec.json.decode(request.body)))
                except (msgspec.DecodeError, RecursionError, FaultError) as error:
                    return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
                return _json(HTTPStatus.CREATED, view_rule(rule))
            case "DELETE" if not name:
                return _json(HTTPStatus.OK, {"removed": self.clear(key.account_id)})
            case "DELETE":
                if not self.remove(key.account_id, int(name)):
                    return _json(HTTPStatus.NOT_FOUND, {"error": f"no fault {name}"})
                return _json(HTTPStatus.OK, {"removed": 1})
        return _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "GET and POST faults, DELETE faults or faults/NUMBER"})


class _LosingRouter:
    """Takes a call and does not know what became of it, as when the node that holds the device is lost."""

    def __init__(self, clock: Clock, note: Callable[[Call], None]) -> None:
        self._clock = clock
        self._note = note

    async def call(self, call: Call, message: Message, *, activated: bool, enabled: bool) -> Outcome:
        """See `Router.call`."""
        call.mark(Stage.ROUTED, self._clock.time_s(), self._clock.monotonic_s())
        self._note(call)
        call.end(Verdict.UNKNOWN, Diagnosis.NODE_LOST)
        return Outcome(Verdict.UNKNOWN, Diagnosis.NODE_LOST)


def view_rule(rule: Rule) -> dict[str, Any]:
    """A fault as JSON: as it was asked for, with its number, what it has seen and how often it acted."""
    return {"number": rule.number, **msgspec.to_builtins(rule.fault), "seen": rule.seen, "acted": rule.acted}


def _json(status: int, value: object) -> HttpReply:
    return HttpReply(status, "application/json;charset=utf-8", msgspec.json.encode(value))

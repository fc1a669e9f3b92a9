"""What consumers are told of devices: everything that is worth a message comes here, and nothing is made of it unless
somebody may have subscribed.

Source: `device-protocol.md` 8.2 to 8.4 and 9.2.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from linkstead.alink import services, topics
from linkstead.clock import Clock, milliseconds
from linkstead.invocation import Call
from linkstead.models import ModelShelf
from linkstead.registry import Device, DeviceKey, Origin, Registry
from linkstead.sessions import StatusChange
from linkstead.subscription import NoticeKind, NoticeSink, messages
from linkstead.subscription.messages import FailedValue, Message, TimedValue, Told, ToldEvent
from linkstead.telemetry import PropertyPoint
from linkstead.tsl.checking import Fault
from linkstead.uplink.reports import Misfit, ReportedEvent, ReportedProperties
from linkstead.uplink.request import Refused, Request
from linkstead.uplink.rules import RuleBook, Rules

log = logging.getLogger(__name__)

RULES_KEPT_MAX = 10_000
"""Products whose rules are kept for results, though they may be a moment old; the one unused for longest goes first."""

RESULTS_WAITING_MAX = 100_000
"""Results that wait for the rules of their products; one more is dropped and logged."""

_REPORT_KINDS = (
    NoticeKind.DEVICE_DATA,
    NoticeKind.THING_HISTORY,
    NoticeKind.DEVICE_TAG,
    NoticeKind.FOUND_DEVICE_LIST,
)
_PROPERTY_SET_ACTIONS = frozenset({"SetDeviceProperty", "SetDevicesProperty"})


class News:
    """Tells of what happens to devices.

    Args:
        sink: where messages go.
        registry, models: categories of products, the outputs of their services, IotIds.
        clock: when something was told.
    """

    def __init__(self, sink: NoticeSink, registry: Registry, models: ModelShelf, clock: Clock) -> None:
        self._sink = sink
        self._registry = registry
        self._rules = RuleBook(registry, models)
        self._clock = clock
        self._waiting: dict[str, list[Callable[[Rules], None]]] = {}
        self._waiting_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: OrderedDict[str, Rules] = OrderedDict()

    async def drain(self) -> None:
        """Return when nothing waits to be told. To be called when nothing more can happen."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def wants_reports(self, key: DeviceKey) -> bool:
        """False when it is known that nobody is told what this device publishes."""
        return any(self._sink.wants(key.product_key, kind) for kind in _REPORT_KINDS)

    async def prepare(self, product_key: str) -> None:
        """Have at hand what it takes to tell what comes of calls: it is written in one with the call then.

        To be called before a device can answer. One whose product is gone needs nothing.
        """
        try:
            self._keep(product_key, await self._rules.read(product_key))
        except Refused:
            return
        await self._sink.prepare(product_key)

    def is_prepared(self, product_key: str) -> bool:
        """True when `prepare` has nothing to wait for, and need not be called."""
        rules = self._rules.recall(product_key)
        if rules is None:
            return False
        self._keep(product_key, rules)
        return self._sink.is_prepared(product_key)

    def is_ready(self, product_key: str) -> bool:
        """See `ResultObserver`."""
        if not self._sink.is_prepared(product_key):
            return False
        if not self._sink.wants(product_key, NoticeKind.DEVICE_DATA):
            return True
        return product_key not in self._waiting and self._recall(product_key) is not None

    async def settle(self) -> None:
        """Return when what was to be told before is on the disk."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._sink.settle()

    # who is there

    def status_changed(self, change: StatusChange) -> None:
        """See `StatusObserver`."""
        if self._wants(change.origin, NoticeKind.STATUS_CHANGE):
            message = messages.make_status(
                change.origin,
                is_online=change.is_online,
                at_ms=change.at_ms,
                active_ms=change.active_ms,
                client_ip=change.ip_address,
                offline_reason_code=change.ending.reason_code if change.ending is not None else None,
            )
            self._forward(change.origin, NoticeKind.STATUS_CHANGE, message)

    def tell_lifecycle(self, device: Device, action: str) -> None:
        """A device was created, deleted, enabled or disabled. The action is one of those in `messages`."""
        origin = device.origin
        if self._wants(origin, NoticeKind.LIFE_CYCLE):
            message = messages.make_lifecycle(
                origin, action, created_ms=self._now_ms(), device_secret=device.device_secret
            )
            self._forward(origin, NoticeKind.LIFE_CYCLE, message)

    def tell_topology(self, gateway: Origin, action: str, devices: Sequence[Origin]) -> None:
        """Devices were put behind a gateway (`CREATE`) or taken away from it (`DELETE`)."""
        if self._wants(gateway, NoticeKind.TOPO_LIFE_CYCLE):
            message = messages.make_topology(gateway, action, devices, created_ms=self._now_ms())
            self._forward(gateway, NoticeKind.TOPO_LIFE_CYCLE, message)

    # what devices report

    def tell_properties(
        self, request: Request, rules: Rules, reported: ReportedProperties, *, is_history: bool = False
    ) -> None:
        """Values of properties, each at most once."""
        kind = _kind(is_history)
        if self._wants(request.origin, kind) and (reported.fitting or reported.misfits):
            items = {point.identifier: _timed(point) for point in reported.fitting}
            failed = {misfit.identifier: _failed(misfit) for misfit in reported.misfits}
            message = messages.make_properties(_told(request, rules), items, failed, is_history=is_history)
            self._forward(request.origin, kind, message)

    def tell_event(self, request: Request, rules: Rules, reported: ReportedEvent, *, is_history: bool = False) -> None:
        """One event."""
        kind = _kind(is_history)
        if self._wants(request.origin, kind):
            record = reported.record
            event = ToldEvent(
                record.identifier,
                record.name,
                record.event_type,
                {name: value for name, value in reported.outputs.items() if name not in reported.faults},
                {
                    name: FailedValue(reported.outputs[name], record.time_ms, fault.code, fault.message)
                    for name, fault in reported.faults.items()
                },
                record.time_ms,
            )
            message = messages.make_event(_told(request, rules), event, is_history=is_history)
            self._forward(request.origin, kind, message)

    def tell_batch(
        self, request: Request, rules: Rules, properties: ReportedProperties, events: Iterable[ReportedEvent]
    ) -> None:
        """Several values a property, several events a kind, as they are kept: the messages have no place for faults."""
        if not self._wants(request.origin, NoticeKind.DEVICE_DATA):
            return
        told = _told(request, rules)
        values: dict[str, list[TimedValue]] = {}
        for point in properties.kept:
            values.setdefault(point.identifier, []).append(_timed(point))
        if values:
            self._forward(request.origin, NoticeKind.DEVICE_DATA, messages.make_property_batch(told, values))
        outputs: dict[str, list[TimedValue]] = {}
        for event in events:
            record = event.record
            timed = TimedValue(msgspec.Raw(record.output.encode()), record.time_ms)
            outputs.setdefault(record.identifier, []).append(timed)
        if outputs:
            self._forward(request.origin, NoticeKind.DEVICE_DATA, messages.make_event_batch(told, outputs))

    async def tell_tags(self, request: Request, tags: Mapping[str, str]) -> None:
        """Tags that were added, or have another value than before."""
        if self._wants(request.origin, NoticeKind.DEVICE_TAG):
            rules = await self._rules.read(request.key.product_key)
            message = messages.make_tags(request.origin, rules.device_type, tags, created_ms=request.received_ms)
            self._forward(request.origin, NoticeKind.DEVICE_TAG, message)

    async def tell_found(self, gateway: Origin, keys: Sequence[DeviceKey]) -> None:
        """A gateway found devices, registered in its account or not."""
        if self._wants(gateway, NoticeKind.FOUND_DEVICE_LIST):
            found = [(key, await self._find_iot_id(key, gateway.account_id)) for key in keys]
            self._forward(gateway, NoticeKind.FOUND_DEVICE_LIST, messages.make_found_list(gateway, found))

    async def _find_iot_id(self, key: DeviceKey, account_id: str) -> str:
        device = await self._registry.find_device(key)
        return device.iot_id if device is not None and device.account_id == account_id else ""

    def pass_on(self, origin: Origin, topic: str, payload: bytes, qos: int) -> None:
        """A message on a custom topic, as it came."""
        if self._wants(origin, NoticeKind.DEVICE_DATA):
            self._forward(origin, NoticeKind.DEVICE_DATA, Message(topic, payload), qos)

    # what comes of calls

    def call_ended(self, call: Call, reply: services.Reply | None) -> bool:
        """See `ResultObserver`."""
        if call.key is None or not self._sink.wants(call.key.product_key, NoticeKind.DEVICE_DATA):
            return False
        product_key = call.key.product_key
        tell = partial(self._tell_result, Origin(call.key, call.account_id, call.iot_id), call, reply, self._now_ms())
        # At once where that can be, for it is written in one with the call then.
        rules = self._recall(product_key) if product_key not in self._waiting else None
        if rules is not None:
            tell(rules)
        elif self._waiting_count < RESULTS_WAITING_MAX:
            self._wait_for_rules(product_key, tell)
        else:
            log.error("too many results wait to be told; one was dropped", extra={"device": str(call.key)})
        return True

    def _recall(self, product_key: str) -> Rules | None:
        rules = self._rules.recall(product_key)
        if rules is not None:
            self._keep(product_key, rules)
            return rules
        # Rather those of a moment ago than to be told apart from the call.
        return self._latest.get(product_key)

    def _keep(self, product_key: str, rules: Rules) -> None:
        self._latest[product_key] = rules
        self._latest.move_to_end(product_key)
        if len(self._latest) > RULES_KEPT_MAX:
            self._latest.popitem(last=False)

    def answer_not_taken(self, origin: Origin, topic: str, reply: services.Reply) -> None:
        """See `ResultObserver`. Told all the same, with the id as it was sent. Source: `device-protocol.md` 5.5."""
        if self._wants(origin, NoticeKind.DEVICE_DATA):
            message = messages.make_result(
                origin,
                created_ms=self._now_ms(),
                request_id=_id_text(reply.members.get("id")),
                code=reply.code,
                message=reply.message or "success",
                reply_topic=topic,
                data=reply.data,
                failed={},
            )
            self._forward(origin, NoticeKind.DEVICE_DATA, message)

    def _tell_result(
        self, origin: Origin, call: Call, reply: services.Reply | None, created_ms: int, rules: Rules
    ) -> None:
        is_property_set = call.action in _PROPERTY_SET_ACTIONS
        topic = topics.property_set(origin.key) if is_property_set else topics.service(origin.key, call.target)
        failed: dict[str, FailedValue] = {}
        if reply is None:
            code = call.result_code or messages.REQUEST_FAILED
            text = messages.RESULT_MESSAGES.get(code, messages.RESULT_MESSAGES[messages.REQUEST_FAILED])
        else:
            code, text = reply.code, reply.message or "success"
            if not is_property_set:
                failed = _check_outputs(call.target, reply, rules)
        message = messages.make_result(
            origin,
            created_ms=created_ms,
            request_id=str(call.alink_id),
            code=code,
            message=text,
            reply_topic=f"{topic}_reply",
            data=reply.data if reply is not None else {},
            failed=failed,
        )
        self._forward(origin, NoticeKind.DEVICE_DATA, message)

    def _wait_for_rules(self, product_key: str, tell: Callable[[Rules], None]) -> None:
        self._waiting_count += 1
        if product_key in self._waiting:
            self._waiting[product_key].append(tell)
            return
        self._waiting[product_key] = [tell]
        task = asyncio.get_running_loop().create_task(self._tell_when_read(product_key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_when_read(self, product_key: str) -> None:
        rules: Rules | None = None
        try:
            rules = await self._rules.read(product_key)
        except Refused:
            # The product is gone, and who subscribed to it with it.
            pass
        except Exception:
            log.exception("results are not told: the product cannot be read", extra={"product": product_key})
        finally:
            waiting = self._waiting.pop(product_key)
            self._waiting_count -= len(waiting)
        if rules is not None:
            for tell in waiting:
                tell(rules)

    # all of it

    def _wants(self, origin: Origin, kind: NoticeKind) -> bool:
        return self._sink.wants(origin.key.product_key, kind)

    def _forward(self, origin: Origin, kind: NoticeKind, message: Message, qos: int = 0) -> None:
        self._sink.forward(origin.account_id, origin.key, kind, message.topic, message.payload, qos)

    def _now_ms(self) -> int:
        return milliseconds(self._clock.time_s())


def _kind(is_history: bool) -> NoticeKind:
    return NoticeKind.THING_HISTORY if is_history else NoticeKind.DEVICE_DATA


def _told(request: Request, rules: Rules) -> Told:
    return Told(request.origin, rules.device_type, _id_text(request.members.get("id")), request.received_ms)


def _id_text(given: object) -> str:
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""


def _timed(point: PropertyPoint) -> TimedValue:
    return TimedValue(msgspec.Raw(point.value.encode()), point.time_ms)


def _failed(misfit: Misfit) -> FailedValue:
    return FailedValue(misfit.value, misfit.time_ms, misfit.fault.code, misfit.fault.message)


def _check_outputs(identifier: str, reply: services.Reply, rules: Rules) -> dict[str, FailedValue]:
    service = rules.checker.find_service(identifier)
    if service is None or not isinstance(reply.data, dict):
        return {}
    faults: Mapping[str, Fault] = service.check_output(reply.data, rules.level)
    return {name: FailedValue(reply.data[name], None, fault.code, fault.message) for name, fault in faults.items()}

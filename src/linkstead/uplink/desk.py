"""Where what devices ask in Alink is served: one table of topics, one function each.

A report (properties, events) is held against the product's rules and taken at once. When the rules are not at hand, a
question is put to the store, or something of the device is still under way, it waits for its turn in a task.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType

from linkstead.alink import messages
from linkstead.clock import Clock, milliseconds
from linkstead.registry import DeviceKey
from linkstead.sessions import Link
from linkstead.telemetry import TelemetryStore
from linkstead.uplink import batches, desired, events, found, model_requests, properties, tags
from linkstead.uplink.gateways import GATEWAY_ASKS, GATEWAY_REQUESTS_MAX, GatewayContext, serve_gateway, tell_stranger
from linkstead.uplink.lanes import Lanes
from linkstead.uplink.news import News
from linkstead.uplink.raw import RAW_PATHS, RawTranslator
from linkstead.uplink.request import Arrival, Refused, Request
from linkstead.uplink.rules import RuleBook, Rules

log = logging.getLogger(__name__)

Report = Callable[[Request, Rules, TelemetryStore, News], object]
"""Takes what needs nothing but the rules. Returns the reply's data; raises Refused."""

Pack = Callable[[Request, Rules, TelemetryStore, News], Sequence[batches.SubReport]]
"""A report that may speak of devices behind a gateway: what is said of those is returned."""

Query = Callable[[Request, TelemetryStore, News], Awaitable[object]]
"""Reads or changes the store. Returns the reply's data; raises Refused."""

Ask = Callable[[Request], Awaitable[object]]
"""Either, when it has to wait."""

Send = Callable[[bytes], None]
"""Takes a reply to the device."""

REPORTS: dict[str, Report] = {
    "thing/event/property/post": properties.post_properties,
    "thing/event/property/batch/post": batches.post_batch,
    "thing/dsltemplate/get": model_requests.get_tsl,
    "thing/dynamicTsl/get": model_requests.get_tsl,
    "thing/config/get": model_requests.get_configuration,
    "thing/log/post": model_requests.post_log,
}
PACKS: dict[str, Pack] = {
    "thing/event/property/pack/post": batches.post_pack,
    "thing/event/property/history/post": batches.post_history,
}
QUERIES: dict[str, Query] = {
    "thing/property/desired/get": desired.get_desired,
    "thing/property/desired/delete": desired.delete_desired,
    "thing/deviceinfo/update": tags.update_tags,
    "thing/deviceinfo/delete": tags.delete_tags,
    "thing/deviceinfo/get": tags.get_tags,
    "thing/list/found": found.take_found,
}
"""By the topic below the device's own `/sys/{pk}/{dn}/`. Source: `device-protocol.md` 3.1."""


class RequestDesk:
    """Serves the requests of devices.

    Args:
        rules: what products hold their devices to.
        telemetry: where what devices report goes.
        translator: makes requests of what devices of binary products send.
        news: tells of it to whoever subscribed.
        clock: when a request came.
        lanes: where what has to wait has its turn.
        gateways: what serves the requests that only gateways make.
    """

    def __init__(
        self,
        rules: RuleBook,
        telemetry: TelemetryStore,
        translator: RawTranslator,
        news: News,
        clock: Clock,
        lanes: Lanes,
        gateways: GatewayContext,
    ) -> None:
        self.dropped_count = 0
        self._rules = rules
        self._telemetry = telemetry
        self._translator = translator
        self._news = news
        self._clock = clock
        self._lanes = lanes
        self._gateways = gateways

    def take(self, link: Link, topic: str, path: str, payload: bytes, *, is_awaited: bool) -> bool:
        """Serve a request, now or in its turn. False when nobody serves this topic.

        `path` is the topic below the device's own `/sys/{pk}/{dn}/`; `is_awaited` as in `Lanes.add`.
        Past the bounds of `Lanes` a request is dropped, counted in `dropped_count` and logged.
        """
        report = _find_report(path)
        arrival = Arrival(link, topic, path, payload, milliseconds(self._clock.time_s()))
        if report is not None:
            rules = self._rules.recall(link.key.product_key) if self._lanes.is_free(link.key) else None
            if rules is not None:
                self._report(arrival, report, rules)
                return True
        ask = self._find_ask(path, link)
        if ask is not None:
            work = partial(self._serve, arrival, ask, arrival.answer)
        elif path in RAW_PATHS:
            work = partial(self._translator.serve, arrival, self._serve_translated)
        else:
            return False
        messages_max = GATEWAY_REQUESTS_MAX if path in GATEWAY_ASKS else None
        if not self._lanes.add(link.key, len(payload), work, is_awaited=is_awaited, messages_max=messages_max):
            self.dropped_count += 1
            log.warning("too much under way, request dropped (%d)", messages.THROTTLED, extra=arrival.fields)
        return True

    def _find_ask(self, path: str, link: Link) -> Ask | None:
        report = _find_report(path)
        if report is not None:
            return partial(self._report_when_read, report)
        if path in PACKS:
            return partial(self._take_pack, PACKS[path])
        if path in GATEWAY_ASKS:
            return partial(serve_gateway, self._gateways, GATEWAY_ASKS[path], link)
        query = QUERIES.get(path)
        return partial(self._query, query) if query is not None else None

    async def _serve_translated(self, arrival: Arrival, send: Send) -> None:
        """Serve a request that names its method, and send the reply this way."""
        await self._serve(arrival, self._find_ask(arrival.path, arrival.link) or _refuse, send)

    def tell_stranger(self, link: Link, key: DeviceKey, *, is_awaited: bool) -> None:
        """Tell a gateway that what it sent was in the name of a device that is not logged in on its connection."""
        self._lanes.add(link.key, 0, lambda: tell_stranger(self._gateways, link, key), is_awaited=is_awaited)

    def _report(self, arrival: Arrival, report: Report, rules: Rules) -> None:
        request = _read(arrival)
        if request is not None:
            with _Answer(arrival, request, arrival.answer) as answer:
                request.check_method()
                answer.data = report(request, rules, self._telemetry, self._news)

    async def _report_when_read(self, report: Report, request: Request) -> object:
        return report(request, await self._rules.read(request.key.product_key), self._telemetry, self._news)

    async def _take_pack(self, pack: Pack, request: Request) -> None:
        """Take all that is said of the device itself and of devices behind it. Raises Refused(6401) for others."""
        strangers: list[DeviceKey] = []
        rules = await self._rules.read(request.key.product_key)
        registry = self._gateways.registry
        for report in pack(request, rules, self._telemetry, self._news):
            device = await registry.find_device(report.key)
            if device is None or await registry.store.find_gateway(report.key) != request.key:
                strangers.append(report.key)
                continue
            rules = await self._rules.read(report.key.product_key)
            own = replace(request, origin=device.origin)
            batches.record_report(own, rules, self._telemetry, self._news, report)
        if strangers:
            raise batches.not_in_topology(strangers[0])

    async def _query(self, query: Query, request: Request) -> object:
        return await query(request, self._telemetry, self._news)

    @staticmethod
    async def _serve(arrival: Arrival, ask: Ask, send: Send) -> None:
        request = _read(arrival)
        if request is not None:
            with _Answer(arrival, request, send) as answer:
                request.check_method()
                answer.data = await ask(request)


def _find_report(path: str) -> Report | None:
    return REPORTS.get(path) or (events.post_event if events.is_event_post(path) else None)


async def _refuse(request: Request) -> object:
    raise Refused(messages.METHOD_NOT_SERVED, "method is not served here")


def _read(arrival: Arrival) -> Request | None:
    members = messages.parse_request(arrival.payload)
    if members is None:
        # There is no id to answer to.
        log.info("request is no JSON object, dropped (%d)", messages.NOT_ALINK, extra=arrival.fields)
        return None
    return Request(arrival.link.origin, arrival.path, members, arrival.received_ms)


class _Answer:
    """Sends the reply when the serving of a request ends, however it ends."""

    __slots__ = ("_arrival", "_request", "_send_reply", "data")

    def __init__(self, arrival: Arrival, request: Request, send: Send) -> None:
        self.data: object = None
        self._arrival = arrival
        self._request = request
        self._send_reply = send

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._send(messages.SUCCESS, "success", self.data)
        elif isinstance(error, Refused):
            log.info("request refused (%d)", error.code, extra=self._arrival.fields)
            self._send(error.code, error.message, error.data)
        elif isinstance(error, Exception):
            # A fault of ours must not cost the device its connection, nor leave it waiting.
            log.error("request failed", exc_info=error, extra=self._arrival.fields)
            self._send(messages.INTERNAL_ERROR, "internal error")
        else:
            return False
        return True

    def _send(self, code: int, message: str, data: object = None) -> None:
        members = self._request.members
        if messages.wants_reply(members):
            method = self._arrival.path.replace("/", ".")
            self._send_reply(messages.make_reply(members, code, message, method, data))

"""The way in for everything a device publishes: answers to calls, requests of its own, and custom topics.

A topic the device may not use is dropped and logged, never a reason to disconnect. Source: `device-protocol.md` 0.6.
"""

import logging
from collections.abc import Iterable
from functools import partial

from linkstead.alink import messages, ntp, services, sub_devices, topics
from linkstead.clock import Clock, milliseconds
from linkstead.ids import Ids
from linkstead.invocation import Delivery, LocalRouter, Stray
from linkstead.models import ModelShelf, ScriptError, ScriptRunner
from linkstead.models.scripts import NO_SCRIPT
from linkstead.registry import DeviceKey, Registry, TopicClasses
from linkstead.sessions import Link, LinkBlocked, LinkBroken, LinkTooSmall, QueuedMessage, QueueFull, SessionTable, Way
from linkstead.telemetry import TelemetryStore
from linkstead.uplink.desk import RequestDesk
from linkstead.uplink.gateways import GatewayContext, find_carried
from linkstead.uplink.lanes import Lanes
from linkstead.uplink.news import News
from linkstead.uplink.raw import RawTranslator
from linkstead.uplink.rules import RuleBook
from linkstead.uplink.shadow import UPDATE_PREFIX, ShadowDesk
from linkstead.uplink.sub_link import wants_errors

log = logging.getLogger(__name__)

PARSED = "_sn=default"
"""In the query of a custom topic: the product's script is to make JSON of the payload. `device-protocol.md` 2."""

SERVICE_PREFIX = "thing/service/"
REPLY_SUFFIX = "_reply"
"""What a reply's topic has around the service's name. Source: `device-protocol.md` 5.4 and 5.5."""

NOTIFY_REPLY = sub_devices.NOTIFY_ADD + REPLY_SUFFIX
"""The one reply to what a gateway is told that somebody waits for."""

SESSION_PREFIX = "/ext/session/"
"""What a gateway's requests for its sub-devices begin with. Source: `device-protocol.md` 3.2."""


class Uplink:
    """Hands each publish of a device to the handler of its topic family.

    Args:
        router, delivery: complete calls, synchronous and asynchronous ones.
        sessions: subscriptions, for custom topics that come back to their sender.
        clock: the time service, and when a report came.
        registry, models, scripts: what products hold their devices to.
        telemetry: what devices report and ask.
        news: tells whoever subscribed.
        ids: numbers for what is told to gateways.
    """

    def __init__(
        self,
        router: LocalRouter,
        sessions: SessionTable,
        clock: Clock,
        *,
        delivery: Delivery,
        registry: Registry,
        models: ModelShelf,
        scripts: ScriptRunner,
        telemetry: TelemetryStore,
        news: News,
        ids: Ids,
    ) -> None:
        self._router = router
        self._delivery = delivery
        self._sessions = sessions
        self._clock = clock
        self._dropped_count = 0
        self._registry = registry
        self._scripts = scripts
        self._lanes = Lanes()
        self._news = news
        self._desk = RequestDesk(
            RuleBook(registry, models),
            telemetry,
            RawTranslator(scripts, self._take_translated_reply, self._refuse_translated_reply),
            news,
            clock,
            self._lanes,
            GatewayContext(registry, sessions, news, clock, ids),
        )

        self._shadows = ShadowDesk(telemetry, clock)

    @property
    def dropped_count(self) -> int:
        """Requests and messages that were not served because too much was under way."""
        return self._desk.dropped_count + self._dropped_count

    def must_settle(self, key: DeviceKey) -> bool:
        """True when what a device publishes may be told to somebody: it has to be kept before it is acknowledged."""
        return self._news.wants_reports(key)

    async def settle(self, keys: Iterable[DeviceKey]) -> None:
        """Return when what is to be told of what devices published before is on the disk."""
        for key in keys:
            await self._lanes.settle(key)
        await self._delivery.settle()
        await self._news.settle()

    async def drain(self) -> None:
        """Return when no request of a device is under way. To be called when no more can come."""
        await self._lanes.drain()

    def receive(self, link: Link, topic: str, payload: bytes, qos: int) -> bool:
        """Take one publish at QoS 0 or 1.

        False when the device had no right to the topic: it was dropped and logged, and is kept as evidence with a call
        that it names.
        """
        origin = link.origin
        if self._sessions.taps is None and self._router.answer_on(origin, topic, payload):
            # The usual answer, which needs none of what follows: whoever else the connection carries, it is the link's.
            return True
        if self._sessions.taps is None and topic.endswith(REPLY_SUFFIX) and "?" not in topic:
            # The next most usual, to an asynchronous service: on a topic of the link's own, whatever it carries.
            prefix = topics.service(link.key, "")
            if topic.startswith(prefix):
                identifier = topic[len(prefix) : -len(REPLY_SUFFIX)].removeprefix("property/")
                self._take_reply(link, topic, identifier, payload)
                return True
        topic, query = topics.split_query(topic)
        answer = topics.parse_rrpc_answer(topic)
        link = self._find_sender(link, topic, answer)
        if self._sessions.taps is not None:
            self._note(link, topic, payload)
        if answer is not None and answer.key in (None, link.key):
            self._router.answer(link.origin, answer.message_id, topic, payload)
            return True
        if not topics.may_publish(link.key, topic):
            if answer is not None:
                self._router.refuse_answer(link.origin, answer.message_id, topic, payload, Stray.WRONG_TOPIC)
            log.warning("publish to a topic of somebody else dropped (9236)", extra=_fields(link, topic))
            self._tell_stranger(link, topic, qos)
            return False
        if topic.startswith("/ext/ntp/"):
            self._answer_time(link, topic, payload)
        elif topic.startswith(SESSION_PREFIX):
            # Only a gateway has the topics behind it, and it has none but its own.
            path = topic.split("/", 5)[5] if topic.count("/") > 4 else ""
            if not self._desk.take(link, topic, path, payload, is_awaited=qos == 1):
                self._refuse_alink(link, topic, path, payload)
        elif topic.startswith(UPDATE_PREFIX):
            self._take_shadow(link, topic, payload, qos)
        elif topics.is_custom(link.key, topic):
            return self._take_custom(link, topic, payload, qos, is_to_be_parsed=PARSED in query.split("&"))
        elif topic.startswith("/sys/"):
            # What the device may publish on is below its own names.
            path = topic.split("/", 4)[4]
            if path.startswith(SERVICE_PREFIX) and path.endswith(REPLY_SUFFIX):
                identifier = path[len(SERVICE_PREFIX) : -len(REPLY_SUFFIX)].removeprefix("property/")
                self._take_reply(link, topic, identifier, payload)
            elif path == NOTIFY_REPLY:
                self._take_reply(link, topic, sub_devices.NOTIFY_ADD, payload)
            elif not self._desk.take(link, topic, path, payload, is_awaited=qos == 1):
                self._refuse_alink(link, topic, path, payload)
        else:
            log.info("publish accepted without a function behind its topic", extra=_fields(link, topic))
        return True

    def _note(self, link: Link, topic: str, payload: bytes) -> None:
        """Show a publish, allowed or not, to whoever looks at the device."""
        if self._sessions.taps is not None:
            self._sessions.taps.note(link.key, Way.FROM_DEVICE, topic, payload, self._clock.time_s())

    def _take_translated_reply(self, link: Link, topic: str, payload: bytes) -> None:
        """Bring a reply that was bytes to its call, which only its id names."""
        self._take_reply(link, topic, None, payload)

    def _refuse_translated_reply(self, link: Link, topic: str, payload: bytes, number: int) -> None:
        """Take notice of a reply that the script could not read."""
        self._delivery.answer_malformed(link.origin, None, 0, topic, payload, number)

    def _find_sender(self, link: Link, topic: str, answer: topics.RrpcAnswer | None) -> Link:
        """The link of the device that says it: of a sub-device, where its gateway publishes in its name."""
        session = self._sessions.find(link.key)
        if session is None or not session.carried:
            return link
        if answer is None:
            key = None if topics.may_publish(link.key, topic) else topics.find_owner(topic)
        else:
            # The topic may be free of form: then the call says whom it went to.
            key = answer.key or self._router.find_called(answer.message_id)
        if key is None or key == link.key:
            return link
        return find_carried(self._sessions, link, key) or link

    def _tell_stranger(self, link: Link, topic: str, qos: int) -> None:
        """Tell a gateway that what it sent was in the name of a device that is not logged in."""
        key = topics.find_owner(topic)
        if key is not None and key != link.key and wants_errors(self._sessions, link):
            self._desk.tell_stranger(link, key, is_awaited=qos == 1)

    def _take_reply(self, link: Link, topic: str, identifier: str | None, payload: bytes) -> None:
        """Bring the reply to an asynchronous service call, or to a property set, to its call."""
        try:
            reply = services.parse_reply_once(payload)
        except services.ReplyError as error:
            log.warning("reply not understood (6207): %s", error, extra=_fields(link, topic))
            self._delivery.answer_malformed(link.origin, identifier, error.alink_id, topic, payload)
            return
        self._delivery.answer(link.origin, identifier, reply, topic, payload)

    def refuse_too_large(self, link: Link, topic: str, payload_bytes: int) -> None:
        """Take notice of a publish over the size limit, already dropped. Kept with its call when it was an answer."""
        topic, _ = topics.split_query(topic)
        answer = topics.parse_rrpc_answer(topic)
        link = self._find_sender(link, topic, answer)
        if answer is not None:
            self._router.refuse_answer(link.origin, answer.message_id, topic, b"", Stray.TOO_LARGE, payload_bytes)
        log.warning("publish over the size limit dropped", extra={**_fields(link, topic), "bytes": payload_bytes})

    def _take_shadow(self, link: Link, topic: str, payload: bytes, qos: int) -> None:
        work = partial(self._shadows.serve, link, payload)
        if not self._lanes.add(link.key, len(payload), work, is_awaited=qos == 1):
            self._dropped_count += 1
            log.warning("too much under way, message dropped (%d)", messages.THROTTLED, extra=_fields(link, topic))

    def _answer_time(self, link: Link, topic: str, payload: bytes) -> None:
        now_ms = milliseconds(self._clock.time_s())
        answer = ntp.answer_ntp(payload, now_ms, now_ms)
        if answer is None or not topic.endswith("/request"):
            log.info("time request not understood", extra=_fields(link, topic))
            return
        self._send(link, topic.removesuffix("request") + "response", answer)

    def _take_custom(self, link: Link, topic: str, payload: bytes, qos: int, *, is_to_be_parsed: bool) -> bool:
        """Take a message on a custom topic. False when no topic class of the product lets the device publish it.

        It waits while the classes have to be read, or the product's script has to run; a refusal is only logged then.
        """
        known = self._registry.recall_topic_classes(link.key.product_key) if self._lanes.is_free(link.key) else None
        if known is not None:
            if not self._pass_on(link, topic, payload, qos, known):
                return False
            if not is_to_be_parsed:
                self._news.pass_on(link.origin, topic, payload, qos)
                return True

        async def tell_in_turn() -> None:
            if known is None:
                classes = await self._registry.find_topic_classes(link.key.product_key)
                if not self._pass_on(link, topic, payload, qos, classes):
                    return
            told = await self._parse(link, topic, payload) if is_to_be_parsed else payload
            if told is not None:
                self._news.pass_on(link.origin, topic, told, qos)

        if not self._lanes.add(link.key, len(payload), tell_in_turn, is_awaited=qos == 1):
            self._dropped_count += 1
            log.warning("too much under way, message dropped (%d)", messages.THROTTLED, extra=_fields(link, topic))
        return True

    def _pass_on(self, link: Link, topic: str, payload: bytes, qos: int, classes: TopicClasses) -> bool:
        path = topics.custom_path(topic)
        if not classes.may_publish(path):
            log.warning("publish on a topic without a class to publish dropped (9236)", extra=_fields(link, topic))
            return False
        if classes.may_subscribe(path):
            self._echo(link, topic, payload, qos)
        return True

    async def _parse(self, link: Link, topic: str, payload: bytes) -> bytes | None:
        """What apps are told in place of a payload: what the product's script makes of it; None where it fails.

        Without a script the payload stays as it is. Source: `device-protocol.md` 2 (query suffix) and 7.
        """
        try:
            return await self._scripts.transform_payload(link.key.product_key, topic, payload)
        except ScriptError as error:
            if error.code == NO_SCRIPT:
                return payload
            log.warning("message not parsed, nobody is told: %s", error, extra=_fields(link, topic))
            return None

    def _echo(self, link: Link, topic: str, payload: bytes, qos: int) -> None:
        """A device that publishes and subscribes the same custom topic gets its own message, at the publisher's QoS.

        Source: `device-protocol.md` 2.
        """
        session = self._sessions.find(link.key)
        if session is None or not any(topics.matches(name, topic) for name in session.subscriptions):
            return
        if qos == 0:
            self._send(link, topic, payload)
            return
        try:
            self._sessions.deliver(link.key, QueuedMessage(topic, payload, self._clock.monotonic_s()))
        except QueueFull:
            log.warning("message not queued: the device's queue is full", extra=_fields(link, topic))

    def _refuse_alink(self, link: Link, topic: str, path: str, payload: bytes) -> None:
        """Say no to an Alink request nobody serves, rather than leave the device waiting for its reply."""
        request = messages.parse_request(payload)
        if request is None or topic.endswith("_reply") or not messages.wants_reply(request):
            log.info("uplink without a handler dropped", extra=_fields(link, topic))
            return
        method = path.replace("/", ".")
        reply = messages.make_reply(request, messages.METHOD_NOT_SERVED, "topic is not served here", method)
        self._send(link, topic + "_reply", reply)

    def _send(self, link: Link, topic: str, payload: bytes) -> None:
        try:
            link.send(topic, payload)
        except (LinkBlocked, LinkBroken, LinkTooSmall):
            log.info("reply to a device not sent", extra=_fields(link, topic))


def _fields(link: Link, topic: str) -> dict[str, object]:
    return {"device": str(link.key), "topic": topic}

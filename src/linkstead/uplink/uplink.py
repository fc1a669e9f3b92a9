"""The way in for everything a device publishes: answers to calls, requests of its own, and custom topics.

A topic the device may not use is dropped and logged, never a reason to disconnect. Source: `device-protocol.md` 0.6.
"""

import logging

from linkstead.alink import messages, ntp, topics
from linkstead.clock import Clock, milliseconds
from linkstead.invocation import LocalRouter, Stray
from linkstead.sessions import Link, LinkBlocked, LinkBroken, LinkTooSmall, QueuedMessage, QueueFull, SessionTable

log = logging.getLogger(__name__)


class Uplink:
    """Hands each publish of a device to the handler of its topic family.

    Args:
        router: completes calls.
        sessions: subscriptions, for custom topics that come back to their sender.
        clock: the time service.
    """

    def __init__(self, router: LocalRouter, sessions: SessionTable, clock: Clock) -> None:
        self._router = router
        self._sessions = sessions
        self._clock = clock

    def receive(self, link: Link, topic: str, payload: bytes, qos: int) -> bool:
        """Take one publish at QoS 0 or 1.

        False when the device had no right to the topic: it was dropped and logged, and is kept as evidence with a call
        that it names.
        """
        topic, _ = topics.split_query(topic)
        answer = topics.parse_rrpc_answer(topic)
        if answer is not None and answer.key in (None, link.key):
            self._router.answer(link.origin, answer.message_id, topic, payload)
            return True
        if not topics.may_publish(link.key, topic):
            if answer is not None:
                self._router.refuse_answer(link.origin, answer.message_id, topic, payload, Stray.WRONG_TOPIC)
            log.warning("publish to a topic of somebody else dropped (9236)", extra=_fields(link, topic))
            return False
        if topic.startswith("/ext/ntp/"):
            self._answer_time(link, topic, payload)
        elif topics.is_custom(link.key, topic):
            self._echo(link, topic, payload, qos)
        elif topic.startswith("/sys/"):
            self._refuse_alink(link, topic, payload)
        else:
            log.info("publish accepted without a function behind its topic", extra=_fields(link, topic))
        return True

    def refuse_too_large(self, link: Link, topic: str, payload_bytes: int) -> None:
        """Take notice of a publish over the size limit, already dropped. Kept with its call when it was an answer."""
        topic, _ = topics.split_query(topic)
        answer = topics.parse_rrpc_answer(topic)
        if answer is not None and answer.key in (None, link.key):
            self._router.refuse_answer(link.origin, answer.message_id, topic, b"", Stray.TOO_LARGE)
        log.warning("publish over the size limit dropped", extra={**_fields(link, topic), "bytes": payload_bytes})

    def _answer_time(self, link: Link, topic: str, payload: bytes) -> None:
        now_ms = milliseconds(self._clock.time_s())
        answer = ntp.answer_ntp(payload, now_ms, now_ms)
        if answer is None or not topic.endswith("/request"):
            log.info("time request not understood", extra=_fields(link, topic))
            return
        self._send(link, topic.removesuffix("request") + "response", answer)

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

    def _refuse_alink(self, link: Link, topic: str, payload: bytes) -> None:
        """Say no to an Alink request nobody serves, rather than leave the device waiting for its reply."""
        request = messages.parse_request(payload)
        if request is None or topic.endswith("_reply") or not messages.wants_reply(request):
            log.info("uplink without a handler dropped", extra=_fields(link, topic))
            return
        method = ".".join(topic.split("/")[4:])
        reply = messages.make_reply(request, messages.METHOD_NOT_SERVED, "topic is not served here", method)
        self._send(link, topic + "_reply", reply)

    def _send(self, link: Link, topic: str, payload: bytes) -> None:
        try:
            link.send(topic, payload)
        except (LinkBlocked, LinkBroken, LinkTooSmall):
            log.info("reply to a device not sent", extra=_fields(link, topic))


def _fields(link: Link, topic: str) -> dict[str, object]:
    return {"device": str(link.key), "topic": topic}

"""The link of a device behind a gateway: it travels on the connection of its gateway."""

import logging

from linkstead.alink import messages, sub_devices, topics
from linkstead.clock import Clock, milliseconds
from linkstead.ids import Ids
from linkstead.registry import Device, DeviceKey
from linkstead.sessions import Ending, Link, LinkBlocked, LinkBroken, LinkTooSmall, Receipt, SessionTable

log = logging.getLogger(__name__)

WANTS_ERRORS = 2
"""The bit of `ext` with which a connection asks for `/ext/error/…`. Source: `device-protocol.md` 1.3."""

TOLD_ENDINGS = {
    Ending.SUPERSEDED: (messages.SAME_DEVICE_ELSEWHERE, "the sub-device is connected elsewhere"),
    Ending.DELETED: (messages.SUB_DEVICE_DELETED, "the sub-device is deleted"),
    Ending.DISABLED: (messages.SUB_DEVICE_DISABLED, "the sub-device is disabled"),
    Ending.UNBOUND: (messages.NOT_IN_TOPOLOGY, "the sub-device is not in the topology any longer"),
}
"""Endings that a gateway is told of; the others it brought about itself. Source: `device-protocol.md` 6.4."""


class SubLink:
    """A device that is logged in on its gateway's connection. It is the session's `Link`.

    Args:
        device: the sub-device.
        ext: see `Link.ext`; its own, or that of the gateway.
        carrier: the gateway's connection.
        sessions, clock, ids: to end it.
    """

    __slots__ = ("_carrier", "_clock", "_ids", "_sessions", "ext", "key", "origin")

    def __init__(
        self, device: Device, ext: int, *, carrier: Link, sessions: SessionTable, clock: Clock, ids: Ids
    ) -> None:
        self.key = device.key
        self.origin = device.origin
        self.ext = ext
        self._carrier = carrier
        self._sessions = sessions
        self._clock = clock
        self._ids = ids

    @property
    def heard_s(self) -> float:
        """See `Link.heard_s`: the gateway speaks for it."""
        return self._carrier.heard_s

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        """See `Link.send`."""
        if self._sessions.link(self.key) is not self:
            raise LinkBroken
        if self._sessions.taps is None:
            self._carrier.send(topic, payload, receipt)
        else:
            with self._sessions.taps.carrying(self.key):
                self._carrier.send(topic, payload, receipt)

    def pump(self) -> None:
        """See `Link.pump`."""
        self._carrier.pump()

    def close(self, ending: Ending) -> None:
        """See `Link.close`. The gateway's connection stays, and is told why where it was not the gateway's own wish."""
        now_s, now_ms = self._clock.monotonic_s(), milliseconds(self._clock.time_s())
        if self._sessions.detach(self, ending, now_s=now_s, now_ms=now_ms):
            log.info("sub-device offline: %s", ending.value, extra={"device": str(self.key)})
        if ending in TOLD_ENDINGS:
            tell_error(self._sessions, self._carrier, self._ids, *TOLD_ENDINGS[ending], self.key)


def tell_error(sessions: SessionTable, carrier: Link, ids: Ids, code: int, message: str, sub_device: DeviceKey) -> None:
    """Tell a gateway what goes wrong with a sub-device, if it wants to be told."""
    if not wants_errors(sessions, carrier):
        return
    try:
        carrier.send(
            topics.error_notice(carrier.key), sub_devices.encode_error(ids.alink_id(), code, message, sub_device)
        )
    except (LinkBroken, LinkBlocked, LinkTooSmall):
        log.info("error not told (%d)", code, extra={"device": str(carrier.key), "sub_device": str(sub_device)})


def wants_errors(sessions: SessionTable, link: Link) -> bool:
    """True when a connection said with `ext`, or by subscribing, that it listens to `/ext/error/…`."""
    if link.ext & WANTS_ERRORS:
        return True
    session = sessions.find(link.key)
    return session is not None and topics.matches_any(session.subscriptions, topics.error_notice(link.key))

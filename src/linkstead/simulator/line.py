"""The way out of one connection: packets, posts that are bounded, and what is to be done in its time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from linkstead.clock import Clock, Timer
from linkstead.mqtt.packets import MQTT_3_1_1, Disconnect, Packet, PingReq, Publish, encode
from linkstead.simulator.thing import Outgoing

log = logging.getLogger(__name__)

UNACKNOWLEDGED_MAX = 20
"""Posts at QoS 1 that the server has still to acknowledge; past that none is made, and the next one makes up for it."""

UNSENT_BYTES_MAX = 1_048_576
"""Bytes that the connection has still to take; past that nothing is sent. No call is read before it has taken them."""

CLOSE_WAIT_S = 5.0
"""For a connection to take what is left and to close."""

PACKET_ID_MAX = 65_535


class Line:
    """One connection's way out.

    Args:
        writer: the connection.
        clock: for what is done again and again.

    Attributes:
        unacknowledged: packet ids of the posts whose PUBACK is still to come.
        is_heard: to be set when something has come.
    """

    def __init__(self, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._timers: dict[str, Timer] = {}
        self._packet_id = 0
        self.unacknowledged: set[int] = set()
        self.is_heard = False

    def write(self, packet: Packet) -> None:
        """Send a packet; nothing once the connection is closing."""
        if not self._writer.is_closing():
            self._writer.write(encode(packet, MQTT_3_1_1))

    def send(self, message: Outgoing) -> None:
        """Publish, unless the server is behind with what it was sent before."""
        is_behind = self._writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX
        if is_behind or (message.qos and len(self.unacknowledged) >= UNACKNOWLEDGED_MAX):
            log.warning("message left out: the server is behind", extra={"topic": message.topic})
            return
        packet_id = self._take_packet_id() if message.qos else 0
        self.write(Publish(message.topic, message.payload, message.qos, packet_id))

    def _take_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % PACKET_ID_MAX + 1
            if self._packet_id not in self.unacknowledged:
                self.unacknowledged.add(self._packet_id)
                return self._packet_id

    def ping(self) -> None:
        """Ask for a sign of life; without one since the last time the connection is dead."""
        if not self.is_heard:
            log.info("the server is silent: connection given up")
            self._writer.transport.abort()
        self.is_heard = False
        self.write(PingReq())

    def every(self, name: str, every_s: float, work: Callable[[], None]) -> None:
        """Do this again and again until `close`; one thing a name."""

        def run() -> None:
            self._timers[name] = self._clock.call_later(every_s, run)
            work()

        self._timers[name] = self._clock.call_later(every_s, run)

    async def close(self) -> None:
        """Say goodbye and close; a server that takes nothing any more is left after CLOSE_WAIT_S."""
        for timer in self._timers.values():
            timer.cancel()
        self.write(Disconnect())
        self._writer.close()
        end = self._clock.call_later(CLOSE_WAIT_S, self._writer.transport.abort)
        try:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        finally:
            end.cancel()

"""One simulated device on its connection: it connects as a Link SDK would and never subscribes to anything."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Literal

from linkstead.alink import credentials
from linkstead.clock import Clock, milliseconds
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    ConnAck,
    Connect,
    Malformed,
    Packet,
    PubAck,
    Publish,
    Splitter,
    decode,
)
from linkstead.registry import DeviceKey
from linkstead.simulator.behaviour import Behaviour
from linkstead.simulator.line import Line
from linkstead.simulator.thing import SimulatedThing
from linkstead.tsl import ThingModel

log = logging.getLogger(__name__)

Carrier = Literal["ext", "sys"]
"""Where a device asks for synchronous services: `/ext/rrpc/…` or the system topic. Source: `device-protocol.md` 4.4."""

KEEP_ALIVE_S = 60
RECONNECT_WAIT_S_MIN, RECONNECT_WAIT_S_MAX = 1.0, 30.0
READ_BYTES_MAX = 65_536
POST_EVERY_S = 60.0


class RefusedError(Exception):
    """The server refused the CONNECT; the argument is its return code."""


class SimulatedDevice:
    """A device that stays connected and answers.

    Args:
        host, port: the MQTT port of the server, plain TCP.
        key, device_secret: the device's identity.
        clock: keep-alive, posts and reconnects.
        model: what the device has and can do; None for one that sends every call back as it came.
        behaviour: what it does of its own.
        post_every_s: seconds between two posts of all properties, 0 for none but the one on connecting; None for what
            the behaviour says, or POST_EVERY_S.
        carrier: where it asks for synchronous services; it answers them on both.
        take_first: shown every packet; where it returns True the packet has been dealt with.
        comes_back: takes a lost connection up again.

    Attributes:
        connected: set while the server has accepted it.
        thing: the device itself, without its connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        key: DeviceKey,
        device_secret: str,
        clock: Clock,
        *,
        model: ThingModel | None = None,
        behaviour: Behaviour | None = None,
        post_every_s: float | None = None,
        carrier: Carrier = "ext",
        take_first: Callable[[Packet, Line], bool] | None = None,
        comes_back: bool = True,
    ) -> None:
        behaviour = behaviour or Behaviour()
        self._host = host
        self._port = port
        self._key = key
        self._device_secret = device_secret
        self._clock = clock
        self._carrier = carrier
        self._take_first = take_first
        self._comes_back = comes_back
        self._events = behaviour.events
        wishes = (post_every_s, behaviour.post_every_s, POST_EVERY_S)
        self._post_every_s = next(wish for wish in wishes if wish is not None)
        self.thing = SimulatedThing(key, model, behaviour, seed=str(key), now_ms=self._now_ms)
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect and serve until cancelled; a lost connection is taken up again, unless it does not come back.

        Raises:
            RefusedError: the credentials are wrong or the device is unknown or disabled; trying again would not help.
        """
        wait_s = RECONNECT_WAIT_S_MIN
        while True:
            try:
                await self._serve()
            except (OSError, EOFError, Malformed) as error:
                log.info("connection lost: %r", error, extra={"device": str(self._key)})
            if self.connected.is_set():
                self.connected.clear()
                wait_s = RECONNECT_WAIT_S_MIN
            if not self._comes_back:
                return
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RECONNECT_WAIT_S_MAX)

    async def _serve(self) -> None:
        """One connection, to its end."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        line = Line(writer, self._clock)
        try:
            line.write(self._connect())
            line.every("ping", KEEP_ALIVE_S, line.ping)
            splitter = Splitter()
            while data := await reader.read(READ_BYTES_MAX):
                line.is_heard = True
                for frame in splitter.feed(data):
                    self._take(decode(frame, MQTT_3_1_1), line)
                    await writer.drain()
            raise EOFError("the server closed the connection")
        finally:
            await line.close()

    def _connect(self) -> Connect:
        ext = 1 if self._carrier == "ext" else 0
        options = f"securemode=3,signmethod=hmacsha256,ext={ext},_ss=1"
        client_id = f"{self._key.product_key}.{self._key.device_name}|{options}|"
        password = credentials.sign_connect(self._key, credentials.parse_client_id(client_id), self._device_secret)
        return Connect(
            level=MQTT_3_1_1,
            client_id=client_id,
            clean_start=True,
            keep_alive_s=KEEP_ALIVE_S,
            user_name=f"{self._key.device_name}&{self._key.product_key}",
            password=password.encode(),
        )

    def _take(self, packet: Packet, line: Line) -> None:
        if self._take_first is not None and self._take_first(packet, line):
            return
        match packet:
            case ConnAck():
                if packet.reason_code:
                    raise RefusedError(packet.reason_code)
                if not self.connected.is_set():
                    self.connected.set()
                    self._begin(line)
            case Publish():
                if packet.qos == 1:
                    line.write(PubAck(packet.packet_id))
                for message in self.thing.receive(packet.topic, packet.payload, self._now_ms):
                    line.send(message)
            case PubAck():
                line.unacknowledged.discard(packet.packet_id)

    def _begin(self, line: Line) -> None:
        """Post what there is, and go on doing so."""
        self._post_properties(line)
        if self._post_every_s:
            line.every("properties", self._post_every_s, partial(self._post_properties, line))
        for identifier, every_s in self._events.items():
            line.every(f"event {identifier}", every_s, partial(self._post_event, line, identifier))

    def _post_properties(self, line: Line) -> None:
        for message in self.thing.post_properties(self._now_ms):
            line.send(message)

    def _post_event(self, line: Line, identifier: str) -> None:
        for message in self.thing.post_event(identifier, self._now_ms):
            line.send(message)

    @property
    def _now_ms(self) -> int:
        return milliseconds(self._clock.time_s())

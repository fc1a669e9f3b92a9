"""One simulated device: connects as a Link SDK would, answers every RRPC with its payload."""

import asyncio
import contextlib
import logging

from linkstead.alink import credentials, topics
from linkstead.clock import Clock
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    ConnAck,
    Connect,
    Disconnect,
    Malformed,
    PingReq,
    PubAck,
    Publish,
    Splitter,
    decode,
    encode,
)
from linkstead.registry import DeviceKey

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 60
RECONNECT_WAIT_S_MIN, RECONNECT_WAIT_S_MAX = 1.0, 30.0
READ_BYTES_MAX = 65_536


class RefusedError(Exception):
    """The server refused the CONNECT; the argument is its return code."""


class SimulatedDevice:
    """A device that stays connected and echoes.

    Args:
        host, port: the MQTT port of the server, plain TCP.
        key, device_secret: the device's identity.
        clock: keep-alive and reconnects.
    """

    def __init__(self, host: str, port: int, key: DeviceKey, device_secret: str, clock: Clock) -> None:
        self._host = host
        self._port = port
        self._key = key
        self._device_secret = device_secret
        self._clock = clock
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect and serve until cancelled; a lost connection is taken up again.

        Raises:
            RefusedError: the credentials are wrong or the device is unknown or disabled; trying again would not help.
        """
        wait_s = RECONNECT_WAIT_S_MIN
        while True:
            try:
                await self._serve()
                wait_s = RECONNECT_WAIT_S_MIN
            except (OSError, EOFError, Malformed) as error:
                log.info("connection lost: %r", error, extra={"device": str(self._key)})
            self.connected.clear()
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RECONNECT_WAIT_S_MAX)

    async def _serve(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(encode(self._connect(), MQTT_3_1_1))
            splitter = Splitter()
            ping = asyncio.ensure_future(self._ping(writer))
            try:
                while True:
                    data = await reader.read(READ_BYTES_MAX)
                    if not data:
                        raise EOFError("the server closed the connection")
                    for frame in splitter.feed(data):
                        self._take(decode(frame, MQTT_3_1_1), writer)
                    await writer.drain()
            finally:
                ping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ping
        finally:
            if not writer.is_closing():
                writer.write(encode(Disconnect(), MQTT_3_1_1))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _connect(self) -> Connect:
        client_id = f"{self._key.product_key}.{self._key.device_name}|securemode=3,signmethod=hmacsha256,ext=1|"
        password = credentials.sign_connect(self._key, credentials.parse_client_id(client_id), self._device_secret)
        return Connect(
            level=MQTT_3_1_1,
            client_id=client_id,
            clean_start=True,
            keep_alive_s=KEEP_ALIVE_S,
            user_name=f"{self._key.device_name}&{self._key.product_key}",
            password=password.encode(),
        )

    async def _ping(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._clock.sleep(KEEP_ALIVE_S)
            writer.write(encode(PingReq(), MQTT_3_1_1))

    def _take(self, packet: object, writer: asyncio.StreamWriter) -> None:
        match packet:
            case ConnAck():
                if packet.reason_code:
                    raise RefusedError(packet.reason_code)
                self.connected.set()
            case Publish():
                if packet.qos == 1:
                    writer.write(encode(PubAck(packet.packet_id), MQTT_3_1_1))
                answer_topic = self._answer_topic(packet.topic)
                if answer_topic is not None:
                    writer.write(encode(Publish(answer_topic, packet.payload), MQTT_3_1_1))

    def _answer_topic(self, topic: str) -> str | None:
        if topic.startswith("/ext/rrpc/"):
            return topic
        prefix = topics.rrpc_request(self._key, 0).removesuffix("0")
        return topic.replace("/rrpc/request/", "/rrpc/response/", 1) if topic.startswith(prefix) else None

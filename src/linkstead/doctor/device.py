"""What a device sees: a CONNECT and its answer, subscriptions, and a call that it answers."""

import asyncio
import contextlib
from typing import TypeVar

from linkstead.alink import credentials, topics
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import FaultFound, Patient
from linkstead.doctor.ports import Port
from linkstead.mqtt.gateway import KEEP_ALIVE_S_MAX, KEEP_ALIVE_S_MIN
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    ConnAck,
    Connect,
    Disconnect,
    Malformed,
    Packet,
    PubAck,
    Publish,
    Splitter,
    SubAck,
    Subscribe,
    Subscription,
    decode,
    encode,
)
from linkstead.registry import DeviceKey

READ_BYTES_MAX = 65_536
REFUSED = 0x80
"""Return codes of a SUBACK from here on are refusals. [MQTT-3.9.3-2]"""

CONNACK_REASONS = {
    1: "CONNACK 1: protocol level",
    2: "CONNACK 2: client id",
    3: "CONNACK 3: unavailable",
    4: "CONNACK 4: user name or password",
    5: "CONNACK 5: not authorized",
}
PasswordRefusals = frozenset({4, 5})
_Kind = TypeVar("_Kind", bound=Packet)


def check_connect(patient: Patient) -> str:
    """Judge what a device sends in its CONNECT, as far as it was given.

    Raises:
        FaultFound: client id, signmethod, keep-alive or password break their rule.
    """
    if not KEEP_ALIVE_S_MIN <= patient.keep_alive_s <= KEEP_ALIVE_S_MAX:
        bounds = {"low": KEEP_ALIVE_S_MIN, "high": KEEP_ALIVE_S_MAX}
        raise FaultFound(Fault.KEEP_ALIVE, keep_alive_s=patient.keep_alive_s, **bounds)
    text = make_client_id(patient)
    try:
        client_id = credentials.parse_client_id(text)
    except credentials.BadClientId as error:
        fault = Fault.SIGN_METHOD if "signmethod" in str(error) else Fault.CLIENT_ID
        raise FaultFound(fault, reason=error) from None
    if patient.mqtt_password and patient.device_secret:
        key = DeviceKey(patient.product_key, patient.device_name)
        if not credentials.check_password(key, client_id, patient.device_secret, patient.mqtt_password.encode()):
            content = f"clientId{client_id.cid}deviceName{key.device_name}productKey{key.product_key}"
            if client_id.timestamp is not None:
                content += f"timestamp{client_id.timestamp}"
            raise FaultFound(Fault.MQTT_PASSWORD, sign_method=client_id.sign_method, content=content)
    return text


def make_client_id(patient: Patient) -> str:
    """The client id that was given, or one as the Link SDKs make it."""
    plain = f"{patient.product_key}.{patient.device_name}|securemode=3,signmethod=hmacsha256,ext=1,_ss=1|"
    return patient.client_id or plain


class OwnDevice:
    """The patient's device, connected from here. It sends every RRpc back as it came."""

    def __init__(self, port: Port, patient: Patient) -> None:
        self._port = port
        self._patient = patient
        self._key = DeviceKey(patient.product_key, patient.device_name)
        self._splitter = Splitter()
        self._packets: asyncio.Queue[Packet | None] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def log_in(self, *, is_known: bool) -> str:
        """Connect, and stay connected until `close`.

        Args:
            is_known: the device is known to be there and enabled.

        Raises:
            FaultFound: the server refused it, or gave no answer.
        """
        client_id = make_client_id(self._patient)
        parsed = credentials.parse_client_id(client_id)
        password = credentials.sign_connect(self._key, parsed, self._patient.device_secret)
        try:
            async with asyncio.timeout(self._patient.wait_s):
                reader, self._writer = await self._port.open(self._port.tls)
                self._task = asyncio.get_running_loop().create_task(self._read(reader))
                self._write(
                    Connect(
                        MQTT_3_1_1,
                        client_id,
                        keep_alive_s=self._patient.keep_alive_s,
                        user_name=f"{self._key.device_name}&{self._key.product_key}",
                        password=password.encode(),
                    )
                )
                code = (await self._expect(ConnAck)).reason_code
        except (OSError, EOFError, TimeoutError) as error:
            raise FaultFound(Fault.CONNECT_REFUSED, reason=str(error) or type(error).__name__) from None
        if code in PasswordRefusals:
            raise FaultFound(Fault.DEVICE_SECRET_WRONG if is_known else Fault.DEVICE_REFUSED, code=code)
        if code:
            raise FaultFound(Fault.CONNECT_REFUSED, reason=CONNACK_REASONS.get(code, f"CONNACK {code}"))
        return f"CONNACK 0, ext={parsed.ext}"

    async def subscribe(self, topic: str) -> bool:
        """Subscribe to a topic filter; False when the server refused it. Raises FaultFound: see `log_in`."""
        self._write(Subscribe(1, [Subscription(topic)]))
        try:
            async with asyncio.timeout(self._patient.wait_s):
                return (await self._expect(SubAck)).reason_codes[0] < REFUSED
        except (EOFError, TimeoutError) as error:
            raise FaultFound(Fault.NO_ANSWER, reason=type(error).__name__) from None

    async def close(self) -> None:
        """Say goodbye; harmless where there is no connection."""
        if self._writer is None or self._task is None:
            return
        self._write(Disconnect())
        self._writer.close()
        self._task.cancel()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.wait([self._task])

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(READ_BYTES_MAX):
                for frame in self._splitter.feed(data):
                    self._take(decode(frame, MQTT_3_1_1))
        except (OSError, Malformed):
            pass
        finally:
            self._packets.put_nowait(None)

    def _take(self, packet: Packet) -> None:
        if not isinstance(packet, Publish):
            self._packets.put_nowait(packet)
            return
        if packet.qos:
            self._write(PubAck(packet.packet_id))
        request, response = "/rrpc/request/", "/rrpc/response/"
        if request in packet.topic:
            self._write(Publish(packet.topic.replace(request, response, 1), packet.payload))
        elif topics.parse_rrpc_answer(packet.topic) is not None:
            # /ext/rrpc/…: answered on the very topic of the request
            self._write(Publish(packet.topic, packet.payload))

    def _write(self, packet: Packet) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(packet, MQTT_3_1_1))

    async def _expect(self, kind: type[_Kind]) -> _Kind:
        while (packet := await self._packets.get()) is not None:
            if isinstance(packet, kind):
                return packet
        raise EOFError("the server closed the connection")

"""A device made with paho-mqtt 2 and computed credentials, in a thread of the test's own process."""

import queue
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.sdk.identity import Credentials

HOST = "127.0.0.1"
EVENT_WAIT_S = 20.0
KEEP_ALIVE_S = 60
SESSION_KEPT_S = 3_600

SILENCE = b"say nothing"
"""A request that begins so is taken and not answered."""

Answerer = Callable[[bytes], bytes]


class Received(NamedTuple):
    """A message as it came in."""

    topic: str
    payload: bytes
    qos: int


class PahoDevice:
    """A device that answers every RRPC, on the topic that belongs to it.

    Args:
        port: of the server, on this machine.
        credentials: what it sends in CONNECT.
        version: MQTT 3.1, 3.1.1 or 5.
        answer: makes an answer of a request; the request itself without it.
        qos: of its answers.
        persistent: its session outlives the connection.
        ca_file: connect with TLS and trust this.
        websocket: MQTT goes over WebSocket.
    """

    def __init__(
        self,
        port: int,
        credentials: Credentials,
        *,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
        answer: Answerer = lambda payload: payload,
        qos: int = 0,
        persistent: bool = False,
        keep_alive_s: int = KEEP_ALIVE_S,
        ca_file: str | None = None,
        websocket: bool = False,
    ) -> None:
        is_5 = version is MQTTProtocolVersion.MQTTv5
        self._port = port
        self._answer = answer
        self._qos = qos
        self._keep_alive_s = keep_alive_s
        self._connects: queue.Queue[tuple[str, bool]] = queue.Queue()
        self._disconnects: queue.Queue[str] = queue.Queue()
        self._grants: queue.Queue[list[str]] = queue.Queue()
        self._messages: queue.Queue[Received] = queue.Queue()
        self._acknowledged: queue.Queue[str] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            credentials.client_id,
            clean_session=None if is_5 else not persistent,
            protocol=version,
            transport="websockets" if websocket else "tcp",
        )
        self.client.username_pw_set(credentials.user_name, credentials.password)
        if ca_file is not None:
            self.client.tls_set(ca_file, cert_reqs=ssl.CERT_REQUIRED)
        self._options: dict[str, Any] = {}
        if is_5:
            self._options["clean_start"] = not persistent
            if persistent:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = SESSION_KEPT_S
                self._options["properties"] = properties
        self.client.on_connect = self._note_connect
        self.client.on_disconnect = self._note_disconnect
        self.client.on_subscribe = self._note_grants
        self.client.on_message = self._note_message
        self.client.on_publish = self._note_acknowledgement

    def connect(self) -> bool:
        """Connect and be let in. True when the session is an earlier one carried on."""
        reason, present = self.try_connect()
        assert reason == "Success"
        return present

    def try_connect(self) -> tuple[str, bool]:
        """Connect: the server's word (`Success`, `Not authorized`, …), and whether the session is an earlier one."""
        self.client.connect(HOST, self._port, self._keep_alive_s, **self._options)
        self.client.loop_start()
        return self._connects.get(timeout=EVENT_WAIT_S)

    def disconnect(self) -> None:
        """Leave with DISCONNECT and end the thread."""
        self.client.disconnect()
        self.client.loop_stop()

    def break_off(self) -> None:
        """Close the socket without DISCONNECT, as a device does that loses its power."""
        # The thread ends first: it would connect anew at once.
        self.client.loop_stop()
        connection = self.client.socket()
        assert connection is not None
        connection.close()

    def wait_disconnect(self) -> str:
        """Wait until the connection is gone: why, in paho's words."""
        return self._disconnects.get(timeout=EVENT_WAIT_S)

    def wait_connect(self) -> bool:
        """Wait until paho has connected anew by itself. True when the session is an earlier one carried on."""
        reason, present = self._connects.get(timeout=EVENT_WAIT_S)
        assert reason == "Success"
        return present

    def subscribe(self, topic_filter: str, qos: int) -> str:
        """Subscribe: what the server grants, in paho's words."""
        self.client.subscribe(topic_filter, qos)
        (grant,) = self._grants.get(timeout=EVENT_WAIT_S)
        return grant

    def publish(self, topic: str, payload: bytes, qos: int) -> str:
        """Publish and wait until that is done: the server's reason of MQTT 5, `Success` before."""
        self.client.publish(topic, payload, qos)
        return self._acknowledged.get(timeout=EVENT_WAIT_S)

    def take_message(self) -> Received:
        """The next message that came in; requests it answered are among them."""
        return self._messages.get(timeout=EVENT_WAIT_S)

    def has_messages(self) -> bool:
        """True when there are messages that nobody took."""
        return not self._messages.empty()

    def _note_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        self._connects.put((str(reason), flags.session_present))

    def _note_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._disconnects.put(str(reason))

    def _note_grants(self, _client: Any, _data: Any, _packet_id: int, reasons: Any, _properties: Any) -> None:
        self._grants.put([str(reason) for reason in reasons])

    def _note_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        topic, payload = message.topic, bytes(message.payload)
        self._messages.put(Received(topic, payload, message.qos))
        answer_topic = answer_topic_of(topic)
        if answer_topic and not payload.startswith(SILENCE):
            client.publish(answer_topic, self._answer(payload), self._qos)

    def _note_acknowledgement(self, _client: Any, _data: Any, _packet_id: int, reason: Any, _properties: Any) -> None:
        self._acknowledged.put(str(reason))


def answer_topic_of(topic: str) -> str:
    """Where the answer to a request on this topic goes; empty when it is none. Source: `device-protocol.md` 4."""
    if topic.startswith("/ext/rrpc/"):
        return topic
    return topic.replace("/rrpc/request/", "/rrpc/response/") if "/rrpc/request/" in topic else ""

"""MQTT inside WebSocket, sans-IO: bytes in, bytes of MQTT out, and frames made of what MQTT sends.

The handshake is taken for the sub-protocol `mqtt` on any path, without extensions. Messages are cut anywhere: a packet
may span several, and one may hold several packets. [MQTT-6.0.0-2]
"""

from typing import Final

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from linkstead.mqtt.packets import PACKET_BYTES_MAX

HANDSHAKE_BYTES_MAX: Final = 8_192
MESSAGE_BYTES_MAX: Final = 2 * PACKET_BYTES_MAX
"""Of one WebSocket message, however many frames it comes in: the largest packet, and others with it."""

SUB_PROTOCOLS: Final = ("mqtt", "mqttv3.1")
"""The second is what clients of MQTT 3.1 ask for. [MQTT-6.0.0-3]"""

_HEAD_END: Final = b"\r\n\r\n"


class HandshakeRefused(Exception):
    """What came is no WebSocket handshake for MQTT; the text says why. Nothing was answered."""


class WebSocket:
    """The server's end of a WebSocket that carries MQTT.

    Attributes:
        is_open: the handshake is done, and neither side has closed.
        is_over: the client has closed, or broken a rule: nothing more is read.
        fault: the rule that was broken; empty when there is none.
    """

    def __init__(self) -> None:
        self._connection = WSConnection(ConnectionType.SERVER)
        self._head = bytearray()
        self._outgoing = bytearray()
        self._message_bytes = 0
        self.is_open = False
        self.is_over = False
        self.fault = ""

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes of the client, and return those of MQTT in them. What is to be answered is in `data_to_send`.

        Raises:
            HandshakeRefused: see there.
        """
        if self.is_over:
            return b""
        if not self.is_open:
            data = self._shake_hands(data)
            if not self.is_open:
                return b""
        self._connection.receive_data(data)
        return self._read_frames()

    def data_to_send(self) -> bytes:
        """What the handshake, pings and the end are answered with."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def encode(self, data: bytes) -> bytes:
        """A frame with bytes of MQTT; nothing once the WebSocket is closed."""
        return self._connection.send(BytesMessage(data)) if self.is_open else b""

    def close(self, code: int = CloseReason.NORMAL_CLOSURE) -> bytes:
        """The last frame; nothing when it has been sent, or there was no handshake."""
        if not self.is_open:
            return b""
        self.is_open = False
        self.is_over = True
        return self._connection.send(CloseConnection(code))

    def _shake_hands(self, data: bytes) -> bytes:
        """Take the request, and return what came behind it."""
        seen = max(len(self._head) - len(_HEAD_END), 0)
        self._head += data
        end = self._head.find(_HEAD_END, seen)
        if end > HANDSHAKE_BYTES_MAX - len(_HEAD_END) or (end < 0 and len(self._head) >= HANDSHAKE_BYTES_MAX):
            raise HandshakeRefused(f"the request has more than {HANDSHAKE_BYTES_MAX} bytes")
        if end < 0:
            return b""
        head, rest = bytes(self._head[: end + len(_HEAD_END)]), bytes(self._head[end + len(_HEAD_END) :])
        self._head.clear()
        try:
            self._connection.receive_data(head)
            for event in self._connection.events():
                if isinstance(event, Request):
                    self._outgoing += self._connection.send(AcceptConnection(_choose(event.subprotocols)))
                    self.is_open = True
        except ProtocolError as error:
            raise HandshakeRefused(str(error)) from None
        except UnicodeError:
            raise HandshakeRefused("a header is not ASCII") from None
        if not self.is_open:
            raise HandshakeRefused("it is no request")
        return rest

    def _read_frames(self) -> bytes:
        payload = bytearray()
        for event in self._connection.events():
            match event:
                case BytesMessage():
                    payload += event.data
                    self._message_bytes += len(event.data)
                    if self._message_bytes > MESSAGE_BYTES_MAX:
                        self._break_off(CloseReason.MESSAGE_TOO_BIG, f"a message over {MESSAGE_BYTES_MAX} bytes")
                        break
                    if event.message_finished:
                        self._message_bytes = 0
                case Ping():
                    self._outgoing += self._connection.send(event.response())
                case TextMessage():
                    # [MQTT-6.0.0-1]
                    self._break_off(CloseReason.UNSUPPORTED_DATA, "text, where MQTT is binary")
                    break
                case CloseConnection() if self._connection.state is ConnectionState.OPEN:
                    # wsproto's word for a frame that it cannot take.
                    self._break_off(event.code, event.reason or "a malformed frame")
                    break
                case CloseConnection():
                    self.is_open = False
                    self.is_over = True
                    self._outgoing += self._connection.send(event.response())
                    break
        return bytes(payload)

    def _break_off(self, code: int, fault: str) -> None:
        self.fault = fault
        self._outgoing += self.close(code)


def _choose(offered: list[str]) -> str:
    for name in offered:
        if name in SUB_PROTOCOLS:
            return name
    raise HandshakeRefused("the sub-protocol must be mqtt")

"""The server's side of one MQTT connection as a state machine: bytes and time in, events out, bytes to write.

The gateway does the I/O: it hands in what it read with `receive_data`, answers the events, and after every call writes
`data_to_send()` and closes the connection if `closing` says so. Times are the clock's monotonic seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from linkstead.mqtt.codes import CONNECT, PUBLISH, ReasonCode, Refusal
from linkstead.mqtt.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PACKET_BYTES_MAX,
    ConnAck,
    Connect,
    Disconnect,
    Frame,
    Malformed,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    Splitter,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    connect_level,
    decode,
    decode_publish,
    encode,
    encode_publish,
)

CONNECT_WAIT_S: Final = 10.0
KEEP_ALIVE_FACTOR: Final = 1.5
PENDING_BYTES_MAX: Final = 524_288  # from a client not yet accepted: CONNECT, and again what it sends behind it
PAYLOAD_BYTES_MAX: Final = 262_144  # Source: limits of the platform, 256 KB for a message
RECEIVE_MAXIMUM: Final = 100  # Source: limits of the platform, QoS 1 messages of a device not yet acknowledged
IN_FLIGHT_MAX: Final = 100
QOS2_PENDING_MAX: Final = 100
TOPIC_ALIAS_MAX: Final = 16
MESSAGE_BYTES_USUAL: Final = 16_386  # a packet with a Remaining Length of up to two bytes

_USUAL_HEADS: Final = (0x30, 0x32)  # PUBLISH at QoS 0 and 1
_CONNACKS: Final = tuple(encode(ConnAck(is_present, 0), MQTT_3_1_1) for is_present in (False, True))  # before 5.0
_PINGRESP: Final = encode(PingResp(), MQTT_5)


@lru_cache(maxsize=1_024)
def _silence_max_s(keep_alive_s: int) -> float:
    """How long a client may be silent: one number for all that have the same keep-alive."""
    return keep_alive_s * KEEP_ALIVE_FACTOR


class LocalError(Exception):
    """The gateway's mistake: a call that the connection's state does not allow."""


class ConnectionOver(Exception):
    """The connection has ended; nothing was sent."""


class WindowFull(Exception):
    """As many QoS 1 messages are in flight as the client, or IN_FLIGHT_MAX, allows; nothing was sent."""


class PacketTooLarge(Exception):
    """The packet is over the Maximum Packet Size of a 5.0 client; nothing was sent. [MQTT-3.1.2-24]"""


# --- events ---


@dataclass(slots=True)
class ConnectReceived:
    """A CONNECT to be answered with `accept` or `refuse`; nothing else is read until then."""

    connect: Connect


@dataclass(slots=True)
class PublishReceived:
    """A message. QoS 1 waits for `puback`; QoS 0 (packet_id 0) and QoS 2 need no answer.

    properties: empty before 5.0; a topic alias is resolved and not among them. The retain flag is dropped.
    """

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    dup: bool
    properties: Properties


@dataclass(slots=True)
class PublishTooLarge:
    """A message over PAYLOAD_BYTES_MAX, dropped. QoS 1 waits for `puback` all the same."""

    topic: str
    payload_bytes: int
    qos: int
    packet_id: int


@dataclass(slots=True)
class SubscribeReceived:
    """A SUBSCRIBE, to be answered with `suback`."""

    packet: Subscribe


@dataclass(slots=True)
class UnsubscribeReceived:
    """An UNSUBSCRIBE, to be answered with `unsuback`."""

    packet: Unsubscribe


@dataclass(slots=True)
class PublishAcknowledged:
    """The client has a QoS 1 message of ours; before 5.0 the reason code is always 0."""

    packet_id: int
    reason_code: int


@dataclass(slots=True)
class DisconnectReceived:
    """The client said goodbye; the connection is over."""

    reason_code: int
    session_expiry_interval_s: int | None


@dataclass(slots=True)
class Violated:
    """The client broke the protocol; the connection is over. text: one sentence for the log."""

    reason_code: ReasonCode
    text: str


@dataclass(slots=True)
class ConnectTimedOut:
    """No CONNECT within CONNECT_WAIT_S; the connection is over."""


@dataclass(slots=True)
class KeepAliveExpired:
    """No packet within KEEP_ALIVE_FACTOR keep-alives; the connection is over."""


@dataclass(slots=True)
class ConnectionLost:
    """The connection ended without DISCONNECT."""


Event = (
    ConnectReceived
    | PublishReceived
    | PublishTooLarge
    | SubscribeReceived
    | UnsubscribeReceived
    | PublishAcknowledged
    | DisconnectReceived
    | Violated
    | ConnectTimedOut
    | KeepAliveExpired
    | ConnectionLost
)

# topic, payload, packet id (0: QoS 0), as in PublishReceived
Message = tuple[str, bytes, int]

# the states, in their order; plain numbers, because the comparison stands on the path of every message
_CONNECTING: Final = 0  # waits for CONNECT
_DECIDING: Final = 1  # waits for accept() or refuse()
_OPEN: Final = 2
_OVER: Final = 3


class ServerConnection:
    """One client's connection, from its first byte to its last.

    A connection ends with exactly one of DisconnectReceived, Violated, ConnectTimedOut, KeepAliveExpired and
    ConnectionLost, or by `refuse` or `disconnect`; after that nothing is read and nothing can be sent. The events of
    one call may hold the end behind what came before it: answers to the latter are then taken and dropped.

    now: when the connection was made. packet_bytes_max: bound on an inbound packet, announced to 5.0 clients.

    level: protocol level of the client, 0 until its CONNECT. closing: close the connection once all is written.
    """

    __slots__ = (
        "_aliases",
        "_clean_start",
        "_client_packet_bytes_max",
        "_heard_at",
        "_held",
        "_in_flight",
        "_last_packet_id",
        "_out",
        "_packet_bytes_max",
        "_qos2_pending",
        "_session_kept",
        "_silence_max_s",
        "_splitter",
        "_state",
        "_unacknowledged",
        "_window",
        "closing",
        "level",
    )

    def __init__(self, now: float, packet_bytes_max: int = PACKET_BYTES_MAX) -> None:
        self.level = 0
        self.closing = False
        self._state = _CONNECTING
        # once open, only while a packet is unfinished
        self._splitter: Splitter | None = Splitter(min(packet_bytes_max, PENDING_BYTES_MAX))
        self._packet_bytes_max = packet_bytes_max
        self._heard_at = now
        self._silence_max_s = CONNECT_WAIT_S  # 0: for ever
        self._out: list[bytes] | None = None
        self._held: bytearray | None = None
        self._clean_start = False
        self._session_kept = False  # beyond the connection's end, as a 5.0 client asks
        self._client_packet_bytes_max = 0  # 0: no bound
        self._window = IN_FLIGHT_MAX
        self._last_packet_id = 0
        self._in_flight: set[int] | None = None  # our QoS 1 messages
        self._unacknowledged: set[int] | None = None  # the client's QoS 1 messages
        self._qos2_pending: set[int] | None = None  # the client's QoS 2 messages that it has not released
        self._aliases: dict[int, str] | None = None

    # --- what the client sends ---

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the client and say what they mean. Whatever they are, nothing is raised."""
        events: list[Event] = []
        if self._state == _OPEN:
            self._read(data, now, events)
        elif self._state == _DECIDING:
            self._hold(data, events)
        elif self._state == _CONNECTING and data:
            self._read_connect(data, events)
        return events

    def receive_message(self, data: bytes, now: float) -> Message | None:
        """Take `data` if it is one whole usual message, the common case by far; else None, and nothing was taken.

        It is what `receive_data` says in a PublishReceived, at a quarter of its cost: no frames, no event. Usual means
        QoS 0 or 1 without DUP or retain, up to MESSAGE_BYTES_USUAL, without properties, and nothing wrong with it.
        """
        size = len(data)
        if self._state != _OPEN or size < 4 or size > self._packet_bytes_max or self._splitter is not None:
            return None
        head, length = data[0], data[1]
        if length < 0x80:
            start = 4
        elif data[2] < 0x80:
            length += (data[2] - 1) << 7
            start = 5
        else:
            return None
        if size != length + start - 2 or size < start or head not in _USUAL_HEADS:
            return None
        end = start + (data[start - 2] << 8 | data[start - 1])
        try:
            topic = data[start:end].decode()
        except UnicodeDecodeError:
            return None
        if not topic or "+" in topic or "#" in topic or "\0" in topic:
            return None
        packet_id = 0
        if head == 0x32:
            end += 2
            if end > size or not (packet_id := data[end - 2] << 8 | data[end - 1]):
                return None
        if self.level == MQTT_5:
            end += 1
            if end > size or data[end - 1]:
                return None
        if end > size:
            return None
        if packet_id:
            unacknowledged = self._unacknowledged = self._unacknowledged or set()
            if len(unacknowledged) >= RECEIVE_MAXIMUM:
                return None
            unacknowledged.add(packet_id)
        self._heard_at = now
        return topic, data[end:], packet_id

    def receive_eof(self, now: float) -> list[Event]:
        """Take the end of the client's bytes, or the loss of the connection."""
        if self._state == _OVER:
            return []
        self._end()
        return [ConnectionLost()]

    @property
    def heard_at(self) -> float:
        """When the client was last heard of; before its CONNECT, when the connection began."""
        return self._heard_at

    def deadline(self) -> float | None:
        """Return when `check_time` is due, None for never. It moves with every packet: ask again when it comes."""
        if self._silence_max_s and self._state in (_CONNECTING, _OPEN):
            return self._heard_at + self._silence_max_s
        return None

    def hold(self, seconds: float) -> None:
        """Put the deadline off, as if the peer had been heard so much later."""
        self._heard_at += seconds

    def check_time(self, now: float) -> list[Event]:
        """End the connection if its deadline has come."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        if self._state == _OPEN:  # [MQTT-3.1.2-22]
            self.disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)
            return [KeepAliveExpired()]
        self._end()
        return [ConnectTimedOut()]

    # --- what the gateway answers and sends ---

    def accept(self, session_present: bool, now: float, assigned_client_id: str | None = None) -> list[Event]:
        """Accept the CONNECT, and say what the client sent behind it.

        session_present: there is a session to go on with; never with clean start. assigned_client_id: for a 5.0 client.

        Raises:
            LocalError: there is no CONNECT to accept, or a session is present with clean start. [MQTT-3.2.2-2]
        """
        if self._state != _DECIDING:
            raise LocalError("there is no CONNECT to accept")
        if session_present and self._clean_start:
            raise LocalError("session_present must be false with clean start")
        events: list[Event] = []
        # 3.1 has no Session Present
        connack = _CONNACKS[session_present and self.level != MQTT_3_1]
        if self.level == MQTT_5:
            properties: Properties = {
                "receive_maximum": RECEIVE_MAXIMUM,
                "maximum_qos": 1,
                "retain_available": 0,
                "maximum_packet_size": self._packet_bytes_max,
                "topic_alias_maximum": TOPIC_ALIAS_MAX,
                "subscription_identifier_available": 0,
                "shared_subscription_available": 0,
            }
            if assigned_client_id is not None:
                properties["assigned_client_identifier"] = assigned_client_id
            connack = encode(ConnAck(session_present, 0, properties), MQTT_5)
        if self._exceeds_client_max(connack):
            text = f"Maximum Packet Size is less than the {len(connack)} bytes of CONNACK"
            self._violate(ReasonCode.PACKET_TOO_LARGE, text, events)
            return events
        self._send(connack)
        self._state = _OPEN
        self._heard_at = now
        held, self._held = self._held, None
        if held:
            self._read(bytes(held), now, events)
        return events

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the CONNECT, and end the connection.

        Raises:
            LocalError: there is no CONNECT to refuse.
        """
        if self._state != _DECIDING:
            raise LocalError("there is no CONNECT to refuse")
        self._send_refusal(refusal.reason_code if self.level == MQTT_5 else refusal.return_code, self.level)
        self._end()

    def publish(
        self, topic: bytes, payload: bytes, qos: int, dup: bool = False, properties: Properties | None = None
    ) -> int | None:
        """Send a message.

        topic: UTF-8. qos: 0 or 1. dup: it was sent before, with QoS 1. properties: not sent before 5.0.

        Returns:
            The packet id that PublishAcknowledged will name; None with QoS 0.

        Raises:
            ConnectionOver, WindowFull, PacketTooLarge: nothing was sent.
            LocalError: the CONNECT is not accepted yet, or QoS 2 is asked for.
            ValueError: as `encode_publish`.
        """
        if self._state != _OPEN:
            self._check_accepted()
            raise ConnectionOver
        packet_id = self._free_packet_id(qos) if qos else 0
        packet = encode_publish(topic, payload, qos, packet_id, self.level, dup, properties)
        if self._exceeds_client_max(packet):
            raise PacketTooLarge(f"the packet has {len(packet)} bytes, over {self._client_packet_bytes_max}")
        if qos:
            self._last_packet_id = packet_id
            self._in_flight = self._in_flight or set()
            self._in_flight.add(packet_id)
        self._send(packet)
        return packet_id or None

    def send_message(self, topic: str, payload: bytes) -> bytes:
        """Send a message at QoS 0, and return the bytes to write: `publish` and `data_to_send` in one.

        Raises:
            ConnectionOver, PacketTooLarge: nothing was sent.
            LocalError, ValueError: as `publish`.
        """
        if self._state != _OPEN or self._out is not None or self._client_packet_bytes_max:
            self.publish(topic.encode(), payload, 0)
            return self.data_to_send()
        return encode_publish(topic.encode(), payload, 0, 0, self.level)

    def puback(self, packet_id: int, reason_code: int = 0) -> None:
        """Acknowledge a QoS 1 message of the client; the reason code is of 5.0.

        Raises:
            LocalError: the CONNECT is not accepted yet.
        """
        if self._unacknowledged:
            self._unacknowledged.discard(packet_id)
        self._answer(PubAck(packet_id, reason_code))

    def suback(self, packet: Subscribe, codes: Sequence[int]) -> None:
        """Answer a SUBSCRIBE.

        codes: for each subscription in order, the granted QoS or a reason code of 5.0; before 5.0 any of those is 0x80.

        Raises:
            LocalError: the CONNECT is not accepted yet, or there are not as many codes as subscriptions.
        """
        if len(codes) != len(packet.subscriptions):
            raise LocalError("there must be one code for each subscription")
        if self.level != MQTT_5:
            codes = [min(code, 0x80) for code in codes]
        self._answer(SubAck(packet.packet_id, list(codes)))

    def unsuback(self, packet: Unsubscribe, codes: Sequence[int]) -> None:
        """Answer an UNSUBSCRIBE.

        codes: for each topic filter in order, a reason code of 5.0; not sent before 5.0.

        Raises:
            LocalError: the CONNECT is not accepted yet, or there are not as many codes as topic filters.
        """
        if len(codes) != len(packet.topic_filters):
            raise LocalError("there must be one code for each topic filter")
        self._answer(UnsubAck(packet.packet_id, list(codes)))

    def disconnect(self, reason_code: int) -> None:
        """End the connection in any state; an open one of 5.0 is told why.

        Raises:
            ValueError: the reason code is not one of DISCONNECT.
        """
        if self._state == _OPEN and self.level == MQTT_5:  # [MQTT-3.14.0-1]
            self._send(encode(Disconnect(reason_code), MQTT_5))
        self._end()

    def data_to_send(self) -> bytes:
        """Return the bytes to write, and forget them."""
        out = self._out
        if not out:
            return b""
        self._out = None
        return out[0] if len(out) == 1 else b"".join(out)

    @property
    def in_flight(self) -> int:
        """How many of our QoS 1 messages the client has not acknowledged."""
        return len(self._in_flight) if self._in_flight else 0

    @property
    def unacknowledged(self) -> int:
        """How many QoS 1 messages of the client wait for `puback`: from RECEIVE_MAXIMUM on, read no more."""
        return len(self._unacknowledged) if self._unacknowledged else 0

    # --- reading ---

    def _read_connect(self, data: bytes, events: list[Event]) -> None:
        level = None
        splitter = self._splitter
        assert splitter is not None
        try:
            if data[0] >> 4 != CONNECT and not splitter.unfinished:  # [MQTT-3.1.0-1]
                raise Malformed(ReasonCode.PROTOCOL_ERROR, f"the first byte is {data[0]:#04x}, not that of CONNECT")
            frame = next(splitter.feed(data), None)
            if frame is None:
                return
            level = connect_level(frame)
            connect = decode(frame, 0)
            assert isinstance(connect, Connect)
            if "authentication_method" in connect.properties:  # [MQTT-4.12.0-1]
                raise Malformed(ReasonCode.BAD_AUTHENTICATION_METHOD, "no authentication method is supported")
        except Malformed as exc:
            self._refuse_malformed(exc, level)
            events.append(Violated(exc.reason_code, exc.text))
            return
        properties = connect.properties
        self.level = connect.level
        self._state = _DECIDING
        self._silence_max_s = _silence_max_s(connect.keep_alive_s)
        self._clean_start = connect.clean_start
        self._session_kept = properties.get("session_expiry_interval", 0) > 0
        self._client_packet_bytes_max = properties.get("maximum_packet_size", 0)
        self._window = min(properties.get("receive_maximum", IN_FLIGHT_MAX), IN_FLIGHT_MAX)
        self._splitter = None
        events.append(ConnectReceived(connect))
        _, buffer, _, end = frame
        self._hold(buffer[end:], events)

    def _hold(self, data: bytes, events: list[Event]) -> None:
        if not data:
            return
        held = self._held = self._held or bytearray()
        if len(held) + len(data) > PENDING_BYTES_MAX:
            text = f"more than {PENDING_BYTES_MAX} bytes came before CONNACK"
            self._violate(ReasonCode.QUOTA_EXCEEDED, text, events)
            return
        held += data

    def _read(self, data: bytes, now: float, events: list[Event]) -> None:
        splitter = self._splitter or Splitter(self._packet_bytes_max)
        self._splitter = None
        try:
            for frame in splitter.feed(data):
                self._heard_at = now
                if frame[0] >> 4 == PUBLISH:
                    self._read_publish(frame, events)
                else:
                    self._read_packet(frame, events)
                    if self.closing:
                        return
        except Malformed as exc:
            self._violate(exc.reason_code, exc.text, events)
            return
        if splitter.unfinished:
            self._splitter = splitter

    def _read_publish(self, frame: Frame, events: list[Event]) -> None:
        topic, payload, qos, packet_id, dup, _, properties = decode_publish(frame, self.level)
        if properties:
            topic = self._resolve_alias(topic, properties)
        if qos == 1:
            unacknowledged = self._unacknowledged = self._unacknowledged or set()
            unacknowledged.add(packet_id)
            if self.level == MQTT_5 and len(unacknowledged) > RECEIVE_MAXIMUM:  # [MQTT-3.3.4-7]
                text = f"more than {RECEIVE_MAXIMUM} messages are not acknowledged"
                raise Malformed(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, text)
        elif qos and not self._begin_qos2(packet_id):
            return
        if len(payload) > PAYLOAD_BYTES_MAX:
            events.append(PublishTooLarge(topic, len(payload), qos, packet_id))
        else:
            events.append(PublishReceived(topic, payload, qos, packet_id, dup, properties))

    def _resolve_alias(self, topic: str, properties: Properties) -> str:
        if "subscription_identifier" in properties:  # [MQTT-3.3.4-6]
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "subscription_identifier stands in a client's PUBLISH")
        if "topic_alias" not in properties:
            return topic
        alias = properties.pop("topic_alias")
        if alias > TOPIC_ALIAS_MAX:  # [MQTT-3.3.2-9]
            raise Malformed(ReasonCode.TOPIC_ALIAS_INVALID, f"topic_alias is over {TOPIC_ALIAS_MAX}")
        aliases = self._aliases = self._aliases or {}
        if topic:
            aliases[alias] = topic
        elif alias not in aliases:
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "topic_alias stands for no topic yet")
        return aliases[alias]

    def _begin_qos2(self, packet_id: int) -> bool:
        """Answer a QoS 2 message with PUBREC, and say whether it is new."""
        if self.level == MQTT_5:  # MQTT 5.0 section 3.2.2.3.4
            raise Malformed(ReasonCode.QOS_NOT_SUPPORTED, "PUBLISH has QoS 2, over the Maximum QoS 1 announced")
        pending = self._qos2_pending = self._qos2_pending or set()
        is_new = packet_id not in pending
        if is_new:
            if len(pending) >= QOS2_PENDING_MAX:
                text = f"more than {QOS2_PENDING_MAX} QoS 2 messages are not released"
                raise Malformed(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, text)
            pending.add(packet_id)
        self._answer(PubRec(packet_id))
        return is_new

    def _read_packet(self, frame: Frame, events: list[Event]) -> None:
        if frame[0] >> 4 == CONNECT:  # [MQTT-3.1.0-2]
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "CONNECT came a second time")
        match decode(frame, self.level):
            case PingReq():  # [MQTT-3.12.4-1]
                self._send(_PINGRESP)
            case PubAck(packet_id, reason_code):
                # an unknown id belongs to an earlier connection of the client, or is acknowledged twice: no harm
                if self._in_flight and packet_id in self._in_flight:
                    self._in_flight.discard(packet_id)
                    events.append(PublishAcknowledged(packet_id, reason_code))
            case PubRel(packet_id):
                known = self._qos2_pending is not None and packet_id in self._qos2_pending
                if self._qos2_pending:
                    self._qos2_pending.discard(packet_id)
                self._answer(PubComp(packet_id, 0 if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
            case Subscribe() as packet:
                self._check_subscribe(packet)
                events.append(SubscribeReceived(packet))
            case Unsubscribe() as packet:
                events.append(UnsubscribeReceived(packet))
            case Disconnect(reason_code, properties):
                session_expiry_interval_s = properties.get("session_expiry_interval")
                if session_expiry_interval_s and not self._session_kept:  # MQTT 5.0 section 3.14.2.2.2
                    text = "DISCONNECT sets a session_expiry_interval that CONNECT had at 0"
                    raise Malformed(ReasonCode.PROTOCOL_ERROR, text)
                self._end()
                events.append(DisconnectReceived(reason_code, session_expiry_interval_s))
            case packet:
                text = f"{type(packet).__name__.upper()} is not for a client to send here"
                raise Malformed(ReasonCode.PROTOCOL_ERROR, text)

    def _check_subscribe(self, packet: Subscribe) -> None:
        """Refuse what CONNACK said is not available. Source: MQTT 5.0 sections 3.2.2.3.12 and 3.2.2.3.13."""
        if "subscription_identifier" in packet.properties:
            raise Malformed(
                ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "SUBSCRIBE has a subscription_identifier"
            )
        if self.level == MQTT_5 and any(each.topic_filter.startswith("$share/") for each in packet.subscriptions):
            raise Malformed(ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "SUBSCRIBE has a shared subscription")

    # --- writing and ending ---

    def _free_packet_id(self, qos: int) -> int:
        if qos != 1:
            raise LocalError("qos must be 0 or 1")
        in_flight = self._in_flight or ()
        if len(in_flight) >= self._window:
            raise WindowFull(f"{len(in_flight)} messages are in flight")
        packet_id = self._last_packet_id % 0xFFFF + 1
        while packet_id in in_flight:
            packet_id = packet_id % 0xFFFF + 1
        return packet_id

    def _exceeds_client_max(self, packet: bytes) -> bool:
        return 0 < self._client_packet_bytes_max < len(packet)

    def _send(self, packet: bytes) -> None:
        if self._exceeds_client_max(packet):  # [MQTT-3.1.2-25]
            return
        if self._out is None:
            self._out = [packet]
        else:
            self._out.append(packet)

    def _answer(self, packet: Packet) -> None:
        if self._state == _OPEN:
            self._send(encode(packet, self.level))
        else:
            self._check_accepted()

    def _check_accepted(self) -> None:
        if self._state < _OPEN:
            raise LocalError("there is no accepted CONNECT")

    def _send_refusal(self, code: int, level: int) -> None:
        self._send(encode(ConnAck(False, code), level))

    def _refuse_malformed(self, exc: Malformed, level: int | None) -> None:
        """Answer a CONNECT that cannot be decoded: 5.0 is told why, before it only that its level is not supported.

        level: as the client announces it, None without a known name; a bridge sets bit 7 beside the level it speaks.
        """
        refusal = Refusal.UNSUPPORTED_PROTOCOL_LEVEL
        if level is not None and level & 0x7F >= MQTT_5:
            self._send_refusal(exc.reason_code, MQTT_5)
        elif level is not None and exc.reason_code == refusal.reason_code:
            self._send_refusal(refusal.return_code, MQTT_3_1_1)
        self._end()

    def _violate(self, reason_code: ReasonCode, text: str, events: list[Event]) -> None:
        if self.level == MQTT_5:
            if self._state == _OPEN:
                self._send(encode(Disconnect(reason_code), MQTT_5))
            else:
                self._send_refusal(reason_code, MQTT_5)
        self._end()
        events.append(Violated(reason_code, text))

    def _end(self) -> None:
        self._state = _OVER
        self.closing = True
        self._held = self._aliases = None

"""MQTT 3.1, 3.1.1 and 5.0 control packets: bytes to dataclasses and back, for both sides of a connection.

`Splitter` cuts a byte stream into frames, `decode` turns a frame into a packet, `encode` a packet into bytes. For
messages `decode_publish` and `encode_publish` do the same without a packet object between. What a peer did wrong is
`Malformed`, with the reason code of MQTT 5.0 in every version; what the caller did wrong is ValueError, naming the
field and its rule.

`level` is the protocol level of CONNECT: 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0. Statements like [MQTT-3.1.2-3] are
numbered as in MQTT 5.0, or as in 3.1.1 where they say so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypedDict, cast

from linkstead.mqtt.codes import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    WILL,
    PacketType,
    ReasonCode,
)

MQTT_3_1: Final = 3
MQTT_3_1_1: Final = 4
MQTT_5: Final = 5

# Source: MQTT 3.1 section 3.1, MQTT 3.1.1 and 5.0 sections 3.1.2.1 and 3.1.2.2.
PROTOCOL_NAMES: Final = {MQTT_3_1: "MQIsdp", MQTT_3_1_1: "MQTT", MQTT_5: "MQTT"}

PACKET_BYTES_MAX: Final = 1_048_576
TEXT_BYTES_MAX: Final = 65_535
REMAINING_BYTES_MAX = 268_435_455


# The lower half of the first byte where it is fixed and not 0. Source: MQTT 5.0 table 2-2.
_FIXED_FLAGS: Final = {PUBREL: 0b0010, SUBSCRIBE: 0b0010, UNSUBSCRIBE: 0b0010}
_DUP: Final = 0b1000


_REASON_CODES: Final = {
    packet_type: frozenset(int(code) for code in ReasonCode if packet_type in code.packets)
    for packet_type in PacketType
}
# Source: MQTT 3.1.1 table 3.1 and section 3.9.3. MQTT 3.1 has no 0x80 in SUBACK, but no other way to say no either.
_RETURN_CODES: Final = {CONNACK: frozenset(range(6)), SUBACK: frozenset((0, 1, 2, 0x80))}


class Properties(TypedDict, total=False):
    """MQTT 5.0 properties by name. Which packet may carry which, and their ranges, is `PROPERTIES`."""

    payload_format_indicator: int
    message_expiry_interval: int
    content_type: str
    response_topic: str
    correlation_data: bytes
    subscription_identifier: list[int]
    session_expiry_interval: int
    assigned_client_identifier: str
    server_keep_alive: int
    authentication_method: str
    authentication_data: bytes
    request_problem_information: int
    will_delay_interval: int
    request_response_information: int
    response_information: str
    server_reference: str
    reason_string: str
    receive_maximum: int
    topic_alias_maximum: int
    topic_alias: int
    maximum_qos: int
    retain_available: int
    user_property: list[tuple[str, str]]
    maximum_packet_size: int
    wildcard_subscription_available: int
    subscription_identifier_available: int
    shared_subscription_available: int


class Property(NamedTuple):
    """One row of the property table.

    kind: flag (0 or 1), u16, u32, varint (1 or more, in a list), text, binary, or pair (two texts, in a list).
    """

    identifier: int
    name: str
    kind: str
    packets: tuple[PacketType, ...]


_ANSWERS: Final = (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)

# Source: MQTT 5.0 table 2-4.
PROPERTIES: Final = (
    Property(0x01, "payload_format_indicator", "flag", (PUBLISH, WILL)),
    Property(0x02, "message_expiry_interval", "u32", (PUBLISH, WILL)),
    Property(0x03, "content_type", "text", (PUBLISH, WILL)),
    Property(0x08, "response_topic", "text", (PUBLISH, WILL)),
    Property(0x09, "correlation_data", "binary", (PUBLISH, WILL)),
    Property(0x0B, "subscription_identifier", "varint", (PUBLISH, SUBSCRIBE)),
    Property(0x11, "session_expiry_interval", "u32", (CONNECT, CONNACK, DISCONNECT)),
    Property(0x12, "assigned_client_identifier", "text", (CONNACK,)),
    Property(0x13, "server_keep_alive", "u16", (CONNACK,)),
    Property(0x15, "authentication_method", "text", (CONNECT, CONNACK, AUTH)),
    Property(0x16, "authentication_data", "binary", (CONNECT, CONNACK, AUTH)),
    Property(0x17, "request_problem_information", "flag", (CONNECT,)),
    Property(0x18, "will_delay_interval", "u32", (WILL,)),
    Property(0x19, "request_response_information", "flag", (CONNECT,)),
    Property(0x1A, "response_information", "text", (CONNACK,)),
    Property(0x1C, "server_reference", "text", (CONNACK, DISCONNECT)),
    Property(0x1F, "reason_string", "text", _ANSWERS),
    Property(0x21, "receive_maximum", "u16", (CONNECT, CONNACK)),
    Property(0x22, "topic_alias_maximum", "u16", (CONNECT, CONNACK)),
    Property(0x23, "topic_alias", "u16", (PUBLISH,)),
    Property(0x24, "maximum_qos", "flag", (CONNACK,)),
    Property(0x25, "retain_available", "flag", (CONNACK,)),
    Property(0x26, "user_property", "pair", (CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE, *_ANSWERS)),
    Property(0x27, "maximum_packet_size", "u32", (CONNECT, CONNACK)),
    Property(0x28, "wildcard_subscription_available", "flag", (CONNACK,)),
    Property(0x29, "subscription_identifier_available", "flag", (CONNACK,)),
    Property(0x2A, "shared_subscription_available", "flag", (CONNACK,)),
)
_PROPERTY_OF_IDENTIFIER: Final = {row.identifier: row for row in PROPERTIES}
_PROPERTY_OF_NAME: Final = {row.name: row for row in PROPERTIES}

# Source: MQTT 5.0 sections 3.1.2.11.3, 3.1.2.11.4, 3.3.2.3.4 and 3.8.2.1.2.
_NEVER_ZERO: Final = {
    "receive_maximum": ReasonCode.PROTOCOL_ERROR,
    "maximum_packet_size": ReasonCode.PROTOCOL_ERROR,
    "subscription_identifier": ReasonCode.PROTOCOL_ERROR,
    "topic_alias": ReasonCode.TOPIC_ALIAS_INVALID,
}


class Malformed(Exception):
    """The peer's bytes break the protocol; the connection cannot go on.

    reason_code: what MQTT 5.0 calls it. text: one sentence for a log; names the field and the rule, never a value that
    could be secret.
    """

    def __init__(self, reason_code: ReasonCode, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text


# --- the packets ---


@dataclass(slots=True)
class Will:
    """The will of a CONNECT: what to publish for a client that is lost."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Connect:
    """CONNECT.

    keep_alive_s: 0 to 65535 seconds, 0 is none. clean_start: called Clean Session before 5.0. The password and the
    properties (Authentication Data) are kept out of the repr.
    """

    level: int
    client_id: str
    clean_start: bool = True
    keep_alive_s: int = 0
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    properties: Properties = field(default_factory=Properties, repr=False)


@dataclass(slots=True)
class ConnAck:
    """CONNACK. reason_code: 0 to 5 before 5.0."""

    session_present: bool = False
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Publish:
    """PUBLISH. packet_id: 0 with QoS 0, else 1 to 65535. topic: empty only where a 5.0 topic alias stands for it."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    dup: bool = False
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class _Acknowledgement:
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class PubAck(_Acknowledgement):
    """PUBACK, the answer to QoS 1."""


@dataclass(slots=True)
class PubRec(_Acknowledgement):
    """PUBREC, the first answer to QoS 2."""


@dataclass(slots=True)
class PubRel(_Acknowledgement):
    """PUBREL, the answer to PUBREC."""


@dataclass(slots=True)
class PubComp(_Acknowledgement):
    """PUBCOMP, the answer to PUBREL."""


@dataclass(slots=True)
class Subscription:
    """One topic filter of a SUBSCRIBE with its options; all but the QoS are of 5.0.

    The filter is any text: `check_topic_filter` judges it, so that a wrong one can be refused in SUBACK.
    """

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Subscribe:
    """SUBSCRIBE: one subscription or more."""

    packet_id: int
    subscriptions: list[Subscription]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class SubAck:
    """SUBACK: one code for each subscription, in order; before 5.0 each is 0, 1, 2 or 0x80."""

    packet_id: int
    reason_codes: list[int]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Unsubscribe:
    """UNSUBSCRIBE: one topic filter or more, each any text."""

    packet_id: int
    topic_filters: list[str]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class UnsubAck:
    """UNSUBACK: in 5.0 one code for each filter, in order; before it none."""

    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class PingReq:
    """PINGREQ."""


@dataclass(slots=True)
class PingResp:
    """PINGRESP."""


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT; the server sends it in 5.0 only."""

    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Auth:
    """AUTH, of 5.0 only. The properties (Authentication Data) are kept out of the repr."""

    reason_code: int = 0
    properties: Properties = field(default_factory=Properties, repr=False)


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

# first byte, the buffer, and where in it the packet's body begins and ends: a body is not copied to be decoded
Frame = tuple[int, bytes, int, int]
# topic, payload, qos, packet_id, dup, retain, properties: the fields of Publish in their order
PublishFields = tuple[str, bytes, int, int, bool, bool, Properties]


# --- topics ---


def check_topic_name(topic: str) -> None:
    """Check the syntax of a topic that a message is published to.

    Raises:
        Malformed(0x90): empty, over TEXT_BYTES_MAX in UTF-8, or with U+0000, a surrogate, `+` or `#`.

    Source: [MQTT-3.3.2-2], [MQTT-4.7.3-1] to [MQTT-4.7.3-3].
    """
    _check_topic(topic, ReasonCode.TOPIC_NAME_INVALID, "topic name")
    if "+" in topic or "#" in topic:
        raise Malformed(ReasonCode.TOPIC_NAME_INVALID, "the topic name has a wildcard")


def check_topic_filter(topic_filter: str) -> None:
    """Check the syntax of a topic filter: `+` is a whole level, `#` the whole last one.

    Raises:
        Malformed(0x8F): a wildcard elsewhere, empty, over TEXT_BYTES_MAX in UTF-8, or with U+0000 or a surrogate.

    Source: [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] to [MQTT-4.7.3-3].
    """
    _check_topic(topic_filter, ReasonCode.TOPIC_FILTER_INVALID, "topic filter")
    if "+" in topic_filter or "#" in topic_filter:
        levels = topic_filter.split("/")
        if any("+" in level and level != "+" for level in levels):
            raise Malformed(ReasonCode.TOPIC_FILTER_INVALID, "the topic filter has a + that is not a whole level")
        if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
            raise Malformed(
                ReasonCode.TOPIC_FILTER_INVALID, "the topic filter has a # that is not the whole last level"
            )


def _check_topic(topic: str, reason_code: ReasonCode, name: str) -> None:
    if not topic:
        raise Malformed(reason_code, f"the {name} is empty")
    if "\0" in topic:
        raise Malformed(reason_code, f"the {name} has U+0000")
    try:
        topic_bytes = len(topic.encode())
    except UnicodeEncodeError:
        raise Malformed(reason_code, f"the {name} is not Unicode text") from None
    if topic_bytes > TEXT_BYTES_MAX:
        raise Malformed(reason_code, f"the {name} has {topic_bytes} bytes, over {TEXT_BYTES_MAX}")


# --- bytes to packets ---


class Splitter:
    """Cuts one direction of a connection into frames, holding back no more than one unfinished packet.

    packet_bytes_max: bound on a whole packet, fixed header included, as MQTT 5.0 counts Maximum Packet Size.
    """

    __slots__ = ("_bytes_needed", "_packet_bytes_max", "_pending")

    def __init__(self, packet_bytes_max: int = PACKET_BYTES_MAX) -> None:
        self._packet_bytes_max = packet_bytes_max
        self._pending: bytearray | None = None
        self._bytes_needed = 0

    @property
    def unfinished(self) -> bool:
        """Whether a packet has begun that has not ended."""
        return self._pending is not None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that end in `data`; to be iterated to its end before the next call.

        Raises:
            Malformed(0x95): a packet announces itself longer than the bound; none of its body is kept.
            Malformed(0x81): a Remaining Length has more than four bytes. After either, the stream is lost.

        Source: MQTT 5.0 section 2.1. A Remaining Length longer than it need be is accepted: 3.1.1 does not forbid it.
        """
        pending = self._pending
        if pending is not None:
            pending += data
            if len(pending) < self._bytes_needed:
                return
            data = bytes(pending)
            self._pending = None
        start, size = 0, len(data)
        while start < size:
            body = start + 1
            length = shift = 0
            while body < size:
                byte = data[body]
                body += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 21:
                    raise Malformed(ReasonCode.MALFORMED_PACKET, "Remaining Length has more than four bytes")
            else:
                # the header is not all there yet
                self._hold(data[start:], 0)
                return
            end = body + length
            if end - start > self._packet_bytes_max:
                text = f"a packet of {end - start} bytes is announced, over {self._packet_bytes_max}"
                raise Malformed(ReasonCode.PACKET_TOO_LARGE, text)
            if end > size:
                self._hold(data[start:], end - start)
                return
            yield data[start], data, body, end
            start = end

    def _hold(self, data: bytes, bytes_needed: int) -> None:
        self._pending = bytearray(data)
        self._bytes_needed = bytes_needed


class _Reader:
    """Reads the fields of one body in order; each method names its field in what it raises."""

    __slots__ = ("buffer", "end", "level", "pos")

    def __init__(self, buffer: bytes, pos: int, end: int, level: int) -> None:
        self.buffer = buffer
        self.pos = pos
        self.end = end
        self.level = level

    def at_end(self) -> bool:
        return self.pos == self.end

    def skip(self, count: int, name: str) -> int:
        pos = self.pos
        if pos + count > self.end:
            raise Malformed(ReasonCode.MALFORMED_PACKET, f"the {name} is cut short")
        self.pos = pos + count
        return pos

    def byte(self, name: str) -> int:
        return self.buffer[self.skip(1, name)]

    def number(self, size: int, name: str) -> int:
        pos = self.skip(size, name)
        return int.from_bytes(self.buffer[pos : pos + size], "big")

    def varint(self, name: str) -> int:
        value = shift = 0
        while True:
            byte = self.byte(name)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise Malformed(ReasonCode.MALFORMED_PACKET, f"the {name} has more than four bytes")
        if shift and not byte:  # [MQTT-1.5.5-1]
            raise Malformed(ReasonCode.MALFORMED_PACKET, f"the {name} is longer than it need be")
        return value

    def binary(self, name: str) -> bytes:
        size = self.number(2, name)
        pos = self.skip(size, name)
        return self.buffer[pos : pos + size]

    def text(self, name: str) -> str:
        return _decode_text(self.binary(name), name)

    def packet_id(self) -> int:
        packet_id = self.number(2, "packet identifier")
        if not packet_id:  # [MQTT-2.2.1-3]
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "the packet identifier is 0")
        return packet_id

    def reason_code(self, packet_type: PacketType) -> int:
        code = self.byte("reason code")
        if code not in (_REASON_CODES if self.level == MQTT_5 else _RETURN_CODES)[packet_type]:
            raise Malformed(ReasonCode.PROTOCOL_ERROR, f"{code:#04x} is not a code of {packet_type.name}")
        return code

    def reason_codes(self, packet_type: PacketType) -> list[int]:
        codes = [self.reason_code(packet_type)]
        while not self.at_end():
            codes.append(self.reason_code(packet_type))
        return codes

    def reason(self, packet_type: PacketType) -> tuple[int, Properties]:
        """Read what ends an acknowledgement and is all of DISCONNECT and AUTH; either part may be left out."""
        if self.level != MQTT_5 or self.at_end():
            return 0, {}
        return self.reason_code(packet_type), {} if self.at_end() else self.properties(packet_type)

    def properties(self, packet_type: PacketType) -> Properties:
        """Read the property list, which is there in 5.0 only."""
        if self.level != MQTT_5:
            return {}
        length = self.varint("property length")
        if not length:
            return {}
        outer_end = self.end
        self.end = self.skip(length, "property list") + length
        self.pos = self.end - length
        found: dict[str, Any] = {}
        while not self.at_end():
            identifier = self.varint("property identifier")
            row = _PROPERTY_OF_IDENTIFIER.get(identifier)
            if row is None or packet_type not in row.packets:
                text = f"{identifier:#04x} is not a property of {packet_type.name}"
                raise Malformed(ReasonCode.MALFORMED_PACKET, text)
            name, value = row.name, self.property_value(row)
            in_list = row.kind in ("pair", "varint")
            if name in found and not (row.kind == "pair" or (in_list and packet_type == PUBLISH)):
                raise Malformed(ReasonCode.PROTOCOL_ERROR, f"{name} stands twice in {packet_type.name}")
            if in_list:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        self.end = outer_end
        return cast(Properties, found)

    def property_value(self, row: Property) -> int | str | bytes | tuple[str, str]:
        name = row.name
        value: int | str | bytes | tuple[str, str]
        match row.kind:
            case "flag":
                value = self.byte(name)
                if value > 1:
                    raise Malformed(ReasonCode.PROTOCOL_ERROR, f"{name} is neither 0 nor 1")
            case "u16":
                value = self.number(2, name)
            case "u32":
                value = self.number(4, name)
            case "varint":
                value = self.varint(name)
            case "text":
                value = self.text(name)
            case "binary":
                value = self.binary(name)
            case _:
                value = self.text(name), self.text(name)
        if value == 0 and name in _NEVER_ZERO:
            raise Malformed(_NEVER_ZERO[name], f"{name} is 0")
        return value


def _decode_text(data: bytes, name: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:  # [MQTT-1.5.4-1], surrogates too
        raise Malformed(ReasonCode.MALFORMED_PACKET, f"the {name} is not UTF-8") from None
    if "\0" in text:  # [MQTT-1.5.4-2]
        raise Malformed(ReasonCode.MALFORMED_PACKET, f"the {name} has U+0000")
    return text


def decode(frame: Frame, level: int) -> Packet:
    """Decode one packet of either side.

    level: what the connection speaks; CONNECT is decoded by the level that it announces.

    Raises:
        Malformed: whatever is wrong with it, with the reason code of MQTT 5.0; 0x84 where CONNECT announces a protocol
            that is not one of PROTOCOL_NAMES.
    """
    head, buffer, start, end = frame
    if head >> 4 == PUBLISH:
        return Publish(*decode_publish(frame, level))
    packet_type = _PACKET_TYPES[head >> 4]
    if packet_type == WILL or (packet_type == AUTH and level != MQTT_5):
        raise Malformed(ReasonCode.MALFORMED_PACKET, f"packet type {packet_type:d} is reserved")
    flags = head & 0x0F
    fixed_flags = _FIXED_FLAGS.get(packet_type, 0)
    if level == MQTT_3_1 and fixed_flags:
        flags &= ~_DUP  # 3.1 sets it when these are sent again
    if flags != fixed_flags:  # [MQTT-2.1.3-1]
        text = f"the reserved flags of {packet_type.name} are {flags:#06b}, not {fixed_flags:#06b}"
        raise Malformed(ReasonCode.MALFORMED_PACKET, text)
    reader = _Reader(buffer, start, end, level)
    packet = _DECODERS[packet_type](reader)
    if not reader.at_end():
        raise Malformed(ReasonCode.MALFORMED_PACKET, f"bytes stand behind the last field of {packet_type.name}")
    return packet


def decode_publish(frame: Frame, level: int) -> PublishFields:
    """Decode a PUBLISH into the fields of `Publish`, in their order, without making one.

    Raises:
        Malformed: as `decode`; 0x90 where the topic has a wildcard.
    """
    head, buffer, pos, end = frame
    qos = head >> 1 & 3
    topic_end = pos + 2
    if topic_end <= end:
        topic_end += buffer[pos] << 8 | buffer[pos + 1]
    if topic_end > end:
        raise Malformed(ReasonCode.MALFORMED_PACKET, "the topic name is cut short")
    topic = _decode_text(buffer[pos + 2 : topic_end], "topic name")
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2]
        raise Malformed(ReasonCode.TOPIC_NAME_INVALID, "the topic name has a wildcard")
    pos = topic_end
    packet_id = 0
    if qos:
        if qos == 3:  # [MQTT-3.3.1-4]
            raise Malformed(ReasonCode.MALFORMED_PACKET, "PUBLISH has QoS 3")
        if pos + 2 > end:
            raise Malformed(ReasonCode.MALFORMED_PACKET, "the packet identifier is cut short")
        packet_id = buffer[pos] << 8 | buffer[pos + 1]
        if not packet_id:  # [MQTT-2.2.1-3]
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "the packet identifier is 0")
        pos += 2
    elif head & _DUP and level != MQTT_3_1:  # [MQTT-3.3.1-2]
        raise Malformed(ReasonCode.MALFORMED_PACKET, "PUBLISH has DUP set and QoS 0")
    properties: Properties = {}
    if level == MQTT_5:
        reader = _Reader(buffer, pos, end, level)
        properties = reader.properties(PUBLISH)
        pos = reader.pos
        response_topic = properties.get("response_topic", "")
        if "+" in response_topic or "#" in response_topic:  # [MQTT-3.3.2-14]
            raise Malformed(ReasonCode.TOPIC_NAME_INVALID, "the response_topic has a wildcard")
    if not topic and "topic_alias" not in properties:  # [MQTT-4.7.3-1], MQTT 5.0 section 3.3.2.1
        raise Malformed(ReasonCode.PROTOCOL_ERROR, "the topic name is empty and no topic alias stands for it")
    return topic, buffer[pos:end], qos, packet_id, head & _DUP != 0, head & 1 != 0, properties


def connect_level(frame: Frame) -> int | None:
    """Read the level that a CONNECT announces, even one that `decode` refuses; None without a known protocol name."""
    _, buffer, start, end = frame
    for name in (b"\x00\x04MQTT", b"\x00\x06MQIsdp"):
        at = start + len(name)
        if at < end and buffer.startswith(name, start):
            return buffer[at]
    return None


def _decode_connect(reader: _Reader) -> Connect:
    name = reader.text("protocol name")
    level = reader.byte("protocol level")
    if PROTOCOL_NAMES.get(level) != name:
        text = f"protocol level {level} is not supported under the protocol name given"
        raise Malformed(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, text)
    reader.level = level
    flags = reader.byte("connect flags")
    will_qos = flags >> 3 & 3
    if flags & 0x01:  # [MQTT-3.1.2-3]
        raise Malformed(ReasonCode.MALFORMED_PACKET, "the reserved connect flag is set")
    if flags & 0x04:
        if will_qos == 3:  # [MQTT-3.1.2-12]
            raise Malformed(ReasonCode.MALFORMED_PACKET, "the will has QoS 3")
    elif flags & 0x38 and level != MQTT_3_1:  # [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1 does not use them then
        raise Malformed(ReasonCode.MALFORMED_PACKET, "Will QoS or Will Retain is set without a will")
    if flags & 0xC0 == 0x40 and level != MQTT_5:  # [MQTT-3.1.2-22] of 3.1.1; 5.0 allows it
        raise Malformed(ReasonCode.MALFORMED_PACKET, "a password is announced without a user name")
    keep_alive_s = reader.number(2, "keep alive")
    properties = reader.properties(CONNECT)
    if "authentication_data" in properties and "authentication_method" not in properties:
        raise Malformed(ReasonCode.PROTOCOL_ERROR, "authentication_data stands without authentication_method")
    client_id = reader.text("client identifier")
    will = None
    if flags & 0x04:
        will_properties = reader.properties(WILL)
        # any text will do for the topics: a will is never published, so none is worth refusing a device for
        topic, payload = reader.text("will topic"), reader.binary("will payload")
        will = Will(topic, payload, will_qos, flags & 0x20 != 0, will_properties)
    user_name = password = None
    # in 3.1 the Remaining Length goes before the flags: what they announce may be missing at the end
    if flags & 0x80 and not (level == MQTT_3_1 and reader.at_end()):
        user_name = reader.text("user name")
    if flags & 0x40 and not (level == MQTT_3_1 and reader.at_end()):
        password = reader.binary("password")
    return Connect(level, client_id, flags & 0x02 != 0, keep_alive_s, user_name, password, will, properties)


def _decode_connack(reader: _Reader) -> ConnAck:
    flags = reader.byte("acknowledge flags")
    if flags > 1:  # [MQTT-3.2.2-1]
        raise Malformed(ReasonCode.MALFORMED_PACKET, "a reserved acknowledge flag is set")
    return ConnAck(flags == 1, reader.reason_code(CONNACK), reader.properties(CONNACK))


def _decode_subscribe(reader: _Reader) -> Subscribe:
    packet_id, properties = reader.packet_id(), reader.properties(SUBSCRIBE)
    subscriptions = []
    while not reader.at_end():
        topic_filter, options = reader.text("topic filter"), reader.byte("byte of subscription options")
        if options & 3 == 3:  # [MQTT-3.8.3-4] of 3.1.1
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "a subscription asks for QoS 3")
        if options & _RESERVED_OPTIONS[reader.level]:
            raise Malformed(ReasonCode.MALFORMED_PACKET, "a reserved subscription option is set")
        if reader.level != MQTT_5:
            options &= 3
        if options & 0x30 == 0x30:  # MQTT 5.0 section 3.8.3.1
            raise Malformed(ReasonCode.PROTOCOL_ERROR, "a subscription asks for Retain Handling 3")
        no_local, retain_as_published = options & 4 != 0, options & 8 != 0
        subscriptions.append(Subscription(topic_filter, options & 3, no_local, retain_as_published, options >> 4))
    if not subscriptions:  # [MQTT-3.8.3-2]
        raise Malformed(ReasonCode.PROTOCOL_ERROR, "SUBSCRIBE has no topic filter")
    return Subscribe(packet_id, subscriptions, properties)


def _decode_suback(reader: _Reader) -> SubAck:
    packet_id, properties = reader.packet_id(), reader.properties(SUBACK)
    return SubAck(packet_id, reader.reason_codes(SUBACK), properties)


def _decode_unsubscribe(reader: _Reader) -> Unsubscribe:
    packet_id, properties = reader.packet_id(), reader.properties(UNSUBSCRIBE)
    topic_filters = []
    while not reader.at_end():
        topic_filters.append(reader.text("topic filter"))
    if not topic_filters:  # [MQTT-3.10.3-2]
        raise Malformed(ReasonCode.PROTOCOL_ERROR, "UNSUBSCRIBE has no topic filter")
    return Unsubscribe(packet_id, topic_filters, properties)


def _decode_unsuback(reader: _Reader) -> UnsubAck:
    packet_id, properties = reader.packet_id(), reader.properties(UNSUBACK)
    return UnsubAck(packet_id, reader.reason_codes(UNSUBACK) if reader.level == MQTT_5 else [], properties)


_PACKET_TYPES: Final = tuple(PacketType)
# Source: [MQTT-3.8.3-4] of 3.1.1, [MQTT-3.8.3-5] of 5.0; 3.1 reserves bits without having them checked.
_RESERVED_OPTIONS: Final = {MQTT_3_1: 0, MQTT_3_1_1: 0xFC, MQTT_5: 0xC0}
_DECODERS: Final[dict[PacketType, Callable[[_Reader], Packet]]] = {
    CONNECT: _decode_connect,
    CONNACK: _decode_connack,
    PUBACK: lambda reader: PubAck(reader.packet_id(), *reader.reason(PUBACK)),
    PUBREC: lambda reader: PubRec(reader.packet_id(), *reader.reason(PUBREC)),
    PUBREL: lambda reader: PubRel(reader.packet_id(), *reader.reason(PUBREL)),
    PUBCOMP: lambda reader: PubComp(reader.packet_id(), *reader.reason(PUBCOMP)),
    SUBSCRIBE: _decode_subscribe,
    SUBACK: _decode_suback,
    UNSUBSCRIBE: _decode_unsubscribe,
    UNSUBACK: _decode_unsuback,
    PINGREQ: lambda _: PingReq(),
    PINGRESP: lambda _: PingResp(),
    DISCONNECT: lambda reader: Disconnect(*reader.reason(DISCONNECT)),
    AUTH: lambda reader: Auth(*reader.reason(AUTH)),
}


# --- packets to bytes ---


def encode(packet: Packet, level: int) -> bytes:
    """Encode one packet of either side.

    level: what the connection speaks; a Connect has its own. What only 5.0 can carry (properties, reason codes of
    acknowledgements, subscription options but the QoS) is left out below it.

    Raises:
        ValueError: a field is out of its range, or a property is not one that the packet may carry.
    """
    match packet:
        case Publish(topic, payload, qos, packet_id, dup, retain, properties):
            return encode_publish(topic.encode(), payload, qos, packet_id, level, dup, properties, retain)
        case PubAck() | PubRec() | PubRel() | PubComp():
            packet_type = _ACKNOWLEDGEMENTS[type(packet)]
            reason = _encode_reason(packet.reason_code, packet.properties, packet_type, level)
            return _encode_packet(packet_type, _encode_packet_id(packet.packet_id), reason)
        case PingReq():
            return _encode_packet(PINGREQ)
        case PingResp():
            return _encode_packet(PINGRESP)
        case Subscribe(packet_id, subscriptions, properties):
            parts = [_encode_subscription(each, level) for each in subscriptions]
            return _encode_list(SUBSCRIBE, packet_id, properties, parts, level)
        case SubAck(packet_id, reason_codes, properties):
            parts = [_encode_code(code, SUBACK, level) for code in reason_codes]
            return _encode_list(SUBACK, packet_id, properties, parts, level)
        case Unsubscribe(packet_id, topic_filters, properties):
            parts = [_encode_text(each, "topic_filters") for each in topic_filters]
            return _encode_list(UNSUBSCRIBE, packet_id, properties, parts, level)
        case UnsubAck(packet_id, reason_codes, properties):
            if level != MQTT_5:
                return _encode_packet(UNSUBACK, _encode_packet_id(packet_id))
            parts = [_encode_code(code, UNSUBACK, level) for code in reason_codes]
            return _encode_list(UNSUBACK, packet_id, properties, parts, level)
        case Connect():
            return _encode_connect(packet)
        case ConnAck(session_present, reason_code, properties):
            head = bytes((session_present,)) + _encode_code(reason_code, CONNACK, level)
            return _encode_packet(CONNACK, head, _encode_properties(properties, CONNACK, level))
        case Disconnect(reason_code, properties):
            return _encode_packet(DISCONNECT, _encode_reason(reason_code, properties, DISCONNECT, level))
        case Auth(reason_code, properties):
            _check(level == MQTT_5, "level", "5 for AUTH")
            return _encode_packet(AUTH, _encode_reason(reason_code, properties, AUTH, level))


def encode_publish(
    topic: bytes,
    payload: bytes,
    qos: int,
    packet_id: int,
    level: int,
    dup: bool = False,
    properties: Properties | None = None,
    retain: bool = False,
) -> bytes:
    """Encode a PUBLISH.

    topic: UTF-8, up to TEXT_BYTES_MAX; its syntax is the caller's care. packet_id: not sent with QoS 0, else 1 to
    65535. properties: left out below 5.0.

    Raises:
        ValueError: a field is out of its range, DUP is set with QoS 0, or a property is not one of PUBLISH.
    """
    topic_bytes = len(topic)
    if topic_bytes > TEXT_BYTES_MAX:
        raise ValueError(f"topic must be up to {TEXT_BYTES_MAX} bytes")
    if not (qos or dup or retain or properties):
        body_bytes = topic_bytes + len(payload)
        if body_bytes < _SMALL_BODY_BYTES:
            # The usual message, with the length from a table: half the time of the general form.
            length = _SMALL_LENGTHS[body_bytes + 3 if level == MQTT_5 else body_bytes + 2]
            end = b"\0" if level == MQTT_5 else b""
            return b"".join((b"\x30", length, topic_bytes.to_bytes(2, "big"), topic, end, payload))
    head = 0x30
    between = b""
    if qos:
        _check(qos in (1, 2), "qos", "0, 1 or 2")
        head |= qos << 1 | dup << 3
        between = _encode_packet_id(packet_id)
    elif dup:  # [MQTT-3.3.1-2]
        raise ValueError("dup must be false with QoS 0")
    if retain:
        head |= 1
    if level == MQTT_5:
        between += _encode_properties(properties, PUBLISH, level) if properties else b"\x00"
    length = _encode_varint(2 + topic_bytes + len(between) + len(payload), "the packet's length")
    return b"%c%b%c%c%b%b%b" % (head, length, topic_bytes >> 8, topic_bytes & 0xFF, topic, between, payload)


_ACKNOWLEDGEMENTS: Final[dict[type[Packet], PacketType]] = {
    PubAck: PUBACK,
    PubRec: PUBREC,
    PubRel: PUBREL,
    PubComp: PUBCOMP,
}


def _check(rule_kept: object, name: str, rule: str) -> None:
    if not rule_kept:
        raise ValueError(f"{name} must be {rule}")


def _encode_packet(packet_type: PacketType, *parts: bytes) -> bytes:
    body = b"".join(parts)
    head = packet_type << 4 | _FIXED_FLAGS.get(packet_type, 0)
    return b"%c%b%b" % (head, _encode_varint(len(body), "the packet's length"), body)


def _encode_list(
    packet_type: PacketType, packet_id: int, properties: Properties, parts: list[bytes], level: int
) -> bytes:
    _check(parts, f"what {packet_type.name} lists", "at least one")
    head = _encode_packet_id(packet_id) + _encode_properties(properties, packet_type, level)
    return _encode_packet(packet_type, head, *parts)


def _encode_varint(value: int, name: str) -> bytes:
    if value < 0x80:
        return b"%c" % value
    _check(value <= REMAINING_BYTES_MAX, name, f"up to {REMAINING_BYTES_MAX}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL_BODY_BYTES: Final = 512
_SMALL_LENGTHS: Final = tuple(_encode_varint(length, "") for length in range(_SMALL_BODY_BYTES + 3))


def _encode_number(value: int, size: int, name: str) -> bytes:
    _check(0 <= value < 1 << 8 * size, name, f"0 to {(1 << 8 * size) - 1}")
    return value.to_bytes(size, "big")


def _encode_binary(data: bytes, name: str) -> bytes:
    _check(len(data) <= TEXT_BYTES_MAX, name, f"up to {TEXT_BYTES_MAX} bytes")
    return len(data).to_bytes(2, "big") + data


def _encode_text(text: str, name: str) -> bytes:
    _check("\0" not in text, name, "text without U+0000")
    return _encode_binary(text.encode(), name)


def _encode_packet_id(packet_id: int) -> bytes:
    _check(0 < packet_id <= 0xFFFF, "packet_id", "1 to 65535")
    return packet_id.to_bytes(2, "big")


def _encode_code(code: int, packet_type: PacketType, level: int) -> bytes:
    codes = (_REASON_CODES if level == MQTT_5 else _RETURN_CODES)[packet_type]
    _check(code in codes, "reason_code", f"one of {packet_type.name} at protocol level {level}, not {code:#04x}")
    return bytes((code,))


def _encode_reason(code: int, properties: Properties, packet_type: PacketType, level: int) -> bytes:
    """Encode what ends an acknowledgement and is all of DISCONNECT and AUTH, as short as it may be."""
    if level != MQTT_5:
        return b""
    encoded = _encode_code(code, packet_type, level)
    if properties:
        return encoded + _encode_properties(properties, packet_type, level)
    return encoded if code else b""


def _encode_properties(properties: Properties | None, packet_type: PacketType, level: int) -> bytes:
    if level != MQTT_5:
        return b""
    parts: list[bytes] = []
    for name, value in cast(Mapping[str, Any], properties or {}).items():
        row = _PROPERTY_OF_NAME.get(name)
        if row is None or packet_type not in row.packets:
            raise ValueError(f"{name} is not a property of {packet_type.name}")
        for each in value if row.kind in ("pair", "varint") else (value,):
            parts += (b"%c" % row.identifier, _encode_property_value(row, each))
    block = b"".join(parts)
    return _encode_varint(len(block), "the properties' length") + block


def _encode_property_value(row: Property, value: Any) -> bytes:
    name = row.name
    _check(value != 0 or name not in _NEVER_ZERO, name, "1 or more")
    match row.kind:
        case "flag":
            _check(value in (0, 1), name, "0 or 1")
            return _encode_number(value, 1, name)
        case "u16":
            return _encode_number(value, 2, name)
        case "u32":
            return _encode_number(value, 4, name)
        case "varint":
            return _encode_varint(value, name)
        case "text":
            return _encode_text(value, name)
        case "binary":
            return _encode_binary(value, name)
        case _:
            return _encode_text(value[0], name) + _encode_text(value[1], name)


def _encode_subscription(subscription: Subscription, level: int) -> bytes:
    _check(0 <= subscription.qos <= 2, "qos", "0, 1 or 2")
    _check(0 <= subscription.retain_handling <= 2, "retain_handling", "0, 1 or 2")
    options = subscription.qos
    if level == MQTT_5:
        options |= subscription.no_local << 2 | subscription.retain_as_published << 3
        options |= subscription.retain_handling << 4
    return _encode_text(subscription.topic_filter, "topic_filter") + bytes((options,))


def _encode_connect(packet: Connect) -> bytes:
    level = packet.level
    _check(level in PROTOCOL_NAMES, "level", "3, 4 or 5")
    if packet.password is not None and packet.user_name is None and level != MQTT_5:  # [MQTT-3.1.2-22] of 3.1.1
        raise ValueError("user_name must be given with a password before 5.0")
    flags = packet.clean_start << 1
    payload = [_encode_text(packet.client_id, "client_id")]
    if packet.will is not None:
        will = packet.will
        _check(0 <= will.qos <= 2, "the will's qos", "0, 1 or 2")
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload.append(_encode_properties(will.properties, WILL, level))
        payload.append(_encode_text(will.topic, "the will's topic"))
        payload.append(_encode_binary(will.payload, "the will's payload"))
    if packet.user_name is not None:
        flags |= 0x80
        payload.append(_encode_text(packet.user_name, "user_name"))
    if packet.password is not None:
        flags |= 0x40
        payload.append(_encode_binary(packet.password, "password"))
    head = _encode_text(PROTOCOL_NAMES[level], "protocol name") + bytes((level, flags))
    keep_alive = _encode_number(packet.keep_alive_s, 2, "keep_alive_s")
    return _encode_packet(CONNECT, head, keep_alive, _encode_properties(packet.properties, CONNECT, level), *payload)

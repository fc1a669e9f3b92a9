"""One table of MQTT packets as bytes: what each means, or how it fails. Codec, protocol and fuzzing all feed on it.

Origins: the section or statement of an MQTT standard that the bytes keep or break, or what the platform's device SDKs
are documented to send. The bytes are put together here by hand, not by the codec under test.
"""

from dataclasses import dataclass

from linkstead.mqtt.codes import ReasonCode
from linkstead.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)

MALFORMED = ReasonCode.MALFORMED_PACKET
PROTOCOL = ReasonCode.PROTOCOL_ERROR


@dataclass(frozen=True)
class WireCase:
    """One packet at one protocol level.

    packet: what the bytes mean, or None. reason_code: how they fail, or None. canonical: whether the packet is encoded
    to these very bytes; not where the standard lets a client write the same in a longer or sloppier way.
    """

    name: str
    origin: str
    level: int
    data: bytes
    packet: Packet | None = None
    reason_code: ReasonCode | None = None
    canonical: bool = True


def frame(head: int, *parts: bytes) -> bytes:
    """Put a fixed header before a body of up to 16383 bytes."""
    body = b"".join(parts)
    length = bytes((len(body),)) if len(body) < 128 else bytes((len(body) % 128 + 128, len(body) // 128))
    return bytes((head,)) + length + body


def text(value: str | bytes) -> bytes:
    """Put a two-byte length before a string."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def _good(name: str, origin: str, level: int, data: bytes, packet: Packet, canonical: bool = True) -> WireCase:
    return WireCase(name, origin, level, data, packet, None, canonical)


def _bad(name: str, origin: str, level: int, data: bytes, reason_code: ReasonCode = MALFORMED) -> WireCase:
    return WireCase(name, origin, level, data, None, reason_code)


_SDK_PYTHON = (
    "a1Lnk5tEad0&lamp-01|securemode=2,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1700000000|"
)
_SDK_C3 = (
    "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_v=sdk-c-3.2.0,securemode=2,signmethod=hmacsha256,"
    "lan=C,_ss=1,gw=0,ext=0|"
)
_SDK_C4 = "a1Lnk5tEad0.lamp-01|timestamp=2524608000000,_ss=1,_v=sdk-c-4.2.0,securemode=3,signmethod=hmacsha256,ext=3,|"
_SDK_NODE = "a1Lnk5tEad0&lamp-01|securemode=3,signmethod=hmacsha1,timestamp=1700000000000,lan=NodeJS,_v=1.2.8|"
_ASSIGNED = "|securemode=2,signmethod=hmacsha256,timestamp=1700000000000|"
_USER = "lamp-01&a1Lnk5tEad0"
_SHA1 = "9b4060d62ff5bdbd4b9a83067f70398657a2f33b"
_SHA256 = "662fff4123171a2ad7c84ad41890179d14cc97b3525a80cde7dcdf7e975a5eb8"

_V3 = text("MQIsdp") + b"\x03"
_V4 = text("MQTT") + b"\x04"
_V5 = text("MQTT") + b"\x05"

CONNECT_CASES = (
    _good(
        "CONNECT of 3.1 with user name and password",
        "MQTT 3.1, 3.1",
        3,
        frame(0x10, _V3, b"\xc2\x00\x3c", text("c"), text("user"), text("pass")),
        Connect(3, "c", True, 60, "user", b"pass"),
    ),
    _good(
        "CONNECT of 3.1 that announces user name and password and ends before them",
        "MQTT 3.1, 3.1: the Remaining Length goes before the flags",
        3,
        frame(0x10, _V3, b"\xc2\x00\x3c", text("c")),
        Connect(3, "c", True, 60),
        canonical=False,
    ),
    _good(
        "CONNECT of 3.1 that announces user name and password and ends before the password",
        "MQTT 3.1, 3.1: the Remaining Length goes before the flags",
        3,
        frame(0x10, _V3, b"\xc2\x00\x3c", text("c"), text("user")),
        Connect(3, "c", True, 60, "user"),
        canonical=False,
    ),
    _good(
        "CONNECT of 3.1 with Will QoS 3 and Will Retain but no will",
        "MQTT 3.1, 3.1: without a will they are not used",
        3,
        frame(0x10, _V3, b"\x3a\x00\x3c", text("c")),
        Connect(3, "c", True, 60),
        canonical=False,
    ),
    _good(
        "CONNECT of 3.1.1 with nothing in it",
        "MQTT 3.1.1, 3.1.3.1: the client id may be empty",
        4,
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
        Connect(4, ""),
    ),
    _good(
        "CONNECT of the Python SDK",
        "client ids that the SDKs send",
        4,
        frame(0x10, _V4, b"\xc2\x00\x3c", text(_SDK_PYTHON), text(_USER), text(_SHA1)),
        Connect(4, _SDK_PYTHON, True, 60, _USER, _SHA1.encode()),
    ),
    _good(
        "CONNECT of the C SDK 3",
        "client ids that the SDKs send",
        4,
        frame(0x10, _V4, b"\xc0\x00\x3c", text(_SDK_C3), text(_USER), text(_SHA256.upper())),
        Connect(4, _SDK_C3, False, 60, _USER, _SHA256.upper().encode()),
    ),
    _good(
        "CONNECT of the C SDK 4",
        "client ids that the SDKs send",
        4,
        frame(0x10, _V4, b"\xc2\x04\xb0", text(_SDK_C4), text(_USER), text(_SHA256.upper())),
        Connect(4, _SDK_C4, True, 1200, _USER, _SHA256.upper().encode()),
    ),
    _good(
        "CONNECT of the Node SDK",
        "client ids that the SDKs send",
        4,
        frame(0x10, _V4, b"\xc0\x00\x3c", text(_SDK_NODE), text(_USER), text(_SHA1)),
        Connect(4, _SDK_NODE, False, 60, _USER, _SHA1.encode()),
    ),
    _good(
        "CONNECT of 3.1.1 with a will",
        "MQTT 3.1.1, 3.1.2",
        4,
        frame(0x10, _V4, b"\x36\xff\xff", text("c"), text("gone"), text(b"\x00\xff")),
        Connect(4, "c", True, 65535, will=Will("gone", b"\x00\xff", 2, True)),
    ),
    _good(
        "CONNECT of 3.1.1 with an empty will",
        "a will is never published, so any topic is taken",
        4,
        frame(0x10, _V4, b"\x06\x00\x3c", text("c"), text(""), text("")),
        Connect(4, "c", True, 60, will=Will("", b"")),
    ),
    _good(
        "CONNECT of 3.1.1 with its Remaining Length in four bytes",
        "MQTT 3.1.1, 2.2.3: not forbidden",
        4,
        b"\x10\x8d\x80\x80\x00\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c",
        Connect(4, "c", True, 60),
        canonical=False,
    ),
    _good(
        "CONNECT of 5.0 with nothing in it",
        "MQTT 5.0, 3.1",
        5,
        b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00",
        Connect(5, ""),
    ),
    _good(
        "CONNECT of 5.0 that leaves the client id to the server",
        "client ids of the platform: the id begins with |",
        5,
        frame(0x10, _V5, b"\xc2\x00\x3c\x00", text(_ASSIGNED), text(_USER), text(_SHA256)),
        Connect(5, _ASSIGNED, True, 60, _USER, _SHA256.encode()),
    ),
    _good(
        "CONNECT of 5.0 with every property",
        "MQTT 5.0, 3.1.2.11",
        5,
        frame(
            0x10,
            _V5,
            b"\x00\x00\x3c\x35\x11\x00\x00\x0e\x10\x21\x00\x14\x27\x00\x00\x10\x00\x22\x00\x0a\x19\x01\x17\x00",
            *(b"\x26", text("a"), text("1"), b"\x26", text("a"), text("2")),
            *(b"\x15", text("SCRAM-SHA-1"), b"\x16", text(b"\x00\x01")),
            text("c"),
        ),
        Connect(
            5,
            "c",
            False,
            60,
            properties={
                "session_expiry_interval": 3600,
                "receive_maximum": 20,
                "maximum_packet_size": 4096,
                "topic_alias_maximum": 10,
                "request_response_information": 1,
                "request_problem_information": 0,
                "user_property": [("a", "1"), ("a", "2")],
                "authentication_method": "SCRAM-SHA-1",
                "authentication_data": b"\x00\x01",
            },
        ),
    ),
    _good(
        "CONNECT of 5.0 with a password and no user name",
        "MQTT 5.0, 3.1.2.9",
        5,
        frame(0x10, _V5, b"\x42\x00\x3c\x00", text("c"), text("token")),
        Connect(5, "c", True, 60, password=b"token"),
    ),
    _good(
        "CONNECT of 5.0 with a will and its properties",
        "MQTT 5.0, 3.1.3.2",
        5,
        frame(
            0x10,
            _V5,
            b"\x0e\x00\x3c\x00",
            text("c"),
            b"\x21\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x3c",
            *(b"\x03", text("t/x"), b"\x08", text("re"), b"\x09", text(b"\x01"), b"\x26", text("k"), text("")),
            *(text("gone"), text("bye")),
        ),
        Connect(
            5,
            "c",
            True,
            60,
            will=Will(
                "gone",
                b"bye",
                1,
                properties={
                    "will_delay_interval": 5,
                    "payload_format_indicator": 1,
                    "message_expiry_interval": 60,
                    "content_type": "t/x",
                    "response_topic": "re",
                    "correlation_data": b"\x01",
                    "user_property": [("k", "")],
                },
            ),
        ),
    ),
    _bad(
        "CONNECT with a reserved header flag",
        "[MQTT-2.1.3-1]",
        4,
        frame(0x11, _V4, b"\x02\x00\x3c", text("c")),
    ),
    _bad("CONNECT with nothing behind its header", "MQTT 3.1.1, 3.1", 4, b"\x10\x00"),
    _bad("CONNECT with the reserved connect flag", "[MQTT-3.1.2-3]", 4, frame(0x10, _V4, b"\x03\x00\x3c", text("c"))),
    _bad(
        "CONNECT of 5.0 with the reserved connect flag",
        "[MQTT-3.1.2-3]",
        5,
        frame(0x10, _V5, b"\x03\x00\x3c\x00", text("c")),
    ),
    _bad(
        "CONNECT with Will QoS 3",
        "[MQTT-3.1.2-12]",
        4,
        frame(0x10, _V4, b"\x1e\x00\x3c", text("c"), text("t"), text("")),
    ),
    _bad(
        "CONNECT with Will QoS and no will",
        "[MQTT-3.1.2-11]",
        4,
        frame(0x10, _V4, b"\x0a\x00\x3c", text("c")),
    ),
    _bad(
        "CONNECT with Will Retain and no will",
        "[MQTT-3.1.2-13]",
        5,
        frame(0x10, _V5, b"\x22\x00\x3c\x00", text("c")),
    ),
    _bad(
        "CONNECT of 3.1.1 with a password and no user name",
        "[MQTT-3.1.2-22] of 3.1.1",
        4,
        frame(0x10, _V4, b"\x42\x00\x3c", text("c"), text("token")),
    ),
    _bad(
        "CONNECT of 3.1 with a password and no user name",
        "MQTT 3.1, 3.1: not valid",
        3,
        frame(0x10, _V3, b"\x42\x00\x3c", text("c"), text("token")),
    ),
    _bad(
        "CONNECT of 3.1.1 that ends before its password",
        "[MQTT-3.1.2-21] of 3.1.1",
        4,
        frame(0x10, _V4, b"\xc2\x00\x3c", text("c"), text("user")),
    ),
    _bad("CONNECT of 3.1.1 that ends before its client id", "MQTT 3.1.1, 3.1.3", 4, frame(0x10, _V4, b"\x02\x00\x3c")),
    _bad(
        "CONNECT with a byte behind it",
        "MQTT 3.1.1, 2.2.3",
        4,
        frame(0x10, _V4, b"\x02\x00\x3c", text("c"), b"\x00"),
    ),
    _bad(
        "CONNECT with a client id that is not UTF-8",
        "[MQTT-1.5.4-1]",
        4,
        frame(0x10, _V4, b"\x02\x00\x3c", text(b"\xff")),
    ),
    _bad(
        "CONNECT with a surrogate in the client id",
        "[MQTT-1.5.4-1]",
        4,
        frame(0x10, _V4, b"\x02\x00\x3c", text(b"\xed\xa0\x80")),
    ),
    _bad(
        "CONNECT with U+0000 in the client id",
        "[MQTT-1.5.4-2]",
        4,
        frame(0x10, _V4, b"\x02\x00\x3c", text("a\0b")),
    ),
    _bad(
        "CONNECT with U+0000 in two bytes",
        "RFC 3629, 3: not UTF-8",
        5,
        frame(0x10, _V5, b"\x82\x00\x3c\x00", text("c"), text(b"\xc0\x80")),
    ),
    _bad(
        "CONNECT of level 6",
        "[MQTT-3.1.2-2]",
        5,
        frame(0x10, text("MQTT"), b"\x06\x02\x00\x3c\x00", text("c")),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ),
    _bad(
        "CONNECT of level 3 under the later name",
        "[MQTT-3.1.2-2]",
        3,
        frame(0x10, text("MQTT"), b"\x03\x02\x00\x3c", text("c")),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ),
    _bad(
        "CONNECT of level 4 under the earlier name",
        "[MQTT-3.1.2-2]",
        4,
        frame(0x10, text("MQIsdp"), b"\x04\x02\x00\x3c", text("c")),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ),
    _bad(
        "CONNECT of a 3.1.1 bridge",
        "bit 7 of the level marks a bridge: a private extension",
        4,
        frame(0x10, text("MQTT"), b"\x84\x02\x00\x3c", text("c")),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ),
    _bad(
        "CONNECT of another protocol",
        "[MQTT-3.1.2-1]",
        4,
        frame(0x10, text("AMQP"), b"\x04\x02\x00\x3c", text("c")),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ),
    _bad(
        "CONNECT with a property twice",
        "MQTT 5.0, 3.1.2.11.2",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x02", text("c")),
        PROTOCOL,
    ),
    _bad(
        "CONNECT with a property of PUBLISH",
        "MQTT 5.0, 2.2.2.2",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x03\x23\x00\x01", text("c")),
    ),
    _bad(
        "CONNECT with an unknown property",
        "MQTT 5.0, 2.2.2.2",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x02\x7f\x00", text("c")),
    ),
    _bad(
        "CONNECT with Receive Maximum 0",
        "MQTT 5.0, 3.1.2.11.3",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x03\x21\x00\x00", text("c")),
        PROTOCOL,
    ),
    _bad(
        "CONNECT with Maximum Packet Size 0",
        "MQTT 5.0, 3.1.2.11.4",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x05\x27\x00\x00\x00\x00", text("c")),
        PROTOCOL,
    ),
    _bad(
        "CONNECT with Request Problem Information 2",
        "MQTT 5.0, 3.1.2.11.7",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x02\x17\x02", text("c")),
        PROTOCOL,
    ),
    _bad(
        "CONNECT with Authentication Data and no method",
        "MQTT 5.0, 3.1.2.11.10",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x04\x16\x00\x01\x00", text("c")),
        PROTOCOL,
    ),
    _bad(
        "CONNECT with properties longer than the packet",
        "MQTT 5.0, 2.2.2.1",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x7f\x11\x00\x00\x00\x01", text("c")),
    ),
    _bad(
        "CONNECT with a property longer than the properties",
        "MQTT 5.0, 2.2.2.1",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x03\x11\x00\x00", text("c")),
    ),
    _bad(
        "CONNECT with a property length of five bytes",
        "MQTT 5.0, 1.5.5",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x80\x80\x80\x80\x00", text("c")),
    ),
    _bad(
        "CONNECT with a property length longer than need be",
        "[MQTT-1.5.5-1]",
        5,
        frame(0x10, _V5, b"\x02\x00\x3c\x80\x00", text("c")),
    ),
)

PUBLISH_CASES = (
    _good(
        "PUBLISH with QoS 0",
        "MQTT 3.1.1, 3.3",
        4,
        frame(0x30, text("/sys/a1Lnk5tEad0/lamp-01/rrpc/response/42"), b'{"id":"1","code":200,"data":{}}'),
        Publish("/sys/a1Lnk5tEad0/lamp-01/rrpc/response/42", b'{"id":"1","code":200,"data":{}}'),
    ),
    _good("PUBLISH with no payload", "MQTT 3.1.1, 3.3.3", 4, b"\x30\x03\x00\x01t", Publish("t", b"")),
    _good("PUBLISH with QoS 1", "MQTT 3.1.1, 3.3", 4, b"\x32\x08\x00\x03a/b\x00\x0a!", Publish("a/b", b"!", 1, 10)),
    _good(
        "PUBLISH with QoS 1 sent again",
        "MQTT 3.1.1, 3.3.1.1",
        4,
        b"\x3a\x08\x00\x03a/b\x00\x0a!",
        Publish("a/b", b"!", 1, 10, dup=True),
    ),
    _good(
        "PUBLISH with QoS 2 to be retained",
        "MQTT 3.1.1, 3.3.1",
        4,
        b"\x35\x08\x00\x03a/b\xff\xff!",
        Publish("a/b", b"!", 2, 65535, retain=True),
    ),
    _good("PUBLISH of 3.1 with QoS 2", "MQTT 3.1, 3.3", 3, b"\x34\x06\x00\x01t\x00\x01!", Publish("t", b"!", 2, 1)),
    _good(
        "PUBLISH of 3.1 with QoS 0 and DUP",
        "MQTT 3.1, 2.1: DUP means nothing with QoS 0",
        3,
        b"\x38\x04\x00\x01t!",
        Publish("t", b"!", dup=True),
        canonical=False,
    ),
    _good(
        "PUBLISH to a topic that begins with a byte order mark",
        "[MQTT-1.5.4-3]",
        4,
        frame(0x30, text(b"\xef\xbb\xbf/\xe7\x81\xaf\xf0\x9f\x92\xa1"), b"x"),
        Publish("\ufeff/灯💡", b"x"),
    ),
    _good("PUBLISH of 5.0", "MQTT 5.0, 3.3", 5, b"\x30\x05\x00\x01t\x00!", Publish("t", b"!")),
    _good(
        "PUBLISH of 5.0 with QoS 1 and every property of a client",
        "MQTT 5.0, 3.3.2.3",
        5,
        frame(
            0x32,
            text("t"),
            b"\x00\x07\x2b\x01\x01\x02\x00\x00\x00\x3c\x23\x00\x10",
            *(b"\x08", text("re/1"), b"\x09", text(b"\x00\xff"), b"\x26", text("k"), text("v")),
            *(b"\x26", text("k"), text("w"), b"\x03", text("json")),
            b"{}",
        ),
        Publish(
            "t",
            b"{}",
            1,
            7,
            properties={
                "payload_format_indicator": 1,
                "message_expiry_interval": 60,
                "topic_alias": 16,
                "response_topic": "re/1",
                "correlation_data": b"\x00\xff",
                "user_property": [("k", "v"), ("k", "w")],
                "content_type": "json",
            },
        ),
    ),
    _good(
        "PUBLISH of 5.0 from a server with two subscription identifiers",
        "MQTT 5.0, 3.3.2.3.8",
        5,
        b"\x30\x0a\x00\x01t\x05\x0b\x01\x0b\x80\x01!",
        Publish("t", b"!", properties={"subscription_identifier": [1, 128]}),
    ),
    _good(
        "PUBLISH of 5.0 to a topic alias",
        "MQTT 5.0, 3.3.2.3.4",
        5,
        b"\x30\x07\x00\x00\x03\x23\x00\x01!",
        Publish("", b"!", properties={"topic_alias": 1}),
    ),
    _bad("PUBLISH with QoS 3", "[MQTT-3.3.1-4]", 4, b"\x36\x06\x00\x01t\x00\x01!"),
    _bad("PUBLISH with QoS 0 and DUP", "[MQTT-3.3.1-2]", 4, b"\x38\x04\x00\x01t!"),
    _bad("PUBLISH with packet id 0", "[MQTT-2.2.1-3]", 4, b"\x32\x06\x00\x01t\x00\x00!", PROTOCOL),
    _bad("PUBLISH that ends in its packet id", "MQTT 3.1.1, 3.3.2", 4, b"\x32\x04\x00\x01t\x01"),
    _bad("PUBLISH with nothing in it", "MQTT 3.1.1, 3.3.2", 4, b"\x30\x00"),
    _bad("PUBLISH that ends in the length of its topic", "MQTT 3.1.1, 3.3.2", 4, b"\x30\x01\x00"),
    _bad("PUBLISH that ends before its topic", "MQTT 3.1.1, 3.3.2", 4, b"\x30\x02\x00\x05"),
    _bad("PUBLISH that ends in its topic", "MQTT 3.1.1, 3.3.2", 4, b"\x30\x04\x00\x05ab"),
    _bad("PUBLISH to an empty topic", "[MQTT-4.7.3-1]", 4, b"\x30\x03\x00\x00!", PROTOCOL),
    _bad("PUBLISH of 5.0 to an empty topic", "MQTT 5.0, 3.3.2.1", 5, b"\x30\x04\x00\x00\x00!", PROTOCOL),
    _bad("PUBLISH to a topic with +", "[MQTT-3.3.2-2]", 4, b"\x30\x05\x00\x03a/+", ReasonCode.TOPIC_NAME_INVALID),
    _bad("PUBLISH to a topic with #", "[MQTT-3.3.2-2]", 5, b"\x30\x05\x00\x02a#\x00", ReasonCode.TOPIC_NAME_INVALID),
    _bad("PUBLISH to a topic with U+0000", "[MQTT-1.5.4-2]", 4, b"\x30\x05\x00\x03a\x00b"),
    _bad("PUBLISH to a topic that is not UTF-8", "[MQTT-1.5.4-1]", 4, b"\x30\x05\x00\x03a\xe7\x81"),
    _bad("PUBLISH of 5.0 without its property length", "MQTT 5.0, 3.3.2.3.1", 5, b"\x30\x03\x00\x01t"),
    _bad(
        "PUBLISH with topic alias 0",
        "[MQTT-3.3.2-8]",
        5,
        b"\x30\x06\x00\x00\x03\x23\x00\x00",
        ReasonCode.TOPIC_ALIAS_INVALID,
    ),
    _bad(
        "PUBLISH with a wildcard in its response topic",
        "[MQTT-3.3.2-14]",
        5,
        frame(0x30, text("t"), b"\x06\x08", text("a/#")),
        ReasonCode.TOPIC_NAME_INVALID,
    ),
    _bad(
        "PUBLISH with subscription identifier 0", "MQTT 5.0, 3.3.2.3.8", 5, b"\x30\x06\x00\x01t\x02\x0b\x00", PROTOCOL
    ),
    _bad(
        "PUBLISH with a topic alias twice",
        "MQTT 5.0, 3.3.2.3.4",
        5,
        b"\x30\x0a\x00\x01t\x06\x23\x00\x01\x23\x00\x01",
        PROTOCOL,
    ),
)

_REASON_BYTES = b"\x0c\x1f" + text("no") + b"\x26" + text("k") + text("v")

ACKNOWLEDGEMENT_CASES = (
    _good("PUBACK", "MQTT 3.1.1, 3.4", 4, b"\x40\x02\x00\x0a", PubAck(10)),
    _good("PUBACK of 3.1", "MQTT 3.1, 3.4", 3, b"\x40\x02\x00\x0a", PubAck(10)),
    _good("PUBACK of 5.0 at its shortest", "MQTT 5.0, 3.4.2.1", 5, b"\x40\x02\x00\x0a", PubAck(10)),
    _good(
        "PUBACK of 5.0 with a success written out", "MQTT 5.0, 3.4.2.1", 5, b"\x40\x03\x00\x0a\x00", PubAck(10), False
    ),
    _good("PUBACK of 5.0 with a reason", "MQTT 5.0, 3.4.2.1", 5, b"\x40\x03\x00\x0a\x87", PubAck(10, 0x87)),
    _good(
        "PUBACK of 5.0 with empty properties",
        "MQTT 5.0, 3.4.2.2",
        5,
        b"\x40\x04\x00\x0a\x10\x00",
        PubAck(10, 0x10),
        False,
    ),
    _good(
        "PUBACK of 5.0 with properties",
        "MQTT 5.0, 3.4.2.2",
        5,
        b"\x40\x10\x00\x0a\x97" + _REASON_BYTES,
        PubAck(10, 0x97, {"reason_string": "no", "user_property": [("k", "v")]}),
    ),
    _good("PUBREC", "MQTT 3.1.1, 3.5", 4, b"\x50\x02\xff\xff", PubRec(65535)),
    _good("PUBREC of 5.0 with a reason", "MQTT 5.0, 3.5.2.1", 5, b"\x50\x03\x00\x01\x91", PubRec(1, 0x91)),
    _good("PUBREL", "MQTT 3.1.1, 3.6", 4, b"\x62\x02\x00\x01", PubRel(1)),
    _good("PUBREL of 3.1 sent again", "MQTT 3.1, 3.6: with DUP", 3, b"\x6a\x02\x00\x01", PubRel(1), False),
    _good("PUBREL of 5.0 with a reason", "MQTT 5.0, 3.6.2.1", 5, b"\x62\x03\x00\x01\x92", PubRel(1, 0x92)),
    _good("PUBCOMP", "MQTT 3.1.1, 3.7", 4, b"\x70\x02\x00\x01", PubComp(1)),
    _good("PUBCOMP of 5.0 with a reason", "MQTT 5.0, 3.7.2.1", 5, b"\x70\x03\x00\x01\x92", PubComp(1, 0x92)),
    _bad("PUBACK with packet id 0", "[MQTT-2.2.1-3]", 4, b"\x40\x02\x00\x00", PROTOCOL),
    _bad("PUBACK cut short", "MQTT 3.1.1, 3.4.2", 4, b"\x40\x01\x00"),
    _bad("PUBACK of 3.1.1 with a reason", "MQTT 3.1.1, 3.4.2", 4, b"\x40\x03\x00\x0a\x00"),
    _bad("PUBACK with reserved flags", "[MQTT-2.1.3-1]", 4, b"\x42\x02\x00\x0a"),
    _bad("PUBACK with a reason of PUBCOMP", "MQTT 5.0, 3.4.2.1", 5, b"\x40\x03\x00\x0a\x92", PROTOCOL),
    _bad("PUBREC with reserved flags", "[MQTT-2.1.3-1]", 3, b"\x52\x02\x00\x01"),
    _bad("PUBREL without its flags", "[MQTT-3.6.1-1]", 4, b"\x60\x02\x00\x01"),
    _bad("PUBREL of 3.1.1 with DUP", "[MQTT-3.6.1-1]", 4, b"\x6a\x02\x00\x01"),
    _bad("PUBCOMP with a reason of PUBACK", "MQTT 5.0, 3.7.2.1", 5, b"\x70\x03\x00\x01\x10", PROTOCOL),
    _bad(
        "PUBACK with Reason String twice",
        "MQTT 5.0, 3.4.2.2.2",
        5,
        b"\x40\x0a\x00\x0a\x00\x06\x1f\x00\x00\x1f\x00\x00",
        PROTOCOL,
    ),
)

SUBSCRIPTION_CASES = (
    _good(
        "SUBSCRIBE to two filters",
        "MQTT 3.1.1, 3.8.3",
        4,
        b"\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/d\x02",
        Subscribe(10, [Subscription("a/b", 1), Subscription("c/d", 2)]),
    ),
    _good(
        "SUBSCRIBE to a filter that is none",
        "SUBACK can refuse it",
        4,
        b"\x82\x0a\x00\x01\x00\x02a#\x00\x00\x00\x00",
        Subscribe(1, [Subscription("a#"), Subscription("")]),
    ),
    _good(
        "SUBSCRIBE of 3.1 sent again with reserved options",
        "MQTT 3.1, 3.8",
        3,
        b"\x8a\x06\x00\x01\x00\x01t\xfd",
        Subscribe(1, [Subscription("t", 1)]),
        canonical=False,
    ),
    _good(
        "SUBSCRIBE of 5.0 with every option",
        "MQTT 5.0, 3.8.3.1",
        5,
        b"\x82\x07\x00\x01\x00\x00\x01t\x2e",
        Subscribe(1, [Subscription("t", 2, True, True, 2)]),
    ),
    _good(
        "SUBSCRIBE of 5.0 with every property",
        "MQTT 5.0, 3.8.2.1",
        5,
        b"\x82\x12\x00\x01\x0b\x0b\xff\xff\xff\x7f\x26\x00\x01k\x00\x00\x00\x01t\x00",
        Subscribe(1, [Subscription("t")], {"subscription_identifier": [268_435_455], "user_property": [("k", "")]}),
    ),
    _good(
        "SUBSCRIBE of 5.0 to a shared subscription",
        "MQTT 5.0, 4.8.2",
        5,
        frame(0x82, b"\x00\x01\x00", text("$share/g/t"), b"\x01"),
        Subscribe(1, [Subscription("$share/g/t", 1)]),
    ),
    _good("SUBACK", "MQTT 3.1.1, 3.9.3", 4, b"\x90\x06\x00\x0a\x00\x01\x02\x80", SubAck(10, [0, 1, 2, 0x80])),
    _good("SUBACK of 5.0", "MQTT 5.0, 3.9.3", 5, b"\x90\x06\x00\x0a\x00\x01\x87\xa2", SubAck(10, [1, 0x87, 0xA2])),
    _good(
        "UNSUBSCRIBE", "MQTT 3.1.1, 3.10.3", 4, b"\xa2\x0a\x00\x0a\x00\x03a/b\x00\x01c", Unsubscribe(10, ["a/b", "c"])
    ),
    _good(
        "UNSUBSCRIBE of 3.1 sent again", "MQTT 3.1, 3.10", 3, b"\xaa\x05\x00\x01\x00\x01t", Unsubscribe(1, ["t"]), False
    ),
    _good(
        "UNSUBSCRIBE of 5.0",
        "MQTT 5.0, 3.10.2.1",
        5,
        b"\xa2\x0d\x00\x0a\x07\x26\x00\x01k\x00\x01v\x00\x01t",
        Unsubscribe(10, ["t"], {"user_property": [("k", "v")]}),
    ),
    _good("UNSUBACK", "MQTT 3.1.1, 3.11", 4, b"\xb0\x02\x00\x0a", UnsubAck(10)),
    _good("UNSUBACK of 5.0", "MQTT 5.0, 3.11.3", 5, b"\xb0\x05\x00\x0a\x00\x00\x11", UnsubAck(10, [0, 0x11])),
    _bad("SUBSCRIBE without its flags", "[MQTT-3.8.1-1]", 4, b"\x80\x06\x00\x01\x00\x01t\x00"),
    _bad("SUBSCRIBE of 3.1.1 with DUP", "[MQTT-3.8.1-1]", 4, b"\x8a\x06\x00\x01\x00\x01t\x00"),
    _bad("SUBSCRIBE to nothing", "[MQTT-3.8.3-2]", 4, b"\x82\x02\x00\x01", PROTOCOL),
    _bad("SUBSCRIBE of 5.0 to nothing", "[MQTT-3.8.3-2]", 5, b"\x82\x03\x00\x01\x00", PROTOCOL),
    _bad("SUBSCRIBE with packet id 0", "[MQTT-2.2.1-3]", 4, b"\x82\x06\x00\x00\x00\x01t\x00", PROTOCOL),
    _bad("SUBSCRIBE with QoS 3", "[MQTT-3.8.3-4] of 3.1.1", 4, b"\x82\x06\x00\x01\x00\x01t\x03", PROTOCOL),
    _bad("SUBSCRIBE with reserved options", "[MQTT-3.8.3-4] of 3.1.1", 4, b"\x82\x06\x00\x01\x00\x01t\x04"),
    _bad("SUBSCRIBE of 5.0 with reserved options", "[MQTT-3.8.3-5]", 5, b"\x82\x07\x00\x01\x00\x00\x01t\x40"),
    _bad("SUBSCRIBE with Retain Handling 3", "MQTT 5.0, 3.8.3.1", 5, b"\x82\x07\x00\x01\x00\x00\x01t\x30", PROTOCOL),
    _bad("SUBSCRIBE that ends before its options", "MQTT 3.1.1, 3.8.3", 4, b"\x82\x05\x00\x01\x00\x01t"),
    _bad(
        "SUBSCRIBE with two subscription identifiers",
        "MQTT 5.0, 3.8.2.1.2",
        5,
        b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01t\x00",
        PROTOCOL,
    ),
    _bad("SUBACK of 3.1.1 with a reason of 5.0", "[MQTT-3.9.3-2] of 3.1.1", 4, b"\x90\x03\x00\x0a\x87", PROTOCOL),
    _bad("SUBACK without a code", "MQTT 5.0, 3.9.3", 5, b"\x90\x03\x00\x0a\x00"),
    _bad("UNSUBSCRIBE from nothing", "[MQTT-3.10.3-2]", 4, b"\xa2\x02\x00\x01", PROTOCOL),
    _bad("UNSUBSCRIBE with a filter that is not UTF-8", "[MQTT-1.5.4-1]", 4, b"\xa2\x05\x00\x01\x00\x01\x80"),
    _bad("UNSUBACK of 3.1.1 with a code", "MQTT 3.1.1, 3.11", 4, b"\xb0\x03\x00\x0a\x00"),
    _bad("UNSUBACK of 5.0 without a code", "MQTT 5.0, 3.11.3", 5, b"\xb0\x03\x00\x0a\x00"),
)

OTHER_CASES = (
    _good("CONNACK", "MQTT 3.1.1, 3.2", 4, b"\x20\x02\x00\x00", ConnAck()),
    _good("CONNACK with a session", "MQTT 3.1.1, 3.2.2.2", 4, b"\x20\x02\x01\x00", ConnAck(True)),
    _good("CONNACK of 3.1 that refuses", "MQTT 3.1, 3.2", 3, b"\x20\x02\x00\x05", ConnAck(False, 5)),
    _good("CONNACK of 5.0", "MQTT 5.0, 3.2", 5, b"\x20\x03\x00\x00\x00", ConnAck()),
    _good(
        "CONNACK of 5.0 with many properties",
        "MQTT 5.0, 3.2.2.3",
        5,
        frame(
            0x20,
            b"\x01\x00\x3d\x11\x00\x00\x00\x0a\x21\x00\x64\x24\x01\x25\x00\x27\x00\x10\x00\x00\x12",
            text("id"),
            *(b"\x22\x00\x10\x1f", text("ok"), b"\x28\x00\x29\x00\x2a\x00\x13\x00\x3c\x1a", text("re/"), b"\x1c"),
            *(text("other"), b"\x15", text("m"), b"\x16", text(b"\x00")),
        ),
        ConnAck(
            True,
            0,
            {
                "session_expiry_interval": 10,
                "receive_maximum": 100,
                "maximum_qos": 1,
                "retain_available": 0,
                "maximum_packet_size": 1_048_576,
                "assigned_client_identifier": "id",
                "topic_alias_maximum": 16,
                "reason_string": "ok",
                "wildcard_subscription_available": 0,
                "subscription_identifier_available": 0,
                "shared_subscription_available": 0,
                "server_keep_alive": 60,
                "response_information": "re/",
                "server_reference": "other",
                "authentication_method": "m",
                "authentication_data": b"\x00",
            },
        ),
    ),
    _good("PINGREQ", "MQTT 3.1.1, 3.12", 4, b"\xc0\x00", PingReq()),
    _good("PINGREQ of 3.1", "MQTT 3.1, 3.12", 3, b"\xc0\x00", PingReq()),
    _good("PINGREQ of 5.0", "MQTT 5.0, 3.12", 5, b"\xc0\x00", PingReq()),
    _good("PINGRESP", "MQTT 3.1.1, 3.13", 4, b"\xd0\x00", PingResp()),
    _good("DISCONNECT", "MQTT 3.1.1, 3.14", 4, b"\xe0\x00", Disconnect()),
    _good("DISCONNECT of 3.1", "MQTT 3.1, 3.14", 3, b"\xe0\x00", Disconnect()),
    _good("DISCONNECT of 5.0 at its shortest", "MQTT 5.0, 3.14.2.1", 5, b"\xe0\x00", Disconnect()),
    _good("DISCONNECT of 5.0 with a reason", "MQTT 5.0, 3.14.2.1", 5, b"\xe0\x01\x04", Disconnect(4)),
    _good(
        "DISCONNECT of 5.0 with properties",
        "MQTT 5.0, 3.14.2.2",
        5,
        b"\xe0\x0c\x9d\x0a\x11\x00\x00\x00\x00\x1c\x00\x02to",
        Disconnect(0x9D, {"session_expiry_interval": 0, "server_reference": "to"}),
    ),
    _good("AUTH at its shortest", "MQTT 5.0, 3.15.2.1", 5, b"\xf0\x00", Auth()),
    _good(
        "AUTH",
        "MQTT 5.0, 3.15",
        5,
        b"\xf0\x0a\x18\x08\x15\x00\x01m\x16\x00\x01\x00",
        Auth(0x18, {"authentication_method": "m", "authentication_data": b"\x00"}),
    ),
    _bad("packet type 0", "MQTT 5.0, 2.1.2", 4, b"\x00\x00"),
    _bad("packet type 15 in 3.1.1", "MQTT 3.1.1, 2.2.1", 4, b"\xf0\x00"),
    _bad("CONNACK with a reserved flag", "[MQTT-3.2.2-1]", 4, b"\x20\x02\x02\x00"),
    _bad("CONNACK with return code 6", "MQTT 3.1.1, table 3.1", 4, b"\x20\x02\x00\x06", PROTOCOL),
    _bad("CONNACK with a reason of SUBACK", "MQTT 5.0, 3.2.2.2", 5, b"\x20\x03\x00\x01\x00", PROTOCOL),
    _bad("CONNACK of 5.0 in the form of 3.1.1", "MQTT 5.0, 3.2.2.3.1", 5, b"\x20\x02\x00\x00"),
    _bad("PINGREQ with a body", "MQTT 3.1.1, 3.12", 4, b"\xc0\x01\x00"),
    _bad("PINGREQ with flags", "[MQTT-2.1.3-1]", 4, b"\xc1\x00"),
    _bad("PINGRESP with a body", "MQTT 3.1.1, 3.13", 5, b"\xd0\x01\x00"),
    _bad("DISCONNECT of 3.1.1 with a reason", "MQTT 3.1.1, 3.14", 4, b"\xe0\x01\x00"),
    _bad("DISCONNECT with flags", "[MQTT-3.14.1-1]", 5, b"\xe1\x00"),
    _bad("DISCONNECT with an unknown reason", "MQTT 5.0, 3.14.2.1", 5, b"\xe0\x01\x01", PROTOCOL),
    _bad("AUTH with a reason of DISCONNECT", "MQTT 5.0, 3.15.2.1", 5, b"\xf0\x01\x04", PROTOCOL),
    _bad("a Remaining Length of five bytes", "MQTT 5.0, 1.5.5", 4, b"\x30\x80\x80\x80\x80\x01"),
    _bad(
        "a packet announced over the bound",
        "MQTT 5.0, 3.1.2.11.4",
        4,
        b"\x30\xff\xff\xff\x7f",
        ReasonCode.PACKET_TOO_LARGE,
    ),
)

WIRE_CASES = (*CONNECT_CASES, *PUBLISH_CASES, *ACKNOWLEDGEMENT_CASES, *SUBSCRIPTION_CASES, *OTHER_CASES)

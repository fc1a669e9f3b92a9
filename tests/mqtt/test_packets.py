"""The codec against the table of wire cases, against itself, and against the codec of another project."""

from collections.abc import Callable
from typing import Any, cast

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.mqtt import packets
from linkstead.mqtt.codes import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
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
from linkstead.mqtt.packets import (
    PACKET_BYTES_MAX,
    PROPERTIES,
    TEXT_BYTES_MAX,
    Auth,
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
    Publish,
    PubRec,
    PubRel,
    Splitter,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    check_topic_filter,
    check_topic_name,
    connect_level,
    decode,
    encode,
    encode_publish,
)
from tests.mqtt.wire_cases import WIRE_CASES, WireCase, frame, text

LEVELS = (3, 4, 5)


def split(data: bytes) -> Frame:
    """Cut the one packet that `data` is."""
    (found,) = Splitter().feed(data)
    return found


def decode_bytes(data: bytes, level: int) -> Packet:
    return decode(split(data), level)


def cases(choose: Callable[[WireCase], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in WIRE_CASES if choose(case)])


# --- the wire cases ---


@cases(lambda case: case.packet is not None)
def test_packet_is_decoded(case: WireCase) -> None:
    assert decode_bytes(case.data, case.level) == case.packet


@cases(lambda case: case.packet is not None and case.canonical)
def test_packet_is_encoded(case: WireCase) -> None:
    assert case.packet is not None
    assert encode(case.packet, case.level) == case.data


@cases(lambda case: case.reason_code is not None)
def test_malformed_packet_is_refused_with_its_reason(case: WireCase) -> None:
    with pytest.raises(Malformed) as caught:
        decode_bytes(case.data, case.level)
    assert caught.value.reason_code == case.reason_code
    assert str(caught.value) == caught.value.text != ""


@cases(lambda case: case.packet is not None and case.canonical)
def test_packet_cut_short_is_malformed_or_another_packet(case: WireCase) -> None:
    head, buffer, start, end = split(case.data)
    for cut in range(start, end):
        try:
            packet = decode((head, buffer, start, cut), case.level)
        except Malformed:
            continue
        assert packet != case.packet


def assert_survives_encoding(packet: Packet, level: int) -> None:
    """Check that what was decoded, from bytes however odd, is encoded to the same packet."""
    if isinstance(packet, Connect):
        level = packet.level
    elif isinstance(packet, Publish):
        packet.dup = packet.dup and packet.qos > 0  # 3.1 lets it be set in vain
    assert decode_bytes(encode(packet, level), level) == packet


@cases(lambda case: True)
def test_decoding_changed_bytes_raises_nothing_but_malformed(case: WireCase) -> None:
    for position in range(len(case.data)):
        changed = bytearray(case.data)
        for value in range(256):
            changed[position] = value
            try:
                found = [decode(each, case.level) for each in Splitter().feed(bytes(changed))]
            except Malformed:
                continue
            for packet in found:
                assert_survives_encoding(packet, case.level)


@given(data=st.binary(max_size=60), head=st.integers(0, 255), level=st.sampled_from(LEVELS))
def test_decoding_any_bytes_raises_nothing_but_malformed(data: bytes, head: int, level: int) -> None:
    try:
        packet = decode_bytes(frame(head, data), level)
    except Malformed:
        return
    assert_survives_encoding(packet, level)


# --- round trips ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
TOPICS = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=20)
BINARIES = st.binary(max_size=20)
PACKET_IDS = st.integers(1, 65_535)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.integers(0, 1),
    "u16": st.integers(1, 65_535),
    "u32": st.integers(1, 4_294_967_295),
    "varint": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=1),
    "text": TOPICS,
    "binary": BINARIES,
    "pair": st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3),
}


def properties_of(packet_type: PacketType, level: int) -> st.SearchStrategy[Properties]:
    if level != 5:
        return st.builds(Properties)
    kinds = {row.name: row.kind for row in PROPERTIES if packet_type in row.packets}
    found = st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in kinds.items()})
    return found.map(lambda each: cast(Properties, each))


def codes_of(packet_type: PacketType, level: int) -> st.SearchStrategy[int]:
    if level == 5:
        return st.sampled_from([int(code) for code in ReasonCode if packet_type in code.packets])
    return st.sampled_from({CONNACK: [0, 1, 2, 3, 4, 5], SUBACK: [0, 1, 2, 0x80]}.get(packet_type, [0]))


def packets_of(level: int) -> st.SearchStrategy[Packet]:
    def acknowledgements(build: Callable[..., Packet], packet_type: PacketType) -> st.SearchStrategy[Packet]:
        return st.builds(build, PACKET_IDS, codes_of(packet_type, level), properties_of(packet_type, level))

    @st.composite
    def connects(draw: st.DrawFn) -> Connect:
        properties = draw(properties_of(CONNECT, level))
        if "authentication_method" not in properties:
            properties.pop("authentication_data", None)
        user_name = draw(st.none() | TEXTS)
        password = draw(st.none() | BINARIES) if level == 5 or user_name is not None else None
        qos = st.integers(0, 2)
        will = draw(st.none() | st.builds(Will, TEXTS, BINARIES, qos, st.booleans(), properties_of(WILL, level)))
        keep_alive_s = draw(st.integers(0, 65_535))
        return Connect(level, draw(TEXTS), draw(st.booleans()), keep_alive_s, user_name, password, will, properties)

    @st.composite
    def publishes(draw: st.DrawFn) -> Publish:
        qos = draw(st.integers(0, 2))
        packet_id = draw(PACKET_IDS) if qos else 0
        dup = draw(st.booleans()) and qos > 0
        properties = draw(properties_of(PUBLISH, level))
        topic = "" if "topic_alias" in properties and draw(st.booleans()) else draw(TOPICS)
        return Publish(topic, draw(st.binary(max_size=300)), qos, packet_id, dup, draw(st.booleans()), properties)

    only_5 = level == 5
    subscriptions = st.builds(
        Subscription,
        TEXTS,
        st.integers(0, 2),
        st.booleans() if only_5 else st.just(False),
        st.booleans() if only_5 else st.just(False),
        st.integers(0, 2) if only_5 else st.just(0),
    )
    unsubscribed = st.lists(codes_of(UNSUBACK, level), min_size=1, max_size=5) if only_5 else st.builds(list)
    suback_codes = st.lists(codes_of(SUBACK, level), min_size=1, max_size=5)
    kinds: list[st.SearchStrategy[Packet]] = [
        connects(),
        st.builds(ConnAck, st.booleans(), codes_of(CONNACK, level), properties_of(CONNACK, level)),
        publishes(),
        acknowledgements(PubAck, PUBACK),
        acknowledgements(PubRec, PUBREC),
        acknowledgements(PubRel, PUBREL),
        acknowledgements(PubComp, PUBCOMP),
        st.builds(
            Subscribe, PACKET_IDS, st.lists(subscriptions, min_size=1, max_size=5), properties_of(SUBSCRIBE, level)
        ),
        st.builds(SubAck, PACKET_IDS, suback_codes, properties_of(SUBACK, level)),
        st.builds(Unsubscribe, PACKET_IDS, st.lists(TEXTS, min_size=1, max_size=5), properties_of(UNSUBSCRIBE, level)),
        st.builds(UnsubAck, PACKET_IDS, unsubscribed, properties_of(UNSUBACK, level)),
        st.builds(PingReq),
        st.builds(PingResp),
        st.builds(Disconnect, codes_of(DISCONNECT, level), properties_of(DISCONNECT, level)),
    ]
    if only_5:
        kinds.append(st.builds(Auth, codes_of(AUTH, level), properties_of(AUTH, level)))
    return st.one_of(kinds)


@pytest.mark.parametrize("level", LEVELS)
@given(data=st.data())
def test_every_packet_comes_back_from_its_bytes(level: int, data: st.DataObject) -> None:
    # a code that 5.0 alone can carry is not drawn below it, so nothing may be lost
    packet = data.draw(packets_of(level))
    assert decode_bytes(encode(packet, level), level) == packet


@pytest.mark.parametrize("level", LEVELS)
@given(data=st.data())
def test_a_stream_cut_anywhere_gives_the_packets_that_were_put_in(level: int, data: st.DataObject) -> None:
    put_in = data.draw(st.lists(packets_of(level), max_size=4))
    stream = b"".join(encode(packet, level) for packet in put_in)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = Splitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [decode(each, level) for each in splitter.feed(stream[start:end])]
    assert found == put_in
    assert not splitter.unfinished


@pytest.mark.parametrize("level", [3, 4])
def test_what_only_5_can_carry_is_left_out_below_it(level: int) -> None:
    properties: Properties = {"reason_string": "no"}
    assert encode(PubAck(1, 0x87, properties), level) == b"\x40\x02\x00\x01"
    assert encode(UnsubAck(1, [0x11], properties), level) == b"\xb0\x02\x00\x01"
    assert encode(Disconnect(0x8E, properties), level) == b"\xe0\x00"
    assert encode(Publish("t", b"", properties={"topic_alias": 1}), level) == b"\x30\x03\x00\x01t"
    subscribe = Subscribe(1, [Subscription("t", 1, True, True, 2)], {"subscription_identifier": [1]})
    assert encode(subscribe, level)[2:] == b"\x00\x01\x00\x01t\x01"


# --- the splitter ---


def test_packet_of_the_bound_passes_and_one_byte_more_is_refused() -> None:
    data = encode(Publish("t", b"x" * 50), 4)
    assert len(list(Splitter(len(data)).feed(data))) == 1
    with pytest.raises(Malformed) as caught:
        list(Splitter(len(data) - 1).feed(data))
    assert caught.value.reason_code == ReasonCode.PACKET_TOO_LARGE


def test_packet_over_the_bound_is_refused_when_it_is_announced() -> None:
    over = PACKET_BYTES_MAX - 4 + 1  # the fixed header takes four bytes
    length = bytes((over & 0x7F | 0x80, over >> 7 & 0x7F | 0x80, over >> 14))
    splitter = Splitter()
    for byte in (b"\x30", length[:1], length[1:2]):
        assert list(splitter.feed(byte)) == []
    with pytest.raises(Malformed) as caught:
        list(splitter.feed(length[2:]))
    assert caught.value.reason_code == ReasonCode.PACKET_TOO_LARGE


def test_remaining_length_of_four_bytes_passes_and_a_fifth_is_refused_at_the_fourth() -> None:
    assert list(Splitter().feed(b"\xc0\x80\x80\x80\x00")) == [(0xC0, b"\xc0\x80\x80\x80\x00", 5, 5)]
    with pytest.raises(Malformed) as caught:
        list(Splitter().feed(b"\xc0\x80\x80\x80\x80"))
    assert caught.value.reason_code == ReasonCode.MALFORMED_PACKET


def test_packets_before_a_broken_one_come_out() -> None:
    found = Splitter().feed(b"\xc0\x00\xe0\x00\x30\xff\xff\xff\xff")
    assert [next(found)[0], next(found)[0]] == [0xC0, 0xE0]
    with pytest.raises(Malformed):
        next(found)


def test_one_byte_at_a_time_carries_a_packet_of_the_bound() -> None:
    data = encode(Publish("t", bytes(PACKET_BYTES_MAX - 7)), 4)
    assert len(data) == PACKET_BYTES_MAX
    splitter = Splitter()
    for position in range(len(data) - 1):
        assert next(splitter.feed(data[position : position + 1]), None) is None
    assert splitter.unfinished
    (found,) = splitter.feed(data[-1:])
    assert len(cast(Publish, decode(found, 4)).payload) == PACKET_BYTES_MAX - 7


def test_splitter_is_unfinished_only_within_a_packet() -> None:
    splitter = Splitter()
    seen = []
    for byte in (b"", b"\xc0", b"\x00", b"\xc0\x00\x30", b"\x03\x00\x01t"):
        list(splitter.feed(byte))
        seen.append(splitter.unfinished)
    assert seen == [False, True, False, True, False]


# --- topics ---


@pytest.mark.parametrize(
    "topic", ["a", "/", "//", "/a1/lamp-01/user/get", "$SYS", " ", "灯/\ufeff", "x" * TEXT_BYTES_MAX]
)
def test_topic_name_is_taken(topic: str) -> None:
    check_topic_name(topic)
    check_topic_filter(topic)


@pytest.mark.parametrize("topic", ["", "a\0", "\ud800", "a/+", "#", "a#b", "x" * (TEXT_BYTES_MAX + 1), "灯" * 21_846])
def test_topic_name_is_refused(topic: str) -> None:
    with pytest.raises(Malformed, match=r"^the topic name ") as caught:
        check_topic_name(topic)
    assert caught.value.reason_code == ReasonCode.TOPIC_NAME_INVALID


@pytest.mark.parametrize("topic_filter", ["#", "+", "/#", "+/+/#", "a/+/b", "/sys/pk/dn/thing/service/+", "+//#"])
def test_topic_filter_is_taken(topic_filter: str) -> None:
    check_topic_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["", "\0", "a#", "#a", "#/a", "##", "a/#/b", "a+", "+a/b", "++", "a/b+", "\udfff", "x" * 65_536]
)
def test_topic_filter_is_refused(topic_filter: str) -> None:
    with pytest.raises(Malformed, match=r"^the topic filter ") as caught:
        check_topic_filter(topic_filter)
    assert caught.value.reason_code == ReasonCode.TOPIC_FILTER_INVALID


# --- tables ---


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
def test_property_is_taken_where_its_row_says_and_nowhere_else(row: packets.Property) -> None:
    one: dict[str, Any] = {
        "flag": 1,
        "u16": 1,
        "u32": 1,
        "varint": [1],
        "text": "t",
        "binary": b"b",
        "pair": [("k", "v")],
    }
    properties = cast(Properties, {row.name: one[row.kind]})
    if row.name == "authentication_data":
        properties["authentication_method"] = "m"

    def packet(packet_type: PacketType, given: Properties) -> Packet:
        made: dict[PacketType, Packet] = {
            WILL: Connect(5, "c", will=Will("t", b"", properties=given)),
            CONNECT: Connect(5, "c", properties=given),
            CONNACK: ConnAck(False, 0, given),
            PUBLISH: Publish("t", b"", properties=given),
            PUBACK: PubAck(1, 0, given),
            PUBREC: PubRec(1, 0, given),
            PUBREL: PubRel(1, 0, given),
            PUBCOMP: PubComp(1, 0, given),
            SUBSCRIBE: Subscribe(1, [Subscription("t")], given),
            SUBACK: SubAck(1, [0], given),
            UNSUBSCRIBE: Unsubscribe(1, ["t"], given),
            UNSUBACK: UnsubAck(1, [0], given),
            DISCONNECT: Disconnect(0, given),
            AUTH: Auth(0, given),
        }
        return made[packet_type]

    anywhere = {packet_type for each in PROPERTIES for packet_type in each.packets}
    for packet_type in anywhere:
        if packet_type in row.packets:
            assert decode_bytes(encode(packet(packet_type, properties), 5), 5) == packet(packet_type, properties)
        else:
            with pytest.raises(ValueError, match="is not a property of"):
                encode(packet(packet_type, properties), 5)
            # the same bytes, smuggled past the encoder under a property that the packet may carry
            user = encode(packet(packet_type, {"user_property": [("", "")]}), 5)
            smuggled = bytes((row.identifier, 0, 1, 0, 0))
            assert user.count(b"\x26\0\0\0\0") == 1
            with pytest.raises(Malformed, match="is not a property of") as caught:
                decode_bytes(user.replace(b"\x26\0\0\0\0", smuggled), 5)
            assert caught.value.reason_code == ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize(
    ("packet_type", "theirs"),
    [
        (CONNACK, mqtt5.ConnAckReasonCode),
        (PUBACK, mqtt5.PubAckReasonCode),
        (PUBREC, mqtt5.PubRecReasonCode),
        (PUBREL, mqtt5.PubRelReasonCode),
        (PUBCOMP, mqtt5.PubCompReasonCode),
        (SUBACK, mqtt5.SubAckReasonCode),
        (UNSUBACK, mqtt5.UnsubAckReasonCode),
        (DISCONNECT, mqtt5.DisconnectReasonCode),
        (AUTH, mqtt5.AuthReasonCode),
    ],
)
def test_reason_codes_of_a_packet_are_those_another_codec_knows(packet_type: PacketType, theirs: type[Any]) -> None:
    ours = {int(code) for code in ReasonCode if packet_type in code.packets}
    if packet_type == DISCONNECT:
        # table 2-6 gives 0x8C to DISCONNECT, section 3.14.2.1 leaves it out
        ours.remove(ReasonCode.BAD_AUTHENTICATION_METHOD)
    assert ours == {int(getattr(theirs, name)) for name in dir(theirs) if name.isupper()}


# --- the caller's mistakes ---


@pytest.mark.parametrize(
    ("packet", "level", "message"),
    [
        (Publish("t", b"", 3, 1), 4, "qos must be 0, 1 or 2"),
        (Publish("t", b"", -1, 1), 4, "qos must be 0, 1 or 2"),
        (Publish("t", b"", 1, 0), 4, "packet_id must be 1 to 65535"),
        (Publish("t", b"", 1, 65_536), 4, "packet_id must be 1 to 65535"),
        (Publish("t", b"", dup=True), 4, "dup must be false with QoS 0"),
        (Publish("t" * 65_536, b""), 4, "topic must be up to 65535 bytes"),
        (Publish("t", b"", properties={"topic_alias": 0}), 5, "topic_alias must be 1 or more"),
        (Publish("t", b"", properties={"topic_alias": 65_536}), 5, "topic_alias must be 0 to 65535"),
        (Publish("t", b"", properties={"message_expiry_interval": 2**32}), 5, "message_expiry_interval must be 0 to"),
        (Publish("t", b"", properties={"payload_format_indicator": 2}), 5, "payload_format_indicator must be 0 or 1"),
        (Publish("t", b"", properties={"correlation_data": b"x" * 65_536}), 5, "correlation_data must be up to 65535"),
        (Publish("t", b"", properties={"content_type": "a\0"}), 5, "content_type must be text without"),
        (Publish("t", b"", properties={"receive_maximum": 1}), 5, "receive_maximum is not a property of PUBLISH"),
        (Publish("t", b"", properties=cast(Properties, {"colour": 1})), 5, "colour is not a property of PUBLISH"),
        (Subscribe(1, []), 4, "what SUBSCRIBE lists must be at least one"),
        (Subscribe(1, [Subscription("t", 3)]), 4, "qos must be 0, 1 or 2"),
        (Subscribe(1, [Subscription("t", 0, retain_handling=3)]), 5, "retain_handling must be 0, 1 or 2"),
        (Subscribe(1, [Subscription("t")], {"subscription_identifier": [0]}), 5, "subscription_identifier must be 1"),
        (Subscribe(1, [Subscription("t")], {"subscription_identifier": [2**28]}), 5, "subscription_identifier must be"),
        (Unsubscribe(1, []), 4, "what UNSUBSCRIBE lists must be at least one"),
        (SubAck(1, []), 4, "what SUBACK lists must be at least one"),
        (SubAck(1, [0x87]), 4, "reason_code must be one of SUBACK at protocol level 4, not 0x87"),
        (UnsubAck(1, []), 5, "what UNSUBACK lists must be at least one"),
        (ConnAck(False, 6), 4, "reason_code must be one of CONNACK at protocol level 4, not 0x06"),
        (ConnAck(False, 1), 5, "reason_code must be one of CONNACK at protocol level 5, not 0x01"),
        (PubAck(0), 4, "packet_id must be 1 to 65535"),
        (PubAck(1, 1), 5, "reason_code must be one of PUBACK at protocol level 5, not 0x01"),
        (Auth(), 4, "level must be 5 for AUTH"),
        (Connect(6, "c"), 5, "level must be 3, 4 or 5"),
        (Connect(4, "c", keep_alive_s=65_536), 4, "keep_alive_s must be 0 to 65535"),
        (Connect(4, "c", password=b"p"), 4, "user_name must be given with a password before 5.0"),
        (Connect(4, "c", will=Will("t", b"", 3)), 4, "the will's qos must be 0, 1 or 2"),
        (Connect(4, "c\0"), 4, "client_id must be text without"),
        (Connect(4, "c" * 65_536), 4, "client_id must be up to 65535 bytes"),
    ],
)
def test_field_out_of_range_is_named(packet: Packet, level: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        encode(packet, level)


def test_text_of_65535_bytes_passes() -> None:
    connect = Connect(4, "c" * 65_535, user_name="u" * 65_535, password=b"p" * 65_535)
    assert decode_bytes(encode(connect, 4), 4) == connect
    publish = Publish("t" * 65_535, b"")
    assert decode_bytes(encode(publish, 4), 4) == publish


@pytest.mark.parametrize(
    ("payload_bytes", "header_bytes"), [(124, 2), (125, 3), (16_380, 3), (16_381, 4), (2_097_149, 5)]
)
def test_remaining_length_takes_as_few_bytes_as_it_can(payload_bytes: int, header_bytes: int) -> None:
    data = encode_publish(b"t", bytes(payload_bytes), 0, 0, 4)
    assert len(data) == header_bytes + 3 + payload_bytes
    (found,) = Splitter(4_000_000).feed(data)
    assert decode(found, 4) == Publish("t", bytes(payload_bytes))


def test_remaining_length_over_its_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "REMAINING_BYTES_MAX", 1_000)
    assert len(encode_publish(b"t", bytes(997), 0, 0, 4)) == 1_003
    with pytest.raises(ValueError, match=r"^the packet's length must be up to 1000"):
        encode_publish(b"t", bytes(998), 0, 0, 4)


# --- secrets and levels ---


def test_password_is_not_in_the_repr_of_a_connect() -> None:
    connect = Connect(5, "c", user_name="u", password=b"s3cret", properties={"authentication_data": b"s3cret"})
    assert "s3cret" not in repr(connect) + repr(Auth(0, {"authentication_data": b"s3cret"}))
    assert "'u'" in repr(connect)


@pytest.mark.parametrize(
    ("body", "level"),
    [
        (text("MQTT") + b"\x05", 5),
        (text("MQTT") + b"\x2a", 42),
        (text("MQIsdp") + b"\x03\xff", 3),
        (text("MQTT"), None),
        (text("MQTTS") + b"\x05", None),
        (b"", None),
    ],
)
def test_level_of_a_connect_can_be_read_without_decoding_it(body: bytes, level: int | None) -> None:
    assert connect_level(split(frame(0x10, body))) == level
    # what follows in the stream is no part of it
    first = next(Splitter().feed(frame(0x10, body) + text("MQTT") + b"\x05"))
    assert connect_level(first) == level


# --- another project's codec, MQTT 5.0 only ---

THEIRS: list[tuple[Packet, mqtt5.Packet]] = [
    (
        Connect(
            5,
            "c|securemode=3|",
            True,
            60,
            "dn&pk",
            b"\x00\xff",
            Will("gone", b"bye", 1, True, {"will_delay_interval": 7, "user_property": [("a", "b")]}),
            {
                "session_expiry_interval": 3600,
                "receive_maximum": 20,
                "maximum_packet_size": 4096,
                "topic_alias_maximum": 10,
                "request_problem_information": 0,
                "request_response_information": 1,
                "user_property": [("k", "v"), ("k", "w")],
            },
        ),
        mqtt5.ConnectPacket(
            "c|securemode=3|",
            username="dn&pk",
            password=b"\x00\xff",
            clean_start=True,
            will=mqtt5.Will(
                "gone",
                payload=b"bye",
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain=True,
                will_delay_interval=7,
                user_properties=[("a", "b")],
            ),
            keep_alive=60,
            session_expiry_interval=3600,
            request_problem_info=False,
            request_response_info=True,
            receive_max=20,
            topic_alias_max=10,
            max_packet_size=4096,
            user_properties=[("k", "v"), ("k", "w")],
        ),
    ),
    (
        ConnAck(
            True,
            0,
            {
                "receive_maximum": 100,
                "maximum_qos": 1,
                "retain_available": 0,
                "maximum_packet_size": 1_048_576,
                "assigned_client_identifier": "id",
                "topic_alias_maximum": 16,
                "subscription_identifier_available": 0,
                "shared_subscription_available": 0,
            },
        ),
        mqtt5.ConnAckPacket(
            session_present=True,
            assigned_client_id="id",
            receive_max=100,
            topic_alias_max=16,
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain_available=False,
            max_packet_size=1_048_576,
            subscription_id_available=False,
            shared_subscription_available=False,
        ),
    ),
    (ConnAck(False, 0x87), mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED)),
    (Publish("/a/灯", b"{}"), mqtt5.PublishPacket("/a/灯", b"{}")),
    (
        Publish(
            "/a/b",
            bytes(200),
            1,
            258,
            True,
            True,
            {
                "payload_format_indicator": 1,
                "message_expiry_interval": 60,
                "content_type": "json",
                "response_topic": "re",
                "correlation_data": b"\x01",
                "subscription_identifier": [1, 16_384],
                "topic_alias": 3,
                "user_property": [("k", "v")],
            },
        ),
        mqtt5.PublishPacket(
            "/a/b",
            bytes(200),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=True,
            packet_id=258,
            duplicate=True,
            payload_format_indicator=1,
            message_expiry_interval=60,
            content_type="json",
            response_topic="re",
            correlation_data=b"\x01",
            subscription_ids=[1, 16_384],
            topic_alias=3,
            user_properties=[("k", "v")],
        ),
    ),
    (PubAck(1), mqtt5.PubAckPacket(1)),
    (
        PubAck(1, 0x87, {"reason_string": "no"}),
        mqtt5.PubAckPacket(1, reason_code=mqtt5.PubAckReasonCode.NOT_AUTHORIZED, reason_str="no"),
    ),
    (PubRec(2, 0x10), mqtt5.PubRecPacket(2, reason_code=mqtt5.PubRecReasonCode.NO_MATCHING_SUBSCRIBERS)),
    (PubRel(3), mqtt5.PubRelPacket(3)),
    (PubComp(4, 0x92), mqtt5.PubCompPacket(4, reason_code=mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND)),
    (
        Subscribe(5, [Subscription("/a/+", 1, True, False, 2), Subscription("#", 2, False, True, 0)]),
        mqtt5.SubscribePacket(
            5,
            [
                mqtt5.TopicFilter(
                    "/a/+",
                    max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                    no_local=True,
                    retain_as_published=False,
                    retain_handling=mqtt5.RetainHandling.SEND_NEVER,
                ),
                mqtt5.TopicFilter("#"),
            ],
        ),
    ),
    (
        SubAck(5, [1, 0x9E]),
        mqtt5.SubAckPacket(
            5,
            [
                mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE,
                mqtt5.SubAckReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            ],
        ),
    ),
    (Unsubscribe(6, ["/a/+", "b"]), mqtt5.UnsubscribePacket(6, ["/a/+", "b"])),
    (
        UnsubAck(6, [0, 0x11]),
        mqtt5.UnsubAckPacket(6, [mqtt5.UnsubAckReasonCode.SUCCESS, mqtt5.UnsubAckReasonCode.NO_SUBSCRIPTION_EXISTED]),
    ),
    (PingReq(), mqtt5.PingReqPacket()),
    (PingResp(), mqtt5.PingRespPacket()),
    (Disconnect(), mqtt5.DisconnectPacket()),
    (
        Disconnect(0x8E, {"reason_string": "elsewhere"}),
        mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="elsewhere"),
    ),
    (
        Auth(0x18, {"authentication_method": "m", "authentication_data": b"\x00"}),
        mqtt5.AuthPacket(
            reason_code=mqtt5.AuthReasonCode.CONTINUE_AUTHENTICATION,
            authentication_method="m",
            authentication_data=b"\x00",
        ),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), THEIRS, ids=lambda each: type(each).__name__)
def test_another_codec_reads_what_we_write(ours: Packet, theirs: mqtt5.Packet) -> None:
    data = encode(ours, 5)
    found, size = mqtt5.read(memoryview(data))
    assert (found, size) == (theirs, len(data))


@pytest.mark.parametrize(("ours", "theirs"), THEIRS, ids=lambda each: type(each).__name__)
def test_we_read_what_another_codec_writes(ours: Packet, theirs: mqtt5.Packet) -> None:
    assert decode_bytes(theirs.write(), 5) == ours

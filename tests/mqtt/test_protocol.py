"""The server's side of a connection: every rule at the point where it holds and at the point where it breaks."""

import dataclasses
import gc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.mqtt.codes import ReasonCode, Refusal
from linkstead.mqtt.packets import (
    PACKET_BYTES_MAX,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
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
    decode,
    encode,
)
from linkstead.mqtt.protocol import (
    CONNECT_WAIT_S,
    IN_FLIGHT_MAX,
    MESSAGE_BYTES_USUAL,
    PAYLOAD_BYTES_MAX,
    PENDING_BYTES_MAX,
    QOS2_PENDING_MAX,
    RECEIVE_MAXIMUM,
    TOPIC_ALIAS_MAX,
    ConnectionLost,
    ConnectionOver,
    ConnectReceived,
    ConnectTimedOut,
    DisconnectReceived,
    Event,
    KeepAliveExpired,
    LocalError,
    PacketTooLarge,
    PublishAcknowledged,
    PublishReceived,
    PublishTooLarge,
    ServerConnection,
    SubscribeReceived,
    UnsubscribeReceived,
    Violated,
    WindowFull,
)
from tests.mqtt.wire_cases import WIRE_CASES, WireCase, frame, text

LEVELS = (3, 4, 5)
ENDINGS = (DisconnectReceived, Violated, ConnectTimedOut, KeepAliveExpired, ConnectionLost)
CASES = [pytest.param(case, id=case.name) for case in WIRE_CASES]


def connect_bytes(level: int, keep_alive_s: int = 60, properties: Properties | None = None) -> bytes:
    return encode(Connect(level, "c", keep_alive_s=keep_alive_s, properties=properties or {}), level)


def connected(level: int, keep_alive_s: int = 60, properties: Properties | None = None) -> ServerConnection:
    """Make a connection whose CONNECT came and was accepted at 0, and whose CONNACK is written."""
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(level, keep_alive_s, properties), 0.0)
    assert connection.accept(False, 0.0) == []
    assert connection.data_to_send() != b""
    return connection


def sent(connection: ServerConnection, level: int) -> list[Packet]:
    """Take what the connection has to write, as its client decodes it."""
    return [decode(each, level) for each in Splitter().feed(connection.data_to_send())]


def receive(connection: ServerConnection, *packets: Packet, now: float = 1.0) -> list[Event]:
    return connection.receive_data(b"".join(encode(packet, connection.level) for packet in packets), now)


def violated(events: list[Event]) -> ReasonCode:
    """Return the reason of the one event that is a violation."""
    (event,) = events
    assert isinstance(event, Violated)
    assert event.text != ""
    return event.reason_code


# --- however the bytes are cut ---


def play(chunks: list[bytes]) -> tuple[list[Event], bytes, bool]:
    """Feed chunks, accept the CONNECT as soon as it comes, and return events, bytes written, and whether it is over."""
    connection = ServerConnection(0.0)
    events: list[Event] = []
    out = b""
    for chunk in chunks:
        found = connection.receive_data(chunk, 1.0)
        events += found
        if any(isinstance(event, ConnectReceived) for event in found) and not connection.closing:
            events += connection.accept(False, 1.0)
        out += connection.data_to_send()
    return events, out, connection.closing


def stream_of(case: WireCase) -> bytes:
    """Return the case's bytes, behind a CONNECT where they are none."""
    return case.data if case.data[0] >> 4 == 1 else connect_bytes(case.level) + case.data


@pytest.mark.parametrize("case", CASES)
def test_every_prefix_gives_the_same_events_whole_and_byte_by_byte(case: WireCase) -> None:
    stream = stream_of(case)
    for end in range(len(stream) + 1):
        prefix = stream[:end]
        assert play([prefix]) == play([prefix[i : i + 1] for i in range(end)])


@pytest.mark.parametrize("case", CASES)
def test_every_cut_in_two_gives_the_same_events(case: WireCase) -> None:
    stream = stream_of(case) + encode(PingReq(), case.level)
    whole = play([stream])
    for cut in range(len(stream)):
        assert play([stream[:cut], stream[cut:]]) == whole


@pytest.mark.parametrize("case", CASES)
def test_wire_case_is_an_event_or_a_clean_end(case: WireCase) -> None:
    events, out, closing = play([stream_of(case)])
    if case.reason_code is not None:
        assert isinstance(events[-1], Violated)
        assert events[-1].reason_code == case.reason_code
    endings = [event for event in events if isinstance(event, ENDINGS)]
    assert endings == ([events[-1]] if closing else [])
    if out:
        assert all(decode(each, 5 if out[1] > 2 else case.level) for each in Splitter().feed(out))


@pytest.mark.parametrize("case", CASES)
def test_every_changed_byte_gives_events_or_a_clean_end(case: WireCase) -> None:
    stream = stream_of(case)
    for position in range(len(stream) - len(case.data), len(stream)):
        changed = bytearray(stream)
        for value in range(256):
            changed[position] = value
            events, _, closing = play([bytes(changed)])
            endings = [event for event in events if isinstance(event, ENDINGS)]
            assert endings == ([events[-1]] if closing else [])


@given(
    level=st.sampled_from(LEVELS),
    chunks=st.lists(
        st.sampled_from([case.data for case in WIRE_CASES]) | st.binary(max_size=20), min_size=1, max_size=8
    ),
    ends=st.sampled_from(["eof", "disconnect", "time"]),
)
def test_every_connection_ends_exactly_once(level: int, chunks: list[bytes], ends: str) -> None:
    connection = connected(level)
    events = [event for chunk in chunks for event in connection.receive_data(chunk, 1.0)]
    by_us = 0
    if ends == "disconnect":
        by_us = 0 if connection.closing else 1
        connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
    elif ends == "time":
        events += connection.check_time(1_000.0)
    events += connection.receive_eof(1_000.0)
    assert sum(isinstance(event, ENDINGS) for event in events) + by_us == 1
    assert connection.closing
    assert connection.deadline() is None
    assert connection.receive_data(connect_bytes(level), 1_001.0) == []
    assert connection.check_time(9_999.0) == []
    assert all(decode(each, level) for each in Splitter().feed(connection.data_to_send()))


# --- CONNECT ---


@pytest.mark.parametrize("level", LEVELS)
def test_connect_is_handed_on_and_answered_when_accepted(level: int) -> None:
    connect = Connect(level, "c|securemode=3|", False, 300, "dn&pk", b"secret", Will("gone", b"bye", 2, True))
    connection = ServerConnection(0.0)
    assert connection.level == 0
    assert connection.receive_data(encode(connect, level), 1.0) == [ConnectReceived(connect)]
    assert connection.level == level
    assert connection.data_to_send() == b""
    assert connection.accept(True, 2.0) == []
    (connack,) = sent(connection, level)
    assert isinstance(connack, ConnAck)
    assert (connack.session_present, connack.reason_code) == (level > 3, 0)
    assert not connection.closing


def test_connack_of_5_says_what_the_server_can_do() -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(5), 0.0)
    connection.accept(False, 0.0, assigned_client_id="id")
    expected: Properties = {
        "receive_maximum": 100,
        "maximum_qos": 1,
        "retain_available": 0,
        "maximum_packet_size": 1_048_576,
        "topic_alias_maximum": 16,
        "subscription_identifier_available": 0,
        "shared_subscription_available": 0,
        "assigned_client_identifier": "id",
    }
    assert sent(connection, 5) == [ConnAck(False, 0, expected)]


def test_maximum_packet_size_announced_is_the_one_kept() -> None:
    connection = ServerConnection(0.0, packet_bytes_max=1_000)
    connection.receive_data(connect_bytes(5), 0.0)
    connection.accept(False, 0.0)
    (connack,) = sent(connection, 5)
    assert isinstance(connack, ConnAck)
    assert connack.properties["maximum_packet_size"] == 1_000
    at, past = encode(Publish("t", bytes(993)), 5), encode(Publish("t", bytes(994)), 5)
    assert (len(at), len(past)) == (1_000, 1_001)
    assert len(connection.receive_data(at, 1.0)) == 1
    assert violated(connection.receive_data(past[:3], 1.0)) == ReasonCode.PACKET_TOO_LARGE


@pytest.mark.parametrize("data", [b"\xc0\x00", b"\x20\x02\x00\x00", b"GET / HTTP/1.1\r\n", b"\x00"])
def test_first_byte_other_than_that_of_connect_ends_the_connection_at_once(data: bytes) -> None:
    connection = ServerConnection(0.0)
    assert violated(connection.receive_data(data[:1], 0.0)) == ReasonCode.PROTOCOL_ERROR
    assert connection.closing
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("level", LEVELS)
def test_second_connect_is_a_violation(level: int) -> None:
    connection = connected(level)
    assert violated(connection.receive_data(connect_bytes(level), 1.0)) == ReasonCode.PROTOCOL_ERROR
    assert connection.closing
    assert sent(connection, level) == ([Disconnect(ReasonCode.PROTOCOL_ERROR)] if level == 5 else [])


def test_second_connect_of_an_unknown_level_is_a_violation_too() -> None:
    connection = connected(5)
    data = frame(0x10, text("MQTT"), b"\x07\x02\x00\x3c\x00\x00")
    assert violated(connection.receive_data(data, 1.0)) == ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("name", "level", "answer"),
    [
        ("MQTT", 0, b"\x20\x02\x00\x01"),
        ("MQTT", 3, b"\x20\x02\x00\x01"),
        ("MQTT", 6, b"\x20\x03\x00\x84\x00"),
        ("MQTT", 255, b"\x20\x03\x00\x84\x00"),
        ("MQTT", 0x84, b"\x20\x02\x00\x01"),
        ("MQTT", 0x85, b"\x20\x03\x00\x84\x00"),
        ("MQIsdp", 4, b"\x20\x02\x00\x01"),
        ("MQIsdp", 0x83, b"\x20\x02\x00\x01"),
        ("mqtt", 4, b""),
        ("AMQP", 5, b""),
    ],
)
def test_unsupported_level_is_refused_in_the_form_its_client_can_read(name: str, level: int, answer: bytes) -> None:
    connection = ServerConnection(0.0)
    data = frame(0x10, text(name), bytes((level,)), b"\x02\x00\x3c", text("c"))
    assert violated(connection.receive_data(data, 0.0)) == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    assert connection.data_to_send() == answer
    assert connection.closing


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (text("MQTT") + b"\x05\x03\x00\x3c\x00" + text("c"), b"\x20\x03\x00\x81\x00"),
        (text("MQTT") + b"\x05\x02\x00\x3c\x03\x21\x00\x00" + text("c"), b"\x20\x03\x00\x82\x00"),
        (text("MQTT") + b"\x05", b"\x20\x03\x00\x81\x00"),
        (text("MQTT") + b"\x04\x03\x00\x3c" + text("c"), b""),
        (text("MQIsdp") + b"\x03\x03\x00\x3c" + text("c"), b""),
        (text("MQTT"), b""),
    ],
)
def test_malformed_connect_is_answered_in_5_and_closed_without_a_word_before_it(body: bytes, answer: bytes) -> None:
    connection = ServerConnection(0.0)
    violated(connection.receive_data(frame(0x10, body), 0.0))
    assert connection.data_to_send() == answer
    assert connection.closing


def test_authentication_method_is_refused() -> None:
    connection = ServerConnection(0.0)
    data = connect_bytes(5, properties={"authentication_method": "SCRAM-SHA-1"})
    assert violated(connection.receive_data(data, 0.0)) == ReasonCode.BAD_AUTHENTICATION_METHOD
    assert sent(connection, 5) == [ConnAck(False, ReasonCode.BAD_AUTHENTICATION_METHOD)]


def test_connect_of_the_bound_passes_and_one_byte_more_is_refused_when_announced() -> None:
    def connect_of(size: int) -> bytes:
        fixed = len(encode(Connect(5, "", properties={"user_property": [("", "x" * 60_000)] * 8 + [("", "")]}), 5))
        filler = [("", "x" * 60_000)] * 8 + [("", "x" * (size - fixed))]
        data = encode(Connect(5, "", properties={"user_property": filler}), 5)
        assert len(data) == size
        return data

    at = ServerConnection(0.0).receive_data(connect_of(PENDING_BYTES_MAX), 0.0)
    assert [type(event) for event in at] == [ConnectReceived]
    past = ServerConnection(0.0).receive_data(connect_of(PENDING_BYTES_MAX + 1)[:5], 0.0)
    assert violated(past) == ReasonCode.PACKET_TOO_LARGE


# --- accept and refuse ---

TABLE = [
    (Refusal.UNSUPPORTED_PROTOCOL_LEVEL, 1, 0x84),
    (Refusal.CLIENT_ID_REJECTED, 2, 0x85),
    (Refusal.KEEP_ALIVE_OUT_OF_RANGE, 3, 0x83),
    (Refusal.UNAVAILABLE, 3, 0x88),
    (Refusal.RATE_EXCEEDED, 3, 0x9F),
    (Refusal.BAD_USER_NAME_OR_PASSWORD, 4, 0x86),
    (Refusal.NOT_AUTHORIZED, 5, 0x87),
]


def test_refusals_are_those_of_the_table() -> None:
    assert [row[0] for row in TABLE] == list(Refusal)


@pytest.mark.parametrize(("refusal", "return_code", "reason_code"), TABLE)
@pytest.mark.parametrize("level", LEVELS)
def test_refusal_is_one_connack_and_the_end(refusal: Refusal, return_code: int, reason_code: int, level: int) -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(level) + encode(Publish("t", b"x"), level), 0.0)
    connection.refuse(refusal)
    assert sent(connection, level) == [ConnAck(False, reason_code if level == 5 else return_code)]
    assert connection.closing
    assert connection.receive_eof(1.0) == []


@pytest.mark.parametrize("level", LEVELS)
def test_what_comes_behind_connect_waits_for_the_decision(level: int) -> None:
    behind: list[Packet] = [
        Subscribe(1, [Subscription("t", 1)]),
        Publish("t", b"1", 1, 2),
        PingReq(),
        Publish("t", b"2"),
    ]
    data = connect_bytes(level) + b"".join(encode(packet, level) for packet in behind)
    connection = ServerConnection(0.0)
    assert [type(event) for event in connection.receive_data(data, 0.0)] == [ConnectReceived]
    assert connection.receive_data(encode(Unsubscribe(3, ["t"]), level), 0.5) == []
    assert connection.data_to_send() == b""
    assert connection.accept(False, 1.0) == [
        SubscribeReceived(Subscribe(1, [Subscription("t", 1)])),
        PublishReceived("t", b"1", 1, 2, False, {}),
        PublishReceived("t", b"2", 0, 0, False, {}),
        UnsubscribeReceived(Unsubscribe(3, ["t"])),
    ]
    assert [type(packet) for packet in sent(connection, level)] == [ConnAck, PingResp]
    # half a packet that waited with the others goes on afterwards
    half = encode(Publish("t", b"3"), level)
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(level) + half[:3], 0.0)
    assert connection.accept(False, 1.0) == []
    assert connection.receive_data(half[3:], 2.0) == [PublishReceived("t", b"3", 0, 0, False, {})]


@pytest.mark.parametrize("level", LEVELS)
def test_violation_behind_connect_shows_when_it_is_accepted(level: int) -> None:
    connection = ServerConnection(0.0)
    data = connect_bytes(level) + encode(Publish("t", b"1"), level) + b"\x00\x00" + encode(Publish("t", b"2"), level)
    connection.receive_data(data, 0.0)
    assert not connection.closing
    events = connection.accept(False, 0.0)
    assert [type(event) for event in events] == [PublishReceived, Violated]
    assert connection.closing


@pytest.mark.parametrize("level", LEVELS)
def test_bytes_up_to_the_bound_wait_for_the_decision_and_one_more_is_a_violation(level: int) -> None:
    publish = encode(Publish("t", bytes(PAYLOAD_BYTES_MAX - 20)), level)
    pings = (PENDING_BYTES_MAX - len(publish)) // 2 * b"\xc0\x00"
    waiting = publish + pings + (PENDING_BYTES_MAX - len(publish) - len(pings)) * b"\xc0"
    assert len(waiting) == PENDING_BYTES_MAX
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(level), 0.0)
    for start in range(0, PENDING_BYTES_MAX, 65_536):
        assert connection.receive_data(waiting[start : start + 65_536], 0.0) == []
    other = ServerConnection(0.0)
    other.receive_data(connect_bytes(level) + waiting, 0.0)
    assert [type(event) for event in connection.accept(False, 1.0)] == [PublishReceived]
    assert len(sent(connection, level)) == 1 + len(pings) // 2
    assert violated(other.receive_data(b"\x00", 0.0)) == ReasonCode.QUOTA_EXCEEDED
    assert sent(other, level) == ([ConnAck(False, ReasonCode.QUOTA_EXCEEDED)] if level == 5 else [])


def test_accept_and_refuse_need_a_connect_to_decide() -> None:
    connection = ServerConnection(0.0)
    for _ in range(2):
        with pytest.raises(LocalError, match="no CONNECT to accept"):
            connection.accept(False, 0.0)
        with pytest.raises(LocalError, match="no CONNECT to refuse"):
            connection.refuse(Refusal.NOT_AUTHORIZED)
        if connection.level == 0:
            connection.receive_data(connect_bytes(4), 0.0)
            connection.accept(False, 0.0)


def test_session_cannot_be_present_with_clean_start() -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(4), 0.0)
    with pytest.raises(LocalError, match="session_present"):
        connection.accept(True, 0.0)


def test_client_too_small_for_the_connack_is_let_go() -> None:
    size = 24  # 5 bytes and seven properties in 19
    for maximum, is_over in ((size, False), (size - 1, True)):
        connection = ServerConnection(0.0)
        connection.receive_data(connect_bytes(5, properties={"maximum_packet_size": maximum}), 0.0)
        events = connection.accept(False, 0.0)
        assert connection.closing == is_over
        assert [type(packet) for packet in sent(connection, 5)] == [ConnAck]
        assert (violated(events) if is_over else events) == (ReasonCode.PACKET_TOO_LARGE if is_over else [])
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(5, properties={"maximum_packet_size": 4}), 0.0)
    violated(connection.accept(False, 0.0))
    assert connection.data_to_send() == b""


def test_nothing_can_be_sent_before_accept() -> None:
    connection = ServerConnection(0.0)
    for _ in range(2):
        with pytest.raises(LocalError):
            connection.publish(b"t", b"", 0)
        with pytest.raises(LocalError):
            connection.puback(1)
        with pytest.raises(LocalError):
            connection.suback(Subscribe(1, [Subscription("t")]), [0])
        with pytest.raises(LocalError):
            connection.unsuback(Unsubscribe(1, ["t"]), [0])
        assert connection.data_to_send() == b""
        connection.receive_data(connect_bytes(4), 0.0)


# --- time ---


def test_connect_must_come_in_time() -> None:
    connection = ServerConnection(100.0)
    assert connection.deadline() == 100.0 + CONNECT_WAIT_S
    connection.receive_data(connect_bytes(4)[:-1], 105.0)
    assert connection.deadline() == 100.0 + CONNECT_WAIT_S
    assert connection.check_time(109.9) == []
    assert connection.check_time(110.0) == [ConnectTimedOut()]
    assert connection.closing
    assert connection.data_to_send() == b""


def test_nothing_is_due_while_the_gateway_decides() -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(4), 1.0)
    assert connection.deadline() is None
    assert connection.check_time(1_000.0) == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_deadline_that_is_held_is_put_off_by_as_much(level: int) -> None:
    connection = connected(level, keep_alive_s=60)
    deadline_s = connection.deadline()
    assert deadline_s is not None
    connection.hold(1_000.0)
    assert connection.deadline() == deadline_s + 1_000.0
    assert connection.check_time(deadline_s + 999.0) == []
    assert connection.check_time(deadline_s + 1_000.0) != []


@pytest.mark.parametrize("level", LEVELS)
def test_keep_alive_runs_from_connack_and_from_every_packet(level: int) -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(connect_bytes(level, keep_alive_s=60), 0.0)
    connection.accept(False, 5.0)
    connection.data_to_send()
    assert connection.deadline() == 95.0
    assert connection.check_time(94.9) == []
    receive(connection, PingReq(), now=50.0)
    assert connection.deadline() == 140.0
    ping = encode(Publish("t", b""), level)
    connection.receive_data(ping[:2], 100.0)
    assert connection.deadline() == 140.0  # half a packet is none
    connection.receive_data(ping[2:], 101.0)
    assert connection.deadline() == 191.0
    connection.data_to_send()
    assert connection.check_time(191.0) == [KeepAliveExpired()]
    assert connection.closing
    assert sent(connection, level) == ([Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)] if level == 5 else [])


def test_keep_alive_of_0_never_expires() -> None:
    connection = connected(4, keep_alive_s=0)
    assert connection.deadline() is None
    assert connection.check_time(1e9) == []
    assert not connection.closing


def test_longest_keep_alive_is_kept() -> None:
    assert connected(4, keep_alive_s=65_535).deadline() == 98_302.5


# --- messages from the client ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("retain", [False, True])
def test_message_of_qos_0_is_handed_on_without_its_retain_flag(level: int, retain: bool) -> None:
    connection = connected(level)
    events = receive(connection, Publish("/a/灯", b"\x00\xff", retain=retain))
    assert events == [PublishReceived("/a/灯", b"\x00\xff", 0, 0, False, {})]
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("level", LEVELS)
def test_message_of_qos_1_waits_for_its_acknowledgement(level: int) -> None:
    connection = connected(level)
    assert receive(connection, Publish("t", b"x", 1, 7)) == [PublishReceived("t", b"x", 1, 7, False, {})]
    assert connection.unacknowledged == 1
    # the C SDK sends again after 5 s
    assert receive(connection, Publish("t", b"x", 1, 7, dup=True)) == [PublishReceived("t", b"x", 1, 7, True, {})]
    assert connection.unacknowledged == 1
    assert connection.data_to_send() == b""
    connection.puback(7, ReasonCode.NOT_AUTHORIZED)
    assert sent(connection, level) == [PubAck(7, ReasonCode.NOT_AUTHORIZED if level == 5 else 0)]
    assert connection.unacknowledged == 0
    connection.puback(7)
    assert sent(connection, level) == [PubAck(7)]


@pytest.mark.parametrize("level", LEVELS)
def test_payload_of_the_bound_passes_and_one_byte_more_is_told_apart(level: int) -> None:
    connection = connected(level)
    (event,) = receive(connection, Publish("t", bytes(PAYLOAD_BYTES_MAX)))
    assert isinstance(event, PublishReceived)
    events = receive(connection, Publish("t", bytes(PAYLOAD_BYTES_MAX + 1), 1, 9))
    assert events == [PublishTooLarge("t", PAYLOAD_BYTES_MAX + 1, 1, 9)]
    assert not connection.closing
    connection.puback(9, ReasonCode.QUOTA_EXCEEDED)
    assert connection.unacknowledged == 0
    assert receive(connection, Publish("t", b"x")) == [PublishReceived("t", b"x", 0, 0, False, {})]


@pytest.mark.parametrize("level", LEVELS)
def test_packet_of_1_mib_is_read_and_a_longer_one_ends_the_connection(level: int) -> None:
    overhead = len(encode(Publish("t", bytes(1_000_000)), level)) - 1_000_000
    payload_bytes = PACKET_BYTES_MAX - overhead
    connection = connected(level)
    assert receive(connection, Publish("t", bytes(payload_bytes))) == [PublishTooLarge("t", payload_bytes, 0, 0)]
    assert violated(receive(connection, Publish("t", bytes(payload_bytes + 1)))) == ReasonCode.PACKET_TOO_LARGE
    assert sent(connection, level) == ([Disconnect(ReasonCode.PACKET_TOO_LARGE)] if level == 5 else [])


@pytest.mark.parametrize("level", [3, 4])
def test_message_of_qos_2_is_delivered_once(level: int) -> None:
    connection = connected(level)
    event = PublishReceived("t", b"x", 2, 7, False, {})
    assert receive(connection, Publish("t", b"x", 2, 7)) == [event]
    assert sent(connection, level) == [PubRec(7)]
    assert receive(connection, Publish("t", b"x", 2, 7, dup=True)) == []
    assert sent(connection, level) == [PubRec(7)]
    for _ in range(2):
        assert receive(connection, PubRel(7)) == []
        assert sent(connection, level) == [PubComp(7)]
    # released: the id stands for a new message
    assert receive(connection, Publish("t", b"x", 2, 7)) == [event]


@pytest.mark.parametrize("level", [3, 4])
def test_messages_of_qos_2_up_to_the_bound_may_be_unreleased(level: int) -> None:
    connection = connected(level)
    for packet_id in range(1, QOS2_PENDING_MAX + 1):
        assert len(receive(connection, Publish("t", b"x", 2, packet_id))) == 1
    receive(connection, PubRel(5))
    assert len(receive(connection, Publish("t", b"x", 2, 1_000))) == 1
    assert receive(connection, Publish("t", b"x", 2, 1_000)) == []
    past = receive(connection, Publish("t", b"x", 2, 1_001))
    assert violated(past) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.parametrize("level", [3, 4])
def test_too_large_message_of_qos_2_is_told_once(level: int) -> None:
    connection = connected(level)
    message = Publish("t", bytes(PAYLOAD_BYTES_MAX + 1), 2, 7)
    assert receive(connection, message) == [PublishTooLarge("t", PAYLOAD_BYTES_MAX + 1, 2, 7)]
    assert receive(connection, message) == []
    assert sent(connection, level) == [PubRec(7), PubRec(7)]


def test_message_of_qos_2_ends_a_connection_of_5() -> None:
    connection = connected(5)
    assert violated(receive(connection, Publish("t", b"x", 2, 7))) == ReasonCode.QOS_NOT_SUPPORTED
    assert sent(connection, 5) == [Disconnect(ReasonCode.QOS_NOT_SUPPORTED)]


def test_release_of_a_message_that_5_never_sent_is_answered_so() -> None:
    connection = connected(5)
    assert receive(connection, PubRel(7)) == []
    assert sent(connection, 5) == [PubComp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)]


@pytest.mark.parametrize("level", LEVELS)
def test_unacknowledged_messages_of_a_client_are_counted_and_bounded_in_5(level: int) -> None:
    connection = connected(level)
    for packet_id in range(1, RECEIVE_MAXIMUM + 1):
        assert len(receive(connection, Publish("t", b"", 1, packet_id))) == 1
    assert connection.unacknowledged == RECEIVE_MAXIMUM
    connection.puback(1)
    assert len(receive(connection, Publish("t", b"", 1, 1))) == 1
    events = receive(connection, Publish("t", b"", 1, RECEIVE_MAXIMUM + 1))
    if level == 5:
        assert violated(events) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    else:
        assert connection.unacknowledged == RECEIVE_MAXIMUM + 1
        assert [type(event) for event in events] == [PublishReceived]


def test_properties_of_a_message_are_handed_on() -> None:
    connection = connected(5)
    properties: Properties = {
        "response_topic": "re",
        "correlation_data": b"\x01",
        "user_property": [(str(number), "v") for number in range(21)],
    }
    events = receive(connection, Publish("t", b"x", properties=properties))
    assert events == [PublishReceived("t", b"x", 0, 0, False, properties)]


def test_topic_alias_stands_for_the_topic_last_given_with_it() -> None:
    def message(topic: str, alias: int) -> Publish:
        return Publish(topic, b"x", properties={"topic_alias": alias})

    connection = connected(5)
    packets = [message("a", 1), message("b", 16), message("", 1), message("", 16), message("c", 1), message("", 1)]
    events = receive(connection, *packets)
    assert events == [PublishReceived(topic, b"x", 0, 0, False, {}) for topic in ("a", "b", "a", "b", "c", "c")]


@pytest.mark.parametrize(
    ("topic", "alias", "reason_code"),
    [
        ("t", TOPIC_ALIAS_MAX + 1, ReasonCode.TOPIC_ALIAS_INVALID),
        ("", TOPIC_ALIAS_MAX, ReasonCode.PROTOCOL_ERROR),
    ],
)
def test_topic_alias_past_the_maximum_or_unknown_is_a_violation(
    topic: str, alias: int, reason_code: ReasonCode
) -> None:
    connection = connected(5)
    assert receive(connection, Publish("t", b"", properties={"topic_alias": 1}))
    assert violated(receive(connection, Publish(topic, b"", properties={"topic_alias": alias}))) == reason_code
    assert sent(connection, 5) == [Disconnect(reason_code)]


def test_subscription_identifier_in_a_message_of_a_client_is_a_violation() -> None:
    connection = connected(5)
    message = Publish("t", b"", properties={"subscription_identifier": [1]})
    assert violated(receive(connection, message)) == ReasonCode.PROTOCOL_ERROR


# --- subscriptions, pings, goodbyes ---


@pytest.mark.parametrize(("level", "codes"), [(3, [1, 0x80]), (4, [1, 0x80]), (5, [1, 0x87])])
def test_subscribe_is_handed_on_and_answered(level: int, codes: list[int]) -> None:
    connection = connected(level)
    packet = Subscribe(9, [Subscription("a/+", 2), Subscription("$share/g/t" if level < 5 else "b", 0)])
    assert receive(connection, packet) == [SubscribeReceived(packet)]
    assert connection.data_to_send() == b""
    connection.suback(packet, [1, ReasonCode.NOT_AUTHORIZED])
    assert sent(connection, level) == [SubAck(9, codes)]
    with pytest.raises(LocalError, match="one code for each subscription"):
        connection.suback(packet, [0])


@pytest.mark.parametrize(("level", "codes"), [(3, []), (4, []), (5, [0, 0x11])])
def test_unsubscribe_is_handed_on_and_answered(level: int, codes: list[int]) -> None:
    connection = connected(level)
    packet = Unsubscribe(9, ["a", "b"])
    assert receive(connection, packet) == [UnsubscribeReceived(packet)]
    connection.unsuback(packet, [0, ReasonCode.NO_SUBSCRIPTION_EXISTED])
    assert sent(connection, level) == [UnsubAck(9, codes)]
    with pytest.raises(LocalError, match="one code for each topic filter"):
        connection.unsuback(packet, [0, 0, 0])


@pytest.mark.parametrize(
    ("packet", "reason_code"),
    [
        (
            Subscribe(1, [Subscription("t")], {"subscription_identifier": [1]}),
            ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        ),
        (Subscribe(1, [Subscription("$share/g/t")]), ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
    ],
)
def test_what_connack_said_is_not_available_is_a_violation(packet: Packet, reason_code: ReasonCode) -> None:
    connection = connected(5)
    assert violated(receive(connection, packet)) == reason_code
    assert sent(connection, 5) == [Disconnect(reason_code)]


@pytest.mark.parametrize("level", LEVELS)
def test_ping_is_answered_without_an_event(level: int) -> None:
    connection = connected(level)
    assert receive(connection, PingReq(), PingReq()) == []
    assert connection.data_to_send() == b"\xd0\x00\xd0\x00"
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("level", LEVELS)
def test_disconnect_ends_the_connection_and_what_follows_is_not_read(level: int) -> None:
    connection = connected(level)
    events = receive(connection, Publish("t", b"1"), Disconnect(), Publish("t", b"2"))
    assert events == [PublishReceived("t", b"1", 0, 0, False, {}), DisconnectReceived(0, None)]
    assert connection.closing
    assert receive(connection, Publish("t", b"3")) == []
    assert connection.receive_eof(2.0) == []
    assert connection.data_to_send() == b""


def test_disconnect_of_5_carries_reason_and_session_expiry() -> None:
    connection = connected(5, properties={"session_expiry_interval": 1})
    assert receive(connection, Disconnect(4, {"session_expiry_interval": 3_600})) == [DisconnectReceived(4, 3_600)]
    connection = connected(5)
    assert receive(connection, Disconnect(0, {"session_expiry_interval": 0})) == [DisconnectReceived(0, 0)]


def test_disconnect_cannot_keep_a_session_that_connect_gave_up() -> None:
    connection = connected(5)
    packet = Disconnect(0, {"session_expiry_interval": 1})
    assert violated(receive(connection, packet)) == ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "packet", [ConnAck(), PubRec(1), PubComp(1), SubAck(1, [0]), UnsubAck(1, [0]), PingResp(), Auth(0x18)]
)
def test_packet_that_is_not_for_a_client_to_send_is_a_violation(packet: Packet, level: int) -> None:
    connection = connected(level)
    data = b"\xf0\x00" if isinstance(packet, Auth) else encode(packet, level)
    events = connection.receive_data(data, 1.0)
    is_unknown = isinstance(packet, Auth) and level < 5
    assert violated(events) == (ReasonCode.MALFORMED_PACKET if is_unknown else ReasonCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("packets", [[], [connect_bytes(4)[:5]], [connect_bytes(4)], [b"", connect_bytes(4), b"\x30"]])
def test_end_of_the_bytes_is_a_lost_connection(packets: list[bytes]) -> None:
    connection = ServerConnection(0.0)
    for data in packets:
        connection.receive_data(data, 0.0)
    assert connection.receive_eof(1.0) == [ConnectionLost()]
    assert connection.closing
    assert connection.receive_eof(1.0) == []
    with pytest.raises(LocalError):
        connection.accept(False, 1.0)


# --- messages to the client ---


@pytest.mark.parametrize("level", LEVELS)
def test_message_to_a_client_is_one_packet(level: int) -> None:
    connection = connected(level)
    assert connection.publish("/灯".encode(), b"{}", 0, properties={"content_type": "json"}) is None
    assert connection.in_flight == 0
    assert connection.publish(b"t", b"x", 1) == 1
    assert connection.publish(b"t", b"x", 1, dup=True) == 2
    assert connection.in_flight == 2
    assert sent(connection, level) == [
        Publish("/灯", b"{}", properties={"content_type": "json"} if level == 5 else {}),
        Publish("t", b"x", 1, 1),
        Publish("t", b"x", 1, 2, dup=True),
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_acknowledgement_of_a_client_is_told_once(level: int) -> None:
    connection = connected(level)
    connection.publish(b"t", b"", 1)
    code = ReasonCode.NO_MATCHING_SUBSCRIBERS if level == 5 else 0
    assert receive(connection, PubAck(2), PubAck(1, code), PubAck(1, code)) == [PublishAcknowledged(1, code)]
    assert connection.in_flight == 0
    assert not connection.closing


@pytest.mark.parametrize("level", [3, 4])
def test_window_before_5_is_ours(level: int) -> None:
    connection = connected(level)
    for _ in range(IN_FLIGHT_MAX):
        connection.publish(b"t", b"", 1)
    connection.data_to_send()
    with pytest.raises(WindowFull):
        connection.publish(b"t", b"", 1)
    assert connection.data_to_send() == b""
    assert connection.publish(b"t", b"", 0) is None
    receive(connection, PubAck(50))
    assert connection.publish(b"t", b"", 1) == IN_FLIGHT_MAX + 1


@pytest.mark.parametrize(
    ("properties", "window"),
    [({"receive_maximum": 1}, 1), ({"receive_maximum": IN_FLIGHT_MAX + 1}, IN_FLIGHT_MAX), ({}, IN_FLIGHT_MAX)],
)
def test_window_of_5_is_the_clients_up_to_ours(properties: Properties, window: int) -> None:
    connection = connected(5, properties=properties)
    for _ in range(window):
        connection.publish(b"t", b"", 1)
    with pytest.raises(WindowFull):
        connection.publish(b"t", b"", 1)
    assert connection.in_flight == window


def test_packet_id_is_reused_only_when_it_is_acknowledged() -> None:
    connection = connected(4)
    assert connection.publish(b"t", b"", 1) == 1
    ids = []
    for _ in range(65_534):
        ids.append(connection.publish(b"t", b"", 1))
        receive(connection, PubAck(ids[-1] or 0))
    assert ids[-1] == 65_535
    # 1 is in flight still
    assert connection.publish(b"t", b"", 1) == 2
    receive(connection, PubAck(1))
    assert connection.publish(b"t", b"", 1) == 3
    assert all(after == before + 1 for before, after in pairwise(each or 0 for each in ids))


def test_packet_of_the_clients_maximum_is_sent_and_a_longer_one_is_not() -> None:
    connection = connected(5, properties={"maximum_packet_size": 100})
    fixed = len(encode(Publish("t", b"", 1, 1), 5))
    with pytest.raises(PacketTooLarge, match="101 bytes, over 100"):
        connection.publish(b"t", bytes(101 - fixed), 1)
    assert connection.in_flight == 0
    assert connection.data_to_send() == b""
    assert connection.publish(b"t", bytes(100 - fixed), 1) == 1
    assert len(connection.data_to_send()) == 100
    with pytest.raises(PacketTooLarge):
        connection.publish(b"t", bytes(200), 0)


def test_answer_over_the_clients_maximum_is_left_unsent() -> None:
    connection = connected(5, properties={"maximum_packet_size": 40})
    for count in (35, 36):
        packet = Subscribe(1, [Subscription("t")] * count)
        receive(connection, packet)
        connection.suback(packet, [0] * count)
        assert len(connection.data_to_send()) == (40 if count == 35 else 0)


def test_qos_2_and_a_topic_too_long_are_our_mistakes() -> None:
    connection = connected(4)
    with pytest.raises(LocalError, match="qos must be 0 or 1"):
        connection.publish(b"t", b"", 2)
    with pytest.raises(ValueError, match="topic must be up to"):
        connection.publish(b"t" * 65_536, b"", 1)
    assert connection.in_flight == 0
    assert connection.data_to_send() == b""


# --- the end, from our side ---


@pytest.mark.parametrize("level", LEVELS)
def test_disconnect_tells_a_client_of_5_why(level: int) -> None:
    connection = connected(level)
    connection.publish(b"t", b"x", 0)
    connection.disconnect(ReasonCode.SESSION_TAKEN_OVER)
    connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
    goodbye = [Disconnect(ReasonCode.SESSION_TAKEN_OVER)] if level == 5 else []
    assert sent(connection, level) == [Publish("t", b"x"), *goodbye]
    assert connection.closing
    assert connection.receive_eof(1.0) == []


@pytest.mark.parametrize("data", [b"", connect_bytes(5)])
def test_disconnect_before_connack_says_nothing(data: bytes) -> None:
    connection = ServerConnection(0.0)
    connection.receive_data(data, 0.0)
    connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
    assert connection.data_to_send() == b""
    assert connection.closing


def test_disconnect_needs_a_reason_that_disconnect_may_carry() -> None:
    connection = connected(5)
    with pytest.raises(ValueError, match="reason_code must be one of DISCONNECT"):
        connection.disconnect(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID)
    assert not connection.closing


@pytest.mark.parametrize("level", LEVELS)
def test_answers_to_events_before_the_end_are_dropped_without_complaint(level: int) -> None:
    subscribe, unsubscribe = Subscribe(1, [Subscription("t")]), Unsubscribe(2, ["t"])
    connection = connected(level)
    events = receive(connection, subscribe, unsubscribe, Publish("t", b"", 1, 3), Disconnect())
    assert len(events) == 4
    connection.suback(subscribe, [0])
    connection.unsuback(unsubscribe, [0])
    connection.puback(3)
    with pytest.raises(ConnectionOver):
        connection.publish(b"t", b"", 0)
    assert connection.data_to_send() == b""


def test_connection_at_rest_holds_no_buffers() -> None:
    connection = connected(4)
    assert not hasattr(connection, "__dict__")
    held = [value for value in gc.get_referents(connection) if value is not None]
    assert [each for each in held if isinstance(each, list | set | dict | bytes | bytearray)] == []


def test_events_are_plain_records() -> None:
    for event in (PublishReceived, PublishTooLarge, SubscribeReceived, Violated, *ENDINGS):
        assert dataclasses.is_dataclass(event)
        assert "__dict__" not in vars(event)


# --- the short way for the usual message ---


def take(connection: ServerConnection, data: bytes, now: float) -> list[Event]:
    """Take bytes as the gateway does."""
    message = connection.receive_message(data, now)
    if message is None:
        return connection.receive_data(data, now)
    topic, payload, packet_id = message
    return [PublishReceived(topic, payload, 1 if packet_id else 0, packet_id, False, {})]


def behaviour(connection: ServerConnection, events: list[Event]) -> tuple[object, ...]:
    return (
        events,
        connection.data_to_send(),
        connection.closing,
        connection.heard_at,
        connection.unacknowledged,
        connection.deadline(),
    )


publish_packets = st.builds(
    lambda level, topic, payload, qos, dup, retain, properties: encode(
        Publish(topic, payload, qos, 7 * qos, dup and qos > 0, retain, properties), level
    ),
    st.sampled_from(LEVELS),
    st.sampled_from(("a", "/sys/pk/dn/rrpc/response/1", "t\u00e9", "", "a/+", "#", "x" * 130)),
    st.binary(max_size=200) | st.just(b"x" * 17_000),
    st.sampled_from((0, 1, 2)),
    st.booleans(),
    st.booleans(),
    st.sampled_from((Properties(), Properties(topic_alias=1), Properties(content_type="t"))),
)
odd_bytes = st.sampled_from(
    (
        b"\xc0\x00",
        b"\x30\x00",
        b"\x30\x02\x00\x01",
        b"\x32\x03\x00\x01a",
        b"\x32\x05\x00\x01a\x00\x00",
        b"\x30\x03\x00\x01\xff",
        b"\x30\x03\x00\x01\x00",
        b"\x30\x83\x00\x00\x01a",
        b"\x30\x80\x80\x80\x80\x01",
        b"\x30",
        b"",
    )
)


@given(
    st.sampled_from(LEVELS),
    st.lists(publish_packets | odd_bytes, max_size=6),
    st.lists(st.integers(0, 300), max_size=6),
    st.booleans(),
)
def test_the_short_way_does_what_the_general_way_does(
    level: int, packets: list[bytes], cuts: list[int], is_whole: bool
) -> None:
    stream = b"".join(packets)
    places = sorted({min(cut, len(stream)) for cut in (0, len(stream), *cuts)})
    pieces = packets if is_whole else [stream[start:end] for start, end in pairwise(places)]
    short, general = connected(level), connected(level)
    for now, piece in enumerate(pieces, 1):
        assert behaviour(short, take(short, piece, now)) == behaviour(general, general.receive_data(piece, now))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_usual_message_goes_the_short_way_up_to_its_bound(level: int, qos: int) -> None:
    def packet(size: int) -> bytes:
        around = 3 + 2 + 1 + (2 if qos else 0) + (1 if level == 5 else 0)
        return encode(Publish("t", b"x" * (size - around), qos, 9 * qos), level)

    small = encode(Publish("t", b"", qos, 9 * qos), level)
    assert connected(level).receive_message(small, 5.0) == ("t", b"", 9 * qos)
    at, past = packet(MESSAGE_BYTES_USUAL), packet(MESSAGE_BYTES_USUAL + 1)
    connection = connected(level)
    message = connection.receive_message(at, 5.0)
    assert message is not None
    assert (message[0], message[2], len(at)) == ("t", 9 * qos, MESSAGE_BYTES_USUAL)
    assert connection.heard_at == 5.0
    assert connected(level).receive_message(past, 5.0) is None


def test_the_short_way_is_for_an_open_connection_within_its_bounds() -> None:
    message = encode(Publish("t", b"x" * 90), 4)
    assert ServerConnection(0.0).receive_message(message, 1.0) is None
    over = connected(4)
    over.receive_eof(1.0)
    assert over.receive_message(message, 1.0) is None
    unfinished = connected(4)
    unfinished.receive_data(message[:5], 1.0)
    assert unfinished.receive_message(message, 1.0) is None
    small = ServerConnection(0.0, packet_bytes_max=len(message) - 1)
    small.receive_data(connect_bytes(4), 0.0)
    small.accept(False, 0.0)
    assert small.receive_message(message, 1.0) is None
    full = connected(5)
    for packet_id in range(1, RECEIVE_MAXIMUM + 1):
        assert full.receive_message(encode(Publish("t", b"", 1, packet_id), 5), 1.0) is not None
    assert full.receive_message(encode(Publish("t", b"", 1, 101), 5), 1.0) is None
    assert full.unacknowledged == RECEIVE_MAXIMUM


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("payload_bytes", [0, 100, 509, 510, 511, 512, 513, 20_000])
def test_a_message_sent_at_once_is_the_message_published(level: int, payload_bytes: int) -> None:
    payload = b"x" * payload_bytes
    published = connected(level)
    published.publish("/t\u00e9".encode(), payload, 0)
    expected = published.data_to_send()
    assert connected(level).send_message("/t\u00e9", payload) == expected
    assert decode(next(Splitter().feed(expected)), level) == Publish("/t\u00e9", payload)
    behind = connected(level)
    behind.receive_data(encode(PingReq(), level), 1.0)
    assert behind.send_message("/t\u00e9", payload) == encode(PingResp(), level) + expected


def test_a_message_sent_at_once_keeps_to_the_packet_size_of_the_client() -> None:
    connection = connected(5, properties={"maximum_packet_size": 100})
    assert len(connection.send_message("t", b"x" * 94)) == 100
    with pytest.raises(PacketTooLarge):
        connection.send_message("t", b"x" * 95)
    assert connection.data_to_send() == b""
    connection.receive_eof(1.0)
    with pytest.raises(ConnectionOver):
        connection.send_message("t", b"")
    with pytest.raises(LocalError):
        ServerConnection(0.0).send_message("t", b"")

import asyncio
import base64
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request, TextMessage

from linkstead.config import Address
from linkstead.mqtt.gateway import WRITE_BUFFER_BYTES_MAX
from linkstead.mqtt.packets import Packet, PingReq, PingResp, Publish, decode, encode
from linkstead.mqtt.websocket import HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX, HandshakeRefused, WebSocket
from tests.rig import LAMP, Certificate, Rig, RigStarter
from tests.wire import WAIT_S, DeviceClient, answer_topic, stages, until

KEY = base64.b64encode(bytes(16)).decode()
UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}


def handshake(*, version: str = "HTTP/1.1", method: str = "GET", **changed: str | None) -> bytes:
    """A request; `changed` gives headers other values, or takes them away, their names with `_`."""
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"{method} /mqtt {version}\r\n{''.join(lines)}\r\n".encode("latin-1")


def frame(data: bytes, *, opcode: int = 2, is_last: bool = True, is_masked: bool = True) -> bytes:
    """A frame of a client, with a mask of zeros."""
    head = bytes([opcode | 0x80 * is_last])
    if len(data) < 126:
        head += bytes([len(data) | 0x80 * is_masked])
    elif len(data) < 65_536:
        head += bytes([126 | 0x80 * is_masked]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([127 | 0x80 * is_masked]) + len(data).to_bytes(8, "big")
    return head + (bytes(4) if is_masked else b"") + data


def opened() -> WebSocket:
    """A WebSocket after its handshake."""
    websocket = WebSocket()
    assert websocket.receive_data(handshake()) == b""
    assert websocket.is_open
    websocket.data_to_send()
    return websocket


def test_handshake_is_answered_with_the_sub_protocol() -> None:
    websocket = WebSocket()
    websocket.receive_data(handshake())
    head, _, rest = websocket.data_to_send().partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    assert status.startswith("http/1.1 101 ")
    assert "sec-websocket-protocol: mqtt" in lines
    assert not any(line.startswith("sec-websocket-extensions") for line in lines)
    assert rest == b""
    assert websocket.data_to_send() == b""


@pytest.mark.parametrize(("offered", "chosen"), [("mqttv3.1", b"mqttv3.1"), ("soap, mqtt", b"mqtt")])
def test_sub_protocol_is_one_that_is_offered(offered: str, chosen: bytes) -> None:
    websocket = WebSocket()
    websocket.receive_data(handshake(Sec_WebSocket_Protocol=offered))
    assert b"rotocol: " + chosen + b"\r\n" in websocket.data_to_send()


def test_what_comes_behind_the_handshake_is_taken_however_it_is_cut() -> None:
    data = handshake() + frame(b"\x10one") + frame(b"tw", is_last=False) + frame(b"o", opcode=0)
    for size in (1, 3, 100, len(data)):
        websocket = WebSocket()
        taken = b"".join(websocket.receive_data(data[at : at + size]) for at in range(0, len(data), size))
        assert taken == b"\x10onetwo"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"G\x00\r\n\r\n",
        handshake(method="GETS"),
        handshake(Upgrade="h2c"),
        handshake(Connection="close"),
        handshake(Sec_WebSocket_Key=None),
        handshake(Sec_WebSocket_Version="8"),
        handshake(Sec_WebSocket_Protocol=None),
        handshake(Sec_WebSocket_Protocol="MQTT"),
        handshake(Sec_WebSocket_Protocol="mqtt\xff"),
        handshake(Connection="\xff"),
        handshake(Host=None),
        handshake(Host="xn--\xff"),
    ],
)
def test_what_is_no_handshake_for_mqtt_is_refused(request_bytes: bytes) -> None:
    websocket = WebSocket()
    with pytest.raises(HandshakeRefused):
        websocket.receive_data(request_bytes)
    assert not websocket.is_open
    assert websocket.close() == websocket.encode(b"x") == b""


def test_handshake_has_a_bound() -> None:
    filler = HANDSHAKE_BYTES_MAX - len(handshake(Cookie=""))
    longest = handshake(Cookie="c" * filler)
    assert len(longest) == HANDSHAKE_BYTES_MAX
    for size in (len(longest), 1_000):
        websocket = WebSocket()
        for at in range(0, len(longest), size):
            websocket.receive_data(longest[at : at + size])
        assert websocket.is_open
    with pytest.raises(HandshakeRefused, match="more than"):
        WebSocket().receive_data(handshake(Cookie="c" * (filler + 1)))
    endless = WebSocket()
    endless.receive_data(longest[: HANDSHAKE_BYTES_MAX - 1].replace(b"\r\n\r\n", b""))
    with pytest.raises(HandshakeRefused, match="more than"):
        endless.receive_data(b"cccccccc")


def test_message_has_a_bound_over_all_its_frames() -> None:
    half = bytes(MESSAGE_BYTES_MAX // 2)
    websocket = opened()
    for _ in range(2):
        assert websocket.receive_data(frame(half, is_last=False)) == half
        assert websocket.receive_data(frame(half, opcode=0)) == half
    assert websocket.is_open
    websocket.receive_data(frame(half, is_last=False))
    websocket.receive_data(frame(half, opcode=0, is_last=False))
    websocket.receive_data(frame(b"x", opcode=0))
    assert websocket.is_over
    assert websocket.data_to_send()[2:4] == (1009).to_bytes(2, "big")


def test_frame_that_announces_too_much_is_cut_at_the_bound() -> None:
    websocket = opened()
    assert websocket.receive_data(b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4)) == b""
    assert len(websocket.receive_data(bytes(MESSAGE_BYTES_MAX))) == MESSAGE_BYTES_MAX
    assert websocket.is_open
    websocket.receive_data(b"x")
    assert websocket.is_over


def test_ping_is_answered_between_messages_and_within_one() -> None:
    websocket = opened()
    assert websocket.receive_data(frame(b"a", is_last=False) + frame(b"?", opcode=9) + frame(b"b", opcode=0)) == b"ab"
    assert websocket.data_to_send() == b"\x8a\x01?"
    assert websocket.receive_data(frame(b"", opcode=10)) == b""
    assert websocket.data_to_send() == b""


def test_close_is_answered_and_what_came_before_it_is_taken() -> None:
    websocket = opened()
    assert websocket.receive_data(frame(b"\xe0\x00") + frame(b"\x03\xe8", opcode=8) + frame(b"x")) == b"\xe0\x00"
    assert (websocket.is_open, websocket.is_over, websocket.fault) == (False, True, "")
    assert websocket.data_to_send() == b"\x88\x02\x03\xe8"
    assert websocket.receive_data(frame(b"y")) == websocket.encode(b"z") == websocket.close() == b""


def test_server_closes_once() -> None:
    websocket = opened()
    assert websocket.close() == b"\x88\x02\x03\xe8"
    assert websocket.close() == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"text", opcode=1), 1003),
        (frame(b"x", is_masked=False), 1002),
        (frame(b"x", opcode=3), 1002),
        (frame(b"x", opcode=0), 1002),
        (frame(b"x", opcode=0x42), 1002),
        (frame(bytes(126), opcode=9), 1002),
        (frame(b"x", opcode=9, is_last=False), 1002),
        (frame(b"\xff", opcode=1), 1007),
    ],
)
def test_broken_rule_ends_it_with_its_code(data: bytes, code: int) -> None:
    websocket = opened()
    assert websocket.receive_data(frame(b"before") + data) == b"before"
    assert websocket.is_over
    assert websocket.fault
    assert websocket.data_to_send()[2:4] == code.to_bytes(2, "big")


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_taken_refused_or_ended(data: bytes, size: int) -> None:
    websocket = opened()
    for at in range(0, len(data), size):
        websocket.receive_data(data[at : at + size])
        if websocket.is_over:
            break
    else:
        assert websocket.is_open
    fresh = WebSocket()
    try:
        fresh.receive_data(b"G" + data + b"\r\n\r\n")
    except HandshakeRefused:
        assert not fresh.is_open


# --- in the server ---


class WebSocketDevice(DeviceClient):
    """A device whose MQTT goes over WebSocket."""

    websocket = WSConnection(ConnectionType.CLIENT)

    async def open(self, tls: ssl.SSLContext | None = None, *, receive_bytes: int | None = None) -> None:
        await super().open(tls, receive_bytes=receive_bytes)
        self.websocket = WSConnection(ConnectionType.CLIENT)
        self.websocket_events: list[Event] = []
        self.send_event(Request(host="localhost", target="/mqtt", subprotocols=["mqtt"]))
        accepted = await self.next_event()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "mqtt"

    def send_event(self, event: Event) -> None:
        self.writer.write(self.websocket.send(event))

    def send_bytes(self, data: bytes) -> None:
        self.send_event(BytesMessage(data))

    async def next_event(self) -> Event:
        async with asyncio.timeout(WAIT_S):
            while not self.websocket_events:
                data = await self.reader.read(65_536)
                assert data, "the server closed the connection"
                self.websocket.receive_data(data)
                self.websocket_events += self.websocket.events()
        return self.websocket_events.pop(0)

    async def receive(self) -> Packet:
        while not self._received:
            event = await self.next_event()
            assert isinstance(event, BytesMessage)
            self._received += [decode(each, self.level) for each in self._splitter.feed(bytes(event.data))]
        return self._received.pop(0)

    async def expect_closed(self) -> None:
        assert isinstance(await self.next_event(), CloseConnection)
        await super().expect_closed()


def websocket_device(rig: Rig) -> WebSocketDevice:
    plain = rig.device()
    device = WebSocketDevice(plain.address, plain.key, plain.device_secret)
    rig.devices.append(device)
    return device


async def answer_one_call(rig: Rig, device: DeviceClient) -> None:
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    answer = await call
    assert answer["RrpcCode"] == "SUCCESS"
    assert "written" in stages(await rig.app().call_record(answer["MessageId"]))


@pytest.mark.asyncio
async def test_a_device_over_websocket_answers_and_leaves(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.connect()
    await answer_one_call(rig, device)
    await device.expect_silence()
    await device.disconnect()
    await until(lambda: not rig.is_online)


@pytest.mark.asyncio
async def test_one_port_takes_all_four(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    for device in (rig.device(), websocket_device(rig)):
        for tls in (None, certificate.trust):
            await device.connect(tls=tls)
            await answer_one_call(rig, device)
            await device.disconnect()


@pytest.mark.asyncio
async def test_the_port_for_tls_alone_takes_it_over_tls(start_rig: RigStarter, certificate: Certificate) -> None:
    files = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    settings: dict[str, Any] = {**files, "mqtts": Address("127.0.0.1", 0)}
    rig = await start_rig(**settings)
    assert rig.endpoints.mqtts is not None
    device = websocket_device(rig)
    device.address = rig.endpoints.mqtts
    await device.connect(tls=certificate.trust)
    await answer_one_call(rig, device)


@pytest.mark.asyncio
async def test_a_device_that_closes_its_websocket_is_offline(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.connect()
    device.send_event(CloseConnection(1000))
    await device.expect_closed()
    await until(lambda: not rig.is_online)
    answer = await rig.app().rrpc(LAMP)
    assert answer["RrpcCode"] == "HALFCONN"


@pytest.mark.asyncio
async def test_packets_are_cut_and_joined_as_frames_come(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.connect()
    both = encode(PingReq(), device.level) * 2
    device.send_bytes(both[:1])
    device.send_bytes(both[1:])
    for _ in range(2):
        await device.expect(PingResp)


@pytest.mark.asyncio
async def test_a_ping_of_websocket_is_answered_and_is_no_packet(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.connect()
    (connection,) = rig.server.gateway.connections
    heard_s = connection.heard_s
    rig.clock.advance(1.0)
    device.send_event(Ping(b"?"))
    assert await device.next_event() == Pong(b"?")
    assert connection.heard_s == heard_s


@pytest.mark.asyncio
async def test_text_is_refused_and_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    device = websocket_device(rig)
    await device.connect()
    device.send_event(TextMessage("text"))
    await device.expect_closed()
    await until(lambda: not rig.is_online)
    assert "WebSocket ended: text, where MQTT is binary" in caplog.messages


@pytest.mark.asyncio
async def test_a_frame_that_breaks_a_rule_before_the_device_is_let_in_lets_nobody_in(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.open()
    device.writer.write(frame(encode(device.connect_packet(), device.level)) + frame(b"text", opcode=1))
    await device.expect_closed()
    assert not rig.is_online


@pytest.mark.asyncio
async def test_what_comes_with_the_closing_frame_is_taken_and_not_answered(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.connect()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    ntp = f"/ext/ntp/{LAMP.product_key}/{LAMP.device_name}/request"
    packets = (Publish(answer_topic(request.topic), b"pong"), Publish(ntp, b'{"deviceSendTime":"1"}'))
    data = b"".join(encode(packet, device.level) for packet in packets)
    device.writer.write(frame(data) + frame(b"\x03\xe8", opcode=8))
    assert (await call)["RrpcCode"] == "SUCCESS"
    await device.expect_closed()
    await until(lambda: not rig.is_online)


@pytest.mark.asyncio
async def test_a_websocket_without_its_sub_protocol_is_refused_like_http(rig: Rig) -> None:
    device = rig.device()
    await device.open()
    device.send_bytes(handshake(Sec_WebSocket_Protocol="soap"))
    assert (await device.reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.asyncio
async def test_a_handshake_that_does_not_end_is_closed_at_the_time_for_connect(rig: Rig) -> None:
    device = rig.device()
    await device.open()
    device.send_bytes(b"GET /mqtt HTTP/1.1\r\n")
    await until(lambda: any(each._websocket for each in rig.server.gateway.connections))
    rig.clock.advance(120.0)
    await device.expect_closed()


@pytest.mark.asyncio
async def test_a_call_to_a_websocket_that_does_not_read_is_written_when_it_does(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.open(receive_bytes=4_096)
    await device.connect()
    device.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = rig.server.gateway.connections
    transport = connection._transport
    assert transport is not None
    calls: list[asyncio.Future[dict[str, object]]] = []
    # Until the machine takes no more: the last call waits with the server.
    while transport.get_write_buffer_size() == 0:
        calls.append(asyncio.ensure_future(rig.app().rrpc(LAMP, bytes(131_072), Timeout="8000")))
        await until(lambda: rig.server.router.pending_count == len(calls))
        assert len(calls) < 200
    assert "written" not in [moment.stage for moment in rig.calls()[0].timeline]
    device.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in calls:
        await device.answer_call(b"pong")
    for call in calls:
        assert (await call)["RrpcCode"] == "SUCCESS"
    assert all("written" in [moment.stage for moment in call.timeline] for call in rig.calls())


@pytest.mark.asyncio
async def test_a_flood_of_pings_that_reads_no_answer_is_read_no_more(rig: Rig) -> None:
    device = websocket_device(rig)
    await device.open(receive_bytes=4_096)
    await device.connect()
    device.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = rig.server.gateway.connections
    transport = connection._transport
    assert transport is not None
    pings = frame(bytes(125), opcode=9) * 500
    while transport.is_reading():
        device.writer.write(pings)
        await asyncio.sleep(0)
    assert transport.get_write_buffer_size() < 2 * WRITE_BUFFER_BYTES_MAX
    device.reset()
    await until(lambda: not rig.is_online)

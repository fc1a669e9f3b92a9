"""The connections of devices with faults on them: what the server writes and reads passes through here.

A connection of the gateway stands behind a `FaultyConnection`, which is the protocol to the real transport and the
transport to the gateway's connection. So the server is deceived by nothing but what a network or a device can do, and
its records stay true: a message that is lost on the way was `written`.

Messages are looked at on plain MQTT, over TLS and inside a WebSocket. Its frames keep their order and their bounds: a
message that is changed changes its frame, and what comes by a timer is a frame of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Final, cast

import msgspec

from linkstead.alink import credentials, topics
from linkstead.clock import Timer
from linkstead.faults.frames import Frame as WebSocketFrame
from linkstead.faults.frames import Frames, make_message
from linkstead.faults.planting import Planting
from linkstead.faults.rules import Fault, Kind, Occasion, Rule
from linkstead.mqtt.codes import PacketType, Refusal
from linkstead.mqtt.gateway import WEBSOCKET_FIRST_BYTE, DeviceConnection
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    MQTT_5,
    ConnAck,
    Connect,
    Disconnect,
    Frame,
    Malformed,
    Publish,
    Splitter,
    connect_level,
    decode,
    encode,
)
from linkstead.registry import DeviceKey, Origin, Registry
from linkstead.sessions import LinkBroken

log = logging.getLogger(__name__)

HELD_MAX: Final = 1_000
"""Messages held back on one connection; what comes then passes at once."""

SLOW_TICK_S: Final = 0.1
"""How often a slow reader takes a part."""

MALFORMED: Final = b"\xff\xfe{ no answer"
"""What takes the place of an answer that is to be malformed: neither UTF-8 nor JSON."""

ALINK_ID_OF_NONE: Final = 2_147_483_647
"""What a reply names that is to name no call: the last id there is."""

MQTT_FIRST_BYTE: Final = 0x10

UPGRADED: Final = b"HTTP/1.1 101 "
"""How the answer begins with which a WebSocket is open."""


class FaultyTransport(asyncio.Transport):
    """What the gateway's connection writes to."""

    def __init__(self, connection: "FaultyConnection", transport: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._transport = transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, if nothing acts on it."""
        self._connection.write(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left, those among them that a slow reader has not taken."""
        return self._transport.get_write_buffer_size() + self._connection.unread_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._transport.is_closing()

    def close(self) -> None:
        """See asyncio; what a slow reader has not taken is lost."""
        self._transport.close()

    def abort(self) -> None:
        """See asyncio."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """See asyncio."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """See asyncio."""
        return self._transport.is_reading()


class Packets:
    """Cuts one direction of a connection into packets.

    Attributes:
        unfinished: what came and belongs to no packet yet.
    """

    def __init__(self) -> None:
        self.unfinished = bytearray()
        self._splitter = Splitter()

    def cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The packets that end in `data`, each with its first byte. Raises Malformed; `unfinished` is the rest then."""
        self.unfinished += data
        start = 0
        last: bytes | None = None
        for head, buffer, _, end in self._splitter.feed(data):
            if buffer is not last:
                start, last = 0, buffer
            packet = buffer[start:end]
            start = end
            del self.unfinished[: len(packet)]
            yield head, packet


class Carrier:
    """The WebSocket around a connection's MQTT.

    Attributes:
        incoming: None once frames are passed as they are.
        held: a frame that waits until it is decided what becomes of it.
        is_inside: the device has begun a message whose last frame has not come.
    """

    def __init__(self) -> None:
        self.incoming: Frames | None = Frames()
        self.outgoing = Frames()
        self.held: WebSocketFrame | None = None
        self.is_inside = False

    def next_frame(self) -> WebSocketFrame | None:
        """The frame that waited, or the next that came."""
        held, self.held = self.held, None
        if held is not None:
            return held
        return self.incoming.take_frame() if self.incoming is not None else None


class FaultyConnection(asyncio.Protocol):
    """One connection, between its socket and the gateway.

    Args:
        wire: what all share.
        inner: the gateway's connection.
    """

    def __init__(self, wire: "Wire", inner: DeviceConnection) -> None:
        self._wire = wire
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        # None where they are passed as they are.
        self._outgoing: Packets | None = Packets()
        self._incoming: Packets | None = Packets()
        self._websocket: Carrier | None = None
        # Until it is known whose connection it is: what MQTT came, and what waits on whatever carries it.
        self._is_admitted = False
        self._is_deciding = False
        self._first = b""
        self._waiting = b""
        self._is_dead = False
        self._level = MQTT_3_1_1
        self._held_requests: list[bytes] = []
        self._held_answers: list[bytes] = []
        self._timers: set[Timer] = set()
        self._slow: Fault | None = None
        self._unread = bytearray()
        self._is_blocked = False

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._wire.connections[self] = None
        self._inner.connection_made(FaultyTransport(self, self._transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._transport = None
        self._wire.connections.pop(self, None)
        for timer in self._timers:
            timer.cancel()
        self._unread.clear()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Bytes wait in the socket."""
        self._is_blocked = True
        if not self._unread:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """They have left."""
        self._is_blocked = False
        if not self._unread:
            self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        """The device sends no more."""
        return True if self._is_dead else self._inner.eof_received()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the device."""
        if self._is_dead:
            return
        if not self._is_admitted and self._websocket is None and not self._waiting and data[:1] == WEBSOCKET_FIRST_BYTE:
            self._websocket = Carrier()
        if self._websocket is not None:
            self._receive_frames(self._websocket, data)
        elif self._is_admitted:
            self._hand_in(self._receive(data))
        else:
            self._waiting += data
            if self._is_known(data):
                self._admit()

    def _is_known(self, data: bytes) -> bool:
        """Take the first bytes of MQTT. True once it is said whose they are, and nothing is to be decided about it."""
        if self._is_deciding:
            return False
        self._first += data
        if self._first and self._first[0] != MQTT_FIRST_BYTE:
            # Something that is not cut into packets.
            self._give_up_looking()
            return True
        try:
            frames = list(Splitter().feed(self._first))
        except Malformed:
            # That is the gateway's to say.
            self._give_up_looking()
            return True
        if not frames:
            return False
        self._first = b""
        self._is_deciding = self._begin(frames[0])
        return not self._is_deciding

    def _begin(self, frame: Frame) -> bool:
        """The CONNECT is there. True where it is to be decided whether it is refused."""
        self._level = connect_level(frame) or self._level
        if not self._wire.planting.book.has(Occasion.CONNECT):
            return False
        try:
            connect = decode(frame, self._level)
            key = credentials.parse_user_name(connect.user_name or "") if isinstance(connect, Connect) else None
        except (Malformed, credentials.BadUserName):
            key = None
        if key is not None:
            self._wire.start(self._decide(key))
        return key is not None

    async def _decide(self, key: DeviceKey) -> None:
        product = await self._wire.registry.find_product(key.product_key)
        faults = self._wire.planting.book.find(Occasion.CONNECT, product.account_id, key) if product else []
        if not faults:
            self._admit()
            return
        log.info("CONNECT refused by a planted fault", extra={"device": str(key)})
        refusal = Refusal.UNAVAILABLE
        code = refusal.reason_code if self._level == MQTT_5 else refusal.return_code
        self._send(encode(ConnAck(reason_code=code), self._level))
        self._is_dead = True
        if self._transport is not None:
            self._transport.close()

    def _admit(self) -> None:
        self._is_admitted = True
        self._is_deciding = False
        waiting, self._waiting = self._waiting, b""
        if self._websocket is not None:
            self._receive_frames(self._websocket, b"")
        else:
            self._hand_in(self._receive(waiting))

    def _give_up_looking(self) -> None:
        self._outgoing = self._incoming = None

    def _receive(self, data: bytes) -> bytes:
        """What of the device's bytes of MQTT comes in now."""
        packets = self._incoming
        if packets is None:
            return data
        passed = bytearray()
        try:
            for packet in self._pass_in(packets, data):
                passed += packet
        except Malformed:
            # As it is from here on: that is the gateway's to say.
            self._give_up_looking()
            passed += packets.unfinished
        return bytes(passed)

    def _receive_frames(self, carrier: "Carrier", data: bytes) -> None:
        """Take bytes of a WebSocket; what was cut from them before is kept."""
        frames = carrier.incoming
        if frames is None:
            self._hand_in(data)
            return
        frames.feed(data)
        if not self._is_deciding:
            self._hand_in(b"".join(self._pass_frames(carrier, frames)))

    def _pass_frames(self, carrier: "Carrier", frames: Frames) -> Iterator[bytes]:
        try:
            if not frames.is_open:
                yield frames.take_head() or b""
            while frames.is_open and (frame := carrier.next_frame()) is not None:
                if not self._is_admitted and frame.is_binary:
                    self._is_admitted = self._is_known(frame.payload)
                    if self._is_deciding:
                        carrier.held = frame
                        return
                yield self._receive_frame(carrier, frame)
        except ValueError:
            # That too is the gateway's to say.
            carrier.incoming = None
            yield frames.take_rest()

    def _receive_frame(self, carrier: "Carrier", frame: WebSocketFrame) -> bytes:
        if not frame.is_binary:
            return frame.data
        carrier.is_inside = not frame.is_last
        payload = self._receive(frame.payload)
        return frame.data if payload == frame.payload else frame.change(payload)

    # what the gateway's connection sends

    def write(self, data: bytes) -> None:
        """Send bytes of the server: whole packets, in whole frames where it is a WebSocket."""
        if self._is_dead:
            return
        if self._websocket is None:
            self._send_bytes(self._leave(data))
        else:
            self._send_bytes(self._leave_in_frames(self._websocket, data))

    def _leave(self, data: bytes) -> bytes:
        """What of the server's packets leaves now."""
        if self._outgoing is None or not self._wire.planting.looks_at_messages:
            return data
        return b"".join(self._pass_out(self._outgoing, data))

    def _leave_in_frames(self, carrier: "Carrier", data: bytes) -> bytes:
        frames = carrier.outgoing
        frames.feed(data)
        left = bytearray()
        if not frames.is_open:
            if not data.startswith(UPGRADED):
                return frames.take_rest()
            left += frames.take_head() or b""
        while (frame := frames.take_frame()) is not None:
            payload = self._leave(frame.payload) if frame.is_binary else frame.payload
            if payload == frame.payload:
                left += frame.data
            elif payload:
                left += frame.change(payload)
        return bytes(left)

    @property
    def unread_bytes(self) -> int:
        """What a slow reader has not taken."""
        return len(self._unread)

    @property
    def origin(self) -> Origin | None:
        """The device, once it has connected."""
        try:
            return self._inner.origin
        except LinkBroken:
            return None

    def _send(self, packets: bytes) -> None:
        """Have packets leave."""
        if packets and self._websocket is not None:
            packets = make_message(packets, is_masked=False)
        self._send_bytes(packets)

    def _send_bytes(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        if self._slow is None:
            transport.write(data)
            return
        if not self._unread and not self._is_blocked:
            self._inner.pause_writing()
        self._unread += data

    def _pass_out(self, packets: "Packets", data: bytes) -> Iterator[bytes]:
        for head, packet in packets.cut(data):
            if head >> 4 == PacketType.PUBLISH:
                yield from self._pass_request(packet)
            else:
                yield packet

    def _pass_in(self, packets: "Packets", data: bytes) -> Iterator[bytes]:
        for head, packet in packets.cut(data):
            if head >> 4 == PacketType.PUBLISH and self._wire.planting.looks_at_messages:
                yield from self._pass_answer(packet)
            else:
                yield packet

    # requests

    def _pass_request(self, packet: bytes) -> Iterator[bytes]:
        publish = _read_publish(packet, self._level)
        origin = self.origin
        planted = None
        if publish is not None and origin is not None:
            planted = self._wire.planting.meet_request(origin.key, publish.topic, publish.payload)
        held, self._held_requests = self._held_requests, []
        sent = [packet]
        for rule in planted.faults if planted is not None else ():
            fault = rule.fault
            match fault.kind:
                case Kind.DROP_REQUEST:
                    sent = []
                case Kind.DUPLICATE_REQUEST:
                    sent *= 2
                case Kind.DELAY_REQUEST if sent and self._has_room:
                    self._later(fault.delay_ms, self._send, b"".join(sent))
                    sent = []
                case Kind.REORDER_REQUESTS if sent and not held and self._has_room:
                    self._held_requests += sent
                    self._later(fault.delay_ms, self._release_requests)
                    sent = []
                case Kind.SLOW_READER:
                    self._slow_down(fault)
                case Kind.CUT:
                    if fault.after_bytes:
                        self._soon(self._send_a_part, b"".join(sent), fault)
                    else:
                        self._soon(self.cut, fault)
                    sent = []
                case Kind.HALF_OPEN:
                    sent = []
                    self.die()
        yield from sent
        yield from held

    def _release_requests(self) -> None:
        held, self._held_requests = self._held_requests, []
        self._send(b"".join(held))

    # answers

    def _pass_answer(self, packet: bytes) -> Iterator[bytes]:
        publish = _read_publish(packet, self._level)
        origin = self.origin
        planted = None
        if publish is not None and origin is not None:
            planted = self._wire.planting.meet_answer(origin.key, publish.topic, publish.payload)
        held, self._held_answers = self._held_answers, []
        come = [packet]
        for rule in planted.faults if planted is not None and publish is not None else ():
            fault = rule.fault
            match fault.kind:
                case Kind.DROP_ANSWER:
                    come = []
                case Kind.DUPLICATE_ANSWER:
                    come *= 2
                case Kind.WRONG_MESSAGE_ID if come and publish is not None:
                    come = [encode(_misname(publish), self._level)] * len(come)
                case Kind.MALFORMED_ANSWER if come and publish is not None:
                    come = [encode(replace(publish, payload=MALFORMED), self._level)] * len(come)
                case Kind.DELAY_ANSWER if come and self._has_room:
                    self._later(fault.delay_ms, self._take, b"".join(come))
                    come = []
                case Kind.REORDER_ANSWERS if come and not held and self._has_room:
                    self._held_answers += come
                    self._later(fault.delay_ms, self._release_answers)
                    come = []
        yield from come
        yield from held

    def _take(self, packets: bytes) -> None:
        """Have packets come in."""
        if packets and self._websocket is not None:
            packets = make_message(packets, is_masked=True, is_inside=self._websocket.is_inside)
        self._hand_in(packets)

    def _hand_in(self, data: bytes) -> None:
        if data and not self._is_dead and self._transport is not None:
            self._inner.data_received(data)

    def _release_answers(self) -> None:
        held, self._held_answers = self._held_answers, []
        self._take(b"".join(held))

    # the connection

    def act(self, fault: Fault) -> None:
        """Have a fault act on the connection as it is."""
        match fault.kind:
            case Kind.CUT:
                self.cut(fault)
            case Kind.HALF_OPEN:
                self.die()
            case Kind.SLOW_READER:
                self._slow_down(fault)

    def cut(self, fault: Fault) -> None:
        """End it: as a device that says goodbye, or without a word."""
        if self._transport is None:
            return
        if fault.clean:
            self._take(encode(Disconnect(), self._level))
        self._transport.abort()

    def _send_a_part(self, packets: bytes, fault: Fault) -> None:
        """Have the first bytes of a message leave, as many as the fault says, and then end the connection."""
        if self._websocket is not None and packets:
            packets = make_message(packets, is_masked=False)
        if not self._is_dead:
            self._send_bytes(packets[: fault.after_bytes])
        # Not before they are in the socket.
        self._soon(self.cut, fault)

    def die(self) -> None:
        """Pass nothing any more, with neither side told: what is written is lost, and what comes is not heard."""
        self._is_dead = True
        self._unread.clear()

    def _slow_down(self, fault: Fault) -> None:
        if self._slow is None and fault.bytes_per_s:
            self._later(SLOW_TICK_S * 1000, self._read_some)
        self._slow = fault

    def speed_up(self, rule: Rule) -> None:
        """Read as fast as before, where it was this fault that kept it from it."""
        if self._slow is rule.fault:
            self._slow = None
            self._read(len(self._unread))

    def _read_some(self) -> None:
        if self._slow is not None:
            self._read(max(1, int(self._slow.bytes_per_s * SLOW_TICK_S)))
            self._later(SLOW_TICK_S * 1000, self._read_some)

    def _read(self, bytes_max: int) -> None:
        part = bytes(self._unread[:bytes_max])
        del self._unread[:bytes_max]
        if part and self._transport is not None and not self._transport.is_closing():
            self._transport.write(part)
            if not self._unread and not self._is_blocked:
                self._inner.resume_writing()

    # time

    @property
    def _has_room(self) -> bool:
        return len(self._timers) < HELD_MAX

    def _later(self, delay_ms: float, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            self._timers.discard(timer)
            work(*arguments)

        timer = self._wire.planting.clock.call_later(delay_ms / 1000, run)
        self._timers.add(timer)

    @staticmethod
    def _soon(work: Callable[..., None], *arguments: object) -> None:
        """Not from here: who writes or reads is in the middle of something."""
        asyncio.get_running_loop().call_soon(work, *arguments)


class Wire:
    """What the faulty connections of one server share.

    Args:
        planting: what acts on what.
        registry: whose account a device that connects is of.
        make_protocol: makes the gateway's connections.
    """

    def __init__(self, planting: Planting, registry: Registry, make_protocol: Callable[[], DeviceConnection]) -> None:
        self.planting = planting
        self.registry = registry
        self.connections: dict[FaultyConnection, None] = {}
        self._make_protocol = make_protocol
        self._tasks: set[asyncio.Task[None]] = set()

    def make_protocol(self) -> FaultyConnection:
        """A protocol for one accepted connection."""
        return FaultyConnection(self, self._make_protocol())

    def act(self, rule: Rule) -> None:
        """Have a fault act on the devices that are connected and that it covers."""
        for connection in list(self.connections):
            origin = connection.origin
            if origin is None or origin.account_id != rule.account_id or not rule.fault.covers(origin.key):
                continue
            rule.seen += 1
            if rule.is_spent:
                break
            rule.acted += 1
            connection.act(rule.fault)

    def stop_acting(self, rule: Rule) -> None:
        """Have what goes on be as before, as far as it can: a slow reader reads again."""
        for connection in list(self.connections):
            connection.speed_up(rule)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run something to its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read_publish(packet: bytes, level: int) -> Publish | None:
    try:
        for frame in Splitter().feed(packet):
            publish = decode(frame, level)
            return publish if isinstance(publish, Publish) else None
    except Malformed:
        pass
    return None


def _misname(publish: Publish) -> Publish:
    """The same answer to a call that there is not."""
    named = topics.parse_rrpc_answer(publish.topic)
    if named is not None:
        topic = publish.topic.replace(str(named.message_id), str(named.message_id + 1), 1)
        return replace(publish, topic=topic)
    try:
        reply = msgspec.json.decode(publish.payload, type=dict[str, object])
        return replace(publish, payload=msgspec.json.encode({**reply, "id": str(ALINK_ID_OF_NONE)}))
    except (msgspec.DecodeError, RecursionError):
        return replace(publish, payload=MALFORMED)

"""The device gateway: connections of devices, between the sans-IO protocol and the core.

Bytes go to `ServerConnection`, its events come back here: a CONNECT is checked against the registry, subscriptions and
publishes are checked against the topic rules and handed on. A `DeviceConnection` is the core's `Link`.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Set
from sys import intern
from typing import cast

import msgspec

from linkstead.alink import credentials, registration, topics
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.eager import EagerRunner, Patience
from linkstead.ids import LETTERS_AND_DIGITS, Ids
from linkstead.measures import Sample
from linkstead.mqtt import protocol
from linkstead.mqtt.codes import ReasonCode, Refusal
from linkstead.mqtt.deadlines import Deadlines, Span
from linkstead.mqtt.lookups import LOOKUP_WAIT_S, Lookups
from linkstead.mqtt.packets import Connect, Malformed, Subscribe, Unsubscribe, check_topic_filter
from linkstead.mqtt.protocol import ServerConnection
from linkstead.mqtt.websocket import HandshakeRefused, WebSocket
from linkstead.mqtt.witness import PAYLOAD_HEAD_BYTES_MAX, Introduction, Use, Witness, introduce
from linkstead.newcomers import Newcomers
from linkstead.registry import DeviceCertificate, DeviceKey, Origin, Registry, StoreAway, TopicClasses, creation
from linkstead.sessions import (
    SUBSCRIPTIONS_MAX,
    Ending,
    LinkBlocked,
    LinkBroken,
    LinkTooSmall,
    QueuedMessage,
    Receipt,
    Session,
    SessionTable,
    Way,
)
from linkstead.subscription.messages import CREATE
from linkstead.uplink import News, Uplink

log = logging.getLogger(__name__)

KEEP_ALIVE_S_MIN, KEEP_ALIVE_S_MAX = 30, 1_200
"""Source: `device-protocol.md` 1.5."""

_KEEP_ALIVES_S = tuple(range(KEEP_ALIVE_S_MAX + 1))
"""One number for all devices that have the same keep-alive."""

FILTERS_OF_ONE_SUBSCRIBE_MAX = 8
"""Source: `device-protocol.md` 2."""

WRITE_BUFFER_BYTES_MAX = 1024 * 1024
"""Bytes waiting for a device that does not read; past it messages are refused."""

CONNECTIONS_MAX = 200_000
"""Of one process, with the devices that are connected; most systems give it fewer file descriptors."""

NEWCOMERS_MAX, NEWCOMERS_OF_ADDRESS_MAX = 10_000, 5_000
"""Connections without an accepted CONNECT: in all, and of one address, behind which there may be a whole fleet."""

NEWCOMERS_BYTES_MAX = 64 * 1024 * 1024
"""What all of them together have sent."""

CLOSE_WAIT_S = 5.0
"""For the last bytes to leave before a closed connection is cut."""

SESSION_KEPT_S = 7 * 24 * 3600.0
"""A persistent session of MQTT 3.x. Source: `device-protocol.md` 1.6."""

REGISTRATION_WAIT_S = 15.0
"""For a device that was given what it registered for to leave. Source: `device-protocol.md` 1.7."""

IDENTITY = b"/ext/auth/identity/response"
"""Where a device that showed a certificate is told its names. Source: `device-protocol.md` 1.7 f)."""

NAMELESS = (None, "", "&")
"""User names of a device that leaves it to its certificate who it is; the last is made of two empty names."""

NO_NEWCOMER = -1
STRANGERS_MAX = 100
"""Connections at a time of devices that are not registered, where these are let in to be listened to."""

STRANGER_STAY_S = 300.0
"""Then it is sent away: it comes back by itself, and may be registered by then."""

ASSIGNED_CLIENT_ID_CHARS = 23

WEBSOCKET_FIRST_BYTE = b"G"
"""Of `GET`, with which the handshake of a WebSocket begins."""

HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain;charset=utf-8\r\nContent-Length: 44\r\n"
    b"Connection: close\r\n\r\nThis port speaks MQTT. HTTP has its own port"
)

DISCONNECT_REASONS = {
    Ending.SUPERSEDED: ReasonCode.SESSION_TAKEN_OVER,
    Ending.DISABLED: ReasonCode.NOT_AUTHORIZED,
    Ending.DELETED: ReasonCode.NOT_AUTHORIZED,
    Ending.STOPPED: ReasonCode.SERVER_SHUTTING_DOWN,
    Ending.KEEP_ALIVE_EXPIRED: ReasonCode.KEEP_ALIVE_TIMEOUT,
}
"""What MQTT 5.0 is told when the server ends a connection."""

REGISTRATION_REFUSALS = {
    registration.Failure.PARAMETER: Refusal.CLIENT_ID_REJECTED,
    registration.Failure.WRONG_SIGN: Refusal.BAD_USER_NAME_OR_PASSWORD,
}
"""Where it is not NOT_AUTHORIZED. Source: `device-protocol.md` 1.4."""


class DeviceGateway:
    """What all connections of devices share.

    Args:
        registry: devices and their secrets.
        sessions: where a connection is attached.
        uplink: takes what devices publish.
        news: told of devices that were made by their registration.
        clock, ids: time limits; client ids for those that ask for one.
        witness: looks on.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        sessions: SessionTable,
        uplink: Uplink,
        news: News,
        clock: Clock,
        ids: Ids,
        witness: Witness | None = None,
    ) -> None:
        self.registry = registry
        self.sessions = sessions
        self.uplink = uplink
        self.news = news
        self.clock = clock
        self.monotonic_s = clock.monotonic_s
        self.ids = ids
        self.witness = witness
        self.strangers: set[DeviceConnection] = set()
        self.deadlines = Deadlines(clock)
        self.newcomers = Newcomers(NEWCOMERS_MAX, NEWCOMERS_OF_ADDRESS_MAX, NEWCOMERS_BYTES_MAX)
        self.connections: dict[DeviceConnection, None] = {}  # a third of the size of a set
        self.runner = EagerRunner()
        self.lookups = Lookups(registry, clock)
        # Not waited for at the end: with the connection gone there is nobody to acknowledge anything to.
        self.settling: set[asyncio.Task[None]] = set()
        self.is_draining = False
        self.connects: dict[str, int] = {}
        self.received_count = 0
        self.sent_count = 0
        self._all_closed = asyncio.Event()

    def make_protocol(self) -> "DeviceConnection":
        """A protocol for one accepted connection."""
        return DeviceConnection(self)

    def remove(self, connection: "DeviceConnection") -> None:
        """Forget a connection that ended."""
        self.strangers.discard(connection)
        self.connections.pop(connection, None)
        if not self.connections:
            self._all_closed.set()

    def hold_deadlines(self, seconds: float) -> None:
        """Put off when connections have been silent for too long: the clock is about to be turned."""
        for connection in self.connections:
            connection.hold_deadline(seconds)

    def count_connect(self, outcome: str) -> None:
        """Count a CONNECT that was answered."""
        self.connects[outcome] = self.connects.get(outcome, 0) + 1

    def sample(self) -> Iterator[Sample]:
        """Connections and devices, how CONNECTs were answered, and messages."""
        yield "linkstead_mqtt_connections", (), float(len(self.connections))
        yield "linkstead_newcomers", ("mqtt",), float(self.newcomers.count)
        yield "linkstead_newcomers_refused_total", ("mqtt",), float(self.newcomers.refused_count)
        yield "linkstead_devices_connected", (), float(self.sessions.live_count)
        yield "linkstead_mqtt_messages_total", ("from-device",), float(self.received_count)
        yield "linkstead_mqtt_messages_total", ("to-device",), float(self.sent_count)
        for outcome, count in self.connects.items():
            yield "linkstead_mqtt_connects_total", (outcome,), float(count)

    def drain(self) -> None:
        """Take no more devices; those connected stay."""
        self.is_draining = True

    async def close(self) -> None:
        """End every connection, and return when all are gone."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.close(Ending.STOPPED)
        await self.runner.drain()
        if self.connections:
            self._all_closed.clear()
            await self._all_closed.wait()


class DeviceConnection(asyncio.Protocol):
    """One connection of a device, or of something that wants to be one. It is the session's `Link`."""

    __slots__ = (
        "_acknowledgements",
        "_ending",
        "_ext",
        "_filter",
        "_gateway",
        "_handout",
        "_in_flight",
        "_introduction",
        "_is_certified",
        "_is_checking",
        "_is_fresh",
        "_is_open",
        "_is_secured",
        "_machine",
        "_newcomer_bytes",
        "_origin",
        "_peer",
        "_receipts",
        "_session",
        "_span",
        "_stranger",
        "_timer",
        "_transport",
        "_websocket",
    )

    def __init__(self, gateway: DeviceGateway) -> None:
        self._gateway = gateway
        self._machine = ServerConnection(gateway.clock.monotonic_s())
        self._transport: asyncio.Transport | None = None
        self._websocket: WebSocket | None = None
        self._origin: Origin | None = None
        self._session: Session | None = None
        self._ext = 0
        self._ending: Ending | None = None
        self._is_certified = False
        self._is_fresh = True
        self._is_open = False
        self._is_checking = False
        self._is_secured = False
        self._newcomer_bytes = NO_NEWCOMER
        self._handout: registration.Handout | None = None
        self._stranger: DeviceKey | None = None
        # Of a connection that carries nothing: takes events and returns those that go the usual way.
        self._filter: Callable[[list[protocol.Event]], list[protocol.Event]] | None = None
        self._in_flight: dict[int, tuple[Session, QueuedMessage]] | None = None
        self._receipts: list[Receipt] | None = None
        self._acknowledgements: list[tuple[int, ReasonCode, DeviceKey]] | None = None
        self._peer = ""
        self._introduction: Introduction | None = None
        self._timer: Timer | None = None
        self._span: Span | None = None

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the peer has some time to send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        # With no buffer allowed, resume_writing means that every byte has left: the proof of `written`. A transport
        # over TLS pauses at its mark, not past it: 0 would stop it when nothing waits.
        self._is_secured = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if self._is_secured else 0, low=0)
        peer = transport.get_extra_info("peername")
        self._peer = intern(str(peer[0])) if isinstance(peer, tuple) else ""
        gateway = self._gateway
        if len(gateway.connections) >= CONNECTIONS_MAX or not gateway.newcomers.enter(self._peer):
            # Not a word, and nothing in the log: that is what a flood would fill.
            self._transport.abort()
            return
        self._newcomer_bytes = 0
        gateway.connections[self] = None
        self._watch_deadline()

    def _settle_in(self) -> None:
        """It is known whose the connection is, or it is over."""
        kept_bytes, self._newcomer_bytes = self._newcomer_bytes, NO_NEWCOMER
        if kept_bytes != NO_NEWCOMER:
            self._gateway.newcomers.leave(self._peer, kept_bytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, for whatever reason."""
        self._transport = None
        self._filter = None
        self._settle_in()
        self._gateway.remove(self)
        self._stop_timer()
        self._detach(self._ending or Ending.LOST)

    def pause_writing(self) -> None:
        """Bytes wait for the device to read."""
        if self._receipts is None:
            self._receipts = []

    def resume_writing(self) -> None:
        """Everything has left."""
        receipts, self._receipts = self._receipts, None
        for receipt in receipts or ():
            receipt.written()
        self._resume_reading()
        if self._is_open:
            self.pump()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the device."""
        session = self._session
        if session is not None and self._websocket is None:
            # A connected device's publish, whole, with nothing around it: by far the most of what comes.
            message = self._machine.receive_message(data, self._gateway.monotonic_s())
            if message is not None:
                topic, payload, packet_id = message
                self._take_publish(topic, payload, 1 if packet_id else 0, packet_id)
                if packet_id:
                    self._flush()
                return
        if self._transport is None or self._machine.closing:
            return
        if self._newcomer_bytes != NO_NEWCOMER:
            self._newcomer_bytes += len(data)
            if not self._gateway.newcomers.keep(len(data)):
                self._abort()
                return
        if self._is_fresh:
            self._is_fresh = False
            if data[:1] == WEBSOCKET_FIRST_BYTE:
                self._websocket = WebSocket()
            # The first byte of MQTT is 0x10. Source: `architecture.md` 6.
            elif data[:1].isalpha():
                self._refuse_http("HTTP on the MQTT port")
                return
        if self._websocket is not None:
            self._receive_frames(self._websocket, data)
            return
        self._handle(self._machine.receive_data(data, self._gateway.monotonic_s()))
        self._flush()

    def eof_received(self) -> bool:
        """The device sends no more: that is the end."""
        self._handle(self._machine.receive_eof(self._gateway.monotonic_s()))
        return False

    # the Link port

    @property
    def key(self) -> DeviceKey:
        """The device."""
        return self.origin.key

    @property
    def origin(self) -> Origin:
        """The device, its account and its IotId."""
        if self._origin is None:
            raise LinkBroken
        return self._origin

    @property
    def heard_s(self) -> float:
        """When the device last sent a packet."""
        return self._machine.heard_at

    @property
    def ext(self) -> int:
        """The bit field `ext` of the CONNECT."""
        return self._ext

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        """See `Link.send`."""
        transport = self._transport
        # One that was found broken is told of it when the event loop comes round, and takes what is written till then.
        if transport is None or not self._is_open or transport.is_closing():
            raise LinkBroken
        # Where nothing waits to be written nothing is in the buffer.
        if self._receipts is not None and transport.get_write_buffer_size() > WRITE_BUFFER_BYTES_MAX:
            raise LinkBlocked
        try:
            data = self._machine.send_message(topic, payload)
        except protocol.PacketTooLarge:
            raise LinkTooSmall from None
        except protocol.ConnectionOver:
            # What came with a DISCONNECT in one segment is still being handled.
            raise LinkBroken from None
        self._gateway.sent_count += 1
        if self._websocket is not None:
            data = self._websocket.encode(data)
        self._write(data)
        if self._receipts is None and transport.is_closing():
            # It was found broken by this.
            raise LinkBroken
        if self._gateway.sessions.taps is not None:
            self._note(self.key, topic, payload)
        if receipt is None:
            return
        if self._receipts is None:
            receipt.written()
        else:
            self._receipts.append(receipt)

    def pump(self) -> None:
        """See `Link.pump`."""
        session = self._session
        if session is None or self._transport is None or not self._is_open or self._transport.is_closing():
            return
        for each in (session, *session.carried.values()):
            if each.queue and not self._pump_session(each):
                break

    def _pump_session(self, session: Session) -> bool:
        """Send what waits in one session's queue. False when no more can be sent on this connection now."""
        sessions = self._gateway.sessions
        sessions.drop_expired(session, self._gateway.monotonic_s())
        for message in list(session.queue or ()):
            if message.packet_id:
                continue
            if self._receipts is not None:
                return False
            try:
                packet_id = self._machine.publish(message.topic.encode(), message.payload, 1, dup=message.was_sent)
            except (protocol.WindowFull, protocol.ConnectionOver):
                return False
            except protocol.PacketTooLarge:
                log.warning("message larger than the device takes dropped", extra=self._fields(topic=message.topic))
                sessions.drop_message(session, message)
                continue
            if packet_id is not None:
                message.packet_id = packet_id
                if self._in_flight is None:
                    self._in_flight = {}
                self._in_flight[packet_id] = (session, message)
            self._flush()
            if self._transport is None or self._transport.is_closing():
                # It was found broken by this: the message goes with the next connection.
                return False
            self._gateway.sent_count += 1
            sessions.note_sent(message)
            if sessions.taps is not None:
                self._note(session.key, message.topic, message.payload)
        return True

    def _note(self, key: DeviceKey, topic: str, payload: bytes) -> None:
        """Show a message that was sent to whoever looks at the device."""
        if self._gateway.sessions.taps is not None:
            self._gateway.sessions.taps.note(key, Way.TO_DEVICE, topic, payload, self._gateway.clock.time_s())

    def close(self, ending: Ending) -> None:
        """See `Link.close`."""
        if self._ending is None:
            self._ending = ending
        reason = DISCONNECT_REASONS.get(ending)
        if self._is_open and reason is not None:
            self._machine.disconnect(reason)
        self._flush()
        self._detach(ending)
        self._close_transport()

    # events of the protocol

    def _handle(self, events: list[protocol.Event]) -> None:
        if self._filter is not None:
            events = self._filter(events)
        for event in events:
            match event:
                case protocol.PublishReceived():
                    self._take_publish(event.topic, event.payload, event.qos, event.packet_id)
                case protocol.PublishAcknowledged():
                    self._take_acknowledgement(event)
                case protocol.ConnectReceived():
                    self._begin_authentication(event.connect)
                case protocol.SubscribeReceived():
                    self._take_subscribe(event.packet)
                case protocol.UnsubscribeReceived():
                    self._take_unsubscribe(event.packet)
                case protocol.PublishTooLarge():
                    self._take_too_large(event)
                case protocol.DisconnectReceived():
                    self._take_disconnect(event)
                case protocol.KeepAliveExpired():
                    log.info("keep-alive expired", extra=self._fields())
                    self.close(Ending.KEEP_ALIVE_EXPIRED)
                case protocol.ConnectionLost():
                    self._end(Ending.LOST)
                case protocol.ConnectTimedOut():
                    log.info("no CONNECT in time", extra=self._fields())
                    self._close_transport()
                case protocol.Violated():
                    log.warning("protocol violation: %s", event.text, extra=self._fields())
                    self._end(Ending.VIOLATED)

    def _begin_authentication(self, connect: Connect) -> None:
        self._start(self._authenticate(connect))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._gateway.runner.start(work, _end_quietly, self._fail, self._bound)

    def _bound(self, patience: Patience) -> None:
        if self._is_checking:
            timer = self._gateway.clock.call_later(LOOKUP_WAIT_S, self._give_up, patience)
            patience.call_when_over(timer.cancel)

    def _give_up(self, patience: Patience) -> None:
        if self._is_checking:
            patience.give_up(StoreAway("no answer in time"))

    def _fail(self, error: Exception) -> None:
        log.error("a device's connection is cut by a fault of the server", exc_info=error, extra=self._fields())
        self._abort()

    async def _authenticate(self, connect: Connect) -> None:
        if self._gateway.witness is not None:
            self._introduction = introduce(connect, self._peer, is_secured=self._is_secured)
        self._is_checking = True
        try:
            refusal = await self._check(connect)
        except StoreAway as error:
            log.error("CONNECT could not be checked", extra=self._fields(fault=str(error)))
            refusal = Refusal.UNAVAILABLE
        except Exception:
            # The edge of the core: with the store away nobody can be let in, and the loop goes on.
            log.exception("CONNECT could not be checked", extra=self._fields())
            refusal = Refusal.UNAVAILABLE
        finally:
            self._is_checking = False
        if self._transport is None or self._machine.closing:
            return
        if refusal is not None:
            self._gateway.count_connect(refusal.name.lower().replace("_", "-"))
            self._machine.refuse(refusal)
            self._end(Ending.VIOLATED)
        elif self._handout is not None:
            self._hand_out(self._handout, connect)
        elif self._stranger is not None:
            self._listen_in(self._stranger, connect)
        else:
            await self._claim(connect)

    async def _claim(self, connect: Connect) -> None:
        """Have it known everywhere that the device is here, and then told to the device."""
        neighbours, keys = self._gateway.sessions.neighbours, (self.key,)
        if self._gateway.sessions.has_neighbours and await neighbours.claim(keys):
            log.info("the device has connected to another node meanwhile", extra=self._fields())
            self._abort()
        elif self._transport is None or self._machine.closing or self._gateway.is_draining:
            neighbours.abandon(keys)
            self._abort()
        else:
            self._attach(connect)

    async def _check(self, connect: Connect) -> Refusal | None:
        """Check the device that a CONNECT names. None when it may come in. Source: `device-protocol.md` 1.4."""
        if self._gateway.is_draining:
            return Refusal.UNAVAILABLE
        try:
            client_id = credentials.parse_client_id(connect.client_id)
        except credentials.BadClientId as error:
            return self._refuse(Refusal.CLIENT_ID_REJECTED, str(error))
        fingerprint = self._read_fingerprint()
        shown = await self._gateway.registry.store.find_certificate(fingerprint) if fingerprint else None
        if fingerprint and connect.user_name in NAMELESS:
            if shown is None:
                return self._refuse(Refusal.NOT_AUTHORIZED, "the certificate is that of no device")
            key = shown.key
        elif connect.user_name is None or (connect.password is None and not fingerprint):
            return self._refuse(Refusal.BAD_USER_NAME_OR_PASSWORD, "user name or password is absent")
        else:
            try:
                key = credentials.parse_user_name(connect.user_name)
            except credentials.BadUserName as unreadable:
                return self._refuse(Refusal.BAD_USER_NAME_OR_PASSWORD, str(unreadable))
        password = connect.password or b""
        if client_id.auth_type and not self._is_secured:
            return self._refuse(Refusal.CLIENT_ID_REJECTED, "registration, and what follows from it, needs TLS", key)
        if client_id.auth_type in registration.TOPICS:
            return await self._register(key, client_id, password)
        if client_id.auth_type not in ("", registration.CONNWL):
            return self._refuse(Refusal.CLIENT_ID_REJECTED, "authType must be register, regnwl or connwl", key)
        if not KEEP_ALIVE_S_MIN <= connect.keep_alive_s <= KEEP_ALIVE_S_MAX:
            rule = f"keep-alive {connect.keep_alive_s} s is outside {KEEP_ALIVE_S_MIN}..{KEEP_ALIVE_S_MAX}"
            return self._refuse(Refusal.KEEP_ALIVE_OUT_OF_RANGE, rule, key)
        registry = self._gateway.registry
        product = registry.recall_product(key.product_key) or await registry.find_product(key.product_key)
        device = registry.recall_device(key) or await self._gateway.lookups.ask(key).wait()
        if device is None or product is None:
            if self._admit_stranger(key):
                return None
            return self._refuse(Refusal.NOT_AUTHORIZED, "no such device", key)
        self._is_certified = product.auth_type == creation.X509
        check = registration.check_token if client_id.auth_type else credentials.check_password
        if self._is_certified:
            if fault := self._find_fault(shown, key):
                return self._refuse(Refusal.NOT_AUTHORIZED, fault, key)
        elif not check(key, client_id, device.device_secret, password):
            return self._refuse(Refusal.NOT_AUTHORIZED, "the password does not match the device's secret", key)
        if not device.enabled:
            return self._refuse(Refusal.NOT_AUTHORIZED, "the device is disabled", key)
        # At hand when the device subscribes and publishes, which it does at once.
        if registry.recall_topic_classes(key.product_key) is None:
            await registry.find_topic_classes(key.product_key)
        if not self._gateway.news.is_prepared(key.product_key):
            await self._gateway.news.prepare(key.product_key)
        self._origin = Origin(key, device.account_id, device.iot_id)
        self._ext = client_id.ext
        return None

    def _read_fingerprint(self) -> str:
        """That of the certificate that the device has shown in its TLS handshake; empty where it has none."""
        if not self._is_secured or self._transport is None:
            return ""
        certificate: bytes | None = self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest() if certificate else ""

    def _find_fault(self, shown: DeviceCertificate | None, key: DeviceKey) -> str:
        """Why a device of a product with AuthType x509 may not come in with the certificate shown; empty: it may."""
        if shown is None or shown.key != key:
            return "its product's devices show a certificate, and this was not the device's"
        # TLS has looked at the date, but not of a session that it took up again.
        if shown.not_after_ms < milliseconds(self._gateway.clock.time_s()):
            return "its certificate has expired"
        return ""

    async def _register(self, key: DeviceKey, client_id: credentials.ClientId, password: bytes) -> Refusal | None:
        gateway = self._gateway
        now_ms = milliseconds(gateway.clock.time_s())
        try:
            request = registration.read_connect(key, client_id, password)
            handout = await registration.answer_connect(
                gateway.registry, gateway.ids, request, client_id.auth_type, now_ms
            )
        except registration.Refused as refused:
            refusal = REGISTRATION_REFUSALS.get(refused.failure, Refusal.NOT_AUTHORIZED)
            return self._refuse(refusal, refused.text, key)
        self._origin, self._handout = handout.device.origin, handout
        if handout.is_new:
            gateway.news.tell_lifecycle(handout.device, CREATE)
        return None

    def _refuse(self, refusal: Refusal, reason: str, key: DeviceKey | None = None) -> Refusal:
        log.warning("CONNECT refused: %s", reason, extra={"device": str(key or ""), "peer": self._peer})
        if self._gateway.witness is not None and self._introduction is not None:
            self._gateway.witness.see_refusal(self._introduction, reason, key)
        return refusal

    def _attach(self, connect: Connect) -> None:
        gateway = self._gateway
        now_s, now_ms = gateway.clock.monotonic_s(), milliseconds(gateway.clock.time_s())
        self._is_open = True
        gateway.count_connect("accepted")
        self._settle_in()
        attachment = gateway.sessions.attach(
            self,
            clean_start=connect.clean_start,
            kept_s=_session_kept_s(connect),
            keep_alive_s=_KEEP_ALIVES_S[connect.keep_alive_s],
            now_s=now_s,
            now_ms=now_ms,
            ip_address=self._peer,
        )
        self._session = attachment.session
        for message in attachment.session.queue or ():
            message.packet_id = 0
        if attachment.superseded is not None:
            attachment.superseded.close(Ending.SUPERSEDED)
        if gateway.witness is not None and self._introduction is not None:
            gateway.witness.see_admission(self._introduction, self.key)
        log.info("device connected", extra=self._fields(ext=self._ext, mqtt_level=connect.level))
        events = self._machine.accept(
            attachment.session_present, now_s, assigned_client_id=self._assigned_client_id(connect)
        )
        if self._is_certified:
            self._tell_identity()
        self._flush()
        self._watch_deadline()
        self.pump()
        self._handle(events)
        self._flush()

    def _tell_identity(self) -> None:
        told = {"productKey": self.key.product_key, "deviceName": self.key.device_name}
        try:
            self._machine.publish(IDENTITY, msgspec.json.encode(told), 0)
        except (protocol.PacketTooLarge, protocol.ConnectionOver):
            # It goes on without: many know their names.
            log.info("a device could not be told its names", extra=self._fields())

    def _assigned_client_id(self, connect: Connect) -> str | None:
        if connect.client_id and not connect.client_id.startswith("|"):
            return None
        return self._gateway.ids.token(LETTERS_AND_DIGITS, ASSIGNED_CLIENT_ID_CHARS)

    def _hand_out(self, handout: registration.Handout, connect: Connect) -> None:
        """Give a device what it registered for. It is not online by that, and this connection carries nothing else."""
        clock = self._gateway.clock
        self._is_open = True
        self._filter = self._refuse_traffic
        self._settle_in()
        events = self._machine.accept(False, clock.monotonic_s(), assigned_client_id=self._assigned_client_id(connect))
        try:
            self._machine.publish(handout.topic.encode(), handout.payload, 0)
            log.info("device registered", extra=self._fields(topic=handout.topic))
        except protocol.PacketTooLarge:
            log.warning("registration larger than the device takes", extra=self._fields(topic=handout.topic))
            self._machine.disconnect(ReasonCode.PACKET_TOO_LARGE)
            self._end(Ending.VIOLATED)
            return
        except protocol.ConnectionOver:
            # What came behind the CONNECT has ended it: the events say how.
            pass
        self._flush()
        self._stop_timer()
        self._timer = clock.call_later(REGISTRATION_WAIT_S, self._end_registration)
        self._handle(events)
        self._flush()

    def _end_registration(self) -> None:
        self._timer = None
        log.info("device registered and did not leave", extra=self._fields())
        self._machine.disconnect(ReasonCode.MAXIMUM_CONNECT_TIME)
        self._end(Ending.VIOLATED)

    def _refuse_traffic(self, events: list[protocol.Event]) -> list[protocol.Event]:
        """Answer what the connection of a registration does not carry, and return what else happened."""
        others: list[protocol.Event] = []
        for event in events:
            match event:
                case protocol.PublishReceived() | protocol.PublishTooLarge():
                    if event.qos == 1:
                        self._machine.puback(event.packet_id, ReasonCode.NOT_AUTHORIZED)
                case protocol.SubscribeReceived(packet):
                    self._machine.suback(packet, [ReasonCode.NOT_AUTHORIZED] * len(packet.subscriptions))
                case protocol.UnsubscribeReceived(packet):
                    self._machine.unsuback(packet, [ReasonCode.NOT_AUTHORIZED] * len(packet.topic_filters))
                case _:
                    others.append(event)
                    continue
            log.warning("traffic on the connection of a registration refused", extra=self._fields())
        return others

    # devices that are not registered, to be listened to

    def _admit_stranger(self, key: DeviceKey) -> bool:
        gateway = self._gateway
        is_wanted = gateway.witness is not None and gateway.witness.admits_strangers
        if not is_wanted or self._transport is None or len(gateway.strangers) >= STRANGERS_MAX:
            return False
        gateway.strangers.add(self)
        self._stranger = key
        return True

    def _listen_in(self, key: DeviceKey, connect: Connect) -> None:
        """Let a device in that has no session: nothing is sent to it, and nothing it sends goes anywhere."""
        gateway = self._gateway
        leaves_s = gateway.clock.monotonic_s() + STRANGER_STAY_S
        self._is_open = True
        self._settle_in()
        self._filter = lambda events: self._tell_traffic(key, leaves_s, events)
        if gateway.witness is not None and self._introduction is not None:
            gateway.witness.see_stranger(self._introduction, key)
        log.info("a device that is not registered is listened to", extra=self._fields(device=str(key)))
        events = self._machine.accept(
            False, gateway.clock.monotonic_s(), assigned_client_id=self._assigned_client_id(connect)
        )
        self._flush()
        self._watch_deadline()
        self._handle(events)
        self._flush()

    def _tell_traffic(self, key: DeviceKey, leaves_s: float, events: list[protocol.Event]) -> list[protocol.Event]:
        """Tell what a device that is not registered sends, answer it, and return what else happened."""
        witness = self._gateway.witness
        others: list[protocol.Event] = []
        for event in events:
            match event:
                case protocol.PublishReceived(topic, payload, qos, packet_id) if witness is not None:
                    witness.see_message(key, topic, qos, len(payload), payload[:PAYLOAD_HEAD_BYTES_MAX])
                    if qos == 1:
                        self._machine.puback(packet_id)
                case protocol.PublishTooLarge(topic, payload_bytes, qos, packet_id) if witness is not None:
                    witness.see_message(key, topic, qos, payload_bytes, b"")
                    if qos == 1:
                        self._machine.puback(packet_id, ReasonCode.QUOTA_EXCEEDED)
                case protocol.SubscribeReceived(packet) if witness is not None:
                    for subscription in packet.subscriptions:
                        witness.see_subscription(key, subscription.topic_filter, subscription.qos)
                    self._machine.suback(packet, [min(each.qos, 1) for each in packet.subscriptions])
                case protocol.UnsubscribeReceived(packet):
                    self._machine.unsuback(packet, [ReasonCode.SUCCESS] * len(packet.topic_filters))
                case _:
                    others.append(event)
        if self._gateway.clock.monotonic_s() >= leaves_s and not self._machine.closing:
            self._machine.disconnect(ReasonCode.MAXIMUM_CONNECT_TIME)
            self._end(Ending.VIOLATED)
        return others

    def _take_publish(self, topic: str, payload: bytes, qos: int, packet_id: int) -> None:
        gateway = self._gateway
        gateway.received_count += 1
        if gateway.witness is not None:
            gateway.witness.see_topic(self.key, Use.PUBLISH, topic)
        allowed = gateway.uplink.receive(self, topic, payload, qos)
        if qos == 1:
            self._acknowledge(topic, packet_id, ReasonCode.SUCCESS if allowed else ReasonCode.NOT_AUTHORIZED)

    def _take_too_large(self, event: protocol.PublishTooLarge) -> None:
        self._gateway.uplink.refuse_too_large(self, event.topic, event.payload_bytes)
        if event.qos == 1:
            self._acknowledge(event.topic, event.packet_id, ReasonCode.QUOTA_EXCEEDED)

    def _acknowledge(self, topic: str, packet_id: int, reason: ReasonCode) -> None:
        """Acknowledge a publish once it is kept: its device may forget it then. In order. [MQTT-4.6.0-2]"""
        # A gateway publishes in the name of the devices behind it as well.
        is_gateway = self._session is not None and self._session.carried
        key = (topics.find_owner(topic) if is_gateway else None) or self.key
        if self._acknowledgements is not None:
            self._acknowledgements.append((packet_id, reason, key))
            if self._machine.unacknowledged >= protocol.RECEIVE_MAXIMUM:
                self._pause_reading()
        elif self._gateway.uplink.must_settle(key):
            self._acknowledgements = [(packet_id, reason, key)]
            task = asyncio.get_running_loop().create_task(self._acknowledge_settled())
            self._gateway.settling.add(task)
            task.add_done_callback(self._gateway.settling.discard)
        else:
            self._machine.puback(packet_id, reason)

    async def _acknowledge_settled(self) -> None:
        while self._acknowledgements:
            settling, self._acknowledgements = self._acknowledgements, []
            try:
                await self._gateway.uplink.settle(dict.fromkeys(key for _, _, key in settling))
            except Exception:
                # Not acknowledged, so the device sends it again when it is back.
                log.exception("what a device published could not be kept", extra=self._fields())
                self._abort()
                return
            if self._transport is None or not self._is_open:
                return
            for packet_id, reason, _ in settling:
                self._machine.puback(packet_id, reason)
            self._flush()
            self._resume_reading()
        self._acknowledgements = None

    def _pause_reading(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.is_reading():
            transport.pause_reading()

    def _resume_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or transport.is_reading():
            return
        if self._machine.unacknowledged < protocol.RECEIVE_MAXIMUM and self._receipts is None:
            transport.resume_reading()

    def _take_acknowledgement(self, event: protocol.PublishAcknowledged) -> None:
        sent = self._in_flight.pop(event.packet_id, None) if self._in_flight else None
        if sent is not None and self._session is not None:
            self._gateway.sessions.acknowledge(*sent)
        self.pump()

    def _take_subscribe(self, packet: Subscribe) -> None:
        session = self._session
        if session is None:
            return
        if self._gateway.witness is not None:
            for subscription in packet.subscriptions:
                self._gateway.witness.see_topic(self.key, Use.SUBSCRIBE, subscription.topic_filter)
        owners = (_find_subscriber(session, subscription.topic_filter) for subscription in packet.subscriptions)
        product_keys = {self.key.product_key} | {owner.key.product_key for owner in owners}
        recalled = {name: self._gateway.registry.recall_topic_classes(name) for name in product_keys}
        classes = {name: known for name, known in recalled.items() if known is not None}
        if len(classes) == len(recalled):
            self._subscribe(packet, classes)
        else:
            self._start(self._subscribe_when_read(packet, product_keys))

    async def _subscribe_when_read(self, packet: Subscribe, product_keys: Set[str]) -> None:
        try:
            classes = {name: await self._gateway.registry.find_topic_classes(name) for name in product_keys}
        except Exception:
            # The edge of the core: the device is told, and may ask again.
            log.exception("SUBSCRIBE could not be checked", extra=self._fields())
            if self._session is not None:
                self._machine.suback(packet, [ReasonCode.UNSPECIFIED_ERROR] * len(packet.subscriptions))
        else:
            self._subscribe(packet, classes)
        self._flush()

    def _subscribe(self, packet: Subscribe, classes: Mapping[str, TopicClasses]) -> None:
        session = self._session
        if session is None:
            return
        granted: list[int] = []
        changed: dict[DeviceKey, Session] = {}
        now_ms = milliseconds(self._gateway.clock.time_s())
        for position, subscription in enumerate(packet.subscriptions):
            name = subscription.topic_filter
            owner = _find_subscriber(session, name)
            known = owner.subscriptions
            if not _is_topic_filter(name):
                log.warning("malformed topic filter refused", extra=self._fields(topic=name))
                granted.append(ReasonCode.TOPIC_FILTER_INVALID)
            elif not topics.may_subscribe(owner.key, name) or (
                topics.is_custom(owner.key, name) and not _has_class(classes, owner.key, name)
            ):
                log.warning("subscription refused (403)", extra=self._fields(topic=name))
                granted.append(ReasonCode.NOT_AUTHORIZED)
            elif position >= FILTERS_OF_ONE_SUBSCRIBE_MAX or (name not in known and len(known) >= SUBSCRIPTIONS_MAX):
                log.warning("subscription over the limit refused", extra=self._fields(topic=name))
                granted.append(ReasonCode.QUOTA_EXCEEDED)
            else:
                qos = min(subscription.qos, 1)
                owner.subscribe(name, qos, now_ms)
                granted.append(qos)
                changed[owner.key] = owner
        self._machine.suback(packet, granted)
        for owner in changed.values():
            self._gateway.sessions.note_change(owner)

    def _take_unsubscribe(self, packet: Unsubscribe) -> None:
        session = self._session
        if session is None:
            return
        codes: list[int] = []
        changed: dict[DeviceKey, Session] = {}
        for name in packet.topic_filters:
            owner = _find_subscriber(session, name)
            if owner.unsubscribe(name):
                codes.append(ReasonCode.SUCCESS)
                changed[owner.key] = owner
            else:
                codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
        self._machine.unsuback(packet, codes)
        for owner in changed.values():
            self._gateway.sessions.note_change(owner)

    def _take_disconnect(self, event: protocol.DisconnectReceived) -> None:
        if self._session is not None and event.session_expiry_interval_s is not None:
            self._session.kept_s = float(min(event.session_expiry_interval_s, int(SESSION_KEPT_S)))
        log.info("device disconnected", extra=self._fields())
        self._end(Ending.DISCONNECTED)

    # endings

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
        self._flush()
        self._detach(ending)
        self._close_transport()

    def _detach(self, ending: Ending) -> None:
        self._is_open = False
        self._is_checking = False
        receipts, self._receipts = self._receipts, None
        for receipt in receipts or ():
            receipt.write_failed()
        session, self._session = self._session, None
        if session is None:
            return
        in_flight, self._in_flight = self._in_flight, None
        for owner, message in in_flight.values() if in_flight else ():
            # A sub-device that has moved may have the message on another connection by now.
            if owner is session or owner.carrier is session:
                message.packet_id = 0
        clock = self._gateway.clock
        if self._gateway.sessions.detach(self, ending, now_s=clock.monotonic_s(), now_ms=milliseconds(clock.time_s())):
            log.info("device offline: %s", ending.value, extra=self._fields())

    def _close_transport(self) -> None:
        if self._transport is None:
            return
        if self._websocket is not None:
            self._write(self._websocket.close())
        self._transport.close()
        self._stop_timer()
        self._timer = self._gateway.clock.call_later(CLOSE_WAIT_S, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # WebSocket

    def _receive_frames(self, websocket: WebSocket, data: bytes) -> None:
        try:
            payload = websocket.receive_data(data)
        except HandshakeRefused as refused:
            self._refuse_http(f"HTTP on the MQTT port, and no WebSocket: {refused}")
            return
        self._write(websocket.data_to_send())
        if websocket.is_over:
            # Nothing follows the closing frame: what would be sent from here on is not written.
            self._is_open = False
        now_s = self._gateway.monotonic_s()
        if payload:
            self._handle(self._machine.receive_data(payload, now_s))
            self._flush()
        if not websocket.is_over or self._machine.closing:
            return
        events = self._machine.receive_eof(now_s)
        if websocket.fault:
            log.warning("WebSocket ended: %s", websocket.fault, extra=self._fields())
            self._end(Ending.VIOLATED)
        else:
            self._handle(events)

    def _refuse_http(self, text: str) -> None:
        """Tell HTTP that this is not its port."""
        log.warning(text, extra=self._fields())
        self._write(HTTP_ANSWER)
        self._end(Ending.VIOLATED)

    # time and bytes

    def _flush(self) -> None:
        data = self._machine.data_to_send()
        if data and self._websocket is not None:
            data = self._websocket.encode(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        if self._receipts is not None and transport.get_write_buffer_size() > WRITE_BUFFER_BYTES_MAX:
            # Whatever a device sends may be answered: one that reads nothing is read no more.
            transport.pause_reading()

    def _watch_deadline(self) -> None:
        """Have an eye on the deadline, which only ever moves to a later time."""
        deadline_s = self._machine.deadline()
        if deadline_s is None or self._timer is not None or self._span is not None:
            return
        gateway = self._gateway
        now_s = gateway.monotonic_s()
        self._span = gateway.deadlines.watch(self, deadline_s, now_s)
        if self._span is None:
            self._timer = gateway.clock.call_later(max(deadline_s - now_s, 0.0), self._check_time)

    def look_at_deadline(self) -> None:
        """See `Watched`."""
        self._span = None
        self._watch_deadline()

    def hold_deadline(self, seconds: float) -> None:
        """See `DeviceGateway.hold_deadlines`."""
        self._machine.hold(seconds)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        span, self._span = self._span, None
        if span is not None:
            span.forget(self)

    def _check_time(self) -> None:
        self._timer = None
        if self._transport is None or self._machine.closing:
            return
        self._handle(self._machine.check_time(self._gateway.monotonic_s()))
        if self._ending is None and not self._machine.closing:
            self._watch_deadline()

    def _fields(self, **others: object) -> dict[str, object]:
        device = str(self._origin.key) if self._origin is not None else ""
        return {"device": device, "peer": self._peer, **others}


def _end_quietly(_: None) -> None:
    """Nobody waits for what a connection has started."""


def _find_subscriber(session: Session, topic_filter: str) -> Session:
    """Whose session a subscription on this connection belongs to: that of a sub-device where the filter names one."""
    owner = topics.find_owner(topic_filter) if session.carried else None
    return session.carried.get(owner, session) if owner is not None else session


def _has_class(classes: Mapping[str, TopicClasses], key: DeviceKey, topic_filter: str) -> bool:
    known = classes.get(key.product_key)
    return known is not None and known.may_subscribe(topics.custom_path(topic_filter))


def _is_topic_filter(text: str) -> bool:
    try:
        check_topic_filter(text)
    except Malformed:
        return False
    return True


def _session_kept_s(connect: Connect) -> float:
    if connect.level < 5:
        return 0.0 if connect.clean_start else SESSION_KEPT_S
    return min(float(connect.properties.get("session_expiry_interval", 0)), SESSION_KEPT_S)

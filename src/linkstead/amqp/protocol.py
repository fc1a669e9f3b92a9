"""The server's side of one AMQP connection as a state machine: bytes and time in, events out, bytes to write.

It logs consumers in with SASL PLAIN and serves one receiver link, to which it sends. The gateway does the I/O: it hands
in what it read with `receive_data`, answers the events, and after every call writes `data_to_send()` and closes the
connection if `closing` says so. Times are the clock's monotonic seconds.

An error of a session ends the connection here: it is what the peer did wrong, and it has one link.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from linkstead.amqp.frames import (
    AMQP_HEADER,
    FRAME_BYTES_MIN,
    FRAMING_ERROR,
    HEARTBEAT,
    INVALID_FIELD,
    NOT_IMPLEMENTED,
    SASL_FRAME,
    SASL_HEADER,
    UINT_MAX,
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Malformed,
    Modified,
    Open,
    Performative,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslPerformative,
    Source,
    Splitter,
    Symbol,
    Target,
    Transfer,
    decode_frame,
    encode_frame,
    encode_transfers,
)

CONTAINER_ID: Final = "linkstead"

LINK_WAIT_S: Final = 15.0
"""From the connection's first byte to its link. Source: `device-protocol.md` 8.1."""

IDLE_TIME_OUT_MS_MIN: Final = 15_000
IDLE_TIME_OUT_MS_MAX: Final = 300_000
"""What a peer may ask for: heartbeats of 30 to 300 s, of which many clients announce the half, as section 2.4.5 of the
standard advises. Source: `device-protocol.md` 8.1, row 9601 of 5.7."""

IDLE_TIME_OUT_MS: Final = 60_000
"""What we ask for; the half of our patience."""

CLOSE_WAIT_S: Final = 5.0
"""For the peer's Close behind ours."""

FRAME_BYTES_MAX: Final = 65_536
HELD_BYTES_MAX: Final = 131_072
"""What a peer may send while its login or its link is being decided; asyncio reads at most 65,536 bytes at once."""

CHANNEL_MAX: Final = 15
"""Sessions less one: the Java client begins two."""

HANDLE_MAX: Final = 15
INCOMING_WINDOW: Final = 2_048
"""Transfers that we say we would take: nobody has a link to send them on."""

NOT_ALLOWED: Final = "amqp:not-allowed"
RESOURCE_LIMIT_EXCEEDED: Final = "amqp:resource-limit-exceeded"
UNAUTHORIZED_ACCESS: Final = "amqp:unauthorized-access"
NOT_FOUND: Final = "amqp:not-found"
INTERNAL_ERROR: Final = "amqp:internal-error"
CONNECTION_FORCED: Final = "amqp:connection:forced"
UNATTACHED_HANDLE: Final = "amqp:session:unattached-handle"
HANDLE_IN_USE: Final = "amqp:session:handle-in-use"
TRANSFER_LIMIT_EXCEEDED: Final = "amqp:link:transfer-limit-exceeded"
ILLEGAL_STATE: Final = "amqp:illegal-state"

_HALF: Final = 0x80000000


class LocalError(RuntimeError):
    """The gateway's mistake: a call that the connection's state does not allow."""


class LoginFailure(IntEnum):
    """Why a login is refused before anything else is said. Source: section 5.3.3.6, sasl-code."""

    CREDENTIALS = 1
    UNAVAILABLE = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection or a link is refused: a condition of the standard, and a text for the person who reads it."""

    condition: str
    text: str


# --- events ---


@dataclass(slots=True)
class LoginReceived:
    """To be answered with `accept_login` or `refuse_login`; nothing else is read until then."""

    user_name: str
    password: str


@dataclass(slots=True)
class AttachReceived:
    """A receiver link, to be answered with `accept_link` or `refuse_link`; nothing else is read until then."""

    name: str


@dataclass(slots=True)
class CreditChanged:
    """The peer set its credit, or made room for what could not be sent. Draining: `finish_drain` answers it."""

    is_draining: bool


@dataclass(slots=True)
class Settled:
    """Deliveries that ended, by their ids; the others were given back."""

    delivery_ids: list[int]
    is_accepted: bool


@dataclass(slots=True)
class LinkDetached:
    """The link is gone, and with it every delivery that was not settled."""


@dataclass(slots=True)
class Ended:
    """The connection is over. `condition` is empty when the peer said goodbye; `text` is one sentence for the log."""

    condition: str
    text: str


Event = LoginReceived | AttachReceived | CreditChanged | Settled | LinkDetached | Ended

# the states, in their order
_HEADER: Final = 0  # waits for the protocol header of SASL
_SASL: Final = 1  # waits for SaslInit
_HEADER_AGAIN: Final = 2  # logged in, waits for the protocol header of AMQP
_OPENING: Final = 3  # waits for Open
_OPEN: Final = 4
_CLOSING: Final = 5  # waits for the peer's Close
_OVER: Final = 6


@dataclass(slots=True)
class _Session:
    """A session: what the peer's first transfer would be numbered, our next one, and how many the peer takes."""

    next_incoming_id: int
    next_outgoing_id: int
    window: int


class _Link:
    """The one link, on which we send."""

    __slots__ = (
        "channel",
        "credit",
        "default_outcome",
        "delivery_count",
        "handle",
        "is_draining",
        "unsent",
        "unsettled",
    )

    def __init__(self, channel: int, handle: int, default_outcome: object) -> None:
        self.channel = channel
        self.handle = handle
        self.default_outcome = default_outcome
        self.delivery_count = 0
        self.credit = 0
        self.is_draining = False
        self.unsettled: dict[int, None] = {}
        self.unsent: deque[bytes] = deque()


class _Violation(Exception):
    """What the peer asked for cannot be."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition
        self.text = text


class ServerConnection:
    """One peer's connection, from its first byte to its last.

    A connection ends with exactly one Ended, unless `close` or `refuse_login` ended it; after that nothing is read and
    nothing can be sent.

    now: when the connection was made. closing: close the connection once all is written.
    """

    __slots__ = (
        "_attach",
        "_born_at",
        "_closing_at",
        "_handles",
        "_heard_at",
        "_heartbeat_at",
        "_heartbeat_every_s",
        "_is_deciding",
        "_link",
        "_next_delivery_id",
        "_out",
        "_peer_frame_bytes_max",
        "_refusal",
        "_sessions",
        "_splitter",
        "_state",
        "_was_linked",
        "closing",
    )

    def __init__(self, now: float) -> None:
        self.closing = False
        self._state = _HEADER
        self._splitter = Splitter(FRAME_BYTES_MAX)
        self._out: list[bytes] = []
        self._born_at = self._heard_at = now
        self._closing_at = 0.0
        self._heartbeat_at = 0.0
        self._heartbeat_every_s = 0.0  # 0: the peer asks for none
        self._peer_frame_bytes_max = FRAME_BYTES_MIN
        self._is_deciding = False
        self._refusal: Refusal | None = None
        self._sessions: dict[int, _Session] = {}
        self._handles: set[tuple[int, int]] = set()  # attached by the peer, those of refused links included
        self._attach: tuple[int, Attach] | None = None  # being decided
        self._link: _Link | None = None
        self._was_linked = False
        self._next_delivery_id = 0

    # --- what the peer sends ---

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer and say what they mean. Whatever they are, nothing is raised."""
        events: list[Event] = []
        if self._state == _OVER:
            return events
        self._heard_at = now
        self._splitter.feed(data)
        if self._is_deciding:
            if self._splitter.pending_bytes > HELD_BYTES_MAX:
                self._is_deciding = False
                self._end(events, Ended(RESOURCE_LIMIT_EXCEEDED, f"more than {HELD_BYTES_MAX} bytes before an answer"))
            return events
        self._read(events, now)
        return events

    def receive_eof(self) -> list[Event]:
        """Take the end of the peer's bytes, or the loss of the connection."""
        events: list[Event] = []
        if self._state != _OVER:
            self._end(events, Ended(CONNECTION_FORCED, "the connection was lost"))
        return events

    def deadline(self) -> float | None:
        """Return when `check_time` is due; None when the connection is over. Ask again after every call."""
        if self._state == _OVER:
            return None
        if self._state == _CLOSING:
            return self._closing_at + CLOSE_WAIT_S
        due = self._heard_at + 2 * IDLE_TIME_OUT_MS / 1000
        if not self._was_linked:
            due = min(due, self._born_at + LINK_WAIT_S)
        if self._heartbeat_every_s:
            due = min(due, self._heartbeat_at + self._heartbeat_every_s)
        return due

    def check_time(self, now: float) -> list[Event]:
        """Send a heartbeat, or end the connection, if the time for it has come."""
        events: list[Event] = []
        if self._state == _OVER:
            return events
        if self._state == _CLOSING:
            if now >= self._closing_at + CLOSE_WAIT_S:
                self._state, self.closing = _OVER, True
            return events
        if not self._was_linked and now >= self._born_at + LINK_WAIT_S:
            self._fail(events, RESOURCE_LIMIT_EXCEEDED, f"no receiver link within {LINK_WAIT_S:.0f} s", now)
        elif now >= self._heard_at + 2 * IDLE_TIME_OUT_MS / 1000:
            text = f"nothing was heard for {2 * IDLE_TIME_OUT_MS // 1000} s"
            self._fail(events, RESOURCE_LIMIT_EXCEEDED, text, now)
        elif self._heartbeat_every_s and now >= self._heartbeat_at + self._heartbeat_every_s:
            self._heartbeat_at = now
            self._out.append(HEARTBEAT)
        return events

    # --- what the gateway answers and sends ---

    def accept_login(self, now: float, refusal: Refusal | None = None) -> list[Event]:
        """Say that the credentials are right, and what the peer sent behind them.

        refusal: the connection is closed with it all the same, as soon as it is open and can be told why.

        Raises:
            LocalError: there is no login to accept.
        """
        self._decide(_SASL, "login")
        self._out.append(encode_frame(SaslOutcome(code=0)))
        self._refusal = refusal
        self._state = _HEADER_AGAIN
        events: list[Event] = []
        self._read(events, now)
        return events

    def refuse_login(self, failure: LoginFailure) -> None:
        """Say that the credentials are wrong, or cannot be checked, and end the connection.

        Raises:
            LocalError: there is no login to refuse.
        """
        self._decide(_SASL, "login")
        self._out.append(encode_frame(SaslOutcome(code=int(failure))))
        self._state, self.closing = _OVER, True

    def accept_link(self, now: float) -> list[Event]:
        """Answer an Attach, and say what the peer sent behind it.

        Raises:
            LocalError: there is no link to accept.
        """
        channel, attach = self._decide_link()
        source: Source = attach.source if isinstance(attach.source, Source) else Source()
        self._link = _Link(channel, attach.handle, source.default_outcome)
        self._was_linked = True
        address = source.address if isinstance(source.address, str) else None
        answer = Attach(
            name=attach.name,
            handle=attach.handle,
            role=False,
            snd_settle_mode=0,
            rcv_settle_mode=attach.rcv_settle_mode,
            source=Source(
                address=address,
                expiry_policy=source.expiry_policy,
                default_outcome=source.default_outcome,
                outcomes=source.outcomes,
                capabilities=source.capabilities,
            ),
            target=attach.target if isinstance(attach.target, Target) else Target(),
            initial_delivery_count=0,
        )
        self._send(channel, answer)
        events: list[Event] = []
        self._read(events, now)
        return events

    def refuse_link(self, refusal: Refusal, now: float) -> list[Event]:
        """Refuse an Attach, and say what the peer sent behind it.

        Raises:
            LocalError: there is no link to refuse.
        """
        channel, attach = self._decide_link()
        self._refuse_attach(channel, attach, refusal)
        events: list[Event] = []
        self._read(events, now)
        return events

    @property
    def credit(self) -> int:
        """How many messages the peer takes from now on; 0 without a link."""
        return self._link.credit if self._link is not None else 0

    @property
    def is_ready(self) -> bool:
        """True when a message can be sent: there is credit, and the one before has left whole."""
        link = self._link
        if link is None or not link.credit or link.unsent or self._state != _OPEN:
            return False
        return self._sessions[link.channel].window > 0

    @property
    def is_draining(self) -> bool:
        """True when the peer waits to be told that there is no more."""
        return self._link is not None and self._link.is_draining

    def send(self, message: bytes) -> int:
        """Send a message. What the session's window does not take yet is kept and sent when it does.

        Returns:
            The delivery id that Settled will name.

        Raises:
            LocalError: `is_ready` is False.
        """
        link = self._link
        if link is None or not self.is_ready:
            raise LocalError("there is no credit for a message")
        delivery_id = self._next_delivery_id
        self._next_delivery_id = (delivery_id + 1) & UINT_MAX
        frames = encode_transfers(link.channel, link.handle, delivery_id, message, self._peer_frame_bytes_max)
        link.unsettled[delivery_id] = None
        link.credit -= 1
        link.delivery_count = (link.delivery_count + 1) & UINT_MAX
        link.unsent.extend(frames)
        self._send_unsent(link)
        return delivery_id

    def finish_drain(self) -> None:
        """Tell the peer that there is no more for the credit it gave; harmless when it does not wait for that."""
        link = self._link
        if link is None or not link.is_draining or self._state != _OPEN:
            return
        link.delivery_count = (link.delivery_count + link.credit) & UINT_MAX
        link.credit = 0
        self._send_flow(link.channel, link)
        link.is_draining = False

    def close(self, refusal: Refusal, now: float) -> None:
        """End the connection in any state; one that is open is told why, and has CLOSE_WAIT_S to say goodbye."""
        if self._state == _OPEN:
            self._send(0, Close(error=Error(condition=refusal.condition, description=refusal.text)))
            self._state = _CLOSING
            self._closing_at = now
        elif self._state < _OPEN:
            self._state, self.closing = _OVER, True
        self._link = None
        self._is_deciding = False

    def data_to_send(self) -> bytes:
        """Return the bytes to write, and forget them."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # --- reading ---

    def _read(self, events: list[Event], now: float) -> None:
        try:
            while not self._is_deciding and self._state != _OVER:
                if self._state in (_HEADER, _HEADER_AGAIN):
                    header = self._splitter.take_header()
                    if header is None:
                        return
                    self._take_header(header, events)
                    continue
                frame = self._splitter.take_frame()
                if frame is None:
                    return
                if (frame.type == SASL_FRAME) != (self._state == _SASL):
                    raise Malformed(FRAMING_ERROR, f"a frame of type {frame.type} stands in the wrong place")
                performative, _ = decode_frame(frame)
                if performative is not None:
                    self._take(frame.channel, performative, events, now)
        except Malformed as error:
            self._fail(events, error.condition, error.text, now)
            self._state, self.closing = _OVER, True
        except _Violation as violation:
            self._fail(events, violation.condition, violation.text, now)

    def _take_header(self, header: bytes, events: list[Event]) -> None:
        wanted = SASL_HEADER if self._state == _HEADER else AMQP_HEADER
        self._out.append(wanted)
        if header != wanted:  # section 2.2: answer with what is spoken here, and close
            self._end(events, Ended(FRAMING_ERROR, f"the protocol header is {header!r}, not {wanted!r}"))
        elif self._state == _HEADER:
            self._out.append(encode_frame(SaslMechanisms(sasl_server_mechanisms=(Symbol("PLAIN"),))))
            self._state = _SASL
        else:
            self._state = _OPENING

    def _take(
        self, channel: int, performative: Performative | SaslPerformative, events: list[Event], now: float
    ) -> None:
        if self._state == _CLOSING:
            if isinstance(performative, Close):
                self._state, self.closing = _OVER, True
            return
        if self._state == _SASL:
            self._take_init(performative, events)
            return
        if (self._state == _OPENING) != isinstance(performative, Open):
            raise _Violation(ILLEGAL_STATE, f"{type(performative).__name__} stands in the wrong place")
        match performative:
            case Disposition():
                self._take_disposition(channel, performative, events)
            case Flow():
                self._take_flow(channel, performative, events)
            case Open():
                self._take_open(performative, events, now)
            case Begin():
                self._take_begin(channel, performative)
            case Attach():
                self._take_attach(channel, performative, events)
            case Detach():
                self._take_detach(channel, performative, events)
            case Transfer():
                raise _Violation(TRANSFER_LIMIT_EXCEEDED, "a message came; nobody has credit to send one")
            case End():
                self._take_end(channel, events)
            case Close():
                self._send(0, Close())
                error = performative.error
                self._end(events, Ended(error.condition, error.description or "") if error else Ended("", "closed"))

    def _take_init(self, performative: Performative | SaslPerformative, events: list[Event]) -> None:
        if not isinstance(performative, SaslInit):
            raise Malformed(FRAMING_ERROR, f"{type(performative).__name__} stands where SaslInit belongs")
        parts = (performative.initial_response or b"").split(b"\0")
        try:
            # an identity to act as, one's own, the password; to act as somebody else is nobody allowed. RFC 4616
            acting_as, user_name, password = (part.decode() for part in parts)
        except ValueError:
            acting_as = user_name = password = ""
        if performative.mechanism != "PLAIN" or not user_name or acting_as not in ("", user_name):
            self._out.append(encode_frame(SaslOutcome(code=int(LoginFailure.CREDENTIALS))))
            self._end(events, Ended(UNAUTHORIZED_ACCESS, "the login is not one of SASL PLAIN"))
            return
        self._is_deciding = True
        events.append(LoginReceived(user_name, password))

    def _take_open(self, peer: Open, events: list[Event], now: float) -> None:
        self._send(
            0,
            Open(
                container_id=CONTAINER_ID,
                max_frame_size=FRAME_BYTES_MAX,
                channel_max=CHANNEL_MAX,
                idle_time_out=IDLE_TIME_OUT_MS,
                properties={Symbol("product"): "Linkstead"},
            ),
        )
        self._state = _OPEN
        if self._refusal is not None:
            self._fail(events, self._refusal.condition, self._refusal.text, now)
            return
        if peer.max_frame_size < FRAME_BYTES_MIN:
            text = f"max-frame-size {peer.max_frame_size} is less than {FRAME_BYTES_MIN}"
            raise _Violation(INVALID_FIELD, text)
        if peer.idle_time_out:
            if not IDLE_TIME_OUT_MS_MIN <= peer.idle_time_out <= IDLE_TIME_OUT_MS_MAX:
                text = (
                    f"9601: idle-time-out {peer.idle_time_out} ms is outside {IDLE_TIME_OUT_MS_MIN}.."
                    f"{IDLE_TIME_OUT_MS_MAX}: set the heartbeat to 30 to 300 s"
                )
                raise _Violation(INVALID_FIELD, text)
            self._heartbeat_every_s = peer.idle_time_out / 2000
            self._heartbeat_at = now
        self._peer_frame_bytes_max = min(peer.max_frame_size, FRAME_BYTES_MAX)

    def _take_begin(self, channel: int, begin: Begin) -> None:
        if channel > CHANNEL_MAX:
            raise _Violation(FRAMING_ERROR, f"channel {channel} is over channel-max {CHANNEL_MAX}")
        if begin.remote_channel is not None or channel in self._sessions:
            raise _Violation(ILLEGAL_STATE, f"Begin on channel {channel}, which is begun, or answers nothing")
        self._sessions[channel] = _Session(begin.next_outgoing_id, 0, begin.incoming_window)
        answer = Begin(
            remote_channel=channel,
            next_outgoing_id=0,
            incoming_window=INCOMING_WINDOW,
            outgoing_window=UINT_MAX >> 1,
            handle_max=HANDLE_MAX,
        )
        self._send(channel, answer)

    def _session(self, channel: int) -> _Session:
        session = self._sessions.get(channel)
        if session is None:
            raise _Violation(ILLEGAL_STATE, f"there is no session on channel {channel}")
        return session

    def _take_attach(self, channel: int, attach: Attach, events: list[Event]) -> None:
        self._session(channel)
        if attach.handle > HANDLE_MAX:
            raise _Violation(FRAMING_ERROR, f"handle {attach.handle} is over handle-max {HANDLE_MAX}")
        if (channel, attach.handle) in self._handles:
            raise _Violation(HANDLE_IN_USE, f"handle {attach.handle} is attached")
        self._handles.add((channel, attach.handle))
        refusal = self._check_attach(attach)
        if refusal is not None:
            self._refuse_attach(channel, attach, refusal)
            return
        self._attach = (channel, attach)
        self._is_deciding = True
        events.append(AttachReceived(attach.name))

    def _check_attach(self, attach: Attach) -> Refusal | None:
        if not attach.role:
            return Refusal(NOT_ALLOWED, "messages are only sent from here: attach a receiver")
        if self._link is not None:
            return Refusal(NOT_ALLOWED, "a connection has one receiver link")
        if attach.source is not None and not isinstance(attach.source, Source):
            return Refusal(NOT_IMPLEMENTED, "the source is not one of messages")
        if attach.source is not None and attach.source.dynamic:
            return Refusal(NOT_IMPLEMENTED, "there are no dynamic sources")
        return None

    def _refuse_attach(self, channel: int, attach: Attach, refusal: Refusal) -> None:
        """Answer with a link without a source or target, and end it. Source: section 2.6.3."""
        is_sender = not attach.role
        answer = Attach(
            name=attach.name,
            handle=attach.handle,
            role=is_sender,
            source=attach.source if is_sender else None,
            target=None if is_sender else attach.target,
            initial_delivery_count=None if is_sender else 0,
        )
        self._send(channel, answer)
        error = Error(condition=refusal.condition, description=refusal.text)
        self._send(channel, Detach(handle=attach.handle, closed=True, error=error))

    def _take_flow(self, channel: int, flow: Flow, events: list[Event]) -> None:
        session = self._session(channel)
        # section 2.5.6: what the peer had seen when it said so, and how much more it takes from there
        end = (flow.next_incoming_id or 0) + flow.incoming_window
        window = (end - session.next_outgoing_id) & UINT_MAX
        session.window = window if window < _HALF or flow.incoming_window >= _HALF else 0
        link = self._link
        own = link is not None and link.channel == channel and (flow.handle is None or flow.handle == link.handle)
        if flow.handle is not None and (channel, flow.handle) not in self._handles:
            raise _Violation(UNATTACHED_HANDLE, f"there is no link with handle {flow.handle}")
        if link is None or not own:
            if flow.echo:
                self._send_flow(channel, None)
            return
        if flow.handle is not None:
            if flow.link_credit is not None:
                # section 2.6.7
                credit = ((flow.delivery_count or 0) + flow.link_credit - link.delivery_count) & UINT_MAX
                link.credit = credit if credit < _HALF else 0
            link.is_draining = flow.drain
        self._send_unsent(link)
        if flow.echo:
            self._send_flow(channel, link if flow.handle is not None else None)
        events.append(CreditChanged(link.is_draining))

    def _take_disposition(self, channel: int, disposition: Disposition, events: list[Event]) -> None:
        self._session(channel)
        link = self._link
        if not disposition.role or link is None or link.channel != channel:
            return
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        span = (last - first) & UINT_MAX
        if span >= _HALF:
            raise _Violation(INVALID_FIELD, f"a disposition ends at {last}, before its first, {first}")
        if span < len(link.unsettled):
            ids = [id_ for id_ in ((first + step) & UINT_MAX for step in range(span + 1)) if id_ in link.unsettled]
        else:
            ids = [id_ for id_ in link.unsettled if (id_ - first) & UINT_MAX <= span]
        outcome = disposition.state
        if not isinstance(outcome, Accepted | Rejected | Released | Modified):
            if not disposition.settled:
                return
            outcome = link.default_outcome
        if not ids:
            return
        for delivery_id in ids:
            del link.unsettled[delivery_id]
        if not disposition.settled:
            answer = Disposition(role=False, first=first, last=last, settled=True, state=outcome)
            self._send(channel, answer)
        events.append(Settled(ids, isinstance(outcome, Accepted)))

    def _take_detach(self, channel: int, detach: Detach, events: list[Event]) -> None:
        self._session(channel)
        if (channel, detach.handle) not in self._handles:
            raise _Violation(UNATTACHED_HANDLE, f"there is no link with handle {detach.handle}")
        self._handles.remove((channel, detach.handle))
        link = self._link
        # A link that was refused is detached from our side already.
        if link is not None and (link.channel, link.handle) == (channel, detach.handle):
            self._link = None
            self._send(channel, Detach(handle=detach.handle, closed=detach.closed))
            events.append(LinkDetached())

    def _take_end(self, channel: int, events: list[Event]) -> None:
        self._session(channel)
        del self._sessions[channel]
        self._handles = {handle for handle in self._handles if handle[0] != channel}
        self._send(channel, End())
        if self._link is not None and self._link.channel == channel:
            self._link = None
            events.append(LinkDetached())

    # --- writing ---

    def _send(self, channel: int, performative: Performative) -> None:
        self._out.append(encode_frame(performative, channel))

    def _send_unsent(self, link: _Link) -> None:
        session = self._sessions[link.channel]
        while link.unsent and session.window > 0:
            self._out.append(link.unsent.popleft())
            session.window -= 1
            session.next_outgoing_id = (session.next_outgoing_id + 1) & UINT_MAX

    def _send_flow(self, channel: int, link: _Link | None) -> None:
        session = self._sessions[channel]
        flow = Flow(
            next_incoming_id=session.next_incoming_id,
            incoming_window=INCOMING_WINDOW,
            next_outgoing_id=session.next_outgoing_id,
            outgoing_window=UINT_MAX >> 1,
        )
        if link is not None:
            flow.handle = link.handle
            flow.delivery_count = link.delivery_count
            flow.link_credit = link.credit
            flow.drain = link.is_draining
        self._send(channel, flow)

    # --- endings ---

    def _decide(self, state: int, what: str) -> None:
        if not self._is_deciding or self._state != state:
            raise LocalError(f"there is no {what} to decide")
        self._is_deciding = False

    def _decide_link(self) -> tuple[int, Attach]:
        if self._attach is None:
            raise LocalError("there is no link to decide")
        self._decide(_OPEN, "link")
        attach, self._attach = self._attach, None
        return attach

    def _fail(self, events: list[Event], condition: str, text: str, now: float) -> None:
        """End the connection for something that is wrong; the peer is told what when it can be."""
        if self._state == _OPENING:
            self._send(0, Open(container_id=CONTAINER_ID))
            self._state = _OPEN
        if self._state == _CLOSING:
            return
        self.close(Refusal(condition, text), now)
        events.append(Ended(condition, text))

    def _end(self, events: list[Event], ended: Ended) -> None:
        """End the connection without another word."""
        was_closing = self._state == _CLOSING
        self._state, self.closing = _OVER, True
        self._link = None
        if not was_closing:
            events.append(ended)

"""The AMQP endpoint: connections of consumers, between the sans-IO protocol and the dispatcher of the backlog.

Bytes go to `ServerConnection`, its events come back here: a login is checked against the access keys, a link is
attached to its group's backlog, settlements go back to it. A `ConsumerConnection` is the dispatcher's `Consumer`.
"""

import asyncio
import base64
import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import cast

from linkstead.amqp import credentials, protocol
from linkstead.amqp.frames import encode_message
from linkstead.amqp.protocol import LoginFailure, Refusal, ServerConnection
from linkstead.api.audit import Audit
from linkstead.api.authorization import CONSUME, authorize_products
from linkstead.api.tokens import check_token
from linkstead.clock import Clock, Timer, milliseconds
from linkstead.errors import ApiError
from linkstead.measures import Sample
from linkstead.newcomers import Newcomers
from linkstead.registry import AccessKey, Registry
from linkstead.subscription import (
    DEFAULT_GROUP_ID,
    Attachment,
    ConsumerGroup,
    Dispatcher,
    GroupStore,
    Letter,
    TooManyConsumers,
)

log = logging.getLogger(__name__)

NEWCOMERS_MAX, NEWCOMERS_OF_ADDRESS_MAX = 1_000, 250
"""Connections whose login was not accepted yet: in all, and of one address."""

NEWCOMERS_BYTES_MAX = 16 * 1024 * 1024
"""What all of them together have sent."""

CONNECTIONS_OF_ACCOUNT_MAX = 128
CONNECTS_PER_MINUTE_MAX = 100
"""Of one account. Source of both: `device-protocol.md` 8.1."""

WRITE_BUFFER_BYTES_MAX = 256 * 1024
"""Bytes waiting for a consumer that does not read; past it no letter is sent. One letter may stand over it."""

ANSWER_BUFFER_BYTES_MAX = 1024 * 1024
"""Past it the consumer is read no more: whatever it sends may be answered."""

BATCH_BYTES = 64 * 1024
"""Letters are written together up to this much."""

TAKE_MAX = 64
"""Letters asked for at once, however much credit the consumer gives."""

UNSETTLED_MAX = 2_000
UNSETTLED_BYTES_MAX = 16 * 1024 * 1024
"""Sent and not settled: past either no letter is asked for. Past the second by TAKE_MAX letters at most."""

DRAIN_WAIT_S = 0.2
"""For letters to come when a consumer drains its credit, before it is told that there are none."""

LOGIN, LOGIN_FAILED = "AMQP login", "amqp:unauthorized-access"
"""How a login is called in the audit log, and the code of one with wrong credentials."""

CLOSE_WAIT_S = 5.0
"""For the last bytes to leave before a closed connection is cut."""

STOPPING = Refusal(protocol.CONNECTION_FORCED, "9602: the server stops")
KEY_WITHDRAWN = Refusal(protocol.UNAUTHORIZED_ACCESS, "the access key was disabled, deleted, or has expired")
GROUP_DELETED = Refusal(protocol.NOT_FOUND, "the consumer group was deleted")


class ConsumerGateway:
    """What all connections of consumers share.

    Args:
        registry: access keys and their secrets.
        groups: consumer groups.
        dispatcher: where a consumer is attached.
        audit: keeps which logins are refused.
        clock: time limits.
    """

    def __init__(
        self, *, registry: Registry, groups: GroupStore, dispatcher: Dispatcher, audit: Audit, clock: Clock
    ) -> None:
        self.registry = registry
        self.groups = groups
        self.dispatcher = dispatcher
        self.audit = audit
        self.clock = clock
        self.newcomers = Newcomers(NEWCOMERS_MAX, NEWCOMERS_OF_ADDRESS_MAX, NEWCOMERS_BYTES_MAX)
        self.connections: set[ConsumerConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_draining = False
        self._count_of_account: Counter[str] = Counter()
        self._connects_of_account: dict[str, deque[float]] = {}
        self._all_closed = asyncio.Event()

    def make_protocol(self) -> "ConsumerConnection":
        """A protocol for one accepted connection."""
        return ConsumerConnection(self)

    def sample(self) -> Iterator[Sample]:
        """Connections of consumers."""
        yield "linkstead_amqp_connections", (), float(len(self.connections))
        yield "linkstead_newcomers", ("amqp",), float(self.newcomers.count)
        yield "linkstead_newcomers_refused_total", ("amqp",), float(self.newcomers.refused_count)

    def enter(self, account_id: str) -> Refusal | None:
        """Count a connection of an account; `leave` undoes it. None when the account may have one more."""
        now_s = self.clock.monotonic_s()
        connects = self._connects_of_account.setdefault(account_id, deque())
        while connects and connects[0] <= now_s - 60:
            connects.popleft()
        if len(connects) >= CONNECTS_PER_MINUTE_MAX:
            text = f"the account connected {CONNECTS_PER_MINUTE_MAX} times within a minute"
            return Refusal(protocol.RESOURCE_LIMIT_EXCEEDED, text)
        connects.append(now_s)
        if self._count_of_account[account_id] >= CONNECTIONS_OF_ACCOUNT_MAX:
            text = f"the account has {CONNECTIONS_OF_ACCOUNT_MAX} connections"
            return Refusal(protocol.RESOURCE_LIMIT_EXCEEDED, text)
        self._count_of_account[account_id] += 1
        return None

    def leave(self, account_id: str) -> None:
        """Count a connection no more."""
        self._count_of_account[account_id] -= 1
        if not self._count_of_account[account_id]:
            del self._count_of_account[account_id]

    def remove(self, connection: "ConsumerConnection") -> None:
        """Forget a connection that ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    async def review(self) -> None:
        """Send away the consumers whose keys, or whose users' rights, are no longer good."""
        for connection in list(self.connections):
            if connection.access_key_id and (refusal := await self._judge(connection)):
                connection.close(refusal)

    async def _judge(self, connection: "ConsumerConnection") -> Refusal | None:
        key = await self.registry.find_access_key(connection.access_key_id)
        if key is None or not key.enabled:
            return KEY_WITHDRAWN
        return await self.authorize(key)

    def expire(self) -> None:
        """Send away the consumers whose temporary keys have ended."""
        now_ms = milliseconds(self.clock.time_s())
        for connection in list(self.connections):
            if 0 < connection.expires_ms <= now_ms:
                connection.close(KEY_WITHDRAWN)

    async def authorize(self, key: AccessKey) -> Refusal | None:
        """None when the key's owner may consume."""
        try:
            await authorize_products(self.registry, key, CONSUME)
        except ApiError as error:
            return Refusal(protocol.UNAUTHORIZED_ACCESS, f"{error.code}: a RAM user needs {CONSUME} on every product")
        return None

    async def close(self) -> None:
        """Take no more consumers, end every connection, and return when all are gone."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.close(STOPPING)
        while self.tasks:
            await asyncio.wait(self.tasks)
        if self.connections:
            self._all_closed.clear()
            await self._all_closed.wait()


class ConsumerConnection(asyncio.Protocol):
    """One connection of a consumer, or of something that wants to be one. It is the attachment's `Consumer`."""

    __slots__ = (
        "_account_id",
        "_attachment",
        "_closing",
        "_destination",
        "_drain_timer",
        "_gateway",
        "_granted",
        "_is_base64",
        "_is_offering",
        "_is_paused",
        "_letters",
        "_machine",
        "_newcomer",
        "_newcomer_bytes",
        "_timer",
        "_timer_due_s",
        "_transport",
        "_unsettled_bytes",
        "_waiting",
        "access_key_id",
        "client_id",
        "expires_ms",
        "peer",
    )

    def __init__(self, gateway: ConsumerGateway) -> None:
        self.client_id = ""
        self.access_key_id = ""
        self.expires_ms = 0  # of a temporary key
        self.peer = ""
        self._gateway = gateway
        self._machine = ServerConnection(gateway.clock.monotonic_s())
        self._transport: asyncio.Transport | None = None
        self._account_id = ""  # that it is counted for
        self._destination = ""
        self._is_base64 = False
        self._attachment: Attachment | None = None
        self._letters: dict[int, Letter] = {}  # sent and not settled, by delivery id
        self._unsettled_bytes = 0
        self._waiting: deque[Letter] = deque()  # taken and not sent
        self._granted = 0
        self._is_offering = False
        self._is_paused = False
        self._closing = False
        self._newcomer: str | None = None  # the address that it is counted for
        self._newcomer_bytes = 0
        self._timer: Timer | None = None
        self._timer_due_s = 0.0
        self._drain_timer: Timer | None = None

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the peer has some time to attach a link."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._gateway.newcomers.enter(address):
            # Not a word, and nothing in the log: that is what a flood would fill.
            self._transport.abort()
            return
        self._newcomer = address
        self._gateway.connections.add(self)
        if self._gateway.is_draining:
            self._close_transport()
        else:
            self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, for whatever reason."""
        self._transport = None
        self._settle_in()
        self._handle(self._machine.receive_eof())
        self._detach()
        if self._timer is not None:
            self._timer.cancel()
        if self._account_id:
            self._gateway.leave(self._account_id)
            self._account_id = ""
        self._gateway.remove(self)

    def _settle_in(self) -> None:
        """It is known whose the connection is, or it is over."""
        if self._newcomer is not None:
            self._gateway.newcomers.leave(self._newcomer, self._newcomer_bytes)
            self._newcomer = None

    def pause_writing(self) -> None:
        """The consumer does not read fast enough."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """It has read."""
        self._is_paused = False
        transport = self._transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the consumer."""
        if self._newcomer is not None:
            self._newcomer_bytes += len(data)
            if not self._gateway.newcomers.keep(len(data)):
                self._abort()
                return
        self._handle(self._machine.receive_data(data, self._gateway.clock.monotonic_s()))
        self._flush()

    def eof_received(self) -> bool:
        """The consumer sends no more: that is the end."""
        self._handle(self._machine.receive_eof())
        return False

    # the Consumer port

    def take(self, letters: Sequence[Letter]) -> None:
        """See `Consumer.take`."""
        self._granted -= len(letters)
        self._waiting.extend(letters)
        self._pump()

    def dismiss(self) -> None:
        """See `Consumer.dismiss`."""
        self.close(GROUP_DELETED)

    def close(self, refusal: Refusal) -> None:
        """End the connection; the consumer is told why."""
        self._machine.close(refusal, self._gateway.clock.monotonic_s())
        self._detach()
        self._flush()

    # events of the protocol

    def _handle(self, events: list[protocol.Event]) -> None:
        while events:
            more: list[protocol.Event] = []
            for event in events:
                more += self._take_event(event)
            events = more

    def _take_event(self, event: protocol.Event) -> list[protocol.Event]:
        """Take one event, and say what follows from its answer: one that asks for an answer is the last there is."""
        match event:
            case protocol.Settled():
                self._settle(event)
            case protocol.CreditChanged():
                self._take_credit(event)
            case protocol.LoginReceived():
                self._begin_login(event)
            case protocol.AttachReceived():
                return self._attach()
            case protocol.LinkDetached():
                log.info("consumer detached", extra=self._fields())
                self._detach()
            case protocol.Ended():
                level = logging.WARNING if event.condition else logging.INFO
                text = f"{event.condition}: {event.text}" if event.condition else event.text
                log.log(level, "consumer's connection ended: %s", text, extra=self._fields())
                self._detach()
        return []

    def _begin_login(self, event: protocol.LoginReceived) -> None:
        task = asyncio.get_running_loop().create_task(self._log_in(event))
        self._gateway.tasks.add(task)
        task.add_done_callback(self._gateway.tasks.discard)

    async def _log_in(self, event: protocol.LoginReceived) -> None:
        verdict: LoginFailure | Refusal | str | None
        try:
            verdict = await self._check(event)
        except Exception:
            # The edge of the core: with the store away nobody can be let in, and the loop goes on.
            log.exception("login could not be checked", extra=self._fields())
            verdict = LoginFailure.UNAVAILABLE
        if self._transport is None or self._machine.closing:
            return
        if isinstance(verdict, str):
            verdict = self._enter(verdict)
        if isinstance(verdict, LoginFailure):
            self._machine.refuse_login(verdict)
        else:
            self._settle_in()
            if verdict is not None:
                log.warning("consumer refused: %s", verdict.text, extra=self._fields())
            self._handle(self._machine.accept_login(self._gateway.clock.monotonic_s(), verdict))
        self._flush()

    async def _check(self, event: protocol.LoginReceived) -> LoginFailure | Refusal | str:
        """Check a login, and return the account it belongs to.

        What a person can mend is told as a refusal, that the credentials are wrong as a failure.
        """
        gateway = self._gateway
        try:
            login = credentials.parse_user_name(event.user_name)
        except credentials.BadUserName as error:
            return Refusal(protocol.UNAUTHORIZED_ACCESS, str(error))
        self.client_id = login.client_id
        key = await gateway.registry.find_access_key(login.access_key_id)
        is_right = key is not None and credentials.check_password(login, key.secret, event.password)
        if key is None or not is_right or not key.enabled:
            log.warning("login refused: no such key, or not its password, or disabled", extra=self._fields())
            self._record_refusal(LOGIN_FAILED, None, key, login.access_key_id)
            return LoginFailure.CREDENTIALS
        verdict = await self._admit(login, key)
        if isinstance(verdict, Refusal):
            self._record_refusal(verdict.text.partition(":")[0], key)
        return verdict

    def _record_refusal(
        self, code: str, caller: AccessKey | None, claimed: AccessKey | None = None, claimed_id: str = ""
    ) -> None:
        self._gateway.audit.record(
            action=LOGIN,
            code=code,
            request_id="",
            address=self.peer.rpartition(":")[0],
            caller=caller,
            claimed=claimed,
            claimed_id=claimed_id,
        )

    async def _admit(self, login: credentials.Login, key: AccessKey) -> Refusal | str:
        """What is asked of a consumer whose password is right; returns the account."""
        gateway = self._gateway
        # From here on a change of the key ends the connection.
        self.access_key_id = key.access_key_id
        self.expires_ms = key.expires_ms
        if key.is_temporary:
            try:
                check_token(key, login.security_token, gateway.clock.time_s())
            except ApiError as error:
                return Refusal(protocol.UNAUTHORIZED_ACCESS, f"{error.code}: {error.message('en')}")
        refusal = await gateway.authorize(key)
        if refusal is not None:
            return refusal
        group_id = login.consumer_group_id or DEFAULT_GROUP_ID
        group: ConsumerGroup | None = ConsumerGroup(group_id, key.account_id, group_id, 0)
        if group_id != DEFAULT_GROUP_ID:
            group = await gateway.groups.find_consumer_group(key.account_id, group_id)
        if group is None:
            return Refusal(protocol.NOT_FOUND, f"consumerGroupId: the account has no group {group_id!r:.80}")
        self._destination = group.destination
        self._is_base64 = login.is_base64
        return key.account_id

    def _enter(self, account_id: str) -> Refusal | None:
        if self._gateway.is_draining:
            return STOPPING
        refusal = self._gateway.enter(account_id)
        if refusal is None:
            self._account_id = account_id
        return refusal

    def _attach(self) -> list[protocol.Event]:
        now_s = self._gateway.clock.monotonic_s()
        try:
            self._attachment = self._gateway.dispatcher.attach(self._destination, self)
        except TooManyConsumers:
            text = "9600: the group has as many consumers as it may have"
            log.warning("consumer refused: %s", text, extra=self._fields())
            return self._machine.refuse_link(Refusal(protocol.RESOURCE_LIMIT_EXCEEDED, text), now_s)
        log.info("consumer attached", extra=self._fields())
        return self._machine.accept_link(now_s)

    def _take_credit(self, event: protocol.CreditChanged) -> None:
        self._pump()
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        if event.is_draining:
            wait_s = DRAIN_WAIT_S if self._machine.credit else 0.0
            self._drain_timer = self._gateway.clock.call_later(wait_s, self._finish_drain)

    def _finish_drain(self) -> None:
        self._drain_timer = None
        self._machine.finish_drain()
        self._offer()
        self._flush()

    def _settle(self, event: protocol.Settled) -> None:
        attachment = self._attachment
        if attachment is None:
            return
        settle = attachment.accept if event.is_accepted else attachment.release
        for delivery_id in event.delivery_ids:
            letter = self._letters.pop(delivery_id)
            self._unsettled_bytes -= len(letter.payload)
            settle(letter)
        self._offer()

    # letters

    def _pump(self) -> None:
        """Send what was taken as far as there is credit and room, and ask for more."""
        machine = self._machine
        unwritten = 0
        while self._waiting and machine.is_ready and not self._is_paused:
            letter = self._waiting.popleft()
            message = self._encode(letter)
            self._letters[machine.send(message)] = letter
            self._unsettled_bytes += len(letter.payload)
            unwritten += len(message)
            if unwritten >= BATCH_BYTES:
                self._flush()
                unwritten = 0
        self._flush()
        self._offer()

    def _encode(self, letter: Letter) -> bytes:
        return encode_message(
            letter.topic,
            base64.b64encode(letter.payload) if self._is_base64 else letter.payload,
            message_id=str(letter.message_id),
            generated_ms=letter.generated_ms,
            qos=letter.qos,
            attempts=letter.attempts,
        )

    def _offer(self) -> None:
        """Tell the dispatcher how many letters can be taken; it may hand some out there and then."""
        if self._is_offering:
            return
        self._is_offering = True
        try:
            while self._attachment is not None and (room := self._room()) != self._granted:
                self._granted = room
                self._attachment.grant(room)
        finally:
            self._is_offering = False

    def _room(self) -> int:
        machine = self._machine
        if self._is_paused or not machine.is_ready or self._unsettled_bytes >= UNSETTLED_BYTES_MAX:
            return 0
        free = min(machine.credit, UNSETTLED_MAX - len(self._letters)) - len(self._waiting)
        return max(0, min(free, TAKE_MAX))

    def _detach(self) -> None:
        """Give back what was not settled."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        attachment, self._attachment = self._attachment, None
        self._letters = {}
        self._waiting.clear()
        self._unsettled_bytes = self._granted = 0
        if attachment is not None:
            attachment.detach()

    # time and bytes

    def _flush(self) -> None:
        data = self._machine.data_to_send()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
            if transport.get_write_buffer_size() > ANSWER_BUFFER_BYTES_MAX:
                transport.pause_reading()
        if self._machine.closing:
            self._close_transport()
        elif not self._closing:
            self._set_timer()

    def _close_transport(self) -> None:
        if self._transport is None or self._closing:
            return
        self._closing = True
        self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._gateway.clock.call_later(CLOSE_WAIT_S, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _set_timer(self) -> None:
        deadline_s = self._machine.deadline()
        if deadline_s is None or (self._timer is not None and self._timer_due_s <= deadline_s):
            # A deadline moves with every byte; what it became is looked at when the timer runs.
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = deadline_s
        wait_s = deadline_s - self._gateway.clock.monotonic_s()
        self._timer = self._gateway.clock.call_later(max(wait_s, 0.0), self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._transport is not None:
            self._handle(self._machine.check_time(self._gateway.clock.monotonic_s()))
            self._flush()

    def _fields(self) -> dict[str, object]:
        return {"consumer": self.client_id, "group": self._destination, "peer": self.peer}

"""The state machine, by what it says and writes; there is no socket and no clock."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.amqp.frames import (
    AMQP_HEADER,
    HEARTBEAT,
    SASL_HEADER,
    UINT_MAX,
    Accepted,
    Attach,
    Begin,
    Close,
    Described,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Symbol,
    Target,
    Transfer,
    encode_frame,
)
from linkstead.amqp.protocol import (
    CHANNEL_MAX,
    CLOSE_WAIT_S,
    FRAME_BYTES_MAX,
    HANDLE_MAX,
    HELD_BYTES_MAX,
    IDLE_TIME_OUT_MS,
    LINK_WAIT_S,
    AttachReceived,
    CreditChanged,
    Ended,
    LinkDetached,
    LocalError,
    LoginFailure,
    LoginReceived,
    Refusal,
    ServerConnection,
    Settled,
)
from tests.amqp.peer import BEGIN, OPEN, Reader, attach, flow, plain, settle

NOW = 100.0


class Talk:
    """A connection, and what it wrote."""

    def __init__(self) -> None:
        self.machine = ServerConnection(NOW)
        self.reader = Reader()

    def say(self, *said: Any, channel: int = 0, now: float = NOW) -> list[Any]:
        """Have the peer say something; the events."""
        data = b"".join(each if isinstance(each, bytes) else encode_frame(each, channel) for each in said)
        return list(self.machine.receive_data(data, now))

    def written(self) -> list[Any]:
        """What was written since."""
        return self.reader.read(self.machine.data_to_send())

    def is_closing(self) -> bool:
        """True when the gateway is to close the connection."""
        return self.machine.closing

    def is_ready(self) -> bool:
        """True when a message can be sent."""
        return self.machine.is_ready

    def attached(self, credit: int = 0, **fields: Any) -> "Talk":
        """Come to an attached link."""
        self.opened()
        assert self.say(BEGIN, attach(**fields)) == [AttachReceived("link")]
        assert self.machine.accept_link(NOW) == []
        if credit:
            assert self.say(flow(credit)) == [CreditChanged(False)]
        self.written()
        return self

    def opened(self, opening: Open = OPEN) -> "Talk":
        """Come to an open connection."""
        assert self.say(SASL_HEADER, plain("name", "pass")) == [LoginReceived("name", "pass")]
        assert self.machine.accept_login(NOW) == []
        assert self.say(AMQP_HEADER, opening) == []
        self.written()
        return self

    def fails(self, condition: str, *said: Any, channel: int = 0) -> str:
        """Have the peer say what ends the connection with this condition, and say goodbye; the text."""
        (ended,) = self.say(*said, channel=channel)
        assert isinstance(ended, Ended)
        assert ended.condition == condition
        closed = self.written()[-1]
        assert closed == Close(error=Error(condition=condition, description=ended.text))
        assert not self.is_closing()
        assert self.say(BEGIN, HEARTBEAT, channel=9) == []
        assert self.say(Close()) == []
        assert self.is_closing()
        assert self.written() == []
        assert self.machine.receive_eof() == []
        return ended.text


# --- coming in ---


def test_a_connection_opens_step_by_step() -> None:
    talk = Talk()
    assert talk.say(SASL_HEADER) == []
    assert talk.written() == [SASL_HEADER, SaslMechanisms(sasl_server_mechanisms=("PLAIN",))]
    assert talk.say(plain("name", "pass")) == [LoginReceived("name", "pass")]
    assert talk.written() == []
    assert talk.machine.accept_login(NOW) == []
    assert talk.written() == [SaslOutcome(code=0)]
    assert talk.say(AMQP_HEADER) == []
    assert talk.written() == [AMQP_HEADER]
    assert talk.say(OPEN) == []
    assert talk.written() == [
        Open(
            container_id="linkstead",
            max_frame_size=65_536,
            channel_max=15,
            idle_time_out=60_000,
            properties={"product": "Linkstead"},
        )
    ]
    assert talk.say(BEGIN, channel=3) == []
    assert talk.written() == [
        Begin(remote_channel=3, next_outgoing_id=0, incoming_window=2_048, outgoing_window=UINT_MAX >> 1, handle_max=15)
    ]
    assert talk.reader.raw[-1].channel == 3
    source = Source(address="default", filter={Symbol("x"): "y"}, outcomes=("amqp:accepted:list",))
    assert talk.say(attach(source=source), channel=3) == [AttachReceived("link")]
    assert talk.machine.accept_link(NOW) == []
    (answer,) = talk.written()
    assert answer == Attach(
        name="link",
        handle=0,
        role=False,
        snd_settle_mode=0,
        source=replace(source, filter=None),
        target=Target(),
        initial_delivery_count=0,
    )


def test_a_peer_may_say_everything_at_once() -> None:
    talk = Talk()
    everything = [SASL_HEADER, plain("name", "pass"), AMQP_HEADER, OPEN, BEGIN, attach(), flow(5)]
    assert talk.say(*everything) == [LoginReceived("name", "pass")]
    assert talk.machine.accept_login(NOW) == [AttachReceived("link")]
    assert talk.machine.accept_link(NOW) == [CreditChanged(False)]
    assert talk.machine.credit == 5
    kinds = [type(each) for each in talk.written()]
    assert kinds == [bytes, SaslMechanisms, SaslOutcome, bytes, Open, Begin, Attach]


@pytest.mark.parametrize(
    "header", [AMQP_HEADER, b"AMQP\x02\x01\x00\x00", b"GET / HT", b"\x16\x03\x01\x00\xa5\x01\x00\x00"]
)
def test_another_protocol_is_told_ours(header: bytes) -> None:
    talk = Talk()
    (ended,) = talk.say(header)
    assert ended.condition == "amqp:connection:framing-error"
    assert talk.written() == [SASL_HEADER]
    assert talk.is_closing()


BAD_LOGINS = [
    SaslInit(mechanism="ANONYMOUS"),
    SaslInit(mechanism="PLAIN"),
    SaslInit(mechanism="PLAIN", initial_response=b"no nul"),
    SaslInit(mechanism="PLAIN", initial_response=b"\0a\0b\0c"),
    SaslInit(mechanism="PLAIN", initial_response=b"\0\xff\0b"),
    SaslInit(mechanism="PLAIN", initial_response=b"\0\0b"),
    plain("name", "pass", acting_as="other"),
]


@pytest.mark.parametrize("login", BAD_LOGINS)
def test_a_login_that_is_none_is_refused(login: SaslInit) -> None:
    talk = Talk()
    (ended,) = talk.say(SASL_HEADER, login)
    assert ended.condition == "amqp:unauthorized-access"
    assert talk.written()[2:] == [SaslOutcome(code=1)]
    assert talk.is_closing()


def test_to_act_as_oneself_is_allowed() -> None:
    assert Talk().say(SASL_HEADER, plain("name", "pass", acting_as="name")) == [LoginReceived("name", "pass")]


@pytest.mark.parametrize("failure", LoginFailure)
def test_a_refused_login_is_told_its_code(failure: LoginFailure) -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    talk.machine.refuse_login(failure)
    assert talk.written()[2:] == [SaslOutcome(code=int(failure))]
    assert talk.is_closing()
    assert talk.say(AMQP_HEADER) == []


def test_a_refusal_behind_the_login_is_told_when_the_connection_is_open() -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    assert talk.machine.accept_login(NOW, Refusal("amqp:not-found", "no such group")) == []
    talk.written()
    assert talk.say(AMQP_HEADER, OPEN, BEGIN) == [Ended("amqp:not-found", "no such group")]
    _, opened, closed = talk.written()
    assert isinstance(opened, Open)
    assert closed == Close(error=Error(condition="amqp:not-found", description="no such group"))


@pytest.mark.parametrize("idle_time_out", [15_000, 300_000, None, 0])
def test_heartbeats_in_range_are_taken(idle_time_out: int | None) -> None:
    Talk().opened(Open(container_id="x", idle_time_out=idle_time_out))


@pytest.mark.parametrize("idle_time_out", [1, 14_999, 300_001])
def test_heartbeats_out_of_range_are_refused(idle_time_out: int) -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    talk.machine.accept_login(NOW)
    text = talk.fails("amqp:invalid-field", AMQP_HEADER, Open(container_id="x", idle_time_out=idle_time_out))
    assert text.startswith(f"9601: idle-time-out {idle_time_out} ms is outside 15000..300000")


def test_a_frame_size_below_the_standards_is_refused() -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    talk.machine.accept_login(NOW)
    assert "511" in talk.fails("amqp:invalid-field", AMQP_HEADER, Open(container_id="x", max_frame_size=511))


def test_what_comes_while_the_login_is_decided_is_bounded() -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    assert talk.say(bytes(HELD_BYTES_MAX)) == []
    (ended,) = talk.say(b"\0")
    assert ended.condition == "amqp:resource-limit-exceeded"
    assert talk.is_closing()


# --- what is wrong ---

ILLEGAL = "amqp:illegal-state"
FRAMING = "amqp:connection:framing-error"
UNATTACHED = "amqp:session:unattached-handle"
VIOLATIONS: list[tuple[str, list[Any], int]] = [
    (ILLEGAL, [OPEN], 0),
    (ILLEGAL, [BEGIN], 0),
    (ILLEGAL, [replace(BEGIN, remote_channel=0)], 1),
    (ILLEGAL, [attach(1)], 1),
    (ILLEGAL, [flow(1)], 1),
    (ILLEGAL, [settle(0)], 1),
    (ILLEGAL, [Detach(handle=0)], 1),
    (ILLEGAL, [End()], 1),
    (FRAMING, [BEGIN], CHANNEL_MAX + 1),
    (FRAMING, [attach(HANDLE_MAX + 1)], 0),
    ("amqp:session:handle-in-use", [attach(0)], 0),
    (UNATTACHED, [flow(1, handle=1)], 0),
    (UNATTACHED, [Detach(handle=1)], 0),
    ("amqp:link:transfer-limit-exceeded", [Transfer(handle=0)], 0),
    ("amqp:invalid-field", [settle(5, 4)], 0),
]


@pytest.mark.parametrize(("condition", "said", "channel"), VIOLATIONS)
def test_what_a_peer_may_not_say_ends_the_connection(condition: str, said: list[Any], channel: int) -> None:
    assert Talk().attached().fails(condition, *said, channel=channel)


def test_the_highest_channel_and_handle_are_taken() -> None:
    talk = Talk().opened()
    assert talk.say(BEGIN, attach(HANDLE_MAX), channel=CHANNEL_MAX) == [AttachReceived("link")]


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"\xff" * 8, FRAMING),
        (b"\0\0\0\4\0\0\0\0", FRAMING),
        ((FRAME_BYTES_MAX + 1).to_bytes(4) + b"\2\0\0\0", FRAMING),
        (encode_frame(SaslOutcome(code=0)), FRAMING),
        (b"\0\0\0\x09\2\0\0\0\x45", "amqp:decode-error"),
        (b"\0\0\0\x0c\2\0\0\0\0\x53\x10\x45", "amqp:invalid-field"),
    ],
)
def test_malformed_bytes_end_the_connection_at_once(data: bytes, condition: str) -> None:
    talk = Talk().attached()
    (ended,) = talk.say(data)
    assert ended.condition == condition
    assert talk.written() == [Close(error=Error(condition=condition, description=ended.text))]
    assert talk.is_closing()


def test_what_is_not_open_yet_is_opened_to_be_told_what_is_wrong() -> None:
    talk = Talk()
    talk.say(SASL_HEADER, plain("name", "pass"))
    talk.machine.accept_login(NOW)
    talk.written()
    assert talk.say(AMQP_HEADER, BEGIN)[0].condition == ILLEGAL
    assert [type(each) for each in talk.written()] == [bytes, Open, Close]


@settings(max_examples=200)
@given(st.binary(max_size=120), st.integers(0, 4))
def test_no_bytes_raise(data: bytes, stage: int) -> None:
    talk = Talk()
    if stage == 1:
        talk.say(SASL_HEADER)
    elif stage == 2:
        talk.opened()
    elif stage == 3:
        talk.attached(5)
        talk.machine.send(b"message")
    elif stage == 4:
        talk.attached(5)
        data = b"\0\0\0" + bytes([11 + len(data)]) + b"\2\0\0\0\0\x53\x15" + data
    events = talk.say(data)
    talk.written()
    assert sum(isinstance(event, Ended) for event in events) <= 1


# --- links ---


def test_a_sender_is_refused() -> None:
    talk = Talk().opened()
    assert talk.say(BEGIN, attach(role=False, initial_delivery_count=0)) == []
    _, attached, detached = talk.written()
    assert (attached.role, attached.source, attached.target) == (True, Source(), None)
    assert (detached.closed, detached.error.condition) == (True, "amqp:not-allowed")
    assert talk.say(flow(1, handle=0), Detach(handle=0, closed=True)) == []
    assert talk.written() == []
    assert talk.say(attach()) == [AttachReceived("link")]


@pytest.mark.parametrize(
    "source", [Source(dynamic=True), Described(0x30, [])], ids=["a dynamic source", "a source of another kind"]
)
def test_a_source_that_cannot_be_is_refused(source: object) -> None:
    talk = Talk().opened()
    assert talk.say(BEGIN, attach(source=source)) == []
    _, attached, detached = talk.written()
    assert (attached.role, attached.source) == (False, None)
    assert detached.error.condition == "amqp:not-implemented"


def test_a_second_link_is_refused_and_the_first_goes_on() -> None:
    talk = Talk().attached(1)
    assert talk.say(attach(1), flow(10, handle=1)) == []
    attached, detached = talk.written()
    assert (attached.source, detached.handle, detached.error.condition) == (None, 1, "amqp:not-allowed")
    assert talk.say(Detach(handle=1, closed=True)) == []
    assert talk.machine.credit == 1
    assert talk.is_ready()


def test_a_link_that_the_gateway_refuses_is_told_why() -> None:
    talk = Talk().opened()
    talk.say(BEGIN, attach(), flow(3))
    assert talk.machine.refuse_link(Refusal("amqp:resource-limit-exceeded", "full"), NOW) == []
    detached = talk.written()[-1]
    assert detached.error == Error(condition="amqp:resource-limit-exceeded", description="full")
    assert not talk.is_ready()


@pytest.mark.parametrize("closed", [True, False])
def test_a_link_detached_is_gone_and_another_may_come(closed: bool) -> None:
    talk = Talk().attached(5)
    talk.machine.send(b"m")
    talk.written()
    assert talk.say(Detach(handle=0, closed=closed)) == [LinkDetached()]
    assert talk.written() == [Detach(handle=0, closed=closed)]
    assert talk.say(settle(0, state=Accepted())) == []
    assert (talk.machine.credit, talk.is_ready()) == (0, False)
    assert talk.say(attach()) == [AttachReceived("link")]
    talk.machine.accept_link(NOW)
    talk.say(flow(1, transfers=1))
    assert talk.machine.send(b"m") == 1


def test_a_session_that_ends_takes_its_link_along() -> None:
    talk = Talk().attached()
    assert talk.say(BEGIN, End(), channel=1) == []
    assert talk.say(End()) == [LinkDetached()]
    assert talk.written()[1:] == [End(), End()]
    assert talk.say(BEGIN, attach()) == [AttachReceived("link")]


def test_a_close_is_answered() -> None:
    talk = Talk().attached()
    assert talk.say(Close()) == [Ended("", "closed")]
    assert talk.written() == [Close()]
    assert talk.is_closing()
    talk = Talk().opened()
    error = Error(condition="amqp:internal-error", description="mine")
    assert talk.say(Close(error=error)) == [Ended("amqp:internal-error", "mine")]


def test_the_end_of_the_bytes_is_the_end() -> None:
    talk = Talk().attached()
    assert talk.machine.receive_eof() == [Ended("amqp:connection:forced", "the connection was lost")]
    assert talk.machine.receive_eof() == []
    assert talk.say(BEGIN) == []


# --- credit, windows and messages ---


def test_messages_go_as_far_as_the_credit() -> None:
    talk = Talk().attached(2)
    assert talk.machine.send(b"one") == 0
    assert talk.machine.send(b"two") == 1
    assert not talk.is_ready()
    with pytest.raises(LocalError):
        talk.machine.send(b"three")
    transfers = talk.written()
    assert [payload for _, payload in transfers] == [b"one", b"two"]
    assert [(t.delivery_id, t.settled, t.more) for t, _ in transfers] == [(0, False, False), (1, False, False)]
    # the peer gave two more when it had seen one: one of them is used up
    talk.say(flow(2, seen=1))
    assert talk.machine.credit == 1
    # less than what is under way is nothing, not four thousand millions
    talk.machine.send(b"three")
    talk.say(flow(0, seen=1))
    assert (talk.machine.credit, talk.is_ready()) == (0, False)


def test_credit_can_be_taken_back_and_echoed() -> None:
    talk = Talk().attached(10)
    assert talk.say(flow(0, echo=True)) == [CreditChanged(False)]
    (answer,) = talk.written()
    assert (answer.handle, answer.link_credit, answer.delivery_count, answer.echo) == (0, 0, 0, False)
    assert talk.say(flow(0, handle=None, delivery_count=None, link_credit=None, echo=True)) == [CreditChanged(False)]
    (answer,) = talk.written()
    assert (answer.handle, answer.next_incoming_id) == (None, 0)


def test_drained_credit_is_used_up() -> None:
    talk = Talk().attached(10)
    talk.machine.send(b"one")
    talk.written()
    assert talk.say(flow(10, drain=True)) == [CreditChanged(True)]
    assert talk.machine.is_draining
    talk.machine.send(b"two")
    talk.machine.finish_drain()
    _, answer = talk.written()
    assert (answer.drain, answer.link_credit, answer.delivery_count) == (True, 0, 10)
    talk.machine.finish_drain()
    assert talk.written() == []
    talk.say(flow(1, seen=10, transfers=2))
    assert talk.machine.credit == 1


def test_a_large_message_is_split_and_waits_for_the_window() -> None:
    talk = Talk().opened(Open(container_id="x", max_frame_size=512))
    talk.say(replace(BEGIN, incoming_window=2), attach())
    talk.machine.accept_link(NOW)
    talk.say(flow(5, incoming_window=2))
    talk.written()
    message = bytes(range(256)) * 8
    talk.machine.send(message)
    assert not talk.is_ready()
    first = talk.written()
    assert len(first) == 2
    assert talk.say(flow(5, transfers=2, incoming_window=1)) == [CreditChanged(False)]
    second = talk.written()
    assert len(second) == 1
    assert not talk.is_ready()
    talk.say(flow(5, transfers=3, incoming_window=100))
    rest = talk.written()
    whole = [*first, *second, *rest]
    assert b"".join(payload for _, payload in whole) == message
    assert [transfer.more for transfer, _ in whole] == [True] * (len(whole) - 1) + [False]
    assert max(len(frame.body) + 8 for frame in talk.reader.raw) <= 512
    assert talk.is_ready()
    assert talk.machine.send(b"next") == 1


def test_numbers_of_a_session_go_round() -> None:
    talk = Talk().attached(1)
    talk.machine._next_delivery_id = UINT_MAX
    link = talk.machine._link
    assert link is not None
    link.delivery_count = UINT_MAX
    session = talk.machine._sessions[0]
    session.next_outgoing_id = UINT_MAX
    talk.say(flow(3, seen=UINT_MAX))
    assert [talk.machine.send(b"m") for _ in range(3)] == [UINT_MAX, 0, 1]
    talk.say(flow(2, seen=1, transfers=1))
    assert (talk.machine.credit, session.window) == (1, 2_047)
    assert talk.say(settle(UINT_MAX, 0, Accepted())) == [Settled([UINT_MAX, 0], True)]


# --- settlement ---

OUTCOMES: list[tuple[Any, bool]] = [
    (Accepted(), True),
    (Rejected(error=Error(condition="x")), False),
    (Released(), False),
    (Modified(delivery_failed=True), False),
    (None, False),
    (Described(0x34, []), False),
]


@pytest.mark.parametrize(("state", "is_accepted"), OUTCOMES)
def test_a_delivery_settled_is_accepted_or_given_back(state: Any, is_accepted: bool) -> None:
    talk = Talk().attached(1)
    talk.machine.send(b"m")
    talk.written()
    assert talk.say(settle(0, state=state)) == [Settled([0], is_accepted)]
    assert talk.written() == []
    assert talk.say(settle(0, state=state)) == []


@pytest.mark.parametrize("state", [Accepted(), Released()])
def test_an_outcome_that_is_not_settled_is_settled_by_us(state: Any) -> None:
    talk = Talk().attached(3)
    for _ in range(3):
        talk.machine.send(b"m")
    talk.written()
    assert talk.say(settle(1, 2, state, settled=False)) == [Settled([1, 2], isinstance(state, Accepted))]
    assert talk.written() == [Disposition(role=False, first=1, last=2, settled=True, state=state)]


@pytest.mark.parametrize("state", [None, Received(section_number=0, section_offset=9), Described(0x34, [])])
def test_what_is_no_outcome_settles_nothing(state: Any) -> None:
    talk = Talk().attached(1)
    talk.machine.send(b"m")
    assert talk.say(settle(0, state=state, settled=False)) == []
    assert talk.say(settle(0, state=Accepted())) == [Settled([0], True)]


def test_a_source_says_what_settling_without_an_outcome_means() -> None:
    talk = Talk().attached(1, source=Source(default_outcome=Accepted()))
    talk.machine.send(b"m")
    assert talk.say(settle(0)) == [Settled([0], True)]


def test_a_range_names_what_is_there() -> None:
    talk = Talk().attached(5)
    for _ in range(5):
        talk.machine.send(b"m")
    assert talk.say(settle(3, state=Accepted())) == [Settled([3], True)]
    assert talk.say(settle(1, 4, Accepted())) == [Settled([1, 2, 4], True)]
    assert talk.say(settle(0, 2**31 - 1, Released())) == [Settled([0], False)]
    assert talk.say(settle(0, 4, Released())) == []


def test_what_a_peer_says_as_a_sender_or_in_another_session_settles_nothing() -> None:
    talk = Talk().attached(1)
    talk.machine.send(b"m")
    assert talk.say(settle(0, state=Accepted(), role=False)) == []
    assert talk.say(BEGIN, settle(0, state=Accepted()), channel=1) == []
    assert talk.say(settle(0, state=Accepted())) == [Settled([0], True)]


# --- time ---


def test_a_link_has_to_come_in_time() -> None:
    for talk in (Talk(), Talk().opened()):
        assert talk.machine.deadline() == NOW + LINK_WAIT_S
        assert talk.machine.check_time(NOW + LINK_WAIT_S - 0.1) == []
        assert talk.machine.check_time(NOW + LINK_WAIT_S)[0] == Ended(
            "amqp:resource-limit-exceeded", "no receiver link within 15 s"
        )


def test_heartbeats_are_sent_at_half_of_what_the_peer_asks_for() -> None:
    talk = Talk().attached()
    for at in (NOW + 30, NOW + 60):
        talk.say(HEARTBEAT, now=at - 1)
        assert talk.machine.deadline() == at
        assert talk.machine.check_time(at) == []
        assert talk.written() == [None]
    assert talk.machine.check_time(NOW + 61) == []
    assert talk.written() == []


def test_a_peer_that_says_nothing_is_dead() -> None:
    talk = Talk().opened(Open(container_id="x"))
    talk.say(BEGIN, attach())
    talk.machine.accept_link(NOW)
    patience_s = 2 * IDLE_TIME_OUT_MS / 1000
    assert talk.machine.deadline() == NOW + patience_s
    talk.say(HEARTBEAT, now=NOW + 100)
    assert talk.machine.check_time(NOW + 100 + patience_s - 1) == []
    (ended,) = talk.machine.check_time(NOW + 100 + patience_s)
    assert ended == Ended("amqp:resource-limit-exceeded", "nothing was heard for 120 s")
    assert talk.machine.deadline() == NOW + 100 + patience_s + CLOSE_WAIT_S
    assert talk.machine.check_time(NOW + 1_000) == []
    assert talk.is_closing()
    assert talk.machine.deadline() is None
    assert talk.machine.check_time(NOW + 2_000) == []


def test_an_answer_that_nothing_asked_for_is_a_mistake_of_ours() -> None:
    talk = Talk()
    with pytest.raises(LocalError):
        talk.machine.accept_login(NOW)
    with pytest.raises(LocalError):
        talk.machine.refuse_login(LoginFailure.CREDENTIALS)
    with pytest.raises(LocalError):
        talk.machine.accept_link(NOW)
    with pytest.raises(LocalError):
        talk.machine.refuse_link(Refusal("x", "y"), NOW)
    with pytest.raises(LocalError):
        talk.machine.send(b"")


def test_the_server_ends_a_connection_in_any_state() -> None:
    refusal = Refusal("amqp:connection:forced", "stop")
    for talk in (Talk(), Talk()):
        talk.machine.close(refusal, NOW)
        assert talk.is_closing()
        assert talk.written() == []
    talk = Talk().attached(3)
    talk.machine.close(refusal, NOW)
    assert talk.written() == [Close(error=Error(condition="amqp:connection:forced", description="stop"))]
    assert not talk.is_ready()
    assert talk.say(Flow(incoming_window=1, next_outgoing_id=0, outgoing_window=1)) == []
    assert talk.say(b"\xff" * 8) == []
    assert talk.is_closing()

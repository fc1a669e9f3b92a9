"""Consumers at the endpoint over real sockets; the clock is turned by hand, the dispatcher is a fake."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from linkstead.amqp import gateway as gateway_module
from linkstead.amqp.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    Accepted,
    Attach,
    Close,
    Detach,
    Flow,
    Open,
    Released,
    SaslOutcome,
)
from linkstead.amqp.gateway import (
    CLOSE_WAIT_S,
    CONNECTIONS_OF_ACCOUNT_MAX,
    CONNECTS_PER_MINUTE_MAX,
    DRAIN_WAIT_S,
    STOPPING,
    TAKE_MAX,
    UNSETTLED_BYTES_MAX,
    UNSETTLED_MAX,
    WRITE_BUFFER_BYTES_MAX,
)
from linkstead.amqp.protocol import LINK_WAIT_S
from linkstead.subscription import TooManyConsumers
from linkstead.testing.clock import ManualClock
from tests.amqp.dispatch import CONSUMERS_MAX, a_letter
from tests.amqp.endpoint import (
    DEFAULT,
    DISABLED_KEY,
    GROUP,
    OTHERS_GROUP,
    Place,
    listen,
    password,
    user_name,
)
from tests.amqp.peer import BEGIN, OPEN, Peer, attach, flow, plain, settle
from tests.wire import until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def place(clock: ManualClock, start_loop_watch: Callable[[], None]) -> AsyncIterator[Place]:
    start_loop_watch()
    place = await listen(clock)
    yield place
    closing = asyncio.ensure_future(place.close())
    while place.gateway.connections:
        # Peers that do not say goodbye are waited for by the clock.
        clock.advance(CLOSE_WAIT_S)
        await asyncio.sleep(0)
    await closing


async def attached(place: Place, credit: int = 0, name: str = "") -> Peer:
    """A consumer with a link."""
    peer = await Peer.connect(place.port)
    name = name or user_name()
    await peer.log_in(name, password(name))
    peer.send(BEGIN, attach())
    await peer.expect(Attach)
    if credit:
        peer.send(flow(credit))
    return peer


def stop_reading(peer: Peer) -> None:
    """Read no more, and have the system keep little of what comes."""
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]


# --- logging in ---


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        (user_name(), "wrong"),
        (user_name(make_key := DISABLED_KEY), make_key.secret),
        (user_name().replace("testid", "nobody"), "testsecret"),
    ],
    ids=["another secret", "a disabled key", "an unknown key"],
)
async def test_wrong_credentials_are_refused(place: Place, name: str, secret: str) -> None:
    peer = await Peer.connect(place.port)
    peer.send(SASL_HEADER, plain(name, password(name, secret)), AMQP_HEADER, OPEN)
    assert await peer.expect(SaslOutcome) == SaslOutcome(code=1)
    await peer.expect_end()
    await peer.close()


@pytest.mark.parametrize(
    ("name", "condition", "text"),
    [
        ("nobody", "amqp:unauthorized-access", "the user name is not {clientId}|{options}|"),
        (user_name().replace("hmacsha1", "x"), "amqp:unauthorized-access", "signMethod is not"),
        (user_name(group_id="nobodys"), "amqp:not-found", "consumerGroupId: the account has no group 'nobodys'"),
        (user_name(group_id=OTHERS_GROUP.group_id), "amqp:not-found", "consumerGroupId: the account has no group"),
    ],
)
async def test_what_else_is_wrong_is_told(place: Place, name: str, condition: str, text: str) -> None:
    peer = await Peer.connect(place.port)
    secret = password(name) if "authMode=aksign,signMethod=hmac" in name else ""
    peer.send(SASL_HEADER, plain(name, secret), AMQP_HEADER, OPEN)
    closed = await peer.expect(Close)
    assert closed.error.condition == condition
    assert closed.error.description.startswith(text)
    peer.send(Close())
    await peer.expect_end()
    await peer.close()


async def test_nobody_is_let_in_while_the_store_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: str) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(place.store, "find_access_key", fail)
    peer = await Peer.connect(place.port)
    peer.send(SASL_HEADER, plain(user_name(), password(user_name())))
    assert await peer.expect(SaslOutcome) == SaslOutcome(code=4)
    await peer.expect_end()
    await peer.close()
    assert "login could not be checked" in caplog.text


async def test_no_secret_is_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer = await attached(place)
    peer.send(Close())
    await peer.expect_end()
    await peer.close()
    texts = [str(vars(record)) for record in caplog.records]
    assert any("consumer attached" in text for text in texts)
    assert not any("testsecret" in text or password(user_name()) in text for text in texts)


async def test_a_consumer_says_who_it_is(place: Place) -> None:
    peer = await attached(place, name=user_name(client_id="shop-7", group_id=GROUP.group_id))
    (attachment,) = place.dispatcher.attachments
    assert attachment.destination == GROUP.destination == f"{GROUP.account_id}/{GROUP.group_id}"
    host, port = peer.writer.get_extra_info("sockname")
    assert (attachment.consumer.client_id, attachment.consumer.peer) == ("shop-7", f"{host}:{port}")
    await peer.close()
    await place.until(lambda: not place.dispatcher.attachments)


# --- limits ---


async def test_an_account_has_so_many_connections_and_no_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "CONNECTS_PER_MINUTE_MAX", 1_000)
    peers = []
    for _ in range(CONNECTIONS_OF_ACCOUNT_MAX + 1):
        peer = await Peer.connect(place.port)
        peer.send(SASL_HEADER, plain(user_name(), password(user_name())), AMQP_HEADER, OPEN)
        peers.append(peer)
        await peer.expect(Open)
    closed = await peers[-1].expect(Close)
    assert closed.error.description == "the account has 128 connections"
    peers[-1].send(Close())
    await peers[-1].expect_end()
    await peers[0].close()
    await until(lambda: len(place.gateway.connections) < CONNECTIONS_OF_ACCOUNT_MAX)
    peers.append(await attached(place))
    for peer in peers:
        await peer.close()


async def test_an_account_connects_so_often_in_a_minute_and_no_more(place: Place, clock: ManualClock) -> None:
    for _ in range(CONNECTS_PER_MINUTE_MAX):
        assert place.gateway.enter("1001") is None
        place.gateway.leave("1001")
    peer = await Peer.connect(place.port)
    await peer.log_in(user_name(), password(user_name()))
    assert (await peer.expect(Close)).error.description == "the account connected 100 times within a minute"
    assert place.gateway.enter("1002") is None
    await peer.close()
    clock.advance(60)
    peer = await attached(place)
    await peer.close()


async def test_a_group_that_is_full_refuses_the_link(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(CONSUMERS_MAX):
        place.dispatcher.attach(DEFAULT, object())  # type: ignore[arg-type]
    with pytest.raises(TooManyConsumers):
        place.dispatcher.attach(DEFAULT, object())  # type: ignore[arg-type]
    peer = await Peer.connect(place.port)
    await peer.log_in(user_name(), password(user_name()))
    peer.send(BEGIN, attach())
    error = (await peer.expect(Detach)).error
    assert error.condition == "amqp:resource-limit-exceeded"
    assert error.description.startswith("9600: ")
    await peer.close()


async def test_a_connection_without_a_link_is_closed_in_time(place: Place, clock: ManualClock) -> None:
    silent, open_one = await Peer.connect(place.port), await Peer.connect(place.port)
    await open_one.log_in(user_name(), password(user_name()))
    await until(lambda: len(place.gateway.connections) == 2)
    linked = await attached(place)
    clock.advance(LINK_WAIT_S)
    assert (await open_one.expect(Close)).error.description == "no receiver link within 15 s"
    await silent.expect_end()
    place.dispatcher.post(DEFAULT, a_letter())
    linked.send(flow(1))
    await linked.receive()
    for peer in (silent, open_one, linked):
        await peer.close()


async def test_a_closed_peer_that_stays_is_cut(place: Place, clock: ManualClock) -> None:
    peer = await Peer.connect(place.port)
    await peer.log_in(user_name(), password(user_name()))
    clock.advance(LINK_WAIT_S)
    await peer.expect(Close)
    clock.advance(CLOSE_WAIT_S)
    await peer.expect_end()
    await peer.close()


async def test_heartbeats_come_and_keep_the_connection(place: Place, clock: ManualClock) -> None:
    peer = await attached(place)
    for _ in range(5):
        clock.advance(30)
        assert await peer.next() is None
        peer.send(b"\0\0\0\x08\2\0\0\0", flow(0, echo=True))
        await peer.expect(Flow)
    clock.advance(121)
    assert (await peer.expect(Close)).error.description == "nothing was heard for 120 s"
    assert place.dispatcher.attachments == []
    await peer.close()


# --- letters ---


async def test_letters_are_sent_settled_and_given_back(place: Place) -> None:
    letters = [a_letter(number) for number in range(5)]
    place.dispatcher.post(DEFAULT, *letters)
    peer = await attached(place, 4)
    received = [await peer.receive() for _ in range(4)]
    assert [transfer.delivery_id for transfer, _ in received] == [0, 1, 2, 3]
    assert letters[3].payload in received[3][1]
    (attachment,) = place.dispatcher.attachments
    peer.send(settle(0, 1, Accepted()), settle(2, state=Released()))
    await place.until(lambda: len(attachment.held) == 1)
    assert (attachment.accepted, attachment.released) == (letters[:2], letters[2:3])
    await peer.close()
    await place.until(lambda: not attachment.is_attached)
    assert list(place.dispatcher.waiting(DEFAULT)) == letters[3:]


async def test_credit_reaches_the_dispatcher_and_no_more(place: Place) -> None:
    peer = await attached(place, 10)
    (attachment,) = place.dispatcher.attachments
    await until(lambda: attachment.credit == 10)
    peer.send(flow(1_000, echo=True))
    await peer.expect(Flow)
    assert attachment.credit == TAKE_MAX
    peer.send(flow(0, echo=True))
    await peer.expect(Flow)
    assert attachment.credit == 0
    await peer.close()


async def test_letters_that_cross_the_end_of_the_credit_wait(place: Place) -> None:
    peer = await attached(place, 5)
    (attachment,) = place.dispatcher.attachments
    await until(lambda: attachment.credit == 5)
    taken = [a_letter(1), a_letter(2)]
    attachment.held += taken
    attachment.credit = 3
    peer.send(flow(1, echo=True))
    await peer.expect(Flow)
    attachment.consumer.take(taken)
    await peer.receive()
    peer.send(flow(0, seen=1, echo=True))
    assert isinstance(await peer.next(), Flow)
    peer.send(flow(1, seen=1))
    transfer, _ = await peer.receive()
    assert transfer.delivery_id == 1
    await peer.close()


async def test_a_drain_waits_a_moment_for_letters(place: Place, clock: ManualClock) -> None:
    peer = await attached(place, 2)
    peer.send(flow(2, drain=True, echo=True))
    assert (await peer.expect(Flow)).link_credit == 2
    place.dispatcher.post(DEFAULT, a_letter())
    await peer.receive()
    clock.advance(DRAIN_WAIT_S)
    drained = await peer.next()
    assert (drained.drain, drained.link_credit, drained.delivery_count) == (True, 0, 2)
    assert place.dispatcher.attachments[0].credit == 0
    await peer.close()


async def test_a_drain_of_no_credit_is_answered_at_once(place: Place, clock: ManualClock) -> None:
    peer = await attached(place)
    peer.send(flow(0, drain=True, echo=True))
    await peer.expect(Flow)
    clock.advance(0)
    assert (await peer.expect(Flow)).drain
    await peer.close()


async def test_a_consumer_that_does_not_read_is_paused(place: Place) -> None:
    letters = [a_letter(number, bytes(100_000)) for number in range(200)]
    place.dispatcher.post(DEFAULT, *letters)
    peer = await attached(place)
    stop_reading(peer)
    (attachment,) = place.dispatcher.attachments
    (connection,) = place.gateway.connections
    peer.send(flow(1_000))
    await place.until(lambda: attachment.grants)
    await until(lambda: connection._is_paused)
    transport: Any = connection._transport
    assert transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES_MAX + 200_000
    assert attachment.credit == 0
    assert len(attachment.held) < len(letters)
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for number in range(len(attachment.held)):
        await peer.receive()
        peer.send(settle(number, state=Accepted()), flow(1_000, seen=number + 1))
    await place.until(lambda: len(attachment.accepted) >= 1)
    await peer.close()


async def test_unsettled_letters_are_bounded_by_number(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "UNSETTLED_MAX", 3)
    assert UNSETTLED_MAX == 2_000
    await _check_unsettled(place, bytes(10))


async def test_unsettled_letters_are_bounded_by_size(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "TAKE_MAX", 1)
    monkeypatch.setattr(gateway_module, "UNSETTLED_BYTES_MAX", 300)
    assert UNSETTLED_BYTES_MAX == 16 * 1024 * 1024
    await _check_unsettled(place, bytes(100))


async def _check_unsettled(place: Place, payload: bytes) -> None:
    """Three letters may be unsettled, and each one settled makes room for another."""
    place.dispatcher.post(DEFAULT, *(a_letter(number, payload) for number in range(10)))
    peer = await attached(place, 100)
    for _ in range(3):
        await peer.receive()
    (attachment,) = place.dispatcher.attachments
    assert (len(attachment.held), attachment.credit) == (3, 0)
    peer.send(settle(0, state=Accepted()))
    transfer, _ = await peer.receive()
    assert transfer.delivery_id == 3
    assert len(attachment.held) == 3
    await peer.close()


async def test_a_peer_that_asks_and_does_not_read_is_read_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "WRITE_BUFFER_BYTES_MAX", 32 * 1024)
    monkeypatch.setattr(gateway_module, "ANSWER_BUFFER_BYTES_MAX", 64 * 1024)
    peer = await attached(place)
    stop_reading(peer)
    (connection,) = place.gateway.connections
    transport: Any = connection._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    while transport.is_reading():
        peer.send(*[flow(0, echo=True)] * 500)
        await asyncio.sleep(0)
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    while not transport.is_reading():
        await peer.expect(Flow)
    await peer.close()


# --- ending ---


async def test_a_detached_link_gives_its_letters_back(place: Place) -> None:
    place.dispatcher.post(DEFAULT, a_letter())
    peer = await attached(place, 1)
    await peer.receive()
    peer.send(Detach(handle=0, closed=True))
    await peer.expect(Detach)
    assert list(place.dispatcher.waiting(DEFAULT)) == [a_letter()]
    peer.send(attach(), flow(1, transfers=1))
    await peer.receive()
    assert len(place.dispatcher.attachments) == 1
    await peer.close()


async def test_garbage_is_closed_at_once(place: Place) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", SASL_HEADER + b"\xff" * 40, SASL_HEADER + b"\0\0\0\4" * 4):
        peer = await Peer.connect(place.port)
        peer.send(garbage)
        await peer.expect_end()
        await peer.close()


async def test_a_stopping_endpoint_says_so_and_takes_nobody(place: Place) -> None:
    place.dispatcher.post(DEFAULT, a_letter())
    peer = await attached(place, 1)
    await peer.receive()
    closing = asyncio.ensure_future(place.gateway.close())
    assert (await peer.expect(Close)).error.condition == "amqp:connection:forced"
    assert place.dispatcher.attachments == []
    late = await Peer.connect(place.port)
    await late.expect_end()
    peer.send(Close())
    await peer.expect_end()
    await closing
    for each in (peer, late):
        await each.close()


async def test_a_login_that_is_being_checked_ends_with_the_endpoint(place: Place) -> None:
    place.store.gate = asyncio.Event()
    peer = await Peer.connect(place.port)
    peer.send(SASL_HEADER, plain(user_name(), password(user_name())))
    await until(lambda: place.gateway.tasks)
    closing = asyncio.ensure_future(place.gateway.close())
    await peer.expect_end()
    place.store.gate.set()
    await closing
    await peer.close()
    assert place.gateway._count_of_account == {}


async def test_a_connection_that_ends_while_its_login_is_checked_was_never_counted(
    place: Place, clock: ManualClock
) -> None:
    place.store.gate = asyncio.Event()
    peer = await Peer.connect(place.port)
    peer.send(SASL_HEADER, plain(user_name(), password(user_name())))
    await until(lambda: place.store.reads)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = place.gateway.connections
    connection._machine.close(STOPPING, clock.monotonic_s())
    place.store.gate.set()
    await until(lambda: not place.gateway.tasks)
    peer.writer.transport.abort()
    await until(lambda: not place.gateway.connections)
    assert place.gateway._count_of_account == {}

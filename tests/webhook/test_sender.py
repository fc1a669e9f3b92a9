"""Sending to receivers on real sockets: what is accepted, what is tried again and when, and who waits for whom."""

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from linkstead.subscription.webhooks import Webhook
from linkstead.system_ids import SystemIds
from linkstead.testing.clock import ManualClock
from linkstead.webhook import sender as sender_module
from linkstead.webhook.post import WEBHOOK_TIMEOUT_S, HttpPost
from linkstead.webhook.schedule import ATTEMPTS_MAX, RETRY_AFTER_S_MAX, wait_before_retry
from linkstead.webhook.sender import (
    LEASE_S,
    LOOK_AGAIN_S_MAX,
    PAUSE_S_MAX,
    PAUSE_S_MIN,
    REQUESTS_PER_WEBHOOK_MAX,
    WebhookSender,
    pause_after,
)
from tests.fakes import NOW_MS
from tests.webhook.receiver import OK, SECRET, TOPIC, FakeBacklog, Receiver, a_webhook, status
from tests.wire import until

pytestmark = pytest.mark.asyncio

FAILED = status("500 Internal Server Error")


class EvenIds:
    """Chance that always falls in the middle."""

    def __init__(self, clock: ManualClock) -> None:
        ids = SystemIds(clock)
        self.message_id, self.alink_id, self.request_id = ids.message_id, ids.alink_id, ids.request_id

    def token(self, alphabet: str, length: int) -> str:
        return "5".ljust(length, "0")


class Desk:
    """A sender, what waits, and a clock turned by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backlog = FakeBacklog()
        self.sender = WebhookSender(
            backlog=self.backlog,
            webhooks=self.backlog,
            clock=self.clock,
            ids=EvenIds(self.clock),
            make_post=lambda: HttpPost(self.clock),
        )
        self.backlog.watch_letters(self.sender.wake)

    async def add(self, receiver: Receiver, target: str = "/hook") -> Webhook:
        webhook = a_webhook(receiver.url(target))
        await self.backlog.add_webhook(webhook)
        await self.sender.reload()
        return webhook

    async def failed(self, row_id: int, attempts: int) -> None:
        """Until an attempt has been written down as failed."""
        await until(lambda: self.backlog.kept[row_id].error and self.backlog.kept[row_id].letter.attempts == attempts)
        await until(lambda: self.backlog.kept[row_id].due_ms != self.leased_until_ms())

    def leased_until_ms(self) -> int:
        return self.now_ms + int(LEASE_S * 1000)

    @property
    def now_ms(self) -> int:
        return int(self.clock.time_s() * 1000)

    def wait_s(self, row_id: int) -> float:
        """Until the next attempt."""
        return (self.backlog.kept[row_id].due_ms - self.now_ms) / 1000


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.sender.stop()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as receiver:
        yield receiver


async def test_a_message_arrives_signed_and_is_forgotten_once_accepted(desk: Desk, receiver: Receiver) -> None:
    webhook = await desk.add(receiver, "/hook?a=%2F&b=1")
    desk.backlog.add(webhook.destination, b'{"items":{"PowerSwitch":{"value":1}}}')
    await until(lambda: not desk.backlog.kept)
    [request] = receiver.received
    assert (request.method, request.target) == ("POST", "/hook?a=%2F&b=1")
    assert request.body == b'{"items":{"PowerSwitch":{"value":1}}}'
    headers = request.headers
    assert headers["content-type"] == "application/json"
    assert headers["linkstead-topic"] == TOPIC
    assert headers["webhook-timestamp"] == str(NOW_MS // 1000)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1"
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    assert base64.b64decode(signature) == hmac.new(key, signed, hashlib.sha256).digest()


async def test_what_waited_before_the_start_is_sent(desk: Desk, receiver: Receiver) -> None:
    webhook = a_webhook(receiver.url())
    await desk.backlog.add_webhook(webhook)
    desk.backlog.add(webhook.destination)
    await desk.sender.reload()
    await until(lambda: not desk.backlog.kept)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("line", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Fine"])
async def test_every_2xx_is_an_acceptance(desk: Desk, receiver: Receiver, line: str) -> None:
    receiver.usual = status(line)
    desk.backlog.add((await desk.add(receiver)).destination)
    await until(lambda: not desk.backlog.kept)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (FAILED, "HTTP 500 Internal Server Error"),
        (status("302 Found", "Location: /elsewhere"), "HTTP 302 Found, redirects are not followed"),
        (status("404 Not Found"), "HTTP 404 Not Found"),
        (status("300 Multiple Choices"), "HTTP 300 Multiple Choices, redirects are not followed"),
        (status("599 What"), "HTTP 599"),
        (None, "the connection was closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "the answer is not HTTP"),
    ],
)
async def test_whatever_else_is_tried_again(desk: Desk, receiver: Receiver, answer: bytes | None, error: str) -> None:
    receiver.answers.append(answer)
    row_id = desk.backlog.add((await desk.add(receiver)).destination)
    await desk.failed(row_id, 1)
    assert desk.backlog.kept[row_id].error == error
    assert desk.wait_s(row_id) == wait_before_retry(1, 0.5)
    desk.clock.advance(wait_before_retry(1, 0.5))
    await until(lambda: not desk.backlog.kept)
    first, second = receiver.received
    assert second.target == first.target
    assert second.headers["webhook-id"] == first.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 5


async def test_a_receiver_that_is_not_there_is_tried_again(desk: Desk, receiver: Receiver) -> None:
    async with Receiver.open() as gone:
        webhook = a_webhook(gone.url().replace("localhost", "127.0.0.1"))
    await desk.backlog.add_webhook(webhook)
    await desk.sender.reload()
    row_id = desk.backlog.add(webhook.destination)
    await desk.failed(row_id, 1)
    assert desk.backlog.kept[row_id].error == "cannot connect: connection refused"


async def test_waits_grow_until_the_message_is_given_up(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.usual = FAILED
    webhook = await desk.add(receiver)
    row_id = desk.backlog.add(webhook.destination)
    for attempts in range(1, ATTEMPTS_MAX):
        await desk.failed(row_id, attempts)
        assert desk.wait_s(row_id) == wait_before_retry(attempts, 0.5)
        assert not desk.backlog.kept[row_id].is_dead
        for _ in range(int(desk.wait_s(row_id) // LOOK_AGAIN_S_MAX) + 1):
            desk.clock.advance(min(LOOK_AGAIN_S_MAX, desk.wait_s(row_id)))
    await until(lambda: desk.backlog.kept[row_id].is_dead)
    assert len(receiver.received) == ATTEMPTS_MAX
    assert desk.backlog.kept[row_id].error == "HTTP 500 Internal Server Error"
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"webhook {webhook.webhook_id} did not take a message: HTTP 500 Internal Server Error",
        f"message 1001 to webhook {webhook.webhook_id} is given up: HTTP 500 Internal Server Error",
    ]


async def test_neither_url_nor_secret_is_logged(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers.append(FAILED)
    row_id = desk.backlog.add((await desk.add(receiver, "/hook?token=t0p")).destination)
    await desk.failed(row_id, 1)
    desk.clock.advance(5)
    await until(lambda: not desk.backlog.kept)
    assert "takes messages again" in caplog.text
    assert "t0p" not in caplog.text
    assert SECRET not in caplog.text


async def test_a_slow_receiver_is_given_its_time_and_no_more(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    row_id = desk.backlog.add((await desk.add(receiver)).destination)
    await until(lambda: receiver.received)
    desk.clock.advance(WEBHOOK_TIMEOUT_S - 0.001)
    await asyncio.sleep(0)
    assert desk.backlog.kept[row_id].error == ""
    desk.clock.advance(0.001)
    await desk.failed(row_id, 1)
    assert desk.backlog.kept[row_id].error == "no answer within 15 s"
    assert desk.wait_s(row_id) == wait_before_retry(1, 0.5)


async def test_an_answer_just_in_time_counts(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    desk.backlog.add((await desk.add(receiver)).destination)
    await until(lambda: receiver.received)
    desk.clock.advance(WEBHOOK_TIMEOUT_S - 0.001)
    receiver.gate.set()
    await until(lambda: not desk.backlog.kept)


async def test_a_body_that_never_ends_does_not_undo_the_acceptance(desk: Desk, receiver: Receiver) -> None:
    receiver.usual = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe rest never comes"
    row_id = desk.backlog.add((await desk.add(receiver)).destination)
    await until(lambda: receiver.received)
    for _ in range(20):
        await asyncio.sleep(0)
    while row_id in desk.backlog.kept:
        desk.clock.advance(WEBHOOK_TIMEOUT_S / 10)
        await asyncio.sleep(0)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("asked", "wait_s"), [("60", 60.0), ("1", 5.0), ("3600", RETRY_AFTER_S_MAX), ("3601", RETRY_AFTER_S_MAX)]
)
async def test_retry_after_is_honoured_within_its_bound(
    desk: Desk, receiver: Receiver, asked: str, wait_s: float
) -> None:
    receiver.answers.append(status("429 Too Many Requests", f"Retry-After: {asked}"))
    row_id = desk.backlog.add((await desk.add(receiver)).destination)
    await desk.failed(row_id, 1)
    assert desk.wait_s(row_id) == wait_s


async def test_who_asks_for_quiet_gets_no_other_message_either(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.append(status("503 Service Unavailable", "Retry-After: 60"))
    webhook = await desk.add(receiver)
    await desk.failed(desk.backlog.add(webhook.destination), 1)
    desk.backlog.add(webhook.destination)
    for _ in range(59):
        desk.clock.advance(1)
        await asyncio.sleep(0)
    assert len(receiver.received) == 1
    desk.clock.advance(1)
    await until(lambda: not desk.backlog.kept)
    assert len(receiver.received) == 3


async def test_a_receiver_that_is_gone_for_good_is_disabled(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.append(status("410 Gone"))
    webhook = await desk.add(receiver)
    row_id = desk.backlog.add(webhook.destination)
    await until(lambda: not desk.backlog.webhooks[webhook.webhook_id].enabled)
    while await desk.sender.book.destinations(webhook.product_key):  # noqa: ASYNC110
        await asyncio.sleep(0)
    desk.backlog.add(webhook.destination)
    desk.clock.advance(3600)
    assert f"webhook {webhook.webhook_id} is disabled" in caplog.text
    assert [kept.is_dead for kept in desk.backlog.kept.values()] == [False, False]
    assert len(receiver.received) == 1
    assert desk.backlog.kept[row_id].error == "HTTP 410 Gone"
    await desk.backlog.set_webhook_enabled(webhook.webhook_id, enabled=True)
    await desk.sender.reload()
    await until(lambda: not desk.backlog.kept)


async def test_a_webhook_enabled_again_at_once_goes_on(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.append(status("410 Gone"))
    webhook = await desk.add(receiver)
    desk.backlog.add(webhook.destination)
    await until(lambda: not desk.backlog.webhooks[webhook.webhook_id].enabled)
    # Before the sender has looked itself.
    await desk.backlog.set_webhook_enabled(webhook.webhook_id, enabled=True)
    await desk.sender.reload()
    await until(lambda: not desk.backlog.kept)


async def test_a_webhook_that_could_not_be_disabled_is_tried_again(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.usual = status("410 Gone")
    webhook = await desk.add(receiver)
    kept = desk.backlog.webhooks.pop(webhook.webhook_id)
    desk.backlog.add(webhook.destination)
    await until(lambda: f"message 1001 to webhook {webhook.webhook_id}" in caplog.text)
    desk.backlog.webhooks[webhook.webhook_id] = kept
    desk.clock.advance(LOOK_AGAIN_S_MAX)
    await until(lambda: not desk.backlog.webhooks[webhook.webhook_id].enabled)
    assert len(receiver.received) == 2


async def test_only_so_many_requests_are_under_way_to_one_webhook(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    webhook = await desk.add(receiver)
    for _ in range(REQUESTS_PER_WEBHOOK_MAX + 1):
        desk.backlog.add(webhook.destination)
    await until(lambda: len(receiver.received) == REQUESTS_PER_WEBHOOK_MAX)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(receiver.received) == REQUESTS_PER_WEBHOOK_MAX
    receiver.gate.set()
    await until(lambda: not desk.backlog.kept)
    assert len(receiver.received) == REQUESTS_PER_WEBHOOK_MAX + 1


async def test_connections_are_used_again(desk: Desk, receiver: Receiver) -> None:
    webhook = await desk.add(receiver)
    for _ in range(20):
        desk.backlog.add(webhook.destination)
        await until(lambda: not desk.backlog.kept)
    assert (len(receiver.received), receiver.connection_count) == (20, 1)


async def test_a_webhook_that_fails_is_asked_one_at_a_time(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.append(FAILED)
    webhook = await desk.add(receiver)
    await desk.failed(desk.backlog.add(webhook.destination), 1)
    receiver.gate.clear()
    for _ in range(3):
        desk.backlog.add(webhook.destination)
    desk.clock.advance(PAUSE_S_MIN)
    await until(lambda: len(receiver.received) == 2)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(receiver.received) == 2
    receiver.gate.set()
    desk.clock.advance(5)
    await until(lambda: not desk.backlog.kept)


async def test_a_webhook_that_fails_is_left_alone_for_ever_longer(desk: Desk, receiver: Receiver) -> None:
    receiver.usual = FAILED
    webhook = await desk.add(receiver)
    row_ids = [desk.backlog.add(webhook.destination)]
    await desk.failed(row_ids[0], 1)
    for count in range(1, 5):
        row_ids.append(desk.backlog.add(webhook.destination))
        desk.clock.advance(pause_after(count) - 0.001)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(receiver.received) == count
        desk.clock.advance(0.002)
        await desk.failed(row_ids[count], 1)
    assert [desk.backlog.kept[row_id].letter.attempts for row_id in row_ids] == [1] * 5
    receiver.usual = OK
    desk.clock.advance(wait_before_retry(1, 0.5))
    await until(lambda: not desk.backlog.kept)


async def test_the_time_it_is_left_alone_is_bounded() -> None:
    assert [pause_after(count) for count in (1, 2, 10, 11, 10**9)] == [PAUSE_S_MIN, 0.2, 51.2, PAUSE_S_MAX, PAUSE_S_MAX]


async def test_a_bad_webhook_does_not_hold_up_another(desk: Desk, receiver: Receiver) -> None:
    async with Receiver.open() as bad:
        bad.gate.clear()
        stuck, good = await desk.add(bad), await desk.add(receiver)
        for _ in range(100):
            desk.backlog.add(stuck.destination)
        await until(lambda: len(bad.received) == REQUESTS_PER_WEBHOOK_MAX)
        for _ in range(100):
            desk.backlog.add(good.destination)
        await until(lambda: len(receiver.received) == 100)
        assert len(bad.received) == REQUESTS_PER_WEBHOOK_MAX


async def test_requests_in_all_are_bounded_and_webhooks_take_turns(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "REQUESTS_MAX", 3)
    desk = Desk()
    receiver.gate.clear()
    webhooks = [await desk.add(receiver, f"/{number}") for number in range(3)]
    for webhook in webhooks:
        for _ in range(5):
            desk.backlog.add(webhook.destination)
    await until(lambda: len(receiver.received) == 3)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(receiver.received) == 3
    receiver.gate.set()
    await until(lambda: not desk.backlog.kept)
    assert {request.target for request in receiver.received[:6]} == {"/0", "/1", "/2"}
    await desk.sender.stop()


async def test_a_webhook_that_is_deleted_gets_nothing_more(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    webhook = await desk.add(receiver)
    row_id = desk.backlog.add(webhook.destination)
    await until(lambda: receiver.received)
    await desk.backlog.delete_webhook(webhook.webhook_id)
    await desk.sender.reload()
    desk.backlog.add(webhook.destination)
    desk.clock.advance(3600)
    await asyncio.sleep(0)
    assert len(receiver.received) == 1
    assert desk.backlog.kept[row_id].error == ""
    assert await desk.sender.book.destinations(webhook.product_key) == {}


async def test_what_is_under_way_at_the_end_is_due_at_once_afterwards(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    webhook = await desk.add(receiver)
    row_id = desk.backlog.add(webhook.destination)
    await until(lambda: receiver.received)
    await desk.sender.stop()
    assert desk.backlog.kept[row_id].due_ms == desk.now_ms
    receiver.gate.set()
    await desk.sender.reload()
    await until(lambda: not desk.backlog.kept)
    assert [request.headers["webhook-id"] for request in receiver.received] == ["1001", "1001"]


async def test_a_store_that_fails_is_asked_again(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    desk.backlog.failure = OSError("disk full")
    webhook = await desk.add(receiver)
    desk.backlog.add(webhook.destination)
    await until(lambda: "cannot be read" in caplog.text)
    desk.backlog.failure = None
    desk.clock.advance(LOOK_AGAIN_S_MAX)
    await until(lambda: not desk.backlog.kept)


async def test_a_letter_that_nothing_told_of_is_found(desk: Desk, receiver: Receiver) -> None:
    webhook = await desk.add(receiver)
    await until(lambda: desk.clock.timer_count == 1)
    desk.backlog.add("nobody")
    row_id = desk.backlog.add("elsewhere")
    desk.backlog.kept[row_id] = replace(desk.backlog.kept[row_id], destination=webhook.destination)
    desk.clock.advance(LOOK_AGAIN_S_MAX)
    await until(lambda: row_id not in desk.backlog.kept)


async def test_an_answer_longer_than_is_read_costs_the_connection_only(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.extend([b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000, OK])
    webhook = await desk.add(receiver)
    for _ in range(2):
        desk.backlog.add(webhook.destination)
        await until(lambda: not desk.backlog.kept)
    assert receiver.connection_count == 2

"""Sending what waits for webhooks: each has a lane of its own, so that one that fails or is slow holds up no other."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from linkstead.clock import Clock, milliseconds
from linkstead.ids import Ids
from linkstead.measures import Sample
from linkstead.subscription import BacklogStore, Letter
from linkstead.subscription.webhooks import Webhook, WebhookBook, WebhookStore, decode_secret
from linkstead.webhook.schedule import ATTEMPTS_MAX, read_retry_after, wait_before_retry
from linkstead.webhook.signature import make_headers

log = logging.getLogger(__name__)

REQUESTS_PER_WEBHOOK_MAX = 8
"""Requests under way to one webhook; 1 while the latest that ended was not accepted."""

REQUESTS_MAX = 256
"""Requests under way in all; beyond it webhooks wait in the order in which they came."""

LEASE_S = 30.0
"""How long nobody else gets a letter that is being sent: a whole attempt, and time to write down what came of it.

After a crash it is what the letters under way then wait for.
"""

PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 60.0
"""A webhook is left alone for the first after an attempt that failed, and twice as long after each that follows, up to
the second: while a receiver is down, what waits for it does not use up its attempts."""

LOOK_AGAIN_S_MIN, LOOK_AGAIN_S_MAX = 0.05, 30.0
"""How often the backlog is looked at where nothing tells of a new letter: another process may have written it."""

CHANCE_DIGITS, CHANCE_STEPS = 4, 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. `status` is 0 where there was no answer, `error` says why in words for a person."""

    status: int = 0
    error: str = ""
    retry_after: str = ""

    @property
    def is_accepted(self) -> bool:
        """True for 2xx: the receiver has the message."""
        return 200 <= self.status < 300


class Post(Protocol):
    """Makes requests."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one POST request. Failures of the network are told in the answer, not raised."""

    async def close(self) -> None:
        """Let go of every connection."""


def pause_after(failure_count: int) -> float:
    """Seconds that a webhook is left alone after so many attempts in a row that failed, 1 or more."""
    doublings = min(failure_count - 1, 30)
    return min(PAUSE_S_MIN * 2.0**doublings, PAUSE_S_MAX)


class WebhookSender:
    """Sends the letters of every webhook that is enabled.

    Args:
        backlog, webhooks: the store.
        clock: due times and waits.
        ids: chance for the waits.
        make_post: makes what sends, when there is something to send to.
    """

    def __init__(
        self, *, backlog: BacklogStore, webhooks: WebhookStore, clock: Clock, ids: Ids, make_post: Callable[[], Post]
    ) -> None:
        self.book = WebhookBook()
        self._backlog = backlog
        self._webhooks = webhooks
        self._clock = clock
        self._ids = ids
        self._make_post = make_post
        self._post: Post | None = None
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._lanes: dict[str, _Lane] = {}
        self._turn = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self._outcomes = {"accepted": 0, "failed": 0}

    def sample(self) -> Iterator[Sample]:
        """How attempts to send ended."""
        for outcome, count in self._outcomes.items():
            yield "linkstead_webhook_attempts_total", (outcome,), float(count)

    def _count(self, *, is_accepted: bool) -> None:
        self._outcomes["accepted" if is_accepted else "failed"] += 1

    async def reload(self) -> None:
        """Take the webhooks as they are now: at the start, and whenever they may have changed."""
        async with self._turn:
            webhooks = await self._webhooks.list_webhooks()
            self.book.replace(webhooks)
            enabled = {webhook.destination: webhook for webhook in webhooks if webhook.enabled}
            # One that ended because its webhook was gone for good makes room: it may have been enabled again meanwhile.
            ended = [name for name, lane in self._lanes.items() if name not in enabled or lane.is_disabled]
            gone = [self._lanes.pop(destination) for destination in ended]
            for destination, webhook in enabled.items():
                if destination not in self._lanes:
                    self._lanes[destination] = self._open_lane(webhook)
            await _close(gone)

    def wake(self, destinations: Collection[str]) -> None:
        """Something new waits for these destinations; those that are no webhook's are passed over. Returns at once."""
        for destination in destinations:
            lane = self._lanes.get(destination)
            if lane is not None:
                lane.wake()

    async def stop(self) -> None:
        """Send no more. What is under way is broken off, and is due at once when somebody sends again."""
        async with self._turn:
            for reload in self._reloads:
                reload.cancel()
            lanes = list(self._lanes.values())
            self._lanes.clear()
            await _close(lanes)
            if self._post is not None:
                await self._post.close()
                self._post = None

    def _open_lane(self, webhook: Webhook) -> "_Lane":
        if self._post is None:
            self._post = self._make_post()
        return _Lane(
            webhook,
            backlog=self._backlog,
            webhooks=self._webhooks,
            clock=self._clock,
            ids=self._ids,
            post=self._post,
            slots=self._slots,
            tell_disabled=self._reload_soon,
            count=self._count,
        )

    def _reload_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


class _Lane:
    """One webhook: takes what is due, and sends it within the bounds."""

    def __init__(
        self,
        webhook: Webhook,
        *,
        backlog: BacklogStore,
        webhooks: WebhookStore,
        clock: Clock,
        ids: Ids,
        post: Post,
        slots: asyncio.Semaphore,
        tell_disabled: Callable[[], None],
        count: Callable[..., None],
    ) -> None:
        self._webhook = webhook
        self._key = decode_secret(webhook.secret)
        self._backlog = backlog
        self._webhooks = webhooks
        self._clock = clock
        self._ids = ids
        self._post = post
        self._slots = slots
        self._tell_disabled = tell_disabled
        self._count = count
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._failure_count = 0
        self.is_disabled = False
        self._quiet_until_s = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        self._woken.set()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Break off what is under way; returns what has to end then."""
        tasks = [self._task, *self._under_way]
        for task in tasks:
            task.cancel()
        return tasks

    async def _run(self) -> None:
        while not self.is_disabled:
            self._woken.clear()
            try:
                wait_s = await self._send_due()
            except Exception:
                # The store failed: it is asked again later.
                log.exception("what waits for webhook %s cannot be read", self._webhook.webhook_id)
                wait_s = LOOK_AGAIN_S_MAX
            if wait_s > 0:
                timer = self._clock.call_later(wait_s, self._woken.set)
                try:
                    await self._woken.wait()
                finally:
                    timer.cancel()

    async def _send_due(self) -> float:
        """Begin to send what is due and fits the bounds; returns the seconds to wait, unless woken before."""
        quiet_s = self._quiet_until_s - self._clock.monotonic_s()
        if quiet_s > 0:
            return quiet_s
        free = (1 if self._failure_count else REQUESTS_PER_WEBHOOK_MAX) - len(self._under_way)
        if free <= 0:
            return LOOK_AGAIN_S_MAX
        slots = await self._take_slots(free)
        letters: list[Letter] = []
        try:
            now_ms = milliseconds(self._clock.time_s())
            until_ms = now_ms + milliseconds(LEASE_S)
            letters = await self._backlog.lease_letters(self._webhook.destination, slots, now_ms, until_ms)
        finally:
            for _ in range(slots - len(letters)):
                self._slots.release()
        for letter in letters:
            task = asyncio.get_running_loop().create_task(self._send(letter))
            self._under_way.add(task)
            task.add_done_callback(self._end)
        if len(letters) == slots:
            return 0.0
        due_ms = await self._backlog.next_due_ms(self._webhook.destination)
        if due_ms is None:
            return LOOK_AGAIN_S_MAX
        return min(max((due_ms - now_ms) / 1000, LOOK_AGAIN_S_MIN), LOOK_AGAIN_S_MAX)

    async def _take_slots(self, wanted: int) -> int:
        """Wait for one slot of those that all share, and take more where they are free."""
        await self._slots.acquire()
        taken = 1
        while taken < wanted and not self._slots.locked():
            await self._slots.acquire()
            taken += 1
        return taken

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._slots.release()
        self.wake()

    async def _send(self, letter: Letter) -> None:
        timestamp_s = int(self._clock.time_s())
        headers = make_headers(letter, self._key, timestamp_s)
        try:
            answer = await self._post.post(self._webhook.url, headers, letter.payload)
            await self._settle(letter, answer)
        except asyncio.CancelledError:
            self._backlog.return_letter(letter.row_id, letter.attempts, milliseconds(self._clock.time_s()))
            raise
        except Exception:
            # It is leased still, so it is due again when that ends.
            log.exception("message %d to webhook %s", letter.message_id, self._webhook.webhook_id)

    async def _settle(self, letter: Letter, answer: Answer) -> None:
        """Write down what came of an attempt."""
        webhook_id = self._webhook.webhook_id
        self._count(is_accepted=answer.is_accepted)
        if answer.is_accepted:
            self._backlog.acknowledge_letter(letter.row_id)
            if self._failure_count:
                log.info("webhook %s takes messages again", webhook_id)
            self._failure_count = 0
            return
        if not self._failure_count:
            log.warning("webhook %s did not take a message: %s", webhook_id, answer.error)
        self._failure_count += 1
        now_s = self._clock.time_s()
        asked_s = read_retry_after(answer.retry_after, now_s) if answer.retry_after else 0.0
        pause_s = max(pause_after(self._failure_count), asked_s)
        self._quiet_until_s = max(self._quiet_until_s, self._clock.monotonic_s() + pause_s)
        if answer.status == HTTPStatus.GONE:
            await self._webhooks.postpone_letter(letter.row_id, letter.attempts, milliseconds(now_s), answer.error)
            await self._webhooks.set_webhook_enabled(webhook_id, enabled=False)
            self.is_disabled = True
            log.warning("webhook %s is disabled: it says that it is gone for good", webhook_id)
            self._tell_disabled()
        elif letter.attempts >= ATTEMPTS_MAX:
            await self._webhooks.bury_letter(letter.row_id, letter.attempts, milliseconds(now_s), answer.error)
            log.warning("message %d to webhook %s is given up: %s", letter.message_id, webhook_id, answer.error)
        else:
            wait_s = max(wait_before_retry(letter.attempts, self._draw_chance()), asked_s)
            due_ms = milliseconds(now_s + wait_s)
            await self._webhooks.postpone_letter(letter.row_id, letter.attempts, due_ms, answer.error)

    def _draw_chance(self) -> float:
        return int(self._ids.token("0123456789", CHANCE_DIGITS)) / CHANCE_STEPS


async def _close(lanes: Iterable[_Lane]) -> None:
    # All are broken off before any is waited for: whoever waits may be broken off too.
    tasks = [task for lane in lanes for task in lane.cancel()]
    if tasks:
        await asyncio.wait(tasks)

"""Handing out the backlog: to each consumer as much as it has credit for, and again what was not settled.

A letter is leased from the backlog before it is handed out, for as long as its consumer has to settle it and until it
would be delivered again: whoever dies holding letters, consumer or process, delays them and loses none. In memory are
those that consumers hold, never the backlog.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from linkstead.clock import Clock, Timer, milliseconds
from linkstead.subscription.consumption import Consumption, ConsumptionMeter
from linkstead.subscription.records import Letter
from linkstead.subscription.store import BacklogStore

log = logging.getLogger(__name__)

CONSUMERS_OF_A_DESTINATION_MAX = 64
"""Source: `device-protocol.md` 8.1, consumers per group."""

LETTERS_OF_A_CONSUMER_MAX = 1_000
"""Letters that a consumer holds unsettled at once, whatever its credit."""

LEASE_LETTERS_MAX = 250
"""Letters read from the backlog at a time."""

SETTLE_S = 30.0
"""How long a consumer has to settle a letter before it is delivered again. Source: `device-protocol.md` 8.1."""

REDELIVERY_S = 60.0
"""How long a letter rests that was not taken. Source: `device-protocol.md` 8.1."""

METERS_KEPT_MAX = 10_000
"""Destinations without a consumer whose consumption is remembered; the one left longest ago is forgotten first."""

RETRY_S = 1.0
"""Wait after the backlog could not be read."""

LOOK_AGAIN_S = 5.0
"""How long a letter of another node waits at most where nothing was heard of it, while somebody here takes letters."""


class TooManyConsumers(Exception):
    """A bound is reached: consumers of the destination. Source: `device-protocol.md` 8.1."""


class Consumer(Protocol):
    """Somebody who takes letters: a receiver link, or a webhook."""

    client_id: str
    peer: str

    def take(self, letters: Sequence[Letter]) -> None:
        """Send these, never more than the credit granted; each is settled later by the attachment."""

    def dismiss(self) -> None:
        """The destination was deleted: end, nothing more will come."""


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A consumer that is attached, since when, and what it settled and holds."""

    client_id: str
    peer: str
    attached_ms: int
    accepted_count: int
    held_count: int
    consumption: Consumption

    @property
    def last_accepted_ms(self) -> int:
        """0 where it accepted none."""
        return self.consumption.last_accepted_ms


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """Who is attached to a destination, the longest first, and what those who are or were accepted since the start."""

    consumers: list[ConsumerStatus] = field(default_factory=list)
    consumption: Consumption = field(default_factory=Consumption)

    def and_of(self, other: "DeskStatus") -> "DeskStatus":
        """The status of both: of one destination on two nodes."""
        consumers = sorted([*self.consumers, *other.consumers], key=lambda consumer: consumer.attached_ms)
        return DeskStatus(consumers, self.consumption.and_of(other.consumption))


class OtherDesks(Protocol):
    """What the other nodes hand out, of the same backlog."""

    def open_desk(self, destination: str) -> None:
        """Letters of a destination are handed out here from now on: hear of what waits for it."""

    def close_desk(self, destination: str) -> None:
        """They are not any more."""

    def ring(self, destinations: Collection[str]) -> None:
        """Have the other nodes look what waits for destinations; returns at once."""

    def dismiss(self, destination: str) -> None:
        """Have the other nodes send away the consumers of a destination; returns at once."""

    async def ask(self, destinations: Sequence[str]) -> Mapping[str, DeskStatus]:
        """How destinations get on at the other nodes, as far as those say so."""


class Attachment:
    """A consumer's place at a destination; made by `Dispatcher.attach`."""

    def __init__(self, desk: "_Desk", consumer: Consumer, clock: Clock) -> None:
        self.consumer = consumer
        self._desk = desk
        self._clock = clock
        self._credit = 0
        self._attached_ms = milliseconds(clock.time_s())
        self._accepted_count = 0
        self._meter = ConsumptionMeter()
        # Letters it holds, until when it has to settle each, and which attempt it was: handed out in order, so the
        # first falls due first.
        self._held: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._timer: Timer | None = None
        self._is_detached = False

    @property
    def wanted_count(self) -> int:
        """How many letters it takes now."""
        return min(self._credit, LETTERS_OF_A_CONSUMER_MAX - len(self._held))

    @property
    def status(self) -> ConsumerStatus:
        """What is to be said of the consumer."""
        return ConsumerStatus(
            self.consumer.client_id,
            self.consumer.peer,
            self._attached_ms,
            self._accepted_count,
            len(self._held),
            self._meter.read(self._clock.monotonic_s()),
        )

    def grant(self, credit: int) -> None:
        """How many letters the consumer takes from now on, beside those it has; replaces what was granted before."""
        if not self._is_detached:
            self._credit = credit
            self._desk.wake()

    def accept(self, letter: Letter) -> None:
        """The letter was delivered: it is forgotten, though it came too late and is delivered to another meanwhile."""
        self._accepted_count += 1
        now_s, now_ms = self._clock.monotonic_s(), milliseconds(self._clock.time_s())
        self._meter.count(letter, now_s, now_ms)
        self._desk.meter.count(letter, now_s, now_ms)
        self._desk.backlog.acknowledge_letter(letter.row_id)
        self._settle(letter)

    def release(self, letter: Letter) -> None:
        """The letter was not taken: it is delivered again, to anybody, `REDELIVERY_S` later.

        Nothing becomes of one that the consumer does not hold any longer.
        """
        if letter.row_id in self._held:
            self._desk.give_back(letter.row_id, letter.attempts, REDELIVERY_S)
            self._settle(letter)

    def detach(self) -> None:
        """The consumer is gone; what it had and did not settle is delivered again, at once where somebody takes it."""
        if self._is_detached:
            return
        self._is_detached = True
        self._credit = 0
        self._disarm()
        for row_id, (_, attempts) in self._held.items():
            self._desk.give_back(row_id, attempts, 0.0)
        if self._held:
            self._desk.tell_others()
        self._held.clear()
        self._desk.remove(self)

    def hand_out(self, letters: Sequence[Letter]) -> None:
        """Give the consumer letters that were leased for it."""
        if self._is_detached:
            for letter in letters:
                self._desk.give_back(letter.row_id, letter.attempts, 0.0)
            return
        self._credit -= len(letters)
        until_s = self._clock.monotonic_s() + SETTLE_S
        for letter in letters:
            self._held[letter.row_id] = until_s, letter.attempts
        if self._timer is None:
            self._timer = self._clock.call_later(SETTLE_S, self._expire)
        self.consumer.take(letters)

    def _settle(self, letter: Letter) -> None:
        was_full = len(self._held) >= LETTERS_OF_A_CONSUMER_MAX
        self._held.pop(letter.row_id, None)
        if was_full:
            self._desk.wake()

    def _expire(self) -> None:
        """Take back what was not settled in time. Its lease goes on for as long as it has to rest."""
        self._timer = None
        now_s = self._clock.monotonic_s()
        while self._held:
            row_id, (until_s, _) = next(iter(self._held.items()))
            if until_s > now_s:
                self._timer = self._clock.call_later(until_s - now_s, self._expire)
                break
            del self._held[row_id]
        self._desk.wake()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Dispatcher:
    """Hands letters to the consumers of each destination.

    Args:
        backlog: where they wait.
        clock: when they are due.
    """

    def __init__(self, backlog: BacklogStore, clock: Clock) -> None:
        self._backlog = backlog
        self._clock = clock
        self._desks: dict[str, _Desk] = {}
        # Of destinations without a desk.
        self._meters: OrderedDict[str, ConsumptionMeter] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._others: OtherDesks | None = None
        self._is_stopping = False
        # Wall time that stands on the disk, and never goes back here: what is due stays due.
        self._ahead_s = clock.time_s() - clock.monotonic_s()
        backlog.watch_letters(self._wake_some)

    def join(self, others: OtherDesks) -> None:
        """Be one of several nodes that hand out the same backlog. To be called before anybody is attached."""
        self._others = others
        self._backlog.watch_letters(others.ring)

    def attach(self, destination: str, consumer: Consumer) -> Attachment:
        """Add a consumer, without credit. Raises TooManyConsumers."""
        desk = self._desks.get(destination)
        if desk is None:
            meter = self._meters.pop(destination, None) or ConsumptionMeter()
            desk = self._desks[destination] = _Desk(self, destination, self._backlog, self._clock, meter)
            if self._others is not None:
                self._others.open_desk(destination)
        elif len(desk.attachments) >= CONSUMERS_OF_A_DESTINATION_MAX:
            raise TooManyConsumers
        attachment = Attachment(desk, consumer, self._clock)
        desk.attachments.append(attachment)
        return attachment

    def wake(self, destination: str) -> None:
        """Something new waits for a destination."""
        desk = self._desks.get(destination)
        if desk is not None:
            desk.wake()

    def wake_all(self) -> None:
        """Something new may wait for any destination: another process changed what is stored."""
        self._wake_some(self._desks)

    def consumers(self, destination: str) -> list[ConsumerStatus]:
        """Who is attached to a destination, the longest first."""
        desk = self._desks.get(destination)
        return [attachment.status for attachment in desk.attachments] if desk is not None else []

    def consumption(self, destination: str) -> Consumption:
        """What the consumers of a destination accepted since the server's start, those that are gone included."""
        desk = self._desks.get(destination)
        meter = desk.meter if desk is not None else self._meters.get(destination)
        return meter.read(self._clock.monotonic_s()) if meter is not None else Consumption()

    def look_at(self, destination: str) -> DeskStatus:
        """How a destination gets on here."""
        return DeskStatus(self.consumers(destination), self.consumption(destination))

    async def ask(self, destinations: Sequence[str]) -> Mapping[str, DeskStatus]:
        """How destinations get on, here and at the other nodes."""
        found = {destination: self.look_at(destination) for destination in destinations}
        if self._others is not None:
            for destination, status in (await self._others.ask(destinations)).items():
                found[destination] = found[destination].and_of(status)
        return found

    def dismiss(self, destination: str) -> None:
        """Send away every consumer of a destination that was deleted, and forget what is known of it."""
        self.dismiss_here(destination)
        if self._others is not None:
            self._others.dismiss(destination)

    def dismiss_here(self, destination: str) -> None:
        """As `dismiss`, without those at other nodes."""
        desk = self._desks.get(destination)
        for attachment in list(desk.attachments) if desk is not None else ():
            attachment.consumer.dismiss()
            attachment.detach()
        self._meters.pop(destination, None)

    async def stop(self) -> None:
        """Detach every consumer, and return when nothing is being read any longer."""
        self._is_stopping = True
        for desk in list(self._desks.values()):
            for attachment in list(desk.attachments):
                attachment.detach()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def now_ms(self) -> int:
        """The present moment: wall time that does not go back when the machine's clock is set back."""
        now_s, monotonic_s = self._clock.time_s(), self._clock.monotonic_s()
        self._ahead_s = max(self._ahead_s, now_s - monotonic_s)
        return max(milliseconds(now_s), milliseconds(monotonic_s + self._ahead_s))

    def start(self, desk: "_Desk") -> asyncio.Task[None] | None:
        """Have a desk served, unless the server is stopping."""
        if self._is_stopping:
            return None
        task = asyncio.get_running_loop().create_task(desk.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def look_again_ms(self, due_ms: int | None) -> int | None:
        """When to look into a backlog again in which the next is due in `due_ms`; None where somebody will tell."""
        if self._others is None:
            return due_ms
        look_ms = milliseconds(LOOK_AGAIN_S)
        return look_ms if due_ms is None else min(due_ms, look_ms)

    def tell_others(self, destination: str) -> None:
        """Have the other nodes look what waits for a destination once what was given back here is on the disk."""
        if self._others is not None:
            task = asyncio.get_running_loop().create_task(self._tell_others(self._others, destination))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell_others(self, others: OtherDesks, destination: str) -> None:
        # Where the disk does not take it now, they look again by themselves.
        if await self._backlog.flush():
            others.ring([destination])

    def close(self, desk: "_Desk") -> None:
        """Let go of a desk without consumers."""
        if self._others is not None:
            self._others.close_desk(desk.destination)
        del self._desks[desk.destination]
        self._meters[desk.destination] = desk.meter
        if len(self._meters) > METERS_KEPT_MAX:
            self._meters.popitem(last=False)

    def _wake_some(self, destinations: Collection[str]) -> None:
        for destination in list(destinations):
            self.wake(destination)


class _Desk:
    """A destination with at least one consumer."""

    def __init__(
        self, dispatcher: Dispatcher, destination: str, backlog: BacklogStore, clock: Clock, meter: ConsumptionMeter
    ) -> None:
        self.destination = destination
        self.backlog = backlog
        self.meter = meter
        self.attachments: list[Attachment] = []
        self._dispatcher = dispatcher
        self._clock = clock
        self._turn = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._is_woken = False

    def wake(self) -> None:
        """Look into the backlog, now or once more, if anybody takes letters."""
        self._is_woken = True
        if self._task is None and self._wanted_count:
            self._disarm()
            self._task = self._dispatcher.start(self)

    def give_back(self, row_id: int, attempts: int, rest_s: float) -> None:
        """Make a letter available again, `rest_s` from now."""
        self.backlog.return_letter(row_id, attempts, self._dispatcher.now_ms() + milliseconds(rest_s))
        # By its name: this desk may be closed, and others may have come to the destination since.
        self._dispatcher.wake(self.destination)

    def tell_others(self) -> None:
        """Have the other nodes look for what was given back."""
        self._dispatcher.tell_others(self.destination)

    def remove(self, attachment: Attachment) -> None:
        """Take a consumer away."""
        self.attachments.remove(attachment)
        if not self.attachments:
            self._disarm()
            self._dispatcher.close(self)

    @property
    def _wanted_count(self) -> int:
        return sum(attachment.wanted_count for attachment in self.attachments)

    async def serve(self) -> None:
        """Hand out what is due, until nothing is or nobody takes more; then come back when the next falls due."""
        retry = False
        try:
            while wanted_count := self._wanted_count:
                self._is_woken = False
                limit = min(wanted_count, LEASE_LETTERS_MAX)
                now_ms = self._dispatcher.now_ms()
                until_ms = now_ms + milliseconds(SETTLE_S + REDELIVERY_S)
                letters = await self.backlog.lease_letters(self.destination, limit, now_ms, until_ms)
                self._hand_out(letters)
                if len(letters) == limit:
                    continue
                due_ms = await self.backlog.next_due_ms(self.destination)
                now_ms = self._dispatcher.now_ms()
                if not self._is_woken and (due_ms is None or due_ms > now_ms):
                    self._arm(self._dispatcher.look_again_ms(due_ms - now_ms if due_ms is not None else None))
                    return
        except Exception:
            # Nobody waits for this to end: the log is told, and what was leased comes again when its lease ends.
            log.exception("the backlog of a destination cannot be handed out", extra={"destination": self.destination})
            retry = True
        finally:
            self._task = None
        if retry:
            self._arm(milliseconds(RETRY_S))

    def _hand_out(self, letters: Sequence[Letter]) -> None:
        """Share letters among those who take some: one each in turn, so that none has to wait for another."""
        takers = [attachment for attachment in self.attachments if attachment.wanted_count > 0]
        shares: list[list[Letter]] = [[] for _ in takers]
        waiting = list(reversed(letters))
        passed_over = 0
        while waiting and passed_over < len(takers):
            place = self._turn % len(takers)
            self._turn += 1
            if len(shares[place]) < takers[place].wanted_count:
                shares[place].append(waiting.pop())
                passed_over = 0
            else:
                passed_over += 1
        for letter in waiting:
            # While the backlog was read, somebody left or wants less.
            self.give_back(letter.row_id, letter.attempts, 0.0)
        for taker, share in zip(takers, shares, strict=True):
            if share:
                taker.hand_out(share)

    def _arm(self, delay_ms: int | None) -> None:
        self._disarm()
        if delay_ms is not None and self.attachments:
            self._timer = self._clock.call_later(delay_ms / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.wake()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

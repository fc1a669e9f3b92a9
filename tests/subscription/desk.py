"""A store, a dispatcher and consumers to look at."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from linkstead.store import SqliteStore
from linkstead.subscription import Attachment, Dispatcher, Letter
from linkstead.testing.clock import ManualClock
from tests.store.samples import DESTINATION, a_notice


@dataclass
class Taker:
    """Implements `Consumer`: keeps what it takes; with `accepts` it settles at once and asks for as much again."""

    client_id: str = "client-1"
    peer: str = "192.0.2.1:40000"
    accepts: bool = False
    letters: list[Letter] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    attachment: Attachment | None = None
    is_dismissed: bool = False

    def take(self, letters: Sequence[Letter]) -> None:
        self.pages.append(len(letters))
        self.letters += letters
        if self.accepts and self.attachment is not None:
            for letter in letters:
                self.attachment.accept(letter)
            self.attachment.grant(len(letters))

    def dismiss(self) -> None:
        self.is_dismissed = True

    @property
    def numbers(self) -> list[int]:
        return [letter.message_id for letter in self.letters]

    @property
    def attempts(self) -> list[int]:
        return [letter.attempts for letter in self.letters]


@dataclass
class Desk:
    """What a test of the dispatcher works with."""

    store: SqliteStore
    clock: ManualClock

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self.store, self.clock)

    def taker(
        self, credit: int = 0, destination: str = DESTINATION, client_id: str = "client-1", *, accepts: bool = False
    ) -> Taker:
        """A consumer that is attached."""
        taker = Taker(client_id, accepts=accepts)
        taker.attachment = self.dispatcher.attach(destination, taker)
        taker.attachment.grant(credit)
        return taker

    async def record(self, *numbers: int, destination: str = DESTINATION) -> None:
        """Have notices on the disk, generated now."""
        for number in numbers:
            now_ms = int(self.clock.time_s() * 1000)
            self.store.record_notice([destination], a_notice(number, generated_ms=now_ms))
        assert await self.store.flush()
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen that needs no later moment."""
        while self.dispatcher._tasks:
            await asyncio.wait(self.dispatcher._tasks)

    async def turn(self, seconds: float) -> None:
        """Turn the clock, and let what falls due happen."""
        self.clock.advance(seconds)
        await self.settle()


def attached(taker: Taker) -> Attachment:
    """Its place."""
    assert taker.attachment is not None
    return taker.attachment

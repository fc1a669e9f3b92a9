"""Consumers of a group, and receivers of webhooks, that behave as the seed says."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from linkstead.clock import Clock
from linkstead.subscription import Attachment, Letter
from linkstead.webhook.sender import Answer
from tests.simulation.node import Node

WINDOW_MAX = 6
"""Letters that a consumer has at once; a good one has `GOOD_WINDOW`."""

GOOD_WINDOW = 100
TIMEOUT_S = 10.0


class LetterWatcher(Protocol):
    """Told what reaches consumers, and what the server is told of it."""

    def note_delivered(self, destination: str, letter: Letter) -> None:
        """A consumer has a letter."""

    def note_posted(self, destination: str, message_id: int, payload: bytes) -> None:
        """A request of a webhook was made."""

    def note_taken(self, destination: str, message_id: int) -> None:
        """Whoever it is for has it for good, whether the server learns so or not."""

    def note_accepted(self, destination: str, message_id: int) -> None:
        """The server was told so."""


class Surroundings(Protocol):
    """What consumers act in."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def chance(self) -> random.Random:
        """What the seed says."""

    @property
    def watcher(self) -> LetterWatcher:
        """Who is told."""

    def tell(self, text: str) -> None:
        """Note what happens."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to deal with a letter, and how often it is chosen."""

    deal: Callable[["SimulatedConsumer", Attachment, Letter], None]
    weight: int


class SimulatedConsumer:
    """Implements `Consumer`: one of a group; `attach` as often as wanted.

    `is_good`: it accepts every letter at once.
    """

    peer = "192.0.2.9:40000"

    def __init__(self, client_id: str, destination: str, surroundings: Surroundings) -> None:
        self.client_id = client_id
        self.destination = destination
        self.is_good = False
        self._around = surroundings
        self._attachment: Attachment | None = None
        self._node: Node | None = None
        self._held: set[int] = set()
        self._window = 0

    @property
    def is_attached(self) -> bool:
        return self._attachment is not None

    def attach(self, node: Node) -> None:
        """Come, with room for some letters."""
        self._around.tell(f"{self.client_id} attaches")
        self._held.clear()
        self._window = GOOD_WINDOW if self.is_good else self._around.chance.randint(1, WINDOW_MAX)
        self._node = node
        with node.clock.running():
            self._attachment = node.dispatcher.attach(self.destination, self)
            self._attachment.grant(self._window)

    def detach(self) -> None:
        """Go, with all that is not settled."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            self._around.tell(f"{self.client_id} detaches with {len(self._held)}")
            assert self._node is not None
            with self._node.clock.running():
                attachment.detach()

    def lose(self, node: Node) -> None:
        """A server is gone."""
        if node is self._node:
            self._attachment = None

    def take(self, letters: Sequence[Letter]) -> None:
        """See `Consumer`."""
        attachment = self._attachment
        assert attachment is not None, "letters for somebody who is gone"
        assert len(self._held) + len(letters) <= self._window, "more than there was credit for"
        for letter in letters:
            self._held.add(letter.row_id)
            self._around.watcher.note_delivered(self.destination, letter)
            if self.is_good:
                self._settle_later(0.0, attachment, letter, True)
            else:
                [way] = self._around.chance.choices(WAYS, [way.weight for way in WAYS])
                self._around.tell(f"{self.client_id} has {letter.row_id}, {letter.topic}: {way.deal.__name__}")
                way.deal(self, attachment, letter)

    def dismiss(self) -> None:
        """See `Consumer`."""
        self._attachment = None

    def _settle_later(self, delay_s: float, attachment: Attachment, letter: Letter, is_accepted: bool) -> None:
        self._around.clock.call_later(delay_s, self._settle, attachment, letter, is_accepted)

    def _settle(self, attachment: Attachment, letter: Letter, is_accepted: bool) -> None:
        if attachment is not self._attachment or letter.row_id not in self._held:
            return
        assert self._node is not None
        self._held.discard(letter.row_id)
        with self._node.clock.running():
            if is_accepted:
                attachment.accept(letter)
                self._around.watcher.note_taken(self.destination, letter.message_id)
                self._around.watcher.note_accepted(self.destination, letter.message_id)
            else:
                attachment.release(letter)
            attachment.grant(self._window - len(self._held))

    # ways to deal with a letter

    def accept(self, attachment: Attachment, letter: Letter) -> None:
        self._settle_later(self._around.chance.uniform(0.0, 0.05), attachment, letter, True)

    def accept_after_a_while(self, attachment: Attachment, letter: Letter) -> None:
        self._settle_later(self._around.chance.uniform(0.5, 5.0), attachment, letter, True)

    def accept_late(self, attachment: Attachment, letter: Letter) -> None:
        """When it may be somebody else's already."""
        self._settle_later(self._around.chance.uniform(29.0, 50.0), attachment, letter, True)

    def release(self, attachment: Attachment, letter: Letter) -> None:
        self._settle_later(self._around.chance.uniform(0.0, 0.5), attachment, letter, False)

    def leave_unsettled(self, attachment: Attachment, letter: Letter) -> None:
        pass

    def leave(self, attachment: Attachment, letter: Letter) -> None:
        self._around.clock.call_later(self._around.chance.uniform(0.0, 0.1), self._leave, attachment)

    def _leave(self, attachment: Attachment) -> None:
        if attachment is self._attachment:
            self.detach()


WAYS = (
    Way(SimulatedConsumer.accept, 12),
    Way(SimulatedConsumer.accept_after_a_while, 4),
    Way(SimulatedConsumer.accept_late, 1),
    Way(SimulatedConsumer.release, 2),
    Way(SimulatedConsumer.leave_unsettled, 1),
    Way(SimulatedConsumer.leave, 1),
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a receiver answers a request, and how often; `is_taken` says that it has the message all the same."""

    answer: Answer
    weight: int
    is_taken: bool = False
    wait_s: float = 0.0


OK = Manner(Answer(204), 12, is_taken=True)
DOWN = Manner(Answer(0, "no connection"), 1)
MANNERS = (
    OK,
    Manner(Answer(0, "connection lost"), 1, is_taken=True),
    Manner(Answer(500, "answered 500"), 2),
    Manner(Answer(503, "answered 503", retry_after="3"), 1),
    Manner(Answer(0, "timeout"), 1, wait_s=TIMEOUT_S),
    Manner(Answer(410, "answered 410"), 1),
    DOWN,
)


class SimulatedReceivers:
    """Implements `Post`: the receivers of all webhooks, each at the URL that is its destination's name.

    `is_good`: they accept every message at once, but for those of `down`.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self.is_good = False
        self.down: set[str] = set()
        self._around = surroundings

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See `Post`."""
        around, message_id = self._around, int(headers["webhook-id"])
        around.watcher.note_posted(url, message_id, body)
        [manner] = around.chance.choices(MANNERS, [manner.weight for manner in MANNERS])
        if url in self.down:
            manner = DOWN
        elif self.is_good:
            manner = OK
        around.tell(f"{url} has {message_id}: {manner.answer}")
        if manner.is_taken:
            around.watcher.note_taken(url, message_id)
        await around.clock.sleep(manner.wait_s or around.chance.uniform(0.0, 0.1))
        if manner.answer.is_accepted:
            around.watcher.note_accepted(url, message_id)
        return manner.answer

    async def close(self) -> None:
        """See `Post`."""

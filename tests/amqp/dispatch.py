"""A fake of the port that hands letters out, over lists in memory."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from linkstead.subscription import Consumer, ConsumerGroup, Letter, TooManyConsumers
from tests.fakes import NOW_MS

CONSUMERS_MAX = 64


def a_letter(number: int = 1, payload: bytes = b'{"value":1}', **fields: int) -> Letter:
    """A letter; its message id tells its number."""
    message_id = 889_455_942_124_347_000 + number
    made = {"generated_ms": NOW_MS + number, "qos": 0, "attempts": 1, **fields}
    return Letter(number, message_id, f"/a1Lamp00001/lamp-{number}/thing/event/property/post", payload, **made)


@dataclass(eq=False)
class FakeAttachment:
    """Implements `Attachment`: keeps what it was told. What is given back waits again at once."""

    dispatcher: "FakeDispatcher"
    destination: str
    consumer: Consumer
    credit: int = 0
    grants: list[int] = field(default_factory=list)
    held: list[Letter] = field(default_factory=list)
    accepted: list[Letter] = field(default_factory=list)
    released: list[Letter] = field(default_factory=list)
    is_attached: bool = True

    def grant(self, credit: int) -> None:
        self.credit = credit
        self.grants.append(credit)
        self.dispatcher.wake(self.destination)
        self.dispatcher.changed()

    def accept(self, letter: Letter) -> None:
        self.held.remove(letter)
        self.accepted.append(letter)
        self.dispatcher.changed()

    def release(self, letter: Letter) -> None:
        self.held.remove(letter)
        self.released.append(letter)
        self.dispatcher.changed()

    def detach(self) -> None:
        assert self.is_attached
        self.is_attached = False
        self.dispatcher.attachments.remove(self)
        self.dispatcher.waiting(self.destination).extendleft(reversed(self.held))
        self.held = []
        self.dispatcher.wake(self.destination)
        self.dispatcher.changed()


class FakeDispatcher:
    """Implements `Dispatcher`. `changed` is called when something was granted, settled, attached or detached."""

    def __init__(self) -> None:
        self.attachments: list[FakeAttachment] = []
        self.all: list[FakeAttachment] = []
        self.letters: dict[str, deque[Letter]] = {}
        self.changed: Callable[[], None] = lambda: None

    def waiting(self, destination: str) -> deque[Letter]:
        """What waits for a destination."""
        return self.letters.setdefault(destination, deque())

    def post(self, destination: str, *letters: Letter) -> None:
        """Have something wait for a destination."""
        self.waiting(destination).extend(letters)
        self.wake(destination)

    def attach(self, destination: str, consumer: Consumer) -> FakeAttachment:
        if sum(attachment.destination == destination for attachment in self.attachments) >= CONSUMERS_MAX:
            raise TooManyConsumers
        attachment = FakeAttachment(self, destination, consumer)
        self.attachments.append(attachment)
        self.all.append(attachment)
        self.changed()
        return attachment

    def wake(self, destination: str) -> None:
        waiting = self.waiting(destination)
        for attachment in list(self.attachments):
            if attachment.destination == destination and waiting and attachment.credit:
                taken = [waiting.popleft() for _ in range(min(attachment.credit, len(waiting)))]
                attachment.credit -= len(taken)
                attachment.held += taken
                attachment.consumer.take(taken)


class FakeGroups:
    """Implements what the endpoint asks of `GroupStore`."""

    def __init__(self, *groups: ConsumerGroup) -> None:
        self.groups = groups

    async def find_consumer_group(self, account_id: str, group_id: str) -> ConsumerGroup | None:
        return next((g for g in self.groups if (g.account_id, g.group_id) == (account_id, group_id)), None)

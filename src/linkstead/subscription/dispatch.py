"""Handing out the backlog: to each consumer as much as it has credit for, and again what was not settled."""

from collections.abc import Sequence
from typing import Protocol

from linkstead.subscription.records import Letter


class TooManyConsumers(Exception):
    """A bound is reached: consumers of the destination. Source: `device-protocol.md` 8.1."""


class Consumer(Protocol):
    """Somebody who takes letters: a receiver link, or a webhook."""

    client_id: str
    peer: str

    def take(self, letters: Sequence[Letter]) -> None:
        """Send these, never more than the credit granted; each is settled later by the attachment."""


class Attachment(Protocol):
    """A consumer's place at a destination."""

    def grant(self, credit: int) -> None:
        """How many letters the consumer takes from now on, beside those it has; replaces what was granted before."""

    def accept(self, letter: Letter) -> None:
        """The letter was delivered: it is forgotten."""

    def release(self, letter: Letter) -> None:
        """The letter was not taken: it is delivered again, to anybody, about a minute later."""

    def detach(self) -> None:
        """The consumer is gone; what it had and did not settle is delivered again."""


class Dispatcher(Protocol):
    """Hands letters to the consumers of each destination."""

    def attach(self, destination: str, consumer: Consumer) -> Attachment:
        """Add a consumer, without credit. Raises TooManyConsumers."""

    def wake(self, destination: str) -> None:
        """Something new waits for a destination."""

"""Letters on their way to consumer groups and webhooks: taken with the batches, leased, forgotten or given back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from linkstead.store.tables import letter
from linkstead.subscription import Letter, Notice


@dataclass(frozen=True, slots=True)
class NoticeNote:
    """A notice and the destinations that have not been told."""

    destinations: tuple[str, ...]
    notice: Notice

    @property
    def size_bytes(self) -> int:
        """What it counts for while it waits. Raises ValueError: a topic that is not UTF-8 cannot be kept."""
        return len(self.notice.payload) + len(self.notice.topic.encode())


@dataclass(frozen=True, slots=True)
class LetterNote:
    """What became of a letter: due again at a moment, or to be forgotten where that is None.

    It is due again only where it was not handed out anew since its `attempts` were that many.
    """

    row_id: int
    due_ms: int | None
    attempts: int = 0

    def then(self, later: "LetterNote") -> "LetterNote":
        """The note of both: what was delivered stays so."""
        return self if self.due_ms is None else later


_ADD = sa.text(
    "INSERT INTO letter"
    " (destination, message_id, topic, payload, generated_ms, qos, attempts, due_ms, is_dead, last_error, holder)"
    " VALUES (:destination, :message_id, :topic, :payload, :generated_ms, :qos, 0, :generated_ms, FALSE, '', '')"
)
_FORGET = sa.text("DELETE FROM letter WHERE id = :row_id")
_GIVE_BACK = sa.text("UPDATE letter SET due_ms = :due_ms, holder = '' WHERE id = :row_id AND attempts = :attempts")

_RECORD = (
    letter.c.id,
    letter.c.message_id,
    letter.c.topic,
    letter.c.payload,
    letter.c.generated_ms,
    letter.c.qos,
    letter.c.attempts,
)


def _waits_for(destination: str) -> sa.ColumnElement[bool]:
    return sa.and_(letter.c.destination == destination, letter.c.is_dead.is_(False))


def add_letters(connection: sa.Connection, notes: Sequence[NoticeNote]) -> None:
    """Keep a letter for each destination of each notice, in order."""
    rows = [
        {
            "destination": destination,
            "message_id": note.notice.message_id,
            "topic": note.notice.topic,
            "payload": note.notice.payload,
            "generated_ms": note.notice.generated_ms,
            "qos": note.notice.qos,
        }
        for note in notes
        for destination in note.destinations
    ]
    connection.execute(_ADD, rows)


def write_letter_notes(connection: sa.Connection, notes: Sequence[LetterNote]) -> None:
    """Forget letters or give them back; ids of none are passed over."""
    forgotten = [{"row_id": note.row_id} for note in notes if note.due_ms is None]
    if forgotten:
        connection.execute(_FORGET, forgotten)
    given_back = [
        {"row_id": note.row_id, "due_ms": note.due_ms, "attempts": note.attempts}
        for note in notes
        if note.due_ms is not None
    ]
    if given_back:
        connection.execute(_GIVE_BACK, given_back)


def due_letters(destination: str, now_ms: int, limit: int) -> sa.Select[tuple[int]]:
    """The ids of what is due at `now_ms`, the longest due first."""
    is_due = letter.c.due_ms <= now_ms
    columns = sa.select(letter.c.id).where(_waits_for(destination), is_due)
    # What another node takes at this moment is not waited for.
    return columns.order_by(letter.c.due_ms, letter.c.id).limit(limit).with_for_update(skip_locked=True)


def first_due(destination: str) -> sa.Select[Any]:
    """When the first of a destination is due."""
    return sa.select(sa.func.min(letter.c.due_ms)).where(_waits_for(destination))


def lease_letters(
    connection: sa.Connection, destination: str, limit: int, now_ms: int, until_ms: int, holder: str
) -> list[Letter]:
    """See `BacklogStore.lease_letters`."""
    statement = (
        sa.update(letter)
        .where(letter.c.id.in_(due_letters(destination, now_ms, limit)))
        .values(due_ms=until_ms, attempts=letter.c.attempts + 1, holder=holder)
        .returning(*_RECORD)
    )
    # The rows come in no order of their own; ids rise with the order in which letters were recorded.
    return sorted((Letter(*row) for row in connection.execute(statement)), key=lambda found: found.row_id)


def next_due_ms(connection: sa.Connection, destination: str) -> int | None:
    """See `BacklogStore.next_due_ms`."""
    due_ms: int | None = connection.execute(first_due(destination)).scalar()
    return due_ms


def count_letters(connection: sa.Connection, destination: str) -> int:
    """See `BacklogStore.count_letters`."""
    count: int = connection.execute(
        sa.select(sa.func.count()).select_from(letter).where(_waits_for(destination))
    ).scalar_one()
    return count


def clear_letters(connection: sa.Connection, destination: str, last_id: int, limit: int) -> int:
    """Forget up to `limit` letters of a destination, none of them after `last_id`; returns how many."""
    doomed = sa.select(letter.c.id).where(_waits_for(destination), letter.c.id <= last_id).limit(limit)
    return connection.execute(sa.delete(letter).where(letter.c.id.in_(doomed))).rowcount


def last_letter_id(connection: sa.Connection) -> int:
    """The id of the letter recorded last; 0 where there is none."""
    last_id: int | None = connection.execute(sa.select(sa.func.max(letter.c.id))).scalar()
    return last_id or 0

"""Statements on webhooks, and on the letters that their receivers did not take."""

from dataclasses import fields
from typing import Any

import msgspec
import sqlalchemy as sa

from linkstead.store.retention import DAY_MS, PRUNED_PER_TRANSACTION_MAX
from linkstead.store.statements import raise_version
from linkstead.store.tables import letter, webhook
from linkstead.subscription import NoticeKind
from linkstead.subscription.webhooks import (
    DESTINATION_HEAD,
    WEBHOOKS_MAX,
    WEBHOOKS_PER_PRODUCT_MAX,
    DeadLetter,
    Webhook,
    WebhookRefused,
    sort_kinds,
)

WAITING_DAYS = 3
"""A letter that is due for longer, because its webhook is disabled or takes too few, is given up."""

DEAD_LETTER_DAYS = 7
"""How long a letter that was given up is kept."""

DEAD_LETTERS_MAX = 10_000
"""Letters given up that are kept of one webhook; of more, those that died first are deleted."""

DEAD_LETTERS_LISTED_MAX = 1_000
ERROR_CHARS_MAX = 200
"""Of what is kept about an attempt that failed."""

WAITED_TOO_LONG = f"due for {WAITING_DAYS} days"

_COLUMNS: list[sa.Column[Any]] = [webhook.c[field.name] for field in fields(Webhook)]
_SELECT = sa.select(*_COLUMNS)
_KINDS = _COLUMNS.index(webhook.c.kinds)


def add_webhook(connection: sa.Connection, new: Webhook) -> None:
    """See `WebhookStore.add_webhook`."""
    # First of all: so nobody else adds one before this is done.
    raise_version(connection)
    of_product = webhook.c.product_key == new.product_key
    count = sa.func.count()
    total, same = connection.execute(sa.select(count, count.filter(of_product)).select_from(webhook)).one()
    if same >= WEBHOOKS_PER_PRODUCT_MAX:
        raise WebhookRefused(f"the product has {WEBHOOKS_PER_PRODUCT_MAX} webhooks, and may have no more")
    if total >= WEBHOOKS_MAX:
        raise WebhookRefused(f"there are {WEBHOOKS_MAX} webhooks, and there may be no more")
    values = {field.name: getattr(new, field.name) for field in fields(new)}
    values["kinds"] = msgspec.json.encode(sort_kinds(new.kinds)).decode()
    connection.execute(sa.insert(webhook), values)


def find_webhook(connection: sa.Connection, webhook_id: str) -> Webhook | None:
    """See `WebhookStore.find_webhook`."""
    row = connection.execute(_SELECT.where(webhook.c.webhook_id == webhook_id)).first()
    return _webhook(row) if row else None


def list_webhooks(connection: sa.Connection) -> list[Webhook]:
    """See `WebhookStore.list_webhooks`."""
    return [_webhook(row) for row in connection.execute(_SELECT.order_by(webhook.c.id))]


def _webhook(row: sa.Row[Any]) -> Webhook:
    values = list(row)
    values[_KINDS] = frozenset(msgspec.json.decode(row[_KINDS], type=list[NoticeKind]))
    return Webhook(*values)


def set_webhook_enabled(connection: sa.Connection, webhook_id: str, enabled: bool) -> bool:
    """See `WebhookStore.set_webhook_enabled`."""
    statement = sa.update(webhook).where(webhook.c.webhook_id == webhook_id).values(enabled=enabled)
    return _change(connection, statement)


def delete_webhook(connection: sa.Connection, webhook_id: str) -> bool:
    """Delete a webhook; its letters are for `delete_letters`. False when it is gone."""
    return _change(connection, sa.delete(webhook).where(webhook.c.webhook_id == webhook_id))


def _change(connection: sa.Connection, statement: sa.Update | sa.Delete) -> bool:
    if connection.execute(statement).rowcount == 0:
        return False
    raise_version(connection)
    return True


def postpone_letter(connection: sa.Connection, row_id: int, attempts: int, due_ms: int, error: str) -> None:
    """See `WebhookStore.postpone_letter`."""
    values = {"due_ms": due_ms, "last_error": error[:ERROR_CHARS_MAX], "holder": ""}
    connection.execute(sa.update(letter).where(_is_of_attempt(row_id, attempts)).values(values))


def bury_letter(connection: sa.Connection, row_id: int, attempts: int, died_ms: int, error: str) -> None:
    """See `WebhookStore.bury_letter`."""
    values = {"due_ms": died_ms, "last_error": error[:ERROR_CHARS_MAX], "holder": "", "is_dead": True}
    connection.execute(sa.update(letter).where(_is_of_attempt(row_id, attempts)).values(values))


def _is_of_attempt(row_id: int, attempts: int) -> sa.ColumnElement[bool]:
    # Who handed it out anew meanwhile, for this attempt took too long, says what becomes of it.
    return sa.and_(letter.c.id == row_id, letter.c.attempts == attempts)


def count_dead_letters(connection: sa.Connection, destination: str) -> int:
    """See `WebhookStore.count_dead_letters`."""
    return connection.execute(
        sa.select(sa.func.count()).select_from(letter).where(_is_dead_letter(destination))
    ).scalar_one()


def list_dead_letters(connection: sa.Connection, destination: str, limit: int) -> list[DeadLetter]:
    """See `WebhookStore.list_dead_letters`; at most `DEAD_LETTERS_LISTED_MAX`."""
    column = letter.c
    statement = (
        sa.select(
            column.id,
            column.message_id,
            column.topic,
            column.generated_ms,
            column.attempts,
            column.due_ms,
            column.last_error,
        )
        .where(_is_dead_letter(destination))
        .order_by(column.due_ms.desc(), column.id.desc())
        .limit(min(max(limit, 0), DEAD_LETTERS_LISTED_MAX))
    )
    return [DeadLetter(*row) for row in connection.execute(statement)]


def revive_letters(connection: sa.Connection, destination: str, row_id: int | None, now_ms: int) -> int:
    """See `WebhookStore.revive_letters`."""
    statement = sa.update(letter).where(_is_dead_letter(destination))
    if row_id is not None:
        statement = statement.where(letter.c.id == row_id)
    return connection.execute(statement.values(is_dead=False, attempts=0, due_ms=now_ms)).rowcount


def delete_letters(connection: sa.Connection, destination: str) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` of all letters of a destination; returns how many."""
    return _delete(connection, sa.select(letter.c.id).where(letter.c.destination == destination))


def list_destinations(connection: sa.Connection) -> list[str]:
    """The webhooks that there are letters of, those that were deleted included."""
    # One step in the index a destination, not one a letter. In which order texts stand is the database's own affair, so
    # consumer groups are stepped over one by one.
    found: list[str] = []
    last: str | None = ""
    while last is not None:
        statement = sa.select(sa.func.min(letter.c.destination)).where(letter.c.destination > last)
        last = connection.execute(statement).scalar()
        if last is not None and last.startswith(DESTINATION_HEAD):
            found.append(last)
    return found


def prune_letters(connection: sa.Connection, destination: str, now_ms: int) -> int:
    """Give up what is due too long, and delete dead letters that are too old or too many; all, if the webhook is gone.

    At most `PRUNED_PER_TRANSACTION_MAX` of each; returns how many.
    """
    webhook_id = destination.removeprefix(DESTINATION_HEAD)
    if connection.execute(sa.select(webhook.c.id).where(webhook.c.webhook_id == webhook_id)).first() is None:
        return delete_letters(connection, destination)
    waiting = sa.and_(letter.c.destination == destination, letter.c.is_dead.is_(False))
    late = sa.select(letter.c.id).where(waiting, letter.c.due_ms < now_ms - WAITING_DAYS * DAY_MS)
    doomed = late.limit(PRUNED_PER_TRANSACTION_MAX)
    values = {"is_dead": True, "due_ms": now_ms, "last_error": WAITED_TOO_LONG}
    changed = connection.execute(sa.update(letter).where(letter.c.id.in_(doomed)).values(values)).rowcount
    dead = sa.select(letter.c.id).where(_is_dead_letter(destination)).order_by(letter.c.due_ms, letter.c.id)
    changed += _delete(connection, dead.where(letter.c.due_ms < now_ms - DEAD_LETTER_DAYS * DAY_MS))
    excess = count_dead_letters(connection, destination) - DEAD_LETTERS_MAX
    return changed + _delete(connection, dead, excess) if excess > 0 else changed


def _delete(connection: sa.Connection, doomed: sa.Select[tuple[int]], limit: int = PRUNED_PER_TRANSACTION_MAX) -> int:
    limited = doomed.limit(min(limit, PRUNED_PER_TRANSACTION_MAX))
    return connection.execute(sa.delete(letter).where(letter.c.id.in_(limited))).rowcount


def _is_dead_letter(destination: str) -> sa.ColumnElement[bool]:
    return sa.and_(letter.c.destination == destination, letter.c.is_dead.is_(True))

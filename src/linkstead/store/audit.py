"""Statements on the audit log."""

from collections.abc import Sequence
from dataclasses import asdict, fields

import sqlalchemy as sa

from linkstead.registry.audit import AuditEntry
from linkstead.store.retention import DAY_MS, PRUNED_PER_TRANSACTION_MAX
from linkstead.store.tables import audit_log

AUDIT_DAYS = 180
AUDIT_ROWS_MAX = 1_000_000
"""Entries kept of requests whose signer is known; what is older than `AUDIT_DAYS`, or beyond it, is deleted."""

AUDIT_STRANGER_ROWS_MAX = 100_000
"""Entries kept of those who did not prove who they are: they must not push out the others."""

AUDIT_LISTED_MAX = 10_000

_SELECT = sa.select(*(audit_log.c[field.name] for field in fields(AuditEntry)))


def write_audit(connection: sa.Connection, entries: Sequence[AuditEntry]) -> None:
    """Write entries within a transaction."""
    connection.execute(sa.insert(audit_log), [asdict(entry) for entry in entries])


def list_audit(connection: sa.Connection, account_id: str | None, since_ms: int, limit: int) -> list[AuditEntry]:
    """See `AuditLog.list_audit`; at most `AUDIT_LISTED_MAX`."""
    statement = _SELECT.where(audit_log.c.time_ms >= since_ms)
    if account_id is not None:
        statement = statement.where(audit_log.c.account_id == account_id)
    statement = statement.order_by(audit_log.c.time_ms.desc(), audit_log.c.id.desc())
    return [AuditEntry(*row) for row in connection.execute(statement.limit(min(limit, AUDIT_LISTED_MAX)))]


def prune_old_audit(connection: sa.Connection, now_ms: int) -> int:
    """Delete up to `PRUNED_PER_TRANSACTION_MAX` entries that are too old; returns how many."""
    too_old = audit_log.c.time_ms < now_ms - AUDIT_DAYS * DAY_MS
    return _delete(connection, too_old, PRUNED_PER_TRANSACTION_MAX)


def count_excess_audit(connection: sa.Connection, is_verified: bool, rows_max: int) -> int:
    """How many entries of a kind there are beyond `rows_max`; 0 where there are none."""
    statement = sa.select(sa.func.count()).select_from(audit_log).where(audit_log.c.is_verified.is_(is_verified))
    count: int = connection.execute(statement).scalar_one()
    return max(count - rows_max, 0)


def prune_excess_audit(connection: sa.Connection, is_verified: bool, excess: int) -> int:
    """Delete up to `excess` entries of a kind, the oldest first; at most `PRUNED_PER_TRANSACTION_MAX`."""
    return _delete(connection, audit_log.c.is_verified.is_(is_verified), min(excess, PRUNED_PER_TRANSACTION_MAX))


def _delete(connection: sa.Connection, condition: sa.ColumnElement[bool], limit: int) -> int:
    doomed = sa.select(audit_log.c.id).where(condition).order_by(audit_log.c.time_ms, audit_log.c.id).limit(limit)
    return connection.execute(sa.delete(audit_log).where(audit_log.c.id.in_(doomed))).rowcount

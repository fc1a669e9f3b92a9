"""Which secrets are sealed on the disk, and how records and rows go through a vault.

A sealed text is ` 1 KEY_ID BASE64`: no secret begins with a blank, so it cannot be taken for one. The table, the row
and the column go into the seal, so that a text moved elsewhere does not open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from linkstead.registry import AccessKey, Device, Page, Product
from linkstead.store.statements import raise_version
from linkstead.store.tables import access_key, device, master_key, product, webhook
from linkstead.subscription.webhooks import Webhook

SEAL_HEAD = " 1 "
SEALED_PER_TRANSACTION_MAX = 500
"""Rows sealed at a time, so that other writes do not wait long."""

TOLD_EVERY_ROWS = 20 * SEALED_PER_TRANSACTION_MAX


class UnknownMasterKey(Exception):
    """Secrets are sealed under a key that is not at hand; the text says which."""


class SealBroken(Exception):
    """A sealed text was changed, or belongs to another row; the text says where it stands."""


class Vault(Protocol):
    """Seals under one key, and opens what was sealed under that or an earlier one."""

    key_id: str
    """Of the key that seals."""

    key_ids: frozenset[str]
    """Of all keys at hand."""

    def seal(self, place: str, text: str) -> str:
        """Seal a secret for a place: table, row and column."""

    def open(self, place: str, sealed: str) -> str:
        """The secret in a sealed text. Raises SealBroken."""


class SealedColumns(NamedTuple):
    """Where the secrets of a kind of record are."""

    table: sa.Table
    row: str
    columns: tuple[str, ...]


SEALED: Mapping[type, SealedColumns] = {
    AccessKey: SealedColumns(access_key, "access_key_id", ("secret", "security_token")),
    Product: SealedColumns(product, "product_key", ("product_secret",)),
    Device: SealedColumns(device, "iot_id", ("device_secret",)),
    Webhook: SealedColumns(webhook, "webhook_id", ("secret",)),
}


def is_sealed(text: str) -> bool:
    """True for a sealed text."""
    return text.startswith(SEAL_HEAD)


def _name_place(where: SealedColumns, row: str, column: str) -> str:
    return f"{where.table.name}/{row}/{column}"


def seal_values(vault: Vault, values: Sequence[Any]) -> list[Any]:
    """The values with the secrets of all records among them, or in lists among them, sealed."""
    return [_change(value, vault, is_sealing=True) for value in values]


def open_result(vault: Vault, result: Any) -> Any:
    """A result with the secrets of its records opened: a record, a list or a page of some, or something without."""
    if isinstance(result, Page):
        return Page(_change(result.records, vault, is_sealing=False), result.total)
    return _change(result, vault, is_sealing=False)


def _change(value: Any, vault: Vault, *, is_sealing: bool) -> Any:
    if isinstance(value, list | tuple):
        if value and type(value[0]) in SEALED:
            return [_change(one, vault, is_sealing=is_sealing) for one in value]
        return value
    where = SEALED.get(type(value))
    if where is None:
        return value
    changed: dict[str, str] = {}
    for column in where.columns:
        text = getattr(value, column)
        if text and is_sealed(text) != is_sealing:
            place = _name_place(where, getattr(value, where.row), column)
            changed[column] = vault.seal(place, text) if is_sealing else vault.open(place, text)
    if not changed:
        return value
    return msgspec.structs.replace(value, **changed) if isinstance(value, Device) else replace(value, **changed)


def list_master_keys(connection: sa.Connection) -> dict[str, int]:
    """The ids of the keys that secrets are sealed under; of each since when all are, 0 where some are not yet."""
    return {row.key_id: row.sealed_ms for row in connection.execute(_SELECT_KEYS)}


_SELECT_KEYS = sa.select(master_key.c.key_id, master_key.c.sealed_ms)


def begin_sealing(connection: sa.Connection, key_id: str, now_ms: int) -> None:
    """Write down that secrets are sealed under this key from now on."""
    if key_id not in list_master_keys(connection):
        connection.execute(sa.insert(master_key), {"key_id": key_id, "created_ms": now_ms, "sealed_ms": 0})
        raise_version(connection)


def seal_part(connection: sa.Connection, vault: Vault, where: SealedColumns, after: str) -> tuple[int, str]:
    """Seal up to `SEALED_PER_TRANSACTION_MAX` rows after the row `after`; how many were looked at, and the last."""
    row, columns = where.table.c[where.row], [where.table.c[name] for name in where.columns]
    statement = (
        sa.select(row, *columns).where(row > after).order_by(row).limit(SEALED_PER_TRANSACTION_MAX).with_for_update()
    )
    found = connection.execute(statement).all()
    for name, *texts in found:
        changed = {}
        for column, text in zip(where.columns, texts, strict=True):
            if text and not text.startswith(f"{SEAL_HEAD}{vault.key_id} "):
                place = _name_place(where, name, column)
                changed[column] = vault.seal(place, vault.open(place, text) if is_sealed(text) else text)
        if changed:
            connection.execute(sa.update(where.table).where(row == name).values(changed))
    return len(found), found[-1][0] if found else after


def finish_sealing(connection: sa.Connection, key_id: str, now_ms: int) -> None:
    """Write down that all secrets are sealed under this key, and none under another."""
    connection.execute(sa.delete(master_key).where(master_key.c.key_id != key_id))
    connection.execute(sa.update(master_key).where(master_key.c.key_id == key_id).values(sealed_ms=now_ms))
    raise_version(connection)

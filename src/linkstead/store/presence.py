"""What the changes between online and offline leave in a device's row."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, Self

import sqlalchemy as sa

from linkstead.registry import DeviceKey, PresenceChange
from linkstead.store.tables import device


class PresenceNote(NamedTuple):
    """What one or more changes of a device come to: the state after the last, and when it came online in between.

    `first_online_ms`, `online_ms` and `ip_address` are None where it did not come online. For the others see
    `PresenceChange`.
    """

    key: DeviceKey
    is_online: bool
    status_ms: int
    first_online_ms: int | None
    online_ms: int | None
    ip_address: str | None
    holder: str
    holder_epoch: int
    keep_alive_s: int
    half_until_ms: int

    @classmethod
    def of(cls, change: PresenceChange) -> Self:
        """The note of a single change."""
        online_ms = change.at_ms if change.is_online else None
        ip_address = change.ip_address if change.is_online else None
        return cls(
            change.key,
            change.is_online,
            change.at_ms,
            online_ms,
            online_ms,
            ip_address,
            change.holder,
            change.holder_epoch,
            change.keep_alive_s,
            change.half_until_ms,
        )

    def then(self, later: "PresenceNote") -> "PresenceNote":
        """The note of these changes and later ones of the same device, passed over if of an older connection."""
        if later.holder_epoch < self.holder_epoch:
            return self
        came_online = later.online_ms is not None
        return PresenceNote(
            self.key,
            later.is_online,
            later.status_ms,
            later.first_online_ms if self.first_online_ms is None else self.first_online_ms,
            later.online_ms if came_online else self.online_ms,
            later.ip_address if came_online else self.ip_address,
            later.holder,
            later.holder_epoch,
            later.keep_alive_s,
            later.half_until_ms,
        )


# A device that never came online stays as it is, so a change that was overtaken by the deletion of its device leaves
# nothing in a new one of the same name. What is told of an earlier connection never replaces what is told of a later.
_UPDATE = (
    sa.update(device)
    .where(
        device.c.product_key == sa.bindparam("of_product_key"),
        device.c.device_name == sa.bindparam("of_device_name"),
        sa.or_(
            device.c.activated_ms > sa.literal_column("0"),
            sa.bindparam("first_online_ms", type_=sa.BigInteger).is_not(None),
        ),
    )
    .values(
        is_online=sa.bindparam("now_online", type_=sa.Boolean),
        status_ms=sa.bindparam("changed_ms", type_=sa.BigInteger),
        online_ms=sa.func.coalesce(sa.bindparam("last_online_ms", type_=sa.BigInteger), device.c.online_ms),
        ip_address=sa.func.coalesce(sa.bindparam("last_ip_address", type_=sa.String), device.c.ip_address),
        activated_ms=sa.case(
            (
                device.c.activated_ms == sa.literal_column("0"),
                sa.func.coalesce(sa.bindparam("first_online_ms", type_=sa.BigInteger), sa.literal_column("0")),
            ),
            else_=device.c.activated_ms,
        ),
    )
)
_UPDATE_ALONE = _UPDATE.values(
    holder=sa.literal_column("''"),
    holder_epoch=sa.literal_column("0"),
    keep_alive_s=sa.literal_column("0"),
    half_until_ms=sa.literal_column("0"),
)
_UPDATE_OF_NODE = _UPDATE.where(device.c.holder_epoch <= sa.bindparam("by_epoch", type_=sa.BigInteger)).values(
    holder=sa.bindparam("by_holder", type_=sa.String),
    holder_epoch=sa.bindparam("by_epoch", type_=sa.BigInteger),
    keep_alive_s=sa.bindparam("kept_alive_s", type_=sa.Integer),
    half_until_ms=sa.bindparam("half_until", type_=sa.BigInteger),
)


def write_presence(connection: sa.Connection, notes: Sequence[PresenceNote]) -> None:
    """Write notes into the rows of their devices; devices that are gone are passed over."""
    alone = [_values(note) for note in notes if not note.holder_epoch]
    if alone:
        _execute(connection, _UPDATE_ALONE, alone)
    # In one order everywhere, so that no two nodes wait for each other's rows.
    held = sorted((note for note in notes if note.holder_epoch), key=lambda note: note.key)
    of_node = [_values_of_node(note) for note in held]
    if of_node:
        _execute(connection, _UPDATE_OF_NODE, of_node)


def _execute(connection: sa.Connection, statement: sa.Update, values: Sequence[dict[str, object]]) -> None:
    text, take = _compile(statement, connection.dialect)
    connection.exec_driver_sql(text, [take(each) for each in values])


@lru_cache
def _compile(statement: sa.Update, dialect: sa.Dialect) -> tuple[str, Callable[[dict[str, object]], tuple[Any, ...]]]:
    """The text of a statement as the driver takes it, and what makes a row's values of their names.

    SQLAlchemy's own way goes through each row value by value, at more than the database takes for it.
    """
    compiled = statement.compile(dialect=dialect)
    names: Any = getattr(compiled, "positiontup", None)
    return str(compiled), itemgetter(*names)


def _values(note: PresenceNote) -> dict[str, object]:
    return {
        "of_product_key": note.key.product_key,
        "of_device_name": note.key.device_name,
        "now_online": note.is_online,
        "changed_ms": note.status_ms,
        "first_online_ms": note.first_online_ms,
        "last_online_ms": note.online_ms,
        "last_ip_address": note.ip_address,
    }


def _values_of_node(note: PresenceNote) -> dict[str, object]:
    return {
        **_values(note),
        "by_holder": note.holder,
        "by_epoch": note.holder_epoch,
        "kept_alive_s": note.keep_alive_s,
        "half_until": note.half_until_ms,
    }


def mark_all_offline(connection: sa.Connection, at_ms: int) -> None:
    """Take every device that is written down as online to have gone offline at `at_ms`."""
    connection.execute(sa.update(device).where(device.c.is_online).values(is_online=False, status_ms=at_ms))

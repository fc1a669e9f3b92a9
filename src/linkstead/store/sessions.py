"""Sessions that outlive the process, and the QoS 1 messages that wait for their devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import sqlalchemy as sa

from linkstead.clock import milliseconds
from linkstead.registry import DeviceKey
from linkstead.sessions import SavedMessage, SavedSession
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from linkstead.store.tables import device, device_id_of, message, session

MESSAGES_LISTED_MAX = 1_000
"""Expired messages in one answer, whatever the limit says."""

SessionRow = tuple[float, int, str]
"""`kept_s`, `kept_until_ms`, `subscriptions` as a JSON object."""


@dataclass(frozen=True, slots=True)
class SessionNote:
    """What a device's session is now. `row` is None where it is to be forgotten.

    Messages are not forgotten with their session but one by one, each when its call has ended: none may go without a
    result.
    """

    key: DeviceKey
    row: SessionRow | None
    holder_epoch: int = 0

    @classmethod
    def of(cls, saved: SavedSession) -> Self:
        """The note of a session as it is now. Raises ValueError: a topic that is not UTF-8."""
        since_ms = saved.subscribed_ms
        subscriptions = msgspec.json.encode(
            {name: (qos, since_ms[name]) if name in since_ms else qos for name, qos in saved.subscriptions.items()}
        ).decode()
        return cls(saved.key, (saved.kept_s, saved.kept_until_ms, subscriptions), saved.holder_epoch)


# What is told by an earlier connection never replaces what is told by a later one, however late it is written.
_IS_LATEST = "(CAST(:by_epoch AS BIGINT) = 0 OR device.holder_epoch <= CAST(:by_epoch AS BIGINT))"
_OF_DEVICE = sa.select(device.c.id).where(
    device.c.product_key == sa.bindparam("of_product_key"),
    device.c.device_name == sa.bindparam("of_device_name"),
    sa.text(_IS_LATEST),
)
_FORGET_SESSION = sa.delete(session).where(session.c.device_id == _OF_DEVICE.scalar_subquery())
_SAVE_SESSION = sa.text(
    "INSERT INTO session (device_id, kept_s, kept_until_ms, subscriptions)"
    " SELECT id, CAST(:kept_s AS FLOAT), CAST(:kept_until_ms AS BIGINT), :subscriptions FROM device"
    f" WHERE product_key = :of_product_key AND device_name = :of_device_name AND {_IS_LATEST}"
    " ON CONFLICT (device_id) DO UPDATE SET kept_s = excluded.kept_s, kept_until_ms = excluded.kept_until_ms,"
    " subscriptions = excluded.subscriptions"
)
_ADD_MESSAGES = sa.insert(message).returning(message.c.id, sort_by_parameter_order=True)

_SELECT_MESSAGE = sa.select(
    message.c.product_key,
    message.c.device_name,
    message.c.topic,
    message.c.payload,
    message.c.accepted_ms,
    message.c.call_id,
    message.c.id,
)


def write_sessions(connection: sa.Connection, notes: Sequence[SessionNote]) -> None:
    """Write notes; devices that are gone, or have a later connection, are passed over."""
    dropped = [_names(note) for note in notes if note.row is None]
    if dropped:
        connection.execute(_FORGET_SESSION, dropped)
    saved = [
        _names(note) | dict(zip(("kept_s", "kept_until_ms", "subscriptions"), note.row, strict=True))
        for note in notes
        if note.row is not None
    ]
    if saved:
        connection.execute(_SAVE_SESSION, saved)


def _names(note: SessionNote) -> dict[str, object]:
    key = note.key
    return {"of_product_key": key.product_key, "of_device_name": key.device_name, "by_epoch": note.holder_epoch}


def _read_session(key: DeviceKey, kept_s: float, kept_until_ms: int, subscriptions: str, count: int) -> SavedSession:
    # The QoS of each filter, and since when; earlier versions wrote the QoS alone.
    kept = msgspec.json.decode(subscriptions, type=dict[str, int | tuple[int, int]])
    return SavedSession(
        key,
        kept_s,
        kept_until_ms,
        {name: each if isinstance(each, int) else each[0] for name, each in kept.items()},
        count,
        {name: each[1] for name, each in kept.items() if not isinstance(each, int)},
    )


def list_sessions(connection: sa.Connection) -> list[SavedSession]:
    """See `SessionStore.list_sessions`."""
    return _read_sessions(connection, _select_sessions().order_by(session.c.device_id))


def find_sessions(connection: sa.Connection, keys: Sequence[DeviceKey]) -> list[SavedSession]:
    """Those of some devices that are kept; no more keys than `NAMES_PER_STATEMENT_MAX`."""
    names_by_product: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        names_by_product.setdefault(key.product_key, []).append(key.device_name)
    return [
        found
        for product_key, names in names_by_product.items()
        for found in _read_sessions(
            connection, _select_sessions().where(device.c.product_key == product_key, device.c.device_name.in_(names))
        )
    ]


def list_expired_sessions(connection: sa.Connection, now_ms: int, limit: int) -> list[SavedSession]:
    """See `SessionStore.expired_sessions`."""
    # 0 stands for one whose device is connected.
    statement = _select_sessions().where(session.c.kept_until_ms.between(1, now_ms))
    return _read_sessions(connection, statement.order_by(session.c.kept_until_ms).limit(limit))


def keep_left_session(connection: sa.Connection, key: DeviceKey, at_ms: int) -> None:
    """Have a session whose device is no longer connected since `at_ms` end as if it had said so."""
    kept_ms = sa.cast(session.c.kept_s * 1000, sa.BigInteger)
    statement = sa.update(session).where(session.c.device_id == device_id_of(key), session.c.kept_until_ms == 0)
    connection.execute(statement.values(kept_until_ms=at_ms + kept_ms))


def _select_sessions() -> sa.Select[Any]:
    waiting = (
        sa.select(sa.func.count())
        .select_from(message)
        .where(message.c.product_key == device.c.product_key, message.c.device_name == device.c.device_name)
        .scalar_subquery()
    )
    return sa.select(
        device.c.product_key,
        device.c.device_name,
        session.c.kept_s,
        session.c.kept_until_ms,
        session.c.subscriptions,
        waiting,
    ).join(device, device.c.id == session.c.device_id)


def _read_sessions(connection: sa.Connection, statement: sa.Select[Any]) -> list[SavedSession]:
    return [
        _read_session(DeviceKey(product_key, device_name), kept_s, kept_until_ms, subscriptions, count)
        for product_key, device_name, kept_s, kept_until_ms, subscriptions, count in connection.execute(statement)
    ]


def add_messages(connection: sa.Connection, messages: Sequence[SavedMessage]) -> list[int]:
    """Keep messages; returns their ids."""
    if not messages:
        return []
    rows = [
        {
            "product_key": new.key.product_key,
            "device_name": new.key.device_name,
            "topic": new.topic,
            "payload": new.payload,
            "accepted_ms": new.accepted_ms,
            "call_id": new.call_id,
        }
        for new in messages
    ]
    return list(connection.execute(_ADD_MESSAGES, rows).scalars())


def list_messages(connection: sa.Connection, key: DeviceKey) -> list[SavedMessage]:
    """See `SessionStore.list_messages`."""
    statement = _SELECT_MESSAGE.where(_is_for(key)).order_by(message.c.id)
    return [_message(*row) for row in connection.execute(statement)]


def find_awaited(connection: sa.Connection, keys: Sequence[DeviceKey]) -> list[DeviceKey]:
    """See `SessionStore.find_awaited`."""
    names_by_product: dict[str, list[str]] = {}
    for key in keys:
        names_by_product.setdefault(key.product_key, []).append(key.device_name)
    found: list[DeviceKey] = []
    for product_key, names in names_by_product.items():
        is_one = message.c.device_name.in_(names)
        statement = sa.select(message.c.device_name).distinct().where(message.c.product_key == product_key, is_one)
        found += (DeviceKey(product_key, name) for name in connection.execute(statement).scalars())
    return found


def list_expired_messages(connection: sa.Connection, now_ms: int, limit: int) -> list[SavedMessage]:
    """See `SqlStore.expired_messages`."""
    statement = (
        _SELECT_MESSAGE.where(message.c.accepted_ms < now_ms - milliseconds(QUEUED_AGE_S_MAX))
        .order_by(message.c.accepted_ms, message.c.id)
        .limit(min(max(limit, 0), MESSAGES_LISTED_MAX))
    )
    return [_message(*row) for row in connection.execute(statement)]


def drop_messages(connection: sa.Connection, row_ids: Sequence[int]) -> None:
    """Forget messages; ids of none are passed over."""
    connection.execute(
        sa.delete(message).where(message.c.id == sa.bindparam("row_id")), [{"row_id": i} for i in row_ids]
    )


def drop_messages_of(connection: sa.Connection, key: DeviceKey) -> None:
    """Forget all that waits for a device."""
    connection.execute(sa.delete(message).where(_is_for(key)))


def _is_for(key: DeviceKey) -> sa.ColumnElement[bool]:
    return sa.and_(message.c.product_key == key.product_key, message.c.device_name == key.device_name)


def _message(
    product_key: str, device_name: str, topic: str, payload: bytes, accepted_ms: int, call_id: str, row_id: int
) -> SavedMessage:
    return SavedMessage(DeviceKey(product_key, device_name), topic, payload, accepted_ms, call_id, row_id)

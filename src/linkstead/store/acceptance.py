"""Calls that were accepted a moment ago: on the disk before anybody is told so, and in the history soon after.

A row of the history is an entry in six indexes, each on a page of its own that is written and waited for. What has to
be on the disk at once is a row here instead: one for all the calls of a commit, in no index. The batch that writes
these calls into the history deletes it in the same transaction. Only a server that died in between leaves one.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from linkstead.store.history import add_unknown_calls, compile_text, decode_call, encode_call
from linkstead.store.segments import list_known
from linkstead.store.tables import accepted_calls

TAKEN_IN_AT_ONCE_MAX = 20
"""Rows that are brought into the history in one transaction."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode

_ADD = sa.text("INSERT INTO accepted_calls (records) VALUES (:records) RETURNING id")
_DELETE = sa.text("DELETE FROM accepted_calls WHERE id = :id")


def add_accepted(connection: sa.Connection, records: Sequence[bytes]) -> int:
    """Keep calls as they are at this moment; returns the id to forget them by.

    Args:
        records: each as `encode_call` makes it.
    """
    statement = compile_text(_ADD, connection.dialect)
    row_id: int = connection.exec_driver_sql(statement, (_encode(records),)).scalar_one()
    return row_id


def forget_accepted(connection: sa.Connection, row_ids: Sequence[int]) -> None:
    """Forget what is in the history now; ids of none are passed over."""
    connection.exec_driver_sql(compile_text(_DELETE, connection.dialect), [(row_id,) for row_id in row_ids])


def take_in_accepted(connection: sa.Connection) -> bool:
    """Bring into the history what is not there yet. False when there was nothing.

    What the history says of a call is of a later moment, and stays.
    """
    columns = accepted_calls.c
    statement = sa.select(columns.id, columns.records).order_by(columns.id).limit(TAKEN_IN_AT_ONCE_MAX)
    found = connection.execute(statement).all()
    rows = [encode_call(decode_call(record)) for _, records in found for record in _decode(records)]
    if found:
        known = list_known(connection, rows)
        add_unknown_calls(connection, [row for row in rows if row[0] not in known])
        forget_accepted(connection, [row_id for row_id, _ in found])
    return bool(found)

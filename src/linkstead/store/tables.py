"""The tables, the same on every engine. Moments are milliseconds since 1970 UTC, as in the records.

A column bears the name of the record's field; how long a text may be is for `registry.names` to say, not for a column.
A change here needs a revision in `migrations/versions`.
"""

from collections.abc import Collection

import sqlalchemy as sa

from linkstead.registry import DeviceKey
from linkstead.subscription.webhooks import DESTINATION_HEAD

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

INTEGER_MAX = 2**63 - 1
"""The largest number that a column takes."""

# SQLite counts up by itself only where the type is INTEGER to the letter.
_Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# One row; `version` rises with every change to what the registry's caches hold.
registry_version = sa.Table(
    "registry_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

account = sa.Table(
    "account",
    metadata,
    sa.Column("account_id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

# The secret is kept so that it can be read again: checking an HMAC needs it. With a master key it is sealed.
access_key = sa.Table(
    "access_key",
    metadata,
    sa.Column("access_key_id", sa.String, primary_key=True),
    sa.Column("secret", sa.String, nullable=False),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False, index=True),
    sa.Column("user_name", sa.String, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("security_token", sa.String, nullable=False, server_default=""),
    sa.Column("expires_ms", sa.BigInteger, nullable=False, server_default="0"),
)

user_policy = sa.Table(
    "user_policy",
    metadata,
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), primary_key=True),
    sa.Column("user_name", sa.String, primary_key=True),
    sa.Column("document", sa.String, nullable=False),
)

# It outlives whatever it names, so it refers to nothing.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("time_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("access_key_id", sa.String, nullable=False),
    sa.Column("user_name", sa.String, nullable=False),
    sa.Column("is_verified", sa.Boolean, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("product_key", sa.String, nullable=False),
    sa.Column("device_name", sa.String, nullable=False),
    sa.Column("iot_id", sa.String, nullable=False),
    sa.Column("code", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Index(None, "account_id", "time_ms"),
    sa.Index(None, "is_verified", "time_ms"),
)

# The keys that secrets in this database are sealed under; of each its id alone. `sealed_ms` is 0 until all of them are.
master_key = sa.Table(
    "master_key",
    metadata,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("sealed_ms", sa.BigInteger, nullable=False),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("instance_id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False, index=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

# `id` is the order of registration: listings are newest first, and many rows may share a millisecond.
product = sa.Table(
    "product",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("product_key", sa.String, nullable=False, unique=True),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False),
    sa.Column("instance_id", sa.String, nullable=False),
    sa.Column("product_name", sa.String, nullable=False),
    sa.Column("product_secret", sa.String, nullable=False),
    sa.Column("node_type", sa.Integer, nullable=False),
    sa.Column("data_format", sa.Integer, nullable=False),
    sa.Column("net_type", sa.String, nullable=False),
    sa.Column("aliyun_commodity_code", sa.String, nullable=False),
    sa.Column("auth_type", sa.String, nullable=False),
    sa.Column("protocol_type", sa.String, nullable=False),
    sa.Column("validate_type", sa.Integer, nullable=False),
    sa.Column("category_key", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("id2", sa.Boolean, nullable=False),
    sa.Column("dynamic_registration", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("account_id", "instance_id", "product_name"),
    sa.Index(None, "account_id", "id"),
)

product_tag = sa.Table(
    "product_tag",
    metadata,
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

# `holder` is the node that holds or held the connection, empty where a server that is no node wrote the row; the rising
# `holder_epoch` tells the connections of a device apart. `half_until_ms` is 0 where it was closed in order.
device = sa.Table(
    "device",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("iot_id", sa.String, nullable=False, unique=True),
    sa.Column("product_key", sa.String, sa.ForeignKey("product.product_key"), nullable=False),
    sa.Column("device_name", sa.String, nullable=False),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("instance_id", sa.String, nullable=False),
    sa.Column("device_secret", sa.String, nullable=False),
    sa.Column("nickname", sa.String, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("modified_ms", sa.BigInteger, nullable=False),
    sa.Column("activated_ms", sa.BigInteger, nullable=False),
    sa.Column("online_ms", sa.BigInteger, nullable=False),
    sa.Column("status_ms", sa.BigInteger, nullable=False),
    sa.Column("is_online", sa.Boolean, nullable=False),
    sa.Column("ip_address", sa.String, nullable=False),
    sa.Column("firmware_version", sa.String, nullable=False),
    sa.Column("reset_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("holder", sa.String, nullable=False, server_default=""),
    sa.Column("holder_epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("keep_alive_s", sa.Integer, nullable=False, server_default="0"),
    sa.Column("half_until_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("product_key", "device_name"),
    sa.Index(None, "product_key", "id"),
    sa.Index(None, "account_id"),
)

# Rows are kept by `node_id` alone: a node that starts again takes the place of what it was, with a higher `epoch`.
node = sa.Table(
    "node",
    metadata,
    sa.Column("node_id", sa.String, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("http", sa.String, nullable=False),
    sa.Column("mqtt", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("devices", sa.Integer, nullable=False, server_default="0"),
    sa.Column("calls", sa.Integer, nullable=False, server_default="0"),
)

# Work that one node at a time does for all: `holder` is which.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
)

# `record` is the whole call; the other columns are what calls are looked for by, NULL where a call never got so far.
# `service` is the identifier of a service that was invoked, or a property that was set; NULL for every other call.
# Every index grows at its end, as ids and time rise; one that starts with the device would double the cost of a row.
# Instead one index holds all filters: a listing of one device, or of a rare verdict, reads no row it does not show.
# Two of those after it do go by device, but hold few calls: those without a verdict yet, and those of services.
call_history = sa.Table(
    "call_history",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("request_id", sa.String, nullable=False, unique=True),
    sa.Column("message_id", sa.BigInteger, index=True),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("product_key", sa.String),
    sa.Column("device_name", sa.String),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("verdict", sa.String),
    sa.Column("diagnosis", sa.String),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("alink_id", sa.BigInteger),
    sa.Column("service", sa.String),
    sa.Index(
        "ix_call_history_listed",
        *("account_id", "received_ms", "product_key", "device_name", "action", "verdict", "diagnosis"),
    ),
)
sa.Index(
    "ix_call_history_open",
    *(call_history.c[name] for name in ("product_key", "device_name", "received_ms")),
    sqlite_where=call_history.c.verdict.is_(None),
    postgresql_where=call_history.c.verdict.is_(None),
)
sa.Index(
    "ix_call_history_open_since",
    *(call_history.c[name] for name in ("received_ms", "request_id")),
    sqlite_where=call_history.c.verdict.is_(None),
    postgresql_where=call_history.c.verdict.is_(None),
)
sa.Index(
    "ix_call_history_alink_id",
    call_history.c.alink_id,
    sqlite_where=call_history.c.alink_id.is_not(None),
    postgresql_where=call_history.c.alink_id.is_not(None),
)
sa.Index(
    "ix_call_history_service",
    *(call_history.c[name] for name in ("account_id", "product_key", "device_name", "received_ms", "service")),
    sqlite_where=call_history.c.service.is_not(None),
    postgresql_where=call_history.c.service.is_not(None),
)

# Many calls in one row, for which see `segments`.
call_segment = sa.Table(
    "call_segment",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("call_count", sa.Integer, nullable=False),
    sa.Column("terms", sa.LargeBinary, nullable=False),
    sa.Column("records", sa.LargeBinary, nullable=False),
    # All that is asked before a segment is read.
    sa.Index("ix_call_segment_listed", "account_id", "last_ms", "first_ms", "call_count"),
)

thing_model_draft = sa.Table(
    "thing_model_draft",
    metadata,
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), primary_key=True),
    sa.Column("document", sa.String, nullable=False),
)

# The highest `id` of a product is the version that is effective.
thing_model_version = sa.Table(
    "thing_model_version",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("document", sa.String, nullable=False),
    sa.UniqueConstraint("product_key", "version"),
)


def _device_id(*, is_primary: bool) -> sa.Column[int]:
    """What is a device's own refers to its `id`: it takes less room than the key, and goes with the device."""
    of_device = sa.ForeignKey("device.id", ondelete="CASCADE")
    return sa.Column("device_id", of_device, primary_key=is_primary, nullable=False, autoincrement=False)


# Tables without an `id` are kept in the order of their primary key, without a second copy of it.
property_present = sa.Table(
    "property_present",
    metadata,
    _device_id(is_primary=True),
    sa.Column("identifier", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# `id` is the order in which reports came in, `time_ms` what the device says: it may send old values late.
property_history = sa.Table(
    "property_history",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    _device_id(is_primary=False),
    sa.Column("identifier", sa.String, nullable=False),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Index(None, "device_id", "identifier", "time_ms"),
    sa.Index(None, "time_ms"),
)

event_history = sa.Table(
    "event_history",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    _device_id(is_primary=False),
    sa.Column("identifier", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("event_type", sa.String, nullable=False),
    sa.Column("output", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Index(None, "device_id", "time_ms"),
    sa.Index(None, "time_ms"),
)

# `value` is NULL once it was cleared; the row stays, for its version goes on counting.
desired_property = sa.Table(
    "desired_property",
    metadata,
    _device_id(is_primary=True),
    sa.Column("identifier", sa.String, primary_key=True),
    sa.Column("value", sa.String),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

device_tag = sa.Table(
    "device_tag",
    metadata,
    _device_id(is_primary=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Index(None, "name", "value"),
    sqlite_with_rowid=False,
)

# An `id` is never given twice: apps keep it.
application = sa.Table(
    "application",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("status", sa.String, nullable=False, index=True),
    sa.Column("device_count", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("worker", sa.String, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

# `device_name` is empty before it is drawn, `iot_id` before the device is registered, `error` where there is none.
application_device = sa.Table(
    "application_device",
    metadata,
    sa.Column("apply_id", sa.ForeignKey("application.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("device_name", sa.String, nullable=False),
    sa.Column("nickname", sa.String, nullable=False),
    sa.Column("iot_id", sa.String, nullable=False),
    sa.Column("error", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

# `fingerprint` is SHA-256 of the certificate, in hex; `certificate` is PEM. Its key is not here.
device_certificate = sa.Table(
    "device_certificate",
    metadata,
    _device_id(is_primary=True),
    sa.Column("fingerprint", sa.String, nullable=False, unique=True),
    sa.Column("serial_number", sa.String, nullable=False),
    sa.Column("certificate", sa.String, nullable=False),
    sa.Column("not_after_ms", sa.BigInteger, nullable=False),
)

# `document` is the shadow as apps and devices get it, a JSON object.
device_shadow = sa.Table(
    "device_shadow",
    metadata,
    _device_id(is_primary=True),
    sa.Column("document", sa.String, nullable=False),
)

# `subscriptions` is a JSON object: by topic filter the QoS, or that and since when in milliseconds.
session = sa.Table(
    "session",
    metadata,
    _device_id(is_primary=True),
    sa.Column("kept_s", sa.Float, nullable=False),
    sa.Column("kept_until_ms", sa.BigInteger, nullable=False),
    sa.Column("subscriptions", sa.String, nullable=False),
)

# An `id` is never given twice: who forgets a message late must not hit another. A message does not refer to the device,
# so that one accepted while its device is deleted is not refused by the database; it goes when it has expired.
message = sa.Table(
    "message",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("product_key", sa.String, nullable=False),
    sa.Column("device_name", sa.String, nullable=False),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("accepted_ms", sa.BigInteger, nullable=False),
    sa.Column("call_id", sa.String, nullable=False, index=True),
    sa.Index(None, "product_key", "device_name"),
    sa.Index(None, "accepted_ms"),
    sqlite_autoincrement=True,
)

# An `id` is never given twice: another server may forget what one brought into the history before.
accepted_calls = sa.Table(
    "accepted_calls",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("records", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

# The default group of an account is not stored.
consumer_group = sa.Table(
    "consumer_group",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("group_id", sa.String, nullable=False, unique=True),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False),
    sa.Column("group_name", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("account_id", "group_name"),
)

# `kinds` and `group_ids` are JSON lists: both are short, and always read whole.
subscribe_relation = sa.Table(
    "subscribe_relation",
    metadata,
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), primary_key=True),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("kinds", sa.String, nullable=False),
    sa.Column("group_ids", sa.String, nullable=False),
)

# `kinds` is a JSON list.
webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("webhook_id", sa.String, nullable=False, unique=True),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False, index=True),
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("secret", sa.String, nullable=False),
    sa.Column("kinds", sa.String, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

# A letter is free from `due_ms` on: who takes it moves that to when its lease ends, and stands in `holder` until he has
# settled it. `is_dead` ones wait for nobody.
letter = sa.Table(
    "letter",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("destination", sa.String, nullable=False),
    sa.Column("message_id", sa.BigInteger, nullable=False),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("generated_ms", sa.BigInteger, nullable=False),
    sa.Column("qos", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Column("is_dead", sa.Boolean, nullable=False),
    sa.Column("last_error", sa.String, nullable=False),
    sa.Column("holder", sa.String, nullable=False, server_default=""),
    sa.Index(None, "destination", "is_dead", "due_ms", "id"),
    sa.Index(None, "generated_ms"),
    sqlite_autoincrement=True,
)
# As text: an index of some rows is used only where the condition stands in the statement word for word.
IS_HELD = sa.text("holder <> ''")
sa.Index("ix_letter_holder", letter.c.holder, sqlite_where=IS_HELD, postgresql_where=IS_HELD)

# A sub-device has one gateway at most.
topology = sa.Table(
    "topology",
    metadata,
    _device_id(is_primary=True),
    sa.Column("gateway_id", sa.ForeignKey("device.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

thing_script = sa.Table(
    "thing_script",
    metadata,
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), primary_key=True),
    sa.Column("script_type", sa.String, nullable=False),
    sa.Column("script", sa.String, nullable=False),
    sa.Column("modified_ms", sa.BigInteger, nullable=False),
)

# `topic` is the whole class, `${deviceName}` in the place of the name. An `id` is never given twice: apps keep it.
product_topic = sa.Table(
    "product_topic",
    metadata,
    sa.Column("id", _Serial, primary_key=True),
    sa.Column("product_key", sa.ForeignKey("product.product_key", ondelete="CASCADE"), nullable=False),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("operation", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.UniqueConstraint("product_key", "topic"),
    sqlite_autoincrement=True,
)


def is_device(key: DeviceKey) -> sa.ColumnElement[bool]:
    """The condition that picks the row of one device."""
    return sa.and_(device.c.product_key == key.product_key, device.c.device_name == key.device_name)


IS_FOR_WEBHOOK = letter.c.destination.startswith(DESTINATION_HEAD)
"""The condition that picks the letters of webhooks."""


def lock_device(connection: sa.Connection, key: DeviceKey) -> int | None:
    """The `id` of a device, None where there is no such; nobody else who asks here gets it before the transaction ends.

    For what is read and then written by. SQLite lets one transaction write at a time anyway.
    """
    statement = sa.select(device.c.id).where(is_device(key)).with_for_update(key_share=True)
    device_id: int | None = connection.execute(statement).scalar()
    return device_id


def lock_product(connection: sa.Connection, product_key: str) -> None:
    """As `lock_device`, for what belongs to a product."""
    statement = sa.select(product.c.id).where(product.c.product_key == product_key)
    connection.execute(statement.with_for_update(key_share=True))


def is_left(holder: sa.ColumnElement[str], gone: Collection[str]) -> sa.ColumnElement[bool]:
    """The condition that whoever holds something is one of these nodes, or none that there is."""
    return sa.or_(holder.in_(gone), ~sa.exists().where(node.c.node_id == holder))


def device_id_of(key: DeviceKey) -> sa.ScalarSelect[int]:
    """The `id` of a device; NULL, which equals nothing, where there is no such device."""
    return sa.select(device.c.id).where(is_device(key)).scalar_subquery()

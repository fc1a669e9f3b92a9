"""The tables, the same on every engine. Moments are milliseconds since 1970 UTC, as in the records.

A column bears the name of the record's field; how long a text may be is for `registry.names` to say, not for a column.
A change here needs a revision in `migrations/versions`.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

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

# The secret is kept as it is: checking an HMAC needs it.
access_key = sa.Table(
    "access_key",
    metadata,
    sa.Column("access_key_id", sa.String, primary_key=True),
    sa.Column("secret", sa.String, nullable=False),
    sa.Column("account_id", sa.String, sa.ForeignKey("account.account_id"), nullable=False, index=True),
    sa.Column("user_name", sa.String, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
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
    sa.UniqueConstraint("account_id", "instance_id", "product_name"),
    sa.Index(None, "account_id", "id"),
)

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
    sa.UniqueConstraint("product_key", "device_name"),
    sa.Index(None, "product_key", "id"),
    sa.Index(None, "account_id"),
)

# `record` is the whole call; the other columns are what calls are looked for by, NULL where a call never got so far.
# Every index grows at its end, as ids and time rise; one that starts with the device would double the cost of a row.
# Instead one index holds all filters: a listing of one device, or of a rare verdict, reads no row it does not show.
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
    sa.Index(
        "ix_call_history_listed",
        *("account_id", "received_ms", "product_key", "device_name", "action", "verdict", "diagnosis"),
    ),
)

"""The first tables: the registry and the history of calls."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table; the registry's version starts at 0."""
    op.create_table(
        "account",
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "call_history",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("message_id", sa.BigInteger, nullable=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("product_key", sa.String, nullable=True),
        sa.Column("device_name", sa.String, nullable=True),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=True),
        sa.Column("diagnosis", sa.String, nullable=True),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_call_history"),
        sa.UniqueConstraint("request_id", name="uq_call_history_request_id"),
    )
    op.create_index("ix_call_history_message_id", "call_history", ["message_id"])
    op.create_index(
        "ix_call_history_listed",
        "call_history",
        ["account_id", "received_ms", "product_key", "device_name", "action", "verdict", "diagnosis"],
    )
    registry_version = op.create_table(
        "registry_version",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registry_version"),
    )
    op.create_table(
        "access_key",
        sa.Column("access_key_id", sa.String, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("user_name", sa.String, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_access_key_account_id"),
        sa.PrimaryKeyConstraint("access_key_id", name="pk_access_key"),
    )
    op.create_index("ix_access_key_account_id", "access_key", ["account_id"])
    op.create_table(
        "instance",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_instance_account_id"),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instance"),
    )
    op.create_index("ix_instance_account_id", "instance", ["account_id"])
    op.create_table(
        "product",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
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
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_product_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_product"),
        sa.UniqueConstraint(
            "account_id", "instance_id", "product_name", name="uq_product_account_id_instance_id_product_name"
        ),
        sa.UniqueConstraint("product_key", name="uq_product_product_key"),
    )
    op.create_index("ix_product_account_id_id", "product", ["account_id", "id"])
    op.create_table(
        "device",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("iot_id", sa.String, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
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
        sa.ForeignKeyConstraint(["product_key"], ["product.product_key"], name="fk_device_product_key"),
        sa.PrimaryKeyConstraint("id", name="pk_device"),
        sa.UniqueConstraint("iot_id", name="uq_device_iot_id"),
        sa.UniqueConstraint("product_key", "device_name", name="uq_device_product_key_device_name"),
    )
    op.create_index("ix_device_account_id", "device", ["account_id"])
    op.create_index("ix_device_product_key_id", "device", ["product_key", "id"])
    op.bulk_insert(registry_version, [{"id": 1, "version": 0}])

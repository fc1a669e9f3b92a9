"""Server-side subscription, webhooks, topologies, parsing scripts and custom topics."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

DEFAULT_TOPICS = (("update", "PUB"), ("update/error", "PUB"), ("get", "SUB"))
"""What every product has. Source: `cloud-api.md` 9.7."""


def upgrade() -> None:
    """Make the new tables, and give the products that are there their topics."""
    op.create_table(
        "consumer_group",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("group_id", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("group_name", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_consumer_group_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_consumer_group"),
        sa.UniqueConstraint("group_id", name="uq_consumer_group_group_id"),
        sa.UniqueConstraint("account_id", "group_name", name="uq_consumer_group_account_id_group_name"),
    )
    op.create_table(
        "subscribe_relation",
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("kinds", sa.String, nullable=False),
        sa.Column("group_ids", sa.String, nullable=False),
        _of_product("subscribe_relation"),
        sa.PrimaryKeyConstraint("product_key", name="pk_subscribe_relation"),
    )
    op.create_table(
        "webhook",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("webhook_id", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("kinds", sa.String, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_webhook_account_id"),
        _of_product("webhook"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook"),
        sa.UniqueConstraint("webhook_id", name="uq_webhook_webhook_id"),
    )
    op.create_index("ix_webhook_account_id", "webhook", ["account_id"])
    op.create_index("ix_webhook_product_key", "webhook", ["product_key"])
    op.create_table(
        "letter",
        sa.Column("id", _Serial, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_letter"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_letter_destination_is_dead_due_ms_id", "letter", ["destination", "is_dead", "due_ms", "id"])
    op.create_index("ix_letter_generated_ms", "letter", ["generated_ms"])
    op.create_table(
        "topology",
        sa.Column("device_id", _Serial, nullable=False, autoincrement=False),
        sa.Column("gateway_id", _Serial, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_topology_device_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["gateway_id"], ["device.id"], name="fk_topology_gateway_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", name="pk_topology"),
    )
    op.create_index("ix_topology_gateway_id", "topology", ["gateway_id"])
    op.create_table(
        "thing_script",
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("script_type", sa.String, nullable=False),
        sa.Column("script", sa.String, nullable=False),
        sa.Column("modified_ms", sa.BigInteger, nullable=False),
        _of_product("thing_script"),
        sa.PrimaryKeyConstraint("product_key", name="pk_thing_script"),
    )
    op.create_table(
        "product_topic",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        _of_product("product_topic"),
        sa.PrimaryKeyConstraint("id", name="pk_product_topic"),
        sa.UniqueConstraint("product_key", "topic", name="uq_product_topic_product_key_topic"),
        sqlite_autoincrement=True,
    )
    for path, operation in DEFAULT_TOPICS:
        op.execute(
            sa.text(
                "INSERT INTO product_topic (product_key, topic, operation, description)"
                " SELECT product_key, '/' || product_key || '/${deviceName}/user/' || :path, :operation, ''"
                " FROM product ORDER BY id"
            ).bindparams(path=path, operation=operation)
        )


def _of_product(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["product_key"], ["product.product_key"], name=f"fk_{table}_product_key", ondelete="CASCADE"
    )

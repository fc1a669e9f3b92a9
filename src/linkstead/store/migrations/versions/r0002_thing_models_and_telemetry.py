"""Thing models, what devices report, sessions that outlive the process, and asynchronous calls."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add to the history what asynchronous and service calls are found by, and make the new tables."""
    op.add_column("call_history", sa.Column("alink_id", sa.BigInteger, nullable=True))
    op.add_column("call_history", sa.Column("service", sa.String, nullable=True))
    op.create_index(
        "ix_call_history_open",
        "call_history",
        ["product_key", "device_name", "alink_id"],
        sqlite_where=sa.text("verdict IS NULL"),
        postgresql_where=sa.text("verdict IS NULL"),
    )
    op.create_index(
        "ix_call_history_service",
        "call_history",
        ["account_id", "product_key", "device_name", "received_ms", "service"],
        sqlite_where=sa.text("service IS NOT NULL"),
        postgresql_where=sa.text("service IS NOT NULL"),
    )
    op.create_table(
        "thing_model_draft",
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("document", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["product_key"], ["product.product_key"], name="fk_thing_model_draft_product_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_key", name="pk_thing_model_draft"),
    )
    op.create_table(
        "thing_model_version",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("document", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["product_key"], ["product.product_key"], name="fk_thing_model_version_product_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_thing_model_version"),
        sa.UniqueConstraint("product_key", "version", name="uq_thing_model_version_product_key_version"),
    )
    op.create_table(
        "property_present",
        sa.Column("device_id", _Serial, nullable=False),
        sa.Column("identifier", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        _of_device("property_present"),
        sa.PrimaryKeyConstraint("device_id", "identifier", name="pk_property_present"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "property_history",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("device_id", _Serial, nullable=False),
        sa.Column("identifier", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        _of_device("property_history"),
        sa.PrimaryKeyConstraint("id", name="pk_property_history"),
    )
    op.create_index(
        "ix_property_history_device_id_identifier_time_ms", "property_history", ["device_id", "identifier", "time_ms"]
    )
    op.create_index("ix_property_history_time_ms", "property_history", ["time_ms"])
    op.create_table(
        "event_history",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("device_id", _Serial, nullable=False),
        sa.Column("identifier", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("output", sa.String, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        _of_device("event_history"),
        sa.PrimaryKeyConstraint("id", name="pk_event_history"),
    )
    op.create_index("ix_event_history_device_id_time_ms", "event_history", ["device_id", "time_ms"])
    op.create_index("ix_event_history_time_ms", "event_history", ["time_ms"])
    op.create_table(
        "desired_property",
        sa.Column("device_id", _Serial, nullable=False),
        sa.Column("identifier", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        _of_device("desired_property"),
        sa.PrimaryKeyConstraint("device_id", "identifier", name="pk_desired_property"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_tag",
        sa.Column("device_id", _Serial, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        _of_device("device_tag"),
        sa.PrimaryKeyConstraint("device_id", "name", name="pk_device_tag"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session",
        sa.Column("device_id", _Serial, autoincrement=False, nullable=False),
        sa.Column("kept_s", sa.Float, nullable=False),
        sa.Column("kept_until_ms", sa.BigInteger, nullable=False),
        sa.Column("subscriptions", sa.String, nullable=False),
        _of_device("session"),
        sa.PrimaryKeyConstraint("device_id", name="pk_session"),
    )
    op.create_table(
        "message",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("device_name", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("accepted_ms", sa.BigInteger, nullable=False),
        sa.Column("call_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_message_product_key_device_name", "message", ["product_key", "device_name"])
    op.create_index("ix_message_accepted_ms", "message", ["accepted_ms"])


def _of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=f"fk_{table}_device_id", ondelete="CASCADE")

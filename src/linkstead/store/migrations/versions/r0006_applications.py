"""Registration of many devices, tags that devices are found by, and devices that may register themselves anew."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the new tables, an index of tags, and a column of devices."""
    op.create_table(
        "application",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("device_count", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["product_key"], ["product.product_key"], name="fk_application_product_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_application"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_application_product_key", "application", ["product_key"])
    op.create_index("ix_application_status", "application", ["status"])
    op.create_table(
        "application_device",
        sa.Column("apply_id", _Serial, nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("device_name", sa.String, nullable=False),
        sa.Column("nickname", sa.String, nullable=False),
        sa.Column("iot_id", sa.String, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["apply_id"], ["application.id"], name="fk_application_device_apply_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("apply_id", "position", name="pk_application_device"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_tag_name_value", "device_tag", ["name", "value"])
    op.add_column("device", sa.Column("reset_ms", sa.BigInteger, nullable=False, server_default="0"))

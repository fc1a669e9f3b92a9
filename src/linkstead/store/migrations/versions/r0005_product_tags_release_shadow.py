"""Tags and release of products, and the shadows of devices."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the new tables; no product is released yet."""
    op.add_column("product", sa.Column("released", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "product_tag",
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["product_key"], ["product.product_key"], name="fk_product_tag_product_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("product_key", "name", name="pk_product_tag"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_shadow",
        sa.Column("device_id", _Serial, autoincrement=False, nullable=False),
        sa.Column("document", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_device_shadow_device_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_shadow"),
    )

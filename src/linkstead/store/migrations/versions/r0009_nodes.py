"""The nodes of a cluster, and which of them holds a device."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the new table; no device is held by a node yet."""
    op.create_table(
        "node",
        sa.Column("node_id", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("http", sa.String, nullable=False),
        sa.Column("mqtt", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_node"),
    )
    op.add_column("device", sa.Column("holder", sa.String, nullable=False, server_default=""))
    op.add_column("device", sa.Column("holder_epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("device", sa.Column("keep_alive_s", sa.Integer, nullable=False, server_default="0"))
    op.add_column("device", sa.Column("half_until_ms", sa.BigInteger, nullable=False, server_default="0"))

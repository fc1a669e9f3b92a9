"""Calls, many to a row."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Calls that are rows stay rows, until they are too old."""
    op.create_table(
        "call_segment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("call_count", sa.Integer, nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_call_segment"),
    )
    columns = ["account_id", "last_ms", "first_ms", "call_count"]
    op.create_index("ix_call_segment_listed", "call_segment", columns)

"""Calls that are accepted and not in the history yet."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """There are none: so far the history had them at once."""
    op.create_table(
        "accepted_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accepted_calls"),
        sqlite_autoincrement=True,
    )

"""What a node has in hand: letters, applications, and work that one does for all."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nothing is in anybody's hands yet."""
    op.add_column("letter", sa.Column("holder", sa.String, nullable=False, server_default=""))
    is_held = sa.text("holder <> ''")
    op.create_index("ix_letter_holder", "letter", ["holder"], sqlite_where=is_held, postgresql_where=is_held)
    op.add_column("application", sa.Column("worker", sa.String, nullable=False, server_default=""))
    op.create_table(
        "lease",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )

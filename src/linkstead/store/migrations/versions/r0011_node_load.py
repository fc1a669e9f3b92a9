"""What a node bears."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the counts; a node that is up tells them within a second."""
    op.add_column("node", sa.Column("devices", sa.Integer, nullable=False, server_default="0"))
    op.add_column("node", sa.Column("calls", sa.Integer, nullable=False, server_default="0"))

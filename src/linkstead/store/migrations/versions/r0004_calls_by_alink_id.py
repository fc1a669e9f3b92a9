"""What a call is found by: its Alink id, ended or not; and of open ones those that no message will bring to an end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change the index of open calls and make three more."""
    op.drop_index("ix_call_history_open", "call_history")
    _index_open("ix_call_history_open", ["product_key", "device_name", "received_ms"])
    _index_open("ix_call_history_open_since", ["received_ms", "request_id"])
    op.create_index(
        "ix_call_history_alink_id",
        "call_history",
        ["alink_id"],
        sqlite_where=sa.text("alink_id IS NOT NULL"),
        postgresql_where=sa.text("alink_id IS NOT NULL"),
    )
    op.create_index("ix_message_call_id", "message", ["call_id"])


def _index_open(name: str, columns: list[str]) -> None:
    op.create_index(
        name,
        "call_history",
        columns,
        sqlite_where=sa.text("verdict IS NULL"),
        postgresql_where=sa.text("verdict IS NULL"),
    )

"""Certificates that devices show in place of a secret."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the new table."""
    op.create_table(
        "device_certificate",
        sa.Column("device_id", _Serial, autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("serial_number", sa.String, nullable=False),
        sa.Column("certificate", sa.String, nullable=False),
        sa.Column("not_after_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name="fk_device_certificate_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_certificate"),
        sa.UniqueConstraint("fingerprint", name="uq_device_certificate_fingerprint"),
    )

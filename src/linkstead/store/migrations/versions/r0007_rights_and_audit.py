"""Rights of RAM users, temporary keys, the audit log, and under which keys secrets are sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

EVERYTHING = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
"""What users whose keys are there may do: their rights were not limited."""


def upgrade() -> None:
    """Make the new tables; who has a key goes on with it as before."""
    op.add_column("access_key", sa.Column("security_token", sa.String, nullable=False, server_default=""))
    op.add_column("access_key", sa.Column("expires_ms", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "user_policy",
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("user_name", sa.String, nullable=False),
        sa.Column("document", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_user_policy_account_id"),
        sa.PrimaryKeyConstraint("account_id", "user_name", name="pk_user_policy"),
    )
    op.execute(
        sa.text(
            "INSERT INTO user_policy (account_id, user_name, document)"
            " SELECT DISTINCT account_id, user_name, :document FROM access_key WHERE user_name <> ''"
        ).bindparams(document=EVERYTHING)
    )
    op.create_table(
        "audit_log",
        sa.Column("id", _Serial, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("access_key_id", sa.String, nullable=False),
        sa.Column("user_name", sa.String, nullable=False),
        sa.Column("is_verified", sa.Boolean, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("product_key", sa.String, nullable=False),
        sa.Column("device_name", sa.String, nullable=False),
        sa.Column("iot_id", sa.String, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_time_ms", "audit_log", ["time_ms"])
    op.create_index("ix_audit_log_account_id_time_ms", "audit_log", ["account_id", "time_ms"])
    op.create_index("ix_audit_log_is_verified_time_ms", "audit_log", ["is_verified", "time_ms"])
    op.create_table(
        "master_key",
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("sealed_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_master_key"),
    )

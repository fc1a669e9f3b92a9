"""Bringing the tables of a database up to what this version of the code asks for."""

from pathlib import Path

import sqlalchemy as sa

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013")
"""Every revision there is, oldest first: the files in `migrations/versions`. Kept here too, for Alembic takes over a
second to import and is needed only when there is something to change."""

_LOCK = int.from_bytes(b"linkstea")
"""The advisory lock of who migrates a PostgreSQL database: eight bytes, as many as it takes."""

_DIRECTORY = Path(__file__).parent / "migrations"


class UnknownRevision(Exception):
    """The database was written by a later version of Linkstead."""


def needs_migration(connection: sa.Connection) -> bool:
    """True when the tables are older than `REVISIONS[-1]`, or not there at all. Raises UnknownRevision."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return True
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if revision is not None and revision not in REVISIONS:
        raise UnknownRevision(
            f"its tables are of revision {revision}, this version of Linkstead knows those up to {REVISIONS[-1]}; "
            "run the version that wrote it, or a later one"
        )
    return revision != REVISIONS[-1]


def migrate(connection: sa.Connection) -> None:
    """Bring the tables to `REVISIONS[-1]`. To be run in a transaction: wholly or not at all. Raises UnknownRevision."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        # SQLite has taken the lock for writing when the transaction began.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    # Another process may have been faster.
    if needs_migration(connection):
        command.upgrade(config, REVISIONS[-1])

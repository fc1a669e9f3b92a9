"""What `--database` names."""

import re

SQLITE_HEAD = "sqlite:///"
POSTGRES_HEADS = ("postgresql://", "postgres://")

DATABASE_RULE = "--database takes sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"

_PASSWORD = re.compile(r"(?<=//)([^:@/?]*):.*@")
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&])(password|sslpassword)=[^&]*")


def is_postgres(url: str | None) -> bool:
    """True for a PostgreSQL database."""
    return url is not None and url.startswith(POSTGRES_HEADS)


def hide_password(url: str) -> str:
    """The URL as it may be printed."""
    return _PASSWORD_PARAMETER.sub(r"\1=***", _PASSWORD.sub(r"\1@", url))

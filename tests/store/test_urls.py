"""What may be printed of a database's URL."""

import pytest

from linkstead.store.urls import hide_password, is_postgres


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("postgresql://db/linkstead", "postgresql://db/linkstead"),
        ("postgresql://db:5432/linkstead", "postgresql://db:5432/linkstead"),
        ("postgresql://me@db:5432/linkstead", "postgresql://me@db:5432/linkstead"),
        ("postgresql://me:secret@db:5432/linkstead", "postgresql://me@db:5432/linkstead"),
        ("postgresql://me:s@c:r/e?t@db/linkstead", "postgresql://me@db/linkstead"),
        ("postgres://:secret@db/linkstead", "postgres://@db/linkstead"),
        ("postgresql://me:secret@one:1,two:2/linkstead?x=1", "postgresql://me@one:1,two:2/linkstead?x=1"),
        ("postgresql://db/linkstead?user=me&password=secret", "postgresql://db/linkstead?user=me&password=***"),
        (
            "postgresql://db/x?password=secret&sslpassword=secret&a=b",
            "postgresql://db/x?password=***&sslpassword=***&a=b",
        ),
        ("sqlite:////var/lib/linkstead.db", "sqlite:////var/lib/linkstead.db"),
    ],
)
def test_a_url_is_printed_without_its_password(url: str, printed: str) -> None:
    assert hide_password(url) == printed
    assert "secret" not in printed


def test_postgresql_is_named_as_libpq_takes_it() -> None:
    assert is_postgres("postgresql://db/x")
    assert is_postgres("postgres://db/x")
    assert not is_postgres("postgresql+asyncpg://db/x")
    assert not is_postgres("sqlite:///x")
    assert not is_postgres(None)

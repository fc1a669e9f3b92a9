"""Commands and servers on a PostgreSQL database."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkstead.cli import demo_data
from linkstead.store.migration import REVISIONS
from tests.cli.processes import done, invoke, serving, told
from tests.postgres import PASSWORD, PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = asyncio.run(postgres.make_database())
    yield postgres.url(name)
    asyncio.run(postgres.run(f"DROP DATABASE {name} WITH (FORCE)"))


def test_commands_work_on_the_database_that_is_named(url: str) -> None:
    done("account", "create", "shop", "--database", url)
    assert "shop" in done("account", "list", "--database", url)
    assert "there is an account 'shop' already" in told(1, "account", "create", "shop", "--database", url)


def test_a_database_that_fails_is_told_without_its_password(postgres: PostgresServer, url: str) -> None:
    done("account", "create", "shop", "--database", url)
    asyncio.run(postgres.run("DROP TABLE instance CASCADE", database=url.rpartition("/")[2]))
    line = told(1, "account", "list", "--database", url)
    shown = url.replace(f":{PASSWORD}", "")
    assert line == f'linkstead: the database {shown} failed: relation "instance" does not exist\n'


def test_the_doctor_reads_the_database(url: str) -> None:
    shown = url.replace(f":{PASSWORD}", "")
    done("account", "create", "shop", "--database", url)
    report = invoke("doctor", "--http", "127.0.0.1:1", "--mqtt", "127.0.0.1:1", "--database", url).output
    assert f"{shown}, {REVISIONS[-1]}" in report
    assert PASSWORD not in report


def test_a_server_and_commands_share_the_database(url: str, tmp_path: Path) -> None:
    with serving("dev", "--database", url, folder=tmp_path) as server:
        assert demo_data.PRODUCT_KEY in done("product", "list", "--database", url)
        assert server.stop() == 0
    assert url.replace(f":{PASSWORD}", "") in server.stdout
    assert PASSWORD not in server.stdout + server.stderr

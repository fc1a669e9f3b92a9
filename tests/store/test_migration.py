"""Tables brought up to date: from nothing, from what is current, from what is too new."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec import structs

from linkstead.invocation import CallFilter
from linkstead.registry.policies import parse_policy
from linkstead.store import SqliteStore, StoreUnusable, migration
from linkstead.store.history import RECORD, encode_call
from linkstead.store.migration import REVISIONS
from linkstead.store.tables import metadata
from linkstead.testing.clock import ManualClock
from tests.store.samples import ACCOUNT_ID, ALWAYS, LAMP, NOW_MS, a_call, an_account


async def open_and_close(path: Path) -> None:
    store = SqliteStore(path, ManualClock())
    await store.open()
    await store.close()


def run_sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def make_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    return config


def make_old(path: Path, revision: str) -> None:
    """Make a file as the version of Linkstead left it that had this revision."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
    config = make_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def words(path: Path) -> dict[object, list[str]]:
    """What every table and index is made of, its words sorted: constraints may stand in any order."""
    made = run_sql(path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    return {name: sorted(re.split(r"[\s,()]+", str(sql))) for name, sql in made}


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    script = ScriptDirectory.from_config(make_config())
    assert [revision.revision for revision in script.walk_revisions()] == list(reversed(REVISIONS))
    assert script.get_heads() == [REVISIONS[-1]]


@pytest.mark.asyncio
async def test_an_empty_file_gets_the_tables_the_code_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    await open_and_close(path)
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    other = tmp_path / "other.db"
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(other)))
    metadata.create_all(engine)
    engine.dispose()
    assert words(path) == words(other)
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
    assert run_sql(path, "SELECT id, version FROM registry_version") == [(1, 0)]


@pytest.mark.asyncio
async def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        store = SqliteStore(tmp_path / "linkstead.db", ManualClock())
        await store.open()
        if not await store.list_accounts():
            await store.add_account(an_account())
        assert await store.list_accounts() == [an_account()]
        assert await store.registry_version() == 1
        await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_what_an_earlier_version_wrote_is_kept(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "linkstead.db"
    make_old(path, revision)
    call = a_call(1, action="InvokeThingService", target="setMode")
    columns = "request_id, message_id, account_id, product_key, device_name, action, verdict, diagnosis, received_ms"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO account VALUES (?, ?, ?)", (ACCOUNT_ID, "first", NOW_MS))
        connection.execute(
            f"INSERT INTO call_history ({columns}, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            encode_call(call)[: RECORD + 1],
        )
    store = SqliteStore(path, ManualClock())
    await store.open()
    assert await store.list_accounts() == [an_account()]
    [kept] = await store.list_calls(CallFilter(ACCOUNT_ID))
    assert structs.asdict(kept) == structs.asdict(call)
    assert await store.list_service_calls(ACCOUNT_ID, LAMP, None, ALWAYS) == []
    store.record_call(call)
    [kept] = await store.list_service_calls(ACCOUNT_ID, LAMP, None, ALWAYS)
    assert structs.asdict(kept) == structs.asdict(call)
    assert len(await store.list_calls(CallFilter(ACCOUNT_ID))) == 1
    await store.close()
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


@pytest.mark.asyncio
async def test_users_that_have_keys_keep_their_rights(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    make_old(path, "0004")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO account VALUES (?, ?, ?)", (ACCOUNT_ID, "first", NOW_MS))
        for number, user_name in enumerate(("", "operator", "operator", "viewer")):
            connection.execute(
                "INSERT INTO access_key VALUES (?, 's', ?, ?, 1, ?)", (f"key-{number}", ACCOUNT_ID, user_name, NOW_MS)
            )
    store = SqliteStore(path, ManualClock())
    await store.open()
    for user_name in ("operator", "viewer"):
        document = await store.find_policy(ACCOUNT_ID, user_name)
        assert document is not None
        assert parse_policy(document, ACCOUNT_ID).allows_everywhere("linkstead:QueryCalls")
    assert await store.find_policy(ACCOUNT_ID, "") is None
    key = await store.find_access_key("key-1")
    assert key is not None
    assert (key.is_temporary, key.expires_ms) == (False, 0)
    await store.close()


@pytest.mark.asyncio
async def test_a_later_revision_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    make_old(path, "0001")
    before = run_sql(path, "SELECT name, sql FROM sqlite_master ORDER BY name")
    run_sql(path, "CREATE TABLE message (something TEXT)")
    with pytest.raises(StoreUnusable, match="table message already exists"):
        await open_and_close(path)
    run_sql(path, "DROP TABLE message")
    assert run_sql(path, "SELECT name, sql FROM sqlite_master ORDER BY name") == before
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [("0001",)]
    await open_and_close(path)


def test_alembic_is_imported_only_to_migrate(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from linkstead.store import SqliteStore\n"
        "from linkstead.testing.clock import ManualClock\n"
        "async def main():\n"
        "    store = SqliteStore(Path(sys.argv[1]), ManualClock())\n"
        "    await store.open()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "linkstead.db")]
    printed = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    assert printed == ["True\n", "False\n"]


@pytest.mark.asyncio
async def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    await open_and_close(path)
    run_sql(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match="cannot be used: its tables are of revision 9999") as caught:
        await open_and_close(path)
    assert f"knows those up to {REVISIONS[-1]}" in str(caught.value)
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.asyncio
async def test_a_migration_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    run_sql(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    await open_and_close(path)
    assert run_sql(path, "SELECT version FROM registry_version") == [(0,)]


@pytest.mark.asyncio
async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    run_sql(path, "CREATE TABLE device (something TEXT)")
    with pytest.raises(StoreUnusable, match="table device already exists"):
        await open_and_close(path)
    assert run_sql(path, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("device",)]


@pytest.mark.asyncio
async def test_a_path_with_signs_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "100% & more?x=1#y.db"
    await open_and_close(path)
    assert path.exists()

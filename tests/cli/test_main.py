import contextlib
import sqlite3
from pathlib import Path

from linkstead import __version__
from tests.cli.processes import done, invoke, run, told


def test_version_is_told() -> None:
    assert done("--version") == f"linkstead {__version__}\n"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    ran = run("--version", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, f"linkstead {__version__}\n")


def test_every_command_is_in_the_help() -> None:
    text = done("--help")
    for name in ("account", "call", "calls", "demo", "dev", "device", "env", "product", "serve"):
        assert f"\n  {name} " in text


def test_without_a_command_the_help_is_shown_as_wrong_usage() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "Usage: linkstead" in result.stderr


def test_commands_that_are_not_there_are_refused() -> None:
    for name in ("bench", "soak"):
        assert told(2, name) == f"linkstead: No such command '{name}'.\n"
    assert "No such command 'service'" in told(2, "call", "service")
    assert "No such command 'release'" in told(2, "product", "release")


def test_wrong_usage_is_one_line() -> None:
    assert told(2, "serve", "--bogus") == "linkstead: No such option '--bogus'.\n"
    assert told(2, "call", "rrpc") == "linkstead: Missing argument 'PRODUCT_KEY'.\n"
    assert told(2, "product", "show") == "linkstead: Missing argument 'KEY'.\n"


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "linkstead.db").write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    assert f"the database {tmp_path}/linkstead.db cannot be used" in told(1, "account", "list", "--data", tmp_path)


def test_a_database_that_fails_is_one_line(tmp_path: Path) -> None:
    done("account", "create", "shop", "--data", tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "linkstead.db")) as database:
        database.execute("DROP TABLE instance")
    line = told(1, "account", "list", "--data", tmp_path)
    assert line == f"linkstead: the database {tmp_path}/linkstead.db failed: no such table: instance\n"


def test_a_value_that_the_registry_refuses_is_one_line(tmp_path: Path) -> None:
    assert "ProductName=a; 4-30 of" in told(1, "product", "create", "a", "--data", tmp_path)

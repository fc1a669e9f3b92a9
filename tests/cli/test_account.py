import json
from pathlib import Path
from typing import Any

import pytest

from linkstead.cli.installation import NAME_CHARS_MAX
from tests.cli.processes import ServerProcess, done, invoke, serving, told, wait_for


def made(*arguments: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads(done("account", *arguments, "--json"))
    return fields


def accounts() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(done("account", "list", "--json"))
    return listed


def test_an_account_is_made_with_its_first_key() -> None:
    account = made("create", "shop")
    assert account["name"] == "shop"
    assert len(account["account_id"]) == 16
    assert (len(account["access_key_id"]), len(account["access_key_secret"])) == (24, 30)
    assert accounts() == [
        {
            "account_id": account["account_id"],
            "name": "shop",
            "access_keys": [account["access_key_id"]],
            "instances": [],
        }
    ]


def test_a_key_may_be_carried_over() -> None:
    account = made("create", "shop", "--access-key-id", "LTAI4old", "--access-key-secret", "old-secret")
    assert (account["access_key_id"], account["access_key_secret"]) == ("LTAI4old", "old-secret")


def test_no_secret_is_shown_a_second_time() -> None:
    secret = made("create", "shop")["access_key_secret"]
    assert secret not in done("account", "list") + done("account", "list", "--json")


def test_keys_are_added_and_disabled() -> None:
    first = made("create", "shop")["access_key_id"]
    own = made("add-key", "shop", "--access-key-id", "second")
    assert own["access_key_id"] == "second"
    user = made("add-key", own["account_id"], "--access-key-id", "third", "--user", "operator")
    assert user["account_id"] == own["account_id"]
    assert done("account", "disable-key", first) == f"{first} is disabled\n"
    assert set(accounts()[0]["access_keys"]) == {f"{first} (disabled)", "second", "third (user operator)"}


def test_an_account_gets_instances() -> None:
    made("create", "shop")
    assert done("account", "add-instance", "shop", "iot-060a0001") == "shop has the instance iot-060a0001\n"
    assert accounts()[0]["instances"] == ["iot-060a0001"]


def test_what_is_there_already_is_refused() -> None:
    made("create", "shop", "--access-key-id", "mine")
    done("account", "add-instance", "shop", "iot-1")
    assert "there is an account 'shop' already" in told(1, "account", "create", "shop")
    assert "there is an access key mine already" in told(1, "account", "create", "other", "--access-key-id", "mine")
    assert "there is an access key mine already" in told(1, "account", "add-key", "shop", "--access-key-id", "mine")
    assert "there is an instance iot-1 already" in told(1, "account", "add-instance", "shop", "iot-1")
    assert [account["name"] for account in accounts()] == ["shop"]


def test_the_demo_key_is_nobodys() -> None:
    assert "is known to everybody" in told(2, "account", "create", "shop", "--access-key-id", "linkstead-dev")
    made("create", "shop")
    assert "is known to everybody" in told(2, "account", "add-key", "shop", "--access-key-id", "linkstead-dev")


@pytest.mark.parametrize("name", ["", "x" * (NAME_CHARS_MAX + 1), "a\nb", "1234"])
def test_a_name_that_does_not_do_is_refused(name: str) -> None:
    assert "NAME" in told(2, "account", "create", name)


def test_names_reach_to_their_bound() -> None:
    name = "店" * NAME_CHARS_MAX
    made("create", name)
    made("add-key", name, "--user", name)
    assert "--user takes 1-64 printable characters" in told(2, "account", "add-key", name, "--user", name + "x")


def test_an_instance_id_has_its_form_and_bound() -> None:
    made("create", "shop")
    done("account", "add-instance", "shop", "i" * 64)
    for wrong in ("i" * 65, "a b", ""):
        assert "INSTANCE_ID takes 1-64 of" in told(2, "account", "add-instance", "shop", wrong)


def test_what_is_not_there_is_told() -> None:
    assert "there is no database in linkstead-data" in told(1, "account", "list")
    assert "there is no database in sqlite:///gone.db" in told(1, "account", "list", "--database", "sqlite:///gone.db")
    made("create", "shop")
    assert "there is no access key nobody" in told(1, "account", "disable-key", "nobody")
    assert "there is no account 'gone'" in told(1, "account", "add-key", "gone")


def test_looking_makes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    told(1, "account", "list", "--data", folder / "data")
    told(1, "account", "list", "--data", folder)
    assert list(folder.iterdir()) == []


def test_another_database_can_be_named() -> None:
    done("account", "create", "shop", "--database", "sqlite:///other.db")
    assert "shop" in done("account", "list", "--database", "sqlite:///other.db")


def test_a_running_server_notices_a_change(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("serve")
    data = ("--data", folder / "data")
    account = json.loads(done("account", "create", "shop", *data, "--json"))
    with serving("serve", folder=folder) as server:
        key = ("--access-key-id", account["access_key_id"], "--access-key-secret", account["access_key_secret"])
        calls = ("calls", "--endpoint", server.endpoint, *key)
        assert done(*calls) == "no calls\n"
        done("account", "disable-key", account["access_key_id"], *data)
        wait_for(lambda: "InvalidAccessKeyId.Inactive" in invoke(*calls).stderr)


def test_a_second_account_does_not_see_the_first_ones_devices(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("two")
    data = ("--data", folder / "data")

    def connection(server: ServerProcess, account: dict[str, str]) -> list[str]:
        return [
            "--endpoint",
            server.endpoint,
            "--access-key-id",
            account["access_key_id"],
            "--access-key-secret",
            account["access_key_secret"],
        ]

    first, second = (json.loads(done("account", "create", name, *data, "--json")) for name in ("first", "second"))
    product = json.loads(done("product", "create", "Lamp", "--account", "first", *data, "--json"))["product_key"]
    done("device", "create", product, "lamp-01", *data)
    with serving("serve", folder=folder) as server:
        mine = invoke("call", "rrpc", product, "lamp-01", *connection(server, first))
        assert mine.stdout.startswith("RrpcCode OFFLINE\n")
        other = invoke("call", "rrpc", product, "lamp-01", *connection(server, second))
        assert other.stdout.startswith("Code iot.prod.NotExistedProduct\n")


def test_a_console_user_is_made_listed_and_disabled(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    done("account", "create", "first", *data)
    made = done("account", "add-console-user", "first", "alice", "--password", "correct horse", *data)
    assert made == "console/alice can log in\n"
    listed = done("account", "list", *data)
    assert "console/alice" in listed
    assert "scrypt" not in listed
    assert "12 to 128" in told(2, "account", "add-console-user", "first", "bob", "--password", "short", *data)
    assert "alice" in told(1, "account", "add-console-user", "first", "alice", "--password", "correct horse", *data)
    done("account", "disable-key", "console/alice", *data)
    done("account", "delete-key", "console/alice", *data)

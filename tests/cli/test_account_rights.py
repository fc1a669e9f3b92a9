"""`account`: policies, keys that come and go, temporary credentials, the audit log."""

import json
from pathlib import Path

import pytest

from linkstead.api import tokens
from linkstead.api.tokens import TOKEN_SECONDS_MAX, TOKEN_SECONDS_MIN
from linkstead.registry.policies import POLICY_CHARS_MAX
from tests.cli.processes import done, invoke, serving, told, wait_for

READING = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"iot:Query*","Resource":"*"}]}'


def test_a_policy_is_set_shown_and_deleted() -> None:
    done("account", "create", "shop")
    assert "the user operator has no policy, and may do nothing" in told(1, "account", "policy", "show", "operator")
    Path("policy.json").write_text(READING + "\n", encoding="utf-8")
    assert done("account", "policy", "set", "operator", "policy.json") == "the user operator has this policy\n"
    assert done("account", "policy", "show", "operator", "--account", "shop") == READING + "\n"
    said = done("account", "policy", "delete", "operator")
    assert said == "the user operator has no policy any longer, and may do nothing\n"
    assert "the user operator has no policy" in told(1, "account", "policy", "delete", "operator")


def test_a_policy_may_come_from_standard_input() -> None:
    done("account", "create", "shop")
    done("account", "policy", "set", "operator", "-", stdin=READING.encode())
    assert done("account", "policy", "show", "operator") == READING + "\n"


def test_what_is_no_policy_is_told() -> None:
    done("account", "create", "shop")
    for text, said in (("{", "this is no policy"), (" " * POLICY_CHARS_MAX + READING, "this is no policy")):
        Path("policy.json").write_text(text, encoding="utf-8")
        assert said in told(1, "account", "policy", "set", "operator", "policy.json")
    Path("policy.json").write_bytes(b"\xff")
    assert "not UTF-8" in told(1, "account", "policy", "set", "operator", "policy.json")
    assert "No such file" in told(2, "account", "policy", "set", "operator", "gone.json")
    assert "USER takes 1-64" in told(2, "account", "policy", "set", "x" * 65, "policy.json")


def test_of_several_accounts_one_is_named() -> None:
    for name in ("first", "second"):
        done("account", "create", name)
    assert "name one with --account" in told(2, "account", "policy", "show", "operator")
    assert "there is no account 'third'" in told(1, "account", "policy", "show", "operator", "--account", "third")


def test_a_key_is_disabled_enabled_and_deleted() -> None:
    done("account", "create", "shop", "--access-key-id", "mine")
    assert "disable it first" in told(1, "account", "delete-key", "mine")
    done("account", "disable-key", "mine")
    assert done("account", "enable-key", "mine") == "mine is enabled\n"
    assert "mine (disabled)" not in done("account", "list")
    done("account", "disable-key", "mine")
    assert done("account", "delete-key", "mine") == "mine is deleted\n"
    for command in ("disable-key", "enable-key", "delete-key"):
        assert "there is no access key mine" in told(1, "account", command, "mine")


def test_a_token_is_issued_for_a_user_with_a_policy() -> None:
    account = json.loads(done("account", "create", "shop", "--json"))
    assert "has no policy" in told(1, "account", "issue-token", "operator")
    done("account", "policy", "set", "operator", "-", stdin=READING.encode())
    issued = json.loads(done("account", "issue-token", "operator", "--seconds", str(TOKEN_SECONDS_MIN), "--json"))
    assert issued["account_id"] == account["account_id"]
    assert issued["access_key_id"].startswith("STS.")
    assert len(issued["security_token"]) == 128
    listed = done("account", "list")
    assert f"{issued['access_key_id']} (user operator) (until {issued['expires']})" in listed
    assert issued["security_token"] not in listed
    for seconds in (TOKEN_SECONDS_MIN - 1, TOKEN_SECONDS_MAX + 1):
        assert "--seconds" in told(2, "account", "issue-token", "operator", "--seconds", str(seconds))


def test_an_account_has_so_many_temporary_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "TEMPORARY_KEYS_MAX", 2)
    done("account", "create", "shop")
    done("account", "policy", "set", "operator", "-", stdin=READING.encode())
    for _ in range(2):
        done("account", "issue-token", "operator")
    assert "the account has 2 temporary keys" in told(1, "account", "issue-token", "operator")


def test_the_audit_log_of_a_server_that_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("serve")
    data = ("--data", folder / "data")
    account = json.loads(done("account", "create", "shop", *data, "--json"))
    user = json.loads(done("account", "add-key", "shop", "--user", "operator", *data, "--json"))
    with serving("serve", folder=folder) as server:

        def call(key: dict[str, str]) -> str:
            pair = ("--access-key-id", key["access_key_id"], "--access-key-secret", key["access_key_secret"])
            return invoke("calls", "--endpoint", server.endpoint, *pair).stderr

        assert call(account) == ""
        assert "Forbidden.RAM" in call(user)
        wait_for(lambda: json.loads(done("account", "audit", *data, "--json")) != [])
        done("account", "policy", "set", "operator", "-", *data, stdin=READING.replace("iot:Query*", "*").encode())
        wait_for(lambda: call(user) == "")
    [entry, *_] = json.loads(done("account", "audit", "--account", "shop", "--since", "1h", *data, "--json"))
    assert (entry["user_name"], entry["action"], entry["code"]) == ("operator", "/_linkstead/calls", "Forbidden.RAM")
    printed = done("account", "audit", "--limit", "1", *data)
    assert printed.splitlines()[0].split() == [
        *("time", "account_id", "access_key_id", "user_name", "address", "action", "about", "code")
    ]
    assert "Forbidden.RAM" in printed
    assert account["access_key_secret"] not in printed
    assert json.loads(done("account", "audit", "--since", "2200-01-01T00:00:00Z", *data, "--json")) == []
    assert "--since takes" in told(2, "account", "audit", "--since", "yesterday", *data)

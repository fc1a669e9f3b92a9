"""A server whose secrets are sealed, and the commands beside it."""

import base64
import json
from pathlib import Path

import pytest

from tests.cli.processes import done, invoke, serving, told

FIRST, SECOND = (base64.b64encode(bytes([number] * 32)).decode() + "\n" for number in (1, 2))


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (folder / "data").iterdir())


def test_a_server_seals_what_is_there_and_changes_its_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    key_file = folder / "master.key"
    key_file.write_text(FIRST)
    data = ("--data", folder / "data")
    sealed = (*data, "--master-key-file", key_file)
    account = json.loads(done("account", "create", "shop", *data, "--json"))
    secret = account["access_key_secret"]
    assert secret.encode() in on_disk(folder)
    key = ("--access-key-id", account["access_key_id"], "--access-key-secret", secret)
    with serving("serve", "--master-key-file", key_file, folder=folder) as server:
        assert done("calls", "--endpoint", server.endpoint, *key) == "no calls\n"
        user = json.loads(done("account", "add-key", "shop", "--user", "operator", *sealed, "--json"))
        assert "sealed under the master key" in told(1, "account", "list", *data)
    for text in (secret, user["access_key_secret"]):
        assert text.encode() not in on_disk(folder)

    key_file.write_text(SECOND)
    assert "which is not in the file" in told(1, "account", "list", *sealed)
    assert "--master-key-file names the file" in told(2, "account", "rotate-master-key", *data)
    key_file.write_text(SECOND + FIRST)
    said = done("account", "rotate-master-key", *sealed)
    assert "access_key: 2 rows\n" in said
    assert said.endswith("the others can be taken out of the file\n")
    assert done("account", "rotate-master-key", *sealed) == "all secrets were sealed under the first key already\n"
    key_file.write_text(SECOND)
    with serving("serve", "--master-key-file", key_file, folder=folder, name="second") as server:
        assert done("calls", "--endpoint", server.endpoint, *key) == "no calls\n"
        wrong = invoke("calls", "--endpoint", server.endpoint, *key[:3], "wrong")
        assert "SignatureDoesNotMatch" in wrong.stderr


def test_a_key_file_that_does_not_do_is_told_in_one_line() -> None:
    done("account", "create", "shop")
    assert "No such file" in told(1, "account", "list", "--master-key-file", "gone.key")
    Path("master.key").write_text("not-a-key\n")
    line = told(1, "serve", "--data", "linkstead-data", "--master-key-file", "master.key")
    assert "line 1 is not 32 bytes in Base64" in line
    assert "not-a-key" not in line

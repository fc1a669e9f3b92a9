import json
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from linkstead.tls.authority import NAMES_MAX
from tests.cli.processes import done, serving, told

NAMES = ("--name", "localhost", "--ip", "127.0.0.1")


def test_what_it_makes_is_what_a_server_and_its_clients_need(tmp_path: Path) -> None:
    out = tmp_path / "tls"
    lines = done("certificate", "create", *NAMES, "--out", out).splitlines()
    assert lines[0].startswith("A certificate for localhost, 127.0.0.1, valid until 2")
    assert lines[1] == "The authority that signed it is new."
    server_line = lines[3].removeprefix("The server:").split()
    assert server_line == ["--tls-cert", str(out / "server.pem"), "--tls-key", str(out / "server.key")]
    assert [str(out / "ca.pem") in lines[4], str(out / "ca.key") in lines[5]] == [True, True]
    with serving("dev", *server_line, folder=tmp_path) as server:
        context = ssl.create_default_context(cafile=out / "ca.pem")
        with socket.create_connection(server.mqtt) as plain, context.wrap_socket(plain, server_hostname="localhost"):
            pass


def test_the_next_is_signed_by_the_authority_of_another_folder(tmp_path: Path) -> None:
    done("certificate", "create", *NAMES, "--out", tmp_path / "a")
    said = done("certificate", "create", *NAMES, "--out", tmp_path / "b", "--ca", tmp_path / "a")
    assert "The authority that signed it is the one that was there." in said
    assert sorted(each.name for each in (tmp_path / "b").iterdir()) == ["server.key", "server.pem"]


def test_show_tells_what_stands_in_a_file(tmp_path: Path) -> None:
    done("certificate", "create", *NAMES, "--out", tmp_path, "--days", "7")
    with (tmp_path / "chain.pem").open("wb") as chain:
        for name in ("server.pem", "ca.pem"):
            with (tmp_path / name).open("rb") as part:
                shutil.copyfileobj(part, chain)
    leaf, authority = json.loads(done("certificate", "show", tmp_path / "chain.pem", "--json"))
    assert (leaf["names"], leaf["issuer"], leaf["fault"]) == (["localhost", "127.0.0.1"], authority["subject"], "")
    assert (leaf["authority"], authority["authority"]) == (False, True)
    assert len(leaf["sha256"]) == 32 * 3 - 1
    text = done("certificate", "show", tmp_path / "chain.pem")
    assert "names       localhost, 127.0.0.1\n" in text
    assert "fault" not in text
    assert f"\n\nsubject     {authority['subject']}\n" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--name and --ip are given 1 to 100 times in all"),
        (("--name", "a") * (NAMES_MAX + 1), "--name and --ip are given 1 to 100 times in all"),
        (("--name", "a b"), "'a b' is no host name"),
        (("--name", "127.0.0.1"), "127.0.0.1 is an address: give it with --ip"),
        (("--ip", "localhost"), "'localhost' is no IP address"),
        (("--name", "a", "--days", "0"), "--days"),
        (("--name", "a", "--days", "3651"), "--days"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    assert text in told(2, "certificate", "create", *arguments, "--out", tmp_path / "tls")
    assert not (tmp_path / "tls").exists()


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"")
    line = told(1, "certificate", "create", *NAMES, "--out", tmp_path)
    assert line.startswith(f"linkstead: {tmp_path / 'ca.key'} is missing, and ")
    assert told(1, "certificate", "show", tmp_path / "ca.pem").endswith(": it holds no certificate in PEM\n")
    assert told(1, "certificate", "show", tmp_path / "none").endswith(": no such file or directory\n")

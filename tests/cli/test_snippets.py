import os
import subprocess
import sys

import pytest

from linkstead.cli.snippets import bash_snippet, python_snippet
from linkstead.config import Address
from linkstead.registry import DeviceKey
from tests.cli.processes import ENVIRONMENT, WAIT_S, ServerProcess

LAMP = DeviceKey("a1LinkDemo0", "lamp-01")


def paste(text: str, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type a text into a program."""
    return subprocess.run(
        command,
        input=text,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.mark.parametrize("options", [[], ["-i"]], ids=["script", "interactive"])
def test_the_python_snippet_that_dev_prints_calls_a_device(dev: ServerProcess, options: list[str]) -> None:
    snippet = python_snippet(dev.http, "linkstead-dev", LAMP)
    assert f"\n{snippet}\n" in dev.stdout
    ran = paste(snippet, sys.executable, "-q", *options)
    assert ran.returncode == 0, ran.stderr
    assert "'RrpcCode': 'SUCCESS', 'Success': True" in ran.stdout
    assert ran.stdout.endswith("b'hello'\n")


@pytest.mark.parametrize("options", [[], ["-i"]], ids=["script", "interactive"])
def test_the_bash_snippet_that_dev_prints_calls_a_device(dev: ServerProcess, options: list[str]) -> None:
    snippet = bash_snippet(dev.http, "linkstead-dev", LAMP)
    assert f"\n{snippet}\n" in dev.stdout
    ran = paste(snippet, "bash", "--norc", *options)
    assert '"RrpcCode":"SUCCESS","PayloadBase64Byte":"aGVsbG8="' in ran.stdout, ran.stderr


def test_the_bash_snippet_works_every_time(dev: ServerProcess) -> None:
    ran = paste(bash_snippet(dev.http, "linkstead-dev", LAMP) * 5, "bash")
    assert ran.stdout.count('"Success":true') == 5, ran.stdout


def test_a_key_of_the_users_own_is_taken_from_the_environment(dev: ServerProcess) -> None:
    http = Address(*dev.http)
    for snippet in (python_snippet(http, "mine", LAMP), bash_snippet(http, "mine", LAMP)):
        assert "linkstead-dev-secret" not in snippet
    secret = {"LINKSTEAD_ACCESS_KEY_SECRET": "s"}
    ran = paste(bash_snippet(http, "mine", LAMP), "bash", **secret)
    assert '"Code":"InvalidAccessKeyId.NotFound"' in ran.stdout
    ran = paste(python_snippet(http, "mine", LAMP), sys.executable, **secret)
    assert "InvalidAccessKeyId.NotFound" in ran.stderr
    assert os.environ.get("LINKSTEAD_ACCESS_KEY_SECRET") is None

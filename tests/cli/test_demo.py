import os
import subprocess
from pathlib import Path

import click
import pytest

from linkstead.cli.demo import LOG_LINES_SHOWN, Child
from tests.cli.processes import ENVIRONMENT, told

DEMO_PYTHON = os.environ.get("LINKSTEAD_DEMO_PYTHON") or str(Path(__file__).parents[2] / ".venv-demo/bin/python")
"""The interpreter of the environment with the vendor's Link SDK, which cannot live beside what the tests need."""

DEMO_S_MAX = 60.0


def run_demo(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEMO_PYTHON, "-m", "linkstead", "demo"],
        cwd=folder,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=DEMO_S_MAX,
        check=False,
    )


def test_the_demo_calls_a_link_sdk_device_and_its_services(tmp_path: Path) -> None:
    ran = run_demo(tmp_path, TMPDIR=str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.count("\nRrpcCode SUCCESS\nlamp heard: hello\n") == 2
    assert '\nSuccess True\n{"code":200,"data":{"Executed":3,"FinishedAt":"1700000003000"},' in ran.stdout
    assert "\nSuccess True\naccepted as " in ran.stdout
    assert '"data": {"Accepted": 1, "Duration": 0.5}}' in ran.stdout
    assert ran.stdout.count("SUCCESS · answered") == 4
    assert "\nTopic /a1LinkDemo0/my-device/user/get\n" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_is_not_led_astray_by_the_users_settings(tmp_path: Path) -> None:
    (tmp_path / "linkstead.toml").write_text("bogus = 1")
    ran = run_demo(tmp_path, LINKSTEAD_HTTP="nowhere", LINKSTEAD_DATA="/dev/null", LINKSTEAD_ACCESS_KEY_ID="x")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_without_the_sdks_the_demo_says_how_to_install_them() -> None:
    assert told(2, "demo") == (
        'linkstead: the vendor\'s SDKs are missing: pip install "linkstead[demo]"; in a checkout run `make demo`\n'
    )


def test_a_child_that_ends_too_soon_is_told_with_what_it_said(tmp_path: Path) -> None:
    with (
        Child(tmp_path, "server", ["linkstead", "serve", "--http", "nowhere"], {}) as child,
        pytest.raises(click.ClickException) as caught,
    ):
        child.wait_until(lambda: False)
    lines = caught.value.message.split("\n")
    assert lines[0] == "the server ended with 2"
    assert "'nowhere' is not HOST:PORT" in lines[1]


def test_of_what_a_child_said_the_end_is_shown(tmp_path: Path) -> None:
    # A module that prints more lines than are shown.
    with Child(tmp_path, "zen", ["this"], {}) as child, pytest.raises(click.ClickException) as caught:
        child.wait_until(lambda: False)
    assert caught.value.message.startswith("the zen ended with 0\n")
    assert len(caught.value.message.split("\n")) == LOG_LINES_SHOWN + 1

"""The plugin as pytest runs it, and every example of `docs/testing.md`, as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import ENVIRONMENT, serving

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "testing.md").read_text(encoding="utf-8")
LAMP = REPOSITORY / "src" / "linkstead" / "cli" / "lamp.tsl.json"
NODE_MODULES = REPOSITORY / "tests" / "node" / "node_modules"
WAIT_S = 100.0

EXAMPLES = {(language, name): code for language, name, code in re.findall(r"```(\w+) (\w+)\n(.*?)```", PAGE, re.DOTALL)}


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest on a folder, with our plugin and nothing else."""
    alone = ("-p", "linkstead.testing.plugin", "-p", "no:cacheprovider", "--rootdir", str(folder))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, *alone, *arguments, str(folder)],
        cwd=folder,
        env={**ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    names = [name for language, name in EXAMPLES if language == "python"]
    assert names == ["first", "devices", "messages", "time", "faults", "cassette", "settings"]
    for name in names:
        (tmp_path / f"test_{name}.py").write_text(EXAMPLES["python", name])
    shutil.copyfile(LAMP, tmp_path / "lamp.json")
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout


def test_the_first_example_is_short() -> None:
    lines = [line for line in EXAMPLES["python", "first"].splitlines() if line]
    assert len(lines) < 20


def test_the_example_for_node_passes(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "example.test.js").write_text(EXAMPLES["javascript", "node"])
    with serving("dev", folder=tmp_path) as server:
        done = subprocess.run(
            ["node", "--test", "example.test.js"],
            cwd=tmp_path,
            env={**ENVIRONMENT, "LINKSTEAD": str(server.http)},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^(# |ℹ )pass 2$", done.stdout, re.MULTILINE)


FAILING = """
import base64

import pytest
from alibabacloud_iot20180120.models import RRpcRequest


def ping(server, lamp):
    names = {"product_key": lamp.product_key, "device_name": lamp.name}
    return server.client().r_rpc(RRpcRequest(**names, request_base_64byte="cGluZw==", timeout=5000)).body


def test_surplus(linkstead_server):
    lamp = linkstead_server.device("lamp")
    lamp.expect_call().never()
    ping(linkstead_server, lamp)


def test_missing(linkstead_server):
    linkstead_server.device("lamp").expect_call("reboot").times(2)


def test_own(linkstead_server):
    lamp = linkstead_server.device("lamp")
    lamp.expect_call("reboot")
    lamp.fault("unknown")
    assert ping(linkstead_server, lamp).rrpc_code == "SUCCESS"


def test_fine(linkstead_server):
    linkstead_server.device("lamp").expect_call("reboot").any_times()
"""


def test_a_test_that_fails_says_why_and_shows_its_calls(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    done = run_pytest(tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    surplus, missing, own = re.split(r"^_+ test_\w+ _+$", done.stdout, flags=re.MULTILINE)[1:]
    assert "lamp: any call was expected never and came once" in surplus
    assert "Linkstead calls" in surplus
    assert "SUCCESS · answered" in surplus
    assert "lamp: reboot was expected 2 times and came never" in missing
    assert "Traceback" not in missing
    assert "planted-unknown" in own
    assert "was expected" not in own.split("short test summary")[0]
    assert "3 failed, 1 passed" in done.stdout


def test_who_does_not_use_it_does_not_load_it(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\n\ndef test_plain():\n"
        "    loaded = {name for name in sys.modules if name.startswith('linkstead')}\n"
        "    assert loaded == {'linkstead', 'linkstead.testing', 'linkstead.testing.plugin'}\n"
        "    assert not {'sqlalchemy', 'click', 'asyncio'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout

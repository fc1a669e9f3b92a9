"""The recipes of `docs/recipes.md` that say that they are run as a test: each is, as it stands there."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkstead.config import parse_address
from tests.cli.processes import WAIT_S, ServerProcess, serving, wait_for
from tests.sdk.certificate import Certificate

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
NODE_MODULES = REPOSITORY / "tests" / "node" / "node_modules"
DEMO_PYTHON = os.environ.get("LINKSTEAD_DEMO_PYTHON") or str(REPOSITORY / ".venv-demo" / "bin" / "python")

RECIPES = {
    f"{language}-{name}": code for language, name, code in re.findall(r"```(\w+) ([\w-]+)\n(.*?)```", PAGE, re.DOTALL)
}
"""Those with a name behind their language are run."""

APPS = [name for name in RECIPES if name.split("-")[1] in ("tea", "core", "pop")]
DEVICES = [name for name in RECIPES if name not in APPS]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[ServerProcess]:
    files = ("--tls-cert", str(certificate.certificate_file), "--tls-key", str(certificate.key_file))
    with serving("dev", "--https", "127.0.0.1:0", *files, folder=tmp_path_factory.mktemp("recipes")) as server:
        yield server


def begin(name: str, dev: ServerProcess, certificate: Certificate, folder: Path) -> subprocess.Popen[str]:
    """Run a recipe; only ports are others than on the page."""
    code = RECIPES[name]
    https = parse_address(dev.ready["https"])
    ports = {"8686": dev.http.port, "8643": https.port, "1883": dev.mqtt.port}
    for port, real in ports.items():
        code = re.sub(rf"\b{port}\b", str(real), code)
    (folder / "ca.pem").write_text(certificate.ca_file.read_text())
    if name.startswith("javascript"):
        (folder / "node_modules").symlink_to(NODE_MODULES)
        (folder / "recipe.js").write_text(code)
        command = ["node", "recipe.js"]
    else:
        (folder / "recipe.py").write_text(code)
        command = [DEMO_PYTHON if name in DEVICES else sys.executable, "recipe.py"]
    env = {**os.environ, "NODE_EXTRA_CA_CERTS": "ca.pem"} if name.endswith("device-tls") else None
    with (folder / "out").open("w") as out:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, text=True)


def test_the_page_has_all_its_recipes() -> None:
    assert len(APPS) == 8
    assert len(DEVICES) == 4
    assert all(f"{name}-tls" in RECIPES for name in RECIPES if not name.endswith("-tls"))
    said = Counter(re.findall(r"^### .* \((run as a test|run by hand|written only)\)$", PAGE, re.MULTILINE))
    assert said["run as a test"] == len(RECIPES) / 2
    # the last has no SDK
    assert said.total() + 1 == PAGE.count("\n### ")


@pytest.mark.parametrize("name", APPS)
def test_an_app_is_led_here(name: str, dev: ServerProcess, certificate: Certificate, tmp_path: Path) -> None:
    child = begin(name, dev, certificate, tmp_path)
    assert child.wait(WAIT_S) == 0, (tmp_path / "out").read_text()
    assert "SUCCESS" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_led_here(name: str, dev: ServerProcess, certificate: Certificate, tmp_path: Path) -> None:
    child = begin(name, dev, certificate, tmp_path)
    try:
        said = tmp_path / "out"
        wait_for(lambda: "connected" in said.read_text() or child.poll() is not None)
        assert "connected" in said.read_text(), said.read_text()
        assert "device connected device=a1LinkDemo0/my-device" in dev.stderr
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()

"""The files in `deploy/`, as far as they can be tried without the programs that they are for."""

import re
import subprocess
from pathlib import Path

import pytest

from linkstead.cli.options import CONFIG_KEYS
from linkstead.cluster.nats_server import find_nats_server

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


@pytest.mark.parametrize("name", ["nats-1", "nats-2"])
def test_nats_takes_its_configuration(name: str) -> None:
    command = [find_nats_server(), "-t", "-c", str(DEPLOY / "nats.conf"), "--name", name]
    done = subprocess.run(command, env={"NATS_PASSWORD": "x"}, capture_output=True, text=True, check=False)
    assert "is valid" in done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_a_unit_starts_serve_with_options_that_there_are(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    program, command, *options = line.split()
    assert (Path(program).name, command) == ("linkstead", "serve")
    assert {word[2:] for word in options if word.startswith("--")} <= {*CONFIG_KEYS, "config"}
    # The supervisor is told, and tells its workers.
    assert "\nKillMode=mixed\n" in unit.read_text()


@pytest.mark.parametrize("file", [*UNITS, DEPLOY / "compose" / "compose.yaml"], ids=lambda file: str(file.name))
def test_every_variable_is_an_option(file: Path) -> None:
    named = set(re.findall(r"\bLINKSTEAD_([A-Z_]+)", file.read_text()))
    assert named <= {key.upper().replace("-", "_") for key in CONFIG_KEYS}

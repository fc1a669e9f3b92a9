"""The data of a Linkstead under test: account, product, thing model and the devices that the rig speaks for."""

import csv
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.machine import ROOT, CannotMeasure

ACCESS_KEY_ID, ACCESS_KEY_SECRET = "LTAIbenchKey0000", "benchAccessKeySecret0000000000"
PRODUCT_KEY = "a1benchPk01"


def describe_model() -> dict[str, Any]:
    """A property to post, and a service of each kind: a text goes in, a text comes out."""
    text = {"type": "text", "specs": {"length": "2048"}}

    def service(identifier: str, call_type: str) -> dict[str, Any]:
        given = [{"identifier": "In", "name": "In", "dataType": text}]
        answered = [{"identifier": "Out", "name": "Out", "dataType": text}]
        named = {"identifier": identifier, "name": identifier, "callType": call_type}
        return {**named, "inputData": given, "outputData": answered}

    level = {"type": "int", "specs": {"min": "0", "max": "1000000", "step": "1"}}
    return {
        "profile": {"version": "1.0", "productKey": PRODUCT_KEY},
        "properties": [
            {"identifier": "Level", "name": "Level", "accessMode": "rw", "required": False, "dataType": level}
        ],
        "events": [],
        "services": [service("BenchSync", "sync"), service("BenchAsync", "async")],
    }


def name_device(index: int) -> tuple[str, str]:
    """A device's name and its secret, which the rig derives from the name; nothing is protected by it."""
    name = f"dev{index:06d}"
    return name, hashlib.sha1(f"secret:{name}".encode(), usedforsecurity=False).hexdigest()[:32]


def seed(python: str, source: Path, folder: Path, devices: int, database: str | None = None) -> Path:
    """Make a data directory below `folder`, or fill a database, with Linkstead's own commands; the directory's path.

    Raises:
        CannotMeasure: a command failed.
    """
    rows, model, data = folder / "devices.csv", folder / "model.json", folder / "data"
    with rows.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_key", "device_name", "device_secret"])
        for index in range(devices):
            writer.writerow([PRODUCT_KEY, *name_device(index)])
    model.write_text(json.dumps(describe_model()))
    key = ["--access-key-id", ACCESS_KEY_ID, "--access-key-secret", ACCESS_KEY_SECRET]
    product = ["--product-key", PRODUCT_KEY, "--data-format", "1", "--aliyun-commodity-code", "iothub_senior"]
    for arguments in (
        ["account", "create", "bench", *key],
        ["product", "create", "Bench", *product],
        ["product", "import-model", PRODUCT_KEY, str(model)],
        ["device", "create", "--csv", str(rows)],
    ):
        where = ["--data", str(data)] if database is None else ["--database", database]
        run_command(python, source, [*arguments, *where])
    return data


def make_certificate(python: str, source: Path, folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key."""
    run_command(python, source, ["certificate", "create", "--ip", "127.0.0.1", "--out", str(folder)])
    return folder / "server.pem", folder / "server.key"


def run_command(python: str, source: Path, arguments: list[str]) -> None:
    """Run one of Linkstead's commands. Raises CannotMeasure: it failed."""
    command = [python, "-m", "linkstead", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=linkstead_environment(source), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotMeasure(f"{' '.join(command)}\n{done.stderr}")


def linkstead_environment(source: Path) -> dict[str, str]:
    """The environment in which `source`, a tree with src/linkstead, is what `-m linkstead` runs."""
    return {**os.environ, "PYTHONPATH": str(source / "src")}

"""`serve --workers`: several processes on the same ports, and the NATS server between them."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkstead.server import SystemClock
from tests.cli.processes import ServerProcess, serving
from tests.rig import KEY, LAMP, device_secret
from tests.wire import App, DeviceClient, fetch

TRIES = 60
"""Connections until one has come to each of two workers: the chance that none has is beyond reckoning."""


def children(pid: int) -> dict[str, int]:
    """The processes that a supervisor has started, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found[words[3] if "linkstead.cli.worker" in words else Path(words[0]).name] = int(child)
    return found


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def server(filled_database: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    path = tmp_path / "shared.db"
    shutil.copyfile(filled_database, path)
    with serving("serve", "--workers", "2", "--database", f"sqlite:///{path}", folder=tmp_path) as process:
        yield process
        pids = children(process.child.pid).values()
        assert process.stop() == 0, process.stderr
        assert not any(map(is_alive, pids))
        assert not process.ready_file.exists()


def app_of(server: ServerProcess) -> App:
    return App(server.http, SystemClock(), KEY.access_key_id, KEY.secret)


async def answered_record(app: App, device: DeviceClient) -> dict[str, Any]:
    """The record of a call that the device answers, from whichever worker has it at hand."""
    calling = asyncio.ensure_future(app.rrpc(device.key))
    await device.answer_call(b"pong")
    answer = await calling
    assert answer["RrpcCode"] == "SUCCESS"
    for _ in range(TRIES):
        response = await fetch(app.address, "GET", f"/_linkstead/calls/{answer['RequestId']}", app.basic)
        if response.status == 200:
            return dict(response.json())
        await asyncio.sleep(0.05)
    raise AssertionError("no worker has the record")


def nodes_of(record: dict[str, Any]) -> tuple[str, str]:
    """The worker that was called, and the one that wrote to the device."""
    at = {moment["stage"]: moment["node"] for moment in record["timeline"]}
    return at["received"].rpartition("-")[0], at["written"].rpartition("-")[0]


@pytest.mark.asyncio
async def test_a_device_at_one_worker_answers_a_call_to_the_other(server: ServerProcess) -> None:
    app = app_of(server)
    device = DeviceClient(server.mqtt, LAMP, device_secret(LAMP))
    await device.connect()
    seen = set()
    for _ in range(TRIES):
        seen.add(nodes_of(await answered_record(app, device)))
        if len(seen) == 2:
            break
    await device.close()
    callers, holders = zip(*seen, strict=True)
    assert set(callers) == {"worker-1", "worker-2"}
    assert len(set(holders)) == 1

"""`serve --workers`: several processes on the same ports, and the NATS server between them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkstead.cli.cluster import COLUMNS
from linkstead.cli.supervisor import BEAT_S, BEATS_MISSED_MAX, is_hanging, reserve_ports
from linkstead.config import Address, Settings
from linkstead.mqtt.packets import Publish
from linkstead.server import StartError, SystemClock
from tests.cli.processes import FREE_PORTS, ServerProcess, done, is_listening, run, serving, wait_for
from tests.rig import KEY, LAMP, SECOND_LAMP, device_secret
from tests.wire import WAIT_S, App, DeviceClient, fetch

HUNG_SLACK_S = 10.0
DIED_SLACK_S = 5.0
"""Well below the time of the calls."""

CALLS = 30
"""Of which some come to each of two workers."""

SHORT_BEAT_S = 0.05

TRIES = 60
"""Connections until one has come to each of two workers: the chance that none has is beyond reckoning."""


def children(pid: int) -> dict[str, int]:
    """The processes that a supervisor has started, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            # It has ended since.
            continue
        found[words[3] if "linkstead.cli.worker" in words else Path(words[0]).name] = int(child)
    return found


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@contextlib.contextmanager
def serving_workers(filled: Path, folder: Path, *options: str) -> Iterator[ServerProcess]:
    path = folder / "shared.db"
    shutil.copyfile(filled, path)
    with serving("serve", "--workers", "2", "--database", f"sqlite:///{path}", *options, folder=folder) as process:
        yield process


@pytest.fixture(scope="module")
def server(filled_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving_workers(filled_database, tmp_path_factory.mktemp("workers")) as process:
        yield process
        pids = children(process.child.pid).values()
        (folder,) = {path.parent for path in list_sockets(process)}
        assert process.stop() == 0, process.stderr
        assert not folder.exists()
        assert not any(map(is_alive, pids))
        assert not process.ready_file.exists()


def app_of(server: ServerProcess) -> App:
    return App(server.http, SystemClock(), KEY.access_key_id, KEY.secret)


async def answered_record(app: App, device: DeviceClient) -> dict[str, Any]:
    """The record of a call that the device answers, from whichever worker has it at hand."""
    calling = asyncio.ensure_future(app.rrpc(device.key))
    answering = asyncio.ensure_future(device.answer_call(b"pong"))
    await asyncio.wait([calling, answering], return_when=asyncio.FIRST_COMPLETED)
    if not answering.done():
        answering.cancel()
    answer = await calling
    assert answer.get("RrpcCode") == "SUCCESS", answer
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


def test_workers_are_listed_with_what_they_bear(server: ServerProcess) -> None:
    database = ("--database", f"sqlite:///{server.folder / 'shared.db'}")

    def is_listed() -> bool:
        listed = json.loads(done("cluster", "status", "--json", *database))
        assert [each["node"].rpartition("-")[0] for each in listed] == ["worker-1", "worker-2"]
        return {(each["state"], each["http"], each["mqtt"]) for each in listed} == {
            ("up", str(server.http), str(server.mqtt))
        }

    # Their first heartbeat is before they listen.
    wait_for(is_listed)
    assert done("cluster", "status", *database).splitlines()[0].split() == list(COLUMNS)


@pytest.mark.parametrize("name", ["http", "mqtt"])
def test_a_port_that_workers_share_is_not_shared_with_another_server(server: ServerProcess, name: str) -> None:
    free = Settings(http=Address("127.0.0.1", 0), mqtt=Address("127.0.0.1", 0))
    taken = {"http": server.http, "mqtt": server.mqtt}[name]
    with pytest.raises(StartError, match=f"cannot listen on {taken}: address already in use"):
        reserve_ports(msgspec.structs.replace(free, **{name: taken}))


@pytest.mark.asyncio
async def test_a_call_ends_at_once_when_the_worker_that_has_it_in_hand_dies(server: ServerProcess) -> None:
    app = app_of(server)
    device = DeviceClient(server.mqtt, LAMP, device_secret(LAMP))
    await until_ready(server)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(device.close)
        await device.connect()
        await end_calls_at_once(server, app, device)


async def end_calls_at_once(server: ServerProcess, app: App, device: DeviceClient) -> None:
    record = await answered_record(app, device)
    holder = nodes_of(record)[1]
    # Calls of the other worker cross; those of the one that dies get no response.
    calls = [asyncio.ensure_future(app.rrpc(LAMP, Timeout="8000")) for _ in range(CALLS)]
    for _ in calls:
        await device.expect(Publish)
    asked_s = time.monotonic()
    pid = children(server.child.pid)[holder]
    os.kill(pid, signal.SIGKILL)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    answers = [each for each in ended if isinstance(each, dict)]
    assert answers
    assert {answer["RrpcCode"] for answer in answers} <= {"UNKNOWN", "TIMEOUT"}
    assert time.monotonic() - asked_s < DIED_SLACK_S
    await asyncio.to_thread(wait_for, lambda: is_running_anew(server, holder, pid))
    await until_ready(server)


def test_workers_listen_for_each_other_in_a_folder_of_their_own(server: ServerProcess) -> None:
    # One may just be started anew.
    wait_for(lambda: [path.name for path in list_sockets(server)] == ["1", "2"])
    sockets = list_sockets(server)
    assert {path.parent for path in sockets} == {sockets[0].parent}
    assert sockets[0].parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in sockets} == {0o600}


def list_sockets(server: ServerProcess) -> list[Path]:
    """The Unix sockets that the workers of a server listen on."""
    owned = {
        os.readlink(each)
        for name, pid in children(server.child.pid).items()
        if name.startswith("worker")
        for each in Path(f"/proc/{pid}/fd").iterdir()
    }
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    named = {Path(words[7]) for words in lines if len(words) == 8 and f"socket:[{words[6]}]" in owned}
    return sorted(path for path in named if path.name.isdigit())


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["worker-2", "nats-server"])
async def test_what_dies_is_started_anew(server: ServerProcess, name: str) -> None:
    before = children(server.child.pid)
    os.kill(before[name], signal.SIGKILL)
    await asyncio.to_thread(wait_for, lambda: is_running_anew(server, name, before[name]))
    after = children(server.child.pid)
    assert {key: pid for key, pid in after.items() if key != name} == {
        key: pid for key, pid in before.items() if key != name
    }
    assert f"ended and is started anew child={name} status=-9 in_s=0.1" in server.stderr
    app = app_of(server)
    device = DeviceClient(server.mqtt, SECOND_LAMP, device_secret(SECOND_LAMP))
    await device.connect()
    await until_ready(server)
    await until_called(app, device)
    seen: set[tuple[str, str]] = set()
    until_s = time.monotonic() + WAIT_S
    # It runs, and listens when it is ready.
    while len(seen) < 2 and time.monotonic() < until_s:
        seen.add(nodes_of(await answered_record(app, device)))
    await device.close()
    assert len(seen) == 2


@pytest.mark.long
@pytest.mark.asyncio
async def test_a_worker_that_hangs_is_killed_and_started_anew(server: ServerProcess) -> None:
    name = "worker-1"
    before = children(server.child.pid)[name]
    os.kill(before, signal.SIGSTOP)
    stopped_s = time.monotonic()
    await asyncio.to_thread(wait_for, lambda: is_running_anew(server, name, before))
    # A second for what is under way, and as long as a start takes.
    assert time.monotonic() - stopped_s < BEATS_MISSED_MAX * BEAT_S + HUNG_SLACK_S
    assert f"hangs and is killed child={name} silent_s=10.0" in server.stderr
    assert not is_alive(before)
    await until_ready(server)


@pytest.mark.asyncio
async def test_a_worker_hangs_once_so_many_beats_in_a_row_have_not_come() -> None:
    beats = asyncio.StreamReader()
    hanging = asyncio.ensure_future(is_hanging(beats, SHORT_BEAT_S))
    for _ in range(2):
        await asyncio.sleep((BEATS_MISSED_MAX - 3) * SHORT_BEAT_S)
        assert not hanging.done()
        beats.feed_data(b".")
    assert await hanging
    ended = asyncio.ensure_future(is_hanging(beats, SHORT_BEAT_S))
    beats.feed_data(b"..")
    beats.feed_eof()
    assert not await ended


def is_running_anew(server: ServerProcess, name: str, pid: int) -> bool:
    return f"runs again child={name}" in server.stderr and children(server.child.pid).get(name) not in (None, pid)


async def until_called(app: App, device: DeviceClient) -> None:
    """Call until there is an answer: before the workers have found each other, calls end truly, but without one."""
    for _ in range(TRIES):
        calling = asyncio.ensure_future(app.rrpc(device.key))
        answering = asyncio.ensure_future(device.answer_call(b"pong"))
        await asyncio.wait([calling, answering], return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await calling
            return
        answering.cancel()
    raise AssertionError("no call is answered any longer")


async def until_ready(server: ServerProcess) -> None:
    """Wait until every worker is connected to NATS: so many connections come to all of them."""
    in_a_row = 0
    while in_a_row < TRIES:
        response = await fetch(server.http, "GET", "/readyz", {})
        in_a_row = in_a_row + 1 if response.status == 200 else 0


@pytest.mark.long
def test_workers_and_nats_end_with_their_supervisor(filled_database: Path, tmp_path: Path) -> None:
    with serving_workers(filled_database, tmp_path) as server:
        pids = children(server.child.pid).values()
        server.child.kill()
        wait_for(lambda: not any(map(is_alive, pids)))
        assert not is_listening(server.http)


def test_workers_share_the_database_of_their_supervisor_and_nobody_else_does(
    server: ServerProcess, tmp_path: Path
) -> None:
    database = ("--database", f"sqlite:///{server.folder / 'shared.db'}")
    for workers in ("1", "2"):
        ended = run("serve", "--workers", workers, *FREE_PORTS, *database, cwd=tmp_path)
        assert ended.returncode == 1
        assert f", process {server.child.pid}: " in ended.stderr.splitlines()[-1]


@pytest.mark.long
def test_the_next_waits_for_the_workers_of_a_supervisor_that_was_killed(filled_database: Path, tmp_path: Path) -> None:
    with serving_workers(filled_database, tmp_path) as server:
        pids = children(server.child.pid).values()
        server.child.kill()
        server.end()
        database = f"sqlite:///{tmp_path / 'shared.db'}"
        with serving("serve", "--database", database, folder=tmp_path, name="next") as following:
            assert not any(map(is_alive, pids))
            assert following.stop() == 0


@pytest.mark.long
def test_a_worker_that_cannot_start_ends_the_server(filled_database: Path, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    shutil.copyfile(filled_database, path)
    arguments = ("--workers", "2", *FREE_PORTS, "--database", f"sqlite:///{path}")
    ended = run("serve", *arguments, "--nats", "nats://127.0.0.1:1", cwd=tmp_path)
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert any(line.startswith("linkstead: ") and "worker-1: --nats: " in line for line in lines)
    assert lines[-1].endswith("worker-1 did not start: status 1")


def test_ports_are_chosen_once_and_kept() -> None:
    settings, reserved = reserve_ports(Settings(http=Address("127.0.0.1", 0), mqtt=Address("::1", 0)))
    try:
        assert settings.http.port > 0
        assert settings.mqtt.port > 0
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(settings.http)
    finally:
        for each in reserved:
            each.close()

"""A full disk under load: what cannot be kept is refused, the rest goes on, and with room again nothing is lost.

The disk is one in memory that the test mounts: that needs root.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linkstead.invocation import Verdict
from linkstead.server import DATABASE_FILE
from tests.cluster.field import Caller, Lamp, name_lamps, running_tasks, until_holds
from tests.crash.installation import OneServer, add_lamps
from tests.crash.test_killed_at_random import BACK_S_MAX, find_record, until_recorded

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(300)]

DISK_BYTES = 16 << 20
CALLS = 200
REFUSED_TRIES_MAX = 2_000
"""Calls that are accepted on a full disk while there is room left in the database's own files."""

SCENE = '{"SceneId":"evening","Steps":[]}'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(disk: Path) -> Path:
    """Leave no byte; the file that takes them."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    return filler


async def rrpc(caller: Caller, lamp: Lamp) -> dict[str, Any]:
    return await caller.post("RRpc", RequestBase64Byte="cGluZw==", Timeout="5000", **lamp.names)


async def invoke(caller: Caller, lamp: Lamp) -> dict[str, Any]:
    return await caller.post("InvokeThingService", Identifier="RunScene", Args=SCENE, Qos="1", **lamp.names)


async def test_what_cannot_be_kept_is_refused_and_nothing_that_was_accepted_is_lost(
    filled_database: Path, tmp_path: Path, disk: Path
) -> None:
    shutil.copyfile(filled_database, disk / DATABASE_FILE)
    database = f"sqlite:///{disk / DATABASE_FILE}"
    lamp = Lamp(name_lamps(1)[0])
    await add_lamps(database, [lamp.key])
    installation = OneServer(tmp_path, database)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(installation.close)
        await stack.enter_async_context(running_tasks(lamp.live([installation.server.mqtt])))
        stack.push_async_callback(lamp.close)
        await until_holds(lambda: lamp.connected_s, BACK_S_MAX)
        caller = Caller(installation.server)
        stack.callback(caller.close)
        filler = await asyncio.to_thread(fill_up, disk)

        accepted = []
        for _ in range(REFUSED_TRIES_MAX):
            answer = await invoke(caller, lamp)
            if not answer["Success"]:
                break
            accepted.append(answer)
        assert answer["Code"] == "iot.system.SystemException"
        seen = dict(lamp.seen)
        assert not (await invoke(caller, lamp))["Success"]
        registered = await caller.post("RegisterDevice", ProductKey=lamp.key.product_key, DeviceName="no-room")
        assert registered["Success"] is False
        # What need not be on the disk before it is answered goes on.
        called = [await rrpc(caller, lamp) for _ in range(CALLS)]
        assert {answer["RrpcCode"] for answer in called} == {Verdict.SUCCESS}
        # No call that was refused has reached the device.
        assert lamp.seen == {**seen, "ping": CALLS}

        filler.unlink()
        for answer in called:
            await until_recorded(caller, answer["MessageId"])
        accepted.append(await invoke(caller, lamp))
        assert accepted[-1]["Success"], accepted[-1]
        for answer in accepted:
            number = answer["Data"]["MessageId"]
            await until_holds(partial(lamp.seen.get, number), BACK_S_MAX)
            record = await find_record(caller, answer["RequestId"])
            while record is None or record["verdict"] is None:
                await asyncio.sleep(0.05)
                record = await find_record(caller, answer["RequestId"])
            assert record["verdict"] == Verdict.SUCCESS

"""A machine whose clock is set while the server runs: deadlines, connections, proof against replays do not notice.

The server runs under libfaketime, which changes what it is told of the time of day, and nothing else.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linkstead.invocation import Verdict
from linkstead.server import DATABASE_FILE, SystemClock
from tests.cli.processes import ServerProcess, serving
from tests.cluster.field import Lamp, name_lamps, running_tasks, until_holds
from tests.crash.installation import add_lamps
from tests.rig import KEY, LAMP, device_secret
from tests.wire import App, DeviceClient, Response, fetch

pytestmark = [pytest.mark.asyncio, pytest.mark.long, pytest.mark.timeout(120)]

HOUR_S = 3_600
"""More than a timestamp may be off by, and longer than a nonce is remembered."""

TIMEOUT_MS = 2_000
JUMP_AFTER_S = 0.5
CONNECTED_S_MAX = 20.0
SCENE = '{"SceneId":"evening","Steps":[]}'


class OtherClock(SystemClock):
    """The time of day as the server is told it."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_s = 0.0

    def time_s(self) -> float:
        return super().time_s() + self.offset_s


@dataclass
class Fooled:
    """A server whose time of day can be set, an app that has the same, and one that has the real time."""

    server: ServerProcess
    app: App
    real: App
    clock: OtherClock
    file: Path

    def jump(self, offset_s: float) -> None:
        """Set the server's time of day to so much later than the real one."""
        self.clock.offset_s = offset_s
        # Renamed, so that it is never read half written.
        written = self.file.with_suffix(".new")
        written.write_text(f"{offset_s:+.0f}\n")
        written.rename(self.file)


def find_library() -> Path:
    """libfaketime, which Debian keeps in a folder for each architecture."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "the tests of clocks need libfaketime. Run: sudo apt-get install faketime"
    return found[0]


@contextlib.asynccontextmanager
async def connected(it: Fooled) -> AsyncIterator[DeviceClient]:
    """A device, closed in any case."""
    device = DeviceClient(it.server.mqtt, LAMP, device_secret(LAMP))
    try:
        await device.connect(keep_alive_s=60)
        yield device
    finally:
        await device.close()


@contextlib.asynccontextmanager
async def fooled(filled: Path, folder: Path, lamp: Lamp) -> AsyncIterator[Fooled]:
    shutil.copyfile(filled, folder / DATABASE_FILE)
    database = f"sqlite:///{folder / DATABASE_FILE}"
    await add_lamps(database, [lamp.key])
    file = folder / "offset"
    file.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(find_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    clock = OtherClock()
    with serving("serve", "--database", database, folder=folder, env=environment) as server:
        secret = KEY.access_key_id, KEY.secret
        yield Fooled(server, App(server.http, clock, *secret), App(server.http, SystemClock(), *secret), clock, file)
        assert server.stop() == 0, server.stderr
        assert "Traceback" not in server.stderr


async def until_called(device: DeviceClient, calling: "asyncio.Task[dict[str, Any]]") -> None:
    """Return when the call has reached the device; where the app is answered before, tell what."""
    reaching = asyncio.ensure_future(device.expect_call())
    await asyncio.wait([reaching, calling], return_when=asyncio.FIRST_COMPLETED)
    if not reaching.done():
        reaching.cancel()
        await asyncio.wait([reaching])
        raise AssertionError(f"it never came; the app was told {calling.result()}")
    await reaching


async def took_ms(calling: "asyncio.Task[dict[str, Any]]", started_s: float) -> float:
    await calling
    return (time.monotonic() - started_s) * 1000


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_calls_end_on_time_and_connections_stay_whatever_the_clock_says(
    filled_database: Path, tmp_path: Path, jump_s: int
) -> None:
    lamp = Lamp(name_lamps(1)[0])
    async with fooled(filled_database, tmp_path, lamp) as it, connected(it) as device:
        for offset_s in (jump_s, 0):
            started_s = time.monotonic()
            calling = asyncio.ensure_future(it.app.rrpc(LAMP, Timeout=str(TIMEOUT_MS)))
            await until_called(device, calling)
            await asyncio.sleep(JUMP_AFTER_S)
            it.jump(offset_s)
            took = await took_ms(calling, started_s)
            assert (await calling)["RrpcCode"] == Verdict.TIMEOUT
            assert TIMEOUT_MS <= took < HOUR_S * 1000 / 60
            # The device did nothing in the eyes of a clock that went on by an hour: it is there all the same.
            await device.expect_silence()
            calling = asyncio.ensure_future(it.app.rrpc(LAMP))
            await device.answer_call(b"pong")
            assert (await calling)["RrpcCode"] == Verdict.SUCCESS
            record = await it.app.call_record((await calling)["MessageId"])
            offsets_ms = [moment["offset_ms"] for moment in record["timeline"]]
            assert offsets_ms == sorted(offsets_ms)
            assert offsets_ms[-1] < TIMEOUT_MS


async def test_a_request_of_another_time_is_refused_and_none_is_taken_twice(
    filled_database: Path, tmp_path: Path
) -> None:
    async with fooled(filled_database, tmp_path, Lamp(name_lamps(1)[0])) as it:
        target = f"/?{it.real.sign_v1({'Action': 'QueryProductList', 'CurrentPage': '1', 'PageSize': '10'})}"

        async def send() -> Response:
            return await fetch(it.server.http, "GET", target)

        assert (await send()).json()["Success"] is True
        assert (await send()).json()["Code"] == "SignatureNonceUsed"
        for offset_s in (HOUR_S, -HOUR_S):
            it.jump(offset_s)
            response = await it.real.call("QueryProductList", CurrentPage="1", PageSize="10")
            assert response.json()["Code"] in {"InvalidTimeStamp.Expired", "IllegalTimestamp"}
            response = await it.app.call("QueryProductList", CurrentPage="1", PageSize="10")
            assert response.json()["Success"] is True
            # Back in the time when it was fresh, it is still known.
            it.jump(0)
            assert (await send()).json()["Code"] == "SignatureNonceUsed"


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_a_message_that_waits_is_delivered(filled_database: Path, tmp_path: Path, jump_s: int) -> None:
    lamp = Lamp(name_lamps(1)[0])
    async with fooled(filled_database, tmp_path, lamp) as it:
        stay = running_tasks(lamp.live([it.server.mqtt]))
        async with stay:
            await until_holds(lambda: lamp.connected_s, CONNECTED_S_MAX)
        await lamp.close()
        response = await it.app.call("InvokeThingService", Identifier="RunScene", Args=SCENE, Qos="1", **lamp.names)
        answer = response.json()
        assert answer["Success"] is True, answer
        assert not lamp.seen
        it.jump(jump_s)
        async with running_tasks(lamp.live([it.server.mqtt])):
            await until_holds(lambda: lamp.seen[answer["Data"]["MessageId"]], CONNECTED_S_MAX)
            record = await it.app.call_record(answer["RequestId"])
            while record["verdict"] is None:
                record = await it.app.call_record(answer["RequestId"])
            assert record["verdict"] == Verdict.SUCCESS
        await lamp.close()

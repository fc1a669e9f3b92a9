import asyncio

import pytest

from linkstead.registry import DeviceStatus
from linkstead.simulator import fleet as fleet_module
from linkstead.simulator.fleet import CONNECT_WAIT_S, Fleet
from tests.rig import DISABLED_LAMP, LAMP, SECOND_LAMP, Rig
from tests.wire import until

pytestmark = pytest.mark.asyncio


async def _status(rig: Rig) -> str:
    device = await rig.server.registry.find_device(LAMP)
    assert device is not None
    return str(rig.server.sessions.status(device))


async def test_a_device_is_online_from_start_to_stop(rig: Rig) -> None:
    fleet = rig.server.fleet
    device = await rig.server.registry.find_device(LAMP)
    assert device is not None
    assert await fleet.start(device)
    assert await fleet.start(device)
    assert fleet.is_running(LAMP)
    assert await _status(rig) == DeviceStatus.ONLINE
    answer = await rig.app().rrpc(LAMP, b"ping")
    assert answer["RrpcCode"] == "SUCCESS"
    await fleet.stop(LAMP)
    await fleet.stop(LAMP)
    assert not fleet.is_running(LAMP)
    await until(lambda: not rig.is_online)


async def test_a_device_that_is_refused_is_not_running(rig: Rig) -> None:
    device = await rig.server.registry.find_device(DISABLED_LAMP)
    assert device is not None
    assert await rig.server.fleet.start(device)
    await until(lambda: not rig.server.fleet.is_running(DISABLED_LAMP))


async def test_a_start_does_not_wait_for_ever(rig: Rig) -> None:
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()[:2]
    fleet = Fleet(lambda: (host, port), rig.server.models, rig.clock)
    device = await rig.server.registry.find_device(LAMP)
    assert device is not None
    starting = asyncio.ensure_future(fleet.start(device))
    await until(lambda: fleet.is_running(LAMP))
    for _ in range(20):
        await asyncio.sleep(0)
    rig.clock.advance(CONNECT_WAIT_S)
    assert await starting
    await fleet.close()
    silent.close()


async def test_a_fleet_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "FLEET_MAX", 1)
    first, second = [await rig.server.registry.find_device(key) for key in (LAMP, SECOND_LAMP)]
    assert first is not None
    assert second is not None
    assert await rig.server.fleet.start(first)
    assert not await rig.server.fleet.start(second)

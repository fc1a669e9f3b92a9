"""Devices that are asked for at once are read together, and who asks for one does not suffer from the others."""

import asyncio
from collections.abc import Sequence

import pytest

from linkstead.registry import Device, DeviceKey
from linkstead.store.device_reads import DEVICES_PER_READ_MAX, DeviceReads
from linkstead.store.sql import SqlStore
from tests.store.samples import LAMP, NOW_MS, a_device, a_product, an_account

pytestmark = pytest.mark.asyncio


class Shelf:
    """Where devices are: keeps what was read together, fails as told, and stays on the way while `gate` is shut."""

    def __init__(self, *names: str) -> None:
        self.devices = {name: a_device(name) for name in names}
        self.reads: list[list[str]] = []
        self.failure: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        self.reads.append([key.device_name for key in keys])
        found = [self.devices[key.device_name] for key in keys if key.device_name in self.devices]
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return found


def a_key(name: str) -> DeviceKey:
    return DeviceKey(LAMP.product_key, name)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_devices_asked_for_at_once_are_read_together_and_one_that_is_not_there_is_none() -> None:
    shelf = Shelf("lamp1", "lamp2")
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    found = await asyncio.gather(*(reads.find(a_key(name)) for name in ("lamp2", "nobody", "lamp1", "lamp2")))
    assert [device and device.device_name for device in found] == ["lamp2", None, "lamp1", "lamp2"]
    assert shelf.reads == [["lamp2", "nobody", "lamp1", "lamp2"]]
    assert await reads.find(a_key("lamp1")) is shelf.devices["lamp1"]
    assert len(shelf.reads) == 2


async def test_who_asks_while_a_read_is_under_way_gets_what_the_next_one_finds() -> None:
    shelf = Shelf("lamp1")
    shelf.gate.clear()
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    earlier = asyncio.ensure_future(reads.find(a_key("lamp1")))
    await settle()
    newer = shelf.devices["lamp1"] = a_device("lamp1", nickname="another")
    later = [asyncio.ensure_future(reads.find(a_key(name))) for name in ("lamp1", "lamp2")]
    await settle()
    assert shelf.reads == [["lamp1"]]
    shelf.gate.set()
    assert await earlier != newer
    assert [await each for each in later] == [newer, None]
    assert shelf.reads == [["lamp1"], ["lamp1", "lamp2"]]


@pytest.mark.parametrize("count", [DEVICES_PER_READ_MAX, DEVICES_PER_READ_MAX + 1])
async def test_one_read_is_of_so_many_devices_at_most(count: int) -> None:
    names = [f"lamp{number}" for number in range(count)]
    shelf = Shelf(*names)
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    found = await asyncio.gather(*(reads.find(a_key(name)) for name in names))
    assert [device and device.device_name for device in found] == names
    assert [len(each) for each in shelf.reads] == [DEVICES_PER_READ_MAX, 1][: 1 + count - DEVICES_PER_READ_MAX]


async def test_an_error_reaches_everybody_who_asked_and_nobody_later() -> None:
    shelf = Shelf("lamp1", "lamp2")
    shelf.failure = OSError("away")
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    outcomes = await asyncio.gather(*(reads.find(a_key(name)) for name in ("lamp1", "lamp2")), return_exceptions=True)
    assert outcomes == [shelf.failure, shelf.failure]
    shelf.failure = None
    assert await reads.find(a_key("lamp1")) == shelf.devices["lamp1"]


async def test_who_gives_up_before_the_read_is_not_read_for() -> None:
    shelf = Shelf("lamp1", "lamp2")
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    leaving, staying = (asyncio.ensure_future(reads.find(a_key(name))) for name in ("lamp1", "lamp2"))
    asyncio.get_running_loop().call_soon(leaving.cancel)
    assert await staying == shelf.devices["lamp2"]
    assert leaving.cancelled()
    assert shelf.reads == [["lamp2"]]


@pytest.mark.parametrize("failure", [None, OSError("away")])
async def test_who_gives_up_while_it_is_read_changes_nothing_for_the_others(failure: OSError | None) -> None:
    shelf = Shelf("lamp1", "lamp2")
    shelf.failure = failure
    shelf.gate.clear()
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    leaving, staying = (asyncio.ensure_future(reads.find(a_key(name))) for name in ("lamp1", "lamp2"))
    await settle()
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    shelf.gate.set()
    (outcome,) = await asyncio.gather(staying, return_exceptions=True)
    assert outcome == (failure or shelf.devices["lamp2"])


async def test_when_all_have_given_up_nothing_is_read() -> None:
    shelf = Shelf("lamp1")
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    leaving = asyncio.ensure_future(reads.find(a_key("lamp1")))
    asyncio.get_running_loop().call_soon(leaving.cancel)
    await settle()
    assert leaving.cancelled()
    assert not shelf.reads
    assert await reads.find(a_key("lamp1")) == shelf.devices["lamp1"]


async def test_where_the_reading_is_ended_from_outside_nobody_waits_for_ever() -> None:
    shelf = Shelf("lamp1")
    shelf.gate.clear()
    reads = DeviceReads(shelf.find_devices, lambda found: found.key)
    others = asyncio.all_tasks()
    asking = [asyncio.ensure_future(reads.find(a_key("lamp1"))) for _ in range(2)]
    await settle()
    asking.append(asyncio.ensure_future(reads.find(a_key("lamp1"))))
    await settle()
    (reading,) = asyncio.all_tasks() - others - set(asking)
    reading.cancel()
    await asyncio.wait(asking)
    assert all(each.cancelled() for each in asking)
    shelf.gate.set()
    assert await reads.find(a_key("lamp1")) == shelf.devices["lamp1"]


async def test_a_read_shows_what_was_written_before_it_was_asked_for(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices([a_device("lamp1")])
    key = a_key("lamp1")
    earlier = asyncio.ensure_future(store.find_device(key))
    await settle()
    await store.set_device_enabled(key, False, NOW_MS + 1)
    later, gone = await asyncio.gather(store.find_device(key), store.find_device(a_key("nobody")))
    assert await earlier is not None
    assert later is not None
    assert not later.enabled
    assert gone is None

"""Devices of CONNECTs are looked up together, and who asks for one does not suffer from the others."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from linkstead.mqtt.lookups import LOOKED_UP_TOGETHER_MAX, LOOKUP_WAIT_S, Lookups
from linkstead.registry import Device, DeviceKey, Registry, Store, StoreAway
from linkstead.testing.clock import ManualClock
from tests.fakes import KEY, FakeStore, make_device

pytestmark = pytest.mark.asyncio


class Shelf(FakeStore):
    """Where devices are: keeps what was read together, fails as told, and stays on the way until it is opened."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.devices = {a_key(name): make_device(a_key(name)) for name in names}
        self.together: list[list[str]] = []
        self.failure: BaseException | None = None
        self.opened = asyncio.Event()
        self.opened.set()

    async def find_devices(self, keys: Sequence[DeviceKey]) -> list[Device]:
        self.together.append([key.device_name for key in keys])
        await self.opened.wait()
        if self.failure is not None:
            raise self.failure
        return [self.devices[key] for key in keys if key in self.devices]


class Stand:
    def __init__(self, *names: str) -> None:
        self.shelf, self.clock = Shelf(*names), ManualClock()
        self.lookups = Lookups(Registry(cast("Store", self.shelf), self.clock.monotonic_s), self.clock)

    def ask(self, name: str) -> "asyncio.Task[Device | None]":
        return asyncio.ensure_future(self.lookups.ask(a_key(name)).wait())


def a_key(name: str) -> DeviceKey:
    return DeviceKey(KEY.product_key, name)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_devices_asked_for_at_once_are_read_together_and_one_that_is_not_there_is_none() -> None:
    stand = Stand("lamp1", "lamp2")
    found = await asyncio.gather(*(stand.ask(name) for name in ("lamp2", "nobody", "lamp1", "lamp2")))
    assert [device and device.device_name for device in found] == ["lamp2", None, "lamp1", "lamp2"]
    assert stand.shelf.together == [["lamp2", "nobody", "lamp1", "lamp2"]]
    assert stand.clock.timer_count == 0


async def test_who_asks_while_a_read_is_under_way_is_in_the_next() -> None:
    stand = Stand("lamp1", "lamp2")
    stand.shelf.opened.clear()
    first = stand.ask("lamp1")
    await settle()
    second = stand.ask("lamp2")
    await settle()
    stand.shelf.opened.set()
    assert await first is not None
    assert await second is not None
    assert stand.shelf.together == [["lamp1"], ["lamp2"]]


async def test_so_many_are_read_together_and_the_others_with_the_next() -> None:
    assert LOOKED_UP_TOGETHER_MAX == 500
    stand = Stand()
    await asyncio.gather(*(stand.ask(f"lamp{number}") for number in range(LOOKED_UP_TOGETHER_MAX + 1)))
    assert [len(together) for together in stand.shelf.together] == [LOOKED_UP_TOGETHER_MAX, 1]


async def test_a_failure_is_told_to_all_who_wait_for_that_read_and_to_no_other() -> None:
    stand = Stand("lamp1")
    stand.shelf.failure = OSError("disk on fire")
    asking = [stand.ask("lamp1"), stand.ask("lamp2")]
    for each in asking:
        with pytest.raises(OSError, match="disk on fire"):
            await each
    stand.shelf.failure = None
    assert await stand.ask("lamp1") is not None


async def test_nobody_waits_for_longer_than_the_store_may_take() -> None:
    stand = Stand("lamp1", "lamp2")
    stand.shelf.opened.clear()
    first = stand.ask("lamp1")
    await settle()
    stand.clock.advance(LOOKUP_WAIT_S - 1)
    second = stand.ask("lamp2")
    await settle()
    assert not first.done()
    stand.clock.advance(1)
    with pytest.raises(StoreAway):
        await first
    await settle()
    assert not second.done()
    stand.clock.advance(LOOKUP_WAIT_S - 1)
    with pytest.raises(StoreAway):
        await second
    stand.shelf.opened.set()
    assert await stand.ask("lamp1") is not None
    assert stand.clock.timer_count == 0
    # Who was not waited for is not read for either.
    assert stand.shelf.together == [["lamp1"]]


async def test_where_the_look_up_is_ended_from_outside_nobody_waits_for_ever() -> None:
    stand = Stand("lamp1")
    stand.shelf.opened.clear()
    others = asyncio.all_tasks()
    asking = [stand.ask("lamp1")]
    await settle()
    asking.append(stand.ask("lamp2"))
    (reading,) = asyncio.all_tasks() - others - set(asking)
    await settle()
    reading.cancel()
    await asyncio.wait(asking)
    assert all(each.cancelled() for each in asking)
    stand.shelf.opened.set()
    assert await stand.ask("lamp1") is not None

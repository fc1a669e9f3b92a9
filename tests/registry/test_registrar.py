"""Applications worked off over a real store, with parts that fail and a process that ends half-way."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.registry import (
    Account,
    Application,
    ApplicationDevice,
    ApplicationStatus,
    Device,
    DeviceKey,
    Registrar,
    Registry,
)
from linkstead.registry.applications import blank_devices, check_devices
from linkstead.registry.creation import TRIES_MAX
from linkstead.registry.registrar import CHECKED_PER_PART_MAX, CREATED_PER_PART_MAX
from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.actions.world import CountedIds
from tests.fakes import ACCOUNT_ID, KEY, NOW_MS, make_device, make_product

pytestmark = pytest.mark.asyncio


class FailingStore(SqliteStore):
    """Registers a number of parts and then fails; every read of open applications is counted."""

    parts_left: int | None = None
    listed_count = 0

    async def register_application(
        self, application: Application, devices: Sequence[tuple[int, Device]]
    ) -> tuple[list[Device], bool]:
        if self.parts_left is not None:
            if self.parts_left == 0:
                raise OSError("the disk is full")
            self.parts_left -= 1
        return await super().register_application(application, devices)

    async def list_open_applications(self) -> list[Application]:
        self.listed_count += 1
        return await super().list_open_applications()


class Office:
    """A store with a product, and a registrar that is replaced as by a restart."""

    def __init__(self, store: FailingStore) -> None:
        self.store = store
        self.ids = CountedIds()
        self.restart()

    def restart(self) -> None:
        self.registry = Registry(self.store, lambda: 0.0)
        self.told: list[Device] = []
        self.registrar = Registrar(self.registry, self.ids, lambda: NOW_MS, self.told.append)

    async def add(self, status: ApplicationStatus, devices: Sequence[ApplicationDevice]) -> int:
        application = Application(0, KEY.product_key, status, len(devices), NOW_MS)
        apply_id = await self.registry.add_application(application, devices)
        assert apply_id is not None
        return apply_id

    async def status(self, apply_id: int) -> ApplicationStatus:
        application = await self.store.find_application(apply_id)
        assert application is not None
        return application.status


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    store = FailingStore(tmp_path / "linkstead.db", ManualClock())
    await store.open()
    await store.add_account(Account(ACCOUNT_ID, "first", NOW_MS))
    await store.add_product(make_product())
    yield Office(store)
    await store.close()


async def test_after_a_restart_it_goes_on_where_it_was(office: Office) -> None:
    count = 3 * CREATED_PER_PART_MAX + 1
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(count))
    office.store.parts_left = 2
    with pytest.raises(OSError, match="full"):
        await office.registrar.work()
    assert await office.store.count_devices(KEY.product_key) == 2 * CREATED_PER_PART_MAX
    before = (await office.store.list_registered_devices(apply_id, 0, count)).records
    office.store.parts_left = None
    office.restart()
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CREATE_SUCCESS
    after = await office.store.list_registered_devices(apply_id, 0, count)
    assert after.total == await office.store.count_devices(KEY.product_key) == count
    assert after.records[: len(before)] == before
    assert office.told == after.records[len(before) :]


async def test_what_failed_is_tried_again_without_a_restart(office: Office) -> None:
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(1))
    office.store.parts_left = 0
    with pytest.raises(OSError, match="full"):
        await office.registrar.work()
    office.store.parts_left = None
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CREATE_SUCCESS


async def test_without_applications_nothing_is_asked_twice(office: Office) -> None:
    for _ in range(3):
        await office.registrar.work()
    assert office.store.listed_count == 1
    await office.add(ApplicationStatus.CREATE, blank_devices(1))
    await office.registrar.work()
    assert office.store.listed_count == 2


async def test_names_are_checked_in_every_part(office: Office) -> None:
    count = 2 * CHECKED_PER_PART_MAX + 1
    names = [f"lamp-{number}" for number in range(count)]
    taken = [names[0], names[CHECKED_PER_PART_MAX], names[-1]]
    keys = [DeviceKey(KEY.product_key, name) for name in taken]
    await office.store.add_devices([make_device(key) for key in keys])
    apply_id = await office.add(ApplicationStatus.CHECK, check_devices([(name, "") for name in names]))
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CHECK_FAILED
    marked = [each.device_name for each in await office.store.list_application_devices(apply_id) if each.error]
    assert marked == taken


async def test_a_drawn_name_that_is_taken_is_drawn_anew(office: Office) -> None:
    await office.store.add_devices([make_device(DeviceKey(KEY.product_key, "taken-name"))])
    # The IotId, the name and the secret of each device, in the order they are drawn.
    office.ids.tokens.extend(["a" * 20, "taken-name", "5" * 32, "b" * 20, "same-name", "6" * 32])
    office.ids.tokens.extend(["c" * 20, "same-name", "7" * 32])
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(4))
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CREATE_SUCCESS
    made = await office.store.list_registered_devices(apply_id, 0, 10)
    assert len({device.device_name for device in made.records}) == made.total == 4
    assert "taken-name" not in {device.device_name for device in made.records}


async def test_a_drawn_id_that_is_taken_is_drawn_anew(office: Office) -> None:
    await office.store.add_devices([make_device(iot_id="x" * 20 + "00100")])
    office.ids.tokens.append("x" * 20)
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(2))
    await office.registrar.work()
    assert (await office.store.list_registered_devices(apply_id, 0, 10)).total == 2


async def test_a_name_that_is_taken_however_often_it_is_drawn_fails(office: Office) -> None:
    await office.store.add_devices([make_device(DeviceKey(KEY.product_key, "taken-name"))])
    for number in range(TRIES_MAX):
        office.ids.tokens.extend([str(number) * 20, "taken-name", "5" * 32])
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(1))
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CREATE_FAILED
    assert (await office.store.list_registered_devices(apply_id, 0, 10)).total == 0


async def test_a_product_that_is_deleted_takes_its_applications_along(office: Office) -> None:
    apply_id = await office.add(ApplicationStatus.CREATE, blank_devices(1))
    assert await office.registry.delete_product(KEY.product_key)
    assert await office.store.find_application(apply_id) is None
    await office.registrar.work()
    assert await office.store.count_devices(KEY.product_key) == 0


async def test_of_two_who_work_off_one_application_each_device_is_registered_once(office: Office) -> None:
    apply_id = await office.add(ApplicationStatus.CREATE, check_devices([("lamp-11", ""), ("lamp-12", "")]))
    application = await office.store.find_application(apply_id)
    assert application is not None
    keys = [DeviceKey(KEY.product_key, name) for name in ("lamp-11", "lamp-12")]
    first = [(0, make_device(keys[0], iot_id="first1")), (1, make_device(keys[1], iot_id="first2"))]
    second = [(0, make_device(keys[0], iot_id="second1")), (1, make_device(keys[1], iot_id="second2"))]
    assert await office.store.register_application(application, first) == ([device for _, device in first], True)
    assert await office.store.register_application(application, second) == ([], True)
    made = await office.store.list_registered_devices(apply_id, 0, 10)
    assert [device.iot_id for device in made.records] == ["first1", "first2"]
    await office.registrar.work()
    assert await office.status(apply_id) is ApplicationStatus.CREATE_SUCCESS

"""Works applications off: checks their names and registers their devices, a part at a time.

All that has to outlive the process is in the store, so after a restart it goes on where it was.
"""

from collections.abc import Callable

from linkstead.ids import Ids
from linkstead.registry import creation
from linkstead.registry.applications import Application, ApplicationDevice, ApplicationStatus
from linkstead.registry.records import Device, Product
from linkstead.registry.registry import Registry
from linkstead.registry.store import AlreadyExists

CHECKED_PER_PART_MAX = 1_000
"""Names compared with the registered ones in one transaction."""

CREATED_PER_PART_MAX = 100
"""Devices drawn and registered in one transaction: drawing them takes some milliseconds that no call can have."""


class Registrar:
    """The one who works applications off.

    Args:
        registry: says when there may be some.
        ids: draws names, ids and secrets.
        now_ms: reads the wall clock.
        tell: called with each device that was registered.
    """

    def __init__(self, registry: Registry, ids: Ids, now_ms: Callable[[], int], tell: Callable[[Device], None]) -> None:
        self._registry = registry
        self._ids = ids
        self._now_ms = now_ms
        self._tell = tell

    async def work(self) -> None:
        """Work off all there are, the oldest first; returns at once when none was made since the last time.

        What raises is left as it is in the store, and tried again by the next call.
        """
        while self._registry.has_applications:
            # Before they are listed: what is made meanwhile is not to be overlooked.
            self._registry.has_applications = False
            try:
                for application in await self._registry.store.list_open_applications():
                    await self._work_off(application)
            except BaseException:
                self._registry.has_applications = True
                raise

    async def _work_off(self, application: Application) -> None:
        if application.status is ApplicationStatus.CHECK:
            for first in range(0, application.device_count, CHECKED_PER_PART_MAX):
                await self._registry.store.check_application(application, first, CHECKED_PER_PART_MAX)
        else:
            await self._create(application)
        await self._registry.store.close_application(application)

    async def _create(self, application: Application) -> None:
        store = self._registry.store
        product = await self._registry.find_product(application.product_key)
        if product is None:
            # It took the application with it.
            return
        clash_count = 0
        after = -1
        while part := await store.list_waiting_devices(application.apply_id, after, CREATED_PER_PART_MAX):
            devices = [self._make(product, each) for each in part]
            try:
                made, is_all = await store.register_application(
                    application, [(each.position, device) for each, device in zip(part, devices, strict=True)]
                )
            except AlreadyExists:
                # A drawn id is taken.
                clash_count += 1
                if clash_count >= creation.TRIES_MAX:
                    raise
                continue
            for device in made:
                self._tell(device)
            if is_all:
                after = part[-1].position
            else:
                # A drawn name is taken: those that are left over are drawn anew.
                clash_count += 1
                if clash_count >= creation.TRIES_MAX:
                    after = part[-1].position

    def _make(self, product: Product, wanted: ApplicationDevice) -> Device:
        return creation.new_device(
            self._ids,
            product,
            created_ms=self._now_ms(),
            device_name=wanted.device_name,
            nickname=wanted.nickname,
        )

"""Reads of single devices that are asked for all at once, as when they all connect again after a restart."""

from asyncio import Future, Task, get_running_loop, sleep
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from linkstead.registry import DeviceKey

DEVICES_PER_READ_MAX = 500
"""Devices read in one go; the others come with the next, so that nobody else waits long for the store."""

TURNS_WAITED = 3
"""Turns of the event loop before a read, in which others may ask; in a storm each brings a few of them."""


class OfDevice(Protocol):
    """What there is one of for a device: its record, its session."""

    @property
    def key(self) -> DeviceKey:
        """Whose it is."""


Record = TypeVar("Record", bound=OfDevice)


class DeviceReads(Generic[Record]):
    """Reads what is asked for while a read is under way together in the next one.

    A read of one device is mostly the way to the store and back: two thirds of what a connecting device costs.

    Args:
        find: reads what there is of some devices.
    """

    def __init__(self, find: Callable[[Sequence[DeviceKey]], Awaitable[Sequence[Record]]]) -> None:
        self._find = find
        self._asked: list[tuple[DeviceKey, Future[Record | None]]] = []
        self._reading: Task[None] | None = None

    async def find(self, key: DeviceKey) -> Record | None:
        """What the store has of a device after this was called, or None. Raises what the store raises."""
        loop = get_running_loop()
        future: Future[Record | None] = loop.create_future()
        self._asked.append((key, future))
        if self._reading is None:
            self._reading = loop.create_task(self._read())
        return await future

    async def _read(self) -> None:
        together: list[tuple[DeviceKey, Future[Record | None]]] = []
        try:
            while self._asked:
                for _ in range(TURNS_WAITED):
                    await sleep(0)
                together = self._take()
                if together:
                    await self._answer(together)
        finally:
            # Where it was ended from outside nobody who waits may wait for ever.
            for _, future in (*together, *self._asked):
                future.cancel()
            self._asked.clear()
            self._reading = None

    def _take(self) -> list[tuple[DeviceKey, Future[Record | None]]]:
        together, self._asked = self._asked[:DEVICES_PER_READ_MAX], self._asked[DEVICES_PER_READ_MAX:]
        return [(key, future) for key, future in together if not future.done()]

    async def _answer(self, together: Sequence[tuple[DeviceKey, Future[Record | None]]]) -> None:
        try:
            found = {each.key: each for each in await self._find([key for key, _ in together])}
        except Exception as error:  # noqa: BLE001
            # Whoever asked deals with it.
            for _, future in together:
                if not future.done():
                    future.set_exception(error)
        else:
            for key, future in together:
                if not future.done():
                    future.set_result(found.get(key))

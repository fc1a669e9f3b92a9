"""Reads of single records that are asked for all at once, as when all devices connect again after a restart."""

from asyncio import Future, Task, get_running_loop, sleep
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

DEVICES_PER_READ_MAX = 500
"""Devices read in one go; the others come with the next, so that nobody else waits long for the store."""

TURNS_WAITED = 3
"""Turns of the event loop before a read, in which others may ask; in a storm each brings a few of them."""


Name = TypeVar("Name")
Record = TypeVar("Record")


class DeviceReads(Generic[Name, Record]):
    """Reads what is asked for while a read is under way together in the next one.

    A read of one device is mostly the way to the store and back: two thirds of what a connecting device costs.

    Args:
        find: reads what there is of some devices.
        name_of: what a record is asked for by.
        together_max: how many are read in one go.
    """

    def __init__(
        self,
        find: Callable[[Sequence[Name]], Awaitable[Sequence[Record]]],
        name_of: Callable[[Record], Name],
        together_max: int = DEVICES_PER_READ_MAX,
    ) -> None:
        self._find = find
        self._name_of = name_of
        self._together_max = together_max
        self._asked: list[tuple[Name, Future[Record | None]]] = []
        self._reading: Task[None] | None = None

    async def find(self, name: Name) -> Record | None:
        """What the store has by this name after this was called, or None. Raises what the store raises."""
        loop = get_running_loop()
        future: Future[Record | None] = loop.create_future()
        self._asked.append((name, future))
        if self._reading is None:
            self._reading = loop.create_task(self._read())
        return await future

    async def _read(self) -> None:
        together: list[tuple[Name, Future[Record | None]]] = []
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

    def _take(self) -> list[tuple[Name, Future[Record | None]]]:
        together, self._asked = self._asked[: self._together_max], self._asked[self._together_max :]
        return [(name, future) for name, future in together if not future.done()]

    async def _answer(self, together: Sequence[tuple[Name, Future[Record | None]]]) -> None:
        try:
            found = {self._name_of(each): each for each in await self._find([name for name, _ in together])}
        except Exception as error:  # noqa: BLE001
            # Whoever asked deals with it.
            for _, future in together:
                if not future.done():
                    future.set_exception(error)
        else:
            for name, future in together:
                if not future.done():
                    future.set_result(found.get(name))

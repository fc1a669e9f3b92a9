"""The devices of CONNECTs, looked up together when many come at once, as all do after a restart."""

from asyncio import Task, get_running_loop, sleep
from collections.abc import Sequence
from typing import Final

from linkstead.clock import Clock, Timer
from linkstead.eager import Waiter
from linkstead.registry import Device, DeviceKey, Registry, StoreAway

LOOKED_UP_TOGETHER_MAX: Final = 500
"""The others come with the next, so that nobody else waits long for the store."""

TURNS_WAITED: Final = 3
"""Turns of the event loop before a look-up, in which others may ask; in a storm each brings a few of them."""

LOOKUP_WAIT_S: Final = 5.0
"""For what is known of a device that sent CONNECT to be read; then it is told to try again."""


class Lookup:
    """A device that is looked up."""

    __slots__ = ("device", "error", "key", "since_s", "waiter")

    def __init__(self, key: DeviceKey, since_s: float) -> None:
        self.key = key
        self.since_s = since_s
        self.waiter: Waiter[bool] = Waiter()
        self.device: Device | None = None
        self.error: Exception | None = None

    @property
    def is_over(self) -> bool:
        """True once whoever waits goes on."""
        return self.waiter.is_answered

    async def wait(self) -> Device | None:
        """The device, None where there is none. Raises what the store raised; StoreAway after `LOOKUP_WAIT_S`."""
        await self.waiter
        if self.error is not None:
            raise self.error
        return self.device


class Lookups:
    """Looks up what is asked for while a look-up is under way together in the next one.

    Who waits needs no task for it, and no timer: one is enough for all.

    Args:
        registry: where the devices are.
        clock: how long somebody has waited.
    """

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._asked: list[Lookup] = []
        self._under_way: list[Lookup] = []
        self._task: Task[None] | None = None
        self._timer: Timer | None = None

    def ask(self, key: DeviceKey) -> Lookup:
        """Have a device looked up."""
        lookup = Lookup(key, self._clock.monotonic_s())
        self._asked.append(lookup)
        if self._task is None:
            self._timer = self._clock.call_later(LOOKUP_WAIT_S, self._look)
            self._task = get_running_loop().create_task(self._run())
        return lookup

    async def _run(self) -> None:
        try:
            while self._asked:
                for _ in range(TURNS_WAITED):
                    await sleep(0)
                self._under_way = self._asked[:LOOKED_UP_TOGETHER_MAX]
                self._asked = self._asked[LOOKED_UP_TOGETHER_MAX:]
                if self._under_way:
                    await self._answer(self._under_way)
                self._under_way = []
        finally:
            # Where it was ended from outside nobody who waits may wait for ever.
            for lookup in (*self._under_way, *self._asked):
                lookup.waiter.cancel()
            self._asked = []
            self._under_way = []
            self._task = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _answer(self, together: Sequence[Lookup]) -> None:
        try:
            found = await self._registry.find_devices([lookup.key for lookup in together])
        except Exception as error:  # noqa: BLE001
            # Whoever asked deals with it.
            for lookup in together:
                lookup.error = error
                lookup.waiter.set_result(True)
        else:
            for lookup in together:
                lookup.device = found.get(lookup.key)
                lookup.waiter.set_result(True)

    def _look(self) -> None:
        """Have nobody wait any longer who has waited for too long."""
        since_s = self._clock.monotonic_s() - LOOKUP_WAIT_S
        for lookup in (*self._under_way, *self._asked):
            if lookup.since_s <= since_s and not lookup.is_over:
                lookup.error = StoreAway("no answer in time")
                lookup.waiter.set_result(True)
        self._asked = [lookup for lookup in self._asked if not lookup.is_over]
        left = [lookup for lookup in (*self._under_way, *self._asked) if not lookup.is_over]
        # Who comes later is looked at then: those before are not over sooner.
        self._timer = self._clock.call_later(left[0].since_s - since_s if left else LOOKUP_WAIT_S, self._look)

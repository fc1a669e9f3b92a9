"""Simulated devices of one server: started and stopped by name, each on a connection of its own."""

import asyncio
import logging
from collections.abc import Callable

from linkstead.clock import Clock
from linkstead.models import ModelShelf
from linkstead.registry import Device, DeviceKey
from linkstead.simulator.device import RefusedError, SimulatedDevice

log = logging.getLogger(__name__)

FLEET_MAX = 100
"""Devices simulated at once."""

CONNECT_WAIT_S = 5.0
"""For a device to come online before its start is said to be done."""


class Fleet:
    """Devices that are simulated here.

    Args:
        find_address: host and port where they connect, asked when a device is started.
        models: what they have and can do.
        clock: their own.
    """

    def __init__(self, find_address: Callable[[], tuple[str, int]], models: ModelShelf, clock: Clock) -> None:
        self._find_address = find_address
        self._models = models
        self._clock = clock
        self._running: dict[DeviceKey, asyncio.Task[None]] = {}

    def is_running(self, key: DeviceKey) -> bool:
        """True from `start` to `stop`, unless the device was refused."""
        return key in self._running

    async def start(self, device: Device) -> bool:
        """Have a device simulated from its product's model; returns when it is online, refused, or takes too long.

        False when `FLEET_MAX` are already.
        """
        if device.key in self._running:
            return True
        if len(self._running) >= FLEET_MAX:
            return False
        host, port = self._find_address()
        model = await self._models.find_published(device.product_key)
        simulated = SimulatedDevice(host, port, device.key, device.device_secret, self._clock, model=model)
        task = self._running[device.key] = asyncio.ensure_future(self._run(simulated, device.key))
        connected = asyncio.ensure_future(simulated.connected.wait())
        timer = asyncio.ensure_future(self._clock.sleep(CONNECT_WAIT_S))
        await asyncio.wait([task, connected, timer], return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        timer.cancel()
        return True

    async def stop(self, key: DeviceKey) -> None:
        """End the simulation of a device, if there is one."""
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End all."""
        for key in list(self._running):
            await self.stop(key)

    async def _run(self, simulated: SimulatedDevice, key: DeviceKey) -> None:
        try:
            await simulated.run()
        except RefusedError as error:
            log.warning("simulated device refused", extra={"device": str(key), "reason_code": error.args[0]})
        finally:
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]

"""The port for topologies: which devices are behind which gateway. Source: `device-protocol.md` 6.2."""

from collections.abc import Sequence
from typing import Protocol

from linkstead.registry.records import Device, DeviceKey, Page

SUB_DEVICES_MAX = 1_500
"""Sub-devices of one gateway. Source: `device-protocol.md` 6.4; the newer documentation says 2 000."""

GATEWAY = 1
"""The NodeType of products whose devices may have sub-devices, and can be none. Source: CreateProduct reference."""


class TooManySubDevices(Exception):
    """The gateway would have more than `SUB_DEVICES_MAX` sub-devices; nothing was changed."""


class DeviceGone(Exception):
    """The gateway or a sub-device is not there, or not any longer; nothing was changed. Its key is the argument."""


class TopologyStore(Protocol):
    """Durable storage of topologies. A sub-device has one gateway at most; both go with their devices."""

    async def bind_sub_devices(
        self, gateway: DeviceKey, sub_devices: Sequence[DeviceKey], now_ms: int
    ) -> dict[DeviceKey, DeviceKey]:
        """Put devices behind a gateway, all or none; those that are there already stay as they are.

        Returns those that were taken from another gateway, each with that gateway.

        Raises:
            TooManySubDevices, DeviceGone: nothing was changed.
        """

    async def unbind_sub_devices(self, gateway: DeviceKey, sub_devices: Sequence[DeviceKey]) -> list[DeviceKey]:
        """Take devices from behind a gateway; returns those that were behind it."""

    async def list_sub_devices(self, gateway: DeviceKey, offset: int, limit: int) -> Page[Device]:
        """A page of the devices behind a gateway, the latest first."""

    async def find_gateway(self, sub_device: DeviceKey) -> DeviceKey | None:
        """The gateway that a device is behind, or None."""

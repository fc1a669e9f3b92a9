"""The port for what devices report and are desired to be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from linkstead.registry import DeviceKey
from linkstead.telemetry.records import DesiredProperty, EventRecord, PropertyPoint, Span
from linkstead.telemetry.shadow import Shadow


class VersionConflict(Exception):
    """A desired value was changed meanwhile. The argument names the property."""


class TelemetryStore(Protocol):
    """Reports are taken at once and written in batches; every read shows what was taken before it."""

    def record_properties(self, points: Sequence[PropertyPoint]) -> None:
        """Take values: into the history, and as present values where none newer is there."""

    def record_event(self, event: EventRecord) -> None:
        """Take an event."""

    async def list_present_properties(self, key: DeviceKey) -> list[PropertyPoint]:
        """The newest value of each property that was ever reported."""

    async def list_properties(self, key: DeviceKey, identifier: str, span: Span) -> list[PropertyPoint]:
        """Values of one property."""

    async def list_events(
        self, key: DeviceKey, identifier: str | None, event_type: str | None, span: Span
    ) -> list[EventRecord]:
        """Events, of one identifier or type, or of all."""

    async def list_desired(self, key: DeviceKey) -> list[DesiredProperty]:
        """Every property that was ever desired to be something."""

    async def set_desired(
        self, key: DeviceKey, values: Mapping[str, str], versions: Mapping[str, int], now_ms: int
    ) -> dict[str, int]:
        """Desire values; a property named in `versions` must have that version still (0 or absent: any).

        Returns the new versions. Raises VersionConflict; nothing was changed then.
        """

    async def clear_desired(self, key: DeviceKey, versions: Mapping[str, int | None], now_ms: int) -> dict[str, int]:
        """Desire nothing any longer of these properties, or of all when there are none; a version must fit, None fits.

        Returns the new versions. Raises VersionConflict.
        """

    async def find_shadow(self, key: DeviceKey) -> Shadow | None:
        """The device's shadow, or None when nothing was ever written into it."""

    async def change_shadow(self, key: DeviceKey, edit: Callable[[Shadow], Shadow]) -> Shadow | None:
        """Put in the place of a shadow, an empty one at first, what `edit` makes of it; nobody changes it in between.

        None when the device is gone. What `edit` raises is raised; the shadow is then as it was.
        """

    async def list_tags(self, key: DeviceKey) -> dict[str, str]:
        """The device's tags."""

    async def save_tags(self, key: DeviceKey, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""

    async def delete_tags(self, key: DeviceKey, names: Sequence[str]) -> None:
        """Delete tags; unknown ones are passed over."""

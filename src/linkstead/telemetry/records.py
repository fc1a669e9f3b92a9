"""Records of what devices report. Values are JSON text, as the device wrote them; moments are ms since 1970 UTC."""

from dataclasses import dataclass

from linkstead.registry import DeviceKey


@dataclass(frozen=True, slots=True)
class PropertyPoint:
    """One value of a property; `identifier` with its module's prefix (`module:name`)."""

    key: DeviceKey
    identifier: str
    value: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event; `event_type` is info, alert or error, `output` its outputs as a JSON object."""

    key: DeviceKey
    identifier: str
    name: str
    event_type: str
    output: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class DesiredProperty:
    """What a property is desired to be. `version` counts the changes, from 1; after a clearing `value` is None."""

    identifier: str
    value: str | None
    version: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a history: `start_ms` to `end_ms`, both inclusive, oldest first when `ascending`."""

    start_ms: int
    end_ms: int
    ascending: bool
    limit: int

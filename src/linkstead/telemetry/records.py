"""Records of what devices report. Values are JSON text, as the device wrote them; moments are ms since 1970 UTC."""

from dataclasses import dataclass, field

from linkstead.registry import DeviceKey

TAG_KEY_BYTES_MAX = 100
TAG_VALUE_BYTES_MAX = 1_024
"""Of a device's tags. Ours: what is told of is shorter."""


@dataclass(frozen=True, slots=True)
class PropertyPoint:
    """One value of a property; `identifier` with its module's prefix (`module:name`).

    `row_id` tells values of one moment apart in the order they came; 0 before it is kept.
    """

    key: DeviceKey
    identifier: str
    value: str
    time_ms: int
    row_id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event; `event_type` is info, alert or error, `output` its outputs as a JSON object. `row_id`: as above."""

    key: DeviceKey
    identifier: str
    name: str
    event_type: str
    output: str
    time_ms: int
    row_id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class DesiredProperty:
    """What a property is desired to be. `version` counts the changes, from 1; after a clearing `value` is None."""

    identifier: str
    value: str | None
    version: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a history: `start_ms` to `end_ms`, both inclusive, oldest first when `ascending`.

    With `after` only what comes after that record, in this order: its moment, and its `row_id` or a call's request id.
    """

    start_ms: int
    end_ms: int
    ascending: bool
    limit: int
    after: tuple[int, str] | None = None

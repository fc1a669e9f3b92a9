"""What was taken of a device's report, and what of it does not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linkstead.telemetry import EventRecord, PropertyPoint
from linkstead.tsl.checking import Fault
from linkstead.tsl.literal import JsonValue


class Misfit(NamedTuple):
    """A value that does not fit, by the identifier as far as it can be shown."""

    identifier: str
    value: object
    time_ms: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class ReportedProperties:
    """Values of properties: those that fit, and those that do not, kept or not."""

    fitting: Sequence[PropertyPoint]
    kept: Sequence[PropertyPoint]
    misfits: Sequence[Misfit]


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """An event as it is kept, all outputs that came with it, and what does not fit by output."""

    record: EventRecord
    outputs: Mapping[str, JsonValue]
    faults: Mapping[str, Fault]

"""What devices report: properties, events, tags; and what they are desired to be."""

from linkstead.telemetry.records import DesiredProperty, EventRecord, PropertyPoint, Span
from linkstead.telemetry.store import TelemetryStore, VersionConflict

__all__ = ["DesiredProperty", "EventRecord", "PropertyPoint", "Span", "TelemetryStore", "VersionConflict"]

"""What devices report: properties, events, tags, shadows; and what they are desired to be."""

from linkstead.telemetry.records import (
    TAG_KEY_BYTES_MAX,
    TAG_VALUE_BYTES_MAX,
    DesiredProperty,
    EventRecord,
    PropertyPoint,
    Span,
)
from linkstead.telemetry.shadow import Shadow, ShadowError, ShadowFault, ShadowMessage, read_shadow, write_shadow
from linkstead.telemetry.shadow import read_message as read_shadow_message
from linkstead.telemetry.store import TelemetryStore, VersionConflict

__all__ = [
    "TAG_KEY_BYTES_MAX",
    "TAG_VALUE_BYTES_MAX",
    "DesiredProperty",
    "EventRecord",
    "PropertyPoint",
    "Shadow",
    "ShadowError",
    "ShadowFault",
    "ShadowMessage",
    "Span",
    "TelemetryStore",
    "VersionConflict",
    "read_shadow",
    "read_shadow_message",
    "write_shadow",
]

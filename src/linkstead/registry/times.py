"""The vendor's three notations of a moment, each made from milliseconds since 1970 UTC.

Source: `cloud-api.md` 9.1, row Times.
"""

from datetime import UTC, datetime, timedelta, timezone

REGION = "cn-shanghai"
"""The region we say we are: that of the samples, and the one whose time `local_text` tells."""

_REGION_ZONE = timezone(timedelta(hours=8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Not strftime's: those change with the locale.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def gmt_header_text(at_ms: int) -> str:
    """As `Wed, 20-Feb-2019 02:16:09 GMT`. Source: QueryDevice reference, field GmtCreate."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    day = f"{_WEEKDAYS[moment.weekday()]}, {moment.day:02}-{_MONTHS[moment.month - 1]}-{moment.year}"
    return f"{day} {moment:%H:%M:%S} GMT"


def local_text(at_ms: int) -> str:
    """As `2018-08-06 10:48:41`, the region's own time (UTC+8). Source: QueryDeviceDetail reference, field GmtCreate."""
    return f"{(_EPOCH + timedelta(milliseconds=at_ms)).astimezone(_REGION_ZONE):%Y-%m-%d %H:%M:%S}"


def utc_text(at_ms: int) -> str:
    """As `2018-08-06T02:48:41.000Z`. Source: QueryDeviceDetail reference, field UtcCreate."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"

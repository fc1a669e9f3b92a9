"""What a device publishes, one handler a family of topics; and what is told of devices to whoever subscribed."""

from linkstead.uplink.news import News
from linkstead.uplink.uplink import Uplink

__all__ = ["News", "Uplink"]

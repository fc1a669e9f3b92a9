"""What a device publishes, one handler a family of topics."""

from linkstead.uplink.uplink import Uplink

__all__ = ["Uplink"]

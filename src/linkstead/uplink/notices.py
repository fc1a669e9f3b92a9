"""What gateways are told about the devices behind them. None of it waits for a gateway that is away."""

import logging
from collections.abc import Sequence

from linkstead.alink import sub_devices, topics
from linkstead.alink.sub_devices import Change
from linkstead.ids import Ids
from linkstead.registry import DeviceKey
from linkstead.sessions import LinkBlocked, LinkBroken, LinkTooSmall, SessionTable

log = logging.getLogger(__name__)

ORDERS = {
    Change.DELETED: sub_devices.DELETE,
    Change.ENABLED: sub_devices.ENABLE,
    Change.DISABLED: sub_devices.DISABLE,
}
"""What is said on the sub-device's own topics as well, where the device itself changed."""


def tell_change(
    sessions: SessionTable, ids: Ids, gateway: DeviceKey, change: Change, keys: Sequence[DeviceKey]
) -> None:
    """Tell a gateway, if it is connected, what became of the relations to devices behind it."""
    payload = sub_devices.encode_change(ids.alink_id(), change, keys)
    _tell(sessions, gateway, topics.alink(gateway, sub_devices.CHANGE), payload)


def tell_order(sessions: SessionTable, ids: Ids, gateway: DeviceKey, change: Change, key: DeviceKey) -> None:
    """Tell a gateway, if it is connected, that a device behind it was disabled, enabled or deleted."""
    path = ORDERS[change]
    _tell(sessions, gateway, topics.alink(key, path), sub_devices.encode_request(ids.alink_id(), path, {}))
    tell_change(sessions, ids, gateway, change, [key])


def _tell(sessions: SessionTable, gateway: DeviceKey, topic: str, payload: bytes) -> None:
    link = sessions.link(gateway)
    if link is None:
        sessions.neighbours.send(gateway, topic, payload)
        return
    try:
        link.send(topic, payload)
    except (LinkBroken, LinkBlocked, LinkTooSmall):
        log.info("gateway not told", extra={"device": str(gateway), "topic": topic})

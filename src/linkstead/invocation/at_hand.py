"""Calls that a reply of their device ends, at hand by device and Alink id; the rest are found in the store."""

from collections import OrderedDict

from linkstead.invocation.call import Call
from linkstead.registry import DeviceKey

OPEN_CALLS_CACHED_MAX = 100_000
"""Calls waiting for an answer that are at hand; the rest are found in the store."""

ENDED_CALLS_CACHED_MAX = 10_000
"""Ended calls at hand, for what comes late or twice."""


class CallsAtHand:
    """The latest calls that are open, and the latest that have ended. One without an `alink_id` is not kept."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[DeviceKey, int], Call] = OrderedDict()
        self._open_of: dict[DeviceKey, set[int]] = {}
        self._ended: OrderedDict[tuple[DeviceKey, int], Call] = OrderedDict()

    def find(self, key: DeviceKey, alink_id: int) -> Call | None:
        """A call, an open one first."""
        return self._open.get((key, alink_id)) or self._ended.get((key, alink_id))

    def list_all(self, key: DeviceKey, alink_id: int) -> list[Call]:
        """The open one and the one that has ended; both may be there, as records of the same call."""
        found = self._open.get((key, alink_id)), self._ended.get((key, alink_id))
        return [call for call in found if call is not None]

    def add(self, key: DeviceKey, call: Call) -> None:
        """A call that is open; of too many the oldest goes."""
        alink_id = call.alink_id
        if not alink_id:
            return
        self._open[key, alink_id] = call
        of_device = self._open_of.get(key)
        if of_device is None:
            self._open_of[key] = {alink_id}
        else:
            of_device.add(alink_id)
        if len(self._open) > OPEN_CALLS_CACHED_MAX:
            (key, alink_id), _ = self._open.popitem(last=False)
            self._remove_of(key, alink_id)

    def remove(self, call: Call) -> None:
        """A call that is not open any more."""
        key, alink_id = call.key, call.alink_id
        if key is not None and self._open.pop((key, alink_id), None) is not None:
            self._remove_of(key, alink_id)

    def remove_all(self, key: DeviceKey) -> None:
        """The open calls of a device."""
        for alink_id in self._open_of.pop(key, ()):
            self._open.pop((key, alink_id), None)

    def add_ended(self, call: Call) -> None:
        """A call that has ended; of too many the oldest goes."""
        key, alink_id = call.key, call.alink_id
        if key is None or not alink_id:
            return
        self._ended[key, alink_id] = call
        if len(self._ended) > ENDED_CALLS_CACHED_MAX:
            self._ended.popitem(last=False)

    def _remove_of(self, key: DeviceKey, alink_id: int) -> None:
        of_device = self._open_of.get(key)
        if of_device is not None:
            of_device.discard(alink_id)
            if not of_device:
                del self._open_of[key]

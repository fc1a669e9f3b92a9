"""Looking at the messages of a device while they pass. Of devices that nobody looks at nothing is kept."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from linkstead.registry import DeviceKey

MESSAGES_WAITING_MAX = 25
"""Messages that wait for one who looks; of more the newest are kept, and the others counted."""

PAYLOAD_KEPT_BYTES_MAX = 4_096
"""Of one message."""


class Way(StrEnum):
    """Which way a message goes."""

    FROM_DEVICE = "from-device"
    TO_DEVICE = "to-device"


class TappedMessage(NamedTuple):
    """A message that has passed. `payload` is its beginning, `PAYLOAD_KEPT_BYTES_MAX` at most."""

    time_ms: int
    way: Way
    topic: str
    payload: bytes
    payload_bytes: int


class Tap:
    """One who looks at the messages of a device."""

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self._waiting: deque[TappedMessage] = deque(maxlen=MESSAGES_WAITING_MAX)
        self._dropped = 0

    def add(self, message: TappedMessage) -> None:
        """Take one message."""
        if len(self._waiting) == MESSAGES_WAITING_MAX:
            self._dropped += 1
        self._waiting.append(message)

    def take(self) -> tuple[list[TappedMessage], int]:
        """What came since this was asked last, oldest first, and how many more there were before these."""
        messages, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._dropped = 0
        return messages, dropped


class Taps:
    """All who look at messages on this node."""

    def __init__(self) -> None:
        self._taps: dict[DeviceKey, list[Tap]] = {}
        self._carried: DeviceKey | None = None

    def __bool__(self) -> bool:
        return bool(self._taps)

    def add(self, tap: Tap) -> None:
        """Have a tap told from now on."""
        self._taps.setdefault(tap.key, []).append(tap)

    def remove(self, tap: Tap) -> None:
        """End that."""
        left = [known for known in self._taps.get(tap.key, ()) if known is not tap]
        if left:
            self._taps[tap.key] = left
        else:
            self._taps.pop(tap.key, None)

    @contextmanager
    def carrying(self, key: DeviceKey) -> Iterator[None]:
        """Within this, what a gateway's connection sends is for a device behind it."""
        self._carried = key
        try:
            yield
        finally:
            self._carried = None

    def note(self, key: DeviceKey, way: Way, topic: str, payload: bytes, time_s: float) -> None:
        """A message passes on the connection of `key`."""
        taps = self._taps.get(self._carried or key)
        if taps is None:
            return
        message = TappedMessage(int(time_s * 1000), way, topic, payload[:PAYLOAD_KEPT_BYTES_MAX], len(payload))
        for tap in taps:
            tap.add(message)

"""Work that has to wait for the store: in order for each device, side by side for different ones, and bounded."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec

from linkstead.alink import messages
from linkstead.registry import DeviceKey

log = logging.getLogger(__name__)

MESSAGES_OF_A_DEVICE_MAX = 100
"""Messages of one device under way."""

MESSAGES_MAX = 10_000
"""Messages of all devices under way."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Payload bytes of all messages under way."""


FAILED_DEVICES_MAX = 10_000
"""Devices of which it is remembered that a message could not be taken."""

_FAULTS_OF_A_MESSAGE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
"""They lie in the message and in what is made of it, not in the disk or the database.

Sent again it would fail again, so it counts as dealt with: acknowledged, as the vendor's cloud acknowledges what it
cannot use, it does not cut its device each time.
"""


class NotTaken(Exception):
    """What a device sent could not be dealt with, as the store was away for example."""


class _Job(NamedTuple):
    payload_bytes: int
    work: Callable[[], Awaitable[None]]
    is_awaited: bool


class Lanes:
    """Does what devices ask one after the other for each, in a task that lives as long as there is work."""

    def __init__(self) -> None:
        self.message_count = 0
        self.message_bytes = 0
        self._lanes: dict[DeviceKey, deque[_Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: set[DeviceKey] = set()

    def is_free(self, key: DeviceKey) -> bool:
        """True when nothing of the device is under way: what comes now need not wait for its turn."""
        return key not in self._lanes

    def add(
        self,
        key: DeviceKey,
        payload_bytes: int,
        work: Callable[[], Awaitable[None]],
        *,
        is_awaited: bool,
        messages_max: int | None = None,
    ) -> bool:
        """Have work done in its turn. False when a bound is reached: it is not done.

        `is_awaited` says that the device waits for its message to be acknowledged (QoS 1), and sends it again
        otherwise. One that nobody sends again holds back nobody's acknowledgement when it fails.
        `messages_max` takes the place of `MESSAGES_OF_A_DEVICE_MAX`.
        """
        lane = self._lanes.get(key)
        if (
            self.message_count >= MESSAGES_MAX
            or self.message_bytes + payload_bytes > MESSAGE_BYTES_MAX
            or (lane is not None and len(lane) >= (messages_max or MESSAGES_OF_A_DEVICE_MAX))
        ):
            return False
        self.message_count += 1
        self.message_bytes += payload_bytes
        if lane is not None:
            lane.append(_Job(payload_bytes, work, is_awaited))
            return True
        lane = self._lanes[key] = deque([_Job(payload_bytes, work, is_awaited)])
        task = asyncio.get_running_loop().create_task(self._run(key, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settle(self, key: DeviceKey) -> None:
        """Return when what is under way of a device now has been done.

        Raises:
            NotTaken: some of it that is awaited failed since this was last asked, and may fare better another time.
        """
        lane = self._lanes.get(key)
        if lane is not None:
            reached = asyncio.Event()

            async def note() -> None:
                reached.set()

            self.message_count += 1
            lane.append(_Job(0, note, False))
            await reached.wait()
        if key in self._failed:
            self._failed.discard(key)
            raise NotTaken

    async def drain(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, key: DeviceKey, lane: deque[_Job]) -> None:
        while lane:
            try:
                await lane[0].work()
            except Exception as error:
                # The log is told, and what the device sent next has its turn.
                log.exception("a message of a device failed (%d)", messages.INTERNAL_ERROR, extra={"device": str(key)})
                may_fare_better = not isinstance(error, _FAULTS_OF_A_MESSAGE)
                if lane[0].is_awaited and may_fare_better and len(self._failed) < FAILED_DEVICES_MAX:
                    self._failed.add(key)
            finally:
                done = lane.popleft()
                self.message_count -= 1
                self.message_bytes -= done.payload_bytes
        del self._lanes[key]

"""Every call of late: those under way, and the ended ones in a bounded ring; older ones are in the store."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from linkstead.alink.topics import MESSAGE_ID_DIGITS_MAX
from linkstead.invocation.call import Call, GuestCall, count_kept_bytes
from linkstead.invocation.history import CallFilter, CallSink
from linkstead.invocation.record import Evidence
from linkstead.invocation.tally import CallTally
from linkstead.measures import Sample
from linkstead.registry import DeviceKey

CALLS_KEPT_MAX: Final = 10_000
"""Ended calls kept in memory."""

CALLS_KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Payload bytes of ended calls kept in memory."""


class CallJournal:
    """The calls of this node.

    Args:
        sink: takes every call that ended.
        calls_max, bytes_max: ended calls kept in memory, and their payload bytes.

    Attributes:
        closed_count: calls that were closed since the start, those forgotten again among them.
        tally: counts the calls that got their verdict here.
        tracer: is told of them as well, where somebody wants traces; returns at once.
    """

    def __init__(
        self, sink: CallSink, *, calls_max: int = CALLS_KEPT_MAX, bytes_max: int = CALLS_KEPT_BYTES_MAX
    ) -> None:
        self.calls_max = calls_max
        self._bytes_max = bytes_max
        self._sink = sink
        self._open: dict[str, Call] = {}
        self._ended: dict[str, Call] = {}
        # The same calls in the order of their ending: a dict takes long to find its first.
        self._ring: deque[Call] = deque()
        self._by_message_id: dict[int, Call] = {}
        self._last_of_device: dict[DeviceKey, Call] = {}
        self._kept_bytes = 0
        self.closed_count = 0
        self.tally = CallTally()
        self.tracer: Callable[[Call], None] | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    @property
    def open_count(self) -> int:
        """Calls under way."""
        return len(self._open)

    def open(self, call: Call) -> None:
        """Take a call that begins."""
        self._open[call.request_id] = call

    def index_message_id(self, call: Call) -> None:
        """Make a call findable by the message id it was given."""
        self._by_message_id[call.message_id] = call

    def close(self, call: Call) -> None:
        """Move an ended call into the ring and hand it to the store."""
        request_id = call.request_id
        self._open.pop(request_id, None)
        if call.is_handed_over:
            # What is in the store is newer; the sink has that told to whoever wrote it.
            self._sink.record_call(call)
            return
        self._ended[request_id] = call
        self._ring.append(call)
        self.closed_count += 1
        if call.verdict is not None:
            self.tally.add(call)
            if self.tracer is not None:
                self.tracer(call)
        self._kept_bytes += count_kept_bytes(call)
        key = call.key
        if key is not None and call.message_id and not call.is_asynchronous:
            self._last_of_device[key] = call
        if len(self._ring) > self.calls_max or self._kept_bytes > self._bytes_max:
            self._drop_beyond_bounds()
        self._sink.record_call(call)

    def close_guest(self, call: GuestCall) -> None:
        """Keep what is noted here of an ended call of another node, for what comes for it late: as others are kept.

        Nobody looks for it but by its message id, and its record is that node's.
        """
        self._ring.append(call)
        self.closed_count += 1
        self._kept_bytes += count_kept_bytes(call)
        key = call.key
        if key is not None:
            self._last_of_device[key] = call
        call.is_told = True
        if len(self._ring) > self.calls_max or self._kept_bytes > self._bytes_max:
            self._drop_beyond_bounds()

    def update(self, call: Call) -> None:
        """Have a call written that is another than before: an asynchronous one that moved on or ended."""
        # One of the same id that is open may be what is being handed over: that is another record.
        if self._open.get(call.request_id) is not call:
            self._sink.record_call(call)

    def note_end(self, call: Call) -> None:
        """Have a call written that got its verdict, most often after it was closed."""
        if self._open.get(call.request_id) is not call:
            self.tally.add(call)
            if self.tracer is not None:
                self.tracer(call)
            self._sink.record_call(call)

    def sample(self) -> Iterator[Sample]:
        """Calls under way and in memory, and how those ended that did."""
        yield "linkstead_calls_open", (), float(len(self._open))
        yield "linkstead_calls_kept", (), float(len(self._ended))
        yield "linkstead_calls_kept_bytes", (), float(self._kept_bytes)
        yield from self.tally.sample()

    def add_evidence(self, call: Call, evidence: Evidence) -> None:
        """Keep something with a call that was not its answer; an ended call is handed to the store once more."""
        bytes_before = call.kept_bytes
        call.add_evidence(evidence)
        if self._open.get(call.request_id) is call:
            return
        if call.request_id in self._ended or (isinstance(call, GuestCall) and call.is_told):
            self._kept_bytes += call.kept_bytes - bytes_before
            self._drop_beyond_bounds()
        self._sink.record_call(call)

    def _drop_beyond_bounds(self) -> None:
        while len(self._ring) > self.calls_max or self._kept_bytes > self._bytes_max:
            call = self._ring.popleft()
            self._ended.pop(call.request_id, None)
            self._kept_bytes -= count_kept_bytes(call)
            self._by_message_id.pop(call.message_id, None)
            key = call.key
            if key is not None and self._last_of_device.get(key) is call:
                del self._last_of_device[key]

    def find_by_message_id(self, message_id: int) -> Call | None:
        """A call under way or lately ended."""
        return self._by_message_id.get(message_id)

    def last_call_of(self, key: DeviceKey) -> Call | None:
        """The call to this device that ended last, if still in memory."""
        return self._last_of_device.get(key)

    def find(self, account_id: str, call_id: str) -> Call | None:
        """A call of an account by message id (decimal), request id, or Alink id (decimal); of several the latest."""
        call = self._open.get(call_id) or self._ended.get(call_id)
        if call is None and call_id.isascii() and call_id.isdigit() and len(call_id) <= MESSAGE_ID_DIGITS_MAX:
            number = int(call_id)
            call = self._by_message_id.get(number) or self._find_by_alink_id(account_id, number)
        if call is None or isinstance(call, GuestCall):
            # Of the call of another node there is only a part here.
            return None
        return call if call.account_id == account_id else None

    def _find_by_alink_id(self, account_id: str, alink_id: int) -> Call | None:
        # Only somebody who looks asks for it: that is not worth an index which every call would pay for.
        named = (call for call in self._latest_first() if call.alink_id == alink_id and call.account_id == account_id)
        return next(named, None) if alink_id else None

    def list_open(self, limit: int) -> list[Call]:
        """Calls under way, newest first."""
        return list(islice(reversed(self._open.values()), limit))

    def latest(self, count: int) -> Iterator[Call]:
        """The calls that were closed last, the latest first; as many as are still in memory."""
        return islice(reversed(self._ring), count)

    def list(self, calls: CallFilter) -> list[Call]:
        """Calls in memory that match, newest first, at most `calls.limit`."""
        # The ring is in order of ending: a call that waited long stands after younger ones.
        matching = (call for call in self._latest_first() if calls.matches(call))
        return heapq.nlargest(calls.limit, matching, key=lambda call: call.received_ms)

    def _latest_first(self) -> Iterator[Call]:
        yield from reversed(self._open.values())
        yield from (call for call in reversed(self._ring) if not isinstance(call, GuestCall))

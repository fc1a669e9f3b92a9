"""Quotas that all nodes share: a counter in NATS for each second, from which nodes lease calls a few at a time."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from linkstead.clock import Clock, Timer
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.subjects import Subjects
from linkstead.eager import Waiter

log = logging.getLogger(__name__)

LEASE_CALLS_MAX = 20
"""Calls that a node leases ahead at a time."""

SPLIT = 4
"""Of what is left each node leases a part so small that this many for each node fit into it."""

AHEAD_FROM_S = 0.9
"""From then on within a second what the next one begins with is leased."""

AHEAD_PART = 10
"""The next second begins with a lease of this part of the calls that were made in this one."""

LEASE_WAIT_S = 0.25
"""A call waits so long for a lease; past it each node has its own share of the limit."""

RETRY_S = 1.0
"""Between two looks whether the counters are there again, whether somebody calls or not."""

OPEN_WAIT_S = 2.0
"""At the start, for the counters; past it the node starts without them."""

COUNTER_AGE_S = 5
"""A counter that nobody adds to is forgotten after so many seconds: its own second has passed by then."""

STREAM_BYTES_MAX = 4 * 1024 * 1024
"""All counters, set aside by the NATS server; one takes a hundred bytes. Past it the oldest is forgotten early."""

REPLICAS = (3, 1)
"""On how many NATS servers the counters are kept; the latter where there are fewer than the former."""

_CREATE = "$JS.API.STREAM.CREATE."
_ALREADY_THERE = 10_058
"""The stream is there and was made otherwise, by another version of this. Source: errors.json of nats-server."""

_OPENED = "opened"
_PROBE = "probe"
"""In the place of an action: a counter that nothing is granted from."""


class _Fault(msgspec.Struct):
    description: str = ""
    err_code: int = 0


class _Told(msgspec.Struct):
    """What JetStream answers; `val` is what a counter is at."""

    val: str = ""
    error: _Fault | None = None


_decode = msgspec.json.Decoder(_Told).decode


class _Window:
    """The calls of an account of one action within a second.

    `left`: calls that are leased and not made; below 0 those that were made without a lease, and are counted with the
    next. `total`: what the counter was last told to be at. `asked`: calls that a lease is asked for, 0 without one.
    """

    __slots__ = ("asked", "granted", "is_full", "is_next_asked", "left", "limit", "low", "subject", "total", "waiting")

    def __init__(self, limit: int, subject: str) -> None:
        self.limit = limit
        self.subject = subject
        self.left = 0
        self.low = 0
        self.granted = 0
        self.total = 0
        self.asked = 0
        self.is_full = False
        self.is_next_asked = False
        self.waiting: deque[Waiter[bool]] = deque()

    def grant(self) -> None:
        self.left -= 1
        self.granted += 1

    def grant_waiting(self) -> None:
        """Let calls that wait be made, as many as were leased; the others are refused when there are no more."""
        while self.waiting and (self.left > 0 or self.is_full):
            if self.left > 0:
                self.grant()
                self.waiting.popleft().set_result(True)
            else:
                self.waiting.popleft().set_result(False)

    def grant_share(self, share: int) -> bool:
        """Let a call be made without the counter, at most `share` with all that were made."""
        if self.left <= 0 and self.granted >= share:
            return False
        self.grant()
        return True


class SharedQuotas:
    """Counts the calls of every account and action of all nodes within the present second of wall time.

    No more calls are made than the limit while all nodes reach the counters; some fewer, as what is leased and not used
    within its second is lost. Without the counters each node has the limit divided by the number of live nodes.

    A node leases by what it needs: as many as it has granted in this second, as it will need for the rest of it, up
    to `LEASE_CALLS_MAX`, and ever fewer as the limit comes near. So a call waits for the way to NATS and back only at
    the beginning and at the end: the first after a pause, and the last below the limit.

    Args:
        node: this node's name.
        limits: calls per second and account by action; what is not named has no limit.
        bus, subjects: the way to the counters.
        clock: how long is waited.
        count_nodes: how many nodes are live, this one among them; 1 or more.
    """

    def __init__(
        self,
        *,
        node: str,
        limits: Mapping[str, int],
        bus: Bus,
        subjects: Subjects,
        clock: Clock,
        count_nodes: Callable[[], int],
    ) -> None:
        self._node = node
        self._limits = limits
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._count_nodes = count_nodes
        self._second = 0
        self._windows: dict[tuple[str, str], _Window] = {}
        self._next_windows: dict[tuple[str, str], _Window] = {}
        self._asks: dict[str, tuple[_Window, int, Timer]] = {}
        self._last_ask = 0
        self._is_shared = False
        self._is_stopped = False
        self._retry_timer: Timer | None = None
        self._opened = asyncio.Event()
        self._replicas_index = 0

    @property
    def is_shared(self) -> bool:
        """True while calls are counted for all nodes together."""
        return self._is_shared

    def __len__(self) -> int:
        return len(self._windows) + len(self._next_windows)

    async def start(self) -> None:
        """Open the counters, and wait for them for a while."""
        self._bus.subscribe(self._subjects.leases(self._node), self._take_reply)
        if not self._limits:
            return
        timer = self._clock.call_later(OPEN_WAIT_S, self._note_away, "no answer of JetStream")
        self._open()
        await self._opened.wait()
        timer.cancel()

    def take_up(self) -> None:
        """The connection is there again."""
        if self._opened.is_set() and not self._is_shared:
            self._probe()

    def stop(self) -> None:
        """Ask for nothing any more; what waits for a lease has its part of the limit."""
        self._is_stopped = True
        for number in list(self._asks):
            self._fail(number, "this node stops")
        self._stop_timer()

    def limit(self, action: str) -> int:
        """See `CallQuotas.limit`."""
        return self._limits.get(action, 0)

    def take(self, account_id: str, action: str, now_s: float) -> bool:
        """See `CallQuotas.take`."""
        limit = self._limits.get(action)
        if limit is None:
            return True
        window = self._find(account_id, action, limit, int(now_s))
        passed_s = now_s - self._second
        if passed_s >= AHEAD_FROM_S and not window.is_next_asked:
            self._ask_for_next(window, account_id, action)
        if window.left <= 0:
            return False
        window.grant()
        if window.left <= window.low and not window.asked and not window.is_full:
            self._ask_ahead(window, passed_s)
        return True

    async def ask(self, account_id: str, action: str, now_s: float) -> bool:
        """See `CallQuotas.ask`."""
        limit = self._limits.get(action)
        if limit is None:
            return True
        window = self._find(account_id, action, limit, int(now_s))
        if not self._is_shared:
            return window.grant_share(self._share(limit))
        # What was told last only rises: as many as are left by it can be granted at most.
        if window.is_full or len(window.waiting) >= limit - window.total:
            return False
        waiter: Waiter[bool] = Waiter()
        window.waiting.append(waiter)
        if not window.asked:
            self._ask(window, 1 + self._choose_size(window, now_s - self._second))
        return await waiter

    def _share(self, limit: int) -> int:
        return max(1, limit // self._count_nodes())

    def _find(self, account_id: str, action: str, limit: int, second: int) -> _Window:
        if second != self._second:
            self._windows = self._next_windows if second == self._second + 1 else {}
            self._next_windows = {}
            self._second = second
        window = self._windows.get((account_id, action))
        if window is None:
            window = self._windows[account_id, action] = _Window(
                limit, self._subjects.quota(account_id, action, second)
            )
        return window

    def _ask_for_next(self, window: _Window, account_id: str, action: str) -> None:
        window.is_next_asked = True
        amount = min(LEASE_CALLS_MAX, window.limit // (SPLIT * self._count_nodes()), window.granted // AHEAD_PART)
        if amount > 0 and self._is_shared:
            subject = self._subjects.quota(account_id, action, self._second + 1)
            upcoming = self._next_windows[account_id, action] = _Window(window.limit, subject)
            self._ask(upcoming, amount)

    def _ask_ahead(self, window: _Window, passed_s: float) -> None:
        amount = self._choose_size(window, passed_s)
        if amount > 0 and self._is_shared:
            self._ask(window, amount)

    def _choose_size(self, window: _Window, passed_s: float) -> int:
        """Calls to lease ahead; fewer where they might be left over."""
        expected = window.granted * (1.0 - passed_s) / max(passed_s, 0.01)
        part = (window.limit - window.total) // (SPLIT * self._count_nodes())
        return min(LEASE_CALLS_MAX, window.granted, int(expected), part)

    def _ask(self, window: _Window, amount: int) -> None:
        """Ask for a lease of `amount` beside what was granted without one."""
        if window.left < 0:
            amount -= window.left
        self._last_ask += 1
        number = str(self._last_ask)
        window.asked = amount
        timer = self._clock.call_later(LEASE_WAIT_S, self._give_up, number)
        self._asks[number] = window, amount, timer
        try:
            self._bus.count(window.subject, amount, self._subjects.lease(self._node, number))
        except BusAway:
            self._fail(number, "no connection to NATS")

    def _give_up(self, number: str) -> None:
        self._fail(number, "no answer of the counter")

    def _fail(self, number: str, why: str) -> None:
        """A lease was not granted, or nobody knows whether it was."""
        window, _, timer = self._asks.pop(number)
        timer.cancel()
        window.asked = 0
        self._note_away(why)
        share = self._share(window.limit)
        while window.waiting:
            window.waiting.popleft().set_result(window.grant_share(share))

    def _take_reply(self, subject: str, _reply: str, data: bytes, is_nobody: bool) -> None:
        number = subject.rpartition(".")[2]
        told = _Told() if is_nobody else _read(data)
        if number == _OPENED:
            self._take_opened(told, is_nobody=is_nobody)
        elif number in self._asks:
            if told.val.isdigit():
                self._take_lease(number, int(told.val))
            else:
                self._fail(number, told.error.description if told.error else "there is no counter")
                # A server that was started anew has forgotten them.
                self._open()

    def _take_lease(self, number: str, total: int) -> None:
        window, amount, timer = self._asks.pop(number)
        timer.cancel()
        leased = max(0, min(amount, window.limit - (total - amount)))
        window.asked = 0
        window.total = min(total, window.limit)
        window.is_full = total >= window.limit
        window.left += leased
        window.low = leased // 2
        if not self._is_shared:
            log.info("quotas are counted for all nodes together again")
            self._share_again()
        window.grant_waiting()
        if not window.asked and (window.waiting or (window.left < 0 and not window.is_full)):
            self._ask(window, len(window.waiting))

    def _open(self) -> None:
        """Make the stream that the counters are in; where there is one like it, that is it."""
        stream = {
            "name": self._subjects.quota_stream,
            "subjects": [self._subjects.every_quota],
            "storage": "memory",
            "num_replicas": REPLICAS[self._replicas_index],
            "allow_msg_counter": True,
            "max_msgs_per_subject": 1,
            "max_age": COUNTER_AGE_S * 1_000_000_000,
            "max_bytes": STREAM_BYTES_MAX,
            "retention": "limits",
            "discard": "old",
        }
        try:
            self._bus.publish(
                _CREATE + self._subjects.quota_stream,
                msgspec.json.encode(stream),
                self._subjects.lease(self._node, _OPENED),
            )
        except BusAway:
            self._note_away("no connection to NATS")

    def _take_opened(self, told: _Told, *, is_nobody: bool) -> None:
        if told.error is not None and told.error.err_code != _ALREADY_THERE:
            self._replicas_index += 1
            if self._replicas_index < len(REPLICAS):
                self._open()
                return
            self._replicas_index = 0
        if is_nobody:
            self._note_away("NATS has no JetStream")
        elif told.error is not None and told.error.err_code != _ALREADY_THERE:
            self._note_away(told.error.description)
        elif not self._opened.is_set():
            self._is_shared = True
        elif not self._is_shared:
            self._probe()
        self._opened.set()

    def _note_away(self, why: str) -> None:
        if self._is_stopped:
            return
        if self._is_shared or not self._opened.is_set():
            log.warning("each node counts quotas for itself, and has its part of the limit: %s", why)
        self._opened.set()
        self._is_shared = False
        self._stop_timer()
        self._retry_timer = self._clock.call_later(RETRY_S, self._probe)

    def _probe(self) -> None:
        """Look whether the counters are there again, whatever is called meanwhile."""
        self._stop_timer()
        self._ask(_Window(0, self._subjects.quota(self._node, _PROBE, 0)), 1)

    def _share_again(self) -> None:
        """Have counted with the next lease what was granted without one."""
        self._is_shared = True
        self._stop_timer()
        for window in self._windows.values():
            if window.left < 0 and not window.asked:
                self._ask(window, 0)

    def _stop_timer(self) -> None:
        timer, self._retry_timer = self._retry_timer, None
        if timer is not None:
            timer.cancel()


def _read(data: bytes) -> _Told:
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        return _Told(error=_Fault(str(error)))

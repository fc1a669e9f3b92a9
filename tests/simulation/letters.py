"""The rules of what subscribers are told, as what an onlooker can see broken; their numbers go on from those of a call.

6.  A message that is recorded for a group is delivered to a consumer that accepts it, or still waits, whatever dies.
7.  Nothing is delivered but what was told of a product to those who subscribed to that.
8.  What was accepted is forgotten, and is not delivered again once that is on the disk.
9.  That an asynchronous call ended is told to whoever subscribed, if its record says so.
10. What is told of a device coming and going is in the order of its times.
11. A webhook's message is delivered, or still waits, or is dead.
12. What a device was acknowledged is told to whoever subscribed.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator

from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.registry import DeviceKey
from linkstead.subscription import Letter, NoticeKind, destination_of
from linkstead.subscription.webhooks import DESTINATION_HEAD
from linkstead.testing.clock import ManualClock
from tests.simulation.disk import KEEP_S_MAX, NOTE_S_MAX, SLOW_S_MAX, Disk, KeptLetter

FORGOTTEN_S_MAX = NOTE_S_MAX + 1.0
"""When what a server learned is on the disk at last."""

ON_ITS_WAY_S_MAX = 2 * KEEP_S_MAX
"""How long a letter may be on its way from the disk to a consumer."""

SLOWLY_ON_ITS_WAY_S_MAX = 2 * SLOW_S_MAX
"""Likewise from a slow disk: it is accepted, forgotten, and comes once more where its lease ended meanwhile."""

CHANGED_S_MAX = 10.0
"""When every server knows of a webhook that was enabled or disabled."""

RESULT_END = "/thing/downlink/reply/message"


class LetterRules:
    """Watches what is told in one simulation.

    Args:
        disk, clock: see there.
        report: takes the number of a rule that is broken, and how.
    """

    def __init__(self, disk: Disk, clock: ManualClock, report: Callable[[int, str], None]) -> None:
        self._disk = disk
        self._clock = clock
        self._report = report
        self.is_of_cluster = False
        self._told: set[tuple[DeviceKey, NoticeKind, str, bytes]] = set()
        self._seen_count = 0
        self._names: dict[tuple[str, int], KeptLetter] = {}
        self._forgotten_count = 0
        self._written_count = 0
        self._untold: dict[str, Call] = {}
        self._taken: set[int] = set()
        self._accepted: deque[tuple[float, int]] = deque()
        self._results: set[tuple[str, str]] = set()
        self._ended: dict[str, float] = {}
        self._contents: set[tuple[str, bytes]] = set()
        self._last_status: dict[tuple[str, str], str] = {}

    def note_told(self, key: DeviceKey, kind: NoticeKind, topic: str, payload: bytes) -> None:
        """See `UplinkWatcher`."""
        self._told.add((key, kind, topic, payload))

    # what reaches consumers

    def note_delivered(self, destination: str, letter: Letter) -> None:
        """See `LetterWatcher`."""
        self._check_delivered(destination, letter.message_id, letter.payload)

    def note_posted(self, destination: str, message_id: int, payload: bytes) -> None:
        """See `LetterWatcher`."""
        self._check_delivered(destination, message_id, payload)

    def _check_delivered(self, destination: str, message_id: int, payload: bytes) -> None:
        self._look_at_new()
        kept = self._names.get((destination, message_id))
        if kept is None or kept.notice.payload != payload:
            self._report(7, f"{destination} has {message_id}, which was never recorded for it")
            return
        forgotten_s = self._disk.forgotten_s.get(kept.row_id)
        if forgotten_s is None:
            return
        is_slow = self._disk.troubled_s >= forgotten_s
        if self._clock.monotonic_s() > forgotten_s + (SLOWLY_ON_ITS_WAY_S_MAX if is_slow else ON_ITS_WAY_S_MAX):
            self._report(8, f"{self._show(kept)} is delivered again, and was accepted")

    def note_taken(self, destination: str, message_id: int) -> None:
        """See `LetterWatcher`."""
        self._taken.add(self._names[destination, message_id].row_id)

    def note_accepted(self, destination: str, message_id: int) -> None:
        """See `LetterWatcher`."""
        self._accepted.append((self._clock.monotonic_s(), self._names[destination, message_id].row_id))

    # after each step

    def check(self) -> None:
        """Look at all that is told."""
        self._look_at_new()
        forgotten = self._disk.forgotten
        for row_id in forgotten[self._forgotten_count :]:
            if row_id not in self._taken:
                kept = self._disk.recorded[row_id - 1]
                self._report(self._rule(kept), f"{self._show(kept)} is gone, and nobody took it")
        self._forgotten_count = len(forgotten)
        now_s = self._clock.monotonic_s()
        while self._accepted and now_s > max(self._accepted[0][0], self._disk.troubled_s) + FORGOTTEN_S_MAX:
            _, row_id = self._accepted.popleft()
            if row_id in self._disk.letters:
                self._report(8, f"{self._show(self._disk.letters[row_id])} was accepted, and waits still")
        self._check_results(now_s - FORGOTTEN_S_MAX)

    def lose(self) -> None:
        """The server was killed: what it was about to write is lost with it."""
        self._accepted.clear()
        self._look_at_new()
        self._check_results(float("inf"))

    def forget_times(self) -> None:
        """A server that is started after the clock was set back does not know what was told before."""
        self._look_at_new()
        self._last_status.clear()

    def _look_at_new(self) -> None:
        for kept in self._disk.recorded[self._seen_count :]:
            self._names[kept.destination, kept.notice.message_id] = kept
            self._check_new(kept)
        self._seen_count = len(self._disk.recorded)

    def _check_new(self, kept: KeptLetter) -> None:
        notice = kept.notice
        if (notice.key, notice.kind, notice.topic, notice.payload) not in self._told:
            self._report(7, f"{self._show(kept)} was never told")
        if kept.destination not in self._find_subscribers(notice.key.product_key, notice.kind):
            self._report(7, f"{self._show(kept)} is for somebody who did not subscribe")
        self._contents.add((kept.destination, notice.payload))
        if notice.topic.endswith(RESULT_END):
            self._results.add((kept.destination, json.loads(notice.payload)["requestId"]))
        elif notice.kind is NoticeKind.STATUS_CHANGE:
            time, name = json.loads(notice.payload)["time"], (kept.destination, notice.topic)
            if self.is_of_cluster:
                return
            if time <= self._last_status.get(name, ""):
                self._report(10, f"{self._show(kept)} of {time} comes after {self._last_status[name]}")
            self._last_status[name] = time

    def _find_groups(self, product_key: str, kind: NoticeKind) -> list[str]:
        relation = self._disk.relations.get(product_key)
        if relation is None or kind not in relation.kinds:
            return []
        account_id = self._disk.products[product_key].account_id
        return [destination_of(account_id, group_id) for group_id in relation.group_ids]

    def _find_subscribers(self, product_key: str, kind: NoticeKind) -> list[str]:
        webhooks = (hook for hook in self._disk.webhooks.values() if hook.product_key == product_key)
        return self._find_groups(product_key, kind) + [hook.destination for hook in webhooks if kind in hook.kinds]

    def _find_entitled(self, product_key: str, kind: NoticeKind, told_s: float) -> list[str]:
        """Who is to be told for certain, at a moment: who has long been subscribed."""
        changed_s = self._disk.webhooks_changed_s
        known_s = told_s - CHANGED_S_MAX
        # Nor does a node hear of changes while the disk is away.
        is_known = self._disk.troubled_s < known_s
        return self._find_groups(product_key, kind) + [
            hook.destination
            for hook in self._disk.webhooks.values()
            if hook.enabled
            and hook.product_key == product_key
            and kind in hook.kinds
            and is_known
            and changed_s.get(hook.webhook_id, 0.0) < known_s
        ]

    def _check_results(self, before_s: float) -> None:
        """See that what is on the disk as ended before this moment is told."""
        changed = self._disk.changed
        for request_id in changed[self._written_count :]:
            call = self._disk.calls[request_id]
            if request_id not in self._ended and self._is_to_be_told(call):
                # It may be looked at long after its answer came, and was told.
                answered = call.moment(Stage.ANSWERED)
                self._ended[request_id] = self._disk.ended_s[request_id] if answered is None else answered.monotonic_s
                self._untold[request_id] = call
        self._written_count = len(changed)
        for request_id, call in list(self._untold.items()):
            ended_s, key = self._ended[request_id], call.key
            if ended_s > before_s or key is None:
                continue
            del self._untold[request_id]
            for name in self._find_entitled(key.product_key, NoticeKind.DEVICE_DATA, ended_s):
                if (name, str(call.alink_id)) not in self._results:
                    self._report(9, f"{call.action} {call.alink_id} to {key} ended {call.verdict}; {name} is not told")

    @staticmethod
    def _is_to_be_told(call: Call) -> bool:
        is_of_device = call.key is not None and call.alink_id and call.is_asynchronous
        # An error of ours its app was told at once: it was not accepted.
        is_refused = call.diagnosis in (Diagnosis.INTERNAL_ERROR, Diagnosis.DATABASE_AWAY)
        return bool(is_of_device) and call.verdict not in (None, Verdict.REJECTED) and not is_refused

    def check_acknowledged(self, key: DeviceKey, payload: bytes) -> None:
        """A device may forget what it published."""
        self._look_at_new()
        for name in self._find_entitled(key.product_key, NoticeKind.DEVICE_DATA, self._clock.monotonic_s()):
            if (name, payload) not in self._contents:
                self._report(12, f"{payload!r} of {key} was acknowledged; {name} is not told")

    # at the end

    def check_left(self, *, of_webhooks: bool) -> None:
        """All that waits for somebody who is there for good has been delivered."""
        for kept in self._list_left(of_webhooks):
            self._report(self._rule(kept), f"{self._show(kept)} was never delivered")

    def are_left(self, *, of_webhooks: bool) -> bool:
        """True while something waits that has not been given up."""
        return any(self._list_left(of_webhooks))

    def _list_left(self, of_webhooks: bool) -> Iterator[KeptLetter]:
        for kept in self._disk.letters.values():
            if kept.destination.startswith(DESTINATION_HEAD) is of_webhooks and not kept.is_dead:
                yield kept

    @staticmethod
    def _rule(kept: KeptLetter) -> int:
        return 11 if kept.destination.startswith(DESTINATION_HEAD) else 6

    @staticmethod
    def _show(kept: KeptLetter) -> str:
        notice = kept.notice
        return (
            f"letter {kept.row_id} ({notice.message_id}) for {kept.destination}: {notice.topic}, "
            f"{kept.attempts} attempts, due {kept.due_ms}"
        )

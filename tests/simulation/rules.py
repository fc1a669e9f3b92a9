"""The five rules of a call, as what an onlooker can see broken: of the records, the wire, the answers and the disk."""

import base64
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from linkstead.alink import topics
from linkstead.cluster.quotas import LEASE_WAIT_S
from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.mqtt.packets import Publish
from linkstead.registry import DeviceKey
from linkstead.server import REGISTRY_POLL_S
from linkstead.testing.clock import ManualClock
from tests.simulation.device import SimulatedDevice
from tests.simulation.disk import NOTE_S_MAX, Disk
from tests.simulation.letters import LetterRules
from tests.simulation.node import Node
from tests.simulation.wire import Wire
from tests.wire import message_id

LATE_S_MAX = 0.05
"""How far a call may end behind its deadline."""

KEPT_S_MAX = NOTE_S_MAX + 1.0
"""When what a server learned is on the disk at last."""

ACCEPTED_S_MAX = 30.0
"""How long an app waits at most to be told that its call is accepted, or why not: much longer than it would."""

TROUBLED_S = 1.0
"""What was out of order before a call may be felt for so long."""

CALM_S = 3.0
"""By then nodes that reach each other again know what they have missed."""

POLLED_S_MAX = 0.2
"""What a node takes to read that something was changed, beside the wait between two looks."""

SETTLED_S = 0.2
"""By then every server knows who listens for a device that has connected."""

UNREACHED = (
    Diagnosis.NOT_CONNECTED,
    Diagnosis.NEVER_ACTIVATED,
    Diagnosis.HALF_CONNECTED,
    Diagnosis.NODE_LOST,
    Diagnosis.NODES_UNREACHABLE,
)
PLACES = {stage: place for place, stage in enumerate(Stage)}
CALL_ENDS = ("/thing/service/Start", "/user/get")
"""How topics end on which accepted calls go to devices."""


class Violation(Exception):
    """A rule is broken."""

    def __init__(self, rule: int, text: str) -> None:
        super().__init__(f"rule {rule}: {text}")
        self.rule = rule


@dataclass(slots=True, eq=False)
class AppCall:
    """A call as its app sees it. `timeout_ms` is 0 for one that is only accepted.

    `wire` is its device's connection when it was made. `call` is the server's record, there once the app has its
    answer; `was_kept` says that the device's session was on the disk then. `is_lost`: the server was killed before it
    answered.
    """

    action: str
    key: DeviceKey
    qos: int
    started_s: float
    timeout_ms: int = 0
    answer: dict[str, Any] | None = None
    call: Call | None = None
    is_lost: bool = False
    is_gone: bool = False
    was_kept: bool = False
    kills: int = 0
    node: str = ""
    wire: Wire | None = None

    @property
    def is_synchronous(self) -> bool:
        return self.timeout_ms > 0


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a device sent to a call of an earlier server, or of another."""

    node: str
    sent_s: float
    request_id: str
    payload: bytes


class Rules:
    """Watches one simulation.

    Args:
        disk, clock, devices: see there.
        list_nodes: the servers of the moment.
    """

    def __init__(
        self,
        disk: Disk,
        clock: ManualClock,
        devices: dict[DeviceKey, SimulatedDevice],
        list_nodes: Callable[[], Sequence[Node]],
    ) -> None:
        self.calls: list[AppCall] = []
        self._looked_at: list[AppCall] = []
        self._written_count = 0
        self._overruled: set[tuple[str, bytes]] = set()
        self._handed: dict[int, float] = {}
        self._topics: set[str] = set()
        self._replies: deque[_Reply] = deque()
        self.kills = 0
        self.killed_s = float("-inf")
        self.stale_s = float("-inf")
        self._granted: Counter[tuple[str, int]] = Counter()
        self.limits: dict[str, int] = {}
        self.is_of_cluster = False
        self.network_troubled_s = float("-inf")
        self._handed_once: set[tuple[str, bytes]] = set()
        self.violation: Violation | None = None
        self._disk = disk
        self._clock = clock
        self._devices = devices
        self._list_nodes = list_nodes
        self._verdicts: dict[str, Verdict] = {}
        self._kept_verdicts: dict[str, Verdict] = {}
        self.letters = LetterRules(disk, clock, self.report)

    @property
    def _late_s_max(self) -> float:
        """How late an app is answered at most; before its time begins a call may wait for the counters."""
        return LATE_S_MAX + (LEASE_WAIT_S if self.limits else 0.0)

    def report(self, rule: int, text: str) -> None:
        """Note a violation; the first one counts."""
        if self.violation is None:
            self.violation = Violation(rule, text)

    def lose_calls(self, node: Node) -> None:
        """A server was killed: nobody waits for an answer of it any longer."""
        self.kills += 1
        self.killed_s = max(self.killed_s, self._clock.monotonic_s())
        # What it was about to write is lost with it.
        self._replies = deque(reply for reply in self._replies if reply.node != node.name)
        self.letters.lose()
        self._check_records(node.journal.opened.values())
        for app_call in self._looked_at:
            if app_call.node == node.name and app_call.answer is None:
                app_call.is_lost = True

    def add(self, app_call: AppCall) -> None:
        """An app makes a call."""
        self.calls.append(app_call)
        self._looked_at.append(app_call)

    def note_handed(self, publish: Publish) -> None:
        """See `Watcher`."""
        if "/rrpc/" in publish.topic:
            number = message_id(publish.topic)
            if number in self._handed:
                self.report(13, f"the message of call {number} is handed over twice")
            self._handed[number] = self._clock.monotonic_s()
            self._topics.add(publish.topic)
        elif publish.qos == 0 and publish.topic.endswith(CALL_ENDS):
            handed = publish.topic, publish.payload
            if handed in self._handed_once:
                self.report(13, f"{publish.payload!r} is sent to {publish.topic} twice")
            self._handed_once.add(handed)

    # around each answer of a device

    def judge(self, node: Node, key: DeviceKey, topic: str, payload: bytes, take: Callable[[], bool]) -> bool:
        """Have an answer taken, and look whether it went where it belongs (rules 2 and 4)."""
        topic, _ = topics.split_query(topic)
        alink_id, is_readable = self._read_reply(key, topic, payload)
        call = self._find_named(node, key, topic, alink_id)
        now_s = self._clock.monotonic_s()
        if call is None:
            self._note_for_earlier(node, key, alink_id, payload)
            return take()
        verdict = call.verdict
        is_due = verdict is None and call.key == key and topic == self._answer_topic(call)
        if not call.is_asynchronous:
            routed, timeout_s = call.moment(Stage.ROUTED), call.timeout_ms / 1000
            # On another node than it went out on, a call's answer is none.
            is_due = is_due and routed is not None and routed.node == node.name
            is_due = is_due and routed is not None and now_s < routed.monotonic_s + timeout_s
            if is_due and self.is_of_cluster and now_s >= call.timeline[0].monotonic_s + timeout_s:
                # It was looked for so long on other nodes that its time is up before the last one's.
                return take()
        elif verdict is None and not node.news.is_ready(key.product_key):
            # It is looked at a moment later, so that what is told of the call is written with it.
            self._note_for_earlier(node, key, alink_id, payload)
            return take()
        taken = take()
        if is_due:
            due = Verdict.SUCCESS if is_readable else Verdict.FAILED
            if call.verdict is not due or call.answer_payload != payload:
                self.report(2, f"{self._show(call)} did not take its answer on {topic}")
            return taken
        if call.answer_payload == payload:
            self.report(2, f"{self._show(call)} took an answer of {key} on {topic} that is not its own")
        if call.verdict is not verdict:
            self.report(4, f"{self._show(call)} was {verdict} before a stray answer came")
        account_id = self._disk.devices[key].account_id
        sender, kept = (str(key), payload) if account_id == call.account_id else ("", b"")
        is_kept = any(evidence.sender == sender and evidence.payload == kept for evidence in call.evidence)
        if not is_kept and not call.evidence_dropped:
            self.report(4, f"{self._show(call)} does not show what {key} sent on {topic}")
        return taken

    @staticmethod
    def _read_reply(key: DeviceKey, topic: str, payload: bytes) -> tuple[int, bool]:
        """The Alink id of a device's reply, 0 where it names none, and whether there is a code with it."""
        if not topic.endswith("_reply") or not topics.may_publish(key, topic):
            return 0, True
        try:
            members = json.loads(payload)
        except ValueError:
            return 0, False
        return int(members["id"]), "code" in members

    def _find_named(self, node: Node, key: DeviceKey, topic: str, alink_id: int) -> Call | None:
        answer = topics.parse_rrpc_answer(topic)
        if answer is not None:
            return node.journal.find_by_message_id(answer.message_id)
        if self.is_of_cluster:
            # Whose it is at the moment is for the nodes to know: it shows on the disk.
            return None
        call = node.journal.find_by_alink_id(alink_id) if alink_id > 0 else None
        return call if call is not None and call.is_asynchronous and call.key == key else None

    def _note_for_earlier(self, node: Node, key: DeviceKey, alink_id: int, payload: bytes) -> None:
        """A reply to a call that this server did not begin: it has to be on the disk a moment later."""
        for call in self._disk.find_calls(key, alink_id)[:1] if alink_id > 0 else ():
            self._replies.append(_Reply(node.name, self._clock.monotonic_s(), call.request_id, payload))

    def _check_replies(self) -> None:
        while self._replies and self._clock.monotonic_s() > (
            max(self._replies[0].sent_s, self._disk.troubled_s) + KEPT_S_MAX
        ):
            reply = self._replies.popleft()
            kept = self._disk.calls[reply.request_id]
            assert kept.key is not None
            moves_s = self._devices[kept.key].moves_s
            if self.is_of_cluster and any(abs(moved_s - reply.sent_s) < KEPT_S_MAX for moved_s in moves_s):
                # Between two nodes, of which the one has not written yet what the other reads.
                continue
            if (kept.request_id, reply.payload) in self._overruled:
                continue
            shown = [kept.answer_payload, *(evidence.payload for evidence in kept.evidence)]
            if reply.payload not in shown and not kept.evidence_dropped:
                self.report(4, f"{self._show(kept)} does not show {reply.payload!r}")

    def _answer_topic(self, call: Call) -> str:
        key = call.key
        assert key is not None
        if call.is_asynchronous:
            return f"{topics.service(key, call.target)}_reply"
        if call.action == "RRpc":
            return (
                topics.ext_rrpc(call.message_id, call.target)
                if call.target
                else topics.rrpc_response(key, call.message_id)
            )
        # On what carrier it was sent is for the connection to say that it was sent on.
        for topic in (
            topics.ext_rrpc(call.message_id, topics.service(key, call.target)),
            topics.rrpc_request(key, call.message_id),
        ):
            if topic in self._topics:
                return topic.replace("/rrpc/request/", "/rrpc/response/")
        return ""

    # after each step

    def check(self) -> None:
        """Look at every call that is another than when it was looked at last. Raises Violation."""
        for node in self._list_nodes():
            journal = node.journal
            for request_id, call in list(journal.watched.items()):
                # Only what became of it can be another than when it was looked at last, and how late it is.
                state = len(call.timeline), call.verdict
                if journal.seen.get(request_id) == state:
                    self._check_time(call)
                    continue
                self._check_record(call)
                if call.verdict is not None and call.moment(Stage.RETURNED) is not None:
                    # Nothing becomes of it any more but what `check_all` sees.
                    del journal.watched[request_id]
                else:
                    journal.seen[request_id] = state
        self._check_apps(self._looked_at)
        self._looked_at = [app_call for app_call in self._looked_at if not self._is_settled(app_call)]
        self.letters.check()
        for kept, call in self._disk.contradicted:
            # It is not kept, nor is what it shows: while the disk was away, another node's verdict waited for it.
            if self._disk.troubled_s >= kept.timeline[0].monotonic_s:
                for payload in (call.answer_payload, *(evidence.payload for evidence in call.evidence)):
                    self._overruled.add((call.request_id, payload))
            # What is only said late changes nothing.
            if call.verdict is not None and not self._is_troubled_since(kept.timeline[0].monotonic_s):
                self.report(13, f"{self._show(kept)} was handled by two nodes: {self._show(call)}")
        self._disk.contradicted.clear()
        self._check_replies()
        changed, self._written_count = self._disk.changed[self._written_count :], len(self._disk.changed)
        for request_id in changed:
            self._check_written(self._disk.calls[request_id])
        if self.violation is not None:
            raise self.violation

    def check_all(self) -> None:
        """Look at every call there was. Raises Violation."""
        for node in self._list_nodes():
            self._check_records(node.journal.opened.values())
        self._check_apps(self.calls)
        for call in self._disk.calls.values():
            self._check_written(call)
        self.check()

    def _is_settled(self, app_call: AppCall) -> bool:
        """Whether nothing becomes of a call any more but what `check_all` sees."""
        call = app_call.call
        if app_call.is_lost or app_call.is_gone:
            return True
        if call is None or app_call.answer is None:
            return False
        kept = self._disk.calls.get(call.request_id)
        is_kept = kept is not None and (app_call.qos == 0 or kept.verdict is not None)
        return app_call.is_synchronous or not app_call.answer["Success"] or is_kept

    def _check_records(self, calls: Iterable[Call]) -> None:
        for call in calls:
            self._check_record(call)

    def _check_apps(self, app_calls: Iterable[AppCall]) -> None:
        waiting = {message.call_id for message in self._disk.messages.values()}
        for app_call in app_calls:
            self._check_app(app_call, waiting)

    def _check_written(self, call: Call) -> None:
        verdict = call.verdict
        if verdict is not None and self._kept_verdicts.setdefault(call.request_id, verdict) is not verdict:
            self.report(4, f"{self._show(call)} was something else on the disk")
        is_lost = call.diagnosis is Diagnosis.NODE_LOST and call.verdict is not Verdict.TIMEOUT
        if is_lost and call.moment(Stage.WRITTEN) is not None:
            self.report(3, f"{self._show(call)} left before its server was lost")

    def _check_app(self, app_call: AppCall, waiting: Collection[str]) -> None:
        if app_call.is_lost or app_call.is_gone:
            return
        answer, call = app_call.answer, app_call.call
        if answer is None:
            wait_s = app_call.timeout_ms / 1000 + self._late_s_max if app_call.timeout_ms else ACCEPTED_S_MAX
            if self._disk.troubled_s >= app_call.started_s:
                # What its device is may be waited for first; the HTTP server, which is not here, has an answer ready.
                wait_s = max(wait_s, ACCEPTED_S_MAX)
            if self._clock.monotonic_s() > app_call.started_s + wait_s:
                self.report(1, f"{app_call.action} to {app_call.key} has no answer past its deadline")
            return
        if call is None:
            return
        if app_call.is_synchronous:
            if call.verdict is None:
                self.report(1, f"{self._show(call)} was answered without having ended")
            self._check_told(app_call, answer, call)
        elif answer["Success"]:
            self._check_kept(app_call, call, waiting)

    def _check_told(self, app_call: AppCall, answer: dict[str, Any], call: Call) -> None:
        if app_call.action == "RRpc":
            told = answer.get("RrpcCode", Verdict.REJECTED)
            is_same = told == call.verdict
            if told == Verdict.SUCCESS and base64.b64decode(answer["PayloadBase64Byte"]) != call.answer_payload:
                self.report(2, f"{self._show(call)} told its app another answer than its record")
        else:
            is_same = bool(answer["Success"]) == (call.verdict is Verdict.SUCCESS)
        if not is_same:
            self.report(4, f"{self._show(call)} told its app {answer}")

    def _check_record(self, call: Call) -> None:
        verdict = call.verdict
        if verdict is not None and self._verdicts.setdefault(call.request_id, verdict) is not verdict:
            self.report(4, f"{self._show(call)} was {self._verdicts[call.request_id]} before")
        moments = [moment.monotonic_s for moment in call.timeline]
        stages = [moment.stage for moment in call.timeline]
        # An asynchronous call goes on after its app was told that it is accepted.
        steps = [PLACES[stage] for stage in stages if stage is not Stage.RETURNED or not call.is_asynchronous]
        if steps != sorted(set(steps)) or moments != sorted(moments) or len(set(stages)) != len(stages):
            self.report(3, f"{self._show(call)} has its stages out of order")
        if call.diagnosis is Diagnosis.INTERNAL_ERROR and not self._is_excused(call):
            self.report(1, f"{self._show(call)} broke inside the server")
        is_written, is_answered = Stage.WRITTEN in stages, Stage.ANSWERED in stages
        if verdict is Verdict.TIMEOUT and (not is_written or is_answered):
            self.report(3, f"{self._show(call)} is a timeout")
        if verdict is Verdict.SUCCESS and call.alink_id and not (is_written and is_answered):
            self.report(3, f"{self._show(call)} is a success")
        if is_answered and verdict not in (Verdict.SUCCESS, Verdict.FAILED):
            self.report(3, f"{self._show(call)} was answered")
        if not call.is_asynchronous and call.message_id:
            self._check_against_wire(call, is_written)
        self._check_time(call)

    def _check_time(self, call: Call) -> None:
        if call.verdict is not None or call.is_asynchronous or not call.message_id:
            return
        routed = call.moment(Stage.ROUTED)
        deadline_s = call.timeline[0].monotonic_s
        if self.is_of_cluster:
            # Other nodes are asked first.
            deadline_s += call.timeout_ms / 1000 + self._late_s_max
        elif routed is not None:
            deadline_s = routed.monotonic_s + call.timeout_ms / 1000
        if self._clock.monotonic_s() > deadline_s + LATE_S_MAX:
            self.report(1, f"{self._show(call)} has not ended by its deadline")

    def _is_excused(self, call: Call) -> bool:
        """Whether a server may have failed with a call: the disk did not take it, or the server is dead."""
        is_there = any(node.name == call.node for node in self._list_nodes())
        return self._disk.troubled_s >= call.timeline[0].monotonic_s - TROUBLED_S or not is_there

    def _is_troubled_since(self, since_s: float) -> bool:
        """Whether nodes, the network or the disk were not all there at some moment of late."""
        return max(self._disk.troubled_s, self.network_troubled_s, self.killed_s) >= since_s - TROUBLED_S

    def _check_against_wire(self, call: Call, is_written: bool) -> None:
        handed_s = self._handed.get(call.message_id)
        if is_written and handed_s is None:
            self.report(3, f"{self._show(call)} never left in full")
        returned = call.moment(Stage.RETURNED)
        has_left = handed_s is not None and returned is not None and handed_s < returned.monotonic_s
        # Its last words are lost with a node; and what a connection that closes still lets out, leaves after the end.
        lost = (Diagnosis.NODE_LOST, Diagnosis.NODES_UNREACHABLE, Diagnosis.WRITE_FAILED)
        is_lost = self.is_of_cluster and call.diagnosis in lost
        if has_left and call.verdict is not None and not is_written and not is_lost:
            self.report(3, f"{self._show(call)} left in full before it ended")

    def _check_kept(self, app_call: AppCall, call: Call, waiting: Collection[str]) -> None:
        kept = self._disk.calls.get(call.request_id)
        if kept is None:
            self.report(5, f"{self._show(call)} was accepted and is not on the disk")
            return
        is_waiting = app_call.qos != 1 or kept.verdict is not None or call.request_id in waiting
        if not is_waiting and not self._was_taken(app_call, call):
            self.report(5, f"{self._show(call)} is accepted, open, and its message is not on the disk")

    def _is_orphaned(self, app_call: AppCall) -> bool:
        """The server died with the message of a session that is not kept, or that its device wanted forgotten since."""
        is_gone = not app_call.was_kept or self._devices[app_call.key].cleared_s >= app_call.started_s
        return is_gone and self.kills > app_call.kills

    def _is_left_waiting(self, app_call: AppCall, first: Call) -> bool:
        """Put on the disk for a session that another node has just forgotten, and was about to write so.

        It waits there for the device to come once more, and ends with its time: `check_end` sees to that.
        """
        cleared_s = self._devices[app_call.key].cleared_s
        # While the disk takes nothing, that is not written.
        written_s = max(cleared_s, self._disk.troubled_s) + NOTE_S_MAX
        is_forgotten = cleared_s > 0.0 and written_s >= app_call.started_s
        waiting = {message.call_id for message in self._disk.messages.values()}
        return self.is_of_cluster and is_forgotten and first.request_id in waiting

    def _was_taken(self, app_call: AppCall, call: Call) -> bool:
        return call.request_payload in self._devices[app_call.key].taken

    # at the end

    def check_return(self, app_call: AppCall) -> None:
        """A message at QoS 1 has reached its device, now that this came back."""
        call = app_call.call
        if app_call.qos != 1 or call is None or app_call.answer is None or not app_call.answer["Success"]:
            return
        first = self._disk.calls[call.request_id]
        was_away = first.verdict in (Verdict.OFFLINE, Verdict.UNKNOWN)
        is_excused = (
            was_away
            or self._devices[app_call.key].cleared_s >= app_call.started_s
            or self._is_orphaned(app_call)
            or self._is_left_waiting(app_call, first)
        )
        if not self._was_taken(app_call, call) and not is_excused:
            self.report(5, f"{self._show(first)} never reached its device")

    def check_left(self) -> None:
        """No call is left behind by a server that died, now that one is there that stays and every connection is new.

        One that has not ended is waited for by a message, or it left and its answer may still come.
        """
        waiting = {message.call_id for message in self._disk.messages.values()}
        for call in self._disk.calls.values():
            if call.verdict is not None or call.request_id in waiting:
                continue
            is_written = call.moment(Stage.WRITTEN) is not None
            if self.is_of_cluster and is_written and call.node in self._disk.nodes:
                # Where its node has died, that is seen to when the node is buried.
                continue
            if not is_written or not call.alink_id:
                self.report(1, f"{self._show(call)} was left behind")

    def is_calm(self, since_s: float) -> bool:
        """Whether everybody who is there has reached everybody, and the disk, for long before a moment."""
        return max(self._disk.troubled_s, self.network_troubled_s + CALM_S, self.stale_s) < since_s

    def check_reached(self, app_call: AppCall, node: Node) -> None:
        """A device that is connected is called, whatever has become of other nodes; no more is granted than may be."""
        call, device = app_call.call, self._devices[app_call.key]
        if not self.is_of_cluster or call is None:
            return
        if call.diagnosis is not Diagnosis.THROTTLED and app_call.action in self.limits:
            authenticated = call.moment(Stage.AUTHENTICATED)
            assert authenticated is not None
            second = app_call.action, authenticated.time_ms // 1000
            self._granted[second] += 1
            is_exceeded = self._granted[second] > self.limits[app_call.action]
            if is_exceeded and self.is_calm(authenticated.monotonic_s - 1.0):
                self.report(17, f"{self._granted[second]} calls of {app_call.action} are granted in one second")
        wire = app_call.wire
        if wire is None or wire.accepted_s is None or not device.has_own_wire or device.wire is not wire:
            return
        if wire.is_closing():
            # Its node has sent it away, and it has not heard yet.
            return
        holders = [each for each in self._list_nodes() if each.clock is wire.clock and not each.gateway.is_draining]
        is_settled = wire.accepted_s < app_call.started_s - SETTLED_S and self.killed_s < app_call.started_s - SETTLED_S
        if not holders or not is_settled or not self.is_calm(app_call.started_s):
            return
        if call.diagnosis in UNREACHED and node in self._list_nodes():
            self.report(15, f"{self._show(call)} did not reach its device, which is connected to {holders[0].name}")

    def check_enabled(self, app_call: AppCall) -> None:
        """A device that is disabled is not called."""
        call, disabled_s = app_call.call, self._disk.disabled_s.get(app_call.key)
        if call is None or disabled_s is None or not self._is_known(disabled_s, app_call.started_s):
            return
        # What was waited for at other places first may have come from there.
        if call.verdict in (None, Verdict.SUCCESS, Verdict.TIMEOUT, Verdict.FAILED, Verdict.HALFCONN):
            self.report(18, f"{self._show(call)} went to a device that was disabled at {disabled_s:.3f}")

    def check_key(self, access_key_id: str, body: bytes, started_s: float) -> None:
        """What is signed with a key that is disabled is refused."""
        disabled_s = self._disk.disabled_s.get(access_key_id)
        if disabled_s is not None and self._is_known(disabled_s, started_s) and b"Inactive" not in body:
            self.report(18, f"{body!r} is said to the key {access_key_id} that was disabled at {disabled_s:.3f}")

    def check_cut(self) -> None:
        """A device that is disabled is not connected."""
        for name, disabled_s in self._disk.disabled_s.items():
            if (
                isinstance(name, str)
                or not self.is_calm(disabled_s)
                or not self._is_known(disabled_s, self._clock.monotonic_s())
            ):
                continue
            holders = [node.name for node in self._list_nodes() if node.sessions.link(name) is not None]
            if holders:
                self.report(18, f"{name} was disabled at {disabled_s:.3f} and is connected to {holders}")

    def _is_known(self, changed_s: float, now_s: float) -> bool:
        """Whether every node knows at a moment what was changed at another, and could read it."""
        wait_s = SETTLED_S if self.is_calm(changed_s) else REGISTRY_POLL_S + POLLED_S_MAX
        return self._disk.troubled_s < changed_s and now_s > changed_s + wait_s

    def check_refused(self, body: bytes, since_s: float) -> None:
        """A request that was taken on one node is not taken on another."""
        if b"SignatureNonceUsed" not in body and self.is_calm(since_s):
            self.report(16, f"a request that was taken already is answered: {body!r}")

    def check_holders(self) -> None:
        """Each device that is connected is held by the node that it is connected to, and by no other."""
        for key, device in self._devices.items():
            if device.wire is None:
                self.report(14, f"{key} is not connected, though nothing keeps it away")
                continue
            holders = [node for node in self._list_nodes() if node.sessions.link(key) is not None]
            names = [node.name for node in holders]
            if len(holders) != 1 or holders[0].clock is not device.wire.clock:
                self.report(14, f"{key} is held by {names}")
                continue
            presence = self._disk.presences[key]
            if not presence.is_online or presence.holder != names[0]:
                self.report(14, f"{key} is held by {names}, and written down is {presence}")

    def check_end(self, app_call: AppCall) -> None:
        """A message at QoS 1 that was accepted has a result, now that its time has passed."""
        call = app_call.call
        if app_call.qos != 1 or call is None or app_call.answer is None or not app_call.answer["Success"]:
            return
        kept = self._disk.calls[call.request_id]
        is_due = app_call.action == "Pub" or not self._was_taken(app_call, call)
        if kept.verdict is None and is_due:
            self.report(5, f"{self._show(kept)} never ended")

    @staticmethod
    def _show(call: Call) -> str:
        stages = " ".join(f"{moment.stage}@{moment.monotonic_s:.3f}" for moment in call.timeline)
        return f"{call.action} {call.message_id} to {call.key} ({call.verdict}, {call.diagnosis}; {stages})"

"""Faults at work: which of them act on the message of a call and on its answer, and their moments in its timeline."""

from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
from typing import Final, NamedTuple

from linkstead.alink import topics
from linkstead.alink.services import read_alink_id
from linkstead.clock import Clock
from linkstead.faults.rules import OF_ANSWERS, Occasion, Rule, RuleBook
from linkstead.invocation import Call, CallJournal, Stage
from linkstead.registry import DeviceKey

CALLS_REMEMBERED_MAX: Final = 10_000
"""Calls whose answers are still looked out for; of more the oldest are let pass as they are."""

CALLS_SEARCHED_MAX: Final = 1_000
"""The latest calls that a message without a message id is compared with."""

REPLY = "_reply"


Watcher = Callable[[Call], bool]
"""Told of the message of a call that leaves; True when it has seen what it was looking for."""


class Planted(NamedTuple):
    """What acts on a message of a call; `faults` may be empty."""

    call: Call
    faults: list[Rule]


class Planting:
    """Finds the call that a message belongs to, and the faults that act on it.

    Args:
        book: what was planted.
        journal: the calls of late.
        clock: the moments.

    Attributes:
        watcher: told of calls whose messages leave.
    """

    def __init__(self, book: RuleBook, journal: CallJournal, clock: Clock) -> None:
        self.book = book
        self.clock = clock
        self._journal = journal
        # By request id: the call, and what is to happen to its answer.
        self.watcher: Watcher | None = None
        self._met: OrderedDict[str, Planted] = OrderedDict()

    @property
    def looks_at_messages(self) -> bool:
        """False while every message passes as it is."""
        return self.watcher is not None or bool(self._met) or self.book.has(Occasion.MESSAGE)

    def note(self, rule: Rule, call: Call) -> None:
        """Say in a call's timeline that a fault acted on it."""
        call.mark(Stage(f"planted-{rule.fault.kind}"), self.clock.time_s(), self.clock.monotonic_s())
        self._journal.update(call)

    def meet_request(self, holder: DeviceKey, topic: str, payload: bytes) -> Planted | None:
        """A message leaves on a device's connection. None where no fault acts on it.

        Args:
            holder: whose connection it is; the message may be for a device behind it.
        """
        call = self._find_called(holder, topic, payload)
        if call is not None and self.watcher is not None and self.watcher(call):
            self.watcher = None
        if call is None or call.key is None or call.request_id in self._met:
            return None
        found = self.book.find(Occasion.MESSAGE, call.account_id, call.key, call.action, call.target)
        self._met[call.request_id] = Planted(call, [rule for rule in found if rule.fault.kind in OF_ANSWERS])
        if len(self._met) > CALLS_REMEMBERED_MAX:
            self._met.popitem(last=False)
        faults = [rule for rule in found if rule.fault.kind not in OF_ANSWERS]
        for rule in faults:
            self.note(rule, call)
        return Planted(call, faults) if faults else None

    def meet_answer(self, holder: DeviceKey, topic: str, payload: bytes) -> Planted | None:
        """A device publishes. None unless it is the first answer to a call for which a fault was kept."""
        planted = self._find_answered(holder, topic, payload)
        if planted is None or not planted.faults:
            return None
        faults = list(planted.faults)
        planted.faults.clear()
        for rule in faults:
            self.note(rule, planted.call)
        return Planted(planted.call, faults)

    def forget(self, rule: Rule) -> None:
        """Have a fault that was taken away act on no answer either."""
        for planted in self._met.values():
            if rule in planted.faults:
                planted.faults.remove(rule)
        if not self.book:
            self._met.clear()

    def _find_called(self, holder: DeviceKey, topic: str, payload: bytes) -> Call | None:
        named = topics.parse_rrpc_answer(topic)
        if named is not None:
            return self._journal.find_by_message_id(named.message_id) if named.message_id else None
        key = topics.find_owner(topic) or holder
        if not _is_of_call(key, topic):
            return None
        alink_id = read_request_id(payload)
        latest = chain(self._journal.list_open(CALLS_SEARCHED_MAX), self._journal.latest(CALLS_SEARCHED_MAX))
        waiting = [call for call in latest if call.key == key and call.moment(Stage.WRITTEN) is None]
        named_so = [call for call in waiting if alink_id and call.alink_id == alink_id]
        sent_so = [call for call in waiting if call.request_payload == payload]
        # What a script has made bytes of names nothing that is known here: then it is the oldest that waits.
        unnamed = waiting if topic == topics.down_raw(key) else []
        return next(iter((named_so or sent_so or unnamed)[-1:]), None)

    def _find_answered(self, holder: DeviceKey, topic: str, payload: bytes) -> Planted | None:
        bare, _ = topics.split_query(topic)
        named = topics.parse_rrpc_answer(bare)
        if named is not None:
            call = self._journal.find_by_message_id(named.message_id) if named.message_id else None
            return self._met.get(call.request_id) if call is not None else None
        if not bare.endswith(REPLY):
            return None
        key = topics.find_owner(bare) or holder
        alink_id = read_alink_id(payload)
        of_device = [each for each in self._met.values() if each.call.key == key and each.call.is_asynchronous]
        named_so = [each for each in of_device if each.call.alink_id == alink_id]
        is_raw = bare.endswith("/up_raw_reply")
        return next(iter(named_so or (of_device if is_raw else [])), None)


def read_request_id(payload: bytes) -> int:
    """The Alink id of a request; 0 where it has none. A request has no `code`, but is otherwise read as a reply is."""
    head, brace, rest = payload.partition(b"{")
    return read_alink_id(b'{"code":200,' + rest) if brace and not head.strip() else 0


def _is_of_call(key: DeviceKey, topic: str) -> bool:
    own = f"/sys/{key.product_key}/{key.device_name}/thing/"
    if topic.startswith(own):
        path = topic.removeprefix(own)
        return path == "model/down_raw" or (path.startswith("service/") and not path.endswith(REPLY))
    return topics.is_custom(key, topic)

"""How many calls ended how, and how long they took: counted as each ends."""

from collections.abc import Iterator
from typing import Final

from linkstead.invocation.call import Call
from linkstead.invocation.record import Diagnosis, Stage, Verdict
from linkstead.measures import Durations, Sample

# Members at hand: to look one up in its class takes as long as all the rest.
_SUCCESS: Final = Verdict.SUCCESS
_WRITTEN: Final = Stage.WRITTEN
_ANSWERED: Final = Stage.ANSWERED
_ANSWERED_MOMENTS_MIN: Final = 4  # received, written, answered, returned

NOTED_MAX: Final = 1_000
"""Calls that ended alike and whose durations wait to be counted together."""


class _Ended:
    """Of the calls that ended alike: how many; of those that an app waited for, how long it and the device took.

    The last durations are only noted, in seconds: `count_noted` counts them.
    """

    __slots__ = ("action", "count", "device", "device_noted", "diagnosis", "verdict", "whole", "whole_noted")

    def __init__(self, action: str, verdict: Verdict, diagnosis: Diagnosis) -> None:
        self.action = action
        self.verdict = verdict
        self.diagnosis = diagnosis
        self.count = 0
        self.whole = Durations()
        self.device = Durations()
        self.whole_noted: list[float] = []
        self.device_noted: list[float] = []

    def count_noted(self) -> None:
        self.whole.add_all(self.whole_noted)
        self.device.add_all(self.device_noted)
        self.whole_noted = []
        self.device_noted = []


class CallTally:
    """Counts the calls that get their verdict on this node."""

    def __init__(self) -> None:
        # By identity of the verdict and the diagnosis: their own hashes take longer than all the rest.
        self._ended: dict[tuple[str, int, int], _Ended] = {}
        self._last: _Ended | None = None

    def add(self, call: Call) -> None:
        """Count a call that has its verdict; once."""
        verdict, diagnosis = call.verdict, call.diagnosis
        ended = self._last
        # Nearly always as the one before.
        if (
            ended is None
            or ended.verdict is not verdict
            or ended.diagnosis is not diagnosis
            or ended.action != call.action
        ):
            if verdict is None or diagnosis is None:
                return
            ended = self._find(call.action, verdict, diagnosis)
        ended.count += 1
        timeline = call.timeline
        # What nobody waits for may end days later, in another process.
        if call.is_asynchronous or not timeline:
            return
        last = timeline[-1]
        noted = ended.whole_noted
        noted.append(last.monotonic_s - timeline[0].monotonic_s)
        if len(noted) >= NOTED_MAX:
            ended.count_noted()
        if verdict is not _SUCCESS or len(timeline) < _ANSWERED_MOMENTS_MIN:
            return
        # Its end is as a rule: written, answered, returned.
        written, answered = timeline[-3], timeline[-2]
        if written.stage is not _WRITTEN or answered.stage is not _ANSWERED:
            found = {moment.stage: moment for moment in timeline}
            if _WRITTEN not in found or _ANSWERED not in found:
                return
            written, answered = found[_WRITTEN], found[_ANSWERED]
        ended.device_noted.append(answered.monotonic_s - written.monotonic_s)

    def _find(self, action: str, verdict: Verdict, diagnosis: Diagnosis) -> _Ended:
        key = (action, id(verdict), id(diagnosis))
        ended = self._ended.get(key)
        if ended is None:
            ended = self._ended[key] = _Ended(action, verdict, diagnosis)
        self._last = ended
        return ended

    def sample(self) -> Iterator[Sample]:
        """What was counted."""
        whole: dict[tuple[str, str], Durations] = {}
        device: dict[str, Durations] = {}
        for ended in self._ended.values():
            ended.count_noted()
            action, verdict = ended.action, ended.verdict.value
            yield "linkstead_calls_total", (action, verdict, ended.diagnosis.value), float(ended.count)
            if ended.whole.count:
                _join(whole.setdefault((action, verdict), Durations()), ended.whole)
            if ended.device.count:
                _join(device.setdefault(action, Durations()), ended.device)
        for labels, durations in whole.items():
            yield "linkstead_call_seconds", labels, durations
        for action, durations in device.items():
            yield "linkstead_device_answer_seconds", (action,), durations


def _join(all_of_them: Durations, some: Durations) -> None:
    all_of_them.counts = [a + b for a, b in zip(all_of_them.counts, some.counts, strict=True)]
    all_of_them.sum_s += some.sum_s
